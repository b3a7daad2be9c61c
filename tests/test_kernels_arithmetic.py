"""Arithmetic and copies of large arrays in threads: to the last bit what NumPy gives, however the arrays lie."""

import operator

import numpy as np
import pytest
from kernels_util import ARITHMETIC

import minicnn as mc
from minicnn import backend
from minicnn.kernels import cpu, reference
from minicnn.kernels.cpu.arithmetic import _planned

SHAPES = [(3, 40, 25, 31), (7, 12345), (70_001,), (2, 3, 16_411), (70, 1, 1013)]


def normal(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Normal numbers with zeros, infinities and NaN among them."""
    rng = np.random.default_rng(len(shape))
    x = rng.standard_normal(shape).astype(dtype)
    some = x.ravel()[::101]
    some[:] = rng.choice([0.0, -0.0, np.inf, -np.inf, np.nan], some.size)
    return x


def inside(x: np.ndarray, axis: int) -> np.ndarray:
    """x as a range of an axis of a larger array."""
    wide = np.concatenate((x, x, x), axis)
    return wide[(slice(None),) * axis + (slice(x.shape[axis], 2 * x.shape[axis]),)]


def lying(x: np.ndarray) -> list[np.ndarray]:
    """The values of x in other places and orders."""
    fixed = np.broadcast_to(x, (2, *x.shape))[1]  # read-only
    return [x, inside(x, x.ndim - 1), inside(x, x.ndim // 2), inside(x, 0), x[::-1].copy()[::-1], np.asfortranarray(x),
            fixed]


def same_bits(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(np.signbit(actual[actual == 0]), np.signbit(expected[expected == 0]))


@pytest.mark.filterwarnings("ignore:(divide|invalid):RuntimeWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_of_two_arrays_and_of_one_with_a_number(shape, dtype):
    a, b = normal(shape, dtype), normal(shape[::-1], dtype).reshape(shape)
    number = np.asarray(1.7, dtype)
    for name in ARITHMETIC:
        own, plain = getattr(cpu, name), getattr(operator, name)
        for first in lying(a):
            for second in [*lying(b), number]:
                same_bits(own(first, second), plain(first, second))
            same_bits(own(number, first), plain(number, first))


@pytest.mark.filterwarnings("ignore:invalid:RuntimeWarning")
@pytest.mark.parametrize("shape", SHAPES)
def test_in_place(shape):
    a, b = normal(shape, np.float32), normal(shape, np.float32)[::-1].copy()
    for second in lying(b):
        for target in (a.copy(), inside(a, 0), inside(a, len(shape) // 2)):
            around = target if target.base is None else target.base
            others = around.copy()
            expected = target + b
            assert cpu.iadd(target, second) is target
            same_bits(target, expected)
            assert np.count_nonzero((around != others) & (around == around)) <= b.size
    overlapping = np.arange(70_000.0)
    cpu.iadd(overlapping[1:], overlapping[:-1])
    np.testing.assert_array_equal(overlapping[1:], 2 * np.arange(1.0, 70_000) - 1)
    with pytest.raises(ValueError, match="broadcast"):
        cpu.iadd(np.zeros((2, 40_000)), np.zeros((3, 40_000)))
    same_bits(cpu.iadd(np.ones(40_000), np.ones(40_000, np.float32)), np.full(40_000, 2.0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64])
@pytest.mark.parametrize("shape", SHAPES)
def test_concatenate(shape, dtype):
    x = (np.arange(np.prod(shape)) % 1999).reshape(shape).astype(dtype)
    for axis in range(len(shape)):
        parts = (x, *lying(-x), np.take(x, [0], axis), np.take(x, [], axis))
        y = cpu.concatenate(parts, axis)
        same_bits(y, np.concatenate(parts, axis))
        assert y.flags.c_contiguous and reference.concatenate(parts, axis).flags.c_contiguous


@pytest.mark.parametrize("shapes", [((20_000,), (1,)), ((1, 300), (300, 1)), ((2, 20_000), (20_000,))])
def test_arithmetic_of_other_shapes_is_numpys(shapes):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape) for shape in shapes)
    np.testing.assert_array_equal(cpu.add(a, b), a + b)
    c, d = rng.standard_normal((1, 20_000)), rng.standard_normal((20_000, 1))[::4000]
    np.testing.assert_array_equal(cpu.mul(c, d), c * d)


def test_what_goes_in_threads():
    """Contiguous arrays, ranges of channels and numbers do; what is small, read-only or lies otherwise does not."""
    x = np.zeros((8, 30, 20, 20), np.float32)
    slices, number = x[:, 10:20], np.asarray(1.0, np.float32)
    assert _planned(x, x) and _planned(slices, slices) and _planned(slices, slices.copy()) and _planned(number, slices)
    for a, b in [(x[:1], x[:1]), (x, x.astype(float)), (x[..., ::2], x[..., ::2]), (x.T, x.T), (x[..., :10],) * 2,
                 (slices, np.broadcast_to(number, slices.shape)), (number, number)]:
        assert _planned(a, b) is None


def test_operations_and_gradients_of_large_tensors_are_those_of_the_reference():
    """A network of sums, products and concatenations, in which a gradient is the sum of several and a piece of one."""
    def run() -> list[np.ndarray]:
        mc.manual_seed(0)
        x, w = (mc.randn(4, 16, 40, 40, requires_grad=True) for _ in range(2))
        y = mc.cat([x, w * 2.5, x / (w * w + 1)], 1)
        z = y + y[:, :48] * 3 - 1 / (2 + y.square())
        (mc.nn.functional.conv2d(z, mc.randn(3, 48, 1, 1))[:, :, 1:] * 2).sum().backward()
        (x - w + mc.cat([x, w], 2)[:, :, :40]).sum().backward()  # is added to what is there
        return [y.data, x.grad.data, w.grad.data, z.transpose(1, 3).contiguous().data]

    found = run()
    before = mc.get_num_threads()
    mc.set_num_threads(1)
    try:
        alone = run()
    finally:
        mc.set_num_threads(before)
    with backend.use_kernels("reference"):
        plain = run()
    for a, b, c in zip(found, alone, plain, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, c, rtol=1e-5, atol=1e-5)
        assert a.flags.c_contiguous
