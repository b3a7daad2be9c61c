"""Pooling: the largest element, or the mean, of the window that each output looks at; see windows.py.

Windows end where the image ends, so max pooling never sees padding. Max pooling keeps where each maximum was; its
backward puts gy there (``PoolScatter``), whose backward takes it from there (``PoolGather``): the two are adjoint.
Average pooling is linear, and it and its adjoint are each other's backward.

Signals are pooled as images of one row. Volumes are pooled slice by slice, then along the depth: the largest of the
largest, the sum of the sums.
"""

import math
from numbers import Integral
from typing import Any

import numpy as np

from .. import dtypes
from ..backend import Windows, constant, kernels_for
from ..engine import Function, Tensor, is_grad_enabled
from .arguments import IMAGE, same_floats
from .basic import refuse_bool
from .windows import avg_windows, max_windows, sliding

__all__ = ["avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool1d", "max_pool2d", "max_pool3d"]


class MaxPool2d(Function):
    """y = largest element of each window, and its index h·W + w;  gx = gy where the maximum was (first of equals)."""

    materialize_grads = False  # an index has no gradient

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def forward(self, x):
        y, index = kernels_for(x).max_pool2d(x, self.windows)
        self.x_shape = x.shape
        self.save(index)
        return y, index

    def backward(self, gy, _):
        return PoolScatter(self.x_shape)(gy, self.saved[0])


class PoolScatter(Function):
    """gx[index] += gy, plane by plane;  ggy = ggx[index]."""

    def __init__(self, x_shape: tuple[int, ...]) -> None:
        self.x_shape = x_shape

    def forward(self, gy, index):
        self.save(index)
        return kernels_for(gy).pool_scatter(gy, index, self.x_shape)

    def backward(self, ggx):
        return PoolGather()(ggx, self.saved[0]), None


class PoolGather(Function):
    """y = x[index], plane by plane;  gx[index] += gy."""

    def forward(self, x, index):
        self.x_shape = x.shape
        self.save(index)
        return kernels_for(x).pool_gather(x, index)

    def backward(self, gy):
        return PoolScatter(self.x_shape)(gy, self.saved[0]), None


def max_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
               ceil_mode: bool = False, return_indices: bool = False) -> Any:
    """The largest element of each window; stride defaults to kernel_size.

    input (N, C, H, W) or (C, H, W) → (N, C, OH, OW), OH = ⌊(H + 2·padding − dilation·(k − 1) − 1)/stride⌋ + 1 (⌈ ⌉ with
    ceil_mode, where a last window that does not fit is cut off). Padding is never the maximum. With return_indices also
    the place h·W + w of each maximum. The gradient goes to that place; ties take the first, as in PyTorch. Raises
    RuntimeError where a window does not fit or sees nothing but padding, ValueError for numbers out of range. Ranzato
    et al. 2007.
    """
    return max_pool("max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool1d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
               ceil_mode: bool = False, return_indices: bool = False) -> Any:
    """The largest element of each window of signals: max_pool2d with one axis.

    input (N, C, L) or (C, L) → (N, C, OL), and with return_indices the place l of each maximum. Raises RuntimeError and
    ValueError as max_pool2d. Ranzato et al. 2007.
    """
    return max_pool("max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
               ceil_mode: bool = False, return_indices: bool = False) -> Any:
    """The largest element of each box of volumes: max_pool2d with three axes.

    input (N, C, D, H, W) or (C, D, H, W) → (N, C, OD, OH, OW), and with return_indices the place (d·H + h)·W + w of
    each maximum. Raises RuntimeError and ValueError as max_pool2d. Ji et al. 2010.
    """
    return max_pool("max_pool3d", 3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool(name: str, axes: int, x: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool,
             return_indices: bool) -> Any:
    if x.data.ndim == axes + 1:
        y, index = max_pool(name, axes, x.unsqueeze(0), kernel, stride, padding, dilation, ceil_mode, True)
        return (y.squeeze(0), index.squeeze(0)) if return_indices else y.squeeze(0)
    size = image_size(name, axes, x)
    refuse_bool(name, x)
    windows = max_windows(name, size, *sliding(name, size, kernel, stride, padding, dilation), ceil_mode)
    y, index = largest(x, windows)
    return (y, index) if return_indices else y


def image_size(name: str, axes: int, x: Tensor) -> tuple[int, ...]:
    """The lengths of the axes to pool over, after the check that they are there; only the batch may be empty."""
    shape = x.data.shape
    if len(shape) != axes + 2 or 0 in shape[1:]:
        raise RuntimeError(f"{name}: x must be (N, C, {IMAGE[axes]}) or (C, {IMAGE[axes]}) with C, {IMAGE[axes]} > 0, "
                           f"not {shape}")
    return shape[2:]


def largest(x: Tensor, windows: tuple[Windows, ...]) -> tuple[Tensor, Tensor]:
    """The largest element of each window and its place."""
    if x.data.ndim == 3:
        y, index = MaxPool2d(*windows)(x.unsqueeze(2))
        return y.squeeze(2), index.squeeze(2)
    return (MaxPool3d if x.data.ndim == 5 else MaxPool2d)(*windows)(x)


class MaxPool3d(Function):
    """y = largest element of each box, and its index (d·H + h)·W + w;  gx = gy where the maximum was."""

    materialize_grads = False  # an index has no gradient

    def __init__(self, slices: Windows, depths: Windows) -> None:
        self.slices, self.depths = slices, depths

    def forward(self, x):
        kernels, (n, c, d, h, w) = kernels_for(x), x.shape
        y, place = kernels.max_pool2d(x.reshape(n, c * d, h, w), self.slices)           # (N, C·D, OH, OW)
        oh, ow = y.shape[2:]
        y, index = kernels.max_pool2d(y.reshape(n, c, d, oh * ow), self.depths)         # (N, C, OD, OH·OW)
        place = kernels.pool_gather(place.reshape(n, c, d, oh * ow), index)             # h·W + w, in the slice chosen
        index = index // max(oh * ow, 1) * (h * w) + place
        shape = (n, c, y.shape[2], oh, ow)
        y, index = y.reshape(shape), index.reshape(shape)                               # (N, C, OD, OH, OW)
        self.x_shape = x.shape
        self.save(index)
        return y, index

    def backward(self, gy, _):
        (index,), (n, c, *size) = self.saved, self.x_shape
        flat = (n, c, 1, math.prod(gy.shape[2:]))
        return PoolScatter((n, c, 1, math.prod(size)))(gy.reshape(flat), index.reshape(flat)).reshape(self.x_shape)


# -- means ----------------------------------------------------------------------------------------------------------

class AvgPool2d(Function):
    """y = Σ x over each window / divisor;  gx[h,w] = Σ gy / divisor over the windows that contain (h, w)."""

    def __init__(self, windows: Windows, divisor: np.ndarray) -> None:
        self.windows, self.divisor = windows, divisor

    def forward(self, x):
        self.x_shape = x.shape
        return kernels_for(x).avg_pool2d(x, self.windows, constant(self.divisor, x))

    def backward(self, gy):
        return AvgPool2dGrad(self.windows, self.divisor, self.x_shape)(gy)


class AvgPool2dGrad(Function):
    """gx[h,w] = Σ gy / divisor over the windows that contain (h, w);  ggy = average pooling of ggx."""

    def __init__(self, windows: Windows, divisor: np.ndarray, x_shape: tuple[int, ...]) -> None:
        self.windows, self.divisor, self.x_shape = windows, divisor, x_shape

    def forward(self, gy):
        return kernels_for(gy).avg_pool2d_grad(gy, self.windows, constant(self.divisor, gy), self.x_shape)

    def backward(self, ggx):
        return AvgPool2d(self.windows, self.divisor)(ggx)


_SLOPES = {"relu": lambda ga, a: ga.where(~(a <= 0), 0.0), "sigmoid": lambda ga, a: ga * (a * (1 - a)),
           "tanh": lambda ga, a: ga * (1 - a * a)}


class ActivatedAvgPool2d(Function):
    """a = f(x) and its average pooling y, in one pass over memory, f one of relu, sigmoid, tanh;  gx = f'·ga."""

    materialize_grads = False

    def __init__(self, activation: str, windows: Windows, divisor: np.ndarray) -> None:
        self.activation, self.windows, self.divisor = activation, windows, divisor

    def forward(self, x):
        y, a = kernels_for(x).activated_avg_pool2d(x, self.activation, self.windows,
                                                   constant(self.divisor, x))
        self.save(a)
        return y, a

    def backward(self, gy, ga):
        (a,) = self.saved
        if ga is None and not is_grad_enabled():
            return Tensor(kernels_for(gy.data).activated_avg_pool2d_grad(
                gy.data, a.data, self.activation, self.windows, constant(self.divisor, gy.data)))
        if gy is not None:  # ga comes from the second derivative, by way of the a that was kept
            spread = AvgPool2dGrad(self.windows, self.divisor, a.shape)(gy)
            ga = spread if ga is None else ga + spread
        return _SLOPES[self.activation](ga, a)


def avg_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
               count_include_pad: bool = True, divisor_override: int | None = None) -> Tensor:
    """The mean of each window; stride defaults to kernel_size.

    input (N, C, H, W) or (C, H, W) → (N, C, OH, OW), sizes as in max_pool2d. The sum is divided by the number of
    elements of the window, padding counted (what ceil_mode adds beyond it is not) unless count_include_pad=False, or by
    divisor_override. Integers (int64) are divided towards 0. Raises RuntimeError where a window does not fit or the
    type is another, ValueError for numbers out of range. LeCun et al. 1989.
    """
    return avg_pool("avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode, count_include_pad,
                     divisor_override)


def avg_pool1d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
               count_include_pad: bool = True) -> Tensor:
    """The mean of each window of signals: avg_pool2d with one axis.

    input (N, C, L) or (C, L) → (N, C, OL). Raises RuntimeError and ValueError as avg_pool2d. LeCun et al. 1989.
    """
    return avg_pool("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool3d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
               count_include_pad: bool = True, divisor_override: int | None = None) -> Tensor:
    """The mean of each box of volumes: avg_pool2d with three axes.

    input (N, C, D, H, W) or (C, D, H, W) → (N, C, OD, OH, OW). Raises RuntimeError and ValueError as avg_pool2d. Ji et
    al. 2010.
    """
    return avg_pool("avg_pool3d", 3, input, kernel_size, stride, padding, ceil_mode, count_include_pad,
                     divisor_override)


def avg_pool(name: str, axes: int, x: Tensor, kernel: Any, stride: Any, padding: Any, ceil_mode: bool,
              count_include_pad: bool, divisor_override: int | None) -> Tensor:
    if x.data.ndim == axes + 1:
        return avg_pool(name, axes, x.unsqueeze(0), kernel, stride, padding, ceil_mode, count_include_pad,
                         divisor_override).squeeze(0)
    return mean(x, *_averages(name, axes, x, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override))


def activated_avg_pool2d(x: Tensor, activation: str, kernel: Any, stride: Any, padding: Any, ceil_mode: bool,
                         count_include_pad: bool, divisor_override: int | None) -> Tensor:
    """avg_pool2d of relu, sigmoid or tanh of x (N, C, H, W), in one pass over memory."""
    (windows,), (divisor,) = _averages("avg_pool2d", 2, x, kernel, stride, padding, ceil_mode, count_include_pad,
                                       divisor_override)
    return ActivatedAvgPool2d(activation, windows, divisor)(x)[0]


def _averages(name: str, axes: int, x: Tensor, kernel: Any, stride: Any, padding: Any, ceil_mode: bool,
              count_include_pad: bool, divisor_override: int | None) -> tuple[tuple, tuple]:
    """The windows and divisors of an average pooling, after all checks."""
    size, dtype = image_size(name, axes, x), x.data.dtype
    if dtype != dtypes.int64:
        same_floats(name, x=x)
    if divisor_override is not None and (not isinstance(divisor_override, Integral) or divisor_override == 0):
        raise RuntimeError(f"{name}: divisor_override = {divisor_override!r} must be an integer other than 0")
    kernel, stride, padding, _ = sliding(name, size, kernel, stride, padding, 1)
    return avg_windows(name, size, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override, dtype)


def mean(x: Tensor, windows: tuple[Windows, ...], divisors: tuple[np.ndarray, ...]) -> Tensor:
    """The sum over each window over its divisor."""
    if x.data.ndim == 4:
        return AvgPool2d(windows[0], divisors[0])(x)
    if x.ndim == 3:
        return AvgPool2d(windows[0], divisors[0])(x.unsqueeze(2)).squeeze(2)
    if x.dtype.itemsize < 4:  # the sums over slices need more digits than the result
        return mean(x.float(), windows, divisors).to(x.dtype)
    n, c, d, h, w = x.shape
    sums = AvgPool2d(windows[0], divisors[0])(x.reshape(n, c * d, h, w))                # (N, C·D, OH, OW)
    oh, ow = sums.shape[2:]
    y = AvgPool2d(windows[1], divisors[1])(sums.reshape(n, c, d, oh * ow))              # (N, C, OD, OH·OW)
    return y.reshape(n, c, y.shape[2], oh, ow)                                          # (N, C, OD, OH, OW)
