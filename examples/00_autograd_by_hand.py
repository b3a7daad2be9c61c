"""What autograd does, by hand: the chain rule on numbers, thirty lines that automate it, and the same with arrays.

The walk-through goes on with 02 (convolution), 05 (pooling), 06 (batch norm), 07 (an operation of your own), then 01
(train a network) and 03 (look inside it). Exercises to go with it: python -m minicnn.learn
"""

# %% A loss made of four steps. Every step is something whose derivative everybody knows.
import numpy as np

import minicnn as mc
from minicnn import explain
from minicnn import functional as F

w, x, b, target = 3.0, 2.0, -1.0, 1.0
p = w * x  # 6
y = p + b  # 5
e = y - target  # 4
loss = e * e  # 16
print(f"forward:  p = w·x = {p:g}, y = p + b = {y:g}, e = y − target = {e:g}, loss = e² = {loss:g}")

# %% The chain rule, from the loss backwards. g... is d loss / d ..., and each line uses the line above it.
ge = 2 * e  # 8: the derivative of e² is 2e
gy = ge * 1  # 8: e grows as y does
gp = gy * 1  # 8: y grows as p does
gb = gy * 1  # 8: and as b does
gw = gp * x  # 16: p = w·x grows x times as fast as w
gx = gp * w  # 24: and w times as fast as x
print(f"backward: ge = {ge:g}, gy = {gy:g}, gp = {gp:g}, gb = {gb:g}, gw = {gw:g}, gx = {gx:g}")

h = 1e-6  # nobody has to believe that: move w a little, and look at the loss
nudged = ((w + h) * x + b - target) ** 2
print(f"          (loss(w + h) − loss(w)) / h = {(nudged - loss) / h:.4f}, and gw = {gw:g}")
assert abs((nudged - loss) / h - gw) < 1e-3


# %% The same, automated. A number remembers what it was made of, and how to hand a gradient on to that.
class Number:
    """A value, its gradient, and for each number it was made of the local derivative."""

    def __init__(self, value: float, made_of: tuple = ()) -> None:
        self.value, self.made_of, self.gradient = value, made_of, 0.0

    def __add__(self, other: "Number") -> "Number":
        return Number(self.value + other.value, ((self, 1.0), (other, 1.0)))

    def __mul__(self, other: "Number") -> "Number":
        return Number(self.value * other.value, ((self, other.value), (other, self.value)))

    def backward(self) -> None:
        """Visit every number after all that were made of it, and pass its gradient on."""
        order: list[Number] = []

        def visit(number: Number) -> None:
            if number not in order:
                for source, _ in number.made_of:
                    visit(source)
                order.append(number)

        visit(self)
        self.gradient = 1.0
        for number in reversed(order):
            for source, slope in number.made_of:
                source.gradient += number.gradient * slope  # +=: who is used twice gets two gradients


nw, nx, nb, minus_target = Number(w), Number(x), Number(b), Number(-target)
error = nw * nx + nb + minus_target
(error * error).backward()  # here the same number is used twice: e·e
print(f"thirty lines of autograd: gw = {nw.gradient:g}, gx = {nx.gradient:g}, gb = {nb.gradient:g}")
assert (nw.gradient, nx.gradient, nb.gradient) == (gw, gx, gb)

# %% With arrays it is the same, an operation at a time: a linear layer, relu, and the mean of the squares.
rng = np.random.default_rng(0)
X = rng.standard_normal((5, 3))  # (5, 3): five samples of three features
W = rng.standard_normal((2, 3))  # (2, 3): two outputs
B = rng.standard_normal(2)       # (2,): added to every row, so it is used five times

Z = X @ W.T + B                  # (5, 3) @ (3, 2) + (2,) → (5, 2)
A = np.maximum(Z, 0)             # (5, 2)
L = (A ** 2).mean()              # one number: the sum over ten, divided by ten

gA = 2 * A / A.size              # (5, 2): of the mean of squares
gZ = gA * (Z > 0)                # (5, 2): relu lets through where it let the value through
gW = gZ.T @ X                    # (2, 5) @ (5, 3) → (2, 3), the shape of W
gX = gZ @ W                      # (5, 2) @ (2, 3) → (5, 3), the shape of X
gB = gZ.sum(0)                   # (2,): used five times, so five gradients are added
print("\ngW by hand, (2, 3), the shape of W\n", gW.round(4))
for array, gradient in ((W, gW), (X, gX), (B, gB)):
    assert array.shape == gradient.shape  # always: a gradient says for each element how the loss moves with it

# %% The library does nothing else. Its operations are in minicnn/ops, one class each, forward and backward together.
tX, tW, tB = (mc.tensor(a, requires_grad=True) for a in (X, W, B))
(F.relu(F.linear(tX, tW, tB)) ** 2).mean().backward()
for tensor, gradient in ((tX, gX), (tW, gW), (tB, gB)):
    assert np.allclose(tensor.grad.numpy(), gradient, rtol=1e-12)
print("minicnn has the same gW, gX and gB")

# %% Two things that surprise everybody once. Gradients add up until they are cleared, ...
once = tW.grad.numpy().copy()
(F.relu(F.linear(tX, tW, tB)) ** 2).mean().backward()
assert np.allclose(tW.grad.numpy(), 2 * once)
print("after a second backward W.grad is twice as large: optimizer.zero_grad() goes before every backward")

# ... and a gradient that is zero has a reason, which can be asked for.
i, j = map(int, np.argwhere(Z < 0)[0])  # an output that relu cuts off
y = F.relu(F.linear(tX[i:i + 1], tW, tB))  # (1, 2), of this one sample
report = explain.gradient(y[0, j], tB, j)
print(report)
assert [cause.kind for cause in report.causes] == ["dead relu"]
