"""Going on after an interruption: the end is the same to the last bit, wherever and however often a run was stopped."""

import itertools
import os
import pty
import random
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import minicnn as mc
from minicnn import data, models
from minicnn.training import Interrupted, RunError, RunFolder, SaveError, Trainer, loaders, recipe_for, session
from minicnn.training.run_folder import LAST
from minicnn.training.session import Selection

ROOT = Path(__file__).parents[1]
# 9 steps an epoch, the last on 20 images; checkpoints everywhere
SMALL = ["--epochs", "4", "-b", "20", "--limit-train", "180", "--limit-val", "50", "--save-every", "1"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def train(*flags: str, cwd: Path, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "minicnn.train", *flags], cwd=cwd, env=ENVIRONMENT, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def finish(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return out


def result_of(folder: Path) -> dict[str, bytes]:
    """What must be equal to the last bit: weights, optimiser and all figures but times."""
    names = "last.safetensors", "best.safetensors", "state.safetensors"
    files = {name: (folder / name).read_bytes() for name in names}
    figures = [line.split(",")[:6] for line in (folder / "metrics.csv").read_text().splitlines()]
    return files | {"metrics": repr(figures).encode()}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> dict[str, bytes]:
    cwd = tmp_path_factory.mktemp("whole")
    finish(train("lenet", *SMALL, cwd=cwd))
    return result_of(cwd / "runs" / "lenet-digits-1")


def wait_for(condition, process: subprocess.Popen) -> None:
    while not condition() and process.poll() is None:
        time.sleep(0.002)


# -- in one process -------------------------------------------------------------------------------------------------


def small_trainer(folder: RunFolder | None, model: str, **changes) -> Trainer:
    recipe = recipe_for(model, "digits", **{"epochs": 3, "batch_size": 12, "augment": True, **changes})
    mc.manual_seed(recipe.seed)
    net = models.create(model)
    models.initialise(net, recipe.init)
    train, val = data.load("digits", "train").head(60), data.load("digits", "validation").head(20)
    return Trainer(net, recipe, *loaders(recipe, train, val), folder=folder, save_every=1)


class Stop(Exception):
    pass


@pytest.mark.parametrize("model, changes", [
    ("lenet_bn", {"opt": "momentum", "accum": 2, "sched": "cosine", "warmup_epochs": 0.5}),  # running statistics
    ("lenet_bn", {"opt": "adamw", "weight_decay": 0.01, "clip_grad": 0.1, "sched": "step"}),
    ("lenet_tanh", {"opt": "sgd", "sched": "none", "dtype": "float64"}),
    ("cnn2", {"epochs": 2, "batch_size": 30})])  # dropout, Adam and its cycled momentum
def test_stopped_after_every_step(tmp_path, model, changes):
    whole = small_trainer(None, model, **changes)
    whole.model.to(whole.recipe.dtype)
    whole.run()
    folder = RunFolder.create(tmp_path, "x")
    trainer = small_trainer(folder, model, **changes)
    trainer.model.to(trainer.recipe.dtype)
    trainer._save(LAST)
    stops = 0

    def stop(progress):
        nonlocal stops
        stops += 1
        if stops % 2:  # after a step, and after two
            trainer._save(LAST)
            raise Stop

    for _ in range(2 * whole.optimizer.steps):
        trainer = small_trainer(folder, model, **changes)
        trainer.model.to(trainer.recipe.dtype)
        trainer.restore()
        trainer.observer.step = stop
        try:
            trainer.run()
            break
        except Stop:
            pass
    else:
        pytest.fail("the run does not get on: it was stopped and resumed twice as often as it has steps")
    assert stops == whole.optimizer.steps
    for name, tensor in whole.model.state_dict().items():
        assert trainer.model.state_dict()[name].data.tobytes() == tensor.data.tobytes(), name
    for row, again in zip(whole.history.rows, trainer.history.rows, strict=True):
        assert row == replace(again, images_per_second=row.images_per_second, seconds=row.seconds)


def begin(tmp_path, model: str = "lenet", **changes) -> session.Session:
    recipe = recipe_for(model, "digits", **{"epochs": 2, "batch_size": 20, **changes})
    return session.start(model, recipe, Selection(limit_train=60, limit_val=20), out=str(tmp_path))


def test_changes_are_listed_and_used(tmp_path):
    begin(tmp_path).trainer.run()
    again = session.resume(RunFolder(tmp_path / "lenet-digits-1"), "lenet",
                           {"lr": 0.25, "epochs": 3, "batch_size": 20, "clip_grad": 2.0})
    assert again.changes == ["epochs 2 -> 3", "lr 0.01 -> 0.25", "clip_grad None -> 2.0"]
    assert again.settings["recipe"]["lr"] == again.trainer.recipe.lr == 0.25
    assert again.trainer.optimizer.param_groups[0]["max_lr"] == 0.25
    again.trainer.run()
    assert len(again.trainer.history.rows) == 3
    settings = RunFolder(tmp_path / "lenet-digits-1").settings()
    assert settings["recipe"]["lr"] == 0.25
    assert settings["resumed"][0]["changes"] == again.changes and settings["resumed"][0]["epoch"] == 3


def test_the_optimisers_state_goes_on_unless_it_is_another(tmp_path):
    first = begin(tmp_path).trainer
    first.run()
    folder = RunFolder(tmp_path / "lenet-digits-1")
    again = session.resume(folder, changes={"epochs": 4, "lr": 0.5}).trainer
    again.folder.unlock()
    for p, q in zip(first.parameters, again.parameters, strict=True):
        assert (first.optimizer.state[p]["exp_avg"].data == again.optimizer.state[q]["exp_avg"].data).all()
        assert again.optimizer.state[q]["step"] == 6
    changed = session.resume(folder, changes={"epochs": 4, "opt": "momentum"})
    assert "opt adam -> momentum" in changed.changes and "lr 0.01 -> 0.05" in changed.changes
    assert not changed.trainer.optimizer.state


@pytest.mark.parametrize("changes, message", [
    ({"data": "mnist"}, "was begun with data digits, which cannot change to mnist$"),
    ({"dtype": "float64"}, "was begun with dtype float32, which cannot change"),
    ({"batch_size": 10}, "stopped inside epoch 1, and batch_size can change only between epochs"),
    ({"batch_size": 60, "epochs": 1}, "stopped inside epoch 1, and batch_size can change only between epochs"),
    ({"accum": 2}, "accum can change only between epochs"), ({"seed": 3}, "seed can change only between epochs"),
    ({"augment": True}, "augment can change only between epochs"),
    ({"limit_train": 40}, "limit_train can change only between epochs")])
def test_impossible_changes(tmp_path, changes, message):
    trainer = begin(tmp_path).trainer
    stop_after(trainer, 2)
    settings = (tmp_path / "lenet-digits-1" / "run.json").read_bytes()
    with pytest.raises(RunError, match=message) as error:  # which keeps alive what it met
        session.resume(RunFolder(tmp_path / "lenet-digits-1"), changes=changes)
    session.resume(RunFolder(tmp_path / "lenet-digits-1"))
    assert error and (tmp_path / "lenet-digits-1" / "run.json").read_bytes() == settings


def stop_after(trainer: Trainer, steps: int) -> None:
    def stop(progress):
        if progress.batch == steps:
            trainer._save(LAST)
            raise Stop

    trainer.observer.step = stop
    with pytest.raises(Stop):
        trainer.run()


def test_a_folder_whose_images_have_changed(tmp_path):
    image = pytest.importorskip("PIL.Image").effect_noise((28, 28), 90)
    for kind, i in itertools.product("abc", range(10)):
        (tmp_path / "pics" / kind).mkdir(parents=True, exist_ok=True)
        image.rotate(90 * i).save(tmp_path / "pics" / kind / f"{i}.png")
    recipe = recipe_for("lenet", f"folder:{tmp_path}/pics", epochs=1, batch_size=8)
    session.start("lenet", recipe, Selection(), out=str(tmp_path), name="run").trainer.run()
    run = RunFolder(tmp_path / "run")
    settings = run.settings()
    assert session.resume(run).changes == []
    image.save(tmp_path / "pics" / "a" / "more.png")
    with pytest.raises(RunError, match=r"is not as it was when .*run was begun: there were 2. training and . validation"
                       r" images, check sum of their names \w{8}; now 2. training and . validation") as error:
        session.resume(run)
    assert error.value.hint == "put back what was there, or start a new run"
    (tmp_path / "pics" / "a" / "more.png").unlink()
    for count, fits in ((settings["data"]["train"], True), (settings["data"]["train"] + 1, False)):  # of older runs
        known = {key: value for key, value in settings["data"].items() if key != "files"}
        run.write_settings(settings | {"data": known | {"train": count}})
        with nullcontext() if fits else pytest.raises(RunError, match=f"{count} training images, as an older"):
            session.resume(run)
    run.write_settings(settings)
    for path in (tmp_path / "pics").rglob("*.png"):
        image.point(lambda level: level // 2).save(path)
    with pytest.raises(RunError, match="there are other images in its files"):
        session.resume(run)


def test_between_epochs_the_batches_may_change(tmp_path):
    begin(tmp_path, epochs=1).trainer.run()
    again = session.resume(RunFolder(tmp_path / "lenet-digits-1"), changes={"epochs": 2, "batch_size": 10, "seed": 5})
    assert again.trainer.steps_per_epoch == again.trainer.optimizer.steps == 6
    again.trainer.run()
    assert np.isfinite(again.trainer.history.rows[1].loss)


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(tmp_path):
    whole = begin(tmp_path / "a").trainer
    whole.run()
    begin(tmp_path / "b")  # has written run.json, and nothing more
    mc.manual_seed(99)
    again = session.resume(RunFolder(tmp_path / "b" / "lenet-digits-1")).trainer
    again.run()
    for p, q in zip(whole.parameters, again.parameters, strict=True):
        assert (p.data == q.data).all()


def test_fewer_epochs_than_were_done_are_an_error(tmp_path):
    stop_after_epoch = begin(tmp_path, epochs=4).trainer
    stop_after_epoch.observer.epoch = lambda row: (_ for _ in ()).throw(Stop) if row.epoch == 3 else None
    with pytest.raises(Stop):
        stop_after_epoch.run()
    with pytest.raises(RunError, match="is in epoch [34] already.*--epochs 1 is less than it has done"):
        session.resume(RunFolder(tmp_path / "lenet-digits-1"), changes={"epochs": 1})


def test_a_run_begun_with_a_last_batch_of_one_goes_on_with_it(tmp_path):
    """As runs of older versions may have been, where batch norm could take it."""
    recipe = recipe_for("resnet20", "digits", epochs=1, batch_size=6, width=0.25)
    first = session.start("resnet20", recipe, Selection(limit_train=13, limit_val=4), out=str(tmp_path), name="run")
    run, settings = RunFolder(tmp_path / "run"), first.settings
    first.folder.unlock()
    assert len(first.trainer.train) == len(session.resume(run).trainer.train) == 2
    run.write_settings({key: value for key, value in settings.items() if key != "drop_one"})
    assert len(session.resume(run).trainer.train) == 3


def test_another_model_is_an_error(tmp_path):
    begin(tmp_path)
    with pytest.raises(RunError, match="is a run of lenet, not of cnn2"):
        session.resume(RunFolder(tmp_path / "lenet-digits-1"), "cnn2")


def test_a_row_of_an_epoch_that_is_done_again_is_removed(tmp_path):
    """A kill between the line in metrics.csv and the checkpoint."""
    trainer = begin(tmp_path).trainer
    save, calls = trainer._save, []

    def killed_at_the_second_epoch(name: str) -> None:
        calls.append(name)
        if len(calls) == 3:
            raise Stop
        save(name)

    trainer._save = killed_at_the_second_epoch
    with pytest.raises(Stop):
        trainer.run()
    metrics = tmp_path / "lenet-digits-1" / "metrics.csv"
    assert len(metrics.read_text().splitlines()) == 3
    again = session.resume(RunFolder(tmp_path / "lenet-digits-1"))
    assert len(metrics.read_text().splitlines()) == 2
    again.trainer.run()
    assert [line.split(",")[0] for line in metrics.read_text().splitlines()] == ["epoch", "1", "2"]


def test_a_signal_during_validation_does_not_wait_for_its_end(tmp_path, monkeypatch):
    """The epoch goes on with its validation, as if nothing had been; on thousands of images that takes a while."""
    whole = begin(tmp_path / "whole", batch_size=10).trainer
    whole.run()
    trainer = begin(tmp_path, batch_size=10).trainer
    batches, asked = trainer.val.epoch, []

    def signalled(epoch):
        for batch in batches(epoch):
            asked.append(batch)
            if len(asked) == 3:  # the first of two in the second epoch
                signal.raise_signal(signal.SIGTERM)
            yield batch

    monkeypatch.setattr(trainer.val, "epoch", signalled)
    with pytest.raises(Interrupted, match="SIGTERM"):
        trainer.run()
    assert len(asked) == 3
    again = session.resume(RunFolder(tmp_path / "lenet-digits-1"))
    assert (again.trainer.progress.epoch, again.trainer.step_in_epoch, again.trainer.steps_per_epoch) == (2, 6, 6)
    again.trainer.run()
    assert result_of(tmp_path / "lenet-digits-1") == result_of(tmp_path / "whole" / "lenet-digits-1")


def test_a_full_disk_in_the_middle_of_a_run(tmp_path, monkeypatch):
    whole = begin(tmp_path / "whole").trainer
    whole.run()
    trainer = begin(tmp_path).trainer
    synced, fsync = [], os.fsync

    def full(descriptor) -> None:
        synced.append(descriptor)
        if len(synced) > 12:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(SaveError, match="No space left on device"):
            trainer.run()
    again = session.resume(RunFolder(tmp_path / "lenet-digits-1"))
    again.trainer.run()
    assert result_of(tmp_path / "lenet-digits-1") == result_of(tmp_path / "whole" / "lenet-digits-1")


# -- in processes of their own, with real signals --------------------------------------------------------------------


def test_kill_9_at_random_moments(tmp_path, uninterrupted):
    """Killed after a few more checkpoints each time, somewhere between two of them or while one is written."""
    chance = random.Random(1)
    folder = tmp_path / "runs" / "lenet-digits-1"
    process = train("lenet", *SMALL, cwd=tmp_path)
    kills = 0
    for _ in range(100):
        wait_for((folder / "state.json").exists, process)
        changes, before = chance.randint(5, 10), None
        while process.poll() is None and changes:
            now = (folder / "state.json").stat().st_mtime_ns
            changes -= now != before
            before = now
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.02))
        if process.poll() is not None:
            break
        process.kill()
        process.communicate()
        kills += 1
        process = train("lenet", "--resume", cwd=tmp_path)
    else:
        pytest.fail("the run does not get on: 36 steps, and more than a hundred times it was killed and resumed")
    finish(process)
    assert kills >= 3
    assert result_of(folder) == uninterrupted


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, uninterrupted, number, code):
    folder = tmp_path / "runs" / "lenet-digits-1"
    process = train("lenet", *SMALL, cwd=tmp_path)
    wait_for((folder / "metrics.csv").exists, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=600)
    assert process.returncode == code, err
    assert (folder / "interrupt.safetensors").exists()
    message = rf"stopped by {number.name}; the state is saved, to go on:\n  python -m (minicnn.train .*)\n"
    command = re.search(message, out)[1]
    assert command == "minicnn.train lenet --resume runs/lenet-digits-1"
    again = finish(train(*command.split()[1:], cwd=tmp_path))
    assert re.search(r"resumed: 1 of 4 epochs are done, step \d", again)
    assert result_of(folder) == uninterrupted
    assert not (folder / "interrupt.safetensors").exists()


def test_a_terminal_that_is_closed(tmp_path, uninterrupted):
    """The system sends SIGHUP; what the run says goes nowhere, and its state is saved all the same."""
    folder = tmp_path / "runs" / "lenet-digits-1"
    terminal, theirs = pty.openpty()
    script = ("import fcntl, sys, termios; from minicnn.train import main\n"
              "fcntl.ioctl(0, termios.TIOCSCTTY, 0); sys.exit(main(sys.argv[1:]))")
    process = subprocess.Popen([sys.executable, "-c", script, "lenet", *SMALL, "--log-interval", "1"], cwd=tmp_path,
                               env={**ENVIRONMENT, "TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs,
                               start_new_session=True)
    os.close(theirs)
    while not (folder / "metrics.csv").exists():
        os.read(terminal, 1 << 16)
    os.close(terminal)
    assert process.wait() == 129
    assert (folder / "interrupt.safetensors").exists()
    finish(train("lenet", "--resume", cwd=tmp_path))
    assert result_of(folder) == uninterrupted


def test_nohup(tmp_path, uninterrupted):
    """A signal that is ignored from outside stays ignored."""
    folder = tmp_path / "runs" / "lenet-digits-1"
    process = train("lenet", *SMALL, cwd=tmp_path, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    wait_for((folder / "metrics.csv").exists, process)
    process.send_signal(signal.SIGHUP)
    finish(process)
    assert result_of(folder) == uninterrupted


def test_a_run_is_not_resumed_while_it_runs(tmp_path, uninterrupted):
    folder = tmp_path / "runs" / "lenet-digits-1"
    process = train("lenet", *SMALL, cwd=tmp_path)
    wait_for((folder / "state.json").exists, process)
    process.send_signal(signal.SIGSTOP)
    try:
        for flags in (["--resume"], [*SMALL, "--name", folder.name]):
            other = train("lenet", *flags, cwd=tmp_path)
            assert "runs/lenet-digits-1 is in use: a run is being trained in it\n  hint: " in other.communicate()[1]
            assert other.returncode == 1
    finally:
        process.send_signal(signal.SIGCONT)
    finish(process)
    assert result_of(folder) == uninterrupted


def test_a_resumption_that_diverges_leaves_no_trace(tmp_path):
    """Neither in the weights nor in the settings; the error says how to go on."""
    finish(train("lenet", *SMALL, "--opt", "sgd", "--out", "my runs", cwd=tmp_path))
    folder = tmp_path / "my runs" / "lenet-digits-1"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    process = train("lenet", "--out", "my runs", "--resume", "--lr", "1e39", "--epochs", "8", "--save-every", "1000",
                    cwd=tmp_path)
    message, hint = process.communicate()[1].splitlines()
    assert process.returncode == 1
    assert re.search(r" in epoch 5, step \d; the first that is not finite is ", message)
    command = re.search(r"a smaller --lr \(it was 1e\+39\) or --clip-grad 1: python -m (minicnn.train .*)", hint)[1]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    again = finish(train(*shlex.split(command)[1:], "--epochs", "5", cwd=tmp_path))
    assert "lr 0.1," in again and "resumed: 4 of 5 epochs are done\n  epochs 4 -> 5\n" in again


@pytest.mark.parametrize("second, code", [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, -signal.SIGINT),
                                          (signal.SIGHUP, 0)])
def test_a_second_signal_kills(second, code):
    """But not SIGHUP: a terminal that is closed sends it, and then its shell again."""
    script = (f"import os, signal\nfrom minicnn.training.signals import StopRequest\n"
              f"with StopRequest() as stop:\n    os.kill(os.getpid(), signal.SIGHUP)\n    assert stop.received == 1\n"
              f"    os.kill(os.getpid(), {second:d})\n    assert stop.received == 1 and {second:d} == 1")
    done = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == code
    assert done.stderr.strip() == "stopping after this batch; once more to stop at once"


def test_handlers_are_given_back():
    before = signal.getsignal(signal.SIGINT)
    from minicnn.training.signals import StopRequest

    with StopRequest():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
    with StopRequest(active=False):
        assert signal.getsignal(signal.SIGINT) == before


def test_a_limit_on_files_is_one_line(tmp_path, uninterrupted):
    """A disk that takes no file of more than 400 kB, so that Adam's state does not fit; then one that does."""
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    process = train("lenet", *SMALL, cwd=tmp_path, preexec_fn=limit)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 1
    assert err.splitlines() == [
        "python -m minicnn.train: error: cannot write runs/lenet-digits-1/state.safetensors.next: File too large",
        "  hint: what was saved before is intact; make room, then: "
        "python -m minicnn.train lenet --resume runs/lenet-digits-1"]
    finish(train("lenet", "--resume", cwd=tmp_path))
    assert result_of(tmp_path / "runs" / "lenet-digits-1") == uninterrupted
