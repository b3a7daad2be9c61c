"""Operations of the user's own."""

import weakref
from collections.abc import Callable
from typing import Any

from .. import engine
from ..engine import Tensor, no_grad, silence
from .gradients import as_tuple


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

    @silence()  # unlike other views it computes
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
        gxs = as_tuple(self.cls.backward(self.ctx, *gys))
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

    As in PyTorch, both take and return Tensors. Raises TypeError where they do not, RuntimeError where backward returns
    another number of gradients than forward has arguments. A backward written with operations differentiates again.
    Call it with ``apply``:

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
