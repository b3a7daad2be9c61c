"""Models and training states as safetensors files: arrays by name and one JSON text beside them, no code."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .. import models
from ..backend import to_numpy
from ..interop import safetensors
from ..nn import Module
from ..engine import Tensor
from .files import write_atomically

__all__ = ["load", "save"]

KEY = "minicnn"  # of the JSON text in the metadata of a file


# -- models and weights ---------------------------------------------------------------------------------------------


def save(obj: Module | dict[str, Tensor], path: str | os.PathLike, *, overwrite: bool = False) -> None:
    """Save a model made by ``models.create``, or the weights ``model.state_dict()`` alone, as a safetensors file.

    A file of the same kind is replaced, atomically. A file of another kind (weights in the place of a model, a model in
    the place of weights, anything else) is not, unless ``overwrite``.

    Raises:
        FileExistsError: a file of another kind stands there.
        TypeError: obj is neither a state_dict nor a model that ``models.create`` made.
    """
    path = Path(path)
    if isinstance(obj, Module):
        content, kind = model_bytes(obj), "model"
    elif isinstance(obj, dict) and all(isinstance(t, Tensor) for t in obj.values()):
        content, kind = _bytes(arrays_of(obj), {"kind": "weights"}), "weights"
    else:
        raise TypeError(f"save: expected a model or its state_dict(), got {type(obj).__name__}")
    if path.exists() and not overwrite and (there := kind_of(path)) != kind:
        raise FileExistsError(f"save: {path} holds {there}, and this would put {kind} in its place; choose another "
                              "path, or pass overwrite=True")
    write_atomically(path, content)


def load(path: str | os.PathLike) -> Module | dict[str, Tensor]:
    """The model, in evaluation mode, or the weights (a dict for ``load_state_dict``) that ``save`` put into a file.

    Safetensors files from elsewhere are read as weights.

    Raises:
        FileNotFoundError, ValueError: there is no such file; it is damaged or is not in the format.
    """
    weights = {name: Tensor(a) for name, a in safetensors.load_file(path).items()}
    note = note_of(path)
    if note.get("kind") != "model":
        return weights
    model = create(note["model"])
    dtypes = {t.dtype for t in weights.values() if t.is_floating_point()}
    if len(dtypes) == 1:
        model.to(dtypes.pop())
    model.load_state_dict(weights)
    return model.eval()


def create(spec: dict[str, Any]) -> Module:
    """A new model from the JSON form of its spec."""
    return models.create(spec["name"], spec["num_classes"], spec["in_channels"], **spec["options"])


def model_bytes(model: Module, **note: Any) -> bytes:
    """The file content for a model; ``note`` is kept beside its spec."""
    spec = getattr(model, "spec", None)
    if spec is None:
        raise TypeError(f"save: {type(model).__name__} was not made by models.create, so a file could not tell how to "
                        "build it again; save model.state_dict() instead")
    return _bytes(arrays_of(model.state_dict()), {"kind": "model", "model": asdict(spec), **note})


def note_of(path: str | os.PathLike) -> dict[str, Any]:
    """What minicnn wrote beside the arrays of a file; empty for safetensors files from elsewhere."""
    return json.loads(safetensors.read_metadata(path).get(KEY, "{}"))


def kind_of(path: Path) -> str:
    """What a file holds, in a word or two."""
    try:
        return note_of(path).get("kind", "weights")
    except ValueError:
        return "something else"


def arrays_of(state: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """The NumPy arrays of a state_dict."""
    return {name: to_numpy(t.data) for name, t in state.items()}


def _bytes(arrays: dict[str, np.ndarray], note: dict[str, Any]) -> bytes:
    return safetensors.to_bytes(arrays, {KEY: json.dumps(note)})


# -- states: nested dicts and lists of numbers and tensors ----------------------------------------------------------


def split(tree: Any, prefix: str = "") -> tuple[Any, dict[str, np.ndarray]]:
    """A tree without its tensors, ready for JSON, and the tensors by their path in it."""
    if isinstance(tree, Tensor):
        return {"tensor": prefix}, {prefix: to_numpy(tree.data)}
    if isinstance(tree, dict):
        parts = {str(key): split(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in tree.items()}
        return {key: plain for key, (plain, _) in parts.items()}, _merge(parts.values())
    if isinstance(tree, (list, tuple)):
        items = [split(value, f"{prefix}.{i}") for i, value in enumerate(tree)]
        return [plain for plain, _ in items], _merge(items)
    return tree, {}


def _merge(parts: Any) -> dict[str, np.ndarray]:
    return {name: a for _, arrays in parts for name, a in arrays.items()}


def join(plain: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The tree that ``split`` took apart; keys that are whole numbers become numbers again, tuples stay lists."""
    if isinstance(plain, dict):
        if plain.keys() == {"tensor"}:
            return Tensor(arrays[plain["tensor"]])
        return {int(key) if key.isdigit() else key: join(value, arrays) for key, value in plain.items()}
    if isinstance(plain, list):
        return [join(value, arrays) for value in plain]
    return plain
