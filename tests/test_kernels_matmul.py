"""The matrix product against float64, with tails in every direction and operands in both orders of memory."""

import os
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minicnn.kernels import cpu, cuda, reference
from minicnn.kernels.cpu import gemm
from minicnn.kernels.cuda.emulator import thread_order

size = st.integers(1, 70) | st.sampled_from([128, 129, 257, 300])


def operands(m: int, k: int, n: int, turned_a: bool, turned_b: bool, dtype: str) -> list[np.ndarray]:
    rng = np.random.default_rng([m, k, n])
    a = rng.standard_normal((k, m) if turned_a else (m, k)).astype(dtype)
    b = rng.standard_normal((n, k) if turned_b else (k, n)).astype(dtype)
    return [a.T if turned_a else a, b.T if turned_b else b, rng.standard_normal(n).astype(dtype)]


@pytest.fixture
def no_small_ones(monkeypatch):
    """Send small products through the blocks too, which otherwise go to NumPy."""
    monkeypatch.setattr(gemm, "SMALL", -1)


@example(30, 1100, 40, False, True, True, "float32")  # steps of K several times, the last one shorter
@example(30, 1100, 40, True, False, True, "float64")
@example(9, 2500, 23, False, True, True, "float32")  # the same with few rows
@given(size, size, size | st.just(1500), st.booleans(), st.booleans(), st.booleans(),
       st.sampled_from(["float32", "float64"]))
def test_agrees_with_float64(m, k, n, turned_a, turned_b, with_bias, dtype):
    a, b, bias = operands(m, k, n, turned_a, turned_b, dtype)
    bias = bias if with_bias else None
    expected = a.astype(float) @ b.astype(float) + (0 if bias is None else bias)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gemm, "SMALL", -1)
        y = cpu.matmul(a, b, bias)
    assert y.dtype == a.dtype and y.shape == (m, n) and y.flags.c_contiguous
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance * max(1, abs(expected).max()))


@pytest.mark.parametrize("turned_b", [False, True])
@pytest.mark.parametrize("rows", [5, 70])
def test_long_sums_do_not_drift(rows, turned_b):
    """Rounded the same way 100 000 times, a running total would be off by 7e-4."""
    a, b = np.full((rows, 100_000), 0.1, np.float32), np.full((100_000, 9), 0.1, np.float32)
    expected = 100_000 * float(a[0, 0]) ** 2
    np.testing.assert_allclose(cpu.matmul(a, np.asfortranarray(b) if turned_b else b), expected, rtol=2e-5)


def test_strided_operands_are_read_rightly(no_small_ones):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((40, 60))[::2, ::3], rng.standard_normal((20, 90))[:, ::2]
    np.testing.assert_allclose(cpu.matmul(a, b), reference.matmul(a, b), atol=1e-12)


@pytest.mark.parametrize("shapes", [((0, 3), (3, 4)), ((3, 0), (0, 4)), ((3, 4), (4, 0))])
def test_empty_products(shapes):
    a, b = (np.ones(s, np.float32) for s in shapes)
    bias = np.arange(b.shape[1], dtype=np.float32)
    np.testing.assert_array_equal(cpu.matmul(a, b, bias), np.broadcast_to(bias, (len(a), b.shape[1])))


def test_other_types_go_to_the_reference():
    a, b = np.arange(6).reshape(2, 3), np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(cpu.matmul(a, b), a @ b)


def test_the_result_does_not_depend_on_the_number_of_threads():
    code = """if True:
        import sys, zlib, numpy as np, numba
        from minicnn.kernels import cpu
        rng = np.random.default_rng(0)
        a, b = rng.standard_normal((301, 513), dtype=np.float32), rng.standard_normal((513, 257), dtype=np.float32)
        numba.set_num_threads(int(sys.argv[1]))
        print(zlib.crc32(cpu.matmul(a, b).tobytes()))"""
    hashes = {subprocess.run([sys.executable, "-c", code, str(threads)], capture_output=True, text=True, check=True,
                             env={**os.environ, "NUMBA_NUM_THREADS": "4"}).stdout for threads in (1, 2, 4)}
    assert len(hashes) == 1


@settings(max_examples=12)
@given(m=st.integers(0, 70), k=st.integers(0, 40), n=st.integers(0, 70), turned_a=st.booleans(), turned_b=st.booleans(),
       with_bias=st.booleans())
@example(m=65, k=17, n=66, turned_a=True, turned_b=False, with_bias=True)
@example(m=130, k=33, n=65, turned_a=False, turned_b=True, with_bias=False)
def test_cuda(m, k, n, turned_a, turned_b, with_bias):
    for dtype, rounding in (("float64", 1e-14), ("float32", 1e-6), ("float16", 2 ** -11),
                            (ml_dtypes.bfloat16, 2 ** -8)):
        a, b, bias = operands(m, k, n, turned_a, turned_b, dtype)
        bias = bias if with_bias else None
        expected = reference.matmul(*(None if x is None else x.astype(float) for x in (a, b, bias)))
        with thread_order(m + n):
            y = cuda.matmul(a, b, bias)
        assert y.dtype == a.dtype and y.shape == (m, n)
        scale = max(1, abs(expected).max(initial=0))
        np.testing.assert_allclose(y.astype(float), expected, rtol=rounding, atol=rounding * scale)
        with thread_order(m + n + 1):
            np.testing.assert_array_equal(cuda.matmul(a, b, bias), y)


def test_cuda_reads_any_strides():
    a, b = np.arange(40.0).reshape(5, 8)[::2, ::3], np.arange(36.0).reshape(6, 6)[::-2, 1:5]
    np.testing.assert_array_equal(cuda.matmul(a, b), a @ b)
    ints = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(cuda.matmul(ints, ints.T), ints @ ints.T)


def test_half_precision_sums_in_float32(kernels):
    """4096 ones added up in half precision would stay at 2048."""
    a = np.ones((1, 4096), np.float16)
    assert kernels.matmul(a, a.T) == 4096
