import gc
import subprocess
import sys
import threading
import time
import traceback
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from minicnn.data import DataLoader, Dataset, TensorDataset
from minicnn.data.transforms import RandomCrop
from minicnn.engine import Tensor

ROOT = Path(__file__).parents[1]


def numbers(n: int = 23) -> TensorDataset:
    return TensorDataset(np.arange(n), np.arange(n) * 10)


class Slow(Dataset):
    """Samples one by one, without get_batch."""

    def __init__(self, n: int, error_at: int = -1) -> None:
        self.n, self.error_at = n, error_at
        self.fetched: list[int] = []

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        if index == self.error_at:
            raise KeyError(f"sample {index}")
        self.fetched.append(index)
        return np.full((1, 2, 2), index, np.float32), index


def first(batches) -> list[list[int]]:
    return [x.data.tolist() for x, *_ in batches]


def loader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "minicnn-loader"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert loader_threads() == []


# -- batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [0, 1, 3])
@pytest.mark.parametrize("drop_last, sizes", [(False, [5, 5, 5, 5, 3]), (True, [5, 5, 5, 5])])
def test_batches_in_order(drop_last, sizes, prefetch):
    loader = DataLoader(numbers(), 5, drop_last=drop_last, prefetch=prefetch)
    batches = list(loader)
    assert len(loader) == len(batches) == len(sizes)
    assert all(type(batch) is tuple and isinstance(batch[0], Tensor) for batch in batches)
    assert [len(batch[0].data) for batch in batches] == sizes
    assert np.concatenate([batch[0].data for batch in batches]).tolist() == list(range(sum(sizes)))
    assert all((batch[1].data == 10 * batch[0].data).all() for batch in batches)


@pytest.mark.parametrize("n, batch_size, steps", [(0, 4, 0), (1, 4, 1), (4, 4, 1), (5, 4, 2), (5, 1, 5)])
def test_length(n, batch_size, steps):
    loader = DataLoader(numbers(n), batch_size)
    assert len(loader) == len(list(loader)) == steps


@pytest.mark.parametrize("prefetch", [0, 2])
def test_single_samples_give_the_same_batches_as_whole_ones(prefetch):
    slow = Slow(11)
    whole = TensorDataset(np.stack([slow[i][0] for i in range(11)]), np.arange(11))
    options = {"batch_size": 4, "shuffle": True, "seed": 3, "prefetch": prefetch}
    for one, two in zip(DataLoader(slow, **options), DataLoader(whole, **options), strict=True):
        for a, b in zip(one, two, strict=True):
            assert a.data.dtype == b.data.dtype
            np.testing.assert_array_equal(a.data, b.data)


def test_dicts_lists_and_collate_fn():
    samples = [{"x": np.ones(2), "more": [i, "s"]} for i in range(4)]
    (batch,) = DataLoader(samples, 4)
    assert isinstance(batch["x"], Tensor) and batch["more"][0].data.tolist() == [0, 1, 2, 3]
    assert batch["more"][1] == ["s"] * 4
    (batch,) = DataLoader(numbers(3), 3, collate_fn=lambda rows: [np.array(rows).sum(), np.array(rows)])
    assert batch[0] == 33 and isinstance(batch[1], Tensor)


def test_batches_do_not_share_memory_with_the_data_set():
    dataset = numbers(4)
    for x, _ in DataLoader(dataset, 4):
        x.data[:] = -1
    assert dataset.arrays[0].tolist() == [0, 1, 2, 3]


# -- order ------------------------------------------------------------------------------------------------------------


def test_the_order_is_a_function_of_seed_and_epoch():
    loader = DataLoader(numbers(), 5, shuffle=True, seed=7)
    want = np.random.default_rng([7, 2]).permutation(23).tolist()
    assert sum(first(loader.epoch(2)), []) == want
    epochs = [first(loader.epoch(e)) for e in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    assert [first(loader.epoch(e)) for e in (2, 0)] == [epochs[2], epochs[0]]
    assert first(DataLoader(numbers(), 5, shuffle=True, seed=8).epoch(2)) != epochs[2]


def test_iterating_counts_epochs_and_set_epoch_says_where():
    loader = DataLoader(numbers(), 5, shuffle=True)
    epochs = [first(loader.epoch(e)) for e in range(3)]
    assert [first(loader) for _ in range(3)] == epochs
    loader.set_epoch(1)
    assert [first(loader) for _ in range(2)] == epochs[1:]


@pytest.mark.parametrize("start_step", range(7))
def test_an_interrupted_epoch_continues_exactly(start_step):
    images = np.random.default_rng(0).integers(0, 256, (23, 1, 6, 6), dtype=np.uint8)
    options = {"batch_size": 4, "shuffle": True, "seed": 5, "transform": RandomCrop(6, padding=3)}
    whole = list(DataLoader(TensorDataset(images, np.arange(23)), **options).epoch(3))
    rest = list(DataLoader(TensorDataset(images, np.arange(23)), **options).epoch(3, start_step))
    assert len(rest) == 6 - start_step
    for one, two in zip(whole[start_step:], rest, strict=True):
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a.data, b.data)


def test_every_batch_has_random_numbers_of_its_own():
    drawn = [np.random.default_rng([5, epoch]).random() for epoch in range(3)]

    def draw(x, rng):
        drawn.append(rng.random())
        return x

    loader = DataLoader(numbers(), 5, seed=5, transform=draw)
    for _ in range(3):
        list(loader)
    assert len(set(drawn)) == len(drawn) == 18


def test_batches_are_of_the_kind_of_the_samples():
    named = namedtuple("Sample", ("image", "label"))
    for sample in (named(np.ones(2), 1), [np.ones(2), 1], (np.ones(2), 1)):
        batch, = DataLoader([sample] * 3, 3, transform=lambda x, rng: x * 2)
        assert type(batch) is type(sample) and batch[0].data.tolist() == [[2, 2]] * 3
        assert batch[1].data.tolist() == [1] * 3


def test_the_transform_changes_the_first_array():
    dataset = TensorDataset(np.arange(4.0), np.arange(4))
    ((x, y),) = DataLoader(dataset, 4, transform=lambda x, rng: x * 2)
    assert x.data.tolist() == [0, 2, 4, 6] and y.data.tolist() == [0, 1, 2, 3]
    (x,) = DataLoader(list(np.arange(4.0)), 4, transform=lambda x, rng: x + 1)
    assert x.data.tolist() == [1, 2, 3, 4]


# -- the thread -------------------------------------------------------------------------------------------------------


def wait_for(condition) -> None:
    end = time.monotonic() + 60  # only a broken loader gets near
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    assert condition()


def test_it_runs_ahead_as_far_as_asked_and_no_further():
    dataset = Slow(20)
    batches = DataLoader(dataset, 2, prefetch=3).epoch(0)
    next(batches)
    wait_for(lambda: len(dataset.fetched) == 2 * 4)
    time.sleep(0.05)
    assert len(dataset.fetched) == 2 * 4
    batches.close()


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_error_comes_out_where_its_batch_is_due_with_its_traceback(prefetch):
    batches = DataLoader(Slow(12, error_at=7), 3, prefetch=prefetch).epoch(0)
    assert first([next(batches), next(batches)])[1][2] == [[[5, 5], [5, 5]]]
    with pytest.raises(KeyError, match="sample 7") as caught:
        next(batches)
    assert "__getitem__" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert loader_threads() == []
    assert list(batches) == []


def test_a_stop_iteration_in_the_data_set_is_an_error_not_the_end():
    def stop(x, rng):
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        list(DataLoader(numbers(), 5, transform=stop))


def test_leaving_the_loop_ends_the_thread():
    for _ in DataLoader(numbers(), 2, prefetch=2):
        assert len(loader_threads()) == 1
        break
    assert loader_threads() == []


def test_an_error_in_the_loop_ends_the_thread():
    with pytest.raises(LookupError):
        for _ in DataLoader(numbers(), 2):
            raise LookupError
    gc.collect()
    assert loader_threads() == []


def test_an_iterator_in_a_cycle_is_collected_with_its_thread():
    cycle = [DataLoader(numbers(), 2).epoch(0)]
    next(cycle[0])
    cycle.append(cycle)
    assert len(loader_threads()) == 1
    del cycle
    gc.collect()
    assert loader_threads() == []


def test_two_epochs_at_once():
    loader = DataLoader(numbers(), 5, shuffle=True)
    pairs = list(zip(loader.epoch(0), loader.epoch(1), strict=True))
    assert first(pair[0] for pair in pairs) == first(loader.epoch(0))
    assert first(pair[1] for pair in pairs) == first(loader.epoch(1))


@pytest.mark.parametrize("ending", ["pass", "raise SystemExit(0)", "import gc; gc.disable()"])
def test_the_interpreter_exits_with_an_open_iterator(ending):
    program = f"""
import numpy as np
from minicnn.data import DataLoader, TensorDataset
batches = DataLoader(TensorDataset(np.arange(1000)), 2, prefetch=2).epoch(0)
next(batches)
{ending}
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda: DataLoader(numbers(), 0), ValueError, "batch_size must be an integer of at least 1, not 0"),
        (lambda: DataLoader(numbers(), 2.5), ValueError, "batch_size must be an integer of at least 1, not 2.5"),
        (lambda: DataLoader(numbers(), 2, seed=-1), ValueError, "seed must be an integer of at least 0, not -1"),
        (lambda: DataLoader(numbers(), 2, prefetch=-1), ValueError, "prefetch must be an integer of at least 0"),
        (lambda: DataLoader(numbers(), 5).epoch(-1), ValueError, "epoch must be an integer of at least 0, not -1"),
        (lambda: DataLoader(numbers(), 5).epoch(0, 6), ValueError, "start_step must be between 0 and 5, not 6"),
        (lambda: DataLoader(numbers(), 5).epoch(0, -1), ValueError, "start_step must be between 0 and 5, not -1"),
        (lambda: DataLoader(numbers(), 5).set_epoch(-2), ValueError, "epoch must be an integer of at least 0, not -2"),
        (lambda: list(DataLoader([{"x": 1}], transform=lambda x, rng: x)), TypeError, "not a dict"),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()
