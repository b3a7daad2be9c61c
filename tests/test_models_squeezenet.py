"""SqueezeNets against PyTorch's layers, torchvision's names and published numbers."""

import pytest
import torch

from minicnn import models, nn
from minicnn.explain import summary
from minicnn.models.squeezenet import Fire
from models_util import Cat, blank, check_drawn, check_step, dropouts, rows

t = torch.nn

# Table 1 of the paper, and the authors' table of version 1.1: maximum pooling and s1x1, e1x1 = e3x3
MODULES = {"1_0": (96, 7, ["M", (16, 64), (16, 64), (32, 128), "M", (32, 128), (48, 192), (48, 192), (64, 256), "M",
                           (64, 256)]),
           "1_1": (64, 3, ["M", (16, 64), (16, 64), "M", (32, 128), (32, 128), "M", (48, 192), (48, 192), (64, 256),
                           (64, 256)])}
MACS = {"1_0": 818_924_576, "1_1": 349_151_936}


def twin(version):
    o, k, modules = MODULES[version]
    layers, i = [t.Conv2d(3, o, k, 2), t.ReLU()], o
    for module in modules:
        if module == "M":
            layers.append(t.MaxPool2d(3, 2, ceil_mode=True))
            continue
        s, e = module
        layers += [t.Conv2d(i, s, 1), t.ReLU(), Cat([t.Sequential(t.Conv2d(s, e, 1), t.ReLU()),
                                                    t.Sequential(t.Conv2d(s, e, 3, padding=1), t.ReLU())])]
        i = 2 * e
    return t.Sequential(*layers, t.Dropout(), t.Conv2d(i, 10, 1), t.ReLU(), t.AdaptiveAvgPool2d(1), t.Flatten())


@pytest.mark.parametrize("version", MODULES)
def test_a_step_is_pytorchs(version):
    model = blank(f"squeezenet{version}")
    assert dropouts(model) == [0.5]
    check_step(model, twin(version), 50, 67)


@pytest.mark.parametrize("version", MODULES)
def test_work(version):
    s = summary(blank(f"squeezenet{version}", 1000))
    assert (s.input_shape, s.macs) == ((3, 224, 224), MACS[version])


@pytest.mark.parametrize("version, shapes", [
    ("1_0", "96x109x109 96x54x54 128x54x54 128x54x54 256x54x54 256x27x27 256x27x27 384x27x27 384x27x27 512x27x27 "
            "512x13x13 512x13x13 1000x13x13 1000x1x1 1000"),
    ("1_1", "64x111x111 64x55x55 128x55x55 128x55x55 128x27x27 256x27x27 256x27x27 256x13x13 384x13x13 384x13x13 "
            "512x13x13 512x13x13 1000x13x13 1000x1x1 1000")])
def test_shapes(version, shapes):
    found = rows(blank(f"squeezenet{version}", 1000), 224, Fire)
    assert [row.split()[0] for row in found] == shapes.split()


def test_initial_weights_are_torchvisions():
    """He's uniform for all convolutions but the last, which is normal with 0.01; no biases."""
    model = models.create("squeezenet1_1")
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            _, i, k, _ = layer.weight.shape
            check_drawn(layer.weight, 0.01 if name == "classifier.1" else (2 / (i * k * k)) ** 0.5)
            assert not layer.bias.data.any()
