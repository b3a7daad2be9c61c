"""What gradcheck was asked, so that it can be asked again: with another seed, or for other values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .case import Case
from .check import Check
from .functions import Differentiable, differentiable


@dataclass(frozen=True)
class Call:
    """The arguments of gradcheck."""

    function: Callable
    inputs: Sequence[Any] | Case
    backward: Callable | None
    jvp: Callable | bool
    order: int
    wrt: Sequence[int] | None
    directions: int
    seed: int

    @property
    def case(self) -> Case | None:
        """The inputs if they are a Case."""
        return self.inputs if isinstance(self.inputs, Case) else None

    @property
    def name(self) -> str:
        """What the report calls the function."""
        name = getattr(self.function, "__name__", type(self.function).__name__).replace("<lambda>", "function")
        return name if self.order == 1 else f"{name}, second order"

    def seen(self) -> Differentiable:
        """The function at its point."""
        jvp = self.jvp if callable(self.jvp) else None
        if not isinstance(self.inputs, Case):
            return differentiable(self.function, self.inputs, self.backward, jvp, self.wrt)
        case = self.inputs
        return differentiable(_with_options(self.function, case),
                              case.tensors() if self.backward is None else case.arrays,
                              _with_options(self.backward, case), _with_options(jvp, case),
                              case.wrt if self.wrt is None else self.wrt)

    def check(self) -> Check:
        """The check under the upstream gradients that the seed gives."""
        return Check(self.name, self.seen().to_order(self.order, self.seed), self.seed)


def _with_options(f: Any, case: Case) -> Any:
    return f and (lambda *a: f(*a, **case.options))
