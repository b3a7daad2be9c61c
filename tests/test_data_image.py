import sys

import numpy as np
import pytest

from minicnn.data import DataError, image, read_image
from minicnn.data.transforms import Resize

Image = pytest.importorskip("PIL.Image")


def levels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def saved(path, x: np.ndarray, **options):
    Image.fromarray(x).save(path, **options)
    return path


def test_grey_and_colour(tmp_path):
    grey, colour = levels(5, 7), levels(5, 7, 3)
    for name, x in (("grey.png", grey), ("colour.png", colour)):
        saved(tmp_path / name, x)
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), grey[None])
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png", channels=3), np.stack([grey] * 3))
    got = read_image(tmp_path / "colour.png")
    assert got.dtype == np.uint8 and got.flags.c_contiguous
    np.testing.assert_array_equal(got, colour.transpose(2, 0, 1))
    luma = colour @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(read_image(str(tmp_path / "colour.png"), channels=1)[0], luma, atol=0.6)


def test_size_is_that_of_resize(tmp_path):
    x = levels(20, 30, 3)
    path = saved(tmp_path / "x.png", x)
    whole = x.transpose(2, 0, 1)[None]
    np.testing.assert_array_equal(read_image(path, (8, 9)), Resize((8, 9))(whole)[0])
    np.testing.assert_array_equal(read_image(path, 8), Resize(8)(whole)[0])


def test_invert(tmp_path):
    dark = np.zeros((9, 8), np.uint8)
    dark[1:8, 1:7] = 250  # more light than dark within, so that the middle would vote otherwise
    light = 255 - dark
    for x in (dark, light):
        path = saved(tmp_path / "x.png", x)
        np.testing.assert_array_equal(read_image(path)[0], x)
        np.testing.assert_array_equal(read_image(path, invert=True)[0], 255 - x)
        np.testing.assert_array_equal(read_image(path, invert="auto")[0], dark)


def test_transparency_is_white(tmp_path):
    x = np.zeros((4, 4, 4), np.uint8)
    x[1:3, 1:3, 3] = 255  # an opaque black square on a transparent ground
    want = np.full((4, 4), 255)
    want[1:3, 1:3] = 0
    np.testing.assert_array_equal(read_image(saved(tmp_path / "x.png", x)), np.stack([want] * 3))
    la = saved(tmp_path / "la.png", np.ascontiguousarray(x[:, :, 2:]))
    np.testing.assert_array_equal(read_image(la), want[None])


def test_photographs_are_turned_upright(tmp_path):
    x = levels(4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held sideways: show it turned clockwise
    np.testing.assert_array_equal(read_image(saved(tmp_path / "x.png", x, exif=exif))[0], np.rot90(x, -1))


def test_sixteen_bits_and_palettes(tmp_path):
    x = levels(4, 6)
    path = saved(tmp_path / "deep.png", x.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(path)[0], x)
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "L").convert("P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png").tolist() == [[[255, 0], [0, 255]], [[0, 0]] * 2, [[0, 255], [255, 0]]]


def test_floating_point_levels(tmp_path):
    levels = np.array([[0.0, 0.5], [1.0, 0.25]], np.float32)
    assert read_image(saved(tmp_path / "unit.tif", levels)).tolist() == [[[0, 128], [255, 64]]]
    assert read_image(saved(tmp_path / "levels.tif", levels * 200 - 20)).tolist() == [[[0, 80], [180, 30]]]
    for value in (np.nan, np.inf):
        levels[1, 1] = value
        with pytest.raises(DataError, match="bad.tif: has levels that are NaN or infinite"):
            read_image(saved(tmp_path / "bad.tif", levels))


def test_integer_levels_beyond_sixteen_bits(tmp_path):
    levels = np.array([[0, 65535], [256, 700]], np.int32)
    assert read_image(saved(tmp_path / "x.tif", levels)).tolist() == [[[0, 255], [1, 2]]]
    for value in (-1, 70_000):
        levels[0, 0] = value
        with pytest.raises(DataError, match="has levels from .*, not in 0..65535"):
            read_image(saved(tmp_path / "x.tif", levels))


def test_too_many_pixels(tmp_path, monkeypatch):
    path = saved(tmp_path / "x.png", levels(20, 10))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 99)
    with pytest.raises(DataError, match="x.png: has more than 198 pixels, which is too many") as caught:
        read_image(path)
    assert "smaller" in caught.value.hint


@pytest.mark.parametrize("shape, size", [((20, 31), (10, 10)), ((31, 20), (9, 12)), ((7, 5), (14, 21)),
                                         ((8, 8), (4, 4))])
def test_crop_fills_the_size_and_cuts_the_same_on_both_sides(tmp_path, shape, size):
    rows, columns = np.mgrid[: shape[0], : shape[1]] * 8.0
    x = np.stack([rows, columns, rows], axis=2).astype(np.uint8)
    y = read_image(saved(tmp_path / "x.png", x), size, fit="crop")
    assert y.shape == (3, *size)
    scale = max(size[0] / shape[0], size[1] / shape[1])
    for channel, axis in ((0, 0), (1, 1)):
        line = y[channel].mean(1 - axis)
        middle = (np.arange(size[axis]) - (size[axis] - 1) / 2) / scale + (shape[axis] - 1) / 2
        np.testing.assert_allclose(line[1:-1], 8 * middle[1:-1], atol=3)


def test_pad_shows_the_whole_on_the_colour_of_its_background(tmp_path):
    x = np.full((10, 30, 3), (200, 100, 50), np.uint8)
    x[3:7, 8:22] = (0, 255, 9)
    y = read_image(saved(tmp_path / "x.png", x), (15, 15), fit="pad")
    assert y.shape == (3, 15, 15)
    for rows in (slice(0, 5), slice(10, 15)):
        assert (y[:, rows].transpose(1, 2, 0) == (200, 100, 50)).all()
    np.testing.assert_array_equal(y[:, 5:10], Resize((5, 15))(x.transpose(2, 0, 1)[None])[0])
    dark = read_image(saved(tmp_path / "g.png", x[:, :, 0]), (15, 15), invert="auto", fit="pad")
    assert (dark[0, :5] == 55).all()


def test_a_large_jpeg_is_decoded_at_less_than_its_size(tmp_path, monkeypatch):
    smooth = np.add.outer(np.arange(400), np.arange(600)) / 4
    path = saved(tmp_path / "x.jpg", smooth.astype(np.uint8), quality=95)
    y = read_image(path, (20, 30), fit="crop")
    want = Resize((20, 30))(smooth.astype(np.uint8)[None, None])[0]
    assert abs(y.astype(int) - want).max() <= 2
    sizes = []
    monkeypatch.setattr(image, "_fitted", lambda picture, size, fit: sizes.append(picture.size) or picture)
    for size, fit in (((20, 30), "crop"), ((20, 30), "pad"), ((200, 300), "pad"), ((20, 30), "stretch")):
        read_image(path, size, fit=fit)
    assert sizes == [(150, 100), (150, 100), (600, 400), (600, 400)]


def test_files_that_are_no_images(tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    whole = saved(tmp_path / "x.png", levels(50, 50)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:300])
    (tmp_path / "folder.png").mkdir()
    wrong = {"text.png": "cannot be read as an image", "cut.png": "cannot be read", "no.png": "no such file",
             "folder.png": "is a folder, not an image"}
    for name, match in wrong.items():
        with pytest.raises(DataError, match=match) as caught:
            read_image(tmp_path / name)
        assert caught.value.message.startswith(str(tmp_path / name))


def test_without_pillow_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match="Pillow, which is not installed") as caught:
        read_image(tmp_path / "x.png")
    assert "[plot]" in caught.value.hint


@pytest.mark.parametrize("options, match", [
    ({"channels": 2}, "must be 1, 3 or None"), ({"invert": "yes"}, "'yes'"), ({"fit": "cover"}, "not 'cover'"),
    ({"size": 0}, "read_image: size must be at least 1 pixel, .* not 0"), ({"size": (8, 0)}, r"not \(8, 0\)"),
    ({"fit": "crop"}, "fit 'crop' needs size .height, width., not None"), ({"fit": "pad", "size": 8}, "not 8")])
def test_errors(tmp_path, options, match):
    with pytest.raises(ValueError, match=match):
        read_image(tmp_path / "x.png", **options)
