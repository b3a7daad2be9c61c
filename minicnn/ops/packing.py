"""Sequences of different lengths as one tensor, padded or packed, and the way from one to the other.

Packed, with the longest sequence first, the rows of step 0 lie on top, then those of step 1, and so on:

    a b c      a d f b e c        step 0 has 3 rows, step 1 has 2, step 2 has 1: nothing is computed for padding, and
    d e        └───┘ └─┘ │        a step reads and writes rows that lie together
    f          batch sizes 3 2 1

Taking rows and putting them in their places are each other's adjoint.
"""

from functools import cached_property
from typing import Any

import numpy as np

from ..backend import array_module
from ..engine import Function, Tensor


class Packing:
    """Where in a packed sequence the rows of each step and of each sequence are, by the batch sizes (T)."""

    def __init__(self, batch_sizes: np.ndarray) -> None:
        self.batch_sizes = batch_sizes
        self.starts = np.cumsum(batch_sizes) - batch_sizes  # of the steps
        self.sequences, self.rows = int(batch_sizes[0]), int(batch_sizes.sum())

    @cached_property
    def equal(self) -> bool:
        """Whether all sequences have equally many steps: their rows are then found without an index."""
        return self.rows == self.sequences * len(self.batch_sizes)

    @cached_property
    def lengths(self) -> np.ndarray:
        """How many steps each sequence has."""
        return (self.batch_sizes[:, None] > np.arange(self.sequences)).sum(0)  # (N)

    @cached_property
    def step(self) -> np.ndarray:
        """The step each row belongs to."""
        return np.repeat(np.arange(len(self.batch_sizes)), self.batch_sizes)  # (R)

    @cached_property
    def sequence(self) -> np.ndarray:
        """The sequence each row belongs to."""
        return np.arange(self.rows) - self.starts[self.step]  # (R)

    @cached_property
    def last(self) -> Any:
        """The last row of each sequence."""
        if self.equal:
            return slice(self.rows - self.sequences, self.rows)
        return self.starts[self.lengths - 1] + np.arange(self.sequences)  # (N)

    @cached_property
    def backwards(self) -> np.ndarray:
        """The rows with each sequence in the opposite order; doing it twice changes nothing."""
        return self.starts[self.lengths[self.sequence] - 1 - self.step] + self.sequence  # (R)

    @cached_property
    def before(self) -> Any:
        """For all rows but those of step 0, the row of the same sequence one step before."""
        if self.equal:
            return slice(0, self.rows - self.sequences)
        return (self.starts[self.step - 1] + self.sequence)[self.sequences:]  # (R - N)


class TakeRows(Function):
    """y = x[rows], none of them twice;  gx = 0 but for gx[rows] = gy."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def forward(self, x):
        self.length = len(x)
        return x[array_module(x).asarray(self.rows)]

    def backward(self, gy):
        return PutRows(self.rows, self.length)(gy)


class PutRows(Function):
    """y = value but for y[rows] = x, none of them twice;  gx = gy[rows]."""

    def __init__(self, rows: np.ndarray, length: int, value: float = 0) -> None:
        self.rows, self.length, self.value = rows, length, value

    def forward(self, x):
        xp = array_module(x)
        y = xp.full((self.length, *x.shape[1:]), self.value, x.dtype)
        y[xp.asarray(self.rows)] = x
        return y

    def backward(self, gy):
        return TakeRows(self.rows)(gy)


def take_rows(x: Tensor, rows: np.ndarray) -> Tensor:
    """x[rows], where no row is taken twice."""
    return TakeRows(rows)(x)


def put_rows(x: Tensor, rows: np.ndarray, length: int, value: float = 0) -> Tensor:
    """A tensor with so many rows: those of x where rows says, and value in the others."""
    return PutRows(rows, length, value)(x)
