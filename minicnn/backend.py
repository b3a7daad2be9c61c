"""Devices, array modules, kernel choice, random generators, threads: the only place that knows NumPy from CuPy.

What runs where follows from the type of the array, never from a global "current device".
"""

import importlib
import operator
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from .kernels.contract import Geometry, Windows
from .kernels.volumes import Volumes

__all__ = ["Device", "Generator", "Geometry", "Windows", "arithmetic_for", "array_module", "constant",
           "conv_algorithm", "convolution_for", "cuda_is_available", "current", "default_generator", "device_of",
           "float32_matmul_precision", "get_float32_matmul_precision", "get_num_threads", "is_recording", "joined",
           "kernels_for", "manual_seed", "module_on", "move", "one_device", "rehearsal", "set_float32_matmul_precision",
           "set_num_threads", "streams_advanced_by", "to_numpy", "use_kernels", "why_no_cuda", "why_not"]


# -- devices --------------------------------------------------------------------------------------------------------

class Device(NamedTuple):
    """Where an array lives: "cpu", or "cuda" with the number of the card."""

    type: str
    index: int | None = None  # type: ignore[assignment]  # PyTorch's name; it hides tuple.index

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    @classmethod
    def parse(cls, spec: "str | Device") -> "Device":
        """Device of "cpu", "cuda", "cuda:1" or "auto" (a GPU if there is one)."""
        if isinstance(spec, Device):
            return spec
        kind, _, index = str(spec).partition(":")
        if spec == "auto":
            return cls("cuda", 0) if cuda_is_available() else cls("cpu")
        if kind == "cpu" and not index:
            return cls("cpu")
        if kind == "cuda" and (not index or index.isdigit()):
            return cls("cuda", int(index or 0))
        raise ValueError(f"device {spec!r} is unknown; use 'cpu', 'cuda', 'cuda:N' or 'auto'")


CPU = Device("cpu")


_CURE = "in the checkout: pip install '.[cuda13]' (or cuda12)"


def why_no_cuda() -> str | None:
    """Why CUDA cannot be used on this machine, or None if it can. Imports CuPy."""
    try:
        cupy = importlib.import_module("cupy")
    except ModuleNotFoundError as error:
        if error.name == "cupy":
            return f"CuPy is not installed; {_CURE}"
        return f"CuPy cannot be imported: {error}"
    except ImportError as error:  # it tells at length which library it misses
        return f"CuPy cannot be imported: {str(error).strip().splitlines()[-1]}"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy finds no GPU: {error}"
    if not count:
        return "CuPy finds no GPU"
    try:  # the wheel of CuPy alone has neither
        cupy.cuda.nvrtc.getVersion(), cupy.cuda.cublas
    except (ImportError, RuntimeError) as error:
        return f"CuPy finds no NVRTC or cuBLAS ({str(error).strip().splitlines()[0]}); {_CURE}"
    return None


def cuda_is_available() -> bool:
    """Whether a tensor can be moved to a GPU."""
    return why_no_cuda() is None


def why_not(device: Device) -> str | None:
    """Why a device cannot be used on this machine, or None if it can."""
    if device.type == "cpu":
        return None
    reason = why_no_cuda()
    if reason is None and (device.index or 0) >= (count := sys.modules["cupy"].cuda.runtime.getDeviceCount()):
        return f"this machine has {count} GPU{'s' * (count > 1)}, counted from cuda:0"
    return reason


def owner(array: Any) -> Any:
    """The array of whose memory this one is a view, itself if it is none."""
    while isinstance(array.base, type(array)):
        array = array.base
    return array


def array_module(a: Any) -> ModuleType:
    """numpy or cupy, by the type of the array."""
    return np if type(a) is np.ndarray or isinstance(a, (np.ndarray, np.generic)) else sys.modules["cupy"]


def device_of(a: Any) -> Device:
    """The device that holds an array."""
    return CPU if isinstance(a, np.ndarray) else Device("cuda", a.device.id)


def one_device(name: str, *arrays: Any) -> None:
    """Raise where the arrays, of which some may be None, are on several devices; name is that of the operation."""
    for a in arrays:
        if type(a) is not np.ndarray:
            break
    else:  # as almost always
        return
    devices = sorted({str(device_of(a)) for a in arrays if a is not None})
    if len(devices) > 1:
        raise RuntimeError(f"{name}: tensors on {' and '.join(devices)}; move them to one device, e.g. "
                           f"x.to('{devices[-1]}')")


def current(*arrays: Any) -> AbstractContextManager[Any]:
    """In which CuPy computes where the arrays are, of which some may be None; what is given out is on that GPU, too."""
    for a in arrays:
        if a is not None and type(a) is not np.ndarray:
            return a.device
    return nullcontext()


def to_numpy(a: Any) -> np.ndarray:
    """The array in main memory, without a copy where it is there already."""
    return a if isinstance(a, np.ndarray) else a.get()


def move(a: Any, device: "str | Device") -> Any:
    """The array on the device, without a copy where it is there already."""
    with module_on(device) as xp:
        return to_numpy(a) if xp is np else xp.asarray(a)


@contextmanager
def module_on(device: "str | Device") -> Iterator[ModuleType]:
    """numpy or cupy, whose new arrays are on the device inside of the block."""
    device = Device.parse(device)
    if reason := why_not(device):
        raise RuntimeError(f"device '{device}' cannot be used: {reason}; or use device 'cpu'")
    if device.type == "cpu":
        yield np
    else:
        cupy = sys.modules["cupy"]
        with cupy.cuda.Device(device.index):
            yield cupy


def is_recording(a: Any) -> bool:
    """Whether what is computed from an array goes into a CUDA graph, to be run later: nothing of it can be read."""
    return not isinstance(a, np.ndarray) and _cuda().is_recording()


def rehearsal() -> AbstractContextManager[None]:
    """Inside the block everything is computed as it is while a CUDA graph is recorded, but at once."""
    return _cuda().rehearsal()


def _cuda() -> ModuleType:
    """What compiles and launches CUDA kernels; imported with the first use."""
    return importlib.import_module(f"{__package__}.kernels.cuda.module")


_constants: dict[tuple[int, int], tuple[np.ndarray, Any]] = {}  # kept for good: few, small, and read by CUDA graphs


def constant(a: np.ndarray, like: Any) -> Any:
    """A NumPy array that nobody writes to, where another array is; it is copied to a GPU once."""
    if isinstance(like, np.ndarray):
        return a
    key = id(a), like.device.id
    if key not in _constants:
        _constants[key] = a, move(a, device_of(like))
    return _constants[key][1]


# -- kernels --------------------------------------------------------------------------------------------------------

_forced_kernels: ModuleType | None = None
_conv_algorithm = "auto"
_cpu: ModuleType | None = None


def kernels_for(a: Any) -> ModuleType:
    """The kernel back end for an array: kernels.cpu for NumPy's, kernels.cuda for CuPy's, or the forced one."""
    global _cpu
    if _forced_kernels is not None:
        return _forced_kernels
    if isinstance(a, np.ndarray):
        if _cpu is None:  # numba is imported with the first kernel that is needed, not with minicnn
            _cpu = importlib.import_module(f"{__package__}.kernels.cpu")
        return _cpu
    return importlib.import_module(f"{__package__}.kernels.cuda")


LARGE = 1 << 16  # elements from which threads are worth waking for what takes no longer than to read and write them


def arithmetic_for(a: Any, b: Any) -> ModuleType:
    """What offers add, sub, mul, truediv and iadd of two arrays: kernels for large ones, else what Python calls."""
    return kernels_for(a) if a.size >= LARGE or b.size >= LARGE else operator


def joined(arrays: Sequence[Any], axis: int) -> Any:
    """Arrays of one type end to end along an axis, in new memory."""
    if sum([a.size for a in arrays]) < LARGE:
        return array_module(arrays[0]).concatenate(arrays, axis)
    return kernels_for(arrays[0]).concatenate(arrays, axis)


_BACK_ENDS = {"reference": "reference", "cpu": "cpu", "cuda-emulated": "cuda"}  # the folders of kernels/


@contextmanager
def use_kernels(name: str) -> Iterator[None]:
    """Inside the block every operation runs on the kernels named.

    "reference" is plain NumPy, "cpu" numba; "cuda-emulated" runs the CUDA kernels on NumPy arrays, one thread at a time
    and with every access to memory checked (it needs g++).
    """
    global _forced_kernels
    if name not in _BACK_ENDS:
        raise ValueError(f"use_kernels: kernels {name!r} are unknown; use one of {', '.join(map(repr, _BACK_ENDS))}")
    before = _forced_kernels
    _forced_kernels = importlib.import_module(f"{__package__}.kernels.{_BACK_ENDS[name]}")
    try:
        yield
    finally:
        _forced_kernels = before


@contextmanager
def conv_algorithm(name: str) -> Iterator[Any]:
    """Inside the block every convolution is computed by the named formulation, and so are its gradients.

    It holds for the whole process, all threads, as does ``use_kernels``.

    Args:
        name: one of

            - "auto": the kernels of the array's back end, on the CPU the cheapest for the shapes of the next three
            - "direct": numba, on the image itself, whose columns are never written down; depthwise, plane by plane
            - "winograd-tiles": numba, Winograd's tiles of 4×4 results for kernels of 3×3, of 2×2 for 5×5
            - "image-lanes": numba, with an image in each lane of a vector
            - "im2col": plain NumPy, one matrix product with the columns of the image
            - "loops": plain Python, the definition
            - "transposed": plain NumPy, tap by tap; gradients are convolutions too, with the kernel turned
            - "fft": plain NumPy, products of spectra
            - "winograd": plain NumPy, Winograd's tiles of 2×2 results, for kernels of 3×3 alone
            - "audit": all that apply, on the same arrays

    The value of an "audit" is a report, which prints as a table: for each operation the largest difference, time and
    memory of each formulation, and which one "auto" takes on the CPU for these shapes.

    Raises:
        ValueError: the name is unknown; or, at a convolution, the formulation cannot compute it.
    """
    global _conv_algorithm
    audits = importlib.import_module(f"{__package__}.kernels.audit")
    names = ["auto", "audit", *audits.ALGORITHMS]
    if name not in names:
        raise ValueError(f"conv_algorithm: {name!r} is unknown; use {', '.join(names)}")
    chosen = audits.Audit() if name == "audit" else name
    before, _conv_algorithm = _conv_algorithm, chosen
    try:
        yield chosen
    finally:
        _conv_algorithm = before


def convolution_for(a: Any, kernel: tuple[int, ...], geometry: Geometry) -> Any:
    """What offers conv2d, conv2d_input_grad and conv2d_weight_grad for this array, under the algorithm chosen."""
    if len(kernel) == 3:
        return Volumes(convolution_for(a, kernel[1:], geometry.plane()))
    if _conv_algorithm == "auto":
        return kernels_for(a)
    if not isinstance(_conv_algorithm, str):
        return _conv_algorithm
    chosen = importlib.import_module(f"{__package__}.kernels.audit").ALGORITHMS[_conv_algorithm]
    reason = chosen.supports(kernel, geometry)
    if reason:
        raise ValueError(f"conv_algorithm {_conv_algorithm!r} cannot compute this convolution: {reason}")
    return chosen


# -- precision --------------------------------------------------------------------------------------------------------

_matmul_precision = "highest"


def get_float32_matmul_precision() -> str:
    """What ``set_float32_matmul_precision`` was last told."""
    return _matmul_precision


def set_float32_matmul_precision(precision: str) -> None:
    """Allow TF32 in products of float32 on a GPU ("high"), or not ("highest", as it is from the start).

    TF32 has the range of float32 and 10 bits of fraction; sums stay float32. Unlike in PyTorch it concerns convolutions
    too. The CPU always computes in full precision.
    """
    global _matmul_precision
    if precision not in ("highest", "high"):
        raise ValueError(f"set_float32_matmul_precision: precision = {precision!r} must be 'highest' or 'high'")
    _matmul_precision = precision
    _cuda().allow_tf32(precision == "high")


@contextmanager
def float32_matmul_precision(precision: str) -> Iterator[None]:
    """``set_float32_matmul_precision`` for a block."""
    before = _matmul_precision
    set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        set_float32_matmul_precision(before)


# -- threads --------------------------------------------------------------------------------------------------------

def get_num_threads() -> int:
    """How many threads a kernel may use."""
    import numba

    return numba.get_num_threads()


def set_num_threads(n: int) -> None:
    """Let kernels use n threads (1 … the number the process started with); results do not depend on it."""
    import numba

    most = numba.config.NUMBA_NUM_THREADS
    rule = (f"set_num_threads: n = {n!r} must be an int from 1 to {most} (set NUMBA_NUM_THREADS before the start for "
            "more)")
    if not isinstance(n, int | np.integer) or isinstance(n, bool):
        raise TypeError(rule)
    if not 1 <= n <= most:
        raise ValueError(rule)
    numba.set_num_threads(n)


# -- random numbers -------------------------------------------------------------------------------------------------

class Generator:
    """A stream of random numbers with a state that can be saved and restored.

    Initial values and samples come from NumPy's PCG64. Masks of dropout come from a counter-based generator (Philox)
    keyed by ``next_key()``, so that they are equal on every device and need not be stored.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.manual_seed(int.from_bytes(os.urandom(8), "little") if seed is None else seed)

    def manual_seed(self, seed: int) -> "Generator":
        """Start the stream of this seed (0 … 2⁶⁴−1) from its beginning."""
        if not 0 <= int(seed) < 2**64:
            raise ValueError(f"manual_seed: seed = {seed} must be 0 to 2**64 - 1")
        self.seed, self.stream = int(seed), 0
        self.numpy = np.random.default_rng(self.seed)
        return self

    def next_key(self) -> tuple[int, int]:
        """A key (seed, stream) that was not given out before."""
        self.stream += 1
        return self.seed, self.stream

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on from here; plain numbers and strings, so that JSON holds it."""
        return {"seed": self.seed, "stream": self.stream, "numpy": self.numpy.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where ``state_dict`` was taken."""
        self.seed, self.stream = state["seed"], state["stream"]
        self.numpy.bit_generator.state = state["numpy"]


default_generator = Generator()


@contextmanager
def streams_advanced_by(count: Any) -> Iterator[None]:
    """Dropout recorded inside on a GPU adds what the array count (1), uint64, holds whenever it runs to its stream."""
    with importlib.import_module(f"{__package__}.kernels.cuda.random").streams_advanced_by(count):
        yield


def manual_seed(seed: int) -> Generator:
    """Seed the generator used wherever no other is given."""
    return default_generator.manual_seed(seed)
