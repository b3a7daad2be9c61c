"""What holds for every model by name: published numbers of parameters, torchvision's weights, options, explanations."""

import lzma
import math
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import minicnn as mc
from minicnn import models, nn
from minicnn.models.shapes import flat, sizes_that_fit
from models_util import blank, buffers, dropouts, parameters

# name: (input, classes of the source, parameters, elements of running statistics and the like)
PUBLISHED = {
    "lenet": ((1, 28, 28), 10, 61_706, 0),
    "lenet5": ((1, 32, 32), 10, 61_706, 0),
    "lenet_tanh": ((1, 28, 28), 10, 61_706, 0),
    "lenet_maxpool": ((1, 28, 28), 10, 44_426, 0),
    "lenet_bn": ((1, 28, 28), 10, 44_878, 452),
    "lenet5_1998": ((1, 32, 32), 10, 60_000, 840),  # the codes of the digits
    "cnn2": ((1, 28, 28), 10, 3_199_106, 0),
    "alexnet_gray224": ((1, 224, 224), 10, 46_764_746, 0),
    "alexnet_gray227": ((1, 227, 227), 10, 58_299_082, 0),
    "alexnet_single": ((3, 227, 227), 1000, 62_378_344, 0),
    "alexnet_paper": ((3, 227, 227), 1000, 60_965_224, 0),
    "alexnet_bn": ((3, 227, 227), 10, 58_325_066, 2_752),
    "alexnet": ((3, 224, 224), 1000, 61_100_840, 0),
    "vgg11": ((3, 224, 224), 1000, 132_863_336, 0),
    "vgg13": ((3, 224, 224), 1000, 133_047_848, 0),
    "vgg16": ((3, 224, 224), 1000, 138_357_544, 0),
    "vgg19": ((3, 224, 224), 1000, 143_667_240, 0),
    "vgg11_bn": ((3, 224, 224), 1000, 132_868_840, 5_504),
    "vgg13_bn": ((3, 224, 224), 1000, 133_053_736, 5_888),
    "vgg16_bn": ((3, 224, 224), 1000, 138_365_992, 8_448),
    "vgg19_bn": ((3, 224, 224), 1000, 143_678_248, 11_008),
    "vgg11_d2l": ((1, 224, 224), 10, 128_806_154, 0),
    "vgg16_gray": ((1, 224, 224), 10, 134_300_362, 0),
    "nin": ((1, 224, 224), 10, 1_992_166, 0),
    "nin_cifar": ((3, 32, 32), 10, 966_986, 0),
    "googlenet_d2l": ((1, 96, 96), 10, 5_977_530, 0),
    "googlenet_gray224": ((1, 224, 224), 10, 5_927_850, 0),
    "googlenet_paper": ((3, 224, 224), 1000, 6_998_552, 0),
    "googlenet": ((3, 224, 224), 1000, 6_624_904, 14_560),
    "inception_v3": ((3, 299, 299), 1000, 23_834_568, 34_432),
    "resnet18_d2l": ((1, 224, 224), 10, 11_178_378, 7_808),
    "resnet18": ((3, 224, 224), 1000, 11_689_512, 9_600),
    "resnet34": ((3, 224, 224), 1000, 21_797_672, 17_024),
    "resnet50": ((3, 224, 224), 1000, 25_557_032, 53_120),
    "resnet101": ((3, 224, 224), 1000, 44_549_160, 105_344),
    "resnet152": ((3, 224, 224), 1000, 60_192_808, 151_424),
    "resnext50_32x4d": ((3, 224, 224), 1000, 25_028_904, 68_224),
    "wide_resnet50_2": ((3, 224, 224), 1000, 68_883_240, 68_224),
    **{f"{kind}20": ((3, 32, 32), 10, 269_722, 1_376) for kind in ("resnet", "plain")},
    **{f"{kind}32": ((3, 32, 32), 10, 464_154, 2_272) for kind in ("resnet", "plain")},
    **{f"{kind}44": ((3, 32, 32), 10, 658_586, 3_168) for kind in ("resnet", "plain")},
    **{f"{kind}56": ((3, 32, 32), 10, 853_018, 4_064) for kind in ("resnet", "plain")},
    **{f"{kind}110": ((3, 32, 32), 10, 1_727_962, 8_096) for kind in ("resnet", "plain")},
    "densenet_d2l": ((1, 96, 96), 10, 758_226, 6_608),
    "densenet121": ((3, 224, 224), 1000, 7_978_856, 83_648),
    "densenet169": ((3, 224, 224), 1000, 14_149_480, 158_400),
    "densenet201": ((3, 224, 224), 1000, 20_013_928, 229_056),
    "densenet161": ((3, 224, 224), 1000, 28_681_000, 219_936),
    "squeezenet1_0": ((3, 224, 224), 1000, 1_248_424, 0),
    "squeezenet1_1": ((3, 224, 224), 1000, 1_235_496, 0),
    "mobilenet_v2": ((3, 224, 224), 1000, 3_504_872, 34_112),
    "study": ((3, 32, 32), 10, 688_714, 0),
    "rnn_classifier": ((256,), 10, 166_154, 0),  # 256·128 vectors, 4·(128 + 128 + 2)·128 of the LSTM, 129·10
    "char_lstm": ((256,), 10, 166_154, 0),
    "seq2seq": ((256,), 10, 299_530, 0),  # the same and 10·128 vectors, another LSTM
    "birnn_tagger": ((256,), 10, 299_530, 0),  # two directions, 257·10
    "image_rnn": ((1, 28, 28), 10, 82_186, 0),  # 4·(28 + 128 + 2)·128, 129·10
}


def test_list():
    assert models.list() == sorted(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_numbers(name):
    shape, classes, expected, floats = PUBLISHED[name]
    model = blank(name, classes)
    assert (models.entry(name).input_shape, parameters(model), buffers(model)) == (shape, expected, floats)


# -- torchvision's weights ------------------------------------------------------------------------------------------


@cache
def torchvision_states() -> dict[str, list[tuple[str, tuple[int, ...]]]]:
    """Names and shapes in the state_dict of torchvision 0.28's models, in order; with heads, for 1000 classes."""
    found: dict[str, list] = {}
    with lzma.open(Path(__file__).parent / "torchvision_states.txt.xz", "rt") as lines:
        for line in lines:
            first, *rest = line.split()
            if not line.startswith(" "):
                weights = found[first] = []
            else:
                weights.append((first, tuple(int(n) for shape in rest for n in shape.split("x"))))
    return found


def test_the_models_of_torchvision():
    of_torchvision = [name for name in models.list() if "torchvision" in models.entry(name).source]
    assert sorted(torchvision_states()) == of_torchvision
    assert sum(map(len, torchvision_states().values())) == 8_623


@pytest.mark.parametrize("name", torchvision_states())
def test_weights_of_torchvision_load_as_they_are(name):
    """The same names and shapes in the same order; without heads, those of the heads are missing."""
    expected = torchvision_states()[name]
    headed = "aux_logits" in models.entry(name).options
    model = blank(name, 1000, **({"aux_logits": True} if headed else {}))
    assert [(key, tuple(value.shape)) for key, value in model.state_dict().items()] == expected
    if headed:
        assert list(blank(name, 1000).state_dict()) == [key for key, _ in expected if not key.lower().startswith("aux")]


# -- options --------------------------------------------------------------------------------------------------------

WIDTHS = {"lenet5_1998": 2}  # its maps are connected by a table


def batch(model: nn.Module, n: int) -> list[mc.Tensor]:
    """The smallest images that fit, or texts."""
    if not models.entry(model.spec.name).reads_images:
        return [mc.ones(n, 5, dtype=mc.int64)] * (2 if model.spec.name == "seq2seq" else 1)
    side = 28 if model.spec.name == "image_rnn" else sizes_that_fit([flat(model.chain())], model.spec.in_channels)[0]
    return [mc.randn(n, model.spec.in_channels, side, side)]


@pytest.mark.parametrize("name", models.list())
def test_options_of_every_model(name):
    """Classes, channels, width, dropout and initial weights can be chosen for every model."""
    assert {"width", "dropout"} <= set(models.entry(name).options)
    channels = 2 if models.entry(name).reads_images else 9
    options = {"width": WIDTHS.get(name, 1 / 4), "dropout": 0.25}
    model = models.create(name, 7, channels, init="kaiming", **options)
    assert model.spec == models.Spec(name, 7, channels, options)
    # of a quarter of the channels, the first and last layers have a quarter of the weights, the others a sixteenth
    ratio = parameters(model) / parameters(blank(name, 7, in_channels=channels))
    assert ratio > 2 if name == "lenet5_1998" else ratio < (0.5 if name == "mobilenet_v2" else 0.26), ratio
    assert dropouts(model) and set(dropouts(model)) == {0.25}
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            assert layer.bias is None or not layer.bias.data.any()
            bound = math.sqrt(6 / math.prod(layer.weight.shape[1:]))
            assert 0.5 * bound < np.abs(layer.weight.data).max() <= bound * (1 + 1e-6)
    inputs = batch(model, 2)
    y = model.eval()(*inputs)
    logits = y[0] if isinstance(y, tuple) else y
    assert logits.shape[:2] == (2, 7)
    assert not dropouts(blank(name, dropout=0.0)) or 0.0 in dropouts(blank(name, dropout=0.0))


@pytest.mark.parametrize("options, message", [
    ({"width": 0.01}, "lenet: width = 0.01 leaves nothing of 6 channels"),
    ({"width": -1.0}, "lenet: width = -1.0 must be a positive number"),
    ({"width": float("inf")}, "lenet: width = inf must be a positive number"),
    ({"dropout": 1.5}, r"lenet: Dropout: p = 1.5 must be a probability"),
    ({"init": "he"}, "lenet: init = 'he' must be one of 'default', 'xavier', 'kaiming'")])
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        models.create("lenet", **options)


def test_sets_of_maps_of_the_paper_are_whole():
    with pytest.raises(ValueError, match="lenet5_1998: width = 0.5 must be a whole number from 1 on, so many sets"):
        models.create("lenet5_1998", width=0.5)
    model = models.create("lenet5_1998", width=2)
    gradient = mc.autograd.grad(model.c3(x := mc.randn(1, 12, 5, 5, requires_grad=True))[0, 16].sum(), [x])[0]
    assert [i for i in range(12) if gradient.data[0, i].any()] == [6, 7, 8]  # the first row of the table, once more


def test_xavier_and_default():
    default, xavier = models.create("lenet"), models.create("lenet", init="xavier")
    bound = math.sqrt(6 / (400 + 120))
    assert 0.95 * bound < np.abs(xavier.fc1.weight.data).max() <= bound and not xavier.fc1.bias.data.any()
    assert 0.95 / 20 < np.abs(default.fc1.weight.data).max() <= 1 / 20 and default.fc1.bias.data.any()


# -- images that do not fit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, options, side, message", [
    ("googlenet_paper", {"aux": True}, 96,
     r"→\(maxpool3 3×3, stride 2, pad 1\) 6 →\(aux1.pool 5×5, stride 3\) 1 →\(aux1.conv.conv 1×1\) 1; aux1.flatten "
     r"128·1·1 = 128, but aux1.fc1 expects 2,048; sizes that fit: 209×209 to 256×256, for example with the transform "
     r"Resize\(\(209, 209\)\)"),
    ("inception_v3", {"aux_logits": True}, 96,
     r"→\(Mixed_6a\) 4, but AuxLogits.pool with its window of 5×5 does not fit into 4×4; sizes that fit: 299×299 and "
     r"larger")])
def test_heads_need_larger_images_in_training(name, options, side, message):
    model = blank(name, **options)
    with pytest.raises(ValueError, match=f"^{name}: images of 3×{side}×{side} do not fit: 3×{side}×{side} .*{message}"):
        model(mc.zeros(2, 3, side, side))
    assert model.eval()(mc.zeros(1, 3, side, side)).shape == (1, 10)


@pytest.mark.parametrize("name", [name for name in models.list() if models.entry(name).reads_images])
def test_images_too_small_are_explained(name):
    """With the size that is named instead, every network runs; some take images of any size."""
    model, channels = blank(name, width=WIDTHS.get(name, 1 / 4)), models.entry(name).input_shape[0]
    if name.startswith(("resn", "plain", "wide", "mobilenet", "googlenet_")):
        assert model.eval()(mc.zeros(1, channels, 3, 2)).shape == (1, 10)
        return
    with pytest.raises(ValueError, match=f"^{name}: images of {channels}×3×2 do not fit: .*sizes that fit") as error:
        model(mc.zeros(2, channels, 3, 2))
    sizes = re.search(r"Resize\(\((\d+), (\d+)\)\)", str(error.value))
    assert model.eval()(mc.zeros(1, channels, int(sizes[1]), int(sizes[2]))).shape == (1, 10)


def test_images_instead_of_texts():
    for name in ("birnn_tagger", "char_lstm", "rnn_classifier", "seq2seq"):
        model = blank(name, width=1 / 16)
        x = mc.zeros(2, 1, 28, 28)
        with pytest.raises(ValueError, match=r"must be symbols, whole numbers \(N, T\), not float32 \(2, 1, 28, 28\)"):
            model(*[x] * (2 if name == "seq2seq" else 1))


# -- two models side by side ----------------------------------------------------------------------------------------


def test_diff():
    """explain's, which is imported with the first use."""
    from minicnn import explain

    found = models.diff("lenet_maxpool", "lenet")
    assert isinstance(found, explain.Difference)
    assert [(x.name, x.parameters, y.parameters) for x, y in found.differing if x.parameters != y.parameters] == [
        ("fc1", 30_840, 48_120)]
    assert not models.diff("lenet", "lenet").differing
    with pytest.raises(ValueError, match="'lenett' is unknown; did you mean 'lenet'"):
        models.diff("lenett", "lenet")
