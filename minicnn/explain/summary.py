"""A network row by row: shapes, parameters, work, memory and what each layer sees of the image.

The numbers come from a real forward pass of one image, so they hold for whatever the code of a network does: branches,
sums, concatenations, and operations without a layer of their own.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .. import nn
from ..engine import Tensor
from . import cost
from .field import Field, receptive_fields
from .styles import keras, torchsummary
from .table import draw, plain_text, shape_text
from .trace import Place, Trace, image_shape, trace
from .units import Link, Unit, readable_depth, units

__all__ = ["Field", "LayerSummary", "Summary", "summary"]

STYLES: dict[str, Callable[["Summary"], str]] = {"rich": plain_text, "plain": plain_text, "keras": keras,
                                                 "torchsummary": torchsummary}


@dataclass(frozen=True)
class LayerSummary:
    """A layer, an operation between layers, or a module with all that is in it, for one image; memory in bytes.

    Attributes:
        output: shape without the batch.
        parameters: those that no row before has.
        buffers: running statistics and the like, without counters.
        macs: multiplications with an addition.
        forward: of the outputs; 0 where they share the memory of the input.
        kept: that the graph holds for backward because of this layer, parameters and what was held already left out.
        im2col: of the largest matrix of windows; 0 without a convolution.
        field: receptive field and jump.
        inputs: names of the rows whose outputs it takes in, "" for the image.
        layer: whether it is a module, not a mere operation.
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
    inputs: tuple[str, ...] = ()
    layer: bool = True


@dataclass(frozen=True)
class Summary:
    """The layers of a network in the order they ran; ``print`` shows the table.

    Attributes:
        layers: every layer, and every operation that a module does by itself.
        frozen: parameters that are not trained.
        modules: what the table shows in place of the layers of a deep network, with the sums of what is in them.
        depth: how many names the paths of these modules have.
        style: how it is printed.
    """

    title: str
    input_shape: tuple[int, ...]
    layers: list[LayerSummary]
    parameters: int
    parameter_bytes: int
    buffers: int
    frozen: int = 0
    modules: list[LayerSummary] | None = None
    depth: int | None = None
    style: str = "rich"

    @property
    def rows(self) -> list[LayerSummary]:
        """What the table shows."""
        return self.layers if self.modules is None else self.modules

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
        if self.style == "rich":
            yield from draw(self, console, options)
        else:
            from rich.text import Text

            yield Text(str(self), no_wrap=True)

    def __str__(self) -> str:
        return STYLES[self.style](self)


def summary(model: nn.Module, input_shape: tuple[int, ...] | None = None, *, style: str = "rich",
            depth: int | None = None) -> Summary:
    """Describe every layer of a network, from a forward pass of one image in evaluation mode.

    Args:
        model: any Module that takes one Tensor with the batch in front; it comes out as it went in.
        input_shape: (C, H, W) of an image; None is what a model of ``models.create`` was made for.
        style: "rich", in colour on a terminal, or "plain"; "keras" and "torchsummary" print the tables of those.
        depth: modules whose paths have so many names are one row; None is as many as make no more than 64 rows, and
            all for "keras" and "torchsummary".

    Raises:
        ValueError: the shape is missing, the image does not fit, or style or depth are none.
    """
    if style not in STYLES:
        raise ValueError(f"summary: style = {style!r} must be one of {', '.join(map(repr, STYLES))}")
    shape = image_shape("summary", model, input_shape)
    seen = trace(model, shape)
    fields = receptive_fields(seen)
    found = units(seen)
    layers = _layers(seen, fields, *found)
    if depth is None and style in ("rich", "plain"):
        depth = readable_depth(seen)
    modules = None if depth is None else _modules(zip(found[0], layers, strict=True), fields, *units(seen, depth))
    spec, parameters = getattr(model, "spec", None), list(model.parameters())
    return Summary(f"{spec.name if spec else type(model).__name__} on images of {shape_text(shape)}", shape, layers,
                   sum(p.numel() for p in parameters), sum(p.data.nbytes for p in parameters),
                   sum(b.numel() for b in _statistics(model)), sum(p.numel() for p in parameters if not p.requires_grad),
                   modules, depth, style)


def _layers(seen: Trace, fields: dict[Place, Field], found: list[Unit], links: list[Link]) -> list[LayerSummary]:
    """A row for each unit, of which none has others in it."""
    kept = cost.kept(seen)
    own = {id(p): p for p in seen.calls[0].module.parameters()}
    counted: set[int] = set()

    def new(ts: Iterable[Tensor]) -> int:
        """Elements of those that were not counted yet: a layer can be called twice."""
        ts = [t for t in {id(t): t for t in ts}.values() if id(t) not in counted]
        counted.update(map(id, ts))
        return sum(t.numel() for t in ts)

    rows = []
    for unit in found:
        if unit.call is not None:
            parameters, statistics = list(unit.call.module.parameters()), _statistics(unit.call.module)
            forward = unit.call.allocated
        else:
            parameters = [own[id(edge)] for node in unit.nodes for edge in node.edges if id(edge) in own]
            statistics = []
            shape, dtype = unit.nodes[-1].outputs[0]
            forward = 0 if unit.nodes[-1].views else math.prod(shape) * dtype.itemsize
        rows.append(LayerSummary(
            unit.path, unit.kind, unit.shape, new(parameters), new(statistics), sum(map(cost.macs, unit.nodes)),
            forward, sum(kept[node] for node in unit.nodes), max(map(cost.im2col, unit.nodes), default=0),
            fields.get(unit.place, Field(None)), _inputs(unit, links), unit.call is not None))
    return rows


def _modules(layers: Iterable[tuple[Unit, LayerSummary]], fields: dict[Place, Field], found: list[Unit],
             links: list[Link]) -> list[LayerSummary]:
    """A row for each unit, with the sums of those layers that are in it."""
    rows, layers = [], list(layers)
    for unit in found:
        inside = [row for layer, row in layers if unit.start <= layer.start <= unit.end]
        sums = [sum(getattr(row, name) for row in inside) for name in ("parameters", "buffers", "macs", "forward", "kept")]
        rows.append(LayerSummary(
            unit.path, unit.kind, unit.shape, *sums, max((row.im2col for row in inside), default=0),
            fields.get(unit.place, Field(None)), _inputs(unit, links), unit.call is not None))
    return rows


def _inputs(unit: Unit, links: list[Link]) -> tuple[str, ...]:
    return tuple(link.source.path if link.source else "" for link in links if link.target is unit)


def _statistics(module: nn.Module) -> list[Tensor]:
    """The buffers of a module that are not mere counters."""
    return [b for b in module.buffers() if b.is_floating_point()]
