"""What is likely to be wrong with a training run, told by its first step: the mistakes that cost people days.

All of it is read off the graph of the first loss and the gradients that it gave; nothing is changed by looking.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .. import explain
from ..backend import default_generator, to_numpy
from ..data import DataLoader
from ..engine import Function, Parameter, Tensor
from ..explain.gradient import nodes_of
from ..explain.trace import trace
from ..nn import Module
from ..ops.activation import LogSoftmax
from ..ops.dropout import Dropout
from ..ops.loss_class import CrossEntropy
from ..ops.norm import BatchNorm
from ..ops.shape import Permute, Reshape

__all__ = ["Finding", "lowest_loss", "preflight"]

NAMED = 3  # parameters, in a message about many
LARGE = 10.0  # a pixel: no image of mean 0 and standard deviation 1 has such, if it has none below 0


@dataclass(frozen=True)
class Finding:
    """Something that is likely to be a mistake.

    Attributes:
        rule: its name, such as "softmax-before-loss".
        cause: what is wrong, and what follows from it.
        cure: what to do.
        line: where, in a script.
    """

    rule: str
    cause: str
    cure: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.cause} [{self.rule}]\n  hint: {self.cure}"


def lowest_loss(classes: int) -> float:
    """What cross entropy cannot fall below where probabilities are taken for logits: ln(1 + (classes − 1)/e)."""
    return math.log1p((classes - 1) / math.e)


def softmax_before_loss(what: str, classes: int | None, line: int | None = None) -> Finding:
    """The finding that cross entropy is given probabilities."""
    least = f"; with {classes} classes the loss cannot fall below {lowest_loss(classes):.5f}" if classes else ""
    return Finding("softmax-before-loss", f"{what} comes before cross entropy, which has a softmax of its own{least}",
                   "let the model return logits; softmax is for showing probabilities", line)


def preflight(model: Module, x: Tensor, loss: Tensor, *, batches: DataLoader | None = None,
              raw: bool = False) -> list[Finding]:
    """Look for mistakes in the first step of a run; in a loop of your own it goes between backward and step.

        loss.backward(retain_graph=True)
        for finding in minicnn.training.preflight(model, x, loss, batches=loader):
            print("warning:", finding)

    Args:
        model: the network, in training mode; it comes out as it went in.
        x: the batch of images that it was shown.
        loss: of these images, after its backward; if that was without retain_graph it is not told why a gradient is 0.
        batches: what makes the batches, if its last one is to be looked at too.
        raw: whether pixels of 0 … 255 are meant.
    """
    nodes = nodes_of(loss)
    found = [*_probabilities(model, nodes), *_dropout(model, x, nodes), *_broadcast(x, nodes)]
    if not raw:
        found += _raw_pixels(x)
    return [*found, *_first_loss(loss, nodes), *_gradients(model, loss, nodes), *_last_batch(x, nodes, batches)]


# -- one function for each rule -------------------------------------------------------------------------------------

def _probabilities(model: Module, nodes: list[Function]) -> Iterator[Finding]:
    for edge, classes in _decisions(nodes):
        while isinstance(edge, tuple) and isinstance(edge[0], (Reshape, Permute)):
            edge = edge[0].edges[0]
        kind = edge[0].name.removesuffix("Backward") if isinstance(edge, tuple) else ""
        if kind in ("Softmax", "Sigmoid"):
            layers = [name for name, module in model.named_modules() if type(module).__name__ == kind]
            yield softmax_before_loss(kind + (f" ({layers[-1]})" if layers else ""), classes)


def _dropout(model: Module, x: Tensor, nodes: list[Function]) -> Iterator[Finding]:
    if not any(isinstance(node, Dropout) for node in nodes):
        return
    state = default_generator.state_dict()
    try:
        seen = trace(model, [x.detach()[:1]])
    finally:
        default_generator.load_state_dict(state)
    places = dict.fromkeys(seen.caller[node].path for node in seen.nodes if isinstance(node, Dropout))
    for path in places:
        where = f"{path} ({type(model.get_submodule(path)).__name__})" if path else type(model).__name__
        yield Finding("dropout-in-test", f"{where} drops in evaluation mode too, so test results are too low and "
                      "change from call to call", "call dropout with training=self.training, or use nn.Dropout")


def _broadcast(x: Tensor, nodes: list[Function]) -> Iterator[Finding]:
    n = len(x)
    for node in nodes:
        if n > 1 and node.broadcasts and node.outputs[0][0] == (n, n):
            for edge in node.edges:
                if edge is not None and (shape := _shape(edge)) in ((n, 1), (n,), (1, n)):
                    yield Finding("broadcast", f"a tensor {shape} was broadcast to {(n, n)} for "
                                  f"{node.name.removesuffix('Backward')}: every sample is compared with every other",
                                  "bring outputs and labels to the same shape, with squeeze(1) or unsqueeze(1)")
                    return


def _raw_pixels(x: Tensor) -> Iterator[Finding]:
    pixels = to_numpy(x.data)
    if pixels.size and x.ndim == 4 and pixels.min() >= 0 and pixels.max() > LARGE:
        yield Finding("raw-pixels", f"pixels are {pixels.min():g} … {pixels.max():g}; networks learn from numbers "
                      "around 1", "divide by 255, or use transforms.ToFloat() or transforms.Normalize(mean, std)")


def _first_loss(loss: Tensor, nodes: list[Function]) -> Iterator[Finding]:
    classes = max([classes for _, classes in _decisions(nodes)], default=0)
    if classes > 1 and loss.item() > 2 * math.log(classes) + 1:
        yield Finding("first-loss", f"the first loss is {loss.item():.4g}, far above ln {classes} = "
                      f"{math.log(classes):.4g}, which guessing gives: the network begins sure of wrong answers",
                      "scale the pixels, or begin with smaller weights (nn.init.kaiming_normal_ or xavier_uniform_)")


def _gradients(model: Module, loss: Tensor, nodes: list[Function]) -> Iterator[Finding]:
    wanted = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    missing = [(name, p) for name, p in wanted if p.grad is None]
    zero = [(name, p) for name, p in wanted if p.grad is not None and p.numel() and not to_numpy(p.grad.data).any()]
    kept = all(node._saved is not None for node in nodes)
    for several, what in ((missing, "no gradient arrives at"), (zero, "the gradient is 0 in")):
        if several:
            why = _why(model, loss, nodes, several) if kept else "explain.gradient(loss, parameter) tells why"
            yield Finding("no-gradient", f"{what} {_list([name for name, _ in several])}: {why}",
                          "what gets no gradient does not learn; requires_grad_(False) says that it need not")


def _why(model: Module, loss: Tensor, nodes: list[Function], several: list[tuple[str, Parameter]]) -> str:
    """Of the parameter that is nearest to the loss, or the next one where that only has nothing to multiply with."""
    read = {id(edge): node.number for node in nodes for edge in node.edges if isinstance(edge, Tensor)}
    causes: tuple[explain.Cause, ...] = ()
    for _, p in sorted(several, key=lambda entry: read.get(id(entry[1]), -1), reverse=True):
        causes = explain.gradient(loss, p, model=model).causes[-2:]
        if not all(cause.kind == "zero input" for cause in causes):
            break
    return "; ".join(map(str, causes))


def _last_batch(x: Tensor, nodes: list[Function], batches: DataLoader | None) -> Iterator[Finding]:
    if batches is None or batches.drop_last or batches.batch_size < 2 or len(batches.dataset) % batches.batch_size != 1:
        return
    of_batch = [node for node in nodes if isinstance(node, BatchNorm) and node.training
                and node.outputs[0][0][0] == len(x) > 1]
    if of_batch:
        one = any(math.prod(node.outputs[0][0][2:]) == 1 for node in of_batch)
        what = "which batch norm cannot take: one value has no variance, and it will raise" if one else \
            "and batch norm will take the mean and variance of that one"
        yield Finding("last-batch-of-one", f"{len(batches.dataset):,} images in batches of {batches.batch_size} leave "
                      f"one image for the last batch, {what}", "drop_last=True, or another batch size")


# -- helpers --------------------------------------------------------------------------------------------------------

def _decisions(nodes: list[Function]) -> Iterator[tuple[Any, int]]:
    """Where the logits of each cross entropy come from, and how many classes they are of."""
    for node in nodes:
        if isinstance(node, (CrossEntropy, LogSoftmax)):
            edge = node.edges[0]
            yield edge, _shape(edge)[node.dim if isinstance(node, LogSoftmax) else 1]


def _shape(edge: Any) -> tuple[int, ...]:
    """The shape of the input that an edge stands for."""
    return edge.shape if isinstance(edge, Tensor) else edge[0].outputs[edge[1]][0]


def _list(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
