"""The folder of a run: settings, one line of numbers per epoch, the best weights, and the state to go on from.

    run.json            every setting of the run
    metrics.csv         one line per epoch
    best.safetensors    the model with the best validation accuracy
    last.safetensors    the model at the newest checkpoint (interrupt.safetensors where a signal stopped the run)
    state.safetensors   the optimiser's arrays at that checkpoint
    state.json          everything else to go on from there, and the SHA-256 of the files that belong to it

The checkpoint is several files, yet changes as one. New content is first written beside the old as ``NAME.next``; then
state.json, which names the new hashes, replaces its predecessor in one step; then the files are renamed. A kill before
that step leaves the old checkpoint, a kill after it a new one whose renaming is finished by the next reader.
"""

import json
import os
from pathlib import Path
from typing import Any

from .files import SaveError, append_durably, replace, sha256, write_atomically, write_durably
from .history import History, Row, row_to_csv

__all__ = ["RunError", "RunFolder"]

SETTINGS, METRICS, STATE, ARRAYS = "run.json", "metrics.csv", "state.json", "state.safetensors"
BEST, LAST, INTERRUPT = "best.safetensors", "last.safetensors", "interrupt.safetensors"
FORMAT = 1


class RunError(RuntimeError):
    """A run folder that is missing, incomplete, damaged or of another kind."""


class RunFolder:
    """A folder made by ``create`` or found by ``open``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    # -- finding ----------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, parent: str | os.PathLike, stem: str, name: str | None = None) -> "RunFolder":
        """A new folder in ``parent``: called ``name``, or the stem with the first number that is free.

        Raises:
            RunError: there is something of that name already.
        """
        parent = Path(parent)
        try:
            parent.mkdir(parents=True, exist_ok=True)
            if name is not None:
                (parent / name).mkdir()
                return cls(parent / name)
            number = 1
            while True:
                try:
                    (parent / f"{stem}-{number}").mkdir()
                    return cls(parent / f"{stem}-{number}")
                except FileExistsError:
                    number += 1
        except FileExistsError:
            there = parent / str(name) if parent.is_dir() else parent
            what = "exists and is not a run of minicnn; it is left as it is"
            if (there / SETTINGS).exists():
                what = "is a run already; --resume continues it, another --name starts a new one"
            raise RunError(f"{there} {what}") from None
        except OSError as error:
            raise SaveError(f"cannot make a run folder in {parent}: {error.strerror or error}") from error

    @classmethod
    def open(cls, path: str | os.PathLike) -> "RunFolder":
        """The folder of an existing run; raises RunError if there is none."""
        path = Path(path)
        if not path.is_dir():
            raise RunError(f"there is no run folder {path}")
        if not (path / SETTINGS).is_file():
            raise RunError(f"{path} is not a run folder: it has no {SETTINGS}")
        return cls(path)

    @classmethod
    def newest(cls, parent: str | os.PathLike, model: str | None) -> "RunFolder":
        """The run of this model (None: of any) in ``parent`` that was saved last; raises RunError if there is none."""
        found = []
        for path in Path(parent).glob(f"*/{STATE}"):
            folder = cls(path.parent)
            if model is None or folder.settings()["model"]["name"] == model:
                found.append((path.stat().st_mtime_ns, path.parent))
        if not found:
            raise RunError(f"there is no run {f'of {model} ' if model else ''}in {parent} to resume")
        return cls(max(found)[1])

    # -- settings and numbers ---------------------------------------------------------------------------------------

    def settings(self) -> dict[str, Any]:
        """What run.json holds."""
        return self._read_json(SETTINGS)

    def write_settings(self, settings: dict[str, Any]) -> None:
        """Write run.json."""
        write_atomically(self.path / SETTINGS, _json({"format": FORMAT, **settings}))

    def append(self, row: Row) -> None:
        """Add an epoch to metrics.csv."""
        if row.epoch == 1:
            write_atomically(self.path / METRICS, History([row]).to_csv().encode())
        else:
            append_durably(self.path / METRICS, row_to_csv(row))

    def history(self) -> History:
        """The epochs in metrics.csv; raises RunError if it is damaged."""
        path = self.path / METRICS
        try:
            return History.from_csv(path.read_text(encoding="utf-8")) if path.exists() else History()
        except (ValueError, OSError) as error:
            raise RunError(f"{path} is damaged: {error}") from None

    def restore_history(self, epochs: int) -> History:
        """The first ``epochs`` epochs of metrics.csv, which then holds no others: a kill may have left one more behind.

        Raises:
            RunError: some of them are not there.
        """
        path = self.path / METRICS
        history = self.history()
        rows = history.rows[:epochs]
        if [row.epoch for row in rows] != list(range(1, epochs + 1)):
            raise RunError(f"{path} {'lacks some' if path.exists() else 'is missing; it held'} of the {epochs} epochs "
                           f"that {STATE} counts")
        history = History(rows)
        if epochs:
            write_atomically(path, history.to_csv().encode())
        return history

    # -- the state --------------------------------------------------------------------------------------------------

    def commit(self, files: dict[str, bytes], state: dict[str, Any], keep: tuple[str, ...] = ()) -> None:
        """Replace the checkpoint, all of it or nothing.

        Args:
            files: new content by file name.
            state: what state.json is to hold.
            keep: names of files of the old checkpoint that belong to the new one too.

        Raises:
            SaveError: the disk is full or the like; the old checkpoint is intact.
        """
        hashes = {name: digest for name, digest in self._hashes().items() if name in keep}
        try:
            for name, content in files.items():
                write_durably(self._next(name), content)
                hashes[name] = sha256(content)
            write_durably(self._next(STATE), _json({"format": FORMAT, **state, "files": hashes}))
        except SaveError:
            for name in files:
                self._next(name).unlink(missing_ok=True)
            raise
        replace(self._next(STATE), self.path / STATE)  # from here on the new checkpoint is the one that counts
        for name in files:
            replace(self._next(name), self.path / name)
        if INTERRUPT not in files:
            (self.path / INTERRUPT).unlink(missing_ok=True)

    def holds_a_checkpoint(self) -> bool:
        """Whether anything that belongs to one is there, be it complete or not."""
        return any((self.path / name).exists() for name in (STATE, ARRAYS, LAST, INTERRUPT))

    def state(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """What state.json holds, and the content of the files that belong to it, by name.

        Raises:
            RunError: one is missing, or is not the one that state.json was written with.
        """
        state = self._read_json(STATE)
        return state, {name: self._settle(name, digest) for name, digest in state["files"].items()}

    def _settle(self, name: str, digest: str) -> bytes:
        """The content of a file of the checkpoint, after finishing a renaming that was cut short."""
        pending = self._next(name)
        if pending.is_file() and sha256(pending.read_bytes()) == digest:
            replace(pending, self.path / name)
        try:
            content = (self.path / name).read_bytes()
        except FileNotFoundError:
            raise RunError(f"{self.path / name} is missing, and the run cannot go on without it") from None
        if sha256(content) != digest:
            raise RunError(f"{self.path / name} is damaged, or from another run: it is not the file that {STATE} was "
                           "written with")
        return content

    def _next(self, name: str) -> Path:
        return self.path / f"{name}.next"

    def _hashes(self) -> dict[str, str]:
        return self._read_json(STATE)["files"] if (self.path / STATE).exists() else {}

    def _read_json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise RunError(f"{path} is missing") from None
        except ValueError as error:
            raise RunError(f"{path} is damaged: {error}") from None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise RunError(f"{path} was not written by this version of minicnn (format {FORMAT})")
        return content


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=1).encode() + b"\n"
