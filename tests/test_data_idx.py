import gzip
import struct

import numpy as np
import pytest

from minicnn.data import DataError, read_idx


def idx(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


ARRAY = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
GOOD = idx(ARRAY)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("name", ["x-idx3-ubyte", "x-idx3-ubyte.gz"])  # browsers unpack and keep the name
@pytest.mark.parametrize("array", [ARRAY, np.arange(5, dtype=np.uint8), np.zeros((0, 28, 28), np.uint8)])
def test_reads_packed_and_unpacked_files_under_any_name(tmp_path, array, name, pack):
    (tmp_path / name).write_bytes(pack(idx(array)))
    got = read_idx(tmp_path / name)
    assert got.dtype == np.uint8 and not got.flags.writeable
    np.testing.assert_array_equal(got, array)


UNSOUND = {
    "short": (GOOD[:-1], "is cut short, 2x3x4 needs 24 values and there are 23"),
    "long": (GOOD + b"\0", "is too long, 2x3x4 needs 24 values and there are 25"),
    "huge": (b"\0\0\x08\x03" + b"\xff" * 12, "is cut short, 4294967295x4294967295x4294967295"),
    "half a header": (GOOD[:9], "header of 3 dimensions is not complete"),
    "no dimensions": (b"\0\0\x08\0", "header of 0 dimensions"),
    "floats": (b"\0\0\x0d\x01\0\0\0\0", "type 0x0d, only 0x08"),
    "empty": (b"", "is not IDX data, it begins with nothing"),
    "npy": (b"\x93NUMPY", "is not IDX data, it begins with 93 4e 55 4d"),
    "page": (b"<!DOCTYPE html><html>404", "is a web page"),
    "packed page": (gzip.compress(b"<html>"), "is a web page"),
    "half a gzip": (gzip.compress(GOOD)[:-12], "is cut short, the gzip data end early"),
    "wrong sum": (gzip.compress(GOOD)[:-8] + b"damagedx", "is damaged"),
    "no deflate": (gzip.compress(GOOD)[:10] + b"\xff" * 30, "is damaged"),
}


@pytest.mark.parametrize("case", UNSOUND)
def test_says_which_file_is_wrong_and_how(tmp_path, case):
    content, match = UNSOUND[case]
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=match) as caught:
        read_idx(path)
    assert caught.value.message.startswith(f"{path}: ") and "\n" not in caught.value.message
    assert caught.value.hint and str(caught.value).endswith(f"hint: {caught.value.hint}")


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read .*No such file"):
        read_idx(tmp_path / "absent")
