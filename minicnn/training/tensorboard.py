"""Figures of a run as TensorBoard reads them."""

from pathlib import Path

from .history import Row
from .preflight import Finding
from .trainer import Observer, Progress, Trainer

__all__ = ["TensorBoard"]


class TensorBoard(Observer):
    """Writes the figures of every epoch into a folder, and passes on what it is told; needs tensorboardX."""

    def __init__(self, folder: Path, shown: Observer) -> None:
        self.folder, self.shown = folder, shown

    def begin(self, trainer: Trainer) -> None:
        from tensorboardX import SummaryWriter

        # where a run goes on, what an interrupted one wrote about the same epochs is to be forgotten
        self.writer = SummaryWriter(str(self.folder), purge_step=trainer.progress.epoch)
        self.shown.begin(trainer)

    def warn(self, finding: Finding) -> None:
        self.shown.warn(finding)

    def step(self, progress: Progress) -> None:
        self.shown.step(progress)

    def epoch(self, row: Row) -> None:
        figures = {"loss/training": row.loss, "loss/validation": row.val_loss, "accuracy/training": row.acc,
                   "accuracy/validation": row.val_acc, "learning rate": row.lr,
                   "images per second": row.images_per_second}
        for name, value in figures.items():
            if value is not None:
                self.writer.add_scalar(name, value, row.epoch)
        self.writer.flush()
        self.shown.epoch(row)

    def end(self) -> None:
        self.writer.close()
        self.shown.end()
