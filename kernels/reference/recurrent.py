"""Recurrent layers through time, forward and back: the page to read for what an RNN, an LSTM and a GRU compute.

All sequences of a batch advance together, the longest first, and step t has the rows of those still running; the rows
of all steps lie one below the other, R in all (a packed sequence). What the input gives to the gates, x·W_ihᵀ + b_ih,
is one large product made beforehand; only what the step before gives, h·W_hhᵀ + b_hh, has to wait its turn.
"""

from ..contract import Array
from . import elementwise
from .elementwise import sigmoid, tanh, tanh_grad
from .layers import _array_module, matmul


def _steps(batch_sizes: Array) -> list[tuple[int, slice, slice]]:
    """(k, now, before) of each step: how many rows it has, where they are, and where their sequences were one step
    before, in an array with the initial state in front."""
    steps, start, before = [], 0, 0
    for k in batch_sizes.tolist():
        steps.append((k, slice(start, start + k), slice(before, before + k)))
        start, before = start + k, start + int(batch_sizes[0])
    return steps


# -- RNN: one layer of neurons that sees its own output (Elman 1990) --------------------------------------------------

def rnn_sequence(y: Array, h0: Array, w_hh: Array, relu: bool, batch_sizes: Array) -> None:
    h = h0
    for k, now, _ in _steps(batch_sizes):
        a = y[now] + h[:k] @ w_hh.T  # (k, H)
        h = y[now] = elementwise.relu(a) if relu else tanh(a)


def rnn_sequence_grad(gy: Array, gh: Array, y: Array, w_hh: Array, relu: bool,
                      batch_sizes: Array) -> tuple[Array, Array]:
    ga, gh = _array_module(gy).empty_like(gy), gh.copy()
    for k, now, _ in reversed(_steps(batch_sizes)):
        g = gy[now] + gh[:k]  # from the layer above, and from the step after
        ga[now] = elementwise.relu_grad(g, y[now]) if relu else tanh_grad(g, y[now])
        gh[:k] = ga[now] @ w_hh
    return ga, gh


# -- LSTM: a cell that is kept, written and shown through gates (Hochreiter & Schmidhuber 1997; Gers et al. 2000) ----

def lstm_sequence(gates: Array, h0: Array, c0: Array, w_hh: Array, w_hr: Array | None,
                  batch_sizes: Array) -> tuple[Array, Array]:
    xp = _array_module(gates)
    y, cells = [xp.empty((len(gates), state.shape[1]), state.dtype) for state in (h0, c0)]
    h, c = h0, c0
    for k, now, _ in _steps(batch_sizes):
        i, f, g, o = xp.split(gates[now] + h[:k] @ w_hh.T, 4, 1)  # each (k, H)
        i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
        c = f * c[:k] + i * g  # keep some of the old, write some of the new
        h = o * tanh(c)  # show some of it
        if w_hr is not None:
            h = h @ w_hr.T  # (k, P)
        gates[now], cells[now], y[now] = xp.concatenate([i, f, g, o], 1), c, h
    return y, cells


def lstm_sequence_grad(gy: Array, gh: Array, gc: Array, gates: Array, c0: Array, cells: Array, w_hh: Array,
                       w_hr: Array | None, batch_sizes: Array) -> tuple[Array, Array, Array, Array | None]:
    xp = _array_module(gy)
    ga, gh, gc, all_cells = xp.empty_like(gates), gh.copy(), gc.copy(), xp.concatenate([c0, cells])
    gw_hr = None if w_hr is None else xp.zeros_like(w_hr)
    for k, now, before in reversed(_steps(batch_sizes)):
        i, f, g, o = xp.split(gates[now], 4, 1)
        t = tanh(cells[now])
        gm = gy[now] + gh[:k]  # of o·t: from the layer above, and from the step after
        if w_hr is not None:
            gw_hr += gm.T @ (o * t)
            gm = gm @ w_hr
        gs = gc[:k] + gm * o * (1 - t * t)  # of the cell: from the step after, and through what it shows
        gi, gf, gg, go = gs * g, gs * all_cells[before], gs * i, gm * t
        ga[now] = xp.concatenate([gi * i * (1 - i), gf * f * (1 - f), gg * (1 - g * g), go * o * (1 - o)], 1)
        gh[:k], gc[:k] = ga[now] @ w_hh, gs * f
    return ga, gh, gc, gw_hr


# -- GRU: a state that moves towards a candidate n, as far as gate z lets it (Cho et al. 2014) ------------------------

def gru_sequence(gates: Array, h0: Array, w_hh: Array, b_hh: Array | None, batch_sizes: Array) -> tuple[Array, Array]:
    xp = _array_module(gates)
    y, seen = [xp.empty((len(gates), h0.shape[1]), gates.dtype) for _ in range(2)]
    h = h0
    for k, now, _ in _steps(batch_sizes):
        (xr, xz, xn), (hr, hz, hn) = xp.split(gates[now], 3, 1), xp.split(matmul(h[:k], w_hh.T, b_hh), 3, 1)
        r, z = sigmoid(xr + hr), sigmoid(xz + hz)  # each (k, H)
        n = tanh(xn + r * hn)  # the candidate sees as much of the old state as r lets it
        h = n + z * (h[:k] - n)
        gates[now], seen[now], y[now] = xp.concatenate([r, z, n], 1), hn, h
    return y, seen


def gru_sequence_grad(gy: Array, gh: Array, gates: Array, seen: Array, h0: Array, y: Array, w_hh: Array,
                      batch_sizes: Array) -> tuple[Array, Array, Array]:
    xp = _array_module(gy)
    ga_x, ga_h, gh, states = xp.empty_like(gates), xp.empty_like(gates), gh.copy(), xp.concatenate([h0, y])
    for k, now, before in reversed(_steps(batch_sizes)):
        r, z, n = xp.split(gates[now], 3, 1)
        g = gy[now] + gh[:k]  # from the layer above, and from the step after
        gz, gn = g * (states[before] - n) * z * (1 - z), g * (1 - z) * (1 - n * n)
        gr = gn * seen[now] * r * (1 - r)
        ga_x[now], ga_h[now] = xp.concatenate([gr, gz, gn], 1), xp.concatenate([gr, gz, gn * r], 1)
        gh[:k] = g * z + ga_h[now] @ w_hh
    return ga_x, ga_h, gh
