"""What all optimisers share: groups of parameters with options of their own, state per parameter, one step for all."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from numbers import Real
from typing import Any

import numpy as np

from ..backend import array_module, current, device_of, kernels_for, move
from ..nn.module import clear_gradients
from ..engine import Tensor, enable_grad

__all__ = ["Optimizer"]

Params = Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[dict[str, Any]]


class Optimizer:
    """Base class of optimisers. A subclass defines check(), what options are legal, and update(), its arithmetic.

    One whose kernel takes many parameters at once defines update_all() in the place of update().

    params are tensors, or pairs of a name and a tensor as in named_parameters(), or dicts
    {"params": tensors, option: value, ...} with options that differ from the defaults. param_groups lists these dicts,
    each with every option, and the names as "param_names"; state holds what update() keeps, by parameter. Options are
    numbers: lr is no tensor, which PyTorch allows. Raises ValueError for options out of range or a parameter that is
    given twice, TypeError for what is no tensor.
    """

    numbers: dict[str, type] = {"step": int}  # the values of state that are no tensors, and what they are

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(f"{type(self).__name__}: params must be an iterable of tensors or dicts, not a tensor; "
                            "use [tensor]")
        self.check(defaults)
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self.steps = 0  # how often step() was called on this object
        groups: list[Any] = list(params)
        if not groups:
            raise ValueError(f"{type(self).__name__}: params is empty (a generator that was used before?)")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def check(self, group: dict[str, Any]) -> None:
        """Raise ValueError where an option of the group is illegal."""
        raise NotImplementedError(f"{type(self).__name__} has no check()")

    def update(self, p: Tensor, x: Any, g: Any, group: dict[str, Any]) -> None:
        """One step for the parameter p, in place on its contiguous array x; g is the gradient."""
        raise NotImplementedError(f"{type(self).__name__} has no update()")

    def update_all(self, params: list[Tensor], xs: list[Any], gs: list[Any], group: dict[str, Any]) -> None:
        """The same for each of some parameters."""
        for p, x, g in zip(params, xs, gs, strict=True):
            self.update(p, x, g, group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; closure, if given, computes the loss and gradients anew first."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._update([p for p in group["params"] if p.grad is not None], group)
        self.steps += 1
        return loss

    def _check_gradient(self, p: Tensor, g: Tensor) -> None:
        if g.shape != p.shape or g.dtype != p.dtype:
            raise RuntimeError(f"{type(self).__name__}: a parameter of shape {p.shape} and {p.dtype} has a gradient of "
                               f"shape {g.shape} and {g.dtype}; both must agree")

    @np.errstate(all="ignore")  # infinity and NaN are results, not events
    def _update(self, params: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [p.grad for p in params if p.grad is not None]
        for p, g in zip(params, gradients, strict=True):
            self._check_gradient(p, g)
        with current(*[p.data for p in params]):
            # one may be a transposed view
            xs = [p.data if p.data.flags.c_contiguous else p.data.copy() for p in params]
            self.update_all(params, xs, [g.data for g in gradients], group)
            for p, x in zip(params, xs, strict=True):
                if x is not p.data:
                    p.data[...] = x
                p.touch()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters."""
        clear_gradients(chain.from_iterable(group["params"] for group in self.param_groups), set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a dict {"params": tensors, option: value, ...}; options left out take the defaults."""
        name = type(self).__name__
        if not isinstance(param_group, dict):
            raise TypeError(f"{name}: a parameter group must be a dict, not {type(param_group).__name__}")
        if "params" not in param_group:
            raise KeyError(f"{name}: a parameter group must have 'params', and this one has {list(param_group)}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError(f"{name}: params must be ordered, so that a saved state fits again; use a list, not a set")
        params = [params] if isinstance(params, Tensor) else list(params)
        names = [p[0] for p in params if isinstance(p, tuple)]
        if names:
            if len(names) < len(params):
                raise ValueError(f"{name}: either all parameters of a group have names, or none; {len(names)} of "
                                 f"{len(params)} have")
            param_group, params = {**param_group, "param_names": names}, [p for _, p in params]
        if self.param_groups and ("param_names" in param_group) != ("param_names" in self.param_groups[0]):
            raise ValueError(f"{name}: either the parameters of all groups have names, or those of none")
        known = {id(p) for group in self.param_groups for p in group["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"{name}: params must be tensors, one is {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError(f"{name}: can't optimize a non-leaf Tensor (shape {p.shape}); give what it is made of")
            if id(p) in known:
                raise ValueError(f"{name}: a parameter of shape {p.shape} appears more than once in the groups")
            known.add(id(p))
        group = {**self.defaults, **param_group, "params": params}
        self.check(group)
        self.param_groups.append(group)

    def state_dict(self) -> dict[str, Any]:
        """{"state": {number: {...}}, "param_groups": [...]} as in PyTorch: parameters are numbered through all groups.

        Tensors share memory with the optimiser.
        """
        numbers = {id(p): i for i, p in enumerate(self._parameters())}
        groups = [{**group, "params": [numbers[id(p)] for p in group["params"]]} for group in self.param_groups]
        return {"state": {numbers[id(p)]: dict(state) for p, state in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from where state_dict was taken, by this class or by PyTorch's; values are copied.

        Raises ValueError, with nothing changed, if groups or shapes do not fit.
        """
        name, saved = type(self).__name__, state_dict["param_groups"]
        sizes, saved_sizes = ([len(group["params"]) for group in groups] for groups in (self.param_groups, saved))
        if sizes != saved_sizes:
            raise ValueError(f"{name}: the loaded state has groups of {saved_sizes} parameters, the optimiser of "
                             f"{sizes}")
        pairs = zip(self.param_groups, saved, strict=True)
        groups = [{**group, **new, "params": group["params"]} for group, new in pairs]
        for group in groups:
            self.check(group)
        by_number = dict(zip(chain.from_iterable(group["params"] for group in saved), self._parameters(), strict=True))
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for number, values in state_dict["state"].items():  # JSON turns the numbers into strings
            if (p := by_number.get(int(number))) is None:
                raise ValueError(f"{name}: the loaded state has values for a parameter {number} that is in none of its "
                                 "groups")
            state[p] = {key: self._loaded(key, value, p) for key, value in values.items()}
        self.state, self.param_groups = state, groups

    def _loaded(self, key: str, value: Any, p: Tensor) -> Any:
        """A copy of one value of a saved state: None, a number, a tensor, or a list of such."""
        if value is None:
            return None
        if isinstance(value, list):
            return [self._loaded(key, v, p) for v in value]
        if key in self.numbers:
            return self.numbers[key](value)
        array = Tensor(value).data
        if array.shape != self._state_shape(p):
            raise ValueError(f"{type(self).__name__}: {key} has shape {array.shape} in the loaded state, "
                             f"its parameter {p.shape}")
        return Tensor(array_module(p.data).array(move(array, p.device), dtype=p.dtype, order="C"))

    def _state_shape(self, p: Tensor) -> tuple[int, ...]:
        """The shape of the tensors in the state of a parameter."""
        return p.shape

    def _parameters(self) -> Iterable[Tensor]:
        return chain.from_iterable(group["params"] for group in self.param_groups)

    def __repr__(self) -> str:
        text = f"{type(self).__name__} ("
        for i, group in enumerate(self.param_groups):
            text += f"\nParameter Group {i}\n"
            text += "".join([f"    {key}: {group[key]}\n" for key in sorted(group) if key != "params"])
        return text + ")"


def together(rows: Iterable[tuple[Any, ...]], keys: Iterable[Any]) -> Iterator[tuple[Any, Any, list[Any]]]:
    """Rows of arrays, as what a kernel takes at once: of one key, one type and on one device.

    Yields the kernels, the key and the columns, of which one is None that has None in it.
    """
    sets: defaultdict[tuple, list[tuple[Any, ...]]] = defaultdict(list)
    for row, key in zip(rows, keys, strict=True):
        sets[key, row[0].dtype, device_of(row[0])].append(row)
    for (key, _, _), some in sets.items():
        yield kernels_for(some[0][0]), key, [None if column[0] is None else column for column in zip(*some)]


def decayed(x: Any, g: Any, group: dict[str, Any]) -> Any:
    """The gradient as the options ask for it: turned round to climb, and with weight_decay·x, or x itself shrunk."""
    g = -g if group["maximize"] else g
    if group.get("decoupled_weight_decay"):
        x *= 1 - group["lr"] * group["weight_decay"]
        return g
    return g + group["weight_decay"] * x if group["weight_decay"] else g


def at_least_zero(optimizer: Optimizer, group: dict[str, Any], *options: str) -> None:
    """Raise unless the options are numbers of at least 0."""
    for option in options:
        value = group[option]
        if not isinstance(value, Real):
            raise TypeError(f"{type(optimizer).__name__}: {option} = {value!r} must be a number")
        if not float(value) >= 0:
            raise ValueError(f"{type(optimizer).__name__}: {option} = {value!r} must be at least 0")


def check_betas(optimizer: Optimizer, group: dict[str, Any]) -> None:
    """Raise unless betas are two weights of running means."""
    betas = group["betas"]
    if not isinstance(betas, tuple | list) or len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"{type(optimizer).__name__}: betas = {betas!r} must be two numbers of at least 0 and below 1")
