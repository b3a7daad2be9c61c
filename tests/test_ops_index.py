"""Indexing, gather and scatter, and masks against PyTorch: values, gradients, histories of writes, refusals."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from util import SECOND, agree, assert_close, normal, refused, rng_of

import minicnn as mc


def x_size(shape):
    return int(np.prod(shape))


# -- x[index] -------------------------------------------------------------------------------------------------------

@st.composite
def indices(draw, shape):
    """An index into a tensor of this shape, with arrays that broadcast."""
    items, axis, dots, arrays = [], 0, False, False
    rows = draw(st.integers(1, 3))
    while axis < len(shape):
        n = shape[axis]
        kind = draw(st.sampled_from(["int", "slice", "none", "array", "list", "mask", "dots", "stop", "bool"]))
        if kind == "none":
            items.append(None)
        elif kind == "bool":
            items.append(True)
        elif kind == "stop" and not dots:
            break
        elif kind == "dots" and not dots:
            items.append(Ellipsis)
            dots, axis = True, draw(st.integers(axis, len(shape)))
        elif kind == "int" and n:
            items.append(draw(st.integers(-n, n - 1)))
            axis += 1
        elif kind in ("array", "list") and n:
            size = draw(st.sampled_from([(rows,), (1,), (2, rows), (2, 1)] if kind == "array" else [(rows,), (1,)]))
            array = rng_of(draw(st.integers(0, 99))).integers(-n, n, size)
            items.append(array if kind == "array" else array.tolist())
            arrays, axis = True, axis + 1
        elif kind == "mask" and not arrays:
            k = draw(st.integers(1, min(2, len(shape) - axis)))
            items.append(rng_of(draw(st.integers(0, 99))).random(shape[axis:axis + k]) < 0.5)
            axis += k
            break  # further arrays would have to broadcast with the number of true elements
        else:
            a, b = (draw(st.one_of(st.none(), st.integers(-n - 1, n + 1))) for _ in range(2))
            items.append(slice(a, b, draw(st.sampled_from([None, 1, 2, 3]))))
            axis += 1
    return (*items, *[slice(None)] * (len(shape) - axis if dots else 0))


def index_for(m, index):
    return tuple([m.tensor(i) if isinstance(i, np.ndarray) else i for i in index])


@given(st.data())
def test_getitem(data):
    shape = data.draw(st.lists(st.integers(0, 4), min_size=0, max_size=4).map(tuple))
    index = data.draw(indices(shape))
    agree(lambda m, x: x[index_for(m, index)], normal(shape), single=False)


@given(st.data())
def test_setitem(data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple))
    index = data.draw(indices(shape))
    places = torch.arange(x_size(shape)).reshape(shape)[index_for(torch, index)]
    assume(places.unique().numel() == places.numel())  # what a repeated index leaves is not defined
    region = places.shape
    value = normal(tuple(1 if data.draw(st.booleans()) else n for n in region)[data.draw(st.integers(0, len(region))):])

    def f(m, x, v):
        y = x * 2
        y[index_for(m, index)] = v
        return y

    agree(f, normal(shape), value, single=False)
    agree(f, normal(shape), value, single=False, constant=[0])
    agree(f, normal(shape), value, single=False, constant=[1])


GETS = {
    "array": lambda m, x: x[m.tensor([0, 2, 0, -1])],
    "numpy": lambda m, x: x[np.array([[0, 1], [1, 1]])],
    "list": lambda m, x: x[[2, 0]],
    "two_arrays": lambda m, x: x[m.tensor([0, 1, 0]), m.tensor([[1], [0]])],
    "apart": lambda m, x: x[m.tensor([0, 1]), :, m.tensor([1, 0])],
    "apart_and_behind": lambda m, x: x.reshape(2, 3, 2, 1)[:, m.tensor([0, 2, 2]), :, m.tensor([0, 0, 0])],
    "int_and_array": lambda m, x: x[0, :, m.tensor([0, 1])],
    "array_and_int": lambda m, x: x[m.tensor([0, 1]), 0],
    "none_between": lambda m, x: x[m.tensor([0, 1]), None, m.tensor([1, 0])],
    "mask": lambda m, x: x[x.detach() > 0],
    "mask_rows": lambda m, x: x[m.tensor([True, False, True])],
    "mask_matrix": lambda m, x: x[x.detach()[:, :, 0] > 0, 1:],
    "mask_last": lambda m, x: x[..., m.tensor([True, False])],
    "mask_and_array": lambda m, x: x[m.tensor([True, False, True]), m.tensor([1, 0])],
    "mask_of_none": lambda m, x: x[x.detach() > 1e9],
    "scalar_tensor": lambda m, x: x[m.tensor(1)],
    "numpy_integer": lambda m, x: x[np.int64(1), ..., np.int32(-1)],
    "true": lambda m, x: x[True],
    "false": lambda m, x: x[m.tensor(False)],
    "nothing": lambda m, x: x[()],
    "empty_list": lambda m, x: x[[]],
    "int32": lambda m, x: x[m.tensor([1, 0], dtype=m.int32)],
    "range": lambda m, x: x[range(2)],
    "twice": lambda m, x: x[1:][:, m.tensor([0, 0])],
    "tensor_bounds": lambda m, x: x[m.tensor(1):m.tensor(3)],
    "elements": lambda m, x: (x[0, 1, 0], x[-1, -1, -1]),
    "iteration": lambda m, x: tuple(row for row in x),
}


@pytest.mark.parametrize("case", GETS)
def test_get(case):
    agree(GETS[case], normal((3, 2, 2)))


def test_basic_indices_are_views_and_others_are_not():
    x = mc.zeros(3, 4)
    for view in (x[0], x[1:, ::2], x[..., None, 1], x[2, 3], x[mc.tensor(1)]):
        view.fill_(1)
        assert np.shares_memory(view.numpy(), x.numpy()) and view._version == x._version
    assert x.numpy().all()
    x = mc.zeros(3, 4)
    for copy in (x[[0]], x[x == 0], x[mc.tensor([1])], x[True]):
        copy.fill_(1)
    assert not x.numpy().any()


REFUSED_INDICES = {
    "int": (lambda m, x: x[2], r"index 2 is out of range for axis 0 with length 2 \(tensor of shape \(2, 3, 4\)\)"),
    "int_negative": (lambda m, x: x[:, -4], "index -4 is out of range for axis 1 with length 3"),
    "array": (lambda m, x: x[:, m.tensor([0, 3])], "index 3 is out of range for axis 1 with length 3"),
    "array_negative": (lambda m, x: x[m.tensor([-3, 0])], "index -3 is out of range for axis 0"),
    "too_many": (lambda m, x: x[0, 0, 0, 0], "too many indices: 4 for a tensor with 3 axes"),
    "too_many_of_mask": (lambda m, x: x[0, m.ones(3, 4, 1) > 0], "too many indices"),
    "mask": (lambda m, x: x[m.tensor([True, False, True])], r"mask of shape \(3,\) does not fit axes 0 to 0"),
    "negative_step": (lambda m, x: x[::-1], "step -1 must be greater than zero"),
    "zero_step": (lambda m, x: x[::0], "step"),
    "float": (lambda m, x: x[1.0], "float"),
    "floats": (lambda m, x: x[m.tensor([1.0])], "float32"),
    "text": (lambda m, x: x["a"], "str"),
    "broadcast": (lambda m, x: x[[0, 1], [0, 1, 2]], "shape mismatch|could not be broadcast"),
    "set_shape": (lambda m, x: x.__setitem__(0, m.ones(3)), r"shape \(3,\) cannot be broadcast to the shape \(3, 4\)"),
    "set_rows": (lambda m, x: x.__setitem__(x > 1, m.ones(2)), "cannot be broadcast"),
    "set_none": (lambda m, x: x.__setitem__(0, None), "None"),
    "set_range": (lambda m, x: x.__setitem__(5, 1), "index 5 is out of range"),
}


@pytest.mark.parametrize("case", REFUSED_INDICES)
def test_indices_refused(case):
    f, match = REFUSED_INDICES[case]
    refused(lambda m: f(m, m.arange(24.0).reshape(2, 3, 4)), match)


def test_ambiguous_indices_refused():
    with pytest.raises(IndexError, match="uint8"):
        mc.ones(2)[mc.tensor([1, 0], dtype="uint8")]
    with pytest.raises(IndexError, match="only one Ellipsis"):
        mc.ones(2)[..., ...]
    with pytest.raises(IndexError, match="float64"):
        mc.ones(2)[[0.5]]  # PyTorch takes it for 0


# -- x[index] = v and its history -----------------------------------------------------------------------------------

def test_setitem_values():
    for index, value in ((0, 5), (np.s_[:, 1:], [1.5, 2]), (..., 0), ([0, 1], 3.0), (True, 1), (False, 9), ((1, 2), 7),
                         (np.s_[1:1], 3)):
        x, y = mc.ones(2, 3), torch.ones(2, 3)
        x[index] = value
        y[index] = torch.tensor(value, dtype=torch.float32)
        assert_close(x, y, 0)


def test_setitem_converts():
    x = mc.zeros(2, dtype="int64")
    x[0] = 2.7
    x[1] = mc.tensor(-3.2)
    assert x.tolist() == [2, -3]
    x = mc.zeros(1, 2)
    x[0] = np.array([1, 2])
    x[0, 0] = mc.tensor([[7.0]])
    assert x.tolist() == [[7, 2]]


def rnn(m, x, w):
    """States written into a buffer, one after the other."""
    states = m.zeros(4, 3, dtype=x.dtype)
    h = x[0]
    for i in range(4):
        h = (h * w + x[i]).tanh()
        states[i] = h
    return states


def overwritten(m, x, w):
    y = x * 1
    y[1:] = w * 2
    y[2, 1:] = y[0, :2].clone() * w[1:]
    y[x.detach() > 1] = 0.0
    return y


def added(m, x, w):
    y = x * w
    y[0] += w
    y[1:, ::2] *= w[:2]
    y[[0, 3]] += w
    y[2] -= y[0]
    y[:, 1] /= 2
    return y


def added_to_a_buffer(m, x, w):
    y = m.zeros(4, 3, dtype=x.dtype)
    for i in range(4):
        y[i] += x[i] * w
        y[i, 1:] += w[:2]
    return y


def swapped(m, x, w):
    y = x * w
    y[0] = y[1]
    y[1] = y[0].exp() + y[2]
    return y


def assigned_later(m, x, w):
    y = x * w
    part = y[1]
    part += w
    part *= 1  # two writes, but both to the part that is assigned
    y = y.detach() * 1
    y[0] = x[0]
    return y


@pytest.mark.parametrize("f", [rnn, overwritten, added, added_to_a_buffer, swapped, assigned_later],
                         ids=lambda f: f.__name__)
def test_histories(f):
    agree(f, normal((4, 3)), normal((3,), 1), tolerance=SECOND / 10)


def test_part_stays_usable_until_assigned():
    x = mc.ones(2, 3, requires_grad=True)
    y = x * 2
    part = y[0]
    part += x[1]
    y[0] = part
    y.sum().backward()
    assert x.grad.tolist() == [[2, 2, 2], [3, 3, 3]]


def stale_base(y, w):
    part = y[0]
    part += w
    return y.sum()


def two_parts(y, w):
    first, second = y[0], y[1]
    first += w
    second += w


def another_part_assigned(y, w):
    part = y[0]
    part += w
    y[1] = part


def part_of_part(y, w):
    part = y[0]
    part[1:] += w[1:]
    y[0] = part * 1
    return y.sum()


def not_the_last_write(y, w):
    part = y[0]
    part += w
    part += w
    y[0] = part


def a_larger_part_written(y, w):
    parts = y[:]
    parts += w
    y[0] = parts[0]


def a_larger_part_written_and_cut_without_recording(y, w):
    parts = y[:]
    parts += w
    with mc.no_grad():
        first = parts[0]
    y[0] = first


@pytest.mark.parametrize("f", [stale_base, two_parts, another_part_assigned, part_of_part, not_the_last_write,
                               a_larger_part_written, a_larger_part_written_and_cut_without_recording],
                         ids=lambda f: f.__name__)
@pytest.mark.parametrize("recorded", [True, False])
def test_histories_that_would_be_wrong_are_refused(f, recorded):
    w = mc.ones(3, requires_grad=True)
    y = (w * mc.ones(2, 3) if recorded else mc.ones(2, 3))
    with pytest.raises(RuntimeError, match="shares memory with one that was written in place"):
        f(y, w)


@pytest.mark.parametrize("write", [lambda x: x.__setitem__(0, 5.0), lambda x: x[0].add_(1),
                                   lambda x: x.view(-1).mul_(2), lambda x: x.unbind()[1].zero_(),
                                   lambda x: x.T.diagonal().fill_(3)])
def test_leaves_are_protected(write):
    x = mc.ones(2, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf tensor that requires grad"):
        write(x)
    assert (x.detach().numpy() == 1).all()
    with mc.no_grad():
        write(x)
    assert (x.detach().numpy() != 1).any() and x.is_leaf


def test_setitem_is_noticed_by_the_version_counter():
    w = mc.ones(3, requires_grad=True)
    for index, value in ((0, 1.0), ([0, 2], 3.0), (mc.tensor([True, False, True]), w[0] * 2), (..., 0.0)):
        y = w * 2
        z = y * y
        y[index] = value
        with pytest.raises(RuntimeError, match="modified by an in-place operation"):
            z.sum().backward()


def test_index_arrays_are_noticed_by_the_version_counter():
    w = mc.ones(3, requires_grad=True)
    for use in (lambda i: w[i], lambda i: w.gather(0, i), lambda i: w.index_select(0, i),
                lambda i: w.scatter(0, i, 0.0)):
        index = mc.tensor([0, 1])
        y = use(index)
        index[0] = 2
        with pytest.raises(RuntimeError, match="modified by an in-place operation"):
            y.sum().backward()
    index = np.array([0, 1])
    y = w[index]
    index[0] = 2
    y.sum().backward()
    assert w.grad.tolist() == [1, 1, 0]


def test_setitem_under_no_grad_keeps_the_history():
    w = mc.ones(3, requires_grad=True)
    y = w * 2
    with mc.no_grad():
        y[0] = 100.0
        y[1:] += 1
    y.sum().backward()
    assert y.tolist() == [100, 3, 3] and w.grad.tolist() == [2, 2, 2]


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
    flat = rng_of(n).integers(-x_size(shape), x_size(shape), (2, n))
    agree(lambda m, x, i: x.take(i), normal(shape), flat, single=False)
    agree(lambda m, x, i: x.take_along_dim(i), normal(shape), abs(flat[0]) % x_size(shape), single=False)


def test_index_select_of_numbers():
    agree(lambda m, x: x.index_select(0, m.tensor([0])), normal(()))
    agree(lambda m, x: x.index_select(1, m.tensor(1)), normal((2, 3)))


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
    "masked_fill_shape": (lambda m, x: x.masked_fill(m.ones(2) > 0, 1.0), "do not broadcast"),
    "masked_fill_bool": (lambda m, x: x.masked_fill(True, 1.0), "bool"),
    "masked_select": (lambda m, x: x.masked_select(x.long()), "bool tensor"),
    "masked_select_shape": (lambda m, x: x.masked_select(m.ones(2) > 0), "do not broadcast"),
    "take": (lambda m, x: x.take(m.tensor([6])), "index 6"),
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
