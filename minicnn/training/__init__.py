"""Training: ``fit`` for a call, ``Trainer`` for a run that can be interrupted, recipes, checkpoints, evaluation."""

from .checkpoint import load, save
from .diagnosis import NonFiniteError
from .evaluation import Evaluation, evaluate
from .files import SaveError
from .fitting import fit
from .history import History, Row
from .pipeline import loaders
from .plots import plot_history
from .preflight import Finding, preflight
from .recipes import Recipe, RecipeError, recipe_for
from .run_folder import RunError, RunFolder
from .signals import Interrupted
from .trainer import Observer, Progress, Trainer

__all__ = ["Evaluation", "Finding", "History", "Interrupted", "NonFiniteError", "Observer", "Progress", "Recipe",
           "RecipeError", "Row", "RunError", "RunFolder", "SaveError", "Trainer", "evaluate", "fit", "load", "loaders",
           "plot_history", "preflight", "recipe_for", "save"]
