"""The CUDA kernels on a GPU, for tests that know NumPy's arrays alone."""

import sys
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import numpy as np

from minicnn.kernels import cuda


class OnGpu:
    """kernels.cuda, called with NumPy arrays: they are copied to the GPU and back, also those written in place."""

    def __getattr__(self, name: str) -> Callable:
        kernel = getattr(cuda, name)

        @wraps(kernel)
        def call(*arguments: Any, **options: Any) -> Any:
            moved = _moved(arguments, np.ndarray, sys.modules["cupy"].asarray)
            result = kernel(*moved, **options)
            for place, array in zip(_arrays(arguments), _arrays(moved), strict=True):
                if (now := array.get()).tobytes() != place.tobytes():  # others may be read-only
                    place[...] = now
            return _moved(result, sys.modules["cupy"].ndarray, lambda a: a.get())

        return call


def _moved(value: Any, kind: type, move: Callable) -> Any:
    """The value with its arrays, in tuples too, moved."""
    if type(value) is tuple:
        return tuple([_moved(v, kind, move) for v in value])
    return move(value) if isinstance(value, kind) else value


def _arrays(value: Any) -> Iterator[Any]:
    if type(value) is tuple:
        for v in value:
            yield from _arrays(v)
    elif isinstance(value, np.ndarray) or hasattr(value, "get"):
        yield value
