"""Compiling every CPU kernel for float32 ahead of time, so that nothing waits for the compiler later."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import minicnn as mc

from .. import functional as F
from .. import nn
from ..autograd import grad
from ..ops.creation import arange, from_numpy, ones, rand, tensor
from ..ops.join import cat
from ..optim import SGD, Adam
from .cases import KERNELS, NETWORKS, case

__all__ = ["cached", "warm"]

ELEMENTWISE = ("elu", "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "relu",
               "sigmoid", "silu", "softplus", "softshrink", "softsign", "tanh", "tanhshrink")


def warm() -> Iterator[str]:
    """Run every kernel once, and say after what: a step of each case, which takes each way to convolve, then the rest.

    Which code a convolution runs depends on its size, so that these are as large as those that are timed.
    """
    for name in NETWORKS | KERNELS:
        case(name).prepare(mc)[1]()
        yield name
    for run in (_activations, _arithmetic, _layers, _sequences, _optimisers):
        run()
        yield run.__name__.strip("_")


def cached() -> tuple[int, Path]:
    """How many compiled functions there are on disk, and where."""
    from numba.core.caching import FunctionCache

    from ..kernels.cpu import support

    folder = Path(FunctionCache(support.for_floats).cache_path)
    return len([*folder.glob("*.nbc")]), folder


def _both_ways(call: Callable[[Any], Any], *shape: int) -> None:
    """Forward, backward and, where a gradient is made of kernels of its own, that of the gradient."""
    x = from_numpy(np.random.default_rng(0).standard_normal(shape, dtype=np.float32)).requires_grad_()
    call(x).square().sum().backward()
    (gx,) = grad(call(x).square().sum(), [x], create_graph=True)
    gx.square().sum().backward()  # type: ignore[union-attr]  # nothing is unused


def _activations() -> None:
    for name in ELEMENTWISE:
        _both_ways(getattr(F, name), 4, 300)
    _both_ways(lambda x: F.gelu(x, approximate="tanh"), 4, 300)
    _both_ways(lambda x: F.threshold(x, 0.1, 0.5), 4, 300)
    _both_ways(lambda x: F.prelu(x, x.mean().abs().reshape(1)), 4, 300)
    _both_ways(lambda x: F.huber_loss(x, -x), 4, 300)
    _both_ways(lambda x: F.binary_cross_entropy_with_logits(x, x.detach().sigmoid()), 4, 300)
    _both_ways(lambda x: x.erf(), 4, 300)
    _both_ways(lambda x: x.erfc(), 4, 300)
    _both_ways(lambda x: F.cross_entropy(x, arange(8)), 8, 40)
    for shape in ((8, 40), (4, 30, 5, 5)):
        _both_ways(lambda x: F.softmax(x, 1), *shape)
        _both_ways(lambda x: F.log_softmax(x, 1), *shape)


def _arithmetic() -> None:
    """Of arrays large enough to be worth the threads."""
    _both_ways(lambda x: cat([(x + x.exp()) * x - x / (x.abs() + 1), x], 1), 256, 512)


def _layers() -> None:
    image = 4, 8, 12, 12
    for pool in (F.max_pool2d, F.avg_pool2d):
        _both_ways(partial(pool, kernel_size=2), *image)
        _both_ways(partial(pool, kernel_size=3, stride=2, padding=1), *image)
    _both_ways(partial(F.adaptive_avg_pool2d, output_size=1), *image)
    for activation in (nn.ReLU, nn.Sigmoid, nn.Tanh):
        _both_ways(nn.Sequential(activation(), nn.AvgPool2d(2)), *image)
    layer: nn.Module
    for layer in (nn.BatchNorm2d(8), nn.BatchNorm2d(8).eval(), nn.GroupNorm(2, 8), nn.ConvTranspose2d(8, 4, 3, 2)):
        _both_ways(layer, *image)
    for layer in (nn.BatchNorm1d(300), nn.LayerNorm(300), nn.Dropout(), nn.RReLU(), nn.Linear(300, 200)):
        _both_ways(layer, 200, 300)
    _both_ways(lambda x: F.fold(F.unfold(x, 3), (12, 12), 3), *image)
    _both_ways(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), *image)
    for shape in ((300,), (30, 40), (30, 300)):
        _both_ways(lambda x: x[arange(60) % 20], *shape)
    places = rand(4, 6, 6, 2).requires_grad_()
    _both_ways(lambda x: F.grid_sample(x, places, align_corners=False), *image)


def _first_output(module: nn.Module) -> Callable[[Any], Any]:
    return lambda x: module(x)[0]


def _sequences() -> None:
    for rnn in (nn.RNN(6, 5), nn.LSTM(6, 5), nn.GRU(6, 5)):
        _both_ways(_first_output(rnn), 7, 3, 6)
    symbols, frames, counts = tensor(np.tile([1, 2, 3], (3, 1))), tensor([9] * 3), tensor([3] * 3)
    _both_ways(lambda x: F.ctc_loss(F.log_softmax(x, 2), symbols, frames, counts), 9, 3, 5)


def _optimisers() -> None:
    for make in (SGD, Adam):
        p = nn.Parameter(ones(40))
        p.grad = ones(40)
        make([p], lr=0.1).step()
