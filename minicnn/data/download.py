"""Fetch published files: several mirrors, resumed when interrupted, kept only with the right check sum."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from .errors import DataError

TIMEOUT = (5, 30)  # seconds to connect, seconds without a byte: a dead host costs five
_REPORT_EVERY = 5  # seconds between two lines about the progress

Report = Callable[[str], None]


@dataclass(frozen=True)
class RemoteFile:
    """A published file: its name, its length in bytes and its SHA-256."""

    name: str
    size: int
    sha256: str


def megabytes(size: int) -> str:
    """A number of bytes, for people."""
    return f"{size / 1e6:.1f} MB"


def download(files: Sequence[RemoteFile], mirrors: Sequence[str], folder: Path, report: Report) -> None:
    """Put the files into ``folder``, from the first of the mirrors (addresses ending in /) that serves them.

    Raises DataError if no mirror does; what has come of a file until then stays beside it as NAME.part and is
    continued the next time.
    """
    from requests import RequestException  # the library below pooch.HTTPDownloader, whose errors come through

    alive = list(mirrors)
    failures: list[str] = []
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            for mirror in list(alive):
                try:
                    _fetch(file, mirror, folder, report)
                    break
                except (RequestException, _BadFile) as error:
                    _discard_if_empty(_part(file, folder))
                    failures.append(f"{urlsplit(mirror).netloc}: {_reason(error)}")
                    alive.remove(mirror)
            else:
                where = "; ".join(failures) or "no mirror"
                raise DataError(
                    f"{file.name}: could not be downloaded ({where})",
                    f"try again later, or put the file into {folder} by hand",
                )
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written ({error.strerror})", "choose another folder with --data-dir (data_dir=...)"
        ) from error
    finally:
        with suppress(OSError):  # there is something in it
            for place in new:
                place.rmdir()


class _BadFile(Exception):
    """The server answered, but not with the file."""


def _reason(error: Exception) -> str:
    from requests import HTTPError, RequestException

    if isinstance(error, HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code}"
    return type(error).__name__ if isinstance(error, RequestException) else str(error)


def _part(file: RemoteFile, folder: Path) -> Path:
    return folder / (file.name + ".part")


def _discard_if_empty(part: Path) -> None:
    if part.exists() and part.stat().st_size == 0:
        part.unlink()


def _fetch(file: RemoteFile, mirror: str, folder: Path, report: Report) -> None:
    import pooch

    part = _part(file, folder)
    with open(part, "ab") as stream:
        begun = stream.tell()
        if begun < file.size:
            resuming = f", continuing at {megabytes(begun)}" if begun else ""
            report(f"downloading {file.name} ({megabytes(file.size)}) from {mirror} to {folder}{resuming}")
            body = _Body(stream, file, report)
            headers = {"Accept-Encoding": "identity"}  # the check sum is that of the file as it is stored
            if begun:
                headers["Range"] = f"bytes={begun}-"
            http = pooch.HTTPDownloader(
                chunk_size=1 << 16, timeout=TIMEOUT, headers=headers, hooks={"response": body.begin}
            )
            http(mirror + file.name, body, None)
    size = part.stat().st_size
    if size < file.size:
        raise _BadFile(f"only {size:,} of {file.size:,} bytes came")
    if pooch.file_hash(str(part), "sha256") == file.sha256:
        os.replace(part, folder / file.name)
        return
    part.unlink()
    if not begun:
        raise _BadFile("wrong check sum")
    _fetch(file, mirror, folder, report)  # the part of an earlier attempt was to blame: once more from the start


class _Body:
    """What HTTPDownloader writes to: the part file, begun anew where the server does not continue it."""

    def __init__(self, stream: BinaryIO, file: RemoteFile, report: Report) -> None:
        self.stream, self.file, self.report = stream, file, report
        self.next_report = time.monotonic() + _REPORT_EVERY

    def begin(self, response: Any, **_: Any) -> None:
        """Called by requests with the headers, before the body is read."""
        if response.status_code not in (200, 206):
            return
        if response.status_code == 200:  # the whole file; 206 is the rest of it
            self.stream.seek(0)
            self.stream.truncate()
        missing = self.file.size - self.stream.tell()
        if int(response.headers.get("Content-Length", missing)) != missing:
            response.close()
            raise _BadFile(f"offers {response.headers['Content-Length']} bytes instead of {missing}")

    def write(self, chunk: bytes) -> None:
        self.stream.write(chunk)
        if time.monotonic() >= self.next_report:
            self.next_report += _REPORT_EVERY
            self.report(f"{self.file.name}: {megabytes(self.stream.tell())} of {megabytes(self.file.size)}")

    def flush(self) -> None:
        self.stream.flush()
