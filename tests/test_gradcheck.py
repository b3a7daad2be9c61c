"""The gradient checker is itself checked: it passes what is right, finds every kind of mistake and says where."""

import re
from collections.abc import Callable

import numpy as np
import pytest

import minicnn as mc
import minicnn.functional as F
from minicnn.autograd import Function, GradcheckError, gradcheck, gradgradcheck
from minicnn.engine import Tensor

from util import distinct, normal


def leaf(*shape: int, seed: int = 0) -> Tensor:
    return mc.tensor(normal(shape, seed), requires_grad=True)


def product(gradients: Callable[[Tensor, Tensor, Tensor], tuple]) -> Callable[[Tensor, Tensor], Tensor]:
    """a·bᵀ (a (3, 4), b (5, 4)) with the backward given: gradients(gy, a, b)."""

    class Product(Function):
        @staticmethod
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            return a @ b.T

        @staticmethod
        def backward(ctx, gy):
            return gradients(gy, *ctx.saved_tensors)

    return Product.apply


def one_element(g: Tensor, at: tuple[int, ...], off: float) -> Tensor:
    change = np.zeros(g.shape)
    change[at] = off
    return g + mc.tensor(change)


WRONG = {
    "0.05 % too large": (lambda gy, a, b: (gy @ b, (gy.T @ a) * 1.0005), 1),
    "0.05 % too small": (lambda gy, a, b: ((gy @ b) * 0.9995, gy.T @ a), 0),
    "wrong sign": (lambda gy, a, b: (-(gy @ b), gy.T @ a), 0),
    "missing": (lambda gy, a, b: (gy @ b, None), 1),
    "missing term": (lambda gy, a, b: (gy[:, :4] @ b[:4], gy.T @ a), 0),
    "transposed": (lambda gy, a, b: (gy @ b, (gy.T @ a).reshape(4, 5).T), 1),
    "one row in the place of another": (lambda gy, a, b: ((gy @ b).flip(0), gy.T @ a), 0),
    "zero": (lambda gy, a, b: (gy @ b, gy.T @ a * 0.0), 1),
    "constant added": (lambda gy, a, b: (gy @ b + 1e-3, gy.T @ a), 0),
    "NaN": (lambda gy, a, b: (gy @ b, gy.T @ a * float("nan")), 1),
    "one element": (lambda gy, a, b: (gy @ b, one_element(gy.T @ a, (3, 1), 1e-3)), 1),
    "gradient of the other input": (lambda gy, a, b: (gy @ b, (gy @ b).sum() + 0 * b), 1),
}


def test_a_right_gradient_passes():
    right = product(lambda gy, a, b: (gy @ b, gy.T @ a))
    assert gradcheck(right, (leaf(3, 4), leaf(5, 4, seed=1))) is True
    assert gradgradcheck(right, (leaf(3, 4), leaf(5, 4, seed=1))) is True


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_gradient_is_found_and_its_input_named(name):
    gradients, number = WRONG[name]
    inputs = leaf(3, 4), leaf(5, 4, seed=1)
    with pytest.raises(GradcheckError, match=rf"gradient of input {number} \(shape \({(3, 5)[number]}, 4\)\) is wrong"):
        gradcheck(product(gradients), inputs)
    assert gradcheck(product(gradients), inputs, raise_exception=False) is False


@pytest.mark.parametrize("seed", range(10))
def test_no_seed_misses_a_small_mistake(seed):
    wrong = product(WRONG["0.05 % too large"][0])
    assert not gradcheck(wrong, (leaf(3, 4), leaf(5, 4, seed=1)), raise_exception=False, seed=seed)


def test_the_message_names_the_element_and_both_numbers():
    wrong = product(lambda gy, a, b: (gy @ b, one_element(gy.T @ a, (3, 1), 0.5)))
    with pytest.raises(GradcheckError) as caught:
        gradcheck(wrong, (leaf(3, 4), leaf(5, 4, seed=1)))
    pattern = r"worst at index \(3, 1\): analytic (\S+), numeric (\S+); 1 of 20 elements differ"
    found = re.search(pattern, str(caught.value))
    assert found and float(found[1]) - float(found[2]) == pytest.approx(0.5, abs=1e-6)


def test_a_mistake_in_one_of_many_elements_is_found():
    """1 of 3000 elements; the elements that are right hide it only if the random direction is almost 0 there."""
    def function(x):
        class Identity(Function):
            @staticmethod
            def forward(ctx, x):
                return x * 1.0

            @staticmethod
            def backward(ctx, gy):
                return one_element(gy, (1234,), 0.1)

        return Identity.apply(x)

    with pytest.raises(GradcheckError, match=r"worst at index \(1234,\).* 1 of 3000 elements"):
        gradcheck(function, leaf(3000))


def test_the_index_of_a_number():
    with pytest.raises(GradcheckError, match=r"input 0 \(shape \(\)\) is wrong, worst at index \(\)"):
        gradcheck(lambda a: product(WRONG["wrong sign"][0])(a.reshape(1, 1), mc.ones(1, 1, dtype=mc.float64)), leaf())


def test_a_mistake_of_a_shipped_operation_is_found(monkeypatch):
    from minicnn.ops.conv import Conv2dWeightGrad

    def turned(self, x, gy, forward=Conv2dWeightGrad.forward):
        return forward(self, x, gy)[..., ::-1]

    inputs = leaf(2, 2, 5, 6), leaf(3, 2, 3, 2, seed=1), leaf(3, seed=2)
    assert gradcheck(F.conv2d, inputs)
    monkeypatch.setattr(Conv2dWeightGrad, "forward", turned)
    with pytest.raises(GradcheckError, match="input 1"):
        gradcheck(F.conv2d, inputs)


@pytest.mark.parametrize("function, inputs", [
    (lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1), [(2, 2, 5, 7), (4, 2, 3, 2), (4,)]),
    (lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), [(4, 3, 2), (3,), (3,)]),
    (lambda x: F.log_softmax(x, 1), [(3, 4)]),
    (lambda a, b: (a @ b).tanh(), [(2, 3), (3, 4)]),
    (lambda a, b: (a * b, a.exp(), (b / 2).sum()), [(2, 3), (3,)]),
    (lambda x: x.sigmoid().prod(), [(5,)]),
    (lambda x: F.avg_pool2d(x, 2, ceil_mode=True), [(1, 2, 5, 3)]),
])
def test_shipped_operations_pass(function, inputs):
    tensors = tuple(leaf(*shape, seed=i) for i, shape in enumerate(inputs))
    assert gradcheck(function, tensors)
    assert gradgradcheck(function, tensors)


def test_piecewise_operations_pass_away_from_their_kinks():
    x = mc.tensor(distinct((1, 2, 6, 5)), requires_grad=True)
    for function in (F.relu, F.elu, F.leaky_relu, lambda t: F.max_pool2d(t, 2, 1)):
        assert gradcheck(function, x) and gradgradcheck(function, x)


def test_inputs_without_gradients_and_outputs_without_history_are_left_alone():
    def function(x, number, mask, name):
        assert number == 2 and name == "n"
        return (x * mask * number).exp(), x.detach() * 3, mask

    inputs = leaf(2, 3), 2, mc.tensor(normal((2, 3), 1)), "n"
    assert gradcheck(function, inputs) and gradgradcheck(function, inputs)


def test_an_input_that_is_not_used():
    assert gradcheck(lambda x, w: x * x, (leaf(2), leaf(3)))
    assert gradgradcheck(lambda x, w: x * x, (leaf(2), leaf(3)))


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_wrong_calls(check):
    x = mc.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match=r"input 1 is float32; differences need float64, use x.double\(\)"):
        check(lambda a, b: a * b, (leaf(2), x))
    with pytest.raises(ValueError, match="none of the inputs requires a gradient"):
        check(lambda a: a * a, mc.ones(2))
    with pytest.raises(GradcheckError, match="detached"):
        check(lambda a: a.detach() * 2, leaf(2))
    assert not check(lambda a: a.detach() * 2, leaf(2), raise_exception=False)


def test_tolerances_can_be_chosen():
    wrong = product(WRONG["0.05 % too large"][0])
    assert gradcheck(wrong, (leaf(3, 4), leaf(5, 4, seed=1)), rtol=1e-3, atol=1e-4)
    with pytest.raises(GradcheckError, match="20 of 20 elements differ"):
        gradcheck(wrong, (leaf(3, 4), leaf(5, 4, seed=1)), rtol=1e-7, atol=1e-7)


# -- second order ---------------------------------------------------------------------------------------------------

RIGHT_ONLY_ONCE = {
    "detached from an input": (lambda gy, a, b: (gy @ b.detach(), gy.T @ a), 1),
    "detached from the upstream gradient": (lambda gy, a, b: (gy.detach() @ b, gy.T @ a), 2),
    "detached from everything": (lambda gy, a, b: ((gy @ b).detach(), gy.T @ a), 1),
    "both detached": (lambda gy, a, b: ((gy @ b).detach(), (gy.T @ a).detach()), 0),
    "computed by NumPy": (lambda gy, a, b: (gy @ b, Tensor(gy.data.T @ a.data)), 0),
    "not recorded": (lambda gy, a, b: unrecorded(gy, a, b), 0),
}


@mc.no_grad()
def unrecorded(gy: Tensor, a: Tensor, b: Tensor) -> tuple:
    return gy @ b, gy.T @ a


@pytest.mark.parametrize("name", RIGHT_ONLY_ONCE)
def test_a_backward_that_cannot_be_differentiated_is_found(name):
    gradients, number = RIGHT_ONLY_ONCE[name]
    inputs = leaf(3, 4), leaf(5, 4, seed=1)
    assert gradcheck(product(gradients), inputs)
    with pytest.raises(GradcheckError, match=f"gradient of input {number} "):
        gradgradcheck(product(gradients), inputs)
    assert not gradgradcheck(product(gradients), inputs, raise_exception=False)


def test_the_upstream_gradient_can_be_given():
    right = product(lambda gy, a, b: (gy @ b, gy.T @ a))
    assert gradgradcheck(right, (leaf(3, 4), leaf(5, 4, seed=1)), leaf(3, 5, seed=2))
    wrong = product(RIGHT_ONLY_ONCE["detached from an input"][0])
    assert not gradgradcheck(wrong, (leaf(3, 4), leaf(5, 4, seed=1)), [leaf(3, 5, seed=2)], raise_exception=False)
