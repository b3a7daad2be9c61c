"""Functions of single elements. Half precision is computed in single precision and rounded once, at the end."""

from collections.abc import Callable
from functools import wraps
from math import inf, pi, sqrt

from ..contract import Array, Windows
from .convolution import _wide
from .layers import _array_module, avg_pool2d, avg_pool2d_grad


def _rounded_once(function: Callable) -> Callable:
    @wraps(function)
    def rounded(first: Array, *rest: Array | float) -> Array:
        wide = [a if isinstance(a, (int, float)) else _wide(a) for a in (first, *rest)]
        return function(*wide).astype(first.dtype, copy=False)

    return rounded


# -- arithmetic -----------------------------------------------------------------------------------------------------

def add(a: Array, b: Array) -> Array:
    return a + b


def sub(a: Array, b: Array) -> Array:
    return a - b


def mul(a: Array, b: Array) -> Array:
    return a * b


def truediv(a: Array, b: Array) -> Array:
    return a / b


def iadd(a: Array, b: Array) -> Array:
    a += b
    return a


def concatenate(xs: tuple[Array, ...], axis: int) -> Array:
    xp = _array_module(xs[0])
    return xp.ascontiguousarray(xp.concatenate(xs, axis))


# -- piecewise linear -----------------------------------------------------------------------------------------------

def relu(x: Array) -> Array:
    return _array_module(x).maximum(x, 0)


def relu_grad(gy: Array, y: Array) -> Array:
    return _array_module(y).where(y <= 0, 0, gy)


@_rounded_once
def leaky_relu(x: Array, slope: float) -> Array:
    return _array_module(x).where(x > 0, x, slope * x)


@_rounded_once
def leaky_relu_grad(gy: Array, x: Array, slope: float) -> Array:
    return _array_module(x).where(x > 0, gy, slope * gy)


@_rounded_once
def prelu(x: Array, w: Array) -> Array:
    return _array_module(x).where(x > 0, x, w * x)


@_rounded_once
def prelu_grad(gy: Array, x: Array, w: Array) -> Array:
    return _array_module(x).where(x > 0, gy, w * gy)


@_rounded_once
def prelu_weight_grad(gy: Array, x: Array) -> Array:
    return _array_module(x).where(x > 0, 0, x * gy)


@_rounded_once
def hardtanh(x: Array, low: float, high: float) -> Array:
    return _array_module(x).clip(x, low, high)


def hardtanh_grad(gy: Array, y: Array, low: float, high: float) -> Array:
    return _array_module(y).where((y <= low) | (y >= high), 0, gy)


@_rounded_once
def hardswish(x: Array) -> Array:
    return x * _array_module(x).clip(x + 3, 0, 6) / 6


@_rounded_once
def hardswish_grad(gy: Array, x: Array) -> Array:
    xp = _array_module(x)
    return xp.where(x <= -3, 0, xp.where(x < 3, gy * (x / 3 + 0.5), gy))


@_rounded_once
def hardsigmoid(x: Array) -> Array:
    return _array_module(x).clip(x + 3, 0, 6) / 6


@_rounded_once
def hardsigmoid_grad(gy: Array, x: Array) -> Array:
    return _array_module(x).where((x > -3) & (x < 3), gy / 6, 0)


def hardshrink(x: Array, width: float) -> Array:
    return _array_module(x).where((-width <= x) & (x <= width), 0, x)


def hardshrink_grad(gy: Array, x: Array, width: float) -> Array:
    return _array_module(x).where((-width <= x) & (x <= width), 0, gy)


@_rounded_once
def softshrink(x: Array, width: float) -> Array:
    return x - _array_module(x).clip(x, -width, width)


@_rounded_once
def threshold(x: Array, least: float, other: float) -> Array:
    return _array_module(x).where(x <= least, other, x)


def threshold_grad(gy: Array, x: Array, least: float, other: float) -> Array:
    return _array_module(x).where(x <= least, 0, gy)


# -- exponential ----------------------------------------------------------------------------------------------------

@_rounded_once
def elu(x: Array, alpha: float, scale: float, input_scale: float) -> Array:
    xp = _array_module(x)
    return xp.where(x > 0, scale * x, scale * alpha * xp.expm1(input_scale * xp.minimum(x, 0)))


@_rounded_once
def elu_grad(gy: Array, x: Array, alpha: float, scale: float, input_scale: float) -> Array:
    xp = _array_module(x)
    e = xp.exp(input_scale * xp.minimum(x, 0))
    return xp.where(x > 0, gy * scale, gy * (scale * alpha * input_scale) * e)


@_rounded_once
def sigmoid(x: Array) -> Array:
    xp = _array_module(x)
    e = xp.exp(-abs(x))  # never above 1
    return xp.where(x < 0, e, 1) / (1 + e)


@_rounded_once
def sigmoid_grad(gy: Array, y: Array) -> Array:
    return gy * y * (1 - y)


@_rounded_once
def tanh(x: Array) -> Array:
    return _array_module(x).tanh(x)


@_rounded_once
def tanh_grad(gy: Array, y: Array) -> Array:
    return gy * (1 - y * y)


@_rounded_once
def tanhshrink(x: Array) -> Array:
    return x - _array_module(x).tanh(x)


@_rounded_once
def tanhshrink_grad(gy: Array, x: Array) -> Array:
    return gy * _array_module(x).tanh(x) ** 2


@_rounded_once
def softplus(x: Array, beta: float, threshold: float) -> Array:
    xp = _array_module(x)
    z = beta * x
    return xp.where(z > threshold, x, (xp.maximum(z, 0) + xp.log1p(xp.exp(-abs(z)))) / beta)


@_rounded_once
def softplus_grad(gy: Array, x: Array, beta: float, threshold: float) -> Array:
    z = beta * x
    return _array_module(x).where(z > threshold, gy, gy * sigmoid(z))


@_rounded_once
def softsign(x: Array) -> Array:
    return x / (1 + abs(x))


@_rounded_once
def softsign_grad(gy: Array, x: Array) -> Array:
    d = 1 + abs(x)
    return gy / (d * d + (d - d))  # NaN at infinity, as y is


# -- the error function ---------------------------------------------------------------------------------------------
# W. J. Cody, Rational Chebyshev Approximations for the Error Function, Mathematics of Computation 23 (1969), 631–637.
# Three quotients of polynomials, highest power first, whose errors are below 6·10⁻¹⁹:
#   erf(a) = a·CENTRE(a²) for a ≤ 0.46875,
#   erfc(a) = e^(−a²)·MIDDLE(a) for a ≤ 4,
#   erfc(a) = e^(−a²)·(1/√π − s·TAIL(s))/a with s = 1/a² beyond.

CENTRE = ((1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
           3.20937758913846947e3),
          (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3))
MIDDLE = ((2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
           2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
           1.23033935479799725e3),
          (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
           3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3))
TAIL = ((1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
         1.60837851487422766e-2, 6.58749161529837803e-4),
        (1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1, 6.05183413124413191e-2,
         2.33520497626869185e-3))


def _quotient(polynomials: tuple[tuple[float, ...], tuple[float, ...]], z: Array) -> Array:
    values = []
    for first, second, *rest in polynomials:
        value = z * first + second
        for coefficient in rest:
            value = value * z + coefficient
        values.append(value)
    return values[0] / values[1]


def _both(x: Array) -> tuple[Array, Array]:
    """erf(x), good where |x| ≤ 0.46875, and erfc(|x|), good beyond."""
    xp = _array_module(x)
    a = xp.minimum(abs(x), 30)  # erfc is 0 from 27 on, and infinity would meet itself below
    near, s = xp.minimum(a, 0.46875), 1 / xp.maximum(a, 4) ** 2
    erf_near = xp.copysign(near * _quotient(CENTRE, near * near), x)
    middle, tail = _quotient(MIDDLE, xp.minimum(a, 4)), (1 / sqrt(pi) - s * _quotient(TAIL, s)) * xp.sqrt(s)
    short = xp.floor(a * 16) / 16  # its square is exact: the rounding error of a² would count a² times in the result
    return erf_near, xp.where(a <= 4, middle, tail) * (xp.exp(-short * short) * xp.exp((short - a) * (short + a)))


@_rounded_once
def erf(x: Array) -> Array:
    near, far = _both(x)
    xp = _array_module(x)
    return xp.where(abs(x) <= 0.46875, near, xp.copysign(1 - far, x))


@_rounded_once
def erfc(x: Array) -> Array:
    near, far = _both(x)
    xp = _array_module(x)
    return xp.where(abs(x) <= 0.46875, 1 - near, xp.where(x < 0, 2 - far, far))


# -- of losses ------------------------------------------------------------------------------------------------------

@_rounded_once
def huber(d: Array, delta: float) -> Array:
    size = abs(d)
    return _array_module(d).where(size < delta, size * size / 2, delta * (size - delta / 2))


@_rounded_once
def huber_grad(gy: Array, d: Array, delta: float) -> Array:
    return gy * _array_module(d).clip(d, -delta, delta)


@_rounded_once
def logistic_loss(x: Array, t: Array) -> Array:
    return (1 - t) * x + softplus(-x, 1, inf)


@_rounded_once
def logistic_loss_grad(gy: Array, x: Array, t: Array) -> Array:
    s = sigmoid(-abs(x))
    return gy * _array_module(x).where(x < 0, s - t, 1 - t - s)


# -- x times a gate -------------------------------------------------------------------------------------------------

@_rounded_once
def silu(x: Array) -> Array:
    return x * sigmoid(x)


@_rounded_once
def silu_grad(gy: Array, x: Array) -> Array:
    s = sigmoid(x)
    return gy * (s * (1 + x * (1 - s)))


def _normal_cdf(x: Array) -> Array:
    return 0.5 * erfc(-sqrt(0.5) * x)


@_rounded_once
def gelu(x: Array) -> Array:
    return x * _normal_cdf(x)


@_rounded_once
def gelu_grad(gy: Array, x: Array) -> Array:
    density = _array_module(x).exp(-0.5 * x * x) / sqrt(2 * pi)
    return gy * (_normal_cdf(x) + x * density)


@_rounded_once
def gelu_tanh(x: Array) -> Array:
    u = sqrt(2 / pi) * (x + 0.044715 * x * x * x)
    return x * sigmoid(2 * u)  # ½(1 + tanh u) = σ(2u)


@_rounded_once
def gelu_tanh_grad(gy: Array, x: Array) -> Array:
    u, slope = sqrt(2 / pi) * (x + 0.044715 * x * x * x), sqrt(2 / pi) * (1 + 3 * 0.044715 * x * x)
    s = sigmoid(2 * u)
    return gy * (s + x * (s * (1 - s) * 2 * slope))


@_rounded_once
def mish(x: Array) -> Array:
    xp = _array_module(x)
    return x * xp.tanh(xp.logaddexp(x, 0))


@_rounded_once
def mish_grad(gy: Array, x: Array) -> Array:
    xp = _array_module(x)
    t = xp.tanh(xp.logaddexp(x, 0))
    return gy * (t + x * (1 - t * t) * sigmoid(x))


# -- before a pooling ------------------------------------------------------------------------------------------------

def activated_avg_pool2d(x: Array, activation: str, windows: Windows, divisor: Array) -> tuple[Array, Array]:
    a = globals()[activation](x)
    return avg_pool2d(a, windows, divisor), a


def activated_avg_pool2d_grad(gy: Array, a: Array, activation: str, windows: Windows, divisor: Array) -> Array:
    return globals()[activation + "_grad"](avg_pool2d_grad(gy, windows, divisor, a.shape), a)
