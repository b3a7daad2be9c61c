"""Run a script and look at the first step of its training, as the Trainer looks at its own."""

import runpy
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..backend import to_numpy
from ..engine import Tensor, backward
from ..nn import Module
from ..optim import Optimizer
from . import trainer
from .preflight import Finding, preflight

__all__ = ["run_watched"]


class _Watch:
    """What is called while a script runs: the network last called, steps made, and each line with a backward()."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.found: list[Finding] = []
        self.depth = 0
        self.shown: tuple[Module, Tensor] | None = None  # the network called last from outside, and its input
        self.steps = 0
        self.lines: dict[int, int] = {}  # of a backward(), and the steps made before it was last called
        self.call, self.backward, self.step = Module.__call__, backward, Optimizer.step

    def on_call(self, module: Module, *args: Any, **kwargs: Any) -> Any:
        if not self.depth and args and isinstance(args[0], Tensor) and next(module.parameters(), None) is not None:
            self.shown = module, args[0]
        self.depth += 1
        try:
            return self.call(module, *args, **kwargs)
        finally:
            self.depth -= 1

    def on_step(self, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
        self.steps += 1
        return self.step(optimizer, *args, **kwargs)

    def on_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        caller = sys._getframe(2)  # past the hook
        line = caller.f_lineno
        if self.shown is None or caller.f_code.co_filename != self.path:
            return self.backward(loss, *args, **kwargs)
        model, x = self.shown
        first = line not in self.lines
        if not first and self.lines[line] < self.steps:
            self._stale(model, line)
        self.lines[line] = self.steps
        self.backward(loss, *args, **{"retain_graph": True, **kwargs} if first else kwargs)
        if first:
            self.found += [replace(finding, line=line) for finding in preflight(model, x, loss)]
        return None

    def on_preflight(self, *args: Any, **kwargs: Any) -> list[Finding]:
        """What a Trainer finds is about the line of the script that runs it."""
        found = preflight(*args, **kwargs)
        frame: Any = sys._getframe(2)
        while frame is not None and frame.f_code.co_filename != self.path:
            frame = frame.f_back
        self.found += [replace(finding, line=frame and frame.f_lineno) for finding in found]
        return found

    def _stale(self, model: Module, line: int) -> None:
        """Note gradients that a step was made by already."""
        if any(p.grad is not None and to_numpy(p.grad.data).any() for p in model.parameters()):
            finding = Finding("no-zero-grad", "the gradients of the last step are still there, and these are added to "
                              "them", "call optimizer.zero_grad() before backward()", line)
            if finding not in self.found:
                self.found.append(finding)


def run_watched(path: Path, arguments: list[str]) -> tuple[list[Finding], BaseException | None]:
    """Run a script of minicnn's as ``python path arguments`` would.

    Returns what was found, and what the script raised; that it exits is nothing.
    """
    watch = _Watch(str(path))
    hooks: tuple[tuple[Any, str, Any], ...] = (  # functions, which become methods, as bound methods would not
        (Module, "__call__", lambda *a, **k: watch.on_call(*a, **k)),
        (Tensor, "backward", lambda *a, **k: watch.on_backward(*a, **k)),
        (Optimizer, "step", lambda *a, **k: watch.on_step(*a, **k)),
        (trainer, "preflight", lambda *a, **k: watch.on_preflight(*a, **k)))
    argv, folders = sys.argv, sys.path
    with ExitStack() as stack:
        for owner, name, hook in hooks:
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, hook)
        sys.argv, sys.path = [str(path), *arguments], [str(path.parent), *folders]
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit:
            pass
        except Exception as error:
            return watch.found, error
        finally:
            sys.argv, sys.path = argv, folders
    return watch.found, None
