"""Every model has a recipe that trains it: from its initial weights it learns images by heart, and the command runs."""

import json
from fnmatch import fnmatchcase

import numpy as np
import pytest

import minicnn as mc
from minicnn import models, nn, optim, predict, train
from minicnn import eval as evaluate
from minicnn.data.sequences import IGNORED
from minicnn.data.sequences import TASKS as TEXTS
from minicnn.nn.utils import clip_grad_norm_
from minicnn.training import Recipe, RecipeError, recipe_for, session
from minicnn.training.optimisation import begin, make_optimizer, make_schedule
from minicnn.training.recipes import CIFAR_NETS, NAMED, TABLE, TASKS, named_recipes
from minicnn.training.session import Selection
from models_util import images, without_dropout

IMAGES = [name for name in models.list() if models.entry(name).reads_images]

# models: width, side of the images and rate at which this is quick; the first line that fits
QUICK = (("lenet lenet5 lenet_maxpool", 1.0, None, 1e-2), ("lenet5_1998", 1.0, None, 3e-3),
         ("lenet* cnn2 image_rnn", 1.0, None, 2e-3), ("alexnet", 1 / 16, 63, 1e-3), ("alexnet*", 1 / 16, None, 1e-3),
         ("vgg16_gray", 1 / 32, 224, 3e-3), ("vgg11_d2l", 1 / 16, 224, 1e-3), ("vgg*", 1 / 8, 32, 1e-3),
         ("nin", 1 / 4, 96, 1e-3), ("nin_cifar", 1 / 4, 16, 2e-3), ("squeezenet*", 1 / 4, 32, 2e-3),
         ("googlenet*", 1 / 4, 32, 1e-3), ("inception_v3", 1 / 8, 75, 2e-3), ("resnext*", 1 / 2, 32, 2e-3),
         (CIFAR_NETS, 1 / 2, 8, 5e-3), ("*", 1 / 8, 32, 2e-3))


def quick(model: str) -> tuple[float, int, float]:
    for names, width, side, rate in QUICK:
        if any(fnmatchcase(model, name) for name in names.split()):
            return width, side or models.entry(model).input_shape[1], rate
    raise AssertionError


# one of each kind of block every time, the deeper ones of the same blocks with -m thorough
SAMPLE = ("lenet* cnn2 image_rnn study alexnet vgg11 vgg11_bn nin_cifar googlenet_d2l inception_v3 resnet18 resnet20 "
          "resnet50 resnext* plain20 densenet_d2l densenet121 squeezenet1_1 mobilenet_v2").split()
KINDS = [pytest.param(name, marks=[] if any(fnmatchcase(name, some) for some in SAMPLE) else pytest.mark.thorough)
         for name in IMAGES]


@pytest.mark.parametrize("name", KINDS)
def test_learns_32_images_by_heart(name):
    mc.manual_seed(0)
    width, side, rate = quick(name)
    model = models.create(name, width=width)
    begin(model, recipe_for(name))
    without_dropout(model)
    x, labels = images(model.spec.in_channels, side)
    optimizer = optim.Adam(model.parameters(), lr=rate)
    losses: list[float] = []
    for _ in range(40 if name == "plain110" else 200):
        y = model(x)
        if (y.data.argmax(1) == labels.data).all():
            return
        loss = nn.functional.cross_entropy(y, labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        if len(losses) == 1:
            untouched = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.data.any()]
            assert not untouched
        optimizer.step()
    # What the paper shows not to learn well: at first the gradient of its first layer is millions of times that of its
    # last. Neither the paper's warm-up (0.01, then 0.1) nor Adam brings its loss below 1.7 within 200 steps; it begins
    # to learn, and that is all.
    assert name == "plain110" and min(losses) < losses[0] - 0.05


def texts(name: str) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
    """32 of the model's texts from all over its task, their targets, how many classes these have, and which count.

    All do but those of padding, and of char_lstm's those where two texts go on differently after the same beginning.
    """
    task = TEXTS[TASKS[name]]("train")
    x, y = (array[::len(task) // 32][:32] for array in (task.x, task.y))
    if name != "char_lstm":
        return x, y, len(task.classes), y != IGNORED
    x, y = x[:, :32], y[:, :32]
    follows: dict[bytes, set[int]] = {}
    starts = [[text[:i + 1].tobytes() for i in range(32)] for text in x]
    for row, symbols in zip(starts, y, strict=True):
        for start, symbol in zip(row, symbols, strict=True):
            follows.setdefault(start, set()).add(symbol)
    return x, y, len(task.classes), np.array([[len(follows[start]) == 1 for start in row] for row in starts])


@pytest.mark.parametrize("name", TASKS)
def test_learns_32_texts_by_heart(name):
    """With its recipe's optimiser and rate; seq2seq is told its answer as far as it should have come."""
    x, y, classes, counts = texts(name)
    mc.manual_seed(0)
    recipe = recipe_for(name)
    model = models.create(name, classes)
    begin(model, recipe)
    optimizer, target = make_optimizer(recipe, list(model.parameters())), mc.tensor(y)
    assert counts.mean() > 0.7 and len(np.unique(y)) > 1
    for step in range(200):
        answer = model(mc.tensor(x), target) if name == "seq2seq" else model(mc.tensor(x))
        logits = answer[0] if isinstance(answer, tuple) else answer
        if (logits.data.argmax(1) == y)[counts].all():
            return
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits, target).backward()
        if not step:
            assert all(p.grad is not None and p.grad.data.any() for p in model.parameters())
        clip_grad_norm_(model.parameters(), recipe.clip_grad)
        optimizer.step()
    raise AssertionError


# -- the table ------------------------------------------------------------------------------------------------------


def test_every_line_is_about_a_model_and_every_model_has_a_line():
    for names, _, values in TABLE:
        for pattern in names.split():
            assert any(fnmatchcase(name, pattern) for name in models.list()), pattern
        Recipe.make(Recipe(), **values)
    for name in models.list():
        recipe = recipe_for(name)
        assert recipe != Recipe(data=recipe.data)
        assert recipe.data == TASKS.get(name, "digits")


def test_every_recipe_with_a_name_is_for_models():
    for names, name, _ in NAMED:
        for model in names.split():
            assert recipe_for(model, "mnist", name).data == "mnist"
    assert {name: len(found) for name, found in named_recipes().items()} == {
        "d2l": 8, "d2l-pytorch": 8, "note002": 3, "note003": 1, "paper": 10, "torchvision": 20}


def test_recipes_of_papers_and_books():
    he = recipe_for("resnet56", name="paper")
    assert (he.data, he.batch_size, he.lr, he.momentum, he.weight_decay, he.augment) == (
        "cifar10", 128, 0.1, 0.9, 1e-4, True)
    assert 391 * he.epochs == pytest.approx(64_000, rel=0.01)  # iterations, with 50,000 images
    optimizer = optim.SGD([mc.zeros(1, requires_grad=True)], lr=he.lr)
    schedule, rates = make_schedule(he, optimizer, 391), []
    for _ in range(64_000):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    counts = np.bincount([round(-np.log10(rate)) for rate in rates])[1:]
    assert counts == pytest.approx([32_000, 16_000, 16_000], abs=200)
    vgg = recipe_for("vgg11_d2l", name="d2l")
    assert (vgg.data, vgg.opt, vgg.lr, vgg.width, vgg.sched, vgg.init, vgg.pixels) == (
        "fashion-mnist", "sgd", 0.05, 0.25, "none", "xavier", "unit")
    assert recipe_for("resnet18_d2l", name="d2l").resize == recipe_for("resnet18_d2l", name="d2l-pytorch").resize == 96
    assert recipe_for("nin", name="d2l-pytorch").lr == 2e-3
    assert recipe_for("resnet50", "folder:photos", "torchvision").epochs == 90


@pytest.mark.parametrize(("arguments", "message"), [
    (("resnet50", None, "torchvision"), "for ImageNet, which cannot be downloaded; tell where it is with --data fol"),
    (("vgg16", None, "note003"), "recipe 'note003' is for lenet_tanh, not for vgg16"),
    (("char_lstm", "mnist", None), "char_lstm does not read mnist; it learns from documentation"),
    (("rnn_classifier", "sums", None), "rnn_classifier does not read sums; it learns from code_or_prose"),
    (("lenet", "sums", None), "lenet does not read sums; it learns from images")])
def test_recipes_that_do_not_exist(arguments, message):
    with pytest.raises(RecipeError, match=message):
        recipe_for(*arguments)


# -- the runs -------------------------------------------------------------------------------------------------------


def test_width_and_size_come_from_the_recipe_or_the_options(tmp_path):
    tiny = Selection(limit_train=8, limit_val=4)
    begun = session.start("vgg11", recipe_for("vgg11", width=1 / 64), tiny, out=str(tmp_path))
    assert begun.settings["model"]["options"] == {"width": 1 / 64}
    assert begun.trainer.model.features[0].out_channels == 1 and begun.settings["recipe"]["resize"] == 32
    begun.folder.unlock()
    begun = session.start("vgg11", recipe_for("vgg11"), tiny, options={"width": 1 / 32}, out=str(tmp_path))
    assert begun.trainer.recipe.width == 1 / 32 and begun.trainer.model.features[0].out_channels == 2


def test_the_last_bias_lets_classes_behind_a_relu_learn():
    model = models.create("nin_cifar", width=1 / 16)
    begin(model, recipe_for("nin_cifar"))
    biases = [layer.bias.data for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert (biases[-1] == 1).all() and not biases[-2].any()


@pytest.mark.parametrize("name", TASKS)
def test_the_commands_for_texts(name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny = ["--limit-train", "40", "--limit-val", "20", "--device", "cpu"]
    assert train.main([name, "--epochs", "1", "-v", "--width", "0.25", *tiny]) == 0
    out = capsys.readouterr().out
    task = TASKS[name]
    assert f"data: {task}, 40 training and 20 validation texts of " in out and "pixels normalize" not in out
    assert " text/s" in out
    assert train.main([name, "--resume", "--epochs", "2"]) == 0
    assert "epoch 2/2" in capsys.readouterr().out
    run = f"runs/{name}-{task}-1"
    assert evaluate.main([run, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    held_out = TEXTS[task]("validation").head(20)
    assert found["images"] == int((held_out.y != IGNORED).sum()) == np.sum(found["confusion"])
    rows = (tmp_path / run / "metrics.csv").read_text().splitlines()
    assert found["accuracy"] == pytest.approx(max(float(row.split(",")[4]) for row in rows[1:]))
    assert predict.main([run, "image.png"]) == 1
    assert f"is a run of {name}, which reads texts, not images" in capsys.readouterr().err


# one of each family, as narrow and small as it goes
@pytest.mark.parametrize("name", ["lenet5_1998", "alexnet", "vgg11_bn", "nin_cifar", "googlenet", "resnet18",
                                  "resnet20", "densenet121", "squeezenet1_1", "mobilenet_v2", "image_rnn",
                                  "rnn_classifier", "char_lstm", "seq2seq", "birnn_tagger"])
def test_dry_run(name):
    width, side, _ = quick(name) if name in IMAGES else (1 / 4, None, None)
    fixed = name in ("lenet5_1998", "image_rnn")
    recipe = recipe_for(name, width=width, batch_size=4, **({} if fixed else {"resize": side}))
    session.dry_run(name, recipe, Selection(offline=True), options={}, device="cpu")
