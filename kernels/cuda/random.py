"""Dropout, whose mask is the CPU's to the last bit: its random numbers depend on key and position alone."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..contract import Array, Pair
from .module import THREADS, contiguous, empty, for_floats, launch, spread

_streams: Array | None = None


@contextmanager
def streams_advanced_by(count: Array) -> Iterator[None]:
    """Kernels launched inside add what this array (1), uint64, holds when they run to the stream of their key."""
    global _streams
    before, _streams = _streams, count
    try:
        yield
    finally:
        _streams = before


def _key(key: Pair) -> tuple[int, int, int, int]:
    """struct Key of random.cu."""
    seed, stream = key
    return seed, seed >> 32, stream, stream >> 32


@for_floats
def dropout(x: Array, p: float, key: Pair) -> Array:
    y = empty(x.shape, x)
    launch("random.cu", "dropout", spread((x.size + 3) // 4), (THREADS,), contiguous(x), y, x.size, float(p),
           1 / (1 - p) if p < 1 else 0.0, _key(key), _streams)
    return y
