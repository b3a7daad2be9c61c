"""Optimisers beside PyTorch's over 100 steps; groups, options, errors."""

import inspect
import math

import numpy as np
import pytest
import torch
from optim_util import LBFGS, OPTIMISERS, case_id, make, parameters, same, set_gradients
from util import normal

import minicnn as mc
from minicnn import nn, optim

pytestmark = pytest.mark.usefixtures("pytorch_in_doubles")


@pytest.mark.parametrize("kernels", ["cpu", "reference"])
@pytest.mark.parametrize("case", OPTIMISERS, ids=case_id)
def test_a_hundred_steps_end_where_pytorch_does(case, kernels):
    ours, theirs = parameters()
    a, b = make(case, ours, theirs)
    with mc.use_kernels(kernels):
        for step in range(100):
            set_gradients(ours, theirs, step)
            a.step(), b.step()
    same(ours, theirs)


@pytest.mark.parametrize("name", [name for name in optim.__all__
                                  if inspect.isclass(getattr(optim, name)) and name != "Optimizer"])
def test_every_option_is_among_those_tried(name):
    tried = {key for n, options in [*OPTIMISERS, *[("LBFGS", options) for options in LBFGS]] if n == name
             for key in options}
    assert tried == inspect.signature(getattr(optim, name)).parameters.keys() - {"params"}


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float16", 2e-2)])
@pytest.mark.parametrize("case", OPTIMISERS[::3] + OPTIMISERS[13::4], ids=case_id)
def test_narrow_types(case, dtype, tolerance):
    if dtype == "float16" and "eps" not in case[1] and case[0] != "SGD":
        case = case[0], {**case[1], "eps": 1e-3}  # 1e-8 is 0 in float16
    ours, theirs = parameters(dtype)
    a, b = make(case, ours, theirs)
    for step in range(10):
        set_gradients(ours, theirs, step)
        a.step(), b.step()
    same(ours, theirs, tolerance)


def test_groups_have_options_of_their_own():
    ours, theirs = parameters()
    a, b = (library.SGD([{"params": ps[:1], "lr": 0.1}, {"params": ps[1], "momentum": 0.5}], lr=0.02, weight_decay=0.1)
            for library, ps in ((optim, ours), (torch.optim, theirs)))
    for optimiser, ps in ((a, ours), (b, theirs)):
        optimiser.add_param_group({"params": iter(ps[2:]), "nesterov": True, "momentum": 0.9, "name": "rest"})
    for step in range(20):
        set_gradients(ours, theirs, step)
        a.step(), b.step()
    same(ours, theirs)
    assert a.param_groups[2]["name"] == "rest" and a.param_groups[1]["weight_decay"] == 0.1


@pytest.mark.parametrize("name", ["SGD", "Adam", "LBFGS"])
def test_parameters_with_names(name):
    layer, twin = nn.Linear(3, 2), torch.nn.Linear(3, 2)
    a, b = make((name, dict(lr=0.1)), layer.named_parameters(), twin.named_parameters())
    assert "param_names: ['weight', 'bias']" in repr(a) and a.param_groups[0]["params"] == [*layer.parameters()]
    assert a.state_dict()["param_groups"][0]["param_names"] == b.state_dict()["param_groups"][0]["param_names"]
    unnamed = make((name, {}), layer.parameters(), twin.parameters())[0]
    a.load_state_dict(unnamed.state_dict())
    assert a.param_groups[0]["param_names"] == ["weight", "bias"]


def test_a_step_is_noticed_and_leaves_arrays_where_they_are():
    p = nn.Parameter(mc.ones(3, 4))
    array, version = p.data, p._version
    loss = (p ** 2).sum()
    p.grad = mc.ones(3, 4)
    optim.SGD([p]).step()
    assert p.data is array and p._version > version
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        loss.backward()


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad", "Adadelta", "NAdam", "RAdam"])
def test_parameters_and_gradients_with_any_strides(name):
    array = normal((3, 4))
    p, q = nn.Parameter(mc.tensor(array).T), torch.nn.Parameter(torch.from_numpy(array.copy()).T)
    memory = p.data
    assert not memory.flags.c_contiguous
    a, b = make((name, dict(lr=0.1)), [p], [q])
    for step in range(3):
        g = normal((3, 4), step)
        p.grad, q.grad = mc.tensor(g).T, torch.from_numpy(g).T
        a.step(), b.step()
    assert p.data is memory
    same([p], [q])


def test_closure_runs_with_gradients_and_its_loss_is_returned():
    p = nn.Parameter(mc.tensor([3.0]))
    optimiser = optim.SGD([p], lr=0.1)

    def closure():
        optimiser.zero_grad()
        loss = (p ** 2).sum()
        loss.backward()
        return loss

    with mc.no_grad():
        assert optimiser.step(closure).item() == 9
    np.testing.assert_allclose(p.detach().numpy(), [2.4], rtol=1e-6)
    assert optimiser.step() is None


def test_zero_grad():
    p = nn.Parameter(mc.ones(2))
    p.grad = gradient = mc.tensor([math.nan, 1.0])
    optimiser = optim.SGD([p])
    optimiser.zero_grad(set_to_none=False)
    assert (p.grad.numpy() == 0).all() and p.grad.data is gradient.data
    optimiser.zero_grad()
    assert p.grad is None


def test_a_network_learns():
    x = mc.randn(64, 3)
    target = (x.numpy().sum(1) > 0).astype("int64")
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    optimiser, loss_of = optim.AdamW(net.parameters(), lr=0.05), nn.CrossEntropyLoss()
    for _ in range(60):
        optimiser.zero_grad()
        loss = loss_of(net(x), mc.tensor(target))
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1


# -- errors ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, options, match", [
    ("SGD", dict(lr=-1.0), "SGD: lr = -1.0 must be at least 0"),
    ("SGD", dict(momentum=-0.5), "momentum = -0.5"),
    ("SGD", dict(weight_decay=-0.5), "weight_decay = -0.5"),
    ("SGD", dict(nesterov=True), "nesterov needs momentum = 0 above 0"),
    ("SGD", dict(nesterov=True, momentum=0.9, dampening=0.1), "dampening = 0.1 at 0"),
    ("Adam", dict(lr=math.nan), "lr = nan"),
    ("Adam", dict(eps=-1e-8), "eps = -1e-08"),
    ("Adam", dict(betas=(1.0, 0.9)), r"betas = \(1.0, 0.9\)"),
    ("AdamW", dict(betas=(0.9, -0.1)), "AdamW: betas"),
    ("AdamW", dict(weight_decay=-1.0), "weight_decay = -1.0"),
    ("RMSprop", dict(alpha=-0.1), "RMSprop: alpha = -0.1 must be at least 0"),
    ("RMSprop", dict(momentum=-0.1), "momentum = -0.1"),
    ("Adagrad", dict(lr_decay=-0.1), "lr_decay = -0.1"),
    ("Adagrad", dict(initial_accumulator_value=-1), "initial_accumulator_value = -1"),
    ("Adadelta", dict(rho=-0.1), "rho = -0.1 must be at least 0"),
    ("Adadelta", dict(rho=1.5), "rho = 1.5 must be at most 1"),
    ("NAdam", dict(momentum_decay=-1), "momentum_decay = -1"),
    ("NAdam", dict(betas=(0.9, 1.0)), "NAdam: betas"),
    ("RAdam", dict(eps=-1.0), "RAdam: eps = -1.0"),
])
def test_illegal_options_are_refused(name, options, match):
    p, q = nn.Parameter(mc.ones(1)), torch.nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError):
        getattr(torch.optim, name)([q], **options)
    with pytest.raises(ValueError, match=match):
        getattr(optim, name)([p], **options)
    with pytest.raises(ValueError, match=match):
        getattr(optim, name)([{"params": [p], **options}])


@pytest.mark.parametrize("options, error, match", [
    (dict(lr=None), TypeError, "Adam: lr = None must be a number"),
    (dict(eps="1"), TypeError, "Adam: eps = '1' must be a number"),
    (dict(betas=0.9), ValueError, "Adam: betas = 0.9 must be two numbers"),
])
def test_options_that_are_no_numbers_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        optim.Adam([nn.Parameter(mc.ones(1))], **options)


@pytest.mark.parametrize("params, error, match", [
    (lambda lib, p: [], ValueError, "params is empty"),
    (lambda lib, p: p, TypeError, "iterable of tensors or dicts"),
    (lambda lib, p: [p, 3], TypeError, "params must be tensors, one is int"),
    (lambda lib, p: [{"params": {p}}], TypeError, "use a list, not a set"),
    (lambda lib, p: [{"params": [p]}, p], TypeError, "a parameter group must be a dict"),
    (lambda lib, p: [{"parms": [p]}], KeyError, "a parameter group must have 'params', and this one has .'parms'"),
    (lambda lib, p: [p * 2], ValueError, "non-leaf"),
    (lambda lib, p: [{"params": [p]}, {"params": p}], ValueError, "appears more than once"),
    (lambda lib, p: [("p", p), lib.ones(1)], ValueError, "have names, or none; 1 of 2 have"),
    (lambda lib, p: [{"params": [("p", p)]}, {"params": [lib.ones(1)]}], ValueError, "of all groups have names, or"),
    (lambda lib, p: [("p", 3)], TypeError, "params must be tensors, one is int"),
])
def test_wrong_parameters_are_refused(params, error, match):
    for library, optimiser in ((torch, torch.optim.SGD), (mc, optim.SGD)):
        p = library.ones(2, requires_grad=True)
        with pytest.raises(error, match=match if library is mc else None):
            optimiser(params(library, p))


def test_a_parameter_twice_in_one_group_is_refused():
    p = nn.Parameter(mc.ones(1))
    with pytest.raises(ValueError, match="appears more than once"):
        optim.SGD([p, p])


@pytest.mark.parametrize("gradient", [mc.ones(3), mc.ones(2, dtype=mc.float64)])
def test_a_gradient_that_does_not_fit_is_refused(gradient):
    p = nn.Parameter(mc.ones(2))
    p.grad = gradient
    for step in (optim.SGD([p]).step, lambda: optim.LBFGS([p]).step(lambda: 1.0)):
        with pytest.raises(RuntimeError, match=r"a parameter of shape \(2,\) and float32 has a gradient of shape"):
            step()


def test_a_subclass_that_forgets_its_arithmetic_is_told():
    class Lazy(optim.Optimizer):
        def check(self, group):
            pass

    p = nn.Parameter(mc.ones(2))
    p.grad = mc.ones(2)
    with pytest.raises(NotImplementedError, match=r"Lazy has no update\(\)"):
        Lazy([p], {}).step()
    with pytest.raises(NotImplementedError, match=r"Optimizer has no check\(\)"):
        optim.Optimizer([p], {})
