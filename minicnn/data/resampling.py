"""Resize as two matrix products, y = V x Hᵀ, with the weights and the integer rounding of Pillow's ``Image.resize``.

Row i of a weight matrix holds the kernel k centred on where output pixel i lies in the input:
    W[i, j] = k((j + ½ - (i + ½) s) / f) / sum over j,    s = size in / size out,    f = max(s, 1)
Shrinking (s > 1) widens the kernel by f, so that every input pixel counts: the antialias. Kernels end at the border.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

_BITS = 22  # Pillow holds the weights for 8-bit images as integers, in units of 2^-22


def _bilinear(t: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(t), 0)


def _bicubic(t: np.ndarray) -> np.ndarray:
    """Keys (1981), "Cubic convolution interpolation for digital image processing", with a = -1/2."""
    a, t = -0.5, np.abs(t)
    return np.where(t < 1, ((a + 2) * t - (a + 3)) * t * t + 1, np.where(t < 2, (((t - 5) * t + 8) * t - 4) * a, 0))


# name -> the kernel, and the distance from which on it is 0
KERNELS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
    "bilinear": (_bilinear, 1),
    "bicubic": (_bicubic, 2),
}


@lru_cache(maxsize=64)
def weights(size_in: int, size_out: int, interpolation: str, antialias: bool) -> np.ndarray:
    """The matrix (size_out, size_in) that resamples one axis; its rows sum to 1."""
    kernel, reach = KERNELS[interpolation]
    step = size_in / size_out
    stretch = max(step, 1.0) if antialias else 1.0
    centre = (np.arange(size_out)[:, None] + 0.5) * step
    first, last = np.trunc(centre - reach * stretch + 0.5), np.trunc(centre + reach * stretch + 0.5)
    j = np.arange(size_in)
    w = np.where((first <= j) & (j < last), kernel((j - centre + 0.5) / stretch), 0)
    w /= w.sum(1, keepdims=True)
    w.flags.writeable = False
    return w


def _fixed_point(w: np.ndarray) -> np.ndarray:
    w = w * 2.0**_BITS
    return np.trunc(w + np.copysign(0.5, w))


def _to_levels(y: np.ndarray) -> np.ndarray:
    y += 2.0 ** (_BITS - 1)
    y *= 2.0**-_BITS
    return np.clip(np.floor(y, out=y), 0, 255, out=y)


def resample(x: np.ndarray, size: tuple[int, int], interpolation: str, antialias: bool) -> np.ndarray:
    """Images (N, C, H, W) at size (height, width), in the dtype of x.

    uint8 follows Pillow exactly, which rounds to levels after each of the two passes: the sums of levels times integer
    weights stay below 2^53, so the float64 products are exact.
    """
    n, c, height, width = x.shape
    across, down = weights(width, size[1], interpolation, antialias), weights(height, size[0], interpolation, antialias)
    levels = x.dtype == np.uint8
    if levels:
        across, down = _fixed_point(across), _fixed_point(down)
    else:
        across, down = across.astype(x.dtype), down.astype(x.dtype)
    passes = []
    if width != size[1]:
        passes.append(lambda part: part @ across.T)
    if height != size[0]:
        # Rounding makes the order matter: Pillow (since 13) begins with the height where that shrinks the work.
        first = height > size[0] and height - size[0] > 2 * (width - size[1])
        passes.insert(0 if first else len(passes), lambda part: down @ part)
    y = np.empty((n, c, *size), x.dtype)
    per_chunk = max(1, 2**18 // max(1, c * max(height, size[0]) * max(width, size[1])))  # the copies stay in the cache
    for i in range(0, n, per_chunk):
        part = x[i : i + per_chunk].astype(across.dtype)
        for resample_axis in passes:
            part = resample_axis(part)
            part = _to_levels(part) if levels else part
        y[i : i + per_chunk] = part
    return y
