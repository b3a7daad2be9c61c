"""Anomaly mode: NaN raises where it first appears, with the line that made it."""

from typing import TYPE_CHECKING, Any

from .. import dtypes

if TYPE_CHECKING:
    from .function import Function
    from .tensor import Tensor


def _has_nan(t: Any) -> bool:
    return t is not None and dtypes.is_floating(t.data.dtype) and bool((t.data != t.data).any())


def _where(node: "Function") -> str:
    return "the forward call was:\n" + "".join(node._trace or ["(recorded outside detect_anomaly)\n"])


def check_forward(node: "Function", inputs: tuple, results: tuple["Tensor", ...]) -> None:
    if any(map(_has_nan, results)) and not any(map(_has_nan, inputs)):
        raise RuntimeError(f"{type(node).__name__} returned nan values from inputs without any; {_where(node)}")


def check_backward(node: "Function", gxs: tuple) -> None:
    for i, gx in enumerate(gxs):
        if _has_nan(gx):
            raise RuntimeError(f"{node.name} returned nan values in its gradient of input {i}; {_where(node)}")
