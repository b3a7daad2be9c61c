"""Losses with a margin: what is on the right side of it, by enough, costs nothing."""

from collections.abc import Callable

from .. import dtypes
from ..backend import array_module
from ..engine import Tensor
from .activation import LogSigmoid
from .basic import broadcast_shapes, refuse_bool
from .distance import pairwise_distance
from .loss import EPSILON, reduced, same_shapes, weighted
from .loss_class import class_numbers, class_weights

__all__ = ["contrastive_loss", "cosine_embedding_loss", "hinge_embedding_loss", "margin_ranking_loss",
           "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "soft_margin_loss",
           "triplet_margin_loss", "triplet_margin_with_distance_loss"]


# -- of numbers and of classes --------------------------------------------------------------------------------------

def _check(name: str, input: Tensor, target: Tensor) -> None:
    same_shapes(name, input, target)
    if not dtypes.is_floating(input.dtype):
        raise RuntimeError(f"{name}: input is {input.dtype}, must be floating (convert with .float())")


def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """input where target is 1, max(0, margin − input) where it is −1: distances to be made small, and large.

    Any shape, both the same → that shape ("none") or a number; gx = gy, or −gy up to the margin. Another target costs
    the sum of both. Raises ValueError where the shapes differ; PyTorch broadcasts. Hadsell et al. 2006.
    """
    _check("hinge_embedding_loss", input, target)
    loss = (margin - input).clamp(min=0).where(target != 1, 0.0) + input.where(target != -1, 0.0)
    return reduced("hinge_embedding_loss", loss, reduction)


def soft_margin_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """log(1 + e^(−target·input)), target 1 or −1, without overflow for any input (PyTorch's overflows).

    Any shape, both the same → that shape ("none") or a number; gx = −gy·target·σ(−target·input). Raises ValueError
    where the shapes differ; PyTorch broadcasts. Cox 1958.
    """
    _check("soft_margin_loss", input, target)
    return reduced("soft_margin_loss", -LogSigmoid()(target * input).to(input.dtype), reduction)


def margin_ranking_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0,
                        reduction: str = "mean") -> Tensor:
    """max(0, margin − target·(input1 − input2)): target 1 where input1 should be the larger one, −1 where input2.

    Three tensors of as many axes, broadcast → their common shape ("none") or a number; gx1 = −gy·target where the loss
    is not cut off, gx2 = −gx1. Raises RuntimeError for shapes that do not fit. Herbrich et al. 2000.
    """
    if not input1.ndim == input2.ndim == target.ndim:
        raise RuntimeError(f"margin_ranking_loss: input1 {input1.shape}, input2 {input2.shape} and target "
                           f"{target.shape} must have as many axes")
    refuse_bool("margin_ranking_loss", input1, input2, target)
    broadcast_shapes("margin_ranking_loss", input1.shape, input2.shape, target.shape)
    return reduced("margin_ranking_loss", (float(margin) - target * (input1 - input2)).clamp(min=0), reduction)


def multi_margin_loss(input: Tensor, target: Tensor, p: float = 1, margin: float = 1.0, weight: Tensor | None = None,
                      reduction: str = "mean") -> Tensor:
    """Σ over c ≠ target of max(0, margin − input[target] + input[c])ᵖ / C, times weight[target]; p is 1 or 2.

    input (N, C) or (C), target class numbers (N) or () → (N), () ("none") or a number; a single class may have no axis.
    gx[c] = gy/C (p = 1) for every c that is counted, gx[target] = −their sum. Raises ValueError for another p or shape,
    IndexError for a class that does not exist. Crammer & Singer 2001.
    """
    name = "multi_margin_loss"
    if p not in (1, 2):
        raise ValueError(f"{name}: p = {p} must be 1 or 2")
    input = _rows_of_classes(name, input)
    if target.shape != input.shape[:-1] and (input.ndim, target.shape) != (1, (1,)):
        raise ValueError(f"{name}: input {input.shape} needs targets of shape {input.shape[:-1]}, got {target.shape}")
    classes = input.shape[-1]
    class_weights(name, input, weight, classes)
    t = Tensor(class_numbers(name, target, classes)).reshape(-1, 1)  # (N, 1)
    x = input.reshape(-1, classes)
    excess = margin - x.gather(1, t) + x
    counted = (excess > 0) & (t != Tensor(array_module(t.data).arange(classes)))
    excess = excess.where(counted, 0.0)
    loss = (excess if p == 1 else excess.square()).sum(1) / classes
    if weight is not None:
        loss = loss * weight.index_select(0, t.squeeze(1))
    return reduced(name, loss.reshape(target.shape), reduction)


def multilabel_margin_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Σ over the listed classes j and all others c of max(0, 1 − input[j] + input[c]) / C.

    input (N, C) or (C), target of the same shape: in each row the numbers of the classes that are present, up to the
    first −1 → (N), () ("none") or a number. gx[c] = gy/C for every pair (j, c) counted, gx[j] = −gy/C. Raises
    ValueError for other shapes, IndexError for a class that does not exist. Weston & Watkins 1999.
    """
    name = "multilabel_margin_loss"
    input, target = _rows_of_classes(name, input), target if target.ndim else target.reshape(1)
    _check(name, input, target)
    classes = input.shape[-1]
    t = class_numbers(name, target, classes, -1, "-1 ends a list").reshape(-1, classes)
    xp = array_module(t)
    listed = (t < 0).cumsum(1) == 0
    most = int(listed.sum(1).max()) if listed.size else 0
    t, listed = t[:, :most] * listed[:, :most], listed[:, :most]  # (N, J), J the longest list
    present = xp.zeros((len(t), classes), bool)
    present[xp.nonzero(listed)[0], t[listed]] = True
    x = input.reshape(-1, classes)
    excess = 1 - x.gather(1, Tensor(t)).unsqueeze(2) + x.unsqueeze(1)  # (N, J, C)
    counted = Tensor(listed[:, :, None] & ~present[:, None, :]) & (excess > 0)
    loss = excess.where(counted, 0.0).sum((1, 2)) / classes
    return reduced(name, loss.reshape(input.shape[:-1]), reduction)


def _rows_of_classes(name: str, input: Tensor) -> Tensor:
    """The input, (N, C) or (C), where PyTorch takes a number for one class."""
    if input.ndim > 2 or 0 in input.shape[-1:]:
        raise ValueError(f"{name}: input must be (N, C) or (C) with at least one class, not {input.shape}")
    return input if input.ndim else input.reshape(1)


def multilabel_soft_margin_loss(input: Tensor, target: Tensor, weight: Tensor | None = None,
                                reduction: str = "mean") -> Tensor:
    """The mean over classes of −target·log σ(input) − (1 − target)·log σ(−input), exact for logits of any size.

    input (..., C), target of the same shape, 1 for a class that is present → (...) ("none") or a number;
    gx = gy·(σ(input) − target)/C. weight broadcasts to input. Raises ValueError for other shapes; PyTorch broadcasts.
    Cox 1958.
    """
    name = "multilabel_soft_margin_loss"
    if not input.ndim:
        raise ValueError(f"{name}: input must be (..., C), not a number")
    _check(name, input, target)
    refuse_bool(name, target)
    loss = -(target * LogSigmoid()(input) + (1 - target) * LogSigmoid()(-input))
    return reduced(name, weighted(name, loss, weight).mean(-1), reduction)


# -- of pairs and triplets ------------------------------------------------------------------------------------------

def cosine_embedding_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0,
                          reduction: str = "mean") -> Tensor:
    """1 − cos where target is 1, max(0, cos − margin) where it is −1; cos = x₁·x₂/√((|x₁|² + ε)(|x₂|² + ε)), ε = 1e−12.

    Inputs (N, D) and target (N), or (D) and (); a length of 1 is broadcast to N → (N), () ("none") or a number. Another
    target costs nothing. Raises RuntimeError for shapes that do not fit. Chopra et al. 2005.
    """
    name = "cosine_embedding_loss"
    if target.ndim > 1 or not input1.ndim == input2.ndim == target.ndim + 1 or input1.shape[-1] != input2.shape[-1]:
        raise RuntimeError(f"{name}: input1 {input1.shape}, input2 {input2.shape} and target {target.shape} must be "
                           "(N, D), (N, D) and (N), or (D), (D) and ()")
    broadcast_shapes(name, input1.shape[:-1], input2.shape[:-1], target.shape)
    square1, square2 = input1.square().sum(-1) + EPSILON, input2.square().sum(-1) + EPSILON
    cosine = (input1 * input2).sum(-1) / (square1 * square2).sqrt()
    loss = (1 - cosine).where(target == 1, 0.0) + (cosine - margin).clamp(min=0).where(target == -1, 0.0)
    return reduced(name, loss, reduction)


def triplet_margin_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2,
                        eps: float = 1e-6, swap: bool = False, reduction: str = "mean") -> Tensor:
    """max(0, margin + d(anchor, positive) − d(anchor, negative)), d(a, b) the p-norm of a − b + eps.

    Three tensors (..., D), broadcast but for D → (...) ("none") or a number. With swap the distance to the negative is
    that from the anchor or from the positive, whichever is smaller (Balntas et al. 2016). Raises ValueError unless
    margin is positive, RuntimeError for shapes that do not fit. Schroff et al. 2015.
    """
    name = "triplet_margin_loss"
    broadcast_shapes(name, anchor.shape, positive.shape, negative.shape)
    return _triplets(name, anchor, positive, negative, lambda a, b: pairwise_distance(a, b, p, eps), margin, swap,
                     reduction)


def triplet_margin_with_distance_loss(anchor: Tensor, positive: Tensor, negative: Tensor, *,
                                      distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
                                      margin: float = 1.0, swap: bool = False, reduction: str = "mean") -> Tensor:
    """triplet_margin_loss with any distance_function of two tensors, by default pairwise_distance.

    Three tensors of as many axes, the last of the same length → what the distance has ("none") or a number. Raises
    ValueError unless margin is positive, RuntimeError for shapes that do not fit. Schroff et al. 2015.
    """
    distance = pairwise_distance if distance_function is None else distance_function
    return _triplets("triplet_margin_with_distance_loss", anchor, positive, negative, distance, margin, swap, reduction)


def positive_margin(name: str, margin: float) -> None:
    """Raise unless the margin is positive: with another one, to map all inputs to one point would cost nothing."""
    if not margin > 0:
        raise ValueError(f"{name}: margin = {margin} must be positive")


def _triplets(name: str, anchor: Tensor, positive: Tensor, negative: Tensor,
              distance: Callable[[Tensor, Tensor], Tensor], margin: float, swap: bool, reduction: str) -> Tensor:
    positive_margin(name, margin)
    if len({(t.ndim, t.shape[-1:]) for t in (anchor, positive, negative)}) > 1:
        raise RuntimeError(f"{name}: anchor {anchor.shape}, positive {positive.shape} and negative {negative.shape} "
                           "must have as many axes, the last of the same length")
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return reduced(name, (margin + near - far).clamp(min=0), reduction)


def contrastive_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 1.0,
                     reduction: str = "mean") -> Tensor:
    """(target·d² + (1 − target)·max(0, margin − d)²)/2, d = |input1 − input2|, for the two halves of a Siamese network.

    Inputs (N, D) or (D), target (N) or () → target's shape ("none") or a number. Target 1 marks a similar pair, which
    is drawn together, 0 a dissimilar one, which is pushed apart until d is margin: gx1 = gy·(x₁ − x₂), or
    −gy·(margin − d)·(x₁ − x₂)/d. (The paper's Y is 1 − target.) Raises ValueError for other shapes. Not in PyTorch.
    Hadsell, Chopra & LeCun 2006.
    """
    name = "contrastive_loss"
    if input1.shape != input2.shape or input1.ndim not in (1, 2) or target.shape != input1.shape[:-1]:
        raise ValueError(f"{name}: input1 {input1.shape}, input2 {input2.shape} and target {target.shape} must be "
                         "(N, D), (N, D) and (N), or (D), (D) and ()")
    difference = input1 - input2
    similar = target.to(difference.dtype)
    apart = (margin - difference.norm(2, -1)).clamp(min=0)
    loss = (similar * difference.square().sum(-1) + (1 - similar) * apart.square()) / 2
    return reduced(name, loss, reduction)
