"""The receptive field: the part of the image that a value can depend on, followed through every operation of a network.

Along each axis of the image it is an interval of ``size`` pixels, ``jump`` pixels further on for the next value:

    window of k (dilation d), stride s     size ← size + d·(k − 1)·jump,  jump ← jump·s
    sum, product, concatenation            the larger size of both
    sum over the axis, linear layer        the whole image

Which axis of a tensor runs along which axis of the image has to be followed too, through reshape, permute and the like.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..backend import Windows
from ..engine import Function
from ..models import Window, window_of
from ..ops.activation import LogSoftmax, Softmax
from ..ops.conv import Conv2d, Conv2dInputGrad
from ..ops.cumulative import CumProd, CumSum
from ..ops.join import Cat, Flip, Roll, Split, Stack, Unbind
from ..ops.linear import Linear, MatMul
from ..ops.norm import BatchNorm
from ..ops.pad import PadConstant, PadCopies
from ..ops.pool import AvgPool2d, MaxPool2d, MaxPool3d
from ..ops.recurrent import Recurrent
from ..ops.reduce import Reduction
from ..ops.resample import Resample
from ..ops.shape import Expand, Part, Permute, Reshape
from .trace import Place, Trace


@dataclass(frozen=True)
class Field:
    """What one output sees of the image: ``size`` pixels (rows, columns), the next output ``jump`` pixels further on.

    A size of None is the whole image.
    """

    size: tuple[float, ...] | None = (1, 1)
    jump: tuple[float, ...] = (1, 1)


def receptive_fields(trace: Trace) -> dict[Place, Field]:
    """The fields of all values that depend on the image."""
    views = {(trace.image, 0): _of_image(trace.image.outputs[0][0])}
    for node in trace.nodes:
        inputs = [views.get(edge) if isinstance(edge, tuple) else None for edge in node.edges]
        if any(inputs):
            view = _behind(node, inputs, window_of(trace.caller[node].module))
            for i, (shape, _) in enumerate(node.outputs):
                views[node, i] = view.fitted(shape)
    return {place: view.field(trace.input_shape[1:]) for place, view in views.items()}


# -- what a tensor sees ---------------------------------------------------------------------------------------------


class Span(NamedTuple):
    """An interval along an axis of the image; a size of None is all of it."""

    size: float | None
    jump: float


Factor = tuple[int | None, int]  # an axis of the image, None for what is no such, and a length
Axis = tuple[Factor, ...]  # of a tensor: what it is made of, the factor that runs slowest first


@dataclass(frozen=True)
class View:
    """The intervals that each value of a tensor sees along the axes of the image, and what its own axes are made of."""

    spans: tuple[Span, ...]
    axes: tuple[Axis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        return tuple(math.prod(n for _, n in axis) for axis in self.axes)

    def field(self, size: tuple[int, ...]) -> Field:
        """What is seen of an image of this size."""
        if all(span.size is None for span in self.spans):
            return Field(None)
        return Field(tuple(n if span.size is None else span.size for span, n in zip(self.spans, size, strict=True)),
                     tuple(span.jump for span in self.spans))

    def where(self, i: int) -> list[tuple[int, int]]:
        """The axes, and the factors of them, that run along axis i of the image; more than one if it was cut."""
        return [(k, j) for k, axis in enumerate(self.axes) for j, (label, _) in enumerate(axis) if label == i]

    def with_axis(self, axis: int, *factors: Factor) -> "View":
        """Another axis in this place."""
        return replace(self, axes=(*self.axes[:axis], factors, *self.axes[axis + 1:]))

    def mixed(self, *axes: int) -> "View":
        """Every value depends on all along these axes."""
        whole = {i for axis in axes for i, _ in self.axes[axis]}
        return replace(self, spans=tuple([Span(None, span.jump) if i in whole else span
                                          for i, span in enumerate(self.spans)]))

    def behind_window(self, axis: int, reach: float, stride: float) -> "View":
        """Windows of this reach slide along an axis."""
        labels = [i for i, _ in self.axes[axis] if i is not None]
        if reach == stride == 1 or not labels:
            return self
        i = labels[0]
        if len(self.axes[axis]) > 1 or len(self.where(i)) > 1:
            return self.mixed(axis)
        size, jump = self.spans[i]
        span = Span(None if size is None else size + (reach - 1) * jump, jump * stride)
        return replace(self, spans=(*self.spans[:i], span, *self.spans[i + 1:]))

    def fitted(self, shape: tuple[int, ...]) -> "View":
        """The same for axes of other lengths, or nothing known for other axes."""
        if len(shape) != len(self.axes):
            return _seeing_all(self, shape)
        view = self
        for axis, (old, new) in enumerate(zip(self.shape, shape, strict=True)):
            if old != new:
                labels = [i for i, _ in view.axes[axis] if i is not None]
                view = view.mixed(axis) if len(labels) > 1 else view
                view = view.with_axis(axis, (labels[0] if labels else None, new))
        return view

    def reshaped(self, shape: tuple[int, ...]) -> "View":
        """The factors in their order as axes of these lengths, cut where an axis ends within a factor."""
        left = [factor for axis in reversed(self.axes) for factor in reversed(axis) if factor[1] != 1]
        axes = []
        for n in shape:
            axis = []
            while n > 1:
                label, length = left.pop()
                part = math.gcd(length, n)
                if part < min(length, n):  # neither divides the other: nothing stays in its place
                    return _seeing_all(self, shape)
                if length > part:
                    left.append((label, length // part))
                axis.append((label, part))
                n //= part
            axes.append(tuple(axis))
        return replace(self, axes=tuple(axes))

    def joined(self, other: "View") -> "View":
        """What a value sees that is made of one of each."""
        spans = []
        for i, (a, b) in enumerate(zip(self.spans, other.spans, strict=True)):
            everything = None in (a.size, b.size) or self.where(i) != other.where(i)
            spans.append(Span(None if everything else max(a.size, b.size), max(a.jump, b.jump)))
        return replace(self, spans=tuple(spans))


def _of_image(shape: tuple[int, ...]) -> View:
    """The image (1, C, ...): every pixel sees itself."""
    axes = tuple([((None if k < 2 else k - 2, n),) for k, n in enumerate(shape)])
    return View((Span(1, 1),) * len(shape[2:]), axes)


def _seeing_all(view: View, shape: tuple[int, ...]) -> View:
    """A tensor of this shape in which every value depends on all there was."""
    return View(tuple([Span(None, span.jump) for span in view.spans]), tuple([((None, n),) for n in shape]))


# -- what operations do ---------------------------------------------------------------------------------------------

Inputs = Sequence[View | None]  # None for what does not depend on the image


@functools.singledispatch
def _behind(node: Function, inputs: Inputs, window: Window | None) -> View:
    """What the result of an operation sees; ``window`` is that of the layer to which it belongs.

    An operation that is not listed works element by element if its result has the shape of what it takes in.
    Otherwise, every value depends on all.
    """
    shape = node.outputs[0][0]
    if all(view.shape == shape for view in inputs if view):
        return _joined(node, inputs, window)
    return _all(node, inputs, window)


def _all(node: Function, inputs: Inputs, window: Window | None) -> View:
    return _seeing_all(next(filter(None, inputs)), node.outputs[0][0])


def _joined(node: Function, inputs: Inputs, window: Window | None) -> View:
    return functools.reduce(View.joined, filter(None, inputs))


for _operation in (Flip, Roll, CumSum, CumProd, Recurrent):
    _behind.register(_operation, _all)
for _operation in (Cat, Split, PadConstant, PadCopies):
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
def _(node: Linear, inputs: Inputs, window: Any) -> View:
    view = _joined(node, inputs[:1], window).mixed(-1)
    return view.with_axis(len(view.axes) - 1, (None, node.outputs[0][0][-1]))


@_behind.register
def _(node: MatMul, inputs: Inputs, window: Any) -> View:
    a, b = inputs
    if a and b:
        return _all(node, inputs, window)
    view, axis = (a.mixed(-1), len(a.axes) - 1) if a else (b.mixed(-2), len(b.axes) - 2)
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
    view = _joined(node, inputs, window)
    return replace(view, axes=((),) * (len(node.shape) - len(view.axes)) + view.axes)


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
    part, axes = node.pick(memory), []
    for n, stride in zip(part.shape, part.strides):
        if n == 1:
            axes.append(())
            continue
        k = min(k for k, (length, step) in enumerate(zip(memory.shape, memory.strides)) if length > 1 and step <= stride)
        step, rest = divmod(stride, memory.strides[k])
        view = view.mixed(*range(len(view.axes))) if rest else view.behind_window(k, 1, step)
        axes.append(view.axes[k])
    return replace(view, axes=tuple(axes))
