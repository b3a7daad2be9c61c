"""For those who test gradients: of minicnn, of PyTorch and JAX, and of functions that they wrote themselves.

    gradcheck           is this gradient right? measures its own error, and tells which known mistake it was
    ..._cases           Hypothesis strategies for whole configurations (strategies.py)
    LAWS, check_law     what must hold whatever the numbers are (laws.py)
    MISTAKES, planted   mistakes by their names, to plant into minicnn's own backward functions (mistakes/)
"""

import importlib
from typing import Any

from .case import Case
from .gradcheck import assert_gradients, gradcheck
from .laws import LAWS, Law, check_law, laws_for, over_arrays
from .mistakes import MISTAKES, Mistake, planted
from .report import Finding, Report, Verdict

_STRATEGIES = ["activation_cases", "conv1d_cases", "conv2d_cases", "conv3d_cases", "conv_transpose2d_cases",
               "linear_cases", "loss_cases", "norm_cases", "pool1d_cases", "pool2d_cases", "pool3d_cases",
               "small_networks"]

__all__ = ["LAWS", "MISTAKES", "Case", "Finding", "Law", "Mistake", "Report", "Verdict", "assert_gradients",
           "check_law", "gradcheck", "laws_for", "over_arrays", "planted", *_STRATEGIES]


def __getattr__(name: str) -> Any:
    if name in _STRATEGIES:
        try:
            return getattr(importlib.import_module(".strategies", __name__), name)
        except ModuleNotFoundError as error:  # Hypothesis is imported with the first of them
            raise ModuleNotFoundError(f"{__name__}.{name} is drawn by Hypothesis: pip install hypothesis",
                                      name=error.name) from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
