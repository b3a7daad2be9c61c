"""Look inside a LeNet: a digit, what the first layer makes of it, and which pixels its answer depends on.

    python examples/03_look_inside.py            draws picture.png (needs matplotlib)
"""

# %% Settings
import sys

import matplotlib

import minicnn as mc
from minicnn import data, models, training

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  the backend has to be chosen first

SMOKE = "--smoke" in sys.argv

# %% A trained network, in one call.
mc.manual_seed(0)
train, validation = data.load("digits", "train"), data.load("digits", "validation")
model = models.create("lenet")
training.fit(model, train, validation, init="xavier", epochs=1 if SMOKE else 20, verbose=False)
model.eval()

# %% A forward hook keeps what the first layer puts out.
kept = {}
model.conv1.register_forward_hook(lambda module, inputs, output: kept.update(maps=output))
number = 7
prepare = data.transforms.Normalize(train.mean, train.std)
image = mc.tensor(prepare(validation.images[number:number + 1])).requires_grad_()
scores = model(image)
answer = scores.argmax().item()
scores[0, answer].backward()

# %% Draw the digit, the six feature maps, and the gradient of the answer's score with respect to every pixel.
figure, axes = plt.subplots(1, 8, figsize=(12, 1.9), layout="constrained")
axes[0].imshow(validation.images[number, 0], cmap="gray_r")
axes[0].set_title(f"a {validation.labels[number]}", fontsize=9)
for i in range(6):
    axes[1 + i].imshow(kept["maps"].detach().numpy()[0, i], cmap="magma")
    axes[1 + i].set_title(f"conv1, map {i + 1}", fontsize=9)
gradient = image.grad.numpy()[0, 0]
limit = abs(gradient).max()
axes[7].imshow(gradient, cmap="RdBu", vmin=-limit, vmax=limit)
axes[7].set_title(f"d score({answer}) / d pixel", fontsize=9)
for axis in axes:
    axis.set_axis_off()
figure.savefig("picture.png", dpi=110)
print(f"seen as a {answer}; picture.png")
