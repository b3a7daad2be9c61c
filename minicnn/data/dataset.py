"""Data sets: anything with ``__len__`` and ``__getitem__``; the ones here also give whole batches at once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .image_files import ImageFiles


class Dataset:
    """Base for data sets: ``len(dataset)`` samples, ``dataset[i]`` is one, usually a tuple (image, label).

    A data set that can fetch many samples in one go also has ``get_batch(indices)``: for an int64 array of n indices
    it returns the samples stacked, as a tuple of arrays of length n. ``DataLoader`` uses it where it is there.
    """

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} has no __len__(); define how many samples there are")

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__(index); define what one sample is")


class TensorDataset(Dataset):
    """Arrays or CPU tensors of equal length; sample i is the tuple of their i-th rows."""

    def __init__(self, *arrays: Any) -> None:
        self.arrays: tuple[Any, ...] = tuple(np.asarray(a) for a in arrays)
        if not all(a.ndim for a in self.arrays):
            raise ValueError("TensorDataset: needs arrays with an axis of samples, not single numbers")
        lengths = [len(a) for a in self.arrays]
        if not lengths or len(set(lengths)) > 1:
            raise ValueError(f"TensorDataset: needs arrays of one length, not of lengths {lengths}")

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: Any) -> tuple[np.ndarray, ...]:
        return tuple(a[index] for a in self.arrays)

    def get_batch(self, indices: np.ndarray) -> tuple[np.ndarray, ...]:
        return self[indices]


class ImageDataset(TensorDataset):
    """Labelled images of one size.

    Args:
        images: uint8 (N, C, H, W), in memory or, as ``ImageFiles``, decoded when they are asked for.
        labels: int64 (N,), positions in ``classes``.
        classes: names of the classes.
        name, split: what it is, as given to ``load``.
        mean, std: per channel, of the training images in 0..1, for ``transforms.Normalize``.
        source: the folder that the files came from, or what else the images are.
        files: which files these are, in words, where others may come or go; else empty.
    """

    kind = "image"

    def __init__(
        self,
        images: "np.ndarray | ImageFiles",
        labels: np.ndarray,
        classes: Sequence[str],
        *,
        name: str,
        split: str,
        mean: Sequence[float],
        std: Sequence[float],
        source: str,
        files: str = "",
    ) -> None:
        if images.ndim != 4 or images.dtype != np.uint8:
            raise ValueError(f"{name}: images must be uint8 (N, C, H, W), not {images.dtype} {images.shape}")
        if labels.ndim != 1 or labels.dtype != np.int64:
            raise ValueError(f"{name}: labels must be int64 (N,), not {labels.dtype} {labels.shape}")
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
            found = f"{labels.min()} to {labels.max()}"
            raise ValueError(f"{name}: labels run from {found}, there are {len(classes)} classes")
        if len(images) != len(labels):
            raise ValueError(f"{name}: there are {len(images)} images but {len(labels)} labels")
        self.arrays = images, labels
        self.images, self.labels, self.classes = images, labels, list(classes)
        self.name, self.split, self.source, self.files = name, split, source, files
        self.mean, self.std = tuple(mean), tuple(std)

    def head(self, n: int) -> "ImageDataset":
        """The first n samples, or all if there are fewer; shares the memory."""
        if n < 0:
            raise ValueError(f"head: n must not be negative, not {n}")
        return ImageDataset(
            self.images[:n] if isinstance(self.images, np.ndarray) else self.images.head(n),
            self.labels[:n],
            self.classes,
            name=self.name,
            split=self.split,
            mean=self.mean,
            std=self.std,
            source=self.source,
            files=self.files,
        )

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.images.shape[1:]))
        return f"ImageDataset({self.name} {self.split}: {len(self)} images {shape}, {len(self.classes)} classes)"


class Subset(Dataset):
    """The samples of another data set at the given indices."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]

    def get_batch(self, indices: np.ndarray) -> Any:
        return fetch(self.dataset, self.indices[indices])


def fetch(dataset: Any, indices: np.ndarray) -> Any:
    """The samples at ``indices`` as one batch: by ``get_batch`` where there is one, else one by one."""
    if hasattr(dataset, "get_batch"):
        return dataset.get_batch(indices)
    return default_collate([dataset[int(i)] for i in indices])


def default_collate(samples: Sequence[Any]) -> Any:
    """Stack samples into a batch: arrays, tensors and numbers along a new first axis; tuples, lists and dicts entry by
    entry; strings into a list. Arrays come out as NumPy arrays in their own dtype.
    """
    first = samples[0]
    if isinstance(first, tuple | list):
        return rebuilt(first, [default_collate(entry) for entry in zip(*samples, strict=True)])
    if isinstance(first, dict):
        return {key: default_collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, str | bytes):
        return list(samples)
    arrays = [np.asarray(sample) for sample in samples]
    if arrays[0].dtype == object:
        raise TypeError(f"default_collate: cannot stack samples of type {type(first).__name__}; pass collate_fn")
    shapes = sorted({a.shape for a in arrays})
    if len(shapes) > 1:
        raise ValueError(f"default_collate: samples have shapes {shapes}; make them equal or pass collate_fn")
    return np.stack(arrays)


def rebuilt(like: Any, entries: list[Any]) -> Any:
    """The entries in a tuple, a named one or a list, whichever the other is."""
    return like._make(entries) if hasattr(like, "_make") else type(like)(entries)
