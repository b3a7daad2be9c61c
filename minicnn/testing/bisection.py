"""Where two back ends part: the first layer of a network, forward or backward, whose numbers differ.

Both run the whole network on the same inputs and weights, and are compared in the order in which they compute, so that
whatever stands before the first difference is not its cause. In float64 rounding stays far below any bound that a
wrong kernel exceeds, and moves nothing across the kink of a relu or past another maximum of a window.
"""

from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..backend import Device, manual_seed, to_numpy, use_kernels
from ..engine import Tensor
from ..explain.trace import example, tensors
from ..nn import Module

__all__ = ["BACK_ENDS", "BOUNDS", "Bisection", "Difference", "bisect"]

BACK_ENDS = ("reference", "cpu", "cuda-emulated", "cuda")
BOUNDS = {"float64": 1e-8, "float32": 1e-3}  # relative to the largest element
LEAST = 1e-4  # of the largest number of a pass: what is as small as that is measured by it, as it may be rounding alone


@dataclass(frozen=True)
class Difference:
    """How far two arrays that should be equal are apart, where they are farthest apart.

    Attributes:
        layer: name and kind of the layer.
        direction: "forward" or "backward".
        what: which of the layer's arrays, such as "output" or "gradient of weight".
        index: of the element that differs most.
        values: of this element, on the two back ends.
        relative: their difference by the largest element.
    """

    layer: str
    direction: str
    what: str
    shape: tuple[int, ...]
    index: tuple[int, ...]
    values: tuple[float, float]
    relative: float


@dataclass(frozen=True)
class Bisection:
    """What ``bisect`` found: the first difference beyond the bound, if any, and all up to there in their order."""

    first: Difference | None
    compared: list[Difference]

    def largest(self, direction: str) -> Difference:
        """The largest difference of one direction."""
        return max((d for d in self.compared if d.direction == direction), key=lambda d: d.relative)


def bisect(model: Module, a: str, b: str, *, bound: float, batch: int = 2, dtype: str = "float64", seed: int = 0,
           input_shape: tuple[int, ...] | None = None) -> Bisection:
    """Compare two back ends layer by layer on random inputs, in training mode; the model ends on the CPU, in ``dtype``.

    Args:
        a, b: of ``BACK_ENDS``, or "cuda:N".
        bound: of a difference relative to the largest element of its array.
        input_shape: (C, H, W) of the images; None is what ``models.create`` made the model for.

    Raises:
        ValueError: there is no such back end.
        RuntimeError: one cannot be used here.
    """
    model.to(dtype).train()
    rng = np.random.default_rng(seed)
    inputs = [_random(rng, batch, x, model) for x in example("bisect", model, input_shape)]
    start = {name: to_numpy(t.data).copy() for name, t in model.state_dict().items()}
    passes = []
    for name in (a, b):
        model.load_state_dict({key: Tensor(array.copy()) for key, array in start.items()})
        manual_seed(seed)
        passes.append(_run(model, inputs, name, seed))
    largest: dict[str, float] = {}
    for _, direction, _, array in passes[0]:
        largest[direction] = max(largest.get(direction, 0.0), _largest(array))
    compared: list[Difference] = []
    for (layer, direction, what, x), (*_, y) in zip(*passes, strict=True):
        found = _difference(layer, direction, what, x, y, LEAST * largest[direction])
        compared.append(found)
        if not found.relative <= bound:
            return Bisection(found, compared)
    return Bisection(None, compared)


def _random(rng: np.random.Generator, batch: int, like: Tensor, model: Module) -> Tensor:
    if like.is_floating_point():
        return Tensor(rng.standard_normal((batch, *like.shape[1:])).astype(like.dtype))
    return Tensor(rng.integers(0, min(model.spec.in_channels, model.spec.num_classes), (batch, *like.shape[1:])))


# -- one back end -----------------------------------------------------------------------------------------------------

Seen = tuple[str, str, str, np.ndarray]  # layer, direction, what, array


@dataclass
class _Call:
    """The arrays of one call of a layer, by what they are."""

    layer: str
    module: Module
    forward: dict[str, np.ndarray] = field(default_factory=dict)
    backward: dict[str, np.ndarray] = field(default_factory=dict)


def _run(model: Module, inputs: list[Tensor], back_end: str, seed: int) -> list[Seen]:
    """All arrays of a pass forward and backward, in the order in which they were computed."""
    forced, device = (use_kernels(back_end), "cpu") if back_end in BACK_ENDS[:-1] else (nullcontext(), back_end)
    calls: list[_Call] = []
    try:
        with forced, ExitStack() as hooks:
            model.to(Device.parse(device))
            for path, module in model.named_modules():
                if not any(True for _ in module.children()):
                    enter, leave = _hooks(calls, f"{path} ({type(module).__name__})")
                    hooks.callback(module.register_forward_pre_hook(enter).remove)
                    hooks.callback(module.register_forward_hook(leave).remove)
            model.zero_grad()
            images = [x.to(device=device).detach() for x in inputs]
            for x in images:
                x.requires_grad = x.is_floating_point()
            _backward(model(*images), seed)
    finally:
        model.to(Device.parse("cpu"))
    return list(_in_order(calls))


def _hooks(calls: list[_Call], layer: str) -> Any:
    """What notes a call: before it what comes in, after it what goes out, and the gradients when they come."""
    def enter(module: Module, args: tuple) -> None:
        calls.append(_Call(layer, module))
        _note(calls[-1], "input", args)

    def leave(module: Module, args: tuple, output: Any) -> None:
        _note(next(call for call in reversed(calls) if call.module is module), "output", output)

    return enter, leave


def _note(call: _Call, what: str, values: Any) -> None:
    several = list(tensors(values))
    for i, t in enumerate(several):
        name = what if len(several) == 1 else f"{what} {i}"
        call.forward[name] = to_numpy(t.data).copy()
        if t.requires_grad:
            def keep(g: Tensor, key: str = f"gradient of the {name}") -> None:
                call.backward[key] = to_numpy(g.data).copy()

            t.register_hook(keep)


def _backward(answer: Any, seed: int) -> None:
    """From every output that has a gradient, with random numbers as its gradient."""
    rng = np.random.default_rng(seed + 1)
    total = None
    for y in tensors(answer):
        if y.requires_grad:
            gy = Tensor(rng.standard_normal(y.shape).astype(y.dtype)).to(device=y.device)
            total = (y * gy).sum() if total is None else total + (y * gy).sum()
    if total is None:
        raise ValueError("bisect: no output of the model has a gradient")
    total.backward()


def _in_order(calls: list[_Call]) -> Iterator[Seen]:
    for call in calls:
        for what, array in call.forward.items():
            yield call.layer, "forward", what, array
    first = {id(call.module): call for call in reversed(calls)}  # the gradient of a weight is complete with this one
    for call in reversed(calls):
        came, left = ({k: v for k, v in call.backward.items() if ("output" in k) == out} for out in (True, False))
        for what, array in came.items():
            yield call.layer, "backward", what, array
        if first[id(call.module)] is call:
            for name, p in call.module.named_parameters(recurse=False):
                if p.grad is not None:
                    yield call.layer, "backward", f"gradient of {name}", to_numpy(p.grad.data)
        for what, array in left.items():
            yield call.layer, "backward", what, array


# -- comparing --------------------------------------------------------------------------------------------------------

def _largest(array: np.ndarray) -> float:
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max()) if finite.size else 0.0


def _difference(layer: str, direction: str, what: str, x: np.ndarray, y: np.ndarray, least: float) -> Difference:
    """NaN and infinities are equal to themselves, and infinitely far from anything else."""
    if x.shape != y.shape or not x.size:
        return Difference(layer, direction, what, x.shape, (), (np.nan, np.nan), 0.0 if x.shape == y.shape else np.inf)
    x, y = x.astype(np.float64), y.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, np.abs(x - y))
    apart[np.isnan(apart)] = np.inf
    index = tuple(map(int, np.unravel_index(apart.argmax(), apart.shape)))
    scale = max(_largest(x), least)
    relative = float(apart[index] / scale) if scale else np.inf if apart[index] else 0.0
    return Difference(layer, direction, what, x.shape, index, (float(x[index]), float(y[index])), relative)
