"""Convolution, and the nicest fact of this project.

y = conv(x, w) is bilinear: linear in x for fixed w and linear in w for fixed x. So each of its two gradients is again a
bilinear operation, and the three close under differentiation: the backward of each is made of the other two.

    y  = conv(x, w)              gx = input_grad(gy, w)       gw = weight_grad(x, gy)
    gx = input_grad(gy, w)      ggy = conv(ggx, w)            gw = weight_grad(ggx, gy)
    gw = weight_grad(x, gy)      gx = input_grad(gy, ggw)    ggy = conv(x, ggw)

That is every derivative of convolution, of any order. What the three compute is in kernels/reference.py.
"""

import operator
from typing import Any

from .. import dtypes
from ..backend import Geometry, convolution_for, kernels_for
from ..engine import Function, Tensor

__all__ = ["conv2d", "fold", "unfold"]


class Bilinear(Function):
    """An operation on two factors; the gradient of each needs the other one, and nothing else is kept for it."""

    def keep(self, a, b):
        needs_a, needs_b = self.needs[:2] or (False, False)
        self.save(a if needs_b else None, b if needs_a else None)


class Conv2d(Bilinear):
    """y[n,o] = b[o] + Σ_c w[o,c] ⋆ x[n,c];  gx = input_grad(gy, w),  gw = weight_grad(x, gy),  gb = Σ gy over nij."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry

    def forward(self, x, w, b=None):
        self.x_shape, self.w_shape = x.shape, w.shape
        self.keep(x, w)
        return convolution_for(x, w.shape[2:], self.geometry).conv2d(x, w, b, self.geometry)

    def backward(self, gy):
        x, w = self.saved
        gx = Conv2dInputGrad(self.x_shape, self.geometry)(gy, w) if self.needs[0] else None
        gw = Conv2dWeightGrad(self.w_shape, self.geometry)(x, gy) if self.needs[1] else None
        gb = gy.sum((0, 2, 3)) if self.needs[2:] == (True,) else None
        return (gx, gw, gb)[:len(self.needs)]


class Conv2dInputGrad(Bilinear):
    """gx with ⟨gy, conv(x, w)⟩ = ⟨gx, x⟩: transposed convolution;  ggy = conv(ggx, w),  gw = weight_grad(ggx, gy)."""

    def __init__(self, x_shape: tuple[int, ...], geometry: Geometry) -> None:
        self.x_shape, self.geometry = x_shape, geometry

    def forward(self, gy, w):
        self.w_shape = w.shape
        self.keep(gy, w)
        return convolution_for(gy, w.shape[2:], self.geometry).conv2d_input_grad(gy, w, self.x_shape, self.geometry)

    def backward(self, ggx):
        gy, w = self.saved
        return (Conv2d(self.geometry)(ggx, w) if self.needs[0] else None,
                Conv2dWeightGrad(self.w_shape, self.geometry)(ggx, gy) if self.needs[1] else None)


class Conv2dWeightGrad(Bilinear):
    """gw with ⟨gy, conv(x, w)⟩ = ⟨gw, w⟩;  gx = input_grad(gy, ggw),  ggy = conv(x, ggw)."""

    def __init__(self, w_shape: tuple[int, ...], geometry: Geometry) -> None:
        self.w_shape, self.geometry = w_shape, geometry

    def forward(self, x, gy):
        self.x_shape = x.shape
        self.keep(x, gy)
        kernels = convolution_for(x, self.w_shape[2:], self.geometry)
        return kernels.conv2d_weight_grad(x, gy, self.w_shape, self.geometry)

    def backward(self, ggw):
        x, gy = self.saved
        return (Conv2dInputGrad(self.x_shape, self.geometry)(gy, ggw) if self.needs[0] else None,
                Conv2d(self.geometry)(x, ggw) if self.needs[1] else None)


def conv2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
           dilation: Any = 1, groups: int = 1) -> Tensor:
    """Cross-correlation of images with kernels, as every deep-learning library calls convolution.

    input (N, C, H, W) or (C, H, W), weight (O, C/groups, KH, KW), bias (O) → (N, O, OH, OW) with
    OH = ⌊(H + 2·padding − dilation·(KH − 1) − 1)/stride⌋ + 1. stride, padding and dilation are numbers or (rows,
    columns); padding may also be "valid" (none), "same" (OH = H; stride 1) or "full" (dilation·(K − 1) on each side, so
    that every overlap counts; not in PyTorch). LeCun et al. 1989; the three adjoints: see ops/conv.py.
    """
    if input.ndim == 3:
        return conv2d(input.unsqueeze(0), weight, bias, stride, padding, dilation, groups).squeeze(0)
    _check(input, weight, bias, groups)
    stride, dilation = pair("conv2d", "stride", stride), pair("conv2d", "dilation", dilation)
    kernel = weight.shape[2:]
    geometry = Geometry(stride, _padding(padding, kernel, stride, dilation), dilation, groups)
    if min(geometry.output_size(input.shape[2:], kernel)) < 1:
        size = tuple([n + sum(p) for n, p in zip(input.shape[2:], geometry.padding, strict=True)])
        reach = tuple([d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)])
        raise RuntimeError(f"conv2d: a kernel that reaches over {reach} does not fit into the padded input of {size} "
                           f"(x {input.shape}, weight {weight.shape}, padding {padding}, dilation {dilation}); use a "
                           "larger image, more padding or a smaller kernel")
    return Conv2d(geometry)(input, weight, bias) if bias is not None else Conv2d(geometry)(input, weight)


def _check(x: Tensor, w: Tensor, b: Tensor | None, groups: int) -> None:
    shapes = f"(x {x.shape}, weight {w.shape}, groups {groups})"
    if x.ndim != 4 or w.ndim != 4:
        raise RuntimeError(f"conv2d: x must be (N, C, H, W) or (C, H, W) and weight (O, C/groups, KH, KW) {shapes}")
    if groups < 1 or w.shape[0] % groups:
        raise RuntimeError(f"conv2d: groups = {groups} must be positive and divide the {w.shape[0]} output channels "
                           f"{shapes}")
    if x.shape[1] != w.shape[1] * groups:
        raise RuntimeError(f"conv2d: x has {x.shape[1]} channels but weight expects {w.shape[1] * groups} {shapes}")
    if 0 in x.shape[1:] or 0 in w.shape:
        raise RuntimeError(f"conv2d: only the batch may be empty, all other axes need a length of at least 1 {shapes}")
    if b is not None and b.shape != w.shape[:1]:
        raise RuntimeError(f"conv2d: bias has shape {b.shape}, expected ({w.shape[0]},), one number per output channel "
                           f"{shapes}")
    same_floats("conv2d", x=x, weight=w, bias=b)


def same_floats(name: str, **tensors: Tensor | None) -> None:
    """Raise unless all tensors given are of one floating type."""
    given = {key: t.dtype for key, t in tensors.items() if t is not None}
    if len(set(given.values())) > 1 or not all(map(dtypes.is_floating, given.values())):
        raise RuntimeError(f"{name}: " + ", ".join(f"{key} is {dtype}" for key, dtype in given.items())
                           + "; all must have the same floating type (convert with .float() or .to(...))")


def pair(name: str, argument: str, value: Any, least: int = 1) -> tuple[int, int]:
    """(rows, columns) from a number or a pair, each at least ``least``."""
    try:
        values = tuple([operator.index(v) for v in (value if isinstance(value, (tuple, list)) else (value,))])
    except TypeError:
        values = ()
    if len(values) == 1:
        values *= 2
    if len(values) != 2 or min(values) < least:
        raise ValueError(f"{name}: {argument} = {value!r} must be an integer of at least {least} or a pair of them")
    return values


def _padding(padding: Any, kernel: tuple, stride: tuple, dilation: tuple) -> tuple[tuple[int, int], tuple[int, int]]:
    if not isinstance(padding, str):
        rows, columns = pair("conv2d", "padding", padding, 0)
        return (rows, rows), (columns, columns)
    rows, columns = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "full":
        return (rows, rows), (columns, columns)
    if padding != "same":
        raise ValueError(f"conv2d: padding {padding!r} is unknown; use a number, a pair, 'valid', 'same' or 'full'")
    if stride != (1, 1):
        raise ValueError(f"conv2d: padding 'same' needs stride 1, not {stride}; with a stride the output is smaller")
    return (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)  # even kernels: one more at the end


# -- columns --------------------------------------------------------------------------------------------------------

class Unfold(Function):
    """cols = im2col(x): every window as a column;  gx = col2im(gcols)."""

    def __init__(self, kernel: tuple[int, int], geometry: Geometry) -> None:
        self.kernel, self.geometry = kernel, geometry

    def forward(self, x):
        self.size = x.shape[2:]
        return kernels_for(x).im2col(x, self.kernel, self.geometry)

    def backward(self, gcols):
        return Fold(self.size, self.kernel, self.geometry)(gcols)


class Fold(Function):
    """x = col2im(cols): columns added back where im2col takes them from;  gcols = im2col(gx)."""

    def __init__(self, size: tuple[int, int], kernel: tuple[int, int], geometry: Geometry) -> None:
        self.size, self.kernel, self.geometry = size, kernel, geometry

    def forward(self, cols):
        channels = cols.shape[1] // (self.kernel[0] * self.kernel[1])
        return kernels_for(cols).col2im(cols, (len(cols), channels, *self.size), self.kernel, self.geometry)

    def backward(self, gx):
        return Unfold(self.kernel, self.geometry)(gx)


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """im2col: (N, C, H, W) → (N, C·KH·KW, OH·OW), each column one window, channels first, rows before columns."""
    if input.ndim == 3:
        return unfold(input.unsqueeze(0), kernel_size, dilation, padding, stride).squeeze(0)
    kernel, geometry = _window("unfold", kernel_size, dilation, padding, stride)
    if input.ndim != 4 or 0 in input.shape[1:] or min(geometry.output_size(input.shape[2:], kernel)) < 1:
        raise RuntimeError("unfold: x must be (N, C, H, W) or (C, H, W) with C, H, W > 0 and large enough for a "
                           f"window, not {input.shape} (kernel_size {kernel}, {geometry})")
    same_floats("unfold", x=input)
    return Unfold(kernel, geometry)(input)


def fold(input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
         stride: Any = 1) -> Tensor:
    """col2im, the adjoint of unfold: (N, C·KH·KW, OH·OW) → (N, C, H, W), overlapping windows are added up."""
    if input.ndim == 2:
        return fold(input.unsqueeze(0), output_size, kernel_size, dilation, padding, stride).squeeze(0)
    size = pair("fold", "output_size", output_size)
    kernel, geometry = _window("fold", kernel_size, dilation, padding, stride)
    rows, columns = geometry.output_size(size, kernel)
    if min(rows, columns) < 1:
        raise RuntimeError(f"fold: no window fits into an image of {size} (kernel_size {kernel}, {geometry})")
    area = kernel[0] * kernel[1]
    if input.ndim != 3 or not input.shape[1] or input.shape[1] % area or input.shape[2] != rows * columns:
        raise RuntimeError(f"fold: input of shape {input.shape} must be (N, C·{kernel[0]}·{kernel[1]}, "
                           f"{rows}·{columns}), one column per window of an image of {size} (kernel_size {kernel}, "
                           f"{geometry})")
    same_floats("fold", input=input)
    return Fold(size, kernel, geometry)(input)


def _window(name: str, kernel: Any, dilation: Any, padding: Any, stride: Any) -> tuple[tuple[int, int], Geometry]:
    pads = pair(name, "padding", padding, 0)
    return pair(name, "kernel_size", kernel), Geometry(pair(name, "stride", stride), ((pads[0],) * 2, (pads[1],) * 2),
                                                       pair(name, "dilation", dilation))
