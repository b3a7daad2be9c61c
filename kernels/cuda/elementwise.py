"""Functions of single elements: one pass over memory each, in the CUDA kernel of that name."""

from collections.abc import Callable
from functools import wraps

from .. import contract
from ..contract import Array
from .module import THREADS, contiguous, empty, for_floats, launch, spread

IN_C = {"tanh": "tanh_", "erf": "erf_", "erfc": "erfc_"}  # CUDA has functions of these names


def _kernel(name: str) -> Callable:
    """kernel(arrays, result, count, numbers), a thread for some elements of the result each."""
    @for_floats
    @wraps(getattr(contract, name), ("__name__", "__qualname__", "__doc__"))
    def kernel(first: Array, *rest: Array | float) -> Array:
        arrays = [contiguous(a) for a in (first, *rest) if not isinstance(a, (int, float))]
        numbers = [float(a) for a in rest if isinstance(a, (int, float))]
        y = empty(first.shape, first)
        launch("elementwise.cu", IN_C.get(name, name), spread(y.size), (THREADS,), *arrays, y, y.size, *numbers)
        return y

    return kernel


# piecewise linear
relu, relu_grad = _kernel("relu"), _kernel("relu_grad")
leaky_relu, leaky_relu_grad = _kernel("leaky_relu"), _kernel("leaky_relu_grad")
prelu, prelu_grad, prelu_weight_grad = _kernel("prelu"), _kernel("prelu_grad"), _kernel("prelu_weight_grad")
hardtanh, hardtanh_grad = _kernel("hardtanh"), _kernel("hardtanh_grad")
hardswish, hardswish_grad = _kernel("hardswish"), _kernel("hardswish_grad")
hardsigmoid, hardsigmoid_grad = _kernel("hardsigmoid"), _kernel("hardsigmoid_grad")
hardshrink, hardshrink_grad = _kernel("hardshrink"), _kernel("hardshrink_grad")
softshrink = _kernel("softshrink")
threshold, threshold_grad = _kernel("threshold"), _kernel("threshold_grad")

# of exponentials
softsign, softsign_grad = _kernel("softsign"), _kernel("softsign_grad")
elu, elu_grad = _kernel("elu"), _kernel("elu_grad")
sigmoid, sigmoid_grad = _kernel("sigmoid"), _kernel("sigmoid_grad")
tanh, tanh_grad = _kernel("tanh"), _kernel("tanh_grad")
tanhshrink, tanhshrink_grad = _kernel("tanhshrink"), _kernel("tanhshrink_grad")
softplus, softplus_grad = _kernel("softplus"), _kernel("softplus_grad")
erf, erfc = _kernel("erf"), _kernel("erfc")

# gates
silu, silu_grad = _kernel("silu"), _kernel("silu_grad")
gelu, gelu_grad = _kernel("gelu"), _kernel("gelu_grad")
gelu_tanh, gelu_tanh_grad = _kernel("gelu_tanh"), _kernel("gelu_tanh_grad")
mish, mish_grad = _kernel("mish"), _kernel("mish_grad")

# losses
huber, huber_grad = _kernel("huber"), _kernel("huber_grad")
logistic_loss, logistic_loss_grad = _kernel("logistic_loss"), _kernel("logistic_loss_grad")
