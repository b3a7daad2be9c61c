"""Training from Python: recipes, schedules, checkpoints, figures, and what happens when numbers or disks give out."""

import json
import math
import os
import subprocess
import sys
from collections import Counter, namedtuple
from dataclasses import replace

import numba
import numpy as np
import pytest
import torch

import minicnn as mc
from minicnn import data, models, nn, training
from minicnn.interop import safetensors
from minicnn.training import (Evaluation, History, NonFiniteError, Observer, Recipe, RecipeError, Row, RunError,
                              RunFolder, SaveError, Trainer, checkpoint, evaluate, files, fit, loaders, recipe_for)
from minicnn.training.compiling import announce_compiling
from minicnn.training.display import conclusion, sparkline
from minicnn.training.optimisation import make_optimizer, make_schedule
from minicnn.training.pace import Pace
from minicnn.training.pipeline import fitted, transform_for
from minicnn.training import run_folder

ROWS = [Row(1, 2.3, 0.1, 2.2, 0.25, 0.01, 1234.5, 6.7), Row(2, 1 / 3, 0.875, 0.4, 0.9, 4e-8, 4210.0, 14.2),
        Row(3, 0.3, 0.9, 0.5, 0.9, 1e-3, 4210.0, 14.2)]


def digits(n_train: int = 64, n_val: int = 40):
    return data.load("digits", "train").head(n_train), data.load("digits", "validation").head(n_val)


def small_trainer(folder: RunFolder | None = None, model: str = "lenet", images: int = 64, **changes) -> Trainer:
    recipe = recipe_for(model, "digits", **{"epochs": 2, "batch_size": 16, **changes})
    mc.manual_seed(recipe.seed)
    net = models.create(model)
    models.initialise(net, recipe.init)
    return Trainer(net, recipe, *loaders(recipe, *digits(images)), folder=folder)


def weights_of(model: nn.Module) -> dict[str, bytes]:
    return {name: t.data.tobytes() for name, t in model.state_dict().items()}


# -- learning -------------------------------------------------------------------------------------------------------


def test_fit_learns_the_digits(capsys):
    mc.manual_seed(0)
    history = fit(models.create("lenet_bn"), *digits(1000, 300), epochs=4)
    assert history.history.keys() == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert [len(values) for values in history.history.values()] == [4] * 4
    assert history.best.val_acc > 0.9
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("compiling")]
    assert lines == [row.line(4) for row in history.rows]


def test_fit_takes_any_module_and_loader(capsys):
    x = np.random.default_rng(0).standard_normal((200, 1, 6, 6)).astype(np.float32)
    y = (x.mean((1, 2, 3)) > 0).astype(np.int64)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    loader = data.DataLoader(data.TensorDataset(x, y), 20, shuffle=True)
    history = fit(net, loader, epochs=5, lr=0.1, verbose=False)
    assert history.history.keys() == {"loss", "accuracy"}
    assert history.best.acc > 0.9
    assert capsys.readouterr().out == ""


def test_steps_equal_pytorch():
    """Two epochs of the trainer, written out in PyTorch: loss, order of the steps, schedule and clipping."""
    trainer = small_trainer(opt="momentum", lr=0.05, momentum=0.8, weight_decay=0.01, clip_grad=0.5,
                            label_smoothing=0.1, dtype="float64")
    trainer.model.double()
    net = trainer.model
    t, act = torch.nn, torch.nn.Sigmoid
    theirs = t.Sequential(t.Conv2d(1, 6, 5, padding=2), act(), t.AvgPool2d(2),
                          t.Conv2d(6, 16, 5), act(), t.AvgPool2d(2), t.Flatten(),
                          t.Linear(400, 120), act(), t.Linear(120, 84), act(), t.Linear(84, 10)).double()
    with torch.no_grad():
        for p, q in zip(net.parameters(), theirs.parameters(), strict=True):
            q.copy_(torch.from_numpy(p.data))
    optimizer = torch.optim.SGD(theirs.parameters(), 0.05, 0.8, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=8)
    losses = []
    for epoch in (1, 2):
        total = 0.0
        for x, y in trainer.train.epoch(epoch):
            logits = theirs(torch.from_numpy(x.data).double())
            loss = t.functional.cross_entropy(logits, torch.from_numpy(y.data), label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(y)
        losses.append(total / 64)
    history = trainer.run()
    np.testing.assert_allclose(history.history["loss"], losses, rtol=1e-10)
    for p, q in zip(net.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-8, atol=1e-12)


def test_auxiliary_heads_are_part_of_the_loss():
    """One step of a network with a head, written out in PyTorch: cross entropy + 0.3 × that of the head."""
    class Both(models.Outputs, namedtuple("Both", ("logits", "aux"))):
        weight = 0.3

    shapes = {"first": (12, 784), "last": (10, 12), "aux": (10, 12)}
    net = models.HeadedNetwork({"flatten": nn.Flatten(), **{name: nn.Linear(k, n) for name, (n, k) in shapes.items()}},
                               {"first": "aux"}, Both).double()
    theirs = {name: torch.nn.Linear(k, n).double() for name, (n, k) in shapes.items()}
    for name, layer in theirs.items():
        layer.load_state_dict({key: torch.from_numpy(p.numpy().copy())
                               for key, p in getattr(net, name).state_dict().items()})
    recipe = recipe_for("lenet", "digits", epochs=1, batch_size=64, opt="sgd", lr=0.1, sched="none", dtype="float64")
    trainer = Trainer(net, recipe, *loaders(recipe, *digits()))
    x, y = (torch.from_numpy(a.data.copy()) for a in next(iter(trainer.train.epoch(1))))
    middle = theirs["first"](x.double().flatten(1))
    main, aux = (torch.nn.functional.cross_entropy(theirs[name](middle), y) for name in ("last", "aux"))
    (main + 0.3 * aux).backward()
    trainer.run()
    assert trainer.history.rows[0].loss == pytest.approx((main + 0.3 * aux).item(), rel=1e-10)
    for name, layer in theirs.items():
        for p, q in zip(getattr(net, name).parameters(), layer.parameters(), strict=True):
            np.testing.assert_allclose(p.data, (q - 0.1 * q.grad).detach().numpy(), rtol=1e-9, atol=1e-12)


def test_accumulated_batches_make_one_step():
    """Batches of 8 by threes, the last group of 2 with a batch of 4, equal batches of 24 with a last one of 12."""
    one, several = (small_trainer(images=60, dtype="float64", **changes)
                    for changes in ({"batch_size": 24}, {"batch_size": 8, "accum": 3}))
    for trainer in (one, several):
        trainer.model.double()
        trainer.run()
    assert several.steps_per_epoch == one.steps_per_epoch == 3
    for p, q in zip(one.model.parameters(), several.model.parameters(), strict=True):
        np.testing.assert_allclose(p.data, q.data, rtol=1e-9, atol=1e-12)
    assert several.history.rows[-1].loss == pytest.approx(one.history.rows[-1].loss, rel=1e-9)


def test_same_seed_same_weights():
    trainers = []
    for seed in (0, 0, 1):
        trainers.append(small_trainer(model="lenet_bn", seed=seed))
        trainers[-1].run()
    first, again, other = trainers
    assert weights_of(first.model) == weights_of(again.model) != weights_of(other.model)


def test_evaluate():
    """Loss and confusion equal those of one pass over all images; the model's mode is restored."""
    trainer = small_trainer(model="lenet_bn")
    result = evaluate(trainer.model, trainer.val)
    assert trainer.model.training
    x, y = (np.concatenate([batch[i].data for batch in trainer.val.epoch(0)]) for i in (0, 1))
    with mc.no_grad():
        logits = trainer.model.eval()(mc.tensor(x)).data.astype(np.float64)
    logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert result.loss == pytest.approx(-logp[np.arange(len(y)), y].mean(), rel=1e-5)
    assert result.images == 40
    for i in range(10):
        for j in range(10):
            assert result.confusion[i, j] == ((y == i) & (logits.argmax(1) == j)).sum()


def test_evaluation_figures():
    result = Evaluation(0.5, np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]]))
    assert result.accuracy == 0.7
    np.testing.assert_allclose(result.recall, [3 / 4, 4 / 6, np.nan])
    np.testing.assert_allclose(result.precision, [3 / 5, 4 / 5, np.nan])


# -- recipes --------------------------------------------------------------------------------------------------------


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
    ({"epochs": 0}, "epochs = 0 must be at least 1"),
    ({"batch_size": 0}, "batch_size"), ({"accum": 0}, "accum"), ({"lr": 0.0}, "lr = 0.0 must be a positive number"),
    ({"lr": math.nan}, "lr = nan"), ({"clip_grad": -1.0}, "clip_grad"),
    ({"momentum": 1.0, "opt": "momentum"}, "momentum = 1.0"),
    ({"momentum": 0.9}, "momentum belongs to opt momentum; adam has none"), ({"weight_decay": -0.1}, "weight_decay"),
    ({"label_smoothing": 1.0}, "label_smoothing"),
    ({"warmup_epochs": 10.0}, "warmup_epochs = 10.0 must be at least 0 and less than 10"),
    ({"seed": -1}, "seed = -1")])
def test_recipe_refuses(changes, message):
    with pytest.raises(RecipeError, match=message):
        Recipe.make(Recipe(), **changes)


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
     [0.2, 0.4, 0.6, 0.8] + [(1 + math.cos(math.pi * i / 8)) / 2 for i in range(8)])])
def test_schedules(changes, expected):
    """Three epochs of four steps, as fractions of lr."""
    recipe = Recipe.make(Recipe(epochs=3), opt="sgd", lr=0.5, **changes)
    optimizer = make_optimizer(recipe, [nn.Parameter(np.ones(1))])
    schedule, rates = make_schedule(recipe, optimizer, 4), []
    for _ in range(12):
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


# -- pixels ---------------------------------------------------------------------------------------------------------


def test_pixels():
    x = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 1, 28, 28)
    about = {"shape": (1, 28, 28), "train": False}
    unit = x.astype(np.float64) / 255
    for pixels, expected in (("raw", x.astype(np.float64)), ("unit", unit), ("normalize", (unit - 0.25) / 0.5)):
        y = transform_for(Recipe(pixels=pixels), 0.25, 0.5, **about)(x)
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    padded = transform_for(Recipe(pixels="raw", pad=2), 0.25, 0.5, **about)(x)
    assert padded.shape == (2, 1, 32, 32) and (padded[:, :, 2:-2, 2:-2] == x).all() and not padded[:, :, :2].any()
    assert transform_for(Recipe(resize=10), 0.25, 0.5, **about)(x).shape == (2, 1, 10, 10)


def test_augmentation_is_for_training_only():
    x = np.random.default_rng(0).integers(0, 256, (8, 3, 32, 32), dtype=np.uint8)
    recipe, rng = Recipe(pixels="raw", augment=True), np.random.default_rng(0)
    assert (transform_for(recipe, 0.5, 0.5, shape=(3, 32, 32), train=False)(x) == x).all()
    changed = transform_for(recipe, 0.5, 0.5, shape=(3, 32, 32), train=True)(x, rng)
    assert changed.shape == x.shape and not (changed == x).all()


def test_images_are_brought_to_the_models_size():
    assert fitted(Recipe(), "lenet", (1, 28, 28)).resize is None
    assert fitted(Recipe(), "lenet", (3, 32, 32)).resize == 28
    assert fitted(Recipe(pad=2), "lenet5", (1, 28, 28)).resize is None
    assert fitted(Recipe(resize=30), "lenet", (1, 28, 28)).resize == 30


# -- figures --------------------------------------------------------------------------------------------------------


def test_epoch_line():
    assert Row(3, 0.0712, 0.978, 0.0605, 0.981, 0.01, 4210.2, 14.23).line(10) == \
        "epoch 3/10  loss 0.0712  acc 97.8%  val_loss 0.0605  val_acc 98.1%  lr 0.0100  4210 img/s  14.2s"
    assert Row(1, 1.0, 0.5, None, None, 4e-8, 99.6, 1.0).line(1) == \
        "epoch 1/1  loss 1.0000  acc 50.0%  lr 4.0e-08  100 img/s  1.0s"


def test_history_keeps_every_digit():
    history = History(ROWS)
    text = history.to_csv()
    assert text.splitlines()[0] == "epoch,loss,acc,val_loss,val_acc,lr,images_per_second,seconds"
    assert History.from_csv(text) == history
    assert History.from_csv(text[:-3]).rows == ROWS[:2]  # a line cut off by a kill
    alone = History([Row(1, 0.1, 0.2, None, None, 0.3, 4.0, 5.0)])
    assert History.from_csv(alone.to_csv()) == alone
    for damaged in ("", "epoch,loss\n1,2\n", text + "4,5\n", text + "a,b,c,d,e,f,g,h\n"):
        with pytest.raises(ValueError):
            History.from_csv(damaged)


def test_best_epoch_is_the_first_of_equals():
    assert History(ROWS).best is ROWS[1]
    assert History().best is None
    assert History(ROWS).history["val_accuracy"] == [0.25, 0.9, 0.9]


def test_sparkline():
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([0.3]) == "▁"
    assert conclusion(History(ROWS), ROWS[1]) == "val_acc ▁██  best 90.0% in epoch 2"
    assert conclusion(History(ROWS[:1]), ROWS[0]) == "val_acc best 25.0% in epoch 1"  # one bar says nothing
    assert len(sparkline(list(range(1000)))) == 40


def test_plot(tmp_path):
    from PIL import Image

    training.plot_history(History(ROWS), tmp_path / "curves.png", "lenet on digits")
    pixels = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB")).reshape(-1, 3)
    assert len(pixels) > 200_000
    for colour in ((0x9a, 0xa5, 0xb1), (0x1f, 0x6f, 0xeb)):
        assert (pixels == colour).all(1).sum() > 100


# -- numbers that are not finite ------------------------------------------------------------------------------------


class Poison(mc.autograd.Function):
    """Passes values on; makes the gradient NaN."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gy):
        return gy * math.nan


def test_non_finite_output_is_blamed(tmp_path):
    trainer = small_trainer(RunFolder.create(tmp_path, "x"))
    trainer.model.fc1.weight.data[3, 5] = np.inf
    with pytest.raises(NonFiniteError) as error:
        trainer.run()
    # the sigmoid behind it makes 0 or 1 of infinity, so the loss is finite
    assert str(error.value) == ("the gradient of the loss is not finite in epoch 1, step 1; the first that is not "
                                "finite is the output of fc1 (Linear), whose weights are not finite either")
    trainer.model.fc3.weight.data[2, 1] = np.nan
    trainer.model.fc1.weight.data[3, 5] = 0
    with pytest.raises(NonFiniteError, match="the loss is nan in epoch 1, step 1; .* the output of fc3 "):
        trainer.run()


def test_non_finite_gradient_is_blamed():
    trainer = small_trainer()
    trainer.model.conv2.register_forward_hook(lambda layer, args, output: Poison.apply(output))
    before = weights_of(trainer.model)
    with pytest.raises(NonFiniteError, match=r"epoch 1, step 1; .* is the gradient of weight of conv2 \(Conv2d\)"):
        trainer.run()
    assert weights_of(trainer.model) == before


def test_non_finite_images_and_loss_are_blamed():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    x, y = np.zeros((8, 1, 2, 2), np.float32), np.zeros(8, np.int64)
    x[5] = np.nan
    with pytest.raises(NonFiniteError, match="is the images themselves"):
        fit(net, data.DataLoader(data.TensorDataset(x, y), 4), verbose=False)
    net[1].weight.data[...] = 0
    net[1].bias.data[:] = [-3e38, 3e38]
    with pytest.raises(NonFiniteError, match="the loss is inf in epoch 1, step 1; .* is the loss itself"):
        fit(net, data.DataLoader(data.TensorDataset(np.zeros_like(x), y), 4), verbose=False)


def test_non_finite_validation_is_not_saved(tmp_path):
    trainer = small_trainer(RunFolder.create(tmp_path, "x"), epochs=1)
    trainer.observer.step = lambda progress: progress.batch == 4 and trainer.model.fc3.bias.data.fill(np.nan)
    with pytest.raises(NonFiniteError, match=r"the validation loss is nan after epoch 1; .* output of fc3"):
        trainer.run()
    assert all(np.isfinite(a).all() for a in safetensors.load_file(tmp_path / "x-1" / "last.safetensors").values())


def test_non_finite_running_statistics_are_blamed():
    """Which only evaluation uses, and only some images meet, in another type than the images'."""
    trainer = small_trainer(model="lenet_bn", epochs=1, dtype="float64")
    trainer.model.double()
    trainer.observer.step = lambda progress: progress.batch == 4 and trainer.model.bn2.running_mean.data.fill(np.nan)
    with pytest.raises(NonFiniteError, match="the validation loss is nan after epoch 1; .* the output of bn2"):
        trainer.run()


def test_non_finite_images_in_a_later_batch_are_blamed():
    trainer = small_trainer(epochs=1)
    x = np.zeros((40, 1, 28, 28), np.float32)
    x[30] = np.nan
    trainer.val = data.DataLoader(data.TensorDataset(x, np.zeros(40, np.int64)), 16)
    with pytest.raises(NonFiniteError, match="the validation loss is nan after epoch 1; .* is the images themselves"):
        trainer.run()


# -- files ----------------------------------------------------------------------------------------------------------


def test_safetensors_round_trip(tmp_path):
    """Whatever the strides: 0.8.0 of the library writes arrays that are not in C order wrongly."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((4, 6, 3)).astype(np.float32)
    arrays = {"c": a, "fortran": np.asfortranarray(a), "transposed": a.T, "reversed": a[::-1, :, ::-1],
              "strided": a[:, ::2], "broadcast": np.broadcast_to(a[0], (2, 6, 3)), "scalar": np.array(7),
              "empty": np.zeros((0, 3)), "big": a.astype(">f4"), "bool": a > 0, "bytes": np.arange(5, dtype=np.uint8),
              "half": a.astype(np.float16), "brain": a.astype(mc.bfloat16)}
    safetensors.save_file(arrays, tmp_path / "a.safetensors", {"note": "ü"})
    loaded = safetensors.load_file(tmp_path / "a.safetensors")
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype.newbyteorder("="), name
        assert loaded[name].shape == array.shape, name
        assert (loaded[name] == array).all(), name
        loaded[name][...] = 0  # writable
    assert safetensors.read_metadata(tmp_path / "a.safetensors") == {"note": "ü"}
    empty = tmp_path / "empty.safetensors"
    safetensors.save_file({}, empty, {})
    assert safetensors.load_file(empty) == safetensors.read_metadata(empty) == {}


def test_safetensors_are_pytorchs(tmp_path):
    from safetensors.torch import load_file

    model = models.create("lenet_bn")
    training.save(model, tmp_path / "m.safetensors")
    theirs = load_file(tmp_path / "m.safetensors")
    assert list(theirs) and theirs.keys() == model.state_dict().keys()
    assert all((theirs[name].numpy() == t.data).all() for name, t in model.state_dict().items())


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:5], lambda b: b[:-1], lambda b: b[:100],
                                    lambda b: b"\xff" * 8 + b[8:], lambda b: b"epoch,loss\n1,2\n",
                                    lambda b: b[:8] + b"[" + b[9:]])
def test_damaged_safetensors(tmp_path, damage):
    path = tmp_path / "m.safetensors"
    training.save(models.create("lenet"), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(safetensors.FormatError, match="m.safetensors is not a safetensors file, or is damaged"):
        training.load(path)


def test_save_and_load(tmp_path):
    path = tmp_path / "m.safetensors"
    model = models.create("lenet5", 7, 3, activation="tanh").double()
    training.save(model, path)
    again = training.load(path)
    assert again.spec == model.spec and not again.training and again.conv1.weight.dtype == np.float64
    assert weights_of(again) == weights_of(model)
    training.save(model.state_dict(), tmp_path / "w.safetensors")
    weights = training.load(tmp_path / "w.safetensors")
    again.load_state_dict(weights)
    assert weights.keys() == model.state_dict().keys()


def test_save_does_not_replace_another_kind(tmp_path):
    """torch.save(model, 'm.pth') followed by torch.save(model.state_dict(), 'm.pth') loses the model; this does not."""
    path, model = tmp_path / "m.safetensors", models.create("lenet")
    training.save(model, path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="m.safetensors holds model, and this would put weights in its place"):
        training.save(model.state_dict(), path)
    assert path.read_bytes() == before
    training.save(models.create("lenet_bn"), path)
    training.save(model.state_dict(), path, overwrite=True)
    with pytest.raises(FileExistsError, match="holds weights"):
        training.save(model, path)
    path.write_text("a letter")
    with pytest.raises(FileExistsError, match="holds something else"):
        training.save(model, path)
    with pytest.raises(TypeError, match="Sequential was not made by models.create.*save model.state_dict"):
        training.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "n.safetensors")
    with pytest.raises(TypeError, match="expected a model or its state_dict"):
        training.save([1, 2], tmp_path / "n.safetensors")


def test_split_and_join():
    tree = {"state": {0: {"step": 3, "m": mc.ones(2)}, 1: {"m": None, "history": [mc.zeros(1), 2.5]}}}
    plain, arrays = checkpoint.split(tree)
    again = checkpoint.join(json.loads(json.dumps(plain)), arrays)
    assert again["state"][0]["step"] == 3 and (again["state"][0]["m"].data == 1).all()
    assert again["state"][1]["m"] is None and again["state"][1]["history"][1] == 2.5
    assert arrays.keys() == {"state.0.m", "state.1.history.0"}


def test_best_is_the_best_epoch(tmp_path, monkeypatch):
    """Validation accuracies 0.3, 0.7, 0.7, 0.5: the second epoch's weights stay."""
    trainer = small_trainer(RunFolder.create(tmp_path, "x"), epochs=4)
    accuracies, best = iter([3, 7, 7, 5]), tmp_path / "x-1" / "best.safetensors"
    monkeypatch.setattr(trainer, "_validate", lambda stop: Evaluation(1.0, np.diag([right := next(accuracies), 0]) + [
        [0, 10 - right], [0, 0]]))
    seen = []
    trainer.observer.epoch = lambda row: seen.append((checkpoint.note_of(best)["epochs"], weights_of(trainer.model)))
    trainer.run()
    assert [epochs for epochs, _ in seen] == [1, 2, 2, 2]
    assert weights_of(training.load(best)) == seen[1][1]


@pytest.mark.parametrize("val_loss, loss, diverged", [(8e20, 2.0, True), (1001.0, 2.0, True), (999.0, 1e9, False),
                                                      (None, 1001.0, True), (None, 999.0, False), (40.0, 2.0, False)])
def test_a_run_has_diverged_if_the_loss_at_its_end_is_absurd(val_loss, loss, diverged):
    huge = replace(ROWS[0], loss=8e20, val_loss=8e20)  # in an epoch before, it does not count
    assert History([huge, replace(ROWS[1], loss=loss, val_loss=val_loss)]).diverged == diverged
    assert not History().diverged


@pytest.mark.parametrize("model, changes", [("cnn2", {"init": "kaiming"}), ("lenet", {}), ("lenet_tanh", {})])
def test_an_untrained_network_has_not_diverged(model, changes):
    """Not even on raw pixels, which make large logits."""
    trainer = small_trainer(None, model, pixels="raw", lr=1e-9, sched="none", epochs=1, **changes)
    assert not trainer.run().diverged


# -- run folders ----------------------------------------------------------------------------------------------------


def test_run_folders_are_numbered_and_never_reused(tmp_path):
    names = [RunFolder.create(tmp_path / "runs", "lenet").path.name for _ in range(3)]
    assert names == ["lenet-1", "lenet-2", "lenet-3"]
    RunFolder.create(tmp_path / "runs", "lenet", "mine").write_settings({})
    (tmp_path / "runs" / "photos").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="mine is a run already"):
        RunFolder.create(tmp_path / "runs", "lenet", "mine")
    with pytest.raises(RunError, match="photos exists and is not a run of minicnn; it is left as it is"):
        RunFolder.create(tmp_path / "runs", "lenet", "photos")
    with pytest.raises(RunError, match="file is a file, so no run folder can be made in it"):
        RunFolder.create(tmp_path / "file", "lenet")
    with pytest.raises(RunError, match="cannot make a run folder in .*file/in: Not a directory"):
        RunFolder.create(tmp_path / "file" / "in", "lenet")
    with pytest.raises(RunError, match="file is a file, not a run folder"):
        RunFolder.open(tmp_path / "file")
    with pytest.raises(RunError, match="there is no run folder"):
        RunFolder.open(tmp_path / "nothing")
    with pytest.raises(RunError, match="photos is not a run folder: it has no run.json"):
        RunFolder.open(tmp_path / "runs" / "photos")


def test_newest_run(tmp_path):
    for number, (name, model) in enumerate((("a", "lenet"), ("b", "lenet"), ("c", "cnn2"))):
        folder = RunFolder.create(tmp_path, "x", name)
        folder.write_settings({"model": {"name": model}})
        folder.commit({}, {})
        os.utime(folder.path / "state.json", (1000 + number, 1000 + number))
    lines = []
    assert RunFolder.newest(tmp_path, "lenet", lines.append).path.name == "b"
    assert RunFolder.newest(tmp_path, None, lines.append).path.name == "c"
    with pytest.raises(RunError, match="there is no run of lenet5 in .* to resume"):
        RunFolder.newest(tmp_path, "lenet5", lines.append)
    assert not lines


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"format": 1}', b'{"format": 1, "model": "lenet"}', b"\xff"])
def test_a_damaged_run_does_not_hide_the_others(tmp_path, content):
    for name in ("good", "damaged"):
        folder = RunFolder.create(tmp_path, "x", name)
        folder.write_settings({"model": {"name": "lenet"}})
        folder.commit({}, {})
    (tmp_path / "damaged" / "run.json").write_bytes(content)
    for model in ("lenet", None):
        lines = []
        assert RunFolder.newest(tmp_path, model, lines.append).path.name == "good"
        assert len(lines) == 1 and lines[0].startswith(f"left out: {tmp_path / 'damaged' / 'run.json'} ")


def test_settings_count_from_the_next_checkpoint_on(tmp_path):
    folder = RunFolder.create(tmp_path, "x")
    folder.write_settings({"lr": 0.1})
    folder.stage_settings({"lr": 1e9})
    assert RunFolder(folder.path).settings() == {"lr": 0.1}
    folder.commit({}, {})
    assert RunFolder(folder.path).settings() == {"lr": 1e9}
    folder.write_settings({"lr": 0.5})
    folder.commit({}, {})  # what was written then is not written again
    assert folder.settings() == {"lr": 0.5}


def test_one_run_at_a_time_in_a_folder(tmp_path):
    first = RunFolder.create(tmp_path, "x", "mine")
    with pytest.raises(RunError, match="mine is in use: a run is being trained in it"):
        RunFolder.create(tmp_path, "x", "mine")
    second = RunFolder(first.path)
    with pytest.raises(RunError, match="mine is in use"):
        second.lock()
    first.lock()  # by its owner as often as it likes
    first.unlock()
    second.lock()
    del second  # a folder that is forgotten is free
    first.lock()


class Killed(BaseException):
    """Stands for kill -9: nothing in the code under test can catch it as an error."""


def test_a_checkpoint_is_the_old_or_the_new_one_wherever_a_kill_strikes(tmp_path, monkeypatch):
    """Every write, rename and removal is in turn the last thing that happens, whole or half done."""
    old = {"last.safetensors": b"old weights", "state.safetensors": b"old slots", "best.safetensors": b"old best"}
    new = {"interrupt.safetensors": b"new weights", "state.safetensors": b"new slots"}
    outcomes = set()
    real_open, real_replace = open, os.replace
    for step in range(10):
        folder = RunFolder.create(tmp_path, "x")
        folder.commit(old, {"n": 1})
        remaining = iter(range(step))

        def strike(left=remaining) -> bool:
            return next(left, None) is None

        class HalfWritten:
            def __init__(self, file) -> None:
                self.file = file

            def __getattr__(self, name):
                return getattr(self.file, name)

            def __enter__(self):
                return self

            def __exit__(self, *_):
                self.file.close()

            def write(self, content) -> None:
                if strike():
                    self.file.write(content[: len(content) // 2])
                    raise Killed
                self.file.write(content)

        def replace(source, target) -> None:
            if strike():
                raise Killed
            real_replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(files, "open", lambda *args, **named: HalfWritten(real_open(*args, **named)), raising=False)
            patch.setattr(os, "replace", replace)
            try:
                folder.commit(new, {"n": 2}, keep=("best.safetensors",))
                finished = True
            except Killed:
                finished = False
        state, found = RunFolder(folder.path).state()
        expected = {1: old, 2: {**new, "best.safetensors": b"old best"}}[state["n"]]
        assert found == expected, (step, state["n"])
        assert {name: (folder.path / name).read_bytes() for name in found} == expected
        outcomes.add(state["n"])
        folder.commit({"last.safetensors": b"later"}, {"n": 3})  # and it goes on from there
        assert RunFolder(folder.path).state()[1] == {"last.safetensors": b"later"}
        if finished:
            break
    assert finished and outcomes == {1, 2} and step == 6


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    folder = RunFolder.create(tmp_path, "x")
    folder.commit({"last.safetensors": b"old"}, {"n": 1})

    def full(descriptor) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(SaveError, match="cannot write .*last.safetensors.next: No space left on device"):
            folder.commit({"last.safetensors": b"new"}, {"n": 2})
        with pytest.raises(SaveError, match="cannot write .*metrics.csv"):
            folder.append(ROWS[0])
    assert folder.state() == ({"n": 1, "files": folder._hashes()}, {"last.safetensors": b"old"})
    assert sorted(path.name for path in folder.path.iterdir()) == ["last.safetensors", "state.json"]


def test_weights_are_found_at_every_moment_of_a_checkpoint(tmp_path, monkeypatch):
    """Whoever looks between two renamings finds the newest weights, and leaves the renaming to the run."""
    folder = RunFolder.create(tmp_path, "x")
    folder.commit({"best.safetensors": b"old"}, {})
    replaced, seen = files.replace, []

    def look(source, target) -> None:
        seen.append(folder.locate("best.safetensors")[0].read_bytes())
        replaced(source, target)
        seen.append(folder.locate("best.safetensors")[0].read_bytes())

    monkeypatch.setattr(run_folder, "replace", look)
    folder.commit({"best.safetensors": b"new"}, {})
    assert seen == [b"old", b"new", b"new", b"new"]
    assert sorted(path.name for path in folder.path.iterdir()) == ["best.safetensors", "state.json"]


def test_weights_that_are_renamed_while_somebody_looks(tmp_path, monkeypatch):
    folder = RunFolder.create(tmp_path, "x")
    path, pending = folder.path / "best.safetensors", folder.path / "best.safetensors.next"
    folder.commit({"best.safetensors": b"new"}, {})
    path.rename(pending)
    path.write_bytes(b"old")
    sha256 = files.sha256

    def late(content: bytes) -> str:
        if content == b"old":
            pending.rename(path)  # the run gets on
        return sha256(content)

    monkeypatch.setattr(run_folder, "sha256", late)
    assert folder.locate("best.safetensors") == (path, True)


def test_a_checkpoint_that_comes_while_somebody_looks(tmp_path, monkeypatch):
    folder = RunFolder.create(tmp_path, "x")
    folder.commit({"best.safetensors": b"first"}, {})
    hashes, again = folder._hashes, iter([b"second", b"third"])

    def late() -> dict[str, str]:
        before = hashes()
        if (content := next(again, None)) is not None:
            monkeypatch.setattr(folder, "_hashes", hashes)
            folder.commit({"best.safetensors": content}, {})
            monkeypatch.setattr(folder, "_hashes", late)
        return before

    monkeypatch.setattr(folder, "_hashes", late)
    place, known = folder.locate("best.safetensors")
    assert place.read_bytes() == b"third" and known


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "x-1").mkdir()
    (tmp_path / "x-1" / "run.json").mkdir()
    with pytest.raises(SaveError, match="cannot write .*run.json"):
        RunFolder(tmp_path / "x-1").write_settings({})


@pytest.mark.parametrize("damage, message", [
    (lambda p: (p / "last.safetensors").unlink(), "last.safetensors is missing, and the run cannot go on without it"),
    (lambda p: (p / "best.safetensors").unlink(), "best.safetensors is missing"),
    (lambda p: (p / "state.safetensors").unlink(), "state.safetensors is missing"),
    (lambda p: (p / "state.json").unlink(), "state.json is missing"),
    (lambda p: (p / "metrics.csv").unlink(), "metrics.csv is missing, with the lines of epochs 1 to 1"),
    (lambda p: flip(p / "last.safetensors"), "last.safetensors is damaged, or from another run"),
    (lambda p: flip(p / "state.safetensors"), "state.safetensors is damaged"),
    (lambda p: (p / "state.json").write_text("{"), "state.json is damaged"),
    (lambda p: (p / "state.json").write_text("{}"), "state.json was not written by this version"),
    (lambda p: change(p / "state.json", lambda state: state.pop("progress")), "state.json is damaged"),
    (lambda p: change(p / "state.json", lambda state: state.update(files=[])), "state.json is damaged"),
    (lambda p: change(p / "state.json", lambda state: state["progress"].update(epoch="2")), "state.json is damaged"),
    (lambda p: change(p / "state.json", lambda state: state["progress"].update(epoch=-1)), "state.json is damaged"),
    (lambda p: (p / "metrics.csv").write_text("epoch\n"), "metrics.csv is damaged")])
def test_restoring_from_an_incomplete_folder_is_an_error(tmp_path, damage, message):
    small_trainer(RunFolder.create(tmp_path, "x"), epochs=1).run()
    damage(tmp_path / "x-1")
    with pytest.raises(RunError, match=message):
        small_trainer(RunFolder(tmp_path / "x-1")).restore()


def change(path, how) -> None:
    """Rewrite a JSON file as somebody who edits it by hand would."""
    content = json.loads(path.read_text())
    how(content)
    path.write_text(json.dumps(content))


def flip(path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_weights_of_another_model_are_an_error(tmp_path):
    small_trainer(RunFolder.create(tmp_path, "x"), epochs=1).run()
    with pytest.raises(RunError, match="the checkpoint does not fit"):
        small_trainer(RunFolder(tmp_path / "x-1"), model="lenet_bn").restore()


def test_a_file_larger_than_allowed(tmp_path):
    """A real write that fails, in a process whose files may not grow beyond 100 kB."""
    script = ("import resource, sys; from pathlib import Path; from minicnn.training.files import *\n"
              "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
              "try: write_atomically(Path(sys.argv[1]), bytes(200_000))\n"
              "except SaveError as error: print(error)")
    path = tmp_path / "a"
    path.write_text("before")
    out = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True).stdout
    assert out.startswith(f"cannot write {tmp_path / '.a.tmp'}: File too large")
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_empty_training_set():
    with pytest.raises(ValueError, match="there are no training images"):
        small_trainer(images=0)


class Machine:
    """A clock on which a step takes as long as its number of threads says."""

    def __init__(self, monkeypatch, cores: int) -> None:
        self.now, self.threads = 0.0, cores
        monkeypatch.setattr(mc.backend, "get_num_threads", lambda: cores)
        monkeypatch.setattr(mc.backend, "set_num_threads", lambda n: setattr(self, "threads", n))
        self.pace = Pace(clock=lambda: self.now)

    def make_steps(self, count: int, seconds: dict[int, float]) -> list[int]:
        """The number of threads of each step."""
        threads = []
        for _ in range(count):
            with self.pace.step():
                threads.append(self.threads)
                self.now += seconds[self.threads]
        return threads


@pytest.mark.parametrize("cores", [2, 16])
def test_the_faster_number_of_threads_is_used_and_the_other_one_tried(monkeypatch, cores):
    machine = Machine(monkeypatch, cores)
    machine.make_steps(1, {cores: 100.0})  # compiles
    idle, busy = {cores: 1.0, 1: float(cores)}, {cores: 8.0, 1: 2.0}
    for seconds, faster in ((idle, cores), (busy, 1), (idle, cores)):
        machine.make_steps(1000, seconds)  # until the change is noticed
        before, threads = machine.now, machine.make_steps(2000, seconds)
        assert threads.count(faster) >= 0.9 * len(threads) and machine.threads == faster
        assert len(set(threads)) == 2
        slow = sum(seconds[n] for n in threads if n != faster)
        assert slow <= 0.06 * (machine.now - before)
    machine.pace.end()
    assert machine.threads == cores


def test_one_thread_is_tried_when_there_is_time_for_it(monkeypatch):
    """Its step takes 16 seconds, for all that is known, and a second saves a twentieth of one."""
    threads = Machine(monkeypatch, 16).make_steps(400, {16: 1.0, 1: 16.0})
    assert 320 <= threads.index(1) <= 325 and threads.count(1) == 1


def test_a_single_core_is_not_measured_against_itself(monkeypatch):
    assert set(Machine(monkeypatch, 1).make_steps(20, {1: 1.0})) == {1}


def test_results_do_not_depend_on_the_clock(monkeypatch):
    """However time passes, and threads change with it, the weights are the same."""
    weights, chosen, set_num_threads = [], set(), mc.backend.set_num_threads
    monkeypatch.setattr(mc.backend, "set_num_threads", lambda n: (chosen.add(n), set_num_threads(n)))
    for seed in range(3):
        ticks = np.cumsum(10.0 ** np.random.default_rng(seed).uniform(-3, 3, 1000))
        monkeypatch.setattr(training.trainer, "Pace", lambda ticks=ticks: Pace(clock=iter(ticks).__next__))
        trainer = small_trainer(model="lenet_bn", epochs=4)
        trainer.run()
        weights.append(weights_of(trainer.model))
    assert weights[0] == weights[1] == weights[2]
    assert chosen == {1, mc.get_num_threads()}


# -- what is said ---------------------------------------------------------------------------------------------------


def test_compiling_is_announced_whatever_is_compiled():
    """A function that Python calls, and a C function, as the jobs of the kernels are."""
    for compiler in (numba.njit("float64(float64)"), numba.cfunc("float64(float64)")):
        lines = []
        with announce_compiling(lines.append):
            compiler(lambda x: x + 1)
            compiler(lambda x: x + 2)
        assert len(lines) == 1 and lines[0].startswith("compiling kernels (once, cached in ")
    assert len(lines) == 1


def test_nothing_is_shown_where_stdout_is_closed(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    fit(models.create("lenet"), *digits(), epochs=1, batch_size=32)


class Witness(Observer):
    """Counts what it is told."""

    def __init__(self) -> None:
        self.told = Counter()

    def begin(self, trainer) -> None:
        self.told["begin"] += 1

    def step(self, progress) -> None:
        self.told["step"] += 1

    def epoch(self, row) -> None:
        self.told["epoch"] += 1

    def end(self) -> None:
        self.told["end"] += 1


def test_figures_for_tensorboard(tmp_path):
    """Of a run, and of its continuation."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    from minicnn.training.tensorboard import TensorBoard

    trainer, witness = small_trainer(sched="none"), Witness()
    for epochs in (2, 3):
        trainer.recipe = replace(trainer.recipe, epochs=epochs)
        trainer.observer = TensorBoard(tmp_path / f"until-{epochs}", witness)
        trainer.run()
    assert witness.told == {"begin": 2, "step": 12, "epoch": 3, "end": 2}
    found, started = {}, []
    for path in sorted(tmp_path.glob("until-*/*")):
        content = path.read_bytes()
        while content:
            length = int.from_bytes(content[:8], "little")  # then its checksum, the event and that of the event
            event = event_pb2.Event.FromString(content[12:12 + length])
            content = content[16 + length:]
            found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
            started += [event.step] * (event.session_log.status == event.session_log.START)
    assert started == [1, 3]  # TensorBoard forgets later steps of earlier files
    for row in trainer.history.rows:
        assert found["loss/training", row.epoch] == pytest.approx(row.loss)
        assert found["accuracy/validation", row.epoch] == pytest.approx(row.val_acc)
    assert len(found) == 3 * 6
