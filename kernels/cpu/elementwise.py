"""Functions of single elements: each is a formula; two loops, forward and backward, run formulas over flat arrays."""

from collections.abc import Callable
from functools import wraps
from math import pi, sqrt

import numpy as np
from numba import prange

from .. import contract
from ..contract import Array
from . import error_function
from .error_function import HALF, ONE, TWO, ZERO
from .exponential import exp, expm1
from .support import CHUNK, SERIAL, for_floats, formula, threaded

THREE, SIX = np.float32(3), np.float32(6)
ROOT_HALF, DENSITY = sqrt(0.5), 1 / sqrt(2 * pi)  # √½, and the density of the normal distribution at 0
TANH_SLOPE, TANH_CUBE = sqrt(8 / pi), 0.044715  # of gelu_tanh: 2u = TANH_SLOPE·(x + TANH_CUBE·x³)


def _forward(element: Callable) -> Callable:
    """The kernel of the contract named as the formula is: y[i] = element(x[i], parameters)."""

    @threaded
    def loop(x, y, parameters):
        if x.size < SERIAL:
            for i in range(x.size):
                y[i] = element(x[i], parameters)
        else:
            for job in prange((x.size + CHUNK - 1) // CHUNK):
                part, out = x[job * CHUNK:(job + 1) * CHUNK], y[job * CHUNK:(job + 1) * CHUNK]
                for i in range(part.size):
                    out[i] = element(part[i], parameters)

    @for_floats
    @wraps(getattr(contract, element.__name__[1:]))
    def kernel(x: Array, *parameters: float) -> Array:
        y = np.empty(x.shape, x.dtype)
        loop(x.ravel(), y.reshape(-1), tuple([x.dtype.type(p) for p in parameters]))
        return y

    return kernel


def _backward(element: Callable) -> Callable:
    """The kernel of the contract named as the formula is: gx[i] = element(gy[i], saved[i], parameters)."""

    @threaded
    def loop(gy, saved, gx, parameters):
        if gy.size < SERIAL:
            for i in range(gy.size):
                gx[i] = element(gy[i], saved[i], parameters)
        else:
            for job in prange((gy.size + CHUNK - 1) // CHUNK):
                start, stop = job * CHUNK, (job + 1) * CHUNK
                part, kept, out = gy[start:stop], saved[start:stop], gx[start:stop]
                for i in range(part.size):
                    out[i] = element(part[i], kept[i], parameters)

    @for_floats
    @wraps(getattr(contract, element.__name__[1:]))
    def kernel(gy: Array, saved: Array, *parameters: float) -> Array:
        gx = np.empty(gy.shape, gy.dtype)
        loop(gy.ravel(), saved.ravel(), gx.reshape(-1), tuple([gy.dtype.type(p) for p in parameters]))
        return gx

    return kernel


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
def _erf(x, _):
    return error_function.erf(x)


@formula
def _erfc(x, _):
    return error_function.erfc(x)


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


relu, relu_grad = _forward(_relu), _backward(_relu_grad)
leaky_relu, leaky_relu_grad = _forward(_leaky_relu), _backward(_leaky_relu_grad)
hardtanh, hardtanh_grad = _forward(_hardtanh), _backward(_hardtanh_grad)
hardswish, hardswish_grad = _forward(_hardswish), _backward(_hardswish_grad)
elu, elu_grad = _forward(_elu), _backward(_elu_grad)
sigmoid, sigmoid_grad = _forward(_sigmoid), _backward(_sigmoid_grad)
tanh, tanh_grad = _forward(_tanh), _backward(_tanh_grad)
erf, erfc = _forward(_erf), _forward(_erfc)
silu, silu_grad = _forward(_silu), _backward(_silu_grad)
gelu, gelu_grad = _forward(_gelu), _backward(_gelu_grad)
gelu_tanh, gelu_tanh_grad = _forward(_gelu_tanh), _backward(_gelu_tanh_grad)
mish, mish_grad = _forward(_mish), _backward(_mish_grad)
