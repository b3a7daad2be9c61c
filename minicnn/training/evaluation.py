"""How good a model is on images it is shown but does not learn from."""

from dataclasses import dataclass

import numpy as np

from .. import functional as F
from ..backend import to_numpy
from ..data import DataLoader
from ..nn import Module
from ..engine import Tensor, no_grad

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """Mean loss, and how often each class was taken for which.

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
    """A batch on the device of the model's weights, the images in their dtype."""
    weight = next(model.parameters())
    return x.to(weight), y.to(device=weight.device)


def evaluate(model: Module, batches: DataLoader) -> Evaluation:
    """Run a model, in evaluation mode and without recording, over all images; its own mode is restored afterwards."""
    was_training = model.training
    model.eval()
    loss, confusion = 0.0, None
    try:
        with no_grad():
            for x, y in batches.epoch(0):
                x, y = like_weights(model, x, y)
                logits = model(x)
                if confusion is None:
                    confusion = np.zeros((logits.shape[1],) * 2, np.int64)
                loss += F.cross_entropy(logits, y, reduction="sum").item()
                np.add.at(confusion, (to_numpy(y.data), to_numpy(logits.data).argmax(1)), 1)
    finally:
        model.train(was_training)
    if confusion is None:
        raise ValueError("evaluate: there are no images")
    return Evaluation(loss / int(confusion.sum()), confusion)
