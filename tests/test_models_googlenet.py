"""GoogLeNets: the paper's, the book's, the note's and torchvision's, against PyTorch's layers and published numbers."""

import pytest
import torch

import minicnn as mc
from minicnn import models, nn
from minicnn.explain import summary
from minicnn.models.googlenet import GoogLeNetOutputs, Inception
from models_util import (LAYERS, Cat, blank, buffers, check_drawn, check_he, check_step, dropouts, parameters, rows,
                         table)

t = torch.nn

# Table 1 of the paper: #1×1, #3×3 reduce, #3×3, #5×5 reduce, #5×5, pool proj
TABLE = {"3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64), "4a": (192, 96, 208, 16, 48, 64),
         "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64),
         "4e": (256, 160, 320, 32, 128, 128), "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128)}

# -- twins ----------------------------------------------------------------------------------------------------------


def plain(i, o, k, s=1):
    return t.Sequential(t.Conv2d(i, o, k, s, k // 2), t.ReLU())


def normed(i, o, k, s=1):
    return t.Sequential(t.Conv2d(i, o, k, s, k // 2, bias=False), t.BatchNorm2d(o, eps=0.001), t.ReLU())


def inception(c, i, widths, largest):
    a, b, bb, d, dd, e = widths
    return Cat([c(i, a, 1), t.Sequential(c(i, b, 1), c(b, bb, 3)), t.Sequential(c(i, d, 1), c(d, dd, largest)),
                t.Sequential(t.MaxPool2d(3, 1, 1), c(i, e, 1))])


def head(c, i, pool):
    return t.Sequential(pool, c(i, 128, 1), t.Flatten(), t.Linear(2048, 1024), t.ReLU(), t.Dropout(0.7),
                        t.Linear(1024, 10))


class Tower(t.Module):
    """The main tower in three parts; between them, in training, two heads read."""

    def __init__(self, parts, heads, end):
        super().__init__()
        self.parts, self.heads, self.end = t.ModuleList(parts), t.ModuleList(heads), end

    def forward(self, x):
        read = []
        for i, part in enumerate(self.parts):
            x = part(x)
            if self.training and i < len(self.heads):
                read.append(self.heads[i](x))
        x = self.end(x)
        return (x, *reversed(read)) if read else x


def twin(channels, c=plain, largest=5, lrn=False, fourth=144, ceil=False, heads=None):
    def pool(k=3):
        return t.MaxPool2d(k, 2, ceil_mode=True) if ceil else t.MaxPool2d(3, 2, 1)

    def norm():
        return [t.LocalResponseNorm(5, 5e-4, 0.75, 2)] if lrn else []

    def block(name, i):
        widths = list(TABLE[name])
        widths[1] = fourth if name == "4d" else widths[1]
        return inception(c, i, widths, largest)

    first = [c(channels, 64, 7, 2), pool(), *norm(), c(64, 64, 1), c(64, 192, 3), *norm(), pool(), block("3a", 192),
             block("3b", 256), pool(), block("4a", 480)]
    second = [block("4b", 512), block("4c", 512), block("4d", 512)]
    third = [block("4e", 528), pool(2), block("5a", 832), block("5b", 832)]
    end = t.Sequential(t.AdaptiveAvgPool2d(1), t.Flatten(), t.Linear(1024, 10))
    return Tower([t.Sequential(*part) for part in (first, second, third)],
                 [head(c, i, heads()) for i in (512, 528)] if heads else [], end)


@pytest.mark.parametrize("name, drops, theirs", [
    ("googlenet_d2l", [], lambda: twin(1)), ("googlenet_gray224", [], lambda: twin(1, fourth=128)),
    ("googlenet_paper", [0.4], lambda: twin(3, lrn=True)),
    ("googlenet", [0.2], lambda: twin(3, normed, 3, ceil=True))])
def test_a_step_is_pytorchs(name, drops, theirs):
    model = blank(name)
    assert dropouts(model) == drops
    check_step(model, theirs(), 40, 65)


@pytest.mark.parametrize("name, option, theirs, size", [
    ("googlenet", "aux_logits", lambda: twin(3, normed, 3, ceil=True, heads=lambda: t.AdaptiveAvgPool2d(4)), (40, 65)),
    ("googlenet_paper", "aux", lambda: twin(3, lrn=True, heads=lambda: t.AvgPool2d(5, 3)), (209, 212))])
def test_a_step_with_heads_is_pytorchs(name, option, theirs, size):
    model = blank(name, **{option: True})
    assert dropouts(model) == [0.7, 0.7, 0.2 if name == "googlenet" else 0.4]
    check_step(model, theirs(), *size, batch=2 if name == "googlenet" else 1, heads=0.3)


def test_heads_vanish_in_evaluation():
    model = blank("googlenet", 7, in_channels=2, aux_logits=True)
    x = mc.randn(2, 2, 64, 33)
    y = model(x)
    assert isinstance(y, GoogLeNetOutputs) and y._fields == ("logits", "aux_logits2", "aux_logits1")
    assert [part.shape for part in y] == [(2, 7)] * 3
    assert model.eval()(x).shape == (2, 7)
    assert blank("googlenet", 7, in_channels=2)(x).shape == (2, 7)


def test_loss_with_heads():
    y = GoogLeNetOutputs(*(mc.tensor(float(n)) for n in (5, 7, 11)))
    assert y.loss(lambda logits: logits * 10).item() == pytest.approx(50 + 0.3 * (70 + 110))


# -- numbers --------------------------------------------------------------------------------------------------------


def test_parameters_with_heads():
    assert parameters(blank("googlenet_paper", 1000, aux=True)) == 13_378_280
    model = blank("googlenet", 1000, aux_logits=True)
    assert (parameters(model), buffers(model)) == (13_004_888, 14_560 + 512)


def test_input_shapes():
    assert [models.entry(name).input_shape for name in
            ("googlenet_d2l", "googlenet_gray224", "googlenet_paper", "googlenet")] == [
        (1, 96, 96), (1, 224, 224), (3, 224, 224), (3, 224, 224)]


@pytest.mark.parametrize("name, classes, size, macs", [
    ("googlenet_d2l", 10, 96, 276_066_304), ("googlenet_gray224", 10, 224, 1_493_248_000),
    ("googlenet_paper", 1000, 224, 1_582_671_872)])
def test_work_and_receptive_field(name, classes, size, macs):
    model = blank(name, classes)
    s = summary(model, (model.spec.in_channels, size, size))
    assert s.macs == macs
    assert max(layer.field.size for layer in s.layers if layer.kind == "Conv2d") == (715, 715)


BOOK_96 = """64x48x48 3,200 | 64x24x24 | 64x24x24 4,160 | 192x24x24 110,784 | 192x12x12 | 256x12x12 163,696
    480x12x12 388,736 | 480x6x6 | 512x6x6 376,176 | 512x6x6 449,160 | 512x6x6 510,104 | 528x6x6 605,376
    832x6x6 868,352 | 832x3x3 | 832x3x3 1,043,456 | 1024x3x3 1,444,080 | 1024x1x1 | 1024 | 10 10,250"""
NOTE_224 = """64x112x112 3,200 | 64x56x56 | 64x56x56 4,160 | 192x56x56 110,784 | 192x28x28 | 256x28x28 163,696
    480x28x28 388,736 | 480x14x14 | 512x14x14 376,176 | 512x14x14 449,160 | 512x14x14 510,104 | 528x14x14 555,696
    832x14x14 868,352 | 832x7x7 | 832x7x7 1,043,456 | 1024x7x7 1,444,080 | 1024x1x1 | 1024 | 10 10,250"""
PAPER = NOTE_224.replace("3,200", "9,472").replace("555,696", "605,376").replace("10 10,250", "1000 1,025,000")


@pytest.mark.parametrize("name, classes, size, expected", [
    ("googlenet_d2l", 10, 96, BOOK_96), ("googlenet_gray224", 10, 224, NOTE_224),
    ("googlenet_paper", 1000, 224, PAPER)])
def test_layers(name, classes, size, expected):
    assert rows(blank(name, classes), size, Inception) == table(expected)


def test_shapes_of_torchvisions():
    layers = tuple(layer for layer in LAYERS if layer is not nn.BatchNorm2d)
    found = rows(blank("googlenet", 1000), 224, Inception, layers=layers)
    assert [row.split()[0] for row in found] == [row.split()[0] for row in table(PAPER)]


def test_parameters_of_the_branches_of_3a():
    block = blank("googlenet_d2l").inception3a
    assert [parameters(layer) for layer in block.modules() if isinstance(layer, nn.Conv2d)] == [
        12_352, 18_528, 110_720, 3_088, 12_832, 6_176]


def test_initial_weights_are_torchvisions():
    """Normal with 0.01, cut off at ±2, for convolutions and linear layers; their biases are PyTorch's."""
    model = models.create("googlenet", 1000)
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            check_drawn(layer.weight, 0.01)
    check_drawn(model.fc.bias, 1024 ** -0.5 / 3 ** 0.5)


def test_initial_weights_of_the_notes():
    """He's normal with fan_out for convolutions, PyTorch's for the linear layer, no biases."""
    model = models.create("googlenet_gray224")
    check_he(model)
    assert not any(layer.bias.data.any() for layer in model.modules() if isinstance(layer, nn.Conv2d))
    check_drawn(model.fc.weight, 1024 ** -0.5 / 3 ** 0.5)
    assert not model.fc.bias.data.any()


def test_the_books_begins_with_pytorchs_weights():
    check_drawn(models.create("googlenet_d2l").inception5b.branch2[1].conv.weight, (192 * 9) ** -0.5 / 3 ** 0.5)
