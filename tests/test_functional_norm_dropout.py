"""batch_norm against PyTorch, running statistics included; dropout against what it promises."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import minicnn as mc
import minicnn.functional as F
from minicnn.autograd import gradcheck, gradgradcheck

from util import assert_close, check_op, check_raises, in_both, normal

TF = torch.nn.functional
C = 3


# -- batch_norm -----------------------------------------------------------------------------------------------------

def with_statistics(shape: tuple[int, ...], options: dict) -> tuple:
    """batch_norm in both, as functions of x, weight and bias that return y and the running statistics afterwards."""
    mean, var = normal((C,), 7), np.abs(normal((C,), 8)) + 0.5

    def ours(x, w=None, b=None):
        buffers = [mc.tensor(a, dtype=x.dtype) for a in (mean, var)]
        return F.batch_norm(x, *buffers, w, b, **options), *buffers

    def theirs(x, w=None, b=None):
        buffers = [torch.from_numpy(a).to(x.dtype) for a in (mean, var)]
        return TF.batch_norm(x, *buffers, w, b, **options), *buffers

    return ours, theirs


@st.composite
def batches(draw: st.DrawFn) -> tuple[tuple[int, ...], dict, bool]:
    shape = draw(st.sampled_from([(2, C), (7, C), (1, C, 2), (3, C, 4), (1, C, 2, 3), (3, C, 4, 2), (2, C, 1, 1),
                                  (2, C, 2, 2, 3)]))
    options = {"training": draw(st.booleans()), "momentum": draw(st.sampled_from([0.1, 0.0, 1.0, 0.37])),
               "eps": draw(st.sampled_from([1e-5, 1e-3, 1.0]))}
    return shape, options, draw(st.booleans())


@settings(max_examples=60)
@given(batches())
@example(((4, C, 5, 3), {"training": True}, True))
@example(((4, C, 5, 3), {"training": False}, False))
@example(((4, C), {}, True))
@example(((0, C, 5, 3), {}, True))
@example(((0, C), {}, False))
@example(((1, C), {}, True))
def test_batch_norm(case):
    shape, options, affine = case
    arrays = [normal(shape) * 2 + 1] + ([normal((C,), 1), normal((C,), 2)] if affine else [])
    check_op(*with_statistics(shape, options), *arrays)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("constant", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_only_some_gradients_are_wanted(training, constant):
    arrays = normal((4, C, 2, 3)), normal((C,), 1), normal((C,), 2)
    check_op(*with_statistics(arrays[0].shape, {"training": training}), *arrays, constant=constant)


@pytest.mark.parametrize("training", [True, False])
def test_weight_without_bias_and_the_other_way(training):
    shape = (4, C, 2, 3)
    ours, theirs = with_statistics(shape, {"training": training})
    check_op(ours, theirs, normal(shape), normal((C,), 1))
    ones = torch.ones(C)  # without a weight, PyTorch's second derivative fails
    check_op(lambda x, b: ours(x, None, b), lambda x, b: theirs(x, ones.to(x.dtype), b), normal(shape), normal((C,), 1))


def test_no_running_statistics():
    check_op(*in_both(lambda f, x: f.batch_norm(x, None, None, training=True)), normal((4, C, 2)))


def test_an_empty_batch_in_training_leaves_the_statistics():
    ours, theirs = with_statistics((0, C, 2, 2), {"training": True})
    check_op(ours, theirs, np.zeros((0, C, 2, 2)), constant=(0,))
    x, w = mc.zeros(0, C, 2, requires_grad=True), mc.ones(C, requires_grad=True)
    F.batch_norm(x, None, None, w, training=True).sum().backward()
    assert x.grad.shape == (0, C, 2) and w.grad.tolist() == [0, 0, 0]


def test_a_constant_channel():
    x = normal((4, C, 2))
    x[:, 1] = 3.0
    check_op(*with_statistics(x.shape, {"training": True}), x, tolerance=1e-9)


def test_a_large_mean_does_not_cost_the_digits():
    """The variance of values around 1000 with a spread of 0.1, in float32."""
    x = (1000 + 0.1 * normal((64, C, 8, 8))).astype(np.float32)
    y = F.batch_norm(mc.tensor(x), None, None, training=True).numpy()
    exact = TF.batch_norm(torch.from_numpy(x).double(), None, None, training=True).numpy()
    assert np.abs(y - exact).max() < 2e-3


def test_memory_in_any_order():
    def program(f, x, w):
        return f.batch_norm(x.permute(3, 1, 0, 2), None, None, w.expand(C), training=True).permute(2, 0, 1, 3).sum(0)

    check_op(*in_both(program), normal((2, C, 4, 5)), normal((1,)))


def test_in_training_statistics_are_written_in_place_and_noticed():
    mean, var = mc.zeros(C), mc.ones(C)
    before, versions = (mean.data, var.data), (mean._version, var._version)
    F.batch_norm(mc.tensor(normal((4, C)), dtype=mc.float32), mean, var, training=True)
    assert mean.data is before[0] and var.data is before[1]
    assert (mean._version, var._version) == (versions[0] + 1, versions[1] + 1)
    F.batch_norm(mc.tensor(normal((4, C)), dtype=mc.float32), mean, var)
    assert (mean._version, var._version) == (versions[0] + 1, versions[1] + 1)


@pytest.mark.parametrize("training", [True, False])
def test_reference_kernels(training):
    arrays = normal((4, C, 2, 3)), normal((C,), 1), normal((C,), 2)
    with mc.use_kernels("reference"):
        check_op(*with_statistics(arrays[0].shape, {"training": training}), *arrays)


@pytest.mark.parametrize("call, match", [
    (lambda m, f: f.batch_norm(m.ones(1, 3), m.zeros(3), m.ones(3), training=True), r"per channel, got x \(1, 3\)"),
    (lambda m, f: f.batch_norm(m.ones(1, 3, 1, 1), None, None, training=True), "more than one value per channel"),
    (lambda m, f: f.batch_norm(m.ones(2, 3), None, None), "running_mean and running_var are needed when training is"),
    (lambda m, f: f.batch_norm(m.ones(2, 3), m.zeros(3), None, training=True), "both running_mean and running_var"),
    (lambda m, f: f.batch_norm(m.ones(2, 3), m.zeros(2), m.ones(3)), r"running_mean has shape \(2,\), expected \(3,\)"),
    (lambda m, f: f.batch_norm(m.ones(2, 3), m.zeros(3), m.ones(4)), r"running_var has shape \(4,\)"),
    (lambda m, f: f.batch_norm(m.ones(2, 3), None, None, m.ones(2), training=True), r"weight has shape \(2,\)"),
    (lambda m, f: f.batch_norm(m.ones(2, 3), None, None, None, m.ones(1), training=True), r"bias has shape \(1,\)"),
    (lambda m, f: f.batch_norm(m.ones(3), None, None, training=True), r"x must be \(N, C\) or \(N, C, ...\), not \(3"),
    (lambda m, f: f.batch_norm(m.ones(2, 3), m.zeros(3), m.ones(3), eps=-1e-5), "eps = -1e-05 must not be negative"),
    (lambda m, f: f.batch_norm(m.ones(2, 3).long(), None, None, training=True), "x is int64"),
])
def test_batch_norm_refuses(call, match):
    check_raises(lambda: call(mc, F), lambda: call(torch, TF), f"batch_norm: .*{match}")


def test_batch_norm_needs_one_floating_type():
    with pytest.raises(RuntimeError, match="batch_norm: x is float64, weight is float32; all must have the same"):
        F.batch_norm(mc.ones(2, 3).double(), None, None, mc.ones(3), training=True)


# -- dropout --------------------------------------------------------------------------------------------------------

def kept_of(y: mc.Tensor) -> np.ndarray:
    return y.detach().numpy() != 0


def generator(seed: int = 1) -> mc.Generator:
    return mc.Generator(seed)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.75])
@pytest.mark.parametrize("shape", [(40_000,), (8, 20, 25, 10)])
def test_elements_are_dropped_with_probability_p_and_the_others_scaled(p, shape):
    x = mc.tensor(np.abs(normal(shape)) + 1)
    y = F.dropout(x, p)
    kept = kept_of(y)
    assert abs(kept.mean() - (1 - p)) < 5 * np.sqrt(p * (1 - p) / kept.size)
    assert_close(y, np.where(kept, x.numpy() / (1 - p), 0), 1e-12)
    # neighbours, and one call after the other, are independent
    flat, again = kept.reshape(-1), kept_of(F.dropout(x, p)).reshape(-1)
    for a, b in ((flat[1:], flat[:-1]), (flat[4:], flat[:-4]), (flat, again)):
        assert abs((a & b).mean() - (1 - p) ** 2) < 0.02


@pytest.mark.parametrize("shape", [(), (0,), (1,), (5,), (3, 4), (100, 333)])
@pytest.mark.parametrize("dtype", [mc.float32, mc.float64])
def test_backward_has_the_mask_of_forward(shape, dtype):
    x = mc.ones(*shape, dtype=dtype, requires_grad=True)
    gy = mc.tensor(normal(shape), dtype=dtype)
    y = F.dropout(x, 0.4)
    y.backward(gy)
    assert_close(x.grad, y.detach().numpy() * gy.numpy(), 1e-6)


def test_first_and_second_order():
    x = mc.tensor(normal((4, 5)), requires_grad=True)
    for function in (lambda t: F.dropout(t, 0.4, generator=generator()),
                     lambda t: F.dropout2d(t.reshape(2, 2, 5, 1), 0.4, generator=generator()).square()):
        assert gradcheck(function, x) and gradgradcheck(function, x)


def test_the_mask_depends_on_generator_and_position_only():
    x = normal((6, 7))
    alike = (mc.tensor(x), mc.tensor(x, dtype=mc.float32), mc.tensor(x.T.copy()).T, mc.ones(6, 7),
             mc.ones(1).expand(6, 7))
    y = [F.dropout(t, 0.5, generator=generator()) for t in alike]
    assert all((kept_of(t) == kept_of(y[0])).all() for t in y)
    assert (kept_of(F.dropout(mc.ones(6, 7), generator=generator(2))) != kept_of(y[0])).any()
    mc.manual_seed(3)
    first = [kept_of(F.dropout(mc.ones(50))) for _ in range(2)]
    mc.manual_seed(3)
    again = [kept_of(F.dropout(mc.ones(50))) for _ in range(2)]
    np.testing.assert_array_equal(first, again)
    assert (first[0] != first[1]).any()


def test_a_generator_goes_on_where_it_was_saved():
    g = generator()
    F.dropout(mc.ones(50), generator=g)
    state = g.state_dict()
    expected = kept_of(F.dropout(mc.ones(50), generator=g))
    restored = generator(99)
    restored.load_state_dict(state)
    np.testing.assert_array_equal(kept_of(F.dropout(mc.ones(50), generator=restored)), expected)


@pytest.mark.parametrize("name, shape", [("dropout", (4, 5)), ("dropout2d", (2, 3, 4, 5)), ("dropout2d", (3, 4, 5))])
def test_when_nothing_or_everything_is_dropped(name, shape):
    function = getattr(F, name)
    x = mc.tensor(normal(shape), requires_grad=True)
    assert function(x, 0.0) is x and function(x, 0.5, training=False) is x and function(x, 1.0, False) is x
    y = function(x, 1.0)
    assert y.requires_grad and not y.detach().numpy().any()
    y.sum().backward()
    assert not x.grad.numpy().any()


def test_what_is_dropped_is_zero_whatever_it_was():
    x = mc.tensor([float("inf"), float("-inf"), float("nan")] * 20)
    y = F.dropout(x, 0.5)
    assert (y.numpy() == 0).sum() > 10
    assert not F.dropout(x, 1.0).numpy().any()
    infinite = mc.full((2, 40, 2, 2), float("inf"))
    assert np.isinf(F.dropout2d(infinite, 0.5).numpy()).any()  # a channel that is kept


def test_in_place():
    x = normal((20, 30))
    leaf = mc.tensor(x, requires_grad=True)
    y = leaf * 2
    out = F.dropout(y, 0.3, inplace=True, generator=generator())
    assert out is y
    expected = F.dropout(mc.tensor(x * 2), 0.3, generator=generator())
    assert_close(out.detach(), expected, 1e-12)
    out.sum().backward()
    assert_close(leaf.grad, kept_of(expected) * 2 / 0.7, 1e-12)
    z = mc.tensor(x.reshape(4, 5, 6, 5))
    assert F.dropout2d(z, 0.3, inplace=True, generator=generator()) is z
    assert_close(z, F.dropout2d(mc.tensor(x.reshape(4, 5, 6, 5)), 0.3, generator=generator()), 1e-12)
    for function in (F.dropout, F.dropout2d):
        with pytest.raises(RuntimeError, match="leaf tensor that requires grad"):
            function(leaf.reshape(4, 5, 6, 5), inplace=True)


@pytest.mark.parametrize("shape", [(50, 40, 2, 3), (2000, 3, 2)])
def test_whole_channels_are_dropped(shape):
    x = mc.tensor(np.abs(normal(shape)) + 1, requires_grad=True)
    y = F.dropout2d(x, 0.3)
    kept = kept_of(y)
    channels = kept[..., :1, :1]
    np.testing.assert_array_equal(kept, np.broadcast_to(channels, shape))
    assert abs(channels.mean() - 0.7) < 5 * np.sqrt(0.21 / channels.size)
    assert_close(y.detach(), np.where(kept, x.detach().numpy() / 0.7, 0), 1e-12)
    y.sum().backward()
    assert_close(x.grad, kept / 0.7, 1e-12)


def test_empty_batches():
    assert F.dropout(mc.zeros(0, 3)).shape == (0, 3) and F.dropout2d(mc.zeros(0, 3, 2, 2)).shape == (0, 3, 2, 2)
    assert F.dropout2d(mc.zeros(2, 3, 0, 2)).shape == (2, 3, 0, 2)


def test_reference_kernels_draw_the_same_mask():
    x = mc.tensor(normal((30, 7)))
    y = F.dropout(x, 0.4, generator=generator())
    with mc.use_kernels("reference"):
        assert_close(F.dropout(x, 0.4, generator=generator()), y, 1e-12)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("name", ["dropout", "dropout2d"])
def test_p_must_be_a_probability(name, p):
    with pytest.raises(ValueError, match=f"{name}: p = {p} must be a probability, 0 to 1"):
        getattr(F, name)(mc.ones(2, 3, 4, 5), p)
    if p == p:  # PyTorch lets NaN through
        with pytest.raises(ValueError):
            getattr(TF, name)(torch.ones(2, 3, 4, 5), p)


def test_other_refusals():
    with pytest.raises(RuntimeError, match="dropout: x is int64"):
        F.dropout(mc.ones(3).long())
    with pytest.raises(RuntimeError, match=r"dropout2d: x must be \(N, C, H, W\) or \(C, H, W\), not \(2, 3\)"):
        F.dropout2d(mc.ones(2, 3))
