"""Batches on their way to a GPU: copied by a stream of their own, while the step before them is computed.

While the loader's thread fills memory that the GPU can read by itself (pinned memory) with batch k + 2, a stream copies
batch k + 1, and the step computes with batch k.
"""

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Any

import numpy as np

from ..backend import Device

__all__ = ["Uploader", "uploaded"]


class Uploader:
    """What copying beside the computation needs of CuPy."""

    def __init__(self, device: Device) -> None:
        self._cupy = sys.modules["cupy"]
        self._device = self._cupy.cuda.Device(device.index)
        with self._device:
            self._stream = self._cupy.cuda.Stream(non_blocking=True)

    def pin(self, a: np.ndarray) -> np.ndarray:
        """A copy in pinned memory."""
        from cupyx import empty_pinned

        pinned = empty_pinned(a.shape, a.dtype)
        pinned[...] = a
        return pinned

    def start(self, pinned: np.ndarray) -> Any:
        """An array on the GPU that is about to be filled; not before what is under way has let go of its memory."""
        with self._device:
            array = self._cupy.empty(pinned.shape, pinned.dtype)
            self._stream.wait_event(self._cupy.cuda.get_current_stream().record())
            array.set(pinned, stream=self._stream)
            return array

    def mark(self) -> Any:
        """The moment at which all copies started so far are done."""
        return self._stream.record()

    def order(self, moment: Any) -> None:
        """Let what is launched from now on wait for a moment."""
        with self._device:
            self._cupy.cuda.get_current_stream().wait_event(moment)

    def wait(self, moment: Any) -> None:
        """Wait for a moment."""
        moment.synchronize()


def uploaded(batches: Iterable[Any], gpu: Uploader, each: Callable[[Any, Callable], Any]) -> Generator[Any]:
    """Pinned batches on the GPU, each on its way while the one before is used.

    ``each(batch, function)`` is a batch with its arrays replaced by function(array).
    """
    ahead: deque[tuple[Any, Any, Any]] = deque()  # the batch on the GPU, when it is there, and what it is copied from
    copied: deque[tuple[Any, Any]] = deque()  # what was copied from, which must stay until then
    try:
        for batch in batches:
            there = each(batch, gpu.start)
            ahead.append((there, gpu.mark(), batch))
            if len(ahead) == 2:
                yield _arrived(ahead, copied, gpu)
        while ahead:
            yield _arrived(ahead, copied, gpu)
    finally:
        for _, moment, _ in ahead:
            gpu.wait(moment)
        for moment, _ in copied:
            gpu.wait(moment)


def _arrived(ahead: deque, copied: deque, gpu: Uploader) -> Any:
    there, moment, source = ahead.popleft()
    gpu.order(moment)
    copied.append((moment, source))
    if len(copied) > 1:
        gpu.wait(copied.popleft()[0])  # before its memory goes to another batch
    return there
