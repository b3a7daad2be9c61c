"""Models: published sizes, the same numbers as PyTorch's layers with the same weights, and errors that help."""

import re

import numpy as np
import pytest
import torch

import minicnn as mc
from minicnn import models
from minicnn.models import Network, output_shape, window_of
from minicnn.models.shapes import sizes_that_fit
from models_util import LAYERS, check_step, rows, table

# MODELS.md: C×H×W (parameters) of every layer
LENET = """6x28x28 156 | 6x14x14 | 16x10x10 2,416 | 16x5x5 | 400 | 120 48,120 | 84 10,164 | 10 850"""
SMALLER = """6x24x24 156 | 6x12x12 | 16x8x8 2,416 | 16x4x4 | 256 | 120 30,840 | 84 10,164 | 10 850"""
WITH_BN = """6x24x24 156 | 6x24x24 12 | 6x12x12 | 16x8x8 2,416 | 16x8x8 32 | 16x4x4 | 256
    120 30,840 | 120 240 | 84 10,164 | 84 168 | 10 850"""
SCRIPT = """32x28x28 832 | 32x14x14 | 64x14x14 51,264 | 64x7x7 | 3136 | 1000 3,137,000 | 10 10,010"""
# name: (side of the images, another that fits, layers)
LENETS = {"lenet": (28, 31, LENET), "lenet5": (32, 35, LENET), "lenet_tanh": (28, 30, LENET),
          "lenet_maxpool": (28, 29, SMALLER), "lenet_bn": (28, 31, WITH_BN), "cnn2": (28, 31, SCRIPT)}


def torch_lenet(name: str) -> torch.nn.Module:
    """The network written out in PyTorch, from the table of the papers and books."""
    t = torch.nn
    if name == "cnn2":
        return t.Sequential(t.Conv2d(1, 32, 5, 1, 2), t.ReLU(), t.MaxPool2d(2, 2), t.Conv2d(32, 64, 5, 1, 2), t.ReLU(),
                            t.MaxPool2d(2, 2), t.Flatten(), t.Linear(3136, 1000), t.Dropout(0.5), t.ReLU(),
                            t.Linear(1000, 10))
    if name == "lenet_bn":
        s = t.Sigmoid
        return t.Sequential(t.Conv2d(1, 6, 5), t.BatchNorm2d(6), s(), t.AvgPool2d(2, 2),
                            t.Conv2d(6, 16, 5), t.BatchNorm2d(16), s(), t.AvgPool2d(2, 2), t.Flatten(),
                            t.Linear(256, 120), t.BatchNorm1d(120), s(), t.Linear(120, 84), t.BatchNorm1d(84), s(),
                            t.Linear(84, 10))
    act = t.Tanh if name == "lenet_tanh" else t.Sigmoid
    pool = t.MaxPool2d if name in ("lenet_tanh", "lenet_maxpool") else t.AvgPool2d
    padding = 2 if name in ("lenet", "lenet_tanh") else 0
    features = 256 if name == "lenet_maxpool" else 400
    return t.Sequential(t.Conv2d(1, 6, 5, padding=padding), act(), pool(2, 2), t.Conv2d(6, 16, 5), act(), pool(2, 2),
                        t.Flatten(), t.Linear(features, 120), act(), t.Linear(120, 84), act(), t.Linear(84, 10))


def images(model: str, n: int = 3) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((n, *models.entry(model).input_shape)).astype(np.float32)


@pytest.mark.parametrize("name", LENETS)
def test_layers(name):
    side, _, expected = LENETS[name]
    assert rows(models.create(name), side, layers=(*LAYERS, mc.nn.BatchNorm1d)) == table(expected)


@pytest.mark.parametrize("name", LENETS)
def test_a_step_is_pytorchs(name):
    side, other, _ = LENETS[name]
    check_step(models.create(name), torch_lenet(name), side, other, batch=3)


def test_option_activation():
    assert "act1): Tanh" in repr(models.create("lenet5", activation="tanh"))
    assert "act1): Sigmoid" in repr(models.create("lenet5"))
    assert models.entry("lenet5").options == {"activation": "sigmoid", "width": 1.0, "dropout": 0.0}
    with pytest.raises(ValueError, match="lenet5: activation 'relu' is unknown; use 'sigmoid' or 'tanh'"):
        models.create("lenet5", activation="relu")


def test_option_softmax():
    """With the script's softmax the outputs are probabilities; the loss for 10 classes then stays above ln(1 + 9/e)."""
    x = mc.tensor(images("cnn2"))
    y = models.create("cnn2", softmax=True).eval()(x)
    np.testing.assert_allclose(y.data.sum(1), 1, rtol=1e-5)
    certain = mc.tensor(np.eye(10, dtype=np.float32))
    assert mc.functional.cross_entropy(certain, mc.arange(10)).item() == pytest.approx(np.log(1 + 9 / np.e), abs=1e-5)
    assert not np.allclose(models.create("cnn2").eval()(x).data.sum(1), 1)


def test_keys_are_readable():
    keys = list(models.create("lenet_bn").state_dict())
    assert keys[:4] == ["conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias"]
    assert keys[-2:] == ["fc3.weight", "fc3.bias"]


def test_unknown_names():
    with pytest.raises(ValueError, match="'lenett' is unknown; did you mean 'lenet'.*lenet_tanh"):
        models.create("lenett")
    with pytest.raises(TypeError, match="model 'lenet' has no option 'pool'; its options: width=1.0, dropout=0.0"):
        models.create("lenet", pool="max")
    with pytest.raises(ValueError, match="num_classes = True must be an integer of at least 1"):
        models.create("lenet", num_classes=True)
    with pytest.raises(ValueError, match="num_classes = 0 must be an integer of at least 1"):
        models.create("lenet", 0)


# -- images that do not fit -----------------------------------------------------------------------------------------

MISFITS = {
    ("lenet", (2, 1, 32, 32)):
        "lenet: images of 1×32×32 do not fit: 1×32×32 →(conv1 5×5, pad 2) 32 →(pool1 2×2, stride 2) 16 →(conv2 5×5) 12 "
        "→(pool2 2×2, stride 2) 6; flatten 16·6·6 = 576, but fc1 expects 400; sizes that fit: 28×28 to 31×31, for "
        "example with the transform Resize((31, 31))",
    ("lenet5", (2, 1, 28, 40)):
        "lenet5: images of 1×28×40 do not fit: 1×28×40 →(conv1 5×5) 24×36 →(pool1 2×2, stride 2) 12×18 →(conv2 5×5) "
        "8×14 →(pool2 2×2, stride 2) 4×7; flatten 16·4·7 = 448, but fc1 expects 400; sizes that fit: 32×32 to 35×35, "
        "for example with the transform Resize((32, 32))",
    ("lenet", (2, 1, 4, 4)):
        "lenet: images of 1×4×4 do not fit: 1×4×4 →(conv1 5×5, pad 2) 4 →(pool1 2×2, stride 2) 2, but conv2 with its "
        "window of 5×5 does not fit into 2×2; sizes that fit: 28×28 to 31×31, for example with the transform "
        "Resize((28, 28))",
    ("lenet", (2, 3, 28, 28)):
        "lenet: images of 3×28×28 do not fit: 3×28×28, but conv1 expects 1 channel, not 3; create the model with "
        "in_channels=3, or convert the images to 1 channel",
    ("lenet", (1, 28, 28)):
        "lenet: a batch of images (N, C, H, W) is expected, not (1, 28, 28); one image is x[None]",
}


@pytest.mark.parametrize("name, shape", MISFITS)
def test_misfit_is_explained(name, shape):
    with pytest.raises(ValueError) as error:
        models.create(name)(mc.zeros(*shape))
    assert str(error.value) == MISFITS[name, shape]


def test_sizes_that_fit_are_those_that_run():
    model = models.create("lenet_maxpool")
    fitting = sizes_that_fit([list(model.chain())], 1)
    for n in range(20, 40):
        if n in fitting:
            assert model(mc.zeros(1, 1, n, n)).shape == (1, 10)
        else:
            with pytest.raises(ValueError, match="sizes that fit: 28×28 to 31×31"):
                model(mc.zeros(1, 1, n, n))


@pytest.mark.parametrize("name, shape, message", [
    ("resnet20", (2, 1, 32, 32), r"but conv1 expects 3 channels, not 1; create the model with in_channels=1"),
    ("vgg11_bn", (1, 3, 30, 30), r"→\(features.25 3×3, pad 1\) 1, but features.28 with its window of 2×2 does not fit "
                                 r"into 1×1; sizes that fit: 32×32 and larger"),
    ("densenet_d2l", (1, 1, 5, 5), r"but features.transition2.pool with .*sizes that fit: 29×29 and larger"),
    ("inception_v3", (1, 3, 60, 60), r"→\(Mixed_6a\) 2, but Mixed_7a cannot take 768×2×2: max_pool2d: a window .*sizes "
                                     r"that fit: 75×75 and larger"),
])
def test_networks_with_blocks_explain_themselves(name, shape, message):
    model = models.create(name, **({"width": 0.1} if name == "vgg11_bn" else {}))
    with pytest.raises(ValueError, match=f"{name}: images of .* do not fit: .*{message}") as error:
        model(mc.zeros(*shape))
    assert all(layer.training for layer in model.modules())
    fitting = re.search(r"sizes that fit: (\d+)×", str(error.value))
    if fitting:
        n = int(fitting[1])
        assert model.eval()(mc.zeros(1, shape[1], n, n)).shape == (1, 10)


def test_no_size_fits():
    nn = mc.nn
    broken = Network({"conv1": nn.Conv2d(1, 4, 3), "flatten": nn.Flatten(), "fc1": nn.Linear(7, 10)})
    with pytest.raises(ValueError, match="network: .*fc1 expects 7; no square image up to 512×512 fits"):
        broken(mc.zeros(1, 1, 8, 8))


def test_other_errors_are_not_replaced():
    class Broken(mc.nn.Module):
        def forward(self, x):
            raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="^something else$"):
        Network({"conv1": mc.nn.Conv2d(1, 4, 3), "broken": Broken()})(mc.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("layer, torch_layer", [
    (mc.nn.Conv2d(3, 5, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
     torch.nn.Conv2d(3, 5, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2))),
    (mc.nn.Conv2d(3, 4, 4, padding="same"), torch.nn.Conv2d(3, 4, 3, padding="same")),
    (mc.nn.Conv2d(3, 4, 4, padding="valid"), torch.nn.Conv2d(3, 4, 4, padding="valid")),
    (mc.nn.MaxPool2d(3, stride=2), torch.nn.MaxPool2d(3, stride=2)),
    (mc.nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
     torch.nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)),
    (mc.nn.MaxPool2d(2, padding=1, ceil_mode=True), torch.nn.MaxPool2d(2, padding=1, ceil_mode=True)),
    (mc.nn.AvgPool2d((2, 3), ceil_mode=True), torch.nn.AvgPool2d((2, 3), ceil_mode=True)),
    (mc.nn.Flatten(), torch.nn.Flatten()),
    (mc.nn.ReLU(), torch.nn.ReLU())])
def test_shape_formulas(layer, torch_layer):
    for height in range(6, 14):
        shape = (3, height, 11)
        assert output_shape(layer, shape) == tuple(torch_layer(torch.zeros(1, *shape)).shape[1:])


def test_window_in_words():
    assert str(window_of(mc.nn.Conv2d(1, 1, (3, 5), stride=2, padding=(1, 2), dilation=2))) == \
        "3×5, stride 2, pad 1×2, dilation 2"
    assert window_of(mc.nn.ReLU()) is None


def test_full_padding_has_a_window():
    layer = mc.nn.Conv2d(3, 4, (3, 2), padding="full", dilation=(1, 2))
    assert output_shape(layer, (3, 7, 11)) == layer(mc.zeros(1, 3, 7, 11)).shape[1:] == (4, 9, 13)
    assert str(window_of(layer)) == "3×2, pad 2, dilation 1×2"
