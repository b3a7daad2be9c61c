"""Exercises: backward passes to write in NumPy, checked, and what was forgotten told by the known mistakes."""

from .exercise import Exercise, Result, Trial
from .tasks import EXERCISES

__all__ = ["EXERCISES", "Exercise", "Result", "Trial"]
