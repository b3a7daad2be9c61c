"""Attaches the operators and methods to Tensor, so that the engine never imports an operation.

A method is the public function of that name, called with the tensor as its first argument.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from types import ModuleType, NoneType, UnionType
from typing import Any, get_args

import numpy as np

from .. import dtypes
from ..backend import array_module, current, one_device
from ..engine import Tensor, mode
from . import activation, arithmetic, basic, comparison, piecewise, subscript
from .autocast import autocasting
from .shape import variadic

# public functions that are not methods of a tensor, as in PyTorch
FUNCTIONS_ONLY = {
    "arange", "broadcast_tensors", "cat", "concat", "concatenate", "einsum", "empty", "empty_like", "eye",
    "from_dlpack", "from_numpy", "full", "full_like", "hstack", "linspace", "meshgrid", "ones", "ones_like", "rand",
    "rand_like", "randint", "randn", "randn_like", "randperm", "stack", "std_mean", "tensor", "tensordot", "var_mean",
    "vstack", "where", "zeros", "zeros_like",
}

IN_PLACE = ("abs", "add", "ceil", "clamp", "clamp_max", "clamp_min", "div", "exp", "floor", "floor_divide", "index_add",
            "index_put", "masked_fill", "mul", "neg", "pow", "reciprocal", "relu", "remainder", "round", "rsqrt",
            "scatter", "scatter_add", "sigmoid", "sqrt", "square", "sub", "tanh", "trunc")

# methods that compute outside of a Function, which takes care of it
LOCATED = ("all", "allclose", "any", "argmax", "argmin", "argsort", "argwhere", "fill_", "gather", "index_add",
           "isfinite", "isinf", "isnan", "logical_not", "nonzero", "scatter", "unique", "zero_")

VARIADIC = ("expand", "flip", "permute", "repeat", "reshape", "tile", "view")


# -- how a function becomes a method --------------------------------------------------------------------------------

# what the types in signatures accept, and what messages call them; a bool is no int, as in PyTorch
ACCEPTED: dict[Any, tuple[tuple[type, ...], str]] = {
    Tensor: ((Tensor,), "a Tensor"), bool: ((bool, np.bool_), "True or False"), int: ((int, np.integer), "an int"),
    float: ((bool, int, float, np.number), "a number"), str: ((str,), "a str"),
    basic.Number: ((bool, int, float, np.number, np.bool_, Tensor), "a number")}
NUMBERS = int, float, basic.Number  # for which a tensor without axes will do, too


def types_of(function: Callable) -> dict[str, tuple[Any, bool]]:
    """The type of ACCEPTED that each argument must have, and whether it may be None instead.

    Arguments of which the signature says anything else, such as Tensor | float, the function checks itself.
    """
    def plain(annotation: Any) -> tuple[Any, bool]:
        types = set(get_args(annotation) if isinstance(annotation, UnionType) else (annotation,))
        optional = NoneType in types
        types.discard(NoneType)
        if types == set(get_args(basic.Number)):
            return basic.Number, optional
        return (types.pop(), optional) if len(types) == 1 and types <= set(ACCEPTED) else (None, True)

    function = inspect.unwrap(function)
    code = function.__code__
    names = code.co_varnames[:code.co_argcount + code.co_kwonlyargcount]
    return {name: plain(function.__annotations__.get(name)) for name in names}


@functools.cache
def checked(function: Callable) -> Callable:
    """The function as users call it: following autocast, refusing arguments that are not of its signature's types."""
    types, following = types_of(function), autocasting(function)
    if all(t is None for t, _ in types.values()):
        return following
    names = [*types][:inspect.unwrap(function).__code__.co_argcount]
    right: set[tuple] = set()  # the types of all arguments, followed by the names of options and their types

    def fitted(name: str, value: Any) -> Any:
        """The value, or the Python number that a scalar of NumPy or a tensor stands for; raises if it does not fit."""
        expected, optional = types.get(name, (None, True))
        accepted, what = ACCEPTED.get(expected, ((object,), ""))
        scalar = isinstance(value, (Tensor, np.generic)) and expected in NUMBERS
        number = value.item() if scalar and expected is not basic.Number and value.ndim == 0 else value
        if (not (optional and value is None) and (not isinstance(number, accepted)
                                                  or expected is int and isinstance(number, bool))
                or scalar and isinstance(value, Tensor) and (value.ndim or value.requires_grad)):
            kind = type(value).__name__
            if kind == Tensor.__name__:  # of another library
                kind = f"{type(value).__module__}.{kind}"
            given = f"{kind}; make one with minicnn.tensor(...)" if expected is Tensor else repr(value)
            raise TypeError(f"{function.__name__}: {name} must be {what}, not {given}")
        return number

    def careful(*arguments: Any, **options: Any) -> Any:
        given = (*map(type, arguments), *options, *map(type, options.values())) if options else (*map(type, arguments),)
        if given not in right:
            named = (*zip(names, arguments), *options.items())
            arguments = (*[fitted(*each) for each in zip(names, arguments)], *arguments[len(names):])
            options = {name: fitted(name, value) for name, value in options.items()}
            if not any([types.get(name, (None,))[0] in NUMBERS and isinstance(value, (Tensor, np.generic))
                        for name, value in named]):
                right.add(given)  # all that was looked at are types
        chosen = function if mode.autocast is None else following
        first = arguments[0] if arguments else None
        if isinstance(first, Tensor) and type(first.data) is not np.ndarray:
            with current(first.data):
                return chosen(*arguments, **options)
        return chosen(*arguments, **options)

    fast = _shortcut(function, careful, right) if names and types[names[0]][0] is Tensor else careful
    return functools.wraps(following)(fast)


# The parameters written out, as dataclasses do it: to pass on *arguments and **options takes as long as to check them.
_SHORTCUT = """
def {name}({declared}):
    if ({types},) in _right and _mode.autocast is None and _type({first}.data) is _array:
        return _function({parameters})
    return _careful({parameters})
"""


def _shortcut(function: Callable, careful: Callable, right: set[tuple]) -> Callable:
    """The function where the types of its arguments are known to be right and nothing else is to be done."""
    parameters = inspect.signature(function).parameters.values()
    if any([p.kind is not p.POSITIONAL_OR_KEYWORD for p in parameters]):
        return careful
    names = [p.name for p in parameters]
    written = _SHORTCUT.format(
        name=function.__name__, first=names[0], parameters=", ".join(names),
        declared=", ".join([p.name if p.default is p.empty else f"{p.name}=None" for p in parameters]),
        types=", ".join([f"_type({name})" for name in names]))
    scope: dict[str, Any] = dict(_right=right, _mode=mode, _type=type, _array=np.ndarray, _function=function,
                                 _careful=careful)
    exec(compile(written, f"<{__name__}: {function.__name__}>", "exec"), scope)
    call: Callable = scope[function.__name__]
    call.__defaults__ = inspect.unwrap(function).__defaults__
    return call


def located(method: Callable) -> Callable:
    """The method, which computes on the GPU that its tensor is on, if it is on one: CuPy works on the current one."""

    @functools.wraps(method)
    def call(self: Tensor, *arguments: Any, **options: Any) -> Any:
        if type(self.data) is np.ndarray:
            return method(self, *arguments, **options)
        with current(self.data):
            return method(self, *arguments, **options)

    return call


def in_place(operation: Callable) -> Callable:
    """The method that writes the operation's result into its first tensor."""

    def method(self: Tensor, *args: Any, **options: Any) -> Tensor:
        return self.overwrite(operation(self.before_write(*args, *options.values()), *args, **options))

    method.__name__ = method.__qualname__ = operation.__name__ + "_"
    method.__doc__ = f"{operation.__name__}, in place."
    return method


def _converter(name: str, dtype: str) -> Callable:
    return basic.named(lambda self: self.to(dtype), name, f"The tensor in {dtype}; the tensor itself if it is already.")


# -- operators ------------------------------------------------------------------------------------------------------

def _reflected(operation: Callable) -> Callable:
    return lambda self, other: operation(other, self)


def _bit(ufunc: str) -> Callable:
    """&, | and ^: logical on bools, bit by bit on integers."""

    def operator(self: Tensor, other: Any) -> Tensor:
        a, b = basic.operands(ufunc, self, other)
        if dtypes.is_floating(a.dtype):
            raise TypeError(f"{ufunc}: {a.dtype} tensors have no bits to combine; use bool or integer tensors")
        one_device(ufunc, a.data, b.data)
        with current(a.data):
            return Tensor(getattr(array_module(a.data), ufunc)(a.data, b.data))

    return operator


def _invert(self: Tensor) -> Tensor:
    if self.is_floating_point():
        raise TypeError(f"~: {self.dtype} tensors have no bits to invert; use bool or integer tensors")
    return Tensor(~self.data)


def _equality(operation: Callable) -> Callable:
    """== and !=: what is neither a tensor nor a number equals none, as everywhere in Python."""

    def operator(self: Tensor, other: Any) -> Any:
        return NotImplemented if other is None or isinstance(other, (str, tuple, list)) else operation(self, other)

    return operator


def _iterate(self: Tensor) -> Iterator[Tensor]:
    if self.ndim == 0:
        raise TypeError("iteration over a 0-d tensor")
    return iter(self.unbind(0))


# -- methods without a function -------------------------------------------------------------------------------------

def zero_(self: Tensor) -> Tensor:
    """Set every element to 0, in place."""
    return fill_(self, 0)


def fill_(self: Tensor, value: Any) -> Tensor:
    """Set every element to value, a number or a 0-d tensor, in place."""
    if isinstance(value, Tensor) and value.ndim:
        raise RuntimeError(f"fill_: value has shape {value.shape}, must be a number or a 0-d tensor; or use copy_")
    return _replace(self, basic.as_operand(value, self.dtype, self.data))


def copy_(self: Tensor, other: Tensor) -> Tensor:
    """Copy other, broadcast and converted, into this tensor, in place."""
    return _replace(self, other.to(self.dtype).to(device=self.device).expand(self.shape))


def _replace(self: Tensor, other: Tensor) -> Tensor:
    """Every element from other; as a choice, so that what the tensor was before gets a gradient of 0."""
    none = Tensor(array_module(self.data).zeros((), bool))
    return self.overwrite(comparison.where(none, self.before_write(other), other))


def type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor in the dtype of other."""
    return self.to(other.dtype)


def cpu(self: Tensor) -> Tensor:
    """The tensor in main memory; the tensor itself if it is there already."""
    return self.to(device="cpu")


def cuda(self: Tensor, device: Any = "cuda") -> Tensor:
    """The tensor on a GPU, by default the first; the tensor itself if it is there already."""
    return self.to(device=device)


def where(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """The elements of the tensor where condition is true, else those of other, broadcast."""
    return comparison.where(condition, self, other)


# -- all of it ------------------------------------------------------------------------------------------------------

def attach(modules: tuple[ModuleType, ...]) -> None:
    """Make methods of all public functions of the modules, and operators of the arithmetic ones; check arguments."""
    methods = {method.__name__: method for method in (
        zero_, fill_, copy_, type_as, cpu, cuda, where, piecewise.relu, activation.softmax, activation.log_softmax)}
    for module in modules:
        for name in module.__all__:
            function = getattr(module, name)
            setattr(module, name, checked(function))
            if name not in FUNCTIONS_ONLY:
                methods[name] = variadic(1)(function) if name in VARIADIC else function
    for name, method in methods.items():
        several = sum(t is Tensor for t, _ in types_of(method).values()) > 1
        method = located(method) if name in LOCATED else method
        setattr(Tensor, name, (checked if several else autocasting)(method))
    for name in IN_PLACE:
        setattr(Tensor, name + "_", in_place(getattr(Tensor, name)))
    for name, dtype in (("float", "float32"), ("double", "float64"), ("half", "float16"), ("bfloat16", "bfloat16"),
                        ("int", "int32"), ("long", "int64"), ("bool", "bool")):
        setattr(Tensor, name, _converter(name, dtype))
    for operator, function in (("add", arithmetic.add), ("sub", arithmetic.sub), ("mul", arithmetic.mul),
                               ("truediv", arithmetic.div), ("floordiv", arithmetic.floor_divide),
                               ("mod", arithmetic.remainder), ("pow", arithmetic.pow)):
        setattr(Tensor, f"__{operator}__", function)
        setattr(Tensor, f"__r{operator}__", _reflected(function))
        setattr(Tensor, f"__i{operator}__", in_place(function))
    for operator in ("neg", "abs", "lt", "le", "gt", "ge"):
        setattr(Tensor, f"__{operator}__", getattr(Tensor, operator))
    for operator in ("eq", "ne"):
        setattr(Tensor, f"__{operator}__", _equality(getattr(Tensor, operator)))
    for operator in ("and", "or", "xor"):
        function = _bit(f"bitwise_{operator}")
        setattr(Tensor, f"__{operator}__", function)
        setattr(Tensor, f"__r{operator}__", function)
        setattr(Tensor, f"__i{operator}__", in_place(function))
    Tensor.__getitem__ = subscript.getitem
    Tensor.__setitem__ = located(subscript.setitem)
    Tensor.__iter__ = _iterate
    Tensor.__invert__ = located(_invert)
    Tensor.__matmul__ = Tensor.matmul
    Tensor.__rmatmul__ = _reflected(Tensor.matmul)
    Tensor.T = property(lambda self: self.permute(tuple(reversed(range(self.ndim)))), doc="A view, its axes reversed.")
    Tensor.mT = property(lambda self: self.transpose(-2, -1), doc="A view with the last two axes exchanged.")
