"""Schedules one after the other."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from ..optimizer import Optimizer
from .plateau import ReduceLROnPlateau
from .scheduler import LRScheduler, need_optimizer

__all__ = ["SequentialLR"]


class SequentialLR(LRScheduler):
    """Schedules one after the other: number i gives lr[t − milestones[i − 1]] up to milestones[i], then the next."""

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int],
                 last_epoch: int = -1) -> None:
        need_optimizer(self, optimizer)
        if not schedulers or len(milestones) != len(schedulers) - 1:
            raise ValueError(f"SequentialLR: {len(schedulers)} schedulers need {len(schedulers) - 1} milestones, "
                             f"got {len(milestones)}")
        if sorted(milestones) != list(milestones):
            raise ValueError(f"SequentialLR: milestones = {list(milestones)} must not fall")
        for i, scheduler in enumerate(schedulers):
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError(f"SequentialLR: scheduler {i} is ReduceLROnPlateau, whose step() needs a metric; step "
                                 "it by itself")
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
