"""Weighted sums of chosen elements: a thread for each result, a warp for each plane where results are added up."""

from ..contract import Array
from .module import THREADS, contiguous, empty, for_floats, launch, module_of, spread, wide_type

_FILE = "resampling.cu"


@for_floats
def resample(x: Array, start: Array, index: Array, weight: Array) -> Array:
    xp, (a, n, b), m = module_of(x), x.shape, len(start) - 1
    y = empty((a, m, b), x)
    launch(_FILE, "resample", spread(y.size), (THREADS,), contiguous(x), contiguous(xp.asarray(start)),
           contiguous(xp.asarray(index)), contiguous(xp.asarray(weight, wide_type(x))), y, y.size, n, m, b)
    return y


@for_floats
def sample(x: Array, index: Array, w: Array) -> Array:
    (n, c, length), (_, taps, points) = x.shape, w.shape
    y = empty((n, c, points), x)
    launch(_FILE, "sample", spread(y.size), (THREADS,), contiguous(x), contiguous(index), contiguous(w), y, y.size,
           (c, length, taps, points))
    return y


@for_floats
def sample_input_grad(gy: Array, index: Array, w: Array, length: int) -> Array:
    (n, c, points), taps = gy.shape, w.shape[1]
    gx = module_of(gy).empty((n, c, length), wide_type(gy))
    launch(_FILE, "sample_input_grad", (n * c,), (32,), contiguous(gy), contiguous(index), contiguous(w), gx,
           (c, length, taps, points))
    return gx.astype(gy.dtype, copy=False)


@for_floats
def sample_weight_grad(x: Array, index: Array, gy: Array) -> Array:
    gw = empty(index.shape, x)
    launch(_FILE, "sample_weight_grad", spread(gw.size), (THREADS,), contiguous(x), contiguous(index), contiguous(gy),
           gw, gw.size, (*x.shape[1:], *index.shape[1:]))
    return gw
