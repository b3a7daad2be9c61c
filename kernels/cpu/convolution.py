"""Convolution without an im2col buffer: the columns are read straight from the image, through a table of offsets.

Lay a padded image out as one long row. Row (c, i, j) of its im2col matrix is that same long row, shifted by a constant,
so the matrix need not exist: the micro-kernel finds its operand at image + offset[c, i, j].

    padded image, width 6, kernel 2×2:     q →  0 1 2 3 4 5 6 7 8 9 …        offset of tap (i, j) = 6·i + j
                                     tap (0,0)  a b c d e f g h i j …
                                     tap (0,1)  b c d e f g h i j k …        outputs q = 6·oh + ow; the last column
                                     tap (1,0)  g h i j k l m n o p …        of each row (ow = 5) is junk, and is
                                     tap (1,1)  h i j k l m n o p q …        left behind when the result is copied out

A stride s splits the image into s×s phases first (every s-th pixel), within which all of this holds again. The input
gradient is the same correlation with the roles exchanged: gx has s×s phases, each a correlation of gy with the taps
that reach it. One job does both. It holds pixels in the vector lanes and broadcasts weights or, where rows are so short
that the junk would cost more, holds output channels in the lanes and broadcasts pixels. The weight gradient reads the
same table: it is the dot products of gy with the shifted images.

Work is cut by shape alone (images × groups × blocks of rows), into jobs whose data stay in the second-level cache; sums
over jobs are taken in a fixed order, so that the result does not depend on the number of threads.

Kernels of 3×3 and 5×5 on large enough maps take about a third of the multiplications, see winograd.py. Images that are
small are taken 16 at a time, see image_lanes.py. Depthwise kernels without stride go plane by plane, see
depthwise.py. Each way has a price, in cycles, worked out from the shapes alone.
"""

from collections.abc import Callable
from functools import lru_cache
from math import isfinite
from typing import Any

import numpy as np
from numba import carray

from .. import reference
from ..contract import Array, Geometry, Pair
from . import correlation, depthwise, image_lanes, image_sums, plans, weight_sums, winograd
from .gather import copy_steps, inside
from .jobs import fill, run
from .memory import empty
from .microkernel import shifted

# -- im2col and col2im ------------------------------------------------------------------------------------------------

def _image_to_columns(job, thread, plan, tables, x, cols, _c, _d, _e, _f):
    plan = carray(plan, 1)[0]
    image = shifted(x, job * plan.image_height * plan.image_width)
    for tap in range(plan.kernel_rows * plan.kernel_columns):
        right = tap % plan.kernel_columns * plan.dilation_columns - plan.left
        low, high = inside(right, plan.stride_columns, plan.image_width, plan.out_width)
        for i in range(plan.out_height):
            row = (job * plan.kernel_rows * plan.kernel_columns + tap) * plan.out_height + i
            target = shifted(cols, row * plan.out_width)
            h = i * plan.stride_rows + tap // plan.kernel_columns * plan.dilation_rows - plan.top
            if h < 0 or h >= plan.image_height:
                fill(target, plan.out_width, 0)
                continue
            fill(target, low, 0)
            fill(shifted(target, high), plan.out_width - high, 0)
            pixels = shifted(image, h * plan.image_width + right + low * plan.stride_columns)
            copy_steps(shifted(target, low), 1, pixels, plan.stride_columns, high - low)


def _columns_to_image(job, thread, plan, tables, cols, x, _c, _d, _e, _f):
    plan = carray(plan, 1)[0]
    size = plan.image_height * plan.image_width
    fill(shifted(x, job * size), size, 0)
    for tap in range(plan.kernel_rows * plan.kernel_columns):
        right = tap % plan.kernel_columns * plan.dilation_columns - plan.left
        low, high = inside(right, plan.stride_columns, plan.image_width, plan.out_width)
        for i in range(plan.out_height):
            h = i * plan.stride_rows + tap // plan.kernel_columns * plan.dilation_rows - plan.top
            if 0 <= h < plan.image_height:
                row = (job * plan.kernel_rows * plan.kernel_columns + tap) * plan.out_height + i
                source = carray(shifted(cols, row * plan.out_width + low), high - low)
                start = job * size + h * plan.image_width + right + low * plan.stride_columns
                target = carray(shifted(x, start), (high - low) * plan.stride_columns)
                for k in range(high - low):
                    target[k * plan.stride_columns] += source[k]


# -- the contract -----------------------------------------------------------------------------------------------------

class Convolution:
    """The three operations, by the cheapest of some ways.

    Of the modules in ``correlations`` each has correlate() for the forward pass and the input gradient, and price();
    of those in ``sums`` each has sum_weights() and sums_price().
    """

    def __init__(self, correlations: tuple[Any, ...], sums: tuple[Any, ...],
                 supports: Callable[[Pair, Geometry], str | None] = lambda kernel, geometry: None) -> None:
        self._correlations, self._sums, self.supports = correlations, sums, supports

    def conv2d(self, x: Array, w: Array, b: Array | None, geometry: Geometry, rectify: bool = False) -> Array:
        """y[n,o] = b[o] + Σ_c w[o,c] ⋆ x[n,c], or relu of that.  x (N,C,H,W), w (O,C/groups,KH,KW) → y (N,O,OH,OW)."""
        if not _compiled_for(x, w, x if b is None else b):
            return reference.conv2d(x, w, b, geometry, rectify)
        y = empty((len(x), len(w), *geometry.output_size(x.shape[2:], w.shape[2:])), x.dtype)
        if not y.size:
            return y
        way, telling = _forward_way(self._correlations, x.shape, y.shape, w.shape, geometry, x.dtype)
        way.correlate(x, w, b, y, geometry, rectify=rectify)
        # An infinite weight or NaN may have missed zeros of the padding, which the definition multiplies it by. What
        # was rectified does not tell: −∞ has become 0.
        if (telling is None or _suspicious(w if rectify else y[telling])) and not _finite(w):
            return reference.conv2d(x, w, b, geometry, rectify)
        return y

    def conv2d_input_grad(self, gy: Array, w: Array, x_shape: tuple[int, ...], geometry: Geometry) -> Array:
        """gx with ⟨gy, conv2d(x, w)⟩ = ⟨gx, x⟩: the transposed convolution.  gy (N,O,OH,OW), w → gx of x_shape."""
        if not _compiled_for(gy, w):
            return reference.conv2d_input_grad(gy, w, x_shape, geometry)
        gx = empty(x_shape, gy.dtype)
        if not gx.size:
            return gx
        way = _cheapest(self._correlations, gy.shape, x_shape, w.shape, geometry, gy.dtype, True)
        way.correlate(gy, w, None, gx, geometry, backward=True)
        return reference.conv2d_input_grad(gy, w, x_shape, geometry) if _zeros_count(gx, w, geometry) else gx

    def conv2d_weight_grad(self, x: Array, gy: Array, w_shape: tuple[int, ...], geometry: Geometry) -> Array:
        """gw with ⟨gy, conv2d(x, w)⟩ = ⟨gw, w⟩.  x (N,C,H,W), gy (N,O,OH,OW) → gw of w_shape."""
        if not _compiled_for(x, gy):
            return reference.conv2d_weight_grad(x, gy, w_shape, geometry)
        if not gy.size:
            return np.zeros(w_shape, x.dtype)
        way, all_met = _sums_way(self._sums, x.shape, gy.shape, w_shape, geometry, x.dtype)
        gw = way.sum_weights(x, gy, empty(w_shape, x.dtype), geometry)
        # Zeros in the place of gradients may have met an infinite pixel or NaN: one output of each group tells. An
        # infinite gradient or NaN may have missed zeros of the padding: one channel tells, where pixels were met, too.
        suspicious = not all_met or _suspicious(gw[::len(gw) // geometry.groups]) or _suspicious(gw[:, 0])
        if suspicious and not (_finite(x) and _finite(gy)):
            return reference.conv2d_weight_grad(x, gy, w_shape, geometry)
        return gw

    def way(self, operation: str, a: Array, b: Array, w: Array, geometry: Geometry) -> Any:
        """The module that computes an operation; a and b are x and y, backward gy and gx or, for weights, x and gy."""
        if not (a.size and b.size and w.size and _compiled_for(a, b, w)):
            return reference
        case = a.shape, b.shape, w.shape, geometry, a.dtype
        if operation == "conv2d_weight_grad":
            return _sums_way(self._sums, *case)[0]
        return _cheapest(self._correlations, *case, operation == "conv2d_input_grad")


@lru_cache(256)
def _cheapest(ways: tuple[Any, ...], *case: Any) -> Any:
    return ways[0] if len(ways) == 1 else min(ways, key=lambda way: way.price(*case))


@lru_cache(256)
def _cheapest_sums(ways: tuple[Any, ...], *case: Any) -> Any:
    return ways[0] if len(ways) == 1 else min(ways, key=lambda way: way.sums_price(*case))


automatic = Convolution((correlation, depthwise, image_lanes, winograd), (weight_sums, depthwise, image_sums, winograd))
direct = Convolution((correlation, depthwise), (weight_sums, depthwise))
tiled = Convolution((winograd,), (winograd,), winograd.supports)
by_images = Convolution((image_lanes,), (image_sums,), image_lanes.supports)

conv2d, conv2d_input_grad = automatic.conv2d, automatic.conv2d_input_grad
conv2d_weight_grad = automatic.conv2d_weight_grad


def im2col(x: Array, kernel: Pair, geometry: Geometry) -> Array:
    """Every window as a column.  x (N,C,H,W) → cols (N, C·KH·KW, OH·OW); geometry.groups is not used."""
    if not _compiled_for(x):
        return reference.im2col(x, kernel, geometry)
    n, c, h, w = x.shape
    oh, ow = geometry.output_size((h, w), kernel)
    cols = empty((n, c * kernel[0] * kernel[1], oh * ow), x.dtype)
    if cols.size:
        run(_image_to_columns, n * c, plans.columns(x.shape, tuple(kernel), geometry), np.ascontiguousarray(x), cols)
    return cols


def col2im(cols: Array, x_shape: tuple[int, ...], kernel: Pair, geometry: Geometry) -> Array:
    """The adjoint of im2col: columns added back where they came from.  cols (N, C·KH·KW, OH·OW) → (N,C,H,W)."""
    if not _compiled_for(cols):
        return reference.col2im(cols, x_shape, kernel, geometry)
    x = empty(x_shape, cols.dtype)
    if x.size:
        plan = plans.columns(tuple(x_shape), tuple(kernel), geometry)
        run(_columns_to_image, x_shape[0] * x_shape[1], plan, np.ascontiguousarray(cols), x)
    return x


def _finite(a: Array) -> bool:
    return bool(np.isfinite(a).all())


def _suspicious(a: Array) -> bool:
    """Whether the sum of squares is infinite or NaN. If not, all numbers are finite; for few it is the faster test."""
    a = a.reshape(-1)
    return not isfinite(a.dot(a))


@lru_cache(256)
def _forward_way(ways: tuple[Any, ...], x_shape: tuple[int, ...], y_shape: tuple[int, ...], w_shape: tuple[int, ...],
                 geometry: Geometry, dtype: np.dtype) -> tuple[Any, tuple[Any, ...] | None]:
    """The cheapest way, and an index of results that show every weight that is infinite or NaN, if there are any.

    A result whose window lies inside the image meets all weights; else all results do, unless a tap sees only padding.
    """
    def place(axis: int, first: int, last: int) -> int | None:
        """The first result along an axis of which these two taps meet pixels, if there is one."""
        s, d, before = geometry.stride[axis], geometry.dilation[axis], geometry.padding[axis][0]
        i = max(0, -((first * d - before) // s))
        return i if i < y_shape[2 + axis] and i * s + last * d - before < x_shape[2 + axis] else None

    inner = [place(axis, 0, w_shape[2 + axis] - 1) for axis in (0, 1)]
    seen = all(place(axis, tap, tap) is not None for axis in (0, 1) for tap in range(w_shape[2 + axis]))
    telling = (0, slice(None), *inner) if None not in inner else (0,) if seen else None
    return _cheapest(ways, x_shape, y_shape, w_shape, geometry, dtype, False), telling


@lru_cache(256)
def _sums_way(ways: tuple[Any, ...], x_shape: tuple[int, ...], gy_shape: tuple[int, ...], w_shape: tuple[int, ...],
              geometry: Geometry, dtype: np.dtype) -> tuple[Any, bool]:
    """The cheapest way, and whether all windows meet pixels: none lies in padding, none has the image between taps."""
    all_met = all(not max(pads) or max(pads) <= d * (k - 1) and d <= n for n, pads, d, k in
                  zip(x_shape[2:], geometry.padding, geometry.dilation, w_shape[2:], strict=True))
    return _cheapest_sums(ways, x_shape, gy_shape, w_shape, geometry, dtype), all_met


def _zeros_count(gx: Array, w: Array, geometry: Geometry) -> bool:
    """Whether the zeros around gy, which the definition does not have, may have met an infinite weight or NaN.

    Kernel rows that lie outside of gy are left out, but of the others every pixel of a phase meets all weights, if only
    to multiply them by 0: the first ones of each row tell.
    """
    return not _finite(gx[:1, :, :, :geometry.stride[1]]) and not _finite(w)


def _compiled_for(*arrays: Array) -> bool:
    return arrays[0].dtype in (np.float32, np.float64) and all(a.dtype == arrays[0].dtype for a in arrays)
