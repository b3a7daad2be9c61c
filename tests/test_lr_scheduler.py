"""Schedules of the learning rate beside PyTorch's over 50 steps; chained, in sequence, resumed, saved; errors."""

import collections
import copy
import inspect
import itertools

import numpy as np
import pytest
import torch

import minicnn as mc
from minicnn import optim

def sequence(s, o):
    parts = [s.LinearLR(o, 0.1, total_iters=5), s.CosineAnnealingLR(o, 12, 0.01), s.ExponentialLR(o, 0.9)]
    return s.SequentialLR(o, parts, [5, 17])


def many(s, o):
    parts = [s.ConstantLR(o, 0.5, 3), s.LambdaLR(o, lambda t: 0.9 ** t), s.StepLR(o, 4), s.MultiStepLR(o, [2, 4]),
             s.LinearLR(o), s.OneCycleLR(o, 0.2, 30)]
    return s.SequentialLR(o, parts, [4, 9, 20, 26, 32])


SCHEDULES = {
    "StepLR": lambda s, o: s.StepLR(o, 7, gamma=0.3),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [30, 8, 8, 21], gamma=0.5),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.95),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 12, eta_min=0.003),
    "CosineAnnealingLR over all": lambda s, o: s.CosineAnnealingLR(o, T_max=50),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 5, T_mult=2, eta_min=0.003),
    "CosineAnnealingWarmRestarts equal": lambda s, o: s.CosineAnnealingWarmRestarts(o, 7),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.25, 0.8, total_iters=9),
    "LinearLR default": lambda s, o: s.LinearLR(o),
    "ConstantLR": lambda s, o: s.ConstantLR(o, 0.4, total_iters=6),
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda t: 1 / (1 + t)),
    "LambdaLR per group": lambda s, o: s.LambdaLR(o, [lambda t: 0.9 ** t, lambda t: max(0, 1 - t / 40)]),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.4, total_steps=51),
    "OneCycleLR linear": lambda s, o: s.OneCycleLR(o, [0.4, 0.1], None, 17, 3, pct_start=0.4, anneal_strategy="linear",
                                                   div_factor=5, final_div_factor=50),
    "OneCycleLR three phases": lambda s, o: s.OneCycleLR(o, 0.4, 51, three_phase=True, base_momentum=0.7,
                                                         max_momentum=[0.9, 0.8]),
    "OneCycleLR without momentum": lambda s, o: s.OneCycleLR(o, 0.4, 51, cycle_momentum=False),
    "SequentialLR": sequence,
    "SequentialLR of many": many,
    "SequentialLR from the middle": lambda s, o: s.SequentialLR(o, [s.StepLR(o, 2, 0.5), s.ExponentialLR(o, 0.9)], [9],
                                                                last_epoch=4),
    "SequentialLR of restarts": lambda s, o: s.SequentialLR(o, [
        s.CosineAnnealingWarmRestarts(o, 3), s.ExponentialLR(o, 0.9), s.CosineAnnealingWarmRestarts(o, 4, 2)], [8, 13]),
}
CHAINS = [("ExponentialLR", "StepLR"), ("LinearLR", "CosineAnnealingLR"),
          ("ConstantLR", "MultiStepLR", "ExponentialLR")]


LIBRARIES = optim.lr_scheduler, torch.optim.lr_scheduler


def optimiser_of(library, tensor, name="SGD"):
    groups = [{"params": [tensor]}, {"params": [tensor * 1], "lr": 0.05}]
    options = {"momentum": 0.9} if name == "SGD" else {}
    return getattr(library, name)(groups, lr=0.2, **options)


def pair_of_optimisers(name="SGD"):
    return optimiser_of(optim, mc.ones(1), name), optimiser_of(torch.optim, torch.ones(1), name)


def rates(optimiser):
    return [[g["lr"], g.get("momentum", 0), *g.get("betas", ())] for g in optimiser.param_groups]


def run(optimisers, schedules, steps=50):
    """Step both and compare rates and momenta after every step."""
    a, b = optimisers
    for step in range(steps + 1):
        for x, y in zip(rates(a), rates(b), strict=True):
            assert x == pytest.approx(y, rel=1e-12, abs=1e-15), f"step {step}"
        assert schedules[0][-1].get_last_lr() == pytest.approx(schedules[1][-1].get_last_lr(), rel=1e-12, abs=1e-15)
        assert schedules[0][-1].get_last_lr() == [g["lr"] for g in a.param_groups]
        a.step(), b.step()
        if step < steps:
            for schedule in itertools.chain(*schedules):
                schedule.step()


@pytest.mark.parametrize("name", ["SGD", "Adam"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_fifty_steps_of_a_schedule(schedule, name):
    optimisers = pair_of_optimisers(name)
    run(optimisers, [[SCHEDULES[schedule](library, o)]
                     for library, o in zip(LIBRARIES, optimisers, strict=True)])


@pytest.mark.parametrize("names", CHAINS)
def test_chained_schedules(names):
    optimisers = pair_of_optimisers()
    run(optimisers, [[SCHEDULES[n](library, o) for n in names]
                     for library, o in zip(LIBRARIES, optimisers, strict=True)])


def test_a_sequence_within_a_sequence_is_one_sequence():
    s, optimisers = optim.lr_scheduler, [optimiser_of(optim, mc.ones(1)) for _ in range(3)]
    parts = [[s.ConstantLR(o, 0.1, 3), s.CosineAnnealingLR(o, 12), s.ExponentialLR(o, 0.8)] for o in optimisers]
    schedules = [[s.SequentialLR(optimisers[0], parts[0], [5, 17])]]
    inner = s.SequentialLR(optimisers[1], parts[1][:2], [5])
    schedules.append([s.SequentialLR(optimisers[1], [inner, parts[1][2]], [17])])
    run(optimisers[:2], schedules, 30)
    inner = s.SequentialLR(optimisers[2], parts[2][1:], [12])
    last = s.SequentialLR(optimisers[2], [parts[2][0], inner], [5])
    optimiser = optimiser_of(optim, mc.ones(1))
    parts = [s.ConstantLR(optimiser, 0.1, 3), s.CosineAnnealingLR(optimiser, 12), s.ExponentialLR(optimiser, 0.8)]
    run([optimiser, optimisers[2]], [[s.SequentialLR(optimiser, parts, [5, 17])], [last]], 30)


RESUMED = {
    "StepLR": lambda s, o, e: s.StepLR(o, 7, 0.3, last_epoch=e),
    "MultiStepLR": lambda s, o, e: s.MultiStepLR(o, [8, 14, 15, 21], 0.5, last_epoch=e),
    "ExponentialLR": lambda s, o, e: s.ExponentialLR(o, 0.95, last_epoch=e),
    "CosineAnnealingLR": lambda s, o, e: s.CosineAnnealingLR(o, 12, 0.003, last_epoch=e),
    "CosineAnnealingWarmRestarts": lambda s, o, e: s.CosineAnnealingWarmRestarts(o, 13, 2, last_epoch=e),
    "LinearLR": lambda s, o, e: s.LinearLR(o, 0.25, 0.8, 19, last_epoch=e),
    "ConstantLR": lambda s, o, e: s.ConstantLR(o, 0.4, 16, last_epoch=e),
    "LambdaLR": lambda s, o, e: s.LambdaLR(o, lambda t: 1 / (1 + t), last_epoch=e),
    "OneCycleLR": lambda s, o, e: s.OneCycleLR(o, 0.4 if e == -1 else 0.7, 51, last_epoch=e),  # the first peak counts
}


def test_restarts_go_on_from_a_late_epoch():
    """PyTorch takes every epoch for one of the first two periods there."""
    optimisers = [optimiser_of(optim, mc.ones(1)) for _ in range(2)]
    straight = optim.lr_scheduler.CosineAnnealingWarmRestarts(optimisers[0], 3, 2)
    for _ in range(30):
        optimisers[0].step(), straight.step()
    optimisers[1].load_state_dict(optimisers[0].state_dict())
    resumed = optim.lr_scheduler.CosineAnnealingWarmRestarts(optimisers[1], 3, 2, last_epoch=29)
    assert (resumed.T_cur, resumed.T_i, resumed.last_epoch) == (straight.T_cur, straight.T_i, 30) == (9, 24, 30)
    assert resumed.get_last_lr() == straight.get_last_lr()


def test_restarts_at_fractions_of_epochs():
    pairs = [library.CosineAnnealingWarmRestarts(o, 4, T_mult=2, eta_min=0.01)
             for library, o in zip(LIBRARIES, pair_of_optimisers(), strict=True)]
    for epoch in (0, 0.5, 1.75, 3.999, 4, 11.5, 12.25, 2.5, None, None, 27.0, 40.5, None):
        for schedule in pairs:
            schedule.step(epoch)
        assert pairs[0].get_last_lr() == pytest.approx(pairs[1].get_last_lr(), rel=1e-12), epoch
        assert pairs[0].last_epoch == pairs[1].last_epoch
    with pytest.raises(ValueError, match="epoch = -1 must be at least 0"):
        pairs[0].step(-1)


# -- lower when progress stops --------------------------------------------------------------------------------------

PLATEAUS: list[dict] = [
    {}, dict(mode="max", patience=1), dict(factor=0.5, patience=0, min_lr=[0.01, 0.03]), dict(patience=2, cooldown=3),
    dict(threshold=0.1, patience=1), dict(threshold=0.1, mode="max", patience=1), dict(threshold=1.0, patience=0),
    dict(threshold=0.2, threshold_mode="abs", patience=1, cooldown=1), dict(patience=0, factor=0.9, eps=0.004),
    dict(threshold=0.2, threshold_mode="abs", mode="max", patience=1, min_lr=0.002),
]


@pytest.mark.parametrize("options", PLATEAUS, ids=str)
def test_a_rate_that_falls_when_progress_stops(options):
    a, b = pair_of_optimisers()
    ours, theirs = (library.ReduceLROnPlateau(o, **options) for library, o in zip(LIBRARIES, (a, b), strict=True))
    metrics = np.abs(np.random.default_rng(0).standard_normal(60)).cumsum()[::-1] / 20
    metrics[20:40] = metrics[19]  # a plateau
    for step, metric in enumerate([*metrics, np.nan, *metrics]):
        ours.step(mc.tensor(metric)), theirs.step(metric)
        assert ours.get_last_lr() == [g["lr"] for g in a.param_groups], step
        assert ours.get_last_lr() == pytest.approx(theirs.get_last_lr(), rel=1e-12), step
        assert (ours.best, ours.num_bad_epochs, ours.cooldown_counter, ours.last_epoch) == (
            theirs.best, theirs.num_bad_epochs, theirs.cooldown_counter, theirs.last_epoch), step
        if step == 30:  # go on from the state
            state = copy.deepcopy(ours.state_dict())
            ours = optim.lr_scheduler.ReduceLROnPlateau(a)
            ours.load_state_dict(state)


def test_a_plateau_lowers_groups_that_were_added_later():
    optimiser = optimiser_of(optim, mc.ones(1))
    schedules = [optim.lr_scheduler.ReduceLROnPlateau(optimiser, patience=0, min_lr=m) for m in (0.01, [0.01, 0.01])]
    optimiser.add_param_group({"params": mc.zeros(1), "lr": 0.4})
    schedules[0].step(1.0), schedules[0].step(1.0)
    assert schedules[0].get_last_lr() == pytest.approx([0.02, 0.01, 0.04])
    schedules[1].step(1.0)
    with pytest.raises(ValueError, match="min_lr has 2 values for 3 parameter groups"):
        schedules[1].step(1.0)


@pytest.mark.parametrize("schedule", RESUMED)
@pytest.mark.parametrize("last_epoch", [13, 14])
def test_a_schedule_goes_on_from_last_epoch(schedule, last_epoch):
    optimisers, pairs = pair_of_optimisers(), []
    for library, o in zip(LIBRARIES, optimisers, strict=True):
        before = RESUMED[schedule](library, o, -1)
        for _ in range(last_epoch):
            o.step(), before.step()
        pairs.append([RESUMED[schedule](library, o, last_epoch)])
    run(optimisers, pairs, 20)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_goes_on_from_its_state(schedule):
    make_schedule = SCHEDULES[schedule]
    straight, first, second = (optimiser_of(optim, mc.ones(1)) for _ in range(3))
    a, b = make_schedule(optim.lr_scheduler, straight), make_schedule(optim.lr_scheduler, first)
    for _ in range(19):
        for o, s in ((straight, a), (first, b)):
            o.step(), s.step()
    c = make_schedule(optim.lr_scheduler, second)
    second.load_state_dict(first.state_dict()), c.load_state_dict(copy.deepcopy(b.state_dict()))
    for _ in range(20):
        assert rates(second) == rates(straight) and c.get_last_lr() == a.get_last_lr()
        for o, s in ((straight, a), (second, c)):
            o.step(), s.step()


class Recorder:
    """The schedules; ``given`` is what they were called with."""

    def __init__(self):
        self.given = collections.defaultdict(set)

    def __getattr__(self, name):
        schedule = getattr(optim.lr_scheduler, name)

        def call(*arguments, **options):
            self.given[name] |= inspect.signature(schedule).bind(*arguments, **options).arguments.keys()
            return schedule(*arguments, **options)

        return call


def test_every_option_is_among_those_tried():
    recorder = Recorder()
    for make in SCHEDULES.values():
        make(recorder, optimiser_of(optim, mc.ones(1)))
    for make in RESUMED.values():
        make(recorder, optimiser_of(optim, mc.ones(1)), -1)
    for options in PLATEAUS:
        recorder.ReduceLROnPlateau(optimiser_of(optim, mc.ones(1)), **options)
    for name in set(optim.lr_scheduler.__all__) - {"LRScheduler"}:
        assert recorder.given[name] == inspect.signature(getattr(optim.lr_scheduler, name)).parameters.keys(), name


def test_the_state_of_a_callable_object_is_kept():
    class Decay:
        def __init__(self, rate):
            self.rate = rate

        def __call__(self, step):
            return self.rate ** step

    first, second = optimiser_of(optim, mc.ones(1)), optimiser_of(optim, mc.ones(1))
    a = optim.lr_scheduler.LambdaLR(first, [Decay(0.5), lambda t: 1])
    b = optim.lr_scheduler.LambdaLR(second, [Decay(0.9), lambda t: 1])
    assert a.state_dict()["lr_lambdas"] == [{"rate": 0.5}, None]
    b.load_state_dict(a.state_dict())
    second.step(), b.step()
    assert b.get_last_lr() == [0.1, 0.05]


def test_a_schedule_of_ones_own():
    class Halving(optim.lr_scheduler.LRScheduler):
        def get_lr(self):
            return [group["lr"] / 2 if self.last_epoch else group["lr"] for group in self.optimizer.param_groups]

    optimiser = optimiser_of(optim, mc.ones(1))
    schedule = Halving(optimiser)
    optimiser.step(), schedule.step()
    assert schedule.get_last_lr() == [0.1, 0.025]
    with pytest.raises(NotImplementedError, match=r"LRScheduler has neither get_lr\(\) nor following\(\)"):
        optim.lr_scheduler.LRScheduler(optimiser)


def test_stepping_the_schedule_first_warns():
    for library, tensor in ((optim, mc.ones(1)), (torch.optim, torch.ones(1))):
        optimiser = optimiser_of(library, tensor)
        schedule = library.lr_scheduler.StepLR(optimiser, 3)
        with pytest.warns(UserWarning, match=r"`?lr_scheduler.step\(\)`? .*before `?optimizer.step\(\)"):
            schedule.step()


def test_a_cycle_whose_rise_has_no_length():
    optimiser = optim.SGD([mc.ones(1)], momentum=0.9)
    schedule = optim.lr_scheduler.OneCycleLR(optimiser, 0.5, total_steps=4, pct_start=0.25)
    assert schedule.get_last_lr() == [0.5]


@pytest.mark.parametrize("call, error, match", [
    (lambda s, o: s.StepLR(3, 5), TypeError, "StepLR: int is not an Optimizer"),
    (lambda s, o: s.LambdaLR(o, [len]), ValueError, "lr_lambda has 1 values for 2 parameter groups"),
    (lambda s, o: s.StepLR(o, 5, last_epoch=3), KeyError, "group 0 has no 'initial_lr'"),
    (lambda s, o: s.ConstantLR(o, 1.5), ValueError, "factor = 1.5"),
    (lambda s, o: s.LinearLR(o, 0.0), ValueError, "start_factor = 0.0 must be above 0"),
    (lambda s, o: s.LinearLR(o, 0.5, 2.0), ValueError, "end_factor = 2.0 must be at least 0 and at most 1"),
    (lambda s, o: s.OneCycleLR(o, 0.1), ValueError, "give total_steps, or epochs and steps_per_epoch"),
    (lambda s, o: s.OneCycleLR(o, 0.1, epochs=3), ValueError, "give total_steps"),
    (lambda s, o: s.OneCycleLR(o, 0.1, total_steps=0), ValueError, "total_steps = 0"),
    (lambda s, o: s.OneCycleLR(o, 0.1, epochs=3, steps_per_epoch=-1), ValueError, "total_steps = -3"),
    (lambda s, o: s.OneCycleLR(o, 0.1, 10, pct_start=1.5), ValueError, "pct_start = 1.5"),
    (lambda s, o: s.OneCycleLR(o, 0.1, 10, anneal_strategy="step"), ValueError, "'step'"),
    (lambda s, o: s.OneCycleLR(o, [0.1], 10), ValueError, "max_lr has 1 values"),
    (lambda s, o: s.OneCycleLR(3, 0.1, 10), TypeError, "int is not an Optimizer"),
    (lambda s, o: s.CosineAnnealingWarmRestarts(o, 0), ValueError, "T_0 = 0 must be an integer of at least 1"),
    (lambda s, o: s.CosineAnnealingWarmRestarts(o, 2.5), ValueError, "T_0 = 2.5"),
    (lambda s, o: s.CosineAnnealingWarmRestarts(o, 2, 0), ValueError, "T_mult = 0"),
    (lambda s, o: s.CosineAnnealingWarmRestarts(o, 2, 1, "low"), ValueError, "eta_min = 'low' must be a number"),
    (lambda s, o: s.ReduceLROnPlateau(o, factor=1.0), ValueError, "factor = 1.0 must be below 1"),
    (lambda s, o: s.ReduceLROnPlateau(o, "best"), ValueError, "mode 'best' is unknown; use 'min' or 'max'"),
    (lambda s, o: s.ReduceLROnPlateau(o, threshold_mode="part"), ValueError, "threshold_mode 'part' is unknown"),
    (lambda s, o: s.ReduceLROnPlateau(o, min_lr=[0.1]), ValueError, "min_lr has 1 values for 2 parameter groups"),
    (lambda s, o: s.ReduceLROnPlateau(3), TypeError, "int is not an Optimizer"),
    (lambda s, o: s.SequentialLR(o, [s.ReduceLROnPlateau(o)], []), ValueError, "whose step\\(\\) needs a metric"),
    (lambda s, o: s.SequentialLR(o, [], []), ValueError, "0 schedulers"),
    (lambda s, o: s.SequentialLR(o, [s.StepLR(o, 2)], [3]), ValueError, "1 schedulers need 0 milestones, got 1"),
    (lambda s, o: s.SequentialLR(o, [s.StepLR(optimiser_like(o), 2)], []), ValueError, "scheduler 0 .*another"),
])
def test_wrong_schedules_are_refused(call, error, match):
    for library, o in zip(LIBRARIES, pair_of_optimisers(), strict=True):
        with pytest.raises(error, match=match if library is optim.lr_scheduler else None):
            call(library, o)


@pytest.mark.parametrize("call, match", [
    (lambda s, o: s.StepLR(o, 0), "StepLR: step_size = 0 must be above 0"),
    (lambda s, o: s.CosineAnnealingLR(o, 0), "CosineAnnealingLR: T_max = 0 must be above 0"),
    (lambda s, o: s.ConstantLR(o, 0.0), "ConstantLR: factor = 0.0 must be above 0 and at most 1"),
    (lambda s, o: s.OneCycleLR(o, 0.1, 10, div_factor=0), "OneCycleLR: div_factor = 0 must be above 0"),
    (lambda s, o: s.OneCycleLR(o, 0.1, 10, final_div_factor=-1), "final_div_factor = -1 must be above 0"),
    (lambda s, o: s.SequentialLR(o, [s.StepLR(o, 2) for _ in "abc"], [5, 2]), r"milestones = \[5, 2\] must not fall"),
])
def test_what_is_wrong_only_later_is_refused(call, match):
    """PyTorch takes these, and divides by zero when their time comes, or passes schedules by."""
    with pytest.raises(ValueError, match=match):
        call(optim.lr_scheduler, pair_of_optimisers()[0])


def optimiser_like(o):
    return type(o)([(mc if isinstance(o, optim.Optimizer) else torch).ones(1)])


def test_a_cycle_needs_momentum_and_ends():
    class Plain(optim.Optimizer):
        def check(self, group):
            pass

    with pytest.raises(ValueError, match="Plain has neither momentum nor betas"):
        optim.lr_scheduler.OneCycleLR(Plain([mc.ones(1)], {"lr": 1}), 0.1, 5)
    optimiser = optim.SGD([mc.ones(1)], momentum=0.9)
    schedule = optim.lr_scheduler.OneCycleLR(optimiser, 0.5, total_steps=3)
    for _ in range(3):
        optimiser.step(), schedule.step()
    with pytest.raises(ValueError, match="step 4 is beyond total_steps = 3"):
        schedule.step()
