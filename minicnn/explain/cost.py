"""What the layers and operations of a traced network cost, for one image."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from .. import nn
from ..engine import Function, Tensor
from ..ops.conv import Conv2d, Conv2dInputGrad
from ..ops.linear import Linear, MatMul
from ..ops.recurrent import LSTM, Recurrent
from .trace import Trace, memory
from .units import Unit, units


class Cost(NamedTuple):
    """Numbers of a row of the table, as ``LayerSummary`` explains them; memory in bytes."""

    parameters: int
    buffers: int
    macs: int
    forward: int
    kept: int
    im2col: int


def measure(trace: Trace) -> dict[Unit, Cost]:
    """The cost of every layer and operation."""
    kept = _kept(trace)
    own = {id(p): p for p in trace.calls[0].module.parameters()}
    counted: set[int] = set()

    def new(tensors: Iterable[Tensor]) -> int:
        """Elements of those that were not counted before: a layer can be called twice."""
        fresh = {id(t): t for t in tensors if id(t) not in counted}
        counted.update(fresh)
        return sum(t.numel() for t in fresh.values())

    found = {}
    for unit in units(trace)[0]:
        if unit.call is not None:
            parameters, buffers = new(unit.call.module.parameters()), new(statistics(unit.call.module))
            forward = unit.call.allocated
        else:
            parameters, buffers = new(own[id(e)] for node in unit.nodes for e in node.edges if id(e) in own), 0
            forward = _allocated(unit.nodes[-1])
        found[unit] = Cost(parameters, buffers, sum(map(_macs, unit.nodes)), forward,
                           sum(kept[node] for node in unit.nodes), max(map(_im2col, unit.nodes), default=0))
    return found


def total(costs: list[Cost]) -> Cost:
    """The sums, but of the matrices of windows the largest: there is one at a time."""
    sums = Cost(*map(sum, zip(Cost(0, 0, 0, 0, 0, 0), *costs)))
    return sums._replace(im2col=max((cost.im2col for cost in costs), default=0))


def statistics(module: nn.Module) -> list[Tensor]:
    """The buffers of a module that are not mere counters."""
    return [b for b in module.buffers() if b.is_floating_point()]


# -- of a node ------------------------------------------------------------------------------------------------------


def _macs(node: Function) -> int:
    """Multiplications with an addition; 0 for what is neither a convolution nor a product of matrices."""
    result = math.prod(node.outputs[0][0])
    if isinstance(node, Conv2d):
        return result * math.prod(node.w_shape[1:])
    if isinstance(node, Conv2dInputGrad):
        return math.prod(_input_shape(node, 0)) * math.prod(node.w_shape[1:])
    if isinstance(node, Linear):
        return result * _input_shape(node, 0)[-1]
    if isinstance(node, MatMul):
        return result * (_input_shape(node, 0)[-1] if node.needs[0] else _input_shape(node, 1)[-2])
    if isinstance(node, Recurrent):
        x, *weights = node.saved[:3] + (node.saved[7:8] if isinstance(node, LSTM) else ())
        return len(x) * sum(w.numel() for w in weights if w is not None)
    return 0


def _input_shape(node: Function, i: int) -> tuple[int, ...]:
    """The shape of an input that has a gradient."""
    edge: Any = node.edges[i]
    return edge.shape if isinstance(edge, Tensor) else edge[0].outputs[edge[1]][0]


def _allocated(node: Function) -> int:
    """Bytes of the result; 0 where it is a view of what there was."""
    shape, dtype = node.outputs[0]
    return 0 if node.views else math.prod(shape) * dtype.itemsize


def _im2col(node: Function) -> int:
    """Bytes of the matrix of all windows of a convolution, (C·KH·KW, OH·OW)."""
    if not isinstance(node, Conv2d):
        return 0
    (shape, dtype), rows = node.outputs[0], node.geometry.groups * math.prod(node.w_shape[1:])
    return rows * math.prod(shape[2:]) * dtype.itemsize


def _kept(trace: Trace) -> dict[Function, int]:
    """Bytes that each node holds for backward and no node before it; the network's own parameters are left out."""
    own = trace.calls[0].module
    held = {id(memory(t)): memory(t) for ts in (own.parameters(), own.buffers()) for t in ts}
    found = dict.fromkeys(trace.nodes, 0)
    for node in trace.nodes:
        if trace.caller[node].kept:
            for array in [memory(t) for t in node.saved if t is not None]:
                if id(array) not in held:
                    held[id(array)] = array  # so that the number is not given to another one
                    found[node] += array.nbytes
    return found
