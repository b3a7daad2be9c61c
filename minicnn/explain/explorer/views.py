"""What a network makes of an image: its answer, and which pixels it comes from."""

from typing import Any, NamedTuple

import numpy as np

from ... import nn
from ...backend import conv_algorithm
from ...engine import Tensor, no_grad
from ...ops.activation import softmax
from ..trace import trace
from .fields import fields
from .layer import run_layer

HELD = 0.95  # of all influence, by the box of an effective field
TOP = 5


class Effective(NamedTuple):
    """How strongly one value of a layer changes with each pixel.

    Attributes:
        unit: its index (channel, row, column).
        influence: Σ over channels of |d value/d pixel| (H, W).
        box: (first row, row behind the last, first column, ...) of HELD of it.
    """

    unit: tuple[int, int, int]
    influence: np.ndarray
    box: tuple[int, int, int, int]


class Views(NamedTuple):
    """Pictures of a network and an image.

    Attributes:
        top: the classes with the highest probabilities, and these.
        saliency: (H, W), the largest over the channels of |d score/d pixel| (Simonyan et al. 2014).
        cam: (h, w), ReLU of Σ of the feature maps, each times the mean of d score/d map (Selvaraju et al. 2017).
        cam_layer: the layer whose maps these are.
        filters: weights of the first convolution (O, C, KH, KW).
        filters_layer: its name.
        field: of the rows and of the columns of the layer's output, the pixels (first, behind the last) that they see.
        effective: of one value of the layer; field and effective are None where its output is no image.
    """

    top: list[tuple[int, float]]
    saliency: np.ndarray
    cam: np.ndarray | None
    cam_layer: str | None
    filters: np.ndarray | None
    filters_layer: str | None
    field: list[list[list[int]]] | None
    effective: Effective | None


def views(network: nn.Module, x: Tensor, layer: str, target: int, cam_layer: str | None = None) -> Views:
    """Look at a network that was given one image (1, C, H, W).

    Args:
        layer: the one whose fields are wanted.
        target: the class whose score is asked about.
        cam_layer: the layer of the class activation map; None is the last convolution.

    Raises:
        ValueError: the output of cam_layer is no image.
    """
    traced = trace(network, [x])
    shapes = {call.path: call.outputs[0].shape for call in traced.calls if call.outputs}
    convolutions = [path for path, module in network.named_modules()
                    if isinstance(module, nn.Conv2d) and path in shapes]
    of_images = [path for path in convolutions if len(shapes[path]) == 4 and max(shapes[path][2:]) > 1]
    with no_grad():
        scores = network(x)
    probabilities = softmax(scores, dim=1).numpy()[0]
    order = np.argsort(-probabilities, kind="stable")[:TOP]
    cam_layer = cam_layer or (of_images[-1] if of_images else None)
    image = x.detach().requires_grad_()
    run, _ = run_layer(network, cam_layer or layer, image, lambda scores: scores[0, target].backward())
    cam = None
    if cam_layer is not None:
        y, gy = run.arrays["y"], run.arrays["gy"]
        if y.ndim != 4 or y.shape[2:] == (1, 1):
            raise ValueError(f"{cam_layer!r} makes no images, which a class activation map is made of")
        cam = np.maximum((gy.mean((2, 3), keepdims=True) * y).sum(1), 0)[0]             # (h, w)
    weights = network.get_submodule(convolutions[0]).weight.detach().numpy() if convolutions else None
    spans = fields(traced, layer)
    field = None if spans is None else [np.stack(ends, 1).tolist() for ends in spans]
    return Views([(int(k), float(probabilities[k])) for k in order], _gradient(image).max(0), cam, cam_layer,
                 weights, convolutions[0] if convolutions else None,
                 field, None if field is None else effective(network, x, layer))


def effective(network: nn.Module, x: Tensor, layer: str) -> Effective:
    """The effective field (Luo et al. 2016) of the value in the middle of the channel that answers most there."""
    kept = list[Tensor]()
    hook = network.get_submodule(layer).register_forward_hook(lambda module, args, output: kept.append(output))
    image = x.detach().requires_grad_()
    network(image)
    hook.remove()
    i, j = (n // 2 for n in kept[0].shape[2:])
    o = int(abs(kept[0].data[0, :, i, j]).argmax())
    with conv_algorithm("direct"):  # Winograd's tiles would leave rounding errors outside of the field
        kept[0][0, o, i, j].backward()
    influence = _gradient(image).sum(0)
    rows, columns = (_held(influence.sum(axis)) for axis in (1, 0))
    return Effective((o, i, j), influence, (*rows, *columns))


def _gradient(image: Tensor) -> np.ndarray:
    """|gradient| of the image (C, H, W)."""
    return np.zeros(image.shape[1:]) if image.grad is None else abs(image.grad.numpy()[0])


def _held(influence: np.ndarray) -> tuple[int, int]:
    """The stretch that remains if (1 − HELD)/4 is left out at either end: of two axes, HELD is within."""
    share = influence.cumsum() / max(influence.sum(), np.finfo(influence.dtype).tiny)
    out = (1 - HELD) / 4
    return int(np.searchsorted(share, out, "right")), int(np.searchsorted(share, 1 - out) + 1)


def as_json(seen: Views, image: np.ndarray, classes: list[str], layer: str, target: int,
            encode: Any) -> dict[str, Any]:
    """What the page shows of it; ``image`` is (C, H, W) uint8."""
    numbers = {name: None if a is None else encode(a) for name, a in (
        ("saliency", seen.saliency), ("cam", seen.cam), ("filters", seen.filters), ("image", image))}
    found = seen.effective and {"unit": seen.effective.unit, "box": seen.effective.box,
                                "influence": encode(seen.effective.influence)}
    return {**numbers, "layer": layer, "target": classes[target], "top": [(classes[k], p) for k, p in seen.top],
            "cam_layer": seen.cam_layer, "filters_layer": seen.filters_layer, "field": seen.field, "effective": found}
