"""Operations that take axes away: sums, means, spread, norms, any and all; the base of the other reductions.

(..., n, ...) → (...) over dim, or (..., 1, ...) with keepdim. Raises IndexError for a dim out of range, RuntimeError
for one named twice and for a type without such a result. As in PyTorch and NumPy.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np

from .. import dtypes
from ..backend import array_module, kernels_for
from ..engine import Function, Tensor, is_grad_enabled
from .basic import Expand
from .shape import axis_of, dim_of

__all__ = ["all", "any", "count_nonzero", "logsumexp", "mean", "nanmean", "nansum", "norm", "std", "std_mean", "sum",
           "var", "var_mean"]

LARGE, FEW = 1 << 15, 32  # elements worth a kernel, and elements of a sum worth one across the others

Dim = int | tuple[int, ...] | list[int] | None


# -- axes and types -------------------------------------------------------------------------------------------------

def axes_of(name: str, input: Tensor, dim: Dim) -> tuple[int, ...]:
    """The axes meant by dim, counted from 0 and sorted; None and () mean all."""
    dims = () if dim is None else tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    return _axes(name, tuple([dim_of(name, d) for d in dims]), input.data.ndim)


@lru_cache
def _axes(name: str, dims: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    if not dims:
        return tuple(range(ndim))
    axes = {axis_of(name, d, ndim) for d in dims}
    if len(axes) < len(dims):
        raise RuntimeError(f"{name}: dim {dims} names an axis twice")
    return tuple(sorted(axes)) if ndim else ()


def one_axis(name: str, input: Tensor, dim: Dim) -> int:
    """The one axis meant by dim; 0 for None and for a tensor without axes."""
    if isinstance(dim, (tuple, list)):
        raise TypeError(f"{name}: dim must be an int, not {dim!r}")
    return (*axes_of(name, input, dim), 0)[0]


def kept_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a reduction with keepdim."""
    return tuple([1 if i in axes else n for i, n in enumerate(shape)])


def _count(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    return math.prod([shape[i] for i in axes])


def not_empty(name: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    """Raise where a reduction of no elements has no result."""
    if _count(shape, axes) == 0:
        raise IndexError(f"{name}: shape {shape} has no elements along {axes}, so there is no result")


def _single(x: Any) -> Any:
    """x in at least 32 bits, if it is floating."""
    return x.astype(dtypes.float32) if dtypes.is_floating(x.dtype) and x.dtype.itemsize == 2 else x


def summed(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    """Σ x, in a type in which the errors of adding stay in the last places of x's own.

    A kernel adds up what is large and lies side by side. NumPy adds by halves along the last axes in memory, so that
    errors hardly grow, but one by one along all others.
    """
    dtype, size = x.dtype, x.size
    if not dtypes.is_floating(dtype):
        return x.sum(axes, dtype, keepdims=keepdims)
    if size >= LARGE and axes and axes[-1] - axes[0] < len(axes):
        count = _count(x.shape, axes)
        if count >= FEW or axes[-1] == x.ndim - 1:
            lanes = x.reshape(math.prod(x.shape[:axes[0]]), count, math.prod(x.shape[axes[-1] + 1:]))  # (M, K, L)
            kept = kept_shape(x.shape, axes)
            return kernels_for(x).axis_sum(lanes).reshape(
                kept if keepdims else [n for i, n in enumerate(kept) if i not in axes])
    if dtype.itemsize < 8:
        dtype = dtypes.float32
        if size > 1024 and _count(x.shape, axes) > 1024:
            by_halves = x.flags.c_contiguous and axes == tuple(range(x.ndim - len(axes), x.ndim))
            dtype = dtypes.float32 if by_halves else dtypes.float64
    return x.sum(axes, dtype, keepdims=keepdims)


def averaged(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    """Σ x / n, NaN for n = 0, in the type of x."""
    total = summed(x, axes, keepdims)
    return divided(total, x.size // (total.size or 1), x.dtype)


def divided(total: Any, count: int, dtype: np.dtype) -> Any:
    """total / count in that type."""
    ratio = total / count
    return ratio if ratio.dtype == dtype else ratio.astype(dtype)


def widened(input: Tensor, dtype: Any) -> Tensor:
    """What is added up: input in dtype, by default integers and bools as int64."""
    if dtype is not None:
        result = input.to(dtype)
        if input.requires_grad and not result.requires_grad and is_grad_enabled():
            raise RuntimeError(f"a result of {result.dtype} has no gradient, which the input requires; use detach()")
        return result
    return input if dtypes.is_floating(input.data.dtype) else input.to(dtypes.int64)


def _floating(name: str, input: Tensor, dtype: Any = None) -> Tensor:
    """The input, which must be floating, in dtype, which must be, too."""
    if not dtypes.is_floating(input.data.dtype):
        raise RuntimeError(f"{name}: {input.dtype} tensors are not supported; convert the input with .float()")
    return input if dtype is None else _floating(name, input.to(dtype))


def keepdim_needs_dim(name: str, dim: Any, keepdim: bool) -> None:
    """Raise where keepdim is asked of a reduction over all axes that does not have it."""
    if keepdim and dim is None:
        raise TypeError(f"{name}: keepdim needs a dim")


class Reduction(Function):
    """An operation that takes ``axes`` away, or leaves them with length 1 where ``keepdim``."""

    def __init__(self, axes: tuple[int, ...], keepdim: bool) -> None:
        self.axes, self.keepdim = axes, keepdim

    def kept(self, t: Tensor, shape: tuple[int, ...]) -> Tensor:
        """What has the shape of the result, with the axes that ``shape`` (the input's) lost as axes of length 1."""
        return t if self.keepdim else t.reshape(kept_shape(shape, self.axes))

    def expanded(self, t: Tensor, shape: tuple[int, ...]) -> Tensor:
        """What has the shape of the result, repeated along the axes that were taken away, to ``shape``."""
        return Expand(shape, None if self.keepdim else kept_shape(shape, self.axes))(t)


# -- sums -----------------------------------------------------------------------------------------------------------

class Sum(Reduction):
    """y = Σ x over axes;  gx = gy, expanded over them again."""

    def forward(self, x):
        self.shape = x.shape
        if not self.keepdim and x.ndim > 2 and self.axes == (0, *range(2, x.ndim)) and dtypes.is_floating(x.dtype):
            # the gradient of a bias per channel
            return kernels_for(x).channel_sum(x.reshape(*x.shape[:2], math.prod(x.shape[2:])))  # (N, C, L) → (C)
        return summed(x, self.axes, self.keepdim).astype(x.dtype, copy=False)

    def backward(self, gy):
        return self.expanded(gy, self.shape)


class Mean(Reduction):
    """y = Σ x / n over axes of n elements;  gx = gy/n, expanded over them again."""

    def forward(self, x):
        self.shape = x.shape
        return averaged(x, self.axes, self.keepdim)

    def backward(self, gy):
        return self.expanded(gy / max(_count(self.shape, self.axes), 1), self.shape)


def sum(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """y = Σ input over dim (all axes by default), integers and bools summed as int64; gx = gy, expanded."""
    return _sum("sum", input, dim, keepdim, dtype)


def _sum(name: str, input: Tensor, dim: Dim, keepdim: bool = False, dtype: Any = None) -> Tensor:
    return Sum(axes_of(name, input, dim), keepdim)(widened(input, dtype))


def mean(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """y = Σ input/n over dim (all axes by default), NaN for n = 0; gx = gy/n. Integers need a floating ``dtype``."""
    return Mean(axes_of("mean", input, dim), keepdim)(_floating("mean", input if dtype is None else input.to(dtype)))


def nansum(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """y = Σ input over dim with NaN counted as 0; gx = gy, but 0 for NaN."""
    return _sum("nansum", input.where(~input.isnan(), 0), dim, keepdim, dtype)


def nanmean(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean of what is not NaN; NaNs get no gradient."""
    numbers = ~input.isnan()
    input = _floating("nanmean", input, dtype).where(numbers, 0.0)
    return _sum("nanmean", input, dim, keepdim) / _sum("nanmean", numbers, dim, keepdim)


def count_nonzero(input: Tensor, dim: Dim = None) -> Tensor:
    """How many elements x ≠ 0 there are over dim (all axes by default)."""
    return _sum("count_nonzero", input != 0, dim)


def any(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Whether x ≠ 0 for an element over dim (all axes by default); bool, or uint8 for uint8."""
    return _logical("any", input, dim, keepdim)


def all(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Whether x ≠ 0 for every element over dim (all axes by default); bool, or uint8 for uint8."""
    return _logical("all", input, dim, keepdim)


def _logical(name: str, input: Tensor, dim: Dim, keepdim: bool) -> Tensor:
    axes = axes_of(name, input, dim)
    if isinstance(dim, (tuple, list)) and not dim:
        axes = ()  # here () means no axis, as in PyTorch
    found = getattr(array_module(input.data), name)(input.data, axis=axes, keepdims=keepdim)
    return Tensor(found.astype(dtypes.uint8) if input.dtype == dtypes.uint8 else found)


# -- spread ---------------------------------------------------------------------------------------------------------

class Var(Reduction):
    """y = Σ (x − x̄)² / (n − correction);  gx = gy·2(x − x̄)/(n − correction).

    Two passes, so that a large mean costs no precision; Σ (x − x̄), 0 but for the rounding of x̄, makes up for that.
    """

    def __init__(self, axes: tuple[int, ...], keepdim: bool, correction: float) -> None:
        super().__init__(axes, keepdim)
        self.correction = correction

    def variance(self, x):
        n, x = _count(x.shape, self.axes), _single(x)
        d = x - (summed(x, self.axes, True) / n).astype(x.dtype, copy=False)
        off, squares = summed(d, self.axes, self.keepdim), summed(d * d, self.axes, self.keepdim)
        return (squares - off * off / n) / max(n - self.correction, 0)

    def forward(self, x):
        self.save(x)
        return self.variance(x).astype(x.dtype, copy=False)

    def variance_gradient(self, gy, x):
        freedom = _count(x.shape, self.axes) - self.correction
        scale = 2 / freedom if freedom > 0 else math.inf
        return scale * self.kept(gy, x.shape) * (x - x.mean(self.axes, keepdim=True))

    def backward(self, gy):
        return self.variance_gradient(gy, self.saved[0])


class Std(Var):
    """y = √var x;  gx = that of var for gy/(2y), or 0 where y = 0."""

    def forward(self, x):
        y = array_module(x).sqrt(self.variance(x)).astype(x.dtype, copy=False)
        self.save(x, y)
        return y

    def backward(self, gy):
        x, y = self.saved
        return self.variance_gradient((gy / (2 * y)).where(y != 0, 0.0), x)


def var(input: Tensor, dim: Dim | bool = None, unbiased: bool | None = None, keepdim: bool = False, *,
        correction: float | None = None) -> Tensor:
    """The variance over dim (all axes by default): squared distances from the mean, summed, over n − correction.

    y = Σ(x − mean)²/(n − correction), gx = gy·2(x − mean)/(n − correction). correction is 1 by default;
    unbiased=False means 0. Also var(unbiased), as in PyTorch.
    """
    return _spread("var", Var, input, dim, unbiased, keepdim, correction)


def std(input: Tensor, dim: Dim | bool = None, unbiased: bool | None = None, keepdim: bool = False, *,
        correction: float | None = None) -> Tensor:
    """The standard deviation over dim, √var; gx = gy·(x − mean)/(y·(n − correction)), 0 where y is 0.

    correction and unbiased as in var, also std(unbiased), as in PyTorch.
    """
    return _spread("std", Std, input, dim, unbiased, keepdim, correction)


def var_mean(input: Tensor, dim: Dim | bool = None, unbiased: bool | None = None, keepdim: bool = False, *,
             correction: float | None = None) -> tuple[Tensor, Tensor]:
    """(var, mean) = (Σ(x − mean)²/(n − correction), Σx/n) over dim, with the gradients of var and mean.

    unbiased as in var; also var_mean(unbiased), as in PyTorch.
    """
    return (_spread("var_mean", Var, input, dim, unbiased, keepdim, correction),
            mean(input, None if isinstance(dim, bool) else dim, keepdim))


def std_mean(input: Tensor, dim: Dim | bool = None, unbiased: bool | None = None, keepdim: bool = False, *,
             correction: float | None = None) -> tuple[Tensor, Tensor]:
    """(std, mean) = (√(Σ(x − mean)²/(n − correction)), Σx/n) over dim, with the gradients of std and mean.

    unbiased as in var; also std_mean(unbiased), as in PyTorch.
    """
    return (_spread("std_mean", Std, input, dim, unbiased, keepdim, correction),
            mean(input, None if isinstance(dim, bool) else dim, keepdim))


def _spread(name: str, function: type[Var], input: Tensor, dim: Dim | bool, unbiased: bool | None, keepdim: bool,
            correction: float | None) -> Tensor:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise TypeError(f"{name}: give unbiased = {unbiased} or correction = {correction}, not both")
    if correction is None:
        correction = 0 if unbiased is False else 1
    return function(axes_of(name, input, dim), keepdim, correction)(_floating(name, input))


# -- logsumexp and norms --------------------------------------------------------------------------------------------

class LogSumExp(Reduction):
    """y = log Σ eˣ over axes, with the maximum taken out first;  gx = gy·e^(x − y)."""

    def forward(self, x):
        xp = array_module(x)
        wide = _single(x)
        top = wide.max(self.axes, keepdims=True) if x.size else wide.sum(self.axes, keepdims=True) - math.inf
        top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
        total = summed(xp.exp(wide - top), self.axes, self.keepdim)
        y = (xp.log(total) + top.reshape(total.shape)).astype(x.dtype, copy=False)
        self.save(x, y)
        return y

    def backward(self, gy):
        x, y = self.saved
        return self.kept(gy, x.shape) * (x - self.kept(y, x.shape)).exp()


def logsumexp(input: Tensor, dim: Dim, keepdim: bool = False) -> Tensor:
    """y = log Σ eˣ over dim, without overflow, −inf of no elements; gx = gy·e^(x − y). Integers give float32."""
    if dim is None:
        raise TypeError("logsumexp: give dim, the axes to sum over; () are all")
    axes = axes_of("logsumexp", input, dim)
    return LogSumExp(axes, keepdim)(input if dtypes.is_floating(input.dtype) else input.to(dtypes.float32))


class Norm(Reduction):
    """y = (Σ |x|ᵖ)^(1/p);  gx = gy·sign x·(|x|/y)ᵖ⁻¹, 0 where y = 0, and 0 where x = 0 if p < 1.

    p = ±∞: the largest or smallest |x|, whose gradient equals share evenly; p = 0: how many differ from 0, gradient 0.
    """

    def __init__(self, p: float, axes: tuple[int, ...], keepdim: bool) -> None:
        super().__init__(axes, keepdim)
        self.p = p

    def forward(self, x):
        y = self.value(abs(_single(x))).astype(x.dtype, copy=False)
        self.save(x, y)
        return y

    def value(self, a):
        if math.isinf(self.p):
            return (a.max if self.p > 0 else a.min)(self.axes, keepdims=self.keepdim)
        if self.p == 0:
            return summed((a != 0).astype(a.dtype), self.axes, self.keepdim)
        if self.p == 1:
            return summed(a, self.axes, self.keepdim)
        if self.p == 2:
            return array_module(a).sqrt(summed(a * a, self.axes, self.keepdim))
        return summed(a ** self.p, self.axes, self.keepdim) ** (1 / self.p)

    def backward(self, gy):
        x, y = self.saved
        gy, y = self.kept(gy, x.shape), self.kept(y, x.shape)
        if math.isinf(self.p):
            chosen = (x.abs() == y) | x.isnan()
            return x.sign() * (gy / chosen.sum(self.axes, keepdim=True) * chosen)
        if self.p == 0:
            return Tensor(array_module(x.data).zeros_like(x.data))
        if self.p == 1:
            return x.sign() * gy
        if self.p == 2:
            return gy * (x / y).where(y != 0, 0.0)
        usable = (y != 0) & (x != 0) if self.p < 1 else y != 0
        a, y, power = x.abs().where(usable, 1.0), y.where(usable, 1.0), self.p - 1
        # Not (a/y)ᵖ⁻¹: where one x is 0 and p < 2, the infinite slope there would reach all others by way of y.
        return (x.sign() * a ** power * (gy / y ** power)).where(usable, 0.0)


def norm(input: Tensor, p: float | str | None = "fro", dim: Dim = None, keepdim: bool = False,
         dtype: Any = None) -> Tensor:
    """The p-norm over dim (all axes by default) of the elements as one vector; "fro" and None mean p = 2.

    y = (Σ |x|ᵖ)^(1/p), gx = gy·sign(x)·(|x|/y)^(p − 1), 0 where y is 0.
    p may be any number, also ±inf (the largest or smallest magnitude) and 0 (how many differ from 0).
    """
    if p is None or p == "fro":
        p = 2
    if isinstance(p, str):
        raise ValueError(f"norm: p = {p!r} must be a number or 'fro'")
    axes, input = axes_of("norm", input, dim), _floating("norm", input, dtype)
    if p < 0 or p == math.inf:
        not_empty("norm", input.shape, axes)
    return Norm(float(p), axes, keepdim)(input)
