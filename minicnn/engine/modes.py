"""Whether operations are recorded, and whether NaN is hunted; per thread."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ContextDecorator, contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

is_silent = ContextVar("is_silent", default=False)  # whether NumPy was told to ignore what it would warn of


class _Mode(threading.local):
    recording = True
    anomaly = False
    autocast: dict | None = None  # the precision of ops/autocast.py, by type of device

    def __init__(self) -> None:
        self.silent = copy_context()  # where operations compute: to enter it takes a third of the time of silence()
        self.silent.run(is_silent.set, True)
        self.silent.run(np.seterr, all="ignore")


mode = _Mode()


@contextmanager
def silence() -> Iterator[None]:
    """Let NumPy warn of nothing inside the block: log 0 is −inf and ∞ − ∞ is NaN, results rather than events."""
    token = is_silent.set(True)
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        is_silent.reset(token)


def is_grad_enabled() -> bool:
    """Whether operations are recorded in this thread."""
    return mode.recording


class set_grad_enabled(ContextDecorator):
    """Record operations or not: as a statement, a with block or a decorator."""

    def __init__(self, enabled: bool) -> None:
        self._value, self._before = bool(enabled), mode.recording
        mode.recording = self._value

    def __call__(self, function: F) -> F:
        mode.recording = self._before  # as a decorator it acts when the function is called
        return super().__call__(function)

    def _recreate_cm(self) -> "set_grad_enabled":
        return set_grad_enabled(self._value)

    def __enter__(self) -> None:
        mode.recording = self._value

    def __exit__(self, *_: object) -> None:
        mode.recording = self._before


class _Switch(ContextDecorator):
    value = False

    def __new__(cls, function: Callable | None = None) -> Any:
        switch = super().__new__(cls)
        return switch if function is None else switch(function)  # used as a decorator without parentheses

    def __enter__(self) -> None:
        self._before, mode.recording = mode.recording, self.value

    def __exit__(self, *_: object) -> None:
        mode.recording = self._before

    def _recreate_cm(self) -> "_Switch":
        return type(self)()


class no_grad(_Switch):
    """Operations inside the block, or the decorated function, are not recorded."""


class enable_grad(_Switch):
    """Operations inside the block are recorded, also within no_grad."""

    value = True


class inference_mode(_Switch):
    """The same as no_grad: unlike PyTorch's, tensors made inside may be used in a recorded computation later.

    ``inference_mode(False)`` is enable_grad.
    """

    def __new__(cls, mode: bool | Callable = True) -> Any:
        if callable(mode):
            return super().__new__(cls, mode)
        switch = super().__new__(cls)
        switch.value = not mode
        return switch

    def _recreate_cm(self) -> "inference_mode":
        return inference_mode(not self.value)
