"""Recipes: their layers and values, initial weights, schedules and optimisers."""

import math

import numpy as np
import pytest

import minicnn as mc
from minicnn import models, nn
from minicnn.training import Recipe, RecipeError, recipe_for
from minicnn.training.optimisation import make_optimizer, make_schedule
from training_util import weights_of


def test_recipe_layers():
    assert recipe_for("lenet").data == "digits"
    assert recipe_for("lenet", "mnist") == Recipe(data="mnist", lr=0.01, init="xavier")
    assert recipe_for("lenet", "mnist", lr=0.5).lr == 0.5
    assert recipe_for("lenet5", "mnist").pad == 2
    assert recipe_for("a network of one's own", "mnist") == Recipe(data="mnist")


def test_another_optimiser_brings_its_own_learning_rate():
    changed = recipe_for("lenet", opt="momentum")
    assert (changed.lr, changed.momentum) == (0.05, 0.9)
    assert recipe_for("lenet", opt="momentum", lr=0.3, momentum=0.5).lr == 0.3
    assert Recipe.make(changed, opt="adam").momentum is None


def test_recipe_of_note_003():
    assert recipe_for("lenet_tanh", name="note003") == Recipe(
        data="mnist", epochs=30, batch_size=128, opt="sgd", lr=0.01, sched="none", init="xavier", pixels="raw")
    with pytest.raises(RecipeError, match="recipe 'note003' is for lenet_tanh, not for lenet"):
        recipe_for("lenet", name="note003")
    with pytest.raises(RecipeError, match="'note9' is unknown; recipes: d2l, d2l-pytorch, note002, note003, paper"):
        recipe_for("lenet", name="note9")


@pytest.mark.parametrize("changes, message", [
    ({"opt": "sgdm"}, "opt = 'sgdm' must be one of sgd, momentum, adam, adamw"),
    ({"sched": "linear"}, "sched = 'linear' must be one of"), ({"init": "zeros"}, "init"),
    ({"pixels": "8bit"}, "pixels"), ({"dtype": "float16"}, "dtype = 'float16' must be one of float32, float64"),
    ({"epochs": 0}, "epochs = 0 must be an integer of at least 1"), ({"epochs": 2.5}, "epochs = 2.5 must be an int"),
    ({"batch_size": 0}, "batch_size"), ({"accum": 0}, "accum"), ({"resize": 0}, "resize"), ({"pad": -1}, "pad = -1"),
    ({"lr": 0.0}, "lr = 0.0 must be a positive number"),
    ({"lr": math.nan}, "lr = nan"), ({"clip_grad": -1.0}, "clip_grad"),
    ({"momentum": 1.0, "opt": "momentum"}, "momentum = 1.0"),
    ({"momentum": 0.9}, "momentum belongs to opt momentum; adam has none"), ({"weight_decay": -0.1}, "weight_decay"),
    ({"momentum": None, "opt": "momentum"}, "momentum = None must be a number for opt momentum"),
    ({"data": "sums", "resize": 10}, "resize = 10 is for images; sums are texts"),
    ({"data": "documentation", "augment": True}, "augment = True is for images"),
    ({"data": "sums", "pad": 2}, "pad = 2"), ({"data": "sums", "pixels": "raw"}, "pixels = 'raw'"),
    ({"label_smoothing": 1.0}, "label_smoothing"),
    ({"warmup_epochs": 10.0}, "warmup_epochs = 10.0 must be at least 0 and less than 10"),
    ({"seed": -1}, "seed = -1"), ({"seed": 2**64}, "seed = 18446744073709551616 must be")])
def test_recipe_refuses(changes, message):
    with pytest.raises(RecipeError, match=message):
        Recipe.make(Recipe(), **changes)


def test_recipe_without_such_a_field():
    with pytest.raises(TypeError, match="recipe: 'learning_rate' is unknown; there are data, epochs, batch_size"):
        recipe_for("lenet", learning_rate=0.1)


def test_recipe_in_words():
    text = recipe_for("lenet5", opt="momentum", accum=2, clip_grad=1.0, augment=True, warmup_epochs=0.5).summary()
    assert text == ("20 epochs, batch 32 × 2, momentum lr 0.05 momentum 0.9, schedule onecycle (warm-up 0.5 epochs), "
                    "init xavier, pixels normalize, clip grad 1.0, pad 2, augment, seed 0")


def test_initialise():
    net = models.create("lenet_bn")
    models.initialise(net, "xavier")
    for layer, fans in ((net.conv2, 6 * 25 + 16 * 25), (net.fc1, 256 + 120)):
        bound = math.sqrt(6 / fans)
        assert 0.9 * bound < np.abs(layer.weight.data).max() <= bound and not layer.bias.data.any()
    assert (net.bn1.weight.data == 1).all()
    models.initialise(net, "kaiming")
    assert np.abs(net.fc1.weight.data).max() == pytest.approx(math.sqrt(6 / 256), rel=0.1)
    before = weights_of(net)
    models.initialise(net, "default")
    assert weights_of(net) == before


@pytest.mark.parametrize("changes, expected", [
    ({"sched": "none"}, [1.0] * 12),
    ({"sched": "step"}, [1.0] * 4 + [0.1] * 4 + [0.01] * 4),
    ({"sched": "multistep"}, [1.0] * 6 + [0.1] * 3 + [0.01] * 3),
    ({"sched": "cosine"}, [(1 + math.cos(math.pi * i / 12)) / 2 for i in range(12)]),
    ({"sched": "none", "warmup_epochs": 1.0}, [0.2, 0.4, 0.6, 0.8] + [1.0] * 8),
    ({"sched": "cosine", "warmup_epochs": 1.0},
     [0.2, 0.4, 0.6, 0.8] + [(1 + math.cos(math.pi * i / 8)) / 2 for i in range(8)]),
    ({"sched": "cosine", "warmup_epochs": 2.99}, [i / 13 for i in range(1, 13)]),
    ({"sched": "multistep", "warmup_epochs": 1.0}, [0.2, 0.4, 0.6, 0.8] + [1.0] * 2 + [0.1] * 3 + [0.01] * 3),
    ({"sched": "step", "warmup_epochs": 1.25}, [i / 6 for i in range(1, 6)] + [0.1] * 3 + [0.01] * 4),
    ({"sched": "step", "steps": 5}, [1.0] * 5 + [0.1] * 5 + [0.01] * 5),
    ({"sched": "step", "epochs": 1, "steps": 11}, [1.0] * 4 + [0.1] * 4 + [0.01] * 3),
    ({"sched": "multistep", "epochs": 1, "steps": 1}, [1.0])])
def test_schedules(changes, expected):
    """Three epochs of four steps, if nothing else is said, as fractions of lr."""
    steps = changes.get("steps", 4)
    recipe = Recipe.make(Recipe(epochs=3), opt="sgd", lr=0.5, **{k: v for k, v in changes.items() if k != "steps"})
    optimizer = make_optimizer(recipe, [nn.Parameter(np.ones(1))])
    schedule, rates = make_schedule(recipe, optimizer, steps), []
    for _ in range(recipe.epochs * steps):
        rates.append(optimizer.param_groups[0]["lr"] / 0.5)
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(rates, expected, rtol=1e-6, atol=1e-12)


def test_onecycle_peaks_where_its_warmup_ends():
    recipe = Recipe(epochs=4, lr=0.5, warmup_epochs=1.0)
    optimizer = make_optimizer(recipe, [nn.Parameter(np.ones(1))])
    schedule, rates = make_schedule(recipe, optimizer, 10), []
    for _ in range(40):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert np.argmax(rates) == 9 and max(rates) == pytest.approx(0.5)


@pytest.mark.parametrize("opt, kind", [("sgd", mc.optim.SGD), ("momentum", mc.optim.SGD), ("adam", mc.optim.Adam),
                                       ("adamw", mc.optim.AdamW)])
def test_optimisers(opt, kind):
    recipe = Recipe.make(Recipe(), opt=opt, weight_decay=0.25)
    optimizer = make_optimizer(recipe, [nn.Parameter(np.ones(1))])
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (recipe.lr, 0.25)
    assert group.get("momentum", 0) == (0.9 if opt == "momentum" else 0)
