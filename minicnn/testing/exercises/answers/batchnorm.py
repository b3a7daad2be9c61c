"""Exercise: the backward pass of batch normalisation, in NumPy, while training.

Forward, each channel is brought to mean 0 and variance 1, over all images and pixels, then scaled and shifted:

    x̂[n, c, i, j] = (x[n, c, i, j] − mean[c]) / √(var[c] + eps)          y = w[c]·x̂ + b[c]

var is divided by m = N·H·W. gy is the gradient of the loss with respect to y. What are those with respect to x, w and
b? Mind that every x moves mean and var of its channel, too. Check it with:  python -m minicnn.learn batchnorm
"""

import numpy as np


def batch_norm_backward(gy, x, w, eps):
    """The gradients gx, gw and gb.

    gy and x (N, C, H, W), w (C,), eps a number. gx has the shape of x, gw and gb are (C,).
    """
    # answer
    axes = (0, 2, 3)
    m = x.size // x.shape[1]                                                         # N·H·W
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)              # (1, C, 1, 1)
    inv_std = 1 / np.sqrt(var + eps)                                                 # (1, C, 1, 1)
    x_hat = (x - mean) * inv_std                                                     # (N, C, H, W)
    gw, gb = (gy * x_hat).sum(axes), gy.sum(axes)                                    # (C,), (C,)
    through_mean = gb[:, None, None] / m                                             # (C, 1, 1)
    through_var = x_hat * gw[:, None, None] / m                                      # (N, C, H, W)
    gx = w[:, None, None] * inv_std * (gy - through_mean - through_var)              # (N, C, H, W)
    # end of answer
    return gx, gw, gb
