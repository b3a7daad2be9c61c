"""The names every kernel back end exports: arrays in, arrays out, nothing of minicnn.

``reference`` (plain NumPy), ``cpu`` (numba) and ``cuda`` export exactly these names with exactly these
signatures; a test compares them. Shape letters: N images, C input channels, H×W image, O output channels,
KH×KW kernel, OH×OW output; arrays are ``x w b y``, their gradients ``gx gw gb gy``. Arrays may come with any
strides and are never written to, unless the sentence says "in place". Callers have checked shapes and types.
"""

from typing import NamedTuple

import numpy as np

Array = np.ndarray
Pair = tuple[int, int]


class Geometry(NamedTuple):
    """How a kernel slides over an image; each pair is (rows, columns), padding is zeros (before, after)."""

    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    groups: int = 1

    def output_size(self, size: Pair, kernel: Pair) -> Pair:
        """(OH, OW) = ⌊(n + before + after − dilation·(k−1) − 1) / stride⌋ + 1, per axis."""
        (ph, pw), (sh, sw), (dh, dw) = self.padding, self.stride, self.dilation
        return ((size[0] + ph[0] + ph[1] - dh * (kernel[0] - 1) - 1) // sh + 1,
                (size[1] + pw[0] + pw[1] - dw * (kernel[1] - 1) - 1) // sw + 1)


class Windows(NamedTuple):
    """The pooling window of output (i, j): rows row_start[i]:row_stop[i]:step[0], columns likewise, inside the image.

    Regular, padded, ceil-mode, dilated and adaptive pooling all come down to these int64 vectors. A window may be
    empty only for average pooling (its sum is then 0).
    """

    row_start: Array  # (OH,)
    row_stop: Array  # (OH,)
    col_start: Array  # (OW,)
    col_stop: Array  # (OW,)
    step: Pair = (1, 1)

    # equal and hashed as objects: what a kernel works out of windows can be remembered with them
    __eq__, __hash__ = object.__eq__, object.__hash__


# -- convolution: three bilinear operations, each the adjoint of the others -----------------------------------------

def conv2d(x: Array, w: Array, b: Array | None, geometry: Geometry) -> Array:
    """y[n,o] = b[o] + Σ_c w[o,c] ⋆ x[n,c].  x (N,C,H,W), w (O,C/groups,KH,KW), b (O) → y (N,O,OH,OW)."""


def conv2d_input_grad(gy: Array, w: Array, x_shape: tuple[int, ...], geometry: Geometry) -> Array:
    """gx with ⟨gy, conv2d(x, w)⟩ = ⟨gx, x⟩: the transposed convolution.  gy (N,O,OH,OW), w → gx of x_shape."""


def conv2d_weight_grad(x: Array, gy: Array, w_shape: tuple[int, ...], geometry: Geometry) -> Array:
    """gw with ⟨gy, conv2d(x, w)⟩ = ⟨gw, w⟩.  x (N,C,H,W), gy (N,O,OH,OW) → gw of w_shape."""


def im2col(x: Array, kernel: Pair, geometry: Geometry) -> Array:
    """Every window as a column.  x (N,C,H,W) → cols (N, C·KH·KW, OH·OW); geometry.groups is not used."""


def col2im(cols: Array, x_shape: tuple[int, ...], kernel: Pair, geometry: Geometry) -> Array:
    """The adjoint of im2col: columns added back where they came from.  cols (N, C·KH·KW, OH·OW) → (N,C,H,W)."""


# -- products -------------------------------------------------------------------------------------------------------

def matmul(a: Array, b: Array, bias: Array | None = None) -> Array:
    """y = a·b + bias.  a (M,K), b (K,N), either may be a transposed view; bias (N) is added to every row → y (M,N)."""


# -- pooling --------------------------------------------------------------------------------------------------------

def max_pool2d(x: Array, windows: Windows) -> tuple[Array, Array]:
    """Largest element of each window and where it was.  x (N,C,H,W) → y, index (N,C,OH,OW).

    index is int64, h·W + w; ties take the first element in row order, NaN wins over everything (the last NaN of a
    window), both as in PyTorch.
    """


def pool_scatter(gy: Array, index: Array, x_shape: tuple[int, ...]) -> Array:
    """gx[n,c].flat[index] += gy: the backward of max pooling.  gy, index (N,C,OH,OW) → gx (N,C,H,W)."""


def pool_gather(x: Array, index: Array) -> Array:
    """y = x[n,c].flat[index], the adjoint of pool_scatter.  x (N,C,H,W), index (N,C,OH,OW) → y (N,C,OH,OW)."""


def avg_pool2d(x: Array, windows: Windows, divisor: Array) -> Array:
    """Sum of each window over divisor (OH,OW).  x (N,C,H,W) → y (N,C,OH,OW)."""


def avg_pool2d_grad(gy: Array, windows: Windows, divisor: Array, x_shape: tuple[int, ...]) -> Array:
    """The adjoint of avg_pool2d: each gy / divisor is added to every element of its window."""


# -- normalisation: x and gy are (N, C, L), L the product of the spatial sizes (1 for flat features) ----------------

def channel_sum(x: Array) -> Array:
    """Σ over n and l.  x (N,C,L) → (C); the gradient of a bias."""


def batch_norm_stats(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance per channel, stable for large means.  x (N,C,L) → mean (C), var (C)."""


def batch_norm(x: Array, mean: Array, inv_std: Array, w: Array | None, b: Array | None) -> Array:
    """y = (x − mean) · inv_std · w + b per channel; w, b None mean 1, 0."""


def batch_norm_grad(gy: Array, x: Array, mean: Array, inv_std: Array, w: Array | None,
                    training: bool) -> tuple[Array, Array, Array]:
    """With x̂ = (x − mean)·inv_std and m = N·L:  gw = Σ gy·x̂,  gb = Σ gy,  and

    gx = w·inv_std · (gy − gb/m − x̂·gw/m) where mean and inv_std came from x (training), else w·inv_std·gy.
    """


# -- activations (any shape) ----------------------------------------------------------------------------------------

def relu(x: Array) -> Array:
    """max(x, 0); NaN stays NaN."""


def relu_grad(gy: Array, y: Array) -> Array:
    """0 where y ≤ 0, else gy: also where y is NaN, as in PyTorch."""


def leaky_relu(x: Array, slope: float) -> Array:
    """x where x > 0, else slope·x."""


def leaky_relu_grad(gy: Array, x: Array, slope: float) -> Array:
    """gy where x > 0, else slope·gy."""


def elu(x: Array, alpha: float) -> Array:
    """x where x > 0, else alpha·(eˣ − 1)."""


def elu_grad(gy: Array, x: Array, alpha: float) -> Array:
    """gy where x > 0, else gy·alpha·eˣ."""


def sigmoid(x: Array) -> Array:
    """1 / (1 + e⁻ˣ), without overflow at either end."""


def sigmoid_grad(gy: Array, y: Array) -> Array:
    """gy·y·(1 − y)."""


def tanh(x: Array) -> Array:
    """Hyperbolic tangent."""


def tanh_grad(gy: Array, y: Array) -> Array:
    """gy·(1 − y²)."""


# -- softmax: x is (M, K, L), normalised over K ---------------------------------------------------------------------

def softmax(x: Array) -> Array:
    """eˣ / Σₖ eˣ, with the maximum taken out first."""


def softmax_grad(gy: Array, y: Array) -> Array:
    """y·(gy − Σₖ gy·y)."""


def log_softmax(x: Array) -> Array:
    """x − log Σₖ eˣ, with the maximum taken out first."""


def log_softmax_grad(gy: Array, y: Array) -> Array:
    """gy − e^y·Σₖ gy."""


def cross_entropy(x: Array, target: Array) -> tuple[Array, Array]:
    """One pass of softmax with its loss.  x (N,K), target int64 (N) → loss (N) = −log p[n,target[n]], p (N,K).

    A target outside 0 … K−1 marks a row to ignore: its loss is 0.
    """


def cross_entropy_grad(gy: Array, p: Array, target: Array) -> Array:
    """gx[n] = gy[n]·(p[n] − onehot(target[n])).  gy (N), p (N,K) → gx (N,K); ignored rows are 0."""


# -- dropout --------------------------------------------------------------------------------------------------------

def dropout(x: Array, p: float, key: Pair) -> Array:
    """x[i] / (1 − p) where u[i] ≥ p, else 0, with u = random_uniform(x.size, key) and p rounded to float32.

    The mask is a function of key and position alone, so nothing is stored and dropout is its own adjoint.
    """


def random_uniform(n: int, key: Pair) -> Array:
    """n float32 numbers in [0, 1): Philox 4×32-10 (Salmon et al. 2011) of key = (seed, stream).

    Block i of four numbers is Philox of the counter (i lo, i hi, stream lo, stream hi) under the key (seed lo, seed
    hi), 32 bits each; number = top 24 bits · 2⁻²⁴. Equal on every device.
    """


# -- optimiser steps, in place on p and the state arrays, which are contiguous --------------------------------------

def sgd_step(p: Array, g: Array, velocity: Array | None, lr: float, momentum: float, dampening: float,
             weight_decay: float, nesterov: bool, maximize: bool, first: bool) -> None:
    """torch.optim.SGD in place: g ← ±g + weight_decay·p;  v ← g if first else momentum·v + (1 − dampening)·g;

    p ← p − lr·(g + momentum·v if nesterov else v).  velocity None means no momentum: p ← p − lr·g.
    """


def adam_step(p: Array, g: Array, m: Array, v: Array, v_max: Array | None, step: int, lr: float, beta1: float,
              beta2: float, eps: float, weight_decay: float, decoupled: bool, maximize: bool) -> None:
    """torch.optim.Adam (AdamW if decoupled) in place, step counted from 1; v_max not None is amsgrad.

    g ← ±g + weight_decay·p (or p ← p·(1 − lr·weight_decay) if decoupled);  m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g²;
    p ← p − lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + eps), with v_max ← max(v_max, v) in the place of v for amsgrad.
    """
