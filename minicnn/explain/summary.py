"""A network row by row: shapes, parameters, work, memory and what each layer sees of the image.

The numbers come from a real forward pass of one image, so they hold for whatever the code of a network does: branches,
sums, concatenations, and operations without a layer of their own.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from .. import nn
from ..models.shapes import shape_text
from .cost import Cost, measure, statistics, total
from .field import receptive_fields
from .styles import keras, torchsummary
from .table import draw, plain_text
from .trace import Place, Trace, example, trace
from .units import Unit, readable_depth, units
from .view import Field

__all__ = ["Field", "LayerSummary", "Summary", "summary"]

UNKNOWN = Field((), ())


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
        title: the kind, and the window of a convolution or pooling.
        family: the file of ``nn`` that it is from; "module" for one with others in it, or "operation".
        inside: titles of the layers and operations that it consists of; its own for a layer.
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
    title: str = ""
    family: str = ""
    inside: tuple[str, ...] = ()


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
    noun: str = "image"  # what the network reads one of

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


def _plain(summary: Summary) -> str:
    return plain_text(replace(summary, style="rich"))


STYLES: dict[str, Callable[[Summary], str]] = {"rich": _plain, "plain": _plain, "keras": keras,
                                               "torchsummary": torchsummary}


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
    seen = trace(model, example("summary", model, input_shape))
    fields, costs = receptive_fields(seen), measure(seen)
    if depth is None and style in ("rich", "plain"):
        depth = readable_depth(seen)
    spec, parameters = getattr(model, "spec", None), list(model.parameters())
    shape = seen.inputs[0].shape[1:]
    noun = "text" if seen.image is None else "image" if len(shape) == 3 else "input"
    return Summary(
        title=f"{spec.name if spec else type(model).__name__} on {noun}s of {shape_text(shape)}", input_shape=shape,
        layers=_rows(seen, None, fields, costs), parameters=sum(p.numel() for p in parameters),
        parameter_bytes=sum(p.data.nbytes for p in parameters), buffers=sum(b.numel() for b in statistics(model)),
        frozen=sum(p.numel() for p in parameters if not p.requires_grad),
        modules=None if depth is None else _rows(seen, depth, fields, costs), depth=depth, style=style, noun=noun)


def _rows(seen: Trace, depth: int | None, fields: dict[Place, Field], costs: dict[Unit, Cost]) -> list[LayerSummary]:
    """The table down to a depth; what a module costs is what the layers in it cost."""
    found, links = units(seen, depth)
    rows = []
    for unit in found:
        inside = [layer for layer in costs if unit.start <= layer.start <= unit.end]
        inputs = tuple(link.source.path if link.source else "" for link in links if link.target is unit)
        field = fields.get(unit.place, UNKNOWN) if unit.place else UNKNOWN
        rows.append(LayerSummary(unit.path, unit.kind, unit.shape, *total([costs[layer] for layer in inside]), field,
                                 inputs, unit.title, unit.family, tuple(layer.title for layer in inside)))
    return rows
