"""python -m minicnn.explain WHAT: every number of a layer, forward and backward, in the terminal and as a page.

WHAT is an operation on small integers (conv2d, linear, max_pool2d, avg_pool2d, batch_norm, cross_entropy, dropout), or
a network: a run folder of the train command, or the name of a model with its initial weights.
"""

import argparse
import inspect
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cli import CommandError, UsageError, add_option_argument, did_you_mean, execute, given

if TYPE_CHECKING:
    import numpy as np

    from .explorer.look import Subject

SIZES = {"input": "size", "kernel": "kernel", "stride": "stride", "padding": "padding", "dilation": "dilation",
         "channels": "channels", "groups": "groups", "p": "p"}  # flags of operations, and what they are there
LARGEST = 40_000  # numbers in the column matrix, or the kernels; a page has all positions of its sliders
OF_NETWORKS = ("layer", "image", "label", "cam", "training")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Enter the flags of the command."""
    parser.add_argument("what", metavar="WHAT", help="conv2d, linear, max_pool2d, avg_pool2d, batch_norm, "
                        "cross_entropy, dropout; or a run folder, or the name of a model")
    parser.add_argument("-o", "--out", metavar="FILE", default="explain.html", help="the page (explain.html)")
    parser.add_argument("--lang", choices=("en", "zh"), default="en", help="language of the page when it opens (en)")
    small = parser.add_argument_group("operations, on small numbers")
    small.add_argument("--input", type=_pair, metavar="HxW", help="size of the image; of logits, rows and classes")
    small.add_argument("--channels", type=_pair, metavar="C[xO]", help="channels in and out")
    for name in ("kernel", "stride", "padding", "dilation"):
        small.add_argument(f"--{name}", type=_pair, metavar="N[xM]", help="a number, or one for rows and columns each")
    small.add_argument("--groups", type=int, metavar="G", help="groups of channels of a convolution")
    small.add_argument("--p", type=float, metavar="P", help="probability of dropout")
    network = parser.add_argument_group("networks")
    network.add_argument("--layer", metavar="NAME", help="the layer to explain (the first convolution)")
    network.add_argument("--image", metavar="FILE", help="an image file, or the number of a validation image (0)")
    network.add_argument("--label", metavar="CLASS", help="go back from the loss for this class, by name or number, "
                         "not from the score of the class that the network answers")
    network.add_argument("--cam", metavar="NAME", help="the layer of the class activation map (the last convolution)")
    network.add_argument("--training", action="store_true", default=None,
                         help="run the layer as in training: batch norm with statistics of the image, dropout at work")
    add_option_argument(network)


def run(args: argparse.Namespace) -> int:
    """Do what the parsed command line says; returns the exit code."""
    from .explorer.toy import OPERATIONS

    if args.what in OPERATIONS:
        _operation(args)
    else:
        _network(args)
    return 0


def _operation(args: argparse.Namespace) -> None:
    from .explorer import page, terminal
    from .explorer.toy import OPERATIONS

    operation, sizes = OPERATIONS[args.what], given(args, SIZES)
    accepted = inspect.signature(operation).parameters
    wrong = [*given(args, OF_NETWORKS), *(["option"] if args.option else []),
             *[name for name in sizes if SIZES[name] not in accepted]]
    if wrong:
        hint = f"networks have: python -m minicnn.explain lenet --{wrong[0]} ..." if wrong[0] in OF_NETWORKS else None
        raise UsageError(f"{args.what} has no --{wrong[0]}", hint)
    used = {name: p.default for name, p in accepted.items()} | {SIZES[name]: value for name, value in sizes.items()}
    channels, outputs = used.get("channels", (1, 1))
    count = math.prod(used.get("kernel", ())) * channels * max(math.prod(used.get("size", ())), outputs)
    if count > LARGEST:
        raise UsageError(f"{args.what}: {count:,} numbers in a matrix are more than can be looked at ({LARGEST:,})",
                         "make --input smaller; a picture goes through a network: python -m minicnn.explain lenet "
                         "--image FILE")
    try:
        found = operation(**used)
    except (ValueError, RuntimeError) as error:
        raise UsageError(str(error)) from error
    scenes = [page.scene(run, page.about(run), position) for position, run in
              [(found.position, found.run), *found.others]]
    written = _write(args.out, page.page(args.what, scenes, found.sliders, args.lang))
    terminal.show(found.run)
    print(written)


def _network(args: argparse.Namespace) -> None:
    from ..training.compiling import announce_compiling

    wrong = list(given(args, SIZES))
    if wrong:
        raise UsageError(f"--{wrong[0]} belongs to operations such as conv2d, and {args.what} is none")
    args.image = args.image or "0"
    with announce_compiling(lambda text: print(text, file=sys.stderr)):
        _explain(args)


def _explain(args: argparse.Namespace) -> None:
    from .explorer import page
    from .explorer.look import look

    subject = _subject(args)
    try:
        seen = look(subject, args.layer, args.label, args.cam, bool(args.training))
    except ValueError as error:
        raise CommandError(str(error), "--layer NAME chooses another layer, --image another image") from error
    print(seen.text)
    print(_write(args.out, page.page(f"{subject.name} · {seen.layer}", [seen.scene], {}, args.lang, seen.network)))


def _subject(args: argparse.Namespace) -> "Subject":
    """The network that is named, and the image."""
    from .. import data, models
    from ..backend import manual_seed
    from ..engine import Tensor
    from ..training.pipeline import for_prediction
    from ..training.session import load_run, validation_of
    from .explorer.look import Subject
    from .explorer.toy import OPERATIONS

    if Path(args.what).exists():
        run = load_run(args.what)
        model, name, about = run.model, run.settings["model"]["name"], run.settings["data"]
        _refuse_texts(name)
        if args.image.isdigit():
            image = _numbered(validation_of(run, {})[0], int(args.image))
        else:
            image = _read(args.image, about["shape"])
        x, classes, source = for_prediction(run.settings, image[None]), about["classes"], str(run.path)
    elif args.what in models.list():
        _refuse_texts(args.what)
        manual_seed(0)
        try:
            models.entry(args.what).check_options(dict(args.option))
            model = models.create(args.what, **dict(args.option))
        except (ValueError, TypeError) as error:
            raise UsageError(str(error)) from error
        name, source = args.what, "with its initial weights"
        channels, height, width = models.entry(args.what).input_shape
        if args.image.isdigit():
            image = _numbered(data.load("digits", "validation"), int(args.image))
            image = data.transforms.Resize((height, width))(image[None].repeat(channels, 1))[0]
        else:
            image = _read(args.image, (channels, height, width))
        x, classes = data.transforms.ToFloat()(image[None]), [str(k) for k in range(10)]
    else:
        known = [*OPERATIONS, *models.list()]
        raise UsageError(f"there is no operation, run or model {args.what}{did_you_mean(args.what, known)}")
    return Subject(name, f"{source}, image {args.image}", model, Tensor(x).to(next(model.parameters())), classes)


def _refuse_texts(name: str) -> None:
    from .. import models

    if not models.entry(name).reads_images:
        raise CommandError(f"{name} reads texts, and what is explained are images", "python -m minicnn.summary lists "
                           "the networks that read images")


def _numbered(images: Any, number: int) -> "np.ndarray":
    if number >= len(images):
        raise UsageError(f"--image {number}: there are {len(images):,} validation images")
    return images.images[number]


def _read(path: str, shape: Sequence[int]) -> "np.ndarray":
    from ..data import read_image

    channels, *size = shape
    grey = channels == 1
    return read_image(path, (size[0], size[1]), 1 if grey else 3, "auto" if grey else False, fit="pad")


def _write(path: str, html: str) -> str:
    """Write the page; a line that says so."""
    Path(path).write_text(html, encoding="utf-8")
    return f"page: {path} ({len(html.encode()) / 1e6:.2f} MB); open it in a browser"


def main(argv: list[str] | None = None, prog: str | None = None) -> int:
    """The command; returns its exit code."""
    return execute("explain", __doc__.partition(": ")[2], add_arguments, run, argv, prog)


def _pair(text: str) -> tuple[int, int]:
    parts = text.replace("×", "x").split("x")
    if len(parts) > 2 or not all(part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{text} must be a number, or two such as 5x4")
    return int(parts[0]), int(parts[-1])


if __name__ == "__main__":
    sys.exit(main())
