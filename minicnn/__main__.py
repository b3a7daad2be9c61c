"""minicnn COMMAND ...: all commands under one name; `minicnn train` is `python -m minicnn.train`."""

import importlib
import sys
from pathlib import Path

from .cli import UsageError, did_you_mean, report

COMMANDS = {
    "train": "train a network",
    "experiment": "networks that differ in one thing, side by side",
    "eval": "accuracy and confusion table of a trained network",
    "predict": "what a trained network sees in image files",
    "summary": "layers, shapes, parameters, work and memory of a network",
    "explain": "every number of a layer, forward and backward, with what it is made of",
    "learn": "exercises: write a backward pass, have it checked",
    "lint": "mistakes in training scripts, with line, cause and cure",
    "gradcheck": "the gradients of all operations, against differences and PyTorch",
    "bisect": "the first layer where two back ends differ",
    "bench": "how fast kernels and networks are, beside PyTorch and what the machine can do",
    "mutate": "known mistakes planted into backward functions: which tests notice?",
    "info": "versions, devices and folders, for reports of bugs",
}
MODULES = {"bench": "bench.__main__", "explain": "explain.__main__"}  # of commands that are packages


def main(argv: list[str] | None = None) -> int:
    """Hand the command line to the command it names; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    prog = "python -m minicnn" if Path(sys.argv[0]).name == "__main__.py" else "minicnn"
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: {prog} COMMAND ...\n\ncommands (each has --help):")
        for name, what in COMMANDS.items():
            print(f"  {name:11}{what}")
        return 0 if argv else 2
    if argv[0] == "--version":
        from . import __version__

        print(f"minicnn {__version__}")
        return 0
    if argv[0] not in COMMANDS:
        report(prog, UsageError(f"there is no command {argv[0]}{did_you_mean(argv[0], COMMANDS)}",
                                f"commands: {', '.join(COMMANDS)}"))
        return 2
    return importlib.import_module(f".{MODULES.get(argv[0], argv[0])}", __package__).main(argv[1:], f"{prog} {argv[0]}")


if __name__ == "__main__":
    sys.exit(main())
