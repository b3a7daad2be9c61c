"""Adding at indices: the index is sorted by kernels of its own, as CuPy's sorting cannot be part of a graph."""

import numpy as np

from ..contract import Array
from .module import REALS, THREADS, context, contiguous, empty, launch, spread

_FILE = "index.cu"
_RUN = 256  # of index.cu


def index_add(y: Array, index: Array, v: Array) -> None:
    if not v.size:
        return
    with context(y):
        if y.dtype.name in REALS:
            _add(y, _sorted(contiguous(index)), contiguous(v))
        else:  # no sum is rounded, so that the type in which it is taken changes nothing
            total = y.astype(np.int64)
            _add(total, _sorted(contiguous(index)), contiguous(v.astype(np.int64)))
            y[...] = total


def _add(y: Array, keys: Array, v: Array) -> None:
    launch(_FILE, "index_add", spread(v.size), (THREADS,), y, v, keys, v.size, *v.shape)


def _sorted(index: Array) -> Array:
    """The keys of the entries of an index, in order."""
    keys, merged, count, length = empty(index.shape, index), empty(index.shape, index), len(index), _RUN
    launch(_FILE, "sort_runs", (-(-count // _RUN),), (_RUN,), index, keys, count)
    while length < count:
        launch(_FILE, "merge_runs", spread(count), (THREADS,), keys, merged, count, length)
        keys, merged, length = merged, keys, 2 * length
    return keys
