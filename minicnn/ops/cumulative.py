"""Running sums and products; and the product over an axis, whose gradient is made of running ones.

Running ones keep the shape, (..., n, ...) → (..., n, ...). Raises IndexError for a dim out of range. As in PyTorch and
NumPy.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes
from ..backend import array_module
from ..engine import Function, Tensor
from .basic import refuse_bool
from .reduce import keepdim_needs_dim, one_axis, widened

__all__ = ["cumprod", "cumsum", "prod"]


class CumSum(Function):
    """yᵢ = Σ xⱼ over j ≤ i (over j ≥ i in reverse);  gx = the same of gy, the other way."""

    def __init__(self, dim: int, reverse: bool = False) -> None:
        self.dim, self.reverse = dim, reverse

    def forward(self, x):
        way = (slice(None),) * self.dim + (slice(None, None, -1 if self.reverse else 1),)
        return x[way].cumsum(self.dim, dtype=_long(x.dtype))[way].astype(x.dtype, copy=False)

    def backward(self, gy):
        return CumSum(self.dim, not self.reverse)(gy)


class CumProd(Function):
    """yᵢ = Π xⱼ over j ≤ i;  gxᵢ = yᵢ₋₁·sᵢ  with  sᵢ = gyᵢ + xᵢ₊₁·sᵢ₊₁: no division, so zeros do no harm."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def forward(self, x):
        y = x.cumprod(self.dim, dtype=_long(x.dtype)).astype(x.dtype, copy=False)
        self.save(x, y)
        return y

    def backward(self, gy):
        x, y = self.saved
        # sᵢ = bᵢ + aᵢ·sᵢ₊ₖ holds for k = 1; putting it into itself doubles k, until i + k is past the end
        a, b, k = _shifted(x, -1, self.dim, 0), gy, 1
        while k < x.shape[self.dim]:
            a, b, k = a * _shifted(a, -k, self.dim, 0), b + a * _shifted(b, -k, self.dim, 0), 2 * k
        return _shifted(y, 1, self.dim, 1) * b


class Prod(Function):
    """y = Π x along an axis;  gxᵢ = gy·Π xⱼ over j ≠ i, as the product before i times the product after it."""

    def __init__(self, dim: int, keepdim: bool) -> None:
        self.dim, self.keepdim = dim, keepdim

    def forward(self, x):
        self.save(x)
        return x.prod(self.dim, dtype=_long(x.dtype), keepdims=self.keepdim).astype(x.dtype, copy=False)

    def backward(self, gy):
        (x,) = self.saved
        before = _shifted(x.cumprod(self.dim), 1, self.dim, 1)
        after = _shifted(x.flip(self.dim).cumprod(self.dim).flip(self.dim), -1, self.dim, 1)
        return (gy if self.keepdim else gy.unsqueeze(self.dim)) * (before * after)


def _shifted(x: Tensor, places: int, dim: int, fill: float) -> Tensor:
    """x moved along dim, towards the end if places > 0, with ``fill`` where nothing came from."""
    n, xp = x.shape[dim], array_module(x.data)
    source = xp.arange(n).reshape(-1, *[1] * (x.ndim - dim - 1)) - places
    return x.roll(places, dim).where(Tensor((source >= 0) & (source < n)), fill)


def _long(dtype: np.dtype) -> np.dtype:
    """The type of a running sum or product."""
    return dtypes.float64 if dtypes.is_floating(dtype) else dtype


def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """y[i] = x[0] + … + x[i] along dim, integers and bools as int64; gx[i] = gy[i] + … + gy[n − 1]."""
    return _running("cumsum", CumSum, input, dim, dtype)


def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """y[i] = x[0]·…·x[i] along dim; gx[i] = Σ gy[j]·y[j]/x[i] over j ≥ i, exact also where elements are 0."""
    return _running("cumprod", CumProd, input, dim, dtype)


def _running(name: str, operation: Callable[[int], Function], input: Tensor, dim: int, dtype: Any) -> Tensor:
    if dim is None:
        raise TypeError(f"{name}: dim must be an int, not None")
    axis, x = one_axis(name, input, dim), widened(input, dtype)
    refuse_bool(name, x, hint="use another dtype")
    return operation(axis)(x) if x.ndim else operation(axis)(x.reshape(1)).reshape(())


def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """y = Πx over one axis, or of all elements, integers give int64.

    gx = gy times the product of all the others, also where elements are 0.
    """
    axis, x = one_axis("prod", input, dim), widened(input, dtype)
    keepdim_needs_dim("prod", dim, keepdim)
    return Prod(0, False)(x.reshape(-1)) if dim is None or x.ndim == 0 else Prod(axis, keepdim)(x)
