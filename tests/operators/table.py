"""An entry of the table: an operator, the calls drawn for it, and calls that both libraries must refuse.

A family's file next to this one ends with ``TABLE``, a list of ``Operator``; test_operators.py runs them all. To add an
operator is to add an entry:

    Operator("conv2d", convolutions(), examples=[Case(normal((2, 3, 5, 7)), normal((4, 3, 2, 3)), stride=2)],
             wrong=[lambda m, f: f.conv2d(constant(m, (2, 3, 5, 5)), constant(m, (4, 2, 3, 3)))])
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st

import minicnn.functional as F

from util import check_op


class Case:
    """One call: positional and keyword arguments, in which NumPy arrays become tensors.

    ``fixed`` names the arguments, by number or keyword, that take no gradient though floating. ``second=False`` where
    PyTorch has no second derivative (say why), ``single=False`` where float32 cannot be compared (say why).
    """

    def __init__(self, *arguments: Any, fixed: Sequence[int | str] = (), second: bool = True, single: bool = True,
                 **options: Any) -> None:
        self.arguments, self.options, self.fixed = arguments, options, tuple(fixed)
        self.second, self.single = second, single

    def __repr__(self) -> str:
        def show(a: Any) -> str:
            return f"{a.dtype}{a.shape}" if hasattr(a, "dtype") and getattr(a, "size", 0) > 12 else repr(a)

        given = [show(a) for a in self.arguments] + [f"{key}={show(a)}" for key, a in self.options.items()]
        return f"Case({', '.join(given)})"


@dataclass
class Operator:
    """``name`` as it is called in minicnn.functional and, unless ``theirs`` is given, in torch.nn.functional."""

    name: str
    cases: st.SearchStrategy[Case]
    examples: Sequence[Case] = ()
    wrong: Sequence[Callable[[Any, Any], Any]] = ()  # called with (minicnn, minicnn.functional), and PyTorch's two
    theirs: Callable | None = None
    ours: Callable | None = None
    number: int = 40  # cases drawn
    tolerance: float = 1e-10  # of first derivatives in float64, relative to the largest element
    elsewhere: Sequence[str] = ()  # arguments that other tests give

    def not_tried(self, cases: Iterable[Case]) -> set[str]:
        """The arguments that have their default in all cases."""
        signature = inspect.signature(getattr(F, self.name))
        tried = {*self.elsewhere}
        for case in cases:
            for name, value in signature.bind(*case.arguments, **case.options).arguments.items():
                if hasattr(value, "dtype") or value != signature.parameters[name].default:
                    tried.add(name)
        return signature.parameters.keys() - tried

    def check(self, case: Case, device: str = "cpu") -> None:
        """The case in both libraries: outputs, types, first and second gradients; ours on the device."""
        places = [*range(len(case.arguments)), *case.options]
        ours, theirs = self.ours or getattr(F, self.name), self.theirs or getattr(torch.nn.functional, self.name)
        check_op(_positional(ours, places), _positional(theirs, places), *case.arguments, *case.options.values(),
                 constant=[i for i, place in enumerate(places) if place in case.fixed], second=case.second,
                 single=case.single, tolerance=self.tolerance, device=device)


def _positional(call: Callable, places: list[int | str]) -> Callable:
    """call with every argument by position, those with a name last."""
    def positional(*values: Any) -> Any:
        named = {place: v for place, v in zip(places, values, strict=True) if isinstance(place, str)}
        return call(*values[:len(places) - len(named)], **named)

    return positional
