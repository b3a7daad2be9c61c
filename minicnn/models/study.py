"""A small network whose parts can be exchanged one by one, for comparisons. minicnn.training.experiments makes them."""

from .. import nn
from .googlenet import Inception, conv_relu
from .network import Network, dropout_layers, scaled
from .registry import register

CHANNELS = (32, 64, 128)
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
KERNELS = {"3x3": 3, "5x5": 5}


@register((3, 32, 32), source="the comparisons of notes 001, 003 and 004")
def study(num_classes: int = 10, in_channels: int = 3, *, block: str = "3x3", activation: str = "relu",
          batch_norm: bool = False, head: str = "linear", width: float = 1.0, dropout: float = 0.0) -> Network:
    """Three blocks, each with pooling, and a head; what these are is chosen.

    Args:
        block: "3x3" or "5x5", a convolution; "inception", the four branches of GoogLeNet with as many channels in all.
        activation: "relu", "tanh" or "sigmoid"; blocks of "inception" have ReLU.
        batch_norm: whether BN stands before each activation; it cannot in blocks of "inception".
        head: "linear", two linear layers; "nin", two 1×1 convolutions and a global average. Dropout is between the two.
    """
    choices = {"block": (block, (*KERNELS, "inception")), "activation": (activation, ACTIVATIONS),
               "head": (head, ("linear", "nin"))}
    for name, (value, known) in choices.items():
        if value not in known:
            raise ValueError(f"{name} {value!r} is unknown; use {', '.join(map(repr, known))}")
    if block == "inception" and (batch_norm or activation != "relu"):
        raise ValueError(f"block 'inception' has ReLU and no batch norm, not activation {activation!r} and batch_norm "
                         f"{batch_norm}")
    layers: dict[str, nn.Module] = {}
    channels = in_channels
    for i, full in enumerate(CHANNELS, start=1):
        maps = scaled(full, width)
        if block == "inception" and i > 1:  # the first block is for edges
            layers[f"inception{i}"] = Inception(channels, _branches(maps), conv_relu, 5)
        else:
            kernel = KERNELS.get(block, 3)
            layers[f"conv{i}"] = nn.Conv2d(channels, maps, kernel, padding=kernel // 2)
            if batch_norm:
                layers[f"bn{i}"] = nn.BatchNorm2d(maps)
            layers[f"act{i}"] = ACTIVATIONS[activation]()
        layers[f"pool{i}"] = nn.MaxPool2d(2)
        channels = maps
    return Network(layers | _head(head, channels, num_classes, ACTIVATIONS[activation](), batch_norm, dropout))


def _branches(channels: int) -> tuple[int, tuple[int, int], tuple[int, int], int]:
    """Inception 3a's shares of the channels: a quarter, a half, an eighth and an eighth."""
    eighth = max(1, channels // 8)
    rest = max(1, channels - 4 * eighth)
    return 2 * eighth, (max(1, 3 * rest // 4), rest), (max(1, eighth // 2), eighth), eighth


def _head(head: str, channels: int, num_classes: int, activation: nn.Module, batch_norm: bool,
          dropout: float) -> dict[str, nn.Module]:
    """From the last maps to the logits."""
    if head == "nin":
        norm = {"bn4": nn.BatchNorm2d(channels)} if batch_norm else {}
        return {"cccp1": nn.Conv2d(channels, channels, 1), **norm, "act4": activation, **dropout_layers(dropout),
                "cccp2": nn.Conv2d(channels, num_classes, 1), "avgpool": nn.AdaptiveAvgPool2d(1),
                "flatten": nn.Flatten()}
    hidden = 4 * channels
    after = {"bn4": nn.BatchNorm1d(hidden)} if batch_norm else {}
    return {"avgpool": nn.AdaptiveAvgPool2d(3), "flatten": nn.Flatten(), "fc1": nn.Linear(9 * channels, hidden),
            **after, "act4": activation, **dropout_layers(dropout), "fc2": nn.Linear(hidden, num_classes)}
