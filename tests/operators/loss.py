"""Losses: of numbers and distributions, of classes, with a margin, of sequences."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

import minicnn.functional as F

from util import constant, normal, rng_of, with_ties

from .table import Case, Operator

TF = torch.nn.functional
SHAPES = st.sampled_from([(), (1,), (4,), (2, 3), (2, 3, 2), (0, 3)])
REDUCTIONS = st.sampled_from(["none", "mean", "sum"])
SEEDS = st.integers(0, 1000)


def numbers(draw: st.DrawFn, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
    return np.asarray(normal(shape, draw(SEEDS)) * scale)


def values(draw: st.DrawFn, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of every size, or whole ones, which meet each other and the kinks."""
    return with_ties(shape, draw(SEEDS)) if draw(st.booleans()) else numbers(draw, shape, 2)


def positive(draw: st.DrawFn, shape: tuple[int, ...], least: float = 0.1, most: float = 2.0) -> np.ndarray:
    return np.asarray(rng_of(draw(SEEDS)).uniform(least, most, shape))


def one_of(draw: st.DrawFn, shape: tuple[int, ...], choices: Sequence) -> np.ndarray:
    return np.asarray(rng_of(draw(SEEDS)).choice(choices, shape))


# -- of numbers and of distributions --------------------------------------------------------------------------------

@st.composite
def differences(draw: st.DrawFn, weighted: bool = True, **options: list[float]) -> Case:
    """Two tensors of one shape, and each option with one of its values."""
    shape = draw(SHAPES)
    given: dict[str, Any] = {name: draw(st.sampled_from(choices)) for name, choices in options.items()}
    if weighted and draw(st.booleans()):
        given["weight"] = positive(draw, shape)
    return Case(values(draw, shape), values(draw, shape), reduction=draw(REDUCTIONS), **given)


@st.composite
def divergences(draw: st.DrawFn) -> Case:
    shape, log_target = draw(SHAPES), draw(st.booleans())
    target = numbers(draw, shape) if log_target else positive(draw, shape)
    if not log_target and draw(st.booleans()):
        return Case(numbers(draw, shape), one_of(draw, shape, [0.0, 0.5, 1.0]), fixed=[1],  # the slope at 0 is NaN
                    reduction=draw(REDUCTIONS))
    return Case(numbers(draw, shape), target, reduction=draw(st.one_of(REDUCTIONS, st.just("batchmean"))),
                log_target=log_target)


def quiet_kl_div(*tensors: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 'mean' divides by more than the batch
        return TF.kl_div(*tensors, **options)


@st.composite
def counts(draw: st.DrawFn) -> Case:
    shape, log_input, full = draw(SHAPES), draw(st.booleans()), draw(st.booleans())
    input = numbers(draw, shape) if log_input else positive(draw, shape)
    return Case(input, one_of(draw, shape, [0.0, 1.0, 1.5, 2.0, 30.0]), fixed=[1] if full else [], log_input=log_input,
                full=full, eps=draw(st.sampled_from([1e-8, 0.5])), reduction=draw(REDUCTIONS))


@st.composite
def variances(draw: st.DrawFn) -> Case:
    shape = draw(st.sampled_from([(3,), (2, 3), (4, 2, 3), (0, 3)]))
    axis = draw(st.integers(0, len(shape) - 1))
    thin = (*shape[:axis], 1, *shape[axis + 1:])
    var = draw(st.sampled_from([0.5, 2.0, shape, thin, shape[:-1]]))
    if isinstance(var, tuple):
        var = positive(draw, var)
    return Case(numbers(draw, shape), normal(draw(st.sampled_from([shape, thin])), draw(SEEDS)), var,
                full=draw(st.booleans()), eps=draw(st.sampled_from([1e-6, 0.7])), reduction=draw(REDUCTIONS))


# -- of classes -----------------------------------------------------------------------------------------------------

@st.composite
def classes(draw: st.DrawFn, smoothing: bool) -> Case:
    """Logits, class numbers (some to be ignored) and options."""
    number, extra = draw(st.integers(1, 6)), tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    shape = (draw(st.sampled_from([0, 1, 2, 5])), number, *extra) if extra or draw(st.booleans()) else (number,)
    rng = rng_of(draw(SEEDS))
    target = rng.integers(0, number, shape[:1] * (len(shape) > 1) + shape[2:])
    ignore_index = draw(st.sampled_from([-100, -1, 0, number - 1, 999]))
    target = np.asarray(np.where(rng.random(target.shape) < draw(st.sampled_from([0, 0.4, 1])), ignore_index, target))
    options = {"label_smoothing": draw(st.sampled_from([0.0, 0.0, 0.1, 0.5, 1.0]))} if smoothing else {}
    reduction, weight = draw(REDUCTIONS), positive(draw, (number,)) if draw(st.booleans()) else None
    return Case(numbers(draw, shape, 3), target, weight, fixed=[2],
                # where there is nothing to take the mean of, PyTorch's second derivative is NaN
                second=reduction != "mean" or bool((target != ignore_index).any()),
                ignore_index=ignore_index, reduction=reduction, **options)


@st.composite
def soft_classes(draw: st.DrawFn) -> Case:
    shape = draw(st.sampled_from([(3, 4), (1, 2), (5,), (2, 3, 2), (2, 3, 2, 2), (1, 1), (0, 3)]))
    axis = min(len(shape) - 1, 1)
    target = np.exp(numbers(draw, shape))
    weight = positive(draw, shape[axis:axis + 1]) if draw(st.booleans()) else None
    return Case(numbers(draw, shape, 3), target / target.sum(axis, keepdims=True), weight,
                fixed=draw(st.sampled_from([(1, 2), (2,)])), reduction=draw(REDUCTIONS),
                label_smoothing=draw(st.sampled_from([0.0, 0.1, 1.0])))


@st.composite
def yes_or_no(draw: st.DrawFn, logits: bool) -> Case:
    shape, reduction = draw(SHAPES), draw(REDUCTIONS)
    options: dict[str, Any] = {}
    for name in ("weight", "pos_weight") if logits else ("weight",):
        if draw(st.booleans()):
            options[name] = positive(draw, draw(st.sampled_from([shape, shape[-1:], ()])))
    input = numbers(draw, shape, 3) if logits else positive(draw, shape, 0.02, 0.98)
    return Case(input, positive(draw, shape, 0, 1), fixed=[*options], reduction=reduction, **options)


# -- with a margin --------------------------------------------------------------------------------------------------

@st.composite
def signed(draw: st.DrawFn, **options: list[float]) -> Case:
    """A tensor and signs of its shape."""
    shape = draw(SHAPES)
    signs = draw(st.sampled_from([[-1.0, 1.0], [-1, 1], [-1, 0, 1]]))
    return Case(values(draw, shape), one_of(draw, shape, signs), fixed=[1], reduction=draw(REDUCTIONS),
                **{name: draw(st.sampled_from(choices)) for name, choices in options.items()})


@st.composite
def rankings(draw: st.DrawFn) -> Case:
    shapes = draw(st.sampled_from([((), (), ()), ((4,), (4,), (4,)), ((2, 3),) * 3, ((3, 1), (1, 4), (3, 4)),
                                   ((2, 3), (1, 3), (1, 1)), ((0,), (0,), (0,))]))
    return Case(*[values(draw, shape) for shape in shapes[:2]], one_of(draw, shapes[2], [-1.0, 1.0]),
                margin=draw(st.sampled_from([0, 1.0, -0.5])), reduction=draw(REDUCTIONS))


@st.composite
def multi_margins(draw: st.DrawFn) -> Case:
    number, reduction = draw(st.integers(1, 5)), draw(REDUCTIONS)
    shape = draw(st.sampled_from([(number,), (1, number), (4, number), (0, number)]))
    if 0 in shape:
        reduction = "none"  # the others are whatever was in memory in PyTorch
    target = draw(st.sampled_from([(), (1,)])) if len(shape) == 1 else shape[:1]
    return Case(values(draw, shape), one_of(draw, target, range(number)),
                second=False,  # PyTorch has none
                fixed=["weight"], p=draw(st.sampled_from([1, 2])), margin=draw(st.sampled_from([1.0, 0.5, 0.0, -1.0])),
                weight=draw(st.one_of(st.none(), st.just(positive(draw, (number,))))), reduction=reduction)


@st.composite
def label_lists(draw: st.DrawFn) -> Case:
    number, batch = draw(st.integers(1, 5)), draw(st.sampled_from([None, 0, 1, 4]))
    rng = rng_of(draw(SEEDS))
    rows = [np.where(rng.permutation(number) < rng.integers(0, number + 1), rng.permutation(number), -1)
            for _ in range(1 if batch is None else batch)]
    target = rows[0] if batch is None else np.array(rows, int).reshape(batch, number)
    return Case(values(draw, target.shape), target, second=False,  # PyTorch has none
                reduction="none" if batch == 0 else draw(REDUCTIONS))


@st.composite
def label_sets(draw: st.DrawFn) -> Case:
    shape = draw(st.sampled_from([(4,), (2, 3), (2, 3, 2), (0, 3)]))
    weight = positive(draw, draw(st.sampled_from([shape, shape[-1:], ()]))) if draw(st.booleans()) else None
    return Case(numbers(draw, shape, 3), one_of(draw, shape, [0.0, 1.0, 0.3]), weight, fixed=[2],
                reduction=draw(REDUCTIONS))


@st.composite
def cosines(draw: st.DrawFn) -> Case:
    shapes = draw(st.sampled_from([((3,), (3,), ()), ((4, 3), (4, 3), (4,)), ((1, 3), (4, 3), (4,)),
                                   ((4, 3), (4, 3), (1,)), ((0, 3), (0, 3), (0,))]))
    return Case(values(draw, shapes[0]), numbers(draw, shapes[1]), one_of(draw, shapes[2], [-1, 1, 1, 0]),
                margin=draw(st.sampled_from([0, 0.5, -0.3])), reduction=draw(REDUCTIONS))


@st.composite
def triplets(draw: st.DrawFn, **options: list) -> Case:
    shapes = draw(st.sampled_from([((3,),) * 3, ((4, 3),) * 3, ((2, 2, 3),) * 3, ((1, 3), (4, 3), (4, 3)),
                                   ((0, 3),) * 3]))
    return Case(*[numbers(draw, shape) for shape in shapes], margin=draw(st.sampled_from([1.0, 0.2, 5.0])),
                swap=draw(st.booleans()), reduction=draw(REDUCTIONS),
                **{name: draw(st.sampled_from(choices)) for name, choices in options.items()})


# -- of sequences ---------------------------------------------------------------------------------------------------

@st.composite
def sequences(draw: st.DrawFn) -> Case:
    """Logits and targets, some of them empty, with repeated labels, or too long for the input."""
    frames, number, longest = draw(st.integers(1, 7)), draw(st.integers(2, 4)), draw(st.integers(0, 4))
    batch, blank, rng = draw(st.sampled_from([None, 1, 3])), draw(st.integers(0, number - 1)), rng_of(draw(SEEDS))
    n = batch or 1
    targets = rng.choice([c for c in range(number) if c != blank], (n, longest))
    lengths = rng.integers(0, longest + 1, n)
    inputs = rng.integers(0, frames + 1, n) if draw(st.booleans()) else np.full(n, frames)
    if draw(st.booleans()):
        targets = np.concatenate([t[:length] for t, length in zip(targets, lengths, strict=True)])
    else:
        targets[np.arange(longest) >= lengths[:, None]] = blank  # padding may hold anything
    if draw(st.booleans()):
        inputs, lengths = tuple(inputs.tolist()), tuple(lengths.tolist())
    elif batch is None:
        inputs, lengths = inputs.reshape(()), lengths.reshape(())
    return Case(numbers(draw, (frames, n, number) if batch else (frames, number), 2), targets, inputs, lengths,
                second=False,  # PyTorch has none
                blank=blank, reduction=draw(REDUCTIONS), zero_infinity=draw(st.booleans()))


def wrong_ctc(targets: Any, inputs: Any, lengths: Any, shape: tuple[int, ...] = (6, 2, 4), **options: Any):
    """A call of ctc_loss that is wrong; right are targets (2, 3), inputs (6, 5), lengths (3, 2)."""
    return lambda m, f: f.ctc_loss(constant(m, shape), m.tensor(targets), inputs, lengths, **options)


TARGETS = [[1, 2, 2], [3, 1, 0]]


def two(name: str, *shapes: tuple[int, ...], **options: Any):
    """A call of two tensors of these shapes that is wrong."""
    return lambda m, f: getattr(f, name)(*[constant(m, shape) for shape in shapes], **options)


TABLE = [
    Operator("mse_loss", differences(), examples=[Case(normal((2, 3)), normal((2, 3), 1))], wrong=[
        two("mse_loss", (3,), (3,), reduction="avg"),
        lambda m, f: f.mse_loss(m.ones(3), m.ones(3), weight=m.ones(1)),
        lambda m, f: f.mse_loss(m.tensor([1, 2]), m.tensor([1, 2]))]),
    Operator("l1_loss", differences(), examples=[Case(normal((2, 3)), normal((2, 3), 1))], wrong=[
        two("l1_loss", (3,), (3,), reduction="avg"), lambda m, f: f.l1_loss(m.ones(3), m.ones(3).bool())]),
    Operator("smooth_l1_loss", differences(weighted=False, beta=[0.0, 0.5, 1.0, 2.5]),
             wrong=[two("smooth_l1_loss", (3,), (3,), beta=-1.0),
                    lambda m, f: f.smooth_l1_loss(m.ones(3), m.ones(3).bool(), beta=0)]),
    Operator("huber_loss", differences(delta=[0.5, 1.0, 2.5]), wrong=[
        two("huber_loss", (3,), (3,), delta=0.0), lambda m, f: f.huber_loss(m.ones(3), m.ones(3), weight=m.ones(1))]),
    Operator("kl_div", divergences(), theirs=quiet_kl_div, wrong=[
        two("kl_div", (3,), (3,), reduction="avg"),
        lambda m, f: f.kl_div(m.ones(3), m.tensor([1, 1, 1]), reduction="sum")]),
    Operator("poisson_nll_loss", counts(), wrong=[
        two("poisson_nll_loss", (3,), (3,), reduction="avg"), two("poisson_nll_loss", (3,), (2,)),
        lambda m, f: f.poisson_nll_loss(m.ones(3), m.ones(3).bool(), full=True)]),
    Operator("gaussian_nll_loss", variances(), wrong=[
        two("gaussian_nll_loss", (3,), (3,), var=-1.0), two("gaussian_nll_loss", (3,), (3,), var=None),
        two("gaussian_nll_loss", (3,), (2,), var=1.0),
        lambda m, f: f.gaussian_nll_loss(m.ones(2), m.ones(2), m.tensor([1.0, -1.0])),
        lambda m, f: f.gaussian_nll_loss(m.ones(2, 3), m.ones(2, 3), m.ones(2, 2)),
        lambda m, f: f.gaussian_nll_loss(m.ones(2, 3, 4), m.ones(2, 3, 4), m.ones(2, 1, 1)),
        two("gaussian_nll_loss", (3,), (3,), var=1.0, reduction="avg")]),
    Operator("cross_entropy", st.one_of(classes(smoothing=True), soft_classes()), number=150, examples=[
        Case(normal((5, 4)), np.array([3, 0, 1, 1, 2])), Case(normal((200, 10)), np.arange(200) % 10),
        Case(normal((2, 3, 2)), np.full((2, 2), -100), np.ones(3), fixed=[2], second=False, label_smoothing=0.1),
        Case(normal((3, 2)), np.array([0, 1, -100]), np.zeros(2), fixed=[2], second=False)], wrong=[
            lambda m, f: f.cross_entropy(m.ones(2, 3), m.tensor([0, 1], dtype=m.int32))]),
    Operator("nll_loss", classes(smoothing=False), number=60, examples=[
        Case(normal((2, 3, 2)), np.full((2, 2), -100), second=False),
        Case(normal((3, 2)), np.array([0, 1, -100]), np.zeros(2), fixed=[2], second=False)], wrong=[
            lambda m, f: f.nll_loss(m.ones(2, 3), m.tensor([0, 1], dtype=m.int32)),
            lambda m, f: f.nll_loss(m.ones(1, 3, 2), m.tensor([[0, 1]], dtype=m.uint8))]),
    Operator("binary_cross_entropy", yes_or_no(logits=False), examples=[
        Case(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.25]), fixed=[1], second=False,
             single=False)], wrong=[
        lambda m, f: f.binary_cross_entropy(m.ones(3), m.ones(3), m.ones(2, 1)),
        lambda m, f: f.binary_cross_entropy(m.ones(3), m.ones(3), m.ones(2)),
        *[lambda m, f, t=t: f.binary_cross_entropy(m.ones(2), m.tensor([1.0, t])) for t in (2.0, -0.1, math.nan)]]),
    Operator("binary_cross_entropy_with_logits", yes_or_no(logits=True), wrong=[
        lambda m, f: f.binary_cross_entropy_with_logits(m.ones(3), m.ones(3), m.ones(2, 1)),
        lambda m, f: f.binary_cross_entropy_with_logits(m.ones(3), m.ones(3), pos_weight=m.ones(2, 1))]),
    Operator("hinge_embedding_loss", signed(margin=[1.0, 0.5, -1.0]), wrong=[
        two("hinge_embedding_loss", (3,), (2,)), lambda m, f: f.hinge_embedding_loss(m.tensor([1]), m.tensor([1])),
        two("hinge_embedding_loss", (3,), (3,), reduction="avg")]),
    Operator("soft_margin_loss", signed(), wrong=[two("soft_margin_loss", (3,), (3, 1)),
                                                  lambda m, f: f.soft_margin_loss(m.tensor([1]), m.tensor([1]))]),
    Operator("margin_ranking_loss", rankings(), wrong=[two("margin_ranking_loss", (3,), (3,), (3, 1)),
                                                       two("margin_ranking_loss", (3,), (3,), (3,), reduction="avg"),
        lambda m, f: f.margin_ranking_loss(m.ones(3), m.ones(3), m.ones(3).bool())]),
    Operator("multi_margin_loss", multi_margins(), examples=[
        Case(np.array(1.5), np.array(0), p=2.0, second=False),
        Case(np.array(1.5), np.array([0]), True, reduction="none", second=False)], wrong=[
        lambda m, f: f.multi_margin_loss(m.ones(2, 3), m.tensor([0, 1]), p=3),
        lambda m, f: f.multi_margin_loss(m.ones(2, 3), m.tensor([0, 3])),
        lambda m, f: f.multi_margin_loss(m.ones(2, 3), m.tensor([0, -1])),
        lambda m, f: f.multi_margin_loss(m.ones(2, 3), m.tensor([0])),
        *[lambda m, f, dtype=dtype: f.multi_margin_loss(m.ones(2, 3), m.tensor([0, 1]).to(getattr(m, dtype)))
          for dtype in ("float32", "int32", "uint8")],
        lambda m, f: f.multi_margin_loss(m.ones(2, 0), m.tensor([0, 0])),
        lambda m, f: f.multi_margin_loss(m.ones(1, 2, 3), m.tensor([0])),
        lambda m, f: f.multi_margin_loss(m.ones(2, 3), m.tensor([0, 1]), weight=m.ones(2))]),
    Operator("multilabel_margin_loss", label_lists(), examples=[
        Case(np.array(1.5), np.array(0), second=False), Case(np.array([1.5]), np.array(0), second=False),
        Case(np.array(1.5), np.array([-1]), reduction="none", second=False)], wrong=[
        lambda m, f: f.multilabel_margin_loss(m.ones(1, 2), m.tensor([[0, 2]])),
        lambda m, f: f.multilabel_margin_loss(m.ones(1, 2), m.tensor([[-2, 0]])),
        lambda m, f: f.multilabel_margin_loss(m.ones(1, 2), m.tensor([[0]])),
        lambda m, f: f.multilabel_margin_loss(m.ones(1, 2), m.ones(1, 2))]),
    Operator("multilabel_soft_margin_loss", label_sets(), wrong=[
        two("multilabel_soft_margin_loss", (), ()), two("multilabel_soft_margin_loss", (2, 3), (2, 4)),
        lambda m, f: f.multilabel_soft_margin_loss(m.tensor([1]), m.tensor([1])),
        two("multilabel_soft_margin_loss", (2, 3), (2, 3), reduction="avg")]),
    Operator("cosine_embedding_loss", cosines(), wrong=[
        two("cosine_embedding_loss", (4, 3), (4, 3), (3,)), two("cosine_embedding_loss", (4, 3), (4, 3), ()),
        two("cosine_embedding_loss", (4, 3), (4, 3), (4, 1)), two("cosine_embedding_loss", (4, 3), (4, 2), (4,)),
        two("cosine_embedding_loss", (3,), (3,), (), reduction="avg")]),
    Operator("triplet_margin_loss", triplets(p=[1.0, 2, 3.0, 0.5], eps=[1e-6, 0.1]), wrong=[
        two("triplet_margin_loss", (4, 3), (4, 3), (3,)), two("triplet_margin_loss", (4, 3), (4, 3), (4, 2)),
        two("triplet_margin_loss", (4, 3), (4, 3), (4, 3), margin=0.0),
        two("triplet_margin_loss", (4, 3), (4, 3), (4, 3), reduction="avg")]),
    Operator("triplet_margin_with_distance_loss", triplets(distance_function=[
        None, lambda a, b: (a - b).abs().sum(-1), lambda a, b: 1 - (a * b).sum(-1)]), wrong=[
        two("triplet_margin_with_distance_loss", (4, 3), (4, 3), (3,)),
        two("triplet_margin_with_distance_loss", (4, 3), (4, 3), (4, 3), margin=-1.0),
        two("triplet_margin_with_distance_loss", (4, 3), (4, 3), (4, 3), reduction="avg")]),
    Operator("ctc_loss", sequences(), number=100, ours=lambda x, *a, **o: F.ctc_loss(F.log_softmax(x, -1), *a, **o),
             theirs=lambda x, *a, **o: TF.ctc_loss(TF.log_softmax(x, -1), *a, **o), wrong=[
        wrong_ctc(TARGETS, (7, 5), (3, 2)), wrong_ctc(TARGETS, (6, -1), (3, 2)), wrong_ctc(TARGETS, (6, 5), (4, 2)),
        wrong_ctc(TARGETS, (6, 5), (3, -1)), wrong_ctc(TARGETS, (6,), (3, 2)), wrong_ctc(TARGETS, (6, 5), (3,)),
        wrong_ctc(TARGETS, (6.0, 5.0), (3, 2)), wrong_ctc(TARGETS, (6, 5), (3, 2), blank=4),
        wrong_ctc(TARGETS, (6, 5), (3, 2), blank=-1), wrong_ctc([1, 2, 2, 3], (6, 5), (3, 2)),
        wrong_ctc([1, 2, 2, 3, 1, 1], (6, 5), (3, 2)), wrong_ctc(TARGETS[:1], (6, 5), (3, 2)),
        wrong_ctc([TARGETS], (6, 5), (3, 2)), wrong_ctc(TARGETS, (6, 5), (3, 2), shape=(6, 0, 4)),
        wrong_ctc(TARGETS, (0, 0), (3, 2), shape=(0, 2, 4)), wrong_ctc(TARGETS, (6, 5), (3, 2), shape=(2, 6, 2, 4)),
        wrong_ctc(TARGETS, (6, 5), (3, 2), reduction="batchmean"),
        lambda m, f: f.ctc_loss(m.ones(6, 2, 4).long(), m.tensor(TARGETS), (6, 5), (3, 2))]),
]
