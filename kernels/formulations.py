"""The same convolution, four more times: other ways to see it, and independent witnesses that the answer is right.

    loops        the definition, one multiplication at a time; the gradients are the same loops with another left side
    im2col       a matrix product (reference/convolution.py)
    transposed   everything is a correlation of stride 1. For the input gradient, spread gy by the stride (stride − 1
                 zeros between neighbours) and turn the kernel by 180°; stride 2 and w = a b c:

                     gy spread       0  0 g0  0 g1  0 g2  0  0
                     kernel turned   c  b  a →                     gx = c·0 + b·0 + a·g0,  c·0 + b·g0 + a·0,  …

                 For the weight gradient, x is the image and gy, spread by the stride, the kernel.
    fft          a correlation is a product of spectra, one of them conjugated (Mathieu, Henaff & LeCun 2014)
    winograd     F(2×2, 3×3): 16 multiplications instead of 36 for four outputs (Lavin & Gray 2016)

They are written to be read, not to be fast. Each has the three operations of the contract, and ``supports``, which says
why it cannot do a given convolution, or None if it can.
"""

from collections.abc import Iterator
from itertools import product
from typing import Protocol

import numpy as np

from .reference import convolution as reference
from .contract import Array, Geometry, Pair, Sizes

Position = tuple[int, int, int, int]


class Formulation(Protocol):
    """The three operations of the contract, computed in some way."""

    def supports(self, kernel: Pair, geometry: Geometry) -> str | None: ...

    def conv2d(self, x: Array, w: Array, b: Array | None, geometry: Geometry) -> Array: ...

    def conv2d_input_grad(self, gy: Array, w: Array, x_shape: tuple[int, ...], geometry: Geometry) -> Array: ...

    def conv2d_weight_grad(self, x: Array, gy: Array, w_shape: tuple[int, ...], geometry: Geometry) -> Array: ...


class Im2col:
    """The reference."""

    def supports(self, kernel: Pair, geometry: Geometry) -> str | None:
        return None

    conv2d = staticmethod(reference.conv2d)
    conv2d_input_grad = staticmethod(reference.conv2d_input_grad)
    conv2d_weight_grad = staticmethod(reference.conv2d_weight_grad)


class Loops:
    """The definition: y[n,o,i,j] = Σ over c, p, q of w[o,c,p,q] · x[n,c,h,v], h = i·stride + p·dilation − before."""

    def supports(self, kernel: Pair, geometry: Geometry) -> str | None:
        return None

    def conv2d(self, x: Array, w: Array, b: Array | None, geometry: Geometry) -> Array:
        y = np.zeros((len(x), len(w), *geometry.output_size(x.shape[2:], w.shape[2:])), x.dtype)
        for at_y, at_w, at_x in self._terms(x.shape, w.shape, geometry):
            y[at_y] += w[at_w] * x[at_x]
        return y if b is None else y + b[:, None, None]

    def conv2d_input_grad(self, gy: Array, w: Array, x_shape: tuple[int, ...], geometry: Geometry) -> Array:
        gx = np.zeros(x_shape, gy.dtype)
        for at_y, at_w, at_x in self._terms(x_shape, w.shape, geometry):
            gx[at_x] += w[at_w] * gy[at_y]
        return gx

    def conv2d_weight_grad(self, x: Array, gy: Array, w_shape: tuple[int, ...], geometry: Geometry) -> Array:
        gw = np.zeros(w_shape, x.dtype)
        for at_y, at_w, at_x in self._terms(x.shape, w_shape, geometry):
            gw[at_w] += gy[at_y] * x[at_x]
        return gw

    def _terms(self, x_shape: tuple[int, ...], w_shape: tuple[int, ...],
               geometry: Geometry) -> Iterator[tuple[Position, Position, Position]]:
        """The position in y, in w and in x of every product."""
        (images, _, height, width), (outputs, channels, kh, kw) = x_shape, w_shape
        (sh, sw), (dh, dw), ((top, _), (left, _)) = geometry.stride, geometry.dilation, geometry.padding
        oh, ow = geometry.output_size((height, width), (kh, kw))
        for n in range(images):
            for o in range(outputs):
                group = o // (outputs // geometry.groups)
                for i, j in product(range(oh), range(ow)):
                    for c in range(channels):
                        for p in range(kh):
                            for q in range(kw):
                                h, v = i * sh + p * dh - top, j * sw + q * dw - left
                                if 0 <= h < height and 0 <= v < width:  # elsewhere x is padding, that is, zero
                                    yield (n, o, i, j), (o, c, p, q), (n, group * channels + c, h, v)


class Transposed:
    """Correlations of stride 1 and dilation 1, of arrays that were padded, spread out or turned beforehand."""

    def supports(self, kernel: Pair, geometry: Geometry) -> str | None:
        return None

    def conv2d(self, x: Array, w: Array, b: Array | None, geometry: Geometry) -> Array:
        """Spread the kernel by its dilation, correlate, and keep every stride-th result."""
        sh, sw = geometry.stride
        image = _grouped(np.pad(x, ((0, 0), (0, 0), *geometry.padding)), geometry.groups)     # (G, N, C/G, H, W)
        kernel = _by_group(_spread(w, geometry.dilation), geometry.groups)                    # (G, O/G, C/G, KH, KW)
        y = _ungrouped(self._correlate(image, kernel)[..., ::sh, ::sw])                       # (N, O, OH, OW)
        return y if b is None else y + b[:, None, None]

    def conv2d_input_grad(self, gy: Array, w: Array, x_shape: tuple[int, ...], geometry: Geometry) -> Array:
        """Spread gy by the stride, surround it with kernel − 1 − padding zeros, correlate with the turned kernel."""
        kernel = _by_group(_spread(w, geometry.dilation), geometry.groups)                    # (G, O/G, C/G, KH, KW)
        turned = kernel.swapaxes(1, 2)[..., ::-1, ::-1]                                       # (G, C/G, O/G, KH, KW)
        margin = kernel.shape[-2] - 1, kernel.shape[-1] - 1
        spread = _place(_spread(gy, geometry.stride),
                        (margin[0] - geometry.padding[0][0], margin[1] - geometry.padding[1][0]),
                        (x_shape[2] + margin[0], x_shape[3] + margin[1]))
        return _ungrouped(self._correlate(_grouped(spread, geometry.groups), turned))         # (N, C, H, W)

    def conv2d_weight_grad(self, x: Array, gy: Array, w_shape: tuple[int, ...], geometry: Geometry) -> Array:
        """Correlate x with gy, spread by the stride; images take the part of channels, and channels that of images."""
        (dh, dw), (kh, kw) = geometry.dilation, w_shape[2:]
        image = _grouped(np.pad(x, ((0, 0), (0, 0), *geometry.padding)), geometry.groups)     # (G, N, C/G, H, W)
        kernel = _grouped(_spread(gy, geometry.stride), geometry.groups)                      # (G, N, O/G, ·, ·)
        gw = self._correlate(image.swapaxes(1, 2), kernel.swapaxes(1, 2))                     # (G, C/G, O/G, ·, ·)
        gw = gw[..., :dh * (kh - 1) + 1:dh, :dw * (kw - 1) + 1:dw]                            # (G, C/G, O/G, KH, KW)
        return np.ascontiguousarray(gw.swapaxes(1, 2)).reshape(w_shape)                       # (O, C/G, KH, KW)

    def _correlate(self, x: Array, w: Array) -> Array:
        """y[g,n,o] = Σ_c w[g,o,c] ⋆ x[g,n,c], tap by tap."""
        (kh, kw), (h, width) = w.shape[3:], x.shape[3:]
        oh, ow = h - kh + 1, width - kw + 1
        y = np.zeros((*x.shape[:2], w.shape[1], oh, ow), x.dtype)
        for i, j in product(range(kh), range(kw)):
            y += np.einsum("goc,gnchw->gnohw", w[..., i, j], x[..., i:i + oh, j:j + ow])
        return y


class Fft:
    """Products of spectra, over the padded image: large enough that nothing wraps around."""

    def supports(self, kernel: Pair, geometry: Geometry) -> str | None:
        return None

    def conv2d(self, x: Array, w: Array, b: Array | None, geometry: Geometry) -> Array:
        image = _grouped(np.pad(x, ((0, 0), (0, 0), *geometry.padding)), geometry.groups)     # (G, N, C/G, H, W)
        kernel = _by_group(_spread(w, geometry.dilation), geometry.groups)                    # (G, O/G, C/G, KH, KW)
        y = self._product("gncuv,gocuv->gnouv", image, kernel, image.shape[-2:], conjugate=True)
        oh, ow = geometry.output_size(x.shape[2:], w.shape[2:])
        y = _ungrouped(y[..., ::geometry.stride[0], ::geometry.stride[1]][..., :oh, :ow])     # (N, O, OH, OW)
        return y if b is None else y + b[:, None, None]

    def conv2d_input_grad(self, gy: Array, w: Array, x_shape: tuple[int, ...], geometry: Geometry) -> Array:
        """The adjoint of the product with a conjugated spectrum is that with the spectrum itself: a convolution."""
        (top, bottom), (left, right) = geometry.padding
        spread = _grouped(_spread(gy, geometry.stride), geometry.groups)                      # (G, N, O/G, ·, ·)
        kernel = _by_group(_spread(w, geometry.dilation), geometry.groups)                    # (G, O/G, C/G, KH, KW)
        size = top + x_shape[2] + bottom, left + x_shape[3] + right
        gx = _ungrouped(self._product("gnouv,gocuv->gncuv", spread, kernel, size, conjugate=False))
        return gx[..., top:top + x_shape[2], left:left + x_shape[3]]                          # (N, C, H, W)

    def conv2d_weight_grad(self, x: Array, gy: Array, w_shape: tuple[int, ...], geometry: Geometry) -> Array:
        (dh, dw), (kh, kw) = geometry.dilation, w_shape[2:]
        image = _grouped(np.pad(x, ((0, 0), (0, 0), *geometry.padding)), geometry.groups)     # (G, N, C/G, H, W)
        spread = _grouped(_spread(gy, geometry.stride), geometry.groups)                      # (G, N, O/G, ·, ·)
        gw = self._product("gncuv,gnouv->gocuv", image, spread, image.shape[-2:], conjugate=True)
        gw = gw[..., :dh * (kh - 1) + 1:dh, :dw * (kw - 1) + 1:dw]                            # (G, O/G, C/G, KH, KW)
        return np.ascontiguousarray(gw).reshape(w_shape)                                      # (O, C/G, KH, KW)

    def _product(self, sums: str, a: Array, b: Array, size: Pair, conjugate: bool) -> Array:
        spectrum = np.fft.rfft2(b, size)
        spectra = np.einsum(sums, np.fft.rfft2(a, size), spectrum.conj() if conjugate else spectrum)
        return np.fft.irfft2(spectra, size).astype(a.dtype, copy=False)


class Winograd:
    """Y = Aᵀ[(G w Gᵀ) ⊙ (Bᵀ d B)]A: each tile d of 4×4 pixels gives 2×2 outputs, by 4×4 instead of 4×9 products.

    It is a chain of linear maps, so its adjoints are the transposed maps in reverse order.
    """

    A = np.array([[1, 0], [1, 1], [1, -1], [0, -1]], np.float32)
    B = np.array([[1, 0, 0, 0], [0, 1, -1, 1], [-1, 1, 1, 0], [0, 0, 0, -1]], np.float32)
    G = np.array([[1, 0, 0], [.5, .5, .5], [.5, -.5, .5], [0, 0, 1]], np.float32)
    TILE = 4, 4

    def supports(self, kernel: Pair, geometry: Geometry) -> str | None:
        if tuple(kernel) != (3, 3):
            return f"winograd: the kernel is {kernel[0]}×{kernel[1]}, but F(2×2, 3×3) is for kernels of 3×3"
        if geometry.stride != (1, 1) or geometry.dilation != (1, 1):
            return (f"winograd: stride is {geometry.stride} and dilation {geometry.dilation}, "
                    "but F(2×2, 3×3) is for stride 1 and dilation 1")
        return None

    def conv2d(self, x: Array, w: Array, b: Array | None, geometry: Geometry) -> Array:
        (oh, ow), groups = geometry.output_size(x.shape[2:], (3, 3)), geometry.groups
        products = np.einsum("gouvc,gnuvct->gnouvt", self._weights(w, groups), self._tiles(x, geometry))
        tiles = np.einsum("ui,gnouvt,vj->gnoijt", self.A, products, self.A)                   # (G, N, O/G, 2, 2, T)
        th, tw = (oh + 1) // 2, (ow + 1) // 2
        tiles = tiles.reshape(*tiles.shape[:5], th, tw)
        y = tiles.transpose(0, 1, 2, 5, 3, 6, 4).reshape(*tiles.shape[:3], 2 * th, 2 * tw)    # (G, N, O/G, OH, OW)
        y = _ungrouped(y)[..., :oh, :ow].astype(x.dtype, copy=False)                          # (N, O, OH, OW)
        return y if b is None else y + b[:, None, None]

    def conv2d_input_grad(self, gy: Array, w: Array, x_shape: tuple[int, ...], geometry: Geometry) -> Array:
        products = np.einsum("gouvc,gnouvt->gnuvct", self._weights(w, geometry.groups), self._gradients(gy, geometry))
        tiles = np.einsum("pu,gnuvct,qv->gncpqt", self.B, products, self.B)                   # (G, N, C/G, 4, 4, T)
        groups, n, c, _, _, t = tiles.shape
        tiles = tiles.swapaxes(0, 1).reshape(n, groups * c * 16, t)                           # (N, C·16, T)
        gx = reference.col2im(tiles, x_shape, self.TILE, self._tile_geometry(x_shape, geometry))
        return gx.astype(gy.dtype, copy=False)                                                # (N, C, H, W)

    def conv2d_weight_grad(self, x: Array, gy: Array, w_shape: tuple[int, ...], geometry: Geometry) -> Array:
        products = np.einsum("gnouvt,gnuvct->gouvc", self._gradients(gy, geometry), self._tiles(x, geometry))
        gw = np.einsum("up,gouvc,vq->gocpq", self.G, products, self.G)                        # (G, O/G, C/G, 3, 3)
        return gw.reshape(w_shape).astype(x.dtype, copy=False)                                # (O, C/G, 3, 3)

    def _tile_geometry(self, x_shape: tuple[int, ...], geometry: Geometry) -> Geometry:
        """Tiles of 4×4, every two pixels, with a row or column of zeros more where the output size is odd."""
        oh, ow = geometry.output_size((x_shape[2], x_shape[3]), (3, 3))
        (top, bottom), (left, right) = geometry.padding
        return Geometry((2, 2), ((top, bottom + oh % 2), (left, right + ow % 2)))

    def _tiles(self, x: Array, geometry: Geometry) -> Array:
        """Bᵀ d B of every tile."""
        n, c = x.shape[:2]
        tiles = reference.im2col(x, self.TILE, self._tile_geometry(x.shape, geometry))        # (N, C·16, T)
        tiles = tiles.reshape(n, geometry.groups, c // geometry.groups, 4, 4, tiles.shape[-1])
        return np.einsum("pu,ngcpqt,qv->gnuvct", self.B, tiles, self.B)                       # (G, N, 4, 4, C/G, T)

    def _weights(self, w: Array, groups: int) -> Array:
        """G w Gᵀ."""
        return np.einsum("up,gocpq,vq->gouvc", self.G, _by_group(w, groups), self.G)          # (G, O/G, 4, 4, C/G)

    def _gradients(self, gy: Array, geometry: Geometry) -> Array:
        """A gy Aᵀ of every tile."""
        (oh, ow), gy = gy.shape[2:], _grouped(gy, geometry.groups)                            # (G, N, O/G, OH, OW)
        gy = np.pad(gy, ((0, 0), (0, 0), (0, 0), (0, oh % 2), (0, ow % 2)))
        th, tw = (oh + 1) // 2, (ow + 1) // 2
        tiles = gy.reshape(*gy.shape[:3], th, 2, tw, 2)
        products = np.einsum("ui,gnoaibj,vj->gnouvab", self.A, tiles, self.A)
        return products.reshape(*products.shape[:5], th * tw)                                 # (G, N, O/G, 4, 4, T)


FORMULATIONS: dict[str, Formulation] = {
    "loops": Loops(), "im2col": Im2col(), "transposed": Transposed(), "fft": Fft(), "winograd": Winograd()}


# -- helpers ----------------------------------------------------------------------------------------------------------

def _grouped(a: Array, groups: int) -> Array:
    """(N, G·C, H, W) → (G, N, C, H, W)."""
    n, c, h, w = a.shape
    return a.reshape(n, groups, c // groups, h, w).swapaxes(0, 1)


def _ungrouped(a: Array) -> Array:
    """(G, N, C, H, W) → (N, G·C, H, W)."""
    groups, n, c, h, w = a.shape
    return a.swapaxes(0, 1).reshape(n, groups * c, h, w)


def _by_group(w: Array, groups: int) -> Array:
    """(O, C/G, KH, KW) → (G, O/G, C/G, KH, KW)."""
    return w.reshape(groups, len(w) // groups, *w.shape[1:])


def _spread(a: Array, step: Sizes) -> Array:
    """step − 1 zeros between neighbouring rows and columns."""
    h, w = a.shape[-2:]
    out = np.zeros((*a.shape[:-2], step[0] * (h - 1) + 1, step[1] * (w - 1) + 1), a.dtype)
    out[..., ::step[0], ::step[1]] = a
    return out


def _place(a: Array, before: Pair, size: Pair) -> Array:
    """Zeros of this size with a in them: out[h, w] = a[h − before[0], w − before[1]], cropped where it does not fit."""
    out = np.zeros((*a.shape[:-2], *size), a.dtype)
    top, left = max(0, before[0]), max(0, before[1])
    bottom, right = (max(0, min(size[i], a.shape[i - 2] + before[i])) for i in (0, 1))
    out[..., top:bottom, left:right] = a[..., top - before[0]:max(0, bottom - before[0]),
                                         left - before[1]:max(0, right - before[1])]
    return out
