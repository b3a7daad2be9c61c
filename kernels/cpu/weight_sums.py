"""The weight gradient: sums over pixels, taken in chunks of a fixed number of units and added up in order.

    tiles    lanes hold outputs. Image and gradient are copied with their channels last, so that a row of the kernel is
             one stretch of memory: sums[r, o] += Σ_pixel image[offset(pixel) + r] · gradient[pixel, o].
    dots     lanes hold pixels, where outputs are too few to fill them: dot products of gy, laid out like the image with
             zeros for what is no pixel, with the shifted images of the table of offsets.

``weight_plans.weight_sums`` chooses, by price.
"""

import numpy as np
from numba import carray

from ..contract import Array, Geometry
from . import weight_plans
from .gather import gather, gather_channels_last
from .jobs import BRIEF, SMALL, fill, run, scratch, with_kernels
from .memory import empty
from .microkernel import copy_row, lanes, shifted
from .plans import STEPS
from .support import part
from .threads import call


def sums_price(x_shape: tuple[int, ...], gy_shape: tuple[int, ...], w_shape: tuple[int, ...], geometry: Geometry,
               dtype: np.dtype) -> float:
    """What sum_weights() costs, in cycles."""
    return weight_plans.weight_sums(x_shape, gy_shape, w_shape, geometry, lanes(dtype.itemsize)).numbers["price"]


def sum_weights(x: Array, gy: Array, gw: Array, geometry: Geometry) -> Array:
    """gw = conv2d_weight_grad(x, gy), into gw."""
    plan = weight_plans.weight_sums(x.shape, gy.shape, gw.shape, geometry, lanes(x.itemsize))
    numbers = with_kernels(plan, x.dtype)
    partial = empty((numbers["partials"],), x.dtype)
    brief = numbers["price"] * geometry.groups < BRIEF  # the price is that of one group
    job, add, adders = ((_sum_tiles, _add_tiles, numbers["groups"] * numbers["packed"] // numbers["lanes"])
                        if numbers["by_tiles"] else (_sum_dots, _add_dots, len(gw)))
    run(job, numbers["jobs"], plan, np.ascontiguousarray(x), np.ascontiguousarray(gy), partial,
        *scratch(x.dtype, numbers["scratch"], numbers["gradients"]), small=brief)
    run(add, adders, plan, partial, gw, small=partial.size < SMALL)
    return gw


@part
def _unit(plan, unit):
    """The images n0 ≤ n < n0 + images and the rows t0 ≤ t < t0 + rows of the result that make up a unit."""
    n0, t0 = unit // plan.row_blocks * plan.together, unit % plan.row_blocks * plan.rows
    return n0, min(plan.together, plan.images - n0), t0, min(plan.rows, plan.out_height - t0)


def _sum_dots(job, thread, plan, tables, x, gy, partial, image, gradient, _f):
    """One chunk, some outputs: sums[o, tap] += Σ gradient[o, q] · image[offset(tap) + q].

    The gradient is laid out as the image is, with zeros in between.
    """
    plan = carray(plan, 1)[0]
    image, gradient = shifted(image, thread * plan.scratch), shifted(gradient, thread * plan.gradients)
    part, group, chunk = job % plan.parts, job // plan.parts % plan.groups, job // (plan.parts * plan.groups)
    first = part * plan.shares // plan.parts * plan.dot_rows
    outputs = (part + 1) * plan.shares // plan.parts * plan.dot_rows - first
    sums = shifted(partial, (chunk * plan.groups + group) * plan.partial + first * plan.row)
    fill(sums, outputs * plan.row, 0)
    area, size, columns = plan.height * plan.width, plan.out_height * plan.out_width, plan.out_width
    for unit in range(chunk * plan.units // plan.chunks, (chunk + 1) * plan.units // plan.chunks):
        n0, images, t0, rows = _unit(plan, unit)
        gather(x, plan, n0, images, group, t0, image)
        # What the last vector reads past the end is multiplied by zero, so it must be a number.
        fill(shifted(image, plan.channels * plan.split_rows * plan.split_columns * plan.together * area), plan.lanes, 0)
        existing, last = min(outputs, plan.outputs - first), (rows - 1) * plan.width
        for n in range(images):
            channel = ((n0 + n) * plan.groups + group) * plan.outputs + first
            for o in range(existing):
                line = shifted(gradient, o * plan.g_row + n * plan.apart)
                source = shifted(gy, (channel + o) * size + t0 * columns)
                for t in range(rows - 1):
                    copy_row(shifted(line, t * plan.width), shifted(source, t * columns), plan.width, 0, columns)
                copy_row(shifted(line, last), shifted(source, (rows - 1) * columns), plan.apart - last, 0, columns)
        for o in range(outputs):
            written = images * plan.apart if o < existing else 0
            fill(shifted(gradient, o * plan.g_row + written), plan.g_row - written, 0)
        pieces, length = images, (rows - 1) * plan.width + columns
        if plan.merged:
            pieces, length = 1, (images - 1) * area + length
        for o in range(0, outputs, plan.dot_rows):
            for k in range(0, plan.row, plan.dot_taps):
                call(plan.dots, (plan.shape, pieces, -(-length // plan.lanes), shifted(gradient, o * plan.g_row),
                                 plan.g_row, plan.apart, image, shifted(tables, k), area,
                                 shifted(sums, o * plan.row + k), plan.row))


def _add_dots(job, thread, plan, tables, partial, gw, _c, _d, _e, _f):
    """One output channel of gw: its partial sums, added in order."""
    plan = carray(plan, 1)[0]
    taps, row = plan.channels * plan.kernel, job // plan.outputs * plan.partial + job % plan.outputs * plan.row
    total, width = carray(shifted(gw, job * taps), taps), plan.kernel_columns
    for chunk in range(plan.chunks):
        part, k = carray(shifted(partial, chunk * plan.groups * plan.partial + row), taps), 0
        for i in range(0, plan.kernel, width):  # from the order (kernel row, channel, kernel column)
            for c in range(plan.channels):
                for place in range(c * plan.kernel + i, c * plan.kernel + i + width):
                    total[place] = part[k] if chunk == 0 else total[place] + part[k]
                    k += 1


def _sum_tiles(job, thread, plan, tables, x, gy, partial, image, gradient, _f):
    """One chunk, some outputs: sums[run, r, o] += Σ image[offset(run) + offset(pixel) + r] · gradient[pixel, o].

    Image and gradient have their channels last, so that the numbers of a kernel row lie next to each other.
    """
    plan = carray(plan, 1)[0]
    image, gradient = shifted(image, thread * plan.scratch), shifted(gradient, thread * plan.gradients)
    part, group, chunk = job % plan.parts, job // plan.parts % plan.groups, job // (plan.parts * plan.groups)
    wide, size, columns = plan.vectors * plan.lanes, plan.out_height * plan.out_width, plan.out_width
    first = part * plan.shares // plan.parts * wide
    last = min((part + 1) * plan.shares // plan.parts * wide, plan.packed)
    sums, width = shifted(partial, (chunk * plan.groups + group) * plan.partial), last - first
    for r in range(plan.runs * plan.run):
        fill(shifted(sums, r * plan.packed + first), width, 0)
    runs, places = carray(tables, plan.runs), shifted(tables, plan.runs)
    for unit in range(chunk * plan.units // plan.chunks, (chunk + 1) * plan.units // plan.chunks):
        n0, images, t0, rows = _unit(plan, unit)
        gather_channels_last(x, plan, n0, images, group, t0, image)
        pixels, existing = images * rows * columns, min(last, plan.outputs) - first
        if existing < width:
            fill(gradient, pixels * width, 0)
        for n in range(images):
            channel = ((n0 + n) * (plan.groups // plan.slices) + group // plan.slices) * plan.outputs + first
            call(plan.transpose, (shifted(gradient, n * rows * columns * width), width,
                                  shifted(gy, channel * size + t0 * columns), size, existing, rows * columns))
        sweeps = -(-pixels // STEPS)  # all about equal
        for sweep in range(sweeps):
            k = sweep * pixels // sweeps
            steps = (sweep + 1) * pixels // sweeps - k
            for o in range(0, width, wide):
                count = min(plan.vectors, (width - o) // plan.lanes)
                for stretch in range(plan.runs):
                    for block in range(plan.blocks):
                        r = block * plan.run // plan.blocks
                        target = shifted(sums, (stretch * plan.run + r) * plan.packed + first + o)
                        call(plan.tile, ((block + 1) * plan.run // plan.blocks - r, count, plan.lanes, steps,
                                         shifted(places, k), shifted(image, runs[stretch] + r), 0, 1,
                                         shifted(gradient, k * width + o), width, 0, plan.lanes,
                                         target, plan.packed, plan.lanes, target, plan.packed, plan.lanes))


def _add_tiles(job, thread, plan, tables, partial, gw, _c, _d, _e, _f):
    """One vector of output channels of gw: their partial sums, added in order."""
    plan = carray(plan, 1)[0]
    blocks, rows = plan.packed // plan.lanes, plan.kernel * plan.channels
    group, o = job // blocks, job % blocks * plan.lanes
    sums, count = shifted(partial, group * plan.partial + o), min(plan.lanes, plan.outputs - o)
    for chunk in range(1, plan.chunks):
        more = shifted(sums, chunk * plan.groups * plan.partial)
        for r in range(rows):
            total = carray(shifted(sums, r * plan.packed), plan.lanes)
            term = carray(shifted(more, r * plan.packed), plan.lanes)
            for i in range(plan.lanes):
                total[i] += term[i]
    line = plan.slices * rows  # from one output to the next
    target = shifted(gw, (group // plan.slices * plan.outputs + o) * line + group % plan.slices * rows)
    if plan.kernel == 1:
        call(plan.transpose, (target, line, sums, plan.packed, rows, count))
    else:
        for c in range(plan.channels):
            call(plan.transpose, (shifted(target, c * plan.kernel), line, shifted(sums, c * plan.packed),
                                  plan.channels * plan.packed, plan.kernel, count))
