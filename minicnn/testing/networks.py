"""Small networks as cases: convolution, normalisation, activation, pooling, linear and softmax, whichever fit."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import functional
from ..engine import Tensor, no_grad
from .case import Case
from .choices import Choices, per_axis
from .values import normal, positive, spaced

LEAST = 6  # values to normalise: of two, nothing is left but which is larger
MARGIN = 0.01  # how far what a relu sees stays from 0, and the largest of a window from the next


@dataclass(frozen=True)
class Layer:
    """A function by its name, the keywords that its parameters have, and its options."""

    name: str
    parameters: tuple[str, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()

    def over(self, library: Any, x: Any, parameters: tuple[Any, ...]) -> Any:
        """What the layer makes of x."""
        if self.name == "flatten":
            return x.flatten(1)
        return getattr(library, self.name)(x, **dict(zip(self.parameters, parameters, strict=True)),
                                           **dict(self.options))


@dataclass(frozen=True)
class Network:
    """Layers in a row, called with x and the parameters of all of them."""

    layers: tuple[Layer, ...]

    def over(self, library: Any) -> Callable:
        """The network as a function, of minicnn.functional or torch.nn.functional."""
        def network(x: Any, *parameters: Any) -> Any:
            for layer in self.layers:
                count = len(layer.parameters)
                x, parameters = layer.over(library, x, parameters[:count]), parameters[count:]
            return x

        return network

    def __str__(self) -> str:
        return "network of " + ", ".join(layer.name for layer in self.layers)


def network(choices: Choices) -> Case:
    """A network of one or two convolutional blocks and a linear layer, whose outputs are log-probabilities."""
    made = _Made(choices, spaced(choices, (choices.integer(2, 3), choices.integer(1, 2), *per_axis(choices, 2, 3, 5))))
    for _ in range(choices.integer(1, 2)):
        made.block()
    made.add(Layer("flatten"))
    made.linear(choices.integer(2, 3))
    made.add(Layer("log_softmax", (), (("dim", 1),)))
    return Case(Network(tuple(made.layers)), tuple(made.arrays))


class _Made:
    """The network so far, and what comes out of it."""

    def __init__(self, choices: Choices, x: np.ndarray) -> None:
        self.choices, self.arrays, self.layers, self.x = choices, [x], list[Layer](), x

    def add(self, layer: Layer, *parameters: np.ndarray) -> None:
        """One more layer."""
        self.layers.append(layer)
        self.arrays += parameters
        self.x = self._after(layer, *parameters)

    def _after(self, layer: Layer, *parameters: np.ndarray) -> np.ndarray:
        with no_grad():
            return layer.over(functional, Tensor(self.x), tuple(map(Tensor, parameters))).data

    def block(self) -> None:
        """A convolution, perhaps batch norm, an activation, perhaps pooling."""
        c, o = self.x.shape[1], self.choices.integer(1, 3)
        kernel = [self.choices.integer(1, min(2, n)) for n in self.x.shape[2:]]
        options = ("stride", self.choices.integer(1, 2)), ("padding", self.choices.integer(0, 1))
        w = self._scaled(Layer("conv2d", ("weight",), options), normal(self.choices, (o, c, *kernel), 0.7))
        activation = self.choices.option(("relu", "tanh", "gelu", "sigmoid"))
        y = self._after(Layer("conv2d", ("weight",), options), w)
        if y.size // o >= LEAST and self.choices.option((False, True)):
            self.add(Layer("conv2d", ("weight",), options), w)  # a bias would have a gradient of 0
            norm = Layer("batch_norm", ("weight", "bias"), (("running_mean", None), ("running_var", None),
                                                            ("training", True), ("eps", 0.1)))
            scale = positive(self.choices, (o,))
            self.add(norm, scale, self._bias(norm, activation, scale))
        else:
            convolution = Layer("conv2d", ("weight", "bias"), options)
            self.add(convolution, w, self._bias(convolution, activation, w))
        self.add(Layer(activation))
        if min(self.x.shape[2:]) >= 2 and self.choices.option((True, False)):
            self.add(Layer(f"{'max' if self._clear() else 'avg'}_pool2d", (), (("kernel_size", 2), ("stride", 1))))

    def linear(self, outputs: int) -> None:
        """A linear layer."""
        w = self._scaled(Layer("linear", ("weight",)), normal(self.choices, (outputs, self.x.shape[1]), 0.5))
        self.add(Layer("linear", ("weight", "bias")), w, normal(self.choices, (outputs,)))

    def _scaled(self, layer: Layer, weight: np.ndarray) -> np.ndarray:
        """The weight with which what comes out spreads as it should, lest a gradient vanish (Mishkin & Matas 2016)."""
        spread = self._after(layer, weight).std()
        return weight / spread if spread > MARGIN else weight

    def _bias(self, layer: Layer, activation: str, weight: np.ndarray) -> np.ndarray:
        """A bias that all but centres each channel, lest the activation be flat for the whole of it; before a relu one
        that puts 0 into the widest gap of what the channel holds, or below it.
        """
        count = weight.shape[0]
        y = np.sort(np.moveaxis(self._after(layer, weight, np.zeros(count)), 1, 0).reshape(count, -1))
        if activation != "relu":
            return normal(self.choices, (count,), 0.5) - y.mean(1)
        y = np.concatenate([y[:, :1] - 10 * MARGIN, y], 1)  # the gap below
        gap = np.diff(y).argmax(1)
        return -(y[np.arange(count), gap] + y[np.arange(count), gap + 1]) / 2

    def _clear(self) -> bool:
        """Whether no two elements of a window of 2×2 that could be its maximum are near each other."""
        windows = np.lib.stride_tricks.sliding_window_view(self.x, (2, 2), (2, 3))
        best = np.sort(windows.reshape(*windows.shape[:4], 4))
        return bool((best[..., 3] - best[..., 2]).min() > MARGIN)
