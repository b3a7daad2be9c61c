"""Exercise: the backward pass of max pooling, in NumPy.

Forward, every output is the largest number of a window:

    y[n, c, i, j] = max of x[n, c, i·sh : i·sh + kh, j·sw : j·sw + kw]

gy is the gradient of the loss with respect to y. What is that with respect to x? Windows may overlap; of equal numbers
the first one, row by row, is taken for the largest. Check it with:  python -m minicnn.learn pool
"""

import numpy as np


def max_pool2d_backward(gy, x, kernel, stride):
    """The gradient gx, of the shape of x.

    gy (N, C, OH, OW), x (N, C, H, W); kernel (kh, kw) and stride (sh, sw) are rows, then columns.
    """
    # answer
    (kh, kw), (sh, sw) = kernel, stride
    n, c, oh, ow = gy.shape
    gx = np.zeros_like(x)
    for a, b, i, j in np.ndindex(n, c, oh, ow):
        window = x[a, b, i * sh:i * sh + kh, j * sw:j * sw + kw]                     # (kh, kw)
        row, column = divmod(int(window.argmax()), kw)                               # the first of equals
        gx[a, b, i * sh + row, j * sw + column] += gy[a, b, i, j]                    # one may win several windows
    # end of answer
    return gx
