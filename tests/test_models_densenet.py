"""DenseNets: the book's and torchvision's, against PyTorch's layers and published numbers."""

import pytest
import torch

import minicnn as mc
from minicnn import models, nn
from minicnn.explain import summary
from minicnn.models.densenet import DenseLayer
from models_util import (Cat, blank, buffers, check_drawn, check_state, check_step, conv, linear, norm, parameters,
                         rows, table)

t = torch.nn

# name: (layers per block, stem, growth, parameters and buffers for 1000 classes)
TORCHVISION = {"densenet121": ((6, 12, 24, 16), 64, 32, 7_978_856, 83_648),
               "densenet169": ((6, 12, 32, 32), 64, 32, 14_149_480, 158_400),
               "densenet201": ((6, 12, 48, 32), 64, 32, 20_013_928, 229_056),
               "densenet161": ((6, 12, 36, 24), 96, 48, 28_681_000, 219_936)}


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


@pytest.mark.parametrize("name, theirs", [
    ("densenet_d2l", lambda: twin(1, (4, 4, 4, 4), 64, 32, bias=True)),
    ("densenet121", lambda: twin(3, (6, 12, 24, 16), 64, 32, 128))])
def test_a_step_is_pytorchs(name, theirs):
    check_step(blank(name), theirs(), 33, 65)


# -- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TORCHVISION)
def test_sizes_of_torchvisions(name):
    model = blank(name, 1000)
    assert (parameters(model), buffers(model)) == TORCHVISION[name][3:]
    assert models.entry(name).input_shape == (3, 224, 224)


BOOK = """64x48x48 3,200 | 64x48x48 128 | 64x24x24
    96x24x24 18,592 | 128x24x24 27,872 | 160x24x24 37,152 | 192x24x24 46,432 | 96x12x12 18,912
    128x12x12 27,872 | 160x12x12 37,152 | 192x12x12 46,432 | 224x12x12 55,712 | 112x6x6 25,648
    144x6x6 32,512 | 176x6x6 41,792 | 208x6x6 51,072 | 240x6x6 60,352 | 120x3x3 29,400
    152x3x3 34,832 | 184x3x3 44,112 | 216x3x3 53,392 | 248x3x3 62,672 | 248x3x3 496 | 248x1x1 | 248 | 10 2,490"""


def test_layers_of_the_books():
    model = blank("densenet_d2l")
    transitions = [layer for name, layer in model.features.named_children() if name.startswith("transition")]
    assert rows(model, 96, DenseLayer, *transitions) == table(BOOK)
    assert (parameters(model), buffers(model)) == (758_226, 6_608)


def test_work_and_receptive_field():
    s = summary(blank("densenet_d2l"), (1, 96, 96))
    assert s.macs == 129_077_168
    assert [layer.field.size for layer in s.layers if layer.kind == "Conv2d"][-1] == (519, 519)


def test_shapes_of_torchvisions():
    """Table 1 of the paper."""
    found = rows(blank("densenet121"), 224, DenseLayer, layers=(nn.AvgPool2d, nn.MaxPool2d))
    ends = [0, 6, 7, 19, 20, 44, 45, 61]
    assert [found[i].split()[0] for i in ends] == ["64x56x56", "256x56x56", "128x28x28", "512x28x28", "256x14x14",
                                                   "1024x14x14", "512x7x7", "1024x7x7"]


def state(depths, stem, growth):
    """torchvision's names and shapes."""
    names, i = conv("features.conv0", stem, 3, 7, 7) | norm("features.norm0", stem), stem
    for block, depth in enumerate(depths, start=1):
        for layer in range(1, depth + 1):
            at = f"features.denseblock{block}.denselayer{layer}"
            names |= (norm(f"{at}.norm1", i) | conv(f"{at}.conv1", 4 * growth, i, 1, 1)
                      | norm(f"{at}.norm2", 4 * growth) | conv(f"{at}.conv2", growth, 4 * growth, 3, 3))
            i += growth
        if block < 4:
            at = f"features.transition{block}"
            names |= norm(f"{at}.norm", i) | conv(f"{at}.conv", i // 2, i, 1, 1)
            i //= 2
    return names | norm("features.norm5", i) | linear("classifier", 1000, i)


@pytest.mark.parametrize("name, keys", [("densenet121", 727), ("densenet169", 1015), ("densenet201", 1207),
                                        ("densenet161", 967)])
def test_names_are_torchvisions(name, keys):
    expected = state(*TORCHVISION[name][:3])
    model = blank(name, 1000)
    check_state(model, expected, keys)
    assert list(model.state_dict()) == list(expected)


def test_initial_weights_are_torchvisions():
    """He's normal with fan_in for convolutions; PyTorch's for the linear layer, whose bias is 0."""
    model = models.create("densenet121", 1000)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            _, i, k, _ = layer.weight.shape
            check_drawn(layer.weight, (2 / (i * k * k)) ** 0.5)
    check_drawn(model.classifier.weight, 1024 ** -0.5 / 3 ** 0.5)
    assert not model.classifier.bias.data.any()


@pytest.mark.parametrize("name", ["densenet_d2l", "densenet121"])
def test_classes_and_channels(name):
    assert blank(name, 7, in_channels=2).eval()(mc.zeros(1, 2, 33, 40)).shape == (1, 7)
