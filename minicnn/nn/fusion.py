"""Neighbours in a chain of modules that take one pass over memory together.

What a small network spends most of its time on is moving numbers. Two neighbours need not move them twice:

    BatchNorm, ReLU                     rectified while it is normalised, and the gradient on its way into the sums
    Conv2d, ReLU                        rectified while it is in the cache (where MaxPool2d follows, see there)
    ReLU, MaxPool2d                     the largest of what is rectified is the largest, rectified: pooled first, there
                                        is a quarter of the elements left to rectify
    ReLU, Sigmoid or Tanh, AvgPool2d    rows are pooled while they are still in the cache, and on the way back what
                                        the pooling spreads is multiplied by the slope at once

Outputs and gradients are the same to the last bit. Whoever looks in between, with a hook or a forward of his own, gets
the modules one by one; so does autocast, which rounds in between.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..engine import Tensor, mode
from ..ops.pool import activated_avg_pool2d
from .activation import ReLU, Sigmoid, Tanh
from .conv import Conv2d
from .module import Module
from .normalisation import BatchNorm1d, BatchNorm2d, BatchNorm3d
from .pooling import AvgPool2d, MaxPool2d

_ACTIVATIONS: dict[type[Module], str] = {ReLU: "relu", Sigmoid: "sigmoid", Tanh: "tanh"}
_RECTIFIED = Conv2d, BatchNorm1d, BatchNorm2d, BatchNorm3d  # those that have a method of that name
_FIRST = {*_ACTIVATIONS, *_RECTIFIED}
_KNOWN: set[type[Module]] = {*_FIRST, AvgPool2d, MaxPool2d}
_FORWARD = {kind: kind.forward for kind in _KNOWN}


def run(modules: Iterable[Module], input: Any) -> Any:
    """What the last module returns, each called with what the one before returned."""
    waiting = list(modules)
    while waiting:
        first, after = waiting[0], waiting[1:3]
        together = _together(first, after, input) if after and type(first) in _FIRST else None
        input = first(input) if together is None else together(input)
        del waiting[:1 if together is None else 2]
    return input


def _together(first: Module, after: Sequence[Module], x: Any) -> Callable[[Any], Any] | None:
    """after[0](first(·)) in one pass, where there is one and nobody can tell the difference."""
    second = after[0]
    if not isinstance(x, Tensor) or x.dtype.kind != "f" or mode.autocast:
        return None
    if not (_is_plain(first) and _is_plain(second)):
        return None
    if isinstance(first, _RECTIFIED):
        pooled = isinstance(first, Conv2d) and len(after) > 1 and _pools_first(second, after[1])
        return first.rectified if type(second) is ReLU and not pooled else None
    if x.ndim != 4:
        return None
    if type(second) is AvgPool2d:
        return lambda x: activated_avg_pool2d(x, _ACTIVATIONS[type(first)], second.kernel_size, second.stride,
                                              second.padding, second.ceil_mode, second.count_include_pad,
                                              second.divisor_override)
    return (lambda x: first(second(x))) if _pools_first(first, second) else None


def _pools_first(first: Module, second: Module) -> bool:
    """Whether max pooling may come before the rectifier."""
    return (type(first) is ReLU and type(second) is MaxPool2d and not second.return_indices and _is_plain(first)
            and _is_plain(second))


def _is_plain(module: Module) -> bool:
    """Whether calling the module does what is known of its class, and nothing else."""
    own, kind = module.__dict__, type(module)
    return (kind in _FORWARD and kind.forward is _FORWARD[kind]
            and not (module._has_hooks() or "forward" in own or own.get("inplace")))
