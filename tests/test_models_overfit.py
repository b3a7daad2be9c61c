"""GoogLeNet with its auxiliary heads learns 32 real images by heart; test_recipes.py says the same of all others."""

from minicnn import models, nn, optim
from models_util import images, without_dropout


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
