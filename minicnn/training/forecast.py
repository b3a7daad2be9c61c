"""What a run will cost, told by a few timed steps before it, or of large networks by a few images."""

import copy
import itertools
import statistics
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from ..backend import default_generator
from ..data import DataLoader
from ..engine import Tensor, no_grad
from ..explain.gradient import nodes_of
from ..explain.table import bytes_text
from ..explain.trace import memory
from .evaluation import inputs, like_weights, logits_of
from .pace import Pace
from .trainer import Trainer

__all__ = ["Forecast", "duration", "forecast"]

LONG = 3600.0  # seconds, from which on a run wants a yes
TRIAL = 2.0  # seconds that steps are timed for, at least
STEPS = 2, 10  # that are timed, at least and at most, after one that may compile
SLOW = 6.0  # seconds of a step or of a batch of validation, from which on it is worked out from
FEW = 8  # of its images
CALLS = 2, 5  # that are timed of anything else, at least and at most, the one that may compile included
BRIEF = 0.5  # seconds that those after it are timed for, at least
SLOTS = {"sgd": 0, "momentum": 1, "adam": 2, "adamw": 2}  # numbers that each optimiser keeps for a weight


@dataclass(frozen=True)
class Forecast:
    """The cost of a run.

    Attributes:
        memory: bytes of weights, their gradients and the optimiser, and of what a step keeps for its backward pass.
        epoch: seconds of an epoch, validation included.
        seconds: of all that is left of the run.
    """

    memory: int
    epoch: float
    seconds: float

    @property
    def long(self) -> bool:
        """Whether it takes hours."""
        return self.seconds >= LONG

    def __str__(self) -> str:
        times = f"{duration(self.epoch)} per epoch, {duration(self.seconds)} in all"
        return f"{times}; {bytes_text(self.memory)}B of memory"


def forecast(trainer: Trainer) -> Forecast:
    """Time some steps on a copy of the model, and a batch of validation; nothing of the run is changed by it.

    Raises:
        NonFiniteError: the loss or a gradient became NaN or infinite within these steps; those of a few images, from
            which the time of slow steps is worked out, are not looked at.
    """
    state = default_generator.state_dict()
    trial = Trainer(copy.deepcopy(trainer.model), trainer.recipe, trainer.train, trainer.val)
    pace = Pace()
    try:
        with np.errstate(all="ignore"):  # of what is not finite, Trainer tells more
            epoch = _step(trial, pace) * trainer.steps_per_epoch + _validation(trial)
            kept = _kept(trial)
    finally:
        pace.end()
        default_generator.load_state_dict(state)
    weights = sum(p.numel() * p.dtype.itemsize for p in trainer.parameters)
    done = trainer.progress.epoch - 1 + trainer.step_in_epoch / trainer.steps_per_epoch
    return Forecast(weights * (2 + SLOTS[trainer.recipe.opt]) + kept, epoch, epoch * (trainer.recipe.epochs - done))


def _step(trial: Trainer, pace: Pace) -> float:
    """Seconds of the fastest of a few steps, see ``_fastest``, and of the usual wait for its batches."""
    waits: list[float] = []
    steps: list[float] = []
    full = 0  # images of the first step; the last one of an epoch may have fewer, which tells nothing of the others
    trial.model.train()
    if trial.device.type == "cpu":
        with closing(trial.train.epoch(0)) as batches:
            x, y = next(batches)
        estimate = _from_few(x, y, lambda x, y: trial.learn(*like_weights(trial.model, x, y))) * trial.recipe.accum
        if estimate > SLOW:
            return estimate
    most = min(1 + STEPS[1], trial.recipe.epochs * trial.steps_per_epoch)
    with closing(_epochs(trial.train)) as batches:
        for _ in range(most):
            began = time.perf_counter()
            group = list(itertools.islice(batches, min(trial.recipe.accum, len(trial.train))))
            ready = time.perf_counter()
            with pace.step():
                trial.make_step(group)
            images = sum(len(y) for _, y in group)
            full = full or images
            if images == full:
                waits.append(ready - began)
                steps.append(time.perf_counter() - ready)
            if len(steps) > STEPS[0] and sum(steps[1:]) >= TRIAL:
                break
    return min(steps) + statistics.median(waits)


def _epochs(train: DataLoader) -> Generator[tuple[Tensor, Tensor]]:
    """The batches of one epoch after the other."""
    for number in itertools.count():
        with closing(train.epoch(number)) as batches:
            yield from batches


def _from_few(x: Tensor, y: Tensor, work: Callable[[Tensor, Tensor], object]) -> float:
    """Seconds that work takes on a batch, from FEW and twice as many of its images."""
    first = _fastest(lambda: work(x[:FEW], y[:FEW]))
    if len(y) <= FEW:
        return first
    more = min(2 * FEW, len(y))
    second = _fastest(lambda: work(x[:more], y[:more]))  # its kernels may be others, and compile anew
    return first + max(0.0, second - first) / (more - FEW) * (len(y) - FEW)


def _fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of a few calls: one that compiles, or that other work disturbs, is slower."""
    times: list[float] = []
    while len(times) < CALLS[0] or len(times) < CALLS[1] and sum(times[1:]) < BRIEF:
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def _kept(trial: Trainer) -> int:
    """Bytes that the graph of a batch holds for the backward pass, weights left out; by FEW of its images."""
    trial.model.train()
    with closing(trial.train.epoch(0)) as batches:
        x, y = next(batches)
    share = min(1.0, FEW / len(y))
    x, y = like_weights(trial.model, x[:FEW].clone(), y[:FEW])  # whose memory is no part of a larger one
    answer = logits_of(trial.model(*inputs(trial.model, x, y)))
    saved = [memory(t) for node in nodes_of(answer) for t in node.saved if t is not None]
    own = {id(memory(p)) for p in trial.parameters}
    kept = sum(array.nbytes for key, array in {id(array): array for array in saved}.items() if key not in own)
    return int(kept / share)


def _validation(trial: Trainer) -> float:
    """Seconds of a validation, by its first batch."""
    if trial.val is None or not len(trial.val):
        return 0.0
    trial.model.eval()

    def answer(x: Tensor, y: Tensor) -> None:
        x, y = like_weights(trial.model, x, y)
        trial.model(*inputs(trial.model, x, y))

    with closing(trial.val.epoch(0)) as batches, no_grad():
        x, y = next(batches)
        seconds = _from_few(x, y, answer)
        if seconds < SLOW:
            seconds = _fastest(lambda: answer(x, y))
        return seconds * len(trial.val)


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}" if seconds < 10 * length else f"{seconds / length:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
