"""Arrangements against PyTorch: values, gradients, views that share memory, and refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from util import agree, assert_close, normal, refused

import minicnn as mc

SHAPES = st.lists(st.integers(0, 4), min_size=0, max_size=4).map(tuple)


def axis(data, ndim):
    return data.draw(st.integers(-ndim, ndim - 1))


# -- views ----------------------------------------------------------------------------------------------------------

CASES = {
    "reshape": ((2, 3, 4), lambda m, x: x.reshape(4, -1)),
    "reshape_tuple": ((2, 3, 4), lambda m, x: m.reshape(x, (3, 8))),
    "reshape_of_permuted": ((2, 3, 4), lambda m, x: x.permute(2, 0, 1).reshape(6, 4)),
    "reshape_scalar": ((1, 1), lambda m, x: x.reshape(())),
    "reshape_empty": ((0, 3), lambda m, x: x.reshape(-1, 3)),
    "view": ((2, 3, 4), lambda m, x: x.view(6, -1)),
    "flatten": ((2, 3, 4), lambda m, x: x.flatten(1)),
    "flatten_middle": ((2, 3, 4, 2), lambda m, x: m.flatten(x, 1, -2)),
    "flatten_scalar": ((), lambda m, x: x.flatten()),
    "flatten_empty": ((0, 3), lambda m, x: x.flatten()),
    "ravel": ((2, 3), lambda m, x: x.mT.ravel()),
    "unflatten": ((2, 12), lambda m, x: x.unflatten(-1, (3, -1))),
    "unflatten_empty": ((0, 2), lambda m, x: x.unflatten(0, (0, 3))),
    "permute": ((2, 3, 4), lambda m, x: x.permute(-1, 0, 1)),
    "permute_tuple": ((2, 3, 4), lambda m, x: m.permute(x, (1, 2, 0))),
    "transpose": ((2, 3, 4), lambda m, x: x.transpose(0, -1)),
    "transpose_scalar": ((), lambda m, x: x.transpose(0, -1)),
    "swapaxes": ((2, 3, 4), lambda m, x: m.swapaxes(x, axis0=1, axis1=2)),
    "t": ((2, 3), lambda m, x: x.t()),
    "t_vector": ((3,), lambda m, x: m.t(x)),
    "T": ((2, 3), lambda m, x: x.T),
    "mT": ((2, 3, 4), lambda m, x: x.mT),
    "squeeze": ((1, 3, 1), lambda m, x: x.squeeze()),
    "squeeze_dim": ((1, 3, 1), lambda m, x: x.squeeze(-1)),
    "squeeze_dims": ((1, 3, 1), lambda m, x: m.squeeze(x, (0, 1))),
    "squeeze_scalar": ((), lambda m, x: x.squeeze(0)),
    "unsqueeze": ((2, 3), lambda m, x: x.unsqueeze(-1)),
    "unsqueeze_scalar": ((), lambda m, x: m.unsqueeze(x, 0)),
    "expand": ((3, 1), lambda m, x: x.expand(2, -1, 4)),
    "expand_empty": ((3, 1), lambda m, x: x.expand(3, 0)),
    "expand_as": ((3, 1), lambda m, x: x.expand_as(m.zeros(2, 3, 4))),
    "broadcast_to": ((3, 1), lambda m, x: m.broadcast_to(x, size=(2, 3, 4))),
    "movedim": ((2, 3, 4), lambda m, x: m.movedim(x, 0, -1)),
    "movedims": ((2, 3, 4, 1), lambda m, x: m.moveaxis(x, (0, 1, 3), (2, 0, 1))),
    "select": ((2, 3, 4), lambda m, x: x.select(1, -1)),
    "narrow": ((2, 5), lambda m, x: x.narrow(1, 1, 3)),
    "narrow_negative": ((2, 5), lambda m, x: m.narrow(x, -1, -3, 2)),
    "narrow_nothing": ((2, 5), lambda m, x: x.narrow(1, 5, 0)),
    "diagonal": ((3, 4), lambda m, x: x.diagonal()),
    "diagonal_above": ((2, 3, 4), lambda m, x: x.diagonal(1, -2, -1)),
    "diagonal_below": ((3, 2, 4), lambda m, x: m.diagonal(x, -1, 2, 0)),
    "diagonal_outside": ((2, 3), lambda m, x: x.diagonal(5)),
    "unfold": ((2, 7), lambda m, x: x.unfold(1, 3, 2)),
    "unfold_overlapping": ((5, 3), lambda m, x: x.unfold(0, 3, 1)),
    "unfold_gaps": ((2, 7, 2), lambda m, x: x.unfold(-2, 2, 3)),
    "unfold_scalar": ((), lambda m, x: x.unfold(0, 1, 1)),
    "unfold_nothing": ((3,), lambda m, x: x.unfold(0, 0, 1)),
    "as_strided": ((3, 4), lambda m, x: x.as_strided((2, 3), (5, 1), 1)),
    "as_strided_overlapping": ((7,), lambda m, x: m.as_strided(x, (3, 3, 2), (2, 1, 0))),
    "split": ((2, 7), lambda m, x: x.split(3, 1)),
    "split_sections": ((6, 2), lambda m, x: m.split(x, [1, 0, 5])),
    "split_empty": ((0, 2), lambda m, x: x.split(2)),
    "split_by_nothing": ((0, 2), lambda m, x: x.split(0)),
    "chunk": ((7, 2), lambda m, x: x.chunk(3)),
    "chunk_fewer": ((2, 4), lambda m, x: m.chunk(x, 3, -1)),
    "chunk_empty": ((0,), lambda m, x: x.chunk(3)),
    "tensor_split": ((2, 7), lambda m, x: x.tensor_split(3, dim=1)),
    "tensor_split_more": ((2,), lambda m, x: x.tensor_split(3)),
    "tensor_split_indices": ((7,), lambda m, x: m.tensor_split(x, (1, 5, 9))),
    "tensor_split_overlapping": ((7,), lambda m, x: x.tensor_split((3, 1, -2))),
    "unbind": ((3, 2), lambda m, x: x.unbind()),
    "unbind_last": ((2, 3, 2), lambda m, x: m.unbind(x, -1)),
    "unbind_nothing": ((0, 2), lambda m, x: x.unbind()),
}


@pytest.mark.parametrize("case", CASES)
def test_view(case):
    shape, f = CASES[case]
    agree(f, normal(shape))


COPYING = [c for c in CASES if "expand" in c or "broadcast" in c] + ["reshape_of_permuted", "ravel"]  # or read-only


@pytest.mark.parametrize("case", [c for c in CASES if c not in COPYING and 0 not in CASES[c][0]])
def test_views_share_memory(case):
    shape, f = CASES[case]
    x = mc.from_numpy(normal(shape))
    out = f(mc, x)
    for view in out if isinstance(out, tuple) else (out,):
        if view.numel():
            before = x.numpy().copy()
            view[...] = 100.0
            assert (x.numpy() != before).any()
            assert view._version == x._version == x._clock.writes > 0


def test_reshape_copies_where_memory_is_out_of_order():
    x = mc.from_numpy(normal((2, 3)))
    x.T.reshape(6).zero_()
    assert x.numpy().all()
    with pytest.raises(RuntimeError, match="view: a tensor of shape \\(3, 2\\)"):
        x.T.view(6)
    with pytest.raises(RuntimeError):
        torch.zeros(2, 3).T.view(6)


@given(st.data())
def test_permute_squeeze_flatten(data):
    shape = data.draw(SHAPES)
    order = data.draw(st.permutations(range(len(shape))))
    start = data.draw(st.integers(0, max(len(shape) - 1, 0)))
    end = data.draw(st.integers(start, max(len(shape) - 1, 0)))
    at = data.draw(st.integers(-len(shape) - 1, len(shape)))
    agree(lambda m, x: x.permute(order).flatten(start, end).unsqueeze(-1).squeeze(), normal(shape), single=False)
    agree(lambda m, x: x.unsqueeze(at) * 2, normal(shape), single=False)


@given(st.data())
def test_expand_and_broadcast(data):
    shape = data.draw(SHAPES)
    thin = tuple(1 if data.draw(st.booleans()) else n for n in shape)[data.draw(st.integers(0, len(shape))):]
    agree(lambda m, x, y: m.broadcast_tensors(x, y), normal(shape), normal(thin), single=False)
    agree(lambda m, x: x.expand(*shape) if shape else x.expand(()), normal(thin), single=False)


@given(st.data())
def test_parts(data):
    shape = data.draw(st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple))
    i = axis(data, len(shape))
    j = data.draw(st.integers(-len(shape), len(shape) - 1).filter(lambda j: j % len(shape) != i % len(shape)))
    offset, step = data.draw(st.integers(-3, 3)), data.draw(st.integers(1, 3))
    size = data.draw(st.integers(1, shape[i]))
    start = data.draw(st.integers(-shape[i], shape[i] - 1))
    length = data.draw(st.integers(0, shape[i] - start % shape[i]))
    x = normal(shape)
    agree(lambda m, x: x.diagonal(offset, i, j), x, single=False)
    agree(lambda m, x: x.unfold(i, size, step), x, single=False)
    agree(lambda m, x: x.narrow(i, start, length), x, single=False)
    agree(lambda m, x: x.select(i, start), x, single=False)


@given(st.data())
def test_as_strided(data):
    size = data.draw(st.lists(st.integers(0, 3), max_size=3))
    stride = data.draw(st.lists(st.integers(0, 3), min_size=len(size), max_size=len(size)))
    offset = data.draw(st.integers(0, 2))
    agree(lambda m, x: x.as_strided(size, stride, offset), normal((3, 7)), single=False)


def test_as_strided_counts_from_its_input():
    x = mc.arange(10.0)
    assert x[2:].as_strided((2, 2), (3, 1)).tolist() == [[2.0, 3.0], [5.0, 6.0]]


@given(st.data())
def test_split(data):
    shape = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple))
    i = axis(data, len(shape))
    size, parts = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 7))
    x = normal(shape)
    agree(lambda m, x: x.split(size, i), x, single=False)
    agree(lambda m, x: x.chunk(parts, i), x, single=False)
    agree(lambda m, x: x.tensor_split(parts, i), x, single=False)
    agree(lambda m, x: x.unbind(i)[::2], x, single=False)


def test_meshgrid():
    a, b, c = normal((2,)), normal((3,)), normal(())
    agree(lambda m, *xs: m.meshgrid(*xs, indexing="ij"), a, b, c)
    agree(lambda m, *xs: m.meshgrid(xs, indexing="xy"), a, b, c)
    agree(lambda m, *xs: m.meshgrid(*xs, indexing="xy"), a)
    with pytest.raises(RuntimeError, match="indexing 'ji'"):
        mc.meshgrid(mc.ones(2), indexing="ji")
    with pytest.raises(RuntimeError, match=r"got float32 \(2, 2\)"):
        mc.meshgrid(mc.ones(2, 2))


REFUSED_VIEWS = {
    "reshape": (lambda m, x: x.reshape(4, 2), r"shape \(4, 2\) is invalid .* \(2, 3\)"),
    "reshape_two_unknown": (lambda m, x: x.reshape(-1, -1), "reshape"),
    "reshape_negative": (lambda m, x: x.reshape(-2, 3), "reshape"),
    "reshape_ambiguous": (lambda m, x: x[:0].reshape(-1, 0), "reshape"),
    "flatten": (lambda m, x: x.flatten(1, 0), "start_dim 1 comes after"),
    "flatten_dim": (lambda m, x: x.flatten(2), "dim 2 is out of range"),
    "unflatten": (lambda m, x: x.unflatten(1, (2, 2)), "length of dim 1, which is 3"),
    "unflatten_ambiguous": (lambda m, x: x[:0].unflatten(0, (0, -1)), "unflatten"),
    "unflatten_two_unknown": (lambda m, x: x.unflatten(0, (-1, -1)), "unflatten"),
    "unflatten_scalar": (lambda m, x: x.sum().unflatten(0, (1, 1)), "0-d"),
    "permute": (lambda m, x: x.permute(0), r"\(0,\) must name each of the 2 axes"),
    "permute_twice": (lambda m, x: x.permute(0, 0), "once"),
    "permute_range": (lambda m, x: x.permute(0, 2), "dim 2"),
    "transpose": (lambda m, x: x.transpose(0, 2), "transpose: dim 2 is out of range"),
    "t": (lambda m, x: x.reshape(1, 2, 3).t(), "at most 2 axes"),
    "squeeze": (lambda m, x: x.squeeze(-3), "squeeze: dim -3"),
    "squeeze_twice": (lambda m, x: x.squeeze((0, 0)), "twice"),
    "unsqueeze": (lambda m, x: x.unsqueeze(3), "unsqueeze: dim 3"),
    "expand": (lambda m, x: x.expand(2, 4), r"\(2, 3\) cannot be expanded to \(2, 4\)"),
    "expand_fewer": (lambda m, x: x.expand(3), "expand"),
    "expand_unknown": (lambda m, x: x.expand(-1, 2, 3), "expand"),
    "broadcast_tensors": (lambda m, x: m.broadcast_tensors(x, x.T), r"\(2, 3\) and \(3, 2\) do not broadcast"),
    "squeeze_float": (lambda m, x: x.squeeze((0.0,)), "dim must be an int, not 0.0"),
    "movedim_bool": (lambda m, x: x.movedim((0, 1), (True, 0)), "dim must be an int, not True"),
    "meshgrid_types": (lambda m, x: m.meshgrid(x[0], x[1].double(), indexing="ij"), "one type"),
    "narrow_float": (lambda m, x: x.narrow(1, 1.0, 1), "start must be an int"),
    "movedim": (lambda m, x: x.movedim((0, 0), (0, 1)), "twice"),
    "movedim_lengths": (lambda m, x: x.movedim((0, 1), 0), "equally long"),
    "select": (lambda m, x: x.select(0, 2), "index 2 is out of range for dim 0"),
    "select_scalar": (lambda m, x: x.sum().select(0, 0), "0-d"),
    "narrow": (lambda m, x: x.narrow(1, 2, 2), "length 3"),
    "narrow_negative": (lambda m, x: x.narrow(1, 0, -1), "narrow"),
    "narrow_before": (lambda m, x: x.narrow(1, -4, 1), "narrow"),
    "diagonal": (lambda m, x: x.diagonal(0, 1, -1), "same axis"),
    "diagonal_vector": (lambda m, x: x[0].diagonal(), "dim 1"),
    "unfold": (lambda m, x: x.unfold(1, 4, 1), "length 3"),
    "unfold_step": (lambda m, x: x.unfold(1, 2, 0), "step"),
    "as_strided": (lambda m, x: x.as_strided((2, 2), (4, 2)), "reach element 6 of a tensor with 6"),
    "as_strided_lengths": (lambda m, x: x.as_strided((2,), (1, 1)), "equally long"),
    "as_strided_negative": (lambda m, x: x.as_strided((2,), (-1,), 3), "not be negative"),
    "split": (lambda m, x: x.split([1, 1], 1), "add up to 3, the length of dim 1"),
    "split_zero": (lambda m, x: x.split(0), "split: size 0"),
    "split_scalar": (lambda m, x: x.sum().split(1), "0-d"),
    "chunk": (lambda m, x: x.chunk(0), "chunks = 0"),
    "tensor_split": (lambda m, x: x.tensor_split(0), "sections"),
    "unbind": (lambda m, x: x.sum().unbind(), "0-d"),
}


@pytest.mark.parametrize("case", REFUSED_VIEWS)
def test_views_refuse(case):
    f, match = REFUSED_VIEWS[case]
    refused(lambda m: f(m, m.ones(2, 3)), match)


def test_as_strided_needs_c_order():
    with pytest.raises(RuntimeError, match="contiguous"):
        mc.ones(2, 3).T.as_strided((2,), (1,))


# -- join, repeat, turn ---------------------------------------------------------------------------------------------

COPIES = {
    "repeat": ((2, 3), lambda m, x: x.repeat(2, 1, 3)),
    "repeat_once": ((2, 3), lambda m, x: x.repeat((1, 1))),
    "repeat_never": ((2, 3), lambda m, x: x.repeat(0, 2)),
    "repeat_scalar": ((), lambda m, x: x.repeat(3)),
    "tile": ((2, 3), lambda m, x: x.tile(2)),
    "tile_more": ((2, 3), lambda m, x: m.tile(x, (2, 1, 2))),
    "repeat_interleave": ((2, 3), lambda m, x: x.repeat_interleave(2)),
    "repeat_interleave_dim": ((2, 3), lambda m, x: m.repeat_interleave(x, 2, -1)),
    "repeat_interleave_each": ((2, 3), lambda m, x: x.repeat_interleave(m.tensor([0, 2, 1]), 1)),
    "repeat_interleave_one": ((2, 3), lambda m, x: x.repeat_interleave(m.tensor([2]), dim=0)),
    "flip": ((2, 3, 4), lambda m, x: x.flip(0, -1)),
    "flip_list": ((2, 3), lambda m, x: m.flip(x, [1])),
    "flip_nothing": ((2, 3), lambda m, x: x.flip(())),
    "roll": ((2, 3), lambda m, x: x.roll(1)),
    "roll_dim": ((2, 3), lambda m, x: x.roll(-4, 1)),
    "roll_dims": ((2, 3), lambda m, x: m.roll(x, (1, 2), (0, 1))),
    "roll_same_dim": ((5,), lambda m, x: x.roll((1, 2), (0, 0))),
    "roll_scalar": ((), lambda m, x: x.roll(1)),
    "rot90": ((2, 3), lambda m, x: x.rot90()),
    "rot90_twice": ((2, 3), lambda m, x: m.rot90(x, 2, (1, 0))),
    "rot90_back": ((2, 3, 4), lambda m, x: x.rot90(-1, (2, 0))),
    "rot90_fully": ((2, 3), lambda m, x: x.rot90(4)),
    "tril": ((3, 4), lambda m, x: x.tril()),
    "tril_above": ((2, 3, 4), lambda m, x: m.tril(x, 1)),
    "triu": ((4, 3), lambda m, x: x.triu()),
    "triu_below": ((2, 4, 3), lambda m, x: m.triu(x, -1)),
    "diag_matrix": ((3, 4), lambda m, x: x.diag(1)),
    "diag_vector": ((3,), lambda m, x: m.diag(x)),
    "diag_vector_below": ((3,), lambda m, x: x.diag(-2)),
    "hstack": ((2, 3), lambda m, x: m.hstack([x, x[:, :1]])),
    "hstack_vectors": ((3,), lambda m, x: m.hstack((x, x[0]))),
    "vstack": ((3,), lambda m, x: m.vstack([x, x.reshape(1, 3) * 2])),
    "cat_itself": ((2, 3), lambda m, x: m.cat([x, x, x[:0]])),
    "cat_legacy": ((2, 3), lambda m, x: m.cat([m.zeros(0, dtype=x.dtype), x, m.zeros(0, dtype=x.dtype)], 1)),
    "cat_nothing": ((0,), lambda m, x: m.cat([x, x])),
    "concat": ((2, 3), lambda m, x: m.concat([x, x], dim=-1)),
    "concatenate": ((2, 3), lambda m, x: m.concatenate([x, x])),
    "stack_last": ((2, 3), lambda m, x: m.stack([x, x * 2], -1)),
    "stack_scalars": ((), lambda m, x: m.stack((x, x * 2))),
}


@pytest.mark.parametrize("case", COPIES)
def test_copy(case):
    shape, f = COPIES[case]
    agree(f, normal(shape))
    x = mc.from_numpy(normal(shape))
    assert not np.shares_memory(f(mc, x).numpy(), x.numpy())


@given(st.data())
def test_cat_and_stack(data):
    shape = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    i = axis(data, len(shape))
    lengths = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    arrays = []
    for k, n in enumerate(lengths):
        shape[i] = n
        arrays.append(normal(shape, k))
    constant = [k for k in range(len(lengths)) if data.draw(st.booleans())]
    agree(lambda m, *xs: m.cat(xs, i), *arrays, constant=constant, single=False)
    j = data.draw(st.integers(-len(shape) - 1, len(shape)))
    agree(lambda m, *xs: m.stack(xs, j), *[normal(shape, k) for k in range(3)], constant=[1], single=False)


@given(st.data())
def test_repeat_roll_flip(data):
    shape = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple))
    repeats = data.draw(st.lists(st.integers(0, 3), min_size=len(shape), max_size=len(shape) + 1))
    dims = data.draw(st.permutations(range(len(shape))))[:data.draw(st.integers(1, len(shape)))]
    shifts = [data.draw(st.integers(-4, 4)) for _ in dims]
    x = normal(shape)
    agree(lambda m, x: x.repeat(repeats), x, single=False)
    agree(lambda m, x: x.tile(repeats[1:]), x, single=False)
    agree(lambda m, x: x.roll(shifts, dims), x, single=False)
    agree(lambda m, x: x.flip(dims), x, single=False)


@given(st.data())
def test_repeat_interleave(data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple))
    i = axis(data, len(shape))
    counts = np.array([data.draw(st.integers(0, 3)) for _ in range(shape[i])])
    agree(lambda m, x, n: x.repeat_interleave(n, i), normal(shape), counts, single=False)
    agree(lambda m, x: x.repeat_interleave(int(counts[0]), i), normal(shape), single=False)


@given(st.integers(-4, 4), st.lists(st.integers(0, 4), min_size=2, max_size=3).map(tuple))
def test_triangles(diagonal, shape):
    agree(lambda m, x: x.tril(diagonal), normal(shape), single=False)
    agree(lambda m, x: x.triu(diagonal), normal(shape), single=False)
    agree(lambda m, x: x.diag(diagonal), normal(shape[:1]), single=False)


@pytest.mark.parametrize("dtypes", [("int64", "float32"), ("float32", "float64"), ("bool", "int32"), ("int8", "uint8")])
def test_joining_promotes(dtypes):
    def f(m, *xs):
        return m.cat(xs), m.stack(xs), m.hstack(xs), m.vstack(xs)

    arrays = [np.array([0, 1, 1]).astype(d) for d in dtypes]
    for y, expected in zip(f(mc, *map(mc.tensor, arrays)), f(torch, *map(torch.from_numpy, arrays))):
        assert_close(y, expected, 0)
    number = np.array(arrays[1][0])  # of which hstack makes a vector before types are mixed
    assert_close(mc.hstack([mc.tensor(arrays[0]), mc.tensor(number)]),
                 torch.hstack([torch.from_numpy(arrays[0]), torch.from_numpy(number)]), 0)
    a, b = mc.ones(2, dtype=dtypes[0]), mc.ones(2, dtype="float64", requires_grad=True)
    mc.cat([a, b]).sum().backward()
    assert b.grad.tolist() == [1, 1]


def test_copies_of_other_types():
    for array in (np.array([[True, False, True]]), np.array([[1, 2, 3]], dtype=np.int8)):
        for f in (lambda x: x.tril(), lambda x: x.flip(1), lambda x: x.roll(1, 1), lambda x: x.repeat(2, 2),
                  lambda x: x[0].diag(), lambda x: x.unfold(1, 2, 1), lambda x: x.diagonal(1)):
            assert_close(f(mc.tensor(array)), f(torch.from_numpy(array)), 0)


REFUSED_COPIES = {
    "cat": (lambda m, x: m.cat([x, x.T]), r"tensor 1 has shape \(3, 2\), the first \(2, 3\)"),
    "cat_axes": (lambda m, x: m.cat([x, x[0]]), "equally many"),
    "cat_nothing": (lambda m, x: m.cat([]), "at least one"),
    "cat_scalars": (lambda m, x: m.cat([x.sum(), x.sum()]), "0-d"),
    "cat_dim": (lambda m, x: m.cat([x, x], 2), "dim 2"),
    "cat_tensor": (lambda m, x: m.cat(x), "list or tuple"),
    "cat_numbers": (lambda m, x: m.cat([x, 1.0]), "cat: operand 1 must be a Tensor, not float"),
    "stack": (lambda m, x: m.stack([x, x.T]), r"tensor 1 has shape \(3, 2\)"),
    "stack_nothing": (lambda m, x: m.stack([]), "at least one"),
    "stack_dim": (lambda m, x: m.stack([x], 3), "dim 3"),
    "hstack": (lambda m, x: m.hstack([x, x[0]]), "equally many"),
    "repeat": (lambda m, x: x.repeat(2), r"shape \(2, 3\)"),
    "repeat_negative": (lambda m, x: x.repeat(-1, 2), "not negative"),
    "repeat_interleave": (lambda m, x: x.repeat_interleave(m.tensor([1, 2]), 1), "3 slices along dim 1"),
    "repeat_interleave_negative": (lambda m, x: x.repeat_interleave(-1, 0), "none negative"),
    "repeat_interleave_floats": (lambda m, x: x.repeat_interleave(m.tensor([1.0, 2.0]), 0), "whole"),
    "repeat_interleave_dim": (lambda m, x: x.repeat_interleave(1, 2), "dim 2"),
    "tile_bool": (lambda m, x: x.tile((True,)), "must be ints"),
    "tile_float": (lambda m, x: x.tile((2.0,)), "must be ints"),
    "split_bool": (lambda m, x: x.split(True), "must be ints, not True"),
    "tensor_split_bool": (lambda m, x: x.tensor_split(True), "must be ints, not True"),
    "flip_scalar": (lambda m, x: x.sum().flip(5), "dim 5 is out of range"),
    "flip": (lambda m, x: x.flip(0, 0), "twice"),
    "flip_nothing": (lambda m, x: x.flip(), "dims"),
    "flip_dim": (lambda m, x: x.flip(2), "dim 2"),
    "flip_bool": (lambda m, x: x.flip((True,)), "dim must be an int, not True"),
    "roll_bool": (lambda m, x: x.roll(True, 1), "shifts must be ints"),
    "roll_float": (lambda m, x: x.roll(1, 0.0), "dim must be an int, not 0.0"),
    "roll": (lambda m, x: x.roll((1, 2), 0), "equally long"),
    "roll_flat": (lambda m, x: x.roll((1, 2)), "equally long"),
    "roll_scalar": (lambda m, x: x.sum().roll(1, 0), "0-d"),
    "rot90": (lambda m, x: x.rot90(1, (0, 0)), "twice"),
    "rot90_dims": (lambda m, x: x.rot90(1, (0,)), "two axes"),
    "tril": (lambda m, x: x[0].tril(), "tril: expected at least 2 axes"),
    "triu": (lambda m, x: x[0].triu(), "triu: expected at least 2 axes"),
    "diag": (lambda m, x: x[None].diag(), r"\(1, 2, 3\)"),
}


@pytest.mark.parametrize("case", REFUSED_COPIES)
def test_copies_refuse(case):
    f, match = REFUSED_COPIES[case]
    refused(lambda m: f(m, m.ones(2, 3)), match)


# -- views and writes -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("case", ["reshape", "transpose", "narrow", "diagonal", "unfold", "as_strided"])
def test_a_write_through_a_view_is_noticed(case):
    shape, f = CASES[case]
    for target in ("base", "view"):
        x = mc.tensor(normal(shape))
        w = mc.ones(shape, dtype="float64", requires_grad=True)
        view = f(mc, x)
        y = (w * x).sum() if target == "base" else (f(mc, w) * view).sum()
        (view if target == "base" else x).mul_(2.0)
        with pytest.raises(RuntimeError, match="modified by an in-place operation"):
            y.backward()


def test_iteration_is_one_operation():
    """One node for all rows: one each would add up as many gradients of the whole tensor."""
    agree(lambda m, x: sum(row * i for i, row in enumerate(x)), normal((4, 3)))
    agree(lambda m, x: [*x], normal((2, 3)), second=False)
    assert len({row.grad_fn for row in mc.ones(5, 2, requires_grad=True)}) == 1
    assert list(mc.ones(0, 2)) == [] and [float(v) for v in mc.arange(3.0)] == [0, 1, 2]
    refused(lambda m: list(m.ones(())), "iteration over a 0-d tensor")


@pytest.mark.parametrize("name, argument, value", [
    ("reshape", "shape", (3, 2)), ("view", "size", (3, 2)), ("expand", "size", (4, 2, 3)), ("permute", "dims", (1, 0)),
    ("flip", "dims", (0, 1)), ("repeat", "repeats", (2, 1)), ("tile", "dims", (2,))])
def test_shapes_by_name_as_a_tuple_and_as_numbers(name, argument, value):
    x = normal((2, 3))
    for call in (lambda m, x: getattr(x, name)(*value), lambda m, x: getattr(x, name)(value),
                 lambda m, x: getattr(x, name)(**{argument: value})):
        agree(call, x, single=False)
    if hasattr(torch, name):
        agree(lambda m, x: getattr(m, name)(x, value), x, single=False)
        agree(lambda m, x: getattr(m, name)(x, **{argument: value}), x, single=False)
    refused(lambda m: getattr(m.ones(2, 3), name)(*value, **{argument: value}), "multiple values|positional argument")


def test_narrow_from_a_tensor():
    agree(lambda m, x: x.narrow(1, m.tensor(-2), 1), normal((2, 3)))


@pytest.mark.parametrize("start", [[1], True])
def test_narrow_from_no_number(start):
    refused(lambda m: m.ones(2, 3).narrow(1, m.tensor(start), 1), "start must be an int, or a 0-d tensor of one")


@pytest.mark.parametrize("call", [
    lambda m, x, one: x.squeeze(one), lambda m, x, one: x.movedim(one, 0), lambda m, x, one: x.flip((one, 0)),
    lambda m, x, one: x.sum(one), lambda m, x, one: x.mean((0, one)), lambda m, x, one: x.median(one).values,
    lambda m, x, one: x.amax(one), lambda m, x, one: x.permute(one, 0, 2)])
@pytest.mark.parametrize("one", [lambda m: np.int64(1), lambda m: np.uint8(1), lambda m: m.tensor(1),
                                 lambda m: m.tensor(1).int()])
def test_integers_of_other_kinds_name_axes(one, call):
    agree(lambda m, x: call(m, x, one(m)), normal((2, 1, 3)))


@pytest.mark.parametrize("one", [True, 1.0, "1", np.array([1])])
def test_what_is_no_integer_names_no_axis(one):
    for call in (lambda m: m.ones(2, 3).squeeze(one), lambda m: m.ones(2, 3).sum(one)):
        refused(call, "dim must be an int")


@pytest.mark.parametrize("call", [
    lambda m, x, one: x.max(one).values, lambda m, x, one: x.diagonal(one, 0, 2),
    lambda m, x, one: m.nn.functional.pad(x, (one, 0)), lambda m, x, one: m.nn.functional.pixel_shuffle(x, one + one),
    lambda m, x, one: m.nn.functional.pixel_unshuffle(x[:, :2, :2], one + one),
    lambda m, x, one: m.nn.functional.channel_shuffle(x, one + one),
    lambda m, x, one: m.nn.functional.avg_pool1d(x, 2), lambda m, x, one: m.nn.functional.avg_pool2d(
        x, 2, divisor_override=one)])
@pytest.mark.parametrize("kind", [np.int64, np.uint8])
def test_integers_of_numpy(call, kind):
    agree(lambda m, x: call(m, x, kind(1)), normal((4, 4, 3)), second=False)


def test_the_length_that_repeats_add_up_to():
    agree(lambda m, x: m.repeat_interleave(x, 2, 1, output_size=6), normal((2, 3)))
    refused(lambda m: m.ones(3).repeat_interleave(m.tensor([1, 2, 3]), output_size=7), "output_size = 7, but .* to 6")


@pytest.mark.parametrize("case", ["split", "chunk", "unbind"])
def test_a_write_through_one_of_several_views_is_noticed(case):
    shape, f = CASES[case]
    x, w = mc.tensor(normal(shape)), mc.ones(shape, dtype="float64", requires_grad=True)
    y = (w * x).sum()
    f(mc, x)[-1].zero_()
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        y.backward()


def test_a_recorded_write_to_a_view_outdates_its_base():
    w = mc.ones(3, requires_grad=True)
    x = mc.zeros(2, 3)
    first, second = x.unbind()
    first += w
    for stale in (x, second):
        with pytest.raises(RuntimeError, match="shares memory with one that was written in place"):
            stale.sum()
    assert first.sum().item() == 3 and x.detach().sum().item() == 3


def test_a_write_to_the_base_of_an_expanded_view_is_noticed():
    x, w = mc.ones(3), mc.ones(2, 3, requires_grad=True)
    y = (w * x.expand(2, 3)).sum()
    x.zero_()
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        y.backward()


def test_expanded_memory_cannot_be_written():
    for f in (lambda x: x.add_(1), lambda x: x.zero_(), lambda x: x.__setitem__(0, 1)):
        with pytest.raises(RuntimeError, match="read-only"):
            f(mc.ones(1, 3).expand(2, 3))
