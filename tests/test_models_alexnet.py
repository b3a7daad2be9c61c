"""AlexNets: the paper's, torchvision's, those of books and notes, against PyTorch's layers and published numbers."""

import numpy as np
import pytest
import torch

import minicnn as mc
from minicnn import models, nn
from minicnn.explain import summary
from models_util import blank, check_drawn, check_step, dropouts, rows, table

t = torch.nn

# name: (classes of the source, multiplications, receptive field of the last pooling)
SIZES = {"alexnet_gray224": (10, 938_146_176, 195), "alexnet_gray227": (10, 1_060_924_256, 195),
         "alexnet_single": (1000, 1_135_256_096, 195), "alexnet_paper": (1000, 724_406_816, 195),
         "alexnet_bn": (10, 1_131_201_056, 179), "alexnet": (1000, 714_188_480, 195)}


# -- twins ----------------------------------------------------------------------------------------------------------


def chain(channels, side, groups=1, after=lambda i, o: [], act=t.ReLU, last=3):
    """The figure of the paper, on one graphics card or on two, with an eighth of the channels and hidden units."""
    return t.Sequential(
        t.Conv2d(channels, 12, 11, 4), t.ReLU(), *after(1, 12), t.MaxPool2d(3, 2),
        t.Conv2d(12, 32, 5, padding=2, groups=groups), t.ReLU(), *after(2, 32), t.MaxPool2d(3, 2),
        t.Conv2d(32, 48, 3, padding=1), t.ReLU(), *after(3, 48),
        t.Conv2d(48, 48, 3, padding=1, groups=groups), t.ReLU(), *after(4, 48),
        t.Conv2d(48, 32, 3, padding=1, groups=groups), t.ReLU(), *after(5, 32), t.MaxPool2d(last, 2),
        t.Flatten(), t.Linear(32 * side ** 2, 512), act(), t.Dropout(), t.Linear(512, 512), act(), t.Dropout(),
        t.Linear(512, 10))


class PaperNorm(t.Module):
    """Section 3.3: b[i] = a[i] / (k + α·Σ a[j]²)^β over the n maps around i; n = 5, k = 2, α = 1e-4, β = 0.75."""

    def forward(self, x):
        squares = torch.nn.functional.pad(x * x, (0, 0, 0, 0, 2, 2))
        return x / (2 + 1e-4 * sum(squares[:, j:j + x.shape[1]] for j in range(5))) ** 0.75


def torchvisions():
    return t.Sequential(
        t.Conv2d(3, 8, 11, 4, 2), t.ReLU(), t.MaxPool2d(3, 2), t.Conv2d(8, 24, 5, 1, 2), t.ReLU(), t.MaxPool2d(3, 2),
        t.Conv2d(24, 48, 3, 1, 1), t.ReLU(), t.Conv2d(48, 32, 3, 1, 1), t.ReLU(), t.Conv2d(32, 32, 3, 1, 1), t.ReLU(),
        t.MaxPool2d(3, 2), t.AdaptiveAvgPool2d(6), t.Flatten(), t.Dropout(), t.Linear(1152, 512), t.ReLU(), t.Dropout(),
        t.Linear(512, 512), t.ReLU(), t.Linear(512, 10))


TWINS = {"alexnet_gray224": (lambda: chain(1, 5), (195, 226)), "alexnet_gray227": (lambda: chain(1, 6), (227, 234)),
         "alexnet_single": (lambda: chain(3, 6), (227, 227)),
         "alexnet_paper": (lambda: chain(3, 6, 2, lambda i, o: [PaperNorm()] if i < 3 else []), (227, 230)),
         "alexnet_bn": (lambda: chain(3, 6, 1, lambda i, o: [t.BatchNorm2d(o, 1e-3, 0.01)], t.Tanh, 2), (211, 227)),
         "alexnet": (torchvisions, (70, 127))}


@pytest.mark.parametrize("name", TWINS)
def test_a_step_is_pytorchs(name):
    theirs, size = TWINS[name]
    model = blank(name, width=1 / 8)
    assert dropouts(model) == [0.5, 0.5]
    check_step(model, theirs(), *size)


# -- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIZES)
def test_work_and_receptive_field(name):
    classes, macs, field = SIZES[name]
    s = summary(blank(name, classes))
    assert s.macs == macs
    assert max(layer.field.size for layer in s.layers if layer.kind == "MaxPool2d") == (field, field)


GRAY_224 = """96x54x54 11,712 | 96x26x26 | 256x26x26 614,656 | 256x12x12 | 384x12x12 885,120 | 384x12x12 1,327,488
    256x12x12 884,992 | 256x5x5 | 6400 | 4096 26,218,496 | 4096 16,781,312 | 10 40,970"""
GRAY_227 = """96x55x55 11,712 | 96x27x27 | 256x27x27 614,656 | 256x13x13 | 384x13x13 885,120 | 384x13x13 1,327,488
    256x13x13 884,992 | 256x6x6 | 9216 | 4096 37,752,832 | 4096 16,781,312 | 10 40,970"""
SINGLE = GRAY_227.replace("11,712", "34,944").replace("10 40,970", "1000 4,097,000")
PAPER = SINGLE.replace("614,656", "307,456").replace("1,327,488", "663,936").replace("884,992", "442,624")
WITH_BN = """96x55x55 34,944 | 96x55x55 192 | 96x27x27 | 256x27x27 614,656 | 256x27x27 512 | 256x13x13
    384x13x13 885,120 | 384x13x13 768 | 384x13x13 1,327,488 | 384x13x13 768 | 256x13x13 884,992 | 256x13x13 512
    256x6x6 | 9216 | 4096 37,752,832 | 4096 16,781,312 | 10 40,970"""
TORCHVISIONS = """64x55x55 23,296 | 64x27x27 | 192x27x27 307,392 | 192x13x13 | 384x13x13 663,936 | 256x13x13 884,992
    256x13x13 590,080 | 256x6x6 | 256x6x6 | 9216 | 4096 37,752,832 | 4096 16,781,312 | 1000 4,097,000"""


@pytest.mark.parametrize("name, size, expected", [
    ("alexnet_gray224", 224, GRAY_224), ("alexnet_gray227", 227, GRAY_227), ("alexnet_single", 227, SINGLE),
    ("alexnet_paper", 227, PAPER), ("alexnet_bn", 227, WITH_BN), ("alexnet", 224, TORCHVISIONS)])
def test_layers(name, size, expected):
    assert rows(blank(name, SIZES[name][0]), size) == table(expected)
    assert models.entry(name).input_shape[1:] == (size, size)


def test_the_paper_normalises_before_pooling():
    kinds = [type(layer).__name__ for layer in blank("alexnet_paper")][:8]
    assert kinds == ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"] * 2


def test_initial_weights_of_the_paper():
    """Normal with 0.01; biases 1 in the second, fourth and fifth convolution and in the hidden layers, else 0."""
    biases = {}
    for name, layer in models.create("alexnet_paper", width=1 / 4).named_children():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            check_drawn(layer.weight, 0.01)
            (biases[name],) = np.unique(layer.bias.data)
    assert biases == {"conv1": 0, "conv2": 1, "conv3": 0, "conv4": 1, "conv5": 1, "fc6": 1, "fc7": 1, "fc8": 0}


def test_torchvisions_begins_with_pytorchs_weights():
    model = models.create("alexnet", width=1 / 4)
    check_drawn(model.features[8].weight, (96 * 9) ** -0.5 / 3 ** 0.5)
    check_drawn(model.classifier[4].weight, 1024 ** -0.5 / 3 ** 0.5)


def test_two_groups_need_even_channels():
    assert [layer.out_channels for layer in blank("alexnet_paper", width=0.28) if isinstance(layer, nn.Conv2d)] == [
        26, 72, 108, 108, 72]


def test_a_wrong_size_is_explained():
    """What the notes mix up: 224 leaves 5×5 pixels, 227 leaves 6×6."""
    with pytest.raises(ValueError, match="256·5·5 = 6,400, but fc6 expects 9,216; sizes that fit: 227×227 to 2"):
        blank("alexnet_gray227")(mc.zeros(1, 1, 224, 224))
