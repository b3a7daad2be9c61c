import re
from pathlib import Path

import numpy as np
import pytest

import minicnn.data
from minicnn.data import load


@pytest.fixture(scope="module")
def splits():
    return {split: load("digits", split, offline=True) for split in ("train", "validation")}


def test_digits_are_the_1797_scans(splits):
    train, val = splits["train"], splits["validation"]
    assert (len(train), len(val)) == (1442, 355)
    assert train.images.shape[1:] == (1, 28, 28) and train.images.dtype == np.uint8 and train.labels.dtype == np.int64
    counts = np.bincount(np.concatenate([train.labels, val.labels]))
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # the class counts UCI publishes
    assert train.classes == [str(digit) for digit in range(10)]
    assert train.name == "digits" and val.split == "validation"


def test_the_split_is_fair_and_disjoint(splits):
    counts = np.bincount(splits["validation"].labels)
    assert counts.min() >= 34 and counts.max() <= 36
    train = {image.tobytes() for image in splits["train"].images}
    assert not train & {image.tobytes() for image in splits["validation"].images}


def test_digits_look_like_mnist(splits):
    images = splits["train"].images
    assert images.max() == 255
    assert images[:, :, 4:24, 4:24].sum(dtype=np.int64) == images.sum(dtype=np.int64)  # within the middle 20x20


def test_a_scan_survives_the_enlargement(splits):
    with np.load(Path(minicnn.data.__file__).with_name("digits.npz")) as file:
        scan = file["scans"][0]  # of the first digit in the training part
    blocks = splits["train"].images[0, 0, 4:24, 4:24].reshape(4, 5, 4, 5).mean((1, 3))
    wanted = scan.reshape(4, 2, 4, 2).mean((1, 3)) * 255 / 16
    assert np.corrcoef(blocks.ravel(), wanted.ravel())[0, 1] > 0.99


def test_mean_and_std_are_those_of_the_training_images(splits):
    unit = splits["train"].images / 255
    for split in splits.values():
        np.testing.assert_allclose(split.mean, unit.mean(), atol=5e-5)
        np.testing.assert_allclose(split.std, unit.std(), atol=5e-5)


def test_a_linear_classifier_reads_them(splits):
    train, val = (split.images.reshape(len(split), -1) / 255 for split in splits.values())
    weights = np.linalg.solve(train.T @ train + 10 * np.eye(784), train.T @ np.eye(10)[splits["train"].labels])
    assert ((val @ weights).argmax(1) == splits["validation"].labels).mean() > 0.9


def test_the_file_is_small_and_carries_its_licence():
    folder = Path(minicnn.data.__file__).parent
    assert (folder / "digits.npz").stat().st_size < 60_000
    text = (folder / "DIGITS.md").read_text()
    for word in ("Alpaydin", "Kaynak", "CC BY 4.0", "10.24432/C50P49"):
        assert re.search(re.escape(word), text)
