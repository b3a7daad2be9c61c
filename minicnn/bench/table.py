"""The tables of the command: lines of at most 100 columns, printed as they are found."""

import math
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .cases import Work
from .measure import Row

__all__ = ["NETWORK_HEADS", "KERNEL_HEADS", "Roofs", "digits", "kernel_cells", "mean_cells", "network_cells", "printer"]

Heads = Sequence[tuple[str, int]]  # of the columns, with their widths; all but the first are set to the right
NETWORK_HEADS: Heads = (("training step", 30), ("ms", 8), ("PyTorch", 9), ("ratio", 7), ("rounds", 12), ("NumPy", 7),
                        ("GFLOP/s", 9), ("peak", 6), ("MB, theirs", 12))
KERNEL_HEADS: Heads = (("kernel", 42), ("ms", 8), ("PyTorch", 9), ("ratio", 7), ("rounds", 12), ("NumPy", 7),
                       ("rate", 9), ("roof", 6))
NOTES = """ratio: PyTorch's time by ours, the median of the rounds; NumPy: the time of the plain reference by ours
peak: of what the arithmetic of the machine can do; roof: that or, where it is slower, the memory"""


@dataclass(frozen=True)
class Roofs:
    """The most that a machine can do: operations and bytes per second."""

    flops_per_second: float
    bytes_per_second: float

    def seconds(self, work: Work) -> float:
        """What the work takes at least."""
        return max(work.flops / self.flops_per_second, (work.bytes or 0) / self.bytes_per_second)

    def bound_by_memory(self, work: Work) -> bool:
        """Whether moving the operands takes longer than the arithmetic."""
        return (work.bytes or 0) / self.bytes_per_second > work.flops / self.flops_per_second


def printer(heads: Heads) -> Callable[[Sequence[str]], None]:
    """What prints a line of the table; on a terminal a ratio of 1 and more is green, a lower one red."""
    def line(cells: Sequence[str]) -> list[str]:
        first, *others = [f"{cell:>{width}}" for cell, (_, width) in zip(cells, heads, strict=True)]
        return [f"{first.strip():{heads[0][1]}}", *others]

    if not sys.stdout.isatty():
        return lambda cells: print("".join(line(cells)).rstrip(), flush=True)
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)

    def coloured(cells: Sequence[str]) -> None:
        styles = [""] * len(cells)
        for i, (title, _) in enumerate(heads):
            if title == "ratio" and cells[i].replace(".", "").isdigit():
                styles[i] = "bold green" if float(cells[i]) >= 1 else "bold red"
        console.print(Text.assemble(*zip(line(cells), styles, strict=True)), soft_wrap=True)

    return coloured


def network_cells(row: Row, roofs: Roofs) -> list[str]:
    """A line about a training step."""
    rate = row.work.flops / row.milliseconds["minicnn"] * 1e3
    megabytes = [f"{memory / 2**20:.0f}" for memory in (row.memory or {}).values()]
    return [*_times(row), f"{rate / 1e9:.0f}", f"{rate / roofs.flops_per_second:.0%}", ", ".join(megabytes)]


def kernel_cells(row: Row, roofs: Roofs) -> list[str]:
    """A line about a kernel."""
    seconds = row.milliseconds["minicnn"] / 1e3
    if roofs.bound_by_memory(row.work):
        rate = f"{(row.work.bytes or 0) / seconds / 1e9:.0f} GB/s"
    else:
        rate = f"{row.work.flops / seconds / 1e9:.0f} GF/s"
    return [*_times(row), rate, f"{roofs.seconds(row.work) / seconds:.0%}"]


def mean_cells(rows: Iterable[Row], heads: Heads) -> list[str]:
    """A line with the geometric mean of the ratios."""
    ratios = [row.ratio for row in rows if row.ratio is not None]
    cells = dict.fromkeys((title for title, _ in heads), "")
    mean = f"{statistics.geometric_mean(ratios):.2f}" if ratios else "-"
    return list((cells | {heads[0][0]: "geometric mean", "ratio": mean}).values())


def _times(row: Row) -> list[str]:
    ms = row.milliseconds
    theirs = digits(ms["torch"]) if "torch" in ms else "-"
    ratio, spread = ("-", "-") if row.ratio is None else (
        f"{row.ratio:.2f}", f"{row.ratios[0]:.2f}…{row.ratios[-1]:.2f}")
    return [row.what, digits(ms["minicnn"]), theirs, ratio, spread, f"{ms['reference'] / ms['minicnn']:.0f}×"]


def digits(ms: float) -> str:
    """A number in three digits, and whatever more is before the point."""
    return f"{ms:.{max(0, 2 - math.floor(math.log10(ms)))}f}" if ms < 1000 else f"{ms:.0f}"
