"""Network: a chain of named layers that explains itself when an image does not fit."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from ..nn import Module, Sequential
from ..engine import Tensor
from .shapes import explain_misfit


@dataclass(frozen=True)
class Spec:
    """What a model was created from: enough to create it again. ``create`` leaves it in ``model.spec``."""

    name: str
    num_classes: int
    in_channels: int
    options: dict[str, Any] = field(default_factory=dict)


class Network(Sequential):
    """Layers applied one after the other, x (N, C, H, W) → logits (N, classes).

    Args:
        layers: the layers by name, in order; the names are the keys of ``state_dict``.
    """

    spec: Spec | None = None  # what models.create made it from

    def __init__(self, layers: dict[str, Module]) -> None:
        super().__init__(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        try:
            return super().forward(x)
        except (ValueError, RuntimeError):
            self.check_input(x.shape)  # only after a failure, so that it costs nothing otherwise
            raise

    def check_input(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError, with the chain of shapes and what would fit, if images of this (N, C, H, W) do not."""
        explanation = explain_misfit(self, shape)
        if explanation is not None:
            raise ValueError(f"{self.spec.name if self.spec else 'network'}: {explanation}")
