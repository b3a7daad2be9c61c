"""Every family learns 32 real images by heart, which it cannot if a gradient is wrong or does not arrive."""

import numpy as np
import pytest

import minicnn as mc
from minicnn import data, models, nn, optim
from minicnn.data.transforms import Resize
from minicnn.models import alexnet
from models_util import without_dropout

# model, options, side of the images, learning rate
CASES = [("resnet18_d2l", {}, 32, 1e-3), ("resnet20", {}, 16, 3e-3), ("plain20", {}, 16, 3e-3), ("resnet50", {}, 32, 1e-3),
         ("googlenet_d2l", {}, 48, 1e-3), ("googlenet", {"aux_logits": True}, 48, 1e-3), ("inception_v3", {}, 75, 1e-3),
         ("densenet_d2l", {}, 32, 1e-3), ("densenet121", {}, 32, 1e-3), ("vgg11", {"width": 1 / 4}, 32, 1e-3),
         ("vgg11_bn", {"width": 1 / 8}, 32, 3e-3), ("alexnet", {}, 64, 3e-4), ("nin", {}, 64, 1e-3), ("nin_cifar", {}, 20, 1e-3),
         ("squeezenet1_1", {}, 48, 1e-3), ("mobilenet_v2", {}, 32, 3e-3), ("lenet5_1998", {}, 32, 3e-3)]


def images(channels: int, side: int) -> tuple[mc.Tensor, mc.Tensor]:
    """32 of the bundled digits, resized, in so many equal channels."""
    digits = data.load("digits", "train")
    pixels = Resize((side, side))(digits.images[:32]).astype(np.float32) / 127.5 - 1
    return mc.tensor(np.repeat(pixels, channels, 1)), mc.tensor(digits.labels[:32])


@pytest.mark.parametrize("name, options, side, lr", CASES)
def test_overfits(name, options, side, lr, monkeypatch):
    monkeypatch.setattr(alexnet, "HIDDEN", 128)
    model = models.create(name, **options)
    without_dropout(model)
    x, labels = images(model.spec.in_channels, side)
    optimizer = optim.Adam(model.parameters(), lr=lr)
    import time
    t0 = time.time()
    for step in range(200):
        y = model(x)
        logits = y[0] if isinstance(y, models.Outputs) else y
        if (logits.data.argmax(1) == labels.data).all():
            print(name, step, time.time() - t0)
            return
        optimizer.zero_grad()
        criterion = nn.CrossEntropyLoss()
        loss = y.loss(lambda y: criterion(y, labels)) if isinstance(y, models.Outputs) else criterion(y, labels)
        loss.backward()
        optimizer.step()
    print(name, step, time.time() - t0, loss.item())
    assert 0
