"""Pooling against PyTorch: output, places, first and second gradients; with padding, ceil_mode, dilation, ties, NaN."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import minicnn as mc
import minicnn.functional as F

from util import assert_close, check_op, check_raises, distinct, in_both, normal, rng_of

TF = torch.nn.functional
NAN, INF = float("nan"), float("inf")


def pairs(low: int, high: int) -> st.SearchStrategy:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def windows(draw: st.DrawFn, dilated: bool) -> tuple[tuple[int, ...], dict]:
    """The shape of x and arguments of a pooling that fits."""
    kernel, dilation = draw(pairs(1, 4)), draw(pairs(1, 3)) if dilated else (1, 1)
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    size = [max(d, d * (k - 1) + 1 - 2 * p) + draw(st.integers(0, 5))
            for k, d, p in zip(kernel, dilation, padding, strict=True)]
    options = {"kernel_size": kernel, "stride": draw(st.one_of(st.none(), pairs(1, 4))), "padding": padding,
               "ceil_mode": draw(st.booleans())}
    if dilated:
        options["dilation"] = dilation
    batch = draw(st.sampled_from([(), (0,), (1,), (2,), (3,)]))
    return (*batch, draw(st.integers(1, 3)), *size), options


@settings(max_examples=60)
@given(windows(dilated=True), st.booleans())
@example(((2, 3, 6, 7), {"kernel_size": 2}), False)
@example(((2, 1, 7, 5), {"kernel_size": 3, "stride": 2, "padding": 1}), True)
@example(((1, 2, 5, 4), {"kernel_size": (2, 3), "stride": (3, 1), "ceil_mode": True}), True)
@example(((1, 2, 5, 4), {"kernel_size": (5, 4)}), True)
def test_max_pool2d(case, return_indices):
    shape, options = case
    check_op(*in_both(lambda f, x: f.max_pool2d(x, return_indices=return_indices, **options)), distinct(shape))


@given(windows(dilated=True), st.integers(0, 1000))
def test_ties_take_the_first_as_in_pytorch(case, seed):
    shape, options = case
    values = rng_of(seed).integers(0, 3, shape).astype(float)
    check_op(*in_both(lambda f, x: f.max_pool2d(x, return_indices=True, **options)), values)


@given(windows(dilated=True), st.integers(0, 1000))
def test_nan_and_inf_win_as_in_pytorch(case, seed):
    shape, options = case
    values = rng_of(seed).choice([NAN, INF, -INF, -INF, 0.0, 1.0, 2.0, -1.0], shape)
    check_op(*in_both(lambda f, x: f.max_pool2d(x, return_indices=True, **options)), values)


def test_places_of_padded_windows_count_in_the_image():
    x = mc.tensor(np.arange(12.0).reshape(1, 3, 4))
    y, index = F.max_pool2d(x, 3, 2, 1, return_indices=True)
    assert index.dtype == mc.int64 and not index.requires_grad
    assert_close(y, x.numpy().reshape(-1)[index.numpy()], 0)


def test_max_pool2d_of_integers():
    x = normal((2, 3, 6, 5)) * 10
    check_op(*in_both(lambda f, x: f.max_pool2d(x, 2, padding=1)), x.astype(np.int64))


@settings(max_examples=60)
@given(windows(dilated=False), st.booleans(), st.sampled_from([None, None, 1, 3, -2]))
@example(((2, 3, 6, 7), {"kernel_size": 2}), True, None)
@example(((1, 2, 5, 4), {"kernel_size": (2, 3), "stride": (3, 1), "padding": (1, 1), "ceil_mode": True}), True, None)
@example(((1, 2, 5, 4), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}), False, None)
def test_avg_pool2d(case, count_include_pad, divisor_override):
    shape, options = case
    options = {**options, "count_include_pad": count_include_pad, "divisor_override": divisor_override}
    check_op(*in_both(lambda f, x: f.avg_pool2d(x, **options)), normal(shape))


SIZES = st.one_of(st.none(), st.integers(1, 8))
OUTPUT_SIZES = st.one_of(st.integers(1, 8), st.tuples(SIZES, SIZES),
                         st.lists(st.integers(1, 8), min_size=2, max_size=2))


@st.composite
def adaptive(draw: st.DrawFn) -> tuple[tuple[int, ...], object]:
    batch = draw(st.sampled_from([(), (0,), (1,), (3,)]))
    return (*batch, draw(st.integers(1, 3)), *draw(pairs(1, 9))), draw(OUTPUT_SIZES)


@given(adaptive())
@example(((2, 3, 7, 5), 1))
@example(((2, 3, 2, 3), (5, 7)))
@example(((2, 3, 4, 6), (2, 3)))
def test_adaptive_pooling(case):
    shape, size = case
    check_op(*in_both(lambda f, x: f.adaptive_avg_pool2d(x, size)), normal(shape))
    indices = {"return_indices": True}
    check_op(*in_both(lambda f, x: f.adaptive_max_pool2d(x, size, **indices)), distinct(shape))
    check_op(*in_both(lambda f, x: f.adaptive_max_pool2d(x, size)), np.round(normal(shape)))


@pytest.mark.parametrize("size", [0, (0, 2), (3, 0)])
@pytest.mark.parametrize("name", ["adaptive_avg_pool2d", "adaptive_max_pool2d"])
def test_adaptive_pooling_to_nothing(name, size):
    x = normal((2, 3, 4, 6))
    check_op(*in_both(lambda f, x: getattr(f, name)(x, size)), x, constant=(0,))
    leaf = mc.tensor(x, requires_grad=True)  # PyTorch has no gradient here
    getattr(F, name)(leaf, size).sum().backward()
    assert_close(leaf.grad, np.zeros_like(x), 0)


def test_adaptive_max_pooling_of_nan_and_ties():
    values = rng_of(3).choice([NAN, INF, -INF, 0.0, 1.0], (2, 3, 7, 6))
    check_op(*in_both(lambda f, x: f.adaptive_max_pool2d(x, (3, 4), True)), values)


@pytest.mark.parametrize("name, arguments", [("max_pool2d", (2, 1)), ("avg_pool2d", (3, 2, 1)),
                                             ("adaptive_avg_pool2d", (3,)), ("adaptive_max_pool2d", (2,))])
def test_memory_in_any_order(name, arguments):
    def program(functions, x):
        return getattr(functions, name)(x.permute(3, 2, 0, 1), *arguments).permute(2, 0, 3, 1)

    check_op(*in_both(program), distinct((6, 5, 2, 3)))
    check_op(*in_both(lambda f, x: program(f, x).sum((0, 2))), distinct((6, 5, 2, 3)))  # gy with strides 0


def test_average_pooling_adds_up_in_enough_digits():
    """60,000 times 0.1 in float32 is off by 1e-4 if added one after the other."""
    x = np.full((1, 1, 300, 200), 0.1, np.float32)
    assert abs(F.adaptive_avg_pool2d(mc.tensor(x), 1).item() - np.float32(0.1)) < 1e-6
    assert abs(F.avg_pool2d(mc.tensor(x), (300, 200)).item() - np.float32(0.1)) < 1e-6


@given(windows(dilated=True), windows(dilated=False))
@settings(max_examples=10)
def test_reference_kernels(case, averaged):
    with mc.use_kernels("reference"):
        shape, options = case
        check_op(*in_both(lambda f, x: f.max_pool2d(x, return_indices=True, **options)), np.round(normal(shape)))
        shape, options = averaged
        check_op(*in_both(lambda f, x: f.avg_pool2d(x, **options)), normal(shape))


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize("x, options, match", [
    ((1, 2, 3, 3), {"kernel_size": 4}, r"a window of 4 \(dilation 1\) does not fit into 3 with padding 0"),
    ((1, 2, 4, 4), {"kernel_size": 0}, "kernel_size = 0 must be an integer of at least 1"),
    ((1, 2, 4, 4), {"kernel_size": (1, 2, 3)}, "kernel_size = .* must be"),
    ((1, 2, 4, 4), {"kernel_size": 2.0}, "kernel_size = 2.0 must be"),
    ((1, 2, 4, 4), {"kernel_size": 2, "stride": 0}, "stride = 0 must be"),
    ((1, 2, 4, 4), {"kernel_size": 2, "padding": -1}, "padding = -1 must be"),
    ((1, 2, 4, 4), {"kernel_size": 2, "padding": 2}, r"padding \(2, 2\) is larger than half of kernel \(2, 2\)"),
    ((1, 2, 4, 4), {"kernel_size": (4, 2), "padding": (2, 2)}, "larger than half"),
    ((4, 4), {"kernel_size": 2}, r"x must be \(N, C, H, W\) or \(C, H, W\)"),
    ((1, 1, 1, 4, 4), {"kernel_size": 2}, "x must be"),
    ((1, 0, 4, 4), {"kernel_size": 2}, "C, H, W > 0"),
    ((1, 2, 0, 4), {"kernel_size": 2}, "C, H, W > 0"),
])
def test_pooling_refuses(name, x, options, match):
    check_raises(lambda: getattr(F, name)(mc.ones(*x), **options), lambda: getattr(TF, name)(torch.ones(x), **options),
                 f"{name}: .*{match}")


@pytest.mark.parametrize("call, match", [
    (lambda m, f: f.max_pool2d(m.ones(1, 1, 4, 4), 2, dilation=0), "dilation = 0 must be"),
    (lambda m, f: f.max_pool2d(m.ones(1, 1, 4, 4), 3, dilation=2), r"a window of 3 \(dilation 2\) does not fit into 4"),
    (lambda m, f: f.avg_pool2d(m.ones(1, 1, 4, 4), 2, divisor_override=0), "divisor_override must not be 0"),
    (lambda m, f: f.adaptive_avg_pool2d(m.ones(1, 1, 4, 4), -1), "output_size = .* must be an integer of at least 0"),
    (lambda m, f: f.adaptive_avg_pool2d(m.ones(1, 1, 4, 4), (2,)), "output_size = .* must be an integer, a pair"),
    (lambda m, f: f.adaptive_max_pool2d(m.ones(1, 1, 4, 4), (2, 2, 2)), "output_size = .* must be an integer, a pair"),
    (lambda m, f: f.adaptive_max_pool2d(m.ones(1, 1, 4, 4), 1.5), "output_size = .* must be"),
    (lambda m, f: f.adaptive_avg_pool2d(m.ones(4, 4), 2), "x must be"),
    (lambda m, f: f.adaptive_max_pool2d(m.ones(1, 2, 0, 4), 2), "C, H, W > 0"),
    (lambda m, f: f.adaptive_avg_pool2d(m.ones(1, 1, 4, 4).to(m.bool), 2), "x is bool"),
])
def test_other_refusals(call, match):
    check_raises(lambda: call(mc, F), lambda: call(torch, TF), match)


@pytest.mark.parametrize("n, k, s, d", [(1, 2, 2, 3), (2, 2, 2, 4), (2, 3, 5, 3)])
def test_a_window_that_steps_over_the_image_is_refused(n, k, s, d):
    """PyTorch returns −inf and a place outside the image, to which its backward writes."""
    assert torch.isinf(TF.max_pool2d(torch.ones(1, 1, n, n), k, s, 1, d, ceil_mode=True)).all()
    with pytest.raises(RuntimeError, match="max_pool2d: a window of .* steps over the whole image"):
        F.max_pool2d(mc.ones(1, 1, n, n), k, s, 1, d, ceil_mode=True)
