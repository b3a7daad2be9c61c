"""Unpickle what the Python form of CIFAR consists of, and nothing else.

A pickle is a program: it may call anything that can be imported. Here it can make dicts, lists, numbers, bytes and
uint8 arrays; all that it asks for by name is one of the three below, or refused.
"""

import io
import pickle
from typing import Any

import numpy as np


def _dtype(code: bytes, *_: Any) -> np.dtype:
    if code != b"u1":
        raise pickle.UnpicklingError(f"holds an array of {code!r}, not of unsigned bytes")
    return np.dtype("u1", align=False, copy=True)  # a copy, for the pickle sets its state


def _empty_array(*_: Any) -> np.ndarray:
    return np.empty(0, np.uint8)  # the pickle then sets its shape and content


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"asks for {module}.{name}")
        return _ADMITTED[module, name]


def unpickle(data: bytes) -> Any:
    """The object in a pickle that Python 2 wrote; its strings come as bytes.

    Raises:
        pickle.UnpicklingError: it holds something else than dicts, lists, numbers, bytes and uint8 arrays.
    """
    return _Unpickler(io.BytesIO(data), fix_imports=False, encoding="bytes").load()
