"""Convolution with images in the lanes, pixel by pixel: for maps so small that a kernel sees much padding.

Of the 81 products of a 3×3 kernel with a map of 3×3, 32 are with padding, and rows of 3 pixels fill no vector. So turn
the images over, until the same pixel of all of them makes a vector, and every pixel of the result is a short list of
matrix products, one for each run of kernel taps that meet pixels inside the image:

    y[p] += Σ W[t … t+k] · X[q … q+k]        W (taps, C, rows of O)   X (pixels, C, images)   y (O, pixels, images)
    gx[q] += Σ W[t … t+k] · GY[p … p+k]      the same with the taps in reverse, and C and O exchanged

Which (p, t, q) belong together is all that a geometry is, so strides and dilations are nothing special. Both operands
of a product are stretches of memory. Turning images and weights over and back costs about as much as a few taps.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from math import inf, prod

import numpy as np
from numba import carray

from ..contract import Array, Geometry
from .jobs import BRIEF, Plan, fill, rectify, run, scratch, with_kernels
from .memory import empty
from .microkernel import MASKS, ROWS, copy_row, lanes, shifted, vectors
from .plans import CALL, cycles, up
from .support import part
from .threads import call

EASE = .7  # of the cycles a tile takes where its operands are scattered
TURN = 1.2  # cycles to turn a number over
ROOM = 1 << 18  # elements, about, of images and results of one job: 1 MiB in float32
PIXELS = 1100  # of a map, at most: each has an entry in a table
JOBS = 8  # wanted at least, to share among threads
SHARES = 8  # of the channels of images that are turned over by themselves


def supports(kernel: Sequence[int], geometry: Geometry) -> str | None:
    """Why a convolution cannot be computed with images in the lanes, or None."""
    if not MASKS:
        return "the vectors of this machine cannot leave out lanes (AVX2 or AVX-512 can)"
    if geometry.groups != 1:
        return f"images in the lanes are for one group of channels, not for {geometry}"
    return None


def price(x_shape: tuple[int, ...], y_shape: tuple[int, ...], w_shape: tuple[int, ...], geometry: Geometry,
          dtype: np.dtype, backward: bool) -> float:
    """What correlate() costs, in cycles."""
    if too_large(x_shape, y_shape) or supports(w_shape[2:], geometry):
        return inf
    return _plan(x_shape, y_shape, w_shape, geometry, lanes(dtype.itemsize), backward).numbers["price"]


def too_large(*shapes: tuple[int, ...]) -> bool:
    return max(prod(shape[2:]) for shape in shapes) > PIXELS


# -- which pixels meet ------------------------------------------------------------------------------------------------

def meetings(x_size: Sequence[int], y_size: Sequence[int], kernel: Sequence[int],
             geometry: Geometry) -> list[np.ndarray]:
    """The pixel of y, the tap and the pixel of x of every product that is not with padding."""
    axes = []
    for size, results, taps, s, d, (before, _) in zip(x_size, y_size, kernel, geometry.stride, geometry.dilation,
                                                      geometry.padding, strict=True):
        p, t = np.mgrid[:results, :taps]
        q = p * s + t * d - before
        axes.append([a[(q >= 0) & (q < size)] for a in (p, t, q)])
    rows, columns = axes
    return [np.add.outer(i * size[1], j).ravel() for i, j, size in zip(rows, columns, (y_size, kernel, x_size),
                                                                       strict=True)]


def runs_of(results: int, keys: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each result, where its runs start, and (a, b, length) of all runs: a and b go on by one in each."""
    order = np.lexsort((b, a, keys))
    keys, a, b = keys[order], a[order], b[order]
    first = np.ones(len(keys), bool)
    first[1:] = (np.diff(keys) != 0) | (np.diff(a) != 1) | (np.diff(b) != 1)
    places = np.flatnonzero(first)
    runs = np.stack([a[places], b[places], np.diff(np.append(places, len(keys)))], 1)
    return np.searchsorted(keys[places], np.arange(results + 1)), runs


def _groups(starts: np.ndarray, runs: np.ndarray, shift: int, most: int) -> np.ndarray:
    """(first, how many) of results whose runs differ in b alone, by ``shift`` from one to the next; at most so many."""
    groups: list[list[int]] = []
    expected = runs[:0]
    for p, (start, stop) in enumerate(pairwise(starts)):
        if groups and groups[-1][1] < most and np.array_equal(runs[start:stop], expected):
            groups[-1][1] += 1
        else:
            groups.append([p, 1])
        expected = runs[start:stop] + [0, shift, 0]
    return np.array(groups)


def reread(elements: int, times: int) -> float:
    """Cycles to bring what does not fit into the second-level cache from the next so many times."""
    return .4 * max(0, elements - 2 * ROOM) * times


def unevenly(jobs: int) -> float:
    """How much longer so many jobs take on two threads than an even number of them."""
    return up(jobs, 2) / jobs


# -- the forward pass and the input gradient --------------------------------------------------------------------------

@lru_cache(256)
def _plan(x_shape: tuple[int, ...], y_shape: tuple[int, ...], w_shape: tuple[int, ...], geometry: Geometry, width: int,
          backward: bool, rectify: bool = False) -> Plan:
    """The plan of y = conv2d(x, w), rectified if wanted, or, backward, of y = conv2d_input_grad(x, w), with its price.

    The price is in cycles.
    """
    (n, c, *x_size), (_, o, *y_size), kernel = x_shape, y_shape, w_shape[2:]
    taps, sources, results = (prod(size) for size in (kernel, x_size, y_size))
    if backward:
        pixels, tap, keys = meetings(y_size, x_size, kernel, geometry)
        tap, shift, steps = taps - 1 - tap, 1, (taps * o, taps)
    else:
        keys, tap, pixels = meetings(x_size, y_size, kernel, geometry)
        shift, steps = geometry.stride[1], (taps, taps * c)
    starts, runs = runs_of(results, keys, tap, pixels)

    blocks = -(-o // ROWS)
    rows = -(-o // blocks)
    images = -(-n // width)  # vectors of them
    fitting = ROOM // ((sources * c + rows * results) * width)
    together = max(1, min(fitting, images // JOBS if blocks < JOBS else images))
    together = -(-images // -(-images // together))  # all units about equal
    units = -(-images // together)
    parts = max(1, min(blocks, -(-JOBS // units)))

    # A tile holds several vectors of images, or else one vector of images for several pixels.
    most = vectors(rows)
    spans = -(-together // most)
    if together == 1:
        groups = _groups(starts, runs, shift, most)
    else:
        groups = np.stack([np.arange(results), np.ones(results, int)], 1)
    firsts, sizes = groups.T
    met = np.append(0, np.cumsum(runs[:, 2]))[starts]  # taps of all results before
    rate = np.array([cycles(rows, size * together / spans, 1) for size in range(most + 1)])[sizes]
    products = blocks * spans * ((met[firsts + 1] - met[firsts]) * c * rate + CALL * np.diff(starts)[firsts]).sum()
    image, result = sources * c * together * width, rows * results * together * width
    turned = image + blocks * result + o * taps * c
    price = units * (EASE * products + TURN * turned + reread(image, blocks)) * unevenly(units * parts)
    longest = c * max(runs[:, 2], default=0)
    return Plan([np.zeros(longest), starts, runs, groups], images=n, channels=c, outputs=o, sources=sources,
                results=results, taps=taps, lanes=width, width=together * width, units=units, parts=parts,
                blocks=blocks, spans=spans, groups=len(groups), longest=longest, runs=len(runs),
                next_source=shift * c * width if together == 1 else width, channel_step=steps[0], output_step=steps[1],
                reverse=backward, rectify=rectify, image=image, result=result, weights=up(rows * taps * c, 16),
                jobs=units * parts, price=int(price), tile=0, transpose=0)


def correlate(x: Array, w: Array, b: Array | None, y: Array, geometry: Geometry, backward: bool = False,
              rectify: bool = False) -> Array:
    """y = conv2d(x, w, b), rectified if wanted, or, backward, y = conv2d_input_grad(x, w), into y."""
    plan = _plan(x.shape, y.shape, w.shape, geometry, lanes(x.itemsize), backward, rectify)
    numbers = with_kernels(plan, x.dtype)
    x = np.ascontiguousarray(x)
    bias = np.zeros(y.shape[1] * numbers["lanes"], x.dtype) if b is None else np.repeat(b, numbers["lanes"])
    shared = numbers["parts"] > 1
    image, room = scratch(x.dtype, 0 if shared else numbers["image"], numbers["weights"] + numbers["result"])
    if shared:
        image = empty((numbers["units"] * numbers["image"],), x.dtype)
        run(_turn, numbers["units"] * SHARES, plan, x, image)
    run(_correlate, numbers["jobs"], plan, x, np.ascontiguousarray(w), bias, y, image, room,
        small=numbers["price"] < BRIEF)
    return y


@part
def _turn_images(plan, x, unit, share, shares, target):
    """The images of a unit, (images, C, pixels) → (pixels, C, images); a share of the channels."""
    n0, width, channels = unit * plan.width, plan.width, plan.channels
    images = min(width, plan.images - n0)
    first, last = share * channels // shares, (share + 1) * channels // shares
    if images < width:  # the other lanes are not used, but what they held might be slow to multiply
        for pixel in range(plan.sources):
            fill(shifted(target, (pixel * channels + first) * width), (last - first) * width, 0)
    for c in range(first, last):
        call(plan.transpose, (shifted(target, c * width), channels * width,
                              shifted(x, (n0 * channels + c) * plan.sources), channels * plan.sources, images,
                              plan.sources))


@part
def _turn_weights(plan, w, rows, target):
    """The weights of some outputs, as (taps, C, rows); the taps in reverse for the input gradient."""
    channels, taps = plan.channels, plan.taps
    if plan.channel_step == 1:
        call(plan.transpose, (target, rows, w, plan.output_step, rows, channels))
        return
    for c in range(channels):
        source = shifted(w, c * plan.channel_step)
        if plan.output_step == 1:
            copy_row(shifted(target, c * rows), source, rows, 0, rows)
        elif plan.reverse:
            call(plan.transpose, (shifted(target, ((taps - 1) * channels + c) * rows), -channels * rows, source,
                                  plan.output_step, rows, taps))
        else:
            call(plan.transpose, (shifted(target, c * rows), channels * rows, source, plan.output_step, rows, taps))


def _turn(job, thread, plan, tables, x, image, _c, _d, _e, _f):
    """A share of the images of a unit, for all the jobs that work on a part of its outputs each."""
    plan = carray(plan, 1)[0]
    unit = job // SHARES
    _turn_images(plan, x, unit, job % SHARES, SHARES, shifted(image, unit * plan.image))


def _correlate(job, thread, plan, tables, x, w, bias, y, image, room):
    """Some images, some blocks of outputs: weights turned over, products, the results turned back."""
    plan = carray(plan, 1)[0]
    part, unit = job % plan.parts, job // plan.parts
    width, results, channels, n0 = plan.width, plan.results, plan.channels, unit * plan.width
    weights = shifted(room, thread * (plan.weights + plan.result))
    result = shifted(weights, plan.weights)
    image = shifted(image, (unit if plan.parts > 1 else thread) * plan.image)
    if plan.parts == 1:
        _turn_images(plan, x, unit, 0, 1, image)
    starts, runs = carray(shifted(tables, plan.longest), results + 1), shifted(tables, plan.longest + results + 1)
    groups = carray(shifted(runs, 3 * plan.runs), (plan.groups, 2))
    for block in range(part * plan.blocks // plan.parts, (part + 1) * plan.blocks // plan.parts):
        first, last = block * plan.outputs // plan.blocks, (block + 1) * plan.outputs // plan.blocks
        rows = last - first
        _turn_weights(plan, shifted(w, first * plan.output_step), rows, weights)
        biases = shifted(bias, first * plan.lanes)
        for group in range(plan.groups):
            p, pixels = groups[group]
            count = max(pixels, width // plan.lanes)
            for o in range(rows if starts[p] == starts[p + 1] else 0):  # a pixel that sees only padding
                fill(shifted(result, (o * results + p) * width), pixels * width,
                     carray(biases, rows * plan.lanes)[o * plan.lanes])
            for k in range(starts[p], starts[p + 1]):
                tap, pixel, length = carray(shifted(runs, 3 * k), 3)
                for span in range(plan.spans):
                    v = span * count // plan.spans
                    target = shifted(result, p * width + v * plan.lanes)
                    start, start_step, start_next = target, results * width, plan.lanes
                    if k == starts[p]:
                        start, start_step, start_next = biases, plan.lanes, 0
                    call(plan.tile, (rows, (span + 1) * count // plan.spans - v, plan.lanes, length * channels, tables,
                                     shifted(weights, tap * channels * rows), rows, 0,
                                     shifted(image, pixel * channels * width + v * plan.next_source), width, 0,
                                     plan.next_source, start, start_step, start_next, target, results * width,
                                     plan.lanes))
        if plan.rectify:
            rectify(result, rows * results * width)
        for o in range(rows):
            call(plan.transpose, (shifted(y, (n0 * plan.outputs + first + o) * results), plan.outputs * results,
                                  shifted(result, o * results * width), width, results, min(width, plan.images - n0)))
