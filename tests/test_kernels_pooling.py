"""Pooling kernels beside PyTorch's: every window, ties, NaN, bands, short cuts."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.strategies import booleans, integers, sampled_from
from kernels_util import BATCHES, INF, NAN, SEEDS, close, gradients, normal, same, variable

from minicnn.kernels import cpu, reference
from minicnn.kernels.contract import Windows
from minicnn.kernels.cpu import max_pooling


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
    x = normal(0, 3, 48, 29, 31)
    windows = Windows(*sliding(29, 3, 2, 1, 1, False)[:2], *sliding(31, 3, 2, 1, 1, False)[:2])
    divisor = np.full((15, 16), 9.0)
    if name == "avg_pool2d":
        same(name, x, windows, divisor)
        same("avg_pool2d_grad", normal(1, 3, 48, 15, 16), windows, divisor, x.shape)
    else:
        same(name, x, windows)
        _, index = reference.max_pool2d(x, windows)
        same("pool_scatter", normal(1, *index.shape), index, x.shape)
        same("pool_gather", x, index)


@pytest.mark.parametrize("size", [(2, 2), (4, 10), (28, 28), (5, 4), (4, 7), (80, 90)])
@pytest.mark.parametrize("divisor", [4.0, 3.0, None])
def test_average_over_two_by_two_windows_has_a_short_cut_with_the_same_result(size, divisor):
    rng = np.random.default_rng(0)
    starts = [np.arange(n // 2) * 2 for n in size]
    windows = Windows(starts[0], starts[0] + 2, starts[1], starts[1] + 2)
    x, gy = rng.standard_normal((3, 2, *size)), rng.standard_normal((3, 2, size[0] // 2, size[1] // 2))
    by = np.full(gy.shape[2:], divisor) if divisor else rng.uniform(1, 2, gy.shape[2:])
    np.testing.assert_allclose(cpu.avg_pool2d(x, windows, by), reference.avg_pool2d(x, windows, by), atol=1e-14)
    np.testing.assert_allclose(cpu.avg_pool2d_grad(gy, windows, by, x.shape),
                               reference.avg_pool2d_grad(gy, windows, by, x.shape), atol=1e-14)


@pytest.mark.parametrize(("batch", "size", "first", "last", "step"), [
    (3, (3, 5), 0, 0, 1), (500, (7, 9), 0, 0, 1), (500, (7, 9), 1, 0, 1), (500, (7, 9), 0, 1, 1), (3, (7, 9), 0, 0, 2),
    (0, (3, 5), 0, 0, 1), (1, (1, 1), 0, 0, 1)])
@pytest.mark.parametrize(("divisor", "dtype", "error"), [(1.0, np.float64, 1e-12), (7.0, np.float32, 1e-5)])
def test_the_average_of_whole_images_has_a_short_cut_with_the_same_result(batch, size, first, last, step, divisor,
                                                                              dtype, error):
    h, w = size
    windows = Windows(*[np.array([n]) for n in (first, h - last, first, w - last)], (step, 1))
    x, gy, by = normal(1, batch, 2, h, w), normal(2, batch, 2, 1, 1), np.full((1, 1), divisor)
    t = torch.from_numpy(x).requires_grad_()
    y = t[:, :, first:h - last:step, first:w - last].sum((2, 3), keepdim=True) / divisor
    narrow, narrow_gy = x.astype(dtype), gy.astype(dtype)
    found = [*(cpu.avg_pool2d(some, windows, by) for some in (narrow, np.asfortranarray(narrow))),
             cpu.avg_pool2d_grad(narrow_gy, windows, by, x.shape)]
    for result, wanted in zip(found, (y.detach(), y.detach(), gradients(y, gy, t)[0]), strict=True):
        assert result.dtype == dtype
        np.testing.assert_allclose(result, wanted, atol=error)
