"""The data sets by name."""

import difflib
import os
import sys
from collections.abc import Callable
from functools import partial

from .dataset import ImageDataset
from .digits import digits
from .download import Report
from .mnist import FASHION_MNIST, MNIST, idx_dataset

# name -> function of (split, data_dir, offline, report)
_SETS: dict[str, Callable[[str, str | os.PathLike[str] | None, bool, Report], ImageDataset]] = {
    "digits": lambda split, *_: digits(split),
    "mnist": partial(idx_dataset, MNIST),
    "fashion-mnist": partial(idx_dataset, FASHION_MNIST),
}


def names() -> list[str]:
    """The names that ``load`` knows."""
    return list(_SETS)


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
        name: "digits" (bundled: needs no files and no network), "mnist" or "fashion-mnist".
        split: "train" or "validation", which for MNIST and Fashion-MNIST is the published test set.
        data_dir: folder to search first and to download into: the files may lie in it, in its sub-folder NAME, or
            where torchvision puts them. Then come $MINICNN_DATA and the user's cache folder, then the download.
        offline: never use the network.
        report: is given a line about each download and its progress; by default it is printed to stderr.

    Raises:
        ValueError: unknown name or split.
        DataError: the data cannot be had, or are not what they should be.
    """
    if name not in _SETS:
        near = difflib.get_close_matches(name.lower(), _SETS, n=1, cutoff=0.5)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"load: unknown data set {name!r}, known are {', '.join(_SETS)}{guess}")
    if split not in ("train", "validation"):
        raise ValueError(f"load: split must be 'train' or 'validation', not {split!r}")
    return _SETS[name](split, data_dir, offline, report)
