"""The explorer's layers: every array against a run of the library without it; fields and views of networks."""

import numpy as np
import pytest

import minicnn as mc
from minicnn import functional as F
from minicnn import models, nn
from minicnn.backend import conv_algorithm, use_kernels
from minicnn.explain import summary
from minicnn.explain.explorer import lens, page, toy
from minicnn.explain.explorer.fields import fields
from minicnn.explain.explorer.layer import LayerRun, run_layer
from minicnn.explain.explorer.look import Subject, look
from minicnn.explain.explorer.terminal import equations
from minicnn.explain.explorer.views import effective, views
from minicnn.explain.trace import trace


def runs(layer: nn.Module, x: mc.Tensor) -> tuple[LayerRun, dict[str, np.ndarray]]:
    """The layer as it is explained, and all that the library says of it, given the same gradient."""
    mc.manual_seed(1)
    gys = []

    def backward(y: mc.Tensor) -> None:
        gys.append(mc.randn(*y.shape, dtype=y.dtype))
        y.backward(gys[0])

    run, _ = run_layer(layer, "", x, backward)
    layer.zero_grad()
    mc.manual_seed(1)
    x = x.detach().requires_grad_()
    with use_kernels("reference"), conv_algorithm("loops"):
        y = layer(x)
        y.backward(gys[0])
    found = {"x": x, "y": y, "gy": gys[0], "gx": x.grad}
    for name, short in (("weight", "w"), ("bias", "b")):
        if getattr(layer, name, None) is not None:
            found |= {short: getattr(layer, name), f"g{short}": getattr(layer, name).grad}
    return run, {name: t.detach().numpy() for name, t in found.items()}


@pytest.mark.parametrize("dtype", [mc.float32, mc.float64])
@pytest.mark.parametrize("layer, shape", [
    (nn.Conv2d(6, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), (2, 6, 9, 7)),
    (nn.Conv2d(6, 9, (2, 3), stride=(1, 3), padding=(2, 1), groups=3), (1, 6, 5, 8)),
    (nn.Conv2d(4, 4, 3, stride=4, groups=4, bias=False), (1, 4, 8, 9)),  # some pixels are in no window
    (nn.Conv2d(3, 2, 1), (1, 3, 4, 5)),
    (nn.MaxPool2d((3, 2), 2, (1, 0)), (2, 3, 7, 8)),
    (nn.MaxPool2d(2, 1, dilation=2), (1, 2, 6, 5)),
    (nn.AvgPool2d(3, 2, 1, ceil_mode=True), (1, 3, 6, 8)),
    (nn.AdaptiveAvgPool2d((2, 3)), (1, 2, 5, 7)),
    (nn.BatchNorm2d(3), (4, 3, 2, 5)),
    (nn.BatchNorm2d(3).eval(), (1, 3, 4, 5)),
    (nn.BatchNorm1d(3, affine=False), (6, 3)),
    (nn.Dropout(0.3), (1, 2, 4, 5)),
])
def test_every_array_is_the_librarys_bit_for_bit(layer, shape, dtype):
    layer.to(dtype)
    x = mc.randn(*shape, dtype=dtype)
    x.data[..., :2] = x.data[..., 1:3].round()  # ties
    run, expected = runs(layer, x)
    assert run.operation != "other" and set(expected) <= set(run.arrays)
    for name, a in expected.items():
        if dtype == mc.float64 and run.operation in ("conv2d", "batch_norm", "avg_pool2d"):
            # what is added in double precision is not rounded once more: the order shows
            np.testing.assert_allclose(run.arrays[name], a, rtol=1e-13, atol=1e-13, err_msg=name)
        else:
            assert np.array_equal(run.arrays[name], a), name


def test_a_linear_layer_is_a_convolution_of_one_pixel():
    layer = nn.Linear(7, 5)
    run, expected = runs(layer, mc.randn(1, 7))
    assert run.arrays["w"].shape == (5, 7, 1, 1)
    for name, a in expected.items():
        np.testing.assert_allclose(run.arrays[name].reshape(a.shape), a, rtol=1e-5, atol=1e-6, err_msg=name)


def test_other_layers_show_what_goes_in_and_out():
    run, expected = runs(nn.Sigmoid(), mc.randn(2, 3, 4))
    assert run.operation == "other" and set(run.arrays) == {"x", "y", "gx", "gy"}
    for name, a in expected.items():
        np.testing.assert_allclose(run.arrays[name], a, rtol=1e-6, atol=1e-7, err_msg=name)


def test_layers_inside_a_network_see_its_gradients():
    """A layer behind others and before others: its arrays, and the gradient of the image, are those of the network."""
    model, x = models.create("lenet").eval(), mc.randn(1, 1, 28, 28)
    given = x.detach().requires_grad_()
    run, scores = run_layer(model, "conv2", given, lambda scores: scores[0, 3].backward())
    kept = {}
    model.conv2.register_forward_hook(lambda module, args, y: kept.update(x=args[0], y=y))
    image = x.detach().requires_grad_()
    model.zero_grad()
    plain = model(image)
    kept["y"].register_hook(lambda gy: kept.update(gy=gy))
    plain[0, 3].backward()
    expected = {**kept, "w": model.conv2.weight, "gw": model.conv2.weight.grad, "gb": model.conv2.bias.grad}
    for name, a in expected.items():
        np.testing.assert_allclose(run.arrays[name], a.detach().numpy(), rtol=1e-3, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(given.grad.numpy(), image.grad.numpy(), rtol=1e-3, atol=1e-6)
    assert run.fast < 1e-5 and np.allclose(scores.detach().numpy(), plain.detach().numpy(), atol=1e-5)


def test_a_block_is_not_taken_for_its_last_operation():
    """Its output is made by a convolution, but not of what goes into the block, or not with weights of its own."""
    for block in (nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)),
                  nn.Sequential(nn.ReLU(), nn.BatchNorm2d(2)), nn.Sequential(nn.Conv2d(2, 3, 1)),
                  nn.Sequential(nn.BatchNorm2d(2, affine=False), nn.ReLU()), nn.Sequential(nn.ReLU(), nn.AvgPool2d(2))):
        run, expected = runs(block, mc.randn(1, 2, 5, 4))
        assert run.operation == "other"
        for name in ("x", "y", "gx", "gy"):
            np.testing.assert_allclose(run.arrays[name], expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_frozen_layers_are_explained_too():
    layer = nn.Conv2d(2, 3, 2).requires_grad_(False)
    run = run_layer(layer, "", mc.randn(1, 2, 4, 4), lambda y: y.sum().backward())[0]
    assert run.operation == "conv2d" and layer.weight.grad is None and run.arrays["gw"].shape == (3, 2, 2, 2)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.unused = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)

    def forward(self, x):
        return self.layer(self.layer(x))


@pytest.mark.parametrize("path, message", [("layer", "called 2 times"), ("unused", "called 0 times")])
def test_layers_that_cannot_be_explained_say_why(path, message):
    with pytest.raises(ValueError, match=message):
        run_layer(Twice(), path, mc.randn(1, 1, 2, 2), lambda y: y.sum().backward())


# -- small numbers --------------------------------------------------------------------------------------------------


def test_every_position_of_the_sliders_is_a_run():
    found = toy.conv2d((5, 6), stride=(2, 2), padding=(1, 1), channels=(2, 4))
    assert found.sliders == {"stride": [1, 2, 3], "padding": [0, 1, 2], "dilation": [1, 2, 3], "groups": [1, 2]}
    runs = [(found.position, found.run), *found.others]
    assert found.position == {"stride": 2, "padding": 1, "dilation": 1, "groups": 1}
    assert len(runs) == 48  # dilation 3 needs padding
    for p, run in runs:
        a = run.arrays
        x, w, b = [mc.tensor(a[name], requires_grad=True) for name in "xwb"]
        y = F.conv2d(x, w, b, **p)
        y.backward(mc.tensor(a["gy"]))
        for name, t in (("y", y), ("gx", x.grad), ("gw", w.grad), ("gb", b.grad)):  # integers: in any order
            assert np.array_equal(a[name], t.detach().numpy()), (p, name)
        assert all((array == np.round(array)).all() for array in a.values())


def test_settings_that_differ_between_rows_and_columns_are_no_position():
    assert toy.conv2d(stride=(2, 1)).position is None
    assert toy.max_pool2d(stride=(1, 1)).position == {"kernel": 3, "stride": 1, "padding": 0, "dilation": 1}


def test_the_loss_and_its_gradient_are_the_librarys():
    a = toy.cross_entropy().run.arrays
    x = mc.tensor(a["x"], requires_grad=True)
    F.cross_entropy(x, mc.tensor(a["target"])).backward()
    assert np.array_equal(a["gx"], x.grad.numpy())
    np.testing.assert_allclose(a["p"], F.softmax(x, dim=1).detach().numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", list(toy.OPERATIONS))
def test_the_terminals_equations_hold(name):
    """As they are printed: what stands left of = is what stands right of it."""
    for equation in equations(toy.OPERATIONS[name]().run):
        value, *rest = equation
        if len(rest) == 6 and rest[::2] == ["=", "·", "+"]:
            assert np.array_equal(value[1], rest[1][1] @ rest[3][1] + rest[5][1])
        elif len(rest) == 4 and name in ("conv2d", "linear") and rest[::2] == ["=", "·"]:
            assert np.array_equal(value[1], rest[1][1] @ rest[3][1])
        elif len(rest) == 4 and rest[::2] == ["=", "·"]:
            assert np.array_equal(value[1], rest[1][1] * rest[3][1])


@pytest.mark.parametrize("call, message", [
    (lambda: toy.conv2d(channels=(3, 4), groups=2), "groups = 2 must divide"),
    (lambda: toy.conv2d((2, 2)), "does not fit"),
    (lambda: toy.max_pool2d(channels=(1, 2)), "must be equal")])
def test_impossible_layers_are_refused(call, message):
    with pytest.raises((ValueError, RuntimeError), match=message):
        call()


# -- large layers ---------------------------------------------------------------------------------------------------


def test_of_a_large_convolution_the_sums_in_a_region_are_complete(monkeypatch):
    """Whatever a sum in the first box of y, gx, gw or gb needs lies in the boxes of x, w and gy."""
    monkeypatch.setattr(lens, "NUMBERS", 4000)
    layer = nn.Conv2d(8, 12, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2)
    whole = run_layer(layer, "", mc.randn(1, 8, 20, 24), lambda y: y.backward(mc.randn(*y.shape)))[0]
    boxes = lens.parts(LayerRun("conv2d", whole.settings, {
        name: a if name in ("w", "b", "gw", "gb") else a[0] for name, a in whole.arrays.items()}))
    with pytest.raises(AssertionError):  # they are not all
        assert lens._count(boxes) == sum(a.size for a in whole.arrays.values())

    def only(name: str) -> np.ndarray:
        """NaN where nothing is kept."""
        kept = np.full_like(whole.arrays[name], np.nan)
        for box in boxes[name]:
            at = tuple(slice(*span) for span in box)
            at = at if name in ("w", "b") else (0, *at)
            kept[at] = whole.arrays[name][at]
        return kept

    x, w, b = [mc.tensor(only(name), requires_grad=True) for name in "xwb"]
    with conv_algorithm("loops"):
        y = F.conv2d(x, w, b, (2, 1), (1, 2), (1, 2), 2)
        y.backward(mc.tensor(only("gy")))
    for name, t in (("y", y), ("gx", x.grad), ("gw", w.grad), ("gb", b.grad)):
        at = tuple(slice(*span) for span in boxes[name][0])
        at = at if name in ("gw", "gb") else (0, *at)
        np.testing.assert_allclose(t.detach().numpy()[at], whole.arrays[name][at], rtol=1e-4, atol=1e-5, err_msg=name)


def test_of_other_large_layers_some_channels_are_kept(monkeypatch):
    monkeypatch.setattr(lens, "NUMBERS", 1000)
    run = run_layer(nn.BatchNorm2d(10), "", mc.randn(2, 10, 4, 5), lambda y: y.sum().backward())[0]
    boxes = lens.parts(run)
    assert boxes["x"] == [((0, 2), (0, 3), (0, 4), (0, 5))] and boxes["mean"] == [((0, 3),)]
    boxes = lens.parts(LayerRun("other", {}, {"x": np.zeros((16, 10, 10)), "y": np.zeros((4, 10, 10))}))
    assert [boxes[name][0][0] for name in "xy"] == [(0, 8), (0, 2)]
    with pytest.raises(ValueError, match="use a smaller image"):
        lens.parts(LayerRun("other", {}, {"x": np.zeros((1, 40, 40)), "y": np.zeros((1, 40, 40))}))


def test_a_page_with_as_many_numbers_as_it_may_have_is_below_two_megabytes():
    x = np.random.default_rng(0).standard_normal((1, lens.NUMBERS // 2)).astype(np.float32)
    html = page.page("", [page.scene(LayerRun("other", {}, {"x": x, "y": x}), ["", ""])], {})
    assert len(html.encode()) < 2e6


# -- what a network sees --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, layer", [("lenet", "conv2"), ("resnet20", "layer2.0.conv2"), ("nin", None)])
def test_fields_are_where_gradients_reach_and_as_large_as_the_summary_says(name, layer):
    model = models.create(name).eval()
    entry = models.entry(name)
    x = mc.randn(1, *entry.input_shape)
    if layer is None:
        layer = next(path for path, module in model.named_modules() if isinstance(module, nn.MaxPool2d))
    rows, columns = fields(trace(model, [x]), layer)
    kept = []
    model.get_submodule(layer).register_forward_hook(lambda module, args, y: kept.append(y))
    image = x.detach().requires_grad_()
    model(image)
    y = kept[0]
    for i, j in [(0, 0), (y.shape[2] // 2, y.shape[3] // 2), (y.shape[2] - 1, y.shape[3] // 3)]:
        image.grad = None
        with mc.conv_algorithm("direct"):  # tiles would leave rounding errors outside
            y[0, :, i, j].sum().backward(retain_graph=True)
        reached = image.grad.numpy()[0].any(0)
        inside = np.zeros_like(reached)
        inside[rows[0][i]:rows[1][i], columns[0][j]:columns[1][j]] = True
        assert not (reached & ~inside).any()
    (field,) = [row.field for row in summary(model, x.shape[1:]).layers if row.name == layer]
    assert ((rows[1] - rows[0]).max(), (columns[1] - columns[0]).max()) == field.size


def test_effective_fields_are_zero_outside_of_the_theoretical_one():
    model = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1))  # large enough for tiles
    (_, i, j), influence, _ = effective(model, mc.randn(1, 3, 56, 56), "1")
    assert (influence[i - 2:i + 3, j - 2:j + 3] > 0).all()
    influence[i - 2:i + 3, j - 2:j + 3] = 0
    assert not influence.any()


def test_views_are_what_gradients_say():
    model, x = models.create("lenet").eval(), mc.randn(1, 1, 28, 28)
    seen = views(model, x, "conv1", 4)
    image, kept = x.detach().requires_grad_(), {}
    model.conv2.register_forward_hook(lambda module, args, y: kept.update(y=y))
    scores = model(image)
    kept["y"].register_hook(lambda gy: kept.update(gy=gy))
    scores[0, 4].backward()
    np.testing.assert_allclose(seen.saliency, abs(image.grad.numpy()[0, 0]), rtol=1e-3, atol=1e-6)
    y, gy = kept["y"].detach().numpy()[0], kept["gy"].numpy()[0]
    cam = np.maximum(np.einsum("chw,c->hw", y, gy.mean((1, 2))), 0)
    np.testing.assert_allclose(seen.cam, cam, rtol=1e-3, atol=1e-5)
    assert seen.cam_layer == "conv2" and seen.filters_layer == "conv1"
    assert np.array_equal(seen.filters, model.conv1.weight.detach().numpy())
    assert seen.top[0][0] == int(scores.data.argmax()) and len(seen.top) == 5
    (o, i, j), influence, (top, bottom, left, right) = seen.effective
    assert (i, j) == (14, 14)
    np.testing.assert_allclose(influence[12:17, 12:17], abs(model.conv1.weight.data[o, 0]), rtol=1e-6)  # linear
    assert influence.sum() == pytest.approx(influence[12:17, 12:17].sum())
    assert influence[top:bottom, left:right].sum() >= 0.95 * influence.sum()


def test_activation_maps_are_of_the_last_convolution_that_makes_images():
    model = models.create("lenet5_1998").eval()
    seen = views(model, mc.randn(1, *models.entry("lenet5_1998").input_shape), "c1", 0)
    assert seen.cam_layer != "c5" and seen.cam.shape[0] > 1  # what c5 makes are single pixels


def test_looking_at_a_layer_of_a_network():
    model = models.create("lenet_bn").eval()
    subject = Subject("lenet_bn", "for a test", model, mc.randn(1, 1, 28, 28), [f"class {k}" for k in range(10)])
    before = {name: t.numpy().copy() for name, t in model.state_dict().items()}
    assert look(subject).layer == "conv1" and not model.training
    seen = look(subject, "bn1", "class 3")
    assert "loss of class class 3" in seen.text and seen.scene["operation"] == "batch_norm"
    assert look(subject, "bn1", "3", training=True).scene["settings"]["training"] and not model.training
    for wrong, message in (({"layer": "conv9"}, "no layer 'conv9'"), ({"label": "11"}, "no class '11'"),
                           ({"cam": "fc1"}, "class activation map")):
        with pytest.raises(ValueError, match=message):
            look(subject, **wrong)
    assert all(np.array_equal(t.numpy(), before[name]) for name, t in model.state_dict().items())
