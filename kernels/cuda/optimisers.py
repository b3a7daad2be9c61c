"""Optimiser steps: all of one in a single pass over the parameters, their gradients and their state, in one launch."""

from math import sqrt

from ..contract import Arrays
from .module import TABLE, THREADS, Table, contiguous, for_floats, launch

_PART = 2048  # elements of a block, as in optimisers.cu


def _launch(kernel: str, arrays: list[Arrays | None], *numbers: float) -> None:
    """kernel(tables, sizes, numbers), so many parameters at a time as a table holds."""
    for start in range(0, len(arrays[0] or ()), TABLE):
        tables = [Table((a or ())[start:start + TABLE]) for a in arrays]
        sizes = [p.size for p in tables[0]]
        launch("optimisers.cu", kernel, (sum([-(-size // _PART) for size in sizes]),), (THREADS,), *tables,
               (*sizes, *[0] * (TABLE - len(sizes))), *numbers)


@for_floats
def sgd_step(ps: Arrays, gs: Arrays, velocities: Arrays | None, lr: float, momentum: float, dampening: float,
             weight_decay: float, nesterov: bool, maximize: bool, first: bool) -> None:
    _launch("sgd_step", [ps, tuple(map(contiguous, gs)), velocities], float(lr), float(momentum), float(dampening),
            float(weight_decay), nesterov, maximize, first)


@for_floats
def adam_step(ps: Arrays, gs: Arrays, ms: Arrays, vs: Arrays, v_maxes: Arrays | None, step: int, lr: float,
              beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool, maximize: bool) -> None:
    decay = 1 - lr * weight_decay if decoupled else 1.0
    _launch("adam_step", [ps, tuple(map(contiguous, gs)), ms, vs, v_maxes], lr / (1 - beta1 ** step), float(beta1),
            float(beta2), float(eps), 0.0 if decoupled else float(weight_decay), decay, sqrt(1 - beta2 ** step),
            maximize)
