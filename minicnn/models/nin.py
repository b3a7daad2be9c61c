"""Network in network: convolutions followed by 1×1 convolutions, and the mean of a map per class at the end.

Lin, Chen, Yan: Network in network, 2013, https://arxiv.org/abs/1312.4400
"""

from collections.abc import Sequence

from .. import nn
from .network import Network, scaled
from .registry import register


def _block(i: int, in_channels: int, widths: Sequence[int], kernel: int, stride: int = 1,
           padding: int = 0) -> dict[str, nn.Module]:
    """A convolution of kernel×kernel and 1×1 convolutions, of ``widths`` channels, each with ReLU."""
    layers: dict[str, nn.Module] = {}
    for j, width in enumerate(widths, start=1):
        window = (kernel, stride, padding) if j == 1 else (1,)
        layers |= {f"conv{i}_{j}": nn.Conv2d(in_channels, width, *window), f"relu{i}_{j}": nn.ReLU()}
        in_channels = width
    return layers


def _end() -> dict[str, nn.Module]:
    return {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}


@register((1, 224, 224), source="Zhang et al., Dive into Deep Learning, section 8.3; notes 000 and 001")
def nin(num_classes: int = 10, in_channels: int = 1, *, width: float = 1.0, dropout: float = 0.5) -> Network:
    """The book's network in network: four blocks with AlexNet's windows, dropout before the last."""
    layers: dict[str, nn.Module] = {}
    windows = ((96, 11, 4, 0), (256, 5, 1, 2), (384, 3, 1, 1))
    for i, (full, *window) in enumerate(windows, start=1):
        channels = scaled(full, width)
        layers |= _block(i, in_channels, (channels,) * 3, *window) | {f"pool{i}": nn.MaxPool2d(3, stride=2)}
        in_channels = channels
    return Network({**layers, "dropout": nn.Dropout(dropout), **_block(4, in_channels, (num_classes,) * 3, 3, 1, 1),
                    **_end()})


@register((3, 32, 32), source="Lin et al. 2013, its network for CIFAR-10")
def nin_cifar(num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0, dropout: float = 0.5) -> Network:
    """The paper's network in network for CIFAR-10: three blocks, dropout after the pooling between them."""
    a, b, c = (scaled(n, width) for n in (192, 160, 96))
    return Network({
        **_block(1, in_channels, (a, b, c), 5, padding=2),
        "pool1": nn.MaxPool2d(3, stride=2, ceil_mode=True), "dropout1": nn.Dropout(dropout),
        **_block(2, c, (a, a, a), 5, padding=2),
        "pool2": nn.AvgPool2d(3, stride=2, ceil_mode=True), "dropout2": nn.Dropout(dropout),
        **_block(3, a, (a, a, num_classes), 3, padding=1), **_end()})
