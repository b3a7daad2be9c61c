"""What gradcheck prints under a wrong gradient: code to paste that reproduces it, and the sums it is made of."""

import sys

import numpy as np
import pytest
import torch

from minicnn.testing import Case, Verdict, gradcheck, planted
from minicnn.testing.choices import RandomChoices
from minicnn.testing.mistakes import named
from minicnn.testing.table import OPERATIONS

from gradcheck_util import LIBRARIES, WrongTorch, arrays, cupy_or_stand_in, off_by, product
from util import normal


def test_the_reproducer_reproduces():
    """What is printed under "to reproduce" is pasted; the values in it have few digits."""
    case = Case("linear", arrays()[:1] + arrays()[1:])
    for inputs in (arrays(), case):
        report = gradcheck(product, inputs, off_by(0.5, only=(3, 2)))
        assert "array([[" in report.reproducer and "." in report.reproducer
        assert max(map(len, report.reproducer.replace(",", " ").replace("]", " ").split())) < 25
        shown: list = []
        exec(report.reproducer, {"product": product, "backward": off_by(0.5, only=(3, 2)), "print": shown.append})
        assert shown[0].verdict is Verdict.FAIL and shown[0].finding.index == (3, 2)


def pasted(report, **yours):
    """What the code shows that a report ends with."""
    shown: list = []
    exec(report.reproducer, {**yours, "print": shown.append})
    assert (shown[0].verdict, shown[0].input) == (report.verdict, report.input)
    assert len(report.reproducer) < 3000
    return shown[0]


def detached(x, index, w, scale):
    return (x * scale)[index] * w.detach()


@pytest.mark.parametrize("library", LIBRARIES, ids=["minicnn", "torch"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("length", [5, 500])
def test_reproducers_of_tensors(library, dtype, length):
    x, w = [library.from_numpy(normal((length, 2), i).astype(dtype)).requires_grad_() for i in range(2)]
    index = library.from_numpy(np.arange(length)[::-1].copy())
    report = gradcheck(detached, (x, index, w, 2.5), seed=3, directions=1)
    again = pasted(report)  # detached is imported from here
    assert again.finding.of == min(2 * length, 2000) and again.shape == (length, 2)
    report = gradcheck(lambda x: x ** 3 if x.requires_grad else x, (x.detach(),), wrt=[0])
    assert report


def test_reproducers_of_large_arrays_are_short():
    inputs = normal((30, 40)), normal((50, 40), 1)
    for given in (inputs, tuple(a.astype(np.float32) for a in inputs), Case("linear", inputs)):
        report = gradcheck(product, given, off_by(0.5, only=(3, 2)))
        assert "default_rng(1).uniform(-" in report.reproducer
        assert pasted(report, backward=off_by(0.5, only=(3, 2))).finding.index == (3, 2)


def test_a_reproducer_of_values_that_matter_has_them_in_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    x = normal((40, 10))

    def backward(gy, a):
        return 2 * a * gy + (gy if abs(a[7, 3] - x[7, 3]) < 1e-6 else 0)

    report = gradcheck(lambda a: a * a, (x,), backward)
    assert str(tmp_path) in report.reproducer
    pasted(report, function=lambda a: a * a, backward=backward)


def test_reproducers_of_what_else_gradcheck_is_asked(monkeypatch):
    def jvp(tangents, a, b):
        return tangents[0] @ b.T

    for options in ({"jvp": jvp}, {"wrt": [1], "seed": 2}):
        report = gradcheck(product, arrays(), off_by(0 if "jvp" in options else 1e-3), **options)
        assert report.verdict is Verdict.FAIL
        pasted(report, backward=off_by(0 if "jvp" in options else 1e-3), jvp=jvp)
    report = gradcheck(WrongTorch.apply, (torch.from_numpy(normal((300,))).requires_grad_(),), order=2)
    pasted(report, apply=WrongTorch.apply)
    for name, mistake in (("relu", "mask forgotten"), ("networks", "kernel not rotated")):
        with planted(named(mistake)):
            case = OPERATIONS[name](RandomChoices(5))
            report = gradcheck(case.plain(), case)
            assert report.verdict is Verdict.FAIL and "# yours" not in report.reproducer
            pasted(report)
    cupy_or_stand_in(monkeypatch)
    report = gradcheck(product, tuple(sys.modules["cupy"].asarray(a) for a in arrays()), off_by(0.1))
    pasted(report, backward=off_by(0.1))
    report = gradcheck(lambda x, d: x * d[1], (normal((3,)), {1: np.ones(3)}), lambda gy, x, d: 2 * gy)
    assert "# yours: function, backward, input_1" in report.reproducer
    pasted(report, function=lambda x, d: x * d[1], backward=lambda gy, x, d: 2 * gy, input_1={1: np.ones(3)})


def test_windows_of_an_element_are_named():
    case = Case("conv2d", (normal((1, 2, 5, 4)), normal((3, 2, 3, 2))), {"stride": (2, 1), "padding": (1, 0)})

    def spoilt(which, index):
        def backward(gy, x, w, **options):
            xs = [torch.from_numpy(a).requires_grad_() for a in (x, w)]
            torch.nn.functional.conv2d(*xs, **options).backward(torch.from_numpy(gy))
            gradients = [a.grad.numpy() for a in xs]
            gradients[which][index] += gy.sum()
            return gradients
        return backward

    def forward(x, w, **options):
        return torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(w), **options).numpy()

    report = gradcheck(forward, case, spoilt(0, (0, 1, 2, 0)))
    assert report.windows == ["Σ gy[0, 0:3, 1, 0]·w[0:3, 1, 1, 0]"]
    report = gradcheck(forward, case, spoilt(0, (0, 0, 3, 1)))
    assert report.windows == ["Σ gy[0, 0:3, 1, 0]·w[0:3, 0, 2, 1]", "Σ gy[0, 0:3, 1, 1]·w[0:3, 0, 2, 0]",
                              "Σ gy[0, 0:3, 2, 0]·w[0:3, 0, 0, 1]", "Σ gy[0, 0:3, 2, 1]·w[0:3, 0, 0, 0]"]
    report = gradcheck(forward, case, spoilt(1, (1, 0, 0, 1)))
    assert report.windows[:2] == ["Σ gy[:, 1, 1, 0]·x[:, 0, 1, 1]", "Σ gy[:, 1, 1, 1]·x[:, 0, 1, 2]"]
    assert len(report.windows) == 6
