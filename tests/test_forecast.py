"""What a run will cost is said before it, and asked about where it takes hours; looking changes nothing."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minicnn as mc
from minicnn import backend, nn
from minicnn.backend import default_generator
from minicnn.data import DataLoader
from minicnn.training import recipe_for, session
from minicnn.training.forecast import Forecast, duration, forecast
from minicnn.training.pace import Pace
from minicnn.training.session import Selection
from minicnn.training.trainer import Trainer

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(mc.__file__).parents[1]), "TERM": "dumb"}
TINY = ["--limit-train", "40", "--limit-val", "20", "--device", "cpu"]


def begun(tmp_path, model: str = "lenet_bn", **changes):
    recipe = recipe_for(model, **{"batch_size": 10, "epochs": 4, **changes})
    return session.start(model, recipe, Selection(limit_train=40, limit_val=20), out=str(tmp_path))


@pytest.mark.parametrize("model", ["lenet_bn", "cnn2", "seq2seq"])
def test_nothing_is_changed_by_looking(tmp_path, model):
    trainer = begun(tmp_path, model).trainer
    before = {name: t.data.copy() for name, t in trainer.model.state_dict().items()}
    state = default_generator.state_dict()
    cost = forecast(trainer)
    assert all((before[name] == t.data).all() for name, t in trainer.model.state_dict().items())
    assert default_generator.state_dict() == state and trainer.model.training and not trainer.optimizer.steps
    assert all(p.grad is None for p in trainer.parameters) and trainer.progress.images == 0
    assert 0 < cost.epoch and cost.seconds == pytest.approx(4 * cost.epoch)
    assert not cost.long


def test_memory_counts_weights_and_what_is_kept_for_backward(tmp_path):
    numbers = 61_706  # of weights
    sgd, adam = (forecast(begun(tmp_path / opt, "lenet", opt=opt, pixels="unit").trainer).memory
                 for opt in ("sgd", "adam"))
    assert adam - sgd == 2 * 4 * numbers
    wide = forecast(begun(tmp_path / "wide", "lenet", opt="sgd", pixels="unit", batch_size=20).trainer).memory
    kept = sgd - 2 * 4 * numbers
    assert wide - 2 * 4 * numbers == pytest.approx(2 * kept, rel=0.01)
    assert kept > 10 * 4 * (28 * 28 + 6 * 28 * 28)  # the images, and the first maps


def test_slow_steps_are_worked_out_from_a_few_images(tmp_path, monkeypatch):
    """Where a step takes 3 s and one more for each image, nobody waits for a batch of 40 to learn that it takes 43."""
    clock, sizes, learn = [0.0], [], Trainer.learn

    def slow(self, x, y, share=1.0):
        sizes.append(len(y))
        clock[0] += 3.0 + len(y)
        return learn(self, x, y, share)

    monkeypatch.setattr(Trainer, "learn", slow)
    monkeypatch.setattr("minicnn.training.forecast.time.perf_counter", lambda: clock[0])
    assert forecast(begun(tmp_path, batch_size=40).trainer).epoch == pytest.approx(43.0)
    assert sizes == [8, 8, 16, 16]
    assert forecast(begun(tmp_path / "small", batch_size=2).trainer).epoch == pytest.approx(20 * 5.0)  # timed as it is


def test_what_compiles_or_is_disturbed_is_not_counted(tmp_path, monkeypatch):
    """A batch of a new size may need kernels of its own; a call in three meets a busy machine."""
    now, seen = [0.0], []
    monkeypatch.setattr("minicnn.training.forecast.time.perf_counter", lambda: now[0])
    trainer = begun(tmp_path, batch_size=30).trainer  # of 30 + 10 images, and 20 to validate

    def pass_time(model: nn.Module, inputs: tuple[mc.Tensor]) -> None:
        case = model.training, len(inputs[0])
        now[0] += 1000.0 if case not in seen else 5.0 if len(seen) % 3 == 0 else len(inputs[0]) / 100
        seen.append(case)

    trainer.model.register_forward_pre_hook(pass_time)
    assert forecast(trainer).epoch == pytest.approx(2 * 0.3 + 0.2)


def test_waiting_for_batches_counts(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("minicnn.training.forecast.time.perf_counter", lambda: now[0])
    trainer = begun(tmp_path).trainer
    epoch = DataLoader.epoch

    def slow(self, *args, **kwargs):
        for batch in epoch(self, *args, **kwargs):
            now[0] += 0.25
            yield batch

    monkeypatch.setattr(DataLoader, "epoch", slow)
    trainer.model.register_forward_pre_hook(lambda model, inputs: now.__setitem__(0, now[0] + 0.5 * model.training))
    assert forecast(trainer).epoch == pytest.approx(4 * 0.75)  # that of validation is not waited for


def test_on_a_busy_machine_one_thread_counts_where_it_is_faster(tmp_path, monkeypatch):
    now, threads = [0.0], [2]
    monkeypatch.setattr(backend, "get_num_threads", lambda: 2)
    monkeypatch.setattr(backend, "set_num_threads", lambda n: threads.__setitem__(0, n))
    monkeypatch.setattr("minicnn.training.forecast.Pace", lambda: Pace(clock=lambda: now[0]))
    monkeypatch.setattr("minicnn.training.forecast.time.perf_counter", lambda: now[0])
    def pass_time(model: nn.Module, inputs: tuple[mc.Tensor]) -> None:
        now[0] += 0.1 if threads[0] == 1 else 0.4

    trainer = begun(tmp_path, batch_size=10).trainer  # of 4 + 2 batches
    trainer.model.register_forward_pre_hook(pass_time)
    assert forecast(trainer).epoch == pytest.approx(6 * 0.1) and threads == [2]


@pytest.mark.parametrize("accum", [1, 3])
def test_an_epoch_of_one_batch(tmp_path, monkeypatch, accum):
    """Its only step is the first one, which takes longer than those of the epochs after it."""
    now, steps = [0.0], []
    monkeypatch.setattr("minicnn.training.forecast.time.perf_counter", lambda: now[0])
    trainer = begun(tmp_path, batch_size=40, accum=accum).trainer

    def pass_time(model: nn.Module, inputs: tuple[mc.Tensor]) -> None:
        if model.training and len(inputs[0]) == 40:
            steps.append(len(steps))
            now[0] += 5.0 if len(steps) == 1 else 1.0

    trainer.model.register_forward_pre_hook(pass_time)
    cost = forecast(trainer)
    assert (cost.epoch, steps) == (pytest.approx(1.0), [0, 1, 2])


def test_what_is_done_costs_nothing_more(tmp_path):
    trainer = begun(tmp_path).trainer
    trainer.progress.epoch, trainer.progress.batch = 3, 2  # of 4
    cost = forecast(trainer)
    assert cost.seconds == pytest.approx(1.5 * cost.epoch)


def test_in_words():
    assert str(Forecast(5 * 2**20, 42.4, 6360.0)) == "42 s per epoch, 1.8 h in all; 5.0MiB of memory"
    assert [duration(s) for s in (0.04, 9.96, 89, 91, 5000, 360000)] == ["0.0 s", "10.0 s", "89 s", "1.5 min", "83 min",
                                                                        "100 h"]
    assert Forecast(0, 1, 3600).long and not Forecast(0, 1, 3599).long


# -- the command ----------------------------------------------------------------------------------------------------

LONG = """
import sys
from minicnn.training import forecast
forecast.LONG = 0.0
from minicnn.train import main
sys.exit(main(sys.argv[1:]))
"""


def at_a_terminal(cwd: Path, answer: str, *flags: str) -> tuple[int, str]:
    """Train for what counts as long, and type an answer if there is a question."""
    terminal, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", LONG, "lenet", "--epochs", "1", *TINY, *flags], cwd=cwd,
                               stdin=theirs, stdout=theirs, stderr=theirs, env=ENVIRONMENT)
    os.close(theirs)
    os.write(terminal, f"{answer}\n".encode())
    text = b""
    try:
        while part := os.read(terminal, 4096):
            text += part
    except OSError:  # it was closed
        pass
    return process.wait(), text.decode()


def test_a_long_run_is_asked_about(tmp_path):
    code, text = at_a_terminal(tmp_path, "n")
    assert code == 1 and "train for so long? [y/N]" in text and "not trained; fewer --epochs" in text
    assert list((tmp_path / "runs").iterdir()) == []
    code, text = at_a_terminal(tmp_path, "y")
    assert code == 0 and "train for so long?" in text and "epoch 1/1" in text


def test_a_long_run_is_not_asked_about_with_yes_or_in_a_pipe(tmp_path):
    code, text = at_a_terminal(tmp_path, "", "--yes")
    assert code == 0 and "forecast: " in text and "train for so long?" not in text
    done = subprocess.run([sys.executable, "-c", LONG, "lenet", "--epochs", "1", *TINY], cwd=tmp_path,
                          env=ENVIRONMENT, text=True, capture_output=True, stdin=subprocess.DEVNULL, check=True)
    assert "forecast: " in done.stdout and "train for so long?" not in done.stdout
    settings = json.loads((tmp_path / "runs" / "lenet-digits-2" / "run.json").read_text())
    assert settings["recipe"]["epochs"] == 1 and np.isfinite(settings["recipe"]["lr"])
