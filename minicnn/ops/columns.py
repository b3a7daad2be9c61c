"""im2col and col2im as operations: every window of an image as a column, and its adjoint."""

from typing import Any

from .. import dtypes
from ..backend import Geometry, kernels_for
from ..engine import Function, Tensor
from .arguments import per_axis, same_floats

__all__ = ["fold", "unfold"]


class Unfold(Function):
    """cols = im2col(x): every window as a column;  gx = col2im(gcols)."""

    def __init__(self, kernel: tuple[int, ...], geometry: Geometry) -> None:
        self.kernel, self.geometry = kernel, geometry

    def forward(self, x):
        self.size = x.shape[2:]
        return kernels_for(x).im2col(x, self.kernel, self.geometry)

    def backward(self, gcols):
        return Fold(self.size, self.kernel, self.geometry)(gcols)


class Fold(Function):
    """x = col2im(cols): columns added back where im2col takes them from;  gcols = im2col(gx)."""

    def __init__(self, size: tuple[int, ...], kernel: tuple[int, ...], geometry: Geometry) -> None:
        self.size, self.kernel, self.geometry = size, kernel, geometry

    def forward(self, cols):
        channels = cols.shape[1] // (self.kernel[0] * self.kernel[1])
        return kernels_for(cols).col2im(cols, (len(cols), channels, *self.size), self.kernel, self.geometry)

    def backward(self, gx):
        return Unfold(self.kernel, self.geometry)(gx)


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """im2col: every window of an image as a column, channels first, rows before columns.

    input (N, C, H, W) or (C, H, W) → (N, C·KH·KW, OH·OW), as many columns as conv2d has outputs; so a convolution is
    the matrix product weight.reshape(O, C·KH·KW) @ unfold(x). gx = fold(gy). Raises RuntimeError where no window fits
    or the type is neither a float nor bool, ValueError for numbers out of range. Chellapilla et al. 2006.
    """
    if input.ndim == 3:
        return unfold(input.unsqueeze(0), kernel_size, dilation, padding, stride).squeeze(0)
    kernel, geometry = _window("unfold", kernel_size, dilation, padding, stride)
    if input.ndim != 4 or 0 in input.shape[1:] or min(geometry.output_size(input.shape[2:], kernel)) < 1:
        raise RuntimeError("unfold: x must be (N, C, H, W) or (C, H, W) with C, H, W > 0 and large enough for a "
                           f"window, not {input.shape} (kernel_size {kernel}, {geometry})")
    same_floats("unfold", (dtypes.bool_,), x=input)
    return Unfold(kernel, geometry)(input)


def fold(input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
         stride: Any = 1) -> Tensor:
    """col2im, the adjoint of unfold: columns put back into images of output_size; where windows overlap they add up.

    input (N, C·KH·KW, OH·OW) or (C·KH·KW, OH·OW) → (N, C, H, W), (H, W) = output_size. gx = unfold(gy). Raises
    RuntimeError where the columns are not those of such an image or the type is neither a float nor bool, ValueError
    for numbers out of range. Chellapilla et al. 2006.
    """
    if input.ndim == 2:
        return fold(input.unsqueeze(0), output_size, kernel_size, dilation, padding, stride).squeeze(0)
    size = per_axis("fold", "output_size", output_size, 2, one_for_all=False)
    kernel, geometry = _window("fold", kernel_size, dilation, padding, stride)
    rows, columns = geometry.output_size(size, kernel)
    if min(rows, columns) < 1:
        raise RuntimeError(f"fold: no window fits into an image of {size} (kernel_size {kernel}, {geometry})")
    area = kernel[0] * kernel[1]
    if input.ndim != 3 or not input.shape[1] or input.shape[1] % area or input.shape[2] != rows * columns:
        raise RuntimeError(f"fold: input of shape {input.shape} must be (N, C·{kernel[0]}·{kernel[1]}, "
                           f"{rows}·{columns}), one column per window of an image of {size} (kernel_size {kernel}, "
                           f"{geometry})")
    same_floats("fold", (dtypes.bool_,), input=input)
    return Fold(size, kernel, geometry)(input)


def _window(name: str, kernel: Any, dilation: Any, padding: Any, stride: Any) -> tuple[tuple[int, ...], Geometry]:
    kernel, dilation, stride = [per_axis(name, argument, value, 2, one_for_all=False) for argument, value in (
        ("kernel_size", kernel), ("dilation", dilation), ("stride", stride))]
    pads = tuple([(p, p) for p in per_axis(name, "padding", padding, 2, 0, one_for_all=False)])
    return kernel, Geometry(stride, pads, dilation)
