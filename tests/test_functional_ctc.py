"""ctc_loss beside the sum over all paths written out, beside PyTorch, and what the two cannot be asked."""

import itertools
import math

import numpy as np
import pytest
import torch

import minicnn as mc
import minicnn.functional as F
from minicnn.kernels import reference

from util import assert_close, normal, rng_of

TF = torch.nn.functional
NAN, INF = float("nan"), float("inf")
KERNELS = pytest.mark.parametrize("kernels", ["reference", "cpu", "cuda-emulated"])


def log_softmax(x: np.ndarray) -> np.ndarray:
    return torch.log_softmax(torch.from_numpy(x), -1).numpy()


def spelled(path: tuple[int, ...], blank: int) -> list[int]:
    return [label for label, _ in itertools.groupby(path) if label != blank]


def written_out(x: np.ndarray, target: list[int], blank: int) -> tuple[float, np.ndarray]:
    """P(target) as the sum over all paths, and of that the part that has each label in each frame."""
    total, part = 0.0, np.zeros(x.shape)
    frames = np.arange(len(x))
    for path in itertools.product(range(x.shape[1]), repeat=len(x)):
        if spelled(path, blank) == target:
            p = math.exp(x[frames, path].sum())
            total += p
            part[frames, path] += p
    return total, part / (total or 1)


@KERNELS
@pytest.mark.parametrize("target, blank", [([0, 1], 2), ([1, 1], 0), ([], 1), ([2], 0), ([2, 0, 2], 1),
                                           ([1, 1, 2, 2], 0)])
def test_all_paths(kernels, target, blank):
    x = log_softmax(normal((5, 3)))
    p, part = written_out(x, target, blank)
    leaf = mc.tensor(x, requires_grad=True)
    with mc.use_kernels(kernels):
        y = F.ctc_loss(leaf, mc.tensor(target, dtype=mc.int64), (5,), (len(target),), blank, "sum")
        assert y.item() == (pytest.approx(-math.log(p)) if p else INF)
        if p:
            y.backward()
            np.testing.assert_allclose(leaf.grad.numpy(), np.exp(x) - part, atol=1e-12)


def problem(frames: int, batch: int, classes: int, longest: int, seed: int = 0) -> tuple:
    """Log-probabilities, states, frames and counts, as the kernels take them, and the target lengths."""
    rng = rng_of(seed)
    states = np.zeros((batch, 2 * longest + 1), int)
    states[:, 1::2] = rng.integers(1, classes, (batch, longest))
    lengths = rng.integers(0, longest + 1, batch)
    return (log_softmax(normal((frames, batch, classes), seed)), states, rng.integers(0, frames + 1, batch),
            2 * lengths + 1)


@pytest.mark.parametrize("sizes", [(7, 4, 3, 3), (1, 1, 2, 1), (40, 9, 5, 12)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_kernels_agree(kernels, sizes, dtype):
    """Alone and in threads, with arrays that do not lie in order in memory."""
    x, *alignment = problem(*sizes)
    x = np.asfortranarray(x.astype(dtype))
    gy = np.repeat(normal((sizes[1],)), 2).astype(dtype)[::2]
    gy[1:2] = 0
    results = []
    for each in (reference, kernels):
        loss, alpha = each.ctc(x, *alignment)
        with np.errstate(invalid="ignore"):  # ∞ − ∞ where a target is too long
            results.append((loss, alpha, each.ctc_grad(gy, x, *alignment, alpha)))
    for a, b in zip(*results, strict=True):
        assert_close(a, b, {8: 1e-12, 4: 1e-5, 2: 1e-2}[a.itemsize])


@KERNELS
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-10), (np.float32, 1e-4)])
def test_the_gradient_is_that_of_pytorch_also_without_log_softmax(kernels, dtype, tolerance):
    x = normal((9, 3, 4)).astype(dtype)  # not log-probabilities of anything
    targets, inputs, lengths, gy = [[1, 3, 3], [2, 9, -1], [1, 1, 1]], [9, 7, 6], [3, 1, 3], normal((3,)).astype(dtype)
    a, b = mc.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    with mc.use_kernels(kernels):
        y = F.ctc_loss(a, mc.tensor(targets), mc.tensor(inputs), mc.tensor(lengths), reduction="none")
        y.backward(mc.tensor(gy))
    expected = TF.ctc_loss(b, torch.tensor(targets).clamp(0, 3), torch.tensor(inputs), torch.tensor(lengths),
                           reduction="none")
    expected.backward(torch.tensor(gy))
    assert_close(y, expected, tolerance)
    assert_close(a.grad, b.grad, tolerance)


@pytest.mark.parametrize("blank, zero_infinity", [(0, False), (3, False), (0, True)])
def test_second_derivative(blank, zero_infinity):
    """PyTorch has none. The last sequence is empty or, with zero_infinity, too long for its frames."""
    targets = np.array([[1, 2, 2], [2, 1, 0], [1, 1, 1]])
    inputs, lengths = (6, 5, 2), (3, 2, 3 if zero_infinity else 0)

    def loss(logits):
        return F.ctc_loss(F.log_softmax(logits, 2), mc.tensor(targets), inputs, lengths, blank, "none", zero_infinity)

    x = mc.tensor(normal((6, 3, 4)), requires_grad=True)
    assert mc.autograd.gradcheck(loss, (x,)) and mc.autograd.gradgradcheck(loss, (x,))


def test_the_gradient_is_the_same_where_it_is_recorded():
    x = log_softmax(normal((6, 4, 4)))
    x[:, 3, 2] = -INF
    for zero_infinity in (False, True):
        leaf = mc.tensor(x, requires_grad=True)
        y = F.ctc_loss(leaf, mc.tensor([[1, 2], [3, 3], [1, 1], [3, 1]]), (6, 4, 2, 5), (2, 2, 2, 2), 0, "sum",
                       zero_infinity)
        plain, = mc.autograd.grad(y, leaf, retain_graph=True)
        recorded, = mc.autograd.grad(y, leaf, create_graph=True)
        plain = plain.numpy()
        if not zero_infinity:
            assert np.isnan(plain[:2, 2, :2]).all() and np.isnan(recorded.detach().numpy()[:2, 2]).all()
            plain[:2, 2] = recorded.detach().numpy()[:2, 2]
        assert_close(recorded, plain, 1e-12)


def test_a_class_that_cannot_be_might_as_well_not_be_there():
    """Its logit is −∞. PyTorch's gradient is NaN."""
    x = normal((5, 2, 4))
    x[:, :, 2] = -INF
    a, b = mc.tensor(x, requires_grad=True), mc.tensor(np.delete(x, 2, 2), requires_grad=True)
    y = F.ctc_loss(F.log_softmax(a, 2), mc.tensor([[1, 3], [3, 3]]), (5, 5), (2, 2))
    expected = F.ctc_loss(F.log_softmax(b, 2), mc.tensor([[1, 2], [2, 2]]), (5, 5), (2, 2))
    y.backward(), expected.backward()
    assert_close(y, expected.detach().numpy(), 1e-12)
    assert_close(np.delete(a.grad.numpy(), 2, 2), b.grad.numpy(), 1e-12)
    assert not a.grad.numpy()[:, :, 2].any()


def test_nan_stays_in_its_sequence():
    x = log_softmax(normal((4, 2, 3)))
    x[1, 0, 1] = NAN
    y = F.ctc_loss(mc.tensor(x), mc.tensor([[1], [2]]), (4, 4), (1, 1), reduction="none", zero_infinity=True).numpy()
    assert np.isnan(y[0]) and np.isfinite(y[1])


def test_long_sequences_keep_their_digits():
    """300 frames in float32: the probability is e^−400, far below the smallest number."""
    x = log_softmax(normal((300, 1, 5)))
    targets, lengths = np.arange(40)[None] % 4 + 1, (40,)
    exact = TF.ctc_loss(torch.tensor(x), torch.tensor(targets), (300,), lengths, reduction="sum").item()
    assert exact > 300
    y = F.ctc_loss(mc.tensor(x.astype(np.float32)), mc.tensor(targets), (300,), lengths, reduction="sum")
    assert y.item() == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("targets, options, error, match", [
    ([[1, 4], [1, 2]], {}, IndexError, r"ctc_loss: target 4 is out of range for 4 classes"),  # PyTorch reads on
    ([[1, -1], [1, 2]], {}, IndexError, "ctc_loss: target -1 is out of range"),
    ([[1, 0], [1, 2]], {}, ValueError, "ctc_loss: a target holds the blank, 0, which stands for no label"),
    ([[1, 2], [1, 2]], {"blank": 2}, ValueError, "ctc_loss: a target holds the blank, 2"),
])
def test_targets_that_pytorch_takes(targets, options, error, match):
    with pytest.raises(error, match=match):
        F.ctc_loss(mc.zeros(5, 2, 4), mc.tensor(targets), (5, 5), (2, 2), **options)


@pytest.mark.parametrize("inputs, lengths, match", [
    ((6, 5), (2, 2), r"input_lengths = \[6, 5\] must be 2 integers of 0 … 5, one per sequence"),
    ((5,), (2, 2), r"input_lengths = \[5\] must be 2 integers"),
    ((5, 5), (2, 3), r"target_lengths = \[2, 3\] must be 2 integers of 0 … 2"),
    ((5, 5), (2.0, 2.0), r"target_lengths = \[2.0, 2.0\] must be 2 integers"),
])
def test_lengths_are_refused(inputs, lengths, match):
    with pytest.raises(RuntimeError, match=f"ctc_loss: {match}"):
        F.ctc_loss(mc.zeros(5, 2, 4), mc.tensor([[1, 2], [1, 2]]), inputs, lengths)
