"""The names every kernel back end exports: arrays in, arrays out, nothing of minicnn.

``reference`` (plain NumPy), ``cpu`` (numba) and ``cuda`` export exactly these names with exactly these
signatures; a test compares them. Shape letters: N images, C input channels, H×W image, O output channels,
KH×KW kernel, OH×OW output; arrays are ``x w b y``, their gradients ``gx gw gb gy``. Arrays may come with any
strides and are never written to, unless the sentence says "in place". Callers have checked shapes and types.
"""

from inspect import isfunction
from typing import NamedTuple

import numpy as np

Array = np.ndarray
Arrays = tuple[Array, ...]
Pair = tuple[int, int]
Sizes = tuple[int, ...]


class Geometry(NamedTuple):
    """How a kernel slides over an image; one entry per axis, rows before columns; padding is zeros (before, after).

    The kernels know two axes. Volumes have three, depth first, and are convolved as volumes.py says.
    """

    stride: Sizes = (1, 1)
    padding: tuple[Pair, ...] = ((0, 0), (0, 0))
    dilation: Sizes = (1, 1)
    groups: int = 1

    def output_size(self, size: Sizes, kernel: Sizes) -> Sizes:
        """⌊(n + before + after − dilation·(k−1) − 1) / stride⌋ + 1, per axis."""
        return tuple([(n + before + after - d * (k - 1) - 1) // s + 1 for n, k, s, (before, after), d in
                      zip(size, kernel, self.stride, self.padding, self.dilation)])

    def plane(self) -> "Geometry":
        """The same for the last two axes alone."""
        return Geometry(self.stride[-2:], self.padding[-2:], self.dilation[-2:], self.groups)


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

    # Equal and hashed as objects: what a kernel works out of windows can be remembered with them.

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


# -- convolution: three bilinear operations, each the adjoint of the others -----------------------------------------

def conv2d(x: Array, w: Array, b: Array | None, geometry: Geometry, rectify: bool = False) -> Array:
    """y[n,o] = b[o] + Σ_c w[o,c] ⋆ x[n,c], or relu of that to rectify.

    x (N,C,H,W), w (O,C/groups,KH,KW), b (O) → y (N,O,OH,OW).
    """


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


def activated_avg_pool2d(x: Array, activation: str, windows: Windows, divisor: Array) -> tuple[Array, Array]:
    """y = avg_pool2d(a, windows, divisor) and a = activation(x), which is "relu", "sigmoid" or "tanh"."""


def activated_avg_pool2d_grad(gy: Array, a: Array, activation: str, windows: Windows, divisor: Array) -> Array:
    """The gradient of x: avg_pool2d_grad, then that of the activation."""


# -- sums of chosen elements ----------------------------------------------------------------------------------------

def resample(x: Array, start: Array, index: Array, weight: Array) -> Array:
    """y[:,i] = Σ weight[t]·x[:,index[t]] over start[i] ≤ t < start[i+1].  x (A,N,B), start (M+1) → y (A,M,B)."""


def sample(x: Array, index: Array, w: Array) -> Array:
    """y[n,c,p] = Σ_k w[n,k,p]·x[n,c,index[n,k,p]], where index −1 stands for no element.  x (N,C,L), index int64 and
    w (N,K,P) → y (N,C,P)."""


def sample_input_grad(gy: Array, index: Array, w: Array, length: int) -> Array:
    """gx[n,c,index[n,k,p]] += w[n,k,p]·gy[n,c,p], the adjoint of sample in x.  gy (N,C,P) → gx (N,C,length)."""


def sample_weight_grad(x: Array, index: Array, gy: Array) -> Array:
    """gw[n,k,p] = Σ_c gy[n,c,p]·x[n,c,index[n,k,p]], its adjoint in w.  x (N,C,L), gy (N,C,P) → gw (N,K,P)."""


def index_add(y: Array, index: Array, v: Array) -> None:
    """In place y[index[i]] += v[i], in the order of i.  y (M,L), contiguous, of any type, index int64 (N), v (N,L).

    Equal for every back end and any number of threads; half precision is added up in float32 and rounded once.
    """


# -- normalisation: x and gy are (N, C, L), L the product of the spatial sizes (1 for flat features) ----------------

def channel_sum(x: Array) -> Array:
    """Σ over n and l.  x (N,C,L) → (C); the gradient of a bias."""


def batch_norm_stats(x: Array, eps: float) -> tuple[Array, Array, Array]:
    """Mean, biased variance and 1/√(var + eps) per channel, stable for large means.  x (N,C,L) → (C) each."""


def batch_norm(x: Array, mean: Array, inv_std: Array, w: Array | None, b: Array | None,
               rectify: bool = False) -> Array:
    """y = (x − mean) · inv_std · w + b per channel, or relu of that to rectify; w, b None mean 1, 0."""


def batch_norm_grad(gy: Array, x: Array, mean: Array, inv_std: Array, w: Array | None, training: bool,
                    y: Array | None = None) -> tuple[Array, Array, Array]:
    """With x̂ = (x − mean)·inv_std and m = N·L:  gw = Σ gy·x̂,  gb = Σ gy,  and

    gx = w·inv_std · (gy − gb/m − x̂·gw/m) where mean and inv_std came from x (training), else w·inv_std·gy.
    Where a rectified output y is given, gy counts as relu_grad(gy, y).
    """


def group_norm(x: Array, w: Array | None, b: Array | None, eps: float,
               centred: bool = True) -> tuple[Array, Array, Array]:
    """y = x̂·w + b, x̂ = (x − mean)·inv_std over k and l.  x (N,G,K,L), w and b (G,K) → y, mean and inv_std (N,G).

    inv_std = 1/√(var + eps), biased var; mean and inv_std are float64. Unless centred, mean is 0, var the mean of x².
    """


def group_norm_grad(gy: Array, x: Array, mean: Array, inv_std: Array, w: Array | None,
                    centred: bool = True) -> tuple[Array, Array, Array]:
    """gw = Σ gy·x̂ and gb = Σ gy over n and l;  gx = inv_std·(g − ḡ − x̂·(g·x̂)‾), g = gy·w, ‾ the mean over k and l.

    Unless centred, without ḡ.
    """


# -- arithmetic: a and b of one type, and of one shape unless one of them has no axes -------------------------------
#
# The names are those of Python's module operator. Results lie in memory in the order in which a and b do.

def add(a: Array, b: Array) -> Array:
    """a + b."""


def sub(a: Array, b: Array) -> Array:
    """a − b."""


def mul(a: Array, b: Array) -> Array:
    """a·b."""


def truediv(a: Array, b: Array) -> Array:
    """a/b."""


def iadd(a: Array, b: Array) -> Array:
    """In place a ← a + b, both of one shape; returns a."""


def concatenate(xs: tuple[Array, ...], axis: int) -> Array:
    """Arrays of one type end to end along an axis (0 … ndim − 1), where their lengths may differ."""


# -- functions of single elements (any shape) -----------------------------------------------------------------------

def relu(x: Array) -> Array:
    """max(x, 0); NaN stays NaN."""


def relu_grad(gy: Array, y: Array) -> Array:
    """0 where y ≤ 0, else gy: also where y is NaN, as in PyTorch."""


def leaky_relu(x: Array, slope: float) -> Array:
    """x where x > 0, else slope·x."""


def leaky_relu_grad(gy: Array, x: Array, slope: float) -> Array:
    """gy where x > 0, else slope·gy."""


def prelu(x: Array, w: Array) -> Array:
    """x where x > 0, else w·x, w of the shape of x."""


def prelu_grad(gy: Array, x: Array, w: Array) -> Array:
    """gx = gy where x > 0, else w·gy."""


def prelu_weight_grad(gy: Array, x: Array) -> Array:
    """gw = 0 where x > 0, else x·gy."""


def hardtanh(x: Array, low: float, high: float) -> Array:
    """min(max(x, low), high); NaN stays NaN."""


def hardtanh_grad(gy: Array, y: Array, low: float, high: float) -> Array:
    """0 where y ≤ low or y ≥ high, else gy."""


def hardswish(x: Array) -> Array:
    """x·min(max(x + 3, 0), 6)/6."""


def hardswish_grad(gy: Array, x: Array) -> Array:
    """0 where x ≤ −3, gy where x ≥ 3, else gy·(x/3 + ½)."""


def hardsigmoid(x: Array) -> Array:
    """min(max(x + 3, 0), 6)/6."""


def hardsigmoid_grad(gy: Array, x: Array) -> Array:
    """gy/6 where −3 < x < 3, else 0."""


def hardshrink(x: Array, width: float) -> Array:
    """0 where −width ≤ x ≤ width, else x."""


def hardshrink_grad(gy: Array, x: Array, width: float) -> Array:
    """0 where −width ≤ x ≤ width, else gy: of softshrink, too."""


def softshrink(x: Array, width: float) -> Array:
    """x − width where x > width, x + width where x < −width, else 0; NaN stays NaN."""


def threshold(x: Array, least: float, other: float) -> Array:
    """other where x ≤ least, else x."""


def threshold_grad(gy: Array, x: Array, least: float, other: float) -> Array:
    """0 where x ≤ least, else gy."""


def elu(x: Array, alpha: float, scale: float, input_scale: float) -> Array:
    """scale·x where x > 0, else scale·alpha·(e^(input_scale·x) − 1), with input_scale ≥ 0."""


def elu_grad(gy: Array, x: Array, alpha: float, scale: float, input_scale: float) -> Array:
    """gy·scale where x > 0, else gy·scale·alpha·input_scale·e^(input_scale·x)."""


def sigmoid(x: Array) -> Array:
    """1 / (1 + e⁻ˣ), without overflow at either end."""


def sigmoid_grad(gy: Array, y: Array) -> Array:
    """gy·y·(1 − y)."""


def tanh(x: Array) -> Array:
    """Hyperbolic tangent."""


def tanh_grad(gy: Array, y: Array) -> Array:
    """gy·(1 − y²)."""


def tanhshrink(x: Array) -> Array:
    """x − tanh x."""


def tanhshrink_grad(gy: Array, x: Array) -> Array:
    """gy·tanh² x."""


def softplus(x: Array, beta: float, threshold: float) -> Array:
    """log(1 + e^(beta·x))/beta, but x where beta·x > threshold; with beta = −1 and threshold = ∞ it is log σ(x)."""


def softplus_grad(gy: Array, x: Array, beta: float, threshold: float) -> Array:
    """gy·σ(beta·x), but gy where beta·x > threshold."""


def softsign(x: Array) -> Array:
    """x/(1 + |x|)."""


def softsign_grad(gy: Array, x: Array) -> Array:
    """gy/(1 + |x|)², but NaN where x is infinite, as x/(1 + |x|) is."""


def erf(x: Array) -> Array:
    """2/√π·∫₀ˣ e^(−t²) dt."""


def erfc(x: Array) -> Array:
    """1 − erf(x), exact where it is tiny."""


def huber(d: Array, delta: float) -> Array:
    """d²/2 where |d| < delta, else delta·(|d| − delta/2)."""


def huber_grad(gy: Array, d: Array, delta: float) -> Array:
    """gy·min(max(d, −delta), delta)."""


def logistic_loss(x: Array, t: Array) -> Array:
    """(1 − t)·x + log(1 + e⁻ˣ) = −t·log σ(x) − (1 − t)·log(1 − σ(x)).  t of the shape of x."""


def logistic_loss_grad(gy: Array, x: Array, t: Array) -> Array:
    """gx = gy·(σ(x) − t) = gy·(1 − t − σ(−x)), whichever of the two is exact for a large |x|."""


def silu(x: Array) -> Array:
    """x·σ(x)."""


def silu_grad(gy: Array, x: Array) -> Array:
    """gy·σ(x)·(1 + x·(1 − σ(x)))."""


def gelu(x: Array) -> Array:
    """x·Φ(x), Φ the distribution function of the normal distribution."""


def gelu_grad(gy: Array, x: Array) -> Array:
    """gy·(Φ(x) + x·φ(x)), φ its density."""


def gelu_tanh(x: Array) -> Array:
    """x·½(1 + tanh u) = x·σ(2u), u = √(2/π)·(x + 0.044715·x³): nearly gelu."""


def gelu_tanh_grad(gy: Array, x: Array) -> Array:
    """gy·(s + x·s·(1 − s)·2u′), s = σ(2u)."""


def mish(x: Array) -> Array:
    """x·t, t = tanh(log(1 + eˣ))."""


def mish_grad(gy: Array, x: Array) -> Array:
    """gy·(t + x·(1 − t²)·σ(x))."""


# -- sums -----------------------------------------------------------------------------------------------------------

def axis_sum(x: Array) -> Array:
    """Σₖ x in float64.  x (M,K,L) → (M,L)."""


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


# -- connectionist temporal classification: x (T,N,C) log-probabilities of C labels in T frames ---------------------

def ctc(x: Array, states: Array, frames: Array, counts: Array) -> tuple[Array, Array]:
    """loss (N) = −log P(target), and the sums over paths alpha (N,T,L), float64, that ctc_grad needs.

    states (N,L) int64: for each sequence the labels of its target with blanks around, of which the first counts[n]
    count, as do the first frames[n] frames; both may differ from sequence to sequence. No path: loss inf.
    """


def ctc_grad(gy: Array, x: Array, states: Array, frames: Array, counts: Array, alpha: Array) -> Array:
    """gx[t,n] = gy[n]·(e^x[t,n] − posterior of the labels in frame t), 0 from frames[n] on and where gy[n] is 0.

    Where there is no path, gx is NaN at the labels of the states.
    """


# -- recurrent layers: one layer, in one direction, through all steps -----------------------------------------------
#
# A packed sequence has the rows of step 0, below them those of step 1, and so on, R in all. Step t has batch_sizes[t]
# of them, int64 (T), never more than the step before; N = batch_sizes[0] sequences. H hidden features, of which an LSTM
# with a projection w_hr (P,H) shows P, else P = H. h[t] and c[t] are the states after step t, before it h0 (N,P) and c0
# (N,H). What changes in place is contiguous and comes as x·w_ihᵀ + b_ih, for an RNN and an LSTM with b_hh in it.

def rnn_sequence(y: Array, h0: Array, w_hh: Array, relu: bool, batch_sizes: Array) -> None:
    """In place y[t] ← h[t] = f(y[t] + h[t−1]·w_hhᵀ), f = max(·, 0) if relu else tanh.  y (R,H), w_hh (H,H)."""


def rnn_sequence_grad(gy: Array, gh: Array, y: Array, w_hh: Array, relu: bool,
                      batch_sizes: Array) -> tuple[Array, Array]:
    """ga (R,H), the gradient of what f is taken of, and gh0; gh (N,H) is that of the last state of each sequence."""


def lstm_sequence(gates: Array, h0: Array, c0: Array, w_hh: Array, w_hr: Array | None,
                  batch_sizes: Array) -> tuple[Array, Array]:
    """y (R,P) and cells (R,H), all h[t] and c[t]; in place gates (R,4H) ← i f g o of a = gates[t] + h[t−1]·w_hhᵀ:

    i, f, o = σ(aᵢ), σ(a_f), σ(aₒ);  g = tanh(a_g);  c[t] = f·c[t−1] + i·g;  h[t] = o·tanh(c[t]), times w_hrᵀ if given.
    """


def lstm_sequence_grad(gy: Array, gh: Array, gc: Array, gates: Array, c0: Array, cells: Array, w_hh: Array,
                       w_hr: Array | None, batch_sizes: Array) -> tuple[Array, Array, Array, Array | None]:
    """ga (R,4H), gh0, gc0 and gw_hr; gh (N,P) and gc (N,H) are those of the last states of each sequence."""


def gru_sequence(gates: Array, h0: Array, w_hh: Array, b_hh: Array | None, batch_sizes: Array) -> tuple[Array, Array]:
    """y (R,H), all h[t], and seen (R,H), all aₙ; in place gates (R,3H) ← r z n, with a = h[t−1]·w_hhᵀ + b_hh:

    r, z = σ(gatesᵣ + aᵣ), σ(gates_z + a_z);  n = tanh(gatesₙ + r·aₙ);  h[t] = (1 − z)·n + z·h[t−1].
    """


def gru_sequence_grad(gy: Array, gh: Array, gates: Array, seen: Array, h0: Array, y: Array, w_hh: Array,
                      batch_sizes: Array) -> tuple[Array, Array, Array]:
    """The gradients (R,3H) of what the input gave and of a, and gh0; gh (N,H) is that of the last states."""


# -- dropout --------------------------------------------------------------------------------------------------------

def dropout(x: Array, p: float, key: Pair) -> Array:
    """x[i] / (1 − p) where u[i] ≥ p, else 0, with u = random_uniform(x.size, key) and p rounded to float32.

    The mask is a function of key and position alone, so nothing is stored and dropout is its own adjoint.
    """


def random_uniform(n: int, key: Pair) -> Array:
    """n float32 numbers in [0, 1): Philox 4×32-10 (Salmon et al. 2011) of key = (seed, stream).

    Block i of four numbers is Philox of the counter (i lo, i hi, stream lo, stream hi) under the key (seed lo, seed
    hi), 32 bits each; number = top 24 bits · 2⁻²⁴. Equal for every back end, and always a NumPy array.
    """


# -- optimiser steps of many parameters, in place on ps and on their state, which are contiguous and of one type ----

def sgd_step(ps: Arrays, gs: Arrays, velocities: Arrays | None, lr: float, momentum: float, dampening: float,
             weight_decay: float, nesterov: bool, maximize: bool, first: bool) -> None:
    """torch.optim.SGD in place: g ← ±g + weight_decay·p;  v ← g if first else momentum·v + (1 − dampening)·g;

    p ← p − lr·(g + momentum·v if nesterov else v).  velocities None means no momentum: p ← p − lr·g.
    """


def adam_step(ps: Arrays, gs: Arrays, ms: Arrays, vs: Arrays, v_maxes: Arrays | None, step: int, lr: float,
              beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool, maximize: bool) -> None:
    """torch.optim.Adam (AdamW if decoupled) in place, step counted from 1; v_maxes not None is amsgrad.

    g ← ±g + weight_decay·p (or p ← p·(1 − lr·weight_decay) if decoupled);  m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g²;
    p ← p − lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + eps), with v_max ← max(v_max, v) in the place of v for amsgrad.
    """


KERNELS = tuple([name for name, value in globals().items() if isfunction(value) and value.__module__ == __name__])
