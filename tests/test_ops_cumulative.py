"""Running sums and products against PyTorch: axes, and gradients of products with zeros."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minicnn as mc
from util import both, check_op, normal, refused, rng_of, shapes_and_dims, with_dim


@st.composite
def with_zeros(draw, shape):
    """Numbers around ±1, some of them 0."""
    seed = draw(st.integers(0, 99))
    zeros = rng_of(seed).random(shape) < draw(st.sampled_from((0, 0.3, 0.7)))
    return np.where(zeros, 0.0, 1 + normal(shape, seed + 1))


@given(case=shapes_and_dims(several=False), keepdim=st.booleans(), data=st.data())
def test_prod(case, keepdim, data):
    shape, dim = case
    check_op(*with_dim("prod", dim, keepdim), data.draw(with_zeros(shape)))


@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
@given(case=shapes_and_dims(several=False), data=st.data())
def test_running_sums_and_products(name, case, data):
    shape, dim = case
    check_op(*both(name, dim or 0), data.draw(with_zeros(shape)))


@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_there_is_no_running_along_no_axis(name):
    refused(lambda m: getattr(m, name)(m.ones(2, 3), None), "dim must be an int")


@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_there_is_no_running_in_bools(name):
    refused(lambda m: getattr(m, name)(m.ones(2, 3), 0, dtype=m.bool), f"{name}: bool tensors are not supported")


@pytest.mark.parametrize("name", ["prod", "cumprod"])
@pytest.mark.parametrize("a", [[2.0, 0.0, 3.0, -1.5], [2.0, 0.0, 0.0, 3.0], [0.0, 0.0, 0.0, 1.0], [1.5, -2.0, 0.5, 3]])
def test_third_derivatives_of_products_with_zeros(name, a):
    x, gy = mc.tensor(np.array(a), requires_grad=True), normal((4,) if name == "cumprod" else ())

    def second(x):
        (gx,) = mc.autograd.grad(getattr(x, name)(0), x, mc.tensor(gy), create_graph=True)
        return mc.autograd.grad(gx.square().sum(), x, create_graph=True)[0]

    assert mc.autograd.gradcheck(second, (x,))
