"""Laws that hold whatever the numbers are: what is linear, what is adjoint to what, what may be permuted or shifted.

A law needs no expected values, so it tests any implementation: a namespace with functions of NumPy arrays under
PyTorch's names (``over_arrays`` makes one of a library of tensors).

    check_law("conv2d is adjoint to conv_transpose2d", mine, case)
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from .case import Case

Sides = tuple[Any, Any]
LAST_PLACES = 2.0 ** 12  # by how many the sides may differ, of the largest element of either


@dataclass(frozen=True)
class Law:
    """Two sides that are equal for every case of an operation; they are computed by the functions given."""

    name: str
    operations: tuple[str, ...]  # of the cases that it is about
    formula: str
    sides: Callable[[Any, Case], Sides | None]  # None where it says nothing about a case


LAWS: list[Law] = []


def law(name: str, operations: str, formula: str) -> Callable[[Callable], Callable]:
    """Enter a function that computes both sides into the list."""
    def enter(sides: Callable[[Any, Case], Sides | None]) -> Callable:
        LAWS.append(Law(name, tuple(operations.split()), formula, sides))
        return sides

    return enter


def laws_for(operation: str) -> list[Law]:
    """The laws about an operation."""
    return [one for one in LAWS if operation in one.operations]


def check_law(name: str, functions: Any, case: Case) -> None:
    """Raise AssertionError unless the law holds for these functions in this case."""
    one = next((one for one in LAWS if one.name == name), None)
    if one is None:
        raise ValueError(f"check_law: there is no law {name!r}; minicnn.testing.LAWS lists all")
    if case.operation not in one.operations:
        raise ValueError(f"check_law: the law {name!r} is one of {', '.join(one.operations)}, not of {case.name}")
    sides = one.sides(functions, case)
    if sides is None:
        return
    left, right = np.asarray(sides[0]), np.asarray(sides[1])
    if left.shape != right.shape:
        raise AssertionError(f"{name}: {one.formula}: the sides have the shapes {left.shape} and {right.shape} for "
                             f"{case!r}")
    eps = np.finfo(left.dtype).eps if left.dtype.kind == "f" else 0.0
    size = max(1.0, float(np.abs(left).max(initial=0)), float(np.abs(right).max(initial=0)))
    off = np.abs(left - right)
    if not (off <= LAST_PLACES * eps * size).all():
        at = np.unravel_index(off.argmax(), off.shape)
        raise AssertionError(f"{name}: {one.formula}: {left[at]!r} is not {right[at]!r} at {tuple(map(int, at))} for "
                             f"{case!r}")


def over_arrays(library: Any, make: Callable) -> Any:
    """The functions of a library of tensors (minicnn.functional, torch.nn.functional) as functions of NumPy arrays.

    make turns an array into a tensor: minicnn.from_numpy, torch.from_numpy.
    """
    def wrapped(function: Callable) -> Callable:
        def call(*arguments: Any, **options: Any) -> Any:
            def tensor(a: Any) -> Any:
                return make(np.ascontiguousarray(a)) if isinstance(a, np.ndarray) else a

            y = function(*map(tensor, arguments), **{k: tensor(a) for k, a in options.items()})
            return y[0].numpy() if isinstance(y, tuple) else y.numpy()

        return call

    return SimpleNamespace(**{name: wrapped(f) for name in dir(library)
                              if not name.startswith("_") and callable(f := getattr(library, name))})


# -- what the laws are made of --------------------------------------------------------------------------------------

def _call(functions: Any, case: Case, *arrays: Any) -> np.ndarray:
    """The operation of the case on these arrays in the place of its first ones."""
    return getattr(functions, case.operation)(*arrays, *case.arrays[len(arrays):], **case.options)


def _like(a: np.ndarray, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(a.shape)


def _without_bias(case: Case) -> Case:
    return Case(case.operation, case.arrays[:2], case.options)


# -- convolution ----------------------------------------------------------------------------------------------------

@law("convolution is linear in x", "conv1d conv2d conv3d", "conv(2·x + z, w) = 2·conv(x, w) + conv(z, w)")
def _(f, case):
    case = _without_bias(case)
    x, w = case.arrays
    z = _like(x, 1)
    return _call(f, case, 2 * x + z, w), 2 * _call(f, case, x, w) + _call(f, case, z, w)


@law("convolution is linear in w", "conv1d conv2d conv3d", "conv(x, 2·w + v) = 2·conv(x, w) + conv(x, v)")
def _(f, case):
    case = _without_bias(case)
    x, w = case.arrays
    v = _like(w, 2)
    return _call(f, case, x, 2 * w + v), 2 * _call(f, case, x, w) + _call(f, case, x, v)


@law("the bias is added to every output", "conv1d conv2d conv3d", "conv(x, w, b) = conv(x, w) + b")
def _(f, case):
    if len(case.arrays) < 3:
        return None
    x, w, b = case.arrays
    return _call(f, case, x, w, b), _call(f, _without_bias(case), x, w) + b.reshape(-1, *[1] * (x.ndim - 2))


@law("convolution and transposed convolution are adjoint", "conv1d conv2d conv3d",
     "⟨conv(x, w), y⟩ = ⟨x, conv_transpose(y, w)⟩")
def _(f, case):
    case, (x, w) = _without_bias(case), case.arrays[:2]
    options = dict(case.options)
    if isinstance(options["padding"], str):
        return None
    out = _call(f, case, x, w)
    y = _like(out, 3)
    whole = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in
             zip(out.shape[2:], options["stride"], options["padding"], options["dilation"], w.shape[2:], strict=True)]
    rest = tuple([n - m for n, m in zip(x.shape[2:], whole, strict=True)])  # what no window reached
    if any(r >= max(s, d) for r, s, d in zip(rest, options["stride"], options["dilation"], strict=True)):
        return None
    back = getattr(f, case.operation.replace("conv", "conv_transpose"))(y, w, output_padding=rest, **options)
    return np.sum(out * y), np.sum(x * back)


@law("a shifted image gives a shifted output", "conv2d", "inside: conv(x moved by the stride) = conv(x) moved by 1")
def _(f, case):
    case, (x, w) = _without_bias(case), case.arrays[:2]
    case = Case(case.operation, case.arrays, {**case.options, "padding": 0})
    (s, t), reach = case.options["stride"], [d * (k - 1) + 1 for d, k in
                                             zip(case.options["dilation"], w.shape[2:], strict=True)]
    if x.shape[2] < reach[0] + s or x.shape[3] < reach[1] + t:
        return None
    return _call(f, case, x[:, :, s:, t:], w), _call(f, case, x, w)[:, :, 1:, 1:]


@law("a 1×1 convolution is a linear layer", "conv2d", "conv(x, w of 1×1) = linear over the channels of every pixel")
def _(f, case):
    x, w = case.arrays[:2]
    w = w[:, :, :1, :1]
    if case.options["groups"] > 1:
        return None
    pixels = x.transpose(0, 2, 3, 1)
    return f.conv2d(x, w), f.linear(pixels, w[:, :, 0, 0]).transpose(0, 3, 1, 2)


@law("groups are convolutions of their own", "conv1d conv2d conv3d", "conv(x, w, groups) = the groups, side by side")
def _(f, case):
    case, g = _without_bias(case), case.options["groups"]
    x, w = case.arrays
    alone = Case(case.operation, case.arrays, {**case.options, "groups": 1})
    parts = [_call(f, alone, a, b) for a, b in zip(np.split(x, g, 1), np.split(w, g, 0), strict=True)]
    return _call(f, case, x, w), np.concatenate(parts, 1)


@law("padding is zeros around the image", "conv1d conv2d conv3d", "conv(x, w, padding) = conv(x in zeros, w)")
def _(f, case):
    if isinstance(case.options["padding"], str):
        return None
    x, w = case.arrays[:2]
    around = np.pad(x, ((0, 0), (0, 0), *[(p, p) for p in case.options["padding"]]))
    bare = Case(case.operation, (around, w), {**case.options, "padding": 0})
    return _call(f, _without_bias(case), x, w), _call(f, bare, around, w)


@law("dilation is zeros within the kernel", "conv2d", "conv(x, w, dilation) = conv(x, w with zeros between)")
def _(f, case):
    x, w = case.arrays[:2]
    if isinstance(case.options["padding"], str):
        return None
    (d, e), (kh, kw) = case.options["dilation"], w.shape[2:]
    wide = np.zeros((*w.shape[:2], d * (kh - 1) + 1, e * (kw - 1) + 1), w.dtype)
    wide[:, :, ::d, ::e] = w
    dense = Case(case.operation, (x, wide), {**case.options, "dilation": 1})
    return _call(f, _without_bias(case), x, w), _call(f, dense, x, wide)


@law("convolution is a product with the columns", "conv2d", "conv(x, w) = w·im2col(x)")
def _(f, case):
    x, w = case.arrays[:2]
    options = dict(case.options)
    if isinstance(options["padding"], str) or options.pop("groups") > 1 or not len(x):
        return None
    cols = f.unfold(x, w.shape[2:], **options)
    y = _call(f, _without_bias(case), x, w)
    return y, (w.reshape(len(w), -1) @ cols).reshape(y.shape)


@law("im2col and col2im are adjoint", "unfold", "⟨unfold(x), c⟩ = ⟨x, fold(c)⟩")
def _(f, case):
    (x,) = case.arrays
    cols = _call(f, case, x)
    if not len(x):
        return None
    c = _like(cols, 4)
    return np.sum(cols * c), np.sum(x * f.fold(c, x.shape[2:], **case.options))


# -- all that treats images one by one ------------------------------------------------------------------------------

@law("images do not see each other", "conv1d conv2d conv3d unfold max_pool1d max_pool2d max_pool3d avg_pool1d "
     "avg_pool2d avg_pool3d linear layer_norm group_norm instance_norm", "f(x in another order) = f(x) in that order")
def _(f, case):
    x = case.arrays[0]
    if x.ndim < 2:
        return None
    order = np.random.default_rng(5).permutation(len(x))
    return _call(f, case, x[order]), _call(f, case, x)[order]


# -- pooling --------------------------------------------------------------------------------------------------------

@law("the largest of larger values is larger by as much", "max_pool1d max_pool2d max_pool3d",
     "max_pool(2·x + 3) = 2·max_pool(x) + 3")
def _(f, case):
    (x,) = case.arrays
    return _call(f, case, 2 * x + 3), 2 * _call(f, case, x) + 3


@law("average pooling is linear", "avg_pool1d avg_pool2d avg_pool3d", "avg_pool(2·x + z) = 2·avg_pool(x) + avg_pool(z)")
def _(f, case):
    (x,) = case.arrays
    z = _like(x, 6)
    return _call(f, case, 2 * x + z), 2 * _call(f, case, x) + _call(f, case, z)


@law("average pooling is a convolution", "avg_pool2d", "avg_pool(x) = conv(x, a kernel of 1/(KH·KW) for each channel)")
def _(f, case):
    (x,), o = case.arrays, case.options
    if o["ceil_mode"] or not o["count_include_pad"]:
        return None
    kernel, c = o["kernel_size"], x.shape[1]
    w = np.full((c, 1, *kernel), 1 / np.prod(kernel))
    return _call(f, case, x), f.conv2d(x, w, stride=o["stride"], padding=o["padding"], groups=c)


# -- normalisation and softmax --------------------------------------------------------------------------------------

@law("batch norm does not see scale and shift", "batch_norm", "batch_norm(2·x + 3) with 4·eps = batch_norm(x) with eps")
def _(f, case):
    if not case.options["training"]:
        return None
    scaled = Case(case.operation, case.arrays, {**case.options, "eps": 4 * case.options["eps"]})
    return _call(f, scaled, 2 * case.arrays[0] + 3), _call(f, case, case.arrays[0])


@law("layer norm does not see scale and shift", "layer_norm", "layer_norm(2·x + 3) with 4·eps = layer_norm(x) with eps")
def _(f, case):
    scaled = Case(case.operation, case.arrays, {"eps": 4 * case.options["eps"]})
    return _call(f, scaled, 2 * case.arrays[0] + 3), _call(f, case, case.arrays[0])


@law("normalised channels have mean 0", "batch_norm", "Σ batch_norm(x, w, b) − b = 0 for every channel")
def _(f, case):
    if not case.options["training"]:
        return None
    x, _, _, _, b = case.arrays
    axes = (0, *range(2, x.ndim))
    return _call(f, case, x).mean(axes), b


@law("softmax does not see a shift", "softmax log_softmax", "softmax(x + 7) = softmax(x)")
def _(f, case):
    (x,) = case.arrays
    return _call(f, case, x + 7), _call(f, case, x)


@law("softmax adds up to 1", "softmax", "Σ softmax(x) = 1")
def _(f, case):
    y = _call(f, case, case.arrays[0])
    total = y.sum(case.options["dim"])
    return total, np.ones_like(total)


@law("log-softmax is the logarithm of softmax", "log_softmax", "exp log_softmax(x) = softmax(x)")
def _(f, case):
    (x,) = case.arrays
    return np.exp(_call(f, case, x)), f.softmax(x, **case.options)


@law("cross-entropy does not see a shift", "cross_entropy", "cross_entropy(x + 7, t) = cross_entropy(x, t)")
def _(f, case):
    return _call(f, case, case.arrays[0] + 7), _call(f, case, case.arrays[0])


@law("relu keeps positive factors", "relu leaky_relu", "relu(3·x) = 3·relu(x)")
def _(f, case):
    (x,) = case.arrays
    return _call(f, case, 3 * x), 3 * _call(f, case, x)
