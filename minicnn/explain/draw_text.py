"""Graphs as text that other programs draw: Mermaid and DOT, with a frame around what is in a module."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..models.shapes import shape_text

if TYPE_CHECKING:
    from .graph import Graph


def mermaid(graph: "Graph") -> str:
    """A flowchart from top to bottom."""

    def text(value: str) -> str:
        for sign, code in (("#", "#35;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;")):
            value = value.replace(sign, code)
        return value

    lines = ["flowchart TD"]
    lines += _framed(graph, lambda i, lines: f'n{i}["{"<br/>".join(map(text, lines))}"]',
                     lambda i, name: f'subgraph m{i} ["{text(name)}"]', "end")
    lines += [f'    n{edge.source} -->|"{shape_text(edge.shape)}"| n{edge.target}' for edge in graph.edges]
    return "\n".join(lines) + "\n"


def dot(graph: "Graph") -> str:
    """A directed graph, which Graphviz draws from top to bottom."""

    def text(value: str) -> str:
        return value.replace("\\", "\\\\").replace('"', '\\"')

    def node(i: int, lines: list[str]) -> str:
        label = "\\n".join(map(text, lines))
        return f'n{i} [label="{label}"];'

    lines = [f'digraph "{text(graph.title)}" {{', '    node [shape=box, style=rounded];']
    lines += _framed(graph, node, lambda i, name: f'subgraph cluster_{i} {{ label="{text(name)}";', "}")
    lines += [f'    n{edge.source} -> n{edge.target} [label="{shape_text(edge.shape)}"];' for edge in graph.edges]
    return "\n".join([*lines, "}"]) + "\n"


def _framed(graph: "Graph", node: Callable[[int, list[str]], str], opening: Callable[[int, str], str],
            closing: str) -> list[str]:
    """A line for each box, which need not name the modules around it, and lines that begin and end their frames."""
    paths = [box.path.split(".") for box in graph.boxes]
    number: dict[tuple[str, ...], int] = {}

    def inside(frame: tuple[str, ...]) -> Iterator[str]:
        indent, depth = "    " * (len(frame) + 1), len(frame)
        for i, names in enumerate(paths):
            if tuple(names[:-1][:depth]) != frame:
                continue
            below = tuple(names[:-1][:depth + 1])
            if below == frame:
                yield indent + node(i, graph.boxes[i].lines(names[-1]))
            elif below not in number:
                number[below] = len(number)
                yield indent + opening(number[below], below[-1])
                yield from inside(below)
                yield indent + closing

    return list(inside(()))
