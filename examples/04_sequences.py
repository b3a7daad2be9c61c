"""Recurrent networks read and write sequences in five ways, each learned here from data that comes with the library."""

# %% Settings
import sys
from collections.abc import Callable

import minicnn as mc
from minicnn import data, models, nn, optim, training
from minicnn.data import sequences

SMOKE = "--smoke" in sys.argv  # a moment of it, for the tests


def learn(model: nn.Module, logits: Callable, task: Callable, epochs: int, rate: float) -> sequences.SequenceDataset:
    """Train on a task and print how many of the held-out symbols or classes are right; returns the held-out texts.

    logits(x, y) is what the model says about texts x; y, what is right, is there to be read as far as it is known.
    """
    train, held_out = task("train"), task("validation")
    if SMOKE:
        train, epochs = data.Subset(train, range(64)), 1
    loader = data.DataLoader(train, 32, shuffle=True)
    optimizer = optim.Adam(model.parameters(), lr=rate)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * len(loader))
    for epoch in range(epochs):
        for x, y in loader.epoch(epoch):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(logits(x, y), y)  # y = -100 is left out
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # through many steps gradients can explode
            optimizer.step()
            schedule.step()
    with mc.no_grad():
        answers = logits(mc.tensor(held_out.x), mc.tensor(held_out.y)).argmax(1).numpy()
    known = held_out.y != sequences.IGNORED
    print(f"{model.spec.name}, {held_out.name}: {(answers == held_out.y)[known].mean():.1%} right")
    return held_out


# %% Many to one: an image, read row by row. A model of images trains as any other; cell is "rnn", "lstm" or "gru".
mc.manual_seed(0)
digits = [data.load("digits", split) for split in ("train", "validation")]
history = training.fit(models.create("image_rnn", cell="gru"), *digits, epochs=1 if SMOKE else 12, verbose=False)
print(f"image_rnn, digits: {history.history['val_accuracy'][-1]:.1%} right")

# %% Many to one: is a line of a source file code or documentation?
model = models.create("rnn_classifier", 2, cell="gru", width=0.5)
learn(model, lambda x, y: model(x), sequences.code_or_prose, 5, 3e-3)
for line in ("y = x.reshape(n, -1)", "The mean of the rows of x."):
    print(f"  {line} → {('code', 'prose')[model(mc.tensor(sequences.encode([line]))).argmax().item()]}")

# %% In step: where do words begin? Both directions are needed: only what follows tells that "also" goes on after "so".
model = models.create("birnn_tagger", 2, cell="gru", width=0.5)
learn(model, lambda x, y: model(x), sequences.word_starts, 5, 5e-3)
line = "thegradientofthelossissummedoverthebatch"
starts = model(mc.tensor(sequences.encode([line])))[0].argmax(0).numpy()
print(f"  {''.join(' ' * int(start) + letter for letter, start in zip(line, starts, strict=True))}")

# %% Many to many: the encoder reads a sum, the decoder writes the result, ended by a blank.
model = models.create("seq2seq", sequences.SYMBOLS, cell="gru", bidirectional=True)
held_out = learn(model, model, sequences.sums, 12, 5e-3)
written = sequences.decode(model.write(mc.tensor(held_out.x), held_out.y.shape[1]))
right = sum(a == b for a, b in zip(written, sequences.decode(held_out.y), strict=True)) / len(written)
print(f"  whole results: {right:.1%} right, such as {sequences.decode(held_out.x[:1])[0]} = {written[0]}")

# %% One to many: from the end of a line on, the network writes what it takes for documentation.
model = models.create("char_lstm", sequences.SYMBOLS)
learn(model, lambda x, y: model(x)[0], sequences.documentation, 8, 1e-2)
begin = mc.tensor([ord("\n")] * 3)
for text in sequences.decode(model.write(begin, 80, temperature=0.5)):
    print("  " + text.partition("\n")[0])

assert SMOKE or right > 0.9
