"""The two functions that people call."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .call import Call
from .diagnosis import diagnose
from .report import Report, Verdict, strongest
from .reproducer import reproducer

UNCLEAR = (Verdict.ILL_CONDITIONED, Verdict.PRECISION_LIMITED)
ATTEMPTS = 3  # with other upstream gradients, for inputs where under the first so much cancels that little is seen


def gradcheck(function: Callable, inputs: Any, backward: Callable | None = None, *,
              jvp: Callable | bool = False, order: int = 1, wrt: Sequence[int] | None = None, directions: int = 2,
              seed: int = 0) -> Report:
    """Check a gradient against differences whose errors are measured; there are no tolerances to choose.

    function(*inputs) returns an array or several; a single input needs no tuple. With NumPy or CuPy arrays,
    backward(gy, *inputs) returns the gradients, one per input or one per floating input (of several outputs gy is a
    tuple); both are given copies. With tensors of minicnn or PyTorch that require gradients, or arrays of JAX, the
    library's own gradients are checked. inputs may be a Case: then function and backward are given its options as
    keywords, a failure shows the windows that the element belongs to, and known mistakes of the operation are
    recognised. jvp(tangents, *inputs), or True where the library has it, is compared with backward. order=2 checks the
    gradients of the gradients. wrt are the numbers of the inputs to differentiate by. Each input is moved in so many
    random directions.

    The verdict is PASS (an error of 1e-8 of the gradient would have been seen, 1e-4 in float32), FAIL, KINK,
    ILL-CONDITIONED or PRECISION-LIMITED. Raises ValueError for what cannot be checked: inputs, outputs or gradients
    that are no floating-point numbers, a function that is not finite there, or returns something else each time.
    """
    if order not in (1, 2):
        raise ValueError(f"gradcheck: order = {order} must be 1 or 2")
    if directions < 1:
        raise ValueError(f"gradcheck: directions = {directions} must be positive")
    if hasattr(inputs, "dtype"):  # the only one
        inputs = (inputs,)
    call = Call(function, inputs, backward, jvp, order, wrt, directions, seed)
    reports: dict[int, Report] = {}
    with np.errstate(all="ignore"):  # steps may lead out of the domain
        for attempt in range(ATTEMPTS):
            call = replace(call, seed=seed + attempt)
            check = call.check()
            unclear = [i for i in range(len(check.arrays)) if i not in reports or reports[i].verdict in UNCLEAR]
            reports |= check.run(directions, bool(jvp), unclear)
            report = strongest(reports.values())
            if report.verdict not in UNCLEAR:
                break
        report.precision = max([r.precision for r in reports.values()])
        if report.verdict is Verdict.FAIL:
            if order == 1:
                diagnose(check, report, call.case)
            report.reproducer = reproducer(call, report)
    return report


def assert_gradients(function: Callable, inputs: Any, backward: Callable | None = None, **options: Any) -> None:
    """gradcheck for tests: raises AssertionError with the whole report unless the verdict is PASS."""
    report = gradcheck(function, inputs, backward, **options)
    if not report:
        raise AssertionError(str(report))
