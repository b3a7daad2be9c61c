"""Dropout."""

from ..backend import Generator, default_generator, kernels_for
from ..engine import Function, Tensor
from .conv import same_floats

__all__ = ["dropout", "dropout2d"]


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


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False,
            generator: Generator | None = None) -> Tensor:
    """Set each element to 0 with probability p and divide the others by 1 − p, to keep the mean; only in training.

    Call it with training=self.training: left on while testing, it is the most common mistake there is. Srivastava et
    al. 2014 (they scale when testing instead).
    """
    _check("dropout", input, p)
    if not training or p == 0:
        return input
    operation = Dropout(p, (generator or default_generator).next_key())
    return input.overwrite(operation(input.before_write())) if inplace else operation(input)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False,
              generator: Generator | None = None) -> Tensor:
    """Dropout of whole channels: one decision for each (n, c) of input (N, C, H, W), or each c of (C, H, W).

    PyTorch still reads three axes as (N, C, L), and warns that this will change. Tompson et al. 2015.
    """
    _check("dropout2d", input, p)
    if input.ndim not in (3, 4):
        raise RuntimeError(f"dropout2d: x must be (N, C, H, W) or (C, H, W), not {input.shape}")
    if not training or p == 0:
        return input
    mask = dropout(input.new_ones(*input.shape[:-2], 1, 1), p, generator=generator)  # (N, C, 1, 1)
    return input.mul_(mask) if inplace else input * mask


def _check(name: str, x: Tensor, p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p = {p} must be a probability, 0 to 1")
    same_floats(name, x=x)
