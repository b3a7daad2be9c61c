"""The definition of most kernels, in plain NumPy: short before fast, one line per term.

Each function is the text to read for what an operation computes, and what the fast back ends are tested against. They
work for every floating type, for empty batches and, as they call the module their argument comes from, for CuPy
arrays. Sums over windows, images and batches run in float64 and are rounded once.
"""

import sys
from math import sqrt

import numpy as np

from ..contract import Array, Arrays, Pair, Windows


def _array_module(x: Array):
    return sys.modules["cupy"] if type(x).__module__.startswith("cupy") else np


# -- pooling --------------------------------------------------------------------------------------------------------

def _each_window(windows: Windows):
    """(i, j, rows, cols): output position and the slices of the image below it."""
    for i, top in enumerate(windows.row_start.tolist()):
        for j, left in enumerate(windows.col_start.tolist()):
            rows = slice(top, int(windows.row_stop[i]), windows.step[0])
            yield i, j, rows, slice(left, int(windows.col_stop[j]), windows.step[1])


def max_pool2d(x: Array, windows: Windows) -> tuple[Array, Array]:
    xp = _array_module(x)
    n, c, _, width = x.shape
    y = xp.empty((n, c, len(windows.row_start), len(windows.col_start)), x.dtype)  # (N, C, OH, OW)
    index = xp.empty(y.shape, np.int64)
    for i, j, rows, cols in _each_window(windows):
        window = x[:, :, rows, cols]  # (N, C, KH, KW)
        kh, kw = window.shape[2:]
        flat = window.reshape(n, c, kh * kw)
        nan = flat != flat
        last_nan = kh * kw - 1 - nan[:, :, ::-1].argmax(2)  # (N, C)
        best = xp.where(nan.any(2), last_nan, flat.argmax(2))  # argmax takes the first of equals
        y[:, :, i, j] = xp.take_along_axis(flat, best[:, :, None], 2)[:, :, 0]
        index[:, :, i, j] = (rows.start + best // kw * rows.step) * width + cols.start + best % kw * cols.step
    return y, index


def pool_scatter(gy: Array, index: Array, x_shape: tuple[int, ...]) -> Array:
    xp = _array_module(gy)
    n, c, height, width = x_shape
    planes, outputs = n * c, gy.shape[2] * gy.shape[3]
    gx = xp.zeros((planes, height * width), gy.dtype)
    xp.add.at(gx, (xp.arange(planes)[:, None], index.reshape(planes, outputs)), gy.reshape(planes, outputs))
    return gx.reshape(x_shape)  # (N, C, H, W)


def pool_gather(x: Array, index: Array) -> Array:
    n, c, height, width = x.shape
    flat = index.reshape(n, c, index.shape[2] * index.shape[3])
    return _array_module(x).take_along_axis(x.reshape(n, c, height * width), flat, 2).reshape(index.shape)


def avg_pool2d(x: Array, windows: Windows, divisor: Array) -> Array:
    y = _array_module(x).empty((*x.shape[:2], *divisor.shape), x.dtype)  # (N, C, OH, OW)
    for i, j, rows, cols in _each_window(windows):
        y[:, :, i, j] = x[:, :, rows, cols].sum((2, 3), dtype=np.float64) / divisor[i, j]
    return y


def avg_pool2d_grad(gy: Array, windows: Windows, divisor: Array, x_shape: tuple[int, ...]) -> Array:
    gx = _array_module(gy).zeros(x_shape, gy.dtype)
    for i, j, rows, cols in _each_window(windows):
        gx[:, :, rows, cols] += (gy[:, :, i, j] / divisor[i, j]).astype(gy.dtype)[:, :, None, None]
    return gx


# -- normalisation --------------------------------------------------------------------------------------------------

def _per_channel(v: Array) -> Array:
    return v[None, :, None]  # (C) → (1, C, 1), to stand beside (N, C, L)


def axis_sum(x: Array) -> Array:
    return x.sum(1, dtype=np.float64)


def channel_sum(x: Array) -> Array:
    return x.sum((0, 2), dtype=np.float64).astype(x.dtype)


def batch_norm_stats(x: Array, eps: float) -> tuple[Array, Array, Array]:
    m = max(x.shape[0] * x.shape[2], 1)
    mean = x.sum((0, 2), dtype=np.float64) / m
    var = ((x - _per_channel(mean)) ** 2).sum((0, 2)) / m  # the mean comes off before the square: no cancellation
    mean, var = mean.astype(x.dtype), var.astype(x.dtype)
    return mean, var, 1 / _array_module(x).sqrt(var + x.dtype.type(eps))


def batch_norm(x: Array, mean: Array, inv_std: Array, w: Array | None, b: Array | None,
               rectify: bool = False) -> Array:
    y = (x - _per_channel(mean)) * _per_channel(inv_std)
    if w is not None:
        y = y * _per_channel(w)
    if b is not None:
        y = y + _per_channel(b)
    return _array_module(y).where(y <= 0, y.dtype.type(0), y) if rectify else y


def batch_norm_grad(gy: Array, x: Array, mean: Array, inv_std: Array, w: Array | None, training: bool,
                    y: Array | None = None) -> tuple[Array, Array, Array]:
    if y is not None:
        gy = _array_module(y).where(y <= 0, gy.dtype.type(0), gy)
    m = max(x.shape[0] * x.shape[2], 1)
    x_hat = (x - _per_channel(mean)) * _per_channel(inv_std)
    gw = channel_sum(gy * x_hat)
    gb = channel_sum(gy)
    scale = inv_std if w is None else w * inv_std
    if training:  # x̂ has mean 0 and variance 1 whatever x is, so the parts of gy that would change either are taken out
        gx = _per_channel(scale) * (gy - _per_channel(gb / m) - x_hat * _per_channel(gw / m))
    else:
        gx = _per_channel(scale) * gy
    return gx, gw, gb


def group_norm(x: Array, w: Array | None, b: Array | None, eps: float,
               centred: bool = True) -> tuple[Array, Array, Array]:
    xp = _array_module(x)
    m = max(x.shape[2] * x.shape[3], 1)
    mean = x.sum((2, 3), dtype=np.float64) / m if centred else xp.zeros(x.shape[:2])  # (N, G)
    d = x - mean[:, :, None, None]
    inv_std = 1 / xp.sqrt((d * d).sum((2, 3)) / m + eps)  # (N, G)
    y = d * inv_std[:, :, None, None]
    if w is not None:
        y = y * w[:, :, None]
    if b is not None:
        y = y + b[:, :, None]
    return y.astype(x.dtype), mean, inv_std


def group_norm_grad(gy: Array, x: Array, mean: Array, inv_std: Array, w: Array | None,
                    centred: bool = True) -> tuple[Array, Array, Array]:
    m = max(x.shape[2] * x.shape[3], 1)
    scale = inv_std[:, :, None, None]
    x_hat = (x - mean[:, :, None, None]) * scale
    g = gy if w is None else gy * w[:, :, None]
    level = g.sum((2, 3), dtype=np.float64)[:, :, None, None] / m if centred else 0
    slope = (g * x_hat).sum((2, 3))[:, :, None, None] / m
    gx = scale * (g - level - x_hat * slope)
    gw, gb = (gy * x_hat).sum((0, 3)), gy.sum((0, 3), dtype=np.float64)  # (G, K)
    return gx.astype(x.dtype), gw.astype(x.dtype), gb.astype(x.dtype)


# -- dropout --------------------------------------------------------------------------------------------------------

_WORD = 0xFFFFFFFF  # the low 32 bits


def _philox(counter: list[Array], key: list[int]) -> list[Array]:
    """Philox 4×32-10: ten rounds that scramble four 32-bit words (uint64 arrays) under two key words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        even, odd = c0 * 0xD2511F53, c2 * 0xCD9E8D57  # 64-bit products of 32-bit words
        c0, c1, c2, c3 = (odd >> 32) ^ c1 ^ k0, odd & _WORD, (even >> 32) ^ c3 ^ k1, even & _WORD
        k0, k1 = (k0 + 0x9E3779B9) & _WORD, (k1 + 0xBB67AE85) & _WORD
    return [c0, c1, c2, c3]


def _uniform(n: int, key: Pair, xp) -> Array:
    seed, stream = key
    block = xp.arange((n + 3) // 4, dtype=np.uint64)
    word = xp.ones_like(block)
    counter = [block & _WORD, block >> 32, word * (stream & _WORD), word * (stream >> 32 & _WORD)]
    bits = xp.stack(_philox(counter, [seed & _WORD, seed >> 32 & _WORD]), 1).reshape(-1)[:n]
    return (bits >> 8).astype(np.float32) * np.float32(2 ** -24)  # 24 bits, which float32 holds exactly


def random_uniform(n: int, key: Pair) -> Array:
    return _uniform(n, key, np)


def dropout(x: Array, p: float, key: Pair) -> Array:
    xp = _array_module(x)
    kept = _uniform(x.size, key, xp).reshape(x.shape) >= np.float32(p)
    return xp.where(kept, x * (1 / (1 - p) if p < 1 else 0), 0)


# -- products -------------------------------------------------------------------------------------------------------

def matmul(a: Array, b: Array, bias: Array | None = None) -> Array:
    if a.dtype.itemsize == 2 and a.dtype.kind in "fV":  # sums of half precision are float32
        y = matmul(a.astype(np.float32), b.astype(np.float32), None if bias is None else bias.astype(np.float32))
        return y.astype(a.dtype)
    y = a @ b  # (M, N)
    return y if bias is None else y + bias


# -- optimiser steps ------------------------------------------------------------------------------------------------

def sgd_step(ps: Arrays, gs: Arrays, velocities: Arrays | None, lr: float, momentum: float, dampening: float,
             weight_decay: float, nesterov: bool, maximize: bool, first: bool) -> None:
    for p, g, velocity in zip(ps, gs, velocities or (None,) * len(ps), strict=True):
        g = -g if maximize else g
        if weight_decay:  # 0·∞ would be NaN
            g = g + weight_decay * p
        if velocity is not None:
            velocity[...] = g if first else momentum * velocity + (1 - dampening) * g
            g = g + momentum * velocity if nesterov else velocity
        p -= lr * g


def adam_step(ps: Arrays, gs: Arrays, ms: Arrays, vs: Arrays, v_maxes: Arrays | None, step: int, lr: float,
              beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool, maximize: bool) -> None:
    for p, g, m, v, v_max in zip(ps, gs, ms, vs, v_maxes or (None,) * len(ps), strict=True):
        xp = _array_module(p)
        g = -g if maximize else g
        if decoupled:
            p *= 1 - lr * weight_decay
        elif weight_decay:
            g = g + weight_decay * p
        m[...] = beta1 * m + (1 - beta1) * g
        v[...] = beta2 * v + (1 - beta2) * g * g
        if v_max is not None:
            v_max[...] = xp.maximum(v_max, v)
            v = v_max
        p -= lr / (1 - beta1 ** step) * m / (xp.sqrt(v) / sqrt(1 - beta2 ** step) + eps)
