"""The CUDA kernels on a GPU, for tests that know NumPy's arrays alone."""

import sys
from collections.abc import Callable
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
            cupy = sys.modules["cupy"]
            moved = [cupy.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments]
            result = kernel(*moved, **options)
            if name == "iadd" or name.endswith(("_step", "_sequence")):
                for place, array in zip(arguments, moved, strict=True):
                    if isinstance(place, np.ndarray):
                        place[...] = array.get()
            return tuple(map(self._back, result)) if isinstance(result, tuple) else self._back(result)

        return call

    @staticmethod
    def _back(result: Any) -> Any:
        return result.get() if hasattr(result, "get") else result
