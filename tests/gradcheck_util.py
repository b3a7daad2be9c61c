"""What the tests of gradcheck share: a function whose backward is wrong by as much as is asked, and other libraries."""

import sys

import numpy as np
import torch

import minicnn as mc

from util import normal

LIBRARIES = [mc, torch]


def product(a, b):
    return a @ b.T


def product_backward(gy, a, b):
    return gy @ b, gy.T @ a


def off_by(relative: float, *, only: tuple | None = None):
    """The backward of product with the gradient of b too large, everywhere or in one element."""
    def backward(gy, a, b):
        ga, gb = product_backward(gy, a, b)
        if only is None:
            return ga, gb * gb.dtype.type(1 + relative)
        gb[only] += relative * np.abs(gb).max()
        return ga, gb

    return backward


def arrays(dtype=np.float64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return normal((3, 4), seed).astype(dtype), normal((5, 4), seed + 50).astype(dtype)


class WrongTorch(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x ** 3

    @staticmethod
    def backward(ctx, gy):
        (x,) = ctx.saved_tensors
        return 3 * x.detach() ** 2 * gy  # right, but not to be differentiated again


class OnDevice(np.ndarray):
    """An array of a stand-in for CuPy: NumPy's functions are given it as it is, only get and asarray move it."""

    def get(self):
        return np.array(self)


OnDevice.__module__ = "cupy"


def cupy_or_stand_in(monkeypatch):
    try:
        import cupy
    except ModuleNotFoundError:
        cupy = type(sys)("cupy")
        cupy.asarray = lambda a: np.array(a).view(OnDevice)
        monkeypatch.setitem(sys.modules, "cupy", cupy)
    return cupy
