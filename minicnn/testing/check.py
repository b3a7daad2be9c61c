"""gradcheck: is this gradient right? With an answer that needs no tolerances.

Everything that could blur the comparison is measured. The slope along random directions comes with the error bar of
differences.py, taken in float64 even for a function in float32 (its shadow). The gradient is computed again for inputs
and upstream gradients that differ in their last places: what that changes in it is its rounding. Only what both bars
together do not explain is called wrong; where they are too wide for a verdict, that is the verdict.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .differences import FIRST, Path, Slope, most_noise_of, noise_of, slope
from .functions import Arrays, Differentiable, Products
from .report import Finding, Report, Verdict

PROMISE = {"float64": 1e-8, "float32": 1e-4}  # relative errors that are seen where the verdict is PASS
SAFETY = 8.0  # a few samples of rounding are not its maximum
LOOKED_AT = 2000  # elements of a wrong gradient that are checked one by one
CLOSE_BY = 2.0 ** -20  # how much nearer to look where steps of the usual size may be too long
AMPLIFIED = 1e3  # noise, in last places of the outputs, from which on the function is to blame for it


class Check:
    """One check: the function at its point, the upstream gradients us, the gradients given and their rounding."""

    def __init__(self, name: str, function: Differentiable, seed: int) -> None:
        self.name, self.function, self.arrays = name, function, function.arrays
        self.dtype = self.arrays[0].dtype
        if str(self.dtype) not in PROMISE or any(a.dtype != self.dtype for a in self.arrays):
            raise ValueError(f"{name}: inputs of {sorted({str(a.dtype) for a in self.arrays})} cannot be checked; "
                             "give all of them in float64 or all in float32")
        self.rng = np.random.default_rng(seed)
        self.shadow = [a.astype(np.float64) for a in self.arrays]
        outputs = self._outputs()
        self.digits = max([float(np.finfo(y.dtype).eps) for y in outputs], default=0.0)
        self.outputs = _vector(outputs)
        self.us = [np.asarray(self.rng.standard_normal(y.shape), self.dtype) for y in outputs]
        self.u = _vector(self.us)
        self.gradients, self.rounding = self._gradients()
        self.nonlinear = self._nonlinear()
        self.numeric: dict[int, np.ndarray] = {}  # gradients by differences, of those that were looked at in full
        self.units: dict[int, float] = {}  # for steps in an array, where that is not the size of its elements

    def _outputs(self) -> Arrays:
        """What the function returns, twice the same, and finite."""
        try:
            outputs, again = self.function.value(self.shadow), self.function.value(self.shadow)
        except Exception as error:
            if self.dtype == np.float32:
                error.add_note("gradcheck calls a function of float32 in float64, too; if it cannot do that, like a "
                               "module with parameters in float32, have all of it in float64")
            raise
        here, there = _vector(outputs), _vector(again)
        if not np.isfinite(here).all():
            raise ValueError(f"{self.name}: an output is {here[~np.isfinite(here)][0]} for these inputs; it has a "
                             "gradient only where it is finite")
        self._must_repeat("the function", here, there)
        return outputs

    def _must_repeat(self, what: str, first: np.ndarray, second: np.ndarray, blur: float = 0.0) -> None:
        """Raise ValueError unless two results differ by no more than sums that are added up in another order do."""
        if first.shape != second.shape or (np.abs(first - second) > 1e-3 * (np.abs(first) + _rms(first)) + blur).any():
            raise ValueError(f"{self.name}: {what} returns something else each time it is called with the same inputs; "
                             "give it a generator that is seeded within")

    def _gradients(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The gradients, and for each of their elements a bar for its rounding error."""
        pulled = self.function.pull(self.arrays, self.us)
        self.types = [None if g is None else np.asarray(g).dtype for g in pulled]
        given = self._real(pulled)
        eps, real = np.finfo(self.dtype).eps, self.dtype.type
        again = self._real(self.function.pull(self.arrays, self.us))
        self._must_repeat("backward", _vector(given), _vector(again), float(eps) * _norm(self.u * self.outputs))
        bars = [4 * eps * (np.abs(g) + _rms(g)) for g in given]
        for last_places in (1, -2, 3):
            factor = real(1 + last_places * eps)
            moved = [a * factor for a in self.arrays]  # ties stay ties, and 0 stays 0
            for i, other in enumerate(self.function.pull(moved, [u * factor for u in self.us])):
                if other is not None and np.shape(other) == given[i].shape:
                    changed = np.abs(np.asarray(other, np.float64) / float(factor) - given[i])
                    bars[i] = np.maximum(bars[i], SAFETY * changed)
        return given, bars

    def _real(self, gradients: Products) -> Arrays:
        """The gradients in float64, zeros for none."""
        for g, place in zip(gradients, self.function.places, strict=True):
            if g is not None and np.asarray(g).dtype.kind not in "fiub":
                raise ValueError(f"{self.name}: the gradient of {self.function.label(place)} is of the type "
                                 f"{np.asarray(g).dtype}, not an array of real numbers")
        return [np.zeros(a.shape) if g is None else np.asarray(g, np.float64)
                for g, a in zip(gradients, self.arrays, strict=True)]

    def _nonlinear(self) -> list[bool]:
        """Whether a gradient is not −2 times as large for −2·gy; that multiplication rounds nothing."""
        double = self.function.pull(self.arrays, [-2 * u for u in self.us])
        return [h is not None and np.shape(h) == g.shape and bool((np.abs(h + 2 * g) > 4 * bar).any())
                for h, g, bar in zip(double, self.gradients, self.rounding, strict=True)]

    # -- along a direction -------------------------------------------------------------------------------------------

    def run(self, directions: int, with_jvp: bool, numbers: Iterable[int] | None = None) -> dict[int, Report]:
        """The verdict on each array, or those of these numbers, up to the first whose gradient is wrong."""
        reports: dict[int, Report] = {}
        numbers = range(len(self.arrays)) if numbers is None else numbers
        for number, along in itertools.product(numbers, range(directions)):
            report = self._along(number, along, with_jvp)
            if report.verdict is Verdict.PRECISION_LIMITED and self._size(number) < 1:
                report = self._with_long_steps(report, number, along, with_jvp)
            reports[number] = max(report, reports.get(number, report), key=lambda r: (r.verdict.rank, r.precision))
            if report.verdict is Verdict.FAIL:
                break
        return reports

    def _along(self, number: int, along: int, with_jvp: bool) -> Report:
        """The verdict on one array in one direction: the first follows the gradient, so that nothing cancels."""
        g, bars = self.gradients[number], self.rounding[number]
        place = self.function.places[number]
        report = Report(self.name, Verdict.PASS, 0.0, place, self.function.label(place), self.arrays[number].shape)
        if g.shape != report.shape:
            report.verdict = Verdict.FAIL
            report.message = f"the gradient has the shape {g.shape}, not that of the input"
            return report
        v = self.rng.standard_normal(g.shape) * self._size(number)
        if along == 0:
            v = np.where(g == 0, v, np.copysign(v, g))
        path, given, rounding = self._path(number, v), float((g * v).sum()), _norm(bars * v)
        for measure in (noise_of, most_noise_of):  # most of them agree at once, and show no kink
            noise = measure(path, self.u)
            numeric = slope(path, self.u, noise)
            bar = numeric.error + rounding
            agrees = abs(given - numeric.value) <= bar  # NaN does not
            if agrees and numeric.jump <= bar:
                break
        if not np.isfinite(numeric.value):
            raise ValueError(f"{self.name}: no slope can be measured along {report.label}, since the function is "
                             "finite on one side only; move it away from the edge of where it is defined")
        report.precision = self._precision(path, g * v, bars * np.abs(v), bar + abs(given - numeric.value))
        if with_jvp and self._jvp_differs(report, number, v, rounding):
            report.verdict = Verdict.FAIL
        elif not agrees:
            report.verdict = self._doubt(path, numeric, number, v, rounding)
            if report.verdict is Verdict.FAIL:
                self._look_closer(report, number, noise)
        elif self.nonlinear[number]:
            report.verdict = Verdict.FAIL
            report.message = "it is not −2 times as large for −2·gy: a gradient is linear in the upstream gradient gy"
        elif numeric.jump > bar:
            report.verdict = Verdict.KINK
            report.message = f"along a random direction the slopes on either side differ by {numeric.jump:.6g}"
        elif report.precision > PROMISE[str(self.dtype)]:
            coarse = np.array_equal(path(2.0 ** -40), path(0.0))  # a function in fewer digits than its inputs have
            magnified = _norm(noise) > AMPLIFIED * self.digits * _norm(self.u * self.outputs)
            report.verdict = (Verdict.PRECISION_LIMITED if coarse or not magnified and rounding < numeric.error
                              else Verdict.ILL_CONDITIONED)
        return report

    def _with_long_steps(self, report: Report, number: int, along: int, with_jvp: bool) -> Report:
        """The verdict by steps as for inputs of size 1: near 0 most functions change no faster than there."""
        self.units[number] = 1.0
        another = self._along(number, along, with_jvp)
        if another.verdict in (Verdict.PASS, Verdict.FAIL):
            return another
        del self.units[number]
        return report

    def _precision(self, path: Path, along: np.ndarray, bars: np.ndarray, seen: float) -> float:
        """The relative error of a gradient that would be seen, from its parts along a direction and their rounding; 0
        where it is 0 but for rounding, infinite if it is nothing but noise.
        """
        scale = float(np.abs(along).sum())
        if scale > bars.sum():
            return seen / scale
        moved = path(FIRST)
        size = np.abs(self.u) @ np.where(np.isfinite(moved), np.abs(moved - self.outputs) / FIRST, 0)
        size += _norm(self.u * self.outputs)
        return 0.0 if _norm(bars) <= AMPLIFIED * float(np.finfo(self.dtype).eps) * size else np.inf

    def _doubt(self, path: Path, numeric: Slope, number: int, v: np.ndarray, rounding: float) -> Verdict:
        """FAIL, unless from nearer the function looks different, in fact as the gradient says, or the gradient is right
        in float64, and as near to that in float32 as outputs of that type are to theirs.
        """
        def near(t: float) -> np.ndarray:
            return path(t * CLOSE_BY)

        given = float((self.gradients[number] * v).sum())
        s = _scaled(slope(near, self.u, noise_of(near, self.u)), CLOSE_BY)
        contradicts = abs(s.value - numeric.value) > s.error + numeric.error
        if contradicts and abs(given - s.value) <= s.error + rounding:
            return Verdict.ILL_CONDITIONED
        wide = self.function.pull(self.shadow, [u.astype(np.float64) for u in self.us])[number]
        right = (wide is not None and wide.shape == v.shape
                 and abs((wide * v).sum() - numeric.value) <= numeric.error + rounding)
        resolved = AMPLIFIED * float(np.finfo(self.dtype).eps) * _norm(self.u * self.outputs)
        small = self.dtype == np.float32 and abs(given - numeric.value) <= resolved  # as 1 − tanh² where tanh is 1
        return Verdict.PRECISION_LIMITED if right and small else Verdict.FAIL

    def _jvp_differs(self, report: Report, number: int, v: np.ndarray, rounding: float) -> bool:
        tangents = [np.zeros_like(a) for a in self.arrays]
        tangents[number] = v.astype(self.dtype)
        pulled = float((self.gradients[number] * tangents[number]).sum())
        pushed = self.u * _vector(self.function.push(self.arrays, tangents))
        blur = 4 * SAFETY * (rounding + float(np.finfo(self.dtype).eps) * _norm(pushed))
        if abs(pushed.sum() - pulled) <= blur:
            return False
        report.message = (f"jvp and vjp disagree: ⟨u, J·v⟩ = {pushed.sum():.10g}, ⟨Jᵀ·u, v⟩ = {pulled:.10g}; one of "
                          "them is not the derivative")
        return True

    # -- element by element ------------------------------------------------------------------------------------------

    def _look_closer(self, report: Report, number: int, noise: np.ndarray) -> None:
        """Which elements are wrong, and which of them only seem so because the function has a kink there."""
        g, bars = np.reshape(self.gradients[number], -1), np.reshape(self.rounding[number], -1)
        if self.types[number] not in (None, self.dtype):
            report.message = f"it is given in {self.types[number]}, its input in {self.dtype}"
        start, stop = self._part(number, noise)
        slopes = [self._slope_over(number, i, np.ones(1), noise) for i in range(start, stop)]
        wrong: list[tuple[int, Slope]] = []
        kinks: list[tuple[int, Slope]] = []
        for i, s in enumerate(slopes, start):
            off, bar = abs(g[i] - s.value), s.error + bars[i]
            if not off <= bar:
                (kinks if off <= bar + s.jump / 2 else wrong).append((i, s))
        if stop - start == g.size:
            self.numeric[number] = np.array([s.value for s in slopes]).reshape(report.shape)
        found = wrong or kinks
        if not found:
            report.message = "no element alone is beyond its error bar, but all together are"
            return
        if not wrong:
            report.verdict = Verdict.KINK
        i, s = found[0]
        report.finding = Finding(tuple(map(int, np.unravel_index(i, report.shape))), float(g[i]), s.value,
                                 s.error + float(bars[i]), (s.value - s.jump / 2, s.value + s.jump / 2), len(found),
                                 stop - start)

    def _part(self, number: int, noise: np.ndarray) -> tuple[int, int]:
        """Where the first wrong element is, within as many elements as can be looked at one by one."""
        g, bars = np.reshape(self.gradients[number], -1), np.reshape(self.rounding[number], -1)
        start, stop = 0, g.size
        while stop - start > LOOKED_AT:
            middle = (start + stop) // 2
            v = self.rng.standard_normal(middle - start)
            s = self._slope_over(number, start, v, noise)
            right = abs(g[start:middle] @ v - s.value) <= s.error + _norm(bars[start:middle] * v)
            start, stop = (middle, stop) if right else (start, middle)
        return start, stop

    # -- lines through the point -------------------------------------------------------------------------------------

    def _path(self, number: int, direction: np.ndarray) -> Path:
        """The outputs along a direction of one of the arrays."""
        def at(t: float) -> np.ndarray:
            arrays = list(self.shadow)
            arrays[number] = arrays[number] + t * direction
            outputs = _vector(self.function.value(arrays))
            if outputs.shape != self.outputs.shape:
                raise ValueError(f"{self.name}: the function returned {self.outputs.size} numbers, and {outputs.size} "
                                 "for values close by; give it inputs around which their count is the same")
            return outputs

        return at

    def _size(self, number: int) -> float:
        """The typical size of the elements of an array, in which steps are measured."""
        return self.units.get(number) or _rms(self.shadow[number]) or 1.0

    def _slope_over(self, number: int, start: int, v: np.ndarray, noise: np.ndarray) -> Slope:
        """The slope along v in the elements from start on, those of the array in their order in memory."""
        direction = np.zeros(self.shadow[number].size)
        direction[start:start + len(v)] = v * self._size(number)
        path = self._path(number, direction.reshape(self.shadow[number].shape))
        return _scaled(slope(path, self.u, noise), self._size(number))


def _scaled(s: Slope, unit: float) -> Slope:
    """The slope per 1, from that per unit."""
    return Slope(s.value / unit, s.error / unit, s.jump / unit)


def _vector(arrays: Sequence[Any]) -> np.ndarray:
    """All elements of all arrays, in float64."""
    return np.concatenate([np.asarray(a, np.float64).reshape(-1) for a in arrays] or [np.zeros(0)])


def _norm(a: np.ndarray) -> float:
    return float(np.sqrt((a ** 2).sum()))


def _rms(a: np.ndarray) -> float:
    return float(np.sqrt(np.mean(a ** 2))) if a.size else 0.0
