"""Checks of gradients against numeric differentiation."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import backend, dtypes
from ..engine import Tensor
from .gradients import Tensors, as_tuple, grad


class GradcheckError(RuntimeError):
    """A gradient that differs from its numeric estimate."""


def gradcheck(func: Callable[..., Tensors], inputs: Tensors, *, eps: float = 1e-6, atol: float = 1e-6,
              rtol: float = 1e-5, raise_exception: bool = True, directions: int = 3, seed: int = 0) -> bool:
    """Whether the gradients of func at inputs agree with central differences, in float64.

    For random directions v of each input and u of each output, ⟨u, J·v⟩ is computed twice: as ⟨u, (f(x + eps·v) −
    f(x − eps·v)) / 2eps⟩ and as ⟨Jᵀ·u, v⟩. They may differ by atol + rtol·|numeric| (PyTorch's 1e-5 and 1e-3 hide an
    error of 0.05 %). Two evaluations serve an input of any size, and a wrong gradient would have to be orthogonal to
    every v to pass. On a mismatch the elements are checked one by one, and the error names the input and the index that
    is worst. Raises GradcheckError then, unless raise_exception is False. directions and seed are not in PyTorch; its
    nondet_tol, check_undefined_grad, check_grad_dtypes, check_batched_grad, check_batched_forward_grad,
    check_forward_ad, check_backward_ad, fast_mode and masked do not exist.
    """
    inputs = as_tuple(inputs)
    checked = [i for i, t in enumerate(inputs) if isinstance(t, Tensor) and t.requires_grad]
    if not checked:
        raise ValueError("gradcheck: none of the inputs requires a gradient")
    for i in checked:
        if inputs[i].dtype != dtypes.float64:
            raise ValueError(f"gradcheck: input {i} is {inputs[i].dtype}; differences need float64, use x.double()")
    message = _mismatch(func, inputs, checked, eps, atol, rtol, directions, np.random.default_rng(seed))
    if message and raise_exception:
        raise GradcheckError(message)
    return message is None


def gradgradcheck(func: Callable[..., Tensors], inputs: Tensors, grad_outputs: Tensors | None = None, *,
                  eps: float = 1e-6, atol: float = 1e-6, rtol: float = 1e-5, raise_exception: bool = True,
                  seed: int = 0) -> bool:
    """gradcheck of the gradients of func: whether second derivatives agree, also with respect to grad_outputs.

    Its atol and rtol are gradcheck's, narrower than PyTorch's, and so are seed and what it Raises. PyTorch's
    gen_non_contig_grad_outputs, nondet_tol, check_undefined_grad, check_grad_dtypes, check_batched_grad,
    check_fwd_over_rev, check_rev_over_rev, fast_mode and masked do not exist.
    """
    inputs = as_tuple(inputs)
    if grad_outputs is None:
        rng = np.random.default_rng(seed + 1)
        outputs = [o for o in as_tuple(func(*inputs)) if o.requires_grad]
        seeds = tuple([_like(rng.standard_normal(o.shape), o).requires_grad_() for o in outputs])
    else:
        seeds = as_tuple(grad_outputs)
    wanted = [i for i, t in enumerate(inputs) if isinstance(t, Tensor) and t.requires_grad]

    def gradients(*values: Tensor) -> tuple[Tensor, ...]:
        arguments, gys = values[:len(inputs)], values[len(inputs):]
        outputs = [o for o in as_tuple(func(*arguments)) if o.requires_grad]
        found = grad(outputs, [arguments[i] for i in wanted], gys, create_graph=True, allow_unused=True)
        # gradcheck leaves out what is not recorded, but a gradient that is not recorded is the mistake looked for here
        nothing = sum([gy.sum() for gy in gys]) * 0.0
        return tuple([g if g.requires_grad else g + nothing for g in found if g is not None])

    return gradcheck(gradients, (*inputs, *seeds), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception,
                     seed=seed)


def _mismatch(func: Callable, inputs: tuple, checked: list[int], eps: float, atol: float, rtol: float, directions: int,
              rng: np.random.Generator) -> str | None:
    """A message about the first of the inputs numbered in ``checked`` whose gradient is wrong."""
    for _ in range(directions):
        outputs = [o for o in as_tuple(func(*inputs)) if o.requires_grad]
        if not outputs:
            return "gradcheck: no output of func requires a gradient; is it detached from the inputs?"
        us = [rng.standard_normal(o.shape) for o in outputs]
        seeds = [_like(u, o) for u, o in zip(us, outputs, strict=True)]
        gradients = grad(outputs, [inputs[i] for i in checked], seeds, allow_unused=True)
        for i, g in zip(checked, gradients, strict=True):
            analytic = np.zeros(inputs[i].shape) if g is None else _numbers(g)
            v = rng.standard_normal(inputs[i].shape)
            numeric = _slope(func, inputs, i, v, us, eps)
            if not abs(numeric - (analytic * v).sum()) <= atol + rtol * abs(numeric):
                return _worst(func, inputs, i, analytic, us, eps, atol, rtol)
    return None


def _numbers(t: Tensor) -> np.ndarray:
    return backend.to_numpy(t.data)


def _like(array: Any, t: Tensor) -> Tensor:
    return Tensor(backend.move(np.asarray(array), t.device))  # without axes NumPy gives a bare number


def _slope(func: Callable, inputs: tuple, i: int, v: np.ndarray, us: list[np.ndarray], eps: float) -> float:
    """⟨u, f(x + eps·v) − f(x − eps·v)⟩ / 2eps, x the input number i."""
    values = []
    for sign in (1, -1):
        moved = _like(_numbers(inputs[i]) + sign * eps * v, inputs[i]).requires_grad_()
        outputs = [o for o in as_tuple(func(*inputs[:i], moved, *inputs[i + 1:])) if o.requires_grad]
        values.append([_numbers(o) for o in outputs])
    return sum(float((u * (a - b)).sum()) for u, a, b in zip(us, *values, strict=True)) / (2 * eps)


def _worst(func: Callable, inputs: tuple, i: int, analytic: np.ndarray, us: list[np.ndarray], eps: float, atol: float,
           rtol: float) -> str:
    """A message about the element of input i whose gradient is farthest off."""
    numeric = np.empty_like(analytic)
    for index in np.ndindex(analytic.shape):
        v = np.zeros_like(analytic)
        v[index] = 1
        numeric[index] = _slope(func, inputs, i, v, us, eps)
    off = np.nan_to_num(abs(numeric - analytic), nan=np.inf)
    worst = np.unravel_index(off.argmax(), off.shape)
    return (f"gradcheck: the gradient of input {i} (shape {inputs[i].shape}) is wrong, worst at index "
            f"{tuple(map(int, worst))}: analytic {analytic[worst]:.8g}, numeric {numeric[worst]:.8g}; "
            f"{int((off > atol + rtol * abs(numeric)).sum())} of {off.size} elements differ")
