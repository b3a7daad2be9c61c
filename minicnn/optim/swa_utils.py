"""Statistics of batch normalisation for weights made without them, such as averages of those of many steps."""

from collections.abc import Iterable
from typing import Any

from ..engine import no_grad
from ..nn import BatchNorm1d, BatchNorm2d, BatchNorm3d, Module

__all__ = ["update_bn"]


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Take the running statistics of all batch normalisations anew, from one pass over data; weights stay as they are.

    What training leaves behind are averages over its last steps, each with the weights of that step. These are those of
    the weights that the model has now: of every batch B the mean μ_B and the unbiased variance σ²_B, each batch
    counting the same, running_mean = mean of μ_B and running_var = mean of σ²_B. That differs from the variance of all
    images at once by that of the μ_B, which is little where batches are large and shuffled.

    Args:
        loader: batches, or lists and tuples whose first item is one, such as (images, labels).
        model: called with each batch in training mode, and then put back into the mode it was in.
        device: where batches are moved to first; None leaves them where they are.

    Source: Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization", section 3.2.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, (BatchNorm1d, BatchNorm2d, BatchNorm3d))]
    if not layers:
        return
    momenta, training = [layer.momentum for layer in layers], [module.training for module in model.modules()]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # every batch counts the same
    model.train()
    try:
        for batch in loader:
            x = batch[0] if isinstance(batch, (list, tuple)) else batch
            model(x if device is None else x.to(device))
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for module, mode in zip(model.modules(), training, strict=True):
            module.training = mode
