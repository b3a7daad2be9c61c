"""Arithmetic against PyTorch: values, gradients, types, special values, refusals."""

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


# -- arithmetic -----------------------------------------------------------------------------------------------------

BINARY = ["add", "sub", "mul", "div", "rsub", "maximum", "minimum", "fmax", "fmin", "atan2", "copysign", "remainder",
          "fmod"]


@pytest.mark.parametrize("name", BINARY)
@given(shapes=SHAPE_PAIRS, seed=st.integers(0, 99))
def test_values_and_two_orders_of_gradients(name, shapes, seed):
    a, b = distinct(shapes[0], seed, 0.31), distinct(shapes[1], seed + 1, 0.17)
    for constant in ((), (0,), (1,)):
        check_op(*both(name), a, b, constant=constant)


@given(shapes=SHAPE_PAIRS, seed=st.integers(0, 99))
def test_power(shapes, seed):
    a, b = np.asarray(np.abs(normal(shapes[0], seed)) + 0.1), normal(shapes[1], seed + 1)
    for constant in ((), (0,), (1,)):
        check_op(*both("pow"), a, b, constant=constant)


@pytest.mark.parametrize("name", ["add", "sub", "rsub"])
@pytest.mark.parametrize("alpha", [2, -0.5, 0])
def test_alpha(name, alpha):
    check_op(*both(name, alpha=alpha), distinct((2, 3)), distinct((3,), 1))
    agree(lambda m, x: getattr(m, name)(x, 2, alpha=alpha), distinct((3,)))
    if isinstance(alpha, int):
        check_op(*both(name, alpha=alpha), np.array([1, 2]), np.array([3, 4]))
    else:
        refused(lambda m: getattr(m, name)(m.tensor([1]), m.tensor([2]), alpha=alpha), f"alpha = {alpha}")
    refused(lambda m: getattr(m, name)(m.ones(1), m.ones(1), alpha=True), "alpha = True")


@pytest.mark.parametrize("alpha", [-1, 2])
@pytest.mark.parametrize("dtypes", [("float16", "uint8"), ("uint8", "bool"), ("bool", "bool"), ("int64", "int8")])
def test_alpha_multiplies_in_the_type_of_the_sum(dtypes, alpha):
    if alpha > 0 or dtypes[0] != "uint8":
        a, b = (np.array([1, 0, 1]).astype(dtype) for dtype in dtypes)
        agree(lambda m, x, y: m.add(x, y, alpha=alpha), a, b, constant=[0])


def test_a_quotient_can_be_overwritten():
    """Its gradient comes from what was divided."""
    agree(lambda m, a, b: (a / b).exp_(), distinct((2, 3)), distinct((3,), 1, 0.3) + 3)
    agree(lambda m, a: (a / 2).mul_(3), distinct((2, 3)))


@pytest.mark.parametrize("name", ["neg", "abs", "clone", "contiguous"])
def test_of_one_tensor(name):
    for shape in ((), (0,), (2, 3)):  # of the second gradient of abs PyTorch has only a place-holder
        agree(lambda m, x: getattr(x, name)(), distinct(shape), second=name != "abs")
    agree(lambda m, x: getattr(x.mT, name)(), distinct((2, 3)), second=name != "abs")
    agree(lambda m, x: getattr(x, name)(), np.array([0.0, -0.0, -1.0, INF, NAN]), second=False)


OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow]


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.__name__)
@pytest.mark.parametrize("number", [2, 3.0, -1.5, 0.5, True, np.float64(2.5), np.int64(3)], ids=repr)
def test_operators_with_numbers_on_either_side(op, number):
    for a in (np.abs(distinct((2, 3))) + 0.1, np.array([1, 2, 7])):
        if a.dtype == np.int64 and isinstance(number, (bool, np.generic)):
            continue
        if number is True and op in (operator.sub, operator.pow):
            continue  # PyTorch cannot do that
        constant = [0] if op in (operator.floordiv, operator.mod) else []  # PyTorch lacks some of these gradients
        plain = number.item() if isinstance(number, np.generic) else number
        options = {"constant": constant, "tolerance": 1e-10 if a.dtype == np.float64 else 1e-7}  # integers give float32
        check_op(lambda x: op(x, number), lambda x, plain=plain: op(x, plain), a, **options)
        check_op(lambda x: op(number, x), lambda x, plain=plain: op(plain, x), a, **options)


def test_numpy_numbers_on_the_left():
    x = mc.tensor([1.0, 2.0], requires_grad=True)
    y = np.float64(3.0) * x - np.float32(1)
    assert y.requires_grad and y.dtype == mc.float32 and y.tolist() == [2.0, 5.0]


@pytest.mark.parametrize("mode", [None, "trunc", "floor"])
def test_rounded_division(mode):
    a, b = np.array([7.0, -7.0, 5.5, -0.0, INF, 3.0, -3.0]), np.array([2.0, 2.0, -2.0, 3.0, 2.0, INF, INF])
    check_op(*both("div", rounding_mode=mode), a, b, second=False)
    check_op(*both("div", rounding_mode=mode), np.array([7, -7, 7, -7, 0]), np.array([2, 2, -2, -2, 5]))
    check_op(*both("div", rounding_mode=mode), np.array([7, 255], np.uint8), np.array([2, 2], np.uint8))
    refused(lambda m: m.ones(1).div(2, rounding_mode="up"), "'up'")


def test_floor_division_has_gradient_0():
    check_op(*both("floor_divide"), SPECIAL[:, None], SPECIAL, constant=[0, 1])
    check_op(*both("floor_divide"), np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2]))
    a, b = mc.tensor([7.0], requires_grad=True), mc.tensor([2.0], requires_grad=True)
    (a // b).backward()
    assert a.grad.tolist() == b.grad.tolist() == [0.0]


@pytest.mark.parametrize("name", ["remainder", "fmod"])
def test_remainders(name):
    check_op(*both(name), SPECIAL[:, None], np.array([2.0, -3.0, 0.0, INF, NAN]), second=False)
    check_op(*both(name), np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2]))
    check_op(*both(name), np.array([7.5]), np.array([2]))


@pytest.mark.parametrize("call", [lambda m, a: a // 0, lambda m, a: a % 0, lambda m, a: m.fmod(a, a * 0),
                                  lambda m, a: m.div(a, 0, rounding_mode="trunc")])
def test_integers_are_not_divided_by_zero(call):
    refused(lambda m: call(m, m.tensor([3, 0])), "division by zero")


@pytest.mark.parametrize("name", ["atan2", "copysign", "maximum", "minimum", "fmax", "fmin", "mul", "div"])
def test_pairs_of_special_values(name):
    a, b = np.meshgrid(SPECIAL, SPECIAL)
    if name == "copysign":  # at ±∞ and NaN PyTorch's gradient is ∞/∞
        a, b = np.meshgrid(SPECIAL[np.isfinite(SPECIAL)], SPECIAL)
    check_op(*both(name), a, b, second=False)


@pytest.mark.parametrize("name", ["rsub", "fmod"])
def test_the_first_operand_is_a_tensor(name):
    refused(lambda m: getattr(m, name)(2, m.ones(3)), f"{name}: input must be a Tensor")


def test_atan2_at_the_origin():
    check_op(*both("atan2"), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, -1.0]), second=False)
    a, b = (mc.zeros(1, requires_grad=True) for _ in range(2))
    first = mc.autograd.grad(mc.atan2(a, b), [a, b], create_graph=True)
    assert [g.item() for g in mc.autograd.grad(first, [a, b], [mc.ones(1)] * 2)] == [0, 0]  # PyTorch: NaN


# -- powers ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 4, 7, -1, -2, -3, -4, 0.5, 2.5, -0.5, 0.0, 2.0])
def test_numbers_as_exponents(exponent):
    a = np.array([0.5, -1.5, 2.0, 3.0]) if float(exponent).is_integer() else np.array([0.5, 1.5, 2.0])
    agree(lambda m, x: x ** exponent, a)
    special = SPECIAL if float(exponent).is_integer() else SPECIAL[~np.signbit(SPECIAL)]
    agree(lambda m, x: x ** exponent, special, second=False)


@pytest.mark.parametrize("exponent", [2, 3, 4, 5, -1, -2, -3, 0.5, -0.5])
def test_powers_are_within_one_rounding_of_those_of_pytorch(exponent):
    x = np.random.default_rng(0).standard_normal(3000, np.float32)
    x = x if float(exponent).is_integer() else abs(x)
    expected = (torch.from_numpy(x) ** exponent).numpy()
    assert (abs((mc.tensor(x) ** exponent).data - expected) <= np.spacing(abs(expected))).all()


def test_second_gradients_of_powers_at_zero():
    for exponent in (0, 1, 2, 3, 4.0):
        agree(lambda m, x, e=exponent: x ** e, np.array([0.0, 1.0, -2.0]))
    check_op(*both("pow"), np.array([0.0, 0.0, 2.0]), np.array([2.0, 3.0, 0.0]), constant=[1])


def test_pairs_of_special_values_to_the_power():
    a, b = np.meshgrid(np.array([0.0, 1.0, -1.0, 0.5, -2.0, 3.0]), np.array([0.0, 1.0, -1.0, 0.5, 2.0, 3.0, -0.5]))
    check_op(*both("pow"), a, b, second=False)


@pytest.mark.parametrize("base", [2, 0.5, 0, 1, -2])
def test_powers_of_numbers(base):
    agree(lambda m, x: base ** x, np.array([0.0, 1.0, -1.0, 2.5]), second=False)


def test_powers_of_integers():
    agree(lambda m, x: x ** 3, np.array([0, 2, -3]))
    agree(lambda m, x: x ** 0.5, np.array([0, 2, 9]))
    agree(lambda m, x: 2 ** x, np.array([0, 2, 9]))
    check_op(*both("pow"), np.array([0, 2, -3]), np.array([2, 0, 3]))
    refused(lambda m: m.tensor([2]) ** -1, "negative integer powers")
    with pytest.raises(RuntimeError, match="negative integer powers"):
        mc.tensor([2]) ** mc.tensor([-1])


# -- wrong calls ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("call", [
    lambda m, b: b - b, lambda m, b: b - 1, lambda m, b: 1.5 - b, lambda m, b: m.ones(2) - b, lambda m, b: -b,
    lambda m, b: abs(b), lambda m, b: b // b, lambda m, b: b % b, lambda m, b: m.fmod(b, b), lambda m, b: b ** b,
    lambda m, b: m.div(b, b, rounding_mode="trunc"), lambda m, b: m.ones(2) - True, lambda m, b: True - m.ones(2)])
def test_what_bools_cannot_do(call):
    refused(lambda m: call(m, m.tensor([True, True])), "bool tensors")
