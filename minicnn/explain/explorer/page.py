"""One self-contained HTML page: style, scripts, texts and every number inline, nothing from the network."""

import base64
import json
from dataclasses import replace
from importlib import resources
from typing import Any

import numpy as np

from .layer import LayerRun
from .lens import Box, parts

LANGUAGES = ("en", "zh")
SCRIPTS = ("core.js", "grid.js", "operation.js", "conv.js", "conv_panels.js", "conv_steps.js", "pool.js", "norm.js",
           "pointwise.js", "network.js", "sum.js", "app.js")
BATCHES = ("batch_norm", "cross_entropy")  # are shown as they are, everything else without the axis of images
PARAMETERS = ("w", "b", "gw", "gb")
FEW = 2000  # integers that are written as such, to be read by people too


def page(title: str, scenes: list[dict[str, Any]], sliders: dict[str, list[int]], lang: str = "en",
         network: dict[str, Any] | None = None) -> str:
    """The page as text.

    Args:
        title: what it is about.
        scenes: layers, from ``scene``; the first is shown when the page is opened.
        sliders: the values that each slider has; each scene says in which position it is shown.
        lang: the language that it begins in, "en" or "zh".
        network: the pictures of the network, from ``views``, if there is one.
    """
    data = {"title": title, "lang": lang, "scenes": scenes, "sliders": sliders, "network": network,
            "texts": {key: dict(zip(LANGUAGES, both)) for key, both in texts().items()}}
    parts = {"style": _read("page.css"), "script": "\n".join(map(_read, SCRIPTS)),
             "data": json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")}
    html = _read("page.html")
    for name, content in parts.items():
        html = html.replace(f"/* {name} */", content, 1)
    return html


def texts() -> dict[str, list[str]]:
    """The texts of page and terminal by their keys, in all LANGUAGES."""
    return json.loads(_read("texts.json"))


def about(run: LayerRun) -> list[str]:
    """A line on the shapes and settings of a layer, in all LANGUAGES."""
    shapes = " → ".join("×".join(map(str, run.arrays[name].shape)) for name in ("x", "y"))
    numbers: dict[str, Any] = {}
    if run.operation == "conv2d":
        numbers = {"kernel": run.arrays["w"].shape[2:], **run.settings}
        numbers["padding"] = tuple(before for before, _ in run.settings["padding"])
        plain = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
        numbers = {name: value for name, value in numbers.items() if value != plain.get(name)}
    words = texts() | {"slider.kernel": texts()["word.kernel"]}
    return [", ".join([shapes, *[f"{words[f'slider.{name}'][k]} {_number(value)}" for name, value in numbers.items()]])
            for k in range(len(LANGUAGES))]


def _number(value: int | tuple[int, int]) -> str:
    """A setting for rows and columns: one number if they are equal."""
    if isinstance(value, int):
        return str(value)
    return str(value[0]) if value[0] == value[1] else f"{value[0]}×{value[1]}"


def scene(run: LayerRun, about: list[str], position: dict[str, int] | None = None, taken: int = 0) -> dict[str, Any]:
    """A layer as the page reads it.

    Args:
        about: a line on it, in all LANGUAGES.
        position: where the sliders stand.
        taken: how many other numbers there are on the page.
    """
    if run.operation not in BATCHES:
        run = replace(run, arrays={name: a if name in PARAMETERS else a[0] for name, a in run.arrays.items()})
    boxes = parts(run, taken)
    return {"operation": run.operation, "settings": run.settings, "about": dict(zip(LANGUAGES, about)),
            "position": position, "tensors": {name: encode(a, boxes[name]) for name, a in run.arrays.items()}}


def encode(a: np.ndarray, boxes: list[Box] | None = None) -> dict[str, Any]:
    """Parts of an array (None: all of it), exactly: integers as such, others as base64 of their bytes, lowest first."""
    kind = a.dtype if a.dtype.kind == "f" or a.dtype == np.uint8 else np.dtype(float)
    return {"shape": a.shape, "type": kind.name,
            "blocks": [_block(a.astype(kind), box) for box in boxes or [tuple((0, n) for n in a.shape)]]}


def _block(a: np.ndarray, box: Box) -> dict[str, Any]:
    part = a[tuple(slice(*span) for span in box)]
    block = {"start": [start for start, _ in box], "shape": part.shape}
    if part.size < FEW and (part == np.round(part)).all() and (abs(part) < 2**31).all():
        return {**block, "data": part.astype(int).ravel().tolist()}
    return {**block, "data": base64.b64encode(part.astype(part.dtype.newbyteorder("<")).tobytes()).decode()}


def _read(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")
