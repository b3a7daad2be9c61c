"""Functions of single elements against PyTorch: values, gradients, types, special values."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import minicnn as mc
from minicnn import backend
from minicnn.kernels import reference
from util import agree, assert_close, check_op, distinct, normal, refused, rng_of

SHAPES = st.sampled_from([(), (1,), (5,), (0, 3), (2, 3), (3, 1, 4)])
SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.5, 3.5, 30.0, -30.0, 800.0, -800.0, 1e-30, np.inf, -np.inf,
                    np.nan])

# each function with the interval to draw its argument from
DOMAINS = {
    "acos": (-0.95, 0.95), "acosh": (1.1, 5), "asin": (-0.95, 0.95), "asinh": (-5, 5), "atan": (-5, 5),
    "atanh": (-0.95, 0.95), "ceil": (-5, 5), "cos": (-9, 9), "cosh": (-3, 3), "deg2rad": (-400, 400), "erf": (-5, 5),
    "erfc": (-5, 5), "exp": (-3, 3), "exp2": (-3, 3), "expm1": (-3, 3), "floor": (-5, 5), "frac": (-5, 5),
    "log": (0.1, 9), "log10": (0.1, 9), "log1p": (-0.9, 9), "log2": (0.1, 9), "rad2deg": (-9, 9),
    "reciprocal": (0.2, 3), "round": (-5, 5), "rsqrt": (0.2, 5), "sigmoid": (-6, 6), "sign": (-5, 5), "sin": (-9, 9),
    "sinh": (-3, 3), "sqrt": (0.1, 9), "square": (-3, 3), "tan": (-1.4, 1.4), "tanh": (-4, 4), "trunc": (-5, 5),
}
TESTS = ("isfinite", "isinf", "isnan", "isneginf", "isposinf", "signbit")


def drawn(shape, low, high, seed):
    """Random numbers of an interval, apart from the whole and half numbers, where floor and round jump."""
    x = rng_of(seed).uniform(low, high, shape)
    near = np.abs(2 * x - np.rint(2 * x)) < 0.02
    return np.where(near, x + 0.01 * np.copysign(1, (low + high) / 2 - x), x)


@pytest.mark.parametrize("name", DOMAINS)
@given(shape=SHAPES, seed=st.integers(0, 99))
def test_values_and_two_orders_of_gradients(name, shape, seed):
    check_op(getattr(mc, name), getattr(torch, name), drawn(shape, *DOMAINS[name], seed))


@pytest.mark.parametrize("name", DOMAINS)
def test_special_values_and_their_gradients(name):
    x, ref = mc.tensor(SPECIAL, requires_grad=True), torch.from_numpy(SPECIAL).requires_grad_()
    y, expected = getattr(mc, name)(x), getattr(torch, name)(ref)
    scale = np.abs(expected.detach().numpy()[np.isfinite(expected.detach().numpy())]).max()
    assert_close(y.detach().numpy() / scale, expected.detach().numpy() / scale, 1e-14)
    (gx,), (expected,) = mc.autograd.grad(y.sum(), x), torch.autograd.grad(expected.sum(), ref)
    finite = np.isfinite(expected.numpy())
    np.testing.assert_array_equal(gx.numpy()[~finite], expected.numpy()[~finite])
    np.testing.assert_allclose(gx.numpy()[finite], expected.numpy()[finite], rtol=1e-12)


@pytest.mark.parametrize("name", (*DOMAINS, *TESTS))
@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, np.bool_])
def test_integers(name, dtype):
    a = np.array([0, 1, 3, 100]).astype(dtype)
    try:
        expected = getattr(torch, name)(torch.from_numpy(a))
    except (RuntimeError, NotImplementedError):
        with pytest.raises(TypeError, match=f"{name}: {np.dtype(dtype)}"):
            getattr(mc, name)(mc.tensor(a))
    else:
        assert_close(getattr(mc, name)(mc.tensor(a)), expected, 1e-6)


@pytest.mark.parametrize("name", DOMAINS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_types_of_16_bits_are_kept_and_as_exact_as_they_can_be(name, dtype):
    a = drawn((40,), *DOMAINS[name], 0)
    x = mc.tensor(a).to(dtype).requires_grad_()
    y = getattr(mc, name)(x)
    assert y.dtype == x.dtype
    exact = mc.tensor(np.asarray(x.detach().data, np.float64))
    expected = getattr(mc, name)(exact).numpy()
    unit = {"float16": 2.0 ** -10, "bfloat16": 2.0 ** -7}[dtype]
    np.testing.assert_allclose(y.detach().data.astype(np.float64), expected, rtol=2 * unit, atol=2 * unit * 0.01)
    y.sum().backward()
    assert x.grad.dtype == x.dtype


@pytest.mark.parametrize("name", TESTS)
def test_predicates(name):
    check_op(getattr(mc, name), getattr(torch, name), SPECIAL)
    check_op(getattr(mc, name), getattr(torch, name), np.array(-np.inf))


def test_a_test_of_elements_needs_a_tensor():
    for name in TESTS:
        refused(lambda m, name=name: getattr(m, name)(1.0), f"{name}: input must be a Tensor")


@pytest.mark.parametrize("name", ["exp", "log", "tanh", "sigmoid", "erf", "rsqrt", "tan", "asin", "sinh", "reciprocal"])
def test_third_derivatives(name):
    x = mc.tensor(drawn((3, 2), *DOMAINS[name], 5), requires_grad=True)
    gy = mc.tensor(normal((3, 2), 1), requires_grad=True)

    def second(x, gy):
        (gx,) = mc.autograd.grad(getattr(mc, name)(x), x, gy, create_graph=True)
        return mc.autograd.grad(gx.square().sum(), x, create_graph=True)[0]

    assert mc.autograd.gradcheck(second, (x, gy))


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_the_fused_gradient_is_the_formulas(name, monkeypatch):
    x = mc.tensor(normal((4, 5)), requires_grad=True)
    gy = mc.tensor(normal((4, 5), 1))
    calls = []
    kernel = getattr(reference, f"{name}_grad")
    monkeypatch.setattr(reference, f"{name}_grad", lambda gy, y: calls.append(1) or kernel(gy, y))
    with backend.use_kernels("reference"):
        (fused,) = mc.autograd.grad(getattr(mc, name)(x), x, gy)
        assert calls == [1]
        (formula,) = mc.autograd.grad(getattr(mc, name)(x), x, gy, create_graph=True)
        assert calls == [1]
    assert formula.requires_grad and not fused.requires_grad
    assert_close(fused, formula.detach().numpy(), 1e-15)


def test_names_of_functions_and_nodes():
    x = mc.tensor([0.5], requires_grad=True)
    for name in DOMAINS:
        function = getattr(mc, name)
        assert function.__doc__ and getattr(mc.Tensor, name) is function.__wrapped__
        assert function.__name__ == name and function(x).grad_fn.name == name.capitalize() + "Backward"
    for alias, name in {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arcsinh": "asinh", "arccosh": "acosh",
                        "arctanh": "atanh", "fix": "trunc", "sgn": "sign"}.items():
        assert getattr(mc, alias) is getattr(mc, name)
        assert getattr(torch, alias)(torch.ones(1)).equal(getattr(torch, name)(torch.ones(1)))


@pytest.mark.parametrize("name", ["exp", "square", "sin"])
def test_what_is_not_a_tensor_is_refused(name):
    refused(lambda m: getattr(m, name)(1.0), f"{name}: input must be a Tensor")


# -- the error function ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["erf", "erfc"])
def test_error_function_to_the_last_places(name):
    x = np.concatenate([np.linspace(-7, 30, 20_001), [0.46875, -0.46875, 4, -4], np.geomspace(1e-300, 1, 200)])
    expected = np.array([getattr(math, name)(v) for v in x])
    normal_numbers = np.abs(expected) > np.finfo(np.float64).tiny
    y = getattr(mc, name)(mc.tensor(x)).numpy()
    np.testing.assert_allclose(y[normal_numbers], expected[normal_numbers], rtol=1e-15, atol=0)
    y = getattr(mc, name)(mc.tensor(x.astype(np.float32))).numpy()
    expected = np.array([getattr(math, name)(float(v)) for v in x.astype(np.float32)])
    normal_numbers = np.abs(expected) > np.finfo(np.float32).tiny
    np.testing.assert_allclose(y[normal_numbers], expected[normal_numbers], rtol=1e-6, atol=0)


def test_error_function_of_more_than_one_block_and_of_views():
    x = normal((3, 50_000))
    check_op(mc.erf, torch.erf, x[:, ::2], second=False)
    agree(lambda m, x: m.erfc(x.mT), x[:2], second=False)


# -- rounding, NaN --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("decimals", [0, 1, 3, -1, -2])
def test_round(decimals):
    x = np.array([0.0, 0.5, 1.5, -2.5, 0.25, 0.35, 12.345, -1234.5678, 150.0, 250.0, np.inf])
    agree(lambda m, x: m.round(x, decimals=decimals), x)


def test_round_of_integers():
    a = np.array([149, 151])
    check_op(mc.round, torch.round, a)
    refused(lambda m: m.from_numpy(a).round(decimals=-1), "decimals = -1")


@pytest.mark.parametrize("options", [{}, {"nan": 2.0}, {"posinf": 5.0}, {"neginf": -1.0, "nan": 1.0}, {"nan": None}])
def test_nan_to_num(options):
    agree(lambda m, x: x.nan_to_num(**options), SPECIAL)
    agree(lambda m, x: x.nan_to_num(**options), np.array([1, 2]))
    agree(lambda m, x: x.nan_to_num(**options), np.array(np.nan))


def test_nan_to_num_of_16_bits():
    x = SPECIAL.astype(np.float16)
    np.testing.assert_array_equal(mc.tensor(x).nan_to_num().numpy(), torch.from_numpy(x).nan_to_num().numpy())
    expected = torch.tensor([math.inf, math.nan], dtype=torch.bfloat16).nan_to_num().tolist()
    assert mc.tensor([math.inf, math.nan]).bfloat16().nan_to_num().tolist() == expected


# -- two and three operands -----------------------------------------------------------------------------------------

PAIRS = st.sampled_from([((3,), (3,)), ((2, 3), (3,)), ((), (2, 3)), ((2, 1), (1, 4)), ((0, 3), (3,)), ((), ())])


@given(shapes=PAIRS, seed=st.integers(0, 99))
def test_logaddexp_and_hypot(shapes, seed):
    a, b = distinct(shapes[0], seed), normal(shapes[1], seed + 100)
    positive = np.asarray(np.abs(b) + 0.1)
    for constant in ((), (0,), (1,)):
        check_op(mc.logaddexp, torch.logaddexp, a, b, constant=constant)
        check_op(mc.hypot, torch.hypot, a, b, constant=constant)
        check_op(mc.xlogy, torch.xlogy, a, positive, constant=constant)


@pytest.mark.parametrize("name", ["logaddexp", "hypot", "xlogy"])
def test_pairs_of_special_values(name):
    a, b = np.meshgrid(np.array([0.0, 1.0, -2.0, np.inf, -np.inf, np.nan, 1e200]), SPECIAL)
    check_op(getattr(mc, name), getattr(torch, name), a, b, second=False, single=False)


def test_functions_of_pairs_of_integers():
    a, b = np.array([0, 2, 3]), np.array([1, 2, 0])
    check_op(mc.xlogy, torch.xlogy, a, b)
    agree(lambda m, x: m.xlogy(2.0, x), np.array([0.0, 1.5]))
    agree(lambda m, x: m.xlogy(x, 2), np.array([0.0, 1.5]))
    for name in ("logaddexp", "hypot"):
        check_op(getattr(mc, name), getattr(torch, name), a, np.array([0.5, -1.5, 2.0]))
        refused(lambda m, name=name: getattr(m, name)(m.from_numpy(a), m.from_numpy(b)), f"{name}: int64")


@given(shapes=PAIRS, weight=st.sampled_from([0.0, 0.25, 0.5, 1.0, -0.75, 2.0]), seed=st.integers(0, 99))
def test_lerp(shapes, weight, seed):
    a, b = normal(shapes[0], seed), normal(shapes[1], seed + 100)
    agree(lambda m, a, b: m.lerp(a, b, weight), a, b)
    check_op(mc.lerp, torch.lerp, a, b, normal(shapes[1], 7))
    check_op(mc.lerp, torch.lerp, a, b, np.array(weight), constant=[0, 1])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_lerp_of_16_bits_is_rounded_once(dtype):
    a, b = 1000 * normal((50,)), 1000 * normal((50,), 1)
    ours = mc.lerp(mc.tensor(a).to(dtype), mc.tensor(b).to(dtype), 0.3)
    theirs = torch.lerp(*[torch.tensor(x).to(getattr(torch, dtype)) for x in (a, b)], 0.3)
    assert str(ours.dtype) == dtype
    assert_close(ours.double(), theirs.double(), 0)


def test_lerp_reaches_its_end_exactly():
    a, b = mc.tensor(np.float32([1e8, 3.0])), mc.tensor(np.float32([1.1, -7.3]))
    assert mc.lerp(a, b, 1.0).tolist() == b.tolist() and mc.lerp(a, b, 0.0).tolist() == a.tolist()


def test_lerp_refuses_mixed_types():
    refused(lambda m: m.lerp(m.ones(2), m.ones(2, dtype=m.float64), 0.5), "lerp: end is float64, input is float32")
    refused(lambda m: m.lerp(m.ones(2), m.ones(2), m.ones(2, dtype=m.float64)), "lerp: weight is float64")
    refused(lambda m: m.lerp(m.ones(2, dtype=m.int64), m.ones(2, dtype=m.int64), 0.5), "lerp: int64")
    w = np.array(0.5)  # without axes, any floating type will do
    agree(lambda m, a, b: m.lerp(a, b, m.from_numpy(w)), np.float32([1, 2]), np.float32([3, 5]))


@given(shapes=st.sampled_from([((2, 3), (3,), (2, 1)), ((), (), ()), ((3,), (2, 3), ()), ((0,), (1,), (1,))]),
       value=st.sampled_from([1, 2, -0.5]), seed=st.integers(0, 99))
def test_addcmul_and_addcdiv(shapes, value, seed):
    a, b, c = (distinct(shape, seed + i) for i, shape in enumerate(shapes))
    for name in ("addcmul", "addcdiv"):
        agree(lambda m, *x, name=name: getattr(m, name)(*x, value=value), a, b, c)


def test_addcmul_and_addcdiv_of_integers():
    a = np.array([1, 2])
    agree(lambda m, a: m.addcmul(a, a, a, value=3), a)
    refused(lambda m: m.addcmul(*[m.ones(2, dtype=m.bool)] * 3), "addcmul: bool")
    with pytest.raises(RuntimeError, match="addcmul: value = 0.5 must be an integer"):  # PyTorch takes it for 0
        mc.addcmul(*[mc.from_numpy(a)] * 3, value=0.5)
    for name in ("addcmul", "addcdiv"):  # computed in the type of the result
        mixed = [distinct((2, 3), i).astype(t) for i, t in enumerate(("float64", "float16", "float32"))]
        ours, theirs = (getattr(m, name)(*map(m.from_numpy, mixed), value=True) for m in (mc, torch))
        assert_close(ours, theirs, 1e-14)
    refused(lambda m: m.addcdiv(m.ones(2), m.from_numpy(a), m.from_numpy(a)), "addcdiv: int64 and int64")


def test_heaviside():
    values = np.array([0.5, 2.0, -1.0])[:, None]
    check_op(mc.heaviside, torch.heaviside, SPECIAL, values, constant=[0, 1])
    check_op(mc.heaviside, torch.heaviside, np.array([-3, 0, 3]), np.array(7))
    x = mc.tensor([0.0, 1.0], requires_grad=True)
    assert not mc.heaviside(x, x).requires_grad
    refused(lambda m: m.heaviside(m.ones(1), m.tensor([1])), "heaviside: values is int64")


@pytest.mark.parametrize("name", ["ceil", "exp", "floor", "reciprocal", "round", "rsqrt", "sigmoid", "sqrt", "square",
                                  "tanh", "trunc"])
def test_in_place(name):
    agree(lambda m, x: getattr(x * 1.0, name + "_")(), np.abs(distinct((2, 3))) + 0.1)
