"""Module: parameters, buffers and other modules under names, and a forward that uses them."""

import itertools
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self

from .. import dtypes
from ..backend import Device, current, move
from ..engine import Handle, Parameter, Tensor, no_grad
from .hooks import BackwardHooks
from .parameter import UninitializedParameter

__all__ = ["Module", "Parameter", "clear_gradients"]


class IncompatibleKeys(namedtuple("IncompatibleKeys", ("missing_keys", "unexpected_keys"))):
    """What load_state_dict(strict=False) found no value for, and no use for: two lists of paths."""

    __slots__ = ()

    def __repr__(self) -> str:
        return super().__repr__() if any(self) else "<All keys matched successfully>"


class Module:
    """Base class of every layer and network.

    A subclass calls super().__init__(), assigns parameters and modules to attributes, which registers them, and defines
    forward(). Calling the module runs its hooks and forward().
    """

    training: bool
    _shown: tuple[str, ...] = ()  # names of the attributes that repr prints
    _optional_state: tuple[str, ...] = ()  # names that a state dict may lack even when strict

    def __init__(self) -> None:
        for name, value in (("training", True), ("_parameters", {}), ("_buffers", {}), ("_modules", {}),
                            ("_non_persistent", set()), ("_forward_pre_hooks", OrderedDict()),
                            ("_forward_hooks", OrderedDict()), ("_backward_pre_hooks", OrderedDict()),
                            ("_backward_hooks", OrderedDict())):
            object.__setattr__(self, name, value)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(); define it in the body of the class "
                                  "(is it indented into __init__?)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._has_hooks():
            return self._call_with_hooks(args, kwargs)
        return self.forward(*args, **kwargs)

    def _has_hooks(self) -> bool:
        return bool(self._backward_hooks or self._backward_pre_hooks or self._forward_hooks or self._forward_pre_hooks)

    # -- registration -----------------------------------------------------------------------------------------------

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under a name; None keeps the name for a parameter the module does without."""
        self._register("_parameters", name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that belongs to the module but is not trained; it is in the state_dict if persistent."""
        self._register("_buffers", name, tensor)
        (self._non_persistent.discard if persistent else self._non_persistent.add)(name)

    def add_module(self, name: str, module: "Module | None") -> None:
        """Add a module under a name."""
        self._register("_modules", name, module)

    register_module = add_module

    def _register(self, registry: str, name: str, value: Any) -> None:
        what, expected = _REGISTRIES[registry]
        if registry not in self.__dict__:
            raise AttributeError(f"cannot assign {what} {name!r} before Module.__init__(); "
                                 "call super().__init__() first")
        if not isinstance(name, str):
            raise TypeError(f"{what} name must be a string, not {type(name).__name__}")
        if "." in name or not name:
            raise KeyError(f"{what} name {name!r} must not be empty or contain a dot")
        if name not in self.__dict__[registry] and hasattr(self, name):
            raise KeyError(f"attribute {name!r} already exists")
        if value is not None and not isinstance(value, expected):
            raise TypeError(f"cannot assign {type(value).__name__} as {what} {name!r} "
                            f"({expected.__name__} or None expected)")
        self.__dict__[registry][name] = value

    def __setattr__(self, name: str, value: Any) -> None:
        registry: str | None
        if isinstance(value, Parameter):
            registry = "_parameters"
        elif isinstance(value, Module) and name not in self.__dict__.get("_parameters", ()):
            registry = "_modules"
        else:  # a name that is registered stays so
            registry = next((r for r in _REGISTRIES if name in self.__dict__.get(r, ())), None)
            if registry is None:
                object.__setattr__(self, name, value)
                return
        for other in self.__dict__, *(self.__dict__.get(r, {}) for r in _REGISTRIES if r != registry):
            other.pop(name, None)
        self._register(registry, name, value)
        if registry != "_buffers":
            self._non_persistent.discard(name)

    def __getattr__(self, name: str) -> Any:  # called only for what is no ordinary attribute
        for registry in _REGISTRIES:
            registered = self.__dict__.get(registry, ())
            if name in registered:
                return registered[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def __delattr__(self, name: str) -> None:
        for registry in _REGISTRIES:
            if name in self.__dict__.get(registry, ()):
                del self.__dict__[registry][name]
                self._non_persistent.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        registered = itertools.chain.from_iterable(self.__dict__.get(r, ()) for r in _REGISTRIES)
        return sorted({*object.__dir__(self), *(name for name in registered if name.isidentifier())})

    # -- hooks ------------------------------------------------------------------------------------------------------

    def register_forward_pre_hook(self, hook: Callable[..., Any], *, prepend: bool = False,
                                  with_kwargs: bool = False) -> Handle:
        """Call hook(module, args) before forward; what it returns, unless None, replaces the arguments.

        With with_kwargs it is hook(module, args, kwargs) and returns None or (args, kwargs).
        """
        return _add_hook(self._forward_pre_hooks, (hook, with_kwargs), prepend)

    def register_forward_hook(self, hook: Callable[..., Any], *, prepend: bool = False,
                              with_kwargs: bool = False) -> Handle:
        """Call hook(module, args, output) after forward; what it returns, unless None, replaces the output.

        With with_kwargs it is hook(module, args, kwargs, output).
        """
        return _add_hook(self._forward_hooks, (hook, with_kwargs), prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> Handle:
        """Call hook(module, grad_input, grad_output) when the gradients of the inputs are known.

        Both are tuples, one entry per positional argument and per output, None for what is no tensor or needs no
        gradient. What the hook returns, unless None, replaces grad_input. A module none of whose inputs needs a
        gradient calls it when grad_output is known.
        """
        return _add_hook(self._backward_hooks, hook, prepend)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> Handle:
        """Call hook(module, grad_output) before the backward of the module; what it returns replaces grad_output."""
        return _add_hook(self._backward_pre_hooks, hook, prepend)

    def _call_with_hooks(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        for hook, with_kwargs in list(self._forward_pre_hooks.values()):
            replaced = hook(self, args, kwargs) if with_kwargs else hook(self, args)
            if replaced is None:
                continue
            if not with_kwargs:
                args = replaced if isinstance(replaced, tuple) else (replaced,)
            elif isinstance(replaced, tuple) and len(replaced) == 2:
                args, kwargs = replaced
            else:
                raise RuntimeError("a forward pre-hook with_kwargs must return None or (args, kwargs), "
                                   f"not {replaced!r}")
        watched = None
        if self._backward_hooks or self._backward_pre_hooks:
            watched = BackwardHooks(self, list(self._backward_pre_hooks.values()), list(self._backward_hooks.values()))
            args = watched.enter(args)
        output = self.forward(*args, **kwargs)
        for hook, with_kwargs in list(self._forward_hooks.values()):
            replaced = hook(self, args, kwargs, output) if with_kwargs else hook(self, args, output)
            output = output if replaced is None else replaced
        return output if watched is None else watched.leave(output)

    # -- what is in it ----------------------------------------------------------------------------------------------

    def named_modules(self, memo: "set[Module] | None" = None, prefix: str = "",
                      remove_duplicate: bool = True) -> "Iterator[tuple[str, Module]]":
        """This module and all below it, each with its path of names; a shared one comes once if remove_duplicate."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> "Iterator[Module]":
        """This module and all below it; a shared one comes once if remove_duplicate."""
        return (module for _, module in self.named_modules(remove_duplicate=remove_duplicate))

    def named_children(self) -> "Iterator[tuple[str, Module]]":
        """The modules directly below with their names, shared ones once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> "Iterator[Module]":
        """The modules directly below, shared ones once."""
        return (module for _, module in self.named_children())

    def named_parameters(self, prefix: str = "", recurse: bool = True,
                         remove_duplicate: bool = True) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their paths; a shared one comes once if remove_duplicate."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, shared ones once; those of this module alone unless recurse."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True,
                      remove_duplicate: bool = True) -> Iterator[tuple[str, Tensor]]:
        """All buffers with their paths; a shared one comes once if remove_duplicate."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers, shared ones once; those of this module alone unless recurse."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def _named(self, registry: str, prefix: str, recurse: bool, remove_duplicate: bool) -> Iterator[tuple[str, Any]]:
        seen = set()
        modules = self.named_modules(None, prefix, remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, tensor in module.__dict__[registry].items():
                if tensor is None or id(tensor) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(tensor))
                yield f"{path}.{name}" if path else name, tensor

    def get_submodule(self, target: str) -> "Module":
        """The module at a path such as "features.0"; the empty path is this module."""
        module = self
        for name in target.split(".") if target else ():
            module = _found(module, name, Module, target)
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a path such as "features.0.weight"."""
        path, _, name = target.rpartition(".")
        return _found(self.get_submodule(path), name, Parameter, target)

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a path such as "features.1.running_mean"."""
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if module._buffers.get(name) is None:
            raise AttributeError(f"{target!r}: {type(module).__name__} has no buffer {name!r}")
        return module._buffers[name]

    # -- modes and conversion ---------------------------------------------------------------------------------------

    def apply(self, fn: "Callable[[Module], Any]") -> Self:
        """Call fn(module) for every module, those below first."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Self:
        """Switch dropout, batch normalisation and the like to training (or, with False, to testing)."""
        if not isinstance(mode, bool):
            raise ValueError(f"train: mode = {mode!r} must be True or False")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Self:
        """Switch dropout, batch normalisation and the like to testing."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Train all parameters or freeze them."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters."""
        clear_gradients(self.parameters(), set_to_none)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move all parameters and buffers, in place: to(device), to(dtype), to(device, dtype) or to(tensor).

        Integer buffers change only their device. Parameters stay the same objects.
        """

        def convert(tensor: Tensor) -> Tensor:
            result = tensor.to(*args, **kwargs)
            if not tensor.is_floating_point():
                return tensor.to(device=result.device)
            if not result.is_floating_point():
                raise TypeError(f"Module.to: dtype {result.dtype} must be a floating point type")
            return result

        return self._apply(convert)

    def double(self) -> Self:
        """Convert floating point parameters and buffers to float64, in place."""
        return self.to(dtypes.float64)

    def half(self) -> Self:
        """Convert floating point parameters and buffers to float16, in place."""
        return self.to(dtypes.float16)

    def bfloat16(self) -> Self:
        """Convert floating point parameters and buffers to bfloat16, in place."""
        return self.to(dtypes.bfloat16())

    def cpu(self) -> Self:
        """Move all parameters and buffers to main memory, in place."""
        return self.to("cpu")

    def cuda(self, device: int | str | Device | None = None) -> Self:
        """Move all parameters and buffers to a GPU, by default the first, in place."""
        return self.to(f"cuda:{device or 0}" if device is None or isinstance(device, int) else device)

    def float(self) -> Self:
        """Convert floating point parameters and buffers to float32, in place."""
        return self.to(dtypes.float32)

    def _apply(self, fn: Callable[[Tensor], Tensor]) -> Self:
        for module in self.children():
            module._apply(fn)
        with no_grad():
            for tensor in itertools.chain(self._parameters.values(), self._buffers.values()):
                for t in (tensor, tensor.grad) if tensor is not None else ():
                    if t is not None:
                        t.data = fn(t).data
        return self

    # -- state ------------------------------------------------------------------------------------------------------

    def _named_state(self, prefix: str = "") -> "Iterator[tuple[str, Module, Tensor]]":
        for path, module in self.named_modules(remove_duplicate=False):
            for name, tensor in itertools.chain(module._parameters.items(), module._buffers.items()):
                if tensor is not None and name not in module._non_persistent:
                    yield prefix + (f"{path}.{name}" if path else name), module, tensor

    def state_dict(self, *, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
        """All parameters and persistent buffers by path, sharing memory with the module.

        They are detached unless keep_vars; prefix is put before every path.
        """
        return {name: t if keep_vars else t.detach() for name, _, t in self._named_state(prefix)}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy values into parameters and buffers, converted to their dtype and device.

        Values are tensors or anything NumPy reads, PyTorch's tensors included. Raises RuntimeError, with all problems
        listed and nothing changed, if shapes differ or, when strict, names are missing or unexpected.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict: state_dict must be a dict, not {type(state_dict).__name__}")
        own = {name: (module, tensor) for name, module, tensor in self._named_state()}
        missing = [name for name, (module, _) in own.items()
                   if name not in state_dict and name.rpartition(".")[2] not in module._optional_state]
        unexpected = [name for name in state_dict if name not in own]
        errors = []
        for keys, kind in ((missing, "Missing"), (unexpected, "Unexpected")):
            if strict and keys:
                errors.append(f"{kind} key(s) in state_dict: " + ", ".join(f'"{k}"' for k in keys) + ".")
        pairs = []
        for name, (_, tensor) in own.items():
            if name not in state_dict:
                continue
            value, unknown = state_dict[name], isinstance(tensor, UninitializedParameter)
            if unknown and isinstance(value, UninitializedParameter):
                continue
            array = Tensor(value).data
            if not dtypes.is_supported(array.dtype):
                errors.append(f"{name}: a tensor or an array of numbers is needed, "
                              f"not {type(value).__name__}.")
            elif not unknown and array.shape != tensor.shape:
                errors.append(f"size mismatch for {name}: copying a param with shape {array.shape} from checkpoint, "
                              f"the shape in current model is {tensor.shape}.")
            pairs.append((tensor, array))
        if errors:
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t" + "\n\t".join(errors))
        for tensor, array in pairs:
            if isinstance(tensor, UninitializedParameter):
                tensor.materialize(array.shape)
            with current(tensor.data):
                tensor.data[...] = move(array, tensor.device)
            tensor.touch()
        return IncompatibleKeys(missing, unexpected)

    # -- picture ----------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What repr prints between the parentheses before the modules below."""
        return ", ".join(f"{name}={getattr(self, name)}" for name in self._shown)

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        if self._modules or len(lines) > 1:
            lines += [f"({name}): {module!r}" for name, module in self._modules.items()]
            return block(type(self).__name__, lines)
        return f"{type(self).__name__}({extra})"


def block(name: str, entries: Iterable[str]) -> str:
    """name(...) with one entry per line, the lines of each indented by two spaces."""
    return f"{name}(\n" + "".join("  " + entry.replace("\n", "\n  ") + "\n" for entry in entries) + ")"


def clear_gradients(parameters: Iterable[Tensor], set_to_none: bool) -> None:
    """Forget gradients, or set them to zero in place and cut them from any graph."""
    for p in parameters:
        if set_to_none or p.grad is None:
            p.grad = None
        else:
            p.grad = p.grad.detach()
            with current(p.grad.data):
                p.grad.data.fill(0)
            p.grad.touch()


def _add_hook(hooks: OrderedDict, hook: Any, prepend: bool) -> Handle:
    handle = Handle(hooks, hook)
    if prepend:
        hooks.move_to_end(next(reversed(hooks)), last=False)
    return handle


def _found(module: Module, name: str, kind: type, target: str) -> Any:
    value = getattr(module, name, None)
    if not isinstance(value, kind):
        raise AttributeError(f"{target!r}: {type(module).__name__} has no {kind.__name__.lower()} {name!r}")
    return value


_REGISTRIES = {"_parameters": ("parameter", Parameter), "_buffers": ("buffer", Tensor), "_modules": ("module", Module)}
