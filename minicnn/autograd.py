"""Gradients as values, operations of the user's own, and checks of both against numbers."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import backend, dtypes, engine
from .engine import Tensor, enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled

__all__ = ["Function", "GradcheckError", "detect_anomaly", "enable_grad", "grad", "gradcheck", "gradgradcheck",
           "inference_mode", "is_grad_enabled", "no_grad", "set_grad_enabled"]

Tensors = Tensor | Sequence[Tensor]


def _tuple(value: Any) -> tuple:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def grad(outputs: Tensors, inputs: Tensors, grad_outputs: Any = None, retain_graph: bool | None = None,
         create_graph: bool = False, allow_unused: bool | None = None) -> tuple[Tensor | None, ...]:
    """The gradients of Σ outputs·grad_outputs with respect to inputs, one per input; ``.grad`` is left alone.

    Only what leads to one of the inputs is computed. ``create_graph=True`` records the gradients, so that they can be
    differentiated again. An input that the outputs do not depend on raises, or gives None with ``allow_unused=True``.
    """
    outputs, inputs = _tuple(outputs), _tuple(inputs)
    seeds = _tuple(grad_outputs) if grad_outputs is not None else (None,) * len(outputs)
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


# -- operations of the user's own -----------------------------------------------------------------------------------

class Context:
    """What forward and backward of a user's Function share: tensors by save_for_backward, the rest as attributes."""

    def __init__(self, node: "_UserNode") -> None:
        self._node: Callable[[], Any] = weakref.ref(node)  # the node holds the context; both ways would be a cycle
        self._constant: tuple[Tensor, ...] = ()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep inputs or outputs of forward; they are ``saved_tensors`` in backward."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(f"save_for_backward: expected Tensors, got {type(t).__name__}; keep it as an attribute "
                                "of ctx")
        self._node().save(*[None if t is None else t.data for t in tensors])

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """The tensors saved in forward."""
        return self._node().saved

    @property
    def needs_input_grad(self) -> tuple[bool, ...]:
        """For each argument of forward, whether its gradient is wanted."""
        node = self._node()
        wanted = iter(node.needs)
        return tuple([is_tensor and next(wanted, False) for is_tensor in node.is_tensor])

    def mark_non_differentiable(self, *outputs: Tensor) -> None:
        """Outputs that get no gradient."""
        self._constant = outputs

    def take_constant(self, outputs: tuple[Tensor, ...]) -> tuple[int, ...]:
        """The numbers of the outputs that were marked; forgets the tensors."""
        marked, self._constant = self._constant, ()
        return tuple([i for i, o in enumerate(outputs) if any(o is c for c in marked)])


class _UserNode(engine.Function):
    """The engine's view of one use of a user's Function."""

    views = True  # it may return its input, or a view of it

    def __init__(self, cls: "type[Function]", arguments: tuple) -> None:
        self.cls, self.ctx = cls, Context(self)
        self.is_tensor = tuple([isinstance(a, Tensor) for a in arguments])
        self.arguments = tuple([a.detach() if isinstance(a, Tensor) else a for a in arguments])

    @property
    def name(self) -> str:
        return self.cls.__name__ + "Backward"

    def forward(self, *_: Any) -> Any:
        arguments, self.arguments = self.arguments, ()  # only what is saved outlives forward
        with no_grad():
            out = self.cls.forward(self.ctx, *arguments)
        outputs = out if isinstance(out, tuple) else (out,)
        for o in outputs:
            if not isinstance(o, Tensor):
                raise TypeError(f"{self.cls.__name__}.forward must return Tensors, got {type(o).__name__}")
        self.constant_outputs = self.ctx.take_constant(outputs)
        return tuple([o.data for o in outputs]) if isinstance(out, tuple) else out.data

    def backward(self, *gys: Tensor) -> tuple:
        gxs = _tuple(self.cls.backward(self.ctx, *gys))
        if len(gxs) != len(self.is_tensor):
            raise RuntimeError(f"{self.cls.__name__}.backward returned {len(gxs)} gradients for {len(self.is_tensor)} "
                               "arguments of forward; return None for those without one")
        for i, (gx, is_tensor) in enumerate(zip(gxs, self.is_tensor, strict=True)):
            if gx is not None and not is_tensor:
                raise RuntimeError(f"{self.cls.__name__}.backward returned a gradient for argument {i} of forward, "
                                   "which is not a Tensor; return None for it")
        gxs = tuple([gx for gx, is_tensor in zip(gxs, self.is_tensor, strict=True) if is_tensor])
        return tuple([gx.clone() if isinstance(gx, Tensor) else gx for gx in gxs])  # ctx may keep what it returned


class Function:
    """An operation of your own: a subclass with static ``forward(ctx, *args)`` and ``backward(ctx, *grad_outputs)``.

    Both take and return Tensors. A backward written with operations differentiates again. Call it with ``apply``:

        class Square(Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x * x
            @staticmethod
            def backward(ctx, gy):
                x, = ctx.saved_tensors
                return gy * 2 * x
        y = Square.apply(x)
    """

    @staticmethod
    def forward(ctx: Context, *args: Any) -> Any:
        """Compute the outputs."""
        raise NotImplementedError("a Function needs a static forward(ctx, ...)")

    @staticmethod
    def backward(ctx: Context, *grad_outputs: Tensor) -> Any:
        """Compute one gradient, or None, for each argument of forward."""
        raise NotImplementedError("a Function needs a static backward(ctx, ...)")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run forward and record it."""
        node = _UserNode(cls, args)
        return node(*[a for a in args if isinstance(a, Tensor)])


# -- checks ---------------------------------------------------------------------------------------------------------


class detect_anomaly:
    """Inside the block, NaN raises where it first appears, naming the operation and the line that called it."""

    def __enter__(self) -> None:
        self._before, engine.mode.anomaly = engine.mode.anomaly, True

    def __exit__(self, *_: object) -> None:
        engine.mode.anomaly = self._before


class GradcheckError(RuntimeError):
    """A gradient that differs from its numeric estimate."""


def gradcheck(func: Callable[..., Tensors], inputs: Tensors, *, eps: float = 1e-6, atol: float = 1e-6,
              rtol: float = 1e-5, raise_exception: bool = True, directions: int = 3, seed: int = 0) -> bool:
    """Whether the gradients of func at inputs agree with central differences, in float64.

    For random directions v of each input and u of each output, ⟨u, J·v⟩ is computed twice: as ⟨u, (f(x + eps·v) −
    f(x − eps·v)) / 2eps⟩ and as ⟨Jᵀ·u, v⟩. They may differ by atol + rtol·|numeric| (PyTorch's 1e-5 and 1e-3 hide an
    error of 0.05 %). Two evaluations serve an input of any size, and a wrong gradient would have to be orthogonal to
    every v to pass. On a mismatch the elements are checked one by one, and the error names the input and the index that
    is worst.
    """
    inputs = _tuple(inputs)
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
    """gradcheck of the gradients of func: whether second derivatives agree, also with respect to grad_outputs."""
    inputs = _tuple(inputs)
    if grad_outputs is None:
        rng = np.random.default_rng(seed + 1)
        outputs = [o for o in _tuple(func(*inputs)) if o.requires_grad]
        seeds = tuple([_like(rng.standard_normal(o.shape), o).requires_grad_() for o in outputs])
    else:
        seeds = _tuple(grad_outputs)
    wanted = [i for i, t in enumerate(inputs) if isinstance(t, Tensor) and t.requires_grad]

    def gradients(*values: Tensor) -> tuple[Tensor, ...]:
        arguments, gys = values[:len(inputs)], values[len(inputs):]
        outputs = [o for o in _tuple(func(*arguments)) if o.requires_grad]
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
        outputs = [o for o in _tuple(func(*inputs)) if o.requires_grad]
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
        outputs = [o for o in _tuple(func(*inputs[:i], moved, *inputs[i + 1:])) if o.requires_grad]
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
