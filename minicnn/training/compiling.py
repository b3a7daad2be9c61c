"""Say that kernels are being compiled, so that the first step of a fresh installation does not look like a hang."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["announce_compiling"]


@contextmanager
def announce_compiling(say: Callable[[str], None]) -> Iterator[None]:
    """Inside the block, say a line when numba first compiles something; loading from its cache is not compiling."""
    from numba.core import event
    from numba.core.caching import FunctionCache

    class Listener(event.Listener):
        said = False

        def on_start(self, started: event.Event) -> None:
            if not self.said:
                self.said = True
                from ..kernels.cpu import support

                say(f"compiling kernels (once, cached in {FunctionCache(support.for_floats).cache_path})")

        def on_end(self, ended: event.Event) -> None:
            pass

    listener = Listener()
    # a pass of the compiler, not "numba:compile", which is about functions that Python calls: a job is a C function
    event.register("numba:run_pass", listener)
    try:
        yield
    finally:
        event.unregister("numba:run_pass", listener)
