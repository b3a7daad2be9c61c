"""Products with the Jacobian and the Hessian of a function, and the matrices themselves.

With J[i, j] = ∂yᵢ/∂xⱼ, one backward walk is one product vᵀ·J (``vjp``). It is linear in v, so its own gradient with
respect to v, in direction u, is J·u: two backward walks give ``jvp``, and nothing has to be derived forwards. A row of
J is the product with a unit vector (``jacobian``), and the Hessian is the Jacobian of the gradient.

Inputs of shapes T and outputs of shapes S → v of S for ``vjp``, of T for ``jvp`` and ``hvp``. Raises TypeError for what
is no tensor, RuntimeError for a v that does not fit, an output that is no single number where one is needed, and with
strict for what does not depend on the inputs. As in PyTorch; jvp by two walks: Townsend 2017.
"""

from collections.abc import Callable, Sequence
from typing import Any

from ..engine import Tensor, enable_grad
from ..ops.join import stack
from .gradients import grad

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vjp"]

Tensors = Tensor | tuple[Tensor, ...]
Gradients = Sequence[Tensor | None]


class _Evaluation:
    """A function at tensors of its own: ``inputs``, through which no other computation passes, and ``outputs``."""

    def __init__(self, name: str, func: Callable[..., Tensors], inputs: Tensors, create_graph: bool,
                 strict: bool) -> None:
        self.name, self.create_graph, self.strict = name, create_graph, strict
        self.one_input = not isinstance(inputs, tuple)
        with enable_grad():
            self.inputs = tuple([x.reshape(x.shape) if create_graph and x.requires_grad else x.detach().requires_grad_()
                                 for x in _tensors(name, "inputs", inputs)])
            outputs = func(*self.inputs)
        self.one_output = not isinstance(outputs, tuple)
        self.outputs = _tensors(name, "what func returns", outputs)
        if strict:
            for i, y in enumerate(self.outputs):
                if not y.requires_grad:
                    raise _forbidden(name, f"output {i} of func does not depend on the inputs")

    def vector(self, v: Tensors | None, like: tuple[Tensor, ...], of: str) -> Gradients:
        """v, checked against what it is to be multiplied with; None is 1 for a single number."""
        if v is None:
            if len(like) != 1 or like[0].numel() != 1:
                raise RuntimeError(f"{self.name}: v may be left out only where the {of} of func is a single number")
            return (like[0].new_ones(like[0].shape),)
        vs = _tensors(self.name, "v", v)
        if [t.shape for t in vs] != [t.shape for t in like]:
            raise RuntimeError(f"{self.name}: v has the shapes {[t.shape for t in vs]}, but the {of} of func has "
                               f"{[t.shape for t in like]}")
        return vs

    def completed(self, gradients: Gradients, like: Sequence[Tensor], what: str) -> tuple[Tensor, ...]:
        """The gradients, with zeros for those that do not exist, which raises if strict."""
        if self.strict:
            for i, g in enumerate(gradients):
                if g is None:
                    raise _forbidden(self.name, f"no output of func depends on {what} {i}")
                if self.create_graph and not g.requires_grad:
                    raise _forbidden(self.name, f"create_graph is of no use, since the result for {what} {i} does not "
                                                "depend on the inputs")
        return tuple([x.new_zeros(x.shape) if g is None else self.result(g) for g, x in zip(gradients, like)])

    def result(self, t: Tensor) -> Tensor:
        """What is returned to the user: with its history only if that was asked for."""
        return t if self.create_graph else t.detach()

    @property
    def values(self) -> Tensors:
        """The outputs, packed as func packed them."""
        return _packed([self.result(y) for y in self.outputs], self.one_output)


def _tensors(name: str, what: str, value: Any) -> tuple[Tensor, ...]:
    """A tensor or a tuple of tensors, as a tuple."""
    tensors = value if isinstance(value, tuple) else (value,)
    for t in tensors:
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}: {what} must be a Tensor or a tuple of Tensors, not {type(t).__name__}")
    return tensors


def _forbidden(name: str, what: str) -> RuntimeError:
    return RuntimeError(f"{name}: {what}, which strict=True forbids")


def _packed(values: Sequence[Any], one: bool) -> Any:
    return values[0] if one else tuple(values)


def _gradients(outputs: Gradients, inputs: Sequence[Tensor], seeds: Gradients, create_graph: bool) -> Gradients:
    """grad, where outputs may be missing or constant and inputs unused."""
    pairs = [(y, v) for y, v in zip(outputs, seeds, strict=True) if y is not None and y.requires_grad]
    if not pairs:
        return [None] * len(inputs)
    ys, vs = zip(*pairs)
    return grad(ys, inputs, vs, retain_graph=True, create_graph=create_graph, allow_unused=True)


def _single(name: str, output: Any) -> Tensor:
    if not isinstance(output, Tensor) or output.numel() != 1:
        raise RuntimeError(f"{name}: func must return one Tensor with one element, not "
                           f"{output.shape if isinstance(output, Tensor) else type(output).__name__}")
    return output


# -- products -------------------------------------------------------------------------------------------------------

def vjp(func: Callable[..., Tensors], inputs: Tensors, v: Tensors | None = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Tensors, Tensors]:
    """func(*inputs), and vᵀ·J: the gradients of Σ v·outputs with respect to the inputs.

    inputs and what func returns are a Tensor or a tuple of them; v has the shapes of the outputs, and may be left out
    if there is but one number. create_graph makes both results differentiable. Inputs without influence have gradients
    of zeros; with strict they raise.
    """
    e = _Evaluation("vjp", func, inputs, create_graph, strict)
    gradients = _gradients(e.outputs, e.inputs, e.vector(v, e.outputs, "output"), create_graph)
    return e.values, _packed(e.completed(gradients, e.inputs, "input"), e.one_input)


def jvp(func: Callable[..., Tensors], inputs: Tensors, v: Tensors | None = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Tensors, Tensors]:
    """func(*inputs), and J·v: how the outputs change as the inputs move in direction v.

    v has the shapes of the inputs; everything else is as for vjp.
    """
    e, products = _jvp("jvp", func, inputs, v, create_graph, strict)
    return e.values, _packed(products, e.one_output)


def _jvp(name: str, func: Callable[..., Tensors], inputs: Tensors, v: Tensors | None, create_graph: bool,
         strict: bool) -> tuple[_Evaluation, tuple[Tensor, ...]]:
    e = _Evaluation(name, func, inputs, create_graph, strict)
    vs = e.vector(v, e.inputs, "input")
    us = [y.new_zeros(y.shape).requires_grad_() for y in e.outputs]  # uᵀ·J is linear in u: any u will do
    gradients = _gradients(e.outputs, e.inputs, us, True)
    if strict:
        for i, g in enumerate(gradients):
            if g is None or not g.requires_grad:
                raise _forbidden(name, f"no output of func depends on input {i}")
    return e, e.completed(_gradients(gradients, us, vs, create_graph), e.outputs, "output")


def hvp(func: Callable[..., Tensor], inputs: Tensors, v: Tensors | None = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Tensor, Tensors]:
    """func(*inputs), a single number, and H·v, H being the matrix of its second derivatives.

    v has the shapes of the inputs; everything else is as for vjp.
    """
    values: list[Tensor] = []

    def gradient(*xs: Tensor) -> tuple[Tensor, ...]:
        values.append(_single("hvp", func(*xs)))
        return _gradient("hvp", values[-1], xs, strict)

    e, products = _jvp("hvp", gradient, inputs, v, create_graph, strict)
    return e.result(values[0]), _packed(products, e.one_input)


def _gradient(name: str, y: Tensor, xs: Sequence[Tensor], strict: bool) -> tuple[Tensor, ...]:
    """The gradients of a number, zeros where there are none, recorded."""
    if strict and not y.requires_grad:
        raise _forbidden(name, "the output of func does not depend on the inputs")
    gradients = _gradients((y,), xs, (y.new_ones(y.shape),), True)
    return tuple([x.new_zeros(x.shape) if g is None else g for g, x in zip(gradients, xs)])


# -- matrices -------------------------------------------------------------------------------------------------------

def jacobian(func: Callable[..., Tensors], inputs: Tensors, create_graph: bool = False, strict: bool = False,
             vectorize: bool = False, strategy: str = "reverse-mode") -> Any:
    """J, row by row: for an output of shape S and an input of shape T a tensor of shape S + T.

    A tuple of outputs gives a tuple of Jacobians, a tuple of inputs makes each of those a tuple. create_graph and
    strict are as for vjp. Unlike in PyTorch, vectorize=True and strategy="forward-mode" do not exist.
    """
    return _jacobian("jacobian", func, inputs, create_graph, strict, vectorize, strategy)


def _jacobian(name: str, func: Callable[..., Tensors], inputs: Tensors, create_graph: bool, strict: bool,
              vectorize: bool, strategy: str) -> Any:
    if vectorize or strategy != "reverse-mode":
        raise NotImplementedError(f"{name}: vectorize = {vectorize} with strategy = {strategy!r} is not available; "
                                  "leave both out, then the rows are computed one by one")
    e = _Evaluation(name, func, inputs, create_graph, strict)
    jacobians = []
    for y in e.outputs:
        columns: list[list[Tensor]] = [[] for _ in e.inputs]  # for each input its part of every row
        for j in range(y.numel()):
            unit = y.new_zeros(y.numel())
            unit[j] = 1
            row = _gradients((y,), e.inputs, (unit.reshape(y.shape),), create_graph)
            for column, g in zip(columns, e.completed(row, e.inputs, "input")):
                column.append(g)
        blocks = [stack(column) if column else x.new_zeros(0, *x.shape) for column, x in zip(columns, e.inputs)]
        jacobians.append(_packed([b.reshape(y.shape + x.shape) for b, x in zip(blocks, e.inputs)], e.one_input))
    return _packed(jacobians, e.one_output)


def hessian(func: Callable[..., Tensor], inputs: Tensors, create_graph: bool = False, strict: bool = False,
            vectorize: bool = False, outer_jacobian_strategy: str = "reverse-mode") -> Any:
    """The second derivatives of a single number: for an input of shape T a tensor of shape T + T.

    For a tuple of inputs, a tuple of tuples: [i][j] has the shapes of inputs i and j. create_graph and strict are as
    for vjp. Unlike in PyTorch, vectorize=True and outer_jacobian_strategy="forward-mode" do not exist.
    """
    def gradient(*xs: Tensor) -> Tensors:
        return _packed(_gradient("hessian", _single("hessian", func(*xs)), xs, strict), not isinstance(inputs, tuple))

    return _jacobian("hessian", gradient, inputs, create_graph, strict, vectorize, outer_jacobian_strategy)
