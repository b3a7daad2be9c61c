"""A layer of somebody's network, run forward and backward on somebody's image, as the page shows it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import nn
from ...engine import Tensor
from ...ops.loss_class import cross_entropy
from ..trace import tensors
from .layer import run_layer
from .page import about, encode, scene
from .views import as_json, views


@dataclass(frozen=True)
class Subject:
    """A network, and an image for it.

    Attributes:
        name: of the network.
        source: where it and the image come from, for people.
        x: the image as the network expects it (1, C, H, W).
        classes: their names.
    """

    name: str
    source: str
    network: nn.Module
    x: Tensor
    classes: list[str]


@dataclass(frozen=True)
class Seen:
    """What ``look`` found: the layer's name, lines for a terminal, and what ``page`` takes."""

    layer: str
    text: str
    scene: dict[str, Any]
    network: dict[str, Any]


def look(subject: Subject, layer: str | None = None, label: str | None = None, cam: str | None = None,
         training: bool = False) -> Seen:
    """Explain a layer.

    Args:
        layer: its name; None is the first convolution.
        label: the class for whose loss to go back, by name or number; None is the score of the class answered.
        cam: the layer of the class activation map; None is the last convolution.
        training: whether the layer is run as in training.

    Raises:
        ValueError: there is no such layer or class, or the layer cannot be explained.
    """
    network, x = subject.network.eval(), subject.x
    layer = _first(network) if layer is None else layer
    for name in filter(None, (layer, cam)):
        _check(network, name)
    target = int(network(x).data[0].argmax()) if label is None else _number(label, subject.classes)
    seen = views(network, x, layer, target, cam)

    def backward(result: Any) -> None:
        scores = next(tensors(result))
        loss = scores[0, target] if label is None else cross_entropy(scores, Tensor(np.array([target])))
        loss.backward()

    module = network.get_submodule(layer)
    before = {name: t.clone() for name, t in module.state_dict().items()}  # training moves running statistics
    try:
        module.train(training)
        run, _ = run_layer(network, layer, x, backward)
    finally:
        module.eval()
        module.load_state_dict(before)
    of, of_zh = ("score", "得分") if label is None else ("loss", "损失")
    objective = f"{of} of class {subject.classes[target]}", f"类别 {subject.classes[target]} 的{of_zh}"
    line, line_zh = about(run)
    best = ", ".join(f"{subject.classes[k]} {p:.1%}" for k, p in seen.top[:3])
    kind = type(module).__name__ if list(module.children()) else repr(module)
    text = [f"network: {subject.name}, {subject.source}", f"answer: {best}", f"layer: {layer}, {kind}", f"  {line}",
            f"gradients: of the {objective[0]}"]
    if run.fast:
        text.append(f"sums: added in the order of the page; those of the fast kernels differ by {run.fast:.1e} at most")
    picture = as_json(seen, _picture(x.numpy()[0]), subject.classes, layer, target, encode)
    pictures = (seen.saliency, seen.cam, seen.filters, seen.effective and seen.effective.influence)
    taken = sum(a.size for a in pictures if a is not None) + x.numel() // 4  # the image is of bytes
    shown = scene(run, [f"{line} · {objective[0]}", f"{line_zh} · {objective[1]}"], taken=taken)
    return Seen(layer, "\n".join(text), shown, picture)


def _picture(x: np.ndarray) -> np.ndarray:
    """Levels 0 … 255, the least to the greatest."""
    return np.round(255 * (x - x.min()) / max(float(np.ptp(x)), 1e-30)).astype(np.uint8)


def _first(network: nn.Module) -> str:
    """The first convolution, or the first layer of a network without any."""
    layers = [(path, module) for path, module in network.named_modules() if path and not list(module.children())]
    return next((path for path, module in layers if isinstance(module, nn.Conv2d)), layers[0][0] if layers else "")


def _check(network: nn.Module, layer: str) -> None:
    names = [path for path, _ in network.named_modules()]
    if layer not in names:
        raise ValueError(f"there is no layer {layer!r}; layers: {', '.join(filter(None, names))}")


def _number(label: str, classes: list[str]) -> int:
    if label in classes:
        return classes.index(label)
    if label.isdigit() and int(label) < len(classes):
        return int(label)
    raise ValueError(f"there is no class {label!r}; classes: {', '.join(classes)}")
