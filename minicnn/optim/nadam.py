"""NAdam."""

from typing import Any

from ..backend import array_module
from ..ops.creation import zeros_like
from ..engine import Tensor
from .optimizer import Optimizer, Params, at_least_zero, check_betas, decayed

__all__ = ["NAdam"]


class NAdam(Optimizer):
    """Adam with Nesterov's momentum: p ← p − lr·((1 − μₜ)·g/(1 − Πμ) + μₜ₊₁·m/(1 − μₜ₊₁·Πμ)) / (√v̂ + eps).

    m, v and v̂ are Adam's; μₜ = β₁·(1 − 0.96^(t·momentum_decay)/2), and Πμ = μ₁·…·μₜ. g is the gradient +
    weight_decay·p, or p shrinks apart from it with decoupled_weight_decay; maximize climbs. Dozat 2016.
    """

    numbers = {"step": int, "mu_product": float}

    def __init__(self, params: Params, lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, *,
                 maximize: bool = False) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                                  "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay,
                                  "maximize": maximize})

    def check(self, group: dict[str, Any]) -> None:
        at_least_zero(self, group, "lr", "eps", "weight_decay", "momentum_decay")
        check_betas(self, group)

    def update(self, p: Tensor, x: Any, g: Any, group: dict[str, Any]) -> None:
        state, g, (beta1, beta2) = self.state[p], decayed(x, g, group), group["betas"]
        if not state:
            state.update(step=0, mu_product=1.0, exp_avg=zeros_like(p), exp_avg_sq=zeros_like(p))
        state["step"] += 1
        t, m, v = state["step"], state["exp_avg"].data, state["exp_avg_sq"].data
        mu, following = [beta1 * (1 - 0.96 ** (i * group["momentum_decay"]) / 2) for i in (t, t + 1)]
        state["mu_product"] *= mu
        m[...] = beta1 * m + (1 - beta1) * g
        v[...] = beta2 * v + (1 - beta2) * g * g
        rise = (1 - mu) / (1 - state["mu_product"]) * g + following / (1 - following * state["mu_product"]) * m
        x -= group["lr"] * rise / (array_module(x).sqrt(v / (1 - beta2 ** t)) + group["eps"])
