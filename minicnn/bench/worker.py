"""One library in a process of its own: it reads requests from its input, a JSON list a line, and answers with JSON.

    ["prepare", CASE, FILE]   the results that must agree go to the file (.npz); how long that call took
    ["time", SECONDS]         the times of calls for so long, in seconds
    ["work"]                  operations and bytes, see ``cases.Work``
    ["memory"]                the most that the process has had, in bytes
    ["machine"]               what it runs on, see ``machine.describe``
    ["loader", SECONDS]       whether the loader keeps up with a training step, see ``reports.loader_times``

minicnn-direct is minicnn with every convolution computed directly, never by Winograd's algorithm. Two thread pools in
one process would disturb each other by a factor of ten: hence processes, and they take turns.
"""

import argparse
import importlib
import json
import resource
import sys
import time
from contextlib import ExitStack
from typing import Any

import numpy as np

from .cases import Case, Step, case

SAMPLE = 1 << 16  # elements of a larger result that are compared


class Server:
    """The answers, by the names of the requests."""

    def __init__(self, lib: Any) -> None:
        self.lib = lib
        self.case: Case | None = None
        self.step: Step | None = None

    def prepare(self, name: str, path: str) -> float:
        self.step = None  # so that its arrays are free
        self.case = case(name)
        agree, self.step = self.case.prepare(self.lib)
        start = time.perf_counter()
        found = agree()
        seconds = time.perf_counter() - start
        np.savez(path, *[_sample(t.detach().numpy()) for t in found])
        return seconds

    def time(self, seconds: float) -> list[float]:
        assert self.step is not None
        self.step()  # wakes the threads and warms the caches
        times: list[float] = []
        while sum(times) < seconds or len(times) < 2:
            start = time.perf_counter()
            self.step()
            times.append(time.perf_counter() - start)
        return times

    def work(self) -> tuple[int, int | None]:
        assert self.case is not None
        return self.case.work()

    def memory(self) -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    def machine(self) -> dict[str, Any]:
        from .machine import describe

        return describe()

    def loader(self, seconds: float) -> dict[str, float]:
        from .reports import loader_times

        return loader_times(seconds)


def _sample(values: np.ndarray) -> np.ndarray:
    """Elements at places drawn at random, the same in every process, which have every index of every axis among them.

    Places at a fixed distance would all be in one column if that is a multiple of the width.
    """
    if values.size <= SAMPLE:
        return values.copy()
    rng, size = np.random.default_rng(values.size), max(SAMPLE, *values.shape)
    return values[tuple(rng.permutation(np.arange(size) % length) for length in values.shape)]


def main() -> None:
    """Answer until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", choices=("minicnn", "minicnn-direct", "torch", "reference"))
    parser.add_argument("threads", type=int)
    args = parser.parse_args()
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    lib = importlib.import_module("torch" if args.library == "torch" else "minicnn")
    with ExitStack() as stack:
        if args.library == "reference":
            stack.enter_context(lib.use_kernels("reference"))
        else:
            lib.set_num_threads(args.threads)
        if args.library.startswith("minicnn"):
            from ..training.compiling import announce_compiling

            stack.enter_context(announce_compiling(lambda text: print(text, file=sys.stderr, flush=True)))
        if args.library == "minicnn-direct":
            stack.enter_context(lib.conv_algorithm("direct"))
        server = Server(lib)
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            print(json.dumps(getattr(server, name)(*arguments)), file=answers, flush=True)


if __name__ == "__main__":
    main()
