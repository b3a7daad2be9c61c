"""Writes in place, to tensors and to what they share memory with. Expected values come from PyTorch."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import minicnn as mc
import minicnn.functional as F

from util import assert_close, constant, leaf, normal, refused, same

WRITES = {
    "add_": lambda y: y.add_(1.0), "iadd": lambda y: y.__iadd__(1.0), "imul": lambda y: y.__imul__(2.0),
    "isub": lambda y: y.__isub__(2.0), "itruediv": lambda y: y.__itruediv__(2.0), "zero_": lambda y: y.zero_(),
    "fill_": lambda y: y.fill_(2.0), "copy_": lambda y: y.copy_(y.detach().clone()),
    "item": lambda y: y.__setitem__(0, 1.0), "slice": lambda y: y.__setitem__((slice(None), slice(1, 2)), 0.0),
    "through a view": lambda y: y.reshape(6).mul_(2.0), "through a row": lambda y: y[0].mul_(2.0),
    "through a slice": lambda y: y[:, 1:].exp_(), "through a transposed view": lambda y: y.permute(1, 0).add_(1.0),
    "through a detached view": lambda y: y.detach()[1].add_(1.0),
    "clamp_": lambda y: y.clamp_(min=0.0), "masked_fill_": lambda y: y.masked_fill_(y > 0, 1.0),
}
OURS_ONLY = {
    "touch": lambda y: y.touch(), "relu": lambda y: F.relu(y, inplace=True),
    "dropout": lambda y: F.dropout(y, inplace=True),
    "dropout2d": lambda y: F.dropout2d(y.reshape(1, 2, 3), inplace=True),
    "running statistics": lambda y: F.batch_norm(constant(mc), y.detach()[0], constant(mc, (3,)), training=True),
    "other memory": lambda y: setattr(y, "data", y.data.copy()),
}


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("write", [*WRITES, *OURS_ONLY])
def test_a_saved_tensor_that_was_written_to_raises(write, recorded):
    def program(m):
        y = leaf(m) * 1
        z = y.square()
        with m.set_grad_enabled(recorded):
            {**WRITES, **OURS_ONLY}[write](y)
        z.sum().backward()

    if write in WRITES:
        with pytest.raises(RuntimeError):
            program(torch)
    with pytest.raises(RuntimeError, match="SquareBackward: a tensor of shape .* modified by an in-place operation"):
        program(mc)


def test_a_saved_result_that_was_written_to_raises():
    def program(m):
        y = leaf(m).exp()
        y.mul_(2)
        y.sum().backward()

    refused(program, "ExpBackward: a tensor of shape .* modified by an in-place operation")


def test_values_that_were_not_saved_may_be_written():
    def program(m):
        x = leaf(m)
        y = x + 1
        z = y + 2
        y.mul_(3)
        y += z
        (z * y).sum().backward()
        return x.grad, y, z

    same(program)


def test_in_place_operations_use_the_values_they_replace():
    """In place here, not in PyTorch, which refuses some of it."""
    x, r = leaf(mc), leaf(torch)
    y = x * 2
    y.exp_().tanh_().add_(y)
    y *= x.tanh()
    y /= x.exp()
    y -= 1 / x
    F.elu(F.relu(y, inplace=True), inplace=True)
    t = (r * 2).exp().tanh()
    t = (t + t) * r.tanh()
    t = torch.nn.functional.elu(torch.relu(t / r.exp() - 1 / r))
    y.sum().backward()
    t.sum().backward()
    assert_close(y, t, 1e-12)
    assert_close(x.grad, r.grad, 1e-12)


def test_a_tensor_without_history_gets_one_by_a_write():
    def program(m):
        x, buffer = leaf(m), m.zeros(2, 3, dtype=m.float64)
        buffer.add_(x)
        buffer[0] = x[1] * 3
        assert buffer.requires_grad and not buffer.is_leaf
        (buffer * buffer).sum().backward()
        return x.grad, buffer

    same(program)


def test_nan_and_inf_can_be_overwritten():
    x = mc.tensor([float("nan"), float("inf")])
    assert x.clone().zero_().tolist() == [0, 0] and x.fill_(2.0).tolist() == [2, 2]


def test_what_is_overwritten_gets_no_gradient():
    def program(m):
        x = leaf(m)
        y = x * 2
        y.zero_()
        y.add_(x)
        z = x * 3
        z.copy_(constant(m))
        w = x * 4
        w.fill_(2.0)
        (y + z + w * w).sum().backward()
        return x.grad, y, z, w

    same(program)


@pytest.mark.parametrize("program, match", [
    (lambda m: leaf(m).add_(1), "leaf tensor that requires grad"),
    (lambda m: leaf(m).reshape(6).add_(1), "or a view of it"),
    (lambda m: leaf(m)[0][1:].zero_(), "or a view of it"),
    (lambda m: leaf(m).zero_(), "leaf tensor that requires grad"),
    (lambda m: leaf(m).__setitem__(0, 1.0), "leaf tensor that requires grad"),
    (lambda m: leaf(m).copy_(constant(m)), "leaf tensor that requires grad"),
    (lambda m: (leaf(m) * 1).mul_(constant(m, (4, 2, 3))), r"shape \(4, 2, 3\) cannot be written in place .* \(2, 3\)"),
    (lambda m: constant(m, (3,)).mul_(constant(m, (1, 3))), r"shape \(1, 3\) cannot be written in place .* \(3,\)"),
    (lambda m: constant(m, (1, 3)).expand(2, 3).add_(1), "memory of this tensor is read-only"),
    (lambda m: m.tensor([1, 2]).add_(0.5), "float32 can't be cast to .* int64"),
    (lambda m: m.tensor([True]).add_(1), "int64 can't be cast to .* bool"),
])
def test_writes_that_are_refused(program, match):
    refused(program, match)


def test_the_type_written_to_stays():
    def program(m):
        bytes_, half = m.tensor([1, 2], dtype=m.uint8), m.tensor([1.5, 2.5], dtype=m.bfloat16)
        x = m.tensor([1.0, 2.0], requires_grad=True)
        y = x * 2
        y *= m.tensor([1.0, 3.0], dtype=m.float64)
        half += m.tensor([1.0, 1.0])
        bytes_ += m.tensor([3, 4])
        y.sum().backward()
        return x.grad, y, half.float(), bytes_

    same(program)


def test_leaves_can_be_written_under_no_grad():
    def program(m):
        x = leaf(m)
        with m.no_grad():
            x -= 0.5
            x[0] = 2.0
        (x * x).sum().backward()
        assert x.is_leaf
        return x, x.grad

    same(program)


def test_a_view_knows_of_no_recorded_write_to_its_base():
    """PyTorch gives the view a new history; here it has to be taken again, and using it raises: it would be wrong."""
    x, buffer = leaf(mc), mc.zeros(2, 3, dtype=mc.float64)
    row = buffer[0]
    buffer.add_(x)
    for use in (lambda: row * 2, lambda: row.sum(), lambda: row.add_(1), lambda: row.zero_(),
                lambda: row.__setitem__(0, 1.0)):
        with pytest.raises(RuntimeError, match="shares memory with one that was written in place since"):
            use()
    with mc.no_grad():
        assert_close(row * 2, 2 * x.detach().numpy()[0], 1e-12)
    assert_close(row.detach() * 2, 2 * x.detach().numpy()[0], 1e-12)
    buffer[0].sum().backward()
    assert_close(x.grad, [[1.0, 1, 1], [0, 0, 0]], 1e-12)


def test_a_base_knows_of_no_recorded_write_to_its_view():
    y = leaf(mc) * 2
    y[0].mul_(3)
    with pytest.raises(RuntimeError, match="shares memory with one that was written in place since"):
        y.sum()


def test_detached_tensors_have_their_own_history():
    def program(m):
        x = leaf(m)
        y = x * 2
        d = y.detach().requires_grad_()
        y.mul_(3)
        (d * d).sum().backward()
        (y * d.detach()).sum().backward()
        return x.grad, d.grad, d

    same(program)


def test_a_detached_tensor_knows_of_no_recorded_write_to_its_view():
    """PyTorch rewrites the history of the base; here the base refuses, and a write by index does what was meant."""
    w, buffer = leaf(mc, (3,)), (leaf(mc) * 2).detach()
    row = buffer[0]
    row += w
    with pytest.raises(RuntimeError, match="shares memory with one that was written in place since"):
        (buffer * w).sum()

    def program(m):
        w, y = leaf(m, (3,)), leaf(m) * 2
        buffer = y.detach().detach()
        buffer[0] += w
        (buffer * w).sum().backward()
        return buffer.detach(), y.detach(), w.grad

    same(program)


NUMBERS = st.sampled_from([0.5, -1.5, 2.0])
INDEX = st.integers(0, 7)
INSTRUCTIONS = st.one_of(
    st.tuples(st.sampled_from(["add", "sub", "mul", "add_", "sub_", "mul_", "copy_", "setitem", "iadd_row"]), INDEX,
              INDEX),
    st.tuples(st.sampled_from(["square", "tanh", "sigmoid", "exp", "neg", "clone", "detach", "flat", "turned", "row",
                               "column", "sum", "tanh_", "sigmoid_", "neg_", "zero_", "square_", "relu", "relu_",
                               "no_grad neg_"]), INDEX),
    st.tuples(st.sampled_from(["times", "plus", "times_", "plus_", "fill_", "no_grad plus_"]), INDEX, NUMBERS))


def execute(m: Any, instructions: list) -> tuple:
    """Values and gradients of a random program; tensors are numbered round and round in the order they are made."""
    relu = F.relu if m is mc else torch.nn.functional.relu
    leaves = leaf(m), leaf(m, (6,), 1)
    tensors = [leaves[0] * 1, leaves[1] * 1, constant(m), leaves[0]]

    def like(b, a):
        return b if b.shape == a.shape else b.reshape(a.shape) if b.numel() == a.numel() else b.sum()

    def setitem(a, b):
        a[0] = b.sum()

    def iadd_row(a, b):
        a[0] += b.sum()

    two = {"copy_": lambda a, b: a.copy_(like(b, a)), "setitem": setitem, "iadd_row": iadd_row}
    one = {"flat": lambda a: a.reshape(-1), "turned": lambda a: a.permute(*reversed(range(len(a.shape)))),
           "row": lambda a: a[0:1], "column": lambda a: a[..., 1:], "relu": relu,
           "relu_": lambda a: relu(a, inplace=True)}
    number = {"times": lambda a, c: a * c, "plus": lambda a, c: a + c, "times_": lambda a, c: a.mul_(c),
              "plus_": lambda a, c: a.add_(c)}
    for name, i, *rest in instructions:
        a = tensors[i % len(tensors)]
        unrecorded = name.startswith("no_grad ")
        name = name.removeprefix("no_grad ")
        with m.set_grad_enabled(not unrecorded):
            if not rest:
                y = one[name](a) if name in one else getattr(a, name)()
            elif isinstance(rest[0], float):
                y = number[name](a, rest[0]) if name in number else getattr(a, name)(rest[0])
            else:
                b = tensors[rest[0] % len(tensors)]
                y = two[name](a, b) if name in two else getattr(a, name)(like(b, a))
        if y is not None and y is not a:
            tensors.append(y)
    loss = sum((t * m.tensor(normal(tuple(t.shape), 50 + k))).sum() for k, t in enumerate(tensors))
    loss.backward()
    return (*[t.detach() for t in tensors], *[x.grad for x in leaves])


def attempt(m: Any, instructions: list) -> tuple | RuntimeError | IndexError:
    try:
        return execute(m, instructions)
    except (RuntimeError, IndexError) as error:
        return error


STRICTER = ("shares memory with one that was written in place since", "elements share memory")
programs = {"equal": 0, "both refuse": 0, "only ours refuses": 0, "only PyTorch refuses": 0}


@settings(max_examples=500)
@given(st.lists(INSTRUCTIONS, min_size=1, max_size=9))
def test_random_programs_give_what_pytorch_gives(instructions):
    """Results are right or refused.

    Where PyTorch refuses because a saved tensor was overwritten, it is asked again with copies of what it saves: such
    a tensor is not lost here, as in-place operations work on copies.
    """
    ours, theirs = attempt(mc, instructions), attempt(torch, instructions)
    if isinstance(ours, Exception):
        stricter = any(text in str(ours) for text in STRICTER)
        assert isinstance(theirs, Exception) or stricter, f"only ours refuses: {ours}"
        programs["both refuse" if isinstance(theirs, Exception) else "only ours refuses"] += 1
        return
    programs["only PyTorch refuses" if isinstance(theirs, Exception) else "equal"] += 1
    with torch.autograd.graph.allow_mutation_on_saved_tensors():
        theirs = attempt(torch, instructions)
    assert isinstance(theirs, tuple), f"only PyTorch refuses: {theirs}"
    for i, (o, t) in enumerate(zip(ours, theirs, strict=True)):
        o = mc.zeros(*t.shape, dtype=mc.float64) if o is None else o
        assert_close(o, torch.zeros(*o.shape, dtype=torch.float64) if t is None else t, 1e-9, f"result {i}")


def test_enough_random_programs_came_to_a_result():
    if sum(programs.values()):  # not when this test is run alone
        assert programs["equal"] > 200 and programs["both refuse"] > 50, programs


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (3,)])
def test_gradients_can_be_written(shape):
    """Also where one number stands for all of them on the way."""
    x = mc.tensor(np.ones(shape, np.float32), requires_grad=True)
    x.sum().backward()
    x.grad.mul_(3)
    np.testing.assert_array_equal(x.grad.numpy(), np.full(shape, 3, np.float32))
