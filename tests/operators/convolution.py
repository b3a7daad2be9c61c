"""Convolution in one to three axes, transposed too, and the columns of images."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st

from util import constant, normal

from .table import Case, Operator

TF = torch.nn.functional
BATCHES = st.sampled_from([(), (0,), (1,), (2,), (3,)])


def per_axis(axes: int, low: int, high: int) -> st.SearchStrategy:
    return st.lists(st.integers(low, high), min_size=axes, max_size=axes).map(tuple)


def shortest(values: tuple[int, ...]) -> Any:
    """A number where all axes have the same."""
    return values[0] if len(set(values)) == 1 else values


@st.composite
def convolutions(draw: st.DrawFn, axes: int, largest: int) -> Case:
    """A convolution that fits; sizes go up to ``largest`` beyond the smallest that does."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    c, o = draw(st.integers(1, 3)) * groups, draw(st.integers(1, 3)) * groups
    kernel, dilation = draw(per_axis(axes, 1, 4)), draw(per_axis(axes, 1, 3))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel)]
    padding = draw(st.one_of(per_axis(axes, 0, 3), st.sampled_from(["same", "valid", "full"])))
    stride = (1,) * axes if padding == "same" else draw(per_axis(axes, 1, 3))
    pads = padding if isinstance(padding, tuple) else [0] * axes if padding == "valid" else [r - 1 for r in reach]
    size = [max(1, r - 2 * p) + draw(st.integers(0, largest)) for r, p in zip(reach, pads)]
    bias = [normal((o,), 2)] if draw(st.booleans()) else []
    return Case(normal((*draw(BATCHES), c, *size)), normal((o, c // groups, *kernel), 1), *bias,
                stride=shortest(stride), padding=shortest(padding) if isinstance(padding, tuple) else padding,
                dilation=shortest(dilation), groups=groups)


def with_full(convolution: Callable) -> Callable:
    """PyTorch's convolution, with the padding that it lacks, and without its remark on even kernels."""
    def call(x: torch.Tensor, w: torch.Tensor, *bias: torch.Tensor, padding: Any = 0, dilation: Any = 1,
             **options: Any) -> torch.Tensor:
        if padding == "full":
            each = (dilation,) * (w.ndim - 2) if isinstance(dilation, int) else dilation
            padding = tuple(d * (k - 1) for d, k in zip(each, w.shape[2:]))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Using padding='same' with even kernel")
            return convolution(x, w, *bias, padding=padding, dilation=dilation, **options)

    return call


@st.composite
def transposed(draw: st.DrawFn, axes: int, largest: int) -> Case:
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    c, o = draw(st.integers(1, 3)) * groups, draw(st.integers(1, 3)) * groups
    kernel, stride, dilation = (draw(per_axis(axes, 1, 3)) for _ in range(3))
    more = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation))
    size = draw(per_axis(axes, 1, largest))
    whole = [(n - 1) * s + d * (k - 1) + m + 1 for n, s, d, k, m in zip(size, stride, dilation, kernel, more)]
    padding = tuple(draw(st.integers(0, min(3, (n - 1) // 2))) for n in whole)
    bias = [normal((o,), 2)] if draw(st.booleans()) else []
    return Case(normal((*draw(BATCHES), c, *size)), normal((c, o // groups, *kernel), 1), *bias,
                stride=shortest(stride), padding=shortest(padding), output_padding=shortest(more), groups=groups,
                dilation=shortest(dilation))


@st.composite
def windows(draw: st.DrawFn, columns: bool) -> Case:
    """An image, or its columns."""
    kernel, dilation, padding, stride = (draw(per_axis(2, *bounds)) for bounds in ((1, 3), (1, 2), (0, 2), (1, 3)))
    size = tuple(max(1, d * (k - 1) + 1 - 2 * p) + draw(st.integers(0, 4))
                 for k, d, p in zip(kernel, dilation, padding))
    x = normal((*draw(BATCHES), draw(st.integers(1, 3)), *size))
    if not columns:
        return Case(x, kernel, dilation, padding, stride)
    shape = TF.unfold(torch.from_numpy(x), kernel, dilation, padding, stride).shape
    return Case(normal(shape), size, kernel, dilation, padding, stride)


def refused(name: str, x: tuple, w: tuple, b: tuple | None = None, **options: Any) -> Callable:
    """A call with these shapes."""
    return lambda m, f: getattr(f, name)(constant(m, x), constant(m, w), None if b is None else constant(m, b),
                                         **options)


def wrong(axes: int, transposed: bool) -> list[Callable]:
    """What convolutions of these axes must refuse."""
    name = f"conv_transpose{axes}d" if transposed else f"conv{axes}d"
    n, k = (5,) * axes, (3,) * axes
    w = (2, 3, *k) if transposed else (3, 2, *k)
    x = (1, 2, *n)
    calls = [refused(name, (1, 3, *n), w), refused(name, (1, 4, *n), w, groups=3),
             refused(name, x, w, groups=0), refused(name, x, w, groups=-1), refused(name, x, w, groups=1.0),
             refused(name, x, w, (2,)),
             refused(name, x, w, (3, 1)), refused(name, n, w), refused(name, (1, *x), w), refused(name, x, w[:-1]),
             refused(name, (1, 2, *n[1:], 0), w), refused(name, x, (0, *w[1:])), refused(name, x, (*w[:-1], 0)),
             refused(name, x, w, padding=-1), refused(name, x, w, padding=1.5), refused(name, x, w, padding="Same")]
    for argument in ("stride", "dilation"):
        calls += [refused(name, x, w, **{argument: value}) for value in (0, (1,) * (axes + 1), 1.5, (), "2")]
    calls.append(lambda m, f: getattr(f, name)(constant(m, x), constant(m, w).float()))
    types = [("bool", "bool"), ("int64", "float64"), ("float64", "int64")] + [("int32", "int32")] * transposed
    calls += [lambda m, f, a=a, b=b: getattr(f, name)(constant(m, x).to(getattr(m, a)),
                                                      constant(m, w).to(getattr(m, b))) for a, b in types]
    if transposed:
        return calls + [refused(name, x, w, output_padding=1), refused(name, x, w, stride=2, output_padding=2),
                        refused(name, x, w, stride=2, output_padding=-1),
                        refused(name, (1, 2, *[1] * axes), w, padding=2)]
    return calls + [refused(name, (1, 2, *n[1:], 2), w), refused(name, x, w, dilation=3, padding=0),
                    refused(name, x, w, padding="same", stride=2)]


def columns(name: str, shape: tuple, *arguments: Any) -> Callable:
    return lambda m, f: getattr(f, name)(constant(m, shape), *arguments)


def whole(axes: int, channels: int = 4, dtype: str = "int64", **options: Any) -> Case:
    """A convolution of integers."""
    shapes = (2, 4, *[4] * axes), (4, channels, *[2] * axes), (4,)
    return Case(*[(normal(shape, i) * 30).astype("int16").astype(dtype) for i, shape in enumerate(shapes)], **options)


def example(x: tuple, w: tuple, bias: bool = True, **options: Any) -> Case:
    return Case(normal(x), normal(w, 1), *[normal((w[0],), 2)] * bias, **options)


TABLE = [
    Operator("conv1d", convolutions(1, 6), theirs=with_full(TF.conv1d), wrong=wrong(1, False),
             examples=[example((2, 3, 7), (4, 3, 3)), example((2, 4, 9), (4, 1, 2), stride=2, groups=4),
                       example((3, 9), (2, 3, 4), padding="same", dilation=(2,)), whole(1, padding="same")]),
    Operator("conv2d", convolutions(2, 5), number=60, theirs=with_full(TF.conv2d), wrong=wrong(2, False), examples=[
        whole(2), whole(2, dtype="uint8", stride=2, padding=1), whole(2, 1, "int32", groups=4),
        example((2, 3, 5, 7), (4, 3, 1, 1)), example((2, 4, 6, 5), (4, 1, 3, 3), groups=4, padding=1),
        example((2, 4, 6, 5), (8, 1, 3, 2), False, groups=4, stride=(2, 1)), example((1, 2, 9, 4), (3, 2, 9, 4)),
        example((2, 2, 9, 8), (3, 2, 2, 2), stride=(4, 3)), example((1, 2, 1, 1), (3, 2, 3, 3), padding=1),
        example((3, 6, 5), (2, 3, 3, 2)), example((1, 1, 12, 11), (2, 1, 3, 4), padding="same", dilation=(3, 2)),
        example((2, 17, 8, 9), (19, 17, 3, 3), padding=1), example((1, 2, 5, 6), (2, 2, 2, 3), stride=(2,)),
        example((1, 2, 5, 6), (2, 2, 2, 3), stride=[1, 2], padding=[1, 0], dilation=[2, 1]),
        example((2, 2, 5, 6), (3, 2, 3, 2), stride=(10**5, 7), padding=1)]),
    Operator("conv3d", convolutions(3, 2), number=30, theirs=with_full(TF.conv3d), wrong=wrong(3, False), examples=[
        whole(3, 2, groups=2),
        example((2, 3, 4, 5, 6), (4, 3, 3, 2, 3), padding=1),
        example((2, 4, 5, 4, 3), (4, 1, 2, 3, 1), groups=4, stride=(2, 1, 2)),
        example((2, 2, 1, 5, 5), (3, 2, 3, 3, 3), padding=1),
        example((1, 2, 2, 3, 4), (3, 2, 2, 1, 2), padding=(3, 1, 0), stride=(3, 1, 1))]),
    Operator("conv_transpose1d", transposed(1, 5), wrong=wrong(1, True), examples=[
        whole(1, padding=1),
        Case(normal((1, 1, 3)), normal((1, 1, 2), 1), stride=1, padding=1, dilation=3, output_padding=2)]),
    Operator("conv_transpose2d", transposed(2, 4), wrong=wrong(2, True), examples=[
        whole(2, stride=2, output_padding=1),
        Case(normal((2, 3, 4, 5)), normal((3, 2, 3, 2), 1), normal((2,), 2), stride=2, padding=1, output_padding=1),
        Case(normal((2, 4, 3, 4)), normal((4, 1, 3, 3), 1), groups=4),
        Case(normal((2, 3, 3, 4)), normal((3, 3, 2, 3), 1), normal((3,), 2)),  # as many channels out as in
        Case(normal((2, 2, 1, 1)), normal((2, 3, 3, 2), 1), stride=100, padding=(1, 0), output_padding=(0, 99)),
        Case(normal((0, 2, 3, 4)), normal((2, 3, 2, 3), 1), padding=(2, 1)),
        Case(normal((1, 2, 3, 4)), normal((2, 1, 2, 2), 1), stride=(1, 2), dilation=(4, 3), output_padding=(3, 2))]),
    Operator("conv_transpose3d", transposed(3, 3), number=30, wrong=wrong(3, True), examples=[
        whole(3),
        Case(normal((2, 2, 2, 3, 4)), normal((2, 3, 3, 2, 3), 1), normal((3,), 2), stride=2, output_padding=1),
        Case(normal((1, 2, 3, 2, 2)), normal((2, 1, 2, 2, 1), 1), padding=(2, 0, 0), dilation=(3, 1, 1),
             output_padding=(2, 0, 0)),
        Case(normal((0, 2, 3, 3, 3)), normal((2, 3, 2, 2, 2), 1), normal((3,), 2), padding=2)]),
    Operator("unfold", windows(columns=False), examples=[
        Case(normal((2, 2, 5, 4)), 2), Case(normal((2, 2, 5, 4)) > 0, 2, 1, 1)], wrong=[
        columns("unfold", *call) for call in (
            ((1, 2, 3, 3), 4), ((1, 0, 4, 4), 2), ((1, 2, 0, 4), 2, 1, 1), ((4, 4), 2), ((1, 2, 4, 4), 0),
            ((1, 2, 4, 4), 2, 0), ((1, 2, 4, 4), 2, 1, -1), ((1, 2, 4, 4), 2, 1, 0, 0), ((1, 2, 4, 4), (1, 2, 3)),
            ((1, 2, 4, 4), (2,)), ((1, 2, 4, 4), 2, (1,)), ((1, 2, 4, 4), 2, 1, (0,)),
            ((1, 2, 4, 4), 2, 1, 0, (1,)))]
        + [lambda m, f: f.unfold(constant(m, (1, 2, 3, 3)).long(), 2)]),
    Operator("fold", windows(columns=True), examples=[
        Case(normal((8, 9)), (4, 4), 2), Case(normal((8, 9)) > 0, (4, 4), 2)], wrong=[
        columns("fold", *call) for call in (
            ((1, 8, 8), (4, 4), 2), ((1, 7, 9), (4, 4), 2), ((1, 0, 9), (4, 4), 2), ((9,), (4, 4), 2),
            ((1, 1, 8, 9), (4, 4), 2), ((1, 4, 0), (1, 3), 2), ((1, 9, 1), (1, 1), 3), ((1, 8, 9), 0, 2),
            ((1, 8, 9), (4, 4), 2, 1, -1), ((1, 8, 9), (4,), 2), ((1, 8, 9), 4, (2,)),
            ((1, 8, 9), 4, 2, 1, (0,)))]
        + [lambda m, f: f.fold(constant(m, (8, 9)).long(), 4, 2)]),
]
