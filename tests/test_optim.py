"""Optimisers beside PyTorch's over 100 steps; groups, states, errors."""

import copy
import importlib
import inspect
import json
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from util import assert_close, normal

import minicnn as mc
from minicnn import nn, optim
from minicnn.optim.line_search import Point, strong_wolfe

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
    ("AdamW", dict(lr=0.02, betas=(0.8, 0.95), eps=1e-6)),
    ("AdamW", dict(lr=0.02, weight_decay=0.3, amsgrad=True, maximize=True)),
    ("RMSprop", dict()),
    ("RMSprop", dict(lr=0.02, alpha=0.9, eps=1e-6, weight_decay=0.1, maximize=True)),
    ("RMSprop", dict(lr=0.02, momentum=0.8, centered=True)),
    ("RMSprop", dict(lr=0.02, momentum=0.5, weight_decay=0.05)),
    ("Adagrad", dict()),
    ("Adagrad", dict(lr=0.1, lr_decay=0.05, weight_decay=0.1, initial_accumulator_value=0.3, eps=1e-6)),
    ("Adagrad", dict(lr=0.1, maximize=True)),
    ("Adadelta", dict()),
    ("Adadelta", dict(lr=0.5, rho=0.8, eps=1e-4, weight_decay=0.1, maximize=True)),
    ("NAdam", dict()),
    ("NAdam", dict(lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1, momentum_decay=0.1)),
    ("NAdam", dict(lr=0.02, weight_decay=0.1, decoupled_weight_decay=True, maximize=True)),
    ("RAdam", dict()),
    ("RAdam", dict(lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)),
    ("RAdam", dict(lr=0.02, weight_decay=0.1, decoupled_weight_decay=True, maximize=True)),
    ("RAdam", dict(lr=0.02, betas=(0.5, 0.6))),  # ρ∞ = 4: never sure of the variance
]


@pytest.fixture(autouse=True)
def doubles():
    """PyTorch's own numbers, such as NAdam's product of momenta, in double precision, as ours are."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


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


# -- L-BFGS ---------------------------------------------------------------------------------------------------------

# lr ≥ 0.3 or a short history: with lr = 0.1 the changes kept are so alike that PyTorch itself, started one rounding
# away, ends 10⁻⁷ away.
LBFGS = [dict(line_search_fn="strong_wolfe"), dict(lr=0.5, max_iter=4), dict(lr=0.2, max_iter=3, history_size=2),
         dict(lr=0.3, line_search_fn="strong_wolfe", max_eval=3, history_size=1), dict(lr=0.3, max_eval=2),
         dict(lr=10.0, line_search_fn="strong_wolfe", max_iter=2, tolerance_change=1e-4),
         dict(lr=0.5, tolerance_grad=0.05), dict(lr=0.5, tolerance_change=0.01)]


def fit(optimiser, parameters, library):
    """The closure of a curve fit: a quadratic and a little of a fourth power, so that nothing is exact."""
    features, target = library.tensor(normal((60, 24), 7)), library.tensor(normal((60,), 8))

    def closure():
        optimiser.zero_grad()
        v = library.cat([p.reshape(-1) for p in parameters])
        loss = ((features @ v - target) ** 2).mean() + 0.1 * (v ** 4).sum()
        loss.backward()
        return loss

    return closure


@pytest.mark.parametrize("options", LBFGS, ids=str)
def test_a_hundred_steps_of_lbfgs_end_where_pytorch_does(options):
    ours, theirs = parameters()
    a, b = make(("LBFGS", options), ours, theirs)
    closures = fit(a, ours, mc), fit(b, theirs, torch)
    for _ in range(100):
        losses = [o.step(closure).detach().item() for o, closure in zip((a, b), closures, strict=True)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-8)
    same(ours, theirs)
    counts = [{key: o.state[ps[0]][key] for key in ("func_evals", "n_iter")} for o, ps in ((a, ours), (b, theirs))]
    assert counts[0] == counts[1]


def test_lbfgs_finds_the_bottom_of_a_bent_valley():
    p = nn.Parameter(mc.tensor([-1.2, 1.0, -0.5, 2.0], dtype="float64"))
    optimiser = optim.LBFGS([p], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = (100 * (p[1:] - p[:-1] ** 2) ** 2 + (1 - p[:-1]) ** 2).sum()
        loss.backward()
        return loss

    assert optimiser.step(closure).item() > 100 and closure().item() < 1e-9


@pytest.mark.parametrize("options", LBFGS[:3], ids=str)
def test_the_state_of_lbfgs_goes_to_pytorch_and_comes_back(options):
    ours, theirs = parameters()
    a, b = make(("LBFGS", options), ours, theirs)
    closures = fit(a, ours, mc), fit(b, theirs, torch)
    a.step(closures[0]), b.step(closures[1])
    a2, b2 = make(("LBFGS", {}), ours, theirs)
    a2.load_state_dict(b.state_dict()), b2.load_state_dict(to_torch(a.state_dict()))
    a2.step(closures[0]), b2.step(closures[1])
    same(ours, theirs)
    with pytest.raises(ValueError, match=r"has shape \(24,\) in the loaded state"):
        optim.LBFGS(ours[:1]).load_state_dict({"state": a.state_dict()["state"], "param_groups": [{"params": [0]}]})


def test_lbfgs_moves_parameters_with_any_strides_and_without_gradients():
    array = normal((3, 4))
    p, q = nn.Parameter(mc.tensor(array).T), nn.Parameter(mc.ones(2, dtype="float64"))
    memory, version = p.data, p._version
    optimiser = optim.LBFGS([p, q], line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = ((p - 1) ** 2).sum()
        loss.backward()
        return loss

    with mc.no_grad():
        optimiser.step(closure)
    assert p.data is memory and p._version > version and optimiser.steps == 1
    np.testing.assert_allclose(p.detach().numpy(), 1, atol=1e-12)
    np.testing.assert_array_equal(q.detach().numpy(), 1)


@pytest.mark.parametrize("call, error, match", [
    (lambda p: optim.LBFGS([{"params": [p]}, {"params": []}]), ValueError, "all parameters form one group"),
    (lambda p: optim.LBFGS([p]).add_param_group({"params": []}), ValueError, "all parameters form one group"),
    (lambda p: optim.LBFGS([p], lr=-1), ValueError, "LBFGS: lr = -1"),
    (lambda p: optim.LBFGS([p], history_size=0), ValueError, "history_size = 0 must be at least 1"),
    (lambda p: optim.LBFGS([p], line_search_fn="weak_wolfe"), ValueError, "line_search_fn 'weak_wolfe' is unknown"),
    (lambda p: optim.LBFGS([p]).step(), TypeError, "closure"),
])
def test_wrong_uses_of_lbfgs(call, error, match):
    with pytest.raises(error, match=match):
        call(nn.Parameter(mc.ones(2)))


@settings(max_examples=150)
@example([-1, -4, 8, 8, -8], 0.3, 10)  # higher after the first extrapolation, but not too high
@given(st.lists(st.integers(-8, 8), min_size=5, max_size=5), st.sampled_from((0.01, 0.3, 1.0, 4.0)), st.integers(0, 25))
def test_the_line_search_takes_pytorchs_steps(coefficients, t, most):
    """On polynomials of degree 6 with all kinds of valleys and slopes, downhill at first."""
    curve = np.polynomial.Polynomial([1.0, -1.0, *[c / 4 for c in coefficients]])
    places: tuple[list, list] = ([], [])

    def ours(t):
        places[0].append(float(t))
        return Point(t, curve(t), curve.deriv()(t), curve.deriv()(t))

    def theirs(x, t, d):
        places[1].append(float(t))
        return float(curve(float(t))), torch.tensor([float(curve.deriv()(float(t)))])

    point, evaluations = strong_wolfe(ours, ours(np.float64(0)), np.float64(t), 1.0, 1e-9, most)
    start = torch.tensor([-1.0])
    theirs_search = importlib.import_module("torch.optim.lbfgs")._strong_wolfe
    loss, _, end, count = theirs_search(theirs, None, t, torch.ones(1), 1.0, start, start[0], max_ls=most)
    assert evaluations == count == len(places[1])
    tolerance = dict(rel=1e-3, nan_ok=True)  # a cubic through two close points is a shaky thing
    assert places[0][1:] == pytest.approx(places[1], **tolerance)
    assert (float(point.t), float(point.loss)) == pytest.approx((float(end), float(loss)), **tolerance)


# -- state ----------------------------------------------------------------------------------------------------------

def to_torch(state: dict) -> dict:
    """Our state with PyTorch's tensors."""
    return {"param_groups": state["param_groups"], "state": {
        i: {key: as_torch(value) for key, value in values.items()} for i, values in state["state"].items()}}


def as_torch(value):
    if isinstance(value, list):
        return [as_torch(v) for v in value]
    return torch.from_numpy(value.numpy().copy()) if isinstance(value, mc.Tensor) else value


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
