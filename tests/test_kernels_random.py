"""Random numbers: Philox's known answers, uniform, the same for every back end; dropout."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import integers, sampled_from
from kernels_util import NAN, SEEDS, close, normal

from minicnn.kernels import cpu, reference
from minicnn.kernels.reference import layers


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
