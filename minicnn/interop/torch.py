"""The same network in PyTorch: layers by their names, what happens between them from the graph that autograd records.

    network = models.create("resnet18")
    twin = to_torch(network)          # a torch.nn.Module with equal weights, to train, to time or to export
    print(twin.code)                  # its forward, as somebody would have written it

A layer of ``nn`` becomes PyTorch's of the same name, under the same path, so that both have the same ``state_dict``. A
module that PyTorch does not have, such as a block of a residual network, is opened: one image is traced, and the sums
and concatenations that it meets are written down. The result is a ``torch.fx.GraphModule``, plain Python code that
costs nothing beyond PyTorch itself.
"""

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import models, nn
from ..engine import Function
from ..explain.trace import Call, Place, Trace, example, sources, trace
from ..ops.arithmetic import Add, Mul
from ..ops.basic import Clone
from ..ops.join import Cat
from ..ops.pad import PadConstant
from ..ops.subscript import Slice

if TYPE_CHECKING:
    import torch

__all__ = ["to_torch"]


def to_torch(model: nn.Module, input_shape: tuple[int, ...] | None = None) -> "torch.nn.Module":
    """A network of PyTorch with the same layers, weights and running statistics, and in the same mode.

    Args:
        model: a network that takes a batch of images. In training mode one with auxiliary heads becomes one that
            returns (logits, logits of each head); in evaluation mode the heads are left out.
        input_shape: (C, H, W) of an image; None is what a model of ``models.create`` was made for.

    Raises:
        ModuleNotFoundError: PyTorch is not installed.
        TypeError: it has a layer or an operation that PyTorch has not, or a layer with several inputs or outputs.
        ValueError: the shape is missing, or the image does not fit.
    """
    try:
        from torch import fx
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("to_torch: the network it makes is one of PyTorch, which is not installed: "
                                  "pip install torch", name=error.name) from error

    if _counterpart(model) is not None:
        return _layer(model)
    heads = model.training and isinstance(model, models.HeadedNetwork)
    seen = trace(model, example("to_torch", model, input_shape), heads)
    if seen.image is None:
        raise TypeError("to_torch: the network reads texts; only those that read images can be converted")
    graph = fx.Graph()
    tracer = fx.proxy.GraphAppendingTracer(graph)
    values: dict[Any, fx.Proxy] = {(seen.image, 0): fx.Proxy(graph.placeholder("x"), tracer)}
    within = _within_layers(seen)
    for node in seen.nodes:
        call = seen.caller[node]
        if call not in within:
            values[node, 0] = _operation(node, [values[place] for place in sources(node) if place in values], call)
        elif node is within[call][-1]:
            x = values[_input(call, within[call], values)]
            values[node, 0] = fx.Proxy(graph.call_module(call.path, (x.node,)), tracer)
    results = tuple(values[t.grad_fn, t.output_index].node for t in seen.outputs)
    graph.output(results if len(results) > 1 else results[0])
    twin = fx.GraphModule(_tree(model), graph, type(model).__name__)
    twin.training = model.training  # the layers have their own
    return twin


def _within_layers(seen: Trace) -> dict[Call, list[Function]]:
    """What was computed within each call of a layer that PyTorch has, too; the last of it is what it returned."""
    found: dict[Call, list[Function]] = {}
    for node in seen.nodes:
        call = seen.caller[node]
        if _counterpart(call.module) is not None:
            found.setdefault(call, []).append(node)
    return found


def _input(call: Call, nodes: list[Function], values: dict[Any, Any]) -> Place:
    """The value that a layer was called with."""
    given = {place for node in nodes for place in sources(node) if place in values}
    if len(given) != 1 or [(t.grad_fn, t.output_index) for t in call.outputs] != [(nodes[-1], 0)]:
        raise TypeError(f"to_torch: {call.path} ({type(call.module).__name__}) has {len(call.inputs)} inputs and "
                        f"{len(call.outputs)} outputs; only layers with one of each can be converted")
    return given.pop()


def _operation(node: Any, xs: list, call: Call) -> Any:
    """What a node computes, recorded for PyTorch."""
    import torch

    if len(xs) == len(node.edges):  # none of its inputs is a constant or a parameter
        match node:
            case Clone():  # the trace puts it where a module hands on what it got
                return xs[0]
            case Add():
                return xs[0] + xs[1]
            case Mul():
                return xs[0] * xs[1]
            case Cat():
                return torch.cat(xs, node.axis)
            case Slice():
                return node.pick(xs[0])
            case PadConstant():
                pads = [n for pair in reversed(node.pads) for n in pair]
                return torch.nn.functional.pad(xs[0], pads, "constant", node.value)
    where = f"{call.path or 'the network'} ({type(call.module).__name__})"
    raise TypeError(f"to_torch: {where} does {type(node).__name__}, which is not converted; layers of PyTorch, +, *, "
                    "cat, pad and slices of tensors are")


# -- layers ---------------------------------------------------------------------------------------------------------


def _counterpart(layer: nn.Module) -> Any:
    """PyTorch's class for a layer of ``nn``; None for a module that is made of others, or that PyTorch has not."""
    import torch

    name = type(layer).__name__
    if type(layer) is not getattr(nn, name, None) or any(True for _ in layer.children()):
        return None
    return getattr(torch.nn, name, None)


def _tree(model: nn.Module) -> "torch.nn.Module":
    """All layers that PyTorch has under their paths."""
    import torch

    root = torch.nn.Module()
    for path, module in model.named_modules():
        above, _, name = path.rpartition(".")
        if path:
            found = torch.nn.Module() if _counterpart(module) is None else _layer(module)
            root.get_submodule(above).add_module(name, found)
    return root


def _layer(layer: nn.Module) -> "torch.nn.Module":
    """PyTorch's layer with the arguments, weights and buffers of ours, which it keeps under the same names."""
    import torch

    kind, state = _counterpart(layer), layer.state_dict()
    known = {name: getattr(layer, name) for name in inspect.signature(kind).parameters if hasattr(layer, name)}
    if "bias" in known:
        known["bias"] = layer.bias is not None
    made = kind(**known)
    dtypes = [t.dtype for t in state.values() if t.is_floating_point()]
    if dtypes:
        made = made.to(getattr(torch, dtypes[0].name))
    made.load_state_dict({name: torch.from_numpy(np.array(t.data)) for name, t in state.items()})
    for ours, theirs in zip(layer.parameters(), made.parameters(), strict=True):
        theirs.requires_grad_(ours.requires_grad)
    return made.train(layer.training)
