"""Tensors as Python objects, beside PyTorch's: copies, pickles, text, numbers, memory shared with NumPy."""

import copy
import pickle
import re

import numpy as np
import pytest
import torch

import minicnn as mc

from util import assert_close, constant, leaf, refused


def test_deepcopy_of_leaves():
    x = leaf(mc)
    (x * x).sum().backward()
    y = copy.deepcopy({"a": x, "b": x})
    assert y["a"] is y["b"] and type(y["a"]) is mc.Tensor and y["a"].requires_grad and y["a"].is_leaf
    assert_close(y["a"], x.detach(), 0)
    assert_close(y["a"].grad, x.grad, 0)
    assert not np.shares_memory(y["a"].data, x.data) and not np.shares_memory(y["a"].grad.data, x.grad.data)
    p = copy.deepcopy(mc.Parameter(mc.ones(2), requires_grad=False))
    assert type(p) is mc.Parameter and not p.requires_grad
    refused(lambda m: copy.deepcopy(leaf(m) * 2), "only leaf tensors can be copied deeply")


def test_pickled_leaves():
    for t in (leaf(mc), mc.Parameter(mc.ones(2)), mc.Parameter(mc.ones(2), False), mc.tensor([True]),
              mc.ones(2, dtype=mc.bfloat16)):
        back = pickle.loads(pickle.dumps(t))
        assert type(back) is type(t) and back.requires_grad == t.requires_grad and back.dtype == t.dtype
        np.testing.assert_array_equal(back.data, t.data)
    with pytest.raises(RuntimeError, match="only leaf tensors can be pickled"):
        pickle.dumps(leaf(mc) * 2)


REPRESENTED = {
    "int": lambda m: m.tensor([1, -20, 3]), "whole floats": lambda m: m.tensor([[1.0, 2.0], [3.0, -40.0]]),
    "bool": lambda m: m.tensor([True, False]), "0-d": lambda m: m.tensor(3), "0-d float": lambda m: m.tensor(3.0),
    "double": lambda m: m.tensor([1.0], dtype=m.float64), "int32": lambda m: m.tensor([[1], [2]], dtype=m.int32),
    "half": lambda m: m.tensor([1.0], dtype=m.float16), "bfloat16": lambda m: m.tensor([1.0], dtype=m.bfloat16),
    "empty": lambda m: m.zeros(0), "empty matrix": lambda m: m.zeros(2, 0),
    "empty double": lambda m: m.zeros(0, 3, dtype=m.float64),
    "leaf": lambda m: m.ones(2, requires_grad=True), "add": lambda m: m.ones(2, requires_grad=True) + 1,
    "double leaf": lambda m: m.ones(2, requires_grad=True, dtype=m.float64), "long": lambda m: m.arange(2000),
    "special": lambda m: m.tensor([float("nan"), float("inf"), 1.0]), "cube": lambda m: m.arange(8).reshape(2, 2, 2),
    "mul": lambda m: m.ones(2, requires_grad=True) * m.ones(2), "sum": lambda m: m.ones(2, requires_grad=True).sum(),
    "parameter": lambda m: (m if m is mc else torch.nn).Parameter(m.ones(2)),
}


@pytest.mark.parametrize("name", REPRESENTED)
def test_repr_is_as_in_pytorch(name):
    theirs = re.sub(r"Backward0", "Backward", repr(REPRESENTED[name](torch)).replace("torch.", ""))
    assert re.sub(r"\s+", " ", repr(REPRESENTED[name](mc))) == re.sub(r"\s+", " ", theirs)


def test_repr_of_rows_is_aligned():
    assert repr(mc.arange(4).reshape(2, 2)) == "tensor([[0, 1],\n        [2, 3]])"


def test_numpy_sees_the_memory():
    t = constant(mc)
    assert np.asarray(t) is not None and np.shares_memory(np.asarray(t), t.data) and t.numpy() is t.data
    assert np.array(t).dtype == np.float64 and not np.shares_memory(np.array(t), t.data)
    assert np.asarray(t, dtype=np.float32).dtype == np.float32
    np.testing.assert_array_equal(np.add(t, 1), t.numpy() + 1)
    x = leaf(mc)
    for convert in (np.asarray, lambda t: t.numpy(), lambda t: t.__array__()):
        with pytest.raises(RuntimeError, match=r"use x\.detach\(\)\.numpy\(\)"):
            convert(x)
    assert np.shares_memory(x.detach().numpy(), x.data)


def test_dlpack_round_trips_share_memory():
    t = constant(mc)
    theirs = torch.from_dlpack(t)
    theirs += 1
    back = mc.from_dlpack(theirs)
    assert np.shares_memory(back.data, t.data)
    assert_close(back, t, 0)
    assert_close(mc.from_dlpack(constant(torch).int()), constant(torch).int(), 0)
    assert np.shares_memory(np.from_dlpack(t), t.data)
    with pytest.raises(BufferError, match=r"use x\.detach\(\)"):
        torch.from_dlpack(leaf(mc))


def test_scalars():
    for m in (mc, torch):
        t = m.tensor([[2.5]])
        assert (t.item(), float(t), int(t), bool(t), f"{t.sum():.2f}", len(t)) == (2.5, 2.5, 2, True, "2.50", 1)
        assert [10, 20, 30][m.tensor(1)] == 20 and list(range(m.tensor(3))) == [0, 1, 2]
        assert [type(v) for v in (t.item(), m.tensor(1).item(), m.tensor(True).item())] == [float, int, bool]
        assert m.tensor([1.5, 2.5], dtype=m.bfloat16).tolist() == [1.5, 2.5]
        assert type(m.tensor([1.5], dtype=m.bfloat16).item()) is float
        assert hash(t) == hash(t) and t in {t}


@pytest.mark.parametrize("program, match", [
    (lambda m: bool(m.ones(2)), "truth value of a tensor with 2 elements is ambiguous"),
    (lambda m: bool(m.ones(0)), "truth value of a tensor with 0 elements is ambiguous"),
    (lambda m: m.ones(2).item(), "2 elements cannot be converted to a number"),
    (lambda m: float(m.ones(2)), "2 elements cannot be converted to a number"),
    (lambda m: [1, 2][m.tensor(1.0)], "only integer tensors of a single element"),
    (lambda m: len(m.tensor(1)), "0-d tensor"),
    (lambda m: list(m.tensor(1)), "iteration over a 0-d tensor"),
    (lambda m: f"{m.ones(2):.2f}", "unsupported format string"),
])
def test_wrong_conversions(program, match):
    refused(program, match)
