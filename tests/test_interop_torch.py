"""Networks converted to PyTorch: the same weights under the same names, the same outputs, losses and gradients."""

import sys

import numpy as np
import pytest
import torch

import minicnn as mc
from minicnn import models, nn
from minicnn.interop.torch import to_torch
from minicnn.models.network import Network
from minicnn.models.shapes import flat, sizes_that_fit
from models_util import near, without_dropout

REFUSED = {"lenet5_1998": r"act1 \(ScaledTanh\) does Mul, which", "image_rnn": r"the network \(ImageRNN\) does Permute",
           **dict.fromkeys(("rnn_classifier", "char_lstm", "seq2seq", "birnn_tagger"), "the network reads texts")}
WIDE = {"alexnet_bn": 1 / 4, "mobilenet_v2": 1 / 2, "inception_v3": 1 / 4, "resnext50_32x4d": 1 / 4}
DEEP = {"densenet161", "densenet169", "densenet201", "plain110", "plain44", "plain56", "resnet101", "resnet110",
        "resnet152", "resnet44", "resnet56", "vgg16_bn", "vgg19", "vgg19_bn"}  # more blocks of those of the others
NAMES = [pytest.param(name, marks=[pytest.mark.thorough] * (name in DEEP))
         for name in models.list() if name not in REFUSED]


def check(ours: nn.Module, theirs: torch.nn.Module, shape: tuple[int, ...], tolerance: float = 1e-5) -> None:
    """Images and an upstream gradient through both: all names, weights, outputs, gradients and statistics agree."""
    state = theirs.state_dict()
    assert sorted(state) == sorted(ours.state_dict())
    for key, value in ours.state_dict().items():
        np.testing.assert_array_equal(value.data, state[key].numpy(), err_msg=key)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, *shape))
    y, expected = ours(mc.tensor(x)), theirs(torch.from_numpy(x))
    y, expected = ((out,) if not isinstance(out, tuple) else out for out in (y, expected))
    gys = [rng.standard_normal(out.shape) for out in y]
    for a, b in zip(y, expected, strict=True):
        near(a, b, tolerance, "output")
    sum((a * mc.tensor(gy)).sum() for a, gy in zip(y, gys, strict=True)).backward()
    torch.autograd.backward(expected, [torch.from_numpy(gy) for gy in gys])
    parameters = dict(theirs.named_parameters())
    largest = max(float(p.grad.abs().max()) for p in parameters.values())
    for name, p in ours.named_parameters():
        near(p.grad, parameters[name].grad, tolerance, f"gradient of {name}", 1e-3 * largest)
    buffers = dict(theirs.named_buffers())
    for name, b in ours.named_buffers():
        near(b, buffers[name], tolerance, name, 1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_every_network_of_layers(name):
    ours = models.create(name, 7, 2, width=WIDE.get(name, 1 / 8)).double()
    without_dropout(ours)
    side = max(20, sizes_that_fit([flat(ours.chain())], 2)[0])  # batch norm of few pixels enlarges rounding errors
    twin = to_torch(ours, (2, side, side))
    assert list(twin.state_dict()) == list(ours.state_dict())
    check(ours, twin, (2, side, side))


def test_heads_are_there_in_training():
    ours = models.create("googlenet", aux_logits=True, width=1 / 8).double()
    without_dropout(ours)
    twin = to_torch(ours)
    check(ours, twin, (3, 64, 64))
    alone = to_torch(ours.eval())
    assert not alone.training and not any(key.startswith("aux") for key in alone.state_dict())
    x = np.random.default_rng(0).standard_normal((2, 3, 64, 64))
    near(ours(mc.tensor(x)), alone(torch.from_numpy(x)), 1e-7, "output")


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_converted_is_named(name):
    with pytest.raises(TypeError, match=f"to_torch: .*{REFUSED[name]}"):
        to_torch(models.create(name))


class Gate(nn.Module):
    """x·σ(conv(x)) beside a cropped x, padded again: what modules do by themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.sigmoid, self.same = nn.Conv2d(3, 3, 3, padding="same"), nn.Sigmoid(), nn.Identity()

    def forward(self, x):
        cropped = mc.functional.pad(x[:, :, 1:, ::2], (1, x.shape[3] - -(-x.shape[3] // 2) - 1, 0, 1), value=2)
        return mc.cat([self.same(x) * self.sigmoid(self.conv(x)), cropped, self.sigmoid(x)], dim=1)


def test_a_module_of_ones_own_and_one_layer():
    ours = Network({"gate": Gate(), "pool": nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False),
                    "conv": nn.Conv2d(9, 2, (3, 2), (1, 2), (1, 0), bias=False, padding_mode="circular"),
                    "norm": nn.GroupNorm(2, 2), "act": nn.PReLU(2)}).double()
    ours.gate.conv.weight.requires_grad_(False)
    twin = to_torch(ours, (3, 9, 7))
    assert not twin.gate.conv.weight.requires_grad and twin.gate.conv.bias.requires_grad
    ours.gate.conv.weight.requires_grad_(), twin.gate.conv.weight.requires_grad_()
    check(ours, twin, (3, 9, 7))
    check(layer := nn.Conv2d(3, 4, 3).double(), to_torch(layer), (3, 5, 6))


def test_modes_are_those_of_the_layers():
    ours = Network({"norm1": nn.BatchNorm2d(2), "norm2": nn.BatchNorm2d(2)})
    ours.norm1.eval()
    twin = to_torch(ours, (2, 4, 4))
    assert [twin.training, twin.norm1.training, twin.norm2.training] == [True, False, True]


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 3)

    def forward(self, x):
        return self.lstm(x)[0]


def test_without_pytorch_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModuleNotFoundError, match="to_torch: .*: pip install torch"):
        to_torch(nn.Linear(2, 3))


def test_a_layer_with_several_outputs_is_refused():
    with pytest.raises(TypeError, match=r"to_torch: lstm \(LSTM\) has 1 inputs and 3 outputs; only layers with one"):
        to_torch(Twice(), (5, 4))
