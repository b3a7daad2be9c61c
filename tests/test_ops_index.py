"""x[index] and x[index] = v beside PyTorch's: values, gradients, views, refusals."""

from math import prod

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from util import agree, normal, refused, rng_of

import minicnn as mc


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
    places = torch.arange(prod(shape)).reshape(shape)[index_for(torch, index)]
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
