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


CONVOLUTIONS = {
    "one after the other": lambda nn: nn.Sequential(nn.Conv2d(3, 4, (3, 2), (1, 2), (1, 0)), nn.ReLU(),
                                                    nn.Conv2d(4, 2, 1, bias=False), nn.ReLU()),
    "before pooling": lambda nn: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, groups=1), nn.ReLU(), nn.MaxPool2d(2)),
    "before other pooling": lambda nn: nn.Sequential(nn.Conv2d(3, 4, 3, padding=2), nn.ReLU(), nn.AvgPool2d(2)),
}


@pytest.mark.parametrize("shape", [(2, 3, 6, 7), (1, 3, 5, 4), (0, 3, 5, 4), (3, 6, 7)])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution_is_rectified_as_pytorch_does_in_two_steps(name, shape):
    mc.manual_seed(1)
    ours, theirs = CONVOLUTIONS[name](nn).double(), CONVOLUTIONS[name](torch.nn).double()
    theirs.load_state_dict({key: torch.from_numpy(t.numpy()) for key, t in ours.state_dict().items()})
    check_op(lambda x: ours.to(x.dtype)(x), lambda x: theirs.to(x.dtype)(x), normal(shape))
    x, results, gy = normal(shape), [], None
    for lib, net in ((mc, ours.double()), (torch, theirs.double())):
        leaf = lib.tensor(x, requires_grad=True)
        leaves, y = [leaf, *net.parameters()], net(leaf)
        gy = normal(tuple(y.shape), 2) if gy is None else gy
        first = lib.autograd.grad(y, leaves, lib.tensor(gy), create_graph=True)
        norm = sum([(g * g).sum() for g in first])  # of which the weights see second derivatives
        second = [lib.zeros_like(t) if g is None else g
                  for t, g in zip(leaves, lib.autograd.grad(norm, leaves, allow_unused=True), strict=True)]
        results.append([t.detach().numpy() for t in (y, *first, *second)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def test_convolution_is_rectified_in_one_pass_unless_somebody_looks():
    net, x = CONVOLUTIONS["one after the other"](nn), mc.tensor(normal((2, 3, 6, 7)).astype(np.float32))

    def rectifies(net):
        """Whether the convolution before the last node of the graph did it."""
        return net(x).grad_fn.edges[0][0].rectify

    assert rectifies(net) and not rectifies(nn.Sequential(net[0], nn.ReLU(inplace=True)))
    pooled = CONVOLUTIONS["before pooling"](nn)(x).grad_fn  # ReLU of MaxPool2d of Conv2d
    assert not pooled.edges[0][0].edges[0][0].rectify
    expected = net(x)
    handle = net[2].register_forward_hook(lambda *_: None)
    assert not rectifies(net)
    np.testing.assert_array_equal(net(x).detach().numpy(), expected.detach().numpy())
    handle.remove()
    with mc.autocast("cpu"):
        assert not rectifies(net)
    with mc.conv_algorithm("loops"):
        np.testing.assert_allclose(net(x).detach().numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert rectifies(net)


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ReLU])
def test_whoever_replaces_forward_of_a_class_is_called(kind, monkeypatch):
    net, x = CONVOLUTIONS["one after the other"](nn), mc.tensor(normal((2, 3, 6, 7)).astype(np.float32))
    seen, forward = [], kind.forward
    monkeypatch.setattr(kind, "forward", lambda module, input: seen.append(module) or forward(module, input))
    net(x)
    assert len(seen) == 2


def test_batch_norm_is_rectified_in_one_pass_unless_somebody_looks():
    net, x = rectified(mc, "BatchNorm2d", True), mc.tensor(normal((4, 3, 5, 6)), requires_grad=True)
    assert net(x).grad_fn.rectify
    handle = net[0].register_forward_hook(lambda *_: None)
    assert type(net(x).grad_fn).__name__ == "Relu"
    handle.remove()
    with mc.autocast("cpu"):
        assert not hasattr(net(x).grad_fn, "rectify")
    assert net(x).grad_fn.rectify
