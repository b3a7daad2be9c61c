"""Layers that learn their number of inputs from the first input, and are ordinary layers from then on.

Raises RuntimeError for a first input with another number of axes. As in PyTorch.
"""

from collections.abc import Sequence
from typing import Any

from ..engine import Tensor
from .conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .linear import Linear
from .module import Module
from .normalisation import BatchNorm1d, BatchNorm2d, BatchNorm3d
from .parameter import UninitializedBuffer, UninitializedParameter

__all__ = ["LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d", "LazyConv1d", "LazyConv2d", "LazyConv3d",
           "LazyConvTranspose1d", "LazyConvTranspose2d", "LazyConvTranspose3d", "LazyLinear"]


class LazyModule(Module):
    """What lazy layers share; a base class beside that of the layer to become, cls_to_become, and before it.

    weight and bias have no shape until the first forward, or until a state_dict is loaded.
    """

    cls_to_become: type[Module]
    weight: Any
    bias: Any

    def forget_parameters(self, bias: bool, device: Any, dtype: Any) -> None:
        """Put parameters without a shape in the place of weight and bias."""
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The first call: take the shapes from the input, become the ordinary layer, and be called as that."""
        self.initialize_parameters(*args, **kwargs)
        self.__class__ = self.cls_to_become  # type: ignore[assignment]
        return self.forward(*args, **kwargs)

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Give weight and bias the shapes that the arguments of forward ask for."""
        raise NotImplementedError(f"{type(self).__name__} has no initialize_parameters()")

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or a buffer has no shape yet."""
        return any(isinstance(t, UninitializedParameter) for t in (self._parameters | self._buffers).values())

    def materialize(self, **shapes: tuple[int, ...]) -> None:
        """Give parameters and buffers their shapes, by name, and first values, unless a state_dict has brought all."""
        known = [name for name in shapes if getattr(self, name) is not None]
        unknown = [name for name in known if isinstance(getattr(self, name), UninitializedParameter)]
        if 0 < len(unknown) < len(known):
            raise RuntimeError(f"{type(self).__name__}: of {' and '.join(known)} only {' and '.join(unknown)} was not "
                               "loaded; load all of them or none")
        for name in unknown:
            getattr(self, name).materialize(shapes[name])
        if unknown:
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values, where there is a shape to draw them for."""
        if not self.has_uninitialized_params() and (self.weight is None or self.weight.numel()):
            super().reset_parameters()  # type: ignore[misc]  # of the layer to become


class LazyLinear(LazyModule, Linear):
    """A Linear whose in_features is the length of the last axis of its first input."""

    cls_to_become = Linear

    def __init__(self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__(0, out_features, False, device, dtype)
        self.forget_parameters(bias, device, dtype)

    def initialize_parameters(self, input: Tensor) -> None:
        """in_features from the last axis of the input."""
        self.in_features = input.shape[-1]
        self.materialize(weight=(self.out_features, self.in_features), bias=(self.out_features,))


class _LazyConvolution(LazyModule):
    """What lazy convolutions share."""

    axes: int
    in_channels: int
    out_channels: int
    groups: int
    weight_shape: Any

    def initialize_parameters(self, input: Tensor, output_size: Sequence[int] | None = None) -> None:
        """in_channels from the channel axis of the input."""
        name = type(self).__name__
        if input.ndim not in (self.axes + 1, self.axes + 2):
            raise RuntimeError(f"{name}: x must have {self.axes + 2} axes, or {self.axes + 1} without a batch, not "
                               f"{input.shape}")
        channels = input.shape[-self.axes - 1]
        if channels % self.groups:
            raise ValueError(f"{name}: the {channels} channels of x {input.shape} must be divisible by groups = "
                             f"{self.groups}")
        self.in_channels = channels
        self.materialize(weight=self.weight_shape(), bias=(self.out_channels,))


class _LazyConv(_LazyConvolution):
    def __init__(self, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
                 groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(0, out_channels, kernel_size, stride, padding,  # type: ignore[call-arg]
                         dilation, groups, False, padding_mode, device, dtype)
        self.forget_parameters(bias, device, dtype)


class _LazyConvTranspose(_LazyConvolution):
    def __init__(self, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
                 groups: int = 1, bias: bool = True, dilation: Any = 1, padding_mode: str = "zeros", device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(0, out_channels, kernel_size, stride, padding,  # type: ignore[call-arg]
                         output_padding, groups, False, dilation, padding_mode, device, dtype)
        self.forget_parameters(bias, device, dtype)


class LazyConv1d(_LazyConv, Conv1d):
    """A Conv1d whose in_channels is that of its first input."""

    cls_to_become = Conv1d


class LazyConv2d(_LazyConv, Conv2d):
    """A Conv2d whose in_channels is that of its first input."""

    cls_to_become = Conv2d


class LazyConv3d(_LazyConv, Conv3d):
    """A Conv3d whose in_channels is that of its first input."""

    cls_to_become = Conv3d


class LazyConvTranspose1d(_LazyConvTranspose, ConvTranspose1d):
    """A ConvTranspose1d whose in_channels is that of its first input."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyConvTranspose, ConvTranspose2d):
    """A ConvTranspose2d whose in_channels is that of its first input."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyConvTranspose, ConvTranspose3d):
    """A ConvTranspose3d whose in_channels is that of its first input."""

    cls_to_become = ConvTranspose3d


class _LazyBatchNorm(LazyModule):
    affine: bool
    num_features: int
    _check_axes: Any

    def __init__(self, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, device: Any = None, dtype: Any = None, *, bias: bool = True) -> None:
        super().__init__(0, eps, momentum, False, track_running_stats, device, dtype)  # type: ignore[call-arg]
        self.affine = affine
        if affine:
            self.forget_parameters(bias, device, dtype)
        if track_running_stats:
            for name in ("running_mean", "running_var"):
                self.register_buffer(name, UninitializedBuffer(device=device, dtype=dtype))

    def initialize_parameters(self, input: Tensor) -> None:
        """num_features from the channel axis of the input."""
        self._check_axes(input)
        self.num_features = input.shape[1]
        self.materialize(**dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (self.num_features,)))


class LazyBatchNorm1d(_LazyBatchNorm, BatchNorm1d):
    """A BatchNorm1d whose num_features is that of its first input."""

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyBatchNorm, BatchNorm2d):
    """A BatchNorm2d whose num_features is that of its first input."""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyBatchNorm, BatchNorm3d):
    """A BatchNorm3d whose num_features is that of its first input."""

    cls_to_become = BatchNorm3d
