"""What the operations of a traced network cost, for one image: multiplications, and memory in bytes."""

import math
from typing import Any

from ..engine import Function, Tensor
from ..ops.conv import Conv2d, Conv2dInputGrad
from ..ops.linear import Linear, MatMul
from ..ops.recurrent import LSTM, Recurrent
from .trace import Trace, memory


def macs(node: Function) -> int:
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


def im2col(node: Function) -> int:
    """Bytes of the matrix of all windows of a convolution, (C·KH·KW, OH·OW)."""
    if not isinstance(node, Conv2d):
        return 0
    (shape, dtype), rows = node.outputs[0], node.geometry.groups * math.prod(node.w_shape[1:])
    return rows * math.prod(shape[2:]) * dtype.itemsize


def kept(trace: Trace) -> dict[Function, int]:
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
