"""RAdam."""

from math import sqrt
from typing import Any

from ..backend import array_module
from ..ops.creation import zeros_like
from ..engine import Tensor
from .optimizer import Optimizer, Params, at_least_zero, check_betas, decayed

__all__ = ["RAdam"]


class RAdam(Optimizer):
    """Adam whose early steps are p ← p − lr·m̂, as long as too few gradients were seen to know their variance.

    With ρ∞ = 2/(1 − β₂) − 1 and ρₜ = ρ∞ − 2t·β₂ᵗ/(1 − β₂ᵗ), the length of the mean v is over: where ρₜ > 5 the step is
    p ← p − lr·r·m̂/(√v + eps)·√(1 − β₂ᵗ), with r² = (ρₜ − 4)(ρₜ − 2)ρ∞ / ((ρ∞ − 4)(ρ∞ − 2)ρₜ). g is the gradient +
    weight_decay·p, or p shrinks apart from it with decoupled_weight_decay; maximize climbs. Liu et al. 2020.
    """

    def __init__(self, params: Params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, decoupled_weight_decay: bool = False, *, maximize: bool = False) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                                  "maximize": maximize, "decoupled_weight_decay": decoupled_weight_decay})

    def check(self, group: dict[str, Any]) -> None:
        at_least_zero(self, group, "lr", "eps", "weight_decay")
        check_betas(self, group)

    def update(self, p: Tensor, x: Any, g: Any, group: dict[str, Any]) -> None:
        state, g, (beta1, beta2) = self.state[p], decayed(x, g, group), group["betas"]
        if not state:
            state.update(step=0, exp_avg=zeros_like(p), exp_avg_sq=zeros_like(p))
        state["step"] += 1
        t, m, v = state["step"], state["exp_avg"].data, state["exp_avg_sq"].data
        m[...] = beta1 * m + (1 - beta1) * g
        v[...] = beta2 * v + (1 - beta2) * g * g
        rate, seen, most = group["lr"] / (1 - beta1 ** t), 1 - beta2 ** t, 2 / (1 - beta2) - 1
        length = most - 2 * t * beta2 ** t / seen
        if length > 5:
            rectified = sqrt((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length))
            x -= rate * rectified * sqrt(seen) * m / (array_module(x).sqrt(v) + group["eps"])
        else:
            x -= rate * m
