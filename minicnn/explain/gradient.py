"""Why a gradient is zero: where, on the way from a tensor to the loss, it ends, and what ends it.

An element moves some outputs of every operation that reads it, those move outputs of the next ones, and so on to the
loss. Its gradient is 0 if that ends everywhere before the loss. Which outputs move is what J·v shows, with v random on
the elements looked at; J·v is the derivative of ⟨backward(gy), v⟩ with respect to gy, as backward is linear in gy and
itself made of operations. So nothing here needs to know an operation; reasons.py puts into words what it did.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import engine
from ..backend import Device, conv_algorithm, move, to_numpy
from ..dtypes import is_floating
from ..engine import Function, Handle, Tensor, enable_grad
from ..engine.tensor import _DetachedClock
from ..nn import Module
from ..nn.hooks import Tap
from .reasons import Values, reason

__all__ = ["Cause", "GradientReport", "gradient"]


@dataclass(frozen=True)
class Cause:
    """A place where a gradient ends.

    Attributes:
        kind: what ended it, such as "dead relu", "lost maximum", "uncovered", "dropped", "saturated" or "masked".
        operation: which operation it is, and behind which parameters; empty if there is none.
        ended: how many values, of those that the elements asked about move, move nothing any more from here on.
        of: how many such values there are here.
        text: what happened, with the values of the first of them.
    """

    kind: str
    operation: str
    ended: int
    of: int
    text: str

    def __str__(self) -> str:
        if not self.operation:
            return f"{self.kind}: {self.text}"
        share = f", {self.ended:,} of {self.of:,} values" if self.of > 1 else ""
        return f"{self.kind}, in {self.operation}{share}: {self.text}"


@dataclass(frozen=True)
class GradientReport:
    """What ``gradient`` found; prints as a text.

    Attributes:
        name: of the tensor, with the index asked for.
        gradient: of the tensor (or the element asked for); None if none arrives at all.
        zeros: how many of its elements are 0.
        causes: where these end, from the tensor towards the loss; empty if there are none.
    """

    name: str
    gradient: np.ndarray | None
    zeros: int
    causes: tuple[Cause, ...]

    def __str__(self) -> str:
        if self.gradient is None:
            head = f"{self.name}: no gradient arrives"
        elif self.gradient.ndim == 0:
            head = f"{self.name}: the gradient is {self.gradient:.4g}"
        else:
            head = f"{self.name}: the gradient of {self.zeros:,} of {self.gradient.size:,} elements is 0"
        return "\n".join([head, *[f"  {cause}" for cause in self.causes]])


def gradient(loss: Tensor, of: Tensor, index: tuple[int, ...] | int | None = None, *, tolerance: float = 0.0,
             model: Module | None = None) -> GradientReport:
    """Find out why the gradient of a tensor, or of one of its elements, is zero.

        x = minicnn.randn(1, 1, 6, 6, requires_grad=True)
        loss = conv2d(x, w, stride=4).sum()
        print(minicnn.explain.gradient(loss, x, (0, 0, 3, 3)))    # uncovered: no window covers row 3, column 3: ...

    Args:
        loss: what is differentiated, one number; its graph must not have been freed: ask before ``backward()``, or
            after ``backward(retain_graph=True)``. Gradients that are there (``.grad``) are left alone.
        of: a parameter, an input or a result on the way, with requires_grad.
        index: of one element; None is about all those whose gradient is 0.
        tolerance: gradients up to this size count as 0.
        model: the network, for the names of its parameters.

    Raises:
        RuntimeError: the loss is not a number with a history, or the graph was freed.
        IndexError: the index does not name one element.
        TypeError: loss or of is no tensor of minicnn.
    """
    for role, given in (("loss", loss), ("of", of)):
        if not isinstance(given, Tensor):
            raise TypeError(f"explain.gradient: {role} must be a tensor of minicnn, not {type(given).__name__}")
    names = {} if model is None else {id(p): name for name, p in model.named_parameters()}
    name = names.get(id(of)) or f"the tensor {of.shape}"
    chosen = _chosen(of, index)
    if index is not None:
        place = index if isinstance(index, tuple) else (index,)
        name += f" at [{', '.join(map(str, place))}] = {float(to_numpy(of.data)[place]):.4g}"
    seed = engine.initial_gradient(loss, None)
    flow = _Flow(loss, names)
    if flow.place(of) not in flow.read:
        return GradientReport(name, None, int(chosen.sum()), (_unread(of, flow),))
    with flow.watching_hooks():
        (found,), _ = engine.walk([loss], [seed], [of], True, False)
    g = np.zeros(of.shape) if found is None else to_numpy(found.data)  # None: what reads it has no derivative at all
    zero = chosen & (abs(g) <= tolerance)
    causes = flow.follow(of, zero) if zero.any() else ()
    return GradientReport(name, g[index] if index is not None else g, int(zero.sum()), tuple(causes))


def _chosen(of: Tensor, index: tuple[int, ...] | int | None) -> np.ndarray:
    mask = np.zeros(of.shape, bool)
    if index is None:
        mask[...] = True
        return mask
    try:
        one = np.ndim(mask[index]) == 0
    except IndexError:  # there is none
        one = False
    if not one:
        raise IndexError(f"explain.gradient: index {index} must name one element of a tensor of shape {of.shape}")
    mask[index] = True
    return mask


def _unread(of: Tensor, flow: "_Flow") -> Cause:
    """The cause if nothing that leads to the loss reads a tensor."""
    if not of.requires_grad:
        return Cause("frozen", "", of.numel(), of.numel(), "its requires_grad is False; call requires_grad_() on it "
                     "before the computation")
    cuts = list(flow.cuts(of))
    text = "nothing that leads to the loss reads it: its module was not called, or what it computed was cut off on the "
    text += "way (detach(), no_grad(), .data, .numpy(), argmax)"
    if cuts:
        text += f"; {' and '.join(cuts)}"
    return Cause("detached" if cuts else "unused", "", of.numel(), of.numel(), text)


class _Flow:
    """The graph of a loss, and which values are read in it. A place is a value: (node, number of the output), or the
    id of a leaf."""

    def __init__(self, loss: Tensor, names: dict[int, str]) -> None:
        self.names = names
        self.loss, self.device = self.place(loss), loss.device
        self.nodes = nodes_of(loss)
        if any(node._saved is None for node in self.nodes):
            raise RuntimeError("explain.gradient: the graph was freed by an earlier backward; ask before it, or call "
                               "that backward with retain_graph=True")
        self.read = {self.loss, *[self.place(e) for node in self.nodes for e in node.edges if e is not None]}
        self.values = Values(self.nodes)
        self.hooked: dict[Any, list[np.ndarray]] = {}  # gradients before and after the hooks of a place

    @staticmethod
    def place(value: Any) -> Any:
        """Where the gradient of a tensor, or of the input at an edge, arrives."""
        if isinstance(value, tuple):
            return value
        return (value.grad_fn, value.output_index) if value.grad_fn is not None else id(value)

    def cuts(self, of: Tensor) -> Iterator[str]:
        """What enters the graph detached; if that is the tensor itself, only this."""
        found = [(node, t, t._clock.whole) for node in self.nodes for t in self.values.constants(node)
                 if isinstance(t._clock, _DetachedClock)]
        own = [entry for entry in found if entry[2] is of._clock]
        for node, t, _ in own or found:
            yield f"{'it' if own else f'a tensor {t.shape}'} enters {self.called(node)} detached"

    def called(self, node: Function) -> str:
        """An operation, with what it is behind: the parameters of the last operation before it that has any."""
        kind, shape = node.name.removesuffix("Backward"), node.outputs[0][0]
        below: Any = node
        while below is not None:
            behind = [self.names[id(e)] for e in below.edges if isinstance(e, Tensor) and id(e) in self.names]
            if behind:
                how = "of" if below is node else "behind"
                return f"{kind} {how} {behind[0].removesuffix('.weight')} {shape}"
            below = next((e[0] for e in below.edges if isinstance(e, tuple)), None)
        return f"{kind} {shape}"

    def watching_hooks(self) -> ExitStack:
        """Keep, in ``hooked``, the gradients before and after the hooks of everything that has some."""
        stack = ExitStack()
        leaves = {id(e): e for node in self.nodes for e in node.edges if isinstance(e, Tensor)}
        places: dict[Any, dict | None] = {place: leaf._hooks for place, leaf in leaves.items()}
        for node in self.nodes:
            places |= {(node, i): hooks for i, hooks in (node._hooks or {}).items()}
        for place, hooks in places.items():
            if hooks:
                kept = self.hooked[place] = []
                for order in (-1, sys.float_info.max):  # numbers of hooks begin at 0
                    keep = Handle(hooks, lambda g, kept=kept: kept.append(to_numpy(g.data).copy()), order)
                    stack.callback(keep.remove)
        return stack

    def follow(self, of: Tensor, mask: np.ndarray) -> Iterator[Cause]:
        """Where the elements in the mask end."""
        rng = np.random.default_rng(0)
        reached: dict[Any, np.ndarray] = {}
        yield from self._arrive(reached, self.place(of), mask, f"the tensor {of.shape}")
        with conv_algorithm("im2col"):  # in which what is not moved stays exactly 0
            for node in self.nodes:
                moved: dict[int, np.ndarray] = {}
                read = [i for i in range(len(node.outputs)) if (node, i) in self.read]
                for slot, edge in enumerate(node.edges):
                    arrived = None if edge is None else reached.get(self.place(edge))
                    if arrived is None or not arrived.any():
                        continue
                    outputs, ended = _through(node, slot, arrived, read, self.device, rng)
                    if ended.any():
                        kind, text = reason(node, slot, ended, self.values)
                        yield Cause(kind, self.called(node), int(ended.sum()), int(arrived.sum()), text)
                    for i, where in outputs.items():
                        moved[i] = moved.get(i, False) | where
                for i, where in moved.items():
                    yield from self._arrive(reached, (node, i), where, self.called(node))
        if reached.get(self.loss) is not None:
            yield Cause("cancelled", "", 1, 1, "it does move values that the loss depends on, but what they contribute "
                        "adds up to 0, as that of a bias before batch norm does")

    def _arrive(self, reached: dict[Any, np.ndarray], place: Any, mask: np.ndarray, called: str) -> Iterator[Cause]:
        """Enter the elements that are reached at a place, if no hook ends them there."""
        if not mask.any():
            return
        ended = mask & False
        if self.hooked.get(place):
            before, after = self.hooked[place]
            ended = mask & (before != 0) & (after == 0)
            if ended.any():
                first = before[tuple(np.argwhere(ended)[0])]
                yield Cause("masked", called, int(ended.sum()), int(mask.sum()),
                            f"a hook made 0 of the gradient {first:.4g}")
        if not ended.all():
            reached[place] = mask & ~ended


def nodes_of(loss: Tensor) -> list[Function]:
    """All operations that lead to the loss, in the order in which they were computed."""
    found, pending = set(), [loss.grad_fn]
    while pending:
        node = pending.pop()
        if node is not None and node not in found:
            found.add(node)
            pending += [edge[0] for edge in node.edges if isinstance(edge, tuple)]
    return sorted(found, key=lambda node: node.number)


def _through(node: Function, slot: int, mask: np.ndarray, read: list[int], device: Device,
             rng: np.random.Generator) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """Which elements of the outputs that are read move with the elements of an input in the mask, and which of these
    move none."""
    if isinstance(node, Tap):  # it passes all on, and calls hooks, which need not hear of this
        return {slot: mask}, mask & False

    def positive(shape: tuple[int, ...], dtype: np.dtype, where: Any = True) -> Tensor:
        return Tensor(move(np.asarray(rng.uniform(0.5, 1.5, shape) * where, dtype), device))

    gys: list[Any] = [positive(shape, dtype, i in read) if is_floating(dtype) else None
                      for i, (shape, dtype) in enumerate(node.outputs)]
    seeds = {i: gys[i].requires_grad_() for i in read if gys[i] is not None and i not in node.constant_outputs}
    with enable_grad():
        gxs = node.backward(*gys)
        gx = (gxs if isinstance(gxs, tuple) else (gxs,))[slot]
        if gx is None:
            return {}, mask
        if node.broadcasts:
            gx = engine.sum_to(gx, mask.shape)
    ended = mask & (to_numpy(gx.data) == 0)
    going = mask & ~ended
    if not gx.requires_grad:  # no derivative at all, or one that is not made of operations: then all may move
        return {i: np.full(gy.shape, going.any()) for i, gy in seeds.items()}, ended
    moved, _ = engine.walk([gx], [positive(gx.shape, gx.dtype, going)], list(seeds.values()), True, False)
    return {i: to_numpy(jv.data) != 0 for i, jv in zip(seeds, moved, strict=True) if jv is not None}, ended
