"""Networks by name: ``create("lenet")``. One file per family; the variants of a family are data."""

import builtins
from collections.abc import Callable
from typing import Any

from . import (  # each family enters its models into the registry
    alexnet as _alexnet, densenet as _densenet, googlenet as _googlenet, inception as _inception, lenet as _lenet,
    mobilenet as _mobilenet, nin as _nin, recurrent as _recurrent, resnet as _resnet, squeezenet as _squeezenet,
    study as _study, vgg as _vgg)
from .network import HeadedNetwork, Network, Outputs, Spec, initialise
from .registry import Entry, create, entry
from .shapes import Window, output_shape, window_of

__all__ = ["Entry", "HeadedNetwork", "Network", "Outputs", "Spec", "Window", "create", "diff", "entry", "initialise",
           "list", "output_shape", "window_of"]

diff: Callable[..., Any]  # of minicnn.explain, which stands above this layer: minicnn/__init__.py puts it here


def list() -> builtins.list[str]:
    """The names of all models, sorted."""
    from .registry import ENTRIES

    return sorted(ENTRIES)
