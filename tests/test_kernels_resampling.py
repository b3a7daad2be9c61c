"""Resampling kernels: the reference against dense matrices and loops, cpu against the reference."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minicnn.kernels import cpu, reference

TYPES = ((np.float64, 1e-12), (np.float32, 1e-5), (np.float16, 1e-2))


def close(actual: np.ndarray, expected: np.ndarray, dtype: type, tolerance: float) -> None:
    assert actual.shape == expected.shape and actual.dtype == dtype
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * max(1, abs(expected).max(initial=0)))


@given(st.data())
def test_resample_is_a_product_with_a_sparse_matrix(kernels, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    lines, n, m, behind = (data.draw(st.integers(low, 5)) for low in (0, 1, 0, 1))
    counts = rng.integers(0, 4, m)
    start, index = np.append(0, counts.cumsum()), rng.integers(0, n, counts.sum())
    weight, x = rng.standard_normal(counts.sum()), rng.standard_normal((lines, n, behind))
    matrix = np.zeros((m, n))
    np.add.at(matrix, (np.repeat(np.arange(m), counts), index), weight)
    for dtype, tolerance in TYPES:
        close(kernels.resample(x.astype(dtype), start, index, weight), matrix @ x, dtype, tolerance)


@given(st.data())
def test_sample_and_its_adjoints_are_these_loops(kernels, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    n, c, length, k, p = (data.draw(st.integers(low, 4)) for low in (0, 0, 1, 1, 0))
    index = rng.integers(-1, length, (n, k, p))
    x, w, gy = (rng.standard_normal(s) for s in ((n, c, length), (n, k, p), (n, c, p)))
    y, gx, gw = np.zeros((n, c, p)), np.zeros_like(x), np.zeros_like(w)
    for i, tap, place in np.argwhere(index >= 0):
        at = index[i, tap, place]
        y[i, :, place] += w[i, tap, place] * x[i, :, at]
        gx[i, :, at] += w[i, tap, place] * gy[i, :, place]
        gw[i, tap, place] = gy[i, :, place] @ x[i, :, at]
    for dtype, tolerance in TYPES:
        x_, w_, gy_ = (a.astype(dtype) for a in (x, w, gy))
        close(kernels.sample(x_, index, w_), y, dtype, tolerance)
        close(kernels.sample_input_grad(gy_, index, w_, length), gx, dtype, tolerance)
        close(kernels.sample_weight_grad(x_, index, gy_), gw, dtype, tolerance)


def test_what_is_large_enough_for_threads():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, 300)
    start, index, weight = np.append(0, counts.cumsum()), rng.integers(0, 50, counts.sum()), rng.random(counts.sum())
    for shape in ((120, 50, 1), (20, 50, 7)):
        x = rng.standard_normal(shape)
        close(cpu.resample(x, start, index, weight), reference.resample(x, start, index, weight), np.float64, 1e-12)
    index, w = rng.integers(-1, 50, (6, 3, 1000)), rng.standard_normal((6, 3, 1000))
    x, gy = rng.standard_normal((6, 7, 50)), rng.standard_normal((6, 7, 1000))
    for name, operands in (("sample", (x, index, w)), ("sample_input_grad", (gy, index, w, 50)),
                           ("sample_weight_grad", (x, index, gy))):
        close(getattr(cpu, name)(*operands), getattr(reference, name)(*operands), np.float64, 1e-12)
