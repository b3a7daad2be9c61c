"""The code that runs on a GPU, on a strict stand-in for CuPy: operators, training and recorded steps."""

from contextlib import nullcontext
from copy import deepcopy
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings

import minicnn as mc
import minicnn.functional as F
import minicnn.optim
from cupy_util import cupy_on_cpu, gpu, ndarray
from minicnn import models
from minicnn.models import Outputs
from minicnn.training import RunFolder, Trainer, fit, loaders
from minicnn.training import trainer as trainer_module
from minicnn.training.evaluation import logits_of
from operators.test_operators import TABLE
from training_util import digits, small_trainer
from util import normal

RECORDED = ["lenet_bn", "cnn2", "nin_cifar", "googlenet_paper", "resnet20", "densenet121", "mobilenet_v2",
            "squeezenet1_1", "lenet5_1998", "image_rnn"]
OPTIONS = {"image_rnn": {"bidirectional": True}}


@pytest.mark.parametrize("op", TABLE, ids=lambda op: op.name)
def test_operators(op):
    """On the second GPU, while the first is the current one."""
    @settings(max_examples=3)
    @given(op.cases)
    def drawn(case):
        op.check(case, "cuda:1")

    with cupy_on_cpu():
        for case in op.examples[:1]:
            op.check(case, "cuda:1")
        drawn()


def stepped(optimiser, x):
    """x after two steps of an optimiser, the second with its gradient clipped."""
    p = mc.nn.Parameter(x.clone().data)
    optimiser = optimiser([p], lr=0.1)

    def closure():
        optimiser.zero_grad(set_to_none=False)
        loss = (p ** 2).sum()
        loss.backward()
        return loss

    for _ in range(2):
        optimiser.step(closure)
        mc.nn.utils.clip_grad_norm_([p], 0.1)
        mc.nn.utils.clip_grad_value_([p], 0.05)
    return p.grad, p.detach()


@pytest.mark.parametrize("call", [
    *[lambda x, name=name: getattr(x, name)() for name in
      "all any argmax argmin argsort sort argwhere count_nonzero isnan logical_not median max prod unique".split()],
    *[lambda x, name=name: stepped(getattr(mc.optim, name), x) for name in
      "SGD Adam NAdam RAdam RMSprop Adagrad Adadelta LBFGS".split()],
    lambda x: (x > 0, x == x, ~(x > 0), (x > 0) & (x < 2)), lambda x: (x[x > 0], x[[0, 2]], x[x.argmax(0)]),
    lambda x: (x.clone().add_(1), x.clone().zero_(), x.clone().fill_(3), x.clone().copy_(x)),
    lambda x: (x.gather(0, x.argsort(0)), x.scatter(0, x.argsort(0), x), x.roll(1, 0), x.tile((2, 2)), 1 - x, 2 ** x),
    lambda x: F.interpolate(x.abs().to("uint8")[None, None], size=(5, 4)),
    lambda x: (mc.isclose(x, x), mc.zeros_like(x), mc.full_like(x, 2), deepcopy(x), mc.nn.init.ones_(x.clone()))])
def test_methods(call):
    """Results are those of the CPU, and where the tensor is: on the second GPU, while the first is the current one."""
    found = []
    for device in ("cpu", "cuda:1"):
        with nullcontext() if device == "cpu" else cupy_on_cpu():
            result = call(mc.tensor(np.arange(9.0).reshape(3, 3) - 3, device=device))
            result = result if isinstance(result, tuple) else (result,)
            assert {str(t.device) for t in result} == {device}
            found.append([t.cpu().numpy() for t in result])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_fit_records_its_steps(monkeypatch):
    class Refusing:
        def __init__(self, device):
            asked.append(str(device))

        def record(self, work):
            asked.append("record")
            raise RuntimeError("not here")

    asked, losses = [], []
    monkeypatch.setattr(trainer_module, "Cupy", Refusing)
    for device in ("cpu", "cuda:1"):
        with nullcontext() if device == "cpu" else cupy_on_cpu():
            mc.manual_seed(0)
            model = models.create("lenet_bn").to(device=device)
            losses.append([row.loss for row in fit(model, *digits(24, 8), epochs=1, batch_size=4, verbose=False).rows])
    np.testing.assert_allclose(*losses, rtol=1e-4)
    assert asked == ["cuda:1", "record"]


@pytest.mark.parametrize("gpu, changes", [("cuda", {"opt": "adam"}), ("cuda", {"amp": "bfloat16", "clip_grad": 1.0}),
                                          ("cuda:1", {"amp": "float16", "clip_grad": 1.0})], ids=str)
def test_training_is_that_on_the_cpu(tmp_path, gpu, changes):
    """By a loader that copies to the GPU, with checkpoints in a folder; the current GPU may be another one."""
    losses = []
    for device in ("cpu", gpu):
        with nullcontext() if device == "cpu" else cupy_on_cpu():
            plain = small_trainer(model="lenet_bn", images=12, batch_size=4, epochs=1, **changes)
            plain.model.to(device=device)
            if "amp" not in changes:
                plain.model.double()  # in float32 rounding decides the signs of gradients near 0, and Adam's steps
            train, val = loaders(plain.recipe, *digits(12, 8), device=device)
            trainer = Trainer(plain.model, plain.recipe, train, val, folder=RunFolder.create(tmp_path, device[:4]))
            losses.append([(row.loss, row.val_loss) for row in trainer.run().rows])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-2 if "amp" in changes else 1e-9)


@pytest.mark.parametrize("amp", ["none", "float16"])
@pytest.mark.parametrize("name", RECORDED)
def test_a_step_can_be_recorded(name, amp):
    """After one that makes its tables it reads nothing from the GPU, and copies nothing to it."""
    with cupy_on_cpu(computes=False):
        model = models.create(name, **OPTIONS.get(name, {})).to(device="cuda").train()
        scaler = mc.amp.GradScaler("cuda", enabled=amp != "none")
        shape = models.entry(name).input_shape[1:]
        x = mc.tensor(normal((2, model.spec.in_channels, *shape)).astype(np.float32), device="cuda")
        y = mc.tensor([1, 0], device="cuda")
        for gpu.recording in (False, True):
            with mc.autocast("cuda", amp) if amp != "none" else nullcontext():
                answer = model(x)
                criterion = partial(F.cross_entropy, target=y, label_smoothing=0.1)
                loss = answer.loss(criterion) if isinstance(answer, Outputs) else criterion(logits_of(answer))
            scaler.scale(loss).backward()
        assert all(isinstance(p.grad.data, ndarray) for p in model.parameters())


@pytest.mark.parametrize("index", [[2, 0], np.array([2, 0, 2]), mc.tensor([1]), np.array([True, False, True]),
                                   (slice(None), [1, 0])], ids=str)
def test_indices_may_be_on_the_cpu(index):
    found = []
    for device in ("cpu", "cuda"):
        with nullcontext() if device == "cpu" else cupy_on_cpu():
            x = mc.tensor(normal((3, 4)), device=device, requires_grad=True)
            (x * 1)[index].square().sum().backward()
            y = x.detach().clone()
            y[index] = 5.0
            found.append([t.cpu().numpy() for t in (x.grad, y)])
    for a, b in zip(*found):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int64", "int32", "int8", "uint8", "bool"])
def test_adding_at_indices(dtype):
    found = []
    for device in ("cpu", "cuda"):
        with nullcontext() if device == "cpu" else cupy_on_cpu():
            x, v = (mc.tensor(3 * abs(normal((n, 3), n)), device=device).to(dtype) for n in (4, 300))
            rows = mc.tensor(np.arange(300) ** 2 % 4, device=device)
            results = [x.index_add(0, rows, v), x.T.index_add(1, rows, v.T), x.index_put((rows,), v, accumulate=True),
                       x.scatter_add(0, rows.unsqueeze(1).expand(300, 3), v)]
            found.append([y.cpu().numpy().tobytes() for y in (*results[:1], results[1].T.contiguous(), *results[2:])])
    assert found[0] == found[1] and len(set(found[0])) == 1


def test_expanded_memory_cannot_be_written():
    for device in ("cpu", "cuda"):
        with nullcontext() if device == "cpu" else cupy_on_cpu():
            x = mc.ones(1, 3, device=device)
            for write in (lambda y: y.add_(1), lambda y: y.zero_(), lambda y: y.__setitem__(0, 1), mc.nn.init.ones_):
                with pytest.raises(RuntimeError, match="memory of this tensor is read-only"):
                    write(x.expand(2, 3))
                write(x)
                write(mc.ones(2, 0, device=device))
            assert x.tolist() == [[1, 1, 1]]


def apart(op, case):
    """Calls of the case with one tensor on another device than the others, each in turn."""
    places = [*range(len(case.arguments)), *case.options]
    values = [*case.arguments, *case.options.values()]
    arrays = [i for i, a in enumerate(values) if isinstance(a, np.ndarray)]
    for alone in arrays if len(arrays) > 1 else ():
        for device, other in (("cpu", "cuda"), ("cuda", "cpu")):
            given = [mc.tensor(a, device=other if i == alone else device) if i in arrays else a
                     for i, a in enumerate(values)]
            named = {place: a for place, a in zip(places, given) if isinstance(place, str)}
            yield partial(op.ours or getattr(F, op.name), *given[:len(case.arguments)], **named)


@pytest.mark.parametrize("op", [op for op in TABLE if op.name != "ctc_loss"], ids=lambda op: op.name)  # it takes them
def test_operands_on_two_devices_are_named_by_both(op):
    @settings(max_examples=3)
    @given(op.cases)
    def drawn(case):
        for call in apart(op, case):
            with pytest.raises(RuntimeError, match="on cpu and cuda:0; move"):
                call()

    with cupy_on_cpu():
        drawn()


@pytest.mark.parametrize("call", [
    lambda x, y: x == y, lambda x, y: (x > 0) & (y > 0), lambda x, y: x.where(y > 0, 0.0), mc.logical_or, mc.isclose,
    mc.equal, lambda x, y: x.add_(y), lambda x, y: x.__setitem__(0, y[0]), lambda x, y: x.gather(0, (y > 9).long()),
    lambda x, y: x.index_add(0, (y > 9).long()[0], x), lambda x, y: mc.cat([x, y]),
    lambda x, y: F.batch_norm(x, y[0], y[1], training=True), lambda x, y: mc.nn.Linear(3, 2).to(device=y.device)(x)])
def test_methods_of_two_devices(call):
    with cupy_on_cpu():
        for devices in (("cpu", "cuda"), ("cuda", "cpu")):
            with pytest.raises(RuntimeError, match="on cpu and cuda:0; move"):
                call(*[mc.ones(3, 3, device=device) for device in devices])
        with pytest.raises(RuntimeError, match=r"x\[index\]: tensors on cpu and cuda:0; move"):
            mc.ones(3)[mc.tensor([1], device="cuda")]


@pytest.mark.parametrize("targets_on", ["cpu", "cuda"])
def test_second_derivatives_of_ctc(targets_on):
    found = []
    for device in ("cpu", "cuda"):
        with nullcontext() if device == "cpu" else cupy_on_cpu():
            x = mc.tensor(normal((6, 3, 4)), device=device, requires_grad=True)
            targets = mc.tensor([[1, 2, 2], [1, 3, 0], [3, 1, 2]],
                                device="cpu" if device == "cpu" else targets_on)
            loss = F.ctc_loss(F.log_softmax(x, 2), targets, [6, 5, 0], [3, 2, 0])
            (gx,) = mc.autograd.grad(loss, [x], create_graph=True)
            found.append([t.detach().cpu().numpy() for t in (gx, *mc.autograd.grad(gx.square().sum(), [x]))])
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_what_cannot_be_recorded_is_noticed():
    with cupy_on_cpu():
        x = mc.ones(3, device="cuda")
        gpu.recording = True
        for wrong in (x.tolist, x.cpu, lambda: x[x > 0], lambda: mc.tensor([1.0, 2.0], device="cuda")):
            with pytest.raises(RuntimeError, match="while a step is recorded"):
                wrong()
