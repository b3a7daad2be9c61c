"""Where numbers stopped being finite: the first layer to blame, in words."""

from contextlib import ExitStack
from typing import Any

from ..backend import array_module
from ..nn import Module
from ..engine import Tensor, no_grad

__all__ = ["NonFiniteError", "blame_gradient", "blame_output", "is_finite"]


class NonFiniteError(ArithmeticError):
    """Training met NaN or infinity."""


def is_finite(t: Tensor) -> bool:
    """Whether all elements are finite; one sum tells, since NaN and infinity survive addition."""
    return bool(array_module(t.data).isfinite(t.data.sum()))


def blame_output(model: Module, *inputs: Tensor) -> str | None:
    """Which layer is the first whose output is not finite, in a forward pass over a batch; None if all are."""
    blamed: list[str] = []

    def watch(name: str, layer: Module) -> Any:
        def hook(_: Module, args: tuple, output: Any) -> None:
            if not blamed and isinstance(output, Tensor) and not is_finite(output):
                blamed.append(f"the output of {_called(name, layer)}")
                if not all(map(is_finite, layer.parameters(recurse=False))):
                    blamed[0] += ", whose weights are not finite either"

        return hook

    if not is_finite(inputs[0]):
        return "the images themselves"
    with ExitStack() as hooks, no_grad():
        for name, layer in _leaves(model):
            hooks.callback(layer.register_forward_hook(watch(name, layer)).remove)
        model(*inputs)
    return blamed[0] if blamed else None


def blame_gradient(model: Module) -> str | None:
    """Which layer is the first, going backwards, with a gradient of its weights that is not finite; None if all are."""
    for name, layer in reversed(list(model.named_modules())):
        for parameter, p in layer.named_parameters(recurse=False):
            if p.grad is not None and not is_finite(p.grad):
                return f"the gradient of {parameter} of {_called(name, layer)}"
    return None


def _leaves(model: Module) -> list[tuple[str, Module]]:
    return [(name, layer) for name, layer in model.named_modules() if not list(layer.children())]


def _called(name: str, layer: Module) -> str:
    return f"{name} ({type(layer).__name__})" if name else type(layer).__name__
