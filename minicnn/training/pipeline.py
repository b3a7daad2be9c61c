"""From a data set to the batches that a recipe wants."""

from dataclasses import replace
from typing import Any

import numpy as np

from .. import models, nn
from ..data import DataLoader, ImageDataset, transforms
from ..data.sequences import SequenceDataset
from .recipes import Recipe

__all__ = ["fitted", "left_out", "loaders", "transform_for"]

AHEAD = 2  # batches
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
Samples = ImageDataset | SequenceDataset


def fitted(recipe: Recipe, model: str, shape: tuple[int, ...]) -> Recipe:
    """The recipe, with images of another size than the model's resized to it unless the recipe says otherwise."""
    if not models.entry(model).reads_images:
        return recipe
    _, height, width = models.entry(model).input_shape
    size = tuple(n + 2 * recipe.pad for n in shape[1:])
    return recipe if recipe.resize is not None or size == (height, width) else replace(recipe, resize=height)


def transform_for(recipe: Recipe, mean: Any, std: Any, *, shape: tuple[int, ...], train: bool) -> transforms.Compose:
    """What makes the recipe's input out of uint8 images of this shape (C, H, W).

    Args:
        mean, std: per channel, of the training images in 0 … 1.
        train: whether random changes are wanted too, where the recipe has them.
    """
    channels, height, width = shape
    steps: list[Any] = []
    if train and recipe.augment:
        steps.append(transforms.RandomCrop((height, width), padding=height // 8))
        if channels == 3:
            steps.append(transforms.RandomHorizontalFlip())
    if recipe.pad:
        steps.append(transforms.Pad(recipe.pad))
    if recipe.resize is not None:
        steps.append(transforms.Resize((recipe.resize, recipe.resize)))
    half = [0.5] * channels
    levels = {"normalize": transforms.Normalize(mean, std), "unit": transforms.ToFloat(),
              "signed": transforms.Normalize(half, half), "raw": transforms.RawPixels()}
    return transforms.Compose([*steps, levels[recipe.pixels]])


def loaders(recipe: Recipe, train: Samples, val: Samples | None, workers: int = 1, device: str = "cpu", *,
            model: nn.Module | None = None) -> tuple[DataLoader, DataLoader | None]:
    """Shuffled batches of what is to be learnt, and batches of what is held out in their order, on the device.

    They are prepared ahead by a thread of each loader, or when they are needed with ``workers=0``. If the model has
    batch norm, which needs more than one value, a last batch of one sample is left out: in each epoch another one.
    """
    transform = _transform(recipe, train, train.mean, train.std, train=True)
    normalises = model is not None and any(isinstance(layer, BATCH_NORMS) for layer in model.modules())
    drop_last = normalises and len(train) % recipe.batch_size == 1 < len(train)
    shuffled = DataLoader(train, recipe.batch_size, shuffle=True, seed=recipe.seed, drop_last=drop_last,
                          transform=transform, prefetch=AHEAD * workers, device=device)
    return shuffled, None if val is None else val_loader(recipe, val, train.mean, train.std, workers, device)


def left_out(train: DataLoader) -> str | None:
    """What ``loaders`` leaves out of each epoch, in a line for people; None if that is nothing."""
    if not train.drop_last:
        return None
    return (f"batches: of {len(train.dataset):,} in batches of {train.batch_size} one is left, too few for batch norm; "
            "each epoch leaves out another")


def val_loader(recipe: Recipe, val: Samples, mean: Any, std: Any, workers: int = 1,
               device: str = "cpu") -> DataLoader:
    """Batches of held-out images in their order, prepared as the training images of this mean and std are."""
    transform = _transform(recipe, val, mean, std, train=False)
    return DataLoader(val, recipe.batch_size, transform=transform, prefetch=AHEAD * workers, device=device)


def _transform(recipe: Recipe, samples: Samples, mean: Any, std: Any, train: bool) -> transforms.Compose | None:
    """What is done to images; texts are taken as they are."""
    if isinstance(samples, SequenceDataset):
        return None
    return transform_for(recipe, mean, std, shape=samples.images.shape[1:], train=train)


def for_prediction(settings: dict[str, Any], images: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W) uint8 as the model of a run expects them, by the settings that the run recorded."""
    data = settings["data"]
    recipe = Recipe(**settings["recipe"])
    return transform_for(recipe, data["mean"], data["std"], shape=images.shape[1:], train=False)(images)
