"""Images that stay in their files until they are asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .image import read_image

IN_MEMORY = 2**30  # bytes of decoded images that are kept, at most


class ImageFiles:
    """Image files as one read-only array, uint8 (N, C, H, W), each decoded when it is first asked for.

    What selects along the first axis of an array, selects here. An image of other proportions loses what is too much on
    both sides. Decoded images are kept if all together fit into IN_MEMORY bytes.

    Args:
        paths: the N files.
        image_shape: (C, H, W).
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, paths: Sequence[Path], image_shape: tuple[int, int, int]) -> None:
        self.paths, self.shape = list(paths), (len(paths), *image_shape)
        fits = np.prod(self.shape, dtype=float) <= IN_MEMORY
        self._kept = np.empty(self.shape, np.uint8) if fits else None
        self._known = np.zeros(len(paths), bool)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> np.ndarray:
        chosen = np.asarray(np.arange(len(self))[index])
        if self._kept is None:
            images = np.empty((*chosen.shape, *self.shape[1:]), np.uint8)
            for place in np.ndindex(chosen.shape):
                images[place] = self._read(int(chosen[place]))
            return images
        for i in chosen[~self._known[chosen]].tolist():
            self._kept[i] = self._read(i)
            self._known[i] = True  # only now: another thread may be looking
        return self._kept[chosen].copy() if chosen.ndim == 0 else self._kept[chosen]

    def head(self, n: int) -> "ImageFiles":
        """The first n, or all if there are fewer."""
        return ImageFiles(self.paths[:n], self.shape[1:])

    def _read(self, i: int) -> np.ndarray:
        _, channels, height, width = self.shape
        return read_image(self.paths[i], (height, width), 1 if channels == 1 else 3, fit="crop")
