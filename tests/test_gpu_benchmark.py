"""benchmarks/gpu.py without a GPU: what it writes, on the CPU in its place, and that it goes on after an error."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

import minicnn as mc

FILE = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
pytestmark = pytest.mark.skipif(not FILE.exists(), reason="needs a checkout, not an installed copy")


@pytest.fixture
def gpu(monkeypatch):
    """The module, which takes the CPU for a GPU."""
    spec = importlib.util.spec_from_file_location("gpu_benchmark", FILE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "DEVICE", "cpu")
    monkeypatch.setattr(module, "wait", lambda: None)
    monkeypatch.setattr(module, "card", lambda torch: {"name": "NVIDIA  Toy 1"})
    monkeypatch.setattr(mc.backend, "why_no_cuda", lambda: None)
    monkeypatch.setattr(module, "run_tests", lambda out, seconds: {"code": 0, "summary": "3 passed"})
    return module


def run(gpu, monkeypatch, folder, *arguments) -> tuple[int, dict]:
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(folder), "--seconds", "0.001", *arguments])
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    code = gpu.main()
    return code, json.loads(next(folder.glob("gpu-*.json")).read_text())


def test_rows(gpu, monkeypatch, tmp_path, capsys):
    """The CPU cannot record a step, which is an error in its row, and the rest of the row is there."""
    code, found = run(gpu, monkeypatch, tmp_path, "lenet", "linear", "conv-dw", "--precision", "float32", "bfloat16")
    assert code == 1 and [path.name for path in tmp_path.iterdir()] == ["gpu-nvidia-toy-1.json"]
    assert [(row["case"], row["precision"]) for row in found["rows"]] == [
        (case, precision) for precision in ("float32", "bfloat16") for case in ("lenet", "linear", "conv-dw")]
    for row in found["rows"]:
        assert row["minicnn_ms"] > 0 and row["torch_ms"] > 0 and row["gflops"] > 0 and "error" not in row
        assert row["ratio"] == pytest.approx(row["torch_ms"] / row["minicnn_ms"])
        assert ("captured_error" in row) == (row["case"] == "lenet")
    assert "a step can be recorded on a GPU only" in found["rows"][0]["captured_error"]
    assert capsys.readouterr().out.count("lenet") == 2


def test_everything_goes_on_after_an_error_and_stops_in_time(gpu, monkeypatch, tmp_path):
    def fails(name, *arguments):
        if name == "lenet":
            raise MemoryError("out of memory")
        return {"case": name, "minicnn_ms": 1.0}

    monkeypatch.setattr(gpu, "measure", fails)
    code, found = run(gpu, monkeypatch, tmp_path / "a", "--all")
    assert code == 1 and found["tests"] == {"code": 0, "summary": "3 passed"} and not found["left_out"]
    assert len(found["rows"]) == 4 * (len(gpu.NETWORKS) + len(gpu.KERNELS))
    assert [row["error"] for row in found["rows"] if "error" in row] == ["MemoryError: out of memory"] * 4
    code, found = run(gpu, monkeypatch, tmp_path / "b", "--all", "--part", "networks", "--minutes", "0")
    assert code == 1 and not found["rows"] and found["tests"] is None
    assert len(found["left_out"]) == 4 * len(gpu.NETWORKS)


def test_without_a_gpu(gpu, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--all"])
    monkeypatch.setattr(mc.backend, "why_no_cuda", lambda: "CuPy finds no GPU")
    assert gpu.main() == 1
    assert "there is no GPU to measure: CuPy finds no GPU" in capsys.readouterr().err
    for wrong in ([], ["lenett"], ["lenet", "--all"]):
        monkeypatch.setattr(sys, "argv", ["gpu.py", *wrong])
        with pytest.raises(SystemExit) as stop:
            gpu.main()
        assert stop.value.code == 2
