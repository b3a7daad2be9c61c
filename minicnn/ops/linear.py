"""Products: matmul and its special cases, the linear layer, and sums over named axes (einsum, tensordot).

All come down to one operation on matrices, whose adjoints are products again: y = a·b,  ga = gy·bᵀ,  gb = aᵀ·gy.
A transpose is a view, which BLAS reads as it is, so nothing is copied.

(..., n, k) and (..., k, m) → (..., n, m). Raises RuntimeError for shapes or types that do not fit. As in PyTorch and
NumPy.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes
from ..backend import array_module, kernels_for
from ..engine import Function, Tensor
from .basic import Number, check_factor, expect_tensors
from .reduce import Sum
from .shape import axis_of

__all__ = ["addmm", "baddbmm", "bmm", "dot", "einsum", "matmul", "mm", "mv", "outer", "tensordot"]

# -- the operation --------------------------------------------------------------------------------------------------

def _product(a: Any, b: Any, bias: Any = None) -> Any:
    """a·b over the last two axes, plus bias along the last; 16-bit floats are summed in float32."""
    if a.ndim == b.ndim == 2 and dtypes.is_floating(a.dtype):
        return kernels_for(a).matmul(a, b, bias)
    if a.dtype.itemsize == 2 and dtypes.is_floating(a.dtype):
        return _product(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)
    y = array_module(a).matmul(a, b)
    return y if bias is None else y + bias


class MatMul(Function):
    """y = a·b, matrices with equal axes in front, either transposed if asked;  ga = gy·bᵀ,  gb = aᵀ·gy."""

    def __init__(self, a_turned: bool = False, b_turned: bool = False) -> None:
        self.a_turned, self.b_turned = a_turned, b_turned

    def forward(self, a, b):
        needs_a, needs_b = self.needs
        self.save(a if needs_b else None, b if needs_a else None)
        return _product(a.swapaxes(-1, -2) if self.a_turned else a, b.swapaxes(-1, -2) if self.b_turned else b)

    def backward(self, gy):
        a, b = self.saved
        ga = gb = None
        if self.needs[0]:
            ga = MatMul(self.b_turned, True)(b, gy) if self.a_turned else MatMul(False, not self.b_turned)(gy, b)
        if self.needs[1]:
            gb = MatMul(True, self.a_turned)(gy, a) if self.b_turned else MatMul(not self.a_turned)(a, gy)
        return ga, gb


class Linear(Function):
    """y = x·wᵀ + b;  gx = gy·w,  gw = gyᵀ·x and gb = Σ gy, both over all axes but the last."""

    def forward(self, x, w, b=None):
        needs_x, needs_w = self.needs[:2]
        self.save(x if needs_w else None, w if needs_x else None)
        y = _product(_rows(x), w.T, b)
        return y if x.ndim == 2 else y.reshape(x.shape[:-1] + (w.shape[0],))

    def backward(self, gy):
        x, w = self.saved
        rows = _rows(gy)
        gx = MatMul()(rows, w) if self.needs[0] else None
        if gx is not None and gy.ndim != 2:
            gx = gx.reshape((*gy.shape[:-1], gx.shape[-1]))
        gw = MatMul(True)(rows, _rows(x)) if self.needs[1] else None
        gb = Sum((0,), False)(rows) if self.needs[2:] == (True,) else None
        return (gx, gw, gb)[:len(self.needs)]


def _rows(x: Any) -> Any:
    """The vectors along the last axis of an array or tensor, as the rows of a matrix."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x·Wᵀ + b: input (..., in), weight (out, in) and bias (out) → (..., out).

    gx = gy·W,  gW = gyᵀ·x,  gb = Σ gy. A weight of shape (in) gives y (...). Raises RuntimeError for shapes or types
    that do not fit. Rosenblatt 1958.
    """
    shape = weight.data.shape
    if len(shape) == 1:
        y = matmul(input, weight)
        if bias is None:
            return y
        _fit("linear", bias.ndim == 0, weight, bias, "a weight of shape (in) goes with one number as bias")
        return y + bias
    _fit("linear", len(shape) == 2 and input.data.shape[-1:] == shape[1:], input, weight,
         "the last axis of input must be as long as the second axis of weight, which is (out, in)")
    if bias is None:
        return Linear()(input, weight)
    outputs, given = shape[:1], bias.data.shape
    _fit("linear", given in (outputs, (1,), ()), weight, bias, "bias must have one element for each row of weight")
    return Linear()(input, weight, bias if given == outputs else bias.expand(outputs))


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A form that is linear in each of two inputs: (..., I), (..., J), weight (O, I, J), bias (O) → (..., O).

    y[o] = x₁·W[o]·x₂ᵀ + b[o] = Σ W[o,i,j]·x₁[i]·x₂[j] + b[o], a linear map of the products x₁[i]·x₂[j];
    gx₁ = Σ gy[o]·W[o]·x₂ and so on. Raises RuntimeError where shapes or types do not fit. Tenenbaum & Freeman 2000.
    """
    fits = (input1.shape[:-1] == input2.shape[:-1] and weight.ndim == 3
            and weight.shape[1:] == input1.shape[-1:] + input2.shape[-1:])
    for x in (input2, weight):
        _fit("bilinear", fits, input1, x, "expected (..., I) and (..., J), equal but for the last axis, and (O, I, J)")
    if bias is not None:
        _fit("bilinear", bias.shape == weight.shape[:1], weight, bias, "bias must have one element per output")
    return linear((input1.unsqueeze(-1) * input2.unsqueeze(-2)).flatten(-2), weight.flatten(1), bias)


# -- products of vectors, matrices and batches of them --------------------------------------------------------------

def _fit(name: str, fits: bool, a: Tensor, b: Tensor, rule: str) -> None:
    """Raise unless two operands fit, in shape and type."""
    if not fits:
        raise RuntimeError(f"{name}: shapes {a.shape} and {b.shape} do not fit: {rule}")
    if a.data.dtype != b.data.dtype or a.data.dtype == dtypes.bool_:
        raise RuntimeError(f"{name}: operands must have one number type, not {a.dtype} and {b.dtype}; use .to()")


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> Any:
    """The common shape, None if there is none."""
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        return None


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """y = input·other, the matrix product over the last two axes; the axes in front are broadcast.

    A vector on the left counts as a row, on the right as a column, and its axis is not in the result.
    """
    a, b = input, other
    rows, columns = a.data.ndim, b.data.ndim
    _fit("matmul", rows > 0 < columns and a.data.shape[-1] == b.data.shape[max(columns - 2, 0)], a, b,
         "the last axis of the first must be as long as the last but one of the second (the only one of a vector)")
    if rows == 2 == columns:
        return MatMul()(a, b)
    if b.ndim < 3:  # all rows of a at once
        y = MatMul()(_rows(a), b.reshape(-1, 1) if b.ndim == 1 else b)
        return y.reshape(a.shape[:-1] + b.shape[1:])
    rows = a.shape[-2:-1]
    a = a if rows else a.reshape(1, -1)
    batch = _broadcast(a.shape[:-2], b.shape[:-2])
    _fit("matmul", batch is not None, input, other,
         "the axes in front of the matrices must be equal or 1, counted from the right")
    if a.shape[:-2] != batch:
        a = a.expand(batch + a.shape[-2:])
    if b.shape[:-2] != batch:
        b = b.expand(batch + b.shape[-2:])
    y = MatMul()(a, b)
    return y if rows else y.reshape(batch + b.shape[-1:])


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices, (n, k)·(k, m) = (n, m). PyTorch's out_dtype, for GPUs, does not exist here."""
    _fit("mm", input.ndim == 2 == mat2.ndim and input.shape[1] == mat2.shape[0], input, mat2,
         "expected (n, k) and (k, m)")
    return MatMul()(input, mat2)


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of a matrix and a vector, (n, k)·(k) = (n)."""
    _fit("mv", input.ndim == 2 and vec.ndim == 1 and input.shape[1] == vec.shape[0], input, vec,
         "expected (n, k) and (k)")
    return matmul(input, vec)


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The products of two batches of matrices, (b, n, k)·(b, k, m) = (b, n, m); without PyTorch's out_dtype, as mm."""
    _fit("bmm", input.ndim == 3 == mat2.ndim and input.shape[::2] == mat2.shape[:2], input, mat2,
         "expected (b, n, k) and (b, k, m)")
    return MatMul()(input, mat2)


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """Σ input·tensor of two vectors of one length."""
    _fit("dot", input.ndim == 1 == tensor.ndim and input.shape == tensor.shape, input, tensor, "expected (n) and (n)")
    return matmul(input, tensor)


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of an element of one vector and one of the other, (n) and (m) → (n, m)."""
    if input.ndim != 1 or vec2.ndim != 1:
        raise RuntimeError(f"outer: shapes {input.shape} and {vec2.shape} do not fit: expected (n) and (m)")
    return input.unsqueeze(1) * vec2


def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """beta·input + alpha·mat1·mat2 for matrices (n, k) and (k, m); input is broadcast, and not read if beta is 0.

    Without PyTorch's out_dtype, as mm.
    """
    return _added("addmm", input, mm(mat1, mat2), beta, alpha)


def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """beta·input + alpha·batch1·batch2, matrix by matrix; input is broadcast, and not read if beta is 0.

    Without PyTorch's out_dtype, as mm.
    """
    return _added("baddbmm", input, bmm(batch1, batch2), beta, alpha)


def _added(name: str, input: Tensor, product: Tensor, beta: Number, alpha: Number) -> Tensor:
    _fit(name, _broadcast(input.shape, product.shape) == product.shape, input, product,
         "input must broadcast to the product")
    check_factor(name, "alpha", alpha, product.dtype)
    check_factor(name, "beta", beta, product.dtype)
    scaled = product if alpha == 1 else product * alpha
    return scaled if beta == 0 else scaled + (input if beta == 1 else input * beta)


# -- sums over named axes -------------------------------------------------------------------------------------------

def tensordot(a: Tensor, b: Tensor, dims: int | Sequence[Sequence[int]] = 2) -> Tensor:
    """Σ a·b over the last dims axes of a and the first of b, or over axes dims[0] of a and dims[1] of b.

    Axes of length 1 are not broadcast, as PyTorch's are.
    """
    if isinstance(dims, int):
        if not 0 <= dims <= min(a.ndim, b.ndim):
            raise RuntimeError(f"tensordot: dims = {dims} must be 0 to {min(a.ndim, b.ndim)}, for shapes {a.shape} and "
                               f"{b.shape}")
        over_a, over_b = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    else:
        over_a, over_b = ([axis_of("tensordot", d, x.ndim) for d in ds] for x, ds in zip((a, b), dims, strict=True))
    _fit("tensordot", [a.shape[i] for i in over_a] == [b.shape[i] for i in over_b], a, b,
         f"axes {over_a} of the first must be as many and as long as axes {over_b} of the second")
    left, right = ([i for i in range(x.ndim) if i not in over] for x, over in ((a, over_a), (b, over_b)))
    k = math.prod([a.shape[i] for i in over_a])
    rows, columns = [a.shape[i] for i in left], [b.shape[i] for i in right]
    a = a.permute(left + over_a).reshape(math.prod(rows), k)
    b = b.permute(over_b + right).reshape(k, math.prod(columns))
    return mm(a, b).reshape(rows + columns)


def einsum(equation: str, *operands: Any) -> Tensor:
    """The sum that equation writes down, such as "bij,bjk->bik": y[output labels] = Σ of the product over the others.

    Each comma-separated term labels the axes of an operand with letters. A label twice in a term is a diagonal; "..."
    are axes that are broadcast. Without "->" the output is "..." and then the labels that occur once, in alphabetical
    order. Operands are contracted from left to right, each step being one product of (batches of) matrices.
    """
    operands = tuple(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    expect_tensors("einsum", operands)
    terms, output = _parse(equation, operands)
    lengths: dict[str, int] = {}
    for i, (term, x) in enumerate(zip(terms, operands)):
        for label, n in zip(term, x.shape):
            if n != 1 and lengths.setdefault(label, n) != n:
                raise RuntimeError(f"einsum: label {_shown(label)} of {equation!r} has length {n} in operand {i} and "
                                   f"{lengths[label]} in one before (shapes {[y.shape for y in operands]})")
    parts = [_diagonals(x, term) for x, term in zip(operands, terms)]
    if len(parts) > 1:  # axes of length 1 are broadcast, so they are as good as none
        parts = [(x.squeeze(), "".join(label for label, n in zip(term, x.shape) if n != 1)) for x, term in parts]
    later = ["".join(term for _, term in parts[i + 1:]) + output for i in range(len(parts))]
    result, labels = _summed(*parts[0], later[0])
    for i in range(1, len(parts)):
        result, labels = _contracted(result, labels, *_summed(*parts[i], labels + later[i]), later[i])
    missing = [label for label in output if label not in labels]  # of length 1 wherever they occur
    result = result.reshape(result.shape + (1,) * len(missing))
    return result.permute([(labels + "".join(missing)).index(label) for label in output])


def _shown(label: str) -> str:
    return repr(label) if label.isalpha() else "'...'"


def _parse(equation: str, operands: tuple[Tensor, ...]) -> tuple[list[str], str]:
    """The terms and the output of an equation; the axes under "..." get the labels "0", "1", ... from the last on."""
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != len(operands):
        raise RuntimeError(f"einsum: {equation!r} has {len(terms)} terms for {len(operands)} operands")
    dots = 0
    for i, (term, x) in enumerate(zip(terms, operands)):
        hidden = x.ndim - len(term.replace("...", "", 1))
        if hidden < 0 or hidden and "..." not in term:
            raise RuntimeError(f"einsum: term {term!r} of {equation!r} does not label the {x.ndim} axes of operand "
                               f"{i}, which has shape {x.shape}")
        terms[i] = term.replace("...", _ELLIPSIS[len(_ELLIPSIS) - hidden:], 1)
        dots = max(dots, hidden)
    joined, shared = "".join(terms), _ELLIPSIS[len(_ELLIPSIS) - dots:]
    if not arrow:
        output = "..." + "".join(sorted(label for label in set(joined) if label.isalpha() and joined.count(label) == 1))
    output = output.replace("...", shared, 1)
    for label in joined + output:
        if not (label.isascii() and label.isalpha() or label in shared):
            raise RuntimeError(f"einsum: {label!r} in {equation!r} is not a label; use letters and '...'")
    for label in output:
        if label not in joined or output.count(label) > 1:
            raise RuntimeError(f"einsum: label {_shown(label)} of the output of {equation!r} must occur there once, "
                               "and in a term")
    return terms, output


_ELLIPSIS = "9876543210"


def _diagonals(x: Tensor, term: str) -> tuple[Tensor, str]:
    """Diagonals where a label is repeated."""
    for label in dict.fromkeys(term):
        while term.count(label) > 1:
            i = term.index(label)
            j = term.index(label, i + 1)
            if x.shape[i] != x.shape[j]:
                raise RuntimeError(f"einsum: label {label!r} is repeated in a term, for axes of lengths {x.shape[i]} "
                                   f"and {x.shape[j]}")
            x = x.diagonal(0, i, j)
            term = term[:i] + term[i + 1:j] + term[j + 1:] + label
    return x, term


def _summed(x: Tensor, term: str, others: str) -> tuple[Tensor, str]:
    """The sum over the axes whose label occurs nowhere else."""
    gone = [i for i, label in enumerate(term) if label not in others]
    return x.sum(gone) if gone else x, "".join(label for label in term if label in others)


def _contracted(a: Tensor, a_labels: str, b: Tensor, b_labels: str, later: str) -> tuple[Tensor, str]:
    """The product of two operands, summed over the labels both have and nobody needs later."""
    both = [label for label in a_labels if label in b_labels]
    batch = [label for label in both if label in later]
    over = [label for label in both if label not in later]
    left = [label for label in a_labels if label not in both]
    right = [label for label in b_labels if label not in both]
    length = dict(zip(a_labels + b_labels, a.shape + b.shape))

    def arranged(x: Tensor, labels: str, *groups: list[str]) -> Tensor:
        """Axes of x in the order of the groups, every group merged into one axis except that of batch."""
        shape = [length[label] for label in batch] + [math.prod([length[label] for label in group]) for group in groups]
        return x.permute([labels.index(label) for group in (batch, *groups) for label in group]).reshape(shape)

    if over:
        product = arranged(a, a_labels, left, over).matmul(arranged(b, b_labels, over, right))
    else:  # no sum: element by element is faster than matrices with one column
        product = arranged(a, a_labels, left).unsqueeze(-1) * arranged(b, b_labels, right).unsqueeze(-2)
    labels = batch + left + right
    return product.reshape([length[label] for label in labels]), "".join(labels)
