"""python -m minicnn.bisect --a cpu --b cuda MODEL: the first layer, forward or backward, where two back ends differ."""

import argparse
import re
import sys
from typing import TYPE_CHECKING

from .cli import CommandError, UsageError, add_option_argument, count, did_you_mean, execute, positive

if TYPE_CHECKING:
    from .testing.bisection import Difference


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Enter the flags of the command."""
    parser.add_argument("model", metavar="MODEL", help="name of the network")
    parser.add_argument("--a", default="cpu", metavar="NAME",
                        help="back end: reference, cpu (the default), cuda-emulated, cuda or cuda:N")
    parser.add_argument("--b", default="reference", metavar="NAME", help="the other one (reference)")
    parser.add_argument("--bound", type=float, metavar="X",
                        help="largest difference, relative to the largest element (1e-8, for float32 1e-3)")
    parser.add_argument("-b", "--batch-size", type=positive, default=2, metavar="N", help="inputs (2)")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64",
                        help="float64 (the default) tells rounding from mistakes best")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="draws other weights and inputs (0)")
    add_option_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print where the back ends part; 1 if they do."""
    from . import backend, models
    from .kernels.cuda.emulator import CudaError
    from .testing.bisection import BACK_ENDS, BOUNDS, bisect
    from .training.compiling import announce_compiling

    for name in (args.a, args.b):
        if name not in BACK_ENDS and not re.fullmatch(r"cuda:\d+", name):
            raise UsageError(f"there is no back end {name}{did_you_mean(name, BACK_ENDS)}",
                             f"back ends: {', '.join(BACK_ENDS)}, cuda:N")
        if name.partition(":")[0] == "cuda" and (reason := backend.why_not(backend.Device.parse(name))):
            raise CommandError(f"back end {name} cannot be used: {reason}",
                               "cuda-emulated runs the same kernels without a GPU")
    backend.manual_seed(args.seed)
    try:
        models.entry(args.model).check_options(dict(args.option))
        model = models.create(args.model, **dict(args.option))
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error
    bound = BOUNDS[args.dtype] if args.bound is None else args.bound
    print(f"{args.model}, {count(args.batch_size, 'input')}, {args.dtype}: {args.a} against {args.b}, bound {bound:g}",
          flush=True)
    with announce_compiling(lambda text: print(text, file=sys.stderr)):
        try:
            found = bisect(model, args.a, args.b, bound=bound, batch=args.batch_size, dtype=args.dtype, seed=args.seed)
        except CudaError as error:
            raise CommandError(f"a kernel does what a GPU forbids: {error}") from error
    for direction in dict.fromkeys(d.direction for d in found.compared):
        if found.first is not None and found.first.direction == direction:
            _tell(found.first, args.a, args.b)
        else:
            most = found.largest(direction)
            arrays = sum(d.direction == direction for d in found.compared)
            print(f"{direction:10}{count(arrays, 'array')} agree; largest difference {most.relative:.0e}, {most.what} "
                  f"of {most.layer}")
    return 0 if found.first is None else 1


def _tell(d: "Difference", a: str, b: str) -> None:
    print(f"{d.direction:10}the first difference is in {d.layer}: {d.what}, {d.shape}")
    print(f"{'':10}at {d.index} {a} has {d.values[0]:.8g}, {b} {d.values[1]:.8g}: {d.relative:.1e} of the largest "
          "element")


def main(argv: list[str] | None = None, prog: str | None = None) -> int:
    """The command; returns its exit code."""
    return execute("bisect", __doc__.partition(": ")[2], add_arguments, run, argv, prog)


if __name__ == "__main__":
    sys.exit(main())
