"""Image transforms on whole batches: NumPy arrays (N, C, H, W) in, new NumPy arrays out; the input is never changed.

Arrays are uint8 levels 0..255 or floats. A transform is called as ``transform(x, rng)``; only the random ones need
``rng``, a ``numpy.random.Generator``, and what they do is a function of it alone. Any function with these two
arguments can stand beside them in ``Compose`` and in ``DataLoader(transform=...)``.
"""

from .colour import ColorJitter, PCALighting
from .compose import BatchTransform, Compose, RandomTransform, Transform
from .geometry import CenterCrop, Pad, RandomCrop, RandomHorizontalFlip, RandomResizedCrop, Resize
from .levels import Normalize, RawPixels, ToFloat

__all__ = [
    "BatchTransform",
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "Normalize",
    "PCALighting",
    "Pad",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomTransform",
    "RawPixels",
    "Resize",
    "ToFloat",
    "Transform",
]
