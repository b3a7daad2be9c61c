"""Number types and how they mix: PyTorch's promotion rules over NumPy dtypes.

A type of a higher kind (bool < integer < float) wins without being widened: int64 with float32 is float32. Within a
kind the wider one wins, but a tensor with axes is widened neither by a 0-d tensor nor by a Python number.
Source: https://pytorch.org/docs/stable/tensor_attributes.html#type-promotion-doc
"""

from typing import Any

import numpy as np

float16, float32, float64 = np.dtype("float16"), np.dtype("float32"), np.dtype("float64")
int8, int16, int32, int64 = np.dtype("int8"), np.dtype("int16"), np.dtype("int32"), np.dtype("int64")
uint8, bool_ = np.dtype("uint8"), np.dtype("bool")
default = float32

_KIND = {"b": 0, "i": 1, "u": 1, "f": 2, "V": 2}  # ml_dtypes' bfloat16 calls itself "V"
_NAMES = {"bool": bool_, "half": float16, "float": float32, "double": float64, "long": int64, "bfloat16": None}


def bfloat16() -> np.dtype:
    """The bfloat16 dtype; ml_dtypes is imported here, with its first use."""
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)


def as_dtype(dtype: Any) -> np.dtype:
    """The supported NumPy dtype meant by a dtype, a NumPy or Python type, or a name such as "float32" or "half"."""
    if dtype is float:
        return default
    if isinstance(dtype, str) and dtype in _NAMES:
        return _NAMES[dtype] or bfloat16()
    try:
        found = None if dtype is None else np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or not is_supported(found):
        raise TypeError(f"dtype {dtype!r} is not supported; use float32, float64, float16, bfloat16, int64, int32, "
                        "int16, int8, uint8 or bool")
    return found


def is_supported(dtype: np.dtype) -> bool:
    """Whether minicnn computes with this dtype."""
    if dtype.kind == "V" and dtype.name != "bfloat16" or dtype.kind == "u" and dtype.itemsize > 1:
        return False
    return dtype.kind in _KIND and dtype.itemsize <= 8


def kind(dtype: np.dtype) -> int:
    """0 for bool, 1 for integers, 2 for floats, of a supported dtype."""
    return _KIND[dtype.kind]


def is_floating(dtype: np.dtype) -> bool:
    """Whether tensors of this dtype can require a gradient."""
    return dtype.kind == "f" or dtype.kind == "V"


def of_scalar(value: bool | int | float) -> np.dtype:
    """The dtype a Python number has on its own: bool, int64 or float32."""
    return bool_ if isinstance(value, (bool, np.bool_)) else int64 if isinstance(value, (int, np.integer)) else default


def promote_types(a: np.dtype, b: np.dtype) -> np.dtype:
    """The type of a mix of two tensors that both have axes."""
    if a == b:
        return a
    kind_a, kind_b = kind(a), kind(b)
    if kind_a != kind_b:
        return a if kind_a > kind_b else b
    if a.kind == "V" or b.kind == "V":  # bfloat16 and float16 lose to each other's range or precision
        return float64 if float64 in (a, b) else float32
    return np.promote_types(a, b)


def result_type(*operands: Any) -> np.dtype:
    """The type of a mix of tensors (anything with .dtype and .ndim) and Python numbers."""
    groups: list[Any] = [None, None, None]  # the dtype with axes, 0-d, of Python numbers
    for operand in operands:
        if hasattr(operand, "dtype") and not isinstance(operand, np.generic):
            rank, dtype = (0 if operand.ndim else 1), operand.dtype
        else:
            rank, dtype = 2, of_scalar(operand)
        groups[rank] = dtype if groups[rank] is None else promote_types(groups[rank], dtype)
    result: Any = None
    for dtype in groups:
        if result is None or dtype is not None and kind(dtype) > kind(result):
            result = dtype if result is None else promote_types(result, dtype)
    return result
