"""Timing cases in processes that take turns.

Every library has a process of its own, all of them wait while one works. Each round every library repeats the case for
a while; its figure is the median call. The ratio is taken round by round, as what else the machine does is alike within
one, and the median ratio is what counts. Before anything is timed the libraries must agree on the results.

Networks are compared twice, as rounding moves a few values to the other side of a ReLU, which changes gradients of a
deep network at once: PyTorch and the plain reference differ by 0.002 in AlexNet. Winograd's convolution rounds more, so
the tolerance as they are timed is wide. Hence they must also agree, within less, with every convolution computed
directly; a process of its own does that, so that it does not count as memory of the one that is timed.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .cases import Work, case, is_network

__all__ = ["Plan", "Row", "Worker", "environment", "libraries", "measure"]

# Largest difference of a result, relative to its norm. Seen in networks: up to 0.023, computed directly 0.020.
AGREE = {"kernel": 1e-4, "network": 0.1, "network, direct": 0.05}


def environment(**variables: str) -> dict[str, str]:
    """That of a process which finds this copy of minicnn, whatever folder it runs in."""
    path = filter(None, [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH")])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), **variables}


class Worker:
    """A process that runs one library; see ``worker``."""

    def __init__(self, library: str, threads: int) -> None:
        self.library = library
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker", library, str(threads)], text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env=environment(OMP_NUM_THREADS=str(threads), NUMBA_NUM_THREADS=str(threads)),
            start_new_session=True)  # Ctrl-C is for the process that asks

    def ask(self, *request: Any) -> Any:
        """The answer to a request; raises RuntimeError if the process ends without one, having said why."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError(f"the process of {self.library} ended at {' '.join(map(str, request[:2]))}")
        return json.loads(answer)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is not None:  # nobody waits for an answer any more
            self._process.kill()
        self._process.__exit__(*error)  # closes its input, which ends it, and waits


@dataclass
class Row:
    """What was found about a case.

    Attributes:
        milliseconds: the median call of each library.
        ratios: PyTorch's time by ours of each round, from the smallest on; empty without PyTorch.
        memory: the most bytes that the process of each library had; of a network, else None.
        difference: the largest between results of ours and of another library, relative to the norm of the result.
        direct_difference: the same with every convolution of ours computed directly; of a network, else None.
    """

    case: str
    what: str
    work: Work
    milliseconds: dict[str, float]
    ratios: list[float] = field(default_factory=list)
    memory: dict[str, int] | None = None
    difference: float = 0.0
    direct_difference: float | None = None

    @property
    def ratio(self) -> float | None:
        """The median of the ratios."""
        return statistics.median(self.ratios) if self.ratios else None

    def as_json(self) -> dict[str, Any]:
        """With the names that the file of results has."""
        return {"case": self.case, "what": self.what, "ratio": self.ratio, "ratios": self.ratios,
                **{f"{library}_ms": ms for library, ms in self.milliseconds.items()}, **self.work._asdict(),
                "memory": self.memory, "difference": self.difference, "direct_difference": self.direct_difference}


@dataclass(frozen=True)
class Plan:
    """How to measure: rounds, seconds of each library in one (kernels take a third), threads, and the libraries."""

    rounds: int
    seconds: float
    threads: int
    libraries: tuple[str, ...]

    def workers(self, stack: ExitStack) -> dict[str, Worker]:
        """A fresh process for each library."""
        return {library: stack.enter_context(Worker(library, self.threads)) for library in self.libraries}


def libraries() -> tuple[str, ...]:
    """minicnn, PyTorch if it is installed, and the plain reference."""
    return ("minicnn", *["torch"] * (importlib.util.find_spec("torch") is not None), "reference")


def measure(names: Iterable[str], plan: Plan) -> Iterator[Row]:
    """A row for each case; networks get processes of their own, whose memory then is that of the network."""
    with ExitStack() as shared:
        workers: dict[str, Worker] = {}
        for name in names:
            if is_network(name):
                with ExitStack() as own:
                    yield _row(name, plan, plan.workers(own))
            else:
                workers = workers or plan.workers(shared)
                yield _row(name, plan, workers)


def _row(name: str, plan: Plan, workers: dict[str, Worker]) -> Row:
    with ExitStack() as stack:
        compared = dict(workers)
        if is_network(name):
            compared["minicnn-direct"] = stack.enter_context(Worker("minicnn-direct", plan.threads))
        first, differences = _agree(name, compared)
    timed = [library for library in workers if library != "reference"]  # that call was long enough
    seconds = plan.seconds if is_network(name) else plan.seconds / 3
    times: dict[str, list[float]] = {library: [] for library in timed}
    for _ in range(plan.rounds):
        for library in timed:
            times[library].append(statistics.median(workers[library].ask("time", seconds)))
    milliseconds = {library: 1e3 * statistics.median(values) for library, values in times.items()}
    if "reference" in workers:
        milliseconds["reference"] = 1e3 * first["reference"]
    ratios = sorted(t / m for m, t in zip(times["minicnn"], times["torch"])) if "torch" in times else []
    peaks = {library: workers[library].ask("memory") for library in timed} if is_network(name) else None
    return Row(name, case(name).what, Work(*workers["minicnn"].ask("work")), milliseconds, ratios, peaks,
               differences["minicnn"], differences.get("minicnn-direct"))


def _agree(name: str, workers: dict[str, Worker]) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of the first call of each library, and how far ours is from the others; RuntimeError if it is too far."""
    within = {"minicnn-direct": AGREE["network, direct"],
              "minicnn": AGREE["network" if is_network(name) else "kernel"]}
    differences: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = {library: f"{folder}/{library}.npz" for library in workers}
        seconds = {library: worker.ask("prepare", name, files[library]) for library, worker in workers.items()}
        for ours in [library for library in within if library in workers]:
            for theirs in [library for library in workers if library not in within]:
                apart = _difference(files[ours], files[theirs])
                if not apart < within[ours]:
                    raise RuntimeError(f"{name}: {ours} and {theirs} differ by {apart:.1e}")
                differences[ours] = max(differences.get(ours, 0.0), apart)
    return seconds, differences


def _difference(ours: str, theirs: str) -> float:
    """Of the most different result, relative to its norm, but at least to a thousandth of the largest norm.

    The gradient of a bias in front of batch norm is nothing but rounding errors.
    """
    with np.load(ours) as a, np.load(theirs) as b:
        pairs = [(a[name], b[name]) for name in a.files]
        if len(a.files) != len(b.files) or any(x.shape != y.shape for x, y in pairs):
            return np.inf
    norms = [float(np.linalg.norm(y)) for _, y in pairs]
    least = max(1e-3 * max(norms), 1e-30)
    return max(float(np.linalg.norm(x - y)) / max(norm, least) for (x, y), norm in zip(pairs, norms))
