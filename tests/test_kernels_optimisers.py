"""Kernels of optimiser steps beside PyTorch's optimisers."""

import numpy as np
import torch
from hypothesis import given
from hypothesis.strategies import booleans, sampled_from
from kernels_util import NAN, SEEDS, close, normal, variable


def run_steps(step, arrays: list[np.ndarray], gradients: list[np.ndarray]) -> None:
    for i, g in enumerate(gradients):
        kept = g.copy()
        step(i, g, *arrays)
        np.testing.assert_array_equal(g, kept)  # gradients are never written to


OPTIMISED = sampled_from([(5,), (3, 4), (0,), (200, 201)])


@given(OPTIMISED, sampled_from([0.0, 0.9]), sampled_from([0.0, 0.3]), sampled_from([0.0, 0.1]), booleans(), booleans(),
       SEEDS)
def test_sgd_step(kernels, shape, momentum, dampening, weight_decay, nesterov, maximize, seed):
    nesterov, dampening = nesterov and momentum > 0, 0.0 if nesterov else dampening
    p = normal(seed, *shape)
    grads = [normal(seed + i, *shape) for i in range(1, 5)]
    t = variable(p)
    optimiser = torch.optim.SGD([t], 0.05, momentum, dampening, weight_decay, nesterov, maximize=maximize)
    for g in grads:
        t.grad = torch.from_numpy(g)
        optimiser.step()
    for dtype in (np.float64, np.float32):
        arrays = [p.astype(dtype), np.full(shape, NAN, dtype) if momentum else None]  # the first step reads no velocity
        options = momentum, dampening, weight_decay, nesterov, maximize
        run_steps(lambda i, g, p, v, options=options: kernels.sgd_step(p, g, v, 0.05, *options, i == 0),
                  arrays, [g.astype(dtype) for g in grads])
        close(arrays[0], t.detach().numpy().astype(dtype))
        if momentum:
            close(arrays[1], optimiser.state[t]["momentum_buffer"].numpy().astype(dtype))


@given(OPTIMISED, booleans(), sampled_from([0.0, 0.1]), booleans(), booleans(), SEEDS)
def test_adam_step(kernels, shape, amsgrad, weight_decay, decoupled, maximize, seed):
    p = normal(seed, *shape)
    grads = [normal(seed + i, *shape) / i for i in range(1, 6)]
    t = variable(p)
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    optimiser = kind([t], 0.05, (0.8, 0.95), 1e-6, weight_decay, amsgrad, maximize=maximize)
    for g in grads:
        t.grad = torch.from_numpy(g)
        optimiser.step()
    for dtype in (np.float64, np.float32):
        m, v, largest = (np.zeros(shape, dtype) for _ in range(3))
        arrays, options = [p.astype(dtype), m, v, largest if amsgrad else None], (weight_decay, decoupled, maximize)
        run_steps(lambda i, g, p, *state, options=options: kernels.adam_step(p, g, *state, i + 1, 0.05, 0.8, 0.95, 1e-6,
                                                                             *options),
                  arrays, [g.astype(dtype) for g in grads])
        state = optimiser.state[t]
        expected = [t.detach(), state["exp_avg"], state["exp_avg_sq"], *([state["max_exp_avg_sq"]] if amsgrad else [])]
        close(tuple(a for a in arrays if a is not None), tuple(e.numpy().astype(dtype) for e in expected))
