"""What a gradient check found, in a form that says what to do next."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

Index = tuple[int, ...]


class Verdict(StrEnum):
    """What a check can say; the later ones are stronger."""

    PASS = "PASS"  # the gradient agrees, and an error of the promised size would have been seen
    PRECISION_LIMITED = "PRECISION-LIMITED"  # it agrees as far as the type of the outputs, or the place, lets one see
    ILL_CONDITIONED = "ILL-CONDITIONED"  # it agrees as far as the function, which magnifies rounding, lets one see
    KINK = "KINK"  # the function has no gradient there; what is given lies between the slopes on either side
    FAIL = "FAIL"  # the gradient is wrong

    @property
    def rank(self) -> int:
        """How much it outweighs the others."""
        return list(Verdict).index(self)


MEANING = {
    Verdict.PASS: "the gradient agrees with differences",
    Verdict.PRECISION_LIMITED: "no difference is seen, but a small error would not be seen either: give inputs in "
                               "float64, farther from kinks, and outputs of the same type",
    Verdict.ILL_CONDITIONED: "no difference is seen, but the function, or what is given as its gradient, magnifies "
                             "rounding errors so much that a small error would not be seen either",
    Verdict.KINK: "the function has a kink here, so that its gradient is a convention; the one given is possible",
    Verdict.FAIL: "the gradient is wrong",
}


def strongest(reports: Iterable["Report"]) -> "Report":
    """The report whose verdict outweighs those of the others."""
    return max(reports, key=lambda report: report.verdict.rank)


@dataclass
class Finding:
    """One element of a gradient that is wrong, or at a kink."""

    index: Index
    given: float
    expected: float
    error: float  # the error bar of expected
    slopes: tuple[float, float]  # on either side; equal where there is no kink
    count: int  # how many elements are off
    of: int  # of how many that were looked at


@dataclass
class Report:
    """The result of a check; true where the verdict is PASS, and printed it tells everything."""

    name: str
    verdict: Verdict
    precision: float  # the smallest relative error of the gradient that would have been seen; 0 of none
    input: int = 0  # which of the arguments it is about
    label: str = ""  # what it is called
    shape: Index = ()
    message: str = ""  # what is wrong where it is no single number
    finding: Finding | None = None
    windows: list[str] = field(default_factory=list)  # what the element is made of
    mistakes: dict[str, str] = field(default_factory=dict)  # known mistakes that give just this gradient, and advice
    reproducer: str = ""

    def __bool__(self) -> bool:
        return self.verdict is Verdict.PASS

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.verdict}: {MEANING[self.verdict]}"]
        if self.verdict is not Verdict.PASS:
            lines.append(f"  {self.label} of shape {self.shape}")
        if self.message:
            lines.append(f"  {self.message}")
        if self.finding:
            lines += self._numbers(self.finding)
        if self.windows:
            lines.append("  it is made of")
            lines += [f"    {line}" for line in self.windows]
        for mistake, advice in self.mistakes.items():
            lines += [f"  this is what a known mistake gives: {mistake}", f"    {advice}"]
        if self.verdict.rank < Verdict.KINK.rank and 0 < self.precision < float("inf"):
            lines.append(f"  relative errors above {self.precision:.0e} would have been seen")
        if self.reproducer:
            lines.append("  to reproduce:")
            lines += [f"    {line}" for line in self.reproducer.splitlines()]
        return "\n".join(lines)

    def _numbers(self, f: Finding) -> list[str]:
        first = "first at" if self.verdict is Verdict.FAIL else "at"
        lines = [f"  {first} index {f.index}: given {f.given:.10g}, expected {f.expected:.10g} ± {f.error:.1e}"]
        if self.verdict is Verdict.KINK:
            lines.append(f"  the slopes on either side are {f.slopes[0]:.10g} and {f.slopes[1]:.10g}")
        return [*lines, f"  {f.count} of {f.of} elements {'differ' if self.verdict is Verdict.FAIL else 'are so'}"]
