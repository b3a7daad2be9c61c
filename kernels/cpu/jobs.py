"""Jobs: compiled functions called by their address, from one parallel loop that all of them share.

Numba compiles a function once more into every function that calls it, and into a parallel loop three times; for
kernels as long as a convolution that multiplies the time to compile by ten. A job therefore is a C function, compiled
once by itself,

    job(index, thread, plan, tables, six operands)        plan: a record of integers; tables: a vector of int64

and the loop below knows only its address. Jobs write to places of their own, so their order does not matter; the only
memory they share is the scratch buffer of their thread, which holds nothing from one job to the next.
"""

import threading
import zlib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numba
import numpy as np
from numba import carray, cfunc, types
from numba.extending import intrinsic

from ..contract import Array
from . import microkernel
from .memory import large_pages
from .support import SERIAL, part
from .threads import call, jobs_of, threaded

# All that is compiled into jobs from other files than their own, which numba's cache does not look at.
_LENDING = "jobs", "threads", "support", "microkernel", "gather", "plans", "winograd_tiles"
_SOURCES = zlib.crc32(b"".join(Path(__file__).with_name(f"{name}.py").read_bytes() for name in _LENDING))


@intrinsic
def pointer(typingctx, array, index):
    """&array[index] of a contiguous vector."""
    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.gep(data, [arguments[1]], source_etype=context.get_data_type(array.dtype))

    return types.CPointer(array.dtype)(array, types.intp), generate


@part
def fill(target, count, value):
    """count times value."""
    line = carray(target, count)
    for k in range(count):
        line[k] = value


@part
def rectify(target, count):
    """The count numbers at target, or 0 where they are not positive; NaN stays."""
    line = carray(target, count)
    for k in range(count):
        v = line[k]
        line[k] = 0 if v <= 0 else v


@cache
def compiled(function: Callable, signature):
    """The C function of this signature; its machine code is kept on disk."""
    # Numba's cache sees neither the vector width nor the other files: put them into the name.
    if "bit" not in function.__qualname__:
        function.__qualname__ += f"_{microkernel.BITS}bit_{_SOURCES:08x}"
    return cfunc(signature, cache=True)(function)


SMALL = 1 << 14  # elements that one thread has moved before another one is awake
BRIEF = 1 << 16  # cycles of work that are not worth waking one: it may sleep deeply


@partial(threaded, nogil=True)
def _all(thread, jobs, job, plan, tables, a, b, c, d, e, f):
    for index in jobs_of(thread, jobs):
        call(job, (index, thread[0], plan, tables, pointer(a, 0), pointer(b, 0), pointer(c, 0), pointer(d, 0),
                   pointer(e, 0), pointer(f, 0)))


def with_kernels(plan: "Plan", dtype: np.dtype) -> dict[str, int]:
    """Put the addresses of the micro-kernels for this type into a plan that names them; its numbers."""
    element = numba.from_dtype(dtype)
    for name in ("tile", "streams", "dots", "transpose"):
        if name in plan.numbers and not plan.record[name]:
            function, signature = getattr(microkernel, name), getattr(microkernel, f"{name}_signature")(element)
            plan.record[name] = compiled(function, signature).address
    return plan.numbers


class Plan:
    """What jobs need to know besides their operands: integers by name, and vectors of int64 laid end to end."""

    def __init__(self, tables: list[Array], **numbers: int):
        self.record = np.array([tuple(numbers.values())], [(name, np.int64) for name in numbers])
        self.tables = np.concatenate([np.zeros(0, np.int64), *map(np.ravel, tables)]).astype(np.int64)
        self.numbers, self.kind = numbers, types.CPointer(numba.from_dtype(self.record.dtype))
        self.addresses = self.record.ctypes.data, self.tables.ctypes.data
        self.jobs: dict[tuple[Callable, np.dtype], int] = {}  # addresses of the jobs that were run by this plan


def run(job: Callable, jobs: int, plan: Plan, *operands: Array, small: bool = False) -> None:
    """Call job(index, thread, …) for every index < jobs on numba's threads; up to six contiguous operands.

    Small work is done by the calling thread alone, without waking the others.
    """
    flat = [operand.reshape(-1) for operand in operands]
    flat += [flat[0]] * (6 - len(flat))
    dtype = flat[0].dtype
    address = plan.jobs.get((job, dtype))
    if address is None:
        elements = types.CPointer(numba.from_dtype(dtype))
        signature = types.void(types.intp, types.intp, plan.kind, types.CPointer(types.int64), *[elements] * 6)
        address = plan.jobs[job, dtype] = compiled(job, signature).address
    work = 0 if small or jobs == 1 else SERIAL  # too little for threads, or enough
    _all(work, jobs, address, *plan.addresses, *flat)


class _Kept(threading.local):
    """The scratch memory of a thread that calls kernels, and the buffers last cut from it."""

    def __init__(self) -> None:
        self.memory = np.empty(0, np.uint8)
        self.buffers: dict[tuple, list[Array]] = {}


_kept = _Kept()
BUFFERS = 4096  # that are remembered, at most: images of ever new sizes would fill the memory with them


def scratch(dtype: np.dtype, *sizes: int) -> list[Array]:
    """A (threads, size) buffer per size, uninitialised and kept for the next call: fresh memory is slow memory."""
    threads = numba.get_num_threads()
    buffers = _kept.buffers.get((dtype, threads, sizes))
    if buffers is None:
        lengths = [-(-size * dtype.itemsize // 64) * 64 for size in sizes]  # bytes, whole cache lines
        total = threads * sum(lengths) + 64
        if len(_kept.buffers) == BUFFERS:
            _kept.buffers.clear()
        if _kept.memory.size < total:
            _kept.memory = large_pages(total)
            _kept.buffers.clear()
        start, buffers = -_kept.memory.ctypes.data % 64, []
        for length in lengths:
            buffers.append(_kept.memory[start:start + threads * length].view(dtype).reshape(threads, -1))
            start += threads * length
        _kept.buffers[dtype, threads, sizes] = buffers
    return buffers
