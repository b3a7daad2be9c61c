"""ResNets: the paper's, torchvision's and the book's, against PyTorch's layers and published numbers."""

import numpy as np
import pytest
import torch

import minicnn as mc
from minicnn import models, nn
from minicnn.explain import summary
from minicnn.models import Network
from minicnn.models.resnet import BasicBlock, Bottleneck, PaddedShortcut, projection
from models_util import (blank, buffers, check_drawn, check_state, check_step, conv, linear, norm, parameters, rows,
                         table)

t = torch.nn

# name: (parameters, buffers) for 1000 classes
IMAGENET = {"resnet18": (11_689_512, 9_600), "resnet34": (21_797_672, 17_024), "resnet50": (25_557_032, 53_120),
            "resnet101": (44_549_160, 105_344), "resnet152": (60_192_808, 151_424),
            "resnext50_32x4d": (25_028_904, 68_224), "wide_resnet50_2": (68_883_240, 68_224)}
CIFAR = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962}

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


def photograph_stem(channels, bias=False):
    return [normed(channels, 64, 7, 2, bias), t.ReLU(), t.MaxPool2d(3, 2, 1)]


def twin_basic(depths, classes=10):
    layers, i = photograph_stem(3), 64
    for stage, depth in enumerate(depths):
        for j in range(depth):
            o, s = 64 * 2 ** stage, 2 if stage and not j else 1
            layers.append(Residual(basic(i, o, s), t.Identity() if i == o else normed(i, o, 1, s)))
            i = o
    return t.Sequential(*layers, end(512, classes))


def twin_bottleneck(widths, groups, classes=10):
    layers, i = photograph_stem(3), 64
    for stage, (width, depth) in enumerate(zip(widths, (3, 4, 6, 3), strict=True)):
        o = 256 * 2 ** stage
        for j in range(depth):
            s = 2 if stage and not j else 1
            layers.append(Residual(bottleneck(i, width, o, s, groups), t.Identity() if i == o else normed(i, o, 1, s)))
            i = o
    return t.Sequential(*layers, end(2048, classes))


def twin_book():
    layers = photograph_stem(1, bias=True)
    for i, o in ((64, 64), (64, 128), (128, 256), (256, 512)):
        layers += [Residual(basic(i, o, o // i, True), t.Identity() if i == o else t.Conv2d(i, o, 1, 2)),
                   Residual(basic(o, o, 1, True), t.Identity())]
    return t.Sequential(*layers, end(512, 10))


def twin_cifar(n, residual):
    layers, i = [normed(3, 16, 3), t.ReLU()], 16
    for o in (16, 32, 64):
        for _ in range(n):
            way = (t.Identity() if i == o else OptionA(o - i)) if residual else None
            layers.append(Residual(basic(i, o, 1 if i == o else 2), way))
            i = o
    return t.Sequential(*layers, end(64, 10))


TWINS = {"resnet18": lambda: twin_basic((2, 2, 2, 2)), "resnet50": lambda: twin_bottleneck((64, 128, 256, 512), 1),
         "resnet18_d2l": twin_book, "resnet20": lambda: twin_cifar(3, True), "plain20": lambda: twin_cifar(3, False),
         "resnet32": lambda: twin_cifar(5, True)}


@pytest.mark.parametrize("name", TWINS)
def test_a_step_is_pytorchs(name):
    small = name[-2:] in ("20", "32")
    check_step(blank(name), TWINS[name](), *((15, 18) if small else (65, 34)))


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


@pytest.mark.parametrize("name", IMAGENET)
def test_sizes_of_torchvisions(name):
    model = blank(name, 1000)
    assert (parameters(model), buffers(model)) == IMAGENET[name]
    assert models.entry(name).input_shape == (3, 224, 224)


@pytest.mark.parametrize("depth", CIFAR)
@pytest.mark.parametrize("kind", ["resnet", "plain"])
def test_sizes_of_the_cifar_networks(kind, depth):
    model = blank(f"{kind}{depth}")
    assert parameters(model) == CIFAR[depth]
    assert models.entry(f"{kind}{depth}").input_shape == (3, 32, 32)
    weighted = [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    assert len(weighted) == depth


@pytest.mark.parametrize("name, size, macs, field", [
    ("resnet18", 224, 1_814_073_344, 435), ("resnet34", 224, 3_663_761_408, 899), ("resnet50", 224, 4_089_184_256, 427),
    ("resnet18_d2l", 96, 318_657_536, 435), ("resnet20", 32, 40_551_040, 81), ("plain56", 32, 125_485_696, 249)])
def test_work_and_receptive_field(name, size, macs, field):
    classes = 1000 if name in IMAGENET else 10
    model = blank(name, classes)
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
    model = blank("resnet18_d2l")
    assert rows(model, 96) == table(BOOK)
    assert (parameters(model), buffers(model)) == (11_178_378, 7_808)


@pytest.mark.parametrize("name, size, stages", [
    ("resnet18", 224, "64x56x56 73,984 | 128x28x28 295,424 | 256x14x14 1,180,672 | 512x7x7 4,720,640"),
    ("resnet50", 224, "256x56x56 70,400 | 512x28x28 280,064 | 1024x14x14 1,117,184 | 2048x7x7 4,462,592"),
    ("resnet110", 32, "16x32x32 4,672 | 32x16x16 18,560 | 64x8x8 73,984")])
def test_last_block_of_each_stage(name, size, stages):
    model = blank(name)
    found = rows(model, size, BasicBlock, Bottleneck, layers=())
    ends = np.cumsum([len(stage) for _, stage in model.named_children() if isinstance(stage, nn.Sequential)]) - 1
    assert [found[i] for i in ends] == table(stages)


def state(name, block, depths, groups, base):
    """torchvision's names and shapes."""
    names, i = conv("conv1", 64, 3, 7, 7) | norm("bn1", 64), 64
    for stage, depth in enumerate(depths):
        planes = 64 * 2 ** stage
        width, o = (planes, planes) if block == 2 else (planes * base // 64 * groups, 4 * planes)
        for j in range(depth):
            at = f"layer{stage + 1}.{j}"
            kernels = [(width, i, 3, 3), (width, width, 3, 3)] if block == 2 else \
                [(width, i, 1, 1), (width, width // groups, 3, 3), (o, width, 1, 1)]
            for n, kernel in enumerate(kernels, start=1):
                names |= conv(f"{at}.conv{n}", *kernel) | norm(f"{at}.bn{n}", kernel[0])
            if j == 0 and (stage or block == 3):
                names |= conv(f"{at}.downsample.0", o, i, 1, 1) | norm(f"{at}.downsample.1", o)
            i = o
    return names | linear("fc", 1000, i)


@pytest.mark.parametrize("name, block, depths, groups, base, keys", [
    ("resnet18", 2, (2, 2, 2, 2), 1, 64, 122), ("resnet34", 2, (3, 4, 6, 3), 1, 64, 218),
    ("resnet50", 3, (3, 4, 6, 3), 1, 64, 320), ("resnet101", 3, (3, 4, 23, 3), 1, 64, 626),
    ("resnet152", 3, (3, 8, 36, 3), 1, 64, 932), ("resnext50_32x4d", 3, (3, 4, 6, 3), 32, 4, 320),
    ("wide_resnet50_2", 3, (3, 4, 6, 3), 1, 128, 320)])
def test_names_are_torchvisions(name, block, depths, groups, base, keys):
    check_state(blank(name, 1000), state(name, block, depths, groups, base), keys)


@pytest.mark.parametrize("name", ["resnet18", "resnet20"])
def test_initial_weights_are_torchvisions(name):
    """He's normal with fan_out for convolutions, PyTorch's default for the linear layer."""
    model = models.create(name, 1000)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            o, _, k, _ = layer.weight.shape
            check_drawn(layer.weight, (2 / (o * k * k)) ** 0.5)
        elif isinstance(layer, nn.BatchNorm2d):
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


@pytest.mark.parametrize("name", ["resnet18_d2l", "resnet18", "resnet50", "resnet20", "plain20"])
def test_classes_and_channels(name):
    model = models.create(name, num_classes=7, in_channels=2).eval()
    assert model(mc.zeros(1, 2, 33, 40)).shape == (1, 7)
