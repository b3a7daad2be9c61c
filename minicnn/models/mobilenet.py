"""MobileNet v2: convolutions within each channel between 1×1 convolutions, and shortcuts between the narrow ends.

Sandler, Howard, Zhu, Zhmoginov, Chen: MobileNetV2: Inverted residuals and linear bottlenecks, 2018,
https://arxiv.org/abs/1801.04381
"""

from .. import nn
from ..engine import Tensor
from .network import Network, draw_weights, he_normal
from .registry import register

# The paper's table 2: expansion, channels, blocks, stride of the first
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution that keeps the size (up to the stride), BN, ReLU6."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels), nn.ReLU6())


class InvertedResidual(nn.Module):
    """1×1 convolution to ``expansion`` times the channels, 3×3 within each channel, 1×1 without activation.

    Where the shape stays the same, x is added.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = in_channels * expansion
        expand = [_conv(in_channels, wide, 1)] if expansion > 1 else []
        self.conv = nn.Sequential(*expand, _conv(wide, wide, 3, stride, groups=wide),
                                  nn.Conv2d(wide, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


@register((3, 224, 224), source="Sandler et al. 2018; torchvision")
def mobilenet_v2(num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0, dropout: float = 0.2) -> Network:
    """torchvision's MobileNet v2; width scales all channels, in steps of 8."""

    def rounded(channels: int, factor: float) -> int:
        """The nearest multiple of 8, one more where that would take away over a tenth."""
        nearest = max(8, int(channels * factor + 4) // 8 * 8)
        return nearest + 8 if nearest < 0.9 * channels * factor else nearest

    channels = rounded(32, width)
    features: list[nn.Module] = [_conv(in_channels, channels, 3, stride=2)]
    for expansion, base, depth, stride in STAGES:
        for i in range(depth):
            out = rounded(base, width)
            features.append(InvertedResidual(channels, out, stride if i == 0 else 1, expansion))
            channels = out
    last = rounded(1280, max(1.0, width))
    features.append(_conv(channels, last, 1))
    net = Network({"features": nn.Sequential(*features), "avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(),
                   "classifier": nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))})
    draw_weights(net, {nn.Conv2d: he_normal, nn.Linear: lambda weight: nn.init.normal_(weight, std=0.01)})
    return net
