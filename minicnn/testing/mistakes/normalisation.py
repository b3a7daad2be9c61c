"""Mistakes in the backward of normalisation: gx = w/σ · (gy − gb/m − x̂·gw/m), where each term is there for a reason.

Layer, group and instance norm are batch norm of another view, so these are their mistakes, too.
"""

from typing import NamedTuple

import numpy as np

from .mistake import Mistake, Use, collector

MISTAKES: list[Mistake] = []
trained = collector("BatchNorm", MISTAKES, lambda use: use.node.training)
norm = collector("BatchNorm", MISTAKES)


class Parts(NamedTuple):
    """What the formula is made of, all in the shape of x or that broadcast to it."""

    x: np.ndarray
    x_hat: np.ndarray
    mean_term: np.ndarray  # gb/m
    var_term: np.ndarray  # x̂·gw/m
    inv_std: np.ndarray
    var: np.ndarray
    w: np.ndarray | float
    m: int
    axes: tuple[int, ...]


def _parts(use: Use) -> Parts:
    x, w, _, *statistics = use.inputs
    axes, shape = (0, *range(2, x.ndim)), (1, -1, *[1] * (x.ndim - 2))
    mean, var = statistics or (x.mean(axes), x.var(axes))
    var = var.reshape(shape)
    inv_std = 1 / np.sqrt(var + use.node.eps)
    x_hat, m = (x - mean.reshape(shape)) * inv_std, x.size // x.shape[1]
    return Parts(x, x_hat, use.gy.sum(axes, keepdims=True) / m,
                 x_hat * (use.gy * x_hat).sum(axes, keepdims=True) / m, inv_std, var,
                 1.0 if w is None else w.reshape(shape), m, axes)


@trained(0, "mean term missing", "the mean depends on x, too: subtract the mean of gy")
def _(use, gx):
    p = _parts(use)
    return p.w * p.inv_std * (use.gy - p.var_term)


@trained(0, "variance term missing", "the variance depends on x, too: subtract x̂ times the mean of gy·x̂")
def _(use, gx):
    p = _parts(use)
    return p.w * p.inv_std * (use.gy - p.mean_term)


@trained(0, "mean and variance taken for constants", "both depend on x: two terms of gx are missing")
def _(use, gx):
    p = _parts(use)
    return p.w * p.inv_std * use.gy


@trained(0, "biased for unbiased variance", "forward divides the variance by m: its term has 1/m, not 1/(m − 1)")
def _(use, gx):
    p = _parts(use)
    return p.w * p.inv_std * (use.gy - p.mean_term - p.var_term * p.m / max(p.m - 1, 1))


@trained(0, "variance term with the other sign", "all three terms of gx: gy minus its mean minus its part along x̂")
def _(use, gx):
    p = _parts(use)
    return p.w * p.inv_std * (use.gy - p.mean_term + p.var_term)


@trained(0, "statistics counted over the batch alone", "m is the number of elements of a channel, N·H·W, not N")
def _(use, gx):
    p = _parts(use)
    return p.w * p.inv_std * (use.gy - (p.mean_term + p.var_term) * p.m / len(p.x))


@norm(0, "divided by the variance", "gx has 1/√(var + eps), not 1/(var + eps)")
def _(use, gx):
    return gx * _parts(use).inv_std


@norm(0, "eps forgotten in gx", "the root is that of var + eps in backward, too")
def _(use, gx):
    p = _parts(use)
    return gx / p.inv_std / np.sqrt(np.maximum(p.var, np.finfo(gx.dtype).tiny))


@norm(0, "weight forgotten in gx", "gx is scaled by the weight, as y is")
def _(use, gx):
    p = _parts(use)
    return p.inv_std * (use.gy - (p.mean_term + p.var_term if use.node.training else 0))


@norm(0, "formula of training in evaluation", "running statistics do not depend on x: gx = w/√(var + eps)·gy")
def _(use, gx):
    if use.node.training:
        return gx
    p = _parts(use)
    return p.w * p.inv_std * (use.gy - p.mean_term - p.var_term)


@norm(1, "gradient of the weight from x instead of x̂", "y = x̂·w + b, so gw = Σ gy·x̂")
def _(use, gw):
    return (use.gy * use.inputs[0]).sum(_parts(use).axes)


@norm(1, "gradient of the weight averaged", "gw is a sum over the batch and the image")
def _(use, gw):
    return gw / _parts(use).m


@norm(1, "gradient of the weight without x̂", "gw = Σ gy·x̂; Σ gy alone is that of the bias")
def _(use, gw):
    return use.gy.sum(_parts(use).axes)


@norm(2, "gradient of the shift averaged", "gb is a sum over the batch and the image")
def _(use, gb):
    return gb / _parts(use).m


@norm(2, "gradient of the shift scaled by the weight", "y = x̂·w + b: b is not multiplied by w")
def _(use, gb):
    return gb if use.inputs[1] is None else gb * use.inputs[1]
