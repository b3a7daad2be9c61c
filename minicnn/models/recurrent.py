"""Recurrent networks, one for each way in which sequences are read and written.

one to many     char_lstm       a symbol → the text that follows it
many to one     rnn_classifier  a text → its class; image_rnn, the rows of an image → its class
many to many    seq2seq         a text → another one, begun when the first has been read
in step         birnn_tagger    a text → a class for each of its symbols

A text is a row of symbols, numbers 1 to V − 1. Symbol 0, the blank, stands for its end, fills up the shorter ones of a
batch, and is what writing begins after. minicnn.data.sequences has texts to learn from.
"""

from typing import Any

from .. import functional as F
from .. import nn
from ..engine import Tensor, no_grad
from ..nn.arguments import whole
from ..nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from ..ops.creation import rand_like
from ..ops.join import stack
from .network import Network, dropout_layers, scaled
from .registry import register
from .shapes import no_batch, shape_text, wrong_channels

CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
HIDDEN = 128  # features of a direction, and of the vectors of symbols, where width is 1


def _recurrent(cell: str, input_size: int, hidden: int, layers: int, dropout: float,
               bidirectional: bool = False) -> nn.RNNBase:
    if cell not in CELLS:
        raise ValueError(f"cell {cell!r} is unknown; use {', '.join(map(repr, CELLS))}")
    whole(cell, "layers", layers)
    return CELLS[cell](input_size, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0,
                       bidirectional=bidirectional)


def _width(rnn: nn.RNNBase) -> int:
    """Features of its output: those of both directions, if there are two."""
    return rnn.hidden_size * (2 if rnn.bidirectional else 1)


def _joined(rnn: nn.RNNBase, state: Any) -> Any:
    """Last states (layers·D, N, H), or an LSTM's pair of them, with the D directions side by side: (layers, N, D·H)."""
    if isinstance(state, tuple):
        return tuple(_joined(rnn, part) for part in state)
    return state.unflatten(0, (rnn.num_layers, -1)).transpose(1, 2).flatten(2)


def _last(rnn: nn.RNNBase, state: Any) -> Tensor:
    """What the last layer shows when everything has been read, (N, D·H)."""
    joined = _joined(rnn, state)
    return (joined[0] if isinstance(joined, tuple) else joined)[-1]


class Reader(nn.Module):
    """A vector of its own for each symbol, and recurrent layers that read the vectors, dropout between them."""

    def __init__(self, symbols: int, cell: str, hidden: int, layers: int, dropout: float,
                 bidirectional: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, hidden)
        self.rnn = _recurrent(cell, hidden, hidden, layers, dropout, bidirectional)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Read texts (N, T), blanks too: the outputs (N, T, D·H) and the last states."""
        return self.rnn(self._vectors(x), state)

    def read(self, x: Tensor) -> tuple[PackedSequence, Any]:
        """Read texts (N, T) up to their blanks, an empty one as one blank: the outputs and the last states."""
        vectors, lengths = self._vectors(x), (x != 0).sum(-1).clip(1)
        return self.rnn(pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False))

    def _vectors(self, x: Tensor) -> Tensor:
        if x.ndim != 2 or x.is_floating_point():
            raise ValueError(f"a text model: x must be symbols, whole numbers (N, T), not {x.dtype} {x.shape}")
        return self.embedding(x)


class TextModel(nn.Module):
    """A reader, and a linear layer, with dropout before it, that makes logits of what it shows."""

    def __init__(self, num_classes: int, reader: Reader, dropout: float) -> None:
        super().__init__()
        self.reader = reader
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.fc = nn.Linear(_width(reader.rnn), num_classes)

    def logits(self, shown: Tensor) -> Tensor:
        """Logits (..., K) of what the reader shows, (..., D·H)."""
        return self.fc(shown if self.dropout is None else self.dropout(shown))


class Classifier(TextModel):
    """Texts (N, T) → logits (N, K), of what the reader ends with."""

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(_last(self.reader.rnn, self.reader.read(x)[1]))


class Tagger(TextModel):
    """Texts (N, T) → logits (N, K, T), of what the reader shows at each symbol; those of blanks mean nothing."""

    def forward(self, x: Tensor) -> Tensor:
        outputs, _ = pad_packed_sequence(self.reader.read(x)[0], batch_first=True, total_length=x.shape[1])
        return self.logits(outputs).transpose(1, 2)


class Writer(TextModel):
    """Texts (N, T) → logits (N, K, T) for what follows each symbol, from all up to it; and the reader's last state."""

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        outputs, state = self.reader(x, state)
        return self.logits(outputs).transpose(1, 2), state

    @no_grad()
    def write(self, first: Tensor, steps: int, state: Any = None, temperature: float = 0.0) -> Tensor:
        """The ``steps`` symbols (N, steps) that follow the symbols ``first`` (N), each read before the next is chosen.

        The next is the likeliest one, or with a temperature τ > 0 drawn with probabilities softmax(logits/τ).
        """
        if steps < 1 or temperature < 0:
            raise ValueError(f"write: steps = {steps} must be at least 1 and temperature = {temperature} at least 0")
        written = [first]
        for _ in range(steps):
            logits, state = self(written[-1].unsqueeze(1), state)
            scores = logits.squeeze(2)
            if temperature:
                below = (scores / temperature).softmax(1).cumsum(1)[:, :-1]
                written.append((below <= rand_like(scores[:, :1])).sum(1))
            else:
                written.append(scores.argmax(1))
        return stack(written[1:], 1)


class Seq2Seq(nn.Module):
    """An encoder reads a text, and its last states are those in which a decoder begins to write another."""

    def __init__(self, encoder: Reader, decoder: Writer) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Texts (N, S) and what they should become, (N, T) with a blank behind → logits (N, K, T).

        Those of a symbol are made from the symbols before it in y, not from what would have been written.
        """
        return self.decoder(F.pad(y[:, :-1], (1, 0)), self._encoded(x))[0]

    @no_grad()
    def write(self, x: Tensor, steps: int) -> Tensor:
        """The first ``steps`` symbols (N, steps) of what texts (N, S) become, always the likeliest next one."""
        return self.decoder.write(x.new_zeros(len(x)), steps, self._encoded(x))

    def _encoded(self, x: Tensor) -> Any:
        return _joined(self.encoder.rnn, self.encoder.read(x)[1])


class ImageRNN(Network):
    """Images (N, C, H, W) as sequences of H rows with C·W numbers each → logits (N, K)."""

    def __init__(self, num_classes: int, in_channels: int, rnn: nn.RNNBase, dropout: float) -> None:
        super().__init__({"rnn": rnn, **dropout_layers(dropout), "fc": nn.Linear(_width(rnn), num_classes)})
        self.in_channels = in_channels

    def run(self, x: Tensor) -> Tensor:
        self.check_input(x.shape)  # one image (C, H, W), or rows cut elsewhere, would pass for rows
        y = _last(self.rnn, self.rnn(x.transpose(1, 2).flatten(2))[1])
        for _, layer in list(self.chain())[1:]:
            y = layer(y)
        return y

    def check_input(self, shape: tuple[int, ...]) -> None:
        expected, width = self.in_channels, self.rnn.input_size // self.in_channels
        if len(shape) == 4 and (shape[1], shape[3]) == (expected, width):
            return
        if len(shape) != 4:
            what = no_batch(shape)
        elif shape[1] != expected:
            what = f"images of {shape_text(shape[1:])} do not fit: {wrong_channels(expected, shape[1])}"
        else:
            row = shape[1] * shape[3]
            what = (f"images of {shape_text(shape[1:])} do not fit: {shape[2]} rows of {shape[1]}·{shape[3]} = {row}, "
                    f"but rnn expects {self.rnn.input_size}; sizes that fit: {width} wide and of any height, for "
                    f"example with the transform Resize(({width}, {width}))")
        raise ValueError(f"{self.spec.name if self.spec else 'network'}: {what}")


# -- the table ------------------------------------------------------------------------------------------------------

SYMBOLS = 256  # bytes of a text in UTF-8


@register((SYMBOLS,), source="note 002, many to one; Elman 1990")
def rnn_classifier(num_classes: int = 10, in_channels: int = SYMBOLS, *, cell: str = "lstm", layers: int = 1,
                   bidirectional: bool = False, width: float = 1.0, dropout: float = 0.0) -> Classifier:
    """A text → its class: recurrent layers, and a linear layer on what they end with; cell "rnn", "lstm" or "gru"."""
    reader = Reader(in_channels, cell, scaled(HIDDEN, width), layers, dropout, bidirectional)
    return Classifier(num_classes, reader, dropout)


@register((SYMBOLS,), source="note 002, one to many; Graves 2013")
def char_lstm(num_classes: int = 10, in_channels: int = SYMBOLS, *, cell: str = "lstm", layers: int = 1,
              width: float = 1.0, dropout: float = 0.0) -> Writer:
    """A text → what follows each of its symbols, and so a text from one symbol on; cell "rnn", "lstm" or "gru"."""
    if num_classes > in_channels:
        raise ValueError(f"num_classes = {num_classes} must not exceed in_channels = {in_channels}: it reads what it "
                         "writes")
    return Writer(num_classes, Reader(in_channels, cell, scaled(HIDDEN, width), layers, dropout), dropout)


@register((SYMBOLS,), source="note 002, many to many; Sutskever et al. 2014, Cho et al. 2014")
def seq2seq(num_classes: int = 10, in_channels: int = SYMBOLS, *, cell: str = "lstm", layers: int = 1,
            bidirectional: bool = False, width: float = 1.0, dropout: float = 0.0) -> Seq2Seq:
    """A text → another text, of another length and with other symbols: encoder, decoder; cell "rnn", "lstm" or "gru".

    ``bidirectional`` is about the encoder; the decoder's layers are then twice as wide.
    """
    encoder = Reader(in_channels, cell, scaled(HIDDEN, width), layers, dropout, bidirectional)
    decoder = Reader(num_classes, cell, _width(encoder.rnn), layers, dropout)
    return Seq2Seq(encoder, Writer(num_classes, decoder, dropout))


@register((SYMBOLS,), source="note 002, synchronous many to many; Schuster & Paliwal 1997")
def birnn_tagger(num_classes: int = 10, in_channels: int = SYMBOLS, *, cell: str = "lstm", layers: int = 1,
                 bidirectional: bool = True, width: float = 1.0, dropout: float = 0.0) -> Tagger:
    """A text → a class for each of its symbols, from what is before and behind it; cell "rnn", "lstm" or "gru"."""
    reader = Reader(in_channels, cell, scaled(HIDDEN, width), layers, dropout, bidirectional)
    return Tagger(num_classes, reader, dropout)


@register((1, 28, 28), source="note 002, many to one; Le, Jaitly, Hinton 2015 read images pixel by pixel")
def image_rnn(num_classes: int = 10, in_channels: int = 1, *, cell: str = "lstm", layers: int = 1,
              bidirectional: bool = False, width: float = 1.0, dropout: float = 0.0) -> ImageRNN:
    """An image 28 wide, read row by row → its class; cell "rnn", "lstm" or "gru"."""
    rnn = _recurrent(cell, 28 * in_channels, scaled(HIDDEN, width), layers, dropout, bidirectional)
    return ImageRNN(num_classes, in_channels, rnn, dropout)
