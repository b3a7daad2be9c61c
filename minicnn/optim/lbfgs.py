"""L-BFGS."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..backend import array_module, current
from ..engine import Tensor, enable_grad
from ..ops.creation import zeros_like
from .line_search import Point, strong_wolfe
from .optimizer import Optimizer, Params, at_least_zero

__all__ = ["LBFGS"]


class LBFGS(Optimizer):
    """p ← p − t·H·g, where H approximates the inverse Hessian from the last history_size changes of p and g.

    One step() makes up to max_iter such steps or max_eval evaluations of the closure, which returns the loss after
    calling backward() on it; it stops early where no gradient is above tolerance_grad, or neither p nor the loss change
    by tolerance_change. t is lr, or, with line_search_fn="strong_wolfe", what satisfies Wolfe's conditions. All
    parameters form one group. Nocedal 1980, Liu & Nocedal 1989.
    """

    numbers = {"func_evals": int, "n_iter": int, **dict.fromkeys(("t", "H_diag", "prev_loss", "ro", "al"), float)}

    def __init__(self, params: Params, lr: float = 1, max_iter: int = 20, max_eval: int | None = None,
                 tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9, history_size: int = 100,
                 line_search_fn: str | None = None) -> None:
        super().__init__(params, {"lr": lr, "max_iter": max_iter,
                                  "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                                  "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change,
                                  "history_size": history_size, "line_search_fn": line_search_fn})

    def check(self, group: dict[str, Any]) -> None:
        at_least_zero(self, group, "lr")
        if group["history_size"] < 1:
            raise ValueError(f"LBFGS: history_size = {group['history_size']} must be at least 1")
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise ValueError(f"LBFGS: line_search_fn {group['line_search_fn']!r} is unknown; use 'strong_wolfe' or "
                             "None")

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """The one group of parameters, which the constructor adds; another raises ValueError."""
        if self.param_groups:
            raise ValueError("LBFGS: all parameters form one group; options cannot differ between them")
        super().add_param_group(param_group)

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Several steps towards the minimum; closure computes loss and gradients anew. Returns the first loss."""
        with current(self.param_groups[0]["params"][0].data):
            return self._steps(closure)

    def _steps(self, closure: Callable[[], Any]) -> Any:
        group, state = self.param_groups[0], self.state[self.param_groups[0]["params"][0]]
        state.setdefault("n_iter", 0)
        state["func_evals"] = state.get("func_evals", 0) + 1
        self.steps += 1
        result, loss, gradient = self._evaluated(closure)
        evaluations, least = 1, group["tolerance_change"]
        if abs(gradient).max() <= group["tolerance_grad"]:
            return result
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            direction = self._direction(state, gradient, group["history_size"])
            t = group["lr"] * (min(1, 1 / float(abs(gradient).sum())) if state["n_iter"] == 1 else 1)
            before, slope = loss, np.float64(float(gradient @ direction))
            state.update(d=Tensor(direction), t=t, prev_flat_grad=Tensor(gradient), prev_loss=float(loss))
            if slope > -least:
                break
            used = 0
            if group["line_search_fn"]:
                start = Point(np.float64(0), loss, gradient, slope)
                point, used = strong_wolfe(self._along(closure, direction), start, np.float64(t),
                                           float(abs(direction).max()), least, group["max_eval"] - evaluations)
                state["t"], loss, gradient = float(point.t), point.loss, point.gradient
            self._move(state["t"], direction)
            if not group["line_search_fn"] and iteration < group["max_iter"]:
                _, loss, gradient = self._evaluated(closure)
                used = 1
            evaluations += used
            state["func_evals"] += used
            if (evaluations >= group["max_eval"] or abs(gradient).max() <= group["tolerance_grad"]
                    or abs(direction * state["t"]).max() <= least or abs(loss - before) < least):
                break
        return result

    @np.errstate(all="ignore")  # infinity and NaN are results, not events
    def _direction(self, state: dict[str, Any], gradient: Any, history_size: int) -> Any:
        """−H·g, by the recursion over the kept changes of p and g, first backwards and then forwards."""
        if state["n_iter"] == 1:
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1.0)
            return -gradient
        y, s = gradient - state["prev_flat_grad"].data, state["d"].data * state["t"]
        curvature = float(y @ s)
        if curvature > 1e-10:
            for key, value in (("old_dirs", Tensor(y)), ("old_stps", Tensor(s)), ("ro", 1 / curvature)):
                state[key] = [*state[key], value][-history_size:]
            state["H_diag"] = curvature / float(y @ y)
        changes = [(y.data, s.data, ro) for y, s, ro in zip(state["old_dirs"], state["old_stps"], state["ro"])]
        direction, weights = -gradient, []
        for y, s, ro in reversed(changes):
            weights.append(float(s @ direction) * ro)
            direction -= weights[-1] * y
        direction *= state["H_diag"]
        for (y, s, ro), weight in zip(changes, reversed(weights)):
            direction += (weight - float(y @ direction) * ro) * s
        return direction

    def _evaluated(self, closure: Callable[[], Any]) -> tuple[Any, Any, Any]:
        """What the closure returns, as a number too, and the gradients of all parameters as one vector."""
        with enable_grad():
            result = closure()
        gradients = []
        for p in self.param_groups[0]["params"]:
            g = zeros_like(p) if p.grad is None else p.grad
            self._check_gradient(p, g)
            gradients.append(g.data.reshape(-1))
        return result, np.float64(float(result)), array_module(gradients[0]).concatenate(gradients)

    def _along(self, closure: Callable[[], Any], direction: Any) -> Callable[[Any], Point]:
        """What looks at the point t steps along the direction, and comes back."""
        params = self.param_groups[0]["params"]
        start = [p.data.copy() for p in params]

        def look(t: Any) -> Point:
            self._move(float(t), direction)
            _, loss, gradient = self._evaluated(closure)
            for p, x in zip(params, start, strict=True):
                p.data[...] = x
                p.touch()
            return Point(t, loss, gradient, np.float64(float(gradient @ direction)))

        return look

    @np.errstate(all="ignore")
    def _move(self, t: float, direction: Any) -> None:
        """p ← p + t·direction."""
        place = 0
        for p in self.param_groups[0]["params"]:
            p.data[...] += t * direction[place:place + p.numel()].reshape(p.shape)
            place += p.numel()
            p.touch()

    def _state_shape(self, p: Tensor) -> tuple[int, ...]:
        return (sum(q.numel() for q in self.param_groups[0]["params"]),)
