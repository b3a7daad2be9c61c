"""Optimisers beside PyTorch's over 100 steps, schedules over 50; groups, states, errors."""

import copy
import itertools
import json
import math
import pickle

import numpy as np
import pytest
import torch
from util import assert_close, normal

import minicnn as mc
from minicnn import nn, optim

SHAPES = ((4, 3), (5,), (), (2, 1, 3))
OPTIMISERS = [
    ("SGD", dict(lr=0.05)),
    ("SGD", dict(lr=0.05, weight_decay=0.1)),
    ("SGD", dict(lr=0.05, momentum=0.9)),
    ("SGD", dict(lr=0.05, momentum=0.9, dampening=0.3, weight_decay=0.01, maximize=True)),
    ("SGD", dict(lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.02)),
    ("Adam", dict()),
    ("Adam", dict(lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)),
    ("Adam", dict(lr=0.05, amsgrad=True)),
    ("Adam", dict(lr=0.02, weight_decay=0.1, decoupled_weight_decay=True)),
    ("Adam", dict(lr=0.02, maximize=True, weight_decay=0.01)),
    ("AdamW", dict(lr=0.02)),
    ("AdamW", dict(lr=0.02, weight_decay=0.3, amsgrad=True, maximize=True)),
]


def case_id(case: tuple) -> str:
    return f"{case[0]}({', '.join(f'{k}={v}' for k, v in case[1].items())})"


def parameters(dtype: str = "float64") -> tuple[list, list]:
    arrays = [normal(shape, i).astype(dtype) for i, shape in enumerate(SHAPES)]
    return [nn.Parameter(mc.tensor(a)) for a in arrays], [torch.nn.Parameter(torch.tensor(a)) for a in arrays]


def set_gradients(ours: list, theirs: list, step: int) -> None:
    """Equal gradients, in a shallow bowl with noise; the second parameter has none in every third step."""
    for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
        g = (0.3 * q.detach().numpy() + normal(q.shape, 100 * step + i)).astype(q.detach().numpy().dtype)
        absent = i == 1 and step % 3 == 0
        p.grad, q.grad = (None, None) if absent else (mc.tensor(g), torch.tensor(g))


def same(ours: list, theirs: list, tolerance: float = 1e-10) -> None:
    for p, q in zip(ours, theirs, strict=True):
        assert_close(p, q, tolerance)


def make(case: tuple, ours: list, theirs: list) -> tuple:
    return getattr(optim, case[0])(ours, **case[1]), getattr(torch.optim, case[0])(theirs, **case[1])


# -- optimisers -----------------------------------------------------------------------------------------------------

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


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float16", 2e-2)])
@pytest.mark.parametrize("case", OPTIMISERS[::3], ids=case_id)
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


def test_a_step_is_noticed_and_leaves_arrays_where_they_are():
    p = nn.Parameter(mc.ones(3, 4))
    array, version = p.data, p._version
    loss = (p ** 2).sum()
    p.grad = mc.ones(3, 4)
    optim.SGD([p]).step()
    assert p.data is array and p._version > version
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        loss.backward()


@pytest.mark.parametrize("name", ["SGD", "Adam"])
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


# -- state ----------------------------------------------------------------------------------------------------------

def to_torch(state: dict) -> dict:
    """Our state with PyTorch's tensors."""
    return {"param_groups": state["param_groups"], "state": {
        i: {k: torch.from_numpy(v.numpy().copy()) if isinstance(v, mc.Tensor) else v for k, v in s.items()}
        for i, s in state["state"].items()}}


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
])
def test_illegal_options_are_refused(name, options, match):
    p, q = nn.Parameter(mc.ones(1)), torch.nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError):
        getattr(torch.optim, name)([q], **options)
    with pytest.raises(ValueError, match=match):
        getattr(optim, name)([p], **options)
    with pytest.raises(ValueError, match=match):
        getattr(optim, name)([{"params": [p], **options}])


@pytest.mark.parametrize("params, error, match", [
    (lambda lib, p: [], ValueError, "params is empty"),
    (lambda lib, p: p, TypeError, "iterable of tensors or dicts"),
    (lambda lib, p: [p, 3], TypeError, "params must be tensors, one is int"),
    (lambda lib, p: [{"params": {p}}], TypeError, "use a list, not a set"),
    (lambda lib, p: [{"params": [p]}, p], TypeError, "a parameter group must be a dict"),
    (lambda lib, p: [p * 2], ValueError, "non-leaf"),
    (lambda lib, p: [{"params": [p]}, {"params": p}], ValueError, "appears more than once"),
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
    with pytest.raises(RuntimeError, match=r"a parameter of shape \(2,\) and float32 has a gradient of shape"):
        optim.SGD([p]).step()


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


# -- schedules ------------------------------------------------------------------------------------------------------

def sequence(s, o):
    parts = [s.LinearLR(o, 0.1, total_iters=5), s.CosineAnnealingLR(o, 12, 0.01), s.ExponentialLR(o, 0.9)]
    return s.SequentialLR(o, parts, [5, 17])


def many(s, o):
    parts = [s.ConstantLR(o, 0.5, 3), s.LambdaLR(o, lambda t: 0.9 ** t), s.StepLR(o, 4), s.MultiStepLR(o, [2, 4]),
             s.LinearLR(o), s.OneCycleLR(o, 0.2, 30)]
    return s.SequentialLR(o, parts, [4, 9, 20, 26, 32])


SCHEDULES = {
    "StepLR": lambda s, o: s.StepLR(o, 7, gamma=0.3),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [30, 8, 8, 21], gamma=0.5),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.95),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 12, eta_min=0.003),
    "CosineAnnealingLR over all": lambda s, o: s.CosineAnnealingLR(o, T_max=50),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.25, 0.8, total_iters=9),
    "LinearLR default": lambda s, o: s.LinearLR(o),
    "ConstantLR": lambda s, o: s.ConstantLR(o, 0.4, total_iters=6),
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda t: 1 / (1 + t)),
    "LambdaLR per group": lambda s, o: s.LambdaLR(o, [lambda t: 0.9 ** t, lambda t: max(0, 1 - t / 40)]),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.4, total_steps=51),
    "OneCycleLR linear": lambda s, o: s.OneCycleLR(o, [0.4, 0.1], None, 17, 3, pct_start=0.4, anneal_strategy="linear",
                                                   div_factor=5, final_div_factor=50),
    "OneCycleLR three phases": lambda s, o: s.OneCycleLR(o, 0.4, 51, three_phase=True, base_momentum=0.7,
                                                         max_momentum=[0.9, 0.8]),
    "OneCycleLR without momentum": lambda s, o: s.OneCycleLR(o, 0.4, 51, cycle_momentum=False),
    "SequentialLR": sequence,
    "SequentialLR of many": many,
}
CHAINS = [("ExponentialLR", "StepLR"), ("LinearLR", "CosineAnnealingLR"),
          ("ConstantLR", "MultiStepLR", "ExponentialLR")]


LIBRARIES = optim.lr_scheduler, torch.optim.lr_scheduler


def optimiser_of(library, tensor, name="SGD"):
    groups = [{"params": [tensor]}, {"params": [tensor * 1], "lr": 0.05}]
    options = {"momentum": 0.9} if name == "SGD" else {}
    return getattr(library, name)(groups, lr=0.2, **options)


def pair_of_optimisers(name="SGD"):
    return optimiser_of(optim, mc.ones(1), name), optimiser_of(torch.optim, torch.ones(1), name)


def rates(optimiser):
    return [[g["lr"], g.get("momentum", 0), *g.get("betas", ())] for g in optimiser.param_groups]


def run(optimisers, schedules, steps=50):
    """Step both and compare rates and momenta after every step."""
    a, b = optimisers
    for step in range(steps + 1):
        for x, y in zip(rates(a), rates(b), strict=True):
            assert x == pytest.approx(y, rel=1e-12, abs=1e-15), f"step {step}"
        assert schedules[0][-1].get_last_lr() == pytest.approx(schedules[1][-1].get_last_lr(), rel=1e-12, abs=1e-15)
        assert schedules[0][-1].get_last_lr() == [g["lr"] for g in a.param_groups]
        a.step(), b.step()
        if step < steps:
            for schedule in itertools.chain(*schedules):
                schedule.step()


@pytest.mark.parametrize("name", ["SGD", "Adam"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_fifty_steps_of_a_schedule(schedule, name):
    optimisers = pair_of_optimisers(name)
    run(optimisers, [[SCHEDULES[schedule](library, o)]
                     for library, o in zip(LIBRARIES, optimisers, strict=True)])


@pytest.mark.parametrize("names", CHAINS)
def test_chained_schedules(names):
    optimisers = pair_of_optimisers()
    run(optimisers, [[SCHEDULES[n](library, o) for n in names]
                     for library, o in zip(LIBRARIES, optimisers, strict=True)])


def test_a_sequence_within_a_sequence_is_one_sequence():
    s, optimisers = optim.lr_scheduler, [optimiser_of(optim, mc.ones(1)) for _ in range(3)]
    parts = [[s.ConstantLR(o, 0.1, 3), s.CosineAnnealingLR(o, 12), s.ExponentialLR(o, 0.8)] for o in optimisers]
    schedules = [[s.SequentialLR(optimisers[0], parts[0], [5, 17])]]
    inner = s.SequentialLR(optimisers[1], parts[1][:2], [5])
    schedules.append([s.SequentialLR(optimisers[1], [inner, parts[1][2]], [17])])
    run(optimisers[:2], schedules, 30)
    inner = s.SequentialLR(optimisers[2], parts[2][1:], [12])
    last = s.SequentialLR(optimisers[2], [parts[2][0], inner], [5])
    optimiser = optimiser_of(optim, mc.ones(1))
    parts = [s.ConstantLR(optimiser, 0.1, 3), s.CosineAnnealingLR(optimiser, 12), s.ExponentialLR(optimiser, 0.8)]
    run([optimiser, optimisers[2]], [[s.SequentialLR(optimiser, parts, [5, 17])], [last]], 30)


RESUMED = {
    "StepLR": lambda s, o, e: s.StepLR(o, 7, 0.3, last_epoch=e),
    "MultiStepLR": lambda s, o, e: s.MultiStepLR(o, [8, 14, 15, 21], 0.5, last_epoch=e),
    "ExponentialLR": lambda s, o, e: s.ExponentialLR(o, 0.95, last_epoch=e),
    "CosineAnnealingLR": lambda s, o, e: s.CosineAnnealingLR(o, 12, 0.003, last_epoch=e),
    "LinearLR": lambda s, o, e: s.LinearLR(o, 0.25, 0.8, 19, last_epoch=e),
    "ConstantLR": lambda s, o, e: s.ConstantLR(o, 0.4, 16, last_epoch=e),
    "LambdaLR": lambda s, o, e: s.LambdaLR(o, lambda t: 1 / (1 + t), last_epoch=e),
    "OneCycleLR": lambda s, o, e: s.OneCycleLR(o, 0.4 if e == -1 else 0.7, 51, last_epoch=e),  # the first peak counts
}


@pytest.mark.parametrize("schedule", RESUMED)
@pytest.mark.parametrize("last_epoch", [13, 14])
def test_a_schedule_goes_on_from_last_epoch(schedule, last_epoch):
    optimisers, pairs = pair_of_optimisers(), []
    for library, o in zip(LIBRARIES, optimisers, strict=True):
        before = RESUMED[schedule](library, o, -1)
        for _ in range(last_epoch):
            o.step(), before.step()
        pairs.append([RESUMED[schedule](library, o, last_epoch)])
    run(optimisers, pairs, 20)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_goes_on_from_its_state(schedule):
    make_schedule = SCHEDULES[schedule]
    straight, first, second = (optimiser_of(optim, mc.ones(1)) for _ in range(3))
    a, b = make_schedule(optim.lr_scheduler, straight), make_schedule(optim.lr_scheduler, first)
    for _ in range(19):
        for o, s in ((straight, a), (first, b)):
            o.step(), s.step()
    c = make_schedule(optim.lr_scheduler, second)
    second.load_state_dict(first.state_dict()), c.load_state_dict(copy.deepcopy(b.state_dict()))
    for _ in range(20):
        assert rates(second) == rates(straight) and c.get_last_lr() == a.get_last_lr()
        for o, s in ((straight, a), (second, c)):
            o.step(), s.step()


def test_the_state_of_a_callable_object_is_kept():
    class Decay:
        def __init__(self, rate):
            self.rate = rate

        def __call__(self, step):
            return self.rate ** step

    first, second = optimiser_of(optim, mc.ones(1)), optimiser_of(optim, mc.ones(1))
    a = optim.lr_scheduler.LambdaLR(first, [Decay(0.5), lambda t: 1])
    b = optim.lr_scheduler.LambdaLR(second, [Decay(0.9), lambda t: 1])
    assert a.state_dict()["lr_lambdas"] == [{"rate": 0.5}, None]
    b.load_state_dict(a.state_dict())
    second.step(), b.step()
    assert b.get_last_lr() == [0.1, 0.05]


def test_a_schedule_of_ones_own():
    class Halving(optim.lr_scheduler.LRScheduler):
        def get_lr(self):
            return [group["lr"] / 2 if self.last_epoch else group["lr"] for group in self.optimizer.param_groups]

    optimiser = optimiser_of(optim, mc.ones(1))
    schedule = Halving(optimiser)
    optimiser.step(), schedule.step()
    assert schedule.get_last_lr() == [0.1, 0.025]
    with pytest.raises(NotImplementedError, match=r"LRScheduler has neither get_lr\(\) nor following\(\)"):
        optim.lr_scheduler.LRScheduler(optimiser)


def test_stepping_the_schedule_first_warns():
    for library, tensor in ((optim, mc.ones(1)), (torch.optim, torch.ones(1))):
        optimiser = optimiser_of(library, tensor)
        schedule = library.lr_scheduler.StepLR(optimiser, 3)
        with pytest.warns(UserWarning, match=r"`?lr_scheduler.step\(\)`? .*before `?optimizer.step\(\)"):
            schedule.step()


def test_a_cycle_whose_rise_has_no_length():
    optimiser = optim.SGD([mc.ones(1)], momentum=0.9)
    schedule = optim.lr_scheduler.OneCycleLR(optimiser, 0.5, total_steps=4, pct_start=0.25)
    assert schedule.get_last_lr() == [0.5]


@pytest.mark.parametrize("call, error, match", [
    (lambda s, o: s.StepLR(3, 5), TypeError, "StepLR: int is not an Optimizer"),
    (lambda s, o: s.LambdaLR(o, [len]), ValueError, "lr_lambda has 1 values for 2 parameter groups"),
    (lambda s, o: s.StepLR(o, 5, last_epoch=3), KeyError, "group 0 has no 'initial_lr'"),
    (lambda s, o: s.ConstantLR(o, 1.5), ValueError, "factor = 1.5"),
    (lambda s, o: s.LinearLR(o, 0.0), ValueError, "start_factor = 0.0 must be above 0"),
    (lambda s, o: s.LinearLR(o, 0.5, 2.0), ValueError, "end_factor = 2.0 must be at least 0 and at most 1"),
    (lambda s, o: s.OneCycleLR(o, 0.1), ValueError, "give total_steps, or epochs and steps_per_epoch"),
    (lambda s, o: s.OneCycleLR(o, 0.1, epochs=3), ValueError, "give total_steps"),
    (lambda s, o: s.OneCycleLR(o, 0.1, total_steps=0), ValueError, "total_steps = 0"),
    (lambda s, o: s.OneCycleLR(o, 0.1, epochs=3, steps_per_epoch=-1), ValueError, "total_steps = -3"),
    (lambda s, o: s.OneCycleLR(o, 0.1, 10, pct_start=1.5), ValueError, "pct_start = 1.5"),
    (lambda s, o: s.OneCycleLR(o, 0.1, 10, anneal_strategy="step"), ValueError, "'step'"),
    (lambda s, o: s.OneCycleLR(o, [0.1], 10), ValueError, "max_lr has 1 values"),
    (lambda s, o: s.OneCycleLR(3, 0.1, 10), TypeError, "int is not an Optimizer"),
    (lambda s, o: s.SequentialLR(o, [], []), ValueError, "0 schedulers"),
    (lambda s, o: s.SequentialLR(o, [s.StepLR(o, 2)], [3]), ValueError, "1 schedulers need 0 milestones, got 1"),
    (lambda s, o: s.SequentialLR(o, [s.StepLR(optimiser_like(o), 2)], []), ValueError, "scheduler 0 .*another"),
])
def test_wrong_schedules_are_refused(call, error, match):
    for library, o in zip(LIBRARIES, pair_of_optimisers(), strict=True):
        with pytest.raises(error, match=match if library is optim.lr_scheduler else None):
            call(library, o)


def optimiser_like(o):
    return type(o)([(mc if isinstance(o, optim.Optimizer) else torch).ones(1)])


def test_a_cycle_needs_momentum_and_ends():
    class Plain(optim.Optimizer):
        def check(self, group):
            pass

    with pytest.raises(ValueError, match="Plain has neither momentum nor betas"):
        optim.lr_scheduler.OneCycleLR(Plain([mc.ones(1)], {"lr": 1}), 0.1, 5)
    optimiser = optim.SGD([mc.ones(1)], momentum=0.9)
    schedule = optim.lr_scheduler.OneCycleLR(optimiser, 0.5, total_steps=3)
    for _ in range(3):
        optimiser.step(), schedule.step()
    with pytest.raises(ValueError, match="step 4 is beyond total_steps = 3"):
        schedule.step()
