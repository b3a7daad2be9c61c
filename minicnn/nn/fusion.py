"""Neighbours in a chain of modules that take one pass over memory together.

What a small network spends most of its time on is moving numbers. Two neighbours need not move them twice:

    BatchNorm, ReLU                     rectified while it is normalised, and the gradient on its way into the sums
    ReLU, MaxPool2d                     the largest of what is rectified is the largest, rectified: pooled first, there
                                        is a quarter of the elements left to rectify
    ReLU, Sigmoid or Tanh, AvgPool2d    rows are pooled while they are still in the cache, and on the way back what
                                        the pooling spreads is multiplied by the slope at once

Outputs and gradients are the same to the last bit. Whoever looks in between, with a hook, gets the modules one by one;
so does autocast, which rounds in between.
"""

from collections.abc import Callable, Iterable
from typing import Any

from ..engine import Tensor, mode
from ..ops.pool import activated_avg_pool2d
from .activation import ReLU, Sigmoid, Tanh
from .module import Module
from .normalisation import BatchNorm1d, BatchNorm2d, BatchNorm3d
from .pooling import AvgPool2d, MaxPool2d

_ACTIVATIONS: dict[type[Module], str] = {ReLU: "relu", Sigmoid: "sigmoid", Tanh: "tanh"}
_NORMS = BatchNorm1d, BatchNorm2d, BatchNorm3d
_FIRST = {*_ACTIVATIONS, *_NORMS}


def run(modules: Iterable[Module], input: Any) -> Any:
    """What the last module returns, each called with what the one before returned."""
    waiting: Module | None = None  # one that may have something to do with the next, and has not been called yet
    for module in modules:
        if waiting is not None:
            together = _together(waiting, module, input)
            if together is not None:
                input, waiting = together(input), None
                continue
            input = waiting(input)
        waiting = module if type(module) in _FIRST else None
        if waiting is None:
            input = module(input)
    return input if waiting is None else waiting(input)


def _together(first: Module, second: Module, x: Any) -> Callable[[Any], Any] | None:
    """second(first(·)) in one pass, where there is one and nobody can tell the difference."""
    if not isinstance(x, Tensor) or x.dtype.kind != "f" or mode.autocast:
        return None
    if not (_is_plain(first) and _is_plain(second)):
        return None
    if isinstance(first, _NORMS):
        return first.rectified if type(second) is ReLU else None
    if x.ndim != 4:
        return None
    if type(second) is AvgPool2d:
        return lambda x: activated_avg_pool2d(x, _ACTIVATIONS[type(first)], second.kernel_size, second.stride,
                                              second.padding, second.ceil_mode, second.count_include_pad,
                                              second.divisor_override)
    if type(second) is MaxPool2d and type(first) is ReLU and not second.return_indices:
        return lambda x: first(second(x))
    return None


def _is_plain(module: Module) -> bool:
    """Whether calling the module does what its class says, and nothing else."""
    return not (module._has_hooks() or "forward" in module.__dict__ or getattr(module, "inplace", False))
