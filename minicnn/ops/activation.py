"""Activations of exponentials, and softmax; those made of straight lines are in piecewise.py, gates in gated.py.

The backward of most is a kernel of its own that runs once over memory, and operations where the gradient is itself
recorded. Where x is NaN, y is; PyTorch's gx there depends on the length of the array, that of minicnn on x alone.
"""

import math
from collections.abc import Callable
from typing import Any

from .. import dtypes
from ..backend import kernels_for
from ..engine import Function, Tensor, is_grad_enabled
from .arguments import same_floats
from .basic import refuse_bool
from .shape import axis_of

__all__ = ["celu", "elu", "log_softmax", "logsigmoid", "selu", "softmax", "softmin", "softplus", "softsign",
           "tanhshrink"]

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


class Elementwise(Function):
    """y = kernel(x, parameters);  gx = kernel_grad(gy, x or y, parameters), or ``gradient`` where gx is recorded."""

    kernel: str
    kernel_grad: str | None = None  # where it has another name than kernel with "_grad" behind
    keeps_result = False  # whether the gradient is a function of y rather than of x

    def __init__(self, *parameters: float) -> None:
        self.parameters = parameters

    def forward(self, x):
        y = getattr(kernels_for(x), self.kernel)(x, *self.parameters)
        self.save(y if self.keeps_result else x)
        return y

    def backward(self, gy):
        (kept,) = self.saved
        if is_grad_enabled():
            return self.gradient(gy, kept)
        kernel = self.kernel_grad or self.kernel + "_grad"
        return Tensor(getattr(kernels_for(gy.data), kernel)(gy.data, kept.data, *self.parameters))

    def gradient(self, gy: Tensor, kept: Tensor) -> Tensor:
        """gx in operations, from x or y, so that it can be differentiated again."""
        raise NotImplementedError


def activate(name: str, function: Callable[[Tensor], Tensor], input: Tensor, inplace: bool = False,
             integers: bool = False) -> Tensor:
    """function(input), written into input if inplace, after the check of its type."""
    if integers:
        refuse_bool(name, input)
    else:
        same_floats(name, x=input)
    return input.overwrite(function(input.before_write())) if inplace else function(input)


# -- of single elements ---------------------------------------------------------------------------------------------

class Elu(Elementwise):
    """y = s·x where x > 0, else s·α(e^(x·r) − 1);  gx = s·gy where x > 0, else gy·s·α·r·e^(x·r);  (α, s, r)."""

    kernel = "elu"

    def gradient(self, gy, x):
        alpha, scale, input_scale = self.parameters
        e = (x.masked_fill(x >= 0, 0.0) * input_scale).exp()  # of x < 0, to not overflow where it is not used
        return gy.where(x > 0, gy * (alpha * input_scale * e)) * scale


class Softplus(Elementwise):
    """y = log(1 + e^(β·x))/β;  gx = gy·σ(β·x);  where β·x > threshold, y = x and gx = gy;  (β, threshold)."""

    kernel = "softplus"

    def gradient(self, gy, x):
        beta, threshold = self.parameters
        z = x * beta
        return gy.where(z > threshold, gy * z.sigmoid())


class LogSigmoid(Softplus):
    """y = −log(1 + e⁻ˣ), which is softplus with β = −1;  gx = gy·σ(−x)."""

    def __init__(self) -> None:
        super().__init__(-1.0, math.inf)


class Softsign(Elementwise):
    """y = x/(1 + |x|);  gx = gy/(1 + |x|)²."""

    kernel = "softsign"

    def gradient(self, gy, x):
        d = 1 + x.abs()
        return gy / (d * d + (d - d))  # NaN at infinity, as y is


class Tanhshrink(Elementwise):
    """y = x − tanh x;  gx = gy·tanh² x."""

    kernel = "tanhshrink"

    def gradient(self, gy, x):
        return gy * x.tanh().square()


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha·(eˣ − 1), for every element: (∗) → (∗).

    gx = gy where x > 0, else gy·alpha·eˣ. Raises RuntimeError for integers. Clevert et al. 2015.
    """
    return activate("elu", Elu(alpha, 1.0, 1.0), input, inplace)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha·(e^(x/alpha) − 1), which unlike elu has no kink: (∗) → (∗).

    gx = gy where x > 0, else gy·e^(x/alpha). Raises RuntimeError for integers and unless alpha > 0. Barron 2017.
    """
    if not alpha > 0:
        raise RuntimeError(f"celu: alpha = {alpha} must be positive")
    return activate("celu", Elu(alpha, 1.0, 1 / alpha), input, inplace)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """1.0507·(x where x > 0, else 1.6733·(eˣ − 1)), which keeps mean 0 and variance 1: (∗) → (∗).

    gx as of elu, scaled. Needs weights of variance 1/fan_in and alpha_dropout. Raises RuntimeError for integers.
    Klambauer et al. 2017.
    """
    return activate("selu", Elu(SELU_ALPHA, SELU_SCALE, 1.0), input, inplace)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e^(beta·x))/beta, a smooth relu, for every element: (∗) → (∗); x itself where beta·x > threshold.

    gx = gy·σ(beta·x). Raises RuntimeError for integers. Dugas et al. 2000.
    """
    return activate("softplus", Softplus(beta, threshold), input)


def logsigmoid(input: Tensor) -> Tensor:
    """log σ(x), finite for every finite x, for every element: (∗) → (∗).

    gx = gy·σ(−x). Raises RuntimeError for integers. Good 1952.
    """
    return activate("logsigmoid", LogSigmoid(), input)


def softsign(input: Tensor) -> Tensor:
    """x/(1 + |x|), for every element: (∗) → (∗).

    gx = gy/(1 + |x|)². Raises TypeError where input is no Tensor. Elliott 1993; Bergstra et al. 2009.
    """
    return Softsign()(input) if dtypes.is_floating(input.dtype) else input / (1 + input.abs())


def tanhshrink(input: Tensor) -> Tensor:
    """x − tanh(x), for every element: (∗) → (∗).

    gx = gy·tanh²(x). Raises TypeError where input is no Tensor. Collobert et al. 2011.
    """
    return Tanhshrink()(input) if dtypes.is_floating(input.dtype) else input - input.tanh()


# -- along an axis --------------------------------------------------------------------------------------------------

class AlongAxis(Function):
    """y = kernel(x) along an axis;  gx = kernel_grad(gy, y), or ``gradient`` where gx is recorded."""

    kernel: str

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def forward(self, x):
        y = getattr(kernels_for(x), self.kernel)(self.lanes(x)).reshape(x.shape)
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        if is_grad_enabled():
            return self.gradient(gy, y)
        gx = getattr(kernels_for(y.data), self.kernel + "_grad")(self.lanes(gy.data), self.lanes(y.data))
        return Tensor(gx.reshape(y.shape))

    def lanes(self, x: Any) -> Any:
        """x as (M, K, L), K the axis."""
        return x.reshape(math.prod(x.shape[:self.dim]), x.shape[self.dim], math.prod(x.shape[self.dim + 1:]))

    def gradient(self, gy: Tensor, y: Tensor) -> Tensor:
        """gx in operations, so that it can be differentiated again."""
        raise NotImplementedError


class Softmax(AlongAxis):
    """y = eˣ / Σ eˣ along an axis;  gx = y·(gy − Σ gy·y)."""

    kernel = "softmax"

    def gradient(self, gy, y):
        return y * (gy - (gy * y).sum(self.dim, keepdim=True))


class LogSoftmax(AlongAxis):
    """y = x − log Σ eˣ along an axis;  gx = gy − e^y·Σ gy."""

    kernel = "log_softmax"

    def gradient(self, gy, y):
        return gy - y.exp() * gy.sum(self.dim, keepdim=True)


def _normalise(name: str, operation: type, input: Tensor, dim: int | None, dtype: Any) -> Tensor:
    x = input if dtype is None else input.to(dtype)
    same_floats(name, x=x)
    if dim is None:
        raise TypeError(f"{name}: give dim, the axis to normalise over (for logits (N, C) it is 1)")
    axis = axis_of(name, dim, x.ndim)
    return operation(axis)(x) if x.ndim else operation(0)(x.reshape(1)).reshape(())


def softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """eˣ / Σ eˣ along dim, the maximum taken out first: any shape → the same; with dtype, of input.to(dtype).

    gx = y·(gy − Σ gy·y). Not to be put before cross_entropy, which contains it. Raises TypeError without dim, which
    PyTorch would guess. Bridle 1990.
    """
    return _normalise("softmax", Softmax, input, dim, dtype)


def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """x − log Σ eˣ along dim, also where softmax rounds to 0: any shape → the same; with dtype, of input.to(dtype).

    gx = gy − e^y·Σ gy. Raises TypeError without dim, which PyTorch would guess. Bridle 1990.
    """
    return _normalise("log_softmax", LogSoftmax, input, dim, dtype)


def softmin(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """softmax of −x: e⁻ˣ / Σ e⁻ˣ along dim, any shape → the same; with dtype, of input.to(dtype).

    Raises TypeError without dim, which PyTorch would guess. Bridle 1990.
    """
    return _normalise("softmin", Softmax, -input, dim, dtype)
