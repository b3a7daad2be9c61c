"""erfc and erf as straight-line arithmetic, so that a loop over them becomes vector code.

(1 + 2a)·e^(a²)·erfc(a) hardly changes over all a ≥ 0: as a function of t = (a − 3.5)/(a + 3.5), which is in −1 … 1, it
is a polynomial of low degree (Shepherd & Laframboise 1981). Near 0, erf(x)/x is a polynomial in 8x² − 1. The
coefficients are those of Chebyshev interpolation, highest power first. NaN runs through.
For compiled code only: ``erfc(x)``, ``gauss_erfc(x)`` and ``erf(x)`` of float32 and float64, good to three or four
units in the last place.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from .exponential import exp_sum
from .support import FORMULA, formula, polynomial

ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)  # exact, and no wider than x

FAR32 = (-3.50549293e-5, -6.2522395e-5, 5.53971708e-4, -3.68675689e-4, -4.20799637e-3, 1.91371321e-2, -4.88257676e-2,
         8.79724691e-2, -1.15089193e-1, 9.75204033e-2, -1.05556216e-2, -1.40009226e-1, 1.24234925)
FAR64 = (-1.1656687889203665e-9, 6.040390099342991e-11, 1.3624442778701047e-8, 6.6518943823765316e-10,
         -9.6400425314438303e-8, -8.6115715711137188e-9, 6.0148238499504254e-7, -4.309237398316666e-8,
         -3.814012584490695e-6, 2.3273309537791425e-6, 2.4260300984917994e-5, -4.2781739959539997e-5,
         -1.2151212091980101e-4, 5.6438426687051023e-4, -3.0226795343332386e-4, -4.2150198797741864e-3,
         1.9099330953271165e-2, -4.8823325830884019e-2, 8.7983153824036782e-2, -1.1508959816003075e-1,
         9.751909515328706e-2, -1.055559633222167e-2, -1.400091801376197e-1, 1.2423492448711544)
NEAR32 = (1.15222299e-6, -4.76527181e-5, 1.61307144e-3, -4.36420515e-2, 1.08307524)
NEAR64 = (8.7776074886423536e-14, -6.3768685953016907e-12, 4.1270251519374492e-10, -2.3472289797028639e-8,
          1.1516037795233199e-6, -4.7623369345195526e-5, 1.6130716680617073e-3, -4.3642058886697884e-2,
          1.0830752376761713)


def erf(x):
    """2/√π·∫₀ˣ e^(−t²) dt."""


def erfc(x):
    """1 − erf(x)."""


def gauss_erfc(x):
    """e^(−x²), and erfc(x), near 0 with an error or two more in the last place: for what needs both."""


KINDS: dict[types.Type, tuple[Any, ...]] = {
    types.float32: (np.float32, NEAR32, FAR32, 1.5 * 2.0 ** 15),
    types.float64: (np.float64, NEAR64, FAR64, 1.5 * 2.0 ** 31)}


def _formulas(kind: types.Type) -> tuple[Callable, Callable]:
    """erf(x) where |x| < ½, and e^(−x²) with erfc(|x|)."""
    real, near_coefficients, far_coefficients, magic = KINDS[kind]
    near_sum, far_sum = polynomial(near_coefficients, real), polynomial(far_coefficients, real)
    one, two, eight, middle, last, magic = real(1), real(2), real(8), real(3.5), real(30), real(magic)

    @formula
    def near(x):
        return x * near_sum(eight * x * x - one)

    @formula
    def far(x):
        a = min(abs(x), last)  # erfc is 0 from 27 on, and what follows would be ∞ − ∞
        short = (a + magic) - magic  # so few bits that its square is exact: an error of a² would count a² times
        e, other = exp_sum(-short * short, (short - a) * (short + a)), one + two * a
        r = one / ((a + middle) * other)  # one division for both
        return e, e * far_sum((a - middle) * other * r) * ((a + middle) * r)

    return near, far


@overload(erf, jit_options=FORMULA)
def _erf(x):
    near, far = _formulas(x)

    def implementation(x):
        a = ONE - far(x)[1]
        y = -a if x < ZERO else a
        return near(x) if abs(x) < HALF else y

    return implementation


@overload(erfc, jit_options=FORMULA)
def _erfc(x):
    near, far = _formulas(x)

    def implementation(x):
        a = far(x)[1]
        y = TWO - a if x < ZERO else a
        return ONE - near(x) if abs(x) < HALF else y

    return implementation


@overload(gauss_erfc, jit_options=FORMULA)
def _gauss_erfc(x):
    _, far = _formulas(x)

    def implementation(x):
        e, a = far(x)
        return e, TWO - a if x < ZERO else a

    return implementation
