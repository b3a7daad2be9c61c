"""Texts to learn from, one task for each way of reading and writing them; there without a network.

Two are made of minicnn's own source files, as they are installed: real language, which grows with the library. A text
is a row of symbols, the bytes of its UTF-8; shorter ones are filled up with 0, the blank, which is no byte of theirs.
"""

import ast
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from .dataset import TensorDataset

SYMBOLS = 256
IGNORED = -100  # the target of a blank, which cross_entropy leaves out
PACKAGES = ("minicnn.ops", "minicnn.nn")
LIBRARY = "minicnn's source files"
LETTERS = [chr(i) if 32 < i < 127 else "space" if i == 32 else f"byte {i}" for i in range(SYMBOLS)]


class SequenceDataset(TensorDataset):
    """Texts, and what they belong to or should become; sample i is (x[i], y[i]).

    Args:
        x: int64 (N, T), symbols.
        y: int64; (N,), the class of a text; (N, T), the classes of its symbols; (N, U), another text.
        classes: names of the classes; where y is texts, of the symbols.
        name, split: what it is.
        source: where it comes from.
    """

    kind = "text"
    mean = std = ()  # of pixels, which there are none of
    files = ""  # that may come or go

    def __init__(self, x: np.ndarray, y: np.ndarray, classes: Sequence[str], *, name: str, split: str,
                 source: str = LIBRARY) -> None:
        super().__init__(x, y)
        self.x, self.y, self.classes, self.name, self.split, self.source = x, y, list(classes), name, split, source

    def head(self, n: int) -> "SequenceDataset":
        """The first n texts, or all if there are fewer."""
        return SequenceDataset(self.x[:n], self.y[:n], self.classes, name=self.name, split=self.split,
                               source=self.source)

    def __repr__(self) -> str:
        return f"SequenceDataset({self.name} {self.split}: {len(self)} texts of up to {self.x.shape[1]} symbols)"


def encode(texts: Iterable[str], length: int | None = None) -> np.ndarray:
    """Texts → symbols (N, length), short ones filled up with blanks, long ones cut; None is the longest's length."""
    rows = [np.frombuffer(text.encode(), np.uint8) for text in texts]
    length = max(map(len, rows), default=0) if length is None else length
    symbols = np.zeros((len(rows), length), np.int64)
    for to, row in zip(symbols, rows, strict=True):
        to[:len(row)] = row[:length]
    return symbols


def decode(symbols: Any) -> list[str]:
    """Symbols (N, T), an array or a CPU tensor → texts, each up to its first blank."""
    return [bytes(row.astype(np.uint8)).partition(b"\0")[0].decode(errors="replace") for row in np.asarray(symbols)]


@cache
def _library() -> tuple[list[str], list[str]]:
    """The lines of minicnn's documentation, and those of its code, without indentation and empty ones."""
    prose: list[str] = []
    code: list[str] = []
    for package in PACKAGES:
        for file in sorted(files(package).iterdir(), key=lambda file: file.name):
            if file.name.endswith(".py"):
                source = file.read_text(encoding="utf-8")
                documented = _documented(ast.parse(source))
                for number, line in enumerate(source.splitlines(), start=1):
                    if text := line.strip(' "'):
                        (prose if number in documented else code).append(text)
    return prose, code


def _documented(module: ast.Module) -> set[int]:
    """The numbers of the lines that are docstrings."""
    numbers: set[int] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            numbers.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return numbers


def _part(items: Sequence, split: str) -> list:
    """Every fifth is for split "validation", the others for "train"."""
    if split not in ("train", "validation"):
        raise ValueError(f"split {split!r} is unknown; use 'train' or 'validation'")
    return [item for i, item in enumerate(items) if (i % 5 == 4) == (split == "validation")]


# -- the tasks ------------------------------------------------------------------------------------------------------

def documentation(split: str, length: int = 64) -> SequenceDataset:
    """One to many: the text of the documentation in pieces of ``length``, y what follows each symbol of x."""
    symbols = encode(["\n".join(_library()[0])])[0]
    pieces = range(0, len(symbols) - length, length)
    x, y = (np.array(_part([symbols[i + shift:i + shift + length] for i in pieces], split)) for shift in (0, 1))
    return SequenceDataset(x, y, LETTERS, name="documentation", split=split)


def code_or_prose(split: str, length: int = 32) -> SequenceDataset:
    """Many to one: is a line of the source files, of which ``length`` symbols are shown, code or documentation?

    There are as many of one as of the other.
    """
    kinds = [list(dict.fromkeys(line[:length] for line in lines if len(line) >= length // 2))
             for lines in reversed(_library())]
    number = min(map(len, kinds))
    lines = [_part([kind[i * len(kind) // number] for i in range(number)], split) for kind in kinds]
    labels = np.repeat([0, 1], [len(part) for part in lines])
    return SequenceDataset(encode(lines[0] + lines[1], length), labels, ("code", "prose"), name="code_or_prose",
                           split=split)


def sums(split: str, number: int = 5000, digits: int = 2) -> SequenceDataset:
    """Many to many: "38+9" → "47", ``number`` sums of two numbers that have up to so many digits each.

    All differ, though "9+38" may be among those to learn from and "38+9" held out.
    """
    if not 0 < number <= 10 ** (2 * digits):
        raise ValueError(f"sums: number = {number} must be 1 to {10 ** (2 * digits)}, all sums of {digits} digits")
    pairs = np.random.default_rng(0).permutation(10 ** (2 * digits))[:number].tolist()
    chosen = [divmod(pair, 10 ** digits) for pair in _part(pairs, split)]
    x = encode([f"{a}+{b}" for a, b in chosen], 2 * digits + 1)
    y = encode([str(a + b) for a, b in chosen], digits + 2)
    return SequenceDataset(x, y, LETTERS, name="sums", split=split, source="drawn at random")


def word_starts(split: str, length: int = 48) -> SequenceDataset:
    """In step: lines of the documentation without their spaces; y is 1 where a word began, 0 within one.

    "of the nets" is "ofthenets": whether its t begins a word, what is before it and what is behind it tell together.
    """
    lines = [line.split() for line in _part(list(dict.fromkeys(_library()[0])), split)]
    x = encode(["".join(words) for words in lines], length)
    starts = encode(["".join("1" + "0" * (len(word.encode()) - 1) for word in words) for words in lines], length)
    return SequenceDataset(x, np.where(x == 0, IGNORED, starts - ord("0")), ("within", "start"), name="word_starts",
                           split=split)


TASKS = {task.__name__: task for task in (documentation, code_or_prose, sums, word_starts)}
