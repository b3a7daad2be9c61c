"""Summaries in the form of Keras' and torchsummary's, to be laid beside what these print."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .summary import LayerSummary, Summary

KERAS = {"Conv2d": "Conv2D", "Linear": "Dense", "BatchNorm1d": "BatchNormalization", "Cat": "Concatenate",
         "BatchNorm2d": "BatchNormalization", "MaxPool2d": "MaxPooling2D", "AvgPool2d": "AveragePooling2D",
         "AdaptiveAvgPool2d": "GlobalAveragePooling2D", "Mul": "Multiply"}


def keras(summary: "Summary") -> str:
    """Channels come last, an activation is part of the convolution or linear layer before it, buffers are parameters.

    Where the network is no chain, another column says what each layer is connected to.
    """
    rows: list[LayerSummary] = []
    part_of = {"": "input"}  # the row in which each layer is
    for row in summary.rows:
        if not (rows and row.inputs == (rows[-1].name,) and KERAS.get(rows[-1].kind) in ("Conv2D", "Dense")
                and row.family == "activation" and not row.parameters):
            rows.append(row)
        part_of[row.name] = rows[-1].name
    inputs = [[part_of[name] for name in row.inputs] for row in rows]
    is_chain = inputs == [[name] for name in ("input", *(row.name for row in rows[:-1]))]
    ends = (29, 55, 65) if is_chain else (32, 53, 65, 98)
    header = ("Layer (type)", "Output Shape", "Param #", "Connected to")
    lines = [f'Model: "{summary.title.split()[0]}"', "_" * ends[-1], _row(header, ends), "=" * ends[-1]]
    for row, (first, *others) in zip(rows, (names or [""] for names in inputs), strict=True):
        lines += [_row((f"{row.name} ({KERAS.get(row.kind, row.kind)})", _channels_last(row.output),
                        row.parameters + row.buffers, f"{first}[0][0]"), ends),
                  *(_row(("", "", "", f"{name}[0][0]"), ends) for name in others), "_" * ends[-1]]
    lines[-1] = "=" * ends[-1]
    fixed = summary.frozen + summary.buffers
    return "\n".join([*lines, f"Total params: {summary.parameters + summary.buffers:,}",
                      f"Trainable params: {summary.parameters - summary.frozen:,}", f"Non-trainable params: {fixed:,}",
                      "_" * ends[-1]])


def _row(cells: Sequence[object], ends: tuple[int, ...]) -> str:
    """Cells cut off where the next one begins, a space between them."""
    line = ""
    for cell, end in zip(cells, ends):
        line = (line[:-1] + " " * bool(line) + str(cell))[:end].ljust(end)
    return line


def _channels_last(shape: tuple[int, ...]) -> str:
    if len(shape) == 3:
        shape = (*shape[1:], shape[0])
    return f"(None, {', '.join(map(str, shape))})"


def torchsummary(summary: "Summary") -> str:
    """Layers only, numbered; sizes of float32 numbers, with those of all outputs doubled for their gradients."""
    rows = [row for row in summary.rows if row.family != "operation"]
    lines = ["-" * 64, f"{'Layer (type)':>20}  {'Output Shape':>25} {'Param #':>15}", "=" * 64]
    lines += [f"{f'{row.kind}-{i}':>20}  {str([-1, *row.output]):>25} {row.parameters:>15,}"
              for i, row in enumerate(rows, start=1)]
    counts = (math.prod(summary.input_shape), 2 * sum(math.prod(row.output) for row in rows), summary.parameters)
    sizes = [4 * n / 2**20 for n in counts]
    return "\n".join([
        *lines, "=" * 64, f"Total params: {summary.parameters:,}",
        f"Trainable params: {summary.parameters - summary.frozen:,}", f"Non-trainable params: {summary.frozen:,}",
        "-" * 64, f"Input size (MB): {sizes[0]:.2f}", f"Forward/backward pass size (MB): {sizes[1]:.2f}",
        f"Params size (MB): {sizes[2]:.2f}", f"Estimated Total Size (MB): {sum(sizes):.2f}", "-" * 64])
