"""Mistakes in the backward of activations and dropout: masks, kinks, and derivatives taken at the wrong place."""

import math

import numpy as np

from .mistake import Mistake, collector

MISTAKES: list[Mistake] = []
relu = collector("Relu", MISTAKES)
leaky_relu = collector("LeakyRelu", MISTAKES)
elu = collector("Elu", MISTAKES)
sigmoid = collector("Sigmoid", MISTAKES)
tanh = collector("Tanh", MISTAKES)
silu = collector("Silu", MISTAKES)
gelu = collector("Gelu", MISTAKES)
square = collector("Square", MISTAKES)
dropout = collector("Dropout", MISTAKES)


@relu(0, "gradient of 1 at zero", "at x = 0 the gradient of relu is 0, as in PyTorch: x > 0, not x >= 0")
def _(use, gx):
    return np.where(use.inputs[0] >= 0, use.gy, 0)


@relu(0, "mask of the gradient", "the mask is that of x > 0, not of gy > 0")
def _(use, gx):
    return np.maximum(use.gy, 0)


@relu(0, "mask forgotten", "where x < 0 nothing passes, and no gradient either")
def _(use, gx):
    return use.gy


@relu(0, "activation in the place of its derivative", "the derivative of relu is 1 where x > 0, not x")
def _(use, gx):
    return use.gy * np.maximum(use.inputs[0], 0)


@leaky_relu(0, "slope forgotten", "below 0 the gradient is slope·gy, not 0")
def _(use, gx):
    return np.where(use.inputs[0] > 0, use.gy, 0)


@elu(0, "exponential forgotten", "below 0 the gradient of elu is alpha·eˣ, not alpha")
def _(use, gx):
    alpha, scale, rate = use.node.parameters
    return use.gy * np.where(use.inputs[0] > 0, scale, scale * alpha * rate)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(x / 2))


@sigmoid(0, "sigmoid's derivative at x instead of y", "y·(1 − y) has y = σ(x) in it, not x")
def _(use, gx):
    return use.gy * use.inputs[0] * (1 - use.inputs[0])


@sigmoid(0, "sigmoid taken twice", "y is σ(x) already: y·(1 − y), not σ(y)·(1 − σ(y))")
def _(use, gx):
    y = _sigmoid(_sigmoid(use.inputs[0]))
    return use.gy * y * (1 - y)


@sigmoid(0, "factor 1 − y forgotten", "the derivative of the sigmoid is y·(1 − y)")
def _(use, gx):
    return use.gy * _sigmoid(use.inputs[0])


@tanh(0, "tanh not squared", "the derivative of tanh is 1 − y², not 1 − y")
def _(use, gx):
    return use.gy * (1 - np.tanh(use.inputs[0]))


@tanh(0, "tanh's derivative at x instead of y", "1 − y² has y = tanh(x) in it, not x")
def _(use, gx):
    return use.gy * (1 - use.inputs[0] ** 2)


@silu(0, "product rule forgotten in silu", "y = x·σ(x): gx = gy·(σ(x) + x·σ′(x))")
def _(use, gx):
    return use.gy * _sigmoid(use.inputs[0])


@gelu(0, "product rule forgotten in gelu", "y = x·Φ(x): gx = gy·(Φ(x) + x·φ(x))")
def _(use, gx):
    x = use.inputs[0]
    return gx - use.gy * x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


@square(0, "a square's factor 2 forgotten", "the derivative of x² is 2·x")
def _(use, gx):
    return gx / 2


def _survival(use) -> float:
    return 1 - use.node.p


@dropout(0, "missing 1/(1 − p)", "what is kept was divided by 1 − p, and so is its gradient")
def _(use, gx):
    return gx * _survival(use)


@dropout(0, "divided by p", "what is kept is divided by the probability to be kept, 1 − p")
def _(use, gx):
    return gx * _survival(use) / use.node.p


@dropout(0, "mask of dropout forgotten", "what was dropped has no gradient")
def _(use, gx):
    return use.gy / _survival(use) if use.node.p < 1 else gx


@dropout(0, "another mask in backward", "keep the mask of forward; do not draw a new one")
def _(use, gx):
    return np.roll(gx != 0, 1).reshape(gx.shape) * use.gy / _survival(use) if use.node.p < 1 else gx
