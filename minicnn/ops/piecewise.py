"""Activations made of straight lines."""

import math

from .. import dtypes
from ..backend import Generator, array_module, default_generator, kernels_for
from ..engine import Function, Tensor, is_grad_enabled
from .activation import Elementwise, activate
from .arguments import same_floats
from .shape import real_axis

__all__ = ["hardshrink", "hardsigmoid", "hardtanh", "leaky_relu", "maxout", "prelu", "relu", "relu6", "rrelu",
           "softshrink", "threshold"]


class Relu(Elementwise):
    """y = max(x, 0);  gx = gy where y > 0, so 0 at x = 0."""

    kernel, keeps_result = "relu", True

    def gradient(self, gy, y):
        return gy.where(~(y <= 0), 0.0)  # where y is NaN, gx = gy as in PyTorch


class Rectified(Relu):
    """The node of relu for what its maker has rectified already: y = x, in the same memory;  gx as of relu."""

    views, name = True, "ReluBackward"

    def forward(self, y):
        self.save(y)
        return y


class LeakyRelu(Elementwise):
    """y = x where x > 0, else slope·x;  gx = gy where x > 0, else slope·gy."""

    kernel = "leaky_relu"

    def gradient(self, gy, x):
        (slope,) = self.parameters
        return gy.where(x > 0, gy * slope)


class Hardtanh(Elementwise):
    """y = min(max(x, low), high);  gx = gy where low < y < high, so 0 at both bounds."""

    kernel, keeps_result = "hardtanh", True

    def gradient(self, gy, y):
        low, high = self.parameters
        return gy.where(~((y <= low) | (y >= high)), 0.0)


class Hardsigmoid(Elementwise):
    """y = min(max(x + 3, 0), 6)/6;  gx = gy/6 where −3 < x < 3, else 0."""

    kernel = "hardsigmoid"

    def gradient(self, gy, x):
        return (gy / 6).where((x > -3) & (x < 3), 0.0)


class Hardshrink(Elementwise):
    """y = 0 where |x| ≤ width, else x;  gx = 0 where |x| ≤ width, else gy, also where x is NaN."""

    kernel = "hardshrink"

    def gradient(self, gy, x):
        (width,) = self.parameters
        return gy.masked_fill((x >= -width) & (x <= width), 0.0)


class Softshrink(Hardshrink):
    """y = x − width where x > width, x + width where x < −width, else 0;  gx = 0 where |x| ≤ width, else gy."""

    kernel, kernel_grad = "softshrink", "hardshrink_grad"


class Threshold(Elementwise):
    """y = x where x > least, else other;  gx = gy where x > least, else 0."""

    kernel = "threshold"

    def gradient(self, gy, x):
        return gy.masked_fill(x <= self.parameters[0], 0.0)


class PRelu(Function):
    """y = x where x > 0, else w·x;  gx = gy where x > 0, else w·gy;  gw = 0 where x > 0, else x·gy."""

    def forward(self, x, w):
        self.save(x, w)
        return kernels_for(x).prelu(x, w)

    def backward(self, gy):
        x, w = self.saved
        if not is_grad_enabled():
            kernels = kernels_for(x.data)
            return (Tensor(kernels.prelu_grad(gy.data, x.data, w.data)) if self.needs[0] else None,
                    Tensor(kernels.prelu_weight_grad(gy.data, x.data)) if self.needs[1] else None)
        return (gy.where(x > 0, w * gy) if self.needs[0] else None,
                (x * gy).masked_fill(x > 0, 0.0) if self.needs[1] else None)


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0) for every element: (∗) → (∗).

    gx = gy where x > 0, else 0. Raises RuntimeError for bool. Fukushima 1969; Nair & Hinton 2010.
    """
    return activate("relu", Relu(), input, inplace, integers=True)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6) for every element: (∗) → (∗).

    gx = gy where 0 < x < 6, else 0. Raises RuntimeError for bool. Krizhevsky 2010.
    """
    return activate("relu6", Hardtanh(0.0, 6.0), input, inplace, integers=True)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """min(max(x, min_val), max_val) for every element: (∗) → (∗).

    gx = gy where min_val < x < max_val, else 0. Raises ValueError if min_val > max_val, RuntimeError for bool, and for
    uint8 with a negative bound. Collobert 2004.
    """
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val = {min_val} must not be greater than max_val = {max_val}")
    if input.data.dtype == dtypes.uint8 and min_val < 0:
        raise RuntimeError(f"hardtanh: min_val = {min_val} is no uint8, the type of input")
    return activate("hardtanh", Hardtanh(min_val, max_val), input, inplace, integers=True)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x + 3, 0), 6)/6, a sigmoid of three lines, for every element: (∗) → (∗).

    gx = gy/6 where −3 < x < 3, else 0. Raises RuntimeError for integers. Courbariaux et al. 2015.
    """
    return activate("hardsigmoid", Hardsigmoid(), input, inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope·x, for every element: (∗) → (∗).

    gx = gy where x > 0, else negative_slope·gy. Raises RuntimeError for integers. Maas et al. 2013.
    """
    return activate("leaky_relu", LeakyRelu(negative_slope), input, inplace)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """leaky_relu with slopes that are learned: x where x > 0, else weight·x.

    input (N, C, ...) → the same shape; weight (C), or (1) or () for one slope for all.
    gx = gy where x > 0, else weight·gy; gweight = Σ gy·x over all x ≤ 0 of a channel. So are the second derivatives,
    where those of PyTorch take x = 0 for positive. Raises RuntimeError if weight does not fit. He et al. 2015.
    """
    same_floats("prelu", x=input, weight=weight)
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.ndim > 1 or weight.numel() not in (1, channels):
        raise RuntimeError(f"prelu: weight of shape {weight.shape} must be one number or one for each of {channels} "
                           f"channels (x {input.shape})")
    slopes = weight.reshape(-1, *[1] * (input.ndim - 2)) if input.ndim > 1 else weight.reshape(())  # (C, 1, ...)
    return PRelu()(input, slopes.expand(input.shape))


def rrelu(input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False,
          generator: Generator | None = None) -> Tensor:
    """leaky_relu with a random slope for every element, uniform in lower … upper: (∗) → (∗).

    Unless training, the slope is (lower + upper)/2. Raises RuntimeError if lower > upper. Xu et al. 2015.
    """
    if lower > upper:
        raise RuntimeError(f"rrelu: lower = {lower} must not be greater than upper = {upper}")
    if not training:
        return activate("rrelu", LeakyRelu((lower + upper) / 2), input, inplace)

    def with_random_slopes(x: Tensor) -> Tensor:
        u = kernels_for(x.data).random_uniform(x.numel(), (generator or default_generator).next_key())
        slopes = array_module(x.data).asarray(lower + (upper - lower) * u, x.dtype)
        return PRelu()(x, Tensor(slopes.reshape(x.shape)))

    return activate("rrelu", with_random_slopes, input, inplace)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, else value, for every element: (∗) → (∗).

    gx = gy where x > threshold, else 0. Raises RuntimeError for bool. Collobert et al. 2011.
    """
    return activate("threshold", Threshold(threshold, value), input, inplace, integers=True)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0, for every element: (∗) → (∗).

    gx = gy where |x| > lambd, else 0. Raises RuntimeError for integers. Donoho & Johnstone 1994.
    """
    return activate("hardshrink", Hardshrink(lambd), input)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd, and 0 where |x| ≤ lambd, for every element: (∗) → (∗).

    gx = gy where |x| > lambd, else 0. Raises RuntimeError for integers and a negative or infinite lambd. Donoho 1995.
    """
    if not 0 <= lambd < math.inf:
        raise RuntimeError(f"softshrink: lambd = {lambd} must be finite and not negative")
    return activate("softshrink", Softshrink(lambd), input)


def maxout(input: Tensor, pieces: int, dim: int = 1) -> Tensor:
    """The largest of every ``pieces`` neighbours along dim: with one layer before it, any convex function.

    input (N, C·pieces, ...) → (N, C, ...), y[:, c] = max of x[:, c·pieces + j], j < pieces. The gradient goes to the
    largest, of equals to the first. Not in PyTorch. Raises ValueError if pieces does not divide the length of dim.
    Goodfellow et al. 2013.
    """
    axis = real_axis("maxout", dim, input)
    if pieces < 1 or input.shape[axis] % pieces:
        raise ValueError(f"maxout: pieces = {pieces} must be at least 1 and divide the length {input.shape[axis]} of "
                         f"dim {dim} (x {input.shape})")
    return input.unflatten(axis, (input.shape[axis] // pieces, pieces)).max(axis + 1)[0]
