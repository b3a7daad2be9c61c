"""How pooling back-propagates, number by number: who won, what overlapping windows do, and what no window sees."""

# %% The forward pass: of every 2×2 window the largest number, and the place where it was.
import numpy as np

import minicnn as mc
from minicnn import explain
from minicnn import functional as F

np.set_printoptions(linewidth=120)
x = np.array([[1.0, 9, 2, 4],
              [3, 5, 8, 6],
              [7, 0, 1, 2],
              [4, 6, 3, 5]])  # (4, 4)


def windows(kernel: int, stride: int) -> list[tuple[int, int, int, int]]:
    """For each output (i, j) also the first row and the first column of its window."""
    n = (4 - kernel) // stride + 1
    return [(i, j, i * stride, j * stride) for i in range(n) for j in range(n)]


def max_pool(kernel: int, stride: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The largest of each window, and the (row, column) of each."""
    n = (4 - kernel) // stride + 1
    y, places = np.empty((n, n)), []
    for i, j, row, column in windows(kernel, stride):
        window = x[row:row + kernel, column:column + kernel]  # (kernel, kernel)
        r, c = divmod(int(window.argmax()), kernel)  # argmax gives the first of equals
        y[i, j] = window[r, c]
        places.append((row + r, column + c))
    return y, places


y, winners = max_pool(2, 2)  # (2, 2), and four places
print("image (4, 4)\n", x, "\n\nmaxima of 2×2 windows, stride 2 (2, 2)\n", y, "\n\nand where they were\n", winners)

# %% The backward pass: y[i, j] is x at one place, so its gradient goes to that place, and nowhere else.
gy = np.array([[1.0, -2], [3, 0.5]])  # (2, 2): how the loss moves with each output
gx = np.zeros((4, 4))
for (i, j, _, _), place in zip(windows(2, 2), winners, strict=True):
    gx[place] += gy[i, j]
print("\ngx: each gradient where its maximum was, 0 for all that lost\n", gx)
assert np.count_nonzero(gx) == 4 and gx.sum() == gy.sum()

# %% Windows that overlap: 3×3 with stride 1. A number can win several of them, and then gets all their gradients.
y3, winners3 = max_pool(3, 1)  # (2, 2)
gx3 = np.zeros((4, 4))
for (i, j, _, _), place in zip(windows(3, 1), winners3, strict=True):
    gx3[place] += gy[i, j]  # += and not =: that is the most common mistake here
print("\n3×3, stride 1: maxima\n", y3, "\nwho won\n", winners3, "\ngx\n", gx3)
assert winners3 == [(0, 1), (0, 1), (1, 2), (1, 2)] and gx3[0, 1] == 1 - 2 and gx3[1, 2] == 3 + 0.5

# %% The mean of a window instead: every element has a share of 1/4, won or lost.
mean = np.empty((2, 2))
gx_mean = np.zeros((4, 4))
for i, j, row, column in windows(2, 2):
    mean[i, j] = x[row:row + 2, column:column + 2].sum() / 4
    gx_mean[row:row + 2, column:column + 2] += gy[i, j] / 4  # (2, 2)
print("\nmeans of 2×2 windows\n", mean, "\ngx\n", gx_mean)
assert np.isclose((gy * mean).sum(), (gx_mean * x).sum())  # ⟨gy, pool(x)⟩ = ⟨gx, x⟩: backward is the adjoint

# %% The library agrees, and so does plain arithmetic.
image, upstream = mc.tensor(x.reshape(1, 1, 4, 4)), mc.tensor(gy.reshape(1, 1, 2, 2))  # (N, C, H, W)
for pool, expected in ((lambda t: F.max_pool2d(t, 2), gx), (lambda t: F.max_pool2d(t, 3, stride=1), gx3),
                       (lambda t: F.avg_pool2d(t, 2), gx_mean)):
    t = image.clone().requires_grad_()  # (1, 1, 4, 4)
    pool(t).backward(upstream)
    assert np.array_equal(t.grad.numpy()[0, 0], expected)
    assert mc.autograd.gradcheck(pool, (t,))
print("\nautograd and numeric differentiation agree")

# %% Equal numbers: the derivative does not exist, and it is a convention who gets the gradient. Here the first does.
ties = mc.ones(1, 1, 2, 2, dtype=mc.float64, requires_grad=True)  # (1, 1, 2, 2)
F.max_pool2d(ties, 2).sum().backward()
print("\nfour equal numbers: gx\n", ties.grad.numpy()[0, 0])
assert ties.grad.numpy().tolist() == [[[[1, 0], [0, 0]]]]

# %% Why is a gradient zero? Two reasons that pooling has: another element won, or no window looks there.
t = image.clone().requires_grad_()
y = F.max_pool2d(t, 3, stride=2).sum()  # one window: row 3 and column 3 are left over
print()
for place in ((0, 0, 0, 0), (0, 0, 3, 3)):
    print(explain.gradient(y, t, place))
assert explain.gradient(y, t, (0, 0, 0, 0)).causes[0].kind == "lost maximum"
assert explain.gradient(y, t, (0, 0, 3, 3)).causes[0].kind == "uncovered"
