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

While a process trains in a folder it holds a lock on it, which the system takes back however the process ends.
"""

import contextlib
import itertools
import json
import os
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .files import SaveError, append_durably, replace, sha256, write_atomically, write_durably
from .history import History, Row, row_to_csv

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["RunError", "RunFolder"]

SETTINGS, METRICS, STATE, ARRAYS = "run.json", "metrics.csv", "state.json", "state.safetensors"
BEST, LAST, INTERRUPT = "best.safetensors", "last.safetensors", "interrupt.safetensors"
FORMAT = 1
DAMAGED = "put the file back from a copy, or start a new run"


class RunError(RuntimeError):
    """A run folder that is missing, incomplete, damaged or of another kind; ``hint`` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class RunFolder:
    """A folder made by ``create`` or found by ``open``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unlock: Callable[[], Any] = lambda: None
        self._staged: dict[str, Any] | None = None

    def __str__(self) -> str:
        return str(self.path)

    # -- finding ----------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, parent: str | os.PathLike, stem: str, name: str | None = None) -> "RunFolder":
        """A new folder in ``parent``, locked: called ``name``, or the stem with the first number that is free.

        Raises:
            RunError: there is something of that name already, or no place for it.
        """
        parent, hint = Path(parent), "--out DIR chooses another place"
        if parent.is_file():
            raise RunError(f"{parent} is a file, so no run folder can be made in it", hint)
        try:
            parent.mkdir(parents=True, exist_ok=True)
            for number in itertools.count(1):
                folder = cls(parent / (name or f"{stem}-{number}"))
                try:
                    folder.path.mkdir()
                    break
                except FileExistsError:
                    if name is not None:
                        raise folder._taken() from None
        except OSError as error:
            raise RunError(f"cannot make a run folder in {parent}: {error.strerror or error}", hint) from error
        folder.lock()
        return folder

    def _taken(self) -> RunError:
        """The error of a name that is there already."""
        try:
            self.lock()
        except RunError as error:
            return error
        self.unlock()
        if (self.path / SETTINGS).exists():
            return RunError(f"{self} is a run already", "--resume continues it, another --name starts a new one")
        return RunError(f"{self} exists and is not a run of minicnn; it is left as it is", "choose another --name")

    @classmethod
    def open(cls, path: str | os.PathLike) -> "RunFolder":
        """The folder of an existing run; raises RunError if there is none."""
        path = Path(path)
        hint = "the train command prints the folder of a run, such as runs/lenet-digits-1"
        if not path.exists():
            raise RunError(f"there is no run folder {path}", hint)
        if not path.is_dir():
            raise RunError(f"{path} is a file, not a run folder", hint)
        if not (path / SETTINGS).is_file():
            raise RunError(f"{path} is not a run folder: it has no {SETTINGS}", hint)
        return cls(path)

    @classmethod
    def newest(cls, parent: str | os.PathLike, model: str | None, report: Callable[[str], None]) -> "RunFolder":
        """The run of this model (None: of any) in ``parent`` that was saved last; raises RunError if there is none.

        A run whose settings cannot be read is left out, and ``report`` given a line about it.
        """
        found = []
        for path in Path(parent).glob(f"*/{STATE}"):
            folder = cls(path.parent)
            try:
                if model in (None, folder.settings()["model"]["name"]):
                    found.append((path.stat().st_mtime_ns, folder.path))
            except RunError as error:
                report(f"left out: {error}")
        if not found:
            raise RunError(f"there is no run {f'of {model} ' if model else ''}in {parent} to resume",
                           "--out DIR looks in another folder; --resume RUN names a run")
        return cls(max(found)[1])

    # -- one process at a time --------------------------------------------------------------------------------------

    def lock(self) -> None:
        """Keep other processes from training here, until ``unlock`` or the end of this one, even by kill -9.

        Raises:
            RunError: one is training here.
        """
        self.unlock()
        if fcntl is None:
            return
        descriptor = os.open(self.path, os.O_RDONLY)
        self.unlock = weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.unlock()
            raise RunError(f"{self} is in use: a run is being trained in it",
                           "wait for its end, or stop it; another --name starts a new run") from None
        except OSError:  # a file system without locks
            self.unlock()

    def remove(self) -> None:
        """Delete the folder and all that is in it."""
        self.unlock()
        shutil.rmtree(self.path)

    # -- settings and numbers ---------------------------------------------------------------------------------------

    def settings(self) -> dict[str, Any]:
        """What run.json holds."""
        return self._read_json(SETTINGS)

    def write_settings(self, settings: dict[str, Any]) -> None:
        """Write run.json."""
        write_atomically(self.path / SETTINGS, _json(settings))

    def stage_settings(self, settings: dict[str, Any]) -> None:
        """Have the next checkpoint write run.json: changes that lead nowhere leave no trace."""
        self._staged = settings

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
            raise RunError(f"{path} is damaged: {error}", DAMAGED) from None

    def restore_history(self, epochs: int) -> History:
        """The first ``epochs`` epochs of metrics.csv, which then holds no others: a kill may have left one more behind.

        Raises:
            RunError: some of them are not there.
        """
        path = self.path / METRICS
        history = self.history()
        rows = history.rows[:epochs]
        if [row.epoch for row in rows] != list(range(1, epochs + 1)):
            raise RunError(f"{path} {'lacks some of the lines' if path.exists() else 'is missing, with the lines'} "
                           f"of epochs 1 to {epochs}, which {STATE} counts", DAMAGED)
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
            write_durably(self._next(STATE), _json({**state, "files": hashes}))
            if self._staged is not None:
                self.write_settings(self._staged)
                self._staged = None
        except SaveError:
            for name in (*files, STATE):
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

    def progress(self) -> dict[str, Any]:
        """Where the checkpoint stands: the fields of Progress."""
        return self._read_json(STATE)["progress"]

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
            raise RunError(f"{self.path / name} is missing, and the run cannot go on without it", DAMAGED) from None
        if sha256(content) != digest:
            raise self._strange(name)
        return content

    def locate(self, name: str) -> tuple[Path, bool]:
        """Where a file of weights lies, and whether it belongs to the newest checkpoint, which may be written just now.

        Raises:
            RunError: there is no such file, or not the one that the checkpoint was written with.
        """
        path, pending = self.path / name, self._next(name)
        while (digest := self._hashes().get(name)) is not None:
            for place in (path, pending, path):  # once more, since it may have been renamed in between
                with contextlib.suppress(FileNotFoundError):
                    if sha256(place.read_bytes()) == digest:
                        return place, True
            if self._hashes().get(name) == digest:  # else there is another checkpoint by now
                raise self._strange(name)
        if not path.is_file():
            raise RunError(f"there is no {path}", f"{BEST} is written when the first epoch ends" if name == BEST else
                           f"name the folder of the run, or {LAST} in it")
        return path, False

    def _strange(self, name: str) -> RunError:
        path = self.path / name
        return RunError(f"{path} is damaged, or from another run: it is not the file that {STATE} was written with"
                        if path.exists() else f"{path} is missing", DAMAGED)

    def _next(self, name: str) -> Path:
        return self.path / f"{name}.next"

    def _hashes(self) -> dict[str, str]:
        return self._read_json(STATE)["files"] if (self.path / STATE).exists() else {}

    def _read_json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise RunError(f"{path} is missing", DAMAGED) from None
        except OSError as error:
            raise RunError(f"{path} cannot be read: {error.strerror}", "see to its permissions") from None
        except ValueError as error:
            raise RunError(f"{path} is damaged: {error}", DAMAGED) from None
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise RunError(f"{path} was not written by this version of minicnn (format {FORMAT})",
                           "use the version that wrote it, or start a new run")
        if content.pop("sha256", None) != _digest(content):
            raise RunError(f"{path} is damaged: it is not what minicnn wrote", DAMAGED)
        return content


def _json(content: dict[str, Any]) -> bytes:
    """The text of a file that shows by a hash of its content when it is damaged."""
    return json.dumps({"format": FORMAT, "sha256": _digest(content), **content}, indent=1).encode() + b"\n"


def _digest(content: dict[str, Any]) -> str:
    return sha256(json.dumps(content).encode())
