"""The machine that runs CUDA kernels on the CPU: what it computes, and that it names every mistake with its line."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minicnn.kernels.cuda.emulator import CudaError, Library, library, thread_order

FILE = Path(__file__).parent / "cuda" / "mistakes.cu"
ORDERS = pytest.mark.parametrize("seed", [0, 1, 2, 3])


@pytest.fixture(scope="module")
def kernels() -> Library:
    return Library(FILE)


def line_of(text: str, nth: int = 0) -> str:
    """mistakes.cu:N of the line that contains a text."""
    numbers = [number for number, line in enumerate(FILE.read_text().split("\n"), 1) if text in line]
    return f"mistakes.cu:{numbers[nth]}:" if nth == 0 else f"mistakes.cu:{numbers[nth]}"


def floats(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.float32)


# -- what it computes -------------------------------------------------------------------------------------------------

@ORDERS
def test_threads_know_their_place(kernels, seed):
    y = np.zeros(2 * 3 * 2 * 4 * 2 * 3, np.int32)
    with thread_order(seed):
        kernels.launch("places", (2, 3, 2), (4, 2, 3), [y])
    block, thread = np.divmod(np.arange(y.size), 24)
    assert (y == block * 1000 + thread).all()


@ORDERS
def test_shuffles(kernels, seed):
    x, y = np.arange(64, dtype=np.int32) ** 2, np.zeros((4, 64), np.int32)
    with thread_order(seed):
        kernels.launch("shuffles", (1,), (64,), [x, y])
    lane, warp = np.arange(64) % 32, np.arange(64) // 32 * 32
    sources = 5, np.where(lane < 3, lane, lane - 3), np.where(lane > 28, lane, lane + 3), lane ^ 6
    for row, source in zip(y, sources):
        assert (row == x[warp + source]).all()


@ORDERS
def test_barriers_of_a_warp(kernels, seed):
    y = np.zeros(32, np.float32)
    with thread_order(seed):
        kernels.launch("turns_a_warp", (1,), (32,), [y])
    assert (y == 31 - np.arange(32)).all()


def test_orders_differ_and_are_complete(kernels):
    turns = []
    for seed in (0, 1, 2):
        turn, counter = np.zeros(96, np.int32), np.zeros(5, np.int32)
        with thread_order(seed):
            kernels.launch("notes_its_turn", (3,), (32,), [turn, counter])
        assert counter.tolist() == [96, 31, -31, 7, 5] and sorted(turn) == list(range(96))
        turns.append(turn)
    assert (turns[0] == np.arange(96)).all() and (turns[1] != turns[2]).any()


def test_structs_are_passed_by_value(kernels):
    y = np.zeros(5, np.int32)
    kernels.launch("line", (1,), (5,), [y, np.array((7, -2), [("offset", np.int32), ("step", np.int32)])])
    assert y.tolist() == [7, 5, 3, 1, -1]


# -- mistakes ---------------------------------------------------------------------------------------------------------

def mistake(kernels: Library, name: str, block: int, *arguments, grid: int = 1) -> str:
    with pytest.raises(CudaError) as error:
        kernels.launch(name, (grid,), (block,), arguments)
    assert str(error.value).startswith(f"{name}: ")
    return str(error.value)


@ORDERS
def test_barriers_that_not_all_threads_reach(kernels, seed):
    with thread_order(seed):
        message = mistake(kernels, "leaves_before_the_barrier", 32, floats(32))
        assert line_of("__syncthreads()") in message
        assert "barrier divergence" in message and "thread (3,0,0) of block (0,0,0) has left the kernel" in message
        message = mistake(kernels, "waits_at_two_barriers", 32, floats(32))
        assert all(line_of("__syncthreads()", i).rstrip(":") in message for i in (1, 2))
        message = mistake(kernels, "half_a_warp_shuffles", 32, floats(32))
        assert line_of("__shfl_xor_sync(0xffffffff, 1") in message and "waits for a warp" in message


@ORDERS
def test_addresses_outside_of_every_array(kernels, seed):
    with thread_order(seed):
        x, y = floats(64)[-8:], floats(64)[:8]  # the argument that is nearest is named: nothing is near the end of y
        message = mistake(kernels, "copies", 8, x, y, np.int32(3))
        assert re.search(r"thread \([567],0,0\) .* writes 4 bytes at index (8|9|10) of argument y, which", message)
        assert line_of("void copies") in message
        message = mistake(kernels, "copies", 1, floats(8), floats(8), np.int32(-1))
        assert "index -1 of argument y" in message
        message = mistake(kernels, "copies", 9, floats(8), floats(10), np.int32(0))
        assert "reads 4 bytes at index 8 of argument x, which has 8 elements" in message
        assert "which belongs to no argument" in mistake(kernels, "copies", 8, None, floats(8), np.int32(0))


@ORDERS
def test_races(kernels, seed):
    with thread_order(seed):
        message = mistake(kernels, "shifts_in_place", 32, floats(33))
        assert all(part in message for part in ("race: thread", "no barrier stands between", "argument x"))
        assert message.count(line_of("void shifts_in_place").rstrip(":")) == 2
        assert "no barrier" in mistake(kernels, "all_write_one", 2, floats(1))
        assert "nothing orders the blocks" in mistake(kernels, "all_write_one", 1, floats(1), grid=2)
        kernels.launch("all_add_to_one", (4,), (64,), [y := np.zeros(1, np.float32)])
        assert y == 256


@ORDERS
def test_a_forgotten_barrier_of_a_warp(seed):
    with thread_order(seed):
        message = mistake(Library(FILE, ("-std=c++17", "-DFORGOTTEN")), "turns_a_warp", 32, floats(32))
    assert "shared memory" in message and "no barrier stands between" in message


def test_shared_memory_that_nobody_wrote(kernels):
    for _ in range(2):  # what a block before has left there does not count
        message = mistake(kernels, "reads_unwritten_shared_memory", 32, floats(32))
        assert "thread (31,0,0)" in message and line_of("values[threadIdx.x + 1]") in message


def test_the_machine_goes_on_after_a_mistake(kernels):
    for _ in range(3):
        mistake(kernels, "leaves_before_the_barrier", 64, floats(64))
        test_threads_know_their_place(kernels, 1)
        test_shuffles(kernels, 1)


def test_structs_of_pointers(kernels):
    """Null where there are no more arrays; each array has bounds of its own."""
    vectors = floats(4), floats(5)
    kernels.launch("fills", (1,), (4,), [vectors])
    assert [v.tolist() for v in vectors] == [[0] * 4, [1, 1, 1, 1, vectors[1][4]]]
    message = mistake(kernels, "fills", 5, vectors)
    assert "writes 4 bytes at index 4 of argument vectors, which has 4 elements" in message
    with pytest.raises(CudaError, match="argument vectors is 4 arrays, but the kernel takes a value of 24 bytes"):
        kernels.launch("fills", (1,), (1,), [vectors * 2])
    with pytest.raises(CudaError, match="argument vectors is an array that is not contiguous"):
        kernels.launch("fills", (1,), (1,), [(floats(4)[::2],)])


def test_wrong_arguments(kernels):
    with pytest.raises(CudaError, match="there is no kernel copy; there are .* copies, "):
        kernels.launch("copy", (1,), (1,), [])
    with pytest.raises(CudaError, match=r"copies takes 3 arguments \(x, y, shift\), not 1"):
        kernels.launch("copies", (1,), (1,), [floats(1)])
    with pytest.raises(CudaError, match="argument y is an array of float64, but .* pointer to elements of 4 bytes"):
        kernels.launch("copies", (1,), (1,), [floats(1), np.zeros(1), np.int32(0)])
    with pytest.raises(CudaError, match="argument shift is .* of 8 bytes, but the kernel takes a value of 4 bytes"):
        kernels.launch("copies", (1,), (1,), [floats(1), floats(1), np.int64(0)])
    with pytest.raises(CudaError, match="argument shift is None"):
        kernels.launch("copies", (1,), (1,), [floats(1), floats(1), None])
    with pytest.raises(CudaError, match="argument x is an array that is not contiguous"):
        kernels.launch("copies", (1,), (1,), [floats(4)[::2], floats(1), np.int32(0)])
    with pytest.raises(CudaError, match="a block has 1 to 1024 threads, not 32×33"):
        kernels.launch("copies", (1,), (32, 33), [floats(1), floats(1), np.int32(0)])
    with pytest.raises(CudaError, match="a grid has 1 to .* not 1×70000"):
        kernels.launch("copies", (1, 70000), (1,), [floats(1), floats(1), np.int32(0)])


# -- compiling --------------------------------------------------------------------------------------------------------

def test_source_that_is_wrong():
    with pytest.raises(CudaError, match="(?s)g\\+\\+ does not compile this.*wrong.cu:2:.*undeclared"):
        Library(FILE.with_name("wrong.cu"))


def test_libraries_are_kept_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = Library(FILE)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert len(files) == 2 and first._path in files  # the library, and the machine that is linked into all of them
    Library(FILE)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == files
    Library(FILE, ("-std=c++17", "-DFORGOTTEN"))
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 3


def test_without_a_compiler_it_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(library.shutil, "which", lambda name: None)
    library._compiler.cache_clear()
    try:
        with pytest.raises(CudaError, match="needs g\\+\\+ and binutils"):
            Library(FILE)
    finally:
        library._compiler.cache_clear()


def test_the_readme_shows_what_a_learner_sees(tmp_path):
    """The example of the emulator's README runs, and prints what stands there."""
    readme = Path(library.__file__).with_name("README.md")
    if not readme.exists():
        pytest.skip("an installed copy has no README")
    source, code, output = re.findall(r"```\w*\n(.*?)```", readme.read_text(), re.DOTALL)
    (tmp_path / "add.cu").write_text(source)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
                         env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert out.stderr.strip().split("\n")[-1].endswith(output.strip())
