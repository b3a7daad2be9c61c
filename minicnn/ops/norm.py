"""Normalisation: x̂ = (x − mean)/√(var + eps), mean and variance over some of the axes, then a scale and a shift.

Two operations do all of it, on views of x:

    ``BatchNorm``    batch norm       (N, C, L)                  a channel of the batch has a mean, a scale and a shift
                     instance norm    (1, N·C, L)                so has each channel of each image
    ``GroupNorm``    group norm       (N, G, C/G, L)             a group of an image has a mean, a channel a scale
                     layer norm       (rows, 1, features, 1)     a row has a mean, a feature a scale
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from .. import dtypes
from ..backend import array_module, kernels_for, one_device
from ..engine import Function, Tensor, is_grad_enabled, mode
from .arguments import same_floats
from .reduce import axes_of
from .resample import Resample, Taps

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "local_response_norm", "normalize", "rms_norm"]


class BatchNorm(Function):
    """y = x̂·w + b per channel, x̂ = (x − mean)/√(var + eps).

    With mean and var of the batch, x̂ depends on x through all three, and with m = number of elements of a channel

        gw = Σ gy·x̂      gb = Σ gy      gx = w/√(var + eps) · (gy − gb/m − x̂·gw/m)

    The last two terms are the paths through mean and var: gx is what is left of gy once its mean and its part along x̂
    are taken out. With given (running) statistics gx = w/√(var + eps)·gy. Ioffe & Szegedy 2015, section 3.

    To rectify is to return max(y, 0), of which only the gy where y > 0 come back. ``statistics`` are the mean and var
    of the batch, 2·C numbers that the node keeps besides what it saves.
    """

    statistics: tuple[Any, Any]

    def __init__(self, eps: float, rectify: bool = False) -> None:
        self.eps, self.rectify = eps, rectify

    def forward(self, x, w, b, mean=None, var=None):
        flat, kernels = _flat(x), kernels_for(x)  # (N, C, L)
        self.training = mean is None
        if self.training:
            mean, var, inv_std = kernels.batch_norm_stats(flat, self.eps)
            self.statistics = mean, var
        else:
            inv_std = 1 / array_module(x).sqrt(var + var.dtype.type(self.eps))
        y = kernels.batch_norm(flat, mean, inv_std, w, b, self.rectify).reshape(x.shape)
        self.save(x, w, mean, inv_std, y if self.rectify else None)
        return y

    def backward(self, gy):
        x, w, mean, inv_std, y = self.saved
        statistics = () if self.training else (None, None)
        if is_grad_enabled():
            return *self._recorded(gy if y is None else gy.where(~(y <= 0), 0.0), x, w, mean, inv_std), *statistics
        gx, gw, gb = kernels_for(x.data).batch_norm_grad(_flat(gy.data), _flat(x.data), mean.data, inv_std.data,
                                                         None if w is None else w.data, self.training,
                                                         None if y is None else _flat(y.data))
        return Tensor(gx.reshape(x.shape)), Tensor(gw), Tensor(gb), *statistics

    def _recorded(self, gy, x, w, mean, inv_std):
        """The same formulas in operations, with mean and var as functions of x."""
        axes, shape = (0, *range(2, x.ndim)), (1, -1, *[1] * (x.ndim - 2))
        if self.training:
            mean = x.mean(axes)
            inv_std = ((x - mean.reshape(shape)).square().mean(axes) + self.eps).rsqrt()
        x_hat = (x - mean.reshape(shape)) * inv_std.reshape(shape)
        gw, gb = (gy * x_hat).sum(axes), gy.sum(axes)
        gx = gy
        if self.training:
            m = max(x.numel() // max(x.shape[1], 1), 1)
            gx = gy - gb.reshape(shape) / m - x_hat * gw.reshape(shape) / m
        return gx * (inv_std if w is None else w * inv_std).reshape(shape), gw, gb


class GroupNorm(Function):
    """y = x̂·w + b, x̂ = (x − mean)/√(var + eps), of x seen as (N, G, K, L), mean and var over k and l, w and b (G·K).

    gw = Σ gy·x̂ and gb = Σ gy over n and l; gx as of BatchNorm in training for g = gy·w, with the means of g and g·x̂
    over k and l. Ba et al. 2016; Wu & He 2018. Unless centred, mean is 0, var the mean of x², and gx has no mean of g.
    Zhang & Sennrich 2019.
    """

    def __init__(self, shape: tuple[int, int, int, int], eps: float, centred: bool = True) -> None:
        self.shape, self.eps, self.centred = shape, eps, centred

    def forward(self, x, w, b):
        of_channels = self.shape[1:3]  # (G, K)
        self.affine = of_channels if w is b is None else (b if w is None else w).shape
        y, mean, inv_std = kernels_for(x).group_norm(
            x.reshape(self.shape), None if w is None else w.reshape(of_channels),
            None if b is None else b.reshape(of_channels), self.eps, self.centred)
        self.save(x, w, mean, inv_std)
        return y.reshape(x.shape)

    def backward(self, gy):
        x, w, mean, inv_std = self.saved
        if not is_grad_enabled():
            gx, gw, gb = kernels_for(x.data).group_norm_grad(
                gy.data.reshape(self.shape), x.data.reshape(self.shape), mean.data, inv_std.data,
                None if w is None else w.data.reshape(self.shape[1:3]), self.centred)
            return Tensor(gx.reshape(x.shape)), Tensor(gw.reshape(self.affine)), Tensor(gb.reshape(self.affine))
        shape, gy, x = x.shape, gy.reshape(self.shape), x.reshape(self.shape)
        d = x - x.mean((2, 3), keepdim=True) if self.centred else x
        inv_std = (d.square().mean((2, 3), keepdim=True) + self.eps).rsqrt()
        x_hat, g = d * inv_std, gy if w is None else gy * w.reshape(1, *self.shape[1:3], 1)
        gx = g - x_hat * (g * x_hat).mean((2, 3), keepdim=True)
        if self.centred:
            gx = gx - g.mean((2, 3), keepdim=True)
        return ((inv_std * gx).reshape(shape), (gy * x_hat).sum((0, 3)).reshape(self.affine),
                gy.sum((0, 3)).reshape(self.affine))


def _flat(x):
    n, c = x.shape[:2]
    return x.reshape(n, c, x.size // (n * c or 1))  # (N, C, L)


def _wide(x: Tensor, *others: Tensor | None) -> tuple[Any, ...]:
    """Half precision as float32, in which it is computed; results are rounded at the end. All have the type of x."""
    if x.data.dtype.itemsize > 2:
        return x, *others
    return x.float(), *[None if t is None else t.float() for t in others]


def _grouped(x: Tensor, shape: tuple[int, int, int, int], w: Tensor | None, b: Tensor | None, eps: float,
             centred: bool = True) -> Tensor:
    """GroupNorm of x seen as (N, G, K, L)."""
    norm = GroupNorm(shape, eps, centred)
    return norm(x, w, b) if x.data.dtype.itemsize > 2 else norm(*_wide(x, w, b)).to(x.data.dtype)


# -- over the batch, or over each image -----------------------------------------------------------------------------

def batch_norm(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
               bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    """Normalise each channel, then scale and shift it: y = (x − mean)/√(var + eps)·weight + bias.

    input (N, C) or (N, C, ...) → the same shape, everything else (C). In training mean and (biased) var are those of
    the batch, and the running ones move in place: running ← (1 − momentum)·running + momentum·batch, with the unbiased
    variance, as in PyTorch (Keras counts momentum the other way round). Otherwise the running ones are used.
    gweight = Σ gy·x̂, gbias = Σ gy, gx: see BatchNorm. Raises RuntimeError for shapes that do not fit, ValueError where
    in training a channel has one value only or eps is 0. Ioffe & Szegedy 2015.
    """
    return _batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def rectified_batch_norm(*arguments: Any, **options: Any) -> Tensor:
    """relu(batch_norm(...)), in one pass over memory forward and one back."""
    return _batch_norm(*arguments, **options, rectify=True)


def _batch_norm(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
                bias: Tensor | None, training: bool, momentum: float, eps: float, *,
                rectify: bool = False) -> Tensor:
    _check_channels("batch_norm", input, weight, bias, running_mean, running_var)
    if eps < 0:
        raise ValueError(f"batch_norm: eps = {eps} must not be negative")
    x, w, b = _wide(input, weight, bias)
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError("batch_norm: running_mean and running_var are needed when training is False")
        y = BatchNorm(eps, rectify)(x, w, b, *_wide(running_mean.detach(), running_var.detach()))
        return y.to(input.data.dtype)
    if eps == 0:
        raise ValueError("batch_norm: eps = 0 must be positive in training, where a variance may be 0")
    count = input.data.size // (input.data.shape[1] or 1)
    if count == 1:
        raise ValueError(f"batch_norm: training needs more than one value per channel, got x {input.shape}; its "
                         "variance would be 0 (use a larger batch, drop_last=True, or eval mode)")
    norm = BatchNorm(eps, rectify)
    y = norm(x, w, b)
    if running_mean is not None:
        mode.silent.run(_update, running_mean, running_var, *norm.statistics, count, momentum)
    return y if x is input else y.to(input.data.dtype)


def instance_norm(input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None,
                  weight: Tensor | None = None, bias: Tensor | None = None, use_input_stats: bool = True,
                  momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    """batch_norm of each image by itself: (x − mean)/√(var + eps)·weight + bias for each channel of each image.

    input (N, C, ...) → the same shape, everything else (C). The running statistics move towards the mean over the
    images of theirs; they are used instead of an image's own without use_input_stats. Gradients as of batch_norm.
    Raises RuntimeError for shapes that do not fit, ValueError where a channel of an image has one value only.
    Ulyanov et al. 2016.
    """
    _check_channels("instance_norm", input, weight, bias, running_mean, running_var)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise RuntimeError("instance_norm: running_mean and running_var are needed when use_input_stats is False")
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    (n, c), length = input.shape[:2], math.prod(input.shape[2:])
    if input.ndim < 3 or length == 1:
        raise ValueError(f"instance_norm: a channel of an image needs more than one value, got x {input.shape}; its "
                         "variance would be 0")
    x, *affine = _wide(input.reshape(1, n * c, length), weight, bias)
    w, b = [None if t is None else t.expand(n, c).reshape(n * c) for t in affine]
    norm = BatchNorm(eps)
    y = norm(x, w, b)
    if n:
        mean, var = [a.reshape(n, c).mean(0) for a in norm.statistics]
        mode.silent.run(_update, running_mean, running_var, mean, var, length, momentum)
    return y.reshape(input.shape).to(input.dtype)


def _check_channels(name: str, x: Tensor, w: Tensor | None, b: Tensor | None,
                    running_mean: Tensor | None = None, running_var: Tensor | None = None) -> None:
    if x.data.ndim < 2:
        raise RuntimeError(f"{name}: x must be (N, C) or (N, C, ...), not {x.shape}")
    _check_affine(name, x, x.data.shape[1:2], {"weight": w, "bias": b, "running_mean": running_mean,
                                               "running_var": running_var})
    if (running_mean is None) != (running_var is None):
        raise ValueError(f"{name}: give both running_mean and running_var, or neither")


def _check_affine(name: str, x: Tensor, shape: tuple[int, ...], named: dict[str, Tensor | None]) -> None:
    """Raise unless all that is named has this shape and the type of x, or float32 where x has half precision."""
    dtype = x.data.dtype
    alike = dtypes.is_floating(dtype)
    for argument, t in named.items():
        if t is not None:
            if t.data.shape != shape:
                raise RuntimeError(f"{name}: {argument} has shape {t.shape}, expected {shape} for x {x.shape}")
            alike = alike and t.data.dtype is dtype
    if not alike and not (dtypes.is_floating(dtype) and dtype.itemsize == 2
                          and {t.data.dtype for t in named.values() if t is not None} == {dtypes.float32}):
        same_floats(name, x=x, **named)


def _update(running_mean: Tensor | None, running_var: Tensor | None, mean: np.ndarray, var: np.ndarray, count: int,
            momentum: float) -> None:
    """Move running statistics in place towards those of ``count`` values, whose variance becomes the unbiased one."""
    if count and running_mean is not None and running_var is not None:
        for running, batch in ((running_mean, mean), (running_var, var * (count / (count - 1)))):
            running.check_memory()
            one_device("running statistics", running.data, batch)
            running.data *= 1 - momentum
            running.data += (momentum * batch).astype(running.data.dtype, copy=False)
            running.touch()


def group_norm(input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None,
               eps: float = 1e-5) -> Tensor:
    """Normalise each group of C/num_groups channels of each image, then scale and shift each channel.

    input (N, C, ...) → the same shape, y = (x − mean)/√(var + eps)·weight + bias; weight and bias (C). Independent of
    the batch. Gradients: see GroupNorm. Raises RuntimeError for shapes that do not fit, ValueError where there is one
    value only to normalise. Wu & He 2018.
    """
    _check_channels("group_norm", input, weight, bias)
    (n, c), length = input.shape[:2], math.prod(input.shape[2:])
    if num_groups < 1 or c % num_groups:
        raise RuntimeError(f"group_norm: num_groups = {num_groups} must be positive and divide the {c} channels of x "
                           f"{input.shape}")
    if n * c // num_groups * length == 1:
        raise ValueError(f"group_norm: more than one value per group is needed, got x {input.shape} in {num_groups} "
                         "groups; its variance would be 0")
    return _grouped(input, (n, num_groups, c // num_groups, length), weight, bias, eps)


# -- over the last axes ---------------------------------------------------------------------------------------------

def layer_norm(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None,
               bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Normalise over the last axes, which have normalized_shape, then scale and shift each of their elements.

    input (..., *normalized_shape) → the same shape, y = (x − mean)/√(var + eps)·weight + bias; weight and bias of
    normalized_shape. gweight = Σ gy·x̂ and gbias = Σ gy over the other axes; gx: see GroupNorm. Raises RuntimeError for
    shapes that do not fit. Ba et al. 2016.
    """
    rows, features = _check_last_axes("layer_norm", input, normalized_shape, {"weight": weight, "bias": bias})
    return _grouped(input, (rows, 1, features, 1), weight, bias, eps)


def rms_norm(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None,
             eps: float | None = None) -> Tensor:
    """Divide by the root of the mean square over the last axes, which have normalized_shape: layer_norm without a mean.

    input (..., *normalized_shape) → the same shape, y = x/√(mean x² + eps)·weight; weight of normalized_shape, eps by
    default the smallest step at 1 of the type computed in. Raises RuntimeError for shapes that do not fit.
    Zhang & Sennrich 2019.
    """
    rows, features = _check_last_axes("rms_norm", input, normalized_shape, {"weight": weight})
    if eps is None:
        eps = float(np.finfo(np.float64 if input.dtype.itemsize == 8 else np.float32).eps)
    return _grouped(input, (rows, 1, features, 1), weight, None, eps, centred=False)


def _check_last_axes(name: str, x: Tensor, normalized_shape: Sequence[int],
                     named: dict[str, Tensor | None]) -> tuple[int, int]:
    """How many rows of how many features."""
    if not isinstance(normalized_shape, (tuple, list)):
        raise TypeError(f"{name}: normalized_shape must be a tuple or a list of ints, not {normalized_shape!r}")
    shape = tuple(normalized_shape)
    of_x = x.data.shape
    if not shape or of_x[-len(shape):] != shape or bool in map(type, shape):
        raise RuntimeError(f"{name}: normalized_shape {shape} must be the last axes of x {x.shape}, at least one")
    _check_affine(name, x, shape, named)
    return math.prod(of_x[:-len(shape)]), math.prod(shape)


# -- by the size of the vector --------------------------------------------------------------------------------------

def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Divide by a power of the mean square of ``size`` neighbouring channels: y = x/(k + alpha·mean x²)^beta.

    input (N, C, ...) with at least three axes → the same shape. Beyond the first and last channels there are zeros,
    which count in the mean. The paper has the sum in its place: its alpha is ours / size (AlexNet: size 5, k 2, alpha
    5·10⁻⁴, beta 0.75). Raises ValueError for fewer axes and for size < 1. Krizhevsky et al. 2012.
    """
    if input.ndim < 3:
        raise ValueError(f"local_response_norm: x must have at least three axes, (N, C, ...), not {input.shape}")
    if size < 1:
        raise ValueError(f"local_response_norm: size = {size} must be at least 1")
    same_floats("local_response_norm", x=input)
    (x,) = _wide(input)
    mean = Resample(1, _window(x.shape[1], size))(x * x)
    return (x / (mean * alpha + k) ** beta).to(input.dtype)


@lru_cache(maxsize=64)
def _window(channels: int, size: int) -> Taps:
    """The mean over channels c − ⌊size/2⌋ … c + ⌊(size − 1)/2⌋, of which those that do not exist are 0."""
    c = np.arange(channels)
    first, stop = (c - size // 2).clip(0), (c + (size - 1) // 2 + 1).clip(max=channels)
    index = np.concatenate([c[:0], *map(np.arange, first, stop)])
    return Taps(np.append(0, (stop - first).cumsum()), index, np.full(len(index), 1 / size), channels)


def normalize(input: Tensor, p: float = 2.0, dim: int | tuple[int, ...] = 1, eps: float = 1e-12) -> Tensor:
    """Divide by the p-norm along dim: y = x/max(‖x‖ₚ, eps), any shape → the same.

    gx for p = 2: (gy − y·Σ gy·y)/‖x‖. Raises RuntimeError for integers, IndexError for a dim out of range. Wang et al.
    2017.
    """
    same_floats("normalize", x=input)
    return input / input.norm(p, axes_of("normalize", input, dim), keepdim=True).clamp_min(eps)
