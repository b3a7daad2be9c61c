"""Normalisation. Batch and instance norm return the running statistics too, as they are after the call."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import assume
from hypothesis import strategies as st

import minicnn.functional as F

from util import constant, normal

from .table import Case, Operator

TF = torch.nn.functional
EPS = st.sampled_from([1e-5, 1e-3, 1.0])


def with_statistics(function: Callable) -> Callable:
    """The function on copies of the running statistics, which are returned beside its result."""
    def call(x: Any, *rest: Any) -> Any:
        mean, var = [None if a is None else a.clone() for a in rest[:2]]
        y = function(x, mean, var, *rest[2:])
        return y if mean is None else (y, mean, var)

    return call


@st.composite
def batches(draw: st.DrawFn, spatial: int = 0, least: int = 0) -> Case:
    """x with running statistics, weight and bias, each of them or none, training or not."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=spatial, max_size=3))
    shape = (draw(st.integers(least, 4)), draw(st.integers(1, 3)), *sizes)
    channels = shape[1:2]
    tracked, training = draw(st.sampled_from([(True, True), (True, False), (False, True)]))
    if training:
        assume((math.prod(sizes) if spatial else shape[0] * math.prod(sizes)) > 1)
    statistics = [normal(channels, 7), np.abs(normal(channels, 8)) + 0.5] if tracked else [None, None]
    affine = [normal(channels, 1), normal(channels, 2)][:draw(st.integers(0, 2))]
    momentum = draw(st.sampled_from([0.1, 0.0, 1.0, 0.37]))
    return Case(normal(shape) * 2 + 1, *statistics, *affine, *[None] * (2 - len(affine)), training, momentum, draw(EPS),
                fixed=[1, 2])


@st.composite
def groups(draw: st.DrawFn) -> Case:
    count, size = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    shape = (draw(st.integers(0, 3)), count * size, *draw(st.lists(st.integers(1, 4), max_size=3)))
    assume(shape[0] * size * math.prod(shape[2:]) > 1)
    affine = draw(st.sampled_from([[], [normal(shape[1:2], 1)], [normal(shape[1:2], 1), normal(shape[1:2], 2)]]))
    return Case(normal(shape) * 2 + 1, count, *affine, *[None] * (2 - len(affine)), draw(EPS))


@st.composite
def last_axes(draw: st.DrawFn, bias: bool, eps: st.SearchStrategy) -> Case:
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=2)))
    batch = draw(st.lists(st.integers(0, 3), max_size=2))
    affine = [normal(shape, 1), normal(shape, 2)][:draw(st.integers(0, 1 + bias))]
    return Case(normal((*batch, *shape)) * 2 + 1, shape, *affine, *[None] * (1 + bias - len(affine)), draw(eps))


@st.composite
def responses(draw: st.DrawFn) -> Case:
    shape = draw(st.lists(st.integers(1, 5), min_size=3, max_size=5))
    return Case(normal((draw(st.integers(1, 3)), draw(st.integers(1, 7)), *shape[2:])), draw(st.integers(1, 6)),
                draw(st.sampled_from([1e-4, 1.0])), draw(st.sampled_from([0.75, 0.5, 2.0])),
                draw(st.sampled_from([1.0, 2.0])))


@st.composite
def vectors(draw: st.DrawFn) -> Case:
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    dim = draw(st.one_of(st.integers(-len(shape), len(shape) - 1), st.just(tuple(range(len(shape))))))
    return Case(normal(shape), draw(st.sampled_from([2.0, 1.0, 3.0, math.inf])), dim,
                draw(st.sampled_from([1e-12, 1.5])))


def refused(name: str, *arguments: Any, **options: Any) -> Callable:
    """A wrong call; shapes stand for tensors."""
    def call(m: Any, f: Any) -> Any:
        def tensor(a: Any) -> Any:
            return constant(m, a) if isinstance(a, tuple) else a

        return getattr(f, name)(*[tensor(a) for a in arguments], **{key: tensor(a) for key, a in options.items()})

    return call


STATISTICS = [normal((3,), 7), np.abs(normal((3,), 8)) + 0.5]
AFFINE = [normal((3,), 1), normal((3,), 2)]

TABLE = [
    Operator("batch_norm", batches(), number=60, ours=with_statistics(F.batch_norm),
             theirs=with_statistics(TF.batch_norm),
             examples=[Case(normal((4, 3, 5, 3)), *STATISTICS, *AFFINE, training, fixed=[1, 2])
                       for training in (True, False)]
             + [Case(normal((4, 3, 5)), None, None, *AFFINE, True, fixed=[i]) for i in (0, 3, 4)]
             + [Case(normal((40, 3)), *STATISTICS, *AFFINE, True, fixed=[0, 1, 2])],
             wrong=[refused("batch_norm", (1, 3), (3,), (3,), training=True),
                    refused("batch_norm", (1, 3, 1, 1), None, None, training=True),
                    refused("batch_norm", (2, 3), None, None), refused("batch_norm", (3,), None, None, training=True),
                    refused("batch_norm", (2, 3), (3,), None, training=True),
                    refused("batch_norm", (2, 3), (2,), (3,)), refused("batch_norm", (2, 3), (3,), (4,)),
                    refused("batch_norm", (2, 3), None, None, (2,), training=True),
                    refused("batch_norm", (2, 3), None, None, None, (1,), training=True),
                    refused("batch_norm", (2, 3), (3,), (3,), eps=-1e-5),
                    lambda m, f: f.batch_norm(m.ones(2, 3).long(), None, None, training=True)]),
    Operator("instance_norm", batches(1, 1), ours=with_statistics(F.instance_norm),
             theirs=with_statistics(TF.instance_norm),
             examples=[Case(normal((4, 3, 5, 3)), *STATISTICS, *AFFINE, training, fixed=[1, 2])
                       for training in (True, False)],
             wrong=[refused("instance_norm", (2, 3)), refused("instance_norm", (2, 3, 1)),
                    refused("instance_norm", (2, 3, 4), None, None, None, None, False),
                    refused("instance_norm", (2, 3, 4), (3,), None), refused("instance_norm", (2, 3, 4), (2,), (2,)),
                    refused("instance_norm", (2, 3, 4), None, None, (2,)),
                    refused("instance_norm", (2, 3, 4), None, None, None, (4,))]),
    Operator("group_norm", groups(), examples=[Case(normal((2, 6, 5, 3)), 2, normal((6,), 1), normal((6,), 2))],
             wrong=[refused("group_norm", (2, 6, 4), 4), refused("group_norm", (6,), 2),
                    refused("group_norm", (1, 6), 6), refused("group_norm", (2, 6, 4), 2, (2,)),
                    refused("group_norm", (2, 6, 4), 2, (6,), (3,))]),
    Operator("layer_norm", last_axes(True, EPS),
             examples=[Case(normal((2, 3, 5, 4)), [5, 4], normal((5, 4), 1), normal((5, 4), 2)),
                       Case(normal((5, 4)), (4,), None, normal((4,), 2), second=False)],  # in which PyTorch fails
             wrong=[refused("layer_norm", (2, 3), [2]), refused("layer_norm", (2, 3), []),
                    refused("layer_norm", (3,), [2, 3]), refused("layer_norm", (2, 3), [3], (2,)),
                    refused("layer_norm", (2, 3), [3], (3,), (1, 3)), refused("layer_norm", (2, 1), [True])]),
    Operator("rms_norm", last_axes(False, st.one_of(st.none(), EPS)),
             examples=[Case(normal((2, 3, 5, 4)), [5, 4], normal((5, 4), 1))],
             wrong=[refused("rms_norm", (2, 3), [2]), refused("rms_norm", (2, 3), [3], (2,))]),
    Operator("local_response_norm", responses(),
             examples=[Case(normal((2, 7, 5, 3)), size, 0.5, 0.75, 2.0) for size in (1, 2, 5, 20)],
             wrong=[refused("local_response_norm", (2, 3), 5), refused("local_response_norm", (2, 3, 4), 0)]),
    Operator("normalize", vectors(), examples=[Case(normal((2, 3, 4)))],
             wrong=[refused("normalize", (2, 3), dim=2), lambda m, f: f.normalize(m.tensor([[1, 2]]))]),
]
