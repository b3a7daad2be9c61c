"""Training from Python: learning, pixels, and what happens when numbers give out."""

import math
import re
import sys
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import torch

import minicnn as mc
from minicnn import data, models, nn, training
from minicnn.interop import safetensors
from minicnn.training import (Evaluation, History, NonFiniteError, Recipe, RecipeError, RunFolder, Trainer,
                              checkpoint, display, evaluate, fit, loaders, recipe_for)
from minicnn.training.pipeline import fitted, transform_for
from training_util import ROWS, digits, small_trainer, weights_of

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


def test_a_last_batch_of_one_is_left_out_where_there_is_batch_norm(capsys):
    def seen(model: str | None, images: int, batch_size: int) -> list[int]:
        recipe = Recipe(batch_size=batch_size)
        train, val = digits(images, 9)
        batches, held_out = loaders(recipe, train, val, model=model and models.create(model))
        assert [len(y) for _, y in held_out] == [8, 1] if batch_size == 8 else True
        return [len(y) for _, y in batches]

    assert seen("lenet_bn", 33, 8) == [8, 8, 8, 8] and seen("resnet20", 33, 8) == [8, 8, 8, 8]
    assert seen("lenet", 33, 8) == seen(None, 33, 8) == [8, 8, 8, 8, 1]
    assert seen("lenet_bn", 34, 8) == [8, 8, 8, 8, 2] and seen("lenet_bn", 3, 1) == [1, 1, 1]
    assert seen("lenet_bn", 1, 8) == [1]  # there would be nothing to learn from
    history = fit(models.create("lenet_bn"), *digits(33, 9), epochs=2, batch_size=32)
    assert len(history.rows) == 2
    assert capsys.readouterr().out.startswith(
        "batches: of 33 in batches of 32 one is left, too few for batch norm; each epoch leaves out another\n")


@pytest.mark.parametrize(("given", "settings", "message"), [
    (lambda images, loader: (loader, images), {}, "train is a DataLoader and val a ImageDataset; both must be"),
    (lambda images, loader: (images, loader), {}, "train is a ImageDataset and val a DataLoader; both must be"),
    (lambda images, loader: ((images.images, images.labels),), {}, "train is a tuple and val a NoneType"),
    (lambda images, loader: (None,), {}, "train is a NoneType"),
    (lambda images, loader: (images,), {"width": 0.5}, "width cannot be set here: it is an option of models.create"),
    (lambda images, loader: (images,), {"dtype": "float64"}, r"dtype cannot be set here: model.to\(dtype\)"),
    (lambda images, loader: (images,), {"data": "mnist"}, "data cannot be set here: it is the name of the data set"),
    (lambda images, loader: (loader,), {"batch_size": 8}, "batch_size cannot be set here: a DataLoader is taken as"),
    (lambda images, loader: (loader,), {"augment": True}, "augment cannot be set here"),
])
def test_what_fit_cannot_do_is_refused(given, settings, message):
    images = digits()[0]
    with pytest.raises(TypeError, match=f"fit: {message}"):
        fit(models.create("lenet"), *given(images, data.DataLoader(images, 16)), verbose=False, **settings)


@pytest.mark.parametrize("layers", [[nn.Flatten(), nn.Linear(784, 10)],
                                    [nn.Conv2d(1, 10, 28), nn.Conv2d(10, 10, 1, bias=False), nn.Flatten()]])
def test_a_bias_that_is_not_there_is_not_set(layers):
    with pytest.raises(RecipeError, match="last_bias = 1.0 needs a last convolution with a bias, which Sequential"):
        fit(nn.Sequential(*layers), digits()[0], verbose=False, last_bias=1.0)


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


def test_a_model_without_weights_is_evaluated():
    x, y = np.eye(3, dtype=np.float32)[[0, 1, 2, 2]], np.array([0, 1, 2, 0])
    assert evaluate(nn.Identity(), data.DataLoader(data.TensorDataset(x, y), 3)).accuracy == 0.75


def test_evaluation_figures():
    result = Evaluation(0.5, np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]]))
    assert result.accuracy == 0.7
    np.testing.assert_allclose(result.recall, [3 / 4, 4 / 6, np.nan])
    np.testing.assert_allclose(result.precision, [3 / 5, 4 / 5, np.nan])


def test_there_is_nothing_to_train_on():
    with pytest.raises(ValueError, match="there are no batches to train on; 0 images in batches of 16 with drop"):
        small_trainer(images=0)
    loader = data.DataLoader(digits(8)[0], 9, drop_last=True)
    with pytest.raises(ValueError, match="8 images in batches of 9 with drop_last=True make none"):
        fit(models.create("lenet"), loader, verbose=False)


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


# -- how a run ends -------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("lr, grows", [(10.0, True), (0.01, False)])
def test_a_loss_that_grows_is_remarked_once(lr, grows, capsys):
    trainer = small_trainer(epochs=3, lr=lr)
    trainer.observer = display.Lines()
    loss = next(row.loss for row in trainer.run().rows if row.loss > 6 or not grows)
    said = re.sub(r"from [2-4]\.\d+ to", "from x to", capsys.readouterr().err)
    assert said == (f"warning: the loss has grown from x to {loss:.4f}: steps are too long [diverging]\n"
                    "  hint: a smaller lr (it is 10), or clip_grad 1\n") * grows


def test_a_loss_below_that_of_guessing_may_grow(capsys):
    """As that of a network which has learnt already."""
    trainer = small_trainer(epochs=1)
    trainer.observer = display.Lines()
    learn = trainer.learn

    def small_first(*batch, **options):
        loss, *others = learn(*batch, **options)
        return (loss if trainer.optimizer.steps else loss * 1e-3), *others

    trainer.learn = small_first
    trainer.run()
    assert "diverging" not in capsys.readouterr().err


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


def test_nothing_is_shown_where_stdout_is_closed(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    fit(models.create("lenet"), *digits(), epochs=1, batch_size=32)
