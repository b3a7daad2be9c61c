"""The number of threads that steps are made with, chosen by a clock."""

import re

import numpy as np
import pytest

import minicnn as mc
from minicnn import training
from minicnn.training.pace import Pace
from training_util import small_trainer, weights_of


def test_a_number_of_threads_is_an_int_that_the_machine_has():
    before = mc.get_num_threads()
    for n in ("2", None, 1.5, True, np.True_):
        with pytest.raises(TypeError, match=re.escape(f"set_num_threads: n = {n!r} must be an int from 1 to ")):
            mc.set_num_threads(n)
    for n in (0, -1, 10**6):
        with pytest.raises(ValueError, match=f"set_num_threads: n = {n} must be an int from 1 to "):
            mc.set_num_threads(n)
    assert mc.get_num_threads() == before
    mc.set_num_threads(np.int64(before))


class Machine:
    """A clock on which a step takes as long as its number of threads says."""

    def __init__(self, monkeypatch, cores: int) -> None:
        self.now, self.threads = 0.0, cores
        monkeypatch.setattr(mc.backend, "get_num_threads", lambda: cores)
        monkeypatch.setattr(mc.backend, "set_num_threads", lambda n: setattr(self, "threads", n))
        self.pace = Pace(clock=lambda: self.now)

    def make_steps(self, count: int, seconds: dict[int, float]) -> list[int]:
        """The number of threads of each step."""
        threads = []
        for _ in range(count):
            with self.pace.step():
                threads.append(self.threads)
                self.now += seconds[self.threads]
        return threads


@pytest.mark.parametrize("cores", [2, 16])
def test_the_faster_number_of_threads_is_used_and_the_other_one_tried(monkeypatch, cores):
    machine = Machine(monkeypatch, cores)
    machine.make_steps(1, {cores: 100.0})  # compiles
    idle, busy = {cores: 1.0, 1: float(cores)}, {cores: 8.0, 1: 2.0}
    for seconds, faster in ((idle, cores), (busy, 1), (idle, cores)):
        machine.make_steps(1000, seconds)  # until the change is noticed
        before, threads = machine.now, machine.make_steps(2000, seconds)
        assert threads.count(faster) >= 0.9 * len(threads) and machine.threads == faster
        assert len(set(threads)) == 2
        slow = sum(seconds[n] for n in threads if n != faster)
        assert slow <= 0.06 * (machine.now - before)
    machine.pace.end()
    assert machine.threads == cores


def test_one_thread_is_tried_when_there_is_time_for_it(monkeypatch):
    """Its step takes 16 seconds, for all that is known, and a second saves a twentieth of one."""
    threads = Machine(monkeypatch, 16).make_steps(400, {16: 1.0, 1: 16.0})
    assert 300 <= threads.index(1) <= 305 and threads.count(1) == 1


def test_one_thread_is_tried_at_once_where_that_takes_no_time(monkeypatch):
    assert Machine(monkeypatch, 2).make_steps(50, {2: 0.4, 1: 0.1}) == [2] + [1] * 49
    assert Machine(monkeypatch, 2).make_steps(50, {2: 0.2, 1: 0.4}) == [2, 1] + [2] * 48


def test_a_single_core_is_not_measured_against_itself(monkeypatch):
    assert set(Machine(monkeypatch, 1).make_steps(20, {1: 1.0})) == {1}


def test_results_do_not_depend_on_the_clock(monkeypatch):
    """However time passes, and threads change with it, the weights are the same."""
    weights, chosen, set_num_threads = [], set(), mc.backend.set_num_threads
    monkeypatch.setattr(mc.backend, "set_num_threads", lambda n: (chosen.add(n), set_num_threads(n)))
    for seed in range(3):
        ticks = np.cumsum(10.0 ** np.random.default_rng(seed).uniform(-3, 3, 1000))
        monkeypatch.setattr(training.trainer, "Pace", lambda ticks=ticks: Pace(clock=iter(ticks).__next__))
        trainer = small_trainer(model="lenet_bn", epochs=4)
        trainer.run()
        weights.append(weights_of(trainer.model))
    assert weights[0] == weights[1] == weights[2]
    assert chosen == {1, mc.get_num_threads()}
