"""Adaptive pooling: the size of the output is given, and the windows follow from it."""

from typing import Any

from ..engine import Tensor
from .arguments import per_axis, same_floats
from .pool import image_size, largest, mean
from .windows import adaptive_windows

__all__ = ["adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
           "adaptive_max_pool2d", "adaptive_max_pool3d"]


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """The mean over windows chosen so that the output is output_size; 1 is global average pooling.

    input (N, C, H, W) or (C, H, W) → (N, C, OH, OW), output_size OH = OW or (OH, OW), None to keep a length. Row i of
    the output is the mean of rows ⌊i·H/OH⌋ up to ⌈(i + 1)·H/OH⌉. Raises RuntimeError for another shape or a type that
    is no float, ValueError for an output_size that is none. Lin et al. 2013.
    """
    return _avg("adaptive_avg_pool2d", 2, input, output_size)


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """The mean over windows chosen so that the output is output_size: adaptive_avg_pool2d with one axis.

    input (N, C, L) or (C, L) → (N, C, OL). Raises RuntimeError and ValueError as adaptive_avg_pool2d. Lin et al. 2013.
    """
    return _avg("adaptive_avg_pool1d", 1, input, output_size)


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """The mean over boxes chosen so that the output is output_size: adaptive_avg_pool2d with three axes.

    input (N, C, D, H, W) or (C, D, H, W) → (N, C, OD, OH, OW). Raises RuntimeError and ValueError as
    adaptive_avg_pool2d. Lin et al. 2013.
    """
    return _avg("adaptive_avg_pool3d", 3, input, output_size)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The largest element of windows chosen so that the output is output_size, as in adaptive_avg_pool2d.

    input (N, C, H, W) or (C, H, W) → (N, C, OH, OW), and with return_indices the place h·W + w of each maximum. Raises
    RuntimeError for another shape or a type that is no float, ValueError for an output_size that is none. He et al.
    2014 (spatial pyramid pooling).
    """
    return _max("adaptive_max_pool2d", 2, input, output_size, return_indices)


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The largest element of windows chosen so that the output is output_size: adaptive_max_pool2d with one axis.

    input (N, C, L) or (C, L) → (N, C, OL), and with return_indices the place l of each maximum. Raises RuntimeError and
    ValueError as adaptive_max_pool2d. He et al. 2014.
    """
    return _max("adaptive_max_pool1d", 1, input, output_size, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The largest element of boxes chosen so that the output is output_size: adaptive_max_pool2d with three axes.

    input (N, C, D, H, W) or (C, D, H, W) → (N, C, OD, OH, OW), and with return_indices the place (d·H + h)·W + w of
    each maximum. Raises RuntimeError and ValueError as adaptive_max_pool2d. He et al. 2014.
    """
    return _max("adaptive_max_pool3d", 3, input, output_size, return_indices)


def _avg(name: str, axes: int, x: Tensor, output_size: Any) -> Tensor:
    if x.ndim == axes + 1:
        return _avg(name, axes, x.unsqueeze(0), output_size).squeeze(0)
    size = image_size(name, axes, x)
    same_floats(name, x=x)
    return mean(x, *adaptive_windows(size, _wanted(name, size, output_size), x.dtype))


def _max(name: str, axes: int, x: Tensor, output_size: Any, return_indices: bool) -> Any:
    if x.ndim == axes + 1:
        y, index = _max(name, axes, x.unsqueeze(0), output_size, True)
        return (y.squeeze(0), index.squeeze(0)) if return_indices else y.squeeze(0)
    size = image_size(name, axes, x)
    same_floats(name, x=x)
    y, index = largest(x, adaptive_windows(size, _wanted(name, size, output_size), x.dtype)[0])
    return (y, index) if return_indices else y


def _wanted(name: str, size: tuple[int, ...], output_size: Any) -> tuple[int, ...]:
    """One length per axis."""
    if isinstance(output_size, (tuple, list)):
        if len(output_size) != len(size):
            raise ValueError(f"{name}: output_size = {output_size!r} must be an integer or {len(size)} of them")
        if len(size) > 1:
            output_size = [n if m is None else m for n, m in zip(size, output_size, strict=True)]
    return per_axis(name, "output_size", output_size, len(size), 0)
