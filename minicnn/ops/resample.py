"""Interpolation of images and signals to another size.

Along each axis it is a sparse linear map: every output is a weighted sum of a few inputs, its taps. The mode decides
the taps; axes are done one after the other. The adjoint is the transposed map, so ``Resample`` is its own backward.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from .. import dtypes
from ..backend import constant, kernels_for
from ..engine import Function, Tensor
from .arguments import LARGEST, same_floats

__all__ = ["interpolate"]


class Taps(NamedTuple):
    """A sparse matrix by rows: y[i] = Σ weight[t]·x[element[t]] over start[i] ≤ t < start[i + 1], x of a length."""

    start: np.ndarray
    element: np.ndarray
    weight: np.ndarray
    length: int

    # Equal and hashed as objects: what is worked out of them, and copied to a GPU, is remembered with them.

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


@lru_cache(maxsize=64)
def transposed(taps: Taps) -> Taps:
    """The adjoint map."""
    rows = np.repeat(np.arange(len(taps.start) - 1), np.diff(taps.start))
    order = np.argsort(taps.element, kind="stable")
    start = np.searchsorted(taps.element[order], np.arange(taps.length + 1))
    return Taps(start, rows[order], taps.weight[order], len(taps.start) - 1)


class Resample(Function):
    """y = taps·x along an axis;  gx = tapsᵀ·gy."""

    def __init__(self, axis: int, taps: Taps) -> None:
        self.axis, self.taps = axis, taps

    def forward(self, x):
        if x.dtype == dtypes.uint8:  # whose elements are chosen alone, and exact in float32
            return self.forward(x.astype(dtypes.float32)).astype(dtypes.uint8)
        before, behind = x.shape[:self.axis], x.shape[self.axis + 1:]
        x = x.reshape(math.prod(before), x.shape[self.axis], math.prod(behind))
        y = kernels_for(x).resample(x, *[constant(a, x) for a in self.taps[:3]])
        return y.reshape(*before, y.shape[1], *behind)

    def backward(self, gy):
        return Resample(self.axis, transposed(self.taps))(gy)


# -- the taps of every mode -----------------------------------------------------------------------------------------

def cubic_weights(t: Any) -> list[Any]:
    """The weights of the elements at −1, 0, 1 and 2 for places 0 ≤ t ≤ 1, in an array or a tensor. Keys 1981."""
    return [_cubic(t + 1, -0.75)[1], _cubic(t, -0.75)[0], _cubic(1 - t, -0.75)[0], _cubic(2 - t, -0.75)[1]]


def _cubic(x: Any, a: float) -> tuple[Any, Any]:
    """The cubic kernel for distances up to 1, and for those from 1 to 2."""
    return ((a + 2) * x - (a + 3)) * x * x + 1, ((x - 5) * x + 8) * x * a - 4 * a


_FILTERS: dict[str, tuple[Callable, int]] = {  # of the distance, and how far they reach
    "bilinear": (lambda x: np.maximum(1 - abs(x), 0), 1),
    "bicubic": (lambda x: np.select([abs(x) < 1, abs(x) < 2], _cubic(abs(x), -0.5)), 2),
    "lanczos": (lambda x: np.where(abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0), 3)}


@lru_cache(maxsize=64)
def _taps(mode: str, n: int, m: int, scale: float | None, align_corners: bool, antialias: bool, real: type) -> Taps:
    """The map from length n to m; real is the type PyTorch computes places in, which decides between neighbours."""
    i = np.arange(m)
    if mode == "area":  # adaptive average pooling
        return _means(i * n // m, -(-(i + 1) * n // m), lambda j: np.ones(j.shape), n)
    if align_corners:
        ratio = real(n - 1) / real(m - 1) if m > 1 else real(0)
    else:
        ratio = real(1 / scale) if scale else real(n) / real(m)
    centre = ratio * (i.astype(real) + real(0.5))  # of output i; element j of the input goes from j to j + 1
    if antialias:
        kernel, reach = _FILTERS[mode]
        stretch = max(ratio, real(1))  # outputs larger than elements of the input average over all that they cover
        first, stop = [(centre + side * stretch + 0.5).astype(np.int64) for side in (-reach, reach)]
        return _means(first.clip(0), stop.clip(max=n), lambda j: kernel((j - centre[:, None] + 0.5) / stretch), n)
    if mode == "nearest-exact":
        return _neighbours(centre, mode, n)
    return _neighbours(ratio * i.astype(real) if align_corners or mode == "nearest" else centre - real(0.5), mode, n)


def _means(first: np.ndarray, stop: np.ndarray, weight: Callable[[np.ndarray], np.ndarray], n: int) -> Taps:
    """Means of the elements first[i] ≤ j < stop[i] of n; the weights are made to add up to 1."""
    j = first[:, None] + np.arange((stop - first).max(initial=0))
    inside = j < stop[:, None]
    w = weight(j) * inside
    return Taps(np.append(0, (stop - first).cumsum()), j[inside], (w / w.sum(1, keepdims=True))[inside], n)


def _neighbours(place: np.ndarray, mode: str, n: int) -> Taps:
    """The element at or before each place, or the mode's weighted sum of those around it; outside is the edge."""
    place = place if mode == "bicubic" else place.clip(0)
    first = np.floor(place.astype(np.float32)).astype(np.int64).clip(max=n - 1)
    t = (place - first).clip(0, 1)
    if mode == "bicubic":
        weights, offset = cubic_weights(t), -1
    else:
        weights, offset = [np.ones(len(place))] if "nearest" in mode else [1 - t, t], 0
    element = (first[:, None] + np.arange(len(weights)) + offset).clip(0, n - 1)
    return Taps(np.arange(len(place) + 1) * len(weights), element.reshape(-1), np.stack(weights, 1).reshape(-1), n)


# -- the function ---------------------------------------------------------------------------------------------------

_AXES = {"nearest": (3, 4, 5), "nearest-exact": (3, 4, 5), "area": (3, 4, 5), "linear": (3,), "bilinear": (4,),
         "trilinear": (5,), "bicubic": (4,), "lanczos": (4,)}


def interpolate(input: Tensor, size: int | Sequence[int] | None = None,
                scale_factor: float | Sequence[float] | None = None, mode: str = "nearest",
                align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
                antialias: bool = False) -> Tensor:
    """The image or signal in another size: input (N, C, L), (N, C, H, W) or (N, C, D, H, W) → (N, C, *size).

    size, or ⌊length·scale_factor⌋, is one number or one per axis. y = Σ weight·x over nearby elements, and
    gx = Σ weight·gy over the outputs an element was used for. mode is "nearest" (what OpenCV takes), "nearest-exact"
    (what Pillow takes), "linear", "bilinear" or "trilinear" by the number of axes, "bicubic" (Keys 1981), "area"
    (means) or "lanczos" (with antialias). align_corners puts the middles, not the edges, of the outermost elements on
    each other. Outputs are 1/scale_factor apart, or, with recompute_scale_factor as with size, length/size. antialias
    averages over all the elements an output covers, as Pillow does. uint8 is for the nearest ones only; PyTorch rounds
    "bilinear" and "bicubic", too. Raises ValueError for arguments that do not go together, RuntimeError for an input
    that does not go with them.
    """
    shape = input.shape
    _check_mode(mode, align_corners, antialias)
    if input.ndim not in _AXES[mode] or 0 in shape[2:] or mode != "area" and shape[1] == 0:
        raise RuntimeError(f"interpolate: mode {mode!r} takes {' or '.join(map(str, _AXES[mode]))} axes, (N, C, ...), "
                           f"and only the batch may be empty; input has shape {shape}")
    same_floats("interpolate", (dtypes.uint8,) if "nearest" in mode else (), input=input)
    lengths, scales = _sizes(shape[2:], size, scale_factor, recompute_scale_factor)
    if min(lengths) < (0 if mode == "area" else 1) or math.prod(lengths) > LARGEST // input.dtype.itemsize:
        raise RuntimeError(f"interpolate: the output would have size {lengths} (input {shape}, size {size}, "
                           f"scale_factor {scale_factor}); every length must be at least 1, and memory hold them all")
    real = np.float64 if input.dtype == dtypes.float64 else np.float32
    if "nearest" in mode and input.ndim == 4:  # PyTorch treats images, up to 128 rows and columns together, specially
        real = np.float32
        if mode == "nearest":  # to the same size or twice of it each pixel goes equally often, whatever the factor was
            scales = [None if m in (n, 2 * n) else s for m, n, s in zip(lengths, shape[2:], scales, strict=True)]
    y = input
    for axis in sorted(range(2, input.ndim), key=lambda a: (lengths[a - 2] / shape[a], -a)):  # what shrinks goes first
        n, m, scale = shape[axis], lengths[axis - 2], scales[axis - 2]
        if n != m or scale is not None and not antialias and "linear" not in mode:
            y = Resample(axis, _taps(mode, n, m, scale, bool(align_corners), antialias, real))(y)
    return input.clone() if y is input else y


def _check_mode(mode: str, align_corners: bool | None, antialias: bool) -> None:
    """Raise unless the options go with the mode."""
    if mode not in _AXES:
        raise ValueError(f"interpolate: mode {mode!r} is unknown; use one of {', '.join(_AXES)}")
    refused = {"nearest": (True, False), "nearest-exact": (True, False), "area": (True, False), "lanczos": (True,)}
    if align_corners in refused.get(mode, ()):
        raise ValueError(f"interpolate: align_corners = {align_corners} does not go with mode {mode!r}; leave it out")
    if antialias and mode not in _FILTERS or mode == "lanczos" and not antialias:
        raise ValueError(f"interpolate: antialias = {antialias} does not go with mode {mode!r}: it is a choice for "
                         "'bilinear' and 'bicubic', always on for 'lanczos', always off for the others")


def _sizes(lengths: tuple[int, ...], size: Any, scale_factor: Any,
           recompute: bool | None) -> tuple[list[int], list[float | None]]:
    """The lengths of the output, and the factor of each axis, None where the lengths alone decide."""
    if (size is None) == (scale_factor is None) or recompute and scale_factor is None:
        raise ValueError(f"interpolate: give either size or scale_factor, the latter with recompute_scale_factor; got "
                         f"size = {size}, scale_factor = {scale_factor}, recompute_scale_factor = {recompute}")
    name, value, kind = ("size", size, Integral) if scale_factor is None else ("scale_factor", scale_factor, Real)
    values = list(value) if isinstance(value, (tuple, list)) else [value] * len(lengths)
    if len(values) != len(lengths) or not all(isinstance(v, kind) and type(v) is not bool for v in values):
        raise ValueError(f"interpolate: {name} = {value!r} must be a number, or one for each axis of {lengths}"
                         f"{'; lengths are integers' if scale_factor is None else ''}")
    if scale_factor is None:
        return [int(v) for v in values], [None] * len(values)
    if not all(map(math.isfinite, values)):
        raise ValueError(f"interpolate: scale_factor = {value!r} must be finite")
    return [int(n * v) for n, v in zip(lengths, values)], [None if recompute else float(v) for v in values]
