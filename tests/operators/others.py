"""Bilinear forms, shuffles, distances, attention."""

import math

import numpy as np
from hypothesis import strategies as st

from util import constant, normal

from .table import Case, Operator


@st.composite
def bilinears(draw: st.DrawFn) -> Case:
    left, right, outputs = (draw(st.integers(1, 4)) for _ in range(3))
    batch = draw(st.lists(st.integers(0, 3), max_size=2))
    bias = [normal((outputs,), 3)] if draw(st.booleans()) else []
    return Case(normal((*batch, left)), normal((*batch, right), 1), normal((outputs, left, right), 2), *bias)


@st.composite
def shuffles(draw: st.DrawFn, down: bool) -> Case:
    r, batch = draw(st.integers(1, 3)), draw(st.lists(st.integers(1, 2), max_size=2))  # PyTorch is wrong for 0
    c, h, w = (draw(st.integers(1, 3)) for _ in range(3))
    return Case(normal((*batch, c, h * r, w * r) if down else (*batch, c * r * r, h, w)), r)


@st.composite
def channel_shuffles(draw: st.DrawFn) -> Case:
    groups = draw(st.integers(1, 3))
    behind = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    return Case(normal((draw(st.integers(0, 2)), groups * draw(st.integers(1, 3)), *behind)), groups)


@st.composite
def vectors(draw: st.DrawFn, with_dim: bool) -> Case:
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    other = [n if draw(st.integers(0, 4)) else 1 for n in shape][draw(st.integers(0, len(shape) - 1)):]
    x, y = normal(shape), normal(other, 1)
    if draw(st.booleans()):
        x, y = y, x
    if with_dim:
        return Case(x, y, draw(st.integers(-len(shape), len(shape) - 1)), draw(st.sampled_from((1e-8, 0, 0.5, 2))))
    return Case(x, y, draw(st.sampled_from((2, 1, 3, 1.5, 0, -1, math.inf, 2.0))), draw(st.sampled_from((1e-6, 0.1))),
                draw(st.booleans()))


@st.composite
def attentions(draw: st.DrawFn) -> Case:
    places, keys, features, outputs = (draw(st.integers(low, 4)) for low in (0, 1, 1, 1))
    batch = draw(st.sampled_from(([], [2], [0], [2, 1], [1, 3])))
    heads = draw(st.sampled_from((1, 2))) if len(batch) == 2 else 1
    options: dict = {"scale": draw(st.sampled_from((None, 0.3, -1)))}
    if heads > 1:
        options["enable_gqa"] = True
    mask = draw(st.sampled_from((None, "causal", "bool", "float", "row")))
    if mask == "causal":
        options["is_causal"] = True
    elif mask == "float":
        options["attn_mask"] = normal((places, keys), 4)
        options["attn_mask"][:1] = -math.inf  # a row that may attend to nothing
    elif mask is not None:
        shape = (*batch[:1], *[1] * (len(batch) - 1), places, keys) if mask == "bool" else (1, keys)
        options["attn_mask"] = normal(shape, 4) > -0.5
    return Case(normal((*batch[:1], *[n * heads for n in batch[1:]], places, features)),
                normal((*batch, keys, features), 1), normal((*batch, keys, outputs), 2), **options, fixed=["attn_mask"],
                second=False)  # PyTorch has no second derivative of its fused kernel


def attention(f, m, *shapes, **options):
    return f.scaled_dot_product_attention(*[constant(m, shape) for shape in shapes], **options)


TABLE = [
    Operator("bilinear", bilinears(), number=25,
             examples=[Case(normal((4, 3)), normal((4, 2), 1), normal((5, 3, 2), 2))],
             wrong=[lambda m, f, shapes=shapes: f.bilinear(*[constant(m, s) for s in shapes]) for shapes in (
                 ((4, 3), (1, 2), (5, 3, 2)), ((4, 3), (4, 2), (5, 2, 3)), ((4, 3), (4, 2), (5, 6)), ((), (2,), (5, 2)),
                 ((4, 3), (4, 2), (5, 3, 2), (1,)), ((4, 3), (4, 2), (5, 3, 2), (1, 5)))]
             + [lambda m, f: f.bilinear(constant(m, (4, 3)), constant(m, (4, 2)).float(), constant(m, (5, 3, 2)))]),
    Operator("pixel_shuffle", shuffles(down=False), number=25,
             examples=[Case(np.arange(48).reshape(1, 8, 2, 3), 2), Case(normal((0, 8, 2, 3)), 2, fixed=[0])],
             wrong=[lambda m, f, case=case: f.pixel_shuffle(constant(m, case[0]), case[1]) for case in (
                 ((8, 2), 2), ((2, 6, 2, 3), 2), ((8, 2, 3), 0), ((8, 2, 3), -2), ((8, 2, 3), 2.0))]),
    Operator("pixel_unshuffle", shuffles(down=True), number=25,
             examples=[Case(np.arange(48).reshape(1, 2, 4, 6), 2)],
             wrong=[lambda m, f, case=case: f.pixel_unshuffle(constant(m, case[0]), case[1]) for case in (
                 ((4, 2), 2), ((2, 6, 3, 4), 2), ((2, 6, 4, 3), 2), ((8, 2, 4), 0), ((8, 2, 4), -2),
                 ((8, 2, 4), 2.0))]),
    Operator("channel_shuffle", channel_shuffles(), number=20, examples=[Case(np.arange(12).reshape(1, 6, 2), 3)],
             wrong=[lambda m, f, case=case: f.channel_shuffle(constant(m, case[0]), case[1]) for case in (
                 ((2, 4), 2), ((2, 5, 3), 2), ((2, 4, 3), 0), ((2, 4, 3), -2), ((2, 4, 3), 2.0))]),
    Operator("cosine_similarity", vectors(with_dim=True),
             examples=[Case(normal((2, 3)), normal((2, 3), 1)), Case(np.array([3, 4]), normal((2,)), 0),
                       Case(normal((3,)), normal((), 1), 0), Case(normal((3,)), np.array(2.0), 0, fixed=[1]),
                       Case(np.array([1e-9, -2e-9, 2e-9]), normal((3,)), 0), Case(normal(()), normal((), 1), 0)],
             wrong=[lambda m, f: f.cosine_similarity(constant(m, (2, 3)), constant(m, (2, 4))),
                    lambda m, f: f.cosine_similarity(constant(m, (2, 3)).long(), constant(m, (2, 3)).long()),
                    *[lambda m, f, eps=eps: f.cosine_similarity(constant(m, (2, 3)), constant(m, (2, 3)), 1, eps)
                      for eps in (-1.0, math.nan)]]),
    Operator("pairwise_distance", vectors(with_dim=False),
             examples=[Case(normal((2, 3)), normal((2, 3))), Case(np.array([3, 4]), normal((2, 1)))],
             wrong=[lambda m, f: f.pairwise_distance(constant(m, (2, 3)), constant(m, (2, 4))),
                    lambda m, f: f.pairwise_distance(constant(m, (2, 3)), constant(m, (2, 3)) > 0)]),
    Operator("scaled_dot_product_attention", attentions(), number=60, elsewhere=["dropout_p"],
             examples=[Case(*[normal((2, 3, n, 4), n) for n in (2, 5, 5)], second=False),
                       Case(normal((2, 3, 4)), normal((2, 0, 4)), normal((2, 0, 5)), second=False),
                       Case(normal((2, 1, 3, 4)), normal((3, 5, 4), 1), normal((5, 2), 2), normal((1, 5), 3)),
                       Case(*[normal((2, 3, 4), n) for n in range(3)], normal((3, 3)).astype("float32"), single=False)],
             wrong=[lambda m, f, case=case: attention(f, m, *case[0], **case[1]) for case in (
                 (((4,), (4,), (4,)), {}), (((3, 4), (5, 3), (5, 6)), {}), (((3, 4), (5, 4), (4, 6)), {}),
                 (((2, 3, 4), (3, 5, 4), (3, 5, 6)), {}), (((3, 4), (5, 4), (5, 6)), {"dropout_p": 1.5}),
                 (((2, 4, 3, 4), (2, 3, 5, 4), (2, 3, 5, 4)), {"enable_gqa": True}),
                 (((2, 2, 3, 4), (2, 4, 5, 4), (2, 4, 5, 4)), {"enable_gqa": True}),
                 (((3, 4), (5, 4), (5, 4)), {"enable_gqa": True}))]
             + [lambda m, f, shape=shape: attention(f, m, (2, 3, 4), (2, 5, 4), (2, 5, 6),
                                                    attn_mask=constant(m, shape)) for shape in ((3, 4), (2, 2, 3, 5))]
             + [lambda m, f: attention(f, m, (3, 4), (5, 4), (5, 6), attn_mask=constant(m, (3, 5)).long()),
                lambda m, f: attention(f, m, (3, 4), (5, 4), (5, 6), attn_mask=constant(m, (3, 5)).half()),
                lambda m, f: attention(f, m, (3, 4), (5, 4), (5, 6), attn_mask=constant(m, (3, 5)), is_causal=True)]),
]
