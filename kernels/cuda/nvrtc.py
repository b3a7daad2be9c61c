"""Compiles the .cu files for GPUs that need not be there, and reads what each kernel takes of a multiprocessor.

    python -m minicnn.kernels.cuda.nvrtc          (after pip install nvidia-cuda-nvrtc)

NVIDIA's run-time compiler works without a GPU and without a driver. What it accepts for a generation of GPUs, their
driver loads. The command writes the table of RESOURCES.md.
"""

import ctypes
import re
from ctypes.util import find_library
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from . import module

TARGETS = {"75": "Turing", "80": "Ampere", "90": "Hopper", "120": "Blackwell"}


class Resources(NamedTuple):
    """What a block or a thread of a kernel takes."""

    kernel: str
    registers: int  # of a thread
    shared: int  # bytes of a block
    stack: int  # bytes of a thread, in slow memory
    spilled: int  # bytes of registers that did not fit and went there, too


@cache
def compile_file(file: str, real: str, target: str, tf32: bool = False) -> list[Resources]:
    """Compile a .cu file for arrays of a type and GPUs of a compute capability; what each kernel takes.

    Raises RuntimeError with the compiler's messages if there are errors or warnings.
    """
    nvrtc, program = _library(), ctypes.c_void_p()
    _check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), module.source(file).encode(), file.encode(), 0, None, None))
    try:
        flags = [flag.encode() for flag in (*module.options(real, tf32), f"-arch=sm_{target}", "--ptxas-options=-v")]
        result = nvrtc.nvrtcCompileProgram(program, len(flags), (ctypes.c_char_p * len(flags))(*flags))
        size = ctypes.c_size_t()
        _check(nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size)))
        log = ctypes.create_string_buffer(size.value)
        _check(nvrtc.nvrtcGetProgramLog(program, log))
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    text = log.value.decode()
    if result or re.search(r"\b(warning|error)\b", text):
        raise RuntimeError(f"{file} for {real} on sm_{target}:\n{text}")
    return _resources(text)


def why_not() -> str | None:
    """Why nothing can be compiled here, or None if it can."""
    try:
        _library()
    except OSError as error:
        return str(error)
    return None


def version() -> str:
    """The version of the compiler."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return f"{major.value}.{minor.value}"


def _resources(log: str) -> list[Resources]:
    found = []
    for part in log.split("Compiling entry function '")[1:]:
        numbers = [re.search(pattern, part) for pattern in (
            r"Used (\d+) registers", r"(\d+) bytes smem", r"(\d+) bytes stack frame", r"(\d+) bytes spill stores")]
        found.append(Resources(part.partition("'")[0], *[int(number[1]) if number else 0 for number in numbers]))
    return sorted(found)


@cache
def _library() -> ctypes.CDLL:
    spec = find_spec("nvidia")  # the packages of NVIDIA's wheels
    folders = [Path(folder) for folder in spec.submodule_search_locations or []] if spec else []
    wheels = sorted(str(path) for folder in folders for path in folder.glob("*/lib/libnvrtc.so.*"))
    name = wheels[-1] if wheels else find_library("nvrtc")
    if name is None:
        raise OSError("there is no NVRTC here; pip install nvidia-cuda-nvrtc")
    return ctypes.CDLL(name)


def _check(result: int) -> None:
    if result:
        raise RuntimeError(f"NVRTC: error {result}")


def rows(file: str) -> list[str]:
    """What the kernels of a file take where arrays are float: rows of the table in RESOURCES.md."""
    found = []
    for kernels in zip(*[compile_file(file, "float", target) for target in TARGETS], strict=True):
        registers = " | ".join(str(kernel.registers) for kernel in kernels)
        spilled = max(kernel.spilled for kernel in kernels)
        found.append(f"| {file} | {kernels[0].kernel} | {registers} | {kernels[0].shared} | {spilled} |")
    return found


def main() -> None:
    """Print RESOURCES.md."""
    print(f"What the kernels take for arrays of float, as compiled by NVRTC {version()}: registers of a thread on\n"
          "each generation of GPUs, bytes of shared memory of a block, bytes of registers spilled to memory.\n"
          "Written by `python -m minicnn.kernels.cuda.nvrtc`.\n")
    targets = " | ".join(f"{name}, sm_{target}" for target, name in TARGETS.items())
    print(f"| file | kernel | {targets} | shared | spilled |")
    print(f"|---|---|{'--:|' * (len(TARGETS) + 2)}")
    for path in module.files("*.cu"):
        print(*rows(path.name), sep="\n")


if __name__ == "__main__":
    main()
