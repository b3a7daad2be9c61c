"""The GoogLeNet family: Inception blocks look at an image through windows of several sizes side by side.

Szegedy et al.: Going deeper with convolutions, 2014, https://arxiv.org/abs/1409.4842
"""

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any

from .. import nn
from ..engine import Tensor
from ..ops.join import cat
from .alexnet import response_norm
from .network import HeadedNetwork, Network, Outputs, draw_weights, dropout_layers, he_normal, scaled
from .registry import register

Widths = tuple[int, tuple[int, int], tuple[int, int], int]
Conv = Callable[..., nn.Sequential]

# Channels of the four branches, as in the paper's table 1: 1×1; 1×1 then 3×3; 1×1 then 5×5; pooling then 1×1
BLOCKS: dict[str, Widths] = {
    "3a": (64, (96, 128), (16, 32), 32),
    "3b": (128, (128, 192), (32, 96), 64),
    "4a": (192, (96, 208), (16, 48), 64),
    "4b": (160, (112, 224), (24, 64), 64),
    "4c": (128, (128, 256), (24, 64), 64),
    "4d": (112, (144, 288), (32, 64), 64),
    "4e": (256, (160, 320), (32, 128), 128),
    "5a": (256, (160, 320), (32, 128), 128),
    "5b": (384, (192, 384), (48, 128), 128),
}
HEADS = {"inception4a": "aux1", "inception4d": "aux2"}


class GoogLeNetOutputs(Outputs, namedtuple("GoogLeNetOutputs", ("logits", "aux_logits2", "aux_logits1"))):
    """What GoogLeNet returns in training if it has auxiliary heads; the paper counts the loss of each 0.3 times."""

    __slots__ = ()
    weight = 0.3


def conv_relu(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution that keeps the size (up to the stride), ReLU."""
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2),
                                     relu=nn.ReLU()))


def conv_bn_relu(in_channels: int, out_channels: int, kernel: Any, stride: int = 1,
                 padding: Any = None) -> nn.Sequential:
    """Convolution without bias, which keeps the size (up to the stride) unless padding says otherwise, BN, ReLU."""
    padding = kernel // 2 if padding is None else padding
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False),
                                     bn=nn.BatchNorm2d(out_channels, eps=0.001), relu=nn.ReLU()))


class Inception(nn.Module):
    """Four branches from x, concatenated along the channels, (N, in_channels, H, W) → (N, Σ widths, H, W).

    Args:
        in_channels: channels of x.
        widths: channels of the branches, as in ``BLOCKS``.
        conv: makes a convolution with what follows it, from channels in, channels out and kernel.
        third: kernel of the third branch.
    """

    def __init__(self, in_channels: int, widths: Widths, conv: Conv, third: int = 5) -> None:
        super().__init__()
        one, (reduce2, two), (reduce3, three), four = widths
        self.branch1 = conv(in_channels, one, 1)
        self.branch2 = nn.Sequential(conv(in_channels, reduce2, 1), conv(reduce2, two, 3))
        self.branch3 = nn.Sequential(conv(in_channels, reduce3, 1), conv(reduce3, three, third))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), conv(in_channels, four, 1))

    def forward(self, x: Tensor) -> Tensor:
        return cat([branch(x) for branch in self.children()], dim=1)


def _head(in_channels: int, num_classes: int, conv: Conv, pool: nn.Module, width: float) -> nn.Sequential:
    """A classifier that reads a layer half way; ``pool`` leaves 4×4 of its pixels."""
    channels, hidden = scaled(128, width), scaled(1024, width)
    return nn.Sequential(OrderedDict(
        pool=pool, conv=conv(in_channels, channels, 1), flatten=nn.Flatten(), fc1=nn.Linear(channels * 4 * 4, hidden),
        relu=nn.ReLU(), dropout=nn.Dropout(0.7), fc2=nn.Linear(hidden, num_classes)))


def _narrowed(widths: Widths, width: float) -> Widths:
    one, (reduce2, two), (reduce3, three), four = widths
    return (scaled(one, width), (scaled(reduce2, width), scaled(two, width)),
            (scaled(reduce3, width), scaled(three, width)), scaled(four, width))


def _pool() -> nn.Module:
    return nn.MaxPool2d(3, stride=2, padding=1)


def _googlenet(num_classes: int, in_channels: int, width: float, dropout: float, *, conv: Conv = conv_relu,
               third: int = 5, blocks: dict[str, Widths] = BLOCKS, pool: Callable[[], nn.Module] = _pool,
               last_pool: Callable[[], nn.Module] = _pool, lrn: Callable[[], nn.Module] | None = None,
               head_pool: Callable[[], nn.Module] | None = None) -> Network:
    """Two stages of convolutions and three of Inception blocks, pooling between them, and a linear layer.

    ``lrn`` makes the normalisation of the first stages, ``head_pool`` the pooling with which the auxiliary heads begin;
    None leaves either out. ``width`` multiplies all channels.
    """
    narrow, channels = scaled(64, width), scaled(192, width)
    layers: dict[str, nn.Module] = {"conv1": conv(in_channels, narrow, 7, 2), "maxpool1": pool()}
    if lrn is not None:
        layers["lrn1"] = lrn()
    layers |= {"conv2": conv(narrow, narrow, 1), "conv3": conv(narrow, channels, 3)}
    if lrn is not None:
        layers["lrn2"] = lrn()
    layers["maxpool2"] = pool()
    heads = {}
    for name, full in blocks.items():
        layer, widths = f"inception{name}", _narrowed(full, width)
        layers[layer] = Inception(channels, widths, conv, third)
        one, (_, two), (_, three), four = widths
        channels = one + two + three + four
        if layer in HEADS and head_pool is not None:
            heads[HEADS[layer]] = _head(channels, num_classes, conv, head_pool(), width)
        if name == "3b":
            layers["maxpool3"] = pool()
        elif name == "4e":
            layers["maxpool4"] = last_pool()
    layers |= {**heads, "avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), **dropout_layers(dropout),
               "fc": nn.Linear(channels, num_classes)}
    return HeadedNetwork(layers, HEADS, GoogLeNetOutputs) if heads else Network(layers)


@register((1, 96, 96), source="Zhang et al., Dive into Deep Learning, section 8.4; notes 000 and 001")
def googlenet_d2l(num_classes: int = 10, in_channels: int = 1, *, width: float = 1.0, dropout: float = 0.0) -> Network:
    """GoogLeNet as the book has it, without auxiliary heads, normalisation and dropout."""
    return _googlenet(num_classes, in_channels, width, dropout)


@register((1, 224, 224), source="note 002, its script")
def googlenet_gray224(num_classes: int = 10, in_channels: int = 1, *, width: float = 1.0,
                      dropout: float = 0.0) -> Network:
    """The book's GoogLeNet with 128 channels in block 4d, where the paper has 144, and He's initial weights."""
    one, (_, two), three, four = BLOCKS["4d"]
    net = _googlenet(num_classes, in_channels, width, dropout, blocks=BLOCKS | {"4d": (one, (128, two), three, four)})
    draw_weights(net, {nn.Conv2d: he_normal})
    nn.init.zeros_(net.fc.bias)
    return net


@register((3, 224, 224), source="Szegedy et al. 2014")
def googlenet_paper(num_classes: int = 10, in_channels: int = 3, *, aux: bool = False, width: float = 1.0,
                    dropout: float = 0.4) -> Network:
    """GoogLeNet of the paper, with local response normalisation; aux=True adds its two auxiliary heads.

    In training it then returns GoogLeNetOutputs, whose ``loss`` counts the heads 0.3 times.
    """
    return _googlenet(num_classes, in_channels, width, dropout, lrn=response_norm,
                      head_pool=(lambda: nn.AvgPool2d(5, stride=3)) if aux else None)


@register((3, 224, 224), source="torchvision")
def googlenet(num_classes: int = 10, in_channels: int = 3, *, aux_logits: bool = False, width: float = 1.0,
              dropout: float = 0.2) -> Network:
    """torchvision's GoogLeNet: BN, and 3×3 where the paper has 5×5; aux_logits=True adds two auxiliary heads.

    In training it then returns GoogLeNetOutputs, whose ``loss`` counts the heads 0.3 times. torchvision's trained
    weights have the heads, and expect levels of 0 … 1 brought to −1 … 1.
    """
    net = _googlenet(num_classes, in_channels, width, dropout, conv=conv_bn_relu, third=3,
                     pool=lambda: nn.MaxPool2d(3, stride=2, ceil_mode=True),
                     last_pool=lambda: nn.MaxPool2d(2, stride=2, ceil_mode=True),
                     head_pool=(lambda: nn.AdaptiveAvgPool2d(4)) if aux_logits else None)
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.trunc_normal_(layer.weight, std=0.01)
    return net
