"""Kernels of optimiser steps beside PyTorch's optimisers, many parameters at a time."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.strategies import booleans, sampled_from
from kernels_util import NAN, SEEDS, close, normal, variable

Arrays = tuple[np.ndarray, ...]
SHAPES = sampled_from([((5,),), ((3, 4), (0,), (7, 1, 2)), ((2,), (60, 70), ()), ((3,),) * 70])
INFINITE = np.array([np.inf, -np.inf, 1.0])  # a mask


def drawn(shapes: tuple[tuple[int, ...], ...], seed: int) -> Arrays:
    return tuple([np.asarray(normal(seed + 100 * i, *shape)) for i, shape in enumerate(shapes)])


def cast(arrays: Arrays, dtype: type) -> Arrays:
    return tuple([a.astype(dtype) for a in arrays])


def run_steps(step: Callable, gradients: list[Arrays]) -> None:
    for i, gs in enumerate(gradients):
        kept = cast(gs, gs[0].dtype)
        step(i, gs)
        for g, before in zip(gs, kept, strict=True):
            np.testing.assert_array_equal(g, before)  # gradients are never written to


def by_pytorch(make: Callable, ps: Arrays, gradients: list[Arrays], *states: str) -> tuple[Arrays, ...]:
    """The parameters after a step for each of the gradients, and what the optimiser keeps of them."""
    ts = [variable(p) for p in ps]
    optimiser = make(ts)
    for gs in gradients:
        for t, g in zip(ts, gs, strict=True):
            t.grad = torch.from_numpy(g)
        optimiser.step()
    return tuple([t.detach().numpy() for t in ts]), *(tuple([optimiser.state[t][name].numpy() for t in ts])
                                                      for name in states)


@given(SHAPES, sampled_from([0.0, 0.9]), sampled_from([0.0, 0.3]), sampled_from([0.0, 0.1]), booleans(), booleans(),
       SEEDS)
def test_sgd_step(kernels, shapes, momentum, dampening, weight_decay, nesterov, maximize, seed):
    nesterov, dampening = nesterov and momentum > 0, 0.0 if nesterov else dampening
    ps, gradients = drawn(shapes, seed), [drawn(shapes, seed + i) for i in range(1, 5)]
    options = momentum, dampening, weight_decay, nesterov
    expected = by_pytorch(lambda ts: torch.optim.SGD(ts, 0.05, *options, maximize=maximize), ps, gradients,
                          *["momentum_buffer"] * (momentum > 0))
    for dtype in (np.float64, np.float32):
        own = cast(ps, dtype)  # the first step reads no velocity:
        velocities = tuple([np.full(shape, NAN, dtype) for shape in shapes]) if momentum else None
        run_steps(lambda i, gs, own=own, velocities=velocities: kernels.sgd_step(own, gs, velocities, 0.05, *options,
                                                                                 maximize, i == 0),
                  [cast(gs, dtype) for gs in gradients])
        for found, wanted in zip((own, velocities) if momentum else (own,), expected, strict=True):
            close(found, cast(wanted, dtype))


@given(SHAPES, booleans(), sampled_from([0.0, 0.1]), booleans(), booleans(), SEEDS)
def test_adam_step(kernels, shapes, amsgrad, weight_decay, decoupled, maximize, seed):
    ps, gradients = drawn(shapes, seed), [drawn(shapes, seed + i) for i in range(1, 6)]
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    expected = by_pytorch(lambda ts: kind(ts, 0.05, (0.8, 0.95), 1e-6, weight_decay, amsgrad, maximize=maximize), ps,
                          gradients, "exp_avg", "exp_avg_sq", *["max_exp_avg_sq"] * amsgrad)
    for dtype in (np.float64, np.float32):
        own = cast(ps, dtype)
        ms, vs, largest = (tuple([np.zeros(shape, dtype) for shape in shapes]) for _ in range(3))
        state = ms, vs, largest if amsgrad else None
        run_steps(lambda i, gs, own=own, state=state: kernels.adam_step(own, gs, *state, i + 1, 0.05, 0.8, 0.95, 1e-6,
                                                                        weight_decay, decoupled, maximize),
                  [cast(gs, dtype) for gs in gradients])
        for found, wanted in zip((own, ms, vs, largest) if amsgrad else (own, ms, vs), expected, strict=True):
            close(found, cast(wanted, dtype))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_leaves_infinite_parameters_where_they_are(kernels, momentum):
    """They are no NaN: without decay there is nothing to multiply them by."""
    own, velocities = (INFINITE.copy(),), (np.zeros(3),) if momentum else None
    gradients = [(normal(i, 3),) for i in range(2)]
    run_steps(lambda i, gs: kernels.sgd_step(own, gs, velocities, 0.05, momentum, 0.0, 0.0, False, False, i == 0),
              gradients)
    close(own, by_pytorch(lambda ts: torch.optim.SGD(ts, 0.05, momentum), (INFINITE,), gradients)[0])


@pytest.mark.parametrize("kind, weight_decay", [(torch.optim.Adam, 0.0), (torch.optim.AdamW, 0.1)])
def test_adam_leaves_infinite_parameters_where_they_are(kernels, kind, weight_decay):
    own, ms, vs = (INFINITE.copy(),), (np.zeros(3),), (np.zeros(3),)
    gradients = [(normal(i, 3),) for i in range(2)]
    run_steps(lambda i, gs: kernels.adam_step(own, gs, ms, vs, None, i + 1, 0.05, 0.9, 0.99, 1e-6, weight_decay,
                                              kind is torch.optim.AdamW, False), gradients)
    close(own, by_pytorch(lambda ts: kind(ts, 0.05, (0.9, 0.99), 1e-6, weight_decay), (INFINITE,), gradients)[0])
