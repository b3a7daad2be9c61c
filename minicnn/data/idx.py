"""The IDX format of MNIST, read strictly. http://yann.lecun.com/exdb/mnist/ described it:

    2 zero bytes | type, 8 = uint8 | number of dimensions d | d sizes, 4 bytes each, big-endian | the values, row by row
"""

import gzip
import zlib
from pathlib import Path

import numpy as np

from .errors import DataError

_FETCH_AGAIN = "delete it and get it again"


def read_idx(path: str | Path) -> np.ndarray:
    """The array in an IDX file of unsigned bytes, gzipped or not; read-only. Raises DataError if it is not sound."""
    path = Path(path)
    return parse_idx(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked if it is gzip, whatever its name says."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})", "check the path and its permissions") from error
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except EOFError as error:
        raise DataError(f"{path}: is cut short, the gzip data end early at {len(data)} bytes", _FETCH_AGAIN) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: is damaged ({error})", _FETCH_AGAIN) from error


def parse_idx(data: bytes, path: Path) -> np.ndarray:
    """The array in the unpacked content of an IDX file; ``path`` is for the messages."""
    if data[:1] == b"<":
        raise DataError(f"{path}: is a web page, not IDX data", _FETCH_AGAIN)
    if len(data) < 4 or data[:2] != b"\0\0":
        raise DataError(f"{path}: is not IDX data, it begins with {data[:4].hex(' ') or 'nothing'}", _FETCH_AGAIN)
    kind, ndim = data[2], data[3]
    if kind != 8:
        raise DataError(f"{path}: holds IDX type 0x{kind:02x}, only 0x08 (unsigned bytes) is read", "convert it")
    start = 4 + 4 * ndim
    shape = tuple(int(size) for size in np.frombuffer(data[4:start], ">u4")) if len(data) >= start else ()
    if ndim == 0 or len(shape) != ndim:
        raise DataError(f"{path}: is cut short, the header of {ndim} dimensions is not complete", _FETCH_AGAIN)
    values, promised = len(data) - start, int(np.prod(shape, dtype=object))
    if values != promised:
        wrong = "is cut short" if values < promised else "is too long"
        size = "x".join(map(str, shape))
        raise DataError(f"{path}: {wrong}, {size} needs {promised:,} values and there are {values:,}", _FETCH_AGAIN)
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
