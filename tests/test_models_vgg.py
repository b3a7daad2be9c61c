"""VGG networks: torchvision's, the book's and the note's, against PyTorch's layers and published numbers."""

import numpy as np
import pytest
import torch

import minicnn as mc
from minicnn import models, nn, training
from minicnn.explain import summary
from models_util import blank, check_drawn, check_he, check_step, dropouts, rows, table

t = torch.nn

# The paper's table 1: A, B, D, E
CONFIGURATIONS = {"vgg11": "64 M 128 M 256 256 M 512 512 M 512 512 M",
                  "vgg13": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
                  "vgg16": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
                  "vgg19": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M"}


def twin(channels, configuration, divisor, batch_norm=False, adaptive=True):
    """The configuration with channels and hidden units divided by ``divisor``."""
    layers, i = [], channels
    for entry in CONFIGURATIONS[configuration].split():
        if entry == "M":
            layers.append(t.MaxPool2d(2, 2))
        else:
            o = int(entry) // divisor
            layers += [t.Conv2d(i, o, 3, padding=1), *([t.BatchNorm2d(o)] if batch_norm else []), t.ReLU()]
            i = o
    hidden = 4096 // divisor
    return t.Sequential(*layers, *([t.AdaptiveAvgPool2d(7)] if adaptive else []), t.Flatten(),
                        t.Linear(i * 49, hidden), t.ReLU(), t.Dropout(),
                        t.Linear(hidden, hidden), t.ReLU(), t.Dropout(), t.Linear(hidden, 10))


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_step_is_pytorchs(name, batch_norm):
    model = blank(name + "_bn" * batch_norm, width=1 / 16)
    assert dropouts(model) == [0.5, 0.5]
    check_step(model, twin(3, name, 16, batch_norm), 33, 64)


@pytest.mark.parametrize("name, configuration", [("vgg11_d2l", "vgg11"), ("vgg16_gray", "vgg16")])
def test_a_step_of_the_grey_ones_is_pytorchs(name, configuration):
    model = blank(name, width=1 / 16)
    assert dropouts(model) == [0.5, 0.5]
    check_step(model, twin(1, configuration, 16, adaptive=False), 224, 231)


# -- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, width, expected, macs, field", [
    ("vgg11_d2l", 1.0, 128_806_154, 7_547_232_256, 150), ("vgg11_d2l", 1 / 8, 2_018_346, 121_091_072, 150),
    ("vgg16_gray", 1.0, 134_300_362, 15_408_406_528, 212)])
def test_totals_of_the_grey_ones(name, width, expected, macs, field):
    s = summary(blank(name, width=width))
    assert (s.input_shape, s.parameters, s.macs, s.field.size) == ((1, 224, 224), expected, macs, (field, field))


@pytest.mark.parametrize("name, macs, field", [("vgg16", 15_470_264_320, 212), ("vgg19", 19_632_062_464, 268)])
def test_totals_of_torchvisions(name, macs, field):
    s = summary(blank(name, 1000))
    assert s.macs == macs
    assert max(layer.field.size for layer in s.layers if layer.kind == "MaxPool2d") == (field, field)


BOOK = """64x224x224 640 | 64x112x112 | 128x112x112 73,856 | 128x56x56
    256x56x56 295,168 | 256x56x56 590,080 | 256x28x28
    512x28x28 1,180,160 | 512x28x28 2,359,808 | 512x14x14 | 512x14x14 2,359,808 | 512x14x14 2,359,808 | 512x7x7
    25088 | 4096 102,764,544 | 4096 16,781,312 | 10 40,970"""
NOTE = """64x224x224 640 | 64x224x224 36,928 | 64x112x112 | 128x112x112 73,856 | 128x112x112 147,584 | 128x56x56
    256x56x56 295,168 | 256x56x56 590,080 | 256x56x56 590,080 | 256x28x28
    512x28x28 1,180,160 | 512x28x28 2,359,808 | 512x28x28 2,359,808 | 512x14x14
    512x14x14 2,359,808 | 512x14x14 2,359,808 | 512x14x14 2,359,808 | 512x7x7
    25088 | 4096 102,764,544 | 4096 16,781,312 | 10 40,970"""


@pytest.mark.parametrize("name, expected", [("vgg11_d2l", BOOK), ("vgg16_gray", NOTE)])
def test_layers(name, expected):
    assert rows(blank(name), 224) == table(expected)


def test_layers_of_torchvisions():
    expected = NOTE.replace(" 640 ", " 1,792 ").replace("25088", "512x7x7 | 25088")
    assert rows(blank("vgg16", 1000), 224) == table(expected.replace("10 40,970", "1000 4,097,000"))


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_shapes_of_torchvisions(name, batch_norm):
    expected, channels, side = [], 3, 224
    for entry in CONFIGURATIONS[name].split():
        channels, side = (channels, side // 2) if entry == "M" else (int(entry), side)
        expected += [f"{channels}x{side}x{side}"] * (1 + (batch_norm and entry != "M"))
    expected += ["512x7x7", "25088", "4096", "4096", "1000"]
    found = rows(blank(name + "_bn" * batch_norm, 1000), 224)
    assert [row.split()[0] for row in found] == expected
    assert sum(not row.startswith("BN") and " " in row for row in found) == int(name[3:]) + batch_norm * (
        int(name[3:]) - 3), "the number in the name counts layers with weights"


def test_initial_weights_are_torchvisions():
    """He's normal with fan_out for convolutions, normal with 0.01 for linear layers, no biases."""
    model = models.create("vgg16_bn", width=1 / 4)
    check_he(model)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            check_drawn(layer.weight, 0.01)
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            assert not layer.bias.data.any()


def test_the_books_begins_with_pytorchs_weights():
    weight = models.create("vgg11_d2l", width=1 / 4).features[13].weight
    check_drawn(weight, (weight.shape[1] * 9) ** -0.5 / 3 ** 0.5)


def test_a_file_brings_it_back(tmp_path):
    model = models.create("vgg11_bn", 7, 2, width=1 / 32, dropout=0.25)
    training.save(model, tmp_path / "vgg.safetensors")
    again = training.load(tmp_path / "vgg.safetensors")
    assert again.spec == model.spec and dropouts(again) == [0.25, 0.25]
    x = mc.randn(2, 2, 32, 40)
    np.testing.assert_array_equal(again(x).data, model.eval()(x).data)


def test_options():
    model = models.create("vgg11", num_classes=7, in_channels=2, width=1 / 32, dropout=0.25)
    assert model(mc.zeros(1, 2, 33, 40)).shape == (1, 7)
    assert dropouts(model) == [0.25, 0.25]
    with pytest.raises(ValueError, match="vgg11: width = 0.005 leaves nothing of 64 channels"):
        models.create("vgg11", width=0.005)
