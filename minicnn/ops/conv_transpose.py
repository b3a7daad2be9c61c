"""Transposed convolution: what convolution's backward does to a gradient, as an operation of its own.

It is Conv2dInputGrad, the adjoint of the convolution that would take the output back to the input: every input pixel
puts its multiple of the kernel into the output, and where they overlap they add up. So it needs no derivatives of its
own. Its shape is not determined: a stride s takes s sizes to one, and output_padding says which of them to go back to.
"""

from functools import lru_cache
from typing import Any

from .. import dtypes
from ..backend import Geometry
from ..engine import Tensor
from .arguments import per_axis, same_floats
from .conv import Conv2dInputGrad, check_shapes, steps, with_row
from .pad import pad

__all__ = ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]


def conv_transpose2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
                     output_padding: Any = 0, groups: int = 1, dilation: Any = 1) -> Tensor:
    """The adjoint of conv2d from (N, O, OH, OW) to (N, C, H, W), plus a bias: it takes small images to large ones.

    input (N, C, H, W) or (C, H, W), weight (C, O/groups, KH, KW), bias (O) → (N, O, OH, OW) with
    OH = (H − 1)·stride − 2·padding + dilation·(KH − 1) + output_padding + 1. gx = conv2d(gy, weight). Raises
    RuntimeError for shapes or types that do not fit together, or an output_padding that neither stride nor dilation
    exceeds, ValueError for numbers out of range. Zeiler et al. 2010.
    """
    return _transpose("conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose1d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
                     output_padding: Any = 0, groups: int = 1, dilation: Any = 1) -> Tensor:
    """The adjoint of conv1d, plus a bias: conv_transpose2d with one axis.

    input (N, C, L) or (C, L), weight (C, O/groups, K), bias (O) → (N, O, OL), the length as in conv_transpose2d. Raises
    RuntimeError and ValueError as conv_transpose2d. Zeiler et al. 2010.
    """
    return _transpose("conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
                     output_padding: Any = 0, groups: int = 1, dilation: Any = 1) -> Tensor:
    """The adjoint of conv3d, plus a bias: conv_transpose2d with three axes.

    input (N, C, D, H, W) or (C, D, H, W), weight (C, O/groups, KD, KH, KW), bias (O) → (N, O, OD, OH, OW), each length
    as in conv_transpose2d. Raises RuntimeError and ValueError as conv_transpose2d. Zeiler et al. 2010.
    """
    return _transpose("conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding, groups, dilation)


def _transpose(name: str, axes: int, x: Tensor, w: Tensor, b: Tensor | None, stride: Any, padding: Any,
               output_padding: Any, groups: int, dilation: Any) -> Tensor:
    if x.ndim == axes + 1:
        y = _transpose(name, axes, x.unsqueeze(0), w, b, stride, padding, output_padding, groups, dilation)
        return y.squeeze(0)
    same_floats(name, (dtypes.int64,), x=x, weight=w, bias=b)
    stride = per_axis(name, "stride", stride, axes)
    output_padding = per_axis(name, "output_padding", output_padding, axes, 0)
    size, geometry = _geometry(name, axes, x.shape, w.shape, None if b is None else b.shape, stride,
                               per_axis(name, "padding", padding, axes, 0), output_padding, groups,
                               per_axis(name, "dilation", dilation, axes))
    beyond = [p // s for p, s in zip(output_padding, stride, strict=True)]
    if any(beyond):  # dilation allows it to reach over windows that no pixel of the input belongs to
        x = pad(x, [n for more in reversed(beyond) for n in (0, more)])
    if axes == 1:
        x, w = x.unsqueeze(2), w.unsqueeze(2)
    y = Conv2dInputGrad((len(x), *size), geometry)(x, w)
    if b is not None:
        y = y + b.reshape(-1, *[1] * (y.ndim - 2))
    return y.squeeze(2) if axes == 1 else y


@lru_cache(typed=True)
def _geometry(name: str, axes: int, x_shape: tuple[int, ...], w_shape: tuple[int, ...], b_shape: tuple[int, ...] | None,
              stride: tuple[int, ...], padding: tuple[int, ...], output_padding: tuple[int, ...], groups: int,
              dilation: tuple[int, ...]) -> tuple[tuple[int, ...], Geometry]:
    """(O, OH, OW) and the geometry of the convolution back, after all checks."""
    check_shapes(name, axes, x_shape, w_shape, b_shape, groups, transposed=True)
    if any(p >= max(s, d) for p, s, d in zip(output_padding, stride, dilation, strict=True)):
        raise RuntimeError(f"{name}: output_padding {output_padding} must be smaller than stride {stride} or dilation "
                           f"{dilation}")
    size = tuple([(n - 1) * s - 2 * p + d * (k - 1) + more + 1 for n, s, p, d, k, more in
                  zip(x_shape[2:], stride, padding, dilation, w_shape[2:], output_padding, strict=True)])
    if min(size) < (1 if x_shape[0] else 0):
        raise RuntimeError(f"{name}: the output would be of size {size} (x {x_shape}, weight {w_shape}); use a larger "
                           f"input or kernel, or less padding than {padding}")
    stride = steps(stride, tuple([n + 2 * p for n, p in zip(size, padding, strict=True)]))
    geometry = Geometry(stride, tuple([(p, p) for p in padding]), dilation, groups)
    if axes == 1:
        size, geometry = (1, *size), with_row(geometry)
    return (w_shape[1] * groups, *size), geometry
