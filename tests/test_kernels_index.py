"""Adding at indices: bit for bit what a loop over the index adds up, on every back end, for every type."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minicnn.kernels import cpu
from util import rng_of

TYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.int64, np.int32, np.int16, np.int8, np.uint8, bool]


def drawn(seed: int, rows: int, entries: int, length: int, dtype: type) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = rng_of(seed)
    y, v = (rng.uniform(-9, 9, (n, length)).astype(dtype) for n in (rows, entries if rows else 0))
    return y, rng.integers(0, max(1, rows // 2), len(v)), v


def by_a_loop(y: np.ndarray, index: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Half precision in float32, rounded once at the end."""
    wide = np.float32 if y.dtype.itemsize == 2 and y.dtype.kind in "fV" else y.dtype
    total = y.astype(wide)
    for i, row in enumerate(index):
        total[row] += v[i].astype(wide)
    return total.astype(y.dtype)


@pytest.mark.parametrize("dtype", TYPES)
@given(st.integers(0, 99), st.integers(0, 9), st.integers(0, 20), st.sampled_from([0, 1, 2, 3, 17, 65]))
@example(0, 3, 700, 1)  # three runs that are sorted one by one
@example(1, 400, 1025, 3)
@example(2, 1, 257, 2)
@example(3, 5, 300, 130)
def test_rows_are_added_in_the_order_of_the_index(kernels, dtype, seed, rows, entries, length):
    y, index, v = drawn(seed, rows, entries, length, dtype)
    expected = by_a_loop(y, index, v)
    assert kernels.index_add(y, index, v) is None
    assert y.dtype == dtype and y.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("length", [1, 64, 700])
def test_what_is_large_enough_for_threads(dtype, length):
    y, index, v = drawn(0, 90, 70_000 // length, length, dtype)
    expected = by_a_loop(y, index, v)
    cpu.index_add(y, index, v)
    np.testing.assert_array_equal(y, expected)


def test_nan_and_infinity_stay_in_their_rows(kernels):
    y, v = np.ones((3, 2), np.float32), np.array([[np.inf, 1], [-np.inf, np.nan], [2, 2]], np.float32)
    with np.errstate(invalid="ignore"):
        kernels.index_add(y, np.array([2, 2, 0]), v)
    np.testing.assert_array_equal(y, [[3, 3], [1, 1], [np.nan, np.nan]])
