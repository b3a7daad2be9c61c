"""Recurrent layers through time, a launch for each step: a captured graph replays them without waiting for Python."""

from ..contract import Array
from ..reference.recurrent import _steps
from .elementwise import tanh
from .linear import matmul
from .module import THREADS, contiguous, empty, for_floats, launch

_SIDE = 16  # rows and features of a block


def _launch(kernel: str, rows: int, size: int, *arguments: Array | int | None) -> None:
    """A step, which has so many rows, of a layer with so many features."""
    launch("recurrent.cu", kernel, (-(-rows // _SIDE), -(-size // _SIDE)), (THREADS,), *arguments, rows, size)


def _before(initial: Array, states: Array, rows: slice) -> Array:
    """The states before a step: rows of the initial ones with all others behind."""
    n = len(initial)
    return initial if rows.start == 0 else states[rows.start - n:rows.stop - n]


# -- RNN --------------------------------------------------------------------------------------------------------------

@for_floats
def rnn_sequence(y: Array, h0: Array, w_hh: Array, relu: bool, batch_sizes: Array) -> None:
    h, w = contiguous(h0), contiguous(w_hh)
    for k, now, _ in _steps(batch_sizes):
        _launch("rnn_step", k, y.shape[1], y[now], h, w, relu)
        h = y[now]


@for_floats
def rnn_sequence_grad(gy: Array, gh: Array, y: Array, w_hh: Array, relu: bool,
                      batch_sizes: Array) -> tuple[Array, Array]:
    gy, gh, y, w = map(contiguous, (gy, gh, y, w_hh))
    ga = empty(gy.shape, gy)
    later = ga[:0]  # that of the step after
    for k, now, _ in reversed(_steps(batch_sizes)):
        _launch("rnn_step_grad", k, y.shape[1], gy[now], gh, w, later, len(later), y[now], ga[now], relu)
        later = ga[now]
    return ga, matmul(later, w)


# -- LSTM -------------------------------------------------------------------------------------------------------------

@for_floats
def lstm_sequence(gates: Array, h0: Array, c0: Array, w_hh: Array, w_hr: Array | None,
                  batch_sizes: Array) -> tuple[Array, Array]:
    (size, depth), rows = (c0.shape[1], h0.shape[1]), len(gates)
    shown, cells = (empty((rows, size), gates) for _ in range(2))
    y = shown if w_hr is None else empty((rows, depth), gates)
    h, c, w = map(contiguous, (h0, c0, w_hh))
    for k, now, _ in _steps(batch_sizes):
        _launch("lstm_step", k, size, gates[now], h, c, w, shown[now], cells[now], depth)
        if w_hr is not None:
            y[now] = matmul(shown[now], w_hr.T)
        h, c = y[now], cells[now]
    return y, cells


@for_floats
def lstm_sequence_grad(gy: Array, gh: Array, gc: Array, gates: Array, c0: Array, cells: Array, w_hh: Array,
                       w_hr: Array | None, batch_sizes: Array) -> tuple[Array, Array, Array, Array | None]:
    gates, c0, cells, w = map(contiguous, (gates, c0, cells, w_hh))
    gy, gh = (contiguous(gy), contiguous(gh)) if w_hr is None else (gy.copy("C"), gh)
    ga, gc = empty(gates.shape, gates), gc.copy("C")
    later = ga[:0]
    for k, now, before in reversed(_steps(batch_sizes)):
        g, after = gy[now], later
        if w_hr is not None:
            g[:len(later)] += matmul(later, w)
            g[len(later):] += gh[len(later):k]
            g, after = matmul(g, w_hr), ga[:0]
        _launch("lstm_step_grad", k, c0.shape[1], g, gh if w_hr is None else None, gc, w, after, len(after),
                gates[now], _before(c0, cells, before), cells[now], ga[now])
        later = ga[now]
    if w_hr is None:
        return ga, matmul(later, w), gc, None
    shown = gates[:, -c0.shape[1]:] * tanh(cells)
    return ga, matmul(later, w), gc, matmul(gy.T, shown)


# -- GRU --------------------------------------------------------------------------------------------------------------

@for_floats
def gru_sequence(gates: Array, h0: Array, w_hh: Array, b_hh: Array | None, batch_sizes: Array) -> tuple[Array, Array]:
    size = h0.shape[1]
    y, seen = (empty((len(gates), size), gates) for _ in range(2))
    h, w, b = contiguous(h0), contiguous(w_hh), b_hh if b_hh is None else contiguous(b_hh)
    for k, now, _ in _steps(batch_sizes):
        _launch("gru_step", k, size, gates[now], h, w, b, y[now], seen[now])
        h = y[now]
    return y, seen


@for_floats
def gru_sequence_grad(gy: Array, gh: Array, gates: Array, seen: Array, h0: Array, y: Array, w_hh: Array,
                      batch_sizes: Array) -> tuple[Array, Array, Array]:
    gy, gates, seen, h0, y, w = map(contiguous, (gy, gates, seen, h0, y, w_hh))
    ga_x, ga_h, gh = empty(gates.shape, gates), empty(gates.shape, gates), gh.copy("C")
    later = ga_h[:0]
    for k, now, before in reversed(_steps(batch_sizes)):
        _launch("gru_step_grad", k, h0.shape[1], gy[now], gh, w, later, len(later), gates[now], seen[now],
                _before(h0, y, before), ga_x[now], ga_h[now])
        later = ga_h[now]
    gh += matmul(later, w)
    return ga_x, ga_h, gh
