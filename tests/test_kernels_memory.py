"""Memory of large arrays: kept when they die, never handed out while anything looks at it."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minicnn as mc
import minicnn.functional as F
from minicnn.backend import owner
from minicnn.kernels.cpu import jobs, memory


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch):
    monkeypatch.setattr(memory, "LARGE", 1 << 12)
    monkeypatch.setattr(memory, "_dead", {})


def blocks():
    gc.collect()
    return sum(map(len, memory._dead.values()))


def test_memory_is_taken_again_when_the_last_view_has_gone():
    a = memory.empty((40, 50), np.float32)
    assert a.shape == (40, 50) and a.dtype == np.float32 and a.flags.c_contiguous and a.flags.writeable
    place, view = a.ctypes.data, a[3:].reshape(-1)[::2]
    assert place % memory.HUGE == 0 and owner(view) is owner(a)
    del a
    assert blocks() == 0
    del view
    assert blocks() == 1
    other = memory.empty((1000, 2), "float64")  # of another size, but as many pages
    assert other.ctypes.data == place and blocks() == 0
    assert memory.empty((40, 50), np.float32).ctypes.data != place


def test_arrays_that_live_at_once_share_nothing():
    arrays = [memory.empty((2000,), np.float64) for _ in range(5)]
    for i, a in enumerate(arrays):
        a[:] = i
    assert [set(a) for a in arrays] == [{i} for i in range(5)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_process_writes_to_pages_of_its_own():
    program = ("import os, numpy as np; from minicnn.kernels.cpu import memory; a = memory.large_pages(64); a[:] = 1; "
               "pid = os.fork(); a[:] = 2 if pid == 0 else a; os._exit(0) if pid == 0 else os.waitpid(pid, 0); "
               "print(set(a.tolist()))")
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).parents[1]).stdout.strip() == "{1}"


def test_small_arrays_are_numpys():
    assert memory.empty((4,), np.float32).base is None


def test_no_more_is_kept_than_said(monkeypatch):
    monkeypatch.setattr(memory, "KEPT", 2 * memory.HUGE)
    del [memory.empty((2000,), np.float64) for _ in range(5)][:]
    assert blocks() == 2


def test_gradients_in_such_memory_are_taken_as_they_are():
    """One array per leaf, and no copy."""
    w, v = (mc.randn(100, 100, requires_grad=True) for _ in range(2))
    (mc.randn(100, 100) @ w).backward(mc.randn(100, 100))
    assert owner(w.grad.data).base is not None
    y = v.reshape(-1)
    gy = mc.randn(100 * 100)
    y.backward(gy)
    assert owner(v.grad.data) is not owner(gy.data)
    before = gy.numpy().copy()
    v.grad.mul_(2)
    np.testing.assert_array_equal(gy.numpy(), before)


def test_scratch_memory_of_any_number_of_sizes_is_that_of_the_largest():
    kept = jobs._kept.buffers
    for size in range(2 * jobs.BUFFERS, 0, -1):
        (buffer,) = jobs.scratch(np.dtype(np.float32), size)
        assert buffer.shape[1] >= size and np.shares_memory(buffer, jobs._kept.memory)
    assert jobs._kept.buffers is kept and len(kept) <= jobs.BUFFERS


@pytest.mark.parametrize("length", [10**14, 2**62, 2**70])
def test_too_much_is_a_memory_error(length):
    with pytest.raises(MemoryError, match=rf"[\d,]+ bytes for an array with shape \({length}, 3\) and data type"):
        memory.empty((length, 3), np.float32)
    with pytest.raises(MemoryError, match="Unable to allocate"):
        memory.large_pages(length)


@pytest.mark.parametrize("call", [
    lambda: F.conv2d(mc.ones(1, 1, 4, 4), mc.ones(1, 1, 3, 3), padding=10**7),
    lambda: F.conv_transpose1d(mc.ones(1, 1, 4), mc.ones(1, 1, 3), stride=10**13),
    lambda: F.unfold(mc.ones(1, 1, 4, 4), 3, padding=10**7), lambda: mc.ones(10**7, 1) @ mc.ones(1, 10**7),
    lambda: mc.ones(1).expand(10**14).relu(), lambda: mc.zeros(10**14), lambda: mc.ones(1).expand(10**14) + 1])
def test_too_large_results_are_memory_errors(call):
    with pytest.raises(MemoryError, match="shape .* and data type float32"):
        call()
