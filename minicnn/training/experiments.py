"""Comparisons that the texts make in a sentence or a figure, as networks trained side by side.

Every arm of an experiment is an ordinary run, in a folder of its own for each seed, so that an experiment that was
stopped goes on where it was, and each of its networks can be evaluated as any other.
"""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .diagnosis import NonFiniteError
from .history import History
from .recipes import DIGITS_BATCH, recipe_for
from .run_folder import SETTINGS, RunFolder
from .session import Selection, Session, resume, start
from .trainer import Observer

__all__ = ["EXPERIMENTS", "Arm", "Experiment", "Outcome", "run_experiment"]

TARGET = 0.75  # the training accuracy whose epoch is told: the 25 % error of figure 1 of Krizhevsky et al. 2012


@dataclass(frozen=True)
class Arm:
    """One of the networks that are compared: a model with options, and what its recipe has that the others' has not."""

    label: str
    model: str
    options: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """A question, and the arms that answer it.

    Attributes:
        name: what it is called by.
        question: what it is about.
        source: who made the comparison.
        arms: what is compared.
        recipe: what all arms have besides the model's own recipe; of a quick run, ``quick`` too.
        selection: fields of Selection, of full runs.
        note: what in the result is no mistake.
    """

    name: str
    question: str
    source: str
    arms: tuple[Arm, ...]
    recipe: dict[str, Any]
    quick: dict[str, Any]
    selection: dict[str, Any] = field(default_factory=dict)
    note: str = ""


QUICK = {"data": "digits", "epochs": 8, "batch_size": DIGITS_BATCH, "augment": False, "resize": 28}
SGD = {"data": "cifar10", "opt": "momentum", "lr": 0.01, "sched": "none", "weight_decay": 0.0, "epochs": 20,
       "resize": 32}
SMALL_RATE = {"lr": 0.01}
LARGE_RATE = {"lr": 0.1}  # ten times as large
DEEP = {"resize": 8, "width": 0.5, "lr": 0.02}  # residual networks on the digits, which are 8×8 scans

EXPERIMENTS = {experiment.name: experiment for experiment in (
    Experiment("residual", "Do deeper networks learn better, with shortcuts and without?",
               "He et al. 2015, figure 6; note 003",
               (Arm("plain-20", "plain20"), Arm("ResNet-20", "resnet20"), Arm("plain-56", "plain56"),
                Arm("ResNet-56", "resnet56")), {"data": "cifar10", "epochs": 24, "resize": 32}, QUICK | DEEP),
    Experiment("activation", "How much sooner do networks learn with ReLU than with tanh?",
               "Krizhevsky et al. 2012, figure 1; note 004",
               (Arm("ReLU", "study"), Arm("tanh", "study", {"activation": "tanh"}),
                Arm("sigmoid", "study", {"activation": "sigmoid"})), SGD, QUICK,
               note="the sigmoid's slope is ¼ at most, and gradients shrink with every layer: without batch norm it "
                    "stays at chance for long (Glorot, Bengio 2010)"),
    Experiment("batch-norm", "Does batch norm stand a rate that is ten times as large?",
               "Ioffe, Szegedy 2015, section 4.2; note 001",
               (Arm("plain", "study", {}, SMALL_RATE), Arm("plain, rate ×10", "study", {}, LARGE_RATE),
                Arm("BN", "study", {"batch_norm": True}, SMALL_RATE),
                Arm("BN, rate ×10", "study", {"batch_norm": True}, LARGE_RATE)), SGD, QUICK),
    Experiment("head", "What do 1×1 convolutions and a global average do in the place of linear layers?",
               "Lin et al. 2013, section 4.6; note 001",
               (Arm("linear layers", "study", {"batch_norm": True}),
                Arm("NiN", "study", {"head": "nin", "batch_norm": True})), SGD | {"lr": 0.05}, QUICK),
    Experiment("inception", "Is an Inception block better than a convolution of 3×3 or 5×5?",
               "Szegedy et al. 2014; note 001, section 7.4",
               (Arm("3×3", "study"), Arm("5×5", "study", {"block": "5x5"}),
                Arm("Inception", "study", {"block": "inception"})), SGD, QUICK),
    Experiment("dropout", "What does dropout do where there are few images?",
               "Srivastava et al. 2014; notes 001 and 004",
               (Arm("without", "study"), Arm("dropout 0.5", "study", {"dropout": 0.5})), SGD | {"epochs": 40}, QUICK,
               {"limit_train": 5000}),
)}


@dataclass(frozen=True)
class Outcome:
    """What became of an arm.

    Attributes:
        arm: which it is.
        parameters: of its model.
        histories: the epochs of its runs, one for each seed; where one diverged, those before.
        diverged: in how many runs the loss or a gradient became NaN or infinite.
    """

    arm: Arm
    parameters: int
    histories: list[History]
    diverged: int

    @property
    def best(self) -> list[float]:
        """The best validation accuracy of each run."""
        return [history.best.score for history in self.histories if history.best is not None]

    @property
    def epochs_to_target(self) -> float | None:
        """After how many epochs the training accuracy was TARGET, on average; None if it was not in some run."""
        reached = [next((row.epoch for row in history.rows if row.acc >= TARGET), None) for history in self.histories]
        return None if None in reached else statistics.fmean(n for n in reached if n is not None)


def run_experiment(experiment: Experiment, out: Path, *, quick: bool = False, seeds: int = 1,
                   changes: dict[str, Any] | None = None, selection: Selection | None = None, device: str = "cpu",
                   report: Callable[[Arm, int, int], Observer] = lambda arm, seed, parameters: Observer(),
                   ) -> list[Outcome]:
    """Train all arms with all seeds, or go on with them.

    Args:
        out: a folder for the folders of the runs.
        quick: a minute on the digits instead of an hour on CIFAR-10.
        seeds: how many runs there are of each arm.
        changes: fields of Recipe that all arms get.
        selection: where images come from, and how many; None is all, from the usual places.
        report: called before each run; what it returns is told what happens in the run.

    Raises:
        Interrupted: a signal came; the same call goes on from there.
    """
    selection = selection or Selection()
    if not quick:
        selection = replace(selection, **{key: value for key, value in experiment.selection.items()
                                          if getattr(selection, key) is None})
    outcomes = []
    for arm in experiment.arms:
        histories, parameters, diverged = [], 0, 0
        for seed in range(seeds):
            session = _session(experiment, arm, out, quick, seed, changes or {}, selection, device)
            trainer = session.trainer
            parameters = sum(p.numel() for p in trainer.parameters)
            if trainer.progress.epoch <= trainer.recipe.epochs:
                trainer.observer = report(arm, seed, parameters)
                try:
                    trainer.run()
                except NonFiniteError:  # that is what some arms are there to show
                    diverged += 1
            else:
                session.folder.unlock()
            histories.append(trainer.history)
        outcomes.append(Outcome(arm, parameters, histories, diverged))
    return outcomes


def _session(experiment: Experiment, arm: Arm, out: Path, quick: bool, seed: int, changes: dict[str, Any],
             selection: Selection, device: str) -> Session:
    """The run of an arm with a seed, begun or gone on with."""
    slug = "".join(letter if letter.isalnum() else "-" for letter in arm.label.replace("×", "x").lower())
    name = f"{slug}-seed{seed}"
    if (out / name / SETTINGS).is_file():
        return resume(RunFolder.open(out / name), arm.model, {**changes, "device": device})
    settings = {"width": 1.0, **experiment.recipe, **(experiment.quick if quick else {}), **arm.recipe, **changes,
                "seed": seed}
    recipe = recipe_for(arm.model, settings.pop("data"), **settings)
    return start(arm.model, recipe, selection, options=arm.options, device=device, out=str(out), name=name)


def table(outcomes: Iterable[Outcome]) -> list[list[str]]:
    """The rows of the table: arm, parameters, training loss at the end, epochs to TARGET, best accuracy, seconds."""
    rows = []
    for outcome in outcomes:
        best, reached = outcome.best, outcome.epochs_to_target
        ends = [history.rows[-1].loss for history in outcome.histories if history.rows]
        seconds = [row.seconds for history in outcome.histories for row in history.rows]
        spread = f" ({min(best):.1%} … {max(best):.1%})" if len(best) > 1 else ""
        rows.append([outcome.arm.label, f"{outcome.parameters:,}",
                     "diverged" if outcome.diverged else f"{statistics.fmean(ends):.4f}",
                     "–" if reached is None else f"{reached:.3g}",
                     f"{statistics.fmean(best):.1%}{spread}" if best else "–",
                     f"{statistics.fmean(seconds):.1f}" if seconds else "–"])
    return rows
