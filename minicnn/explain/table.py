"""The table of a summary as rich draws it, in colour on a terminal, and numbers for people."""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..models.shapes import shape_text

if TYPE_CHECKING:
    from .summary import LayerSummary, Summary

WIDEST = 250  # columns of a table that is printed where there is no terminal to ask
COLUMNS = ("layer", "kind", "output", "params", "MACs", "share", "forward", "kept", "im2col", "field", "jump")
LEGEND = {
    "kept": "memory held for backward because of this layer",
    "im2col": "memory that the matrix of all windows would take",
    "field": "side of the part of the image that one output sees",
    "jump": "pixels of the image from the field of one output to that of the next",
}


def draw(summary: "Summary", console: Any, options: Any) -> Iterator[Any]:
    """Title, table, totals and legend, no wider than the console where that can be done."""
    from rich.measure import Measurement
    from rich.text import Text

    def excess(shown: list[str]) -> int:
        table = _table(summary, shown, names)
        return Measurement.get(console, options.update_width(10 * WIDEST), table).maximum - options.max_width

    names = [row.name for row in summary.rows]
    columns = zip(*(_cells(row, summary.macs) for row in summary.rows), strict=True)
    filled = {name for name, cells in zip(COLUMNS[1:], columns) if any(cells)}
    shown = [column for column in COLUMNS if column in {"layer", "output", "params"} | filled]  # texts have no field
    if excess(shown) > 0:  # a narrow terminal
        shown = [column for column in shown if column not in ("share", "jump")]
        room = max(8, max(map(len, names)) - max(excess(shown), 0))
        # the end of a long name says more than its beginning
        names = [name if len(name) <= room else "…" + name[1 - room:] for name in names]
    legend = "\n".join(f"{name:7} {text}" for name, text in LEGEND.items() if name in shown)
    yield from (Text(summary.title, style="bold"), Text(), _table(summary, shown, names), Text(),
                Text("\n".join(_totals(summary))), Text(), Text(legend, style="dim"))


def _table(summary: "Summary", shown: list[str], names: list[str]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim", collapse_padding=True)
    for column in shown:
        table.add_column("" if column in ("kind", "share") else column, no_wrap=column != "kind",
                         overflow="ellipsis", justify="left" if column in ("layer", "kind", "output") else "right")
    for name, row in zip(names, summary.rows, strict=True):
        cells = dict(zip(COLUMNS, (name, *_cells(row, summary.macs)), strict=True))
        table.add_row(*(cells[column] for column in shown), style="" if row.parameters else "dim")
    return table


def _cells(row: "LayerSummary", macs: int) -> list[str]:
    parameters = f"{row.parameters:,}" if row.parameters else ""
    if row.buffers:
        parameters += f" +{row.buffers:,}"
    share = f"{row.macs / macs:.0%}" if row.macs else ""
    return [row.kind, shape_text(row.output), parameters, _count(row.macs), share,
            *(bytes_text(n) if n else "" for n in (row.forward, row.kept, row.im2col)),
            *(("all", "") if row.field.size is None else (side_text(row.field.size), side_text(row.field.jump)))]


def _totals(summary: "Summary") -> Iterator[str]:
    noun, layers = summary.noun, summary.layers
    if len(summary.rows) < len(layers):
        yield f"{len(summary.rows)} rows for {len(layers)} layers and operations: modules to depth {summary.depth}"
    buffers = f" and {summary.buffers:,} buffers" if summary.buffers else ""
    size = f"{bytes_text(summary.parameter_bytes)}B"
    yield f"{summary.parameters:,} parameters ({size}){buffers}, {summary.macs:,} MACs per {noun}"
    idle = summary.parameters - sum(layer.parameters for layer in layers)
    if idle:
        yield f"{idle:,} of the parameters are in layers that did not run"
    yield (f"memory per {noun}: {bytes_text(summary.forward)}B of outputs in forward, {bytes_text(summary.kept)}B kept "
           "for backward")
    largest = max(layers, key=lambda layer: layer.im2col, default=None)
    if largest and largest.im2col:
        yield f"largest im2col matrix: {bytes_text(largest.im2col)}B per {noun}, at {largest.name}"
    if summary.field.size:
        image = side_text(summary.input_shape[1:])
        yield f"receptive field: {side_text(summary.field.size)} pixels of an image of {image}"


def plain_text(printable: Any) -> str:
    """What rich would draw, without colours and as wide as it needs to be."""
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=WIDEST, color_system=None).print(printable)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


# -- numbers for people ---------------------------------------------------------------------------------------------


def side_text(lengths: tuple[float, ...]) -> str:
    texts = [f"{n:.4g}" for n in lengths]
    return "×".join(texts if len(set(texts)) > 1 else texts[:1])


def _count(n: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if n >= size:
            return f"{n / size:.1f}{unit}"
    return str(n) if n else ""


def bytes_text(n: int) -> str:
    """A size in powers of 1024, without the B: 78400 is "76.6Ki"."""
    for unit, size in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if n >= size:
            return f"{n / size:.1f}{unit}" if n < 100 * size else f"{n / size:.0f}{unit}"
    return str(n)
