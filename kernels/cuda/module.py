"""Compiles the .cu files of this folder and launches their kernels, on a GPU by CuPy or on the CPU by the emulator.

Which of the two follows from the arrays: CuPy's live on a GPU, NumPy's in main memory. CuPy is imported by whoever
made its arrays, never here.
"""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, lru_cache, wraps
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .. import reference
from ..contract import Array
from .emulator import Library

_HERE = Path(__file__).parent
_INCLUDE = re.compile(r'#include "(\w+\.cuh)"')
_tf32 = False
_rehearsing = False
REALS = {"float32": "float", "float64": "double", "float16": "Half", "bfloat16": "Bfloat16"}
INTEGERS = {"int64": "long long"}  # for the few kernels that know no fractions
THREADS = 256  # of a block, where a kernel does not say otherwise
BLOCKS = 4096  # of a grid whose threads take many elements each
TABLE = 64  # arrays of a Table
LARGEST = 2 ** 31 - THREADS * BLOCKS  # elements of an array: the last step of FOR_EACH stays an int


def allow_tf32(allowed: bool) -> None:
    """Let products of float32 round their factors to TF32, where the GPU has tensor cores for it; cuBLAS's too."""
    global _tf32
    _tf32 = allowed
    cupy = sys.modules.get("cupy")  # it has no public switch but an environment variable that it reads once
    if cupy is not None and cupy.cuda.is_available() and int(cupy.cuda.Device().compute_capability) >= 80:
        products = import_module("cupy._core._routines_linalg")
        products.set_compute_type(np.float32, products.COMPUTE_TYPE_TF32 if allowed else products.COMPUTE_TYPE_DEFAULT)


class Table(tuple):
    """Arrays whose addresses a kernel takes in a struct { T* at[64]; }, null where there are no more."""


def for_floats(kernel: Callable) -> Callable:
    """Send floating types to the kernel, other types to the reference; what either makes is on the same GPU."""
    plain = getattr(reference, kernel.__name__)

    @wraps(kernel)
    def choose(first: Any, *rest: Any, **named: Any) -> Any:
        like = first[0] if isinstance(first, tuple) else first
        chosen = kernel if like.dtype.name in REALS else plain
        with context(like):
            return chosen(first, *rest, **named)

    return choose


def context(x: Array) -> AbstractContextManager:
    """In which new arrays are where x is."""
    return nullcontext() if isinstance(x, np.ndarray) else x.device


def module_of(x: Array) -> Any:
    """numpy or cupy, whichever x is an array of."""
    return np if isinstance(x, np.ndarray) else sys.modules["cupy"]


def contiguous(x: Array) -> Array:
    """x in the order of its indices, without a copy where it is so already."""
    return module_of(x).ascontiguousarray(x)


def empty(shape: Sequence[int], like: Array) -> Array:
    """A new array of the type of another."""
    return module_of(like).empty(shape, like.dtype)


def wide_type(like: Array) -> type:
    """The type in which arrays of this type are added up: Wide of common.cuh."""
    return np.float64 if like.dtype == np.float64 else np.float32


def device_of(x: Array) -> int | None:
    """The number of the GPU that holds an array, None for main memory."""
    return None if isinstance(x, np.ndarray) else x.device.id


def on_device(x: np.ndarray, device: int | None) -> Array:
    """A copy of a NumPy array on a GPU, or itself for device None."""
    if device is None:
        return x
    cupy = sys.modules["cupy"]
    with cupy.cuda.Device(device):
        return cupy.asarray(x)


@contextmanager
def rehearsal() -> Iterator[None]:
    """Inside the block everything is computed as it is while a graph is recorded, but at once."""
    global _rehearsing
    before, _rehearsing = _rehearsing, True
    try:
        yield
    finally:
        _rehearsing = before


def is_recording() -> bool:
    """Whether what is launched on this thread's GPU now goes into a graph, to be run later; or is a rehearsal of it."""
    return _rehearsing or sys.modules["cupy"].cuda.get_current_stream().is_capturing()


def spread(count: int) -> tuple[int]:
    """The grid for a kernel that goes through count elements with FOR_EACH."""
    return (min(-(-count // THREADS), BLOCKS),)


def divisor(value: int) -> tuple[int, int, int]:
    """struct Divisor of common.cuh."""
    shift = (value - 1).bit_length()
    return value, 2 ** 32 * (2 ** shift - value) // value + 1, shift


def launch(file: str, kernel: str, grid: Sequence[int], block: Sequence[int], *arguments: Any) -> None:
    """Run a kernel on the device of its arrays; the first argument is an array or a Table of them, whose type is Real.

    A contiguous array is a pointer and None the null pointer; an integer is int and a float Wide, a tuple of integers a
    struct of ints. A grid without blocks is no work.
    """
    if not prod(grid):
        return
    arrays = [a for argument in arguments for a in (argument if isinstance(argument, Table) else (argument,))
              if hasattr(a, "dtype")]
    first, devices = arrays[0], {device_of(a) for a in arrays}
    if len(devices) > 1:
        names = sorted("cpu" if device is None else f"cuda:{device}" for device in devices)
        raise RuntimeError(f"{kernel}: arrays on {' and '.join(names)}; move one to the device of the other")
    for a in arrays:
        if a.size > LARGEST:
            raise ValueError(f"CUDA kernels count with 32 bits: an array of shape {a.shape} has more than {LARGEST} "
                             "elements; use smaller batches")
    real, emulated = (REALS | INTEGERS)[first.dtype.name], isinstance(first, np.ndarray)
    passed = tuple(_passed(argument, wide_type(first), emulated) for argument in arguments)
    if emulated:
        _emulated(file, real, _tf32).launch(kernel, grid, block, passed)
    else:
        _on_gpu(file, real, _tf32, first.device.id, kernel)(tuple(grid), tuple(block), passed)


def _passed(argument: Any, wide: type, emulated: bool) -> Any:
    if isinstance(argument, Table):  # the emulator makes its own struct, as it has to know the arrays
        return argument if emulated else _addresses(argument)
    if isinstance(argument, tuple):
        return _struct(argument)
    if isinstance(argument, int):
        return np.int32(argument)
    if isinstance(argument, float):
        return wide(argument)
    return argument


def _addresses(arrays: Table) -> Any:
    table = np.zeros((), [("at", np.uint64, TABLE)])
    table["at"][:len(arrays)] = [a.data.ptr for a in arrays]
    return table


@lru_cache(4096)
def _struct(numbers: tuple) -> np.ndarray:
    words = [number & 0xffffffff for number in _flat(numbers)]
    return np.array(tuple(words), [(f"f{i}", np.uint32) for i in range(len(words))])


def _flat(numbers: Any) -> Iterator[int]:
    for number in numbers:
        if isinstance(number, tuple):
            yield from _flat(number)
        else:
            yield number


# -- compiling --------------------------------------------------------------------------------------------------------

@cache
def _emulated(file: str, real: str, tf32: bool) -> Library:
    return Library(source(file), options(real, tf32))


@cache
def _on_gpu(file: str, real: str, tf32: bool, device: int, kernel: str) -> Any:
    return _gpu_module(file, real, tf32, device).get_function(kernel)


@cache
def _gpu_module(file: str, real: str, tf32: bool, device: int) -> Any:
    return sys.modules["cupy"].RawModule(code=source(file), options=options(real, tf32))


def options(real: str, tf32: bool = False) -> tuple[str, ...]:
    """What every compiler is told: nvcc and NVRTC as well as g++."""
    return "-std=c++17", f"-DREAL={real}", *(["-DTF32"] if tf32 and real == "float" else [])


def files(pattern: str) -> list[Path]:
    """The files of this folder with such names, in order."""
    return sorted(_HERE.glob(pattern))


def source(file: str) -> str:
    """The text of a .cu file and of what it includes, in one: caches of compiled code do not see included files."""
    return _with_includes(_HERE / file, set())


def read(path: Path) -> str:
    """The text of one file."""
    return path.read_text()


def _with_includes(path: Path, seen: set[Path]) -> str:
    lines = [f'#line 1 "{path}"']
    for number, line in enumerate(read(path).split("\n"), 1):
        include = _INCLUDE.fullmatch(line)
        if include is None:
            lines.append(line)
        elif (other := path.with_name(include[1])) not in seen:
            seen.add(other)
            lines += [_with_includes(other, seen), f'#line {number + 1} "{path}"']
    return "\n".join(lines)
