"""Comparison, logic and choice against PyTorch: values, gradients at ties and bounds, refusals."""

import math
import operator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import minicnn as mc
from util import SHAPE_PAIRS, SPECIAL, agree, both, check_op, distinct, normal, refused

NAN, INF = math.nan, math.inf


# -- comparison and logic -------------------------------------------------------------------------------------------

COMPARISONS = ["eq", "ne", "lt", "le", "gt", "ge"]


@pytest.mark.parametrize("name", COMPARISONS)
@given(shapes=SHAPE_PAIRS, seed=st.integers(0, 99))
def test_comparisons(name, shapes, seed):
    a, b = (np.asarray(np.round(normal(shape, seed + i))) for i, shape in enumerate(shapes))
    check_op(*both(name), a, b)
    agree(lambda m, a, b: getattr(operator, name)(a, b), a, b)
    check_op(*both(name), a.astype(np.int32), b)


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons_with_special_values_and_numbers(name):
    compare = getattr(operator, name)
    check_op(*both(name), SPECIAL[:, None], SPECIAL)
    for a in (SPECIAL, np.array([1, -1, 255]), np.array([1, 255], np.uint8), np.array([100], np.int8), np.array(True)):
        for number in (1, 0, 100, 0.5, -0.5, True, INF, NAN):
            agree(lambda m, x, n=number: compare(x, n), a)
            agree(lambda m, x, n=number: compare(n, x), a)
    for a in (np.array([1, 255], np.uint8), np.array([100, -100], np.int8), np.array([True, False])):
        for number in (-1, -129, 128, 256, 300):  # numbers that do not fit are compared by value, PyTorch wraps them
            assert compare(mc.tensor(a), number).tolist() == [compare(v, number) for v in a.tolist()]
    agree(lambda m, x: compare(x, 0.1), np.float32([0.1]))
    agree(lambda m, x: compare(x, 16777216.0), np.array([16777217]))  # as float32, where they are equal
    assert bool((mc.tensor([0.1]) == np.float64(0.1)).all())


def test_equality_with_what_is_not_a_number():
    for other in (None, "a", [1.0], (1.0,)):
        assert (mc.ones(1) == other) is False and (mc.ones(1) != other) is True
    assert mc.ones(1) not in [None, "a"]
    for other in (None, "a"):
        refused(lambda m, other=other: m.ones(1) < other, "expected a Tensor")


@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor"])
def test_logic(name):
    a, b = np.array([0.0, 1.0, NAN, -2.0])[:, None], np.array([0, 1, 3, 0])
    check_op(*both(name), a, b)
    check_op(*both(name), a, b > 0)
    refused(lambda m: getattr(m, name)(m.ones(1), 1), f"{name}: other")
    check_op(*both("logical_not"), a)


@pytest.mark.parametrize("op", [operator.and_, operator.or_, operator.xor], ids=lambda op: op.__name__)
def test_bits(op):
    a, b = np.array([0, 1, 6, -3])[:, None], np.array([0, 5, 3, -1])
    check_op(op, op, a, b)
    check_op(op, op, a > 0, b > 0)
    check_op(op, op, a, b > 0)
    check_op(op, op, a.astype(np.int32), b.astype(np.int8))
    for number in (3, True):
        agree(lambda m, x, n=number: op(x, n), a.astype(np.int16))
        agree(lambda m, x, n=number: op(n, x), a > 0)
    check_op(operator.invert, operator.invert, a)
    check_op(operator.invert, operator.invert, a > 0)
    refused(lambda m: op(m.ones(1), 1), "float32 tensors have no bits")
    refused(lambda m: ~m.ones(1), "float32 tensors have no bits")


@pytest.mark.parametrize("equal_nan", [False, True])
def test_isclose_allclose_equal(equal_nan):
    a, b = np.array([1.0, 1.0, NAN, INF, -INF, 0.0]), np.array([1.0 + 1e-6, 1.1, NAN, INF, INF, 1e-9])
    check_op(*both("isclose", equal_nan=equal_nan), a, b)
    check_op(*both("isclose", rtol=0.2, atol=0, equal_nan=equal_nan), a, b, single=False)
    check_op(*both("isclose"), np.array([1, 2]), np.array([1, 3]))
    for x, y in ((a, a), (a[:2], b[:2]), (a[:1], b[:1]), (a[:1], a[:2])):
        ours, theirs = (mc.tensor(x), mc.tensor(y)), (torch.from_numpy(x), torch.from_numpy(y))
        assert mc.allclose(*ours, equal_nan=equal_nan) is torch.allclose(*theirs, equal_nan=equal_nan)
        assert mc.equal(*ours) is torch.equal(*theirs)
    refused(lambda m: m.isclose(m.ones(1), m.tensor([1])), "int64")
    refused(lambda m: m.isclose(m.ones(1), m.ones(1), rtol=-1), "rtol = -1")
    refused(lambda m: m.isclose(m.ones(1), m.ones(1), atol=float("nan")), "atol = nan")
    refused(lambda m: m.isclose(m.ones(1), m.ones(1), atol=-0.5), "atol = -0.5")


# -- choice ---------------------------------------------------------------------------------------------------------

BOUNDS = st.sampled_from([(None, 0.5), (-0.5, None), (-0.5, 0.75), (0.5, -0.5), (0, 1), (-1, 0.25)])


@given(bounds=BOUNDS, shape=st.sampled_from([(), (0,), (3, 4)]), seed=st.integers(0, 99))
def test_clamp_with_numbers(bounds, shape, seed):
    check_op(*both("clamp", min=bounds[0], max=bounds[1]), distinct(shape, seed, 0.11))
    check_op(*both("clamp", min=bounds[0], max=bounds[1]), np.concatenate([SPECIAL, [0.5, -0.5, 0.75]]))
    check_op(*both("clamp", min=bounds[0], max=bounds[1]), np.array([-1, 0, 1, 2]))


@given(shapes=SHAPE_PAIRS, seed=st.integers(0, 99))
def test_clamp_with_tensors(shapes, seed):
    x, low, high = (np.asarray(np.round(2 * normal(s, seed + i)) / 2) for i, s in enumerate((*shapes, shapes[1])))
    for constant in ((), (0,), (1, 2)):
        check_op(mc.clamp, torch.clamp, x, low, high, constant=constant)
    check_op(mc.clamp, torch.clamp, x, low)
    agree(lambda m, x, high: x.clamp(max=high), x, high)
    agree(lambda m, x, low: m.clamp(x, low, m.tensor(0.5)), x, low)


@pytest.mark.parametrize("bounds", [(lambda m: 0.0, lambda m: m.ones(4)), (lambda m: m.zeros(4), lambda m: 1.0)])
def test_clamp_takes_two_numbers_or_two_tensors(bounds):
    refused(lambda m: m.clamp(m.ones(4), *[bound(m) for bound in bounds]), "min is a .*, max a .*; they must both be")


@pytest.mark.parametrize("call", [
    lambda m, x: m.clamp(x, x, x), lambda m, x: m.clamp(x, False, True), lambda m, x: m.clamp_min(x, False),
    lambda m, x: m.clamp_max(x, True), lambda m, x: x.clamp_(x, x)])
def test_clamp_is_not_for_bools(call):
    refused(lambda m: call(m, m.tensor([True, False])), "clamp: bool tensors are not supported")


def test_clamp_of_bools_to_numbers():
    check_op(*both("clamp", min=0, max=1), np.array([True, False]))
    for name in ("clamp_min", "clamp_max"):
        agree(lambda m, x, y, name=name: getattr(m, name)(x, y), np.array([True, False, True]),
              np.array([True, True, False]))


def test_clamp_with_nan_and_bounds_in_the_wrong_order():
    x, low, high = np.array([[1.0], [NAN], [3.0]]), np.array([NAN, 2.0, 4.0, 0.0]), np.array([1.0, NAN, 2.0, 5.0])
    check_op(mc.clamp, torch.clamp, x, low, high, second=False)
    check_op(mc.clamp, torch.clamp, x, low, second=False)


def test_other_names_of_clamp():
    for name in ("clamp_min", "clamp_max"):
        agree(lambda m, x, name=name: getattr(m, name)(x, 0.25), distinct((2, 3)))
        agree(lambda m, x, bound, name=name: getattr(m, name)(x, bound), distinct((2, 3)), distinct((3,), 1, 0.17))
    agree(lambda m, x: m.clip(x, min=0, max=0.5), distinct((2, 3)))
    refused(lambda m: m.ones(1).clamp(), "clamp: give min, max or both")


@given(shapes=SHAPE_PAIRS, seed=st.integers(0, 99))
def test_where(shapes, seed):
    condition = np.asarray(normal(shapes[0], seed) > 0)
    a, b = normal(shapes[1], seed + 1), normal(shapes[0], seed + 2)
    for constant in ((), (1,), (2,)):
        check_op(mc.where, torch.where, condition, a, b, constant=constant)
    agree(lambda m, c, a: a.where(c, m.tensor(2.0)), condition, a)
    agree(lambda m, c, a: m.where(c, 2, a), condition, a)
    agree(lambda m, c, a: m.where(c, a, 2.0), condition, a)
    agree(lambda m, c: m.where(c, 1, 2.5), condition)


def test_where_mixes_types_and_finds_indices():
    condition = np.array([[True, False], [False, True]])
    check_op(mc.where, torch.where, condition, np.array([1, 2]), np.array([0.5, 1.5]))
    check_op(mc.where, torch.where, condition)
    check_op(mc.where, torch.where, np.array([0.0, 2.0, NAN]), constant=[0])
    check_op(mc.where, torch.where, np.array(3))
    refused(lambda m: m.where(m.tensor([1]), 1, 2), "where: condition")
    refused(lambda m: m.where(m.tensor([True, False]), m.ones(3), 2.0), r"where: shapes \(2,\) and \(3,\)")


@pytest.mark.parametrize("name", ["maximum", "minimum", "fmax", "fmin"])
def test_equals_share_the_gradient_as_in_pytorch(name):
    check_op(*both(name), np.round(normal((4, 5))), np.round(normal((4, 5), 1)))
    check_op(*both(name), np.array([1, 2, 3]), np.array([3, 2, 1]))
    check_op(*both(name), np.array([True, False]), np.array([False, False]))
