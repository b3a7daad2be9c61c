"""Mixed precision: which operations run in 16 bits, which in float32, as in PyTorch's autocast.

Products and convolutions are fast in 16 bits and lose little, as their sums are taken in float32; losses, and what has
a large range or adds up much, are computed in float32; everything else takes whatever types it is given. The rules are
those of PyTorch 2.13 (aten/src/ATen/autocast_mode.h), which differ between devices. Micikevicius et al. 2018.
"""

from collections.abc import Callable, Iterator
from contextlib import ContextDecorator
from functools import cache, wraps
from typing import Any

import numpy as np

from .. import dtypes
from ..engine import Tensor, mode

__all__ = ["autocast", "widened"]

LOWER, FLOAT32, WIDEST, ROUNDED, AS_GIVEN, BANNED = range(6)

_PRODUCTS = """addmm baddbmm bmm conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d einsum linear
    matmul mm prelu scaled_dot_product_attention"""
_LOSSES = """binary_cross_entropy_with_logits cosine_embedding_loss cross_entropy hinge_embedding_loss huber_loss kl_div
    l1_loss margin_ranking_loss mse_loss multi_margin_loss multilabel_margin_loss nll_loss poisson_nll_loss
    smooth_l1_loss soft_margin_loss triplet_margin_loss"""
_LISTS = {
    "cpu": {
        LOWER: f"{_PRODUCTS} tensordot",
        FLOAT32: f"{_LOSSES} adaptive_avg_pool3d avg_pool3d binary_cross_entropy ctc_loss grid_sample max_pool3d "
                 "max_unpool2d max_unpool3d prod",
        ROUNDED: "batch_norm group_norm instance_norm layer_norm rms_norm",
        AS_GIVEN: "bilinear dot mv outer",  # made of products here, not there
    },
    "cuda": {
        LOWER: f"{_PRODUCTS} mv",
        FLOAT32: f"{_LOSSES} acos asin cosh cosine_similarity cumprod cumsum exp expm1 group_norm interpolate "
                 "layer_norm log log10 log1p log2 log_softmax logsumexp norm pow prod reciprocal rms_norm rsqrt sinh "
                 "softmax softmin softplus sum tan",
        WIDEST: "addcdiv addcmul atan2 bilinear dot grid_sample index_put scatter_add tensordot",
        ROUNDED: "batch_norm instance_norm",
        AS_GIVEN: "outer",
        BANNED: "binary_cross_entropy",
    },
}
RULES = {device: {name: rule for rule, names in lists.items() for name in names.split()}
         for device, lists in _LISTS.items()}
_DEFAULT = {"cpu": "bfloat16", "cuda": "float16"}


class autocast(ContextDecorator):
    """Operations inside the block, or the decorated function, choose their precision, as PyTorch's autocast lists them.

        with mc.autocast("cuda", mc.float16):
            loss = F.cross_entropy(model(x), y)
        loss.backward()

    Weights stay float32: they are rounded where they are used, and get gradients of float32. float64 is left alone.

    Args:
        device_type: "cpu" or "cuda"; operations on tensors of the other are not concerned.
        dtype: float16 or bfloat16; by default bfloat16 on the CPU, float16 on a GPU.
        enabled: False turns it off within an outer block.

    Raises:
        ValueError: the device or the dtype is none of these.
    """

    def __init__(self, device_type: str, dtype: Any = None, enabled: bool = True) -> None:
        if device_type not in RULES:
            raise ValueError(f"autocast: device_type = {device_type!r} must be 'cpu' or 'cuda'")
        dtype = dtypes.as_dtype(_DEFAULT[device_type] if dtype is None else dtype)
        if not _is_half(dtype):
            raise ValueError(f"autocast: dtype = {dtype} must be float16 or bfloat16")
        self._device_type, self._dtype = device_type, dtype if enabled else None

    def __enter__(self) -> None:
        self._before = mode.autocast
        chosen = {**(mode.autocast or {}), self._device_type: self._dtype}
        mode.autocast = chosen if any(chosen.values()) else None

    def __exit__(self, *_: object) -> None:
        mode.autocast = self._before

    def _recreate_cm(self) -> "autocast":
        return autocast(self._device_type, self._dtype or _DEFAULT[self._device_type], self._dtype is not None)


@cache
def autocasting(function: Callable) -> Callable:
    """The function, following the rule that autocast has for its name, if there is one."""
    name = function.__name__
    if not any(name in rules for rules in RULES.values()):
        return function

    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        if mode.autocast is None:
            return function(*arguments, **options)
        first = next(_tensors(arguments, options), None)
        device = "cpu" if first is None or isinstance(first.data, np.ndarray) else "cuda"
        dtype, rule = mode.autocast.get(device), RULES[device].get(name)
        if dtype is None or rule is None:
            return function(*arguments, **options)
        outside, mode.autocast = mode.autocast, None  # what the function is made of follows no rules of its own
        try:
            return _follow(rule, dtype, function, arguments, options)
        finally:
            mode.autocast = outside

    return call


def widened(x: Tensor) -> Tensor:
    """x in float32 where autocast is on: for layers that compute in float32 whatever comes in."""
    return x if mode.autocast is None or not _is_half(x.dtype) else x.to(dtypes.float32)


def _follow(rule: int, dtype: np.dtype, function: Callable, arguments: tuple, options: dict) -> Any:
    if rule == BANNED:
        raise RuntimeError(f"{function.__name__} is not safe in mixed precision: its gradient may overflow float16; "
                           "use binary_cross_entropy_with_logits, or autocast(..., enabled=False) around it")
    given = list(_tensors(arguments, options))
    if rule == ROUNDED:
        x, others = given[0], given[1:]
        if not _is_half(x.dtype) or all(t.dtype == x.dtype for t in others):
            return function(*arguments, **options)
        return _follow(FLOAT32, dtype, function, arguments, options).to(x.dtype)
    if rule == WIDEST:
        rule = FLOAT32 if len({t.dtype for t in given if _is_eligible(t)}) > 1 else AS_GIVEN
    if rule == AS_GIVEN:
        return function(*arguments, **options)
    target = dtype if rule == LOWER else dtypes.float32

    def cast(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(target) if _is_eligible(value) else value
        return type(value)(map(cast, value)) if isinstance(value, (list, tuple)) else value

    return function(*map(cast, arguments), **{key: cast(value) for key, value in options.items()})


def _tensors(arguments: Any, options: dict) -> Iterator[Tensor]:
    for value in (*arguments, *options.values()):
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value, {})


def _is_half(dtype: np.dtype) -> bool:
    return dtype.itemsize == 2 and dtypes.is_floating(dtype)


def _is_eligible(t: Tensor) -> bool:
    """Whether autocast may convert a tensor: float32 and 16 bits, not float64."""
    return t.is_floating_point() and t.dtype != dtypes.float64
