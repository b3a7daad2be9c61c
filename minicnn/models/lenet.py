"""The LeNet family: two convolutions, each followed by pooling, and three linear layers.

LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, Proc. IEEE 86 (1998),
http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf. What is taught as LeNet differs from the paper, and from place to
place, in padding, activation and pooling; each of these readings is a model of its own here.
"""

from .. import nn
from .network import Network
from .registry import register

CHANNELS = (6, 16)
HIDDEN = (120, 84)
ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
POOLS = {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}


def _lenet(num_classes: int, in_channels: int, *, size: int = 28, padding: int = 0, activation: str = "sigmoid",
           pool: str = "avg", batch_norm: bool = False) -> Network:
    """[conv 5×5 – (BN) – activation – pool 2×2] × 2, then linear layers 120 – 84 – classes.

    ``size`` is the side of the input, ``padding`` that of the first convolution.
    """
    layers: dict[str, nn.Module] = {}
    channels, side = in_channels, size
    for i, (width, pad) in enumerate(zip(CHANNELS, (padding, 0), strict=True), start=1):
        layers[f"conv{i}"] = nn.Conv2d(channels, width, 5, padding=pad)
        if batch_norm:
            layers[f"bn{i}"] = nn.BatchNorm2d(width)
        layers[f"act{i}"] = ACTIVATIONS[activation]()
        layers[f"pool{i}"] = POOLS[pool](2)
        channels, side = width, (side + 2 * pad - 4) // 2
    layers["flatten"] = nn.Flatten()
    features = channels * side * side
    for i, width in enumerate(HIDDEN, start=1):
        layers[f"fc{i}"] = nn.Linear(features, width)
        if batch_norm:
            layers[f"bn{i + 2}"] = nn.BatchNorm1d(width)
        layers[f"act{i + 2}"] = ACTIVATIONS[activation]()
        features = width
    layers["fc3"] = nn.Linear(features, num_classes)
    return Network(layers)


@register((1, 28, 28), source="Zhang et al., Dive into Deep Learning, section 7.6; notes 001 and 004")
def lenet(num_classes: int = 10, in_channels: int = 1) -> Network:
    """LeNet as the book teaches it: padding 2, sigmoid, average pooling."""
    return _lenet(num_classes, in_channels, padding=2)


@register((1, 32, 32), source="LeCun et al. 1998, simplified; notes 002 and 003")
def lenet5(num_classes: int = 10, in_channels: int = 1, *, activation: str = "sigmoid") -> Network:
    """LeNet-5 on 32×32 images without padding, average pooling; activation "sigmoid" or "tanh"."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"lenet5: activation {activation!r} is unknown; use {' or '.join(map(repr, ACTIVATIONS))}")
    return _lenet(num_classes, in_channels, size=32, activation=activation)


@register((1, 28, 28), source="note 003, its Keras model")
def lenet_tanh(num_classes: int = 10, in_channels: int = 1) -> Network:
    """LeNet with "same" padding in the first convolution, tanh and max pooling."""
    return _lenet(num_classes, in_channels, padding=2, activation="tanh", pool="max")


@register((1, 28, 28), source="Dive into Deep Learning, first edition in PyTorch; note 000")
def lenet_maxpool(num_classes: int = 10, in_channels: int = 1) -> Network:
    """LeNet without padding, sigmoid, max pooling."""
    return _lenet(num_classes, in_channels, pool="max")


@register((1, 28, 28), source="Dive into Deep Learning, section 8.5; note 001")
def lenet_bn(num_classes: int = 10, in_channels: int = 1) -> Network:
    """LeNet without padding, batch normalisation before every sigmoid, average pooling."""
    return _lenet(num_classes, in_channels, batch_norm=True)


@register((1, 28, 28), source="note 002, the script that it calls LeNet")
def cnn2(num_classes: int = 10, in_channels: int = 1, *, softmax: bool = False) -> Network:
    """Two 5×5 convolutions of 32 and 64 channels, ReLU, max pooling, a linear layer of 1000 with dropout.

    Dropout stands before the ReLU, as in the script; since it only scales by a positive number or sets to 0, the order
    makes no difference. ``softmax=True`` adds the script's softmax: followed by the cross entropy, which has its own,
    the loss for 10 classes cannot fall below ln(1 + 9/e) = 1.461.
    """
    layers: dict[str, nn.Module] = {}
    channels = in_channels
    for i, width in enumerate((32, 64), start=1):
        layers[f"conv{i}"] = nn.Conv2d(channels, width, 5, padding=2)
        layers |= {f"act{i}": nn.ReLU(), f"pool{i}": nn.MaxPool2d(2)}
        channels = width
    layers |= {"flatten": nn.Flatten(), "fc1": nn.Linear(64 * 7 * 7, 1000), "dropout": nn.Dropout(0.5),
               "act3": nn.ReLU(), "fc2": nn.Linear(1000, num_classes)}
    if softmax:
        layers["softmax"] = nn.Softmax(dim=1)
    return Network(layers)
