"""python -m minicnn.lint SCRIPT...: mistakes of training scripts, each with its line, its cause and its cure."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import CommandError, UsageError, execute

if TYPE_CHECKING:
    from .training import Finding


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Enter the flags of the command."""
    parser.add_argument("scripts", nargs="*", type=Path, metavar="SCRIPT",
                        help="Python files that train networks with minicnn, PyTorch or Keras")
    parser.add_argument("--run", nargs=argparse.REMAINDER, metavar="SCRIPT", default=[],
                        help="run a script of minicnn's, with the arguments that follow it, and look at its first step "
                        "and its gradients too")


def run(args: argparse.Namespace) -> int:
    """Print what is found; returns 1 if that is anything."""
    if not args.scripts and not args.run:
        raise UsageError(f"which script? For example: {args.prog} train.py")
    total = sum(_show(path, _read(path)) for path in args.scripts)
    if args.run:
        total += _run(Path(args.run[0]), args.run[1:])
    print(f"{total} {'thing' if total == 1 else 'things'} to look at" if total else "nothing found")
    return 1 if total else 0


def _read(path: Path) -> "list[Finding]":
    from .training.script_rules import lint

    try:
        return lint(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} is not a text in UTF-8", "give Python files") from error
    except IsADirectoryError as error:
        raise CommandError(f"{path} is a folder", f"give the files in it: {path / '*.py'}") from error


def _run(path: Path, arguments: list[str]) -> int:
    from .training.watched_run import run_watched

    found = _read(path)
    seen, error = run_watched(path, arguments)
    known = {finding.rule for finding in found}  # by the line where it is, not where it shows
    count = _show(path, found + [finding for finding in seen if finding.rule not in known])
    if error is not None:
        raise CommandError(f"{path} stopped with {type(error).__name__}: {error}",
                           f"python {path} shows where") from error
    return count


def _show(path: Path, found: "list[Finding]") -> int:
    for finding in sorted(found, key=lambda finding: finding.line or 0):
        print(f"{path}:{finding.line}: {finding.cause}; {finding.cure} [{finding.rule}]")
    return len(found)


def main(argv: list[str] | None = None, prog: str | None = None) -> int:
    """The command; returns its exit code."""
    return execute("lint", __doc__.partition(": ")[2], add_arguments, run, argv, prog)


if __name__ == "__main__":
    sys.exit(main())
