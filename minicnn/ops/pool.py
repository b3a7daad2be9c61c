"""Pooling. Regular and adaptive pooling are one thing: a window of rows and a window of columns for each output.

The bounds are clipped to the image, so max pooling never sees padding. Max pooling keeps where each maximum was; its
backward puts gy there (``PoolScatter``), whose backward takes it from there (``PoolGather``): the two are adjoint.
Average pooling is linear, and it and its adjoint are each other's backward.
"""

from typing import Any

import numpy as np

from ..backend import Windows, array_module, kernels_for
from ..engine import Function, Tensor
from .conv import pair, same_floats

__all__ = ["adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool2d", "max_pool2d"]


class MaxPool2d(Function):
    """y = largest element of each window, and its index h·W + w;  gx = gy where the maximum was (first of equals)."""

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


class AvgPool2d(Function):
    """y = Σ x over each window / divisor;  gx[h,w] = Σ gy / divisor over the windows that contain (h, w)."""

    def __init__(self, windows: Windows, divisor: np.ndarray) -> None:
        self.windows, self.divisor = windows, divisor

    def forward(self, x):
        self.x_shape = x.shape
        return kernels_for(x).avg_pool2d(x, self.windows, self.divisor)

    def backward(self, gy):
        return AvgPool2dGrad(self.windows, self.divisor, self.x_shape)(gy)


class AvgPool2dGrad(Function):
    """gx[h,w] = Σ gy / divisor over the windows that contain (h, w);  ggy = average pooling of ggx."""

    def __init__(self, windows: Windows, divisor: np.ndarray, x_shape: tuple[int, ...]) -> None:
        self.windows, self.divisor, self.x_shape = windows, divisor, x_shape

    def forward(self, gy):
        return kernels_for(gy).avg_pool2d_grad(gy, self.windows, self.divisor, self.x_shape)

    def backward(self, ggx):
        return AvgPool2d(self.windows, self.divisor)(ggx)


# -- windows --------------------------------------------------------------------------------------------------------

def _starts(name: str, n: int, k: int, s: int, p: int, d: int, ceil_mode: bool) -> np.ndarray:
    """The first row of each window, in the coordinates of the image (negative inside the padding)."""
    span = n + 2 * p - d * (k - 1) - 1
    count = (-(-span // s) if ceil_mode else span // s) + 1
    if ceil_mode and (count - 1) * s >= n + p:
        count -= 1  # a window must start inside the image or the padding before it
    if count < 1:
        raise RuntimeError(f"{name}: a window of {k} (dilation {d}) does not fit into {n} with padding {p}")
    return np.arange(count) * s - p


def _check(name: str, x: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any) -> tuple:
    """The arguments as pairs, after the checks that all poolings share."""
    if x.ndim != 4 or 0 in x.shape[1:]:
        raise RuntimeError(f"{name}: x must be (N, C, H, W) or (C, H, W) with C, H, W > 0, not {x.shape}")
    kernel, dilation = pair(name, "kernel_size", kernel), pair(name, "dilation", dilation)
    stride = kernel if stride is None else pair(name, "stride", stride)
    padding = pair(name, "padding", padding, 0)
    if any(p > k // 2 for k, p in zip(kernel, padding, strict=True)):
        raise RuntimeError(f"{name}: padding {padding} is larger than half of kernel {kernel} (x {x.shape}); a "
                           "window could see nothing but padding")
    return kernel, stride, padding, dilation


def max_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
               ceil_mode: bool = False, return_indices: bool = False) -> Any:
    """The largest element of each window; stride defaults to kernel_size.

    input (N, C, H, W) or (C, H, W) → (N, C, OH, OW), OH = ⌊(H + 2·padding − dilation·(k − 1) − 1)/stride⌋ + 1 (⌈ ⌉ with
    ceil_mode, where a last window that does not fit is cut off). Padding is never the maximum. With return_indices also
    the place h·W + w of each maximum. The gradient goes to that place; ties take the first, as in PyTorch.
    """
    if input.ndim == 3:
        y = max_pool2d(input.unsqueeze(0), kernel_size, stride, padding, dilation, ceil_mode, return_indices)
        return (y[0].squeeze(0), y[1].squeeze(0)) if return_indices else y.squeeze(0)
    kernel, stride, padding, dilation = _check("max_pool2d", input, kernel_size, stride, padding, dilation)
    bounds = []
    for n, k, s, p, d in zip(input.shape[2:], kernel, stride, padding, dilation, strict=True):
        start = _starts("max_pool2d", n, k, s, p, d, ceil_mode)
        stop = np.minimum(start + d * (k - 1) + 1, n)
        start = np.where(start < 0, start % d, start)  # the first row of the window that is inside the image
        if (start >= stop).any():
            raise RuntimeError(f"max_pool2d: a window of {kernel} with dilation {dilation} and padding {padding} steps "
                               f"over the whole image (x {input.shape}); it would see nothing but padding")
        bounds += [start, stop]
    return _max_pool(input, Windows(*bounds, dilation), return_indices)


def _max_pool(x: Tensor, windows: Windows, return_indices: bool) -> Any:
    y, index = MaxPool2d(windows)(x)
    return (y, index) if return_indices else y


def avg_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
               count_include_pad: bool = True, divisor_override: int | None = None) -> Tensor:
    """The mean of each window; stride defaults to kernel_size.

    input (N, C, H, W) or (C, H, W) → (N, C, OH, OW), sizes as in max_pool2d. The sum is divided by the number of
    elements of the window, padding counted (what ceil_mode adds beyond it is not) unless count_include_pad=False, or by
    divisor_override.
    """
    if input.ndim == 3:
        return avg_pool2d(input.unsqueeze(0), kernel_size, stride, padding, ceil_mode, count_include_pad,
                          divisor_override).squeeze(0)
    kernel, stride, padding, _ = _check("avg_pool2d", input, kernel_size, stride, padding, 1)
    same_floats("avg_pool2d", x=input)
    if divisor_override == 0:
        raise RuntimeError("avg_pool2d: divisor_override must not be 0")
    bounds, counts = [], []
    for n, k, s, p in zip(input.shape[2:], kernel, stride, padding, strict=True):
        start = _starts("avg_pool2d", n, k, s, p, 1, ceil_mode)
        stop = np.minimum(start + k, n + p)
        padded = stop - start
        start, stop = np.maximum(start, 0), np.minimum(stop, n)
        bounds += [start, stop]
        counts.append(padded if count_include_pad else stop - start)
    return _avg_pool(input, Windows(*bounds), counts, divisor_override)


def _avg_pool(x: Tensor, windows: Windows, counts: list[np.ndarray], override: int | None = None) -> Tensor:
    divisor = np.multiply.outer(*counts).astype(x.dtype)  # (OH, OW)
    if override:
        divisor[:] = override
    return AvgPool2d(windows, array_module(x.data).asarray(divisor))(x)


def _adaptive(name: str, x: Tensor, output_size: Any) -> Windows:
    """Output i of m looks at ⌊i·n/m⌋ … ⌈(i + 1)·n/m⌉ of n."""
    if x.ndim != 4 or 0 in x.shape[1:]:
        raise RuntimeError(f"{name}: x must be (N, C, H, W) or (C, H, W) with C, H, W > 0, not {x.shape}")
    wanted = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    if len(wanted) != 2:
        raise ValueError(f"{name}: output_size = {output_size!r} must be an integer, a pair of them, or None to keep")
    kept = [n if m is None else m for n, m in zip(x.shape[2:], wanted, strict=True)]
    bounds = []
    for n, m in zip(x.shape[2:], pair(name, "output_size", kept, 0), strict=True):
        i = np.arange(m)
        bounds += [i * n // m, -(-(i + 1) * n // m)]
    return Windows(*bounds)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """The mean over windows chosen so that the output is output_size; 1 is global average pooling (Lin et al. 2013)."""
    if input.ndim == 3:
        return adaptive_avg_pool2d(input.unsqueeze(0), output_size).squeeze(0)
    same_floats("adaptive_avg_pool2d", x=input)
    windows = _adaptive("adaptive_avg_pool2d", input, output_size)
    return _avg_pool(input, windows, [windows.row_stop - windows.row_start, windows.col_stop - windows.col_start])


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The largest element of windows chosen so that the output is output_size."""
    if input.ndim == 3:
        y = adaptive_max_pool2d(input.unsqueeze(0), output_size, return_indices)
        return (y[0].squeeze(0), y[1].squeeze(0)) if return_indices else y.squeeze(0)
    return _max_pool(input, _adaptive("adaptive_max_pool2d", input, output_size), return_indices)
