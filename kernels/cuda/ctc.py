"""Connectionist temporal classification: the time loop in a kernel, a block for each sequence."""

import numpy as np

from ..contract import Array
from .module import THREADS, contiguous, device_of, empty, for_floats, launch, module_of, on_device, spread

_FILE = "ctc.cu"


def _alignment(x: Array, states: Array, frames: Array, counts: Array) -> tuple[list[Array], tuple[int, ...], int]:
    """states, frames and counts where x is, struct Batch of ctc.cu, and threads for a block that shares the states."""
    arrays = [contiguous(on_device(a, device_of(x))) for a in (states, frames, counts)]
    return arrays, (*x.shape, states.shape[1]), min(THREADS, -(-states.shape[1] // 32) * 32)


@for_floats
def ctc(x: Array, states: Array, frames: Array, counts: Array) -> tuple[Array, Array]:
    alignment, batch, threads = _alignment(x, states, frames, counts)
    loss, alpha = empty(x.shape[1:2], x), module_of(x).empty((x.shape[1], len(x), states.shape[1]), np.float64)
    launch(_FILE, "ctc", loss.shape, (threads,), contiguous(x), *alignment, loss, alpha, batch)
    return loss, alpha


@for_floats
def ctc_grad(gy: Array, x: Array, states: Array, frames: Array, counts: Array, alpha: Array) -> Array:
    alignment, batch, threads = _alignment(x, states, frames, counts)
    x, alpha, gx = contiguous(x), contiguous(alpha), empty(x.shape, x)
    beta, total = (module_of(x).empty(shape, np.float64) for shape in (alpha.shape, gy.shape))
    launch(_FILE, "ctc_beta", gy.shape, (threads,), x, *alignment, alpha, beta, total, batch)
    launch(_FILE, "ctc_grad", spread(gx.size), (THREADS,), contiguous(gy), x, *alignment, alpha, beta, total, gx,
           gx.size, batch)
    return gx
