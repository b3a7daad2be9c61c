"""Depthwise convolution: one kernel per channel, plane by plane, read where it lies.

A vector of columns goes down some rows. Each row is loaded once for each column of the kernel, shifted by it, with
zeros in the lanes outside of the image, and counts for as many rows of the result as the kernel has: their sums wait in
registers.

    row h of the image  ──┬─ kernel row 2 ──►  sum of result row h − 1, complete: stored
     · a b c d e f g ·    ├─ kernel row 1 ──►  sum of result row h
                          └─ kernel row 0 ──►  sum of result row h + 1

The input gradient is the same with the kernel turned by 180°. For the weight gradient the sums are those of the kernel,
some of its rows at a time, and what waits besides are the rows of gy. A plane gives little to compute: without a padded
copy of it, band by band where it is wide, all of this takes hardly longer than to read and to write it.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from math import inf

import numpy as np
from numba import carray, types
from numba.extending import intrinsic

from ..contract import Array, Geometry
from .jobs import BRIEF, Plan, fill, run, scratch
from .memory import empty
from .microkernel import _INDEX, _REGISTERS, MASKS, _emitter, lanes, shifted

LARGEST = 7  # rows and columns of a kernel, at most: code is made for each size
JOBS = 16  # wanted at least, to share among threads
BAND, ROWS = 1 << 12, 16  # elements of a band of rows, which are in the nearest cache; and rows, at least
LONGEST = 256  # rows of a band at most, so that few numbers are added to one that is large already
SUMS = 1 << 17  # elements of the vectors of sums of a job, at most: in the second-level cache
CALL = 60  # cycles a plane costs besides its sums


def price(x_shape: tuple[int, ...], y_shape: tuple[int, ...], w_shape: tuple[int, ...], geometry: Geometry,
          dtype: np.dtype, backward: bool) -> float:
    """What correlate() costs, in cycles, if the convolution is depthwise, without stride, dilation and much padding."""
    (outputs, per_group, kh, kw), pads = w_shape, geometry.padding
    if (not MASKS or 0 in x_shape or outputs != geometry.groups or per_group != 1 or max(kh, kw) > LARGEST
            or geometry.stride != (1, 1) or geometry.dilation != (1, 1)
            or any(pad >= k for both, k in zip(pads, (kh, kw), strict=True) for pad in both)):
        return inf
    return _plan(x_shape, y_shape, (kh, kw), geometry, lanes(dtype.itemsize), backward).numbers["price"]


def sums_price(x_shape: tuple[int, ...], gy_shape: tuple[int, ...], w_shape: tuple[int, ...], geometry: Geometry,
               dtype: np.dtype) -> float:
    """What sum_weights() costs per group, in cycles."""
    return price(x_shape, gy_shape, w_shape, geometry, dtype, False) / geometry.groups


@lru_cache(256)
def _plan(x_shape: tuple[int, ...], y_shape: tuple[int, ...], kernel: tuple[int, int], geometry: Geometry, width: int,
          backward: bool, rectify: bool = False) -> Plan:
    """The plan of y = conv2d(x, w) and its weight gradient or, backward, of y = conv2d_input_grad(x, w)."""
    (n, c, h, w), (_, _, oh, ow), (kh, kw), ((top, _), (left, _)) = x_shape, y_shape, kernel, geometry.padding
    if backward:
        top, left = kh - 1 - top, kw - 1 - left
    chunks, sums = min(n, JOBS), kh * kw * width
    parts = min(c, max(-(-JOBS // chunks), -(-c * sums // SUMS)))
    return Plan([], planes=n * c, images=n, channels=c, height=h, width=w, out_height=oh, out_width=ow, top=top,
                left=left, rectify=rectify, jobs=min(n * c, 4 * JOBS), chunks=chunks, parts=parts, lanes=width,
                band=min(LONGEST, max(ROWS, BAND // w)), sums=-(-c // parts) * sums,
                price=n * c * (CALL + h * -(-ow // width) * kh * kw // 2))


# -- the forward pass and the input gradient --------------------------------------------------------------------------

def _columns(emit, columns, width, left, q):
    """For each column of the kernel, which column of the image meets lane 0, and the mask of lanes inside of it."""
    builder = emit.builder
    places = [builder.add(builder.sub(q, left), _INDEX(j)) for j in range(columns)]
    return places, [builder.and_(builder.not_(emit.below(_INDEX(0), place)), emit.below(width, place))
                    for place in places]


@intrinsic(prefer_literal=True)
def _sweep(typingctx, kh, kw, x, height, width, w, start, y, out_height, out_width, top, left, q, rectify):
    """y[t, q + lane] = start + Σ_ij w[i, j] · x[t + i − top, q + lane + j − left], for the lanes that exist.

    Rectified if wanted. 0 ≤ top < kh, and no more rows lie below the image than above it might.
    """
    rows, columns = kh.literal_value, kw.literal_value

    def generate(context, builder, signature, arguments):
        _, _, x, height, width, w, start, y, out_height, out_width, top, left, q, rectify = arguments
        emit = _emitter(context, builder, signature, 2)
        add, minus = builder.add, builder.sub
        weights = [[emit.broadcast(emit.address(w, i * columns + j)) for j in range(columns)] for i in range(rows)]
        starts = emit.broadcast(start)
        places, inside = _columns(emit, columns, width, left, q)
        stored = emit.below(out_width, q)
        wanted = builder.icmp_signed("!=", rectify, _INDEX(0))
        limit = builder.select(wanted, emit.zero, emit.nan)  # nothing is below NaN, and NaN below nothing

        def store(total, t):
            total = builder.select(builder.fcmp_ordered("<=", total, limit), emit.zero, total)
            emit.store(total, emit.address(y, builder.mul(t, out_width), q), stored)

        def step(h, sums):
            line = builder.mul(h, width)
            for place, mask, *column in zip(places, inside, *weights, strict=True):
                pixels = emit.load(emit.address(x, line, place), mask)
                sums = [emit.multiply_add(weight, pixels, total)
                        for weight, total in zip(reversed(column), sums, strict=True)]
            # The first ones belong to rows above the result, and are written over by row 0.
            t = minus(add(h, top), _INDEX(rows - 1))
            store(sums[0], builder.select(builder.icmp_signed("<", t, _INDEX(0)), _INDEX(0), t))
            return [*sums[1:], starts]

        sums = emit.loop(height, [starts] * rows, step)
        for k, total in enumerate(sums[:-1]):  # rows of which the last ones of the kernel lie below the image
            t = minus(add(height, top), _INDEX(rows - 1 - k))
            with builder.if_then(builder.icmp_unsigned("<", t, out_height)):  # if it is not negative either
                store(total, t)
        return context.get_dummy_value()

    return types.void(kh, kw, x, *[types.intp] * 2, w, start, y, *[types.intp] * 6), generate


@cache
def _correlating(rows: int, columns: int) -> Callable:
    """The job for kernels of one size."""
    def correlate(job, thread, plan, tables, x, w, starts, y, _e, _f):
        """Some planes, each in bands of rows of the result."""
        plan = carray(plan, 1)[0]
        for p in range(job * plan.planes // plan.jobs, (job + 1) * plan.planes // plan.jobs):
            c, image = p % plan.channels, shifted(x, p * plan.height * plan.width)
            result = shifted(y, p * plan.out_height * plan.out_width)
            for t0 in range(0, plan.out_height, plan.band):
                t1 = min(t0 + plan.band, plan.out_height)
                h0, h1 = max(0, t0 - plan.top), min(plan.height, t1 + rows - 1 - plan.top)  # that they see
                for q in range(0, plan.out_width, plan.lanes):
                    _sweep(rows, columns, shifted(image, h0 * plan.width), h1 - h0, plan.width,
                           shifted(w, c * rows * columns), shifted(starts, c), shifted(result, t0 * plan.out_width),
                           t1 - t0, plan.out_width, plan.top + h0 - t0, plan.left, q, plan.rectify)

    return correlate


def correlate(x: Array, w: Array, b: Array | None, y: Array, geometry: Geometry, backward: bool = False,
              rectify: bool = False) -> Array:
    """y = conv2d(x, w, b), rectified if wanted, or, backward, y = conv2d_input_grad(x, w), into y."""
    plan = _plan(x.shape, y.shape, w.shape[2:], geometry, lanes(x.itemsize), backward, rectify)
    w = np.ascontiguousarray(w[:, :, ::-1, ::-1] if backward else w)
    starts = np.zeros(len(w), x.dtype) if b is None else np.ascontiguousarray(b)
    run(_correlating(*w.shape[2:]), plan.numbers["jobs"], plan, np.ascontiguousarray(x), w, starts, y,
        small=plan.numbers["price"] < BRIEF)
    return y


# -- the weight gradient ----------------------------------------------------------------------------------------------

@intrinsic(prefer_literal=True)
def _sweep_sums(typingctx, kh, kw, x, height, width, gy, out_height, out_width, top, left, q, sums):
    """sums[i, j, lane] += Σ_t gy[t, q + lane] · x[t + i − top, q + lane + j − left], for the lanes that exist."""
    rows, columns = kh.literal_value, kw.literal_value

    def generate(context, builder, signature, arguments):
        _, _, x, height, width, gy, out_height, out_width, top, left, q, sums = arguments
        emit = _emitter(context, builder, signature, 2)
        places, inside = _columns(emit, columns, width, left, q)

        def gradient(t):
            """A row of gy, or zeros above the first and below the last."""
            exists = builder.icmp_unsigned("<", t, out_height)
            mask = emit.below(builder.select(exists, out_width, _INDEX(0)), q)
            return emit.load(emit.address(gy, builder.mul(t, out_width), q), mask)

        def step(h, carried):
            totals, gradients = carried[:rows * columns], [gradient(builder.add(h, top)), *carried[rows * columns:]]
            line = builder.mul(h, width)
            pixels = [emit.load(emit.address(x, line, place), mask)
                      for place, mask in zip(places, inside, strict=True)]
            products = ((a, b) for a in gradients for b in pixels)
            totals = [emit.multiply_add(a, b, total) for (a, b), total in zip(products, totals, strict=True)]
            return [*totals, *gradients[:-1]]

        before = [gradient(builder.sub(top, _INDEX(i))) for i in range(1, rows)]
        totals = emit.loop(height, [emit.zero] * (rows * columns) + before, step)
        for k, total in enumerate(totals[:rows * columns]):
            place = emit.address(sums, k * emit.vector.count)
            emit.store(builder.fadd(emit.load(place), total), place)
        return context.get_dummy_value()

    return types.void(kh, kw, x, *[types.intp] * 2, gy, *[types.intp] * 5, sums), generate


@intrinsic
def _total(typingctx, vector):
    """The sum of the lanes."""
    def generate(context, builder, signature, arguments):
        emit = _emitter(context, builder, signature, 0)
        return emit.total(emit.load(arguments[0]))

    return vector.dtype(vector), generate


@cache
def _summing(rows: int, columns: int) -> Callable:
    """The job for kernels of one size."""
    # So many rows of the kernel at a time that their sums, a row of the image and those of gy stay in registers.
    taps, some = rows * columns, min(rows, max(1, (_REGISTERS - columns) // (columns + 1)))
    rest = rows % some

    def sum_weights(job, thread, plan, tables, x, gy, partial, sums, _e, _f):
        """Some images, some channels: their vectors of sums stay in the cache, and the lanes are added up last."""
        plan = carray(plan, 1)[0]
        sums, chunk, part = shifted(sums, thread * plan.sums), job // plan.parts, job % plan.parts
        first, last = part * plan.channels // plan.parts, (part + 1) * plan.channels // plan.parts
        fill(sums, (last - first) * taps * plan.lanes, 0)
        for n in range(chunk * plan.images // plan.chunks, (chunk + 1) * plan.images // plan.chunks):
            for c in range(first, last):
                p, channel = n * plan.channels + c, shifted(sums, (c - first) * taps * plan.lanes)
                gradient = shifted(gy, p * plan.out_height * plan.out_width)
                for h in range(0, plan.height, plan.band):
                    image, height = shifted(x, (p * plan.height + h) * plan.width), min(plan.band, plan.height - h)
                    for q in range(0, plan.out_width, plan.lanes):
                        for i in range(0, rows - rest, some):
                            _sweep_sums(some, columns, image, height, plan.width, gradient, plan.out_height,
                                        plan.out_width, plan.top + h - i, plan.left, q,
                                        shifted(channel, i * columns * plan.lanes))
                        if rest:
                            _sweep_sums(rest, columns, image, height, plan.width, gradient, plan.out_height,
                                        plan.out_width, plan.top + h - (rows - rest), plan.left, q,
                                        shifted(channel, (rows - rest) * columns * plan.lanes))
        results = carray(shifted(partial, (chunk * plan.channels + first) * taps), (last - first) * taps)
        for k in range((last - first) * taps):
            results[k] = _total(shifted(sums, k * plan.lanes))

    return sum_weights


def sum_weights(x: Array, gy: Array, gw: Array, geometry: Geometry) -> Array:
    """gw = conv2d_weight_grad(x, gy), into gw."""
    plan = _plan(x.shape, gy.shape, gw.shape[2:], geometry, lanes(x.itemsize), False)
    numbers = plan.numbers
    partial = empty((numbers["chunks"], *gw.shape), x.dtype)
    run(_summing(*gw.shape[2:]), numbers["chunks"] * numbers["parts"], plan, np.ascontiguousarray(x),
        np.ascontiguousarray(gy), partial, *scratch(x.dtype, numbers["sums"]), small=numbers["price"] < BRIEF)
    return partial.sum(0, out=gw)
