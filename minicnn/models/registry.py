"""The table of models: every name with what builds it, the input it expects and where it comes from."""

import difflib
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..nn import Module
from ..nn.arguments import is_whole
from .network import Spec, initialise

Builder = Callable[..., Module]


@dataclass(frozen=True)
class Entry:
    """One model of the registry.

    Attributes:
        name: what ``create`` is called with.
        build: the function that makes it, ``build(num_classes, in_channels, **options)``.
        input_shape: (C, H, W) of the images it was made for, or (V,), the number of symbols, for texts of any length.
        source: the paper, book or note it follows.
    """

    name: str
    build: Builder
    input_shape: tuple[int, ...]
    source: str

    @property
    def reads_images(self) -> bool:
        """Whether the model reads images; the others read texts, rows of symbols."""
        return len(self.input_shape) == 3

    @property
    def description(self) -> str:
        """The first line of the builder's documentation."""
        return (inspect.getdoc(self.build) or "").partition("\n")[0]

    @property
    def options(self) -> dict[str, Any]:
        """The options of ``create`` beyond the number of classes and channels, with their defaults."""
        parameters = inspect.signature(self.build).parameters
        return {name: p.default for name, p in parameters.items() if name not in ("num_classes", "in_channels")}

    def check_options(self, options: dict[str, Any]) -> None:
        """Raise TypeError if the model lacks one of these options, or has it with a default of another type."""
        for name, value in options.items():
            if name not in self.options:
                has = ", ".join(f"{name}={default!r}" for name, default in self.options.items()) or "none"
                raise TypeError(f"model {self.name!r} has no option {name!r}; its options: {has}")
            default = self.options[name]
            if isinstance(default, bool | int | float | str) and not _alike(value, default):
                raise TypeError(f"model {self.name!r}: option {name} = {value!r} must be of the type of its default, "
                                f"{type(default).__name__} {default!r}")


def _alike(value: Any, default: Any) -> bool:
    if isinstance(value, bool) != isinstance(default, bool):  # Python counts True among the integers
        return False
    return isinstance(value, int | float if isinstance(default, float) else type(default))


class OptionError(ValueError):
    """A value that an option of a model cannot have."""


ENTRIES: dict[str, Entry] = {}


def register(input_shape: tuple[int, ...], source: str) -> Callable[[Builder], Builder]:
    """Enter the decorated function into the table, under its own name."""

    def enter(build: Builder) -> Builder:
        ENTRIES[build.__name__] = Entry(build.__name__, build, input_shape, source)
        return build

    return enter


def entry(name: str) -> Entry:
    """The table's entry for a model; raises ValueError with the nearest name and all names if there is none."""
    if name in ENTRIES:
        return ENTRIES[name]
    near = difflib.get_close_matches(name, ENTRIES, n=1, cutoff=0.5)
    guess = f"; did you mean {near[0]!r}?" if near else ";"
    raise ValueError(f"model {name!r} is unknown{guess} models: {', '.join(sorted(ENTRIES))}")


def create(name: str, num_classes: int = 10, in_channels: int | None = None, *, init: str = "default",
           **options: Any) -> Module:
    """A new model with fresh initial weights; its output are logits, of images (N, num_classes).

    Args:
        name: a name of ``list()``.
        num_classes: number of outputs.
        in_channels: channels of the images, or number of symbols; None means what the model was made for.
        init: the initial weights: "default" (the model's own), "xavier" or "kaiming", see ``initialise``.
        options: what this model can vary, see ``entry(name).options``: all have ``width``, by which the channels and
            hidden units between input and output are multiplied, and ``dropout``, the probability of the paper's
            dropout layers, or of some before the last layer where it has none and this is not 0.

    Raises:
        ValueError: the name is unknown.
        TypeError: the model has no such option, or one of another type.
        OptionError: the option cannot have this value.
    """
    model = entry(name)
    model.check_options(options)
    in_channels = model.input_shape[0] if in_channels is None else in_channels
    for argument, value in (("num_classes", num_classes), ("in_channels", in_channels)):
        if not is_whole(value, 1):
            raise ValueError(f"create: {argument} = {value!r} must be an integer of at least 1")
    if not 0 < options.get("width", 1.0) < math.inf:
        raise OptionError(f"{name}: width = {options['width']} must be a positive number")
    try:
        net = model.build(num_classes, in_channels, **options)
        initialise(net, init)
    except ValueError as error:
        raise OptionError(f"{name}: {error}") from error
    net.spec = Spec(name, num_classes, in_channels, options)
    return net
