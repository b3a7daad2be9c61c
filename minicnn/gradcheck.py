"""python -m minicnn.gradcheck [OP ...]: are the gradients of minicnn's operations right? A table, and what is wrong."""

import argparse
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .cli import UsageError, did_you_mean, execute, positive

if TYPE_CHECKING:
    from .testing.table import Row

COLUMNS = ("operation", "cases", "float64, jvp", "float32", "second order", "sees", "PyTorch", "time")
WIDTHS = (34, 7, 18, 18, 18, 7, 8, 6)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Enter the flags of the command."""
    parser.add_argument("operations", nargs="*", metavar="OP", help="operations to check, such as conv2d (all)")
    parser.add_argument("--cases", type=positive, default=4, metavar="N", help="cases drawn for each operation (4)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="draws other cases (0)")


def run(args: argparse.Namespace) -> int:
    """Print the table as its rows are done; 1 if a gradient is wrong."""
    from .testing.table import OPERATIONS, check_operation

    for name in args.operations:
        if name not in OPERATIONS:
            raise UsageError(f"there is no operation {name}{did_you_mean(name, OPERATIONS)}",
                             f"operations: {', '.join(OPERATIONS)}")
    rows = (check_operation(name, args.cases, args.seed) for name in args.operations or OPERATIONS)
    done = _show_live(rows) if sys.stdout.isatty() else _show_lines(rows)
    for row in done:
        for failure in row.failures:
            print(f"\n{failure}")
    wrong = [row.name for row in done if row.failed]
    print(f"\n{len(done)} operations: " + (f"wrong gradients in {', '.join(wrong)}" if wrong else "all gradients right")
          + "; sees: the smallest relative error that would have been noticed, PyTorch: the largest difference to it")
    return 1 if wrong else 0


def _cells(row: "Row") -> list[str]:
    apart = "-" if row.apart is None else f"{row.apart:.0e}"
    return [row.name, str(row.cases), row.first, row.single, row.second, f"{row.precision:.0e}", apart,
            f"{row.seconds:.1f} s"]


def _show_lines(rows: Iterable["Row"]) -> list["Row"]:
    def line(cells: Iterable[str]) -> str:
        return "".join(f"{cell:{width}}" for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()

    print(line(COLUMNS))
    done = []
    for row in rows:
        print(line(_cells(row)), flush=True)
        done.append(row)
    return done


def _show_live(rows: Iterable["Row"]) -> list["Row"]:
    from rich.live import Live
    from rich.table import Table

    colours = {"PASS": "green", "FAIL": "bold red"}

    def painted(cell: Any) -> str:
        colour = colours.get(str(cell)) or ("yellow" if str(cell).isupper() else "")
        return f"[{colour}]{cell}[/]" if colour else str(cell)

    table, done = Table(*COLUMNS), []
    with Live(table, vertical_overflow="visible"):
        for row in rows:
            table.add_row(*map(painted, _cells(row)))
            done.append(row)
    return done


def main(argv: list[str] | None = None, prog: str | None = None) -> int:
    """The command; returns its exit code."""
    return execute("gradcheck", __doc__.partition(": ")[2], add_arguments, run, argv, prog)


if __name__ == "__main__":
    sys.exit(main())
