"""The LeNet family: two convolutions, each followed by pooling, and three linear layers.

LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, Proc. IEEE 86 (1998),
http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf. What is taught as LeNet differs from the paper, and from place to
place, in padding, activation and pooling; each of these readings is a model of its own here.
"""

from collections.abc import Sequence

import numpy as np

from .. import functional as F
from .. import nn
from ..engine import Tensor
from ..ops.creation import randint, tensor
from ..ops.index import Axes, Index
from .network import Network, dropout_layers, scaled
from .registry import register

CHANNELS = (6, 16)
HIDDEN = (120, 84)
ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
POOLS = {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}


def _lenet(num_classes: int, in_channels: int, width: float, dropout: float, *, size: int = 28, padding: int = 0,
           activation: str = "sigmoid", pool: str = "avg", batch_norm: bool = False) -> Network:
    """[conv 5×5 – (BN) – activation – pool 2×2] × 2, then linear layers 120 – 84 – classes, dropout between them.

    ``size`` is the side of the input, ``padding`` that of the first convolution; ``width`` multiplies all channels and
    hidden units.
    """
    layers: dict[str, nn.Module] = {}
    channels, side = in_channels, size
    for i, (full, pad) in enumerate(zip(CHANNELS, (padding, 0), strict=True), start=1):
        maps = scaled(full, width)
        layers[f"conv{i}"] = nn.Conv2d(channels, maps, 5, padding=pad)
        if batch_norm:
            layers[f"bn{i}"] = nn.BatchNorm2d(maps)
        layers[f"act{i}"] = ACTIVATIONS[activation]()
        layers[f"pool{i}"] = POOLS[pool](2)
        channels, side = maps, (side + 2 * pad - 4) // 2
    layers["flatten"] = nn.Flatten()
    features = channels * side * side
    for i, full in enumerate(HIDDEN, start=1):
        hidden = scaled(full, width)
        layers[f"fc{i}"] = nn.Linear(features, hidden)
        if batch_norm:
            layers[f"bn{i + 2}"] = nn.BatchNorm1d(hidden)
        layers |= {f"act{i + 2}": ACTIVATIONS[activation](), **dropout_layers(dropout, f"dropout{i}")}
        features = hidden
    layers["fc3"] = nn.Linear(features, num_classes)
    return Network(layers)


@register((1, 28, 28), source="Zhang et al., Dive into Deep Learning, section 7.6; notes 001 and 004")
def lenet(num_classes: int = 10, in_channels: int = 1, *, width: float = 1.0, dropout: float = 0.0) -> Network:
    """LeNet as the book teaches it: padding 2, sigmoid, average pooling."""
    return _lenet(num_classes, in_channels, width, dropout, padding=2)


@register((1, 32, 32), source="LeCun et al. 1998, simplified; notes 002 and 003")
def lenet5(num_classes: int = 10, in_channels: int = 1, *, activation: str = "sigmoid", width: float = 1.0,
           dropout: float = 0.0) -> Network:
    """LeNet-5 on 32×32 images without padding, average pooling; activation "sigmoid" or "tanh"."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation {activation!r} is unknown; use {' or '.join(map(repr, ACTIVATIONS))}")
    return _lenet(num_classes, in_channels, width, dropout, size=32, activation=activation)


@register((1, 28, 28), source="note 003, its Keras model")
def lenet_tanh(num_classes: int = 10, in_channels: int = 1, *, width: float = 1.0, dropout: float = 0.0) -> Network:
    """LeNet with "same" padding in the first convolution, tanh and max pooling."""
    return _lenet(num_classes, in_channels, width, dropout, padding=2, activation="tanh", pool="max")


@register((1, 28, 28), source="Dive into Deep Learning, first edition in PyTorch; note 000")
def lenet_maxpool(num_classes: int = 10, in_channels: int = 1, *, width: float = 1.0, dropout: float = 0.0) -> Network:
    """LeNet without padding, sigmoid, max pooling."""
    return _lenet(num_classes, in_channels, width, dropout, pool="max")


@register((1, 28, 28), source="Dive into Deep Learning, section 8.5; note 001")
def lenet_bn(num_classes: int = 10, in_channels: int = 1, *, width: float = 1.0, dropout: float = 0.0) -> Network:
    """LeNet without padding, batch normalisation before every sigmoid, average pooling."""
    return _lenet(num_classes, in_channels, width, dropout, batch_norm=True)


@register((1, 28, 28), source="note 002, the script that it calls LeNet")
def cnn2(num_classes: int = 10, in_channels: int = 1, *, softmax: bool = False, width: float = 1.0,
         dropout: float = 0.5) -> Network:
    """Two 5×5 convolutions of 32 and 64 channels, ReLU, max pooling, a linear layer of 1000 with dropout.

    Dropout stands before the ReLU, as in the script; since it only scales by a positive number or sets to 0, the order
    makes no difference. ``softmax=True`` adds the script's softmax: followed by the cross entropy, which has its own,
    the loss for 10 classes cannot fall below ln(1 + 9/e) = 1.461.
    """
    layers: dict[str, nn.Module] = {}
    channels = in_channels
    for i, full in enumerate((32, 64), start=1):
        maps = scaled(full, width)
        layers |= {f"conv{i}": nn.Conv2d(channels, maps, 5, padding=2), f"act{i}": nn.ReLU(),
                   f"pool{i}": nn.MaxPool2d(2)}
        channels = maps
    hidden = scaled(1000, width)
    layers |= {"flatten": nn.Flatten(), "fc1": nn.Linear(channels * 7 * 7, hidden), "dropout": nn.Dropout(dropout),
               "act3": nn.ReLU(), "fc2": nn.Linear(hidden, num_classes)}
    if softmax:
        layers["softmax"] = nn.Softmax(dim=1)
    return Network(layers)


# -- the paper's network --------------------------------------------------------------------------------------------

# Table I: the maps of S2 that each map of C3 reads. Different inputs force the maps to look for different things.
TABLE = ((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (4, 5, 0), (5, 0, 1), (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5),
         (3, 4, 5, 0), (4, 5, 0, 1), (5, 0, 1, 2), (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5))

# Targets of the 84 units before the output, +1 for ink: images of 7×12 in the manner of the paper's figure 3
DIGITS = """
    ..###.. ...##.. .#####. ####### ....##. ####### ..####. ####### .#####. .#####.
    .##.##. ..###.. ##...## .....## ...###. ##..... .##.... ##...## ##...## ##...##
    ##...## .####.. .....## ....##. ..####. ##..... ##..... .....## ##...## ##...##
    ##...## ...##.. .....## ...##.. .##.##. ##..... ##..... ....##. ##...## ##...##
    ##...## ...##.. ....##. ..####. ##..##. ######. ######. ....##. .#####. ##...##
    ##...## ...##.. ...##.. .....## ##..##. .....## ##...## ...##.. ##...## .######
    ##...## ...##.. ..##... .....## ####### .....## ##...## ...##.. ##...## .....##
    ##...## ...##.. .##.... .....## ....##. .....## ##...## ..##... ##...## .....##
    .##.##. ...##.. ##..... ##...## ....##. ##...## ##...## ..##... ##...## ....##.
    ..###.. .###### ####### .#####. ....##. .#####. .#####. ..##... .#####. .####..
    ....... ....... ....... ....... ....... ....... ....... ....... ....... .......
    ....... ....... ....... ....... ....... ....... ....... ....... ....... ......."""


class ScaledTanh(nn.Module):
    """1.7159·tanh(2x/3), which is ±1 at ±1, where it bends most, and so has room for targets of ±1."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * F.tanh(x * (2 / 3))


class Subsampling(nn.AvgPool2d):
    """Sum over each 2×2 window, times a trainable coefficient, plus a bias, both of the map."""

    def __init__(self, channels: int) -> None:
        super().__init__(2, divisor_override=1)
        self.weight = nn.Parameter(np.ones((channels, 1, 1), np.float32))
        self.bias = nn.Parameter(np.zeros((channels, 1, 1), np.float32))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.weight + self.bias


class TableConv2d(nn.Conv2d):
    """Convolution in which output map i reads the input maps table[i] alone.

    weight is (connections, 1, K, K), one kernel per entry of the table in its order, bias (len(table)).
    """

    def __init__(self, table: Sequence[Sequence[int]], in_channels: int, kernel_size: int) -> None:
        self.table = table
        super().__init__(in_channels, len(table), kernel_size)
        connections = sum(map(len, table))
        index = np.full((len(table), in_channels), connections)  # which kernel; the last one is zero
        index[np.repeat(np.arange(len(table)), list(map(len, table))), np.concatenate(table)] = np.arange(connections)
        self.register_buffer("index", tensor(index), persistent=False)

    def weight_shape(self) -> tuple[int, ...]:
        return (sum(map(len, self.table)), 1, *self.kernel_size)

    def reset_parameters(self) -> None:
        """Draw new values, uniform within ±2.4/fan-in of the output map."""
        maps = [len(inputs) for inputs in self.table]
        fan_in = np.array(maps) * self.kernel_size[0] * self.kernel_size[1]
        for p, fan in ((self.weight, np.repeat(fan_in, maps)[:, None, None, None]), (self.bias, fan_in)):
            nn.init.uniform_(p, -2.4, 2.4)
            p.data /= fan

    def forward(self, x: Tensor) -> Tensor:
        kernels = F.pad(self.weight[:, 0], (0, 0, 0, 0, 0, 1))  # (connections + 1, K, K)
        # index (out, in): kernels[index] (out, in, K, K), without a check of the index, for which a GPU would wait
        return F.conv2d(x, Index(Axes((True,)))(kernels, self.index), self.bias)


class RadialBasis(nn.Module):
    """−‖x − code‖² for the code of each class, (N, 84) → (N, classes); as logits these make cross_entropy eq. 9.

    Classes beyond the ten digits have random codes of ±1, which the paper names as the alternative to images.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        rows = [row.split() for row in DIGITS.split("\n") if row]
        images = np.array([[[pixel == "#" for pixel in image] for image in row] for row in rows])  # (12, 10, 7)
        digits = np.where(images.transpose(1, 0, 2).reshape(10, 84), 1, -1)
        others = 2 * randint(0, 2, (max(0, num_classes - 10), 84)).numpy() - 1
        codes = np.concatenate([digits, others])[:num_classes].astype(np.float32)
        self.register_buffer("codes", tensor(codes))

    def forward(self, x: Tensor) -> Tensor:
        return -((x.unsqueeze(1) - self.codes) ** 2).sum(2)


@register((1, 32, 32), source="LeCun et al. 1998, section II.B")
def lenet5_1998(num_classes: int = 10, in_channels: int = 1, *, width: float = 1.0, dropout: float = 0.0) -> Network:
    """LeNet-5 of the paper: C3 by its table, trainable subsampling, scaled tanh, radial basis functions as output.

    The weights begin uniform within ±2.4/fan-in. The paper's images have levels of −0.1 (paper) to 1.175 (ink).
    ``width`` must be a whole number: so many times there are all maps, each set connected by the table. The 84 units
    before the output are those of the codes' images.
    """
    if width < 1 or width != int(width):
        raise ValueError(f"width = {width:g} must be a whole number from 1 on, so many sets of maps that the paper's "
                         "table connects; lenet5 can have any width")
    sets, (maps, more), features = int(width), CHANNELS, scaled(HIDDEN[0], width)
    table = [[maps * i + j for j in inputs] for i in range(sets) for inputs in TABLE]
    net = Network({
        "c1": nn.Conv2d(in_channels, sets * maps, 5), "act1": ScaledTanh(), "s2": Subsampling(sets * maps),
        "act2": ScaledTanh(), "c3": TableConv2d(table, sets * maps, 5), "act3": ScaledTanh(),
        "s4": Subsampling(sets * more), "act4": ScaledTanh(), "c5": nn.Conv2d(sets * more, features, 5),
        "act5": ScaledTanh(), "flatten": nn.Flatten(), **dropout_layers(dropout), "f6": nn.Linear(features, HIDDEN[1]),
        "act6": ScaledTanh(), "output": RadialBasis(num_classes)})
    for name, fan_in in (("c1", in_channels * 25), ("s2", 4), ("s4", 4), ("c5", sets * more * 25), ("f6", features)):
        for p in net.get_submodule(name).parameters():
            nn.init.uniform_(p, -2.4 / fan_in, 2.4 / fan_in)
    return net
