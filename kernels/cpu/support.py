"""What the compiled kernels of this folder share.

A kernel is three layers. Its public function, with the signature of the contract, prepares arrays. It calls one
``threaded`` function, which cuts the work into jobs that depend on the shape alone, never on the number of threads, so
that results are equal to the last bit however many there are; work too small to be worth waking threads for runs as it
is. The job itself is an ``inlined`` function with the plain loop that LLVM turns into vector instructions.
"""

import zlib
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numba.extending import register_jitable

from .. import reference

CHUNK = 1 << 14  # elements of one job: long enough to hide its start, short enough for every core to get some
SERIAL = 2 * CHUNK  # elements below which waking the threads costs more than they save

# The only liberty taken with floating point is to fuse a·b + c, so NaN and infinity keep their meaning; "numpy" lets
# division by zero give infinity instead of raising.
OPTIONS: Any = {"error_model": "numpy", "fastmath": {"contract"}}
inlined = njit(**OPTIONS)
# A formula is part of the loop it stands in, however long it is: a call would keep the loop from becoming vector code.
FORMULA: Any = OPTIONS | {"forceinline": True}
formula = register_jitable(**FORMULA)
# A sum that may be regrouped runs in vector lanes, which is also more accurate than one running total.
regrouped_sum = njit(error_model="numpy", fastmath={"contract", "reassoc", "nsz"})

_LENDING = "support.py", "exponential.py", "error_function.py", "elementwise.py", "jobs.py", "normalisation.py"
_SOURCES = zlib.crc32(b"".join(Path(__file__).with_name(name).read_bytes() for name in _LENDING))


def threaded(function):
    """Compile with threads and keep the result on disk."""
    # Numba's cache looks at the file of the function only: what other files lend to it goes into its name.
    function.__qualname__ += f"_{_SOURCES:08x}"
    return njit(parallel=True, cache=True, **OPTIONS)(function)


def for_floats(kernel):
    """Send float32 and float64 to the compiled kernel, every other type to the reference."""
    plain = getattr(reference, kernel.__name__)
    compiled_types = np.dtype(np.float32), np.dtype(np.float64)

    @wraps(kernel)
    def choose(first, *rest, **named):
        return (kernel if first.dtype in compiled_types else plain)(first, *rest, **named)

    return choose
