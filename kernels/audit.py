"""Every formulation of convolution by name, and all of them at once on the same arrays, compared.

That the six loops, the column matrix, the turned kernel, the Fourier product and the numba kernels agree is the best
argument that each of them is right; their times and memory are the reason why there is more than one.
"""

import time
import tracemalloc
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from . import cpu, reference
from .contract import Array, Geometry
from .formulations import FORMULATIONS

# the numba kernels take part under the name "direct"
ALGORITHMS: dict[str, Any] = {
    **FORMULATIONS,
    "direct": SimpleNamespace(conv2d=cpu.conv2d, conv2d_input_grad=cpu.conv2d_input_grad,
                              conv2d_weight_grad=cpu.conv2d_weight_grad, supports=lambda kernel, geometry: None),
}


class Row(NamedTuple):
    """One formulation's run of one operation."""

    operation: str
    algorithm: str
    difference: float  # from im2col, largest, relative to its largest element
    seconds: float
    megabytes: float  # peak of the arrays allocated by NumPy


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
        for name, algorithm in ALGORITHMS.items():
            if algorithm.supports(kernel, geometry) is not None:
                continue
            compute = getattr(algorithm, operation)
            if name == "direct":
                compute(*arguments)  # compile before the clock runs
            tracemalloc.start()
            start = time.perf_counter()
            result = compute(*arguments)
            seconds = time.perf_counter() - start
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            difference = float(np.abs(result - expected).max(initial=0)) / scale
            self.rows.append(Row(operation, name, difference, seconds, peak / 2**20))
        return expected

    @property
    def largest_difference(self) -> float:
        """The largest relative difference of any formulation in any call."""
        return max((row.difference for row in self.rows), default=0.0)

    def __str__(self) -> str:
        lines = [f"{'operation':20} {'algorithm':12} {'difference':>11} {'ms':>10} {'MB':>8}"]
        lines += [f"{r.operation:20} {r.algorithm:12} {r.difference:11.1e} {r.seconds * 1e3:10.2f} {r.megabytes:8.2f}"
                  for r in self.rows]
        return "\n".join(lines)
