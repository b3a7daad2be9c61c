"""What only a GPU can tell: every operator and every network on it against PyTorch, and that steps repeat to the bit.

    MINICNN_REQUIRE_GPU=1 python -m pytest -m gpu

The same steps are repeated on the CPU, where there is always one.
"""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings

import minicnn as mc
import minicnn.functional as F
import minicnn.optim
from minicnn import models
from minicnn.explain.trace import tensors
from minicnn.interop.torch import to_torch
from minicnn.training import Trainer
from operators.test_operators import TABLE
from training_util import small_trainer
from util import normal

IMAGES = [name for name in models.list() if models.entry(name).reads_images]
DEVICES = [pytest.param("cpu", 10), pytest.param("cuda", 100, marks=pytest.mark.gpu)]


@pytest.mark.gpu
@pytest.mark.parametrize("op", TABLE, ids=lambda op: op.name)
def test_operators(op):
    for case in op.examples:
        op.check(case, "cuda")

    @settings(max_examples=op.number // 4)
    @given(op.cases)
    def drawn(case):
        op.check(case, "cuda")

    drawn()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("name", IMAGES)
def test_gradients_of_networks(name, device):
    """In float64, with the weights copied; on the CPU only the smallest, whose own tests are elsewhere."""
    if device == "cpu" and name not in ("lenet_bn", "resnet20"):
        pytest.skip("tests of models compare it with PyTorch on the CPU")
    model = models.create(name)
    shape = (model.spec.in_channels, *models.entry(name).input_shape[1:])
    for module in model.modules():
        if isinstance(module, mc.nn.Dropout):
            module.p = 0.0
    reference = to_torch(model, shape).double().train()
    model = model.to("float64").to(device=device).train()
    x = normal((2, *shape))
    ys, expected = list(tensors(model(mc.tensor(x, device=device)))), reference(torch.from_numpy(x))
    expected = list(expected) if isinstance(expected, (tuple, list)) else [expected]
    gys = [normal(tuple(y.shape), 1 + i) for i, y in enumerate(ys)]
    names, parameters = zip(*model.named_parameters())
    theirs = dict(reference.named_parameters())
    gradients = mc.autograd.grad(ys, list(parameters), [mc.tensor(gy, device=device) for gy in gys])
    wanted = torch.autograd.grad(expected, [theirs[label] for label in names], list(map(torch.from_numpy, gys)))
    largest = max(float(g.abs().max()) for g in wanted)
    for label, g, want in zip(names, gradients, wanted, strict=True):
        scale = max(float(want.abs().max()), 1e-4 * largest)
        np.testing.assert_allclose(g.cpu().numpy(), want.numpy(), rtol=0, atol=1e-8 * scale, err_msg=label)


@pytest.mark.parametrize("device, times", DEVICES)
def test_a_step_is_the_same_every_time(device, times):
    """One hash of loss, gradients and weights, of a network with every kind of layer."""
    digests = set()
    for _ in range(times):
        mc.manual_seed(0)
        model = models.create("cnn2").to(device=device)
        optimizer = mc.optim.Adam(model.parameters())
        x, y = (mc.tensor(a, device=device) for a in (normal((8, 1, 28, 28)).astype(np.float32), np.arange(8)))
        for _ in range(2):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        digest = hashlib.sha256(loss.detach().cpu().numpy().tobytes())
        for p in model.parameters():
            digest.update(p.detach().cpu().numpy().tobytes() + p.grad.cpu().numpy().tobytes())
        digests.add(digest.hexdigest())
    assert len(digests) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("model, changes", [
    ("lenet_bn", {}), ("lenet_bn", {"amp": "bfloat16"}), ("lenet_bn", {"amp": "float16"}),
    ("lenet_bn", {"opt": "momentum", "clip_grad": 1.0}), ("lenet_bn", {"label_smoothing": 0.1}),
    ("cnn2", {}), ("image_rnn", {})], ids=str)  # cnn2 has dropout
def test_a_recorded_step_trains_as_the_step(model, changes, monkeypatch):
    losses, said = [], []
    for capture in (False, True):
        trainer = small_trainer(model=model, images=200, **changes)
        trainer.model.to(device="cuda")
        trainer = Trainer(trainer.model, trainer.recipe, trainer.train, trainer.val, capture=capture)
        monkeypatch.setattr(trainer.observer, "warn", said.append)
        losses.append([row.loss for row in trainer.run().rows])
    assert not [finding for finding in said if finding.rule == "not-captured"]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.02)
