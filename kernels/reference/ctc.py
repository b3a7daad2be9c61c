"""Connectionist temporal classification in plain NumPy: the loss of a sequence whose alignment is not known.

A network gives, for each of T frames, the log-probabilities of C labels, one of which is the blank. A path is one label
per frame; it spells a word once repeats are merged and blanks are dropped: c c – a t t and c – a a – t both spell cat.
The loss is −log of the probability of the target, the sum over all paths that spell it. They are too many to be listed,
but each of them walks, from left to right, through the same row of states, the target with blanks around its labels:

      –      c      –      a      –      t      –          From one frame to the next a path may
      ○──────○──────○──────○──────○──────○──────○            stay in its state,
             └─────────────┘                                 go one on, or
                      └────not to or from a blank            go two on, from a label to one that is not the same.

So the sum over paths up to frame t follows from that up to frame t − 1, and the sum over what may still come after t
from that after t + 1. With s' → s for the three steps above, and all in logarithms,

    alpha[t, s] = log Σ of e^alpha[t−1, s'] over s' → s  +  x[t, label of s]
    beta[t, s'] = log Σ of e^(beta[t+1, s] + x[t+1, label of s]) over s' → s

A path begins in the first blank or label and ends in the last: loss = −log(e^alpha[T−1, L−1] + e^alpha[T−1, L−2]). Of
all the paths, those that are in state s at frame t are the part e^(alpha[t, s] + beta[t, s] + loss); summed over the
states of a label that is its posterior, and −posterior is the derivative of the loss by x. The gradient is

    gx = gy·(e^x − posterior)

which is what log_softmax makes of that derivative on its way to the logits, and what PyTorch returns: what the network
says, less what the target asks for, as in cross entropy. Graves, Fernández, Gomez & Schmidhuber 2006.
"""

import numpy as np

from ..contract import Array
from .layers import _array_module


def ctc(x: Array, states: Array, frames: Array, counts: Array) -> tuple[Array, Array]:
    xp, batch = _array_module(x), x.shape[1]
    loss, alpha = xp.empty(batch, x.dtype), xp.full((batch, len(x), states.shape[1]), -np.inf)
    for n in range(batch):
        labels = states[n, :int(counts[n])]
        ways = xp.full(len(labels), -np.inf)  # of being in each state before the first frame: in the first blank
        ways[0] = 0
        for t in range(int(frames[n])):
            ways = alpha[n, t, :len(labels)] = _one_step(ways, labels) + x[t, n, labels]
        loss[n] = -_one_step(ways, labels)[-1]  # into the last blank, after the last frame
    return loss, alpha


def ctc_grad(gy: Array, x: Array, states: Array, frames: Array, counts: Array, alpha: Array) -> Array:
    xp = _array_module(x)
    gx = xp.zeros_like(x)
    for n in xp.flatnonzero(gy).tolist():
        labels = states[n, :int(counts[n])]
        total = _one_step(alpha[n, int(frames[n]) - 1, :len(labels)], labels)[-1]
        ways = xp.full(len(labels), -np.inf)  # of going on from each state after the last frame: in the last blank
        ways[-1] = 0
        for t in reversed(range(int(frames[n]))):
            beta = _one_step(ways[::-1], labels[::-1])[::-1]
            difference = xp.exp(x[t, n].astype(np.float64))
            xp.subtract.at(difference, labels, xp.exp(alpha[n, t, :len(labels)] + beta - total))
            gx[t, n] = gy[n] * difference
            ways = beta + x[t, n, labels]
    return gx


def _one_step(ways: Array, labels: Array) -> Array:
    """log Σ e^ways over the states from which each state is reached: itself, the one before, the one before that."""
    xp = _array_module(ways)
    before = xp.concatenate([xp.full(2, -np.inf), ways])  # (2 + L)
    jumps = xp.concatenate([xp.full(2, -1), labels])[:-2] != labels  # blank to blank, and label to itself, are equal
    return xp.logaddexp(xp.logaddexp(ways, before[1:-1]), xp.where(jumps, before[:-2], -np.inf))
