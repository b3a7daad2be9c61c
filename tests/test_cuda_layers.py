"""Recurrent layers, group normalisation and CTC in the emulator: drawn sizes, several orders of threads, all types."""

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minicnn.kernels import cuda, reference
from minicnn.kernels.cuda.emulator import thread_order
from test_functional_ctc import problem
from test_recurrent import GATES, through_time
from util import normal

TOLERANCE = {np.float64: 1e-10, np.float32: 3e-5, np.float16: 1e-2, ml_dtypes.bfloat16: 6e-2}
TYPES = pytest.mark.parametrize("dtype", TOLERANCE)
SEEDS = st.integers(0, 99)


def agrees(run: Callable, arrays: list[np.ndarray], dtype: type, seed: int) -> None:
    """run(kernels, *arrays of the type) is what the reference makes of the same numbers in float64, in any order."""
    narrow = [a.astype(dtype) for a in arrays]
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        expected = run(reference, *(a.astype(np.float64) for a in narrow))
    with thread_order(seed):
        results = run(cuda, *narrow)
    for a, b in zip(results, expected, strict=True):
        assert a.dtype in (dtype, np.float64) and a.shape == b.shape
        scale = max(1, np.abs(b).max(initial=0, where=np.isfinite(b)))
        np.testing.assert_allclose(a.astype(np.float64), b, rtol=0, atol=TOLERANCE[dtype] * scale)
    with thread_order(seed + 1):
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(run(cuda, *narrow), results, strict=True))


@TYPES
@settings(max_examples=15)
@given(st.sampled_from(list(GATES)), st.lists(st.integers(0, 20), min_size=1, max_size=4),
       st.sampled_from([1, 2, 7, 16, 17, 35]), st.booleans(), st.booleans(), SEEDS)
@example("lstm", [17, 16, 3], 67, False, False, 1)  # more than one step of the product
@example("lstm", [17, 16, 3], 67, False, True, 1)
@example("gru", [17, 16, 3], 67, True, False, 1)
@example("rnn", [17, 16, 3], 67, True, False, 1)
def test_recurrent_layers(dtype, kind, sizes, features, option, projected, seed):
    sizes = np.array(sorted(sizes, reverse=True))
    if kind == "rnn" and np.dtype(dtype).itemsize == 2:
        option = False  # rounding may carry a sum over the kink of a ReLU
    seen = (features + 1) // 2 if projected and kind == "lstm" else features
    agrees(lambda kernels, like: through_time(kernels, kind, sizes, features, seen, like.dtype, option, seed),
           [np.empty(0)], dtype, seed)


@TYPES
@settings(max_examples=15)
@given(st.integers(0, 3), st.integers(1, 3), st.sampled_from([1, 3, 40]), st.sampled_from([0, 1, 2, 9, 70]),
       st.booleans(), st.booleans(), SEEDS)
@example(300, 1, 40, 1, True, True, 1)  # parts of a channel
@example(130, 1, 2, 40, True, True, 1)
def test_group_normalisation(dtype, n, groups, channels, length, affine, centred, seed):
    x, gy = (normal((n, groups, channels, length), seed + i) for i in range(2))
    w, b = (normal((groups, channels), seed + i) for i in (2, 3))

    def run(kernels, x, gy, w, b):
        w, b = (w, b) if affine else (None, None)
        y, mean, inv_std = kernels.group_norm(x, w, b, 0.1, centred)
        return y, mean, inv_std, *kernels.group_norm_grad(gy, x, mean, inv_std, w, centred)

    agrees(run, [x + 3000 * (seed % 2), gy, w, b], dtype, seed)  # a mean that float32 rounds


@TYPES
@settings(max_examples=15)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(2, 6), st.sampled_from([1, 2, 5, 30]), SEEDS)
@example(2, 1, 3, 300, 0)  # more states than threads, and no path
def test_connectionist_temporal_classification(dtype, frames, batch, classes, longest, seed):
    x, *alignment = problem(frames, batch, classes, longest, seed)
    gy = normal((batch,), seed)
    gy[::3] = 0

    def run(kernels, gy, x):
        loss, alpha = kernels.ctc(x, *alignment)
        return loss, alpha, kernels.ctc_grad(gy, x, *alignment, alpha)

    agrees(run, [gy, x], dtype, seed)
