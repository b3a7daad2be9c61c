"""Convolution, and the nicest fact of this project.

y = conv(x, w) is bilinear: linear in x for fixed w and linear in w for fixed x. So each of its two gradients is again a
bilinear operation, and the three close under differentiation: the backward of each is made of the other two.

    y  = conv(x, w)              gx = input_grad(gy, w)       gw = weight_grad(x, gy)
    gx = input_grad(gy, w)      ggy = conv(ggx, w)            gw = weight_grad(ggx, gy)
    gw = weight_grad(x, gy)      gx = input_grad(gy, ggw)    ggy = conv(x, ggw)

That is every derivative of convolution, of any order. What the three compute is in kernels/reference/convolution.py.
Signals are images of one row. Volumes have one axis more, and kernels/volumes.py makes images of them.
"""

from functools import lru_cache
from numbers import Integral
from typing import Any

from .. import dtypes
from ..backend import Geometry, convolution_for, kernels_for
from ..engine import Function, Tensor
from .arguments import IMAGE, KERNEL, per_axis, same_floats
from .basic import contiguous
from .piecewise import Rectified
from .reduce import Sum

__all__ = ["conv1d", "conv2d", "conv3d"]

INTEGERS = (dtypes.int64, dtypes.int32, dtypes.int16, dtypes.int8, dtypes.uint8)


class Bilinear(Function):
    """An operation on two factors; the gradient of each needs the other one, and nothing else is kept for it."""

    def keep(self, a, b):
        needs = self.needs
        self.save(a if needs[1] else None, b if needs[0] else None)


class Conv2d(Bilinear):
    """y[n,o] = b[o] + Σ_c w[o,c] ⋆ x[n,c];  gx = input_grad(gy, w),  gw = weight_grad(x, gy),  gb = Σ gy over nij.

    To rectify is to return max(y, 0) at once, to a ``Rectified`` that has the gradient of it.
    """

    def __init__(self, geometry: Geometry, rectify: bool = False) -> None:
        self.geometry, self.rectify = geometry, rectify

    def forward(self, x, w, b=None):
        self.x_shape, self.w_shape = x.shape, w.shape
        self.keep(x, w)
        kernels = convolution_for(x, w.shape[2:], self.geometry)
        if not self.rectify:
            return kernels.conv2d(x, w, b, self.geometry)
        if kernels is kernels_for(x):
            return kernels.conv2d(x, w, b, self.geometry, rectify=True)
        return kernels_for(x).relu(kernels.conv2d(x, w, b, self.geometry))  # a formulation of convolution alone

    def backward(self, gy):
        x, w = self.saved
        gy = contiguous(gy)  # once, for all that read it
        gx = Conv2dInputGrad(self.x_shape, self.geometry)(gy, w) if self.needs[0] else None
        gw = Conv2dWeightGrad(self.w_shape, self.geometry)(x, gy) if self.needs[1] else None
        gb = Sum((0, *range(2, gy.ndim)), False)(gy) if self.needs[2:] == (True,) else None
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
    that every overlap counts; not in PyTorch). All of one type, but not bool. Raises RuntimeError for shapes or
    types that do not fit together, ValueError for numbers out of range. LeCun et al. 1989; the three adjoints: see
    ops/conv.py.
    """
    return convolve("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def rectified_conv2d(input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any,
                     groups: int) -> Tensor:
    """relu(conv2d(...)), rectified while it is in the cache."""
    return Rectified()(convolve("conv2d", 2, input, weight, bias, stride, padding, dilation, groups, rectify=True))


def conv1d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
           dilation: Any = 1, groups: int = 1) -> Tensor:
    """Cross-correlation of signals with kernels: conv2d with one axis.

    input (N, C, L) or (C, L), weight (O, C/groups, K), bias (O) → (N, O, OL) with
    OL = ⌊(L + 2·padding − dilation·(K − 1) − 1)/stride⌋ + 1; padding may also be "valid", "same" or "full" (not in
    PyTorch). Raises RuntimeError and ValueError as conv2d. Waibel et al. 1989 (time-delay networks).
    """
    return convolve("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv3d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
           dilation: Any = 1, groups: int = 1) -> Tensor:
    """Cross-correlation of volumes, or of stacks of frames, with kernels: conv2d with three axes.

    input (N, C, D, H, W) or (C, D, H, W), weight (O, C/groups, KD, KH, KW), bias (O) → (N, O, OD, OH, OW), each length
    as in conv2d; padding may also be "valid", "same" or "full" (not in PyTorch). Raises RuntimeError and ValueError as
    conv2d. Ji et al. 2010.
    """
    return convolve("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def convolve(name: str, axes: int, x: Tensor, w: Tensor, b: Tensor | None, stride: Any, padding: Any, dilation: Any,
             groups: int, rectify: bool = False) -> Tensor:
    """The convolution of that many axes, under its public name in messages."""
    shape = x.data.shape
    if len(shape) == axes + 1:
        return convolve(name, axes, x.unsqueeze(0), w, b, stride, padding, dilation, groups, rectify).squeeze(0)
    same_floats(name, INTEGERS, x=x, weight=w, bias=b)
    if not isinstance(padding, str):
        padding = per_axis(name, "padding", padding, axes, 0)
    geometry = _geometry(name, axes, shape, w.data.shape, None if b is None else b.data.shape,
                         per_axis(name, "stride", stride, axes), padding, per_axis(name, "dilation", dilation, axes),
                         groups)
    if axes == 1:
        x, w = x.unsqueeze(2), w.unsqueeze(2)
    operation = Conv2d(geometry, rectify)
    y = operation(x, w) if b is None else operation(x, w, b)
    return y.squeeze(2) if axes == 1 else y


@lru_cache(typed=True)
def _geometry(name: str, axes: int, x_shape: tuple[int, ...], w_shape: tuple[int, ...], b_shape: tuple[int, ...] | None,
              stride: tuple[int, ...], padding: tuple[int, ...] | str, dilation: tuple[int, ...],
              groups: int) -> Geometry:
    """What convolve has to work out and check; remembered, as a network calls with the same few shapes again."""
    check_shapes(name, axes, x_shape, w_shape, b_shape, groups)
    kernel = w_shape[2:]
    padded = pads(name, padding, kernel, stride, dilation)
    size = tuple([n + sum(p) for n, p in zip(x_shape[2:], padded, strict=True)])
    geometry = Geometry(steps(stride, size), padded, dilation, groups)
    if min(geometry.output_size(x_shape[2:], kernel)) < 1:
        reach = tuple([d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)])
        raise RuntimeError(f"{name}: a kernel that reaches over {reach} does not fit into the padded input of {size} "
                           f"(x {x_shape}, weight {w_shape}, padding {padding}, dilation {dilation}); use a "
                           "larger image, more padding or a smaller kernel")
    return with_row(geometry) if axes == 1 else geometry


def check_shapes(name: str, axes: int, x: tuple[int, ...], w: tuple[int, ...], b: tuple[int, ...] | None, groups: int,
                 transposed: bool = False) -> None:
    """Raise unless the shapes of input, weight and bias have all axes and agree on the channels."""
    shapes = f"(x {x}, weight {w}, groups {groups})"
    if len(x) != axes + 2 or len(w) != axes + 2:
        raise RuntimeError(f"{name}: x must be (N, C, {IMAGE[axes]}) or (C, {IMAGE[axes]}) and weight "
                           f"({'C, O/groups' if transposed else 'O, C/groups'}, {KERNEL[axes]}) {shapes}")
    if not isinstance(groups, Integral) or groups < 1 or w[0] % groups:
        raise RuntimeError(f"{name}: groups = {groups} must be a positive integer that divides the first axis of "
                           f"weight {shapes}")
    inputs, outputs = (w[0], w[1] * groups) if transposed else (w[1] * groups, w[0])
    if x[1] != inputs:
        raise RuntimeError(f"{name}: x has {x[1]} channels but weight expects {inputs} {shapes}")
    if 0 in x[1:] or 0 in w:
        raise RuntimeError(f"{name}: only the batch may be empty, all other axes need a length of at least 1 {shapes}")
    if b is not None and b != (outputs,):
        raise RuntimeError(f"{name}: bias has shape {b}, expected ({outputs},), one number per output channel {shapes}")


def steps(stride: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, ...]:
    """The stride, no longer than the padded image, which a step of that length leaves already."""
    return tuple([min(s, n) for s, n in zip(stride, size, strict=True)])


def with_row(geometry: Geometry) -> Geometry:
    """The geometry of signals as that of images of one row."""
    return Geometry((1, *geometry.stride), ((0, 0), *geometry.padding), (1, *geometry.dilation), geometry.groups)


def pads(name: str, padding: Any, kernel: tuple[int, ...], stride: tuple[int, ...],
          dilation: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """The zeros (before, after) each axis."""
    if not isinstance(padding, str):
        return tuple([(p, p) for p in padding])
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "full":
        return tuple([(r, r) for r in reach])
    if padding != "same":
        raise ValueError(f"{name}: padding {padding!r} is unknown; use a number, one per axis, 'valid', 'same' or "
                         "'full'")
    if max(stride) > 1:
        raise ValueError(f"{name}: padding 'same' needs stride 1, not {stride}; with a stride the output is smaller")
    return tuple([(r // 2, r - r // 2) for r in reach])  # even kernels: one more at the end
