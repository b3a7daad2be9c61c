"""Operations that take axes away: sums, means, extremes, spread, norms; and running sums and products."""

import builtins
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import dtypes
from ..backend import array_module, kernels_for
from ..engine import Function, Tensor
from .basic import expect_tensor
from .shape import axis_of

__all__ = ["all", "amax", "amin", "any", "argmax", "argmin", "count_nonzero", "cumprod", "cumsum", "logsumexp", "max",
           "mean", "median", "min", "nanmean", "nansum", "norm", "prod", "std", "std_mean", "sum", "var", "var_mean"]

Dim = int | tuple[int, ...] | list[int] | None


# -- axes and types -------------------------------------------------------------------------------------------------

def axes_of(name: str, dim: Dim, ndim: int) -> tuple[int, ...]:
    """The axes meant by dim, counted from 0 and sorted; None and () mean all."""
    dims = tuple(dim) if isinstance(dim, (tuple, list)) else () if dim is None else (dim,)
    if not dims:
        return tuple(range(ndim))
    axes = []
    for d in dims:
        if not isinstance(d, (int, np.integer)) or isinstance(d, bool):
            raise TypeError(f"{name}: dim must be an int, not {d!r}")
        axes.append(axis_of(name, d, ndim))
    if len(set(axes)) < len(axes):
        raise RuntimeError(f"{name}: dim {dim} names an axis twice")
    return tuple(sorted(axes)) if ndim else ()


def _axes(name: str, input: Tensor, dim: Dim) -> tuple[int, ...]:
    expect_tensor(name, input)
    return axes_of(name, dim, input.ndim)


def _axis(name: str, input: Tensor, dim: Dim) -> int:
    """The one axis meant by dim; 0 for None and for a tensor without axes."""
    if isinstance(dim, (tuple, list)):
        raise TypeError(f"{name}: dim must be an int, not {dim!r}")
    return (*_axes(name, input, dim), 0)[0]


def kept_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a reduction with keepdim."""
    return tuple([1 if i in axes else n for i, n in enumerate(shape)])


def _count(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    return math.prod([shape[i] for i in axes])


def _not_empty(name: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    if _count(shape, axes) == 0:
        raise IndexError(f"{name}: shape {shape} has no elements along {axes}, so there is no result")


def _single(x: Any) -> Any:
    """x in at least 32 bits, if it is floating."""
    return x.astype(dtypes.float32) if dtypes.is_floating(x.dtype) and x.dtype.itemsize == 2 else x


def _total(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    """Σ x, in a type in which the errors of adding stay in the last places of x's own.

    NumPy adds by halves along the last axes in memory, so that errors hardly grow, but one by one along all others.
    """
    dtype = x.dtype
    if dtypes.is_floating(dtype) and dtype.itemsize < 8:
        by_halves = x.flags.c_contiguous and axes == tuple(range(x.ndim - len(axes), x.ndim))
        dtype = dtypes.float32 if by_halves or _count(x.shape, axes) <= 1024 else dtypes.float64
    return x.sum(axes, dtype=dtype, keepdims=keepdims)


def _long(dtype: np.dtype) -> np.dtype:
    """The type of a running sum or product."""
    return dtypes.float64 if dtypes.is_floating(dtype) else dtype


def _widened(input: Tensor, dtype: Any) -> Tensor:
    """What is added up: input in dtype, by default integers and bools as int64."""
    if dtype is not None:
        return input.to(dtype)
    return input if dtypes.is_floating(input.dtype) else input.to(dtypes.int64)


def _floating(name: str, input: Tensor, dtype: Any = None) -> Tensor:
    input = input if dtype is None else input.to(dtype)
    if not dtypes.is_floating(input.dtype):
        raise RuntimeError(f"{name}: {input.dtype} tensors are not supported; convert the input with .float()")
    return input


def _no_bool(name: str, input: Tensor) -> None:
    if input.dtype == dtypes.bool_:
        raise TypeError(f"{name}: bool tensors are not supported; convert the input with .int()")


def _keepdim_needs_dim(name: str, dim: Any, keepdim: bool) -> None:
    if keepdim and dim is None:
        raise TypeError(f"{name}: keepdim needs a dim")


class Reduction(Function):
    """An operation that takes ``axes`` away, or leaves them with length 1 where ``keepdim``."""

    def __init__(self, axes: tuple[int, ...], keepdim: bool) -> None:
        self.axes, self.keepdim = axes, keepdim

    def kept(self, t: Tensor, shape: tuple[int, ...]) -> Tensor:
        """What has the shape of the result, with the axes that ``shape`` (the input's) lost as axes of length 1."""
        return t if self.keepdim else t.reshape(kept_shape(shape, self.axes))


# -- sums -----------------------------------------------------------------------------------------------------------

class Sum(Reduction):
    """y = Σ x over axes;  gx = gy, expanded over them again."""

    def forward(self, x):
        self.shape = x.shape
        if not self.keepdim and x.ndim > 2 and self.axes == (0, *range(2, x.ndim)) and dtypes.is_floating(x.dtype):
            # the gradient of a bias per channel
            return kernels_for(x).channel_sum(x.reshape(*x.shape[:2], math.prod(x.shape[2:])))  # (N, C, L) → (C)
        return _total(x, self.axes, self.keepdim).astype(x.dtype, copy=False)

    def backward(self, gy):
        return self.kept(gy, self.shape).expand(self.shape)


class Mean(Reduction):
    """y = Σ x / n over axes of n elements;  gx = gy/n, expanded over them again."""

    def forward(self, x):
        self.shape = x.shape
        return (_total(x, self.axes, self.keepdim) / _count(x.shape, self.axes)).astype(x.dtype, copy=False)

    def backward(self, gy):
        return (self.kept(gy, self.shape) / builtins.max(_count(self.shape, self.axes), 1)).expand(self.shape)


def sum(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Σ input over dim (all axes by default); integers and bools are summed as int64."""
    return _sum("sum", input, dim, keepdim, dtype)


def _sum(name: str, input: Tensor, dim: Dim, keepdim: bool = False, dtype: Any = None) -> Tensor:
    return Sum(_axes(name, input, dim), keepdim)(_widened(input, dtype))


def mean(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean over dim (all axes by default), NaN of no elements; integers need a floating ``dtype``."""
    return Mean(_axes("mean", input, dim), keepdim)(_floating("mean", input, dtype))


def nansum(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """sum with NaN counted as 0; NaNs get no gradient."""
    expect_tensor("nansum", input)
    return _sum("nansum", input.where(~input.isnan(), 0), dim, keepdim, dtype)


def nanmean(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean of what is not NaN; NaNs get no gradient."""
    expect_tensor("nanmean", input)
    numbers = ~input.isnan()
    input = _floating("nanmean", input, dtype).where(numbers, 0.0)
    return _sum("nanmean", input, dim, keepdim) / _sum("nanmean", numbers, dim, keepdim)


def count_nonzero(input: Tensor, dim: Dim = None) -> Tensor:
    """How many elements differ from 0, over dim (all axes by default)."""
    return _sum("count_nonzero", input != 0, dim)


# -- running sums and products --------------------------------------------------------------------------------------

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


def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The sums of the first 1, 2, 3, … elements along dim; integers and bools are summed as int64."""
    return _running("cumsum", CumSum, input, dim, dtype)


def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The products of the first 1, 2, 3, … elements along dim; exact gradients where elements are 0."""
    return _running("cumprod", CumProd, input, dim, dtype)


def _running(name: str, operation: Callable[[int], Function], input: Tensor, dim: int, dtype: Any) -> Tensor:
    axis, x = _axis(name, input, dim), _widened(input, dtype)
    return operation(axis)(x) if x.ndim else operation(axis)(x.reshape(1)).reshape(())


def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The product over one axis, or of all elements; exact gradients where elements are 0, integers give int64."""
    axis, x = _axis("prod", input, dim), _widened(input, dtype)
    _keepdim_needs_dim("prod", dim, keepdim)
    return Prod(0, False)(x.reshape(-1)) if dim is None or x.ndim == 0 else Prod(axis, keepdim)(x)


# -- extremes -------------------------------------------------------------------------------------------------------

class ValuesIndices(NamedTuple):
    """Elements picked along an axis, and where they were."""

    values: Tensor
    indices: Tensor


class Amax(Reduction):
    """y = max x over axes;  gx = gy/n for each of the n elements equal to y, else 0."""

    nan_is_nan = False

    def pick(self, x):
        return x.max(self.axes, keepdims=self.keepdim)

    def forward(self, x):
        y = self.pick(x)
        self.save(x, y)
        return y

    def backward(self, gy):
        x, y = self.saved
        y, gy = self.kept(y, x.shape), self.kept(gy, x.shape)
        chosen = x == y
        if self.nan_is_nan:
            chosen = chosen | (x.isnan() & y.isnan())
        return gy / chosen.sum(self.axes, keepdim=True) * chosen


class Amin(Amax):
    """y = min x over axes;  gx = gy/n for each of the n elements equal to y, else 0."""

    def pick(self, x):
        return x.min(self.axes, keepdims=self.keepdim)


class Max(Amax):
    """amax over all axes, with the gradient of a NaN going to the NaNs, as in PyTorch (which has it only here)."""

    nan_is_nan = True


class Min(Amin):
    """amin over all axes, with the gradient of a NaN going to the NaNs."""

    nan_is_nan = True


class Median(Max):
    """y = the lower median of all elements, NaN if one is NaN;  gx = gy/n for each of the n elements equal to y."""

    def pick(self, x):
        x = x.reshape(-1)
        return x[_middle(x, 0)[0]] if x.size else array_module(x).full((), math.nan, x.dtype)


def _middle(x: Any, axis: int) -> Any:
    """Where the lower median along an axis is, or the first NaN; the axis stays, with length 1."""
    xp = array_module(x)
    index = xp.argsort(x, axis, kind="stable").take(xp.asarray([(x.shape[axis] - 1) // 2]), axis)
    nan = x != x
    return xp.where(nan.any(axis, keepdims=True), nan.argmax(axis, keepdims=True), index)


def _along(name: str, index_of: Callable[[Any, int], Any], input: Tensor, dim: int, keepdim: bool) -> ValuesIndices:
    """One element picked along an axis: its gradient is that of gather."""
    axis = _axis(name, input, dim)
    x = input if input.ndim else input.reshape(1)
    _not_empty(name, x.shape, (axis,))
    indices = Tensor(index_of(x.data, axis))
    values = x.gather(axis, indices)
    if keepdim and input.ndim:
        return ValuesIndices(values, indices)
    return ValuesIndices(values.squeeze(axis), indices.squeeze(axis))


def _argmax(x: Any, axis: int) -> Any:
    return x.argmax(axis, keepdims=True)


def _argmin(x: Any, axis: int) -> Any:
    return x.argmin(axis, keepdims=True)


def _extreme(name: str, function: type[Reduction], input: Tensor, dim: Dim, keepdim: bool) -> Tensor:
    axes = _axes(name, input, dim)
    _not_empty(name, input.shape, axes)
    return function(axes, keepdim)(input)


def amax(input: Tensor, dim: Dim = (), keepdim: bool = False) -> Tensor:
    """The largest element over dim (all axes by default), NaN if there is one; equals share the gradient evenly."""
    return _extreme("amax", Amax, input, dim, keepdim)


def amin(input: Tensor, dim: Dim = (), keepdim: bool = False) -> Tensor:
    """The smallest element over dim (all axes by default), NaN if there is one; equals share the gradient evenly."""
    return _extreme("amin", Amin, input, dim, keepdim)


def max(input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False, *, other: Tensor | None = None) -> Any:
    """The largest of all elements, equals sharing the gradient evenly; with a second tensor maximum(input, other).

    With dim, (values, indices) along that axis: the first of equals, or the first NaN, gets the gradient.
    """
    return _max_or_min("max", Max, _argmax, input, dim, keepdim, other)


def min(input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False, *, other: Tensor | None = None) -> Any:
    """The smallest of all elements, equals sharing the gradient evenly; with a second tensor minimum(input, other).

    With dim, (values, indices) along that axis: the first of equals, or the first NaN, gets the gradient.
    """
    return _max_or_min("min", Min, _argmin, input, dim, keepdim, other)


def _max_or_min(name: str, whole: type[Reduction], index_of: Callable[[Any, int], Any], input: Tensor,
                dim: int | Tensor | None, keepdim: bool, other: Tensor | None) -> Any:
    if isinstance(dim, Tensor):
        dim, other = None, dim
    _keepdim_needs_dim(name, dim, keepdim)
    if other is not None:
        if dim is not None:
            raise TypeError(f"{name}: dim = {dim} and other exclude each other")
        return input.maximum(other) if name == "max" else input.minimum(other)
    if dim is None:
        return _extreme(name, whole, input, None, keepdim)
    return _along(name, index_of, input, dim, keepdim)


def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median of all elements, the lower of two, NaN if one is NaN; with dim (values, indices) along that axis."""
    axes = _axes("median", input, None)
    _no_bool("median", input)
    _keepdim_needs_dim("median", dim, keepdim)
    if dim is not None:
        return _along("median", _middle, input, dim, keepdim)
    if not dtypes.is_floating(input.dtype):
        _not_empty("median", input.shape, axes)
    return Median(axes, False)(input)


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the largest element along dim, or in the flat tensor; the first of equals, or the first NaN."""
    return _arg("argmax", _argmax, input, dim, keepdim)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the smallest element along dim, or in the flat tensor; the first of equals, or the first NaN."""
    return _arg("argmin", _argmin, input, dim, keepdim)


def _arg(name: str, index_of: Callable[[Any, int], Any], input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    axis = _axis(name, input, dim)
    _no_bool(name, input)
    flat = dim is None or input.ndim == 0
    axes = tuple(range(input.ndim)) if flat else (axis,)
    _not_empty(name, input.shape, axes)
    index = index_of(input.data.reshape(-1) if flat else input.data, axis)
    return Tensor(index.reshape([1 if i in axes else n for i, n in enumerate(input.shape) if keepdim or i not in axes]))


def any(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Whether an element over dim (all axes by default) differs from 0; bool, or uint8 for uint8."""
    return _logical("any", input, dim, keepdim)


def all(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Whether every element over dim (all axes by default) differs from 0; bool, or uint8 for uint8."""
    return _logical("all", input, dim, keepdim)


def _logical(name: str, input: Tensor, dim: Dim, keepdim: bool) -> Tensor:
    axes = _axes(name, input, dim)
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
        d = x - (_total(x, self.axes, True) / n).astype(x.dtype, copy=False)
        off, squares = _total(d, self.axes, self.keepdim), _total(d * d, self.axes, self.keepdim)
        return (squares - off * off / n) / builtins.max(n - self.correction, 0)

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

    correction is 1 by default; unbiased=False means 0. Also var(unbiased), as in PyTorch.
    """
    return _spread("var", Var, input, dim, unbiased, keepdim, correction)


def std(input: Tensor, dim: Dim | bool = None, unbiased: bool | None = None, keepdim: bool = False, *,
        correction: float | None = None) -> Tensor:
    """The standard deviation over dim, √var; its gradient where it is 0 is 0."""
    return _spread("std", Std, input, dim, unbiased, keepdim, correction)


def var_mean(input: Tensor, dim: Dim | bool = None, unbiased: bool | None = None, keepdim: bool = False, *,
             correction: float | None = None) -> tuple[Tensor, Tensor]:
    """(var, mean) over dim."""
    return (_spread("var_mean", Var, input, dim, unbiased, keepdim, correction),
            mean(input, None if isinstance(dim, bool) else dim, keepdim))


def std_mean(input: Tensor, dim: Dim | bool = None, unbiased: bool | None = None, keepdim: bool = False, *,
             correction: float | None = None) -> tuple[Tensor, Tensor]:
    """(std, mean) over dim."""
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
    return function(_axes(name, input, dim), keepdim, correction)(_floating(name, input))


# -- logsumexp and norms --------------------------------------------------------------------------------------------

class LogSumExp(Reduction):
    """y = log Σ eˣ over axes, with the maximum taken out first;  gx = gy·e^(x − y)."""

    def forward(self, x):
        xp = array_module(x)
        wide = _single(x)
        top = wide.max(self.axes, keepdims=True, initial=-math.inf)
        top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
        total = _total(xp.exp(wide - top), self.axes, self.keepdim)
        y = (xp.log(total) + top.reshape(total.shape)).astype(x.dtype, copy=False)
        self.save(x, y)
        return y

    def backward(self, gy):
        x, y = self.saved
        return self.kept(gy, x.shape) * (x - self.kept(y, x.shape)).exp()


def logsumexp(input: Tensor, dim: Dim, keepdim: bool = False) -> Tensor:
    """log Σ e^input over dim, without overflow; −inf of no elements; integers give float32."""
    axes = _axes("logsumexp", input, dim)
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
            return _total((a != 0).astype(a.dtype), self.axes, self.keepdim)
        if self.p == 1:
            return _total(a, self.axes, self.keepdim)
        if self.p == 2:
            return array_module(a).sqrt(_total(a * a, self.axes, self.keepdim))
        return _total(a ** self.p, self.axes, self.keepdim) ** (1 / self.p)

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
        return gy * (x.sign() * (x.abs() / y) ** (self.p - 1)).where(usable, 0.0)


def norm(input: Tensor, p: float | str | None = "fro", dim: Dim = None, keepdim: bool = False,
         dtype: Any = None) -> Tensor:
    """The p-norm over dim (all axes by default) of the elements as one vector; "fro" and None mean p = 2.

    p may be any number, also ±inf (the largest or smallest magnitude) and 0 (how many differ from 0).
    """
    if p is None or p == "fro":
        p = 2
    if isinstance(p, str):
        raise ValueError(f"norm: p = {p!r} must be a number or 'fro'")
    axes, input = _axes("norm", input, dim), _floating("norm", input, dtype)
    if p < 0 or p == math.inf:
        _not_empty("norm", input.shape, axes)
    return Norm(float(p), axes, keepdim)(input)
