"""python -m minicnn.learn [EXERCISE [FILE]]: write a backward pass yourself; checked, with what you forgot."""

import argparse
import sys
from pathlib import Path

from .cli import CommandError, UsageError, did_you_mean, execute


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Enter the flags of the command."""
    parser.add_argument("exercise", nargs="?", metavar="EXERCISE", help="its name; without it all are listed")
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE",
                        help="where your answer is: begun if it does not exist, else checked (EXERCISE.py)")
    parser.add_argument("--solution", action="store_true", help="print an answer")


def run(args: argparse.Namespace) -> int:
    """List the exercises, begin one, or check an answer; returns 1 if that is wrong."""
    from .testing.exercises import EXERCISES

    if args.exercise is None:
        for name, exercise in EXERCISES.items():
            print(f"{name:23}{exercise.teaches}")
        print(f"\nto begin one: {args.prog} {next(iter(EXERCISES))}")
        return 0
    if args.exercise not in EXERCISES:
        raise UsageError(f"there is no exercise {args.exercise}{did_you_mean(args.exercise, EXERCISES)}",
                         f"exercises: {', '.join(EXERCISES)}")
    exercise = EXERCISES[args.exercise]
    if args.solution:
        print(exercise.solution, end="")
        return 0
    path = args.file or Path(exercise.file)
    again = f"{args.prog} {exercise.name}" + (f" {args.file}" if args.file else "")
    if not path.exists():
        path.write_text(exercise.stub, encoding="utf-8")
        print(f"{path} says what to do: fill in {exercise.function}, then check it with the same command:\n  {again}")
        return 0
    if path.is_dir():
        raise CommandError(f"{path} is a folder", f"name a file: {args.prog} {exercise.name} FILE")
    result = exercise.check(path)
    print(result)
    if not result:
        print(f"  then: {again}      an answer: {args.prog} {exercise.name} --solution")
        return 1
    print(f"all right; this is how minicnn does it: {exercise.read}")
    following = [name for name in EXERCISES][[*EXERCISES].index(exercise.name) + 1:]
    if following:
        print(f"next: {args.prog} {following[0]}")
    return 0


def main(argv: list[str] | None = None, prog: str | None = None) -> int:
    """The command; returns its exit code."""
    return execute("learn", __doc__.partition(": ")[2], add_arguments, run, argv, prog)


if __name__ == "__main__":
    sys.exit(main())
