"""Weights and states in files: written whole or not at all, and read again or refused."""

import json
import subprocess
import sys

import numpy as np
import pytest

import minicnn as mc
from minicnn import models, nn, training
from minicnn.interop import safetensors
from minicnn.training import RunError, RunFolder, checkpoint
from training_util import small_trainer, weights_of


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
