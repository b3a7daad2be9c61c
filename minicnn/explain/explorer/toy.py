"""Layers on small integers, whose sums are exact in any order, run once for every position of the page's sliders."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import nn
from ...engine import Tensor
from ...ops.dropout import Dropout
from ...ops.loss_class import CrossEntropy
from .in_order import DropoutInOrder
from .layer import LayerRun, run_layer

Pair = tuple[int, int]
Position = dict[str, int]  # of the sliders
NUMBERS = 120_000  # of all positions together, at most; the farther ones are left out
BATCH = 3  # images of batch_norm
KEY = 0, 1  # of the mask of dropout


@dataclass
class Toy:
    """A layer on small numbers.

    Attributes:
        run: the layer as asked for.
        position: where the sliders stand for that; none, if rows and columns differ.
        others: the layer in all other positions.
    """

    run: LayerRun
    position: Position | None = None
    others: tuple[tuple[Position, LayerRun], ...] = ()

    @property
    def sliders(self) -> dict[str, list[int]]:
        """The values that each slider has."""
        positions = [position for position, _ in self.others] + [self.position or {}]
        names = dict.fromkeys(itertools.chain(*positions))
        return {name: sorted({p[name] for p in positions if name in p}) for name in names}


def conv2d(size: Pair = (5, 5), kernel: Pair = (3, 3), stride: Pair = (1, 1), padding: Pair = (0, 0),
           dilation: Pair = (1, 1), groups: int = 1, channels: Pair = (1, 1)) -> Toy:
    """A convolution of one image (C, H, W) with O kernels; channels are (C, O). Raises what functional.conv2d does."""
    c, o = channels
    if c % groups or o % groups:
        raise ValueError(f"conv2d: groups = {groups} must divide the channels, {c} in and {o} out")
    x, w, b = _digits(1, c, *size), _integers(o, c, *kernel, seed=1), _integers(o, seed=2)

    def run(stride: Pair, padding: Pair, dilation: Pair, groups: Pair) -> LayerRun:
        layer = nn.Conv2d(c, o, kernel, stride, padding, dilation, groups[0]).double()
        layer.load_state_dict({"weight": w[:, :c // groups[0]], "bias": b})
        return _run(layer, x)

    at = {"stride": stride, "padding": padding, "dilation": dilation, "groups": (groups, groups)}
    every = {"stride": range(1, 4), "padding": range(max(3, padding[0] + 1)), "dilation": range(1, 4),
             "groups": [g for g in range(1, c + 1) if c % g == o % g == 0]}
    return _toy(run, at, every)


def linear(channels: Pair = (4, 3)) -> Toy:
    """A linear layer, which is a convolution of an image of one pixel with kernels of 1×1."""
    return Toy(conv2d((1, 1), (1, 1), channels=channels).run)


def max_pool2d(size: Pair = (5, 5), kernel: Pair = (3, 3), stride: Pair = (2, 2), padding: Pair = (0, 0),
               dilation: Pair = (1, 1), channels: Pair = (1, 1)) -> Toy:
    """Max pooling of one image of few different numbers, so that there are ties."""
    x = _digits(1, _same("max_pool2d", channels), *size) // 2
    at = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    every = {"kernel": range(2, 5), "stride": range(1, 4), "padding": range(2), "dilation": range(1, 3)}
    return _toy(lambda kernel, stride, padding, dilation: _run(nn.MaxPool2d(kernel, stride, padding, dilation), x),
                at, every)


def avg_pool2d(size: Pair = (5, 5), kernel: Pair = (2, 2), stride: Pair = (2, 2), padding: Pair = (0, 0),
               channels: Pair = (1, 1)) -> Toy:
    """Average pooling of one image."""
    x = _digits(1, _same("avg_pool2d", channels), *size)
    at = {"kernel": kernel, "stride": stride, "padding": padding}
    every = {"kernel": range(2, 5), "stride": range(1, 4), "padding": range(2)}
    return _toy(lambda kernel, stride, padding: _run(nn.AvgPool2d(kernel, stride, padding), x), at, every)


def batch_norm(size: Pair = (2, 2), channels: Pair = (2, 2)) -> Toy:
    """Batch normalisation of a few images in training, whose statistics are those of the batch."""
    c = _same("batch_norm", channels)
    layer = nn.BatchNorm2d(c)
    layer.load_state_dict(layer.state_dict() | {"weight": 1 + np.arange(c) % 3, "bias": _integers(c)})
    return Toy(_run(layer, _digits(BATCH, c, *size).astype(np.float32)))


def dropout(size: Pair = (4, 6), p: float = 0.5) -> Toy:
    """Dropout in training."""
    x, layer = Tensor(_digits(1, 1, *size), requires_grad=True), DropoutInOrder(p=p)
    layer(x, Dropout(p, KEY)(x.new_ones(*x.shape))).backward(Tensor(_integers(*x.shape)))
    return Toy(LayerRun(layer.operation, layer.settings, layer.arrays))


def cross_entropy(size: Pair = (3, 4)) -> Toy:
    """The mean cross-entropy of a few rows of logits, each with a class."""
    rows, classes = size
    x = Tensor(_integers(rows, classes).astype(np.float32), requires_grad=True)
    losses = CrossEntropy()(x, Tensor(np.arange(1, rows + 1) % classes))
    gy = np.full(rows, 1 / rows, np.float32)
    _, p, target = [t.data for t in losses.grad_fn.saved]
    losses.backward(Tensor(gy))
    arrays = {"x": x.data, "p": p, "target": target, "y": losses.data, "gy": gy, "gx": np.array(x.grad)}
    return Toy(LayerRun("cross_entropy", {}, arrays))


OPERATIONS: dict[str, Callable[..., Toy]] = {
    f.__name__: f for f in (conv2d, linear, max_pool2d, avg_pool2d, batch_norm, cross_entropy, dropout)}


def _same(name: str, channels: Pair) -> int:
    if channels[0] != channels[1]:
        raise ValueError(f"{name}: channels = {channels} must be equal, as many come out as go in")
    return channels[0]


def _toy(run: Callable[..., LayerRun], at: dict[str, Pair], every: dict[str, Any]) -> Toy:
    """The run at ``at``, and those of all positions where windows fit, the nearest first."""
    start = run(**at)
    here = {name: pair[0] for name, pair in at.items()} if all(a == b for a, b in at.values()) else None
    others, left = [], NUMBERS
    for position in sorted(_positions(every), key=lambda p: sum(abs(p[name] - at[name][0]) for name in p)):
        if position == here:
            continue
        try:
            found = run(**{name: (value, value) for name, value in position.items()})
        except RuntimeError:  # the window does not fit
            continue
        left -= sum(a.size for a in found.arrays.values())
        if left < 0:
            break
        others.append((position, found))
    return Toy(start, here, tuple(others))


def _positions(every: dict[str, Any]) -> Iterator[Position]:
    for values in itertools.product(*every.values()):
        yield dict(zip(every, values))


def _run(layer: nn.Module, x: np.ndarray) -> LayerRun:
    return run_layer(layer, "", Tensor(x), lambda y: y.backward(Tensor(_integers(*y.shape).astype(x.dtype))))[0]


def _digits(*shape: int) -> np.ndarray:
    """Integers 0 … 9, the same for the same shape."""
    return np.random.default_rng(math.prod(shape)).integers(0, 10, shape).astype(float)


def _integers(*shape: int, seed: int = 0) -> np.ndarray:
    """Integers −3 … 3 without 0, the same for the same shape and seed."""
    return np.random.default_rng((math.prod(shape), seed)).choice([-3, -2, -1, 1, 2, 3], shape).astype(float)
