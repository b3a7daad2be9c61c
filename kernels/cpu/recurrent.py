"""Recurrent layers through time: each job takes a few sequences through all steps, so that no job waits for another.

A step is a small product, the rows of the state times W_hh, on the micro-kernel, and then the nonlinearities while the
result is still in the nearest cache. W_hh is cut beforehand into panels as wide as a vector,

    w  ┌──┬──┬──┬──┐        panel v of B: all K steps of its columns, one after the other, so that
       │▒▒│  │  │  │  K     every step of every job streams through memory in order
       └──┴──┴──┴──┘

and stays in the second-level cache while the steps pass. Loops over features are short on purpose: LLVM turns them
into vector code only if it can check, with a few comparisons, that what they write is nothing that they read.
"""

from collections.abc import Callable
from functools import cache, wraps

import numba
import numpy as np

from .. import reference
from ..contract import Array
from . import microkernel
from .elementwise import ONE, ZERO, _relu, _relu_grad, _sigmoid, _tanh, _tanh_grad
from .jobs import compiled, pointer
from .support import formula, inlined
from .threads import call, jobs_of, threaded

STEPS = 256  # of K at a time: what they take of a strip stays in the first-level cache
ZEROS = np.zeros(STEPS, np.int64)  # no offsets: all operands are packed
JOBS = 4  # a multiple of this, to share evenly among threads


# -- jobs ------------------------------------------------------------------------------------------------------------

@cache
def _micro_kernels(dtype: np.dtype) -> tuple[int, int]:
    """The addresses of tile and transpose."""
    element = numba.from_dtype(dtype)
    return (compiled(microkernel.tile, microkernel.tile_signature(element)).address,
            compiled(microkernel.transpose, microkernel.transpose_signature(element)).address)


def _for_strips(body: Callable) -> Callable:
    """The kernel that calls body(first, rows, ...) for strips of sequences, first ≤ sequence < first + rows."""

    @threaded
    def loop(thread, jobs, rows, tools, strips, panels, batch_sizes, arrays):
        starts = np.cumsum(batch_sizes) - batch_sizes  # of the steps
        for job in jobs_of(thread, jobs):
            body(job * rows, rows, batch_sizes, starts, (tools, strips[job], panels), arrays)

    def kernel(b: Array, batch_sizes: Array, *arrays: Array) -> None:
        """b: what the state (forward) or its gradient (backward) is multiplied with in every step."""
        sequences = int(batch_sizes[0])
        jobs = -(-sequences // (JOBS * microkernel.ROWS)) * JOBS
        rows = -(-sequences // jobs)
        jobs = -(-sequences // rows)  # that have something to do
        tools, strips = (microkernel.vectors(rows), *_micro_kernels(b.dtype)), np.empty((jobs, rows * len(b)), b.dtype)
        loop(int(batch_sizes.sum()) * b.size // 16, jobs, rows, tools, strips, _panels(b), batch_sizes, arrays)

    return kernel


def _panels(b: Array) -> Array:
    """b (K, N) in panels (⌈N / lanes⌉, K, lanes)."""
    (depth, columns), width = b.shape, microkernel.lanes(b.itemsize)
    whole = columns // width
    panels = np.zeros((-(-columns // width), depth, width), b.dtype)
    panels[:whole] = b[:, :whole * width].reshape(depth, whole, width).swapaxes(0, 1)
    panels[whole:, :, :columns - whole * width] = b[:, whole * width:]
    return panels


def _for_vectors(kernel: Callable) -> Callable:
    """Send what the micro-kernel can do to the compiled kernel, and everything else to the reference."""
    plain = getattr(reference, kernel.__name__)

    @wraps(kernel)
    def choose(first, *rest, **named):
        fits = microkernel.MASKS and first.size and first.dtype in (np.float32, np.float64)
        return (kernel if fits else plain)(first, *rest, **named)

    return choose


def _own(x: Array) -> Array:
    """The array as all others are that a kernel gets: contiguous and not read-only, which would be another type."""
    return np.require(x, None, ["C", "W"])


@inlined
def _add_product(c, c_row, a, a_row, rows, tools):
    """c[c_row + r] += a[a_row + r]·B for r < rows."""
    (most, tile, transpose), strip, panels = tools
    (_, depth, lanes), columns = panels.shape, c.shape[1]
    whole, rest = columns // lanes, columns % lanes
    call(transpose, (pointer(strip, 0), rows, pointer(a, a_row * depth), depth, rows, depth))
    for k in range(0, depth, STEPS):
        steps, left = min(STEPS, depth - k), pointer(strip, k * rows)
        for v in range(0, whole, most):
            target = pointer(c, c_row * columns + v * lanes)
            call(tile, (rows, min(most, whole - v), lanes, steps, pointer(ZEROS, 0), left, rows, 0,
                        pointer(panels, (v * depth + k) * lanes), lanes, 0, depth * lanes,
                        target, columns, lanes, target, columns, lanes))
        if rest:
            target = pointer(c, c_row * columns + whole * lanes)
            call(tile, (rows, 1, rest, steps, pointer(ZEROS, 0), left, rows, 0,
                        pointer(panels, (whole * depth + k) * lanes), lanes, 0, 0, target, columns, 0,
                        target, columns, 0))


@inlined
def _relus(x):
    for j in range(x.size):
        x[j] = _relu(x[j], ZERO)


@inlined
def _sigmoids(x):
    for j in range(x.size):
        x[j] = _sigmoid(x[j], ZERO)


@inlined
def _tanhs(x):
    for j in range(x.size):
        x[j] = _tanh(x[j], ZERO)


@inlined
def _clear(x):
    for j in range(x.size):
        x[j] = ZERO


@inlined
def _copy(x, y):
    for j in range(x.size):
        x[j] = y[j]


@inlined
def _add(x, y):
    for j in range(x.size):
        x[j] += y[j]


# -- RNN ------------------------------------------------------------------------------------------------------------

@formula
def _rnn(first, most, batch_sizes, starts, tools, arrays):
    y, h0, relu = arrays
    h, before = h0, first
    for step in range(batch_sizes.size):
        rows, now = min(most, batch_sizes[step] - first), starts[step] + first
        if rows < 1:
            break
        _add_product(y, now, h, before, rows, tools)
        for row in range(now, now + rows):
            if relu:
                _relus(y[row])
            else:
                _tanhs(y[row])
        h, before = y, now


@formula
def _rnn_grad(first, most, batch_sizes, starts, tools, arrays):
    gy, gh, y, ga, relu = arrays
    for step in range(batch_sizes.size - 1, -1, -1):
        rows, now = min(most, batch_sizes[step] - first), starts[step] + first
        for row in range(rows):
            g, h, out = gh[first + row], y[now + row], ga[now + row]
            _add(g, gy[now + row])
            for j in range(h.size):
                out[j] = _relu_grad(g[j], h[j], ZERO) if relu else _tanh_grad(g[j], h[j], ZERO)
            _clear(g)
        if rows > 0:
            _add_product(gh, first, ga, now, rows, tools)


_RNN, _RNN_GRAD = _for_strips(_rnn), _for_strips(_rnn_grad)


@_for_vectors
def rnn_sequence(y: Array, h0: Array, w_hh: Array, relu: bool, batch_sizes: Array) -> None:
    _RNN(w_hh.T, batch_sizes, y, _own(h0), relu)


@_for_vectors
def rnn_sequence_grad(gy: Array, gh: Array, y: Array, w_hh: Array, relu: bool,
                      batch_sizes: Array) -> tuple[Array, Array]:
    ga, gh = np.empty(gy.shape, gy.dtype), gh.copy("C")
    _RNN_GRAD(w_hh, batch_sizes, _own(gy), gh, _own(y), ga, relu)
    return ga, gh


# -- LSTM -----------------------------------------------------------------------------------------------------------

@formula
def _lstm(first, most, batch_sizes, starts, tools, arrays):
    gates, h0, c0, y, cells = arrays
    size = c0.shape[1]
    h, c, before = h0, c0, first
    for step in range(batch_sizes.size):
        rows, now = min(most, batch_sizes[step] - first), starts[step] + first
        if rows < 1:
            break
        _add_product(gates, now, h, before, rows, tools)
        for row in range(rows):
            i, f, g, o = _quarters(gates[now + row], size)
            _sigmoids(i), _sigmoids(f), _tanhs(g), _sigmoids(o)
            old, new, shown = c[before + row], cells[now + row], y[now + row]
            for j in range(size):
                new[j] = f[j] * old[j] + i[j] * g[j]
            for j in range(size):
                shown[j] = o[j] * _tanh(new[j], ZERO)
        h, c, before = y, cells, now


@formula
def _lstm_grad(first, most, batch_sizes, starts, tools, arrays):
    gy, gh, gc, gates, c0, cells, ga = arrays
    size = c0.shape[1]
    for step in range(batch_sizes.size - 1, -1, -1):
        rows, now = min(most, batch_sizes[step] - first), starts[step] + first
        c, before = (cells, starts[step - 1] + first) if step else (c0, first)
        for row in range(rows):
            i, f, g, o = _quarters(gates[now + row], size)
            gi, gf, gg, go = _quarters(ga[now + row], size)
            gm, gs, old, new = gh[first + row], gc[first + row], c[before + row], cells[now + row]
            _add(gm, gy[now + row])
            for j in range(size):
                s = _tanh(new[j], ZERO)
                gs[j] += gm[j] * o[j] * (ONE - s * s)
                go[j] = gm[j] * s * o[j] * (ONE - o[j])
            for j in range(size):
                gi[j] = gs[j] * g[j] * i[j] * (ONE - i[j])
                gg[j] = gs[j] * i[j] * (ONE - g[j] * g[j])
            for j in range(size):
                gf[j] = gs[j] * old[j] * f[j] * (ONE - f[j])
                gs[j] *= f[j]
            _clear(gm)
        if rows > 0:
            _add_product(gh, first, ga, now, rows, tools)


@inlined
def _quarters(x, size):
    return x[:size], x[size:2 * size], x[2 * size:3 * size], x[3 * size:]


_LSTM, _LSTM_GRAD = _for_strips(_lstm), _for_strips(_lstm_grad)


@_for_vectors
def lstm_sequence(gates: Array, h0: Array, c0: Array, w_hh: Array, w_hr: Array | None,
                  batch_sizes: Array) -> tuple[Array, Array]:
    if w_hr is not None:  # rare
        return reference.lstm_sequence(gates, h0, c0, w_hh, w_hr, batch_sizes)
    y, cells = (np.empty((len(gates), c0.shape[1]), gates.dtype) for _ in range(2))
    _LSTM(w_hh.T, batch_sizes, gates, _own(h0), _own(c0), y, cells)
    return y, cells


@_for_vectors
def lstm_sequence_grad(gy: Array, gh: Array, gc: Array, gates: Array, c0: Array, cells: Array, w_hh: Array,
                       w_hr: Array | None, batch_sizes: Array) -> tuple[Array, Array, Array, Array | None]:
    if w_hr is not None:
        return reference.lstm_sequence_grad(gy, gh, gc, gates, c0, cells, w_hh, w_hr, batch_sizes)
    ga, gh, gc = np.empty(gates.shape, gates.dtype), gh.copy("C"), gc.copy("C")
    _LSTM_GRAD(w_hh, batch_sizes, _own(gy), gh, gc, _own(gates), _own(c0), _own(cells), ga)
    return ga, gh, gc, None


# -- GRU ------------------------------------------------------------------------------------------------------------

@formula
def _gru(first, most, batch_sizes, starts, tools, arrays):
    gates, h0, b_hh, a, y, seen = arrays
    size = h0.shape[1]
    h, before = h0, first
    for step in range(batch_sizes.size):
        rows, now = min(most, batch_sizes[step] - first), starts[step] + first
        if rows < 1:
            break
        for row in range(first, first + rows):
            _copy(a[row], b_hh)
        _add_product(a, first, h, before, rows, tools)
        for row in range(rows):
            rz, n = gates[now + row, :2 * size], gates[now + row, 2 * size:]
            _add(rz, a[first + row, :2 * size])
            _sigmoids(rz)
            r, z, hn, old, new = rz[:size], rz[size:], a[first + row, 2 * size:], h[before + row], y[now + row]
            for j in range(size):
                n[j] = _tanh(n[j] + r[j] * hn[j], ZERO)
            for j in range(size):
                new[j] = n[j] + z[j] * (old[j] - n[j])
            _copy(seen[now + row], hn)
        h, before = y, now


@formula
def _gru_grad(first, most, batch_sizes, starts, tools, arrays):
    gy, gh, gates, seen, h0, y, ga_x, ga_h = arrays
    size = h0.shape[1]
    for step in range(batch_sizes.size - 1, -1, -1):
        rows, now = min(most, batch_sizes[step] - first), starts[step] + first
        h, before = (y, starts[step - 1] + first) if step else (h0, first)
        for row in range(rows):
            r, z, n = _thirds(gates[now + row], size)
            gr, gz, gn = _thirds(ga_x[now + row], size)
            hr, hz, hn = _thirds(ga_h[now + row], size)
            g, old, kept = gh[first + row], h[before + row], seen[now + row]
            _add(g, gy[now + row])
            for j in range(size):
                gz[j] = g[j] * (old[j] - n[j]) * z[j] * (ONE - z[j])
            for j in range(size):
                gn[j] = g[j] * (ONE - z[j]) * (ONE - n[j] * n[j])
            for j in range(size):
                gr[j] = gn[j] * kept[j] * r[j] * (ONE - r[j])
                hn[j] = gn[j] * r[j]
            for j in range(size):
                g[j] *= z[j]
            _copy(hr, gr), _copy(hz, gz)
        if rows > 0:
            _add_product(gh, first, ga_h, now, rows, tools)


@inlined
def _thirds(x, size):
    return x[:size], x[size:2 * size], x[2 * size:]


_GRU, _GRU_GRAD = _for_strips(_gru), _for_strips(_gru_grad)


@_for_vectors
def gru_sequence(gates: Array, h0: Array, w_hh: Array, b_hh: Array | None, batch_sizes: Array) -> tuple[Array, Array]:
    (sequences, size), dtype = h0.shape, gates.dtype
    y, seen, a = (np.empty(shape, dtype) for shape in ((len(gates), size), (len(gates), size), (sequences, 3 * size)))
    _GRU(w_hh.T, batch_sizes, gates, _own(h0), np.zeros(3 * size, dtype) if b_hh is None else _own(b_hh), a, y, seen)
    return y, seen


@_for_vectors
def gru_sequence_grad(gy: Array, gh: Array, gates: Array, seen: Array, h0: Array, y: Array, w_hh: Array,
                      batch_sizes: Array) -> tuple[Array, Array, Array]:
    ga_x, ga_h, gh = np.empty(gates.shape, gates.dtype), np.empty(gates.shape, gates.dtype), gh.copy("C")
    _GRU_GRAD(w_hh, batch_sizes, _own(gy), gh, _own(gates), _own(seen), _own(h0), _own(y), ga_x, ga_h)
    return ga_x, ga_h, gh
