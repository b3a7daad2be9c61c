"""Gradients as values, and the mode that finds where a NaN comes from."""

from collections.abc import Sequence
from typing import Any

from .. import engine
from ..engine import Tensor

Tensors = Tensor | Sequence[Tensor]


def as_tuple(value: Any) -> tuple:
    """A tuple or list as a tuple; anything else as the one element of a tuple."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def grad(outputs: Tensors, inputs: Tensors, grad_outputs: Any = None, retain_graph: bool | None = None,
         create_graph: bool = False, allow_unused: bool | None = None) -> tuple[Tensor | None, ...]:
    """The gradients of Σ outputs·grad_outputs with respect to inputs, one per input; ``.grad`` is left alone.

    Only what leads to one of the inputs is computed. ``create_graph=True`` records the gradients, so that they can be
    differentiated again. An input that the outputs do not depend on raises, or gives None with ``allow_unused=True``.
    Raises RuntimeError, too, where a tensor requires no gradient or grad_outputs do not fit. PyTorch's only_inputs,
    deprecated there, is_grads_batched and materialize_grads do not exist.
    """
    outputs, inputs = as_tuple(outputs), as_tuple(inputs)
    seeds = as_tuple(grad_outputs) if grad_outputs is not None else (None,) * len(outputs)
    if not inputs:
        raise ValueError("grad: inputs is empty")
    if len(seeds) != len(outputs):
        raise RuntimeError(f"grad: {len(seeds)} grad_outputs for {len(outputs)} outputs")
    for i, t in enumerate(inputs):
        if not t.requires_grad:
            raise RuntimeError(f"grad: input {i} does not require a gradient; call requires_grad_() on it first")
    starts = [engine.initial_gradient(t, g) for t, g in zip(outputs, seeds, strict=True)]
    retain = create_graph if retain_graph is None else retain_graph
    gradients, _ = engine.walk(list(outputs), starts, list(inputs), retain, create_graph)
    if not allow_unused:
        for i, g in enumerate(gradients):
            if g is None:
                raise RuntimeError(f"grad: input {i} (shape {inputs[i].shape}) was not used to compute the outputs; "
                                   "pass allow_unused=True to get None for it")
    return tuple(gradients)


class detect_anomaly:
    """Inside the block, NaN raises where it first appears, naming the operation and the line that called it.

    Raises RuntimeError then. PyTorch's check_nan, without which only the line is remembered, does not exist.
    """

    def __enter__(self) -> None:
        self._before, engine.mode.anomaly = engine.mode.anomaly, True

    def __exit__(self, *_: object) -> None:
        engine.mode.anomaly = self._before
