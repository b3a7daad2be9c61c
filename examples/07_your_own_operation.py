"""Write an operation of your own, and find out whether its backward is right before a network learns from it."""

# %% An operation is two static methods. This one is log cosh: like x²/2 near 0 and like |x| far away, so a robust loss.
import math
import time

import numpy as np

import minicnn as mc
from minicnn import functional as F
from minicnn import nn, optim, testing


class LogCosh(mc.autograd.Function):
    """y = log cosh x;  gx = gy·tanh x."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)                          # what backward needs, and nothing more: it stays in memory
        return x.abs() + (-2 * x.abs()).exp().log1p() - math.log(2)  # |x| + log(1 + e^−2|x|) − log 2: no overflow

    @staticmethod
    def backward(ctx, gy):                                # the gradient of y in, that of x out: both (N, ...)
        x, = ctx.saved_tensors
        return gy * x.tanh()


x = mc.tensor([-800.0, -1, 0, 2], requires_grad=True)     # (4,)
y = LogCosh.apply(x)                                      # (4,)
y.sum().backward()
print("log cosh", y.detach().numpy(), "\nits slope", x.grad.numpy())
assert np.allclose(x.grad.numpy(), np.tanh(x.detach().numpy()))

# %% Check it. gradcheck needs float64 and values away from kinks; it draws the gradient that comes from above itself.
mc.manual_seed(0)
x = mc.randn(3, 4, dtype=mc.float64, requires_grad=True)  # (3, 4)
assert mc.autograd.gradcheck(LogCosh.apply, (x,))
assert mc.autograd.gradgradcheck(LogCosh.apply, (x,))     # its backward is written with operations: it has one, too
print("\ngradcheck and gradgradcheck: right")


# %% What a mistake looks like: the gradient from above forgotten. Where that is 1, as after sum(), nobody notices.
class Forgetful(LogCosh):
    """gx = tanh x: right for the sum of y alone."""

    @staticmethod
    def backward(ctx, gy):
        x, = ctx.saved_tensors
        return x.tanh()


try:
    mc.autograd.gradcheck(Forgetful.apply, (x,))
    raise AssertionError("a mistake was not found")
except mc.autograd.GradcheckError as error:
    print(f"\n{error}")


# %% The gradcheck of minicnn.testing needs no tolerances, also takes NumPy functions, and knows mistakes by name.
class Doubled(LogCosh):
    """gx = 2·gy·tanh x."""

    @staticmethod
    def backward(ctx, gy):
        x, = ctx.saved_tensors
        return 2 * gy * x.tanh()


report = testing.gradcheck(Doubled.apply, (x,))
print("\n" + str(report))
assert list(report.mistakes) == ["factor 1/2 forgotten"] and testing.gradcheck(LogCosh.apply, (x,))


# %% Two inputs, one of which is broadcast: a scale per channel. It is used N·H·W times, so as many gradients add up.
class Scale(mc.autograd.Function):
    """y[n,c] = x[n,c]·s[c];  gx = gy·s,  gs[c] = Σ gy·x over n, h and w."""

    @staticmethod
    def forward(ctx, x, s):                               # (N, C, H, W), (C,)
        ctx.save_for_backward(x, s)
        return x * s.reshape(1, -1, 1, 1)                 # (N, C, H, W) · (1, C, 1, 1)

    @staticmethod
    def backward(ctx, gy):                                # (N, C, H, W)
        x, s = ctx.saved_tensors
        wants_gx, wants_gs = ctx.needs_input_grad         # what nobody wants need not be computed
        gx = gy * s.reshape(1, -1, 1, 1) if wants_gx else None  # (N, C, H, W)
        gs = (gy * x).sum((0, 2, 3)) if wants_gs else None      # (C,)
        return gx, gs


images = mc.randn(2, 3, 4, 5, dtype=mc.float64, requires_grad=True)  # (N, C, H, W)
s = mc.randn(3, dtype=mc.float64, requires_grad=True)                # (C,)
assert mc.autograd.gradcheck(Scale.apply, (images, s)) and mc.autograd.gradgradcheck(Scale.apply, (images, s))
print("\nScale: right, in both gradients and their gradients")

# %% It is an operation as all others: put it into a layer, and train. Three points in forty lie far off the line.
class ChannelScale(nn.Module):
    """Scale with factors that are learned."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.factors = nn.Parameter(mc.ones(channels))

    def forward(self, x):
        return Scale.apply(x, self.factors)


rng = np.random.default_rng(0)
inputs = rng.standard_normal((40, 2, 1, 1)).astype(np.float32)         # (N, C, H, W) = (40, 2, 1, 1)
true = np.array([2.0, -3.0], np.float32)                               # (C,)
outputs = inputs * true.reshape(1, 2, 1, 1)
outputs[:3] += 100                                                     # the three
started = time.perf_counter()
for name, loss_of in (("squares ", F.mse_loss), ("log cosh", lambda a, b: LogCosh.apply(a - b).mean())):
    layer = ChannelScale(2)
    optimizer = optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        loss_of(layer(mc.tensor(inputs)), mc.tensor(outputs)).backward()
        optimizer.step()
    print(f"{name}: factors {layer.factors.detach().numpy().round(2)}, the true ones are {true}")
assert abs(layer.factors.detach().numpy() - true).max() < 0.3          # log cosh is not led astray
print(f"400 steps in {time.perf_counter() - started:.1f} s")
