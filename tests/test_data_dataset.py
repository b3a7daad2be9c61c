from collections import namedtuple

import numpy as np
import pytest
import torch

from minicnn.data import Dataset, ImageDataset, Subset, TensorDataset, default_collate
from minicnn.engine import Tensor

Sample = namedtuple("Sample", ("image", "label"))


def image_dataset(n: int = 6) -> ImageDataset:
    images = np.arange(n * 12, dtype=np.uint8).reshape(n, 1, 3, 4)
    about = {"name": "toy", "split": "train", "mean": (0.1,), "std": (0.2,), "source": "memory"}
    return ImageDataset(images, np.arange(n) % 3, ["a", "b", "c"], **about)


def test_tensor_dataset_samples_are_rows_and_batches_are_stacked():
    x, y = np.arange(12.0).reshape(4, 3), np.arange(4)
    dataset = TensorDataset(Tensor(x), y)
    assert len(dataset) == 4
    first, second = dataset[2]
    np.testing.assert_array_equal(first, x[2])
    assert second == 2
    for got, want in zip(dataset.get_batch(np.array([3, 0, 3])), (x[[3, 0, 3]], [3, 0, 3]), strict=True):
        np.testing.assert_array_equal(got, want)
    assert [int(label) for _, label in dataset] == [0, 1, 2, 3]


def test_image_dataset_head_keeps_what_is_known():
    dataset = image_dataset()
    assert repr(dataset) == "ImageDataset(toy train: 6 images 1x3x4, 3 classes)"
    head = dataset.head(4)
    np.testing.assert_array_equal(head.images, dataset.images[:4])
    np.testing.assert_array_equal(head.labels, dataset.labels[:4])
    for key in ("name", "split", "classes", "mean", "std", "source"):
        assert getattr(head, key) == getattr(dataset, key)
    assert len(dataset.head(99)) == 6 and len(dataset.head(0)) == 0


def test_subset_of_arrays_and_of_single_samples():
    class Squares(Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, index):
            return index * index

    for dataset, want in ((TensorDataset(np.arange(5) ** 2), [(16,), (1,)]), (Squares(), [16, 1])):
        subset = Subset(dataset, [4, 1])
        assert len(subset) == 2
        assert [subset[0], subset[1]] == want
        np.testing.assert_array_equal(np.ravel(subset.get_batch(np.array([1, 0, 1]))), [1, 16, 1])


def test_default_collate_stacks_as_pytorch_does():
    samples = [{"x": np.full((2, 3), i, np.float32), "y": (i, [0.5 * i, i > 0]), "name": f"n{i}"} for i in range(3)]
    batch, want = default_collate(samples), torch.utils.data.default_collate(samples)
    assert batch["name"] == want["name"] and isinstance(batch["y"], tuple) and isinstance(batch["y"][1], list)
    pairs = [(batch["x"], want["x"]), (batch["y"][0], want["y"][0])]
    for got, expected in pairs + list(zip(batch["y"][1], want["y"][1], strict=True)):
        assert got.dtype == expected.numpy().dtype
        np.testing.assert_array_equal(got, expected.numpy())
    np.testing.assert_array_equal(default_collate([Tensor(np.ones(2)), Tensor(np.zeros(2))]), [[1, 1], [0, 0]])


def test_named_tuples_keep_their_names():
    batch = default_collate([Sample(np.zeros(2), 1), Sample(np.ones(2), 2)])
    assert type(batch) is Sample and batch.label.tolist() == [1, 2] and batch.image.tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda: TensorDataset(np.zeros(3), np.zeros(4)), ValueError, r"one length, not of lengths \[3, 4\]"),
        (TensorDataset, ValueError, "one length"),
        (lambda: TensorDataset(np.zeros(3), 3), ValueError, "needs arrays with an axis of samples"),
        (lambda: image_dataset().head(-1), ValueError, "head: n must not be negative, not -1"),
        (lambda: default_collate([np.zeros(2), np.zeros(3)]), ValueError, r"shapes \[\(2,\), \(3,\)\]"),
        (lambda: default_collate([object()]), TypeError, "cannot stack samples of type object"),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize(
    "images, labels, match",
    [
        (np.zeros((2, 1, 3, 3)), np.zeros(2, np.int64), "toy: images must be uint8"),
        (np.zeros((2, 3, 3), np.uint8), np.zeros(2, np.int64), r"toy: images .* \(2, 3, 3\)"),
        (np.zeros((2, 1, 3, 3), np.uint8), np.zeros(2, np.uint8), "toy: labels must be int64"),
        (np.zeros((2, 1, 3, 3), np.uint8), np.array([0, 2]), "labels run from 0 to 2, there are 2 classes"),
    ],
)
def test_image_dataset_checks_its_arrays(images, labels, match):
    with pytest.raises(ValueError, match=match):
        ImageDataset(images, labels, ["a", "b"], name="toy", split="train", mean=(0,), std=(1,), source="")
