"""MNIST and Fashion-MNIST: found on this machine or downloaded, and known by their check sums.

The two have the same file names, sizes and formats, and have been mistaken for each other before; so every file is
identified by the MD5 of its unpacked content, whichever way it came.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: "Gradient-based learning applied to document recognition", Proc. IEEE 86
(1998). H. Xiao, K. Rasul, R. Vollgraf: "Fashion-MNIST: a novel image dataset for benchmarking machine learning
algorithms", arXiv 1708.07747 (2017).
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .dataset import ImageDataset
from .download import RemoteFile, Report, download
from .errors import DataError
from .idx import parse_idx, read_bytes
from .places import download_folder, not_here, search_path


@dataclass(frozen=True)
class IdxFile(RemoteFile):
    """A published IDX file: also the MD5 of its unpacked content, which identifies it."""

    md5: str


@dataclass(frozen=True)
class IdxSet:
    """A data set in the format of MNIST: for each split a file of images and one of labels."""

    name: str
    title: str
    folders: tuple[str, ...]  # where its files may lie within a data folder, in the order of the search
    mirrors: tuple[str, ...]
    splits: dict[str, tuple[IdxFile, IdxFile]]
    classes: tuple[str, ...]
    mean: tuple[float]
    std: tuple[float]


MNIST = IdxSet(
    name="mnist",
    title="MNIST",
    folders=("mnist", "MNIST/raw", "."),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    splits={
        "train": (
            IdxFile(
                "train-images-idx3-ubyte.gz",
                9912422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                "6bbc9ace898e44ae57da46a324031adb",
            ),
            IdxFile(
                "train-labels-idx1-ubyte.gz",
                28881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                "a25bea736e30d166cdddb491f175f624",
            ),
        ),
        "validation": (
            IdxFile(
                "t10k-images-idx3-ubyte.gz",
                1648877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                "2646ac647ad5339dbf082846283269ea",
            ),
            IdxFile(
                "t10k-labels-idx1-ubyte.gz",
                4542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                "27ae3e4e09519cfbb04c329615203637",
            ),
        ),
    },
    classes=tuple("0123456789"),
    mean=(0.1307,),
    std=(0.3081,),
)

FASHION_MNIST = IdxSet(
    name="fashion-mnist",
    title="Fashion-MNIST",
    folders=("fashion-mnist", "FashionMNIST/raw", "."),
    mirrors=(
        "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
    splits={
        "train": (
            IdxFile(
                "train-images-idx3-ubyte.gz",
                26421880,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            ),
            IdxFile(
                "train-labels-idx1-ubyte.gz",
                29515,
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                "9018921c3c673c538a1fc5bad174d6f9",
            ),
        ),
        "validation": (
            IdxFile(
                "t10k-images-idx3-ubyte.gz",
                4422102,
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "8181f5470baa50b63fa0f6fddb340f0a",
            ),
            IdxFile(
                "t10k-labels-idx1-ubyte.gz",
                5148,
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                "15d484375f8d13e6eb1aabb0c3f46965",
            ),
        ),
    },
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    mean=(0.2860,),
    std=(0.3530,),
)

KNOWN = (MNIST, FASHION_MNIST)


def idx_dataset(
    spec: IdxSet, split: str, data_dir: str | os.PathLike[str] | None, offline: bool, report: Report
) -> ImageDataset:
    """One split of the set, from the first folder that holds it, or downloaded into ``data_dir`` or the cache."""
    files = spec.splits[split]
    folders = search_path(spec.folders, data_dir)
    paths = _find(files, folders)
    if paths is None and not offline:
        target = download_folder(spec.name, data_dir)
        download(files, spec.mirrors, target, report)
        paths = _find(files, [target])
    if paths is None:
        raise not_here(spec.title, [file.name for file in files], folders)
    images, labels = (_read(spec, file, path) for file, path in zip(files, paths, strict=True))
    return ImageDataset(
        images[:, None],  # (N, 1, 28, 28)
        labels.astype(np.int64),
        spec.classes,
        name=spec.name,
        split=split,
        mean=spec.mean,
        std=spec.std,
        source=str(paths[0].parent),
    )


def _find(files: tuple[IdxFile, ...], folders: list[Path]) -> list[Path] | None:
    """The paths of the files in the first folder that has them all, packed or unpacked."""
    for folder in folders:
        paths = [path for file in files if (path := _path(folder, file))]
        if len(paths) == len(files):
            return paths
    return None


def _path(folder: Path, file: IdxFile) -> Path | None:
    unpacked = file.name.removesuffix(".gz")
    names = (file.name, unpacked, unpacked.replace("-idx", ".idx"))  # the last is how some unpackers name it
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read(spec: IdxSet, file: IdxFile, path: Path) -> np.ndarray:
    data = read_bytes(path)
    array = parse_idx(data, path)
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if md5 != file.md5:
        raise DataError(
            f"{path}: is {_what(md5)}, not {spec.title}'s {file.name}",
            f"move it away, and keep each data set in a folder of its own: {', '.join(known.name for known in KNOWN)}",
        )
    return array


def _what(md5: str) -> str:
    for known in KNOWN:
        for pair in known.splits.values():
            for file in pair:
                if file.md5 == md5:
                    return f"{known.title}'s {file.name}"
    return f"something else (MD5 of the unpacked data {md5})"
