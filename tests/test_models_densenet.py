"""DenseNets: the book's and torchvision's, against PyTorch's layers and published numbers."""

import pytest
import torch

from minicnn import models, nn
from minicnn.explain import summary
from minicnn.models.densenet import DenseLayer
from models_util import Cat, blank, check_drawn, check_step, rows, table

t = torch.nn

# Table 1 of the paper, name: (layers per block, stem, growth)
TORCHVISION = {"densenet121": ((6, 12, 24, 16), 64, 32), "densenet169": ((6, 12, 32, 32), 64, 32),
               "densenet201": ((6, 12, 48, 32), 64, 32), "densenet161": ((6, 12, 36, 24), 96, 48)}


# -- twins ----------------------------------------------------------------------------------------------------------


def step(i, o, k, bias):
    return t.Sequential(t.BatchNorm2d(i), t.ReLU(), t.Conv2d(i, o, k, padding=k // 2, bias=bias))


def twin(channels, depths, stem, growth, bottleneck=None, bias=False):
    layers = [t.Conv2d(channels, stem, 7, 2, 3, bias=bias), t.BatchNorm2d(stem), t.ReLU(), t.MaxPool2d(3, 2, 1)]
    i = stem
    for depth in depths:
        if i > stem:
            layers += [step(i, i // 2, 1, bias), t.AvgPool2d(2)]
            i //= 2
        for _ in range(depth):
            new = step(i, growth, 3, bias) if bottleneck is None else \
                t.Sequential(step(i, bottleneck, 1, bias), step(bottleneck, growth, 3, bias))
            layers.append(Cat([t.Identity(), new]))
            i += growth
    return t.Sequential(*layers, t.BatchNorm2d(i), t.ReLU(), t.AdaptiveAvgPool2d(1), t.Flatten(), t.Linear(i, 10))


def test_a_step_of_the_books_is_pytorchs():
    check_step(blank("densenet_d2l"), twin(1, (4, 4, 4, 4), 64, 32, bias=True), 33, 65)


@pytest.mark.parametrize("name", TORCHVISION)
def test_a_step_of_torchvisions_is_pytorchs(name):
    depths, stem, growth = TORCHVISION[name]
    check_step(blank(name, width=1 / 8), twin(3, depths, stem // 8, growth // 8, growth // 2), 33, 65)


def test_dropout_follows_every_convolution_of_a_block():
    layer = blank("densenet121", dropout=0.2).features.denseblock1.denselayer1
    assert [type(part).__name__ for part in layer][-2:] == ["Conv2d", "Dropout"]


# -- numbers --------------------------------------------------------------------------------------------------------


BOOK = """64x48x48 3,200 | 64x48x48 128 | 64x24x24
    96x24x24 18,592 | 128x24x24 27,872 | 160x24x24 37,152 | 192x24x24 46,432 | 96x12x12 18,912
    128x12x12 27,872 | 160x12x12 37,152 | 192x12x12 46,432 | 224x12x12 55,712 | 112x6x6 25,648
    144x6x6 32,512 | 176x6x6 41,792 | 208x6x6 51,072 | 240x6x6 60,352 | 120x3x3 29,400
    152x3x3 34,832 | 184x3x3 44,112 | 216x3x3 53,392 | 248x3x3 62,672 | 248x3x3 496 | 248x1x1 | 248 | 10 2,490"""


def test_layers_of_the_books():
    model = blank("densenet_d2l")
    transitions = [layer for name, layer in model.features.named_children() if name.startswith("transition")]
    assert rows(model, 96, DenseLayer, *transitions) == table(BOOK)


def test_work_and_receptive_field():
    s = summary(blank("densenet_d2l"), (1, 96, 96))
    assert s.macs == 129_077_168
    assert [layer.field.size for layer in s.layers if layer.kind == "Conv2d"][-1] == (519, 519)


@pytest.mark.parametrize("name, channels", [
    ("densenet121", (64, 256, 128, 512, 256, 1024, 512, 1024)),
    ("densenet169", (64, 256, 128, 512, 256, 1280, 640, 1664)),
    ("densenet201", (64, 256, 128, 512, 256, 1792, 896, 1920)),
    ("densenet161", (96, 384, 192, 768, 384, 2112, 1056, 2208))])
def test_shapes_of_torchvisions(name, channels):
    """The first and last of each block, table 1 of the paper."""
    depths, _, growth = TORCHVISION[name]
    expected = []
    for first, last, side, depth in zip(channels[::2], channels[1::2], (56, 28, 14, 7), depths, strict=True):
        assert first + depth * growth == last
        expected += [f"{first + i * growth}x{side}x{side}" for i in range(depth + 1)]
    found = rows(blank(name), 224, DenseLayer, layers=(nn.AvgPool2d, nn.MaxPool2d))
    assert [row.split()[0] for row in found] == expected


def test_initial_weights_are_torchvisions():
    """He's normal with fan_in for convolutions; PyTorch's for the linear layer, whose bias is 0."""
    model = models.create("densenet121", 1000)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            _, i, k, _ = layer.weight.shape
            check_drawn(layer.weight, (2 / (i * k * k)) ** 0.5)
    check_drawn(model.classifier.weight, 1024 ** -0.5 / 3 ** 0.5)
    assert not model.classifier.bias.data.any()
