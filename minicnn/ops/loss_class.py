"""Losses of classes: of one class per row, given by its number or by probabilities, and of yes or no per element."""

import math
from typing import Any

import numpy as np

from .. import dtypes
from ..backend import array_module, is_recording, kernels_for
from ..engine import Function, Tensor, is_grad_enabled
from .activation import LogSigmoid, LogSoftmax
from .arguments import same_floats
from .basic import Expand, operands
from .loss import EPSILON, reduced, same_shapes, weighted
from .reduce import divided, summed

__all__ = ["binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "nll_loss"]


class CrossEntropy(Function):
    """loss[n] = −log softmax(x[n])[target[n]];  gx[n] = gy[n]·(softmax(x[n]) − onehot(target[n])).

    Softmax and logarithm undo each other: the gradient is the difference of what is predicted and what is true. A
    target outside 0 … K − 1 marks a row to ignore. With a divisor the result is the one number Σ loss / divisor, so
    that gy[n] = gy / divisor.
    """

    def __init__(self, divisor: int | None = None) -> None:
        self.divisor = divisor

    def forward(self, x, target):
        loss, p = kernels_for(x).cross_entropy(x, target)
        self.save(x, p, target)
        return loss if self.divisor is None else divided(summed(loss, (0,), False), self.divisor, x.dtype)

    def backward(self, gy):
        x, p, target = self.saved
        if not is_grad_enabled():
            g = gy.data if self.divisor is None else (gy.data / self.divisor).repeat(len(target))  # (N)
            return Tensor(kernels_for(g).cross_entropy_grad(g, p.data, target.data)), None
        if self.divisor is not None:
            gy = Expand(target.shape)(gy / self.divisor)
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
        gx = gy * (x - t) / (x * (1 - x)).clamp(min=EPSILON) if self.needs[0] else None
        gt = gy * ((-x).log1p().clamp(min=-100) - x.log().clamp(min=-100)) if self.needs[1] else None
        return gx, gt


class LogisticLoss(Function):
    """y = (1 − t)·x + log(1 + e⁻ˣ);  gx = gy·(1 − t − σ(−x)),  gt = −gy·x."""

    def forward(self, x, t):
        self.save(x, t)
        return kernels_for(x).logistic_loss(x, t)

    def backward(self, gy):
        x, t = self.saved
        gx = gt = None
        if self.needs[0]:
            if is_grad_enabled():
                gx = gy * (1 - t - (-x).sigmoid())
            else:
                gx = Tensor(kernels_for(x.data).logistic_loss_grad(gy.data, x.data, t.data))
        if self.needs[1]:
            gt = -gy * x
        return gx, gt


# -- one class per row ---------------------------------------------------------------------------------------------

def class_weights(name: str, input: Tensor, weight: Tensor | None, classes: int) -> None:
    """Raise unless input is floating and the weights, if there are any, are one per class and of its type."""
    if weight is None and dtypes.is_floating(input.data.dtype):
        return
    if weight is not None and weight.shape != (classes,):
        raise RuntimeError(f"{name}: weight has shape {weight.shape}, expected ({classes},), one number per class")
    same_floats(name, input=input, weight=weight)


def class_numbers(name: str, target: Tensor, classes: int, ignored: int | None = None, meaning: str = "",
                  bytes_too: bool = False) -> Any:
    """The target as an int64 array, in which −1 stands for the ignored; any other number that is no class raises."""
    t = target.data
    if t.dtype != dtypes.int64:
        if not (bytes_too and t.dtype == dtypes.uint8):
            raise RuntimeError(f"{name}: class numbers must be int64, got {target.dtype}; use target.long()")
        t = t.astype(dtypes.int64)
    outside = t.view(np.uint64) >= classes  # a negative number is a huge one here
    some = outside.any()
    if some:
        wrong = outside if ignored is None else outside & (t != ignored)
        if wrong.any():
            raise IndexError(f"{name}: target {t[wrong][0]} is out of range for {classes} classes (0 … {classes - 1}"
                             f"{'; ' * bool(meaning)}{meaning.format(ignored)})")
    if ignored is not None and (some or 0 <= ignored < classes):
        t = array_module(t).where(t == ignored, -1, t)
    return t


def cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = -100,
                  reduction: str = "mean", label_smoothing: float = 0.0) -> Tensor:
    """−log softmax(input)[target], from logits: the softmax is in here, do not apply one before.

    input (N, C), (C) or (N, C, ...); target either class numbers (N, ...) in int64, where ignore_index marks positions
    that do not count, or probabilities of input's shape → (N, ...) ("none") or a number; gx = gy·(softmax(input) −
    target). weight (C) scales classes; "mean" divides by the sum of the weights used. label_smoothing ε mixes the
    target with the uniform distribution: (1 − ε)·target + ε/C. Raises ValueError for shapes that do not fit, IndexError
    for a class that does not exist. Bridle 1990; Szegedy et al. 2016.
    """
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"cross_entropy: label_smoothing = {label_smoothing} must be in 0 … 1")
    shape = input.data.shape
    axis = 1 if len(shape) > 1 else 0
    class_weights("cross_entropy", input, weight, shape[axis] if shape else 0)
    if dtypes.is_floating(target.data.dtype):
        if ignore_index >= 0:
            raise RuntimeError(f"cross_entropy: ignore_index = {ignore_index} has no meaning for targets that are "
                               "probabilities; set the weight of that class to 0")
        return _soft_cross_entropy(input, target, weight, reduction, label_smoothing, axis)
    plain = weight is None and not label_smoothing
    if weight is None and reduction == "mean" and len(shape) == 2 and is_recording(input.data):
        return _unread_cross_entropy(input, target, ignore_index, label_smoothing)
    x, t = _rows("cross_entropy", input, target, ignore_index)
    if plain:
        if reduction != "mean":
            return reduced("cross_entropy", CrossEntropy()(x, t).reshape(target.shape), reduction)
        all_count = t.data is target.data  # where a row is ignored, class_numbers makes another array
        counted = len(t.data) if all_count else int(array_module(t.data).count_nonzero(t.data >= 0))
        loss = CrossEntropy(counted or 1)(x, t)
        return loss if counted else loss + math.nan  # as in PyTorch: NaN, but the gradient is 0
    log_p = LogSoftmax(1)(x)
    loss, used = _picked(log_p, t, weight)
    if label_smoothing:
        uniform = -(log_p if weight is None else log_p * weight).sum(1).where(t >= 0, 0.0) / x.shape[1]
        loss = loss * (1 - label_smoothing) + uniform * label_smoothing
    return _over_rows("cross_entropy", loss, used, t, target.shape, reduction)


def _unread_cross_entropy(x: Tensor, target: Tensor, ignore_index: int, smoothing: float) -> Tensor:
    """The mean where nothing can be read, in a step that becomes a CUDA graph: a class that is none makes it NaN."""
    xp, t = array_module(x.data), target.data.astype(dtypes.int64, copy=False)
    ignored = t == ignore_index
    used = xp.where(ignored, 0.0, xp.where((t >= 0) & (t < x.shape[1]), 1.0, math.nan)).sum().astype(x.dtype)
    loss = CrossEntropy()(x, Tensor(xp.where(ignored, -1, t)))
    if smoothing:
        uniform = -LogSoftmax(1)(x).mean(1).where(Tensor(~ignored), 0.0)
        loss = loss * (1 - smoothing) + uniform * smoothing
    return loss.sum() / Tensor(used)


def _soft_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float,
                        axis: int) -> Tensor:
    if target.shape != input.shape:
        raise ValueError(f"cross_entropy: a target of {target.dtype} holds probabilities, so it needs the shape of "
                         f"input, {input.shape}, not {target.shape}; if these are class numbers, use target.long()")
    classes = input.shape[axis]
    if smoothing:
        target = target * (1 - smoothing) + smoothing / classes
    log_p = LogSoftmax(axis)(input)
    if weight is not None:
        log_p = log_p * weight.reshape(-1, *[1] * (input.ndim - axis - 1))
    loss = -(log_p * target).sum(axis)
    return reduced("cross_entropy", loss, reduction)


def nll_loss(input: Tensor, target: Tensor, weight: Tensor | None = None, ignore_index: int = -100,
             reduction: str = "mean") -> Tensor:
    """−input[target], from log-probabilities (the output of log_softmax).

    input (N, C), (C) or (N, C, ...), target class numbers (N, ...) → (N, ...) ("none") or a number; gx = −gy at the
    target, 0 elsewhere. weight, ignore_index, "mean" and what it Raises as in cross_entropy. Bridle 1990.
    """
    class_weights("nll_loss", input, weight, input.shape[1 if input.ndim > 1 else 0] if input.ndim else 0)
    log_p, t = _rows("nll_loss", input, target, ignore_index)
    loss, used = _picked(log_p, t, weight)
    return _over_rows("nll_loss", loss, used, t, target.shape, reduction)


def _rows(name: str, input: Tensor, target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Logits as (M, C) and targets as (M), in which whatever is to be ignored is −1."""
    shape = input.data.shape
    axis = 1 if len(shape) > 1 else 0  # of the classes
    expected = shape[:axis] + shape[axis + 1:]
    if not shape or target.data.shape != expected:
        raise ValueError(f"{name}: input {shape} needs targets of shape {expected} holding class numbers, got "
                         f"{target.shape}")
    classes = shape[axis]
    t = class_numbers(name, target, classes, ignore_index, "ignore_index is {}", len(shape) <= 2)
    if len(shape) == 2:
        return input, target if t is target.data else Tensor(t)
    x = input.unsqueeze(0) if len(shape) == 1 else input.movedim(1, -1)
    return x.reshape(math.prod(x.shape[:-1]), classes), Tensor(t.reshape(-1))


def _picked(log_p: Tensor, target: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """−weight·log_p at the target of each row, and the weight each row has; both 0 in ignored rows."""
    used = (target >= 0).to(log_p.dtype)
    safe = target.clamp(min=0)
    if weight is not None:
        used = used * weight.index_select(0, safe)
    picked = log_p.gather(1, safe.unsqueeze(1)).squeeze(1)  # (M)
    return -picked.where(target >= 0, 0.0) * used, used


def _over_rows(name: str, loss: Tensor, used: Tensor, target: Tensor, shape: tuple[int, ...],
               reduction: str) -> Tensor:
    """Reduce losses (M); the mean is over the weights used, so that ignored rows do not count."""
    if reduction != "mean":
        return reduced(name, loss.reshape(shape), reduction)
    total = used.sum()
    if not total and not (target.data >= 0).any():
        return loss.sum() + math.nan  # as in PyTorch: NaN, but the gradient is 0
    return loss.sum() / total


# -- yes or no per element -------------------------------------------------------------------------------------------

def binary_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None,
                         reduction: str = "mean") -> Tensor:
    """−target·log input − (1 − target)·log(1 − input), from probabilities, with logarithms of −100 at least.

    Any shape, both the same → that shape ("none") or a number; gx = gy·(input − target)/(input·(1 − input)). weight
    broadcasts to that shape. From logits use binary_cross_entropy_with_logits, exact for large ones. Raises ValueError
    where the shapes differ, RuntimeError for an input or a target outside 0 … 1. Cox 1958.
    """
    same_shapes("binary_cross_entropy", input, target)
    same_floats("binary_cross_entropy", input=input, target=target, weight=weight)
    for called, t in (("input", input), ("target", target)):
        if not ((t.data >= 0) & (t.data <= 1)).all():  # NaN is neither
            raise RuntimeError(f"binary_cross_entropy: {called} must be probabilities in 0 … 1; for logits use "
                               "binary_cross_entropy_with_logits")
    loss = weighted("binary_cross_entropy", BinaryCrossEntropy()(input, target), weight)
    return reduced("binary_cross_entropy", loss, reduction)


def binary_cross_entropy_with_logits(input: Tensor, target: Tensor, weight: Tensor | None = None,
                                     reduction: str = "mean", pos_weight: Tensor | None = None) -> Tensor:
    """−pos_weight·target·log σ(input) − (1 − target)·log(1 − σ(input)), exact for logits of any size.

    Any shape, both the same → that shape ("none") or a number; gx = gy·(σ(input) − target) where pos_weight is 1.
    weight and pos_weight broadcast to that shape. The result has the type of target. Raises ValueError where the shapes
    differ, RuntimeError for types that are not floating. Cox 1958.
    """
    name = "binary_cross_entropy_with_logits"
    same_shapes(name, input, target)
    if not (dtypes.is_floating(input.data.dtype) and dtypes.is_floating(target.data.dtype)):
        raise RuntimeError(f"{name}: input is {input.dtype}, target is {target.dtype}; both must be floating (convert "
                           "with .float())")
    dtype = target.data.dtype
    input, target = operands(name, input, target)
    if pos_weight is None:
        loss = LogisticLoss()(input, target)
    else:
        scale = weighted(name, target, pos_weight - 1, "pos_weight") + 1
        loss = (1 - target) * input - LogSigmoid()(input) * scale  # since log(1 − σ(x)) = log σ(x) − x
    return reduced(name, weighted(name, loss, weight).to(dtype), reduction)
