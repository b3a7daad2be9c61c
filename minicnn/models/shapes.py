"""How layers change the shape of an image: for messages about images that do not fit, and for tables.

What is no convolution, pooling, flattening or linear layer, such as a block with branches, is asked itself: a batch of
no images goes through any layer, takes no time, and comes out with the shape that images would have.

Per axis, with n pixels in, a kernel of k, stride s, padding p on both sides and dilation d:
    out = ⌊(n + 2p − d·(k − 1) − 1) / s⌋ + 1
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from .. import nn
from ..engine import Tensor, no_grad
from ..ops.conv import pads

Shape = tuple[int, ...]
Pair = tuple[int, int]
Chain = list[tuple[str, nn.Module]]  # layers with their names, each taking what the one before it gives
LARGEST = 512  # largest side tried when looking for images that would fit


class Window(NamedTuple):
    """How a convolution or pooling slides over an image: (rows, columns), padding that of both sides together."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    ceil: bool = False

    @property
    def reach(self) -> Pair:
        """Rows and columns that one output sees, d·(k − 1) + 1."""
        return self.dilation[0] * (self.kernel[0] - 1) + 1, self.dilation[1] * (self.kernel[1] - 1) + 1

    def output_size(self, height: int, width: int) -> Pair:
        """(OH, OW) for an image of (H, W); not positive where the window does not fit."""
        return self._count(height, 0), self._count(width, 1)

    def _count(self, n: int, axis: int) -> int:
        reach, stride, padding = self.reach[axis], self.stride[axis], self.padding[axis]
        room = n + padding - reach
        if not self.ceil or room < 0:
            return room // stride + 1
        count = -(-room // stride) + 1
        # with ceil_mode a window may overlap the right border but not start beyond it
        return count - 1 if (count - 1) * stride >= n + padding // 2 else count

    def __str__(self) -> str:
        parts = [f"{self.kernel[0]}×{self.kernel[1]}"]
        if self.stride != (1, 1):
            parts.append(f"stride {_pair_text(*self.stride)}")
        if self.padding != (0, 0):
            parts.append(f"pad {_pair_text(self.padding[0] / 2, self.padding[1] / 2)}")
        if self.dilation != (1, 1):
            parts.append(f"dilation {_pair_text(*self.dilation)}")
        return ", ".join(parts)


def _pair_text(a: float, b: float) -> str:
    return f"{a:g}" if a == b else f"{a:g}×{b:g}"


def _pair(value: Any) -> Pair:
    return (value, value) if isinstance(value, int) else tuple(value)


def window_of(layer: nn.Module) -> Window | None:
    """The window that a convolution or pooling layer slides over an image; None for every other layer."""
    if not isinstance(layer, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
        return None
    kernel = _pair(layer.kernel_size)
    dilation = _pair(getattr(layer, "dilation", 1))
    stride = _pair(layer.stride if layer.stride is not None else kernel)
    padding = layer.padding if isinstance(layer.padding, str) else _pair(layer.padding)
    rows, columns = (before + after for before, after in pads(type(layer).__name__, padding, kernel, stride, dilation))
    return Window(kernel, stride, (rows, columns), dilation, getattr(layer, "ceil_mode", False))


class Misfit(ValueError):
    """A layer cannot take what it is given; the message says why."""


def output_shape(layer: nn.Module, shape: Shape) -> Shape:
    """Shape of one image (without the batch) after a layer; raises Misfit where the layer cannot take it."""
    window = window_of(layer)
    if window is not None:
        if len(shape) != 3:
            raise Misfit(f"expects an image (C, H, W), not {shape_text(shape)}")
        channels = getattr(layer, "in_channels", shape[0])
        if channels != shape[0]:
            raise Misfit(f"expects {_channels(channels)}, not {shape[0]}")
        size = window.output_size(*shape[1:])
        if min(size) < 1:
            raise Misfit(f"with its window of {shape_text(window.reach)} does not fit into {shape_text(shape[1:])}")
        return getattr(layer, "out_channels", shape[0]), *size
    if isinstance(layer, nn.Flatten):
        return (math.prod(shape),)
    if isinstance(layer, nn.Linear):
        if shape[-1] != layer.in_features:
            raise Misfit(f"expects {layer.in_features:,}")
        return *shape[:-1], layer.out_features
    dtype = next((p.dtype for p in layer.parameters()), np.dtype(np.float32))
    try:
        y = layer(Tensor(np.empty((0, *shape), dtype)))
    except (ValueError, RuntimeError) as error:
        raise Misfit(f"cannot take {shape_text(shape)}: {error}") from error
    return y.shape[1:]


@contextmanager
def _asking(layers: nn.Module) -> Iterator[None]:
    """In evaluation mode and without gradients, so that a layer that is asked for a shape changes nothing."""
    training = [layer for layer in layers.modules() if layer.training]
    layers.eval()
    try:
        with no_grad():
            yield
    finally:
        for layer in training:
            layer.training = True


def shape_text(shape: Shape) -> str:
    """3×224×224."""
    return "×".join(map(str, shape))


def _channels(n: int) -> str:
    return f"{n} channel{'s' if n > 1 else ''}"


def flat(layers: Iterable[tuple[str, nn.Module]]) -> Chain:
    """The chain with the layers of plain Sequentials in their place."""
    found: Chain = []
    for name, layer in layers:
        inner = flat(layer.named_children()) if type(layer) is nn.Sequential else []
        found += [(f"{name}.{key}", part) for key, part in inner] or [(name, layer)]
    return found


def sizes_that_fit(paths: Sequence[Chain], channels: int) -> range:
    """The n up to 512 for which square images of n×n pixels go all these ways: of all there are, the smallest on."""
    shape_after = cache(output_shape)  # of what is behind the first poolings, many sizes have the same

    def fits(n: int) -> bool:
        try:
            for layers in paths:
                shape: Shape = (channels, n, n)
                for _, layer in layers:
                    shape = shape_after(layer, shape)
        except Misfit:
            return False
        return True

    first = next((n for n in range(1, LARGEST + 1) if fits(n)), LARGEST + 1)
    if first > LARGEST or fits(LARGEST):
        return range(first, LARGEST + 1)
    return range(first, next(n for n in range(first, LARGEST + 1) if not fits(n)))


def explain_misfit(network: nn.Module, paths: Sequence[Chain], batch_shape: Shape) -> str | None:
    """Why a batch does not fit: the chain of shapes up to the layer that fails, and what would; None if it does fit.

    ``paths`` are all ways through the network; the first that fails is explained.
    """
    if len(batch_shape) != 4:
        return no_batch(batch_shape)
    with _asking(network):
        for layers in paths:
            shape: Shape = batch_shape[1:]
            text = shape_text(shape)
            for name, layer in layers:
                try:
                    after = output_shape(layer, shape)
                except Misfit as misfit:
                    cure = _cure(paths, batch_shape)
                    if cure is None and misfit.__cause__ is not None:
                        return None  # no matter of size: the layer's own error says more
                    return (f"images of {shape_text(batch_shape[1:])} do not fit: {text}, but {name} {misfit}; " + (
                        cure or f"no square image up to {LARGEST}×{LARGEST} fits: the layers do not belong together"))
                text += _step_text(name, layer, shape, after)
                shape = after
    return None


def _step_text(name: str, layer: nn.Module, before: Shape, after: Shape) -> str:
    """How the chain of shapes goes on; layers that leave the height and width as they are have no part in it."""
    window = window_of(layer)
    if isinstance(layer, nn.Flatten):
        return f"; {name} {'·'.join(map(str, before))} = {after[0]:,}"
    if window is None and (len(after) != 3 or after[1:] == before[1:]):
        return ""
    return f" →({name}{f' {window}' if window else ''}) {_pair_text(*after[1:])}"


def _cure(paths: Sequence[Chain], batch_shape: Shape) -> str | None:
    first = next((conv for _, layer in paths[0] for conv in layer.modules() if isinstance(conv, nn.Conv2d)), None)
    if first is not None and first.in_channels != batch_shape[1]:
        return wrong_channels(first.in_channels, batch_shape[1])
    sizes = sizes_that_fit(paths, batch_shape[1])
    if not sizes:
        return None
    nearest = min(sizes, key=lambda n: abs(n - batch_shape[2]))
    if sizes[-1] == LARGEST:
        which = f"{sizes[0]}×{sizes[0]} and larger"
    elif len(sizes) == 1:
        which = f"{nearest}×{nearest} only"
    else:
        which = f"{sizes[0]}×{sizes[0]} to {sizes[-1]}×{sizes[-1]}"
    return f"sizes that fit: {which}, for example with the transform Resize(({nearest}, {nearest}))"


def no_batch(shape: Shape) -> str:
    """What to do about something else than (N, C, H, W)."""
    return f"a batch of images (N, C, H, W) is expected, not {tuple(shape)}; one image is x[None]"


def wrong_channels(expected: int, given: int) -> str:
    """What to do about images with other channels than a network was made for."""
    return f"create the model with in_channels={given}, or convert the images to {_channels(expected)}"
