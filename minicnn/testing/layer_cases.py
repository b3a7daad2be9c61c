"""Cases of normalisation, losses and activations."""

import math

import numpy as np

from .case import Case
from .choices import Choices, per_axis
from .values import classes, normal, positive, rows, spaced, tied

NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm")
LOSSES = ("mse_loss", "cross_entropy", "l1_loss", "smooth_l1_loss", "huber_loss", "nll_loss", "binary_cross_entropy",
          "binary_cross_entropy_with_logits", "kl_div", "poisson_nll_loss", "gaussian_nll_loss", "soft_margin_loss",
          "hinge_embedding_loss")
KINKS: dict[str, tuple[float, ...]] = {  # where activations or their derivatives have kinks
    "relu": (0,), "leaky_relu": (0,), "relu6": (0, 6), "elu": (0,), "selu": (0,), "hardtanh": (-1, 1),
    "hardsigmoid": (-3, 3), "hardswish": (-3, 3), "hardshrink": (-0.5, 0.5), "softshrink": (-0.5, 0.5),
    "softsign": (0,), "celu": (0,), "gelu": (), "silu": (), "mish": (), "softplus": (), "sigmoid": (), "tanh": (),
    "logsigmoid": (), "tanhshrink": ()}


def norm(choices: Choices, operation: str | None = None) -> Case:
    """A normalisation over at least three values; batch norm in training or with running statistics."""
    operation = operation or choices.option(NORMS)
    options = {"eps": choices.option((1e-2, 1e-5, 1.0))}
    n, c = choices.integer(1, 3), choices.integer(1, 3)
    if operation in ("layer_norm", "rms_norm"):
        last = (choices.integer(3, 5), *per_axis(choices, choices.integer(0, 1), 1, 3))
        x = rows(choices, n, math.prod(last)).reshape(n, *last)
        affine = [normal(choices, last) for _ in range(2 if operation == "layer_norm" else 1)]
        return Case(operation, (x, last, *affine), options)
    if operation == "group_norm":
        groups, length = choices.integer(1, 2), choices.integer(3, 5)
        x = rows(choices, n * groups, c * length).reshape(n, groups * c, length)
        return Case(operation, (x, groups, *_affine(choices, groups * c)), options)
    size = per_axis(choices, choices.integer(0, 2), 1, 3)
    if operation == "instance_norm":
        size = (choices.integer(3, 4), *size[1:])
        x = rows(choices, n * c, math.prod(size)).reshape(n, c, *size)
        return Case(operation, (x, None, None, *_affine(choices, c)), options)
    x = rows(choices, c, (n + 2) * math.prod(size)).reshape(c, n + 2, *size).swapaxes(0, 1)
    options["training"] = choices.option((True, False))
    statistics = (None, None) if options["training"] else (normal(choices, (c,)), positive(choices, (c,)))
    return Case(operation, (np.ascontiguousarray(x), *statistics, *_affine(choices, c)), options, fixed=(1, 2))


def _affine(choices: Choices, channels: int) -> tuple[np.ndarray, np.ndarray]:
    return normal(choices, (channels,)), normal(choices, (channels,))


def loss(choices: Choices, operation: str | None = None, ties: bool = False) -> Case:
    """A loss with any reduction; of classes with weights, ignored rows or smoothing. The target is fixed.

    With ties, differences lie exactly at the kinks of l1, smooth l1 and Huber loss.
    """
    operation = operation or choices.option(LOSSES)
    options = {"reduction": choices.option(("mean", "sum", "none"))}
    n, c = choices.integer(1, 3), choices.integer(2, 4)
    if operation in ("cross_entropy", "nll_loss"):
        return _of_classes(choices, operation, n, c, options)
    shape = (n, c)
    if operation in ("l1_loss", "mse_loss", "smooth_l1_loss", "huber_loss"):
        kinks = {"l1_loss": (0.0,), "smooth_l1_loss": (-1.0, 1.0), "huber_loss": (-0.5, 0.5)}.get(operation, ())
        if operation == "huber_loss":
            options["delta"] = 0.5
        target = np.round(normal(choices, shape))
        return Case(operation, (target + (tied if ties else spaced)(choices, shape, kinks), target), options, (1,))
    if operation == "binary_cross_entropy":
        return Case(operation, (positive(choices, shape, 0.1, 0.9), positive(choices, shape, 0, 1)), options, (1,))
    if operation == "binary_cross_entropy_with_logits":
        return Case(operation, (normal(choices, shape), positive(choices, shape, 0, 1)), options, (1,))
    if operation == "kl_div":
        return Case(operation, (normal(choices, shape), positive(choices, shape)), options, (1,))
    if operation == "poisson_nll_loss":
        return Case(operation, (normal(choices, shape), np.round(positive(choices, shape, 0, 4))), options, (1,))
    if operation == "gaussian_nll_loss":
        return Case(operation, (normal(choices, shape), normal(choices, shape), positive(choices, shape)), options)
    signs = 2.0 * classes(choices, n * c, 2).reshape(shape) - 1
    return Case(operation, (spaced(choices, shape, (1.0,)), signs), options, (1,))


def _of_classes(choices: Choices, operation: str, n: int, c: int, options: dict) -> Case:
    arrays: list = [normal(choices, (n, c)), classes(choices, n, c)]
    if choices.option((False, True)):
        arrays.append(positive(choices, (c,)))
    if operation == "cross_entropy" and choices.option((False, True)):
        options["label_smoothing"] = 0.2
    if choices.option((False, True)):
        arrays[1][0] = options["ignore_index"] = -1
        if n == 1 and options["reduction"] == "mean":  # the mean of nothing
            options["reduction"] = "sum"
    return Case(operation, tuple(arrays), options, (2,))


def activation(choices: Choices, operation: str, ties: bool = False) -> Case:
    """An activation away from its kinks, or at them."""
    kinks, shape = KINKS[operation], per_axis(choices, choices.integer(1, 3), 1, 4)
    if ties:
        return Case(operation, (tied(choices, shape, kinks),))
    reach = max([2.0, *[abs(k) + 1 for k in kinks]])
    return Case(operation, (spaced(choices, shape, kinks, -reach, reach),))


def along_axis(choices: Choices, operation: str) -> Case:
    """softmax and log_softmax along any axis."""
    shape = per_axis(choices, choices.integer(1, 3), 1, 4)
    return Case(operation, (normal(choices, shape),), {"dim": choices.integer(0, len(shape) - 1)})


def linear(choices: Choices) -> Case:
    """linear of any rows, with a bias or without."""
    rows = per_axis(choices, choices.integer(0, 2), 1, 3)
    inside, outside = choices.integer(1, 4), choices.integer(1, 4)
    arrays = [normal(choices, (*rows, inside)), normal(choices, (outside, inside))]
    if choices.option((True, False)):
        arrays.append(normal(choices, (outside,)))
    return Case("linear", tuple(arrays))


def embedding(choices: Choices) -> Case:
    """Rows of a table, of which some are taken more than once."""
    rows, width, count = choices.integer(1, 4), choices.integer(1, 3), choices.integer(1, 6)
    return Case("embedding", (classes(choices, count, rows), normal(choices, (rows, width))))


def response(choices: Choices) -> Case:
    """Local response normalisation."""
    shape = (choices.integer(1, 2), choices.integer(1, 6), *per_axis(choices, 2, 1, 3))
    return Case("local_response_norm", (normal(choices, shape),),
                {"size": choices.integer(1, 5), "alpha": 0.5, "beta": 0.75, "k": 2.0})


def padding(choices: Choices) -> Case:
    """Padding with zeros or with what the image continues with."""
    mode = choices.option(("constant", "reflect", "replicate", "circular"))
    size = per_axis(choices, 2, 2, 4)
    pads = [choices.integer(0, 1) for _ in range(4)]
    return Case("pad", (normal(choices, (1, choices.integer(1, 2), *size)),), {"pad": pads, "mode": mode})


def resized(choices: Choices) -> Case:
    """Interpolation to any size."""
    mode = choices.option(("nearest", "bilinear", "bicubic", "area"))
    shape = (choices.integer(1, 2), choices.integer(1, 2), *per_axis(choices, 2, 1, 4))
    return Case("interpolate", (normal(choices, shape),), {"size": per_axis(choices, 2, 1, 6), "mode": mode})


def attention(choices: Choices) -> Case:
    """Scaled dot-product attention of a few positions."""
    n, source, target, width = (choices.integer(1, 3) for _ in range(4))
    arrays = [normal(choices, (n, length, width)) for length in (target, source, source)]
    return Case("scaled_dot_product_attention", tuple(arrays), {"scale": 1 / math.sqrt(width)})
