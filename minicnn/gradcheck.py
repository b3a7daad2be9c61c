"""python -m minicnn.gradcheck [OP ...]: are the gradients of minicnn's operations right? A table, and what is wrong."""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .cli import UsageError, did_you_mean, execute, positive

if TYPE_CHECKING:
    from .testing.table import Row

COLUMNS = ("operation", "cases", "float64, jvp", "sees", "float32", "sees", "second order", "PyTorch", "time")
WIDTHS = (34, 7, 22, 7, 22, 7, 22, 9, 6)
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

    if args.seed < 0:
        raise UsageError(f"--seed {args.seed} must be at least 0")
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
    for text in [text for row in done for text in row.doubts + row.failures]:
        print(f"\n{text}")
    checks = Counter(verdict for row in done for tally in (row.first, row.single, row.second)
                     for verdict in tally.verdicts.elements())
    print(f"\n{sum(row.cases for row in done)} cases, {checks.total()} checks: "
          f"{', '.join(f'{count} {verdict}' for verdict, count in checks.items())}")
    wrong = [row.name for row in done if row.failures]
    print(f"wrong gradients in {', '.join(wrong)}" if wrong else "all gradients are right")
    print("sees: the smallest relative error that would have been noticed; PyTorch: the largest difference to it")
    return 1 if wrong else 0


def _cells(row: "Row") -> list[str]:
    apart = "-" if row.apart is None else f"{row.apart:.0e}"
    return [row.name, str(row.cases), str(row.first), f"{row.first.precision:.0e}", str(row.single),
            f"{row.single.precision:.0e}", str(row.second), apart, f"{row.seconds:.1f} s"]


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
        styles = [COLOURS.get(cell.partition(" ")[0], "yellow" if cell[:2].isupper() else "") for cell in cells]
        console.print(Text.assemble(*zip(padded(cells), styles, strict=True)), soft_wrap=True)

    return coloured


def main(argv: list[str] | None = None, prog: str | None = None) -> int:
    """The command; returns its exit code."""
    return execute("gradcheck", __doc__.partition(": ")[2], add_arguments, run, argv, prog)


if __name__ == "__main__":
    sys.exit(main())
