"""How each network is trained unless told otherwise: one table for all defaults."""

import math
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any

from ..nn.arguments import is_whole

__all__ = ["Recipe", "RecipeError", "recipe_for"]

OPTIMISERS = {"sgd": 0.1, "momentum": 0.05, "adam": 0.002, "adamw": 0.002}  # each with the learning rate it begins at
SCHEDULES = ("none", "step", "multistep", "cosine", "onecycle")
INITS = ("default", "xavier", "kaiming")
PIXELS = ("normalize", "unit", "signed", "raw")


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
        sched: none; step: a tenth after each third of the epochs; multistep: a tenth after half of them and after three
            quarters (He et al. 2015); cosine: down to 0; onecycle: up, then down to 0 (Smith 2018).
        warmup_epochs: epochs, or a fraction of one, in which the learning rate rises linearly; for onecycle the length
            of its rise, None for its usual 30 %.
        label_smoothing: share of the target spread over all classes.
        clip_grad: largest 2-norm of the gradient; None leaves it as it is.
        accum: batches whose gradients are averaged to one step.
        init: default (PyTorch's); xavier or kaiming: uniform weights, biases 0.
        last_bias: initial bias of the last convolution; None leaves it. Where its output goes through ReLU, a class
            that begins below 0 gets no gradient and may never be learnt.
        width: times as many channels and hidden units as the model has in its paper.
        pixels: normalize (mean 0, standard deviation 1 over the training images), unit (0 … 1), signed (−1 … 1) or raw
            (0 … 255).
        pad: border of background added to every image.
        resize: side that images are brought to; None leaves them.
        augment: random shifts by up to an eighth, for colour images mirroring too; He et al. 2015, section 4.2.
        dtype: float32 or float64.
        amp: none; float16 or bfloat16: mixed precision, the weights staying in dtype.
        tf32: whether a GPU's products of float32 may round their factors to the 10 bits of TF32.
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
    last_bias: float | None = None
    width: float = 1.0
    pixels: str = "normalize"
    pad: int = 0
    resize: int | None = None
    augment: bool = False
    dtype: str = "float32"
    amp: str = "none"
    tf32: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in (("opt", OPTIMISERS), ("sched", SCHEDULES), ("init", INITS), ("pixels", PIXELS),
                              ("dtype", ("float32", "float64")), ("amp", ("none", "float16", "bfloat16"))):
            if getattr(self, name) not in choices:
                raise RecipeError(f"recipe: {name} = {getattr(self, name)!r} must be one of {', '.join(choices)}")
        for name, least in (("epochs", 1), ("batch_size", 1), ("accum", 1), ("resize", 1), ("pad", 0), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and not is_whole(value, least):
                raise RecipeError(f"recipe: {name} = {value} must be an integer of at least {least}")
        for name in ("lr", "clip_grad", "width"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise RecipeError(f"recipe: {name} = {value} must be a positive number")
        for name, low, high in (("weight_decay", 0, math.inf), ("label_smoothing", 0, 1), ("momentum", 0, 1),
                                ("warmup_epochs", 0, self.epochs), ("seed", 0, 2**64)):
            value = getattr(self, name)
            if value is not None and not low <= value < high:
                raise RecipeError(f"recipe: {name} = {value} must be at least {low} and less than {high}")
        if self.amp != "none" and self.dtype != "float32":
            raise RecipeError(f"recipe: amp = {self.amp!r} is for dtype float32, not {self.dtype}")
        if self.momentum is not None and self.opt != "momentum":
            raise RecipeError(f"recipe: momentum belongs to opt momentum; {self.opt} has none")
        if self.momentum is None and self.opt == "momentum":
            raise RecipeError("recipe: momentum = None must be a number for opt momentum")
        for name in ("pixels", "pad", "resize", "augment") if self.data in TASKS.values() else ():
            if getattr(self, name) != getattr(Recipe, name):
                raise RecipeError(f"recipe: {name} = {getattr(self, name)!r} is for images; {self.data} are texts")

    @classmethod
    def make(cls, base: "Recipe", **changes: Any) -> "Recipe":
        """A recipe changed in some places; another optimiser brings its own learning rate and momentum with it."""
        names = [field.name for field in fields(cls)]
        unknown = [name for name in changes if name not in names]
        if unknown:
            raise TypeError(f"recipe: {unknown[0]!r} is unknown; there are {', '.join(names)}")
        opt = changes.get("opt", base.opt)
        if opt != base.opt:
            changes = {"lr": OPTIMISERS.get(opt, base.lr), "momentum": 0.9 if opt == "momentum" else None, **changes}
        return replace(base, **changes)

    def summary(self) -> str:
        """The recipe in a line or two, for people."""
        warmup = f" (warm-up {self.warmup_epochs:g} epochs)" if self.warmup_epochs else ""
        parts = [f"{self.epochs} epoch" + "s" * (self.epochs != 1),
                 f"batch {self.batch_size}" + (f" × {self.accum}" if self.accum > 1 else ""),
                 f"{self.opt} lr {self.lr:g}" + (f" momentum {self.momentum:g}" if self.opt == "momentum" else ""),
                 f"schedule {self.sched}{warmup}", f"init {self.init}"]
        if self.data not in TASKS.values():
            parts.append(f"pixels {self.pixels}")
        for field in fields(self):
            value, name = getattr(self, field.name), field.name.replace("_", " ")
            if field.name in _OPTIONAL and value != field.default:
                parts.append(name if value is True else f"{name} {value}")
        return ", ".join([*parts, f"seed {self.seed}"])


_OPTIONAL = ("weight_decay", "label_smoothing", "clip_grad", "last_bias", "width", "pad", "resize", "augment", "dtype",
             "amp", "tf32")

ANY = "*"
DIGITS_BATCH = 31  # of networks with batch norm: 32 would leave 2 of 1,442 images for a last batch, and spoil its means
SIGMOID = {"lr": 0.01, "init": "xavier"}  # steep enough a start to leave the plateau on which sigmoids begin
LAST_RELU = {"init": "kaiming", "last_bias": 1.0, "lr": 0.001, "width": 0.5}
CIFAR_NETS = " ".join(f"{kind}{depth}" for kind in ("resnet", "plain") for depth in (20, 32, 44, 56, 110))
IMAGENET_RESNETS = "resnet18 resnet34 resnet50 resnet101 resnet152 wide_resnet50_2 resnext50_32x4d"

# Models, data → what differs from Recipe(). Every line that fits is applied, later ones win; * stands for any letters.
# The widths and sizes make each network one that a CPU trains in minutes; NAMED has those of papers and books.
TABLE: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (ANY, "digits", {"epochs": 10, "batch_size": 32}),
    ("lenet* image_rnn", "digits", {"epochs": 20}),
    ("lenet lenet5 lenet_maxpool", ANY, SIGMOID),
    ("lenet5 lenet5_1998", ANY, {"pad": 2}),
    ("lenet5_1998", ANY, {"lr": 0.003}),
    ("lenet_bn", ANY, {"lr": 0.01}),
    ("cnn2", ANY, {"lr": 0.001}),
    ("study", ANY, {"init": "xavier", "lr": 0.001}),
    ("cnn2", "mnist", {"augment": True}),
    ("alexnet*", ANY, {"init": "kaiming", "lr": 0.001, "width": 0.25}),
    ("alexnet", ANY, {"resize": 64}),
    ("vgg*", ANY, {"init": "kaiming", "lr": 0.001, "width": 0.25, "resize": 32}),
    ("vgg11_d2l vgg16_gray", ANY, {"width": 0.125, "resize": 224}),
    ("vgg11_d2l vgg16_gray", "digits", {"epochs": 5}),
    ("nin", ANY, {**LAST_RELU, "init": "xavier", "resize": 128}),
    ("nin_cifar", ANY, LAST_RELU),
    ("squeezenet*", ANY, {**LAST_RELU, "resize": 64}),
    ("googlenet*", ANY, {"init": "kaiming", "lr": 0.001, "width": 0.5, "resize": 64}),
    ("inception_v3", ANY, {"width": 0.25, "resize": 96}),
    (f"resnet18_d2l {IMAGENET_RESNETS}", ANY, {"width": 0.25, "resize": 64}),
    ("resnext50_32x4d", ANY, {"width": 0.5}),
    ("densenet* mobilenet_v2", ANY, {"width": 0.5, "resize": 64}),
    # 24 epochs instead of the paper's 164: up to twice its rate, and five times its decay, which short runs want
    (CIFAR_NETS, ANY, {"epochs": 24, "opt": "momentum", "lr": 0.2, "weight_decay": 5e-4, "augment": True}),
    (CIFAR_NETS, "digits", {"epochs": 10, "lr": 0.05, "augment": False}),
    ("resn* wide* plain* densenet* mobilenet* googlenet inception_v3 vgg*_bn alexnet_bn", "digits",
     {"batch_size": DIGITS_BATCH}),
    ("resnet110 plain110", "digits", {"width": 0.5}),
    ("image_rnn", ANY, {"lr": 0.004, "clip_grad": 1.0}),  # through many steps gradients can explode
    ("rnn_classifier", ANY, {"epochs": 5, "batch_size": 32, "lr": 0.003, "clip_grad": 1.0}),
    ("birnn_tagger", ANY, {"epochs": 5, "batch_size": 32, "lr": 0.005, "clip_grad": 1.0}),
    ("seq2seq", ANY, {"epochs": 15, "batch_size": 32, "lr": 0.005, "clip_grad": 1.0}),
    ("char_lstm", ANY, {"epochs": 8, "batch_size": 32, "lr": 0.01, "clip_grad": 1.0}),
)

# What texts each model for them is taught; all others begin with the digits.
TASKS = {"rnn_classifier": "code_or_prose", "char_lstm": "documentation", "seq2seq": "sums",
         "birnn_tagger": "word_starts"}

# Recipes with a name: what a text prescribes. Models → name, what differs from Recipe(); without data it is ImageNet.
D2L = {"data": "fashion-mnist", "opt": "sgd", "sched": "none", "init": "xavier", "pixels": "unit"}
D2L_PYTORCH = {"data": "fashion-mnist", "epochs": 5, "lr": 0.001, "sched": "none", "pixels": "unit"}
NOTE002 = {"data": "mnist", "batch_size": 64, "lr": 0.001, "sched": "none", "pixels": "unit"}
HE = {"data": "cifar10", "epochs": 164, "opt": "momentum", "lr": 0.1, "weight_decay": 1e-4, "sched": "multistep",
      "augment": True}
TORCHVISION = {"epochs": 90, "batch_size": 256, "opt": "momentum", "lr": 0.1, "weight_decay": 1e-4, "sched": "step",
               "resize": 224, "augment": True}
NAMED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    # Dive into Deep Learning, second edition; notes 000, 001 and 004
    ("lenet", "d2l", {**D2L, "lr": 0.9, "batch_size": 256}),
    ("lenet_bn", "d2l", {**D2L, "lr": 1.0, "batch_size": 256}),
    ("alexnet_gray224", "d2l", {**D2L, "lr": 0.01}),
    ("vgg11_d2l", "d2l", {**D2L, "lr": 0.05, "width": 0.25}),
    ("nin googlenet_d2l", "d2l", {**D2L, "lr": 0.1}),
    ("resnet18_d2l", "d2l", {**D2L, "lr": 0.05, "batch_size": 256, "resize": 96}),
    ("densenet_d2l", "d2l", {**D2L, "lr": 0.1, "batch_size": 256}),
    # its port to PyTorch, which notes 000 and 004 have their code from
    ("lenet_maxpool lenet_bn", "d2l-pytorch", {**D2L_PYTORCH, "batch_size": 256}),
    ("alexnet_gray224 googlenet_d2l", "d2l-pytorch", D2L_PYTORCH),
    ("vgg11_d2l", "d2l-pytorch", {**D2L_PYTORCH, "batch_size": 64, "width": 0.125}),
    ("nin", "d2l-pytorch", {**D2L_PYTORCH, "lr": 0.002}),
    ("resnet18_d2l", "d2l-pytorch", {**D2L_PYTORCH, "batch_size": 256, "resize": 96}),
    ("densenet_d2l", "d2l-pytorch", {**D2L_PYTORCH, "batch_size": 256}),
    ("cnn2", "note002", {**NOTE002, "epochs": 20}),
    ("alexnet_gray227", "note002", NOTE002),
    ("vgg16_gray", "note002", {**NOTE002, "data": "fashion-mnist", "epochs": 5, "batch_size": 32, "pixels": "signed"}),
    ("lenet_tanh", "note003", {"data": "mnist", "epochs": 30, "opt": "sgd", "lr": 0.01, "sched": "none",
                               "init": "xavier", "pixels": "raw"}),
    (CIFAR_NETS, "paper", HE),  # He et al. 2015, section 4.2
    ("resnet110 plain110", "paper", {**HE, "warmup_epochs": 1.0}),
    # torchvision's training reference; Huang et al. 2017 trained DenseNets the same way
    (f"{IMAGENET_RESNETS} densenet121 densenet161 densenet169 densenet201", "torchvision", TORCHVISION),
    ("alexnet vgg11 vgg13 vgg16 vgg19 vgg11_bn vgg13_bn vgg16_bn vgg19_bn", "torchvision", {**TORCHVISION, "lr": 0.01}),
)


def named_recipes() -> dict[str, dict[str, dict[str, Any]]]:
    """The recipes with a name: for each name, by model, what differs from Recipe()."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for models, name, values in NAMED:
        for model in models.split():
            found.setdefault(name, {})[model] = values
    return found


def recipe_for(model: str, data: str | None = None, name: str | None = None, **changes: Any) -> Recipe:
    """The recipe for a model on a data set.

    Args:
        model: name of the model.
        data: name of the data set; None is what the named recipe uses, the task of a model of texts, or the digits.
        name: a recipe of ``NAMED`` instead of the defaults.
        changes: fields of Recipe that are to differ.

    Raises:
        RecipeError: there is no such recipe, it is for other models or lacks its data, a value is out of range, or the
            model does not read such data.
    """
    if name is None:
        data = data or TASKS.get(model, Recipe.data)
        base = Recipe(data=data)
        for models, of, values in TABLE:
            if of in (ANY, data) and any(fnmatchcase(model, pattern) for pattern in models.split()):
                base = Recipe.make(base, **values)
    else:
        base = Recipe.make(Recipe(), **_named(model, data, name))
    if TASKS.get(model, base.data) != base.data or (base.data in TASKS.values() and model not in TASKS):
        raise RecipeError(f"{model} does not read {base.data}; it learns from {TASKS.get(model, 'images')}")
    return Recipe.make(base, **changes)


def _named(model: str, data: str | None, name: str) -> dict[str, Any]:
    """What differs from Recipe() in a recipe with a name."""
    recipes = named_recipes()
    if name not in recipes:
        raise RecipeError(f"recipe {name!r} is unknown; recipes: {', '.join(recipes)}")
    if model not in recipes[name]:
        raise RecipeError(f"recipe {name!r} is for {', '.join(recipes[name])}, not for {model}")
    values = recipes[name][model]
    if data is None and "data" not in values:
        raise RecipeError(f"recipe {name!r} of {model} is for ImageNet, which cannot be downloaded; tell where it is "
                          "with --data folder:DIR, or name other data")
    return {**values, "data": data or values["data"]}
