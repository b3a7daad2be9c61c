"""A network in a table: shapes, parameters, work, memory and what each layer sees of the image.

The numbers come from a real forward pass of one image: hooks on the layers note shapes, and the recorded graph tells
what is kept for backward and, through sums and concatenations too, from where in the image a value can come.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import models, nn
from ..models import window_of
from ..engine import Function, Tensor, enable_grad

__all__ = ["Field", "LayerSummary", "Summary", "summary"]

WIDEST = 250  # columns of a table that is printed where there is no terminal to ask
COLUMNS = ("layer", "kind", "output", "params", "MACs", "share", "forward", "kept", "im2col", "field", "jump")
LEGEND = {
    "kept": "memory held for backward because of this layer",
    "im2col": "memory that the matrix of all windows would take",
    "field": "side of the part of the image that one output sees",
    "jump": "pixels of the image from the field of one output to that of the next",
}


@dataclass(frozen=True)
class Field:
    """What one output sees of the image: ``size`` pixels (rows, columns), the next output ``jump`` pixels further on.

    With input n_in and window k, s:  size ← size + (k − 1)·jump,  jump ← jump·s. A size of None is the whole image.
    """

    size: tuple[float, float] | None = (1, 1)
    jump: tuple[float, float] = (1, 1)

    def through(self, reach: tuple[int, int], stride: tuple[float, float]) -> "Field":
        """The field behind a window of this reach that slides, with this stride, over values with this field."""
        if self.size is None:
            return self
        (height, width), (down, right) = self.size, self.jump
        return Field((height + (reach[0] - 1) * down, width + (reach[1] - 1) * right),
                     (down * stride[0], right * stride[1]))

    def joined(self, other: "Field") -> "Field":
        """The field of a value made of two: as large as the larger one."""
        if self.size is None or other.size is None:
            return Field(None)
        return Field((max(self.size[0], other.size[0]), max(self.size[1], other.size[1])),
                     (max(self.jump[0], other.jump[0]), max(self.jump[1], other.jump[1])))


@dataclass(frozen=True)
class LayerSummary:
    """One layer, for one image; memory in bytes.

    Attributes:
        output: shape without the batch.
        buffers: running statistics and the like, without counters.
        macs: multiplications with an addition.
        forward: of the output; 0 where it shares the memory of the input.
        kept: that the graph holds for backward because of this layer, parameters and what was held already left out.
        im2col: of the matrix of windows; 0 for layers without one.
        field: receptive field and jump.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    buffers: int
    macs: int
    forward: int
    kept: int
    im2col: int
    field: Field


@dataclass(frozen=True)
class Summary:
    """The layers of a network in the order they ran; ``print`` shows the table."""

    title: str
    input_shape: tuple[int, ...]
    layers: list[LayerSummary]
    parameters: int
    parameter_bytes: int
    buffers: int

    @property
    def macs(self) -> int:
        """Multiplications with an addition, for one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def forward(self) -> int:
        """Bytes of all layers' outputs, for one image."""
        return sum(layer.forward for layer in self.layers)

    @property
    def kept(self) -> int:
        """Bytes that the graph of one image holds for backward, without the parameters."""
        return sum(layer.kept for layer in self.layers)

    @property
    def field(self) -> Field:
        """The largest receptive field that is not the whole image: that before the classifier."""
        return max([layer.field for layer in self.layers], key=lambda field: field.size or (0, 0), default=Field())

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        shown, names = list(COLUMNS), [layer.name for layer in self.layers]
        excess = self._width(console, options, shown) - options.max_width
        if excess > 0:  # a narrow terminal
            shown = [column for column in shown if column not in ("share", "jump")]
            excess = self._width(console, options, shown) - options.max_width
            room = max(8, max(map(len, names)) - excess)  # the end of a long name says more than its beginning
            names = [name if len(name) <= room else "…" + name[1 - room:] for name in names]
        legend = "\n".join(f"{name:7} {text}" for name, text in LEGEND.items() if name in shown)
        yield from (Text(self.title, style="bold"), Text(), self._table(shown, names), Text(),
                    Text("\n".join(self._totals())), Text(), Text(legend, style="dim"))

    def _width(self, console: Any, options: Any, shown: list[str]) -> int:
        from rich.measure import Measurement

        table = self._table(shown, [layer.name for layer in self.layers])
        return Measurement.get(console, options.update_width(10 * WIDEST), table).maximum

    def _table(self, shown: list[str], names: list[str]) -> Any:
        from rich.table import Table

        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim", collapse_padding=True)
        for column in shown:
            table.add_column("" if column in ("kind", "share") else column, no_wrap=column != "kind",
                             overflow="ellipsis", justify="left" if column in ("layer", "kind", "output") else "right")
        for name, layer in zip(names, self.layers, strict=True):
            cells = dict(zip(COLUMNS, (name, *self._cells(layer)), strict=True))
            table.add_row(*(cells[column] for column in shown), style="" if layer.parameters else "dim")
        return table

    def __str__(self) -> str:
        return plain_text(self)

    def _cells(self, layer: LayerSummary) -> list[str]:
        parameters = f"{layer.parameters:,}" if layer.parameters else ""
        if layer.buffers:
            parameters += f" +{layer.buffers:,}"
        return [layer.kind, _shape(layer.output), parameters, _count(layer.macs),
                f"{layer.macs / self.macs:.0%}" if layer.macs else "",
                *(_bytes(n) if n else "" for n in (layer.forward, layer.kept, layer.im2col)),
                *((_side(layer.field.size), _side(layer.field.jump)) if layer.field.size else ("all", ""))]

    def _totals(self) -> Iterator[str]:
        buffers = f" and {self.buffers:,} buffers" if self.buffers else ""
        yield f"{self.parameters:,} parameters ({_bytes(self.parameter_bytes)}B){buffers}, {self.macs:,} MACs per image"
        yield f"memory per image: {_bytes(self.forward)}B of outputs in forward, {_bytes(self.kept)}B kept for backward"
        largest = max(self.layers, key=lambda layer: layer.im2col, default=None)
        if largest and largest.im2col:
            yield f"largest im2col matrix: {_bytes(largest.im2col)}B per image, at {largest.name}"
        if self.field.size is not None:
            yield f"receptive field: {_side(self.field.size)} of {_side(self.input_shape[1:])} pixels"


def summary(model: nn.Module, input_shape: tuple[int, int, int] | None = None) -> Summary:
    """Describe every layer of a network, from a forward pass of one image in evaluation mode.

    Args:
        model: any Module that takes images; it comes out as it went in.
        input_shape: (C, H, W); None is what a model of ``models.create`` was made for.

    Raises:
        ValueError: the shape is missing, or the image does not fit.
    """
    spec = getattr(model, "spec", None)
    if input_shape is None:
        if spec is None:
            raise ValueError("summary: input_shape is needed for a network that models.create did not make")
        input_shape = (spec.in_channels, *models.entry(spec.name).input_shape[1:])
    weight = next(model.parameters(), None)
    x = Tensor(np.zeros((1, *input_shape), np.float32))
    if weight is not None:
        x = x.to(weight)
    x.requires_grad_()
    modes = [(layer, layer.training) for layer in model.modules()]
    recorder = _Recorder(x)
    try:
        with ExitStack() as hooks, enable_grad():
            model.eval()
            for name, layer in model.named_modules():
                if not list(layer.children()):
                    hooks.callback(layer.register_forward_hook(recorder.hook(name)).remove)
            model(x)
    finally:
        for layer, mode in modes:
            layer.training = mode
    parameters = list(model.parameters())
    title = f"{spec.name if spec else type(model).__name__} on images of {_shape(input_shape)}"
    return Summary(title, tuple(input_shape), recorder.layers, sum(p.numel() for p in parameters),
                   sum(p.data.nbytes for p in parameters), sum(map(_buffers, model.modules())))


class _Recorder:
    """Notes what each layer does to the image x."""

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self.layers: list[LayerSummary] = []
        self.fields: dict[Function | None, Field] = {}  # by the node that made the value
        self.held: dict[int, Any] = {}  # arrays that are held for backward, by id

    def hook(self, name: str) -> Any:
        def note(layer: nn.Module, args: tuple, output: Tensor) -> None:
            if not isinstance(output, Tensor):
                return
            x = args[0]
            field = self.fields[output.grad_fn] = self._behind(layer, x, output)
            parameters = list(layer.parameters())
            self.layers.append(LayerSummary(
                name=name, kind=type(layer).__name__, output=output.shape[1:], field=field,
                parameters=sum(p.numel() for p in parameters), buffers=_buffers(layer), macs=_macs(layer, output),
                forward=0 if _memory(output) is _memory(x) else output.data.nbytes,
                kept=self._kept(output, x, parameters), im2col=_im2col(layer, x, output)))

        return note

    def _behind(self, layer: nn.Module, x: Tensor, output: Tensor) -> Field:
        """The field of a layer's output."""
        field = self._field(x.grad_fn)
        window = window_of(layer)
        if window is not None:
            return field.through(window.reach, window.stride)
        if isinstance(layer, nn.Linear):
            return Field(None)
        if isinstance(layer, (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)) and output.shape[-2:] != x.shape[-2:]:
            return field.through(*_adaptive(x.shape[-2:], output.shape[-2:]))
        return field

    def _field(self, node: Function | None) -> Field:
        """The field of the value that a node made: noted already, or the largest of what the node takes in."""
        if node is None:
            return Field()
        if node not in self.fields:
            sources = [self._field(edge[0] if isinstance(edge, tuple) else None) for edge in node.edges
                       if isinstance(edge, tuple) or edge is self.x]
            field = sources[0] if sources else Field()
            for other in sources[1:]:
                field = field.joined(other)
            self.fields[node] = field
        return self.fields[node]

    def _kept(self, output: Tensor, x: Tensor, parameters: Sequence[Tensor]) -> int:
        """Bytes held by the nodes between a layer's input and output that nothing noted before holds."""
        total, pending, visited = 0, [output.grad_fn], {x.grad_fn}
        weights = {id(_memory(p)) for p in parameters}
        while pending:
            node = pending.pop()
            if node is None or node in visited:
                continue
            visited.add(node)
            pending += [edge[0] for edge in node.edges if isinstance(edge, tuple)]
            for tensor in node.saved:
                if tensor is None or id(memory := _memory(tensor)) in weights | self.held.keys():
                    continue
                self.held[id(memory)] = memory
                total += memory.nbytes
        return total


def _memory(t: Tensor) -> Any:
    """The array that owns a tensor's memory."""
    return t.data if t.data.base is None else t.data.base


def _adaptive(size: tuple[int, ...], out: tuple[int, ...]) -> tuple[tuple[int, int], tuple[float, float]]:
    """Reach of the largest window of adaptive pooling from one size to another, and its stride, which is an average."""
    rows, columns = (max(-(-(i + 1) * n // o) - i * n // o for i in range(o)) for n, o in zip(size, out, strict=True))
    return (rows, columns), (size[0] / out[0], size[1] / out[1])


def _macs(layer: nn.Module, output: Tensor) -> int:
    if isinstance(layer, nn.Conv2d):
        return output.numel() * layer.weight.numel() // layer.out_channels
    if isinstance(layer, nn.Linear):
        return output.numel() * layer.in_features
    return 0


def _im2col(layer: nn.Module, x: Tensor, output: Tensor) -> int:
    """Bytes of the matrix of windows (C·KH·KW, OH·OW) of one image."""
    if not isinstance(layer, nn.Conv2d):
        return 0
    rows = x.shape[1] * layer.weight.shape[2] * layer.weight.shape[3]
    return rows * output.shape[2] * output.shape[3] * x.data.itemsize


def _buffers(layer: nn.Module) -> int:
    return sum(b.numel() for b in layer.buffers(recurse=False) if b.is_floating_point())


def plain_text(printable: Any) -> str:
    """What rich would draw, without colours and as wide as it needs to be."""
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=WIDEST, color_system=None).print(printable)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


# -- numbers for people ---------------------------------------------------------------------------------------------


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _side(pair: tuple[float, ...]) -> str:
    a, b = (f"{n:.4g}" for n in pair)
    return a if a == b else f"{a}×{b}"


def _count(n: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if n >= size:
            return f"{n / size:.1f}{unit}"
    return str(n) if n else ""


def _bytes(n: int) -> str:
    """A size in powers of 1024, without the B: 78400 is "76.6Ki"."""
    for unit, size in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if n >= size:
            return f"{n / size:.1f}{unit}" if n < 100 * size else f"{n / size:.0f}{unit}"
    return str(n)
