"""python -m minicnn.predict RUN IMAGE...: what a trained network sees in image files."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from .cli import add_machine_arguments, execute, positive, use_machine

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
    """Do what the parsed command line says; returns the exit code."""
    device, _ = use_machine(args.device, args.threads)
    import numpy as np

    from . import functional as F
    from .engine import Tensor, no_grad
    from .training.compiling import announce_compiling
    from .training.pipeline import for_prediction
    from .training.session import load_run

    trained = load_run(args.run, device)
    data = trained.settings["data"]
    images = np.stack([_read(path, data["shape"], args.invert) for path in args.images])
    x = Tensor(for_prediction(trained.settings, images)).to(next(trained.model.parameters()))
    with no_grad(), announce_compiling(lambda text: print(text, file=sys.stderr)):
        probabilities = F.softmax(trained.model(x), dim=1).cpu().numpy()
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :args.top]
    found = [[(data["classes"][k], float(p[k])) for k in ks] for p, ks in zip(probabilities, best, strict=True)]
    if args.json:
        print(json.dumps([{"image": path, "top": [{"class": name, "probability": p} for name, p in top]}
                          for path, top in zip(args.images, found, strict=True)]))
        return 0
    width = max(len(name) for top in found for name, _ in top)
    for path, top in zip(args.images, found, strict=True):
        print(path)
        for name, p in top:
            print(f"  {name:{width}}  {_bar(p)} {p:6.1%}")
    return 0


def _read(path: str, shape: Sequence[int], invert: str) -> "np.ndarray":
    """An image file as uint8 of the shape of the training images; one that is not square keeps its proportions."""
    from .data import read_image
    from .data.transforms import Pad, Resize

    channels, *size = shape
    grey: Literal[1, 3] = 1 if channels == 1 else 3
    levels: dict[str, bool | Literal["auto"]] = {"auto": "auto" if channels == 1 else False, "yes": True, "no": False}
    x = read_image(path, channels=grey, invert=levels[invert])
    height, width = x.shape[1:]
    if height * size[1] != width * size[0]:
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        x = Pad((left, top, side - width - left, side - height - top), fill=_background(x))(x[None])[0]
    return x if x.shape[1:] == tuple(size) else Resize((size[0], size[1]))(x[None])[0]


def _background(x: "np.ndarray") -> float:
    """The median level of the outermost pixels."""
    import numpy as np

    return float(np.median(np.concatenate([x[:, [0, -1]].ravel(), x[:, :, [0, -1]].ravel()])))


def _bar(fraction: float) -> str:
    full, eighths = divmod(round(fraction * BAR * 8), 8)
    return ("█" * full + EIGHTHS[eighths].strip()).ljust(BAR)


def main(argv: list[str] | None = None, prog: str | None = None) -> int:
    """The command; returns its exit code."""
    return execute("predict", __doc__.partition(": ")[2], add_arguments, run, argv, prog)


if __name__ == "__main__":
    sys.exit(main())
