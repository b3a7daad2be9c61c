"""eˣ and eˣ − 1 for x ≤ 0 as straight-line arithmetic, so that a loop over them becomes vector code.

The C library's are calls, one element at a time. No kernel needs positive x: softmax takes the maximum out first, the
others are symmetric or linear on that side. x = n·ln 2 + r with n an integer and |r| ≤ ln 2 / 2, hence eˣ = 2ⁿ·eʳ.
eʳ − 1 is its Taylor polynomial, up to the last term that counts, and 2ⁿ is made by writing n into the exponent bits.
Adding 1.5·2^(mantissa bits) leaves no room for a fraction, so the sum is rounded, and its low bits are n. NaN runs
through.
For compiled code only: ``exp(x)`` and ``expm1(x)`` of float32 and float64, good to one unit in the last place.
"""

import llvmlite.ir as ir
import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from .support import OPTIONS, inlined

LOG2E = 1.4426950408889634
MAGIC32, MAGIC64 = 1.5 * 2.0 ** 23, 1.5 * 2.0 ** 52
LN2_HIGH32, LN2_LOW32 = 0.693359375, -2.12194440054690583e-4  # ln 2 in two parts, the first with bits to spare for n
LN2_HIGH64, LN2_LOW64 = 6.93147180369123816490e-01, 1.90821492927058770002e-10


@intrinsic
def _power(typing_context, t):
    """2ⁿ, n the low bits of t."""
    width, mantissa, bias = (32, 23, 127) if t == types.float32 else (64, 52, 1023)

    def generate(context, builder, signature, arguments):
        word = ir.IntType(width)
        bits = builder.shl(builder.bitcast(arguments[0], word), word(mantissa))
        return builder.bitcast(builder.add(bits, word(bias << mantissa)), arguments[0].type)

    return t(t), generate


@inlined
def _reduce32(x):
    """(r, t) with t what _power takes."""
    t = x * np.float32(LOG2E) + np.float32(MAGIC32)
    n = t - np.float32(MAGIC32)
    return x - n * np.float32(LN2_HIGH32) - n * np.float32(LN2_LOW32), t


@inlined
def _series32(r):
    """eʳ − 1."""
    s = np.float32(1 / 5040)
    s = s * r + np.float32(1 / 720)
    s = s * r + np.float32(1 / 120)
    s = s * r + np.float32(1 / 24)
    s = s * r + np.float32(1 / 6)
    s = s * r + np.float32(1 / 2)
    return s * (r * r) + r


@inlined
def _reduce64(x):
    t = x * LOG2E + MAGIC64
    n = t - MAGIC64
    return x - n * LN2_HIGH64 - n * LN2_LOW64, t


@inlined
def _series64(r):
    s = 1 / 6227020800
    s = s * r + 1 / 479001600
    s = s * r + 1 / 39916800
    s = s * r + 1 / 3628800
    s = s * r + 1 / 362880
    s = s * r + 1 / 40320
    s = s * r + 1 / 5040
    s = s * r + 1 / 720
    s = s * r + 1 / 120
    s = s * r + 1 / 24
    s = s * r + 1 / 6
    s = s * r + 1 / 2
    return s * (r * r) + r


def exp(x):
    """eˣ for x ≤ 0."""


def exp_sum(x, small):
    """e^(x + small) for x ≤ 0 and |small| < 0.1, in which small may lie far below the last place of x."""


def expm1(x):
    """eˣ − 1 for x ≤ 0, accurate near 0."""


PARTS: dict[types.Type, tuple] = {types.float32: (_reduce32, _series32, np.float32(1)),
                                  types.float64: (_reduce64, _series64, 1.0)}


def _scaled(kind):
    """(lowest, power): below lowest eˣ rounds to 0, and power(y, t) is y·2ⁿ."""
    lowest, spare, one = (np.float32(-104), 64, np.float32(1)) if kind == types.float32 else (-746.0, 512, 1.0)
    up, down = one * spare, one / 2 ** spare  # 2ⁿ in two factors: alone it may be too small for its type
    return lowest, inlined(lambda y, t: y * _power(t + up) * down)


@overload(exp, jit_options=OPTIONS)
def _exp(x):
    (reduce, series, one), (lowest, power) = PARTS[x], _scaled(x)

    def implementation(x):
        r, t = reduce(lowest if x < lowest else x)
        return power(one + series(r), t)

    return implementation


@overload(exp_sum, jit_options=OPTIONS)
def _exp_sum(x, small):
    (reduce, series, one), (lowest, power) = PARTS[x], _scaled(x)

    def implementation(x, small):
        r, t = reduce(lowest if x < lowest else x)
        return power(one + series(r + small), t)

    return implementation


@overload(expm1, jit_options=OPTIONS)
def _expm1(x):
    reduce, series, one = PARTS[x]
    lowest = -64 * one  # e^-64 − 1 rounds to −1

    def implementation(x):
        r, t = reduce(lowest if x < lowest else x)
        return series(r) * _power(t) + (_power(t) - one)

    return implementation
