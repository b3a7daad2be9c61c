"""Extremes and order against PyTorch: axes, ties, NaN, types, empty tensors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import minicnn as mc
from util import agree, assert_close, both, check_op, distinct, refused, rng_of, shapes_and_dims, with_dim, with_ties

NAN, INF = math.nan, math.inf


# -- extremes -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["amax", "amin"])
@given(case=shapes_and_dims(empty=False), keepdim=st.booleans(), seed=st.integers(0, 99))
def test_extremes_over_axes(name, case, keepdim, seed):
    shape, dim = case
    check_op(*with_dim(name, dim, keepdim), with_ties(shape, seed))


@pytest.mark.parametrize("name", ["max", "min"])
@given(case=shapes_and_dims(several=False, empty=False), keepdim=st.booleans(), seed=st.integers(0, 99))
def test_largest_and_smallest(name, case, keepdim, seed):
    shape, dim = case
    check_op(*with_dim(name, dim, keepdim), with_ties(shape, seed))
    check_op(*with_dim("arg" + name, dim, keepdim), with_ties(shape, seed))


@given(case=shapes_and_dims(several=False, empty=False), keepdim=st.booleans(), seed=st.integers(0, 99))
def test_median(case, keepdim, seed):
    shape, dim = case
    check_op(*with_dim("median", dim, keepdim), distinct(shape, seed))
    check_op(*both("median"), with_ties(shape, seed))


def test_median_along_an_axis_takes_the_first_of_equals_in_value_order():
    values, indices = mc.tensor([[3.0, 1.0, 1.0, 1.0], [2.0, 2.0, 0.0, 5.0]]).median(1)
    assert values.tolist() == [1.0, 2.0] and indices.tolist() == [2, 0]


@pytest.mark.parametrize("name", ["max", "min", "amax", "amin", "argmax", "argmin", "median"])
def test_nan_wins(name):
    for a in ([1.0, NAN, 3.0, NAN], [NAN, 1.0], [INF, NAN, -INF], [INF, -INF]):
        check_op(*both(name), np.array(a), second=False)
        if name not in ("amax", "amin"):
            check_op(*both(name, 0), np.array(a), second=False)


def test_several_equal_extremes_share_evenly():
    x = mc.tensor([[3.0, 3.0, 1.0], [0.0, 3.0, 3.0]], requires_grad=True)
    for y, expected in ((x.max(), [[0.25, 0.25, 0], [0, 0.25, 0.25]]),
                        (x.amax(1).sum(), [[0.5, 0.5, 0], [0, 0.5, 0.5]]),
                        (x.max(1).values.sum(), [[1, 0, 0], [0, 1, 0]])):
        assert mc.autograd.grad(y, x)[0].tolist() == expected


def test_values_and_indices_are_named():
    x = mc.tensor([[1.0, 5.0], [7.0, 2.0]], requires_grad=True)
    for function, values, indices in ((mc.max, [5, 7], [1, 0]), (mc.min, [1, 2], [0, 1]), (mc.median, [1, 2], [0, 1])):
        found = function(x, dim=1)
        assert found.values.tolist() == values and found.indices.tolist() == indices
        assert found.values.requires_grad and not found.indices.requires_grad and found.indices.dtype == mc.int64


@pytest.mark.parametrize("name", ["max", "min"])
def test_largest_of_two_tensors(name):
    a, b = np.array([[1.0, 2.0, 3.0]]), np.array([[2.0], [2.0], [0.0]])
    agree(lambda m, a, b: getattr(m, name)(a, b), a, b)
    agree(lambda m, a, b: getattr(m, name)(a, other=b), a, b)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
def test_extremes_of_integers(dtype):
    a = np.array([[0, 1, 200], [1, 1, 0]]).astype(dtype)
    for name in ("max", "min", "amax", "amin"):
        check_op(*both(name), a)
        check_op(*both(name, 1), a)
    for name in ("argmax", "argmin", "median"):
        if dtype == np.bool_:
            refused(lambda m, name=name: getattr(m, name)(m.from_numpy(a)), f"{name}: bool")
        else:
            check_op(*both(name), a)
            if name != "median":  # of equals PyTorch may pick any
                check_op(*both(name, 1), a)


@pytest.mark.parametrize("name", ["max", "min", "amax", "amin", "argmax", "argmin", "median"])
def test_extremes_of_nothing(name):
    refused(lambda m: getattr(m.empty(0, 3), name)(0), f"{name}: shape")
    check_op(*both(name, 1), np.empty((0, 3)))
    if name == "median":
        check_op(*both(name), np.empty((0, 3)))
        with pytest.raises(IndexError, match="median: shape"):
            mc.empty(0, dtype=mc.int64).median()
    else:
        refused(lambda m: getattr(m.empty(0, 3), name)(), f"{name}: shape")


# -- order ----------------------------------------------------------------------------------------------------------

@given(st.data())
def test_sort_and_topk(data):
    shape = data.draw(st.lists(st.integers(0, 4), min_size=0, max_size=3).map(tuple))
    dim = data.draw(st.integers(-max(len(shape), 1), max(len(shape), 1) - 1))
    down = data.draw(st.booleans())
    k = data.draw(st.integers(0, (shape or (1,))[dim]))
    agree(lambda m, x: x.sort(dim, down), distinct(shape), single=False)
    agree(lambda m, x: m.topk(x, k, dim, down), distinct(shape), single=False)
    ties = rng_of(k).integers(0, 3, shape).astype(float)
    agree(lambda m, x: m.sort(x, stable=True, dim=dim, descending=down), ties, single=False)
    agree(lambda m, x: x.argsort(dim, down), distinct(shape), single=False)


def test_order_of_nan_and_types():
    for array in (np.array([1.0, np.nan, -np.inf, np.nan, np.inf, 0.0]), np.array([True, False, True]),
                  np.array([3, 1, 2], np.int8), np.array([3, 1, 200], np.uint8)):
        x, y = mc.tensor(array), torch.tensor(array)
        for down in (False, True):
            for a, b in zip(x.sort(descending=down), y.sort(descending=down, stable=True)):
                assert_close(a, b, 0)
            if array.dtype != bool:  # which PyTorch's topk does not know
                assert_close(x.topk(2, largest=down).values, y.topk(2, largest=down).values, 0)


def test_order_of_nan_in_16_bits():
    a = [1.0, math.nan, -math.inf, 0.5, math.nan]
    for down in (False, True):
        x, y = mc.tensor(a).bfloat16(), torch.tensor(a).bfloat16()
        assert x.argsort(descending=down).tolist() == y.argsort(descending=down, stable=True).tolist()
        assert_close(x.topk(3, largest=down).values.float(), y.topk(3, largest=down).values.float(), 0)


def test_results_have_names():
    for result in (mc.ones(3).sort(), mc.ones(3).topk(2)):
        assert result.values.dtype == np.float32 and result.indices.dtype == np.int64


UNIQUES = [np.array([3, 1, 3, 2]), np.array([[3.0, 1.0], [3.0, 1.0], [0.0, 5.0]]), np.array([True, False, True]),
           np.array(2.0), np.zeros(0), np.array([1.0, np.nan, np.nan])]


@pytest.mark.parametrize("array", UNIQUES, ids=str)
def test_unique(array):
    for options in ({}, {"return_inverse": True}, {"return_counts": True},
                    {"return_inverse": True, "return_counts": True}):
        if "return_inverse" in options and np.isnan(array).any():
            continue  # PyTorch sees no difference between the two NaN
        ours, theirs = mc.tensor(array).unique(**options), torch.tensor(array).unique(**options)
        assert isinstance(ours, tuple) == isinstance(theirs, tuple) == bool(options)
        for a, b in zip(ours if options else (ours,), theirs if options else (theirs,)):
            assert_close(a, b, 0)


def test_unique_slices():
    array = np.array([[3, 1, 3], [3, 1, 3], [0, 5, 0]])
    for dim in (0, 1, -1):
        for a, b in zip(mc.unique(mc.tensor(array), return_inverse=True, return_counts=True, dim=dim),
                        torch.unique(torch.tensor(array), return_inverse=True, return_counts=True, dim=dim)):
            assert_close(a, b, 0)


@pytest.mark.parametrize("array", [np.array([[0, 1], [2, 0]]), np.array(1.0), np.array(0.0), np.zeros((0, 2)),
                                   np.array([True, False])], ids=str)
def test_nonzero(array):
    x, y = mc.tensor(array), torch.tensor(array)
    assert_close(x.nonzero(), y.nonzero(), 0)
    assert_close(mc.argwhere(x), torch.argwhere(y), 0)
    ours, theirs = x.nonzero(as_tuple=True), y.nonzero(as_tuple=True)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        assert_close(a, b, 0)
