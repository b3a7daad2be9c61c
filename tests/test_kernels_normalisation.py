"""Kernels of batch, group and RMS norm beside PyTorch's; sums over channels and axes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import booleans, integers, sampled_from
from kernels_util import BATCHES, SEEDS, close, gradients, normal, same, variable

from minicnn.kernels import cpu, reference

CHANNELS = st.tuples(BATCHES, integers(1, 70), sampled_from([1, 2, 9, 50, 64, 300]))


@given(CHANNELS, booleans(), booleans(), booleans(), booleans(), SEEDS)
def test_batch_norm(kernels, shape, training, affine, shifted, rectify, seed):
    n, c, length = shape
    x = 3 * normal(seed, *shape) + 2
    w = normal(seed + 1, c) if affine else None
    b = normal(seed + 2, c) if shifted else None
    running_mean, running_var = normal(seed + 3, c), normal(seed + 4, c) ** 2
    if training:
        mean, _, inv_std = kernels.batch_norm_stats(x, 1e-3)
    else:
        mean, inv_std = running_mean, 1 / np.sqrt(running_var + 1e-3)
    y = kernels.batch_norm(x, mean, inv_std, w, b, rectify)
    gy, kept = normal(seed + 5, *shape), y if rectify else None
    gx, gw, gb = kernels.batch_norm_grad(gy, x, mean, inv_std, w, training, kept)
    same("batch_norm_stats", x, 1e-3)
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


@pytest.mark.parametrize("length", [1, 6])
def test_bad_pixels_are_not_met_by_gradients_outside_training(kernels, length):
    x, gy, (mean, w, b) = normal(0, 5, 3, length), normal(1, 5, 3, length), normal(2, 3, 3)
    x[1, 0, 0], x[2, 1, 0] = np.inf, np.nan
    t = variable(x)
    y = F.batch_norm(t, torch.from_numpy(mean), torch.ones(3, dtype=t.dtype), *map(torch.from_numpy, (w, b)), eps=0)
    close(kernels.batch_norm_grad(gy, x, mean, np.ones(3), w, False)[:1], gradients(y, gy, t))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(64, 5, 100), (8, 300, 1), (128, 16, 1024)])
def test_variance_is_stable_around_a_large_mean(kernels, dtype, shape):
    x = (1e4 + normal(0, *shape)).astype(dtype)
    x[0, 0, 0] = 0  # nor may an outlier where the channel begins spoil it
    mean, var, inv_std = kernels.batch_norm_stats(x, 0.1)
    exact = x.astype(np.longdouble)
    np.testing.assert_allclose(mean, exact.mean((0, 2)).astype(dtype), rtol=1e-6 if dtype == np.float32 else 1e-14)
    np.testing.assert_allclose(var, exact.var((0, 2)).astype(dtype), rtol=1e-6 if dtype == np.float32 else 1e-9)
    np.testing.assert_allclose(inv_std, (1 / np.sqrt(exact.var((0, 2)) + 0.1)).astype(dtype),
                               rtol=1e-6 if dtype == np.float32 else 1e-9)


@pytest.mark.parametrize("length", [1, 6])
@pytest.mark.parametrize("place", [0, 3])
def test_the_mean_of_infinite_pixels_is_infinite(kernels, length, place):
    """Also where the channel begins."""
    x = normal(0, 5, 3, length)
    x[place, 0, 0], x[place, 1, 0], x[place, 2, 0] = np.inf, -np.inf, np.nan
    with np.errstate(invalid="ignore"):
        mean, var, inv_std = kernels.batch_norm_stats(x, 1e-5)
    np.testing.assert_array_equal(mean, [np.inf, -np.inf, np.nan])
    assert np.isnan(var).all() and np.isnan(inv_std).all()


@pytest.mark.parametrize("shape", [(700, 101), (3000, 96), (40000, 1), (3, 20000), (70, 2000)])
def test_large_flat_features_agree(shape):
    """Cut into jobs, whose sums are added up."""
    x, gy, c = 3 * normal(0, *shape, 1) + 2, normal(1, *shape, 1), shape[1]
    w, b, inv_std = normal(2, c), normal(3, c), np.abs(normal(4, c)) + 0.5
    same("batch_norm_stats", x, 1e-5)
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


def test_an_infinite_element_leaves_its_row_finite_where_no_mean_is_taken_off(kernels):
    x, gy = normal(0, 3, 1, 5, 1), normal(1, 3, 1, 5, 1)
    x[1, 0, 2], gy[2, 0, 3] = np.inf, np.inf
    with np.errstate(invalid="ignore"):
        y, mean, inv_std = kernels.group_norm(x, None, None, 1e-3, False)
        gx, *_ = kernels.group_norm_grad(gy, x, mean, inv_std, None, False)
    tx = variable(x)
    expected = F.rms_norm(tx[:, 0, :, 0], (5,), None, 1e-3)
    np.testing.assert_array_equal(np.isnan(y[:, 0, :, 0]), expected.isnan().numpy())
    np.testing.assert_allclose(y[[0, 2], 0, :, 0], expected[[0, 2]].detach().numpy(), rtol=1e-10)
    np.testing.assert_array_equal(np.isfinite(gx[2]), False)


@given(CHANNELS, SEEDS)
def test_channel_sum(kernels, shape, seed):
    x = normal(seed, *shape)
    close(kernels.channel_sum(x), torch.from_numpy(x).sum((0, 2)))
    same("channel_sum", x)


def test_sums_do_not_drift(kernels):
    x = np.full((100, 2, 10000), 0.1, np.float32)
    np.testing.assert_allclose(kernels.channel_sum(x), [1e6 * float(x[0, 0, 0])] * 2, rtol=1e-7)


@pytest.mark.parametrize("shape", [(25_000, 2, 40), (100, 2, 10_000)])
def test_sums_of_gradients_do_not_drift(kernels, shape):
    gy, x = np.full(shape, 0.1, np.float32), np.full(shape, 1.5, np.float32)
    _, gw, gb = kernels.batch_norm_grad(gy, x, np.zeros(2, np.float32), np.full(2, 2, np.float32), None, True)
    np.testing.assert_allclose(gb, [1e6 * float(gy[0, 0, 0])] * 2, rtol=1e-6)
    np.testing.assert_allclose(gw, 3 * gb, rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 100_003, 1), (300, 257, 1), (1, 2000, 40), (3, 70, 5000), (2, 20_001, 1),
                                   (20_000, 3, 1), (0, 4, 2), (3, 0, 2), (4, 3, 2)])
def test_axis_sum(shape):
    x = normal(0, *shape)
    for dtype in (np.float64, np.float32, np.float16):
        y = cpu.axis_sum(x.astype(dtype))
        assert y.dtype == np.float64
        np.testing.assert_allclose(y, x.astype(dtype).astype(float).sum(1), rtol=0, atol=1e-4 if dtype != np.float64
                                   else 1e-10)
