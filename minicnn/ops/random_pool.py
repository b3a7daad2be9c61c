"""Pooling by chance. Where each output looks is drawn, without a gradient; what it sees there is ``PoolGather``'s."""

import itertools
import math
from typing import Any

import numpy as np

from ..backend import Generator, Geometry, array_module, default_generator, kernels_for, one_device
from ..engine import Tensor
from .arguments import per_axis, same_floats
from .creation import rand
from .pool import PoolGather, avg_pool2d, image_size
from .windows import sliding

__all__ = ["fractional_max_pool2d", "fractional_max_pool3d", "stochastic_pool2d"]


# -- fractional max pooling -----------------------------------------------------------------------------------------

def fractional_max_pool2d(input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
                          return_indices: bool = False, _random_samples: Tensor | None = None) -> Any:
    """The largest element of windows at random distances, whose mean is that of output_size to the input's size.

    input (N, C, H, W) or (C, H, W) → (N, C, OH, OW) of output_size, or of ⌊output_ratio · (H, W)⌋. With α =
    (H − k)/(OH − 1), window i starts at ⌊α·(i + u)⌋ − ⌊α·u⌋, the last one at H − k. The numbers u are drawn per plane;
    _random_samples (N, C, 2), in [0, 1) and of input's type, gives those for columns and rows instead. Raises
    ValueError without a size, RuntimeError for one that does not fit or samples of another shape. Graham 2014.
    """
    return _fractional("fractional_max_pool2d", 2, input, kernel_size, output_size, output_ratio, return_indices,
                       _random_samples)


def fractional_max_pool3d(input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
                          return_indices: bool = False, _random_samples: Tensor | None = None) -> Any:
    """The largest element of boxes at random distances: fractional_max_pool2d with three axes.

    input (N, C, D, H, W) or (C, D, H, W) → (N, C, OD, OH, OW); _random_samples (N, C, 3) are for depth, rows and
    columns. Raises ValueError and RuntimeError as fractional_max_pool2d. Graham 2014.
    """
    return _fractional("fractional_max_pool3d", 3, input, kernel_size, output_size, output_ratio, return_indices,
                       _random_samples)


def _fractional(name: str, axes: int, x: Tensor, kernel: Any, output_size: Any, output_ratio: Any,
                return_indices: bool, samples: Tensor | None) -> Any:
    if x.ndim == axes + 1:
        y, index = _fractional(name, axes, x.unsqueeze(0), kernel, output_size, output_ratio, True, samples)
        return (y.squeeze(0), index.squeeze(0)) if return_indices else y.squeeze(0)
    size = image_size(name, axes, x)
    same_floats(name, x=x)
    kernel = per_axis(name, "kernel_size", kernel, axes)
    output = _output_size(name, size, output_size, output_ratio)
    if any([m + k - 1 > n for m, k, n in zip(output, kernel, size, strict=True)]):
        raise RuntimeError(f"{name}: output_size {output} plus kernel {kernel} less one is larger than x {x.shape}")
    if samples is None:
        samples = rand(*x.shape[:2], axes, dtype=x.dtype, device=x.device)
    if samples.shape[1:] != (x.shape[1], axes) or len(samples) < len(x) or samples.dtype != x.dtype:
        raise RuntimeError(f"{name}: _random_samples must be {x.dtype} of shape {(*x.shape[:2], axes)}, not "
                           f"{samples.dtype} {samples.shape}")
    one_device(name, x.data, samples.data)
    index = _largest_places(x.data, kernel, output, samples.data[:len(x)])
    n, c, *_ = x.shape
    y = PoolGather()(x.reshape(n, c, 1, math.prod(size)), Tensor(index.reshape(n, c, 1, math.prod(output))))
    y = y.reshape(n, c, *output)
    return (y, Tensor(index)) if return_indices else y


def _output_size(name: str, size: tuple[int, ...], output_size: Any, output_ratio: Any) -> tuple[int, ...]:
    if output_size is not None:
        return per_axis(name, "output_size", output_size, len(size), 0)
    ratios = output_ratio if isinstance(output_ratio, (tuple, list)) else (output_ratio,) * len(size)
    if None in ratios or len(ratios) != len(size):
        raise ValueError(f"{name}: give output_size, or output_ratio as a number or {len(size)} of them (not "
                         f"{output_ratio!r})")
    return tuple([int(n * r) for n, r in zip(size, ratios, strict=True)])


def _largest_places(x: np.ndarray, kernel: tuple[int, ...], output: tuple[int, ...], samples: np.ndarray) -> np.ndarray:
    """Where in its plane the largest element of each window is (N, C, *output): the first of equals, the last NaN."""
    xp, (n, c, *size) = array_module(x), x.shape
    if len(size) == 2:
        samples = samples[:, :, ::-1]  # PyTorch draws for columns before rows, but for depth before rows and columns
    first = xp.zeros((n, c), np.int64)
    for axis, (length, k, m) in enumerate(zip(size, kernel, output, strict=True)):
        start = _starts(xp, samples[:, :, axis, None], length, k, m)                    # (N, C, m)
        first = first[..., None] * length + start.reshape(n, c, *[1] * axis, m)         # (N, C, ..., m)
    planes, index = x.reshape(n, c, math.prod(size)), first.reshape(n, c, math.prod(output))
    strides = [math.prod(size[axis + 1:]) for axis in range(len(size))]
    best, place = xp.take_along_axis(planes, index, 2), index
    for step in itertools.product(*map(range, kernel)):
        here = index + sum(i * stride for i, stride in zip(step, strides, strict=True))
        v = xp.take_along_axis(planes, here, 2)
        larger = (v > best) | (v != v)
        best, place = xp.where(larger, v, best), xp.where(larger, here, place)
    return place.reshape(n, c, *output)


def _starts(xp: Any, u: np.ndarray, n: int, k: int, m: int) -> np.ndarray:
    """The first element of each of m windows of k among n, in the arithmetic of u's type, as PyTorch's."""
    alpha = u.dtype.type(n - k) / u.dtype.type(max(m - 1, 1))
    start = ((xp.arange(m, dtype=u.dtype) + u) * alpha).astype(np.int64) - (u * alpha).astype(np.int64)
    start[..., m - 1:] = n - k
    return start


# -- stochastic pooling ---------------------------------------------------------------------------------------------

def stochastic_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, training: bool = True,
                      generator: Generator | None = None) -> Tensor:
    """One element of each window, drawn with a probability in proportion to it; stride defaults to kernel_size.

    input (N, C, H, W) or (C, H, W), not negative, as after a ReLU → (N, C, OH, OW), sizes as in avg_pool2d. In training
    y = x[i] with probability p[i] = x[i]/Σx over the window, and the gradient goes to that element; otherwise the mean
    of what would be drawn, y = Σ p[i]·x[i] = Σx²/Σx. Padding is never drawn; where all is 0, so is y. Raises
    RuntimeError for negative elements, another type than floats or windows that do not fit, ValueError for numbers out
    of range. PyTorch has none. Zeiler & Fergus 2013.
    """
    name = "stochastic_pool2d"
    if input.ndim == 3:
        return stochastic_pool2d(input.unsqueeze(0), kernel_size, stride, padding, training, generator).squeeze(0)
    size = image_size(name, 2, input)
    same_floats(name, x=input)
    if input.dtype.itemsize < 4:  # squares and sums need more digits than the result
        return stochastic_pool2d(input.float(), kernel_size, stride, padding, training, generator).to(input.dtype)
    if (input.data < 0).any():
        raise RuntimeError(f"{name}: x has negative elements (down to {input.data.min()}), which have no probability; "
                           "put it after a relu")
    kernel, stride, padding, _ = sliding(name, size, kernel_size, stride, padding, 1)
    geometry = Geometry(stride, tuple([(p, p) for p in padding]))
    if min(geometry.output_size(size, kernel)) < 1:
        raise RuntimeError(f"{name}: a window of {kernel} does not fit into {size} with padding {padding}")
    if not training:
        squares, sums = (avg_pool2d(x, kernel, stride, padding, divisor_override=1) for x in (input.square(), input))
        return squares / sums.where(sums != 0, 1)
    index = _draw(input.data, kernel, geometry, (generator or default_generator).next_key())
    return PoolGather()(input, Tensor(index))


def _draw(x: np.ndarray, kernel: tuple[int, ...], geometry: Geometry, key: tuple[int, int]) -> np.ndarray:
    """Where in its plane the element drawn for each output is, (N, C, OH, OW)."""
    xp, (n, c, h, w), (kh, kw) = array_module(x), x.shape, kernel
    oh, ow = geometry.output_size((h, w), kernel)
    windows = kernels_for(x).im2col(x, kernel, geometry).reshape(n, c, kh * kw, oh, ow)
    below = windows.cumsum(2)                                                           # (N, C, KH·KW, OH, OW)
    # in (0, Σ], so that the first sum to reach it ends with an element that is not 0, unless all are
    u = 1 - xp.asarray(kernels_for(x).random_uniform(n * c * oh * ow, key)).reshape(n, c, 1, oh, ow)
    drawn = ((below >= u * below[:, :, -1:]) | (below != below)).argmax(2)              # (N, C, OH, OW), NaN if any
    (sh, sw), ((top, _), (left, _)) = geometry.stride, geometry.padding
    rows = (xp.arange(oh) * sh - top)[:, None] + drawn // kw
    columns = xp.arange(ow) * sw - left + drawn % kw
    return rows.clip(0, h - 1) * w + columns.clip(0, w - 1)  # only where all is 0 can padding have been drawn
