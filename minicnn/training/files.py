"""Writing files so that a crash, a kill or a full disk never leaves half of one."""

import contextlib
import hashlib
import os
from pathlib import Path

__all__ = ["SaveError", "append_durably", "replace", "sha256", "write_atomically", "write_durably"]


class SaveError(OSError):
    """A file could not be written; what was there before is untouched. The message is one line for the user."""


def sha256(content: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk; on failure nothing is left of it. Raises SaveError."""
    try:
        with open(path, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise SaveError(f"cannot write {path}: {error.strerror or error}") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Give a file new content; whoever looks, at any time, finds the old or the new one complete. Raises SaveError."""
    temporary = path.with_name(f".{path.name}.tmp")
    write_durably(temporary, content)
    try:
        replace(temporary, path)
    except SaveError:
        temporary.unlink(missing_ok=True)
        raise


def replace(source: Path, target: Path) -> None:
    """Rename a file over another and wait until the folder on the disk says so. Raises SaveError."""
    try:
        os.replace(source, target)
        if os.name == "posix":  # elsewhere a folder cannot be opened to be flushed
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        raise SaveError(f"cannot write {target}: {error.strerror or error}") from error


def append_durably(path: Path, text: str) -> None:
    """Add lines to the end of a file and wait until they are on the disk. Raises SaveError."""
    try:
        with open(path, "a", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise SaveError(f"cannot write {path}: {error.strerror or error}") from error
