"""Where the boxes of a graph go, in layers from top to bottom, and how its edges run between them.

1. Every box stands below all those that it gets something from. Between two layers of boxes is one for labels. Where an
   edge passes a layer it is a vertex too, so that it has room beside the boxes; the first such vertex is its label.
2. In each layer, vertices are sorted by the mean place of their neighbours in the layer above, then in the layer below,
   and so on; the order with the fewest crossings is kept.
3. Vertices that follow each other without a branch form a column, which is straight. Columns move sideways to the mean
   of their neighbours, as far as order and widths allow.

Sugiyama, Tagawa, Toda: Methods for visual understanding of hierarchical system structures, 1981.
"""

import bisect
import graphlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

BESIDE, BETWEEN, PORTS = 18.0, 10.0, 16.0  # least distances: in a layer, from layer to layer, of edges at a box
SORTINGS, MOVES = 8, 40
PASSING = 0.1  # how far a column without a box goes to where its neighbours are, and how much it counts for them

Size = tuple[float, float]


class Run(NamedTuple):
    """A vertical piece of an edge; the next piece begins further down."""

    x: float
    top: float
    bottom: float


@dataclass(frozen=True)
class Layout:
    """The middles of boxes and labels, the edges, and the size of the whole."""

    boxes: list[tuple[float, float]]
    labels: list[tuple[float, float]]
    edges: list[list[Run]]
    size: Size


@dataclass(eq=False)
class _Vertex:
    width: float
    height: float
    layer: int
    is_box: bool = False
    x: float = 0.0  # of its middle
    above: "list[_Vertex]" = field(default_factory=list)
    below: "list[_Vertex]" = field(default_factory=list)


def layout(boxes: Sequence[Size], edges: Sequence[tuple[int, int]], labels: Sequence[Size]) -> Layout:
    """Lay out a graph in which every edge goes from a box to a later one.

    Args:
        boxes: width and height of each.
        edges: numbers of the boxes, from – to.
        labels: width and height of what is written at each edge.
    """
    depth = [0] * len(boxes)
    for source, target in sorted(edges, key=lambda edge: edge[1]):
        depth[target] = max(depth[target], depth[source] + 2)
    ends = [_Vertex(*size, layer, True) for size, layer in zip(boxes, depth, strict=True)]
    chains = []
    for (source, target), label in zip(edges, labels, strict=True):
        first, *others = range(depth[source] + 1, depth[target])
        chain = [_Vertex(*label, first), *(_Vertex(0, 0, layer) for layer in others)]
        for a, b in itertools.pairwise([ends[source], *chain, ends[target]]):
            a.below.append(b)
            b.above.append(a)
        chains.append(chain)
    layers: list[list[_Vertex]] = [[] for _ in range(max(depth) + 1)]
    for vertex in itertools.chain(ends, *chains):
        layers[vertex.layer].append(vertex)
    layers = _sorted(layers)
    width = _move(layers)
    bands = _bands(layers)
    ports = {(box, other): x for box in ends for side in (box.above, box.below)
             for other, x in zip(side, _ports(box, side), strict=True)}

    def middle(vertex: _Vertex) -> tuple[float, float]:
        return vertex.x, sum(bands[vertex.layer]) / 2

    routes = []
    for (source, target), chain in zip(edges, chains, strict=True):
        a, b = ends[source], ends[target]
        routes.append([Run(ports[a, chain[0]], middle(a)[1] + a.height / 2, bands[a.layer][1]),
                       *(Run(vertex.x, *bands[vertex.layer]) for vertex in chain),
                       Run(ports[b, chain[-1]], bands[b.layer][0], middle(b)[1] - b.height / 2)])
    return Layout([middle(box) for box in ends], [middle(chain[0]) for chain in chains], routes,
                  (width, bands[-1][1]))


# -- order ----------------------------------------------------------------------------------------------------------


def _sorted(layers: list[list[_Vertex]]) -> list[list[_Vertex]]:
    """The layers in the order with the fewest crossings that was found."""
    best, fewest = layers, _crossings(layers)
    place = {vertex: float(j) for layer in layers for j, vertex in enumerate(layer)}
    for i in range(SORTINGS):
        down, layers = i % 2 == 0, list(layers)
        for k in range(len(layers)) if down else reversed(range(len(layers))):
            for vertex in layers[k]:
                near = vertex.above if down else vertex.below
                if near:
                    place[vertex] = sum(place[other] for other in near) / len(near)
            layers[k] = sorted(layers[k], key=place.__getitem__)
            place.update((vertex, j) for j, vertex in enumerate(layers[k]))
        crossings = _crossings(layers)
        if crossings < fewest:
            best, fewest = layers, crossings
    return best


def _crossings(layers: list[list[_Vertex]]) -> int:
    total = 0
    for upper, lower in itertools.pairwise(layers):
        place = {vertex: j for j, vertex in enumerate(lower)}
        passed: list[int] = []
        for end in (place[v] for vertex in upper for v in sorted(vertex.below, key=place.__getitem__)):
            total += len(passed) - bisect.bisect_right(passed, end)
            bisect.insort(passed, end)
    return total


# -- places ---------------------------------------------------------------------------------------------------------


def _move(layers: list[list[_Vertex]]) -> float:
    """Give every vertex its x, the same to all in a column; returns the width of it all."""
    columns = _columns(layers)
    number = {vertex: i for i, column in enumerate(columns) for vertex in column}
    apart = [(number[a], number[b], (a.width + b.width) / 2 + BESIDE)
             for layer in layers for a, b in itertools.pairwise(layer)]
    weights = [1.0 if any(vertex.is_box for vertex in column) else PASSING for column in columns]
    above = [[number[other] for other in column[0].above] for column in columns]
    below = [[number[other] for other in column[-1].below] for column in columns]
    order = sorted(range(len(columns)), key=lambda i: columns[i][0].layer)
    xs = _apart([0.0] * len(columns), apart)
    for i in range(MOVES):
        down = i % 2 == 0
        for j in order if down else reversed(order):
            near = above[j] if down else below[j]
            if near:
                mean = sum(xs[k] * weights[k] for k in near) / sum(weights[k] for k in near)
                xs[j] += (mean - xs[j]) * weights[j]
        xs = _apart(xs, apart)
    left = min(xs[i] - vertex.width / 2 for vertex, i in number.items())
    for vertex, i in number.items():
        vertex.x = xs[i] - left
    return max(vertex.x + vertex.width / 2 for vertex in number)


def _columns(layers: list[list[_Vertex]]) -> list[list[_Vertex]]:
    """Vertices that are to be exactly below each other, from left to right.

    They are those between which there is nothing but one edge, where no other such edge crosses it.
    """
    column: dict[_Vertex, list[_Vertex]] = {}
    for layer, next_layer in itertools.pairwise([[], *layers]):
        place = {vertex: j for j, vertex in enumerate(next_layer)}
        last = -1  # the place to which the edges of columns were followed so far
        for vertex in layer:
            if len(vertex.below) == 1 == len(vertex.below[0].above) and place[vertex.below[0]] > last:
                column[vertex].append(vertex.below[0])
                column[vertex.below[0]] = column[vertex]
                last = place[vertex.below[0]]
        for vertex in next_layer:
            column.setdefault(vertex, [vertex])
    columns = {id(c): c for c in column.values()}
    left: dict[int, set[int]] = {i: set() for i in columns}
    for layer in layers:
        for a, b in itertools.pairwise(layer):
            left[id(column[b])].add(id(column[a]))
    return [columns[i] for i in graphlib.TopologicalSorter(left).static_order()]


def _apart(wanted: Sequence[float], apart: Sequence[tuple[int, int, float]]) -> list[float]:
    """Places near those wanted where, for each (i, j, distance) with i < j, place j is so far behind place i.

    The mean of two ways to get there, by moving ahead and by moving back.
    """
    ahead, back = list(wanted), list(wanted)
    for i, j, distance in sorted(apart, key=lambda pair: pair[1]):
        ahead[j] = max(ahead[j], ahead[i] + distance)
    for i, j, distance in sorted(apart, key=lambda pair: -pair[0]):
        back[i] = min(back[i], back[j] - distance)
    return [(a + b) / 2 for a, b in zip(ahead, back)]


def _bands(layers: list[list[_Vertex]]) -> list[tuple[float, float]]:
    """Top and bottom of each layer, further apart where edges run far sideways."""
    bands: list[tuple[float, float]] = []
    y = 0.0
    for layer in layers:
        sideways = max((abs(vertex.x - other.x) for vertex in layer for other in vertex.above), default=0)
        top = y + (BETWEEN + min(sideways / 8, 4 * BETWEEN) if bands else 0)
        y = top + max(vertex.height for vertex in layer)
        bands.append((top, y))
    return bands


def _ports(vertex: _Vertex, others: list[_Vertex]) -> list[float]:
    """Where edges meet a box that come from, or go to, these vertices: as straight as its width allows."""
    if not others:
        return []
    room = max(vertex.width / 2 - PORTS / 2, 0)
    apart = min(PORTS, 2 * room / max(len(others) - 1, 1))
    order = sorted(range(len(others)), key=lambda i: others[i].x)
    wanted = [min(max(others[i].x, vertex.x - room), vertex.x + room) for i in order]
    places = dict(zip(order, _apart(wanted, [(i - 1, i, apart) for i in range(1, len(order))])))
    return [min(max(places[i], vertex.x - room), vertex.x + room) for i in range(len(others))]
