"""Optimiser steps: all of one in a single pass over the parameter, its gradient and its state."""

from math import sqrt

from ..contract import Array
from .module import THREADS, contiguous, for_floats, launch, spread

_FILE = "optimisers.cu"


@for_floats
def sgd_step(p: Array, g: Array, velocity: Array | None, lr: float, momentum: float, dampening: float,
             weight_decay: float, nesterov: bool, maximize: bool, first: bool) -> None:
    launch(_FILE, "sgd_step", spread(p.size), (THREADS,), p, contiguous(g), velocity, p.size, float(lr),
           float(momentum), float(dampening), float(weight_decay), nesterov, maximize, first)


@for_floats
def adam_step(p: Array, g: Array, m: Array, v: Array, v_max: Array | None, step: int, lr: float, beta1: float,
              beta2: float, eps: float, weight_decay: float, decoupled: bool, maximize: bool) -> None:
    decay = 1 - lr * weight_decay if decoupled else 1.0
    launch(_FILE, "adam_step", spread(p.size), (THREADS,), p, contiguous(g), m, v, v_max, p.size,
           lr / (1 - beta1 ** step), float(beta1), float(beta2), float(eps), 0.0 if decoupled else float(weight_decay),
           decay, sqrt(1 - beta2 ** step), maximize)
