"""Kernels of softmax and cross-entropy beside PyTorch's."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import sampled_from
from kernels_util import BATCHES, INF, NAN, SEEDS, close, gradients, normal, same, variable

from minicnn.kernels import cpu, reference

SIZES = sampled_from([1, 2, 3, 7, 33])


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@given(BATCHES, SIZES, SIZES, sampled_from([1, 100]), SEEDS)
def test_softmax(kernels, name, m, k, length, scale, seed):
    x, gy = scale * normal(seed, m, k, length), normal(seed + 1, m, k, length)
    t = variable(x)
    expected = getattr(torch, name)(t, 1)
    y = getattr(kernels, name)(x)
    close(y, expected)
    close(getattr(kernels, name + "_grad")(gy, y), gradients(expected, gy, t)[0])
    if kernels is cpu and scale == 1:
        same(name, x)
        same(name + "_grad", gy, y)


@given(BATCHES, SIZES, sampled_from([1, 100]), SEEDS)
def test_cross_entropy(kernels, n, k, scale, seed):
    x, gy, target = scale * normal(seed, n, k), normal(seed + 1, n), np.random.default_rng(seed).integers(0, k, n)
    target[::3] = [-100, k, -1][seed % 3]
    t = variable(x)
    known = torch.from_numpy(np.where((target >= 0) & (target < k), target, -100))
    expected = F.cross_entropy(t, known, reduction="none")
    loss, p = kernels.cross_entropy(x, target)
    close((loss, p), (expected, torch.softmax(t, 1)))
    close(kernels.cross_entropy_grad(gy, p, target), gradients(expected, gy, t)[0])
    if kernels is cpu and scale == 1:
        same("cross_entropy", x, target)
        same("cross_entropy_grad", gy, p, target)


def test_large_softmaxes_agree():
    x, gy, target = normal(0, 700, 101), normal(1, 700), np.random.default_rng(0).integers(-1, 101, 700)
    for name in ("softmax", "log_softmax"):
        for cut in (x[:, :, None], x.reshape(2, 101, 350)):
            same(name, cut)
            same(name + "_grad", normal(2, *cut.shape), getattr(reference, name)(cut))
    same("cross_entropy", x, target)
    same("cross_entropy_grad", gy, reference.cross_entropy(x, target)[1], target)


def test_softmax_of_special_values(kernels):
    x = np.array([[NAN, 1, 2], [INF, 1, 2], [-INF, 1, 2], [-INF, -INF, -INF], [1e30, -1e30, 0]])
    with np.errstate(invalid="ignore"):
        for name in ("softmax", "log_softmax"):
            close(getattr(kernels, name)(x[:, :, None])[:, :, 0], getattr(torch, name)(torch.from_numpy(x), 1))
        target = np.array([1, 1, 0, 2, 1])
        close(kernels.cross_entropy(x, target)[0],
              F.cross_entropy(torch.from_numpy(x), torch.from_numpy(target), reduction="none"))
