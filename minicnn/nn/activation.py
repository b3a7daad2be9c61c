"""Activation layers: each calls the function that it names, with the arguments that it was made with."""

from typing import Any

from .. import functional as F
from ..engine import Tensor
from . import init
from .arguments import parameter, whole
from .module import Module

__all__ = ["CELU", "ELU", "GELU", "GLU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU",
           "LogSigmoid", "LogSoftmax", "Maxout", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid",
           "Softmax", "Softmax2d", "Softmin", "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink", "Threshold"]


class _Activation(Module):
    """Calls ``_function`` of functional with the attributes that ``_shown`` names, in that order."""

    _function: str

    def _arguments(self) -> list[Any]:
        return [getattr(self, name) for name in self._shown]

    def forward(self, input: Tensor) -> Tensor:
        """The function of functional, with the layer's arguments."""
        return getattr(F, self._function)(input, *self._arguments())


class _InPlace(_Activation):
    """An activation that can overwrite its input, which saves memory."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def _arguments(self) -> list[Any]:
        return [*super()._arguments(), self.inplace]

    def extra_repr(self) -> str:
        """The arguments, inplace only if it is true."""
        return ", ".join([text for text in (super().extra_repr(), "inplace=True" if self.inplace else "") if text])


# -- straight lines -------------------------------------------------------------------------------------------------

class ReLU(_InPlace):
    """max(x, 0)."""

    _function = "relu"


class ReLU6(_InPlace):
    """min(max(x, 0), 6)."""

    _function = "relu6"


class Hardtanh(_InPlace):
    """min(max(x, min_val), max_val)."""

    _function, _shown = "hardtanh", ("min_val", "max_val")

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        if not min_val < max_val:
            raise ValueError(f"Hardtanh: min_val = {min_val} must be less than max_val = {max_val}")
        self.min_val, self.max_val = min_val, max_val


class Hardsigmoid(_InPlace):
    """min(max(x + 3, 0), 6)/6."""

    _function = "hardsigmoid"

    def extra_repr(self) -> str:
        """Nothing, as in PyTorch."""
        return ""


class LeakyReLU(_InPlace):
    """x where x > 0, else negative_slope·x."""

    _function, _shown = "leaky_relu", ("negative_slope",)

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.negative_slope = negative_slope


class PReLU(Module):
    """x where x > 0, else weight·x; the weight, one number or one per channel, is learned and starts at init."""

    _shown = ("num_parameters",)

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters, self.init = whole("PReLU", "num_parameters", num_parameters), init
        self.weight = parameter((self.num_parameters,), dtype, device)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """All weights init again."""
        init.constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        """prelu(input, weight)."""
        return F.prelu(input, self.weight)


class RReLU(_InPlace):
    """x where x > 0, else x times a slope: drawn from lower … upper for every element in training, else their mean."""

    _function, _shown = "rrelu", ("lower", "upper")

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.lower, self.upper = lower, upper

    def _arguments(self) -> list[Any]:
        return [self.lower, self.upper, self.training, self.inplace]


class Threshold(_InPlace):
    """x where x > threshold, else value."""

    _function, _shown = "threshold", ("threshold", "value")

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.threshold, self.value = threshold, value


class Hardshrink(_Activation):
    """x where |x| > lambd, else 0."""

    _function, _shown = "hardshrink", ("lambd",)

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def extra_repr(self) -> str:
        """The number alone."""
        return str(self.lambd)


class Softshrink(Hardshrink):
    """x moved towards 0 by lambd, and 0 where |x| ≤ lambd."""

    _function = "softshrink"


class Maxout(_Activation):
    """The largest of every ``pieces`` neighbours along dim, (N, C·pieces, ...) → (N, C, ...). Not in PyTorch."""

    _function, _shown = "maxout", ("pieces", "dim")

    def __init__(self, pieces: int, dim: int = 1) -> None:
        super().__init__()
        self.pieces, self.dim = whole("Maxout", "pieces", pieces), dim


# -- exponentials ---------------------------------------------------------------------------------------------------

class ELU(_InPlace):
    """x where x > 0, else alpha·(eˣ − 1)."""

    _function, _shown = "elu", ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = alpha


class CELU(ELU):
    """x where x > 0, else alpha·(e^(x/alpha) − 1)."""

    _function = "celu"


class SELU(_InPlace):
    """1.0507·(x where x > 0, else 1.6733·(eˣ − 1)); goes with AlphaDropout."""

    _function = "selu"


class Sigmoid(_Activation):
    """1 / (1 + e⁻ˣ)."""

    _function = "sigmoid"


class LogSigmoid(_Activation):
    """log(1 / (1 + e⁻ˣ))."""

    _function = "logsigmoid"


class Tanh(_Activation):
    """tanh x = (eˣ − e⁻ˣ)/(eˣ + e⁻ˣ)."""

    _function = "tanh"


class Tanhshrink(_Activation):
    """x − tanh(x)."""

    _function = "tanhshrink"


class Softsign(_Activation):
    """x/(1 + |x|)."""

    _function = "softsign"


class Softplus(_Activation):
    """log(1 + e^(beta·x))/beta, and x itself where beta·x > threshold."""

    _function, _shown = "softplus", ("beta", "threshold")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold


# -- gates ----------------------------------------------------------------------------------------------------------

class SiLU(_InPlace):
    """x·σ(x), also called swish."""

    _function = "silu"


class GELU(_Activation):
    """x·Φ(x), Φ the distribution function of the normal distribution; approximate is "none" or "tanh"."""

    _function, _shown = "gelu", ("approximate",)

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def extra_repr(self) -> str:
        """The approximation, in quotes."""
        return f"approximate={self.approximate!r}"


class Mish(_InPlace):
    """x·tanh(log(1 + eˣ))."""

    _function = "mish"


class Hardswish(Hardsigmoid):
    """x·min(max(x + 3, 0), 6)/6."""

    _function = "hardswish"


class GLU(_Activation):
    """a·σ(b), a and b the two halves of the input along dim."""

    _function, _shown = "glu", ("dim",)

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim


# -- along an axis --------------------------------------------------------------------------------------------------

class Softmax(_Activation):
    """eˣ / Σ eˣ along dim. CrossEntropyLoss contains it: no network trained with that loss ends with this layer."""

    _function, _shown = "softmax", ("dim",)

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim


class LogSoftmax(Softmax):
    """x − log Σ eˣ along dim, which NLLLoss expects."""

    _function = "log_softmax"


class Softmin(Softmax):
    """e⁻ˣ / Σ e⁻ˣ along dim."""

    _function = "softmin"


class Softmax2d(Module):
    """softmax over the channels of every pixel, (N, C, H, W) or (C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        """softmax(input, -3)."""
        if input.ndim not in (3, 4):
            raise ValueError(f"Softmax2d: expected 3D or 4D input, got {input.shape}")
        return F.softmax(input, -3)
