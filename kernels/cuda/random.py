"""Dropout, whose mask is the CPU's to the last bit: its random numbers depend on key and position alone."""

from ..contract import Array, Pair
from .module import THREADS, contiguous, empty, for_floats, launch, spread


def _key(key: Pair) -> tuple[int, int, int, int]:
    """struct Key of random.cu."""
    seed, stream = key
    return seed, seed >> 32, stream, stream >> 32


@for_floats
def dropout(x: Array, p: float, key: Pair) -> Array:
    y = empty(x.shape, x)
    launch("random.cu", "dropout", spread((x.size + 3) // 4), (THREADS,), contiguous(x), y, x.size, float(p),
           1 / (1 - p) if p < 1 else 0.0, _key(key))
    return y
