"""Exercise: dropout and its backward pass, in NumPy.

While training, each element is dropped (set to 0) with probability p, and what is kept is scaled up so that the mean
stays what it was. While testing nothing happens. Which elements are kept has been drawn for you: mask is True there.
gy is the gradient of the loss with respect to y. Check it with:  python -m minicnn.learn dropout
"""

import numpy as np


def dropout(x, gy, mask, p, training):
    """The output y and the gradient gx; x, gy and mask have one shape, and y and gx have it, too."""
    # answer
    if training:
        scale = np.where(mask, 1 / (1 - p), 0.0)                                     # the same for x and for gy
        y, gx = x * scale, gy * scale
    else:
        y, gx = x, gy
    # end of answer
    return y, gx
