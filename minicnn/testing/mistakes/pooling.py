"""Mistakes in the backward of pooling: who gets the gradient of a window, and what happens where windows overlap."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .mistake import Mistake, Use, collector

MISTAKES: list[Mistake] = []
largest = collector("MaxPool2d", MISTAKES, lambda use: not np.isnan(use.inputs[0]).any())
average = collector("AvgPool2d", MISTAKES)

Window = tuple[int, int, tuple]  # output row and column, and where the window lies in an array (N, C, H, W)


def _windows(use: Use) -> Iterator[Window]:
    w = use.node.windows
    for i, (top, bottom) in enumerate(zip(w.row_start, w.row_stop, strict=True)):
        for j, (left, right) in enumerate(zip(w.col_start, w.col_stop, strict=True)):
            yield i, j, (..., slice(top, bottom, w.step[0]), slice(left, right, w.step[1]))


def _spread(use: Use, share: Any, overwrite: bool = False) -> np.ndarray:
    """gx in which every element of a window gets share(window of x) of the gradient; windows add up."""
    x = use.inputs[0]
    gx = np.zeros(x.shape, use.gy.dtype)
    for i, j, place in _windows(use):
        part = share(x[place]) * use.gy[:, :, i, j, None, None]
        if overwrite:
            gx[place] = np.where(part != 0, part, gx[place])
        else:
            gx[place] += part
    return gx


def _is_largest(window: np.ndarray) -> np.ndarray:
    return window == window.max((2, 3), keepdims=True)


def _only(window: np.ndarray, last: bool) -> np.ndarray:
    """One of those that are largest: the first, or the last."""
    flat = _is_largest(window).reshape(*window.shape[:2], -1)
    at = flat.shape[2] - 1 - flat[..., ::-1].argmax(2) if last else flat.argmax(2)
    return (np.arange(flat.shape[2]) == at[..., None]).reshape(window.shape)


# -- of the largest element -----------------------------------------------------------------------------------------

@largest(0, "last of tied maxima", "of equal elements the first one gets the gradient, as in PyTorch")
def _(use, gx):
    return _spread(use, lambda window: _only(window, True))


@largest(0, "every tied maximum gets the gradient", "x == max is true for all of equal elements: take the first one")
def _(use, gx):
    return _spread(use, _is_largest)


@largest(0, "gradient shared among tied maxima", "the first of equal elements gets all of the gradient, not a share")
def _(use, gx):
    return _spread(use, lambda window: _is_largest(window) / _is_largest(window).sum((2, 3), keepdims=True))


@largest(0, "pooled overlap overwritten instead of added", "an element that wins several windows gets all their "
                                                           "gradients (+=)")
def _(use, gx):
    return _spread(use, lambda window: _only(window, False), overwrite=True)


@largest(0, "gradient to the whole window", "only the largest element gets the gradient")
def _(use, gx):
    return _spread(use, np.ones_like)


@largest(0, "maximum treated as a mean", "only the largest element gets the gradient, and all of it")
def _(use, gx):
    return _spread(use, lambda window: np.full(window.shape, 1 / (window.shape[2] * window.shape[3])))


@largest(0, "gradient to the first element of the window", "the index of the maximum was not used")
def _(use, gx):
    return _spread(use, lambda window: np.arange(window[0, 0].size).reshape(window.shape[2:]) == 0)


@largest(0, "index in the window taken for that in the image", "add where the window begins")
def _(use, gx):
    wrong = np.zeros(gx.shape, gx.dtype)
    for i, j, place in _windows(use):
        won = _only(use.inputs[0][place], False)
        wrong[:, :, :won.shape[2], :won.shape[3]] += won * use.gy[:, :, i, j, None, None]
    return wrong


@largest(0, "pooled gradient one column off", "padding or the start of the window is off by one")
def _(use, gx):
    return np.roll(gx, 1, 3)


# -- of the mean ----------------------------------------------------------------------------------------------------

def _share(use: Use, overwrite: bool = False, divided: bool = True, first: bool = False,
           by_window: bool = False) -> np.ndarray:
    gx = np.zeros(use.inputs[0].shape, use.gy.dtype)
    for i, j, place in _windows(use):
        window = gx[place]
        if not window.size:
            continue
        divisor = window.shape[2] * window.shape[3] if by_window else use.node.divisor[i, j] if divided else 1
        part = np.broadcast_to(use.gy[:, :, i, j, None, None] / divisor, window.shape)
        if first:
            window[:, :, 0, 0] += part[:, :, 0, 0] * divisor
        elif overwrite:
            window[...] = part
        else:
            window[...] += part
    return gx


@average(0, "not divided by the size of the window", "the mean has a 1/(KH·KW), and so has its gradient")
def _(use, gx):
    return _share(use, divided=False)


@average(0, "averaged overlap overwritten instead of added", "an element in several windows gets a share of each (+=)")
def _(use, gx):
    return _share(use, overwrite=True)


@average(0, "average's gradient to one element", "every element of the window gets its share")
def _(use, gx):
    return _share(use, first=True)


@average(0, "divided by the elements inside the image", "where forward counts the padding, backward divides by it too")
def _(use, gx):
    return _share(use, by_window=True)


@average(0, "divided by the size of the window twice", "the share was divided in forward's place already")
def _(use, gx):
    return gx / use.node.divisor.max()
