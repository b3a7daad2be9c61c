"""The arguments of everything in nn and optim: PyTorch's names, order and defaults."""

import inspect
from types import ModuleType
from typing import get_overloads

import pytest
import torch

from minicnn import nn, optim

OMITTED = {"size_average", "reduce", "min_value", "max_value",  # deprecated
           "foreach", "fused", "capturable", "differentiable",  # how PyTorch runs a step, not what it computes
           "assign", "destination", "always_call", "args"}  # of state_dict, load_state_dict and register_forward_hook


def arguments_of(function: object) -> list[tuple[str, object]]:
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, p.default) for p in parameters if p.name not in OMITTED]


def classes(module: ModuleType) -> list[str]:
    return [name for name in module.__all__
            if inspect.isclass(getattr(module, name)) and not name.endswith("Parameter")]


OURS = {"ContrastiveLoss", "Maxout", "StochasticPool2d"}  # PyTorch has none


@pytest.mark.parametrize("name", [name for name in classes(nn) if name not in OURS])
def test_layers(name: str):
    theirs = getattr(torch.nn, name)
    plain = theirs.__init__ is torch.nn.Module.__init__  # declared (*args, **kwargs), but takes none
    # recurrent layers take (*args, **kwargs) and declare what they mean beside it
    declared = get_overloads(theirs.__init__)[:1] if inspect.isfunction(theirs.__init__) else []
    expected = [a for f in declared for a in arguments_of(f) if a[0] != "self"] or arguments_of(theirs)
    assert arguments_of(getattr(nn, name)) == ([] if plain else expected)


@pytest.mark.parametrize("name", [n for n, f in vars(nn.Module).items() if inspect.isfunction(f)
                                  and not n.startswith("_") and n not in ("forward", "to")])
def test_methods_of_modules(name: str):
    assert arguments_of(getattr(nn.Module, name)) == arguments_of(getattr(torch.nn.Module, name))


@pytest.mark.parametrize("name", nn.init.__all__)
def test_initial_values(name: str):
    assert arguments_of(getattr(nn.init, name)) == arguments_of(getattr(torch.nn.init, name))


@pytest.mark.parametrize("name", nn.utils.__all__)
def test_utilities(name: str):
    assert arguments_of(getattr(nn.utils, name)) == arguments_of(getattr(torch.nn.utils, name))


@pytest.mark.parametrize("name", classes(optim))
def test_optimisers(name: str):
    assert arguments_of(getattr(optim, name)) == arguments_of(getattr(torch.optim, name))


@pytest.mark.parametrize("name", ["step", "zero_grad", "add_param_group", "state_dict", "load_state_dict"])
def test_methods_of_optimisers(name: str):
    assert arguments_of(getattr(optim.Optimizer, name)) == arguments_of(getattr(torch.optim.Optimizer, name))


@pytest.mark.parametrize("name", optim.lr_scheduler.__all__)
def test_schedules(name: str):
    theirs = getattr(torch.optim.lr_scheduler, name)
    assert arguments_of(getattr(optim.lr_scheduler, name)) == arguments_of(theirs)
