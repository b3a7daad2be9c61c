"""A recorded step against the step itself, on streams that take down calls and replay them, as a GPU's do."""

import itertools
import math
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import minicnn as mc
import minicnn.functional as F
from minicnn import nn
from minicnn.backend import Device
from minicnn.kernels.cuda import module, random
from minicnn.ops import loss_class
from minicnn.training import Trainer
from minicnn.training import trainer as trainer_module
from minicnn.training.capture import WARM_UP, Cupy, Recorded

from training_util import small_trainer, weights_of


class Stream:
    """Runs kernels, or takes them down with the arrays they are given: what a graph is made of."""

    def __init__(self):
        self.calls = None
        self.graphs = self.replays = 0

    def launch(self, kernel, *arguments):
        if self.calls is None:
            kernel(*arguments)
        else:
            self.calls.append((kernel, arguments))

    def read(self, array):
        if self.calls is not None:
            raise RuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")
        return array

    def record(self, work):
        self.calls = calls = []
        try:
            results = work()
        finally:
            self.calls = None
        self.graphs += 1

        def run():
            self.replays += 1
            for kernel, arguments in calls:
                kernel(*arguments)

        return run, results


class Layer(nn.Module):
    """w·x, with a buffer that counts what it has seen."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(np.array([1.0, 2.0, 3.0]))
        self.register_buffer("seen", mc.tensor(np.zeros(())))


def stepping(stream, model, wrong=lambda numbers: None, scale=lambda: 1.0):
    """The step of (w·x − y)², as kernels; ``wrong`` is called in it."""
    def loss_of(loss, w, x, y):
        loss[...] = ((x @ w - y) ** 2).sum()

    def gradient(gw, w, x, y, factor):
        gw += 2 * factor * (x @ w - y) @ x

    def clear(a):
        a[...] = 0

    def count(seen, x):
        seen += len(x)

    def step(x, y):
        loss, gw = np.full((), np.nan), np.full(3, np.nan)
        stream.launch(loss_of, loss, model.weight.data, x.data, y.data)
        if model.weight.grad is None:
            stream.launch(clear, gw)
            model.weight.grad = mc.Tensor(gw)
        stream.launch(gradient, model.weight.grad.data, model.weight.data, x.data, y.data, scale())
        stream.launch(count, model.seen.data, x.data)
        wrong(loss)
        return (mc.Tensor(loss),)

    return step


def batch(seed, n=4):
    rng = np.random.default_rng(seed)
    return mc.tensor(rng.standard_normal((n, 3))), mc.tensor(rng.standard_normal(n))


def run(recorded, model, steps=9, sizes=None, numbers=None):
    """Losses, gradients, weights and the buffer of some steps with an optimiser whose rate changes."""
    seen = []
    for number in range(steps):
        if numbers:
            numbers[0] = number
        model.weight.grad = None
        loss, = recorded(*batch(number, (sizes or {}).get(number, 4)))
        model.weight.data -= 0.01 * (number + 1) * model.weight.grad.data
        seen.append((loss.item(), model.weight.grad.tolist(), model.weight.tolist(), model.seen.item()))
    return seen


def compared(wrong=lambda stream: lambda loss: None, steps=9, sizes=None, scales=None):
    """The recorded step's stream and reports, after a run that equals that of the plain one."""
    runs, reports = [], []
    for recording in (False, True):
        stream, model, numbers = Stream(), Layer(), [0]

        def scale(number=numbers):
            return (scales or {}).get(number[0], 1.0)

        step = stepping(stream, model, wrong(stream), scale)
        recorded = Recorded(step, model, stream, scale, reports.append) if recording else step
        runs.append(run(recorded, model, steps, sizes, numbers))
    np.testing.assert_equal(runs[1], runs[0])
    return stream, reports


def test_it_is_replayed_after_a_few_steps():
    stream, reports = compared()
    assert (stream.graphs, stream.replays, reports) == (1, 9 - WARM_UP, [])


def test_smaller_batches_go_without_the_graph():
    stream, reports = compared(steps=12, sizes={6: 3, 10: 1})
    assert (stream.graphs, stream.replays, reports) == (1, 12 - WARM_UP - 2, [])


def test_a_number_from_the_host_that_changes_is_recorded_anew():
    stream, reports = compared(steps=12, scales={n: 2.0 for n in range(8, 13)})
    assert (stream.graphs, reports) == (2, []) and stream.replays >= 12 - 2 * WARM_UP


def draw(stream):
    return lambda loss: mc.backend.default_generator.numpy.random()


def read(stream):
    return lambda loss: stream.read(loss.item)


def count_on_the_host(stream):
    count = [0.0]

    def wrong(loss):
        count[0] += 1
        stream.launch(np.multiply, loss, count[0], loss)

    return wrong


@pytest.mark.parametrize("wrong, why", [(draw, "it draws random numbers on the host"),
                                        (read, "cudaErrorStreamCaptureUnsupported: operation not permitted")])
def test_what_cannot_be_recorded_goes_on_without(wrong, why):
    """With the same results, and one line."""
    stream, reports = compared(wrong)
    assert stream.replays == 0 and len(reports) == 1 and why in reports[0]


def test_a_graph_that_computes_something_else_is_not_used():
    """The step counts on the host: each call would make other numbers, and a graph repeats the last ones."""
    reports, stream, model = [], Stream(), Layer()
    recorded = Recorded(stepping(stream, model, count_on_the_host(stream)), model, stream, lambda: 1, reports.append)
    run(recorded, model)
    assert reports == ["the graph does not compute what the step does"] and stream.replays == 1
    assert model.seen.item() == 4 * 9


def test_the_step_it_is_compared_with_is_a_rehearsal():
    """It computes as the graph will, and its numbers may overflow; no other step does."""
    seen, stream, model = [], Stream(), Layer()

    def overflow(loss):
        seen.append(module._rehearsing)
        stream.launch(np.multiply, model.weight.grad.data, [1.0, np.inf, np.nan], model.weight.grad.data)
        stream.launch(np.add, model.weight.grad.data, next(rounding), model.weight.grad.data)

    rounding = itertools.cycle([0.0, 1e-9])
    recorded = Recorded(stepping(stream, model, overflow), model, stream, lambda: 1, pytest.fail)
    for number in range(WARM_UP + 3):
        model.weight.grad = None
        recorded(*batch(number))
    assert seen == [False] * WARM_UP + [True, False] and stream.replays == 3


def test_new_arrays_in_the_place_of_the_models_are_seen():
    reports, stream, model = [], Stream(), Layer()

    def replace(loss):
        model.seen.data = np.array(model.seen.data)

    run(Recorded(stepping(stream, model, replace), model, stream, lambda: 1, reports.append), model)
    assert reports == ["it puts new arrays into the place of the model's"] and model.seen.item() == 4 * 9
    stream, model = Stream(), Layer()
    recorded = Recorded(stepping(stream, model), model, stream, lambda: 1, reports.append)
    run(recorded, model, 6)
    model.weight.data = model.weight.data.copy()  # from outside: recorded once more
    run(recorded, model, 6)
    assert stream.graphs == 2 and len(reports) == 1


# -- losses -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignored, finite", [({}, True), ({0: -100, 3: -100}, True), ({1: 7}, False), ({2: -1}, False),
                                             (dict.fromkeys(range(4), -100), False)])
def test_cross_entropy_without_reading(monkeypatch, ignored, finite, smoothing):
    """While a step is recorded it is the same but for a class that does not exist, which makes NaN."""
    numbers = np.array([3, 0, 6, 2])
    numbers[[*ignored]] = [*ignored.values()]
    results = []
    for recording in (False, True)[not finite:]:
        monkeypatch.setattr(loss_class, "is_recording", lambda a, recording=recording: recording)
        x = mc.tensor(np.random.default_rng(0).standard_normal((4, 7)), requires_grad=True)
        loss = F.cross_entropy(x, mc.tensor(numbers), label_smoothing=smoothing)
        loss.backward()
        results.append((loss.item(), x.grad.numpy()))
    assert math.isfinite(results[-1][0]) == finite
    for a, b in zip(results[0], results[-1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)


# -- dropout ----------------------------------------------------------------------------------------------------------

class Dropping(nn.Module):
    """Two dropouts in a row, run by the CUDA kernel in the emulator, whose launches a stream can take down."""

    def __init__(self, stream, monkeypatch):
        super().__init__()
        self.stream = stream
        monkeypatch.setattr(random, "launch", lambda *arguments: stream.launch(module.launch, *arguments))

    def forward(self, x, y):
        with mc.use_kernels("cuda-emulated"):
            return F.dropout(F.dropout(x, 0.3), 0.3), y


def masks(recorded, seeds, sizes):
    """What is left of ones in steps of these sizes, some of them after a seed."""
    found = []
    for i, n in enumerate(sizes):
        if i in seeds:
            mc.manual_seed(seeds[i])
        kept, _ = recorded(mc.ones(n, 50), mc.ones(n))
        found.append(kept.tolist())
    return found, mc.backend.default_generator.state_dict()


@pytest.mark.parametrize("seeds, graphs", [({0: 1}, 1), ({0: 2 ** 40, 8: 2 ** 40}, 1), ({0: 1, 8: 2}, 2)])
def test_dropout_draws_other_masks_in_every_replay(monkeypatch, seeds, graphs):
    """Those of the step itself, also after smaller batches, from an earlier state and with another seed."""
    sizes, reports, stream = [4] * 6 + [3] + [4] * 6, [], Stream()
    model = Dropping(stream, monkeypatch)
    plain = masks(model, seeds, sizes)
    recorded = Recorded(model, model, stream, lambda: 1, reports.append)
    assert masks(recorded, seeds, sizes) == plain and not reports
    assert stream.graphs == graphs and stream.replays >= 5
    assert all(a != b for a, b in itertools.pairwise(plain[0]))


# -- training ---------------------------------------------------------------------------------------------------------

class Rerun:
    """A graph that calls the step again and puts what it makes where it was the first time."""

    made = 0

    def __init__(self, device):
        assert device == Device("cpu")

    def record(self, work):
        parameters = self.parameters
        buffers = [t.data for t in self.model.buffers()]
        before = [b.copy() for b in buffers]
        results, gradients = work(), None
        gradients = [p.grad for p in parameters]
        for b, value in zip(buffers, before):
            b[...] = value
        Rerun.made += 1

        def launch():
            for p in parameters:
                p.grad = None
            for place, value in zip((*results, *gradients), (*work(), *(p.grad for p in parameters))):
                place.data[...] = value.data

        return launch, results


@pytest.mark.parametrize("model, changes", [
    ("lenet_bn", {"opt": "momentum", "sched": "cosine", "warmup_epochs": 0.5, "clip_grad": 0.5}),
    ("lenet_tanh", {"opt": "adam", "amp": "float16"}), ("lenet_tanh", {"amp": "bfloat16", "sched": "step"})])
def test_training_is_the_same(monkeypatch, model, changes):
    monkeypatch.setattr(trainer_module, "Cupy", Rerun)
    Rerun.made = 0
    weights = []
    for capture in (False, True):
        trainer = small_trainer(None, model, images=88, **changes)  # 5 full batches and one of 8
        if capture:
            Rerun.model, Rerun.parameters = trainer.model, trainer.parameters
            trainer = Trainer(trainer.model, trainer.recipe, trainer.train, trainer.val, capture=True)
        history = trainer.run()
        weights.append((weights_of(trainer.model), [(row.loss, row.acc, row.val_loss, row.lr) for row in history.rows]))
    assert Rerun.made == 1 and weights[0] == weights[1] and math.isfinite(weights[0][1][0][0])


def test_what_a_trainer_says(monkeypatch):
    class Fails(Rerun):
        def record(self, work):
            raise NotImplementedError("calling\n this is unsupported")

    monkeypatch.setattr(trainer_module, "Cupy", Fails)
    plain = small_trainer()
    trainer = Trainer(plain.model, plain.recipe, plain.train, plain.val, capture=True)
    said = []
    monkeypatch.setattr(trainer.observer, "warn", said.append)
    trainer.run()
    assert [str(finding) for finding in said if finding.rule == "not-captured"] == [
        "steps cannot be recorded as a CUDA graph: calling this is unsupported [not-captured]\n  hint: nothing is lost "
        "but speed; --no-capture does not try"]
    accumulating = small_trainer(accum=2)
    trainer = Trainer(accumulating.model, accumulating.recipe, plain.train, capture=True)
    said.clear()
    monkeypatch.setattr(trainer.observer, "warn", said.append)
    trainer.run()
    assert [finding.cause for finding in said if finding.rule == "not-captured"] == [
        "steps cannot be recorded as a CUDA graph: each is made of 2 batches"]


def test_only_gpus_record():
    with pytest.raises(ValueError, match="a step can be recorded on a GPU only, and the model is on cpu"):
        Cupy(Device("cpu"))


# -- CuPy -------------------------------------------------------------------------------------------------------------

class FakeCuda:
    """The part of CuPy that records, which writes down what it is asked for."""

    class CUDARuntimeError(Exception):
        pass

    def __init__(self, monkeypatch):
        self.log = log = []
        self.allocate, self.broken, fake = None, False, self

        class Context:
            def __init__(self, *names, **options):
                self.names = names

            def __enter__(self):
                return self

            def __exit__(self, *_):
                log.append("left")

            malloc = "memory of its own"
            begin_capture = staticmethod(lambda: log.append("begin"))

            def end_capture(self):
                log.append("end")
                if fake.broken:
                    raise FakeCuda.CUDARuntimeError("cudaErrorStreamCaptureInvalidated")
                return type("Graph", (), {"launch": staticmethod(lambda: log.append("launch"))})

        def pinned_memory_from(allocate):
            fake.allocate = allocate

        cupy = type(sys)("cupy")
        cupy.cuda = type(sys)("cuda")
        cupy.cuda.runtime = FakeCuda
        cupy.cuda.Device = cupy.cuda.Stream = cupy.cuda.MemoryPool = Context
        cupy.cuda.Memory, cupy.cuda.MemoryPointer = self.memory, lambda memory, offset: memory
        freeing = type("Pool", (), {"free_all_blocks": staticmethod(lambda: log.append("freed"))})
        cupy.get_default_memory_pool = lambda: freeing
        cupy.cuda.using_allocator = lambda malloc: log.append(malloc) or Context()
        cupy.cuda.set_pinned_memory_allocator = pinned_memory_from
        cupy.get_default_pinned_memory_pool = lambda: type("Pool", (), {"malloc": staticmethod(lambda size: size)})
        monkeypatch.setitem(sys.modules, "cupy", cupy)

    def memory(self, size):
        if size > 2 ** 30:
            raise FakeCuda.CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")
        return size


def test_recording_through_cupy(monkeypatch):
    """Into memory of its own, and nothing may be copied to the GPU; whatever happens, recording ends."""
    fake = FakeCuda(monkeypatch)
    gpu = Cupy(Device("cuda", 0))
    fake.log.clear()
    launch, results = gpu.record(lambda: fake.log.append("work") or (1, 2))
    assert fake.log == ["memory of its own", "freed", "begin", "work", "end", "left", "left", "left"]
    assert results == (1, 2)
    launch()
    assert fake.log[-1] == "launch" and fake.allocate(64) == 64
    for fake.broken in (False, True):
        fake.log.clear()
        with pytest.raises(RuntimeError, match="it copies an array to the GPU each time"):
            gpu.record(lambda: fake.allocate(8))
        assert fake.log[2:4] == ["begin", "end"] and fake.allocate(64) == 64

    def from_the_loaders_thread():
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(fake.allocate, 8).result()

    fake.broken = False
    assert gpu.record(from_the_loaders_thread)[1] == 8


def test_what_recording_through_cupy_says(monkeypatch):
    """Of what cannot be recorded, in words of its own; other errors stay as they are."""
    FakeCuda(monkeypatch)
    gpu = Cupy(Device("cuda", 0))

    def fails(words):
        raise FakeCuda.CUDARuntimeError(words)

    for words, said in (("cudaErrorStreamCaptureUnsupported: no", "it reads on the host what the GPU computes .cuda"),
                        ("cudaErrorIllegalAddress: no", "^cudaErrorIllegalAddress: no")):
        with pytest.raises(Exception, match=said):
            gpu.record(lambda words=words: fails(words))
    assert gpu._allocated(512) == 512
    with pytest.raises(RuntimeError, match="the GPU has too little memory .cudaErrorMemoryAllocation: out of memory"):
        gpu._allocated(2 ** 31)
