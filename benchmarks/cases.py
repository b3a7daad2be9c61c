"""What is timed, written once: ``lib`` is minicnn or torch, whose names are the same.

A case is a function case(lib) that prepares everything and returns a function to time. That function returns tensors,
which the two libraries must agree on before anything is timed.
"""

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np


def numbers(t: Any) -> np.ndarray:
    return t.detach().numpy()


def filled(lib: Any, model: Any) -> Any:
    """The model with weights that depend on their shapes alone, so that both libraries start equal."""
    rng = np.random.default_rng(0)
    for p in model.parameters():
        bound = 1 / math.sqrt(max(1, int(np.prod(p.shape[1:]))))
        with lib.no_grad():
            p.copy_(lib.from_numpy(rng.uniform(-bound, bound, p.shape).astype(np.float32)))
    return model


def lenet(nn: Any) -> Any:
    return nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2),
                         nn.Conv2d(6, 16, 5), nn.Sigmoid(), nn.AvgPool2d(2),
                         nn.Flatten(), nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(),
                         nn.Linear(84, 10))


def cnn2(nn: Any, dropout: float = 0.5) -> Any:
    return nn.Sequential(nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Flatten(), nn.Linear(3136, 1000), nn.Dropout(dropout), nn.ReLU(), nn.Linear(1000, 10))


def training_step(build: Callable, batch: int) -> Callable:
    """zero_grad, forward, cross-entropy, backward, SGD with momentum."""

    def prepare(lib: Any, checking: bool = False) -> Callable:
        without_masks = checking and build is cnn2  # dropout's masks differ by library
        model = filled(lib, build(lib.nn, 0.0) if without_masks else build(lib.nn))
        optimizer = lib.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        rng = np.random.default_rng(1)
        x = lib.from_numpy(rng.standard_normal((batch, 1, 28, 28), dtype=np.float32))
        t = lib.from_numpy(rng.integers(0, 10, batch))
        cross_entropy = lib.nn.functional.cross_entropy

        def step() -> list[Any]:
            optimizer.zero_grad()
            loss = cross_entropy(model(x), t)
            loss.backward()
            optimizer.step()
            return [loss, *model.parameters()]

        return step

    return prepare


def epoch(lib: Any, checking: bool = False) -> Callable:
    """One epoch of LeNet over MNIST's training set with shuffled batches of 256, as each library's user would write it.

    PyTorch gets the images as one float tensor that it indexes with whole batches: its DataLoader would be far slower.
    """
    from minicnn import data

    train = data.load("mnist", "train", data_dir=os.environ.get("MINICNN_DATA"))
    count = 512 if checking else len(train)
    step_model = filled(lib, lenet(lib.nn))
    optimizer = lib.optim.SGD(step_model.parameters(), lr=0.1, momentum=0.9)
    mean, std = np.float32(train.mean), np.float32(train.std)
    images = ((train.images[:count] / np.float32(255) - mean) / std).astype(np.float32)
    x, t = lib.from_numpy(images), lib.from_numpy(train.labels[:count])
    order = np.random.default_rng(0).permutation(count)

    def run() -> list[Any]:
        for start in range(0, count, 256):
            index = lib.from_numpy(order[start:start + 256])
            optimizer.zero_grad()
            loss = lib.nn.functional.cross_entropy(step_model(x[index]), t[index])
            loss.backward()
            optimizer.step()
        return [loss, *step_model.parameters()]

    return run


def convolution(n: int, c: int, size: int, o: int, k: int, stride: int, padding: int, groups: int = 1,
                input_grad: bool = True) -> Callable:
    """A convolution with bias forward and backward: two gradients, or only the weight's for a first layer."""

    def prepare(lib: Any, checking: bool = False) -> Callable:
        rng = np.random.default_rng(2)
        x, w, b = (lib.from_numpy(rng.standard_normal(s, dtype=np.float32))
                   for s in ((n, c, size, size), (o, c // groups, k, k), (o,)))
        w.requires_grad_(), b.requires_grad_()
        wanted = [x.requires_grad_(), w, b] if input_grad else [w, b]
        conv2d = lib.nn.functional.conv2d
        y_shape = tuple(conv2d(x, w, b, stride, padding, 1, groups).shape)
        gy = lib.from_numpy(rng.standard_normal(y_shape, dtype=np.float32))

        def run() -> list[Any]:
            y = conv2d(x, w, b, stride, padding, 1, groups)
            return [y, *lib.autograd.grad(y, wanted, gy)]

        return run

    return prepare


def pooling(name: str, n: int, c: int, size: int, k: int, stride: int, padding: int = 0) -> Callable:
    """A pooling forward and backward."""

    def prepare(lib: Any, checking: bool = False) -> Callable:
        rng = np.random.default_rng(3)
        x = lib.from_numpy(rng.standard_normal((n, c, size, size), dtype=np.float32)).requires_grad_()
        pool = getattr(lib.nn.functional, name)
        gy = lib.from_numpy(rng.standard_normal(tuple(pool(x, k, stride, padding).shape), dtype=np.float32))

        def run() -> list[Any]:
            y = pool(x, k, stride, padding)
            return [y, *lib.autograd.grad(y, [x], gy)]

        return run

    return prepare


CASES: dict[str, tuple[str, Callable]] = {
    "lenet": ("training step, LeNet, batch 256", training_step(lenet, 256)),
    "cnn2": ("training step, cnn2, batch 64", training_step(cnn2, 64)),
    "epoch": ("epoch of MNIST, LeNet, batch 256", epoch),
    "conv-lenet1": ("conv 1→6 5×5 p2 @28, batch 256", convolution(256, 1, 28, 6, 5, 1, 2, input_grad=False)),
    "conv-lenet2": ("conv 6→16 5×5 @14, batch 256", convolution(256, 6, 14, 16, 5, 1, 0)),
    "conv-cnn1": ("conv 1→32 5×5 p2 @28, batch 64", convolution(64, 1, 28, 32, 5, 1, 2, input_grad=False)),
    "conv-cnn2": ("conv 32→64 5×5 p2 @14, batch 64", convolution(64, 32, 14, 64, 5, 1, 2)),
    "conv-3x3": ("conv 64→64 3×3 p1 @56, batch 16", convolution(16, 64, 56, 64, 3, 1, 1)),
    "conv-3x3s2": ("conv 64→128 3×3 s2 p1 @56, batch 16", convolution(16, 64, 56, 128, 3, 2, 1)),
    "conv-1x1": ("conv 256→64 1×1 @56, batch 8", convolution(8, 256, 56, 64, 1, 1, 0)),
    "conv-dw": ("conv 128 depthwise 3×3 p1 @28, batch 16", convolution(16, 128, 28, 128, 3, 1, 1, groups=128)),
    "avgpool": ("average pool 2×2 @28×6, batch 256", pooling("avg_pool2d", 256, 6, 28, 2, 2)),
    "maxpool": ("max pool 2×2 @28×32, batch 64", pooling("max_pool2d", 64, 32, 28, 2, 2)),
    "maxpool3": ("max pool 3×3 s2 p1 @56×64, batch 16", pooling("max_pool2d", 16, 64, 56, 3, 2, 1)),
}
