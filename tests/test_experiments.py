"""Experiments: networks side by side, each an ordinary run; a table, a plot, and the same command goes on."""

import json

import numpy as np
import pytest

import minicnn as mc
from minicnn import models
from minicnn.experiment import main
from minicnn.training import History, Observer
from minicnn.training.experiments import EXPERIMENTS, Arm, Experiment, Outcome, run_experiment, table
from minicnn.training.history import Row
from minicnn.training.plots import plot_outcomes
from minicnn.training.recipes import recipe_for
from minicnn.training.session import Selection

TINY = Selection(limit_train=40, limit_val=20)
SMALL = Experiment("small", "Which?", "nobody", (Arm("BN", "lenet_bn"), Arm("tanh", "lenet_tanh", {}, {"lr": 0.02})),
                   {"data": "digits", "epochs": 2, "batch_size": 20}, {})


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_every_experiment_has_arms_that_differ_in_one_thing_and_fit(experiment):
    """In an option or model, or in a field of the recipe; images of both sizes go through every arm."""
    assert len({arm.label for arm in experiment.arms}) == len(experiment.arms) > 1
    for arm in experiment.arms:
        for settings in (experiment.recipe, experiment.recipe | experiment.quick):
            recipe = recipe_for(arm.model, **{"width": 1.0, **settings, **arm.recipe})
            model = models.create(arm.model, 10, 1 if recipe.data == "digits" else 3, width=recipe.width, **arm.options)
            model.check_input((2, model.spec.in_channels, recipe.resize, recipe.resize))
    assert experiment.recipe["data"] == "cifar10" and experiment.quick["data"] == "digits"


def test_runs_all_arms_with_all_seeds_and_goes_on(tmp_path):
    told: list[tuple[str, int]] = []

    def report(arm, seed, parameters):
        told.append((arm.label, seed))
        return Observer()

    first = run_experiment(SMALL, tmp_path, seeds=2, selection=TINY, report=report)
    assert told == [("BN", 0), ("BN", 1), ("tanh", 0), ("tanh", 1)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bn-seed0", "bn-seed1", "tanh-seed0", "tanh-seed1"]
    settings = json.loads((tmp_path / "tanh-seed1" / "run.json").read_text())
    assert settings["recipe"]["seed"] == 1 and settings["recipe"]["lr"] == 0.02
    assert [len(outcome.histories) for outcome in first] == [2, 2] and first[0].parameters == 44_878
    assert first[0].histories[0].rows != first[0].histories[1].rows
    again = run_experiment(SMALL, tmp_path, seeds=2, selection=TINY, report=report)
    assert len(told) == 4 and [o.histories for o in again] == [o.histories for o in first]
    longer = run_experiment(SMALL, tmp_path, seeds=2, selection=TINY, report=report, changes={"epochs": 3})
    assert len(told) == 8 and longer[1].histories[1].rows[:2] == first[1].histories[1].rows


def test_an_arm_may_diverge(tmp_path):
    wild = Arm("wild", "lenet_tanh", {}, {"opt": "sgd", "lr": 1e39, "sched": "none"})
    outcomes = run_experiment(Experiment("wild", "?", "", (SMALL.arms[0], wild), SMALL.recipe, {}), tmp_path,
                              selection=TINY)
    assert [outcome.diverged for outcome in outcomes] == [0, 1]
    assert table(outcomes)[1][2:] == ["diverged", "–", "–", "–"]
    plot_outcomes(outcomes, tmp_path / "curves.png")


def history(*accuracies: float) -> History:
    return History([Row(i, 1 - a, a, 1 - a, a / 2, 0.1, 100.0, 2.0) for i, a in enumerate(accuracies, start=1)])


def test_table():
    outcomes = [Outcome(SMALL.arms[0], 44_878, [history(0.5, 0.7, 0.8), history(0.5, 0.76, 0.9)], 0),
                Outcome(SMALL.arms[1], 61_706, [history(0.5, 0.7, 0.8), history(0.5, 0.6, 0.6)], 0)]
    assert table(outcomes) == [["BN", "44,878", "0.1500", "2.5", "42.5% (40.0% … 45.0%)", "2.0"],
                               ["tanh", "61,706", "0.3000", "–", "35.0% (30.0% … 40.0%)", "2.0"]]


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in EXPERIMENTS)
    assert main(["inceptoin"]) == 2 and "did you mean inception?" in capsys.readouterr().err
    flags = ["dropout", "--quick", "--epochs", "1", "--limit-train", "32", "--limit-val", "32", "--device", "cpu"]
    assert main(flags) == 0
    out = capsys.readouterr().out
    assert "without, seed 0: study, 688,138 parameters" in out and out.count("epoch 1/1") == 2
    assert "best val_acc" in out and "curves: runs/dropout-quick/curves.svg" in out
    assert (tmp_path / "runs" / "dropout-quick" / "curves.svg").stat().st_size > 10_000
    assert "note:" not in out
    assert main(flags) == 0 and "epoch 1/1" not in capsys.readouterr().out
    assert main(["activation", *flags[1:]]) == 0
    assert "note: the sigmoid's slope is ¼ at most" in capsys.readouterr().out


# -- the network ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "layers"), [
    ({}, "conv1 act1 pool1 conv2 act2 pool2 conv3 act3 pool3 avgpool flatten fc1 act4 fc2"),
    ({"batch_norm": True, "dropout": 0.5, "block": "5x5"},
     "conv1 bn1 act1 pool1 conv2 bn2 act2 pool2 conv3 bn3 act3 pool3 avgpool flatten fc1 bn4 act4 dropout fc2"),
    ({"block": "inception", "head": "nin"},
     "conv1 act1 pool1 inception2 pool2 inception3 pool3 cccp1 act4 cccp2 avgpool flatten")])
def test_study(options, layers):
    model = models.create("study", 7, 2, **options)
    assert " ".join(name for name, _ in model.named_children()) == layers
    assert model(mc.tensor(np.zeros((2, 2, 28, 28), np.float32))).shape == (2, 7)


@pytest.mark.parametrize("options", [{"block": "7x7"}, {"activation": "elu"}, {"head": "svm"}])
def test_study_explains_what_there_is(options):
    with pytest.raises(ValueError, match=r"is unknown; use '"):
        models.create("study", **options)
    with pytest.raises(ValueError, match="block 'inception' has ReLU and no batch norm, not activation"):
        models.create("study", block="inception", activation="tanh")
