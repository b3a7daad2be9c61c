"""How each network is trained unless told otherwise: one table for all defaults."""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

from ..models.registry import ENTRIES

__all__ = ["Recipe", "RecipeError", "recipe_for"]

OPTIMISERS = {"sgd": 0.1, "momentum": 0.05, "adam": 0.002, "adamw": 0.002}  # each with the learning rate it begins at
SCHEDULES = ("none", "step", "cosine", "onecycle")
INITS = ("default", "xavier", "kaiming")
PIXELS = ("normalize", "unit", "raw")


class RecipeError(ValueError):
    """A recipe that does not exist, or a value in one that makes no sense."""


@dataclass(frozen=True)
class Recipe:
    """All that decides how a network learns.

    Attributes:
        data: name of the data set.
        epochs: passes over the training images.
        batch_size: images per step.
        opt: sgd (plain), momentum (SGD with momentum), adam or adamw.
        lr: learning rate, the largest one of the schedule.
        momentum: of opt momentum; None for the others.
        weight_decay: added to the gradient as weight_decay·w; decoupled from it for adamw.
        sched: none; step: a tenth after each third of the epochs; cosine: down to 0; onecycle: up, then down to 0
            (Smith 2018).
        warmup_epochs: epochs, or a fraction of one, in which the learning rate rises linearly; for onecycle the length
            of its rise, None for its usual 30 %.
        label_smoothing: share of the target spread over all classes.
        clip_grad: largest 2-norm of the gradient; None leaves it as it is.
        accum: batches whose gradients are averaged to one step.
        init: default (PyTorch's); xavier or kaiming: uniform weights, biases 0.
        pixels: normalize (mean 0, standard deviation 1 over the training images), unit (0 … 1) or raw (0 … 255).
        pad: border of background added to every image.
        resize: side that images are brought to; None leaves them.
        augment: random shifts by up to an eighth, for colour images mirroring too; He et al. 2015, section 4.2.
        dtype: float32 or float64.
        seed: of the initial weights, the order of the images, dropout and augmentation.
    """

    data: str = "digits"
    epochs: int = 10
    batch_size: int = 128
    opt: str = "adam"
    lr: float = 0.002
    momentum: float | None = None
    weight_decay: float = 0.0
    sched: str = "onecycle"
    warmup_epochs: float | None = None
    label_smoothing: float = 0.0
    clip_grad: float | None = None
    accum: int = 1
    init: str = "default"
    pixels: str = "normalize"
    pad: int = 0
    resize: int | None = None
    augment: bool = False
    dtype: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in (("opt", OPTIMISERS), ("sched", SCHEDULES), ("init", INITS), ("pixels", PIXELS),
                              ("dtype", ("float32", "float64"))):
            if getattr(self, name) not in choices:
                raise RecipeError(f"recipe: {name} = {getattr(self, name)!r} must be one of {', '.join(choices)}")
        for name in ("epochs", "batch_size", "accum"):
            if getattr(self, name) < 1:
                raise RecipeError(f"recipe: {name} = {getattr(self, name)} must be at least 1")
        for name in ("lr", "clip_grad"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise RecipeError(f"recipe: {name} = {value} must be a positive number")
        for name, low, high in (("weight_decay", 0, math.inf), ("label_smoothing", 0, 1), ("momentum", 0, 1),
                                ("warmup_epochs", 0, self.epochs), ("seed", 0, 2**64)):
            value = getattr(self, name)
            if value is not None and not low <= value < high:
                raise RecipeError(f"recipe: {name} = {value} must be at least {low} and less than {high}")
        if self.momentum is not None and self.opt != "momentum":
            raise RecipeError(f"recipe: momentum belongs to opt momentum; {self.opt} has none")

    @classmethod
    def make(cls, base: "Recipe", **changes: Any) -> "Recipe":
        """A recipe changed in some places; another optimiser brings its own learning rate and momentum with it."""
        opt = changes.get("opt", base.opt)
        if opt != base.opt:
            changes = {"lr": OPTIMISERS.get(opt, base.lr), "momentum": None, **changes}
        recipe = replace(base, **changes)
        return replace(recipe, momentum=0.9) if opt == "momentum" and recipe.momentum is None else recipe

    def summary(self) -> str:
        """The recipe in a line or two, for people."""
        warmup = f" (warm-up {self.warmup_epochs:g} epochs)" if self.warmup_epochs else ""
        parts = [f"{self.epochs} epochs", f"batch {self.batch_size}" + (f" × {self.accum}" if self.accum > 1 else ""),
                 f"{self.opt} lr {self.lr:g}" + (f" momentum {self.momentum:g}" if self.opt == "momentum" else ""),
                 f"schedule {self.sched}{warmup}", f"init {self.init}", f"pixels {self.pixels}"]
        for field in fields(self):
            value, name = getattr(self, field.name), field.name.replace("_", " ")
            if field.name in _OPTIONAL and value != field.default:
                parts.append(name if value is True else f"{name} {value}")
        return ", ".join([*parts, f"seed {self.seed}"])


_OPTIONAL = ("weight_decay", "label_smoothing", "clip_grad", "pad", "resize", "augment", "dtype")

ANY = "*"
SIGMOID = {"lr": 0.01, "init": "xavier"}  # steep enough a start to leave the plateau on which sigmoids begin

# 24 epochs instead of the paper's 164: up to twice its rate, and five times its decay, which short runs want
CIFAR = {"epochs": 24, "opt": "momentum", "lr": 0.2, "weight_decay": 5e-4, "augment": True}
CIFAR_DIGITS = {"epochs": 10, "lr": 0.05, "augment": False}
CIFAR_NETS = [f"{kind}{depth}" for kind in ("resnet", "plain") for depth in (20, 32, 44, 56, 110)]

# (model, data) → what differs from Recipe(). Lines are applied in the order (ANY, data), (model, ANY), (model, data).
TABLE: dict[tuple[str, str], dict[str, Any]] = {
    (ANY, "digits"): {"epochs": 20, "batch_size": 32},
    ("lenet", ANY): SIGMOID,
    ("lenet5", ANY): {**SIGMOID, "pad": 2},
    ("lenet_maxpool", ANY): SIGMOID,
    ("lenet_bn", ANY): {"lr": 0.01},
    ("cnn2", ANY): {"lr": 0.001},
    ("cnn2", "digits"): {"epochs": 10},
    ("cnn2", "mnist"): {"augment": True},
    **{(model, ANY): CIFAR for model in CIFAR_NETS},
    **{(model, "digits"): CIFAR_DIGITS for model in CIFAR_NETS},
}

# Recipes with a name: what a text prescribes for one model.
NAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "note003": ("lenet_tanh", {"data": "mnist", "epochs": 30, "batch_size": 128, "opt": "sgd", "lr": 0.01,
                               "sched": "none", "init": "xavier", "pixels": "raw"}),
}


def recipe_for(model: str, data: str | None = None, name: str | None = None, **changes: Any) -> Recipe:
    """The recipe for a model on a data set.

    Args:
        model: name of the model.
        data: name of the data set; None is what the named recipe uses, or the digits.
        name: a recipe of ``NAMED`` instead of the defaults.
        changes: fields of Recipe that are to differ.

    Raises:
        RecipeError: there is no such recipe, it is for another model, or a value is out of range; or the model does not
            read images.
    """
    if model in ENTRIES and not ENTRIES[model].reads_images:
        raise RecipeError(f"{model} reads texts, and recipes are for images; examples/04_sequences.py trains it")
    if name is None:
        data = data or Recipe.data
        base = Recipe(data=data)
        for key in ((ANY, data), (model, ANY), (model, data)):
            base = Recipe.make(base, **TABLE.get(key, {}))
    elif name not in NAMED:
        raise RecipeError(f"recipe {name!r} is unknown; recipes: {', '.join(NAMED)}")
    else:
        owner, values = NAMED[name]
        if model != owner:
            raise RecipeError(f"recipe {name!r} is for {owner}, not for {model}")
        base = Recipe.make(Recipe(), **values)
        if data:
            base = replace(base, data=data)
    return Recipe.make(base, **changes)
