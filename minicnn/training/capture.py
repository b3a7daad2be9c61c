"""A training step recorded once as a CUDA graph and replayed: one launch in the place of hundreds.

Recording calls the step while a stream takes down what it is asked to do, without doing it. So everything that the
step decides on the host is decided once: its shapes, its addresses and its numbers. What changes from step to step
must lie in arrays that stay where they are. Images and labels are copied into such, and so is, for dropout, how many
streams of random numbers have been used since; the optimiser, whose rate a schedule changes, is left outside; what else
is decided on the host (a smaller last batch, another scale of the loss) is a step without the graph, or a graph made
anew; and what nobody foresaw shows when the graph is first tried.
"""

import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ..backend import Device, default_generator, move, rehearsal, streams_advanced_by, to_numpy
from ..engine import Tensor
from ..nn import Module

__all__ = ["Cupy", "Recorded"]

WARM_UP = 3  # steps without a graph, in which kernels are compiled and tables made
BOUND = 0.01  # of the largest element: a library may add up in another order
Results = tuple[Tensor, ...]
Step = Callable[[Tensor, Tensor], Results]


class Gpu(Protocol):
    """What recording needs of a GPU."""

    def record(self, work: Callable[[], Results]) -> tuple[Callable[[], None], Results]:
        """Call ``work`` and take down what it launches; what launches that, and the results, which it overwrites."""


class Cupy:
    """Recording through CuPy."""

    def __init__(self, device: Device) -> None:
        if device.type != "cuda":
            raise ValueError(f"a step can be recorded on a GPU only, and the model is on {device}")
        self._cupy = sys.modules["cupy"]
        self._device = self._cupy.cuda.Device(device.index)
        # Memory that nothing else is given: it is written to whenever the graph runs, long after it looks unused. The
        # next graph is given it again, as it is recorded from the same stream.
        self._pool = self._cupy.cuda.MemoryPool(self._allocated)
        with self._device:
            self._stream = self._cupy.cuda.Stream(non_blocking=True)

    def _allocated(self, size: int) -> Any:
        cuda = self._cupy.cuda
        try:
            return cuda.MemoryPointer(cuda.Memory(size), 0)
        except cuda.runtime.CUDARuntimeError as error:  # which would make the pool free what the graph will write to
            raise RuntimeError(f"the GPU has too little memory ({error})") from error

    def record(self, work: Callable[[], Results]) -> tuple[Callable[[], None], Results]:
        """See Gpu."""
        cuda, pinned, me = self._cupy.cuda, self._cupy.get_default_pinned_memory_pool(), threading.get_ident()

        def refuse(size: int) -> Any:
            if threading.get_ident() == me:  # the graph would copy what lies in that memory later
                raise RuntimeError("it copies an array to the GPU each time")
            return pinned.malloc(size)

        with self._device, self._stream as stream, cuda.using_allocator(self._pool.malloc):
            self._cupy.get_default_memory_pool().free_all_blocks()  # what steps took: the graph needs as much
            stream.begin_capture()
            cuda.set_pinned_memory_allocator(refuse)
            try:
                results = work()
            except BaseException as error:
                try:
                    stream.end_capture()
                except cuda.runtime.CUDARuntimeError:  # what went wrong is told by the error that is under way
                    pass
                if isinstance(error, cuda.runtime.CUDARuntimeError) and "StreamCapture" in str(error):
                    raise RuntimeError(f"it reads on the host what the GPU computes ({error})") from error
                raise
            finally:
                cuda.set_pinned_memory_allocator(pinned.malloc)
            return stream.end_capture().launch, results


class Recorded:
    """A step(x, y) that leaves gradients in the model and returns tensors, replayed from a graph once it is recorded.

    What it returns, and the gradients, are overwritten by the next step.

    Args:
        step: forward and backward of a batch; it must not read from the GPU.
        model: whose gradients and buffers the step changes.
        gpu: records it.
        baked: numbers that go into the step from the host; when they change it is recorded anew.
        report: is told in a line why the step cannot be recorded, if it cannot.
    """

    def __init__(self, step: Step, model: Module, gpu: Gpu, baked: Callable[[], Any], report: Callable[[str], None]):
        self.step, self.model, self.gpu, self.baked, self.report = step, model, gpu, baked, report
        self.warm = 0
        self.possible = True
        self.launch: Callable[[], None] | None = None

    def __call__(self, x: Tensor, y: Tensor) -> Results:
        """The step for a batch."""
        shape = [(t.shape, t.dtype) for t in (x, y)]
        if self.launch is not None and self.shape == shape:
            if self._in_place() and self._baked() == self.numbers:
                return self._replay(x, y)
            self.launch = None
        if not self.possible or self.launch is not None:  # another shape: most likely the last batch of an epoch
            return self.step(x, y)
        self.warm += 1
        if self.warm <= WARM_UP:
            return self.step(x, y)
        return self._record(x, y, shape)

    def _record(self, x: Tensor, y: Tensor, shape: Any) -> Results:
        """One step in both ways; the graph is kept if it does the same.

        The first is a rehearsal: it makes the choices that recording makes, such as other products than cuBLAS's, so
        that both round alike, and so that all kernels are compiled and loaded when recording begins.
        """
        self.parameters, self.tensors = list(self.model.parameters()), self._tensors()
        self.memory = [t.data for t in self.tensors]
        before, random = [a.copy() for a in self.memory], default_generator.state_dict()
        with rehearsal():
            results = self.step(x, y)
        gradients = [p.grad for p in self.parameters]
        after, random_after = [a.copy() for a in self.memory], default_generator.state_dict()
        self.first, self.drawn = random["stream"], random_after["stream"] - random["stream"]
        try:
            if random_after != random | {"stream": random_after["stream"]}:
                raise RuntimeError("it draws random numbers on the host, and a graph would repeat them")
            if not self._in_place() or any(a is not b for a, b in zip(self.tensors, self._tensors(), strict=True)):
                raise RuntimeError("it puts new arrays into the place of the model's")
            _write(self.memory, before)
            self.shape, self.numbers = shape, self._baked()
            self.inputs, self.streams = [Tensor(t.data.copy()) for t in (x, y)], move(np.zeros(1, np.uint64), x.device)
            self._give([None] * len(self.parameters))
            default_generator.stream = self.first
            with streams_advanced_by(self.streams):
                self.launch, self.results = self.gpu.record(lambda: self.step(*self.inputs))
            self.gradients = [p.grad for p in self.parameters]
            default_generator.stream = self.first
            replayed = self._replay(x, y)
            for a, b in zip((*results, *gradients, *map(Tensor, after)),
                            (*replayed, *self.gradients, *map(Tensor, self.memory)), strict=True):
                if not _alike(a, b):
                    raise RuntimeError("the graph does not compute what the step does")
            return replayed
        except Exception as error:  # CuPy's and CUDA's errors have no common base
            self.launch, self.possible = None, False
            self.report(" ".join(str(error).split()))
            default_generator.load_state_dict(random_after)
            _write(self.memory, after)
            self._give(gradients)
            return results

    def _replay(self, x: Tensor, y: Tensor) -> Results:
        for place, t in zip(self.inputs, (x, y), strict=True):
            place.data[...] = t.data
        self.streams[...] = np.uint64((default_generator.stream - self.first) % 2 ** 64)  # less after a step back
        default_generator.stream += self.drawn
        assert self.launch is not None
        self.launch()
        self._give(self.gradients)
        return self.results

    def _give(self, gradients: Sequence[Tensor | None]) -> None:
        for p, g in zip(self.parameters, gradients, strict=True):
            p.grad = g

    def _baked(self) -> tuple[Any, ...]:
        return self.baked(), default_generator.seed

    def _tensors(self) -> list[Tensor]:
        return [*self.model.parameters(), *self.model.buffers()]

    def _in_place(self) -> bool:
        """Whether weights and buffers lie where they did."""
        return all(t.data is a for t, a in zip(self.tensors, self.memory, strict=True))


def _write(places: list[Any], values: list[Any]) -> None:
    for place, value in zip(places, values, strict=True):
        place[...] = value


def _alike(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether two tensors are equal but for rounding; or both are missing."""
    if a is None or b is None:
        return a is b
    x, y = (to_numpy(t.data).astype(np.float64) for t in (a, b))
    largest = np.abs(x).max(initial=0, where=np.isfinite(x))  # float16 overflows while its scale is being found
    with np.errstate(invalid="ignore"):
        return bool(np.allclose(y, x, rtol=0, atol=BOUND * largest, equal_nan=True))
