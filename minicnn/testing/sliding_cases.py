"""Cases of what slides windows over images: convolution and pooling, of signals, images and volumes."""

from typing import Any

from .case import Case
from .choices import Choices, batch, per_axis
from .values import normal, spaced, tied

LARGEST = {1: 5, 2: 3, 3: 1}  # by how much an axis is longer than it must be


def convolution(choices: Choices, axes: int = 2) -> Case:
    """conv1d, conv2d or conv3d with any kernel that fits: strides, padding, dilation, groups, a bias or none."""
    groups = choices.option((1, 2, 3))
    c, o = choices.integer(1, 2) * groups, choices.integer(1, 2) * groups
    kernel, stride, dilation = (per_axis(choices, axes, 1, 3) for _ in range(3))
    padding: Any = per_axis(choices, axes, 0, 2) if choices.option((True, True, False)) else choices.option(
        ("valid", "same"))
    if padding == "same":
        stride = (1,) * axes
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    pads = padding if isinstance(padding, tuple) else (0,) * axes
    size = [max(1, r - 2 * p) + choices.integer(0, LARGEST[axes]) for r, p in zip(reach, pads, strict=True)]
    arrays = [normal(choices, (batch(choices), c, *size)), normal(choices, (o, c // groups, *kernel))]
    if choices.option((True, False)):
        arrays.append(normal(choices, (o,)))
    return Case(f"conv{axes}d", tuple(arrays),
                {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups})


def transposed(choices: Choices, axes: int = 2) -> Case:
    """conv_transpose1d, 2d or 3d, output_padding included."""
    groups = choices.option((1, 2))
    c, o = choices.integer(1, 2) * groups, choices.integer(1, 2) * groups
    kernel, stride, dilation = (per_axis(choices, axes, 1, 3) for _ in range(3))
    extra = tuple([choices.integer(0, max(s, d) - 1) for s, d in zip(stride, dilation, strict=True)])
    size = per_axis(choices, axes, 1, LARGEST[axes])
    whole = [(n - 1) * s + d * (k - 1) + m + 1 for n, s, d, k, m in
             zip(size, stride, dilation, kernel, extra, strict=True)]
    padding = tuple([choices.integer(0, min(2, (n - 1) // 2)) for n in whole])
    arrays = (normal(choices, (batch(choices), c, *size)), normal(choices, (c, o // groups, *kernel)),
              normal(choices, (o,)))
    return Case(f"conv_transpose{axes}d", arrays, {"stride": stride, "padding": padding, "output_padding": extra,
                                                   "groups": groups, "dilation": dilation})


def columns(choices: Choices) -> Case:
    """unfold (im2col)."""
    kernel, dilation, padding, stride = (per_axis(choices, 2, *b) for b in ((1, 3), (1, 2), (0, 1), (1, 3)))
    size = [max(1, d * (k - 1) + 1 - 2 * p) + choices.integer(0, 3)
            for k, d, p in zip(kernel, dilation, padding, strict=True)]
    return Case("unfold", (normal(choices, (batch(choices), choices.integer(1, 2), *size)),),
                {"kernel_size": kernel, "dilation": dilation, "padding": padding, "stride": stride})


def pooling(choices: Choices, axes: int = 2, kind: str | None = None, ties: bool = False) -> Case:
    """Max or average pooling that fits: overlapping windows or gaps, padding, dilation, ceil mode."""
    kind = kind or choices.option(("max", "avg"))
    kernel, stride = per_axis(choices, axes, 1, 3), per_axis(choices, axes, 1, 3)
    padding = tuple([choices.integer(0, k // 2) for k in kernel])
    dilation = per_axis(choices, axes, 1, 2) if kind == "max" else (1,) * axes
    size = [max(1, d * (k - 1) + 1 - 2 * p) + choices.integer(0, LARGEST[axes])
            for k, d, p in zip(kernel, dilation, padding, strict=True)]
    if kind == "max":  # a window that sees nothing but padding is refused
        size = [max(n, d, d * (k - 1) + 1 - p) for n, d, k, p in zip(size, dilation, kernel, padding, strict=True)]
    if axes == 3 and kind == "avg":  # as in PyTorch, padding does not make room for a window there
        size = [max(n, k) for n, k in zip(size, kernel, strict=True)]
    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": choices.option((False, True))}
    if kind == "max":
        options["dilation"] = dilation
    else:
        options["count_include_pad"] = choices.option((True, False))
    shape = (batch(choices), choices.integer(1, 2), *size)
    return Case(f"{kind}_pool{axes}d", ((tied if ties else spaced)(choices, shape),), options)


def adaptive(choices: Choices, axes: int = 2, kind: str = "avg") -> Case:
    """Adaptive pooling to any size."""
    shape = (batch(choices), choices.integer(1, 2), *per_axis(choices, axes, 1, 2 + LARGEST[axes]))
    return Case(f"adaptive_{kind}_pool{axes}d", (spaced(choices, shape),),
                {"output_size": per_axis(choices, axes, 1, 3)})
