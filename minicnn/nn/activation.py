"""Activation layers; what they compute is in functional, under the same names in small letters."""

from .. import functional as F
from ..engine import Tensor
from .module import Module

__all__ = ["ELU", "LeakyReLU", "LogSigmoid", "LogSoftmax", "ReLU", "ReLU6", "Sigmoid", "Softmax", "Softplus", "Tanh"]


class _InPlace(Module):
    """An activation that can overwrite its input, which saves memory."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        """The arguments, inplace only if it is true."""
        return ", ".join([text for text in (super().extra_repr(), "inplace=True" if self.inplace else "") if text])


class ReLU(_InPlace):
    """max(x, 0)."""

    def forward(self, input: Tensor) -> Tensor:
        """relu(input)."""
        return F.relu(input, self.inplace)


class ReLU6(_InPlace):
    """min(max(x, 0), 6)."""

    def forward(self, input: Tensor) -> Tensor:
        """relu6(input)."""
        return F.relu6(input, self.inplace)


class LeakyReLU(_InPlace):
    """x where x > 0, else negative_slope·x."""

    _shown = ("negative_slope",)

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.negative_slope = negative_slope

    def forward(self, input: Tensor) -> Tensor:
        """leaky_relu(input, negative_slope)."""
        return F.leaky_relu(input, self.negative_slope, self.inplace)


class ELU(_InPlace):
    """x where x > 0, else alpha·(eˣ − 1)."""

    _shown = ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = alpha

    def forward(self, input: Tensor) -> Tensor:
        """elu(input, alpha)."""
        return F.elu(input, self.alpha, self.inplace)


class Sigmoid(Module):
    """1 / (1 + e⁻ˣ)."""

    def forward(self, input: Tensor) -> Tensor:
        """sigmoid(input)."""
        return F.sigmoid(input)


class LogSigmoid(Module):
    """log(1 / (1 + e⁻ˣ))."""

    def forward(self, input: Tensor) -> Tensor:
        """logsigmoid(input)."""
        return F.logsigmoid(input)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, input: Tensor) -> Tensor:
        """tanh(input)."""
        return F.tanh(input)


class Softplus(Module):
    """log(1 + e^(beta·x))/beta, and x itself where beta·x > threshold."""

    _shown = ("beta", "threshold")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Tensor) -> Tensor:
        """softplus(input, beta, threshold)."""
        return F.softplus(input, self.beta, self.threshold)


class _AlongAxis(Module):
    """An activation that normalises over the axis dim."""

    _shown = ("dim",)

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim


class Softmax(_AlongAxis):
    """eˣ / Σ eˣ along dim. CrossEntropyLoss contains it: no network trained with that loss ends with this layer."""

    def forward(self, input: Tensor) -> Tensor:
        """softmax(input, dim)."""
        return F.softmax(input, self.dim)


class LogSoftmax(_AlongAxis):
    """x − log Σ eˣ along dim, which NLLLoss expects."""

    def forward(self, input: Tensor) -> Tensor:
        """log_softmax(input, dim)."""
        return F.log_softmax(input, self.dim)
