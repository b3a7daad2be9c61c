"""Tensor: an array with a gradient and a history, and what keeps the history true when memory is written to."""

import itertools
import math
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import backend, dtypes
from .modes import mode

if TYPE_CHECKING:
    from .function import Function


class _Clock:
    """Counts writes to memory that tensors share: all of them, and those that were recorded."""

    writes = recorded = 0


class _DetachedClock(_Clock):
    """The clock of detached memory: every write counts in the clock of the whole memory, records only here."""

    def __init__(self, clock: _Clock) -> None:
        self.whole: _Clock = clock.whole if isinstance(clock, _DetachedClock) else clock

    @property
    def writes(self) -> int:  # type: ignore[override]
        return self.whole.writes

    @writes.setter
    def writes(self, value: int) -> None:
        self.whole.writes = value


class Tensor:
    """An array with a gradient: ``data`` (NumPy or CuPy), ``grad``, and the node that computed it, ``grad_fn``.

    ``Tensor(array)`` wraps an array without a copy and keeps its dtype: Tensor([1, 2]) is int64, where torch.Tensor
    makes float32 of anything. ``minicnn.tensor`` makes one from anything.
    """

    __slots__ = ("data", "grad", "_requires_grad", "grad_fn", "output_index", "_clock", "_seen", "_hooks", "_retainer",
                 "__weakref__")
    __array_priority__ = 1000  # NumPy leaves array + tensor to Tensor.__radd__

    if TYPE_CHECKING:  # what ops/binding.py attaches
        def __getattr__(self, name: str) -> Any: ...
        __add__: Any
        __radd__: Any
        __iadd__: Any
        __sub__: Any
        __rsub__: Any
        __isub__: Any
        __mul__: Any
        __rmul__: Any
        __imul__: Any
        __truediv__: Any
        __rtruediv__: Any
        __itruediv__: Any
        __floordiv__: Any
        __rfloordiv__: Any
        __mod__: Any
        __rmod__: Any
        __pow__: Any
        __rpow__: Any
        __neg__: Any
        __abs__: Any
        __matmul__: Any
        __rmatmul__: Any
        __and__: Any
        __or__: Any
        __xor__: Any
        __invert__: Any
        __eq__: Any
        __ne__: Any
        __lt__: Any
        __le__: Any
        __gt__: Any
        __ge__: Any
        __getitem__: Any
        __setitem__: Any
        __iter__: Any
        T: Any
        mT: Any
        cpu: Any
        cuda: Any
        matmul: Any
        type_as: Any
        where: Any

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        self.data = data if type(data) is np.ndarray else _as_array(data)
        self.grad: Tensor | None = None
        self.grad_fn: Function | None = None
        self.output_index = 0
        self._requires_grad = False
        self._clock = _Clock()
        self._seen = 0  # recorded writes to the shared memory that grad_fn knows about
        self._hooks: dict[float, Callable] | None = None
        self._retainer: Handle | None = None
        if requires_grad:
            self.requires_grad = True

    @property
    def requires_grad(self) -> bool:
        """Whether gradients reach this tensor."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value and not dtypes.is_floating(self.data.dtype):
            raise RuntimeError(f"only floating point tensors can require gradients, this one is {self.data.dtype}")
        if self.grad_fn is not None and not value:
            raise RuntimeError("requires_grad can be turned off only for leaf tensors; use x.detach() "
                               f"(this one was computed by {self.grad_fn.name})")
        self._requires_grad = bool(value)

    def requires_grad_(self, requires_grad: bool = True) -> "Tensor":
        """Set requires_grad in place and return the tensor."""
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether the tensor was made by the user rather than by a recorded operation."""
        return self.grad_fn is None

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.data.ndim

    @property
    def dtype(self) -> np.dtype:
        """The NumPy dtype of the elements."""
        return self.data.dtype

    @property
    def device(self) -> backend.Device:
        """Where the array lives: cpu or cuda:N."""
        return backend.device_of(self.data)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the length of one axis."""
        return self.data.shape if dim is None else self.data.shape[dim]

    def dim(self) -> int:
        """The number of axes."""
        return self.data.ndim

    def numel(self) -> int:
        """The number of elements."""
        return self.data.size

    def nelement(self) -> int:
        """The number of elements."""
        return self.data.size

    def is_floating_point(self) -> bool:
        """Whether the elements are floats."""
        return dtypes.is_floating(self.data.dtype)

    def numpy(self) -> np.ndarray:
        """The NumPy array itself, sharing memory; for tensors that require a gradient call detach() first."""
        if self._requires_grad:
            raise RuntimeError("can't call numpy() on a tensor that requires grad; use x.detach().numpy()")
        if not isinstance(self.data, np.ndarray):
            raise TypeError(f"can't convert a {self.device} tensor to numpy; use x.cpu().numpy()")
        return self.data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """What NumPy makes an array of: the elements, shared where dtype and copy allow."""
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        """The memory, handed to another library by DLPack; a tensor that requires a gradient raises BufferError."""
        if self._requires_grad:
            raise BufferError("can't export a tensor that requires grad; use x.detach()")
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.data.__dlpack_device__()

    def item(self) -> bool | int | float:
        """The only element as a Python number."""
        if self.data.size != 1:
            raise RuntimeError(f"a tensor with {self.data.size} elements cannot be converted to a number "
                               f"(shape {self.shape})")
        return self.data.item()

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers."""
        return self.data.tolist()

    def detach(self) -> "Tensor":
        """The same memory, outside the graph."""
        other = Tensor(self.data)
        other._clock = _DetachedClock(self._clock)
        return other

    def register_hook(self, hook: "Callable[[Tensor], Tensor | None]") -> "Handle":
        """Call hook(gradient) when the gradient of this tensor is complete; what it returns replaces the gradient."""
        if not self._requires_grad:
            raise RuntimeError("register_hook: the tensor does not require a gradient")
        if self.grad_fn is None:
            if self._hooks is None:
                self._hooks = {}
            return Handle(self._hooks, hook)
        return Handle(self.grad_fn.hooks_of(self.output_index), hook)

    def retain_grad(self) -> None:
        """Keep the gradient of a tensor that is not a leaf in ``.grad`` too, as it is after all hooks."""
        if not self._requires_grad:
            raise RuntimeError("retain_grad: the tensor does not require a gradient")
        if self.grad_fn is None:
            return
        me = weakref.ref(self)

        def keep(g: Tensor) -> None:
            if (tensor := me()) is not None:
                tensor.grad = g.clone() if tensor.grad is None else tensor.grad + g

        self._retainer = Handle(self.grad_fn.hooks_of(self.output_index), keep, math.inf)  # instead of one from before

    def overwrite(self, result: "Tensor") -> "Tensor":
        """Take over the value and the history of ``result``: the in-place half of every in-place operation."""
        if result.data.shape != self.data.shape:
            raise RuntimeError(f"a result of shape {result.shape} cannot be written in place into a tensor of shape "
                               f"{self.shape}; use the form that is not in place")
        if dtypes.kind(result.data.dtype) > dtypes.kind(self.data.dtype):
            raise RuntimeError(f"result type {result.data.dtype} can't be cast to the type of the tensor written in "
                               f"place, {self.data.dtype}; use the form that is not in place")
        if result.data is not self.data:
            self.check_memory()
            if type(self.data) is np.ndarray:
                self.data[...] = result.data
            else:
                with backend.current(self.data):
                    self.data[...] = result.data
        clock = self._clock
        clock.writes += 1
        if mode.recording and (result._requires_grad or self._requires_grad):
            clock.recorded += 1
            self._seen = clock.recorded
            self._requires_grad = result._requires_grad
            self.grad_fn, self.output_index = result.grad_fn, result.output_index
            if self._retainer is not None:
                self._retainer.remove()
                self._retainer = None
                if self._requires_grad:
                    self.retain_grad()
        return self

    def is_recorded_with(self, *others: Any) -> bool:
        """Whether a write of others to this tensor is recorded: also if only memory it is a view of has a history."""
        return mode.recording and (self._requires_grad or self._seen < self._clock.recorded
                                   or any(isinstance(o, Tensor) and o._requires_grad for o in others))

    def before_write(self, *others: Any) -> "Tensor":
        """The tensor as an in-place operation reads it: with memory of its own if the operation is recorded."""
        if not self.is_recorded_with(*others):
            return self
        self.check_no_leaf()
        self.check_history()
        return self.past(self.data.copy())

    def past(self, array: Any) -> "Tensor":
        """An array with the history that this tensor has up to now."""
        old = Tensor(array)
        old._requires_grad, old.grad_fn, old.output_index = self._requires_grad, self.grad_fn, self.output_index
        return old

    def check_no_leaf(self) -> None:
        """Raise if the memory is that of a leaf whose gradient is wanted."""
        edge: Any = (self.grad_fn, self.output_index) if self.grad_fn else self
        while type(edge) is tuple and edge[0].views:
            edge = edge[0].edges[0]
        if isinstance(edge, Tensor) and edge._requires_grad and edge._clock is self._clock:
            raise RuntimeError("a leaf tensor that requires grad, or a view of it, cannot be written in place; do it "
                               "under no_grad()")

    def check_memory(self) -> None:
        """Raise if the memory cannot be written to."""
        a = self.data
        if isinstance(a, np.ndarray):
            writeable = a.flags.writeable
        else:  # CuPy's views are writeable, whatever they are of
            writeable = not a.size or all([stride or n == 1 for n, stride in zip(a.shape, a.strides)])
        if not writeable:
            raise RuntimeError("the memory of this tensor is read-only: it is an expanded view, in which elements "
                               "share memory, or a read-only NumPy array; write to a clone()")

    def check_history(self) -> None:
        """Raise if the memory was changed, with recording, through another tensor that shares it."""
        if self._seen < self._clock.recorded:
            raise RuntimeError(
                "this tensor shares memory with one that was written in place since, so its history is no longer that "
                "of its values; take the view again after the write, or write with y[index] = value, not to a view")

    def touch(self) -> None:
        """Note that the memory was written to from outside (an optimiser, a kernel that works in place)."""
        self._clock.writes += 1

    @property
    def _version(self) -> int:
        return self._clock.writes

    def __len__(self) -> int:
        if self.data.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self.data.shape[0]

    def __bool__(self) -> bool:
        if self.data.size != 1:
            raise RuntimeError(f"the truth value of a tensor with {self.data.size} elements is ambiguous; "
                               "use any() or all()")
        return bool(self.data.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if dtypes.is_floating(self.data.dtype):
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.data.ndim == 0 else object.__format__(self, spec)

    def __hash__(self) -> int:
        return id(self)

    def __deepcopy__(self, memo: dict) -> "Tensor":
        if self.grad_fn is not None:
            raise RuntimeError("only leaf tensors can be copied deeply; use x.detach().clone()")
        other = type(self).__new__(type(self))
        with backend.current(self.data):
            Tensor.__init__(other, self.data.copy(), self._requires_grad)
            if self.grad is not None:
                other.grad = Tensor(self.grad.data.copy())
        return other

    def __reduce__(self) -> tuple:
        if self.grad_fn is not None:
            raise RuntimeError("only leaf tensors can be pickled; use x.detach()")
        return type(self), (self.data, self._requires_grad)

    def __repr__(self) -> str:
        name = type(self).__name__.lower() if type(self) is Tensor else type(self).__name__ + " containing:\ntensor"
        array = backend.to_numpy(self.data)
        printed = array.astype(dtypes.float32) if array.dtype.kind == "V" else array  # NumPy prints 1 for bfloat16's 1.
        body = np.array2string(printed, separator=", ", precision=4, prefix="tensor(", threshold=1000)
        notes = []
        plain = dtypes.default if dtypes.is_floating(array.dtype) else dtypes.int64
        if array.size == 0 and array.ndim != 1:
            notes.append(f"size={self.shape}")
        if array.dtype not in (plain, dtypes.bool_):
            notes.append(f"dtype={array.dtype.name}")
        if self.device != backend.CPU:
            notes.append(f"device='{self.device}'")
        if self.grad_fn is not None:
            notes.append(f"grad_fn=<{self.grad_fn.name}>")
        elif self._requires_grad:
            notes.append("requires_grad=True")
        return f"{name}({', '.join([body, *notes])})"


class Parameter(Tensor):
    """A tensor that a Module counts among its parameters; it requires a gradient unless told otherwise."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data.data if isinstance(data, Tensor) else data, requires_grad)


def _as_array(data: Any) -> Any:
    if isinstance(data, np.generic):
        return np.asarray(data)
    if isinstance(data, Tensor):
        return data.data
    return data if type(data).__module__.startswith("cupy") else np.asarray(data)


class Handle:
    """What registering a hook returns; remove() takes the hook out again."""

    _numbers = itertools.count()

    def __init__(self, hooks: dict[float, Callable], hook: Callable, number: float | None = None) -> None:
        self._hooks, self._number = hooks, next(self._numbers) if number is None else number
        hooks[self._number] = hook

    def remove(self) -> None:
        """Take the hook out."""
        self._hooks.pop(self._number, None)
