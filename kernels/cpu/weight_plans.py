"""How the sums of a weight gradient are cut into jobs: the cheaper of two ways, worked out from the shapes once.

A weight gradient is a sum over all pixels of all images. A job makes one piece of it:

    chunk     some of the images, or rows of images; the pieces of all chunks have to be added up
    part      some of the outputs, for which the images are gathered once more
    slice     some of the channels, for which the gradients are gathered once more (tiles only)
"""

from functools import lru_cache

import numpy as np

from ..contract import Geometry
from .jobs import Plan
from .microkernel import DOTS, ROWS, vectors
from .plans import JOBS, block_size, cut, cycles, forward_axis, image_axes, image_numbers, layout, up

CHUNKS = 16  # at most
PARTS = 8  # at most, and slices
IMAGE = 400  # cycles to gather an image of a group, besides what is moved
PARTIAL_SUMS = 1 << 20  # elements, about, of weight gradients not yet added up


@lru_cache(256)
def weight_sums(x_shape: tuple[int, ...], gy_shape: tuple[int, ...], w_shape: tuple[int, ...], geometry: Geometry,
                lanes: int) -> Plan:
    """The plan of conv2d_weight_grad."""
    channels = x_shape[1] // geometry.groups
    ways = [_tiles(x_shape, gy_shape, w_shape, geometry, lanes, slices) for slices in range(1, PARTS + 1)
            if slices == 1 or (channels % slices == 0 and channels // slices >= 2 * lanes)]
    ways.append(_dots(x_shape, gy_shape, w_shape, geometry, lanes))
    price, tables, numbers = min(ways, key=lambda way: way[0])
    return Plan(tables, **numbers, price=int(price))


def _shared_out(units: int, shares: int, groups: int, partial: int, again: float) -> tuple[float, int, int]:
    """The price, chunks and parts of the cheapest way to make enough jobs of one group.

    A chunk costs its sums, of ``partial`` elements, to be cleared, written and added; a part costs ``again`` cycles.
    """
    most = max(1, min(units, CHUNKS, PARTIAL_SUMS // (groups * partial)))
    ways = []
    for chunks in range(1, most + 1):
        parts = min(shares, PARTS, -(-JOBS // (chunks * groups)))
        missing = max(0, JOBS - chunks * parts * groups)
        ways.append((missing, 1.5 * chunks * partial + parts * again, chunks, parts))
    _, price, chunks, parts = min(ways)
    return price, chunks, parts


Way = tuple[float, list[np.ndarray], dict[str, int]]  # price in cycles, tables and numbers


def _tiles(x_shape: tuple[int, ...], gy_shape: tuple[int, ...], w_shape: tuple[int, ...], geometry: Geometry,
           lanes: int, slices: int) -> Way:
    """The sums as tiles, see ``weight_sums._sum_tiles``."""
    (n, c, _, _), (_, o, *out_size), (_, _, kh, kw), groups = x_shape, gy_shape, w_shape, geometry.groups
    down, right = axes = image_axes(forward_axis, (kh, kw), geometry, out_size)
    channels, outputs, kernel = c // groups // slices, o // groups, kh * kw
    (sh, sw), (dh, dw), packed = geometry.stride, geometry.dilation, up(outputs, lanes)
    weights, columns = channels * outputs * kernel, right.results + right.reach
    wanted = CHUNKS // 2 if 2 * groups * slices * weights <= PARTIAL_SUMS else 1
    rows, together = cut(down, columns, n, channels * sh * sw + outputs, wanted, block_size(weights))
    units, pixels = -(-n // together) * -(-down.results // rows), together * rows * right.results

    # Of each run of kernel taps, blocks of rows. Pixels of the image copy are ``pitch`` apart; were that a power of
    # two, all would fall on the same few lines of the first-level cache.
    height, width = (rows - 1) * sh + (kh - 1) * dh + 1, (right.results - 1) * sw + (kw - 1) * dw + 1
    pitch = channels if channels < 4 * lanes or channels % (4 * lanes) else channels + lanes
    run, runs = (kw * channels, kh) if dw == 1 and pitch == channels else (channels, kernel)
    blocks = -(-run // ROWS)
    wide = min(vectors(-(-run // blocks)), packed // lanes)
    shares, partial, image = -(-packed // (wide * lanes)), channels * kernel * packed, pitch * together * height * width
    sums = units * runs * blocks * packed / lanes / wide * pixels * cycles(-(-run // blocks), wide, 1)
    gathered, chunks, parts = _shared_out(units, shares, groups * slices, partial, .5 * units * image)
    price = slices * (sums + gathered + .5 * units * outputs * pixels + IMAGE * n)

    run_places = np.add.outer(np.arange(kh) * dh * width, np.arange(runs // kh) * dw)
    pixel_places = np.add.outer(np.arange(together) * height * width,
                                np.add.outer(np.arange(rows) * sh * width, np.arange(right.results) * sw))
    numbers = image_numbers(x_shape, axes, rows, together, groups * slices) | {
        "lanes": lanes, "outputs": outputs, "out_height": out_size[0], "out_width": out_size[1], "kernel": kernel,
        "by_tiles": True, "units": units, "slices": slices, "stride_rows": sh, "height": height, "width": width,
        "pitch": pitch, "run": run, "runs": runs, "packed": packed, "vectors": wide, "blocks": blocks,
        "scratch": up(image, 64), "gradients": up(packed * pixels, 64), "tile": 0, "transpose": 0,
        "chunks": chunks, "parts": parts, "shares": shares, "partial": partial,
        "jobs": chunks * groups * slices * parts, "partials": chunks * groups * slices * partial}
    return price, [run_places * pitch, pixel_places * pitch], numbers


def _dots(x_shape: tuple[int, ...], gy_shape: tuple[int, ...], w_shape: tuple[int, ...], geometry: Geometry,
          lanes: int) -> Way:
    """The sums as dot products, see ``weight_sums._sum_dots``."""
    (n, c, _, _), (_, o, *out_size), (_, _, kh, kw), groups = x_shape, gy_shape, w_shape, geometry.groups
    down, right = axes = image_axes(forward_axis, (kh, kw), geometry, out_size)
    channels, outputs, kernel, area = c // groups, o // groups, kh * kw, down.split * right.split
    weights, columns = channels * outputs * kernel, right.results + right.reach
    wanted = CHUNKS // 2 if 2 * groups * weights <= PARTIAL_SUMS else 1
    rows, together = cut(down, columns, n, channels * area + outputs, wanted, block_size(weights))
    units = -(-n // together) * -(-down.results // rows)

    # The images of a unit one by one, or as one long row, whichever has less junk.
    plane, length = (rows + down.reach) * columns, (rows - 1) * columns + right.results
    alone, flat = together * up(length, lanes), up((together - 1) * plane + length, lanes)
    apart = plane if flat < alone else up(length, lanes)
    swept = min(alone, flat) / lanes
    prices = [-(-outputs // r) * -(-channels * kernel // t) * (swept * .85 * max(r * t, r + 2 * t) + 5 * r * t)
              for r, t in DOTS]
    shape = prices.index(min(prices))
    dot_rows, dot_taps = DOTS[shape]
    taps, shares, image = up(channels * kernel, dot_taps), -(-outputs // dot_rows), channels * area * together * plane
    partial, g_row = shares * dot_rows * taps, up(together * apart, lanes) + lanes
    gathered, chunks, parts = _shared_out(units, shares, groups, partial, .25 * units * image)

    offsets = layout(axes, channels, together * plane, columns, (0, 0, 0))[1]
    numbers = image_numbers(x_shape, axes, rows, together, groups) | {
        "lanes": lanes, "outputs": outputs, "out_height": out_size[0], "out_width": out_size[1], "kernel": kernel,
        "by_tiles": False, "units": units, "merged": flat < alone, "apart": apart, "g_row": g_row, "shape": shape,
        "dot_rows": dot_rows, "dot_taps": dot_taps, "row": taps, "kernel_columns": kw, "scratch": up(image + lanes, 64),
        "gradients": up(shares * dot_rows * g_row, 64), "dots": 0,
        "chunks": chunks, "parts": parts, "shares": shares, "partial": partial, "jobs": chunks * groups * parts,
        "partials": chunks * groups * partial}
    return units * min(prices) + gathered + IMAGE * n, [np.pad(offsets, (0, taps - len(offsets)), mode="edge")], numbers
