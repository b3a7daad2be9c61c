"""Image transforms on whole batches: NumPy arrays (N, C, H, W) in, new NumPy arrays out; the input is never changed.

Arrays are uint8 levels 0..255 or floats. A transform is called as ``transform(x, rng)``; only the random ones need
``rng``, a ``numpy.random.Generator``, and what they do is a function of it alone. Any function with these two
arguments can stand beside them in ``Compose`` and in ``DataLoader(transform=...)``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .resampling import KERNELS, resample

BatchTransform = Callable[[np.ndarray, np.random.Generator | None], np.ndarray]


class Transform:
    """Base of the transforms: checks the batch, then calls ``apply(x, rng)``."""

    def __call__(self, x: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        name = type(self).__name__
        if x.ndim != 4:
            raise ValueError(f"{name}: x must be a batch (N, C, H, W), not {x.shape}; one image is x[None]")
        if x.dtype != np.uint8 and x.dtype.kind != "f":
            raise TypeError(f"{name}: x must hold uint8 levels or floats, not {x.dtype}")
        return self.apply(x, rng)

    def apply(self, x: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True)
class Compose(Transform):
    """Apply transforms one after the other."""

    transforms: Sequence[BatchTransform]

    def apply(self, x: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        for transform in self.transforms:
            x = transform(x, rng)
        return x


# -- levels ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ToFloat(Transform):
    """uint8 levels to float32 in 0..1: y = x / 255. Floats are taken to be in their range already and stay."""

    def apply(self, x: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        return np.divide(x, 255, dtype=np.float32) if x.dtype == np.uint8 else x


@dataclass(frozen=True)
class RawPixels(Transform):
    """uint8 levels to float32 without scaling: y = x, in 0..255. Floats stay."""

    def apply(self, x: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        return x.astype(np.float32) if x.dtype == np.uint8 else x


@dataclass(frozen=True)
class Normalize(Transform):
    """y = (x - mean) / std per channel. uint8 levels are divided by 255 first, so ``ToFloat`` need not stand before it.

    Args:
        mean, std: one number, or one per channel, for images in 0..1.
    """

    mean: float | Sequence[float]
    std: float | Sequence[float]

    def __post_init__(self) -> None:
        if np.ndim(self.mean) > 1 or np.ndim(self.std) > 1:
            raise ValueError(f"Normalize: mean and std are a number or one per channel, not {self.mean}, {self.std}")
        if np.min(self.std) <= 0:
            raise ValueError(f"Normalize: std must be positive, not {self.std}")

    def apply(self, x: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        for name, value in (("mean", self.mean), ("std", self.std)):
            if np.size(value) not in (1, x.shape[1]):
                raise ValueError(f"Normalize: {name} has {np.size(value)} values but x has {x.shape[1]} channels")
        y = x.astype(np.float32) if x.dtype == np.uint8 else x.copy()
        unit = 255 if x.dtype == np.uint8 else 1
        mean, std = np.reshape(self.mean, (-1, 1, 1)), np.reshape(self.std, (-1, 1, 1))
        y *= (1 / (unit * std)).astype(y.dtype)
        y -= (mean / std).astype(y.dtype)
        return y


# -- geometry -------------------------------------------------------------------------------------------------------


def _pair(name: str, size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ValueError(f"{name}: size must be at least 1 pixel, not {size}")
    return height, width


@dataclass(frozen=True)
class Resize(Transform):
    """Resample to another size, equal to Pillow's ``Image.resize``: bit for bit for uint8, up to rounding for floats.

    Args:
        size: (height, width) in pixels; an int is the length of the shorter side and keeps the proportions.
        interpolation: "bilinear" or "bicubic".
        antialias: widen the kernel by the reduction, as Pillow always does. False keeps it as wide as when enlarging,
            so that shrinking skips pixels.
    """

    size: int | tuple[int, int]
    interpolation: str = "bilinear"
    antialias: bool = True

    def __post_init__(self) -> None:
        _pair("Resize", self.size)
        if self.interpolation not in KERNELS:
            raise ValueError(f"Resize: interpolation must be one of {', '.join(KERNELS)}, not {self.interpolation!r}")

    def apply(self, x: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        if isinstance(self.size, int):
            h, w = x.shape[2:]
            short = min(h, w)
            size = (self.size * h // short, self.size * w // short)
        else:
            size = self.size
        return resample(x, size, self.interpolation, self.antialias)


@dataclass(frozen=True)
class Pad(Transform):
    """Add a border of one level.

    Args:
        padding: pixels on every side, or (left and right, top and bottom), or (left, top, right, bottom).
        fill: level of the border, in the units of x.
    """

    padding: int | Sequence[int]
    fill: float = 0

    def __post_init__(self) -> None:
        if np.size(self.padding) not in (1, 2, 4) or np.min(self.padding) < 0:
            raise ValueError(f"Pad: padding must be 1, 2 or 4 numbers of pixels, none negative, not {self.padding}")

    def apply(self, x: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        sides = np.ravel(self.padding)
        left, top, right, bottom = np.tile(sides, 4 // sides.size)
        return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=self.fill)


def _room(name: str, x: np.ndarray, size: int | tuple[int, int]) -> tuple[int, int, int, int]:
    """The window's height and width, and by how many pixels it can move down and right."""
    h, w = _pair(name, size)
    down, right = x.shape[2] - h, x.shape[3] - w
    if down < 0 or right < 0:
        raise ValueError(f"{name}: a window of {h}x{w} does not fit into an image of {x.shape[2]}x{x.shape[3]}")
    return h, w, down, right


@dataclass(frozen=True)
class CenterCrop(Transform):
    """Cut out the middle; ``size`` is the side of a square or (height, width), in pixels."""

    size: int | tuple[int, int]

    def apply(self, x: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        h, w, down, right = _room("CenterCrop", x, self.size)
        top, left = round(down / 2), round(right / 2)
        return x[:, :, top : top + h, left : left + w].copy()


def _generator(name: str, rng: np.random.Generator | None) -> np.random.Generator:
    if rng is None:
        raise TypeError(f"{name}: is random and needs a generator: transform(x, numpy.random.default_rng(seed))")
    return rng


@dataclass(frozen=True)
class RandomCrop(Transform):
    """Cut out a window at a random place, another one for every image.

    Args:
        size: side of the square, or (height, width), in pixels.
        padding: border added before, as in ``Pad``, with level 0.
    """

    size: int | tuple[int, int]
    padding: int | Sequence[int] = 0

    def apply(self, x: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        rng = _generator("RandomCrop", rng)
        x = Pad(self.padding)(x)
        h, w, down, right = _room("RandomCrop", x, self.size)
        n = len(x)
        top, left = rng.integers(down + 1, size=n), rng.integers(right + 1, size=n)
        windows = np.lib.stride_tricks.sliding_window_view(x, (h, w), axis=(2, 3))  # (N, C, down + 1, right + 1, h, w)
        return windows[np.arange(n), :, top, left]  # (N, C, h, w)


@dataclass(frozen=True)
class RandomHorizontalFlip(Transform):
    """Mirror each image left to right with probability ``p``."""

    p: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"RandomHorizontalFlip: p must be between 0 and 1, not {self.p}")

    def apply(self, x: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        chosen = _generator("RandomHorizontalFlip", rng).random(len(x)) < self.p
        y = x.copy()
        y[chosen] = x[chosen, :, :, ::-1]
        return y
