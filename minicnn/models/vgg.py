"""The VGG family: blocks of 3×3 convolutions, each ended by pooling, and three linear layers.

Simonyan, Zisserman: Very deep convolutional networks for large-scale image recognition, 2014,
https://arxiv.org/abs/1409.1556
"""

from collections.abc import Sequence

from .. import nn
from .network import Network, draw_weights, he_normal, named, scaled
from .registry import register

CHANNELS = (64, 128, 256, 512, 512)  # of the five blocks
# The paper's configurations A, B, D and E: convolutions per block; the number in the name counts layers with weights
DEPTHS = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}


def _features(in_channels: int, depths: Sequence[int], width: float, batch_norm: bool = False) -> list[nn.Module]:
    """[[conv 3×3 – (BN) – ReLU] × depth – pool 2×2] × 5."""
    layers: list[nn.Module] = []
    for depth, block in zip(depths, CHANNELS, strict=True):
        channels = scaled(block, width)
        for _ in range(depth):
            layers.append(nn.Conv2d(in_channels, channels, 3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(channels))
            layers.append(nn.ReLU())
            in_channels = channels
        layers.append(nn.MaxPool2d(2))
    return layers


def _vgg(num_classes: int, features: list[nn.Module], width: float, dropout: float, adaptive: bool) -> Network:
    """The convolutional blocks and linear layers 4096·width – 4096·width – classes with dropout.

    These expect 7×7 pixels; ``adaptive`` pooling brings other sizes to that.
    """
    layers: dict[str, nn.Module] = {"features": nn.Sequential(*features)}
    if adaptive:
        layers["avgpool"] = nn.AdaptiveAvgPool2d(7)
    hidden = scaled(4096, width)
    layers["flatten"] = nn.Flatten()
    layers["classifier"] = nn.Sequential(
        nn.Linear(scaled(CHANNELS[-1], width) * 7 * 7, hidden), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, num_classes))
    return Network(layers)


@register((1, 224, 224), source="Zhang et al., Dive into Deep Learning, section 8.2; notes 000 and 001")
def vgg11_d2l(num_classes: int = 10, in_channels: int = 1, *, width: float = 1.0, dropout: float = 0.5) -> Network:
    """VGG-11 as the book has it: 224×224 only, PyTorch's initial weights; width scales all channels."""
    return _vgg(num_classes, _features(in_channels, DEPTHS["vgg11"], width), width, dropout, adaptive=False)


@register((1, 224, 224), source="note 002, the class that it calls VGG11")
def vgg16_gray(num_classes: int = 10, in_channels: int = 1, *, width: float = 1.0, dropout: float = 0.5) -> Network:
    """The note's VGG11, which has the 16 layers of VGG-16, for 224×224; width scales all channels."""
    return _vgg(num_classes, _features(in_channels, DEPTHS["vgg16"], width), width, dropout, adaptive=False)


def _register(name: str, batch_norm: bool) -> None:
    depths, more = DEPTHS[name], " with BN" if batch_norm else ""

    @register((3, 224, 224), source="Simonyan, Zisserman 2014; torchvision")
    @named(f"{name}_bn" if batch_norm else name, f"torchvision's VGG-{name[3:]}{more}; width scales all channels.")
    def build(num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0, dropout: float = 0.5) -> Network:
        net = _vgg(num_classes, _features(in_channels, depths, width, batch_norm), width, dropout, adaptive=True)
        draw_weights(net, {nn.Conv2d: he_normal, nn.Linear: lambda weight: nn.init.normal_(weight, std=0.01)})
        return net


for _name in DEPTHS:
    _register(_name, batch_norm=False)
    _register(_name, batch_norm=True)
