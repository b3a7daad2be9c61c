"""What the tests of the model families share: twins in PyTorch, rows of layers, fast creation."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

import minicnn as mc
from minicnn import data, models, nn
from minicnn.data.transforms import Resize
from minicnn.nn import arguments

EXACT = 1e-8  # largest error allowed in float64, relative to the largest element


@contextmanager
def blank_weights() -> Iterator[None]:
    """Models made inside have zeros for random weights, which takes no time whatever their size."""
    with pytest.MonkeyPatch.context() as patch:
        for draw in ("uniform_", "normal_", "trunc_normal_"):
            patch.setattr(nn.init, draw, lambda tensor, *args, **kwargs: tensor)
        patch.setattr(arguments, "empty", mc.zeros)
        yield


def blank(name: str, num_classes: int = 10, **options: Any) -> nn.Module:
    """The model of this name, without random weights."""
    with blank_weights():
        return models.create(name, num_classes, **options)


def parameters(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())


def buffers(model: nn.Module) -> int:
    """Elements of the running statistics."""
    return sum(b.numel() for b in statistics(model))


# -- images ---------------------------------------------------------------------------------------------------------

def images(channels: int, side: int) -> tuple[mc.Tensor, mc.Tensor]:
    """32 of the bundled digits, resized, in so many equal channels, and their classes."""
    digits = data.load("digits", "train")
    pixels = Resize((side, side))(digits.images[:32]).astype(np.float32) / 127.5 - 1
    return mc.tensor(np.repeat(pixels, channels, 1)), mc.tensor(digits.labels[:32])


# -- layers ---------------------------------------------------------------------------------------------------------

LAYERS = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Flatten)


def rows(model: nn.Module, size: int, *blocks: Any, layers: tuple = LAYERS) -> list[str]:
    """"C×H×W parameters" of every layer that an image of size×size meets, in order; a block counts as one.

    ``blocks`` are modules and types of modules.
    """
    types = tuple(block for block in blocks if isinstance(block, type))
    found: list[str] = []

    def note(layer: nn.Module, args: tuple, output: mc.Tensor) -> None:
        found.append(f"{'x'.join(map(str, output.shape[1:]))} {parameters(layer):,}".removesuffix(" 0"))

    def watch(layer: nn.Module) -> None:
        if isinstance(layer, (*types, *layers)) or layer in blocks:
            handles.append(layer.register_forward_hook(note))
        else:
            for child in layer.children():
                watch(child)

    handles: list = []
    watch(model)
    mode, channels = model.training, model.spec.in_channels
    with mc.no_grad():
        model.eval()(mc.zeros(1, channels, size, size))
    model.train(mode)
    for handle in handles:
        handle.remove()
    return found


def table(text: str) -> list[str]:
    """The rows of a text that separates them by | or line breaks."""
    return [" ".join(row.split()) for row in text.replace("\n", "|").split("|") if row.strip()]


# -- a twin in PyTorch ----------------------------------------------------------------------------------------------


def fill(module: torch.nn.Module) -> None:
    """Weights with which every layer keeps the size of what passes; norms and biases that are not neutral."""
    with torch.no_grad():
        for p in module.parameters():
            if p.ndim > 1:
                p.normal_(0, (2 / p[0].numel()) ** 0.5)
            else:
                p.uniform_(-0.1, 0.1)
        for layer in module.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.weight.uniform_(0.5, 1.5)


def statistics(model: Any) -> list[Any]:
    """The buffers of numbers, without counters."""
    return [b for b in model.buffers() if b.is_floating_point()]


def copy_weights(ours: nn.Module, theirs: torch.nn.Module) -> None:
    for p, q in zip([*ours.parameters(), *statistics(ours)], [*theirs.parameters(), *statistics(theirs)], strict=True):
        assert tuple(p.shape) == tuple(q.shape)
        p.data[...] = q.detach().numpy()


def dropouts(model: Any) -> list[float]:
    """The probabilities of all dropout layers in order."""
    return [layer.p for layer in model.modules() if type(layer).__name__ == "Dropout"]


def without_dropout(*networks: Any) -> None:
    for network in networks:
        for layer in network.modules():
            if type(layer).__name__ == "Dropout":
                layer.p = 0.0


def near(actual: Any, expected: Any, tolerance: float, what: str, least: float = 0.0) -> None:
    """Within tolerance of the largest expected element, or of ``least`` if all are smaller."""
    actual, expected = np.asarray(actual.data), expected.detach().numpy()
    assert actual.shape == expected.shape and actual.dtype == expected.dtype, what
    error, scale = float(np.abs(actual - expected).max()), max(float(np.abs(expected).max()), least)
    assert error <= tolerance * scale, f"{what}: error {error:.3g} of {scale:.3g}"


def check_step(ours: nn.Module, theirs: torch.nn.Module, *size: int, batch: int = 2,
               tolerance: float = EXACT, heads: float = 0.0) -> None:
    """One training step gives what it gives in PyTorch; so does an evaluation after it.

    Compared are the outputs, the loss, the gradient of every parameter, which must not vanish, and the running
    statistics. The networks have the same order of parameters; that in PyTorch returns, with ``heads``, the weight of
    their losses, a tuple in training: the logits and those of all auxiliary heads.
    """
    fill(theirs)
    ours, theirs = ours.double(), theirs.double()
    copy_weights(ours, theirs)
    without_dropout(ours, theirs)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((batch, ours.spec.in_channels, *size))
    labels = np.arange(batch) * 3 % ours.spec.num_classes
    y, expected = ours(mc.tensor(x)), theirs(torch.from_numpy(x))
    if heads:
        assert isinstance(y, models.Outputs) and len(y) == len(expected) and y.weight == heads
        for i, (a, b) in enumerate(zip(y, expected, strict=True)):
            near(a, b, tolerance, f"output {i}")
        loss = y.loss(lambda logits: mc.functional.cross_entropy(logits, mc.tensor(labels)))
    else:
        near(y, expected, tolerance, "output")
        loss, expected = mc.functional.cross_entropy(y, mc.tensor(labels)), (expected,)
    losses = [torch.nn.functional.cross_entropy(e, torch.from_numpy(labels)) for e in expected]
    reference = losses[0] + heads * sum(losses[1:])
    near(loss, reference, tolerance, "loss")
    loss.backward()
    reference.backward()
    largest = max(float(q.grad.abs().max()) for q in theirs.parameters())
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert p.grad is not None and q.grad.abs().max() > 0, f"{name} gets no gradient"
        near(p.grad, q.grad, tolerance, f"gradient of {name}", 1e-4 * largest)  # that of a bias before BN is rounding
    for p, q in zip(statistics(ours), statistics(theirs), strict=True):
        near(p, q, tolerance, "running statistics")
    with mc.no_grad(), torch.no_grad():
        for network in (ours, theirs):
            for p in network.parameters():
                p -= 0.01 * p.grad
        near(ours.eval()(mc.tensor(x)), theirs.eval()(torch.from_numpy(x)), tolerance, "output after the step")


class Cat(torch.nn.ModuleList):
    """Several ways from the same x, their results concatenated."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([way(x) for way in self], 1)


def check_he(model: nn.Module) -> None:
    """The weights of all convolutions are drawn with variance 2/fan_out: He's, for gradients."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            o, _, k, _ = layer.weight.shape
            check_drawn(layer.weight, (2 / (o * k * k)) ** 0.5)


def check_drawn(weight: mc.Tensor, std: float) -> None:
    """Random values around 0 with this standard deviation, within what their number allows."""
    values, tolerance = weight.data, 5 / weight.numel() ** 0.5
    assert abs(values.mean()) < tolerance * std
    assert values.std() == pytest.approx(std, rel=tolerance)
