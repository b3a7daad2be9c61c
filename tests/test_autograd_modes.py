"""Modes of recording and the detection of anomalies, beside PyTorch's."""

import threading

import numpy as np
import pytest
import torch

import minicnn as mc
import minicnn.functional as F
from minicnn.engine import mode

from util import assert_close, constant, leaf

BOTH = (mc, torch)


# -- modes ----------------------------------------------------------------------------------------------------------

def test_modes_as_blocks():
    def modes(m):
        seen = [m.is_grad_enabled()]
        with m.no_grad():
            seen.append(m.is_grad_enabled())
            with m.enable_grad():
                seen.append(m.is_grad_enabled())
            with m.set_grad_enabled(True), m.inference_mode():
                seen.append(m.is_grad_enabled())
            with m.inference_mode(mode=False):
                seen.append(m.is_grad_enabled())
            seen.append(m.is_grad_enabled())
            with pytest.raises(KeyError), m.set_grad_enabled(True):
                raise KeyError
            seen.append(m.is_grad_enabled())
        return [*seen, m.is_grad_enabled()]

    assert modes(mc) == modes(torch) == [True, False, True, False, True, False, False, True]


def test_set_grad_enabled_as_a_statement():
    for m in BOTH:
        m.set_grad_enabled(False)
        try:
            assert not m.is_grad_enabled() and not (leaf(m) * 2).requires_grad
        finally:
            m.set_grad_enabled(True)
        assert (leaf(m) * 2).requires_grad


def test_modes_as_decorators():
    for m in BOTH:
        x = leaf(m)
        switches = (m.no_grad(), m.no_grad, m.inference_mode(), m.inference_mode, m.inference_mode(True),
                    m.set_grad_enabled(False))
        double = [switch(lambda t: t * 2) for switch in switches]
        assert m.is_grad_enabled()
        for f in double:
            assert [f(x).requires_grad for _ in range(2)] == [False, False] and m.is_grad_enabled()

        with m.no_grad():
            assert m.enable_grad()(lambda t: t * 2)(x).requires_grad and not m.is_grad_enabled()


def test_a_decorated_function_may_call_itself():
    @mc.no_grad()
    def nested(depth):
        return mc.is_grad_enabled() or depth and nested(depth - 1)

    assert not nested(3) and mc.is_grad_enabled()


def test_tensors_of_inference_mode_can_be_used_later():
    with mc.inference_mode():
        w = constant(mc) * 2
    x = leaf(mc)
    (x * w).sum().backward()
    assert_close(x.grad, w, 1e-12)


def test_modes_belong_to_a_thread():
    seen = []
    with mc.no_grad(), mc.autograd.detect_anomaly():
        thread = threading.Thread(target=lambda: seen.append((mc.is_grad_enabled(), mode.anomaly)))
        thread.start()
        thread.join()
    assert seen == [(True, False)]


# -- anomaly --------------------------------------------------------------------------------------------------------

def test_anomaly_in_forward_names_operation_and_line():
    x = mc.zeros(2, requires_grad=True)
    with mc.autograd.detect_anomaly(), \
            pytest.raises(RuntimeError, match=r"(?s)Div returned nan values from inputs without any.*quotient = x / x"):
        quotient = x / x  # noqa: F841
    assert not mode.anomaly


def test_anomaly_in_backward_names_operation_and_line():
    x = mc.zeros(2, requires_grad=True)
    message = r"(?s)SqrtBackward returned nan values in its gradient of input 0.*root = x.sqrt\(\)"
    with mc.autograd.detect_anomaly(), pytest.raises(RuntimeError, match=message):
        root = x.sqrt()
        (root * 0).sum().backward()
    y = x.sqrt()  # outside, NaN is a value like any other
    (y * 0).sum().backward()
    assert np.isnan(x.grad.numpy()).all()


def test_anomaly_knows_that_a_node_was_made_outside():
    x = mc.zeros(2, requires_grad=True)
    loss = (x.sqrt() * 0).sum()
    with mc.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="recorded outside detect_anomaly"):
        loss.backward()


def test_nan_that_came_in_is_no_anomaly():
    x = mc.tensor([float("nan"), 1.0], requires_grad=True)
    with mc.autograd.detect_anomaly():
        (x * 2 + 1).sum().backward()
        F.relu(x).sum().backward()
