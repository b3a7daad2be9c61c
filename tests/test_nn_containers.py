"""Sequential, ModuleList and ModuleDict beside PyTorch's."""

import operator
from collections import OrderedDict

import pytest
import torch

import minicnn as mc
from minicnn import nn


def chain(nn):
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4), nn.Tanh())


def named(nn):
    return nn.Sequential(OrderedDict(first=nn.Linear(2, 3), act=nn.ReLU(), last=nn.Linear(3, 4)))


def several(nn):
    chains = [nn.Sequential(nn.Tanh()) for _ in range(2)]
    return nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.ReLU(), *chains])


def by_name(nn):
    return nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.ReLU()})


def shown(value: object) -> object:
    """What can be compared across the two libraries."""
    return repr(value) if hasattr(value, "state_dict") else value


def changed(build, change):
    """What a change to a container returns, and the container afterwards."""
    def call(library):
        container = build(library)
        return shown(change(container, library)), repr(container), list(container.state_dict())
    return call


@pytest.mark.parametrize("call", [
    *[changed(build, change) for build in (chain, named, several) for change in (
        lambda c, nn: len(c),
        lambda c, nn: [type(m).__name__ for m in c],
        lambda c, nn: c[1],
        lambda c, nn: c[-1],
        lambda c, nn: c[1:],
        lambda c, nn: c[::2],
        lambda c, nn: c[:0],
        lambda c, nn: c.append(nn.Sigmoid()),
        lambda c, nn: c.extend([nn.Sigmoid(), nn.Tanh()]),
        lambda c, nn: c.__setitem__(-1, nn.Sigmoid()),
        lambda c, nn: c.__delitem__(0),
        lambda c, nn: c.__delitem__(slice(1, None)),
        lambda c, nn: c.pop(1),
        lambda c, nn: c + chain(nn)[:2] if isinstance(c, nn.Sequential) else c + several(nn)[1:],
        lambda c, nn: c.__iadd__(chain(nn)[:2] if isinstance(c, nn.Sequential) else several(nn)[1:]))],
    changed(chain, lambda c, nn: c.insert(1, nn.Sigmoid())),
    changed(chain, lambda c, nn: c.insert(-2, nn.Sigmoid())),
    changed(chain, lambda c, nn: c.insert(4, nn.Sigmoid())),
    changed(several, lambda c, nn: c.insert(2, nn.Sigmoid()) and None),
    changed(several, lambda c, nn: c + [nn.Tanh()]),
    lambda nn: repr(nn.Sequential()) + repr(nn.ModuleList()) + repr(nn.ModuleDict()),
    *[changed(by_name, change) for change in (
        lambda c, nn: c["a"],
        lambda c, nn: c.__setitem__("c", nn.Tanh()),
        lambda c, nn: c.__delitem__("a"),
        lambda c, nn: c.pop("b"),
        lambda c, nn: c.clear(),
        lambda c, nn: c.update({"b": nn.Tanh(), "d": nn.ReLU()}),
        lambda c, nn: c.update([("b", nn.Tanh())]),
        lambda c, nn: c.update(nn.ModuleDict({"z": nn.Tanh()})),
        lambda c, nn: (len(c), list(c), list(c.keys()), "a" in c, "z" in c),
        lambda c, nn: [(name, type(m).__name__) for name, m in c.items()] + [type(m).__name__ for m in c.values()])],
])
def test_containers_behave_as_pytorchs(call):
    assert call(nn) == call(torch.nn)


@pytest.mark.parametrize("call", [
    lambda nn: chain(nn)[4],
    lambda nn: chain(nn)[-5],
    lambda nn: several(nn)[5],
    lambda nn: chain(nn)["0"],
    lambda nn: chain(nn).insert(6, nn.ReLU()),
    lambda nn: chain(nn) + nn.ReLU(),
    lambda nn: operator.iadd(chain(nn), [nn.ReLU()]),
    lambda nn: chain(nn).append(3),
    lambda nn: nn.Sequential(3),
    lambda nn: several(nn).extend(3),
    lambda nn: by_name(nn)["z"],
    lambda nn: by_name(nn).update({"z": 3}),
    lambda nn: by_name(nn).update({"keys": nn.ReLU()}),
])
def test_wrong_uses_are_refused(call):
    for library in (nn, torch.nn):
        with pytest.raises((IndexError, KeyError, TypeError, ValueError, AssertionError)):
            call(library)


def test_an_index_out_of_range_is_named():
    with pytest.raises(IndexError, match="index 4 is out of range for 4 modules"):
        chain(nn)[4]


def test_insert_refuses_what_is_no_module():
    with pytest.raises(TypeError, match="insert: expected a Module, got int"):
        chain(nn).insert(0, 3)


def test_insert_into_a_named_chain_numbers_anew():
    container = named(nn).insert(1, nn.Tanh())
    assert [type(m).__name__ for m in container] == ["Linear", "Tanh", "ReLU", "Linear"]
    assert list(container._modules) == ["0", "1", "2", "3"]


def test_sequential_calls_its_modules_in_order():
    net, x = chain(nn), mc.randn(5, 2)
    expected = x
    for module in net:
        expected = module(expected)
    assert mc.equal(net(x), expected)
    assert mc.equal(net[:2](x), net[1](net[0](x)))


@pytest.mark.parametrize("container", [several(nn), by_name(nn)])
def test_lists_and_dictionaries_have_no_forward(container):
    with pytest.raises(NotImplementedError, match="has no forward"):
        container(mc.ones(2))
