"""Activations: each is a formula for one element; two loops, forward and backward, run formulas over flat arrays."""

from collections.abc import Callable

import numpy as np
from numba import prange
from numba.extending import register_jitable

from ..contract import Array
from .exponential import exp, expm1
from .support import CHUNK, OPTIONS, SERIAL, for_floats, threaded

ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)  # exact, and no wider than what they meet
formula = register_jitable(**OPTIONS)


def _forward(element: Callable) -> Callable:
    """The kernel y[i] = element(x[i], parameter)."""

    @threaded
    def loop(x, y, parameter):
        a = x.dtype.type(parameter)
        if x.size < SERIAL:
            for i in range(x.size):
                y[i] = element(x[i], a)
        else:
            for job in prange((x.size + CHUNK - 1) // CHUNK):
                part, out = x[job * CHUNK:(job + 1) * CHUNK], y[job * CHUNK:(job + 1) * CHUNK]
                for i in range(part.size):
                    out[i] = element(part[i], a)

    def kernel(x: Array, parameter: float = 0.0) -> Array:
        y = np.empty(x.shape, x.dtype)
        loop(x.ravel(), y.reshape(-1), float(parameter))
        return y

    return kernel


def _backward(element: Callable) -> Callable:
    """The kernel gx[i] = element(gy[i], saved[i], parameter), where saved is x or y."""

    @threaded
    def loop(gy, saved, gx, parameter):
        a = gy.dtype.type(parameter)
        if gy.size < SERIAL:
            for i in range(gy.size):
                gx[i] = element(gy[i], saved[i], a)
        else:
            for job in prange((gy.size + CHUNK - 1) // CHUNK):
                start, stop = job * CHUNK, (job + 1) * CHUNK
                part, kept, out = gy[start:stop], saved[start:stop], gx[start:stop]
                for i in range(part.size):
                    out[i] = element(part[i], kept[i], a)

    def kernel(gy: Array, saved: Array, parameter: float = 0.0) -> Array:
        gx = np.empty(gy.shape, gy.dtype)
        loop(gy.ravel(), saved.ravel(), gx.reshape(-1), float(parameter))
        return gx

    return kernel


@formula
def _relu(x, _):
    return ZERO if x <= ZERO else x


@formula
def _relu_grad(gy, y, _):
    return ZERO if y <= ZERO else gy


@formula
def _leaky_relu(x, slope):
    return x if x > ZERO else slope * x


@formula
def _leaky_relu_grad(gy, x, slope):
    return gy if x > ZERO else slope * gy


@formula
def _elu(x, alpha):
    return x if x > ZERO else alpha * expm1(x)


@formula
def _elu_grad(gy, x, alpha):
    return gy if x > ZERO else gy * (alpha * exp(x))


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


_RELU, _RELU_GRAD = _forward(_relu), _backward(_relu_grad)
_LEAKY_RELU, _LEAKY_RELU_GRAD = _forward(_leaky_relu), _backward(_leaky_relu_grad)
_ELU, _ELU_GRAD = _forward(_elu), _backward(_elu_grad)
_SIGMOID, _SIGMOID_GRAD = _forward(_sigmoid), _backward(_sigmoid_grad)
_TANH, _TANH_GRAD = _forward(_tanh), _backward(_tanh_grad)


@for_floats
def relu(x: Array) -> Array:
    return _RELU(x)


@for_floats
def relu_grad(gy: Array, y: Array) -> Array:
    return _RELU_GRAD(gy, y)


@for_floats
def leaky_relu(x: Array, slope: float) -> Array:
    return _LEAKY_RELU(x, slope)


@for_floats
def leaky_relu_grad(gy: Array, x: Array, slope: float) -> Array:
    return _LEAKY_RELU_GRAD(gy, x, slope)


@for_floats
def elu(x: Array, alpha: float) -> Array:
    return _ELU(x, alpha)


@for_floats
def elu_grad(gy: Array, x: Array, alpha: float) -> Array:
    return _ELU_GRAD(gy, x, alpha)


@for_floats
def sigmoid(x: Array) -> Array:
    return _SIGMOID(x)


@for_floats
def sigmoid_grad(gy: Array, y: Array) -> Array:
    return _SIGMOID_GRAD(gy, y)


@for_floats
def tanh(x: Array) -> Array:
    return _TANH(x)


@for_floats
def tanh_grad(gy: Array, y: Array) -> Array:
    return _TANH_GRAD(gy, y)
