"""Mistakes in the backward of convolution: gx is what the columns of gradient add up to, gw what the windows do."""

import itertools
from typing import Any

import numpy as np

from ...kernels import reference
from .mistake import Mistake, Use, collector

MISTAKES: list[Mistake] = []


def _images(use: Use) -> bool:
    """Convolutions of volumes are left right."""
    return use.gy.ndim == 4


conv = collector("Conv2d", MISTAKES, _images)
transposed = collector("Conv2dInputGrad", MISTAKES, _images)

# -- the right backward, with every part of it open to a mistake ----------------------------------------------------

def input_gradient(use: Use, w: Any = None, stride: Any = None, dilation: Any = None, corner: Any = None,
                   overwrite: str = "") -> np.ndarray:
    """Every output pixel spreads its multiple of the kernel over the padded image, which is then cropped at corner."""
    x, w = use.inputs[0], use.inputs[1] if w is None else w
    geometry, gy = use.node.geometry, use.gy
    (sh, sw), (dh, dw) = stride or geometry.stride, dilation or geometry.dilation
    (n, o, oh, ow), (_, c, kh, kw), g = gy.shape, w.shape, geometry.groups
    size = [max(s * (m - 1) + d * (k - 1) + 1, length + sum(pad) + 2) for s, m, d, k, length, pad in
            zip((sh, sw), (oh, ow), (dh, dw), (kh, kw), x.shape[2:], geometry.padding, strict=True)]
    padded = np.zeros((n, g * c, *size), gy.dtype)
    gcols = np.einsum("gockl,ngoij->ngcklij", w.reshape(g, o // g, c, kh, kw), gy.reshape(n, g, o // g, oh, ow))
    gcols = gcols.reshape(n, g * c, kh, kw, oh, ow)
    if overwrite == "windows":
        for i, j in itertools.product(range(oh), range(ow)):
            padded[:, :, i * sh:i * sh + dh * (kh - 1) + 1:dh, j * sw:j * sw + dw * (kw - 1) + 1:dw] = \
                gcols[..., i, j]
    for k, m in [] if overwrite == "windows" else itertools.product(range(kh), range(kw)):
        place = (..., slice(k * dh, k * dh + sh * oh, sh), slice(m * dw, m * dw + sw * ow, sw))
        padded[place] = gcols[:, :, k, m] if overwrite else padded[place] + gcols[:, :, k, m]
    top, left = [before for before, _ in geometry.padding] if corner is None else corner
    return padded[:, :, top:top + x.shape[2], left:left + x.shape[3]]


def weight_gradient(use: Use, stride: Any = None, dilation: Any = None, padded: bool = True,
                    images: slice = slice(None)) -> np.ndarray:
    """Every window times the gradient of its output, summed over images and outputs."""
    x, w, geometry, gy = use.inputs[0], use.inputs[1], use.node.geometry, use.gy
    (sh, sw), (dh, dw) = stride or geometry.stride, dilation or geometry.dilation
    (n, o, oh, ow), (_, c, kh, kw), g = gy.shape, w.shape, geometry.groups
    (top, _), (left, _) = geometry.padding if padded else ((0, 0), (0, 0))
    height = max(sh * (oh - 1) + dh * (kh - 1) + 1, top + x.shape[2])
    width = max(sw * (ow - 1) + dw * (kw - 1) + 1, left + x.shape[3])
    xp = np.zeros((n, g, c, height, width), x.dtype)
    xp[..., top:top + x.shape[2], left:left + x.shape[3]] = x.reshape(n, g, c, *x.shape[2:])
    gw = np.empty((g, o // g, c, kh, kw), gy.dtype)
    for k, m in itertools.product(range(kh), range(kw)):
        window = xp[images, ..., k * dh:k * dh + sh * oh:sh, m * dw:m * dw + sw * ow:sw]
        gw[..., k, m] = np.einsum("ngcij,ngoij->goc", window, gy.reshape(n, g, o // g, oh, ow)[images])
    return gw.reshape(w.shape)


# -- gx -------------------------------------------------------------------------------------------------------------

@conv(0, "kernel not rotated", "as a correlation of gy, gx needs the kernel turned by 180°")
def _(use, gx):
    return input_gradient(use, use.inputs[1][..., ::-1, ::-1])


@conv(0, "kernel transposed", "rows and columns of the kernel are swapped in gx")
def _(use, gx):
    w = use.inputs[1]
    return input_gradient(use, w.swapaxes(2, 3)) if w.shape[2] == w.shape[3] else gx


@conv(0, "stride not dilated", "put stride − 1 zeros between the elements of gy before correlating it for gx")
def _(use, gx):
    return input_gradient(use, stride=(1, 1))


@conv(0, "row and column strides swapped in gx", "stride is (rows, columns)")
def _(use, gx):
    return input_gradient(use, stride=use.node.geometry.stride[::-1])


@conv(0, "dilation forgotten in gx", "the kernel's elements are dilation apart in gx, too")
def _(use, gx):
    return input_gradient(use, dilation=(1, 1))


@conv(0, "padding off by one", "crop the padded gx at the padding itself, not one row and column further")
def _(use, gx):
    return input_gradient(use, corner=[p + 1 for p, _ in use.node.geometry.padding])


@conv(0, "padding not cropped", "gx is the padded gradient without its padding: cut off the first rows and columns")
def _(use, gx):
    return input_gradient(use, corner=(0, 0))


@conv(0, "overlap overwritten instead of added", "windows overlap: col2im adds (+=) where they meet")
def _(use, gx):
    return input_gradient(use, overwrite="windows")


@conv(0, "overlap overwritten, kernel element by element", "col2im adds (+=) what the elements of the kernel bring")
def _(use, gx):
    return input_gradient(use, overwrite="elements")


@conv(0, "columns in the order of another layout", "a column is (C, KH, KW); it was read as (KH, KW, C)")
def _(use, gx):
    w = use.inputs[1]
    return input_gradient(use, w.transpose(0, 2, 3, 1).reshape(w.shape))


@conv(0, "input and output channels not swapped", "gx needs Wᵀ: output channels are summed over, not input channels")
def _(use, gx):
    w = use.inputs[1]
    return input_gradient(use, w.swapaxes(0, 1)) if w.shape[0] == w.shape[1] else gx


@conv(0, "kernels of the first group for all groups", "each group of channels has its own kernels in gx, too")
def _(use, gx):
    w, g = use.inputs[1], use.node.geometry.groups
    return input_gradient(use, np.tile(w[:len(w) // g], (g, 1, 1, 1)))


@conv(0, "gx averaged over the batch", "every image has its own gradient: do not divide gx by N")
def _(use, gx):
    return gx / len(gx)


# -- gw -------------------------------------------------------------------------------------------------------------

@conv(1, "kernel gradient rotated", "gw is a correlation of x with gy: do not turn it")
def _(use, gw):
    return gw[..., ::-1, ::-1]


@conv(1, "kernel gradient transposed", "rows and columns of gw are swapped")
def _(use, gw):
    return gw.swapaxes(2, 3) if gw.shape[2] == gw.shape[3] else gw


@conv(1, "stride forgotten in gw", "the windows of x that gy is multiplied with are stride apart")
def _(use, gw):
    return weight_gradient(use, stride=(1, 1))


@conv(1, "row and column strides swapped in gw", "stride is (rows, columns)")
def _(use, gw):
    return weight_gradient(use, stride=use.node.geometry.stride[::-1])


@conv(1, "dilation forgotten in gw", "the elements of a window of x are dilation apart in gw, too")
def _(use, gw):
    return weight_gradient(use, dilation=(1, 1))


@conv(1, "padding forgotten in gw", "the windows are those of the padded x")
def _(use, gw):
    return weight_gradient(use, padded=False)


@conv(1, "gw of the last image alone", "add up over the batch: gw += for every image")
def _(use, gw):
    return weight_gradient(use, images=slice(-1, None))


@conv(1, "gw averaged over the batch", "the loss has the 1/N already: sum over the batch")
def _(use, gw):
    return gw / len(use.gy)


@conv(1, "gw averaged over the outputs", "every output adds to gw: sum over rows and columns, do not average")
def _(use, gw):
    return gw / np.prod(use.gy.shape[2:])


# -- gb -------------------------------------------------------------------------------------------------------------

@conv(2, "bias summed over the wrong axes", "gb = gy.sum((0, 2, 3)); a reshape to (O, −1) mixes images and channels")
def _(use, gb):
    return use.gy.reshape(use.gy.shape[1], -1).sum(1)


@conv(2, "bias averaged instead of summed", "gb is the sum of gy over images, rows and columns, not its mean")
def _(use, gb):
    return gb * use.gy.shape[1] / use.gy.size


@conv(2, "bias averaged over the batch", "gb is the sum over the batch: the loss has the 1/N already")
def _(use, gb):
    return gb / len(use.gy)


@conv(2, "bias of the first image alone", "gb is summed over the batch")
def _(use, gb):
    return use.gy[:1].sum((0, *range(2, use.gy.ndim)))


# -- transposed convolution -----------------------------------------------------------------------------------------

@transposed(0, "kernel rotated in the backward of a transposed convolution", "its backward is a plain convolution")
def _(use, gx):
    w = np.ascontiguousarray(use.inputs[1][..., ::-1, ::-1])
    return reference.conv2d(use.gy, w, None, use.node.geometry)


@transposed(1, "factors swapped in gw of a transposed convolution", "the kernel's gradient has x where that of a "
                                                                    "convolution has gy: its order is (C, O, KH, KW)")
def _(use, gw):
    return gw.swapaxes(0, 1) if gw.shape[0] == gw.shape[1] else gw


@transposed(1, "gw of a transposed convolution averaged over the batch", "sum over the batch")
def _(use, gw):
    return gw / len(use.gy)
