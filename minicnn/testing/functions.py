"""One look at functions of any library: NumPy arrays in and out, and products with the Jacobian from either side.

Which library a function belongs to is told by the arrays it is to be called with.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Arrays = list[np.ndarray]
Products = list[np.ndarray | None]


class Differentiable:
    """A function at a point; ``arrays`` are what it is differentiated by, its other arguments stay as they are.

    Every method is given the arrays to use in their place, all of one floating type.
    """

    def __init__(self, function: Callable, inputs: Sequence[Any], wrt: Sequence[int] | None) -> None:
        self.function, self.inputs = function, list(inputs)
        self.places = [i for i, a in enumerate(inputs) if self.wanted(a)] if wrt is None else list(wrt)
        if not self.places:
            raise ValueError(f"gradcheck: none of the {len(self.inputs)} inputs can be differentiated by; give arrays "
                             "of floating-point numbers (tensors with requires_grad)")
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

    def to_order(self, order: int, seed: int) -> "Differentiable":
        """What has as its gradients those of the function, or (order 2) the gradients of its gradients."""
        if order == 1:
            return self
        rng = np.random.default_rng(seed + 1)
        shapes, dtype = [y.shape for y in self.value(self.arrays)], self.arrays[0].dtype
        return self.derivative([np.asarray(rng.standard_normal(shape), dtype) for shape in shapes])

    def derivative(self, gys: Arrays) -> "Differentiable":
        """The map from (gys, inputs) to the gradients, whose own gradients are the second derivatives."""
        count, like = len(gys), self.inputs[self.places[0]]
        return type(self)(lambda *a: self.gradients(a[:count], a[count:]),
                          [*[self.from_numpy(gy, like) for gy in gys], *self.inputs],
                          [*range(count), *[count + i for i in self.places]])

    def arguments(self, arrays: Arrays) -> list:
        """What to call the function with: all that is floating has the type of the arrays."""
        dtype = arrays[0].dtype
        fixed = [self.from_numpy(self.to_numpy(a).astype(dtype), a) if is_floating(a) else a for a in self.inputs]
        return self.placed(fixed, [self.leaf(a, self.inputs[i]) for i, a in zip(self.places, arrays, strict=True)])

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
    """A function of NumPy or CuPy arrays with the backward, and perhaps the jvp, that its author wrote for it."""

    def __init__(self, function: Callable, inputs: Sequence[Any], wrt: Sequence[int] | None, backward: Callable,
                 jvp: Callable | None) -> None:
        super().__init__(function, inputs, wrt)
        self.backward, self.jvp = backward, jvp

    def to_numpy(self, a: Any) -> np.ndarray:
        return a.get() if hasattr(a, "get") else np.asarray(a)

    def from_numpy(self, a: np.ndarray, like: Any) -> Any:
        return sys.modules["cupy"].asarray(a) if library_of(like) == "cupy" else a

    def written(self, code: str, like: Any) -> str:
        return f"cupy.asarray({code})" if library_of(like) == "cupy" else code

    def pull(self, arrays: Arrays, gys: Arrays) -> Products:
        arguments = self.arguments(arrays)
        given = self.to_arrays(self.backward(self._packed(gys, arguments), *arguments))
        if len(given) == len(self.inputs):  # one for each input; else one for each that is differentiated by
            given = [given[i] for i in self.places]
        if len(given) != len(self.places):
            raise ValueError(f"gradcheck: backward returned {len(given)} gradients for {len(self.inputs)} inputs, "
                             f"{len(self.places)} of them floating")
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
        return sys.modules[next(name for a in self.inputs if (name := library_of(a)) in ("minicnn", "torch"))]

    def wanted(self, a: Any) -> bool:
        return getattr(a, "requires_grad", False)

    def to_numpy(self, a: Any) -> np.ndarray:
        return a.detach().cpu().numpy()

    def from_numpy(self, a: np.ndarray, like: Any) -> Any:
        return self.library.from_numpy(np.array(a)).to(like.device)

    def leaf(self, a: np.ndarray, like: Any) -> Any:
        return self.from_numpy(a, like).requires_grad_()

    def written(self, code: str, like: Any) -> str:
        moved = f"{self.library.__name__}.from_numpy({code})"
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
        return sys.modules["jax"].numpy.asarray(a)

    def written(self, code: str, like: Any) -> str:
        return f"jax.numpy.asarray({code})"

    def pull(self, arrays: Arrays, gys: Arrays) -> Products:
        return self.to_arrays(self.gradients([self.from_numpy(gy, None) for gy in gys], self.arguments(arrays)))

    def push(self, arrays: Arrays, tangents: Arrays) -> Arrays:
        function, xs = self._of_arrays(self.arguments(arrays))
        moves = tuple([self.from_numpy(t, None) for t in tangents])
        return self.to_arrays(sys.modules["jax"].jvp(function, xs, moves)[1])

    def gradients(self, gys: Sequence[Any], arguments: Sequence[Any]) -> list:
        function, xs = self._of_arrays(arguments)
        return list(sys.modules["jax"].vjp(function, *xs)[1](tuple(gys)))

    def _of_arrays(self, arguments: Sequence[Any]) -> tuple[Callable, tuple]:
        """The function of nothing but what it is differentiated by, and that."""
        return (lambda *xs: tuple(self.outputs(self.placed(arguments, xs))),
                tuple([arguments[i] for i in self.places]))


def differentiable(function: Callable, inputs: Sequence[Any], backward: Callable | None = None,
                   jvp: Callable | None = None, wrt: Sequence[int] | None = None) -> Differentiable:
    """The function seen through the library whose arrays the inputs are; backward and jvp belong to NumPy and CuPy."""
    libraries = {library_of(a) for a in inputs}
    if not libraries & {"minicnn", "torch", "jax", "jaxlib"}:
        if backward is None:
            raise ValueError("gradcheck: a function of NumPy or CuPy arrays needs its backward, called with (gy, "
                             "*inputs); a function of minicnn, PyTorch or JAX needs tensors of theirs as inputs")
        return PlainFunction(function, inputs, wrt, backward, jvp)
    if backward is not None or jvp is not None:
        raise ValueError("gradcheck: backward and jvp are for functions of NumPy or CuPy arrays; minicnn, PyTorch and "
                         "JAX have their own")
    return (RecordedFunction if libraries & {"minicnn", "torch"} else JaxFunction)(function, inputs, wrt)


def library_of(a: Any) -> str:
    """The package that defines the type of an array."""
    return type(a).__module__.partition(".")[0]


def as_list(value: Any) -> list:
    """A tuple or list as a list, anything else as its one element."""
    return list(value) if isinstance(value, (tuple, list)) else [value]


def is_floating(a: Any) -> bool:
    """Whether it is an array of floating-point numbers."""
    return hasattr(a, "shape") and "float" in str(getattr(a, "dtype", ""))
