"""Convolution layers; what they compute is in functional, under the names conv2d, conv_transpose2d, ..."""

from collections.abc import Callable, Sequence
from typing import Any

from .. import functional as F
from ..engine import Tensor
from ..ops.conv import pads, rectified_conv2d
from . import init
from .arguments import parameter, per_axis, whole
from .module import Module

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]


class _Convolution(Module):
    """What convolutions share: their arguments, their parameters, how they print."""

    axes: int  # spatial axes of the images
    _function: Callable[..., Tensor]

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
                 dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        name, axes = type(self).__name__, self.axes
        self.in_channels = whole(name, "in_channels", in_channels, 0)
        self.out_channels = whole(name, "out_channels", out_channels, 0)
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, axes)
        self.stride = per_axis(name, "stride", stride, axes)
        self.padding: Any = padding if isinstance(padding, str) else per_axis(name, "padding", padding, axes, 0)
        self.dilation = per_axis(name, "dilation", dilation, axes)
        self.groups = whole(name, "groups", groups)
        self.output_padding = (0,) * axes
        self.padding_mode = padding_mode
        for what, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups:
                raise ValueError(f"{name}: {what} = {channels} must be divisible by groups = {groups}")
        if padding_mode not in ("zeros", "reflect", "replicate", "circular"):
            raise ValueError(f"{name}: padding_mode {padding_mode!r} is unknown; use 'zeros', 'reflect', 'replicate' "
                             "or 'circular'")
        around = pads(name, self.padding, self.kernel_size, self.stride, self.dilation)
        self._pads = [n for before_and_after in reversed(around) for n in before_and_after]  # as pad takes them
        self.weight = parameter(self.weight_shape(), dtype, device)
        self.register_parameter("bias", parameter((out_channels,), dtype, device) if bias else None)
        self.reset_parameters()

    def weight_shape(self) -> tuple[int, ...]:
        """(out_channels, in_channels/groups, *kernel_size)."""
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    def reset_parameters(self) -> None:
        """Draw new values, uniform within ±1/√fan_in, PyTorch's default."""
        init.default_(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """conv2d(input, weight, bias, ...) and its relatives, after padding_mode's padding."""
        return self._convolved(self._function, input)

    def _convolved(self, convolve: Callable[..., Tensor], input: Tensor) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._pads, self.padding_mode), 0
        return convolve(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        """The arguments that differ from their defaults."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * self.axes:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * self.axes:
            text += f", dilation={self.dilation}"
        if any(self.output_padding):
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        return text if self.padding_mode == "zeros" else f"{text}, padding_mode={self.padding_mode}"


class Conv1d(_Convolution):
    """Convolution of signals, (N, in_channels, L) → (N, out_channels, OL): Conv2d with one axis.

    weight is (out_channels, in_channels/groups, K). See functional.conv1d. Waibel et al. 1989.
    """

    axes = 1
    _function = staticmethod(F.conv1d)


class Conv2d(_Convolution):
    """Convolution of images, (N, in_channels, H, W) → (N, out_channels, OH, OW); see functional.conv2d.

    kernel_size, stride, padding and dilation are numbers or (rows, columns); padding may also be "same", "valid" or
    "full", and of "zeros" or, as padding_mode, what the image would continue with: "reflect", "replicate", "circular".
    weight is (out_channels, in_channels/groups, KH, KW), bias (out_channels). LeCun et al. 1989.
    """

    axes = 2
    _function = staticmethod(F.conv2d)

    def rectified(self, input: Tensor) -> Tensor:
        """relu(forward(input)), rectified while it is in the cache."""
        return self._convolved(rectified_conv2d, input)


class Conv3d(_Convolution):
    """Convolution of volumes, (N, in_channels, D, H, W) → (N, out_channels, OD, OH, OW): Conv2d with three axes.

    weight is (out_channels, in_channels/groups, KD, KH, KW). See functional.conv3d. Ji et al. 2010.
    """

    axes = 3
    _function = staticmethod(F.conv3d)


class _Transposed(_Convolution):
    """What transposed convolutions share: an output size that may be asked for."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
                 output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1,
                 padding_mode: str = "zeros", device: Any = None, dtype: Any = None) -> None:
        name = type(self).__name__
        if padding_mode != "zeros":
            raise ValueError(f"{name}: padding_mode {padding_mode!r} is not possible; use 'zeros'")
        padding = per_axis(name, "padding", padding, self.axes, 0)
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode,
                         device, dtype)
        self.output_padding = per_axis(name, "output_padding", output_padding, self.axes, 0)

    def weight_shape(self) -> tuple[int, ...]:
        """(in_channels, out_channels/groups, *kernel_size)."""
        return (self.in_channels, self.out_channels // self.groups, *self.kernel_size)

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """conv_transpose2d(input, weight, bias, ...) and its relatives; output_size says what output_padding is."""
        output_padding = self.output_padding if output_size is None else self._padding_to(output_size, input)
        return self._function(input, self.weight, self.bias, self.stride, self.padding, output_padding, self.groups,
                              self.dilation)

    def _padding_to(self, output_size: Sequence[int], input: Tensor) -> tuple[int, ...]:
        """The output_padding with which the output has this size, given with or without batch and channels."""
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in
                 zip(input.shape[-self.axes:], self.stride, self.padding, self.dilation, self.kernel_size)]
        wanted = output_size[-self.axes:] if len(output_size) == input.ndim else output_size
        if len(wanted) != self.axes or not all(0 <= m - n < s for m, n, s in zip(wanted, least, self.stride)):
            raise ValueError(f"{type(self).__name__}: output_size {tuple(output_size)} must be at least {least} and "
                             f"less than the stride {self.stride} above it (x {input.shape})")
        return tuple([m - n for m, n in zip(wanted, least)])


class ConvTranspose1d(_Transposed):
    """Transposed convolution of signals, (N, in_channels, L) → (N, out_channels, OL): ConvTranspose2d with one axis.

    weight is (in_channels, out_channels/groups, K). See functional.conv_transpose1d. Zeiler et al. 2010.
    """

    axes = 1
    _function = staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_Transposed):
    """The adjoint of Conv2d, (N, in_channels, H, W) → (N, out_channels, OH, OW); see functional.conv_transpose2d.

    It undoes the shape of a Conv2d with the same kernel_size, stride, padding and dilation; output_padding, or
    output_size in the call, chooses among the sizes that a stride takes to one. weight is (in_channels,
    out_channels/groups, KH, KW). Zeiler et al. 2010.
    """

    axes = 2
    _function = staticmethod(F.conv_transpose2d)


class ConvTranspose3d(_Transposed):
    """Transposed convolution of volumes, (N, in_channels, D, H, W) → (N, out_channels, OD, OH, OW).

    weight is (in_channels, out_channels/groups, KD, KH, KW). See functional.conv_transpose3d. Zeiler et al. 2010.
    """

    axes = 3
    _function = staticmethod(F.conv_transpose3d)
