"""The backward walk: sums of gradients, hooks, freed graphs. Expected values come from PyTorch."""

import contextvars
import math
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import minicnn as mc
import minicnn.functional as F
from minicnn.engine import Function, silence

from util import assert_close, constant, leaf, normal, refused, same

# -- sums of gradients ----------------------------------------------------------------------------------------------

def test_gradients_of_all_uses_are_added():
    def program(m):
        x, w = leaf(m), leaf(m, seed=1)
        y = x * w + x
        z = (y * y).sum() + (x - y).square().sum() + y.sum() * x.sum()
        z.backward()
        return x.grad, w.grad

    same(program)


def test_a_second_backward_adds_to_grad_in_place():
    def program(m):
        x = leaf(m)
        (x * x).sum().backward()
        kept = x.grad
        (x * 3).sum().backward()
        assert kept is x.grad
        return (kept,)

    same(program)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.filterwarnings("ignore:Using backward")  # PyTorch warns of the cycle that create_graph makes
def test_no_two_tensors_share_the_memory_of_a_gradient(create_graph):
    a, b, c = (leaf(mc, seed=i) for i in range(3))
    seed = constant(mc)
    y = a + b
    z = y.reshape(6).reshape(2, 3) + c
    y.retain_grad(), z.retain_grad()
    z.backward(seed, create_graph=create_graph)
    gradients = [t.grad.data for t in (a, b, c, y, z)] + [seed.data]
    for i, g in enumerate(gradients):
        np.testing.assert_array_equal(g, seed.data)
        assert not any(np.shares_memory(g, other) for other in gradients[:i])


def test_what_a_hook_keeps_and_returns_is_not_the_memory_of_grad():
    seen, returned = [], constant(mc)
    a, b = leaf(mc), leaf(mc, seed=1)
    a.register_hook(seen.append)
    b.register_hook(lambda g: returned)
    (a + b).backward(constant(mc))
    assert not np.shares_memory(seen[0].data, a.grad.data)
    assert not np.shares_memory(returned.data, b.grad.data)


def test_gradient_of_an_expanded_sum_is_a_full_writable_array():
    x = leaf(mc)
    x.sum().backward()
    x.grad.mul_(2)
    np.testing.assert_array_equal(x.grad.numpy(), np.full((2, 3), 2.0))


def test_sums_do_not_change_gradients_that_others_received():
    """Three gradients meet at y; the first to arrive is also what z got."""
    def program(m):
        x = leaf(m)
        y = x * 2
        z = y + 0  # its gradient is handed on to y as it is
        z.retain_grad()
        (z.sum() + (y * 3).sum() + (y * 5).sum()).backward()
        return z.grad, x.grad

    same(program)


def test_backward_accumulates_into_inputs_only():
    def program(m):
        x, w = leaf(m), leaf(m, seed=1)
        y = x * w
        (y * y).sum().backward(inputs=[x, y, x])
        return x.grad, w.grad, y.grad

    with pytest.warns(UserWarning, match="non-leaf"):  # torch reads .grad of y, which does not retain it
        torch.zeros(1, requires_grad=True).mul(1).grad  # noqa: B018
    same(program)


def test_backward_of_a_leaf_and_of_an_output_twice():
    def program(m):
        x = leaf(m, ())
        x.backward()
        y = x * x
        y.backward(retain_graph=True)
        y.backward()
        return (x.grad,)

    same(program)


@pytest.mark.parametrize("program, match", [
    (lambda m: leaf(m).backward(), "only for scalar outputs, not for shape"),
    (lambda m: constant(m, ()).backward(), "does not require grad"),
    (lambda m: leaf(m).sum().backward(constant(m)), r"gradient has shape \(2, 3\), but the output has shape \(\)"),
    (lambda m: leaf(m).sum().backward(inputs=[]), "inputs is empty"),
    (lambda m: leaf(m).sum().backward(inputs=[constant(m)]), "input 0 .* does not require a gradient"),
    (lambda m: constant(m).register_hook(print), "does not require a gradient"),
    (lambda m: constant(m).retain_grad(), "does not require a gradient"),
    (lambda m: m.tensor([1, 2]).requires_grad_(), "only floating point tensors can require gradients, this .* int64"),
    (lambda m: (leaf(m) * 2).requires_grad_(False), "only for leaf tensors; use x.detach"),
])
def test_wrong_calls(program, match):
    refused(program, match)


def test_the_seed_must_be_a_tensor():
    with pytest.raises(TypeError, match="gradient must be a Tensor, not float"):
        leaf(mc, ()).backward(1.0)


def test_implicit_seed_for_one_element_of_any_rank():
    same(lambda m: (lambda x: ((x * 3).backward(), x.grad)[1:])(leaf(m, (1, 1))))


# -- hooks ----------------------------------------------------------------------------------------------------------

def test_hooks_see_and_replace_gradients():
    def program(m):
        x, seen = leaf(m), []
        x.register_hook(lambda g: seen.append(g.clone()))
        x.register_hook(lambda g: g * 2)
        x.register_hook(lambda g: seen.append(g.clone()))
        y = x * 3
        y.register_hook(lambda g: g + 1)
        y.register_hook(lambda g: seen.append(g.clone()))
        (y * y + x).sum().backward()
        return x.grad, *seen

    same(program)


def test_a_removed_hook_is_not_called():
    x, seen = leaf(mc), []
    y = x * 2
    handles = [t.register_hook(seen.append) for t in (x, y)]
    for handle in handles:
        handle.remove()
        handle.remove()  # once more does no harm
    y.sum().backward()
    assert not seen


def test_a_hook_may_remove_itself():
    def program(m):
        x, seen = leaf(m, ()), []
        handle = x.register_hook(lambda g: (seen.append(g), handle.remove())[1])
        x.register_hook(seen.append)
        (x * 1).backward()
        (x * 1).backward()
        return [len(seen) * g for g in seen]

    same(program)


def test_hooks_are_called_once_with_the_sum():
    seen = []
    x = leaf(mc)
    x.register_hook(seen.append)
    (x + x + x * x).sum().backward()
    assert len(seen) == 1
    assert_close(seen[0], 2 + 2 * x.detach().numpy(), 1e-12)


@pytest.mark.parametrize("returned, error, match", [
    (lambda g: g.sum(), RuntimeError, r"a hook gave a gradient of shape \(\) for a tensor of shape \(2, 3\)"),
    (lambda g: 1.0, TypeError, "a hook gave a gradient that is a float, not a Tensor"),
])
def test_wrong_results_of_hooks(returned, error, match):
    x = leaf(mc)
    x.register_hook(returned)
    with pytest.raises(error, match=match):
        x.sum().backward()


def test_retain_grad_is_last_and_counts_once():
    def program(m):
        x = leaf(m)
        y = x * 2
        y.retain_grad()
        y.retain_grad()
        y.register_hook(lambda g: g * 3)
        x.retain_grad()  # a leaf has its gradient anyway
        (y * y).sum().backward(retain_graph=True)
        (y * y).sum().backward()
        return x.grad, y.grad

    same(program)


def test_retain_grad_follows_a_write_in_place():
    def program(m):
        x = leaf(m)
        y = x * 2
        y.retain_grad()
        y.mul_(5)
        (y * y).sum().backward()
        return x.grad, y.grad

    same(program)


def test_a_retained_gradient_does_not_keep_its_tensor_alive():
    y = leaf(mc) * 2
    y.retain_grad()
    z, gone = y.sum(), weakref.ref(y)
    del y
    assert gone() is None
    z.backward()


# -- freed graphs ---------------------------------------------------------------------------------------------------

ONE_NODE = {
    "add": lambda x: x + 1, "neg": lambda x: -x, "mul": lambda x: x * x, "scaled": lambda x: x * 2,
    "div": lambda x: 1 / x, "sum": lambda x: x.sum(), "reshape": lambda x: x.reshape(3, 2), "exp": lambda x: x.exp(),
    "permute": lambda x: x.permute(1, 0), "clone": lambda x: x.clone(), "cast": lambda x: x.float(),
    "abs": lambda x: x.abs(), "sub": lambda x: x - x, "square": lambda x: x.square(), "item": lambda x: x[1],
    "relu": lambda x: x.relu() if isinstance(x, torch.Tensor) else F.relu(x),
}


@pytest.mark.parametrize("name", ONE_NODE)
def test_a_second_backward_raises_if_something_was_saved(name):
    def outcome(m):
        y = ONE_NODE[name](leaf(m))
        y.backward(m.ones_like(y))
        try:
            y.backward(m.ones_like(y))
        except RuntimeError as error:
            return error
        return None

    ours, theirs = outcome(mc), outcome(torch)
    assert (ours is None) == (theirs is None)
    if ours is not None:
        assert "the graph was freed by an earlier backward" in str(ours) and "retain_graph=True" in str(ours)


def test_a_node_that_saved_nothing_can_be_walked_again():
    x = leaf(mc)
    y = x.clone()
    y[0] = 1.0  # its backward asks for what was saved, which is nothing
    for _ in range(2):
        y.sum().backward()
    assert_close(x.grad, [[0.0, 0, 0], [2, 2, 2]], 1e-12)


def test_a_retained_graph_can_be_walked_again_and_again():
    def program(m):
        x = leaf(m)
        y = (x * x).exp().sum()
        for _ in range(3):
            y.backward(retain_graph=True)
        y.backward()
        return (x.grad,)

    same(program)


class TorchTwice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gy):
        return 2 * gy


class Twice(Function):
    """y = x, the very array;  gx = 2·gy."""

    def forward(self, x):
        return x

    def backward(self, gy):
        return 2 * gy


@pytest.mark.parametrize("twin", [lambda m, x: x.detach(), lambda m, x: m.nn.Parameter(x),
                                  lambda m, x: TorchTwice.apply(x) if m is torch else Twice()(x)])
def test_two_tensors_of_one_array_keep_their_own_histories(twin):
    """To the second derivative x.detach() is a constant, although its array is that of x."""
    def program(m):
        x = leaf(m)
        other = twin(m, x)
        (g,) = m.autograd.grad((x * other * (x + other).exp()).sum(), x, create_graph=True)
        return g, *m.autograd.grad((g * constant(m)).sum(), x)

    same(program)


def test_a_graph_of_gradients_outlives_its_first_backward():
    def program(m):
        x = leaf(m)
        y = (x * x * x).sum()
        g, = m.autograd.grad(y, [x], create_graph=True)
        gg, = m.autograd.grad(g.sum(), [x], create_graph=True)
        ggg, = m.autograd.grad(gg.sum(), [x])
        return g, gg, ggg

    same(program)


@pytest.mark.filterwarnings("ignore:Using backward")
def test_backward_with_create_graph_adds_recorded_gradients():
    def program(m):
        x = leaf(m)
        (x * x * x).sum().backward(create_graph=True)
        first = x.grad
        (x * x).sum().backward(create_graph=True)
        assert first.requires_grad and x.grad.requires_grad and first is not x.grad
        return x.grad, *m.autograd.grad(x.grad.sum(), [x])

    same(program)


def test_no_grad_does_not_hinder_backward_nor_create_graph():
    def program(m):
        x = leaf(m)
        y = (x * x * x).sum()
        with m.no_grad():
            g, = m.autograd.grad(y, [x], create_graph=True)
        return g, *m.autograd.grad(g.sum(), [x])

    same(program)


class Logged(Function):
    """y = a + b, with a list of what backward was asked for."""

    def __init__(self, log: list) -> None:
        self.log = log

    def forward(self, a, b):
        self.save(a)
        return a + b

    def backward(self, gy):
        self.log.append(self.needs)
        return gy if self.needs[0] else None, gy if self.needs[1] else None


def test_only_what_leads_to_an_input_is_computed():
    side, main, above = [], [], []
    x, w, v = leaf(mc), leaf(mc, seed=1), leaf(mc, seed=2)
    h = Logged(side)(w, v)
    y = Logged(main)(x, h)
    z = Logged(above)(y, h)
    mc.autograd.grad(z.sum(), [x], retain_graph=True)
    assert (side, main, above) == ([], [(True, False)], [(True, False)])
    mc.autograd.grad(z.sum(), [y], retain_graph=True)
    assert (side, len(main), above[1:]) == ([], 1, [(True, False)])
    z.sum().backward(inputs=[v])
    assert (side, main[1:], above[2:]) == ([(False, True)], [(False, True)], [(True, True)])
    assert x.grad is None and w.grad is None and v.grad is not None


def test_an_input_that_needs_no_gradient_gets_none():
    log = []
    Logged(log)(constant(mc), leaf(mc)).sum().backward()
    assert log == [(False, True)]


def test_gradients_of_outputs_that_are_not_used_are_zeros():
    class Two(Function):
        constant_outputs = (2,)

        def forward(self, x):
            return x * 2, x * 3, x * 4, x > 0

        def backward(self, *gys):
            self.log = [None if g is None else g.numpy().sum() for g in gys]
            return gys[0] * 2 + gys[1] * 3

    x = leaf(mc)
    a, b, c, d = Two()(x)
    assert [t.requires_grad for t in (a, b, c, d)] == [True, True, False, False]
    b.sum().backward()
    assert b.grad_fn.log == [0, 6, 0, None]
    np.testing.assert_array_equal(x.grad.numpy(), np.full((2, 3), 3.0))


def test_a_wrong_number_or_shape_of_gradients_names_the_operation():
    class Wrong(Function):
        def __init__(self, gradients):
            self.gradients = gradients

        def forward(self, a, b):
            return a + b

        def backward(self, gy):
            return self.gradients(gy)

    for gradients, match in ((lambda g: g, "WrongBackward returned 1 gradients for 2 inputs"),
                             (lambda g: (g, g.sum()), r"WrongBackward gave a gradient of shape \(\) for a tensor of")):
        with pytest.raises(RuntimeError, match=match):
            Wrong(gradients)(leaf(mc), leaf(mc)).sum().backward()


class Log(Function):
    """y = ln x, and with ``within`` by way of another operation."""

    def __init__(self, within=False):
        self.within = within

    def forward(self, x):
        return Log()(mc.tensor(x)).data if self.within else np.log(x)

    def backward(self, gy):
        return gy


def test_operations_are_silent_and_leave_the_settings_of_numpy_alone():
    """In every thread, in an operation within an operation, and in contexts of the user's own."""
    def program():
        with np.errstate(all="raise", under="warn"):
            before = np.geterr()
            for operation in (Log(), Log(within=True)):
                contextvars.copy_context().run(operation, mc.zeros(2))
                assert operation(mc.zeros(2)).tolist() == [-math.inf] * 2
            with silence():
                assert Log(within=True)(mc.zeros(2)).tolist() == [-math.inf] * 2 and np.log(0.0) == -math.inf
            assert np.geterr() == before
            with pytest.raises(FloatingPointError):
                np.log(0.0)
            with pytest.raises(ZeroDivisionError), silence():
                raise ZeroDivisionError
            assert np.geterr() == before
            return True

    assert program()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(program).result() and pool.submit(program).result()


def test_gradients_are_cast_to_the_type_of_the_tensor():
    def program(m):
        x = m.tensor(normal((3,)).astype(np.float32)).requires_grad_()
        y = x.double() * m.tensor(normal((3,), 1))
        (y.float() * 2).sum().backward()
        return (x.grad,)

    same(program, 1e-6)
