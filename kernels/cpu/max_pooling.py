"""Max pooling, with as many planes side by side as a vector has lanes.

A window is a handful of elements, too few and too scattered to fill vectors with. But all planes have the same windows:
turned over, so that the same pixel of 16 planes makes a vector, each window costs a comparison and two selections per
element, whatever its shape, step, padding or place, and no lane is ever idle.

    x (planes, pixels)  →  rows (pixels, 16 planes)  →  best and its place (outputs, 16 planes)  →  y, index

Rows are turned over band by band, so many at a time as stay in the nearest cache.
"""

from functools import lru_cache

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from ..contract import Array, Windows
from .jobs import Plan, run, scratch, with_kernels
from .memory import empty
from .microkernel import _emitter, lanes, shifted
from .support import for_floats
from .threads import call

ROOM = 1 << 10  # pixels of a band, at least one window row
SMALL = 1 << 15  # elements not worth waking threads for


@intrinsic
def _window(typingctx, rows, row_step, columns, column_step, width, first, planes, best, place):
    """The largest of rows × columns pixels of each lane and where it is, counted from pixel ``first`` of the plane.

    PyTorch's rule: the first of equals, and of several NaN the last.
    """
    def generate(context, builder, signature, arguments):
        rows, row_step, columns, column_step, width, first, planes, best, place = arguments
        emit = _emitter(context, builder, signature, 6)
        number = ir.IntType(8 * emit.itemsize)

        def look(q):
            return emit.load(emit.address(planes, builder.mul(q, ir.IntType(64)(emit.vector.count))))

        def everywhere(q):
            return emit.everywhere(q if number.width == 64 else builder.trunc(q, number))

        def row(h, found):
            start = builder.add(first, builder.mul(builder.mul(h, row_step), width))

            def pixel(w, found):
                top, at = found
                q = builder.add(start, builder.mul(w, column_step))
                value = look(q)
                larger = builder.or_(builder.fcmp_ordered(">", value, top), builder.fcmp_unordered("uno", value, value))
                return [builder.select(larger, value, top), builder.select(larger, everywhere(q), at)]

            return emit.loop(columns, found, pixel)

        top, at = emit.loop(rows, [look(first), everywhere(first)], row)
        emit.store(top, best)
        emit.store(builder.bitcast(at, emit.vector), place)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 6, planes, best, place), generate


def _read_as(kind):
    """An intrinsic that takes a pointer for one to another type, by the type it points to."""
    @intrinsic
    def read(typingctx, base):
        result = types.CPointer(kind(base.dtype))

        def generate(context, builder, signature, arguments):
            return builder.bitcast(arguments[0], context.get_value_type(result))

        return result(base), generate

    return read


_places = _read_as(lambda real: types.int32 if real == types.float32 else types.int64)  # integers of the same size
_indices = _read_as(lambda real: types.int64)


def _largest(job, thread, plan, tables, x, y, index, planes, best, place):
    """As many planes as there are lanes."""
    plan = carray(plan, 1)[0]
    planes, best = shifted(planes, thread * plan.room * plan.lanes), shifted(best, thread * plan.results * plan.lanes)
    place = shifted(place, 2 * thread * plan.results * plan.lanes)
    turned = shifted(place, plan.results * plan.lanes)
    first = job * plan.lanes
    count = min(plan.lanes, plan.planes - first)
    bands = carray(tables, (plan.bands, 4))
    row_start = carray(shifted(tables, 4 * plan.bands), plan.out_rows)
    row_stop = carray(shifted(tables, 4 * plan.bands + plan.out_rows), plan.out_rows)
    col_start = carray(shifted(tables, 4 * plan.bands + 2 * plan.out_rows), plan.out_columns)
    col_stop = carray(shifted(tables, 4 * plan.bands + 2 * plan.out_rows + plan.out_columns), plan.out_columns)
    for band in range(plan.bands):
        begin, end, low, high = bands[band]
        call(plan.transpose, (planes, plan.lanes, shifted(x, first * plan.size + low * plan.width), plan.size, count,
                              (high - low) * plan.width))
        origin = shifted(planes, -low * plan.width * plan.lanes)  # where pixel 0 would be
        for i in range(begin, end):
            rows = (row_stop[i] - row_start[i] + plan.row_step - 1) // plan.row_step
            for j in range(plan.out_columns):
                columns = (col_stop[j] - col_start[j] + plan.column_step - 1) // plan.column_step
                result = ((i - begin) * plan.out_columns + j) * plan.lanes
                _window(rows, plan.row_step, columns, plan.column_step, plan.width,
                        row_start[i] * plan.width + col_start[j], origin, shifted(best, result), shifted(place, result))
        outputs = plan.out_rows * plan.out_columns
        start, results = first * outputs + begin * plan.out_columns, (end - begin) * plan.out_columns
        call(plan.transpose, (shifted(y, start), outputs, best, plan.lanes, results, count))
        call(plan.transpose, (turned, results, place, plan.lanes, results, count))
        for lane in range(count):
            source = carray(shifted(_places(turned), lane * results), results)
            target = carray(shifted(_indices(index), start + lane * outputs), results)
            for o in range(results):
                target[o] = source[o]


@lru_cache(64)
def _plan(planes: int, size: tuple[int, int], windows: Windows, lanes_: int) -> Plan:
    (height, width), starts, stops = size, windows.row_start, windows.row_stop
    bands, begin = [], 0
    while begin < len(starts):
        end, low, high = begin + 1, starts[begin], stops[begin]
        # Dilated windows at the border may start further down than the ones below them.
        while end < len(starts) and (max(high, stops[end]) - min(low, starts[end])) * width <= ROOM:
            low, high, end = min(low, starts[end]), max(high, stops[end]), end + 1
        bands.append((begin, end, low, high))
        begin = end
    return Plan([np.array(bands), *windows[:4]], planes=planes, size=height * width, width=width, bands=len(bands),
                out_rows=len(starts), out_columns=len(windows.col_start), row_step=windows.step[0],
                column_step=windows.step[1], lanes=lanes_, transpose=0,
                room=max(high - low for _, _, low, high in bands) * width,
                results=max(end - begin for begin, end, _, _ in bands) * len(windows.col_start))


@for_floats
def max_pool2d(x: Array, windows: Windows) -> tuple[Array, Array]:
    y = empty((*x.shape[:2], len(windows.row_start), len(windows.col_start)), x.dtype)
    index = empty(y.shape, np.int64)
    if y.size:
        n, c, *size = x.shape
        plan = _plan(n * c, tuple(size), windows, lanes(x.itemsize))
        numbers = with_kernels(plan, x.dtype)
        width = numbers["lanes"]
        planes, best = scratch(x.dtype, numbers["room"] * width, numbers["results"] * width)
        # Not in the scratch memory: read as floats, small integers are subnormal, and whoever has its unused lanes
        # there next would compute with them a hundred times slower.
        places = np.empty((len(planes), 2 * numbers["results"] * width), x.dtype)
        run(_largest, -(-n * c // width), plan, np.ascontiguousarray(x), y, index.view(x.dtype), planes, best, places,
            small=x.size < SMALL)
    return y, index
