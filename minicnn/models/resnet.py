"""The ResNet family: blocks of convolutions, each with a shortcut around it.

He, Zhang, Ren, Sun: Deep residual learning for image recognition, 2015, https://arxiv.org/abs/1512.03385
Xie et al.: Aggregated residual transformations (ResNeXt), 2016, https://arxiv.org/abs/1611.05431
Zagoruyko, Komodakis: Wide residual networks, 2016, https://arxiv.org/abs/1605.07146

torchvision's stride is in the 3×3 convolution of a bottleneck, the paper's in its first 1×1.
"""

from collections.abc import Callable, Sequence
from typing import Any

from .. import functional as F
from .. import nn
from ..engine import Tensor
from ..nn.fusion import run
from .network import Network, draw_weights, dropout_layers, he_normal, named, scaled
from .registry import register

Shortcut = Callable[[int, int, int], nn.Module | None]  # (in_channels, out_channels, stride) → None where x fits as is


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1,
          bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=bias)


# -- shortcuts ------------------------------------------------------------------------------------------------------


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """Option B of the paper: 1×1 convolution and BN where the shape changes."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(_conv(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))


def book_projection(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """The book's: a 1×1 convolution with bias and without BN where the shape changes."""
    if stride == 1 and in_channels == out_channels:
        return None
    return _conv(in_channels, out_channels, 1, stride, bias=True)


def padding(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """Option A of the paper: no parameters."""
    return None if stride == 1 and in_channels == out_channels else PaddedShortcut(out_channels - in_channels, stride)


class PaddedShortcut(nn.Module):
    """Every stride-th pixel, (N, C, H, W) → (N, C + channels, ⌈H/stride⌉, ⌈W/stride⌉); the new channels are 0."""

    _shown = ("channels", "stride")

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, 0, self.channels))


# -- blocks ---------------------------------------------------------------------------------------------------------


class BasicBlock(nn.Module):
    """relu(BN(3×3(relu(BN(3×3(x))))) + shortcut(x)); with residual=False the same without a shortcut."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: Shortcut, *, bias: bool = False,
                 residual: bool = True) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, channels, 3, stride, bias=bias)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv2 = _conv(channels, channels, 3, bias=bias)
        self.bn2 = nn.BatchNorm2d(channels)
        self.residual = residual
        self.downsample = shortcut(in_channels, channels, stride) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        layers = self.conv1, self.bn1, self.relu, self.conv2, self.bn2
        if not self.residual:
            return run((*layers, self.relu), x)
        return self.relu(run(layers, x) + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """relu(BN(1×1(relu(BN(3×3(relu(BN(1×1(x))))))) + shortcut(x)), of four times the channels it is named by.

    The 3×3 convolution has ``groups`` groups of channels·width_per_group/64 channels.
    """

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: Shortcut, *, groups: int = 1,
                 width_per_group: int = 64) -> None:
        super().__init__()
        width, out_channels = scaled(width_per_group, channels / 64) * groups, channels * self.expansion
        self.conv1 = _conv(in_channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride, groups)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.downsample = shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = run((self.conv1, self.bn1, self.relu, self.conv2, self.bn2, self.relu, self.conv3, self.bn3), x)
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


# -- networks -------------------------------------------------------------------------------------------------------


def _resnet(num_classes: int, stem: dict[str, nn.Module], block: type[BasicBlock] | type[Bottleneck],
            depths: Sequence[int], first: int, shortcut: Shortcut, dropout: float, **options: Any) -> Network:
    """A stem, stages of ``depths`` blocks, global average pooling, a linear layer.

    Each stage but the first begins with stride 2 and has twice the channels of the one before; the first has ``first``,
    as many as the stem puts out. ``options`` are the block's.
    """
    layers, channels = dict(stem), first
    for stage, depth in enumerate(depths):
        blocks = []
        for i in range(depth):
            stride = 2 if stage > 0 and i == 0 else 1
            blocks.append(block(channels, first << stage, stride, shortcut, **options))
            channels = (first << stage) * block.expansion
        layers[f"layer{stage + 1}"] = nn.Sequential(*blocks)
    return Network({**layers, "avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), **dropout_layers(dropout),
                    "fc": nn.Linear(channels, num_classes)})


def _stem(in_channels: int, channels: int, bias: bool = False) -> dict[str, nn.Module]:
    """For photographs: a quarter of the height and width."""
    return {"conv1": _conv(in_channels, channels, 7, stride=2, bias=bias), "bn1": nn.BatchNorm2d(channels),
            "relu": nn.ReLU(), "maxpool": nn.MaxPool2d(3, stride=2, padding=1)}


@register((1, 224, 224), source="Zhang et al., Dive into Deep Learning, section 8.6; note 001")
def resnet18_d2l(num_classes: int = 10, in_channels: int = 1, *, width: float = 1.0, dropout: float = 0.0) -> Network:
    """ResNet-18 as the book has it: convolutions with bias, shortcuts without BN; made for 224×224 or 96×96."""
    first = scaled(64, width)
    return _resnet(num_classes, _stem(in_channels, first, bias=True), BasicBlock, (2, 2, 2, 2), first, book_projection,
                   dropout, bias=True)


# name → block, blocks per stage, options of the block
IMAGENET: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...], dict[str, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2), {}),
    "resnet34": (BasicBlock, (3, 4, 6, 3), {}),
    "resnet50": (Bottleneck, (3, 4, 6, 3), {}),
    "resnet101": (Bottleneck, (3, 4, 23, 3), {}),
    "resnet152": (Bottleneck, (3, 8, 36, 3), {}),
    "resnext50_32x4d": (Bottleneck, (3, 4, 6, 3), {"groups": 32, "width_per_group": 4}),
    "wide_resnet50_2": (Bottleneck, (3, 4, 6, 3), {"width_per_group": 128}),
}
DEPTHS = (20, 32, 44, 56, 110)


def _register_imagenet(name: str) -> None:
    block, depths, options = IMAGENET[name]
    widths = "".join(f", {key.replace('_', ' ')} {value}" for key, value in options.items())

    @register((3, 224, 224), source="He et al. 2015; torchvision")
    @named(name, f"torchvision's {name}: stages of {', '.join(map(str, depths))} {block.__name__}s{widths}.")
    def build(num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0, dropout: float = 0.0) -> Network:
        first = scaled(64, width)
        net = _resnet(num_classes, _stem(in_channels, first), block, depths, first, projection, dropout, **options)
        draw_weights(net, {nn.Conv2d: he_normal})
        return net


def _register_cifar(depth: int, residual: bool) -> None:
    blocks = (depth - 2) // 6  # of two convolutions, in each of three stages
    what = "shortcuts without parameters" if residual else "no shortcuts"

    @register((3, 32, 32), source="He et al. 2015, section 4.2")
    @named(f"{'resnet' if residual else 'plain'}{depth}", f"The paper's {depth} layers for CIFAR-10, {what}.")
    def build(num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0, dropout: float = 0.0) -> Network:
        first = scaled(16, width)
        stem = {"conv1": _conv(in_channels, first, 3), "bn1": nn.BatchNorm2d(first), "relu": nn.ReLU()}
        net = _resnet(num_classes, stem, BasicBlock, (blocks,) * 3, first, padding, dropout, residual=residual)
        draw_weights(net, {nn.Conv2d: he_normal})
        return net


for _name in IMAGENET:
    _register_imagenet(_name)
for _depth in DEPTHS:
    _register_cifar(_depth, residual=True)
    _register_cifar(_depth, residual=False)
