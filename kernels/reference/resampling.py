"""Weighted sums of chosen elements: interpolation along an axis, and at any places of an image."""

from ..contract import Array
from .convolution import _wide
from .layers import _array_module


def resample(x: Array, start: Array, index: Array, weight: Array) -> Array:
    xp = _array_module(x)
    taps = _wide(x)[:, index] * weight.astype(_wide(x).dtype)[:, None]                  # (A, T, B)
    y = xp.zeros((len(x), len(start) - 1, x.shape[2]), taps.dtype)
    xp.add.at(y, (slice(None), xp.repeat(xp.arange(len(start) - 1), xp.diff(start))), taps)
    return y.astype(x.dtype)                                                            # (A, M, B)


def _taken(x: Array, index: Array) -> Array:
    """The elements at one tap, 0 where there is none.  x (N, C, L), index (N, P)."""
    at = index[:, None]                                                                 # (N, 1, P)
    xp = _array_module(x)
    return xp.where(at >= 0, xp.take_along_axis(_wide(x), at.clip(0), 2), 0)            # (N, C, P)


def sample(x: Array, index: Array, w: Array) -> Array:
    y = sum(_wide(w)[:, None, k] * _taken(x, index[:, k]) for k in range(w.shape[1]))
    return y.astype(x.dtype)                                                            # (N, C, P)


def sample_input_grad(gy: Array, index: Array, w: Array, length: int) -> Array:
    xp = _array_module(gy)
    (n, c), taps = gy.shape[:2], w.shape[1]
    gx = xp.zeros((n, c, length + 1), _wide(gy).dtype)  # the last, index −1, is thrown away
    image, channel = xp.arange(n)[:, None, None], xp.arange(c)[:, None]
    for k in range(taps):
        xp.add.at(gx, (image, channel, index[:, None, k]), _wide(gy) * _wide(w)[:, None, k])
    return gx[:, :, :length].astype(gy.dtype)                                           # (N, C, L)


def sample_weight_grad(x: Array, index: Array, gy: Array) -> Array:
    taps = [(_wide(gy) * _taken(x, index[:, k])).sum(1) for k in range(index.shape[1])]  # K of (N, P)
    return _array_module(x).stack(taps, 1).astype(x.dtype)                              # (N, K, P)
