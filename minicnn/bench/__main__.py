"""python -m minicnn.bench [CASE ...]: how fast kernels and networks are, beside PyTorch and what the machine can do.

CASE is a case (--list), NETWORK@BATCH for another batch, or one of: networks, kernels, start (import and first step),
loader (does it keep up with a training step), scaling (threads and batches). Without any, all of it.

Before anything is timed the libraries must agree on the results. Each runs in a process of its own; they take turns.
Operations are counted as in the definition: a convolution by Winograd's algorithm needs fewer, and may be above the
roof.
OpenBLAS, which the plain reference uses, chooses its kernels by the processor or by the environment variable
OPENBLAS_CORETYPE; `env -u OPENBLAS_CORETYPE python -m minicnn.bench` runs without it.
"""

import argparse
import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cli import CommandError, UsageError, count, did_you_mean, execute, positive, to_stderr, use_machine

if TYPE_CHECKING:
    from .measure import Plan, Row

GROUPS = ("networks", "kernels", "start", "loader", "scaling")
PLOTS = (".png", ".svg", ".pdf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Enter the flags of the command."""
    parser.add_argument("cases", nargs="*", metavar="CASE", help="what to time: see above (all of it)")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--list", action="store_true", help="list the cases, and time nothing")
    instead.add_argument("--warm", action="store_true", help="compile all CPU kernels for float32, and time nothing")
    parser.add_argument("--quick", action="store_true", help="a moment of each: to see that it works, not for figures")
    parser.add_argument("--rounds", type=positive, metavar="N", help="turns of each library (5; quick: 1)")
    parser.add_argument("--threads", type=positive, metavar="N", help="threads of each library (all cores)")
    parser.add_argument("--json", metavar="FILE", help="write all that was found to a file")
    parser.add_argument("--roofline", metavar="FILE", help="draw kernels below the roofs of the machine (.png, .svg)")


def run(args: argparse.Namespace) -> int:
    """Do what the parsed command line says; returns the exit code."""
    from .cases import KERNELS, NETWORKS

    if args.list or args.warm:
        if args.cases:
            raise UsageError("--list and --warm are for all cases: name none")
        for flag in ("quick", "rounds", "json", "roofline"):
            if getattr(args, flag):
                raise UsageError(f"--list and --warm time nothing: leave --{flag} out")
    use_machine("cpu", args.threads)
    if args.list:
        for name, found in (NETWORKS | KERNELS).items():
            print(f"{name:18}{found.what}")
    elif args.warm:
        _warm()
    else:
        names, groups = _chosen(args.cases)
        _check_files(args, names)
        _time(args, names, groups)
    return 0


def _chosen(words: list[str]) -> tuple[list[str], list[str]]:
    """The cases, and the groups that are none, that the words of the command line stand for."""
    from .cases import KERNELS, NETWORKS, case

    cases: dict[str, list[str]] = {"networks": list(NETWORKS), "kernels": list(KERNELS)}
    names: list[str] = []
    for word in words or GROUPS:
        try:
            if word not in GROUPS:
                case(word)
        except KeyError:
            label, at, batch = word.partition("@")
            if at and label in NETWORKS:
                raise UsageError(f"{word}: the batch is {batch or 'missing'}, and must be a whole number from 1 on",
                                 f"such as {label}@32") from None
            raise UsageError(f"there is no case {word}{did_you_mean(word, [*GROUPS, *NETWORKS, *KERNELS])}",
                             "--list lists the cases") from None
        names += cases.get(word, [] if word in GROUPS else [word])
    others = [group for group in GROUPS if group not in cases and group in (words or GROUPS)]
    return list(dict.fromkeys(names)), others


def _check_files(args: argparse.Namespace, names: list[str]) -> None:
    """Raise what would otherwise be found out after minutes."""
    from .cases import is_network

    for path in filter(None, (args.json, args.roofline)):
        if not Path(path).parent.is_dir():
            raise UsageError(f"{path}: there is no folder {Path(path).parent}")
        if Path(path).is_dir():
            raise UsageError(f"{path} is a folder, not a file")
        try:
            with tempfile.TemporaryFile(dir=Path(path).parent):
                pass
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}", "name another folder") from error
    if args.roofline and Path(args.roofline).suffix not in PLOTS:
        raise UsageError(f"--roofline {args.roofline} must end with {', '.join(PLOTS)}")
    if args.roofline and all(map(is_network, names)):
        raise UsageError("--roofline draws kernels, and there is none among the cases", "add the case: kernels")
    if args.roofline and importlib.util.find_spec("matplotlib") is None:
        raise CommandError("--roofline needs matplotlib", "pip install '.[plot]'")


def _warm() -> None:
    from .warm import cached, warm

    (before, folder), begin = cached(), time.perf_counter()
    to_stderr(f"running every kernel; what is not cached in {folder} is compiled")
    for name in warm():
        to_stderr(f"  {name}")
    after, seconds = cached()[0], time.perf_counter() - begin
    if after == before:
        print(f"nothing had to be compiled: all {count(after, 'function')} are cached in {folder}")
    else:
        print(f"{count(after - before, 'function')} compiled in {seconds:.0f} s; {after:,} are cached in {folder}")


# -- the tables -----------------------------------------------------------------------------------------------------


def _time(args: argparse.Namespace, names: list[str], groups: list[str]) -> None:
    from ..backend import get_num_threads
    from ..training.files import write_atomically
    from . import reports
    from .cases import is_network
    from .measure import Plan, Worker, libraries
    from .roofline import plot_roofline
    from .table import KERNEL_HEADS, NETWORK_HEADS, Roofs, kernel_cells, network_cells

    rounds, seconds = (1, 0.05) if args.quick else (5, 1.0)
    plan = Plan(args.rounds or rounds, seconds, get_num_threads(), libraries())
    with Worker("minicnn", plan.threads) as worker:
        about: dict[str, Any] = worker.ask("machine")
    print(reports.machine_line(about))
    roofs = Roofs(about["flops_per_second"], about["bytes_per_second"])
    networks = [name for name in names if is_network(name)]
    kernels = [name for name in names if not is_network(name)]
    rows: list[Row] = []
    others: dict[str, Any] = {}
    try:
        _table(networks, plan, NETWORK_HEADS, lambda row: network_cells(row, roofs), not args.quick, rows)
        _table(kernels, plan, KERNEL_HEADS, lambda row: kernel_cells(row, roofs), not args.quick, rows)
        for group in groups:
            print()
            others[group] = getattr(reports, group)(plan)
    finally:  # Ctrl-C leaves what has been measured
        if args.json and (rows or others):
            found = {"machine": about, "rows": [row.as_json() for row in rows], **others}
            write_atomically(Path(args.json), (json.dumps(found, indent=1) + "\n").encode())
    if args.quick:
        print("\n--quick: a moment of each, so all figures are rough")
    if args.roofline:
        plot_roofline(rows, roofs, args.roofline, about["cpu"])


def _table(names: list[str], plan: "Plan", heads: Any, cells: "Callable[[Row], list[str]]", coloured: bool,
           rows: "list[Row]") -> None:
    """Time the cases, append what is found to the rows and print a line about each as soon as it is there."""
    from .measure import measure
    from .table import mean_cells, notes, printer

    if not names:
        return
    show, first = printer(heads, coloured), len(rows)
    print()
    show([title for title, _ in heads])
    try:
        for row in measure(names, plan):
            rows.append(row)
            show(cells(row))
    finally:
        if len(rows) > first + 1:
            show(mean_cells(rows[first:], heads))
        if len(rows) > first:
            print(f"\n{notes(heads)}")


def main(argv: list[str] | None = None, prog: str | None = None) -> int:
    """The command; returns its exit code."""
    return execute("bench", __doc__.partition(": ")[2], add_arguments, run, argv, prog)


if __name__ == "__main__":
    sys.exit(main())
