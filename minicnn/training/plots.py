"""Curves of a run as a picture."""

import os
from typing import TYPE_CHECKING

from .history import History

if TYPE_CHECKING:
    from .experiments import Outcome

__all__ = ["plot_history", "plot_outcomes"]

TRAIN, HELD_OUT = "#9aa5b1", "#1f6feb"
ARMS = ("#1f6feb", "#d9480f", "#2b8a3e", "#862e9c")  # of an experiment


def plot_history(history: History, path: str | os.PathLike, title: str = "") -> None:
    """Draw loss and accuracy by epoch, each on axes of its own, and mark the best epoch; needs matplotlib.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: there are no epochs.
    """
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    best = history.best
    if best is None:
        raise ValueError("plot_history: the history has no epochs")
    epochs = [row.epoch for row in history.rows]
    figure = Figure(figsize=(9, 3.6), layout="constrained", dpi=144)
    curves = (("loss", "loss", "val_loss"), ("accuracy", "acc", "val_acc"))
    for axes, (name, train, held_out) in zip(figure.subplots(1, 2), curves, strict=True):
        axes.plot(epochs, [getattr(row, train) for row in history.rows], color=TRAIN, lw=1.6, label="training")
        values = [getattr(row, held_out) for row in history.rows]
        if None not in values:
            axes.plot(epochs, values, color=HELD_OUT, lw=1.6, label="validation")
        axes.set_xlabel("epoch")
        axes.set_title(name, loc="left", fontsize=11)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25, lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.02)
    accuracy = figure.axes[1]
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    accuracy.plot([best.epoch], [best.score], "o", ms=5, color=HELD_OUT if best.val_acc is not None else TRAIN)
    accuracy.set_title(f"best {best.score:.1%} in epoch {best.epoch}", loc="right", fontsize=9, color="#57606a")
    accuracy.legend(frameon=False, loc="lower right")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    figure.savefig(path)


def plot_outcomes(outcomes: "list[Outcome]", path: str | os.PathLike, title: str = "") -> None:
    """Draw training loss and validation accuracy of the arms of an experiment; needs matplotlib.

    Lines are means over the seeds, bands go from the smallest to the largest of them.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(9, 4), layout="constrained", dpi=144)
    curves = (("training loss", "loss"), ("validation accuracy", "val_acc"))
    for axes, (name, column) in zip(figure.subplots(1, 2), curves, strict=True):
        for outcome, colour in zip(outcomes, ARMS):
            values = [[getattr(row, column) for row in rows]
                      for rows in zip(*(history.rows for history in outcome.histories))]  # (epochs, seeds)
            epochs = range(1, len(values) + 1)
            axes.plot(epochs, [sum(v) / len(v) for v in values], color=colour, lw=1.6, label=outcome.arm.label)
            axes.fill_between(epochs, list(map(min, values)), list(map(max, values)), color=colour, alpha=0.15, lw=0)
        axes.set_xlabel("epoch")
        axes.set_title(name, loc="left", fontsize=11)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25, lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.02)
    loss, accuracy = figure.axes
    loss.set_ylim(bottom=0, top=min(loss.get_ylim()[1], 3.0))  # an arm that diverges must not press the others flat
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    accuracy.legend(frameon=False, loc="lower right")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.savefig(path)
