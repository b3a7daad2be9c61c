"""Scripts with one mistake each are accused of it by line, cause and cure; scripts that are right are not."""

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from minicnn import lint as command
from minicnn.training.script_rules import lint

ROOT = Path(__file__).parents[1]
LOOP = """
criterion = nn.CrossEntropyLoss()
for x, y in loader:
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
"""


def rules(source: str) -> list[tuple[str, int | None]]:
    return [(finding.rule, finding.line) for finding in lint(dedent(source))]


@pytest.mark.parametrize(("network", "line"), [
    ("model = nn.Sequential(nn.Linear(4, 7), nn.Softmax(dim=1))", 1),
    ("model = nn.Sequential(a, nn.Sequential(nn.Linear(4, out_features=7), nn.Softmax(1)))", 1),
    ("""\
     class Net(nn.Module):
         def __init__(self):
             self.head = nn.Sequential(nn.Linear(4, 7),
                                       nn.Softmax(dim=1))
         def forward(self, x):
             x = self.head(x)
             return x""", 4),
])
def test_softmax_before_cross_entropy_with_its_lowest_loss(network, line):
    (finding,) = lint(dedent(network) + LOOP)
    assert (finding.rule, finding.line) == ("softmax-before-loss", line)
    assert "with 7 classes the loss cannot fall below 1.16542" in finding.cause and "logits" in finding.cure


@pytest.mark.parametrize(("body", "guilty"), [
    ("return F.softmax(self.head(x), dim=1)", True), ("return self.head(x).softmax(1)", True),
    ("p = torch.softmax(x, 1)\n        return p", True), ("return nn.Softmax(dim=1)(x)", True),
    ("return self.soft(x)", True), ("return torch.sigmoid(x)", True),
    ("return self.head(x)", False), ("return self.head(F.softmax(x, 1) * x)", False),
    ("return x if self.training else x.softmax(1)", False), ("return F.log_softmax(x, 1)", False),
    ("return self.middle(x)", False),
])
def test_what_forward_returns(body, guilty):
    source = f"""\
class Net(nn.Module):
    def __init__(self):
        self.head, self.soft = nn.Linear(4, 3), 0
        self.soft = nn.Softmax(dim=1)
        self.middle = nn.Sequential(nn.Softmax(1), nn.Linear(3, 3))
    def forward(self, x):
        {body}
"""
    assert [rule for rule, _ in rules(source + LOOP)] == ["softmax-before-loss"] * guilty
    assert rules(source) == []  # without cross entropy a softmax at the end is right
    fit = "from minicnn import training\n" + source + "training.fit(Net(), train, epochs=2)"  # has cross entropy within
    assert [rule for rule, _ in rules(fit)] == ["softmax-before-loss"] * guilty


def test_softmax_in_the_call_of_the_loss():
    assert rules("loss = F.cross_entropy(F.softmax(model(x), 1), y)") == [("softmax-before-loss", 1)]
    assert rules("p = model(x).softmax(1)\nloss = nn.CrossEntropyLoss()(p, y)") == [("softmax-before-loss", 1)]
    assert rules("p = model(x)\nloss = F.cross_entropy(p, y)\np = p.softmax(1)") == []


@pytest.mark.parametrize(("call", "guilty"), [
    ("F.dropout(x, p=0.5)", True), ("F.dropout(x)", True), ("dropout(x, 0.5)", True), ("F.dropout(x, 0.5, True)", True),
    ("F.dropout2d(x, training=True)", True), ("F.dropout(x, 0.5, self.training)", False),
    ("F.dropout(x, training=self.training)", False), ("self.dropout(x)", False), ("F.dropout(x, **options)", False),
])
def test_dropout_that_does_not_know_the_mode(call, guilty):
    source = f"class Net(nn.Module):\n    def forward(self, x):\n        return {call}\n"
    assert rules(source) == [("dropout-in-test", 3)] * guilty
    assert rules(f"y = {call}") == []  # not in a network: somebody looks at what dropout does


def test_results_in_training_mode():
    source = """\
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    for x, y in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    {}
    with torch.no_grad():
        right = (model(x).argmax(1) == y).sum()
    """
    (finding,) = lint(dedent(source.format("pass")))
    assert (finding.rule, finding.line) == ("dropout-in-test", 7) and "has Dropout" in finding.cause
    assert rules(source.format("model.eval()")) == rules(source.format("model.train(False)")) == []
    assert rules(source.format("pass").replace("Dropout(0.5)", "ReLU()")) == []
    decorated = source.format("@torch.no_grad()\n    def test(x):\n        return model(x).argmax(1)").split("with")[0]
    assert rules(decorated) == [("dropout-in-test", 7)]


@pytest.mark.parametrize(("results", "guilty"), [
    ("right = (model(x_test).argmax(1) == y_test).sum()", True), ("best = torch.max(model(x_test), 1)[1]", True),
    ("out = model(x_test)\nbest = out.argmax(1)", True), ("model.eval()\nbest = model(x_test).argmax(1)", False),
    ("best = out.argmax(1)", False), ("best = torch.cat(outputs).argmax(1)", False),
    ("def test(model, x):\n    return model(x).argmax(1)", False), ("best = other(x_test).argmax(1)", False),
])
def test_results_in_training_mode_after_a_loop(results, guilty):
    source = """\
model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
for x, y in loader:
    optimizer.zero_grad()
    out = model(x)
    outputs.append(torch.cat(out))
    F.cross_entropy(out, y).backward()
    optimizer.step()
    right += (out.argmax(1) == y).sum()
"""
    assert [rule for rule, _ in rules(source + results)] == ["dropout-in-test"] * guilty


def test_missing_zero_grad():
    assert rules(LOOP.replace("    optimizer.zero_grad()\n", "")) == [("no-zero-grad", 5)]
    before = LOOP.replace("    optimizer.zero_grad()\n", "").replace("for x", "optimizer.zero_grad()\nfor x")
    assert rules(before) == [("no-zero-grad", 6)]
    late = "for x, y in loader:\n    loss(x).backward()\n    optimizer.zero_grad()\n    optimizer.step()"
    assert rules(late) == [("no-zero-grad", 3)]
    for clear in ("model.zero_grad()", "w.grad = None", "w.grad.zero_()"):
        assert rules(LOOP.replace("optimizer.zero_grad()", clear)) == []
    accumulated = """\
    for i, (x, y) in enumerate(loader):
        loss(x, y).backward()
        if i % 4 == 3:
            optimizer.step()
            optimizer.zero_grad()
    """
    assert rules(accumulated) == []
    step = "def train_step(x):\n    loss(x).backward()\n    optimizer.step()\n"
    assert rules(step + "train_step(x)") == []
    assert rules(step + "for x in data:\n    train_step(x)") == [("no-zero-grad", 2)]
    helper = "def clear():\n    optimizer.zero_grad()\n" + LOOP
    assert rules(helper.replace("    optimizer.zero_grad()\n    loss", "    clear()\n    loss")) == []
    assert rules(helper.replace("    optimizer.zero_grad()\n    loss", "    loss")) == [("no-zero-grad", 7)]
    within = LOOP.replace("    optimizer.zero_grad()", "    def clear():\n        optimizer.zero_grad()")
    assert rules(within) == [("no-zero-grad", 7)] and rules(within + "    clear()") == []


def test_a_forward_that_its_class_has_lost():
    start = "class Net(nn.Module):\n    def __init__(self):\n        self.a = 1\n"
    inside = start + "        def forward(self, x):\n            return x"
    assert rules(inside) == [("lost-forward", 4)]
    outside = start + "\ndef forward(self, x):\n    return x"
    assert rules(outside) == [("lost-forward", 5)]
    assert rules("class Net(nn.Module):\n    def forward(self, x):\n        return x") == []


def test_raw_pixels():
    keras = "(x_train, y_train), _ = mnist.load_data()\nmodel.fit(x_train.astype('float32'){}, y_train)"
    assert rules(keras.format("")) == [("raw-pixels", 1)] and rules(keras.format(" / 255")) == []
    assert rules("x = mc.tensor(train.images[:64])") == [("raw-pixels", 1)]
    assert rules("x = mc.tensor(transforms.ToFloat()(train.images))") == []


@pytest.mark.parametrize(("source", "guilty"), [
    ("_, guess = torch.max(out, 1)\nright = (guess == y.view(-1, 1)).sum()", True),
    ("right = (out.argmax(1) == y.unsqueeze(1)).sum()", True), ("right = (out.argmax(1) == y).sum()", False),
    ("right = (out.argmax(1, keepdim=True) == y.unsqueeze(1)).sum()", False),
    ("right = (out.argmax(keepdim=True, dim=1) == y.unsqueeze(1)).sum()", False),
    ("out = model(x).squeeze(1)\nloss = ((out - y[:, None]) ** 2).mean()", True),
    ("loss = F.mse_loss(model(x).squeeze(1), y.reshape(-1, 1))", True),
    ("criterion = nn.MSELoss()\nloss = criterion(model(x).squeeze(), y.unsqueeze(-1))", True),
    ("y = torch.randn(8)\nloss = nn.MSELoss()(torch.randn(8, 1), y)", True),
    ("n = 8\ny = torch.rand(n)\nout = torch.randn(n, 1, requires_grad=True)\nloss = ((out - y) ** 2).mean()", True),
    ("net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))\nloss = F.mse_loss(net(x), torch.zeros(8))", True),
    ("net = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))\nloss = F.mse_loss(net(x).squeeze(1), torch.zeros(8))", False),
    ("net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))\nloss = F.mse_loss(net(x), torch.zeros(8))", False),
    ("y = torch.randn(size)\nloss = nn.MSELoss()(torch.randn(8, 1), y)", False),
    ("loss = nn.MSELoss()(torch.randn(8, 1), torch.randn(8, 1))", False), ("print(ones(3, 1) - ones(3))", False),
    ("x = torch.randn(5)\napart = ((x[:, None] - x) ** 2).mean()", False),
    ("loss = F.mse_loss(model(x).squeeze(1), y)", False), ("loss = F.mse_loss(a.unsqueeze(1), y.unsqueeze(1))", False),
])
def test_shapes_that_broadcast(source, guilty):
    assert [rule for rule, _ in rules(source)] == ["broadcast"] * guilty


def test_the_other_rules():
    saves = "torch.save(model, 'm.pth')\ntorch.save(model.state_dict(), 'm.pth')"
    assert rules(saves) == [("overwritten", 2)] and rules(saves.replace("'m.pth'", "'w.pth'", 1)) == []
    single = "net = nn.BatchNorm1d(4)\nloader = DataLoader(data, batch_size=1, shuffle=True)"
    assert rules(single) == [("last-batch-of-one", 2)] and rules(single.replace("=1", "=16")) == []
    assert rules("for i in range(3):\nprint(i)") == [("syntax", 2)]


def test_no_false_alarms_on_what_we_show():
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    sources = [*blocks, *[path.read_text() for folder in ("examples", "benchmarks", "minicnn")
                          for path in sorted(ROOT.glob(f"{folder}/**/*.py"))]]
    assert len(blocks) >= 2 and [finding for source in sources for finding in lint(source)] == []


# -- the command ----------------------------------------------------------------------------------------------------

CARELESS = """\
import sys
import minicnn as mc
from minicnn import nn, optim
import minicnn.functional as F

squash = nn.Softmax(dim=1)
spare = nn.Linear(1, 1)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head, self.spare = nn.Linear(16, 8), nn.Linear(8, 4), spare

    def forward(self, x):
        return squash(self.head(self.body(x.flatten(1))))

model = Net()
update = optim.SGD(model.parameters(), lr=0.1).step
pixels = mc.randint(0, 255, (6, 1, 4, 4)).float()
for step in range(int(sys.argv[1])):
    loss = F.cross_entropy(model(pixels), mc.randint(0, 4, (6,)))
    loss.backward()
    update()
"""


def test_running_shows_what_the_text_hides(tmp_path, capsys, monkeypatch):
    script = tmp_path / "train.py"
    script.write_text(CARELESS)
    monkeypatch.setattr(sys, "argv", ["lint"])
    assert command.main([str(script)]) == 0
    assert capsys.readouterr().out == "nothing found\n"
    assert command.main(["--run", str(script), "3"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert {line.rpartition("[")[2] for line in lines[:-1]} == {
        "softmax-before-loss]", "raw-pixels]", "no-gradient]", "no-zero-grad]"}
    assert all(line.startswith(f"{script}:22: ") for line in lines[:-1]) and lines[-1] == "4 things to look at"
    assert "no gradient arrives at spare.weight, spare.bias" in " ".join(lines)
    assert sys.argv == ["lint"]
    assert command.main(["--run", str(script)]) == 1  # it needs an argument
    captured = capsys.readouterr()
    assert captured.err.startswith("python -m minicnn.lint: error: ") and "stopped with IndexError" in captured.err


def test_gradients_that_are_meant_to_add_up(tmp_path, capsys):
    script = tmp_path / "accumulate.py"
    source = CARELESS.replace("squash(self.head", "(self.head").replace(", 255, (6, 1", ", 2, (6, 1")
    source = source.replace("nn.Linear(8, 4), spare", "nn.Linear(8, 4), None")
    script.write_text(source.replace("    update()", "    if step % 2:\n        update()\n        model.zero_grad()"))
    assert command.main(["--run", str(script), "5"]) == 0, capsys.readouterr().out


FIT = """\
from minicnn import data, nn, training
squash = nn.Softmax(dim=1)
model = nn.Sequential(*[nn.Flatten(), nn.Linear(784, 10)], squash)
train = data.load("digits", "train").head(64)
history = training.fit(model, train, epochs=1, verbose=False)
"""


def test_what_the_trainer_finds_is_about_the_line_that_calls_it(tmp_path, capsys):
    script = tmp_path / "fit.py"
    script.write_text(FIT)
    assert command.main([str(script)]) == 0 and command.main(["--run", str(script)]) == 1
    assert f"{script}:5: Softmax (2) comes before cross entropy" in capsys.readouterr().out


def test_right_scripts_and_wrong_usage(tmp_path, capsys):
    assert command.main(["--run", str(ROOT / "examples/01_train_lenet.py"), "--smoke"]) == 0
    assert capsys.readouterr().out.endswith("nothing found\n")
    assert command.main([]) == 2 and "which script?" in capsys.readouterr().err
    assert command.main([str(tmp_path / "none.py")]) == 1 and "No such file" in capsys.readouterr().err
    (tmp_path / "x.py").write_bytes(b"\xff")
    assert command.main([str(tmp_path / "x.py")]) == 1 and "UTF-8" in capsys.readouterr().err
    assert command.main([str(tmp_path)]) == 1 and "is a folder" in capsys.readouterr().err


def test_it_is_a_command(tmp_path):
    (tmp_path / "s.py").write_text(LOOP.replace("    optimizer.zero_grad()\n", ""))
    done = subprocess.run([sys.executable, "-m", "minicnn", "lint", "s.py"], cwd=tmp_path, capture_output=True,
                          text=True, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout.splitlines() == [
        "s.py:5: gradients are never set to zero, so each step is made with the sum over all batches so far; call "
        "optimizer.zero_grad() before backward() [no-zero-grad]", "1 thing to look at"]
