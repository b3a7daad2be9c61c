"""Convolution by implicit GEMM: the matrix of im2col is looked up in the image, tile by tile, and never stored.

Convolution and its input gradient are one kernel. The gradient with stride s falls into s×s phases, the pixels with the
same remainders by s: only every s-th tap of the kernel reaches a phase, and for these it is again a correlation, of gy
with the turned kernel. So forward is one launch, the input gradient one for each phase.
"""

from collections.abc import Iterator
from math import gcd
from typing import NamedTuple

from ..contract import Array, Geometry, Pair, Sizes
from .module import THREADS, contiguous, divisor, empty, for_floats, launch, module_of, spread, wide_type

_FILE = "convolution.cu"
_FEW = 4  # output channels of a group up to which a thread or a block for each result beats tiles
_NARROW = 32  # output channels up to which tiles of 16 waste less than tiles of 64
_BLOCKS = 512  # that the weight gradient is cut into, at least, where there are pixels enough
_LEAST_PIXELS = 512  # of one part of it


class _Axis(NamedTuple):
    """One direction of a correlation: target pixel first + i·stride reads source[start + i·step + tap·tap_step]."""

    pixels: int  # of the target
    first: int
    stride: int
    start: int
    step: int
    taps: int
    tap_step: int
    first_tap: int  # of the kernel
    tap_stride: int


def _forward_axis(out: int, kernel: int, stride: int, before: int, dilation: int) -> _Axis:
    return _Axis(out, 0, 1, -before, stride, kernel, dilation, 0, 1)


def _phases(size: int, kernel: int, stride: int, before: int, dilation: int) -> Iterator[_Axis]:
    """Pixel h receives from output (h + before − tap·dilation)/stride, of those taps that make it a whole number."""
    common = gcd(stride, dilation)
    for first in range(min(stride, size)):
        taps = [k for k in range(kernel) if (first + before - k * dilation) % stride == 0]
        start = (first + before - taps[0] * dilation) // stride if taps else 0
        yield _Axis(-(-(size - first) // stride), first, stride, start, 1, len(taps), -(dilation // common),
                    taps[0] if taps else 0, stride // common)


def _correlation(rows: _Axis, columns: _Axis, images: int, groups: int, outputs: int, inputs: int, source: Sizes,
                 target: Sizes, strides: tuple[int, int, int, int, int], rectify: bool = False) -> tuple:
    """struct Correlation of convolution.cu; strides of the weights by group, output, input, row and column."""
    group, output, channel, row, column = strides
    return (images, groups, outputs, inputs, rectify, *source, *target, rows.pixels, columns.pixels, rows.first,
            columns.first, rows.stride, columns.stride, rows.start, columns.start, rows.step, columns.step,
            rows.tap_step, columns.tap_step, rows.taps, columns.taps,
            rows.first_tap * row + columns.first_tap * column, group, output, channel, rows.tap_stride * row,
            columns.tap_stride * column, divisor(max(1, rows.taps * columns.taps)), divisor(max(1, columns.taps)),
            divisor(rows.pixels * columns.pixels), divisor(columns.pixels))


def _forward(x_shape: tuple[int, ...], w_shape: tuple[int, ...], geometry: Geometry,
             rectify: bool = False) -> tuple[tuple, int]:
    """The correlation that convolution is, and its pixels."""
    (n, _, h, w), (o, c_g, kh, kw), groups = x_shape, w_shape, geometry.groups
    out = geometry.output_size((h, w), (kh, kw))
    rows, columns = (_forward_axis(*axis) for axis in zip(out, (kh, kw), geometry.stride,
                                                          [p[0] for p in geometry.padding], geometry.dilation,
                                                          strict=True))
    strides = o // groups * c_g * kh * kw, c_g * kh * kw, kh * kw, kw, 1
    correlation = _correlation(rows, columns, n, groups, o // groups, c_g, (h, w), out, strides, rectify)
    return correlation, n * out[0] * out[1]


def _correlate(source: Array, w: Array, b: Array | None, target: Array, correlation: tuple, pixels: int) -> None:
    groups, outputs = correlation[1:3]
    if outputs <= _FEW:
        count = pixels * groups * outputs
        launch(_FILE, "correlate_single", spread(count), (THREADS,), source, w, b, target, correlation, count)
        return
    name, m, n = ("correlate_narrow", 16, 128) if outputs <= _NARROW else ("correlate_wide", 64, 64)
    grid = -(-pixels // n) * groups, -(-outputs // m)
    launch(_FILE, name, grid, (THREADS,), source, w, b, target, correlation)


@for_floats
def conv2d(x: Array, w: Array, b: Array | None, geometry: Geometry, rectify: bool = False) -> Array:
    y = empty((x.shape[0], w.shape[0], *geometry.output_size(x.shape[2:], w.shape[2:])), x)
    _correlate(contiguous(x), contiguous(w), b if b is None else contiguous(b), y,
               *_forward(x.shape, w.shape, geometry, rectify))
    return y


@for_floats
def conv2d_input_grad(gy: Array, w: Array, x_shape: tuple[int, ...], geometry: Geometry) -> Array:
    (n, _, *size), (o, c_g, kh, kw), groups = x_shape, w.shape, geometry.groups
    gx, gy, w = empty(x_shape, gy), contiguous(gy), contiguous(w)
    strides = o // groups * c_g * kh * kw, kh * kw, c_g * kh * kw, kw, 1
    row_phases, column_phases = (
        list(_phases(*axis)) for axis in zip(size, (kh, kw), geometry.stride, [p[0] for p in geometry.padding],
                                             geometry.dilation, strict=True))
    for rows in row_phases:
        for columns in column_phases:
            correlation = _correlation(rows, columns, n, groups, c_g, o // groups, gy.shape[2:], tuple(size),
                                       strides)
            _correlate(gy, w, None, gx, correlation, n * rows.pixels * columns.pixels)
    return gx


@for_floats
def conv2d_weight_grad(x: Array, gy: Array, w_shape: tuple[int, ...], geometry: Geometry) -> Array:
    (o, c_g, kh, kw), groups = w_shape, geometry.groups
    gw, x, gy = empty(w_shape, x), contiguous(x), contiguous(gy)
    taps, outputs = c_g * kh * kw, o // groups
    correlation, pixels = _forward(x.shape, w_shape, geometry)
    if outputs <= _FEW:
        launch(_FILE, "sum_weights_single", (taps, o), (THREADS,), x, gy, gw, correlation)
        return gw
    name, m = ("sum_weights_narrow", 16) if outputs <= _NARROW else ("sum_weights_wide", 64)
    across, down = -(-taps // 64) * groups, -(-outputs // m)
    part_count = max(1, min(-(-_BLOCKS // (across * down)), -(-pixels // _LEAST_PIXELS)))
    per_part = max(1, -(-pixels // part_count))
    parts = module_of(x).empty((part_count, o, taps), wide_type(x))
    launch(_FILE, name, (across, down, part_count), (THREADS,), x, gy, parts, correlation, per_part)
    launch(_FILE, "add_parts", spread(o * taps), (THREADS,), gw, parts, o * taps, part_count)
    return gw


# -- im2col and col2im ------------------------------------------------------------------------------------------------

def _windows(size: Pair, kernel: Pair, geometry: Geometry) -> tuple[int, ...]:
    """struct Windows of convolution.cu."""
    (top, _), (left, _) = geometry.padding
    return (*size, *kernel, *geometry.output_size(size, kernel), *geometry.stride, top, left, *geometry.dilation)


@for_floats
def im2col(x: Array, kernel: Pair, geometry: Geometry) -> Array:
    n, c, *size = x.shape
    oh, ow = geometry.output_size((size[0], size[1]), kernel)
    cols = empty((n, c * kernel[0] * kernel[1], oh * ow), x)
    windows = _windows((size[0], size[1]), kernel, geometry)
    launch(_FILE, "im2col", spread(cols.size), (THREADS,), contiguous(x), cols, windows, cols.size)
    return cols


@for_floats
def col2im(cols: Array, x_shape: tuple[int, ...], kernel: Pair, geometry: Geometry) -> Array:
    x = empty(x_shape, cols)
    windows = _windows((x_shape[2], x_shape[3]), kernel, geometry)
    launch(_FILE, "col2im", spread(x.size), (THREADS,), contiguous(cols), x, windows, x.size)
    return x
