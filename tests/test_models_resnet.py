"""ResNets: the paper's, torchvision's and the book's, against PyTorch's layers and published numbers."""

import numpy as np
import pytest
import torch

import minicnn as mc
from minicnn import models, nn
from minicnn.explain import summary
from minicnn.models import Network
from minicnn.models.resnet import BasicBlock, Bottleneck, PaddedShortcut, projection
from models_util import EXACT, blank, check_drawn, check_he, check_step, rows, table

t = torch.nn

CIFAR = {20: 3, 32: 5, 44: 7, 56: 9, 110: 18}  # blocks of each of the three stages

# -- twins ----------------------------------------------------------------------------------------------------------


class Residual(t.Module):
    """relu(path(x) + way(x)) of the paper's figure 2; way None leaves the sum out."""

    def __init__(self, path, way):
        super().__init__()
        self.path, self.way = path, way

    def forward(self, x):
        return torch.relu(self.path(x) if self.way is None else self.path(x) + self.way(x))


class OptionA(t.Module):
    def __init__(self, more):
        super().__init__()
        self.more = more

    def forward(self, x):
        x = torch.nn.functional.avg_pool2d(x, 1, 2)
        return torch.cat([x, torch.zeros(len(x), self.more, *x.shape[2:], dtype=x.dtype)], 1)


def normed(i, o, k, s=1, bias=False, groups=1):
    return t.Sequential(t.Conv2d(i, o, k, s, k // 2, bias=bias, groups=groups), t.BatchNorm2d(o))


def basic(i, o, s, bias=False):
    return t.Sequential(normed(i, o, 3, s, bias), t.ReLU(), normed(o, o, 3, 1, bias))


def bottleneck(i, width, o, s, groups):
    return t.Sequential(normed(i, width, 1), t.ReLU(), normed(width, width, 3, s, groups=groups), t.ReLU(),
                        normed(width, o, 1))


def end(channels, classes):
    return t.Sequential(t.AdaptiveAvgPool2d(1), t.Flatten(), t.Linear(channels, classes))


def photograph_stem(channels, first, bias=False):
    return [normed(channels, first, 7, 2, bias), t.ReLU(), t.MaxPool2d(3, 2, 1)]


def twin_basic(depths):
    """An eighth of the channels."""
    layers, i = photograph_stem(3, 8), 8
    for stage, depth in enumerate(depths):
        for j in range(depth):
            o, s = 8 * 2 ** stage, 2 if stage and not j else 1
            layers.append(Residual(basic(i, o, s), t.Identity() if i == o else normed(i, o, 1, s)))
            i = o
    return t.Sequential(*layers, end(64, 10))


def twin_bottleneck(depths, first, width, groups=1):
    """``first`` channels out of the stem, ``width`` within the blocks of the first stage."""
    layers, i = photograph_stem(3, first), first
    for stage, depth in enumerate(depths):
        o = 4 * first * 2 ** stage
        for j in range(depth):
            path = bottleneck(i, width * 2 ** stage, o, 2 if stage and not j else 1, groups)
            layers.append(Residual(path, t.Identity() if j else normed(i, o, 1, 2 if stage else 1)))
            i = o
    return t.Sequential(*layers, end(i, 10))


def twin_book():
    layers = photograph_stem(1, 64, bias=True)
    for i, o in ((64, 64), (64, 128), (128, 256), (256, 512)):
        layers += [Residual(basic(i, o, o // i, True), t.Identity() if i == o else t.Conv2d(i, o, 1, 2)),
                   Residual(basic(o, o, 1, True), t.Identity())]
    return t.Sequential(*layers, end(512, 10))


def twin_cifar(n, residual):
    """Half the channels."""
    layers, i = [normed(3, 8, 3), t.ReLU()], 8
    for o in (8, 16, 32):
        for _ in range(n):
            way = (t.Identity() if i == o else OptionA(o - i)) if residual else None
            layers.append(Residual(basic(i, o, 1 if i == o else 2), way))
            i = o
    return t.Sequential(*layers, end(32, 10))


# name: (width, twin)
TWINS = {"resnet18": (1 / 8, lambda: twin_basic((2, 2, 2, 2))), "resnet34": (1 / 8, lambda: twin_basic((3, 4, 6, 3))),
         "resnet50": (1 / 8, lambda: twin_bottleneck((3, 4, 6, 3), 8, 8)),
         "resnet101": (1 / 8, lambda: twin_bottleneck((3, 4, 23, 3), 8, 8)),
         "resnet152": (1 / 8, lambda: twin_bottleneck((3, 8, 36, 3), 8, 8)),
         "resnext50_32x4d": (1 / 4, lambda: twin_bottleneck((3, 4, 6, 3), 16, 32, 32)),
         "wide_resnet50_2": (1 / 8, lambda: twin_bottleneck((3, 4, 6, 3), 8, 16)),
         "resnet18_d2l": (1, twin_book)}


@pytest.mark.parametrize("name", TWINS)
def test_a_step_is_pytorchs(name):
    width, theirs = TWINS[name]
    check_step(blank(name, width=width), theirs(), 65, 34)


@pytest.mark.parametrize("kind", ["resnet", "plain"])
@pytest.mark.parametrize("depth", CIFAR)
def test_a_step_of_the_cifar_networks_is_pytorchs(depth, kind):
    # BN without shortcuts enlarges small differences 1.2 times in every layer, rounding errors too
    tolerance = 1e-5 if (kind, depth) == ("plain", 110) else EXACT
    check_step(blank(f"{kind}{depth}", width=1 / 2), twin_cifar(CIFAR[depth], kind == "resnet"), 15, 18,
               tolerance=tolerance)


@pytest.mark.parametrize("stride, groups, width_per_group, width", [(2, 4, 16, 8), (1, 1, 128, 16), (1, 2, 96, 24)])
def test_a_bottleneck_is_pytorchs(stride, groups, width_per_group, width):
    """Groups and widths as in ResNeXt and the wide networks; the shape changes, so there is a projection."""
    block = Bottleneck(12, 8, stride, projection, groups=groups, width_per_group=width_per_group)
    ours = Network({"block": block, "pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()})
    ours.spec = models.Spec("bottleneck", 32, 12)
    way = normed(12, 32, 1, stride)
    theirs = t.Sequential(Residual(bottleneck(12, width, 32, stride, groups), way), t.AdaptiveAvgPool2d(1), t.Flatten())
    check_step(ours, theirs, 7, 6)


# -- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", CIFAR)
@pytest.mark.parametrize("kind", ["resnet", "plain"])
def test_the_number_in_the_name_counts_layers_with_weights(kind, depth):
    weighted = [layer for layer in blank(f"{kind}{depth}").modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    assert len(weighted) == depth


@pytest.mark.parametrize("name, size, macs, field", [
    ("resnet18", 224, 1_814_073_344, 435), ("resnet34", 224, 3_663_761_408, 899), ("resnet50", 224, 4_089_184_256, 427),
    ("resnet18_d2l", 96, 318_657_536, 435), ("resnet20", 32, 40_551_040, 81), ("plain56", 32, 125_485_696, 249)])
def test_work_and_receptive_field(name, size, macs, field):
    model = blank(name, 1000 if size == 224 else 10)
    s = summary(model, (model.spec.in_channels, size, size))
    assert s.macs == macs
    last = max(i for i, layer in enumerate(s.layers) if layer.kind == "Conv2d")
    assert s.layers[last].field.size == (field, field)


BOOK = """64x48x48 3,200 | 64x48x48 128 | 64x24x24
    64x24x24 36,928 | 64x24x24 128 | 64x24x24 36,928 | 64x24x24 128
    64x24x24 36,928 | 64x24x24 128 | 64x24x24 36,928 | 64x24x24 128
    128x12x12 73,856 | 128x12x12 256 | 128x12x12 147,584 | 128x12x12 256 | 128x12x12 8,320
    128x12x12 147,584 | 128x12x12 256 | 128x12x12 147,584 | 128x12x12 256
    256x6x6 295,168 | 256x6x6 512 | 256x6x6 590,080 | 256x6x6 512 | 256x6x6 33,024
    256x6x6 590,080 | 256x6x6 512 | 256x6x6 590,080 | 256x6x6 512
    512x3x3 1,180,160 | 512x3x3 1,024 | 512x3x3 2,359,808 | 512x3x3 1,024 | 512x3x3 131,584
    512x3x3 2,359,808 | 512x3x3 1,024 | 512x3x3 2,359,808 | 512x3x3 1,024
    512x1x1 | 512 | 10 5,130"""


def test_layers_of_the_books():
    assert rows(blank("resnet18_d2l"), 96) == table(BOOK)


# Table 1 of the paper: the blocks of each stage; what each but the first, which is another one, puts out and has
BASIC = "64x56x56 73,984 | 128x28x28 295,424 | 256x14x14 1,180,672 | 512x7x7 4,720,640"
DEEP = "256x56x56 70,400 | 512x28x28 280,064 | 1024x14x14 1,117,184 | 2048x7x7 4,462,592"
GROUPED = "256x56x56 71,168 | 512x28x28 282,624 | 1024x14x14 1,126,400 | 2048x7x7 4,497,408"
WIDE = "256x56x56 214,016 | 512x28x28 854,016 | 1024x14x14 3,411,968 | 2048x7x7 13,639,680"
SMALL = "16x32x32 4,672 | 32x16x16 18,560 | 64x8x8 73,984"


@pytest.mark.parametrize("name, depths, blocks", [
    ("resnet18", (2, 2, 2, 2), BASIC), ("resnet34", (3, 4, 6, 3), BASIC), ("resnet50", (3, 4, 6, 3), DEEP),
    ("resnet101", (3, 4, 23, 3), DEEP), ("resnet152", (3, 8, 36, 3), DEEP), ("resnext50_32x4d", (3, 4, 6, 3), GROUPED),
    ("wide_resnet50_2", (3, 4, 6, 3), WIDE),
    *((f"{kind}{depth}", (n,) * 3, SMALL) for depth, n in CIFAR.items() for kind in ("resnet", "plain"))])
def test_blocks_of_each_stage(name, depths, blocks):
    found = rows(blank(name), 32 if blocks == SMALL else 224, BasicBlock, Bottleneck, layers=())
    expected = [[block] * depth for depth, block in zip(depths, table(blocks), strict=True)]
    stages = np.split(np.array(found), np.cumsum(depths)[:-1])
    assert [list(stage[1:]) for stage in stages] == [stage[1:] for stage in expected]
    assert [stage[0].split()[0] for stage in stages] == [stage[0].split()[0] for stage in expected]


@pytest.mark.parametrize("name", ["resnet18", "resnet20"])
def test_initial_weights_are_torchvisions(name):
    """He's normal with fan_out for convolutions, PyTorch's default for the linear layer."""
    model = models.create(name, 1000)
    check_he(model)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight.data == 1).all() and not layer.bias.data.any()
    check_drawn(model.fc.weight, model.fc.in_features ** -0.5 / 3 ** 0.5)
    assert model.fc.bias.data.any()


def test_the_books_begins_with_pytorchs_weights():
    weight = models.create("resnet18_d2l").layer4[0].conv1.weight
    check_drawn(weight, (256 * 9) ** -0.5 / 3 ** 0.5)


def test_padded_shortcut():
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 7))
    y = PaddedShortcut(2, 3)(mc.tensor(x)).numpy()
    np.testing.assert_array_equal(y[:, :3], x[:, :, [0, 3]][..., [0, 3, 6]])
    assert y.shape == (2, 5, 2, 3) and not y[:, 3:].any()


@pytest.mark.parametrize(("block", "options", "rectified"), [
    (BasicBlock, {}, 1), (BasicBlock, {"residual": False}, 2), (Bottleneck, {}, 2)])
def test_blocks_rectify_what_they_normalise_in_one_pass_unless_somebody_looks(block, options, rectified, monkeypatch):
    mc.manual_seed(0)
    net, calls = block(8, 8 // block.expansion, 1, projection, **options), []
    one_pass = mc.nn.BatchNorm2d.rectified
    monkeypatch.setattr(mc.nn.BatchNorm2d, "rectified", lambda *a: calls.append(0) or one_pass(*a))

    def step():
        x = mc.tensor(np.random.default_rng(0).standard_normal((3, 8, 6, 5)), dtype=mc.float32, requires_grad=True)
        net.zero_grad()
        y = net(x)
        y.backward(mc.tensor(np.random.default_rng(1).standard_normal(y.shape), dtype=mc.float32))
        return [a.numpy().tobytes() for a in (y.detach(), x.grad, *(p.grad for p in net.parameters()))]

    together = step()
    assert len(calls) == rectified
    net.relu.register_forward_hook(lambda *_: None)
    assert step() == together
    assert len(calls) == rectified
