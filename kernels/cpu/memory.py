"""Memory for large arrays: kept when they die, and handed to the next array of the same size.

glibc takes arrays up to 32 MiB from its heap (see process.py) and asks the system for larger ones, which zeroes all
their pages, every time: the gradients of VGG's first linear layer, 411 MB, cost 80 ms a step before they hold a number.
On the heap they would not fit into the hole they left in the step before, once anything else has taken a piece of it.
A training step asks for the same sizes in the same order again and again, so blocks of exact sizes fit for ever.
"""

import mmap
from math import prod
from typing import Any

import numpy as np

from ..contract import Array

LARGE = 32 << 20  # bytes from which arrays are taken from here
KEPT = 1 << 30  # bytes of dead arrays that are kept
HUGE = 2 << 20  # bytes of a large page

_dead: dict[int, list[Array]] = {}  # blocks by size


class _Block:
    """The owner of an array's memory, which takes it back when the last view of the array has gone."""

    def __init__(self, memory: Array, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.memory = memory
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str,
                                    "data": (memory.ctypes.data, False)}

    def __del__(self) -> None:
        if self.memory.size + sum(size * len(blocks) for size, blocks in list(_dead.items())) <= KEPT:
            _dead.setdefault(self.memory.size, []).append(self.memory)


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """As np.empty, for arrays that may be large."""
    dtype = np.dtype(dtype)
    size = prod(shape) * dtype.itemsize
    if size < LARGE:
        return np.empty(shape, dtype)
    size = -(-size // HUGE) * HUGE
    try:
        memory = _dead.get(size, []).pop()
    except IndexError:  # none, or another thread was faster
        try:
            memory = large_pages(size)
        except MemoryError:
            raise MemoryError(f"Unable to allocate {size:,} bytes for an array with shape {tuple(shape)} and data type "
                              f"{dtype}") from None
    return np.asarray(_Block(memory, tuple(shape), dtype))


def large_pages(size: int) -> Array:
    """So many bytes in pages of 2 MiB where the system has them: jumps from page to page cost less."""
    # Private: by default the children of a fork would write into the same pages.
    flags = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    try:
        memory = mmap.mmap(-1, size + HUGE, **flags)
    except (OSError, OverflowError):  # more than there is, or than an address can count
        raise MemoryError(f"Unable to allocate {size:,} bytes") from None
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    array = np.frombuffer(memory, np.uint8)
    return array[-array.ctypes.data % HUGE:][:size]
