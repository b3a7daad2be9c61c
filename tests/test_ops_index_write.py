"""x[index] = v and its history: what is converted, recorded, noticed and refused."""

import numpy as np
import pytest
import torch
from util import SECOND, agree, assert_close, normal

import minicnn as mc


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
