"""Mistakes in the backward of products and sums: what is transposed, and what is summed over."""

import numpy as np

from .mistake import Mistake, collector

MISTAKES: list[Mistake] = []
linear = collector("Linear", MISTAKES)
matmul = collector("MatMul", MISTAKES)
total = collector("Sum", MISTAKES)
mean = collector("Mean", MISTAKES)
expand = collector("Expand", MISTAKES)
embedding = collector("Embedding", MISTAKES)
concatenate = collector("Cat", MISTAKES)


@linear(0, "weight transposed in gx", "y = x·Wᵀ, so gx = gy·W")
def _(use, gx):
    w = use.inputs[1]
    return use.gy @ w.T if w.shape[0] == w.shape[1] else gx


@linear(1, "weight gradient transposed", "gw = gyᵀ·x has the shape (out, in); xᵀ·gy is its transpose")
def _(use, gw):
    return gw.T if gw.shape[0] == gw.shape[1] else gw


@linear(1, "weight gradient averaged over the batch", "the loss has the 1/N already: sum over the batch")
def _(use, gw):
    return gw / max(use.gy.size // use.gy.shape[-1], 1)


@linear(1, "weight gradient of the last row alone", "gw is summed over the batch")
def _(use, gw):
    return np.outer(use.gy.reshape(-1, use.gy.shape[-1])[-1:], use.inputs[0].reshape(-1, gw.shape[1])[-1:])


@linear(2, "linear bias averaged instead of summed", "gb is the sum of gy over the batch")
def _(use, gb):
    return gb / max(use.gy.size // use.gy.shape[-1], 1)


@linear(2, "linear bias of the first row alone", "gb is summed over the batch")
def _(use, gb):
    return use.gy.reshape(-1, use.gy.shape[-1])[:1].sum(0)


@matmul(0, "second factor not transposed", "y = a·b, so ga = gy·bᵀ")
def _(use, ga):
    b = use.inputs[1]
    return use.gy @ b if b.shape[-1] == b.shape[-2] else ga


@matmul(1, "first factor not transposed", "y = a·b, so gb = aᵀ·gy")
def _(use, gb):
    a = use.inputs[0]
    return a @ use.gy if a.shape[-1] == a.shape[-2] else gb


@mean(0, "sum for mean", "a mean has a 1/n, and so has its gradient")
def _(use, gx):
    return gx * (gx.size / max(use.gy.size, 1))


@mean(0, "mean divided by the batch alone", "a mean over all elements has 1/n of all of them, not 1/N")
def _(use, gx):
    return gx * (gx.size / max(use.gy.size * len(gx), 1)) if gx.ndim else gx


@total(0, "mean for sum", "a sum has no 1/n, and neither has its gradient")
def _(use, gx):
    return gx * (use.gy.size / max(gx.size, 1))


@expand(0, "broadcast not summed", "where an input was broadcast, its gradient is the sum over the copies")
def _(use, gx):
    last = use.gy[(-1,) * (use.gy.ndim - gx.ndim)]
    return last[tuple([slice(-1, None) if n == 1 else slice(None) for n in gx.shape])].reshape(gx.shape)


for _operation, _inputs in {"Add": ("first summand", "second summand"), "Sub": ("minuend", "subtrahend"),
                            "Mul": ("first factor", "second factor"), "Div": ("dividend", "divisor")}.items():
    for _of, _input in enumerate(_inputs):
        @collector(_operation, MISTAKES)(
            _of, f"broadcast {_input} not summed",
            "where an input was broadcast, its gradient is the sum over the copies")
        def _(use, g, of=_of):
            last = np.zeros(g.shape, g.dtype)  # the gradient of all copies, of which only the last one stays
            new = g.ndim - use.inputs[of].ndim
            place = (-1,) * new + tuple([slice(-1, None) if n == 1 else slice(None) for n in use.inputs[of].shape])
            last[place] = g[place]
            return last


@embedding(0, "repeated row overwritten", "a row that is used twice gets both gradients: np.add.at, not w[index] +=")
def _(use, gw):
    wrong = np.zeros(gw.shape, gw.dtype)
    wrong[use.inputs[1]] = use.gy
    return wrong


@concatenate(0, "gradient cut at the wrong place", "each part of a concatenation gets its own stretch of gy")
def _(use, gx):
    return np.roll(gx, 1, use.node.axis)
