"""Code to paste that shows a wrong gradient again, whatever library the arrays are of, and however large they are.

Of the values that can be written shortly those are taken for which the gradient is wrong in the same way: with few
decimals, or drawn from a seed where there are many. What is tried is the code itself.
"""

import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .. import functional
from .call import Call
from .case import MOST, Case, written
from .functions import PACKAGES, library_of
from .networks import Layer, Network
from .report import Report, Verdict, strongest


def reproducer(call: Call, wrong: Report) -> str:
    """Python that makes the inputs and prints a report of the same verdict on the same input."""
    code = _Code(call)
    for decimals in (0, 1, None):
        def simple(number: int, a: np.ndarray, decimals: int | None = decimals) -> str:
            return _drawn(a, number) if a.size > MOST else code.rounded(number, a, decimals)

        inputs = code.inputs(simple)
        if code.fails_alike(inputs, wrong):
            return code.text(inputs)
    return code.text(code.inputs(lambda _, a: _saved(a) if a.size > MOST else written(a)))


def _drawn(a: np.ndarray, seed: int) -> str:
    """Values of the same range."""
    generator, dtype = f"np.random.default_rng({seed})", "" if a.dtype in (float, int) else f".astype(np.{a.dtype})"
    low, high = a.min(), a.max()
    if a.dtype.kind == "f":
        return f"{generator}.uniform({low:.3g}, {high:.3g}, {a.shape}){dtype}"
    return f"{generator}.integers({int(low)}, {int(high) + 1}, {a.shape}){dtype}"


def _saved(a: np.ndarray) -> str:
    """The array itself, in a file, where the gradient is right for all that is shorter."""
    with tempfile.NamedTemporaryFile(prefix="gradcheck-", suffix=".npy", delete=False) as file:
        np.save(file, a)
    return f"np.load({file.name!r})"


class _Code:
    """A call as code."""

    def __init__(self, call: Call) -> None:
        self.call, self.case, self.seen = call, call.case, call.seen()
        self.names: dict[str, Any] = {"np": np, "Case": Case, "Network": Network, "Layer": Layer}
        self.names |= {name: sys.modules[name] for name in PACKAGES if name in sys.modules}
        self.imports: list[str] = []
        self.yours: list[str] = []
        arguments = [self._callable(call.function, "function"), "{}"]
        if call.backward is not None:
            arguments.append(self._callable(call.backward, "backward"))
        if call.jvp:
            arguments.append(f"jvp={self._callable(call.jvp, 'jvp') if callable(call.jvp) else True}")
        for name, usual in (("order", 1), ("wrt", None), ("directions", 2), ("seed", 0)):
            if getattr(call, name) != usual:
                arguments.append(f"{name}={getattr(call, name)!r}")
        self.template = f"gradcheck({', '.join(arguments)})"

    def rounded(self, number: int, a: np.ndarray, decimals: int | None) -> str:
        """The array in full, with so many decimals if it is differentiated by."""
        if decimals is not None and number in self.seen.places:
            a = np.round(a, decimals) + np.zeros((), a.dtype)  # −0 becomes 0
        return written(a)

    def inputs(self, write: Callable[[int, np.ndarray], str]) -> str:
        """The inputs, array a as write(its number, a) has it."""
        if self.case is not None:
            return self.case.written([write(i, a) if isinstance(a, np.ndarray) else self._value(a, f"input_{i}")
                                      for i, a in enumerate(self.case.arrays)])
        codes = []
        for i, a in enumerate(self.seen.inputs):
            if library_of(a):
                codes.append(self.seen.written(write(i, self.seen.to_numpy(a)), a))
            else:
                codes.append(write(i, a) if isinstance(a, np.ndarray) else self._value(a, f"input_{i}"))
        return f"({', '.join(codes)},)"

    def fails_alike(self, inputs: str, wrong: Report) -> bool:
        """Whether the code ends in the same verdict on the same input."""
        try:
            check = replace(self.call, inputs=eval(inputs, dict(self.names))).check()
            report = strongest(check.run(self.call.directions, bool(self.call.jvp)).values())
        except Exception:  # the function may not be defined there
            return False
        return report.verdict is Verdict.FAIL and (report.input, _kind(report)) == (wrong.input, _kind(wrong))

    def text(self, inputs: str) -> str:
        """All of the code."""
        of = "inputs" if self.case is None else "case"
        used = [name for name in PACKAGES if re.search(rf"\b{name}\.", inputs)]
        imports = ["import numpy as np", *[f"import {name}" for name in used]]
        imports.append(f"from minicnn.testing import {'gradcheck' if self.case is None else 'Case, gradcheck'}")
        if "Network(" in inputs:
            imports.append("from minicnn.testing.networks import Layer, Network")
        lines = [*imports, *dict.fromkeys(self.imports), ""]
        if "jax" in used and "float32" not in inputs:
            lines.append('jax.config.update("jax_enable_x64", True)')
        if self.yours:
            lines.append(f"# yours: {', '.join(dict.fromkeys(self.yours))}")
        return "\n".join([*lines, f"{of} = {inputs}", f"print({self.template.format(of)})"])

    def _callable(self, f: Any, role: str) -> str:
        """A name for a function, imported if it can be."""
        name, home = getattr(f, "__name__", ""), getattr(f, "__module__", None)
        if home == Network.__module__:
            return "case.plain()"
        for module in (functional.__name__, home):
            if module in sys.modules and module != "__main__" and getattr(sys.modules[module], name, None) is f:
                self.imports.append(f"from {module} import {name}")
                return name
        name = name if name.isidentifier() and name not in self.yours else role
        self.yours.append(name)
        return name

    def _value(self, value: Any, name: str) -> str:
        """Something else than an array."""
        try:
            eval(repr(value), dict(self.names))
            return repr(value)
        except Exception:  # it does not say how it is made
            self.names[name] = value
            self.yours.append(name)
            return name


def _kind(report: Report) -> tuple[bool, ...]:
    """Whether a single number is wrong, and whether it is one."""
    f = report.finding
    return () if f is None else (bool(np.isfinite(f.given)), bool(np.isfinite(f.expected)))
