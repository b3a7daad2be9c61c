"""The AlexNet family: five convolutions, large windows first, and three linear layers.

Krizhevsky, Sutskever, Hinton: ImageNet classification with deep convolutional neural networks, 2012,
https://papers.nips.cc/paper/4824; torchvision's is that of Krizhevsky: One weird trick for parallelizing convolutional
neural networks, 2014, https://arxiv.org/abs/1404.5997. Papers, books and notes differ in the size of the image, the
channels, the normalisation and the last pooling; each of these readings is a model of its own here.
"""

from collections.abc import Callable, Sequence
from typing import Any

from .. import nn
from .network import Network, scaled
from .registry import register

CHANNELS = (96, 256, 384, 384, 256)
HIDDEN = 4096  # units of the two linear layers before the last
POOLED = (1, 2, 5)  # the convolutions that pooling follows


def response_norm() -> nn.Module:
    """The paper's normalisation x/(2 + 1e-4·Σ x²)^0.75 over 5 channels; the layer's alpha belongs to their mean."""
    return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2)


def _convolutions(in_channels: int, channels: Sequence[int], *, padding: int = 0, groups: Sequence[int] = (1,) * 5,
                  norm: Callable[[int], nn.Module] | None = None, normed: Sequence[int] = (),
                  last_pool: int = 3) -> dict[str, nn.Module]:
    """[conv – ReLU – (norm) – (pool)] × 5.

    ``padding`` is that of the first convolution; ``norm`` makes, from the channels, what follows those in ``normed``.
    """
    layers: dict[str, nn.Module] = {}
    windows = ((11, 4, padding), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))
    for i, (width, window, parts) in enumerate(zip(channels, windows, groups, strict=True), start=1):
        layers[f"conv{i}"] = nn.Conv2d(in_channels, width, *window, groups=parts)
        layers[f"relu{i}"] = nn.ReLU()
        if norm is not None and i in normed:
            layers[f"norm{i}"] = norm(width)
        if i in POOLED:
            layers[f"pool{i}"] = nn.MaxPool2d(last_pool if i == POOLED[-1] else 3, stride=2)
        in_channels = width
    return layers


def _alexnet(num_classes: int, in_channels: int, width: float, dropout: float, side: int,
             activation: type[nn.Module] = nn.ReLU, **options: Any) -> Network:
    """The convolutions, which leave images of side×side, two hidden linear layers with dropout, and a last one.

    ``width`` multiplies all channels and hidden units; ``options`` are those of the convolutions.
    """
    channels, hidden = [2 * scaled(n // 2, width) for n in CHANNELS], scaled(HIDDEN, width)  # the paper's two groups
    layers = _convolutions(in_channels, channels, **options) | {"flatten": nn.Flatten()}
    features = channels[-1] * side * side
    for i in (6, 7):
        layers |= {f"fc{i}": nn.Linear(features, hidden), f"act{i}": activation(), f"dropout{i}": nn.Dropout(dropout)}
        features = hidden
    return Network(layers | {"fc8": nn.Linear(features, num_classes)})


@register((1, 224, 224), source="Zhang et al., Dive into Deep Learning, section 8.1; notes 000, 001 and 004")
def alexnet_gray224(num_classes: int = 10, in_channels: int = 1, *, width: float = 1.0,
                    dropout: float = 0.5) -> Network:
    """AlexNet as the book's first edition has it: one graphics card, no padding, 224×224."""
    return _alexnet(num_classes, in_channels, width, dropout, 5)


@register((1, 227, 227), source="note 002, its script")
def alexnet_gray227(num_classes: int = 10, in_channels: int = 1, *, width: float = 1.0,
                    dropout: float = 0.5) -> Network:
    """The same for 227×227, which makes the last images 6×6."""
    return _alexnet(num_classes, in_channels, width, dropout, 6)


@register((3, 227, 227), source="Krizhevsky et al. 2012 on one graphics card; texts of notes 003 and 004")
def alexnet_single(num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0,
                   dropout: float = 0.5) -> Network:
    """The paper's network without groups and normalisation."""
    return _alexnet(num_classes, in_channels, width, dropout, 6)


@register((3, 227, 227), source="Krizhevsky et al. 2012")
def alexnet_paper(num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0,
                  dropout: float = 0.5) -> Network:
    """AlexNet of the paper: two groups, local response normalisation, its initial weights."""
    net = _alexnet(num_classes, in_channels, width, dropout, 6, groups=(1, 2, 1, 2, 2), normed=(1, 2),
                   norm=lambda _: response_norm())
    for name, layer in net.named_children():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(layer.weight, std=0.01)
            # ones give the ReLUs behind them something to pass on from the start
            nn.init.constant_(layer.bias, float(name in ("conv2", "conv4", "conv5", "fc6", "fc7")))
    return net


@register((3, 227, 227), source="note 003, its Keras model")
def alexnet_bn(num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0, dropout: float = 0.5) -> Network:
    """BN, with Keras' constants, after every ReLU; tanh in the linear layers; a last pooling of 2×2."""
    return _alexnet(num_classes, in_channels, width, dropout, 6, nn.Tanh, last_pool=2, normed=(1, 2, 3, 4, 5),
                    norm=lambda channels: nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01))


@register((3, 224, 224), source="Krizhevsky 2014; torchvision")
def alexnet(num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0, dropout: float = 0.5) -> Network:
    """torchvision's AlexNet: 64, 192, 384, 256 and 256 channels, dropout before the linear layers."""
    channels, hidden = [scaled(n, width) for n in (64, 192, 384, 256, 256)], scaled(HIDDEN, width)
    features = _convolutions(in_channels, channels, padding=2)
    classifier = nn.Sequential(
        nn.Dropout(dropout), nn.Linear(channels[-1] * 6 * 6, hidden), nn.ReLU(),
        nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, num_classes))
    return Network({"features": nn.Sequential(*features.values()), "avgpool": nn.AdaptiveAvgPool2d(6),
                    "flatten": nn.Flatten(), "classifier": classifier})
