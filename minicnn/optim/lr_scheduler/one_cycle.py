"""One cycle of the rate and, the other way, of the momentum."""

import math
from bisect import bisect_left

from ..optimizer import Optimizer
from .scheduler import LRScheduler, above_zero, fraction, per_group

__all__ = ["OneCycleLR"]


class OneCycleLR(LRScheduler):
    """One rise to max_lr and one long fall, a step per batch, with momentum going the other way. Smith & Topin 2018.

    From max_lr/div_factor up in the fraction pct_start of total_steps (or epochs·steps_per_epoch), then down to that
    over final_div_factor, along a cosine, lr = end + (start − end)·(1 + cos(π·progress))/2, or straight ("linear").
    three_phase falls to the initial rate in as many steps as it rose, and to the last in the rest. momentum, or beta₁,
    goes from max_momentum to base_momentum and back if cycle_momentum. It sets the rate outright and cannot be chained.
    """

    def __init__(self, optimizer: Optimizer, max_lr: float | list[float], total_steps: int | None = None,
                 epochs: int | None = None, steps_per_epoch: int | None = None, pct_start: float = 0.3,
                 anneal_strategy: str = "cos", cycle_momentum: bool = True, base_momentum: float | list[float] = 0.85,
                 max_momentum: float | list[float] = 0.95, div_factor: float = 25.0, final_div_factor: float = 1e4,
                 three_phase: bool = False, last_epoch: int = -1) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if not isinstance(total_steps, int) or total_steps <= 0:
            raise ValueError(f"OneCycleLR: total_steps = {total_steps!r} must be a positive integer")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: anneal_strategy {anneal_strategy!r} is unknown; use 'cos' or 'linear'")
        above_zero(self, "div_factor", div_factor), above_zero(self, "final_div_factor", final_div_factor)
        self.total_steps, self.anneal_strategy = total_steps, anneal_strategy
        peak = fraction(self, "pct_start", pct_start) * total_steps
        # (last step, rate from, rate to, momentum from, momentum to), by the names the group has them under
        self.phases = [(peak - 1, "initial_lr", "max_lr", "max_momentum", "base_momentum"),
                       (total_steps - 1, "max_lr", "min_lr", "base_momentum", "max_momentum")]
        if three_phase:
            self.phases[1:] = [(2 * peak - 2, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
                               (total_steps - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum")]
        given = (("max_lr", max_lr), ("max_momentum", max_momentum), ("base_momentum", base_momentum))
        values = zip(*(per_group(self, name, value, optimizer) for name, value in given), strict=True)
        self.cycle_momentum, self.use_beta1 = cycle_momentum, "betas" in optimizer.defaults
        if cycle_momentum and not self.use_beta1 and "momentum" not in optimizer.defaults:
            raise ValueError(f"OneCycleLR: {type(optimizer).__name__} has neither momentum nor betas; "
                             "pass cycle_momentum=False")
        if last_epoch == -1:
            for group, (highest, most, least) in zip(optimizer.param_groups, values, strict=True):
                initial = highest / div_factor
                group.update(initial_lr=initial, max_lr=highest, min_lr=initial / final_div_factor)
                if cycle_momentum:
                    group.update(max_momentum=most, base_momentum=least)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates at last_epoch; sets the momentum too."""
        t, ends = self.last_epoch, [phase[0] for phase in self.phases]
        if t > self.total_steps:
            raise ValueError(f"OneCycleLR: step {t} is beyond total_steps = {self.total_steps}")
        i = min(bisect_left(ends, t), len(ends) - 1)  # the first phase that has not ended
        begin, (end, *names) = ends[i - 1] if i else 0.0, self.phases[i]
        progress = (t - begin) / (end - begin) if end > begin else 1.0
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._between(group[names[0]], group[names[1]], progress))
            if self.cycle_momentum:
                momentum = self._between(group[names[2]], group[names[3]], progress)
                group.update({"betas": (momentum, *group["betas"][1:])} if self.use_beta1 else {"momentum": momentum})
        return rates

    def _between(self, start: float, end: float, progress: float) -> float:
        if self.anneal_strategy == "linear":
            return (end - start) * progress + start
        return end + (start - end) / 2 * (1 + math.cos(math.pi * progress))
