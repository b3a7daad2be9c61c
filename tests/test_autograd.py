"""grad, Functions of the user's own, modes, anomaly detection, and Tensor as a Python object. Compared with PyTorch."""

import copy
import pickle
import re
import threading
import weakref
from typing import Any

import numpy as np
import pytest
import torch

import minicnn as mc
import minicnn.functional as F
from minicnn.engine import mode

from util import assert_close, check_op, constant, leaf, normal, refused, same

BOTH = (mc, torch)


# -- grad -----------------------------------------------------------------------------------------------------------

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


# -- operations of the user's own -----------------------------------------------------------------------------------

def cubed(m: Any) -> Any:
    class Cubed(m.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx, gy):
            x, = ctx.saved_tensors
            return gy * 3 * x * x

    return Cubed.apply


def test_a_function_of_the_users_own_differentiates_to_any_order():
    check_op(cubed(mc), cubed(torch), normal((2, 3)))

    def program(m):
        x = leaf(m)
        g, = m.autograd.grad(cubed(m)(x).sum(), x, create_graph=True)
        gg, = m.autograd.grad(g.sum(), x, create_graph=True)
        return g, gg, *m.autograd.grad(gg.sum(), x)

    same(program)


def exponential(m: Any) -> Any:
    class Exponential(m.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x.exp()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, gy):
            return gy * ctx.saved_tensors[0]

    return Exponential.apply


@pytest.mark.parametrize("shape", [(2, 3), ()])
def test_a_saved_output_has_a_history(shape):
    check_op(exponential(mc), exponential(torch), normal(shape))


def polar(m: Any) -> Any:
    class Polar(m.autograd.Function):
        """(r·scale, angle, quadrant) of (x, y), with a number, a None and a string among the arguments."""

        @staticmethod
        def forward(ctx, x, scale, y, nothing, name):
            assert name == "polar" and nothing is None
            r, ctx.scale = (x * x + y * y).sqrt(), scale
            quadrant = (x > 0).to(x.dtype)
            ctx.mark_non_differentiable(quadrant)
            ctx.save_for_backward(x, None, y)
            return r * scale, quadrant, x * y

        @staticmethod
        def backward(ctx, gr, gq, gp):
            x, nothing, y = ctx.saved_tensors
            assert nothing is None and gq.shape == x.shape and not gq.any()
            r = (x * x + y * y).sqrt()
            return gr * ctx.scale * x / r + gp * y, None, gr * ctx.scale * y / r + gp * x, None, None

    return lambda x, y: Polar.apply(x, 2.5, y, None, "polar")


def test_many_outputs_and_arguments_that_are_not_tensors():
    check_op(polar(mc), polar(torch), normal((2, 3)), normal((2, 3), 1))
    x, y = leaf(mc), leaf(mc, seed=1)
    r, quadrant, product = polar(mc)(x, y)
    assert not quadrant.requires_grad and quadrant.is_leaf
    product.sum().backward()  # the other outputs give zeros
    assert_close(x.grad, y.detach(), 1e-12)


def test_needs_input_grad():
    asked = {}

    def program(m):
        class Product(m.autograd.Function):
            @staticmethod
            def forward(ctx, a, number, b):
                asked[m, "forward"] = ctx.needs_input_grad
                ctx.save_for_backward(a, b)
                return a * b * number

            @staticmethod
            def backward(ctx, gy):
                asked.setdefault((m, "backward"), []).append(tuple(ctx.needs_input_grad))
                a, b = ctx.saved_tensors
                return gy * b * 2, None, gy * a * 2

        x, w = leaf(m), leaf(m, seed=1)
        Product.apply(x, 2, constant(m)).sum().backward()
        y = Product.apply(x, 2, w)
        found = m.autograd.grad(y.sum(), w, retain_graph=True)
        y.sum().backward()
        return *found, x.grad, w.grad

    same(program)
    assert asked[mc, "forward"] == asked[torch, "forward"] == (True, False, True)
    assert asked[mc, "backward"] == [(True, False, False), (False, False, True), (True, False, True)]


def test_a_function_records_nothing_inside_forward_nor_under_no_grad():
    recorded = []

    class Seen(mc.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            recorded.append((mc.is_grad_enabled(), x.requires_grad, (x * 2).requires_grad, ctx.needs_input_grad))
            return x * 2

        @staticmethod
        def backward(ctx, gy):
            recorded.append(mc.is_grad_enabled())
            return gy * 2

    x = leaf(mc)
    with mc.no_grad():
        assert not Seen.apply(x).requires_grad
    y = Seen.apply(x)
    mc.autograd.grad(y.sum(), x, create_graph=True)
    y.sum().backward()
    assert recorded == [(False, False, False, (False,)), (False, False, False, (True,)), True, False]


def faulty(gradients: Any, saved: Any = lambda x: ()) -> Any:
    class Faulty(mc.autograd.Function):
        @staticmethod
        def forward(ctx, x, y, number):
            ctx.save_for_backward(*saved(x))
            return x + y

        @staticmethod
        def backward(ctx, gy):
            return gradients(gy)

    return Faulty.apply(leaf(mc), leaf(mc, seed=1), 2).sum()


@pytest.mark.parametrize("gradients, error, match", [
    (lambda g: g, RuntimeError, "Faulty.backward returned 1 gradients for 3 arguments of forward"),
    (lambda g: (g, g), RuntimeError, "Faulty.backward returned 2 gradients for 3 arguments of forward"),
    (lambda g: (g, g, None, None), RuntimeError, "Faulty.backward returned 4 gradients for 3"),
    (lambda g: (g, g.sum(), None), RuntimeError, r"FaultyBackward gave a gradient of shape \(\) for .* shape \(2, 3\)"),
    (lambda g: (g, 1.0, None), TypeError, "FaultyBackward gave a gradient that is a float, not a Tensor"),
    (lambda g: (g, g, g), RuntimeError, "gradient for argument 2 of forward, which is not a Tensor"),
])
def test_wrong_gradients_of_a_function(gradients, error, match):
    with pytest.raises(error, match=match):
        faulty(gradients).backward()


def test_other_mistakes_in_functions():
    with pytest.raises(TypeError, match="save_for_backward: expected Tensors, got int; keep it as an attribute of ctx"):
        faulty(None, lambda x: (x, 3))

    class Half(mc.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.numpy()

    with pytest.raises(TypeError, match="Half.forward must return Tensors, got ndarray"):
        Half.apply(leaf(mc))
    with pytest.raises(NotImplementedError, match="static forward"):
        mc.autograd.Function.apply(leaf(mc))

    class NoBackward(Half):
        @staticmethod
        def forward(ctx, x):
            return x * 2

    with pytest.raises(NotImplementedError, match="static backward"):
        NoBackward.apply(leaf(mc)).sum().backward()


def test_no_gradient_is_as_good_as_zeros():
    x, y = leaf(mc), leaf(mc, seed=1)

    class First(mc.autograd.Function):
        @staticmethod
        def forward(ctx, a, b):
            return a + b

        @staticmethod
        def backward(ctx, gy):
            return gy, None

    First.apply(x, y).sum().backward()
    assert_close(x.grad, np.ones((2, 3)), 1e-12)
    assert y.grad is None


def reversal(m: Any) -> Any:
    class Reversal(m.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.reshape(x.shape)

        @staticmethod
        def backward(ctx, gy):
            return -gy

    return Reversal.apply


def test_a_write_to_an_output_that_is_a_view_of_an_input_is_seen():
    def program(m):
        x = leaf(m).exp()
        reversal(m)(x).mul_(2)
        x.sum().backward()

    refused(program, "modified by an in-place operation|shares memory")


def test_a_write_inside_forward_is_seen():
    class Careless(mc.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.mul_(2) + 1

        @staticmethod
        def backward(ctx, gy):
            return gy * 2

    y = leaf(mc).exp()
    z = Careless.apply(y)
    with pytest.raises(RuntimeError, match="ExpBackward: a tensor of shape .* modified by an in-place operation"):
        z.sum().backward()


def test_what_ctx_keeps_is_not_the_memory_of_a_gradient():
    kept = constant(mc)

    class Fixed(mc.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return (x * kept).sum()

        @staticmethod
        def backward(ctx, gy):
            return kept

    x = leaf(mc)
    Fixed.apply(x).backward()
    x.grad.zero_()
    assert kept.numpy().all()


def test_a_function_keeps_only_what_it_saves_and_makes_no_cycle():
    alive = []

    class Forgetful(mc.autograd.Function):
        @staticmethod
        def forward(ctx, x, unused):
            mask = x > 0
            ctx.mark_non_differentiable(mask)
            alive.extend([weakref.ref(unused.data), weakref.ref(mask.data)])
            ctx.save_for_backward(x)
            return x * 2, mask

        @staticmethod
        def backward(ctx, gy, _):
            return gy * 2, None

    y = Forgetful.apply(leaf(mc), mc.ones(5))[0]
    assert [a() for a in alive] == [None, None]
    node = weakref.ref(y.grad_fn)
    del y
    assert node() is None


def checkpoint(m: Any) -> Any:
    class Checkpoint(m.autograd.Function):
        """Keeps the input only and computes the rest again on the way back: a walk inside a walk."""

        @staticmethod
        def forward(ctx, f, x):
            ctx.f = f
            ctx.save_for_backward(x)
            return f(x)

        @staticmethod
        def backward(ctx, gy):
            x = ctx.saved_tensors[0].detach().requires_grad_()
            with m.enable_grad():
                y = ctx.f(x)
            y.backward(gy)
            return None, x.grad

    return Checkpoint.apply


def test_a_backward_may_walk_another_graph():
    def program(m):
        w, x = leaf(m), leaf(m, seed=1)
        y = checkpoint(m)(lambda t: (t * w).tanh(), x * 3)
        (y * y + x).sum().backward()
        return w.grad, x.grad

    same(program)


def test_a_function_without_tensors():
    def program(m):
        class Number(m.autograd.Function):
            @staticmethod
            def forward(ctx, n):
                return m.ones(n)

        return (Number.apply(3),)

    same(program)


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


# -- tensors as Python objects --------------------------------------------------------------------------------------

def test_deepcopy_of_leaves():
    x = leaf(mc)
    (x * x).sum().backward()
    y = copy.deepcopy({"a": x, "b": x})
    assert y["a"] is y["b"] and type(y["a"]) is mc.Tensor and y["a"].requires_grad and y["a"].is_leaf
    assert_close(y["a"], x.detach(), 0)
    assert_close(y["a"].grad, x.grad, 0)
    assert not np.shares_memory(y["a"].data, x.data) and not np.shares_memory(y["a"].grad.data, x.grad.data)
    p = copy.deepcopy(mc.Parameter(mc.ones(2), requires_grad=False))
    assert type(p) is mc.Parameter and not p.requires_grad
    refused(lambda m: copy.deepcopy(leaf(m) * 2), "only leaf tensors can be copied deeply")


def test_pickled_leaves():
    for t in (leaf(mc), mc.Parameter(mc.ones(2)), mc.Parameter(mc.ones(2), False), mc.tensor([True]),
              mc.ones(2, dtype=mc.bfloat16)):
        back = pickle.loads(pickle.dumps(t))
        assert type(back) is type(t) and back.requires_grad == t.requires_grad and back.dtype == t.dtype
        np.testing.assert_array_equal(back.data, t.data)
    with pytest.raises(RuntimeError, match="only leaf tensors can be pickled"):
        pickle.dumps(leaf(mc) * 2)


REPRESENTED = {
    "int": lambda m: m.tensor([1, -20, 3]), "whole floats": lambda m: m.tensor([[1.0, 2.0], [3.0, -40.0]]),
    "bool": lambda m: m.tensor([True, False]), "0-d": lambda m: m.tensor(3), "0-d float": lambda m: m.tensor(3.0),
    "double": lambda m: m.tensor([1.0], dtype=m.float64), "int32": lambda m: m.tensor([[1], [2]], dtype=m.int32),
    "half": lambda m: m.tensor([1.0], dtype=m.float16), "bfloat16": lambda m: m.tensor([1.0], dtype=m.bfloat16),
    "empty": lambda m: m.zeros(0), "empty matrix": lambda m: m.zeros(2, 0),
    "empty double": lambda m: m.zeros(0, 3, dtype=m.float64),
    "leaf": lambda m: m.ones(2, requires_grad=True), "add": lambda m: m.ones(2, requires_grad=True) + 1,
    "double leaf": lambda m: m.ones(2, requires_grad=True, dtype=m.float64), "long": lambda m: m.arange(2000),
    "special": lambda m: m.tensor([float("nan"), float("inf"), 1.0]), "cube": lambda m: m.arange(8).reshape(2, 2, 2),
    "mul": lambda m: m.ones(2, requires_grad=True) * m.ones(2), "sum": lambda m: m.ones(2, requires_grad=True).sum(),
    "parameter": lambda m: (m if m is mc else torch.nn).Parameter(m.ones(2)),
}


@pytest.mark.parametrize("name", REPRESENTED)
def test_repr_is_as_in_pytorch(name):
    theirs = re.sub(r"Backward0", "Backward", repr(REPRESENTED[name](torch)).replace("torch.", ""))
    assert re.sub(r"\s+", " ", repr(REPRESENTED[name](mc))) == re.sub(r"\s+", " ", theirs)


def test_repr_of_rows_is_aligned():
    assert repr(mc.arange(4).reshape(2, 2)) == "tensor([[0, 1],\n        [2, 3]])"


def test_numpy_sees_the_memory():
    t = constant(mc)
    assert np.asarray(t) is not None and np.shares_memory(np.asarray(t), t.data) and t.numpy() is t.data
    assert np.array(t).dtype == np.float64 and not np.shares_memory(np.array(t), t.data)
    assert np.asarray(t, dtype=np.float32).dtype == np.float32
    np.testing.assert_array_equal(np.add(t, 1), t.numpy() + 1)
    x = leaf(mc)
    for convert in (np.asarray, lambda t: t.numpy(), lambda t: t.__array__()):
        with pytest.raises(RuntimeError, match=r"use x\.detach\(\)\.numpy\(\)"):
            convert(x)
    assert np.shares_memory(x.detach().numpy(), x.data)


def test_dlpack_round_trips_share_memory():
    t = constant(mc)
    theirs = torch.from_dlpack(t)
    theirs += 1
    back = mc.from_dlpack(theirs)
    assert np.shares_memory(back.data, t.data)
    assert_close(back, t, 0)
    assert_close(mc.from_dlpack(constant(torch).int()), constant(torch).int(), 0)
    assert np.shares_memory(np.from_dlpack(t), t.data)
    with pytest.raises(BufferError, match=r"use x\.detach\(\)"):
        torch.from_dlpack(leaf(mc))


def test_scalars():
    for m in BOTH:
        t = m.tensor([[2.5]])
        assert (t.item(), float(t), int(t), bool(t), f"{t.sum():.2f}", len(t)) == (2.5, 2.5, 2, True, "2.50", 1)
        assert [10, 20, 30][m.tensor(1)] == 20 and list(range(m.tensor(3))) == [0, 1, 2]
        assert [type(v) for v in (t.item(), m.tensor(1).item(), m.tensor(True).item())] == [float, int, bool]
        assert m.tensor([1.5, 2.5], dtype=m.bfloat16).tolist() == [1.5, 2.5]
        assert type(m.tensor([1.5], dtype=m.bfloat16).item()) is float
        assert hash(t) == hash(t) and t in {t}


@pytest.mark.parametrize("program, match", [
    (lambda m: bool(m.ones(2)), "truth value of a tensor with 2 elements is ambiguous"),
    (lambda m: bool(m.ones(0)), "truth value of a tensor with 0 elements is ambiguous"),
    (lambda m: m.ones(2).item(), "2 elements cannot be converted to a number"),
    (lambda m: float(m.ones(2)), "2 elements cannot be converted to a number"),
    (lambda m: [1, 2][m.tensor(1.0)], "only integer tensors of a single element"),
    (lambda m: len(m.tensor(1)), "0-d tensor"),
    (lambda m: list(m.tensor(1)), "iteration over a 0-d tensor"),
    (lambda m: f"{m.ones(2):.2f}", "unsupported format string"),
])
def test_wrong_conversions(program, match):
    refused(program, match)
