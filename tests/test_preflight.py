"""What the first step of a run tells: every mistake planted is named, and networks that are right hear nothing."""

import math

import numpy as np
import pytest

import minicnn as mc
from minicnn import data, models, nn, training
from minicnn import functional as F
from minicnn.data import DataLoader
from minicnn.training import Recipe, Trainer
from minicnn.training.display import Lines
from minicnn.training.preflight import lowest_loss, preflight


def findings(model, x=None, y=None, **options):
    """What is found in a first step on random images."""
    x = mc.randn(4, 1, 8, 8) if x is None else x
    y = mc.randint(0, 3, (len(x),)) if y is None else y
    loss = F.cross_entropy(model(x), y)
    loss.backward(retain_graph=True)
    return preflight(model, x, loss, **options)


def small(*end: nn.Module, bias: float = 0.0) -> nn.Sequential:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3), *end)
    nn.init.constant_(net[0].bias, bias)
    return net


def test_a_sound_network_hears_nothing():
    assert findings(small()) == []


def test_lowest_loss_is_what_training_on_probabilities_ends_at():
    assert f"{lowest_loss(10):.5f}" == "1.46115"
    assert math.isclose(F.cross_entropy(mc.eye(10, dtype=mc.float64), mc.arange(10)).item(), lowest_loss(10))


@pytest.mark.parametrize("squash", [nn.Softmax(dim=1), nn.Sigmoid()])
def test_probabilities_before_cross_entropy(squash):
    (finding,) = findings(small(squash))
    kind = type(squash).__name__
    assert finding.rule == "softmax-before-loss"
    assert finding.cause == (f"{kind} (4) comes before cross entropy, which has a softmax of its own; with 3 classes "
                             f"the loss cannot fall below {lowest_loss(3):.5f}")
    x, y = mc.randn(4, 1, 8, 8), mc.randint(0, 3, (4,))
    model = small(squash)
    smoothed = F.cross_entropy(model(x), y, label_smoothing=0.1)
    smoothed.backward()
    assert [f.rule for f in preflight(model, x, smoothed)] == ["softmax-before-loss"]
    assert findings(small(nn.LogSoftmax(dim=1))) == []  # log_softmax twice is log_softmax


class Careless(nn.Module):
    """dropout as a function, which does not know the mode of the module."""

    def __init__(self):
        super().__init__()
        self.body, self.head, self.drop = nn.Linear(64, 6), nn.Linear(6, 3), nn.Dropout(0.5)

    def forward(self, x):
        return self.head(F.dropout(self.drop(self.body(x.flatten(1))), 0.5))


def test_dropout_in_evaluation_mode():
    model = Careless().train()
    key = mc.backend.default_generator.stream
    (finding,) = findings(model)
    assert mc.backend.default_generator.stream == key + 2  # of the forward pass itself, and no more
    assert finding.rule == "dropout-in-test" and finding.cause.startswith("Careless drops in evaluation mode too")
    assert model.training and "training=self.training" in finding.cure
    assert findings(nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.Dropout(), nn.Linear(20, 3))) == []


def test_outputs_and_labels_that_broadcast():
    x = mc.randn(5, 1, 8, 8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    for wrong, shape in ((model(x) - mc.randn(5), "(5, 1)"), (model(x).squeeze(1) - mc.randn(5, 1), "(5,)")):
        loss = (wrong ** 2).mean()
        loss.backward()
        (finding,) = preflight(model, x, loss)
        assert finding.rule == "broadcast" and f"a tensor {shape} was broadcast to (5, 5) for Sub" in finding.cause
        model.zero_grad()


def test_raw_pixels():
    x = mc.tensor(np.random.default_rng(0).integers(0, 256, (4, 1, 8, 8)).astype(np.float32))
    model = small()
    found = findings(model, x)
    assert [f.rule for f in found] == ["raw-pixels", "first-loss"]
    assert "0 … 25" in found[0].cause and "255" in found[0].cure
    assert [f.rule for f in findings(model, x, raw=True)] == ["first-loss"]


def test_a_first_loss_far_from_guessing():
    model = small()
    nn.init.normal_(model[3].weight, std=10.0)
    (finding,) = findings(model)
    assert finding.rule == "first-loss" and "far above ln 3 = 1.099" in finding.cause


class Cut(nn.Module):
    """What a and b have to do with each other is hidden from the graph."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.spare = nn.Linear(64, 4), nn.Linear(4, 3), nn.Linear(1, 1)

    def forward(self, x):
        return self.b(self.a(x.flatten(1)).detach())


def test_parameters_without_gradient_and_why():
    (finding,) = findings(small(bias=-100.0))
    assert finding.rule == "no-gradient"
    assert finding.cause.startswith("the gradient is 0 in 0.weight, 0.bias, 3.weight: dead relu, in Relu behind 0 ")
    assert finding.cause.endswith(" at [0, 0, 0, 0] is not above 0, so the result is 0")
    (finding,) = findings(Cut())
    assert finding.cause.startswith("no gradient arrives at a.weight, a.bias, spare.weight and 1 more: detached: ")
    assert "a tensor (4, 4) enters Linear of b (4, 3) detached" in finding.cause
    frozen = Cut()
    for part in (frozen.a, frozen.spare):
        part.requires_grad_(False)
    assert findings(frozen) == []


def test_why_needs_the_graph():
    model, x = small(bias=-100.0), mc.randn(4, 1, 8, 8)
    loss = F.cross_entropy(model(x), mc.randint(0, 3, (4,)))
    loss.backward()
    (finding,) = preflight(model, x, loss)
    assert finding.cause.endswith("3.weight: explain.gradient(loss, parameter) tells why")


@pytest.mark.parametrize(("end", "says"), [
    ([nn.Flatten(), nn.Linear(72, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)], "it will raise"),
    ([nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 3)], "mean and variance of that one"),
])
def test_a_last_batch_of_one_image(end, says):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), *end)
    images = [(np.zeros((1, 8, 8), np.float32), 0)] * 9
    loader = DataLoader(images, 4)
    (finding,) = findings(model, batches=loader)
    assert finding.rule == "last-batch-of-one" and says in finding.cause and "drop_last" in finding.cure
    assert findings(model, batches=DataLoader(images, 4, drop_last=True)) == []
    assert findings(model, batches=DataLoader(images[:8], 4)) == []
    assert findings(small(), batches=loader) == []


# -- in the trainer -------------------------------------------------------------------------------------------------


def trainer(model, limit: int = 65, **settings) -> Trainer:
    train = data.load("digits", "train").head(limit)
    recipe = Recipe.make(Recipe(), batch_size=16, epochs=2, **settings)
    return Trainer(model, recipe, *training.loaders(recipe, train, None))


def test_the_trainer_warns_once(capsys):
    run = trainer(nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Softmax(dim=1)), accum=2)
    run.observer = Lines()
    run.run()
    assert [f.rule for f in run.findings] == ["softmax-before-loss"]
    err = capsys.readouterr().err
    assert err.startswith("warning: Softmax (2) comes before cross entropy") and err.count("\n  hint: ") == 1


def test_training_goes_on_as_if_nobody_had_looked(monkeypatch):
    weights = []
    for _ in range(2):
        mc.manual_seed(1)
        model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.BatchNorm1d(10), nn.Dropout(0.3), nn.Linear(10, 10))
        run = trainer(model, limit=64)
        run.run()
        assert run.findings == []
        weights.append([a.numpy().tobytes() for a in model.state_dict().values()])
        monkeypatch.setattr("minicnn.training.trainer.preflight", lambda *args, **options: [])
    assert weights[0] == weights[1]


@pytest.mark.parametrize("name", ["lenet", "lenet5", "lenet_maxpool", "lenet_bn", "lenet_tanh", "cnn2", "resnet20",
                                  "squeezenet1_1", "image_rnn"])
def test_no_false_alarms_with_the_recipes(name):
    recipe = training.recipe_for(name, "digits")
    train = data.load("digits", "train").head(recipe.batch_size)
    if models.entry(name).reads_images:
        recipe = training.pipeline.fitted(recipe, name, train.images.shape[1:])
    model = models.create(name, 10, 1)
    models.initialise(model, recipe.init)
    loader, _ = training.loaders(recipe, train, None, 0)
    x, y = next(iter(loader))
    output = model.train()(x)
    loss = output.loss(lambda z: F.cross_entropy(z, y)) if hasattr(output, "loss") else F.cross_entropy(output, y)
    loss.backward(retain_graph=True)
    assert preflight(model, x, loss, batches=loader) == []
