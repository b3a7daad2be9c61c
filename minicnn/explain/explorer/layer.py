"""A layer of a network in one run forward and backward, with all arrays that it saw."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ... import nn
from ...engine import Function, Tensor
from .in_order import in_order


@dataclass
class LayerRun:
    """What ``run_layer`` saw.

    Attributes:
        operation: what the page calls the layer: conv2d, max_pool2d, avg_pool2d, batch_norm, dropout, or "other" for
            those whose sums it does not explain.
        settings: numbers besides the tensors, such as the stride.
        arrays: ``x w b y gy gx gw gb`` and what else the operation has.
        fast: by how much the output of the fast kernels differs, which add in another order.
    """

    operation: str
    settings: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    fast: float = 0.0


def run_layer(network: nn.Module, path: str, x: Tensor,
              backward: Callable[[Any], None]) -> tuple[LayerRun, Any]:
    """Run a network with one of its layers computed in the order in which it is explained.

    Args:
        path: the name of the layer; "" is the network itself.
        x: what the network is given; a leaf that requires a gradient gets it.
        backward: is given what the network returns, and starts the way back.

    Returns:
        The layer's run, and what the network returned.

    Raises:
        ValueError: the layer is not called, more than once, or not with one tensor to give another.
    """
    layer, seen = network.get_submodule(path), list[tuple[Watch, Watch, Any, float]]()

    def enter(module: nn.Module, args: tuple) -> tuple:
        if len(args) != 1 or not isinstance(args[0], Tensor) or not args[0].requires_grad:
            raise ValueError(f"layer {path!r} does not take one tensor that depends on the image")
        seen.append((Watch(), Watch(), None, 0.0))
        return seen[-1][0](args[0])

    def leave(module: nn.Module, args: tuple, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise ValueError(f"layer {path!r} does not return one tensor")
        entered, left, *_ = seen.pop()
        found, difference = in_order(output, args[0], dict(module.named_parameters(recurse=False))), 0.0
        if found is not None:
            difference = float(np.abs(found[1].data - output.data).max(initial=0))
            output = found[1]
        seen.append((entered, left, found and found[0], difference))
        return left(output)

    with ExitStack() as hooks:
        hooks.callback(layer.register_forward_pre_hook(enter).remove)
        hooks.callback(layer.register_forward_hook(leave).remove)
        result = network(x if x.requires_grad else x.detach().requires_grad_())
    if len(seen) != 1:
        raise ValueError(f"layer {path!r} is called {len(seen)} times in a run; only what is called once is explained")
    backward(result)
    entered, left, found, difference = seen[0]
    if left.gradient is None:
        raise ValueError(f"layer {path!r} has no influence on what the network is asked for")
    if found is not None:
        return LayerRun(found.operation, found.settings, found.arrays, difference), result
    arrays = {"x": entered.value, "y": left.value, "gx": entered.gradient, "gy": left.gradient}
    return LayerRun("other", {}, {name: a for name, a in arrays.items() if a is not None}), result


class Watch(Function):
    """y = x, and a note of it and of its gradient."""

    value: np.ndarray
    gradient: np.ndarray | None = None

    def forward(self, x):
        self.value = x.copy()
        return x.copy()

    def backward(self, gy):
        self.gradient = gy.data.copy()
        return gy
