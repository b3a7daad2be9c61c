"""Images read at any places, as spatial transformer networks do. Jaderberg et al. 2015.

y = Σ weight·element over the neighbours of a place, its taps. That is bilinear in the image and the weights, so it and
its two gradients close under differentiation, as with convolution. The weights are ordinary operations on the grid.
"""

import math
from collections.abc import Sequence
from typing import Any

from ..backend import kernels_for
from ..engine import Tensor
from .arguments import same_floats
from .conv import Bilinear
from .creation import linspace, ones_like
from .join import stack
from .linear import matmul
from .resample import cubic_weights

__all__ = ["affine_grid", "grid_sample"]


class Sample(Bilinear):
    """y[n,c,p] = Σ_k w[n,k,p]·x[n,c,index[n,k,p]], index −1 outside;  gx, gw: the two operations below."""

    def __init__(self, index: Any) -> None:
        self.index = index

    def forward(self, x, w):
        self.length = x.shape[2]
        self.keep(x, w)
        return kernels_for(x).sample(x, self.index, w)

    def backward(self, gy):
        x, w = self.saved
        return (SampleInputGrad(self.index, self.length)(gy, w) if self.needs[0] else None,
                SampleWeightGrad(self.index)(x, gy) if self.needs[1] else None)


class SampleInputGrad(Bilinear):
    """gx[n,c,index[n,k,p]] += w[n,k,p]·gy[n,c,p]."""

    def __init__(self, index: Any, length: int) -> None:
        self.index, self.length = index, length

    def forward(self, gy, w):
        self.keep(gy, w)
        return kernels_for(gy).sample_input_grad(gy, self.index, w, self.length)

    def backward(self, ggx):
        gy, w = self.saved
        return (Sample(self.index)(ggx, w) if self.needs[0] else None,
                SampleWeightGrad(self.index)(ggx, gy) if self.needs[1] else None)


class SampleWeightGrad(Bilinear):
    """gw[n,k,p] = Σ_c gy[n,c,p]·x[n,c,index[n,k,p]]."""

    def __init__(self, index: Any) -> None:
        self.index = index

    def forward(self, x, gy):
        self.length = x.shape[2]
        self.keep(x, gy)
        return kernels_for(x).sample_weight_grad(x, self.index, gy)

    def backward(self, ggw):
        x, gy = self.saved
        return (SampleInputGrad(self.index, self.length)(gy, ggw) if self.needs[0] else None,
                Sample(self.index)(x, ggw) if self.needs[1] else None)


def grid_sample(input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros",
                align_corners: bool | None = None) -> Tensor:
    """The image at the places of a grid: input (N, C, H, W), grid (N, OH, OW, 2) → (N, C, OH, OW); or with a depth D.

    A place (x, y) or (x, y, z) goes from −1 to 1, from edge to edge of the image or, with align_corners, from the
    middle of its first element to that of its last. y is the "nearest" element (of two, the even one), or the weighted
    sum of the 2 around the place along each axis ("bilinear") or of 4 ("bicubic", images only, Keys 1981); gradients go
    to elements and weights. Outside are zeros, or what padding_mode says: the "border", or the "reflection" at it.
    Raises ValueError for another mode, RuntimeError for shapes or types that do not fit. Jaderberg et al. 2015.
    """
    axes = input.ndim - 2
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(f"grid_sample: mode {mode!r} is unknown; use 'bilinear', 'nearest' or 'bicubic'")
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(f"grid_sample: padding_mode {padding_mode!r} is unknown; use 'zeros', 'border' or "
                         "'reflection'")
    fits = grid.ndim == input.ndim and grid.shape[:1] == input.shape[:1] and grid.shape[-1:] == (axes,)
    if not fits or 0 in input.shape[2:] or axes not in ((2,) if mode == "bicubic" else (2, 3)):
        raise RuntimeError(f"grid_sample: input {input.shape} and grid {grid.shape} must be (N, C, H, W) and "
                           "(N, OH, OW, 2), or (N, C, D, H, W) and (N, OD, OH, OW, 3) but not for 'bicubic', with the "
                           "same N and an image that is not empty")
    same_floats("grid_sample", input=input, grid=grid)
    size, places = input.shape[2:], grid.reshape(len(grid), math.prod(grid.shape[1:-1]), axes)
    how = mode, padding_mode, bool(align_corners), axes == 3
    index, weights = _taps(places[..., -1], size[0], *how)  # (N, K, P)
    for axis in range(1, axes):
        further, w = _taps(places[..., -1 - axis], size[axis], *how)
        inside = (index >= 0).unsqueeze(2) & (further >= 0).unsqueeze(1)
        index = (index.unsqueeze(2) * size[axis] + further.unsqueeze(1)).where(inside, -1).flatten(1, 2)
        weights = (weights.unsqueeze(2) * w.unsqueeze(1)).flatten(1, 2)  # one for each pair of taps
    y = Sample(index.data)(input.flatten(2), weights)
    return y.reshape(input.shape[:2] + grid.shape[1:-1])


def _taps(x: Tensor, n: int, mode: str, padding_mode: str, align_corners: bool,
          volume: bool) -> tuple[Tensor, Tensor]:
    """The elements (−1 outside) and weights, (N, K, P), of places x (N, P) along an axis of length n."""
    place = (x + 1) * ((n - 1) / 2) if align_corners else (x + 1) * (n / 2) - 0.5
    if mode != "bicubic":
        place = _inside(place, n, padding_mode, align_corners, volume)
    first = place.detach().round() if mode == "nearest" else place.detach().floor()
    t = place - first
    if mode == "bicubic":  # its elements are brought inside, not its place
        weights = cubic_weights(t)
        elements = [_inside(first + k, n, padding_mode, align_corners, volume) for k in (-1, 0, 1, 2)]
    elif mode == "bilinear":
        weights, elements = [1 - t, t], [first, first + 1]
    else:
        weights, elements = [place.where(first < -math.inf, 1.0)], [first]  # never: 1, with a gradient of 0
    e = stack(elements, 1)
    return e.where((e >= 0) & (e < n), -1).long(), stack(weights, 1)


def _inside(place: Tensor, n: int, padding_mode: str, align_corners: bool, volume: bool) -> Tensor:
    """Places brought into the image as padding_mode says; no gradient where they end at the border.

    As in PyTorch, NaN goes to the first element of an image and to the last of a volume. Left where it is, a place of a
    volume that is not finite is outside, while that of an image makes the result NaN.
    """
    if padding_mode == "zeros":
        return place.where(place.detach().isfinite(), -2.0) if volume else place  # −2 and −1 are outside
    if padding_mode == "reflection":
        edge, span = (0, n - 1) if align_corners else (-0.5, n)
        distance = (place - edge).abs()
        turns = (distance.detach() / span).floor()
        rest = distance - turns * span
        place = rest.where(turns % 2 == 0, span - rest) + edge
    fixed = place.detach()
    if volume:
        border = fixed.where(fixed < n - 1, n - 1.0).clamp_min(0)
    else:
        border = fixed.where(fixed > 0, 0.0).clamp_max(n - 1)
    return place.where((fixed > 0) & (fixed < n - 1), border)


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """Affine maps as grids for grid_sample: theta (N, 2, 3), size (N, C, H, W) → (N, H, W, 2); or (N, 3, 4) and a D.

    y[n,h,w] = theta[n]·(x, y, 1), where x and y go from −1 to 1 over the output, as grid_sample reads them with the
    same align_corners; gtheta = gyᵀ·(x, y, 1). Raises ValueError for another size or a theta that does not go with it,
    RuntimeError for one that is not floating. Jaderberg et al. 2015.
    """
    axes = len(size) - 2
    if axes not in (2, 3) or min(size) < 1 or theta.shape != (size[0], axes, axes + 1):
        raise ValueError(f"affine_grid: theta {theta.shape} and size {tuple(size)} must be (N, 2, 3) and (N, C, H, W), "
                         "or (N, 3, 4) and (N, C, D, H, W), nothing empty")
    same_floats("affine_grid", theta=theta)
    edges = [1 if align_corners else 1 - 1 / n for n in size[:1:-1]]  # where the last element is, along x, y, z
    lines = [linspace(-edge if n > 1 else 0, edge, n, dtype=theta.dtype, device=theta.device)
             for edge, n in zip(edges, size[:1:-1])]
    grid = [line.reshape(-1, *[1] * axis).expand(tuple(size[2:])) for axis, line in enumerate(lines)]
    places = stack([*grid, ones_like(grid[0])], -1).reshape(-1, axes + 1)
    return matmul(places, theta.mT).reshape(size[0], *size[2:], axes)
