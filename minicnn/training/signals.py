"""Ctrl-C, SIGTERM and SIGHUP: the first asks the run to stop after its step, a second one kills."""

import contextlib
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


HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none


class StopRequest:
    """Inside the block ``received`` becomes the number of the first signal that asks to stop; a second one kills.

    A signal that is ignored, as SIGHUP is under nohup, stays ignored. Where the request is not active, or outside the
    main thread, to which Python sends all signals, nothing is ever received.
    """

    def __init__(self, active: bool = True) -> None:
        self.active = active and threading.current_thread() is threading.main_thread()
        self.received: int | None = None

    def __enter__(self) -> "StopRequest":
        self._terminals = [number for number in (1, 2) if os.isatty(number)]
        self._before = {}
        if self.active:
            for number in (signal.SIGINT, signal.SIGTERM, HANGUP):
                if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = number
            for terminal in self._terminals:
                if not os.isatty(terminal):  # it was closed: from now on it is an error to write to it
                    with open(os.devnull, "wb") as nowhere:
                        os.dup2(nowhere.fileno(), terminal)
            with contextlib.suppress(OSError):  # whoever reads this may have gone too
                os.write(2, b"\nstopping after this batch; once more to stop at once\n")
        elif number != HANGUP:  # which a terminal that is closed sends, and then its shell once more
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
