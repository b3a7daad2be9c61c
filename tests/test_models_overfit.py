"""Every family learns 32 real images by heart, which it cannot if a gradient is wrong or does not arrive."""

import numpy as np
import pytest

import minicnn as mc
from minicnn import data, models, nn, optim
from minicnn.data.transforms import Resize
from minicnn.models import alexnet
from models_util import without_dropout

# model: options, side of the images, learning rate, initial weights
CASES = {"lenet5_1998": ({}, 32, 3e-3, "default"),
         "alexnet": ({}, 63, 3e-4, "kaiming"),
         "vgg11": ({"width": 1 / 4}, 32, 1e-3, "default"),
         "vgg11_bn": ({"width": 1 / 8}, 32, 3e-3, "default"),
         "nin_cifar": ({}, 12, 1e-3, "kaiming"),
         "googlenet_gray224": ({}, 32, 3e-4, "default"),
         "googlenet": ({"aux_logits": True}, 48, 1e-3, "default"),
         "resnet18_d2l": ({}, 32, 1e-3, "default"),
         "resnet20": ({}, 16, 3e-3, "default"),
         "plain20": ({}, 16, 3e-3, "default"),
         "densenet_d2l": ({}, 32, 1e-3, "default"),
         "densenet121": ({}, 32, 1e-3, "default"),
         "squeezenet1_1": ({}, 32, 1e-3, "kaiming"),
         "mobilenet_v2": ({}, 32, 3e-3, "default")}


def images(channels: int, side: int) -> tuple[mc.Tensor, mc.Tensor]:
    """32 of the bundled digits, resized, in so many equal channels, and their classes."""
    digits = data.load("digits", "train")
    pixels = Resize((side, side))(digits.images[:32]).astype(np.float32) / 127.5 - 1
    return mc.tensor(np.repeat(pixels, channels, 1)), mc.tensor(digits.labels[:32])


def criterion(y, labels: mc.Tensor) -> mc.Tensor:
    def loss(logits: mc.Tensor) -> mc.Tensor:
        return nn.functional.cross_entropy(logits, labels)

    return y.loss(loss) if isinstance(y, models.Outputs) else loss(y)


@pytest.mark.parametrize("name", CASES)
def test_learns_32_images_by_heart(name, monkeypatch):
    options, side, lr, init = CASES[name]
    monkeypatch.setattr(alexnet, "HIDDEN", 128)  # enough, and quick
    model = models.create(name, **options)
    without_dropout(model)
    models.initialise(model, init)
    if name in ("nin_cifar", "squeezenet1_1"):  # they end with ReLU: a class that begins below zero would stay there
        nn.init.ones_([layer for layer in model.modules() if isinstance(layer, nn.Conv2d)][-1].bias)
    x, labels = images(model.spec.in_channels, side)
    optimizer = optim.Adam(model.parameters(), lr=lr)
    right = 0
    for _ in range(200):
        y = model(x)
        right = (logits_of(y).data.argmax(1) == labels.data).sum()
        if right == len(labels):
            break
        optimizer.zero_grad()
        criterion(y, labels).backward()
        optimizer.step()
    assert right == len(labels)


def logits_of(y) -> mc.Tensor:
    return y.logits if isinstance(y, models.Outputs) else y
