"""The summary of a network: totals from the literature, receptive fields from gradients, memory counted by hand."""

import numpy as np
import pytest

import minicnn as mc
from minicnn import models, nn
from minicnn.explain import Field, summary

MACS = {"lenet": 416_520, "lenet5": 416_520, "lenet_tanh": 416_520, "lenet_maxpool": 281_640, "lenet_bn": 281_640,
        "cnn2": 13_808_400}


@pytest.mark.parametrize("name", sorted(MACS))
def test_totals(name):
    s = summary(models.create(name))
    assert s.macs == MACS[name]
    assert s.parameters == sum(layer.parameters for layer in s.layers)
    assert s.field == Field((16, 16), (4, 4))
    assert s.input_shape == models.entry(name).input_shape


def test_layers_of_lenet():
    layers = {layer.name: layer for layer in summary(models.create("lenet")).layers}
    weighted = [layers[name] for name in ("conv1", "conv2", "fc1", "fc2", "fc3")]
    assert [layer.output for layer in layers.values()] == [
        (6, 28, 28), (6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 10, 10), (16, 5, 5), (400,), (120,), (120,), (84,),
        (84,), (10,)]
    assert [layer.parameters for layer in weighted] == [156, 2_416, 48_120, 10_164, 850]
    assert [layer.macs for layer in weighted] == [117_600, 240_000, 48_000, 10_080, 840]
    assert layers["conv1"].im2col == 25 * 28 * 28 * 4 and layers["conv2"].im2col == 6 * 25 * 10 * 10 * 4
    assert [layers[name].field.size for name in ("conv1", "pool1", "conv2", "pool2", "fc1")] == \
        [(5, 5), (6, 6), (14, 14), (16, 16), None]
    assert [layers[name].field.jump[0] for name in ("conv1", "pool1", "conv2", "pool2")] == [1, 2, 2, 4]


def test_buffers():
    s = summary(models.create("lenet_bn"))
    assert s.buffers == 452
    assert [layer.buffers for layer in s.layers if layer.buffers] == [12, 32, 240, 168]


def test_memory_by_hand():
    """conv keeps its input, ReLU its output; a flattened view is no memory of its own; weights are not counted."""
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 8, 10))
    s = summary(net, (1, 8, 10))
    image, features = 8 * 10 * 4, 4 * 6 * 8 * 4
    assert [layer.forward for layer in s.layers] == [features, features, 0, 40]
    assert [layer.kept for layer in s.layers] == [image, features, 0, 0]  # the linear layer's input is ReLU's output
    assert (s.forward, s.kept) == (2 * features + 40, image + features)
    assert s.parameter_bytes == 4 * s.parameters
    assert summary(net.double(), (1, 8, 10)).kept == 2 * s.kept


def test_it_changes_nothing():
    model = models.create("lenet_bn")
    model.bn1.eval()
    before = {name: t.data.copy() for name, t in model.state_dict().items()}
    state = mc.backend.default_generator.state_dict()
    summary(model)
    assert model.training and model.conv1.training and not model.bn1.training
    assert all((t.data == before[name]).all() for name, t in model.state_dict().items())
    assert mc.backend.default_generator.state_dict() == state
    assert all(p.grad is None for p in model.parameters())
    assert not any(layer._forward_hooks for layer in model.modules())


class Block(nn.Module):
    """A sum of two ways and a concatenation of two more: what a chain of layers is not."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.deep = nn.Conv2d(2, 2, (5, 3), padding=(2, 1)), nn.Conv2d(2, 2, 3, padding=1)
        self.down = nn.MaxPool2d(2)
        self.last = nn.Conv2d(4, 3, 3, stride=2, padding=2, dilation=2)

    def forward(self, x):
        y = x + self.wide(x)
        y = mc.cat([y, mc.functional.relu(self.deep(y))], dim=1)
        return self.last(self.down(y))


@pytest.mark.parametrize("net, channels", [
    (nn.Sequential(nn.Conv2d(1, 3, (3, 5), stride=(2, 1)), nn.AvgPool2d(2), nn.Conv2d(3, 2, 3, dilation=(1, 2))), 1),
    (Block(), 2),
    (nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.AdaptiveAvgPool2d((10, 8))), 1)])
def test_receptive_field_is_where_gradients_reach(net, channels):
    """One output in the middle: its gradient is non-zero on exactly the field; its neighbour's, ``jump`` pixels on."""
    rng = np.random.default_rng(0)
    for p in net.parameters():
        p.data[...] = rng.uniform(0.5, 1.5, p.shape)  # nothing cancels, and no ReLU is dead
    x = mc.tensor(rng.uniform(1, 2, (1, channels, 40, 40)).astype(np.float32), requires_grad=True)

    def reach(row: int, column: int) -> list[slice]:
        x.grad = None
        touched = np.zeros((40, 40), bool)
        for _ in range(8):  # the maximum of a pooling window must have been at each place once
            x.data[...] = rng.uniform(1, 2, x.shape)
            y = net(x)
            y[0, :, row, column].sum().backward()
            touched |= (x.grad.data != 0).any((0, 1))
            x.grad = None
        rows, columns = np.flatnonzero(touched.any(1)), np.flatnonzero(touched.any(0))
        return [rows[0], rows[-1], columns[0], columns[-1]]

    field = summary(net, (channels, 40, 40)).layers[-1].field
    height, width = net(x).shape[2:]
    top, bottom, left, right = reach(height // 2, width // 2)
    assert (bottom - top + 1, right - left + 1) == field.size
    lower = reach(height // 2 + 1, width // 2 + 1)
    assert (lower[0] - top, lower[2] - left) == field.jump


def test_field_formulas():
    assert Field().through((2, 2), (1, 1)).through((2, 2), (1, 1)).size == (3, 3)  # two 2×2 windows see 3×3
    assert Field((3, 5), (2, 1)).through((3, 2), (2, 3)) == Field((7, 6), (4, 3))
    assert Field((5, 3), (2, 1)).joined(Field((4, 9), (2, 1))) == Field((5, 9), (2, 1))
    assert Field(None).joined(Field()).size is None


def test_whole_image_behind_global_pooling():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    fields = [layer.field.size for layer in summary(net, (1, 12, 12)).layers]
    assert fields[1] == (12, 12) and fields[-1] is None


def test_printed_table():
    text = str(summary(models.create("lenet_bn")))
    lines = text.splitlines()
    assert max(map(len, lines[:20])) <= 80
    assert lines[0] == "lenet_bn on images of 1×28×28"
    assert "conv2   Conv2d      16×8×8     2,416 153.6k 55%   4.0Ki  3.4Ki 37.5Ki    14    2" in lines
    assert "44,878 parameters (175KiB) and 452 buffers, 281,640 MACs per image" in lines
    assert "receptive field: 16 of 28 pixels" in lines
    assert "\x1b" not in text


def test_errors():
    with pytest.raises(ValueError, match="input_shape is needed"):
        summary(nn.Sequential(nn.Conv2d(1, 2, 3)))
    with pytest.raises(ValueError, match="lenet: images of 1×20×20 do not fit"):
        summary(models.create("lenet"), (1, 20, 20))
