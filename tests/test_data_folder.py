"""Folders of image files: classes from sub-folders, a split that stays, one size for all, decoded when asked for."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from minicnn.data import DataError, DataLoader, ImageFiles, folder, image_files, load

Image = pytest.importorskip("PIL.Image")


def draw(path: Path, height: int = 6, width: int = 6, seed: int = 0, mode: str = "RGB") -> np.ndarray:
    """An image file of random pixels; its array (C, H, W)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = (3,) if mode == "RGB" else ()
    x = np.random.default_rng(seed).integers(0, 256, (height, width, *channels), dtype=np.uint8)
    Image.fromarray(x).save(path)
    return x.transpose(2, 0, 1) if mode == "RGB" else x[None]


@pytest.fixture
def pets(tmp_path) -> tuple[Path, dict[Path, np.ndarray]]:
    """Sixty images of 6×6 in three classes, and their pixels."""
    root = tmp_path / "pets"
    names = [f"{kind}/{i:02}.png" for kind in ("dog", "cat") for i in range(25)]
    names += [f"bird/{place}{i}.{suffix}" for place in ("", "more/deep/") for i, suffix in enumerate(
        ("png", "PNG", "bmp", "tif", "ppm"))]
    return root, {root / name: draw(root / name, seed=i) for i, name in enumerate(names)}


def both(path: Path) -> list:
    return [load(f"folder:{path}", split, report=lambda line: None) for split in ("train", "validation")]


def test_a_link_that_leads_up_adds_nothing(pets):
    root, files = pets
    (root / "cat" / "up").symlink_to("..", target_is_directory=True)
    assert sum(map(len, both(root))) == len(files)


def test_the_folder_of_a_class_may_be_a_link(pets, tmp_path):
    root, files = pets
    (root / "dog").rename(tmp_path / "elsewhere")
    (root / "dog").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    train, validation = both(root)
    assert train.classes == ["bird", "cat", "dog"]
    assert sorted(train.images.paths + validation.images.paths) == sorted(files)  # by the names they have here


def test_a_class_whose_name_no_table_can_show(pets):
    root, _ = pets
    (root / "dog").rename(root / "hot\ndog")
    with pytest.raises(DataError, match=r"the class 'hot\\ndog' has a line break"):
        both(root)


@pytest.mark.parametrize("link, target, message", [
    ("puss", "cat", "pets: the classes 'cat' and 'puss' share images, all those in .*/cat"),
    ("deep", "bird/more", "pets: the classes 'bird' and 'deep' share images, all those in .*/bird/more"),
    ("all", ".", "pets: the classes 'all' and 'bird' share images, all those in .*/bird")])
def test_a_class_that_is_a_link_to_images_of_another(pets, link, target, message):
    root, _ = pets
    draw(root / "bird-house" / "1.png")  # sorts between bird and bird/more as a text
    (root / link).symlink_to(target, target_is_directory=True)
    with pytest.raises(DataError, match=message) as caught:
        both(root)
    assert caught.value.hint == "remove the link of one of them"


def test_classes_are_the_sub_folders_and_every_image_is_in_one_part(pets):
    root, files = pets
    (root / "empty").mkdir()
    (root / "cat" / "notes.txt").write_text("no image")
    draw(root / ".cache" / "x.png"), draw(root / "cat" / ".hidden.png"), draw(root / "cat" / ".trash" / "x.png")
    train, validation = both(root)
    assert train.classes == validation.classes == ["bird", "cat", "dog"]
    assert sorted(train.images.paths + validation.images.paths) == sorted(files)
    assert 5 <= len(validation) <= 20
    for part in (train, validation):
        assert part.images.shape == (len(part), 3, 6, 6) and part.images.dtype == np.uint8
        for path, image, label in zip(part.images.paths, part.images, part.labels, strict=True):
            assert path.relative_to(root).parts[0] == part.classes[label]
            np.testing.assert_array_equal(image, files[path])
    assert (train.name, train.split, train.source) == (f"folder:{root}", "train", str(root))
    assert repr(validation).startswith("ImageDataset(folder:")


def test_a_fifth_is_held_out(tmp_path):
    for i in range(1000):
        path = tmp_path / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(tmp_path / "one.png")
    draw(tmp_path / "one.png")
    train, validation = both(tmp_path)
    assert len(train) + len(validation) == 1000 and 160 <= len(validation) <= 240
    for part in (train, validation):
        assert 0.3 < part.labels[:100].mean() < 0.7  # the first images are of all classes


def test_an_image_stays_in_its_part_whatever_else_there_is(pets, tmp_path):
    root, files = pets
    before = [{path.name for path in part.images.paths if path.parts[-2] == "dog"} for part in both(root)]
    for path in list(files)[25:40]:
        path.unlink()
    for i in range(20):
        draw(root / "dog" / f"new{i}.png")
        draw(root / "ant" / f"{i}.png")
    root.rename(tmp_path / "moved")
    after = [{path.name for path in part.images.paths if path.parts[-2] == "dog"} for part in both(tmp_path / "moved")]
    assert before[0] <= after[0] and before[1] <= after[1] and before[1]


def test_every_class_is_in_both_parts(tmp_path):
    """However their names fall: of "few" no check sum is below a fifth, of "low" all are."""
    places = {name: folder._place(tmp_path, tmp_path / name)
              for name in (f"{kind}/{i}.png" for kind in ("few", "low", "many") for i in range(60))}
    files = {kind: [name for name, place in places.items() if name.startswith(kind) and fits(place)][:count]
             for kind, fits, count in (("few", lambda place: place > 0.2, 4), ("low", lambda place: place < 0.2, 3),
                                       ("many", lambda place: True, 50))}
    for name in (*sum(files.values(), []), "one/0.png"):
        draw(tmp_path / name)
    train, validation = ({path.relative_to(tmp_path).as_posix() for path in part.images.paths}
                         for part in both(tmp_path))
    assert validation & set(files["few"]) == {min(files["few"], key=places.get)}
    assert train & set(files["low"]) == {max(files["low"], key=places.get)}
    assert validation & set(files["many"]) == {name for name in files["many"] if places[name] < 0.2}
    assert "one/0.png" in train and len(train) + len(validation) == 58


def test_what_tells_whether_the_files_are_the_same(pets):
    root, files = pets
    before = both(root)[0].files
    assert both(root)[1].files == both(root)[0].head(3).files == before
    assert before.startswith(f"{len(both(root)[0])} training and {len(both(root)[1])} validation images, check sum")
    path = root / "cat" / "00.png"
    path.rename(root / "cat" / "other.png")
    assert both(root)[0].files != before
    (root / "cat" / "other.png").rename(path)
    assert both(root)[0].files == before


@pytest.mark.parametrize("held_out", ["validation", "val", "valid", "test"])
def test_folders_that_are_split_already(tmp_path, held_out):
    for i, name in enumerate(("train/a/1.png", "train/b/1.png", "train/b/2.png", f"{held_out}/b/1.png")):
        draw(tmp_path / name, seed=i)
    train, validation = both(tmp_path)
    assert train.classes == validation.classes == ["a", "b"]
    assert sorted(train.labels) == [0, 1, 1] and validation.labels.tolist() == [1]
    assert validation.images.paths == [tmp_path / held_out / "b" / "1.png"]
    draw(tmp_path / held_out / "c" / "1.png")
    with pytest.raises(DataError, match=f"{held_out}: has a class 'c' that .*train has not"):
        both(tmp_path)


def test_train_may_be_a_class(tmp_path):
    for i in range(20):
        draw(tmp_path / "train" / f"{i}.png"), draw(tmp_path / "bus" / f"{i}.png")
    assert both(tmp_path)[0].classes == ["bus", "train"]


def test_images_of_different_sizes_become_squares_of_the_median_side(tmp_path):
    sizes = [(20, 30), (40, 24), (50, 50), (21, 70), (28, 28)]
    for i in range(50):
        draw(tmp_path / "ab"[i % 2] / f"{i}.png", *sizes[i % 5], seed=i)
    train, validation = both(tmp_path)
    assert train.images.shape[1:] == validation.images.shape[1:]
    side = train.images.shape[2]
    assert train.images.shape[1:] == (3, side, side) and 21 <= side <= 28
    for path, image in zip(train.images.paths, train.images, strict=True):
        with Image.open(path) as file:
            scale = side / min(file.size)
            resized = file.resize((round(file.width * scale), round(file.height * scale)), Image.Resampling.BILINEAR)
        top, left = (resized.height - side) // 2, (resized.width - side) // 2
        want = np.asarray(resized)[top:top + side, left:left + side].transpose(2, 0, 1)
        assert np.corrcoef(image.ravel(), want.ravel())[0, 1] > 0.75  # it may lie half a pixel beside


def test_large_images_become_256(tmp_path):
    for i in range(20):
        draw(tmp_path / "ab"[i % 2] / f"{i}.png", 300 + i, 260)
    assert both(tmp_path)[0].images.shape[1:] == (3, 256, 256)


def test_not_square_but_all_alike_keeps_the_size(tmp_path):
    for i in range(20):
        draw(tmp_path / "ab"[i % 2] / f"{i}.png", 5, 9)
    assert both(tmp_path)[1].images.shape[1:] == (3, 5, 9)


def test_photographs_held_sideways_count_as_they_are_seen(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(20):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.new("RGB", (9, 5)).save(tmp_path / "ab"[i % 2] / f"{i}.jpg", exif=exif)
    assert both(tmp_path)[0].images.shape[1:] == (3, 9, 5)


def test_grey_only_if_all_are(tmp_path):
    for i in range(20):
        draw(tmp_path / "ab"[i % 2] / f"{i}.png", mode="L")
    assert both(tmp_path)[0].images.shape[1:] == (1, 6, 6)
    draw(tmp_path / "a" / "colour.png")  # a training image, by its name
    assert {part.images.shape[1:] for part in both(tmp_path)} == {(3, 6, 6)}


def test_mean_and_std_are_those_of_the_training_images(pets):
    train, validation = both(pets[0])
    assert (train.mean, train.std) == (validation.mean, validation.std)
    levels = train.images[:] / 255
    np.testing.assert_allclose(train.mean, levels.mean((0, 2, 3)), atol=6e-5)
    np.testing.assert_allclose(train.std, levels.std((0, 2, 3)), atol=6e-5)


def test_an_image_without_contrast_can_still_be_normalised(tmp_path):
    for i in range(20):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (255, 0, 7)).save(tmp_path / "ab"[i % 2] / f"{i}.png")
    train, _ = both(tmp_path)
    assert min(train.std) > 0 and train.mean == (1.0, 0.0, 0.0275)


def test_nothing_is_decoded_before_it_is_asked_for_and_then_once(pets, monkeypatch):
    train, _ = both(pets[0])
    read, counts = image_files.read_image, {}

    def counting(path, *args, **options):
        counts[path] = counts.get(path, 0) + 1
        return read(path, *args, **options)

    monkeypatch.setattr(image_files, "read_image", counting)
    head = train.head(7)
    assert len(head) == 7 and counts == {}
    for _ in range(2):
        assert [len(y.data) for _, y in DataLoader(head, 3, shuffle=True)] == [3, 3, 1]
    assert counts == dict.fromkeys(train.images.paths[:7], 1)


def test_a_set_too_large_for_memory_is_decoded_again(pets, monkeypatch):
    train, _ = both(pets[0])
    whole = train.images[:]
    monkeypatch.setattr(image_files, "IN_MEMORY", whole.nbytes - 1)
    large = ImageFiles(train.images.paths, train.images.shape[1:])
    assert large._kept is None
    for index in (0, -1, np.int64(3), slice(None, None, -2), slice(0), [4, 1, 4], np.array([2]), np.arange(49) == 7):
        for files in (large, train.images):
            np.testing.assert_array_equal(files[index], whole[index])
            assert not np.shares_memory(files[index], files[index])
    with pytest.raises(IndexError):
        large[len(whole)]


def test_what_comes_out_can_be_changed_without_harm(pets):
    train, _ = both(pets[0])
    for index in (0, slice(2), [0, 1]):
        image = train.images[index]
        image[:] = 0
        assert (train.images[index] != 0).any()


def test_a_loader_gives_images_and_labels(pets):
    root, files = pets
    train, _ = both(root)
    for x, y in DataLoader(train, 8, shuffle=True):
        for image, label in zip(x.data, y.data, strict=True):
            path = next(path for path, pixels in files.items() if (pixels == image).all())
            assert path.relative_to(root).parts[0] == train.classes[label]


def test_it_is_announced_and_done_once(pets, capsys):
    root, files = pets
    for split in ("train", "validation", "train"):
        load(f"folder:{root}", split)
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("looking at ") and err.count("\n") == 1 and str(root) in err
    before = load(f"folder:{root}").mean
    for path in files:
        Image.new("RGB", (6, 6)).save(path)
    assert load(f"folder:{root}", "validation").mean == (0, 0, 0) != before
    assert capsys.readouterr().err == err


def test_a_home_folder_is_found(pets, monkeypatch):
    monkeypatch.setenv("HOME", str(pets[0].parent))
    assert len(both(Path("~/pets"))[0].classes) == 3


# -- errors -----------------------------------------------------------------------------------------------------------


def test_what_is_no_image_folder(tmp_path):
    with pytest.raises(DataError, match="nowhere: there is no such folder"):
        both(tmp_path / "nowhere")
    with pytest.raises(DataError, match="has no sub-folders with images") as caught:
        both(tmp_path)
    assert "cat/1.jpg" in caught.value.hint
    for i in range(9):
        draw(tmp_path / "a" / f"{i}.png")
    with pytest.raises(DataError, match="has only the class a$|has only the class a\n"):
        both(tmp_path)


def test_without_pillow_the_error_names_the_extra(pets, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match="Pillow, which is not installed"):
        both(pets[0])


def test_too_few_images(tmp_path):
    draw(tmp_path / "a" / "1.png"), draw(tmp_path / "b" / "1.png")
    with pytest.raises(DataError, match="too few images, none of them is for"):
        both(tmp_path)


def test_a_broken_file_is_named(pets):
    root, files = pets
    train, _ = both(root)
    broken = train.images.paths[3]
    broken.write_bytes(b"nothing")
    with pytest.raises(DataError, match=f"{broken.name}: cannot be read as an image"):
        train.images[:]
    with pytest.raises(DataError, match=f"{broken.name}: cannot be read as an image"):
        both(root)


@pytest.mark.skipif(sys.platform != "linux", reason="file names as bytes")
def test_names_that_are_no_text(tmp_path):
    for i in range(20):
        draw(tmp_path / "ab"[i % 2] / f"{i}.png")
    os.rename(tmp_path / "a" / "0.png", os.fsencode(tmp_path / "a") + b"/\xff.png")
    assert sum(map(len, both(tmp_path))) == 20
