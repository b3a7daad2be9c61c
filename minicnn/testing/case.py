"""A case: one call of an operation by its name in PyTorch and minicnn.functional, with its arrays and options."""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import functional
from ..engine import Tensor


MOST = 200  # elements of an array that are written down


@dataclass(frozen=True)
class Case:
    """``operation(*arrays, **options)``; arrays numbered in ``fixed`` are not differentiated by though floating.

    A Network (networks.py) can stand in the place of the name, or anything else with ``over(library)``. An operation
    that minicnn does not have can be named, too: then no known mistakes of it are looked for.
    """

    operation: Any
    arrays: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    fixed: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.arrays, (tuple, list)) or not isinstance(self.options, dict):
            raise TypeError(f"Case: arrays must be a tuple and options a dict, not {type(self.arrays).__name__} and "
                            f"{type(self.options).__name__}")

    @property
    def name(self) -> str:
        """What messages call the operation."""
        return str(self.operation)

    @property
    def wrt(self) -> list[int]:
        """The numbers of the arrays that are differentiated by."""
        return [i for i, a in enumerate(self.arrays)
                if isinstance(a, np.ndarray) and a.dtype.kind == "f" and i not in self.fixed]

    def plain(self, library: Any = functional) -> Callable:
        """The operation as a function of tensors and options; library is minicnn.functional or torch.nn.functional."""
        if not isinstance(self.operation, str):
            return self.operation.over(library)
        package = sys.modules[library.__name__.partition(".")[0]]  # for matmul and the like
        found = getattr(library, self.operation, None) or getattr(package, self.operation, None)
        if found is None:
            raise ValueError(f"there is no operation {self.operation!r} in {library.__name__}")
        return found

    def function(self, library: Any = functional) -> Callable:
        """The operation with its options, as a function of tensors alone."""
        of = self.plain(library)
        return lambda *tensors: of(*tensors, **self.options)

    def tensors(self, make: Callable = Tensor) -> list[Any]:
        """The arrays as tensors, those to be differentiated by as leaves that require a gradient."""
        made = [make(a.copy()) if isinstance(a, np.ndarray) else a for a in self.arrays]
        for i in self.wrt:
            made[i].requires_grad_()
        return made

    def astype(self, dtype: Any) -> "Case":
        """The same in another floating type."""
        arrays = tuple([a.astype(dtype) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a
                        for a in self.arrays])
        return Case(self.operation, arrays, self.options, self.fixed)

    def written(self, arrays: Sequence[str]) -> str:
        """Python that makes the case again, with its arrays written so."""
        fixed = f", fixed={self.fixed}" if self.fixed else ""
        return f"Case({self.operation!r}, ({', '.join(arrays)},), {self.options!r}{fixed})"

    def __repr__(self) -> str:
        """Python, too, if no array is so large that only its type and shape are given."""
        return self.written([f"<{a.dtype} {a.shape}>" if isinstance(a, np.ndarray) and a.size > MOST else written(a)
                             for a in self.arrays])


def written(a: Any) -> str:
    """An array as Python that makes it, with np for NumPy."""
    if not isinstance(a, np.ndarray):
        return repr(a)
    dtype = "" if a.dtype in (np.float64, np.int64) else f", dtype=np.{a.dtype}"
    shaped = f".reshape{a.shape}" if 0 in a.shape else ""
    numbers = re.sub("nan|inf", r"np.\g<0>", repr(a.tolist()))
    return f"np.array({numbers}{dtype}){shaped}"
