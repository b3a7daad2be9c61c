"""Transforms that change the colours of images at random."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .compose import RandomTransform
from .levels import ToFloat

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601-2: how bright red, green and blue are


def _to_dtype(y: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Levels in 0..1 as uint8, rounded and clipped, or as the floats that they are."""
    return np.rint(np.clip(y, 0, 1) * 255).astype(dtype) if dtype == np.uint8 else y.astype(dtype, copy=False)


# -- ColorJitter: operations on x (N, 3, H, W) in 0..1 with one factor f (N, 1, 1, 1) per image ---------------------


def _grey(x: np.ndarray) -> np.ndarray:
    return np.einsum("nchw,c->nhw", x, _LUMA.astype(x.dtype))[:, None]  # (N, 1, H, W)


def _brightness(x: np.ndarray, f: np.ndarray) -> np.ndarray:
    return f * x


def _contrast(x: np.ndarray, f: np.ndarray) -> np.ndarray:
    return f * x + (1 - f) * _grey(x).mean((2, 3), keepdims=True)


def _saturation(x: np.ndarray, f: np.ndarray) -> np.ndarray:
    return f * x + (1 - f) * _grey(x)


def _hue(x: np.ndarray, f: np.ndarray) -> np.ndarray:
    """RGB to HSV, where hue counts sixths of the circle from red on, and back with the hue turned by f circles."""
    r, g, b = x[:, 0], x[:, 1], x[:, 2]
    value = x.max(1)
    chroma = value - x.min(1)
    c = np.where(chroma == 0, 1, chroma)
    hue = np.where(value == r, (g - b) / c, np.where(value == g, (b - r) / c + 2, (r - g) / c + 4))  # (N, H, W)
    sixths = (np.reshape([5, 3, 1], (3, 1, 1)).astype(x.dtype) + hue[:, None] + 6 * f) % 6  # (N, 3, H, W)
    return value[:, None] - chroma[:, None] * np.clip(np.minimum(sixths, 4 - sixths), 0, 1)


# name -> the operation and the factor that changes nothing
_JITTERS: dict[str, tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], float]] = {
    "brightness": (_brightness, 1),
    "contrast": (_contrast, 1),
    "saturation": (_saturation, 1),
    "hue": (_hue, 0),
}


@dataclass(frozen=True)
class ColorJitter(RandomTransform):
    """Change brightness, contrast, saturation and hue of RGB images by random factors, in random order, as torchvision.

    With one factor f per image and operation, uniform in its range, g the grey image 0.299 R + 0.587 G + 0.114 B and
    ḡ its mean:  brightness y = f·x,  contrast y = f·x + (1 - f)·ḡ,  saturation y = f·x + (1 - f)·g;  hue turns the H
    of HSV by f circles. After each operation y is clipped to 0..1. Floats are taken to be in 0..1.
    Howard, "Some improvements on deep convolutional neural network based image classification" (2013).

    Args:
        brightness, contrast, saturation: the range (low, high) of f, from 0 on; a number b stands for (1 - b, 1 + b),
            at least 0.
        hue: the range of f, within -0.5..0.5; a number h stands for (-h, h).
    """

    brightness: float | tuple[float, float] = 0
    contrast: float | tuple[float, float] = 0
    saturation: float | tuple[float, float] = 0
    hue: float | tuple[float, float] = 0

    def __post_init__(self) -> None:
        for name in _JITTERS:
            low, high = self._range(name)
            least, most = (-0.5, 0.5) if name == "hue" else (0, np.inf)
            if not least <= low <= high <= most:
                raise ValueError(f"ColorJitter: {name} = {getattr(self, name)} must stay in {least}..{most}")

    def _range(self, name: str) -> tuple[float, float]:
        value, (_, neutral) = getattr(self, name), _JITTERS[name]
        if np.ndim(value):
            if np.shape(value) != (2,):
                raise ValueError(f"ColorJitter: {name} = {value} must be a number or (low, high)")
            low, high = value
            return low, high
        if value < 0:
            raise ValueError(f"ColorJitter: {name} = {value} must not be negative")
        return (-value, value) if name == "hue" else (max(0, neutral - value), neutral + value)

    def draw(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if x.shape[1] != 3:
            raise ValueError(f"ColorJitter: x must be RGB images (N, 3, H, W), not {x.shape}")
        y = ToFloat()(x).copy()
        factors = [rng.uniform(*self._range(name), (len(x), 1, 1, 1)).astype(y.dtype) for name in _JITTERS]
        order = rng.permuted(np.tile(np.arange(len(_JITTERS)), (len(x), 1)), axis=1)  # (N, 4)
        for turn in order.T:
            for k, (operation, neutral) in enumerate(_JITTERS.values()):
                chosen = (turn == k) & (factors[k].ravel() != neutral)
                if chosen.any():
                    y[chosen] = np.clip(operation(y[chosen], factors[k][chosen]), 0, 1)
        return _to_dtype(y, x.dtype)


# -- PCALighting ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PCALighting(RandomTransform):
    """Shift the colour of each image along the principal axes of the training images' colours.

        y = x + P (α ∘ λ),    α ~ N(0, std²), three numbers per image

    with the eigenvalues λ and, as the columns of P, the eigenvectors of the covariance of the channels over all
    training pixels in 0..1. Floats are taken to be in 0..1 and are not clipped.
    Krizhevsky, Sutskever, Hinton: "ImageNet classification with deep convolutional neural networks" (2012), section 4.1

    Args:
        eigenvalues: λ, one per channel. ``PCALighting.of(images)`` computes them and the eigenvectors.
        eigenvectors: P (channels, channels).
        std: standard deviation of α.
    """

    eigenvalues: Sequence[float]
    eigenvectors: Sequence[Sequence[float]]
    std: float = 0.1

    def __post_init__(self) -> None:
        channels = len(self.eigenvalues)
        if np.shape(self.eigenvectors) != (channels, channels):
            raise ValueError(
                f"PCALighting: {channels} eigenvalues need eigenvectors ({channels}, {channels}), "
                f"not {np.shape(self.eigenvectors)}"
            )
        if self.std < 0:
            raise ValueError(f"PCALighting: std must not be negative, not {self.std}")

    @classmethod
    def of(cls, images: Any, std: float = 0.1) -> "PCALighting":
        """With the principal axes of these training images, uint8 levels or floats in 0..1 (N, C, H, W)."""
        n, channels, height, width = images.shape
        total, products = np.zeros(channels), np.zeros((channels, channels))
        for start in range(0, n, 256):  # images in chunks, which need not all be in memory
            part = images[start : start + 256]
            pixels = part.transpose(1, 0, 2, 3).reshape(channels, -1) / np.float64(255 if part.dtype == np.uint8 else 1)
            total += pixels.sum(1)
            products += pixels @ pixels.T  # (C, C)
        count = n * height * width
        if count == 0:
            raise ValueError(f"PCALighting.of: needs images, not {images.shape}")
        mean = total / count
        values, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
        vectors *= np.sign(vectors[np.abs(vectors).argmax(0), np.arange(channels)])  # the same sign on every machine
        return cls(values[::-1].tolist(), vectors[:, ::-1].tolist(), std)

    def draw(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        channels = len(self.eigenvalues)
        if x.shape[1] != channels:
            raise ValueError(f"PCALighting: x must have {channels} channels as the eigenvalues, not {x.shape}")
        amounts = rng.normal(0, self.std, (len(x), channels)) * np.asarray(self.eigenvalues)  # α ∘ λ (N, C)
        shifts = amounts @ np.asarray(self.eigenvectors).T  # (N, C)
        y = ToFloat()(x)
        return _to_dtype(y + shifts[:, :, None, None].astype(y.dtype), x.dtype)
