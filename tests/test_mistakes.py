"""The mistakes of the notes' scripts: each as it stands there, and where this software prevents or explains it."""

import math
from textwrap import dedent

import numpy as np
import pytest

import minicnn as mc
from minicnn import data, explain, models, nn, optim, training
from minicnn import functional as F
from minicnn.models import output_shape, window_of
from minicnn.training import Finding, Recipe, recipe_for
from minicnn.training.script_rules import lint
from models_util import blank

# Note 002, the script that it calls LeNet
LENET = """\
import torch
import torch.nn as nn
class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.conv1=nn.Sequential(nn.Conv2d(1,32,5,1,2),nn.ReLU(),nn.MaxPool2d(2,2))
        self.conv2=nn.Sequential(nn.Conv2d(32,64,5,1,2),nn.ReLU(),nn.MaxPool2d(2,2))
        self.fc1=nn.Sequential(nn.Linear(64*7*7,1000),nn.Dropout(p=0.5),nn.ReLU())
        self.fc2=nn.Sequential(nn.Linear(1000,10),nn.Softmax(dim=1))
        def forward(self, x):
            x=self.conv1(x)
            x=self.conv2(x)
            x=x.view(x.size()[0],-1)
            x=self.fc1(x)
            x=self.fc2(x)
            return x
model=Net()
mse_loss=nn.CrossEntropyLoss()
optimizer=optim.Adam(model.parameters(),LR)
def train():
    model.train()
    for i,data in enumerate(train_loader):
        inputs,labels=data
        out=model(inputs)
        loss=mse_loss(out,labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
for epoch in range(20):
    train()
torch.save(model,'m.pth')
torch.save(model.state_dict(),'m.pth')
"""
FORWARD = LENET[LENET.index("        def forward"):LENET.index("model=Net()")]
REPAIRED = LENET.replace(FORWARD, dedent(FORWARD).replace("\n", "\n    ").rstrip().join(("    ", "\n")))


def rules(script: str) -> list[str]:
    return [finding.rule for finding in lint(script)]


def first_step(model: nn.Module, x: mc.Tensor) -> list[Finding]:
    """What is found in the first step of a loop of one's own."""
    loss = F.cross_entropy(model(x), mc.arange(len(x)) % 10)
    loss.backward(retain_graph=True)
    return training.preflight(model, x, loss)


def digits(pixels: str) -> mc.Tensor:
    images = mc.tensor(data.load("digits", "train").images[:8]).float()
    return images if pixels == "raw" else images / 127.5 - 1


# -- the model ------------------------------------------------------------------------------------------------------


def test_forward_hidden_in_init():
    """Lost indentation makes it a function within __init__, and the network has none."""
    assert ("lost-forward", 10) in [(finding.rule, finding.line) for finding in lint(LENET)]
    assert "lost-forward" not in rules(REPAIRED)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()

            def forward(self, x):
                return x

    with pytest.raises(NotImplementedError, match=r"Net has no forward\(\); .* \(is it indented into __init__\?\)"):
        Net()(mc.zeros(1, 1, 28, 28))


def test_forward_outside_of_the_class():
    """Note 004's AlexNet."""
    script = "class AlexNet(nn.Module):\n    def __init__(self):\n        super().__init__()\n\n" \
             "def forward(self, img):\n    return self.fc(self.conv(img).view(img.shape[0], -1))\n"
    assert rules(script) == ["lost-forward"]


def test_lines_that_lost_their_indentation():
    """Notes 002 and 004: the body of a loop in the first column."""
    (finding,) = lint("for epoch in range(10):\nprint('epoch:', epoch)\n")
    assert finding.rule == "syntax" and finding.line == 2 and "was indentation lost in copying?" in finding.cure


def test_softmax_twice(capsys):
    """The loss cannot fall below 1.46115 for 10 classes: said by the script, by its first step, by training itself."""
    found = {finding.rule: finding for finding in lint(REPAIRED)}
    assert "the loss cannot fall below 1.46115" in found["softmax-before-loss"].cause
    assert found["softmax-before-loss"].line == 9
    certain, labels = mc.eye(10, dtype=mc.float64), mc.arange(10)
    assert F.cross_entropy(certain, labels).item() == pytest.approx(math.log(1 + 9 / math.e)) == pytest.approx(1.46115)
    model = models.create("cnn2", softmax=True, width=1 / 8, dropout=0.0)
    (finding,) = first_step(model, digits("scaled"))
    assert finding.rule == "softmax-before-loss" and "1.46115" in finding.cause and "logits" in finding.cure
    train = data.load("digits", "train").head(32)
    training.fit(models.create("cnn2", softmax=True, width=1 / 8), train, train, epochs=1)
    assert "1.46115" in "".join(capsys.readouterr())
    assert first_step(models.create("cnn2", width=1 / 8, dropout=0.0), digits("scaled")) == []


@pytest.mark.parametrize("name", models.list())
def test_no_model_ends_with_softmax(name):
    assert not [layer for layer in blank(name).modules() if isinstance(layer, (nn.Softmax, nn.LogSoftmax))]


def test_dropout_left_on():
    """Note 002's AlexNet calls F.dropout(x, p=0.5), which knows nothing of eval(), and tests with half its units."""
    class AlexNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.f1, self.f2 = nn.Linear(784, 64), nn.Linear(64, 10)

        def forward(self, x):
            return self.f2(F.dropout(F.relu(self.f1(x.flatten(1))), p=0.5))

    body = "class AlexNet(nn.Module):\n    def forward(self, x):\n        x = F.dropout(x, p=0.5)\n        return x\n"
    assert rules(body) == ["dropout-in-test"] and rules(body.replace("0.5", "0.5, training=self.training")) == []
    (finding,) = first_step(AlexNet(), digits("scaled"))
    assert finding.rule == "dropout-in-test" and "training=self.training" in finding.cure
    batches = data.DataLoader(data.load("digits", "validation"), 100)
    model = models.create("cnn2", width=1 / 8, dropout=0.9)  # in training mode, in which evaluate does not run it
    assert training.evaluate(model, batches).loss == training.evaluate(model, batches).loss and model.training


def test_a_flattened_size_that_does_not_fit():
    """Note 002: 224×224 images, 54×54 after the first convolution, and 27×27, 6,000 and 9216 behind it."""
    net = models.create("alexnet_gray227", width=1 / 16)
    with pytest.raises(ValueError) as error:
        net(mc.zeros(2, 1, 224, 224))
    assert str(error.value) == (
        "alexnet_gray227: images of 1×224×224 do not fit: 1×224×224 →(conv1 11×11, stride 4) 54 →(pool1 3×3, stride 2) "
        "26 →(conv2 5×5, pad 2) 26 →(pool2 3×3, stride 2) 12 →(conv3 3×3, pad 1) 12 →(conv4 3×3, pad 1) 12 "
        "→(conv5 3×3, pad 1) 12 →(pool5 3×3, stride 2) 5; flatten 16·5·5 = 400, but fc6 expects 576; sizes that fit: "
        "227×227 to 258×258, for example with the transform Resize((227, 227))")
    own = nn.Sequential(nn.Conv2d(1, 6, 5), nn.Flatten(), nn.Linear(400, 10))
    with pytest.raises(RuntimeError, match=r"shapes \(2, 3456\) and \(10, 400\) do not fit: the last axis of input"):
        own(mc.zeros(2, 1, 28, 28))


def test_formulas_of_sizes():
    """Note 003 divides by 2 in (32 + 0 − 5)/2 + 1 = 28, and lets a stride of s divide every size by s exactly."""
    assert output_shape(nn.Conv2d(1, 6, 5), (1, 32, 32)) == (6, 28, 28)
    assert [window_of(nn.MaxPool2d(3, stride=2)).output_size(n, n)[0] for n in (54, 55)] == [26, 27]


def test_a_deep_network_with_default_weights():
    """Note 002's VGG without batch normalisation: its answers hardly depend on the image, and the loss stays ln 10."""
    x = mc.rand(4, 1, 224, 224)
    spread = {}
    for init in ("default", "kaiming"):
        with mc.no_grad():
            y = models.create("vgg16_gray", width=1 / 16, init=init).eval()(x)
        spread[init] = float(y.data.std(0).max())
    assert spread["default"] < 1e-5 and spread["kaiming"] > 1e-2


# -- the loop -------------------------------------------------------------------------------------------------------


def test_missing_zero_grad():
    """Gradients of all steps add up; the note has the line, copies of it often do not."""
    assert "no-zero-grad" not in rules(REPAIRED)
    assert "no-zero-grad" in rules(REPAIRED.replace("        optimizer.zero_grad()\n", ""))


def test_raw_pixels():
    """Note 003 trains on 0 … 255; here that has to be asked for."""
    keras = """\
        from tensorflow.keras.datasets import mnist
        (x_train, y_train), (x_test, y_test) = mnist.load_data()
        x_train=x_train.reshape(60000,28,28,1)
        history = model.fit(x_train, y_train, batch_size=128, epochs=30)
        """
    assert rules(dedent(keras)) == ["raw-pixels"]
    model = models.create("lenet")
    (finding,) = first_step(model, digits("raw"))
    assert finding.rule == "raw-pixels" and "255" in finding.cure
    assert first_step(model, digits("scaled")) == []
    assert Recipe().pixels == "normalize" and recipe_for("lenet_tanh", name="note003").pixels == "raw"


def test_accuracy_in_training_mode():
    """Note 002 counts the right answers to training images with dropout on, and records the graph of it."""
    counting = "with torch.no_grad():\n    out=model(inputs)\n    _,predicted=torch.max(out,1)\n"
    assert "dropout-in-test" in rules(REPAIRED + counting)
    assert "dropout-in-test" not in rules(REPAIRED + "model.eval()\n" + counting)
    model, modes = models.create("lenet"), []
    model.fc3.register_forward_hook(lambda layer, args, y: modes.append((layer.training, y.requires_grad)))
    training.evaluate(model, data.DataLoader(data.load("digits", "validation").head(64), 64))
    assert modes == [(False, False)] and model.training


# -- what is kept ---------------------------------------------------------------------------------------------------


def test_a_file_of_another_kind_is_not_overwritten(tmp_path):
    """Note 002 saves the weights over the model."""
    assert "overwritten" in rules(LENET)
    model, path = models.create("lenet"), tmp_path / "m.safetensors"
    training.save(model, path)
    with pytest.raises(FileExistsError, match="holds model, and this would put weights in its place; .*overwrite=True"):
        training.save(model.state_dict(), path)
    np.testing.assert_array_equal(training.load(path).fc1.weight.data, model.fc1.weight.data)
    training.save(model.state_dict(), path, overwrite=True)
    assert sorted(training.load(path)) == sorted(model.state_dict())


def test_a_file_name_without_quotes():
    """model.load_state_dict(torch.load(model.pth))"""
    with pytest.raises(AttributeError, match="'Network' object has no attribute 'pth'"):
        models.create("lenet").pth  # noqa: B018


def test_printing_a_summary_prints_no_none(capsys):
    """print(summary(...)) of torchsummary prints its table and then None."""
    print(explain.summary(models.create("lenet"), style="torchsummary"))
    text = capsys.readouterr().out
    assert "Total params: 61,706" in text and "None" not in text


def test_loss_and_accuracy_have_axes_of_their_own(tmp_path, monkeypatch):
    """Note 003 draws both into one plot, which it calls accuracy."""
    figure = pytest.importorskip("matplotlib.figure")
    drawn = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, path, **_: drawn.append(self))
    train = data.load("digits", "train").head(32)
    history = training.fit(models.create("lenet"), train, train, epochs=1, verbose=False)
    training.plot_history(history, tmp_path / "curves.png")
    assert [axes.get_title("left") for axes in drawn[0].axes] == ["loss, nats", "accuracy"]
    assert {text.get_text() for text in drawn[0].axes[0].texts} == {"training", "validation"}


# -- what is said ---------------------------------------------------------------------------------------------------


def test_dropout_before_or_after_relu():
    """Note 002 has it before; it only multiplies by 0 or a positive number, so that makes no difference."""
    x = mc.randn(50, 7)
    mc.manual_seed(3)
    before = F.relu(F.dropout(x, 0.5))
    mc.manual_seed(3)
    np.testing.assert_array_equal(before.data, F.dropout(F.relu(x), 0.5).data)


def test_elu_is_continuous():
    """Note 003 prints αe^z − 1, which jumps at 0 unless α is 1."""
    z = mc.tensor([-1e-9, 0.0, 1e-9], dtype=mc.float64)
    np.testing.assert_allclose(F.elu(z, alpha=3.0).data, [-3e-9, 0, 1e-9], atol=1e-15)


def test_rrelu_draws_uniformly():
    """Note 003: from a Gaussian; it is U(1/8, 1/3), and the mean of it in evaluation."""
    x = mc.full((10_000,), -1.0)
    slopes = -F.rrelu(x, training=True).data
    assert 1 / 8 <= slopes.min() < 0.13 and 0.328 < slopes.max() <= 1 / 3
    assert abs(np.median(slopes) - 11 / 48) < 0.005
    np.testing.assert_allclose(-F.rrelu(x, training=False).data, 11 / 48, rtol=1e-6)


def test_momentum_of_running_statistics():
    """Note 001 keeps 0.9 of the old ones, which is a momentum of 0.1 here; ε is added to the variance."""
    norm, x = nn.BatchNorm2d(3, momentum=0.1, eps=0.5), mc.randn(4, 3, 5, 5)
    y = norm(x)
    mean, variance = x.data.mean((0, 2, 3)), x.data.var((0, 2, 3), ddof=1)
    np.testing.assert_allclose(norm.running_mean.data, 0.9 * 0 + (1 - 0.9) * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(norm.running_var.data, 0.9 * 1 + (1 - 0.9) * variance, rtol=1e-5)
    expected = (x.data - mean[:, None, None]) / np.sqrt(x.data.var((0, 2, 3)) + 0.5)[:, None, None]
    np.testing.assert_allclose(y.data, expected, atol=1e-5)


def test_statistics_of_the_whole_data_set():
    """Note 001 says that prediction uses them; the averages of training come near, update_bn makes it true."""
    net, x = nn.Sequential(nn.BatchNorm2d(3)), mc.randn(20, 3, 5, 4) * 2 + 1
    net(x)
    assert np.abs(net[0].running_mean.data - x.data.mean((0, 2, 3))).min() > 0.1
    optim.swa_utils.update_bn([x], net)
    np.testing.assert_allclose(net[0].running_mean.data, x.data.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(net[0].running_var.data, x.data.var((0, 2, 3), ddof=1), rtol=1e-5)


def test_cross_entropy_is_a_mean():
    """Note 002 leaves out 1/n."""
    logits, labels = mc.randn(6, 4), mc.tensor([0, 1, 2, 3, 0, 1])
    each = -np.log(F.softmax(logits, 1).data[np.arange(6), labels.data])
    assert F.cross_entropy(logits, labels).item() == pytest.approx(each.mean(), rel=1e-5)


def test_pooling_is_not_invariant_to_shifts():
    """Note 002 says so; it holds within a window alone."""
    x = mc.zeros(1, 1, 4, 4)
    x[0, 0, 0, 0] = 1.0
    within, across = x.roll(1, 3), x.roll(2, 3)
    pooled = F.max_pool2d(x, 2)
    assert (F.max_pool2d(within, 2).data == pooled.data).all()
    assert (F.max_pool2d(across, 2).data != pooled.data).any()
