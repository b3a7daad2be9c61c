"""The exercises, each with the calls that it is tried with."""

from typing import Any

import numpy as np

from ... import functional as F
from ...backend import Generator
from ...engine import Tensor
from ..case import Case
from .exercise import Exercise, Outputs, Trial, trial


def _normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


# -- convolution ----------------------------------------------------------------------------------------------------

def _conv(title: str, x: tuple[int, ...], w: tuple[int, ...], stride: tuple[int, int] = (1, 1),
          padding: tuple[int, int] = (0, 0)) -> Trial:
    size = [(n + 2 * p - k) // s + 1 for n, p, k, s in zip(x[2:], padding, w[2:], stride, strict=True)]
    case = Case("conv2d", (_normal(0, *x), _normal(1, *w), _normal(2, w[0])), {"stride": stride, "padding": padding})
    gy = _normal(3, x[0], w[0], *size)
    return trial(title, (gy, *case.arrays[:2], stride, padding), case, gy, (0, 1, 2))


def _convolutions() -> list[Trial]:
    return [_conv("one channel, kernel 2×2", (1, 1, 3, 4), (1, 1, 2, 2)),
            _conv("channels in and out", (1, 2, 4, 4), (3, 2, 2, 2)),
            _conv("two images", (2, 2, 4, 5), (3, 2, 3, 3)),
            _conv("kernel 3×2", (2, 2, 5, 4), (2, 2, 3, 2)),
            _conv("padding 1", (2, 2, 4, 5), (3, 2, 3, 3), padding=(1, 1)),
            _conv("stride 2", (2, 2, 5, 7), (3, 2, 3, 3), stride=(2, 2)),
            _conv("stride 2, and rows that no window covers", (1, 2, 6, 8), (3, 2, 3, 3), stride=(2, 2)),
            _conv("stride (2, 1), padding (1, 2)", (3, 3, 7, 5), (2, 3, 3, 4), (2, 1), (1, 2))]


# -- pooling --------------------------------------------------------------------------------------------------------

def _pool(title: str, x: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int]) -> Trial:
    case = Case("max_pool2d", (x,), {"kernel_size": kernel, "stride": stride})
    size = [(n - k) // s + 1 for n, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
    gy = _normal(1, *x.shape[:2], *size)
    return trial(title, (gy, x, kernel, stride), case, gy, (0,))


def _poolings() -> list[Trial]:
    return [_pool("2×2 windows side by side", _normal(0, 1, 1, 4, 6), (2, 2), (2, 2)),
            _pool("images and channels", _normal(0, 2, 3, 4, 4), (2, 2), (2, 2)),
            _pool("windows 2×3", _normal(0, 2, 2, 4, 6), (2, 3), (2, 3)),
            _pool("windows that overlap", _normal(0, 2, 2, 5, 6), (3, 3), (1, 2)),
            _pool("a column that no window covers", _normal(0, 1, 2, 4, 5), (2, 2), (2, 2)),
            _pool("negative numbers alone", -1 - abs(_normal(0, 1, 2, 4, 4)), (2, 2), (2, 2)),
            _pool("equal numbers", np.random.default_rng(0).integers(0, 2, (2, 2, 4, 4)).astype(float), (2, 2), (2, 2))]


# -- batch norm -----------------------------------------------------------------------------------------------------

def _norm(title: str, x: np.ndarray, w: np.ndarray, eps: float = 1e-5) -> Trial:
    case = Case("batch_norm", (x, None, None, w, _normal(2, len(w))), {"training": True, "eps": eps})
    gy = _normal(1, *x.shape)
    return trial(title, (gy, x, w, eps), case, gy, (0, 3, 4))


def _norms() -> list[Trial]:
    return [_norm("one channel of four values, w = 1", _normal(0, 4, 1, 1, 1), np.ones(1)),
            _norm("a scale", _normal(0, 4, 1, 1, 1), np.array([2.5])),
            _norm("channels", _normal(0, 5, 3, 1, 1), _normal(1, 3)),
            _norm("images of 2×3 pixels", 3 + 2 * _normal(0, 4, 3, 2, 3), _normal(1, 3)),
            _norm("a small variance, where eps counts", 0.01 * _normal(0, 4, 2, 2, 2), _normal(1, 2), eps=1e-3)]


# -- dropout --------------------------------------------------------------------------------------------------------

class _Drawn:
    """dropout with the same mask whenever it is called."""

    def __str__(self) -> str:
        return "dropout"

    def over(self, library: Any) -> Any:
        """The operation as functions of tensors."""
        return lambda x, p, training: library.dropout(x, p, training, generator=Generator(0))


def _drop(title: str, shape: tuple[int, ...], p: float, training: bool) -> Trial:
    case = Case(_Drawn(), (_normal(0, *shape),), {"p": p, "training": training})
    x, gy = case.arrays[0], _normal(1, *shape)
    mask = F.dropout(Tensor(np.ones(shape)), p, generator=Generator(0)).numpy() != 0
    y = case.function()(Tensor(x)).numpy()
    if training:
        return trial(title, (x, gy, mask, p, training), case, gy, (None, 0), (y,))
    return Trial(title, (x, gy, mask, p, training), (y, gy), case, gy, (None, None))


def _drops() -> list[Trial]:
    return [_drop("p = ½", (3, 4), 0.5, True), _drop("p = 0.2", (4, 2, 3), 0.2, True),
            _drop("while testing", (3, 4), 0.5, False), _drop("p = 0", (3, 4), 0.0, True)]


def _dropped(factor: Any) -> Any:
    return lambda x, gy, mask, p, training: (x * factor(mask, p, training), gy * factor(mask, p, training))


DROPOUT_SLIPS = {
    "drops while testing, too": ("unless training, y = x and gx = gy",
                                 _dropped(lambda mask, p, training: mask / (1 - p))),
    "missing 1/(1 − p)": ("divide what is kept by 1 − p, in y and in gx",
                          _dropped(lambda mask, p, training: mask * 1.0 if training else mask * 0 + 1.0)),
    "divided by p": ("what is kept is divided by the probability to be kept, 1 − p",
                     _dropped(lambda mask, p, training: mask / p if training and p else mask * 1.0)),
    "mask inverted": ("mask is True where an element is kept",
                      _dropped(lambda mask, p, training: ~mask / (1 - p) if training else mask * 0 + 1.0)),
    "scaled while testing": ("that is the dropout of the paper; today what is kept is divided by 1 − p in training, "
                             "and testing does nothing",
                             _dropped(lambda mask, p, training: mask * 1.0 if training else mask * 0 + 1 - p)),
    "backward of another operation": ("gx is gy with the same mask and scale as y has of x",
                                      lambda x, gy, mask, p, training: (x, gy)),
}


# -- cross entropy --------------------------------------------------------------------------------------------------

def _entropy(title: str, x: np.ndarray, target: list[int]) -> Trial:
    case = Case("cross_entropy", (x, np.array(target)))
    loss = case.function()(*case.tensors()).detach().numpy()
    return trial(title, case.arrays, case, np.ones(()), (None, 0), (loss,))


def _entropies() -> list[Trial]:
    return [_entropy("one row", _normal(0, 1, 3), [2]), _entropy("four rows of three", _normal(0, 4, 3), [0, 2, 1, 1]),
            _entropy("five rows of two", 3 * _normal(0, 5, 2), [1, 0, 0, 1, 1]),
            _entropy("logits near 1000", 1000 + _normal(0, 3, 4), [3, 0, 2])]


def _probabilities(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def _losses(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    return -np.log(_probabilities(x)[np.arange(len(x)), target])


def _softmax_twice(x: np.ndarray, target: np.ndarray) -> Outputs:
    return np.asarray(_losses(_probabilities(x), target).mean()), np.zeros_like(x)


ENTROPY_SLIPS = {
    "softmax twice": ("x are logits; with probabilities in their place the loss cannot fall below "
                      "ln(1 + (K − 1)/e)", _softmax_twice),
    "sum for mean": ("the loss, and so the gradient, is divided by N",
                     lambda x, target: (np.asarray(_losses(x, target).sum()),
                                        _probabilities(x) - (target[:, None] == np.arange(x.shape[1])))),
    "mean over rows and classes": ("divide by N, not by N·K",
                                   lambda x, target: (np.asarray(_losses(x, target).sum() / x.size),
                                                      (_probabilities(x) - (target[:, None] == np.arange(x.shape[1])))
                                                      / x.size)),
    "target not subtracted": ("gx = (p − onehot(target))/N", lambda x, target: (np.asarray(_losses(x, target).mean()),
                                                                               _probabilities(x) / len(x))),
}


EXERCISES = {exercise.name: exercise for exercise in (
    Exercise("conv-backward", "conv2d_backward", ("gx", "gw", "gb"), "where the gradient of a convolution goes",
             "kernels/reference/convolution.py", _convolutions),
    Exercise("pool", "max_pool2d_backward", ("gx",), "who gets the gradient of a maximum",
             "minicnn/ops/pool.py", _poolings),
    Exercise("batchnorm", "batch_norm_backward", ("gx", "gw", "gb"), "the three terms of the gradient of batch norm",
             "minicnn/ops/norm.py", _norms),
    Exercise("dropout", "dropout", ("y", "gx"), "dropping, scaling, and leaving alone while testing",
             "minicnn/ops/dropout.py", _drops, DROPOUT_SLIPS),
    Exercise("softmax-cross-entropy", "cross_entropy", ("loss", "gx"), "a loss without overflow, and its gradient",
             "minicnn/ops/loss_class.py", _entropies, ENTROPY_SLIPS),
)}
