"""Recurrent layers: one layer in one direction, through all time steps, is one operation.

A node of the graph for each step, or even for each gate, would cost more than the arithmetic. So the forward is one
product for what the input gives to all steps, then a loop in a kernel; the backward is a loop in a kernel that goes
through the steps in reverse and gives ga, the gradient of what stands inside the nonlinearities of all steps, and then
every gradient of a weight is one product over all steps. What the kernels compute is in kernels/reference/recurrent.py.
A gradient that is itself to be differentiated comes from the same recurrence, written step by step with operations.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from .. import dtypes
from ..backend import array_module, kernels_for
from ..engine import Function, Tensor, is_grad_enabled, walk
from .join import cat
from .linear import linear
from .packing import Packing, take_rows


class Recurrent(Function):
    """What all kinds share; rows x (R, I) in, all h (R, P) out, and the last state of each sequence.

    Read backwards, each sequence is turned round before and its outputs after: inside, time always runs forwards.
    """

    def __init__(self, packing: Packing, reverse: bool) -> None:
        self.packing, self.reverse = packing, reverse

    def turned(self, x: Any) -> Any:
        """An array with each sequence in the order in which it is read, or back."""
        if self.reverse and self.packing.equal:
            return x.reshape(len(self.packing.batch_sizes), self.packing.sequences, x.shape[1])[::-1].reshape(x.shape)
        return _at(x, self.packing.backwards) if self.reverse else x

    def last(self, x: Any) -> Any:
        """The rows in which the sequences end, in the order in which they are read; a copy."""
        return _at(x, self.packing.last).copy()

    def backward(self, *gys):
        if not is_grad_enabled():
            arrays = [None if t is None else t.data for t in self.saved]
            gxs = self.through_time(arrays, self.turned(gys[0].data), *[g.data for g in gys[1:]])
            return tuple([None if g is None else Tensor(g) for g in gxs])
        inputs = [None if t is None else t.clone() for t in self.saved[:len(self.needs)]]  # clones: the walk ends there
        pairs = [(y, gy) for y, gy in zip(self.by_steps(*inputs), gys, strict=True) if y.requires_grad]
        targets = [t for t, need in zip(inputs, self.needs, strict=True) if need]
        gradients = iter(walk(*map(list, zip(*pairs)), targets, retain_graph=True, create_graph=True)[0])
        return tuple([next(gradients) if need else None for need in self.needs])

    def through_time(self, saved: list, gy: Any, *g_last: Any) -> tuple:
        """The gradients of the inputs, as arrays."""
        raise NotImplementedError

    def by_steps(self, *inputs: Tensor | None) -> tuple[Tensor, ...]:
        """The outputs, computed with operations."""
        raise NotImplementedError

    def of_weights(self, saved: list, y: Any, ga_x: Any, ga_h: Any) -> tuple:
        """gx, gw_ih, gw_hh, gb_ih and gb_hh, from the gradients of x·w_ihᵀ + b_ih and of h·w_hhᵀ + b_hh."""
        x, w_ih, _, _, _, h0, *_ = saved
        kernels, n = kernels_for(x), self.packing.sequences
        gx = gw_ih = gw_hh = gb_ih = gb_hh = None
        if self.needs[0]:
            gx = self.turned(kernels.matmul(ga_x, w_ih))
        if self.needs[1]:
            gw_ih = kernels.matmul(ga_x.T, self.turned(x))
        if self.needs[2]:
            gw_hh = kernels.matmul(ga_h[n:].T, _at(y, self.packing.before)) + kernels.matmul(ga_h[:n].T, h0)
        if self.needs[3]:
            gb_ih = ga_x.sum(0, dtype=dtypes.float64).astype(x.dtype)
        if self.needs[4]:
            gb_hh = gb_ih if ga_h is ga_x and self.needs[3] else ga_h.sum(0, dtype=dtypes.float64).astype(x.dtype)
        return gx, gw_ih, gw_hh, gb_ih, gb_hh

    def unrolled(self, step: Callable[..., tuple[Tensor, ...]], a: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """All states, joined, and the last ones, where step(rows of a, *states) gives those after a step."""
        a = take_rows(a, self.packing.backwards) if self.reverse else a
        steps = []
        for rows in a.split(self.packing.batch_sizes.tolist()):
            states = step(rows, *[state[:len(rows)] for state in states])
            steps.append(states)
        joined = [cat(series) for series in zip(*steps, strict=True)]
        y = take_rows(joined[0], self.packing.backwards) if self.reverse else joined[0]
        return y, *[series[self.packing.last] for series in joined]


def _at(x: Any, rows: Any) -> Any:
    return x[rows if isinstance(rows, slice) else array_module(x).asarray(rows)]


class RNN(Recurrent):
    """h[t] = f(x[t]·w_ihᵀ + b_ih + h[t−1]·w_hhᵀ + b_hh), f = tanh or max(·, 0). Elman 1990."""

    def __init__(self, packing: Packing, reverse: bool, relu: bool) -> None:
        super().__init__(packing, reverse)
        self.relu = relu

    def forward(self, x, w_ih, w_hh, b_ih, b_hh, h0):
        kernels = kernels_for(x)
        y = kernels.matmul(self.turned(x), w_ih.T, None if b_ih is None else b_ih + b_hh)
        kernels.rnn_sequence(y, h0, w_hh, self.relu, self.packing.batch_sizes)
        self.save(x, w_ih, w_hh, b_ih, b_hh, h0, y)
        return self.turned(y), self.last(y)

    def through_time(self, saved, gy, gh):
        *_, w_hh, _, _, _, y = saved
        ga, gh0 = kernels_for(gy).rnn_sequence_grad(gy, gh, y, w_hh, self.relu, self.packing.batch_sizes)
        return *self.of_weights(saved, y, ga, ga), gh0

    def by_steps(self, x, w_ih, w_hh, b_ih, b_hh, h0):
        def step(a, h):
            a = a + linear(h, w_hh, b_hh)
            return a.relu() if self.relu else a.tanh(),

        return self.unrolled(step, linear(x, w_ih, b_ih), h0)


class LSTM(Recurrent):
    """i, f, o = σ(aᵢ), σ(a_f), σ(aₒ) and g = tanh(a_g) of a = x[t]·w_ihᵀ + b_ih + h[t−1]·w_hhᵀ + b_hh, and then

    c[t] = f·c[t−1] + i·g,  h[t] = o·tanh(c[t]), or w_hr of that. Hochreiter & Schmidhuber 1997; Gers et al. 2000; the
    projection: Sak et al. 2014.
    """

    def forward(self, x, w_ih, w_hh, b_ih, b_hh, h0, c0, w_hr):
        kernels = kernels_for(x)
        gates = kernels.matmul(self.turned(x), w_ih.T, None if b_ih is None else b_ih + b_hh)
        y, cells = kernels.lstm_sequence(gates, h0, c0, w_hh, w_hr, self.packing.batch_sizes)
        self.save(x, w_ih, w_hh, b_ih, b_hh, h0, c0, w_hr, gates, y, cells)
        return self.turned(y), self.last(y), self.last(cells)

    def through_time(self, saved, gy, gh, gc):
        _, _, w_hh, _, _, _, c0, w_hr, gates, y, cells = saved
        ga, gh0, gc0, gw_hr = kernels_for(gy).lstm_sequence_grad(gy, gh, gc, gates, c0, cells, w_hh, w_hr,
                                                                 self.packing.batch_sizes)
        return *self.of_weights(saved, y, ga, ga), gh0, gc0, gw_hr

    def by_steps(self, x, w_ih, w_hh, b_ih, b_hh, h0, c0, w_hr):
        def step(a, h, c):
            i, f, g, o = (a + linear(h, w_hh, b_hh)).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            return h if w_hr is None else linear(h, w_hr), c

        return self.unrolled(step, linear(x, w_ih, b_ih), h0, c0)


class GRU(Recurrent):
    """r, z = σ(aᵣ + bᵣ), σ(a_z + b_z) and n = tanh(aₙ + r·bₙ) of a = x[t]·w_ihᵀ + b_ih, b = h[t−1]·w_hhᵀ + b_hh;

    h[t] = (1 − z)·n + z·h[t−1]. Cho et al. 2014, with r after the product as cuDNN and PyTorch have it.
    """

    def forward(self, x, w_ih, w_hh, b_ih, b_hh, h0):
        kernels = kernels_for(x)
        gates = kernels.matmul(self.turned(x), w_ih.T, b_ih)
        y, seen = kernels.gru_sequence(gates, h0, w_hh, b_hh, self.packing.batch_sizes)
        self.save(x, w_ih, w_hh, b_ih, b_hh, h0, gates, y, seen)
        return self.turned(y), self.last(y)

    def through_time(self, saved, gy, gh):
        _, _, w_hh, _, _, h0, gates, y, seen = saved
        ga_x, ga_h, gh0 = kernels_for(gy).gru_sequence_grad(gy, gh, gates, seen, h0, y, w_hh, self.packing.batch_sizes)
        return *self.of_weights(saved, y, ga_x, ga_h), gh0

    def by_steps(self, x, w_ih, w_hh, b_ih, b_hh, h0):
        def step(a, h):
            (xr, xz, xn), (hr, hz, hn) = a.chunk(3, 1), linear(h, w_hh, b_hh).chunk(3, 1)
            z, n = (xz + hz).sigmoid(), (xn + (xr + hr).sigmoid() * hn).tanh()
            return n + z * (h - n),

        return self.unrolled(step, linear(x, w_ih, b_ih), h0)


_KINDS: dict[str, Callable[..., Recurrent]] = {
    "RNN_TANH": partial(RNN, relu=False), "RNN_RELU": partial(RNN, relu=True), "LSTM": LSTM, "GRU": GRU}


def recurrent(mode: str, packing: Packing, reverse: bool, x: Tensor, states: Sequence[Tensor], w_ih: Tensor,
              w_hh: Tensor, b_ih: Tensor | None, b_hh: Tensor | None,
              w_hr: Tensor | None = None) -> tuple[Tensor, ...]:
    """One layer in one direction: all h (R, P), and the last states, from the rows x (R, I) of a packed sequence.

    mode is "RNN_TANH", "RNN_RELU", "LSTM" or "GRU" with G = 1, 1, 4 or 3 gates; states are h0 (N, P) and for an LSTM c0
    (N, H); w_ih (G·H, I), w_hh (G·H, P), biases (G·H), w_hr (P, H). 16-bit floats are computed in float32.
    """
    inputs: list[Any] = [x, w_ih, w_hh, b_ih, b_hh, *states]
    if mode == "LSTM":
        inputs.append(w_hr)
    operation = _KINDS[mode](packing, reverse)
    if x.dtype.itemsize > 2:
        return operation(*inputs)
    return tuple([y.to(x.dtype) for y in operation(*[None if t is None else t.to(dtypes.float32) for t in inputs])])
