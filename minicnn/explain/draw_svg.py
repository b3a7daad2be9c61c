"""A graph as SVG: text, boxes and curves, which any browser shows; no program or library is needed to draw it."""

import html
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .layout import PORTS, Run, layout
from ..models.shapes import shape_text

if TYPE_CHECKING:
    from .graph import Graph

MARGIN, PAD = 20.0, 10.0
TITLE, NAME, LABEL = 12.0, 10.5, 10.0  # sizes of text
LINE = 1.35  # height of a line, for a size of 1
NAME_LENGTH = 28
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
ADVANCE = 0.61  # width of a letter of these fonts, at most, for a size of 1

# family of box → colours (fill, border) in light and in dark
COLOURS = {
    "conv": ("#dbe9fd", "#4a7fd0", "#1c3358", "#5b8fe0"),
    "linear": ("#e9e0fb", "#8660c9", "#33245a", "#9a78dd"),
    "pooling": ("#fde2dc", "#cf6a54", "#562a22", "#de7d68"),
    "normalisation": ("#dcf3e6", "#3f9a6b", "#1a4030", "#53b07f"),
    "activation": ("#fdf0cf", "#c19a2e", "#4a3c14", "#d3ac42"),
    "module": ("#e3eef2", "#5e8797", "#23363e", "#7aa3b3"),
    "other": ("#f0f1f3", "#8b929c", "#2a2f37", "#868e99"),
}
PAGE = {  # rule → colour in light and in dark
    ".page{{fill:{}}}": ("#ffffff", "#0d1117"),
    ".title{{fill:{}}}": ("#1f2328", "#e6edf3"),
    ".name,.minicnn .shape{{fill:{}}}": ("#57606a", "#9da7b1"),
    ".line{{stroke:{}}}": ("#8b929c", "#868e99"),
    ".tip{{fill:{}}}": ("#8b929c", "#868e99"),
}


def svg(graph: "Graph") -> str:
    """The drawing; its groups of class "box" and "edge" carry the numbers that these have in the graph."""
    lines = [list(zip(box.lines(_end(box.path)), (TITLE, NAME))) for box in graph.boxes]
    out_of, into = Counter(edge.source for edge in graph.edges), Counter(edge.target for edge in graph.edges)
    sizes = [(max(PORTS * out_of[i], PORTS * into[i], *(ADVANCE * size * len(text) + 2 * PAD for text, size in texts)),
              sum(LINE * size for _, size in texts) + PAD) for i, texts in enumerate(lines)]
    shapes = [(shape_text(edge.shape), ADVANCE * LABEL * len(shape_text(edge.shape)) + 4) for edge in graph.edges]
    plan = layout(sizes, [(edge.source, edge.target) for edge in graph.edges], [(w, LINE * LABEL) for _, w in shapes])
    width, height = (side + 2 * MARGIN for side in plan.size)
    page = _rectangle('class="page"', (plan.size[0] / 2, plan.size[1] / 2), (width, height))
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" class="minicnn" width="{width:.0f}" height="{height:.0f}" '
           f'viewBox="{-MARGIN:g} {-MARGIN:g} {width:.1f} {height:.1f}" role="img">',
           f"<title>{html.escape(graph.title)}</title>", f"<style>{_style()}</style>",
           '<marker id="minicnn-tip" viewBox="0 0 8 8" refX="4" refY="7.5" markerWidth="7" markerHeight="7">'
           '<path class="tip" d="M0.5 0 4 8 7.5 0z"/></marker>', page]
    for edge, (text, w), route, middle in zip(graph.edges, shapes, plan.edges, plan.labels, strict=True):
        out += [f'<g class="edge" data-source="{edge.source}" data-target="{edge.target}">',
                f'<path class="line" d="{_curve(route)}" marker-end="url(#minicnn-tip)"/>',
                _rectangle('class="page"', middle, (w, LINE * LABEL)),
                *_texts([(text, LABEL)], "shape", middle), "</g>"]
    for i, (box, texts, size, middle) in enumerate(zip(graph.boxes, lines, sizes, plan.boxes, strict=True)):
        family = box.family if box.family in COLOURS else "other"
        tip = f"{box.path or box.title}: {box.title}, {box.parameters:,} parameters"
        out += [f'<g class="box {family}" data-number="{i}"><title>{html.escape(tip)}</title>',
                _rectangle('rx="6"', middle, size), *_texts(texts, "name", middle), "</g>"]
    return "\n".join([*out, "</svg>"]) + "\n"


def _end(path: str) -> str:
    """A path, or the end of a long one, which says more than its beginning."""
    if len(path) <= NAME_LENGTH:
        return path
    end = path[1 - NAME_LENGTH:]
    return "…" + end[end.find(".") + 1:]


def _rectangle(attributes: str, middle: tuple[float, float], size: tuple[float, float]) -> str:
    (x, y), (w, h) = middle, size
    return f'<rect {attributes} x="{x - w / 2:.1f}" y="{y - h / 2:.1f}" width="{w:.1f}" height="{h:.1f}"/>'


def _texts(lines: list[tuple[str, float]], kind: str, middle: tuple[float, float]) -> Iterator[str]:
    """Lines of text of these sizes around a point."""
    x, y = middle
    y -= LINE * sum(size for _, size in lines) / 2
    for text, size in lines:
        y += LINE * size
        # the letters' own line is below the middle of theirs by about a third of their size
        below = y - LINE * size / 2 + 0.35 * size
        name = "title" if size == TITLE else kind
        yield f'<text class="{name}" x="{x:.1f}" y="{below:.1f}" font-size="{size:g}">{html.escape(text)}</text>'


def _curve(route: list[Run]) -> str:
    """Straight down each run, and from run to run in a curve that begins and ends downwards."""
    path, before = "", None
    for run in route:
        if before is None:
            path = f"M{run.x:.1f} {run.top:.1f}"
        elif run.x == before.x:
            path += f"V{run.top:.1f}"
        else:
            y = (before.bottom + run.top) / 2
            path += f"C{before.x:.1f} {y:.1f} {run.x:.1f} {y:.1f} {run.x:.1f} {run.top:.1f}"
        path += f"V{run.bottom:.1f}"
        before = run
    return path


def _style() -> str:
    """Everything in the colours of day; those of night after a query for what the reader prefers."""
    light, dark = [], []
    for family, (fill, border, dark_fill, dark_border) in COLOURS.items():
        light.append(f".minicnn .{family}>rect{{fill:{fill};stroke:{border}}}")
        dark.append(f".minicnn .{family}>rect{{fill:{dark_fill};stroke:{dark_border}}}")
    for part, colours in PAGE.items():
        for rules, colour in zip((light, dark), colours, strict=True):
            rules.append(f".minicnn {part.format(colour)}")
    return (f".minicnn text{{font-family:{FONT};text-anchor:middle}}.minicnn .title{{font-weight:600}}"
            f".minicnn .line{{fill:none;stroke-width:1.2}}{''.join(light)}"
            f"@media(prefers-color-scheme:dark){{{''.join(dark)}}}")
