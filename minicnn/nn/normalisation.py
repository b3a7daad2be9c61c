"""Normalisation layers."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from .. import functional as F
from ..backend import current
from ..engine import Tensor
from ..ops.creation import ones, zeros
from ..ops.norm import rectified_batch_norm
from . import init
from .arguments import parameter, whole
from .module import Module

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d",
           "InstanceNorm3d", "LayerNorm", "LocalResponseNorm", "RMSNorm"]


class _Affine(Module):
    """A layer with a weight that starts at 1 and a bias that starts at 0, either of which may be missing."""

    weight: Tensor | None
    bias: Tensor | None

    def _add_parameters(self, shape: tuple[int, ...], weight: bool, bias: bool, dtype: Any, device: Any) -> None:
        self.register_parameter("weight", parameter(shape, dtype, device) if weight else None)
        self.register_parameter("bias", parameter(shape, dtype, device) if weight and bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1 and bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)


# -- with running statistics ----------------------------------------------------------------------------------------

class _Tracking(_Affine):
    """What batch and instance normalisations share; those of other dimensions differ in the axes they accept."""

    ndims: tuple[int, ...]
    _optional_state = ("num_batches_tracked",)  # PyTorch before 0.4.1 did not save it

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, device: Any = None, dtype: Any = None, *, bias: bool = True) -> None:
        super().__init__()
        self.num_features = whole(type(self).__name__, "num_features", num_features, 0)
        self.eps, self.momentum = eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        tracked = track_running_stats
        self.register_buffer("running_mean", zeros(num_features, dtype=dtype, device=device) if tracked else None)
        self.register_buffer("running_var", ones(num_features, dtype=dtype, device=device) if tracked else None)
        self.register_buffer("num_batches_tracked", zeros((), dtype="int64", device=device) if tracked else None)
        self._add_parameters((num_features,), affine, bias, dtype, device)

    def reset_running_stats(self) -> None:
        """Forget all batches: mean 0, variance 1, none tracked."""
        if self.track_running_stats:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.zeros_(self.num_batches_tracked)

    def reset_parameters(self) -> None:
        """Weight 1, bias 0 and no batches seen."""
        self.reset_running_stats()
        super().reset_parameters()

    def _check_axes(self, input: Tensor) -> None:
        if input.ndim not in self.ndims:
            expected = " or ".join([f"{n}D" for n in self.ndims])
            raise ValueError(f"{type(self).__name__}: expected {expected} input, got {input.shape}")

    def extra_repr(self) -> str:
        """The arguments."""
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
                f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}")


class _BatchNorm(_Tracking):
    def forward(self, input: Tensor) -> Tensor:
        """batch_norm(input, ...), with the statistics of the batch in training and the running ones otherwise."""
        return self._normalised(F.batch_norm, input)

    def rectified(self, input: Tensor) -> Tensor:
        """relu(forward(input)), in one pass over memory."""
        return self._normalised(rectified_batch_norm, input)

    def _normalised(self, normalise: Callable[..., Tensor], input: Tensor) -> Tensor:
        self._check_axes(input)
        tracked = self.training and self.track_running_stats
        if tracked:
            batches = self.num_batches_tracked
            with current(batches.data):
                batches.data += 1
            batches.touch()
        momentum = self.momentum
        if momentum is None:  # each batch counts the same
            momentum = 1 / self.num_batches_tracked.item() if tracked else 0.0
        if self.training and not tracked:
            mean = var = None  # nothing is to be updated
        else:
            mean, var = self.running_mean, self.running_var
        training = self.training or mean is None
        return normalise(input, mean, var, self.weight, self.bias, training, momentum, self.eps)


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of features, (N, C) or (N, C, L): mean 0 and variance 1 per channel, then weight and bias.

    y = (x − mean)/√(var + eps)·weight + bias. In training mean and var are those of the batch, and the running ones
    move towards them by momentum (None: their plain average); in eval mode the running ones are used. Ioffe & Szegedy
    2015.
    """

    ndims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images, (N, C, H, W), per channel; see BatchNorm1d."""

    ndims = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of volumes, (N, C, D, H, W), per channel; see BatchNorm1d."""

    ndims = (5,)


class _InstanceNorm(_Tracking):
    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
                 track_running_stats: bool = False, device: Any = None, dtype: Any = None, *,
                 bias: bool = True) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """instance_norm(input, ...), of one image too; in eval mode with the running statistics, if it tracks them."""
        self._check_axes(input)
        if input.shape[-min(self.ndims)] != self.num_features:
            text = f"{type(self).__name__}: x {input.shape} does not have num_features = {self.num_features} channels"
            if self.affine:
                raise ValueError(text)
            warnings.warn(text + ", which does not matter with affine=False", stacklevel=2)
        batch = input if input.ndim == max(self.ndims) else input.unsqueeze(0)
        y = F.instance_norm(batch, self.running_mean, self.running_var, self.weight, self.bias,
                            self.training or not self.track_running_stats, self.momentum or 0.0, self.eps)
        return y.reshape(input.shape)


class InstanceNorm1d(_InstanceNorm):
    """Each channel of each signal, (N, C, L) or (C, L), gets mean 0 and variance 1, then weight and bias if affine.

    y = (x − mean)/√(var + eps)·weight + bias. With track_running_stats, eval mode uses running statistics as batch
    normalisation does. Ulyanov et al. 2016.
    """

    ndims = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of images, (N, C, H, W) or (C, H, W); see InstanceNorm1d."""

    ndims = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of volumes, (N, C, D, H, W) or (C, D, H, W); see InstanceNorm1d."""

    ndims = (4, 5)


# -- without --------------------------------------------------------------------------------------------------------

class GroupNorm(_Affine):
    """Each of num_groups groups of channels of each image, (N, C, ...), gets mean 0 and variance 1. Wu & He 2018.

    y = (x − mean)/√(var + eps)·weight + bias, with weight and bias per channel.
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, device: Any = None,
                 dtype: Any = None, *, bias: bool = True) -> None:
        super().__init__()
        self.num_groups = whole("GroupNorm", "num_groups", num_groups)
        self.num_channels = whole("GroupNorm", "num_channels", num_channels)
        if num_channels % num_groups:
            raise ValueError(f"GroupNorm: num_channels = {num_channels} must be divisible by num_groups = {num_groups}")
        self.eps, self.affine = eps, affine
        self._add_parameters((num_channels,), affine, bias, dtype, device)

    def forward(self, input: Tensor) -> Tensor:
        """group_norm(input, num_groups, weight, bias, eps)."""
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        return (f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
                f"bias={self.bias is not None}")


def _shape(layer: str, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    sizes = normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
    return tuple([whole(layer, "normalized_shape", n) for n in sizes])


class LayerNorm(_Affine):
    """(x − mean)/√(var + eps)·weight + bias, mean and var over the last axes, of normalized_shape. Ba et al. 2016."""

    def __init__(self, normalized_shape: int | Sequence[int], eps: float = 1e-5, elementwise_affine: bool = True,
                 bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.normalized_shape = _shape("LayerNorm", normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self._add_parameters(self.normalized_shape, elementwise_affine, bias, dtype, device)

    def forward(self, input: Tensor) -> Tensor:
        """layer_norm(input, normalized_shape, weight, bias, eps)."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        return (f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
                f"bias={self.bias is not None}")


class RMSNorm(_Affine):
    """x/√(mean x² + eps)·weight, the mean over the last axes, of normalized_shape. Zhang & Sennrich 2019."""

    def __init__(self, normalized_shape: int | Sequence[int], eps: float | None = None,
                 elementwise_affine: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.normalized_shape = _shape("RMSNorm", normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self._add_parameters(self.normalized_shape, elementwise_affine, False, dtype, device)

    def forward(self, input: Tensor) -> Tensor:
        """rms_norm(input, normalized_shape, weight, eps)."""
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class LocalResponseNorm(Module):
    """x/(k + alpha·mean x²)^beta, the mean over size neighbouring channels of (N, C, ...). Krizhevsky et al. 2012."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = whole("LocalResponseNorm", "size", size), alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        """local_response_norm(input, size, alpha, beta, k)."""
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
