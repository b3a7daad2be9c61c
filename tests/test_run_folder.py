"""Folders of runs: their names, locks and settings, and checkpoints that a kill cannot spoil."""

import os

import pytest

from minicnn.training import RunError, RunFolder, SaveError, files, run_folder
from training_util import ROWS


def test_run_folders_are_numbered_and_never_reused(tmp_path):
    names = [RunFolder.create(tmp_path / "runs", "lenet").path.name for _ in range(3)]
    assert names == ["lenet-1", "lenet-2", "lenet-3"]
    RunFolder.create(tmp_path / "runs", "lenet", "mine").write_settings({})
    (tmp_path / "runs" / "photos").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="mine is a run already"):
        RunFolder.create(tmp_path / "runs", "lenet", "mine")
    with pytest.raises(RunError, match="photos exists and is not a run of minicnn; it is left as it is"):
        RunFolder.create(tmp_path / "runs", "lenet", "photos")
    with pytest.raises(RunError, match="file is a file, so no run folder can be made in it"):
        RunFolder.create(tmp_path / "file", "lenet")
    with pytest.raises(RunError, match="cannot make a run folder in .*file/in: Not a directory"):
        RunFolder.create(tmp_path / "file" / "in", "lenet")
    with pytest.raises(RunError, match="file is a file, not a run folder"):
        RunFolder.open(tmp_path / "file")
    with pytest.raises(RunError, match="there is no run folder"):
        RunFolder.open(tmp_path / "nothing")
    with pytest.raises(RunError, match="photos is not a run folder: it has no run.json"):
        RunFolder.open(tmp_path / "runs" / "photos")


def test_newest_run(tmp_path):
    for number, (name, model) in enumerate((("a", "lenet"), ("b", "lenet"), ("c", "cnn2"))):
        folder = RunFolder.create(tmp_path, "x", name)
        folder.write_settings({"model": {"name": model}})
        folder.commit({}, {})
        os.utime(folder.path / "state.json", (1000 + number, 1000 + number))
    lines = []
    assert RunFolder.newest(tmp_path, "lenet", lines.append).path.name == "b"
    assert RunFolder.newest(tmp_path, None, lines.append).path.name == "c"
    with pytest.raises(RunError, match="there is no run of lenet5 in .* to resume"):
        RunFolder.newest(tmp_path, "lenet5", lines.append)
    assert not lines


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"format": 1}', b'{"format": 1, "model": "lenet"}', b"\xff"])
def test_a_damaged_run_does_not_hide_the_others(tmp_path, content):
    for name in ("good", "damaged"):
        folder = RunFolder.create(tmp_path, "x", name)
        folder.write_settings({"model": {"name": "lenet"}})
        folder.commit({}, {})
    (tmp_path / "damaged" / "run.json").write_bytes(content)
    for model in ("lenet", None):
        lines = []
        assert RunFolder.newest(tmp_path, model, lines.append).path.name == "good"
        assert len(lines) == 1 and lines[0].startswith(f"left out: {tmp_path / 'damaged' / 'run.json'} ")


def test_settings_count_from_the_next_checkpoint_on(tmp_path):
    folder = RunFolder.create(tmp_path, "x")
    folder.write_settings({"lr": 0.1})
    folder.stage_settings({"lr": 1e9})
    assert RunFolder(folder.path).settings() == {"lr": 0.1}
    folder.commit({}, {})
    assert RunFolder(folder.path).settings() == {"lr": 1e9}
    folder.write_settings({"lr": 0.5})
    folder.commit({}, {})  # what was written then is not written again
    assert folder.settings() == {"lr": 0.5}


def test_one_run_at_a_time_in_a_folder(tmp_path):
    first = RunFolder.create(tmp_path, "x", "mine")
    with pytest.raises(RunError, match="mine is in use: a run is being trained in it"):
        RunFolder.create(tmp_path, "x", "mine")
    second = RunFolder(first.path)
    with pytest.raises(RunError, match="mine is in use"):
        second.lock()
    first.lock()  # by its owner as often as it likes
    first.unlock()
    second.lock()
    del second  # a folder that is forgotten is free
    first.lock()


class Killed(BaseException):
    """Stands for kill -9: nothing in the code under test can catch it as an error."""


def test_a_checkpoint_is_the_old_or_the_new_one_wherever_a_kill_strikes(tmp_path, monkeypatch):
    """Every write, rename and removal is in turn the last thing that happens, whole or half done."""
    old = {"last.safetensors": b"old weights", "state.safetensors": b"old slots", "best.safetensors": b"old best"}
    new = {"interrupt.safetensors": b"new weights", "state.safetensors": b"new slots"}
    outcomes = set()
    real_open, real_replace = open, os.replace
    for step in range(10):
        folder = RunFolder.create(tmp_path, "x")
        folder.commit(old, {"n": 1})
        remaining = iter(range(step))

        def strike(left=remaining) -> bool:
            return next(left, None) is None

        class HalfWritten:
            def __init__(self, file) -> None:
                self.file = file

            def __getattr__(self, name):
                return getattr(self.file, name)

            def __enter__(self):
                return self

            def __exit__(self, *_):
                self.file.close()

            def write(self, content) -> None:
                if strike():
                    self.file.write(content[: len(content) // 2])
                    raise Killed
                self.file.write(content)

        def replace(source, target) -> None:
            if strike():
                raise Killed
            real_replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(files, "open", lambda *args, **named: HalfWritten(real_open(*args, **named)), raising=False)
            patch.setattr(os, "replace", replace)
            try:
                folder.commit(new, {"n": 2}, keep=("best.safetensors",))
                finished = True
            except Killed:
                finished = False
        state, found = RunFolder(folder.path).state()
        expected = {1: old, 2: {**new, "best.safetensors": b"old best"}}[state["n"]]
        assert found == expected, (step, state["n"])
        assert {name: (folder.path / name).read_bytes() for name in found} == expected
        outcomes.add(state["n"])
        folder.commit({"last.safetensors": b"later"}, {"n": 3})  # and it goes on from there
        assert RunFolder(folder.path).state()[1] == {"last.safetensors": b"later"}
        if finished:
            break
    assert finished and outcomes == {1, 2} and step == 6


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    folder = RunFolder.create(tmp_path, "x")
    folder.commit({"last.safetensors": b"old"}, {"n": 1})

    def full(descriptor) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(SaveError, match="cannot write .*last.safetensors.next: No space left on device"):
            folder.commit({"last.safetensors": b"new"}, {"n": 2})
        with pytest.raises(SaveError, match="cannot write .*metrics.csv"):
            folder.append(ROWS[0])
    folder.stage_settings({"lr": 0.1})
    (folder.path / "run.json").mkdir()  # where no file can be put
    with pytest.raises(SaveError, match="cannot write .*run.json"):
        folder.commit({"last.safetensors": b"new"}, {"n": 2})
    (folder.path / "run.json").rmdir()
    assert folder.state() == ({"n": 1, "files": folder._hashes()}, {"last.safetensors": b"old"})
    assert sorted(path.name for path in folder.path.iterdir()) == ["last.safetensors", "state.json"]


def test_weights_are_found_at_every_moment_of_a_checkpoint(tmp_path, monkeypatch):
    """Whoever looks between two renamings finds the newest weights, and leaves the renaming to the run."""
    folder = RunFolder.create(tmp_path, "x")
    folder.commit({"best.safetensors": b"old"}, {})
    replaced, seen = files.replace, []

    def look(source, target) -> None:
        seen.append(folder.locate("best.safetensors")[0].read_bytes())
        replaced(source, target)
        seen.append(folder.locate("best.safetensors")[0].read_bytes())

    monkeypatch.setattr(run_folder, "replace", look)
    folder.commit({"best.safetensors": b"new"}, {})
    assert seen == [b"old", b"new", b"new", b"new"]
    assert sorted(path.name for path in folder.path.iterdir()) == ["best.safetensors", "state.json"]


def test_weights_that_are_renamed_while_somebody_looks(tmp_path, monkeypatch):
    folder = RunFolder.create(tmp_path, "x")
    path, pending = folder.path / "best.safetensors", folder.path / "best.safetensors.next"
    folder.commit({"best.safetensors": b"new"}, {})
    path.rename(pending)
    path.write_bytes(b"old")
    sha256 = files.sha256

    def late(content: bytes) -> str:
        if content == b"old":
            pending.rename(path)  # the run gets on
        return sha256(content)

    monkeypatch.setattr(run_folder, "sha256", late)
    assert folder.locate("best.safetensors") == (path, True)


def test_a_checkpoint_that_comes_while_somebody_looks(tmp_path, monkeypatch):
    folder = RunFolder.create(tmp_path, "x")
    folder.commit({"best.safetensors": b"first"}, {})
    hashes, again = folder._hashes, iter([b"second", b"third"])

    def late() -> dict[str, str]:
        before = hashes()
        if (content := next(again, None)) is not None:
            monkeypatch.setattr(folder, "_hashes", hashes)
            folder.commit({"best.safetensors": content}, {})
            monkeypatch.setattr(folder, "_hashes", late)
        return before

    monkeypatch.setattr(folder, "_hashes", late)
    place, known = folder.locate("best.safetensors")
    assert place.read_bytes() == b"third" and known


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "x-1").mkdir()
    (tmp_path / "x-1" / "run.json").mkdir()
