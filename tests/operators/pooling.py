"""Pooling in one to three axes: regular, adaptive, of powers, at random distances; and the way back."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from util import constant, distinct, normal, rng_of

from .convolution import BATCHES, per_axis, shortest
from .table import Case, Operator

TF = torch.nn.functional


def images(draw: st.DrawFn, size: Any) -> tuple[int, ...]:
    return (*draw(BATCHES), draw(st.integers(1, 3)), *size)


@st.composite
def regular(draw: st.DrawFn, axes: int, largest: int, dilated: bool = False, powers: bool = False) -> Case:
    """A pooling that fits: dilated is that of max_pool, powers that of lp_pool."""
    kernel = draw(per_axis(axes, 1, 3))
    dilation = draw(per_axis(axes, 1, 3)) if dilated else (1,) * axes
    padding = (0,) * axes if powers else tuple(draw(st.integers(0, k // 2)) for k in kernel)
    hidden = (0,) * axes if axes == 3 and not dilated else padding  # avg_pool3d refuses volumes smaller than its kernel
    size = [max(d, d * (k - 1) + 1 - 2 * p) + draw(st.integers(0, largest))
            for k, d, p in zip(kernel, dilation, hidden)]
    options: dict[str, Any] = {"stride": draw(st.one_of(st.none(), per_axis(axes, 1, 4).map(shortest))),
                               "ceil_mode": draw(st.booleans())}
    x = distinct(images(draw, size))
    if powers:
        p = draw(st.sampled_from([1, 2, 2.0, 3, 1.5, float("inf"), -float("inf")]))
        # powers that are not even need positive numbers
        return Case(x if p == 2 or np.isinf(p) else abs(x) + 0.5, p, kernel[0] if axes == 1 else kernel, **options)
    options["padding"] = shortest(padding)
    if dilated:
        return Case(x, kernel, dilation=shortest(dilation), return_indices=draw(st.booleans()), **options)
    if axes > 1:
        options["divisor_override"] = draw(st.sampled_from([None, None, 1, 3, -2]))
    return Case(x, kernel, count_include_pad=draw(st.booleans()), **options)


@st.composite
def adaptive(draw: st.DrawFn, axes: int, largest: int, indices: bool) -> Case:
    lengths = st.integers(1, largest)
    if axes == 1:
        output = draw(st.one_of(lengths, st.tuples(lengths)))
    else:
        output = draw(st.one_of(lengths, st.tuples(*[st.one_of(st.none(), lengths)] * axes),
                                st.lists(lengths, min_size=axes, max_size=axes)))
    x = distinct(images(draw, draw(per_axis(axes, 1, largest))))
    return Case(x, output, draw(st.booleans())) if indices else Case(x, output)


@st.composite
def fractional(draw: st.DrawFn, axes: int) -> Case:
    kernel, output = draw(per_axis(axes, 1, 3)), draw(per_axis(axes, 1, 4))
    size = [m + k + draw(st.integers(-1 if axes == 2 else 0, 4)) for m, k in zip(output, kernel)]
    shape = images(draw, size)
    planes = shape[:2] if len(shape) == axes + 2 else (1, shape[0])
    samples = rng_of(draw(st.integers(0, 99))).random((*planes, axes)).astype(np.float32).astype(np.float64)
    return Case(distinct(shape), kernel, shortest(output), return_indices=draw(st.booleans()), _random_samples=samples,
                fixed=("_random_samples",))


@st.composite
def unpooling(draw: st.DrawFn, axes: int) -> Case:
    """Values and places that are all different."""
    kernel, size = draw(per_axis(axes, 1, 3)), draw(per_axis(axes, 1, 4))
    stride = draw(st.one_of(st.none(), st.just(tuple(k + draw(st.integers(0, 1)) for k in kernel))))
    padding = tuple(draw(st.integers(0, min(k // 2, (n - 1) * s + k - n)) if n > 1 else st.just(0))
                    for n, k, s in zip(size, kernel, stride or kernel))
    padding = (0,) * axes if draw(st.booleans()) else padding
    usual = [(n - 1) * s + k - 2 * p for n, s, k, p in zip(size, stride or kernel, kernel, padding)]
    output = draw(st.one_of(st.none(), st.tuples(*[st.integers(m, m + s - 1)
                                                   for m, s in zip(usual, stride or kernel)])))
    if np.prod(output or usual) < np.prod(size):
        padding, output = (0,) * axes, None
        usual = [(n - 1) * s + k for n, s, k in zip(size, stride or kernel, kernel)]
    shape = images(draw, size)
    planes, count, length = int(np.prod(shape[:-axes])), int(np.prod(size)), int(np.prod(output or usual))
    places = rng_of(planes + count).permuted(np.tile(np.arange(length), (planes, 1)), axis=1)[:, :count]
    if output is not None and len(shape) == axes + 2 and draw(st.booleans()):
        output = (*shape[:2], *output)
    return Case(normal(shape), places.reshape(shape), kernel, stride, padding,
                output_size=output if output is None else list(output))


def refused(name: str, shape: tuple, *arguments: Any, **options: Any) -> Callable:
    return lambda m, f: getattr(f, name)(constant(m, shape), *arguments, **options)


def wrong(name: str, axes: int, *first: Any) -> list[Callable]:
    """What every pooling with kernels refuses; ``first`` is what is passed before kernel_size."""
    n = (4,) * axes
    cases = [((1, 2, *n[1:], 3), 4), ((1, 2, *n), 0), ((1, 2, *n), (1,) * (axes + 1)), ((1, 2, *n), 2.0), (n, 2),
             ((1, 1, 1, *n), 2), ((1, 0, *n), 2), ((1, 2, *n[1:], 0), 2)]
    return [refused(name, shape, *first, kernel) for shape, kernel in cases] + [
        refused(name, (1, 2, *n), *first, 2, 0), refused(name, (1, 2, *n), *first, 2, (1,) * (axes + 1))]


def wrong_padding(name: str, axes: int) -> list[Callable]:
    x = (1, 2, *[4] * axes)
    return [refused(name, x, 2, padding=-1), refused(name, x, 2, padding=2),
            refused(name, x, (4,) * (axes - 1) + (2,), padding=2)]


def max_pool(axes: int, largest: int, number: int) -> Operator:
    name, x = f"max_pool{axes}d", (1, 1, *[4] * axes)
    return Operator(name, regular(axes, largest, dilated=True), number=number,
                    examples=[Case(distinct((2, 3, *range(6, 6 + axes))), 2),
                              Case(distinct((2, 1, *range(5, 5 + axes))), 3, 2, 1, return_indices=True),
                              Case(distinct((1, 2, *[5] * axes)), [5] * axes, ())],
                    wrong=[*wrong(name, axes), *wrong_padding(name, axes), refused(name, x, 2, dilation=0),
                           refused(name, x, 3, dilation=2), lambda m, f: getattr(f, name)(m.ones(x).to(m.bool), 2)])


def avg_pool(axes: int, largest: int, number: int) -> Operator:
    name, x = f"avg_pool{axes}d", (1, 1, *[4] * axes)
    options = {"ceil_mode": True, "padding": (1,) * axes}
    return Operator(name, regular(axes, largest), number=number,
                    examples=[Case(normal((2, 3, *range(6, 6 + axes))), 2, []),
                              Case(normal((1, 2, *range(4, 4 + axes))), 3, 2, **options),
                              Case(normal((1, 2, *range(4, 4 + axes))), 3, 2, **options, count_include_pad=False),
                              Case((normal((1, 2, *[4] * axes)) * 9).astype(np.int64), 2)],
                    wrong=[*wrong(name, axes), *wrong_padding(name, axes),
                           lambda m, f: getattr(f, name)(m.ones(x, dtype=m.int32), 2)]
                    + [refused(name, x, 2, divisor_override=n) for n in (0, 2.5)] * (axes > 1)
                    + [refused(name, x, (1, 1, 5), 1, (0, 0, 1)), refused(name, x, 5, 2, ceil_mode=True)] * (axes == 3))


def lp_pool(axes: int) -> Operator:
    name, x = f"lp_pool{axes}d", np.array([1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 3.0])
    return Operator(name, regular(axes, 3, powers=True), number=25,
                    examples=[Case(np.tile(x, (1, 2, *[2] * (axes - 1), 1)), p, 2, second=False) for p in (2, 3)],
                    wrong=[call for i, call in enumerate(wrong(name, axes, 2)) if axes > 1 or i not in (2,)]
                    + [refused(name, (1, 1, *[4] * axes), 2, (2,))] * (axes > 1))


def adaptive_pool(kind: str, axes: int, largest: int) -> Operator:
    name, n = f"adaptive_{kind}_pool{axes}d", (4,) * axes
    return Operator(name, adaptive(axes, largest, kind == "max"), number=25,
                    examples=[Case(distinct((2, 3, *range(5, 5 + axes))), 1),
                              Case(distinct((2, 3, *range(2, 2 + axes))), tuple(range(5, 5 + axes))),
                              Case(distinct((2, 3, *range(2, 2 + axes))), 0, fixed=(0,))],  # PyTorch: no gradient of 0
                    wrong=[refused(name, (1, 1, *n), size) for size in (-1, (2,) * (axes + 1), 1.5, None)]
                    + [refused(name, shape, 2) for shape in (n, (1, 1, 1, *n), (1, 2, *n[1:], 0))]
                    + [lambda m, f: getattr(f, name)(m.ones((1, 1, *n)).to(m.bool), 2)])


def fractional_pool(axes: int) -> Operator:
    name = f"fractional_max_pool{axes}d"
    x = (1, 2, *range(5, 5 + axes))
    half = np.full((1, 2, axes), 0.3)
    return Operator(name, fractional(axes), number=30,
                    examples=[Case(distinct(x), 2, None, (0.5, 0.7, 0.4)[:axes], _random_samples=half,
                                   fixed=("_random_samples",)),
                              Case(distinct(x), 2, 0, _random_samples=half, fixed=("_random_samples", 0)),
                              Case(np.round(normal(x)), 3, 2, return_indices=True, _random_samples=half,
                                   fixed=("_random_samples",))],
                    wrong=[refused(name, x, 2), refused(name, x, 2, 5), refused(name, x, 2, None, (0.5,)),
                           refused(name, x[2:], 2, 2), refused(name, (1, 0, *x[2:]), 2, 2),
                           lambda m, f: getattr(f, name)(constant(m, x), 2, 2, _random_samples=m.ones(1, 2, axes + 1)),
                           lambda m, f: getattr(f, name)(constant(m, x), 2, 2, _random_samples=m.ones(1, 2, axes)),
                           lambda m, f: getattr(f, name)(m.ones(x).long(), 2, 2)])


def unpool(axes: int) -> Operator:
    name = f"max_unpool{axes}d"
    x = (1, 1, *[2] * axes)

    def call(shape: tuple = x, indices: Any = None, **options: Any) -> Callable:
        places = np.arange(np.prod(x)).reshape(x) if indices is None else np.asarray(indices)
        return lambda m, f: getattr(f, name)(constant(m, shape), m.tensor(places), 2, **options)

    def outside(place: int) -> Callable:
        return call(indices=np.full(x, place))

    return Operator(name, unpooling(axes), number=30,
                    examples=[Case(normal((2, 3, *[2] * axes)), np.tile(np.arange(2**axes).reshape([2] * axes),
                                                                        (2, 3, *[1] * axes)), 2)],
                    wrong=[outside(4**axes), outside(-1), call(indices=np.zeros(x, np.int32)),
                           call(indices=np.zeros((1, 1, *[1] * axes), np.int64)), call(x[2:]), call((1, 0, *x[2:])),
                           *[call(**{argument: [1]}) for argument in ("stride", "padding")] * (axes > 1),
                           call(output_size=[6] * axes), call(output_size=[2] * axes),
                           call(output_size=[4] * (axes + 1))])


TABLE = [max_pool(1, 5, 40), max_pool(2, 4, 60), max_pool(3, 2, 40), avg_pool(1, 5, 30), avg_pool(2, 4, 50),
         avg_pool(3, 2, 30), lp_pool(1), lp_pool(2), lp_pool(3),
         *[adaptive_pool(kind, axes, 10 - 2 * axes) for kind in ("avg", "max") for axes in (1, 2, 3)],
         fractional_pool(2), fractional_pool(3), unpool(1), unpool(2), unpool(3)]
