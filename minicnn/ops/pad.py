"""Padding: with a constant, whose opposite is cropping, or with what the input itself would continue with.

Padding by p and by −p (which crops) are each other's adjoint. The other modes copy strips of the input beside it; their
adjoint adds the strips back, in the opposite order.
"""

from collections.abc import Sequence

from ..backend import array_module
from ..engine import Function, Tensor
from .arguments import integer
from .basic import Number, refuse_bool

__all__ = ["pad"]

Pads = tuple[tuple[int, int], ...]  # (before, after) for every axis of the tensor


def _inside(shape: tuple[int, ...], pads: Pads) -> tuple[slice, ...]:
    """Where the input lies in an output of a shape; with the pads negated, which part of the input is kept."""
    return tuple([slice(max(a, 0), n - max(b, 0)) for n, (a, b) in zip(shape, pads, strict=True)])


def _negated(pads: Pads) -> Pads:
    return tuple([(-a, -b) for a, b in pads])


def _padded(shape: tuple[int, ...], pads: Pads) -> tuple[int, ...]:
    return tuple([n + a + b for n, (a, b) in zip(shape, pads, strict=True)])


class PadConstant(Function):
    """y = x with a value around it, or without its margins where a pad is negative;  gx = gy cropped, or with zeros."""

    def __init__(self, pads: Pads, value: Number = 0) -> None:
        self.pads, self.value = pads, value

    def forward(self, x):
        y = array_module(x).full(_padded(x.shape, self.pads), self.value, x.dtype)
        y[_inside(y.shape, self.pads)] = x[_inside(x.shape, _negated(self.pads))]
        return y

    def backward(self, gy):
        return PadConstant(_negated(self.pads))(gy)


class PadCopies(Function):
    """y = x continued by strips of itself, as the mode says;  gx = gy with the strips added where they come from."""

    def __init__(self, pads: Pads, mode: str) -> None:
        self.pads, self.mode = pads, mode

    def forward(self, x):
        y = array_module(x).empty(_padded(x.shape, self.pads), x.dtype)
        y[_inside(y.shape, self.pads)] = x
        for strip, source in strips(y.shape, self.pads, self.mode):
            y[strip] = y[source]
        return y

    def backward(self, gy):
        return PadCopiesGrad(self.pads, self.mode)(gy)


class PadCopiesGrad(Function):
    """gx = gy with the strips added where they come from, cropped;  ggy = ggx padded."""

    def __init__(self, pads: Pads, mode: str) -> None:
        self.pads, self.mode = pads, mode

    def forward(self, gy):
        gy = gy.copy()
        for strip, source in reversed(strips(gy.shape, self.pads, self.mode)):
            axis = len(strip) - 1
            gy[source] += gy[strip].sum(axis, keepdims=True) if self.mode == "replicate" else gy[strip]
        return gy[_inside(gy.shape, self.pads)].copy()

    def backward(self, ggx):
        return PadCopies(self.pads, self.mode)(ggx)


def strips(shape: tuple[int, ...], pads: Pads, mode: str) -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """What to copy within an output of a shape, one after the other: (the strip to fill, where it comes from)."""
    copies = []
    for axis, (m, (a, b)) in enumerate(zip(shape, pads, strict=True)):
        end = m - b  # the input is a … end
        if mode == "reflect":  # the strips backwards, so that their sources run forwards
            before = slice(a - 1, None, -1), slice(a + 1, 2 * a + 1)
            after = slice(m - 1, end - 1, -1), slice(end - 1 - b, end - 1)
        elif mode == "replicate":
            before, after = (slice(0, a), slice(a, a + 1)), (slice(end, m), slice(end - 1, end))
        else:
            before, after = (slice(0, a), slice(end - a, end)), (slice(end, m), slice(a, a + b))
        others = (slice(None),) * axis
        copies += [((*others, strip), (*others, source)) for n, (strip, source) in ((a, before), (b, after)) if n]
    return copies


_LIMITS = {"reflect": "a mirror image is shorter than its axis, and something must be left of the axis",
           "replicate": "the axis needs an edge, and something must be left of it",
           "circular": "what is left of the axis is repeated once at most"}


def _check_copies(given: str, input: Tensor, pads: Pads, axes: int, mode: str, value: Number | None) -> None:
    """Raise where a mode that copies cannot pad the last axes of the input."""
    if mode not in _LIMITS:
        raise ValueError(f"pad: mode {mode!r} is unknown; use 'constant', 'reflect', 'replicate' or 'circular'")
    if value:
        raise RuntimeError(f"pad: value = {value!r} belongs to mode 'constant'; mode {mode!r} takes none")
    if not 1 <= axes <= 3 or input.ndim - axes not in (1, 2):
        raise RuntimeError(f"{given}: mode {mode!r} pads 1 to 3 axes, all that come after (N, C) or (C)")
    lengths = list(zip(input.shape, pads, strict=True))[-axes:]
    if mode == "circular":
        fits = all(max(a, b) <= n + min(a, 0) + min(b, 0) >= 0 for n, (a, b) in lengths)
    else:
        refuse_bool("pad", input, hint=f"convert them with .int() for mode {mode!r}")
        fits = 0 not in input.shape[-axes - 1:] and all(n + a + b > 0 for n, (a, b) in lengths)
        fits = fits and (mode == "replicate" or all(max(a, b) < n for n, (a, b) in lengths))
    if not fits:
        raise RuntimeError(f"{given} does not fit mode {mode!r}: {_LIMITS[mode]}")


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: Number | None = None) -> Tensor:
    """Elements added at the ends of the last axes, or taken away where a number is negative.

    pad (before, after, ...) begins with the last axis: input (..., H, W) and pad (l, r, t, b) → (..., t + H + b,
    l + W + r). What is added is value (0), or continues an axis abc by its mirror image (mode "reflect": cb|abc|ba),
    its edge ("replicate": aa|abc|cc) or itself ("circular": bc|abc|ab); these modes pad all axes, 1 to 3 of them, that
    come after (N, C) or (C). gx = gy cropped, plus what was copied. Raises ValueError for another mode, RuntimeError
    where the pads do not fit the input. Dumoulin & Visin 2016.
    """
    given = f"pad: pad {pad!r} of an input of shape {input.shape}"
    try:
        ends = [integer(n) for n in (*pad,)]
    except TypeError:
        raise TypeError(f"pad: pad = {pad!r} must be a tuple of integers, (before, after) of the last axis first"
                        ) from None
    axes, rest = divmod(len(ends), 2)
    if rest or axes > input.ndim:
        raise RuntimeError(f"{given} must have two numbers per axis, (before, after), for at most {input.ndim} axes")
    pads = ((0, 0),) * (input.ndim - axes) + tuple(zip(ends[-2::-2], ends[::-2], strict=True))
    added = tuple([(max(a, 0), max(b, 0)) for a, b in pads])
    taken = tuple([(min(a, 0), min(b, 0)) for a, b in pads])
    if mode == "constant":
        if min(_padded(input.shape, taken), default=0) < 0:
            raise RuntimeError(f"{given} takes away more than there is")
        return PadConstant(pads, 0 if value is None else value)(input)
    _check_copies(given, input, pads, axes, mode, value)
    if added == pads:
        return PadCopies(pads, mode)(input)
    if mode == "circular":  # it goes round in what is left; the others copy before something is taken away
        return PadCopies(added, mode)(PadConstant(taken)(input))
    return PadConstant(taken)(PadCopies(added, mode)(input))
