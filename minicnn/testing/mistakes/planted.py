"""Planting a mistake into an operation, for as long as a block lasts and without touching a file."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np

from ...backend import move, to_numpy
from ...engine import Function, Tensor
from .mistake import Mistake, Use


def operation_class(name: str) -> type[Function]:
    """The operation whose class has that name."""
    waiting = list(Function.__subclasses__())
    for cls in waiting:
        waiting += cls.__subclasses__()
        if cls.__name__ == name and cls.__module__.startswith("minicnn.ops."):
            return cls
    raise ValueError(f"there is no operation {name!r} in minicnn.ops")


def classes_in(outputs: Iterable[Tensor]) -> set[str]:
    """The names of all operations that lead to the outputs."""
    waiting = [t.grad_fn for t in outputs if t.grad_fn is not None]
    seen = set()
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += [edge[0] for edge in node.edges if type(edge) is tuple]
    return {type(node).__name__ for node in seen}


@contextmanager
def planted(mistake: Mistake) -> Iterator[None]:
    """Inside the block the gradient is wrong; its own derivatives stay what they were, so nothing else changes."""
    if not isinstance(mistake, Mistake):
        raise TypeError(f"planted: {mistake!r} must be a Mistake; minicnn.testing.mistakes.named finds them by name")
    cls = operation_class(mistake.operation)
    forward, backward = cls.forward, cls.backward

    def keep(self: Any, *arrays: Any) -> Any:
        self.used = arrays
        return forward(self, *arrays)

    def spoilt(self: Any, *gys: Tensor) -> Any:
        given = backward(self, *gys)
        gradients = list(given) if isinstance(given, tuple) else [given]
        if mistake.of < len(gradients) and gradients[mistake.of] is not None:
            right = gradients[mistake.of]
            use = Use(self, tuple([None if a is None else to_numpy(a) for a in self.used]), to_numpy(gys[0].data))
            if use.gy.size and mistake.applies(use):  # of an empty batch no gradient is wrong
                error = np.asarray(mistake.wrong(use, to_numpy(right.data)) - to_numpy(right.data), right.data.dtype)
                gradients[mistake.of] = right + Tensor(move(error, right.device))
        return tuple(gradients)

    with mock.patch.object(cls, "forward", keep), mock.patch.object(cls, "backward", spoilt):
        yield
