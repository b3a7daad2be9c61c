"""How batch normalisation back-propagates, number by number: why its gradient has three terms, and what each is for."""

# %% The forward pass, of one channel with four values: subtract the mean, divide by the standard deviation.
import numpy as np

import minicnn as mc
from minicnn import explain, nn
from minicnn import functional as F

np.set_printoptions(linewidth=120, precision=4, suppress=True)
eps, m = 1e-5, 4
x = np.array([1.0, 3, 2, 6])  # (4,): a channel has m = N·H·W values; here N = 4 and H = W = 1
w, b = 2.0, 0.5               # the scale and the shift that the layer learns, one of each per channel

mean = x.mean()                          # 3
var = ((x - mean) ** 2).mean()           # 3.5: divided by m, not by m − 1
inv_std = 1 / np.sqrt(var + eps)
x_hat = (x - mean) * inv_std             # (4,): mean 0, standard deviation 1
y = w * x_hat + b                        # (4,)
print(f"x = {x}, mean = {mean:g}, var = {var:g}\nx̂ = {x_hat}\ny = {y}")
assert abs(x_hat.mean()) < 1e-12 and abs(x_hat.std() - 1) < 1e-5

# %% The gradients of scale and shift are easy: y = w·x̂ + b.
gy = np.array([1.0, -2, 0.5, 3])         # (4,): how the loss moves with each output
gw = (gy * x_hat).sum()                  # one number: w met every x̂
gb = gy.sum()                            # one number: b is in every output
print(f"\ngw = Σ gy·x̂ = {gw:.4f}, gb = Σ gy = {gb:g}")

# %% That of x is not, as x reaches y on three ways: by itself, through the mean, and through the variance.
direct = gy                              # (4,): as if mean and variance were constants
through_mean = gb / m                    # a number: raise one x, and the mean rises, and all outputs fall a little
through_var = x_hat * gw / m             # (4,): move one x away from the mean, and all outputs shrink a little
gx = w * inv_std * (direct - through_mean - through_var)
print(f"direct       {direct}\nthrough mean {np.full(4, through_mean)}\nthrough var  {through_var}\ngx           {gx}")

# %% What the two terms are for: y does not change if x is shifted, nor if it is stretched. So gx cannot point there.
assert abs(gx.sum()) < 1e-12             # nothing is gained by shifting all x
assert abs((gx * x_hat).sum()) < 1e-4    # nor by stretching them (but for eps)
print(f"\nΣ gx = {abs(gx.sum()):.1f}, Σ gx·x̂ = {abs((gx * x_hat).sum()):.1e}")

# %% Believe no formula: move each x a little, and see what Σ gy·y does. Leaving a term out is seen at once.
def loss(x: np.ndarray) -> float:
    """Σ gy·y, whose gradient with respect to y is gy."""
    return (gy * (w * (x - x.mean()) / np.sqrt(x.var() + eps) + b)).sum()


h = 1e-6
numeric = np.array([(loss(x + h * e) - loss(x - h * e)) / (2 * h) for e in np.eye(4)])  # (4,)
print("\nby differences                  ", numeric)
print("with all three terms            ", gx)
print("mean and variance for constants ", w * inv_std * direct)
assert np.allclose(gx, numeric, atol=1e-8) and not np.allclose(w * inv_std * direct, numeric, atol=0.1)

# A sum as the loss would have hidden it: with gy = 1 everywhere all of gx is 0, whatever the formula for it is worth.
ones = np.ones(4)
assert np.allclose(w * inv_std * (ones - ones.sum() / m - x_hat * (ones * x_hat).sum() / m), 0)

# %% The library agrees: one channel, four images of one pixel; then three channels of larger images, by numbers alone.
tx = mc.tensor(x.reshape(4, 1), requires_grad=True)                    # (N, C) = (4, 1)
tw, tb = (mc.tensor([v], dtype=mc.float64, requires_grad=True) for v in (w, b))  # (C,) = (1,)
F.batch_norm(tx, None, None, tw, tb, training=True, eps=eps).backward(mc.tensor(gy.reshape(4, 1)))
assert np.allclose(tx.grad.numpy()[:, 0], gx) and np.allclose([tw.grad.item(), tb.grad.item()], [gw, gb])

mc.manual_seed(0)
images = mc.randn(2, 3, 4, 5, dtype=mc.float64, requires_grad=True)    # (N, C, H, W): m = 2·4·5 = 40 per channel
scale, shift = mc.randn(3, dtype=mc.float64, requires_grad=True), mc.randn(3, dtype=mc.float64, requires_grad=True)
assert mc.autograd.gradcheck(lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), (images, scale, shift))
print("\nautograd and numeric differentiation agree")

# %% While testing, the statistics are those that training has collected: constants, and one term is all there is.
layer = nn.BatchNorm1d(1, dtype=mc.float64)
layer(mc.tensor(x.reshape(4, 1)))        # one training step moves them a tenth of the way
print(f"\nrunning mean {layer.running_mean.item():.2f} = 0.9·0 + 0.1·{mean:g}, "
      f"running variance {layer.running_var.item():.4f} = 0.9·1 + 0.1·{var * m / (m - 1):.4f} (divided by m − 1)")
assert np.isclose(layer.running_mean.item(), 0.1 * mean)
assert np.isclose(layer.running_var.item(), 0.9 + 0.1 * var * m / (m - 1))
layer.eval()
tx = mc.tensor(x.reshape(4, 1), requires_grad=True)                    # (4, 1)
layer(tx).backward(mc.tensor(gy.reshape(4, 1)))
assert np.allclose(tx.grad.numpy()[:, 0], gy / np.sqrt(layer.running_var.item() + eps))

# %% And a consequence: the bias of a layer before batch norm is a shift, so its gradient is 0. Leave it out.
linear, norm = nn.Linear(5, 3, dtype=mc.float64), nn.BatchNorm1d(3, dtype=mc.float64)
score = F.cross_entropy(norm(linear(mc.randn(8, 5, dtype=mc.float64))), mc.randint(0, 3, (8,)))
print("\n" + str(explain.gradient(score, linear.bias, tolerance=1e-12, model=linear)))
assert explain.gradient(score, linear.bias, tolerance=1e-12).causes[0].kind == "cancelled"
