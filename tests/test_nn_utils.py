"""Clipping of gradients, and parameters as one vector, beside PyTorch's."""

import math

import numpy as np
import pytest
import torch
from util import FIRST, SINGLE, assert_close, normal

import minicnn as mc
from minicnn import nn

SHAPES = ((3, 4), (5,), (2, 1, 3))


def parameters(dtype="float64", gradients=True, scale=1.0):
    """Equal parameters with equal gradients in both libraries; the last has none."""
    arrays = [normal(shape, i).astype(dtype) for i, shape in enumerate(SHAPES)]
    ours = [nn.Parameter(mc.tensor(a)) for a in arrays] + [nn.Parameter(mc.ones(2))]
    theirs = [torch.nn.Parameter(torch.from_numpy(a.copy())) for a in arrays] + [torch.nn.Parameter(torch.ones(2))]
    for p, q, a in zip(ours, theirs, arrays if gradients else [], strict=False):
        p.grad, q.grad = mc.tensor(a * scale), torch.from_numpy(a * np.array(scale, a.dtype))
    return ours, theirs


@pytest.mark.parametrize("dtype, tolerance", [("float64", FIRST), ("float32", SINGLE), ("float16", 1e-2)])
@pytest.mark.parametrize("norm_type", [2.0, 1, 3.5, math.inf, 0])
@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clipping_the_norm(max_norm, norm_type, dtype, tolerance):
    ours, theirs = parameters(dtype)
    a = nn.utils.clip_grad_norm_(ours, max_norm, norm_type)
    b = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert_close(a, b, tolerance)
    for p, q in zip(ours[:-1], theirs, strict=False):
        assert_close(p.grad, q.grad, tolerance)
    assert ours[-1].grad is None


def test_clipping_of_one_tensor_of_a_generator_and_of_nothing():
    ours, theirs = parameters()
    assert_close(nn.utils.clip_grad_norm_(ours[0], 0.1), torch.nn.utils.clip_grad_norm_(theirs[0], 0.1), FIRST)
    assert_close(nn.utils.clip_grad_norm_((p for p in ours), 0.1), torch.nn.utils.clip_grad_norm_(theirs, 0.1), FIRST)
    assert_close(nn.utils.clip_grad_norm_([], 0.1), torch.nn.utils.clip_grad_norm_([], 0.1), 0)


def test_clipping_half_precision_does_not_overflow():
    p = nn.Parameter(mc.ones(100, dtype=mc.float16))
    p.grad = mc.full((100,), 1000.0, dtype=mc.float16)
    assert nn.utils.clip_grad_norm_(p, 1.0).item() == 10000
    np.testing.assert_allclose(p.grad.numpy(), 0.1, rtol=1e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_gradients_that_are_not_finite(bad):
    ours, theirs = parameters()
    ours[1].grad.data[2] = bad
    theirs[1].grad[2] = bad
    with pytest.raises(RuntimeError, match="the norm of order 2.0 of the gradients is"):
        nn.utils.clip_grad_norm_(ours, 1.0, error_if_nonfinite=True)
    assert_close(nn.utils.clip_grad_norm_(ours, 1.0), torch.nn.utils.clip_grad_norm_(theirs, 1.0), FIRST)
    for p, q in zip(ours[:-1], theirs, strict=False):
        assert_close(p.grad, q.grad, FIRST)


def test_clipping_values():
    ours, theirs = parameters()
    arrays = [p.grad.data for p in ours[:-1]]
    nn.utils.clip_grad_value_(ours, 0.3)
    torch.nn.utils.clip_grad_value_(theirs, 0.3)
    for p, q, a in zip(ours[:-1], theirs, arrays, strict=False):
        assert_close(p.grad, q.grad, 0)
        assert p.grad.data is a, "in place"


def test_bounds_below_zero_are_refused():
    """PyTorch turns gradients round, or sets all of them to the bound."""
    p = nn.Parameter(mc.ones(3))
    p.grad = mc.ones(3)
    with pytest.raises(ValueError, match="clip_grad_norm_: max_norm = -1.0 must be at least 0"):
        nn.utils.clip_grad_norm_(p, -1.0)
    with pytest.raises(ValueError, match="clip_grad_value_: clip_value = nan must be at least 0"):
        nn.utils.clip_grad_value_(p, float("nan"))
    assert (p.grad.numpy() == 1).all()


def test_clipping_a_recorded_gradient_is_noticed():
    p = nn.Parameter(mc.ones(3))
    (p ** 3).sum().backward(create_graph=True)
    second = (p.grad ** 2).sum()
    nn.utils.clip_grad_norm_(p, 0.1)
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        second.backward()


def test_parameters_as_a_vector_and_back():
    ours, theirs = parameters(gradients=False)
    vector, expected = nn.utils.parameters_to_vector(ours[:-1]), torch.nn.utils.parameters_to_vector(theirs[:-1])
    assert_close(vector, expected, 0)
    (vector ** 2).sum().backward()
    np.testing.assert_allclose(ours[1].grad.numpy(), 2 * ours[1].detach().numpy())
    arrays = [p.data for p in ours[:-1]]
    nn.utils.vector_to_parameters(vector.detach() + 1, iter(ours[:-1]))
    torch.nn.utils.vector_to_parameters(expected.detach() + 1, theirs[:-1])
    for p, q, a in zip(ours[:-1], theirs, arrays, strict=False):
        assert_close(p, q, 0)
        assert p.data is a
    with pytest.raises(ValueError, match=r"vec has shape \(4,\), but the parameters have 23 elements"):
        nn.utils.vector_to_parameters(mc.ones(4), ours[:-1])


@pytest.mark.parametrize("dims, transpose", [(1, False), (2, False), (3, False), (1, True), (2, True), (3, True)])
@pytest.mark.parametrize("groups, bias, affine", [(1, True, True), (2, False, True), (2, True, False)])
def test_fused_convolution_is_both_layers(dims, transpose, groups, bias, affine):
    """Against PyTorch's two layers one after the other, with weights and statistics that are not the initial ones."""
    name, size = f"Conv{'Transpose' * transpose}{dims}d", (7, 6, 5)[:dims]
    options = {"stride": 2, "groups": groups, "bias": bias}
    conv = getattr(nn, name)(4, 6, 3, **options).double()
    bn = getattr(nn, f"BatchNorm{dims}d")(6, affine=affine).double()
    conv_, bn_ = (getattr(torch.nn, name)(4, 6, 3, **options).double(),
                  getattr(torch.nn, f"BatchNorm{dims}d")(6, affine=affine).double())
    for module, twin in ((conv, conv_), (bn, bn_)):
        state = {key: normal(tuple(v.shape), i) ** 2 + 0.1 for i, (key, v) in enumerate(twin.state_dict().items())
                 if key != "num_batches_tracked"}
        module.load_state_dict({key: mc.tensor(a) for key, a in state.items()}, strict=False)
        twin.load_state_dict({key: torch.from_numpy(a) for key, a in state.items()}, strict=False)
    x = normal((2, 4, *size))
    before = {key: v.numpy().copy() for key, v in conv.state_dict().items()}
    fused = nn.utils.fuse_conv_bn_eval(conv.eval(), bn.eval(), transpose)
    assert_close(fused(mc.tensor(x)), bn_.eval()(conv_.eval()(torch.from_numpy(x))), FIRST)
    assert all(np.array_equal(v.numpy(), before[key]) for key, v in conv.state_dict().items())


def test_layers_that_cannot_be_fused():
    conv, bn = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)
    with pytest.raises(ValueError, match="must be in evaluation mode; call eval"):
        nn.utils.fuse_conv_bn_eval(conv.eval(), bn)
    with pytest.raises(ValueError, match="keeps no running statistics"):
        nn.utils.fuse_conv_bn_eval(conv.eval(), nn.BatchNorm2d(2, track_running_stats=False).eval())
