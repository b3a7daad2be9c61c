"""What a wrong gradient is made of, and which known mistake it equals."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..autograd import grad
from ..engine import Tensor
from .case import Case
from .functions import as_list, is_floating
from .mistakes import MISTAKES, classes_in, planted
from .windows import windows

if TYPE_CHECKING:
    from .check import Check
    from .report import Report

SAME = {"float64": 1e-6, "float32": 1e-3}  # how near two gradients are that come from one formula


def recognise(case: Case, gys: Sequence[np.ndarray], number: int, gradient: np.ndarray) -> dict[str, str]:
    """The known mistakes that give just this gradient of array ``number`` of the case, each with advice.

    gys are the upstream gradients, one per output. Empty where minicnn computes something else for the case.
    """
    right, close = library_gradient(case, gys, number), SAME[str(gradient.dtype)]
    if right is None or right.shape != gradient.shape:
        return {}
    found = {}
    operations = classes_in(as_list(case.function()(*case.tensors())))
    for mistake in MISTAKES:
        if mistake.operation in operations:
            with planted(mistake):
                wrong = library_gradient(case, gys, number)
            if wrong is not None and same(gradient, wrong, close) and not same(wrong, right, close):
                found[mistake.name] = mistake.advice
    return found or simple_mistakes(gradient, right, close, case.options)


def library_gradient(case: Case, gys: Sequence[np.ndarray], number: int) -> np.ndarray | None:
    """The gradient that minicnn finds for array ``number`` of the case, in float64; None if it is another function."""
    wide = case.astype(np.float64)
    tensors = wide.tensors()
    try:
        outputs = [y for y in as_list(wide.function()(*tensors)) if is_floating(y) and y.requires_grad]
    except (TypeError, ValueError, RuntimeError):  # of this name, but called in another way
        return None
    if [y.shape for y in outputs] != [gy.shape for gy in gys]:
        return None
    (found,) = grad(outputs, [tensors[number]], [Tensor(np.asarray(gy, np.float64)) for gy in gys], allow_unused=True)
    return None if found is None else found.data


def same(a: np.ndarray, b: np.ndarray, close: float) -> bool:
    """Whether two arrays are equal but for rounding."""
    return a.shape == b.shape and bool(np.abs(a - b).max(initial=0) <= close * np.abs(b).max(initial=0))


def simple_mistakes(given: np.ndarray, right: np.ndarray, close: float, options: dict) -> dict[str, str]:
    """Mistakes that any gradient can have, whatever it is the gradient of."""
    if not given.any():
        return {"no gradient at all": "backward returned zeros, or None"}
    if same(given, right, close):
        return {}
    found = {}
    for name, other, advice in _rearranged(right):
        if same(given, other, close) and not same(right, other, close):
            found[name] = advice
    if given.shape != right.shape:
        return found
    factor = float((given * right).sum() / max(float((right * right).sum()), np.finfo(float).tiny))
    if same(given, factor * right, close):
        names = [name for name, value in _factors(right, options) if abs(factor - value) <= close * abs(value)]
        for name in names or ["a constant factor"]:
            found[name] = f"it is the right gradient times {factor:.6g}"
    return found


def _rearranged(g: np.ndarray) -> list[tuple[str, np.ndarray, str]]:
    known = []
    if g.ndim > 1:
        known.append(("turned by 180°", g[..., ::-1, ::-1], "its last two axes are reversed"))
        known.append(("transposed", g.swapaxes(-1, -2), "its last two axes are swapped"))
    if g.ndim:
        mean = np.broadcast_to(g.mean(0, keepdims=True), g.shape)
        known.append(("columns reversed", g[..., ::-1], "its last axis is reversed"))
        known.append(("reversed along the first axis", g[::-1], "each got what belongs to another"))
        known.append(("one place off along the last axis", np.roll(g, 1, -1), "an index is off by one"))
        known.append(("averaged over the first axis", mean, "each has a gradient of its own"))
        known.append(("summed over the first axis", mean * len(g), "each has a gradient of its own"))
    return known


def _factors(right: np.ndarray, options: dict) -> list[tuple[str, float]]:
    """What a wrong factor may come from."""
    n, size, p = len(right) if right.ndim else 1, right.size, options.get("p", 0.0)
    factors = [("wrong sign", -1.0), ("factor 2 forgotten", 0.5), ("factor 1/2 forgotten", 2.0),
               ("sum for mean: 1/N is missing", n), ("mean for sum: 1/N too many", 1 / n),
               ("sum for mean: 1/n is missing, n elements", size), ("mean for sum: 1/n too many, n elements", 1 / size)]
    if 0 < p < 1:
        factors += [("missing 1/(1 − p)", 1 - p), ("1/(1 − p) twice", 1 / (1 - p)), ("divided by p", (1 - p) / p)]
    return [(name, value) for name, value in factors if value != 1]


def diagnose(check: "Check", report: "Report", case: Case | None) -> None:
    """Complete the report of a wrong gradient: the windows that it is made of, and known mistakes."""
    number = check.function.places.index(report.input)
    given = check.gradients[number].astype(check.dtype)
    if case is not None and library_gradient(case, check.us, report.input) is not None:
        report.mistakes = recognise(case, check.us, report.input, given)
        if report.finding is not None:
            report.windows = windows(case, report.input, report.finding.index)
    if not report.mistakes and number in check.numeric:
        report.mistakes = simple_mistakes(given, check.numeric[number], SAME[str(check.dtype)],
                                          {} if case is None else case.options)
