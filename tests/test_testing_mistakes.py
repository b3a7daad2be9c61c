"""Known mistakes: each is noticed by gradcheck where it is planted, and recognised by its name."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minicnn.functional as F
from minicnn.backend import Generator
from minicnn.testing import MISTAKES, Case, Mistake, Verdict, gradcheck, planted
from minicnn.testing import layer_cases as layers
from minicnn.testing import sliding_cases as sliding
from minicnn.testing.check import Check
from minicnn.testing.choices import Choices, RandomChoices
from minicnn.testing.diagnosis import library_gradient, recognise, same, simple_mistakes
from minicnn.testing.functions import differentiable
from minicnn.testing.mistakes import classes_in, named
from minicnn.testing.report import strongest
from minicnn.testing.values import normal

from util import normal as values


class Composed:
    """An operation of several, for what no function of minicnn.functional is made of alone."""

    def __init__(self, name: str, function: Callable) -> None:
        self.name, self.function = name, function

    def over(self, library: Any) -> Callable:
        return self.function

    def __str__(self) -> str:
        return self.name


def composed(name: str, function: Callable, *shapes: tuple[int, ...]) -> Callable[[Choices], Case]:
    return lambda choices: Case(Composed(name, function), tuple(normal(choices, shape) for shape in shapes))


def join(a, b):
    from minicnn import cat

    return cat([a, b], 0)


def broadcast(name: str) -> list[Callable[[Choices], Case]]:
    """Either operand is the smaller one."""
    small, large = (1, 2), (2, 3, 2)
    return [lambda c: Case(name, (normal(c, small), normal(c, large))),
            lambda c: Case(name, (normal(c, large), normal(c, small)))]


MAKERS: dict[str, list[Callable[[Choices], Case]]] = {
    "Conv2d": [lambda c: sliding.convolution(c, 2)],
    "Conv2dInputGrad": [lambda c: sliding.transposed(c, 2)],
    "MaxPool2d": [lambda c: sliding.pooling(c, 2, "max"), lambda c: sliding.pooling(c, 2, "max", True)],
    "AvgPool2d": [lambda c: sliding.pooling(c, 2, "avg")],
    "BatchNorm": [lambda c: layers.norm(c, "batch_norm")],
    "Softmax": [lambda c: layers.along_axis(c, "softmax")],
    "LogSoftmax": [lambda c: layers.along_axis(c, "log_softmax")],
    "CrossEntropy": [lambda c: layers.loss(c, "cross_entropy")],
    "BinaryCrossEntropy": [lambda c: layers.loss(c, "binary_cross_entropy")],
    "Huber": [lambda c: layers.loss(c, "huber_loss")],
    "Abs": [lambda c: layers.loss(c, "l1_loss")],
    "SquaredError": [lambda c: layers.loss(c, "mse_loss")],
    "Square": [composed("square", lambda x: x.square(), (3, 2))],
    **{name: [lambda c: layers.loss(c, "l1_loss")] for name in ("Mean", "Sum")},
    "Linear": [layers.linear], "Embedding": [layers.embedding],
    "Relu": [lambda c: layers.activation(c, "relu"), lambda c: layers.activation(c, "relu", True)],
    **{name: [lambda c, name=name: layers.activation(c, name.lower())] for name in ("Elu", "Sigmoid", "Tanh", "Silu",
                                                                                    "Gelu")},
    "LeakyRelu": [lambda c: layers.activation(c, "leaky_relu")],
    "MatMul": [lambda c: Case("matmul", (normal(c, (3, 3)), normal(c, (3, 3))))],
    "Sub": [lambda c: Case("sub", (normal(c, (3, 2)), normal(c, (3, 2)))), *broadcast("sub")],
    **{name: broadcast(name.lower()) for name in ("Add", "Mul", "Div")},
    "Expand": [composed("expand", lambda x: x.expand(4, 3) * 2, (1, 3))],
    "Cat": [composed("cat", join, (2, 3), (1, 3))],
    "Dropout": [composed("dropout", lambda x: F.dropout(x, 0.3, generator=Generator(0)), (4, 5))],
}


# at a tie or a kink any gradient between the slopes is possible; what PyTorch takes is a convention
ONE_OF_SEVERAL = ("last of tied maxima", "every tied maximum gets the gradient", "gradient shared among tied maxima",
                  "gradient of 1 at zero")


def verdict(case: Case, seed: int) -> Verdict:
    """What gradcheck says, without a diagnosis."""
    with np.errstate(all="ignore"):
        check = Check("", differentiable(case.function(), case.tensors(), wrt=case.wrt), seed)
        return strongest(check.run(2, False).values()).verdict


def effective(mistake: Mistake) -> tuple[Case, int, np.ndarray, np.ndarray]:
    """A case in which the mistake makes a difference: the case, the array, its upstream and its wrong gradient."""
    for seed in range(80):
        for make in MAKERS[mistake.operation]:
            case = make(RandomChoices(seed))
            y = case.function()(*case.tensors())
            gy = np.asarray(values(y.shape, 1))
            for i in case.wrt:
                right = library_gradient(case, [gy], i)
                with planted(mistake):
                    wrong = library_gradient(case, [gy], i)
                if right is not None and not same(wrong, right, 1e-3):
                    return case, i, gy, wrong
    raise AssertionError(f"{mistake.name}: makes no difference in any case")


def test_there_are_many_with_names_of_their_own():
    assert len(MISTAKES) >= 100
    assert len({m.name for m in MISTAKES}) == len(MISTAKES)
    for m in MISTAKES:
        assert named(m.name) is m and m.advice and m.operation in MAKERS
    with pytest.raises(ValueError, match="no known mistake 'kernel nailed'"):
        named("kernel nailed")


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.name)
def test_each_is_recognised_by_name_and_noticed_by_gradcheck(mistake):
    case, i, gy, wrong = effective(mistake)
    assert mistake.name in recognise(case, [gy], i, wrong)
    expected = Verdict.KINK if mistake.name in ONE_OF_SEVERAL else Verdict.FAIL
    with planted(mistake):
        assert any(verdict(case, seed) is expected for seed in range(4))
    assert verdict(case, 0) in (Verdict.PASS, Verdict.KINK)  # it is out again


def test_a_right_gradient_is_no_mistake():
    for seed in range(5):
        for makers in MAKERS.values():
            case = makers[0](RandomChoices(seed))
            y = case.function()(*case.tensors())
            gy = np.asarray(values(y.shape, 1))
            for i in case.wrt:
                right = library_gradient(case, [gy], i)
                if right is not None and right.any():
                    assert recognise(case, [gy], i, right) == {}


def test_gradcheck_tells_the_name_to_a_function_of_ones_own():
    """From outside: plain NumPy, three loops, and the most common mistake there is."""
    def windows(x, w):
        oh, ow = x.shape[2] - w.shape[2] + 1, x.shape[3] - w.shape[3] + 1
        return [(i, j, x[:, :, i:i + w.shape[2], j:j + w.shape[3]]) for i in range(oh) for j in range(ow)], (oh, ow)

    def conv(x, w, b):
        places, size = windows(x, w)
        y = np.zeros((len(x), len(w), *size))
        for i, j, window in places:
            y[:, :, i, j] = np.einsum("nckl,ockl->no", window, w) + b
        return y

    def backward(gy, x, w, b, turn=False):
        gx, gw = np.zeros_like(x), np.zeros_like(w)
        for i, j, window in windows(x, w)[0]:
            gw += np.einsum("no,nckl->ockl", gy[:, :, i, j], window)
            part = np.einsum("no,ockl->nckl", gy[:, :, i, j], w[:, :, ::-1, ::-1] if turn else w)
            gx[:, :, i:i + w.shape[2], j:j + w.shape[3]] += part
        return gx, gw, gy.sum((0, 2, 3)) if not turn else gy.reshape(gy.shape[1], -1).sum(1)

    case = Case("conv2d", (values((2, 3, 5, 4)), values((4, 3, 3, 2), 1), values((4,), 2)))
    assert gradcheck(conv, case, backward)
    report = gradcheck(conv, case, lambda *a: backward(*a, turn=True))
    assert list(report.mistakes) == ["kernel not rotated"] and "turned by 180°" in str(report)
    report = gradcheck(conv, case, lambda *a: (*backward(*a)[:2], backward(*a, turn=True)[2]))
    assert list(report.mistakes) == ["bias summed over the wrong axes"]


def test_gradients_of_anything_are_compared_with_simple_mistakes():
    right = values((3, 4), 3)
    for given, options, name in [
            (-right, {}, "wrong sign"), (right / 3, {}, "mean for sum: 1/N too many"),
            (right * 0, {}, "no gradient at all"), (right * 0.7, {"p": 0.3}, "missing 1/(1 − p)"),
            (right * 0.123, {}, "a constant factor"), (right[:, ::-1], {}, "columns reversed"),
            (right[::-1, ::-1], {}, "turned by 180°"), (right.T, {}, "transposed"),
            (right * 12, {}, "sum for mean: 1/n is missing, n elements")]:
        assert name in simple_mistakes(given, right, 1e-6, options)
    assert simple_mistakes(right, right, 1e-6, {}) == {} == simple_mistakes(right + 1, right, 1e-6, {})
    report = gradcheck(lambda x: x.sum(0), (values((3, 4)),), lambda gy, x: np.broadcast_to(gy, x.shape) / 3)
    assert list(report.mistakes) == ["mean for sum: 1/N too many"]


@pytest.mark.parametrize("operation", ["dropout", "my own dropout"])
def test_an_operation_that_minicnn_has_not_or_calls_in_another_way(operation):
    """A mask of one's own, for which minicnn's dropout has no argument; the option p is still told."""
    case = Case(operation, (values((3, 4)), values((3, 4), 1) > 0), {"p": 0.4})
    report = gradcheck(lambda x, mask, p: x * mask / (1 - p), case, lambda gy, x, mask, p: gy * mask)
    assert list(report.mistakes) == ["missing 1/(1 − p)"] and "times 0.6" in str(report)


def test_second_derivatives_stay_right():
    """A mistake changes one gradient and nothing else."""
    case = MAKERS["Tanh"][0](RandomChoices(0))
    with planted(named("tanh not squared")):
        assert gradcheck(case.plain(), case).verdict is Verdict.FAIL
        report = gradcheck(case.plain(), case, order=2)
    assert report.verdict is Verdict.FAIL  # the gradient that is differentiated is the wrong one, its derivative right
    assert gradcheck(case.plain(), case, order=2)


def test_operations_of_a_graph():
    case = MAKERS["Conv2d"][0](RandomChoices(0))
    y = F.relu(case.function()(*case.tensors()))
    assert {"Conv2d", "Relu"} <= classes_in([y])
