"""Two settings of the process, made before the first kernel runs.

**Memory is kept.** glibc gives large arrays back to the kernel as soon as they are freed, and every page of the next
one is then faulted in again, zeroed, at a fifth of a millisecond per megabyte: half of a LeNet training step. Told to
keep up to 2 GiB of what is freed, it finds the arrays of the last step where they were.

**Threads wait a little, not long.** GNU's OpenMP lets a thread that has nothing to do spin for milliseconds. On a busy
machine the others then spin against the very thread they wait for. Some ten microseconds bridge the time from one
kernel to the next; after that it is better to sleep. Both can be set otherwise from outside, in the environment.
"""

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def set_up() -> None:
    """Make both settings, where the system has them."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    if sys.platform == "linux" and not {"MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"} & os.environ.keys():
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
        if mallopt is not None:
            mallopt(_M_MMAP_MAX, 0)
            mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
