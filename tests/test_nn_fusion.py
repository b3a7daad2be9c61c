"""What Sequential does with two neighbours at once is what they do one by one."""

import numpy as np
import pytest
import torch

import minicnn as mc
from minicnn import nn
from minicnn.ops import pool
from util import check_op, distinct, normal

PAIRS = {
    "ReLU, AvgPool2d": lambda nn: nn.Sequential(nn.ReLU(), nn.AvgPool2d(2)),
    "Sigmoid, AvgPool2d": lambda nn: nn.Sequential(nn.Sigmoid(), nn.AvgPool2d(2)),
    "Tanh, AvgPool2d with padding": lambda nn: nn.Sequential(nn.Tanh(), nn.AvgPool2d((3, 2), 2, 1, True, False)),
    "ReLU, MaxPool2d": lambda nn: nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)),
    "ReLU, MaxPool2d with padding": lambda nn: nn.Sequential(nn.ReLU(), nn.MaxPool2d((3, 2), 2, 1, ceil_mode=True)),
    "in a row": lambda nn: nn.Sequential(nn.ReLU(), nn.Sigmoid(), nn.AvgPool2d(2), nn.Tanh(), nn.ReLU()),
}


def one_by_one(net, x):
    for module in net:
        x = module(x)
    return x


@pytest.mark.parametrize("shape", [(2, 3, 6, 8), (1, 2, 5, 7), (3, 6, 8)])
@pytest.mark.parametrize("pair", PAIRS)
def test_pairs_agree_with_pytorch_to_second_order(pair, shape):
    check_op(PAIRS[pair](nn), PAIRS[pair](torch.nn), distinct(shape, gap=0.03))


@pytest.mark.parametrize("pair", PAIRS)
def test_pairs_are_the_same_to_the_last_bit(pair):
    net, results = PAIRS[pair](nn), []
    gy = None
    for call in (net, lambda x: one_by_one(net, x)):
        x = mc.tensor(normal((40, 6, 28, 28)).astype(np.float32), requires_grad=True)
        y = call(x)
        gy = mc.tensor(normal(y.shape, 1).astype(np.float32)) if gy is None else gy
        y.backward(gy)
        results.append((y.detach().numpy(), x.grad.numpy()))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def fused(net, x):
    """Whether the graph of net(x) shows that two were done at once."""
    node = net(x).grad_fn
    return isinstance(node, pool.ActivatedAvgPool2d)


def test_whoever_looks_in_between_sees_the_modules_one_by_one():
    x, net = mc.tensor(normal((2, 3, 4, 4)), requires_grad=True), PAIRS["Sigmoid, AvgPool2d"](nn)
    assert fused(net, x) and not fused(net, x[0])
    for module in net:
        seen = []
        handle = module.register_forward_hook(lambda module, args, y, seen=seen: seen.append((args[0], y)))
        assert not fused(net, x) and len(seen) == 1
        assert mc.equal(seen[0][1], module.forward(seen[0][0]))
        handle.remove()
        assert fused(net, x)
        module.forward = lambda input: input * 2
        assert not fused(net, x)
        del module.forward

    class Loud(nn.Sigmoid):
        pass

    assert not fused(nn.Sequential(Loud(), net[1]), x)


def test_what_in_place_overwrites_is_overwritten():
    x, net = mc.tensor(normal((2, 3, 4, 4))), nn.Sequential(nn.ReLU(inplace=True), nn.MaxPool2d(2))
    net(x)
    assert (x >= 0).all()


def test_places_of_maxima_are_those_of_what_was_activated():
    x, net = mc.tensor(-distinct((2, 3, 4, 4))), nn.Sequential(nn.ReLU(), nn.MaxPool2d(2, return_indices=True))
    for a, b in zip(net(x), one_by_one(net, x), strict=True):
        assert mc.equal(a, b)


RECTIFIED = [("BatchNorm1d", (7, 3)), ("BatchNorm1d", (4, 3, 5)), ("BatchNorm2d", (4, 3, 5, 6)),
             ("BatchNorm3d", (2, 3, 4, 2, 3))]


def rectified(lib, norm, training):
    net = lib.nn.Sequential(getattr(lib.nn, norm)(3), lib.nn.ReLU()).to(lib.float64).train(training)
    for i, t in enumerate([*net.parameters(), net[0].running_mean, net[0].running_var]):
        with lib.no_grad():
            t.copy_(lib.tensor(abs(normal((3,), i + 2)) + (i == 3)))
    return net


@pytest.mark.parametrize("norm, shape", RECTIFIED)
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_is_rectified_as_pytorch_does_in_two_steps(norm, shape, training):
    ours, theirs = (rectified(lib, norm, training) for lib in (mc, torch))
    check_op(lambda x: ours.to(x.dtype)(x), lambda x: theirs.to(x.dtype)(x), normal(shape))
    ours, theirs = (rectified(lib, norm, training) for lib in (mc, torch))
    x, gy = normal(shape, 1), normal(shape, 2)
    results = []
    for lib, net in ((mc, ours), (torch, theirs)):
        leaf = lib.tensor(x, requires_grad=True)
        y = net(leaf)
        y.backward(lib.tensor(gy))
        gradients = [leaf.grad, *[p.grad for p in net.parameters()]]
        results.append([t.detach().numpy() for t in (y, *gradients, *net.buffers())])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_batch_norm_is_rectified_in_one_pass_unless_somebody_looks():
    net, x = rectified(mc, "BatchNorm2d", True), mc.tensor(normal((4, 3, 5, 6)), requires_grad=True)
    assert net(x).grad_fn.rectify
    handle = net[0].register_forward_hook(lambda *_: None)
    assert type(net(x).grad_fn).__name__ == "Relu"
    handle.remove()
    with mc.autocast("cpu"):
        assert not hasattr(net(x).grad_fn, "rectify")
    assert net(x).grad_fn.rectify
