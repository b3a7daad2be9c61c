"""What one operation costs beyond its kernel: the Python around it, on tensors so small that nothing else takes time.

    python benchmarks/overhead.py                 all operations
    python benchmarks/overhead.py conv2d relu     some of them
    python benchmarks/overhead.py --seconds 0.01  a moment of each, to see that it works

Each operation is called as a user calls it, with recording on ("total"), and its kernels by themselves on the same
arrays ("kernel"). "Python" is what is left of the call where kernels return at once, with results from before: a kernel
that does run also throws out of the caches what Python needs next. What is NumPy's own in an operation is called by
itself then, and taken off. "backward" is the same for the walk back through the operation, less a walk that has nothing
to do. Every figure is that of the fastest of many batches of calls: what disturbs a process only adds to it.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

import minicnn as mc
from minicnn.backend import Geometry, kernels_for
from minicnn.engine import walk
from minicnn.kernels import contract
from minicnn.ops.windows import avg_windows, max_windows

BATCH = 1e-3  # seconds of calls between two looks at the clock: long enough for caches to be warm in most of them

normal = np.random.default_rng(0).standard_normal


def floats(*shape: int) -> np.ndarray:
    return normal(shape).astype(np.float32)


KERNELS = kernels_for(floats(1))
IMAGE, VECTOR, MATRIX, ROWS = floats(2, 3, 4, 4), floats(3), floats(4, 4), floats(2, 4)
CLASSES = np.array([1, 3])
POINT = Geometry()
(SQUARES,) = max_windows("", (4, 4), (2, 2), (2, 2), (0, 0), (1, 1), False)
_, (QUARTER,) = avg_windows("", (4, 4), (2, 2), (2, 2), (0, 0), False, True, None, np.dtype(np.float32))


class Case(NamedTuple):
    """An operation on arrays of which the floating ones get gradients.

    ``call``(library, functional module, tensors) is what a user writes, ``forward``(arrays) its kernel, and
    ``backward``(gy, result of forward, arrays) the kernels of its gradients.
    """

    arrays: tuple[np.ndarray, ...]
    call: Callable[..., Any]
    forward: Callable[..., Any]
    backward: Callable[..., Any]


def _batch_norm(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    flat = x.reshape(2, 3, 16)
    mean, _, inv_std = KERNELS.batch_norm_stats(flat, 1e-5)
    return KERNELS.batch_norm(flat, mean, inv_std, w, b).reshape(x.shape), mean, inv_std


def _cross_entropy(x: np.ndarray, t: np.ndarray) -> tuple:
    outside = (t.view(np.uint64) >= 4).any()
    loss, p = KERNELS.cross_entropy(x, t)
    return p, loss.sum() / len(t), outside


CASES = {
    "add": Case((MATRIX, MATRIX), lambda m, F, x, y: x + y, np.add, lambda g, r, x, y: None),
    "sub": Case((MATRIX, MATRIX), lambda m, F, x, y: x - y, np.subtract, lambda g, r, x, y: -g),
    "mul": Case((MATRIX, MATRIX), lambda m, F, x, y: x * y, np.multiply, lambda g, r, x, y: (g * y, g * x)),
    "mul by 2": Case((MATRIX,), lambda m, F, x: x * 2, lambda x: x * 2, lambda g, r, x: g * 2),
    "add (4,)": Case((MATRIX, MATRIX[0]), lambda m, F, x, y: x + y, np.add, lambda g, r, x, y: g.sum(0)),
    "exp": Case((MATRIX,), lambda m, F, x: x.exp(), np.exp, lambda g, r, x: g * r),
    "relu": Case((IMAGE,), lambda m, F, x: F.relu(x), lambda x: KERNELS.relu(x),
                 lambda g, r, x: KERNELS.relu_grad(g, r)),
    "sigmoid": Case((IMAGE,), lambda m, F, x: F.sigmoid(x), lambda x: KERNELS.sigmoid(x),
                    lambda g, r, x: KERNELS.sigmoid_grad(g, r)),
    "sum": Case((MATRIX,), lambda m, F, x: x.sum(), lambda x: x.sum(), lambda g, r, x: None),
    "mean": Case((MATRIX,), lambda m, F, x: x.mean(), lambda x: x.sum() / 16, lambda g, r, x: g / 16),
    "sum(1)": Case((MATRIX,), lambda m, F, x: x.sum(1), lambda x: x.sum(1), lambda g, r, x: None),
    "reshape": Case((MATRIX,), lambda m, F, x: x.reshape(2, 8), lambda x: x.reshape(2, 8), lambda g, r, x: None),
    "flatten": Case((IMAGE,), lambda m, F, x: x.flatten(1), lambda x: x.reshape(2, 48), lambda g, r, x: None),
    "permute": Case((IMAGE,), lambda m, F, x: x.permute(0, 2, 3, 1), lambda x: x.transpose(0, 2, 3, 1),
                    lambda g, r, x: None),
    "expand": Case((VECTOR,), lambda m, F, x: x.expand(2, 3), lambda x: None, lambda g, r, x: g.sum(0)),
    "x[1]": Case((MATRIX,), lambda m, F, x: x[1], lambda x: x[1], lambda g, r, x: np.zeros((4, 4), np.float32)),
    "cat": Case((MATRIX, MATRIX), lambda m, F, x, y: m.cat([x, y]), lambda x, y: np.concatenate([x, y]),
                lambda g, r, x, y: None),
    "matmul": Case((MATRIX, MATRIX), lambda m, F, x, y: x @ y, lambda x, y: KERNELS.matmul(x, y),
                   lambda g, r, x, y: (KERNELS.matmul(g, y.T), KERNELS.matmul(x.T, g))),
    "linear": Case((ROWS, MATRIX, MATRIX[0]), lambda m, F, x, w, b: F.linear(x, w, b),
                   lambda x, w, b: KERNELS.matmul(x, w.T, b),
                   lambda g, r, x, w, b: (KERNELS.matmul(g, w), KERNELS.matmul(g.T, x), g.sum(0))),
    "conv2d": Case((IMAGE, floats(3, 3, 2, 2), VECTOR), lambda m, F, x, w, b: F.conv2d(x, w, b),
                   lambda x, w, b: KERNELS.conv2d(x, w, b, POINT),
                   lambda g, r, x, w, b: (KERNELS.conv2d_input_grad(g, w, x.shape, POINT),
                                          KERNELS.conv2d_weight_grad(x, g, w.shape, POINT),
                                          KERNELS.channel_sum(g.reshape(2, 3, 9)))),
    "max_pool2d": Case((IMAGE,), lambda m, F, x: F.max_pool2d(x, 2), lambda x: KERNELS.max_pool2d(x, SQUARES),
                       lambda g, r, x: KERNELS.pool_scatter(g, r[1], x.shape)),
    "avg_pool2d": Case((IMAGE,), lambda m, F, x: F.avg_pool2d(x, 2), lambda x: KERNELS.avg_pool2d(x, SQUARES, QUARTER),
                       lambda g, r, x: KERNELS.avg_pool2d_grad(g, SQUARES, QUARTER, x.shape)),
    "batch_norm": Case((IMAGE, VECTOR, VECTOR),
                       lambda m, F, x, w, b: F.batch_norm(x, None, None, w, b, training=True), _batch_norm,
                       lambda g, r, x, w, b: KERNELS.batch_norm_grad(g.reshape(2, 3, 16), x.reshape(2, 3, 16), r[1],
                                                                     r[2], w, True)),
    "layer_norm": Case((ROWS, MATRIX[0], MATRIX[0]), lambda m, F, x, w, b: F.layer_norm(x, (4,), w, b),
                       lambda x, w, b: KERNELS.group_norm(x.reshape(2, 1, 4, 1), w[None], b[None], 1e-5),
                       lambda g, r, x, w, b: KERNELS.group_norm_grad(g.reshape(2, 1, 4, 1), x.reshape(2, 1, 4, 1), r[1],
                                                                     r[2], w[None])),
    "dropout": Case((IMAGE,), lambda m, F, x: F.dropout(x, 0.5), lambda x: KERNELS.dropout(x, 0.5, (1, 1)),
                    lambda g, r, x: KERNELS.dropout(g, 0.5, (1, 1))),
    "softmax": Case((ROWS,), lambda m, F, x: F.softmax(x, 1), lambda x: KERNELS.softmax(x.reshape(2, 4, 1)),
                    lambda g, r, x: KERNELS.softmax_grad(g.reshape(2, 4, 1), r)),
    "cross_entropy": Case((ROWS, CLASSES), lambda m, F, x, t: F.cross_entropy(x, t),
                          _cross_entropy, lambda g, r, x, t: KERNELS.cross_entropy_grad((g / 2).repeat(2), r[0], t)),
    "mse_loss": Case((ROWS, ROWS), lambda m, F, x, y: F.mse_loss(x, y), lambda x, y: (d := x - y, (d * d).sum() / 8),
                     lambda g, r, x, y: (d := 2 * r[0] * g, -d)),
}


def microseconds(calls: list[Callable[[], Any]], seconds: float) -> list[float]:
    """The time of each call, in the fastest of batches that take turns."""
    best = [float("inf")] * len(calls)
    number = []
    for call in calls:
        call()
        start = time.perf_counter()
        call()
        number.append(max(1, int(BATCH / (time.perf_counter() - start))))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for i, call in enumerate(calls):
            start = time.perf_counter()
            for _ in range(number[i]):
                call()
            best[i] = min(best[i], (time.perf_counter() - start) / number[i] * 1e6)
    return best


def at_once(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel, which computes for each shape of its first argument once, and returns that result from then on."""
    results: dict[tuple[int, ...], Any] = {}

    def remembered(first: np.ndarray, *rest: Any) -> Any:
        if first.shape not in results:
            results[first.shape] = kernel(first, *rest)
        return results[first.shape]

    return remembered


def measure(case: Case, seconds: float) -> dict[str, float]:
    """µs of the call, its kernel, the Python around it, and the Python of its backward."""
    leaves = [mc.tensor(a, requires_grad=a.dtype.kind == "f") for a in case.arrays]
    call = partial(case.call, mc, mc.nn.functional, *leaves)
    y, result = call(), case.forward(*case.arrays)
    gy = mc.ones_like(y).detach()
    leaf = mc.zeros_like(gy).requires_grad_()
    calls = [call, partial(case.forward, *case.arrays), partial(walk, [y], [gy], None, True, False),
             partial(case.backward, gy.data, result, *case.arrays), partial(walk, [leaf], [gy], None, True, False)]
    total, kernel = microseconds(calls[:2], seconds / 3)
    with patch.multiple(KERNELS, **{name: at_once(getattr(KERNELS, name)) for name in contract.KERNELS}):
        forward, rest, back, back_rest, idle = microseconds(calls, seconds * 2 / 3)
    return {"total": total, "kernel": kernel, "python": forward - rest, "backward": back - back_rest - idle}


def of_pytorch(case: Case, seconds: float) -> float | None:
    """µs of the same call in PyTorch, if it is installed."""
    try:
        import torch
    except ImportError:
        return None
    leaves = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in case.arrays]
    return microseconds([partial(case.call, torch, torch.nn.functional, *leaves)], seconds)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("operations", nargs="*", help=f"which (default: all of {', '.join(CASES)})")
    parser.add_argument("--seconds", type=float, default=1.0, help="per operation")
    args = parser.parse_args()
    unknown = set(args.operations) - set(CASES)
    if unknown:
        parser.error(f"unknown operation {', '.join(sorted(unknown))}; choose from {', '.join(CASES)}")
    print(f"{'µs':16} {'total':>7} {'kernel':>7} {'Python':>7} {'backward':>9} {'PyTorch':>8}")
    for name in args.operations or CASES:
        row, torch_total = measure(CASES[name], args.seconds), of_pytorch(CASES[name], args.seconds / 4)
        compared = "" if torch_total is None else f"{torch_total:8.2f}"
        print(f"{name:16} {row['total']:7.2f} {row['kernel']:7.2f} {row['python']:7.2f} {row['backward']:9.2f} "
              f"{compared}", flush=True)


if __name__ == "__main__":
    main()
