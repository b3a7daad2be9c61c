"""Recurrent networks: equal to PyTorch's layers in every way of reading and writing; each learns its task; errors."""

import re

import numpy as np
import pytest
import torch
from models_util import EXACT, copy_weights, near
from test_commands import minicnn

import minicnn as mc
from minicnn import data, models, nn, optim, training
from minicnn.data import sequences
from minicnn.data.sequences import IGNORED, SequenceDataset, decode, encode

F = nn.functional
TEXT_MODELS = ("birnn_tagger", "char_lstm", "rnn_classifier", "seq2seq")
LAYERS = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
V, K, H = 7, 5, 6  # symbols read, classes or symbols written, width


# -- twins in PyTorch -----------------------------------------------------------------------------------------------

class Twin(torch.nn.Module):
    """The network of a name, one text at a time, without padding or packing; parameters in the same order."""

    def __init__(self, name: str, cell: str, layers: int, both: bool) -> None:
        super().__init__()
        self.name, self.cell, self.layers, width = name, cell, layers, H * (1 + both)
        image = name == "image_rnn"
        if not image:
            self.embedding = torch.nn.Embedding(V, H)
        self.rnn = LAYERS[cell](28 * 2 if image else H, H, layers, bidirectional=both, batch_first=True)
        if name == "seq2seq":
            self.embedding2 = torch.nn.Embedding(K, width)
            self.rnn2 = LAYERS[cell](width, width, layers, batch_first=True)
        self.fc = torch.nn.Linear(width, K)

    def end(self, state: torch.Tensor) -> torch.Tensor:
        """(layers·D, 1, H) → (layers, 1, D·H), by hand."""
        d = len(state) // self.layers
        return torch.stack([torch.cat([state[layer * d + k] for k in range(d)], 1) for layer in range(self.layers)])

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        if self.name == "image_rnn":
            rows = torch.stack([torch.cat([channel[i] for channel in x[0]]) for i in range(x.shape[2])])
            outputs, state = self.rnn(rows[None])
        else:
            outputs, state = self.rnn(self.embedding(x))
        pair = state if self.cell == "lstm" else (state,)
        if self.name in ("rnn_classifier", "image_rnn"):
            return self.fc(self.end(pair[0])[-1])
        if self.name == "seq2seq":
            pair = tuple(map(self.end, pair))
            before = torch.tensor([[0, *y[0, :-1].tolist()]])
            outputs, _ = self.rnn2(self.embedding2(before), pair if self.cell == "lstm" else pair[0])
        return self.fc(outputs).transpose(1, 2)


def twins(name: str, cell: str, layers: int, both: bool):
    options = {} if name == "char_lstm" else {"bidirectional": both}
    symbols = {"image_rnn": 2}.get(name, V)
    ours = models.create(name, K, symbols, cell=cell, width=H / 128, layers=layers, **options).double()
    theirs = Twin(name, cell, layers, both).double()
    copy_weights(ours, theirs)
    return ours, theirs


def logits_of(name: str, model: nn.Module, x: mc.Tensor, y: mc.Tensor) -> mc.Tensor:
    """What a model says about x; seq2seq is told y as far as it has come, char_lstm returns its state, too."""
    logits = model(x, y) if name == "seq2seq" else model(x)
    return logits[0] if name == "char_lstm" else logits


def batch(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Texts of 5, 1, 3 and 0 symbols, or images that are not square, and targets; those of padding are IGNORED."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, V, (4, 5)) * (np.arange(5) < np.array([[5], [1], [3], [0]]))
    if name == "image_rnn":
        x = rng.standard_normal((4, 2, 9, 28))
    if name in ("image_rnn", "rnn_classifier"):
        return x, rng.integers(0, K, 4)
    if name == "birnn_tagger":
        return x, np.where(x == 0, IGNORED, rng.integers(0, K, (4, 5)))
    return x, rng.integers(0, K, (4, 3 if name == "seq2seq" else 5))


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize("name, both", [(name, both) for name in (*TEXT_MODELS, "image_rnn") for both in (False, True)
                                        if not (name == "char_lstm" and both)])  # it writes, in one direction
def test_equals_pytorch(name, cell, layers, both):
    """Logits, loss and the gradient of every parameter equal those of a twin that reads text by text, unpadded."""
    ours, theirs = twins(name, cell, layers, both)
    x, y = batch(name)
    logits = logits_of(name, ours, mc.tensor(x), mc.tensor(y))
    loss = F.cross_entropy(logits, mc.tensor(y), reduction="sum")
    loss.backward()
    losses = []
    for i, (text, target) in enumerate(zip(x, y, strict=True)):
        if name in ("rnn_classifier", "birnn_tagger", "seq2seq"):
            text = text[:max(1, np.count_nonzero(text))]  # an empty text is one blank
        if name == "birnn_tagger":
            target = target[:len(text)]
        expected = theirs(torch.from_numpy(text[None]), torch.from_numpy(target[None]) if target.ndim else None)
        found = logits[i:i + 1, :, :len(text)] if name == "birnn_tagger" else logits[i:i + 1]
        near(found, expected, EXACT, f"text {i}")
        target = torch.from_numpy(np.asarray(target)[None])
        losses.append(torch.nn.functional.cross_entropy(expected, target, reduction="sum"))
    reference = sum(losses)
    near(loss, reference, EXACT, "loss")
    reference.backward()
    for (path, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert q.grad.abs().max() > 0, f"{path} gets no gradient"
        near(p.grad, q.grad, EXACT, f"gradient of {path}")


# -- writing --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("cell", LAYERS)
def test_writing_reads_each_symbol_before_it_chooses_the_next(cell):
    """Step by step with the state equals reading all that was written so far, again and again."""
    model = models.create("char_lstm", V, V, cell=cell, width=H / 128, layers=2).double()
    nn.init.normal_(model.fc.weight, std=3.0)
    written = model.write(mc.tensor([1, 4]), 6)
    text = [[1], [4]]
    for _ in range(6):
        likeliest = model(mc.tensor(text))[0].data[:, :, -1].argmax(1)
        text = [row + [int(symbol)] for row, symbol in zip(text, likeliest, strict=True)]
    assert written.dtype == mc.int64 and written.tolist() == [row[1:] for row in text]
    assert not written.requires_grad


def test_reading_in_two_parts_equals_reading_at_once():
    model = models.create("char_lstm", V, V, width=H / 128).double()
    x = mc.tensor(batch("char_lstm")[0])
    logits, _ = model(x)
    first, state = model(x[:, :2])
    rest, _ = model(x[:, 2:], state)
    np.testing.assert_allclose(np.concatenate([first.data, rest.data], 2), logits.data, atol=1e-12)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("cell", LAYERS)
def test_what_seq2seq_writes_are_its_likeliest_symbols_when_it_is_told_them(cell, both):
    model = models.create("seq2seq", K, V, cell=cell, width=H / 128, layers=2, bidirectional=both)
    for p in model.parameters():
        nn.init.normal_(p, std=1.5)
    x = mc.tensor(batch("seq2seq")[0])
    written = model.write(x, 6)
    assert written.shape == (4, 6) and len(set(written.ravel().tolist())) > 1
    assert model(x, written).argmax(1).tolist() == written.tolist()


def test_temperature_draws_from_the_softmax():
    model = models.create("char_lstm", 3, 3, width=H / 128)
    for p in model.parameters():
        nn.init.zeros_(p)
    logits = np.array([0.0, 1.0, -np.inf])
    model.fc.bias.data[...] = logits
    drawn = model.write(mc.zeros(4000, dtype=mc.int64), 2, temperature=2.0).numpy()
    share = np.bincount(drawn.ravel(), minlength=3) / drawn.size
    expected = np.exp(logits / 2) / np.exp(logits / 2).sum()
    np.testing.assert_allclose(share, expected, atol=0.02)
    assert share[2] == 0
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.05
    assert set(model.write(mc.zeros(9, dtype=mc.int64), 2).ravel().tolist()) == {1}


# -- each learns its task -------------------------------------------------------------------------------------------

def learn(model: nn.Module, task, epochs: int, rate: float) -> float:
    """Train, and return the fraction of the held-out symbols or classes that are right."""
    name, train, held_out = model.spec.name, task("train"), task("validation")
    loader = data.DataLoader(train, 32, shuffle=True)
    optimizer = optim.Adam(model.parameters(), lr=rate)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * len(loader))
    for epoch in range(epochs):
        for x, y in loader.epoch(epoch):
            optimizer.zero_grad()
            F.cross_entropy(logits_of(name, model, x, y), y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    with mc.no_grad():
        answers = logits_of(name, model, mc.tensor(held_out.x), mc.tensor(held_out.y)).argmax(1).numpy()
    return (answers == held_out.y)[held_out.y != IGNORED].mean()


def test_image_rnn_learns_to_read_digits_by_rows():
    train, val = (data.load("digits", split) for split in ("train", "validation"))
    history = training.fit(models.create("image_rnn", cell="gru", width=1 / 2), train, val, epochs=8, verbose=False)
    assert history.history["val_accuracy"][-1] > 0.9


def test_rnn_classifier_learns_to_tell_code_from_prose():
    model = models.create("rnn_classifier", 2, cell="gru", width=1 / 2)
    assert learn(model, sequences.code_or_prose, 4, 3e-3) > 0.9


def test_tagger_learns_where_words_begin_and_needs_both_directions():
    errors = []
    for both in (True, False):
        mc.manual_seed(0)
        model = models.create("birnn_tagger", 2, cell="gru", width=1 / 2, bidirectional=both)
        errors.append(1 - learn(model, sequences.word_starts, 5, 5e-3))
    assert errors[0] < 0.07 and errors[0] < 0.8 * errors[1]


def test_char_lstm_learns_to_continue_documentation():
    """Always saying what is most frequent, a space, would be right in one case of seven."""
    model = models.create("char_lstm", sequences.SYMBOLS, width=1 / 2)
    assert learn(model, sequences.documentation, 3, 1e-2) > 0.28


@pytest.mark.thorough
def test_seq2seq_learns_to_add():
    """Whole sums that it has not seen; there is no other way than to add."""
    model = models.create("seq2seq", sequences.SYMBOLS, cell="gru", width=3 / 4, bidirectional=True)
    learn(model, sequences.sums, 10, 7e-3)
    held_out = sequences.sums("validation")
    written = model.write(mc.tensor(held_out.x), held_out.y.shape[1]).numpy()
    assert (written == held_out.y).all(1).mean() > 0.75


# -- the tasks ------------------------------------------------------------------------------------------------------

TASKS = {task.__name__: task for task in (sequences.documentation, sequences.code_or_prose, sequences.sums,
                                          sequences.word_starts)}


@pytest.mark.parametrize("name", TASKS)
def test_tasks_are_the_same_every_time_and_hold_out_a_fifth(name):
    train, held_out = (TASKS[name](split) for split in ("train", "validation"))
    again = TASKS[name]("train")
    assert isinstance(train, SequenceDataset) and train.name == name and held_out.split == "validation"
    assert (train.x == again.x).all() and (train.y == again.y).all()
    assert train.x.dtype == train.y.dtype == np.int64
    assert 0 <= train.x.min() and train.x.max() < sequences.SYMBOLS
    assert 3.8 < len(train) / len(held_out) < 4.2 and len(train) > 500
    assert not {row.tobytes() for row in train.x} & {row.tobytes() for row in held_out.x} or name != "sums"
    with pytest.raises(ValueError, match="split 'test' is unknown"):
        TASKS[name]("test")
    assert f"{name} train: {len(train)} texts" in repr(train)


def test_texts_and_symbols():
    texts = ["a", "", "×½ and more"]
    assert (decode(encode(texts)) == texts) and encode(texts).shape == (3, 13)
    assert encode(texts, 3).tolist() == [[97, 0, 0], [0, 0, 0], [0xC3, 0x97, 0xC2]]
    assert decode(encode(texts, 3)) == ["a", "", "×�"]  # cut inside a letter
    assert encode([]).shape == (0, 0)
    assert decode(np.array([[104, 105, 0, 120]])) == ["hi"]


def test_documentation_is_shifted_by_one():
    piece = sequences.documentation("train", length=40)
    assert (piece.x[:, 1:] == piece.y[:, :-1]).all() and (piece.x > 0).all()
    assert piece.y[0, -1] == piece.x[1, 0]  # pieces 0 and 1 are neighbours


def test_code_is_code_and_prose_is_not():
    part = sequences.code_or_prose("train", 200)
    texts = np.array(decode(part.x))
    counts = np.bincount(part.y)
    assert part.classes == ["code", "prose"] and counts[0] == counts[1]
    statements = np.char.startswith(texts, "return ") | np.char.startswith(texts, "def ")
    assert statements[part.y == 0].mean() > 0.1 > 0.02 > statements[part.y == 1].mean()
    assert len(set(texts.tolist())) == len(texts)


def test_sums_are_right():
    for split in ("train", "validation"):
        part = sequences.sums(split)
        for question, answer in zip(decode(part.x), decode(part.y), strict=True):
            assert sum(map(int, question.split("+"))) == int(answer)
        assert (part.y[:, -1] == 0).all()  # the end has room
    assert sequences.sums("train", 50, digits=1).x.shape == (40, 3)
    with pytest.raises(ValueError, match="sums: number = 101 must be 1 to 100, all sums of 1 digits"):
        sequences.sums("train", 101, digits=1)


def test_word_starts_restore_the_lines():
    part = sequences.word_starts("train", length=400)
    assert set(np.unique(part.y)) == {IGNORED, 0, 1} and ((part.y == IGNORED) == (part.x == 0)).all()
    words = [np.split(row[row > 0], np.flatnonzero(tags == 1)[1:]) for row, tags in zip(part.x, part.y, strict=True)]
    lines = [" ".join(bytes(word.tolist()).decode() for word in line) for line in words]
    known = set(sequences._library()[0])
    assert set(lines) <= {" ".join(line.split()) for line in known} and (part.y[:, 0] == 1).all()


# -- the registry and the commands ----------------------------------------------------------------------------------

@pytest.mark.parametrize("name", [*TEXT_MODELS, "image_rnn"])
def test_in_the_registry(name, tmp_path):
    """Listed, made with the defaults, saved and loaded again."""
    assert name in models.list() and models.entry(name).reads_images == (name == "image_rnn")
    model = models.create(name, cell="gru", width=1 / 16)
    training.save(model, tmp_path / "model.safetensors")
    again = training.load(tmp_path / "model.safetensors")
    assert again.spec == model.spec and again.spec.options == {"cell": "gru", "width": 1 / 16}
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert (a.data == b.data).all()


def test_options_that_make_no_sense():
    for name in (*TEXT_MODELS, "image_rnn"):
        with pytest.raises(ValueError, match="cell 'elman' is unknown; use 'rnn', 'lstm', 'gru'"):
            models.create(name, cell="elman")
        with pytest.raises(ValueError, match=f"{name}: width = 0.001 leaves nothing of 128 channels"):
            models.create(name, width=0.001)
        with pytest.raises(ValueError, match="gru: layers = 0 must be"):
            models.create(name, cell="gru", layers=0)
    with pytest.raises(ValueError, match="num_classes = 9 must not exceed in_channels = 8: it reads what it writes"):
        models.create("char_lstm", 9, 8)
    with pytest.raises(TypeError, match="no option 'bidirectional'"):
        models.create("char_lstm", bidirectional=True)


def test_inputs_that_make_no_sense():
    model = models.create("rnn_classifier", 2, 8, width=1 / 32)
    for x in (mc.zeros(2, 3), mc.zeros(2, 1, 28, 28), mc.zeros(2, dtype=mc.int64)):
        with pytest.raises(ValueError, match="x must be symbols, whole numbers"):
            model(x)
    with pytest.raises(IndexError, match="rows 0 to 7"):
        model(mc.tensor([[8]]))
    for arguments in ({"steps": 0}, {"steps": 1, "temperature": -1.0}):
        with pytest.raises(ValueError, match="write: steps = "):
            models.create("char_lstm", 8, 8, width=1 / 32).write(mc.tensor([1]), **arguments)
    image = models.create("image_rnn", width=1 / 32)
    assert image(mc.zeros(0, 1, 28, 28)).shape == (0, 10) and image(mc.zeros(1, 1, 5, 28)).shape == (1, 10)
    for shape, message in {
            (2, 1, 32, 27): "images of 1×32×27 do not fit: 32 rows of 1·27 = 27, but rnn expects 28; sizes that fit: "
                            "28 wide and of any height, for example with the transform Resize((28, 28))",
            (2, 3, 28, 28): "images of 3×28×28 do not fit: create the model with in_channels=3, or convert the images "
                            "to 1 channel",
            (2, 28, 28, 1): "images of 28×28×1 do not fit: create the model with in_channels=28, or convert the "
                            "images to 1 channel",
            (1, 28, 28): "a batch of images (N, C, H, W) is expected, not (1, 28, 28); one image is x[None]"}.items():
        with pytest.raises(ValueError) as error:
            image(mc.zeros(shape))
        assert str(error.value) == f"image_rnn: {message}"


def test_commands(tmp_path):
    """Images train, are evaluated and drawn as for any model."""
    minicnn("train", "image_rnn", "--epochs", 1, "--limit-train", 64, "--option", "cell=gru", cwd=tmp_path)
    assert "acc" in minicnn("eval", "runs/image_rnn-digits-1", cwd=tmp_path)[0]
    table = minicnn("summary", "image_rnn", cwd=tmp_path)[0]
    assert "LSTM" in table and "82,186 parameters" in table
    assert re.search(r"^char_lstm +texts ", minicnn("summary", cwd=tmp_path)[0], re.MULTILINE)
