"""Parameters and buffers whose shape is not known yet."""

import math
from collections.abc import Sequence
from typing import Any

from ..engine import Parameter, Tensor
from ..ops.creation import empty

__all__ = ["UninitializedBuffer", "UninitializedParameter"]


class UninitializedParameter(Parameter):
    """A parameter without a shape: it can be moved and converted, and ``materialize`` makes a Parameter of it.

    It stays the same object, so an optimiser may already hold it.
    """

    __slots__ = ()
    cls_to_become: type[Tensor] = Parameter

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__(empty(0, dtype=dtype, device=device), requires_grad)

    def materialize(self, shape: Sequence[int], device: Any = None, dtype: Any = None) -> None:
        """Become a Parameter (or buffer) of this shape, whose values are still to be set."""
        self.data = empty(tuple(shape), dtype=dtype or self.data.dtype, device=device or self.device).data
        self.__class__ = self.cls_to_become  # type: ignore[assignment]

    @property
    def shape(self) -> tuple[int, ...]:
        """Raises RuntimeError: it has none yet."""
        raise RuntimeError("an uninitialised parameter has no shape yet; call the network once, with a batch of zeros "
                           "for example, so that the shapes of its lazy layers are known")

    def numel(self) -> int:
        """Raises RuntimeError: it has no shape yet."""
        return math.prod(self.shape)

    def detach(self) -> Tensor:
        """The parameter itself: a state_dict holds it as what it is."""
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce__(self) -> tuple:
        return type(self), (self._requires_grad, str(self.device), self.dtype)


class UninitializedBuffer(UninitializedParameter):
    """A buffer without a shape, of which ``materialize`` makes a Tensor."""

    __slots__ = ()
    cls_to_become = Tensor

    def __init__(self, requires_grad: bool = False, device: Any = None, dtype: Any = None) -> None:
        super().__init__(requires_grad, device, dtype)
