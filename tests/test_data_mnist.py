"""The readers on small sets in MNIST's format, and on the real files where the environment names their folder."""

import gzip
import hashlib
import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from minicnn.data import DataError, load, names
from minicnn.data import mnist as module
from minicnn.data import places
from minicnn.data.mnist import FASHION_MNIST, MNIST, IdxFile, IdxSet, idx_dataset

REAL = os.environ.get("MINICNN_DATA")


def idx(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def small(like: IdxSet, seed: int) -> tuple[IdxSet, dict[str, bytes]]:
    """The set with random contents: 5 images of 4x3 for training, 3 for validation; and its unpacked files."""
    rng, contents, splits = np.random.default_rng(seed), {}, {}
    for split, n in (("train", 5), ("validation", 3)):
        arrays = rng.integers(0, 256, (n, 4, 3), dtype=np.uint8), rng.integers(0, 10, n, dtype=np.uint8)
        files = []
        for file, array in zip(like.splits[split], arrays, strict=True):
            raw = idx(array)
            packed = gzip.compress(raw, mtime=0)
            sums = hashlib.sha256(packed).hexdigest(), hashlib.md5(raw).hexdigest()
            contents[file.name] = raw
            files.append(IdxFile(file.name, len(packed), *sums))
        splits[split] = tuple(files)
    return replace(like, splits=splits, mirrors=("http://127.0.0.1:9/",)), contents


DIGITS, DIGITS_FILES = small(MNIST, seed=1)
CLOTHES, CLOTHES_FILES = small(FASHION_MNIST, seed=2)


def put(folder: Path, files: dict[str, bytes], packed: bool = True, rename=lambda name: name) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in files.items():
        if packed:
            (folder / name).write_bytes(gzip.compress(raw, mtime=0))
        else:
            (folder / rename(name.removesuffix(".gz"))).write_bytes(raw)


def read(spec: IdxSet, split: str = "train", data_dir: Path | None = None, offline: bool = True):
    return idx_dataset(spec, split, data_dir, offline, report=lambda line: None)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    monkeypatch.delenv("MINICNN_DATA", raising=False)
    monkeypatch.setattr(module, "KNOWN", (DIGITS, CLOTHES))
    monkeypatch.setattr(places, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def no_download(monkeypatch):
    def refuse(*args):
        raise AssertionError("must not touch the network")

    monkeypatch.setattr(module, "download", refuse)


@pytest.mark.parametrize("split, n", [("train", 5), ("validation", 3)])
def test_images_and_labels(tmp_path, split, n):
    put(tmp_path, DIGITS_FILES)
    dataset = read(DIGITS, split, tmp_path)
    prefix = "train" if split == "train" else "t10k"
    raw = DIGITS_FILES[f"{prefix}-images-idx3-ubyte.gz"]
    assert dataset.images.shape == (n, 1, 4, 3) and dataset.images.tobytes() == raw[16:]
    assert dataset.labels.dtype == np.int64
    assert dataset.labels.tolist() == list(DIGITS_FILES[f"{prefix}-labels-idx1-ubyte.gz"][8:])
    assert (dataset.name, dataset.split, dataset.source) == ("mnist", split, str(tmp_path))


@pytest.mark.parametrize(
    "spec, files, torchvision", [(DIGITS, DIGITS_FILES, "MNIST"), (CLOTHES, CLOTHES_FILES, "FashionMNIST")]
)
def test_the_order_of_the_search(monkeypatch, cache, tmp_path, spec, files, torchvision):
    data_dir, env = tmp_path / "given", tmp_path / "env"
    monkeypatch.setenv("MINICNN_DATA", str(env))
    places = [
        root / folder for root in (data_dir, env, cache) for folder in (spec.name, f"{torchvision}/raw", "")
    ]
    for place in reversed(places):
        put(place, files)
        assert read(spec, data_dir=data_dir).source == str(place)


def test_a_folder_with_one_file_of_two_is_passed_over(tmp_path, cache):
    put(tmp_path / "mnist", {"train-images-idx3-ubyte.gz": DIGITS_FILES["train-images-idx3-ubyte.gz"]})
    put(cache / "mnist", DIGITS_FILES)
    assert read(DIGITS, data_dir=tmp_path).source == str(cache / "mnist")


@pytest.mark.parametrize("rename", [lambda name: name, lambda name: name.replace("-idx", ".idx")], ids=["idx", "dot"])
def test_unpacked_files(tmp_path, rename):
    put(tmp_path, DIGITS_FILES, packed=False, rename=rename)
    assert read(DIGITS, data_dir=tmp_path).images.tobytes() == DIGITS_FILES["train-images-idx3-ubyte.gz"][16:]


def test_one_data_set_is_not_taken_for_the_other(tmp_path):
    put(tmp_path, CLOTHES_FILES)
    with pytest.raises(DataError) as caught:
        read(DIGITS, data_dir=tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    assert caught.value.message == (
        f"{path}: is Fashion-MNIST's train-images-idx3-ubyte.gz, not MNIST's train-images-idx3-ubyte.gz"
    )


def test_exchanged_and_unknown_files_are_refused(tmp_path):
    exchanged = {name.replace("train", "t10k"): raw for name, raw in DIGITS_FILES.items() if "train" in name}
    put(tmp_path, exchanged)
    with pytest.raises(DataError, match="is MNIST's train-images-idx3-ubyte.gz, not MNIST's t10k-images"):
        read(DIGITS, "validation", tmp_path)
    put(tmp_path, DIGITS_FILES | {"train-labels-idx1-ubyte.gz": idx(np.zeros(5, np.uint8))})
    with pytest.raises(DataError, match=r"labels-idx1-ubyte.gz: is something else \(MD5 .*[0-9a-f]{32}\), not MNIST's"):
        read(DIGITS, data_dir=tmp_path)


def test_a_damaged_file_is_an_error_even_if_another_folder_has_a_good_one(tmp_path, cache):
    put(cache, DIGITS_FILES)
    put(tmp_path, DIGITS_FILES)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match="cut short"):
        read(DIGITS, data_dir=tmp_path)


def test_offline_without_the_files_says_where_it_looked_and_what_to_do(tmp_path, cache):
    with pytest.raises(DataError) as caught:
        read(DIGITS, data_dir=tmp_path)
    for place in (tmp_path / "mnist", tmp_path / "MNIST/raw", tmp_path, cache):
        assert str(place) in caught.value.message
    assert "MINICNN_DATA" in caught.value.hint and "--data-dir" in caught.value.hint


@pytest.mark.parametrize("given", [True, False])
def test_the_download_goes_into_data_dir_or_the_cache(monkeypatch, tmp_path, cache, given):
    calls = []

    def fetch(files, mirrors, folder, report):
        calls.append(([file.name for file in files], mirrors, folder))
        report("downloading")
        put(folder, DIGITS_FILES)

    monkeypatch.setattr(module, "download", fetch)
    lines: list[str] = []
    data_dir = tmp_path / "given" if given else None
    dataset = idx_dataset(DIGITS, "validation", data_dir, False, lines.append)
    folder = (data_dir or cache) / "mnist"
    assert calls == [(["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"], DIGITS.mirrors, folder)]
    assert (dataset.source, lines) == (str(folder), ["downloading"])
    idx_dataset(DIGITS, "validation", data_dir, False, lines.append)
    assert len(calls) == 1


# -- load -------------------------------------------------------------------------------------------------------------


def test_load_knows_the_names(tmp_path, cache):
    assert names() == ["digits", "mnist", "fashion-mnist", "cifar10", "cifar100"]
    for name in names()[1:]:
        with pytest.raises(DataError, match="not on this machine"):
            load(name, "validation", tmp_path, offline=True)


def test_a_home_folder_is_found(monkeypatch, tmp_path):
    """~ stands for it, also where a download goes."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert places.search_path(["a"], "~/data")[0] == places.download_folder("a", "~/data") == tmp_path / "data" / "a"


def test_load_reports_to_stderr_unless_told_otherwise(monkeypatch, tmp_path, capsys):
    def fetch(files, mirrors, folder, report):
        report("a line")
        raise DataError("enough", "")

    monkeypatch.setattr(module, "download", fetch)
    lines: list[str] = []
    for options in ({}, {"report": lines.append}):
        with pytest.raises(DataError):
            load("mnist", data_dir=tmp_path, **options)
    assert capsys.readouterr() == ("", "a line\n") and lines == ["a line"]


@pytest.mark.parametrize(
    "name, split, match",
    [
        ("mnits", "train", "data set 'mnits' is unknown; did you mean 'mnist'. data sets: digits, mnist,"),
        ("MNIST", "train", "did you mean 'mnist'"),
        ("cifar-10", "train", "did you mean 'cifar10'"),
        ("imagenet", "train", "'imagenet' is unknown; data sets: digits, .*cifar100, folder:PATH$"),
        ("folder:", "train", "'folder:' is unknown; .*folder:PATH$"),
        ("mnist", "test", "split must be 'train' or 'validation', not 'test'"),
    ],
)
def test_load_errors(name, split, match):
    with pytest.raises(ValueError, match=match):
        load(name, split)


# -- the published files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [MNIST, FASHION_MNIST], ids=lambda spec: spec.name)
def test_the_published_facts_are_well_formed(spec):
    files = [file for pair in spec.splits.values() for file in pair]
    assert [len(file.sha256) for file in files] == [64] * 4 and [len(file.md5) for file in files] == [32] * 4
    assert len({file.sha256 for file in files} | {file.md5 for file in files}) == 8
    assert len(spec.classes) == 10
    assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in spec.mirrors)


@pytest.mark.skipif(REAL is None, reason="needs MNIST: set MINICNN_DATA")
@pytest.mark.parametrize("split, n", [("train", 60_000), ("validation", 10_000)])
def test_mnist_itself(split, n):
    dataset = load("mnist", split, REAL, offline=True)
    assert dataset.images.shape == (n, 1, 28, 28)
    counts = np.bincount(dataset.labels).tolist()
    if split == "train":
        assert counts == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
        assert abs(dataset.images.mean() / 255 - dataset.mean[0]) < 5e-5
        assert abs((dataset.images / np.float32(255)).std(dtype=np.float64) - dataset.std[0]) < 5e-5
    else:
        assert counts == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.skipif(REAL is None, reason="needs MNIST: set MINICNN_DATA")
def test_mnist_is_not_fashion_mnist(monkeypatch):
    monkeypatch.setattr(module, "KNOWN", (MNIST, FASHION_MNIST))
    with pytest.raises(DataError, match="is MNIST's train-images-idx3-ubyte.gz, not Fashion-MNIST's"):
        load("fashion-mnist", "train", Path(REAL) / "mnist", offline=True)
