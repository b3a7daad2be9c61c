"""What the compiled kernels of this folder share.

A kernel is three layers. Its public function, with the signature of the contract, prepares arrays. It calls one
``threaded`` function (threads.py), which cuts the work into jobs that depend on the shape alone, never on the number of
threads, so that results are equal to the last bit however many there are. The job itself is an ``inlined`` function
with the plain loop that LLVM turns into vector instructions.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from numba import njit
from numba.extending import register_jitable

from .. import reference

CHUNK = 1 << 14  # elements of one job: long enough to hide its start, short enough for every core to get some
SERIAL = 2 * CHUNK  # elements below which waking the threads costs more than they save

# What only compiled code calls, never Python, needs no wrappers for Python and C, which take long to compile.
PART: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
part = njit(**PART)

# The only liberty taken with floating point is to fuse a·b + c, so NaN and infinity keep their meaning; "numpy" lets
# division by zero give infinity instead of raising.
OPTIONS: Any = {"error_model": "numpy", "fastmath": {"contract"}}
inlined = njit(**PART, **OPTIONS)
# A formula is part of the loop it stands in, however long it is: a call would keep the loop from becoming vector code.
FORMULA: Any = OPTIONS | {"forceinline": True}
formula = register_jitable(**FORMULA)


def polynomial(coefficients: tuple[float, ...], real: type) -> Callable:
    """Horner's scheme, highest power first, unrolled: with a loop inside, that outside would not become vector code."""
    first = real(coefficients[0])
    value = formula(lambda z: first)
    for c in coefficients[1:]:
        value = _next(value, real(c))
    return value


def _next(value: Callable, c: float) -> Callable:
    return formula(lambda z: value(z) * z + c)


# A sum that may be regrouped runs in vector lanes, which is also more accurate than one running total.
regrouped_sum = njit(**PART, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})


def for_floats(kernel):
    """Send float32 and float64 to the compiled kernel, every other type to the reference."""
    plain = getattr(reference, kernel.__name__)
    compiled_types = np.dtype(np.float32), np.dtype(np.float64)

    @wraps(kernel)
    def choose(first, *rest, **named):
        return (kernel if first.dtype in compiled_types else plain)(first, *rest, **named)

    return choose
