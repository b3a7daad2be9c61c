"""Train LeNet on the bundled digits, from Python: the loop that `python -m minicnn.train lenet` runs for you."""

# %% Settings
import sys

import minicnn as mc
from minicnn import data, models, nn, optim
from minicnn.data import transforms

SMOKE = "--smoke" in sys.argv  # a moment of it, for the tests
EPOCHS, BATCH, RATE = (1 if SMOKE else 20), 64, 3e-3
mc.manual_seed(0)

# %% Data: 1,797 scans of handwritten digits, uint8 (N, 1, 28, 28). Batches come shuffled by (seed, epoch) alone.
train, validation = data.load("digits", "train"), data.load("digits", "validation")
prepare = transforms.Compose([transforms.ToFloat(), transforms.Normalize(train.mean, train.std)])
loader = data.DataLoader(train, BATCH, shuffle=True, seed=0, transform=prepare)
checks = data.DataLoader(validation, 256, transform=prepare)

# %% Model: it returns logits; the softmax is part of the loss.
model = models.create("lenet")
optimizer = optim.Adam(model.parameters(), lr=RATE)

# %% The loop
for epoch in range(EPOCHS):
    model.train()
    total = 0.0
    for x, target in loader.epoch(epoch):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)

    model.eval()
    with mc.no_grad():
        right = sum((model(x).argmax(1) == target).sum().item() for x, target in checks)
    print(f"epoch {epoch + 1:2}  loss {total / len(train):.4f}  validation accuracy {right / len(validation):.1%}")

# %% What it learned: the gradient of a class score with respect to the picture says which pixels matter.
picture = mc.tensor(prepare(validation.images[:1])).requires_grad_()
scores = model(picture)
scores[0, scores.argmax().item()].backward()
row, column = divmod(picture.grad.abs().argmax().item(), 28)
print(f"a {validation.labels[0]}, seen as a {scores.argmax().item()}; most important pixel: row {row}, column {column}")
assert SMOKE or right / len(validation) > 0.95
