"""python -m minicnn.predict RUN IMAGE...: what a trained network sees in image files."""

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from .cli import CommandError, add_machine_arguments, execute, positive, report, to_stderr, use_machine

if TYPE_CHECKING:
    import numpy as np

BAR = 24
EIGHTHS = " ▏▎▍▌▋▊▉"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Enter the flags of the command."""
    parser.add_argument("run", metavar="RUN", help="run folder of the train command, or a .safetensors file in one")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="PNG, JPEG or any other file that Pillow reads")
    parser.add_argument("--top", type=positive, default=3, metavar="N", help="classes to show (3)")
    parser.add_argument("--invert", choices=("auto", "yes", "no"), default="auto",
                        help="turn dark on light into light on dark; auto looks at the border of grey images")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_machine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Do what the parsed command line says; returns the exit code, 1 if any of the images cannot be read."""
    device, _ = use_machine(args.device, args.threads)
    import numpy as np

    from . import functional as F
    from .data import DataError
    from .engine import Tensor, no_grad
    from .training.compiling import announce_compiling
    from .training.pipeline import for_prediction
    from .training.session import load_run

    trained = load_run(args.run, device, to_stderr)
    data = trained.settings["data"]
    if len(data["shape"]) != 3:
        raise CommandError(f"{args.run} is a run of {trained.settings['model']['name']}, which reads texts, not images",
                           "examples/04_sequences.py shows how to let it read or write")
    images = {}  # by position, for an image may be named twice
    for i, path in enumerate(args.images):
        try:
            images[i] = _read(path, data["shape"], args.invert)
        except DataError as error:
            report(args.prog, error)
    found = []
    if images:
        x = Tensor(for_prediction(trained.settings, np.stack(list(images.values()))))
        x = x.to(next(trained.model.parameters()))
        with no_grad(), announce_compiling(to_stderr), np.errstate(all="ignore"):
            probabilities = F.softmax(trained.model(x), dim=1).cpu().numpy()
            if not np.isfinite(probabilities).all():
                raise trained.not_finite([(x,)])
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :args.top]
        found = [(args.images[i], [(data["classes"][k], float(p[k])) for k in ks])
                 for i, p, ks in zip(images, probabilities, best, strict=True)]
    if args.json:
        print(json.dumps([{"image": path, "top": [{"class": name, "probability": p} for name, p in top]}
                          for path, top in found]))
    else:
        from rich.cells import cell_len, set_cell_size

        width = max((cell_len(name) for _, top in found for name, _ in top), default=0)  # in columns of a terminal
        for path, top in found:
            print(path)
            for name, p in top:
                print(f"  {set_cell_size(name, width)}  {_bar(p)} {p:6.1%}")
    return 0 if len(images) == len(args.images) else 1


def _read(path: str, shape: Sequence[int], invert: str) -> "np.ndarray":
    """An image file as uint8 of the shape of the training images; one of other proportions gets a border."""
    from .data import read_image

    channels, height, width = shape
    grey: Literal[1, 3] = 1 if channels == 1 else 3
    levels: dict[str, bool | Literal["auto"]] = {"auto": "auto" if channels == 1 else False, "yes": True, "no": False}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Image size")  # Pillow warns of many pixels; it refuses too many anyway
        return read_image(path, (height, width), grey, levels[invert], fit="pad")


def _bar(fraction: float) -> str:
    full, eighths = divmod(round(fraction * BAR * 8), 8)
    return ("█" * full + EIGHTHS[eighths].strip()).ljust(BAR)


def main(argv: list[str] | None = None, prog: str | None = None) -> int:
    """The command; returns its exit code."""
    return execute("predict", __doc__.partition(": ")[2], add_arguments, run, argv, prog)


if __name__ == "__main__":
    sys.exit(main())
