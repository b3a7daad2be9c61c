"""A layer on small numbers as matrices in a terminal: the same equations as on the page."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...backend import Geometry
from ...kernels.reference import col2im, im2col
from .layer import LayerRun

Named = tuple[str, np.ndarray]
WIDEST = 10_000  # columns of text
Equation = list[Named | str]  # matrices, with operators between them


def equations(run: LayerRun) -> list[Equation]:
    """What a layer computed, forward and backward, as equations of matrices."""
    return EQUATIONS[run.operation](run)


def _conv2d(run: LayerRun) -> list[Equation]:
    a, geometry = run.arrays, Geometry(**run.settings)
    x, w, y, gy = a["x"], a["w"], a["y"], a["gy"]
    g, kernel, pixels = geometry.groups, w.shape[2:], int(np.prod(y.shape[2:]))
    found: list[Equation] = [[*_planes("x", x[0])]]
    cols = im2col(x, kernel, geometry).reshape(g, -1, pixels)                           # (G, C/G·KH·KW, OH·OW)
    matrix, out, gout = w.reshape(g, len(w) // g, -1), y.reshape(g, -1, pixels), gy.reshape(g, -1, pixels)
    b = a["b"].reshape(g, -1, 1) if "b" in a else np.zeros((g, len(w) // g, 1))
    gcols = matrix.swapaxes(1, 2) @ gout                                                # (G, C/G·KH·KW, OH·OW)
    for k in range(g):
        group = f" (group {k})" if g > 1 else ""
        found += [[(f"y{group}", out[k]), "=", ("W", matrix[k]), "·", ("cols", cols[k]), "+", ("b", b[k])],
                  [(f"gw{group}", gout[k] @ cols[k].T), "=", ("gy", gout[k]), "·", ("colsᵀ", cols[k].T)],
                  [(f"gcols{group}", gcols[k]), "=", ("Wᵀ", matrix[k].T), "·", ("gy", gout[k])]]
    counts = col2im(np.ones((1, cols.shape[1] * g, pixels)), x.shape, kernel, geometry)
    return [*found, ["col2im →", *_planes("gx", a["gx"][0]), ("windows per pixel", counts[0, 0])]]


def _max_pool2d(run: LayerRun) -> list[Equation]:
    a = {name: array[0] for name, array in run.arrays.items()}
    won = np.zeros_like(a["x"])
    for plane, places in zip(won.reshape(len(won), -1), a["index"].reshape(len(won), -1)):
        np.add.at(plane, places, 1)
    return [[*_planes("x", a["x"]), "→", *_planes("y", a["y"]), *_planes("winner, h·W + v", a["index"])],
            [*_planes("gy", a["gy"]), "→", *_planes("gx", a["gx"]), *_planes("windows won", won)]]


def _avg_pool2d(run: LayerRun) -> list[Equation]:
    a = {name: array[0] for name, array in run.arrays.items()}
    return [[*_planes("x", a["x"]), "→", *_planes("y", a["y"])],
            [*_planes("gy", a["gy"]), "→", *_planes("gx", a["gx"])]]


def _batch_norm(run: LayerRun) -> list[Equation]:
    rows: dict[str, Any] = {name: array.reshape(*array.shape[:2], -1) if array.ndim > 1 else array
                            for name, array in run.arrays.items()}
    found: list[Equation] = []
    for c in range(rows["x"].shape[1]):
        at = {name: array[:, c] if array.ndim > 1 else array[c] for name, array in rows.items()}
        found += [[(f"x̂ (channel {c})", at["x_hat"]), "= (", ("x", at["x"]),
                   f"− {at['mean']:.4g}) · {at['inv_std']:.4g}"],
                  [("y", at["y"]), f"= x̂ · {at['w']:.4g} + {at['b']:.4g}", ("gy", at["gy"]),
                   f"gw = Σ gy·x̂ = {at['gw']:.4g}, gb = Σ gy = {at['gb']:.4g}"],
                  [("gx", at["gx"]), f"= {at['scale']:.4g} · (", ("gy", at["gy"]),
                   "+", ("−gb/m", at["of_mean"]), "+", ("−x̂·gw/m", at["of_var"]), ")"]]
    return found


def _cross_entropy(run: LayerRun) -> list[Equation]:
    a = run.arrays
    truth = (a["target"][:, None] == np.arange(a["x"].shape[1])).astype(float)
    return [[("x", a["x"]), "→", ("p = softmax(x)", a["p"]), "→", ("−log p[target]", a["y"][:, None])],
            [("gx", a["gx"]), "= (", ("p", a["p"]), "−", ("truth", truth), ") ·", ("gy", a["gy"][:, None])]]


def _dropout(run: LayerRun) -> list[Equation]:
    a = {name: array[0] for name, array in run.arrays.items()}
    return [[*_planes("y", a["y"]), "=", *_planes("x", a["x"]), "·", *_planes("mask", a["mask"])],
            [*_planes("gx", a["gx"]), "=", *_planes("gy", a["gy"]), "·", *_planes("mask", a["mask"])]]


EQUATIONS: dict[str, Callable[[LayerRun], list[Equation]]] = {
    "conv2d": _conv2d, "max_pool2d": _max_pool2d, "avg_pool2d": _avg_pool2d, "batch_norm": _batch_norm,
    "cross_entropy": _cross_entropy, "dropout": _dropout}


def _planes(name: str, a: np.ndarray) -> list[Named]:
    return [(name if len(a) == 1 else f"{name}[{c}]", plane) for c, plane in enumerate(a)]


# -- drawing --------------------------------------------------------------------------------------------------------


def show(run: LayerRun) -> None:
    """Print the equations, with as many matrices side by side as fit into the terminal."""
    from rich.console import Console
    from rich.measure import measure_renderables
    from rich.padding import Padding
    from rich.table import Table

    console = Console(highlight=False)

    def width(part: Any) -> int:
        return measure_renderables(console, console.options.update(max_width=WIDEST), [part]).maximum

    def row(parts: list[Any]) -> Any:
        grid = Table.grid(padding=(0, 1))
        grid.add_row(*[Padding(part, (1, 0)) if isinstance(part, str) else part for part in parts])
        return grid

    for equation in equations(run):
        rows: list[list[Any]] = [[]]
        for part in equation:
            drawn = part if isinstance(part, str) else _matrix(*part)
            if rows[-1] and width(row([*rows[-1], drawn])) > console.width:
                rows.append([])
            rows[-1].append(drawn)
        for parts in rows:
            console.print(row(parts), width=width(row(parts)), crop=False, no_wrap=True)


def _matrix(name: str, a: np.ndarray) -> Any:
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 0, 0, 1))
    for _ in range(a.shape[1] if a.ndim > 1 else 1):
        grid.add_column(justify="right", no_wrap=True)
    for row in np.atleast_2d(a):
        grid.add_row(*[Text(f"{v:.3g}", "dim" if v == 0 else "blue" if v < 0 else "") for v in row])
    return Panel(grid, title=name, title_align="left", expand=False, border_style="dim", padding=(0, 1, 0, 0))
