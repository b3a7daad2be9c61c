"""Activations against PyTorch: at kinks, NaN, infinity and huge values too, in float32 as exactly as it can be."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

import minicnn as mc
import minicnn.functional as F

from util import assert_close, check_op, check_raises, in_both, normal, rng_of

TF = torch.nn.functional
NAN, INF = float("nan"), float("inf")
ACTIVATIONS = {  # name: choices of arguments
    "relu": [{}], "relu6": [{}], "sigmoid": [{}], "tanh": [{}], "logsigmoid": [{}],
    "leaky_relu": [{}, {"negative_slope": 0.3}, {"negative_slope": 0.0}, {"negative_slope": -0.5}],
    "elu": [{}, {"alpha": 0.4}, {"alpha": 3.0}],
    "softplus": [{}, {"beta": 0.5}, {"beta": 3.0, "threshold": 6.0}, {"threshold": 0.0}],
}
CHOICES = [(name, options) for name, choices in ACTIVATIONS.items() for options in choices]
IN_PLACE = ["relu", "relu6", "leaky_relu", "elu"]


def both(name: str, **options: object) -> tuple:
    return in_both(lambda f, x: getattr(f, name)(x, **options))


@pytest.mark.parametrize("name, options", CHOICES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (7,), (2, 3, 5, 4), (3000,)])
def test_activations(name, options, shape):
    check_op(*both(name, **options), np.asarray(normal(shape) * 4))


@pytest.mark.parametrize("name, options", CHOICES)
def test_kinks(name, options):
    """0, 6, the threshold of softplus and their neighbours. (At the threshold PyTorch's second derivative is 0.)"""
    points = np.array([0.0, -0.0, 6.0, 20.0, 2.0, -1.0, 1.0])
    check_op(*both(name, **options), np.concatenate([points + 1e-9, points - 1e-9]))
    check_op(*both(name, **options), np.append(points, [5e-324, -5e-324]), second=name != "softplus")


@pytest.mark.parametrize("name, options", CHOICES)
def test_nan_infinity_and_huge_values(name, options):
    values = np.array([INF, -INF, 1e4, -1e4, 1e30, -1e30, 750.0, -750.0, 90.0, -90.0, 1e-30])
    if name not in ("relu6", "elu"):  # PyTorch's gradients at NaN depend on the length of the array
        values = np.append(values, NAN)
    check_op(*both(name, **options), values)
    for x in values:  # one at a time: kernels may treat blocks and single numbers differently
        check_op(*both(name, **options), np.array([x]))
    assert np.isnan(both(name, **options)[0](mc.tensor([NAN])).item())


@pytest.mark.parametrize("name, options", CHOICES)
def test_memory_in_any_order(name, options):
    def program(f, x):
        return getattr(f, name)(x.permute(2, 0, 1), **options).permute(1, 0, 2).sum(1)

    check_op(*in_both(program), normal((3, 4, 5)))


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "elu", "logsigmoid", "softplus"])
def test_float32_is_exact_to_a_few_units_in_the_last_place(name):
    """Relative to each value, not to the largest: the tails count."""
    small = np.geomspace(1e-30, 10, 2000)
    x = np.concatenate([np.linspace(-80, 80, 4001), small, -small]).astype(np.float32)
    y = getattr(F, name)(mc.tensor(x)).numpy().astype(float)
    exact = getattr(TF, name)(torch.from_numpy(x).double()).numpy()
    normal_range = np.abs(exact) > 1e-37
    error = np.abs(y - exact)[normal_range] / np.abs(exact)[normal_range]
    assert error.max() < 6 * 2.0 ** -24
    assert np.abs(y - exact)[~normal_range].max(initial=0) < 1e-37


def test_relu6_keeps_small_values():
    x = np.array([1e-8, 0.3, 5.9999995], np.float32)
    np.testing.assert_array_equal(F.relu6(mc.tensor(x)).numpy(), x)


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place(name):
    """The same values and gradients, and the operation before sees that its result is gone."""
    def program(m, functions):
        x = m.tensor(normal((4, 5)) * 4, requires_grad=True)
        y = x * 2
        out = getattr(functions, name)(y, inplace=True)
        assert out is y
        (y * m.tensor(normal((4, 5), 1))).sum().backward()
        return y, x.grad

    for ours, theirs in zip(program(mc, F), program(torch, TF), strict=True):
        assert_close(ours, theirs, 1e-12)
    x = mc.tensor(normal((4, 5)), requires_grad=True)
    y = x.exp()
    getattr(F, name)(y, inplace=True)
    with pytest.raises(RuntimeError, match="ExpBackward: .* modified by an in-place operation"):
        y.sum().backward()
    r = torch.ones(2, requires_grad=True)
    check_raises(lambda: getattr(F, name)(x, inplace=True), lambda: getattr(TF, name)(r, inplace=True), "leaf tensor")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_keep_the_type(name):
    for dtype in (mc.float16, mc.bfloat16, mc.float32, mc.float64):
        x = mc.tensor([-1.0, 0.5, 2.0], dtype=dtype, requires_grad=True)
        y = getattr(F, name)(x)
        y.sum().backward()
        assert y.dtype == x.grad.dtype == dtype
        exact = getattr(TF, name)(torch.tensor([-1.0, 0.5, 2.0])).numpy()
        np.testing.assert_allclose(y.detach().float().numpy(), exact, rtol=2e-2 if dtype == mc.bfloat16 else 2e-3)


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"sigmoid", "tanh"}))
def test_activations_of_integers_are_refused(name):
    with pytest.raises(RuntimeError, match=f"{name}: x is int64; all must have the same floating type"):
        getattr(F, name)(mc.tensor([1, 2]))


@pytest.mark.parametrize("name, options", CHOICES)
def test_reference_kernels(name, options):
    with mc.use_kernels("reference"):
        check_op(*both(name, **options), np.append(normal((4, 5)) * 4, [0.0, 6.0]), second=name != "softplus")


# -- softmax and log_softmax ----------------------------------------------------------------------------------------

SOFT = ["softmax", "log_softmax"]


@st.composite
def lanes(draw: st.DrawFn) -> tuple[tuple[int, ...], int]:
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    return shape, draw(st.integers(-len(shape), len(shape) - 1))


@pytest.mark.parametrize("name", SOFT)
@given(case=lanes())
@example(case=((), 0))
@example(case=((), -1))
@example(case=((0, 3), 1))
@example(case=((3, 0), 1))
@example(case=((2, 0, 3), 2))
@example(case=((1,), 0))
@example(case=((300, 10), 1))
@example(case=((3, 1000), 1))
@example(case=((2, 21, 8, 8), 1))
def test_softmax(name, case):
    shape, dim = case
    check_op(*both(name, dim=dim), np.asarray(normal(shape) * 3))


@pytest.mark.parametrize("name", SOFT)
def test_huge_logits(name):
    x = np.array([[1e4, -1e4, 0.0], [1e300, 1e300, -1e300], [-1e4, -1e4, -1e4], [0.0, -1e4, 1e-300]])
    check_op(*both(name, dim=1), x, single=False)
    check_op(*both(name, dim=0), np.clip(x.T, -1e4, 1e4))


@pytest.mark.parametrize("name", SOFT)
def test_nan_and_infinity(name):
    x = np.array([[INF, 0.0, 1.0], [-INF, 0.0, 1.0], [NAN, 0.0, 1.0], [-INF, -INF, 2.0], [-INF, -INF, -INF],
                  [INF, INF, 0.0]])
    ours, theirs = both(name, dim=1)
    for row in x:  # one at a time: what is not NaN is compared with its own size
        check_op(ours, theirs, row[None], second=False)


@pytest.mark.parametrize("name", SOFT)
def test_log_probabilities_far_below_what_softmax_can_say(name):
    x = np.array([[0.0, -200.0, 3.0]], np.float32)
    exact = getattr(TF, name)(torch.from_numpy(x).double(), 1).numpy()
    y = getattr(F, name)(mc.tensor(x), 1).numpy()
    np.testing.assert_allclose(y[exact > 1e-37], exact[exact > 1e-37], rtol=1e-6)
    np.testing.assert_allclose(y[exact < 0], exact[exact < 0], rtol=1e-6)


def test_softmax_in_float32():
    x = (rng_of(0).standard_normal((50, 1000)) * 10).astype(np.float32)
    y = F.softmax(mc.tensor(x), 1).numpy()
    np.testing.assert_allclose(y, torch.from_numpy(x).double().softmax(1).numpy(), rtol=1e-5, atol=1e-37)
    np.testing.assert_allclose(y.sum(1), 1, rtol=1e-6)
    log = F.log_softmax(mc.tensor(x), 1).numpy()
    np.testing.assert_allclose(log, torch.from_numpy(x).double().log_softmax(1).numpy(), rtol=1e-6, atol=4e-6)


@pytest.mark.parametrize("name", SOFT)
def test_softmax_in_another_type(name):
    def program(dtype):
        return lambda f, x: getattr(f, name)(x, 1, dtype=getattr(mc if f is F else torch, dtype))

    check_op(*in_both(program("float64")), normal((3, 4)), tolerance=1e-6)
    check_op(*in_both(program("float32")), np.array([[1, 2], [3, 5]]), tolerance=1e-6)


@pytest.mark.parametrize("name", SOFT)
def test_softmax_of_memory_in_any_order(name):
    def program(f, x):
        return getattr(f, name)(x.permute(2, 0, 1), 1).permute(1, 0, 2).sum(0)

    check_op(*in_both(program), normal((3, 4, 5)))


@pytest.mark.parametrize("name", SOFT)
def test_softmax_by_reference_kernels(name):
    with mc.use_kernels("reference"):
        check_op(*both(name, dim=1), normal((3, 4, 2)))


@pytest.mark.parametrize("data, dim, match", [
    ([[1.0, 2.0]], 2, "dim 2 is out of range for a tensor with 2 axes"), ([[1.0, 2.0]], -3, "dim -3 is out of range"),
    (1.0, 1, "dim 1 is out of range"), ([[1, 2]], 1, "x is int64")])
@pytest.mark.parametrize("name", SOFT)
def test_softmax_refuses(name, data, dim, match):
    check_raises(lambda: getattr(F, name)(mc.tensor(data), dim), lambda: getattr(TF, name)(torch.tensor(data), dim),
                 f"{name}: {match}")


@pytest.mark.parametrize("name", SOFT)
def test_the_axis_must_be_given(name):
    """PyTorch guesses, with a warning."""
    with pytest.raises(TypeError, match=f"{name}: give dim, the axis to normalise over"):
        getattr(F, name)(mc.ones(2, 3))
