"""One look at functions of any library: NumPy arrays in and out, and products with the Jacobian from either side.

Which library a function belongs to is told by the arrays it is to be called with.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

PACKAGES = {"minicnn": "minicnn", "torch": "torch", "jax": "jax", "cupy": "cupy-cuda13x"}  # library: what has it
Arrays = list[np.ndarray]
Products = list[np.ndarray | None]


class Differentiable:
    """A function at a point; ``arrays`` are what it is differentiated by, its other arguments stay as they are.

    Every method is given the arrays to use in their place, all of one floating type.
    """

    gys = 0  # how many of the first inputs are upstream gradients

    def __init__(self, function: Callable, inputs: Sequence[Any], wrt: Sequence[int] | None) -> None:
        self.function, self.inputs = function, list(inputs)
        self.places = [i for i, a in enumerate(inputs) if self.wanted(a)] if wrt is None else list(wrt)
        if not self.places:
            given = ", ".join([str(getattr(a, "dtype", type(a).__name__)) for a in inputs])
            raise ValueError(f"gradcheck: none of the {len(self.inputs)} inputs ({given}) can be differentiated by; "
                             "give arrays of floating-point numbers (tensors with requires_grad)")
        if not all(0 <= i < len(self.inputs) for i in self.places):
            raise ValueError(f"gradcheck: wrt = {self.places} must be numbers of inputs, from 0 to "
                             f"{len(self.inputs) - 1}")
        self.arrays = [self.to_numpy(self.inputs[i]) for i in self.places]

    # what a library has to tell

    def wanted(self, a: Any) -> bool:
        """Whether to differentiate by an input if nothing is said about it."""
        return is_floating(a)

    def to_numpy(self, a: Any) -> np.ndarray:
        """An array of the library as NumPy's."""
        return np.asarray(a)

    def from_numpy(self, a: np.ndarray, like: Any) -> Any:
        """A NumPy array as the library's, where like is."""
        raise NotImplementedError

    def leaf(self, a: np.ndarray, like: Any) -> Any:
        """The same, to be differentiated by."""
        return self.from_numpy(a, like)

    def written(self, code: str, like: Any) -> str:
        """Python for what the library has of the array that code makes, where like is."""
        return code

    def value(self, arrays: Arrays) -> Arrays:
        """The outputs that are floating."""
        return self.to_arrays(self.outputs(self.arguments(arrays)))

    def pull(self, arrays: Arrays, gys: Arrays) -> Products:
        """uᵀ·J (vjp): for each of the arrays its gradient, None for none."""
        raise NotImplementedError

    def push(self, arrays: Arrays, tangents: Arrays) -> Arrays:
        """J·v (jvp): how the outputs move as the arrays do."""
        raise NotImplementedError

    def gradients(self, gys: Sequence[Any], arguments: Sequence[Any]) -> list:
        """The gradients as the library's arrays, themselves differentiable."""
        raise NotImplementedError

    # what follows from it

    def label(self, place: int) -> str:
        """What to call an input."""
        return f"the upstream gradient {place}" if place < self.gys else f"input {place - self.gys}"

    def to_order(self, order: int, seed: int) -> "Differentiable":
        """What has as its gradients those of the function, or (order 2) the gradients of its gradients."""
        shapes, dtype = [y.shape for y in self.value(self.arrays)], self.arrays[0].dtype
        if not shapes:
            raise ValueError("gradcheck: the function returned no array of floating-point numbers that could be "
                             "differentiated")
        if order == 1:
            return self
        rng = np.random.default_rng(seed + 1)
        return self.derivative([np.asarray(rng.standard_normal(shape), dtype) for shape in shapes])

    def derivative(self, gys: Arrays) -> "Differentiable":
        """The map from (gys, inputs) to the gradients, whose own gradients are the second derivatives."""
        count, like = len(gys), self.inputs[self.places[0]]
        derivative = type(self)(lambda *a: self.gradients(a[:count], a[count:]),
                                [*[self.from_numpy(gy, like) for gy in gys], *self.inputs],
                                [*range(count), *[count + i for i in self.places]])
        derivative.gys = count
        return derivative

    def arguments(self, arrays: Arrays) -> list:
        """What to call the function with: all that is floating has the type of the arrays."""
        fixed = [self._fixed(a, arrays[0].dtype) for a in self.inputs]
        return self.placed(fixed, [self.leaf(a, self.inputs[i]) for i, a in zip(self.places, arrays, strict=True)])

    def _fixed(self, a: Any, dtype: np.dtype) -> Any:
        if isinstance(a, np.ndarray) and not library_of(a):
            return np.array(a, dtype if is_floating(a) else None)
        return self.from_numpy(self.to_numpy(a).astype(dtype), a) if is_floating(a) else a

    def placed(self, arguments: Sequence[Any], values: Sequence[Any]) -> list:
        """The arguments with the values in the places of those that are differentiated by."""
        new = list(arguments)
        for i, v in zip(self.places, values, strict=True):
            new[i] = v
        return new

    def outputs(self, arguments: Sequence[Any]) -> list:
        return [y for y in as_list(self.function(*arguments)) if is_floating(y)]

    def to_arrays(self, values: Any) -> list:
        return [None if v is None else self.to_numpy(v) for v in as_list(values)]


class PlainFunction(Differentiable):
    """A function of NumPy or CuPy arrays with the backward, and perhaps the jvp, that its author wrote for it.

    All three are given copies, which they may overwrite.
    """

    def __init__(self, function: Callable, inputs: Sequence[Any], wrt: Sequence[int] | None, backward: Callable,
                 jvp: Callable | None) -> None:
        super().__init__(function, inputs, wrt)
        self.backward, self.jvp = backward, jvp

    def to_numpy(self, a: Any) -> np.ndarray:
        return a.get() if library_of(a) == "cupy" else np.asarray(a)

    def from_numpy(self, a: np.ndarray, like: Any) -> Any:
        return imported("cupy").asarray(a) if library_of(like) == "cupy" else np.array(a)

    def outputs(self, arguments: Sequence[Any]) -> list:
        values = as_list(self.function(*arguments))
        return [y for y in [np.asarray(y) if isinstance(y, float) else y for y in values] if is_floating(y)]

    def written(self, code: str, like: Any) -> str:
        return f"cupy.asarray({code})" if library_of(like) == "cupy" else code

    def pull(self, arrays: Arrays, gys: Arrays) -> Products:
        arguments = self.arguments(arrays)
        given = self.to_arrays(self.backward(self._packed(gys, arguments), *arguments))
        if len(given) == len(self.inputs):  # one for each input; else one for each that is differentiated by
            given = [given[i] for i in self.places]
        if len(given) != len(self.places):
            raise ValueError(f"gradcheck: backward returned {len(given)} gradients for {len(self.inputs)} inputs, "
                             f"{len(self.places)} of them floating; return an array for each (of the {len(gys)} "
                             f"outputs gy is {'an array' if len(gys) == 1 else 'a tuple'})")
        return given

    def push(self, arrays: Arrays, tangents: Arrays) -> Arrays:
        if self.jvp is None:
            raise ValueError("gradcheck: to compare jvp with vjp, give a jvp called with (tangents, *inputs)")
        arguments = self.arguments(arrays)
        return self.to_arrays(self.jvp(self._packed(tangents, arguments), *arguments))

    def derivative(self, gys: Arrays) -> Differentiable:
        raise ValueError("gradcheck: order=2 needs a library that differentiates; for a backward of NumPy arrays, "
                         "check it as a function of its own, with the backward of the backward")

    def _packed(self, values: Arrays, arguments: list) -> Any:
        moved = [self.from_numpy(v, arguments[self.places[0]]) for v in values]
        return moved[0] if len(moved) == 1 else tuple(moved)


class RecordedFunction(Differentiable):
    """A function of minicnn's or PyTorch's tensors, which have the same names for all that is needed here."""

    @property
    def library(self) -> Any:
        return imported(next(filter(None, map(library_of, self.inputs))))

    def wanted(self, a: Any) -> bool:
        return getattr(a, "requires_grad", False)

    def to_numpy(self, a: Any) -> np.ndarray:
        return a.detach().cpu().numpy() if library_of(a) else np.asarray(a)

    def from_numpy(self, a: np.ndarray, like: Any) -> Any:
        moved = self.library.from_numpy(np.array(a))
        return moved.to(like.device) if library_of(like) else moved

    def leaf(self, a: np.ndarray, like: Any) -> Any:
        return self.from_numpy(a, like).requires_grad_()

    def written(self, code: str, like: Any) -> str:
        moved = f"{library_of(like)}.from_numpy({code})"
        moved += "" if str(like.device) == "cpu" else f".to({str(like.device)!r})"
        return moved + ".requires_grad_()" * self.wanted(like)

    def pull(self, arrays: Arrays, gys: Arrays) -> Products:
        arguments = self.arguments(arrays)
        ys = self.outputs(arguments)
        return self.to_arrays(self._grad(ys, [self.from_numpy(gy, y) for gy, y in zip(gys, ys, strict=True)],
                                         arguments, False))

    def push(self, arrays: Arrays, tangents: Arrays) -> Arrays:
        arguments = self.arguments(arrays)
        xs = tuple([arguments[i] for i in self.places])
        moves = tuple([self.from_numpy(t, x) for t, x in zip(tangents, xs, strict=True)])
        jvp = self.library.autograd.functional.jvp
        return self.to_arrays(jvp(lambda *xs: tuple(self.outputs(self.placed(arguments, xs))), xs, moves)[1])

    def gradients(self, gys: Sequence[Any], arguments: Sequence[Any]) -> list:
        found = self._grad(self.outputs(arguments), gys, arguments, True)
        return [g for g in found if g is not None]

    def _grad(self, ys: Sequence[Any], gys: Sequence[Any], arguments: Sequence[Any], create_graph: bool) -> Any:
        pairs = [(y, gy) for y, gy in zip(ys, gys, strict=True) if y.requires_grad]
        if not pairs:
            return [None] * len(self.places)
        ys, gys = zip(*pairs)
        return self.library.autograd.grad(ys, [arguments[i] for i in self.places], gys, create_graph=create_graph,
                                          allow_unused=True)


class JaxFunction(Differentiable):
    """A function of JAX's arrays."""

    def from_numpy(self, a: np.ndarray, like: Any) -> Any:
        return imported("jax").numpy.asarray(a)

    def written(self, code: str, like: Any) -> str:
        return f"jax.numpy.asarray({code})"

    def pull(self, arrays: Arrays, gys: Arrays) -> Products:
        return self.to_arrays(self.gradients([self.from_numpy(gy, None) for gy in gys], self.arguments(arrays)))

    def push(self, arrays: Arrays, tangents: Arrays) -> Arrays:
        function, xs = self._of_arrays(self.arguments(arrays))
        moves = tuple([self.from_numpy(t, None) for t in tangents])
        return self.to_arrays(imported("jax").jvp(function, xs, moves)[1])

    def gradients(self, gys: Sequence[Any], arguments: Sequence[Any]) -> list:
        function, xs = self._of_arrays(arguments)
        return list(imported("jax").vjp(function, *xs)[1](tuple(gys)))

    def _of_arrays(self, arguments: Sequence[Any]) -> tuple[Callable, tuple]:
        """The function of nothing but what it is differentiated by, and that."""
        return (lambda *xs: tuple(self.outputs(self.placed(arguments, xs))),
                tuple([arguments[i] for i in self.places]))


def differentiable(function: Callable, inputs: Sequence[Any], backward: Callable | None = None,
                   jvp: Callable | None = None, wrt: Sequence[int] | None = None) -> Differentiable:
    """The function seen through the library whose arrays the inputs are; backward and jvp belong to NumPy and CuPy."""
    libraries = {library_of(a) for a in inputs}
    if not libraries & {"minicnn", "torch", "jax"}:
        if backward is None:
            raise ValueError("gradcheck: a function of NumPy or CuPy arrays needs its backward, called with (gy, "
                             "*inputs); a function of minicnn, PyTorch or JAX needs tensors of theirs as inputs")
        return PlainFunction(function, inputs, wrt, backward, jvp)
    if backward is not None or jvp is not None:
        raise ValueError("gradcheck: backward and jvp are for functions of NumPy or CuPy arrays; minicnn, PyTorch and "
                         "JAX have their own")
    if len(libraries - {""}) > 1:
        raise ValueError(f"gradcheck: inputs of {' and '.join(sorted(libraries - {''}))}; give those of one library")
    return (JaxFunction if "jax" in libraries else RecordedFunction)(function, inputs, wrt)


def library_of(a: Any) -> str:
    """The library that an array belongs to by its type or what that is derived from; "" for NumPy's and all else."""
    packages = [t.__module__.partition(".")[0].replace("jaxlib", "jax") for t in type(a).__mro__]
    return next((package for package in packages if package in PACKAGES), "")


def imported(library: str) -> Any:
    """The library.

    Raises:
        ModuleNotFoundError: it cannot be imported; says what to install.
    """
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"gradcheck: inputs of {library} need it: pip install {PACKAGES[library]}",
                                  name=error.name) from error


def as_list(value: Any) -> list:
    """A tuple or list as a list, anything else as its one element."""
    return list(value) if isinstance(value, (tuple, list)) else [value]


def is_floating(a: Any) -> bool:
    """Whether it is an array of floating-point numbers."""
    return hasattr(a, "shape") and "float" in str(getattr(a, "dtype", ""))
