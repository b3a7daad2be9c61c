"""Attention."""

import math

from .. import dtypes
from ..engine import Tensor
from .activation import softmax
from .basic import broadcast_shapes
from .arguments import same_floats
from .creation import ones
from .dropout import dropout

__all__ = ["scaled_dot_product_attention"]


def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
                                 dropout_p: float = 0.0, is_causal: bool = False, *, scale: float | None = None,
                                 enable_gqa: bool = False) -> Tensor:
    """Means of value, weighted by how well query matches key: (..., L, E), (..., S, E), (..., S, D) → (..., L, D).

    y = softmax(scale·query·keyᵀ + attn_mask)·value, with scale 1/√E unless given. A bool mask is true where attention
    is allowed; is_causal allows place i of L the places up to i of S; a row that allows none is 0. dropout_p falls on
    the weights, also in evaluation. enable_gqa shares each head (axis −3) of key and value between several of query
    (Ainslie et al. 2023). Raises RuntimeError for shapes or types that do not fit and for attn_mask with is_causal,
    ValueError for a dropout_p that is no probability. PyTorch, too, takes scale and enable_gqa by keyword only.
    Vaswani et al. 2017.
    """
    name, shapes = "scaled_dot_product_attention", f"(query {query.shape}, key {key.shape}, value {value.shape})"
    same_floats(name, query=query, key=key, value=value)
    if (min(query.ndim, key.ndim, value.ndim) < 2 or query.shape[-1] != key.shape[-1]
            or key.shape[-2] != value.shape[-2]):
        raise RuntimeError(f"{name}: query, key and value must be (..., L, E), (..., S, E) and (..., S, D) {shapes}")
    if not 0 <= dropout_p <= 1:
        raise ValueError(f"{name}: dropout_p = {dropout_p} must be a probability, 0 to 1")
    if enable_gqa:
        key, value = (_shared(name, x, query, shapes) for x in (key, value))
    broadcast_shapes(name, query.shape[:-2], key.shape[:-2], value.shape[:-2])
    dtype = query.dtype
    if dtype.itemsize == 2:  # scores need not fit into it
        query, key, value = query.float(), key.float(), value.float()
    scores = (query * (1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale)).matmul(key.mT)
    if is_causal:
        if attn_mask is not None:
            raise RuntimeError(f"{name}: give either attn_mask or is_causal = True; a mask can be causal itself: "
                               "mask & minicnn.ones(L, S).bool().tril()")
        attn_mask = ones(*scores.shape[-2:], dtype=dtypes.bool_, device=query.device).tril()
    if attn_mask is not None and attn_mask.dtype not in (dtypes.bool_, dtypes.float32, dtype):
        raise RuntimeError(f"{name}: attn_mask must be bool, float32 or, as query is, {dtype}, not {attn_mask.dtype}")
    weights = softmax(scores, -1) if attn_mask is None else _masked_softmax(name, scores, attn_mask)
    return dropout(weights, dropout_p).matmul(value).to(dtype)


def _masked_softmax(name: str, scores: Tensor, mask: Tensor) -> Tensor:
    """softmax(scores + mask), or of those scores where mask is true; 0 in rows where nothing is left."""
    if broadcast_shapes(name, mask.shape, scores.shape) != scores.shape:
        raise RuntimeError(f"{name}: attn_mask of shape {mask.shape} must broadcast to the scores {scores.shape}")
    scores = scores.where(mask, -math.inf) if mask.dtype == dtypes.bool_ else scores + mask.to(scores.dtype)
    empty = (scores == -math.inf).all(-1, keepdim=True)
    if not empty.data.any():
        return softmax(scores, -1)
    return softmax(scores.where(~empty, 0.0), -1).where(~empty, 0.0)  # 0 in between: softmax of −∞ alone is NaN


def _shared(name: str, x: Tensor, query: Tensor, shapes: str) -> Tensor:
    """Each head of x as often as several heads of query share it."""
    if min(x.ndim, query.ndim) < 3 or not x.shape[-3] or query.shape[-3] % x.shape[-3]:
        raise RuntimeError(f"{name}: with enable_gqa the heads (axis −3) of key and value must divide those of query "
                           f"{shapes}")
    times = query.shape[-3] // x.shape[-3]
    return x if times == 1 else x.repeat_interleave(times, -3)
