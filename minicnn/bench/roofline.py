"""The roofline plot: how fast each kernel runs, over how much it computes with each byte that it has to move.

Left of the corner the memory is the roof, right of it the arithmetic. Williams, Waterman, Patterson: Roofline, 2009.
"""

import os
from collections.abc import Sequence
from typing import Any

from .measure import Row
from .table import ABOVE, Roofs

__all__ = ["plot_roofline"]

Box = tuple[float, float, float, float]  # left, bottom, right, top, in points
OURS, THEIRS, ROOF = "#1f6feb", "#9aa5b1", "#24292f"


def plot_roofline(rows: Sequence[Row], roofs: Roofs, path: str | os.PathLike, title: str = "") -> None:
    """Draw the kernels of the rows, and where PyTorch is, below the roofs of the machine; needs matplotlib.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: there are no kernels among the rows, or the name of the file ends with nothing that can be drawn.
    """
    from matplotlib.figure import Figure

    kernels = [row for row in rows if row.work.bytes]
    if not kernels:
        raise ValueError("plot_roofline: there are no kernels among the cases; networks are not drawn")
    figure = Figure(figsize=(11, 6.4), layout="constrained", dpi=144)
    axes = figure.subplots()
    peak, bandwidth = roofs.flops_per_second / 1e9, roofs.bytes_per_second / 1e9
    intensities = [row.work.flops / (row.work.bytes or 1) for row in kernels]
    corner = peak / bandwidth
    low, high = min([*intensities, corner]) / 2, max([*intensities, corner]) * 2.5
    axes.plot([low, corner, high], [low * bandwidth, peak, peak], color=ROOF, lw=1.6)
    axes.annotate(f"{peak:.0f} GFLOP/s", (corner, peak), (4, 5), textcoords="offset points", color=ROOF)
    slope = (low * corner**3) ** 0.25  # where on a logarithmic axis a quarter of it is left
    axes.annotate(f"{bandwidth:.0f} GB/s", (slope, slope * bandwidth), (-6, 6), textcoords="offset points", ha="right",
                  color=ROOF)
    points = {}
    for row, x in zip(kernels, intensities, strict=True):
        y = {library: row.work.flops / ms / 1e6 for library, ms in row.milliseconds.items()}
        if "torch" in y:
            axes.plot([x, x], [y["torch"], y["minicnn"]], color=THEIRS, lw=0.8, zorder=1)
            axes.plot(x, y["torch"], "o", ms=4, mfc="white", mec=THEIRS, zorder=2)
        axes.plot(x, y["minicnn"], "o", ms=5, color=OURS, zorder=3)
        points[row.case] = x, y["minicnn"]
    axes.plot([], [], "o", ms=5, color=OURS, label="minicnn")
    if any("torch" in row.milliseconds for row in kernels):
        axes.plot([], [], "o", ms=4, mfc="white", mec=THEIRS, label="PyTorch")
    axes.set(xscale="log", yscale="log", xlim=(low, high), xlabel="operations per byte that has to be moved",
             ylabel="GFLOP/s")
    axes.grid(alpha=0.25, lw=0.6, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.supxlabel(ABOVE, fontsize=8, color=ROOF)
    axes.set_title(title, loc="left", fontsize=11)
    figure.draw_without_rendering()  # gives the axes their place
    _label(axes, points)
    figure.savefig(path)


def _label(axes: Any, points: dict[str, tuple[float, float]]) -> None:
    """Write names beside points, each in the first place around its point where no other name or point is."""
    scale = 72 / axes.figure.dpi
    places = {name: axes.transData.transform(point) * scale for name, point in points.items()}
    taken = [(x - 3, y - 3, x + 3, y + 3) for x, y in places.values()]
    for name, (x, y) in sorted(places.items(), key=lambda item: -item[1][1]):
        width = 4.1 * len(name)
        around = [(dx, 8 * k) for k in (0, 1, -1, 2, -2, 3, -3, 4, -4) for dx in (5, -width - 5)]
        boxes = {(dx, dy): (x + dx, y + dy - 4, x + dx + width, y + dy + 4) for dx, dy in around}
        free = [place for place, box in boxes.items() if not any(_overlap(box, other) for other in taken)]
        place = free[0] if free else around[0]
        taken.append(boxes[place])
        axes.annotate(name, points[name], place, textcoords="offset points", fontsize=7, color=OURS, va="center")


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
