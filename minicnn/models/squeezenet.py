"""SqueezeNet: few 1×1 convolutions before many 1×1 and 3×3, AlexNet's accuracy with a fiftieth of its parameters.

Iandola et al.: SqueezeNet, 2016, https://arxiv.org/abs/1602.07360; version 1.1 is the authors' later, cheaper one.
"""

from .. import nn
from ..engine import Tensor
from ..ops.join import cat
from .network import Network, draw_weights, named, scaled
from .registry import register


class Fire(nn.Module):
    """1×1 convolution to ``squeeze`` channels, then 1×1 and 3×3 side by side to ``expand`` each, all with ReLU."""

    def __init__(self, in_channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeeze, 1)
        self.squeeze_activation = nn.ReLU()
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand1x1_activation = nn.ReLU()
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)
        self.expand3x3_activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze_activation(self.squeeze(x))
        return cat([self.expand1x1_activation(self.expand1x1(x)), self.expand3x3_activation(self.expand3x3(x))], dim=1)


# Channels and side of the first windows; then (squeeze, expand) of the Fire modules and None for pooling
VERSIONS: dict[str, tuple[int, int, tuple[tuple[int, int] | None, ...]]] = {
    "1_0": (96, 7, (None, (16, 64), (16, 64), (32, 128), None, (32, 128), (48, 192), (48, 192), (64, 256), None,
                    (64, 256))),
    "1_1": (64, 3, (None, (16, 64), (16, 64), None, (32, 128), (32, 128), None, (48, 192), (48, 192), (64, 256),
                    (64, 256))),
}


def _register(version: str) -> None:
    stem, kernel, modules = VERSIONS[version]

    @register((3, 224, 224), source="Iandola et al. 2016; torchvision")
    @named(f"squeezenet{version}", f"torchvision's SqueezeNet {version.replace('_', '.')}.")
    def build(num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0, dropout: float = 0.5) -> Network:
        channels = scaled(stem, width)
        features = [nn.Conv2d(in_channels, channels, kernel, stride=2), nn.ReLU()]
        for module in modules:
            if module is None:
                features.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
            else:
                squeeze, expand = (scaled(n, width) for n in module)
                features.append(Fire(channels, squeeze, expand))
                channels = 2 * expand
        last = nn.Conv2d(channels, num_classes, 1)
        net = Network({
            "features": nn.Sequential(*features),
            "classifier": nn.Sequential(nn.Dropout(dropout), last, nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
            "flatten": nn.Flatten()})
        draw_weights(net, {nn.Conv2d: nn.init.kaiming_uniform_})
        nn.init.normal_(last.weight, std=0.01)
        return net


for _version in VERSIONS:
    _register(_version)
