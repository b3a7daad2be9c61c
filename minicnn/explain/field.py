"""The receptive field: the part of the image that a value can depend on, followed through every operation of a network.

    window of k (dilation d), stride s     size ← size + d·(k − 1)·jump,  jump ← jump·s
    sum, product, concatenation            the larger size of both
    sum over the axis, linear layer        the whole image

Araujo, Norris, Sim: Computing receptive fields of convolutional neural networks, 2019,
https://distill.pub/2019/computing-receptive-fields
"""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..backend import Windows
from ..engine import Function
from ..models import Window, window_of
from ..ops.activation import LogSoftmax, Softmax
from ..ops.conv import Conv2d, Conv2dInputGrad
from ..ops.cumulative import CumProd, CumSum
from ..ops.index import Index, IndexAdd, Scatter
from ..ops.join import Cat, Flip, Roll, Split, Stack, Unbind
from ..ops.linear import Linear, MatMul
from ..ops.norm import BatchNorm, GroupNorm
from ..ops.pad import PadConstant, PadCopies
from ..ops.pool import AvgPool2d, MaxPool2d, MaxPool3d
from ..ops.recurrent import Recurrent
from ..ops.reduce import Reduction
from ..ops.resample import Resample
from ..ops.shape import Expand, Part, Permute, Reshape
from .trace import Place, Trace
from .view import Axis, Field, View, of_image, seeing_all

MIXING: tuple[type[Function], ...] = (CumProd, CumSum, Flip, Index, IndexAdd, Recurrent, Roll, Scatter)
RESIZING: tuple[type[Function], ...] = (Cat, PadConstant, PadCopies, Split)


def receptive_fields(trace: Trace) -> dict[Place, Field]:
    """The fields of all values that depend on the image; none for texts."""
    if trace.image is None:
        return {}
    shape = trace.inputs[0].shape
    views = {(trace.image, 0): of_image(shape)}
    for node in trace.nodes:
        inputs = [views.get(edge) if isinstance(edge, tuple) else None for edge in node.edges]
        if any(inputs):
            view = _behind(node, inputs, window_of(trace.caller[node].module))
            for i, (result, _) in enumerate(node.outputs):
                views[node, i] = view.fitted(result)
    return {place: view.field(shape[2:]) for place, view in views.items()}


# -- what operations do ---------------------------------------------------------------------------------------------

Inputs = Sequence[View | None]  # None for what does not depend on the image


@functools.singledispatch
def _behind(node: Function, inputs: Inputs, window: Window | None) -> View:
    """What the result of an operation sees; ``window`` is that of the layer to which it belongs.

    An operation that is not listed works element by element if its result has the shape of what it takes in, or of what
    that is broadcast to. Otherwise, every value depends on all.
    """
    shape = node.outputs[0][0]
    if node.broadcasts:
        inputs = [view and view.expanded(shape) for view in inputs]
    if all(view.shape == shape for view in inputs if view):
        return _joined(node, inputs, window)
    return _all(node, inputs, window)


def _all(node: Function, inputs: Inputs, window: Window | None) -> View:
    return seeing_all(next(filter(None, inputs)), node.outputs[0][0])


def _joined(node: Function, inputs: Inputs, window: Window | None) -> View:
    return functools.reduce(View.joined, filter(None, inputs))


for _operation in MIXING:
    _behind.register(_operation, _all)
for _operation in RESIZING:
    _behind.register(_operation, _joined)


@_behind.register
def _(node: Conv2d, inputs: Inputs, window: Any) -> View:
    view = _joined(node, inputs[:1], window).mixed(1)
    for axis, (k, s, d) in enumerate(zip(node.w_shape[2:], node.geometry.stride, node.geometry.dilation), start=2):
        view = view.behind_window(axis, d * (k - 1) + 1, s)
    return view


@_behind.register
def _(node: Conv2dInputGrad, inputs: Inputs, window: Any) -> View:
    view = _joined(node, inputs[:1], window).mixed(1)
    for axis, (k, s, d) in enumerate(zip(node.w_shape[2:], node.geometry.stride, node.geometry.dilation), start=2):
        view = view.behind_window(axis, d * (k - 1) // s + 1, 1 / s)
    return view


@_behind.register(MaxPool2d)
@_behind.register(AvgPool2d)
def _(node: Any, inputs: Inputs, window: Window | None) -> View:
    view, (rows, columns) = _joined(node, inputs, window), _bounds(node.windows)
    if window is None:
        return _pooled(_pooled(view, 2, *rows), 3, *columns)
    return view.behind_window(2, window.reach[0], window.stride[0]).behind_window(3, window.reach[1], window.stride[1])


@_behind.register
def _(node: MaxPool3d, inputs: Inputs, window: Any) -> View:
    view = _joined(node, inputs, window)
    for axis, bounds in enumerate((_bounds(node.depths)[0], *_bounds(node.slices)), start=2):
        view = _pooled(view, axis, *bounds)
    return view


def _bounds(windows: Windows) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    return (windows.row_start, windows.row_stop), (windows.col_start, windows.col_stop)


def _pooled(view: View, axis: int, start: np.ndarray, stop: np.ndarray) -> View:
    """Behind windows of which the borders are known, some of them cut off where the image ends."""
    n, m = view.shape[axis], len(start)
    if m == 1 < n == stop[0] - start[0]:
        return view.mixed(axis)
    reach = int((stop - start).max())
    first, last = np.flatnonzero(stop - start == reach)[[0, -1]]
    return view.behind_window(axis, reach, (start[last] - start[first]) / (last - first) if last > first else n / m)


@_behind.register
def _(node: Resample, inputs: Inputs, window: Any) -> View:
    view, taps = _joined(node, inputs, window), node.taps
    elements = np.split(taps.element, taps.start[1:-1])
    reach = max(int(np.ptp(part)) + 1 for part in elements if len(part))
    return view.behind_window(node.axis, reach, taps.length / len(elements))


@_behind.register
def _(node: BatchNorm, inputs: Inputs, window: Any) -> View:
    view = _joined(node, inputs[:1], window)
    return view.mixed(0, *range(2, len(view.axes))) if node.training else view


@_behind.register
def _(node: GroupNorm, inputs: Inputs, window: Any) -> View:
    return _joined(node, inputs[:1], window).reshaped(node.shape).mixed(2, 3).reshaped(node.outputs[0][0])


@_behind.register
def _(node: Linear, inputs: Inputs, window: Any) -> View:
    view = _joined(node, inputs[:1], window).mixed(-1)
    return view.with_axis(len(view.axes) - 1, (None, node.outputs[0][0][-1]))


@_behind.register
def _(node: MatMul, inputs: Inputs, window: Any) -> View:
    a, b = inputs
    if a and b:
        return _all(node, inputs, window)
    summed = -1 if a else -2
    view = _joined(node, inputs, window).mixed(summed)
    axis = len(view.axes) + summed
    return view.with_axis(axis, (None, node.outputs[0][0][axis]))


@_behind.register(Softmax)
@_behind.register(LogSoftmax)
def _(node: Any, inputs: Inputs, window: Any) -> View:
    return _joined(node, inputs, window).mixed(node.dim)


@_behind.register
def _(node: Reduction, inputs: Inputs, window: Any) -> View:
    view = _joined(node, inputs, window).mixed(*node.axes)
    axes = enumerate(view.axes)
    return replace(view, axes=tuple([() if k in node.axes else axis for k, axis in axes
                                     if node.keepdim or k not in node.axes]))


@_behind.register
def _(node: Reshape, inputs: Inputs, window: Any) -> View:
    return _joined(node, inputs, window).reshaped(node.outputs[0][0])


@_behind.register
def _(node: Permute, inputs: Inputs, window: Any) -> View:
    view = _joined(node, inputs, window)
    return replace(view, axes=tuple([view.axes[axis] for axis in node.axes]))


@_behind.register
def _(node: Expand, inputs: Inputs, window: Any) -> View:
    return _joined(node, inputs, window).expanded(node.shape)


@_behind.register
def _(node: Stack, inputs: Inputs, window: Any) -> View:
    view = _joined(node, inputs, window)
    return replace(view, axes=(*view.axes[:node.axis], (), *view.axes[node.axis:]))


@_behind.register
def _(node: Unbind, inputs: Inputs, window: Any) -> View:
    view = _joined(node, inputs, window)
    return replace(view, axes=view.axes[:node.axis] + view.axes[node.axis + 1:])


@_behind.register
def _(node: Part, inputs: Inputs, window: Any) -> View:
    """A part is a view of memory, whose strides say from which axis each of its own comes, and in which steps."""
    view = _joined(node, inputs, window)
    memory = np.empty(view.shape, np.int8)
    part, axes = node.pick(memory), list[Axis]()
    for n, stride in zip(part.shape, part.strides):
        if n == 1:
            axes.append(())
            continue
        k = min(k for k, length in enumerate(memory.shape) if length > 1 and memory.strides[k] <= stride)
        step, rest = divmod(stride, memory.strides[k])
        view = view.mixed(*range(len(view.axes))) if rest else view.behind_window(k, 1, step)
        axes.append(view.axes[k])
    return replace(view, axes=tuple(axes))
