"""Initial values: exact where they are, distributions (bounds, mean, variance, shape) where they are random."""

import math
import warnings

import numpy as np
import pytest
import torch
from util import assert_close

import minicnn as mc
from minicnn import nn
from minicnn.nn import init

SHAPE = (40, 10, 5, 4)  # fan_in 200, fan_out 800; 8000 numbers: means within 4/√8000 of a standard deviation


def check_uniform(tensor: mc.Tensor, low: float, high: float) -> None:
    values = tensor.numpy().astype(float)
    width = high - low
    assert low <= values.min() < low + 0.01 * width and high - 0.01 * width < values.max() <= high * (1 + 1e-6)
    counts, _ = np.histogram(values, 10, (low, high))
    assert abs(counts / values.size - 0.1).max() < 0.02  # 0.1 ± 6 standard deviations


def check_normal(tensor: mc.Tensor, mean: float, std: float) -> None:
    values = (tensor.numpy().astype(float) - mean) / std
    assert abs(values.mean()) < 0.05 and abs(values.std() - 1) < 0.05
    assert abs((abs(values) < 1).mean() - 0.6827) < 0.03 and abs((abs(values) < 2).mean() - 0.9545) < 0.02


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_uniform_and_normal(dtype):
    x = mc.empty(SHAPE, dtype=dtype)
    assert init.uniform_(x, -2, 3) is x
    check_uniform(x, -2, 3)
    assert init.normal_(x, 5, 0.25) is x
    check_normal(x, 5, 0.25)
    assert x.dtype.name == dtype


@pytest.mark.parametrize("function, expected", [
    (lambda x: init.xavier_uniform_(x), math.sqrt(6 / 1000)),
    (lambda x: init.xavier_uniform_(x, gain=2.0), 2 * math.sqrt(6 / 1000)),
    (lambda x: init.kaiming_uniform_(x), math.sqrt(2) * math.sqrt(3 / 200)),
    (lambda x: init.kaiming_uniform_(x, a=math.sqrt(5)), 1 / math.sqrt(200)),
    (lambda x: init.kaiming_uniform_(x, mode="fan_out", nonlinearity="tanh"), 5 / 3 * math.sqrt(3 / 800)),
])
def test_scaled_uniform(function, expected):
    x = mc.empty(SHAPE)
    assert function(x) is x
    check_uniform(x, -expected, expected)


@pytest.mark.parametrize("function, std", [
    (lambda x: init.xavier_normal_(x), math.sqrt(2 / 1000)),
    (lambda x: init.xavier_normal_(x, gain=3.0), 3 * math.sqrt(2 / 1000)),
    (lambda x: init.kaiming_normal_(x), math.sqrt(2 / 200)),
    (lambda x: init.kaiming_normal_(x, mode="fan_out", nonlinearity="relu"), math.sqrt(2 / 800)),
    (lambda x: init.kaiming_normal_(x, a=0.5), math.sqrt(2 / 1.25 / 200)),
])
def test_scaled_normal(function, std):
    x = mc.empty(SHAPE)
    assert function(x) is x
    check_normal(x, 0, std)


@pytest.mark.parametrize("mean, std, a, b", [(0, 1, -2, 2), (0, 0.02, -2, 2), (1, 2, 0, 1.5), (0, 1, 2.5, 4),
                                            (3, 1, -1, 0.9), (0, 1, -0.1, 0.05)])
def test_truncated_normal(mean, std, a, b):
    x = mc.empty(SHAPE)
    reference = torch.empty(400_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if not a - 2 * std <= mean <= b + 2 * std else "error")
        assert init.trunc_normal_(x, mean, std, a, b) is x
        torch.nn.init.trunc_normal_(reference, mean, std, a, b)
    values, expected = x.numpy(), reference.numpy()
    assert a - 1e-6 <= values.min() and values.max() <= b + 1e-6
    assert abs(values.mean() - expected.mean()) < 5 * expected.std() / math.sqrt(values.size)
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert abs((values < np.quantile(expected, share)).mean() - share) < 0.025


def test_truncated_normal_far_away_warns():
    with pytest.warns(UserWarning, match="more than two standard deviations outside -1.0 … 1.0"):
        init.trunc_normal_(mc.empty(3), 5.0, 1.0, -1.0, 1.0)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (3, 2, 4), (8, 2, 3)])
def test_orthogonal(shape):
    x = mc.empty(shape, dtype=mc.float64)
    assert init.orthogonal_(x, gain=1.5) is x
    q = x.numpy().reshape(shape[0], -1) / 1.5
    gram = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)
    assert init.orthogonal_(mc.empty(0, 3)).shape == (0, 3)


def test_orthogonal_matrices_have_no_preferred_sign():
    signs = [np.sign(init.orthogonal_(mc.empty(2, 2)).numpy()) for _ in range(400)]
    assert (abs(np.mean(signs, 0)) < 0.2).all()


def test_sparse():
    x = mc.empty(50, 400)
    assert init.sparse_(x, 0.33, std=2.0) is x
    zeros = x.numpy() == 0
    assert (zeros.sum(0) == 17).all()  # 16.5 rounded up, in every column
    assert 60 < zeros.sum(1).min() and zeros.sum(1).max() < 210, "anywhere in a column"
    check_normal(mc.tensor(x.numpy()[~zeros]), 0, 2)


@pytest.mark.parametrize("call", [
    lambda init, x: init.constant_(x(2, 3), 0.3),
    lambda init, x: init.ones_(x(2, 3)),
    lambda init, x: init.zeros_(x(3)),
    lambda init, x: init.eye_(x(3, 5)),
    lambda init, x: init.eye_(x(5, 3)),
    lambda init, x: init.dirac_(x(3, 5, 4)),
    lambda init, x: init.dirac_(x(6, 2, 3, 4), 2),
    lambda init, x: init.dirac_(x(3, 24, 2, 3, 5), groups=3),
])
def test_exact_values(call):
    assert_close(call(init, mc.empty), call(torch.nn.init, torch.empty), 0)


def test_dirac_passes_channels_on():
    x, layer = mc.randn(2, 3, 5, 6), nn.Conv2d(3, 4, 3, padding=1, bias=False)
    init.dirac_(layer.weight)
    y = layer(x).detach().numpy()
    np.testing.assert_array_equal(y[:, :3], x.numpy())
    assert not y[:, 3].any()


@pytest.mark.parametrize("nonlinearity", ["linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d",
                                          "conv_transpose2d", "conv_transpose3d", "sigmoid", "tanh", "relu",
                                          "leaky_relu", "selu"])
@pytest.mark.parametrize("param", [None, 0.2, 3])
def test_gains(nonlinearity, param):
    expected = torch.nn.init.calculate_gain(nonlinearity, param)
    assert init.calculate_gain(nonlinearity, param) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("call, match", [
    (lambda init, x: init.calculate_gain("gelo"), "'gelo'"),
    (lambda init, x: init.calculate_gain("leaky_relu", "steep"), "'steep'"),
    (lambda init, x: init.calculate_gain("leaky_relu", True), "True"),
    (lambda init, x: init.xavier_uniform_(x(3)), r"at least 2 axes, not \(3,\)"),
    (lambda init, x: init.kaiming_normal_(x(3)), "at least 2 axes"),
    (lambda init, x: init.kaiming_uniform_(x(3, 3), mode="fan"), "'fan'"),
    (lambda init, x: init.orthogonal_(x(3)), "at least 2 axes"),
    (lambda init, x: init.eye_(x(3)), r"eye_: tensor of shape \(3,\) must have 2 axes"),
    (lambda init, x: init.sparse_(x(3), 0.5), "must have 2 axes"),
    (lambda init, x: init.dirac_(x(3, 3)), "must have 3 or 4 or 5 axes"),
    (lambda init, x: init.dirac_(x(3, 3, 3), 2), "groups = 2 must divide the 3"),
])
def test_wrong_calls_are_refused(call, match):
    with pytest.raises(ValueError):
        call(torch.nn.init, torch.empty)
    with pytest.raises(ValueError, match=match):
        call(init, mc.empty)


@pytest.mark.parametrize("call, match", [
    (lambda x: init.trunc_normal_(x, a=2, b=1), "a = 2 must be below b = 1"),
    (lambda x: init.uniform_(x, 1, 0), "uniform_: a = 1 must not be above b = 0"),
    (lambda x: init.normal_(x, 0, -1), "normal_: std = -1 must be at least 0"),
    (lambda x: init.sparse_(x, 1.5), "sparse_: sparsity = 1.5 must be 0 to 1"),
    (lambda x: init.sparse_(x, -0.1), "sparse_: sparsity = -0.1 must be"),
    (lambda x: init.dirac_(x.reshape(3, 3, 1), 0), "dirac_: groups = 0 must divide the 3"),
])
def test_numbers_out_of_range_are_refused(call, match):
    x = mc.ones(3, 3)
    with pytest.raises(ValueError, match=match):
        call(x)
    assert (x.numpy() == 1).all()


@pytest.mark.parametrize("function", [init.xavier_uniform_, init.xavier_normal_])
@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0, 2)])
def test_there_may_be_nothing_to_draw(function, shape):
    assert function(mc.empty(*shape)).shape == shape


@pytest.mark.parametrize("name", ["kaiming_uniform_", "kaiming_normal_"])
def test_empty_tensors_warn(name):
    for library, empty in ((init, mc.empty), (torch.nn.init, torch.empty)):
        with pytest.warns(UserWarning):
            getattr(library, name)(empty(0, 3))


@pytest.mark.parametrize("name", ["uniform_", "normal_", "trunc_normal_", "xavier_uniform_", "xavier_normal_",
                                  "kaiming_uniform_", "kaiming_normal_", "orthogonal_", "sparse_"])
def test_generators_and_versions(name):
    first, second, third = mc.empty(4, 5), mc.empty(4, 5), mc.empty(4, 5)
    arguments = (0.5,) if name == "sparse_" else ()
    function, version = getattr(init, name), first._version
    function(first, *arguments, generator=mc.Generator(7))
    function(second, *arguments, generator=mc.Generator(7))
    function(third, *arguments)
    np.testing.assert_array_equal(first.numpy(), second.numpy())
    assert (first.numpy() != third.numpy()).any()
    assert first._version > version


# -- defaults of the layers -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("layer, fan_in", [(lambda: nn.Linear(64, 200), 64),
                                           (lambda: nn.Conv2d(8, 300, (3, 2), groups=2), 24)])
def test_layers_start_uniform_within_the_root_of_fan_in(layer, fan_in):
    layers = [layer() for _ in range(20)]
    bound = 1 / math.sqrt(fan_in)
    check_uniform(mc.tensor(np.concatenate([m.weight.detach().numpy().ravel() for m in layers])), -bound, bound)
    check_uniform(mc.tensor(np.concatenate([m.bias.detach().numpy() for m in layers])), -bound, bound)


def test_layers_start_anew_with_the_seed():
    mc.manual_seed(5)
    first = nn.Linear(3, 4).weight.detach().numpy()
    mc.manual_seed(5)
    layer = nn.Linear(3, 4)
    np.testing.assert_array_equal(layer.weight.detach().numpy(), first)
    layer.reset_parameters()
    assert (layer.weight.detach().numpy() != first).all()
