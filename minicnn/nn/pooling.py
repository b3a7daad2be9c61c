"""Pooling layers; what they compute is in functional, under the names max_pool2d, avg_pool2d, ..."""

from collections.abc import Callable, Sequence
from typing import Any

from .. import functional as F
from ..engine import Tensor
from .arguments import per_axis
from .module import Module

__all__ = ["AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
           "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "FractionalMaxPool2d", "FractionalMaxPool3d",
           "LPPool1d", "LPPool2d", "LPPool3d", "MaxPool1d", "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d",
           "MaxUnpool3d", "StochasticPool2d"]


class _Pool(Module):
    _function: Callable[..., Any]  # of functional


# -- regular windows ------------------------------------------------------------------------------------------------

class _MaxPool(_Pool):
    _shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
                 return_indices: bool = False, ceil_mode: bool = False) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, input: Tensor) -> Any:
        """max_pool2d(input, kernel_size, ...) and its relatives."""
        return self._function(input, self.kernel_size, self.stride, self.padding, self.dilation,
                              self.ceil_mode, self.return_indices)


class MaxPool1d(_MaxPool):
    """The largest element of each window, (N, C, L) → (N, C, OL); with return_indices also its place."""

    _function = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPool):
    """The largest element of each window, (N, C, H, W) → (N, C, OH, OW); with return_indices also its place."""

    _function = staticmethod(F.max_pool2d)


class MaxPool3d(_MaxPool):
    """The largest element of each box, (N, C, D, H, W) → (N, C, OD, OH, OW); with return_indices also its place."""

    _function = staticmethod(F.max_pool3d)


class _AvgPool(_Pool):
    _shown = ("kernel_size", "stride", "padding")

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
                 count_include_pad: bool = True, divisor_override: int | None = None) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, input: Tensor) -> Tensor:
        """avg_pool2d(input, kernel_size, ...) and its relatives."""
        return self._function(input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
                              self.count_include_pad, self.divisor_override)


class AvgPool1d(_Pool):
    """The mean of each window, (N, C, L) → (N, C, OL)."""

    _shown = ("kernel_size", "stride", "padding")

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
                 count_include_pad: bool = True) -> None:
        super().__init__()
        self.kernel_size = per_axis("AvgPool1d", "kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else per_axis("AvgPool1d", "stride", stride, 1)
        self.padding = per_axis("AvgPool1d", "padding", padding, 1, 0)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        """avg_pool1d(input, kernel_size, ...)."""
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class AvgPool2d(_AvgPool):
    """The mean of each window, (N, C, H, W) → (N, C, OH, OW)."""

    _function = staticmethod(F.avg_pool2d)


class AvgPool3d(_AvgPool):
    """The mean of each box, (N, C, D, H, W) → (N, C, OD, OH, OW)."""

    _function = staticmethod(F.avg_pool3d)


class _LPPool(_Pool):
    _shown = ("norm_type", "kernel_size", "stride", "ceil_mode")

    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        """lp_pool2d(input, norm_type, kernel_size, ...) and its relatives."""
        return self._function(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class LPPool1d(_LPPool):
    """(Σ xᵖ)^(1/p) over each window, p = norm_type, (N, C, L) → (N, C, OL)."""

    _function = staticmethod(F.lp_pool1d)


class LPPool2d(_LPPool):
    """(Σ xᵖ)^(1/p) over each window, p = norm_type, (N, C, H, W) → (N, C, OH, OW)."""

    _function = staticmethod(F.lp_pool2d)


class LPPool3d(_LPPool):
    """(Σ xᵖ)^(1/p) over each box, p = norm_type, (N, C, D, H, W) → (N, C, OD, OH, OW)."""

    _function = staticmethod(F.lp_pool3d)


# -- output sizes ---------------------------------------------------------------------------------------------------

class _AdaptiveAvgPool(_Pool):
    _shown = ("output_size",)

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        """adaptive_avg_pool2d(input, output_size) and its relatives."""
        return self._function(input, self.output_size)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The mean over windows chosen so that (N, C, L) → (N, C, output_size)."""

    _function = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The mean over windows chosen so that (N, C, H, W) → (N, C, *output_size); 1 is global average pooling."""

    _function = staticmethod(F.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The mean over boxes chosen so that (N, C, D, H, W) → (N, C, *output_size); 1 is global average pooling."""

    _function = staticmethod(F.adaptive_avg_pool3d)


class _AdaptiveMaxPool(_Pool):
    _shown = ("output_size",)

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, input: Tensor) -> Any:
        """adaptive_max_pool2d(input, output_size, return_indices) and its relatives."""
        return self._function(input, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest element of windows chosen so that (N, C, L) → (N, C, output_size)."""

    _function = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest element of windows chosen so that (N, C, H, W) → (N, C, *output_size)."""

    _function = staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest element of boxes chosen so that (N, C, D, H, W) → (N, C, *output_size)."""

    _function = staticmethod(F.adaptive_max_pool3d)


# -- windows by chance ----------------------------------------------------------------------------------------------

class _FractionalMaxPool(_Pool):
    axes: int

    def __init__(self, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
                 return_indices: bool = False, _random_samples: Tensor | None = None) -> None:
        super().__init__()
        name, axes = type(self).__name__, self.axes
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, axes)
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        if (output_size is None) == (output_ratio is None):
            raise ValueError(f"{name}: give either output_size or output_ratio")
        self.output_size = None if output_size is None else per_axis(name, "output_size", output_size, axes)
        if output_ratio is not None and not isinstance(output_ratio, (tuple, list)):
            output_ratio = (output_ratio,) * axes
        if output_ratio is not None and not all(0 < ratio < 1 for ratio in output_ratio):
            raise ValueError(f"{name}: output_ratio = {output_ratio} must be between 0 and 1")
        self.output_ratio = output_ratio

    def forward(self, input: Tensor) -> Any:
        """fractional_max_pool2d(input, kernel_size, ...) or its relative."""
        return self._function(input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices,
                              _random_samples=self._random_samples)


class FractionalMaxPool2d(_FractionalMaxPool):
    """The largest element of windows at random distances, (N, C, H, W) → (N, C, *output_size). Graham 2014."""

    axes = 2
    _function = staticmethod(F.fractional_max_pool2d)


class FractionalMaxPool3d(_FractionalMaxPool):
    """The largest element of boxes at random distances, (N, C, D, H, W) → (N, C, *output_size). Graham 2014."""

    axes = 3
    _function = staticmethod(F.fractional_max_pool3d)


class StochasticPool2d(Module):
    """In training an element of each window, drawn in proportion to it; otherwise the mean of what would be drawn.

    (N, C, H, W), not negative → (N, C, OH, OW). PyTorch has none. Zeiler & Fergus 2013.
    """

    _shown = ("kernel_size", "stride", "padding")

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        self.kernel_size, self.padding = kernel_size, padding
        self.stride = kernel_size if stride is None else stride

    def forward(self, input: Tensor) -> Tensor:
        """stochastic_pool2d(input, kernel_size, ..., training)."""
        return F.stochastic_pool2d(input, self.kernel_size, self.stride, self.padding, self.training)


# -- the way back ---------------------------------------------------------------------------------------------------

class _MaxUnpool(_Pool):
    _shown = ("kernel_size", "stride", "padding")
    axes: int

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        name = type(self).__name__
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, self.axes)
        self.stride = self.kernel_size if stride is None else per_axis(name, "stride", stride, self.axes)
        self.padding = per_axis(name, "padding", padding, self.axes, 0)

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """max_unpool2d(input, indices, ...) and its relatives."""
        return self._function(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool1d(_MaxUnpool):
    """Maxima put back where MaxPool1d took them from, zeros elsewhere, (N, C, L) → (N, C, OL)."""

    axes = 1
    _function = staticmethod(F.max_unpool1d)


class MaxUnpool2d(_MaxUnpool):
    """Maxima put back where MaxPool2d took them from, zeros elsewhere, (N, C, H, W) → (N, C, OH, OW)."""

    axes = 2
    _function = staticmethod(F.max_unpool2d)


class MaxUnpool3d(_MaxUnpool):
    """Maxima put back where MaxPool3d took them from, zeros elsewhere, (N, C, D, H, W) → (N, C, OD, OH, OW)."""

    axes = 3
    _function = staticmethod(F.max_unpool3d)
