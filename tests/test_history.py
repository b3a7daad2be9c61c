"""What a run tells: lines, curves, the first compilation, figures for TensorBoard."""

import itertools
from collections import Counter
from dataclasses import replace
from typing import Any

import numba
import numpy as np
import pytest

from minicnn import training
from minicnn.training import History, Observer, Row, display, plots
from minicnn.training.compiling import announce_compiling
from minicnn.training.display import conclusion, sparkline
from training_util import ROWS, small_trainer


def test_epoch_line():
    assert Row(3, 0.0712, 0.978, 0.0605, 0.981, 0.01, 4210.2, 14.23).line(10) == \
        "epoch 3/10  loss 0.0712  acc 97.8%  val_loss 0.0605  val_acc 98.1%  lr 0.0100  4210 img/s  14.2s"
    assert Row(1, 1.0, 0.5, None, None, 4e-8, 99.6, 1.0).line(1) == \
        "epoch 1/1  loss 1.0000  acc 50.0%  lr 4.0e-08  100 img/s  1.0s"


def test_history_keeps_every_digit():
    history = History(ROWS)
    text = history.to_csv()
    assert text.splitlines()[0] == "epoch,loss,acc,val_loss,val_acc,lr,images_per_second,seconds"
    assert History.from_csv(text) == history
    assert History.from_csv(text[:-3]).rows == ROWS[:2]  # a line cut off by a kill
    alone = History([Row(1, 0.1, 0.2, None, None, 0.3, 4.0, 5.0)])
    assert History.from_csv(alone.to_csv()) == alone
    for damaged in ("", "epoch,loss\n1,2\n", text + "4,5\n", text + "a,b,c,d,e,f,g,h\n"):
        with pytest.raises(ValueError):
            History.from_csv(damaged)


def test_best_epoch_is_the_first_of_equals():
    assert History(ROWS).best is ROWS[1]
    assert History().best is None
    assert History(ROWS).history["val_accuracy"] == [0.25, 0.9, 0.9]


def test_sparkline():
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([0.3]) == "▁"
    assert conclusion(History(ROWS), ROWS[1]) == "val_acc ▁██  best 90.0% in epoch 2"
    assert conclusion(History(ROWS[:1]), ROWS[0]) == "val_acc best 25.0% in epoch 1"  # one bar says nothing
    assert len(sparkline(list(range(1000)))) == 40


def test_plot_has_no_background(tmp_path):
    """So that it suits any page: ink, and both curves, on nothing."""
    from PIL import Image

    training.plot_history(History(ROWS), tmp_path / "curves.png", "lenet on digits")
    pixels = np.asarray(Image.open(tmp_path / "curves.png")).reshape(-1, 4)
    assert len(pixels) > 200_000 and (pixels[:, 3] == 0).mean() > 0.8
    for colour in (plots.INK, plots.TRAIN, plots.HELD_OUT):
        assert (pixels == (*bytes.fromhex(colour[1:]), 255)).all(1).sum() > 100


def test_equal_curves_make_equal_files(tmp_path):
    for name in ("a.svg", "b.svg"):
        training.plot_history(History(ROWS[:1]), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def luminance(colour: str) -> float:
    """Of the web's guidelines for contrast, WCAG 2."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
                        for c in (byte / 255 for byte in bytes.fromhex(colour[1:])))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("colour", sorted({plots.INK, plots.TRAIN, plots.HELD_OUT, *plots.ARMS}))
def test_colours_stand_out_from_light_and_dark_pages(colour):
    """By 3 to 1, which lines need; text in grey by 4."""
    white, dark = luminance("#ffffff"), luminance("#0d1117")
    least = 4 if colour == plots.INK else 3
    assert (white + 0.05) / (luminance(colour) + 0.05) > least < (luminance(colour) + 0.05) / (dark + 0.05)


# Machado, Oliveira, Fernandes 2009: linear red, green and blue as they look without one kind of cones
BLINDNESS = {"protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216),
                            (-0.003882, -0.048116, 1.051998)),
             "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413),
                              (-0.011820, 0.042940, 0.968881)),
             "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602),
                            (0.004733, 0.691367, 0.303900))}


def oklab(colour: str, sight: Any) -> np.ndarray:
    """Where a colour that is seen so lies in a space of equal differences (Ottosson 2020)."""
    encoded = np.frombuffer(bytes.fromhex(colour[1:]), np.uint8) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    cones = np.array(((0.4122214708, 0.5363325363, 0.0514459929), (0.2119034982, 0.6806995451, 0.1073969566),
                      (0.0883024619, 0.2817188376, 0.6299787005))) @ np.clip(np.array(sight) @ linear, 0, 1)
    return np.array(((0.2104542553, 0.7936177850, -0.0040720468), (1.9779984951, -2.4285922050, 0.4505937099),
                     (0.0259040371, 0.7827717662, -0.8086757660))) @ np.cbrt(cones)


@pytest.mark.parametrize("sight", [np.eye(3), *BLINDNESS.values()], ids=["all cones", *BLINDNESS])
def test_curves_differ_for_all_eyes(sight):
    for one, other in itertools.combinations(plots.ARMS, 2):
        assert np.linalg.norm(oklab(one, sight) - oklab(other, sight)) > 0.1, (one, other)


def test_a_long_epoch_says_where_it_stands(monkeypatch, capsys):
    """A line after half a minute without one; with an interval of steps that alone counts; a bar moves anyway."""
    now = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])

    class Slow(display.Lines):
        def step(self, progress):
            now[0] += 12.5  # seconds a step
            super().step(progress)

    for interval, expected in ((0, [3, 6, 3, 6]), (7, [7, 7])):
        trainer = small_trainer(epochs=2, batch_size=8)  # 8 steps
        trainer.observer = Slow(interval)
        trainer.run()
        lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
        assert [line[1] for line in lines if line[1].startswith("step")] == [f"step {n}/8" for n in expected]
        assert len(lines) == 2 + len(expected) and not any("nan" in word for line in lines for word in line)
    assert not display.LiveBar().is_silent()


def test_compiling_is_announced_whatever_is_compiled():
    """A function that Python calls, and a C function, as the jobs of the kernels are."""
    for compiler in (numba.njit("float64(float64)"), numba.cfunc("float64(float64)")):
        lines = []
        with announce_compiling(lines.append):
            compiler(lambda x: x + 1)
            compiler(lambda x: x + 2)
        assert len(lines) == 1 and lines[0].startswith("compiling kernels (once, cached in ")
    assert len(lines) == 1


class Witness(Observer):
    """Counts what it is told."""

    def __init__(self) -> None:
        self.told = Counter()

    def begin(self, trainer) -> None:
        self.told["begin"] += 1

    def step(self, progress) -> None:
        self.told["step"] += 1

    def epoch(self, row) -> None:
        self.told["epoch"] += 1

    def end(self) -> None:
        self.told["end"] += 1


def test_figures_for_tensorboard(tmp_path):
    """Of a run, and of its continuation."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    from minicnn.training.tensorboard import TensorBoard

    trainer, witness = small_trainer(sched="none"), Witness()
    for epochs in (2, 3):
        trainer.recipe = replace(trainer.recipe, epochs=epochs)
        trainer.observer = TensorBoard(tmp_path / f"until-{epochs}", witness)
        trainer.run()
    assert witness.told == {"begin": 2, "step": 12, "epoch": 3, "end": 2}
    found, started = {}, []
    for path in sorted(tmp_path.glob("until-*/*")):
        content = path.read_bytes()
        while content:
            length = int.from_bytes(content[:8], "little")  # then its checksum, the event and that of the event
            event = event_pb2.Event.FromString(content[12:12 + length])
            content = content[16 + length:]
            found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
            started += [event.step] * (event.session_log.status == event.session_log.START)
    assert started == [1, 3]  # TensorBoard forgets later steps of earlier files
    for row in trainer.history.rows:
        assert found["loss/training", row.epoch] == pytest.approx(row.loss)
        assert found["accuracy/validation", row.epoch] == pytest.approx(row.val_acc)
    assert len(found) == 3 * 6
