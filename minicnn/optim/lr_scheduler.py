"""Schedules of the learning rate.

Each call of step() makes the next rate of every parameter group from its present one, so that schedules can be
chained: two of them on one optimiser multiply. following() is the formula for that.
"""

import inspect
import math
import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .optimizer import Optimizer

__all__ = ["ConstantLR", "CosineAnnealingLR", "ExponentialLR", "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR",
           "OneCycleLR", "SequentialLR", "StepLR"]


class LRScheduler:
    """Base class of schedules; a subclass defines get_lr() or following().

    last_epoch is the number of step() calls so far; constructing the schedule with −1 sets the first rate. With another
    last_epoch it goes on from there, and every group of the optimiser must have its "initial_lr".
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        _need_optimizer(self, optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(f"{type(self).__name__}: group {i} has no 'initial_lr', which last_epoch = {last_epoch} "
                               "needs; load the optimiser's state first")
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.start()

    def start(self) -> None:
        """Set the first rates."""
        self._step_count, self._is_initial = 0, True
        self.step()
        self._is_initial = False

    def get_lr(self) -> list[float]:
        """The rates at last_epoch, one per group, from the present ones."""
        groups = self.optimizer.param_groups
        return [self.following(group["lr"], base) for group, base in zip(groups, self.base_lrs, strict=True)]

    def following(self, lr: float, base_lr: float) -> float:
        """The rate at last_epoch, where lr is the rate before and base_lr the initial one."""
        raise NotImplementedError(f"{type(self).__name__} has neither get_lr() nor following()")

    def get_last_lr(self) -> list[float]:
        """The present rates, one per group."""
        return self._last_lr

    def step(self) -> None:
        """Go on to the next rates; call it after the optimiser's step()."""
        if self._step_count == 1 and self.optimizer.steps == 0:
            warnings.warn("lr_scheduler.step() was called before optimizer.step(), which skips the first learning "
                          "rate; call them in the opposite order", stacklevel=2)
        self._step_count += 1
        self.last_epoch += 1
        self._set(self.get_lr())

    def restart(self) -> None:
        """Begin anew from the initial rates, when its turn comes in a sequence."""
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base
        self.last_epoch = -1
        self.start()

    def undo(self) -> None:
        """Take back the step of the constructor, before a sequence starts it."""
        self.last_epoch -= 1

    def _set(self, rates: list[float]) -> None:
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = lr
        self._last_lr = rates

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on, save the optimiser, whose own state is to be kept too."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from where state_dict was taken."""
        self.__dict__.update(state_dict)


def _need_optimizer(scheduler: LRScheduler, optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(scheduler).__name__}: {type(optimizer).__name__} is not an Optimizer")


def _per_group(scheduler: LRScheduler, name: str, value: Any, optimizer: Optimizer) -> list:
    """A list with one value per group, from one value or a list of that length."""
    _need_optimizer(scheduler, optimizer)
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * groups
    if len(value) != groups:
        raise ValueError(f"{type(scheduler).__name__}: {name} has {len(value)} values for {groups} parameter groups")
    return list(value)


def _fraction(scheduler: LRScheduler, name: str, value: float, zero: bool = True) -> float:
    if not 0 <= value <= 1 or value == 0 and not zero:
        least = "at least" if zero else "above"
        raise ValueError(f"{type(scheduler).__name__}: {name} = {value!r} must be {least} 0 and at most 1")
    return value


class LambdaLR(LRScheduler):
    """The initial rate times lr_lambda(last_epoch); lr_lambda is a function, or a list of one per group."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
                 last_epoch: int = -1) -> None:
        self.lr_lambdas = _per_group(self, "lr_lambda", lr_lambda, optimizer)
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
    """The rate times gamma every step_size steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def following(self, lr: float, base_lr: float) -> float:
        """lr·gamma at multiples of step_size."""
        return lr * self.gamma if self.last_epoch and self.last_epoch % self.step_size == 0 else lr


class MultiStepLR(LRScheduler):
    """The rate times gamma at each of the milestones; one that is listed twice counts twice."""

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1,
                 last_epoch: int = -1) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def following(self, lr: float, base_lr: float) -> float:
        """lr·gamma at milestones."""
        times = self.milestones.count(self.last_epoch)
        return lr * self.gamma ** times if times else lr


class ConstantLR(LRScheduler):
    """The rate times factor for total_iters steps, then the rate itself."""

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5, last_epoch: int = -1) -> None:
        self.factor, self.total_iters = _fraction(self, "factor", factor), total_iters
        super().__init__(optimizer, last_epoch)

    def following(self, lr: float, base_lr: float) -> float:
        """lr·factor at the start, lr/factor at total_iters."""
        if self.last_epoch == 0:
            return lr * self.factor
        return lr * (1 / self.factor) if self.last_epoch == self.total_iters else lr


class LinearLR(LRScheduler):
    """Warm-up: the rate times a factor that goes straight from start_factor to end_factor in total_iters steps."""

    def __init__(self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5,
                 last_epoch: int = -1) -> None:
        self.start_factor = _fraction(self, "start_factor", start_factor, zero=False)
        self.end_factor, self.total_iters = _fraction(self, "end_factor", end_factor), total_iters
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
    """The rate times gamma in every step."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def following(self, lr: float, base_lr: float) -> float:
        """lr·gamma."""
        return lr if self._is_initial else lr * self.gamma


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the initial rate down to eta_min in T_max steps, and up again. Loshchilov & Hutter 2017."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def following(self, lr: float, base_lr: float) -> float:
        """lr's distance from eta_min times the quotient of this height of the cosine and the one before."""
        if self._is_initial:
            return lr
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:  # the height before is 0, the quotient undefined
            return lr + (base_lr - self.eta_min) * (1 - math.cos(math.pi / self.T_max)) / 2
        return (lr - self.eta_min) * self._height(self.last_epoch) / self._height(self.last_epoch - 1) + self.eta_min

    def _height(self, epoch: int) -> float:
        return 1 + math.cos(math.pi * epoch / self.T_max)


class OneCycleLR(LRScheduler):
    """One rise to max_lr and one long fall, a step per batch, with momentum going the other way. Smith & Topin 2018.

    From max_lr/div_factor up in the fraction pct_start of total_steps (or epochs·steps_per_epoch), then down to that
    over final_div_factor, along a cosine or straight ("linear"). three_phase falls to the initial rate in as many steps
    as it rose, and to the last in the rest. momentum, or beta₁, goes from max_momentum to base_momentum and back if
    cycle_momentum. It sets the rate outright and cannot be chained.
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
        self.total_steps, self.anneal_strategy = total_steps, anneal_strategy
        peak = _fraction(self, "pct_start", pct_start) * total_steps
        # (last step, rate from, rate to, momentum from, momentum to), by the names the group has them under
        self.phases = [(peak - 1, "initial_lr", "max_lr", "max_momentum", "base_momentum"),
                       (total_steps - 1, "max_lr", "min_lr", "base_momentum", "max_momentum")]
        if three_phase:
            self.phases[1:] = [(2 * peak - 2, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
                               (total_steps - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum")]
        given = (("max_lr", max_lr), ("max_momentum", max_momentum), ("base_momentum", base_momentum))
        values = zip(*(_per_group(self, name, value, optimizer) for name, value in given), strict=True)
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


class SequentialLR(LRScheduler):
    """Schedules one after the other: the next one starts, at its step 0, at each of the milestones."""

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int],
                 last_epoch: int = -1) -> None:
        _need_optimizer(self, optimizer)
        if not schedulers or len(milestones) != len(schedulers) - 1:
            raise ValueError(f"SequentialLR: {len(schedulers)} schedulers need {len(schedulers) - 1} milestones, "
                             f"got {len(milestones)}")
        for i, scheduler in enumerate(schedulers):
            if scheduler.optimizer is not optimizer:
                raise ValueError(f"SequentialLR: scheduler {i} ({type(scheduler).__name__}) belongs to another "
                                 "optimiser")
        self.optimizer, self._schedulers, self._milestones = optimizer, list(schedulers), list(milestones)
        self.last_epoch = last_epoch + 1
        for group in optimizer.param_groups:  # each scheduler has set its own first rate when it was made
            group["lr"] = group["initial_lr"]
        self.undo()
        self.start()

    def start(self) -> None:
        """Set the first rates."""
        self._running(0).start()
        self._last_lr = self._running(0).get_last_lr()

    def step(self) -> None:
        """Go on to the next rates, those of the schedule whose turn it is."""
        self.last_epoch += 1
        scheduler = self._running(self.last_epoch)
        if self.last_epoch in self._milestones:
            scheduler.restart()
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()

    def restart(self) -> None:
        """Begin with the first schedule."""
        self.last_epoch = 0
        self._running(0).restart()
        self._last_lr = self._running(0).get_last_lr()

    def undo(self) -> None:
        """Take back the step of the constructor of the first schedule."""
        self._running(0).undo()

    def _running(self, epoch: int) -> LRScheduler:
        return self._schedulers[bisect_right(self._milestones, epoch)]

    def state_dict(self) -> dict[str, Any]:
        """The states of all schedules, and which one is running."""
        return {**super().state_dict(), "_schedulers": [scheduler.state_dict() for scheduler in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from where state_dict was taken."""
        super().load_state_dict({**state_dict, "_schedulers": self._schedulers})
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)
