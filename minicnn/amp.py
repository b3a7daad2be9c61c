"""Automatic mixed precision, under the names of torch.amp: ``autocast`` and ``GradScaler``.

    scaler = mc.amp.GradScaler("cuda")
    for x, y in batches:
        optimizer.zero_grad()
        with mc.autocast("cuda", mc.float16):
            loss = F.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

Gradients of float16 below 6·10⁻⁸ would become 0: the loss is multiplied by a large number first, and the gradients are
divided by it. bfloat16 has the range of float32 and needs no scaler. Micikevicius et al. 2018.
"""

import math
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from . import dtypes
from .backend import array_module, cuda_is_available, current
from .engine import Tensor
from .ops.autocast import autocast
from .optim import Optimizer

__all__ = ["GradScaler", "autocast"]

_READY, _UNSCALED, _STEPPED = range(3)


class GradScaler:
    """Multiplies losses by a scale that follows what float16 can hold; arithmetic and state are PyTorch's.

    A step with a gradient that is not finite is left out, and multiplies the scale by ``backoff_factor``; after
    ``growth_interval`` steps in a row without one it is multiplied by ``growth_factor``.

    Args:
        device: "cuda" or "cpu", where the gradients are. Without a GPU "cuda" warns and turns the scaler off.
        init_scale: the scale to begin with.
        growth_factor: above 1.
        backoff_factor: below 1.
        growth_interval: steps.
        enabled: False makes ``scale`` and ``step`` those of the loss and the optimiser alone, and does nothing else.
    """

    def __init__(self, device: str = "cuda", init_scale: float = 2.0 ** 16, growth_factor: float = 2.0,
                 backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True) -> None:
        if device not in ("cpu", "cuda"):
            raise ValueError(f"GradScaler: device = {device!r} must be 'cpu' or 'cuda'")
        if enabled and device == "cuda" and not cuda_is_available():
            warnings.warn("GradScaler: there is no GPU, so the scaler is off; for the CPU say device='cpu'",
                          stacklevel=2)
            enabled = False
        if not growth_factor > 1:
            raise ValueError(f"GradScaler: growth_factor = {growth_factor} must be above 1")
        if not backoff_factor < 1:
            raise ValueError(f"GradScaler: backoff_factor = {backoff_factor} must be below 1")
        self._enabled = enabled
        self._scale = _float32(init_scale)
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval, self._growth_tracker = growth_interval, 0
        self._stages: dict[int, int] = {}  # of the optimisers in this iteration, by id
        self._found_inf: dict[int, bool] = {}

    def scale(self, outputs: Any) -> Any:
        """The outputs, a tensor or nested iterables of tensors, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            with current(outputs.data):
                return outputs * Tensor(array_module(outputs.data).asarray(self._scale, dtypes.float32))
        if not isinstance(outputs, Iterable):
            raise ValueError(f"GradScaler.scale: outputs must be tensors, not {type(outputs).__name__}")
        scaled = map(self.scale, outputs)
        return type(outputs)(scaled) if isinstance(outputs, (list, tuple)) else scaled

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients of an optimiser's parameters by the scale, to look at them or to clip them.

        ``step`` does it otherwise. Raises RuntimeError if it is done already, ValueError for gradients of float16.
        """
        if not self._enabled:
            return
        stage = self._stages.get(id(optimizer), _READY)
        if stage != _READY:
            what = "unscale_() was called" if stage == _UNSCALED else "step() was called"
            raise RuntimeError(f"GradScaler.unscale_: {what} for this optimiser since the last update()")
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        inverse, finite = _float32(1 / self._scale), None
        with np.errstate(all="ignore"), current(*[g.data for g in gradients]):  # infinity is what is looked for
            for g in gradients:
                if g.dtype == dtypes.float16:
                    raise ValueError("GradScaler.unscale_: a gradient is float16; keep the parameters in float32, "
                                     "autocast rounds them where they are used")
                xp = array_module(g.data)
                flag = xp.isfinite(g.data).all()
                finite = flag if finite is None else finite & flag
                g.data *= g.dtype.type(inverse)
                g.touch()
        if finite is None:
            raise RuntimeError("GradScaler.unscale_: no parameter of the optimiser has a gradient; call "
                               "scale(loss).backward() first")
        self._stages[id(optimizer)], self._found_inf[id(optimizer)] = _UNSCALED, not bool(finite)

    def step(self, optimizer: Optimizer) -> Any:
        """``optimizer.step()`` with unscaled gradients, unless one of them is not finite; returns what it returns."""
        if not self._enabled:
            return optimizer.step()
        stage = self._stages.get(id(optimizer), _READY)
        if stage == _STEPPED:
            raise RuntimeError("GradScaler.step: step() was called for this optimiser since the last update()")
        if stage == _READY:
            self.unscale_(optimizer)
        self._stages[id(optimizer)] = _STEPPED
        return None if self._found_inf[id(optimizer)] else optimizer.step()

    def update(self, new_scale: "float | Tensor | None" = None) -> None:
        """Adapt the scale to what the steps since the last update found, or set it; at the end of each iteration."""
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = _float32(float(new_scale))
        elif not self._found_inf:
            raise RuntimeError("GradScaler.update: no gradients were looked at; call step(optimizer) first")
        elif any(self._found_inf.values()):
            self._scale, self._growth_tracker = _float32(self._scale * self._backoff_factor), 0
        else:
            self._growth_tracker += 1
            if self._growth_tracker == self._growth_interval:
                larger = _float32(self._scale * self._growth_factor)
                self._scale, self._growth_tracker = larger if math.isfinite(larger) else self._scale, 0
        self._stages, self._found_inf = {}, {}

    @property
    def found_inf(self) -> bool:
        """Whether a gradient that was not finite was found since the last update; not in PyTorch."""
        return any(self._found_inf.values())

    def get_scale(self) -> float:
        """The scale; 1 if the scaler is off."""
        return self._scale if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        """What the scale is multiplied by to grow."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set what the scale is multiplied by to grow."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """What the scale is multiplied by after a gradient that is not finite."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set what the scale is multiplied by after a gradient that is not finite."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """Steps in a row after which the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set after how many steps in a row the scale grows."""
        self._growth_interval = new_interval

    def is_enabled(self) -> bool:
        """Whether the scaler does anything."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's five entries, plain numbers; empty if the scaler is off. To be taken after ``update``."""
        if not self._enabled:
            return {}
        return {"scale": self._scale, "growth_factor": self._growth_factor, "backoff_factor": self._backoff_factor,
                "growth_interval": self._growth_interval, "_growth_tracker": self._growth_tracker}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from where ``state_dict`` was taken, here or by PyTorch; does nothing if the scaler is off."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError("GradScaler.load_state_dict: the state is empty: it is that of a scaler that was off")
        self._scale, self._growth_tracker = float(state_dict["scale"]), int(state_dict["_growth_tracker"])
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]


def _float32(x: float) -> float:
    """The nearest number that float32 has."""
    with np.errstate(over="ignore"):
        return float(np.float32(x))
