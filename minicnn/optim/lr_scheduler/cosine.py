"""Schedules along a cosine."""

import math
from numbers import Real

from ..optimizer import Optimizer
from .scheduler import LRScheduler, above_zero

__all__ = ["CosineAnnealingLR", "CosineAnnealingWarmRestarts"]


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the initial rate down to eta_min in T_max steps, and up again. Loshchilov & Hutter 2017.

    lr[t] = eta_min + (lr[0] − eta_min)·(1 + cos(π·t/T_max))/2.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = above_zero(self, "T_max", T_max), eta_min
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


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine from the initial rate down to eta_min in T_0 steps, then the same in T_0·T_mult steps, and so on.

    lr = eta_min + (lr[0] − eta_min)·(1 + cos(π·T_cur/T_i))/2 after T_cur of T_i steps. It sets the rate outright and
    cannot be chained. Loshchilov & Hutter 2017.
    """

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0,
                 last_epoch: int = -1) -> None:
        for name, value in (("T_0", T_0), ("T_mult", T_mult)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"CosineAnnealingWarmRestarts: {name} = {value!r} must be an integer of at least 1")
        if not isinstance(eta_min, Real):
            raise ValueError(f"CosineAnnealingWarmRestarts: eta_min = {eta_min!r} must be a number")
        self.T_0: int = T_0
        self.T_mult: int = T_mult
        self.eta_min: float = eta_min
        self.T_cur: float = last_epoch  # steps since the last restart
        self.T_i: int = T_0  # steps from that to the next
        super().__init__(optimizer, last_epoch)

    def following(self, lr: float, base_lr: float) -> float:
        """The height of the cosine after T_cur of T_i steps."""
        return self.eta_min + (base_lr - self.eta_min) * (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2

    def step(self, epoch: float | None = None) -> None:
        """Go on to the next rates, or to those of an epoch, which may be a fraction: epoch + batch/batches."""
        if epoch is None and self.last_epoch >= 0:
            epoch, self.T_cur = self.last_epoch + 1, self.T_cur + 1
        else:
            epoch = 0 if epoch is None else epoch
            if epoch < 0:
                raise ValueError(f"CosineAnnealingWarmRestarts: epoch = {epoch} must be at least 0")
            self.T_cur, self.T_i = epoch, self.T_0
        while self.T_cur >= self.T_i:
            self.T_cur, self.T_i = self.T_cur - self.T_i, self.T_i * self.T_mult
        self.last_epoch = math.floor(epoch)
        self._set(self.get_lr())
