import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minicnn.data import Dataset
from minicnn.data import transforms as T
from minicnn.data.compose import RandomTransform, Transform

SIDE = st.integers(1, 40)


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def pillow(x: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    from PIL import Image

    how = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[interpolation]
    planes = [np.asarray(Image.fromarray(plane).resize(size[::-1], how)) for plane in x.reshape(-1, *x.shape[2:])]
    return np.reshape(planes, (*x.shape[:2], *size))


# -- Resize -----------------------------------------------------------------------------------------------------------


def one_pass_order(h: int, w: int, oh: int, ow: int) -> bool:
    """Pillow passes over the width first, in every version; from 13 on it does not where the height shrinks most."""
    return not (h > oh and h - oh > 2 * (w - ow))


@given(SIDE, SIDE, SIDE, SIDE, st.sampled_from(["bilinear", "bicubic"]), st.integers(0, 99))
def test_resize_equals_pillow_bit_for_bit(h, w, oh, ow, interpolation, seed):
    PIL = pytest.importorskip("PIL")
    if int(PIL.__version__.split(".")[0]) < 13 and not one_pass_order(h, w, oh, ow):
        return
    x = images(2, 3, h, w, seed=seed)
    y = T.Resize((oh, ow), interpolation)(x)
    assert y.dtype == np.uint8
    np.testing.assert_array_equal(y, pillow(x, (oh, ow), interpolation))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(224, 224), (227, 227), (96, 96), (13, 40), (7, 5), (28, 31), (37, 28), (28, 28)])
def test_resize_of_a_batch_larger_than_one_chunk(size, interpolation):
    pytest.importorskip("PIL")
    x = images(70, 1, 28, 28)
    np.testing.assert_array_equal(T.Resize(size, interpolation)(x), pillow(x, size, interpolation))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(40, 9), (5, 70), (3, 4)])
def test_resize_of_floats_equals_pytorch_with_antialias(size, interpolation, dtype):
    x = np.random.default_rng(0).standard_normal((2, 3, 17, 23)).astype(dtype)
    want = torch.nn.functional.interpolate(torch.tensor(x), size, mode=interpolation, antialias=True)
    y = T.Resize(size, interpolation)(x)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, want.numpy(), atol=1e-5)


@pytest.mark.parametrize("size", [(40, 9), (5, 70), (3, 4)])
def test_resize_without_antialias_equals_pytorch(size):
    x = np.random.default_rng(0).standard_normal((2, 3, 17, 23))
    want = torch.nn.functional.interpolate(torch.tensor(x), size, mode="bilinear", antialias=False)
    np.testing.assert_allclose(T.Resize(size, antialias=False)(x), want.numpy(), atol=1e-12)


def test_resize_to_an_int_sets_the_shorter_side():
    assert T.Resize(10)(images(1, 1, 20, 31)).shape == (1, 1, 10, 15)
    assert T.Resize(10)(images(1, 1, 31, 20)).shape == (1, 1, 15, 10)


def test_resize_keeps_a_constant_image_and_the_input():
    x = np.full((2, 1, 9, 14), 255, np.uint8)
    assert (T.Resize((30, 4), "bicubic")(x) == 255).all()
    x = images(2, 1, 9, 14)
    before = x.copy()
    y = T.Resize((9, 14))(x)
    y[:] = 0
    np.testing.assert_array_equal(x, before)


# -- levels -----------------------------------------------------------------------------------------------------------


def test_to_float_and_raw_pixels():
    x = images(2, 3, 4, 5)
    for y, want in ((T.ToFloat()(x), x / np.float32(255)), (T.RawPixels()(x), x.astype(np.float32))):
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y, want)
    floats = x / 255
    assert T.ToFloat()(floats) is floats and T.RawPixels()(floats) is floats


@pytest.mark.parametrize(
    "channels, mean, std", [(1, 0.1307, 0.3081), (3, (0.49, 0.48, 0.45), (0.2, 0.3, 0.4)), (3, 0.5, 0.5)]
)
def test_normalize_is_x_minus_mean_over_std(channels, mean, std):
    x = images(5, channels, 6, 7)
    unit = x / 255
    want = (unit - np.reshape(mean, (-1, 1, 1))) / np.reshape(std, (-1, 1, 1))
    normalize = T.Normalize(mean, std)
    for given_x, dtype in ((x, np.float32), (unit.astype(np.float32), np.float32), (unit, np.float64)):
        before = given_x.copy()
        y = normalize(given_x)
        assert y.dtype == dtype
        np.testing.assert_allclose(y, want, atol=1e-6 if dtype == np.float32 else 1e-14)
        np.testing.assert_array_equal(given_x, before)
    np.testing.assert_allclose(T.Compose([T.ToFloat(), normalize])(x), want, atol=1e-6)


# -- geometry ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding, sides", [(2, (2, 2, 2, 2)), ((1, 3), (1, 3, 1, 3)), ((1, 2, 3, 4), (1, 2, 3, 4))])
def test_pad_is_pytorchs(padding, sides):
    x = images(2, 3, 5, 4)
    left, top, right, bottom = sides
    want = torch.nn.functional.pad(torch.tensor(x), (left, right, top, bottom), value=7)
    y = T.Pad(padding, fill=7)(x)
    assert y.dtype == np.uint8
    np.testing.assert_array_equal(y, want.numpy())


def test_center_crop():
    x = images(2, 3, 9, 12)
    np.testing.assert_array_equal(T.CenterCrop((5, 6))(x), x[:, :, 2:7, 3:9])
    np.testing.assert_array_equal(T.CenterCrop(9)(x), x[:, :, :, 2:11])  # 1.5 rounds to 2, as in torchvision


def test_random_crop_cuts_a_window_out_of_every_padded_image():
    x = images(200, 3, 6, 8)
    y = T.RandomCrop((5, 9), padding=2)(x, np.random.default_rng(0))
    assert y.shape == (200, 3, 5, 9)
    padded = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)))
    seen = set()
    for image, crop in zip(padded, y, strict=True):
        at = [(i, j) for i in range(6) for j in range(4) if (image[:, i : i + 5, j : j + 9] == crop).all()]
        assert at
        seen.update(at)
    assert len(seen) == 24  # every place is reached


def test_random_flip_mirrors_about_p_of_the_images():
    x = images(1000, 1, 3, 5)
    y = T.RandomHorizontalFlip(0.3)(x, np.random.default_rng(0))
    flipped = (y == x[..., ::-1]).all((1, 2, 3))
    assert ((y == x).all((1, 2, 3)) | flipped).all()
    assert 250 < flipped.sum() < 350
    np.testing.assert_array_equal(T.RandomHorizontalFlip(0)(x, np.random.default_rng(0)), x)
    np.testing.assert_array_equal(T.RandomHorizontalFlip(1)(x, np.random.default_rng(0)), x[..., ::-1])


@pytest.mark.parametrize("transform", [T.RandomCrop(5, padding=1), T.RandomHorizontalFlip()])
def test_random_transforms_depend_on_the_generator_alone(transform):
    x = images(30, 2, 6, 6)
    before = x.copy()
    one, two = (transform(x, np.random.default_rng(seed)) for seed in (1, 2))
    np.testing.assert_array_equal(one, transform(x, np.random.default_rng(1)))
    assert (one != two).any()
    np.testing.assert_array_equal(x, before)


def test_compose_hands_the_generator_through_and_takes_plain_functions():
    x = images(4, 1, 6, 6)
    noise = T.Compose([T.ToFloat(), lambda x, rng: x + rng.random(x.shape), T.RandomCrop(4)])
    y = noise(x, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    want = T.RandomCrop(4)(T.ToFloat()(x) + rng.random(x.shape), rng)
    np.testing.assert_array_equal(y, want)


ALL = [
    T.ToFloat(),
    T.RawPixels(),
    T.Normalize(0.5, 0.5),
    T.Resize((3, 4)),
    T.Pad(1),
    T.CenterCrop(2),
    T.RandomCrop(2, padding=1),
    T.RandomHorizontalFlip(),
]


@pytest.mark.parametrize("transform", ALL, ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("n", [0, 1])
def test_empty_and_single_batches(transform, n):
    y = transform(images(n, 1, 5, 6), np.random.default_rng(0))
    assert y.shape[:2] == (n, 1)


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda: T.Resize((3, 3))(images(5, 5)), ValueError, r"Resize: x must be a batch .* \(5, 5\)"),
        (lambda: T.ToFloat()(np.zeros((1, 1, 2, 2), np.int64)), TypeError, "ToFloat: .* not int64"),
        (lambda: T.Resize((0, 3)), ValueError, "Resize: size"),
        (lambda: T.Resize(8, "lanczos"), ValueError, "bilinear, bicubic, not 'lanczos'"),
        (lambda: T.Normalize(0.5, 0.0), ValueError, "std must be positive"),
        (lambda: T.Normalize([0.5, 0.5], 1.0)(images(1, 3, 2, 2)), ValueError, "mean has 2 values but x has 3"),
        (lambda: T.Normalize(0.0, [1.0, 1.0])(images(1, 3, 2, 2)), ValueError, "std has 2 values but x has 3"),
        (lambda: T.Normalize([[0.5]], 1.0), ValueError, "a number or one per channel"),
        (lambda: T.Pad((1, 2, 3)), ValueError, r"Pad: padding must be .* \(1, 2, 3\)"),
        (lambda: T.Pad(-1), ValueError, "Pad: padding"),
        (lambda: T.CenterCrop(6)(images(1, 1, 5, 9)), ValueError, "CenterCrop: a window of 6x6 .* 5x9"),
        (lambda: T.CenterCrop(0), ValueError, "CenterCrop: size must be at least 1 pixel, .* not 0"),
        (lambda: T.RandomCrop((0, 3)), ValueError, "RandomCrop: size must be at least 1 pixel"),
        (lambda: T.Resize(2.5), ValueError, r"or \(height, width\), in whole pixels, not 2.5"),
        (lambda: T.Resize((1, 2, 3)), ValueError, r"Resize: size .* not \(1, 2, 3\)"),
        (lambda: T.Pad("1"), ValueError, "Pad: padding must be .* not '1'"),
        (lambda: T.Pad((1, 1.5)), ValueError, r"Pad: padding must be .* not \(1, 1.5\)"),
        (lambda: T.Normalize(0, float("nan")), ValueError, "Normalize: std must be positive, not nan"),
        (lambda: T.ColorJitter((1, 2, 3)), ValueError, r"brightness = \(1, 2, 3\) must be a number or \(low, high\)"),
        (lambda: T.RandomCrop(3, padding=-1), ValueError, "padding must be 1, 2 or 4 numbers of pixels, none negative"),
        (lambda: T.RandomCrop(6)(images(1, 1, 9, 5), np.random.default_rng()), ValueError, "6x6 .* 9x5"),
        (lambda: T.RandomCrop(2)(images(1, 1, 9, 5)), TypeError, "RandomCrop: is random and needs a generator"),
        (lambda: T.RandomHorizontalFlip()(images(1, 1, 9, 5)), TypeError, "RandomHorizontalFlip: is random"),
        (lambda: T.RandomHorizontalFlip(1.5), ValueError, "p must be between 0 and 1"),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize("base, call, missing", [
    (Dataset, len, "__len__"), (Dataset, lambda d: d[0], "__getitem__"),
    (Transform, lambda t: t(np.zeros((1, 1, 2, 2), np.float32)), "apply"),
    (RandomTransform, lambda t: t(np.zeros((1, 1, 2, 2), np.float32), np.random.default_rng(0)), "draw")])
def test_what_a_class_of_ones_own_lacks_is_named(base, call, missing):
    class Own(base):
        pass

    with pytest.raises(NotImplementedError, match=f"^Own has no {missing}.*; define"):
        call(Own())
