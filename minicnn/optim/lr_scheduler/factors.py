"""Schedules that multiply the rate by a factor."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from ..optimizer import Optimizer
from .scheduler import LRScheduler, above_zero, fraction, per_group

__all__ = ["ConstantLR", "ExponentialLR", "LambdaLR", "LinearLR", "MultiStepLR", "StepLR"]


class LambdaLR(LRScheduler):
    """lr[t] = lr[0]·lr_lambda(t); lr_lambda is a function, or a list of one per group."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
                 last_epoch: int = -1) -> None:
        self.lr_lambdas = per_group(self, "lr_lambda", lr_lambda, optimizer)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """initial rate · lr_lambda(last_epoch)."""
        return [base * factor(self.last_epoch) for factor, base in zip(self.lr_lambdas, self.base_lrs, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """All but the functions; of callable objects their attributes."""
        saved = [None if inspect.isroutine(f) else dict(vars(f)) for f in self.lr_lambdas]
        return {**super().state_dict(), "lr_lambdas": saved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from where state_dict was taken, with the functions this schedule was made with."""
        functions = self.lr_lambdas
        super().load_state_dict({**state_dict, "lr_lambdas": functions})
        for function, attributes in zip(functions, state_dict["lr_lambdas"], strict=True):
            if attributes is not None:
                vars(function).update(attributes)


class StepLR(LRScheduler):
    """The rate times gamma every step_size steps: lr[t] = lr[0]·gamma^⌊t/step_size⌋."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = above_zero(self, "step_size", step_size), gamma
        super().__init__(optimizer, last_epoch)

    def following(self, lr: float, base_lr: float) -> float:
        """lr·gamma at multiples of step_size."""
        return lr * self.gamma if self.last_epoch and self.last_epoch % self.step_size == 0 else lr


class MultiStepLR(LRScheduler):
    """lr[t] = lr[0]·gamma^(how many of the milestones are ≤ t); one that is listed twice counts twice."""

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1,
                 last_epoch: int = -1) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def following(self, lr: float, base_lr: float) -> float:
        """lr·gamma at milestones."""
        times = self.milestones.count(self.last_epoch)
        return lr * self.gamma ** times if times else lr


class ConstantLR(LRScheduler):
    """The rate times factor for total_iters steps: lr[t] = lr[0]·factor where t < total_iters, then lr[0]."""

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5, last_epoch: int = -1) -> None:
        self.factor, self.total_iters = fraction(self, "factor", factor, zero=False), total_iters
        super().__init__(optimizer, last_epoch)

    def following(self, lr: float, base_lr: float) -> float:
        """lr·factor at the start, lr/factor at total_iters."""
        if self.last_epoch == 0:
            return lr * self.factor
        return lr * (1 / self.factor) if self.last_epoch == self.total_iters else lr


class LinearLR(LRScheduler):
    """Warm-up: the rate times a factor that goes straight from start_factor to end_factor in total_iters steps.

    lr[t] = lr[0]·(start_factor + (end_factor − start_factor)·min(t/total_iters, 1)).
    """

    def __init__(self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5,
                 last_epoch: int = -1) -> None:
        self.start_factor = fraction(self, "start_factor", start_factor, zero=False)
        self.end_factor, self.total_iters = fraction(self, "end_factor", end_factor), total_iters
        super().__init__(optimizer, last_epoch)

    def following(self, lr: float, base_lr: float) -> float:
        """lr times the quotient of this factor and the one before."""
        if self.last_epoch == 0:
            return lr * self.start_factor
        if self._is_initial or self.last_epoch > self.total_iters:
            return lr
        rise = self.end_factor - self.start_factor
        return lr * (1 + rise / (self.total_iters * self.start_factor + (self.last_epoch - 1) * rise))


class ExponentialLR(LRScheduler):
    """The rate times gamma in every step: lr[t] = lr[0]·gammaᵗ."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def following(self, lr: float, base_lr: float) -> float:
        """lr·gamma."""
        return lr if self._is_initial else lr * self.gamma
