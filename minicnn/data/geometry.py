"""Transforms that move pixels: to another size, into a frame, out of a window, mirrored."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np

from .compose import RandomTransform, Transform
from .resampling import KERNELS, resample


def pair(name: str, size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width, of a square where size is a number, after the check that they are sizes."""
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2 or not all(isinstance(n, Integral) and n >= 1 for n in sides):
        raise ValueError(f"{name}: size must be at least 1 pixel, or (height, width), in whole pixels, not {size!r}")
    return sides[0], sides[1]


def _check_interpolation(name: str, interpolation: str) -> None:
    if interpolation not in KERNELS:
        raise ValueError(f"{name}: interpolation must be one of {', '.join(KERNELS)}, not {interpolation!r}")


def scaled_size(size: int | tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """``size``; where it is an int, the height and width with the same proportions whose shorter one it is."""
    if isinstance(size, tuple | list):
        return size[0], size[1]
    short = min(height, width)
    return size * height // short, size * width // short


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
        pair("Resize", self.size)
        _check_interpolation("Resize", self.interpolation)

    def apply(self, x: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        return resample(x, scaled_size(self.size, *x.shape[2:]), self.interpolation, self.antialias)


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
        sides = np.ravel(self.padding)
        if sides.size not in (1, 2, 4) or sides.dtype.kind not in "iu" or sides.min() < 0:
            raise ValueError(f"Pad: padding must be 1, 2 or 4 numbers of pixels, none negative, not {self.padding!r}")

    def apply(self, x: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        sides = np.ravel(self.padding)
        left, top, right, bottom = np.tile(sides, 4 // sides.size)
        return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=self.fill)


def _room(name: str, x: np.ndarray, size: int | tuple[int, int]) -> tuple[int, int, int, int]:
    """The window's height and width, and by how many pixels it can move down and right."""
    h, w = pair(name, size)
    down, right = x.shape[2] - h, x.shape[3] - w
    if down < 0 or right < 0:
        raise ValueError(f"{name}: a window of {h}x{w} does not fit into an image of {x.shape[2]}x{x.shape[3]}")
    return h, w, down, right


@dataclass(frozen=True)
class CenterCrop(Transform):
    """Cut out the middle; ``size`` is the side of a square or (height, width), in pixels."""

    size: int | tuple[int, int]

    def __post_init__(self) -> None:
        pair("CenterCrop", self.size)

    def apply(self, x: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        h, w, down, right = _room("CenterCrop", x, self.size)
        top, left = round(down / 2), round(right / 2)
        return x[:, :, top : top + h, left : left + w].copy()


@dataclass(frozen=True)
class RandomCrop(RandomTransform):
    """Cut out a window at a random place, another one for every image.

    With padding 4 of images of 32x32 it is the augmentation of He et al., "Deep residual learning for image
    recognition" (2015), section 4.2.

    Args:
        size: side of the square, or (height, width), in pixels.
        padding: border added before, as in ``Pad``, with level 0.
    """

    size: int | tuple[int, int]
    padding: int | Sequence[int] = 0

    def __post_init__(self) -> None:
        pair("RandomCrop", self.size)
        Pad(self.padding)

    def draw(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        x = Pad(self.padding)(x)
        h, w, down, right = _room("RandomCrop", x, self.size)
        n = len(x)
        top, left = rng.integers(down + 1, size=n), rng.integers(right + 1, size=n)
        windows = np.lib.stride_tricks.sliding_window_view(x, (h, w), axis=(2, 3))  # (N, C, down + 1, right + 1, h, w)
        return windows[np.arange(n), :, top, left]  # (N, C, h, w)


@dataclass(frozen=True)
class RandomResizedCrop(RandomTransform):
    """Cut out a window of random area and proportions and resize it, as torchvision does.

    The window covers a share of the image's area that is uniform in ``scale``; the logarithm of its width / height is
    uniform in that of ``ratio``. Where ten windows drawn so do not fit into the image, it is the largest one in the
    middle whose proportions are allowed. Szegedy et al., "Going deeper with convolutions" (2014), section 6.

    Args:
        size: side of the resulting square, or (height, width), in pixels.
        scale: smallest and largest share of the area.
        ratio: smallest and largest width / height.
        interpolation, antialias: as in ``Resize``.
    """

    size: int | tuple[int, int]
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"
    antialias: bool = True

    def __post_init__(self) -> None:
        pair("RandomResizedCrop", self.size)
        _check_interpolation("RandomResizedCrop", self.interpolation)
        for name, (low, high) in (("scale", self.scale), ("ratio", self.ratio)):
            if not 0 < low <= high:
                raise ValueError(f"RandomResizedCrop: {name} must be 0 < low <= high, not {(low, high)}")

    def draw(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        size = pair("RandomResizedCrop", self.size)
        y = np.empty((*x.shape[:2], *size), x.dtype)
        for i, (top, left, h, w) in enumerate(self._windows(len(x), x.shape[2], x.shape[3], rng)):
            window = x[i : i + 1, :, top : top + h, left : left + w]
            y[i] = resample(window, size, self.interpolation, self.antialias)[0]
        return y

    def _windows(self, n: int, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        """n windows as (n, 4) numbers: top, left, height, width."""
        area = height * width * rng.uniform(*self.scale, (n, 10))
        ratio = np.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), (n, 10)))
        h, w = (np.rint(np.sqrt(side)).astype(int) for side in (area / ratio, area * ratio))
        fits = (0 < h) & (h <= height) & (0 < w) & (w <= width)
        first = np.arange(n), fits.argmax(1)
        h, w, failed = h[first], w[first], ~fits[first]
        h[failed] = min(height, max(1, round(width / self.ratio[0])))
        w[failed] = min(width, max(1, round(height * self.ratio[1])))
        down, right = height - h, width - w
        top, left = rng.integers(down + 1), rng.integers(right + 1)
        top[failed], left[failed] = down[failed] // 2, right[failed] // 2
        return np.stack([top, left, h, w], axis=1)


@dataclass(frozen=True)
class RandomHorizontalFlip(RandomTransform):
    """Mirror each image left to right with probability ``p``."""

    p: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"RandomHorizontalFlip: p must be between 0 and 1, not {self.p}")

    def draw(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        chosen = rng.random(len(x)) < self.p
        y = x.copy()
        y[chosen] = x[chosen, :, :, ::-1]
        return y
