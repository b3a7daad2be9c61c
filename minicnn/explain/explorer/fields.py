"""Where on the image the receptive field of each value is: explain.field knows how large it is and how it moves."""

from functools import singledispatch
from typing import Any

import numpy as np

from ...engine import Function
from ...ops.conv import Conv2d
from ...ops.pool import AvgPool2d, MaxPool2d
from ..field import MIXING
from ..trace import Trace, sources

Spans = tuple[np.ndarray, np.ndarray]  # the first pixel of each value along an axis, and the one behind the last


def fields(trace: Trace, path: str) -> list[Spans] | None:
    """For the rows and the columns of a layer's output the pixels that they can depend on; None if it is no image."""
    output = next(call.outputs[0] for call in trace.calls if call.path == path)
    if output.ndim != 4 or output.grad_fn is None or trace.image is None:
        return None
    return [_along(axis, output.grad_fn, trace.image, trace) for axis in (2, 3)]


def _along(axis: int, start: Function, image: Function, trace: Trace) -> Spans:
    n, size = start.outputs[0][0][axis], trace.inputs[0].shape[axis]
    found: dict[Function, Spans] = {start: (np.arange(n), np.arange(n) + 1)}
    for node in reversed(trace.nodes):
        if node not in found:
            continue
        for source, output in sources(node):
            shape = source.outputs[output][0]
            spans = _before(node, found[node], axis, shape)
            if spans is None:  # nothing is known: the whole image
                return np.zeros(n, int), np.full(n, size)
            first, stop = spans[0].clip(0), spans[1].clip(max=shape[axis])
            if source in found:
                first, stop = np.minimum(first, found[source][0]), np.maximum(stop, found[source][1])
            found[source] = first, stop
    return found[image]


@singledispatch
def _before(node: Function, spans: Spans, axis: int, shape: tuple[int, ...]) -> Spans | None:
    """What an operation looks at for these spans of its output; ``shape`` is that of its input."""
    out = node.outputs[0][0]
    same = len(shape) == len(out) == 4 and shape[2:] == out[2:] and not isinstance(node, MIXING)
    return spans if same else None


@_before.register
def _(node: Conv2d, spans: Spans, axis: int, shape: tuple[int, ...]) -> Spans | None:
    if len(shape) != 4:
        return None
    g, k = node.geometry, node.w_shape[axis]
    stride, dilation, (before, _) = g.stride[axis - 2], g.dilation[axis - 2], g.padding[axis - 2]
    return spans[0] * stride - before, (spans[1] - 1) * stride - before + dilation * (k - 1) + 1


@_before.register(MaxPool2d)
@_before.register(AvgPool2d)
def _(node: Any, spans: Spans, axis: int, shape: tuple[int, ...]) -> Spans | None:
    w = node.windows
    start, stop = (w.row_start, w.row_stop) if axis == 2 else (w.col_start, w.col_stop)
    return start[spans[0]], stop[spans[1] - 1]
