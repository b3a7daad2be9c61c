"""The backward walk: from an output to the leaves, every node after all of its consumers.

A recorded operation is its own node of the graph. Each node has a number, counted up as nodes are made, so whatever
used an output has a higher number than the node that made it: taking the pending node with the highest number, again
and again, visits every node after all of its consumers. No recursion, no sorting of the graph beforehand.

    x ──► Mul ──► Sum ──► loss            node.edges[i] says where the gradient of input i goes:
    w ───┘  1      2                      a leaf tensor, or (node, number of the output)
"""

import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .. import backend, dtypes
from .anomaly import check_backward
from .function import Function
from .modes import mode, set_grad_enabled, silence
from .tensor import Tensor


def backward(self: Tensor, gradient: "Tensor | None" = None, retain_graph: bool | None = None,
             create_graph: bool = False, inputs: "Iterable[Tensor] | Tensor | None" = None) -> None:
    """Add the gradient of this tensor to ``.grad`` of every leaf (or of ``inputs`` only).

    ``gradient`` is the gradient of what is differentiated with respect to this tensor; a scalar needs none (it is
    1). The graph is freed on the way unless ``retain_graph``; ``create_graph`` records the gradients themselves.
    """
    seeds = [initial_gradient(self, gradient)]
    retain = create_graph if retain_graph is None else retain_graph
    targets = None
    if inputs is not None:
        targets = list({id(t): t for t in ([inputs] if isinstance(inputs, Tensor) else inputs)}.values())
        if not targets:
            raise RuntimeError("backward: inputs is empty; leave it out for all leaves")
        for i, t in enumerate(targets):
            if not t._requires_grad:
                raise RuntimeError(f"backward: input {i} (shape {t.shape}) does not require a gradient; call "
                                   "requires_grad_() on it before the computation")
    captured, leaves = walk([self], seeds, targets, retain, create_graph)
    if targets is None:
        pairs: Iterable = leaves.values()
    else:
        pairs = ((t, g) for t, g in zip(targets, captured, strict=True) if g is not None)
    _accumulate(pairs, seeds, create_graph)


def initial_gradient(output: Tensor, gradient: Tensor | None) -> Tensor:
    """The gradient to start from: the one given, checked, or 1 for a scalar."""
    if not output._requires_grad:
        raise RuntimeError("this tensor does not require grad and has no grad_fn; nothing it was computed from has "
                           "requires_grad=True, or it was computed under no_grad()")
    if gradient is None:
        if output.data.size != 1:
            raise RuntimeError("a gradient can be created by itself only for scalar outputs, not for shape "
                               f"{output.shape}; reduce to a scalar (such as a loss) first, or pass gradient=")
        with backend.current(output.data):
            return Tensor(backend.array_module(output.data).ones_like(output.data))
    if not isinstance(gradient, Tensor):
        raise TypeError(f"gradient must be a Tensor, not {type(gradient).__name__}")
    if gradient.shape != output.shape:
        raise RuntimeError(f"gradient has shape {gradient.shape}, but the output has shape {output.shape}")
    return gradient


def walk(outputs: list[Tensor], gradients: list[Tensor], targets: list[Tensor] | None, retain_graph: bool,
         create_graph: bool) -> tuple[list[Tensor | None], dict[int, tuple[Tensor, Tensor]]]:
    """Carry gradients from outputs backwards.

    Returns the gradients of ``targets`` (None where none arrives) and, for targets None, {id: (leaf, gradient)}.
    With targets, only what leads to one of them is computed.
    """
    pending: dict[Function, list[Any]] = {}  # gradients of a node's outputs; None for those that have not come in
    leaves: dict[int, tuple[Tensor, Tensor]] = {}
    heap: list[tuple[int, Function]] = []
    captured: dict[tuple, Tensor | None] = {}
    goals = {_place(t) for t in targets or ()}
    useful = None if targets is None else _leading_to(outputs, goals)
    sums: set[Any] = set()  # places whose gradient is a sum made here, which may be added to in place

    def add(a: Tensor, b: Tensor, place: Any) -> Tensor:
        if create_graph:
            return a + b
        if place in sums:
            a.data = backend.arithmetic_for(a.data, b.data).iadd(a.data, b.data)
            return a
        sums.add(place)
        return Tensor(backend.arithmetic_for(a.data, b.data).add(a.data, b.data))

    def deliver(edge: Any, g: Tensor, sender: Function | str) -> None:
        if type(edge) is tuple:
            node, index = edge
            slots = pending.get(node)
            if slots is None:
                slots = pending[node] = [None] * len(node.outputs)
                heapq.heappush(heap, (-node.number, node))
            shape, dtype = node.outputs[index]
            g, before = _checked(g, shape, dtype, sender), slots[index]
            slots[index] = g if before is None else add(before, g, edge)
        else:
            place = id(edge)
            g, known = _checked(g, edge.data.shape, edge.data.dtype, sender), leaves.get(place)
            leaves[place] = edge, g if known is None else add(known[1], g, place)

    with set_grad_enabled(create_graph), silence(), backend.current(*[g.data for g in gradients]):
        for output, g in zip(outputs, gradients, strict=True):
            deliver((output.grad_fn, output.output_index) if output.grad_fn else output, g, "gradient")
        while heap:
            node = heapq.heappop(heap)[1]
            gys = pending.pop(node)
            if node._hooks:
                for index, hooks in node._hooks.items():
                    if gys[index] is not None:
                        gys[index] = _run_hooks(hooks, gys[index])
            if goals:
                captured.update({(node, i): g for i, g in enumerate(gys) if (node, i) in goals})
            if useful is not None and node not in useful:
                continue
            if len(gys) > 1 and node.materialize_grads:
                gys = _with_zeros(gys, node.outputs)
            needs = wants = node.needs
            if useful is not None:
                wants = tuple([n and _is_useful(e, useful, goals) for n, e in zip(needs, node.edges)])
            node.needs = wants
            try:
                gxs = node.backward(*gys)
            finally:
                node.needs = needs
            if mode.anomaly:
                check_backward(node, gxs if type(gxs) is tuple else (gxs,))
            if not retain_graph:
                node.release()
            if type(gxs) is not tuple:
                gxs = (gxs,)
            if len(gxs) != len(wants):
                raise RuntimeError(f"{node.name} returned {len(gxs)} gradients for {len(wants)} inputs")
            for edge, want, gx in zip(node.edges, wants, gxs):
                if want and gx is not None:
                    deliver(edge, gx, node)
            del gys, gxs, gx  # what this step made must not live through the next one
        for key, (leaf, g) in leaves.items():
            if leaf._hooks:
                leaves[key] = leaf, _run_hooks(leaf._hooks, g)
    return [captured.get(_place(t)) if t.grad_fn else leaves.get(id(t), (None, None))[1] for t in targets or ()], leaves


def _place(t: Tensor) -> Any:
    """Where the gradient of a tensor arrives: (node, number of the output), or the id of a leaf."""
    return (t.grad_fn, t.output_index) if t.grad_fn else id(t)


def _leading_to(outputs: list[Tensor], goals: set[Any]) -> set[Function]:
    """The nodes below ``outputs`` that have a goal among their inputs or further down."""
    order, seen, stack = [], set(), [t.grad_fn for t in outputs if t.grad_fn is not None]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        order.append(node)
        stack += [edge[0] for edge in node.edges if type(edge) is tuple]
    useful: set[Function] = set()
    for node in sorted(order, key=lambda n: n.number):
        if any(_is_useful(edge, useful, goals) for edge in node.edges):
            useful.add(node)
    return useful


def _is_useful(edge: Any, useful: set[Function], goals: set[Any]) -> bool:
    if type(edge) is tuple:
        return edge[0] in useful or edge in goals
    return edge is not None and id(edge) in goals


def _checked(g: Tensor, shape: tuple[int, ...], dtype: np.dtype, sender: Function | str) -> Tensor:
    if not isinstance(g, Tensor):
        raise TypeError(f"{_name(sender)} gave a gradient that is a {type(g).__name__}, not a Tensor")
    if g.data.shape != shape and isinstance(sender, Function) and sender.broadcasts:
        g = sum_to(g, shape)
    if g.data.shape != shape:
        raise RuntimeError(f"{_name(sender)} gave a gradient of shape {g.shape} for a tensor of shape {shape}")
    return g if g.data.dtype == dtype else g.to(dtype)


def sum_to(g: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The gradient of a tensor of this shape from that of its expansion: summed over the axes that were expanded."""
    new = g.ndim - len(shape)
    axes = (*range(new), *[i + new for i, n in enumerate(shape) if n == 1 != g.shape[i + new]])
    if axes:
        g = g.sum(axes, keepdim=not new)
    return g if g.shape == shape else g.reshape(shape)


def _name(sender: Function | str) -> str:
    return sender.name if isinstance(sender, Function) else sender


def _run_hooks(hooks: dict[float, Callable], g: Tensor) -> Tensor:
    for _, hook in sorted(hooks.items()):
        replaced = hook(g)
        if replaced is not None:
            g = _checked(replaced, g.shape, g.dtype, "a hook")
    return g.clone()  # a hook may keep what it was given or what it returned


def _with_zeros(gys: list[Tensor | None], outputs: Sequence) -> list[Tensor | None]:
    """Zeros in the place of the gradients that floating outputs did not get."""
    xp = backend.array_module(next(g.data for g in gys if g is not None))
    return [Tensor(xp.zeros(shape, dtype)) if g is None and dtypes.is_floating(dtype) else g
            for g, (shape, dtype) in zip(gys, outputs, strict=True)]


def _accumulate(pairs: Iterable[tuple[Tensor, Tensor]], seeds: list[Tensor], create_graph: bool) -> None:
    """Add gradients to ``.grad``; every leaf gets an array of its own, so that writing to one changes no other."""
    taken = {id(backend.owner(g.data)) for g in seeds}
    with set_grad_enabled(create_graph), backend.current(*[g.data for g in seeds]):
        for leaf, g in pairs:
            if leaf.grad is None:
                owner, flags = backend.owner(g.data), g.data.flags
                whole = owner.size == g.data.size and flags.c_contiguous and getattr(flags, "writeable", True)
                if not whole or id(owner) in taken:
                    g = g.clone()
                    owner = g.data
                taken.add(id(owner))
                leaf.grad = g
            elif create_graph:
                leaf.grad = leaf.grad + g
            else:
                leaf.grad.data = backend.arithmetic_for(leaf.grad.data, g.data).iadd(leaf.grad.data, g.data)
                leaf.grad.touch()
