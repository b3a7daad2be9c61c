"""Dropout layers: they act while training and do nothing in eval mode."""

from .. import functional as F
from ..engine import Tensor
from .arguments import probability
from .module import Module

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"]


class _Dropout(Module):
    """Calls ``_function`` of functional with the probability p, only in training."""

    _function: str
    _shown = ("p", "inplace")

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self.p, self.inplace = probability(type(self).__name__, p), inplace

    def forward(self, input: Tensor) -> Tensor:
        """The function of functional with p, training and inplace."""
        return getattr(F, self._function)(input, self.p, self.training, self.inplace)


class Dropout(_Dropout):
    """In training each element is 0 with probability p, the others are divided by 1 − p. Srivastava et al. 2014."""

    _function = "dropout"


class Dropout1d(_Dropout):
    """Dropout of whole channels, (N, C, L) or (C, L). Tompson et al. 2015."""

    _function = "dropout1d"


class Dropout2d(_Dropout):
    """Dropout of whole channels, (N, C, H, W) or (C, H, W). Tompson et al. 2015."""

    _function = "dropout2d"


class Dropout3d(_Dropout):
    """Dropout of whole channels, (N, C, D, H, W) or (C, D, H, W). Tompson et al. 2015."""

    _function = "dropout3d"


class AlphaDropout(_Dropout):
    """Dropout for SELU, which keeps mean 0 and variance 1. Klambauer et al. 2017."""

    _function = "alpha_dropout"


class FeatureAlphaDropout(_Dropout):
    """AlphaDropout of whole channels, (N, C, ...)."""

    _function = "feature_alpha_dropout"
