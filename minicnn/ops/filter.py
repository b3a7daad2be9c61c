"""Convolution as mathematics and signal processing write it: with the kernel turned, over all time before.

    convolution          (x ∗ w)[i] = Σₖ w[k]·x[i − k]         commutes; an impulse gives back the kernel
    cross-correlation    (x ⋆ w)[i] = Σₖ w[k]·x[i + k]         what networks call convolution, and conv2d computes

One is the other with the kernel turned by 180°. A network learns its kernels, so to it they are the same.
"""

import math

from ..backend import Geometry
from ..engine import Tensor
from .arguments import same_floats
from .conv import Conv2d, convolve
from .pad import pad

__all__ = ["causal_filter", "convolve2d", "correlate2d"]


def convolve2d(input: Tensor, weight: Tensor, mode: str = "full") -> Tensor:
    """The convolution of mathematics, y[i,j] = Σ x[i − m, j − n]·w[m,n] over m, n, with zeros around the image.

    input (H, W), weight (KH, KW) → (OH, OW) as scipy.signal.convolve2d; or with channels as in conv2d: input
    (N, C, H, W) or (C, H, W), weight (O, C, KH, KW) → (N, O, OH, OW). mode "full" is every overlap, OH = H + KH − 1;
    "same" the middle of it, OH = H; "valid" where the kernel lies inside, OH = H − KH + 1. Raises ValueError for
    another mode, RuntimeError for shapes or types that do not fit together (in mode "valid" also a kernel larger than
    the image, where SciPy exchanges the two). PyTorch has none. Dumoulin & Visin 2016.
    """
    _check("convolve2d", input, weight, mode)
    if mode == "same":  # the zero that an even kernel needs more is turned to the other side with the kernel
        kh, kw = weight.shape[-2:]
        input, mode = pad(input, (kw // 2, (kw - 1) // 2, kh // 2, (kh - 1) // 2)), "valid"
    return _correlate("convolve2d", input, weight.flip((-2, -1)), mode)


def correlate2d(input: Tensor, weight: Tensor, mode: str = "full") -> Tensor:
    """The cross-correlation of mathematics, y[i,j] = Σ x[i + m, j + n]·w[m,n] over m, n, with zeros around the image.

    input (H, W), weight (KH, KW) → (OH, OW) as scipy.signal.correlate2d; with channels it is conv2d. Shapes and modes
    as in convolve2d. Raises ValueError and RuntimeError as convolve2d. PyTorch has none. Dumoulin & Visin 2016.
    """
    _check("correlate2d", input, weight, mode)
    return _correlate("correlate2d", input, weight, mode)


def _check(name: str, x: Tensor, w: Tensor, mode: str) -> None:
    if mode not in ("full", "same", "valid"):
        raise ValueError(f"{name}: mode {mode!r} is unknown; use 'full', 'same' or 'valid'")
    if (x.ndim, w.ndim) not in ((2, 2), (3, 4), (4, 4)):
        raise RuntimeError(f"{name}: x {x.shape} and weight {w.shape} must be (H, W) and (KH, KW), or (N, C, H, W) or "
                           "(C, H, W) and (O, C, KH, KW)")


def _correlate(name: str, x: Tensor, w: Tensor, mode: str) -> Tensor:
    if x.ndim == 2:
        return _correlate(name, x.unsqueeze(0), w.reshape(1, 1, *w.shape), mode).squeeze(0)
    return convolve(name, 2, x, w, None, 1, mode, 1, 1)


def causal_filter(input: Tensor, weight: Tensor) -> Tensor:
    """What a signal leaves behind: y[t] = w[1]·x[t] + w[2]·x[t − 1] + … + w[K]·x[t − K + 1], zeros before it began.

    input (..., T), weight (K) → (..., T); with w = (1, ½, ¼) an impulse fades as 1, ½, ¼. The first T values of the
    full convolution, as scipy.signal.lfilter(w, 1, x). Raises RuntimeError for another shape of weight, an empty signal
    or types that differ. PyTorch has none. Oppenheim & Schafer 1975.
    """
    if weight.ndim != 1 or not input.ndim or 0 in (weight.shape[0], input.shape[-1]):
        raise RuntimeError(f"causal_filter: x {input.shape} and weight {weight.shape} must be (..., T) and (K), with T "
                           "and K at least 1")
    same_floats("causal_filter", x=input, weight=weight)
    signals = input.reshape(math.prod(input.shape[:-1]), 1, 1, input.shape[-1])             # (N, 1, 1, T)
    turned = weight.flip(0).reshape(1, 1, 1, -1)                                            # (1, 1, 1, K)
    before = Geometry(padding=((0, 0), (len(weight) - 1, 0)))
    return Conv2d(before)(signals, turned).reshape(input.shape)
