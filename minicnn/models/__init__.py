"""Networks by name: ``create("lenet")``. One file per family; the variants of a family are data."""

import builtins

from . import lenet as _lenet  # each family enters its models into the registry
from .network import Network, Spec
from .registry import Entry, create, entry
from .shapes import Window, output_shape, window_of

__all__ = ["Entry", "Network", "Spec", "Window", "create", "entry", "list", "output_shape", "window_of"]


def list() -> builtins.list[str]:  # noqa: A001
    """The names of all models, sorted."""
    from .registry import ENTRIES

    return sorted(ENTRIES)
