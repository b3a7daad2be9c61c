"""Exercise: the backward pass of convolution, in NumPy.

Forward, every output is a window of the padded image times a kernel (cross-correlation, as in every library):

    y[n, o, i, j] = b[o] + Σ over c, k, l of xp[n, c, i·sh + k, j·sw + l] · w[o, c, k, l]

where xp is x with ph rows and pw columns of zeros on each side. gy is the gradient of the loss with respect to y. What
are those with respect to x, w and b? Six loops are fine; so is im2col. Check it with:
    python -m minicnn.learn conv-backward
"""

import numpy as np


def conv2d_backward(gy, x, w, stride, padding):
    """The gradients gx, gw and gb.

    gy (N, O, OH, OW), x (N, C, H, W), w (O, C, KH, KW); stride (sh, sw) and padding (ph, pw) are rows, then columns.
    gx has the shape of x, gw that of w, gb is (O,).
    """
    # answer
    (sh, sw), (ph, pw) = stride, padding
    (_, _, oh, ow), (_, _, h, width), (_, _, kh, kw) = gy.shape, x.shape, w.shape
    xp = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))                             # (N, C, H + 2·ph, W + 2·pw)
    gxp, gw = np.zeros_like(xp), np.zeros_like(w)
    for i in range(oh):
        for j in range(ow):
            window = (slice(None), slice(None), slice(i * sh, i * sh + kh), slice(j * sw, j * sw + kw))
            g = gy[:, :, i, j]                                                       # (N, O)
            gw += np.tensordot(g, xp[window], (0, 0))                                # (O, C, KH, KW)
            gxp[window] += np.tensordot(g, w, 1)                                     # (N, C, KH, KW): windows add up
    gx = gxp[:, :, ph:ph + h, pw:pw + width]                                         # the padding gets none
    gb = gy.sum((0, 2, 3))                                                           # b[o] is in every output of o
    # end of answer
    return gx, gw, gb
