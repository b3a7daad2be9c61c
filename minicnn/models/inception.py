"""Inception v3: 5×5 windows made of two 3×3, 7×7 of 1×7 and 7×1, and images made smaller beside pooling.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception architecture for computer vision, 2015,
https://arxiv.org/abs/1512.00567, as torchvision has it.
"""

from collections import OrderedDict, namedtuple
from typing import Any

from .. import nn
from ..engine import Tensor
from ..ops.join import cat
from .googlenet import conv_bn_relu
from .network import HeadedNetwork, Network, Outputs, scaled
from .registry import register

ACROSS, DOWN = (1, 7), (7, 1)
Layers = dict[str, tuple]  # name → name of what it reads, channels, kernel, and the stride if it is not 1


class InceptionOutputs(Outputs, namedtuple("InceptionOutputs", ("logits", "aux_logits"))):
    """What Inception v3 returns in training if it has its auxiliary head, whose loss its authors count 0.4 times."""

    __slots__ = ()
    weight = 0.4


def _conv(in_channels: int, out_channels: int, kernel: Any, stride: int = 1) -> nn.Module:
    """Convolution, BN, ReLU; what does not make the image smaller on purpose keeps its size."""
    rows, columns = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    return conv_bn_relu(in_channels, out_channels, kernel, stride, (rows // 2, columns // 2) if stride == 1 else 0)


class Block(nn.Module):
    """Convolutions, each of x, of "pool" or of another's result; the results that none reads are concatenated.

    "pool" is the mean of 3×3 windows of x if a convolution reads it, and else their maximum with stride 2. ``width``
    multiplies the channels.
    """

    def __init__(self, in_channels: int, layers: Layers, width: float) -> None:
        super().__init__()
        read = {source for source, *_ in layers.values()}
        self.pool: nn.Module = nn.AvgPool2d(3, stride=1, padding=1) if "pool" in read else nn.MaxPool2d(3, stride=2)
        channels, self.source = {"x": in_channels, "pool": in_channels}, {"pool": "x"}
        for name, (source, full, *window) in layers.items():
            channels[name], self.source[name] = scaled(full, width), source
            self.add_module(name, _conv(channels[source], channels[name], *window))
        self.ends = [name for name in (*layers, "pool") if name not in read]
        self.out_channels = sum(channels[name] for name in self.ends)

    def forward(self, x: Tensor) -> Tensor:
        values = {"x": x}
        for name, source in self.source.items():
            values[name] = getattr(self, name)(values[source])
        return cat([values[name] for name in self.ends], dim=1)


def _chain(name: str, *steps: tuple) -> Layers:
    """One convolution after the other, from x; numbered if they are several."""
    layers: Layers = {}
    source = "x"
    for i, step in enumerate(steps, start=1):
        layer = f"{name}_{i}" if len(steps) > 1 else name
        layers[layer], source = (source, *step), layer
    return layers


def _fork(name: str, source: str) -> Layers:
    return {f"{name}a": (source, 384, (1, 3)), f"{name}b": (source, 384, (3, 1))}


def block_a(pooled: int) -> Layers:
    """Figure 5: as in GoogLeNet, and a 5×5 window made of two 3×3."""
    return {**_chain("branch1x1", (64, 1)), **_chain("branch5x5", (48, 1), (64, 5)),
            **_chain("branch3x3dbl", (64, 1), (96, 3), (96, 3)), "branch_pool": ("pool", pooled, 1)}


def block_b() -> Layers:
    """Figure 10: half the height and width."""
    return {**_chain("branch3x3", (384, 3, 2)), **_chain("branch3x3dbl", (64, 1), (96, 3), (96, 3, 2))}


def block_c(width: int) -> Layers:
    """Figure 6: 7×7 windows made of rows and columns."""
    return {**_chain("branch1x1", (192, 1)), **_chain("branch7x7", (width, 1), (width, ACROSS), (192, DOWN)),
            **_chain("branch7x7dbl", (width, 1), (width, DOWN), (width, ACROSS), (width, DOWN), (192, ACROSS)),
            "branch_pool": ("pool", 192, 1)}


def block_d() -> Layers:
    """Figure 10 again, for the next half."""
    return {**_chain("branch3x3", (192, 1), (320, 3, 2)),
            **_chain("branch7x7x3", (192, 1), (192, ACROSS), (192, DOWN), (192, 3, 2))}


def block_e() -> Layers:
    """Figure 7: branches that fork, for the coarsest images."""
    return {**_chain("branch1x1", (320, 1)), "branch3x3_1": ("x", 384, 1), **_fork("branch3x3_2", "branch3x3_1"),
            **_chain("branch3x3dbl", (448, 1), (384, 3)), **_fork("branch3x3dbl_3", "branch3x3dbl_2"),
            "branch_pool": ("pool", 192, 1)}


BLOCKS = {"Mixed_5b": block_a(32), "Mixed_5c": block_a(64), "Mixed_5d": block_a(64), "Mixed_6a": block_b(),
          "Mixed_6b": block_c(128), "Mixed_6c": block_c(160), "Mixed_6d": block_c(160), "Mixed_6e": block_c(192),
          "Mixed_7a": block_d(), "Mixed_7b": block_e(), "Mixed_7c": block_e()}


def _head(in_channels: int, num_classes: int, width: float) -> nn.Sequential:
    narrow, wide = scaled(128, width), scaled(768, width)
    return nn.Sequential(OrderedDict(
        pool=nn.AvgPool2d(5, stride=3), conv0=conv_bn_relu(in_channels, narrow, 1),
        conv1=conv_bn_relu(narrow, wide, 5, padding=0), avgpool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(),
        fc=nn.Linear(wide, num_classes)))


@register((3, 299, 299), source="Szegedy et al. 2015; torchvision")
def inception_v3(num_classes: int = 10, in_channels: int = 3, *, aux_logits: bool = False, width: float = 1.0,
                 dropout: float = 0.5) -> Network:
    """torchvision's Inception v3; aux_logits=True adds its auxiliary head.

    In training it then returns InceptionOutputs, whose ``loss`` counts the head 0.4 times. torchvision's trained
    weights have the head, and expect levels of 0 … 1 brought to −1 … 1.
    """
    a, b, c, channels = (scaled(n, width) for n in (32, 64, 80, 192))
    layers: dict[str, nn.Module] = {
        "Conv2d_1a_3x3": conv_bn_relu(in_channels, a, 3, 2, padding=0),
        "Conv2d_2a_3x3": conv_bn_relu(a, a, 3, padding=0),
        "Conv2d_2b_3x3": conv_bn_relu(a, b, 3),
        "maxpool1": nn.MaxPool2d(3, stride=2),
        "Conv2d_3b_1x1": conv_bn_relu(b, c, 1),
        "Conv2d_4a_3x3": conv_bn_relu(c, channels, 3, padding=0),
        "maxpool2": nn.MaxPool2d(3, stride=2)}
    for name, block in BLOCKS.items():
        layers[name] = built = Block(channels, block, width)
        channels = built.out_channels
        if name == "Mixed_6e" and aux_logits:
            layers["AuxLogits"] = _head(channels, num_classes, width)
    layers |= {"avgpool": nn.AdaptiveAvgPool2d(1), "dropout": nn.Dropout(dropout), "flatten": nn.Flatten(),
               "fc": nn.Linear(channels, num_classes)}
    net = HeadedNetwork(layers, {"Mixed_6e": "AuxLogits"}, InceptionOutputs) if aux_logits else Network(layers)
    for name, layer in net.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.trunc_normal_(layer.weight, std=0.001 if name == "AuxLogits.fc" else 0.1)
    return net
