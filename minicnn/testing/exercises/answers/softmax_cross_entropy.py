"""Exercise: cross entropy from logits, and its backward pass, in NumPy.

    p[n, k] = e^x[n, k] / Σ over j of e^x[n, j]          loss = −(1/N) Σ over n of log p[n, target[n]]

Logits may be large: e^1000 is infinite, but the loss is not. What is the gradient of the loss with respect to x? It is
simpler than it looks. Check it with:  python -m minicnn.learn softmax-cross-entropy
"""

import numpy as np


def cross_entropy(x, target):
    """The loss, one number, and the gradient gx, of the shape of x.

    x (N, K), target (N,) with class numbers 0 … K − 1.
    """
    # answer
    rows = np.arange(len(x))
    shifted = x - x.max(1, keepdims=True)                                            # (N, K): the same p, no overflow
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))                  # (N, K)
    loss = -log_p[rows, target].mean()
    gx = np.exp(log_p)                                                               # (N, K): what is predicted ...
    gx[rows, target] -= 1                                                            # ... minus what is true
    gx /= len(x)                                                                     # the mean is over N
    # end of answer
    return loss, gx
