"""Sums over channels, batch and group normalisation: channels are cut into parts, so that a few keep a GPU busy."""

import numpy as np

from ..contract import Array
from .module import THREADS, contiguous, divisor, empty, for_floats, launch, module_of, spread

_FILE = "normalisation.cu"
_BLOCKS = 1024  # that all channels together are cut into, where there are elements enough
_LEAST = 4096  # elements that a block sums
_SHORT = 8  # L from which on neighbouring threads have neighbouring elements of one channel


def _channels(shape: tuple[int, ...], across: int = 1) -> tuple[tuple, int]:
    """struct Channels of normalisation.cu and the number of parts of a channel, where a block has so many channels."""
    n, c, length = shape
    count = max(n * length, 1)
    per_part = -(-count // max(1, min(-(-_BLOCKS * across // max(c, 1)), count * across // _LEAST)))
    return (n, c, length, per_part, divisor(max(length, 1)), divisor(max(c, 1))), -(-count // per_part)


def _parts(count: int, like: Array) -> Array:
    return _doubles((count, like.shape[1]), like)


def _doubles(shape: tuple[int, ...], like: Array) -> Array:
    return module_of(like).empty(shape, np.float64)


def _add(like: Array, parts: Array) -> Array:
    total = empty(parts.shape[1:], like)
    launch(_FILE, "add_channel_parts", spread(total.size), (THREADS,), total, parts, total.size, len(parts))
    return total


@for_floats
def channel_sum(x: Array) -> Array:
    channels, count = _channels(x.shape)
    x, parts = contiguous(x), _parts(count, x)
    launch(_FILE, "sum_channels", (x.shape[1], count), (THREADS,), x, parts, channels)
    return _add(x, parts)


@for_floats
def batch_norm_stats(x: Array, eps: float) -> tuple[Array, Array, Array]:
    channels, count = _channels(x.shape)
    if not x.size:  # nothing has the mean 0
        zeros = module_of(x).zeros(x.shape[1], x.dtype)
        return zeros, zeros.copy(), 1 / module_of(x).sqrt(zeros + x.dtype.type(eps))
    x, means, squares = contiguous(x), _parts(count, x), _parts(count, x)
    mean, variance, inv_std = [empty(x.shape[1:2], x) for _ in range(3)]
    launch(_FILE, "channel_moments", (x.shape[1], count), (THREADS,), x, means, squares, channels)
    launch(_FILE, "join_moments", spread(mean.size), (THREADS,), mean, variance, inv_std, means, squares,
           float(eps), channels, count)
    return mean, variance, inv_std


@for_floats
def batch_norm(x: Array, mean: Array, inv_std: Array, w: Array | None, b: Array | None,
               rectify: bool = False) -> Array:
    y = empty(x.shape, x)
    given = [v if v is None else contiguous(v) for v in (x, mean, inv_std, w, b)]
    launch(_FILE, "batch_norm", spread(y.size), (THREADS,), *given, y, y.size, rectify, _channels(x.shape)[0])
    return y


@for_floats
def batch_norm_grad(gy: Array, x: Array, mean: Array, inv_std: Array, w: Array | None, training: bool,
                    y: Array | None = None) -> tuple[Array, Array, Array]:
    channels, count = _channels(x.shape)
    gy, x, mean, inv_std = (contiguous(v) for v in (gy, x, mean, inv_std))
    y = y if y is None else contiguous(y)
    gw_parts, gb_parts = _parts(count, x), _parts(count, x)
    launch(_FILE, "sum_gradients", (x.shape[1], count), (THREADS,), gy, x, y, mean, inv_std, gw_parts, gb_parts,
           channels)
    gx, gw, gb = empty(x.shape, x), _add(x, gw_parts), _add(x, gb_parts)
    launch(_FILE, "batch_norm_grad", spread(gx.size), (THREADS,), gy, x, y, mean, inv_std,
           w if w is None else contiguous(w), gw, gb, gx, gx.size, training, channels)
    return gx, gw, gb


def _rows(shape: tuple[int, ...]) -> tuple[tuple[int], tuple[int], tuple]:
    """Grid, block and struct Groups of normalisation.cu: a block for each row, of so many threads as find work."""
    n, groups, channels, length = shape
    threads = min(THREADS, max(32, channels * length // 4 // 32 * 32))
    return (n * groups,), (threads,), (groups, channels, length, divisor(max(length, 1)))


@for_floats
def group_norm(x: Array, w: Array | None, b: Array | None, eps: float,
               centred: bool = True) -> tuple[Array, Array, Array]:
    y, mean, inv_std = empty(x.shape, x), _doubles(x.shape[:2], x), _doubles(x.shape[:2], x)
    grid, block, groups = _rows(x.shape)
    given = [v if v is None else contiguous(v) for v in (x, w, b)]
    launch(_FILE, "group_norm", grid, block, *given, y, mean, inv_std, float(eps), bool(centred), groups)
    return y, mean, inv_std


@for_floats
def group_norm_grad(gy: Array, x: Array, mean: Array, inv_std: Array, w: Array | None,
                    centred: bool = True) -> tuple[Array, Array, Array]:
    (n, groups, k, length), across = x.shape, 32 if x.shape[3] < _SHORT else 1
    gy, x, mean, inv_std = (contiguous(v) for v in (gy, x, mean, inv_std))
    grid, block, rows = _rows(x.shape)
    gx = empty(x.shape, x)
    launch(_FILE, "group_norm_grad", grid, block, gy, x, mean, inv_std, w if w is None else contiguous(w), gx,
           bool(centred), rows)
    x = x.reshape(n, groups * k, length)
    channels, count = _channels(x.shape, across)
    gw_parts, gb_parts = _parts(count, x), _parts(count, x)
    launch(_FILE, "sum_group_gradients", (-(-groups * k // across), count), (THREADS,), gy, x, mean, inv_std, gw_parts,
           gb_parts, across, k, channels)
    return gx, _add(x, gw_parts).reshape(groups, k), _add(x, gb_parts).reshape(groups, k)
