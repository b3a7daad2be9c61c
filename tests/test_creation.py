"""New tensors against PyTorch: values, types, seeds and refusals."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from util import assert_close, refused

import minicnn as mc


def same(f, tolerance=0.0):
    """f(library) gives the same in both libraries."""
    ours, theirs = f(mc), f(torch)
    assert_close(ours, theirs, tolerance)
    assert ours.requires_grad == theirs.requires_grad and ours.is_leaf


# -- tensor ---------------------------------------------------------------------------------------------------------

DATA = [3, 2.5, True, [1, 2], [1, 2.0], [True, False], [[1, 2], [3, 4]], ((1.0,), (2.0,)), [], [[], []], [[True], [1]],
        np.float64(1.5), np.float32(1.5), np.int16(3), np.bool_(True), [np.float64(1.0)], [np.int32(1), np.int32(2)],
        range(3), np.ones((2, 3)), np.ones(2, np.float32), np.array([True]), np.arange(3, dtype=np.int8), np.array(2.0)]


@pytest.mark.parametrize("data", DATA, ids=repr)
def test_tensor_of_data(data):
    same(lambda m: m.tensor(data))


@pytest.mark.parametrize("name", ["float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"])
def test_tensor_dtypes(name):
    same(lambda m: m.tensor([0, 1, 2], dtype=getattr(m, name)))
    same(lambda m: m.tensor(np.array([0.5, 1.0]), dtype=getattr(m, name)))
    assert mc.tensor([1], dtype=name).dtype == np.dtype(name)
    assert_close(mc.from_numpy(np.ones(2, name)), torch.from_numpy(np.ones(2, name)), 0)


@pytest.mark.parametrize("data, dtype", [(0.1, "float64"), ([0.1, 1e300], "float64"), (16777217.0, "int64"),
                                         ([2**70, 1], "float32"), ([[0.1], [-2.9]], "int32"), (-3, "uint8"),
                                         ([-1, 255], "uint8"), ([1e300, 0], "bool"), ([1e300, -1e300], "float32")])
def test_numbers_are_converted_once(data, dtype):
    same(lambda m: m.tensor(data, dtype=getattr(m, dtype)))


def test_tensor_copies_and_detaches():
    array = np.ones(3)
    x = mc.tensor(array)
    array[0] = 5
    assert x.tolist() == [1, 1, 1]
    w = mc.ones(2, requires_grad=True)
    y = mc.tensor(w * 2)
    assert not y.requires_grad and y.tolist() == [2, 2]
    z = mc.tensor(w, dtype=mc.float64, requires_grad=True)
    z.detach().zero_()
    assert z.dtype == np.float64 and z.requires_grad and w.detach().numpy().all()


def test_tensor_of_tensors_and_of_other_byte_orders():
    assert_close(mc.tensor([mc.tensor(1.0), mc.tensor(2.0)]), torch.tensor([torch.tensor(1.0), torch.tensor(2.0)]), 0)
    x = mc.tensor(np.arange(3, dtype=">i4"))
    assert x.dtype == np.int32 and x.dtype.isnative and x.tolist() == [0, 1, 2]


def test_bfloat16():
    x = mc.tensor([1.0, 2.0], dtype="bfloat16")
    assert x.dtype == mc.bfloat16 and mc.zeros(2, dtype=mc.bfloat16).dtype == mc.bfloat16
    assert mc.randn(4, dtype=mc.bfloat16).dtype == mc.bfloat16
    assert mc.tensor(x).dtype == mc.bfloat16


NO_DATA = {
    "text": (lambda m: m.tensor("a"), "tensor: data holds 'a' (str)"),
    "bytes": (lambda m: m.tensor(b"a"), "tensor: data holds b'a' (bytes)"),
    "none": (lambda m: m.tensor(None), "tensor: data holds None (NoneType)"),
    "text_among_numbers": (lambda m: m.tensor([[1, 2], [3, "a"]]), "tensor: data holds 'a' (str)"),
    "none_among_numbers": (lambda m: m.tensor([1.5, None]), "tensor: data holds None (NoneType)"),
    "text_as_float": (lambda m: m.tensor(["1.5"], dtype=m.float32), "tensor: data holds '1.5' (str)"),
    "none_as_float": (lambda m: m.tensor([None], dtype=m.float32), "tensor: data holds None (NoneType)"),
    "dict": (lambda m: m.tensor({1: 2}), "tensor: data holds {1: 2} (dict)"),
    "set": (lambda m: m.tensor({3}), "tensor: data holds {3} (set)"),
    "ragged": (lambda m: m.tensor([[1], [1, 2]]), "different lengths"),
    "ragged_depth": (lambda m: m.tensor([[1], 2]), "different lengths"),
    "huge": (lambda m: m.tensor(10**30), f"tensor: {10**30} does not fit into int64"),
    "huge_among_others": (lambda m: m.tensor([[1], [-10**30]]), f"tensor: {-10**30} does not fit into int64"),
    "just_too_large": (lambda m: m.tensor(2**63), f"tensor: {2**63} does not fit into int64"),
    "huge_as_integer": (lambda m: m.tensor([10**30], dtype=m.int32), f"tensor: {10**30} does not fit into int64"),
    "too_large": (lambda m: m.tensor([3, 300], dtype=m.uint8), "tensor: 300 does not fit into uint8"),
    "too_small": (lambda m: m.tensor(-129, dtype=m.int8), "tensor: -129 does not fit into int8"),
    "float_too_large": (lambda m: m.tensor(1e20, dtype=m.int32), "tensor: 1e+20 does not fit into int32"),
    "nan_as_integer": (lambda m: m.tensor([float("nan")], dtype=m.int64), "tensor: nan does not fit into int64"),
}


@pytest.mark.parametrize("case", NO_DATA)
def test_what_is_no_data(case):
    call, message = NO_DATA[case]
    refused(call, re.escape(message))


def test_arrays_of_other_types():
    with pytest.raises(TypeError, match="dtype uint16 is not supported|dtype..uint16"):
        mc.tensor(np.ones(2, np.uint16))
    with pytest.raises(TypeError, match=r"tensor: data holds 2j \(complex\)"):
        mc.tensor(2j)  # PyTorch has complex tensors


def test_only_floats_require_gradients():
    refused(lambda m: m.tensor([1, 2], requires_grad=True), "only floating point")
    refused(lambda m: m.zeros(2, dtype=m.int64, requires_grad=True), "only floating point")


def test_from_numpy_shares_memory():
    array = np.zeros(3)
    x = mc.from_numpy(array)
    array[0] = 1
    x[1] = 2
    assert x.tolist() == array.tolist() == [1, 2, 0]


@pytest.mark.parametrize("array", [[1.0], np.array(["a"]), np.ones(2, ">f4")], ids=str)
def test_from_numpy_refuses(array):
    refused(lambda m: m.from_numpy(array), "from_numpy|not supported")
    with pytest.raises(TypeError, match="complex128"):
        mc.from_numpy(np.ones(2, complex))


def test_dlpack_shares_memory():
    theirs = torch.zeros(3)
    x = mc.from_dlpack(theirs)
    theirs[0] = 1
    assert x.tolist() == [1, 0, 0]
    back = torch.from_dlpack(x)
    copied = mc.from_dlpack(theirs, copy=True, device="cpu")
    x[1] = 2
    assert back.tolist() == [1, 2, 0] and copied.tolist() == [1, 0, 0]
    with pytest.raises(TypeError, match="not supported"):
        mc.from_dlpack(torch.zeros(2, dtype=torch.complex64))


# -- filled, counted ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("size", [(), (3,), (2, 0), (2, 3, 1)])
@pytest.mark.parametrize("dtype", [None, "float64", "int64", "bool", "uint8"])
def test_filled(size, dtype):
    def options(m):
        return {} if dtype is None else {"dtype": getattr(m, dtype)}

    for name in ("zeros", "ones"):
        same(lambda m, name=name: getattr(m, name)(size, **options(m)))
        same(lambda m, name=name: getattr(m, name + "_like")(m.tensor(np.zeros(size, np.float16)), **options(m)))
        if size:
            same(lambda m, name=name: getattr(m, name)(*size, **options(m)))
    same(lambda m: m.full(size, 1, **options(m)))
    same(lambda m: m.full_like(m.zeros(size), 1.0, **options(m)))
    assert mc.empty(size, dtype=dtype).shape == size == mc.empty_like(mc.zeros(size)).shape
    assert mc.empty_like(mc.zeros(size, dtype="int8")).dtype == np.int8


def test_types_of_full():
    for value in (True, 3, 2.5):
        same(lambda m, value=value: m.full((2,), value))
        same(lambda m, value=value: m.full((2,), m.tensor(value)))
        same(lambda m, value=value: m.full_like(m.ones(2, dtype=m.int32), value))


def test_requires_grad():
    for name in ("zeros", "ones", "empty", "rand", "randn", "eye"):
        assert getattr(mc, name)(2, requires_grad=True).requires_grad
    for f in (mc.zeros_like, mc.ones_like, mc.empty_like, mc.rand_like, mc.randn_like):
        assert f(mc.ones(2), requires_grad=True).requires_grad
    for x in (mc.full((2,), 1.0, requires_grad=True), mc.full_like(mc.ones(2), 1.0, requires_grad=True),
              mc.arange(2.0, requires_grad=True), mc.linspace(0, 1, 2, requires_grad=True)):
        assert x.requires_grad


def test_methods_that_follow_a_tensor():
    x = mc.ones(2, dtype="float64")
    theirs = torch.ones(2, dtype=torch.float64)
    for f in (lambda x: x.new_zeros(2, 3), lambda x: x.new_ones((2, 3)), lambda x: x.new_full((2,), 5),
              lambda x: x.new_tensor([1, 2]), lambda x: x.new_zeros(())):
        assert_close(f(x), f(theirs), 0)
    assert x.new_empty(2, 1).shape == (2, 1) and x.new_empty(2).dtype == np.float64
    assert x.new_zeros(1, dtype="int8").dtype == np.int8 and x.new_ones(1, requires_grad=True).requires_grad


ARANGES = [(5,), (2, 7), (7, 2, -2), (0, 1, 0.25), (1.5,), (0.0, 10), (3, 3), (True,), (-3.0, 3.0, 0.1), (0, -5, -1),
           (1, 2.5)]


@pytest.mark.parametrize("arguments", ARANGES, ids=str)
def test_arange(arguments):
    same(lambda m: m.arange(*arguments), 1e-6)
    same(lambda m: m.arange(*arguments, dtype=m.float64), 1e-12)


@pytest.mark.parametrize("name", ["zeros", "ones", "empty", "rand", "randn"])
def test_sizes_by_name_as_a_tuple_and_as_numbers(name):
    for library in (mc, torch):
        make, follow = getattr(library, name), getattr(library.ones(1), f"new_{name}", None)
        for function in (make, *([follow] if follow else [])):
            for x in (function(2, 3), function((2, 3)), function([2, 3]), function(size=(2, 3))):
                assert tuple(x.shape) == (2, 3)
        assert make(()).shape == ()


def test_bounds_and_size_of_randint_by_name():
    for library in (mc, torch):
        for x in (library.randint(3, (50,)), library.randint(high=3, size=(50,)), library.randint(3, size=(50,)),
                  library.randint(0, 3, (50,)), library.randint(low=0, high=3, size=(50,))):
            assert tuple(x.shape) == (50,) and sorted(set(x.tolist())) == [0, 1, 2]
        assert set(library.randint(-2, -1, size=(5,)).tolist()) == {-2}


def test_arange_by_name():
    same(lambda m: m.arange(end=4))
    same(lambda m: m.arange(end=4.0, start=1))


def test_arange_to_integers():
    same(lambda m: m.arange(0, 5, 2, dtype=m.int32))
    same(lambda m: m.arange(3, dtype=m.float16))
    same(lambda m: m.arange(m.tensor(1), m.tensor(2.5), m.tensor(0.5)))


@pytest.mark.parametrize("dtype", ["int64", "int32", "int8", "uint8"])
def test_integers_between_fractions(dtype):
    for arguments in ((3.1,), (0.9, 5.5, 2.5), (1.5, 4), (2.1, 7.9, 1)):
        same(lambda m, arguments=arguments: m.arange(*arguments, dtype=getattr(m, dtype)))
    if dtype != "uint8":
        same(lambda m: m.arange(0.1, -7.9, -4.0, dtype=getattr(m, dtype)))
        same(lambda m: m.linspace(4.3, -2.5, 50, dtype=getattr(m, dtype)))


@given(st.integers(-5, 5), st.integers(-5, 5), st.sampled_from([-3, -1, 1, 2, 0.5, -0.75]))
def test_arange_length(start, end, step):
    if (end - start) * step >= 0:
        same(lambda m: m.arange(start, end, step), 1e-6)
    else:
        refused(lambda m: m.arange(start, end, step), "arange: from")


@pytest.mark.parametrize("steps", [0, 1, 2, 5, 100])
def test_linspace(steps):
    same(lambda m: m.linspace(-1, 2.5, steps), 1e-6)
    same(lambda m: m.linspace(3, 3, steps, dtype=m.float64), 1e-12)
    same(lambda m: m.linspace(m.tensor(-1), m.tensor(2.5), steps), 1e-6)


def test_eye():
    for size in ((3,), (2, 4), (4, 2), (0,)):
        same(lambda m, size=size: m.eye(*size))
    same(lambda m: m.eye(2, dtype=m.int64))


REFUSED = {
    "zeros": (lambda m: m.zeros(-1), "negative"),
    "zeros_float": (lambda m: m.zeros(2.0), "float"),
    "arange": (lambda m: m.arange(0, 1, 0), "step"),
    "arange_sign": (lambda m: m.arange(0, 5, -1), "from 0 to 5 in steps of -1"),
    "arange_endless": (lambda m: m.arange(0, float("inf")), "to inf in steps of 1"),
    "full_none": (lambda m: m.full((2,), None), "fill_value must be a number, not None"),
    "full_tuple": (lambda m: m.full((2,), (1,)), "fill_value must be a number"),
    "full_like": (lambda m: m.full_like(m.ones(2), "a"), "fill_value must be a number"),
    "full_fraction": (lambda m: m.full((2,), -1.5, dtype=m.uint8), "-1.5 does not fit into uint8"),
    "arange_bool": (lambda m: m.arange(5, dtype=m.bool), "arange: dtype bool"),
    "linspace_bool": (lambda m: m.linspace(0, 1, 3, dtype=m.bool), "linspace: dtype bool"),
    "full_large": (lambda m: m.full_like(m.ones(2).to(m.int8), 128.5), "128.5 does not fit into int8"),
    "linspace": (lambda m: m.linspace(0, 1, -1), "steps = -1"),
    "eye": (lambda m: m.eye(-1), "negative"),
    "rand": (lambda m: m.rand(2, dtype=m.int64), "rand: dtype int64"),
    "randn": (lambda m: m.randn(2, dtype=m.bool), "randn: dtype bool"),
    "randint": (lambda m: m.randint(3, 3, (2,)), "low = 3 must be less than high = 3"),
    "randint_arguments": (lambda m: m.randint(3), "randint: size = None must be a tuple"),
    "randint_size": (lambda m: m.randint(3, 4, 5), "randint: size = 5 must be a tuple"),
    "sizes": (lambda m: m.zeros(3, size=(2,)), "size"),
    "no_end": (lambda m: m.arange(), "arange: give end"),
    "randint_float": (lambda m: m.randint(2.5, (2,)), "float"),
    "randperm": (lambda m: m.randperm(-1), "n = -1"),
    "dtype": (lambda m: m.zeros(2, dtype="complex64"), "not supported"),
    "device": (lambda m: m.zeros(2, device="tpu"), "device 'tpu' is unknown"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    refused(*REFUSED[case])


# -- random ---------------------------------------------------------------------------------------------------------

DRAWS = {
    "rand": lambda **o: mc.rand(4, 500, **o),
    "randn": lambda **o: mc.randn((4, 500), **o),
    "rand_like": lambda **o: mc.rand_like(mc.zeros(4, 500), **o),
    "randn_like": lambda **o: mc.randn_like(mc.zeros(4, 500), **o),
    "randint": lambda **o: mc.randint(10, (4, 500), **o),
    "randint_low": lambda **o: mc.randint(-5, 5, (4, 500), **o),
    "randperm": lambda **o: mc.randperm(2000, **o),
}


@pytest.mark.parametrize("case", DRAWS)
def test_seeds(case):
    draw = DRAWS[case]
    mc.manual_seed(3)
    first, second = draw(), draw()
    assert first.shape == ((2000,) if case == "randperm" else (4, 500))
    mc.manual_seed(3)
    assert first.equal(draw()) and not first.equal(second)
    a, b = mc.Generator(3), mc.Generator(3)
    assert first.equal(draw(generator=a)) and second.equal(draw(generator=a))
    assert first.equal(draw(generator=b))
    assert not second.equal(draw(generator=mc.Generator(4)))


def test_distributions():
    x = mc.rand(100, 1000)
    assert x.dtype == np.float32 and 0 <= x.min().item() and x.max().item() < 1
    assert abs(x.mean().item() - 0.5) < 0.005 and abs(x.var().item() - 1 / 12) < 0.002
    x = mc.randn(100, 1000, dtype=mc.float64)
    assert x.dtype == np.float64 and abs(x.mean().item()) < 0.02 and abs(x.var().item() - 1) < 0.02
    x = mc.randint(-2, 3, (1000,))
    assert x.dtype == np.int64 and x.unique().tolist() == [-2, -1, 0, 1, 2]
    assert mc.randint(5, (3,), dtype=mc.uint8).dtype == np.uint8
    assert sorted(mc.randperm(50).tolist()) == list(range(50)) and mc.randperm(3, dtype=mc.int32).dtype == np.int32
    assert mc.rand(3, dtype=mc.float16).dtype == np.float16 == mc.randn_like(mc.ones(2), dtype=mc.float16).dtype
    assert mc.rand(0, 3).shape == (0, 3) and mc.randn(()).shape == ()
