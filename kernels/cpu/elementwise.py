"""Functions of single elements: each is a formula, which one loop runs over flat arrays."""

import inspect
from collections.abc import Callable
from functools import wraps
from math import pi, sqrt

import numpy as np

from .. import contract
from ..contract import Array
from . import error_function
from .error_function import HALF, ONE, TWO, ZERO
from .exponential import exp, expm1
from .logarithm import log1p
from .memory import empty
from .support import CHUNK, for_floats, formula
from .threads import jobs_of, threaded

THREE, SIX = np.float32(3), np.float32(6)
ROOT_HALF, DENSITY = sqrt(0.5), 1 / sqrt(2 * pi)  # √½, and the density of the normal distribution at 0
TANH_SLOPE, TANH_CUBE = sqrt(8 / pi), 0.044715  # of gelu_tanh: 2u = TANH_SLOPE·(x + TANH_CUBE·x³)


@formula
def _cut1(arrays, start, stop):
    return (arrays[0][start:stop],)


@formula
def _cut2(arrays, start, stop):
    first, x = arrays
    return (first[start:stop] if first.size == x.size else np.full(stop - start, first[0]), x[start:stop])


@formula
def _cut3(arrays, start, stop):
    first, x, w = arrays
    return (first[start:stop] if first.size == x.size else np.full(stop - start, first[0]), x[start:stop],
            w[start:stop])


@formula
def _at1(arrays, i, element, parameters):
    return element(arrays[0][i], parameters)


@formula
def _at2(arrays, i, element, parameters):
    return element(arrays[0][i], arrays[1][i], parameters)


@formula
def _at3(arrays, i, element, parameters):
    return element(arrays[0][i], arrays[1][i], arrays[2][i], parameters)


# By how many arrays a formula has: the part of them that is a job's, and the formula of what stands at i.
ARRAYS = {1: (_cut1, _at1), 2: (_cut2, _at2), 3: (_cut3, _at3)}


def _kernel(element: Callable) -> Callable:
    """The kernel of the contract named as the formula is: y[i] = element(x[i], parameters), or of two or three
    arrays, of which one number may stand for all of the first, as it does in the gradient of a mean.
    """
    count = len(inspect.signature(element).parameters) - 1
    cut, at = ARRAYS[count]

    @threaded
    def loop(thread, arrays, y, parameters):
        for job in jobs_of(thread, (y.size + CHUNK - 1) // CHUNK):
            start, stop = job * CHUNK, min(y.size, (job + 1) * CHUNK)
            parts, out = cut(arrays, start, stop), y[start:stop]
            for i in range(out.size):
                out[i] = at(parts, i, element, parameters)

    @for_floats
    @wraps(getattr(contract, element.__name__[1:]))
    def kernel(first: Array, *rest: Array | float) -> Array:
        y = empty(first.shape, first.dtype)
        arrays = (_flat(first) if count > 1 else first.ravel(), *[np.ravel(a) for a in rest[:count - 1]])
        loop(y.size, arrays, y.reshape(-1), tuple([first.dtype.type(p) for p in rest[count - 1:]]))
        return y

    return kernel


def _flat(x: Array) -> Array:
    """x in one axis, or its one number where all are the same."""
    return x[(slice(1),) * x.ndim].ravel() if not any(x.strides) and x.size else x.ravel()


# -- piecewise linear -----------------------------------------------------------------------------------------------

@formula
def _relu(x, _):
    return ZERO if x <= ZERO else x


@formula
def _relu_grad(gy, y, _):
    return ZERO if y <= ZERO else gy


@formula
def _leaky_relu(x, parameters):
    (slope,) = parameters
    return x if x > ZERO else slope * x


@formula
def _leaky_relu_grad(gy, x, parameters):
    (slope,) = parameters
    return gy if x > ZERO else slope * gy


@formula
def _prelu(x, w, _):
    return x if x > ZERO else w * x


@formula
def _prelu_grad(gy, x, w, _):
    return gy if x > ZERO else w * gy


@formula
def _prelu_weight_grad(gy, x, _):
    return ZERO if x > ZERO else x * gy


@formula
def _hardtanh(x, parameters):
    low, high = parameters
    return low if x < low else high if x > high else x


@formula
def _hardtanh_grad(gy, y, parameters):
    low, high = parameters
    return ZERO if y <= low or y >= high else gy


@formula
def _hardswish(x, _):
    return x * min(max(x + THREE, ZERO), SIX) / SIX


@formula
def _hardswish_grad(gy, x, _):
    return ZERO if x <= -THREE else gy * (x / THREE + HALF) if x < THREE else gy


@formula
def _hardsigmoid(x, _):
    return min(max(x + THREE, ZERO), SIX) / SIX


@formula
def _hardsigmoid_grad(gy, x, _):
    return gy / SIX if -THREE < x < THREE else ZERO


@formula
def _hardshrink(x, parameters):
    (width,) = parameters
    return ZERO if -width <= x <= width else x


@formula
def _hardshrink_grad(gy, x, parameters):
    (width,) = parameters
    return ZERO if -width <= x <= width else gy


@formula
def _softshrink(x, parameters):
    (width,) = parameters
    return x - width if x > width else x + width if x < -width else ZERO * x


@formula
def _threshold(x, parameters):
    least, other = parameters
    return other if x <= least else x


@formula
def _threshold_grad(gy, x, parameters):
    least, _ = parameters
    return ZERO if x <= least else gy


# -- exponential ----------------------------------------------------------------------------------------------------

@formula
def _elu(x, parameters):
    alpha, scale, input_scale = parameters
    return scale * x if x > ZERO else scale * alpha * expm1(input_scale * x)


@formula
def _elu_grad(gy, x, parameters):
    alpha, scale, input_scale = parameters
    return gy * scale if x > ZERO else gy * (scale * alpha * input_scale * exp(input_scale * x))


@formula
def _sigmoid(x, _):
    e = exp(-abs(x))  # never above 1
    return (e if x < ZERO else ONE) / (ONE + e)


@formula
def _sigmoid_grad(gy, y, _):
    return gy * (y * (ONE - y))


@formula
def _tanh(x, _):
    e = expm1(-TWO * abs(x))  # tanh |x| = −e / (2 + e)
    return (-e if x > ZERO else e) / (TWO + e)


@formula
def _tanh_grad(gy, y, _):
    return gy * (ONE - y * y)


@formula
def _tanhshrink(x, _):
    return x - _tanh(x, _)


@formula
def _tanhshrink_grad(gy, x, _):
    y = _tanh(x, _)
    return gy * (y * y)


@formula
def _softplus(x, parameters):
    beta, threshold = parameters
    z = beta * x
    return x if z > threshold else (max(z, ZERO) + log1p(exp(-abs(z)))) / beta


@formula
def _softplus_grad(gy, x, parameters):
    beta, threshold = parameters
    z = beta * x
    return gy if z > threshold else gy * _sigmoid(z, ())


@formula
def _softsign(x, _):
    return x / (ONE + abs(x))


@formula
def _softsign_grad(gy, x, _):
    d = ONE + abs(x)
    return gy / (d * d + (d - d))  # NaN at infinity, as y is


@formula
def _erf(x, _):
    return error_function.erf(x)


@formula
def _erfc(x, _):
    return error_function.erfc(x)


# -- of losses ------------------------------------------------------------------------------------------------------

@formula
def _huber(d, parameters):
    (delta,) = parameters
    size = abs(d)
    return HALF * size * size if size < delta else delta * (size - HALF * delta)


@formula
def _huber_grad(gy, d, parameters):
    (delta,) = parameters
    return gy * (delta if d >= delta else -delta if d <= -delta else d)


@formula
def _logistic_loss(x, t, _):
    return (ONE - t) * x + (max(-x, ZERO) + log1p(exp(-abs(x))))


@formula
def _logistic_loss_grad(gy, x, t, _):
    s = _sigmoid(-abs(x), _)
    return gy * (s - t if x < ZERO else ONE - t - s)


# -- x times a gate -------------------------------------------------------------------------------------------------

@formula
def _silu(x, _):
    return x * _sigmoid(x, _)


@formula
def _silu_grad(gy, x, _):
    s = _sigmoid(x, _)
    return gy * (s * (ONE + x * (ONE - s)))


@formula
def _gelu(x, _):
    _, twice = error_function.gauss_erfc(-x * type(x)(ROOT_HALF))  # the normal distribution up to x
    return x * (HALF * twice)


@formula
def _gelu_grad(gy, x, _):
    e, twice = error_function.gauss_erfc(-x * type(x)(ROOT_HALF))
    return gy * (HALF * twice + x * (type(x)(DENSITY) * e))


@formula
def _tanh_gate(x):
    return _sigmoid(type(x)(TANH_SLOPE) * (x + type(x)(TANH_CUBE) * x * x * x), ())  # ½(1 + tanh u) = σ(2u)


@formula
def _gelu_tanh(x, _):
    return x * _tanh_gate(x)


@formula
def _gelu_tanh_grad(gy, x, _):
    s, slope = _tanh_gate(x), type(x)(TANH_SLOPE) * (ONE + THREE * type(x)(TANH_CUBE) * x * x)
    return gy * (s + x * (s * (ONE - s) * slope))


# With e = e^−|x|, tanh(log(1 + eˣ)) is n / d: nothing overflows, and one exponential is enough for the gradient too.
@formula
def _mish(x, _):
    e = exp(-abs(x))
    n = e * (e + TWO) if x < ZERO else ONE + TWO * e
    d = n + TWO * (ONE if x < ZERO else e * e)
    return x * (n / d)


@formula
def _mish_grad(gy, x, _):
    e = exp(-abs(x))
    n = e * (e + TWO) if x < ZERO else ONE + TWO * e
    d = n + TWO * (ONE if x < ZERO else e * e)
    slope = TWO * TWO * (ONE + e) * (e if x < ZERO else e * e) / (d * d)
    return gy * (n / d + x * slope)


relu, relu_grad = _kernel(_relu), _kernel(_relu_grad)
leaky_relu, leaky_relu_grad = _kernel(_leaky_relu), _kernel(_leaky_relu_grad)
prelu, prelu_grad, prelu_weight_grad = _kernel(_prelu), _kernel(_prelu_grad), _kernel(_prelu_weight_grad)
hardtanh, hardtanh_grad = _kernel(_hardtanh), _kernel(_hardtanh_grad)
hardswish, hardswish_grad = _kernel(_hardswish), _kernel(_hardswish_grad)
hardsigmoid, hardsigmoid_grad = _kernel(_hardsigmoid), _kernel(_hardsigmoid_grad)
hardshrink, hardshrink_grad = _kernel(_hardshrink), _kernel(_hardshrink_grad)
softshrink = _kernel(_softshrink)
threshold, threshold_grad = _kernel(_threshold), _kernel(_threshold_grad)
elu, elu_grad = _kernel(_elu), _kernel(_elu_grad)
sigmoid, sigmoid_grad = _kernel(_sigmoid), _kernel(_sigmoid_grad)
tanh, tanh_grad = _kernel(_tanh), _kernel(_tanh_grad)
tanhshrink, tanhshrink_grad = _kernel(_tanhshrink), _kernel(_tanhshrink_grad)
softplus, softplus_grad = _kernel(_softplus), _kernel(_softplus_grad)
softsign, softsign_grad = _kernel(_softsign), _kernel(_softsign_grad)
erf, erfc = _kernel(_erf), _kernel(_erfc)
huber, huber_grad = _kernel(_huber), _kernel(_huber_grad)
logistic_loss, logistic_loss_grad = _kernel(_logistic_loss), _kernel(_logistic_loss_grad)
silu, silu_grad = _kernel(_silu), _kernel(_silu_grad)
gelu, gelu_grad = _kernel(_gelu), _kernel(_gelu_grad)
gelu_tanh, gelu_tanh_grad = _kernel(_gelu_tanh), _kernel(_gelu_tanh_grad)
mish, mish_grad = _kernel(_mish), _kernel(_mish_grad)
