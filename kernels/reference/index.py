"""Adding at indices."""

from ..contract import Array
from .convolution import _wide
from .layers import _array_module


def index_add(y: Array, index: Array, v: Array) -> None:
    total = _wide(y)
    _array_module(y).add.at(total, index, _wide(v))
    y[...] = total
