"""The explorer's page, driven in a real browser as a person would: its numbers are those of a fresh run."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import browser as chromium
import minicnn as mc
from minicnn import functional as F
from minicnn.backend import Geometry, conv_algorithm
from minicnn.explain.__main__ import main
from minicnn.explain.explorer import lens, toy
from minicnn.kernels import reference
from minicnn.training.pipeline import for_prediction
from minicnn.training.session import load_run, validation_of

from test_commands import minicnn as command

STEPS = "explorer.operation.steps.length"


@pytest.fixture(scope="module")
def page():
    if chromium.PROGRAM is None:
        pytest.skip("no Chromium here")
    with chromium.browser() as opened:
        yield opened


@pytest.fixture
def explain(tmp_path, capsys):
    """Run the command; the page that it wrote and what it printed."""

    def run(*arguments: object, code: int = 0) -> tuple[Path, str]:
        out = tmp_path / "page.html"
        assert main([*map(str, arguments), "-o", str(out)]) == code
        printed = capsys.readouterr()
        return out, printed.out if code == 0 else printed.err

    return run


@pytest.fixture(scope="module")
def lenet(tmp_path_factory) -> Path:
    """A trained run."""
    cwd = tmp_path_factory.mktemp("trained")
    command("train", "lenet", "--epochs", 2, "--limit-train", 300, "--limit-val", 20, cwd=cwd)
    return cwd / "runs" / "lenet-digits-1"


def data_of(path: Path) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text())[1])


def array(tensor: dict) -> np.ndarray:
    """A tensor of the page as the numbers that it stands for."""
    (block,) = tensor["blocks"]
    if isinstance(block["data"], list):
        return np.array(block["data"], tensor["type"]).reshape(tensor["shape"])
    return np.frombuffer(base64.b64decode(block["data"]), tensor["type"]).reshape(tensor["shape"])


def check(page: chromium.Page, path: Path, **window: object) -> None:
    """Open it: nothing is asked of the network, nothing fails in any step of either language, every sum is right."""
    page.open(path, **window)
    assert page.requests == [path.as_uri()] and path.stat().st_size < 2e6
    for language in ("English", "中文"):
        page.run(f"[...document.querySelectorAll('button')].find((b) => b.textContent === '{language}').click()")
        for step in range(page.run(STEPS)):
            page.run(f"explorer.open({step})")
            assert page.run("explorer.grids.length && explorer.grids.every((grid) => grid.canvas.width)")
            assert page.run("document.documentElement.scrollWidth <= innerWidth"), step
    result = page.run("explorer.verify(Infinity)")
    assert result["sums"] == result["all"] and result["unequal"] == 0
    assert page.problems == []


def hover(page: chromium.Page, grid: str, row: int, col: int, click: bool = False) -> str:
    """Point at a cell of a grid; the text of the sum that appears."""
    x, y = page.run(f"""(() => {{
        const grid = explorer.grids.find((grid) => grid.panel.id === "{grid}");
        grid.canvas.scrollIntoView({{block: "center"}});
        const box = grid.canvas.getBoundingClientRect();
        return [box.left + ({col} - grid.left + 0.5) * grid.size, box.top + ({row} - grid.top + 0.5) * grid.size];
    }})()""")
    page.mouse(x, y, click)
    return page.run("explorer.place.sum.innerText")


def lit(page: chromium.Page) -> set[str]:
    return set(page.run("[...explorer.explanation.lit]"))


# -- small numbers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [
    ("conv2d", "--input", "6x5", "--kernel", "3x2", "--stride", "2", "--padding", "1", "--dilation", "1x2",
     "--groups", "2", "--channels", "4x6"),
    ("conv2d", "--kernel", "1", "--channels", "3x2"), ("linear",), ("max_pool2d", "--padding", "1"),
    ("avg_pool2d", "--kernel", "3", "--channels", "6"), ("batch_norm",), ("batch_norm", "--channels", "5"),
    ("cross_entropy", "--input", "4x5"), ("dropout", "--p", "0.25")], ids=" ".join)
def test_every_operation_opens_and_adds_up(page, explain, arguments):
    path, _ = explain(*arguments)
    check(page, path)
    html = path.read_text()
    assert "http" not in html and "src=" not in html


def test_pointing_at_numbers_shows_what_they_are_made_of(page, explain):
    path, printed = explain("conv2d", "--input", "5x5", "--kernel", "3", "--stride", "2", "--padding", "1")
    page.open(path)
    a = toy.conv2d(stride=(2, 2), padding=(1, 1)).run.arrays
    cols = reference.im2col(a["x"], (3, 3), Geometry((2, 2), ((1, 1), (1, 1))))[0]

    page.run("explorer.open(1)")  # y = W · cols
    for grid, row, col in (("y-0", 1, 2), ("y-matrix", 0, 5)):
        text = hover(page, grid, row, col)
        assert text.startswith(f"y[0,1,2] = {a['y'][0, 0, 1, 2]:.0f}".replace("-", "−")) and "✓" in text
        assert {f"cols:0,{r},5" for r in range(9)} < lit(page)
        assert {f"x:0,{1 + p},{3 + q}" for p in range(3) for q in range(3)} < lit(page) | {"x:0,1,5"}

    page.run("explorer.open(2)")  # gw = gy · colsᵀ
    text = hover(page, "gw-0-0", 0, 1)
    assert text.startswith(f"gw[0,0,0,1] = {a['gy'].reshape(9) @ cols[1]:.0f}".replace("-", "−"))
    assert {f"gy:0,{i},{j}" for i in range(3) for j in range(3)} < lit(page)
    assert hover(page, "gb", 0, 0).startswith(f"gb[0] = {a['gy'].sum():.0f}".replace("-", "−"))

    page.run("explorer.open(3)")  # gcols = Wᵀ · gy
    gcols = a["w"].reshape(9, 1) @ a["gy"].reshape(1, 9)
    shown = page.run("explorer.grids.find((grid) => grid.panel.id === 'gcols').cells.map((cell) => cell.value)")
    assert np.array_equal(np.reshape(shown, (9, 9)), gcols)

    page.run("explorer.open(4)")  # gx = col2im(gcols)
    text = hover(page, "gx-0", 1, 3)
    assert text.startswith(f"gx[0,1,3] = {a['gx'][0, 0, 1, 3]:.0f}".replace("-", "−"))
    met = {"gcols:0,8,1", "gcols:0,6,2", "gcols:0,2,4", "gcols:0,0,5"}  # a pixel in four windows
    assert met == {key for key in lit(page) if key.startswith("gcols")}
    counts = reference.col2im(np.ones((1, 9, 9)), a["x"].shape, (3, 3), Geometry((2, 2), ((1, 1), (1, 1))))
    shown = page.run("explorer.grids.find((grid) => grid.panel.id === 'counts').cells.map((cell) => cell.value)")
    assert np.array_equal(np.reshape(shown, (5, 5)), counts[0, 0])

    # the same numbers light up in the kernel that is turned, and in gy that is spread by the stride
    page.run("explorer.open(5)")
    assert hover(page, "gx-0", 1, 3).startswith("gx[0,1,3]")
    assert {"w:0,0,2,2", "w:0,0,2,0", "w:0,0,0,2", "w:0,0,0,0"} < lit(page)
    assert {"gy:0,0,1", "gy:0,0,2", "gy:0,1,1", "gy:0,1,2"} < lit(page)
    spread, turned = page.run("""["gy-spread", "w-turned"].map((id) => {
        const grid = explorer.grids.find((grid) => grid.panel.id === id);
        const values = grid.cells.map((cell) => cell.value);
        return Array.from({length: grid.rows}, (_, r) => values.slice(r * grid.cols, (r + 1) * grid.cols));
    })""")
    assert np.array_equal(turned, a["w"][0, 0, ::-1, ::-1])
    again = reference.conv2d(np.array([[spread]], float), np.array([[turned]], float), None, Geometry())
    assert np.array_equal(again, a["gx"])

    for name in ("y", "gw", "gcols", "gx", "windows per pixel"):
        assert f"─ {name}" in printed
    assert page.problems == []


def test_a_click_holds_on_and_keys_walk(page, explain):
    page.open(explain("max_pool2d")[0])
    hover(page, "y-0", 0, 1, click=True)
    assert hover(page, "y-0", 1, 1).startswith("y[0,0,1]")
    page.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowDown")  # on the grid that was clicked
    assert page.run("explorer.explanation.key") == "y:0,1,1"
    page.call("Input.dispatchKeyEvent", type="keyDown", key="Escape")
    assert hover(page, "y-0", 0, 0).startswith("y[0,0,0]")
    page.run("document.activeElement.blur()")
    page.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight")
    assert page.run("explorer.number") == 1 and page.problems == []


def test_ties_are_named(page, explain):
    page.open(explain("max_pool2d")[0])
    a = toy.max_pool2d().run.arrays
    i, j = next((i, j) for i in range(2) for j in range(2)
                if (a["x"][0, 0, 2 * i:2 * i + 3, 2 * j:2 * j + 3] == a["y"][0, 0, i, j]).sum() > 1)
    place = int(a["index"][0, 0, i, j])
    text = hover(page, "y-0", i, j)
    assert "tie" in text and f"x[0,{place // 5},{place % 5}], the first, wins" in text


def test_sliders_show_other_runs_and_say_where_there_is_none(page, explain):
    path, _ = explain("conv2d", "--input", "5x5", "--kernel", "3", "--channels", "2x2")
    page.open(path)

    def slide(name: str, value: int) -> None:
        page.run(f"""(() => {{
            const slider = document.querySelector("#sliders input[name={name}]");
            slider.value = {value};
            slider.dispatchEvent(new Event("input"));
        }})()""")

    page.run("window.dragged = document.querySelector('#sliders input[name=stride]')")
    for name, place in (("stride", 1), ("padding", 2), ("dilation", 1), ("groups", 1)):  # 2, 2, 2, 2
        slide(name, place)
    assert page.run("dragged.isConnected")  # or a mouse could not move it on
    assert "stride 2, padding 2, dilation 2, groups 2" in page.run("explorer.place.about.textContent")
    expected = toy.conv2d((5, 5), stride=(2, 2), padding=(2, 2), dilation=(2, 2), groups=2, channels=(2, 2)).run.arrays
    for name in ("x", "w", "b", "y", "gy", "gx", "gw", "gb"):
        shown = page.run(f"explorer.tensors.{name}.blocks[0].data")
        shown = list(shown.values()) if isinstance(shown, dict) else shown
        assert np.array_equal(np.reshape(shown, expected[name].shape), expected[name]), name
    assert page.run("explorer.verify(Infinity)")["unequal"] == 0
    slide("padding", 0)
    slide("dilation", 2)
    assert "does not fit" in page.run("document.querySelector('#warning').textContent")
    assert page.problems == []


def test_channels_are_chosen_where_there_are_many(page, explain):
    page.open(explain("conv2d", "--channels", "10x6", "--groups", "2")[0])
    assert page.run("explorer.operation.channels") == {"o": [*range(6)], "c": [*range(10)]}

    def choose(name: str, value: int) -> str:
        return page.run(f"""(() => {{
            const select = document.querySelector("#channels select[name={name}]");
            select.value = {value};
            select.dispatchEvent(new Event("change"));
            return explorer.explanation.key;
        }})()""")

    assert choose("o", 4) == "y:4,0,0"
    assert page.run("[explorer.operation.o, explorer.operation.c]") == [4, 5]  # of the second group
    page.run("explorer.open(4)")
    assert choose("c", 7).startswith("gx:7,") and page.run("document.querySelector('#channels').innerText")
    grids = page.run("explorer.grids.map((grid) => grid.panel.id)")
    assert "gx-7" in grids and "gx-0" not in grids
    assert page.problems == []


def test_chinese_from_the_beginning(page, explain):
    page.open(explain("conv2d", "--lang", "zh")[0])
    assert "反向" in page.run("explorer.open(4), explorer.place.text.innerText")
    assert page.run("document.documentElement.lang") == "zh" and page.problems == []


@pytest.mark.parametrize("width, height, dark", [(1366, 768, False), (390, 844, True)])
def test_it_fits_on_screens_and_follows_their_colours(page, explain, width, height, dark):
    path, _ = explain("conv2d", "--input", "5x6", "--channels", "2x5", "--padding", "1")
    check(page, path, width=width, height=height, dark=dark)
    pixels = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("L"))
    assert pixels.shape == (height, width)
    assert (np.median(pixels) < 60) == dark and pixels.std() > 10


# -- networks -------------------------------------------------------------------------------------------------------


def test_a_layer_of_a_trained_network_is_that_of_a_fresh_run(page, explain, lenet):
    """What the page holds and adds up is, bit for bit, what the network computes where this layer adds in order."""
    path, printed = explain(lenet, "--layer", "conv2", "--image", "7", "--label", "3")
    assert "layer: conv2" in printed and "loss of class 3" in printed
    run = load_run(lenet)
    x = mc.tensor(for_prediction(run.settings, validation_of(run, {})[0].images[7:8]), requires_grad=True)
    kept = {}

    def before(module, args):
        kept.update(loops=conv_algorithm("loops"))
        kept["loops"].__enter__()

    def after(module, args, y):
        kept["loops"].__exit__(None, None, None)
        kept.update(x=args[0], y=y)

    run.model.conv2.register_forward_pre_hook(before)
    run.model.conv2.register_forward_hook(after)
    logits = run.model(x)
    gy, = mc.autograd.grad(F.cross_entropy(logits, mc.tensor([3])), kept["y"])
    w, b = run.model.conv2.weight, run.model.conv2.bias
    with conv_algorithm("loops"):
        gx, gw = mc.autograd.grad(kept["y"], (kept["x"], w), gy)
    gb = gy.numpy().astype(np.float64).sum((0, 2, 3)).astype(np.float32)
    tensors = {name: array(t) for name, t in data_of(path)["scenes"][0]["tensors"].items()}
    for name, t in {**kept, "w": w, "b": b, "gy": gy, "gx": gx, "gw": gw, "gb": mc.tensor(gb)}.items():
        if name != "loops":
            expected = t.detach().numpy()
            assert np.array_equal(tensors[name], expected[0] if name in ("x", "y", "gx", "gy") else expected), name
    check(page, path)


def test_the_network_view(page, explain, lenet, tmp_path):
    Image.fromarray(np.kron(np.eye(3) > 0, np.ones((8, 8))).astype(np.uint8) * 255).save(tmp_path / "mine.png")
    path, printed = explain(lenet, "--layer", "conv1", "--image", tmp_path / "mine.png")
    assert "score of class" in printed
    check(page, path)
    page.run("explorer.view('network')")
    pictures = page.run("[...document.querySelectorAll('[data-picture]')].map((canvas) => canvas.dataset.picture)")
    assert pictures == ["image", "effective", "saliency", "cam", *[f"map-{c}" for c in range(6)]]
    before = page.run("document.querySelector('[data-picture=image]').toDataURL()")
    x, y = page.run("""(() => {
        const canvas = document.querySelector("[data-picture=map-2]");
        canvas.scrollIntoView({block: "center"});
        const box = canvas.getBoundingClientRect();
        return [box.left + 3, box.top + 3];
    })()""")
    page.mouse(x, y)
    assert page.run("document.querySelector('[data-picture=image]').toDataURL()") != before  # the box has moved
    network = data_of(path)["network"]
    assert network["field"][0][0] == [0, 3] and network["field"][1][14] == [12, 17]
    assert array(network["filters"]).shape == (6, 1, 5, 5) and page.problems == []


def test_pictures_of_a_large_layer_stand_side_by_side_with_its_windows_in_sight(page, explain, lenet):
    page.open(explain(lenet, "--layer", "conv1")[0], width=1366)
    page.run("explorer.open(4)")
    tops = page.run("""["gx-0", "counts", `gy-${explorer.operation.o}`].map((id) =>
        explorer.grids.find((grid) => grid.panel.id === id).canvas.getBoundingClientRect().top)""")
    assert len(set(tops)) == 1
    for row in (2, 25):  # in five rows of windows, of which its own is in the middle; two are out of sight so far
        hover(page, "gx-0", row, 14)
    assert page.run("explorer.grids.find((grid) => grid.panel.id === 'gcols').left") == 25 * 28 + 14 - 50


def test_an_empty_activation_map_is_explained(page, explain, lenet):
    page.open(explain(lenet)[0])
    said = page.run("""[1, 0].map((value) => {
        const {shape} = page.network.cam, data = Array(shape.reduce((a, b) => a * b)).fill(value);
        const cam = {shape, type: "float32", blocks: [{start: shape.map(() => 0), shape, data}]};
        return new NetworkView({...page.network, cam}, explorer.tensors)
            .elements().map((element) => element.textContent).join(" ");
    })""")
    assert ["Grad-CAM is 0 everywhere" in text for text in said] == [False, True]


@pytest.mark.parametrize("layer", ["act1", "pool1", "flatten", "fc3"])
def test_any_layer_can_be_shown(page, explain, lenet, layer):
    check(page, explain(lenet, "--layer", layer)[0])


def test_of_a_layer_too_large_for_a_page_a_part_is_shown(page, explain, lenet, monkeypatch):
    monkeypatch.setattr(lens, "NUMBERS", 5500)  # the pictures of the network among them
    path, _ = explain(lenet, "--layer", "conv2")
    check(page, path)
    assert 100 < page.run("explorer.result.all") < 1000
    assert len(page.run("explorer.operation.channels.o")) == 1


@pytest.mark.parametrize("arguments, message", [
    (("conv2d", "--layer", "x"), "conv2d has no --layer"),
    (("conv2d", "--image", "mine.png"), "networks have: python -m minicnn.explain lenet --image"),
    (("max_pool2d", "--groups", "2"), "max_pool2d has no --groups"),
    (("conv2d", "--kernel", "9"), "does not fit"),
    (("conv2d", "--input", "500x500"), "2,250,000 numbers in a matrix are more than can be looked at (40,000)"),
    (("linear", "--channels", "1000x1000"), "1,000,000 numbers in a matrix are more than"),
    (("con2d",), "did you mean conv2d?"),
    (("lenet", "--stride", "2"), "belongs to operations"),
    (("lenet", "--layer", "conv9"), "there is no layer 'conv9'"),
    (("lenet", "--image", "99999"), "validation images"),
    (("lenet", "--option", "depth=9"), "has no option 'depth'"),
    (("char_lstm",), "reads texts")])
def test_wrong_usage_is_explained(explain, arguments, message):
    code = 1 if "conv9" in arguments or "char_lstm" in arguments else 2
    assert message in explain(*arguments, code=code)[1]


def test_it_is_a_command_under_both_names(tmp_path):
    for module, arguments in (("minicnn", ["explain"]), ("minicnn.explain", [])):
        out, err = command(*arguments, "linear", cwd=tmp_path, module=module)
        assert "page: explain.html" in out and err == "" and (tmp_path / "explain.html").stat().st_size > 1e4
        assert "conv2d" in command(*arguments, "--help", cwd=tmp_path, module=module)[0]
