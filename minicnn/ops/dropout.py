"""Dropout: of elements, and of whole channels, to 0 or to what selu gives far below 0."""

import math

from ..backend import Generator, default_generator, kernels_for
from ..engine import Function, Tensor
from .activation import SELU_ALPHA, SELU_SCALE, activate

__all__ = ["alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout"]


class Dropout(Function):
    """y = x·mask/(1 − p), mask one with probability 1 − p;  gx = gy·mask/(1 − p).

    The mask is a function of a key and the position (counter-based random numbers), so nothing is stored: the backward
    of dropout is dropout with the same key.
    """

    def __init__(self, p: float, key: tuple[int, int]) -> None:
        self.p, self.key = p, key

    def forward(self, x):
        return kernels_for(x).dropout(x, self.p, self.key)

    def backward(self, gy):
        return Dropout(self.p, self.key)(gy)


def _drop(name: str, input: Tensor, p: float, training: bool, inplace: bool, generator: Generator | None,
          spatial: int = 0, low: float = 0.0) -> Tensor:
    """Dropout to the value low, with one decision for all that lies along the last axes, ``spatial`` of them."""
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p = {p} must be a probability, 0 to 1")
    if not training or p == 0:
        return input

    def dropped(x: Tensor) -> Tensor:
        operation = Dropout(p, (generator or default_generator).next_key())
        return x * operation(x.new_ones(*x.shape[:-spatial], *[1] * spatial)) if spatial else operation(x)

    def to_low(x: Tensor) -> Tensor:  # scaled so that mean 0 and variance 1 are kept
        scale = 1 / math.sqrt((1 - p) * (1 + p * low * low))
        return (dropped(x - low) + low) * ((1 - p) * scale)

    return activate(name, to_low if low and p < 1 else dropped, input, inplace)


def _check_axes(name: str, x: Tensor, *axes: str) -> None:
    if x.ndim not in (len(axes) + 1, len(axes) + 2):
        raise RuntimeError(f"{name}: x must be (N, C, {', '.join(axes)}) or (C, {', '.join(axes)}), not {x.shape}")


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False,
            generator: Generator | None = None) -> Tensor:
    """Set each element to 0 with probability p and divide the others by 1 − p, to keep the mean; only in training.

    (∗) → (∗); gx = gy/(1 − p) where x was kept, else 0. Call it with training=self.training: left on while testing, it
    is the most common mistake there is. Raises ValueError unless 0 ≤ p ≤ 1, RuntimeError for integers. Srivastava et
    al. 2014 (they scale when testing instead).
    """
    return _drop("dropout", input, p, training, inplace, generator)


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False,
              generator: Generator | None = None) -> Tensor:
    """Dropout of whole channels: one decision for each (n, c) of input (N, C, L), or each c of (C, L) → the same shape.

    Raises ValueError unless 0 ≤ p ≤ 1, RuntimeError for another number of axes. Tompson et al. 2015.
    """
    _check_axes("dropout1d", input, "L")
    return _drop("dropout1d", input, p, training, inplace, generator, 1)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False,
              generator: Generator | None = None) -> Tensor:
    """Dropout of whole channels: one decision for each (n, c) of input (N, C, H, W), or each c of (C, H, W) → the same.

    PyTorch still reads three axes as (N, C, L), and warns that this will change. Raises ValueError unless 0 ≤ p ≤ 1,
    RuntimeError for another number of axes. Tompson et al. 2015.
    """
    _check_axes("dropout2d", input, "H", "W")
    return _drop("dropout2d", input, p, training, inplace, generator, 2)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False,
              generator: Generator | None = None) -> Tensor:
    """Dropout of whole channels: one decision for each (n, c) of input (N, C, D, H, W), or each c of (C, D, H, W).

    → the same shape. Raises ValueError unless 0 ≤ p ≤ 1, RuntimeError for another number of axes. Tompson et al. 2015.
    """
    _check_axes("dropout3d", input, "D", "H", "W")
    return _drop("dropout3d", input, p, training, inplace, generator, 3)


SELU_FLOOR = -SELU_ALPHA * SELU_SCALE  # what selu approaches far below 0


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False,
                  generator: Generator | None = None) -> Tensor:
    """Dropout for selu: to its value far below 0, then scaled so that mean 0 and variance 1 are kept.

    (∗) → (∗), y = a·(x − p·s), or a·(s − p·s) with probability p, where s = −1.7581 and a = ((1 − p)(1 + p·s²))^−½;
    gx = a·gy where x was kept, else 0. Raises ValueError unless 0 ≤ p ≤ 1. Klambauer et al. 2017.
    """
    return _drop("alpha_dropout", input, p, training, inplace, generator, 0, SELU_FLOOR)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False,
                          generator: Generator | None = None) -> Tensor:
    """alpha_dropout of whole channels: one decision for each (n, c) of input (N, C, ...) → the same shape.

    Raises ValueError unless 0 ≤ p ≤ 1, RuntimeError for fewer than two axes. Klambauer et al. 2017.
    """
    if input.ndim < 2:
        raise RuntimeError(f"feature_alpha_dropout: x must be (N, C, ...), not {input.shape}")
    return _drop("feature_alpha_dropout", input, p, training, inplace, generator, input.ndim - 2, SELU_FLOOR)
