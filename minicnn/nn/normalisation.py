"""Normalisation layers."""

from typing import Any

from .. import functional as F
from ..ops.creation import ones, zeros
from ..engine import Tensor
from . import init
from .arguments import parameter, whole
from .module import Module

__all__ = ["BatchNorm1d", "BatchNorm2d"]


class _BatchNorm(Module):
    """What batch normalisations of every dimension share; they differ in the number of axes they accept."""

    ndims: tuple[int, ...]
    _optional_state = ("num_batches_tracked",)  # PyTorch before 0.4.1 did not save it

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, device: Any = None, dtype: Any = None, *, bias: bool = True) -> None:
        super().__init__()
        self.num_features = whole(type(self).__name__, "num_features", num_features)
        self.eps, self.momentum = eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.register_parameter("weight", parameter((num_features,), dtype, device) if affine else None)
        self.register_parameter("bias", parameter((num_features,), dtype, device) if affine and bias else None)
        tracked = track_running_stats
        self.register_buffer("running_mean", zeros(num_features, dtype=dtype, device=device) if tracked else None)
        self.register_buffer("running_var", ones(num_features, dtype=dtype, device=device) if tracked else None)
        self.register_buffer("num_batches_tracked", zeros((), dtype="int64", device=device) if tracked else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget all batches: mean 0, variance 1, none tracked."""
        if self.track_running_stats:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.zeros_(self.num_batches_tracked)

    def reset_parameters(self) -> None:
        """Weight 1, bias 0 and no batches seen."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """batch_norm(input, ...), with the statistics of the batch in training and the running ones otherwise."""
        if input.ndim not in self.ndims:
            expected = " or ".join([f"{n}D" for n in self.ndims])
            raise ValueError(f"{type(self).__name__}: expected {expected} input, got {input.shape}")
        tracked = self.training and self.track_running_stats
        if tracked:
            self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:  # each batch counts the same
            momentum = 1 / self.num_batches_tracked.item() if tracked else 0.0
        if self.training and not tracked:
            mean = var = None  # nothing is to be updated
        else:
            mean, var = self.running_mean, self.running_var
        training = self.training or mean is None
        return F.batch_norm(input, mean, var, self.weight, self.bias, training, momentum, self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
                f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}")


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of features, (N, C) or (N, C, L): mean 0 and variance 1 per channel, then weight and bias.

    In training the mean and variance are those of the batch, and the running ones move towards them by momentum (None:
    their plain average); in eval mode the running ones are used. Ioffe & Szegedy 2015.
    """

    ndims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images, (N, C, H, W), per channel; see BatchNorm1d."""

    ndims = (4,)
