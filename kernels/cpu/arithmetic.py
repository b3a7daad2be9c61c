"""Sums, products and copies of large arrays, in threads.

One thread does not use all of the memory's speed. An operand is contiguous, or pieces that are, at equal distances: a
range of the channels of images, which is what concatenation copies to, and what its gradients are cut out of.

    x (N, C, H, W)       ┌──────┬───────┬─────┐┌──────┬───────┬─────┐
    x[:, a:b]            │      │ piece │     ││      │ piece │     │ ...      length = (b − a)·H·W, step = C·H·W
                         └──────┴───────┴─────┘└──────┴───────┴─────┘

Whatever lies otherwise is left to NumPy.
"""

from collections.abc import Callable
from functools import lru_cache, wraps

import numpy as np
from numba import carray

from .. import contract, reference
from ..contract import Array
from .jobs import Plan, run
from .microkernel import shifted
from .support import CHUNK, for_floats, formula, inlined

SHORT = 64  # elements of a piece, below which to find the next one takes longer than to work through it


@inlined
def _cut(base, position, length, step, count):
    """The count elements that follow a position, all of one piece."""
    return carray(shifted(base, position // length * step + position % length), count)


def _pairs(operation: Callable) -> Callable:
    """The job y[i] = operation(a[i], b[i]), in which one number may stand for all of a or of b."""
    def job(index, thread, plan, tables, a, b, y, d, e, f):
        plan = carray(plan, 1)[0]
        position, stop = index * CHUNK, min(plan.size, (index + 1) * CHUNK)
        while position < stop:
            count = min(plan.length - position % plan.length, stop - position)
            first = _cut(a, position, plan.length, plan.a_step, count)
            second = _cut(b, position, plan.length, plan.b_step, count)
            out = _cut(y, position, plan.length, plan.length, count)
            if plan.a_number:
                number = a[0]
                for i in range(count):
                    out[i] = operation(number, second[i])
            elif plan.b_number:
                number = b[0]
                for i in range(count):
                    out[i] = operation(first[i], number)
            else:
                for i in range(count):
                    out[i] = operation(first[i], second[i])
            position += count

    return job


def _in_place(operation: Callable) -> Callable:
    """The job a[i] = operation(a[i], b[i])."""
    def job(index, thread, plan, tables, a, b, c, d, e, f):
        plan = carray(plan, 1)[0]
        position, stop = index * CHUNK, min(plan.size, (index + 1) * CHUNK)
        while position < stop:
            count = min(plan.length - position % plan.length, stop - position)
            first = _cut(a, position, plan.length, plan.a_step, count)
            second = _cut(b, position, plan.length, plan.b_step, count)
            for i in range(count):
                first[i] = operation(first[i], second[i])
            position += count

    return job


_copy = _in_place(formula(lambda a, b: b))
_accumulate = _in_place(formula(lambda a, b: a + b))


@lru_cache(4096)
def _pieces(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> tuple[int, int] | None:
    """Length and step, in elements, of the pieces of an array; of what has no axes, (0, 0)."""
    length, axis = 1, len(shape)
    while axis and (shape[axis - 1] == 1 or strides[axis - 1] == length * itemsize):
        axis -= 1
        length *= shape[axis]
    if not axis:
        return (length, length) if shape else (0, 0)
    step = strides[axis - 1]
    extent = step
    for n, stride in zip(shape[axis - 1::-1], strides[axis - 1::-1]):
        if n != 1 and stride != extent:
            return None
        extent *= n
    return (length, step // itemsize) if length >= SHORT and step > 0 and step % itemsize == 0 else None


@lru_cache(4096)
def _plan(size: int, a: tuple[int, int] | None, b: tuple[int, int] | None) -> Plan | None:
    """How to go through two operands by the length and step of their pieces, which must begin at the same places."""
    if a is None or b is None:
        return None
    lengths = {length for length, _ in (a, b)} - {0, size}
    if len(lengths) > 1 or a[0] == b[0] == 0:
        return None
    length = lengths.pop() if lengths else size
    steps = [length if own == size else step for own, step in (a, b)]
    return Plan([], size=size, length=length, a_step=steps[0], b_step=steps[1], a_number=not a[0], b_number=not b[0])


def _planned(a: Array, b: Array) -> Plan | None:
    size = max(a.size, b.size)
    # Numba has a type of its own for arrays that are read-only, and would compile once more.
    if size <= CHUNK or a.dtype != b.dtype or not (a.flags.writeable and b.flags.writeable):
        return None
    if a.shape != b.shape and a.shape and b.shape:
        return None  # only a number stands for all of the other
    return _plan(size, _pieces(a.shape, a.strides, a.itemsize), _pieces(b.shape, b.strides, b.itemsize))


def _start(x: Array) -> Array:
    """A vector that begins where x does."""
    return x if x.flags.c_contiguous else x[(0,) * (x.ndim - 1)]


def _kernel(name: str, operation: Callable) -> Callable:
    job, plain = _pairs(formula(operation)), getattr(reference, name)

    @for_floats
    @wraps(getattr(contract, name))
    def kernel(a: Array, b: Array) -> Array:
        plan = _planned(a, b)
        if plan is None:
            return plain(a, b)
        y = np.empty(a.shape or b.shape, a.dtype)
        run(job, -(-y.size // CHUNK), plan, _start(a), _start(b), y)
        return y

    return kernel


add = _kernel("add", lambda a, b: a + b)
sub = _kernel("sub", lambda a, b: a - b)
mul = _kernel("mul", lambda a, b: a * b)
truediv = _kernel("truediv", lambda a, b: a / b)


@for_floats
def iadd(a: Array, b: Array) -> Array:
    plan = None if a.shape != b.shape or np.may_share_memory(a, b) else _planned(a, b)
    if plan is None:
        return reference.iadd(a, b)
    run(_accumulate, -(-a.size // CHUNK), plan, _start(a), _start(b))
    return a


def concatenate(xs: tuple[Array, ...], axis: int) -> Array:
    if xs[0].dtype not in (np.float32, np.float64):
        return reference.concatenate(xs, axis)
    first, end = xs[0].shape, 0
    y = np.empty((*first[:axis], sum([x.shape[axis] for x in xs]), *first[axis + 1:]), xs[0].dtype)
    for x in xs:
        start, end = end, end + x.shape[axis]
        place = y[(slice(None),) * axis + (slice(start, end),)]
        plan = _planned(place, x)
        if plan is None:
            place[...] = x
        else:
            run(_copy, -(-x.size // CHUNK), plan, _start(place), _start(x))
    return y
