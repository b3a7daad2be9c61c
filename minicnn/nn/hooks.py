"""How the backward hooks of a module see the gradients that pass through it.

The tensors that enter the module go through one operation, those that leave it through another; both change nothing.
Their backwards are called once all gradients of the outputs, and later of the inputs, are there.

    args ──► Tap ──► forward ──► Tap ──► outputs
              │                   │
         grad_input          grad_output
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..engine import Function, Tensor, share, is_grad_enabled

if TYPE_CHECKING:
    from .module import Module


class Tap(Function):
    """y = x for several tensors at once;  gx = watch(gy)."""

    def __init__(self, watch: Callable[[tuple], tuple]) -> None:
        self.watch = watch

    def forward(self, *xs):
        return xs

    def backward(self, *gys):
        return self.watch(gys)


def _tap(values: tuple, watch: Callable[[tuple], tuple]) -> tuple[tuple, bool]:
    """The values, with those that need a gradient passed through a Tap, and whether there were any.

    watch maps gradients to gradients, one entry per value, None where the value needs none.
    """
    places = [i for i, v in enumerate(values) if isinstance(v, Tensor) and v.requires_grad]
    if not places or not is_grad_enabled():
        return values, False

    def on_all(gradients: tuple) -> tuple:
        watched = watch(_placed(len(values), places, gradients))
        return tuple([watched[i] for i in places])

    tapped = Tap(on_all)(*[values[i] for i in places])
    for i, tensor in zip(places, tapped, strict=True):
        share(tensor, values[i])  # a write to one is a write to the other
    return tuple([values[i] if t is None else t for i, t in enumerate(_placed(len(values), places, tapped))]), True


def _placed(n: int, places: list[int], entries: tuple) -> tuple:
    full: list[Any] = [None] * n
    for i, entry in zip(places, entries, strict=True):
        full[i] = entry
    return tuple(full)


class BackwardHooks:
    """One call of a module, with the hooks that want to see the gradients of its outputs and inputs."""

    def __init__(self, module: "Module", before: list[Callable], after: list[Callable]) -> None:
        self.module, self.before, self.after = module, before, after
        self.grad_output: tuple | None = None

    def enter(self, args: tuple) -> tuple:
        """The arguments to call forward with."""
        self.n_inputs = len(args)
        args, self.taps_inputs = _tap(args, self._at_inputs)
        return args

    def leave(self, output: Any) -> Any:
        """The output to return from the call."""
        if not isinstance(output, tuple):
            return _tap((output,), self._at_outputs)[0][0]
        return _tap(output, self._at_outputs)[0]

    def _at_outputs(self, grad_output: tuple) -> tuple:
        for hook in self.before:
            grad_output = _replaced(hook(self.module, grad_output), grad_output, "grad_output")
        self.grad_output = grad_output
        if not self.taps_inputs:
            self._at_inputs((None,) * self.n_inputs)
        return grad_output

    def _at_inputs(self, grad_input: tuple) -> tuple:
        if self.grad_output is not None:  # it is None if the output was nothing that could be tapped
            for hook in self.after:
                grad_input = _replaced(hook(self.module, grad_input, self.grad_output), grad_input, "grad_input")
            self.grad_output = None
        return grad_input


def _replaced(new: Any, old: tuple, what: str) -> tuple:
    if new is None:
        return old
    new = new if isinstance(new, tuple) else (new,)
    if len(new) != len(old):
        raise RuntimeError(f"a backward hook returned {len(new)} gradients as {what}, expected {len(old)}")
    return new
