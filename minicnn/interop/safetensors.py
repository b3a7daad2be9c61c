"""Named arrays in one file, in the safetensors format: no code inside, readable by PyTorch and others."""

import json
import os
import struct
from collections.abc import Mapping

import numpy as np
import safetensors
import safetensors.numpy

from ..dtypes import bfloat16

__all__ = ["FormatError", "from_bytes", "load_file", "read_metadata", "save_file", "to_bytes"]

LONGEST_HEADER = 100_000_000  # the limit of the format


class FormatError(ValueError):
    """A file that is not in the safetensors format, or is cut off; the message names the file."""


def to_bytes(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> bytes:
    """The content of a safetensors file with these arrays.

    The library (0.8.0) writes the memory of an array as it lies, whatever its strides, so every array is brought into
    C order first; ``asarray`` keeps arrays without axes as they are, which ``ascontiguousarray`` does not. And it
    writes a file that nobody can read if it is given neither arrays nor strings but empty dictionaries.
    """
    arrays = {name: np.asarray(a, order="C") for name, a in tensors.items()}
    return safetensors.numpy.save(arrays, dict(metadata) if metadata else None)


def save_file(tensors: Mapping[str, np.ndarray], path: str | os.PathLike,
              metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays, and a few strings beside them, to a file; an existing one is overwritten."""
    with open(path, "wb") as file:
        file.write(to_bytes(tensors, metadata))


def from_bytes(content: bytes, name: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file; ``name`` is what an error calls it."""
    try:
        entries = safetensors.deserialize(content)
    except safetensors.SafetensorError as error:
        raise FormatError(f"{name} is not a safetensors file, or is damaged: {error}") from error
    return {key: np.frombuffer(entry["data"], _dtype(entry["dtype"])).reshape(entry["shape"]) for key, entry in entries}


def _dtype(code: str) -> np.dtype:
    """The dtype of the format's "F32", "BF16", "I64", ...; the library's own reader does not know bfloat16."""
    if code == "BF16":
        return bfloat16()
    if code == "BOOL":
        return np.dtype(bool)
    return np.dtype(f"<{code[0].lower()}{int(code[1:]) // 8}")


def load_file(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, by name; raises FormatError if it is damaged or something else."""
    with open(path, "rb") as file:
        return from_bytes(file.read(), path)


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
    """The strings that were saved beside the arrays, without reading the arrays."""
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else LONGEST_HEADER + 1
        header = file.read(length) if length <= LONGEST_HEADER else b""
    try:
        return json.loads(header).get("__metadata__", {})
    except (ValueError, AttributeError) as error:
        raise FormatError(f"{path} is not a safetensors file, or is damaged: its header cannot be read") from error
