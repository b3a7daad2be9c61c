"""What all schedules share.

Each call of step() makes the next rate of every parameter group from its present one, so that schedules can be
chained: two of them on one optimiser multiply. following() is the formula for that.
"""

import warnings
from typing import Any

from ..optimizer import Optimizer

__all__ = ["LRScheduler"]


class LRScheduler:
    """Base class of schedules; a subclass defines get_lr() or following(). The names and numbers are PyTorch's.

    last_epoch is the number of step() calls so far; constructing the schedule with −1 sets the first rate. With another
    last_epoch it goes on from there, and every group of the optimiser must have its "initial_lr"; Raises KeyError where
    it has none, TypeError for what is no optimiser, ValueError for numbers out of range.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        need_optimizer(self, optimizer)
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


def need_optimizer(scheduler: LRScheduler, optimizer: Any) -> None:
    """Raise TypeError unless it is one."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(scheduler).__name__}: {type(optimizer).__name__} is not an Optimizer")


def per_group(scheduler: LRScheduler, name: str, value: Any, optimizer: Optimizer) -> list:
    """A list with one value per group, from one value or a list of that length."""
    need_optimizer(scheduler, optimizer)
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * groups
    if len(value) != groups:
        raise ValueError(f"{type(scheduler).__name__}: {name} has {len(value)} values for {groups} parameter groups")
    return list(value)


def fraction(scheduler: LRScheduler, name: str, value: float, zero: bool = True) -> float:
    """The number, after the check that it is 0 to 1; 0 itself may be forbidden."""
    if not 0 <= value <= 1 or value == 0 and not zero:
        least = "at least" if zero else "above"
        raise ValueError(f"{type(scheduler).__name__}: {name} = {value!r} must be {least} 0 and at most 1")
    return value


def above_zero(scheduler: LRScheduler, name: str, value: Any) -> Any:
    """The number, after the check that it is positive."""
    if not value > 0:
        raise ValueError(f"{type(scheduler).__name__}: {name} = {value!r} must be above 0")
    return value
