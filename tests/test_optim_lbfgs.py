"""L-BFGS and its line search beside PyTorch's."""

import importlib

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from optim_util import LBFGS, make, parameters, same, to_torch
from util import normal

import minicnn as mc
from minicnn import nn, optim
from minicnn.optim.line_search import Point, strong_wolfe

pytestmark = pytest.mark.usefixtures("pytorch_in_doubles")


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
