"""How a convolution is cut into jobs: everything that depends on shapes alone, worked out once and remembered."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..contract import Geometry, Pair
from .jobs import Plan
from .microkernel import MASKS, ROWS, vectors

BLOCK = 1 << 17  # elements of image and result one job works on: half of a 1 MiB second-level cache in float32
LARGE_BLOCK = 1 << 20  # the same where the weights are larger than that, and should be read for many pixels at once
ENDLESS = 1 << 20  # vectors of a tile of one row
FAR = 1 << 20  # elements of a result that does not stay in any cache nearby
PART = 1 << 16  # elements of weights, at least, of a part of the outputs
JOBS = 16  # wanted at least, to share among threads
CALL = 40  # cycles a tile costs besides its steps
STEPS = 256  # of a tile of two vectors: its packed operand stays in the first-level cache
LONG_ROWS, ROW_BY_ROW, CHANNELS = range(3)  # ways to sweep the result of a correlation

# Where things stand in a phase, a row of so many numbers: its first tap and the one behind its last, the first row and
# column of the result that it computes, how many these are, and how many rows of the kernel its taps come from.
FIRST_TAP, END_TAP, FIRST_ROW, FIRST_COLUMN, ROW_COUNT, COLUMN_COUNT, KERNEL_ROWS, PHASE = range(8)


class Axis(NamedTuple):
    """One image axis: result[start + step·t] = Σ over taps of image[split·(t + shift) + phase − before].

    ``phases`` lists, for each start, how many t there are and the taps (kernel index, phase, shift).
    """

    split: int
    before: int
    step: int
    phases: tuple[tuple[int, int, tuple[tuple[int, int, int], ...]], ...]

    @property
    def reach(self) -> int:
        """The largest shift."""
        return max((shift for _, _, taps in self.phases for _, _, shift in taps), default=0)

    @property
    def results(self) -> int:
        """The largest number of results in a phase."""
        return max(count for _, count, _ in self.phases)


def forward_axis(kernel: int, stride: int, dilation: int, before: int, outputs: int) -> Axis:
    taps = tuple((i, i * dilation % stride, i * dilation // stride) for i in range(kernel))
    return Axis(stride, before, 1, ((0, outputs, taps),))


def _backward_axis(kernel: int, stride: int, dilation: int, before: int, size: int) -> Axis:
    """gx[h] = Σ_i w[i] · gy[(h + before − i·dilation) / stride], over the i for which that is a whole number."""
    reached = [[(i, (start + before - i * dilation) // stride) for i in range(kernel)
                if (start + before - i * dilation) % stride == 0] for start in range(min(stride, size))]
    first = min((row for taps in reached for _, row in taps), default=0)
    return Axis(1, -first, stride, tuple((start, -(-(size - start) // stride),
                                          tuple((i, 0, row - first) for i, row in taps))
                                         for start, taps in enumerate(reached)))


def image_axes(make: Callable[..., Axis], kernel: Pair, geometry: Geometry, sizes: Sequence[int]) -> tuple[Axis, Axis]:
    """Rows and columns."""
    down, right = (make(kernel[i], geometry.stride[i], geometry.dilation[i], geometry.padding[i][0], sizes[i])
                   for i in (0, 1))
    return down, right


def up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def block_size(weights: int) -> int:
    """Elements one job works on."""
    return min(LARGE_BLOCK, max(BLOCK, weights // 2))


def cut(down: Axis, columns: int, images: int, depth: int, jobs: int, block: int) -> tuple[int, int]:
    """Rows of the result, or else whole images, of one job; depth counts the channels it reads and writes."""
    per_row = depth * columns
    rows = min(down.results, max(1, block // per_row - down.reach), -(-down.results // -(-jobs // images)))
    rows = -(-down.results // -(-down.results // rows))  # all blocks about equal
    if rows < down.results:
        return rows, 1
    return rows, max(1, min(block // (per_row * (rows + down.reach)), images // jobs))


def layout(axes: tuple[Axis, Axis], channels: int, plane: int, columns: int, weight_steps: tuple[int, ...]):
    """The phases of the result and, tap by tap, the offset in the image and in the weights of output 0.

    Taps are in the order (kernel row, channel, kernel column), so that those of some kernel rows follow each other.
    """
    down, right = axes
    tables, phases, first = [], [], 0
    channel_step, i_step, j_step = weight_steps
    for row_start, row_count, row_taps in down.phases:
        for column_start, column_count, column_taps in right.phases:
            taps = np.array([[(pi * right.split + pj) * plane + si * columns + sj, i * i_step + j * j_step]
                             for i, pi, si in row_taps for j, pj, sj in column_taps],
                            np.int64).reshape(len(row_taps), 1, len(column_taps), 2)
            channel = np.multiply.outer(np.arange(channels), (down.split * right.split * plane, channel_step))
            tables.append((taps + channel[:, None]).reshape(-1, 2))
            last = first + len(tables[-1])
            phases.append((first, last, row_start, column_start, row_count, column_count, len(row_taps)))
            first = last
    table = np.concatenate(tables)
    return np.array(phases, np.int64), table[:, 0], table[:, 1]


def _run(source: np.ndarray) -> int:
    """The largest length such that the source is made of runs of this many consecutive numbers."""
    breaks = np.flatnonzero(np.diff(source) != 1) + 1
    return max(1, int(np.gcd.reduce(np.append(breaks, len(source)))))


def image_numbers(x_shape: tuple[int, ...], axes: tuple[Axis, Axis], rows: int, together: int,
                  groups: int) -> dict[str, int]:
    """The numbers by which a job fills its scratch buffer, see ``gather``."""
    down, right = axes
    n, c, h, w = x_shape
    return {"images": n, "groups": groups, "channels": c // groups, "image_height": h, "image_width": w,
            "split_rows": down.split, "split_columns": right.split, "before_rows": down.before,
            "before_columns": right.before, "height": rows + down.reach, "width": right.results + right.reach,
            "together": together, "rows": rows, "row_blocks": -(-down.results // rows)}


def cycles(rows: int, vectors: float, loads: int) -> float:
    """Per step of a tile, on two multipliers of latency 4 and two loads, each of B counting ``loads``."""
    return max(4, rows * vectors / 2, (rows + loads * vectors + 1) / 2)


class Sweep(NamedTuple):
    """How the result of a correlation is swept by tiles, see correlation.py."""

    way: int  # LONG_ROWS, ROW_BY_ROW or CHANNELS
    dense: bool  # long rows: without junk, so that the result needs no buffer
    merged: bool  # long rows: all images of a job as one
    apart: int  # long rows: elements from one image to the next in the buffer
    packed: int  # outputs in the packed weights, per group
    vectors: int  # of a tile
    pixels: int  # channels: of a tile, at most
    blocks: int  # of outputs, the weights of each packed together
    price: int  # cycles per phase of a job


def _sweep(down: Axis, right: Axis, rows: int, together: int, outputs: int, lanes: int, steps: float,
           inside: float) -> Sweep:
    """The cheapest way, in cycles; a result has ``steps`` taps, ``inside`` of them in rows that are not all padding."""
    width, columns = right.results, right.results + right.reach
    length, plane = (rows - 1) * columns + width, (rows + down.reach) * columns

    # Channels in the lanes. Transposing costs about 1.5 cycles per result.
    spans, packed = -(-width // ROWS), up(outputs, lanes)
    pixels = -(-width // spans)
    wide = min(vectors(pixels), packed // lanes)
    calls = together * rows * spans * packed / lanes / wide
    by_channels = calls * (inside * cycles(pixels, wide, 1) + CALL) + 1.5 * together * rows * width * outputs

    # Pixels in the lanes: the same for one line after the other, of so many vectors.
    blocks = -(-outputs // ROWS)
    height = -(-outputs // blocks)
    most = vectors(height) if height > 1 else ENDLESS

    def price(lines: int, pieces: int, steps: float) -> float:
        calls = -(-pieces // most)
        return lines * blocks * calls * (steps * cycles(height, pieces / calls, 2) + CALL)

    # Long rows, which cost about 20 cycles per line to be copied out, unless they are dense.
    alone = price(together, -(-length // lanes), steps)
    flat = price(1, -(-((together - 1) * plane + length) // lanes), steps)
    copied = min(alone, flat) + 20 * together * rows * outputs
    uncopied, dense = np.inf, False
    if right.step == 1 and (MASKS or width % lanes == 0):
        dense = columns == width and down.step == 1
        uncopied = (price(together, -(-rows * width // lanes), steps) if dense else
                    price(together * -(-width // lanes), rows, inside))

    if by_channels < min(copied, uncopied):
        return Sweep(CHANNELS, False, False, 0, packed, wide, pixels, -(-packed // (wide * lanes)), int(by_channels))
    if uncopied < copied:
        way = LONG_ROWS if dense else ROW_BY_ROW
        return Sweep(way, dense, False, 0, outputs, most, 0, blocks, int(uncopied))
    apart = plane if flat < alone else up(length, lanes)
    return Sweep(LONG_ROWS, False, flat < alone, apart, outputs, most, 0, blocks, int(copied))


@lru_cache(256)
def correlation(x_shape: tuple[int, ...], y_shape: tuple[int, ...], w_shape: tuple[int, ...], geometry: Geometry,
                lanes: int, backward: bool, rectify: bool = False) -> Plan:
    """The plan of y = conv2d(x, w), rectified if wanted, or, backward, of y = conv2d_input_grad(x, w)."""
    (n, c, h, w), (_, o, *y_size), (w_outputs, w_channels, kh, kw), groups = x_shape, y_shape, w_shape, geometry.groups
    down, right = axes = image_axes(_backward_axis if backward else forward_axis, (kh, kw), geometry, y_size)
    channels, outputs, taps, area = c // groups, o // groups, kh * kw, down.split * right.split
    weights, columns = channels * outputs * taps, right.results + right.reach

    # Jobs: images, or rows of one; where the weights are large, also parts of the outputs.
    parts = max(1, min(outputs // (4 * lanes), weights // PART))
    rows, together = cut(down, columns, n * groups, channels * area + outputs, -(-JOBS // parts), block_size(weights))
    # Images together share the weights. Where those of a group are few, as its planes lie far apart from one image to
    # the next, memory is rather read and written in the order it is in, image by image.
    together = min(together, n) if groups == 1 or weights > PART else 1
    plane = (rows + down.reach) * columns
    row_blocks = -(-down.results // rows)
    jobs = -(-n // together) * groups * row_blocks

    # The image row that each kernel row of each phase reads for t = 0, and the share of those reads inside the image.
    reads = [[down.split * shift + phase - down.before for _, phase, shift in some] for _, _, some in down.phases]
    seen = [0 <= read + down.split * t < h for (_, count, _), some in zip(down.phases, reads, strict=True)
            for t in range(count) for read in some]
    row_taps, column_taps = (sum(len(some) for _, _, some in axis.phases) / len(axis.phases) for axis in axes)
    steps = channels * row_taps * column_taps
    sweep = _sweep(down, right, rows, together, outputs, lanes, steps, steps * sum(seen) / max(1, len(seen)))
    parts = min(parts, -(-JOBS // jobs), sweep.blocks)

    # An image that needs no padding is read where it is, but for vectors that might read past its end.
    in_place = ((sweep.way == CHANNELS or sweep.dense) and area == 1 and down.before == right.before == 0
                and columns == w and down.results + down.reach <= h)
    gathered = 0 if in_place else channels * area * together * plane
    channel_step, output_step = (w_channels * taps, taps) if backward else (taps, w_channels * taps)
    phases, offsets, source = layout(axes, channels, h * w if in_place else together * plane, columns,
                                     (channel_step, kw, 1))
    result = {CHANNELS: together * rows * right.results * sweep.packed, ROW_BY_ROW: 0,
              LONG_ROWS: 0 if sweep.dense else outputs * (together * sweep.apart + lanes)}[sweep.way]
    price = jobs * (len(phases) * sweep.price + gathered * (2 if area > 1 else .5))
    # A tile stores pieces of a vector or two, of several outputs.
    scattered = outputs > 1 and (sweep.dense or sweep.way == ROW_BY_ROW)
    numbers = image_numbers(x_shape, axes, rows, together, groups) | sweep._asdict() | {
        "price": int(price), "lanes": lanes, "outputs": outputs, "out_height": y_size[0], "out_width": y_size[1],
        "row_step": down.step, "column_step": right.step,  # from one result of a phase to the next, in y
        "in_place": in_place, "image_step": c * h * w if in_place else plane,
        "shared": parts > 1 and not in_place, "brought": scattered and n * o * y_size[0] * y_size[1] > FAR,
        "phases": len(phases), "taps": len(offsets), "run": _run(source),  # of taps that follow each other in w
        "output_step": output_step, "group_step": w_outputs // groups * w_channels * taps,  # in w
        "scratch": up(gathered + lanes, 64), "result": up(result, 64),
        "rectify": rectify, "parts": parts, "jobs": jobs * parts, "tile": 0, "transpose": 0}
    return Plan([phases, offsets, source, np.concatenate([some for some in reads for _ in right.phases])], **numbers)


@lru_cache(256)
def columns(x_shape: tuple[int, ...], kernel: tuple[int, int], geometry: Geometry) -> Plan:
    """The plan of im2col and col2im: a job per image and channel."""
    _, _, h, w = x_shape
    (sh, sw), (dh, dw), ((top, _), (left, _)) = geometry.stride, geometry.dilation, geometry.padding
    oh, ow = geometry.output_size((h, w), kernel)
    return Plan([], image_height=h, image_width=w, kernel_rows=kernel[0], kernel_columns=kernel[1], out_height=oh,
                out_width=ow, stride_rows=sh, stride_columns=sw, dilation_rows=dh, dilation_columns=dw, top=top,
                left=left)
