"""Fully connected layers, and those that only reshape.

Raises RuntimeError where the shapes do not fit. The layers, and how their parameters start, are PyTorch's.
"""

import math
from typing import Any

from .. import functional as F
from ..engine import Tensor
from . import init
from .arguments import parameter, whole
from .module import Module

__all__ = ["Bilinear", "Flatten", "Identity", "Linear", "Unflatten"]


class Linear(Module):
    """y = x·weightᵀ + bias over the last axis, (..., in_features) → (..., out_features)."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        self.in_features = whole("Linear", "in_features", in_features, 0)
        self.out_features = whole("Linear", "out_features", out_features, 0)
        self.weight = parameter((out_features, in_features), dtype, device)
        self.register_parameter("bias", parameter((out_features,), dtype, device) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values, uniform within ±1/√in_features, PyTorch's default."""
        init.default_(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """linear(input, weight, bias)."""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The sizes and whether there is a bias."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    """y[o] = x₁·weight[o]·x₂ᵀ + bias[o], (..., in1_features) and (..., in2_features) → (..., out_features)."""

    def __init__(self, in1_features: int, in2_features: int, out_features: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        self.in1_features = whole("Bilinear", "in1_features", in1_features)
        self.in2_features = whole("Bilinear", "in2_features", in2_features, 0)
        self.out_features = whole("Bilinear", "out_features", out_features, 0)
        self.weight = parameter((out_features, in1_features, in2_features), dtype, device)
        self.register_parameter("bias", parameter((out_features,), dtype, device) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values, uniform within ±1/√in1_features, PyTorch's default."""
        for values in self.parameters():
            init.uniform_(values, -1 / math.sqrt(self.in1_features), 1 / math.sqrt(self.in1_features))

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """bilinear(input1, input2, weight, bias)."""
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The sizes and whether there is a bias."""
        return (f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
                f"out_features={self.out_features}, bias={self.bias is not None}")


class Identity(Module):
    """y = x, (...) → (...); takes any arguments, so that it can stand in for any layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        """The input itself."""
        return input


class Flatten(Module):
    """The axes start_dim … end_dim as one: by default (N, C, H, W) → (N, C·H·W)."""

    _shown = ("start_dim", "end_dim")

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        """The same elements with fewer axes."""
        return input.flatten(self.start_dim, self.end_dim)


class Unflatten(Module):
    """The axis dim as several, of unflattened_size: Unflatten(1, (2, 3)) takes (N, 6) → (N, 2, 3)."""

    _shown = ("dim", "unflattened_size")

    def __init__(self, dim: int, unflattened_size: tuple[int, ...]) -> None:
        super().__init__()
        if not isinstance(unflattened_size, (tuple, list)) or not all(isinstance(n, int) for n in unflattened_size):
            raise TypeError(f"Unflatten: unflattened_size = {unflattened_size!r} must be a tuple of integers")
        self.dim, self.unflattened_size = dim, unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        """The same elements with more axes."""
        return input.unflatten(self.dim, self.unflattened_size)
