"""What the processor can do, measured: the two roofs under which every kernel runs, and what it is called."""

import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numba import carray

from ..backend import get_num_threads
from ..kernels.cpu.jobs import Plan, run, with_kernels
from ..kernels.cpu.microkernel import BITS, ROWS, lanes, shifted, vectors
from ..kernels.cpu.threads import call

STEPS = 128  # of the products: the operands stay in the first-level cache
JOBS = 16  # for each thread
LENGTH = 1 << 22  # elements of an array that the memory has to deliver: 16 MB, as what is between layers
BLOCK = 1 << 16  # elements that one job moves


def describe() -> dict[str, Any]:
    """What figures were measured on, ``peaks`` included."""
    return {"cpu": _name(), "cores": os.cpu_count(), "threads": get_num_threads(), "vector_bits": BITS,
            "system": platform.platform(), "blas": _blas(), "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE"),
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("numpy", "numba", "torch") if find_spec(name)}, **peaks()}


def _name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def built_with() -> str:
    """The BLAS that NumPy was built with."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{blas['name']} {blas['version']}"


def _blas() -> list[str]:
    """NumPy's BLAS and, if threadpoolctl is there to tell, the kernels that it chose."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return [built_with()]
    return [f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')}" for pool in threadpool_info()
            if pool["user_api"] == "blas"]


# -- peaks ----------------------------------------------------------------------------------------------------------


def peaks() -> dict[str, float]:
    """Operations and bytes per second, on as many threads as kernels have.

    Operations are those of the micro-kernel of ``kernels.cpu`` on operands in the first-level cache, in float32; bytes
    those of c = a + 3·b on arrays of 16 MB, each counted once.
    """
    return {"flops_per_second": _products(), "bytes_per_second": _traffic()}


def _tiles(job, thread, plan, tables, a, b, c, _d, _e, _f):
    plan = carray(plan, 1)[0]
    for _ in range(plan.repeats):
        target = shifted(c, job * plan.rows * plan.width)
        call(plan.tile, (plan.rows, plan.vectors, plan.lanes, plan.steps, tables, a, plan.rows, 0, b, plan.width, 0,
                         plan.lanes, target, plan.width, plan.lanes, target, plan.width, plan.lanes))


def _products() -> float:
    jobs, repeats, lane = JOBS * get_num_threads(), 500, lanes(4)
    width = vectors(ROWS) * lane
    plan = Plan([np.zeros(STEPS, np.int64)], rows=ROWS, vectors=vectors(ROWS), lanes=lane, steps=STEPS, width=width,
                repeats=repeats, tile=0)
    with_kernels(plan, np.dtype(np.float32))
    a, b = np.ones(STEPS * ROWS, np.float32), np.ones(STEPS * width, np.float32)
    c = np.zeros(jobs * ROWS * width, np.float32)
    return 2 * STEPS * ROWS * width * repeats * jobs / _best(lambda: run(_tiles, jobs, plan, a, b, c))


def _triad(job, thread, plan, tables, a, b, c, _d, _e, _f):
    count = carray(plan, 1)[0].block
    left, right = carray(shifted(a, job * count), count), carray(shifted(b, job * count), count)
    out = carray(shifted(c, job * count), count)
    for i in range(count):
        out[i] = left[i] + 3 * right[i]


def _traffic() -> float:
    plan = Plan([], block=BLOCK)
    a, b, c = (np.ones(LENGTH, np.float32) for _ in range(3))
    return 3 * 4 * LENGTH / _best(lambda: run(_triad, LENGTH // BLOCK, plan, a, b, c))


def _best(work: Callable[[], Any]) -> float:
    """Seconds of the fastest call within a while: what the machine can do, not what it does beside other work."""
    work()
    times: list[float] = []
    while sum(times) < 0.3 or len(times) < 7:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
