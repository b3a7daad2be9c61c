"""One forward pass of a network, written down: which modules were called, and what each of them computed.

The graph that autograd records has every branch, sum and concatenation of a network, whatever its code looks like. Its
nodes are numbered as they are made, so those of a module have the numbers between the beginning and the end of its call.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .. import models, nn
from ..engine import Function, Tensor, enable_grad, is_grad_enabled, set_grad_enabled

Place = tuple[Function, int]  # a value: the node that made it, and the number of the output


@dataclass(eq=False)
class Call:
    """A call of a module: its nodes are numbered ``start`` … ``end``.

    Attributes:
        path: the name of the module in the network, "" for the network itself.
        above: the call within which it was made.
        kept: whether its nodes would be recorded without this trace; not under no_grad.
        outputs: all tensors that it returned.
        allocated: bytes of those that do not share the memory of an input.
    """

    path: str
    module: nn.Module
    above: "Call | None"
    kept: bool
    start: int = 0
    end: int = 0
    outputs: list[Tensor] = field(default_factory=list)
    allocated: int = 0

    @property
    def is_layer(self) -> bool:
        """Whether the module has no modules inside."""
        return not any(True for _ in self.module.children())

    @property
    def depth(self) -> int:
        """How many names its path has."""
        return self.path.count(".") + 1 if self.path else 0


@dataclass(eq=False)
class Trace:
    """What ``trace`` saw; ``image`` is the node that stands for the image."""

    input_shape: tuple[int, ...]
    image: Function
    calls: list[Call]  # in the order in which they began
    outputs: list[Tensor]

    @cached_property
    def nodes(self) -> list[Function]:
        """All that was recorded behind the image, in the order in which it was computed."""
        found, pending = set(), [t.grad_fn for call in self.calls for t in call.outputs]
        while pending:
            node = pending.pop()
            if node is not None and node not in found:
                found.add(node)
                pending += [source for source, _ in sources(node)]
        return sorted(found - {self.image}, key=lambda node: node.number)

    @cached_property
    def caller(self) -> dict[Function, Call]:
        """The innermost call that each node was made in."""
        found, inner, following = {}, self.calls[0], self.calls[:0:-1]
        for node in self.nodes:
            while following and following[-1].start < node.number:
                inner = following.pop()
            while inner.end < node.number and inner.above is not None:
                inner = inner.above
            found[node] = inner
        return found


def sources(node: Function) -> list[Place]:
    """The values that a node takes in, without leaves and constants."""
    return [edge for edge in node.edges if isinstance(edge, tuple)]


def image_shape(name: str, model: nn.Module, input_shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape given, or that of the images for which ``models.create`` made the model."""
    if input_shape is not None:
        return tuple(input_shape)
    spec = getattr(model, "spec", None)
    if spec is None:
        raise ValueError(f"{name}: input_shape is needed for a network that models.create did not make")
    return spec.in_channels, *models.entry(spec.name).input_shape[1:]


def trace(model: nn.Module, input_shape: tuple[int, ...]) -> Trace:
    """Send one image of zeros through a network in evaluation mode; the network comes out as it went in."""
    weight = next(model.parameters(), None)
    x = Tensor(np.zeros((1, *input_shape), np.float32))
    if weight is not None:
        x = x.to(weight)
    modes = [(module, module.training) for module in model.modules()]
    recorder = _Recorder()
    try:
        with ExitStack() as hooks, enable_grad():
            model.eval()
            for path, module in model.named_modules():
                for register, hook in ((module.register_forward_pre_hook, recorder.enter(path)),
                                       (module.register_forward_hook, recorder.leave)):
                    hooks.callback(register(hook, with_kwargs=True).remove)
            image = x.requires_grad_().clone()  # a leaf itself could not be written in place
            outputs = list(tensors(model(image)))
    finally:
        for module, mode in modes:
            module.training = mode
    assert image.grad_fn is not None
    return Trace(tuple(input_shape), image.grad_fn, recorder.calls, outputs)


class _Recorder:
    """The hooks that write down the calls."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.open: list[tuple[Call, bool, set]] = []  # with the mode and the inputs that they began with
        self.probe = Tensor(np.zeros(()), requires_grad=True)

    def now(self) -> int:
        """A number between those of the nodes made before and after."""
        return self.probe.clone().grad_fn.number

    def enter(self, path: str) -> Any:
        def begin(module: nn.Module, args: tuple, kwargs: dict) -> None:
            mode = is_grad_enabled()
            set_grad_enabled(True)
            above = self.open[-1][0] if self.open else None
            call = Call(path, module, above, mode and (above is None or above.kept), self.now())
            self.calls.append(call)
            self.open.append((call, mode, {(t.grad_fn, t.output_index) for t in tensors((args, kwargs))}))

        return begin

    def leave(self, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> Any:
        call, mode, inputs = self.open.pop()
        owned = {id(memory(t)) for t in tensors((args, kwargs))}
        call.allocated = sum(t.data.nbytes for t in tensors(output) if id(memory(t)) not in owned)
        if isinstance(output, Tensor) and (output.grad_fn, output.output_index) in inputs:
            output = output.clone()  # a layer that does nothing, as dropout now, is a step of its own all the same
        call.outputs, call.end = list(tensors(output)), self.now()
        set_grad_enabled(mode)
        return output


def tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for element in value.values() if isinstance(value, dict) else value:
            yield from tensors(element)


def memory(t: Tensor) -> Any:
    """The array that owns a tensor's memory."""
    return t.data if t.data.base is None else t.data.base
