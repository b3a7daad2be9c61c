"""Inception v3 against PyTorch's layers, torchvision's names and published numbers."""

import pytest
import torch

import minicnn as mc
from minicnn import models, nn
from minicnn.explain import summary
from minicnn.models.inception import Block, InceptionOutputs
from models_util import Cat, blank, buffers, check_drawn, check_step, dropouts, parameters, rows, table

t = torch.nn

# -- a twin ---------------------------------------------------------------------------------------------------------


# Channels are those of the paper, and an eighth of them in the layers


def c(i, o, k, s=1, p=None):
    """Convolution, BN, ReLU; padded to keep the size if the stride is 1 and p does not say otherwise."""
    i, o = i if i == 3 else i // 8, o // 8
    p = ([n // 2 for n in k] if isinstance(k, tuple) else k // 2 if s == 1 else 0) if p is None else p
    return t.Sequential(t.Conv2d(i, o, k, s, p, bias=False), t.BatchNorm2d(o, eps=0.001), t.ReLU())


def seq(*layers):
    return t.Sequential(*layers)


def mean(i, o):
    return seq(t.AvgPool2d(3, 1, 1), c(i, o, 1))


def figure_5(i, o):
    return Cat([c(i, 64, 1), seq(c(i, 48, 1), c(48, 64, 5)), seq(c(i, 64, 1), c(64, 96, 3), c(96, 96, 3)), mean(i, o)])


def figure_6(n):
    return Cat([c(768, 192, 1), seq(c(768, n, 1), c(n, n, (1, 7)), c(n, 192, (7, 1))),
                seq(c(768, n, 1), c(n, n, (7, 1)), c(n, n, (1, 7)), c(n, n, (7, 1)), c(n, 192, (1, 7))),
                mean(768, 192)])


def figure_7(i):
    def fork(n):
        return Cat([c(n, 384, (1, 3)), c(n, 384, (3, 1))])

    return Cat([c(i, 320, 1), seq(c(i, 384, 1), fork(384)), seq(c(i, 448, 1), c(448, 384, 3), fork(384)), mean(i, 192)])


def smaller_35():
    return Cat([c(288, 384, 3, 2), seq(c(288, 64, 1), c(64, 96, 3), c(96, 96, 3, 2)), t.MaxPool2d(3, 2)])


def smaller_17():
    return Cat([seq(c(768, 192, 1), c(192, 320, 3, 2)),
                seq(c(768, 192, 1), c(192, 192, (1, 7)), c(192, 192, (7, 1)), c(192, 192, 3, 2)), t.MaxPool2d(3, 2)])


class Twin(t.Module):
    def __init__(self, head):
        super().__init__()
        self.begin, self.head, self.end = twin_begin(), twin_head() if head else None, twin_end()

    def forward(self, x):
        x = self.begin(x)
        return (self.end(x), self.head(x)) if self.head and self.training else self.end(x)


def twin_begin():
    stem = seq(c(3, 32, 3, 2), c(32, 32, 3, p=0), c(32, 64, 3), t.MaxPool2d(3, 2), c(64, 80, 1), c(80, 192, 3, p=0),
               t.MaxPool2d(3, 2))
    return seq(stem, figure_5(192, 32), figure_5(256, 64), figure_5(288, 64), smaller_35(), figure_6(128),
               figure_6(160), figure_6(160), figure_6(192))


def twin_end():
    return seq(smaller_17(), figure_7(1280), figure_7(2048), t.AdaptiveAvgPool2d(1), t.Flatten(), t.Linear(256, 10))


def twin_head():
    return seq(t.AvgPool2d(5, 3), c(768, 128, 1), c(128, 768, 5, p=0), t.AdaptiveAvgPool2d(1), t.Flatten(),
               t.Linear(96, 10))


def test_a_step_is_pytorchs():
    model = blank("inception_v3", width=1 / 8)
    assert dropouts(model) == [0.5]
    check_step(model, Twin(head=False), 75, 107)


def test_a_step_with_the_head_is_pytorchs():
    check_step(blank("inception_v3", aux_logits=True, width=1 / 8), Twin(head=True), 299, 347, batch=3, heads=0.4)


def test_the_head_reads_the_last_17x17_and_vanishes_in_evaluation():
    model, read = blank("inception_v3", 7, aux_logits=True, width=1 / 8), []
    model.AuxLogits.register_forward_hook(lambda layer, args, output: read.append((args[0].shape, output)))
    y = model(mc.randn(2, 3, 299, 299))
    assert isinstance(y, InceptionOutputs) and y._fields == ("logits", "aux_logits")
    assert y.logits.shape == (2, 7) and y.aux_logits is read[0][1] and read[0][0] == (2, 96, 17, 17)
    assert y.loss(lambda logits: mc.tensor(10.0 if logits is y.logits else 5.0)).item() == pytest.approx(10 + 0.4 * 5)
    assert model.eval()(mc.randn(1, 3, 299, 299)).shape == (1, 7) and len(read) == 1


# -- numbers --------------------------------------------------------------------------------------------------------

# The paper's table 1, with the sums of the channels of figures 5 to 7
LAYERS = """32x149x149 | 32x147x147 | 64x147x147 | 64x73x73 | 80x73x73 | 192x71x71 | 192x35x35 | 256x35x35 | 288x35x35
    288x35x35 | 768x17x17 | 768x17x17 | 768x17x17 | 768x17x17 | 768x17x17 | 1280x8x8 | 2048x8x8 | 2048x8x8
    2048x1x1 | 2048 | 1000"""


def test_layers():
    model = blank("inception_v3", 1000)
    found = rows(model, 299, Block, layers=(nn.Conv2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear))
    assert [row.split()[0] for row in found] == table(LAYERS)


def test_totals():
    model = blank("inception_v3", 1000)
    assert summary(model, (3, 299, 299)).macs == 5_713_216_096
    headed = blank("inception_v3", 1000, aux_logits=True)
    assert (parameters(headed), buffers(headed)) == (27_161_264, 36_224)
    assert models.entry("inception_v3").input_shape == (3, 299, 299)


def test_initial_weights_are_torchvisions():
    """Normal with 0.1, cut off at ±2; 0.001 for the linear layer of the head."""
    model = models.create("inception_v3", aux_logits=True)
    for name, layer in model.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            check_drawn(layer.weight, 0.001 if name == "AuxLogits.fc" else 0.1)
