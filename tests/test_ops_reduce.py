"""Reductions against PyTorch: axes, types, gradients with ties and zeros, empty tensors."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import minicnn as mc
from util import (agree, assert_close, both, check_op, distinct, normal, refused, rng_of, same, shapes_and_dims,
                  with_dim, with_ties)

NAN, INF = math.nan, math.inf


# -- sums and means -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["sum", "mean", "nansum", "nanmean"])
@given(case=shapes_and_dims(), keepdim=st.booleans(), seed=st.integers(0, 99))
def test_sums(name, case, keepdim, seed):
    shape, dim = case
    check_op(*with_dim(name, dim, keepdim), normal(shape, seed))
    if name.startswith("nan"):
        a = np.where(normal(shape, seed) > 0, NAN, distinct(shape, seed))
        only_nan = mc.tensor(np.isnan(a)).all(None if np.size(dim) == 0 else dim).numpy().any()
        check_op(*with_dim(name, dim, keepdim), a, constant=[0] if only_nan else [])  # PyTorch's gradient is NaN then


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, np.bool_])
def test_sums_of_integers(dtype):
    a = np.array([[0, 1, 100], [3, 0, 120]]).astype(dtype)
    for name in ("sum", "nansum", "prod"):
        check_op(*both(name), a)
        check_op(*both(name, 1), a)
    for name in ("cumsum", "cumprod"):
        check_op(*both(name, 1), a)
    for name in ("mean", "nanmean", "var", "std", "norm"):
        refused(lambda m, name=name: getattr(m, name)(m.from_numpy(a)), f"{name}: {np.dtype(dtype)}")


@pytest.mark.parametrize("dtype", ["float64", "float32", "int32"])
def test_dtype_argument(dtype):
    calls = [("sum", ()), ("nansum", ()), ("prod", ()), ("prod", (0,)), ("cumsum", (0,)), ("cumprod", (0,))]
    if dtype != "int32":
        calls.append(("mean", ()))
    for a, (name, args) in itertools.product((np.array([1.5, -2.5, 3.0]), np.array([1, 2, 3])), calls):
        agree(lambda m, x, name=name, args=args: getattr(x, name)(*args, dtype=getattr(m, dtype)), a, tolerance=1e-6,
             constant=[0] if dtype == "int32" else [])
    agree(lambda m, x: x.norm(dtype=m.float64), np.array([1.5, -2.5, 3.0]))
    refused(lambda m: m.ones(2).mean(dtype=m.int32), "mean: int32")
    for name in ("norm", "nanmean"):
        refused(lambda m, name=name: getattr(m, name)(m.ones(2).int(), dtype=m.float32), f"{name}: int32")


@pytest.mark.parametrize("name, args", [("sum", ()), ("nansum", ()), ("prod", ()), ("cumsum", (0,)), ("cumprod", (0,))])
def test_a_dtype_without_gradients_is_refused_where_one_is_required(name, args):
    refused(lambda m: getattr(m.ones(2, requires_grad=True), name)(*args, dtype=m.int64), "no gradient")
    with mc.no_grad():
        assert getattr(mc.ones(2, requires_grad=True), name)(*args, dtype=mc.int64).dtype == mc.int64


@pytest.mark.parametrize("name", ["sum", "mean", "nansum", "nanmean"])
def test_sums_of_nothing(name):
    for shape, args in (((0,), ()), ((0, 3), (0,)), ((0, 3), (1,))):
        check_op(*both(name, *args), np.empty(shape))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_summed_in_32(dtype):
    n = 5000  # 16-bit floats cannot count that far
    x = mc.ones(n, 2).to(dtype).requires_grad_()
    for y, expected in ((x.sum(0), n), (x.mean(0), 1), (x.cumsum(0)[-1], n), (x.norm(1, 0), n),
                        (x.norm(2, 0), math.sqrt(n)), (x.prod(0), 1), (x.cumprod(0)[-1], 1),
                        (x.logsumexp(0), 1 + math.log(n)), (x.var(0), 0), (x.std(0), 0)):
        assert y.dtype == x.dtype
        np.testing.assert_allclose(y.detach().data.astype(np.float64), [expected, expected], rtol=2.0 ** -7)
    (x.sum(0) * x.mean(0)).sum().backward()
    assert x.grad.dtype == x.dtype


def test_the_sum_over_all_but_channels():
    check_op(*both("sum", (0, 2, 3)), normal((3, 2, 4, 5)))
    check_op(*both("sum", (0, 2)), normal((3, 2, 4)).transpose(2, 1, 0))


@given(case=shapes_and_dims(), seed=st.integers(0, 99))
def test_count_nonzero(case, seed):
    shape, dim = case
    check_op(*both("count_nonzero", dim), with_ties(shape, seed))
    check_op(*both("count_nonzero", dim), np.asarray(normal(shape, seed) > 0))


@pytest.mark.parametrize("name", ["any", "all"])
@given(case=shapes_and_dims(), keepdim=st.booleans(), seed=st.integers(0, 99))
def test_any_and_all(name, case, keepdim, seed):
    shape, dim = case
    a = rng_of(seed).integers(0, 2, shape)
    for array in (a.astype(bool), a.astype(np.float64), a, a.astype(np.uint8), np.where(a, NAN, 0.0)):
        check_op(*with_dim(name, dim, keepdim), array, constant=[0])


# -- spread ---------------------------------------------------------------------------------------------------------

def elements(shape, dim):
    """How many elements one result is made of."""
    dims = range(len(shape)) if dim is None or np.size(dim) == 0 else np.atleast_1d(dim)
    return math.prod((shape or (1,))[d] for d in dims)


@pytest.mark.parametrize("name", ["var", "std"])
@given(case=shapes_and_dims(), keepdim=st.booleans(), correction=st.sampled_from([None, 0, 1, 2, 0.5]),
       seed=st.integers(0, 99))
def test_spread(name, case, keepdim, correction, seed):
    shape, dim = case
    if dim in ((), []):
        dim = None  # PyTorch 2.13 takes dim=() for all axes too, but divides the gradient by a wrong number
    options = {} if correction is None else {"correction": correction}
    with warnings.catch_warnings():  # PyTorch warns where nothing is left to divide by
        warnings.simplefilter("ignore", UserWarning)
        defined = elements(shape, dim) > (1 if correction is None else correction)
        check_op(*both(name, dim=dim, keepdim=keepdim, **options), normal(shape, seed), constant=[] if defined else [0])


def test_gradient_of_an_undefined_variance():
    x = mc.tensor([1.0, 3.0], requires_grad=True)
    assert mc.autograd.grad(x.var(correction=2), x)[0].tolist() == [-INF, INF]
    assert mc.autograd.grad(x.var(correction=3), x)[0].tolist() == [-INF, INF]
    assert mc.autograd.grad(mc.stack([x[:1], x[1:]]).std(1).sum(), x)[0].isnan().all()


@pytest.mark.parametrize("name", ["var", "std", "var_mean", "std_mean"])
def test_spread_as_it_can_be_called(name):
    a = normal((3, 4, 2))
    for args, options in (((), {}), ((True,), {}), ((False,), {}), ((1,), {}), ((1, False), {}), ((-1, True, True), {}),
                          (((0, 2), False, True), {}), ((), {"unbiased": False}), ((), {"correction": 2}),
                          ((1,), {"correction": 0, "keepdim": True}), (([0, 1],), {"unbiased": True}),
                          ((), {"dim": 0, "unbiased": False, "keepdim": True})):
        agree(lambda m, x, args=args, options=options: getattr(m, name)(x, *args, **options), a)
    refused(lambda m: getattr(m, name)(m.ones(3), unbiased=True, correction=1), "not both")


@pytest.mark.parametrize("a", [[2.0, 2.0, 2.0], [2.0, 2.01], [0.0, 0.0, 1.0]])
def test_standard_deviation_of_equal_numbers_has_gradient_0(a):
    check_op(*both("std"), np.array(a), second=a[0] != a[1], single=False)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_variance_far_from_zero(dtype):
    """A one-pass formula, or a mean that is a little off, would lose everything here."""
    mean = 1e12 if dtype == np.float64 else 3e4
    a = (mean + rng_of(0).uniform(-1, 1, (20_000, 3))).astype(dtype)
    expected = (a.astype(np.longdouble) - a.astype(np.longdouble).mean(0)).__pow__(2).sum(0) / (len(a) - 1)
    np.testing.assert_allclose(mc.tensor(a).var(0).numpy(), expected.astype(np.float64), rtol=1e-6)
    np.testing.assert_allclose(mc.tensor(a).std(0).numpy(), np.sqrt(expected.astype(np.float64)), rtol=1e-6)


# -- logsumexp and norms --------------------------------------------------------------------------------------------

@given(case=shapes_and_dims(), keepdim=st.booleans(), shift=st.sampled_from([0, 1000, -1000]), seed=st.integers(0, 99))
def test_logsumexp(case, keepdim, shift, seed):
    shape, dim = case
    check_op(*both("logsumexp", dim or 0, keepdim), np.asarray(normal(shape, seed) + shift))


def test_logsumexp_of_special_values_and_of_integers():
    for a in ([INF, 1.0], [-INF, 1.0], [-INF, -INF], [INF, -INF], [INF, INF], [NAN, 1.0], [1e300, 1e300]):
        check_op(*both("logsumexp", 0), np.array(a), second=False, single=False)
    check_op(*both("logsumexp", 1), np.array([[1, 2], [3, 4]]))
    check_op(*both("logsumexp", 0), np.array([True, False]))


@given(case=shapes_and_dims(), keepdim=st.booleans(), seed=st.integers(0, 99),
       p=st.sampled_from(["fro", None, 0, 0.5, 1, 1.5, 2, 2.5, 3, -1, INF, -INF]))
def test_norm(case, keepdim, p, seed):
    shape, dim = case
    a, arguments = distinct(shape, seed), (p, dim, keepdim)
    if 0 in shape and p in (INF, -INF, -1):
        try:
            torch.from_numpy(a).norm(*arguments)
        except RuntimeError:
            with pytest.raises(IndexError, match="norm: shape"):
                mc.tensor(a).norm(*arguments)
            return
    check_op(*both("norm", *arguments), a, second=0 not in shape and p not in (0, 1, INF, -INF))  # those are flat


@pytest.mark.parametrize("p", [0, 1, INF, -INF])
def test_second_gradients_of_norms_without_curvature(p):
    x = mc.tensor(distinct((2, 3)), requires_grad=True)
    gy = mc.tensor(normal((2,)), requires_grad=True)
    assert mc.autograd.gradcheck(lambda x: x.norm(p, 1), (x,))
    if p != 0:
        assert mc.autograd.gradgradcheck(lambda x: x.norm(p, 1), (x,), gy)


@pytest.mark.parametrize("p", [0, 0.5, 1, 1.5, 2, 2.5, 3, -1, INF, -INF])
def test_norm_with_zeros_and_ties(p):
    for a in ([0.0, 0.0], [0.0, 3.0, -3.0], [1.0, -1.0, 1.0], [NAN, 1.0, 2.0], [INF, 1.0]):
        x, ref = mc.tensor(np.array(a), requires_grad=True), torch.tensor(a, dtype=torch.float64, requires_grad=True)
        y, expected = x.norm(p), ref.norm(p)
        assert_close(y, expected, 1e-14, f"norm of {a}")
        (gx,) = mc.autograd.grad(y, x)
        (expected,) = torch.autograd.grad(expected, ref, allow_unused=True)
        np.testing.assert_allclose(gx.numpy(), np.zeros(len(a)) if expected is None else expected.numpy(), rtol=1e-13)


@pytest.mark.parametrize("p, a", [(1, [0.0, 1.0, 2.0]), (1.5, [0.0, 1.0, 2.0]), (2, [0.0, 1.0, 2.0]),
                                  (3, [0.0, 1.0, 2.0]), (3, [0.0, 0.0, 0.0]), (4, [0.0, 0.0, 0.0])])
def test_second_derivatives_of_norms_of_zeros(p, a):
    """For p = 1.5 that of the zero is not a number, but only that one."""
    def second(m):
        x = m.tensor(np.array(a), requires_grad=True)
        (gx,) = m.autograd.grad(x.norm(p), x, create_graph=True)
        return m.autograd.grad((gx * m.tensor([1.0, 2.0, 3.0])).sum(), x)

    same(second, 1e-14)


@pytest.mark.parametrize("p", [INF, -INF, -1])
def test_norms_without_a_value_for_nothing(p):
    refused(lambda m: m.ones(0, 3).norm(p, 0), "norm: shape")
    refused(lambda m: m.ones(0).norm(p), "norm: shape")
    agree(lambda m, x: x.norm(p, 1), np.empty((0, 3)), second=False)


def test_norm_of_what_it_does_not_know():
    refused(lambda m: m.ones(2).norm("bad"), "p = 'bad'")
    with pytest.raises(ValueError, match="p = 'nuc'"):
        mc.ones(2, 2).norm("nuc")


# -- wrong calls ----------------------------------------------------------------------------------------------------

ONE_AXIS = ["prod", "max", "min", "argmax", "argmin", "median", "cumsum", "cumprod"]
AXES = ["sum", "mean", "amax", "amin", "any", "all", "var", "std", "logsumexp", "nansum", "nanmean", "count_nonzero"]


@pytest.mark.parametrize("name", ONE_AXIS + AXES)
def test_wrong_dims(name):
    for dim in (2, -3):
        wrong = f"{name}: dim {dim} is out of range, must be in "
        refused(lambda m, dim=dim: getattr(m, name)(m.ones(2, 3), dim), wrong + "-2 … 1")
        refused(lambda m, dim=dim: getattr(m, name)(m.ones(()), dim), wrong + "-1 … 0")
    refused(lambda m: getattr(m, name)(m.ones(2, 3), 1.0), f"{name}: dim must be an int, not 1.0")
    if name in AXES:
        refused(lambda m: getattr(m, name)(m.ones(2, 3), (1, -1)), rf"{name}: dim \(1, -1\) names an axis twice")
    else:
        refused(lambda m: getattr(m, name)(m.ones(2, 3), (0, 1)), rf"{name}: dim must be an int, not \(0, 1\)")


@pytest.mark.parametrize("name", ["prod", "max", "min", "median"])
def test_without_dim_there_is_no_keepdim(name):
    refused(lambda m: getattr(m, name)(m.ones(2), keepdim=True), f"{name}: keepdim needs a dim")


@pytest.mark.parametrize("name", ["max", "min"])
def test_dim_and_other_exclude_each_other(name):
    refused(lambda m: getattr(m, name)(m.ones(2), 0, other=m.ones(2)), f"{name}: dim = 0 and other")


@pytest.mark.parametrize("name", ["sum", "mean", "max", "argmax", "any", "var", "cumsum", "norm", "prod", "nansum"])
def test_arrays_are_refused(name):
    with pytest.raises(TypeError, match=f"{name}: input must be a Tensor"):
        getattr(mc, name)(np.ones(3), 0)


def test_numpy_integers_are_dims():
    check_op(*both("sum", np.int64(1)), normal((2, 3)))
    check_op(*both("amax", (np.int64(0), 1)), normal((2, 3)))
