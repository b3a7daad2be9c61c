"""What the train command says when something is wrong: a line that says what, and one that says what to do."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from test_commands import ENVIRONMENT, SMALL, minicnn

from minicnn.__main__ import main
from minicnn.cli import report

HELP = "python -m minicnn train --help explains all flags"


def error_and_hint(said: str) -> tuple[str, str]:
    message, hint = said.splitlines()
    start, indented = "python -m minicnn train: error: ", "  hint: "
    assert message.startswith(start) and hint.startswith(indented)
    return message.removeprefix(start), hint.removeprefix(indented)


def errors(*arguments: object, cwd: Path, code: int, **variables: str) -> tuple[str, str]:
    """What `python -m minicnn train ...` says on stderr: the error and the hint."""
    return error_and_hint(minicnn("train", *arguments, cwd=cwd, code=code, **variables)[1])


@pytest.fixture
def usage_errors(tmp_path, monkeypatch, capsys):
    """The same of wrong usage, in this process, which is a hundred times as fast."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["__main__.py"])

    def say(*arguments: str) -> tuple[str, str]:
        assert main(["train", *arguments]) == 2
        return error_and_hint(capsys.readouterr().err)

    return say


@pytest.mark.parametrize("arguments, message, hint", [
    ([], "which network? For example: python -m minicnn train lenet", "python -m minicnn summary lists all"),
    (["lenett"], "model 'lenett' is unknown; did you mean 'lenet'? models: alexnet, ", "summary lists all networks"),
    (["lenet", "--data", "mnits"], "--data: data set 'mnits' is unknown; did you mean 'mnist'? data sets:", HELP),
    (["lenet", "--device", "tpu"], "device 'tpu' is unknown", HELP),
    (["lenet", "--opt", "sgdm"], "opt = 'sgdm' must be one of sgd, momentum, adam, adamw", HELP),
    (["lenet", "--init", "zeros"], "init = 'zeros' must be one of default, xavier, kaiming", HELP),
    (["lenet", "--momentum", "0.9"], "momentum belongs to opt momentum; adam has none", HELP),
    (["lenet", "--lr", "-1"], "lr = -1.0 must be a positive number", HELP),
    (["lenet", "--lr", "fast"], "argument --lr: invalid float value: 'fast'", HELP),
    (["lenet", "--epochs", "0"], "argument --epochs: 0 must be at least 1", HELP),
    (["lenet", "--workers", "4"], "argument -j/--workers: invalid choice: 4", HELP),
    (["lenet", "--amp", "float8"], "amp = 'float8' must be one of none, float16, bfloat16", HELP),
    (["lenet", "--recipe", "note003"], "recipe 'note003' is for lenet_tanh, not for lenet", HELP),
    (["lenet", "--threads", "4096"], "--threads 4096", HELP),
    (["seq2seq", "--resize", "10"], "resize = 10 is for images; sums are texts", HELP),
    (["--resume", "x", "--name", "y"], "--name is for new runs and cannot go with --resume", HELP),
    (["lenet", "--epoch", "3"], "unrecognized arguments: --epoch 3; did you mean --epochs?", HELP),
    (["lenet", "--batchsize=4"], "unrecognized arguments: --batchsize=4; did you mean --batch-size?", HELP),
    (["lenet", "cnn2"], "unrecognized arguments: cnn2", HELP),
    (["lenet", "--resume", "x", "--dry-run"], "--dry-run is for new runs", HELP),
    (["lenet", "--option", "tanh"], "argument --option: tanh must be NAME=VALUE", HELP),
    (["lenet", "--option", "activation=tanh"],
     "model 'lenet' has no option 'activation'; its options: width=1.0", HELP),
    (["lenet5", "--option", "activation=relu"], "activation 'relu' is unknown; use 'sigmoid' or 'tanh'", HELP),
    (["lenet5", "--dry-run", "--option", "activation=relu"], "activation 'relu' is unknown", HELP),
    (["lenet5", "--option", "activation=[1]"],
     "option activation = [1] must be of the type of its default, str 'sigmoid'", HELP),
    (["cnn2", "--option", "softmax=1"], "option softmax = 1 must be of the type of its default, bool False", HELP),
    (["cnn2", "--option", "softmax={[1]: 2}"], "option softmax = '{[1]: 2}' must be of the type", HELP),
    *[(["lenet", "--name", name], f"argument --name: {name!r} must be the name of a folder, not a path", HELP)
      for name in ("../../x", "a/b", "/tmp", "..", ".", "")]])
def test_wrong_usage(tmp_path, usage_errors, arguments, message, hint):
    found = usage_errors(*arguments)
    assert message in found[0] and hint in found[1]
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_installed_is_named(tmp_path):
    """As in a checkout that nobody has installed."""
    script = "import sys; sys.modules['safetensors'] = None; from minicnn import train; sys.exit(train.main(['lenet']))"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == (
        "python -m minicnn.train: error: safetensors is not installed\n"
        "  hint: minicnn needs it; in the checkout: pip install .\n")


@pytest.mark.parametrize("arguments, message, hint", [
    (["lenet", "--data", "mnist", "--offline", "--data-dir", "."], "MNIST", "download"),
    (["lenet", "--resume", "nowhere"], "there is no run folder nowhere", "prints the folder of a run"),
    (["lenet", "--resume", "file"], "file is a file, not a run folder", "prints the folder of a run"),
    (["lenet", "--resume", "."], ". is not a run folder: it has no run.json", "prints the folder of a run"),
    (["lenet5", "--resize", "20"], "sizes that fit: 32×32 to 35×35", "--resize N brings all images to N×N"),
    (["lenet", "--resume"], "there is no run of lenet in runs to resume", "--out DIR looks in another folder"),
    (["lenet", "-o", "file"], "file is a file, so no run folder can be made in it", "--out DIR chooses another place"),
    (["lenet", "-o", "/dev/null/runs"], "cannot make a run folder in /dev/null/runs: Not a directory", "--out DIR"),
    (["lenet", "--opt", "sgd", "--lr", "1e39", *SMALL], "the first that is not finite is the output of",
     "a smaller --lr (it was 1e+39) or --clip-grad 1: python -m minicnn train lenet --resume runs/lenet-digits-1")])
def test_failures(tmp_path, arguments, message, hint):
    (tmp_path / "file").write_text("")
    found = errors(*arguments, cwd=tmp_path, code=1, XDG_CACHE_HOME=str(tmp_path))
    assert message in found[0] and hint in found[1]


def test_a_loss_that_is_finite_and_absurd(tmp_path):
    _, err = minicnn("train", "lenet", "--opt", "sgd", "--lr", "1e20", *SMALL, cwd=tmp_path, code=1)
    grown, _, message, hint = err.splitlines()
    assert re.fullmatch(r"warning: the loss has grown from \d\.\d{4} to \d\.\d{4}e\+\d\d: .* \[diverging\]", grown)
    assert re.fullmatch(r".*: training diverged: the loss has become \d\.\d{4}e\+2\d", message)
    assert hint == "  hint: train again with a smaller --lr (it was 1e+20) or --clip-grad 1"


@pytest.mark.skipif(find_spec("tensorboardX") is not None, reason="tensorboardX is installed")
def test_tensorboard_is_not_installed(tmp_path):
    assert errors("lenet", "--tensorboard", cwd=tmp_path, code=1) == (
        "--tensorboard needs tensorboardX, which is not installed", "in the checkout: pip install '.[tensorboard]'")


def test_deterministic_is_refused_on_a_gpu(tmp_path, monkeypatch, capsys):
    from minicnn import backend, train

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(backend, "why_not", lambda device: None)  # there is one, for all that is known
    assert train.main(["lenet", "--device", "cuda", "--deterministic"]) == 1
    assert capsys.readouterr().err == (
        "python -m minicnn.train: error: --deterministic cannot be promised on cuda:0\n"
        "  hint: --device cpu gives the same bits every time; or leave --deterministic out\n")
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_is_never_overwritten(tmp_path):
    (tmp_path / "runs" / "photos").mkdir(parents=True)
    assert errors("lenet", *SMALL, "--name", "photos", cwd=tmp_path, code=1) == (
        "runs/photos exists and is not a run of minicnn; it is left as it is", "choose another --name")
    assert list((tmp_path / "runs" / "photos").iterdir()) == []
    minicnn("train", "lenet", *SMALL, "--name", "mine", cwd=tmp_path)
    before = (tmp_path / "runs" / "mine" / "last.safetensors").read_bytes()
    assert errors("lenet", *SMALL, "--name", "mine", cwd=tmp_path, code=1) == (
        "runs/mine is a run already", "--resume continues it, another --name starts a new one")
    assert (tmp_path / "runs" / "mine" / "last.safetensors").read_bytes() == before


def test_a_damaged_image_leaves_no_run(tmp_path, capsys, monkeypatch):
    from minicnn import train

    image = pytest.importorskip("PIL.Image").effect_noise((28, 28), 90)
    monkeypatch.chdir(tmp_path)
    for i in range(12):
        path = tmp_path / "pets" / ("train", "val")[i // 8] / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    path.write_bytes(b"of the validation images, which are read when the run has its folder")
    assert train.main(["lenet", "--data", "folder:pets", "--device", "cpu", "-q"]) == 1
    assert ".png: cannot be read as an image" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".png"] == []


# -- damaged runs ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    cwd = tmp_path_factory.mktemp("trained")
    minicnn("train", "lenet", *SMALL, "--name", "x", cwd=cwd)
    return cwd


@pytest.mark.parametrize("name, change", [
    *[("run.json", lambda content, key=key: content.pop(key))
      for key in ("model", "recipe", "selection", "data", "device", "resumed")],
    ("run.json", lambda content: content.update(model="lenet")), ("run.json", lambda content: content["model"].clear()),
    ("run.json", lambda content: content["recipe"].update(lr="0.1")),
    ("run.json", lambda content: content["recipe"].update(epochs=None)),
    *[("state.json", lambda content, key=key: content.pop(key))
      for key in ("progress", "opt", "optimizer", "generator", "files")],
    ("state.json", lambda content: content["progress"].update(epoch="3")),
    ("state.json", lambda content: content.update(optimizer=[1])),
    ("state.json", lambda content: content.update(files=7))])
def test_json_with_other_content_is_damage(trained, name, change, monkeypatch, capsys):
    """The command runs in this process, since there are so many cases."""
    from minicnn.train import main

    monkeypatch.chdir(trained)
    path = trained / "runs" / "x" / name
    before = path.read_bytes()
    content = json.loads(before)
    change(content)
    path.write_text(json.dumps(content))
    try:
        assert main(["lenet", "--resume", "runs/x", "--epochs", "3"]) == 1
    finally:
        path.write_bytes(before)
    assert capsys.readouterr().err.splitlines() == [
        f"python -m minicnn.train: error: runs/x/{name} is damaged: it is not what minicnn wrote",
        "  hint: put the file back from a copy, or start a new run"]


def test_a_damaged_run_does_not_block_the_others(trained, tmp_path):
    for name in ("good", "damaged"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        for path in (trained / "runs" / "x").iterdir():
            (tmp_path / "runs" / name / path.name).write_bytes(path.read_bytes())
    (tmp_path / "runs" / "damaged" / "run.json").write_text('{"format": 1}')
    out, err = minicnn("train", "lenet", "--resume", "--epochs", 3, cwd=tmp_path)
    assert "run: runs/good" in out
    assert err == "left out: runs/damaged/run.json is damaged: it is not what minicnn wrote\n"


def test_debug_shows_the_traceback(tmp_path):
    done = subprocess.run([sys.executable, "-m", "minicnn.train", "--resume", "nowhere", "--debug"], cwd=tmp_path,
                          env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" in done.stderr
    assert done.stderr.splitlines()[-2].endswith("there is no run folder nowhere")


def test_a_full_disk_behind_stdout(tmp_path):
    done = subprocess.run(f"{sys.executable} -m minicnn.summary > /dev/full", shell=True, cwd=tmp_path, env=ENVIRONMENT,
                          capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "python -m minicnn.summary: error: No space left on device"
    assert len(done.stderr.splitlines()) == 2


# -- settings from a file -------------------------------------------------------------------------------------------


def test_settings_from_a_file(tmp_path):
    """All kinds of values; the command line wins, whatever its order."""
    (tmp_path / "a.toml").write_text("""
        model = "lenet5"
        epochs = 5
        batch-size = 20
        limit-train = 60
        limit-val = 20
        lr = 1e-3
        augment = true
        offline = false
        quiet = true
        opt = "adamw"
        option.activation = "tanh"
    """)
    run_json = tmp_path / "runs" / "a" / "run.json"
    minicnn("train", "--epochs", 1, "--config", "a.toml", "--name", "a", "--lr", 0.5, cwd=tmp_path)
    settings = json.loads(run_json.read_text())
    recipe = settings["recipe"]
    assert settings["model"]["name"] == "lenet5" and settings["model"]["options"] == {"activation": "tanh"}
    assert (recipe["epochs"], recipe["batch_size"], recipe["lr"], recipe["opt"]) == (1, 20, 0.5, "adamw")
    assert recipe["augment"] is True and settings["selection"]["limit_train"] == 60
    (tmp_path / "a.toml").write_text('model = "lenet5"\nepochs = 5\nquiet = true\naugment = true\nresume = true')
    out, _ = minicnn("train", "--config", "a.toml", "--no-quiet", "--no-augment", cwd=tmp_path)
    assert out.count("  epochs 1 -> 5\n") == out.count("  augment True -> False\n") == 1 and "epoch 5/5" in out


@pytest.mark.parametrize("text, message", [
    ("batch_size = 3", "a.toml: there is no flag batch_size; did you mean batch-size?"),
    ("zzz = 3", "a.toml: there is no flag zzz"),
    ('config = "b.toml"', "a.toml: there is no flag config"),
    ('epochs = "x"', "a.toml: argument --epochs: invalid whole number value: 'x'"),
    ("epochs = 2.5", "a.toml: argument --epochs: invalid whole number value: '2.5'"),
    ("epochs = true", "a.toml: argument --epochs: expected one argument"),
    ("epochs = [1]", "a.toml: epochs = [1] must be a number, a text, true or false"),
    ("augment = 1", "a.toml: argument --augment/--no-augment: ignored explicit argument '1'"),
    ('name = "../x"', "a.toml: argument --name: '../x' must be the name of a folder, not a path"),
    ("lr = nan", "recipe: lr = nan must be a positive number"),
    ("epochs = \nlr = 1", "--config a.toml is not TOML: Invalid value (at line 1, column 10)")])
def test_wrong_settings_in_a_file(tmp_path, usage_errors, text, message):
    (tmp_path / "a.toml").write_text(text)
    assert usage_errors("lenet", "--config", "a.toml")[0].startswith(message)


def test_no_such_file_of_settings(tmp_path):
    assert errors("lenet", "--config", "a.toml", cwd=tmp_path, code=2)[0] == (
        "--config a.toml cannot be read: No such file or directory")


@pytest.mark.parametrize("error, message", [(MemoryError("no 298 GiB"), ": no 298 GiB"), (MemoryError(), "")])
def test_what_does_not_fit_into_memory(error, message, capsys):
    report("train", error)
    assert capsys.readouterr().err == (f"train: error: out of memory{message}\n"
                                       "  hint: ask for less: smaller batches or images, a narrower network\n")
