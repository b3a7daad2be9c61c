"""What the tests of kernels share: comparison with PyTorch and with the reference, and a call of every kernel."""

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis.strategies import integers, sampled_from

from minicnn.kernels import cpu, reference
from minicnn.kernels.contract import Windows

SEEDS = integers(0, 2 ** 32 - 1)
BATCHES = sampled_from([0, 1, 2, 5])
NAN, INF = float("nan"), float("inf")
TOLERANCE = {np.dtype(np.float64): 1e-10, np.dtype(np.float32): 2e-5, np.dtype(np.float16): 1e-2}


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def close(actual, expected, tolerance: float | None = None) -> None:
    """Equal type and shape, NaN and inf in the same places, else within tolerance of the largest element."""
    if isinstance(expected, tuple):
        for a, e in zip(actual, expected, strict=True):
            close(a, e, tolerance)
        return
    expected = expected.detach().numpy() if isinstance(expected, torch.Tensor) else expected
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    tolerance = TOLERANCE.get(actual.dtype, 0) if tolerance is None else tolerance
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=1)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * float(scale))


def cast(value, dtype):
    return value.astype(dtype) if isinstance(value, np.ndarray) and value.dtype == np.float64 else value


def same(name: str, *arguments) -> None:
    """cpu equals reference, in float64, in float32, and where it hands the work to it, in float16."""
    for dtype in (np.float64, np.float32, np.float16):
        own = [cast(a, dtype) for a in arguments]
        with np.errstate(invalid="ignore", over="ignore"):
            close(getattr(cpu, name)(*own), getattr(reference, name)(*own))


def gradients(y: torch.Tensor, gy: np.ndarray, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(y, inputs, torch.from_numpy(gy))


def variable(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x.copy()).requires_grad_()


# -- functions of single elements: what PyTorch calls them, their parameters, what their gradient takes -------------

ACTIVATIONS = {
    "relu": (torch.relu, (), "y"), "sigmoid": (torch.sigmoid, (), "y"), "tanh": (torch.tanh, (), "y"),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.3), (0.3,), "x"),
    "elu": (lambda x: torch.ops.aten.elu(x, 0.7, 1.2, 0.5), (0.7, 1.2, 0.5), "x"),
    "hardtanh": (lambda x: F.hardtanh(x, -0.5, 2.0), (-0.5, 2.0), "y"), "hardswish": (F.hardswish, (), "x"),
    "silu": (F.silu, (), "x"), "mish": (F.mish, (), "x"), "gelu": (F.gelu, (), "x"),
    "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), (), "x"),
    "hardsigmoid": (lambda x: (x + 3).clamp(0, 6) / 6, (), "x"),  # PyTorch's own rounds 1/6 to float32
    "hardshrink": (lambda x: F.hardshrink(x, 0.7), (0.7,), "x"),
    "softshrink": (lambda x: F.softshrink(x, 0.7), (0.7,), "x"), "tanhshrink": (F.tanhshrink, (), "x"),
    "threshold": (lambda x: F.threshold(x, 0.7, 3.0), (0.7, 3.0), "x"), "softsign": (F.softsign, (), "x"),
    "softplus": (lambda x: F.softplus(x, 0.5, 2.0), (0.5, 2.0), "x"),
    "huber": (lambda x: F.huber_loss(x, torch.zeros_like(x), "none", 0.7), (0.7,), "x"),
}
GRADIENT = {"softshrink": "hardshrink_grad"}  # else its own


# -- a call of every kernel that returns arrays, on arrays whose strides may be anything ----------------------------

ARITHMETIC = "add", "sub", "mul", "truediv"
QUADS = Windows(*[np.arange(0, 6, 2), np.arange(2, 8, 2)] * 2)
TAPS = np.array([0, 2, 2, 5]), np.array([0, 6, 3, 3, 1]), np.linspace(-1, 1, 5)


def places(x: np.ndarray) -> np.ndarray:
    """Elements to sample from x[0], some of them outside."""
    return np.resize(np.arange(-1, 7), (x.shape[1], 3, 5))


STATES, FRAMES, COUNTS = np.tile([0, 3, 0, 5, 0], (7, 1)), np.array([7, 6, 7, 5, 7, 7, 4]), np.full(7, 5)
STEPS = np.array([3, 2, 2])  # three sequences of 3, 3 and 1 steps: 7 rows


def logs(x):
    return -x[0, 0, :, :, None].repeat(7, 2)  # (T, N, K)


def side_by_side(x, count):
    """(7, 7·count) with the first axis the fast one."""
    return np.concatenate([x[1, i] for i in range(count)]).T


def recurrent(name, k, x, gy):
    """One of the kernels that work in place on contiguous rows, with strided states and weights."""
    h0, c0, rows = x[0, 1, :3], x[0, 2, :3], {"rnn": 1, "lstm": 4, "gru": 3}[name]
    gates = np.ascontiguousarray(side_by_side(x, rows))
    weights = side_by_side(gy, rows).T
    if name == "rnn":
        k.rnn_sequence(gates, h0, weights, False, STEPS)
        return gates, *k.rnn_sequence_grad(gy[0, 0], gy[0, 1, :3], gates, weights, False, STEPS)
    if name == "lstm":
        y, cells = k.lstm_sequence(gates, h0, c0, weights, None, STEPS)
        return gates, y, cells, *k.lstm_sequence_grad(gy[0, 0], gy[0, 1, :3], gy[0, 2, :3], gates, c0, cells, weights,
                                                      None, STEPS)[:3]
    y, seen = k.gru_sequence(gates, h0, weights, weights[:, 0], STEPS)
    return gates, y, seen, *k.gru_sequence_grad(gy[0, 0], gy[0, 1, :3], gates, seen, h0, y, weights, STEPS)


def added(k, x, gy):
    """Rows added to others, of which some are met twice."""
    y = gy[0, 0].copy()
    k.index_add(y, (np.arange(2 * x.shape[1]) * 3 % 7)[::2], x[0, :, 1])
    return y


CALLS = {
    "max_pool2d": lambda k, x, gy: k.max_pool2d(x, QUADS),
    "pool_scatter": lambda k, x, gy: k.pool_scatter(gy[:, :, :3, :3], k.max_pool2d(x, QUADS)[1], x.shape),
    "pool_gather": lambda k, x, gy: k.pool_gather(gy, k.max_pool2d(x, QUADS)[1]),
    "avg_pool2d": lambda k, x, gy: k.avg_pool2d(x, QUADS, np.full((3, 3), 4.0)),
    "avg_pool2d_grad": lambda k, x, gy: k.avg_pool2d_grad(gy[:, :, :3, :3], QUADS, np.full((3, 3), 4.0), x.shape),
    "activated_avg_pool2d": lambda k, x, gy: k.activated_avg_pool2d(x[:, :, :6, :6], "tanh", QUADS,
                                                                    np.full((3, 3), 4.0)),
    "activated_avg_pool2d_grad": lambda k, x, gy: k.activated_avg_pool2d_grad(
        gy[:, :, :3, :3], x[:, :, :6, :6], "sigmoid", QUADS, np.full((3, 3), 4.0)),
    "channel_sum": lambda k, x, gy: k.channel_sum(x[0]),
    "batch_norm_stats": lambda k, x, gy: k.batch_norm_stats(x[0], 0.1),
    "batch_norm": lambda k, x, gy: k.batch_norm(x[0], gy[0, :, 0, 0], gy[1, :, 0, 0], x[0, :, 0, 0], x[0, :, 1, 0]),
    "batch_norm_grad": lambda k, x, gy: k.batch_norm_grad(gy[0], x[0], x[0, :, 0, 0], x[0, :, 1, 0], gy[0, :, 0, 0],
                                                          True),
    "group_norm": lambda k, x, gy: k.group_norm(x, gy[0, :, :, 0], gy[0, :, :, 1], 0.1),
    "group_norm_grad": lambda k, x, gy: k.group_norm_grad(gy, x, x[:, :, 0, 0].astype(float), abs(gy[:, :, 0, 0].astype(
        float)), gy[0, :, :, 1]),
    "logistic_loss": lambda k, x, gy: k.logistic_loss(x, gy),
    "logistic_loss_grad": lambda k, x, gy: k.logistic_loss_grad(gy, x, x[::-1]),
    "prelu": lambda k, x, gy: k.prelu(x, gy), "prelu_grad": lambda k, x, gy: k.prelu_grad(gy, x, x[::-1]),
    "prelu_weight_grad": lambda k, x, gy: k.prelu_weight_grad(gy, x),
    "axis_sum": lambda k, x, gy: k.axis_sum(x[0]),
    **{name: lambda k, x, gy, name=name: getattr(k, name)(x, gy) for name in ARITHMETIC},
    "iadd": lambda k, x, gy: k.iadd(x.copy(), gy), "concatenate": lambda k, x, gy: k.concatenate((x, gy), 1),
    "softmax": lambda k, x, gy: k.softmax(x[0]),
    "softmax_grad": lambda k, x, gy: k.softmax_grad(gy[0], x[0]),
    "log_softmax": lambda k, x, gy: k.log_softmax(x[0]),
    "log_softmax_grad": lambda k, x, gy: k.log_softmax_grad(gy[0], x[0]),
    "cross_entropy": lambda k, x, gy: k.cross_entropy(x[0, 0], np.arange(14)[::2]),
    "cross_entropy_grad": lambda k, x, gy: k.cross_entropy_grad(gy[0, 0, 0], x[0, 0], np.arange(14)[::2]),
    "dropout": lambda k, x, gy: k.dropout(x, 0.5, (1, 2)),
    "index_add": added,
    "resample": lambda k, x, gy: (k.resample(x[0], *TAPS), k.resample(x[0, :, :, :1], *TAPS)),
    "sample": lambda k, x, gy: k.sample(x[0], places(x), gy[0, :, :3, :5]),
    "sample_input_grad": lambda k, x, gy: k.sample_input_grad(gy[0, :, :, :5], places(x), x[0, :, :3, :5], 7),
    "sample_weight_grad": lambda k, x, gy: k.sample_weight_grad(x[0], places(x), gy[0, :, :, :5]),
    **{name: lambda k, x, gy, name=name, a=a: getattr(k, name)(x, *a) for name, (_, a, _) in ACTIVATIONS.items()},
    **{name: lambda k, x, gy, name=name, a=a: getattr(k, name)(gy, x, *a) for name, a in
       [(GRADIENT.get(name, name + "_grad"), a) for name, (_, a, _) in ACTIVATIONS.items()]},
    "erf": lambda k, x, gy: k.erf(x), "erfc": lambda k, x, gy: k.erfc(x),
    "ctc": lambda k, x, gy: k.ctc(logs(x), STATES, FRAMES, COUNTS),
    "ctc_grad": lambda k, x, gy: k.ctc_grad(gy[0, 0, 0], logs(x), STATES, FRAMES, COUNTS,
                                            k.ctc(logs(x), STATES, FRAMES, COUNTS)[1]),
    **{f"{name}_sequence": lambda k, x, gy, name=name: recurrent(name, k, x, gy) for name in ("rnn", "lstm", "gru")},
}
