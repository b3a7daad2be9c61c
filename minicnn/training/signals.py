"""Ctrl-C and SIGTERM: the first one asks the run to stop after its step, the second one kills."""

import os
import signal
import threading
from types import FrameType

__all__ = ["Interrupted", "StopRequest"]


class Interrupted(Exception):
    """A signal stopped the run, after its state was saved.

    Attributes:
        number: the signal; a shell expects 128 + number as the exit code.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class StopRequest:
    """Inside the block ``received`` becomes the number of the first SIGINT or SIGTERM; a second signal kills at once.

    Where it is not active, or outside the main thread, to which Python sends all signals, nothing is ever received.
    """

    def __init__(self, active: bool = True) -> None:
        self.active = active and threading.current_thread() is threading.main_thread()
        self.received: int | None = None

    def __enter__(self) -> "StopRequest":
        self._before = {}
        if self.active:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = number
            os.write(2, b"\nstopping after this step; once more to stop at once\n")
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
