"""CuPy's interface over NumPy's arrays, for tests without a GPU: as strict as CuPy 14, kernels run in the emulator.

What it refuses is what code written against NumPy alone trips over: functions and arguments that CuPy has not, arrays
of NumPy among its own, arrays of another GPU than the current one, and, while a step is recorded, whatever reads from
the GPU or copies to it.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.kernels.cuda import module, pooling
from minicnn.kernels.cuda.emulator import Library

# What of CuPy is used, with those of NumPy's arguments that it takes. Add to it after a look at CuPy's documentation.
ARGUMENTS = {
    "all": "axis out keepdims", "any": "axis out keepdims", "argmax": "axis dtype out keepdims",
    "argmin": "axis dtype out keepdims", "argsort": "axis kind", "astype": "dtype order casting copy",
    "broadcast_to": "shape", "concatenate": "axis", "copy": "order", "cumprod": "axis dtype out",
    "cumsum": "axis dtype out", "flip": "axis", "max": "axis out keepdims", "mean": "axis dtype out keepdims",
    "min": "axis out keepdims", "pad": "pad_width mode constant_values", "ravel": "order", "repeat": "repeats axis",
    "reshape": "", "squeeze": "axis", "stack": "axis", "sum": "axis dtype out keepdims", "swapaxes": "axis1 axis2",
    "take": "indices axis", "take_along_axis": "indices axis", "transpose": "", "view": "dtype",
    "bincount": "minlength", "clip": "out", "prod": "axis dtype out keepdims", "roll": "axis", "tile": "",
    "argwhere": "", "isclose": "rtol atol equal_nan",
    "tril": "k", "triu": "k", "unique": "axis return_inverse return_counts equal_nan",
    **dict.fromkeys(["arange", "full"], "dtype"),
    **dict.fromkeys(["empty_like", "ones_like", "zeros_like"], "dtype shape"),
    **dict.fromkeys(["count_nonzero", "diff", "flatnonzero", "may_share_memory", "nonzero", "where"], ""),
    **dict.fromkeys("""abs add arccos arcsin arctan arctanh bitwise_and bitwise_or bitwise_xor cos cosh divide equal
        exp exp2 expm1 floor floor_divide greater greater_equal isfinite isinf isnan less less_equal log log10 log1p
        log2 logical_and logical_not logical_or matmul maximum minimum multiply negative not_equal power reciprocal
        remainder rint sign sin sinh sqrt square subtract tan tanh true_divide trunc""".split(), "out dtype"),
}
COUNTED = "argwhere", "flatnonzero", "nonzero", "unique"  # their shapes depend on what the GPU has computed
NUMBERS = int, float, bool, np.generic


class Gpu:
    """What the arrays share: whether a step is being recorded, where each array lies, and the current device."""

    def __init__(self) -> None:
        self.recording = False
        self.arrays: dict[int, np.ndarray] = {}
        self.current = 0

    def not_while_recording(self, what: str) -> None:
        if self.recording:
            raise RuntimeError(f"{what} while a step is recorded")

    def are_current(self, values: Any) -> None:
        """Raise where something is computed from arrays of another device: CuPy warns, the result is on this one."""
        for a in values if isinstance(values, (tuple, list)) else (values,):
            if isinstance(a, ndarray) and a.device.id != self.current:
                raise RuntimeError(f"an array on cuda:{a.device.id} is used while cuda:{self.current} is current")
            if isinstance(a, (tuple, list)):
                self.are_current(a)


gpu = Gpu()


def of_numpy(value: Any) -> Any:
    """NumPy's array of one of CuPy's, also within lists and tuples; NumPy's own arrays are refused."""
    if isinstance(value, ndarray):
        return value.a
    if type(value) in (list, tuple):
        return type(value)(map(of_numpy, value))
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    return value


def of_cupy(value: Any) -> Any:
    """CuPy's array of one of NumPy's, or of one of its numbers; a number of Python stays one."""
    if isinstance(value, (np.ndarray, np.generic)):
        return ndarray(np.asarray(value))
    return type(value)(map(of_cupy, value)) if type(value) in (list, tuple) else value


def uploading(function: Callable) -> Callable:
    """asarray and its like: from the CPU what has axes is copied, and a number filled in."""
    def call(value: Any, *arguments: Any, **named: Any) -> "ndarray":
        if isinstance(value, ndarray):
            array = function(value.a, *arguments, **named)
            return value if array is value.a and value.device.id == gpu.current else ndarray(array)
        array = function(value, *arguments, **named).copy()
        if array.ndim:
            gpu.not_while_recording("an array is copied to the GPU")
        return ndarray(array)

    return call


def strict(name: str, function: Callable, owner: Any = None) -> Callable:
    """The function, or the method of its owner, with the arguments that CuPy's takes."""
    known = ARGUMENTS[name].split()

    def call(*arguments: Any, **named: Any) -> Any:
        if unknown := set(named) - set(known):
            raise TypeError(f"cupy.{name}() got an unexpected keyword argument {unknown.pop()!r}")
        if name in COUNTED:
            gpu.not_while_recording(f"the result of {name} is counted")
        with np.errstate(all="ignore"):
            result = function(*of_numpy(arguments), **{key: of_numpy(value) for key, value in named.items()})
        if named.get("out") is not None:
            return named["out"]
        return _result(result, (owner, *arguments, *named.values()))

    return call


def _result(result: Any, operands: Any) -> Any:
    """What was computed from the operands, on the current device as they are; a view is where its array is."""
    if isinstance(result, np.ndarray):
        for a in operands:
            if isinstance(a, ndarray) and (not result.size or np.may_share_memory(result, a.a)):
                return ndarray(result, a.device)
    if not isinstance(result, bool):  # may_share_memory: it looks at addresses alone
        gpu.are_current(operands)
    return of_cupy(result)


class Function:
    """A function of the module, without a method ``at``: CuPy's adds by atomic operations, in any order."""

    def __init__(self, name: str) -> None:
        self.function = getattr(np, name)
        self.call = strict(name, self.function)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.call(*arguments, **named)


class ndarray:  # noqa: N801  # CuPy's name
    """An array of CuPy's. Reductions give arrays without axes, and what is read from them waits for the GPU."""

    __module__ = "cupy"
    __hash__ = None
    base = None

    def __init__(self, a: np.ndarray, device: "Device | None" = None) -> None:
        self.a, self.device = a, device or Device()

    @property
    def data(self) -> SimpleNamespace:
        gpu.arrays[self.a.ctypes.data] = self.a
        return SimpleNamespace(ptr=self.a.ctypes.data)

    @property
    def flags(self) -> SimpleNamespace:
        return SimpleNamespace(c_contiguous=self.a.flags.c_contiguous, f_contiguous=self.a.flags.f_contiguous)

    def get(self) -> np.ndarray:
        gpu.not_while_recording("an array is read")
        return self.a.copy()

    def set(self, a: np.ndarray, stream: Any = None) -> None:
        gpu.not_while_recording("an array is copied to the GPU")
        self.a[...] = a

    def fill(self, value: Any) -> None:
        self[...] = value

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **named: Any) -> Any:
        if "out" in named:
            (named["out"],) = named["out"]
        function = Function(ufunc.__name__)
        return (function if method == "__call__" else getattr(function, method))(*inputs, **named)

    def __array_function__(self, function: Callable, types: Any, given: tuple, named: dict[str, Any]) -> Any:
        return Function(function.__name__)(*given, **named)

    def __getitem__(self, key: Any) -> "ndarray":
        return _result(self.a[_key(key)], (self, key))

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(value, (ndarray, *NUMBERS)):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        gpu.are_current((self, key, value))
        self.a[_key(key)] = of_numpy(value)

    def __len__(self) -> int:
        return len(self.a)

    def __iter__(self) -> Iterator["ndarray"]:
        return (self[i] for i in range(len(self)))

    def __getattr__(self, name: str) -> Any:
        if name in ("dtype", "itemsize", "nbytes", "ndim", "shape", "size", "strides"):
            return getattr(self.a, name)
        if name in ("T", "mT"):
            return ndarray(getattr(self.a, name), self.device)
        if name in ARGUMENTS:
            return strict(name, getattr(self.a, name), self)
        raise AttributeError(f"cupy.ndarray has no {name!r} that is known to be used")


def _key(key: Any) -> Any:
    """An index, in which arrays of NumPy are copied to the GPU and masks are counted there."""
    if isinstance(key, tuple):
        return tuple(map(_key, key))
    if isinstance(key, np.ndarray):
        gpu.not_while_recording("an array is copied to the GPU")
        return key
    if isinstance(key, ndarray) and key.dtype == bool:
        gpu.not_while_recording("a mask is counted")
    return of_numpy(key)


def _operator(name: str) -> Callable:
    def call(self: ndarray, *other: Any) -> Any:
        if other and not isinstance(other[0], (ndarray, *NUMBERS)):
            return NotImplemented
        with np.errstate(all="ignore"):
            result = getattr(self.a, name)(*of_numpy(other))
        gpu.are_current((self, *other))
        if name[2] == "i" and name != "__invert__":  # in place
            self.a = result
            return self
        return of_cupy(result)

    return call


def _reading(name: str) -> Callable:
    def call(self: ndarray, *arguments: Any) -> Any:
        gpu.not_while_recording("a number is read")
        return getattr(self.a, name)(*arguments)

    return call


for _name in "add sub mul truediv floordiv mod pow matmul and or xor".split():
    for _form in (_name, "r" + _name, "i" + _name):
        setattr(ndarray, f"__{_form}__", _operator(f"__{_form}__"))
for _name in "lt le gt ge eq ne neg pos abs invert".split():
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
for _name in "__bool__ __int__ __float__ __index__ item tolist tobytes".split():
    setattr(ndarray, _name, _reading(_name))


# -- the rest of the module -------------------------------------------------------------------------------------------

class _Context:
    """A stream, an event or a pool of memory: all of them do nothing here."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> "_Context":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def is_capturing(self) -> bool:
        return gpu.recording

    def record(self) -> "_Context":
        return self

    def wait_event(self, event: "_Context") -> None:
        pass

    def synchronize(self) -> None:
        pass


class Device:
    """One of two GPUs; without a number, the current one."""

    compute_capability = "90"

    def __init__(self, number: int | None = None) -> None:
        self.id = gpu.current if number is None else number
        self.before: list[int] = []

    def __enter__(self) -> "Device":
        self.before.append(gpu.current)
        gpu.current = self.id
        return self

    def __exit__(self, *_: Any) -> None:
        gpu.current = self.before.pop()

    def use(self) -> None:
        gpu.current = self.id


class RawModule:
    """Kernels that run in the emulator, or do nothing where ``computes`` is False."""

    computes = True

    def __init__(self, *, code: str, options: tuple[str, ...]) -> None:
        self.library = Library(code, options)

    def get_function(self, name: str) -> Callable:
        def launch(grid: tuple, block: tuple, arguments: tuple) -> None:
            gpu.are_current(arguments)
            given = [tuple(gpu.arrays[int(place)] for place in a["at"] if place)
                     if isinstance(a, np.ndarray) and a.dtype.names == ("at",) else a.a if isinstance(a, ndarray) else a
                     for a in arguments]
            if RawModule.computes:
                self.library.launch(name, grid, block, given)

        return launch


def _as_strided(x: ndarray, shape: Any, strides: Any) -> ndarray:
    return ndarray(np.lib.stride_tricks.as_strided(x.a, shape, strides), x.device)


def _cupy() -> ModuleType:
    cupy = ModuleType("cupy")
    for name in ARGUMENTS:
        if hasattr(np, name):
            setattr(cupy, name, Function(name))
    for name in ("asarray", "array", "ascontiguousarray"):
        setattr(cupy, name, uploading(getattr(np, name)))
    for name in ("empty", "zeros", "ones"):
        setattr(cupy, name, lambda *given, name=name, **named: ndarray(getattr(np, name)(*given, **named)))
    cupy.linalg = SimpleNamespace(norm=lambda x, p: of_cupy(np.linalg.norm(x.a, p)))
    cupy.ndarray, cupy.RawModule = ndarray, RawModule
    cupy.lib = SimpleNamespace(stride_tricks=SimpleNamespace(as_strided=_as_strided))
    cupy.cuda = SimpleNamespace(
        Device=Device, Stream=_Context, is_available=lambda: True, get_current_stream=_Context,
        nvrtc=SimpleNamespace(getVersion=lambda: (13, 0)), cublas=None,
        runtime=SimpleNamespace(getDeviceCount=lambda: 2, CUDARuntimeError=RuntimeError))
    return cupy


@contextmanager
def cupy_on_cpu(computes: bool = True) -> Iterator[Gpu]:
    """Inside the block there are cuda:0, which is the current one, and cuda:1; kernels compute, or change nothing."""
    cupyx = ModuleType("cupyx")
    cupyx.empty_pinned = np.empty
    before = {name: sys.modules.get(name) for name in ("cupy", "cupyx")}
    sys.modules.update(cupy=_cupy(), cupyx=cupyx)
    RawModule.computes = computes
    _forget()
    try:
        yield gpu
    finally:
        RawModule.computes, gpu.recording, gpu.current = True, False, 0
        gpu.arrays.clear()
        for name, found in before.items():
            if found is None:
                del sys.modules[name]
            else:
                sys.modules[name] = found
        _forget()


def _forget() -> None:
    """What is kept for the arrays and kernels of a GPU."""
    for kept in (module._on_gpu, module._gpu_module, pooling._bounds, pooling._reach):
        kept.cache_clear()
    backend._constants.clear()
