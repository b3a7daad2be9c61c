"""autograd.grad beside PyTorch's: several outputs and inputs, hooks, freed graphs, higher orders."""

import numpy as np
import pytest

from util import check_op, constant, leaf, refused, same


def test_grad_of_several_outputs_with_several_inputs():
    def program(m):
        x, w, v = leaf(m), leaf(m, seed=1), leaf(m, (3,), 2)
        a, b, c = x * w, (w * v).sum(), x.exp()
        found = m.autograd.grad([a, b, c], [w, x, v], [constant(m), None, constant(m, seed=8)])
        assert x.grad is w.grad is v.grad is None
        return found

    same(program)


def test_grad_with_respect_to_intermediate_results():
    def program(m):
        x = leaf(m)
        y = x * 2
        z = y * y
        u = (z + y).sum()
        return m.autograd.grad(u, [y, x, z, u, y])

    same(program)


def test_grad_of_a_leaf_and_of_itself():
    def program(m):
        x, seeds = leaf(m), [constant(m, seed=i) for i in range(3)]
        y = x.exp()
        return *m.autograd.grad(x, x, constant(m)), *m.autograd.grad([y, y, x], [y, x], seeds)

    same(program)


def test_unused_inputs():
    def program(m):
        x, w = leaf(m), leaf(m, seed=1)
        v = w * 2
        return m.autograd.grad(x.sum(), [w, x, v], allow_unused=True)

    same(program)
    refused(lambda m: m.autograd.grad(leaf(m).sum(), [leaf(m, (4,))]), r"input 0 \(shape \(4,\)\) was not used")


def test_grad_runs_the_hooks_of_what_it_passes_and_returns():
    def program(m):
        x, w, calls = leaf(m), leaf(m, seed=1), []
        x.register_hook(lambda g: g * 2)
        w.register_hook(lambda g: calls.append(g))
        y = x * w
        y.register_hook(lambda g: g + 1)
        loss = y.sum()
        found = *m.autograd.grad(loss, x, retain_graph=True), *m.autograd.grad(loss, y)
        assert not calls  # w was not asked for
        return found

    same(program)


def test_grad_frees_the_graph_unless_it_is_retained():
    def program(m, **options):
        x = leaf(m)
        y = (x * x).sum()
        m.autograd.grad(y, x, **options)
        return m.autograd.grad(y, x)

    refused(program, "the graph was freed by an earlier backward")
    same(lambda m: program(m, retain_graph=True))
    same(lambda m: program(m, create_graph=True))


@pytest.mark.parametrize("program, match", [
    (lambda m: m.autograd.grad(leaf(m), leaf(m)), "only for scalar outputs"),
    (lambda m: m.autograd.grad(leaf(m).sum(), []), "inputs is empty"),
    (lambda m: m.autograd.grad(leaf(m).sum(), constant(m)), "input 0 does not require a gradient"),
    (lambda m: m.autograd.grad(constant(m).sum(), leaf(m)), "does not require grad"),
    (lambda m: m.autograd.grad([leaf(m).sum()], leaf(m), [None, None]), "2 grad_outputs for 1 outputs"),
    (lambda m: m.autograd.grad(leaf(m), leaf(m), constant(m, (3, 2))), r"gradient has shape \(3, 2\)"),
])
def test_wrong_calls_of_grad(program, match):
    refused(program, match)


def test_third_derivatives_and_mixed_ones():
    def program(m):
        x, w = leaf(m), leaf(m, seed=1)
        y = (x * w).exp().sum()
        gx, gw = m.autograd.grad(y, [x, w], create_graph=True)
        gxw, = m.autograd.grad(gx.sum(), [w], create_graph=True)
        return gx, gw, gxw, *m.autograd.grad((gxw * gw).sum(), [x, w])

    same(program)


@pytest.mark.parametrize("f", [lambda a, b: a / b, lambda a, b: (a * b).tanh().sigmoid(),
                               lambda a, b: (a - b).abs().sqrt().log(), lambda a, b: a.exp() ** b])
def test_second_order_without_axes(f):
    """What a 0-d operation saves of its result still has a history, although NumPy calculates it as a bare scalar."""
    check_op(f, f, np.array(0.7), np.array(1.3))
