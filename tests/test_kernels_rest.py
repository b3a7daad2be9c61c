"""Pooling, normalisation, activations, softmax, dropout, optimisers: reference against PyTorch, cpu against both."""

import inspect
import math
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.strategies import booleans, integers, sampled_from

from minicnn.kernels import contract, cpu, reference
from minicnn.kernels.cpu import max_pooling
from minicnn.kernels.reference import layers
from minicnn.kernels.contract import Windows

SEEDS = integers(0, 2 ** 32 - 1)
SIZES = sampled_from([1, 2, 3, 7, 33])
BATCHES = sampled_from([0, 1, 2, 5])
NAN, INF = float("nan"), float("inf")
TOLERANCE = {np.dtype(np.float64): 1e-10, np.dtype(np.float32): 2e-5, np.dtype(np.float16): 1e-2}


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def close(actual, expected, tolerance: float | None = None) -> None:
    """Equal type and shape, NaN and inf in the same places, else within tolerance of the largest element."""
    if isinstance(expected, tuple):
        for a, e in zip(actual, expected, strict=True):
            close(a, e, tolerance)
        return
    expected = expected.detach().numpy() if isinstance(expected, torch.Tensor) else expected
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    tolerance = TOLERANCE.get(actual.dtype, 0) if tolerance is None else tolerance
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=1)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * float(scale))


def cast(value, dtype):
    return value.astype(dtype) if isinstance(value, np.ndarray) and value.dtype == np.float64 else value


def same(name: str, *arguments) -> None:
    """cpu equals reference, in float64, in float32, and where it hands the work to it, in float16."""
    for dtype in (np.float64, np.float32, np.float16):
        own = [cast(a, dtype) for a in arguments]
        with np.errstate(invalid="ignore", over="ignore"):
            close(getattr(cpu, name)(*own), getattr(reference, name)(*own))


def gradients(y: torch.Tensor, gy: np.ndarray, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(y, inputs, torch.from_numpy(gy))


def variable(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x.copy()).requires_grad_()


OWN = [name for name in contract.KERNELS if "conv2d" not in name and name not in ("im2col", "col2im", "matmul")]


@pytest.mark.parametrize("name", OWN)
def test_signatures(kernels: ModuleType, name: str):
    assert inspect.signature(getattr(kernels, name)) == inspect.signature(getattr(contract, name))


# -- pooling --------------------------------------------------------------------------------------------------------

def sliding(n: int, k: int, s: int, p: int, d: int, ceil: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts, stops, and extents with padding, of the windows along one axis, as PyTorch places them."""
    reach = d * (k - 1) + 1
    count = (n + 2 * p - reach + (s - 1 if ceil else 0)) // s + 1
    count -= ceil and (count - 1) * s >= n + p  # a last window may not begin in the padding
    start = np.arange(count) * s - p
    extent = np.minimum(start + reach, n + p) - start
    return start + np.maximum(-(start // d), 0) * d, np.minimum(start + reach, n), extent


def adaptive(n: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    i = np.arange(count)
    return i * n // count, -((i + 1) * -n // count)


@st.composite
def pools(draw, dilated: bool):
    """(x shape, Windows, PyTorch's arguments, extents) of a sliding window that fits."""
    sides = []
    for _ in range(2):
        k, d = draw(integers(1, 4)), draw(integers(1, 3)) if dilated else 1
        p = draw(integers(0, k // 2))
        sides.append((draw(integers(max(1, d * (k - 1) + 1 - 2 * p), 14)), k, draw(integers(1, 4)), p, d))
    ceil = draw(booleans())
    axes = [sliding(*side, ceil) for side in sides]
    assume(all((start < stop).all() for start, stop, _ in axes))  # dilated windows may miss the image altogether
    (h, kh, sh, ph, dh), (w, kw, sw, pw, dw) = sides
    windows = Windows(axes[0][0], axes[0][1], axes[1][0], axes[1][1], (dh, dw))
    arguments = {"kernel_size": (kh, kw), "stride": (sh, sw), "padding": (ph, pw), "ceil_mode": ceil}
    arguments |= {"dilation": (dh, dw)} if dilated else {}
    return (draw(BATCHES), draw(integers(1, 3)), h, w), windows, arguments, (axes[0][2], axes[1][2])


def drawn_values(kind: str, seed: int, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "distinct":
        return rng.permutation(np.prod(shape)).reshape(shape).astype(np.float64)
    values = rng.integers(-1, 2, shape).astype(np.float64)  # ties everywhere
    if kind == "special":
        values = np.where(rng.random(shape) < 0.3, rng.choice([NAN, INF, -INF], shape), values)
    return values


@given(pools(dilated=True), sampled_from(["distinct", "ties", "special"]), SEEDS)
def test_max_pool2d(kernels, pool, kind, seed):
    shape, windows, arguments, _ = pool
    x = drawn_values(kind, seed, shape)
    for dtype in (np.float64, np.float32, np.float16, np.int64) if kind != "special" else (np.float64, np.float32):
        t = torch.from_numpy(x.astype(dtype))
        y, index = F.max_pool2d(t, **arguments, return_indices=True) if shape[0] else (None, None)
        actual = kernels.max_pool2d(x.astype(dtype), windows)
        if shape[0]:
            close(actual, (y, index), 0)
        else:
            assert actual[0].shape == actual[1].shape == (*shape[:2], len(windows.row_start), len(windows.col_start))


@given(pools(dilated=True), sampled_from(["distinct", "ties", "special"]), SEEDS, integers(0, 40), integers(1, 30))
def test_max_pool2d_of_many_planes_in_bands(kernels, pool, kind, seed, planes, room):
    """Planes that do not fill the last vector, bands of a few rows."""
    (_, _, *size), windows, arguments, _ = pool
    x = drawn_values(kind, seed, (1, planes, *size))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(max_pooling, "ROOM", room)
        for dtype in (np.float64, np.float32):
            actual = kernels.max_pool2d(x.astype(dtype), windows)
            if planes:
                close(actual, F.max_pool2d(torch.from_numpy(x.astype(dtype)), **arguments, return_indices=True), 0)
            assert actual[0].size == actual[1].size == planes * len(windows.row_start) * len(windows.col_start)


@given(pools(dilated=True), SEEDS)
def test_max_pool2d_backward(kernels, pool, seed):
    shape, windows, arguments, _ = pool
    x = drawn_values("distinct", seed, shape)
    y, index = kernels.max_pool2d(x, windows)
    gy = normal(seed, *y.shape)
    gx = kernels.pool_scatter(gy, index, shape)
    t = variable(x)
    if shape[0]:
        close(gx, gradients(F.max_pool2d(t, **arguments), gy, t)[0])
    v = normal(seed + 1, *shape)
    np.testing.assert_array_equal(kernels.pool_gather(x, index), y)
    assert np.vdot(gx, v) == pytest.approx(np.vdot(gy, kernels.pool_gather(v, index)))
    same("pool_scatter", gy, index, shape)
    same("pool_gather", v, index)


@given(pools(dilated=False), sampled_from(["with padding", "without", 3]), SEEDS)
def test_avg_pool2d(kernels, pool, count, seed):
    shape, windows, arguments, (rows, cols) = pool
    if count == "without":
        rows, cols = windows.row_stop - windows.row_start, windows.col_stop - windows.col_start
    divisor = np.outer(rows, cols).astype(float) if isinstance(count, str) else np.full((len(rows), len(cols)), 3.0)
    x, t = normal(seed, *shape), variable(normal(seed, *shape))
    y = F.avg_pool2d(t, **arguments, count_include_pad=count == "with padding",
                     divisor_override=count if isinstance(count, int) else None)
    close(kernels.avg_pool2d(x, windows, divisor), y)
    gy = normal(seed + 1, *y.shape)
    close(kernels.avg_pool2d_grad(gy, windows, divisor, shape), gradients(y, gy, t)[0])
    same("avg_pool2d", x, windows, divisor)
    same("avg_pool2d_grad", gy, windows, divisor, shape)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh"])
@pytest.mark.parametrize(("shape", "kernel"), [((2, 3, 6, 10), 2), ((5, 2, 4, 6), (2, 3)), ((0, 2, 4, 4), 2),
                                               ((3, 1, 5, 7), 2), ((40, 6, 28, 28), 2)])
def test_average_of_an_activation(kernels, name, shape, kernel):
    (kh, kw), (h, w) = np.broadcast_to(kernel, 2), shape[2:]
    rows, columns = np.arange(0, h - kh + 1, kh), np.arange(0, w - kw + 1, kw)
    windows = Windows(rows, rows + kh, columns, columns + kw)
    divisor = np.full((h // kh, w // kw), float(kh * kw))
    x = normal(1, *shape)
    t = torch.from_numpy(x).requires_grad_()
    a = getattr(torch, name)(t)
    y = F.avg_pool2d(a, kernel)
    gy = normal(2, *y.shape)
    close(kernels.activated_avg_pool2d(x, name, windows, divisor), (y, a))
    gx = kernels.activated_avg_pool2d_grad(gy, a.detach().numpy(), name, windows, divisor)
    close(gx, gradients(y, gy, t)[0])
    same("activated_avg_pool2d", x, name, windows, divisor)
    same("activated_avg_pool2d_grad", gy, x, name, windows, divisor)


@given(integers(1, 12), integers(1, 12), integers(1, 15), integers(1, 15), SEEDS)
def test_adaptive_pools(kernels, h, w, oh, ow, seed):
    windows = Windows(*adaptive(h, oh), *adaptive(w, ow))
    divisor = np.outer(windows.row_stop - windows.row_start, windows.col_stop - windows.col_start).astype(float)
    x = normal(seed, 2, 3, h, w)
    t = variable(x)
    y = F.adaptive_avg_pool2d(t, (oh, ow))
    close(kernels.avg_pool2d(x, windows, divisor), y)
    gy = normal(seed + 1, *y.shape)
    close(kernels.avg_pool2d_grad(gy, windows, divisor, x.shape), gradients(y, gy, t)[0])
    close(kernels.max_pool2d(x, windows), F.adaptive_max_pool2d(t, (oh, ow), return_indices=True), 0)


def test_windows_with_gaps_and_without_elements(kernels):
    x = normal(0, 2, 2, 9, 8)
    windows = Windows(np.array([0, 4, 9]), np.array([5, 4, 9]), np.array([1, 3]), np.array([8, 8]), (2, 3))
    y = kernels.avg_pool2d(x, windows, np.full((3, 2), 2.0))
    close(y[:, :, 0], np.stack([x[:, :, 0:5:2, c:8:3].sum((2, 3)) / 2 for c in (1, 3)], 2))
    assert not y[:, :, 1:].any()
    gy = normal(1, *y.shape)
    gx = kernels.avg_pool2d_grad(gy, windows, np.full((3, 2), 2.0), x.shape)
    assert np.vdot(gx, x) == pytest.approx(np.vdot(gy, y))


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_large_pools_agree(name):
    x = normal(0, 3, 24, 29, 31)
    windows = Windows(*sliding(29, 3, 2, 1, 1, False)[:2], *sliding(31, 3, 2, 1, 1, False)[:2])
    divisor = np.full((15, 16), 9.0)
    if name == "avg_pool2d":
        same(name, x, windows, divisor)
        same("avg_pool2d_grad", normal(1, 3, 24, 15, 16), windows, divisor, x.shape)
    else:
        same(name, x, windows)
        _, index = reference.max_pool2d(x, windows)
        same("pool_scatter", normal(1, *index.shape), index, x.shape)
        same("pool_gather", x, index)


# -- normalisation --------------------------------------------------------------------------------------------------

CHANNELS = st.tuples(BATCHES, integers(1, 70), sampled_from([1, 2, 9, 50]))


@given(CHANNELS, booleans(), booleans(), booleans(), booleans(), SEEDS)
def test_batch_norm(kernels, shape, training, affine, shifted, rectify, seed):
    n, c, length = shape
    x = 3 * normal(seed, *shape) + 2
    w = normal(seed + 1, c) if affine else None
    b = normal(seed + 2, c) if shifted else None
    running_mean, running_var = normal(seed + 3, c), normal(seed + 4, c) ** 2
    mean, var = kernels.batch_norm_stats(x) if training else (running_mean, running_var)
    inv_std = 1 / np.sqrt(var + 1e-3)
    y = kernels.batch_norm(x, mean, inv_std, w, b, rectify)
    gy, kept = normal(seed + 5, *shape), y if rectify else None
    gx, gw, gb = kernels.batch_norm_grad(gy, x, mean, inv_std, w, training, kept)
    same("batch_norm_stats", x)
    same("batch_norm", x, mean, inv_std, w, b, rectify)
    same("batch_norm_grad", gy, x, mean, inv_std, w, training, kept)
    if n * length < 2:
        return
    t, tw, tb = variable(x), variable(np.ones(c) if w is None else w), variable(np.zeros(c) if b is None else b)
    running = torch.from_numpy(running_mean), torch.from_numpy(running_var)
    expected = F.batch_norm(t, *running, tw, tb, training, 0.1, 1e-3)
    expected = F.relu(expected) if rectify else expected
    close(y, expected)
    close((gx, gw, gb), gradients(expected, gy, t, tw, tb))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(64, 5, 100), (8, 300, 1), (128, 16, 1024)])
def test_variance_is_stable_around_a_large_mean(kernels, dtype, shape):
    x = (1e4 + normal(0, *shape)).astype(dtype)
    x[0, 0, 0] = 0  # nor may an outlier where the channel begins spoil it
    mean, var = kernels.batch_norm_stats(x)
    exact = x.astype(np.longdouble)
    np.testing.assert_allclose(mean, exact.mean((0, 2)).astype(dtype), rtol=1e-6 if dtype == np.float32 else 1e-14)
    np.testing.assert_allclose(var, exact.var((0, 2)).astype(dtype), rtol=1e-6 if dtype == np.float32 else 1e-9)


@pytest.mark.parametrize("shape", [(700, 101), (3000, 96), (40000, 1), (3, 20000), (70, 2000)])
def test_large_flat_features_agree(shape):
    """Cut into jobs, whose sums are added up."""
    x, gy, c = 3 * normal(0, *shape, 1) + 2, normal(1, *shape, 1), shape[1]
    w, b, inv_std = normal(2, c), normal(3, c), np.abs(normal(4, c)) + 0.5
    same("batch_norm_stats", x)
    same("batch_norm", x, normal(5, c), inv_std, w, b)
    for training in (True, False):
        same("batch_norm_grad", gy, x, normal(5, c), inv_std, w, training)


@given(st.tuples(BATCHES, integers(1, 3), sampled_from([2, 3, 70, 600]), sampled_from([1, 2, 50])), booleans(),
       booleans(), SEEDS)
def test_group_norm(kernels, shape, affine, shifted, seed):
    n, groups, k, length = shape
    x, gy = 3 * normal(seed, *shape) + 2, normal(seed + 5, *shape)
    w = normal(seed + 1, groups, k) if affine else None
    b = normal(seed + 2, groups, k) if shifted else None
    y, mean, inv_std = kernels.group_norm(x, w, b, 1e-3)
    gx, gw, gb = kernels.group_norm_grad(gy, x, mean, inv_std, w)
    same("group_norm", x, w, b, 1e-3)
    same("group_norm_grad", gy, x, mean, inv_std, w)
    t, tw, tb = variable(x), variable(np.ones((groups, k)) if w is None else w), \
        variable(np.zeros((groups, k)) if b is None else b)
    expected = F.group_norm(t.reshape(n, groups * k, length), groups, tw.ravel(), tb.ravel(), 1e-3).reshape(shape)
    close(y, expected)
    close((gx, gw, gb), gradients(expected, gy, t, tw, tb))
    y, mean, inv_std = kernels.group_norm(x, w, None, 1e-3, False)
    gx, gw, gb = kernels.group_norm_grad(gy, x, mean, inv_std, w, False)
    same("group_norm", x, w, b, 1e-3, False)
    same("group_norm_grad", gy, x, mean, inv_std, w, False)
    if groups == 1:
        expected = F.rms_norm(t, (k, length), tw[0, :, None].expand(k, length), 1e-3)
        close(y, expected)
        close((gx, gw), gradients(expected, gy, t, tw))
    assert not mean.any()


@pytest.mark.parametrize("shape", [(3000, 1, 96, 1), (20000, 1, 3, 1), (3, 2, 20000, 1), (40, 3, 10, 99)])
def test_many_and_large_groups_agree(shape):
    x, gy, w = 3 * normal(0, *shape) + 2, normal(1, *shape), normal(2, *shape[1:3])
    _, mean, inv_std = reference.group_norm(x, w, None, 1e-3)
    same("group_norm", x, w, w, 1e-3)
    same("group_norm_grad", gy, x, mean, inv_std, w)
    _, mean, inv_std = reference.group_norm(x, w, None, 1e-3, False)
    same("group_norm", x, w, w, 1e-3, False)
    same("group_norm_grad", gy, x, mean, inv_std, w, False)


@given(CHANNELS, SEEDS)
def test_channel_sum(kernels, shape, seed):
    x = normal(seed, *shape)
    close(kernels.channel_sum(x), torch.from_numpy(x).sum((0, 2)))
    same("channel_sum", x)


def test_sums_do_not_drift(kernels):
    x = np.full((100, 2, 10000), 0.1, np.float32)
    np.testing.assert_allclose(kernels.channel_sum(x), [1e6 * float(x[0, 0, 0])] * 2, rtol=1e-7)


@pytest.mark.parametrize("shape", [(1, 100_003, 1), (300, 257, 1), (1, 2000, 40), (3, 70, 5000), (2, 20_001, 1),
                                   (20_000, 3, 1), (0, 4, 2), (3, 0, 2), (4, 3, 2)])
def test_axis_sum(shape):
    x = normal(0, *shape)
    for dtype in (np.float64, np.float32, np.float16):
        y = cpu.axis_sum(x.astype(dtype))
        assert y.dtype == np.float64
        np.testing.assert_allclose(y, x.astype(dtype).astype(float).sum(1), rtol=0, atol=1e-4 if dtype != np.float64
                                   else 1e-10)


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


ARITHMETIC = "add", "sub", "mul", "truediv"  # tested further in test_kernels_arithmetic.py


# -- activations ----------------------------------------------------------------------------------------------------

ACTIVATIONS = {
    "relu": (torch.relu, (), "y"), "sigmoid": (torch.sigmoid, (), "y"), "tanh": (torch.tanh, (), "y"),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.3), (0.3,), "x"),
    "elu": (lambda x: torch.ops.aten.elu(x, 0.7, 1.2, 0.5), (0.7, 1.2, 0.5), "x"),
    "hardtanh": (lambda x: F.hardtanh(x, -0.5, 2.0), (-0.5, 2.0), "y"), "hardswish": (F.hardswish, (), "x"),
    "silu": (F.silu, (), "x"), "mish": (F.mish, (), "x"), "gelu": (F.gelu, (), "x"),
    "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), (), "x"),
    "hardsigmoid": (lambda x: (x + 3).clamp(0, 6) / 6, (), "x"),  # PyTorch's own rounds 1/6 to float32
    "hardshrink": (lambda x: F.hardshrink(x, 0.7), (0.7,), "x"),
    "softshrink": (lambda x: F.softshrink(x, 0.7), (0.7,), "x"), "tanhshrink": (F.tanhshrink, (), "x"),
    "threshold": (lambda x: F.threshold(x, 0.7, 3.0), (0.7, 3.0), "x"), "softsign": (F.softsign, (), "x"),
    "softplus": (lambda x: F.softplus(x, 0.5, 2.0), (0.5, 2.0), "x"),
    "huber": (lambda x: F.huber_loss(x, torch.zeros_like(x), "none", 0.7), (0.7,), "x"),
}
GRADIENT = {"softshrink": "hardshrink_grad"}  # else its own
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


# -- softmax --------------------------------------------------------------------------------------------------------

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


# -- random numbers -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("counter, key, expected", [  # the known answers published with Random123
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1")])
def test_philox_known_answers(counter, key, expected):
    words = [np.array([int(c, 16)], np.uint64) for c in counter.split()]
    answer = layers._philox(words, [int(k, 16) for k in key.split()])
    assert " ".join(f"{int(word[0]):08x}" for word in answer) == expected


def test_random_uniform_places_the_words_of_the_key(kernels):
    seed, stream = 0x299F31D0A4093822, 0x0370734413198A2E
    words = [np.array([w], np.uint64) for w in (1, 0, 0x13198A2E, 0x03707344)]
    block = layers._philox(words, [0xA4093822, 0x299F31D0])
    u = kernels.random_uniform(8, (seed, stream))
    np.testing.assert_array_equal(u[4:], [(int(word[0]) >> 8) * 2.0 ** -24 for word in block])


@given(sampled_from([0, 1, 3, 4, 5, 1000, 40001]), st.tuples(integers(0, 2 ** 64 - 1), integers(0, 2 ** 64 - 1)))
def test_random_uniform_is_the_same_everywhere(n, key):
    u = cpu.random_uniform(n, key)
    np.testing.assert_array_equal(u, reference.random_uniform(n, key))
    assert u.dtype == np.float32 and u.shape == (n,)
    np.testing.assert_array_equal(u[:n // 2], cpu.random_uniform(n // 2, key))


def test_random_uniform_is_uniform(kernels):
    u = kernels.random_uniform(1 << 20, (7, 3)).astype(np.float64)
    assert 0 <= u.min() and u.max() < 1
    counts = np.bincount((u * 256).astype(int), minlength=256)
    assert abs(((counts - 4096) ** 2 / 4096).sum() - 255) < 5 * np.sqrt(2 * 255)  # χ² of 255 degrees of freedom
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 5e-3
    assert abs(np.corrcoef(u, kernels.random_uniform(1 << 20, (7, 4)))[0, 1]) < 5e-3


@given(sampled_from([(0, 3), (), (5, 3), (200, 201)]), sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), SEEDS)
def test_dropout(shape, p, seed):
    key = seed, seed % 7
    x = np.asarray(1 + np.abs(normal(seed, *shape)))
    for kernels in (reference, cpu):
        for dtype in (np.float64, np.float32, np.float16):
            kept = reference.random_uniform(x.size, key).reshape(shape) >= np.float32(p)
            y = np.asarray(kernels.dropout(x.astype(dtype), p, key))
            close(y, np.where(kept, x / (1 - p) if p < 1 else 0, 0).astype(dtype))
            assert y[~kept].any() == False  # noqa: E712 (and exactly 0)
    assert x.size < 1000 or abs(kept.mean() - (1 - p)) < 5 * np.sqrt(p * (1 - p) / x.size) + 1e-12


def test_dropout_removes_nan_and_keeps_it(kernels):
    y = kernels.dropout(np.full(1000, NAN), 0.5, (1, 2))
    assert set(np.unique(np.isnan(y))) == {False, True} and not y[~np.isnan(y)].any()


# -- optimiser steps ------------------------------------------------------------------------------------------------

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


# -- memory and threads ---------------------------------------------------------------------------------------------

WINDOWS = Windows(*sliding(7, 2, 2, 0, 1, False)[:2], *sliding(7, 2, 2, 0, 1, False)[:2])
TAPS = np.array([0, 2, 2, 5]), np.array([0, 6, 3, 3, 1]), np.linspace(-1, 1, 5)


def places(x: np.ndarray) -> np.ndarray:
    """Elements to sample from x[0], some of them outside."""
    return np.resize(np.arange(-1, 7), (x.shape[1], 3, 5))


STATES, FRAMES, COUNTS = np.tile([0, 3, 0, 5, 0], (7, 1)), np.array([7, 6, 7, 5, 7, 7, 4]), np.full(7, 5)
STEPS = np.array([3, 2, 2])  # three sequences of 3, 3 and 1 steps: 7 rows


def logs(x):
    return -x[0, 0, :, :, None].repeat(7, 2)  # (T, N, K)


def side_by_side(x, count):
    """(7, 7·count) with the first axis the fast one."""
    return np.concatenate([x[1, i] for i in range(count)]).T


def recurrent(name, k, x, gy):
    """One of the kernels that work in place on contiguous rows, with strided states and weights."""
    h0, c0, rows = x[0, 1, :3], x[0, 2, :3], {"rnn": 1, "lstm": 4, "gru": 3}[name]
    gates = np.ascontiguousarray(side_by_side(x, rows))
    weights = side_by_side(gy, rows).T
    if name == "rnn":
        k.rnn_sequence(gates, h0, weights, False, STEPS)
        return gates, *k.rnn_sequence_grad(gy[0, 0], gy[0, 1, :3], gates, weights, False, STEPS)
    if name == "lstm":
        y, cells = k.lstm_sequence(gates, h0, c0, weights, None, STEPS)
        return gates, y, cells, *k.lstm_sequence_grad(gy[0, 0], gy[0, 1, :3], gy[0, 2, :3], gates, c0, cells, weights,
                                                      None, STEPS)[:3]
    y, seen = k.gru_sequence(gates, h0, weights, weights[:, 0], STEPS)
    return gates, y, seen, *k.gru_sequence_grad(gy[0, 0], gy[0, 1, :3], gates, seen, h0, y, weights, STEPS)


QUADS = Windows(*[np.arange(0, 6, 2), np.arange(2, 8, 2)] * 2)
CALLS = {  # every kernel that returns arrays, on arrays whose strides may be anything
    "max_pool2d": lambda k, x, gy: k.max_pool2d(x, WINDOWS),
    "pool_scatter": lambda k, x, gy: k.pool_scatter(gy[:, :, :3, :3], k.max_pool2d(x, WINDOWS)[1], x.shape),
    "pool_gather": lambda k, x, gy: k.pool_gather(gy, k.max_pool2d(x, WINDOWS)[1]),
    "avg_pool2d": lambda k, x, gy: k.avg_pool2d(x, WINDOWS, np.full((3, 3), 4.0)),
    "avg_pool2d_grad": lambda k, x, gy: k.avg_pool2d_grad(gy[:, :, :3, :3], WINDOWS, np.full((3, 3), 4.0), x.shape),
    "activated_avg_pool2d": lambda k, x, gy: k.activated_avg_pool2d(x[:, :, :6, :6], "tanh", QUADS,
                                                                    np.full((3, 3), 4.0)),
    "activated_avg_pool2d_grad": lambda k, x, gy: k.activated_avg_pool2d_grad(
        gy[:, :, :3, :3], x[:, :, :6, :6], "sigmoid", QUADS, np.full((3, 3), 4.0)),
    "channel_sum": lambda k, x, gy: k.channel_sum(x[0]),
    "batch_norm_stats": lambda k, x, gy: k.batch_norm_stats(x[0]),
    "batch_norm": lambda k, x, gy: k.batch_norm(x[0], gy[0, :, 0, 0], gy[1, :, 0, 0], x[0, :, 0, 0], x[0, :, 1, 0]),
    "batch_norm_grad": lambda k, x, gy: k.batch_norm_grad(gy[0], x[0], x[0, :, 0, 0], x[0, :, 1, 0], gy[0, :, 0, 0],
                                                          True),
    "group_norm": lambda k, x, gy: k.group_norm(x, gy[0, :, :, 0], gy[0, :, :, 1], 0.1),
    "group_norm_grad": lambda k, x, gy: k.group_norm_grad(gy, x, x[:, :, 0, 0].astype(float), abs(gy[:, :, 0, 0].astype(
        float)), gy[0, :, :, 1]),
    "logistic_loss": lambda k, x, gy: k.logistic_loss(x, gy),
    "logistic_loss_grad": lambda k, x, gy: k.logistic_loss_grad(gy, x, x[::-1]),
    "prelu": lambda k, x, gy: k.prelu(x, gy), "prelu_grad": lambda k, x, gy: k.prelu_grad(gy, x, x[::-1]),
    "prelu_weight_grad": lambda k, x, gy: k.prelu_weight_grad(gy, x),
    "axis_sum": lambda k, x, gy: k.axis_sum(x[0]),
    **{name: lambda k, x, gy, name=name: getattr(k, name)(x, gy) for name in ARITHMETIC},
    "iadd": lambda k, x, gy: k.iadd(x.copy(), gy), "concatenate": lambda k, x, gy: k.concatenate((x, gy), 1),
    "softmax": lambda k, x, gy: k.softmax(x[0]),
    "softmax_grad": lambda k, x, gy: k.softmax_grad(gy[0], x[0]),
    "log_softmax": lambda k, x, gy: k.log_softmax(x[0]),
    "log_softmax_grad": lambda k, x, gy: k.log_softmax_grad(gy[0], x[0]),
    "cross_entropy": lambda k, x, gy: k.cross_entropy(x[0, 0], np.arange(14)[::2]),
    "cross_entropy_grad": lambda k, x, gy: k.cross_entropy_grad(gy[0, 0, 0], x[0, 0], np.arange(14)[::2]),
    "dropout": lambda k, x, gy: k.dropout(x, 0.5, (1, 2)),
    "resample": lambda k, x, gy: (k.resample(x[0], *TAPS), k.resample(x[0, :, :, :1], *TAPS)),
    "sample": lambda k, x, gy: k.sample(x[0], places(x), gy[0, :, :3, :5]),
    "sample_input_grad": lambda k, x, gy: k.sample_input_grad(gy[0, :, :, :5], places(x), x[0, :, :3, :5], 7),
    "sample_weight_grad": lambda k, x, gy: k.sample_weight_grad(x[0], places(x), gy[0, :, :, :5]),
    **{name: lambda k, x, gy, name=name, a=a: getattr(k, name)(x, *a) for name, (_, a, _) in ACTIVATIONS.items()},
    **{name: lambda k, x, gy, name=name, a=a: getattr(k, name)(gy, x, *a) for name, a in
       [(GRADIENT.get(name, name + "_grad"), a) for name, (_, a, _) in ACTIVATIONS.items()]},
    "erf": lambda k, x, gy: k.erf(x), "erfc": lambda k, x, gy: k.erfc(x),
    "ctc": lambda k, x, gy: k.ctc(logs(x), STATES, FRAMES, COUNTS),
    "ctc_grad": lambda k, x, gy: k.ctc_grad(gy[0, 0, 0], logs(x), STATES, FRAMES, COUNTS,
                                            k.ctc(logs(x), STATES, FRAMES, COUNTS)[1]),
    **{f"{name}_sequence": lambda k, x, gy, name=name: recurrent(name, k, x, gy) for name in ("rnn", "lstm", "gru")},
}


@pytest.mark.parametrize("name", CALLS)
def test_any_strides_and_nothing_written(kernels, name):
    base = np.abs(normal(0, 7, 14, 7, 7)) + 0.1
    views = {"transposed": base[:, ::2].transpose(1, 0, 3, 2), "reversed": base[::-1, :7, ::-1, ::-1],
             "expanded": np.broadcast_to(base[:1, :1, :1], (7, 7, 7, 7))}
    for x in views.values():
        kept = base.copy()
        actual = CALLS[name](kernels, x, x[::-1])
        close(actual, CALLS[name](kernels, x.copy(), x[::-1].copy()), 1e-14)
        np.testing.assert_array_equal(base, kept)
        for a in actual if isinstance(actual, tuple) else (actual,):
            assert a.flags.writeable and not np.shares_memory(a, base)
            assert a.flags.c_contiguous or name in ARITHMETIC or "reference" in getattr(kernels, name).__module__


def test_every_kernel_is_tried_on_strided_arrays():
    assert set(OWN) == {*CALLS, *(f"{name}_sequence_grad" for name in ("rnn", "lstm", "gru")), "sgd_step", "adam_step",
                        "random_uniform"}


def digests() -> str:
    """A fingerprint of every compiled kernel on arrays large enough for threads."""
    import hashlib
    found = []
    for dtype in (np.float32, np.float64):
        big = np.random.default_rng(0).standard_normal((16, 120, 7, 7)).astype(dtype)
        rows, wide = big.reshape(16, 120, 49), big.reshape(1960, 48)
        v, w = np.abs(wide[0, :1].repeat(120)), np.linspace(1, 2, 120, dtype=dtype)
        arrays = [call(cpu, big, big[::-1]) for name, call in CALLS.items() if not name.startswith(("batch", "cross"))]
        arrays += [cpu.channel_sum(rows), *cpu.batch_norm_stats(rows), cpu.batch_norm(rows, v, w, w, v),
                   *cpu.batch_norm_grad(rows, rows, v, w, w, True), cpu.random_uniform(100_001, (1, 2)),
                   cpu.softmax(rows), cpu.softmax(wide[:, :, None]), cpu.log_softmax_grad(*[wide[:, :, None]] * 2),
                   cpu.log_softmax_grad(rows, rows), *cpu.cross_entropy(wide, np.arange(1960) % 50),
                   cpu.cross_entropy_grad(wide[:, 0], wide, np.arange(1960) % 50)]
        p, m = big.copy(), np.abs(big)
        cpu.sgd_step(p, big, m, 0.1, 0.9, 0.0, 0.1, True, False, False)
        cpu.adam_step(p, big, m, np.abs(m), None, 3, 0.1, 0.9, 0.99, 1e-8, 0.1, True, False)
        for result in [*arrays, p, m]:
            for a in result if isinstance(result, tuple) else (result,):
                found.append(hashlib.sha256(a.tobytes()).hexdigest()[:12])
    return " ".join(found)


def test_the_number_of_threads_changes_no_bit(tmp_path):
    code = ("import numba, test_kernels_rest as t\n"
            "for n in (1, 2, 4): numba.set_num_threads(n); print(t.digests())")
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
                         env=os.environ | {"NUMBA_NUM_THREADS": "4", "PYTHONPATH": path}).stdout.split("\n")
    assert len(out[0].split()) > 60 and out[0] == out[1] == out[2]


@pytest.mark.parametrize("size", [(2, 2), (4, 10), (28, 28), (5, 4), (4, 7)])
@pytest.mark.parametrize("divisor", [4.0, 3.0, None])
def test_average_over_two_by_two_windows_has_a_short_cut_with_the_same_result(size, divisor):
    rng = np.random.default_rng(0)
    starts = [np.arange(n // 2) * 2 for n in size]
    windows = contract.Windows(starts[0], starts[0] + 2, starts[1], starts[1] + 2)
    x, gy = rng.standard_normal((3, 2, *size)), rng.standard_normal((3, 2, size[0] // 2, size[1] // 2))
    by = np.full(gy.shape[2:], divisor) if divisor else rng.uniform(1, 2, gy.shape[2:])
    np.testing.assert_allclose(cpu.avg_pool2d(x, windows, by), reference.avg_pool2d(x, windows, by), atol=1e-14)
    np.testing.assert_allclose(cpu.avg_pool2d_grad(gy, windows, by, x.shape),
                               reference.avg_pool2d_grad(gy, windows, by, x.shape), atol=1e-14)


@pytest.mark.parametrize("shapes", [((20_000,), (1,)), ((1, 300), (300, 1)), ((2, 20_000), (20_000,))])
def test_arithmetic_of_other_shapes_is_numpys(shapes):
    a, b = (normal(i, *shape) for i, shape in enumerate(shapes))
    np.testing.assert_array_equal(cpu.add(a, b), a + b)
    c, d = normal(2, 1, 20_000), normal(3, 20_000, 1)[::4000]
    np.testing.assert_array_equal(cpu.mul(c, d), c * d)
