"""Two networks side by side, layer by layer: people argue about which AlexNet is the right one, and all of them are."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .. import models, nn
from ..models.shapes import shape_text
from .summary import LayerSummary, Summary, summary
from .table import bytes_text, plain_text, side_text

__all__ = ["Difference", "diff"]

Pair = tuple[LayerSummary | None, LayerSummary | None]
ALONE = 2.0  # the cost of a row without a partner; two of one family are paired, as that costs less than 2 of these


@dataclass(frozen=True)
class Difference:
    """Two summaries and their rows in pairs, None beside what is in one only; ``print`` lays them side by side."""

    a: Summary
    b: Summary
    pairs: list[Pair]

    @property
    def differing(self) -> list[Pair]:
        """The pairs that are not the same in what they are and consist of, put out and have of parameters."""
        return [(x, y) for x, y in self.pairs if not _same(x, y)]

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.table import Table
        from rich.text import Text

        rows = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        for header in (_name(self.a), "", "", "", "", _name(self.b), "", "", ""):
            rows.add_column(header, overflow="fold", justify="left" if len(rows.columns) not in (3, 8) else "right")
        for x, y in self.pairs:
            same = _same(x, y)
            mark = "=" if same else "<" if y is None else ">" if x is None else "≠"
            rows.add_row(*_cells(x), mark, *_cells(y), style="dim" if same else "")
        totals = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        for name, first, second in zip(("", "parameters", "MACs", "kept", "field"), _totals(self.a), _totals(self.b)):
            totals.add_row(name, first, second)
        yield from (rows, Text(), totals, Text(),
                    Text(f"{len(self.differing)} of {len(self.pairs)} rows differ", style="bold"))

    def __str__(self) -> str:
        return plain_text(self)


def diff(a: nn.Module | str, b: nn.Module | str, input_shape: tuple[int, ...] | None = None, *,
         depth: int | None = None) -> Difference:
    """Lay two networks side by side.

    Args:
        a, b: networks, or names of models.
        input_shape: (C, H, W) of an image for both; None is what each was made for.
        depth: as for ``summary``.

    Raises:
        ValueError: a name is unknown, a shape is missing or an image does not fit.
    """
    nets = [models.create(net) if isinstance(net, str) else net for net in (a, b)]
    first, second = (summary(net, input_shape, depth=depth) for net in nets)
    if first.depth != second.depth:  # each would be readable by itself
        depth = min(first.depth or 1, second.depth or 1)
        first, second = (summary(net, input_shape, depth=depth) for net in nets)
    return Difference(first, second, _pairs(first.rows, second.rows))


def _pairs(a: list[LayerSummary], b: list[LayerSummary]) -> list[Pair]:
    """The rows in their order, paired so that as few as possible differ: the shortest way through a table of costs.

    Needleman, Wunsch: A general method applicable to the search for similarities, 1970.
    """
    cost = [[ALONE * (i + j) for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    steps: dict[tuple[int, int], tuple[int, int]] = {}
    for i in range(len(a) + 1):
        for j in range(len(b) + 1):
            ways = []
            if i and j:
                ways.append((cost[i - 1][j - 1] + _distance(a[i - 1], b[j - 1]), (i - 1, j - 1)))
            if i:
                ways.append((cost[i - 1][j] + ALONE, (i - 1, j)))
            if j:
                ways.append((cost[i][j - 1] + ALONE, (i, j - 1)))
            if ways:
                cost[i][j], steps[i, j] = min(ways)
    pairs: list[Pair] = []
    i, j = len(a), len(b)
    while i or j:
        before = steps[i, j]
        pairs.append((a[i - 1] if before[0] < i else None, b[j - 1] if before[1] < j else None))
        i, j = before
    return pairs[::-1]


def _distance(x: LayerSummary, y: LayerSummary) -> float:
    if x.family != y.family:
        return math.inf
    differ = sum(mine != other for mine, other in zip((x.kind, *_looks(x)), (y.kind, *_looks(y)), strict=True))
    return 0.9 * differ + 0.3 * (x.name != y.name)


def _same(x: LayerSummary | None, y: LayerSummary | None) -> bool:
    """A block without its shortcut differs only in what is inside."""
    return x is not None and y is not None and (_looks(x), x.inside) == (_looks(y), y.inside)


def _looks(row: LayerSummary) -> tuple[str, tuple[int, ...], int]:
    return row.title, row.output, row.parameters


def _cells(row: LayerSummary | None) -> tuple[str, str, str, str]:
    if row is None:
        return "", "", "", ""
    return row.name, row.title, shape_text(row.output), f"{row.parameters:,}" if row.parameters else ""


def _name(s: Summary) -> str:
    return s.title.split()[0]


def _totals(s: Summary) -> tuple[str, ...]:
    field = "all" if s.field.size is None else side_text(s.field.size)
    return _name(s), f"{s.parameters:,}", f"{s.macs:,}", f"{bytes_text(s.kept)}B", field
