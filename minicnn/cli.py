"""What the commands share: parsing, errors in one line, exit codes."""

import argparse
import ast
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["CommandError", "UsageError", "add_machine_arguments", "add_option_argument", "execute", "given", "positive",
           "show", "use_machine"]

Run = Callable[[argparse.Namespace], int]


class CommandError(Exception):
    """Something went wrong that the user can understand: one line, and one about what to do."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(CommandError):
    """The command line itself makes no sense; the exit code is 2."""


def execute(name: str, description: str, add_arguments: Callable[[argparse.ArgumentParser], None], run: Run,
            argv: list[str] | None = None, prog: str | None = None) -> int:
    """Parse the command line, run the command and return its exit code: 0, 1 for a failure, 2 for wrong usage,
    128 + n after signal n.

    Nothing of weight is imported before the arguments are parsed, so that --help is there at once.
    """
    parser = argparse.ArgumentParser(prog=prog or f"python -m minicnn.{name}", description=description,
                                     allow_abbrev=False)
    add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the full traceback of an error")
    args = parser.parse_args(argv)
    args.prog = parser.prog
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without × or █ shows a question mark instead of failing
    try:
        code = run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:  # whoever read our output has gone, as in `... | head`
        sys.stdout = None  # nothing is left to be flushed at exit
        return 128 + signal.SIGPIPE
    except Exception as error:
        if args.debug:
            traceback.print_exc()
        report(parser.prog, error)
        return 2 if isinstance(error, UsageError) else 1


def report(prog: str, error: Exception) -> None:
    """Print an error in one line, and a hint where there is one."""
    message = getattr(error, "message", None) or str(error)
    hint = getattr(error, "hint", None)
    if not isinstance(error, (CommandError, ArithmeticError, OSError, RuntimeError, TypeError, ValueError)):
        message = f"{type(error).__name__}: {error}"
        hint = "this should not happen; --debug shows where it did"
    print(f"{prog}: error: {' '.join(message.split())}", file=sys.stderr)
    if hint:
        print(f"  hint: {hint}", file=sys.stderr)


def show(printable: Any) -> None:
    """Print something that rich can draw: in colour to a terminal, as plain text to anything else."""
    if sys.stdout.isatty():
        from rich.console import Console

        Console(highlight=False).print(printable)
    else:
        print(printable)


# -- arguments that several commands have ---------------------------------------------------------------------------


def given(args: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Those of the flags that are on the command line."""
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def positive(text: str) -> int:
    """An argparse type: a whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return value


positive.__name__ = "whole number"  # what argparse calls it in messages


def add_machine_arguments(group: Any) -> None:
    """--device and --threads."""
    group.add_argument("--device", metavar="D", help="auto (the default: a GPU if there is one), cpu, cuda or cuda:N")
    group.add_argument("--threads", type=positive, metavar="N",
                       help="threads of the CPU kernels, at most; results do not depend on it")


def add_option_argument(parser: Any) -> None:
    """--option NAME=VALUE, of a model."""
    parser.add_argument("--option", action="append", default=[], type=_option, metavar="NAME=VALUE",
                        help="option of the model, such as activation=tanh for lenet5")


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text} must be NAME=VALUE")
    try:
        return name, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return name, value


def use_machine(device: str | None, threads: int | None) -> tuple[str, str]:
    """Set the threads; the device to use, and a line that says which and why.

    Raises:
        CommandError: a GPU is asked for and cannot be used.
    """
    from . import backend

    if threads is not None:
        try:
            backend.set_num_threads(threads)
        except ValueError as error:
            raise UsageError(f"--threads {threads}: {error}") from error
    try:
        wanted = backend.Device.parse(device or "auto")
    except ValueError as error:
        raise UsageError(f"--device: {error}") from error
    reason, _, cure = (backend.why_no_cuda() or "").partition("; ")
    if wanted.type == "cuda":
        if reason:
            raise CommandError(f"--device {device} cannot be used: {reason}",
                               cure or "leave --device out to run on the CPU")
        return str(wanted), f"device: {wanted}"
    why = f"{reason}; " if reason and device in (None, "auto") else ""
    return "cpu", f"device: cpu ({why}{backend.get_num_threads()} threads)"
