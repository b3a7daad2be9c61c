"""What a run recorded: one row per epoch."""

import csv
import io
from dataclasses import asdict, dataclass, field, fields
from typing import Any

__all__ = ["History", "Row"]


@dataclass(frozen=True)
class Row:
    """One epoch. Accuracies are fractions; the training figures are means over the epoch, while the weights moved."""

    epoch: int
    loss: float
    acc: float
    val_loss: float | None
    val_acc: float | None
    lr: float
    images_per_second: float
    seconds: float

    def line(self, epochs: int, noun: str = "img") -> str:
        """The epoch in one line that a program can read; ``noun`` is what there were so many of in a second."""
        parts = [f"epoch {self.epoch}/{epochs}", f"loss {figure(self.loss)}", f"acc {self.acc:.1%}"]
        if self.val_loss is not None:
            parts += [f"val_loss {figure(self.val_loss)}", f"val_acc {self.val_acc:.1%}"]
        lr = figure(self.lr) if self.lr >= 1e-3 else f"{self.lr:.1e}"
        return "  ".join([*parts, f"lr {lr}", f"{self.images_per_second:.0f} {noun}/s", f"{self.seconds:.1f}s"])

    @property
    def score(self) -> float:
        """What the best epoch has most of: the accuracy on held-out images, on the training images without any."""
        return self.acc if self.val_acc is None else self.val_acc


def figure(value: float) -> str:
    """A loss or rate with four decimals, a huge one as a power of ten."""
    return f"{value:.4f}" if value < 1e5 else f"{value:.4e}"


COLUMNS = [f.name for f in fields(Row)]
DIVERGED = 1000.0


@dataclass
class History:
    """All epochs of a run, as ``rows`` and as the dictionary of lists ``history``."""

    rows: list[Row] = field(default_factory=list)

    @property
    def history(self) -> dict[str, list[float]]:
        """Lists by quantity, one number per epoch: loss, accuracy and, with held-out images, val_loss, val_accuracy."""
        names = {"loss": "loss", "accuracy": "acc", "val_loss": "val_loss", "val_accuracy": "val_acc"}
        return {name: [getattr(row, column) for row in self.rows] for name, column in names.items()
                if all(getattr(row, column) is not None for row in self.rows)}

    @property
    def diverged(self) -> bool:
        """Whether the weights at the end are nonsense, though finite: a mean loss of DIVERGED, after the last epoch.

        It means that the right classes get a probability of e^-1000. Networks that are sure and wrong have losses of
        tens, and untrained ones on raw pixels of hundreds.
        """
        last = self.rows[-1] if self.rows else None
        return last is not None and (last.loss if last.val_loss is None else last.val_loss) > DIVERGED

    @property
    def best(self) -> Row | None:
        """The epoch with the best score, the first one among equals; None before the first epoch."""
        return max(self.rows, key=lambda row: row.score, default=None)

    def to_csv(self) -> str:
        """A header and one line per epoch; numbers are written so that they are read back exactly."""
        return csv_line(COLUMNS) + "".join(map(row_to_csv, self.rows))

    @classmethod
    def from_csv(cls, text: str) -> "History":
        """What ``to_csv`` wrote; a last line that was cut off is left out. Raises ValueError for anything else."""
        complete = text[: text.rfind("\n") + 1]
        lines = list(csv.reader(io.StringIO(complete)))
        if not lines or lines[0] != COLUMNS:
            raise ValueError(f"the first line must be {','.join(COLUMNS)}")
        return cls([_row(values) for values in lines[1:]])


def row_to_csv(row: Row) -> str:
    """One row as a line of the file."""
    return csv_line(["" if value is None else value for value in asdict(row).values()])


def csv_line(values: list[Any]) -> str:
    """One line of a CSV file."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(values)
    return out.getvalue()


def _row(values: list[str]) -> Row:
    if len(values) != len(COLUMNS):
        raise ValueError(f"a line has {len(values)} values instead of {len(COLUMNS)}: {','.join(values)}")
    epoch, *numbers = values
    floats: list[Any] = [float(v) if v else None for v in numbers]
    return Row(int(epoch), *floats)
