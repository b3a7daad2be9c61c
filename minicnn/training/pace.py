"""How many threads a step is worth, measured: results do not depend on it, so it may change at any step."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .. import backend

__all__ = ["Pace"]

TRIALS = 3  # steps with each number of threads; the median of three does not mind one that compiles


class Pace:
    """Tries all threads and one alone at the beginning of every epoch, and goes on with what was faster.

    A kernel waits for all of its threads. On a machine that is busy with other work one of them is always late, and two
    threads take many times as long as one.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.most = backend.get_num_threads()
        self.clock = clock
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Measure anew."""
        self.trials = [self.most, 1] * TRIALS if self.most > 1 else []
        self.seconds: dict[int, list[float]] = {self.most: [], 1: []}

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around a training step."""
        if not self.trials:
            yield
            return
        threads = self.trials.pop()
        backend.set_num_threads(threads)
        start = self.clock()
        yield
        self.seconds[threads].append(self.clock() - start)
        if not self.trials:
            backend.set_num_threads(min(self.seconds, key=lambda n: statistics.median(self.seconds[n])))

    def end(self) -> None:
        """Give the threads back."""
        backend.set_num_threads(self.most)
