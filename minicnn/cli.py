"""What the commands share: parsing, errors in two lines, exit codes."""

import argparse
import ast
import difflib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

__all__ = ["CommandError", "Switch", "UsageError", "add_config_argument", "add_machine_arguments",
           "add_option_argument", "count", "did_you_mean", "execute", "given", "positive", "show", "to_stderr",
           "use_machine"]

Run = Callable[[argparse.Namespace], int]
Switch = argparse.BooleanOptionalAction  # --flag, and --no-flag for what a file of settings or an earlier run turned on


class CommandError(Exception):
    """Something went wrong that the user can understand: one line, and one about what to do."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(CommandError):
    """The command line itself makes no sense; the exit code is 2."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are reported as all others are."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but with a guess at what an unknown flag was meant to be."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            flag = unknown[0].partition("=")[0]
            guess = did_you_mean(flag, self._option_string_actions, cutoff=0.7) if flag.startswith("-") else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{guess}")
        return found


def execute(name: str, description: str, add_arguments: Callable[[argparse.ArgumentParser], None], run: Run,
            argv: list[str] | None = None, prog: str | None = None) -> int:
    """Parse the command line, run the command and return its exit code: 0, 1 for a failure, 2 for wrong usage,
    128 + n after signal n.

    Nothing of weight is imported before the arguments are parsed, so that --help is there at once.
    """
    parser = Parser(prog=prog or f"python -m minicnn.{name}", description=description, allow_abbrev=False)
    add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the full traceback of an error")
    args = argparse.Namespace(debug=False)
    _prepare_streams()
    try:
        args = _parse(parser, argv)
        args.prog = parser.prog
        code = run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:  # whoever read our output has gone, as in `... | head`
        return 128 + signal.SIGPIPE
    except Exception as error:
        if args.debug:
            traceback.print_exc()
        report(parser.prog, error)
        return 2 if isinstance(error, UsageError) else 1
    finally:
        try:
            sys.stdout.flush()
        except OSError:
            sys.stdout = None  # what cannot be written now cannot be written at exit either


def _prepare_streams() -> None:
    """Make writing safe: a stream may be closed (`command >&-`), or a terminal that has no × or █."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # its number must not go to the next file that is opened, either
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def report(prog: str, error: Exception) -> None:
    """Print an error in one line, and what to do about it in another."""
    message = getattr(error, "message", None) or str(error)
    hint = getattr(error, "hint", None)
    if isinstance(error, OSError) and error.strerror:
        message = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] != __package__:
        message, hint = f"{error.name} is not installed", "minicnn needs it; in the checkout: pip install ."
    elif isinstance(error, MemoryError):
        message = f"out of memory: {error}".removesuffix(": ")
        hint = "ask for less: smaller batches or images, a narrower network"
    elif not isinstance(error, (CommandError, ArithmeticError, OSError, RuntimeError, TypeError, ValueError)):
        message = f"{type(error).__name__}: {error}"
        hint = "this should not happen; --debug shows where it did"
    if hint is None and isinstance(error, UsageError):
        hint = f"{prog} --help explains all flags"
    print(f"{prog}: error: {' '.join(message.split())}", file=sys.stderr)
    print(f"  hint: {hint or '--debug shows where it arose'}", file=sys.stderr)


def did_you_mean(name: str, names: Iterable[str], cutoff: float = 0.5) -> str:
    """A guess at what was meant by an unknown name, to put behind it; empty if nothing is like it by this share."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=cutoff)
    return f"; did you mean {near[0]}?" if near else ""


def count(n: int, noun: str) -> str:
    """1 epoch, 2 epochs."""
    return f"{n:,} {noun}" + "s" * (n != 1)


def to_stderr(line: str) -> None:
    """Print a line that is not the result."""
    print(line, file=sys.stderr, flush=True)


def show(printable: Any) -> None:
    """Print something that rich can draw: in colour to a terminal, as plain text to anything else."""
    if sys.stdout.isatty():
        from rich.console import Console

        Console(highlight=False).print(printable)
    else:
        print(printable)


# -- settings from a file -------------------------------------------------------------------------------------------


def add_config_argument(parser: Any) -> None:
    """--config FILE; ``execute`` reads it."""
    parser.add_argument("--config", metavar="FILE",
                        help="TOML file with flags by their long names, such as epochs = 5; the command line wins")


def _parse(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    args = parser.parse_args(argv)
    if getattr(args, "config", None) is not None:
        parser.set_defaults(**vars(_from_file(parser, args.config)))
        args = parser.parse_args(argv)
    return args


def _from_file(parser: argparse.ArgumentParser, path: str) -> argparse.Namespace:
    """What the command line would be if it said what the file says."""
    import tomllib

    try:
        with open(path, "rb") as file:
            settings = tomllib.load(file)
    except OSError as error:
        raise UsageError(f"--config {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"--config {path} is not TOML: {error}",
                         'write lines such as epochs = 5 and, text in quotes, data = "mnist"') from error
    known = [name.replace("_", "-") for name in vars(parser.parse_args([])) if name != "config"]
    words: list[str] = []
    for name, value in settings.items():
        if name not in known:
            raise UsageError(f"{path}: there is no flag {name}{did_you_mean(name, known)}")
        if name == "model":
            words.insert(0, str(value))
        elif isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, int | float | str):
            words.append(f"--{name}={value}")
        elif name == "option" and isinstance(value, dict):
            words += [f"--option={key}={entry!r}" for key, entry in value.items()]
        else:
            raise UsageError(f"{path}: {name} = {value!r} must be a number, a text, true or false")
    try:
        return parser.parse_args(words)
    except UsageError as error:
        raise UsageError(f"{path}: {error}", error.hint) from error


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
    except (SyntaxError, TypeError, ValueError):
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
    if wanted.type == "cuda":
        reason, _, cure = (backend.why_not(wanted) or "").partition("; ")
        if reason:
            raise CommandError(f"--device {device} cannot be used: {reason}",
                               cure or "leave --device out to run on the CPU")
        return str(wanted), f"device: {wanted}"
    no_gpu = backend.why_no_cuda() if device in (None, "auto") else None
    why = f"{no_gpu.partition('; ')[0]}; " if no_gpu else ""
    return "cpu", f"device: cpu ({why}{count(backend.get_num_threads(), 'thread')})"
