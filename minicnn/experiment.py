"""python -m minicnn.experiment NAME: networks that differ in one thing, trained side by side; a table and a plot."""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli import (Switch, UsageError, add_machine_arguments, count, did_you_mean, execute, given, positive, show,
                  use_machine)

if TYPE_CHECKING:
    from .training.experiments import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Enter the flags of the command."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="the experiment; without it all are listed")
    parser.add_argument("--quick", action=Switch, help="about a minute on the bundled digits instead of CIFAR-10")
    parser.add_argument("--seeds", type=positive, default=1, metavar="N", help="runs of each network (1)")
    parser.add_argument("--data", metavar="NAME", help="another data set, as of the train command")
    parser.add_argument("--data-dir", metavar="DIR", help="folder with the data, searched first and downloaded into")
    parser.add_argument("--offline", action=Switch, help="never download")
    parser.add_argument("--limit-train", type=positive, metavar="N", help="use the first N training images only")
    parser.add_argument("--limit-val", type=positive, metavar="N", help="use the first N validation images only")
    parser.add_argument("--epochs", type=positive, metavar="N", help="passes over the training images")
    parser.add_argument("-b", "--batch-size", type=positive, metavar="N", help="images per step")
    parser.add_argument("-o", "--out", default="runs", metavar="DIR", help="where the folder of the experiment goes "
                        "(runs); the same command goes on with it")
    add_machine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Do what the parsed command line says; returns the exit code."""
    from .training import Interrupted
    from .training.compiling import announce_compiling
    from .training.display import display
    from .training.experiments import EXPERIMENTS, TARGET, Arm, run_experiment
    from .training.session import Selection

    if args.name is None:
        for experiment in EXPERIMENTS.values():
            arms = " | ".join(arm.label for arm in experiment.arms)
            print(f"{experiment.name:12}{experiment.question}\n{'':12}{arms}; {experiment.source}")
        return 0
    if args.name not in EXPERIMENTS:
        raise UsageError(f"there is no experiment {args.name}{did_you_mean(args.name, EXPERIMENTS)}",
                         f"experiments: {', '.join(EXPERIMENTS)}")
    experiment = EXPERIMENTS[args.name]
    device, line = use_machine(args.device, args.threads)
    out = Path(args.out) / f"{experiment.name}{'-quick' if args.quick else ''}"
    data = args.data or (experiment.quick if args.quick else experiment.recipe)["data"]
    print(f"{experiment.question} ({experiment.source})\n{line}\ndata: {data}\nfolder: {out}", flush=True)

    def report(arm: Arm, seed: int, parameters: int) -> Any:
        print(f"\n{arm.label}, seed {seed}: {arm.model}, {parameters:,} parameters", flush=True)
        return display()

    selection = Selection(**given(args, ("data_dir", "offline", "limit_train", "limit_val")))
    try:
        with announce_compiling(print):
            outcomes = run_experiment(experiment, out, quick=bool(args.quick), seeds=args.seeds, selection=selection,
                                      device=device, changes=given(args, ("data", "epochs", "batch_size")),
                                      report=report)
    except Interrupted as stop:
        print(f"{stop}; what is done is saved, and the same command goes on", flush=True)
        return 128 + stop.number
    print()
    show(Results(outcomes, f"epochs to {TARGET:.0%}"))
    if experiment.note:
        print(f"note: {experiment.note}")
    if find_spec("matplotlib") is None:
        print("for a plot install matplotlib: pip install '.[plot]' in the checkout")
        return 0
    from .training.plots import plot_outcomes

    plot_outcomes(outcomes, out / "curves.svg", f"{experiment.question}  {data}, {count(args.seeds, 'seed')}")
    print(f"curves: {out / 'curves.svg'}")
    return 0


class Results:
    """A row for each network."""

    def __init__(self, outcomes: list["Outcome"], reached: str) -> None:
        self.outcomes, self.reached = outcomes, reached

    def __rich__(self) -> Any:
        from rich.table import Table

        from .training.experiments import table

        drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("", "parameters", "loss", self.reached, "best val_acc", "s/epoch"):
            drawn.add_column(name, justify="right" if name else "left", no_wrap=True)
        for row in table(self.outcomes):
            drawn.add_row(*row)
        return drawn

    def __str__(self) -> str:
        from .explain.summary import plain_text

        return plain_text(self)


def main(argv: list[str] | None = None, prog: str | None = None) -> int:
    """The command; returns its exit code."""
    return execute("experiment", __doc__.partition(": ")[2], add_arguments, run, argv, prog)


if __name__ == "__main__":
    sys.exit(main())
