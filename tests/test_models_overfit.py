"""GoogLeNet with its auxiliary heads learns 32 real images by heart; test_recipes.py says the same of all others."""

import numpy as np

import minicnn as mc
from minicnn import data, models, nn, optim
from minicnn.data.transforms import Resize
from models_util import without_dropout


def images(channels: int, side: int) -> tuple[mc.Tensor, mc.Tensor]:
    """32 of the bundled digits, resized, in so many equal channels, and their classes."""
    digits = data.load("digits", "train")
    pixels = Resize((side, side))(digits.images[:32]).astype(np.float32) / 127.5 - 1
    return mc.tensor(np.repeat(pixels, channels, 1)), mc.tensor(digits.labels[:32])


def test_learns_32_images_by_heart():
    model = models.create("googlenet", aux_logits=True)
    without_dropout(model)
    x, labels = images(model.spec.in_channels, 48)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(200):
        y = model(x)
        if (y.logits.data.argmax(1) == labels.data).all():
            return
        loss = y.loss(lambda logits: nn.functional.cross_entropy(logits, labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    raise AssertionError
