"""RMSprop."""

from typing import Any

from ..backend import array_module
from ..ops.creation import zeros_like
from ..engine import Tensor
from .optimizer import Optimizer, Params, at_least_zero, decayed

__all__ = ["RMSprop"]


class RMSprop(Optimizer):
    """p ← p − lr·b, where b ← momentum·b + g/(√v + eps) and v ← alpha·v + (1 − alpha)·g² is a running mean of g².

    centered takes the variance v − m² in place of v, with m the running mean of g (Graves 2013). g is the gradient +
    weight_decay·p; maximize climbs (by keyword only: what PyTorch has before it does not exist). Tieleman & Hinton
    2012.
    """

    def __init__(self, params: Params, lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
                 weight_decay: float = 0, momentum: float = 0, centered: bool = False, *,
                 maximize: bool = False) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
                                  "weight_decay": weight_decay, "maximize": maximize})

    def check(self, group: dict[str, Any]) -> None:
        at_least_zero(self, group, "lr", "eps", "momentum", "weight_decay", "alpha")

    def update(self, p: Tensor, x: Any, g: Any, group: dict[str, Any]) -> None:
        state, g, alpha = self.state[p], decayed(x, g, group), group["alpha"]
        needed = {"square_avg": True, "momentum_buffer": group["momentum"], "grad_avg": group["centered"]}
        state.update({key: zeros_like(p) for key, is_needed in needed.items() if is_needed and key not in state})
        state["step"] = state.get("step", 0) + 1
        v = state["square_avg"].data
        v[...] = alpha * v + (1 - alpha) * g * g
        if group["centered"]:
            m = state["grad_avg"].data
            m[...] = alpha * m + (1 - alpha) * g
            v = v - m * m
        step = g / (array_module(x).sqrt(v) + group["eps"])
        if group["momentum"]:
            b = state["momentum_buffer"].data
            b[...] = group["momentum"] * b + step
            step = b
        x -= group["lr"] * step
