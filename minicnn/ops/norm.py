"""Normalisation."""

import math

from ..backend import array_module, kernels_for
from ..engine import Function, Tensor, is_grad_enabled
from .conv import same_floats

__all__ = ["batch_norm"]


class BatchNorm(Function):
    """y = x̂·w + b per channel, x̂ = (x − mean)/√(var + eps).

    With mean and var of the batch, x̂ depends on x through all three, and with m = number of elements of a channel

        gw = Σ gy·x̂      gb = Σ gy      gx = w/√(var + eps) · (gy − gb/m − x̂·gw/m)

    The last two terms are the paths through mean and var: gx is what is left of gy once its mean and its part along x̂
    are taken out. With given (running) statistics gx = w/√(var + eps)·gy. Ioffe & Szegedy 2015, section 3.
    """

    constant_outputs = (1, 2)

    def __init__(self, eps: float) -> None:
        self.eps = eps

    def forward(self, x, w, b, mean, var):
        flat, kernels = _flat(x), kernels_for(x)  # (N, C, L)
        self.training = mean is None
        if self.training:
            mean, var = kernels.batch_norm_stats(flat)
        inv_std = 1 / array_module(x).sqrt(var + var.dtype.type(self.eps))
        self.save(x, w, mean, inv_std)
        return kernels.batch_norm(flat, mean, inv_std, w, b).reshape(x.shape), mean, var

    def backward(self, gy, *_):
        x, w, mean, inv_std = self.saved
        if is_grad_enabled():
            return *self._recorded(gy, x, w, mean, inv_std), None, None
        gx, gw, gb = kernels_for(x.data).batch_norm_grad(_flat(gy.data), _flat(x.data), mean.data, inv_std.data,
                                                         None if w is None else w.data, self.training)
        return Tensor(gx.reshape(x.shape)), Tensor(gw), Tensor(gb), None, None

    def _recorded(self, gy, x, w, mean, inv_std):
        """The same formulas in operations, with mean and var as functions of x."""
        axes, shape = (0, *range(2, x.ndim)), (1, -1, *[1] * (x.ndim - 2))
        if self.training:
            mean = x.mean(axes)
            inv_std = ((x - mean.reshape(shape)).square().mean(axes) + self.eps).rsqrt()
        x_hat = (x - mean.reshape(shape)) * inv_std.reshape(shape)
        gw, gb = (gy * x_hat).sum(axes), gy.sum(axes)
        gx = gy
        if self.training:
            m = x.numel() // x.shape[1]
            gx = gy - gb.reshape(shape) / m - x_hat * gw.reshape(shape) / m
        return gx * (inv_std if w is None else w * inv_std).reshape(shape), gw, gb


def _flat(x):
    return x.reshape(*x.shape[:2], math.prod(x.shape[2:]))  # (N, C, L)


def batch_norm(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
               bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    """Normalise each channel, then scale and shift it: y = (x − mean)/√(var + eps)·weight + bias.

    input (N, C) or (N, C, ...), everything else (C). In training mean and (biased) var are those of the batch, and the
    running ones move in place: running ← (1 − momentum)·running + momentum·batch, with the unbiased variance, as in
    PyTorch (Keras counts momentum the other way round). Otherwise the running ones are used. Ioffe & Szegedy 2015.
    """
    if input.ndim < 2:
        raise RuntimeError(f"batch_norm: x must be (N, C) or (N, C, ...), not {input.shape}")
    named = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for name, t in named.items():
        if t is not None and t.shape != (input.shape[1],):
            raise RuntimeError(f"batch_norm: {name} has shape {t.shape}, expected ({input.shape[1]},) for x "
                               f"{input.shape}")
    same_floats("batch_norm", x=input, **named)
    if eps < 0:
        raise ValueError(f"batch_norm: eps = {eps} must not be negative")
    if (running_mean is None) != (running_var is None):
        raise ValueError("batch_norm: give both running_mean and running_var, or neither")
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError("batch_norm: running_mean and running_var are needed when training is False")
        return BatchNorm(eps)(input, weight, bias, running_mean.detach(), running_var.detach())[0]
    count = input.numel() // max(input.shape[1], 1)
    if count == 1:
        raise ValueError(f"batch_norm: training needs more than one value per channel, got x {input.shape}; its "
                         "variance would be 0 (use a larger batch, drop_last=True, or eval mode)")
    y, mean, var = BatchNorm(eps)(input, weight, bias, None, None)
    if count and running_mean is not None and running_var is not None:
        for running, batch in ((running_mean, mean.data), (running_var, var.data * (count / (count - 1)))):
            running.data += (momentum * (batch - running.data)).astype(running.dtype)
            running.touch()
    return y
