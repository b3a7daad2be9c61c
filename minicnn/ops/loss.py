"""Losses. Their inputs must have the shapes they are meant to have: nothing is broadcast silently."""

import math

from .. import dtypes
from ..backend import array_module, kernels_for
from ..engine import Function, Tensor, is_grad_enabled
from .activation import LogSigmoid, LogSoftmax
from .conv import same_floats

__all__ = ["binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "l1_loss", "mse_loss",
           "nll_loss"]


class CrossEntropy(Function):
    """loss[n] = −log softmax(x[n])[target[n]];  gx[n] = gy[n]·(softmax(x[n]) − onehot(target[n])).

    Softmax and logarithm undo each other: the gradient is the difference of what is predicted and what is true. A
    target outside 0 … K − 1 marks a row to ignore.
    """

    def forward(self, x, target):
        loss, p = kernels_for(x).cross_entropy(x, target)
        self.save(x, p, target)
        return loss

    def backward(self, gy):
        x, p, target = self.saved
        if not is_grad_enabled():
            return Tensor(kernels_for(gy.data).cross_entropy_grad(gy.data, p.data, target.data)), None
        classes = Tensor(array_module(x.data).arange(x.shape[1]))
        one_hot = (target.unsqueeze(1) == classes).to(x.dtype)  # (N, K)
        kept = one_hot.sum(1, keepdim=True)  # 0 in ignored rows
        p = (x - x.logsumexp(1, keepdim=True)).exp()
        return gy.unsqueeze(1) * (p * kept - one_hot), None


class BinaryCrossEntropy(Function):
    """y = −t·log x − (1 − t)·log(1 − x);  gx = gy·(x − t)/(x·(1 − x)),  gt = gy·(log(1 − x) − log x); log ≥ −100."""

    def forward(self, x, t):
        self.save(x, t)
        xp = array_module(x)
        return -t * xp.maximum(xp.log(x), -100) - (1 - t) * xp.maximum(xp.log1p(-x), -100)

    def backward(self, gy):
        x, t = self.saved
        gx = gy * (x - t) / (x * (1 - x)).clamp(min=1e-12) if self.needs[0] else None
        gt = gy * ((-x).log1p().clamp(min=-100) - x.log().clamp(min=-100)) if self.needs[1] else None
        return gx, gt


# -- shapes and reductions ------------------------------------------------------------------------------------------

def _reduced(name: str, loss: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise ValueError(f"{name}: reduction {reduction!r} must be 'none', 'mean' or 'sum'")


def _same_shapes(name: str, input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        raise ValueError(f"{name}: input {input.shape} and target {target.shape} must have the same shape; "
                         "broadcasting them would compare every element with every other (use reshape, squeeze or "
                         "unsqueeze)")


def _checked_weight(name: str, weight: Tensor | None, classes: int, x: Tensor) -> None:
    if weight is not None and weight.shape != (classes,):
        raise RuntimeError(f"{name}: weight has shape {weight.shape}, expected ({classes},), one number per class")
    same_floats(name, input=x, weight=weight)


def _rows(name: str, input: Tensor, target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Logits as (M, C) and targets as (M), in which whatever is to be ignored is −1."""
    expected = input.shape[:1] * (input.ndim > 1) + input.shape[2:]
    if input.ndim == 0 or target.shape != expected:
        raise ValueError(f"{name}: input {input.shape} needs targets of shape {expected} holding class numbers, got "
                         f"{target.shape}")
    if dtypes.is_floating(target.dtype) or target.dtype == dtypes.bool_:
        raise RuntimeError(f"{name}: class numbers must be int64, got {target.dtype}; use target.long()")
    classes = input.shape[1 if input.ndim > 1 else 0]
    x = input.unsqueeze(0) if input.ndim == 1 else input.movedim(1, -1) if input.ndim > 2 else input
    x, t = x.reshape(math.prod(x.shape[:-1]), classes), target.data.reshape(-1)  # (M, C), (M)
    ignored = t == ignore_index
    if ((t < 0) | (t >= classes))[~ignored].any():
        bad = t[((t < 0) | (t >= classes)) & ~ignored][0]
        raise IndexError(f"{name}: target {bad} is out of range for {classes} classes (0 … {classes - 1}; ignore_index "
                         f"is {ignore_index})")
    return x, Tensor(array_module(t).where(ignored, -1, t).astype(dtypes.int64))


# -- public functions -----------------------------------------------------------------------------------------------

def cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = -100,
                  reduction: str = "mean", label_smoothing: float = 0.0) -> Tensor:
    """−log softmax(input)[target], from logits: the softmax is in here, do not apply one before.

    input (N, C), (C) or (N, C, ...); target either class numbers (N, ...) in int64, where ignore_index marks positions
    that do not count, or probabilities of input's shape. weight (C) scales classes; "mean" divides by the sum of the
    weights used. label_smoothing ε mixes the target with the uniform distribution: (1 − ε)·target + ε/C (Szegedy et al.
    2016).
    """
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"cross_entropy: label_smoothing = {label_smoothing} must be in 0 … 1")
    axis = 1 if input.ndim > 1 else 0
    _checked_weight("cross_entropy", weight, input.shape[axis] if input.ndim else 0, input)
    if dtypes.is_floating(target.dtype):
        if ignore_index >= 0:
            raise RuntimeError(f"cross_entropy: ignore_index = {ignore_index} has no meaning for targets that are "
                               "probabilities; set the weight of that class to 0")
        return _soft_cross_entropy(input, target, weight, reduction, label_smoothing, axis)
    x, t = _rows("cross_entropy", input, target, ignore_index)
    if weight is None and not label_smoothing:
        return _over_rows("cross_entropy", CrossEntropy()(x, t), None, t, target.shape, reduction)
    log_p = LogSoftmax(1)(x)
    loss, used = _picked(log_p, t, weight)
    if label_smoothing:
        kept = (t >= 0).to(x.dtype)
        uniform = -(log_p if weight is None else log_p * weight).sum(1) * kept / x.shape[1]
        loss = loss * (1 - label_smoothing) + uniform * label_smoothing
    return _over_rows("cross_entropy", loss, used, t, target.shape, reduction)


def _soft_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float,
                        axis: int) -> Tensor:
    _same_shapes("cross_entropy", input, target)
    classes = input.shape[axis]
    if smoothing:
        target = target * (1 - smoothing) + smoothing / classes
    log_p = LogSoftmax(axis)(input)
    if weight is not None:
        log_p = log_p * weight.reshape(-1, *[1] * (input.ndim - axis - 1))
    loss = -(log_p * target).sum(axis)
    return _reduced("cross_entropy", loss, reduction)


def nll_loss(input: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = -100,
             reduction: str = "mean") -> Tensor:
    """−input[target], from log-probabilities (the output of log_softmax); arguments as in cross_entropy."""
    _checked_weight("nll_loss", weight, input.shape[1 if input.ndim > 1 else 0] if input.ndim else 0, input)
    log_p, t = _rows("nll_loss", input, target, ignore_index)
    loss, used = _picked(log_p, t, weight)
    return _over_rows("nll_loss", loss, used, t, target.shape, reduction)


def _picked(log_p: Tensor, target: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """−weight·log_p at the target of each row, and the weight each row has; both 0 in ignored rows."""
    used = (target >= 0).to(log_p.dtype)
    safe = target.clamp(min=0)
    if weight is not None:
        used = used * weight.index_select(0, safe)
    picked = log_p.gather(1, safe.unsqueeze(1)).squeeze(1)  # (M)
    return -picked.where(target >= 0, 0.0) * used, used


def _over_rows(name: str, loss: Tensor, used: Tensor | None, target: Tensor, shape: tuple[int, ...],
               reduction: str) -> Tensor:
    """Reduce losses (M); the mean is over the weights used, so that ignored rows do not count."""
    if reduction != "mean":
        return _reduced(name, loss.reshape(shape), reduction)
    total = int((target.data >= 0).sum()) if used is None else used.sum()
    return loss.sum() / total if total else loss.sum() + math.nan  # as in PyTorch: NaN, but the gradient is 0


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """(input − target)², any shape, both the same."""
    _same_shapes("mse_loss", input, target)
    return _reduced("mse_loss", (input - target).square(), reduction)


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """|input − target|, any shape, both the same; the gradient is 0 where they are equal."""
    _same_shapes("l1_loss", input, target)
    return _reduced("l1_loss", (input - target).abs(), reduction)


def binary_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None,
                         reduction: str = "mean") -> Tensor:
    """−target·log input − (1 − target)·log(1 − input), any shape, from probabilities.

    Logarithms are kept at −100 or more. From logits use binary_cross_entropy_with_logits, exact for large ones.
    """
    _same_shapes("binary_cross_entropy", input, target)
    same_floats("binary_cross_entropy", input=input, target=target, weight=weight)
    if not ((input.data >= 0) & (input.data <= 1)).all():  # NaN is neither
        raise RuntimeError("binary_cross_entropy: input must be probabilities in 0 … 1; for logits use "
                           "binary_cross_entropy_with_logits")
    loss = BinaryCrossEntropy()(input, target)
    return _reduced("binary_cross_entropy", loss if weight is None else loss * weight, reduction)


def binary_cross_entropy_with_logits(input: Tensor, target: Tensor, weight: Tensor | None = None,
                                     reduction: str = "mean", pos_weight: Tensor | None = None) -> Tensor:
    """−pos_weight·target·log σ(input) − (1 − target)·log(1 − σ(input)), any shape, exact for logits of any size."""
    _same_shapes("binary_cross_entropy_with_logits", input, target)
    same_floats("binary_cross_entropy_with_logits", input=input, target=target, weight=weight, pos_weight=pos_weight)
    scale = 1.0 if pos_weight is None else (pos_weight - 1) * target + 1
    loss = (1 - target) * input - LogSigmoid()(input) * scale  # since log(1 − σ(x)) = log σ(x) − x
    return _reduced("binary_cross_entropy_with_logits", loss if weight is None else loss * weight, reduction)
