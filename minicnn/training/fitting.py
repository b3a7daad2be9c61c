"""fit: training in one call."""

from typing import Any

from ..data import ImageDataset
from ..nn import Module
from .compiling import announce_compiling
from .display import display
from .history import History
from .optimisation import begin
from .pipeline import loaders
from .recipes import Recipe, recipe_for
from .trainer import Trainer

__all__ = ["fit"]


def fit(model: Module, train: Any, val: Any = None, *, verbose: bool = True, **settings: Any) -> History:
    """Train a model on images and return what it recorded, epoch by epoch.

        train, val = (minicnn.data.load("digits", split) for split in ("train", "validation"))
        history = minicnn.training.fit(minicnn.models.create("lenet"), train, val, epochs=5, lr=0.01)
        history.history["val_accuracy"]

    Args:
        model: any Module that maps images (N, C, H, W) to logits (N, K); its weights are where training begins, unless
            ``init`` is among the settings.
        train, val: each an ImageDataset, made into batches as the settings say, or both DataLoaders, taken as they are.
        verbose: print a line per epoch, and a bar in a terminal.
        settings: fields of ``Recipe`` that are to differ from the table's line for this model and data.

    Raises:
        NonFiniteError: the loss or a gradient became NaN or infinite.
    """
    spec = getattr(model, "spec", None)
    if "width" in settings:
        raise TypeError("fit: the model is made already; its width is an option of models.create")
    settings = {"init": "default", "last_bias": None, **settings}
    if isinstance(train, ImageDataset):
        recipe = recipe_for(spec.name if spec else "", train.name, **settings)
        train, val = loaders(recipe, train, val)
    else:
        recipe = Recipe.make(Recipe(), **settings)
    begin(model, recipe)
    with announce_compiling(print if verbose else lambda line: None):
        return Trainer(model, recipe, train, val, observer=display(quiet=not verbose)).run()
