"""Adagrad."""

from typing import Any

from ..backend import array_module
from ..ops.creation import full_like
from ..engine import Tensor
from .optimizer import Optimizer, Params, at_least_zero, decayed

__all__ = ["Adagrad"]


class Adagrad(Optimizer):
    """p ← p − lr/(1 + (t − 1)·lr_decay) · g/(√s + eps), where s ← s + g² starts at initial_accumulator_value.

    g is the gradient + weight_decay·p; maximize climbs. A group may have an initial_accumulator_value of its own, which
    PyTorch does not read. Duchi et al. 2011.
    """

    def __init__(self, params: Params, lr: float = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
                 initial_accumulator_value: float = 0, eps: float = 1e-10, *, maximize: bool = False) -> None:
        super().__init__(params, {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
                                  "initial_accumulator_value": initial_accumulator_value, "maximize": maximize})

    def check(self, group: dict[str, Any]) -> None:
        at_least_zero(self, group, "lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a dict {"params": tensors, option: value, ...}; options left out take the defaults."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for p in group["params"]:
            self.state[p].update(step=0, sum=full_like(p, group["initial_accumulator_value"]))

    def update(self, p: Tensor, x: Any, g: Any, group: dict[str, Any]) -> None:
        state, g = self.state[p], decayed(x, g, group)
        s = state["sum"].data
        s += g * g
        x -= group["lr"] / (1 + state["step"] * group["lr_decay"]) * g / (array_module(x).sqrt(s) + group["eps"])
        state["step"] += 1
