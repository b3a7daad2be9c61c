"""Pooling of powers: between the sum (p = 1) and the largest magnitude (p = ∞) of a window."""

import math
from typing import Any

from ..engine import Tensor
from .arguments import per_axis
from .piecewise import relu
from .pool import avg_pool, max_pool

__all__ = ["lp_pool1d", "lp_pool2d", "lp_pool3d"]


def lp_pool2d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """(Σ xᵖ)^(1/p) over each window, p = norm_type; the sum for p = 1, the largest |x| for p = ∞, the smallest for −∞.

    input (N, C, H, W) or (C, H, W) → (N, C, OH, OW), windows as in avg_pool2d; of a window cut off by ceil_mode it is
    the mean that counts, times kernel_size, as in PyTorch. Where the sum is 0, so is the gradient. Raises ValueError
    for p = 0, otherwise as avg_pool2d. Sermanet et al. 2012.
    """
    return _lp_pool("lp_pool2d", 2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool1d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """(Σ xᵖ)^(1/p) over each window of signals, p = norm_type: lp_pool2d with one axis.

    input (N, C, L) or (C, L) → (N, C, OL). Raises RuntimeError and ValueError as lp_pool2d. Sermanet et al. 2012.
    """
    return _lp_pool("lp_pool1d", 1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """(Σ xᵖ)^(1/p) over each box of volumes, p = norm_type: lp_pool2d with three axes.

    input (N, C, D, H, W) or (C, D, H, W) → (N, C, OD, OH, OW). Raises RuntimeError and ValueError as lp_pool2d.
    Sermanet et al. 2012.
    """
    return _lp_pool("lp_pool3d", 3, input, norm_type, kernel_size, stride, ceil_mode)


def _lp_pool(name: str, axes: int, x: Tensor, p: float, kernel: Any, stride: Any, ceil_mode: bool) -> Tensor:
    if p == 0:
        raise ValueError(f"{name}: norm_type must not be 0")
    kernel = per_axis(name, "kernel_size", kernel, axes, one_for_all=False)
    if math.isinf(p):
        y = max_pool(name, axes, x.abs() if p > 0 else -x.abs(), kernel, stride, 0, 1, ceil_mode, False)
        return y if p > 0 else -y
    y = avg_pool(name, axes, x.pow(p), kernel, stride, 0, ceil_mode, True, None)
    y = y.sign() * relu(y.abs())  # the same number, whose gradient at 0 is 0 and not 0·∞
    return (y * math.prod(kernel)).pow(1 / p)
