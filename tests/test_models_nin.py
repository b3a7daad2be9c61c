"""Network in network: the book's and the paper's, against PyTorch's layers and published numbers."""

import pytest
import torch

from minicnn import models
from minicnn.explain import summary
from models_util import blank, check_drawn, check_step, dropouts, rows, table

t = torch.nn


def mlpconv(i, widths, k, s=1, p=0):
    """Figure 2 of the paper: a convolution, then a perceptron at each pixel."""
    layers = [t.Conv2d(i, widths[0], k, s, p), t.ReLU()]
    for a, b in zip(widths, widths[1:]):
        layers += [t.Conv2d(a, b, 1), t.ReLU()]
    return layers


def book():
    return t.Sequential(
        *mlpconv(1, (96, 96, 96), 11, 4), t.MaxPool2d(3, 2), *mlpconv(96, (256, 256, 256), 5, 1, 2), t.MaxPool2d(3, 2),
        *mlpconv(256, (384, 384, 384), 3, 1, 1), t.MaxPool2d(3, 2), t.Dropout(), *mlpconv(384, (10, 10, 10), 3, 1, 1),
        t.AdaptiveAvgPool2d(1), t.Flatten())


def paper():
    return t.Sequential(
        *mlpconv(3, (192, 160, 96), 5, 1, 2), t.MaxPool2d(3, 2, ceil_mode=True), t.Dropout(),
        *mlpconv(96, (192, 192, 192), 5, 1, 2), t.AvgPool2d(3, 2, ceil_mode=True), t.Dropout(),
        *mlpconv(192, (192, 192, 10), 3, 1, 1), t.AdaptiveAvgPool2d(1), t.Flatten())


@pytest.mark.parametrize("name, theirs, size, drops", [("nin", book, (95, 131), [0.5]),
                                                       ("nin_cifar", paper, (12, 17), [0.5, 0.5])])
def test_a_step_is_pytorchs(name, theirs, size, drops):
    model = blank(name)
    assert dropouts(model) == drops
    check_step(model, theirs(), *size)


BOOK = """96x54x54 11,712 | 96x54x54 9,312 | 96x54x54 9,312 | 96x26x26
    256x26x26 614,656 | 256x26x26 65,792 | 256x26x26 65,792 | 256x12x12
    384x12x12 885,120 | 384x12x12 147,840 | 384x12x12 147,840 | 384x5x5
    10x5x5 34,570 | 10x5x5 110 | 10x5x5 110 | 10x1x1 | 10"""
PAPER = """192x32x32 14,592 | 160x32x32 30,880 | 96x32x32 15,456 | 96x16x16
    192x16x16 460,992 | 192x16x16 37,056 | 192x16x16 37,056 | 192x8x8
    192x8x8 331,968 | 192x8x8 37,056 | 10x8x8 1,930 | 10x1x1 | 10"""


@pytest.mark.parametrize("name, size, expected, macs", [
    ("nin", 224, BOOK, 762_297_352), ("nin_cifar", 32, PAPER, 222_486_528)])
def test_layers_and_work(name, size, expected, macs):
    model = blank(name)
    assert rows(model, size) == table(expected)
    s = summary(model)
    assert (s.input_shape[1:], s.macs) == ((size, size), macs)


def test_receptive_field():
    convolutions = [layer.field.size for layer in summary(blank("nin")).layers if layer.kind == "Conv2d"]
    assert convolutions[-1] == (195, 195)


@pytest.mark.parametrize("name", ["nin", "nin_cifar"])
def test_every_convolution_is_followed_by_relu(name):
    kinds = [type(layer).__name__ for layer in blank(name)]
    assert all(kinds[i + 1] == "ReLU" for i, kind in enumerate(kinds) if kind == "Conv2d")


def test_initial_weights_are_pytorchs():
    check_drawn(models.create("nin_cifar").conv2_1.weight, (96 * 25) ** -0.5 / 3 ** 0.5)
