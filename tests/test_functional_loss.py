"""Losses against PyTorch with every option, first and second order; huge logits; wrong calls."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import minicnn as mc
import minicnn.functional as F

from util import assert_close, check_op, check_raises, in_both, normal, rng_of

TF = torch.nn.functional
NAN, INF = float("nan"), float("inf")
REDUCTIONS = ["none", "mean", "sum"]


# -- class numbers --------------------------------------------------------------------------------------------------

@st.composite
def classifications(draw: st.DrawFn) -> dict:
    """Logits, class numbers (some to be ignored) and options."""
    classes, extra = draw(st.integers(1, 6)), tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    batch = draw(st.sampled_from([0, 1, 2, 5]))
    shape = (batch, classes, *extra) if extra or draw(st.booleans()) else (classes,)
    rng = rng_of(draw(st.integers(0, 10_000)))
    target = rng.integers(0, classes, shape[:1] * (len(shape) > 1) + shape[2:])
    ignore_index = draw(st.sampled_from([-100, -1, 0, classes - 1, 999]))
    target = np.where(rng.random(target.shape) < draw(st.sampled_from([0.0, 0.4, 1.0])), ignore_index, target)
    weight = rng.random(classes) + 0.1 if draw(st.booleans()) else None
    options = {"ignore_index": ignore_index, "reduction": draw(st.sampled_from(REDUCTIONS))}
    return {"shape": shape, "target": np.asarray(target), "weight": weight, "options": options}


def counted(case: dict) -> bool:
    """Whether the mean has rows to count; without any, PyTorch's second derivative is NaN."""
    used = case["target"] != case["options"].get("ignore_index", -100)
    return case["options"].get("reduction", "mean") != "mean" or bool(used.any())


@settings(max_examples=100)
@given(classifications(), st.sampled_from([0.0, 0.0, 0.1, 0.5, 1.0]))
@example({"shape": (5, 4), "target": np.array([3, 0, 1, 1, 2]), "weight": None, "options": {}}, 0.0)
@example({"shape": (2, 3, 2), "target": np.full((2, 2), -100), "weight": np.ones(3), "options": {}}, 0.1)
@example({"shape": (2, 3), "target": np.full(2, 7), "weight": None, "options": {"ignore_index": 7}}, 0.0)
@example({"shape": (200, 10), "target": np.arange(200) % 10, "weight": None, "options": {}}, 0.0)
def test_cross_entropy(case, label_smoothing):
    options = {**case["options"], "label_smoothing": label_smoothing}
    arrays = [a for a in (normal(case["shape"]) * 3, case["target"], case["weight"]) if a is not None]
    check_op(*in_both(lambda f, *t: f.cross_entropy(*t, **options)), *arrays, constant=(2,), second=counted(case))


@settings(max_examples=60)
@given(classifications())
@example({"shape": (2, 3, 2), "target": np.full((2, 2), -100), "weight": None, "options": {}})
def test_nll_loss(case):
    arrays = [a for a in (normal(case["shape"]), case["target"], case["weight"]) if a is not None]
    check_op(*in_both(lambda f, *t: f.nll_loss(*t, **case["options"])), *arrays, constant=(2,), second=counted(case))


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


def test_ignored_rows_do_not_count_whatever_they_hold():
    x = normal((4, 3))
    x[1] = [NAN, INF, 0.0]
    for weight in (None, mc.ones(3, dtype=mc.float64)):
        leaf = mc.tensor(x, requires_grad=True)
        y = F.cross_entropy(leaf, mc.tensor([0, -100, 2, 1]), weight)
        y.backward()
        kept = [0, 2, 3]
        r = torch.tensor(x[kept], requires_grad=True)
        expected = TF.cross_entropy(r, torch.tensor([0, 2, 1]))
        expected.backward()
        assert_close(y, expected, 1e-12)
        assert_close(leaf.grad.numpy()[kept], r.grad, 1e-12)


# -- probabilities --------------------------------------------------------------------------------------------------

@settings(max_examples=40)
@given(st.sampled_from([(3, 4), (1, 2), (5,), (2, 3, 2), (2, 3, 2, 2), (1, 1)]), st.booleans(),
       st.sampled_from(REDUCTIONS), st.sampled_from([0.0, 0.1, 1.0]), st.booleans())
def test_cross_entropy_with_probabilities(shape, weighted, reduction, smoothing, constant_target):
    classes = shape[1] if len(shape) > 1 else shape[0]
    target = np.exp(normal(shape, 1))
    target /= target.sum(1 if len(shape) > 1 else 0, keepdims=True)
    weight = (rng_of(3).random(classes) + 0.1,) if weighted else ()
    check_op(*in_both(lambda f, *t: f.cross_entropy(*t, reduction=reduction, label_smoothing=smoothing)),
             normal(shape) * 3, target, *weight, constant=(1, 2) if constant_target else (2,))


def test_one_hot_probabilities_are_class_numbers():
    numbers = np.array([0, 2, 1, 2])
    check_op(lambda x: F.cross_entropy(x, mc.tensor(np.eye(3)[numbers], dtype=x.dtype), label_smoothing=0.2),
             lambda x: TF.cross_entropy(x, torch.from_numpy(numbers), label_smoothing=0.2), normal((4, 3)))


# -- element by element ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3), (2, 3, 4, 5)])
@pytest.mark.parametrize("name", ["mse_loss", "l1_loss"])
def test_mse_and_l1_loss(name, shape, reduction):
    a, b = np.asarray(normal(shape)), np.asarray(normal(shape, 1))
    check_op(*in_both(lambda f, x, t: getattr(f, name)(x, t, reduction=reduction)), a, b)


def test_l1_loss_has_no_slope_where_both_are_equal():
    a = normal((3, 4))
    b = a.copy()
    b[1] += 1
    check_op(*in_both(lambda f, x, t: f.l1_loss(x, t, reduction="none")), a, b)


BCE_SHAPES = st.sampled_from([(), (4,), (2, 3), (2, 3, 2, 2), (0, 3)])


@settings(max_examples=40)
@given(BCE_SHAPES, st.sampled_from(REDUCTIONS), st.booleans())
def test_binary_cross_entropy(shape, reduction, weighted):
    if shape == (0, 3) and reduction == "mean":
        return  # see test_the_mean_of_nothing
    rng = rng_of(1)
    x, target = np.asarray(rng.uniform(0.02, 0.98, shape)), np.asarray(rng.uniform(0, 1, shape))
    arrays = [x, target] + [np.asarray(rng.random(shape))] * weighted
    check_op(*in_both(lambda f, *t: f.binary_cross_entropy(*t, reduction=reduction)), *arrays, constant=(2,))


def test_binary_cross_entropy_at_the_ends():
    """Logarithms end at −100. (PyTorch's second derivative at the ends is that of its 1e-12 in the denominator.)"""
    x, t = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 1e-45, 1e-300]), np.array([0.0, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0])
    check_op(*in_both(lambda f, x, t: f.binary_cross_entropy(x, t, reduction="none")), x, t, second=False, single=False,
             tolerance=1e-8, constant=(1,))
    target = mc.tensor(t, requires_grad=True)  # its gradient is that of the clamped loss; PyTorch's is infinite
    F.binary_cross_entropy(mc.tensor(x), target, reduction="sum").backward()
    np.testing.assert_allclose(target.grad.numpy(), [100, 100, -100, -100, -100, 100, 100])


@settings(max_examples=60)
@given(BCE_SHAPES, st.sampled_from(REDUCTIONS), st.booleans(), st.sampled_from([None, "number", "per column"]))
def test_binary_cross_entropy_with_logits(shape, reduction, weighted, pos_weight):
    if shape == (0, 3) and reduction == "mean":
        return  # see test_the_mean_of_nothing
    rng = rng_of(2)
    extras = {}
    if weighted:
        extras["weight"] = np.asarray(rng.random(shape))
    if pos_weight:
        extras["pos_weight"] = np.asarray(rng.random(shape[-1:] if pos_weight == "per column" else ()) + 0.5)

    def program(f, x, t, *given):
        return f.binary_cross_entropy_with_logits(x, t, reduction=reduction, **dict(zip(extras, given, strict=True)))

    check_op(*in_both(program), np.asarray(normal(shape) * 3), np.asarray(rng.uniform(0, 1, shape)), *extras.values(),
             constant=(2, 3))


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
    (lambda m, f: f.cross_entropy(m.ones(3, 4), m.ones(3)), r"input \(3, 4\) and target \(3,\) must have the same sh"),
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


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss"])
def test_nothing_is_broadcast(name):
    """PyTorch broadcasts (3,) against (3, 1) to (3, 3), with a warning: the most common mistake in regression."""
    with pytest.raises(ValueError, match=f"{name}: .* broadcasting them would compare every element with every other"):
        getattr(F, name)(mc.ones(3), mc.ones(3, 1))


def test_negative_smoothing_is_refused():
    """PyTorch ignores it."""
    with pytest.raises(RuntimeError, match="label_smoothing = -0.1 must be in 0 … 1"):
        F.cross_entropy(mc.ones(3, 4), mc.tensor([0, 1, 2]), label_smoothing=-0.1)
