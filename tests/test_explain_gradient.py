"""Why a gradient is zero: causes planted by hand are found, with their values, and what is not zero has none."""

import re

import numpy as np
import pytest

import minicnn as mc
from minicnn import explain, models, nn
from minicnn import functional as F


def leaf(values, dtype=mc.float64) -> mc.Tensor:
    return mc.tensor(values, dtype=dtype, requires_grad=True)


def only(report: explain.GradientReport) -> explain.Cause:
    (cause,) = report.causes
    return cause


def test_dead_relu_with_its_input():
    x, w, b = leaf([[1.0, 2.0]]), leaf([[1.0, 1.0], [1.0, -1.0]]), leaf([0.0, 0.5])
    loss = F.linear(x, w, b).relu().sum()  # 3 and −0.5
    cause = only(explain.gradient(loss, b, 1))
    assert cause.kind == "dead relu" and cause.operation == "Relu (1, 2)" and (cause.ended, cause.of) == (1, 1)
    assert cause.text == "-0.5 at [0, 1] is not above 0, so the result is 0"
    report = explain.gradient(loss, w)
    assert report.zeros == 2 and only(report).kind == "dead relu"
    assert np.array_equal(report.gradient, [[1, 2], [0, 0]])
    alive = explain.gradient(loss, b, 0)
    assert alive.causes == () and alive.gradient == 1 and str(alive) == "the tensor (2,) at [0] = 0: the gradient is 1"


def test_dead_relu_of_a_convolution_that_rectified_at_once():
    """The value that it was is told, with which nothing was kept but the 0 it became."""
    layer = nn.Conv2d(1, 2, 1).double()
    net = nn.Sequential(layer, nn.ReLU())
    with mc.no_grad():
        layer.weight.copy_(mc.tensor([1.0, -1.0]).reshape(2, 1, 1, 1))
        layer.bias.copy_(mc.tensor([0.0, 0.5]))
    y = net(mc.tensor(np.full((1, 1, 1, 2), 2.0)))
    assert y.grad_fn.edges[0][0].rectify
    cause = only(explain.gradient(y.sum(), layer.bias, 1))
    assert cause.kind == "dead relu" and cause.operation == "Relu (1, 2, 1, 2)"
    assert cause.text == "-1.5 at [0, 1, 0, 0] is not above 0, so the result is 0"


def test_how_many_values_move():
    """Those of 3×3 windows in 4 channels; a value that is read twice moves what both readers put out."""
    x = leaf(np.ones((1, 3, 8, 8)))
    w = leaf(-abs(np.random.default_rng(0).standard_normal((4, 3, 3, 3))))
    with mc.conv_algorithm("fft"):  # which moves all a little, by rounding
        cause = only(explain.gradient(F.conv2d(x, w, padding=1).relu().sum(), x, (0, 1, 3, 4)))
    assert (cause.kind, cause.ended, cause.of) == ("dead relu", 36, 36)
    y = leaf([-1.0])
    assert only(explain.gradient(mc.cat([y, y]).relu().sum(), y, 0)).of == 2


def test_lost_maximum_names_the_winners():
    x = leaf([[[[1.0, 5.0, 2.0], [4.0, 3.0, 6.0], [7.0, 0.0, 1.0]]]])
    loss = F.max_pool2d(x, 2, stride=1).sum()  # 5 6 / 7 6
    cause = only(explain.gradient(loss, x, (0, 0, 1, 1)))
    assert cause.kind == "lost maximum"
    assert cause.text == "3 at [0, 0, 1, 1] lost to 5 at [0, 0, 0, 1] and 6 at [0, 0, 1, 2] and 7 at [0, 0, 2, 0]"
    ties = leaf([[[[2.0, 2.0]]]])
    assert only(explain.gradient(F.max_pool2d(ties, (1, 2)).sum(), ties, (0, 0, 0, 1))).text == (
        "2 at [0, 0, 0, 1] lost to 2 at [0, 0, 0, 0], of equals the first")
    assert explain.gradient(F.max_pool2d(x, 2, stride=1).sum(), x).zeros == 6


@pytest.mark.parametrize("window", [
    lambda x: F.conv2d(x, mc.ones(2, 1, 2, 3, dtype=mc.float64), stride=(3, 4)),
    lambda x: F.max_pool2d(x, (2, 3), stride=(3, 4)),
    lambda x: F.avg_pool2d(x, (2, 3), stride=(3, 4)),
])
def test_pixels_that_the_stride_steps_over(window):
    x = leaf(np.random.default_rng(0).permutation(6 * 9).reshape(1, 1, 6, 9))
    for index in ((0, 0, 2, 0), (0, 0, 0, 3), (0, 0, 5, 8)):  # between windows twice, and beyond the last one
        cause = only(explain.gradient(window(x).sum(), x, index))
        assert cause.kind == "uncovered" and f"row {index[2]}, column {index[3]}" in cause.text
    apart = explain.gradient(F.max_pool2d(x, 2, stride=9, dilation=2).sum(), x, (0, 0, 1, 1))
    assert only(apart).kind == "uncovered"
    covered = explain.gradient(window(x).sum(), x, (0, 0, 4, 6))
    assert not covered.causes or only(covered).kind == "lost maximum"


def test_dropped_elements_and_dropped_channels():
    x = leaf(np.arange(1.0, 33).reshape(1, 8, 2, 2))
    y = F.dropout(x, 0.5, training=True)
    index = tuple(np.argwhere(y.detach().numpy() == 0)[0])
    cause = only(explain.gradient(y.sum(), x, index))
    assert cause.kind == "dropped" and f"{x.data[index]:.4g} at" in cause.text and "p = 0.5" in cause.text
    report = explain.gradient(y.sum(), x)
    assert report.zeros == only(report).ended == (y.data == 0).sum()
    y = F.dropout2d(x, 0.5, training=True)
    index = tuple(np.argwhere(y.detach().numpy() == 0)[0])
    assert only(explain.gradient(y.sum(), x, index)).kind == "masked"


@pytest.mark.parametrize(("function", "kind"), [
    (lambda x: (x * 1000).sigmoid(), "saturated"), (lambda x: (x * 1000).tanh(), "saturated"),
    (F.relu6, "saturated"), (lambda x: x.clamp(-1, 7), "saturated"), (lambda x: x.floor(), "step"),
    (lambda x: x.masked_fill(x > 0, 0.0), "masked"), (lambda x: x * mc.tensor([0.0, 1.0]), "masked"),
    (lambda x: x * mc.zeros(3, 2), "masked"), (lambda x: mc.zeros(3, 2).clamp(max=x), "lost maximum"),
    (lambda x: x[1:], "left out"), (lambda x: x.where(x < 0, -x.detach()), "masked"),
    (lambda x: mc.maximum(x, x.detach() * 0.5 + 9), "lost maximum"),
    (lambda x: x.softmax(0) * mc.tensor([0.0, 0.0]), "masked"),
    (lambda x: x.index_select(0, mc.tensor([1])), "left out"), (lambda x: x.amin(), "lost maximum"),
    (lambda x: (x * 1000).softmax(0), "saturated"), (lambda x: x.chunk(2)[1], "left out"),
    (lambda x: x - x, "cancelled"),
])
def test_operations_that_pass_nothing_on(function, kind):
    x = leaf([8.0, -2.0], mc.float32)
    assert only(explain.gradient(function(x).sum(), x, 0)).kind == kind


def test_an_activation_and_a_pooling_in_one_pass():
    """As neighbours in a chain have it."""
    x = leaf([[[[-3.0, 2.0, 1.0], [50.0, 4.0, 1.0]]]])
    loss = nn.Sequential(nn.ReLU(), nn.AvgPool2d(2))(x).sum()
    assert only(explain.gradient(loss, x, (0, 0, 0, 0))).text.startswith("-3 at [0, 0, 0, 0] is not above 0")
    assert only(explain.gradient(loss, x, (0, 0, 1, 2))).kind == "uncovered"
    loss = nn.Sequential(nn.Sigmoid(), nn.AvgPool2d(2))(x).sum()
    assert only(explain.gradient(loss, x, (0, 0, 1, 0))).text.startswith("the result 1 of 50 at [0, 0, 1, 0]")


def test_saturation_tells_input_and_output():
    x = leaf([40.0], mc.float32)
    assert only(explain.gradient(x.sigmoid().sum(), x, 0)).text == (
        "the result 1 of 40 at [0] is so near its limit that the derivative rounds to 0")


def test_weights():
    x, w = leaf([[0.0, 1.0]]), leaf([[3.0, 0.0]])
    loss = F.linear(x, w).sum()
    assert only(explain.gradient(loss, w, (0, 0))).kind == "zero input"
    cause = only(explain.gradient(loss, x, (0, 1)))
    assert cause.kind == "zero weight" and "1 at [0, 1]" in cause.text
    image, kernel = leaf(np.ones((1, 1, 3, 3))), leaf(np.zeros((1, 1, 3, 3)))
    assert only(explain.gradient(F.conv2d(image, kernel).sum(), image)).kind == "zero weight"
    padded = F.conv2d(leaf(np.ones((1, 1, 1, 1))), kernel, padding=1).sum()  # all taps but the middle meet padding
    report = explain.gradient(padded, kernel)
    assert report.zeros == 8 and only(report).kind == "zero input"
    table = leaf(np.ones((4, 2)))
    assert explain.gradient(F.embedding(mc.tensor([1, 3]), table).sum(), table, (2, 0)).causes[0].kind == "left out"


def test_rows_that_are_ignored():
    x = leaf(np.random.default_rng(0).standard_normal((3, 4)))
    loss = F.cross_entropy(x, mc.tensor([1, -100, 2]))
    cause = only(explain.gradient(loss, x, (1, 0)))
    assert cause.kind == "masked" and "row 1" in cause.text and "ignore_index" in cause.text


def test_what_does_not_lead_to_the_loss():
    first, second = nn.Linear(3, 4), nn.Linear(4, 2)
    model = nn.Sequential(first, second)
    x = mc.randn(5, 3)
    cut = second(first(x).detach()).sum()
    report = explain.gradient(cut, first.weight, model=model)
    assert report.gradient is None and str(report).startswith("0.weight: no gradient arrives\n  detached: ")
    assert "a tensor (5, 4) enters Linear of 1 (5, 2) detached" in only(report).text
    own = F.linear(x, first.weight.detach(), first.bias).sum()
    x.requires_grad_()
    assert "it enters Linear" in only(explain.gradient(F.linear(x, first.weight.detach(), first.bias).sum(),
                                                       first.weight)).text
    assert own.requires_grad
    assert only(explain.gradient(second(mc.randn(1, 4)).sum(), first.bias)).kind == "unused"
    frozen = nn.Linear(3, 4)
    frozen.weight.requires_grad_(False)
    assert only(explain.gradient(frozen(x).sum(), frozen.weight)).kind == "frozen"


def test_gradients_changed_by_hooks():
    x = leaf([1.0, 2.0])
    y = x * 3
    y.register_hook(lambda g: g * mc.tensor([0.0, 1.0], dtype=mc.float64))
    cause = only(explain.gradient((y * 5).sum(), x, 0))
    assert (cause.kind, cause.text) == ("masked", "a hook made 0 of the gradient 5")
    w = leaf([1.0, 2.0])
    w.register_hook(lambda g: g * 0)
    assert only(explain.gradient((w * 7).sum(), w, 1)).text == "a hook made 0 of the gradient 7"
    layer, calls = nn.ReLU(), []
    layer.register_full_backward_pre_hook(lambda module, gy: calls.append(gy))  # it changes nothing
    z = mc.ones(1, 2, requires_grad=True)
    loss = (layer(z) * 0).sum()
    assert only(explain.gradient(loss, z, (0, 0))).kind == "masked"
    assert len(calls) == 1 and calls[0][0].shape == (1, 2)  # by the backward pass that finds out the gradient


class Blind(mc.autograd.Function):
    """An operation whose backward forgets to pass on what it got."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gy):
        return mc.zeros_like(gy)


def test_operations_of_the_users_own():
    x = leaf([3.0])
    cause = only(explain.gradient(Blind.apply(x).sum(), x, 0))
    assert cause.kind == "own backward" and cause.operation.startswith("Blind") and "3 at [0]" in cause.text


def test_bias_before_batch_norm_needs_a_tolerance():
    layer, norm = nn.Linear(3, 4), nn.BatchNorm1d(4)
    loss = F.cross_entropy(norm(layer(mc.randn(16, 3))), mc.randint(0, 4, (16,)))
    assert only(explain.gradient(loss, layer.bias, tolerance=1e-6)).kind == "cancelled"


def test_a_whole_network():
    """Of every element whose gradient is zero it is known why, and counts agree with what can be counted by hand."""
    model = models.create("lenet_maxpool")
    x = mc.randn(2, 1, 28, 28, requires_grad=True)
    relu = {}
    for layer in model.modules():
        if isinstance(layer, nn.ReLU):
            layer.register_forward_hook(lambda module, args, y: relu.setdefault(id(module), y))
    loss = F.cross_entropy(model(x), mc.tensor([3, 4]))
    before = mc.backend.default_generator.state_dict()
    reports = [explain.gradient(loss, t, model=model) for t in (x, *model.parameters())]
    assert mc.backend.default_generator.state_dict() == before
    for report in reports:
        assert bool(report.causes) == bool(report.zeros) and "cancelled" not in [c.kind for c in report.causes]
    assert x.grad is None
    loss.backward(retain_graph=True)
    for report, t in zip(reports, (x, *model.parameters()), strict=True):
        assert np.array_equal(report.gradient, t.grad.numpy())


def test_refusals():
    x = leaf([[1.0, 2.0]])
    y = (x * x).sum()
    for index in ((0, 2), (0, 0.5), (0, 0, 0)):
        with pytest.raises(IndexError, match=rf"index {re.escape(str(index))} must name one element"):
            explain.gradient(y, x, index)
    for loss, of, what in ((3.0, x, "loss must be a tensor of minicnn, not float"),
                           (y, np.ones(2), "of must be a tensor of minicnn, not ndarray")):
        with pytest.raises(TypeError, match=what):
            explain.gradient(loss, of)
    with pytest.raises(IndexError, match=r"index 0 must name one element of a tensor of shape \(1, 2\)"):
        explain.gradient(y, x, 0)
    with pytest.raises(RuntimeError, match="scalar"):
        explain.gradient(x * x, x)
    y.backward()
    with pytest.raises(RuntimeError, match="explain.gradient: the graph was freed"):
        explain.gradient(y, x)
