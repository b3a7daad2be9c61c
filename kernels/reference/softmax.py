"""Softmax of x (M, K, L) over K, its relatives, and the loss that goes with it."""

from math import inf

from ..contract import Array
from .elementwise import _rounded_once
from .layers import _array_module


@_rounded_once
def softmax(x: Array) -> Array:
    e = _array_module(x).exp(x - x.max(1, keepdims=True, initial=-inf))
    return e / e.sum(1, keepdims=True)


@_rounded_once
def softmax_grad(gy: Array, y: Array) -> Array:
    return y * (gy - (gy * y).sum(1, keepdims=True))


@_rounded_once
def log_softmax(x: Array) -> Array:
    xp = _array_module(x)
    shifted = x - x.max(1, keepdims=True, initial=-inf)
    return shifted - xp.log(xp.exp(shifted).sum(1, keepdims=True))


@_rounded_once
def log_softmax_grad(gy: Array, y: Array) -> Array:
    return gy - _array_module(y).exp(y) * gy.sum(1, keepdims=True)


def cross_entropy(x: Array, target: Array) -> tuple[Array, Array]:
    xp = _array_module(x)
    log_p = log_softmax(x[:, :, None])[:, :, 0]  # (N, K)
    counted = (target >= 0) & (target < x.shape[1])
    picked = xp.take_along_axis(log_p, xp.where(counted, target, 0)[:, None], 1)[:, 0]  # (N)
    return xp.where(counted, -picked, 0), xp.exp(log_p)


def cross_entropy_grad(gy: Array, p: Array, target: Array) -> Array:
    classes = _array_module(p).arange(p.shape[1])
    onehot = classes == target[:, None]  # (N, K)
    counted = (target >= 0) & (target < p.shape[1])
    return _array_module(p).where(counted[:, None], gy[:, None] * (p - onehot.astype(p.dtype)), 0)
