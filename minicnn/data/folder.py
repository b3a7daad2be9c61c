"""Image folders: a sub-folder for each class, with its name, holding image files of any size.

    PATH/cat/tom.jpg  PATH/cat/more/felix.png  PATH/dog/rex.jpg ...

The folder of a class may be a link to where it really is, and so may image files; links to folders deeper down are not
followed, since they might lead up.

A folder that has the sub-folders train and validation (or val, valid, test) is split by them, each with a sub-folder
for every class. Else a fifth of the files is for validation, chosen by a check sum of their names: a file stays in its
part whatever is added or removed beside it, as in the "Speech commands" data (Warden, arXiv 1804.03209, 2018). Where
all files of a class would be in one part, the one whose check sum is nearest to the other part's goes there; a single
file is for training.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from .dataset import ImageDataset
from .download import Report
from .errors import DataError
from .image import image_header
from .image_files import ImageFiles

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
SIDE = 256  # of images whose files are of different sizes, at most; as in AlexNet's paper, section 2
SAMPLE = 500  # training images that decide about channels, size, mean and standard deviation
HELD_OUT = 0.2  # of the files, for validation
_VALIDATION = ("validation", "val", "valid", "test")
_LAYOUT = "each class needs a sub-folder with images, such as cat/1.jpg, dog/1.jpg"


def folder_dataset(path: str, split: str, report: Report) -> ImageDataset:
    """One split of an image folder, in an order that mixes the classes and does not depend on the file system.

    All images come in the size of the files, if a sample of the training images agrees about it, else as squares whose
    side is the median of the shorter sides, at most SIDE; in grey if all files of the sample are grey.

    Raises:
        DataError: there is no such folder, it has no classes, or a part of it no images.
    """
    root = Path(path).expanduser()
    parts, classes = _parts(root)
    sample = [file for file, _ in parts["train"][:SAMPLE]]  # the order is as good as random
    shape, mean, std = _look(root, sum(map(len, parts.values())), tuple(map(_state, sample)), report)
    return ImageDataset(
        ImageFiles([file for file, _ in parts[split]], shape),
        np.array([label for _, label in parts[split]], np.int64),
        classes,
        name=f"folder:{path}",
        split=split,
        mean=mean,
        std=std,
        source=str(root),
        files=_fingerprint(root, parts),
    )


def _parts(root: Path) -> tuple[dict[str, list[tuple[Path, int]]], list[str]]:
    """The files of each split with their labels, and the names of the classes."""
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder", "check the path after folder:")
    held_out = next((root / name for name in _VALIDATION if (root / name).is_dir()), None)
    if (root / "train").is_dir() and held_out is not None:
        classes = _classes(root / "train")
        strange = sorted(set(_classes(held_out)) - set(classes))
        if strange:
            raise DataError(f"{held_out}: has a class {strange[0]!r} that {root / 'train'} has not", _LAYOUT)
        parts = {"train": _files(root / "train", classes), "validation": _files(held_out, classes)}
    else:
        classes = _classes(root)
        parts = _divided(root, _files(root, classes))
    if len(classes) < 2:
        raise DataError(f"{root}: has {f'only the class {classes[0]}' if classes else 'no sub-folders with images'}",
                        _LAYOUT)
    for split, files in parts.items():
        if not files:
            raise DataError(f"{root}: has too few images, none of them is for {split}", "add images to every class")
    return parts, classes


def _divided(root: Path, files: list[tuple[Path, int]]) -> dict[str, list[tuple[Path, int]]]:
    """Files ordered by check sum, with their labels, in two parts: the first files of each class are held out."""
    total = Counter(label for _, label in files)
    low = Counter(label for file, label in files if _place(root, file) < HELD_OUT)
    held_out = {label: min(max(1, low[label]), total[label] - 1) for label in total}
    parts: dict[str, list[tuple[Path, int]]] = {"train": [], "validation": []}
    for file, label in files:
        parts["validation" if held_out[label] > 0 else "train"].append((file, label))
        held_out[label] -= 1
    return parts


def _fingerprint(root: Path, parts: dict[str, list[tuple[Path, int]]]) -> str:
    """Which files are in which part, in words and a check sum of their names."""
    names = [f"{split} {file.relative_to(root).as_posix()}" for split, files in parts.items() for file, _ in files]
    digest = hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()
    return (f"{len(parts['train']):,} training and {len(parts['validation']):,} validation images, "
            f"check sum of their names {digest[:8]}")


def _classes(folder: Path) -> list[str]:
    """The sub-folders with images, sorted by name; none may lie in another, by way of links."""
    found = sorted(sub.name for sub in folder.iterdir() if sub.name[0] != "." and next(_images(sub), None))
    for name in found:
        if min(name) < " ":
            raise DataError(f"{folder}: the class {name!r} has a line break or another control character in its name, "
                            "which no table can show", "rename its folder")
    places = sorted(((folder / name).resolve(), name) for name in found)  # what lies in a folder comes right after it
    for (outer, one), (inner, other) in pairwise(places):
        if inner.is_relative_to(outer):
            raise DataError(f"{folder}: the classes {one!r} and {other!r} share images, all those in {inner}",
                            "remove the link of one of them")
    return found


def _images(folder: Path) -> Iterator[Path]:
    """The image files at any depth, without hidden ones, hidden folders and links to folders."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "."]
        yield from (Path(place, name) for name in names if name[0] != "." and Path(name).suffix.lower() in SUFFIXES)


def _files(folder: Path, classes: list[str]) -> list[tuple[Path, int]]:
    """Every image below the folder with its label, ordered by check sum."""
    found = [(file, label) for label, name in enumerate(classes) for file in _images(folder / name)]
    return sorted(found, key=lambda pair: (_place(folder, pair[0]), pair[0]))


def _place(root: Path, file: Path) -> float:
    """A number in 0..1 that looks random and follows from the file's path below the root alone."""
    digest = hashlib.sha256(file.relative_to(root).as_posix().encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _state(file: Path) -> tuple[Path, int, int]:
    """The file, and what tells that it is still the same."""
    try:
        stat = file.stat()
    except OSError:  # whoever opens it says so better
        return file, 0, 0
    return file, stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=1)  # for the other split, most often
def _look(root: Path, count: int, sample: tuple[tuple[Path, int, int], ...],
          report: Report) -> tuple[tuple[int, int, int], list[float], list[float]]:
    """The shape (C, H, W), mean and standard deviation that the images get, after looking at a sample of them."""
    report(f"looking at {len(sample):,} of the {count:,} images in {root} for their size and colours")
    files = [file for file, _, _ in sample]
    shape = _common_shape(files)
    return shape, *_mean_and_std(ImageFiles(files, shape))


def _common_shape(paths: list[Path]) -> tuple[int, int, int]:
    headers = [image_header(path) for path in paths]
    channels, sizes = max(c for c, _, _ in headers), {(h, w) for _, h, w in headers}
    if len(sizes) == 1:
        return (channels, *sizes.pop())
    side = min(SIDE, int(np.median([min(h, w) for _, h, w in headers])))
    return channels, side, side


def _mean_and_std(images: ImageFiles) -> tuple[list[float], list[float]]:
    """Per channel, of levels in 0..1; a channel without any contrast gets the standard deviation of one level."""
    sums = np.zeros((2, images.shape[1]))
    for i in range(len(images)):
        levels = images[i].reshape(images.shape[1], -1) / 255  # (C, H·W)
        sums += levels.mean(1), (levels**2).mean(1)
    mean, square = sums / len(images)
    std = np.sqrt(np.maximum(square - mean**2, 255.0**-2))
    return mean.round(4).tolist(), std.round(4).tolist()
