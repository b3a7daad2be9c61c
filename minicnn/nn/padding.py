"""Padding layers; what they compute is in functional.pad."""

from typing import Any

from .. import functional as F
from ..engine import Tensor
from .module import Module

__all__ = ["CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d", "ConstantPad3d",
           "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d", "ReplicationPad2d",
           "ReplicationPad3d", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d"]


class _Padding(Module):
    """What padding layers share: padding is a number for all sides, or (left, right, top, bottom, front, back)."""

    axes: int  # how many are padded, from the last on
    mode = "constant"
    value: float | None = None

    def __init__(self, padding: Any) -> None:
        super().__init__()
        sides = tuple(padding) if isinstance(padding, (tuple, list)) else (padding,) * (2 * self.axes)
        if len(sides) != 2 * self.axes or not all(isinstance(n, int) for n in sides):
            raise ValueError(f"{type(self).__name__}: padding = {padding!r} must be an integer or {2 * self.axes} of "
                             "them, (before, after) of the last axis first")
        self.padding = sides

    def forward(self, input: Tensor) -> Tensor:
        """pad(input, padding, mode, value)."""
        return F.pad(input, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        """The padding."""
        return str(self.padding)


class _ConstantPadding(_Padding):
    """Padding with a value."""

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        """The padding and the value."""
        return f"padding={self.padding}, value={self.value}"


class ZeroPad1d(_Padding):
    """Zeros around the last axis; a negative number takes elements away."""

    axes, value = 1, 0.0


class ZeroPad2d(_Padding):
    """Zeros around the last two axes, (..., H, W) → (..., t + H + b, l + W + r); a negative number takes some away."""

    axes, value = 2, 0.0


class ZeroPad3d(_Padding):
    """Zeros around the last three axes; a negative number takes elements away."""

    axes, value = 3, 0.0


class ConstantPad1d(_ConstantPadding):
    """A value around the last axis; a negative number takes elements away."""

    axes = 1


class ConstantPad2d(_ConstantPadding):
    """A value around the last two axes; a negative number takes elements away."""

    axes = 2


class ConstantPad3d(_ConstantPadding):
    """A value around the last three axes; a negative number takes elements away."""

    axes = 3


class ReflectionPad1d(_Padding):
    """The last axis continued by its mirror image, the edge not repeated."""

    axes, mode = 1, "reflect"


class ReflectionPad2d(_Padding):
    """The last two axes continued by their mirror image, the edge not repeated."""

    axes, mode = 2, "reflect"


class ReflectionPad3d(_Padding):
    """The last three axes continued by their mirror image, the edge not repeated."""

    axes, mode = 3, "reflect"


class ReplicationPad1d(_Padding):
    """The last axis continued by its edge."""

    axes, mode = 1, "replicate"


class ReplicationPad2d(_Padding):
    """The last two axes continued by their edge."""

    axes, mode = 2, "replicate"


class ReplicationPad3d(_Padding):
    """The last three axes continued by their edge."""

    axes, mode = 3, "replicate"


class CircularPad1d(_Padding):
    """The last axis continued from its other end."""

    axes, mode = 1, "circular"


class CircularPad2d(_Padding):
    """The last two axes continued from their other end."""

    axes, mode = 2, "circular"


class CircularPad3d(_Padding):
    """The last three axes continued from their other end."""

    axes, mode = 3, "circular"
