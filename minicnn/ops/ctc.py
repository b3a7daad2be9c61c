"""The loss of sequences that are not aligned with the input. What it computes is told in kernels/reference/ctc.py."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes
from ..backend import array_module, kernels_for, move, to_numpy
from ..engine import Function, Tensor, is_grad_enabled
from .arguments import same_floats
from .creation import zeros
from .join import cat, stack
from .loss import reduced
from .loss_class import class_numbers

__all__ = ["ctc_loss"]

NEVER = -1e30  # for log 0, as the differences of −∞ are NaN


class Ctc(Function):
    """loss[n] = −log P(target[n]);  gx = gy·(e^x − posterior), 0 in frames that do not count.

    x is (T, N, C); states, frames and counts are those of the kernels. Where the gradient is recorded, the posterior is
    written with operations, so that it differentiates to any order.
    """

    def __init__(self, states: Any, frames: Any, counts: Any) -> None:
        self.alignment = states, frames, counts

    def forward(self, x):
        loss, alpha = kernels_for(x).ctc(x, *self.alignment)
        self.save(x, loss, alpha)
        return loss

    def backward(self, gy):
        x, loss, alpha = self.saved
        if not is_grad_enabled():
            return Tensor(kernels_for(x.data).ctc_grad(gy.data, x.data, *self.alignment, alpha.data))
        gy = gy.where((loss < math.inf) | (gy == 0), math.nan)  # as in the kernels
        return stack([_gradient(gy.select(0, n), x.select(1, n), labels[:count], frames)
                      for n, (labels, frames, count) in enumerate(zip(*self.alignment))], 1)


def _gradient(gy: Tensor, x: Tensor, labels: Any, frames: int) -> Tensor:
    """gy·(e^x − posterior) of one sequence, and zeros for the frames that do not count, (T, C)."""
    rest = zeros(len(x) - frames, x.shape[1], dtype=x.dtype, device=x.device)
    if not frames:
        return rest
    x = x[:frames]
    of_label = Tensor(labels[:, None] == array_module(labels).arange(x.shape[1])).to(x.dtype)  # (L, C)
    return cat([gy * (x.exp() - _shares(x.index_select(1, Tensor(labels)), labels) @ of_label), rest])


def _shares(x: Tensor, labels: Any) -> Tensor:
    """The part of all paths that is in each state at each frame, (frames, L), from their log-probabilities there."""
    xp = array_module(labels)
    states = xp.arange(len(labels))
    ahead = states - states[:, None]
    possible = (ahead == 0) | (ahead == 1) | (ahead == 2) & (labels != labels[:, None])
    steps = Tensor(xp.where(possible, 0, NEVER))  # (L, L), from the state of the row to that of the column
    rows = x.to(dtypes.float64).clamp(min=NEVER).unbind()
    alpha, ways = [], Tensor(xp.where(states == 0, 0, NEVER))
    for row in rows:
        ways = (ways.unsqueeze(1) + steps).logsumexp(0) + row
        alpha.append(ways)
    beta, ways = [], Tensor(xp.where(states == states[-1], 0, NEVER))
    for row in reversed(rows):
        beta.append((steps + ways).logsumexp(1))
        ways = beta[-1] + row
    return (stack(alpha) + stack(beta[::-1])).softmax(1).to(x.dtype)  # Σ e^(alpha + beta) = P(target) in every frame


def ctc_loss(log_probs: Tensor, targets: Tensor, input_lengths: Tensor | Sequence[int],
             target_lengths: Tensor | Sequence[int], blank: int = 0, reduction: str = "mean",
             zero_infinity: bool = False) -> Tensor:
    """−log of the probability of a target sequence, whichever way its labels are spread over the frames of the input.

    Each label may last any number of frames, with any number of blanks before, after and between, at least one between
    equal labels. log_probs (T, N, C) or (T, C) from log_softmax; targets class numbers (N, S), or a vector of all of
    them; input_lengths (N) of 0 … T, target_lengths (N) → (N), () for (T, C) ("none"), or a number, "mean" that of
    losses/target_lengths. A target that does not fit in costs inf, with zero_infinity 0 and no gradient.
    gx = gy·(e^log_probs − P(label in the frame | target)), the gradient of the logits, as in PyTorch. Raises
    RuntimeError for shapes and lengths that do not fit, IndexError for a class that does not exist, ValueError for a
    blank in a target, which PyTorch takes. Graves et al. 2006.
    """
    if log_probs.ndim not in (2, 3) or 0 in log_probs.shape:
        raise RuntimeError(f"ctc_loss: log_probs must be (T, N, C) or (T, C) and not empty, got {log_probs.shape}")
    same_floats("ctc_loss", log_probs=log_probs)
    x = log_probs if log_probs.ndim == 3 else log_probs.unsqueeze(1)
    if not 0 <= blank < x.shape[2]:
        raise RuntimeError(f"ctc_loss: blank = {blank} must be one of the {x.shape[2]} classes, 0 … {x.shape[2] - 1}")
    frames = _lengths("input_lengths", input_lengths, x.shape[1], len(x))
    lengths = _lengths("target_lengths", target_lengths, x.shape[1], targets.shape[-1] if targets.ndim else 0)
    states = move(_states(targets, lengths, x.shape[2], blank), x.device)
    loss = Ctc(states, frames, 2 * lengths + 1)(x)
    if zero_infinity:
        loss = loss.where(loss != math.inf, 0.0)
    if reduction == "mean":
        loss = loss / Tensor(move(np.maximum(lengths, 1), x.device))
    return reduced("ctc_loss", loss if log_probs.ndim == 3 else loss.squeeze(0), reduction)


def _lengths(argument: str, given: Tensor | Sequence[int], batch: int, most: int) -> np.ndarray:
    lengths = np.atleast_1d(to_numpy(given.data) if isinstance(given, Tensor) else np.asarray(given))
    if lengths.shape != (batch,) or lengths.dtype.kind not in "iu" or (lengths < 0).any() or (lengths > most).any():
        raise RuntimeError(f"ctc_loss: {argument} = {lengths.tolist()} must be {batch} integers of 0 … {most}, one per "
                           "sequence")
    return lengths.astype(np.int64)


def _states(targets: Tensor, lengths: np.ndarray, classes: int, blank: int) -> Any:
    """The labels of each target with blanks around, (N, 2S + 1), S the longest target."""
    t, batch, most = targets.long().data, len(lengths), lengths.max()
    xp = array_module(t)
    used = xp.arange(most) < xp.asarray(lengths)[:, None]  # (N, S)
    labels = xp.full((batch, most), blank)
    if t.ndim == 1 and len(t) == lengths.sum():
        labels[used] = t
    elif t.ndim == 2 and len(t) == batch:
        labels[used] = t[:, :most][used]
    else:
        raise RuntimeError(f"ctc_loss: targets {targets.shape} must be ({batch}, S), or one vector of all "
                           f"{lengths.sum()} labels (target_lengths {lengths.tolist()})")
    class_numbers("ctc_loss", Tensor(labels), classes)
    if (labels[used] == blank).any():
        raise ValueError(f"ctc_loss: a target holds the blank, {blank}, which stands for no label; leave it out, or "
                         "set blank to a class of its own")
    states = xp.full((batch, 2 * most + 1), blank)
    states[:, 1::2] = labels
    return states
