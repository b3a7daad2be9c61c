"""The two functions that people call."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .case import Case
from .check import Check
from .diagnosis import diagnose
from .functions import differentiable
from .report import Report, Verdict, strongest

UNCLEAR = (Verdict.ILL_CONDITIONED, Verdict.PRECISION_LIMITED)
ATTEMPTS = 3  # with other upstream gradients, for inputs where under the first so much cancels that little is seen


def gradcheck(function: Callable, inputs: Sequence[Any] | Case, backward: Callable | None = None, *,
              jvp: Callable | bool = False, order: int = 1, wrt: Sequence[int] | None = None, directions: int = 2,
              seed: int = 0) -> Report:
    """Check a gradient against differences whose errors are measured; there are no tolerances to choose.

    function(*inputs) returns an array or several. With NumPy or CuPy arrays, backward(gy, *inputs) returns the
    gradients, one per input or one per floating input (of several outputs gy is a tuple). With tensors of minicnn or
    PyTorch that require gradients, or arrays of JAX, the library's own gradients are checked. inputs may be a Case:
    then function and backward are given its options as keywords, a failure shows the windows that the element belongs
    to, and known mistakes of the operation are recognised. jvp(tangents, *inputs), or True where the library has it, is
    compared with backward. order=2 checks the gradients of the gradients. wrt are the numbers of the inputs to
    differentiate by. Each input is moved in so many random directions.

    The verdict is PASS (an error of 1e-8 of the gradient would have been seen, 1e-4 in float32), FAIL, KINK,
    ILL-CONDITIONED or PRECISION-LIMITED. Raises ValueError for inputs that cannot be checked, and where function
    returns something else each time.
    """
    call = f"{_name(function)}, {{}}" + ("" if backward is None else f", {_name(backward, 'backward')}")
    case, name = None, _name(function)
    if isinstance(inputs, Case):
        case = inputs
        function, backward = _with_options(function, case), _with_options(backward, case)
        wrt = case.wrt if wrt is None else wrt
        inputs = case.tensors() if backward is None else case.arrays
    if order not in (1, 2):
        raise ValueError(f"gradcheck: order = {order} must be 1 or 2")
    seen = differentiable(function, inputs, backward, jvp if callable(jvp) else None, wrt)
    name = name if order == 1 else f"{name}, second order"
    with np.errstate(all="ignore"):  # steps may lead out of the domain
        reports: dict[int, Report] = {}
        for attempt in range(ATTEMPTS):
            check = Check(name, seen.to_order(order, seed + attempt), seed + attempt)
            unclear = [i for i in range(len(check.arrays)) if i not in reports or reports[i].verdict in UNCLEAR]
            reports |= check.run(directions, bool(jvp), unclear)
            report = strongest(reports.values())
            if report.verdict not in UNCLEAR:
                break
        report.precision = max([r.precision for r in reports.values()])
        if report.verdict is Verdict.FAIL and order == 1:
            diagnose(check, report, case, call)
    return report


def assert_gradients(function: Callable, inputs: Sequence[Any] | Case, backward: Callable | None = None,
                     **options: Any) -> None:
    """gradcheck for tests: raises AssertionError with the whole report unless the verdict is PASS."""
    report = gradcheck(function, inputs, backward, **options)
    if not report:
        raise AssertionError(str(report))


def _with_options(f: Any, case: Case) -> Any:
    return None if f is None else lambda *a: f(*a, **case.options)


def _name(f: Callable, unnamed: str = "function") -> str:
    return getattr(f, "__name__", type(f).__name__).replace("<lambda>", unnamed)
