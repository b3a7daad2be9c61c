"""Dropout layers: they act while training and do nothing in eval mode."""

from .. import functional as F
from ..engine import Tensor
from .arguments import probability
from .module import Module

__all__ = ["Dropout", "Dropout2d"]


class _Dropout(Module):
    """What dropout of elements and of channels share: the probability p and whether the input is overwritten."""

    _shown = ("p", "inplace")

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self.p, self.inplace = probability(type(self).__name__, p), inplace


class Dropout(_Dropout):
    """In training each element is 0 with probability p, the others are divided by 1 − p. Srivastava et al. 2014."""

    def forward(self, input: Tensor) -> Tensor:
        """dropout(input, p, training)."""
        return F.dropout(input, self.p, self.training, self.inplace)


class Dropout2d(_Dropout):
    """Dropout of whole channels, (N, C, H, W) or (C, H, W). Tompson et al. 2015."""

    def forward(self, input: Tensor) -> Tensor:
        """dropout2d(input, p, training)."""
        return F.dropout2d(input, self.p, self.training, self.inplace)
