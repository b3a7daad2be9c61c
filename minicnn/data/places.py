"""Where the files of a data set may lie: in the folder that the user names, in $MINICNN_DATA, in the user's cache."""

import os
from collections.abc import Sequence
from pathlib import Path

from .errors import DataError


def cache_folder() -> Path:
    """Where data sets are kept: the user's cache folder, $XDG_CACHE_HOME/minicnn or its like on other systems."""
    import pooch

    return Path(pooch.os_cache("minicnn"))


def search_path(folders: Sequence[str], data_dir: str | os.PathLike[str] | None) -> list[Path]:
    """The folders to search, in this order: these sub-folders of each of the three places."""
    roots = [data_dir, os.environ.get("MINICNN_DATA") or None, cache_folder()]
    return [Path(root).expanduser() / folder for root in roots if root is not None for folder in folders]


def download_folder(name: str, data_dir: str | os.PathLike[str] | None) -> Path:
    """The folder to download a data set into."""
    return (Path(data_dir).expanduser() if data_dir is not None else cache_folder()) / name


def not_here(title: str, files: Sequence[str], searched: Sequence[Path]) -> DataError:
    """The error for a data set that is nowhere and must not be downloaded."""
    are = "are" if len(files) > 1 else "is"
    return DataError(
        f"{title}: {' and '.join(files)} {are} not on this machine, and it is offline "
        f"(searched {', '.join(map(str, searched))})",
        "allow the download once, or put the data into one of these folders, or name another with --data-dir "
        "(data_dir=...) or the environment variable MINICNN_DATA",
    )
