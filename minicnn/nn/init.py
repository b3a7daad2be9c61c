"""Initial values, written in place. The formulas are PyTorch's; the random streams are those of minicnn's generators.

With fan_in the number of inputs one output sees and fan_out the number of outputs one input reaches, a layer keeps the
variance of what passes forward if its weights have variance gain²/fan_in, and of gradients if it is gain²/fan_out.

All but calculate_gain return the tensor. Raises ValueError for a shape that has no such values and for arguments out of
range.
"""

import math
import warnings

import numpy as np

from .. import dtypes
from ..backend import Generator, current, default_generator, move
from ..ops.creation import rand, randn
from ..engine import Tensor

__all__ = ["calculate_gain", "constant_", "dirac_", "eye_", "kaiming_normal_", "kaiming_uniform_", "normal_", "ones_",
           "orthogonal_", "sparse_", "trunc_normal_", "uniform_", "xavier_normal_", "xavier_uniform_", "zeros_"]


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that makes up for the variance a nonlinearity takes away.

    1 for linear, convolutions and sigmoid, 5/3 for tanh, √2 for relu, √(2/(1 + param²)) for leaky_relu, whose negative
    slope param is, 0.01 by default, and 3/4 for selu.
    """
    slope = 0.01 if param is None else param
    if nonlinearity == "leaky_relu":
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"calculate_gain: param = {param!r} must be the negative slope, a number")
        return math.sqrt(2 / (1 + slope**2))
    layers = {f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)} | {"linear", "sigmoid"}
    gains = {**dict.fromkeys(layers, 1.0), "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
    if nonlinearity not in gains:
        raise ValueError(f"calculate_gain: nonlinearity {nonlinearity!r} is unknown; use leaky_relu, "
                         + ", ".join(sorted(gains)))
    return gains[nonlinearity]


# -- plain values ---------------------------------------------------------------------------------------------------

def constant_(tensor: Tensor, val: float) -> Tensor:
    """y = val everywhere."""
    return _write(tensor, np.asarray(val))


def ones_(tensor: Tensor) -> Tensor:
    """y = 1 everywhere."""
    return constant_(tensor, 1)


def zeros_(tensor: Tensor) -> Tensor:
    """y = 0 everywhere."""
    return constant_(tensor, 0)


def eye_(tensor: Tensor) -> Tensor:
    """y[i, j] = 1 where i = j, else 0: a linear layer that passes its inputs on."""
    _need_axes("eye_", tensor, (2,))
    rows, columns = tensor.shape
    return _write(tensor, np.eye(rows, columns))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """y[i, i, middle] = 1 in each group, else 0: a convolution that passes its input channels on."""
    _need_axes("dirac_", tensor, (3, 4, 5))
    out_channels, in_channels = tensor.shape[:2]
    if groups < 1 or out_channels % groups:
        raise ValueError(f"dirac_: groups = {groups} must divide the {out_channels} output channels")
    values = np.zeros(tensor.shape)
    middle = tuple([k // 2 for k in tensor.shape[2:]])
    per_group = out_channels // groups
    passed = np.arange(min(per_group, in_channels))
    for group in range(groups):
        index: tuple = (group * per_group + passed, passed, *middle)
        values[index] = 1
    return _write(tensor, values)


# -- random values --------------------------------------------------------------------------------------------------

def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Uniform, a ≤ y < b."""
    if a > b:
        raise ValueError(f"uniform_: a = {a} must not be above b = {b}")
    values = rand(tensor.shape, generator=generator, dtype=_wide(tensor)).data
    values *= b - a
    values += a
    return _write(tensor, values)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal: y = mean + std·z, z of mean 0 and variance 1."""
    if std < 0:
        raise ValueError(f"normal_: std = {std} must be at least 0")
    values = randn(tensor.shape, generator=generator, dtype=_wide(tensor)).data
    values *= std
    values += mean
    return _write(tensor, values)


def trunc_normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0,
                  generator: Generator | None = None) -> Tensor:
    """Normal, drawn again until a ≤ y ≤ b; a and b are values, not numbers of standard deviations."""
    if not a < b or not std > 0:
        raise ValueError(f"trunc_normal_: a = {a} must be below b = {b}, and std = {std} positive")
    if not a - 2 * std <= mean <= b + 2 * std:
        warnings.warn(f"trunc_normal_: mean = {mean} is more than two standard deviations outside {a} … {b}, where few "
                      "normal values lie", stacklevel=2)
    rng = (generator or default_generator).numpy
    scale = std * math.sqrt(2)
    inside = (math.erf((b - mean) / scale) - math.erf((a - mean) / scale)) / 2  # of all normal values
    peak = min(max(mean, a), b)  # where the density is largest
    values = np.empty(tensor.numel())
    todo = np.arange(values.size)
    while todo.size:
        if inside > 0.3:
            drawn = rng.normal(mean, std, todo.size)
            accepted = (drawn >= a) & (drawn <= b)
        else:  # uniform values, each accepted in proportion to the density
            drawn = rng.uniform(a, b, todo.size)
            log_density = ((peak - mean) ** 2 - (drawn - mean) ** 2) / (2 * std**2)
            accepted = rng.exponential(size=todo.size) > -log_density
        values[todo[accepted]] = drawn[accepted]
        todo = todo[~accepted]
    return _write(tensor, values.reshape(tensor.shape))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Uniform with variance gain²·2/(fan_in + fan_out): within ±gain·√(6/(fan_in + fan_out)). Glorot & Bengio 2010."""
    bound = gain * math.sqrt(6 / _both_fans(tensor))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal with variance gain²·2/(fan_in + fan_out). Glorot & Bengio 2010."""
    return normal_(tensor, 0, gain * math.sqrt(2 / _both_fans(tensor)), generator)


def kaiming_uniform_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
                     generator: Generator | None = None) -> Tensor:
    """Uniform with variance gain²/fan: within ±gain·√(3/fan), the gain that of the nonlinearity that follows.

    a is the slope for leaky_relu; mode "fan_in" keeps the variance forward, "fan_out" backward. He et al. 2015.
    """
    std = _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return tensor if std is None else uniform_(tensor, -math.sqrt(3) * std, math.sqrt(3) * std, generator)


def kaiming_normal_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
                    generator: Generator | None = None) -> Tensor:
    """Normal with variance gain²/fan; arguments as in kaiming_uniform_. He et al. 2015."""
    std = _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity)
    return tensor if std is None else normal_(tensor, 0, std, generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """gain times a matrix with orthonormal rows or columns, whichever are fewer; axes after the first count as one.

    y·yᵀ = gain²·1 or yᵀ·y = gain²·1.
    Saxe et al. 2013: the Q of the QR decomposition of a normal matrix, its signs fixed so that it is uniform.
    """
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: tensor of shape {tensor.shape} must have at least 2 axes")
    if tensor.numel() == 0:
        return tensor
    rows, columns = len(tensor), tensor.numel() // len(tensor)
    normal = randn(max(rows, columns), min(rows, columns), generator=generator, dtype=dtypes.float64).data
    q, r = np.linalg.qr(normal)
    q *= np.sign(np.diag(r))
    return _write(tensor, gain * (q if rows >= columns else q.T).reshape(tensor.shape))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """Normal, y = std·z, but 0 for the fraction sparsity of each column of a matrix (rounded up). Martens 2010."""
    _need_axes("sparse_", tensor, (2,))
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparse_: sparsity = {sparsity} must be 0 to 1")
    order = rand(tensor.shape, generator=generator).data.argsort(0)  # in each column the rows in random order
    values = randn(tensor.shape, generator=generator, dtype=_wide(tensor)).data * std
    values[order < math.ceil(sparsity * len(tensor))] = 0
    return _write(tensor, values)


# -- what they share ------------------------------------------------------------------------------------------------

def default_(weight: Tensor, bias: Tensor | None) -> None:
    """PyTorch's default for linear and convolution layers: uniform within ±1/√fan_in, kaiming_uniform_ with a = √5."""
    kaiming_uniform_(weight, a=math.sqrt(5))
    fan_in, _ = fans(weight)
    if bias is not None:
        bound = 1 / math.sqrt(fan_in) if fan_in else 0
        uniform_(bias, -bound, bound)


def fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in, ...): in and out times the size of the kernel."""
    if tensor.ndim < 2:
        raise ValueError(f"fan_in and fan_out need a weight with at least 2 axes, not {tensor.shape}")
    kernel = math.prod(tensor.shape[2:])
    return tensor.shape[1] * kernel, tensor.shape[0] * kernel


def _both_fans(tensor: Tensor) -> int:
    return sum(fans(tensor)) or 1  # 0 only where there are no values


def _kaiming_std(name: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float | None:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"{name}: mode {mode!r} is unknown; use 'fan_in' or 'fan_out'")
    if tensor.numel() == 0:
        warnings.warn(f"{name}: there is nothing to initialise in a tensor of shape {tensor.shape}", stacklevel=3)
        return None
    return calculate_gain(nonlinearity, a) / math.sqrt(fans(tensor)[mode == "fan_out"])


def _need_axes(name: str, tensor: Tensor, allowed: tuple[int, ...]) -> None:
    if tensor.ndim not in allowed:
        raise ValueError(f"{name}: tensor of shape {tensor.shape} must have {' or '.join(map(str, allowed))} axes")


def _wide(tensor: Tensor) -> np.dtype:
    """The type to compute values in, which are rounded once when they are written."""
    return dtypes.float64 if tensor.dtype == dtypes.float64 else dtypes.float32


def _write(tensor: Tensor, values: np.ndarray) -> Tensor:
    tensor.check_memory()
    with current(tensor.data):
        tensor.data[...] = move(values, tensor.device)
    tensor.touch()
    return tensor
