"""Graphs of networks: boxes and edges, their drawings as SVG, and as text for Mermaid and Graphviz."""

import itertools
import re
from collections import OrderedDict
from functools import cache
from xml.etree import ElementTree

import numpy as np
import pytest
from models_util import blank

import minicnn as mc
from minicnn import functional as F
from minicnn import models, nn
from minicnn.explain import Graph, diff, graph
from minicnn.explain.layout import _columns, _Vertex, layout
from minicnn.models.googlenet import Inception, conv_relu


class Residual(nn.Module):
    """A block as in ResNet, in functions and layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=2)

    def forward(self, x):
        return F.relu(x + self.conv2(F.relu(self.conv1(x))))


def inception() -> Graph:
    return graph(Inception(192, (64, (96, 128), (16, 32), 32), conv_relu), (192, 14, 14), depth=9)


def links(g: Graph) -> list[tuple[str, str, tuple[int, ...]]]:
    name = [box.path or box.title for box in g.boxes]
    return [(name[e.source], name[e.target], e.shape) for e in g.edges]


# -- what is connected to what --------------------------------------------------------------------------------------


def test_a_chain():
    g = graph(models.create("lenet"))
    assert [box.title for box in g.boxes] == [
        "input", "Conv2d 5×5, pad 2", "Sigmoid", "AvgPool2d 2×2, stride 2", "Conv2d 5×5", "Sigmoid",
        "AvgPool2d 2×2, stride 2", "Flatten", "Linear", "Sigmoid", "Linear", "Sigmoid", "Linear", "output"]
    assert [box.parameters for box in g.boxes if box.parameters] == [156, 2_416, 48_120, 10_164, 850]
    assert [(e.source, e.target) for e in g.edges] == [(i, i + 1) for i in range(13)]
    assert [e.shape for e in g.edges] == [
        (1, 28, 28), (6, 28, 28), (6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 10, 10), (16, 5, 5), (400,), (120,),
        (120,), (84,), (84,), (10,)]


def test_a_residual_block():
    g, maps = graph(Residual(), (4, 6, 8)), (4, 6, 8)
    assert links(g) == [("input", "conv1", maps), ("conv1", "relu", maps), ("relu", "conv2", maps),
                        ("input", "add", maps), ("conv2", "add", maps), ("add", "relu_1", maps),
                        ("relu_1", "output", maps)]
    assert [box.family for box in g.boxes] == ["end", "conv", "operation", "conv", "operation", "operation", "end"]
    assert g.boxes[3].title == "Conv2d 3×3, pad 1, 2 groups"


def test_an_inception_block():
    """The figure of notes 002 and 003: four branches out of one value, joined along the channels."""
    found = links(inception())
    assert [target for source, target, _ in found if source == "input"] == [
        "branch1.conv", "branch2.0.conv", "branch3.0.conv", "branch4.0"]
    assert [(source, shape) for source, target, shape in found if target == "cat"] == [
        ("branch1.relu", (64, 14, 14)), ("branch2.1.relu", (128, 14, 14)), ("branch3.1.relu", (32, 14, 14)),
        ("branch4.1.relu", (32, 14, 14))]
    assert ("cat", "output", (256, 14, 14)) in found


def test_a_dense_block():
    """The figure of note 002: each layer reads all that was put out before it."""
    g = graph(blank("densenet_d2l").features.denseblock1, (64, 24, 24))
    inner = [(source, target, shape[0]) for source, target, shape in links(g) if "cat" in (source[-3:], target[-3:])]
    assert inner[:5] == [("input", "denselayer1.cat", 64), ("denselayer1.conv1", "denselayer1.cat", 32),
                         ("denselayer1.cat", "denselayer2.norm1", 96), ("denselayer1.cat", "denselayer2.cat", 96),
                         ("denselayer2.conv1", "denselayer2.cat", 32)]
    assert inner[-1] == ("denselayer4.cat", "output", 192)


def test_modules_as_one_box():
    g = graph(blank("resnet18"), depth=1)
    assert [box.path for box in g.boxes[1:-1]] == ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3",
                                                  "layer4", "avgpool", "flatten", "fc"]
    assert [box.family for box in g.boxes[5:9]] == ["module"] * 4 and g.boxes[6].parameters == 525_568
    assert [(e.source, e.target) for e in g.edges] == [(i, i + 1) for i in range(12)]
    assert g.edges[6].shape == (128, 28, 28)


def test_a_layer_called_twice_is_two_boxes():
    layer = nn.Linear(3, 3)
    assert [box.path for box in graph(nn.Sequential(layer, layer), (3,)).boxes] == ["", "0", "0", ""]


def test_layers_that_do_nothing_are_there():
    """Dropout hands on its input when testing, and what else reads the input does not read it through dropout."""
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.flat = nn.Dropout(), nn.Flatten()

        def forward(self, x):
            return self.flat(x), self.drop(x) + x

    assert [pair[:2] for pair in links(graph(Net(), (5,)))] == [
        ("input", "flat"), ("input", "drop"), ("drop", "add"), ("input", "add"), ("flat", "output"), ("add", "output")]


def test_what_prepares_weights_is_no_box():
    class Standardised(nn.Conv2d):
        def __init__(self) -> None:
            super().__init__(1, 2, 3)
            self.inner = nn.Identity()

        def forward(self, x):
            w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return F.conv2d(x, w / w.std()) * self.bias.reshape(-1, 1, 1)

    assert [box.title for box in graph(nn.Sequential(Standardised()), (1, 5, 5)).boxes] == [
        "input", "Conv2d", "Mul", "output"]


def test_what_only_expands_a_value_is_no_box():
    class Excited(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Sigmoid()

        def forward(self, x):
            return x * self.gate(x.mean((2, 3), keepdim=True))

    assert links(graph(Excited(), (2, 6, 8))) == [
        ("input", "mean", (2, 6, 8)), ("mean", "gate", (2, 1, 1)), ("input", "mul", (2, 6, 8)),
        ("gate", "mul", (2, 1, 1)), ("mul", "output", (2, 6, 8))]


def test_two_texts():
    """Symbols have no gradient to follow, but whoever reads them is connected to the input."""
    found = [(source.split(".")[0], source.split(".")[-1], target.split(".")[-1], shape)
             for source, target, shape in links(graph(models.create("seq2seq")))]
    assert found[:2] == [("input", "input", "embedding", (16,))] * 2
    assert ("decoder", "embedding", "rnn", (16, 128)) in found and ("decoder", "rnn", "fc", (16, 128)) in found


def test_auxiliary_heads():
    """They are drawn, though the network is in evaluation mode, and stays as it is."""
    model = narrow("googlenet_paper", num_classes=1000, aux=True)
    model.aux1.eval()
    g = graph(model, depth=1)
    assert {(a, b, shape) for a, b, shape in links(g) if "aux" in a + b or b == "output"} == {
        ("inception4a", "aux1", (128, 14, 14)), ("inception4d", "aux2", (132, 14, 14)),
        ("aux1", "output", (1000,)), ("aux2", "output", (1000,)), ("fc", "output", (1000,))}
    assert model.training and not model.aux1.training and model.aux2.training


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="graph: input_shape is needed"):
        graph(nn.ReLU())
    with pytest.raises(ValueError, match="depth = 0 must be at least 1"):
        graph(models.create("lenet"), depth=0)
    with pytest.raises(ValueError, match=r"a.png must end with .svg, .mmd, .dot"):
        graph(models.create("lenet")).save(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


# -- drawings -------------------------------------------------------------------------------------------------------


def rectangle(element) -> tuple[float, float, float, float]:
    """Left, top, right, bottom."""
    x, y, width, height = (float(element.get(name)) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def overlap(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def points(path: str) -> np.ndarray:
    """Points along a path of M, V and C commands."""
    found: list = []
    for command, text in re.findall(r"([MVC])([^MVC]*)", path):
        numbers = [float(n) for n in text.split()]
        x, y = found[-1] if found else numbers
        t = np.linspace(0, 1, 20)[:, None]
        if command == "C":
            p = np.array([(x, y), *zip(numbers[::2], numbers[1::2])])
            curve = (1 - t) ** 3 * p[0] + 3 * (1 - t) ** 2 * t * p[1] + 3 * (1 - t) * t ** 2 * p[2] + t ** 3 * p[3]
        else:
            curve = np.array([x, y]) + t * (np.array([x, numbers[-1]]) - np.array([x, y]))
        found += [tuple(point) for point in curve]
    return np.array(found)


SVG = "{http://www.w3.org/2000/svg}"
ODD = nn.Sequential(OrderedDict([('a "b" <c> #1 \\ {x}', nn.Sequential(nn.ReLU(), nn.Flatten())),
                                 ("end", nn.Linear(4, 2))]))


def narrow(name: str, **options) -> nn.Module:
    """A model with few channels, if their number can be chosen freely: the same boxes, and quick."""
    return blank(name, **options if name == "lenet5_1998" else {"width": 1 / 4, **options})


DRAWN = {name: lambda name=name: graph(narrow(name)) for name in models.list()}
DRAWN |= {"residual": lambda: graph(Residual(), (4, 6, 8)), "inception": inception,
          "odd": lambda: graph(ODD, (1, 2, 2), depth=9),
          "dense": lambda: graph(blank("densenet_d2l").features.denseblock1, (64, 24, 24)),
          "heads of the paper": lambda: graph(narrow("googlenet_paper", aux=True)),
          "head of inception": lambda: graph(narrow("inception_v3", aux_logits=True)),
          **{f"all of {name}": lambda name=name: graph(narrow(name), depth=9)
             for name in ("resnet18", "squeezenet1_0", "googlenet_d2l")}}


@cache
def drawn(name: str) -> Graph:
    return DRAWN[name]()


@pytest.mark.parametrize("name", DRAWN)
def test_the_drawing(name):
    """Every box and edge is there, with its shape; nothing covers anything else."""
    g = drawn(name)
    root = ElementTree.fromstring(g.svg())
    left, top, width, height = map(float, root.get("viewBox").split())
    page = (left, top, left + width, top + height)
    groups = root.findall(f"{SVG}g")
    shown = [group for group in groups if group.get("class").split()[0] == "box"]
    edges = [group for group in groups if group.get("class") == "edge"]
    assert [int(group.get("data-number")) for group in shown] == list(range(len(g.boxes)))
    assert [(int(e.get("data-source")), int(e.get("data-target")), e.find(f"{SVG}text").text) for e in edges] == [
        (e.source, e.target, "×".join(map(str, e.shape))) for e in g.edges]
    boxes = [rectangle(group.find(f"{SVG}rect")) for group in shown]
    labels = [rectangle(edge.find(f"{SVG}rect")) for edge in edges]
    for a, b in itertools.combinations(boxes + labels, 2):
        assert not overlap(a, b)
    for group, rect, box in zip(shown, boxes, g.boxes, strict=True):
        texts = group.findall(f"{SVG}text")
        assert any(box.title == text.text.split(" · ")[0] for text in texts)
        assert all(0.6 * float(text.get("font-size")) * len(text.text) < rect[2] - rect[0] for text in texts)
        assert page[0] < rect[0] and rect[2] < page[2] and page[1] < rect[1] and rect[3] < page[3]
    for edge, group in zip(g.edges, edges, strict=True):
        line = points(group.find(f"{SVG}path").get("d"))
        source, target = boxes[edge.source], boxes[edge.target]
        assert source[0] <= line[0, 0] <= source[2] and line[0, 1] == pytest.approx(source[3], abs=0.11)
        assert target[0] <= line[-1, 0] <= target[2] and line[-1, 1] == pytest.approx(target[1], abs=0.11)
        assert (np.diff(line[:, 1]) >= -0.11).all()  # downwards
        for i, (x0, y0, x1, y1) in enumerate(boxes):
            inside = ((line > (x0 + 0.2, y0 + 0.2)) & (line < (x1 - 0.2, y1 - 0.2))).all(1)
            assert not inside.any(), (edge, g.boxes[i])


def test_the_drawing_needs_nothing_else():
    text = graph(models.create("lenet"))._repr_svg_()
    assert text == graph(models.create("lenet")).svg()
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]
    assert "@media(prefers-color-scheme:dark)" in text and "<script" not in text


def test_long_names_are_cut_between_two_modules():
    assert ">…denseblock1.denselayer1<" in graph(models.create("densenet_d2l", width=1 / 4)).svg()


@pytest.mark.parametrize("seed", range(30))
def test_random_graphs(seed):
    """Whatever the graph, nothing overlaps, and edges run downwards from box to box."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 25))
    sizes = [(float(w), float(h)) for w, h in rng.uniform(5, 90, (n, 2))]
    edges = sorted({tuple(sorted(map(int, rng.choice(n, 2, replace=False)))) for _ in range(3 * n)}) if n > 1 else []
    plan = layout(sizes, edges, [(float(w), 10.0) for w in rng.uniform(5, 60, len(edges))])
    boxes = [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for (x, y), (w, h) in zip(plan.boxes, sizes, strict=True)]
    assert not any(overlap(a, b) for a, b in itertools.combinations(boxes, 2))
    assert all(a[0] > -1e-9 and a[2] < plan.size[0] + 1e-9 and a[3] < plan.size[1] + 1e-9 for a in boxes)
    for (source, target), route in zip(edges, plan.edges, strict=True):
        ys = [y for run in route for y in run[1:]]
        assert (np.diff(ys) > -1e-9).all() and (ys[0], ys[-1]) == pytest.approx((boxes[source][3], boxes[target][1]))
        for run in route[1:-1]:
            assert not any(overlap((run.x, run.top, run.x, run.bottom), box) for box in boxes)


def test_edges_that_cross_are_not_both_straight():
    """Else each of them would have to be to the left of the other."""
    a, b, c, d = (_Vertex(10, 10, layer, True) for layer in (0, 0, 1, 1))
    for upper, lower in ((a, d), (b, c)):
        upper.below.append(lower)
        lower.above.append(upper)
    assert [len(column) for column in _columns([[a, b], [c, d]])] == [1, 2, 1]
    assert [len(column) for column in _columns([[a, b], [d, c]])] == [2, 2]


# -- as text --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", DRAWN)
def test_mermaid(name):
    g = drawn(name)
    first, *lines = g.mermaid().splitlines()
    assert first == "flowchart TD"
    nodes = [m[1] for line in lines if (m := re.fullmatch(r' +n(\d+)\["[^"\[\]]+"\]', line))]
    assert sorted(map(int, nodes)) == list(range(len(g.boxes)))
    edges = [m.groups() for line in lines if (m := re.fullmatch(r'    n(\d+) -->\|"([\d×]+)"\| n(\d+)', line))]
    assert [(int(a), int(b), text) for a, text, b in edges] == [
        (e.source, e.target, "×".join(map(str, e.shape))) for e in g.edges]
    frames = [m[1] for line in lines if (m := re.fullmatch(r' +subgraph (m\d+) \["[^"]+"\]', line))]
    assert len(set(frames)) == len(frames) == sum(line.strip() == "end" for line in lines)
    assert len(nodes) + len(edges) + 2 * len(frames) == len(lines)


@pytest.mark.parametrize("name", DRAWN)
def test_dot(name):
    g = drawn(name)
    text = g.dot()
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)  # without what is in quotes
    assert bare.count("{") == bare.count("}") and '"' not in bare.replace('""', "")
    assert bare.startswith('digraph "" {\n') and bare.endswith("}\n")
    assert sorted(map(int, re.findall(r'^ +n(\d+) \[label=""\];$', bare, re.MULTILINE))) == list(range(len(g.boxes)))
    edges = re.findall(r'^    n(\d+) -> n(\d+) \[label="([\d×]+)"\];$', text, re.MULTILINE)
    assert [(int(a), int(b), label) for a, b, label in edges] == [
        (e.source, e.target, "×".join(map(str, e.shape))) for e in g.edges]
    frames = re.findall(r'^ +subgraph (cluster_\d+) \{ label="";$', bare, re.MULTILINE)
    assert len(set(frames)) == len(frames) == bare.count("{") - 1


def test_frames_are_modules():
    lines = [line.strip() for line in inception().mermaid().splitlines()]
    at = lines.index('subgraph m1 ["branch2"]')
    assert lines[at + 1:at + 4] == [
        'subgraph m2 ["0"]', 'n3["Conv2d 1×1<br/>conv · 18,528 params"]', 'n4["ReLU<br/>relu"]']


def test_save(tmp_path):
    g = graph(models.create("lenet"))
    for ending, text in ((".svg", g.svg()), (".mmd", g.mermaid()), (".dot", g.dot())):
        g.save(tmp_path / f"lenet{ending}")
        assert (tmp_path / f"lenet{ending}").read_text(encoding="utf-8") == text


# -- side by side ---------------------------------------------------------------------------------------------------


def names(pairs) -> list[tuple[str | None, str | None]]:
    return [(x and x.name, y and y.name) for x, y in pairs]


def test_diff_of_models():
    """Note 001 puts batch normalisation behind all of LeNet's layers but the last."""
    d = diff("lenet_maxpool", "lenet_bn")
    assert [y for x, y in names(d.pairs) if x is None] == ["bn1", "bn2", "bn3", "bn4"]
    assert [x for x, y in names(d.differing) if x is not None] == ["pool1", "pool2"]  # the largest, the mean
    assert names(d.pairs)[-1] == ("fc3", "fc3")
    lines = str(d).splitlines()
    assert re.fullmatch(r"conv1 +Conv2d 5×5 +6×24×24 +156 = +conv1 +Conv2d 5×5 +6×24×24 +156", lines[1])
    assert re.fullmatch(r" +> +bn1 +BatchNorm2d +6×24×24 +12", lines[2])
    assert re.fullmatch(r"pool1 +MaxPool2d 2×2, stride 2 6×12×12 +≠ +pool1 +AvgPool2d 2×2, stride 2 6×12×12", lines[4])
    assert [line.split() for line in lines[-6:-2]] == [
        ["parameters", "44,426", "44,878"], ["MACs", "281,640", "281,640"], ["kept", "34.5KiB", "44.9KiB"],
        ["field", "16", "16"]]
    assert lines[-1] == "6 of 16 rows differ"
    assert [(y, x) for x, y in names(d.pairs)] == names(diff("lenet_bn", "lenet_maxpool").pairs)


def test_diff_of_a_network_with_itself():
    d = diff("resnet20", blank("resnet20"))
    assert not d.differing and str(d).endswith(f"0 of {len(d.pairs)} rows differ")


def test_diff_of_deep_networks_pairs_modules_of_one_depth():
    d = diff(blank("resnet18"), blank("resnet50"))
    assert ("layer3.1", "layer3.1") in names(d.pairs) and (None, "layer3.5") in names(d.pairs)
    assert d.a.depth == d.b.depth == 2
    d = diff(blank("plain20"), blank("resnet20"))  # one would be shown layer by layer
    assert d.a.depth == d.b.depth == 2 and all(x and y for x, y in d.pairs)
    assert [x.name for x, _ in d.differing] == [f"layer{i}.{j}" for i in (1, 2, 3) for j in range(3)]  # no shortcuts


def test_diff_of_any_networks():
    a = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    b = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 4), nn.Tanh())
    assert names(diff(a, b, (1, 4, 4)).pairs) == [("0", "0"), ("1", None), ("2", "1"), ("3", "2"), (None, "3")]
    with pytest.raises(ValueError, match="did you mean 'lenet'"):
        diff("lennet", "lenet")
    with pytest.raises(ValueError, match="input_shape is needed"):
        diff("lenet", a)


def test_diff_on_a_narrow_terminal():
    from rich.console import Console

    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(diff("lenet", "lenet_bn"))
    assert max(map(len, captured.get().splitlines())) <= 80


def test_tensors_that_no_gradient_reaches():
    """Behind detach() nothing is known to depend on the image, but layers are still there."""
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 1, 1)

        def forward(self, x):
            return self.head(self.body(x).detach())

    assert links(graph(Net(), (1, 5, 5))) == [("input", "body", (1, 5, 5)), ("head", "output", (1, 3, 3))]
    assert mc.is_grad_enabled()
