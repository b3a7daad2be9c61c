"""Say that kernels are being compiled, so that the first step of a fresh installation does not look like a hang."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["announce_compiling"]


@contextmanager
def announce_compiling(say: Callable[[str], None]) -> Iterator[None]:
    """Inside the block, say a line when numba first compiles something; loading from its cache is not compiling."""
    from numba.core import event

    from ..kernels import contract

    beside = os.environ.get("NUMBA_CACHE_DIR") or Path(contract.__file__).with_name("cpu") / "__pycache__"

    class Listener(event.Listener):
        silent = False

        def on_start(self, started: event.Event) -> None:
            if not self.silent:
                self.silent = True
                say(f"compiling kernels (once, cached in {started.data['dispatcher'].stats.cache_path or beside})")

        def on_end(self, ended: event.Event) -> None:
            pass

    listener = Listener()
    event.register("numba:compile", listener)
    try:
        yield
    finally:
        event.unregister("numba:compile", listener)
