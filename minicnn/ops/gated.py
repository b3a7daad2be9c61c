"""Activations that multiply x by a gate between 0 and 1: y = x·g(x)."""

import math

from ..engine import Tensor
from .activation import Elementwise, activate, softplus
from .arguments import same_floats
from .shape import real_axis

__all__ = ["gelu", "glu", "hardswish", "mish", "silu"]


class Silu(Elementwise):
    """y = x·σ(x);  gx = gy·σ(x)·(1 + x·(1 − σ(x)))."""

    kernel = "silu"

    def gradient(self, gy, x):
        s = x.sigmoid()
        return gy * (s * (1 + x * (1 - s)))


class Hardswish(Elementwise):
    """y = x·min(max(x + 3, 0), 6)/6;  gx = 0 where x ≤ −3, gy where x ≥ 3, else gy·(x/3 + ½)."""

    kernel = "hardswish"

    def gradient(self, gy, x):
        return (gy * (x / 3 + 0.5)).where((x > -3) & (x < 3), gy.where(~(x <= -3), 0.0))


class Gelu(Elementwise):
    """y = x·Φ(x), Φ the distribution function of the normal distribution;  gx = gy·(Φ(x) + x·φ(x)), φ its density."""

    kernel = "gelu"

    def gradient(self, gy, x):
        distribution = (x * -math.sqrt(0.5)).erfc() * 0.5
        density = (x * x * -0.5).exp() * (1 / math.sqrt(2 * math.pi))
        return gy * (distribution + x * density)


class GeluTanh(Elementwise):
    """y = x·σ(2u), u = √(2/π)·(x + 0.044715·x³);  gx = gy·(σ(2u) + x·σ(2u)·σ(−2u)·2u′)."""

    kernel = "gelu_tanh"

    def gradient(self, gy, x):
        slope = math.sqrt(8 / math.pi)
        s = ((x + x * x * x * 0.044715) * slope).sigmoid()
        return gy * (s + x * (s * (1 - s) * (x * x * (3 * 0.044715) + 1) * slope))


class Mish(Elementwise):
    """y = x·t, t = tanh(log(1 + eˣ));  gx = gy·(t + x·(1 − t²)·σ(x))."""

    kernel = "mish"

    def gradient(self, gy, x):
        t = softplus(x).tanh()
        return gy * (t + x * ((1 - t * t) * x.sigmoid()))


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x·σ(x), also called swish, for every element: (∗) → (∗).

    gx = gy·σ(x)·(1 + x·(1 − σ(x))). Raises RuntimeError for integers. Hendrycks & Gimpel 2016; Elfwing et al. 2017.
    """
    return activate("silu", Silu(), input, inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x·min(max(x + 3, 0), 6)/6, silu without an exponential, for every element: (∗) → (∗).

    gx = 0 where x ≤ −3, gy where x ≥ 3, else gy·(x/3 + ½). Raises RuntimeError for integers. Howard et al. 2019.
    """
    return activate("hardswish", Hardswish(), input, inplace)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x·Φ(x), Φ the distribution function of the normal distribution, for every element: (∗) → (∗).

    gx = gy·(Φ(x) + x·φ(x)). approximate="tanh": x·½(1 + tanh(√(2/π)·(x + 0.044715·x³))). Raises RuntimeError for any
    other value and for integers. Hendrycks & Gimpel 2016.
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"gelu: approximate = {approximate!r} must be 'none' or 'tanh'")
    return activate("gelu", Gelu() if approximate == "none" else GeluTanh(), input)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x·tanh(log(1 + eˣ)), for every element: (∗) → (∗).

    gx = gy·(t + x·(1 − t²)·σ(x)) with t the hyperbolic tangent. Raises RuntimeError for integers. Misra 2019.
    """
    return activate("mish", Mish(), input, inplace)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a·σ(b), a and b the two halves of input along dim: (..., 2n, ...) → (..., n, ...).

    ga = gy·σ(b), gb = gy·a·σ(b)·σ(−b). Raises RuntimeError if the length of dim is odd. Dauphin et al. 2016.
    """
    same_floats("glu", x=input)
    axis = real_axis("glu", dim, input)
    half, odd = divmod(input.shape[axis], 2)
    if odd:
        raise RuntimeError(f"glu: dim {dim} has length {input.shape[axis]}, which cannot be halved (x {input.shape})")
    return input.narrow(axis, 0, half) * input.narrow(axis, half, half).sigmoid()
