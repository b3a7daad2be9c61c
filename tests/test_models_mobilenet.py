"""MobileNet v2 against PyTorch's layers, torchvision's names and published numbers."""

import pytest
import torch

from minicnn import models, nn
from minicnn.explain import summary
from minicnn.models.mobilenet import InvertedResidual
from models_util import blank, check_drawn, check_he, check_step, dropouts, parameters, rows

t = torch.nn

# (t, c, n, s) of table 2
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def normed(i, o, k, s=1, groups=1):
    return t.Sequential(t.Conv2d(i, o, k, s, k // 2, bias=False, groups=groups), t.BatchNorm2d(o))


class Shortcut(t.Module):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def forward(self, x):
        return x + self.path(x)


def twin():
    layers, i = [normed(3, 32, 3, 2), t.ReLU6()], 32
    for expansion, o, n, first in STAGES:
        for j in range(n):
            s, wide = (first if j == 0 else 1), i * expansion
            path = t.Sequential(*([normed(i, wide, 1), t.ReLU6()] if expansion > 1 else []),
                                normed(wide, wide, 3, s, wide), t.ReLU6(), normed(wide, o, 1))
            layers.append(Shortcut(path) if s == 1 and i == o else path)
            i = o
    return t.Sequential(*layers, normed(320, 1280, 1), t.ReLU6(), t.AdaptiveAvgPool2d(1), t.Flatten(), t.Dropout(0.2),
                        t.Linear(1280, 10))


def test_a_step_is_pytorchs():
    model = blank("mobilenet_v2")
    assert dropouts(model) == [0.2]
    check_step(model, twin(), 33, 65)


@pytest.mark.parametrize("width, expected", [(1.4, 6_108_776), (0.5, 1_968_680)])
def test_parameters_of_other_widths(width, expected):
    assert parameters(blank("mobilenet_v2", 1000, width=width)) == expected


def test_totals_and_shapes():
    model = blank("mobilenet_v2", 1000)
    s = summary(model)
    assert (s.input_shape, s.macs) == ((3, 224, 224), 300_774_272)
    found = [row.split()[0] for row in rows(model, 224, InvertedResidual, layers=(nn.Conv2d, nn.AdaptiveAvgPool2d))]
    sides = [(16, 112, 1), (24, 56, 2), (32, 28, 3), (64, 14, 4), (96, 14, 3), (160, 7, 3), (320, 7, 1)]
    assert found == ["32x112x112", *[f"{c}x{side}x{side}" for c, side, n in sides for _ in range(n)], "1280x7x7",
                     "1280x1x1"]


def test_initial_weights_are_torchvisions():
    """He's normal with fan_out for convolutions, normal with 0.01 for the linear layer, whose bias is 0."""
    model = models.create("mobilenet_v2", 1000)
    check_he(model)
    check_drawn(model.classifier[1].weight, 0.01)
    assert not model.classifier[1].bias.data.any()
