"""Batches for a GPU: the same as for the CPU, with one always on its way, on a GPU that copies only when it must."""

import sys

import numpy as np
import pytest

import minicnn as mc
from minicnn import backend
from minicnn.data import DataLoader, loader
from minicnn.data.uploads import Uploader


class Lazy:
    """Fills arrays as late as it may: when somebody waits. What is read too early, or freed too early, is NaN."""

    def __init__(self, device):
        self.log, self.pending, self.pinned = log, [], []
        assert str(device) == "cuda:0"

    def pin(self, a):
        self.pinned.append(a.copy())
        return self.pinned[-1]

    def start(self, pinned):
        array = np.full(pinned.shape, np.nan)
        self.pending.append((array, pinned))
        self.log.append("start")
        return array

    def mark(self):
        return len(self.pending)

    def order(self, moment):
        self.log.append("order")
        self.wait(moment)

    def wait(self, moment):
        for i, entry in enumerate(self.pending[:moment]):
            if entry is not None:
                entry[0][...] = entry[1]
                self.pending[i] = None


log: list[str] = []


@pytest.fixture
def gpu(monkeypatch):
    log.clear()
    monkeypatch.setattr(loader, "Uploader", Lazy)
    monkeypatch.setattr(loader, "why_not", lambda device: None)


class Pairs:
    """Samples that are dicts of arrays and a name."""

    def __len__(self):
        return 11

    def __getitem__(self, i):
        return {"x": np.full(3, float(i)), "y": [np.array(i * 0.5)], "name": f"sample {i}"}


def samples(batches):
    return [(b["x"].tolist(), b["y"][0].tolist(), b["name"]) for b in batches]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_batches_are_the_same(gpu, prefetch):
    options = {"batch_size": 4, "shuffle": True, "seed": 3, "prefetch": prefetch}
    plain, copied = DataLoader(Pairs(), **options), DataLoader(Pairs(), **options, device="cuda")
    for epoch, start in ((0, 0), (1, 1), (1, 3)):
        assert samples(copied.epoch(epoch, start)) == samples(plain.epoch(epoch, start))
    assert isinstance(next(iter(copied))["x"], mc.Tensor)


def test_one_batch_is_on_its_way(gpu):
    """The copy of a batch is started before the one ahead of it is given out."""
    batches = DataLoader(np.arange(12.0).reshape(6, 2), 2, device="cuda").epoch(0)
    for expected in (["start", "start", "order"], ["start", "order"], ["order"]):
        next(batches)
        assert log == expected
        log.clear()
    assert list(batches) == []


def test_an_epoch_may_be_left_early(gpu):
    batches = DataLoader(np.arange(12.0), 2, device="cuda").epoch(0)
    kept = next(batches)
    batches.close()
    assert kept.tolist() == [0, 1]


def test_without_a_gpu(monkeypatch):
    monkeypatch.setattr(loader, "why_not", lambda device: "CuPy finds no GPU")
    with pytest.raises(RuntimeError, match="DataLoader: device 'cuda:0' cannot be used: CuPy finds no GPU"):
        DataLoader(np.zeros(3), device="cuda")


def test_what_cupy_is_asked_for(monkeypatch):
    """In this order: memory, whose last use must be over, the copy, and the wait of what comes next."""
    asked = []

    class Stream:
        def __init__(self, name="own", non_blocking=False):
            self.name = name

        def record(self):
            asked.append(f"{self.name}.record")
            return f"moment of {self.name}"

        def wait_event(self, moment):
            asked.append(f"{self.name} waits for {moment}")

    class Device:
        def __init__(self, number):
            assert number == 0

        __enter__ = __exit__ = lambda *_: None

    class Array:
        def set(self, pinned, stream):
            asked.append(f"copy of {pinned.tolist()} by {stream.name}")

    cupy, cupyx = type(sys)("cupy"), type(sys)("cupyx")
    cupy.cuda = type(sys)("cuda")
    cupy.cuda.Device, cupy.cuda.Stream, cupy.cuda.get_current_stream = Device, Stream, lambda: Stream("current")
    cupy.empty, cupyx.empty_pinned = lambda shape, dtype: asked.append("memory") or Array(), np.empty
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "cupyx", cupyx)
    uploader = Uploader(backend.Device("cuda", 0))
    assert isinstance(uploader.start(uploader.pin(np.array([1, 2]))), Array)
    uploader.order(uploader.mark())
    assert asked == ["memory", "current.record", "own waits for moment of current", "copy of [1, 2] by own",
                     "own.record", "current waits for moment of own"]


@pytest.mark.gpu
def test_on_a_gpu():
    x, y = np.random.default_rng(0).standard_normal((1000, 3, 32, 32)).astype(np.float32), np.arange(1000)
    class Images:
        def __len__(self):
            return len(x)

        def __getitem__(self, i):
            return x[i], y[i]

    options = {"batch_size": 64, "shuffle": True, "seed": 1}
    for (a, b), (c, d) in zip(DataLoader(Images(), **options), DataLoader(Images(), **options, device="cuda"),
                              strict=True):
        assert c.device.type == d.device.type == "cuda"
        (c * 2).sum().item()
        np.testing.assert_array_equal(c.cpu().numpy(), a.numpy())
        np.testing.assert_array_equal(d.cpu().numpy(), b.numpy())
