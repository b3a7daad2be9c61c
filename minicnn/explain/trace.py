"""One forward pass of a network, written down: which modules were called, and what each of them computed.

The graph that autograd records has every branch, sum and concatenation of a network, whatever its code looks like.
Nodes are numbered as they are made: those of a module have the numbers from the beginning to the end of its call.
"""

import inspect
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .. import models, nn
from ..backend import owner
from ..engine import Function, Tensor, enable_grad, is_grad_enabled, set_grad_enabled

SYMBOLS = 16  # in the texts that a network is shown
Place = tuple[Function, int]  # a value: the node that made it, and the number of the output


@dataclass(eq=False)
class Call:
    """A call of a module: its nodes are numbered ``start`` … ``end``.

    Attributes:
        path: the name of the module in the network, "" for the network itself.
        above: the call within which it was made.
        kept: whether its nodes would be recorded without this trace; not under no_grad.
        inputs: the shapes of all tensors that it was given.
        outputs: all tensors that it returned.
        allocated: bytes of those that do not share the memory of an input.
    """

    path: str
    module: nn.Module
    above: "Call | None"
    kept: bool
    inputs: list[tuple[int, ...]]
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
    """What ``trace`` saw."""

    inputs: list[Tensor]
    calls: list[Call]  # in the order in which they began
    outputs: list[Tensor]

    @property
    def image(self) -> Function | None:
        """The node that stands for the image; texts, whose symbols have no gradient, have none."""
        return self.inputs[0].grad_fn

    @cached_property
    def nodes(self) -> list[Function]:
        """All that was recorded behind the inputs, in the order in which it was computed."""
        found, pending = set(), [t.grad_fn for call in self.calls for t in call.outputs]
        while pending:
            node = pending.pop()
            if node is not None and node not in found:
                found.add(node)
                pending += [source for source, _ in sources(node)]
        return sorted(found - {x.grad_fn for x in self.inputs}, key=lambda node: node.number)

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


def example(name: str, model: nn.Module, input_shape: tuple[int, ...] | None) -> list[Tensor]:
    """What to show a network: one image of this shape, or of that for which ``models.create`` made it, or texts."""
    if input_shape is None:
        spec = getattr(model, "spec", None)
        if spec is None:
            raise ValueError(f"{name}: input_shape is needed for a network that models.create did not make")
        entry = models.entry(spec.name)
        if not entry.reads_images:
            texts = [p for p in inspect.signature(model.forward).parameters.values() if p.default is p.empty]
            return [Tensor(np.ones((1, SYMBOLS), np.int64)) for _ in texts]
        input_shape = spec.in_channels, *entry.input_shape[1:]
    x = Tensor(np.zeros((1, *input_shape), np.float32))
    weight = next(model.parameters(), None)
    return [x if weight is None else x.to(weight)]


def trace(model: nn.Module, inputs: list[Tensor], heads: bool = False) -> Trace:
    """Call a network in evaluation mode; it comes out as it went in.

    ``heads`` puts the network itself, but no layer in it, into training mode, so that its auxiliary heads run too.
    """
    modes = [(module, module.training) for module in model.modules()]
    recorder = _Recorder()
    try:
        with ExitStack() as hooks, enable_grad():
            model.eval().training = heads
            for path, module in model.named_modules():
                for register, hook in ((module.register_forward_pre_hook, recorder.enter(path)),
                                       (module.register_forward_hook, recorder.leave)):
                    hooks.callback(register(hook, with_kwargs=True).remove)
            # clones, as a leaf that needs a gradient could not be written in place
            inputs = [x.detach().requires_grad_().clone() if x.is_floating_point() else x for x in inputs]
            outputs = list(tensors(model(*inputs)))
    finally:
        for module, mode in modes:
            module.training = mode
    return Trace(inputs, recorder.calls, outputs)


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
            above, given = self.open[-1][0] if self.open else None, list(tensors((args, kwargs)))
            call = Call(path, module, above, mode and (above is None or above.kept), [t.shape for t in given],
                        start=self.now())
            self.calls.append(call)
            self.open.append((call, mode, {(t.grad_fn, t.output_index) for t in given}))

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
    return owner(t.data)
