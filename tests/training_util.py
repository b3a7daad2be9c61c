"""What the tests of training share: figures of epochs, and a small run."""

import minicnn as mc
from minicnn import data, models, nn
from minicnn.training import Row, RunFolder, Trainer, loaders, recipe_for

ROWS = [Row(1, 2.3, 0.1, 2.2, 0.25, 0.01, 1234.5, 6.7), Row(2, 1 / 3, 0.875, 0.4, 0.9, 4e-8, 4210.0, 14.2),
        Row(3, 0.3, 0.9, 0.5, 0.9, 1e-3, 4210.0, 14.2)]


def digits(n_train: int = 64, n_val: int = 40):
    return data.load("digits", "train").head(n_train), data.load("digits", "validation").head(n_val)


def small_trainer(folder: RunFolder | None = None, model: str = "lenet", images: int = 64, **changes) -> Trainer:
    recipe = recipe_for(model, "digits", **{"epochs": 2, "batch_size": 16, **changes})
    mc.manual_seed(recipe.seed)
    net = models.create(model)
    models.initialise(net, recipe.init)
    return Trainer(net, recipe, *loaders(recipe, *digits(images)), folder=folder)


def weights_of(model: nn.Module) -> dict[str, bytes]:
    return {name: t.data.tobytes() for name, t in model.state_dict().items()}
