"""minicnn's own operations, each with the cases that its gradient is checked on, and the checks of one of them."""

import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import layer_cases as layers
from . import networks
from . import sliding_cases as sliding
from .case import Case
from .choices import Choices, RandomChoices
from .functions import as_list, is_floating
from .gradcheck import gradcheck
from .report import Report, Verdict

Maker = Callable[[Choices], Case]
AGREES = 1e-8  # relative difference of two gradients in float64, as small as gradcheck promises to see
ROUNDED = {"hardsigmoid": 1e-7}  # PyTorch has 1/6 in float32 there


def _with(make: Callable[..., Case], *arguments: Any) -> Maker:
    return lambda choices: make(choices, *arguments)


OPERATIONS: dict[str, Maker] = {
    **{f"conv{n}d": _with(sliding.convolution, n) for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _with(sliding.transposed, n) for n in (1, 2, 3)},
    "unfold": sliding.columns,
    **{f"{kind}_pool{n}d": _with(sliding.pooling, n, kind) for kind in ("max", "avg") for n in (1, 2, 3)},
    **{f"adaptive_{kind}_pool{n}d": _with(sliding.adaptive, n, kind) for kind in ("max", "avg") for n in (1, 2, 3)},
    **{name: _with(layers.norm, name) for name in layers.NORMS},
    "local_response_norm": layers.response,
    **{name: _with(layers.activation, name) for name in layers.KINKS},
    **{name: _with(layers.along_axis, name) for name in ("softmax", "log_softmax")},
    "linear": layers.linear, "embedding": layers.embedding, "pad": layers.padding, "interpolate": layers.resized,
    "scaled_dot_product_attention": layers.attention,
    **{name: _with(layers.loss, name) for name in layers.LOSSES},
    "networks": networks.network,
}


@dataclass
class Tally:
    """What one kind of check says about all cases."""

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    precision: float = 0.0  # the largest of the relative errors from which on it would have noticed

    @property
    def strongest(self) -> Verdict:
        """The verdict that outweighs the others."""
        return max(self.verdicts, key=lambda verdict: verdict.rank)

    def __str__(self) -> str:
        count = self.verdicts[self.strongest]
        return self.strongest + (f" in {count}" if count < self.verdicts.total() else "")

    def enter(self, report: Report) -> None:
        """One more case."""
        self.verdicts[report.verdict] += 1
        self.precision = max(self.precision, report.precision)


@dataclass
class Row:
    """What the checks of one operation found."""

    name: str
    cases: int
    first: Tally = field(default_factory=Tally)  # in float64, jvp included
    single: Tally = field(default_factory=Tally)  # in float32
    second: Tally = field(default_factory=Tally)  # the gradients of the gradients
    apart: float | None = None  # the largest relative difference to PyTorch's gradients
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)  # cases where a small error would not have been seen, or at kinks


def check_operation(name: str, cases: int, seed: int) -> Row:
    """Check an operation on cases drawn from the seed, and against PyTorch if it is there."""
    started, row, torch = time.perf_counter(), Row(name, cases), _torch()
    for drawn in range(1000 * seed, 1000 * seed + cases):
        case = OPERATIONS[name](RandomChoices(drawn))
        for tally, dtype, options in ((row.first, "float64", {"jvp": True}), (row.single, "float32", {}),
                                      (row.second, "float64", {"order": 2})):
            report = gradcheck(case.plain(), case.astype(dtype), **options)
            tally.enter(report)
            if report.verdict is Verdict.FAIL:
                row.failures.append(str(report))
            elif not report:
                row.doubts.append(f"{dtype} from seed {drawn}: {report}")
        if torch is not None:
            apart = difference(case, torch)
            row.apart = max(row.apart or 0.0, apart)
            if not apart <= ROUNDED.get(name, AGREES):
                row.failures.append(f"{name}: differs from PyTorch by {apart:.1e} for\n  {case!r}")
    row.seconds = time.perf_counter() - started
    return row


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        return None
    return torch


def difference(case: Case, torch: Any) -> float:
    """The largest difference between minicnn's and PyTorch's outputs and gradients, relative to the largest element.

    Elements below 1, the size of the values in cases, count as 1: what is 0 but for rounding has no relative error.
    """
    wide = case.astype(np.float64)
    ours, theirs = wide.tensors(), wide.tensors(torch.from_numpy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's remarks on even kernels and on reductions
        expected = [y for y in as_list(wide.function(torch.nn.functional)(*theirs)) if is_floating(y)]
    found = [y for y in as_list(wide.function()(*ours)) if is_floating(y)]
    rng, apart = np.random.default_rng(0), 0.0
    for y, z in zip(found, expected, strict=True):
        gy = np.asarray(rng.standard_normal(y.shape))
        y.backward(type(y)(gy), retain_graph=True)
        z.backward(torch.from_numpy(gy), retain_graph=True)
        apart = max(apart, _apart(y.detach().numpy(), z.detach().numpy()))
    return max([apart, *[_apart(ours[i].grad.numpy(), theirs[i].grad.numpy()) for i in wide.wrt]])


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max(initial=0) / np.abs(b).max(initial=1))
