"""Read one image file, for prediction."""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from .errors import DataError
from .transforms import Resize


def read_image(
    path: str | Path,
    size: int | tuple[int, int] | None = None,
    channels: Literal[1, 3] | None = None,
    invert: bool | Literal["auto"] = False,
) -> np.ndarray:
    """An image file as a uint8 array (C, H, W), upright as its EXIF data say, transparency laid over white.

    Args:
        path: any file Pillow reads.
        size: resize to this, as ``transforms.Resize`` does; None keeps the size.
        channels: 1 for grey (luma, ITU-R 601-2), 3 for RGB; None keeps what the file has.
        invert: True turns every level v into 255 - v. "auto" does so if the background is light, that is if the median
            of the outermost ring of pixels is above 127: networks trained on MNIST-like digits know light writing on a
            dark ground, photographs of paper and screenshots are mostly the other way round.

    Raises:
        DataError: there is no such file, it is not an image, or Pillow is not installed.
    """
    if channels not in (None, 1, 3):
        raise ValueError(f"read_image: channels must be 1, 3 or None, not {channels}")
    if invert not in (True, False, "auto"):
        raise ValueError(f'read_image: invert must be True, False or "auto", not {invert!r}')
    x = _pixels(Path(path), channels)  # (C, H, W)
    if invert == "auto":
        rim = np.concatenate([x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]], axis=1)
        invert = bool(np.median(rim) > 127)
    if invert:
        x = 255 - x
    return x if size is None else Resize(size)(x[None])[0]


def _pixels(path: Path, channels: int | None) -> np.ndarray:
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise DataError(
            f"{path}: reading images needs Pillow, which is not installed", "install the extra: pip install '.[plot]'"
        ) from error
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            image.load()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file", "check the path") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error})", "is it a PNG or JPEG file?") from error
    levels = np.asarray(_flat(image, channels))
    return levels[None].copy() if levels.ndim == 2 else np.ascontiguousarray(levels.transpose(2, 0, 1))


def _flat(image: Any, channels: int | None) -> Any:
    """As 8-bit grey or RGB, without transparency."""
    from PIL import Image

    grey = channels == 1 or (channels is None and image.getbands()[0] in ("1", "L", "I", "F"))
    if image.mode.startswith("I"):  # 16-bit grey, which convert would clip
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if grey else "RGB")
