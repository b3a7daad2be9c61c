"""Read image files."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .errors import DataError
from .geometry import pair, scaled_size

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

_ORIENTATION = 0x0112  # EXIF: how the camera was held; from 5 on sideways


def read_image(
    path: str | Path,
    size: int | tuple[int, int] | None = None,
    channels: Literal[1, 3] | None = None,
    invert: bool | Literal["auto"] = False,
    fit: Literal["stretch", "crop", "pad"] = "stretch",
) -> np.ndarray:
    """An image file as a uint8 array (C, H, W), upright as its EXIF data say, transparency laid over white.

    Args:
        path: any file Pillow reads. Levels of 16 bits are cut to 8; floating-point ones are taken to be in 0..1 if none
            is above 1, else in 0..255.
        size: (height, width) to bring it to, bilinearly; None keeps the size. With fit "stretch" an int is the length
            of the shorter side and keeps the proportions.
        channels: 1 for grey (luma, ITU-R 601-2), 3 for RGB; None keeps what the file has.
        invert: True turns every level v into 255 - v. "auto" does so if the background is light, that is if the median
            of the outermost ring of pixels is above 127: networks trained on MNIST-like digits know light writing on a
            dark ground, photographs of paper and screenshots are mostly the other way round.
        fit: what happens to an image of other proportions than ``size``: "stretch" changes them, "crop" cuts off what
            is too much on both sides, "pad" adds a border in the colour of the background, the median of the ring.

    Raises:
        DataError: there is no such file, it is not an image or has too many pixels or levels that are no numbers, or
            Pillow is not installed.
    """
    if channels not in (None, 1, 3):
        raise ValueError(f"read_image: channels must be 1, 3 or None, not {channels}")
    if invert not in (True, False, "auto"):
        raise ValueError(f'read_image: invert must be True, False or "auto", not {invert!r}')
    if fit not in ("stretch", "crop", "pad"):
        raise ValueError(f'read_image: fit must be "stretch", "crop" or "pad", not {fit!r}')
    if fit != "stretch" and not isinstance(size, tuple):
        raise ValueError(f"read_image: fit {fit!r} needs size (height, width), not {size!r}")
    if size is not None:
        pair("read_image", size)
    side = 2 * max(size) if isinstance(size, tuple) and fit != "stretch" else 0
    image = _opened(Path(path), str(path), channels, side)
    if invert == "auto":
        invert = bool(np.median(_rim(image)) > 127)
    if invert:
        image = image.point(lambda level: 255 - level)
    return _array(image if size is None else _fitted(image, size, fit))


def decode_image(data: bytes, name: str, channels: Literal[1, 3]) -> np.ndarray:
    """The content of an image file, as ``read_image`` gives it; ``name`` is for the messages."""
    return _array(_opened(io.BytesIO(data), name, channels))


def image_header(path: Path) -> tuple[int, int, int]:
    """Channels, 1 or 3, height and width of an image file, without decoding it."""
    with _errors_about(str(path)):
        from PIL import Image

        with Image.open(path) as file:
            width, height = file.size[::-1] if file.getexif().get(_ORIENTATION, 1) >= 5 else file.size
            return 1 if _is_grey(file) else 3, height, width


@contextmanager
def _errors_about(name: str) -> Iterator[None]:
    """Turn what Pillow raises into one line about the file and one about what to do."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(
            f"{name}: reading images needs Pillow, which is not installed", "install the extra: pip install '.[plot]'"
        ) from error
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file", "check the path") from error
    except IsADirectoryError as error:
        raise DataError(f"{name}: is a folder, not an image", f"name the images in it, such as {name}/*") from error
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise DataError(
            f"{name}: has more than {most:,} pixels, which is too many to be read",
            "make the image smaller first, for example in any program that shows images",
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{name}: cannot be read as an image ({error})", "is it a PNG or JPEG file?") from error


def _opened(file: Path | io.BytesIO, name: str, channels: int | None, side: int = 0) -> "PillowImage":
    """Upright, in mode L or RGB. A larger JPEG is decoded to half, a quarter or an eighth of its size, which is several
    times faster, as long as its sides stay above ``side``; 0 is as it is.
    """
    with _errors_about(name):
        from PIL import Image, ImageOps

        with Image.open(file) as stored:
            if side:
                stored.draft(None, (side, side))
            image = ImageOps.exif_transpose(stored)
            image.load()
        grey = channels == 1 or (channels is None and _is_grey(image))
        if image.mode[0] in "IF":
            image = Image.fromarray(_eight_bits(np.asarray(image), name))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert("L" if grey else "RGB")


def _is_grey(image: "PillowImage") -> bool:
    return image.getbands()[0] in ("1", "L", "I", "F")


def _eight_bits(levels: np.ndarray, name: str) -> np.ndarray:
    """Grey levels of 16 bits or in floating point as uint8; Pillow would only clip them."""
    if levels.dtype.kind == "f":
        if not np.isfinite(levels).all():
            raise DataError(f"{name}: has levels that are NaN or infinite", "replace them by numbers first")
        levels = np.rint(levels * (255 if levels.max(initial=0) <= 1 else 1))
        return np.clip(levels, 0, 255).astype(np.uint8)
    if levels.min(initial=0) < 0 or levels.max(initial=0) > 65535:
        found = f"{levels.min():,} to {levels.max():,}"
        raise DataError(f"{name}: has levels from {found}, not in 0..65535", "convert it to 8 bits first")
    return (levels >> 8).astype(np.uint8)


def _rim(image: "PillowImage") -> np.ndarray:
    """The outermost ring of pixels, (pixels, bands)."""
    x = np.asarray(image)
    x = x.reshape(*x.shape[:2], -1)  # (H, W, bands)
    return np.concatenate([x[0], x[-1], x[:, 0], x[:, -1]])


def _fitted(image: "PillowImage", size: int | tuple[int, int], fit: str) -> "PillowImage":
    from PIL import Image, ImageOps

    bilinear = Image.Resampling.BILINEAR
    height, width = scaled_size(size, image.height, image.width)
    if fit == "crop":
        return ImageOps.fit(image, (width, height), bilinear)
    if fit == "stretch" or image.height * width == image.width * height:
        return image.resize((width, height), bilinear)
    scale = min(height / image.height, width / image.width)
    inner = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), bilinear)
    frame = Image.new(image.mode, (width, height), tuple(np.rint(np.median(_rim(image), axis=0)).astype(int).tolist()))
    frame.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
    return frame


def _array(image: "PillowImage") -> np.ndarray:
    """(C, H, W)"""
    x: Any = np.asarray(image)
    return x[None].copy() if x.ndim == 2 else np.ascontiguousarray(x.transpose(2, 0, 1))
