"""Gradients and parameters of a whole network at once, as in PyTorch.

Raises ValueError for a vector of another length and a bound below 0, RuntimeError for a norm that is not finite where
that is asked.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ... import dtypes
from ...backend import array_module, current
from ...ops.join import cat
from ...engine import Tensor

__all__ = ["clip_grad_norm_", "clip_grad_value_", "parameters_to_vector", "vector_to_parameters"]


def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0,
                    error_if_nonfinite: bool = False) -> Tensor:
    """Scale all gradients, in place, so that their norm as one vector is at most max_norm; returns the norm before.

    norm_type is the p of the p-norm, inf for the largest element. Raises RuntimeError if the norm is NaN or infinite
    and error_if_nonfinite; otherwise such gradients are scaled too. Pascanu et al. 2013.
    """
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm_: max_norm = {max_norm} must be at least 0")
    gradients = _gradients(parameters)
    if not gradients:
        return Tensor(np.zeros((), dtypes.default))
    with np.errstate(over="ignore", invalid="ignore"), current(gradients[0].data):
        norms = [_norm(g.data, norm_type) for g in gradients]  # on a GPU all are under way before one is read
        total = float(_norm(np.array(list(map(float, norms))), norm_type))
        if error_if_nonfinite and not math.isfinite(total):
            raise RuntimeError(f"clip_grad_norm_: the norm of order {norm_type} of the gradients is {total}; look for "
                               "its cause with autograd.detect_anomaly(), or pass error_if_nonfinite=False")
        scale = max_norm / (total + 1e-6)
        if not scale >= 1:  # also where it is NaN
            for g in gradients:
                g.data *= scale
                g.touch()
        return Tensor(array_module(gradients[0].data).asarray(total, dtype=dtypes.result_type(*gradients)))


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """g ← min(max(g, −clip_value), clip_value) for every element of every gradient, in place."""
    if not clip_value >= 0:
        raise ValueError(f"clip_grad_value_: clip_value = {clip_value} must be at least 0")
    for g in _gradients(parameters):
        with current(g.data):
            array_module(g.data).clip(g.data, -clip_value, clip_value, out=g.data)
        g.touch()


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters, flattened and joined: tensors of n elements each → (Σ n); differentiable."""
    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """The slices of a vector (Σ n) → the parameters it was made of, copied (PyTorch's share its memory)."""
    parameters = list(parameters)
    total = sum(p.numel() for p in parameters)
    if vec.shape != (total,):
        raise ValueError(f"vector_to_parameters: vec has shape {vec.shape}, but the parameters have {total} elements")
    start = 0
    for p in parameters:
        with current(p.data):
            p.data[...] = vec.data[start:start + p.numel()].reshape(p.shape)
        p.touch()
        start += p.numel()


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in parameters if p.grad is not None]


def _norm(x: Any, p: float) -> Any:
    """The p-norm of all elements, in at least float32."""
    x = x.reshape(-1)
    x = x if x.dtype.itemsize >= 4 else x.astype(np.float32)
    if p == math.inf and not x.size:
        return 0.0
    return array_module(x).linalg.norm(x, p)
