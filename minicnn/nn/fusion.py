"""Neighbours in a chain of modules that take one pass over memory together.

What a small network spends most of its time on is moving numbers. Two neighbours need not move them twice:

    ReLU, MaxPool2d                     the largest of what is rectified is the largest, rectified: pooled first, there
                                        is a quarter of the elements left to rectify
    ReLU, Sigmoid or Tanh, AvgPool2d    rows are pooled while they are still in the cache, and on the way back what
                                        the pooling spreads is multiplied by the slope at once

Outputs and gradients are the same to the last bit. Whoever looks in between, with a hook, gets the modules one by one.
"""

from collections.abc import Iterable
from typing import Any

from ..engine import Tensor
from ..ops.pool import activated_avg_pool2d
from .activation import ReLU, Sigmoid, Tanh
from .module import Module
from .pooling import AvgPool2d, MaxPool2d

_ACTIVATIONS = {ReLU: "relu", Sigmoid: "sigmoid", Tanh: "tanh"}


def run(modules: Iterable[Module], input: Any) -> Any:
    """What the last module returns, each called with what the one before returned."""
    waiting: Module | None = None  # an activation that has not been called yet
    for module in modules:
        if waiting is not None:
            input, waiting = _pair(waiting, module, input), None
        elif type(module) in _ACTIVATIONS:
            waiting = module
        else:
            input = module(input)
    return input if waiting is None else waiting(input)


def _pair(activation: Module, module: Module, x: Any) -> Any:
    """module(activation(x)), in one pass where there is one and nobody can tell the difference."""
    if isinstance(x, Tensor) and x.ndim == 4 and x.dtype.kind == "f" and _is_plain(activation) and _is_plain(module):
        if type(module) is AvgPool2d:
            return activated_avg_pool2d(x, _ACTIVATIONS[type(activation)], module.kernel_size, module.stride,
                                        module.padding, module.ceil_mode, module.count_include_pad,
                                        module.divisor_override)
        if type(module) is MaxPool2d and type(activation) is ReLU and not module.return_indices:
            return activation(module(x))
    return module(activation(x))


def _is_plain(module: Module) -> bool:
    """Whether calling the module does what its class says, and nothing else."""
    return not (module._has_hooks() or "forward" in module.__dict__ or getattr(module, "inplace", False))
