"""Batch normalisation folded into the convolution before it, for prediction."""

import copy
from typing import TypeVar

from ...engine import no_grad
from ..conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from ..normalisation import BatchNorm1d, BatchNorm2d, BatchNorm3d
from ..parameter import Parameter

__all__ = ["fuse_conv_bn_eval"]

Convolution = TypeVar("Convolution", Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)


def fuse_conv_bn_eval(conv: Convolution, bn: BatchNorm1d | BatchNorm2d | BatchNorm3d,
                      transpose: bool = False) -> Convolution:
    """A copy of conv that computes bn(conv(x)) in evaluation mode; ``transpose`` says that conv is a transposed one.

    bn(w ⋆ x + b) = (γ/√(var + eps))·(w ⋆ x + b − mean) + β is a convolution with the weights s·w and the bias
    s·(b − mean) + β, where s = γ/√(var + eps) per output channel. As in PyTorch.

    Raises:
        ValueError: one of the two is in training mode, or bn keeps no running statistics.
    """
    if conv.training or bn.training:
        raise ValueError("fuse_conv_bn_eval: conv and bn must be in evaluation mode; call eval() on both first")
    if bn.running_mean is None or bn.running_var is None:
        raise ValueError("fuse_conv_bn_eval: bn keeps no running statistics (track_running_stats=False), so what it "
                         "does depends on the batch and cannot be a convolution")
    fused = copy.deepcopy(conv)
    with no_grad():
        scale = (bn.running_var + bn.eps).rsqrt()
        if bn.weight is not None:
            scale = scale * bn.weight
        shift = -bn.running_mean * scale
        if bn.bias is not None:
            shift = shift + bn.bias
        if conv.bias is not None:
            shift = shift + conv.bias * scale
        groups, per_group = conv.groups, len(scale) // conv.groups
        ones = (1,) * (conv.weight.ndim - 2)
        # weights are (O, C/groups, …), of a transposed convolution (C, O/groups, …), where C counts group by group
        factors = (scale.reshape(groups, 1, per_group, *ones).expand(groups, conv.weight.shape[0] // groups, per_group,
                                                                     *ones).reshape(-1, per_group, *ones)
                   if transpose else scale.reshape(-1, 1, *ones))
        fused.weight = Parameter((conv.weight * factors).to(conv.weight.dtype))
        fused.bias = Parameter(shift.to(conv.weight.dtype))
    return fused
