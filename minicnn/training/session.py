"""A run from its settings: data, model and trainer put together, started anew or gone on with."""

import datetime
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .. import data, models
from ..backend import Device, manual_seed
from ..data import DataLoader
from ..data.catalog import FOLDER
from ..data.sequences import SYMBOLS, TASKS, SequenceDataset
from ..engine import Tensor
from ..interop.safetensors import FormatError
from ..nn import Module
from ..version import __version__
from . import checkpoint
from .diagnosis import blame_output
from .evaluation import evaluate
from .optimisation import begin
from .pipeline import Samples, fitted, loaders, val_loader
from .recipes import Recipe
from .run_folder import BEST, DAMAGED, RunError, RunFolder
from .trainer import Trainer

__all__ = ["Selection", "Session", "dry_run", "resume", "start"]

# What makes a run the one it is, and what may change only where an epoch begins.
FIXED = ("data", "init", "last_bias", "width", "pixels", "pad", "resize", "dtype")
BETWEEN_EPOCHS = ("batch_size", "accum", "seed", "augment", "limit_train")
OTHER_DATA = "look into --data-dir, $MINICNN_DATA and the cache"


@dataclass(frozen=True)
class Selection:
    """Where images, or texts, come from, and how many are used (None: all)."""

    data_dir: str | None = None
    offline: bool = False
    limit_train: int | None = None
    limit_val: int | None = None

    def load(self, name: str) -> tuple[Samples, Samples]:
        """The training and the held-out images; raises DataError where they cannot be had."""
        train = self._all(name, "train")
        return train if self.limit_train is None else train.head(self.limit_train), self.held_out(name)

    def held_out(self, name: str) -> Samples:
        """The held-out images alone; raises DataError where they cannot be had."""
        val = self._all(name, "validation")
        return val if self.limit_val is None else val.head(self.limit_val)

    def _all(self, name: str, split: str) -> Samples:
        return TASKS[name](split) if name in TASKS else data.load(name, split, self.data_dir, self.offline)


@dataclass
class Session:
    """A trainer ready to run, its settings as run.json holds them, and what differs from when it was last run."""

    trainer: Trainer
    folder: RunFolder
    settings: dict[str, Any]
    train: Samples
    val: Samples
    changes: list[str]


def start(model: str, recipe: Recipe, selection: Selection = Selection(), *, options: dict[str, Any] | None = None,
          device: str = "cpu", out: str = "runs", name: str | None = None, save_every: int = 0,
          workers: int = 1, capture: bool | None = False) -> Session:
    """A new run, in a new folder in ``out``; ``capture`` as for ``resume``."""
    if recipe.data.startswith(FOLDER):  # by its full path, for the run may be read from elsewhere
        recipe = replace(recipe, data=f"{FOLDER}{Path(recipe.data.removeprefix(FOLDER)).expanduser().absolute()}")
    train, val = selection.load(recipe.data)
    options = {**({} if recipe.width == 1 else {"width": recipe.width}), **(options or {})}
    recipe = replace(fitted(recipe, model, _shape(train)), width=options.get("width", 1.0))
    manual_seed(recipe.seed)
    spec = models.Spec(model, len(train.classes), SYMBOLS if isinstance(train, SequenceDataset) else _shape(train)[0],
                       options)
    net = checkpoint.create(asdict(spec))
    begin(net, recipe)
    train_batches, val_batches = loaders(recipe, train, val, workers, device, model=net)
    if isinstance(net, models.Network):
        x, _ = next(iter(train_batches.epoch(0)))
        try:
            net.check_input(x.shape)  # before anything is written
        except ValueError as error:
            raise data.DataError(str(error), "--resize N brings all images to N×N: choose a size that fits") from error
    stem = f"{model}-{Path(recipe.data.removeprefix(FOLDER)).resolve().name}"
    folder = RunFolder.create(out, stem, name)
    settings = {"minicnn": __version__, "model": asdict(spec), "recipe": asdict(recipe), "selection": asdict(selection),
                "data": _about(train), "device": device, "save_every": save_every, "drop_one": True, "started": _now(),
                "resumed": []}
    folder.write_settings(settings)
    net.to(Device.parse(device)).to(recipe.dtype)
    trainer = Trainer(net, recipe, train_batches, val_batches, folder=folder, save_every=save_every,
                      capture=_captured(capture, device))
    return Session(trainer, folder, settings, train, val, [])


def resume(folder: RunFolder, model: str | None = None, changes: dict[str, Any] | None = None, *,
           workers: int = 1, capture: bool | None = False) -> Session:
    """Go on with the run of a folder.

    Args:
        model: the model that is expected there; None is any.
        changes: new values of fields of Recipe or Selection, of ``device`` and ``save_every``; others stay. The next
            checkpoint makes them the settings of the run.
        workers: threads that prepare batches ahead, 0 or 1.
        capture: as for Trainer; None is wherever it can be, on a GPU.

    Raises:
        RunError: the folder is in use, incomplete or damaged, holds another model, or a change is impossible.
    """
    folder.lock()
    try:
        return _resume(folder, model, changes or {}, workers, capture)
    except BaseException:
        folder.unlock()
        raise


def _resume(folder: RunFolder, model: str | None, changes: dict[str, Any], workers: int,
            capture: bool | None) -> Session:
    settings = folder.settings()
    if model is not None and model != settings["model"]["name"]:
        raise RunError(f"{folder} is a run of {settings['model']['name']}, not of {model}",
                       f"name {settings['model']['name']}, or no model")
    before = {**asdict(Recipe(**settings["recipe"])), **settings["selection"],
              **{key: settings[key] for key in ("device", "save_every")}}
    new = {key: value for key, value in changes.items() if value != before[key]}
    forbidden = [key for key in new if key in FIXED]
    if forbidden:
        raise RunError(f"{folder} was begun with {forbidden[0]} {before[forbidden[0]]}, which cannot change to "
                       f"{new[forbidden[0]]}", "start a new run")
    of_recipe, of_selection = ({key: value for key, value in new.items() if key in settings[block]}
                               for block in ("recipe", "selection"))
    recipe = Recipe.make(Recipe(**settings["recipe"]), **of_recipe)
    selection = replace(Selection(**settings["selection"]), **of_selection)
    train, val = selection.load(recipe.data)
    then = settings["data"]
    if "files" in then or not train.files or "limit_train" in new:  # else their number is what an older run has of them
        then = then | {"train": len(train)}
    if {"files": train.files, **then} != _about(train):
        raise _other_data(folder, recipe.data, then, train)
    device, save_every = (new.get(key, settings[key]) for key in ("device", "save_every"))
    now = {**asdict(recipe), **asdict(selection), "device": device, "save_every": save_every}
    has_checkpoint = folder.holds_a_checkpoint()
    stuck = [key for key in BETWEEN_EPOCHS if now[key] != before[key]]
    if stuck and has_checkpoint and (progress := folder.progress())["batch"]:
        raise RunError(f"{folder} stopped inside epoch {progress['epoch']}, and {stuck[0]} can change only between "
                       "epochs", "resume without that change")
    manual_seed(recipe.seed)
    net = checkpoint.create(settings["model"])
    begin(net, recipe)
    net.to(Device.parse(device)).to(recipe.dtype)
    spared = net if "drop_one" in settings else None  # older runs learn from a last batch of one, whatever it is worth
    batches = loaders(recipe, train, val, workers, device, model=spared)
    trainer = Trainer(net, recipe, *batches, folder=folder, save_every=save_every, capture=_captured(capture, device))
    if has_checkpoint:  # a run that was killed before its first one begins again, from the same seed
        trainer.restore()
    changed = [f"{key} {before[key]} -> {now[key]}" for key in now if now[key] != before[key]]
    settings |= {"recipe": asdict(recipe), "selection": asdict(selection), "data": _about(train), "device": device,
                 "save_every": save_every}
    settings["resumed"].append({"at": _now(), "epoch": trainer.progress.epoch, "batch": trainer.progress.batch,
                                "changes": changed})
    folder.stage_settings(settings)
    return Session(trainer, folder, settings, train, val, changed)


def _other_data(folder: RunFolder, name: str, then: dict[str, Any], train: Samples) -> RunError:
    """The error for data that are not those that a run was begun with."""
    if not train.files:
        return RunError(f"{name} is not the data set that {folder} was begun with", OTHER_DATA)
    before = then.get("files", f"{then['train']:,} training images, as an older version divided them")
    return RunError(f"{name} is not as it was when {folder} was begun: " + (
        f"there were {before}; now {train.files}" if before != train.files else "there are other images in its files"),
        "put back what was there, or start a new run")


def dry_run(model: str, recipe: Recipe, selection: Selection, *, options: dict[str, Any], device: str,
            workers: int = 1) -> None:
    """Two steps, a validation, a save and a reload, in a folder that is removed again.

    Raises:
        RuntimeError: the reloaded model does not give the same validation loss.
    """
    images = 2 * recipe.batch_size * recipe.accum
    small = replace(selection, limit_train=min(images, selection.limit_train or images), limit_val=min(
        2 * recipe.batch_size, selection.limit_val or 2 * recipe.batch_size))
    with tempfile.TemporaryDirectory() as out:
        session = start(model, replace(recipe, epochs=1, warmup_epochs=None), small, options=options, device=device,
                        out=out, name="dry", workers=workers)
        before = session.trainer.run().rows[0].val_loss
        again = resume(RunFolder.open(Path(out) / "dry")).trainer
        best = load_run(Path(out) / "dry", device)
        batches = validation_of(best, {})[1]
        after = evaluate(again.model, batches).loss, evaluate(best.model, batches).loss
    if after != (before, before):
        raise RuntimeError(f"dry run: the validation loss was {before}, after reloading {after[0]} and {after[1]}")


@dataclass(frozen=True)
class TrainedModel:
    """The weights of a run, in evaluation mode, with what there is to know about them."""

    model: Module
    path: Path
    epochs: int
    settings: dict[str, Any]

    def not_finite(self, batches: Iterable[tuple[Tensor, ...]]) -> RunError:
        """The error for weights that make NaN or infinity out of these inputs, with the first layer that does."""
        blamed = next(filter(None, (blame_output(self.model, *batch) for batch in batches)), "the loss itself")
        return RunError(f"{self.path} gives numbers that are not finite; the first is {blamed}",
                        "the run diverged: name another .safetensors file of it, or train again with a smaller --lr")


def load_run(path: str | os.PathLike, device: str = "cpu",
             report: Callable[[str], None] = lambda line: None) -> TrainedModel:
    """The best model of a run folder, or the one in a file of that folder.

    Where no check sum tells whether the file belongs to the run, ``report`` is given a line about it.

    Raises:
        RunError: there is no such run, no model in it yet, or one of another run.
    """
    path, name = Path(path), BEST
    if path.suffix == ".safetensors":
        path, name = path.parent, path.name
    folder = RunFolder.open(path)
    settings = folder.settings()
    file, known = folder.locate(name)
    try:
        model, note = checkpoint.load(file), checkpoint.note_of(file)
    except FormatError as error:
        raise RunError(str(error), DAMAGED) from error
    if not isinstance(model, Module) or "epochs" not in note:
        raise RunError(f"{file} is not a checkpoint of a run", "name the folder of the run, or last.safetensors in it")
    if note["model"] != settings["model"]:
        raise RunError(f"{file} is of another run: it holds {_called(note['model'])}; {folder} is a run of "
                       f"{_called(settings['model'])}", "name the folder of the run, or last.safetensors in it")
    if not known:
        report(f"note: {file} is not part of the newest checkpoint, so no check sum tells whether it is intact")
    return TrainedModel(model.to(Device.parse(device)), file, note["epochs"], settings)


def _called(spec: dict[str, Any]) -> str:
    return ", ".join([spec["name"], *(f"{key} {value}" for key, value in [
        ("channels", spec["in_channels"]), ("classes", spec["num_classes"]), *spec["options"].items()])])


def validation_of(trained: TrainedModel, changes: dict[str, Any]) -> tuple[Samples, DataLoader]:
    """The held-out images of a run, and batches of them as its model expects them; changes are fields of Selection.

    Raises:
        RunError: they are not images as those the run was trained on.
    """
    recipe, about = Recipe(**trained.settings["recipe"]), trained.settings["data"]
    val = replace(Selection(**trained.settings["selection"]), **changes).held_out(recipe.data)
    if [val.classes, list(_shape(val))] != [about["classes"], about["shape"]]:
        raise RunError(f"{recipe.data} in {val.source} is not the data set that {trained.path.parent} was trained on: "
                       "its images or classes are others", OTHER_DATA)
    return val, val_loader(recipe, val, about["mean"], about["std"])


def _captured(capture: bool | None, device: str) -> bool:
    """Whether to record steps; None is wherever it can be."""
    return Device.parse(device).type == "cuda" if capture is None else capture


def _shape(samples: Samples) -> tuple[int, ...]:
    """(C, H, W) of images, (T,) of texts."""
    return samples.arrays[0].shape[1:]


def _about(train: Samples) -> dict[str, Any]:
    return {"classes": train.classes, "shape": list(_shape(train)), "mean": list(train.mean),
            "std": list(train.std), "train": len(train), "files": train.files}


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
