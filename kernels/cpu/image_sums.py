"""The weight gradient with images side by side, pixel by pixel: for maps so small that a kernel sees much padding.

As in image_lanes.py no product with padding is taken; here the outputs are in the lanes, and the sum is over pixels and
images:

    gw[t] += Σ X[q … q+k] · GY[p … p+k]      X (pixels, images, rows of C)   GY (pixels, images, O)   gw (taps, C, O)

Jobs share out the outputs and the channels, so that nothing has to be added up afterwards.
"""

from functools import lru_cache
from math import inf, prod

import numpy as np
from numba import carray

from ..contract import Array, Geometry
from .image_lanes import EASE, JOBS, TURN, meetings, reread, runs_of, supports, too_large, unevenly
from .jobs import BRIEF, Plan, fill, run, scratch, with_kernels
from .memory import empty
from .microkernel import ROWS, lanes, shifted, vectors
from .plans import CALL, cycles, up
from .threads import call


def sums_price(x_shape: tuple[int, ...], gy_shape: tuple[int, ...], w_shape: tuple[int, ...], geometry: Geometry,
               dtype: np.dtype) -> float:
    """What sum_weights() costs, in cycles."""
    if too_large(x_shape, gy_shape) or supports(w_shape[2:], geometry):
        return inf
    return _plan(x_shape, gy_shape, w_shape, geometry, lanes(dtype.itemsize)).numbers["price"]


@lru_cache(256)
def _plan(x_shape: tuple[int, ...], gy_shape: tuple[int, ...], w_shape: tuple[int, ...], geometry: Geometry,
              width: int) -> Plan:
    """The plan of conv2d_weight_grad, with the price in cycles."""
    (n, c, *x_size), (_, o, *y_size), kernel = x_shape, gy_shape, w_shape[2:]
    taps, sources, results = (prod(size) for size in (kernel, x_size, y_size))
    p, tap, q = meetings(x_size, y_size, kernel, geometry)
    starts, runs = runs_of(taps, tap, p, q)
    blocks = -(-c // ROWS)
    wide = min(vectors(-(-c // blocks)), -(-o // width))
    shares = -(-o // (wide * width))
    slices = max(1, min(blocks, -(-JOBS // shares)))
    longest = n * max(runs[:, 2], default=0)

    products = blocks * shares * (len(p) * n * cycles(-(-c // blocks), wide, 1) + (CALL + 2 * ROWS * wide) * len(runs))
    turned = n * (c * sources + slices * up(o, width) * results) + taps * c * up(o, width)
    swept = n * (-(-c // blocks) * sources + results * wide * width)  # for every tap of a block
    price = (EASE * products + TURN * turned + reread(n * c * sources, shares)
             + reread(swept, taps * blocks * shares)) * unevenly(shares * slices)
    return Plan([np.zeros(longest), starts, runs], images=n, channels=c, outputs=o, sources=sources, results=results,
                taps=taps, lanes=width, blocks=blocks, wide=wide * width, slices=slices, longest=longest,
                gradient=results * n * wide * width, sums=taps * -(-blocks // slices) * ROWS * wide * width,
                jobs=shares * slices, price=int(price), tile=0, transpose=0)


def sum_weights(x: Array, gy: Array, gw: Array, geometry: Geometry) -> Array:
    """gw = conv2d_weight_grad(x, gy), into gw."""
    plan = _plan(x.shape, gy.shape, gw.shape, geometry, lanes(x.itemsize))
    numbers = with_kernels(plan, x.dtype)
    image, brief = empty((x.size,), x.dtype), numbers["price"] < BRIEF
    run(_turn_channels, numbers["blocks"], plan, np.ascontiguousarray(x), image, small=brief)
    run(_sum, numbers["jobs"], plan, image, np.ascontiguousarray(gy), gw,
        *scratch(x.dtype, numbers["gradient"], numbers["sums"]), small=brief)
    return gw


def _turn_channels(block, thread, plan, tables, x, image, _c, _d, _e, _f):
    """A block of channels of all images, (images, rows, pixels) → (pixels, images, rows)."""
    plan = carray(plan, 1)[0]
    first, last = block * plan.channels // plan.blocks, (block + 1) * plan.channels // plan.blocks
    rows, target = last - first, shifted(image, first * plan.sources * plan.images)
    for n in range(plan.images):
        call(plan.transpose, (shifted(target, n * rows), plan.images * rows,
                              shifted(x, (n * plan.channels + first) * plan.sources), plan.sources, rows, plan.sources))


def _sum(job, thread, plan, tables, image, gy, gw, gradient, sums, _f):
    """Some vectors of outputs, some blocks of channels: all taps, then turned over into gw."""
    plan = carray(plan, 1)[0]
    images, sources, taps, lanes = plan.images, plan.sources, plan.taps, plan.lanes
    gradient, sums = shifted(gradient, thread * plan.gradient), shifted(sums, thread * plan.sums)
    starts, runs = carray(shifted(tables, plan.longest), taps + 1), shifted(tables, plan.longest + taps + 1)
    share, part = job // plan.slices, job % plan.slices
    first = share * plan.wide
    outputs = min(plan.wide, plan.outputs - first)
    width = -(-outputs // lanes) * lanes
    if outputs < width:
        fill(gradient, plan.results * images * width, 0)
    for n in range(images):
        call(plan.transpose, (shifted(gradient, n * width), images * width,
                              shifted(gy, (n * plan.outputs + first) * plan.results), plan.results, outputs,
                              plan.results))
    low, high = part * plan.blocks // plan.slices, (part + 1) * plan.blocks // plan.slices
    begin, end = low * plan.channels // plan.blocks, high * plan.channels // plan.blocks
    line = (end - begin) * width  # from one tap to the next
    fill(sums, taps * line, 0)
    for block in range(low, high):
        c = block * plan.channels // plan.blocks
        rows = (block + 1) * plan.channels // plan.blocks - c
        for tap in range(taps):
            for k in range(starts[tap], starts[tap + 1]):
                p, q, length = carray(shifted(runs, 3 * k), 3)
                target = shifted(sums, tap * line + (c - begin) * width)
                call(plan.tile, (rows, width // lanes, lanes, length * images, tables,
                                 shifted(image, (c * sources + q * rows) * images), rows, 0,
                                 shifted(gradient, p * images * width), width, 0, lanes,
                                 target, width, lanes, target, width, lanes))
    target = shifted(gw, (first * plan.channels + begin) * taps)
    if taps == 1:
        call(plan.transpose, (target, plan.channels, sums, width, end - begin, outputs))
        return
    for o in range(0, outputs, lanes):
        for c in range(end - begin):
            call(plan.transpose, (shifted(target, (o * plan.channels + c) * taps), plan.channels * taps,
                                  shifted(sums, c * width + o), line, taps, min(lanes, outputs - o)))
