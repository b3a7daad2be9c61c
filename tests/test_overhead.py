"""The benchmark of what an operation costs beyond its kernel."""

import importlib
import sys
from pathlib import Path

import pytest

import minicnn

FOLDER = Path(minicnn.__file__).resolve().parents[1] / "benchmarks"
if not FOLDER.exists():
    pytest.skip("needs a checkout, not an installed copy", allow_module_level=True)


def test_a_row_for_each_operation_asked_for(capsys, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    overhead = importlib.import_module("overhead")
    monkeypatch.setattr(sys, "argv", ["overhead.py", "add", "conv2d", "--seconds", "0.01"])
    overhead.main()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["µs", "total", "kernel", "Python", "backward", "PyTorch"]
    assert [line[0] for line in lines[1:]] == ["add", "conv2d"]
    for _, total, kernel, python, _, theirs in lines[1:]:
        assert float(total) - float(kernel) == pytest.approx(float(python), abs=0.02) and float(theirs) > 0
