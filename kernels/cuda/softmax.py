"""Softmax and its relatives: a warp for each row, or a thread where neighbours in memory belong to different rows."""

from ..contract import Array
from .module import THREADS, contiguous, empty, for_floats, launch, spread

_FILE = "softmax.cu"


def _launch(kernel: str, shape: tuple[int, ...], *arrays: Array) -> None:
    m, size, stride = shape
    lanes = 32 if stride == 1 else 1
    launch(_FILE, kernel, spread(m * stride * lanes), (THREADS,), *arrays, (m * stride, size, stride, lanes))


def _each_row(kernel: str, *arrays: Array) -> Array:
    y = empty(arrays[0].shape, arrays[0])
    if y.size:
        _launch(kernel, y.shape, *map(contiguous, arrays), y)
    return y


@for_floats
def softmax(x: Array) -> Array:
    return _each_row("softmax", x)


@for_floats
def softmax_grad(gy: Array, y: Array) -> Array:
    return _each_row("softmax_grad", gy, y)


@for_floats
def log_softmax(x: Array) -> Array:
    return _each_row("log_softmax", x)


@for_floats
def log_softmax_grad(gy: Array, y: Array) -> Array:
    return _each_row("log_softmax_grad", gy, y)


@for_floats
def cross_entropy(x: Array, target: Array) -> tuple[Array, Array]:
    loss, p = empty(target.shape, x), empty(x.shape, x)
    _launch("cross_entropy", (*x.shape, 1), contiguous(x), contiguous(target), loss, p)
    return loss, p


@for_floats
def cross_entropy_grad(gy: Array, p: Array, target: Array) -> Array:
    gx = empty(p.shape, p)
    _launch("cross_entropy_grad", (*p.shape, 1), contiguous(gy), contiguous(p), contiguous(target), gx)
    return gx
