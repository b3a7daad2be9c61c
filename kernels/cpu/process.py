"""Four settings of the process, made before the first kernel is compiled.

**Memory is kept.** glibc gives large arrays back to the kernel as soon as they are freed, and every page of the next
one is then faulted in again, zeroed, at a fifth of a millisecond per megabyte: half of a LeNet training step. Told to
keep up to 2 GiB of what is freed, it finds the arrays of the last step where they were.

**Threads wait a little, not long.** GNU's OpenMP lets a thread that has nothing to do spin for milliseconds. On a busy
machine the others then spin against the very thread they wait for. Some ten microseconds bridge the time from one
kernel to the next; after that it is better to sleep.

**Vectors are as wide as they can be.** For most of Intel's processors with AVX-512 LLVM prefers vectors of half the
width, which early ones ran at a higher clock. Formulas of many steps take a third longer for it.

**Garbage waits while a kernel is compiled.** The compiler makes objects by the million, and Python would look through
all of them again and again: a tenth of the time.

The first three can be set otherwise from outside, in the environment.
"""

import ctypes
import gc
import os
import sys

from numba import config
from numba.core import event
from numba.core.codegen import get_host_cpu_features

from . import microkernel

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGEST = 32 * 2**20  # bytes: glibc takes no larger threshold; what is larger comes from memory.py


class _NoCollection(event.Listener):
    """Turns the garbage collector off while numba compiles, whatever it compiles.

    What is compiled on the way is inside of that; a lock of numba's lets in one thread at a time.
    """

    def __init__(self) -> None:
        self.depth, self.was_on = 0, True

    def on_start(self, event: event.Event) -> None:
        if self.depth == 0:
            self.was_on = gc.isenabled()
            gc.disable()
        self.depth += 1

    def on_end(self, event: event.Event) -> None:
        self.depth -= 1
        if self.depth == 0 and self.was_on:
            gc.enable()


def set_up() -> None:
    """Make the settings, where the system has them."""
    event.register("numba:run_pass", _NoCollection())
    if microkernel.BITS == 512 and config.CPU_NAME is None and config.CPU_FEATURES is None:
        config.CPU_FEATURES = get_host_cpu_features() + ",-prefer-256-bit"
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    if sys.platform == "linux" and not {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"} & os.environ.keys():
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _LARGEST)
            mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
