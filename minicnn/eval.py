"""python -m minicnn.eval RUN: accuracy of a trained network, and which classes it takes for which."""

import argparse
import json
import math
import sys
from typing import TYPE_CHECKING, Any

from .cli import add_machine_arguments, count, execute, given, positive, show, to_stderr, use_machine

if TYPE_CHECKING:
    from .training import Evaluation

MOST_CLASSES = 12  # for which the whole table is shown: it fits into 80 columns


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Enter the flags of the command."""
    parser.add_argument("run", metavar="RUN", help="run folder of the train command, or a .safetensors file in one")
    parser.add_argument("--data-dir", metavar="DIR", help="folder with the data, searched first and downloaded into")
    parser.add_argument("--offline", action="store_true", default=None, help="never download")
    parser.add_argument("--limit-val", type=positive, metavar="N", help="use the first N validation images only")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_machine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Do what the parsed command line says; returns the exit code."""
    device, line = use_machine(args.device, args.threads)
    import numpy as np

    from .training import evaluate
    from .training.compiling import announce_compiling
    from .training.evaluation import inputs, like_weights
    from .training.history import figure
    from .training.session import load_run, validation_of

    trained = load_run(args.run, device, to_stderr)
    images, batches = validation_of(trained, given(args, ("data_dir", "offline", "limit_val")))
    with announce_compiling(to_stderr), np.errstate(all="ignore"):
        result = evaluate(trained.model, batches)
        if not math.isfinite(result.loss):
            raise trained.not_finite(inputs(trained.model, *like_weights(trained.model, x, y))
                                     for x, y in batches.epoch(0))
    if args.json:
        print(json.dumps({"weights": str(trained.path), "epochs": trained.epochs, "data": images.name,
                          "images": result.images, "accuracy": result.accuracy, "loss": result.loss,
                          "classes": images.classes,
                          "recall": _numbers(result.recall), "precision": _numbers(result.precision),
                          "confusion": result.confusion.tolist()}))
        return 0
    print(line)
    print(f"model: {trained.settings['model']['name']}, {trained.path} after {count(trained.epochs, 'epoch')}")
    print(f"data: {images.name}, {count(len(images), f'validation {images.kind}')}")
    wrong = result.images - int(result.confusion.trace())
    print(f"accuracy {result.accuracy:.1%}  ({wrong:,} wrong)  loss {figure(result.loss)}\n")
    if len(images.classes) <= MOST_CLASSES:
        show(ConfusionTable(result, images.classes))
    else:
        print(f"the table of {len(images.classes)} classes is in the output of --json")
    _worst(result, images.classes)
    return 0


def _numbers(values: Any) -> list[float | None]:
    return [None if v != v else float(v) for v in values]


class ConfusionTable:
    """True classes down, predicted ones across, recall and precision at the ends."""

    def __init__(self, result: "Evaluation", classes: list[str]) -> None:
        self.result, self.classes = result, classes

    def __rich__(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        short = max(map(len, self.classes)) <= 4
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
        table.add_column("true \\ pred.")
        for i, name in enumerate(self.classes):
            table.add_column(name if short else str(i), justify="right", min_width=4, no_wrap=True)
        table.add_column("recall", justify="right", no_wrap=True)
        for i, (name, counts, recall) in enumerate(zip(self.classes, self.result.confusion, self.result.recall,
                                                        strict=True)):
            cells = [Text(str(n) if n else "·", style="green" if i == j else "bold red" if n else "dim")
                     for j, n in enumerate(counts)]
            label = Text(name if short else f"{i} {name}", no_wrap=True, overflow="ellipsis")  # cut if it is too long
            table.add_row(label, *cells, _percent(recall))
        table.add_row(Text("precision", style="dim"), *(_percent(p, digits=0) for p in self.result.precision), "")
        return table

    def __str__(self) -> str:
        from .explain.summary import plain_text

        return plain_text(self)


def _percent(fraction: float, digits: int = 1) -> str:
    return "–" if fraction != fraction else f"{fraction:.{digits}%}"


def _worst(result: "Evaluation", classes: list[str], most: int = 4) -> None:
    from rich.cells import cell_len, set_cell_size

    pairs = [(int(n), i, j) for i, row in enumerate(result.confusion) for j, n in enumerate(row) if i != j and n]
    if pairs:
        worst = sorted(pairs, key=lambda pair: (-pair[0], *pair[1:]))[:most]
        names = [f"{classes[i]} for {classes[j]}" for _, i, j in worst]
        width = max(map(cell_len, names))  # in columns of a terminal
        print("\nmost often mistaken")
        for name, (n, *_) in zip(names, worst, strict=True):
            print(f"  {set_cell_size(name, width)}  {n:,}×")


def main(argv: list[str] | None = None, prog: str | None = None) -> int:
    """The command; returns its exit code."""
    return execute("eval", __doc__.partition(": ")[2], add_arguments, run, argv, prog)


if __name__ == "__main__":
    sys.exit(main())
