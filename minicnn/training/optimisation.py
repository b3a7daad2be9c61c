"""From a recipe to initial weights, an optimiser and its schedule."""

from collections.abc import Iterable
from typing import Any

from .. import models, nn, optim
from ..optim import lr_scheduler
from ..engine import Parameter
from .recipes import Recipe, RecipeError

__all__ = ["begin", "make_optimizer", "make_schedule"]

DROPS = {"step": ((1, 3), (2, 3)), "multistep": ((1, 2), (3, 4))}  # parts of all steps, after which the rate is a tenth


def begin(model: nn.Module, recipe: Recipe) -> None:
    """Give a new model the recipe's initial weights.

    Raises:
        RecipeError: the model has no such bias as the recipe gives a value.
    """
    models.initialise(model, recipe.init)
    if recipe.last_bias is not None:
        convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
        if not convolutions or convolutions[-1].bias is None:
            raise RecipeError(f"recipe: last_bias = {recipe.last_bias} needs a last convolution with a bias, which "
                              f"{type(model).__name__} has not")
        nn.init.constant_(convolutions[-1].bias, recipe.last_bias)


def make_optimizer(recipe: Recipe, parameters: Iterable[Parameter]) -> optim.Optimizer:
    """The recipe's optimiser over some parameters."""
    options: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if recipe.opt in ("sgd", "momentum"):
        return optim.SGD(parameters, momentum=recipe.momentum or 0.0, **options)
    return {"adam": optim.Adam, "adamw": optim.AdamW}[recipe.opt](parameters, **options)


def make_schedule(recipe: Recipe, optimizer: optim.Optimizer, steps_per_epoch: int) -> lr_scheduler.LRScheduler:
    """The recipe's schedule, which is stepped after every step of the optimiser."""
    total = recipe.epochs * steps_per_epoch
    if recipe.sched == "onecycle":
        rise = 0.3 if recipe.warmup_epochs is None else recipe.warmup_epochs / recipe.epochs
        return lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=total, pct_start=rise,
                                       cycle_momentum=recipe.opt != "sgd")
    warmup = round((recipe.warmup_epochs or 0) * steps_per_epoch)
    main: lr_scheduler.LRScheduler
    if recipe.sched == "cosine":
        main = lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(1, total - warmup))
    elif recipe.sched in DROPS:
        drops = [max(0, -(-total * part // whole) - warmup) for part, whole in DROPS[recipe.sched]]
        main = lr_scheduler.MultiStepLR(optimizer, drops, gamma=0.1)
    else:
        main = lr_scheduler.ConstantLR(optimizer, factor=1.0)
    if not warmup:
        return main
    rising = lr_scheduler.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return lr_scheduler.SequentialLR(optimizer, [rising, main], milestones=[warmup])
