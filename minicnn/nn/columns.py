"""im2col and col2im as layers."""

from typing import Any

from .. import functional as F
from ..engine import Tensor
from .module import Module

__all__ = ["Fold", "Unfold"]


class Unfold(Module):
    """Every window of an image as a column, (N, C, H, W) → (N, C·KH·KW, OH·OW); see functional.unfold."""

    _shown = ("kernel_size", "dilation", "padding", "stride")

    def __init__(self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> None:
        super().__init__()
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def forward(self, input: Tensor) -> Tensor:
        """unfold(input, kernel_size, ...)."""
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)


class Fold(Module):
    """Columns put back into images and added up, (N, C·KH·KW, OH·OW) → (N, C, *output_size); see functional.fold."""

    _shown = ("output_size", "kernel_size", "dilation", "padding", "stride")

    def __init__(self, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
                 stride: Any = 1) -> None:
        super().__init__()
        self.output_size, self.kernel_size = output_size, kernel_size
        self.dilation, self.padding, self.stride = dilation, padding, stride

    def forward(self, input: Tensor) -> Tensor:
        """fold(input, output_size, kernel_size, ...)."""
        return F.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)
