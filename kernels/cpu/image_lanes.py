"""Convolution with images in the lanes: for many images that are small.

A row of 10 pixels takes the time of 16, and half of what a 5×5 kernel sees on a map of 10×10 is padding. So take 16
images, turn them over so that the same pixel of all of them makes a vector, and no lane is wasted and no column of the
kernel that sees only padding is multiplied:

    16 images of C×H×W ──► C×H×W vectors ──► O×OH×OW vectors ──► 16 images of O×OH×OW

Each result is a sum over vectors whose places relative to it are the same everywhere: a table of offsets (kernel row,
channel) for each column of the kernel. A tile holds some results below each other, for a block of outputs; above and
below the image there are rows of zeros. Turning over and back costs about as much as a few kernel taps.
"""

from functools import lru_cache

import numpy as np
from numba import carray

from ..contract import Array, Geometry, Pair
from . import plans
from .jobs import Plan, call, fill, run, scratch, with_kernels
from .microkernel import MASKS, ROWS, lanes, shifted, vectors
from .plans import CALL, STEPS, cycles

TURN = 0.75  # cycles to turn a number over
ROOM = 1 << 18  # elements, at most, of the images in the lanes and of their results: 1 MiB in float32


def supports(kernel: Pair, geometry: Geometry) -> str | None:
    """Why a convolution cannot be computed with images in the lanes, or None."""
    if not MASKS:
        return "the vectors of this machine cannot leave out lanes (AVX2 or AVX-512 can)"
    if (geometry.stride != (1, 1) or geometry.dilation != (1, 1) or geometry.groups != 1
            or any(p >= k for pair, k in zip(geometry.padding, kernel, strict=True) for p in pair)):
        return (f"images in the lanes are for kernels larger than their padding, without stride, dilation and groups, "
                f"not for {tuple(kernel)} with {geometry}")
    return None


@lru_cache(256)
def pays(x_shape: tuple[int, ...], y_shape: tuple[int, ...], w_shape: tuple[int, ...], geometry: Geometry,
         width: int, backward: bool) -> bool:
    """Whether this costs less cycles than pixels or channels in the lanes."""
    (n, c, h, w), (_, o, oh, ow), (*_, kh, kw) = x_shape, y_shape, w_shape
    if n < width or supports((kh, kw), geometry) or c * kh > STEPS or width * (c * h * w + o * oh * ow) > ROOM:
        return False
    others = plans.correlation(x_shape, y_shape, w_shape, geometry, width, backward).numbers["price"]
    return _plan(x_shape, y_shape, w_shape, geometry, width, backward).numbers["price"] < 1.05 * others


@lru_cache(256)
def _plan(x_shape: tuple[int, ...], y_shape: tuple[int, ...], w_shape: tuple[int, ...], geometry: Geometry, width: int,
          backward: bool) -> Plan:
    """How to do y[t, q] = Σ w[i, j]·x[t + i − top, q + j − left], with the price in cycles."""
    (n, c, h, w), (_, o, oh, ow), (*_, kh, kw) = x_shape, y_shape, w_shape
    (top, _), (left, _) = geometry.padding
    if backward:
        top, left = kh - 1 - top, kw - 1 - left
    blocks = -(-o // ROWS)
    rows = -(-o // blocks)
    bands = -(-oh // vectors(rows))
    jobs, height = -(-n // width), oh + kh - 1
    seen = sum(min(kw, w + left - q) - max(0, left - q) for q in range(ow))  # kernel columns, over all columns
    price = jobs * (seen * bands * blocks * (c * kh * cycles(rows, oh / bands, 1) + CALL)
                    + TURN * width * (c * h * w + o * oh * ow))
    offsets = np.add.outer(np.arange(kh) * w, np.arange(c) * height * w) * width
    return Plan([offsets], images=n, channels=c, image_height=h, image_width=w, outputs=o, out_height=oh, out_width=ow,
                kernel_rows=kh, kernel_columns=kw, top=top, left=left, height=height, lanes=width, rows=rows,
                blocks=blocks, bands=bands, scratch=c * height * w * width, result=blocks * rows * oh * ow * width,
                jobs=jobs, price=int(price), tile=0, transpose=0)


def correlate(x: Array, w: Array, b: Array | None, y: Array, geometry: Geometry, backward: bool) -> Array:
    """y = conv2d(x, w, b), or, backward, y = conv2d_input_grad(x, w), into y."""
    if not y.size:
        return y
    plan = _plan(x.shape, y.shape, w.shape, geometry, lanes(x.itemsize), backward)
    numbers = with_kernels(plan, x.dtype)
    o, rows, blocks = y.shape[1], numbers["rows"], numbers["blocks"]
    w = w.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1] if backward else w
    packed = np.zeros((blocks * rows, *w.shape[1:]), x.dtype)
    packed[:o] = w                                                                  # (blocks·rows, C, KH, KW)
    packed = packed.reshape(blocks, rows, *w.shape[1:]).transpose(0, 4, 3, 2, 1)    # (blocks, KW, KH, C, rows)
    bias = np.zeros(blocks * rows, x.dtype)
    if b is not None:
        bias[:o] = b
    run(_correlate, numbers["jobs"], plan, np.ascontiguousarray(x), np.ascontiguousarray(packed), bias, y,
        *scratch(x.dtype, numbers["scratch"], numbers["result"]))
    return y


def _correlate(job, thread, plan, tables, x, packed, bias, y, image, result):
    """Some images: turned over, multiplied, turned back."""
    plan = carray(plan, 1)[0]
    image, result = shifted(image, thread * plan.scratch), shifted(result, thread * plan.result)
    lanes, size, pixels = plan.lanes, plan.image_height * plan.image_width, plan.out_height * plan.out_width
    n0 = job * lanes
    images = min(lanes, plan.images - n0)
    line = plan.image_width * lanes  # from one row to the next
    for c in range(plan.channels):
        plane = shifted(image, c * plan.height * line)
        fill(plane, plan.top * line, 0)
        call(plan.transpose, (shifted(plane, plan.top * line), lanes, shifted(x, (n0 * plan.channels + c) * size),
                              plan.channels * size, images, size))
        below = plan.top + plan.image_height
        fill(shifted(plane, below * line), (plan.height - below) * line, 0)
    starts = carray(bias, plan.blocks * plan.rows)
    for o in range(plan.blocks * plan.rows):
        fill(shifted(result, o * pixels * lanes), pixels * lanes, starts[o])

    depth = plan.kernel_rows * plan.channels
    for block in range(plan.blocks):
        weights = shifted(packed, block * plan.kernel_columns * depth * plan.rows)
        for band in range(plan.bands):
            t, below = band * plan.out_height // plan.bands, (band + 1) * plan.out_height // plan.bands
            # the kernel rows that see anything but zeros
            low, high = max(0, plan.top - below + 1), min(plan.kernel_rows, plan.image_height + plan.top - t)
            for q in range(plan.out_width if low < high else 0):
                target = shifted(result, ((block * plan.rows * plan.out_height + t) * plan.out_width + q) * lanes)
                for j in range(max(0, plan.left - q), min(plan.kernel_columns, plan.image_width + plan.left - q)):
                    call(plan.tile, (plan.rows, below - t, lanes, (high - low) * plan.channels,
                                     shifted(tables, low * plan.channels),
                                     shifted(weights, (j * depth + low * plan.channels) * plan.rows), plan.rows, 0,
                                     shifted(image, (t * plan.image_width + q + j - plan.left) * lanes), 0, 1, line,
                                     target, pixels * lanes, plan.out_width * lanes))

    for o in range(plan.outputs):
        call(plan.transpose, (shifted(y, (n0 * plan.outputs + o) * pixels), plan.outputs * pixels,
                              shifted(result, o * pixels * lanes), lanes, pixels, images))
