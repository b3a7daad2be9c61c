"""Receptive fields, as computed for the summary, against where gradients reach."""

import numpy as np
import pytest
from models_util import blank

import minicnn as mc
from minicnn import functional as F
from minicnn import models, nn
from minicnn.explain import Field, summary


class Of(nn.Module):
    """A network that is a function of x and its layers."""

    def __init__(self, function, *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)
        self.kernel = nn.Parameter(mc.ones(3, 2, 3, 5))

    def forward(self, x):
        return self.function(self, x)


def branches(net, x):
    """A sum of two ways and a concatenation of two more: what a chain of layers is not."""
    wide, deep, last = net.layers
    y = x + wide(x)
    y = mc.cat([y, F.relu(deep(y))], dim=1)
    return last(F.max_pool2d(y, 2))


def functions(net, x):
    """No layers at all."""
    y = F.conv2d(F.pad(x, (1, 0, 2, 1)), net.kernel, stride=(1, 2), dilation=(2, 1))
    y = F.max_pool2d(F.leaky_relu(y), 3, 2, 1) * 2 + 1
    return F.avg_pool2d(y.abs().sqrt(), (3, 2), 1)


def steps(net, x):
    """Slices, of which some leave out rows and columns."""
    y = net.layers[0](x)[:, :, 2:, 1::3]
    return net.layers[1](y[..., ::2, :])[:, None].squeeze(1)


def channels_last(net, x):
    """As in ConvNeXt: the axes are exchanged, merged and split by the normalisation of channels."""
    y = net.layers[0](x).permute(0, 2, 3, 1)
    return net.layers[2](net.layers[1](y).permute(0, 3, 1, 2))


def shuffled(net, x):
    """As in ShuffleNet."""
    return net.layers[1](F.channel_shuffle(net.layers[0](x), 2))


def attending(net, x):
    """All channels are weighted by one map, which sees further than they do."""
    y = net.layers[0](x)
    return net.layers[2](mc.sigmoid(net.layers[1](y)) * y)


def until(name: str, layer: str) -> nn.Module:
    """A model as far as a layer of it."""
    model, found = blank(name), []
    for child, module in model.named_children():
        found.append(module)
        if child == layer:
            return nn.Sequential(*found)
    raise ValueError(layer)


def dense() -> nn.Module:
    return blank("densenet_d2l").features[:7]


CONV = nn.Conv2d
NETS = {
    "chain": lambda: nn.Sequential(CONV(2, 3, (3, 5), stride=(2, 1)), nn.AvgPool2d(2), CONV(3, 2, 3, dilation=(1, 2))),
    "branches": lambda: Of(branches, CONV(2, 2, (5, 3), padding=(2, 1)), CONV(2, 2, 3, padding=1),
                           CONV(4, 3, 3, stride=2, padding=2, dilation=2)),
    "adaptive": lambda: nn.Sequential(CONV(2, 2, 3, padding=1), nn.AdaptiveAvgPool2d((20, 16))),
    "functions": lambda: Of(functions),
    "steps": lambda: Of(steps, CONV(2, 2, 3), CONV(2, 2, (3, 2))),
    "channels last": lambda: Of(channels_last, CONV(2, 4, 3, padding=1), nn.LayerNorm(4), CONV(4, 2, (1, 3), 2)),
    "shuffled": lambda: Of(shuffled, CONV(2, 4, 3), CONV(4, 4, (3, 1), groups=2)),
    "attending": lambda: Of(attending, CONV(2, 3, 3), CONV(3, 1, (5, 3), padding=(2, 1)), CONV(3, 2, 2, stride=2)),
    "normalised": lambda: nn.Sequential(CONV(2, 2, 3), nn.BatchNorm2d(2), nn.LocalResponseNorm(3), nn.Softmax(1),
                                        CONV(2, 2, 3)),
    "residual": lambda: until("resnet20", "layer2"),
    "inception": lambda: until("googlenet_d2l", "inception3a"),
    "dense": dense}


def reach(net, x, rng, row: int, column: int) -> list[int]:
    """The first and last row, and column, of the image that one output depends on."""
    touched = np.zeros(x.shape[2:], bool)
    for _ in range(8):  # the maximum of a pooling window must have been at each place once
        x.data[...] = rng.uniform(1, 2, x.shape)
        x.grad = None
        net(x)[0, :, row, column].square().sum().backward()
        touched |= (x.grad.data != 0).any((0, 1))
    rows, columns = np.flatnonzero(touched.any(1)), np.flatnonzero(touched.any(0))
    return [rows[0], rows[-1], columns[0], columns[-1]]


@pytest.mark.parametrize("name", NETS)
def test_it_is_where_gradients_reach(name):
    """One output in the middle: its gradient is non-zero on exactly the field; its neighbour's, ``jump`` pixels on."""
    rng, net = np.random.default_rng(0), NETS[name]().double().eval()
    for p in net.parameters():  # nothing cancels, no ReLU is dead, nothing overflows
        p.data[...] = rng.uniform(0.5, 1.5, p.shape) / max(p[0].numel(), 1)
    channels, size = next(net.parameters()).shape[1], (160, 128)
    field = summary(net, (channels, *size)).layers[-1].field
    x = mc.tensor(np.zeros((1, channels, *size)), requires_grad=True)
    height, width = net(x).shape[2:]
    top, bottom, left, right = reach(net, x, rng, height // 2, width // 2)
    assert (bottom - top + 1, right - left + 1) == field.size
    lower = reach(net, x, rng, height // 2 + 1, width // 2 + 1)
    assert (lower[0] - top, lower[2] - left) == field.jump


@pytest.mark.parametrize("layers", [
    [nn.ConvTranspose2d(1, 1, 3, stride=2, padding=1)],
    [nn.ConvTranspose2d(1, 2, (5, 2), stride=(3, 2), dilation=(2, 1)), CONV(2, 1, 3)],
    [nn.Upsample(scale_factor=2), CONV(1, 1, 3)],
    [CONV(1, 1, 3), nn.Upsample(scale_factor=(2, 3), mode="bilinear")]])
def test_enlarged_images(layers):
    """Neighbours see more or less; the field is that of those that see most."""
    rng, net = np.random.default_rng(0), nn.Sequential(*layers).double()
    for p in net.parameters():
        p.data[...] = rng.uniform(0.5, 1.5, p.shape)
    x = mc.tensor(np.zeros((1, 1, 24, 20)), requires_grad=True)
    ends = np.array([reach(net, x, rng, 20 + i, 16 + i) for i in range(7)])
    field = summary(net, (1, 24, 20)).layers[-1].field
    assert ((ends[:, 1] - ends[:, 0]).max() + 1, (ends[:, 3] - ends[:, 2]).max() + 1) == field.size
    assert ((ends[6, 0] - ends[0, 0]) / 6, (ends[6, 2] - ends[0, 2]) / 6) == pytest.approx(field.jump, abs=0.17)


def field_of(function, shape=(2, 12, 10), *layers: nn.Module) -> Field:
    return summary(Of(function, *layers), shape).layers[-1].field


@pytest.mark.parametrize("function", [
    lambda net, x: F.adaptive_avg_pool2d(x, 1),
    lambda net, x: F.linear(x.flatten(1), mc.ones(3, 240)),
    lambda net, x: x * x.mean((2, 3), keepdim=True).sigmoid(),  # squeeze and excitation
    lambda net, x: F.group_norm(x, 2),
    lambda net, x: x.flatten(2).softmax(2),
    lambda net, x: x + x.flip(2, 3),
    lambda net, x: x + F.pad(x, (0, 2)).transpose(2, 3)[..., :10],  # rows meet columns
    lambda net, x: x.flatten(2) @ x.flatten(2).transpose(1, 2),  # attention
    lambda net, x: x.transpose(2, 3).reshape(1, 2, 12, 10) + x])
def test_the_whole_image(function):
    assert field_of(function).size is None


def test_all_of_one_axis():
    assert field_of(lambda net, x: F.avg_pool2d(x, 3, 1).mean(2)) == Field((12, 3), (1, 1))
    assert field_of(lambda net, x: F.avg_pool2d(x, (12, 1))) == Field((12, 1), (1, 1))


def test_a_layer_that_slides_is_not_the_whole_image():
    """Even if the window fits only once: the formula for larger images is wanted."""
    net = nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(3, 1, 1))
    assert [layer.field for layer in summary(net, (1, 3, 3)).layers] == [
        Field((3, 3), (2, 2)), Field((7, 7), (4, 4)), Field((15, 15), (4, 4))]


def test_signals_and_volumes():
    net = nn.Sequential(nn.Conv1d(2, 3, 5, stride=2), nn.MaxPool1d(3), nn.Conv1d(3, 1, 3, dilation=2))
    assert [layer.field for layer in summary(net, (2, 99)).layers] == [
        Field((5,), (2,)), Field((9,), (6,)), Field((33,), (6,))]
    net = nn.Sequential(nn.Conv3d(1, 2, (3, 1, 5)), nn.MaxPool3d((2, 2, 1)), nn.AvgPool3d(3, stride=1))
    assert summary(net, (1, 20, 20, 20)).layers[-1].field == Field((8, 6, 7), (2, 2, 1))


def test_two_windows_of_two():
    """Notes 000 and 003: two 2×2 cross-correlations see all nine elements of 3×3."""
    assert summary(nn.Sequential(CONV(1, 1, 2), CONV(1, 1, 2)), (1, 3, 3)).field == Field((3, 3), (1, 1))


def test_somebody_elses_operations():
    """Element by element if nothing changes shape, else unknown."""
    class Twice(mc.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, gy):
            return gy * 2

    class Halves(Twice):
        @staticmethod
        def forward(ctx, x):
            return x[:, :, ::2].contiguous()

    assert field_of(lambda net, x: Twice.apply(F.avg_pool2d(x, 3, 1))) == Field((3, 3), (1, 1))
    assert field_of(lambda net, x: Halves.apply(F.avg_pool2d(x, 3, 1))).size is None


# as in the table of costs of the design, and https://distill.pub/2019/computing-receptive-fields
PUBLISHED = {"lenet": 16, "cnn2": 16, "alexnet": 195, "alexnet_gray227": 195, "alexnet_bn": 179, "nin": 195,
             "vgg11_d2l": 150, "vgg16": 212, "vgg19": 268, "googlenet_d2l": 715, "resnet18_d2l": 435, "resnet20": 81,
             "resnet56": 249, "densenet_d2l": 519, "inception_v3": 1311}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_fields(name):
    size = (224, 224) if name == "densenet_d2l" else models.entry(name).input_shape[1:]
    model = blank(name)
    assert summary(model, (model.spec.in_channels, *size)).field.size == (PUBLISHED[name],) * 2
