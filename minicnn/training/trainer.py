"""Trainer: the loop over epochs and steps, with a state that can be saved after any step and gone on from."""

import math
import time
from collections.abc import Iterable
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from typing import NoReturn

from .. import functional as F
from ..amp import GradScaler, autocast
from ..backend import array_module, default_generator, float32_matmul_precision, module_on, to_numpy
from ..data import DataLoader
from ..interop import safetensors
from ..models import Outputs
from ..nn import Module
from ..nn.utils import clip_grad_norm_
from ..engine import Tensor, silence
from .capture import Cupy, Recorded
from .checkpoint import join, model_bytes, split
from .diagnosis import NonFiniteError, blame_gradient, blame_output
from .evaluation import Evaluation, evaluate, hits, inputs, like_weights, logits_of
from .history import History, Row, figure
from .optimisation import make_optimizer, make_schedule
from .pace import Pace
from .preflight import Finding, preflight
from .recipes import Recipe
from .run_folder import ARRAYS, BEST, DAMAGED, INTERRUPT, LAST, RunError, RunFolder
from .signals import Interrupted, StopRequest

__all__ = ["Observer", "Progress", "Trainer"]

GROWN = 2.0  # times the first loss, from which on the mean loss of an epoch is remarked


@dataclass
class Progress:
    """Where a run stands: in which epoch, after how many of its batches, and what these have summed up to."""

    epoch: int = 1
    batch: int = 0
    images: int = 0
    loss: float = 0.0  # sum over the images
    correct: float = 0.0  # the same of the share of right answers: one of an image, one for each symbol of a text
    seconds: float = 0.0  # spent on the steps
    lr: float = 0.0  # of the last step


class Observer:
    """Told what a Trainer does; this one pays no attention."""

    def begin(self, trainer: "Trainer") -> None:
        """The first step is about to be made."""

    def warn(self, finding: Finding) -> None:
        """The first step shows what is likely to be a mistake."""

    def step(self, progress: Progress) -> None:
        """The optimiser made a step."""

    def epoch(self, row: Row) -> None:
        """An epoch is complete and saved."""

    def end(self) -> None:
        """The run is over, for whatever reason."""


class Trainer:
    """Trains a model by a recipe.

    Args:
        model: maps images to logits (N, K).
        recipe: how to train; the initial weights are the model's own.
        train: the training images.
        val: the held-out images, if there are any.
        folder: where checkpoints and figures go; None keeps nothing. With a folder SIGINT, SIGTERM and SIGHUP save the
            state.
        observer: is told about steps and epochs.
        save_every: steps between checkpoints within an epoch; 0 makes one at its end only.
        capture: record the step as a CUDA graph, where that is possible; for models on a GPU.
    """

    def __init__(self, model: Module, recipe: Recipe, train: DataLoader, val: DataLoader | None = None, *,
                 folder: RunFolder | None = None, observer: Observer | None = None, save_every: int = 0,
                 capture: bool = False) -> None:
        if not len(train):
            raise ValueError(f"Trainer: there are no batches to train on; {len(train.dataset)} images in batches of "
                             f"{train.batch_size} with drop_last={train.drop_last} make none")
        self.model, self.recipe, self.train, self.val = model, recipe, train, val
        self.folder, self.observer, self.save_every = folder, observer or Observer(), save_every
        self.parameters = list(model.parameters())
        self.optimizer = make_optimizer(recipe, self.parameters)
        self.steps_per_epoch = math.ceil(len(train) / recipe.accum)
        self.schedule = make_schedule(recipe, self.optimizer, self.steps_per_epoch)
        self.progress = Progress()
        self.history = History()
        self.findings: list[Finding] = []  # of preflight
        self.at_first: float | None = None  # the loss of the first step here, or that of guessing where it is larger
        self.device = self.parameters[0].device
        self.scaler = GradScaler(self.device.type, enabled=recipe.amp == "float16")
        self.capture = capture
        self.recorded: Recorded | None = None
        if capture and recipe.accum == 1:
            self.recorded = Recorded(self.learn, model, Cupy(self.device), self.scaler.get_scale, self._not_recorded)

    @property
    def step_in_epoch(self) -> int:
        """How many steps of the present epoch are done."""
        return math.ceil(self.progress.batch / self.recipe.accum)

    # -- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> History:
        """Train to the end of the recipe's last epoch.

        Raises:
            Interrupted: a signal came; the state is saved.
            NonFiniteError: the loss or a gradient is NaN or infinite.
            SaveError: a checkpoint could not be written; the one before is intact.
        """
        self.observer.begin(self)
        if self.capture and self.recorded is None:
            self._not_recorded(f"each is made of {self.recipe.accum} batches")
        self.pace = Pace()
        try:
            # NaN and infinity are looked for here, and reported better than by NumPy's warnings
            with StopRequest(active=self.folder is not None) as stop, silence(), module_on(self.device):
                if not self.optimizer.steps:
                    self._save(LAST)
                while self.progress.epoch <= self.recipe.epochs:
                    self._epoch(stop)
        finally:
            self.pace.end()
            if self.folder is not None:
                self.folder.unlock()
            self.observer.end()
        return self.history

    def _epoch(self, stop: StopRequest) -> None:
        started = time.perf_counter() - self.progress.seconds
        self.model.train()
        group: list[tuple[Tensor, Tensor]] = []
        with closing(self.train.epoch(self.progress.epoch, start_step=self.progress.batch)) as batches:
            for batch in batches:
                group.append(batch)
                if len(group) < self.recipe.accum and self.progress.batch + len(group) < len(self.train):
                    continue
                with self.pace.step():
                    self.make_step(group)
                group = []
                self.progress.seconds = time.perf_counter() - started
                self.observer.step(self.progress)
                self._heed(stop)
                if self.save_every and self.optimizer.steps % self.save_every == 0:
                    self._save(LAST)
        self._finish_epoch(started, stop)

    def _heed(self, stop: StopRequest) -> None:
        if stop.received:
            self._save(INTERRUPT)
            raise Interrupted(stop.received)

    def make_step(self, group: list[tuple[Tensor, Tensor]]) -> None:
        """One step of the optimiser, on one batch or on the mean over the images of several."""
        progress = self.progress
        images = sum(len(y) for _, y in group)
        self.optimizer.zero_grad()
        for x, y in group:
            x, y = like_weights(self.model, x, y)
            with float32_matmul_precision("high") if self.recipe.tf32 else nullcontext():
                step = self.recorded or partial(self.learn, share=len(y) / images)
                loss, logits, checksum = step(x, y)
            value = loss.item()
            if not math.isfinite(value):
                self._give_up(f"the loss is {value} {self._here}", [(x, y)])
            if self.at_first is None:
                self.at_first = max(value, math.log(logits.shape[1]))
            progress.images += len(y)
            progress.loss += value * len(y)
            truth, answers = hits(to_numpy(logits.data), to_numpy(y.data))
            progress.correct += int((truth == answers).sum()) * len(y) / max(1, len(truth))
        self.scaler.unscale_(self.optimizer)
        lost = self.scaler.found_inf if self.scaler.is_enabled() else not math.isfinite(checksum.item())
        if lost and self.scaler.get_scale() <= 1:  # above, a smaller scale may help
            self._give_up(f"the gradient of the loss is not finite {self._here}", [(x, y)])
        if not self.optimizer.steps and x.is_floating_point():  # its rules are about images
            self.findings = preflight(self.model, x, loss, batches=self.train, raw=self.recipe.pixels == "raw")
            for finding in self.findings:
                self.observer.warn(finding)
        if self.recipe.clip_grad is not None:
            clip_grad_norm_(self.parameters, self.recipe.clip_grad)
        progress.lr = self.optimizer.param_groups[0]["lr"]
        done = self.optimizer.steps
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.steps = done + 1  # one that the scaler left out is a step of the schedule, too
        self.schedule.step()
        progress.batch += len(group)

    def learn(self, x: Tensor, y: Tensor, share: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """Add the gradients of a batch, times its share; its loss, its logits, and a sum over all gradients.

        NaN and infinity survive addition, so that the sum tells whether there are any. Nothing is read from a GPU.
        """
        with autocast(self.device.type, self.recipe.amp) if self.recipe.amp != "none" else nullcontext():
            answer = self.model(*inputs(self.model, x, y))
            logits = logits_of(answer)
            criterion = partial(F.cross_entropy, target=y, label_smoothing=self.recipe.label_smoothing)
            loss = answer.loss(criterion) if isinstance(answer, Outputs) else criterion(logits)
        scaled = self.scaler.scale(loss if share == 1 else loss * share)
        scaled.backward(retain_graph=not self.optimizer.steps)  # the first is still looked at
        sums = [p.grad.data.sum() for p in self.parameters if p.grad is not None]
        return loss, logits, Tensor(array_module(loss.data).asarray(sum(sums)))

    def _not_recorded(self, why: str) -> None:
        self.observer.warn(Finding("not-captured", f"steps cannot be recorded as a CUDA graph: {why}",
                                   "nothing is lost but speed; --no-capture does not try"))

    def _finish_epoch(self, started: float, stop: StopRequest) -> None:
        done = self.progress
        held_out = self._validate(stop)
        row = Row(epoch=done.epoch, loss=done.loss / done.images, acc=done.correct / done.images,
                  val_loss=held_out.loss if held_out else None, val_acc=held_out.accuracy if held_out else None,
                  lr=done.lr, images_per_second=done.images / done.seconds, seconds=time.perf_counter() - started)
        self.history.rows.append(row)
        self.progress = Progress(epoch=done.epoch + 1)
        if self.folder is not None:
            self.folder.append(row)
        self._save(LAST)
        self.observer.epoch(row)
        if self.at_first is not None and row.loss > GROWN * self.at_first:
            self.observer.warn(Finding("diverging", f"the loss has grown from {figure(self.at_first)} to "
                                       f"{figure(row.loss)}: steps are too long",
                                       f"a smaller lr (it is {self.recipe.lr:g}), or clip_grad 1"))
            self.at_first = math.inf  # once is enough

    def _validate(self, stop: StopRequest) -> Evaluation | None:
        if self.val is None:
            return None
        result = evaluate(self.model, self.val, partial(self._heed, stop))
        if not math.isfinite(result.loss):
            self.model.eval()
            self._give_up(f"the validation loss is {result.loss} after epoch {self.progress.epoch}",
                          (like_weights(self.model, x, y) for x, y in self.val.epoch(0)))
        return result

    @property
    def _here(self) -> str:
        return f"in epoch {self.progress.epoch}, step {self.step_in_epoch + 1}"

    def _give_up(self, what: str, batches: Iterable[tuple[Tensor, Tensor]]) -> NoReturn:
        """Raise NonFiniteError with the layer to blame, found with these batches and the gradients that there are."""
        found = filter(None, (blame_output(self.model, *inputs(self.model, x, y)) for x, y in batches))
        blamed = next(found, None) or blame_gradient(self.model) or "the loss itself"
        raise NonFiniteError(f"{what}; the first that is not finite is {blamed}")

    # -- the state --------------------------------------------------------------------------------------------------

    def _save(self, name: str) -> None:
        """Write a checkpoint of this moment into the folder, its weights under the given file name."""
        if self.folder is None:
            return
        plain, arrays = split(self.optimizer.state_dict()["state"])
        weights = model_bytes(self.model, epochs=self.progress.epoch - 1, batch=self.progress.batch)
        files = {name: weights, ARRAYS: safetensors.to_bytes(arrays)}
        if self.history.rows and not self.progress.batch and self.history.best is self.history.rows[-1]:
            files[BEST] = weights
        state = {"progress": asdict(self.progress), "opt": self.recipe.opt, "optimizer": plain,
                 "generator": default_generator.state_dict(), "scaler": self.scaler.state_dict()}
        self.folder.commit(files, state, keep=(BEST,))

    def restore(self) -> None:
        """Go on from the checkpoint in the folder, under this trainer's recipe.

        The recipe's optimiser gets the saved state, unless it is another optimiser; its schedule is moved to the step.

        Raises:
            RunError: a file is missing, damaged or does not fit.
        """
        if self.folder is None:
            raise ValueError("restore: this trainer has no folder")
        state, files = self.folder.state()
        name = INTERRUPT if INTERRUPT in files else LAST
        try:
            weights = safetensors.from_bytes(files[name], self.folder.path / name)
            self.model.load_state_dict({key: Tensor(a) for key, a in weights.items()})
            self.progress = Progress(**state["progress"])
            arrays = safetensors.from_bytes(files[ARRAYS], self.folder.path / ARRAYS)
            if state["opt"] == self.recipe.opt:
                groups = self.optimizer.state_dict()["param_groups"]
                self.optimizer.load_state_dict({"state": join(state["optimizer"], arrays), "param_groups": groups})
            default_generator.load_state_dict(state["generator"])
            if scaler := state.get("scaler"):  # that of a run in float16
                self.scaler.load_state_dict(scaler)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise RunError(f"{self.folder}: the checkpoint does not fit: {error}", DAMAGED) from error
        self.history = self.folder.restore_history(self.progress.epoch - 1)
        self.optimizer.steps = (self.progress.epoch - 1) * self.steps_per_epoch + self.step_in_epoch
        if self.optimizer.steps > self.recipe.epochs * self.steps_per_epoch:
            raise RunError(f"{self.folder} is in epoch {self.progress.epoch} already, with {self.steps_per_epoch} "
                           f"steps each, so that --epochs {self.recipe.epochs} is less than it has done",
                           "give more --epochs")
        for _ in range(self.optimizer.steps):
            self.schedule.step()
