"""Adadelta."""

from typing import Any

from ..backend import array_module
from ..ops.creation import zeros_like
from ..engine import Tensor
from .optimizer import Optimizer, Params, at_least_zero, decayed

__all__ = ["Adadelta"]


class Adadelta(Optimizer):
    """p ← p − lr·d with d = √(u + eps)/√(v + eps)·g, where v and u are running means of g² and d².

    So d has the units of p: v ← rho·v + (1 − rho)·g² before the step, u ← rho·u + (1 − rho)·d² after it. g is the
    gradient + weight_decay·p; maximize climbs. Zeiler 2012.
    """

    def __init__(self, params: Params, lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0, *,
                 maximize: bool = False) -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize})

    def check(self, group: dict[str, Any]) -> None:
        at_least_zero(self, group, "lr", "eps", "weight_decay", "rho")
        if group["rho"] > 1:
            raise ValueError(f"Adadelta: rho = {group['rho']!r} must be at most 1")

    def update(self, p: Tensor, x: Any, g: Any, group: dict[str, Any]) -> None:
        state, g, rho, eps, xp = self.state[p], decayed(x, g, group), group["rho"], group["eps"], array_module(x)
        if not state:
            state.update(step=0, square_avg=zeros_like(p), acc_delta=zeros_like(p))
        state["step"] += 1
        v, u = state["square_avg"].data, state["acc_delta"].data
        v[...] = rho * v + (1 - rho) * g * g
        d = xp.sqrt(u + eps) / xp.sqrt(v + eps) * g
        u[...] = rho * u + (1 - rho) * d * d
        x -= group["lr"] * d
