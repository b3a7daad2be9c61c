"""Convolution and pooling layers that do more than call one function: output sizes, indices, chance, lazy shapes."""

import copy
import pickle

import numpy as np
import pytest
import torch

import minicnn as mc
import minicnn.functional as F
from minicnn import nn, optim
from util import assert_close, check_raises, distinct, normal, rng_of


# -- convolution ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("size", [(8, 11), (9, 12), (2, 3, 9, 11), [8, 13]])
def test_transposed_convolution_to_a_size(size):
    arguments = dict(in_channels=2, out_channels=3, kernel_size=2, stride=(2, 3), bias=False)
    ours, theirs = nn.ConvTranspose2d(**arguments), torch.nn.ConvTranspose2d(**arguments)
    ours.load_state_dict(theirs.state_dict())
    x = normal((2, 2, 4, 4)).astype(np.float32)
    assert_close(ours(mc.tensor(x), size), theirs(torch.tensor(x), output_size=list(size)), 1e-5)
    assert ours(mc.tensor(x[0]), output_size=size[-2:]).shape == (3, *size[-2:])


@pytest.mark.parametrize("size", [(7, 11), (10, 11), (8,), (2, 3, 4, 8, 11)])
def test_transposed_convolution_to_an_impossible_size(size):
    check_raises(lambda: nn.ConvTranspose2d(2, 3, 2, (2, 3))(mc.ones(2, 2, 4, 4), size),
                 lambda: torch.nn.ConvTranspose2d(2, 3, 2, (2, 3))(torch.ones(2, 2, 4, 4), list(size)),
                 r"ConvTranspose2d: output_size .* must be at least \[8, 11\] and less than the stride \(2, 3\) above")


@pytest.mark.parametrize("name, arguments, match", [
    ("ConvTranspose2d", dict(padding_mode="reflect"), "padding_mode 'reflect' is not possible; use 'zeros'"),
    ("Conv1d", dict(padding_mode="mirror"), "padding_mode 'mirror' is unknown"),
    ("Conv3d", dict(kernel_size=3, padding="same", stride=2), "padding 'same' needs stride 1"),
])
def test_wrong_arguments_are_refused(name, arguments, match):
    arguments = {"in_channels": 2, "out_channels": 2, "kernel_size": 3, **arguments}
    check_raises(lambda: getattr(nn, name)(**arguments), lambda: getattr(torch.nn, name)(**arguments), match)


@pytest.mark.parametrize("arguments", [dict(padding="same"), dict(output_padding=-1), dict(kernel_size=(2, 2, 2))])
def test_transposed_convolution_refuses_when_made(arguments):
    with pytest.raises(ValueError, match="ConvTranspose2d: "):
        nn.ConvTranspose2d(2, 3, **{"kernel_size": 3, **arguments})


def test_full_padding():
    layer = nn.Conv2d(2, 3, (3, 2), padding="full", dilation=(1, 2), padding_mode="circular")
    assert repr(layer) == "Conv2d(2, 3, kernel_size=(3, 2), stride=(1, 1), padding=full, dilation=(1, 2), " \
                          "padding_mode=circular)"
    x = mc.tensor(normal((2, 2, 5, 6)).astype(np.float32))
    padded = F.pad(x, (2, 2, 2, 2), "circular")
    assert_close(layer(x).detach(), F.conv2d(padded, layer.weight, layer.bias, dilation=(1, 2)).detach(), 0)


# -- pooling --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("axes", [1, 2, 3])
def test_pooling_and_back(axes):
    x = distinct((2, 3, 7, 5, 9)[:axes + 2])
    results = []
    for library, tensor in ((nn, mc.tensor), (torch.nn, torch.tensor)):
        y, index = getattr(library, f"MaxPool{axes}d")(3, 2, return_indices=True)(tensor(x))
        back = getattr(library, f"MaxUnpool{axes}d")(3, 2)
        results.append((y, index, back(y, index, list(x.shape)), back(y, index), repr(back)))
    for ours, theirs in zip(*results):
        assert ours == theirs if isinstance(ours, str) else assert_close(ours, theirs, 0) is None
    for name in (f"AdaptiveMaxPool{axes}d", f"MaxPool{axes}d"):
        ours, theirs = getattr(nn, name)(2, return_indices=True), getattr(torch.nn, name)(2, return_indices=True)
        for a, b in zip(ours(mc.tensor(x)), theirs(torch.tensor(x)), strict=True):
            assert_close(a, b, 0)


@pytest.mark.parametrize("axes, options", [(2, dict(output_size=(3, 2))), (2, dict(output_ratio=(0.5, 0.7))),
                                           (3, dict(output_size=2, return_indices=True)), (3, dict(output_ratio=0.5))])
def test_fractional_pooling(axes, options):
    x, samples = distinct((2, 3, 7, 8, 9)[:axes + 2]), rng_of(0).random((2, 3, axes))
    name = f"FractionalMaxPool{axes}d"
    ours = getattr(nn, name)(2, **options, _random_samples=mc.tensor(samples))
    theirs = getattr(torch.nn, name)(2, **options, _random_samples=torch.tensor(samples))
    assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
    assert (ours.kernel_size, ours.output_size, ours.output_ratio) == \
           (theirs.kernel_size, theirs.output_size, theirs.output_ratio)
    y, expected = ours(mc.tensor(x)), theirs(torch.tensor(x))
    for a, b in zip(y, expected) if options.get("return_indices") else [(y, expected)]:
        assert_close(a, b, 0)
    assert getattr(nn, name)(2, **options)(mc.tensor(x))[0].shape == getattr(torch.nn, name)(2, **options)(
        torch.tensor(x))[0].shape


@pytest.mark.parametrize("options", [{}, dict(output_size=2, output_ratio=0.5), dict(output_ratio=1.5),
                                     dict(output_ratio=(0.5, 0.0))])
def test_fractional_pooling_refuses(options):
    check_raises(lambda: nn.FractionalMaxPool2d(2, **options), lambda: torch.nn.FractionalMaxPool2d(2, **options),
                 "FractionalMaxPool2d: ")


def test_stochastic_pooling_depends_on_the_mode():
    layer, x = nn.StochasticPool2d((2, 3), padding=1), mc.tensor(distinct((2, 3, 6, 7)).clip(0))
    assert repr(layer) == "StochasticPool2d(kernel_size=(2, 3), stride=(2, 3), padding=1)"
    assert np.isin(layer(x).numpy(), x.numpy()).all()
    assert_close(layer.eval()(x), F.stochastic_pool2d(x, (2, 3), padding=1, training=False), 0)


# -- lazy layers ----------------------------------------------------------------------------------------------------

LAZY = [("LazyConv1d", (3, 2), (2, 4, 5)), ("LazyConv2d", (3, 2), (4, 5, 6)), ("LazyConv3d", (3, 2), (2, 4, 3, 3, 3)),
        ("LazyConvTranspose1d", (3, 2), (2, 4, 5)), ("LazyConvTranspose2d", (3, 2), (2, 4, 3, 2)),
        ("LazyConvTranspose3d", (3, 2), (4, 2, 2, 3)), ("LazyLinear", (3,), (2, 5, 4)),
        ("LazyBatchNorm1d", (), (2, 4, 5)), ("LazyBatchNorm2d", (), (2, 4, 5, 6)),
        ("LazyBatchNorm3d", (), (2, 4, 3, 2, 2))]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name, arguments, shape", LAZY)
def test_a_lazy_layer_becomes_the_ordinary_one_with_its_first_input(name, arguments, shape, bias):
    ours, theirs = getattr(nn, name)(*arguments, bias=bias), getattr(torch.nn, name)(*arguments, bias=bias)
    assert repr(ours) == repr(theirs) and repr(ours.weight) == repr(theirs.weight)
    assert ours.has_uninitialized_params() and list(ours.state_dict()) == list(theirs.state_dict())
    parameters = list(ours.parameters())
    y, expected = ours(mc.ones(shape)), theirs(torch.ones(shape))
    assert y.shape == expected.shape
    assert type(ours) is getattr(nn, name[4:]) and repr(ours) == repr(theirs)
    assert all(a is b and type(a) is nn.Parameter for a, b in zip(ours.parameters(), parameters, strict=True))
    assert [p.shape for p in parameters] == [tuple(p.shape) for p in theirs.parameters()]
    ours.load_state_dict(theirs.state_dict())
    x = normal(shape).astype(np.float32)
    assert_close(ours(mc.tensor(x)), theirs(torch.tensor(x)), 1e-5)


def test_first_values_are_those_of_the_ordinary_layer():
    mc.manual_seed(5)
    lazy = nn.LazyConv2d(3, 2)
    lazy(mc.ones(1, 4, 5, 5))
    mc.manual_seed(5)
    plain = nn.Conv2d(4, 3, 2)
    for a, b in zip(lazy.parameters(), plain.parameters(), strict=True):
        assert_close(a, b.detach(), 0)


@pytest.mark.parametrize("name, arguments, shape", LAZY)
def test_a_state_dict_may_be_loaded_before_the_first_input(name, arguments, shape):
    plain = getattr(nn, name[4:])(4, *arguments)
    lazy = getattr(nn, name)(*arguments)
    lazy.load_state_dict(plain.state_dict())
    assert not lazy.has_uninitialized_params() and lazy.weight.shape == plain.weight.shape
    x = mc.tensor(normal(shape).astype(np.float32))
    assert_close(lazy(x), plain(x).detach(), 0)
    assert repr(lazy) == repr(plain) and type(lazy) is type(plain)


def test_the_state_dict_of_a_lazy_layer():
    """It can be loaded by another lazy layer, which stays lazy, not by an ordinary one."""
    state = nn.LazyLinear(3).state_dict()
    assert all(isinstance(p, nn.UninitializedParameter) for p in state.values())
    lazy = nn.LazyLinear(3)
    assert repr(lazy.load_state_dict(state)) == "<All keys matched successfully>" and lazy.has_uninitialized_params()
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        nn.Linear(4, 3).load_state_dict(state)


def test_a_state_dict_with_half_the_parameters():
    lazy = nn.LazyLinear(3)
    lazy.load_state_dict({"weight": mc.ones(3, 4)}, strict=False)
    with pytest.raises(RuntimeError, match="LazyLinear: of weight and bias only bias was not loaded"):
        lazy(mc.ones(2, 4))


def test_lazy_layers_in_a_network_of_another_type():
    net = nn.Sequential(nn.LazyConv2d(3, 2, dtype=mc.float64), nn.Flatten(), nn.LazyLinear(2).to(mc.float64))
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert repr(other) == repr(net)
        y = other.to(mc.float64)(mc.ones(2, 1, 3, 4, dtype=mc.float64))
        assert y.shape == (2, 2) and {p.dtype for p in other.parameters()} == {mc.float64}
    assert net[0].has_uninitialized_params(), "a copy has parameters of its own"


def test_an_optimiser_may_hold_parameters_without_a_shape():
    layer = nn.LazyLinear(2)
    optimiser = optim.SGD(layer.parameters(), lr=0.5, momentum=0.9)
    layer(mc.ones(1, 3)).sum().backward()
    before = layer.weight.detach().numpy().copy()
    optimiser.step()
    np.testing.assert_allclose(layer.weight.detach().numpy(), before - 0.5)


def test_a_parameter_without_a_shape_says_so():
    p = nn.LazyLinear(3).weight
    for use in (lambda: p.shape, p.numel):
        with pytest.raises(RuntimeError, match="an uninitialised parameter has no shape yet; call the network once"):
            use()


@pytest.mark.parametrize("call, match", [
    (lambda m: m.LazyConv2d(4, 3, groups=2), "groups = 2"), (lambda m: m.LazyConv2d(4, 3), "LazyConv2d: x must have 4"),
    (lambda m: m.LazyConv2d(4, 9), "conv2d")])
def test_lazy_layers_refuse(call, match):
    shape = {"groups = 2": (2, 3, 5, 5), "conv2d": (2, 3, 5, 5)}.get(match, (5, 5))
    check_raises(lambda: call(nn)(mc.ones(shape)), lambda: call(torch.nn)(torch.ones(shape)), match)
