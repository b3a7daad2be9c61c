"""autograd.Function beside PyTorch's: operations of the user's own, their contexts and their mistakes."""

import contextvars
import weakref
from typing import Any

import numpy as np
import pytest
import torch

import minicnn as mc

from util import assert_close, check_op, constant, leaf, normal, refused, same


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


def test_a_function_is_silent_in_the_context_of_its_caller():
    style = contextvars.ContextVar("style", default="none")

    class Log(mc.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            seen.append(style.get())
            return mc.tensor(np.log(x.numpy())) + x.log()

    seen = []
    Log.apply(mc.zeros(2))
    style.set("mine")
    assert Log.apply(mc.zeros(2)).tolist() == [-np.inf] * 2
    assert seen == ["none", "mine"]
