"""The rate lowered when progress stops."""

import math
from typing import Any

from ..optimizer import Optimizer
from .scheduler import LRScheduler, per_group

__all__ = ["ReduceLROnPlateau"]


class ReduceLROnPlateau(LRScheduler):
    """lr ← max(lr·factor, min_lr) when a metric has not improved for more than patience steps.

    A metric improves if it is below best·(1 − threshold), or best − threshold with threshold_mode="abs"; with
    mode="max" if it is above best·(1 + threshold), or best + threshold. After a change the next cooldown steps do not
    count as bad ones. Changes of eps or less are not made.
    """

    def __init__(self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10,
                 threshold: float = 1e-4, threshold_mode: str = "rel", cooldown: int = 0,
                 min_lr: float | list[float] = 0, eps: float = 1e-8) -> None:
        if factor >= 1:
            raise ValueError(f"ReduceLROnPlateau: factor = {factor} must be below 1")
        for name, value, known in (("mode", mode, ("min", "max")), ("threshold_mode", threshold_mode, ("rel", "abs"))):
            if value not in known:
                raise ValueError(f"ReduceLROnPlateau: {name} {value!r} is unknown; use {known[0]!r} or {known[1]!r}")
        per_group(self, "min_lr", min_lr, optimizer)
        self.optimizer, self.mode, self.factor, self.patience, self.min_lr = optimizer, mode, factor, patience, min_lr
        self.threshold, self.threshold_mode, self.cooldown, self.eps = threshold, threshold_mode, cooldown, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.cooldown_counter = self.num_bad_epochs = self.last_epoch = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """Note the metric of an epoch, and lower the rates if it is one bad epoch too many."""
        current = float(metrics)
        self.last_epoch += 1
        if self._improves(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown_counter - 1, 0
        rates = [group["lr"] for group in self.optimizer.param_groups]
        if self.num_bad_epochs > self.patience:
            least = per_group(self, "min_lr", self.min_lr, self.optimizer)
            lower = [max(lr * self.factor, low) for lr, low in zip(rates, least)]
            rates = [new if lr - new > self.eps else lr for lr, new in zip(rates, lower)]
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._set(rates)

    def _improves(self, current: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "rel":
            return sign * current > sign * self.best * (1 + sign * self.threshold)
        return sign * current > sign * self.best + self.threshold
