"""Matrix products: cuBLAS's where it can be used, else our own.

CuPy refuses to record cuBLAS into a graph. In half precision our own round their sums once, as all kernels here do.
"""

import numpy as np

from .. import reference
from ..contract import Array
from .module import THREADS, contiguous, empty, for_floats, is_recording, launch, wide_type


@for_floats
def matmul(a: Array, b: Array, bias: Array | None = None) -> Array:
    if not _own(a):
        return reference.matmul(a, b, bias)
    (a, a_turned), (b, b_turned) = _flat(a), _flat(b)
    (rows, depth), columns = a.shape, b.shape[1]
    y = empty((rows, columns), a)
    steps = ((1, rows) if a_turned else (depth, 1)) + ((depth, 1) if b_turned else (1, columns))
    launch("linear.cu", "multiply", (-(-rows // 64), -(-columns // 64)), (THREADS,), a.T if a_turned else a,
           b.T if b_turned else b, bias if bias is None else contiguous(bias), y, (rows, depth, columns, *steps))
    return y


def _own(a: Array) -> bool:
    """Whether cuBLAS cannot be used: for NumPy's arrays, half precision, and in a step that is being recorded."""
    return isinstance(a, np.ndarray) or a.dtype != wide_type(a) or is_recording()


def _flat(x: Array) -> tuple[Array, bool]:
    """The matrix in contiguous memory, and whether it lies there transposed."""
    if x.flags.c_contiguous:
        return x, False
    return (x, True) if x.flags.f_contiguous else (contiguous(x), False)
