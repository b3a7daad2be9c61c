"""The readers on small sets in CIFAR's formats, and on the JPEG form where the environment names its folder."""

import gzip
import hashlib
import io
import os
import pickle
import struct
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from minicnn.data import DataError, load
from minicnn.data import cifar as module
from minicnn.data import places
from minicnn.data.cifar import CIFAR10, CIFAR100, CifarSet, cifar_dataset
from minicnn.data.pickles import unpickle

REAL = os.environ.get("MINICNN_DATA")


class Python2Pickler(pickle._Pickler):
    """Writes what Python 2 and its NumPy wrote: strings of bytes, and arrays under the module's old name."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, data: bytes) -> None:
        self.write(b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(data)

    dispatch[bytes] = save_string


def python2_pickle(content: object) -> bytes:
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(content)
    return stream.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n").replace(
        b"X\x02\x00\x00\x00u1", b"U\x02u1").replace(b"X\x01\x00\x00\x00|", b"U\x01|")


def small(spec: CifarSet, seed: int) -> tuple[CifarSet, dict[str, dict[str, bytes]], dict[str, tuple]]:
    """The set with 3 random images in every file; the files of each form's folder; images and labels of each split."""
    rng = np.random.default_rng(seed)
    files: dict[str, dict[str, bytes]] = {form.folder: {} for form in spec.forms}
    truth, splits = {}, [{} for _ in spec.forms]
    for split in ("train", "validation"):
        images, labels = [], []
        for names in zip(*(form.splits[split] for form in spec.forms), strict=True):
            x = rng.integers(0, 256, (3, 3072), dtype=np.uint8)
            fine, coarse = rng.integers(0, len(spec.classes), 3), rng.integers(0, 20, 3)
            images.append(x)
            labels += fine.tolist()
            if len(spec.classes) == 10:
                content = {b"data": x, b"labels": fine.tolist(), b"batch_label": b"a batch"}
                leading = fine[:, None]
            else:
                content = {b"data": x, b"fine_labels": fine.tolist(), b"coarse_labels": coarse.tolist()}
                leading = np.stack([coarse, fine], axis=1)
            raws = python2_pickle(content), np.concatenate([leading.astype(np.uint8), x], axis=1).tobytes()
            for form, in_split, name, raw, algorithm in zip(spec.forms, splits, names, raws, ("md5", "sha256")):
                files[form.folder][name] = raw
                in_split.setdefault(split, {})[name] = hashlib.new(algorithm, raw).hexdigest()
        truth[split] = np.concatenate(images).reshape(-1, 3, 32, 32), labels
    forms = tuple(replace(form, splits=found) for form, found in zip(spec.forms, splits))
    return replace(spec, forms=forms, mirrors=("http://127.0.0.1:9/",)), files, truth


SETS = {spec.name: small(spec, seed) for seed, spec in enumerate((CIFAR10, CIFAR100))}


def pack(path: Path, folder: str, files: dict[str, bytes], mode: str = "w:gz", prefix: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, raw in {"readme.html": b"<html>", **files}.items():
            member = tarfile.TarInfo(f"{prefix}{folder}/{name}")
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))


def unpack(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in files.items():
        (folder / name).write_bytes(raw)


def read(spec: CifarSet, split: str = "train", data_dir: Path | None = None, offline: bool = True, report=print):
    return cifar_dataset(spec, split, data_dir, offline, report)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    monkeypatch.delenv("MINICNN_DATA", raising=False)
    monkeypatch.setattr(places, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def no_download(monkeypatch):
    def refuse(*args):
        raise AssertionError("must not touch the network")

    monkeypatch.setattr(module, "download", refuse)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("form", [0, 1], ids=["python", "binary"])
@pytest.mark.parametrize("stored", ["archive", "archive with ./", "folder"])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_all_forms_hold_the_same_images(tmp_path, name, form, stored, split):
    spec, files, truth = SETS[name]
    form = spec.forms[form]
    if stored == "folder":
        path = tmp_path / name / form.folder
        unpack(path, files[form.folder])
    else:
        path = tmp_path / form.archive
        pack(path, form.folder, files[form.folder], prefix="./" if "./" in stored else "")
    dataset = read(spec, split, tmp_path)
    images, labels = truth[split]
    np.testing.assert_array_equal(dataset.images, images)
    assert dataset.labels.tolist() == labels and dataset.labels.dtype == np.int64
    assert (dataset.name, dataset.split, dataset.source) == (name, split, str(path))
    assert dataset.classes == list(spec.classes) and dataset.mean == spec.mean and dataset.std == spec.std


def test_the_order_of_the_search(monkeypatch, cache, tmp_path):
    spec, files, _ = SETS["cifar10"]
    form = spec.forms[0]
    given, env = tmp_path / "given", tmp_path / "env"
    monkeypatch.setenv("MINICNN_DATA", str(env))
    roots = [root / folder for root in (given, env, cache) for folder in ("cifar10", "")]
    for root in reversed(roots):
        for each, store in ((spec.forms[1], pack), (form, pack), (form, unpack)):
            if store is pack:
                path = root / each.archive
                pack(path, each.folder, files[each.folder])
            else:
                path = root / each.folder
                unpack(path, files[each.folder])
            assert read(spec, data_dir=given).source == str(path)


def test_a_folder_with_some_of_the_files_is_passed_over(tmp_path):
    spec, files, _ = SETS["cifar10"]
    python, binary = spec.forms
    unpack(tmp_path / python.folder, {"test_batch": files[python.folder]["test_batch"]})
    unpack(tmp_path / binary.folder, files[binary.folder])
    assert read(spec, "train", tmp_path).source == str(tmp_path / binary.folder)
    assert read(spec, "validation", tmp_path).source == str(tmp_path / python.folder)


@pytest.mark.parametrize("form", [0, 1], ids=["python", "binary"])
@pytest.mark.parametrize("store", ["archive", "folder"])
def test_what_is_not_the_published_file_is_refused(tmp_path, form, store):
    spec, files, _ = SETS["cifar10"]
    form = spec.forms[form]
    name = list(form.splits["train"])[2]
    raw = bytearray(files[form.folder][name])
    raw[-700] ^= 1
    changed = files[form.folder] | {name: bytes(raw)}
    if store == "archive":
        pack(tmp_path / form.archive, form.folder, changed)
    else:
        unpack(tmp_path / form.folder, changed)
    with pytest.raises(DataError, match=f"its {name} is not the published one") as caught:
        read(spec, data_dir=tmp_path)
    assert str(tmp_path) in caught.value.message and "get it again" in caught.value.hint
    read(spec, "validation", tmp_path)


def test_archives_that_are_damaged(tmp_path):
    spec, files, _ = SETS["cifar10"]
    form = spec.forms[0]
    path = tmp_path / form.archive
    pack(path, form.folder, files[form.folder])
    whole = path.read_bytes()
    incomplete = {name: raw for name, raw in files[form.folder].items() if name != "data_batch_4"}
    for content, match in ((whole[:-1000], "cannot be read"), (b"<html>not here", "cannot be read"),
                           (gzip.compress(b"no tar"), "cannot be read"),
                           (None, "has no cifar-10-batches-py/data_batch_4")):
        if content is None:
            pack(path, form.folder, incomplete)
        else:
            path.write_bytes(content)
        with pytest.raises(DataError, match=match) as caught:
            read(spec, data_dir=tmp_path)
        assert caught.value.message.startswith(str(path))


def test_offline_without_the_files(tmp_path, cache):
    with pytest.raises(DataError) as caught:
        read(SETS["cifar100"][0], data_dir=tmp_path)
    assert caught.value.message.startswith("CIFAR-100: cifar-100-python.tar.gz is not on this machine, and it is off")
    for place in (tmp_path / "cifar100", tmp_path, cache / "cifar100", cache):
        assert str(place) in caught.value.message


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("name", SETS)
def test_the_download_goes_into_data_dir_or_the_cache(monkeypatch, tmp_path, cache, name, given):
    spec, files, _ = SETS[name]
    calls = []

    def fetch(wanted, mirrors, folder, report):
        calls.append((wanted, mirrors, folder))
        pack(folder / spec.forms[0].archive, spec.forms[0].folder, files[spec.forms[0].folder])

    monkeypatch.setattr(module, "download", fetch)
    data_dir = tmp_path / "given" if given else None
    for split in ("train", "validation"):
        dataset = read(spec, split, data_dir, offline=False)
        assert dataset.source == str((data_dir or cache) / name / spec.archive.name)
    assert calls == [([spec.archive], spec.mirrors, (data_dir or cache) / name)]


# -- pickles ----------------------------------------------------------------------------------------------------------


def test_pickles_of_python_2_are_read():
    x = np.arange(12, dtype=np.uint8).reshape(3, 4)
    content = unpickle(python2_pickle({b"data": x, b"labels": [3, 1, 2], b"batch_label": b"training batch 1"}))
    np.testing.assert_array_equal(content.pop(b"data"), x)
    assert content == {b"labels": [3, 1, 2], b"batch_label": b"training batch 1"}


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/minicnn-was-here",)


class Import:
    def __reduce__(self):
        return eval, ("1",)


@pytest.mark.parametrize("content, match", [
    (Evil(), "asks for (posix|nt).system"), (Import(), "asks for builtins.eval"), (Path("x"), "asks for pathlib"),
    (np.float64, "asks for numpy.float64"), (np.zeros(2), "an array of b?'f8'")])
def test_nothing_else_is_unpickled(content, match):
    data = pickle.dumps(content, protocol=2, fix_imports=False)
    data = data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n").replace(
        b"c_codecs\nencode\n", b"cnumpy.core.multiarray\n_reconstruct\n")
    with pytest.raises(pickle.UnpicklingError, match=match):
        unpickle(data)


# -- JPEG -------------------------------------------------------------------------------------------------------------


def test_the_jpeg_form_is_read_with_the_classes_in_turns(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    files, truth = {}, {}
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for label in (7, 0, 9):
            for number in range(2):
                x = np.full((32, 32, 3), rng.integers(0, 256, 3), np.uint8)
                stream = io.BytesIO()
                Image.fromarray(x).save(stream, "JPEG", quality=95)
                files[f"{part}/{CIFAR10.classes[label]}/{number:04}.jpg"] = stream.getvalue()
                truth[part, number, label] = x.transpose(2, 0, 1)
    with tarfile.open(tmp_path / "cifar10-jpeg.tar.xz", "w:xz") as archive:
        for name, raw in {"README.md": b"about it", **files}.items():
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    lines: list[str] = []
    for split, part in (("train", "train"), ("validation", "test")):
        dataset = read(CIFAR10, split, tmp_path, report=lines.append)
        assert dataset.labels.tolist() == [0, 7, 9, 0, 7, 9]
        want = np.stack([truth[part, number, label] for number in range(2) for label in (0, 7, 9)])
        assert abs(dataset.images.astype(int) - want).max() <= 4
    assert all("JPEG" in line and str(tmp_path) in line for line in lines) and len(lines) == 2


def test_an_archive_without_jpegs_is_refused(tmp_path):
    pack(tmp_path / "cifar10-jpeg.tar.xz", "train", {"airplane.txt": b"x"}, "w:xz")
    with pytest.raises(DataError, match="has no train/airplane/0000.jpg or the like"):
        read(CIFAR10, data_dir=tmp_path)


@pytest.mark.skipif(REAL is None or not Path(REAL, "cifar10-jpeg.tar.xz").exists(), reason="needs the JPEG form")
def test_the_jpeg_form_itself():
    dataset = load("cifar10", "validation", REAL, offline=True, report=lambda line: None)
    assert dataset.images.shape == (10_000, 3, 32, 32)
    assert np.bincount(dataset.labels).tolist() == [1000] * 10
    unit = dataset.images / np.float32(255)
    np.testing.assert_allclose(unit.mean((0, 2, 3)), CIFAR10.mean, atol=0.005)
    np.testing.assert_allclose(unit.std((0, 2, 3)), CIFAR10.std, atol=0.005)


# -- the published facts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [CIFAR10, CIFAR100], ids=lambda spec: spec.name)
def test_the_published_facts_are_well_formed(spec):
    sums = [check_sum for form in spec.forms for files in form.splits.values() for check_sum in files.values()]
    assert len(set(sums)) == len(sums) and {len(check_sum) for check_sum in sums} == {32, 64}
    assert len(spec.archive.sha256) == 64 and spec.forms[0].archive == spec.archive.name
    assert len(spec.classes) == int(spec.name[5:]) and list(spec.classes) == sorted(set(spec.classes))
    assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in spec.mirrors)
    assert {form.folder for form in spec.forms} <= {"cifar-10-batches-py", "cifar-10-batches-bin", "cifar-100-python",
                                                    "cifar-100-binary"}
