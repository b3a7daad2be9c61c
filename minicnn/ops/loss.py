"""Losses of numbers and of distributions, and what all losses share.

Input and target must have the shapes they are meant to have: nothing is broadcast but what a docstring says. Losses of
classes are in loss_class.py, those with a margin in loss_margin.py, that of sequences in ctc.py.
"""

import math
from collections.abc import Callable, Iterable

from .. import dtypes
from ..backend import arithmetic_for
from ..engine import Function, Tensor, no_grad
from .activation import Elementwise
from .arithmetic import abs as absolute
from .basic import Number, expect_operands, operands, refuse_bool
from .creation import full_like
from .reduce import averaged

__all__ = ["gaussian_nll_loss", "huber_loss", "kl_div", "l1_loss", "l1_penalty", "l2_penalty", "mse_loss",
           "poisson_nll_loss", "smooth_l1_loss"]


class Huber(Elementwise):
    """y = d²/2 where |d| < δ, else δ·(|d| − δ/2);  gd = gy·d where |d| < δ, else gy·δ·sign d."""

    kernel = "huber"

    def gradient(self, gy, d):
        (delta,) = self.parameters
        return gy * (d.sign() * delta).where(d.abs() >= delta, d)  # NaN stays NaN


class SquaredError(Function):
    """y = (a − b)², or its mean over all n elements;  ga = gy·2(a − b), for the mean divided by n,  gb = −ga."""

    def __init__(self, mean: bool) -> None:
        self.mean = mean

    def forward(self, a, b):
        self.save(a, b)
        arithmetic = arithmetic_for(a, b)
        d = arithmetic.sub(a, b)
        y = arithmetic.mul(d, d)
        return averaged(y, tuple(range(y.ndim)), False) if self.mean else y

    def backward(self, gy):
        a, b = self.saved
        ga = (a - b) * (gy * 2 / max(a.data.size, 1) if self.mean else gy * 2)
        return ga, -ga if self.needs[1] else None


# -- what all losses share ------------------------------------------------------------------------------------------

EPSILON = float(dtypes.float32.type(1e-12))  # what denominators are at least; PyTorch, too, has it in single precision


def reduced(name: str, loss: Tensor, reduction: str, others: str = "") -> Tensor:
    """The loss after the reduction; others names reductions that the caller has besides."""
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise ValueError(f"{name}: reduction {reduction!r} must be 'none', {others}'mean' or 'sum'")


def same_shapes(name: str, input: Tensor, target: Tensor) -> None:
    """Raise unless both have the same shape."""
    if input.data.shape != target.data.shape:
        raise ValueError(f"{name}: input {input.shape} and target {target.shape} must have the same shape; "
                         "broadcasting them would compare every element with every other (use reshape, squeeze or "
                         "unsqueeze)")


def weighted(name: str, loss: Tensor, weight: Tensor | None, called: str = "weight") -> Tensor:
    """loss·weight, the weight broadcast to the loss, never the other way round."""
    if weight is None:
        return loss
    if weight.ndim > loss.ndim or any(n not in (1, m) for n, m in zip(weight.shape[::-1], loss.shape[::-1])):
        raise RuntimeError(f"{name}: {called} {weight.shape} does not broadcast to {loss.shape}, a number per element")
    return loss * weight


# -- of numbers -----------------------------------------------------------------------------------------------------

def _of_difference(name: str, of: Callable[[Tensor], Tensor], input: Tensor, target: Tensor,
                   weight: Tensor | None = None) -> Tensor:
    """weight·of(input − target), element by element."""
    a, b = _pair(name, input, target)
    return _scaled(name, of(a - b), weight)


def _pair(name: str, input: Tensor, target: Tensor) -> tuple[Tensor, ...]:
    """Input and target in one floating type, after the check of their shapes."""
    same_shapes(name, input, target)
    a, b = operands(name, input, target)
    if not dtypes.is_floating(a.data.dtype):
        raise RuntimeError(f"{name}: input is {input.dtype}, target is {target.dtype}; one of them must be floating "
                           "(convert with .float())")
    return a, b


def _scaled(name: str, loss: Tensor, weight: Tensor | None) -> Tensor:
    """The loss of each element times its weight."""
    if weight is None:
        return loss
    if weight.shape != loss.shape:
        raise ValueError(f"{name}: weight {weight.shape} must have the shape of input {loss.shape}, one number per "
                         "element")
    return loss * weight


def _over_weights(name: str, loss: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    if weight is not None and reduction == "mean":
        return loss.sum() / weight.sum()
    return reduced(name, loss, reduction)


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """(input − target)², any shape, both the same → that shape ("none") or a number; gx = gy·2(input − target).

    weight, of the same shape, scales elements; "mean" divides by its sum. Raises ValueError where the shapes differ;
    PyTorch broadcasts, with a warning. Legendre 1805.
    """
    a, b = _pair("mse_loss", input, target)
    if weight is None and reduction == "mean":
        return SquaredError(mean=True)(a, b)
    return _over_weights("mse_loss", _scaled("mse_loss", SquaredError(mean=False)(a, b), weight), weight, reduction)


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """|input − target|, any shape, both the same → that shape ("none") or a number; gx = gy·sign(input − target).

    Where both are equal the gradient is 0. weight, of the same shape, scales elements; "mean" divides by its sum.
    Raises ValueError where the shapes differ; PyTorch broadcasts, with a warning. Boscovich 1757.
    """
    refuse_bool("l1_loss", input, target)
    loss = _of_difference("l1_loss", absolute, input, target, weight)
    return _over_weights("l1_loss", loss, weight, reduction)


def smooth_l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """huber_loss / beta: with d = input − target, d²/(2·beta) where |d| < beta, else |d| − beta/2; beta 0 is l1_loss.

    Any shape, both the same → that shape ("none") or a number; gx = gy·min(max(d/beta, −1), 1). Raises ValueError where
    the shapes differ (PyTorch broadcasts, with a warning), RuntimeError for a negative beta. Girshick 2015.
    """
    if not beta >= 0:
        raise RuntimeError(f"smooth_l1_loss: beta = {beta} must not be negative")
    if beta == 0:
        refuse_bool("smooth_l1_loss", input, target)
    of = absolute if beta == 0 else Huber(beta) if beta == 1 else lambda d: Huber(beta)(d) / beta
    return reduced("smooth_l1_loss", _of_difference("smooth_l1_loss", of, input, target), reduction)


def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0,
               weight: Tensor | None = None) -> Tensor:
    """With d = input − target, d²/2 where |d| ≤ delta, else delta·(|d| − delta/2).

    Any shape, both the same → that shape ("none") or a number; gx = gy·min(max(d, −delta), delta). weight, of the same
    shape, scales elements; "mean" divides by their number, as in PyTorch, unlike that of mse_loss. The result has the
    type of input. Raises ValueError where the shapes differ (PyTorch broadcasts, with a warning), RuntimeError unless
    delta is positive and input floating. Huber 1964.
    """
    if not delta > 0:
        raise RuntimeError(f"huber_loss: delta = {delta} must be positive")
    if not dtypes.is_floating(input.data.dtype):
        raise RuntimeError(f"huber_loss: input is {input.dtype}, must be floating (convert with .float())")
    loss = _of_difference("huber_loss", Huber(delta), input, target, weight)
    return reduced("huber_loss", loss.to(input.data.dtype), reduction)


def _penalty(name: str, of: Callable[[Tensor], Tensor], parameters: Tensor | Iterable[Tensor]) -> Tensor:
    tensors = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    if not tensors:
        raise ValueError(f"{name}: there are no parameters")
    return sum([of(p).sum() for p in tensors[1:]], of(tensors[0]).sum())


def l1_penalty(parameters: Tensor | Iterable[Tensor]) -> Tensor:
    """Σ |w| over a tensor or all tensors of an iterable → a number, to be scaled by λ and added to a loss.

    The gradient is sign w, 0 at 0: each step takes the same amount off every weight, so many end at 0. Raises
    ValueError where there are no parameters. Not in PyTorch. Tibshirani 1996.
    """
    return _penalty("l1_penalty", absolute, parameters)


def l2_penalty(parameters: Tensor | Iterable[Tensor]) -> Tensor:
    """Σ w²/2 over a tensor or all tensors of an iterable → a number, to be scaled by λ and added to a loss.

    The gradient is w, so that with plain SGD λ·l2_penalty is weight_decay = λ (with Adam it is not: Loshchilov & Hutter
    2019). Raises ValueError where there are no parameters. Not in PyTorch. Hoerl & Kennard 1970.
    """
    return _penalty("l2_penalty", lambda w: w.square() / 2, parameters)


# -- of distributions -----------------------------------------------------------------------------------------------

def kl_div(input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """target·(log target − input), input being log-probabilities, and target too where log_target.

    Any shape, both the same → that shape ("none") or a number; gx = −gy·target. The divergence of distributions (N, C)
    is what "batchmean" gives, the sum over N; "mean" divides by C too. Raises ValueError where the shapes differ;
    PyTorch broadcasts. Kullback & Leibler 1951.
    """
    same_shapes("kl_div", input, target)
    if not dtypes.is_floating(input.dtype) or not dtypes.is_floating(target.dtype):
        raise RuntimeError(f"kl_div: input is {input.dtype}, target is {target.dtype}; both must be floating (convert "
                           "with .float())")
    loss = target.exp() * (target - input) if log_target else target.xlogy(target) - target * input
    if reduction == "batchmean":
        return loss.sum() / input.shape[0] if input.ndim else loss
    return reduced("kl_div", loss, reduction, others="'batchmean', ")


def poisson_nll_loss(input: Tensor, target: Tensor, log_input: bool = True, full: bool = False, eps: float = 1e-8,
                     reduction: str = "mean") -> Tensor:
    """−log of the Poisson probability of the counts target, but for log target!: e^input − target·input.

    Without log_input the input is the rate itself: input − target·log(input + eps). Any shape, both the same → that
    shape ("none") or a number; gx = gy·(e^input − target). full adds Stirling's log target! ≈ target·log target −
    target + log(2π·target)/2 where target > 1. Raises ValueError where the shapes differ; PyTorch broadcasts. Nelder &
    Wedderburn 1972.
    """
    same_shapes("poisson_nll_loss", input, target)
    if full or input.data.dtype == dtypes.bool_:
        refuse_bool("poisson_nll_loss", target)
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        many = target > 1
        t = target.where(many, 1.0)
        loss = loss + (t * t.log() - t + (2 * math.pi * t).log() / 2).where(many, 0.0)
    return reduced("poisson_nll_loss", loss, reduction)


def gaussian_nll_loss(input: Tensor, target: Tensor, var: Tensor | Number, full: bool = False, eps: float = 1e-6,
                      reduction: str = "mean") -> Tensor:
    """−log of the normal density of target with mean input and variance var: (log var + (input − target)²/var)/2.

    input of any shape → that shape ("none") or a number; target has the same shape or length 1 in some axes, var too
    (in one), or lacks the last axis, or is a number. full adds log(2π)/2. A var below eps counts as eps, but keeps its
    gradient. Raises ValueError for other shapes and a negative var; PyTorch broadcasts target in any way. Nix & Weigend
    1994.
    """
    if target.ndim != input.ndim or any(n not in (1, m) for n, m in zip(target.shape, input.shape)):
        raise ValueError(f"gaussian_nll_loss: target {target.shape} must have the shape of input {input.shape}, or "
                         "length 1 in some of its axes")
    expect_operands("gaussian_nll_loss", var)
    variance = var if isinstance(var, Tensor) else full_like(input, var)
    if variance.shape == input.shape[:-1] != input.shape:
        variance = variance.unsqueeze(-1)
    if variance.ndim != input.ndim or [n for n, m in zip(variance.shape, input.shape) if n != m] not in ([], [1]):
        raise ValueError(f"gaussian_nll_loss: var {variance.shape} must have the shape of input {input.shape}, length "
                         "1 in one axis, or no last axis")
    if (variance.data < 0).any():
        raise ValueError("gaussian_nll_loss: var has negative elements; give variances")
    variance = variance.clone()
    with no_grad():
        variance.clamp_(min=eps)
    loss = (variance.log() + (input - target).square() / variance) / 2
    if full:
        loss = loss + math.log(2 * math.pi) / 2
    return reduced("gaussian_nll_loss", loss, reduction)
