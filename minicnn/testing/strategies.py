"""The cases as Hypothesis strategies: whole valid configurations that shrink to the smallest window.

A test that draws one of them tests one call of an operation; all of its arrays and options fit together.

    @given(conv2d_cases())
    def test_my_convolution(case):
        assert_gradients(my_conv2d, case, my_conv2d_backward)
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hypothesis import strategies as st

from . import layer_cases, networks, sliding_cases
from .case import Case

__all__ = ["activation_cases", "conv1d_cases", "conv2d_cases", "conv3d_cases", "conv_transpose2d_cases",
           "linear_cases", "loss_cases", "norm_cases", "pool1d_cases", "pool2d_cases", "pool3d_cases",
           "small_networks"]

KINDS = ("max", "avg")


class Drawn:
    """Choices by Hypothesis, which shrinks them."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def option(self, options: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(options))


@st.composite
def _cases(draw: st.DrawFn, make: Callable[..., Case], *arguments: Any) -> Case:
    return make(Drawn(draw), *arguments)


def _known(what: str, name: str | None, names: Iterable[str]) -> str | None:
    if name is not None and name not in names:
        raise ValueError(f"{what} = {name!r} must be one of {', '.join(names)}")
    return name


def conv1d_cases() -> st.SearchStrategy[Case]:
    """Convolutions of signals."""
    return _cases(sliding_cases.convolution, 1)


def conv2d_cases() -> st.SearchStrategy[Case]:
    """Convolutions of images: any kernel, stride, padding, dilation and groups that fit, batches of 0 to 3."""
    return _cases(sliding_cases.convolution, 2)


def conv3d_cases() -> st.SearchStrategy[Case]:
    """Convolutions of volumes."""
    return _cases(sliding_cases.convolution, 3)


def conv_transpose2d_cases() -> st.SearchStrategy[Case]:
    """Transposed convolutions of images."""
    return _cases(sliding_cases.transposed, 2)


def pool1d_cases(kind: str | None = None, ties: bool = False) -> st.SearchStrategy[Case]:
    """Pooling of signals; as pool2d_cases."""
    return _cases(sliding_cases.pooling, 1, _known("pool1d_cases: kind", kind, KINDS), ties)


def pool2d_cases(kind: str | None = None, ties: bool = False) -> st.SearchStrategy[Case]:
    """Max or average pooling (kind "max" or "avg") of images without two equal elements, or with many (ties)."""
    return _cases(sliding_cases.pooling, 2, _known("pool2d_cases: kind", kind, KINDS), ties)


def pool3d_cases(kind: str | None = None, ties: bool = False) -> st.SearchStrategy[Case]:
    """Pooling of volumes; as pool2d_cases."""
    return _cases(sliding_cases.pooling, 3, _known("pool3d_cases: kind", kind, KINDS), ties)


def norm_cases(operation: str | None = None) -> st.SearchStrategy[Case]:
    """Batch, layer, group, instance and RMS norm, or the one named, over at least three values of fair variance."""
    return _cases(layer_cases.norm, _known("norm_cases: operation", operation, layer_cases.NORMS))


def loss_cases(operation: str | None = None, ties: bool = False) -> st.SearchStrategy[Case]:
    """Losses, or the one named, away from their kinks or (ties) at them."""
    return _cases(layer_cases.loss, _known("loss_cases: operation", operation, layer_cases.LOSSES), ties)


def activation_cases(operation: str, ties: bool = False) -> st.SearchStrategy[Case]:
    """An activation by its name, away from its kinks or (ties) at them."""
    return _cases(layer_cases.activation, _known("activation_cases: operation", operation, layer_cases.KINKS), ties)


def linear_cases() -> st.SearchStrategy[Case]:
    """Linear layers on any rows."""
    return _cases(layer_cases.linear)


def small_networks() -> st.SearchStrategy[Case]:
    """Networks of one or two convolutional blocks, a linear layer and log_softmax, away from all kinks."""
    return _cases(networks.network)
