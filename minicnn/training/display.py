"""What a run shows: a line per epoch, and in a terminal a bar that moves with every step."""

import sys
import time
from typing import TYPE_CHECKING

from ..data.sequences import SequenceDataset
from .history import History, Row, figure
from .preflight import Finding
from .trainer import Observer, Progress, Trainer

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

__all__ = ["Lines", "LiveBar", "display", "sparkline"]

BLOCKS = "▁▂▃▄▅▆▇█"
SILENCE = 30.0  # seconds without a line, after which one says where a long epoch stands


class Lines(Observer):
    """Prints every epoch, and where it stands every ``interval`` steps, or if that is 0 after SILENCE seconds."""

    def __init__(self, interval: int = 0) -> None:
        self.interval = interval

    def begin(self, trainer: Trainer) -> None:
        self.trainer, self.printed = trainer, time.monotonic()

    def warn(self, finding: Finding) -> None:
        print(f"warning: {finding}", file=sys.stderr, flush=True)

    def step(self, progress: Progress) -> None:
        steps, step = self.trainer.steps_per_epoch, self.trainer.step_in_epoch
        due = step % self.interval == 0 if self.interval else self.is_silent()
        if due:
            self.write(f"epoch {progress.epoch}/{self.trainer.recipe.epochs}  step {step}/{steps}  {_so_far(progress)}")

    def is_silent(self) -> bool:
        """Whether nothing has been printed for so long that one wonders."""
        return time.monotonic() - self.printed >= SILENCE

    def epoch(self, row: Row) -> None:
        noun = "text" if isinstance(self.trainer.train.dataset, SequenceDataset) else "img"
        self.write(row.line(self.trainer.recipe.epochs, noun), best=self.trainer.history.best is row)

    def write(self, line: str, best: bool = False) -> None:
        """Print a line; ``best`` marks an epoch better than all before."""
        print(line, flush=True)
        self.printed = time.monotonic()


class LiveBar(Lines):
    """The same lines above a bar, for a terminal."""

    def begin(self, trainer: Trainer) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        super().begin(trainer)
        self.console = Console(file=sys.stdout, highlight=False)
        self.bar: Bar = Progress(TextColumn("{task.description}"),
                                 BarColumn(bar_width=24, complete_style="cyan", finished_style="cyan"),
                                 TextColumn("{task.completed}/{task.total}  [dim]{task.fields[figures]}"),
                                 TimeRemainingColumn(compact=True), console=self.console, transient=True)
        self.task = self.bar.add_task("", total=trainer.steps_per_epoch, figures="")
        self.bar.start()
        self._show(trainer.progress)

    def warn(self, finding: Finding) -> None:
        self.write(f"warning: {finding}")

    def step(self, progress: Progress) -> None:
        super().step(progress)
        self._show(progress)

    def epoch(self, row: Row) -> None:
        super().epoch(row)
        if row.epoch < self.trainer.recipe.epochs:
            self.bar.reset(self.task)
            self._show(self.trainer.progress)

    def is_silent(self) -> bool:
        return False  # the bar moves

    def end(self) -> None:
        self.bar.stop()

    def write(self, line: str, best: bool = False) -> None:
        from rich.text import Text

        self.console.print(Text(line, style="bold" if best else ""), soft_wrap=True)

    def _show(self, progress: Progress) -> None:
        self.bar.update(self.task, description=f"epoch {progress.epoch}/{self.trainer.recipe.epochs}",
                        completed=self.trainer.step_in_epoch, figures=_so_far(progress))


def _so_far(progress: Progress) -> str:
    if not progress.images:
        return ""
    return f"loss {figure(progress.loss / progress.images)}  acc {progress.correct / progress.images:.1%}"


def display(quiet: bool = False, interval: int = 0) -> Observer:
    """What suits stdout: a bar for a terminal, lines for anything else, nothing if it is closed or quiet is wanted."""
    if quiet or sys.stdout is None:
        return Observer()
    return (LiveBar if sys.stdout.isatty() else Lines)(interval)


def sparkline(values: list[float], width: int = 40) -> str:
    """Numbers as a row of blocks, the smallest at the bottom; at most ``width`` of them, evenly chosen."""
    if len(values) > width:
        values = [values[round(i * (len(values) - 1) / (width - 1))] for i in range(width)]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(BLOCKS[min(len(BLOCKS) - 1, int((v - low) / span * len(BLOCKS)))] for v in values)


def conclusion(history: History, best: Row) -> str:
    """A run in a line: how its score moved, and its best epoch."""
    name = "acc" if best.val_acc is None else "val_acc"
    curve = sparkline([row.score for row in history.rows]) + "  " if len(history.rows) > 1 else ""
    return f"{name} {curve}best {best.score:.1%} in epoch {best.epoch}"
