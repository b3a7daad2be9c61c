"""python -m minicnn.summary [MODEL]: the layers of a network in a table or a drawing, or the list of all networks."""

import argparse
import shutil
import sys
import textwrap

from .cli import CommandError, UsageError, add_option_argument, execute, positive, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Enter the flags of the command."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help="name of the network; without it all are listed")
    parser.add_argument("--input", type=_shape, metavar="CxHxW", help="shape of an image, such as 1x28x28")
    parser.add_argument("--classes", type=positive, default=10, metavar="N", help="number of classes (10)")
    parser.add_argument("--depth", type=positive, metavar="N",
                        help="modules whose paths have N names are one row or box (as many as one still takes in)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--style", choices=("rich", "plain", "keras", "torchsummary"), default="rich",
                      help="whose table it looks like; rich is our own, in colour on a terminal, plain has none")
    what.add_argument("--graph", metavar="FILE",
                      help="draw the network into a .svg, or write what others draw: .mmd (Mermaid) or .dot (Graphviz)")
    what.add_argument("--diff", metavar="MODEL", help="lay another network beside it, layer by layer")
    add_option_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Do what the parsed command line says; returns the exit code."""
    from . import models
    from .explain import check_format, diff, graph, summary
    from .models.shapes import shape_text
    from .training.compiling import announce_compiling

    if args.model is None:
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        given = [f"--{name}" for name, plain in vars(parser.parse_args([])).items() if getattr(args, name) != plain]
        if given:
            raise UsageError(f"{', '.join(given)}: of which MODEL? Without one, all are listed")
        _list()
        return 0
    channels = args.input[0] if args.input else None
    try:
        if args.graph is not None:
            check_format(args.graph)
        entry = models.entry(args.model)
        if args.input is not None and not entry.reads_images:
            raise UsageError(f"--input {shape_text(args.input)}: {args.model} reads texts of any length, not images")
        entry.check_options(dict(args.option))
        model = models.create(args.model, args.classes, channels, **dict(args.option))
        other = None if args.diff is None else models.create(args.diff, args.classes, channels)
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error
    with announce_compiling(lambda text: print(text, file=sys.stderr)):
        try:
            if args.graph is not None:
                graph(model, args.input, depth=args.depth).save(args.graph)
                print(f"wrote {args.graph}; --depth N draws what is inside of its boxes, or less")
            elif other is not None:
                show(diff(model, other, args.input, depth=args.depth))
            else:
                show(summary(model, args.input, style=args.style, depth=args.depth))
        except ValueError as error:  # no image of this size
            raise CommandError(str(error), "choose a size that fits with --input CxHxW") from error
    return 0


def _list() -> None:
    from . import models

    width, names = shutil.get_terminal_size().columns, models.list()
    longest = max(map(len, names))
    for name in names:
        entry = models.entry(name)
        shape = "×".join(map(str, entry.input_shape)) if entry.reads_images else "texts"
        head = f"{name:{longest}}  {shape:9}  "
        print(textwrap.fill(head + entry.description, width, subsequent_indent=" " * len(head)))
        print(textwrap.fill(entry.source, width, initial_indent=" " * len(head), subsequent_indent=" " * len(head)))


def _shape(text: str) -> tuple[int, ...]:
    parts = text.replace("×", "x").split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text} must be CxHxW, such as 1x28x28")
    return tuple(map(int, parts))


def main(argv: list[str] | None = None, prog: str | None = None) -> int:
    """The command; returns its exit code."""
    return execute("summary", __doc__.partition(": ")[2], add_arguments, run, argv, prog)


if __name__ == "__main__":
    sys.exit(main())
