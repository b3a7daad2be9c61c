"""How good a model is on images it is shown but does not learn from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import functional as F
from ..backend import to_numpy
from ..data import DataLoader
from ..data.sequences import IGNORED
from ..models.recurrent import Seq2Seq
from ..nn import Module
from ..engine import Tensor, no_grad

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """Mean loss, and how often each class was taken for which. Of texts whose symbols have classes, symbols count.

    Attributes:
        loss: mean cross entropy per image.
        confusion: (K, K) counts, rows are the true classes, columns the predicted ones.
    """

    loss: float
    confusion: np.ndarray

    @property
    def images(self) -> int:
        """How many images there were."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The fraction of images whose class was predicted."""
        return float(np.trace(self.confusion) / self.images)

    @property
    def recall(self) -> np.ndarray:
        """Of each true class, the fraction that was recognised; NaN for a class without images."""
        return _share(self.confusion, axis=1)

    @property
    def precision(self) -> np.ndarray:
        """Of each predicted class, the fraction that was right; NaN for a class never predicted."""
        return _share(self.confusion, axis=0)


def _share(confusion: np.ndarray, axis: int) -> np.ndarray:
    totals = confusion.sum(axis)
    return np.divide(np.diag(confusion), totals, out=np.full(len(totals), np.nan), where=totals > 0)


def like_weights(model: Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """A batch on the device of the model's weights; images in their dtype, the symbols of texts, int64, as they are."""
    weight = next(model.parameters(), None)
    if weight is None:
        return x, y
    return x.to(device=weight.device) if x.dtype == np.int64 else x.to(weight), y.to(device=weight.device)


def inputs(model: Module, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """What the model is called with: an encoder–decoder is shown what it should write, symbol by symbol."""
    return (x, y) if isinstance(model, Seq2Seq) else (x,)


def logits_of(answer: Any) -> Tensor:
    """The logits, (N, K) or of texts (N, K, T), in what a model returns: auxiliary heads and states come after them."""
    return answer[0] if isinstance(answer, tuple) else answer


def hits(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Pairs (true class, predicted class) of all labels that count, (2, M)."""
    counts = labels != IGNORED
    return np.stack([labels[counts], logits.argmax(1)[counts]])


def evaluate(model: Module, batches: DataLoader, after_batch: Callable[[], None] = lambda: None) -> Evaluation:
    """Run a model, in evaluation mode and without recording, over all images; its own mode is restored afterwards.

    What ``after_batch`` raises ends it.
    """
    was_training = model.training
    model.eval()
    loss, confusion = 0.0, None
    try:
        with no_grad():
            for x, y in batches.epoch(0):
                x, y = like_weights(model, x, y)
                logits = logits_of(model(*inputs(model, x, y)))
                if confusion is None:
                    confusion = np.zeros((logits.shape[1],) * 2, np.int64)
                loss += F.cross_entropy(logits, y, reduction="sum").item()
                np.add.at(confusion, tuple(hits(to_numpy(logits.data), to_numpy(y.data))), 1)
                after_batch()
    finally:
        model.train(was_training)
    if confusion is None:
        raise ValueError("evaluate: there are no images")
    return Evaluation(loss / int(confusion.sum()), confusion)
