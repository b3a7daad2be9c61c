"""The commands as a user runs them: processes of their own, in a folder of their own, output and exit codes."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minicnn import data
from minicnn.__main__ import COMMANDS, MODULES

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "MINICNN_DATA"} | {"PYTHONPATH": str(ROOT)}
SMALL = ["--epochs", "2", "-b", "20", "--limit-train", "200", "--limit-val", "60"]
EPOCH = re.compile(r"epoch \d+/\d+  loss \d+\.\d{4}  acc \d+\.\d%  val_loss \d+\.\d{4}  val_acc \d+\.\d%  "
                   r"lr (\d\.\d{4}|\d\.\de-\d\d)  \d+ img/s  \d+\.\ds")


def minicnn(*arguments: object, cwd: Path, module: str = "minicnn", code: int = 0, **variables: str) -> tuple[str, str]:
    """What `python -m minicnn ...` writes to stdout and stderr; its exit code must be the one given."""
    done = subprocess.run([sys.executable, "-m", module, *map(str, arguments)], cwd=cwd,
                          env={**ENVIRONMENT, **variables}, capture_output=True, text=True, timeout=600)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of a network that reads most digits."""
    cwd = tmp_path_factory.mktemp("trained")
    minicnn("train", "lenet_bn", "--epochs", 3, "--limit-train", 1000, "--limit-val", 200, cwd=cwd)
    return cwd / "runs" / "lenet_bn-digits-1"


# -- train ----------------------------------------------------------------------------------------------------------


def test_train_in_a_pipe(tmp_path):
    out, err = minicnn("lenet", *SMALL, "--plots", "--log-interval", 5, "--save-every", 4, "-v", cwd=tmp_path,
                       module="minicnn.train")
    lines = out.splitlines()
    assert lines[0].startswith("device: c")
    assert lines[1] == "data: digits, 200 training and 60 validation images of 1×28×28 (bundled with minicnn)"
    assert "--data mnist" in lines[2]
    assert "model: lenet, 61,706 parameters" in lines
    assert "recipe: 2 epochs, batch 20, adam lr 0.01, schedule onecycle, init xavier, pixels normalize, seed 0" in lines
    assert "run: runs/lenet-digits-1" in lines
    assert "conv1   Conv2d    6×28×28" in out
    assert [bool(EPOCH.fullmatch(line)) for line in lines].count(True) == 2
    assert [line[:21] for line in lines if " step " in line] == [
        "epoch 1/2  step 5/10 ", "epoch 1/2  step 10/10", "epoch 2/2  step 5/10 ", "epoch 2/2  step 10/10"]
    assert "\x1b" not in out and "━" not in out and err == ""
    folder = tmp_path / "runs" / "lenet-digits-1"
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.safetensors", "curves.svg", "last.safetensors", "metrics.csv", "run.json", "state.json",
        "state.safetensors"]
    settings = json.loads((folder / "run.json").read_text())
    assert settings["recipe"]["batch_size"] == 20 and settings["selection"]["limit_train"] == 200
    assert settings["save_every"] == 4
    assert "next: python -m minicnn.eval runs/lenet-digits-1" in lines[-2]


def test_train_in_a_terminal(tmp_path):
    terminal, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "minicnn.train", "lenet", *SMALL], cwd=tmp_path, stdin=theirs,
                               stdout=theirs, stderr=theirs,
                               env={**ENVIRONMENT, "TERM": "xterm-256color", "COLUMNS": "120"})
    os.close(theirs)
    out = b""
    while True:
        try:
            out += os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
    os.close(terminal)
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.decode())
    assert "━" in text and "10/10" in text
    assert len(EPOCH.findall(text)) == 2


def test_quiet(tmp_path):
    out, _ = minicnn("train", "lenet", *SMALL, "-q", cwd=tmp_path)
    assert [line.split()[0] for line in out.splitlines()] == ["val_acc", "saved"]


def test_compiling_is_announced_at_once(tmp_path):
    """In a pipe too, where lines are kept back until there are many."""
    environment = {**ENVIRONMENT, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONUNBUFFERED": ""}
    process = subprocess.Popen([sys.executable, "-m", "minicnn.train", "lenet", *SMALL], cwd=tmp_path, text=True,
                               env=environment, stdout=subprocess.PIPE)
    line = next(line for line in process.stdout if line.startswith(("compiling", "epoch")))
    trained = (tmp_path / "runs" / "lenet-digits-1" / "metrics.csv").exists()
    process.kill()
    process.communicate()
    assert line.startswith(f"compiling kernels (once, cached in {tmp_path / 'cache'}") and not trained


@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(tmp_path, streams):
    command = f"{sys.executable} -m minicnn.train lenet {' '.join(SMALL)} {streams}"
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "" and ("saved in" in done.stdout) == (streams == "2>&-")
    assert len((tmp_path / "runs" / "lenet-digits-1" / "metrics.csv").read_text().splitlines()) == 3


def test_summary_with_closed_stdout(tmp_path):
    command = f"{sys.executable} -m minicnn.summary lenet >&-"
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_tensorboard(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    from minicnn.train import main

    monkeypatch.chdir(tmp_path)
    assert main(["lenet", *SMALL, "--tensorboard", "--name", "x"]) == 0
    assert [path.name[:20] for path in (tmp_path / "runs" / "x" / "tb").iterdir()] == ["events.out.tfevents."]


def test_a_folder_of_images(tmp_path):
    """What a run is called follows from the name of the folder, not from the way to it."""
    images = data.load("digits", "train")
    for i, label in enumerate(images.labels[:60]):
        folder = tmp_path / "my" / "photos" / "even" if label % 2 == 0 else tmp_path / "my" / "photos" / "odd"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images.images[i, 0]).save(folder / f"{i}.png")
    flags = "--data", "folder:my/photos", "-b", 8
    minicnn("train", "lenet", *flags, "--epochs", 1, cwd=tmp_path)
    out, _ = minicnn("train", "lenet", "--resume", "runs/lenet-photos-1", "--epochs", 2, cwd=tmp_path)
    assert "epoch 2/2" in out


def test_dry_run_keeps_nothing(tmp_path):
    out, _ = minicnn("train", "cnn2", "--dry-run", "-b", 8, "-j", 0, "--deterministic", "--device", "cpu", cwd=tmp_path)
    assert out.splitlines()[-1] == "dry run: two steps, validation, saving and reloading went well; nothing was kept"
    assert list(tmp_path.iterdir()) == []


def test_names_and_options(tmp_path):
    out, _ = minicnn("train", "lenet5", *SMALL, "--option", "activation=tanh", "--name", "mine", "-o", "a/b",
                     "--opt", "momentum", "--augment", "--sched", "cosine", "--warmup-epochs", 0.5, "--accum", 2,
                     "--wd", 0.001, "--init", "kaiming", cwd=tmp_path)
    assert ("recipe: 2 epochs, batch 20 × 2, momentum lr 0.05 momentum 0.9, schedule cosine (warm-up 0.5 epochs), "
            "init kaiming, pixels normalize, weight decay 0.001, pad 2, augment, seed 0") in out
    settings = json.loads((tmp_path / "a" / "b" / "mine" / "run.json").read_text())
    assert settings["model"]["options"] == {"activation": "tanh"}
    out, _ = minicnn("train", "--resume", "a/b/mine", "--epochs", 3, cwd=tmp_path)
    assert "resumed: 2 of 3 epochs are done" in out and "  epochs 2 -> 3" in out
    out, _ = minicnn("train", "lenet5", "-o", "a/b", "--resume", "--plots", cwd=tmp_path)
    assert "nothing to do: a/b/mine has all its 3 epochs" in out and "curves: a/b/mine/curves.svg" in out
    curves = tmp_path / "a" / "b" / "mine" / "curves.svg"
    drawn = curves.read_text()
    assert drawn.endswith("</svg>\n")
    minicnn("train", "--resume", "a/b/mine", "--epochs", 4, cwd=tmp_path)
    assert curves.read_text() != drawn  # once drawn, they are kept up to date


def test_cuda_without_a_gpu(tmp_path):
    from minicnn.backend import cuda_is_available

    if cuda_is_available():
        pytest.skip("there is a GPU")
    _, err = minicnn("train", "lenet", "--device", "cuda", cwd=tmp_path, code=1)
    assert "--device cuda cannot be used: CuPy" in err
    assert "pip install" in err or "leave --device out" in err


def test_a_reader_that_leaves(tmp_path):
    """`minicnn summary | head -1` ends without a traceback."""
    script = f"{sys.executable} -m minicnn summary | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.stdout.startswith("alexnet ") and "Traceback" not in done.stderr and "Exception" not in done.stderr


@pytest.mark.skipif("MINICNN_DATA" not in os.environ, reason="needs MNIST in $MINICNN_DATA")
def test_named_recipe_and_mnist(tmp_path):
    out, _ = minicnn("train", "--recipe", "note003", "--epochs", 1, "--limit-train", 600, "--limit-val", 100,
                     cwd=tmp_path, MINICNN_DATA=os.environ["MINICNN_DATA"])
    assert "data: mnist, 600 training and 100 validation images" in out
    assert "model: lenet_tanh, 61,706 parameters" in out
    assert "recipe: 1 epoch, batch 128, sgd lr 0.01, schedule none, init xavier, pixels raw, seed 0" in out


# -- the other commands ---------------------------------------------------------------------------------------------


def test_eval(run, tmp_path):
    out, _ = minicnn(run, cwd=tmp_path, module="minicnn.eval")
    as_json, _ = minicnn("eval", run, "--json", cwd=tmp_path)
    result = json.loads(as_json)
    best = max(json.loads(f"[{line}]")[4] for line in (run / "metrics.csv").read_text().splitlines()[1:])
    assert result["accuracy"] == best > 0.8
    assert result["images"] == 200 and np.sum(result["confusion"]) == 200
    assert np.trace(result["confusion"]) / 200 == result["accuracy"]
    assert f"accuracy {result['accuracy']:.1%}  (" in out
    row = next(line for line in out.splitlines() if line.startswith("3 "))
    assert [int(cell.replace("·", "0")) for cell in row.split()[1:-1]] == result["confusion"][3]
    assert row.split()[-1] == f"{result['recall'][3]:.1%}"
    last, _ = minicnn("eval", run / "last.safetensors", "--limit-val", 50, "--json", cwd=tmp_path)
    assert json.loads(last)["images"] == 50


def test_predict(run, tmp_path):
    """Images from files: as they are, dark on light, in colour, larger, not square."""
    images = data.load("digits", "validation")
    pick = [int(np.flatnonzero(images.labels == digit)[0]) for digit in (0, 4, 6, 7)]
    paths = []
    for digit, i in zip((0, 4, 6, 7), pick, strict=True):
        image = Image.fromarray(images.images[i, 0])
        paths.append(tmp_path / f"{digit}.png")
        image.save(paths[-1])
    paper = Image.fromarray(255 - images.images[pick[1], 0]).resize((112, 112)).convert("RGB")
    wide = Image.new("RGB", (200, 112), "white")
    wide.paste(paper, (44, 0))
    paths.append(tmp_path / "paper.jpg")
    wide.save(paths[-1])
    out, _ = minicnn(run, *paths, "--json", cwd=tmp_path, module="minicnn.predict")
    found = json.loads(out)
    assert [entry["image"] for entry in found] == [str(path) for path in paths]
    assert [entry["top"][0]["class"] for entry in found] == ["0", "4", "6", "7", "4"]
    assert all(len(entry["top"]) == 3 for entry in found)
    out, _ = minicnn("predict", run, paths[0], "--top", 10, cwd=tmp_path)
    lines = out.splitlines()
    assert lines[0] == str(paths[0]) and len(lines) == 11
    assert re.fullmatch(r"  0  █+[▏▎▍▌▋▊▉]? * \d+\.\d%", lines[1])
    shares = [float(line.split()[-1][:-1]) for line in lines[1:]]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(100, abs=0.5)


def test_predict_keeps_proportions(tmp_path):
    """A photo that is not square is read as if the paper went on above and below it, or beside it."""
    from minicnn.predict import _read

    pixels = np.random.default_rng(0).integers(0, 100, (12, 30), dtype=np.uint8)
    pixels[[0, -1]] = pixels[:, [0, -1]] = 240
    whole = np.full((30, 30), 240, np.uint8)
    whole[9:21] = pixels
    for name, image in {"wide": pixels, "tall": pixels.T, "square": whole}.items():
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    wide, tall, square = (_read(str(tmp_path / f"{name}.png"), (1, 28, 28), "auto")
                          for name in ("wide", "tall", "square"))
    assert wide.shape == (1, 28, 28)
    # 30×12 shrinks to 28×11 and the border is added then; what was square lies half a pixel from there
    assert np.corrcoef(wide.ravel(), square.ravel())[0, 1] > 0.8
    assert (wide[0, :8] == 255 - 240).all() and (wide[0, 19:] == 255 - 240).all()
    assert (wide[0, 9:18] > 100).any(1).all()
    assert abs(tall[0].astype(int) - wide[0].T).max() <= 1  # a resize rounds after each of its two passes
    assert (_read(str(tmp_path / "square.png"), (1, 30, 30), "no")[0] == whole).all()
    assert _read(str(tmp_path / "wide.png"), (3, 28, 28), "auto")[:, 0, 0].tolist() == [240] * 3


@pytest.mark.parametrize("arguments", [["eval", "nowhere"], ["predict", "nowhere", "a.png"]])
def test_no_such_run(tmp_path, arguments):
    assert "there is no run folder nowhere" in minicnn(*arguments, cwd=tmp_path, code=1)[1]


def test_no_such_image(run, tmp_path):
    (tmp_path / "letter.png").write_text("dear reader")
    assert "nothing.png: no such file" in minicnn("predict", run, "nothing.png", cwd=tmp_path, code=1)[1]
    assert "letter.png: cannot be read as an image" in minicnn("predict", run, "letter.png", cwd=tmp_path, code=1)[1]


def test_summary(tmp_path):
    out, _ = minicnn("lenet5", "--input", "3x34x34", "--classes", 7, "--option", "activation=tanh", cwd=tmp_path,
                     module="minicnn.summary")
    assert out.startswith("lenet5 on images of 3×34×34\n") and "act1    Tanh" in out and "fc3     Linear    7" in out
    out, _ = minicnn("summary", cwd=tmp_path)
    assert re.search(r"^lenet +1×28×28 +LeNet as the book teaches it", out, re.MULTILINE)
    assert "did you mean 'lenet'?" in minicnn("summary", "lenette", cwd=tmp_path, code=2)[1]
    assert "must be CxHxW" in minicnn("summary", "lenet", "--input", "28x28", cwd=tmp_path, code=2)[1]
    for option, message in (("activation=relu", "'relu' is unknown"), ("size=3", "has no option 'size'"),
                            ("activation=[1]", "must be of the type of its default")):
        assert message in minicnn("summary", "lenet5", "--option", option, cwd=tmp_path, code=2)[1]
    _, err = minicnn("summary", "lenet", "--input", "1x50x50", cwd=tmp_path, code=1)
    assert "sizes that fit: 28×28 to 31×31" in err


def test_info(tmp_path):
    out, _ = minicnn(cwd=tmp_path, module="minicnn.info")
    facts = json.loads(minicnn("info", "--json", cwd=tmp_path)[0])
    assert {"minicnn", "python", "packages", "threads", "blas", "gpu", "data cache", "kernel cache"} <= facts.keys()
    assert f"numpy {np.__version__}" in facts["packages"]
    assert [line.split("  ")[0] for line in out.splitlines() if line[0] != " "] == list(facts)
    assert " ".join(out.split()) == " ".join(f"{name} {value}" for name, value in facts.items())


def test_all_commands_together(tmp_path):
    out, _ = minicnn("--help", cwd=tmp_path)
    for command in COMMANDS:
        assert f"\n  {command} " in out
        assert f"usage: python -m minicnn {command} " in minicnn(command, "--help", cwd=tmp_path)[0]
    assert minicnn("--version", cwd=tmp_path)[0].startswith("minicnn ")
    assert minicnn("trian", cwd=tmp_path, code=2)[1] == (
        "python -m minicnn: error: there is no command trian; did you mean train?\n"
        f"  hint: commands: {', '.join(COMMANDS)}\n")
    minicnn(cwd=tmp_path, code=2)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command):
    script = (f"import sys; from minicnn.{MODULES.get(command, command)} import main\n"
              "try: main(['--help'])\nexcept SystemExit: pass\n"
              "heavy = {'numba', 'rich', 'matplotlib', 'PIL', 'safetensors', 'minicnn.training', 'minicnn.data'}\n"
              "assert not heavy & set(sys.modules), heavy & set(sys.modules)")
    subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, check=True, capture_output=True)
