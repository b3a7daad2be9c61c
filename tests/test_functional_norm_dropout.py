"""Normalisation: numerics, memory, types, running statistics; dropout against what it promises.

What normalisation computes for ordinary numbers, and what is refused, is in operators/normalisation.py.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

import minicnn as mc
import minicnn.functional as F
from minicnn.autograd import gradcheck, gradgradcheck

from util import assert_close, check_op, check_raises, in_both, normal

TF = torch.nn.functional
C = 4
NORMALISATIONS: dict[str, Callable] = {  # of x (N, C, H, W), w (C) and b (C)
    "batch_norm": lambda f, x, w, b: f.batch_norm(x, None, None, w, b, True),
    "instance_norm": lambda f, x, w, b: f.instance_norm(x, None, None, w, b),
    "group_norm": lambda f, x, w, b: f.group_norm(x, 2, w, b),
    "layer_norm": lambda f, x, w, b: f.layer_norm(x.permute(0, 2, 3, 1), (C,), w, b),
    "rms_norm": lambda f, x, w, b: f.rms_norm(x.permute(0, 2, 3, 1), (C,), w) + b,
    "local_response_norm": lambda f, x, w, b: f.local_response_norm(x * w[:, None, None], 3, 0.5) + b[:, None, None],
}
EACH = pytest.mark.parametrize("name", NORMALISATIONS)


@EACH
def test_reference_kernels(name):
    with mc.use_kernels("reference"):
        check_op(*in_both(NORMALISATIONS[name]), normal((2, C, 2, 3)), normal((C,), 1), normal((C,), 2))


@EACH
def test_memory_in_any_order(name):
    def program(f, x, w):
        return NORMALISATIONS[name](f, x.permute(3, 1, 0, 2), w.expand(C), w.expand(C)).permute(2, 0, 1, 3).sum(0)

    check_op(*in_both(program), normal((2, C, 4, 5)), normal((1,)))


@EACH
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32_and_rounded(name, dtype):
    x, w, b = [mc.tensor(a, dtype=dtype, requires_grad=True)
               for a in (30 * normal((2, C, 5, 3)) + 300, normal((C,), 1), normal((C,), 2))]
    exact = [torch.tensor(t.detach().double().numpy(), requires_grad=True) for t in (x, w, b)]
    y, expected = NORMALISATIONS[name](F, x, w, b), NORMALISATIONS[name](TF, *exact)
    y.sum().backward(), expected.sum().backward()
    assert y.dtype == x.dtype
    unit = 2.0 ** -11 if dtype == "float16" else 2.0 ** -8
    rounded = 1 if name in ("batch_norm", "instance_norm", "group_norm", "layer_norm") else 4
    assert_close(y.detach().double(), expected, rounded * unit)
    assert_close(w.grad.double(), exact[1].grad, 4 * unit)


@pytest.mark.parametrize("name", ["batch_norm", "instance_norm", "group_norm", "layer_norm", "rms_norm"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # of PyTorch's rms_norm: it is slower
def test_half_precision_with_parameters_in_float32(name, dtype):
    results = []
    for m, functions in ((mc, F), (torch, TF)):
        x = m.tensor(normal((2, C, 5, 3))).to(getattr(m, dtype)).requires_grad_()
        w, b = (m.tensor(normal((C,), i)).float().requires_grad_() for i in (1, 2))
        y = NORMALISATIONS[name](functions, x, w, b)
        results.append([y, *m.autograd.grad((y * y).sum(), [x, w, b])])
    for ours, theirs in zip(*results):
        assert str(theirs.dtype) == f"torch.{ours.dtype}"
        assert_close(ours.detach().float(), theirs.detach().float(), 2e-3 if dtype == "float16" else 2e-2)


@pytest.mark.parametrize("x, w, stats", [("float32", "float16", "float32"), ("float16", "float16", "float32"),
                                         ("float16", "float32", "float16"), ("float16", "float64", "float64"),
                                         ("int8", "float32", "float32"), ("float64", "float32", "float32")])
def test_other_mixed_types_are_refused(x, w, stats):
    check_raises(*[lambda m=m, f=f: f.batch_norm(m.ones(2, 3).to(getattr(m, x)), *[
        m.ones(3).to(getattr(m, dtype)) for dtype in (stats, stats, w, w)], training=True)
        for m, f in ((mc, F), (torch, TF))], match="same floating type")


@pytest.mark.parametrize("mean, spread", [(1000, 0.1), (30, 1), (1, 0.001), (5, 0)])
@pytest.mark.parametrize("name", ["batch_norm", "instance_norm", "group_norm", "layer_norm"])
def test_a_large_mean_costs_no_more_digits_than_in_pytorch(name, mean, spread):
    """Values around a mean, in float32: how far outputs and gradients are from what float64 gives."""
    arrays = mean + spread * normal((64, C, 8, 8)), normal((C,), 1), normal((C,), 2)
    exact, ours, theirs = [], [], []
    for results, functions, tensor, dtype in ((exact, TF, torch.tensor, "float64"), (ours, F, mc.tensor, "float32"),
                                              (theirs, TF, torch.tensor, "float32")):
        tensors = [tensor(a.astype("float32").astype(dtype), requires_grad=True) for a in arrays]
        y = NORMALISATIONS[name](functions, *tensors)
        y.backward(tensor(normal(tuple(y.shape), 3).astype("float32").astype(dtype)))
        results += [t.detach().numpy() for t in (y, *[t.grad for t in tensors])]
    for what, truth, a, b in zip(("y", "gx", "gw", "gb"), exact, ours, theirs, strict=True):
        off, allowed, size = [math.sqrt((d * d).mean()) for d in (a - truth, b - truth, truth)]
        assert off <= max(1.1 * allowed, 1e-6 * size), what


@pytest.mark.parametrize("name", ["batch_norm", "instance_norm", "group_norm", "layer_norm"])
def test_where_there_is_no_variance(name):
    x = normal((4, C, 2, 3))
    x[1, :2], x[:, 1] = 3.0, 3.0
    x[2, :, 1] = 5.0
    check_op(*in_both(NORMALISATIONS[name]), x, normal((C,), 1), normal((C,), 2), tolerance=1e-8)


@EACH
def test_empty_batches(name):
    arrays = [mc.tensor(a, requires_grad=True) for a in (np.zeros((0, C, 2, 3)), np.ones(C), np.ones(C))]
    for x in arrays:
        x.grad = None
    y = NORMALISATIONS[name](F, *arrays)
    assert y.numel() == 0
    y.sum().backward()
    assert arrays[0].grad.shape == (0, C, 2, 3) and arrays[1].grad.tolist() == arrays[2].grad.tolist() == [0] * C


# -- running statistics ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["batch_norm", "instance_norm"])
def test_statistics_are_written_in_place_and_noticed(name):
    mean, var = mc.zeros(C), mc.ones(C)
    before, versions = (mean.data, var.data), (mean._version, var._version)
    x = mc.tensor(normal((4, C, 3)), dtype=mc.float32)
    getattr(F, name)(x, mean, var, None, None, True)
    assert mean.data is before[0] and var.data is before[1] and mean.numpy().all()
    assert (mean._version, var._version) == (versions[0] + 1, versions[1] + 1)
    getattr(F, name)(x, mean, var, None, None, False)
    getattr(F, name)(mc.zeros(0, C, 3), mean, var, None, None, True)
    assert (mean._version, var._version) == (versions[0] + 1, versions[1] + 1)


def test_statistics_that_cannot_be_written():
    mean, var = mc.zeros(1).expand(C), mc.ones(C)
    with pytest.raises(RuntimeError, match="memory of this tensor is read-only"):
        F.batch_norm(mc.ones(3, C), mean, var, training=True)
    F.batch_norm(mc.ones(3, C), mean, var)


def test_a_variance_of_zero_is_not_divided_by():
    for library, function in ((mc, F.batch_norm), (torch, torch.nn.functional.batch_norm)):
        x, mean, var = library.ones(3, C), library.zeros(C), library.ones(C)
        with pytest.raises(ValueError, match="eps .*must be positive (in|during) training"):
            function(x, mean, var, training=True, eps=0)
        assert (function(x, mean, var, eps=0) == 1).all()


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 5)])
def test_a_variance_beyond_float32_is_infinite_in_every_order(shape):
    """As in PyTorch: all that depends on it is 0."""
    x, gy = np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)
    x *= 1e25
    t = torch.from_numpy(x).requires_grad_()
    tw = torch.ones(3, requires_grad=True)
    expected = torch.autograd.grad(TF.batch_norm(t, None, None, tw, None, True), [t, tw], torch.from_numpy(gy))
    for recorded in (False, True):
        a, w = mc.tensor(x, requires_grad=True), mc.ones(3, requires_grad=True)
        with np.errstate(all="ignore"):
            found = mc.autograd.grad(F.batch_norm(a, None, None, w, None, True), [a, w], mc.tensor(gy),
                                     create_graph=recorded)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one.detach().numpy(), other.numpy())


def test_statistics_of_half_precision():
    mean, var = mc.zeros(C, dtype=mc.float16), mc.ones(C, dtype=mc.float16)
    x = 100 + 3 * normal((50, C))
    F.batch_norm(mc.tensor(x, dtype=mc.float16), mean, var, training=True, momentum=1.0)
    np.testing.assert_allclose(mean.numpy(), x.mean(0), rtol=1e-3)
    np.testing.assert_allclose(var.numpy(), x.var(0, ddof=1), rtol=1e-2)


# -- what only we say -----------------------------------------------------------------------------------------------

def test_local_response_norm_is_that_of_the_paper():
    """b[i] = a[i]/(k + α·Σ a[j]²)^β over the n channels from i − n/2 to i + n/2, α for the sum."""
    a, n, k, alpha, beta = normal((2, 9, 4, 3)), 5, 2.0, 0.3, 0.75
    b = np.empty_like(a)
    for i in range(9):
        b[:, i] = a[:, i] / (k + alpha * (a[:, max(0, i - n // 2):i + n // 2 + 1] ** 2).sum(1)) ** beta
    assert_close(F.local_response_norm(mc.tensor(a), n, alpha * n, beta, k), b, 1e-12)


def test_group_norm_of_one_group_and_of_all():
    """One group: the whole image, as in layer norm; one channel per group: instance norm."""
    x = mc.tensor(normal((3, C, 5, 2)))
    assert_close(F.group_norm(x, 1), F.layer_norm(x, x.shape[1:]), 1e-12)
    assert_close(F.group_norm(x, C), F.instance_norm(x), 1e-12)
    with pytest.raises(RuntimeError, match="group_norm: num_groups = 0 must be positive and divide the 4 channels"):
        F.group_norm(x, 0)


@EACH
def test_one_floating_type(name):
    if name != "local_response_norm":  # of one tensor
        with pytest.raises(RuntimeError, match=f"{name}: x is float64, weight is float32.*; all must have the same"):
            NORMALISATIONS[name](F, mc.ones(2, C, 2, 3).double(), mc.ones(C), mc.ones(C))
    with pytest.raises(RuntimeError, match=f"{name}: x is int64"):
        NORMALISATIONS[name](F, mc.ones(2, C, 2, 3).long(), mc.ones(C).long(), mc.ones(C).long())


# -- dropout --------------------------------------------------------------------------------------------------------

CHANNELS = [("dropout1d", (50, 40, 3)), ("dropout1d", (2000, 3)), ("dropout2d", (50, 40, 2, 3)),
            ("dropout2d", (2000, 3, 2)), ("dropout3d", (50, 40, 2, 3, 2)), ("dropout3d", (2000, 3, 2, 1))]
ALPHA = -1.7580993408473766  # what selu approaches far below 0


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
    x = mc.ones(shape, dtype=dtype, requires_grad=True)
    gy = mc.tensor(normal(shape), dtype=dtype)
    y = F.dropout(x, 0.4)
    y.backward(gy)
    assert_close(x.grad, y.detach().numpy() * gy.numpy(), 1e-6)


def test_first_and_second_order():
    x = mc.tensor(normal((4, 5)), requires_grad=True)
    for function in (lambda t: F.dropout(t, 0.4, generator=generator()),
                     lambda t: F.dropout2d(t.reshape(2, 2, 5, 1), 0.4, generator=generator()).square(),
                     lambda t: F.alpha_dropout(t, 0.4, True, generator=generator()).square(),
                     lambda t: F.feature_alpha_dropout(t.reshape(2, 2, 5), 0.4, True, generator=generator()).square()):
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


@pytest.mark.parametrize("name, shape", [("dropout", (4, 5)), ("dropout2d", (2, 3, 4, 5)), ("dropout2d", (3, 4, 5)),
                                         ("alpha_dropout", (4, 5)), ("feature_alpha_dropout", (4, 5, 2))])
def test_when_nothing_or_everything_is_dropped(name, shape):
    function = getattr(F, name)
    x = mc.tensor(normal(shape), requires_grad=True)
    assert function(x, 0.0, True) is x and function(x, 0.5, False) is x and function(x, 1.0, False) is x
    y = function(x, 1.0, True)
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


@pytest.mark.parametrize("name", ["dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout",
                                  "feature_alpha_dropout"])
def test_in_place(name):
    shape = (20, 3, 2, 4) if name in ("dropout2d", "dropout3d") else (40, 3, 4)
    x, function = normal(shape), getattr(F, name)
    leaf = mc.tensor(x, requires_grad=True)
    y = leaf * 2
    assert function(y, 0.3, True, True, generator=generator()) is y
    expected = function(mc.tensor(x * 2), 0.3, True, generator=generator())
    assert_close(y.detach(), expected, 1e-12)
    y.sum().backward()
    alpha = "alpha" in name
    slope, lowest = (0.7 * (1 + 0.3 * ALPHA ** 2)) ** -0.5 if alpha else 1 / 0.7, ALPHA if alpha else 0
    kept = ~np.isclose(y.detach().numpy(), slope * 0.7 * lowest, rtol=0, atol=1e-12)
    assert_close(leaf.grad, kept * 2 * slope, 1e-12)
    with pytest.raises(RuntimeError, match="leaf tensor that requires grad"):
        function(leaf.reshape(shape), 0.3, True, True)


@pytest.mark.parametrize("name, shape", CHANNELS)
def test_whole_channels_are_dropped(name, shape):
    x = mc.tensor(np.abs(normal(shape)) + 1, requires_grad=True)
    y = getattr(F, name)(x, 0.3)
    kept, spatial = kept_of(y), int(name[-2])
    channels = kept[(..., *[slice(1)] * spatial)]
    np.testing.assert_array_equal(kept, np.broadcast_to(channels, shape))
    assert abs(channels.mean() - 0.7) < 5 * np.sqrt(0.21 / channels.size)
    assert_close(y.detach(), np.where(kept, x.detach().numpy() / 0.7, 0), 1e-12)
    y.sum().backward()
    assert_close(x.grad, kept / 0.7, 1e-12)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("name, shape", [("alpha_dropout", (200, 300)), ("feature_alpha_dropout", (200, 300, 4))])
def test_alpha_dropout_keeps_mean_and_variance(name, shape, p):
    """Of what is normal with mean 0 and variance 1; what is dropped has one value, that of selu far below 0, scaled."""
    x = mc.tensor(normal(shape), requires_grad=True)
    y = getattr(F, name)(x, p, True)
    scale = ((1 - p) * (1 + p * ALPHA ** 2)) ** -0.5
    dropped = np.isclose(y.detach().numpy(), scale * (1 - p) * ALPHA, rtol=0, atol=1e-12)
    drawn = dropped[:, :, 0] if len(shape) == 3 else dropped
    assert abs(drawn.mean() - p) < 5 * math.sqrt(p * (1 - p) / drawn.size)
    assert (dropped == drawn.reshape(*shape[:2], *[1] * (len(shape) - 2))).all()
    assert abs(y.mean().item()) < 0.02 and abs(y.var().item() - 1) < 0.02
    assert_close(y.detach().numpy()[~dropped], (scale * (x.detach().numpy() - p * ALPHA))[~dropped], 1e-12)
    y.sum().backward()
    assert_close(x.grad, np.where(dropped, 0, scale), 1e-12)


def test_reference_kernels_draw_the_same_mask():
    x = mc.tensor(normal((30, 7)))
    y = F.dropout(x, 0.4, generator=generator())
    with mc.use_kernels("reference"):
        assert_close(F.dropout(x, 0.4, generator=generator()), y, 1e-12)


def test_refusals():
    """What PyTorch lets through, or only warns of."""
    with pytest.raises(ValueError, match="dropout: p = nan must be a probability, 0 to 1"):
        F.dropout(mc.ones(3), float("nan"))
    for name, axes in (("dropout2d", "H, W"), ("dropout3d", "D, H, W")):
        with pytest.raises(RuntimeError, match=rf"{name}: x must be \(N, C, {axes}\) or \(C, {axes}\), not \(2, 3\)"):
            getattr(F, name)(mc.ones(2, 3))
