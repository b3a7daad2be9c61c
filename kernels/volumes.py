"""Convolution of volumes by convolution of images: the depth of the kernel becomes channels.

Slice t of the result sees KD slices of the volume. Side by side, channel by channel, they are an image

    taps[n, t, (c, k)] = x[n, c, t·stride + k·dilation − before]          (zeros outside the volume)

of C·KD channels, and the kernel (O, C/groups, KD, KH, KW), read as (O, C/groups·KD, KH, KW), is a kernel for such
images: y[n, :, t] = conv2d(taps[n, t], w). The weight gradient is that of the images. So is the input gradient, once
what the taps receive is added to the slices they are copies of.

taps repeats each slice up to KD times, so it is never built for more than WORKSPACE bytes at once.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from .contract import Array, Geometry

WORKSPACE = 8 * 2 ** 20  # bytes of taps


class Volumes:
    """The three operations on volumes, by the three on images of a back end or a formulation."""

    def __init__(self, images: Any) -> None:
        self.images = images

    def conv2d(self, x: Array, w: Array, b: Array | None, geometry: Geometry) -> Array:
        """y[n,o] = b[o] + Σ_c w[o,c] ⋆ x[n,c].  x (N,C,D,H,W), w (O,C/groups,KD,KH,KW), b (O) → y (N,O,OD,OH,OW)."""
        y = np.empty_like(x, shape=(len(x), len(w), *geometry.output_size(x.shape[2:], w.shape[2:])))
        for images, slices in _parts(x.shape, y.shape[2], w.shape[2], x.itemsize):
            part = y[images, :, slices].swapaxes(1, 2)                              # (n, t, O, OH, OW)
            taps = _taps(x[images], slices, w.shape[2], geometry)                   # (n·t, C·KD, H, W)
            part[...] = self.images.conv2d(taps, _flat(w), b, geometry.plane()).reshape(part.shape)
        return y

    def conv2d_input_grad(self, gy: Array, w: Array, x_shape: tuple[int, ...], geometry: Geometry) -> Array:
        """gx with ⟨gy, conv(x, w)⟩ = ⟨gx, x⟩.  gy (N,O,OD,OH,OW), w → gx of x_shape."""
        dtype, gy, w = gy.dtype, _wide(gy), _wide(w)
        gx = np.zeros_like(gy, shape=x_shape)
        for images, slices in _parts(x_shape, gy.shape[2], w.shape[2], gy.itemsize):
            part = _slices(gy[images, :, slices])                                   # (n·t, O, OH, OW)
            shape = (len(part), x_shape[1] * w.shape[2], *x_shape[3:])
            taps = self.images.conv2d_input_grad(part, _flat(w), shape, geometry.plane())  # (n·t, C·KD, H, W)
            _add_taps(gx[images], taps, slices, w.shape[2], geometry)
        return gx.astype(dtype, copy=False)

    def conv2d_weight_grad(self, x: Array, gy: Array, w_shape: tuple[int, ...], geometry: Geometry) -> Array:
        """gw with ⟨gy, conv(x, w)⟩ = ⟨gw, w⟩.  x (N,C,D,H,W), gy (N,O,OD,OH,OW) → gw of w_shape."""
        dtype, x, gy = x.dtype, _wide(x), _wide(gy)
        gw = np.zeros_like(gy, shape=w_shape)
        shape = (w_shape[0], w_shape[1] * w_shape[2], *w_shape[3:])                 # (O, C/groups·KD, KH, KW)
        for images, slices in _parts(x.shape, gy.shape[2], w_shape[2], x.itemsize):
            taps, part = _taps(x[images], slices, w_shape[2], geometry), _slices(gy[images, :, slices])
            gw += self.images.conv2d_weight_grad(taps, part, shape, geometry.plane()).reshape(w_shape)
        return gw.astype(dtype, copy=False)


def _flat(w: Array) -> Array:
    return w.reshape(len(w), w.shape[1] * w.shape[2], *w.shape[3:])                 # (O, C/groups·KD, KH, KW)


def _slices(volumes: Array) -> Array:
    n, c, d, h, w = volumes.shape
    return volumes.swapaxes(1, 2).reshape(n * d, c, h, w)                           # (N·D, C, H, W)


def _wide(x: Array) -> Array:
    """x, in float32 if it is a narrower float: it is added up part by part."""
    return x if x.dtype.kind in "iu" else x.astype(np.promote_types(x.dtype, np.float32), copy=False)


def _parts(x_shape: tuple[int, ...], slices: int, kernel: int, itemsize: int) -> Iterator[tuple[slice, slice]]:
    """Images, and slices of the result, whose taps fit into WORKSPACE; those of one slice always do."""
    n, c, _, h, w = x_shape
    size = max(1, c * kernel * h * w * itemsize)  # of the taps of one slice
    t = max(1, min(slices, WORKSPACE // size))
    return product(_spans(n, max(1, WORKSPACE // (size * t))), _spans(slices, t))


def _spans(size: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


def _copies(slices: slice, kernel: int, depth: int, geometry: Geometry) -> Iterator[tuple[int, slice, slice]]:
    """(k, t, d): through tap k, the slices t of the result (counted from the first of them) see slices d."""
    stride = geometry.stride[0]
    for k in range(kernel):
        first = slices.start * stride + k * geometry.dilation[0] - geometry.padding[0][0]
        low, high = max(0, -(first // stride)), min(slices.stop - slices.start, (depth - 1 - first) // stride + 1)
        if low < high:
            yield k, slice(low, high), slice(first + low * stride, first + high * stride, stride)


def _taps(x: Array, slices: slice, kernel: int, geometry: Geometry) -> Array:
    n, c, depth, h, w = x.shape
    t = slices.stop - slices.start
    taps = np.zeros_like(x, shape=(n, t, c, kernel, h, w))
    for k, seeing, seen in _copies(slices, kernel, depth, geometry):
        taps[:, seeing, :, k] = x[:, :, seen].swapaxes(1, 2)
    return taps.reshape(n * t, c * kernel, h, w)


def _add_taps(gx: Array, taps: Array, slices: slice, kernel: int, geometry: Geometry) -> None:
    """The adjoint of _taps, added to gx."""
    n, c, depth, h, w = gx.shape
    taps = taps.reshape(n, slices.stop - slices.start, c, kernel, h, w)
    for k, seeing, seen in _copies(slices, kernel, depth, geometry):
        gx[:, :, seen] += taps[:, seeing, :, k].swapaxes(1, 2)
