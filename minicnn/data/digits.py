"""The bundled digits: 1,797 real scans of handwriting, there without a network.

E. Alpaydin, C. Kaynak: "Optical Recognition of Handwritten Digits" (test part), UCI Machine Learning Repository, 1998,
https://doi.org/10.24432/C50P49, CC BY 4.0; see DIGITS.md. 13 people copied the same sheet of 130 digits. A scan is 8x8
levels 0..16; it is shown like an MNIST image: bicubic to 20x20, levels 0..255, centred in 28x28.

Every fifth scan of each digit is for validation. So each hand is in both parts, and the accuracy says how well a
network reads more writing of people it knows; for people it has not seen it is some points lower.
"""

from functools import cache
from pathlib import Path

import numpy as np

from .dataset import ImageDataset
from .transforms import Pad, Resize

CLASSES = [str(digit) for digit in range(10)]
MEAN, STD = (0.1577,), (0.2933,)


@cache
def _images() -> tuple[np.ndarray, np.ndarray]:
    with np.load(Path(__file__).with_name("digits.npz")) as file:
        scans, labels = file["scans"], file["labels"]
    levels = np.rint(scans[:, None] * (255 / 16)).astype(np.uint8)  # (1797, 1, 8, 8)
    return Pad(4)(Resize((20, 20), "bicubic")(levels)), labels.astype(np.int64)


def digits(split: str) -> ImageDataset:
    """The bundled digits: split "train" (1,442 images) or "validation" (355)."""
    images, labels = _images()
    held_out = np.zeros(len(labels), bool)
    for digit in range(10):
        held_out[np.flatnonzero(labels == digit)[4::5]] = True
    chosen = held_out if split == "validation" else ~held_out
    return ImageDataset(
        images[chosen],
        labels[chosen],
        CLASSES,
        name="digits",
        split=split,
        mean=MEAN,
        std=STD,
        source="bundled with minicnn",
    )
