"""Mistakes in the backward of softmax and of losses."""

import numpy as np

from .mistake import Mistake, Use, collector

MISTAKES: list[Mistake] = []
softmax = collector("Softmax", MISTAKES)
log_softmax = collector("LogSoftmax", MISTAKES)
cross_entropy = collector("CrossEntropy", MISTAKES)
binary = collector("BinaryCrossEntropy", MISTAKES)
squared_error = collector("SquaredError", MISTAKES)
huber = collector("Huber", MISTAKES)
absolute = collector("Abs", MISTAKES)
subtraction = collector("Sub", MISTAKES)


def _probabilities(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def _upstream(use: Use) -> np.ndarray:
    """The gradient of the loss of each row, as a column."""
    gy = use.gy if use.node.divisor is None else use.gy / use.node.divisor
    return np.broadcast_to(gy, len(use.inputs[1]))[:, None]


def _one_hot(use: Use) -> np.ndarray:
    x, target = use.inputs
    return (target[:, None] == np.arange(x.shape[1])).astype(x.dtype)


@softmax(0, "only the diagonal of softmax", "each output depends on all inputs: gx = y·(gy − Σ gy·y), not y·(1 − y)·gy")
def _(use, gx):
    y = _probabilities(use.inputs[0], use.node.dim)
    return y * (1 - y) * use.gy


@softmax(0, "sum missing in softmax", "gx = y·(gy − Σ gy·y); y·gy alone forgets that the outputs add up to 1")
def _(use, gx):
    return _probabilities(use.inputs[0], use.node.dim) * use.gy


@softmax(0, "sum of softmax without its outputs", "gx = y·(gy − Σ gy·y): the sum is of gy·y, not of gy")
def _(use, gx):
    return _probabilities(use.inputs[0], use.node.dim) * (use.gy - use.gy.sum(use.node.dim, keepdims=True))


@log_softmax(0, "sum missing in log-softmax", "gx = gy − softmax(x)·Σ gy")
def _(use, gx):
    return use.gy


@log_softmax(0, "softmax missing in log-softmax", "gx = gy − softmax(x)·Σ gy, not gy − Σ gy")
def _(use, gx):
    return use.gy - use.gy.sum(use.node.dim, keepdims=True)


@log_softmax(0, "log-softmax multiplied by its output", "gx = gy − softmax(x)·Σ gy: the sum is of gy, not of gy·y")
def _(use, gx):
    y = _probabilities(use.inputs[0], use.node.dim)
    return use.gy - y * (use.gy * y).sum(use.node.dim, keepdims=True)


@cross_entropy(0, "one-hot target not subtracted", "gx = gy·(softmax(x) − onehot(target))")
def _(use, gx):
    kept = _one_hot(use).sum(1, keepdims=True)
    return _upstream(use) * _probabilities(use.inputs[0], 1) * kept


@cross_entropy(0, "target minus prediction", "gx = gy·(softmax(x) − onehot(target)), not the other way round")
def _(use, gx):
    return -gx


@cross_entropy(0, "logits instead of probabilities", "gx has softmax(x) in it, not x")
def _(use, gx):
    kept = _one_hot(use).sum(1, keepdims=True)
    return _upstream(use) * (use.inputs[0] * kept - _one_hot(use))


@cross_entropy(0, "upstream gradient of the loss forgotten", "gx is multiplied by gy, which has the 1/N of a mean")
def _(use, gx):
    return gx / np.where(_upstream(use) == 0, 1, _upstream(use))


@cross_entropy(0, "ignored rows counted", "where the target is ignore_index, gx is 0")
def _(use, gx):
    return _upstream(use) * (_probabilities(use.inputs[0], 1) - _one_hot(use))


@cross_entropy(0, "only the target's logit gets a gradient", "all logits move the loss: softmax(x) in every column")
def _(use, gx):
    return gx * _one_hot(use)


@binary(0, "denominator x·(1 − x) missing", "of a probability gx = (x − t)/(x·(1 − x)); x − t is that of a logit")
def _(use, gx):
    x, t = use.inputs
    return use.gy * (x - t)


@binary(0, "term of the other class missing", "−t·log x − (1 − t)·log(1 − x) has two terms")
def _(use, gx):
    x, t = use.inputs
    return -use.gy * t / x


@squared_error(0, "factor 2 forgotten", "the derivative of (x − t)² is 2·(x − t)")
def _(use, gx):
    return gx / 2


@squared_error(0, "squared errors summed for their mean", "a mean has a 1/n, and so has its gradient")
def _(use, gx):
    return gx * gx.size if use.node.mean else gx


@squared_error(0, "squared errors divided by the batch alone", "a mean over all elements has 1/n, not 1/N")
def _(use, gx):
    return gx * gx.size / len(gx) if use.node.mean and gx.ndim else gx


@huber(0, "not clipped", "beyond delta the gradient is ±delta, not the difference")
def _(use, gx):
    return use.gy * use.inputs[0]


@huber(0, "delta forgotten beyond it", "beyond delta the gradient is delta·sign, not sign")
def _(use, gx):
    d, (delta,) = use.inputs[0], use.node.parameters
    return use.gy * np.where(np.abs(d) < delta, d, np.sign(d))


@absolute(0, "sign forgotten", "the derivative of |x| is the sign of x")
def _(use, gx):
    return use.gy


@subtraction(1, "sign of what is subtracted", "y = a − b, so gb = −gy")
def _(use, gb):
    return -gb
