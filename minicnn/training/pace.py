"""How many threads a step is worth, measured: results do not depend on it, so it may change at any step."""

import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .. import backend

__all__ = ["Pace"]

RECENT = 3  # steps; their median does not mind one that compiles or is disturbed
SHARE = 0.05  # of the time may go into trying what is slower
ADVANCE = 1.0  # seconds that one thread's first trial may take before any time is saved for it


class Pace:
    """Makes steps with all threads or with one alone, whichever was faster of late.

    A kernel waits for all of its threads. On a machine that is busy with other work one of them is always late, and two
    threads take many times as long as one. Since load comes and goes, the slower choice is tried again and again: as
    soon as the time that a step of it takes is no more than its share of the time since the last trial.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.most = backend.get_num_threads()
        self.recent: dict[int, deque[float]] = {threads: deque(maxlen=RECENT) for threads in (self.most, 1)}
        self.saved = 0.0  # seconds for the next trial

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around a training step, which is made with the threads that it is worth."""
        faster, slower = sorted((self.most, 1), key=self._expected)
        affordable = self.saved if self.recent[1] else self.saved + ADVANCE
        threads = slower if affordable > self._expected(slower) else faster
        backend.set_num_threads(threads)
        start = self.clock()
        yield
        seconds = self.clock() - start
        self.recent[threads].append(seconds)
        self.saved += SHARE * seconds if threads == faster else -seconds
        backend.set_num_threads(min((self.most, 1), key=self._expected))  # for what comes between two steps

    def end(self) -> None:
        """Give the threads back."""
        backend.set_num_threads(self.most)

    def _expected(self, threads: int) -> float:
        """Seconds of a step; of one thread, before it was tried, the most that is possible."""
        if self.recent[threads]:
            return statistics.median(self.recent[threads])
        return 0.0 if threads == self.most else self.most * self._expected(self.most) or math.inf
