"""The benchmark of what an operation costs beyond its kernel."""

import importlib
import math
import sys
from pathlib import Path

import numpy as np
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
    for _, total, kernel, python, backward, theirs in lines[1:]:
        assert min(float(total), float(kernel), float(theirs)) > 0
        assert math.isfinite(float(python)) and math.isfinite(float(backward))  # differences, of times that vary


def test_kernels_that_return_at_once_are_those_of_a_call_before(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    overhead, shapes = importlib.import_module("overhead"), []

    def kernel(x, factor):
        shapes.append(x.shape)
        return x * factor

    twice, x = overhead.at_once(kernel), np.ones((2, 3))
    assert (twice(x, 2) == 2).all() and twice(x, 2) is twice(x, 2) and twice(x[:1], 3).shape == (1, 3)
    assert shapes == [(2, 3), (1, 3)]
