"""The benchmark notes what its figures were measured on, and keeps those of different BLAS kernels apart."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import minicnn

FOLDER = Path(minicnn.__file__).resolve().parents[1] / "benchmarks"
if not FOLDER.exists():
    pytest.skip("needs a checkout, not an installed copy", allow_module_level=True)


def test_results_say_what_they_were_measured_on(tmp_path):
    command = [sys.executable, FOLDER / "run.py", "avgpool", "--smoke", "--threads", "1", "-o", tmp_path / "out.json"]
    environment = {**os.environ, "OPENBLAS_CORETYPE": "Nehalem"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    result = json.loads((tmp_path / "out.json").read_text())
    about = result["machine"]
    assert about["OPENBLAS_CORETYPE"] == "Nehalem" and about["threads"] == 1 and about["cores"] == os.cpu_count()
    assert about["cpu"] and all(isinstance(name, str) for name in about["blas"])
    (row,) = result["rows"]
    assert row["case"] == "avgpool" and row["difference"] < 1e-3 and row["ratio"] > 0
    assert done.stdout.startswith(f"{about['cpu']}, 1 of {os.cpu_count()} cores; ")
    assert "; OPENBLAS_CORETYPE Nehalem; " in done.stdout.splitlines()[0]


@pytest.mark.parametrize("coretype, name", [(None, "cpu.json"), ("", "cpu.json"), ("Haswell", "cpu-Haswell.json")])
def test_each_choice_of_blas_kernels_has_a_file_of_its_own(monkeypatch, coretype, name):
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    if coretype is not None:
        monkeypatch.setenv("OPENBLAS_CORETYPE", coretype)
    assert importlib.import_module("run").results_file() == name
