"""Random resized crops, colour jitter and PCA lighting against their definitions, written out with Pillow and NumPy."""

import colorsys
import dataclasses
import itertools
import math
import random

import numpy as np
import pytest

from minicnn.data import transforms as T

Image = pytest.importorskip("PIL.Image")
ImageEnhance = pytest.importorskip("PIL.ImageEnhance")

SOME = [T.RandomResizedCrop((5, 4)), T.ColorJitter(0.4, 0.3, 0.2, 0.1), T.PCALighting([0.2, 0.05, 0.01], np.eye(3))]


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# -- RandomResizedCrop ------------------------------------------------------------------------------------------------


def windows(crop: T.RandomResizedCrop, n: int, height: int, width: int, seed: int) -> np.ndarray:
    """(n, 4): top, left, height, width of the windows, read off from an image whose pixels say where they are.

    Between two pixels, resampling leaves a ramp a ramp: y(i) = top + (i + ½) h / size - ½.
    """
    crop = dataclasses.replace(crop, interpolation="bilinear", antialias=False)
    where = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij")).astype(float)
    y = crop(np.broadcast_to(where, (n, 2, height, width)), rng(seed))
    rows, columns = y[:, 0, :, 0], y[:, 1, 0, :]
    found = []
    for line, size in ((rows, y.shape[2]), (columns, y.shape[3])):
        middle = size // 2
        slope = line[:, middle] - line[:, middle - 1]
        found.append((line[:, middle] + 0.5 - (middle + 0.5) * slope, slope * size))
    (top, h), (left, w) = found
    exact = np.stack([top, left, h, w], axis=1)
    np.testing.assert_allclose(exact, exact.round(), atol=1e-6)
    return exact.round().astype(int)


def window_by_definition(draw: random.Random, height: int, width: int, scale, ratio) -> tuple[int, int, int, int]:
    for _ in range(10):
        area = height * width * draw.uniform(*scale)
        aspect = math.exp(draw.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return draw.randint(0, height - h), draw.randint(0, width - w), h, w
    w, h = width, height
    if width / height < ratio[0]:
        h = round(width / ratio[0])
    elif width / height > ratio[1]:
        w = round(height * ratio[1])
    return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_window_is_cut_out_and_resized_as_pillow_does(interpolation):
    crop = T.RandomResizedCrop((24, 20), interpolation=interpolation)
    x = images(40, 3, 31, 47)
    how = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[interpolation]
    y = crop(x, rng(5))
    assert y.dtype == np.uint8
    for image, got, (top, left, h, w) in zip(x, y, windows(crop, 40, 31, 47, seed=5), strict=True):
        cut = Image.fromarray(image.transpose(1, 2, 0)).crop((left, top, left + w, top + h))
        want = np.asarray(cut.resize((20, 24), how)).transpose(2, 0, 1)
        assert abs(got.astype(int) - want).max() <= 1  # Pillow before 13 may pass over the two axes in another order


@pytest.mark.parametrize("height, width, scale, ratio", [
    (40, 40, (0.08, 1.0), (3 / 4, 4 / 3)), (30, 70, (0.3, 1.0), (0.5, 1.0)), (50, 32, (0.5, 0.6), (1.0, 3.0))])
def test_windows_are_distributed_as_defined(height, width, scale, ratio):
    n, draw = 4000, random.Random(0)
    ours = windows(T.RandomResizedCrop(8, scale, ratio), n, height, width, seed=0)
    theirs = np.array([window_by_definition(draw, height, width, scale, ratio) for _ in range(n)])
    for of_window in (lambda t: t[:, 0], lambda t: t[:, 1], lambda t: t[:, 2] * t[:, 3], lambda t: t[:, 3] / t[:, 2],
                      lambda t: t[:, 0] + t[:, 2], lambda t: t[:, 1] + t[:, 3]):
        a, b = np.sort(of_window(ours)), np.sort(of_window(theirs))
        both = np.unique(np.concatenate([a, b]))
        furthest = abs(np.searchsorted(a, both, "right") - np.searchsorted(b, both, "right")).max() / n
        assert furthest < 1.95 * math.sqrt(2 / n)  # Kolmogorov-Smirnov, 0.1 %
    assert (ours[:, :2] >= 0).all() and (ours[:, :2] + ours[:, 2:] <= (height, width)).all()


@pytest.mark.parametrize("height, width, scale, ratio, window", [
    (60, 10, (0.9, 1.0), (2.0, 3.0), (27, 0, 5, 10)), (10, 60, (0.9, 1.0), (1.0, 2.0), (0, 20, 10, 20)),
    (20, 30, (2.0, 2.0), (1.0, 2.0), (0, 0, 20, 30))])
def test_where_nothing_fits_it_is_the_middle(height, width, scale, ratio, window):
    found = windows(T.RandomResizedCrop(8, scale, ratio), 5, height, width, seed=0)
    assert (found == window).all()
    assert window_by_definition(random.Random(0), height, width, scale, ratio) == window


# -- ColorJitter ------------------------------------------------------------------------------------------------------


def grey(x: np.ndarray) -> np.ndarray:
    return 0.299 * x[0] + 0.587 * x[1] + 0.114 * x[2]


def turned(x: np.ndarray, f: float) -> np.ndarray:
    pixels = [colorsys.rgb_to_hsv(*pixel) for pixel in x.reshape(3, -1).T]
    return np.array([colorsys.hsv_to_rgb((h + f) % 1, s, v) for h, s, v in pixels]).T.reshape(x.shape)


DEFINITIONS = {
    "brightness": lambda x, f: f * x,
    "contrast": lambda x, f: f * x + (1 - f) * grey(x).mean(),
    "saturation": lambda x, f: f * x + (1 - f) * grey(x),
    "hue": turned,
}


@pytest.mark.parametrize("name, f", [("brightness", 0.3), ("brightness", 1.7), ("contrast", 0.0), ("contrast", 2.5),
                                     ("saturation", 0.0), ("saturation", 3.0), ("hue", -0.4), ("hue", 0.1)])
def test_one_operation_is_as_defined(name, f):
    x = images(4, 3, 6, 7)
    x[0, :, 0] = np.array([[0, 0, 255, 255, 9, 200, 40], [0, 255, 0, 255, 9, 200, 40], [0, 9, 9, 255, 9, 3, 255]])
    jitter = T.ColorJitter(**{name: (f, f)})
    want = np.stack([np.clip(DEFINITIONS[name](image / 255, f), 0, 1) for image in x])
    for given, atol in ((x / 255, 1e-12), ((x / 255).astype(np.float32), 3e-6)):
        before = given.copy()
        y = jitter(given, rng())
        assert y.dtype == given.dtype
        np.testing.assert_allclose(y, want, atol=atol)
        np.testing.assert_array_equal(given, before)
    levels = jitter(x, rng())
    assert levels.dtype == np.uint8
    np.testing.assert_allclose(levels, want * 255, atol=0.501)


@pytest.mark.parametrize("name, enhance", [("brightness", "Brightness"), ("contrast", "Contrast"),
                                           ("saturation", "Color")])
@pytest.mark.parametrize("f", [0.2, 1.0, 1.9])
def test_levels_are_those_of_pillow(name, enhance, f):
    x = images(1, 3, 9, 8)
    y = T.ColorJitter(**{name: (f, f)})(x, rng())[0]
    pillow = getattr(ImageEnhance, enhance)(Image.fromarray(x[0].transpose(1, 2, 0))).enhance(f)
    assert abs(y.astype(int) - np.asarray(pillow).transpose(2, 0, 1)).max() <= 1 + (f > 1)  # Pillow rounds the grey too


def test_every_image_gets_the_operations_in_an_order_of_its_own():
    fixed = {"brightness": 1.3, "contrast": 0.6, "saturation": 1.8, "hue": 0.2}
    image = images(3, 4, 5)[None] / 255
    wanted = []
    for order in itertools.permutations(fixed):
        y = image[0]
        for name in order:
            y = np.clip(DEFINITIONS[name](y, fixed[name]), 0, 1)
        wanted.append(y)
    y = T.ColorJitter(**{name: (f, f) for name, f in fixed.items()})(np.repeat(image, 600, axis=0), rng())
    equal = abs(y[:, None] - np.stack(wanted)).max((2, 3, 4)) < 1e-9  # (600, 24)
    assert equal.any(1).all()
    alike = (abs(np.stack(wanted)[:, None] - np.stack(wanted)).max((2, 3, 4)) < 1e-9).sum(1)  # some commute
    expected = 600 / 24 * alike
    assert (abs(equal.sum(0) - expected) < 3.5 * np.sqrt(expected)).all() and alike.min() == 1


@pytest.mark.parametrize("given, low, high", [(0.4, 0.6, 1.4), (1.5, 0.0, 2.5), ((0.2, 0.3), 0.2, 0.3)])
def test_factors_are_uniform_in_their_range(given, low, high):
    x = np.full((20_000, 3, 1, 1), 0.25)
    f = np.sort(T.ColorJitter(brightness=given)(x, rng())[:, 0, 0, 0] / 0.25)
    assert low <= f[0] < low + 0.01 and high - 0.01 < f[-1] <= high
    np.testing.assert_allclose(f, np.linspace(low, high, len(f)), atol=0.02 * (high - low))


def test_hue_is_turned_both_ways():
    x = np.zeros((10_000, 3, 1, 1))
    x[:, 0] = 1  # red
    y = T.ColorJitter(hue=0.1)(x, rng())[:, :, 0, 0]
    assert (y[:, 0] == 1).all() and (y[:, 1:].min(1) == 0).all()
    assert 0.48 < (y[:, 1] > 0).mean() < 0.52
    assert 0.58 < y[:, 1:].max() <= 0.6 + 1e-12  # a tenth of the circle is 0.6 sixths


def test_without_arguments_it_changes_nothing():
    x = images(3, 3, 4, 4)
    np.testing.assert_array_equal(T.ColorJitter()(x, rng()), x)
    floats = x / 255
    y = T.ColorJitter()(floats, rng())
    np.testing.assert_array_equal(y, floats)
    assert not np.shares_memory(y, floats)


# -- PCALighting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_the_axes_are_those_of_the_pixels(channels):
    mix = np.random.default_rng(1).standard_normal((channels, channels)) * 20
    noise = np.random.default_rng(0).standard_normal((700, 5, 6, channels)) @ mix
    x = np.clip(noise + 128, 0, 255).astype(np.uint8).transpose(0, 3, 1, 2)
    lighting = T.PCALighting.of(x, std=0.2)
    covariance = np.cov((x / 255).transpose(1, 0, 2, 3).reshape(channels, -1), bias=True).reshape(channels, channels)
    values, vectors = np.array(lighting.eigenvalues), np.array(lighting.eigenvectors)
    assert lighting.std == 0.2 and (np.diff(values) <= 0).all()
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, covariance, atol=1e-12)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(channels), atol=1e-12)
    assert (np.take_along_axis(vectors, abs(vectors).argmax(0)[None], 0) > 0).all()
    np.testing.assert_allclose(T.PCALighting.of(x / 255).eigenvalues, values, atol=1e-12)


def test_an_image_is_shifted_as_a_whole_and_shifts_have_the_covariance_of_the_formula():
    """Cov(P (α ∘ λ)) = P diag(std λ)² Pᵀ"""
    values, vectors = np.array([0.3, 0.1, 0.02]), np.linalg.qr(np.random.default_rng(2).standard_normal((3, 3)))[0]
    lighting = T.PCALighting(values.tolist(), vectors.tolist(), std=0.5)
    x = np.random.default_rng(3).random((20_000, 3, 2, 3))
    shifts = lighting(x, rng()) - x
    np.testing.assert_allclose(shifts, np.broadcast_to(shifts[:, :, :1, :1], shifts.shape), atol=1e-12)
    shifts = shifts[:, :, 0, 0]
    want = vectors @ np.diag((0.5 * values) ** 2) @ vectors.T
    np.testing.assert_allclose(np.cov(shifts.T), want, atol=0.03 * want.max())
    np.testing.assert_allclose(shifts.mean(0), 0, atol=0.003)


def test_levels_are_rounded_and_clipped():
    lighting = T.PCALighting([1.0, 1.0, 1.0], np.eye(3).tolist(), std=0.5)
    x = images(50, 3, 4, 5)
    exact = lighting(x / 255, rng()) * 255
    y = lighting(x, rng())
    assert y.dtype == np.uint8 and exact.min() < 0 and exact.max() > 255
    np.testing.assert_allclose(y, np.clip(exact, 0, 255), atol=0.501)


# -- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", SOME, ids=lambda t: type(t).__name__)
def test_they_depend_on_the_generator_alone(transform):
    x = images(30, 3, 6, 7)
    before = x.copy()
    one, two = (transform(x, rng(seed)) for seed in (1, 2))
    np.testing.assert_array_equal(one, transform(x, rng(1)))
    assert (one != two).any()
    np.testing.assert_array_equal(x, before)
    with pytest.raises(TypeError, match=f"{type(transform).__name__}: is random and needs a generator"):
        transform(x)


@pytest.mark.parametrize("transform", SOME, ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("n", [0, 1])
def test_empty_and_single_batches(transform, n):
    assert len(transform(images(n, 3, 5, 6), rng())) == n


@pytest.mark.parametrize("call, match", [
    (lambda: T.RandomResizedCrop(0), "RandomResizedCrop: size must be at least 1"),
    (lambda: T.RandomResizedCrop(8, scale=(0.5, 0.2)), "scale must be 0 < low <= high, not .0.5, 0.2."),
    (lambda: T.RandomResizedCrop(8, ratio=(0, 1)), "ratio must be 0 < low <= high, not .0, 1."),
    (lambda: T.RandomResizedCrop(8, interpolation="box"), "RandomResizedCrop: interpolation must be one of .*'box'"),
    (lambda: T.ColorJitter(contrast=-1), "contrast = -1 must not be negative"),
    (lambda: T.ColorJitter(brightness=(-0.1, 1)), r"brightness = \(-0.1, 1\) must stay in 0..inf"),
    (lambda: T.ColorJitter(saturation=(1, 0.5)), "saturation"),
    (lambda: T.ColorJitter(hue=0.6), "hue = 0.6 must stay in -0.5..0.5"),
    (lambda: T.ColorJitter(0.5)(images(2, 1, 3, 3), rng()), r"must be RGB images \(N, 3, H, W\), not \(2, 1, 3, 3\)"),
    (lambda: T.PCALighting([0.1, 0.2], np.eye(3)), r"2 eigenvalues need eigenvectors \(2, 2\), not \(3, 3\)"),
    (lambda: T.PCALighting([0.1], [[1.0]], std=-1), "std must not be negative, not -1"),
    (lambda: T.PCALighting([0.1], [[1.0]])(images(2, 3, 3, 3), rng()), "1 channels as the eigenvalues"),
    (lambda: T.PCALighting.of(images(0, 3, 2, 2)), "PCALighting.of: needs images")])
def test_errors(call, match):
    with pytest.raises(ValueError, match=match):
        call()
