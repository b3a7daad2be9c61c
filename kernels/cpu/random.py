"""Random numbers from a counter: block i of four depends on i and the key alone, so blocks can be made in any order."""

import numpy as np

from ..contract import Array, Pair
from .support import CHUNK, for_floats, inlined
from .threads import jobs_of, threaded

MULTIPLIER0, MULTIPLIER1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL0, WEYL1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
WORD, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


@inlined
def _fill(u, first_block, seed, stream):
    """u ← uniform numbers of the blocks from first_block on; the size of u is a multiple of 4."""
    for i in range(u.size // 4):
        block = np.uint64(first_block + i)
        c0, c1, c2, c3 = block & WORD, block >> HALF, stream & WORD, stream >> HALF
        k0, k1 = seed & WORD, seed >> HALF
        for _ in range(10):
            even, odd = c0 * MULTIPLIER0, c2 * MULTIPLIER1
            c0, c1, c2, c3 = (odd >> HALF) ^ c1 ^ k0, odd & WORD, (even >> HALF) ^ c3 ^ k1, even & WORD
            k0, k1 = (k0 + WEYL0) & WORD, (k1 + WEYL1) & WORD
        u[4 * i] = _unit(c0)
        u[4 * i + 1] = _unit(c1)
        u[4 * i + 2] = _unit(c2)
        u[4 * i + 3] = _unit(c3)


@inlined
def _unit(word):
    return np.float32(np.int32(word >> np.uint64(8))) * np.float32(2 ** -24)


@threaded
def _fill_all(thread, u, seed, stream):
    for job in jobs_of(thread, (u.size + CHUNK - 1) // CHUNK):
        _fill(u[job * CHUNK:(job + 1) * CHUNK], job * CHUNK // 4, seed, stream)


@inlined
def _drop(x, y, p, scale, first_block, seed, stream):
    u = np.empty((x.size + 3) // 4 * 4, np.float32)
    _fill(u, first_block, seed, stream)
    zero = x.dtype.type(0)
    for i in range(x.size):
        y[i] = x[i] * scale if u[i] >= p else zero


@threaded
def _drop_all(thread, x, y, p, scale, seed, stream):
    for job in jobs_of(thread, (x.size + CHUNK - 1) // CHUNK):
        start, stop = job * CHUNK, (job + 1) * CHUNK
        _drop(x[start:stop], y[start:stop], p, scale, start // 4, seed, stream)


def _words(key: Pair) -> tuple[np.uint64, np.uint64]:
    seed, stream = key
    return np.uint64(seed & 0xFFFFFFFFFFFFFFFF), np.uint64(stream & 0xFFFFFFFFFFFFFFFF)


def random_uniform(n: int, key: Pair) -> Array:
    u = np.empty((n + 3) // 4 * 4, np.float32)
    _fill_all(n, u, *_words(key))
    return u[:n]


@for_floats
def dropout(x: Array, p: float, key: Pair) -> Array:
    y = np.empty(x.shape, x.dtype)
    scale = x.dtype.type(1 / (1 - p) if p < 1 else 0)
    _drop_all(x.size, x.ravel(), y.reshape(-1), np.float32(p), scale, *_words(key))
    return y
