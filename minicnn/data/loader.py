"""DataLoader: batches in an order that depends on (seed, epoch) alone, made ahead by a thread."""

import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from numbers import Integral
from queue import SimpleQueue
from typing import Any

import numpy as np

from ..backend import Device, why_not
from ..engine import Tensor
from .dataset import fetch, rebuilt
from .transforms import BatchTransform
from .uploads import Uploader, uploaded


class DataLoader:
    """Batches of a data set as tensors, as PyTorch's DataLoader gives them.

    Nothing is drawn from a running generator: the order of epoch e is ``default_rng([seed, e]).permutation(n)`` and the
    transform of its step k gets a generator of its own, seeded with [seed, e, 1 + k]. An epoch that was interrupted
    after k steps therefore continues with ``loader.epoch(e, start_step=k)`` exactly as it would have gone on.

    Args:
        dataset: anything with ``__len__`` and ``__getitem__``; with ``get_batch`` it is faster, see ``Dataset``.
        batch_size: samples per batch; the last one is smaller where the length is not a multiple.
        shuffle: a new random order in every epoch, else the order of the data set.
        seed: integer from 0 on; of the order and of the random transforms.
        drop_last: leave out the last batch if it is not full.
        transform: ``transform(images, rng)`` on the first array of each batch, see ``minicnn.data.transforms``.
        prefetch: batches that a background thread keeps ready; 0 makes each when it is asked for.
        collate_fn: makes a batch from a list of samples; by default ``get_batch`` or ``default_collate``.
        device: where the tensors are to be; to a GPU each batch is copied while the one before is computed with.

    >>> from minicnn.data import load, transforms
    >>> digits = load("digits")
    >>> loader = DataLoader(digits, 32, shuffle=True, transform=transforms.Normalize(digits.mean, digits.std))
    >>> [(images.shape, labels.shape) for images, labels in loader.epoch(0, start_step=len(loader) - 1)]
    [((2, 1, 28, 28), (2,))]

    Iterating gives epoch 0, then 1, and so on; ``set_epoch`` says which comes next. Arrays become tensors (without a
    copy), also inside tuples, lists and dicts. An error while a batch is made is raised where the batch is asked for.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        seed: int = 0,
        drop_last: bool = False,
        transform: BatchTransform | None = None,
        prefetch: int = 2,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        device: str | Device = "cpu",
    ) -> None:
        self.dataset = dataset
        self.batch_size = _at_least("batch_size", batch_size, 1)
        self.shuffle = shuffle
        self.seed = _at_least("seed", seed, 0)
        self.drop_last = drop_last
        self.transform = transform
        self.prefetch = _at_least("prefetch", prefetch, 0)
        self.collate_fn = collate_fn
        self.device = Device.parse(device)
        if reason := why_not(self.device):
            raise RuntimeError(f"DataLoader: device '{self.device}' cannot be used: {reason}")
        self._next_epoch = 0

    def __len__(self) -> int:
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        epoch = self._next_epoch
        self._next_epoch += 1
        return self.epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        """The number of the epoch that the next ``iter`` gives."""
        self._next_epoch = _at_least("epoch", epoch, 0)

    def epoch(self, epoch: int, start_step: int = 0) -> Generator[Any]:
        """The batches of one epoch, from step ``start_step`` on; ``close()`` of the generator ends its thread."""
        if not 0 <= start_step <= len(self):
            raise ValueError(f"DataLoader: start_step must be between 0 and {len(self)}, not {start_step}")
        return self._tensors(_at_least("epoch", epoch, 0), start_step)

    def _tensors(self, epoch: int, start_step: int) -> Generator[Any]:
        batches = self._batches(epoch, start_step)
        gpu = Uploader(self.device) if self.device.type == "cuda" else None
        if gpu is not None:  # in the thread, if there is one
            batches = _mapped(batches, gpu.pin)
        with closing(_Ahead(batches, self.prefetch) if self.prefetch else batches) as source:
            if gpu is None:
                for batch in source:
                    yield _each(batch, Tensor)
            else:
                with closing(uploaded(source, gpu, _each)) as there:
                    for batch in there:
                        yield _each(batch, Tensor)

    def _batches(self, epoch: int, start_step: int) -> Generator[Any]:
        n = len(self.dataset)
        order = np.random.default_rng([self.seed, epoch]).permutation(n) if self.shuffle else np.arange(n)
        for step in range(start_step, len(self)):
            indices = order[step * self.batch_size : (step + 1) * self.batch_size]
            if self.collate_fn is not None:
                batch = self.collate_fn([self.dataset[int(i)] for i in indices])
            else:
                batch = fetch(self.dataset, indices)
            if self.transform is not None:
                # 1 + step: NumPy seeds [seed, epoch, 0] as [seed, epoch], so step 0 would get the shuffle's numbers
                rng = np.random.default_rng([self.seed, epoch, 1 + step])
                batch = _transformed(self.transform, batch, rng)
            yield batch


def _transformed(transform: BatchTransform, batch: Any, rng: np.random.Generator) -> Any:
    if isinstance(batch, np.ndarray):
        return transform(batch, rng)
    if not isinstance(batch, tuple | list):
        raise TypeError(f"DataLoader: transform needs batches (images, ...), not a {type(batch).__name__}")
    return rebuilt(batch, [transform(batch[0], rng), *batch[1:]])


def _at_least(name: str, value: int, least: int) -> int:
    if not isinstance(value, Integral) or value < least:
        raise ValueError(f"DataLoader: {name} must be an integer of at least {least}, not {value}")
    return value


def _each(batch: Any, function: Callable[[Any], Any]) -> Any:
    """The batch with function(array) in the place of every array."""
    if isinstance(batch, tuple | list):
        return rebuilt(batch, [_each(entry, function) for entry in batch])
    if isinstance(batch, dict):
        return {key: _each(entry, function) for key, entry in batch.items()}
    return function(batch) if hasattr(batch, "__array_function__") else batch


def _mapped(batches: Generator[Any], function: Callable[[Any], Any]) -> Generator[Any]:
    with closing(batches):
        for batch in batches:
            yield _each(batch, function)


class _Ahead:
    """Runs an iterator in a thread, at most ``depth`` items ahead of the consumer.

    The thread takes a permit for each item. It ends with the iterator, with an error, or when this object is closed,
    collected or the interpreter exits; it does not refer to this object, so dropping the object is enough.
    SimpleQueue, unlike Queue, may be used by a finaliser that interrupts one of its own methods.
    """

    def __init__(self, source: Iterator[Any], depth: int) -> None:
        self._ready: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._permits: SimpleQueue[None] = SimpleQueue()
        stopped = threading.Event()
        thread = threading.Thread(
            target=_run_ahead, args=(source, self._ready, self._permits, stopped), name="minicnn-loader", daemon=True
        )
        for _ in range(depth):
            self._permits.put(None)
        thread.start()
        self.close = weakref.finalize(self, _stop, thread, self._permits, stopped)

    def __iter__(self) -> "_Ahead":
        return self

    def __next__(self) -> Any:
        item, error = self._ready.get()
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback refers to this frame, which must not refer back
        self._permits.put(None)
        return item


def _run_ahead(source: Iterator[Any], ready: SimpleQueue, permits: SimpleQueue, stopped: threading.Event) -> None:
    try:
        while True:
            permits.get()
            if stopped.is_set():
                return
            ready.put((next(source), None))
    except BaseException as error:  # also StopIteration: the consumer raises what ended the thread
        ready.put((None, error))


def _stop(thread: threading.Thread, permits: SimpleQueue, stopped: threading.Event) -> None:
    stopped.set()
    permits.put(None)
    if thread is not threading.current_thread():  # the collector may run in any thread
        thread.join(5)  # seconds: a data set that hangs must not keep the interpreter from exiting
