"""How convolution back-propagates, number by number: a 4×4 image, a 3×3 kernel, stride 1, no padding."""

# %% The forward pass: every 3×3 window becomes a column, and the convolution is a matrix product.
import numpy as np

import minicnn as mc
from minicnn.backend import Geometry
from minicnn.functional import conv2d
from minicnn.kernels import reference

np.set_printoptions(linewidth=120)
x = np.arange(1.0, 17).reshape(1, 1, 4, 4)
w = np.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]).reshape(1, 1, 3, 3)  # Sobel's: differences from left to right
geometry = Geometry()

cols = reference.im2col(x, (3, 3), geometry)[0]  # (9, 4): nine numbers per window, four windows
y = w.reshape(1, 9) @ cols  # (1, 4)
print("image\n", x[0, 0], "\n\ncols = im2col(x), one window per column\n", cols, "\n\ny = W @ cols\n", y.reshape(2, 2))

# %% The backward pass starts from gy, the gradient of the loss with respect to each of the four outputs.
gy = np.array([[1.0, -2, 3, 0.5]])  # (1, 4)

# %% Gradient of the kernel. y = W @ cols, so each weight met the whole row of cols that it was multiplied with.
gw = gy @ cols.T  # (1, 9)
print("\ngw = gy @ cols.T\n", gw.reshape(3, 3))

# %% Gradient of the image. First of the columns; then each number of each column goes back to the pixel it came from.
gcols = w.reshape(9, 1) @ gy  # (9, 4)
gx = reference.col2im(gcols[None], x.shape, (3, 3), geometry)
print("\ngcols = W.T @ gy\n", gcols)
print("\ngx = col2im(gcols): where windows overlap, their gradients add up\n", gx[0, 0])

counts = reference.col2im(np.ones((1, 9, 4)), x.shape, (3, 3), geometry)
print("\nhow many windows each pixel is in\n", counts[0, 0])

# %% The same gradient as a convolution: gy, padded by two zeros all round, with the kernel turned by 180°.
turned = reference.conv2d(gy.reshape(1, 1, 2, 2), w[:, :, ::-1, ::-1], None, Geometry(padding=((2, 2), (2, 2))))
print("\nthe turned kernel over the padded gy gives the same gx:", np.array_equal(turned, gx))

# %% The library agrees, and so does plain arithmetic: change one input a little and see what the loss does.
tx, tw = mc.tensor(x, requires_grad=True), mc.tensor(w, requires_grad=True)
conv2d(tx, tw).backward(mc.tensor(gy.reshape(1, 1, 2, 2)))
assert np.array_equal(tx.grad.numpy(), gx) and np.array_equal(turned, gx)
assert np.array_equal(tw.grad.numpy(), gw.reshape(w.shape))
assert mc.autograd.gradcheck(conv2d, (tx, tw))
print("autograd and numeric differentiation agree")
