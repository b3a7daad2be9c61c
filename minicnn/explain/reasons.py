"""Why an operation passes nothing on to an element of its input, in words and with the values there."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..autograd.function import _UserNode as UserNode
from ..backend import Windows, to_numpy
from ..engine import Function, Tensor
from ..kernels import reference
from ..ops import activation, basic, comparison, conv, dropout, embedding, index, join, linear, loss_class, order
from ..ops import arithmetic, piecewise, pointwise, pool, shape, subscript

Index = tuple[int, ...]


class Reason(NamedTuple):
    """Of what kind it is, and what happened."""

    kind: str
    text: str


class Values:
    """The values in a graph, as far as it keeps them or they can be computed from what it keeps."""

    def __init__(self, nodes: list[Function]) -> None:
        self.kept: dict[Any, np.ndarray] = {}
        for node in nodes:
            for array, source in _saved(node):
                if isinstance(node, piecewise.Rectified):  # the input was rectified before it came
                    self.kept[node, 0] = array
                elif isinstance(source, Tensor) and source.grad_fn is not None:
                    self.kept[source.grad_fn, source.output_index] = array
                elif isinstance(source, int):
                    self.kept[node, source] = array

    def of(self, node: Function, slot: int) -> np.ndarray | None:
        """The input of an operation, None if it is not known."""
        edge = node.edges[slot]
        if edge is None or isinstance(edge, Tensor):
            return None if edge is None else to_numpy(edge.data)
        if edge not in self.kept:
            self._recompute(edge[0])
        return None if edge not in self.kept else to_numpy(self.kept[edge])

    def _recompute(self, node: Function) -> None:
        """The output of a layer whose inputs are known, of a view, or of a pooling."""
        if isinstance(node, (conv.Conv2d, linear.Linear)):
            kept = [array for array, _ in _saved(node)] + [None]  # of input and weight what is needed; no bias
            inputs = [self.of(node, i) if kept[i] is None else kept[i] for i in range(len(node.edges))]
            if all(array is not None for array in inputs):
                again = conv.Conv2d(node.geometry) if isinstance(node, conv.Conv2d) else linear.Linear()
                self.kept[node, 0] = again(*map(Tensor, inputs)).data
        elif isinstance(node, (shape.Reshape, pool.MaxPool2d)):
            x = self.of(node, 0)
            if x is not None:
                self.kept[node, 0] = (reference.pool_gather(x, _array(node, 0)) if isinstance(node, pool.MaxPool2d)
                                      else x.reshape(node.outputs[0][0]))

    @staticmethod
    def constants(node: Function) -> Iterator[Tensor]:
        """The tensors without a gradient among what an operation keeps of its inputs."""
        for _, source in _saved(node):
            if isinstance(source, Tensor) and not source.requires_grad:
                yield source


def _saved(node: Function) -> list[tuple[Any, Any]]:
    """The arrays that an operation keeps, each with the tensor, or the number of the output, that it is."""
    return [(None, None) if kept is None else kept[:2] for kept in node._saved or ()]


def _array(node: Function, number: int) -> np.ndarray:
    """One of the arrays that an operation keeps."""
    return to_numpy(_saved(node)[number][0])


def reason(node: Function, slot: int, ended: np.ndarray, values: Values) -> Reason:
    """Why nothing that an operation puts out moves with its input where ``ended`` is true."""
    first: Index = tuple(map(int, np.argwhere(ended)[0]))
    describe = next((function for kinds, function in _REASONS if isinstance(node, kinds)), _flat)
    return describe(node, slot, first, values)


def _at(x: np.ndarray | None, place: Index) -> str:
    """The value at a place, "the value" where it is not known."""
    where = f"[{', '.join(map(str, place))}]" if place else ""
    return f"the value at {where}" if x is None else f"{x[place]:.4g}{' at ' + where if where else ''}"


# -- one function for each family of operations ---------------------------------------------------------------------

Describe = Callable[[Any, int, Index, Values], Reason]


def _flat(node: Any, slot: int, place: Index, values: Values) -> Reason:
    x = values.of(node, slot)
    if getattr(node, "gradient", None) is basic.no_gradient:
        return Reason("step", f"{_at(x, place)} may move without moving the result, which jumps")
    return Reason("flat", f"at {_at(x, place)} its derivative is 0")


def _relu(node: Any, slot: int, place: Index, values: Values) -> Reason:
    return Reason("dead relu", f"{_at(values.of(node, slot), place)} is not above 0, so the result is 0")


def _hardtanh(node: Any, slot: int, place: Index, values: Values) -> Reason:
    low, high = node.parameters
    return Reason("saturated", f"{_at(values.of(node, slot), place)} is cut off at {_array(node, 0)[place]:.4g}, "
                  f"outside {low:g} … {high:g}")


def _clamp(node: Any, slot: int, place: Index, values: Values) -> Reason:
    if slot:
        return _lost(node, slot, place, values)
    return Reason("saturated", f"{_at(_array(node, 0), place)} is cut off by clamp")


def _saturated(node: Any, slot: int, place: Index, values: Values) -> Reason:
    if getattr(node, "gradient", None) is basic.no_gradient:
        return _flat(node, slot, place, values)
    return _at_limit(values.kept.get((node, 0)), values.of(node, slot), place)


def _at_limit(y: np.ndarray | None, x: np.ndarray | None, place: Index) -> Reason:
    result = "the result" if y is None else f"the result {y[place]:.4g}"
    return Reason("saturated", f"{result} of {_at(x, place)} is so near its limit that the derivative rounds to 0")


def _lost(node: Any, slot: int, place: Index, values: Values) -> Reason:
    return Reason("lost maximum", f"{_at(values.of(node, slot), place)} is not the one that was taken")


def _max_pool(node: Any, slot: int, place: Index, values: Values) -> Reason:
    *plane, row, column = place
    windows: Windows = node.windows
    rows = _windows_over(row, windows.row_start, windows.row_stop, windows.step[0])
    columns = _windows_over(column, windows.col_start, windows.col_stop, windows.step[1])
    if not len(rows) or not len(columns):
        return _uncovered(place)
    x, width = values.of(node, slot), node.x_shape[-1]
    won = _array(node, 0)[tuple(plane)][np.ix_(rows, columns)].reshape(-1)
    winners = [(*plane, *map(int, divmod(int(i), width))) for i in dict.fromkeys(won.tolist())]
    tie = x is not None and any(x[w] == x[place] for w in winners)
    return Reason("lost maximum", f"{_at(x, place)} lost to {' and '.join(_at(x, w) for w in winners[:3])}"
                  + (", of equals the first" if tie else ""))


def _avg_pool(node: Any, slot: int, place: Index, values: Values) -> Reason:
    windows: Windows = node.windows
    covered = (len(_windows_over(place[-2], windows.row_start, windows.row_stop, 1))
               and len(_windows_over(place[-1], windows.col_start, windows.col_stop, 1)))
    return _flat(node, slot, place, values) if covered else _uncovered(place)


def _activated(node: Any, slot: int, place: Index, values: Values) -> Reason:
    """An activation and an average pooling in one."""
    if (reason := _avg_pool(node, slot, place, values)).kind == "uncovered":
        return reason
    if node.activation == "relu":
        return _relu(node, slot, place, values)
    return _at_limit(_array(node, 0), values.of(node, slot), place)


def _windows_over(i: int, start: Any, stop: Any, step: int) -> np.ndarray:
    """The numbers of the windows that an element of an axis is in."""
    start, stop = to_numpy(start), to_numpy(stop)
    return np.flatnonzero((start <= i) & (i < stop) & ((i - start) % step == 0))


def _uncovered(place: Index) -> Reason:
    return Reason("uncovered", f"no window covers row {place[-2]}, column {place[-1]}: they step over it, or the last "
                  "one ends before it")


def _conv(node: Any, slot: int, place: Index, values: Values) -> Reason:
    if slot == 1:
        return _zero_input(node, slot, place, values)
    kernel, (_, _, *size) = node.w_shape[2:], node.x_shape
    if len(size) == 2:
        windows = node.geometry.output_size(size, kernel)
        ones = np.ones((1, kernel[0] * kernel[1], windows[0] * windows[1]))
        if not reference.col2im(ones, (1, 1, *size), kernel, node.geometry._replace(groups=1))[0, 0][place[2:]]:
            return _uncovered(place)
    return _zero_weight(node, slot, place, values)


def _zero_input(node: Any, slot: int, place: Index, values: Values) -> Reason:
    return Reason("zero input", "every value that this weight is multiplied with is 0 (the layer's input is, or it is "
                  "padding)")


def _zero_weight(node: Any, slot: int, place: Index, values: Values) -> Reason:
    return Reason("zero weight", f"every weight that {_at(values.of(node, slot), place)} is multiplied with is 0")


def _matmul(node: Any, slot: int, place: Index, values: Values) -> Reason:
    return (_zero_input if slot else _zero_weight)(node, slot, place, values)


def _mul(node: Any, slot: int, place: Index, values: Values) -> Reason:
    return Reason("masked", f"{_at(values.of(node, slot), place)} is multiplied by 0: a mask, or channels dropped as "
                  "a whole")


def _where(node: Any, slot: int, place: Index, values: Values) -> Reason:
    return Reason("masked", f"{_at(values.of(node, slot), place)} was replaced (where or masked_fill)")


def _left_out(node: Any, slot: int, place: Index, values: Values) -> Reason:
    return Reason("left out", f"{_at(values.of(node, slot), place)} is not among the elements selected")


def _dropped(node: Any, slot: int, place: Index, values: Values) -> Reason:
    return Reason("dropped", f"{_at(values.of(node, slot), place)} was dropped (p = {node.p:g})")


def _own(node: Any, slot: int, place: Index, values: Values) -> Reason:
    return Reason("own backward", f"backward of {node.cls.__name__} returned 0 for {_at(values.of(node, slot), place)}")


def _cross_entropy(node: Any, slot: int, place: Index, values: Values) -> Reason:
    p, target = _array(node, 1), _array(node, 2)
    if not 0 <= target[place[0]] < p.shape[1]:
        return Reason("masked", f"row {place[0]} does not count: its target is ignore_index")
    return Reason("saturated", f"its probability is {p[place]:.4g}, just what the target says, as far as the type can "
                  "tell")


_REASONS: tuple[tuple[Any, Describe], ...] = (
    (piecewise.Relu, _relu),
    (piecewise.Hardtanh, _hardtanh),
    (comparison.Clamp, _clamp),
    ((pointwise.Unary, activation.Elementwise, activation.AlongAxis, activation.LogSigmoid), _saturated),
    (pool.MaxPool2d, _max_pool),
    ((pool.MaxPool3d, order.Amax, comparison.Extreme), _lost),
    (pool.AvgPool2d, _avg_pool),
    (pool.ActivatedAvgPool2d, _activated),
    (conv.Conv2d, _conv),
    (conv.Conv2dInputGrad, _matmul),
    ((linear.Linear, linear.MatMul), _matmul),
    (arithmetic.Mul, _mul),
    (comparison.Where, _where),
    (dropout.Dropout, _dropped),
    (UserNode, _own),
    (loss_class.CrossEntropy, _cross_entropy),
    ((index.Index, index.IndexAdd, index.Scatter, shape.Part, subscript.SetItem, join.Split, join.Unbind,
      embedding.Embedding), _left_out),
)
