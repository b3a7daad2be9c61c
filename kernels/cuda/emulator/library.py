"""CUDA source, compiled by g++ into a library whose kernels run on NumPy arrays."""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

_HERE = Path(__file__).parent
_COMPILE = ("g++", "-g1", "-gdwarf-4", "-fPIC", "-fvisibility=hidden", "-w", f"-I{_HERE}", "-c", "-x", "c++", "-")
# Every access to memory becomes a call of machine.cpp. Nothing is unrolled or turned into vectors, so that each access
# keeps its line; a·b + c is not fused, so that results do not depend on the processor.
_CHECKED = ("-O1", "-fsanitize=thread", "--param", "tsan-instrument-func-entry-exit=0", "-ffp-contract=off")
_KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(([^)]*)\)')
_seed = 0


class CudaError(RuntimeError):
    """What a kernel did that a GPU forbids, or leaves undefined."""


@contextmanager
def thread_order(seed: int) -> Iterator[None]:
    """Inside the block threads, blocks and those released by a barrier run in an order drawn by this seed.

    0 is the natural order: thread 0 first. A kernel must give the same result in all of them.
    """
    global _seed
    before, _seed = _seed, seed
    try:
        yield
    finally:
        _seed = before


class _Parameter(ctypes.Structure):
    _fields_ = (("size", ctypes.c_int), ("element", ctypes.c_int))


class _Entry(ctypes.Structure):
    _fields_ = (("call", ctypes.c_void_p), ("count", ctypes.c_int), ("parameters", ctypes.POINTER(_Parameter)))


class _Array(ctypes.Structure):
    _fields_ = (("begin", ctypes.c_void_p), ("bytes", ctypes.c_longlong), ("element", ctypes.c_int),
                ("argument", ctypes.c_int))


class Library:
    """The kernels of a CUDA source, a file or its text, compiled once with these options of g++, then kept on disk."""

    def __init__(self, source: Path | str, options: Sequence[str] = ("-std=c++17",)) -> None:
        text = source.read_text() if isinstance(source, Path) else source
        source = f'#line 1 "{source if isinstance(source, Path) else "source"}"\n{text}'
        names = {name: parameters for name, parameters in _KERNEL.findall(source)}
        self.parameters = {name: re.findall(r"(\w+)\s*(?:,|$)", text) for name, text in names.items()}
        entries = "".join(f"\nEMULATED_KERNEL({name})" for name in names)
        self._path = _compiled(f'#include "cuda.h"\n{source}\n{entries}\n', tuple(options))
        self._library = ctypes.CDLL(str(self._path))
        self._library.run_kernel.restype = ctypes.c_char_p
        self._lock = threading.Lock()  # the machine of a library runs one kernel at a time

    def launch(self, name: str, grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any]) -> None:
        """Run a kernel. NumPy arrays are pointers, None the null pointer; scalars and records are passed by value.

        A tuple of arrays is a struct of pointers, null where the struct has more of them.

        Raises CudaError, with file and line, where the kernel does what it must not.
        """
        if name not in self.parameters:
            raise CudaError(f"there is no kernel {name}; there are {', '.join(self.parameters)}")
        entry = _Entry.in_dll(self._library, f"{name}_entry")
        _check_launch(name, grid, block)
        self._check_arguments(name, entry, arguments)
        values: list[Any] = []
        arrays = []
        for i, argument in enumerate(arguments):
            if _is_pointer(argument):
                values.append(ctypes.c_void_p(argument.ctypes.data))
                arrays.append(_Array(argument.ctypes.data, argument.nbytes, argument.itemsize, i))
            elif isinstance(argument, tuple):
                table = np.array([a.ctypes.data for a in argument], np.uint64)
                values.append(ctypes.create_string_buffer(table.tobytes(), entry.parameters[i].size))
                arrays += [_Array(a.ctypes.data, a.nbytes, a.itemsize, i) for a in argument]
            else:
                size = entry.parameters[i].size
                values.append(ctypes.create_string_buffer(b"" if argument is None else argument.tobytes(), size))
        pointers = (ctypes.c_void_p * len(values))(*[ctypes.addressof(value) for value in values])
        with self._lock:
            error = self._library.run_kernel(
                ctypes.byref(entry), (ctypes.c_uint * 3)(*grid, *[1] * (3 - len(grid))),
                (ctypes.c_uint * 3)(*block, *[1] * (3 - len(block))), pointers, (_Array * len(arrays))(*arrays),
                len(arrays), ctypes.c_ulonglong(_seed))
        if error:
            raise CudaError(f"{name}: {self._readable(name, error.decode())}")

    def _check_arguments(self, name: str, entry: _Entry, arguments: Sequence[Any]) -> None:
        names = self.parameters[name]
        if len(arguments) != entry.count:
            raise CudaError(f"{name} takes {entry.count} arguments ({', '.join(names)}), not {len(arguments)}")
        for i, argument in enumerate(arguments):
            parameter = entry.parameters[i]
            for a in argument if isinstance(argument, tuple) else (argument,):
                if _is_pointer(a) and not a.flags.c_contiguous:
                    raise CudaError(f"{name}: argument {names[i]} is an array that is not contiguous")
            if _is_pointer(argument):
                given, wanted = f"an array of {argument.dtype}", argument.itemsize == parameter.element
            elif argument is None:
                given, wanted = "None", parameter.element > 0
            elif isinstance(argument, tuple):
                given = f"{len(argument)} arrays"
                wanted = not parameter.element and 8 * len(argument) <= parameter.size
            else:
                given = f"{argument!r} of {argument.nbytes} bytes"
                wanted = argument.nbytes == parameter.size and not parameter.element
            if not wanted:
                what = f"a pointer to elements of {parameter.element} bytes" if parameter.element else \
                    f"a value of {parameter.size} bytes"
                raise CudaError(f"{name}: argument {names[i]} is {given}, but the kernel takes {what}")

    def _readable(self, name: str, error: str) -> str:
        """The message of the machine with the places of the program as file:line and arguments by name."""
        error = re.sub(r"\{@([0-9a-f]+)\}", lambda match: self._line(match[1]), error)
        error = re.sub(r"\{(\d+)\}", lambda match: self.parameters[name][int(match[1])], error)
        return re.sub(r"\{([^}]*):(\d+)\}", lambda match: f"{Path(match[1]).name}:{match[2]}", error)

    def _line(self, code: str) -> str:
        """file:line of a place in the program, innermost inlined function first."""
        command = ["addr2line", "-i", "-e", str(self._path), f"0x{code}"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
        places = [Path(re.sub(r" \(discriminator.*", "", line)).name for line in lines if line]
        return ", called at ".join(dict.fromkeys(places))


def _is_pointer(argument: Any) -> bool:
    return isinstance(argument, np.ndarray) and argument.dtype.names is None


def _check_launch(name: str, grid: Sequence[int], block: Sequence[int]) -> None:
    threads = int(np.prod(block))
    if not 1 <= threads <= 1024 or min(block) < 1:
        raise CudaError(f"{name}: a block has 1 to 1024 threads, not {'×'.join(map(str, block))}")
    if min(grid) < 1 or grid[0] >= 2 ** 31 or max(grid[1:], default=1) > 65535:
        raise CudaError(f"{name}: a grid has 1 to 2³¹ − 1, 65535 and 65535 blocks along its axes, not "
                        f"{'×'.join(map(str, grid))}")


# -- compiling --------------------------------------------------------------------------------------------------------

def _compiled(source: str, options: tuple[str, ...]) -> Path:
    """The shared library made of a source; its name is a hash of all that goes into it."""
    checked = (*_CHECKED, *options)
    path = _cached(".so", source, *checked)
    if not path.exists():
        machine = _machine()
        with _appearing(path) as library:
            kernels = library.with_suffix(".o")
            _run([*_COMPILE, *checked, "-o", str(kernels)], source)
            _run(["g++", "-shared", "-Wl,-Bsymbolic", str(kernels), str(machine), "-ldl", "-o", str(library)])
    return path


def _machine() -> Path:
    path = _cached(".o")
    if not path.exists():
        with _appearing(path) as compiled:
            _run([*_COMPILE, "-std=c++17", "-O2", "-o", str(compiled)], (_HERE / "machine.cpp").read_text())
    return path


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """Where to write a file so that it appears under its name at once, whole: others may be writing the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        yield Path(folder) / path.name
        os.replace(Path(folder) / path.name, path)


def _run(command: list[str], source: str = "") -> None:
    done = subprocess.run(command, input=source, capture_output=True, text=True)
    if done.returncode:
        raise CudaError(f"g++ does not compile this:\n{done.stderr.strip()}")


def _cached(suffix: str, *parts: str) -> Path:
    digest = hashlib.sha256("\0".join((_compiler(), _headers(), *_COMPILE, *parts)).encode()).hexdigest()[:32]
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "minicnn" / "cuda-emulator" / f"{digest}{suffix}"


@cache
def _headers() -> str:
    return "".join(path.read_text() for path in sorted([*_HERE.glob("*.h"), *_HERE.glob("*.cpp")]))


@cache
def _compiler() -> str:
    if shutil.which("g++") is None or shutil.which("addr2line") is None:
        raise CudaError("the CUDA emulator needs g++ and binutils, which are not installed (Debian: apt install g++)")
    return subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout
