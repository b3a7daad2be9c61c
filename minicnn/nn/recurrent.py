"""Recurrent layers: stacks of them over whole sequences, and single cells for one step.

Layers take (T, N, I), (N, T, I) if batch_first, (T, I) or a PackedSequence → all h, (T, N, D·P) or alike, and the last
states, (layers·D, N, P), for D directions of P numbers. Raises RuntimeError for inputs and states that do not fit,
ValueError for numbers out of range.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import functional as F
from ..engine import Parameter, Tensor
from ..ops.autocast import widened
from ..ops.creation import zeros
from ..ops.join import cat, stack
from ..ops.packing import Packing
from ..ops.recurrent import recurrent
from . import init
from .arguments import parameter, whole
from .module import Module
from .utils.rnn import PackedSequence

__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNBase", "RNNCell", "RNNCellBase"]

_GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}
_MODES = {"tanh": "RNN_TANH", "relu": "RNN_RELU"}


def _mode(layer: str, nonlinearity: str) -> str:
    if nonlinearity not in _MODES:
        raise ValueError(f"{layer}: nonlinearity {nonlinearity!r} is unknown; use 'tanh' or 'relu'")
    return _MODES[nonlinearity]


class _Recurrent(Module):
    """What layers and cells share: how their parameters start, and how their states are checked."""

    hidden_size: int
    mode: str

    def reset_parameters(self) -> None:
        """Draw new values, uniform within ±1/√hidden_size, PyTorch's default."""
        bound = 1 / math.sqrt(self.hidden_size)
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def _states(self, x: Tensor, hx: Any, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """hx as the list of states, after the check of their shapes; zeros if it is None."""
        name = type(self).__name__
        if hx is None:
            return [zeros(shape, dtype=x.dtype, device=x.device) for shape in shapes]
        states = list(hx) if isinstance(hx, (tuple, list)) else [hx]
        if len(states) != len(shapes):
            raise TypeError(f"{name}: hx must be {'the pair (h_0, c_0)' if len(shapes) == 2 else 'one tensor'}")
        for what, state, shape in zip(("h_0", "c_0"), states, shapes):
            if state.shape != shape:
                raise RuntimeError(f"{name}: {what} has shape {state.shape}, expected {shape}")
            if state.dtype != x.dtype:
                raise RuntimeError(f"{name}: {what} is {state.dtype}, input is {x.dtype}; convert one with .to()")
        return states

    def _check(self, x: Tensor, weight: Tensor) -> None:
        name = type(self).__name__
        if x.dtype != weight.dtype:
            raise ValueError(f"{name}: input is {x.dtype}, the weights are {weight.dtype}; convert one with .to()")
        if x.shape[-1] != weight.shape[1]:
            raise RuntimeError(f"{name}: input {x.shape} must have {weight.shape[1]} features (input_size) in its last "
                               "axis")


class RNNBase(_Recurrent):
    """What RNN, LSTM and GRU share: num_layers layers on top of each other, each in one direction or in both.

    The names of layer k end in _l{k}, those of its other direction in _l{k}_reverse; all_weights lists them.
    """

    def __init__(self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        name = type(self).__name__
        if mode not in _GATES:
            raise ValueError(f"{name}: mode {mode!r} is unknown; use {', '.join(_GATES)}")
        self.mode, self.input_size = mode, whole(name, "input_size", input_size)
        self.hidden_size = whole(name, "hidden_size", hidden_size)
        self.num_layers = whole(name, "num_layers", num_layers)
        for what, flag in (("bias", bias), ("batch_first", batch_first), ("bidirectional", bidirectional)):
            if not isinstance(flag, bool):
                raise TypeError(f"{name}: {what} = {flag!r} must be True or False")
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
            raise ValueError(f"{name}: dropout = {dropout!r} must be a probability, 0 to 1")
        self.dropout = float(dropout)
        self.proj_size = whole(name, "proj_size", proj_size, 0)
        if proj_size >= hidden_size or proj_size and mode != "LSTM":
            raise ValueError(f"{name}: proj_size = {proj_size} must be smaller than hidden_size = {hidden_size}, and 0 "
                             f"in anything but an LSTM (mode {mode!r})")
        if dropout and num_layers == 1:
            warnings.warn(f"{name}: dropout = {dropout} acts between layers, and there is only one", stacklevel=3)
        gates, shown = _GATES[mode] * hidden_size, proj_size or hidden_size
        self._names: list[list[str]] = []
        for layer in range(num_layers):
            inputs = shown * len(self._directions) if layer else input_size
            for suffix in self._directions:
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (gates, inputs), "weight_hh": (gates, shown)}
                if bias:
                    shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                self._names.append([f"{what}_l{layer}{suffix}" for what in shapes])
                for path, shape in zip(self._names[-1], shapes.values(), strict=True):
                    self.register_parameter(path, parameter(shape, dtype, device))
        self.reset_parameters()

    @property
    def _directions(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, path) for path in paths] for paths in self._names]

    def flatten_parameters(self) -> None:
        """Nothing: here to take PyTorch's calls. It arranges memory for cuDNN, which minicnn does not use."""

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """The outputs of the last layer for all steps, and the last states of all layers.

        input (T, N, input_size), (N, T, input_size) if batch_first, (T, input_size) or a PackedSequence → output of the
        same kind with D·P features, D directions of P = proj_size or hidden_size; the states, given or (if None) zero,
        are (num_layers·D, N, P), for an LSTM the pair of those and (num_layers·D, N, hidden_size). Where input has no N
        they have none.
        """
        name = type(self).__name__
        if isinstance(input, PackedSequence):
            if input.data.ndim != 2:
                raise RuntimeError(f"{name}: the data of a packed input must be (R, input_size), not shape "
                                   f"{input.data.shape}")
            rows = widened(input.data)
            self._check(rows, self.all_weights[0][0])
            packing = Packing(input.batch_sizes.numpy())
            y, states = self._layers(rows, packing, (packing.sequences,), hx, *input[2:])
            return PackedSequence(y, *input[1:]), states
        if input.ndim not in (2, 3):
            raise ValueError(f"{name}: input must have 2 or 3 axes, not shape {input.shape}")
        input = widened(input)
        self._check(input, self.all_weights[0][0])
        turned = self.batch_first and input.ndim == 3
        x = input.transpose(0, 1) if turned else input
        steps, *batch, features = x.shape
        if not steps:
            raise RuntimeError(f"{name}: input {input.shape} must have at least one step")
        sequences = math.prod(batch)
        rows = x.reshape(steps * sequences, features)
        y, states = self._layers(rows, Packing(np.full(steps, sequences)), tuple(batch), hx)
        y = y.reshape(steps, *batch, y.shape[1])
        return y.transpose(0, 1) if turned else y, states

    def _layers(self, x: Tensor, packing: Packing, batch: tuple[int, ...], hx: Any, order: Tensor | None = None,
                back: Tensor | None = None) -> tuple[Tensor, Any]:
        """The outputs for the rows of a packed sequence, and the states, whose shapes have batch between two others.

        Sequence i is number order[i] in the states; back is the inverse.
        """
        directions, number = len(self._directions), len(self._names)
        shapes = [(number, *batch, width) for width in (self.proj_size or self.hidden_size, self.hidden_size)]
        given = [state.reshape(number, packing.sequences, state.shape[-1])
                 for state in self._states(x, hx, shapes if self.mode == "LSTM" else shapes[:1])]
        if order is not None:
            given = [state.index_select(1, order) for state in given]
        states: list[Sequence[Tensor]] = list(zip(*[state.unbind(0) for state in given]))  # of each layer and direction
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = F.dropout(x, self.dropout, self.training)
            outputs = []
            for k in range(layer * directions, (layer + 1) * directions):
                w_ih, w_hh, *others = self.all_weights[k]
                h, *states[k] = recurrent(self.mode, packing, k % directions == 1, x, states[k], w_ih, w_hh,
                                          *(others if self.bias else (None, None, *others)))
                outputs.append(h)
            x = outputs[0] if directions == 1 else cat(outputs, 1)
        last = [stack(series) for series in zip(*states)]
        if back is not None:
            last = [state.index_select(1, back) for state in last]
        last = [state.reshape(shape) for state, shape in zip(last, shapes)]
        return x, tuple(last) if self.mode == "LSTM" else last[0]

    def extra_repr(self) -> str:
        """The sizes, and the arguments that differ from their defaults."""
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0,
                    "bidirectional": False}
        other = [f", {name}={getattr(self, name)}" for name, value in defaults.items() if getattr(self, name) != value]
        return f"{self.input_size}, {self.hidden_size}" + "".join(other)


class RNN(RNNBase):
    """h[t] = f(W_ih·x[t] + b_ih + W_hh·h[t−1] + b_hh), f the nonlinearity, "tanh" or "relu". Elman 1990.

    dropout is the probability with which what one layer gives to the next is dropped in training.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh",
                 bias: bool = True, batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__(_mode("RNN", nonlinearity), input_size, hidden_size, num_layers, bias, batch_first, dropout,
                         bidirectional, device=device, dtype=dtype)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Gates i, f, o and a cell c[t] = f·c[t−1] + i·g, of which h[t] = o·tanh(c[t]) is shown, times W_hr if proj_size.

    The rows of the weights are those of i, f, g, o (see ops/recurrent.py); states are pairs (h, c); dropout as in RNN.
    Hochreiter & Schmidhuber 1997; the projection: Sak et al. 2014.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__("LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
                         proj_size, device, dtype)


class GRU(RNNBase):
    """h[t] = (1 − z)·n + z·h[t−1], n a candidate that sees as much of h[t−1] as the gate r lets through.

    The rows of the weights are those of r, z, n (see ops/recurrent.py); dropout as in RNN. Cho et al. 2014.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__("GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
                         device=device, dtype=dtype)


# -- cells ------------------------------------------------------------------------------------------------------------

class RNNCellBase(_Recurrent):
    """What the cells share: one step, (N, input_size) or (input_size) and a state → the next state."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        name = type(self).__name__
        self.input_size = whole(name, "input_size", input_size, 0)
        self.hidden_size, self.bias = whole(name, "hidden_size", hidden_size), bias
        for end, columns in (("ih", input_size), ("hh", hidden_size)):
            self.register_parameter(f"weight_{end}", parameter((num_chunks * hidden_size, columns), dtype, device))
        for end in ("ih", "hh"):
            self.register_parameter(f"bias_{end}",
                                    parameter((num_chunks * hidden_size,), dtype, device) if bias else None)
        self.reset_parameters()

    def _step(self, input: Tensor, hx: Any, number: int) -> list[Tensor]:
        """The next states, of which there are so many."""
        name = type(self).__name__
        if input.ndim not in (1, 2):
            raise ValueError(f"{name}: input must have 1 or 2 axes, not shape {input.shape}")
        input = widened(input)
        self._check(input, self.weight_ih)
        states = self._states(input, hx, [(*input.shape[:-1], self.hidden_size)] * number)
        if input.ndim == 1:
            return [h.squeeze(0) for h in self._step(input.unsqueeze(0), [h.unsqueeze(0) for h in states], number)]
        _, *after = recurrent(self.mode, Packing(np.array([len(input)])), False, input, states, self.weight_ih,
                              self.weight_hh, self.bias_ih, self.bias_hh)
        return after

    def extra_repr(self) -> str:
        """The sizes, and the arguments that differ from their defaults."""
        other = "" if self.bias else f", bias={self.bias}"
        return f"{self.input_size}, {self.hidden_size}{other}"


class RNNCell(RNNCellBase):
    """h' = f(W_ih·x + b_ih + W_hh·h + b_hh), f the nonlinearity, "tanh" or "relu"; h is zero if None. Elman 1990."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh",
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity, self.mode = nonlinearity, _mode("RNNCell", nonlinearity)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next h, (N, hidden_size) or (hidden_size)."""
        return self._step(input, hx, 1)[0]

    def extra_repr(self) -> str:
        """The sizes, and the arguments that differ from their defaults."""
        return super().extra_repr() + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")


class LSTMCell(RNNCellBase):
    """One step of an LSTM; hx is the pair (h, c), zero if None. Hochreiter & Schmidhuber 1997."""

    mode = "LSTM"

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """The next (h, c), each (N, hidden_size) or (hidden_size)."""
        h, c = self._step(input, hx, 2)
        return h, c


class GRUCell(RNNCellBase):
    """One step of a GRU; hx is h, zero if None. Cho et al. 2014."""

    mode = "GRU"

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next h, (N, hidden_size) or (hidden_size)."""
        return self._step(input, hx, 1)[0]
