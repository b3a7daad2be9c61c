"""Mixed precision against PyTorch's on the CPU: types and values of operations, the scaler step by step, training."""

import re
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch

import minicnn as mc
import minicnn.functional as F
import minicnn.kernels.cuda.module
from minicnn import amp, nn, optim
from minicnn.__main__ import main
from minicnn.engine import mode
from minicnn.ops.autocast import AS_GIVEN, BANNED, FLOAT32, LOWER, ROUNDED, RULES, WIDEST, autocasting
from minicnn.training import NonFiniteError, RecipeError, RunFolder
from minicnn.training.run_folder import LAST
from training_util import small_trainer
from util import normal

HALVES = {"float16": (np.float16, torch.float16, 2 ** -11), "bfloat16": (ml_dtypes.bfloat16, torch.bfloat16, 2 ** -8)}
TF = torch.nn.functional


# what is called with (module, its functional, *tensors), how many of them are of 16 bits already, their shapes
CALLS = {
    "conv1d": (lambda m, f, x, w: f.conv1d(x, w), 0, (2, 3, 7), (4, 3, 3)),
    "conv2d": (lambda m, f, x, w, b: f.conv2d(x, w, b, padding=1), 0, (2, 3, 5, 4), (4, 3, 3, 3), (4,)),
    "conv3d": (lambda m, f, x, w: f.conv3d(x, w), 1, (1, 2, 4, 4, 4), (3, 2, 2, 2, 2)),
    "conv_transpose2d": (lambda m, f, x, w: f.conv_transpose2d(x, w, stride=2), 0, (1, 2, 4, 3), (2, 3, 3, 3)),
    "linear": (lambda m, f, x, w, b: f.linear(x, w, b), 1, (3, 5), (4, 5), (4,)),
    "linear in float64": (lambda m, f, x, w: f.linear(x.double(), w.double()), 0, (3, 5), (4, 5)),
    "matmul": (lambda m, f, a, b: a @ b, 0, (2, 3, 4), (4, 5)),
    "mm": (lambda m, f, a, b: m.mm(a, b), 1, (3, 4), (4, 5)),
    "bmm": (lambda m, f, a, b: a.bmm(b), 0, (2, 3, 4), (2, 4, 5)),
    "addmm": (lambda m, f, c, a, b: m.addmm(c, a, b), 1, (3, 5), (3, 4), (4, 5)),
    "baddbmm": (lambda m, f, c, a, b: m.baddbmm(c, a, b), 0, (2, 3, 5), (2, 3, 4), (2, 4, 5)),
    "einsum": (lambda m, f, a, b: m.einsum("ij,jk->ik", a, b), 1, (3, 4), (4, 5)),
    "tensordot": (lambda m, f, a, b: m.tensordot(a, b, 1), 0, (3, 4), (4, 5)),
    "mv": (lambda m, f, a, b: a.mv(b), 0, (3, 4), (4,)),
    "dot": (lambda m, f, a, b: a.dot(b), 0, (4,), (4,)),
    "outer": (lambda m, f, a, b: m.outer(a, b), 0, (4,), (3,)),
    "bilinear": (lambda m, f, a, b, w: f.bilinear(a, b, w), 0, (2, 3), (2, 4), (5, 3, 4)),
    "prelu": (lambda m, f, x, w: f.prelu(x, w), 0, (2, 3, 4), (3,)),
    "attention": (lambda m, f, q, k, v: f.scaled_dot_product_attention(q, k, v), 1, *[(1, 2, 3, 4)] * 3),
    "batch_norm": (lambda m, f, x, w, b: f.batch_norm(x, None, None, w, b, True), 1, (6, 3, 4), (3,), (3,)),
    "batch_norm in float32": (lambda m, f, x, w, b: f.batch_norm(x, None, None, w, b, True), 0, (6, 3), (3,), (3,)),
    "instance_norm": (lambda m, f, x, w, b: f.instance_norm(x, weight=w, bias=b), 1, (2, 3, 9), (3,), (3,)),
    "layer_norm": (lambda m, f, x, w, b: f.layer_norm(x, (5,), w, b), 1, (3, 5), (5,), (5,)),
    "group_norm": (lambda m, f, x, w, b: f.group_norm(x, 2, w, b), 1, (3, 4, 5), (4,), (4,)),
    "softmax": (lambda m, f, x: f.softmax(x, 1), 1, (3, 5)),
    "log_softmax": (lambda m, f, x: x.log_softmax(1), 1, (3, 5)),
    "sum": (lambda m, f, x: x.sum(0), 1, (3, 5)),
    "exp": (lambda m, f, x: x.exp(), 1, (3, 5)),
    "relu": (lambda m, f, x: f.relu(x), 1, (3, 5)),
    "prod": (lambda m, f, x: x.prod(), 1, (5,)),
    "sums of types": (lambda m, f, x, y: x + y, 1, (5,), (5,)),
    "cat": (lambda m, f, x, y: m.cat([x, y]), 1, (5,), (5,)),
    "stack": (lambda m, f, x, y: m.stack([x, y]), 1, (5,), (5,)),
    "max_pool2d": (lambda m, f, x: f.max_pool2d(x, 2), 1, (1, 2, 4, 4)),
    "avg_pool2d": (lambda m, f, x: f.avg_pool2d(x, 2), 1, (1, 2, 4, 4)),
    "avg_pool3d": (lambda m, f, x: f.avg_pool3d(x, 2), 1, (1, 2, 4, 4, 4)),
    "grid_sample": (lambda m, f, x, g: f.grid_sample(x, g.tanh(), align_corners=False), 1, (1, 2, 4, 4), (1, 3, 3, 2)),
    "interpolate": (lambda m, f, x: f.interpolate(x, scale_factor=2, mode="nearest"), 1, (1, 2, 4, 4)),
    "cross_entropy": (lambda m, f, x: f.cross_entropy(x, m.tensor([1, 0, 4])), 1, (3, 5)),
    "nll_loss": (lambda m, f, x: f.nll_loss(x, m.tensor([1, 0, 4])), 1, (3, 5)),
    "binary_cross_entropy": (lambda m, f, x, y: f.binary_cross_entropy(x.sigmoid(), y.sigmoid()), 1, (5,), (5,)),
    "binary_cross_entropy_with_logits": (lambda m, f, x, y: f.binary_cross_entropy_with_logits(x, y.sigmoid()), 1, (5,),
                                         (5,)),
    **{name: (lambda m, f, x, y, name=name: getattr(f, name)(x, y), 1, (5,), (5,))
       for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "poisson_nll_loss")},
    "kl_div": (lambda m, f, x, y: f.kl_div(x, y.sigmoid(), reduction="sum"), 1, (5,), (5,)),
    "soft_margin_loss": (lambda m, f, x, y: f.soft_margin_loss(x, y.detach().sign()), 1, (5,), (5,)),
    "margin_ranking_loss": (lambda m, f, x, y: f.margin_ranking_loss(x, y, y.sign()), 1, (5,), (5,)),
    "triplet_margin_loss": (lambda m, f, x, y, z: f.triplet_margin_loss(x, y, z), 1, *[(3, 5)] * 3),
    "hinge_embedding_loss": (lambda m, f, x, y: f.hinge_embedding_loss(x, y.detach().sign()), 1, (5,), (5,)),
    "multi_margin_loss": (lambda m, f, x: f.multi_margin_loss(x, m.tensor([1, 0, 4])), 1, (3, 5)),
    "multilabel_margin_loss": (lambda m, f, x: f.multilabel_margin_loss(x, m.tensor([[1, -1, 0]])), 1, (1, 3)),
    "cosine_embedding_loss": (lambda m, f, x, y: f.cosine_embedding_loss(x, y, m.tensor([1, -1, 1])), 1, *[(3, 5)] * 2),
}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", CALLS)
def test_types_and_values_are_pytorchs(name, half):
    function, halves, *shapes = CALLS[name]
    ours, theirs, rounding = HALVES[half]
    arrays = [normal(shape, seed).astype(np.float32) for seed, shape in enumerate(shapes)]
    xs = [mc.tensor(a.astype(ours) if i < halves else a).requires_grad_() for i, a in enumerate(arrays)]
    ts = [torch.from_numpy(a).to(theirs if i < halves else torch.float32).requires_grad_()
          for i, a in enumerate(arrays)]
    with mc.autocast("cpu", ours), torch.autocast("cpu", theirs):
        y, expected = function(mc, F, *xs), function(torch, TF, *ts)
    assert mode.autocast is None
    assert y.dtype.name == str(expected.dtype).removeprefix("torch.")
    close(y, expected, rounding)
    y.backward(mc.ones_like(y))
    expected.backward(torch.ones_like(expected))
    for x, t in zip(xs, ts, strict=True):
        assert (x.grad is None) == (t.grad is None)
        if x.grad is not None:
            assert x.grad.dtype == x.dtype
            close(x.grad, t.grad, rounding)


def close(y, expected, rounding):
    wanted = expected.detach().double().numpy()
    found = y.detach().numpy().astype(np.float64)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=8 * rounding * max(1, np.abs(wanted).max()))


def test_the_lists_for_cuda_are_pytorchs():
    """Of every operation that both have."""
    header = (Path(torch.__file__).parent / "include/ATen/autocast_mode.h").read_text()
    known = {*RULES["cuda"], *F.__all__, *(name for name in dir(mc.Tensor) if not name.startswith("_"))}
    for lists, rules in ((("LOWER_PRECISION_FP",), (LOWER,)), (("FP32", "FP32_SET_OPT_DTYPE"), (FLOAT32,)),
                         (("PROMOTE",), (WIDEST,))):
        theirs = set()
        for which in lists:
            body = re.search(rf"#define AT_FORALL_{which}\(_\)((?:.*\\\n)*.*\n)", header)[1]
            theirs |= set(re.findall(r"_\((\w+)[,)]", body))
        ours = {name for name, rule in RULES["cuda"].items() if rule in rules}
        if FLOAT32 in rules:  # made of these there; interpolate is called upsample_...
            ours -= {"cross_entropy", "interpolate", "norm", "softmin"}
        ours = {"grid_sampler" if name == "grid_sample" else name for name in ours}
        assert ours <= theirs and not {name for name in theirs if name in known} - ours
    assert set(RULES["cpu"].values()) | set(RULES["cuda"].values()) == {LOWER, FLOAT32, WIDEST, ROUNDED, AS_GIVEN,
                                                                        BANNED}


def test_rules_are_for_functions_that_exist():
    for name in {*RULES["cpu"], *RULES["cuda"]}:
        assert hasattr(F, name) or hasattr(mc, name) or hasattr(mc.Tensor, name), name
        function = getattr(F, name, None) or getattr(mc, name, None) or getattr(mc.Tensor, name)
        assert hasattr(function, "__wrapped__"), f"{name} does not look at autocast"


def test_the_rules_of_cuda(monkeypatch):
    """Tried on the CPU, in the place of its own."""
    monkeypatch.setitem(RULES, "cpu", RULES["cuda"])
    x, w = mc.tensor(normal((3, 4)).astype(np.float16)), mc.tensor(normal((3, 4), 1).astype(np.float32))
    with mc.autocast("cpu", "float16"):
        assert x.exp().dtype == F.softmax(x, 1).dtype == x.sum().dtype == x.pow(2).dtype == (x ** 2).dtype == mc.float32
        assert F.linear(x, w).dtype == w.mv(x[0]).dtype == mc.float16
        assert mc.atan2(x, w).dtype == mc.float32 and mc.atan2(x, x).dtype == mc.float16
        assert F.batch_norm(x, None, None, w[0], w[0], True).dtype == mc.float16
        with pytest.raises(RuntimeError, match="binary_cross_entropy is not safe in mixed precision"):
            F.binary_cross_entropy(x.sigmoid(), w.sigmoid())


def test_blocks():
    x, w = mc.randn(2, 3), mc.randn(4, 3)
    with mc.autocast("cpu"):
        assert F.linear(x, w).dtype == mc.bfloat16
        with mc.autocast("cpu", mc.float16):
            assert F.linear(x, w).dtype == mc.float16
            with mc.autocast("cpu", enabled=False):
                assert F.linear(x, w).dtype == mc.float32
            assert F.linear(x, w).dtype == mc.float16
        assert F.linear(x, w).dtype == mc.bfloat16
        with mc.autocast("cuda"):  # of which x is not
            assert F.linear(x, w).dtype == mc.bfloat16
    with mc.autocast("cuda"):
        assert F.linear(x, w).dtype == mc.float32
    with pytest.raises(ZeroDivisionError), mc.autocast("cpu"):
        raise ZeroDivisionError
    assert F.linear(x, w).dtype == mc.float32 and mode.autocast is None
    decorated = mc.autocast("cpu", mc.float16)(F.linear)
    assert decorated(x, w).dtype == decorated(x, w).dtype == mc.float16
    assert autocasting(F.relu) is F.relu and amp.autocast is mc.autocast
    for wrong in (("gpu",), ("cpu", "float32"), ("cpu", "int64")):
        with pytest.raises(ValueError, match=f"autocast: .*{wrong[-1]}"):
            mc.autocast(*wrong)


@pytest.mark.parametrize("layer", [nn.LSTM(3, 4), nn.GRU(3, 4, bidirectional=True), nn.RNN(3, 4)])
def test_recurrent_layers_compute_in_float32(layer):
    x = mc.randn(5, 2, 3)
    with mc.autocast("cpu"):
        y, _ = layer(x.bfloat16())
    assert y.dtype == mc.float32 and mc.allclose(y, layer(x.bfloat16().float())[0])


def test_running_statistics_are_kept():
    batch_norm = nn.BatchNorm1d(3)
    x = mc.randn(64, 3) * 3 + 1
    with mc.autocast("cpu"):
        assert batch_norm(x.bfloat16()).dtype == mc.bfloat16
    assert batch_norm.running_mean.dtype == mc.float32
    np.testing.assert_allclose(batch_norm.running_mean.numpy(), 0.1 * x.numpy().mean(0), atol=0.01)


# -- the scaler -------------------------------------------------------------------------------------------------------

def scalers(**options):
    """Ours and theirs."""
    return amp.GradScaler("cpu", **options), torch.amp.GradScaler("cpu", **options)


def test_the_scaler_follows_pytorchs():
    """Over steps of which some overflow: scale, gradients, parameters, and state."""
    options = {"init_scale": 3.1e4, "growth_factor": 1.7, "backoff_factor": 0.3, "growth_interval": 3}
    ours, theirs = scalers(**options)
    start = normal((4, 3)).astype(np.float32)
    p, q = mc.tensor(start, requires_grad=True), torch.from_numpy(start.copy()).requires_grad_()
    first, second = optim.SGD([p], lr=0.1, momentum=0.9), torch.optim.SGD([q], lr=0.1, momentum=0.9)
    rng = np.random.default_rng(0)
    for number in range(40):
        g = rng.standard_normal(start.shape).astype(np.float32)
        g[1, 2] = {7: np.inf, 8: np.nan, 20: -np.inf}.get(number, g[1, 2])
        for scaler, optimizer, x, weights in ((ours, first, p, mc.tensor(g)), (theirs, second, q, torch.from_numpy(g))):
            optimizer.zero_grad()
            scaler.scale((x * weights).sum()).backward()
            if number % 2:
                scaler.unscale_(optimizer)
            scaler.step(optimizer)
            assert scaler is theirs or scaler.found_inf == (number in (7, 8, 20))
            scaler.update()
        np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy())
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-6, atol=1e-6)
        assert ours.state_dict() == theirs.state_dict()
        if number == 25:
            saved = ours.state_dict()
            ours, theirs = scalers()
            ours.load_state_dict(saved), theirs.load_state_dict(saved)
    assert first.steps == 37


def test_a_scale_never_becomes_infinite():
    for scaler, module, optimizers in zip(scalers(init_scale=2.0 ** 127, growth_interval=1), (mc, torch),
                                          (optim, torch.optim)):
        x = module.ones(1, requires_grad=True)
        optimizer = optimizers.SGD([x], lr=0.0)
        for _ in range(3):
            optimizer.zero_grad()
            (scaler.scale(x.sum()) * 0).backward()
            scaler.step(optimizer)
            scaler.update()
        assert scaler.get_scale() == 2.0 ** 127


def test_what_is_scaled():
    ours, theirs = scalers(init_scale=8.0)
    for scaler, module in ((ours, mc), (theirs, torch)):
        half, several = scaler.scale([module.ones(2, dtype=module.float16), (module.ones(()),)])
        assert half.tolist() == [8, 8] and half.dtype == module.float16 and several[0].item() == 8
        assert scaler.scale(module.ones((), dtype=module.float16)).dtype == module.float32
        assert [t.item() for t in scaler.scale(module.ones(()) for _ in range(2))] == [8, 8]
        with pytest.raises(ValueError):
            scaler.scale(3)


def test_the_scale_can_be_set_and_asked():
    ours, theirs = scalers(init_scale=4.0)
    for scaler, module in ((ours, mc), (theirs, torch)):
        scaler.scale(module.ones(1))
        scaler.update(3.5)
        assert scaler.get_scale() == 3.5
        scaler.update(module.tensor(7.0))
        scaler.set_growth_factor(3.0), scaler.set_backoff_factor(0.1), scaler.set_growth_interval(5)
        assert scaler.state_dict() == {"scale": 7.0, "growth_factor": 3.0, "backoff_factor": 0.1, "growth_interval": 5,
                                       "_growth_tracker": 0}
        assert (scaler.get_growth_factor(), scaler.get_backoff_factor(), scaler.get_growth_interval()) == (3.0, 0.1, 5)
        assert scaler.is_enabled()


def test_a_scaler_that_is_off():
    for scaler, module, optimizers in zip(scalers(enabled=False), (mc, torch), (optim, torch.optim)):
        x = module.ones(1, requires_grad=True)
        optimizer = optimizers.SGD([x], lr=1.0)
        scaler.scale(x.sum()).backward()
        scaler.unscale_(optimizer), scaler.step(optimizer), scaler.update()
        assert x.item() == 0 and scaler.get_scale() == 1 and scaler.state_dict() == {} and not scaler.is_enabled()
        scaler.load_state_dict({})


def test_wrong_uses_of_a_scaler(monkeypatch):
    x = mc.ones(1, requires_grad=True)
    optimizer = optim.SGD([x], lr=1.0)
    scaler = amp.GradScaler("cpu")
    with pytest.raises(RuntimeError, match="no parameter of the optimiser has a gradient"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="no gradients were looked at"):
        scaler.update()
    scaler.scale(x.sum()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match=r"unscale_\(\) was called for this optimiser since"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    for again in (scaler.step, scaler.unscale_):
        with pytest.raises(RuntimeError, match=r"step\(\) was called for this optimiser since"):
            again(optimizer)
    half = mc.ones(1, dtype=mc.float16, requires_grad=True)
    half.sum().backward()
    with pytest.raises(ValueError, match="a gradient is float16"):
        amp.GradScaler("cpu").step(optim.SGD([half], lr=1.0))
    with pytest.raises(RuntimeError, match="the state is empty"):
        scaler.load_state_dict({})
    for wrong in ({"growth_factor": 1.0}, {"backoff_factor": 1.0}, {"device": "gpu"}):
        with pytest.raises(ValueError, match=f"GradScaler: {next(iter(wrong))} = "):
            amp.GradScaler(**{"device": "cpu", **wrong})
    monkeypatch.setattr(amp, "cuda_is_available", lambda: False)
    with pytest.warns(UserWarning, match="there is no GPU, so the scaler is off"):
        assert not amp.GradScaler().is_enabled()


# -- training ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("half", HALVES)
def test_training_follows_pytorchs(half):
    """A small network of convolutions and batch norm, five steps with autocast and scaler in both libraries."""
    ours, theirs, rounding = HALVES[half]

    def network(m):
        return m.Sequential(m.Conv2d(2, 6, 3), m.BatchNorm2d(6), m.ReLU(), m.MaxPool2d(2), m.Flatten(),
                            m.Linear(24, 5))

    net, reference = network(nn), network(torch.nn)
    net.load_state_dict({name: mc.tensor(t.numpy()) for name, t in reference.state_dict().items()})
    x, labels = normal((8, 2, 6, 6)).astype(np.float32), np.arange(8) % 5
    losses = []
    for module, model, functional, dtype, optimizer, scaler in (
            (mc, net, F, ours, optim.SGD(net.parameters(), 0.1), scalers()[0]),
            (torch, reference, TF, theirs, torch.optim.SGD(reference.parameters(), 0.1), scalers()[1])):
        for _ in range(5):
            optimizer.zero_grad()
            with module.autocast("cpu", dtype):
                loss = functional.cross_entropy(model(module.tensor(x)), module.tensor(labels))
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            losses.append(loss.item())
    np.testing.assert_allclose(losses[:5], losses[5:], rtol=4 * rounding)
    assert losses[4] < losses[0] and all(p.grad.dtype == mc.float32 for p in net.parameters())


def test_the_trainer(tmp_path):
    """It learns, keeps weights in float32, and its checkpoints hold the scale."""
    losses = {}
    for half in ("none", "float16", "bfloat16"):
        trainer = small_trainer(model="lenet_bn", amp=half)
        losses[half] = [row.loss for row in trainer.run().rows]
        assert all(p.dtype == mc.float32 for p in trainer.parameters)
        assert trainer.scaler.is_enabled() == (half == "float16")
    assert len({tuple(values) for values in losses.values()}) == 3
    for half, rounding in (("float16", 0.01), ("bfloat16", 0.05)):
        np.testing.assert_allclose(losses[half], losses["none"], rtol=rounding)
    trainer = small_trainer(RunFolder.create(tmp_path, "x"), amp="float16")
    trainer.scaler.load_state_dict({**trainer.scaler.state_dict(), "scale": 123.0, "_growth_tracker": 7})
    trainer._save(LAST)
    again = small_trainer(trainer.folder, amp="float16")
    again.restore()
    assert again.scaler.state_dict() == trainer.scaler.state_dict()
    with pytest.raises(RecipeError, match="amp = 'float16' is for dtype float32, not float64"):
        small_trainer(amp="float16", dtype="float64")


def test_the_trainer_leaves_out_steps_until_the_scale_fits():
    """A scale that is far too large is halved, step by step; where no scale helps the run ends."""
    trainer = small_trainer(model="lenet_tanh", amp="float16", epochs=3)
    trainer.scaler.load_state_dict({**trainer.scaler.state_dict(), "scale": 2.0 ** 30})
    history = trainer.run()
    assert trainer.scaler.get_scale() < 2.0 ** 30 and trainer.optimizer.steps == 12
    assert all(np.isfinite(p.data).all() for p in trainer.parameters) and np.isfinite(history.rows[-1].loss)
    trainer = small_trainer(model="lenet_tanh", amp="float16")
    trainer.parameters[0].register_hook(lambda g: g * float("inf"))
    with pytest.raises(NonFiniteError, match="the gradient of the loss is not finite in epoch"):
        trainer.scaler.load_state_dict({**trainer.scaler.state_dict(), "scale": 4.0})
        trainer.run()
    assert trainer.scaler.get_scale() == 1


# -- TF32 -------------------------------------------------------------------------------------------------------------

def test_tf32_is_a_switch(monkeypatch):
    told = []
    monkeypatch.setattr(mc.kernels.cuda.module, "allow_tf32", told.append)
    assert mc.get_float32_matmul_precision() == "highest"
    with mc.backend.float32_matmul_precision("high"):
        assert mc.get_float32_matmul_precision() == "high" and told == [True]
    assert mc.get_float32_matmul_precision() == "highest" and told == [True, False]
    with pytest.raises(ValueError, match="precision = 'medium' must be 'highest' or 'high'"):
        mc.set_float32_matmul_precision("medium")
    seen, trainer = [], small_trainer(tf32=True, epochs=1)
    for p in trainer.parameters[:1]:
        p.register_hook(lambda g: seen.append(mc.get_float32_matmul_precision()))
    trainer.run()
    assert seen == ["high"] * 4 and mc.get_float32_matmul_precision() == "highest"


def test_cupy_is_told(monkeypatch):
    """Where there is a GPU with such tensor cores."""
    told = []
    for available, capability in ((False, 0), (True, 75), (True, 80), (True, 120)):
        cupy, routines = type(sys)("cupy"), type(sys)("routines")
        cupy.cuda = type(sys)("cuda")
        cupy.cuda.is_available = lambda available=available: available
        cupy.cuda.Device = lambda capability=capability: type("Device", (), {"compute_capability": str(capability)})
        routines.set_compute_type = lambda dtype, kind, capability=capability: told.append((capability, dtype, kind))
        routines.COMPUTE_TYPE_TF32, routines.COMPUTE_TYPE_DEFAULT = 3, 0
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        monkeypatch.setitem(sys.modules, "cupy._core._routines_linalg", routines)
        with mc.backend.float32_matmul_precision("high"):
            pass
    assert told == [(n, np.float32, kind) for n in (80, 120) for kind in (3, 0)]


def test_flags_for_gpus(monkeypatch, capsys):
    for flag in ("--tf32", "--capture"):
        assert main(["train", "lenet", "--device", "cpu", flag]) == 1
        error = capsys.readouterr().err
        assert f"{flag} is for GPUs, and this run is on the CPU" in error and "--device cuda" in error
    assert main(["train", "lenet", "--amp", "half"]) == 2
    assert "amp = 'half' must be one of none, float16, bfloat16" in capsys.readouterr().err
