"""log(1 + x) for 0 ≤ x ≤ 1 as straight-line arithmetic, so that a loop over it becomes vector code.

With s = x/(2 + x), at most 1/3, 1 + x is (1 + s)/(1 − s), so that log(1 + x) = 2·(s + s³/3 + s⁵/5 + …), which is exact
near 0 and is taken up to the last term that counts. That is all that log(1 + eˣ) = max(x, 0) + log(1 + e^−|x|) needs.
NaN runs through.
For compiled code only: ``log1p(x)`` of float32 and float64, good to two units in the last place.
"""

import numpy as np
from numba import types
from numba.extending import overload

from .support import FORMULA, polynomial


def log1p(x):
    """log(1 + x) for 0 ≤ x ≤ 1."""


TERMS = {types.float32: (np.float32, 8), types.float64: (np.float64, 17)}


@overload(log1p, jit_options=FORMULA)
def _log1p(x):
    real, count = TERMS[x]
    series, two = polynomial(tuple([2 / (2 * k + 1) for k in range(count)[::-1]]), real), real(2)

    def implementation(x):
        s = x / (two + x)
        return s * series(s * s)

    return implementation
