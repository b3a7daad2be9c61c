"""Kernels of single elements beside PyTorch's: values, gradients, special values, the last places."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis.strategies import sampled_from
from kernels_util import ACTIVATIONS, GRADIENT, INF, NAN, SEEDS, close, gradients, normal, same, variable

from minicnn.kernels import cpu

AT_NAN = {"elu": NAN, "hardtanh": 1, "hardswish": 1, "hardshrink": 1, "softshrink": 1, "threshold": 1,
          "hardsigmoid": 0}  # gx / gy
SPECIAL = [NAN, INF, -INF, 0.0, -0.0, 1e-30, -1e-30, 90.0, -90.0, 800.0, -800.0]


@pytest.mark.parametrize("name", ACTIVATIONS)
@given(sampled_from([(), (0, 3), (5,), (3, 7, 2), (70, 500)]), SEEDS)
def test_activations(kernels, name, shape, seed):
    function, parameters, saves = ACTIVATIONS[name]
    x, gy = np.asarray(3 * normal(seed, *shape)), np.asarray(normal(seed + 1, *shape))
    x.reshape(-1)[:len(SPECIAL)] = SPECIAL[:x.size]
    t = variable(x)
    expected = function(t)
    with np.errstate(invalid="ignore"):
        y = np.asarray(getattr(kernels, name)(x, *parameters))
        gradient = getattr(kernels, GRADIENT.get(name, name + "_grad"))
        gx = np.asarray(gradient(gy, y if saves == "y" else x, *parameters))
        constant = np.broadcast_to(gy[(0,) * gy.ndim] if gy.size else 0.5, gy.shape)  # as the gradient of a sum is
        np.testing.assert_array_equal(gradient(constant, y if saves == "y" else x, *parameters),
                                      gradient(constant.copy(), y if saves == "y" else x, *parameters))
    close(y, expected)
    expected_gx = gradients(expected, gy, t)[0].numpy()
    if name in AT_NAN:  # where PyTorch's gradient depends on the place in the array
        expected_gx = np.where(np.isnan(x), gy * AT_NAN[name], expected_gx)
    close(gx, expected_gx)
    if kernels is cpu:
        same(name, x, *parameters)
        same(GRADIENT.get(name, name + "_grad"), gy, y if saves == "y" else x, *parameters)


@pytest.mark.parametrize("shape", [(0, 3), (5,), (70, 500)])
def test_slopes_of_their_own(kernels, shape):
    x, gy, w = normal(0, *shape), normal(1, *shape), normal(2, *shape)
    x.reshape(-1)[:len(SPECIAL)] = SPECIAL[:x.size]
    with np.errstate(invalid="ignore"):
        close(kernels.prelu(x, w), np.where(x > 0, x, w * x))
        for g in (gy, np.broadcast_to(0.3, shape)):
            close(kernels.prelu_grad(g, x, w), np.where(x > 0, g, w * g))
            close(kernels.prelu_weight_grad(g, x), np.where(x > 0, 0, x * g))
    same("prelu", x, w)
    same("prelu_grad", gy, x, w)
    same("prelu_weight_grad", gy, x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exponentials_are_good_to_the_last_places(dtype):
    """Relative to their own size: near 0, where eˣ − 1 cancels, and down to the subnormal numbers."""
    lowest = -103 if dtype == np.float32 else -744
    tiny = 10.0 ** np.linspace(-35, 0, 20001)
    x = np.concatenate([np.linspace(lowest, -lowest, 400001), np.linspace(-3, 3, 200001), tiny, -tiny]).astype(dtype)
    exact, negative = x.astype(np.longdouble), x[x <= 0]
    with np.errstate(over="ignore", under="ignore"):
        pairs = [(cpu.sigmoid(x), 1 / (1 + np.exp(-exact))), (cpu.tanh(x), np.tanh(exact)),
                 (cpu.elu(negative, 1.0, 1.0, 1.0), np.expm1(exact[x <= 0])),
                 (cpu.elu_grad(np.ones_like(negative), negative, 1.0, 1.0, 1.0), np.exp(exact[x <= 0]))]
        for actual, expected in pairs:
            unit = np.spacing(np.abs(expected.astype(dtype)))
            assert (np.abs(actual - expected) / unit).max() < 3
        softplus = np.maximum(exact, 0) + np.log1p(np.exp(-abs(exact)))  # of an exponential and a logarithm
        assert (np.abs(cpu.softplus(x, 1.0, INF) - softplus) / np.spacing(softplus.astype(dtype))).max() < 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["erf", "erfc"])
def test_error_functions_are_good_to_the_last_places(kernels, name, dtype):
    """Also where erfc is tiny: the C library's, one number at a time, is as exact as float64 can be."""
    top = 9 if dtype == np.float32 else 26
    x = np.concatenate([np.linspace(-top, top, 20000), np.linspace(-1, 1, 5000), 10.0 ** np.linspace(-30, 0, 500)])
    x = x.astype(dtype)
    exact = np.array([getattr(math, name)(float(v)) for v in x])
    y = getattr(kernels, name)(x)
    assert y.dtype == dtype and np.abs((y - exact) / exact).max() < 8 * np.finfo(dtype).eps
    special = np.array([NAN, INF, -INF, 0.0, -0.0, 40.0, -40.0], dtype)
    close(getattr(kernels, name)(special), getattr(torch, name)(torch.from_numpy(special)))
    same(name, normal(0, 70, 500))


@pytest.mark.parametrize("n", [0, 5, 70_001])
def test_logistic_loss(kernels, n):
    x, t, gy = (30 * normal(seed, n) for seed in range(3))
    x[:4], t = [0, -0.0, INF, -INF][:n], np.abs(t) % 1
    a = variable(x)
    y = F.binary_cross_entropy_with_logits(a, torch.from_numpy(t), reduction="none")
    with np.errstate(invalid="ignore"):
        close(kernels.logistic_loss(x, t), y)
        close(kernels.logistic_loss_grad(gy, x, t), *gradients(y, gy, a))
    same("logistic_loss", x, t)
    same("logistic_loss_grad", gy, x, t)
