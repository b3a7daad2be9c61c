"""The autograd engine: tensors, operations as nodes of a graph, and the walk back through it. It knows no operation."""

from .function import Function, share
from .modes import enable_grad, inference_mode, is_grad_enabled, mode, no_grad, set_grad_enabled, silence
from .tensor import Handle, Parameter, Tensor
from .walk import backward, initial_gradient, sum_to, walk

Tensor.backward = backward  # type: ignore[attr-defined]  # a method like any other, but it needs the whole engine
