"""The forward pass and the input gradient: one correlation, swept in one of three ways.

    long rows    lanes hold pixels. All pixels of an image, or of several, are one long row of vectors, junk included,
                 in a buffer from which the result is copied out. Without junk, the long row is the result itself.
    row by row   lanes hold pixels. Some rows of the result make a tile; a last vector that is not full is masked. The
                 result needs no copying, but a row of 10 pixels takes the time of 16.
    channels     lanes hold outputs, and the pixels of a row are broadcast. No lane is wasted where the outputs come in
                 whole vectors, but the result has its channels last and must be transposed.

``plans.correlation`` chooses, by price. Sums start from the bias. Where they are made in the result itself and that
is large, the bias is written first, plane by plane: it brings the result into the cache in the order that memory likes.
"""

from collections.abc import Callable

import numpy as np
from numba import carray

from ..contract import Array, Geometry
from . import plans
from .gather import copy_steps, gather
from .jobs import BRIEF, SMALL, fill, rectify, run, scratch, with_kernels
from .memory import empty
from .microkernel import lanes, shifted
from .plans import (CHANNELS, COLUMN_COUNT, END_TAP, FIRST_COLUMN, FIRST_ROW, FIRST_TAP, KERNEL_ROWS, LONG_ROWS, PHASE,
                    ROW_BY_ROW, ROW_COUNT, STEPS)
from .support import part
from .threads import call


def price(x_shape: tuple[int, ...], y_shape: tuple[int, ...], w_shape: tuple[int, ...], geometry: Geometry,
          dtype: np.dtype, backward: bool) -> float:
    """What correlate() costs, in cycles."""
    return plans.correlation(x_shape, y_shape, w_shape, geometry, lanes(dtype.itemsize), backward).numbers["price"]


def correlate(x: Array, w: Array, b: Array | None, y: Array, geometry: Geometry, backward: bool = False,
              rectify: bool = False) -> Array:
    """y = conv2d(x, w, b), rectified if wanted, or, backward, y = conv2d_input_grad(x, w), into y."""
    plan = plans.correlation(x.shape, y.shape, w.shape, geometry, lanes(x.itemsize), backward, rectify)
    numbers = with_kernels(plan, x.dtype)
    packed = empty((numbers["groups"] * numbers["packed"] * numbers["taps"],), x.dtype)
    run(_pack, numbers["groups"] * numbers["blocks"], plan, np.ascontiguousarray(w), packed, small=packed.size < SMALL)
    starts = _starts(b, numbers, x.dtype)
    x = np.ascontiguousarray(x)
    image, result = scratch(x.dtype, numbers["scratch"], numbers["result"])
    if numbers["shared"]:
        image = np.empty(numbers["jobs"] // numbers["parts"] * numbers["scratch"], x.dtype)
        run(_gather, numbers["jobs"] // numbers["parts"], plan, x, image)
    run(_JOBS[numbers["way"]], numbers["jobs"], plan, x, packed, starts, y, image, result,
        small=numbers["price"] < BRIEF)
    return y


def _starts(b: Array | None, numbers: dict[str, int], dtype: np.dtype) -> Array:
    """What sums start from, as vectors: the bias of every output, or of one output in all lanes."""
    starts = np.zeros((numbers["groups"], numbers["packed"]), dtype)
    if b is not None:
        starts[:, :numbers["outputs"]] = b.reshape(numbers["groups"], -1)
    return starts if numbers["way"] == CHANNELS else np.repeat(starts, numbers["lanes"])


@part
def _block(plan, index):
    """The outputs first ≤ o < last whose weights stand together in block ``index`` of the packed weights."""
    width = plan.vectors * plan.lanes
    return ((index * width, min((index + 1) * width, plan.packed)) if plan.way == CHANNELS else
            (index * plan.outputs // plan.blocks, (index + 1) * plan.outputs // plan.blocks))


def _pack(job, thread, plan, tables, w, packed, _c, _d, _e, _f):
    """Weights of one block in the order a tile reads them: tap by tap, the outputs next to each other."""
    plan = carray(plan, 1)[0]
    source = carray(shifted(tables, PHASE * plan.phases + plan.taps), plan.taps)
    group, index = job // plan.blocks, job % plan.blocks
    first, last = _block(plan, index)
    count = last - first
    stored = min(last, plan.outputs) - first
    weights = shifted(w, group * plan.group_step + first * plan.output_step)
    target = shifted(packed, (group * plan.packed + first) * plan.taps)
    if stored < count:
        fill(target, count * plan.taps, 0)
    for k in range(0, plan.taps, plan.run):
        call(plan.transpose, (shifted(target, k * count), count, shifted(weights, source[k]), plan.output_step, stored,
                              plan.run))


@part
def _unit(plan, unit):
    """The group, the images n0 ≤ n < n0 + images and the first row t0 of the result that make up a unit of work."""
    block, group = unit % plan.row_blocks, unit // plan.row_blocks
    n0 = group // plan.groups * plan.together
    return group % plan.groups, n0, min(plan.together, plan.images - n0), block * plan.rows


def _gather(unit, thread, plan, tables, x, image, _c, _d, _e, _f):
    """The images of a unit, for all the jobs that work on a part of its outputs each."""
    plan = carray(plan, 1)[0]
    group, n0, images, t0 = _unit(plan, unit)
    gather(x, plan, n0, images, group, t0, shifted(image, unit * plan.scratch))


@part
def _kernel_rows(plan, phase, reads, first, last):
    """The taps k ≤ tap < end of the kernel rows that see anything but padding from the rows first … last of a phase."""
    first_tap, last_tap, count = phase[FIRST_TAP], phase[END_TAP], phase[KERNEL_ROWS]
    sees = carray(reads, count)  # the image row that a kernel row reads for t = 0
    low, high = first * plan.split_rows, last * plan.split_rows
    top, bottom = 0, count
    while top < bottom and (sees[top] + high < 0 or sees[top] + low >= plan.image_height):
        top += 1
    while top < bottom and (sees[bottom - 1] + high < 0 or sees[bottom - 1] + low >= plan.image_height):
        bottom -= 1
    taps = (last_tap - first_tap) // max(1, count)
    return first_tap + top * taps, first_tap + bottom * taps


@part
def _channels(plan, phase, reads, offsets, images, t0, rows, image, weights, starts, first, last, result, y):
    """result[pixel, o] = bias[o] + Σ_k image[offset(k) + pixel] · weights[k, o], then transposed into y."""
    columns, packed, wide = phase[COLUMN_COUNT], plan.packed, plan.vectors * plan.lanes
    begin, end, stored = first * wide, min(last * wide, plan.outputs), min(last * wide, packed)
    for t in range(rows):
        low, high = _kernel_rows(plan, phase, reads, t0 + t, t0 + t)
        for n in range(images if low == high else 0):  # a row that sees only padding
            for q in range(columns):
                copy_steps(shifted(result, ((n * rows + t) * columns + q) * packed + begin), 1,
                           shifted(starts, begin), 1, stored - begin)

    spans, steps = -(-columns // plan.pixels), 2 * STEPS // plan.vectors
    for tap in range(phase[FIRST_TAP], phase[END_TAP], steps):
        for index in range(first, last):
            o, width = index * wide, min(wide, packed - index * wide)
            for n in range(images):
                for t in range(rows):
                    low, high = _kernel_rows(plan, phase, reads, t0 + t, t0 + t)
                    k, stop = max(low, tap), min(high, tap + steps)
                    pixel = (n * rows + t) * columns
                    for span in range(spans if k < stop else 0):
                        s = span * columns // spans
                        target = shifted(result, (pixel + s) * packed + o)
                        start, start_step = (shifted(starts, o), 0) if k == low else (target, packed)
                        call(plan.tile, ((span + 1) * columns // spans - s, width // plan.lanes, plan.lanes, stop - k,
                                         shifted(offsets, k),
                                         shifted(image, n * plan.image_step + t * plan.width + s), 0, 1,
                                         shifted(weights, o * plan.taps + k * width), width, 0, plan.lanes,
                                         start, start_step, plan.lanes, target, packed, plan.lanes))

    size, line = plan.out_height * plan.out_width, plan.row_step * plan.out_width
    for n in range(images):
        source = n * rows * columns * packed + begin
        target = shifted(y, (n * plan.groups * plan.outputs + begin) * size)
        if line == columns:
            call(plan.transpose, (target, size, shifted(result, source), packed, rows * columns, end - begin))
        else:
            for o in range(end - begin):
                for t in range(rows):
                    copy_steps(shifted(target, o * size + t * line), plan.column_step,
                               shifted(result, source + t * columns * packed + o), packed, columns)


@part
def _row_by_row(plan, phase, reads, offsets, images, t0, rows, image, weights, starts, first, last, y):
    """y[o, t, q] = bias[o] + Σ_k weights[o, k] · image[offset(k) + t·width + q]; a tile takes a band of rows."""
    columns, size, line = phase[COLUMN_COUNT], plan.out_height * plan.out_width, plan.row_step * plan.out_width
    channels, bands = plan.groups * plan.outputs, -(-rows // plan.vectors)
    bias = carray(starts, plan.outputs * plan.lanes)
    pieces = 1 if plan.brought else bands  # all rows at once, or the bands that see only padding
    for piece in range(pieces if rows > 0 else 0):
        t, below = piece * rows // pieces, (piece + 1) * rows // pieces
        low, high = _kernel_rows(plan, phase, reads, t0 + t, t0 + below - 1)
        for n in range(images if plan.brought or low == high else 0):
            for o in range(_block(plan, first)[0], _block(plan, last - 1)[1]):
                for row in range(t, below):
                    fill(shifted(y, (n * channels + o) * size + row * line), columns, bias[o * plan.lanes])

    for tap in range(phase[FIRST_TAP], phase[END_TAP], STEPS):
        for n in range(images):
            for band in range(bands if rows > 0 else 0):
                t, below = band * rows // bands, (band + 1) * rows // bands
                low, high = _kernel_rows(plan, phase, reads, t0 + t, t0 + below - 1)
                k, stop = max(low, tap), min(high, tap + STEPS)
                for q in range(0, columns if k < stop else 0, plan.lanes):
                    for index in range(first, last):
                        o, end = _block(plan, index)
                        lanes = min(plan.lanes, columns - q)
                        target = shifted(y, (n * channels + o) * size + t * line + q)
                        start, start_step, start_next = target, size, line
                        if k == low and not plan.brought:
                            start, start_step, start_next = shifted(starts, o * plan.lanes), plan.lanes, 0
                        call(plan.tile, (end - o, below - t, lanes, stop - k, shifted(offsets, k),
                                         shifted(weights, o * plan.taps + k * (end - o)), end - o, 0,
                                         shifted(image, n * plan.image_step + t * plan.width + q), 0, 1, plan.width,
                                         start, start_step, start_next, target, size, line))


@part
def _long_rows(plan, phase, offsets, images, rows, image, weights, starts, first, last, result, y):
    """result[o, q] = bias[o] + Σ_k weights[o, k] · image[offset(k) + q], then copied into y, or y itself if dense."""
    columns, size, line = phase[COLUMN_COUNT], plan.out_height * plan.out_width, plan.row_step * plan.out_width
    begin, end = _block(plan, first)[0], _block(plan, last - 1)[1]
    channels = plan.groups * plan.outputs
    sweeps, length = images if rows > 0 else 0, (rows - 1) * plan.width + columns
    if plan.merged:
        sweeps, length = min(1, sweeps), (images - 1) * plan.image_step + length
    if plan.dense:
        target, step, apart = y, size, channels * size
    else:
        target, step, apart = result, images * plan.apart + plan.lanes, plan.apart
        length = -(-length // plan.lanes) * plan.lanes
    bias = carray(starts, plan.outputs * plan.lanes)
    unreached = phase[FIRST_TAP] == phase[END_TAP]  # by any tap
    for n in range(sweeps if plan.brought or unreached else 0):
        for o in range(begin, end):
            fill(shifted(target, o * step + n * apart), length, bias[o * plan.lanes])

    whole, tail = length // plan.lanes, length % plan.lanes
    spans = -(-whole // plan.vectors)
    for k in range(phase[FIRST_TAP], phase[END_TAP], STEPS):
        for n in range(sweeps):
            for span in range(spans + (tail > 0)):
                v, count, lanes = whole, 1, tail
                if span < spans:
                    v, lanes = span * whole // spans, plan.lanes
                    count = (span + 1) * whole // spans - v
                for index in range(first, last):
                    o, end = _block(plan, index)
                    place = shifted(target, o * step + n * apart + v * plan.lanes)
                    start, start_step, start_next = place, step, plan.lanes
                    if k == phase[FIRST_TAP] and not plan.brought:
                        start, start_step, start_next = shifted(starts, o * plan.lanes), plan.lanes, 0
                    call(plan.tile, (end - o, count, lanes, min(STEPS, phase[END_TAP] - k), shifted(offsets, k),
                                     shifted(weights, o * plan.taps + k * (end - o)), end - o, 0,
                                     shifted(image, n * plan.image_step + v * plan.lanes), 0, 1, plan.lanes,
                                     start, start_step, start_next, place, step, plan.lanes))

    for n in range(0 if plan.dense else images):
        for o in range(begin, _block(plan, last - 1)[1]):
            for t in range(rows):
                copy_steps(shifted(y, (n * channels + o) * size + t * line), plan.column_step,
                           shifted(result, o * step + n * plan.apart + t * plan.width), 1, columns)


def _correlating(way: int) -> Callable:
    """The job for one of the ways: of the three those are compiled that a network needs."""
    def correlate(job, thread, plan, tables, x, packed, starts, y, image, result):
        """One job: gather some images, or some rows of one; then, for each phase of the result, multiply."""
        plan = carray(plan, 1)[0]
        part, unit = job % plan.parts, job // plan.parts
        group, n0, images, t0 = _unit(plan, unit)
        first, last = part * plan.blocks // plan.parts, (part + 1) * plan.blocks // plan.parts
        image = shifted(image, (unit if plan.shared else thread) * plan.scratch)
        result = shifted(result, thread * plan.result)
        if plan.in_place:
            image = shifted(x, ((n0 * plan.groups + group) * plan.channels * plan.image_height + t0) * plan.image_width)
        elif not plan.shared:
            gather(x, plan, n0, images, group, t0, image)
        weights = shifted(packed, group * plan.packed * plan.taps)
        starts = shifted(starts, group * plan.packed * (1 if way == CHANNELS else plan.lanes))
        channel = shifted(y, (n0 * plan.groups + group) * plan.outputs * plan.out_height * plan.out_width)

        phases, offsets = carray(tables, (plan.phases, PHASE)), shifted(tables, PHASE * plan.phases)
        reads = shifted(offsets, 2 * plan.taps)
        for p in range(plan.phases):
            phase = phases[p]
            rows = min(plan.rows, phase[ROW_COUNT] - t0)
            target = shifted(channel, (phase[FIRST_ROW] + t0 * plan.row_step) * plan.out_width + phase[FIRST_COLUMN])
            if way == CHANNELS:
                _channels(plan, phase, reads, offsets, images, t0, rows, image, weights, starts, first, last, result,
                          target)
            elif way == ROW_BY_ROW:
                _row_by_row(plan, phase, reads, offsets, images, t0, rows, image, weights, starts, first, last, target)
            else:
                _long_rows(plan, phase, offsets, images, rows, image, weights, starts, first, last, result, target)
            reads = shifted(reads, phase[KERNEL_ROWS])

        if plan.rectify:  # what is still in the cache; of a result that is swept in one phase
            begin, end = _block(plan, first)[0], min(_block(plan, last - 1)[1], plan.outputs)
            size, count = plan.out_height * plan.out_width, min(plan.rows, plan.out_height - t0) * plan.out_width
            for n in range(images):
                for o in range(begin, end):
                    rectify(shifted(channel, (n * plan.groups * plan.outputs + o) * size + t0 * plan.out_width), count)

    return correlate


_JOBS = {way: _correlating(way) for way in (CHANNELS, LONG_ROWS, ROW_BY_ROW)}
