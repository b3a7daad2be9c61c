"""Winograd's convolution, with 36 multiplications where the definition needs 144 or 100 (Lavin & Gray 2016).

For kernels of 3×3 the image is cut into tiles of 4×4 results, F(4×4, 3×3), for 5×5 into 2×2, F(2×2, 5×5); each tile
sees 6×6 pixels. A tile of pixels, and a kernel, is a polynomial; their values at 36 points are multiplied, and from the
products the results are interpolated. At each point that is a matrix product over the channels:

    pixels 6×6 ──► V ─┐
                      ├─► M = U·V ──► results           M (O × tiles) = U (O × C) · V (C × tiles),  36 times
    weights ─────► U ─┘

    pixels 6×6 ──► V ─┐
                      ├─► S = V·G ──► gw                S (C × O) = V (C × tiles) · G (tiles × O),  36 times
    gy ──────────► G ─┘

The forward pass, and the input gradient, which is the same with the kernels turned and the channels exchanged, hold
tiles in the vector lanes; the weight gradient holds channels. Interpolation multiplies by up to 64 what was divided by
up to 576: in float32 errors are 10 to 20 times those of the plain sum, mostly below 1e-5 of the largest result and
never seen above 2e-5, for any number of channels. What counts is the largest pixel of a tile: a huge one disturbs its
neighbours' results, infinity or NaN makes them all NaN, and pixels above about 1e36 overflow where the plain sum does
not.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import inf

import numpy as np
from numba import carray

from ..contract import Array, Geometry, Pair
from .gather import channels_last
from .jobs import Plan, fill, rectify, run, scratch, with_kernels
from .memory import empty
from .microkernel import MASKS, ROWS, lanes, shifted, vectors
from .plans import up
from .support import part
from .threads import call
from .winograd_tiles import (POINTS, channels_to_points, gradient_to_points, pixels_to_points, points_to_results,
                             points_to_weights, weights_to_points)

STEPS = 128  # of a sum over channels at a time: longer ones would round more
BLOCK = 1 << 18  # elements of points one job works on: half of a 2 MiB second-level cache
TILES = 64  # of a job, about, at least: weights are read once for so many
JOBS = 8  # wanted at least, to share among threads
PARTIAL_SUMS = 1 << 20  # elements, about, of weight gradients not yet added up
TRANSFORM = 230  # cycles for the points of one vector of tiles
WEIGHT = 200  # for the points of one kernel, mostly to bring them to memory and back


def supports(kernel: Sequence[int], geometry: Geometry) -> str | None:
    """Why a convolution cannot be computed in tiles, or None."""
    if not MASKS:
        return "the vectors of this machine cannot leave out lanes (AVX2 or AVX-512 can)"
    if (tuple(kernel) not in ((3, 3), (5, 5)) or geometry.stride != (1, 1) or geometry.dilation != (1, 1)
            or geometry.groups != 1):
        return (f"tiles are for kernels of 3×3 and 5×5 without stride, dilation and groups, not for {tuple(kernel)} "
                f"with {geometry}")
    return None


def price(x_shape: tuple[int, ...], y_shape: tuple[int, ...], w_shape: tuple[int, ...], geometry: Geometry,
          dtype: np.dtype, backward: bool) -> float:
    """What correlate() costs, in cycles, and a tenth for its errors; in float32 only, where they are small enough."""
    if dtype != np.float32 or supports(w_shape[2:], geometry):
        return inf
    (n, c, *_), (_, o, oh, ow), side = x_shape, y_shape, 7 - w_shape[2]
    down, across = -(-oh // side), -(-ow // side)
    return 1.1 * _price(TRANSFORM * n * down * -(-across // lanes(4)) * (c + o), n * down * across, c, o)


def sums_price(x_shape: tuple[int, ...], gy_shape: tuple[int, ...], w_shape: tuple[int, ...], geometry: Geometry,
               dtype: np.dtype) -> float:
    """What sum_weights() costs, in cycles: its lanes hold channels, and it has partial sums to add."""
    if dtype != np.float32 or supports(w_shape[2:], geometry):
        return inf
    (n, c, *_), (_, o, oh, ow), side = x_shape, gy_shape, 7 - w_shape[2]
    tiles = n * -(-oh // side) * -(-ow // side)
    return 1.1 * _price(TRANSFORM * tiles * (-(-c // lanes(4)) + -(-o // lanes(4))), tiles, c, up(o, lanes(4)))


def _price(transforms: float, tiles: int, channels: int, outputs: int) -> float:
    return transforms + WEIGHT * channels * outputs + POINTS * channels * outputs * tiles / (1.8 * lanes(4))


# -- the forward pass and the input gradient ------------------------------------------------------------------------

def _cut(images: int, down: int, across: int, tiles: int) -> tuple[int, int]:
    """Whole images, or else rows of tiles of one image, that make about so many tiles."""
    together = min(images, tiles // (down * across))
    if together > 1:
        jobs = up(-(-images // together), 4)  # two or four threads share them evenly
        return -(-images // jobs), down
    return 1, -(-down // -(-down // max(1, tiles // across)))


def _apart(elements: int) -> int:
    """From one point to the next: were it a power of two, all 36 would fall on the same lines of the first cache."""
    return -(-elements // 1024) * 1024 + 16


def _shapes(x_shape: tuple[int, ...], y_shape: tuple[int, ...], kernel: int, before: Pair) -> dict[str, int]:
    (n, c, h, w), (_, o, oh, ow), side = x_shape, y_shape, 7 - kernel
    return {"side": side, "kernel": kernel * kernel, "images": n, "channels": c, "outputs": o, "image_height": h,
            "image_width": w, "out_height": oh, "out_width": ow, "before_rows": before[0],
            "before_columns": before[1], "across": -(-ow // side), "down": -(-oh // side)}


@lru_cache(256)
def _plan(x_shape: tuple[int, ...], y_shape: tuple[int, ...], kernel: int, before: Pair, lanes_: int,
          turned: bool, rectify: bool) -> Plan:
    shapes = _shapes(x_shape, y_shape, kernel, before)
    n, c, o, down, across = (shapes[name] for name in ("images", "channels", "outputs", "down", "across"))
    area = kernel * kernel
    together, band = _cut(n, down, across, max(TILES, BLOCK // (POINTS * (c + o))))
    jobs, blocks = -(-n // together) * -(-down // band), -(-o // ROWS)
    parts = max(1, min(JOBS // jobs, blocks // 4))  # of the outputs; each transforms all pixels
    step = -(-(together * band * across) // lanes_) * lanes_ + lanes_
    return Plan([np.zeros(STEPS, np.int64)], **shapes, band=band, bands=-(-down // band), together=together,
                blocks=blocks, parts=parts, lanes=lanes_, vectors=vectors(-(-o // blocks)), step=step, turned=turned,
                rectify=rectify, output_step=area if turned else area * c, channel_step=area * o if turned else area,
                weights=_apart(o * c), points=_apart(c * step), products=_apart(-(-blocks // parts) * ROWS * step),
                jobs=jobs * parts, tile=0, transpose=0)


def correlate(x: Array, w: Array, b: Array | None, y: Array, geometry: Geometry, backward: bool = False,
              rectify: bool = False) -> Array:
    """y = conv2d(x, w, b), rectified if wanted, or, backward, y = conv2d_input_grad(x, w), into y."""
    (top, _), (left, _) = geometry.padding
    last = w.shape[2] - 1
    before = (last - top, last - left) if backward else (top, left)
    plan = _plan(x.shape, y.shape, w.shape[2], before, lanes(x.itemsize), backward, rectify)
    numbers = with_kernels(plan, x.dtype)
    points = empty((POINTS * numbers["weights"],), x.dtype)
    run(_weights, numbers["blocks"], plan, np.ascontiguousarray(w), points,
        *scratch(x.dtype, numbers["kernel"] * numbers["lanes"]))
    bias = np.zeros(y.shape[1] + numbers["lanes"], x.dtype)  # and a vector of zeros
    if b is not None:
        bias[:len(b)] = b
    run(_correlate, numbers["jobs"], plan, np.ascontiguousarray(x), points, bias, y,
        *scratch(x.dtype, POINTS * numbers["points"], POINTS * numbers["products"]))
    return y


@part
def _weight_block(plan, index):
    """The outputs first ≤ o < last whose weights stand together, channel by channel."""
    return index * plan.outputs // plan.blocks, (index + 1) * plan.outputs // plan.blocks


def _weights(job, thread, plan, tables, w, points, kernels, _d, _e, _f):
    """The points of the kernels of a block of outputs."""
    plan = carray(plan, 1)[0]
    kernels = shifted(kernels, thread * plan.kernel * plan.lanes)
    first, last = _weight_block(plan, job)
    for c in range(plan.channels):
        for o in range(first, last, plan.lanes):
            count = min(plan.lanes, last - o)
            call(plan.transpose, (kernels, plan.lanes, shifted(w, o * plan.output_step + c * plan.channel_step),
                                  plan.output_step, count, plan.kernel))
            target = shifted(points, first * plan.channels + c * (last - first) + o - first)
            if plan.turned:
                weights_to_points(plan.side, target, plan.weights, shifted(kernels, (plan.kernel - 1) * plan.lanes),
                                  -plan.lanes, count)
            else:
                weights_to_points(plan.side, target, plan.weights, kernels, plan.lanes, count)


def _correlate(job, thread, plan, tables, x, weights, bias, y, points, products):
    """Some images, or some rows of tiles of one; some of the outputs."""
    plan = carray(plan, 1)[0]
    channels, step, across, side = plan.channels, plan.step, plan.across, plan.side
    points = shifted(points, thread * POINTS * plan.points)
    products = shifted(products, thread * POINTS * plan.products)
    part, unit = job % plan.parts, job // plan.parts
    n0, t0 = unit // plan.bands * plan.together, unit % plan.bands * plan.band
    images, rows = min(plan.together, plan.images - n0), min(plan.band, plan.down - t0)
    first, last = part * plan.blocks // plan.parts, (part + 1) * plan.blocks // plan.parts
    begin, end = _weight_block(plan, first)[0], _weight_block(plan, last - 1)[1]

    for c in range(channels):
        for n in range(images):
            for t in range(rows):
                row = side * (t0 + t) - plan.before_rows
                source = shifted(x, (((n0 + n) * channels + c) * plan.image_height + row) * plan.image_width)
                for s in range(0, across, plan.lanes):  # what the last vector writes too much, the next row overwrites
                    column = side * s - plan.before_columns
                    pixels_to_points(side, shifted(points, c * step + (n * rows + t) * across + s), plan.points,
                                     shifted(source, column), plan.image_width, -row, plan.image_height - row,
                                     -column, plan.image_width - column)

    zeros = shifted(bias, plan.outputs)
    count = -(-(images * rows * across) // plan.lanes)
    spans = -(-count // plan.vectors)
    for point in range(POINTS):
        left, right = shifted(weights, point * plan.weights), shifted(points, point * plan.points)
        result = shifted(products, point * plan.products)
        for block in range(first, last):
            o, stop = _weight_block(plan, block)
            for k in range(0, channels, STEPS):
                for span in range(spans):
                    v = span * count // spans
                    target = shifted(result, (o - begin) * step + v * plan.lanes)
                    start, start_step, start_next = (target, step, plan.lanes) if k else (zeros, 0, 0)
                    call(plan.tile, (stop - o, (span + 1) * count // spans - v, plan.lanes, min(STEPS, channels - k),
                                     tables, shifted(left, o * channels + k * (stop - o)), stop - o, 0,
                                     shifted(right, k * step + v * plan.lanes), step, 0, plan.lanes,
                                     start, start_step, start_next, target, step, plan.lanes))

    for o in range(begin, end):
        for n in range(images):
            for t in range(rows):
                row = side * (t0 + t)
                target = shifted(y, (((n0 + n) * plan.outputs + o) * plan.out_height + row) * plan.out_width)
                for s in range(0, across, plan.lanes):
                    points_to_results(side, shifted(target, side * s), plan.out_width,
                                      shifted(products, (o - begin) * step + (n * rows + t) * across + s),
                                      plan.products, shifted(bias, o), plan.out_height - row, plan.out_width - side * s)
            if plan.rectify:
                rectify(shifted(y, (((n0 + n) * plan.outputs + o) * plan.out_height + side * t0) * plan.out_width),
                        min(side * rows, plan.out_height - side * t0) * plan.out_width)


# -- the weight gradient ----------------------------------------------------------------------------------------------

@lru_cache(256)
def _sum_plan(x_shape: tuple[int, ...], gy_shape: tuple[int, ...], kernel: int, before: Pair, lanes_: int) -> Plan:
    shapes = _shapes(x_shape, gy_shape, kernel, before)
    n, c, o, down, across = (shapes[name] for name in ("images", "channels", "outputs", "down", "across"))
    side = 7 - kernel
    packed, pitch = -(-o // lanes_) * lanes_, -(-c // lanes_) * lanes_
    if pitch % (4 * lanes_) == 0:
        pitch += lanes_  # pixels a power of two apart would fall on the same few lines of the first-level cache
    sums, shares = _apart(c * packed), packed // lanes_
    chunks = max(1, min(JOBS, PARTIAL_SUMS // (POINTS * sums)))
    parts = max(1, min(JOBS // chunks, shares // 4))  # of the outputs; each transforms all pixels
    wide = -(-shares // parts) * lanes_
    together, band = _cut(n, down, across, max(TILES, BLOCK // (POINTS * (pitch + wide))))
    tiles = together * band * across
    units = -(-n // together) * -(-down // band)
    chunks, blocks = min(chunks, units), -(-c // ROWS)
    return Plan([np.zeros(tiles, np.int64)], **shapes, band=band, bands=-(-down // band), together=together,
                units=units, chunks=chunks, parts=parts, shares=shares, packed=packed, pitch=pitch, lanes=lanes_,
                blocks=blocks, vectors=vectors(-(-c // blocks)), sums=sums, jobs=chunks * parts,
                image=(side * band + kernel - 1) * (side * across + kernel - 1) * pitch,
                gradient=side * side * band * across * wide, points=_apart(tiles * pitch),
                gradients=_apart(tiles * wide), tile=0, transpose=0)


def sum_weights(x: Array, gy: Array, gw: Array, geometry: Geometry) -> Array:
    """gw = conv2d_weight_grad(x, gy), into gw."""
    before = geometry.padding[0][0], geometry.padding[1][0]
    plan = _sum_plan(x.shape, gy.shape, gw.shape[2], before, lanes(x.itemsize))
    numbers = with_kernels(plan, x.dtype)
    partial = empty((numbers["chunks"] * POINTS * numbers["sums"],), x.dtype)
    run(_sum, numbers["jobs"], plan, np.ascontiguousarray(x), np.ascontiguousarray(gy), partial,
        *scratch(x.dtype, numbers["image"], numbers["gradient"], POINTS * (numbers["points"] + numbers["gradients"])))
    run(_add, numbers["blocks"], plan, partial, gw,
        *scratch(x.dtype, numbers["kernel"] * numbers["lanes"]))
    return gw


def _sum(job, thread, plan, tables, x, gy, partial, image, gradient, points):
    """One chunk of the units (some images, or bands of tiles of one), some outputs."""
    plan = carray(plan, 1)[0]
    image, gradient = shifted(image, thread * plan.image), shifted(gradient, thread * plan.gradient)
    points = shifted(points, thread * POINTS * (plan.points + plan.gradients))
    gradients = shifted(points, POINTS * plan.points)
    part, chunk, across, side = job % plan.parts, job // plan.parts, plan.across, plan.side
    first = part * plan.shares // plan.parts * plan.lanes
    width = (part + 1) * plan.shares // plan.parts * plan.lanes - first
    sums, line = shifted(partial, chunk * POINTS * plan.sums + first), side * across + 6 - side
    for point in range(POINTS):
        for c in range(plan.channels):
            fill(shifted(sums, point * plan.sums + c * plan.packed), width, 0)

    for unit in range(chunk * plan.units // plan.chunks, (chunk + 1) * plan.units // plan.chunks):
        n0, t0 = unit // plan.bands * plan.together, unit % plan.bands * plan.band
        images, rows = min(plan.together, plan.images - n0), min(plan.band, plan.down - t0)
        for n in range(images):
            channels_last(image, plan.transpose,
                          shifted(x, (n0 + n) * plan.channels * plan.image_height * plan.image_width), plan.channels,
                          plan.image_height, plan.image_width, side * t0 - plan.before_rows,
                          -plan.before_columns, side * rows + 6 - side, line, plan.pitch)
            channels_last(gradient, plan.transpose,
                          shifted(gy, ((n0 + n) * plan.outputs + first) * plan.out_height * plan.out_width),
                          min(width, plan.outputs - first), plan.out_height, plan.out_width, side * t0, 0,
                          side * rows, side * across, width)
            for t in range(rows):
                for s in range(across):
                    tile = (n * rows + t) * across + s
                    for c in range(0, plan.channels, plan.lanes):
                        channels_to_points(shifted(points, tile * plan.pitch + c), plan.points,
                                           shifted(image, (t * line + s) * side * plan.pitch + c),
                                           line * plan.pitch, plan.pitch)
                    for o in range(0, width, plan.lanes):
                        gradient_to_points(side, shifted(gradients, tile * width + o), plan.gradients,
                                           shifted(gradient, (t * side * across + s) * side * width + o),
                                           side * across * width, width)
        for point in range(POINTS):
            left, right = shifted(points, point * plan.points), shifted(gradients, point * plan.gradients)
            target = shifted(sums, point * plan.sums)
            for o in range(0, width, plan.vectors * plan.lanes):
                count = min(plan.vectors, (width - o) // plan.lanes)
                for block in range(plan.blocks):
                    c = block * plan.channels // plan.blocks
                    block_sums = shifted(target, c * plan.packed + o)
                    call(plan.tile, ((block + 1) * plan.channels // plan.blocks - c, count, plan.lanes,
                                     images * rows * across, tables, shifted(left, c), plan.pitch, 0,
                                     shifted(right, o), width, 0, plan.lanes,
                                     block_sums, plan.packed, plan.lanes, block_sums, plan.packed, plan.lanes))


def _add(job, thread, plan, tables, partial, gw, kernels, _d, _e, _f):
    """Some channels, all outputs: the partial sums added in order, then brought back from the points."""
    plan = carray(plan, 1)[0]
    kernels = shifted(kernels, thread * plan.kernel * plan.lanes)
    first, last = job * plan.channels // plan.blocks, (job + 1) * plan.channels // plan.blocks
    for point in range(POINTS if plan.chunks > 1 else 0):
        start, count = point * plan.sums + first * plan.packed, (last - first) * plan.packed
        total = carray(shifted(partial, start), count)
        for chunk in range(1, plan.chunks):
            more = carray(shifted(partial, chunk * POINTS * plan.sums + start), count)
            for i in range(count):
                total[i] += more[i]
    for c in range(first, last):
        for o in range(0, plan.outputs, plan.lanes):
            points_to_weights(plan.side, kernels, shifted(partial, c * plan.packed + o), plan.sums)
            call(plan.transpose, (shifted(gw, (o * plan.channels + c) * plan.kernel), plan.channels * plan.kernel,
                                  kernels, plan.lanes, plan.kernel, min(plan.lanes, plan.outputs - o)))
