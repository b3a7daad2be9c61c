"""Functions of single elements: one pass over memory each."""

from ..contract import Array
from .module import THREADS, contiguous, empty, for_floats, launch, spread


def _each(kernel: str, first: Array, *rest: Array | float) -> Array:
    """kernel(arrays, result, count, numbers), a thread for some elements of the result each."""
    arrays = [contiguous(a) for a in (first, *rest) if not isinstance(a, (int, float))]
    numbers = [float(a) for a in rest if isinstance(a, (int, float))]
    y = empty(first.shape, first)
    launch("elementwise.cu", kernel, spread(y.size), (THREADS,), *arrays, y, y.size, *numbers)
    return y


@for_floats
def relu(x: Array) -> Array:
    return _each("relu", x)


@for_floats
def relu_grad(gy: Array, y: Array) -> Array:
    return _each("relu_grad", gy, y)


@for_floats
def leaky_relu(x: Array, slope: float) -> Array:
    return _each("leaky_relu", x, slope)


@for_floats
def leaky_relu_grad(gy: Array, x: Array, slope: float) -> Array:
    return _each("leaky_relu_grad", gy, x, slope)


@for_floats
def hardtanh(x: Array, low: float, high: float) -> Array:
    return _each("hardtanh", x, low, high)


@for_floats
def hardtanh_grad(gy: Array, y: Array, low: float, high: float) -> Array:
    return _each("hardtanh_grad", gy, y, low, high)


@for_floats
def hardswish(x: Array) -> Array:
    return _each("hardswish", x)


@for_floats
def hardswish_grad(gy: Array, x: Array) -> Array:
    return _each("hardswish_grad", gy, x)


@for_floats
def prelu(x: Array, w: Array) -> Array:
    return _each("prelu", x, w)


@for_floats
def prelu_grad(gy: Array, x: Array, w: Array) -> Array:
    return _each("prelu_grad", gy, x, w)


@for_floats
def prelu_weight_grad(gy: Array, x: Array) -> Array:
    return _each("prelu_weight_grad", gy, x)


@for_floats
def hardsigmoid(x: Array) -> Array:
    return _each("hardsigmoid", x)


@for_floats
def hardsigmoid_grad(gy: Array, x: Array) -> Array:
    return _each("hardsigmoid_grad", gy, x)


@for_floats
def hardshrink(x: Array, width: float) -> Array:
    return _each("hardshrink", x, width)


@for_floats
def hardshrink_grad(gy: Array, x: Array, width: float) -> Array:
    return _each("hardshrink_grad", gy, x, width)


@for_floats
def softshrink(x: Array, width: float) -> Array:
    return _each("softshrink", x, width)


@for_floats
def threshold(x: Array, least: float, other: float) -> Array:
    return _each("threshold", x, least, other)


@for_floats
def threshold_grad(gy: Array, x: Array, least: float, other: float) -> Array:
    return _each("threshold_grad", gy, x, least, other)


@for_floats
def softsign(x: Array) -> Array:
    return _each("softsign", x)


@for_floats
def softsign_grad(gy: Array, x: Array) -> Array:
    return _each("softsign_grad", gy, x)


@for_floats
def elu(x: Array, alpha: float, scale: float, input_scale: float) -> Array:
    return _each("elu", x, alpha, scale, input_scale)


@for_floats
def elu_grad(gy: Array, x: Array, alpha: float, scale: float, input_scale: float) -> Array:
    return _each("elu_grad", gy, x, alpha, scale, input_scale)


@for_floats
def sigmoid(x: Array) -> Array:
    return _each("sigmoid", x)


@for_floats
def sigmoid_grad(gy: Array, y: Array) -> Array:
    return _each("sigmoid_grad", gy, y)


@for_floats
def tanh(x: Array) -> Array:
    return _each("tanh_", x)


@for_floats
def tanh_grad(gy: Array, y: Array) -> Array:
    return _each("tanh_grad", gy, y)


@for_floats
def tanhshrink(x: Array) -> Array:
    return _each("tanhshrink", x)


@for_floats
def tanhshrink_grad(gy: Array, x: Array) -> Array:
    return _each("tanhshrink_grad", gy, x)


@for_floats
def softplus(x: Array, beta: float, threshold: float) -> Array:
    return _each("softplus", x, beta, threshold)


@for_floats
def softplus_grad(gy: Array, x: Array, beta: float, threshold: float) -> Array:
    return _each("softplus_grad", gy, x, beta, threshold)


@for_floats
def erf(x: Array) -> Array:
    return _each("erf_", x)


@for_floats
def erfc(x: Array) -> Array:
    return _each("erfc_", x)


@for_floats
def silu(x: Array) -> Array:
    return _each("silu", x)


@for_floats
def silu_grad(gy: Array, x: Array) -> Array:
    return _each("silu_grad", gy, x)


@for_floats
def gelu(x: Array) -> Array:
    return _each("gelu", x)


@for_floats
def gelu_grad(gy: Array, x: Array) -> Array:
    return _each("gelu_grad", gy, x)


@for_floats
def gelu_tanh(x: Array) -> Array:
    return _each("gelu_tanh", x)


@for_floats
def gelu_tanh_grad(gy: Array, x: Array) -> Array:
    return _each("gelu_tanh_grad", gy, x)


@for_floats
def mish(x: Array) -> Array:
    return _each("mish", x)


@for_floats
def mish_grad(gy: Array, x: Array) -> Array:
    return _each("mish_grad", gy, x)


@for_floats
def huber(d: Array, delta: float) -> Array:
    return _each("huber", d, delta)


@for_floats
def huber_grad(gy: Array, d: Array, delta: float) -> Array:
    return _each("huber_grad", gy, d, delta)


@for_floats
def logistic_loss(x: Array, t: Array) -> Array:
    return _each("logistic_loss", x, t)


@for_floats
def logistic_loss_grad(gy: Array, x: Array, t: Array) -> Array:
    return _each("logistic_loss_grad", gy, x, t)
