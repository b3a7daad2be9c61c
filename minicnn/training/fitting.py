"""fit: training in one call."""

from typing import Any

from ..backend import CPU
from ..data import DataLoader, ImageDataset
from ..nn import Module
from .compiling import announce_compiling
from .display import display
from .history import History
from .optimisation import begin
from .pipeline import left_out, loaders
from .recipes import Recipe, recipe_for
from .trainer import Trainer

__all__ = ["fit"]

# Fields of Recipe that are settled before fit is called, and where; and those that say how batches are made. Pixels say
# of a DataLoader whether raw ones are meant.
MADE = {"data": "it is the name of the data set", "width": "it is an option of models.create",
        "dtype": "model.to(dtype) converts the model"}
OF_BATCHES = ("batch_size", "pad", "resize", "augment", "seed")


def fit(model: Module, train: Any, val: Any = None, *, verbose: bool = True, **settings: Any) -> History:
    """Train a model on images and return what it recorded, epoch by epoch.

        train, val = (minicnn.data.load("digits", split) for split in ("train", "validation"))
        history = minicnn.training.fit(minicnn.models.create("lenet"), train, val, epochs=5, lr=0.01)
        history.history["val_accuracy"]

    Args:
        model: any Module that maps images (N, C, H, W) to logits (N, K); its weights are where training begins, unless
            ``init`` is among the settings. On a GPU, steps are recorded as a CUDA graph, where that can be.
        train, val: each an ImageDataset, made into batches as the settings say, or both DataLoaders, taken as they are.
        verbose: print a line per epoch, and a bar in a terminal.
        settings: fields of ``Recipe`` that are to differ from the table's line for this model and data. ``seed`` is of
            the order of the images and of augmentation; what else is random follows ``minicnn.manual_seed``.

    Raises:
        NonFiniteError: the loss or a gradient became NaN or infinite.
        TypeError: train and val are not of one kind, or a setting is about what is made already.
    """
    spec = getattr(model, "spec", None)
    are_images = isinstance(train, ImageDataset)
    kind = ImageDataset if are_images else DataLoader
    if not all(isinstance(samples, kind) for samples in ([train] if val is None else [train, val])):
        raise TypeError(f"fit: train is a {type(train).__name__} and val a {type(val).__name__}; both must be "
                        "ImageDatasets, or both DataLoaders (val may be None)")
    made = MADE if are_images else MADE | dict.fromkeys(OF_BATCHES, "a DataLoader is taken as it is")
    for name in settings:
        if name in made:
            raise TypeError(f"fit: {name} cannot be set here: {made[name]}")
    settings = {"init": "default", "last_bias": None, **settings}
    device = next((p.device for p in model.parameters()), CPU)
    if are_images:
        recipe = recipe_for(spec.name if spec else "", train.name, **settings)
        train, val = loaders(recipe, train, val, device=str(device), model=model)
        if verbose and (line := left_out(train)):
            print(line)
    else:
        recipe = Recipe.make(Recipe(), **settings)
    begin(model, recipe)
    with announce_compiling(print if verbose else lambda line: None):
        return Trainer(model, recipe, train, val, observer=display(quiet=not verbose),
                       capture=device.type == "cuda").run()
