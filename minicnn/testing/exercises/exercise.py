"""An exercise: what is asked for, on which arguments it is tried, and what is said about an answer."""

import runpy
import textwrap
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np

from ..case import Case
from ..diagnosis import library_gradient, recognise, same, simple_mistakes
from ..mistakes import MISTAKES
from ..windows import windows

CLOSE = 1e-7
NAMED = {mistake.name for mistake in MISTAKES}  # the others fit any gradient, and say less
BEGIN, END = "    # answer\n", "    # end of answer\n"

Outputs = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Trial:
    """One call of the function asked for.

    Attributes:
        title: what is new in it.
        arguments: of the call.
        right: the value of each result.
        case: the same in the library, of which results are gradients.
        gy: its upstream gradient.
        numbers: for each result the number of the array of the case that it is the gradient of; None if it is none.
    """

    title: str
    arguments: tuple
    right: Outputs
    case: Case
    gy: np.ndarray
    numbers: tuple[int | None, ...]

    def mistakes(self, i: int, given: np.ndarray) -> dict[str, str]:
        """The known mistakes that result i equals, with advice."""
        number = self.numbers[i]
        if number is None:
            return simple_mistakes(given, self.right[i], CLOSE, self.case.options)
        return recognise(self.case, [self.gy], number, given)


def trial(title: str, arguments: tuple, case: Case, gy: np.ndarray, numbers: Sequence[int | None],
          values: Sequence[np.ndarray] = ()) -> Trial:
    """A trial whose gradients are those that the library finds; values are the results that are no gradients."""
    rest = iter(values)
    right = [next(rest) if n is None else library_gradient(case, [gy], n) for n in numbers]
    return Trial(title, arguments, tuple(np.asarray(r) for r in right), case, gy, tuple(numbers))


@dataclass(frozen=True)
class Exercise:
    """A function to write.

    Attributes:
        name: of the exercise.
        function: its name.
        results: the names of what it returns.
        teaches: what it is about, in a line.
        read: where the library does it.
        trials: makes the calls that it is tried with, the easiest first.
        slips: mistakes that only this exercise knows: name → advice and the wrong results for the arguments of a trial.
    """

    name: str
    function: str
    results: tuple[str, ...]
    teaches: str
    read: str
    trials: Callable[[], list[Trial]]
    slips: dict[str, tuple[str, Callable[..., Outputs]]] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """What the file of a learner is called unless told otherwise."""
        return self.name.replace("-", "_") + ".py"

    @property
    def solution(self) -> str:
        """The file with an answer in it."""
        text = (resources.files(f"{__package__}.answers") / self.file).read_text(encoding="utf-8")
        return text.replace(BEGIN, "").replace(END, "")

    @property
    def stub(self) -> str:
        """The file without the answer."""
        text = (resources.files(f"{__package__}.answers") / self.file).read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        return before + '    raise NotImplementedError("your code goes here")\n' + rest.partition(END)[2]

    def check(self, path: Path) -> "Result":
        """Try what a file defines."""
        try:
            answer = runpy.run_path(str(path)).get(self.function)
        except (Exception, SystemExit) as error:
            return Result(self, (), [f"the file cannot be run: {_told(error, path)}"])
        if not callable(answer):
            return Result(self, (), [f"the file defines no function {self.function}"])
        tried: list[Attempt] = []
        for one in self.trials():
            tried.append(self._try(answer, one, path))
            if tried[-1].said and tried[-1].given is None:  # what does not run need not be tried again
                break
        first = next((attempt for attempt in tried if attempt.said), None)
        said = [] if first is None else [first.said, *self._why(first.of, tried)]
        return Result(self, tuple((attempt.trial.title, not attempt.said) for attempt in tried), said)

    def _try(self, answer: Callable, one: Trial, path: Path) -> "Attempt":
        arguments = [a.copy() if isinstance(a, np.ndarray) else a for a in one.arguments]
        try:
            with np.errstate(all="ignore"):
                returned = answer(*arguments)
        except NotImplementedError as error:
            return Attempt(one, f"not written yet: {error}")
        except (Exception, SystemExit) as error:
            return Attempt(one, f"it raises {_told(error, path)}")
        results = returned if isinstance(returned, tuple) else (returned,)
        if len(results) != len(self.results):
            wanted = f"{len(self.results)}, {', '.join(self.results)}"
            return Attempt(one, f"it returns {len(results)} results instead of {wanted}")
        # gx comes last, as it is made of the others in some exercises
        for i in sorted(range(len(results)), key=lambda i: self.results[i] == "gx"):
            given, right, name = results[i], one.right[i], self.results[i]
            if not isinstance(given, (np.ndarray, np.number, int, float)) or np.shape(given) != right.shape:
                what = f"of shape {np.shape(given)}" if isinstance(given, np.ndarray) else f"a {type(given).__name__}"
                return Attempt(one, f"{name} is {what}, but must be of shape {right.shape}", i)
            if np.asarray(given).dtype.kind not in "fiub":
                return Attempt(one, f"{name} is of the type {np.asarray(given).dtype}, but must hold real numbers", i)
            given = np.asarray(given, np.float64)
            if not np.isfinite(given).all():
                return Attempt(one, f"{name} is not finite: something overflows, or 0 is divided by 0", i)
            if not same(given, right, CLOSE):
                return Attempt(one, self._difference(one, i, given), i, given)
        for before, after in zip(one.arguments, arguments, strict=True):
            if isinstance(before, np.ndarray) and not np.array_equal(before, after):
                return Attempt(one, "the results are right, but an argument was written to; work on a copy")
        return Attempt(one, "")

    def _difference(self, one: Trial, i: int, given: np.ndarray) -> str:
        right, name = one.right[i], self.results[i]
        off = ~np.isclose(given, right, rtol=CLOSE, atol=CLOSE * abs(right).max(initial=0))
        index = tuple(map(int, np.argwhere(off)[0]))
        where = f"{name}[{', '.join(map(str, index))}]" if index else name
        share = f" ({int(off.sum())} of {off.size} elements differ)" if off.size > 1 else ""
        lines = [f"{where} is {right[index]:.6g}, yours is {given[index]:.6g}{share}"]
        number = one.numbers[i]
        if number is not None and index:
            lines += [f"  {line}" for line in windows(one.case, number, index)]
        return "\n".join(lines)

    def _why(self, i: int, tried: "list[Attempt]") -> list[str]:
        """The mistakes that explain what result i is in all trials; if none does, those that explain most of them."""
        found = {name: advice for name, (advice, slip) in self.slips.items() if all(
            same(attempt.result(i), np.asarray(slip(*attempt.trial.arguments)[i], np.float64), CLOSE)
            for attempt in tried if not attempt.said or attempt.of == i)}
        if not found:
            wrong = [attempt for attempt in tried if attempt.given is not None and attempt.of == i]
            known = [attempt.trial.mistakes(i, attempt.result(i)) for attempt in wrong]
            advice = {name: text for mistakes in known for name, text in mistakes.items()}
            often = Counter(name for mistakes in known for name in mistakes)
            best = [name for name in often if often[name] == max(often.values())]
            named = [name for name in best if name in NAMED]
            found = {name: advice[name] for name in named or best}
        return [f"this is what comes out with a known mistake: {name}\n  {advice}" for name, advice in found.items()]


@dataclass(frozen=True)
class Attempt:
    """What an answer did in a trial: what is wrong, "" if nothing; in which result; that result, if it compares."""

    trial: Trial
    said: str
    of: int = 0
    given: np.ndarray | None = None

    def result(self, i: int) -> np.ndarray:
        """What result i was."""
        return self.given if self.given is not None and self.of == i else np.asarray(self.trial.right[i], np.float64)


@dataclass(frozen=True)
class Result:
    """What is said about an answer; true if it is right."""

    exercise: Exercise
    trials: tuple[tuple[str, bool], ...]  # the title of each, and whether it went well
    said: list[str]

    def __bool__(self) -> bool:
        return not self.said

    def __str__(self) -> str:
        lines = [f"{'right' if right else 'wrong'}  {title}" for title, right in self.trials]
        return textwrap.indent("\n".join([*lines, *self.said]), "  ")


def _told(error: BaseException, path: Path) -> str:
    """An error, with the line of the file where it arose."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{type(error).__name__}: {error.msg} (line {error.lineno})"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"{type(error).__name__}: {error}" + (f" (line {lines[-1]})" if lines else "")
