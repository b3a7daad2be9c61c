"""Convolution layers."""

from typing import Any

from .. import functional as F
from ..engine import Tensor
from . import init
from .arguments import parameter, per_axis, whole
from .module import Module

__all__ = ["Conv2d"]


class _Convolution(Module):
    """What convolutions of every dimension share: their arguments, their parameters, how they print."""

    axes: int  # spatial axes of the images

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
                 dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        name, axes = type(self).__name__, self.axes
        self.in_channels = whole(name, "in_channels", in_channels)
        self.out_channels = whole(name, "out_channels", out_channels)
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, axes)
        self.stride = per_axis(name, "stride", stride, axes)
        self.padding = padding if isinstance(padding, str) else per_axis(name, "padding", padding, axes, 0)
        self.dilation = per_axis(name, "dilation", dilation, axes)
        self.groups = whole(name, "groups", groups)
        self.padding_mode = padding_mode
        for what, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups:
                raise ValueError(f"{name}: {what} = {channels} must be divisible by groups = {groups}")
        if isinstance(padding, str) and padding not in ("same", "valid", "full"):
            raise ValueError(f"{name}: padding {padding!r} is unknown; use a number, {axes} numbers, 'same', 'valid' "
                             "or 'full'")
        if padding == "same" and self.stride != (1,) * axes:
            raise ValueError(f"{name}: padding 'same' needs stride 1, not {self.stride}")
        if padding_mode != "zeros":
            raise ValueError(f"{name}: padding_mode {padding_mode!r} is not available; use 'zeros'")
        self.weight = parameter((out_channels, in_channels // groups, *self.kernel_size), dtype, device)
        if bias:
            self.bias = parameter((out_channels,), dtype, device)
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values, uniform within ±1/√fan_in, PyTorch's default."""
        init.default_(self.weight, self.bias)

    def extra_repr(self) -> str:
        """The arguments that differ from their defaults."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * self.axes:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * self.axes:
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        return text if self.bias is not None else text + ", bias=False"


class Conv2d(_Convolution):
    """Convolution of images, (N, in_channels, H, W) → (N, out_channels, OH, OW); see functional.conv2d.

    kernel_size, stride, padding and dilation are numbers or (rows, columns); padding may also be "same", "valid" or
    "full". weight is (out_channels, in_channels/groups, KH, KW), bias (out_channels). LeCun et al. 1989.
    """

    axes = 2

    def forward(self, input: Tensor) -> Tensor:
        """conv2d(input, weight, bias, ...)."""
        return F.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
