"""How far to go along a direction: a step that satisfies the strong Wolfe conditions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Point", "strong_wolfe"]

ENOUGH = 1e-4  # c₁: the loss must fall by this part of what the slope at the start promises
FLAT = 0.9  # c₂: and the slope must shrink to this part of that at the start


class Point(NamedTuple):
    """A place t steps along the direction: the loss there, its gradient, and its slope along the direction."""

    t: Any
    loss: Any
    gradient: Any
    slope: Any


def _lowest(a: Point, b: Point, least: Any, most: Any) -> Any:
    """Where the cubic with the losses and slopes of two points is lowest, between bounds."""
    if a.t > b.t:
        a, b = b, a
    d = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    squared = d ** 2 - a.slope * b.slope
    if not squared >= 0:
        return (least + most) / 2
    root = np.sqrt(squared)
    t = b.t - (b.t - a.t) * ((b.slope + root - d) / (b.slope - a.slope + 2 * root))
    return min(max(t, least), most)


@np.errstate(all="ignore")  # two points of equal loss and slope say nothing about what lies between
def strong_wolfe(evaluate: Callable[[Any], Point], start: Point, t: Any, reach: Any, tolerance: float,
                 most: int) -> tuple[Point, int]:
    """A point with loss ≤ start.loss + c₁·t·start.slope and |slope| ≤ −c₂·start.slope, and how often it evaluated.

    t is tried first. While no interval contains such a point the next t is up to ten times as far; then the interval
    shrinks, until it is shorter than tolerance/reach. The best point so far is returned after most trials. Nocedal &
    Wright 2006, algorithms 3.5 and 3.6; the same steps as PyTorch's.
    """
    def too_high(point: Point) -> bool:
        return point.loss > start.loss + ENOUGH * point.t * start.slope

    def flat(point: Point) -> bool:
        return abs(point.slope) <= -FLAT * start.slope

    previous, point, trials = start, evaluate(t), 0
    while trials < most:
        if too_high(point) or trials > 1 and point.loss >= previous.loss:
            interval = [previous, point]
            break
        if flat(point):
            return point, trials + 1
        if point.slope >= 0:
            interval = [previous, point]
            break
        following = _lowest(previous, point, point.t + 0.01 * (point.t - previous.t), point.t * 10)
        previous, point, trials = point, evaluate(following), trials + 1
    else:
        interval = [start, point]
    low = int(not interval[0].loss <= interval[1].loss)  # which of the two is better
    stuck = False
    while trials < most and not abs(interval[1].t - interval[0].t) * reach < tolerance:
        left, right = sorted([interval[0].t, interval[1].t])
        t = _lowest(interval[0], interval[1], left, right)
        margin = 0.1 * (right - left)
        near = min(right - t, t - left) < margin
        if near and (stuck or t >= right or t <= left):
            t, near = right - margin if abs(t - right) < abs(t - left) else left + margin, False
        stuck = near
        point, trials = evaluate(t), trials + 1
        if too_high(point) or point.loss >= interval[low].loss:
            interval[1 - low] = point
            low = int(not interval[0].loss <= interval[1].loss)
            continue
        if flat(point):
            return point, trials + 1
        if point.slope * (interval[1 - low].t - interval[low].t) >= 0:
            interval[1 - low] = interval[low]
        interval[low] = point
    return interval[low], trials + 1
