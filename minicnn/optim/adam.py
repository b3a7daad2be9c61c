"""Adam, and AdamW."""

from typing import Any

from ..ops.creation import zeros_like
from ..engine import Tensor
from .optimizer import Optimizer, Params, at_least_zero, check_betas, together

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
    """p ← p − lr·m̂ / (√v̂ + eps), with running means of g and g², m ← β₁m + (1 − β₁)g and v ← β₂v + (1 − β₂)g².

    m̂ = m/(1 − β₁ᵗ) and v̂ = v/(1 − β₂ᵗ) make up for the start at 0; g is the gradient + weight_decay·p. amsgrad divides
    by the largest v so far (Reddi et al. 2018); decoupled_weight_decay makes it AdamW. Kingma & Ba 2015.
    """

    def __init__(self, params: Params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, amsgrad: bool = False, *, maximize: bool = False,
                 decoupled_weight_decay: bool = False) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                                  "amsgrad": amsgrad, "maximize": maximize,
                                  "decoupled_weight_decay": decoupled_weight_decay})

    def check(self, group: dict[str, Any]) -> None:
        at_least_zero(self, group, "lr", "eps", "weight_decay")
        check_betas(self, group)

    def update_all(self, params: list[Tensor], xs: list[Any], gs: list[Any], group: dict[str, Any]) -> None:
        rows, steps = [], []
        for p, x, g in zip(params, xs, gs, strict=True):
            state = self.state[p]
            if not state:
                state.update(step=0, exp_avg=zeros_like(p), exp_avg_sq=zeros_like(p))
            if group["amsgrad"] and "max_exp_avg_sq" not in state:
                state["max_exp_avg_sq"] = zeros_like(p)
            state["step"] += 1
            largest = state["max_exp_avg_sq"].data if group["amsgrad"] else None
            rows.append((x, g, state["exp_avg"].data, state["exp_avg_sq"].data, largest))
            steps.append(state["step"])
        for kernels, step, arrays in together(rows, steps):
            kernels.adam_step(*arrays, step, group["lr"], *group["betas"], group["eps"], group["weight_decay"],
                              group["decoupled_weight_decay"], group["maximize"])


class AdamW(Adam):
    """Adam with weight decay apart from the gradient: p ← p·(1 − lr·weight_decay) first. Loshchilov & Hutter 2019."""

    def __init__(self, params: Params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize,
                         decoupled_weight_decay=True)
