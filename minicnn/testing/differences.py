"""The slope of a function by differences, with an error bar that is measured, not chosen.

Central differences at steps h, h/2, h/4, ... have an error of c₂h² + c₄h⁴ + ..., which Richardson's extrapolation takes
out power by power, until what the steps disagree by is no more than what rounding does to them. The rounding is
measured, too: over a few points so near to each other that the function is all but a polynomial of degree three, fourth
differences are nothing but noise (Hamming 1962; Moré & Wild 2011). Ridders 1982 stops by the same rule.

A kink shows in the slopes to the right and to the left: halving the step halves their difference where the function is
smooth, and leaves it as it is where there is a kink. So it is with a step, and the difference of the values.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

FIRST = 2.0 ** -5  # the largest step, in units of the typical size of an input
HALVINGS = 26
NEAR = 2.0 ** -18  # the distance of the points that noise is measured on
DOUBTS = 4.0  # how many standard deviations of noise an error bar covers

Path = Callable[[float], np.ndarray]  # the outputs, as one vector in float64, at a distance t along a line


class Slope(NamedTuple):
    """d/dt of ⟨u, f(t)⟩ at 0."""

    value: float
    error: float  # the bar: the true value is within it
    jump: float  # Σ |u|·|slope to the right − slope to the left| where there is a kink or a step, else 0


def noise_of(path: Path, u: np.ndarray, start: float = 0.0, points: int = 8) -> np.ndarray:
    """The standard deviation of the rounding error of each u·f around start, at least half a last place."""
    f = np.stack([path(start + NEAR * k) for k in range(points)])
    floor = np.finfo(np.float64).eps / 2 * np.abs(f[0])
    f = f[1:]  # on one side, in case there is a kink
    fourth = f[4:] - 4 * f[3:-1] + 6 * f[2:-2] - 4 * f[1:-3] + f[:-4]
    measured = np.sqrt((fourth ** 2).mean(0) / 70)  # 70 = 1² + 4² + 6² + 4² + 1²
    noise = np.abs(u) * np.fmax(measured, floor)
    return np.where(np.isfinite(noise), noise, 0.0)  # beyond the edge of the domain


def most_noise_of(path: Path, u: np.ndarray) -> np.ndarray:
    """The same for all points that slope may look at, from enough of them to rely on; a kink in one of the places is
    not taken for noise."""
    here, right, left = [noise_of(path, u, start, points=40) for start in (0.0, FIRST, -FIRST)]
    return np.maximum(here, np.minimum(right, left))


def slope(path: Path, u: np.ndarray, noise: np.ndarray) -> Slope:
    """The slope of ⟨u, f⟩ at 0, noise being what noise_of tells."""
    here, best = path(0.0), Slope(np.nan, np.inf, 0.0)
    above: list[float] = []  # the row of the tableau for the step before
    bend_before = rise_before = 0.0
    for k in range(HALVINGS):
        h = FIRST / 2 ** k
        right, left = path(h), path(-h)
        if not (np.isfinite(right).all() and np.isfinite(left).all()):  # beyond the edge of the domain
            above = []
            continue
        row = [float(u @ (right - left)) / (2 * h)]
        bend, rise = np.abs(u) @ np.abs(right - 2 * here + left) / h, np.abs(u) @ np.abs(right - left)
        blur, most = DOUBTS * float(np.sqrt((noise ** 2).sum())) / h, 4 * DOUBTS * noise.sum() / h
        jump = 0.0
        if bend > max(0.75 * bend_before, most):
            jump = float(bend)
        if rise > 0.75 * rise_before and rise / h > most:
            jump = float(rise) / h
        for j, higher in enumerate(above, 1):
            row.append(row[-1] + (row[-1] - higher) / (4 ** j - 1))
            apart = max(abs(row[-1] - row[-2]), abs(row[-1] - higher))
            if apart + blur < best.error:
                best = Slope(row[-1], apart + blur, jump)
        if best.error <= 2 * blur:  # smaller steps would only be noisier
            break
        above, bend_before, rise_before = row, bend, rise
    return best
