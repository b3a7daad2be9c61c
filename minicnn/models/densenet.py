"""The DenseNet family: every layer reads what all layers before it in its block put out.

Huang, Liu, van der Maaten, Weinberger: Densely connected convolutional networks, 2016, https://arxiv.org/abs/1608.06993
"""

from collections import OrderedDict
from collections.abc import Sequence

from .. import nn
from ..engine import Tensor
from ..ops.join import cat
from .network import Network, draw_weights, dropout_layers, named, scaled
from .registry import register


class DenseLayer(nn.Sequential):
    """x and, behind it, ``growth`` new channels made of it, (N, C, H, W) → (N, C + growth, H, W).

    New channels: BN, ReLU, 3×3 convolution, dropout; with a bottleneck of ``bottleneck`` channels, BN, ReLU and a 1×1
    convolution come first.
    """

    def __init__(self, in_channels: int, growth: int, bottleneck: int | None, bias: bool, dropout: float) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        steps = [(growth, 3)] if bottleneck is None else [(bottleneck, 1), (growth, 3)]
        channels = in_channels
        for i, (width, kernel) in enumerate(steps, start=1):
            layers[f"norm{i}"] = nn.BatchNorm2d(channels)
            layers[f"relu{i}"] = nn.ReLU()
            layers[f"conv{i}"] = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=bias)
            channels = width
        super().__init__(layers | dropout_layers(dropout))

    def forward(self, x: Tensor) -> Tensor:
        return cat([x, super().forward(x)], dim=1)


def _transition(in_channels: int, bias: bool) -> nn.Sequential:
    """Half the channels, height and width."""
    return nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(in_channels), relu=nn.ReLU(),
                                     conv=nn.Conv2d(in_channels, in_channels // 2, 1, bias=bias), pool=nn.AvgPool2d(2)))


def _densenet(num_classes: int, in_channels: int, depths: Sequence[int], width: float, dropout: float, *,
              stem: int = 64, growth: int = 32, bottleneck: bool = True, bias: bool = False) -> Network:
    """A stem, dense blocks of ``depths`` layers with transitions between them, BN, ReLU, the mean, a linear layer.

    ``width`` multiplies the channels of the stem and the growth, four times which is the width of a bottleneck.
    """
    stem, growth = scaled(stem, width), scaled(growth, width)
    features: OrderedDict[str, nn.Module] = OrderedDict(
        conv0=nn.Conv2d(in_channels, stem, 7, stride=2, padding=3, bias=bias), norm0=nn.BatchNorm2d(stem),
        relu0=nn.ReLU(), pool0=nn.MaxPool2d(3, stride=2, padding=1))
    channels = stem
    for i, depth in enumerate(depths, start=1):
        block: OrderedDict[str, nn.Module] = OrderedDict()
        for j in range(1, depth + 1):
            block[f"denselayer{j}"] = DenseLayer(channels, growth, 4 * growth if bottleneck else None, bias, dropout)
            channels += growth
        features[f"denseblock{i}"] = nn.Sequential(block)
        if i < len(depths):
            features[f"transition{i}"] = _transition(channels, bias)
            channels //= 2
    features[f"norm{len(depths) + 1}"] = nn.BatchNorm2d(channels)
    return Network({"features": nn.Sequential(features), "relu": nn.ReLU(), "avgpool": nn.AdaptiveAvgPool2d(1),
                    "flatten": nn.Flatten(), "classifier": nn.Linear(channels, num_classes)})


@register((1, 96, 96), source="Zhang et al., Dive into Deep Learning, section 8.7; note 002")
def densenet_d2l(num_classes: int = 10, in_channels: int = 1, *, width: float = 1.0, dropout: float = 0.0) -> Network:
    """DenseNet as the book has it: four blocks of four layers without bottlenecks, convolutions with bias."""
    return _densenet(num_classes, in_channels, (4, 4, 4, 4), width, dropout, bottleneck=False, bias=True)


# name → layers per block, channels of the stem, growth
TORCHVISION = {
    "densenet121": ((6, 12, 24, 16), 64, 32),
    "densenet169": ((6, 12, 32, 32), 64, 32),
    "densenet201": ((6, 12, 48, 32), 64, 32),
    "densenet161": ((6, 12, 36, 24), 96, 48),
}


def _register(name: str) -> None:
    depths, stem, growth = TORCHVISION[name]

    @register((3, 224, 224), source="Huang et al. 2016; torchvision")
    @named(name, f"torchvision's {name}: blocks of {', '.join(map(str, depths))} layers, growth {growth}.")
    def build(num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0, dropout: float = 0.0) -> Network:
        net = _densenet(num_classes, in_channels, depths, width, dropout, stem=stem, growth=growth)
        draw_weights(net, {nn.Conv2d: nn.init.kaiming_normal_})
        nn.init.zeros_(net.classifier.bias)
        return net


for _name in TORCHVISION:
    _register(_name)
