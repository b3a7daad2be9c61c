"""Functions of single elements. Most are one declaration: forward on arrays, then gradient in operations.

Input of any shape, (∗) → (∗); where there are several, they are broadcast. Integers become float32, unless it says
otherwise. Raises TypeError for what is no tensor or of a type it does not take. As in PyTorch and NumPy.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes
from ..backend import arithmetic_for, array_module, kernels_for
from ..engine import Function, Tensor, is_grad_enabled
from .basic import (Broadcasting, Number, TensorOrNumber, check_factor, float_result, named, no_gradient, operands,
                    refuse_bool)
from .comparison import where

__all__ = ["acos", "acosh", "addcdiv", "addcmul", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2",
           "arctanh", "asin", "asinh", "atan", "atan2", "atanh", "ceil", "copysign", "cos", "cosh", "deg2rad", "erf",
           "erfc", "exp", "exp2", "expm1", "fix", "floor", "frac", "heaviside", "hypot", "isfinite", "isinf", "isnan",
           "isneginf", "isposinf", "lerp", "log", "log10", "log1p", "log2", "logaddexp", "nan_to_num", "rad2deg",
           "reciprocal", "round", "rsqrt", "sgn", "sigmoid", "sign", "signbit", "sin", "sinh", "sqrt", "square", "tan",
           "tanh", "trunc", "xlogy"]

LN2, LN10 = math.log(2), math.log(10)


# -- how a function of one element is declared ----------------------------------------------------------------------

class Unary(Function):
    """y = value(x), element by element;  gx = gradient(gy, x) or gradient(gy, y), whichever is simpler.

    What the gradient names besides gy is what the graph keeps. ``kernel`` names a fused (gy, y) → gx for use where gx
    itself is not recorded.
    """

    value: Callable[..., Any]  # (xp, x) → y
    gradient: Callable[..., Tensor]
    keeps: tuple[str, ...]
    kernel: str | None

    def forward(self, x):
        y = self.value(array_module(x), x)
        self.save(*[x if name == "x" else y for name in self.keeps])
        return y

    def backward(self, gy):
        if self.kernel and not is_grad_enabled():
            (y,) = self.saved
            return Tensor(getattr(kernels_for(y.data), self.kernel)(gy.data, y.data))
        return self.gradient(gy, *self.saved)


def unary(name: str, doc: str, value: Callable[..., Any], gradient: Callable[..., Tensor], *, integers: str = "float32",
          kernel: str | None = None) -> Callable[[Tensor], Tensor]:
    """The function on tensors, and its node in the graph, named after it.

    ``integers`` says what becomes of integer tensors: they are converted to "float32", their value is taken in their
    own type ("value"), they are their own result ("same", bools refused) or they are "refused".
    """
    node = type(name.capitalize(), (Unary,), {
        "__doc__": doc, "__module__": __name__, "value": staticmethod(value), "gradient": staticmethod(gradient),
        "keeps": tuple(inspect.signature(gradient).parameters)[1:], "kernel": kernel})

    def function(input: Tensor) -> Tensor:
        if not dtypes.is_floating(input.data.dtype):
            if integers == "float32":
                input = input.to(dtypes.float32)
            elif integers == "same" and input.dtype != dtypes.bool_:
                return input.clone()
            elif integers != "value":
                raise TypeError(f"{name}: {input.dtype} tensors are not supported; convert the input with .float()")
        return node()(input)

    return named(function, name, doc)


# -- exponentials, logarithms, powers -------------------------------------------------------------------------------

exp = unary("exp", "y = eˣ;  gx = gy·y.", lambda xp, x: xp.exp(x), lambda gy, y: gy * y)
exp2 = unary("exp2", "y = 2ˣ;  gx = gy·y·ln 2.", lambda xp, x: xp.exp2(x), lambda gy, y: gy * (y * LN2))
expm1 = unary("expm1", "y = eˣ − 1, exact near 0;  gx = gy·(y + 1).",
              lambda xp, x: xp.expm1(x), lambda gy, y: gy * (y + 1))
log = unary("log", "y = ln x, −inf at 0, NaN below;  gx = gy/x.", lambda xp, x: xp.log(x), lambda gy, x: gy / x)
log2 = unary("log2", "y = ln x / ln 2;  gx = gy/(x·ln 2).", lambda xp, x: xp.log2(x), lambda gy, x: gy / (x * LN2))
log10 = unary("log10", "y = ln x / ln 10;  gx = gy/(x·ln 10).",
              lambda xp, x: xp.log10(x), lambda gy, x: gy / (x * LN10))
log1p = unary("log1p", "y = ln(1 + x), exact near 0;  gx = gy/(1 + x).",
              lambda xp, x: xp.log1p(x), lambda gy, x: gy / (x + 1))
sqrt = unary("sqrt", "y = √x;  gx = gy/(2y), infinite at 0.", lambda xp, x: xp.sqrt(x), lambda gy, y: gy / (2 * y))
rsqrt = unary("rsqrt", "y = 1/√x;  gx = −gy·y³/2.",
              lambda xp, x: xp.reciprocal(xp.sqrt(x)), lambda gy, y: gy * (-0.5 * y * y * y))
square = unary("square", "y = x², in the type of x, int64 for bools;  gx = gy·2x.",
               lambda xp, x: arithmetic_for(x, x).mul(x, x) if x.dtype != dtypes.bool_ else x.astype(dtypes.int64),
               lambda gy, x: gy * (2 * x), integers="value")
reciprocal = unary("reciprocal", "y = 1/x;  gx = −gy·y².", lambda xp, x: xp.reciprocal(x), lambda gy, y: -gy * (y * y))

# -- trigonometric and hyperbolic -----------------------------------------------------------------------------------

sin = unary("sin", "y = sin x, x in radians;  gx = gy·cos x.", lambda xp, x: xp.sin(x), lambda gy, x: gy * x.cos())
cos = unary("cos", "y = cos x, x in radians;  gx = −gy·sin x.", lambda xp, x: xp.cos(x), lambda gy, x: -gy * x.sin())
tan = unary("tan", "y = tan x, x in radians;  gx = gy·(1 + y²).",
            lambda xp, x: xp.tan(x), lambda gy, y: gy * (y * y + 1))
asin = unary("asin", "The angle y in −π/2 … π/2 whose sine is x;  gx = gy/√(1 − x²).",
             lambda xp, x: xp.arcsin(x), lambda gy, x: gy * (1 - x * x).rsqrt())
acos = unary("acos", "The angle y in 0 … π whose cosine is x;  gx = −gy/√(1 − x²).",
             lambda xp, x: xp.arccos(x), lambda gy, x: -gy * (1 - x * x).rsqrt())
atan = unary("atan", "The angle y in −π/2 … π/2 whose tangent is x;  gx = gy/(1 + x²).",
             lambda xp, x: xp.arctan(x), lambda gy, x: gy / (x * x + 1))
sinh = unary("sinh", "y = (eˣ − e⁻ˣ)/2;  gx = gy·cosh x.", lambda xp, x: xp.sinh(x), lambda gy, x: gy * x.cosh())
cosh = unary("cosh", "y = (eˣ + e⁻ˣ)/2;  gx = gy·sinh x.", lambda xp, x: xp.cosh(x), lambda gy, x: gy * x.sinh())
tanh = unary("tanh", "The hyperbolic tangent, (∗) → (∗); gx = gy·(1 − y²). Raises TypeError where input is no Tensor. "
             "LeCun et al. 1998.",
             lambda xp, x: kernels_for(x).tanh(x), lambda gy, y: gy * (1 - y * y), kernel="tanh_grad")
asinh = unary("asinh", "The inverse of sinh;  gx = gy/√(x² + 1).",
              lambda xp, x: xp.arcsinh(x), lambda gy, x: gy * (x * x + 1).rsqrt())
acosh = unary("acosh", "The inverse of cosh, x ≥ 1;  gx = gy/√(x² − 1).",
              lambda xp, x: xp.arccosh(x), lambda gy, x: gy * (x * x - 1).rsqrt())
atanh = unary("atanh", "The inverse of tanh;  gx = gy/(1 − x²).",
              lambda xp, x: xp.arctanh(x), lambda gy, x: gy / (1 - x * x))
deg2rad = unary("deg2rad", "y = x·π/180;  gx = gy·π/180.", lambda xp, x: xp.deg2rad(x), lambda gy: gy * (math.pi / 180))
rad2deg = unary("rad2deg", "y = x·180/π;  gx = gy·180/π.", lambda xp, x: xp.rad2deg(x), lambda gy: gy * (180 / math.pi))
arcsin, arccos, arctan, arcsinh, arccosh, arctanh = asin, acos, atan, asinh, acosh, atanh

sigmoid = unary("sigmoid", "1/(1 + e⁻ˣ) without overflow, (∗) → (∗); gx = gy·y·(1 − y). Raises TypeError where input "
                "is no Tensor. Verhulst 1845.",
                lambda xp, x: kernels_for(x).sigmoid(x), lambda gy, y: gy * (y * (1 - y)), kernel="sigmoid_grad")

# -- the error function ---------------------------------------------------------------------------------------------

erf = unary("erf", "y = 2/√π·∫₀ˣ e^(−t²) dt;  gx = gy·2/√π·e^(−x²).",
            lambda xp, x: kernels_for(x).erf(x), lambda gy, x: gy * ((-x * x).exp() * (2 / math.sqrt(math.pi))))
erfc = unary("erfc", "y = 1 − erf(x), exact where it is tiny;  gx = −gy·2/√π·e^(−x²).",
             lambda xp, x: kernels_for(x).erfc(x), lambda gy, x: gy * ((-x * x).exp() * (-2 / math.sqrt(math.pi))))

# -- signs and rounding ---------------------------------------------------------------------------------------------

sign = unary("sign", "y = x/|x|, 0 for 0 and NaN, in the type of x; gradient 0.",
             lambda xp, x: (x > 0).astype(x.dtype) - (x < 0) if x.dtype != bool else x.copy(),
             no_gradient, integers="value")
sgn = sign
floor = unary("floor", "⌊x⌋, the largest integer ≤ x; gradient 0.",
              lambda xp, x: xp.floor(x), no_gradient, integers="same")
ceil = unary("ceil", "⌈x⌉, the smallest integer ≥ x; gradient 0.",
             lambda xp, x: xp.ceil(x), no_gradient, integers="same")
trunc = unary("trunc", "y = sign(x)·⌊|x|⌋, x without its fraction; gradient 0.",
              lambda xp, x: xp.trunc(x), no_gradient, integers="same")
fix = trunc
frac = unary("frac", "y = x − trunc(x), of floats only;  gx = gy.",
             lambda xp, x: x - xp.trunc(x), lambda gy: gy, integers="refused")
_round = unary("round", "The nearest integer, of two the even one; gradient 0.",
               lambda xp, x: xp.rint(x), no_gradient, integers="same")


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest multiple of 10^−decimals, halves to even; negative decimals round to tens, hundreds. gx = 0."""
    if decimals == 0:
        return _round(input)
    if not dtypes.is_floating(input.dtype):
        raise TypeError(f"round: decimals = {decimals} needs a float tensor, not {input.dtype}; use .float()")
    scale = 10.0 ** abs(decimals)
    return _round(input * scale) / scale if decimals > 0 else _round(input / scale) * scale


def nan_to_num(input: Tensor, nan: float | None = 0.0, posinf: float | None = None,
               neginf: float | None = None) -> Tensor:
    """NaN and infinities replaced by the numbers given; infinities by default by the largest finite ones.

    gx = gy where input is finite, else 0. nan=None, PyTorch's default, is 0 too.
    """
    if not dtypes.is_floating(input.dtype):
        return input.clone()
    number = input.dtype.type
    largest = float(np.nextafter(number(math.inf), number(0)))
    y = input.where(~input.isnan(), 0.0 if nan is None else nan)
    y = y.where(input != math.inf, largest if posinf is None else posinf)
    return y.where(input != -math.inf, -largest if neginf is None else neginf)


def _test(name: str, doc: str, test: Callable[..., Any]) -> Callable[[Tensor], Tensor]:
    def function(input: Tensor) -> Tensor:
        return Tensor(test(array_module(input.data), input.data))

    return named(function, name, doc)


isnan = _test("isnan", "Whether each element is NaN.", lambda xp, x: xp.isnan(x))
isinf = _test("isinf", "Whether each element is infinite.", lambda xp, x: xp.isinf(x))
isposinf = _test("isposinf", "Whether each element is +infinity.", lambda xp, x: x == math.inf)
isneginf = _test("isneginf", "Whether each element is −infinity.", lambda xp, x: x == -math.inf)
isfinite = _test("isfinite", "Whether each element is neither infinite nor NaN.", lambda xp, x: xp.isfinite(x))
signbit = _test("signbit", "Whether each element is negative, −0.0 included.", lambda xp, x: xp.signbit(x))


# -- of two and three operands --------------------------------------------------------------------------------------

def _floats_only(name: str, *tensors: Tensor) -> None:
    for t in tensors:
        if not dtypes.is_floating(t.dtype):
            raise TypeError(f"{name}: {t.dtype} tensors are not supported; convert the input with .float()")


def _float_operands(name: str, input: Tensor, other: Tensor) -> tuple[Tensor, ...]:
    """Both in one type and shape; one of them may be of integers."""
    a, b = operands(name, input, other)
    _floats_only(name, a)
    return a, b


class LogAddExp(Broadcasting):
    """y = log(eᵃ + eᵇ);  ga = gy·σ(a − b),  gb = gy·σ(b − a)."""

    def forward(self, a, b):
        self.save(a, b)
        return array_module(a).logaddexp(a, b)

    def backward(self, gy):
        a, b = self.saved
        return gy * (a - b).sigmoid(), gy * (b - a).sigmoid() if self.needs[1] else None


def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """y = log(e^input + e^other), without overflow; the gradients are gy·σ(input − other) and gy·σ(other − input)."""
    return LogAddExp()(*_float_operands("logaddexp", input, other))


class XLogY(Broadcasting):
    """y = a·ln b, 0 where a = 0 and b is not NaN;  ga = gy·ln b (0 where a = 0 and b ≤ 0),  gb = gy·a/b."""

    def forward(self, a, b):
        self.save(a, b)
        xp = array_module(a)
        return xp.where((a == 0) & (b == b), xp.zeros_like(b), a * xp.log(b))

    def backward(self, gy):
        a, b = self.saved
        ga = gy * b.log().where(~((a == 0) & (b <= 0)), 0.0) if self.needs[0] else None
        return ga, gy * (a / b) if self.needs[1] else None


def xlogy(input: TensorOrNumber, other: TensorOrNumber) -> Tensor:
    """y = input·ln(other), 0 where input is 0; the gradients are gy·ln(other) and gy·input/other."""
    return XLogY()(*operands("xlogy", input, other, dtype=float_result(input, other)))


class Hypot(Broadcasting):
    """y = √(a² + b²);  ga = gy·a/y,  gb = gy·b/y."""

    def forward(self, a, b):
        y = array_module(a).hypot(a, b)
        self.save(a, b, y)
        return y

    def backward(self, gy):
        a, b, y = self.saved
        return gy * (a / y), gy * (b / y) if self.needs[1] else None


def hypot(input: Tensor, other: Tensor) -> Tensor:
    """y = √(input² + other²), without overflow; the gradients are gy·input/y and gy·other/y."""
    return Hypot()(*_float_operands("hypot", input, other))


class Atan2(Broadcasting):
    """y = angle of (b, a);  ga = gy·b/(a² + b²),  gb = −gy·a/(a² + b²), 0 at the origin."""

    def forward(self, a, b):
        self.save(a, b)
        return array_module(a).arctan2(a, b)

    def backward(self, gy):
        a, b = self.saved
        square = a * a + b * b
        scaled = where(square == 0, 0.0, gy / where(square == 0, 1.0, square))
        return scaled * b, -scaled * a


def atan2(input: Tensor, other: Tensor) -> Tensor:
    """The angle in −π … π of the point (other, input), whose distance from the origin is r.

    The gradients are gy·other/r² and −gy·input/r², 0 at the origin.
    """
    return Atan2()(*operands("atan2", input, other, dtype=float_result(input, other)))


arctan2 = atan2


class CopySign(Broadcasting):
    """y = |a| with the sign of b;  ga = gy·y/a (0 at a = 0),  gb = 0."""

    def forward(self, a, b):
        y = array_module(a).copysign(a, b)
        self.save(a, y)
        return y

    def backward(self, gy):
        a, y = self.saved
        return where(a == 0, 0.0, gy * (a.sign() * y.sign())), no_gradient(gy)


def copysign(input: Tensor, other: TensorOrNumber) -> Tensor:
    """|input| with the sign of other; the gradient of input is gy·y/input, 0 at 0, that of other 0."""
    return CopySign()(*operands("copysign", input, other, dtype=float_result(input, other)))


class Lerp(Broadcasting):
    """y = a + w·(b − a);  ga = gy·(1 − w),  gb = gy·w,  gw = gy·(b − a)."""

    def forward(self, a, b, w):
        self.save(*(a, b) if self.needs[2:] == (True,) else (None, None), w)
        # counted from the nearer end, so that w = 1 gives b
        return array_module(a).where(abs(w) < 0.5, a + w * (b - a), b - (b - a) * (1 - w))

    def backward(self, gy):
        a, b, w = self.saved
        return (gy * (1 - w) if self.needs[0] else None, gy * w if self.needs[1] else None,
                gy * (b - a) if self.needs[2] else None)


def lerp(input: Tensor, end: Tensor, weight: TensorOrNumber) -> Tensor:
    """y = input + weight·(end − input): input at weight 0, end at weight 1.

    The gradients are gy·(1 − weight), gy·weight and gy·(end − input).
    """
    _floats_only("lerp", input, end)
    for name, t in (("end", end), ("weight", weight)):
        if isinstance(t, Tensor) and t.dtype != input.dtype and (t.ndim or name == "end"):
            raise TypeError(f"lerp: {name} is {t.dtype}, input is {input.dtype}; convert one with .to()")
    wide = np.promote_types(input.dtype, dtypes.float32)  # half precision is rounded once
    return Lerp()(*operands("lerp", input, end, weight, dtype=wide)).to(input.dtype)


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = 1) -> Tensor:
    """y = input + value·tensor1·tensor2; the gradients are gy, gy·value·tensor2 and gy·value·tensor1."""
    refuse_bool("addcmul", input)
    a, b, c = operands("addcmul", input, tensor1, tensor2)
    check_factor("addcmul", "value", value, a.dtype)
    return a.add(b * c, alpha=value * 1)  # True is 1


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = 1) -> Tensor:
    """y = input + value·tensor1/tensor2; the gradients are gy, gy·value/tensor2, −gy·value·tensor1/tensor2²."""
    if not dtypes.is_floating(tensor1.dtype) and not dtypes.is_floating(tensor2.dtype):
        raise TypeError(f"addcdiv: {tensor1.dtype} and {tensor2.dtype} are not divided; convert one with .float()")
    a, b, c = operands("addcdiv", input, tensor1, tensor2)
    return a.add(b / c, alpha=value * 1)


def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 where input < 0, ``values`` where it is 0, 1 where it is larger, broadcast; without gradient."""
    if input.dtype != values.dtype:
        raise TypeError(f"heaviside: values is {values.dtype}, input is {input.dtype}; convert one with .to()")
    return values.detach().where(input == 0, (input > 0).to(input.dtype))
