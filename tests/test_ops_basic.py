"""Arithmetic, comparison, choice, types and in-place forms against PyTorch."""

import itertools
import math
import operator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import minicnn as mc
from minicnn import dtypes
from util import assert_close, check_op, check_raises, distinct, rng_of

NAN, INF = math.nan, math.inf
SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -2.0, 3.0, INF, -INF, NAN])
DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
SHAPES = st.sampled_from([((), ()), ((3,), ()), ((), (2, 3)), ((2, 3), (3,)), ((2, 1), (1, 4)), ((0, 3), (1, 3)),
                          ((1,), (0,)), ((2, 1, 4), (3, 1))])


@pytest.fixture(autouse=True)
def silence():
    """Infinities, NaN and overflow are on purpose here."""
    with np.errstate(all="ignore"):
        yield


def normal(shape, seed=0):
    return np.asarray(rng_of(seed).standard_normal(shape))


def both(name, **options):
    """The function of that name in both libraries, with the options."""
    return lambda *a: getattr(mc, name)(*a, **options), lambda *a: getattr(torch, name)(*a, **options)


def same(call, *arrays, **options):
    """call(library, *tensors) gives the same in both libraries."""
    check_op(lambda *x: call(mc, *x), lambda *x: call(torch, *x), *arrays, **options)


def refused(call, match):
    """call(library) raises in both libraries, ours with a message that matches."""
    check_raises(lambda: call(mc), lambda: call(torch), match)


def tensors(values, dtype):
    """The same values in both libraries, of any dtype."""
    ours, theirs = mc.tensor(values), torch.tensor(values)
    return ours.to(getattr(mc, dtype)), theirs.to(getattr(torch, dtype))


def name_of(dtype):
    return str(dtype).removeprefix("torch.")


def assert_same(ours, theirs, what=""):
    assert str(ours.dtype) == name_of(theirs.dtype), f"{what}: {ours.dtype}, expected {theirs.dtype}"
    if theirs.dtype == torch.bfloat16:
        theirs = theirs.double()
    np.testing.assert_array_equal(ours.detach().data.astype(theirs.numpy().dtype), theirs.numpy(), err_msg=what)


# -- arithmetic -----------------------------------------------------------------------------------------------------

BINARY = ["add", "sub", "mul", "div", "rsub", "maximum", "minimum", "fmax", "fmin", "atan2", "copysign", "remainder",
          "fmod"]


@pytest.mark.parametrize("name", BINARY)
@given(shapes=SHAPES, seed=st.integers(0, 99))
def test_values_and_two_orders_of_gradients(name, shapes, seed):
    a, b = distinct(shapes[0], seed, 0.31), distinct(shapes[1], seed + 1, 0.17)
    for constant in ((), (0,), (1,)):
        check_op(*both(name), a, b, constant=constant)


@given(shapes=SHAPES, seed=st.integers(0, 99))
def test_power(shapes, seed):
    a, b = np.asarray(np.abs(normal(shapes[0], seed)) + 0.1), normal(shapes[1], seed + 1)
    for constant in ((), (0,), (1,)):
        check_op(*both("pow"), a, b, constant=constant)


@pytest.mark.parametrize("name", ["add", "sub", "rsub"])
@pytest.mark.parametrize("alpha", [2, -0.5, 0])
def test_alpha(name, alpha):
    check_op(*both(name, alpha=alpha), distinct((2, 3)), distinct((3,), 1))
    same(lambda m, x: getattr(m, name)(x, 2, alpha=alpha), distinct((3,)))
    if isinstance(alpha, int):
        check_op(*both(name, alpha=alpha), np.array([1, 2]), np.array([3, 4]))
    else:
        refused(lambda m: getattr(m, name)(m.tensor([1]), m.tensor([2]), alpha=alpha), f"alpha = {alpha}")


@pytest.mark.parametrize("name", ["neg", "abs", "clone", "contiguous"])
def test_of_one_tensor(name):
    for shape in ((), (0,), (2, 3)):  # of the second gradient of abs PyTorch has only a place-holder
        same(lambda m, x: getattr(x, name)(), distinct(shape), second=name != "abs")
    same(lambda m, x: getattr(x.mT, name)(), distinct((2, 3)), second=name != "abs")
    same(lambda m, x: getattr(x, name)(), np.array([0.0, -0.0, -1.0, INF, NAN]), second=False)


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


def test_atan2_at_the_origin():
    check_op(*both("atan2"), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, -1.0]), second=False)


@pytest.mark.parametrize("name", ["maximum", "minimum", "fmax", "fmin"])
def test_equals_share_the_gradient_as_in_pytorch(name):
    check_op(*both(name), np.round(normal((4, 5))), np.round(normal((4, 5), 1)))
    check_op(*both(name), np.array([1, 2, 3]), np.array([3, 2, 1]))
    check_op(*both(name), np.array([True, False]), np.array([False, False]))


# -- powers ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("exponent", [0, 1, 2, 3, -1, -2, 0.5, 2.5, -0.5, 0.0, 2.0])
def test_numbers_as_exponents(exponent):
    a = np.array([0.5, -1.5, 2.0, 3.0]) if float(exponent).is_integer() else np.array([0.5, 1.5, 2.0])
    same(lambda m, x: x ** exponent, a)
    special = SPECIAL if float(exponent).is_integer() else SPECIAL[~np.signbit(SPECIAL)]
    same(lambda m, x: x ** exponent, special, second=False)


def test_second_gradients_of_powers_at_zero():
    for exponent in (0, 1, 2, 3, 4.0):
        same(lambda m, x, e=exponent: x ** e, np.array([0.0, 1.0, -2.0]))
    check_op(*both("pow"), np.array([0.0, 0.0, 2.0]), np.array([2.0, 3.0, 0.0]), constant=[1])


def test_pairs_of_special_values_to_the_power():
    a, b = np.meshgrid(np.array([0.0, 1.0, -1.0, 0.5, -2.0, 3.0]), np.array([0.0, 1.0, -1.0, 0.5, 2.0, 3.0, -0.5]))
    check_op(*both("pow"), a, b, second=False)


@pytest.mark.parametrize("base", [2, 0.5, 0, 1, -2])
def test_powers_of_numbers(base):
    same(lambda m, x: base ** x, np.array([0.0, 1.0, -1.0, 2.5]), second=False)


def test_powers_of_integers():
    same(lambda m, x: x ** 3, np.array([0, 2, -3]))
    same(lambda m, x: x ** 0.5, np.array([0, 2, 9]))
    same(lambda m, x: 2 ** x, np.array([0, 2, 9]))
    check_op(*both("pow"), np.array([0, 2, -3]), np.array([2, 0, 3]))
    refused(lambda m: m.tensor([2]) ** -1, "negative integer powers")
    with pytest.raises(RuntimeError, match="negative integer powers"):
        mc.tensor([2]) ** mc.tensor([-1])


# -- types ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("a", DTYPES)
@pytest.mark.parametrize("b", DTYPES)
def test_promotion_of_all_pairs(a, b):
    """With axes, without axes, on either side: result_type and what an operation really returns."""
    for a_value, b_value in itertools.product(([1, 0], 1), repeat=2):
        (x, rx), (y, ry) = tensors(a_value, a), tensors(b_value, b)
        assert str(mc.result_type(x, y)) == name_of(torch.result_type(rx, ry))
        assert str(mc.promote_types(x.dtype, y.dtype)) == name_of(torch.promote_types(rx.dtype, ry.dtype))
        for name in ("add", "mul", "maximum", "div"):
            assert_same(getattr(mc, name)(x, y), getattr(torch, name)(rx, ry), f"{name} of {a_value} and {b_value}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("number", [True, 3, 2.5, -1.0], ids=repr)
def test_promotion_with_numbers(dtype, number):
    for value in ([1, 0], 1):
        x, ref = tensors(value, dtype)
        assert str(mc.result_type(x, number)) == name_of(torch.result_type(ref, number))
        for op in (operator.add, operator.mul, operator.truediv, operator.eq, operator.lt):
            assert_same(op(x, number), op(ref, number), op.__name__)
            assert_same(op(number, x), op(number, ref), op.__name__)


def test_types_of_three_operands():
    for a, b, c in itertools.product(["int64", "float32", "float64"], repeat=3):
        (x, rx), (y, ry), (z, rz) = tensors([1, 2], a), tensors(1, b), tensors([3, 1], c)
        assert_same(mc.clamp(x, y, z), torch.clamp(rx, ry, rz), f"{a}, {b}, {c}")


def test_gradients_have_the_types_of_their_tensors():
    for a, b in itertools.product(["float16", "float32", "float64"], repeat=2):
        (x, rx), (y, ry) = tensors([1.0, 2.0], a), tensors(3.0, b)
        for t in (x, y, rx, ry):
            t.requires_grad_()
        (x * y).sum().backward()
        (rx * ry).sum().backward()
        assert_same(x.grad, rx.grad)
        assert_same(y.grad, ry.grad)


@pytest.mark.parametrize("a", DTYPES)
@pytest.mark.parametrize("b", DTYPES)
def test_casts(a, b):
    x, ref = tensors([0, 1, 2, 100], a)
    y = x.to(getattr(mc, b))
    assert_same(y, ref.to(getattr(torch, b)))
    assert (y is x) == (a == b)
    assert x.to(getattr(mc, b), copy=True) is not x


def test_casts_are_differentiable():
    same(lambda m, x: x.to(m.float64) * 2, distinct((2, 3)))
    same(lambda m, x: x.half().float(), distinct((2, 3)), tolerance=1e-6, single=False)
    x = mc.tensor([1.5], requires_grad=True)
    assert not x.long().requires_grad and not x.bool().requires_grad


def test_forms_of_to():
    x = mc.tensor([1.0])
    for args in ((mc.float64,), ("float64",), ("double",), (np.float64,), (mc.ones(1, dtype=mc.float64),),
                 ("cpu", mc.float64)):
        assert x.to(*args).dtype == mc.float64
    assert x.to("cpu") is x and x.to(device="cpu") is x and x.cpu() is x and x.to(dtype=mc.float32) is x
    assert x.double().dtype == mc.float64 and x.int().dtype == mc.int32 and x.half().dtype == mc.float16
    assert x.bfloat16().dtype.name == "bfloat16" and x.type_as(mc.tensor([1])).dtype == mc.int64
    refused(lambda m: m.ones(1).to("float99"), "float99")
    with pytest.raises(TypeError, match="complex64"):
        x.to(np.complex64)


@pytest.mark.parametrize("name", ["float32", "float", "half", "double", "long", "bool", "bfloat16", "uint8"])
def test_names_of_types(name):
    assert str(dtypes.as_dtype(name)) == name_of(getattr(torch, name))


@pytest.mark.parametrize("dtype", ["uint16", "complex64", "U3", "datetime64", "longdouble", "nonsense", None, object])
def test_types_it_does_not_compute_with(dtype):
    with pytest.raises(TypeError, match="is not supported"):
        dtypes.as_dtype(dtype)


# -- comparison and logic -------------------------------------------------------------------------------------------

COMPARISONS = ["eq", "ne", "lt", "le", "gt", "ge"]


@pytest.mark.parametrize("name", COMPARISONS)
@given(shapes=SHAPES, seed=st.integers(0, 99))
def test_comparisons(name, shapes, seed):
    a, b = (np.asarray(np.round(normal(shape, seed + i))) for i, shape in enumerate(shapes))
    check_op(*both(name), a, b)
    same(lambda m, a, b: getattr(operator, name)(a, b), a, b)
    check_op(*both(name), a.astype(np.int32), b)


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons_with_special_values_and_numbers(name):
    compare = getattr(operator, name)
    check_op(*both(name), SPECIAL[:, None], SPECIAL)
    for a in (SPECIAL, np.array([1, -1, 255]), np.array([1, 255], np.uint8), np.array([100], np.int8), np.array(True)):
        for number in (1, 0, 100, 0.5, -0.5, True, INF, NAN):
            same(lambda m, x, n=number: compare(x, n), a)
            same(lambda m, x, n=number: compare(n, x), a)
    for a in (np.array([1, 255], np.uint8), np.array([100, -100], np.int8), np.array([True, False])):
        for number in (-1, -129, 128, 256, 300):  # numbers that do not fit are compared by value, PyTorch wraps them
            assert compare(mc.tensor(a), number).tolist() == [compare(v, number) for v in a.tolist()]
    same(lambda m, x: compare(x, 0.1), np.float32([0.1]))
    same(lambda m, x: compare(x, 16777216.0), np.array([16777217]))  # as float32, where they are equal
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
        same(lambda m, x, n=number: op(x, n), a.astype(np.int16))
        same(lambda m, x, n=number: op(n, x), a > 0)
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


# -- choice ---------------------------------------------------------------------------------------------------------

BOUNDS = st.sampled_from([(None, 0.5), (-0.5, None), (-0.5, 0.75), (0.5, -0.5), (0, 1), (-1, 0.25)])


@given(bounds=BOUNDS, shape=st.sampled_from([(), (0,), (3, 4)]), seed=st.integers(0, 99))
def test_clamp_with_numbers(bounds, shape, seed):
    check_op(*both("clamp", min=bounds[0], max=bounds[1]), distinct(shape, seed, 0.11))
    check_op(*both("clamp", min=bounds[0], max=bounds[1]), np.concatenate([SPECIAL, [0.5, -0.5, 0.75]]))
    check_op(*both("clamp", min=bounds[0], max=bounds[1]), np.array([-1, 0, 1, 2]))


@given(shapes=SHAPES, seed=st.integers(0, 99))
def test_clamp_with_tensors(shapes, seed):
    x, low, high = (np.asarray(np.round(2 * normal(s, seed + i)) / 2) for i, s in enumerate((*shapes, shapes[1])))
    for constant in ((), (0,), (1, 2)):
        check_op(mc.clamp, torch.clamp, x, low, high, constant=constant)
    check_op(mc.clamp, torch.clamp, x, low)
    same(lambda m, x, high: x.clamp(max=high), x, high)
    same(lambda m, x, low: m.clamp(x, low, m.tensor(0.5)), x, low)


def test_clamp_with_nan_and_bounds_in_the_wrong_order():
    x, low, high = np.array([[1.0], [NAN], [3.0]]), np.array([NAN, 2.0, 4.0, 0.0]), np.array([1.0, NAN, 2.0, 5.0])
    check_op(mc.clamp, torch.clamp, x, low, high, second=False)
    check_op(mc.clamp, torch.clamp, x, low, second=False)


def test_other_names_of_clamp():
    for name in ("clamp_min", "clamp_max"):
        same(lambda m, x, name=name: getattr(m, name)(x, 0.25), distinct((2, 3)))
        same(lambda m, x, bound, name=name: getattr(m, name)(x, bound), distinct((2, 3)), distinct((3,), 1, 0.17))
    same(lambda m, x: m.clip(x, min=0, max=0.5), distinct((2, 3)))
    refused(lambda m: m.ones(1).clamp(), "clamp: give min, max or both")


@given(shapes=SHAPES, seed=st.integers(0, 99))
def test_where(shapes, seed):
    condition = np.asarray(normal(shapes[0], seed) > 0)
    a, b = normal(shapes[1], seed + 1), normal(shapes[0], seed + 2)
    for constant in ((), (1,), (2,)):
        check_op(mc.where, torch.where, condition, a, b, constant=constant)
    same(lambda m, c, a: a.where(c, m.tensor(2.0)), condition, a)
    same(lambda m, c, a: m.where(c, 2, a), condition, a)
    same(lambda m, c, a: m.where(c, a, 2.0), condition, a)
    same(lambda m, c: m.where(c, 1, 2.5), condition)


def test_where_mixes_types_and_finds_indices():
    condition = np.array([[True, False], [False, True]])
    check_op(mc.where, torch.where, condition, np.array([1, 2]), np.array([0.5, 1.5]))
    check_op(mc.where, torch.where, condition)
    check_op(mc.where, torch.where, np.array([0.0, 2.0, NAN]), constant=[0])
    refused(lambda m: m.where(m.tensor([1]), 1, 2), "where: condition")
    refused(lambda m: m.where(m.tensor([True, False]), m.ones(3), 2.0), r"where: shapes \(2,\) and \(3,\)")


# -- in place -------------------------------------------------------------------------------------------------------

INPLACE = [operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ifloordiv, operator.imod,
           operator.ipow]


@pytest.mark.parametrize("op", INPLACE, ids=lambda op: op.__name__)
def test_in_place_operators(op):
    a, b = np.abs(distinct((2, 3))) + 0.1, np.abs(distinct((3,), 1)) + 0.1
    constant = [0, 1] if op is operator.ifloordiv else []
    same(lambda m, x, y: op(x.clone(), y), a, b, constant=constant)
    same(lambda m, x: op(x.clone(), 2), a, constant=constant)
    if op is not operator.itruediv:
        same(lambda m, x, y: op(x.clone(), y), np.array([7, 8, 9]), np.array([2, 3, 4]))
    x = mc.tensor(a)
    before = x.data
    y = op(x, 2)
    assert y is x and x.data is before and x._version == 1


@pytest.mark.parametrize("name, args", [
    ("add_", (2,)), ("sub_", (0.5,)), ("mul_", (3,)), ("div_", (2,)), ("pow_", (2,)), ("neg_", ()), ("abs_", ()),
    ("clamp_", (0, 1)), ("clamp_min_", (0.2,)), ("clamp_max_", (0.2,)), ("remainder_", (0.3,)), ("floor_divide_", (2,)),
    ("fill_", (3.5,)), ("zero_", ())])
def test_in_place_methods(name, args):
    same(lambda m, x: getattr(x * 1.0, name)(*args), distinct((2, 3)), second=name != "abs_",
         constant=[0] if name == "floor_divide_" else [])


@pytest.mark.parametrize("op", [operator.iand, operator.ior, operator.ixor], ids=lambda op: op.__name__)
def test_bits_in_place(op):
    same(lambda m, x: op(x.clone(), 3), np.array([1, 6]))
    x = mc.tensor([1, 6])
    assert op(x, 3) is x


def test_in_place_keeps_the_type():
    for start, other in (("float32", "float64"), ("int32", "int64"), ("float16", "int64"), ("uint8", "int64"),
                         ("int64", "bool")):
        (x, rx), (y, ry) = tensors([1, 2], start), tensors([3, 1], other)
        x += y
        rx += ry
        assert_same(x, rx)
    for start, other in (("int64", 1.5), ("bool", 1), ("bool", 0.5)):
        refused(lambda m, s=start, o=other: m.tensor([1, 0], dtype=getattr(m, s)).add_(o), "can't be cast")
    refused(lambda m: m.tensor([1]).div_(2), "can't be cast")


def test_in_place_keeps_the_shape():
    refused(lambda m: m.ones(3).add_(m.ones(2, 3)), "shape")
    refused(lambda m: m.ones(3).copy_(m.ones(2, 3)), "expand")
    refused(lambda m: m.ones(1, 2).expand(2, 2).add_(1), "clone")


def test_filling_forgets_what_was_there():
    for value in (0, 2.5, NAN, INF):
        same(lambda m, x, v=value: (x * 2).fill_(v), np.array([NAN, INF, 1.0]))
    same(lambda m, x: (x * 2).zero_(), np.array([NAN, INF, 1.0]))
    same(lambda m, x, v: (x * 2).fill_(v), distinct((2, 3)), np.array(1.5))
    same(lambda m, x: x.clone().fill_(2.7), np.array([1, 2]))
    refused(lambda m: m.ones(2).fill_(m.ones(1)), "fill_: value has shape")


def test_copying_takes_the_history_of_the_source():
    same(lambda m, x, y: (x * 2).copy_(y), distinct((2, 3)), distinct((3,), 1))
    same(lambda m, x, y: x.clone().copy_(y), np.array([1, 2]), np.array([1.7, -2.7]), constant=[1])
    same(lambda m, x, y: (x * 2).copy_(y), distinct((2, 3)), np.array([1, 2, 3]))


def test_a_leaf_is_not_written_in_place():
    for write in (lambda x: x.add_(1), lambda x: x.zero_(), lambda x: x.copy_(x.detach() * 2)):
        refused(lambda m, write=write: write(m.ones(2, requires_grad=True)), "leaf")


# -- wrong calls ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["add", "mul", "div", "eq", "lt", "clamp", "logical_and", "isclose", "maximum"])
def test_shapes_that_do_not_broadcast(name):
    refused(lambda m: getattr(m, name)(m.ones(2, 3), m.ones(2)), r"shapes \(2, 3\) and \(2,\) do not broadcast")


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "pow", "maximum", "remainder", "lt"])
@pytest.mark.parametrize("other", ["text", None, [1.0]], ids=repr)
def test_operands_that_are_no_numbers(name, other):
    refused(lambda m: getattr(m, name)(m.ones(1), other), f"expected a Tensor or a number, got {type(other).__name__}")


@pytest.mark.parametrize("name", ["add", "pow"])
def test_at_least_one_operand_is_a_tensor(name):
    with pytest.raises(TypeError, match=f"{name}: expected at least one Tensor, got 2 and 3"):
        getattr(mc, name)(2, 3)


def test_arrays_are_not_mixed_with_tensors():
    with pytest.raises(TypeError, match="ndarray; wrap arrays"):
        mc.ones(2) + np.ones(2)
    with pytest.raises(TypeError, match="ndarray; wrap arrays"):
        np.ones(2) + mc.ones(2)


@pytest.mark.parametrize("call", [
    lambda m, b: b - b, lambda m, b: b - 1, lambda m, b: 1.5 - b, lambda m, b: m.ones(2) - b, lambda m, b: -b,
    lambda m, b: abs(b), lambda m, b: b // b, lambda m, b: b % b, lambda m, b: m.fmod(b, b), lambda m, b: b ** b,
    lambda m, b: m.div(b, b, rounding_mode="trunc")])
def test_what_bools_cannot_do(call):
    refused(lambda m: call(m, m.tensor([True, True])), "bool tensors")


def test_numbers_that_do_not_fit():
    with pytest.raises(ValueError, match="300 does not fit into uint8"):
        mc.tensor([1], dtype=mc.uint8) + 300
    refused(lambda m: m.tensor([1], dtype=m.int8).clamp(max=200), "200 does not fit into int8")


def test_names_that_mean_the_same():
    for alias, name in {"subtract": "sub", "multiply": "mul", "divide": "div", "true_divide": "div", "negative": "neg",
                        "absolute": "abs", "arctan2": "atan2", "greater": "gt", "greater_equal": "ge", "less": "lt",
                        "less_equal": "le", "not_equal": "ne", "clip": "clamp"}.items():
        assert getattr(mc, alias) is getattr(mc, name) and hasattr(torch, alias)


def test_nothing_is_recorded_for_constants():
    y = mc.ones(2) * 2 + mc.ones(1)
    assert y.grad_fn is None and not y.requires_grad
    assert_close(y, np.float32([3, 3]), 0)
