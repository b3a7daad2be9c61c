"""What the table of operators does not say of losses: huge and infinite values, types, and where PyTorch differs."""

import math

import numpy as np
import pytest
import torch

import minicnn as mc
import minicnn.functional as F
from minicnn import optim

from util import SPECIAL, assert_close, check_op, check_raises, in_both, normal, rng_of

TF = torch.nn.functional
NAN, INF = float("nan"), float("inf")


# -- class numbers --------------------------------------------------------------------------------------------------

def test_cross_entropy_is_nll_loss_of_log_softmax():
    def composed(x, t):
        return F.nll_loss(F.log_softmax(x, 1), t)

    check_op(composed, TF.cross_entropy, normal((4, 5, 2)), np.array([[0, 1], [4, -100], [2, 2], [3, 1]]))


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"reduction": "sum"}, {"ignore_index": 1}])
@pytest.mark.parametrize("weighted", [False, True])
def test_huge_logits(options, weighted):
    """Logits of ±10,000: no overflow, and losses of 10,000 where the prediction is that wrong."""
    x = np.array([[1e4, -1e4, 0.0], [1e4, 1e4, -1e4], [0.0, 1e4, 0.0], [-1e4, -1e4, -1e4]])
    arrays = [x, np.array([1, 0, 0, 2])] + [np.array([0.5, 2.0, 1.0])] * weighted
    check_op(*in_both(lambda f, *t: f.cross_entropy(*t, **options)), *arrays, constant=(2,))
    y = F.cross_entropy(mc.tensor(x), mc.tensor([1, 0, 1, 2]), reduction="none").tolist()
    assert y == pytest.approx([2e4, math.log(2), 0, math.log(3)])


def test_a_certain_prediction_keeps_its_digits():
    """−log p for p near 1, in float32: the softmax would round to 1."""
    x = mc.tensor([[12.0, 0.0], [8.0, -8.0]])
    y = F.cross_entropy(x, mc.tensor([0, 0]), reduction="none").numpy()
    np.testing.assert_allclose(y, np.log1p(np.exp([-12.0, -16.0])), rtol=2e-2)


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_types_of_class_numbers(name, dtype):
    check_op(*in_both(lambda f, x, t: getattr(f, name)(x, t)), normal((3, 4)), np.array([1, 0, 3], dtype))


@pytest.mark.parametrize("call", [
    lambda x, t: F.cross_entropy(x, t), lambda x, t: F.cross_entropy(x, t, mc.ones(4)), lambda x, t: F.nll_loss(x, t),
    lambda x, t: F.cross_entropy(x, t, label_smoothing=0.1)])
def test_the_mean_of_no_rows_is_nan_and_its_gradient_zero(call):
    x = mc.tensor(normal((3, 4)), dtype=mc.float32, requires_grad=True)
    y = call(x, mc.tensor([-100, -100, -100]))
    y.backward()
    assert math.isnan(y.item()) and not x.grad.numpy().any()
    assert math.isnan(call(mc.zeros(0, 4), mc.tensor([], dtype=mc.int64)).item())


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_ignored_rows_do_not_count_whatever_they_hold(smoothing):
    x = normal((4, 3))
    x[1] = [NAN, INF, 0.0]
    for weight in (None, mc.ones(3, dtype=mc.float64)):
        leaf = mc.tensor(x, requires_grad=True)
        y = F.cross_entropy(leaf, mc.tensor([0, -100, 2, 1]), weight, label_smoothing=smoothing)
        y.backward()
        kept = [0, 2, 3]
        r = torch.tensor(x[kept], requires_grad=True)
        expected = TF.cross_entropy(r, torch.tensor([0, 2, 1]), label_smoothing=smoothing)
        expected.backward()
        assert_close(y, expected, 1e-12)
        assert_close(leaf.grad.numpy()[kept], r.grad, 1e-12)


# -- probabilities --------------------------------------------------------------------------------------------------

def test_targets_overwritten_before_backward_are_noticed():
    def overwrite(m):
        target = m.tensor([1, 2, 3])
        loss = m.nn.functional.cross_entropy(m.ones(3, 4, requires_grad=True), target)
        target[0] = 0
        loss.backward()

    check_raises(lambda: overwrite(mc), lambda: overwrite(torch), match="modified by an in-place")


def test_one_hot_probabilities_are_class_numbers():
    numbers = np.array([0, 2, 1, 2])
    check_op(lambda x: F.cross_entropy(x, mc.tensor(np.eye(3)[numbers], dtype=x.dtype), label_smoothing=0.2),
             lambda x: TF.cross_entropy(x, torch.from_numpy(numbers), label_smoothing=0.2), normal((4, 3)))


# -- element by element ---------------------------------------------------------------------------------------------

def test_binary_cross_entropy_at_the_ends():
    """Logarithms end at −100. (PyTorch's second derivative at the ends is that of its 1e-12 in the denominator.)"""
    x, t = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 1e-45, 1e-300]), np.array([0.0, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0])
    check_op(*in_both(lambda f, x, t: f.binary_cross_entropy(x, t, reduction="none")), x, t, second=False, single=False,
             tolerance=1e-8, constant=(1,))
    target = mc.tensor(t, requires_grad=True)  # its gradient is that of the clamped loss; PyTorch's is infinite
    F.binary_cross_entropy(mc.tensor(x), target, reduction="sum").backward()
    np.testing.assert_allclose(target.grad.numpy(), [100, 100, -100, -100, -100, 100, 100])


def test_binary_cross_entropy_with_huge_logits():
    x = np.array([1e4, 1e4, -1e4, -1e4, 0.0, 800.0, -800.0, 40.0])
    arrays = x, np.array([0.0, 1.0, 0.0, 1.0, 0.3, 0.5, 1.0, 1.0]), np.full(8, 2.0)
    check_op(*in_both(lambda f, x, t, p: f.binary_cross_entropy_with_logits(x, t, reduction="none")), *arrays)
    check_op(*in_both(lambda f, x, t, p: f.binary_cross_entropy_with_logits(x, t, reduction="none", pos_weight=p)),
             *arrays, constant=(2,))


def test_binary_cross_entropy_with_infinite_logits():
    x, t = np.array([INF, INF, -INF, -INF, INF, NAN]), np.array([0.0, 1.0, 0.0, 1.0, 0.5, 0.5])
    check_op(*in_both(lambda f, x, t: f.binary_cross_entropy_with_logits(x, t, reduction="none")), x, t, second=False)


def test_small_losses_keep_their_digits():
    x = np.array([20.0, 50.0, 80.0], np.float32)
    y = F.binary_cross_entropy_with_logits(mc.tensor(x), mc.ones(3), reduction="none").numpy()
    np.testing.assert_allclose(y, np.exp(-x.astype(float)), rtol=1e-5)
    for sign, target in ((1, mc.ones(3)), (-1, mc.zeros(3))):
        logits = mc.tensor(sign * x, requires_grad=True)
        F.binary_cross_entropy_with_logits(logits, target, reduction="sum").backward()
        np.testing.assert_allclose(logits.grad.numpy(), -sign * np.exp(-x.astype(float)), rtol=1e-5)


def test_the_mean_of_nothing():
    for name in ("mse_loss", "l1_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"):
        assert math.isnan(getattr(F, name)(mc.zeros(0, 3), mc.zeros(0, 3)).item())
    assert math.isnan(F.cross_entropy(mc.zeros(0, 3), mc.zeros(0, 3)).item())
    assert F.mse_loss(mc.zeros(0, 3), mc.zeros(0, 3), reduction="sum").item() == 0


def test_memory_in_any_order():
    def classes(f, x, t):
        return f.cross_entropy(x.permute(2, 0, 1), t.permute(1, 0), reduction="none").permute(1, 0).sum(0)

    check_op(*in_both(classes), normal((3, 3, 2)), np.array([[0, 2], [1, 1], [2, -100]]))
    for name in ("mse_loss", "binary_cross_entropy_with_logits"):
        def elements(f, x, t, name=name):
            return getattr(f, name)(x.permute(1, 0), t.expand(4, 3), reduction="none").sum(0)

        check_op(*in_both(elements), normal((3, 4)), normal((1, 3)))


def test_reference_kernels():
    target = np.array([[0, 1], [3, -100], [2, 2]])
    with mc.use_kernels("reference"):
        check_op(*in_both(lambda f, x, t: f.cross_entropy(x, t)), normal((3, 4, 2)), target)


# -- every value ----------------------------------------------------------------------------------------------------

TARGETS = {"hinge_embedding_loss": [-1.0, 0.0, 1.0, NAN], "poisson_nll_loss": [0.0, 1.0, 3.0, INF, NAN],
           "kl_div": [0.0, 0.5, 1.0, INF, NAN], "multilabel_soft_margin_loss": [0.0, 1.0, NAN]}
EVERY = np.array([*SPECIAL, 1e30, -1e30, 1e-30, 80.0, -80.0])


@pytest.mark.parametrize("name, options", [
    ("mse_loss", {}), ("l1_loss", {}), ("smooth_l1_loss", {}), ("smooth_l1_loss", {"beta": 0.0}),
    ("smooth_l1_loss", {"beta": 0.5}), ("huber_loss", {}), ("huber_loss", {"delta": 2.0}), ("kl_div", {}),
    ("kl_div", {"log_target": True}), ("poisson_nll_loss", {}), ("poisson_nll_loss", {"log_input": False}),
    ("poisson_nll_loss", {"full": True}), ("hinge_embedding_loss", {}), ("multilabel_soft_margin_loss", {})])
def test_every_value_against_every_other(name, options):
    """Zeros, ties, infinities, NaN and numbers that overflow when squared: output and gradient as in PyTorch."""
    x, t = np.meshgrid(EVERY, TARGETS.get(name, EVERY), indexing="ij")
    check_op(*in_both(lambda f, x, t: getattr(f, name)(x, t, reduction="none", **options)), x.reshape(-1, 1),
             t.reshape(-1, 1), constant=(1,) if name in TARGETS else (), second=False,
             single=name != "poisson_nll_loss")


def test_soft_margin_loss_does_not_overflow():
    """PyTorch gives inf, and NaN for the gradient, where e^(−target·input) is inf."""
    x = mc.tensor([1e4, 100.0, 0.0, -100.0, -1e4, INF, -INF, NAN], requires_grad=True)
    y = F.soft_margin_loss(x, mc.ones(8), reduction="none")
    np.testing.assert_allclose(y.detach().numpy(), [0, 0, math.log(2), 100, 1e4, 0, INF, NAN], rtol=1e-6,
                               atol=1e-40)
    y.backward(mc.ones(8))
    np.testing.assert_allclose(x.grad.numpy(), [0, 0, -0.5, -1, -1, 0, -1, NAN], atol=1e-30)
    y = F.soft_margin_loss(mc.tensor([50.0]), mc.ones(1))
    assert y.item() == pytest.approx(math.exp(-50)), "small losses keep their digits"


@pytest.mark.parametrize("p", [1, 2])
def test_margins_of_infinite_scores(p):
    """PyTorch counts no difference that is NaN, and the slope at the margin is 0."""
    x = np.array([[INF, 0.0, 1.0], [0.0, INF, 1.0], [-INF, 0.0, 1.0], [NAN, 0.0, 1.0], [0.0, NAN, 1.0],
                  [1.0, 0.0, -1e30], [INF, INF, 0.0]])
    rows = np.zeros(len(x), int)
    check_op(*in_both(lambda f, x, t: f.multi_margin_loss(x, t, p, reduction="none")), x, rows, second=False)
    lists = np.repeat([[0, -1, -1]], len(x), 0)
    check_op(*in_both(lambda f, x, t: f.multilabel_margin_loss(x, t, reduction="none")), x, lists, second=False)


@pytest.mark.parametrize("p", [1, 2])
def test_second_derivatives_that_pytorch_has_not(p):
    x, weight = mc.tensor(normal((4, 5)), requires_grad=True), mc.tensor(rng_of(1).random(5), requires_grad=True)

    def one(x, weight):
        return F.multi_margin_loss(x, mc.tensor([0, 4, 2, 2]), p, 1.5, weight)

    def several(x):
        return F.multilabel_margin_loss(x, mc.tensor([[0, 4, -1, 1, 1], [1, 1, 2, -1, 0], [-1] * 5, [4, 3, 2, 1, 0]]))

    assert mc.autograd.gradcheck(one, (x, weight)) and mc.autograd.gradgradcheck(one, (x, weight))
    assert mc.autograd.gradcheck(several, (x,))


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, INF])
def test_triplets_of_huge_and_of_equal_points(p):
    a = np.array([[1e30, 0.0], [0.0, 0.0], [1.0, 1.0], [INF, 0.0], [NAN, 0.0], [3.0, 4.0]])
    b = np.array([[-1e30, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0], [3.0, 4.0]])
    for swap in (False, True):
        check_op(*in_both(lambda f, *t: f.triplet_margin_loss(*t, p=p, eps=0.0, swap=swap, reduction="none")), a, b,  # noqa: B023
                 normal((6, 2)), second=False, single=False)


def test_cosines_of_nothing_and_of_huge_points():
    a = np.array([[0.0, 0.0], [1e200, 0.0], [INF, 1.0], [NAN, 1.0], [1e-9, 0.0]])
    for sign in (1, -1):
        check_op(*in_both(lambda f, a, b: f.cosine_embedding_loss(a, b, (a[:, 0] * 0 + sign).detach(),  # noqa: B023
                                                                  reduction="none")), a, normal((5, 2)), second=False,
                 tolerance=1e-7, single=False)


def test_variances_of_every_size():
    var = np.array([0.0, 1e-30, 1e-6, 1e30, INF, NAN])
    check_op(*in_both(lambda f, *t: f.gaussian_nll_loss(*t, reduction="none")), normal((6,)), normal((6,), 1), var,
             second=False, single=False)


# -- types ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "poisson_nll_loss", "margin_ranking_loss"])
@pytest.mark.parametrize("first", [np.float32, np.float64, np.float16, np.int64])
def test_types_mix_as_in_pytorch(name, first):
    arrays = np.array([1, 2, 3], first), np.array([1, 0, 2], np.float32)
    arrays += (np.array([1, -1, 1]),) * (name == "margin_ranking_loss")
    ours = getattr(F, name)(*map(mc.tensor, arrays))
    assert_close(ours, getattr(TF, name)(*map(torch.from_numpy, arrays)), 1e-3)


TYPES = ["float64", "float32", "float16", "int64", "bool"]


@pytest.mark.parametrize("name", [
    "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div", "poisson_nll_loss", "cross_entropy",
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "hinge_embedding_loss", "soft_margin_loss",
    "multilabel_soft_margin_loss"])
@pytest.mark.parametrize("first", TYPES)
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
def test_types_of_input_and_target(name, first):
    """For each pair both refuse, or give a loss of the same type."""
    def program(m, f, second):
        x, target = (np.array([0.4, 0.6, 1.0]).astype(first), np.array([1, 0, 1]).astype(second))
        return getattr(f, name)(m.tensor(x), m.tensor(target))

    for second in TYPES:
        try:
            expected = program(torch, TF, second)
        except (RuntimeError, TypeError):
            with pytest.raises((RuntimeError, TypeError, ValueError), match=name):
                program(mc, F, second)
        else:
            assert_close(program(mc, F, second), expected, 2e-3)


def test_margins_make_integers_floating():
    ones = np.array([3, 1, 2]), np.array([1, 1, 5]), np.array([1, -1, 1])
    assert_close(F.margin_ranking_loss(*map(mc.tensor, ones)), TF.margin_ranking_loss(*map(torch.tensor, ones)), 0)


@pytest.mark.parametrize("name, options", [
    ("mse_loss", {}), ("huber_loss", {}), ("kl_div", {"log_target": True, "reduction": "sum"}),
    ("poisson_nll_loss", {}), ("hinge_embedding_loss", {}), ("soft_margin_loss", {}), ("cross_entropy", {}),
    ("binary_cross_entropy_with_logits", {}), ("multilabel_soft_margin_loss", {})])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(name, options, dtype):
    x, t = [mc.tensor(a, dtype=dtype).requires_grad_() for a in (normal((40, 5)), rng_of(1).random((40, 5)))]
    y = getattr(F, name)(x, t, **options)
    exact = getattr(F, name)(x.detach().float(), t.detach().float(), **options)
    y.backward()
    assert str(y.dtype) == str(x.grad.dtype) == dtype
    assert y.item() == pytest.approx(exact.item(), rel=0.02)


# -- pairs and penalties, which PyTorch has not ---------------------------------------------------------------------

def test_contrastive_loss():
    """Points of the same place, of a distance below the margin and above it, similar and not: by hand."""
    a = mc.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0], [3.0, 4.0], [30.0, 40.0]], requires_grad=True)
    target = mc.tensor([1, 1, 0, 0, 0])
    y = F.contrastive_loss(a, mc.zeros(5, 2), target, margin=6.0, reduction="none")
    np.testing.assert_allclose(y.detach().numpy(), [0, 12.5, 18, 0.5, 0])
    y.sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), [[0, 0], [3, 4], [0, 0], [-0.6, -0.8], [0, 0]], rtol=1e-6)
    for kind in (mc.bool, mc.float32):
        assert F.contrastive_loss(a, mc.zeros(5, 2), target.to(kind), 6.0, "sum").item() == 31


def test_penalties_are_weight_decay():
    """λ·l2_penalty in the loss and weight_decay = λ make the same step of SGD, and l1_penalty its own."""
    weights = [normal((2, 3)), normal((4,), 1)]
    for decay, loss in ((0.3, None), (0.0, lambda ps: 0.3 * F.l2_penalty(ps))):
        parameters = [mc.Parameter(mc.tensor(w)) for w in weights]
        total = sum(p.sum() for p in parameters)
        (total if loss is None else total + loss(p for p in parameters)).backward()
        optim.SGD(parameters, lr=0.1, weight_decay=decay).step()
        for p, w in zip(parameters, weights, strict=True):
            np.testing.assert_allclose(p.detach().numpy(), w - 0.1 * (1 + 0.3 * w))
    w = mc.tensor([[2.0, 0.0], [-3.0, 1.0]], requires_grad=True)
    y = F.l1_penalty(w)
    y.backward()
    assert y.item() == 6 == F.l1_penalty([w]).item() and w.grad.tolist() == [[1, 0], [-1, 1]]


# -- wrong calls ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("x, target, options, match", [
    ((3, 4), [0, 1, 4], {}, r"target 4 is out of range for 4 classes \(0 … 3; ignore_index is -100\)"),
    ((3, 4), [0, 1, -1], {}, "target -1 is out of range"),
    ((3, 4), [0, 1, -100], {"ignore_index": 0}, "target -100 is out of range .* ignore_index is 0"),
    ((3, 4), [0, 1], {}, r"input \(3, 4\) needs targets of shape \(3,\) holding class numbers, got \(2,\)"),
    ((3, 4), [[0, 1, 2]], {}, r"needs targets of shape \(3,\)"),
    ((2, 3, 2), [0, 1], {}, r"needs targets of shape \(2, 2\)"),
    ((4,), [1], {}, r"needs targets of shape \(\)"),
    ((3, 4), [True, False, True], {}, "class numbers must be int64, got bool"),
    ((3, 4), [0, 1, 2], {"reduction": "average"}, "reduction 'average' must be 'none', 'mean' or 'sum'"),
    ((3, 4), [0, 1, 2], {"weight": 3}, r"weight has shape \(3,\), expected \(4,\), one number per class"),
    ((), 0, {}, "needs targets"),
])
def test_classification_losses_refuse(name, x, target, options, match):
    def call(m, f):
        given = {key: m.ones(v) if key == "weight" else v for key, v in options.items()}
        return getattr(f, name)(m.ones(x) if x else m.tensor(1.0), m.tensor(target), **given)

    if x == (4,):  # PyTorch takes targets of one element here
        with pytest.raises(ValueError, match=match):
            call(mc, F)
        return
    check_raises(lambda: call(mc, F), lambda: call(torch, TF), f"{name}: .*{match}")


@pytest.mark.parametrize("call, match", [
    (lambda m, f: f.cross_entropy(m.ones(3, 4), m.ones(3, 4), ignore_index=1), "ignore_index = 1 has no meaning for"),
    (lambda m, f: f.cross_entropy(m.ones(3, 4), m.ones(3)),
     r"a target of float32 holds probabilities, so it needs the shape of input, \(3, 4\), not \(3,\); .*target.long"),
    (lambda m, f: f.cross_entropy(m.ones(3, 4), [0, 1, 2]), "cross_entropy: target must be a Tensor, not list"),
    (lambda m, f: f.cross_entropy(None, m.ones(3)), "cross_entropy: input must be a Tensor, not NoneType"),
    (lambda m, f: f.cross_entropy(m.ones(1, 4), m.tensor([0]), label_smoothing=1.5), "label_smoothing = 1.5 must be"),
    (lambda m, f: f.cross_entropy(m.ones(1, 4), m.tensor([0]), m.ones(4).double()), "input is float32, weight is"),
    (lambda m, f: f.cross_entropy(m.ones(3, 4).long(), m.tensor([0, 1, 2])), "input is int64"),
    (lambda m, f: f.nll_loss(m.ones(3, 4), m.ones(3)), "class numbers must be int64, got float32"),
    (lambda m, f: f.binary_cross_entropy(m.ones(3), m.ones(3, 1)), r"input \(3,\) and target \(3, 1\) must have the"),
    (lambda m, f: f.binary_cross_entropy(m.tensor([1.1]), m.ones(1)), "input must be probabilities in 0 … 1; for"),
    (lambda m, f: f.binary_cross_entropy(m.tensor([-0.1]), m.ones(1)), "input must be probabilities"),
    (lambda m, f: f.binary_cross_entropy(m.tensor([NAN]), m.ones(1)), "input must be probabilities"),
    (lambda m, f: f.binary_cross_entropy(m.ones(2), m.ones(2).double()), "input is float32, target is float64"),
    (lambda m, f: f.binary_cross_entropy(m.ones(2), m.ones(2).long()), "target is int64"),
    (lambda m, f: f.binary_cross_entropy_with_logits(m.ones(3), m.ones(1)), r"input \(3,\) and target \(1,\) must"),
    (lambda m, f: f.mse_loss(m.ones(3), m.ones(3), reduction="avg"), "mse_loss: reduction 'avg' must be"),
    (lambda m, f: f.l1_loss(m.ones(3), m.ones(3), reduction="avg"), "l1_loss: reduction 'avg' must be"),
    (lambda m, f: f.binary_cross_entropy(m.ones(3), m.ones(3), reduction="avg"), "reduction 'avg' must be"),
    (lambda m, f: f.binary_cross_entropy_with_logits(m.ones(3), m.ones(3), reduction="avg"), "reduction 'avg' must be"),
])
def test_other_refusals(call, match):
    check_raises(lambda: call(mc, F), lambda: call(torch, TF), match)


@pytest.mark.parametrize("name, shapes", [
    *[(name, [(3,), (3, 1)]) for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div",
                                          "poisson_nll_loss", "hinge_embedding_loss", "multilabel_soft_margin_loss")]])
def test_nothing_is_broadcast(name, shapes):
    """PyTorch broadcasts (3,) against (3, 1) to (3, 3), at most with a warning: the commonest mistake in regression."""
    with pytest.raises(ValueError, match=f"{name}: .* broadcasting them would compare every element with every other"):
        getattr(F, name)(*map(mc.ones, shapes))


@pytest.mark.parametrize("name, shapes, match", [
    ("gaussian_nll_loss", [(3,), (3, 1), (3,)], r"target \(3, 1\) must have the shape of input \(3,\)"),
    ("cosine_embedding_loss", [(4, 3), (4, 1), (4,)], r"input2 \(4, 1\) and target \(4,\) must be \(N, D\)"),
    ("triplet_margin_loss", [(4, 3), (4, 1), (4, 3)], "must have as many axes, the last of the same length"),
    ("contrastive_loss", [(4, 3), (1, 3), (4,)], r"input1 \(4, 3\), input2 \(1, 3\) and target \(4,\) must be"),
    ("contrastive_loss", [(4, 3), (4, 3), (4, 1)], r"target \(4, 1\) must be"),
])
def test_shapes_that_pytorch_takes(name, shapes, match):
    with pytest.raises((RuntimeError, ValueError), match=f"{name}: .*{match}"):
        getattr(F, name)(*map(mc.ones, shapes))


@pytest.mark.parametrize("name", ["l1_penalty", "l2_penalty"])
def test_a_penalty_needs_parameters(name):
    with pytest.raises(ValueError, match=f"{name}: there are no parameters"):
        getattr(F, name)([])


def test_negative_smoothing_is_refused():
    """PyTorch ignores it."""
    with pytest.raises(RuntimeError, match="label_smoothing = -0.1 must be in 0 … 1"):
        F.cross_entropy(mc.ones(3, 4), mc.tensor([0, 1, 2]), label_smoothing=-0.1)
