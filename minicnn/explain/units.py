"""The layers of a traced network and the operations between them, in the detail asked for, and how they are linked."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..engine import Function
from ..models import window_of
from ..ops.basic import Cast, Clone
from ..ops.shape import Expand
from .trace import Call, Place, Trace, sources

PASSING = (Cast, Clone, Expand)  # operations that only hand on what they get
READABLE = 64  # rows or boxes that one still takes in


@dataclass(eq=False)
class Unit:
    """One row of a table, one box of a drawing: the call of a module, or an operation that a module does by itself."""

    path: str
    call: Call | None
    nodes: list[Function] = field(default_factory=list)  # an operation comes after what prepares it

    @property
    def kind(self) -> str:
        """The class of the module or operation."""
        return type(self.call.module if self.call else self.nodes[-1]).__name__

    @property
    def title(self) -> str:
        """The kind and, of a convolution or pooling, its window, such as "Conv2d 3×3, pad 1"."""
        window = window_of(self.call.module) if self.call else None
        groups = getattr(self.call.module, "groups", 1) if self.call else 1
        return self.kind + (f" {window}" if window else "") + (f", {groups} groups" if groups > 1 else "")

    @property
    def family(self) -> str:
        """The file of ``nn`` that it is from, such as "conv"; "module" with others inside, or "operation"."""
        if self.call is None:
            return "operation"
        return type(self.call.module).__module__.rpartition(".")[2] if self.call.is_layer else "module"

    @property
    def start(self) -> int:
        """All in it is numbered from here …"""
        return self.call.start if self.call else self.nodes[-1].number

    @property
    def end(self) -> int:
        """… to here."""
        return self.call.end if self.call else self.nodes[-1].number

    @property
    def place(self) -> Place | None:
        """Its first result; None if that was not computed from anything."""
        if self.call is None:
            return self.nodes[-1], 0
        return next(((t.grad_fn, t.output_index) for t in self.call.outputs if t.grad_fn is not None), None)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of its first result for one image."""
        if self.call is None:
            return self.nodes[-1].outputs[0][0][1:]
        return self.call.outputs[0].shape[1:] if self.call.outputs else ()


@dataclass(frozen=True)
class Link:
    """A value that goes from one unit to another; None is the input, or what the network returns."""

    source: Unit | None
    target: Unit | None
    shape: tuple[int, ...]


def units(trace: Trace, depth: int | None = None) -> tuple[list[Unit], list[Link]]:
    """What ran, in this order, with a module whose path has ``depth`` names (default: any number) as one unit.

    What only prepares weights, or converts or expands a value, belongs to the unit that uses it.
    """
    if depth is not None and depth < 1:
        raise ValueError(f"depth = {depth} must be at least 1, the modules directly in the network")
    found, within = _calls(trace, depth)
    home: dict[Function, Unit] = {}
    live = {x.grad_fn for x in trace.inputs}  # computed from the input or by a layer, not from weights alone
    glue = set()
    counts: dict[str, int] = {}
    for node in trace.nodes:
        call = trace.caller[node]
        unit = within[call]
        if unit is not None or any(source in live for source, _ in sources(node)):
            live.add(node)
        if unit is None and (node not in live or isinstance(node, PASSING)):
            glue.add(node)
            continue
        if unit is None:
            path = ".".join(filter(None, (call.path, type(node).__name__.lower())))
            counts[path] = counts.get(path, -1) + 1
            unit = Unit(f"{path}_{counts[path]}" if counts[path] else path, None)
            found.append(unit)
        home[node] = unit
    for node in reversed(trace.nodes):
        for source, _ in sources(node):
            if source in glue and node in home:
                home.setdefault(source, home[node])
    for node in trace.nodes:
        if node in home:
            home[node].nodes.append(node)
    links = list(dict.fromkeys(_links(trace, home, glue)))
    if trace.image is None:  # who reads numbers without a gradient cannot be seen in the graph
        reached = {link.target for link in links}
        links[:0] = [Link(None, unit, unit.call.inputs[0][1:]) for unit in found
                     if unit not in reached and unit.call and unit.call.inputs]
    return sorted(found, key=lambda unit: unit.start), links


def _calls(trace: Trace, depth: int | None) -> tuple[list[Unit], dict[Call | None, Unit | None]]:
    """The units that are calls, and the one that each call lies within."""
    found = []
    within: dict[Call | None, Unit | None] = {None: None}
    for call in trace.calls:
        unit = within[call.above]
        if unit is None and (call.is_layer or depth is not None and call.depth >= depth):
            unit = Unit(call.path, call)
            found.append(unit)
        within[call] = unit
    return found, within


def _links(trace: Trace, home: dict[Function, Unit], glue: set[Function]) -> Iterator[Link]:
    def origins(place: Place) -> Iterator[Place]:
        if place[0] not in glue:
            yield place
        else:
            for source in sources(place[0]):
                yield from origins(source)

    def links(place: Place, target: Unit | None) -> Iterator[Link]:
        for node, index in origins(place):
            source = home.get(node)
            if source is not target or source is None:
                yield Link(source, target, node.outputs[index][0][1:])

    for node in trace.nodes:
        if node in home and node not in glue:
            for place in sources(node):
                yield from links(place, home[node])
    for t in trace.outputs:
        if t.grad_fn is not None:
            yield from links((t.grad_fn, t.output_index), None)


def readable_depth(trace: Trace) -> int:
    """The greatest depth at which there are not too many units; at least 1."""
    deepest = max(call.depth for call in trace.calls) + 1
    return next((depth for depth in range(deepest, 1, -1) if len(units(trace, depth)[0]) <= READABLE), 1)
