"""Connectionist temporal classification: a job is one sequence of the batch, frame by frame; sums run in float64."""

from math import exp as any_exp
from math import inf, log

import numpy as np

from ..contract import Array
from .exponential import exp
from .support import for_floats, inlined
from .threads import jobs_of, threaded

CELL = 32  # elements that are gone through elsewhere in the time of one of alpha


@inlined
def _one_step(ways, labels, s, back):
    """log Σ e^ways over the states s, s − back and s − 2·back, as far as there is a step from them to s."""
    a = ways[s]
    b = ways[s - back] if 0 <= s - back < ways.size else -inf
    c = -inf
    if 0 <= s - 2 * back < ways.size and labels[s - 2 * back] != labels[s]:
        c = ways[s - 2 * back]
    top = max(a, b, c)
    if top == -inf:
        return top
    return top + log(exp(a - top) + exp(b - top) + exp(c - top))


@inlined
def _forward(x, labels, alpha):
    ways = np.full(labels.size, -inf)
    ways[0] = 0
    for t in range(x.shape[0]):
        for s in range(labels.size):
            alpha[t, s] = _one_step(ways, labels, s, 1) + x[t, labels[s]]
        ways = alpha[t]
    return -_one_step(ways, labels, labels.size - 1, 1)


@inlined
def _backward(gy, x, labels, alpha, gx):
    ways, beta, difference = np.full(labels.size, -inf), np.empty(labels.size), np.empty(x.shape[1])
    ways[-1] = 0
    total = _one_step(alpha[x.shape[0] - 1], labels, labels.size - 1, 1)
    for t in range(x.shape[0] - 1, -1, -1):
        for c in range(x.shape[1]):
            difference[c] = any_exp(x[t, c])
        for s in range(labels.size):
            beta[s] = _one_step(ways, labels, s, -1)
            difference[labels[s]] -= exp(alpha[t, s] + beta[s] - total)
        for s in range(labels.size):
            ways[s] = beta[s] + x[t, labels[s]]
        for c in range(x.shape[1]):
            gx[t, c] = gy * difference[c]


@threaded
def _forward_all(thread, x, states, frames, counts, loss, alpha):
    for n in jobs_of(thread, loss.size):
        loss[n] = _forward(x[:frames[n], n], states[n, :counts[n]], alpha[n, :, :counts[n]])


@threaded
def _backward_all(thread, gy, x, states, frames, counts, alpha, gx):
    for n in jobs_of(thread, gy.size):
        if gy[n] != 0:
            _backward(gy[n], x[:frames[n], n], states[n, :counts[n]], alpha[n], gx[:, n])


@for_floats
def ctc(x: Array, states: Array, frames: Array, counts: Array) -> tuple[Array, Array]:
    loss, alpha = np.empty(x.shape[1], x.dtype), np.full((x.shape[1], len(x), states.shape[1]), -inf)
    _forward_all(CELL * alpha.size, np.ascontiguousarray(x), states, frames, counts, loss, alpha)
    return loss, alpha


@for_floats
def ctc_grad(gy: Array, x: Array, states: Array, frames: Array, counts: Array, alpha: Array) -> Array:
    gx = np.zeros(x.shape, x.dtype)
    _backward_all(CELL * alpha.size, np.ascontiguousarray(gy), np.ascontiguousarray(x), states, frames, counts, alpha,
                  gx)
    return gx
