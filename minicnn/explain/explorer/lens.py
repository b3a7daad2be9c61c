"""Which parts of a layer's arrays a page shows, where all of them would be too many numbers for one."""

import math

import numpy as np

from ...kernels.contract import Geometry
from .layer import LayerRun

NUMBERS = 350_000  # on a page of 2 MB, at most
REGION = 7  # rows and columns of outputs that are shown with all their channels
PER_CHANNEL = {"batch_norm": 1}  # the axis of channels; 0 without the axis of images

Span = tuple[int, int]  # start, stop
Box = tuple[Span, ...]  # one for each axis
Boxes = dict[str, list[Box]]  # by the names of arrays


def parts(run: LayerRun, taken: int = 0) -> Boxes:
    """The parts of each array to show: all of it, if there is room beside ``taken`` other numbers.

    Of a large convolution they are one output and one input channel in full, and so much of all others that the sums
    in a region are complete. Of other large layers they are as many channels as there is room for.

    Raises:
        ValueError: not even one channel fits.
    """
    boxes = {name: [tuple((0, n) for n in a.shape)] for name, a in run.arrays.items()}
    room = NUMBERS - taken
    if _count(boxes) > room:
        boxes = _of_convolution(run, room) if run.operation == "conv2d" else _of_channels(run, boxes, room)
    if _count(boxes) > room:
        raise ValueError(f"one channel of this layer has {_count(boxes):,} numbers, and there is room for {room:,} on "
                         "a page; use a smaller image")
    return boxes


def _count(boxes: Boxes) -> int:
    return sum(math.prod(stop - start for start, stop in box) for found in boxes.values() for box in found)


def _of_channels(run: LayerRun, boxes: Boxes, room: int) -> Boxes:
    """The same share of the channels of every array."""
    axis, count, cut = PER_CHANNEL.get(run.operation, 0), _count(boxes), {}
    for name, (box,) in boxes.items():
        at = axis if len(box) > axis else 0  # a vector has the axis of channels alone
        cut[name] = [(*box[:at], (0, max(1, box[at][1] * room // count)), *box[at + 1:])]
    return cut


def _of_convolution(run: LayerRun, room: int) -> Boxes:
    a, g = run.arrays, Geometry(**run.settings)
    (outputs, channels, *kernel), (_, *size), (_, *out) = a["w"].shape, a["x"].shape, a["y"].shape
    o = int(abs(a["gy"]).sum((1, 2)).argmax())
    group = o // (outputs // g.groups)
    others = group * (outputs // g.groups), (group + 1) * (outputs // g.groups)
    inputs = group * channels, (group + 1) * channels
    c = int(inputs[0] + abs(a["gx"][slice(*inputs)]).sum((1, 2)).argmax())
    strongest = np.unravel_index(abs(a["gy"][o]).argmax(), out)
    region, seen, meeting = [], [], []
    for k, (i, n, m) in enumerate(zip(strongest, out, size)):
        stride, reach, before = g.stride[k], g.dilation[k] * (kernel[k] - 1) + 1, g.padding[k][0]
        start = int(np.clip(i - REGION // 2, 0, max(n - REGION, 0)))
        stop = min(start + REGION, n)
        first, last = max(start * stride - before, 0), min((stop - 1) * stride - before + reach, m)
        region.append((start, stop))
        seen.append((first, last))
        meeting.append((max(-(-(first + before - reach + 1) // stride), 0), min((last - 1 + before) // stride + 1, n)))
    one, whole = {"o": (o, o + 1), "c": (c, c + 1)}, [[(0, n) for n in length] for length in (size, out, kernel)]
    here = c - inputs[0], c - inputs[0] + 1
    boxes: Boxes = {
        "x": [(inputs, *seen), (one["c"], *whole[0])],
        "w": [(one["o"], (0, channels), *whole[2]), (others, here, *whole[2])],
        "y": [(one["o"], *region), (one["o"], *whole[1])],
        "gy": [(others, *meeting), (one["o"], *whole[1])],
        "gx": [(one["c"], *seen), (one["c"], *whole[0])],
        "gw": [(one["o"], here, *whole[2])],
        "b": [((0, outputs),)], "gb": [(one["o"],)]}
    boxes = {name: boxes[name] for name in a}
    if _count(boxes) > room:  # not even channels as a whole
        boxes |= {name: boxes[name][:1] for name in ("x", "y", "gy", "gx")}
    return boxes
