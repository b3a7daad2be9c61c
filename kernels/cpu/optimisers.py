"""Optimiser steps: everything an update does, in one pass over the parameter and its state."""

from math import sqrt

import numpy as np

from .. import reference
from ..contract import Arrays
from .support import CHUNK, inlined
from .threads import jobs_of, threaded


@inlined
def _sgd(p, g, velocity, lr, momentum, dampening, weight_decay, nesterov, maximize, first):
    real = p.dtype.type
    lr, momentum, fresh, weight_decay = real(lr), real(momentum), real(1 - dampening), real(weight_decay)
    for i in range(p.size):
        d = -g[i] if maximize else g[i]
        if weight_decay:  # 0·∞ would be NaN
            d += weight_decay * p[i]
        if velocity is not None:
            v = d if first else momentum * velocity[i] + fresh * d
            velocity[i] = v
            d = d + momentum * v if nesterov else v
        p[i] -= lr * d


@threaded
def _sgd_all(thread, p, g, velocity, lr, momentum, dampening, weight_decay, nesterov, maximize, first):
    for job in jobs_of(thread, (p.size + CHUNK - 1) // CHUNK):
        start, stop = job * CHUNK, (job + 1) * CHUNK
        v = None if velocity is None else velocity[start:stop]
        _sgd(p[start:stop], g[start:stop], v, lr, momentum, dampening, weight_decay, nesterov, maximize, first)


@inlined
def _adam(p, g, m, v, v_max, rate, beta1, beta2, root, eps, weight_decay, shrink, maximize):
    real = p.dtype.type
    fresh1, fresh2, beta1, beta2 = real(1 - beta1), real(1 - beta2), real(beta1), real(beta2)
    rate, root, eps, weight_decay, shrink = real(rate), real(root), real(eps), real(weight_decay), real(shrink)
    for i in range(p.size):
        kept = p[i] * shrink
        d = -g[i] if maximize else g[i]
        if weight_decay:
            d += weight_decay * p[i]
        m[i] = beta1 * m[i] + fresh1 * d
        second = beta2 * v[i] + fresh2 * d * d
        v[i] = second
        if v_max is not None:
            second = v_max[i] if v_max[i] >= second else second
            v_max[i] = second
        p[i] = kept - rate * m[i] / (np.sqrt(second) * root + eps)


@threaded
def _adam_all(thread, p, g, m, v, v_max, rate, beta1, beta2, root, eps, weight_decay, shrink, maximize):
    for job in jobs_of(thread, (p.size + CHUNK - 1) // CHUNK):
        a, b = job * CHUNK, (job + 1) * CHUNK
        largest = None if v_max is None else v_max[a:b]
        _adam(p[a:b], g[a:b], m[a:b], v[a:b], largest, rate, beta1, beta2, root, eps, weight_decay, shrink,
              maximize)


def sgd_step(ps: Arrays, gs: Arrays, velocities: Arrays | None, lr: float, momentum: float, dampening: float,
             weight_decay: float, nesterov: bool, maximize: bool, first: bool) -> None:
    if ps[0].dtype not in (np.float32, np.float64):
        return reference.sgd_step(ps, gs, velocities, lr, momentum, dampening, weight_decay, nesterov, maximize, first)
    for p, g, velocity in zip(ps, gs, velocities or (None,) * len(ps), strict=True):
        _sgd_all(p.size, p.reshape(-1), g.ravel(), None if velocity is None else velocity.reshape(-1), float(lr),
                 float(momentum), float(dampening), float(weight_decay), bool(nesterov), bool(maximize), bool(first))


def adam_step(ps: Arrays, gs: Arrays, ms: Arrays, vs: Arrays, v_maxes: Arrays | None, step: int, lr: float,
              beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool, maximize: bool) -> None:
    if ps[0].dtype not in (np.float32, np.float64):
        return reference.adam_step(ps, gs, ms, vs, v_maxes, step, lr, beta1, beta2, eps, weight_decay, decoupled,
                                   maximize)
    decay, shrink = (0.0, 1 - lr * weight_decay) if decoupled else (weight_decay, 1.0)
    rate, root = lr / (1 - beta1 ** step), 1 / sqrt(1 - beta2 ** step)
    for p, g, m, v, v_max in zip(ps, gs, ms, vs, v_maxes or (None,) * len(ps), strict=True):
        _adam_all(p.size, p.reshape(-1), g.ravel(), m.reshape(-1), v.reshape(-1),
                  None if v_max is None else v_max.reshape(-1), rate, float(beta1), float(beta2), root, float(eps),
                  float(decay), float(shrink), bool(maximize))
