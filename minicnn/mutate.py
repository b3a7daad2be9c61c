"""python -m minicnn.mutate [MISTAKE ...]: plant known mistakes into backward functions; which tests notice them?"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import CommandError, UsageError, did_you_mean, execute, positive

if TYPE_CHECKING:
    from .testing.mistakes import Mistake

ROOT = Path(__file__).resolve().parent.parent

# where minicnn's own tests of an operation are: files below tests/, and what the names of the tests hold
OPERATORS = "operators/test_operators.py"
OWN_TESTS = {
    "Conv2d": (OPERATORS, "conv2d"), "Conv2dInputGrad": (OPERATORS, "conv_transpose2d"),
    "MaxPool2d": (f"{OPERATORS} test_functional_pool.py", "(max_pool2d and not adaptive) or ties_take"),
    "AvgPool2d": (OPERATORS, "avg_pool2d and not adaptive"), "BatchNorm": (OPERATORS, "batch_norm"),
    "Linear": (OPERATORS, "linear"), "MatMul": ("test_ops_linear.py", "matmul"),
    "Sum": (OPERATORS, "l1_loss or kl_div"), "Mean": (OPERATORS, "l1_loss"),
    "Expand": ("test_ops_shape.py", "expand"), "Embedding": (OPERATORS, "embedding"),
    "Cat": ("test_ops_shape.py", "cat"), "Relu": (f"{OPERATORS} test_functional_activation.py", "relu or kinks"),
    "LeakyRelu": (OPERATORS, "leaky_relu"), "Elu": (OPERATORS, "elu"), "Sigmoid": (OPERATORS, "sigmoid"),
    "Tanh": (OPERATORS, "tanh"), "Silu": (OPERATORS, "silu"), "Gelu": (OPERATORS, "gelu"),
    "Square": ("test_ops_pointwise.py", "square"), "SquaredError": (OPERATORS, "mse_loss"),
    "Dropout": ("test_functional_norm_dropout.py", "mask_of_forward or elements_are_dropped"),
    "Softmax": (OPERATORS, "softmax"), "LogSoftmax": (OPERATORS, "log_softmax"),
    "CrossEntropy": (OPERATORS, "cross_entropy"), "BinaryCrossEntropy": (OPERATORS, "binary_cross_entropy"),
    "Huber": (OPERATORS, "huber_loss"), "Abs": (OPERATORS, "l1_loss"), "Sub": ("test_ops_arithmetic.py", "sub"),
    **{name: ("test_ops_arithmetic.py", name.lower()) for name in ("Add", "Mul", "Div")}}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Enter the flags of the command."""
    parser.add_argument("mistakes", nargs="*", metavar="MISTAKE",
                        help="names of mistakes, or of operations such as Conv2d for all of theirs (all there are)")
    parser.add_argument("--list", action="store_true", help="list the mistakes that are known, and plant none")
    parser.add_argument("--tests", nargs="+", metavar="PATH",
                        help="tests to run for each mistake; by default minicnn's own ones of the operation")
    parser.add_argument("--all", action="store_true", help="name all tests that notice, not only the first")
    parser.add_argument("--timeout", type=positive, default=600, metavar="S",
                        help="seconds that the tests of one operation may take with all of its mistakes (600)")


def run(args: argparse.Namespace) -> int:
    """Plant one mistake after the other; 1 if there is one that no test notices."""
    from .testing.mistakes import MISTAKES

    known = {m.name for m in MISTAKES} | {m.operation for m in MISTAKES}
    for name in args.mistakes:
        if name not in known:
            raise UsageError(f"there is no known mistake {name!r}{did_you_mean(name, known)}", "--list shows all")
    chosen = [m for m in MISTAKES if not args.mistakes or m.name in args.mistakes or m.operation in args.mistakes]
    if args.list:
        for m in chosen:
            print(f"{m.operation:20}{m.name}\n{'':20}  {m.advice}")
        return 0
    survived = 0
    for mistakes, tests in _batches(chosen, args.tests):
        noticed = who_notices(mistakes, tests, args.all, args.timeout)
        for m in mistakes:
            survived += not noticed[m.name]
            _show(m, noticed[m.name])
    print(f"\n{len(chosen) - survived} of {len(chosen)} mistakes noticed")
    return 1 if survived else 0


def _show(mistake: "Mistake", tests: list[str]) -> None:
    print(f"{mistake.operation:20}{mistake.name:56}{tests[0] if tests else 'NOT NOTICED'}", flush=True)
    for test in tests[1:]:
        print(f"{'':76}{test}")


def _batches(chosen: list["Mistake"], tests: list[str] | None) -> Iterator[tuple[list["Mistake"], list[str]]]:
    """Mistakes that the same tests are run for, and those tests as arguments for pytest."""
    if tests is not None:
        yield chosen, tests
        return
    for operation in dict.fromkeys(m.operation for m in chosen):
        files, names = OWN_TESTS[operation]
        paths = [ROOT / "tests" / file for file in files.split()]
        if not all(path.exists() for path in paths):
            raise CommandError("minicnn's own tests are only in a checkout", "name yours with --tests PATH")
        yield [m for m in chosen if m.operation == operation], [*map(str, paths), "-k", names]


def who_notices(mistakes: list["Mistake"], tests: list[str], to_the_end: bool, timeout: int) -> dict[str, list[str]]:
    """For each mistake the tests that fail with it planted: the first of them, or all. One process runs them all.

    Raises:
        CommandError: they do not pass as things are, or pytest cannot run them.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "noticed")
        file.touch()
        environment = {**os.environ, "MINICNN_MISTAKES": "\n".join(["", *[m.name for m in mistakes]]),
                       "MINICNN_NOTICED": str(file), "MINICNN_ALL": "1" if to_the_end else "",
                       "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
        in_one_process = ["-n", "0"] if importlib.util.find_spec("xdist") else []  # the planting knows only its own
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *in_one_process,
                   "-p", f"{__package__}.testing.planting", *tests]
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise CommandError(f"the tests {' '.join(tests)} took more than {timeout} s",
                               "choose fewer of them, or a longer --timeout") from error
        lines = [line.partition("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    failing = [test for name, _, test in lines if not name]
    if done.returncode or failing:
        raise CommandError(f"the tests {' '.join(tests)} do not pass with nothing planted",
                           f"repair them first: {' '.join(failing) or done.stdout[-300:] + done.stderr[-300:]}")
    return {m.name: [test for name, _, test in lines if name == m.name] for m in mistakes}


def main(argv: list[str] | None = None, prog: str | None = None) -> int:
    """The command; returns its exit code."""
    return execute("mutate", __doc__.partition(": ")[2], add_arguments, run, argv, prog)


if __name__ == "__main__":
    sys.exit(main())
