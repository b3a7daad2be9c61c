"""Operands, types, conversions and in-place forms against PyTorch."""

import inspect
import itertools
import math
import operator
import re

import numpy as np
import pytest
import torch

import minicnn as mc
import minicnn.functional as F
from minicnn import dtypes
from util import agree, assert_close, check_op, distinct, in_both, leaf, refused

NAN, INF = math.nan, math.inf
DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]


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
    agree(lambda m, x: x.to(m.float64) * 2, distinct((2, 3)))
    agree(lambda m, x: x.half().float(), distinct((2, 3)), tolerance=1e-6, single=False)
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


# -- in place -------------------------------------------------------------------------------------------------------

INPLACE = [operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ifloordiv, operator.imod,
           operator.ipow]


@pytest.mark.parametrize("op", INPLACE, ids=lambda op: op.__name__)
def test_in_place_operators(op):
    a, b = np.abs(distinct((2, 3))) + 0.1, np.abs(distinct((3,), 1)) + 0.1
    constant = [0, 1] if op is operator.ifloordiv else []
    agree(lambda m, x, y: op(x.clone(), y), a, b, constant=constant)
    agree(lambda m, x: op(x.clone(), 2), a, constant=constant)
    if op is not operator.itruediv:
        agree(lambda m, x, y: op(x.clone(), y), np.array([7, 8, 9]), np.array([2, 3, 4]))
    x = mc.tensor(a)
    before = x.data
    y = op(x, 2)
    assert y is x and x.data is before and x._version == 1


@pytest.mark.parametrize("name, args", [
    ("add_", (2,)), ("sub_", (0.5,)), ("mul_", (3,)), ("div_", (2,)), ("pow_", (2,)), ("neg_", ()), ("abs_", ()),
    ("clamp_", (0, 1)), ("clamp_min_", (0.2,)), ("clamp_max_", (0.2,)), ("remainder_", (0.3,)), ("floor_divide_", (2,)),
    ("fill_", (3.5,)), ("zero_", ())])
def test_in_place_methods(name, args):
    agree(lambda m, x: getattr(x * 1.0, name)(*args), distinct((2, 3)), second=name != "abs_",
         constant=[0] if name == "floor_divide_" else [])


@pytest.mark.parametrize("op", [operator.iand, operator.ior, operator.ixor], ids=lambda op: op.__name__)
def test_bits_in_place(op):
    agree(lambda m, x: op(x.clone(), 3), np.array([1, 6]))
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
        agree(lambda m, x, v=value: (x * 2).fill_(v), np.array([NAN, INF, 1.0]))
    agree(lambda m, x: (x * 2).zero_(), np.array([NAN, INF, 1.0]))
    agree(lambda m, x, v: (x * 2).fill_(v), distinct((2, 3)), np.array(1.5))
    agree(lambda m, x: x.clone().fill_(2.7), np.array([1, 2]))
    refused(lambda m: m.ones(2).fill_(m.ones(1)), "fill_: value has shape")


def test_copying_takes_the_history_of_the_source():
    agree(lambda m, x, y: (x * 2).copy_(y), distinct((2, 3)), distinct((3,), 1))
    agree(lambda m, x, y: x.clone().copy_(y), np.array([1, 2]), np.array([1.7, -2.7]), constant=[1])
    agree(lambda m, x, y: (x * 2).copy_(y), distinct((2, 3)), np.array([1, 2, 3]))


def test_functions_of_layers_that_are_methods_too():
    x = distinct((2, 3))
    for call in (lambda m, x: x.relu(), lambda m, x: m.relu(x), lambda m, x: (x * 1).relu_(), lambda m, x: x.softmax(1),
                 lambda m, x: m.softmax(x, dim=0), lambda m, x: x.log_softmax(-1), lambda m, x: m.log_softmax(x, 1),
                 lambda m, x: x.sigmoid(), lambda m, x: x.tanh()):
        agree(call, x)


def test_a_leaf_is_not_written_in_place():
    for write in (lambda x: x.add_(1), lambda x: x.zero_(), lambda x: x.copy_(x.detach() * 2)):
        refused(lambda m, write=write: write(m.ones(2, requires_grad=True)), "leaf")


# -- wrong calls ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["add", "mul", "div", "eq", "lt", "clamp", "logical_and", "isclose", "maximum"])
def test_shapes_that_do_not_broadcast(name):
    refused(lambda m: getattr(m, name)(m.ones(2, 3), m.ones(2)), r"shapes \(2, 3\) and \(2,\) do not broadcast")


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "pow", "remainder", "lt"])
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


PUBLIC = {f"{module.__name__}.{name}": getattr(module, name) for module, names in ((mc, dir(mc)), (F, F.__all__))
          for name in names if inspect.isfunction(getattr(module, name))
          and getattr(module, name).__module__.startswith("minicnn.ops.")}
# type: an argument of it, arguments that are not, what messages call it
TYPES = {mc.Tensor: (mc.ones(2, 3), [[0.5], np.ones(2), 1.5], "a Tensor"), bool: (False, [1, "yes"], "True or False"),
         int: (1, [True, 1.5, "1"], "an int"), float: (0.5, ["1", [0.5]], "a number"),
         str: ("mean", [1, True], "a str")}
TYPED = [(name, p.name, kind, p.annotation == kind) for name, function in PUBLIC.items()
         for p in inspect.signature(function).parameters.values() for kind in TYPES
         if p.annotation in (kind, kind | None) and p.kind is not p.VAR_POSITIONAL]


@pytest.mark.parametrize("name, argument, kind, needed", TYPED)
def test_arguments_are_of_the_types_that_signatures_say(name, argument, kind, needed):
    """Whatever a public function calls a Tensor, bool, int, float or str, by position and by name."""
    function, parameters = PUBLIC[name], inspect.signature(PUBLIC[name]).parameters
    right = {p.name: next((TYPES[k][0] for k in TYPES if p.annotation in (k, k | None)), 1)
             for p in parameters.values()}
    _, wrong, called = TYPES[kind]
    for value in (*wrong, *([None] if needed else [])):
        arguments = right | {argument: value}
        given = type(value).__name__ if kind is mc.Tensor else re.escape(repr(value))
        message = f"{argument} must be {called}, not {given}"
        with pytest.raises(TypeError, match=message):
            function(**arguments)
        if parameters[argument].kind is not inspect.Parameter.KEYWORD_ONLY:
            rest = dict(arguments)
            first = [rest.pop(p) for p in list(parameters)[:list(parameters).index(argument) + 1]]
            with pytest.raises(TypeError, match=message):
                function(*first, **rest)


def test_types_that_were_right_once_are_right_only_in_their_places():
    x, w = mc.ones(2, 3), mc.ones(4, 3)
    F.linear(x, w), F.linear(x, weight=w), F.linear(x, w, None), F.linear(x, bias=None, weight=w)
    F.dropout(x, 0.5, True), F.dropout(x, p=0.5, training=True), F.dropout(x, training=True, p=0.5)
    for call, match in ((lambda: F.linear(w, None), "weight must be a Tensor, not NoneType"),
                        (lambda: F.linear(x, weight=None), "weight must be a Tensor, not NoneType"),
                        (lambda: F.linear(x, bias=w, weight=None), "weight must be a Tensor, not NoneType"),
                        (lambda: F.dropout(x, True, 0.5), "training must be True or False, not 0.5"),
                        (lambda: F.dropout(x, training=0.5, p=True), "training must be True or False, not 0.5"),
                        (lambda: F.dropout(x, p="0.5"), "p must be a number, not '0.5'")):
        with pytest.raises(TypeError, match=match):
            call()
    with pytest.raises(TypeError, match="unexpected keyword argument 'rate'"):
        F.dropout(x, rate=0.5)


def test_every_function_of_layers_says_what_must_be_a_tensor():
    for name in F.__all__:
        parameters = inspect.signature(getattr(F, name)).parameters.values()
        assert any("Tensor" in str(p.annotation) for p in parameters), name
    assert len({name for name, _, kind, _ in TYPED if kind is mc.Tensor}) > 200


def test_the_error_of_a_method_names_it():
    for name, call in {"cat": lambda m, x: m.cat([x, 1.0]), "einsum": lambda m, x: m.einsum("i,i->i", x, 1.0),
                       "meshgrid": lambda m, x: m.meshgrid(x, 1.0, indexing="ij"),
                       "broadcast_tensors": lambda m, x: m.broadcast_tensors(x, 1.0)}.items():
        refused(lambda m, call=call: call(m, m.ones(2)), f"{name}: operand 1 must be a Tensor, not float")
    refused(lambda m: m.ones(2) @ [1.0, 2.0], "matmul: other must be a Tensor, not list")
    refused(lambda m: m.ones(2).gather(0, [0]), "gather: index must be a Tensor, not list")
    with pytest.raises(TypeError, match="copy_: other must be a Tensor, not int"):
        mc.ones(2).copy_(3)
    refused(lambda m: m.ones(2).index_add_(0, m.tensor([0]), 1.0), "index_add: source must be a Tensor, not float")


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


# -- numbers in the place of Python's --------------------------------------------------------------------------------

NUMBERS = {  # of NumPy, and tensors without axes
    "dim": lambda m, f, x: f.softmax(x, dim=m.tensor(1)),
    "eps": lambda m, f, x: f.layer_norm(x, (3,), eps=m.tensor(0.5)),
    "whole eps": lambda m, f, x: f.layer_norm(x, (3,), eps=m.tensor(1)),
    "p": lambda m, f, x: f.dropout(x, m.tensor(0.0), True),
    "alpha": lambda m, f, x: m.add(x, x, alpha=m.tensor(2.0)),
    "alpha of NumPy": lambda m, f, x: f.elu(-x, np.float32(0.5)),
    "alpha by place": lambda m, f, x: f.elu(-x, m.tensor(0.5)),
    "diagonal": lambda m, f, x: m.tril(x, np.uint8(1)),
    "negative diagonal": lambda m, f, x: m.diag(x, np.int8(-1)),
    "shifts": lambda m, f, x: x.roll(m.tensor(2)),
    "repeats": lambda m, f, x: x.repeat(m.tensor(2), np.int64(1)),
    "chunks": lambda m, f, x: m.chunk(x, m.tensor(2))[0],
    "sections": lambda m, f, x: x.tensor_split(np.int64(2))[0],
    "no eps at all": lambda m, f, x: f.group_norm(x.T, 1, eps=-1e-9)}

WRONG_NUMBERS = {
    "a fraction as dim": (lambda m, f, x: f.softmax(x, dim=m.tensor(1.0)), "dim must be an int"),
    "a bool as dim": (lambda m, f, x: f.softmax(x, dim=m.tensor(True)), "dim must be an int"),
    "an axis": (lambda m, f, x: f.softmax(x, dim=m.tensor([1])), "dim must be an int"),
    "alpha with an axis": (lambda m, f, x: m.add(x, x, alpha=m.tensor([2.0])), "alpha must be a number"),
    "elu with an axis": (lambda m, f, x: f.elu(x, m.tensor([0.5])), "alpha must be a number"),
    "alpha that wants a gradient": (lambda m, f, x: m.add(x, x, alpha=m.tensor(2.0, requires_grad=True)), "alpha must"),
    "eps that wants a gradient": (lambda m, f, x: f.layer_norm(x, (3,), eps=m.tensor(0.5, requires_grad=True)), "eps"),
    "digits to fill with": (lambda m, f, x: x.detach().fill_("1"), "expected a Tensor or a number"),
    "digits to write": (lambda m, f, x: x.detach().__setitem__(0, "1"), "expected a Tensor or a number")}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_other_kinds(name):
    ours, theirs = in_both(lambda f, x: NUMBERS[name](mc if f is F else torch, f, x))
    for _ in range(2):  # what types went well before makes no difference
        check_op(ours, theirs, distinct((2, 3)))


@pytest.mark.parametrize("name", WRONG_NUMBERS)
def test_no_numbers(name):
    call, match = WRONG_NUMBERS[name]
    mc.add(mc.ones(2), mc.ones(2), alpha=mc.tensor(2.0))  # these types go well
    refused(lambda m: call(m, F if m is mc else torch.nn.functional, leaf(m)), match)


def test_a_tensor_of_another_library_is_called_by_its_name():
    with pytest.raises(TypeError, match="must be a Tensor, not torch.Tensor; make one with"):
        F.linear(torch.ones(2, 3), mc.ones(4, 3))


@pytest.mark.parametrize("call, error, message", [
    (lambda x: F.layer_norm(x, 3), TypeError, "layer_norm: normalized_shape must be a tuple or a list of ints, not 3"),
    (lambda x: x.unsqueeze(7), IndexError, r"unsqueeze: dim 7 is out of range, must be in -3 … 2"),
    (lambda x: F.one_hot(mc.tensor([-1])), RuntimeError, "input has the class -1; classes must not be negative"),
    (lambda x: F.dropout(x.long()), RuntimeError, r"x is int64; must be of a floating type \(convert"),
    (lambda x: F.max_pool2d(x[None], 0), ValueError, "kernel_size = 0 must be an integer .* or 2 of them$")])
def test_errors_say_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call(mc.ones(2, 3))
