"""Activations at kinks, NaN, infinity and huge values, in place, in every type, in float32 as exactly as it can be.

What they compute for ordinary numbers, and what they refuse, is in operators/activation.py.
"""

import numpy as np
import pytest
import torch
from operators.activation import CONVERTED, FLOAT_CONSTANTS, INTEGERS, PARAMETERS

import minicnn as mc
import minicnn.functional as F
from minicnn.autograd import gradgradcheck

from util import assert_close, check_op, check_raises, distinct, in_both, normal, rng_of

TF = torch.nn.functional
NAN, INF = float("nan"), float("inf")
CHOICES = [(name, options) for name, choices in PARAMETERS.items() for options in choices]
IN_PLACE = ["relu", "relu6", "leaky_relu", "rrelu", "elu", "celu", "selu", "silu", "mish", "hardtanh", "hardsigmoid",
            "hardswish", "threshold"]
COMPOSED = ["sigmoid", "tanh", "tanhshrink"]  # whose gradient is computed from a rounded y, or in which x cancels


def both(name: str, **options: object) -> tuple:
    return in_both(lambda f, x: getattr(f, name)(x, **options))


def check(name: str, options: dict, x: np.ndarray, **how: bool) -> None:
    check_op(*both(name, **options), x, tolerance=1e-7 if name in FLOAT_CONSTANTS else 1e-10, **how)


@pytest.mark.parametrize("name, options", CHOICES)
def test_kinks(name, options):
    """The bounds, 0 and their neighbours. (At the threshold of softplus PyTorch's second derivative is 0.)"""
    points = np.array([0.0, -0.0, 6.0, 20.0, 2.0, -1.0, 1.0, 0.5, -0.5, 3.0, -3.0, 1.3, -1.3, 0.3, -0.3])
    check(name, options, np.concatenate([points + 1e-9, points - 1e-9]), second=name != "hardsigmoid")
    check(name, options, np.append(points, [5e-324, -5e-324]), second=name not in ("softplus", "hardsigmoid"))


@pytest.mark.parametrize("name, options", CHOICES)
def test_nan_infinity_and_huge_values(name, options):
    values = np.array([INF, -INF, 1e4, -1e4, 1e30, -1e30, 750.0, -750.0, 90.0, -90.0, 1e-30])
    if name not in ("elu", "celu", "selu", "hardsigmoid"):  # PyTorch's gradients there depend on the place in the array
        values = np.append(values, NAN)
    for x in (values, *values[:, None]):  # also one at a time: kernels may treat blocks and single numbers differently
        check(name, options, x, second=False, single=options or name != "gelu")  # PyTorch's gelu of ∞ in float32 is NaN
    assert np.isnan(both(name, **options)[0](mc.tensor([NAN])).item())


@pytest.mark.parametrize("name, options", CHOICES)
def test_memory_in_any_order(name, options):
    def program(f, x):
        return getattr(f, name)(x.permute(2, 0, 1), **options).permute(1, 0, 2).sum(1)

    check_op(*in_both(program), normal((3, 4, 5)), second=name != "hardsigmoid",
             tolerance=1e-7 if name in FLOAT_CONSTANTS else 1e-10)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "elu", "selu", "logsigmoid", "softplus", "silu", "gelu", "mish"])
def test_float32_is_exact_to_a_few_units_in_the_last_place(name):
    """Relative to each value, not to the largest: the tails count."""
    small = np.geomspace(1e-30, 10, 2000)
    x = np.concatenate([np.linspace(-80, 80, 4001), small, -small]).astype(np.float32)
    if name == "gelu":  # an error of x counts x² times in Φ(x)
        x = x[x > -5]
    y = getattr(F, name)(mc.tensor(x)).numpy().astype(float)
    exact = getattr(TF, name)(torch.from_numpy(x).double()).numpy()
    if name == "gelu":  # in PyTorch's, 1 + erf cancels
        exact = x.astype(float) * torch.special.ndtr(torch.from_numpy(x).double()).numpy()
    normal_range = np.abs(exact) > 1e-37
    error = np.abs(y - exact)[normal_range] / np.abs(exact)[normal_range]
    assert error.max() < (24 if name == "gelu" else 6) * 2.0 ** -24
    assert np.abs(y - exact)[~normal_range].max(initial=0) < 1e-37


def test_relu6_keeps_small_values():
    x = np.array([1e-8, 0.3, 5.9999995], np.float32)
    np.testing.assert_array_equal(F.relu6(mc.tensor(x)).numpy(), x)


def required(name: str) -> tuple:
    return (0.3, -2.0) if name == "threshold" else ()


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place(name):
    """The same values and gradients, and the operation before sees that its result is gone."""
    def program(m, functions):
        x = m.tensor(normal((4, 5)) * 4, requires_grad=True)
        y = x * 2
        out = getattr(functions, name)(y, *required(name), inplace=True)
        assert out is y
        (y * m.tensor(normal((4, 5), 1))).sum().backward()
        return y, x.grad

    for ours, theirs in zip(program(mc, F), program(torch, TF), strict=True):
        assert_close(ours, theirs, 1e-7 if name in FLOAT_CONSTANTS else 1e-12)
    x = mc.tensor(normal((4, 5)), requires_grad=True)
    y = x.exp()
    getattr(F, name)(y, *required(name), inplace=True)
    with pytest.raises(RuntimeError, match="ExpBackward: .* modified by an in-place operation"):
        y.sum().backward()
    r = torch.ones(2, requires_grad=True)
    check_raises(lambda: getattr(F, name)(x, *required(name), inplace=True),
                 lambda: getattr(TF, name)(r, *required(name), inplace=True), "leaf tensor")


@pytest.mark.parametrize("name", PARAMETERS)
def test_activations_keep_the_type(name):
    """Half precision is computed in float32 and rounded once."""
    values = distinct((60,)) + 0.03
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        x = mc.tensor(values, dtype=dtype, requires_grad=True)
        y = getattr(F, name)(x, *required(name))
        y.sum().backward()
        assert y.dtype == x.grad.dtype == x.dtype
        exact = torch.tensor(x.detach().double().numpy(), requires_grad=True)
        expected = getattr(TF, name)(exact, *required(name))
        expected.sum().backward()
        unit = {"float16": 2.0 ** -11, "bfloat16": 2.0 ** -8, "float32": 1e-6, "float64": 1e-7}[dtype]
        slack = 6 if name in COMPOSED else 1.01
        for ours, theirs in ((y, expected), (x.grad, exact.grad)):
            np.testing.assert_allclose(ours.detach().double().numpy(), theirs.detach().numpy(), rtol=slack * unit,
                                       atol=slack * unit if name in COMPOSED else unit / 100)


@pytest.mark.parametrize("name", sorted(set(PARAMETERS) - {*INTEGERS, *CONVERTED}))
def test_activations_of_integers_are_refused(name):
    with pytest.raises(RuntimeError, match=f"{name}: x is int64; must be of a floating type"):
        getattr(F, name)(mc.tensor([1, 2]))


@pytest.mark.parametrize("name, options", CHOICES)
def test_reference_kernels(name, options):
    with mc.use_kernels("reference"):
        check(name, options, np.append(normal((4, 5)) * 4, [0.0, 6.0]), second=name not in ("softplus", "hardsigmoid"))


# -- where chance has a say -----------------------------------------------------------------------------------------

def test_random_slopes():
    x = np.where(normal((40, 500)) > 0, 1.0, -1.0)
    x[0, :3] = 0.0, INF, -INF
    t = mc.tensor(x, requires_grad=True)
    y = F.rrelu(t, 0.2, 0.6, training=True)
    slopes = -y.detach().numpy()[x == -1]
    assert (y.detach().numpy()[x > 0] == x[x > 0]).all()
    assert 0.2 <= slopes.min() and slopes.max() <= 0.6 and abs(slopes.mean() - 0.4) < 0.005
    assert abs(slopes.std() - 0.4 / np.sqrt(12)) < 0.005
    y[1:].sum().backward()
    np.testing.assert_allclose(t.grad.numpy()[1:], y.detach().numpy()[1:] / x[1:])
    assert gradgradcheck(lambda s: F.rrelu(s, 0.2, 0.6, True, generator=mc.Generator(1)), mc.tensor(normal((3, 4)),
                                                                                                    requires_grad=True))
    again, other = [F.rrelu(mc.tensor(x), 0.2, 0.6, True, generator=mc.Generator(seed)) for seed in (5, 6)]
    np.testing.assert_array_equal(F.rrelu(mc.tensor(x), 0.2, 0.6, True, generator=mc.Generator(5)), again)
    assert (again != other).any()


# -- ours -----------------------------------------------------------------------------------------------------------

def test_maxout_gives_ties_to_the_first():
    x = mc.tensor([[1.0, 1.0, 0.0, 2.0, 3.0, 3.0]], requires_grad=True)
    y = F.maxout(x, 3)
    assert y.tolist() == [[1.0, 3.0]]
    y.sum().backward()
    assert x.grad.tolist() == [[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]]


def test_maxout_refuses():
    for pieces in (0, 4):
        with pytest.raises(ValueError, match=f"maxout: pieces = {pieces} must be at least 1 and divide the length 6"):
            F.maxout(mc.ones(2, 6, 3), pieces)
    with pytest.raises(IndexError, match="maxout: dim 3 is out of range"):
        F.maxout(mc.ones(2, 6, 3), 2, 3)


def test_celu_refuses_a_negative_alpha():
    """PyTorch has no use for it either."""
    with pytest.raises(RuntimeError, match="celu: alpha = -1.0 must be positive"):
        F.celu(mc.ones(2), -1.0)


# -- softmax and its relatives --------------------------------------------------------------------------------------

SOFT = ["softmax", "log_softmax", "softmin"]


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


@pytest.mark.parametrize("name", SOFT)
def test_the_axis_must_be_given(name):
    """PyTorch guesses, with a warning."""
    with pytest.raises(TypeError, match=f"{name}: give dim, the axis to normalise over"):
        getattr(F, name)(mc.ones(2, 3))


@pytest.mark.parametrize("name", SOFT)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_softmax_of_half_precision(name, dtype):
    """Its sums of many terms are those of float32."""
    x = mc.tensor(normal((3, 2000)), dtype=dtype, requires_grad=True)
    y = getattr(F, name)(x, 1)
    exact = getattr(TF, name)(torch.tensor(x.detach().double().numpy()), dim=1)
    unit = 2.0 ** -11 if dtype == "float16" else 2.0 ** -8
    np.testing.assert_allclose(y.detach().double().numpy(), exact.numpy(), rtol=1.01 * unit, atol=2.0 ** -24)
    assert getattr(F, name)(mc.zeros(3, 0, dtype=dtype), 1).shape == (3, 0)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == x.dtype


@pytest.mark.parametrize("name", SOFT)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_softmax_in_a_type(name, dtype):
    for x in (normal((2, 3)), np.array([[1, 2, 3], [0, -1, 5]])):
        check_op(lambda t: getattr(F, name)(t, 1, dtype=getattr(mc, dtype)),
                 lambda t: getattr(TF, name)(t, 1, dtype=getattr(torch, dtype)), x, tolerance=1e-6, second=False)
