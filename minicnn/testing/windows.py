"""Which windows an element of a gradient of convolution or pooling comes from, in words."""

import itertools
from typing import Any

import numpy as np

from ..ops.conv import pads
from .case import Case

MOST = 6  # lines


def windows(case: Case, number: int, index: tuple[int, ...]) -> list[str]:
    """The products that element ``index`` of the gradient of array ``number`` is the sum of; empty if not known."""
    lines = _lines(case, number, index)
    return lines if len(lines) <= MOST else [*lines[:MOST], f"... and {len(lines) - MOST} more"]


def _lines(case: Case, number: int, index: tuple[int, ...]) -> list[str]:
    x, axes = case.arrays[0], _axes(case.operation)
    if not axes or x.ndim != axes + 2:
        return []
    if "conv" in case.operation:
        return _of_convolution(case, number, index)
    options = case.options
    kernel = _each(options["kernel_size"], axes)
    stride = _each(options.get("stride") or kernel, axes)
    pads, dilation = _each(options.get("padding", 0), axes), _each(options.get("dilation", 1), axes)
    meets = _meetings(index[2:], _output_size(case), kernel, stride, pads, dilation)
    n, c = index[:2]
    return [f"gy[{n}, {c}, {_list(out)}] of the window at {_list(first)}" for out, _, first in meets]


def _of_convolution(case: Case, number: int, index: tuple[int, ...]) -> list[str]:
    x, w = case.arrays[:2]
    axes, options = x.ndim - 2, case.options
    kernel, out_size = w.shape[2:], _output_size(case)
    stride, dilation = _each(options.get("stride", 1), axes), _each(options.get("dilation", 1), axes)
    padding = options.get("padding", 0)
    before = [p for p, _ in pads("conv", padding if isinstance(padding, str) else _each(padding, axes), kernel, stride,
                                 dilation)]
    if number == 2:
        return [f"gy[:, {index[0]}, :]: the sum over all images and outputs"]
    if number == 0:
        group = index[1] // w.shape[1]
        per_group = w.shape[0] // options.get("groups", 1)
        outs = f"{group * per_group}:{(group + 1) * per_group}"
        return [f"Σ gy[{index[0]}, {outs}, {_list(out)}]·w[{outs}, {index[1] % w.shape[1]}, {_list(k)}]"
                for out, k, _ in _meetings(index[2:], out_size, kernel, stride, before, dilation)]
    channel = index[0] // (w.shape[0] // options.get("groups", 1)) * w.shape[1] + index[1]
    lines = []
    for out in itertools.product(*map(range, out_size)):
        at = [i * s - p + k * d for i, s, p, k, d in zip(out, stride, before, index[2:], dilation, strict=True)]
        if all(0 <= i < n for i, n in zip(at, x.shape[2:], strict=True)):
            lines.append(f"Σ gy[:, {index[0]}, {_list(out)}]·x[:, {channel}, {_list(at)}]")
    return lines


def _meetings(place: tuple[int, ...], out_size: tuple[int, ...], kernel: Any, stride: Any, pads: Any,
              dilation: Any) -> list[tuple]:
    """Where an element of the image meets windows: (output, element of the kernel, where the window begins)."""
    along = [[(i, k, i * s - p) for i in range(m) for k in range(size) if i * s - p + k * d == h]
             for h, m, size, s, p, d in zip(place, out_size, kernel, stride, pads, dilation, strict=True)]
    return [tuple(zip(*meeting, strict=True)) for meeting in itertools.product(*along)]


def _output_size(case: Case) -> tuple[int, ...]:
    y: Any = case.function()(*case.tensors())
    return (y[0] if isinstance(y, tuple) else y).shape[2:]


def _axes(operation: Any) -> int:
    """Over how many axes a window moves; 0 for what has none."""
    moved = isinstance(operation, str) and operation[:-2] in ("conv", "max_pool", "avg_pool")
    return int(operation[-2]) if moved else 0


def _each(value: Any, axes: int) -> tuple[int, ...]:
    return tuple(np.broadcast_to(value, axes).tolist())


def _list(numbers: Any) -> str:
    return ", ".join(map(str, numbers))
