"""Sequences of different lengths: padded to one length, or packed without padding (see ops/packing.py).

Names and layout are PyTorch's. Raises TypeError for what is no sequence of tensors.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from ... import dtypes
from ...backend import array_module, to_numpy
from ...engine import Tensor
from ...ops.join import cat
from ...ops.packing import Packing, put_rows, take_rows

__all__ = ["PackedSequence", "invert_permutation", "pack_padded_sequence", "pack_sequence", "pad_packed_sequence",
           "pad_sequence", "unpack_sequence", "unpad_sequence"]


class _Fields(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Fields):
    """A batch of sequences without padding, the longest first, as pack_padded_sequence and pack_sequence make it.

    N sequences (L, ...) → data (R, ...), R = Σ L: the rows of step 0, below them those of step 1, and so on;
    batch_sizes (T), int64, says how many each step has. sorted_indices[i] is the number that sequence i had before
    sorting, unsorted_indices the inverse, or both are None: nothing was sorted.
    """

    def __new__(cls, data: Any, batch_sizes: Tensor | None = None, sorted_indices: Tensor | None = None,
                unsorted_indices: Tensor | None = None) -> Self:
        if batch_sizes is None:
            if not isinstance(data, (tuple, list)) or len(data) != 2:
                raise TypeError("PackedSequence: without batch_sizes, data must be (data, batch_sizes); make packed "
                                "sequences with pack_padded_sequence or pack_sequence")
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """The same with data on another device or in another dtype, self if it is there already; see Tensor.to."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        indices = [None if i is None else i.to(data.device) for i in (self.sorted_indices, self.unsorted_indices)]
        return type(self)(data, self.batch_sizes, *indices)

    def cpu(self) -> Self:
        """The same in main memory."""
        return self.to("cpu")

    def cuda(self) -> Self:
        """The same on the first GPU."""
        return self.to("cuda")

    def double(self) -> Self:
        """The same in float64."""
        return self.to(dtypes.float64)

    def float(self) -> Self:
        """The same in float32."""
        return self.to(dtypes.float32)

    def half(self) -> Self:
        """The same in float16."""
        return self.to(dtypes.float16)

    def int(self) -> Self:
        """The same in int32."""
        return self.to(dtypes.int32)

    def long(self) -> Self:
        """The same in int64."""
        return self.to(dtypes.int64)

    @property
    def is_cuda(self) -> bool:
        """Whether data is on a GPU."""
        return self.data.device.type == "cuda"


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation (N), int64, that undoes the given one; None for None."""
    return None if permutation is None else permutation.argsort()


# -- packing ----------------------------------------------------------------------------------------------------------

def pack_padded_sequence(input: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False,
                         enforce_sorted: bool = True) -> PackedSequence:
    """input (T, N, ...), or (N, T, ...) if batch_first, without what is behind the lengths (N) → PackedSequence.

    Sequences of decreasing length are taken as they are; others are sorted if enforce_sorted is False. Raises
    RuntimeError for lengths that do not fit input or are not sorted although they should be.
    """
    counts = _numbers("pack_padded_sequence", lengths)
    if input.ndim < 2:
        raise IndexError(f"pack_padded_sequence: input {input.shape} must have an axis of time and one of sequences")
    steps, sequences = input.shape[::-1][-2:] if batch_first else input.shape[:2]
    if counts.shape != (sequences,) or not sequences:
        raise RuntimeError(f"pack_padded_sequence: lengths {counts.tolist()} must be one number for each of the "
                           f"{sequences} sequences (at least one) of input {input.shape}")
    if counts.min() < 1 or counts.max() > steps:
        raise RuntimeError(f"pack_padded_sequence: lengths {counts.tolist()} must be 1 to {steps}, the steps of input "
                           f"{input.shape}")
    order = None
    if not enforce_sorted:
        order = np.argsort(-counts, kind="stable")
    elif (counts[1:] > counts[:-1]).any():
        raise RuntimeError(f"pack_padded_sequence: lengths {counts.tolist()} must decrease; sort the sequences, or use "
                           "enforce_sorted=False")
    packing = Packing((np.sort(counts)[::-1] > np.arange(counts.max())[:, None]).sum(1))
    rows = input.reshape(steps * sequences, *input.shape[2:])
    data = take_rows(rows, _places(packing, order, steps, batch_first))
    indices = None if order is None else Tensor(array_module(data.data).asarray(order))
    return PackedSequence(data, Tensor(packing.batch_sizes), indices)


def pad_packed_sequence(sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0,
                        total_length: int | None = None) -> tuple[Tensor, Tensor]:
    """The inverse of pack_padded_sequence → (T, N, ...), or (N, T, ...) if batch_first, and the lengths (N).

    T is total_length, or the length of the longest sequence; what is behind the end of one is padding_value. Raises
    ValueError for a total_length that is too short.
    """
    packing = Packing(sequence.batch_sizes.numpy())
    longest = len(packing.batch_sizes)
    if total_length is not None and total_length < longest:
        raise ValueError(f"pad_packed_sequence: total_length = {total_length} must be at least {longest}, the length "
                         "of the longest sequence")
    steps, order, lengths = total_length or longest, None, packing.lengths
    if sequence.sorted_indices is not None:
        order = to_numpy(sequence.sorted_indices.data)
        lengths = lengths[np.argsort(order)]
    places = _places(packing, order, steps, batch_first)
    padded = put_rows(sequence.data, places, steps * packing.sequences, padding_value)
    shape = (packing.sequences, steps) if batch_first else (steps, packing.sequences)
    return padded.reshape(*shape, *padded.shape[1:]), Tensor(lengths)


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences (L, ...) of different lengths L → PackedSequence; see pack_padded_sequence."""
    return pack_padded_sequence(pad_sequence(sequences), [len(s) for s in sequences], False, enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The inverse of pack_sequence: the sequences (L, ...), in the order they had before sorting."""
    return unpad_sequence(*pad_packed_sequence(packed_sequences, batch_first=True), batch_first=True)


def _places(packing: Packing, order: np.ndarray | None, steps: int, batch_first: bool) -> np.ndarray:
    """For each row of a packed sequence its row in the padded one, of so many steps, with its first two axes as one."""
    sequence = packing.sequence if order is None else order[packing.sequence]
    return sequence * steps + packing.step if batch_first else packing.step * packing.sequences + sequence


def _numbers(name: str, lengths: Any) -> np.ndarray:
    counts = to_numpy(lengths.data) if isinstance(lengths, Tensor) else np.asarray(lengths)
    if counts.ndim != 1:
        raise RuntimeError(f"{name}: lengths must have one axis, not shape {counts.shape}")
    return counts.astype(np.int64)


# -- padding ----------------------------------------------------------------------------------------------------------

def pad_sequence(sequences: Iterable[Tensor], batch_first: bool = False, padding_value: float = 0.0,
                 padding_side: str = "right") -> Tensor:
    """N sequences (L, ...) of different lengths → (T, N, ...), or (N, T, ...) if batch_first, T the largest L.

    What is missing, behind ("right") or in front of ("left") a sequence, is padding_value. Raises RuntimeError for no
    sequences, or for sequences whose elements differ in shape.
    """
    if not isinstance(sequences, Iterable):
        raise TypeError(f"pad_sequence: sequences must be a list of tensors, not {type(sequences).__name__}")
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"pad_sequence: padding_side {padding_side!r} must be 'left' or 'right'")
    sequences = list(sequences)
    if not sequences:
        raise RuntimeError("pad_sequence: sequences is empty")
    if len({s.shape[1:] for s in sequences}) > 1 or any(s.ndim == 0 for s in sequences):
        raise RuntimeError(f"pad_sequence: sequences must be alike but for their first axis, not of shapes "
                           f"{[s.shape for s in sequences]}")
    counts = np.array([len(s) for s in sequences])
    number, steps = len(counts), int(counts.max())
    sequence = np.repeat(np.arange(number), counts)
    step = np.concatenate([np.arange(n) + (steps - n if padding_side == "left" else 0) for n in counts])
    places = sequence * steps + step if batch_first else step * number + sequence
    padded = put_rows(cat([s.to(sequences[0].dtype) for s in sequences]), places, number * steps, padding_value)
    return padded.reshape(*((number, steps) if batch_first else (steps, number)), *padded.shape[1:])


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The inverse of pad_sequence: (T, N, ...), or (N, T, ...) if batch_first → the first lengths[n] steps of each.

    The padded tensor stays as it is, where PyTorch leaves its first two axes swapped.
    """
    counts = _numbers("unpad_sequence", lengths)
    batch = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    if len(counts) != len(batch):
        raise ValueError(f"unpad_sequence: lengths {counts.tolist()} must be one number for each of the {len(batch)} "
                         f"sequences of padded_sequences {padded_sequences.shape}")
    return [sequence[:n] for sequence, n in zip(batch.unbind(0), counts.tolist(), strict=True)]
