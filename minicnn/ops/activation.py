"""Activations. Each runs a fused kernel backward too, or operations where the gradient is itself recorded."""

import math
from collections.abc import Callable
from typing import Any

from ..backend import array_module, kernels_for
from ..engine import Function, Tensor, is_grad_enabled
from .conv import same_floats

__all__ = ["elu", "leaky_relu", "log_softmax", "logsigmoid", "relu", "relu6", "softmax", "softplus"]


def fused(kernel: str, formula: Callable[[], Tensor], *arguments: Any) -> Tensor:
    """The kernel's result, or the formula's where operations are recorded: the same numbers, differentiable again."""
    if is_grad_enabled():
        return formula()
    arrays = [a.data if isinstance(a, Tensor) else a for a in arguments]
    return Tensor(getattr(kernels_for(arrays[0]), kernel)(*arrays))


class Relu(Function):
    """y = max(x, 0);  gx = gy where y > 0, so 0 at x = 0."""

    def forward(self, x):
        y = kernels_for(x).relu(x)
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return fused("relu_grad", lambda: gy.where(~(y <= 0), 0.0), gy, y)  # where y is NaN, gx = gy as in PyTorch


class Relu6(Function):
    """y = min(max(x, 0), 6);  gx = gy where 0 < y < 6, so 0 at both bounds."""

    def forward(self, x):
        xp = array_module(x)
        y = xp.minimum(xp.maximum(x, 0), 6)
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return gy.where((y > 0) & (y < 6), 0.0)


class LeakyRelu(Function):
    """y = x where x > 0, else slope·x;  gx = gy where x > 0, else slope·gy."""

    def __init__(self, slope: float) -> None:
        self.slope = slope

    def forward(self, x):
        self.save(x)
        return kernels_for(x).leaky_relu(x, self.slope)

    def backward(self, gy):
        (x,) = self.saved
        return fused("leaky_relu_grad", lambda: gy.where(x > 0, gy * self.slope), gy, x, self.slope)


class Elu(Function):
    """y = x where x > 0, else α(eˣ − 1);  gx = gy where x > 0, else gy·α·eˣ."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def forward(self, x):
        self.save(x)
        return kernels_for(x).elu(x, self.alpha)

    def backward(self, gy):
        (x,) = self.saved
        return fused("elu_grad", lambda: self._formula(gy, x), gy, x, self.alpha)

    def _formula(self, gy, x):
        e = x.masked_fill(x >= 0, 0.0).exp()  # of what is negative, so that it cannot overflow where it is not used
        return gy.where(x > 0, gy * (self.alpha * e))


class LogSigmoid(Function):
    """y = −log(1 + e⁻ˣ) = min(x, 0) − log(1 + e^−|x|);  gx = gy·σ(−x)."""

    def forward(self, x):
        self.save(x)
        xp = array_module(x)
        return xp.minimum(x, 0) - xp.log1p(xp.exp(-abs(x)))

    def backward(self, gy):
        return gy * (-self.saved[0]).sigmoid()


class Softmax(Function):
    """y = eˣ / Σ eˣ along an axis;  gx = y·(gy − Σ gy·y)."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def forward(self, x):
        y = kernels_for(x).softmax(_lanes(x, self.dim)).reshape(x.shape)
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        if is_grad_enabled():
            return y * (gy - (gy * y).sum(self.dim, keepdim=True))
        return _along(self.dim, "softmax_grad", gy, y)


class LogSoftmax(Function):
    """y = x − log Σ eˣ along an axis;  gx = gy − e^y·Σ gy."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def forward(self, x):
        y = kernels_for(x).log_softmax(_lanes(x, self.dim)).reshape(x.shape)
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        if is_grad_enabled():
            return gy - y.exp() * gy.sum(self.dim, keepdim=True)
        return _along(self.dim, "log_softmax_grad", gy, y)


def _lanes(x, dim):
    """x as (M, K, L), K the axis to normalise over."""
    return x.reshape(math.prod(x.shape[:dim]), x.shape[dim], math.prod(x.shape[dim + 1:]))


def _along(dim: int, kernel: str, gy: Tensor, y: Tensor) -> Tensor:
    gx = getattr(kernels_for(y.data), kernel)(_lanes(gy.data, dim), _lanes(y.data, dim))
    return Tensor(gx.reshape(y.shape))


# -- public functions -----------------------------------------------------------------------------------------------

def _apply(name: str, function: Function, input: Tensor, inplace: bool) -> Tensor:
    same_floats(name, x=input)
    if inplace:
        return input.overwrite(function(input.before_write()))
    return function(input)


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0), any shape; the gradient at 0 is 0. Nair & Hinton 2010."""
    return _apply("relu", Relu(), input, inplace)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6), any shape; the gradient is 0 at both bounds."""
    return _apply("relu6", Relu6(), input, inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope·x, any shape. Maas et al. 2013."""
    return _apply("leaky_relu", LeakyRelu(negative_slope), input, inplace)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha·(eˣ − 1), any shape. Clevert et al. 2015."""
    return _apply("elu", Elu(alpha), input, inplace)


def logsigmoid(input: Tensor) -> Tensor:
    """log σ(x), finite for every finite x, any shape."""
    return _apply("logsigmoid", LogSigmoid(), input, False)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e^(beta·x))/beta, any shape; x itself where beta·x > threshold."""
    same_floats("softplus", x=input)
    scaled = input * beta
    return input.where(scaled > threshold, -LogSigmoid()(-scaled) / beta)


def _dim(name: str, x: Tensor, dim: int | None) -> int:
    same_floats(name, x=x)
    if dim is None:
        raise TypeError(f"{name}: give dim, the axis to normalise over (for logits (N, C) it is 1)")
    if not -max(x.ndim, 1) <= dim < max(x.ndim, 1):
        raise IndexError(f"{name}: dim {dim} is out of range for a tensor with {x.ndim} axes")
    return dim % max(x.ndim, 1)


def _normalise(name: str, operation: type, input: Tensor, dim: int | None, dtype: Any) -> Tensor:
    x = input if dtype is None else input.to(dtype)
    axis = _dim(name, x, dim)
    return operation(axis)(x) if x.ndim else operation(0)(x.reshape(1)).reshape(())


def softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """eˣ / Σ eˣ along dim, which must be given; the maximum is taken out first. Do not put it before cross_entropy."""
    return _normalise("softmax", Softmax, input, dim, dtype)


def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """x − log Σ eˣ along dim, which must be given; exact where softmax would round to 0."""
    return _normalise("log_softmax", LogSoftmax, input, dim, dtype)
