"""Layers that add up in the order in which they are explained, so that the sums of a page are those of the run.

Floating-point sums depend on their order, and the fast kernels choose theirs by the machine. Here convolutions add up
as the six nested loops of kernels/formulations.py do: each product is rounded, then added. Elements are computed side
by side, terms one after the other, so it takes seconds where the loops would take hours; the bits are the same. All
other layers do as kernels/reference: what is no sum of products is added in double precision and rounded once.
"""

from typing import Any

import numpy as np

from ...backend import Geometry, Windows
from ...engine import Function, Tensor
from ...kernels.reference import im2col
from ...ops.conv import Conv2d
from ...ops.dropout import Dropout
from ...ops.linear import Linear
from ...ops.norm import BatchNorm
from ...ops.pool import AvgPool2d, MaxPool2d

Array = np.ndarray


class InOrder(Function):
    """One use of an operation, which keeps every array that it sees.

    Attributes:
        operation: its name on the page.
        settings: the numbers that it has besides its tensors.
        arrays: tensors and gradients by the names that they have on the page.
    """

    operation: str

    def __init__(self, **settings: Any) -> None:
        self.settings, self.arrays = settings, dict[str, Array]()

    def keep(self, **arrays: Array | None) -> None:
        """Note arrays, without those that the layer does not have."""
        self.arrays |= {name: np.array(a) for name, a in arrays.items() if a is not None}


# -- convolution ----------------------------------------------------------------------------------------------------


class ConvInOrder(InOrder):
    """y[o,i,j] = Σ_cpq w·x + b,  gx[c,h,v] = Σ_oij w·gy,  gw[o,c,p,q] = Σ_ij gy·x,  gb[o] = Σ_ij gy."""

    operation = "conv2d"

    def __init__(self, geometry: Geometry) -> None:
        super().__init__(**geometry._asdict())
        self.geometry = geometry

    def forward(self, x, w, b=None):
        y = conv2d(x, w, self.geometry)
        y = y if b is None else y + b[:, None, None]
        self.keep(x=x, w=w, b=b, y=y)
        return y

    def backward(self, gy):
        a, gy = self.arrays, gy.data
        gx = input_grad(gy, a["w"], a["x"].shape, self.geometry)
        gw = weight_grad(a["x"], gy, a["w"].shape, self.geometry)
        gb = _channel_sum(gy) if "b" in a else None
        self.keep(gy=gy, gx=gx, gw=gw, gb=gb)
        return (Tensor(gx), Tensor(gw)) if gb is None else (Tensor(gx), Tensor(gw), Tensor(gb))


def conv2d(x: Array, w: Array, geometry: Geometry) -> Array:
    """x (N, C, H, W), w (O, C/G, KH, KW) → y (N, O, OH, OW), the terms of each element by c, p, q."""
    xp, wg = _padded(x, geometry), _by_group(w, geometry)
    size = geometry.output_size(x.shape[2:], w.shape[2:])
    y = np.zeros((len(x), geometry.groups, wg.shape[1], *size), x.dtype)                # (N, G, O/G, OH, OW)
    for c in range(w.shape[1]):
        for p in range(w.shape[2]):
            for q in range(w.shape[3]):
                seen = xp[:, :, None, c][_taps(p, q, size, geometry)]                   # (N, G, 1, OH, OW)
                y += wg[:, :, c, p, q, None, None] * seen
    return y.reshape(len(x), len(w), *size)


def input_grad(gy: Array, w: Array, x_shape: tuple[int, ...], geometry: Geometry) -> Array:
    """gy (N, O, OH, OW) → gx (N, C, H, W), the terms of each element by o, i, j."""
    wg, gyg = _by_group(w, geometry), _grouped(gy, geometry)
    gxp = np.zeros_like(_padded(np.zeros(x_shape, gy.dtype), geometry))                 # (N, G, C/G, H+pad, W+pad)
    for o in range(wg.shape[1]):
        for p in reversed(range(w.shape[2])):                                           # the last weight first:
            for q in reversed(range(w.shape[3])):                                       # it met the pixel first
                gxp[_taps(p, q, gy.shape[2:], geometry)] += wg[:, o, :, p, q, None, None] * gyg[:, :, o, None]
    (top, _), (left, _) = geometry.padding
    return gxp[..., top:top + x_shape[2], left:left + x_shape[3]].reshape(x_shape)


def weight_grad(x: Array, gy: Array, w_shape: tuple[int, ...], geometry: Geometry) -> Array:
    """x (N, C, H, W), gy (N, O, OH, OW) → gw (O, C/G, KH, KW), the terms of each element by n, i, j."""
    g, gw = geometry.groups, np.zeros((geometry.groups, w_shape[0] // geometry.groups, *w_shape[1:]), x.dtype)
    for image, gyi in zip(x, gy):
        cols = im2col(image[None], w_shape[2:], geometry).reshape(g, 1, *w_shape[1:], -1)
        rows = gyi.reshape(g, w_shape[0] // g, 1, 1, 1, -1)
        for i in range(cols.shape[-1]):
            gw += rows[..., i] * cols[..., i]                                           # (G, O/G, C/G, KH, KW)
    return gw.reshape(w_shape)


def _taps(p: int, q: int, size: tuple[int, ...], geometry: Geometry) -> tuple[Any, ...]:
    """What weight (p, q) meets in the padded image, one pixel for each of the outputs."""
    starts = p * geometry.dilation[0], q * geometry.dilation[1]
    return ..., *[slice(a, a + s * (n - 1) + 1, s) for a, s, n in zip(starts, geometry.stride, size)]


def _padded(x: Array, geometry: Geometry) -> Array:
    return _grouped(np.pad(x, ((0, 0), (0, 0), *geometry.padding)), geometry)           # (N, G, C/G, H+pad, W+pad)


def _grouped(a: Array, geometry: Geometry) -> Array:
    return a.reshape(len(a), geometry.groups, -1, *a.shape[2:])


def _by_group(w: Array, geometry: Geometry) -> Array:
    return w.reshape(geometry.groups, -1, *w.shape[1:])                                 # (G, O/G, C/G, KH, KW)


# -- pooling --------------------------------------------------------------------------------------------------------


class MaxPoolInOrder(InOrder):
    """y[i,j] = the largest of its window, gx[h,v] = Σ gy of the windows that it won, row by row."""

    operation = "max_pool2d"

    def forward(self, x, y, index):
        self.keep(x=x, y=y, index=index)
        return y

    def backward(self, gy):
        a = self.arrays
        gx = np.zeros_like(a["x"])
        planes, places = gx.reshape(-1, gx.shape[2] * gx.shape[3]), a["index"].reshape(-1, a["y"][0, 0].size)
        np.add.at(planes, (np.arange(len(planes))[:, None], places), gy.data.reshape(places.shape))
        self.keep(gy=gy.data, gx=gx)
        return Tensor(gx), None, None


class AvgPoolInOrder(InOrder):
    """y[i,j] = Σ x of its window / d,  gx[h,v] = Σ gy/d of the windows that it is in."""

    operation = "avg_pool2d"

    def forward(self, x):
        rows, columns, divisor = self.settings["rows"], self.settings["columns"], self.settings["divisor"]
        y = np.zeros((*x.shape[:2], len(rows), len(columns)), x.dtype)
        for i, (top, bottom) in enumerate(rows):
            for j, (left, right) in enumerate(columns):
                window = x[:, :, top:bottom, left:right].reshape(*x.shape[:2], -1)
                y[:, :, i, j] = _sum(window) / divisor[i][j]
        self.keep(x=x, y=y)
        return y

    def backward(self, gy):
        rows, columns, divisor = self.settings["rows"], self.settings["columns"], self.settings["divisor"]
        gx = np.zeros_like(self.arrays["x"])
        for i, (top, bottom) in enumerate(rows):
            for j, (left, right) in enumerate(columns):
                share = (gy.data[:, :, i, j] / divisor[i][j]).astype(gx.dtype)          # (N, C)
                gx[:, :, top:bottom, left:right] += share[..., None, None]
        self.keep(gy=gy.data, gx=gx)
        return Tensor(gx)


# -- batch normalisation --------------------------------------------------------------------------------------------


class BatchNormInOrder(InOrder):
    """y = w·x̂ + b with x̂ = (x − mean)·inv_std,  gx = w·inv_std·(gy − gb/m − x̂·gw/m): three terms.

    With running statistics, which do not depend on x, the first term is all there is.
    """

    operation = "batch_norm"

    def forward(self, x, w, b, mean, inv_std):
        x_hat = (x - _per_channel(mean, x)) * _per_channel(inv_std, x)
        y = x_hat if w is None else x_hat * _per_channel(w, x)
        y = y if b is None else y + _per_channel(b, x)
        self.keep(x=x, w=w, b=b, mean=mean, inv_std=inv_std, x_hat=x_hat, y=y)
        return y

    def backward(self, gy):
        a, gy = self.arrays, gy.data
        m, x_hat = gy.dtype.type(gy.size // gy.shape[1]), a["x_hat"]
        gw, gb = _channel_sum(gy * x_hat), _channel_sum(gy)
        of_mean, of_var = np.zeros((2, *gy.shape), gy.dtype)
        if self.settings["training"]:
            of_mean[:], of_var[:] = _per_channel(-gb / m, gy), x_hat * _per_channel(-gw / m, gy)
        scale = a["w"] * a["inv_std"] if "w" in a else a["inv_std"]
        gx = _per_channel(scale, gy) * (gy + of_mean + of_var)
        self.keep(gy=gy, gw=gw, gb=gb, of_mean=of_mean, of_var=of_var, scale=scale, gx=gx)
        return Tensor(gx), *[Tensor(g) if name in a else None for name, g in (("w", gw), ("b", gb))], None, None


def _per_channel(v: Array, x: Array) -> Array:
    return v.reshape(1, -1, *[1] * (x.ndim - 2))


def _channel_sum(a: Array) -> Array:
    return _sum(a.swapaxes(0, 1).reshape(a.shape[1], -1)).astype(a.dtype)               # (C)


def _sum(a: Array) -> Array:
    """Along the last axis, one after the other, in double precision."""
    return a.cumsum(-1, np.float64)[..., -1]


# -- dropout --------------------------------------------------------------------------------------------------------


class DropoutInOrder(InOrder):
    """y = x·mask,  gx = gy·mask,  mask = 1/(1 − p) with probability 1 − p, else 0."""

    operation = "dropout"

    def forward(self, x, mask):
        self.keep(x=x, mask=mask, y=x * mask)
        return self.arrays["y"]

    def backward(self, gy):
        self.keep(gy=gy.data, gx=gy.data * self.arrays["mask"])
        return Tensor(self.arrays["gx"]), None


# -- which layers there are -----------------------------------------------------------------------------------------


def in_order(output: Tensor, x: Tensor, parameters: dict[str, Tensor | None]) -> tuple[InOrder, Tensor] | None:
    """The layer that has just computed ``output`` from ``x``, computed once more in order: its record and its output.

    None is for layers whose sums are not explained.
    """
    node, w, b = output.grad_fn, parameters.get("weight"), parameters.get("bias")
    factors = [t for t in (w, b) if t is not None]
    if node is None or node.edges[0] != (x.grad_fn, x.output_index):
        return None  # a block: its last operation is not what makes the output out of x
    if len(node.edges) > 1 and node.edges[1] is not (w if w is not None and w.requires_grad else None):
        return None  # on other weights than the layer's own
    if isinstance(node, Conv2d) and x.ndim == 4:
        conv = ConvInOrder(node.geometry)
        return conv, conv(x, *factors)
    if isinstance(node, Linear) and x.ndim == 2 and w is not None:  # a convolution of images of one pixel
        conv = ConvInOrder(Geometry())
        return conv, conv(x[..., None, None], w[..., None, None], *factors[1:])[..., 0, 0]
    if isinstance(node, MaxPool2d) and x.ndim == 4:
        (index,), windows = node.saved, node.windows
        largest = MaxPoolInOrder(**_bounds(windows), step=windows.step)
        return largest, largest(x, output.detach(), index)
    if isinstance(node, AvgPool2d) and x.ndim == 4:
        mean = AvgPoolInOrder(**_bounds(node.windows), divisor=node.divisor.tolist())
        return mean, mean(x)
    if isinstance(node, BatchNorm) and x.ndim >= 2 and not node.rectify:
        norm = BatchNormInOrder(training=node.training, eps=node.eps)
        return norm, norm(x, w, b, *[t.detach() for t in node.saved[2:4]])  # mean, inv_std
    if isinstance(node, Dropout):
        drop = DropoutInOrder(p=node.p)
        return drop, drop(x, Dropout(node.p, node.key)(x.new_ones(*x.shape)))
    return None


def _bounds(windows: Windows) -> dict[str, list]:
    """The first row (column) of the windows of each row (column) of outputs, and the one behind the last."""
    return {"rows": np.stack([windows.row_start, windows.row_stop], 1).tolist(),
            "columns": np.stack([windows.col_start, windows.col_stop], 1).tolist()}
