"""python -m minicnn.gradcheck [OP ...]: are the gradients of minicnn's operations right? A table, and what is wrong."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .cli import UsageError, did_you_mean, execute, positive

if TYPE_CHECKING:
    from .testing.table import Row

COLUMNS = ("operation", "cases", "float64, jvp", "float32", "second order", "sees", "PyTorch", "time")
WIDTHS = (34, 7, 18, 18, 18, 7, 9, 6)
COLOURS = {"PASS": "green", "FAIL": "bold red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Enter the flags of the command."""
    parser.add_argument("operations", nargs="*", metavar="OP", help="operations to check, such as conv2d (all)")
    parser.add_argument("--cases", type=positive, default=4, metavar="N", help="cases drawn for each operation (4)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="draws other cases (0)")


def run(args: argparse.Namespace) -> int:
    """Print the table as its rows are done; 1 if a gradient is wrong."""
    from .testing.table import OPERATIONS, check_operation
    from .training.compiling import announce_compiling

    for name in args.operations:
        if name not in OPERATIONS:
            raise UsageError(f"there is no operation {name}{did_you_mean(name, OPERATIONS)}",
                             f"operations: {', '.join(OPERATIONS)}")
    show, done = _printer(), []
    show(COLUMNS)
    with announce_compiling(lambda text: print(text, file=sys.stderr)):
        for name in args.operations or OPERATIONS:
            row = check_operation(name, args.cases, args.seed)
            show(_cells(row))
            done.append(row)
    for row in done:
        for failure in row.failures:
            print(f"\n{failure}")
    wrong = [row.name for row in done if row.failed]
    print(f"\nwrong gradients in {', '.join(wrong)}" if wrong else "\nall gradients are right")
    print("sees: the smallest relative error that would have been noticed; PyTorch: the largest difference to it")
    return 1 if wrong else 0


def _cells(row: "Row") -> list[str]:
    apart = "-" if row.apart is None else f"{row.apart:.0e}"
    return [row.name, str(row.cases), row.first, row.single, row.second, f"{row.precision:.0e}", apart,
            f"{row.seconds:.1f} s"]


def _printer() -> Callable[[Sequence[str]], None]:
    """What prints a line of the table: with coloured verdicts on a terminal, plain into anything else."""
    def padded(cells: Sequence[str]) -> list[str]:
        return [f"{cell:{width}}" for cell, width in zip(cells, WIDTHS, strict=True)]

    if not sys.stdout.isatty():
        return lambda cells: print("".join(padded(cells)).rstrip(), flush=True)
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)

    def coloured(cells: Sequence[str]) -> None:
        styles = [COLOURS.get(cell, "yellow" if cell.isupper() else "") for cell in cells]
        console.print(Text.assemble(*zip(padded(cells), styles, strict=True)), soft_wrap=True)

    return coloured


def main(argv: list[str] | None = None, prog: str | None = None) -> int:
    """The command; returns its exit code."""
    return execute("gradcheck", __doc__.partition(": ")[2], add_arguments, run, argv, prog)


if __name__ == "__main__":
    sys.exit(main())
