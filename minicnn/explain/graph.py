"""The graph of a network: layers and operations as boxes, the values that go between them as edges with shapes."""

from dataclasses import dataclass
from pathlib import Path

from .. import models, nn
from .draw_svg import svg
from .draw_text import dot, mermaid
from .trace import example, trace
from .units import Unit, readable_depth, units

__all__ = ["Box", "Edge", "Graph", "check_format", "graph"]

FORMATS = {".svg": svg, ".mmd": mermaid, ".dot": dot}


@dataclass(frozen=True)
class Box:
    """A layer, a module with all that is in it, an operation that a module does by itself, the input or the output.

    Attributes:
        path: of the module; of the module that does it with a name added, for an operation.
        title: what it is, such as "Conv2d 3×3, pad 1".
        family: the file of ``nn`` that it is from, such as "conv" or "pooling"; "module" for one with others in it,
            "operation" or "end".
        parameters: how many it has.
    """

    path: str
    title: str
    family: str
    parameters: int = 0

    def lines(self, name: str) -> list[str]:
        """What is written in it, where it goes by this name."""
        if not self.path or self.family == "operation":
            return [self.title]
        lines = [name, self.title] if self.family == "module" else [self.title, name]
        if self.parameters:
            lines[1] += f" · {self.parameters:,} params"
        return lines


@dataclass(frozen=True)
class Edge:
    """A value of this shape, without the batch, that one box gets from another; both by their numbers in the graph."""

    source: int
    target: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """Boxes in the order in which they ran, the input first and the output last. A notebook shows the drawing."""

    title: str
    boxes: list[Box]
    edges: list[Edge]

    def svg(self) -> str:
        """A drawing for browsers, light or dark as these are set; nothing else is needed to see it."""
        return svg(self)

    _repr_svg_ = svg

    def mermaid(self) -> str:
        """A Mermaid flowchart, which GitHub draws in Markdown between ```mermaid and ```; modules are frames."""
        return mermaid(self)

    def dot(self) -> str:
        """Input for Graphviz; modules are frames."""
        return dot(self)

    def save(self, path: str | Path) -> None:
        """Write a file that ends with .svg, .mmd (Mermaid) or .dot.

        Raises:
            ValueError: it ends with something else.
        """
        check_format(path)
        Path(path).write_text(FORMATS[Path(path).suffix](self), encoding="utf-8")


def check_format(path: str | Path) -> None:
    """Raise ValueError unless this is the name of a file that a graph can be saved to."""
    if Path(path).suffix not in FORMATS:
        raise ValueError(f"graph: the name of {path} must end with {', '.join(FORMATS)}")


def graph(model: nn.Module, input_shape: tuple[int, ...] | None = None, *, depth: int | None = None) -> Graph:
    """The graph of a network, from a forward pass of one image in evaluation mode, but with all auxiliary heads.

    Args:
        model: any Module that takes one Tensor with the batch in front: a network, or a block of one.
        input_shape: (C, H, W) of an image; None is what a model of ``models.create`` was made for.
        depth: modules whose paths have so many names are one box; None is as many as make no more than 64 boxes.

    Raises:
        ValueError: the shape is missing or the image does not fit, or depth is less than 1.
    """
    seen = trace(model, example("graph", model, input_shape), isinstance(model, models.HeadedNetwork))
    found, links = units(seen, readable_depth(seen) if depth is None else depth)
    boxes = [Box("", "input", "end"), *map(_box, found), Box("", "output", "end")]
    number = {unit: i for i, unit in enumerate(found, start=1)}
    edges = [Edge(number[link.source] if link.source else 0, number[link.target] if link.target else len(boxes) - 1,
                  link.shape) for link in links]
    spec = getattr(model, "spec", None)
    return Graph(spec.name if spec else type(model).__name__, boxes, edges)


def _box(unit: Unit) -> Box:
    parameters = unit.call.module.parameters() if unit.call else ()
    return Box(unit.path, unit.title, unit.family, sum(p.numel() for p in parameters))
