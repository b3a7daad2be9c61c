"""eval, predict, summary and info: what they do with odd images, and how they look."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich import cells

import minicnn
from minicnn import __main__, backend, data, nn
from minicnn.cli import count, use_machine
from minicnn.eval import ConfusionTable, _worst
from minicnn.explain import Field, LayerSummary, Summary, summary
from minicnn.predict import _read
from minicnn.training import Evaluation, RunFolder, checkpoint

from test_commands import minicnn as command
from test_commands import run  # noqa: F401  the fixture


# -- predict --------------------------------------------------------------------------------------------------------


def test_good_images_are_predicted_beside_bad_ones(run, tmp_path):  # noqa: F811
    Image.new("L", (20, 20), 9).save(tmp_path / "good.png")
    (tmp_path / "text.png").write_text("dear reader")
    arguments = ["predict", run, "text.png", "good.png", "gone.png", "good.png"]
    out, err = command(*arguments, "--json", cwd=tmp_path, code=1)
    assert [entry["image"] for entry in json.loads(out)] == ["good.png", "good.png"]
    lines = [line for line in err.splitlines() if not line.startswith("compiling")]
    assert [re.sub(r" \(.*\)", "", line) for line in lines] == [
        "python -m minicnn predict: error: text.png: cannot be read as an image",
        "  hint: is it a PNG or JPEG file?",
        "python -m minicnn predict: error: gone.png: no such file",
        "  hint: check the path"]
    out, _ = command(*arguments, cwd=tmp_path, code=1)
    assert [line for line in out.splitlines() if line[0] != " "] == ["good.png", "good.png"]
    out, _ = command("predict", run, "text.png", "--json", cwd=tmp_path, code=1)
    assert json.loads(out) == []


@pytest.mark.parametrize("size", [(60_000, 1), (1, 60_000)])
def test_a_long_thin_image_is_shrunk_before_the_border_is_added(tmp_path, size):
    """A border around 60,000×1 pixels would take 26 GiB as numbers."""
    Image.new("RGB", size, (10, 20, 30)).save(tmp_path / "thin.png")
    x = _read(str(tmp_path / "thin.png"), (3, 28, 20), "no")
    assert x.shape == (3, 28, 20) and all((channel == level).all() for channel, level in zip(x, (10, 20, 30)))


@pytest.mark.parametrize("shape, size", [((12, 30), (28, 28)), ((30, 12), (28, 28)), ((41, 17), (32, 48)),
                                         ((20, 90), (24, 16)), ((8, 8), (28, 28)), ((60, 12), (16, 32))])
def test_the_border_may_as_well_be_added_first(tmp_path, shape, size):
    """What is drawn comes to the same place, to a pixel, as by adding the border to the whole and resizing that."""
    height, width = shape
    picture = np.full(shape, 200.0)
    inner = picture[1:-1, 1:-1]
    inner -= 150 * np.outer(np.hanning(height - 2), np.hanning(width - 2))
    picture = picture.astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "x.png")
    x = _read(str(tmp_path / "x.png"), (1, *size), "no")[0]
    full = max(height, round(width * size[0] / size[1])), max(width, round(height * size[1] / size[0]))
    top, left = (full[0] - height) // 2, (full[1] - width) // 2
    whole = np.full(full, 200, np.uint8)
    whole[top:top + height, left:left + width] = picture
    want = np.asarray(Image.fromarray(whole).resize(size[::-1], Image.Resampling.BILINEAR))

    def centre(image: np.ndarray) -> np.ndarray:
        ink = 200.0 - image
        return np.array([(ink.sum(1) @ np.arange(size[0])), (ink.sum(0) @ np.arange(size[1]))]) / ink.sum()

    assert abs(centre(x) - centre(want)).max() < 1
    assert abs(int(x.min()) - int(want.min())) < 30
    shorter = min(shape) * min(size[0] / height, size[1] / width)  # in pixels, before it is rounded
    assert (200.0 - x).sum() == pytest.approx((200.0 - want).sum(), rel=0.1 + 0.5 / shorter)


def test_names_of_wide_characters_do_not_shift_the_bars(copy, capsys):
    settings = RunFolder(copy).settings()
    names = ["cat", "猫", "子犬です", "🐕", "e\u0301", "ｶﾅ", "Ж", "한국", "x" * 9, ""]
    RunFolder(copy).write_settings(settings | {"data": settings["data"] | {"classes": names}})
    code, out, _ = main(capsys, "predict", copy, "x.png", "--top", 10)
    assert code == 0 and {cells.cell_len(line) for line in out.splitlines()[1:]} == {2 + 9 + 2 + 24 + 1 + 6}


def test_too_many_pixels_say_what_to_do(run, tmp_path):  # noqa: F811
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    _, err = command("predict", run, "huge.png", cwd=tmp_path, code=1)
    assert "huge.png: has more than 178,956,970 pixels, which is too many to be read\n  hint: make the image sma" in err
    Image.new("1", (10_000, 10_000)).save(tmp_path / "large.png")
    out, err = command("predict", run, "large.png", "--top", 1, cwd=tmp_path)
    assert out.startswith("large.png\n") and "decompression" not in err


def test_levels_that_are_no_numbers(run, tmp_path):  # noqa: F811
    levels = np.zeros((9, 9), np.float32)
    levels[3, 3] = np.nan
    Image.fromarray(levels).save(tmp_path / "nan.tif")
    _, err = command("predict", run, "nan.tif", cwd=tmp_path, code=1)
    assert "nan.tif: has levels that are NaN or infinite" in err


# -- which weights, which data --------------------------------------------------------------------------------------


def main(capsys, *arguments: object) -> tuple[int, str, list[str]]:
    """What a command gives in this process: exit code, stdout and the lines of stderr without those on compiling."""
    code = __main__.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, [line for line in err.splitlines() if not line.startswith("compiling")]


@pytest.fixture
def copy(run, tmp_path, monkeypatch) -> Path:  # noqa: F811
    """A run of lenet_bn that may be changed, in the working folder."""
    monkeypatch.chdir(tmp_path)
    Image.new("L", (28, 28), 9).save("x.png")
    return Path(shutil.copytree(run, "copy"))


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    """A run of lenet5, with an option."""
    cwd = tmp_path_factory.mktemp("other")
    command("train", "lenet5", "--option", "activation=tanh", "--epochs", 1, "--limit-train", 50, "-b", 25, cwd=cwd)
    return cwd / "runs" / "lenet5-digits-1"


@pytest.mark.parametrize("arguments", [["eval", "copy"], ["predict", "copy", "x.png"]])
def test_weights_that_do_not_belong_to_the_run(copy, other, capsys, arguments):
    assert main(capsys, *arguments)[2] == []
    best, last, strange = copy / "best.safetensors", copy / "last.safetensors", copy / "strange.safetensors"
    best.write_bytes(bytes([*last.read_bytes()[:-1], 1]))  # finite, of the same shapes
    code, out, err = main(capsys, *arguments)
    assert (code, out) == (1, "") and err[0].endswith(
        "copy/best.safetensors is damaged, or from another run: it is not the file that state.json was written with")
    best.unlink()
    code, out, err = main(capsys, *arguments)
    assert (code, out) == (1, "") and err[0].endswith("copy/best.safetensors is missing")
    strange.write_bytes((other / "best.safetensors").read_bytes())
    code, out, err = main(capsys, arguments[0], strange, *arguments[2:])
    assert (code, out) == (1, "") and err[0].endswith(
        "copy/strange.safetensors is of another run: it holds lenet5, channels 1, classes 10, activation tanh; "
        "copy is a run of lenet_bn, channels 1, classes 10")
    strange.write_bytes(last.read_bytes())
    code, out, (note,) = main(capsys, arguments[0], strange, *arguments[2:])
    assert code == 0 and out and note == ("note: copy/strange.safetensors is not part of the newest checkpoint, "
                                          "so no check sum tells whether it is intact")
    strange.write_bytes(last.read_bytes()[:1000])
    code, out, err = main(capsys, arguments[0], strange, *arguments[2:])
    assert (code, out) == (1, "") and "error: copy/strange.safetensors is not a safetensors file, or is dam" in err[0]
    assert err[1] == "  hint: put the file back from a copy, or start a new run"
    code, _, err = main(capsys, arguments[0], copy / "gone.safetensors", *arguments[2:])
    assert code == 1 and err[0].endswith("error: there is no copy/gone.safetensors")
    assert err[1] == "  hint: name the folder of the run, or last.safetensors in it"


def test_options_of_the_model_do_not_make_it_another(other, capsys):
    code, out, err = main(capsys, "eval", other)
    assert (code, err) == (0, []) and "after 1 epoch\n" in out


@pytest.mark.parametrize("arguments", [["eval"], ["eval", "--json"], ["predict"], ["predict", "--json"]])
def test_weights_that_are_not_finite(copy, capsys, arguments):
    model = checkpoint.load(copy / "last.safetensors")
    model.conv2.weight.data[0] = np.nan
    (copy / "nan.safetensors").write_bytes(checkpoint.model_bytes(model, epochs=3, batch=0))
    images = ["x.png"] if arguments[0] == "predict" else []
    code, out, err = main(capsys, arguments[0], copy / "nan.safetensors", *images, *arguments[1:])
    assert (code, out) == (1, "")
    assert err[1].endswith("error: copy/nan.safetensors gives numbers that are not finite; the first is the output of "
                           "conv2 (Conv2d), whose weights are not finite either")
    assert err[2].startswith("  hint: the run diverged: ")


def test_eval_reads_the_held_out_images_alone_and_prepares_them_as_the_run_did(copy, capsys, monkeypatch):
    before = main(capsys, "eval", copy, "--json")[1]
    load, seen = data.load, []

    def spy(name, split, *arguments):
        seen.append(split)
        images = load(name, split, *arguments)
        images.mean, images.std = (0.9,), (5.0,)  # as where images were added since
        return images

    monkeypatch.setattr(data, "load", spy)
    assert main(capsys, "eval", copy, "--json")[1] == before
    assert seen == ["validation"]


def test_eval_on_other_data_than_the_run_had(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for i in range(40):
        path = tmp_path / "pets" / ("cat", "dog")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (28, 28), i).save(path)
    assert main(capsys, "train", "lenet", "--data", "folder:pets", "--epochs", 1, "-b", 20, "--name", "x")[0] == 0
    monkeypatch.chdir(tmp_path / "runs")  # the folder is found from elsewhere, too
    assert main(capsys, "eval", "x", "--json")[0] == 0
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets" / "dog").rename(tmp_path / "pets" / "wolf")
    code, out, err = main(capsys, "eval", "runs/x", "--json")
    assert (code, out) == (1, "") and err[1].endswith(
        f"folder:{tmp_path}/pets in {tmp_path}/pets is not the data set that runs/x was trained on: its images or "
        "classes are others")


def test_one_is_singular(monkeypatch):
    monkeypatch.setattr(backend, "get_num_threads", lambda: 1)
    assert use_machine("cpu", None)[1] == "device: cpu (1 thread)"
    assert [count(n, "epoch") for n in (0, 1, 2, 1000)] == ["0 epochs", "1 epoch", "2 epochs", "1,000 epochs"]


# -- how they look --------------------------------------------------------------------------------------------------


def test_everything_fits_80_columns(run, tmp_path):  # noqa: F811
    model = run.parent.parent
    for arguments in (["eval", "runs/lenet_bn-digits-1"], ["summary", "lenet_bn"], ["summary", "cnn2"], ["summary"],
                      ["info"]):
        out, _ = command(*arguments, cwd=model, COLUMNS="80")
        long = [line for line in out.splitlines() if len(line) > 80]
        assert all(len(line.split()) <= 2 for line in long), long  # a path can be no shorter than it is


def test_eval_shows_the_accuracy_that_train_shows(run):  # noqa: F811
    _, *epochs = (run / "metrics.csv").read_text().splitlines()
    out, _ = command("eval", run, cwd=run)
    best = max(float(line.split(",")[4]) for line in epochs)
    assert re.search(r"^accuracy (\d+\.\d%)  ", out, re.MULTILINE)[1] == f"{best:.1%}"


def confusion(classes: list[str], count: int = 9999) -> ConfusionTable:
    return ConfusionTable(Evaluation(0.5, np.full((len(classes),) * 2, count)), classes)


@pytest.mark.parametrize("classes", [[f"a_rather_long_name_{i}" for i in range(12)], [str(i) for i in range(12)]])
def test_the_confusion_table_fits_80_columns(classes):
    from rich.console import Console

    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(confusion(classes))
    lines = captured.get().splitlines()
    assert len(lines) == 14 and all(len(line) <= 80 for line in lines)
    assert all(line.split()[-1] == "8.3%" and line.count("9999") == 12 for line in lines[1:-1])


def test_the_worst_mistakes_are_listed(capsys):
    counts = np.diag([50] * 6) + np.diag([3, 0, 7, 2, 1], k=1)
    counts[5, 0] = 12_000
    _worst(Evaluation(0.5, counts), ["a", "b", "c", "d", "e", "long name"])
    assert capsys.readouterr().out.splitlines() == [
        "", "most often mistaken", "  long name for a  12,000×", "  c for d          7×", "  a for b          3×",
        "  d for e          2×"]
    _worst(Evaluation(0.5, counts), ["a", "猫", "c", "d", "e", "long name"])  # of two columns
    assert capsys.readouterr().out.splitlines()[4] == "  a for 猫         3×"


def layer(name: str, kind: str, output: tuple[int, ...], parameters: int, macs: int, field: Field) -> LayerSummary:
    return LayerSummary(name, kind, output, parameters, 0, macs, 12_845_056, 602_112, 5_419_008, field)


def test_a_narrow_terminal_cuts_names_from_the_left_and_leaves_numbers_whole():
    from rich.console import Console

    layers = [layer("features.block1.conv1", "Conv2d", (64, 224, 224), 1_792, 86_704_128, Field((3, 3))),
              layer("features.avgpool", "AdaptiveAvgPool2d", (512, 7, 7), 0, 0, Field((427, 427), (32, 32))),
              layer("classifier.0", "Linear", (4096,), 102_764_544, 102_764_544, Field(None))]
    table = Summary("net", (3, 224, 224), layers, 138_357_544, 4 * 138_357_544, 0)
    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(table)
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert re.fullmatch(r"….*1\.conv1 Conv2d +64×224×224 +1,792 +86\.7M +12\.2Mi +588Ki +5\.2Mi +3 *", lines[3])
    assert re.fullmatch(r".*fier\.0 Linear +4096 +102,764,544 +102\.8M .* all *", lines[5])
    wide = str(table).splitlines()
    assert wide[3].startswith("features.block1.conv1 Conv2d") and wide[2].endswith("field jump")
    assert wide[-1].startswith("jump ") and lines[-1].startswith("field ")  # a column left out needs no legend


def test_every_column_that_needs_it_is_explained():
    text = str(summary(minicnn.models.create("lenet")))
    legend = {line.split()[0]: line for line in text.splitlines()[-4:]}
    assert list(legend) == ["kept", "im2col", "field", "jump"] and all(len(line) <= 80 for line in legend.values())


def test_a_network_without_layers():
    class Double(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nothing = nn.Sequential()

        def forward(self, x):
            return x * 2

    assert "memory per image: 64B of outputs in forward" in str(summary(Double(), (1, 4, 4)))


def test_nobody_is_told_to_install_somebody_elses_minicnn():
    """The name belongs to another project on PyPI."""
    package = Path(minicnn.__file__).parent
    for path in [*package.rglob("*.py"), *package.parent.glob("README.md")]:
        assert not re.search(r"install\s+\S*minicnn", path.read_text()), path


def test_info_says_how_to_get_a_gpu(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cupy", None)
    assert "in the checkout: pip install '.[cuda13]'" in minicnn.backend.why_no_cuda()
