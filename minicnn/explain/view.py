"""What a tensor sees of an image, and which of its axes run along which axes of the image.

Along each axis of the image, every value sees an interval of ``size`` pixels, and the next value one that is ``jump``
pixels further on. To know how windows and sums change that, the axes have to be followed through reshape, permute and
the like: each is a product of factors, one of which can be an axis of the image.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple


@dataclass(frozen=True)
class Field:
    """What one output sees of the image: ``size`` pixels (rows, columns), the next output ``jump`` pixels further on.

    A size of None is the whole image; () is unknown, or there is no image.
    """

    size: tuple[int, ...] | None = (1, 1)
    jump: tuple[float, ...] = (1, 1)


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
        """What is seen of an image of this size; of an enlarged one, by those values that see most."""
        if all(span.size is None for span in self.spans):
            return Field(None)
        return Field(tuple(n if span.size is None else math.ceil(round(span.size, 6))
                           for span, n in zip(self.spans, size, strict=True)), tuple(span.jump for span in self.spans))

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
            return seeing_all(self, shape)
        view = self
        for axis, (old, new) in enumerate(zip(self.shape, shape, strict=True)):
            if old != new:
                labels = [i for i, _ in view.axes[axis] if i is not None]
                view = view.mixed(axis) if len(labels) > 1 else view
                view = view.with_axis(axis, (labels[0] if labels else None, new))
        return view

    def expanded(self, shape: tuple[int, ...]) -> "View":
        """Repeated along axes of length 1 and along new ones in front."""
        return replace(self, axes=((),) * (len(shape) - len(self.axes)) + self.axes).fitted(shape)

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
                    return seeing_all(self, shape)
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
            known = a.size is not None and b.size is not None and self.where(i) == other.where(i)
            spans.append(Span(max(a.size, b.size) if known else None, max(a.jump, b.jump)))  # type: ignore[type-var]
        return replace(self, spans=tuple(spans))


def of_image(shape: tuple[int, ...]) -> View:
    """The image (1, C, ...): every pixel sees itself."""
    axes = tuple([((None if k < 2 else k - 2, n),) for k, n in enumerate(shape)])
    return View((Span(1, 1),) * len(shape[2:]), axes)


def seeing_all(view: View, shape: tuple[int, ...]) -> View:
    """A tensor of this shape in which every value depends on all there was."""
    return View(tuple([Span(None, span.jump) for span in view.spans]), tuple([((None, n),) for n in shape]))
