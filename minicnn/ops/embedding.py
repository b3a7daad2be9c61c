"""Vectors for the members of a vocabulary: rows of a table that is learned, or one-hot."""

from .. import dtypes
from ..backend import array_module
from ..engine import Function, Tensor, no_grad
from .creation import arange
from .index import Axes, IndexAdd

__all__ = ["embedding", "one_hot"]

class Embedding(Function):
    """y = w[index];  gw[index] += gy, after it was set to 0 or scaled where an option says so."""

    def __init__(self, padding_idx: int | None, by_frequency: bool) -> None:
        self.padding_idx, self.by_frequency = padding_idx, by_frequency

    def forward(self, w, index):
        self.shape = w.shape
        self.save(index)
        return w[index]

    def backward(self, gy):
        (index,) = self.saved
        if self.padding_idx is not None:
            gy = gy.where((index != self.padding_idx).unsqueeze(-1), 0.0)
        if self.by_frequency:
            counts = array_module(index.data).bincount(index.data.reshape(-1))[index.data]
            gy = gy / Tensor(counts).unsqueeze(-1)
        return IndexAdd(Axes((True,)), self.shape)(None, gy, index), None


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None,
              norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False) -> Tensor:
    """The rows of weight (V, D) whose numbers are in input, int64 or int32: (...) → (..., D), y = weight[input].

    gweight[input] += gy, but 0 for row padding_idx and, with scale_grad_by_freq, divided by how often a row occurs.
    max_norm first scales down, in place, those rows that occur and have a larger norm_type-norm. Gradients are dense.
    Raises IndexError for a number that is no row, RuntimeError for other types and shapes, ValueError for a padding_idx
    that is no row and for sparse=True. Bengio et al. 2003.
    """
    if sparse:
        raise ValueError("embedding: sparse = True is not available, gradients are dense; leave it False")
    if input.dtype not in (dtypes.int64, dtypes.int32) or weight.ndim != 2:
        raise RuntimeError(f"embedding: input ({input.dtype}, shape {input.shape}) must be int64 or int32, and weight, "
                           f"of shape {weight.shape}, must be (V, D)")
    rows, index = len(weight), input.long()
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise ValueError(f"embedding: padding_idx = {padding_idx} is none of the {rows} rows of weight")
    if index.numel() and not 0 <= index.data.min() <= index.data.max() < rows:
        raise IndexError(f"embedding: input has numbers from {index.data.min()} to {index.data.max()}, but weight only "
                         f"rows 0 to {rows - 1}")
    if max_norm is not None:
        _shorten(weight, Tensor(array_module(index.data).unique(index.data)), max_norm, norm_type)
    return Embedding(padding_idx if padding_idx is None else padding_idx % rows, scale_grad_by_freq)(weight, index)


@no_grad()
def _shorten(weight: Tensor, rows: Tensor, max_norm: float, norm_type: float) -> None:
    """Scale those of the rows down to max_norm that are longer; the norm of NaN is not."""
    vectors = weight[rows]
    norms = vectors.norm(norm_type, 1, keepdim=True)
    weight[rows] = vectors.where(~(norms > max_norm), vectors * (max_norm / (norms + 1e-7)))


def one_hot(input: Tensor, num_classes: int = -1) -> Tensor:
    """A vector of zeros with a one in the place of each class: int64 (...) → (..., num_classes), y[i, input[i]] = 1.

    num_classes −1 means the largest class + 1. The result has no gradient. (PyTorch's documentation calls the input
    tensor, a name that its function refuses.) Raises RuntimeError for another type, for classes outside 0 …
    num_classes − 1, and where there is nothing to infer their number from. Suits 1957.
    """
    if input.dtype != dtypes.int64:
        raise RuntimeError(f"one_hot: input must be int64, not {input.dtype}; convert it with .long()")
    if not input.numel() and num_classes < 1:
        raise RuntimeError(f"one_hot: an empty tensor needs num_classes of at least 1, not {num_classes}")
    low, high = (int(input.data.min()), int(input.data.max())) if input.numel() else (0, 0)
    if low < 0:
        raise RuntimeError(f"one_hot: input has the class {low}; classes must not be negative")
    classes = high + 1 if num_classes == -1 else num_classes
    if high >= classes:
        raise RuntimeError(f"one_hot: input has classes from {low} to {high}, but num_classes = {num_classes} allows "
                           f"0 to {classes - 1}")
    return (input.unsqueeze(-1) == arange(classes, device=input.device)).long()
