"""Every formulation of convolution by name, and all of them at once on the same arrays, compared.

That the six loops, the column matrix, the turned kernel, the Fourier product and the numba kernels agree is the best
argument that each of them is right; their times and memory are the reason why there is more than one.
"""

import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from . import reference
from .contract import Array, Geometry
from .cpu import convolution
from .formulations import FORMULATIONS

# the numba kernels take part as "direct" and, for what each of them is made for, "winograd-tiles" and "image-lanes"
_COMPILED = {"direct": convolution.direct, "winograd-tiles": convolution.tiled, "image-lanes": convolution.by_images}
ALGORITHMS: dict[str, Any] = {**FORMULATIONS, **_COMPILED}


class Row(NamedTuple):
    """One formulation's run of one operation."""

    operation: str
    algorithm: str
    difference: float  # from im2col, largest, relative to its largest element
    seconds: float
    memory: int  # bytes, at the peak, of what NumPy allocated
    automatic: bool  # whether "auto" takes this one, on a CPU


class Audit:
    """The three operations in all formulations that apply; each call notes a row for each, returns im2col's result."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def conv2d(self, x: Array, w: Array, b: Array | None, geometry: Geometry) -> Array:
        """See contract.conv2d."""
        return self._run("conv2d", w.shape[2:], geometry, x, w, b, geometry)

    def conv2d_input_grad(self, gy: Array, w: Array, x_shape: tuple[int, ...], geometry: Geometry) -> Array:
        """See contract.conv2d_input_grad."""
        return self._run("conv2d_input_grad", w.shape[2:], geometry, gy, w, x_shape, geometry)

    def conv2d_weight_grad(self, x: Array, gy: Array, w_shape: tuple[int, ...], geometry: Geometry) -> Array:
        """See contract.conv2d_weight_grad."""
        return self._run("conv2d_weight_grad", w_shape[2:], geometry, x, gy, w_shape, geometry)

    def _run(self, operation: str, kernel: tuple[int, ...], geometry: Geometry, *arguments: Any) -> Array:
        expected = getattr(reference, operation)(*arguments)
        scale = max(float(np.abs(expected).max(initial=0)), 1e-30)
        a, b, *_ = arguments
        arrays = (a, b, expected) if operation == "conv2d_weight_grad" else (a, expected, b)
        automatic = _automatic(operation, *arrays, geometry)
        for name, algorithm in ALGORITHMS.items():
            if algorithm.supports(kernel, geometry) is not None:
                continue
            compute = partial(getattr(algorithm, operation), *arguments)
            if name != "loops":  # which take seconds, and have nothing to prepare
                compute()  # compile, load numpy.fft and wake what sleeps before the clock runs
            start = time.perf_counter()
            result = compute()
            seconds = time.perf_counter() - start
            difference = float(np.abs(result - expected).max(initial=0)) / scale
            self.rows.append(Row(operation, name, difference, seconds, _peak(compute), name == automatic))
        return expected

    @property
    def largest_difference(self) -> float:
        """The largest relative difference of any formulation in any call."""
        return max((row.difference for row in self.rows), default=0.0)

    def __str__(self) -> str:
        figures = f"{'difference from im2col':>22} {'ms':>10} {'memory':>10}"
        lines = [f"{'operation':19} {'algorithm':14} {figures}  chosen by"]
        for r in self.rows:
            figures = f"{r.difference:22.1e} {r.seconds * 1e3:10.2f} {_size(r.memory):>10}"
            lines.append(f"{r.operation:19} {r.algorithm:14} {figures}{'  auto' * r.automatic}")
        return "\n".join(lines)


def _automatic(operation: str, *case: Any) -> str:
    """The name of what "auto" takes; case is what Convolution.way wants."""
    way = convolution.automatic.way(operation, *case)
    if way is reference:
        return "im2col"
    return next(name for name, alone in _COMPILED.items() if alone.way(operation, *case) is way)


def _peak(compute: Callable[[], Array]) -> int:
    """Bytes that a call allocates, at its peak; counting them takes time of its own."""
    tracemalloc.start()
    try:
        compute()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _size(count: float) -> str:
    """Bytes for people: 78400 is "76.6 KiB"."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
