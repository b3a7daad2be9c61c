"""python -m minicnn.info: versions, devices, threads and folders, for reports of bugs."""

import argparse
import json
import os
import platform
import shutil
import sys
import textwrap
from importlib import metadata
from pathlib import Path
from typing import Any

from .cli import execute

PACKAGES = ("numpy", "numba", "llvmlite", "rich", "safetensors", "pooch", "matplotlib", "pillow", "cupy", "ml_dtypes",
            "torch")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Enter the flags of the command."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print what there is to know; returns the exit code."""
    facts = _facts()
    if args.json:
        print(json.dumps(facts, indent=1))
        return 0
    indent = max(map(len, facts)) + 2
    for name, value in facts.items():
        print(textwrap.fill(f"{name:{indent}}{value}", shutil.get_terminal_size().columns, break_on_hyphens=False,
                            break_long_words=False, subsequent_indent=" " * indent))
    return 0


def _facts() -> dict[str, Any]:
    import minicnn

    from .backend import get_num_threads, why_no_cuda
    from .data.places import cache_folder
    from .kernels.cpu import support

    return {
        "minicnn": f"{minicnn.__version__} in {Path(minicnn.__file__).parent}",
        "python": f"{platform.python_version()} in {sys.executable}",
        "system": f"{platform.platform()}, {os.cpu_count()} cores",
        "packages": ", ".join(f"{name} {version}" for name in PACKAGES if (version := _version(name))),
        "threads": f"{get_num_threads()} in kernels, {_threading_layer()}",
        "blas": _blas(),
        "gpu": why_no_cuda() or _gpu(),
        "data": os.environ.get("MINICNN_DATA") or "MINICNN_DATA is not set",
        "data cache": str(cache_folder()),
        "kernel cache": os.environ.get("NUMBA_CACHE_DIR") or str(Path(support.__file__).parent / "__pycache__"),
    }


def _version(name: str) -> str | None:
    if name == "cupy":  # its wheels are named after the version of CUDA
        return next((v for n in ("cupy-cuda13x", "cupy-cuda12x", "cupy") if (v := _version_of(n))), None)
    return _version_of(name)


def _version_of(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _threading_layer() -> str:
    import numba

    return f"numba layer {numba.config.THREADING_LAYER}, at most {numba.config.NUMBA_NUM_THREADS}"


def _blas() -> str:
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        from .bench.machine import built_with

        return f"{built_with()} (threadpoolctl, which is not installed, would tell more)"
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return ", ".join(f"{pool['internal_api']} {pool['version']}, {pool.get('architecture', '')} kernels, "
                     f"threads {pool['num_threads']}" for pool in pools) or "none"


def _gpu() -> str:
    import cupy

    runtime = cupy.cuda.runtime
    name = runtime.getDeviceProperties(0)["name"].decode()
    return (f"{name}, driver {runtime.driverGetVersion()}, CUDA runtime {runtime.runtimeGetVersion()}, "
            f"NVRTC {cupy.cuda.nvrtc.getVersion()}")


def main(argv: list[str] | None = None, prog: str | None = None) -> int:
    """The command; returns its exit code."""
    return execute("info", __doc__.partition(": ")[2], add_arguments, run, argv, prog)


if __name__ == "__main__":
    sys.exit(main())
