"""Attaches the operators and methods to Tensor, so that the engine never imports an operation."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from ..engine import Tensor
from . import basic, subscript

# public functions that are not methods of a tensor, as in PyTorch
FUNCTIONS_ONLY = {
    "arange", "atleast_1d", "broadcast_tensors", "cat", "concat", "concatenate", "einsum", "empty", "empty_like", "eye",
    "from_dlpack", "from_numpy", "full", "full_like", "hstack", "linspace", "meshgrid", "ones", "ones_like", "rand",
    "rand_like", "randint", "randn", "randn_like", "randperm", "stack", "std_mean", "tensor", "tensordot", "var_mean",
    "vstack", "where", "zeros", "zeros_like",
}

IN_PLACE = ("abs", "add", "ceil", "clamp", "clamp_max", "clamp_min", "div", "exp", "floor", "floor_divide", "index_add",
            "index_put", "masked_fill", "mul", "neg", "pow", "reciprocal", "remainder", "round", "rsqrt", "scatter",
            "scatter_add", "sigmoid", "sqrt", "square", "sub", "tanh", "trunc")


def in_place(operation: Callable) -> Callable:
    """The method that writes the operation's result into its first tensor."""

    def method(self: Tensor, *args: Any, **options: Any) -> Tensor:
        return self.overwrite(operation(self.before_write(*args, *options.values()), *args, **options))

    method.__name__ = method.__qualname__ = operation.__name__ + "_"
    method.__doc__ = f"{operation.__name__}, in place."
    return method


def _reflected(operation: Callable) -> Callable:
    return lambda self, other: operation(other, self)


def _bit(ufunc: str) -> Callable:
    """&, | and ^: logical on bools, bit by bit on integers."""

    def operator(self: Tensor, other: Any) -> Tensor:
        a, b = basic.operands(ufunc, self, other)
        if basic.dtypes.is_floating(a.dtype):
            raise TypeError(f"{ufunc}: {a.dtype} tensors have no bits to combine; use bool or integer tensors")
        return Tensor(getattr(basic.array_module(a.data), ufunc)(a.data, b.data))

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
    none = Tensor(basic.array_module(self.data).zeros((), bool))
    return self.overwrite(basic.where(none, self.before_write(other), other))


def attach(modules: tuple[ModuleType, ...]) -> None:
    """Make methods of all public functions of the modules, and operators of the arithmetic ones."""
    for module in modules:
        for name in module.__all__:
            if name not in FUNCTIONS_ONLY:
                setattr(Tensor, name, getattr(module, name))
    for name in IN_PLACE:
        setattr(Tensor, name + "_", in_place(getattr(Tensor, name)))
    for method in (zero_, fill_, copy_):
        setattr(Tensor, method.__name__, method)
    for name, dtype in (("float", "float32"), ("double", "float64"), ("half", "float16"), ("bfloat16", "bfloat16"),
                        ("int", "int32"), ("long", "int64"), ("bool", "bool")):
        setattr(Tensor, name, lambda self, dtype=dtype: self.to(dtype))
    Tensor.type_as = lambda self, other: self.to(other.dtype)
    Tensor.cpu = lambda self: self.to(device="cpu")
    Tensor.cuda = lambda self, device="cuda": self.to(device=device)
    Tensor.where = lambda self, condition, other: basic.where(condition, self, other)
    for operator, function in (("add", basic.add), ("sub", basic.sub), ("mul", basic.mul), ("truediv", basic.div),
                               ("floordiv", basic.floor_divide), ("mod", basic.remainder), ("pow", basic.pow)):
        setattr(Tensor, f"__{operator}__", function)
        setattr(Tensor, f"__r{operator}__", _reflected(function))
        setattr(Tensor, f"__i{operator}__", in_place(function))
    for operator in ("neg", "abs", "lt", "le", "gt", "ge"):
        setattr(Tensor, f"__{operator}__", getattr(basic, operator))
    for operator in ("eq", "ne"):
        setattr(Tensor, f"__{operator}__", _equality(getattr(basic, operator)))
    for operator in ("and", "or", "xor"):
        function = _bit(f"bitwise_{operator}")
        setattr(Tensor, f"__{operator}__", function)
        setattr(Tensor, f"__r{operator}__", function)
        setattr(Tensor, f"__i{operator}__", in_place(function))
    Tensor.__getitem__ = subscript.getitem
    Tensor.__setitem__ = subscript.setitem
    Tensor.__invert__ = _invert
    Tensor.__matmul__ = Tensor.matmul
    Tensor.__rmatmul__ = _reflected(Tensor.matmul)
    Tensor.T = property(lambda self: self.permute(*reversed(range(self.ndim))))
    Tensor.mT = property(lambda self: self.transpose(-2, -1))
