"""Network: a chain of named layers that explains itself when an image does not fit; and what the families share."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..nn import Conv2d, Dropout, Linear, Module, Sequential, init
from ..engine import Tensor
from .shapes import Chain, explain_misfit, flat


@dataclass(frozen=True)
class Spec:
    """What a model was created from: enough to create it again, but for its weights. It stands in ``model.spec``."""

    name: str
    num_classes: int
    in_channels: int
    options: dict[str, Any] = field(default_factory=dict)


class Network(Sequential):
    """Layers applied one after the other, x (N, C, H, W) → logits (N, classes); a layer can be a block with branches.

    Args:
        layers: the layers by name, in order; the names are the keys of ``state_dict``.
    """

    spec: Spec | None = None  # what models.create made it from

    def __init__(self, layers: dict[str, Module]) -> None:
        super().__init__(OrderedDict(layers))

    def chain(self) -> Iterator[tuple[str, Module]]:
        """The layers from the image to the logits, with their names."""
        return self.named_children()

    def paths(self) -> list[Chain]:
        """All that an image goes through: the chain, and the ways to other outputs, if there are any."""
        return [list(self.chain())]

    def forward(self, x: Tensor) -> Any:
        try:
            return self.run(x)
        except (ValueError, RuntimeError):
            self.check_input(x.shape)  # only after a failure, so that it costs nothing otherwise
            raise

    def run(self, x: Tensor) -> Any:
        """What ``forward`` returns, without an explanation for images that do not fit."""
        return super().forward(x)

    def check_input(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError, with the chain of shapes and what would fit, if images of this (N, C, H, W) do not."""
        explanation = explain_misfit(self, [flat(path) for path in self.paths()], shape)
        if explanation is not None:
            raise ValueError(f"{self.spec.name if self.spec else 'network'}: {explanation}")


# -- auxiliary heads ------------------------------------------------------------------------------------------------


class Outputs(tuple):
    """(logits, logits of each auxiliary head), what a network with such heads returns in training."""

    weight: float  # of the loss of each head
    logits: Tensor

    def loss(self, criterion: Callable[[Tensor], Tensor]) -> Tensor:
        """criterion(logits) + weight·Σ criterion(logits of a head)."""
        main, *heads = map(criterion, self)
        for head in heads:
            main = main + self.weight * head
        return main


class HeadedNetwork(Network):
    """A network in which more classifiers read layers half way; in training it returns Outputs, else logits alone.

    Args:
        layers: as for Network.
        heads: which of them is no part of the chain but a head: its name by that of the layer whose output it reads.
        outputs: makes what is returned of the logits and those of the heads, the last head first.
    """

    def __init__(self, layers: dict[str, Module], heads: dict[str, str], outputs: Callable[..., Outputs]) -> None:
        super().__init__(layers)
        self.heads, self.outputs = heads, outputs

    def chain(self) -> Iterator[tuple[str, Module]]:
        return ((name, layer) for name, layer in self.named_children() if name not in self.heads.values())

    def paths(self) -> list[Chain]:
        chain = list(self.chain())
        if not self.training:
            return [chain]
        ends = [(i, self.heads[name]) for i, (name, _) in enumerate(chain, start=1) if name in self.heads]
        return [chain, *([*chain[:i], (head, getattr(self, head))] for i, head in ends)]

    def run(self, x: Tensor) -> Tensor | Outputs:
        read = []
        for name, layer in self.chain():
            x = layer(x)
            if self.training and name in self.heads:
                read.append(getattr(self, self.heads[name])(x))
        return self.outputs(x, *reversed(read)) if read else x


# -- what the files of the families share ---------------------------------------------------------------------------


def scaled(channels: int, width: float) -> int:
    """``width`` times as many channels, to the nearest whole number."""
    result = round(channels * width)
    if result < 1:
        raise ValueError(f"width = {width:g} leaves nothing of {channels} channels")
    return result


def dropout_layers(p: float, name: str = "dropout") -> dict[str, Module]:
    """A dropout layer by its name; none where nothing is to be dropped."""
    return {name: Dropout(p)} if p else {}


def named(name: str, description: str) -> Callable[[Callable], Callable]:
    """A function that is made in a loop over variants gets the name and description that it is registered with."""

    def name_it(build: Callable) -> Callable:
        build.__name__, build.__doc__ = name, description
        return build

    return name_it


def draw_weights(net: Module, weights: dict[type[Module], Callable[[Tensor], Any]]) -> None:
    """New weights, by the function of its type, and a bias of 0 for every layer of one of these types."""
    for layer in net.modules():
        draw = weights.get(type(layer))
        if draw is not None:
            draw(layer.weight)
            if layer.bias is not None:
                init.zeros_(layer.bias)


def he_normal(weight: Tensor) -> None:
    """Normal with variance 2/fan_out, which keeps the variance of gradients through ReLU. He et al. 2015."""
    init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")


# -- initial weights on demand --------------------------------------------------------------------------------------

INITS: dict[str, Callable[[Tensor], Any]] = {
    "xavier": init.xavier_uniform_,
    "kaiming": lambda weight: init.kaiming_uniform_(weight, nonlinearity="relu"),
}


def initialise(net: Module, how: str) -> None:
    """Give every convolution and linear layer uniform weights, Glorot's (xavier) or He's (kaiming), and biases of 0.

    ``default`` leaves what the layers began with.

    Raises:
        ValueError: how is none of the three.
    """
    if how == "default":
        return
    if how not in INITS:
        raise ValueError(f"init = {how!r} must be one of 'default', {', '.join(map(repr, INITS))}")
    for layer in net.modules():
        if isinstance(layer, (Conv2d, Linear)):
            INITS[how](layer.weight)
            if layer.bias is not None:
                init.zeros_(layer.bias)
