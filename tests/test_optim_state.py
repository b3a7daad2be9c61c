"""States of optimisers: to PyTorch and back, through JSON, copied, refused; and their text."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from optim_util import OPTIMISERS, SHAPES, case_id, make, parameters, same, set_gradients, to_torch
from util import normal

import minicnn as mc
from minicnn import nn, optim

pytestmark = pytest.mark.usefixtures("pytorch_in_doubles")


@pytest.mark.parametrize("case", OPTIMISERS, ids=case_id)
def test_state_goes_to_pytorch_and_comes_back(case):
    ours, theirs = parameters()
    a, b = make(case, ours, theirs)
    for step in range(4):
        set_gradients(ours, theirs, step)
        a.step(), b.step()
    mine, other = a.state_dict(), b.state_dict()
    assert {i: set(s) for i, s in mine["state"].items()} == {i: set(s) for i, s in other["state"].items()}
    assert [g["params"] for g in mine["param_groups"]] == [g["params"] for g in other["param_groups"]]
    a2, b2 = make((case[0], {}), ours, theirs)  # other options: those of the state count
    a2.load_state_dict(other), b2.load_state_dict(to_torch(mine))
    for step in range(4, 9):
        set_gradients(ours, theirs, step)
        a2.step(), b2.step()
    same(ours, theirs)


def test_a_loaded_state_is_a_copy():
    ours, theirs = parameters()
    a = optim.Adam(ours)
    set_gradients(ours, theirs, 1)
    a.step()
    b = optim.Adam(ours)
    b.load_state_dict(a.state_dict())
    before = a.state[ours[0]]["exp_avg"].numpy().copy()
    b.step()
    np.testing.assert_array_equal(a.state[ours[0]]["exp_avg"].numpy(), before)
    assert a.state[ours[0]]["step"] == 1 and b.state[ours[0]]["step"] == 2


def test_a_state_takes_the_type_of_its_parameter():
    ours, _ = parameters("float32")
    wide, theirs = parameters()
    a, b = optim.Adam(wide), optim.Adam(ours)
    set_gradients(wide, theirs, 1)
    a.step()
    b.load_state_dict(a.state_dict())
    assert b.state[ours[0]]["exp_avg"].dtype == mc.float32


def test_a_state_may_have_been_through_json():
    ours, theirs = parameters()
    a, b = optim.Adam(ours), optim.Adam(ours)
    set_gradients(ours, theirs, 1)
    a.step()
    state = a.state_dict()
    groups = json.loads(json.dumps(state["param_groups"]))
    b.load_state_dict({"state": {str(i): s for i, s in state["state"].items()}, "param_groups": groups})
    a.step(), b.step()
    for p in ours:
        assert a.state[p]["step"] == b.state[p]["step"] == 2
    with pytest.raises(ValueError, match="values for a parameter 9 that is in none of its groups"):
        b.load_state_dict({**state, "state": {9: {}}})


@pytest.mark.parametrize("groups, match", [
    ([SHAPES[:3]], r"has groups of \[4\] parameters, the optimiser of \[3\]"),
    ([SHAPES[:2], SHAPES[2:]], r"has groups of \[4\] parameters, the optimiser of \[2, 2\]"),
    ([(*SHAPES[:3], (7,))], r"exp_avg has shape \(2, 1, 3\) in the loaded state, its parameter \(7,\)"),
])
def test_a_state_that_does_not_fit_is_refused(groups, match):
    ours, theirs = parameters()
    a = optim.Adam(ours)
    set_gradients(ours, theirs, 1)
    a.step()
    b = optim.Adam([{"params": [mc.zeros(s) for s in shapes]} for shapes in groups], lr=7)
    with pytest.raises(ValueError, match=match):
        b.load_state_dict(a.state_dict())
    assert b.param_groups[0]["lr"] == 7 and not b.state


def test_a_state_with_illegal_options_is_refused():
    p = mc.zeros(3)
    optimiser = optim.Adam([p], lr=7)
    state = optim.Adam([mc.zeros(3)]).state_dict()
    state["param_groups"][0].update(lr=0.5, eps=-1)
    with pytest.raises(ValueError, match="Adam: eps = -1 must be at least 0"):
        optimiser.load_state_dict(state)
    assert optimiser.param_groups[0]["lr"] == 7


def test_amsgrad_may_begin_between_two_steps():
    """It knows of no larger second moment than that of its own first step."""
    gradients, beta2, largest, v = normal((6, 3)), 0.5, np.zeros(3), np.zeros(3)
    p = mc.zeros(3, dtype=mc.float64)
    optimiser = optim.Adam([p], lr=0.1, betas=(0.0, beta2), eps=0.0)
    for step, g in enumerate(gradients, start=1):
        optimiser.param_groups[0]["amsgrad"] = step > 3
        before, p.grad = p.numpy().copy(), mc.tensor(g)
        optimiser.step()
        v = beta2 * v + (1 - beta2) * g * g
        largest = np.maximum(largest, v) if step > 3 else largest
        scale = np.sqrt((largest if step > 3 else v) / (1 - beta2 ** step))
        np.testing.assert_allclose(before - p.numpy(), 0.1 * g / scale, rtol=1e-12)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_of_network_and_optimiser_stay_together(duplicate):
    net = nn.Linear(3, 2)
    optimiser = optim.Adam(net.parameters())
    net(mc.ones(1, 3)).sum().backward()
    optimiser.step()
    net2, optimiser2 = duplicate((net, optimiser))
    for module, o in ((net, optimiser), (net2, optimiser2)):
        module.zero_grad()
        module(mc.ones(1, 3)).sum().backward()
        o.step()
    np.testing.assert_array_equal(net2.weight.detach().numpy(), net.weight.detach().numpy())
    assert net2.weight is not net.weight


def test_printing():
    ours, _ = parameters()
    expected = repr(torch.optim.SGD([torch.zeros(1)], lr=0.5)).split("\n")
    omitted = ("    differentiable", "    foreach", "    fused")
    assert repr(optim.SGD(ours, lr=0.5)) == "\n".join(line for line in expected if not line.startswith(omitted))
