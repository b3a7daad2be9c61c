"""Modules made of modules: a chain, a list, a dictionary."""

import operator
from collections import OrderedDict
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, Self

from .fusion import run
from .module import Module, block

__all__ = ["ModuleDict", "ModuleList", "Sequential"]


class _Sequence(Module):
    """What Sequential and ModuleList share: the modules in order, named by their numbers unless given names."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __getitem__(self, idx: int | slice) -> Any:
        if isinstance(idx, slice):
            return self._part(OrderedDict(list(self._modules.items())[idx]))
        return self._modules[self._name_of(idx)]

    def __setitem__(self, idx: int, module: Module) -> None:
        setattr(self, self._name_of(idx), module)

    def __delitem__(self, idx: int | slice) -> None:
        left = list(self)
        del left[idx]
        self._replace(left)

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end."""
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Put a module before the one at index; modules are numbered anew."""
        if not isinstance(module, Module):
            raise TypeError(f"insert: expected a Module, got {type(module).__name__}")
        if not -len(self) <= index <= len(self):
            raise IndexError(f"insert: index {index} is out of range for {len(self)} modules")
        self._replace([*self[:index], module, *self[index:]])
        return self

    def pop(self, key: int | slice) -> Any:
        """Take a module, or the modules of a slice, out and return it; the rest is numbered anew."""
        taken = self[key]
        del self[key]
        return taken

    def _part(self, modules: "OrderedDict[str, Module]") -> Module:
        raise NotImplementedError

    def _name_of(self, idx: int) -> str:
        index = operator.index(idx)
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} modules")
        return list(self._modules)[index]

    def _replace(self, modules: list[Module]) -> None:
        self._modules.clear()
        self._modules.update({str(i): module for i, module in enumerate(modules)})


class Sequential(_Sequence):
    """Modules one after the other: each is called with what the one before returned, two at once where it is faster.

    Sequential(a, b) or, with names, Sequential(OrderedDict(first=a, second=b)). A slice is a plain Sequential that
    shares the modules and keeps their names.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        named = args[0] if len(args) == 1 and isinstance(args[0], OrderedDict) else \
            {str(i): module for i, module in enumerate(args)}
        for name, module in named.items():
            self.add_module(name, module)

    def forward(self, input: Any) -> Any:
        """The output of the last module."""
        return run(self._modules.values(), input)

    def __add__(self, other: "Sequential") -> "Sequential":
        return Sequential(*self, *other) if isinstance(other, Sequential) else NotImplemented

    def __iadd__(self, other: "Sequential") -> Self:
        return self.extend(other) if isinstance(other, Sequential) else NotImplemented

    def _part(self, modules: "OrderedDict[str, Module]") -> "Sequential":
        return Sequential(modules)


class ModuleList(_Sequence):
    """A list of modules, registered so that their parameters are found; it has no forward."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(modules or ())

    def __add__(self, other: Iterable[Module]) -> "ModuleList":
        return ModuleList([*self, *other])

    def __iadd__(self, other: Iterable[Module]) -> Self:
        return self.extend(other)

    def _part(self, modules: "OrderedDict[str, Module]") -> "ModuleList":
        return ModuleList(modules.values())

    def __repr__(self) -> str:
        runs: list[list[Any]] = []  # [first number, last number, text] of modules that print alike
        for i, text in enumerate(map(repr, self)):
            if runs and runs[-1][2] == text:
                runs[-1][1] = i
            else:
                runs.append([i, i, text])
        entries = [f"({i}): {text}" if i == j else f"({i}-{j}): {j - i + 1} x {text}" for i, j, text in runs]
        return block(type(self).__name__, entries) if entries else f"{type(self).__name__}()"


class ModuleDict(Module):
    """A dictionary of modules, registered so that their parameters are found; it has no forward."""

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def __getitem__(self, key: str) -> Module:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._modules.keys()

    def values(self) -> ValuesView[Module]:
        """The modules."""
        return self._modules.values()

    def items(self) -> ItemsView[str, Module]:
        """Names and modules."""
        return self._modules.items()

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add or replace modules, from a mapping or pairs of names and modules."""
        for key, module in modules.items() if hasattr(modules, "items") else modules:
            self[key] = module

    def pop(self, key: str) -> Module:
        """Take a module out and return it."""
        return self._modules.pop(key)

    def clear(self) -> None:
        """Take all modules out."""
        self._modules.clear()
