"""The product of two matrices, on the micro-kernel: on the same threads as everything else.

NumPy's product runs in the threads of its BLAS, which keep both cores busy for a while after they are done, waiting for
more, just when numba's threads want them; a network that changes between the two all the time runs several times slower
than on either alone. So the product is made here, in blocks of the result that one job each works out:

              b  (K, N)           for some steps of K at a time: bring the block's columns of b into one piece, then for
             ┌───┬───┬───┐        each strip of a (as many rows as the micro-kernel takes) the strip, step by step, and
             │   │▒▒▒│   │        sweep it over the columns.
    a (M, K) └───┴───┴───┘
    ┌──────┐ ┌───┬───┬───┐        A transposed operand is read as it lies: one of the two orders of memory is what
    │▒▒▒▒▒▒│ │   │▓▓▓│   │  c     the micro-kernel wants, the other is turned over on the way into the piece.
    └──────┘ └───┴───┴───┘

Few rows times a transposed matrix, which is a batch on its way through a large linear layer, take as long as the matrix
takes to come from memory. It should come once, row by row, as it lies: the micro-kernel broadcasts its numbers, some
rows side by side, and the lanes hold the rows of a, of which a small copy is turned over.

             a (M, K)                    b (N, K)
    k →    │▒▒▒▒▒▒▒▒▒▒│ a vector         │████▷        │
           │▒▒▒▒▒▒▒▒▒▒│ for each k   ×   │████▷        │     →   c (N, M), turned over at the end
           │▒▒▒▒▒▒▒▒▒▒│                  │████▷        │
"""

from functools import lru_cache

import numpy as np
from numba import carray

from .. import reference
from ..contract import Array
from .jobs import Plan, run, scratch, with_kernels
from .memory import empty
from .microkernel import MASKS, ROWS, STREAMS, lanes, prefetch, shifted, vectors
from .plans import up
from .support import part
from .threads import call

# Of K at a time, so that a strip of a and the columns of b it is swept over stay close; and how many times 128 columns
# a block may have, where K is short or strips are few. A block should come from long pieces of b's rows in memory:
# these lie along K where b is transposed, else along its columns.
SHAPES = {True: (512, 4), False: (256, 16)}
WIDTH = 128
PIECE = 1024  # of K, where rows are few: sums of more terms would drift
JOBS = 4  # wanted at least, to share among threads
SMALL = 1 << 18  # multiplications that are not worth the way to other threads; BLAS stays on one thread there, too


@part
def copy(target, source, count):
    """count elements from one place to another."""
    to, line = carray(target, count), carray(source, count)
    for i in range(count):
        to[i] = line[i]


@part
def add(target, source, count):
    """Add count elements of one place to those of another."""
    to, line = carray(target, count), carray(source, count)
    for i in range(count):
        to[i] += line[i]


def _multiply(job, thread, plan, tables, a, b, c, bias, strip, piece):
    """One block of c: rows i0 ≤ i < i1, columns j0 ≤ j < j1."""
    plan = carray(plan, 1)[0]
    strip, piece = shifted(strip, thread * plan.strip), shifted(piece, thread * plan.piece)
    i0, j0 = job // plan.across * plan.height, job % plan.across * plan.width
    i1, j1 = min(i0 + plan.height, plan.rows), min(j0 + plan.width, plan.columns)
    panel = plan.vectors * plan.lanes  # columns that a tile takes at once, together in the piece
    for k in range(0, plan.depth, plan.steps):
        steps = min(plan.steps, plan.depth - k)
        if plan.b_turned:
            for j in range(j0, j1, panel):
                call(plan.transpose, (shifted(piece, (j - j0) * steps), panel, shifted(b, j * plan.depth + k),
                                      plan.depth, min(panel, j1 - j), steps))
        else:
            for s in range(steps):
                line = shifted(b, (k + s) * plan.columns)
                for j in range(j0, j1, panel):
                    prefetch(shifted(line, 2 * plan.columns + j))  # two rows on: another page of memory
                    copy(shifted(piece, (j - j0) * steps + s * panel), shifted(line, j), min(panel, j1 - j))
        for i in range(i0, i1, plan.strip_rows):
            rows = min(plan.strip_rows, i1 - i)
            left, left_step = shifted(a, k * plan.rows + i), plan.rows
            if not plan.a_turned:
                left, left_step = strip, rows
                call(plan.transpose, (strip, rows, shifted(a, i * plan.depth + k), plan.depth, rows, steps))
            for j in range(j0, j1, panel):
                whole, rest = min(panel, j1 - j) // plan.lanes, min(panel, j1 - j) % plan.lanes
                right, target = shifted(piece, (j - j0) * steps), shifted(c, i * plan.columns + j)
                start, start_step = (target, plan.columns) if k else (shifted(bias, j), 0)
                if whole:
                    call(plan.tile, (rows, whole, plan.lanes, steps, tables, left, left_step, 0, right, panel, 0,
                                     plan.lanes, start, start_step, plan.lanes, target, plan.columns, plan.lanes))
                if rest:
                    v = whole * plan.lanes
                    call(plan.tile, (rows, 1, rest, steps, tables, left, left_step, 0, shifted(right, v), panel, 0, 0,
                                     shifted(start, v), start_step, 0, shifted(target, v), plan.columns, 0))


@lru_cache(256)
def _plan(m: int, k: int, n: int, a_turned: bool, b_turned: bool, lanes_: int) -> Plan:
    strips, (steps, wider) = -(-m // ROWS), SHAPES[b_turned]
    across = -(-n // (WIDTH * min(wider, max(1, steps // k, wider // strips))))
    width = -(-n // (across if across == 1 else up(across, 2)) // lanes_) * lanes_  # about equal, and even in number
    down = max(1, min(-(-JOBS // across), strips))
    height = -(-m // down)
    strip_rows = -(-height // -(-height // ROWS))
    wide = vectors(strip_rows)
    return Plan([np.zeros(steps, np.int64)], rows=m, depth=k, columns=n, across=-(-n // width), width=width,
                height=height, strip_rows=strip_rows, vectors=wide, lanes=lanes_, a_turned=a_turned, b_turned=b_turned,
                steps=steps, strip=steps * strip_rows, piece=steps * (width + wide * lanes_),
                jobs=-(-n // width) * -(-m // height), tile=0, transpose=0)


def _multiply_few(job, thread, plan, tables, a, b, c, bias, result, part):
    """Some columns of c, from as many rows of b as it lies in memory."""
    plan = carray(plan, 1)[0]
    result, part = shifted(result, thread * plan.result), shifted(part, thread * plan.part)
    zeros = shifted(bias, plan.columns)
    first, last = job * plan.columns // plan.jobs, (job + 1) * plan.columns // plan.jobs
    for j in range(first, last, STREAMS[0]):
        j = min(j, last - STREAMS[0])  # the last rows come twice
        total = shifted(result, (j - first) * plan.wide)
        for k in range(0, plan.depth, PIECE):
            start, target = (zeros, part) if k else (shifted(bias, j), total)
            call(plan.streams, (plan.wide // plan.lanes, min(PIECE, plan.depth - k), shifted(b, j * plan.depth + k),
                                plan.depth, shifted(a, k * plan.wide), start, target))
            if k:
                add(total, part, plan.part)
    call(plan.transpose, (shifted(c, first), plan.columns, result, plan.wide, last - first, plan.rows))


@lru_cache(256)
def _few_plan(m: int, k: int, n: int, lanes_: int) -> Plan:
    wide, jobs = up(m, lanes_), min(4 * JOBS, n // STREAMS[0])
    return Plan([], rows=m, depth=k, columns=n, wide=wide, lanes=lanes_, jobs=jobs, result=-(-n // jobs) * wide,
                part=STREAMS[0] * wide, streams=0, transpose=0)


def matmul(a: Array, b: Array, bias: Array | None = None) -> Array:
    """See contract.matmul."""
    if not MASKS or a.shape[0] * b.size <= SMALL or a.dtype not in (np.float32, np.float64):
        return reference.matmul(a, b, bias)
    (a, a_turned), (b, b_turned) = _flat(a), _flat(b)
    c = empty((a.shape[0], b.shape[1]), a.dtype)
    bias = np.zeros(c.shape[1], a.dtype) if bias is None else np.ascontiguousarray(bias)
    if b_turned and len(a) <= STREAMS[1] * lanes(a.itemsize) and b.shape[1] >= STREAMS[0]:
        plan = _few_plan(*a.shape, b.shape[1], lanes(a.itemsize))
        numbers = with_kernels(plan, a.dtype)
        turned = np.zeros((a.shape[1], numbers["wide"]), a.dtype)
        turned[:, :len(a)] = a.T
        run(_multiply_few, numbers["jobs"], plan, turned, b.T, c, np.append(bias, np.zeros(STREAMS[0], a.dtype)),
            *scratch(a.dtype, numbers["result"], numbers["part"]))
        return c
    plan = _plan(*a.shape, b.shape[1], a_turned, b_turned, lanes(a.itemsize))
    numbers = with_kernels(plan, a.dtype)
    run(_multiply, numbers["jobs"], plan, a.T if a_turned else a, b.T if b_turned else b, c, bias,
        *scratch(a.dtype, numbers["strip"], numbers["piece"]))
    return c


def _flat(x: Array) -> tuple[Array, bool]:
    """The matrix in contiguous memory, and whether it lies there transposed."""
    if x.flags.c_contiguous:
        return x, False
    if x.flags.f_contiguous:
        return x, True
    return np.ascontiguousarray(x), False
