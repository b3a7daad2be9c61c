"""The tables of the command, printed as they are found: with all columns in 100, with the most important in a terminal
that has fewer."""

import math
import shutil
import statistics
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .cases import Work
from .measure import Row

__all__ = ["ABOVE", "NETWORK_HEADS", "KERNEL_HEADS", "Roofs", "digits", "fill", "kernel_cells", "mean_cells",
           "network_cells", "notes", "printer"]

Heads = Sequence[tuple[str, int]]  # of the columns, with their widths; all but the first are set to the right
NETWORK_HEADS: Heads = (("training step", 30), ("ms", 7), ("PyTorch", 8), ("ratio", 7), ("rounds", 12), ("NumPy", 7),
                        ("GFLOP/s", 9), ("peak", 6), ("MB, theirs", 12))
KERNEL_HEADS: Heads = (("kernel", 40), ("ms", 7), ("PyTorch", 8), ("ratio", 7), ("rounds", 12), ("NumPy", 7),
                       ("rate", 9), ("roof", 6))
LEAST = ("NumPy", "GFLOP/s", "rate", "peak", "MB, theirs", "roof", "rounds")  # what to do without, from the first on
ABOVE = "above the roof is what computes less than is counted (Winograd's convolution), or finds operands in a cache"
NOTES = {"ratio": "PyTorch's time by ours, the median of the rounds",
         "NumPy": "the time of the plain reference by ours",
         "peak": "of what the arithmetic of the machine can do",
         "roof": "of what the arithmetic of the machine can do or, where that is slower, its memory; "
                 + ABOVE.replace("the roof", "100%")}


def _columns() -> int:
    return min(100, shutil.get_terminal_size().columns) if sys.stdout.isatty() else 100


def fill(text: str) -> str:
    """The text in lines for which there is room, broken between words."""
    return textwrap.fill(text, _columns(), subsequent_indent="  ", break_on_hyphens=False)


def _with_room(heads: Heads) -> Heads:
    """The columns but for the least ones, if there is no room for all."""
    kept = dict(heads)
    for title in LEAST:
        if sum(kept.values()) > _columns():
            kept.pop(title, None)
    return tuple(kept.items())


def notes(heads: Heads) -> str:
    """What the columns mean, and which ones are left out."""
    shown = dict(_with_room(heads))
    missing = ", ".join(title for title, _ in heads if title not in shown)
    about = "; ".join(f"{title}: {note}" for title, note in NOTES.items() if title in shown)
    return fill(about + (f"; the terminal is too narrow for {missing}" if missing else ""))


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


def printer(heads: Heads, coloured: bool = True) -> Callable[[Sequence[str]], None]:
    """What prints a line of the table; on a terminal, if wanted, a ratio of 1 and more is green, a lower one red."""
    first, *others = _with_room(heads)

    def line(cells: Sequence[str]) -> dict[str, str]:
        texts = {title: cell for (title, _), cell in zip(heads, cells, strict=True)}
        return {first[0]: f"{texts[first[0]]:{first[1]}}"} | {title: f"{texts[title]:>{w}}" for title, w in others}

    if not (coloured and sys.stdout.isatty()):
        return lambda cells: print("".join(line(cells).values()).rstrip(), flush=True)
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)

    def style(title: str, cell: str) -> str:
        if title != "ratio" or not cell.strip().replace(".", "").isdigit():
            return ""
        return "bold green" if float(cell) >= 1 else "bold red"

    def show(cells: Sequence[str]) -> None:
        parts = [(cell, style(title, cell)) for title, cell in line(cells).items()]
        console.print(Text.assemble(*parts), soft_wrap=True)

    return show


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
