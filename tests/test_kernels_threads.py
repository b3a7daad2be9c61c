"""Loops over jobs: who takes which, with and without threads, what is compiled, and what happens without memory."""

import gc
import importlib
import inspect
import pkgutil

import numpy as np
import pytest
from numba import njit, types
from numba.core import cgutils
from numba.core.dispatcher import Dispatcher
from numba.extending import intrinsic

import minicnn as mc
from minicnn.kernels import cpu
from minicnn.kernels.cpu import jobs, threads
from minicnn.kernels.cpu.support import SERIAL
from minicnn.kernels.cpu.threads import jobs_of, threaded


@threaded
def _sign(thread, owner, numbers):
    for job in jobs_of(thread, owner.size):
        owner[job] = thread[0]
        numbers[job] += job


@threaded
def _fill_memory(thread, size):
    np.ones(size)[0] = 1


@intrinsic
def _counted(typingctx, array):
    """Whether what is made of an array counts as a reference to its owner."""
    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0])
        return cgutils.is_not_null(builder, data.meminfo)

    return types.boolean(array), generate


@threaded
def _count(thread, a, b, slices):
    for job in jobs_of(thread, slices.size):
        slices[job] = _counted(a[job:]) + 2 * _counted(b[job])


@pytest.mark.parametrize("elements", [0, SERIAL])
def test_threads_count_no_references_to_the_same_array(elements):
    # The count would go from one core's cache to the other's for every slice: ten times the time for short rows.
    slices = np.full(4, 9)
    _count(elements, np.zeros(4), np.zeros((4, 5), np.float32), slices)
    assert slices.tolist() == [0] * 4


@pytest.mark.parametrize("threads, elements, owners", [
    (1, 0, [0] * 7), (1, SERIAL, [0] * 7), (2, 0, [0] * 7), (2, SERIAL - 1, [0] * 7), (2, SERIAL, [0] * 3 + [1] * 4)])
@pytest.mark.parametrize("jobs", [0, 1, 2, 7])
def test_every_job_is_done_once_by_one_thread(jobs, threads, elements, owners):
    expected = owners if jobs == 7 or elements < SERIAL or threads == 1 else [0, 1] if jobs == 2 else [1]
    before = mc.get_num_threads()
    try:
        mc.set_num_threads(threads)
        owner, numbers = np.full(jobs, -1), np.full(jobs, 0.5)
        _sign(elements, owner, numbers)
    finally:
        mc.set_num_threads(before)
    assert owner.tolist() == expected[:jobs] and numbers.tolist() == [0.5 + job for job in range(jobs)]


def test_a_loop_is_compiled_once_for_threads_and_without():
    for elements in (0, SERIAL):
        _sign(elements, np.zeros(3, np.int32), np.zeros(3, np.float32))
    signatures = inspect.getclosurevars(_sign).nonlocals["compiled"].signatures
    assert len([s for s in signatures if "float32" in str(s)]) == 1


@pytest.mark.parametrize("elements", [0, SERIAL])
def test_without_memory_a_kernel_says_so(elements):
    with pytest.raises(MemoryError, match="_fill_memory, a compiled kernel, found no memory to work in"):
        _fill_memory(elements, 1 << 55)


@pytest.mark.parametrize("collects", [True, False])
def test_garbage_waits_while_a_kernel_is_compiled(collects):
    seen = []

    @intrinsic
    def look(typingctx, x):
        seen.append(gc.isenabled())
        return x(x), lambda context, builder, signature, arguments: arguments[0]

    try:
        (gc.enable if collects else gc.disable)()
        njit(lambda x: look(x))(1)
        assert seen and not any(seen) and gc.isenabled() == collects
    finally:
        gc.enable()


@pytest.mark.parametrize("name", [found.name for found in pkgutil.iter_modules(cpu.__path__)])
def test_what_lends_code_to_a_cached_kernel_is_in_its_name(name):
    """Numba's cache looks at a kernel's own file only, and would load what was made of an older version of others."""
    module = importlib.import_module(f"{cpu.__name__}.{name}")
    lent = {(value.py_func if isinstance(value, Dispatcher) else value).__module__.rpartition(".")[2]
            for value in vars(module).values() if isinstance(value, Dispatcher | type(threads.call))}
    for user, lending in ((jobs.run, jobs._LENDING), (threads.threaded, threads._LENDING)):
        if any(value is user for value in vars(module).values()):
            assert lent <= {name, *lending}
