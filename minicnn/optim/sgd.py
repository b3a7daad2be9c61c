"""Stochastic gradient descent."""

from typing import Any

from ..ops.creation import zeros_like
from ..engine import Tensor
from .optimizer import Optimizer, Params, at_least_zero, together

__all__ = ["SGD"]


class SGD(Optimizer):
    """p ← p − lr·v, where v ← momentum·v + (1 − dampening)·g starts as g, and g is the gradient + weight_decay·p.

    nesterov takes the step along g + momentum·v. maximize climbs. As in PyTorch lr is outside of v, unlike in Sutskever
    et al. 2013.
    """

    def __init__(self, params: Params, lr: float = 1e-3, momentum: float = 0, dampening: float = 0,
                 weight_decay: float = 0, nesterov: bool = False, *, maximize: bool = False) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
                                  "nesterov": nesterov, "maximize": maximize})

    def check(self, group: dict[str, Any]) -> None:
        at_least_zero(self, group, "lr", "momentum", "weight_decay")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(f"SGD: nesterov needs momentum = {group['momentum']} above 0 and "
                             f"dampening = {group['dampening']} at 0")

    def update_all(self, params: list[Tensor], xs: list[Any], gs: list[Any], group: dict[str, Any]) -> None:
        velocities, firsts = [], []
        for p in params:
            velocity, first = None, False
            if group["momentum"]:
                state = self.state[p]
                first = state.get("momentum_buffer") is None
                if first:
                    state["momentum_buffer"] = zeros_like(p)
                velocity = state["momentum_buffer"].data
            velocities.append(velocity)
            firsts.append(first)
        for kernels, first, arrays in together(zip(xs, gs, velocities, strict=True), firsts):
            kernels.sgd_step(*arrays, group["lr"], group["momentum"], group["dampening"], group["weight_decay"],
                             group["nesterov"], group["maximize"], first)
