"""Curves of a run as a picture, which reads as well on a dark page as on a light one."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .history import History

if TYPE_CHECKING:
    from .experiments import Outcome

__all__ = ["plot_history", "plot_outcomes"]

# The picture has no background: all colours stand out from white and from black, and for all eyes from each other.
INK, TRAIN, HELD_OUT = "#737c86", "#e57200", "#3a6ee0"
ARMS = (HELD_OUT, TRAIN, "#1d6f3b", "#9b4290")  # of an experiment
STYLE: Any = {"text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
              "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8, "axes.xmargin": 0.02,
              "axes.grid": True, "grid.color": INK, "grid.alpha": 0.2, "grid.linewidth": 0.6, "lines.linewidth": 1.8,
              "axes.titlesize": 11, "axes.titlelocation": "left", "font.size": 9.5, "savefig.transparent": True,
              "savefig.dpi": 144, "svg.hashsalt": "minicnn"}  # the salt: equal curves make equal files
LINE = 0.075  # height of a line of text, as a share of that of the axes
LOSS, ACCURACY = "loss, nats", "accuracy"


def plot_history(history: History, path: str | os.PathLike, title: str = "") -> None:
    """Draw loss and accuracy by epoch, each on axes of its own, and mark the best epoch; needs matplotlib.

    Args:
        history: of a run.
        path: where the picture goes; its ending says in what form: .svg, .png, .pdf ...
        title: what stands above it.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: there are no epochs.
    """
    from matplotlib import rc_context

    best = history.best
    if best is None:
        raise ValueError("plot_history: the history has no epochs")
    columns = (("loss", "val_loss"), ("acc", "val_acc"))
    with rc_context(STYLE):
        figure = _figure(title, LOSS, ACCURACY)
        for axes, names in zip(figure.axes, columns, strict=True):
            ends = []
            for name, label, colour in zip(names, ("training", "validation"), (TRAIN, HELD_OUT), strict=True):
                values = [getattr(row, name) for row in history.rows]
                if None not in values:
                    _line(axes, values, colour)
                    ends.append((values[-1], label, colour))
            _label(axes, len(history.rows), ends)
        colour = TRAIN if best.val_acc is None else HELD_OUT
        axes.plot([best.epoch], [best.score], "o", ms=6, color=colour)
        axes.set_title(f"best {best.score:.1%} in epoch {best.epoch}", loc="right", fontsize=9.5, color=colour)
        _save(figure, path)


def plot_outcomes(outcomes: "list[Outcome]", path: str | os.PathLike, title: str = "") -> None:
    """Draw training loss and validation accuracy of the arms of an experiment; needs matplotlib.

    Lines are means over the seeds, bands go from the smallest to the largest of them.
    """
    from matplotlib import rc_context

    with rc_context(STYLE):
        figure = _figure(title, f"training {LOSS}", f"validation {ACCURACY}")
        for axes, column in zip(figure.axes, ("loss", "val_acc"), strict=True):
            ends, epochs = [], 0
            for outcome, colour in zip(outcomes, ARMS):
                values = [[getattr(row, column) for row in rows]
                          for rows in zip(*(history.rows for history in outcome.histories))]  # (epochs, seeds)
                if values:
                    means = [sum(v) / len(v) for v in values]
                    _line(axes, means, colour)
                    axes.fill_between(range(1, len(values) + 1), list(map(min, values)), list(map(max, values)),
                                      color=colour, alpha=0.2, lw=0)
                    ends.append((means[-1], outcome.arm.label, colour))
                    epochs = max(epochs, len(values))
            if column == "loss":  # an arm that diverges must not press the others flat
                axes.set_ylim(bottom=0, top=min(axes.get_ylim()[1], 3.0))
            _label(axes, epochs, ends)
        _save(figure, path)


def _figure(title: str, left: str, right: str) -> Any:
    """Two axes side by side, the left one for losses and the right one for accuracies."""
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), (left, right), strict=True):
        axes.set_title(name)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.axes[1].yaxis.set_major_formatter(PercentFormatter(1.0))
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return figure


def _line(axes: Any, values: Sequence[float], colour: str) -> None:
    """The values of epochs 1, 2, ...; of one alone a dot."""
    axes.plot(range(1, len(values) + 1), values, color=colour, marker="o" if len(values) == 1 else "", ms=5)


def _label(axes: Any, x: int, ends: list[tuple[float, str, str]]) -> None:
    """Write its name beside the end of each line (y, name, colour), those of near ones below each other."""
    low, high = axes.get_ylim()
    gap = LINE * (high - low)
    ends = sorted(ends)
    places: list[float] = []
    for y, _, _ in ends:
        places.append(max(min(y, high), places[-1] + gap if places else low))
    ceiling = high
    for i in reversed(range(len(places))):
        places[i] = min(places[i], ceiling)
        ceiling = places[i] - gap
    for place, (_, name, colour) in zip(places, ends):
        axes.annotate(name, (x, place), (7, 0), textcoords="offset points", va="center", color=colour, weight="bold",
                      annotation_clip=False)
    axes.set_ylim(low, high)
    if x == 1:
        axes.set_xlim(0.5, 1.5)


def _save(figure: Any, path: str | os.PathLike) -> None:
    is_svg = os.fspath(path).endswith(".svg")
    figure.savefig(path, metadata={"Date": None} if is_svg else None)
