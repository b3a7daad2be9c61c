"""Convolution as a matrix product, in plain NumPy: the definition, and the page to read first.

Write every window of the image as a column. Then each output channel is a row of weights times those columns, and
the two gradients are the same product read the other way round:

        image               cols = im2col(x)                W            y = W @ cols
     ┌─────────┐          one column per window        C·KH·KW              OH·OW
     │ a b c . │             a b ...                  ┌────────┐          ┌────────┐
     │ d e f . │   ──→       b c ...                O │        │   ──→  O │        │     gw = gy @ colsᵀ
     │ g h i . │             d e ...                  └────────┘          └────────┘     gx = col2im(Wᵀ @ gy)
     │ . . . . │             e f ...
     └─────────┘      C·KH·KW × OH·OW

col2im is the adjoint of im2col: where im2col copied a pixel into several columns, col2im adds those columns up again.
With groups, channels fall into independent blocks and every product becomes a stack of G smaller ones.

cols repeats each pixel up to KH·KW times, so it is never built for more than WORKSPACE bytes at once: the loops below
run over tiles of images, of output rows where one image is too large, and of output columns where one row is.
"""

import sys
from collections.abc import Iterator

from ..contract import Array, Geometry, Pair

WORKSPACE = 64 * 2 ** 20  # bytes of im2col buffer


def im2col(x: Array, kernel: Pair, geometry: Geometry) -> Array:
    """Every window as a column.  x (N,C,H,W) → cols (N, C·KH·KW, OH·OW)."""
    (n, c, h, w), (kh, kw), (sh, sw), (dh, dw) = x.shape, kernel, geometry.stride, geometry.dilation
    oh, ow = geometry.output_size((h, w), kernel)
    xp = _module(x).pad(x, ((0, 0), (0, 0), *geometry.padding))                     # (N, C, H+pad, W+pad)
    sn, sc, srow, scol = xp.strides
    windows = _module(x).lib.stride_tricks.as_strided(
        xp, (n, c, kh, kw, oh, ow), (sn, sc, srow * dh, scol * dw, srow * sh, scol * sw))
    return windows.reshape(n, c * kh * kw, oh * ow)                                 # (N, C·KH·KW, OH·OW)


def col2im(cols: Array, x_shape: tuple[int, ...], kernel: Pair, geometry: Geometry) -> Array:
    """The adjoint of im2col: columns added back where they came from.  cols (N, C·KH·KW, OH·OW) → (N,C,H,W)."""
    (n, c, h, w), (kh, kw), (sh, sw), (dh, dw) = x_shape, kernel, geometry.stride, geometry.dilation
    (top, bottom), (left, right) = geometry.padding
    oh, ow = geometry.output_size((h, w), kernel)
    windows = cols.reshape(n, c, kh, kw, oh, ow)                                    # (N, C, KH, KW, OH, OW)
    xp = _module(cols).zeros((n, c, top + h + bottom, left + w + right), cols.dtype)
    for i in range(kh):
        for j in range(kw):
            rows, columns = i * dh, j * dw
            xp[:, :, rows:rows + sh * oh:sh, columns:columns + sw * ow:sw] += windows[:, :, i, j]
    return xp[:, :, top:top + h, left:left + w]                                     # (N, C, H, W)


def conv2d(x: Array, w: Array, b: Array | None, geometry: Geometry, rectify: bool = False) -> Array:
    """y[n,o] = b[o] + Σ_c w[o,c] ⋆ x[n,c], or relu of that."""
    xp, g, (o, c_g, kh, kw) = _module(x), geometry.groups, w.shape
    y = xp.empty((x.shape[0], o, *geometry.output_size(x.shape[2:], (kh, kw))), x.dtype)
    matrix = _wide(w).reshape(g, o // g, c_g * kh * kw)                             # (G, O/G, C/G·KH·KW)
    for inside, outside, part in _tiles(x.shape, (kh, kw), geometry, matrix.itemsize):
        yt = y[outside]
        cols = im2col(_wide(x[inside]), (kh, kw), part)                             # (n, C·KH·KW, oh·ow)
        cols = cols.reshape(len(yt), g, c_g * kh * kw, -1)                          # (n, G, C/G·KH·KW, oh·ow)
        yt[...] = (matrix @ cols).reshape(yt.shape)                                 # (n, O, oh, ow)
    if b is not None:
        y = y + b[:, None, None]
    return xp.maximum(y, 0) if rectify else y


def conv2d_input_grad(gy: Array, w: Array, x_shape: tuple[int, ...], geometry: Geometry) -> Array:
    """gx with ⟨gy, conv2d(x, w)⟩ = ⟨gx, x⟩: columns of gradient, added back into the image."""
    xp, g, (o, c_g, kh, kw) = _module(gy), geometry.groups, w.shape
    matrix = _wide(w).reshape(g, o // g, c_g * kh * kw)                             # (G, O/G, C/G·KH·KW)
    gx = xp.zeros(x_shape, matrix.dtype)
    for inside, outside, part in _tiles(x_shape, (kh, kw), geometry, matrix.itemsize):
        gyt = _wide(gy[outside])
        n, _, oh, ow = gyt.shape
        gcols = matrix.swapaxes(1, 2) @ gyt.reshape(n, g, o // g, oh * ow)          # (n, G, C/G·KH·KW, oh·ow)
        gcols = gcols.reshape(n, g * c_g * kh * kw, oh * ow)                        # (n, C·KH·KW, oh·ow)
        gx[inside] += col2im(gcols, gx[inside].shape, (kh, kw), part)               # (n, C, h, w)
    return gx.astype(gy.dtype, copy=False)


def conv2d_weight_grad(x: Array, gy: Array, w_shape: tuple[int, ...], geometry: Geometry) -> Array:
    """gw with ⟨gy, conv2d(x, w)⟩ = ⟨gw, w⟩: every window times the gradient of its output."""
    xp, g, (o, c_g, kh, kw) = _module(x), geometry.groups, w_shape
    gw = xp.zeros((g, o // g, c_g * kh * kw), _wide(x[:0]).dtype)                   # (G, O/G, C/G·KH·KW)
    for inside, outside, part in _tiles(x.shape, (kh, kw), geometry, gw.itemsize):
        gyt = _wide(gy[outside])
        n, _, oh, ow = gyt.shape
        cols = im2col(_wide(x[inside]), (kh, kw), part).reshape(n, g, c_g * kh * kw, oh * ow)
        for gyi, colsi in zip(gyt.reshape(n, g, o // g, oh * ow), cols, strict=True):
            gw += gyi @ colsi.swapaxes(1, 2)                                        # (G, O/G, C/G·KH·KW)
    return gw.reshape(w_shape).astype(x.dtype, copy=False)                          # (O, C/G, KH, KW)


# -- helpers ----------------------------------------------------------------------------------------------------------

def _module(x: Array):
    """numpy or cupy, whichever x is an array of."""
    return sys.modules[type(x).__module__.partition(".")[0]]


def _wide(x: Array) -> Array:
    """x, in float32 if it is a narrower float: sums of many products need the digits. Integers wrap as they are."""
    return x.astype("float32") if x.dtype.itemsize < 4 and x.dtype.kind not in "iu" else x


def _tiles(x_shape: tuple[int, ...], kernel: Pair, geometry: Geometry,
           itemsize: int) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...], Geometry]]:
    """Cut a convolution into smaller ones whose im2col buffers fit into WORKSPACE (one window always does).

    Each is (where in x, where in y, its geometry): conv2d(x)[where in y] = conv2d(x[where in x]) by its geometry.
    """
    n, c, h, w = x_shape
    oh, ow = geometry.output_size((h, w), kernel)
    windows = max(1, WORKSPACE // max(1, itemsize * c * kernel[0] * kernel[1]))
    columns = max(1, min(ow, windows))
    rows = max(1, min(oh, windows // columns))
    images = max(1, min(n, windows // (columns * rows)))
    for images_slice in _spans(n, images):
        for row_slice in _spans(oh, rows):
            for column_slice in _spans(ow, columns):
                h_slice, h_padding = _footprint(row_slice, h, kernel, geometry, 0)
                w_slice, w_padding = _footprint(column_slice, w, kernel, geometry, 1)
                yield ((images_slice, slice(None), h_slice, w_slice),
                       (images_slice, slice(None), row_slice, column_slice),
                       geometry._replace(padding=(h_padding, w_padding)))


def _spans(size: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


def _footprint(outputs: slice, size: int, kernel: Pair, geometry: Geometry, axis: int) -> tuple[slice, Pair]:
    """The stretch of an image axis that these outputs look at, and the zeros they see before and after it."""
    start = outputs.start * geometry.stride[axis] - geometry.padding[axis][0]
    stop = (outputs.stop - 1) * geometry.stride[axis] - geometry.padding[axis][0]
    stop += geometry.dilation[axis] * (kernel[axis] - 1) + 1
    first, last = min(max(start, 0), size), min(max(stop, 0), size)
    before = min(max(-start, 0), stop - start)
    return slice(first, last), (before, stop - start - before - (last - first))
