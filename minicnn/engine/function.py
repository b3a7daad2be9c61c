"""Function: an operation, and a node of the graph. This file knows no operation: ops/ defines them."""

import itertools
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from .. import backend
from .anomaly import check_forward
from .modes import is_silent, mode, silence
from .tensor import Tensor, _Clock

_numbers = itertools.count()


class Function:
    """An operation: ``forward`` on arrays, ``backward`` on Tensors, written with operations so that it differentiates.

    An instance is one use of the operation and, when recorded, a node of the graph. ``self.save`` in forward names all
    that backward will need of its inputs and outputs: it is the complete list of arrays that the graph keeps alive.
    ``self.needs[i]`` tells whether the gradient of input i is wanted; backward returns None for the others.
    """

    views = False  # whether an output may share memory with an input
    broadcasts = False  # whether inputs may be smaller than the output: backward leaves it to the walk to sum their
    # gradients over what was expanded
    constant_outputs: tuple[int, ...] = ()  # numbers of outputs that never get a gradient
    materialize_grads = True  # whether backward gets zeros, rather than None, for an output that nothing depends on
    needs: tuple[bool, ...] = ()
    edges: Sequence[Any] = ()
    _to_save: tuple = ()
    _saved: Sequence[tuple | None] | None = ()
    _hooks: dict[int, dict[float, Callable]] | None = None
    _trace: list[str] | None = None
    number: int
    outputs: Sequence[tuple[tuple[int, ...], np.dtype]]

    def forward(self, *arrays: Any) -> Any:
        """Arrays in, an array (or a tuple of arrays) out."""
        raise NotImplementedError(f"{self.name}.forward")

    def backward(self, *gradients: Tensor) -> Any:
        """Gradients of the outputs in, gradients of the inputs out, as Tensors or None."""
        raise NotImplementedError(f"{self.name}.backward")

    @property
    def name(self) -> str:
        """The name of the operation in messages and pictures."""
        return type(self).__name__ + "Backward"

    def save(self, *arrays: Any) -> None:
        """Keep inputs, outputs or other arrays for backward, where they are ``self.saved``."""
        self._to_save = arrays

    def __call__(self, *inputs: Tensor | None) -> Any:
        recording, recorded, all_numpy = mode.recording, False, True
        arrays: list[Any] = []
        edges: list[Any] = []
        needs: list[bool] = []
        origins: dict[int, Tensor | int] = {}  # by the id of an array, the input it is of, or the number of the output
        for t in inputs:
            array: Any = None if t is None else t.data
            edge: Tensor | tuple[Function, int] | None = None  # where the gradient of t goes
            if recording and t is not None:
                if t._seen < t._clock.recorded:
                    t.check_history()
                if origins.setdefault(id(array), t) is not t:  # x and x.detach() have one array but two histories
                    array = array.view()
                    origins[id(array)] = t
                if t._requires_grad:
                    edge, recorded = t if t.grad_fn is None else (t.grad_fn, t.output_index), True
            if type(array) is not ndarray and array is not None:
                all_numpy = False
            arrays.append(array)
            edges.append(edge)
            needs.append(edge is not None)
        self.needs = tuple(needs)
        if not all_numpy:
            backend.one_device(self.name.removesuffix("Backward"), *arrays)
        if recorded:
            self.edges, self.number = edges, next(_numbers)
            if mode.anomaly:
                self._trace = traceback.format_stack()[:-1]
        if not all_numpy:
            with backend.current(*arrays), silence():
                out = self.forward(*arrays)
        elif self.views or is_silent.get():  # nothing is computed, or NumPy is silent already
            out = self.forward(*arrays)
        else:
            out = mode.silent.run(self.forward, *arrays)
        outs = out if type(out) is tuple else (out,)
        results = (Tensor(out),) if outs is not out else tuple(map(Tensor, out))
        if self.views:
            for result in results:
                for t in inputs:
                    if t is not None:
                        share(result, t)
        if recorded:
            self._record(origins, outs, results)
            if self._trace:
                check_forward(self, inputs, results)
        return results if outs is out else results[0]

    def _record(self, origins: dict[int, Tensor | int], outs: tuple, results: tuple[Tensor, ...]) -> None:
        """Make the results know this node, and keep what its backward needs."""
        outputs: list[tuple[tuple[int, ...], np.dtype]] = []
        for i, result in enumerate(results):
            data = result.data
            dtype = data.dtype
            if dtype.kind in "fV" and i not in self.constant_outputs:
                result._requires_grad, result.grad_fn, result.output_index = True, self, i
            outputs.append((data.shape, dtype))
            origins.setdefault(id(outs[i]), i)
        self.outputs = outputs
        if self._to_save:
            saved: list[tuple | None] = []
            for a in self._to_save:  # itself, where it comes from, and the state of its memory
                origin = origins.get(id(a))
                if isinstance(origin, Tensor):
                    saved.append((origin.data, origin, origin._clock, origin._clock.writes))
                elif origin is not None:  # the tensor itself would be a cycle: it holds this node
                    t = results[origin]
                    saved.append((t.data, origin if t._requires_grad else None, t._clock, t._clock.writes))
                else:
                    saved.append(None if a is None else (a, None, None, 0))
            self._saved, self._to_save = saved, ()

    @property
    def saved(self) -> tuple[Any, ...]:
        """What forward saved, as Tensors (None stays None); raises if it is gone or was overwritten."""
        if self._saved is None:
            raise RuntimeError(
                f"{self.name}: the graph was freed by an earlier backward; call that backward with retain_graph=True "
                "if you want to go through the graph again")
        return tuple([None if kept is None else self._unpack(*kept) for kept in self._saved])

    def _unpack(self, array: Any, source: "Tensor | int | None", clock: _Clock | None, writes: int) -> Tensor:
        if clock is not None and (clock.writes != writes or isinstance(source, Tensor) and source.data is not array):
            raise RuntimeError(
                f"{self.name}: a tensor of shape {array.shape} that is needed for the gradient was modified by an "
                f"in-place operation (version {clock.writes}, expected {writes}); use the form that is not in place, "
                "or a clone()")
        if isinstance(source, Tensor):
            return source
        tensor = Tensor(array)
        if source is not None:
            tensor._requires_grad, tensor.grad_fn, tensor.output_index = True, self, source
        return tensor

    def release(self) -> None:
        """Forget what was saved; only a node that had saved something refuses a second backward."""
        if self._saved:
            self._saved = None

    def hooks_of(self, output: int) -> dict[float, Callable]:
        """The hooks on the gradient of one output."""
        if self._hooks is None:
            self._hooks = {}
        return self._hooks.setdefault(output, {})


def share(view: Tensor, base: Tensor) -> None:
    """Let both tensors see writes to the memory they share, if they do share it."""
    a, b = view.data, base.data
    if a is b or a.base is b or backend.array_module(a).may_share_memory(a, b):  # the last takes longest to tell
        view._clock, view._seen = base._clock, base._seen
