"""The data sets by name."""

import difflib
import os
import sys
from collections.abc import Callable
from functools import partial

from .cifar import CIFAR10, CIFAR100, cifar_dataset
from .dataset import ImageDataset
from .digits import digits
from .download import Report
from .folder import folder_dataset
from .mnist import FASHION_MNIST, MNIST, idx_dataset

# name -> function of (split, data_dir, offline, report)
_SETS: dict[str, Callable[[str, str | os.PathLike[str] | None, bool, Report], ImageDataset]] = {
    "digits": lambda split, *_: digits(split),
    "mnist": partial(idx_dataset, MNIST),
    "fashion-mnist": partial(idx_dataset, FASHION_MNIST),
    "cifar10": partial(cifar_dataset, CIFAR10),
    "cifar100": partial(cifar_dataset, CIFAR100),
}
FOLDER = "folder:"


def names() -> list[str]:
    """The names that ``load`` knows, besides folder:PATH."""
    return list(_SETS)


def check_name(name: str) -> None:
    """Raise ValueError, with the nearest name and all names, if ``load`` does not know this one."""
    if name in _SETS or (name.startswith(FOLDER) and name != FOLDER):
        return
    near = difflib.get_close_matches(name.lower(), _SETS, n=1, cutoff=0.5)
    guess = f"; did you mean {near[0]!r}?" if near else ";"
    raise ValueError(f"data set {name!r} is unknown{guess} data sets: {', '.join(_SETS)}, folder:PATH")


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def load(
    name: str,
    split: str = "train",
    data_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    report: Report = _to_stderr,
) -> ImageDataset:
    """One split of a data set.

    Args:
        name: "digits" (bundled: needs no files and no network), "mnist", "fashion-mnist", "cifar10", "cifar100", or
            "folder:PATH" for image files in a sub-folder for each class, see ``minicnn.data.folder``.
        split: "train" or "validation", which for MNIST, Fashion-MNIST and CIFAR is the published test set.
        data_dir: folder to search first and to download into: the files may lie in it, in its sub-folder NAME, or
            where torchvision puts them. Then come $MINICNN_DATA and the user's cache folder, then the download.
        offline: never use the network.
        report: is given a line about each download and its progress, and about other work that takes a while; by
            default it is printed to stderr.

    Raises:
        ValueError: unknown name or split.
        DataError: the data cannot be had, or are not what they should be.
    """
    check_name(name)
    if split not in ("train", "validation"):
        raise ValueError(f"load: split must be 'train' or 'validation', not {split!r}")
    if name.startswith(FOLDER):
        return folder_dataset(name.removeprefix(FOLDER), split, report)
    return _SETS[name](split, data_dir, offline, report)
