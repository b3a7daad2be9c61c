"""Gather, scatter, index_select and their kin, and masks, beside PyTorch's."""

from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from util import agree, assert_close, normal, refused, rng_of

import minicnn as mc
import minicnn.functional as F


# -- gather, scatter ------------------------------------------------------------------------------------------------

@given(st.data())
def test_gather_and_scatter(data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple))
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    size = [data.draw(st.integers(0, n)) for n in shape]
    size[dim] = data.draw(st.integers(0, 5))
    rng = rng_of(data.draw(st.integers(0, 99)))
    index = rng.integers(0, shape[dim], size)
    longer = [n + data.draw(st.integers(0, 1)) for n in size]
    agree(lambda m, x, i: x.gather(dim, i), normal(shape), index, single=False)
    agree(lambda m, x, i, src: m.scatter_add(x, dim, i, src), normal(shape), index, normal(size, 1), single=False)
    x, y = (m.tensor(normal(shape)).scatter_add(dim, m.tensor(index), m.tensor(normal(longer, 1))) for m in (mc, torch))
    assert_close(x, y, 1e-12)
    unique = np.argsort(rng.random(shape), axis=dim)[tuple(slice(min(n, m)) for n, m in zip(size, shape))]
    agree(lambda m, x, i, src: x.scatter(dim, i, src), normal(shape), unique, normal(unique.shape, 1), single=False)
    agree(lambda m, x, i: x.scatter(dim, i, 2.5), normal(shape), unique, single=False)


def test_scatter_from_a_longer_source():
    x, src = mc.zeros(3, 2), mc.ones(2, 4, requires_grad=True)
    x.scatter(0, mc.tensor([[0, 1]]), src * 2).sum().backward()
    assert src.grad.tolist() == [[2, 2, 0, 0], [0, 0, 0, 0]]


def test_gather_of_numbers():
    agree(lambda m, x: x.gather(0, m.tensor(0)), normal(()))
    agree(lambda m, x: x.gather(0, m.tensor([0, 0])), normal(()))
    agree(lambda m, x: x.gather(0, m.tensor(1)), normal((2,)))


def test_scatter_of_numbers():
    agree(lambda m, x, v: x.scatter(0, m.tensor(0), v), normal(()), normal((), 1))
    agree(lambda m, x: x.scatter(-1, m.tensor(0), 2.0), normal(()))
    agree(lambda m, x, v: x.scatter_add(0, m.tensor(0), v), normal(()), normal((), 1))


def test_scatter_value():
    agree(lambda m, x: x.scatter(1, m.tensor([[0], [2]]), value=1.0), normal((2, 3)))
    for bad in ({}, {"src": mc.ones(1, 1), "value": 1.0}):
        with pytest.raises(TypeError, match="either src or value"):
            mc.ones(2, 3).scatter(1, mc.tensor([[0]]), **bad)


@given(st.data())
def test_along_an_axis(data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple))
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    n = data.draw(st.integers(0, 5))
    index = rng_of(data.draw(st.integers(0, 99))).integers(0, shape[dim], n)
    part = list(shape)
    part[dim] = n
    agree(lambda m, x, i: m.index_select(x, dim, i), normal(shape), index, single=False)
    agree(lambda m, x, i, s: x.index_add(dim, i, s, alpha=-2), normal(shape), index, normal(part, 1), single=False)
    if len(shape) > 1:
        part[(dim - 1) % len(shape)] = 1
        many = rng_of(n).integers(0, shape[dim], part)
        agree(lambda m, x, i: x.take_along_dim(i, dim), normal(shape), many, single=False)
    flat = rng_of(n).integers(-prod(shape), prod(shape), (2, n))
    agree(lambda m, x, i: x.take(i), normal(shape), flat, single=False)
    agree(lambda m, x, i: x.take_along_dim(i), normal(shape), abs(flat[0]) % prod(shape), single=False)


def test_index_select_of_numbers():
    agree(lambda m, x: x.index_select(0, m.tensor([0])), normal(()))
    agree(lambda m, x: x.index_select(1, m.tensor(1)), normal((2, 3)))


def test_index_add_to_a_number():
    agree(lambda m, x, v: x.index_add(0, m.tensor([0]), v, alpha=2), normal(()), normal((), 1))


def test_take_along_dim_broadcasts():
    agree(lambda m, x: x.take_along_dim(m.tensor([[1], [0]]), 1), normal((1, 3)))
    agree(lambda m, x: x.take_along_dim(m.tensor([[-1, 0, 2]]), 0), normal((3, 3)))


def test_index_put():
    rows, columns = np.array([0, 1, 0]), np.array([1, 0, 1])
    agree(lambda m, x, v: x.index_put((m.tensor(rows), m.tensor(columns)), v, accumulate=True), normal((2, 3)),
         normal((3,), 1))
    agree(lambda m, x, v: m.index_put(x, (m.tensor(rows[1:]),), v), normal((2, 3)), normal((2, 1), 1))
    agree(lambda m, x, v: m.index_put(x, [x.detach() > 0], v), normal((2, 3)), normal((), 1))
    agree(lambda m, x, v: m.index_put(x, [x.detach() > 0], v, accumulate=True), normal((2, 3)), normal((1,), 1))


def test_in_place_forms():
    def f(m, x, v):
        y = x * 1
        y.scatter_(1, m.tensor([[0], [2]]), v[:, :1])
        y.scatter_add_(0, m.tensor([[1, 1, 0]]), v[:1])
        y.index_add_(1, m.tensor([0, 0, 2]), v)
        y.masked_fill_(m.tensor([True, False, False]), 3.0)
        y.index_put_((m.tensor([1]), m.tensor([1])), v[0, :1])
        return y

    agree(f, normal((2, 3)), normal((2, 3), 1))


REFUSED = {
    "gather": (lambda m, x: x.gather(1, m.tensor([[3], [0]])), "index 3 is out of range for axis 1 with length 3"),
    "gather_negative": (lambda m, x: x.gather(1, m.tensor([[-1], [0]])), "index -1 is out of range"),
    "gather_axes": (lambda m, x: x.gather(1, m.tensor([0])), "as many axes"),
    "gather_longer": (lambda m, x: x.gather(1, m.tensor([[0], [0], [0]])), "no longer"),
    "gather_floats": (lambda m, x: x.gather(1, m.tensor([[0.0]])), "integers"),
    "gather_int16": (lambda m, x: x.gather(1, m.tensor([[0]], dtype=m.int16)), "int16"),
    "gather_dim": (lambda m, x: x.gather(2, m.tensor([[0]])), "dim 2"),
    "scatter": (lambda m, x: x.scatter(1, m.tensor([[0], [3]]), 1.0), "index 3"),
    "scatter_type": (lambda m, x: x.scatter(1, m.tensor([[0], [1]]), x.double()), "float32 but src is float64"),
    "scatter_source": (lambda m, x: x.scatter(1, m.tensor([[0, 1], [2, 0]]), x[:, :1]), r"src has shape \(2, 1\)"),
    "scatter_add": (lambda m, x: x.scatter_add(1, m.tensor([[0], [0], [2]]), m.zeros(3, 1)), "no longer"),
    "index_select": (lambda m, x: x.index_select(1, m.tensor([0, 3])), "index 3"),
    "index_select_negative": (lambda m, x: x.index_select(1, m.tensor([-1])), "index -1"),
    "index_select_axes": (lambda m, x: x.index_select(1, m.tensor([[1]])), "one axis"),
    "index_select_number": (lambda m, x: x.sum().index_select(0, m.tensor([0, 0])), "one element"),
    "index_select_float": (lambda m, x: x.index_select(1, m.tensor([0.0])), "integers"),
    "index_add": (lambda m, x: x.index_add(1, m.tensor([0, 1]), x), r"shape \(2, 2\)"),
    "index_add_type": (lambda m, x: x.index_add(1, m.tensor([0, 1, 2]), x.double()), "float64"),
    "index_add_range": (lambda m, x: x.index_add(1, m.tensor([0, 1, 3]), x), "index 3"),
    "index_put": (lambda m, x: x.index_put((m.tensor([0]),), m.ones(2)), "cannot be broadcast"),
    "index_put_type": (lambda m, x: x.index_put((m.tensor([0]),), m.ones(3, dtype=m.float64)), "float64"),
    "masked_fill": (lambda m, x: x.masked_fill(x.long(), 1.0), "bool tensor, not int64"),
    "masked_fill_value": (lambda m, x: x.masked_fill(x > 1, m.ones(1)), r"shape \(1,\)"),
    "masked_fill_none": (lambda m, x: x.masked_fill(x > 1, None), "masked_fill: expected a Tensor or a number"),
    "masked_fill_shape": (lambda m, x: x.masked_fill(m.ones(2) > 0, 1.0), "do not broadcast"),
    "masked_fill_bool": (lambda m, x: x.masked_fill(True, 1.0), "bool"),
    "masked_select": (lambda m, x: x.masked_select(x.long()), "bool tensor"),
    "masked_select_shape": (lambda m, x: x.masked_select(m.ones(2) > 0), "do not broadcast"),
    "take": (lambda m, x: x.take(m.tensor([6])), "index 6"),
    "take_int32": (lambda m, x: x.take(m.tensor([1], dtype=m.int32)), "must be int64, not int32"),
    "take_mask": (lambda m, x: x.take(m.tensor([True])), "integers"),
    "take_along_dim": (lambda m, x: x.take_along_dim(m.tensor([1]), 1), "equally many axes"),
    "take_along_dim_shape": (lambda m, x: x.take_along_dim(m.tensor([[1], [2], [0]]), 1), "do not broadcast"),
    "topk": (lambda m, x: x.topk(4), "k = 4 must be 0 to 3"),
    "topk_dim": (lambda m, x: x.topk(1, 2), "dim 2"),
    "sort": (lambda m, x: x.sort(2), "dim 2"),
    "unique": (lambda m, x: x.unique(dim=2), "dim 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    f, match = REFUSED[case]
    refused(lambda m: f(m, m.arange(6.0).reshape(2, 3)), match)


def test_integers_are_not_added_in_fractions():
    with pytest.raises(RuntimeError, match="index_add: alpha = 0.5 must be an integer"):  # PyTorch takes alpha for 0
        mc.ones(2, dtype="int64").index_add(0, mc.tensor([0, 1]), mc.ones(2, dtype="int64"), alpha=0.5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("look_up", [lambda x, i: x[i], lambda x, i: x.gather(0, i.unsqueeze(1)),
                                     lambda x, i: F.embedding(i, x), lambda x, i: x.index_select(0, i)])
def test_many_gradients_of_half_precision_are_rounded_once(dtype, look_up):
    """One by one they would stop at 2048, or at 256."""
    x = mc.ones(1, 1).to(dtype).requires_grad_()
    look_up(x, mc.zeros(4500, dtype=mc.int64)).sum().backward()
    assert x.grad.item() == mc.tensor(4500.0).to(dtype).item()


# -- masks ----------------------------------------------------------------------------------------------------------

@given(st.data())
def test_masks(data):
    shape = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple))
    thin = tuple(1 if data.draw(st.booleans()) else n for n in shape)[data.draw(st.integers(0, len(shape))):]
    mask = np.asarray(rng_of(data.draw(st.integers(0, 99))).random(thin) < 0.5)
    agree(lambda m, x, b: m.masked_fill(x, b, -1.5), normal(shape), mask, single=False)
    agree(lambda m, x, v, b: x.masked_fill(b, v), normal(shape), normal((), 1), mask, single=False)
    agree(lambda m, x, b: x.masked_select(b), normal(shape), mask, single=False)
    agree(lambda m, x, b: x.masked_select(b), normal(thin), rng_of(0).random(shape) < 0.5, single=False)


def test_masked_fill_keeps_the_type():
    mask = np.array([True, False])
    for array, value in (([1, 2], 5), ([1, 2], lambda m: m.tensor(1.5)), ([True, False], 2),
                         ([1.5, 2.5], lambda m: m.tensor(9.0, dtype=m.float64))):
        x, y = (m.tensor(array).masked_fill(m.tensor(mask), value(m) if callable(value) else value)
                for m in (mc, torch))
        assert_close(x, y, 0)
    with pytest.raises(RuntimeError, match="value 1.5 cannot be converted to int64"):
        mc.tensor([1, 2]).masked_fill(mc.tensor(mask), 1.5)  # PyTorch rounds it down here, but not in masked_fill_


@pytest.mark.parametrize("f", [
    lambda m, x, v: x.index_add(1, m.tensor([2, 2]), v),
    lambda m, x, v: x.scatter_add(1, m.tensor([[0, 1], [2, 2], [1, 0]]), v),
    lambda m, x, v: x.scatter(1, m.tensor([[0, 1], [2, 0], [1, 0]]), v),
    lambda m, x, v: x.index_put((m.tensor([0, 0, 1]), m.tensor([2, 2, 1])), v[:, 0], accumulate=True)])
def test_memory_in_another_order_is_added_to(f):
    """Of a transposed tensor, the flattened copy would be another array."""
    agree(lambda m, x, v: f(m, x.t(), v), normal((3, 3)), normal((3, 2)))
