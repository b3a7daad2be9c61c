"""Products with Jacobians and Hessians, and the matrices, against torch.autograd.functional."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import minicnn as mc
from minicnn.autograd import functional
from util import assert_close, normal, refused

LIBRARIES = (mc, torch)
PRODUCTS = ("vjp", "jvp", "hvp")
ALL = (*PRODUCTS, "jacobian", "hessian")


def assert_same(ours, theirs, what=""):
    """Equal nesting, equal tensors, and a history in the same places."""
    if isinstance(theirs, tuple):
        assert isinstance(ours, tuple) and len(ours) == len(theirs), what
        for i, (o, t) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(o, t, f"{what}[{i}]")
        return
    assert_close(ours, theirs, 1e-11, what)
    assert ours.requires_grad == theirs.requires_grad, f"{what}: requires_grad {ours.requires_grad}"


def tensors(m, shapes, seed, requires_grad=False):
    made = tuple([m.tensor(normal(shape, seed + i), requires_grad=requires_grad) for i, shape in enumerate(shapes)])
    return made[0] if len(made) == 1 else made


# functions of one or two tensors, written for both libraries: (name, shapes of the inputs, function)
MAPS = {
    "exp": ([(2, 3)], lambda m, x: (x * x).exp()),
    "number_to_vector": ([()], lambda m, x: m.stack([x, x * x, x.sin()])),
    "vector_to_number": ([(4,)], lambda m, x: (x ** 3).sum()),
    "number": ([()], lambda m, x: x.exp() * x),
    "softmax": ([(2, 3)], lambda m, x: m.softmax(x, 1)),
    "two_inputs": ([(2, 3), (3,)], lambda m, x, y: x.sin() * y * y),
    "matmul": ([(2, 3), (3, 2)], lambda m, x, y: x @ y),
    "two_outputs": ([(3,)], lambda m, x: (x * x, x.sum())),
    "two_of_both": ([(3,), (2,)], lambda m, x, y: (x * y.sum(), y.exp())),
    "unused_input": ([(2,), (3,)], lambda m, x, y: x * x),
    "constant_output": ([(2,)], lambda m, x: (x * 2, m.ones(3, dtype=m.float64))),
    "linear": ([(3,)], lambda m, x: 3 * x),
    "identity": ([(3,)], lambda m, x: x),
    "empty": ([(0, 2)], lambda m, x: x * x),
}
NUMBERS = {
    "cube": ([(2, 3)], lambda m, x: (x ** 3).sum()),
    "number": ([()], lambda m, x: x.exp() * x.sin()),
    "one_element": ([(1,)], lambda m, x: x ** 4),
    "two_inputs": ([(2,), (3,)], lambda m, x, y: (x.sum() * y * y).sum() + x.prod()),
    "logsumexp": ([(2, 3)], lambda m, x: m.logsumexp(x, 1).square().sum()),
    "unused_input": ([(2,), (3,)], lambda m, x, y: (x ** 3).sum()),
    "linear": ([(3,)], lambda m, x: x.sum()),
    "constant": ([(3,)], lambda m, x: m.ones(1, dtype=m.float64)),
}


def run(m, name, shapes, call, seed, create_graph, strict=False):
    """The result of one of the functions at drawn inputs, and the inputs and vectors, in either library."""
    inputs = tensors(m, shapes, seed, requires_grad=create_graph)
    options = {"create_graph": create_graph, "strict": strict}

    def func(*xs):
        return call(m, *xs)

    vs = ()
    if name == "vjp":
        with m.no_grad():
            outputs = func(*inputs) if isinstance(inputs, tuple) else func(inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        vs = (tensors(m, [tuple(y.shape) for y in outputs], seed + 50, create_graph),)
    elif name in PRODUCTS:
        vs = (tensors(m, shapes, seed + 50, create_graph),)
    return getattr(m.autograd.functional, name)(func, inputs, *vs, **options), inputs, vs


@pytest.mark.parametrize("name", ["vjp", "jvp", "jacobian"])
@pytest.mark.parametrize("case", MAPS)
@pytest.mark.parametrize("create_graph", [False, True])
def test_first_derivatives(name, case, create_graph):
    if name == "jacobian" and case == "empty":
        return  # PyTorch stacks no rows
    (ours, *_), (theirs, *_) = (run(m, name, *MAPS[case], 0, create_graph) for m in LIBRARIES)
    assert_same(ours, theirs)


@pytest.mark.parametrize("name", ["hvp", "hessian", "vjp", "jvp", "jacobian"])
@pytest.mark.parametrize("case", NUMBERS)
@pytest.mark.parametrize("create_graph", [False, True])
def test_of_numbers(name, case, create_graph):
    (ours, *_), (theirs, *_) = (run(m, name, *NUMBERS[case], 3, create_graph) for m in LIBRARIES)
    assert_same(ours, theirs)


def leaves(tree):
    return [leaf for t in tree for leaf in leaves(t)] if isinstance(tree, tuple) else [tree]


@pytest.mark.parametrize("name, case", [(name, case) for name in ("vjp", "jvp", "jacobian") for case in MAPS
                                        if case not in ("empty", "constant_output")]
                         + [(name, case) for name in ("hvp", "hessian") for case in NUMBERS if case != "constant"])
def test_results_can_be_differentiated(name, case):
    """With create_graph, gradients of a random combination of the results with respect to the inputs and to v."""
    shapes, call = MAPS[case] if name in ("vjp", "jvp", "jacobian") else NUMBERS[case]
    found = []
    for m in LIBRARIES:
        result, inputs, vs = run(m, name, shapes, call, 5, True)
        parts = [(t * m.tensor(normal(tuple(t.shape), 70 + i))).sum() for i, t in enumerate(leaves(result))
                 if t.requires_grad]
        gradients = m.autograd.grad(sum(parts), [*leaves(inputs), *leaves(vs)], allow_unused=True) if parts else []
        found.append([None if g is None else g.detach().numpy() for g in gradients])
    assert len(found[0]) == len(found[1])
    for ours, theirs in zip(*found, strict=True):
        ours, theirs = (np.zeros(1) if g is None or not g.any() else g for g in (ours, theirs))
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)


OPERATIONS = ["sin", "exp", "tanh", "square", "sigmoid"]


@given(st.data())
def test_drawn_functions(data):
    """Chains of operations of one or two inputs, with every function."""
    shape = data.draw(st.sampled_from([(2,), (1, 2), (2, 2)]))
    count = data.draw(st.integers(1, 2))
    chain = data.draw(st.lists(st.sampled_from(OPERATIONS), min_size=1, max_size=3))
    name = data.draw(st.sampled_from(ALL))
    weights = normal(shape, data.draw(st.integers(0, 99)))

    def call(m, *xs):
        y = xs[0] * m.tensor(weights)
        for i, operation in enumerate(chain):
            y = getattr(y * xs[i % len(xs)], operation)()
        return y.sum() if name in ("hvp", "hessian") else y

    seed, create_graph = data.draw(st.integers(0, 99)), data.draw(st.booleans())
    (ours, *_), (theirs, *_) = (run(m, name, [shape] * count, call, seed, create_graph) for m in LIBRARIES)
    assert_same(ours, theirs)


def test_the_hessian_is_the_jacobian_of_the_gradient():
    x, v = mc.tensor(normal((2, 3))), mc.tensor(normal((2, 3), 1))

    def f(x):
        return (x.sin() * x.sum()).square().sum()

    h = functional.hessian(f, x).reshape(6, 6)
    gradient = functional.vjp(f, x)[1]
    assert_close(functional.jacobian(f, x), gradient.numpy(), 1e-12)
    assert_close(functional.hvp(f, x, v)[1].reshape(6), (h @ v.reshape(6)).numpy(), 1e-10)
    assert_close(h, h.T.numpy(), 1e-10)


def test_inputs_of_the_user_are_left_alone():
    x = mc.tensor([1.0, 2.0], requires_grad=True)
    for name in ("vjp", "jvp", "jacobian", "hvp", "hessian"):
        v = {"vjp": (mc.tensor(1.0),), "jvp": (mc.ones(2),), "hvp": (mc.ones(2),)}.get(name, ())
        result = getattr(functional, name)(lambda x: (x ** 3).sum(), x, *v)
        assert not any(t.requires_grad for t in leaves(result)) and x.grad is None
    with mc.no_grad():
        assert functional.jacobian(lambda x: x ** 2, x).tolist() == [[2, 0], [0, 4]]


def test_an_empty_output_has_an_empty_jacobian():
    assert functional.jacobian(lambda x: x[:0], mc.ones(3)).shape == (0, 3)


STRICT = [("vjp", "constant_output"), ("vjp", "unused_input"), ("jvp", "unused_input"), ("jacobian", "unused_input"),
          ("jvp", "constant_output"), ("jacobian", "constant_output")]


@pytest.mark.parametrize("name, case", STRICT)
@pytest.mark.parametrize("create_graph", [False, True])
def test_strict(name, case, create_graph):
    refused(lambda m: run(m, name, *MAPS[case], 0, create_graph, strict=True), f"{name}: .* which strict=True forbids")


@pytest.mark.parametrize("name", ["vjp", "jacobian", "jvp"])
def test_strict_and_recorded_demands_that_the_result_depends_on_the_inputs(name):
    refused(lambda m: getattr(m.autograd.functional, name)(lambda x: 3 * x, m.ones(1), create_graph=True, strict=True),
            f"{name}: create_graph is of no use, .* strict=True forbids")


@pytest.mark.parametrize("name", ["hvp", "hessian"])
@pytest.mark.parametrize("case", ["unused_input", "linear", "constant"])
def test_strict_second_derivatives(name, case):
    refused(lambda m: run(m, name, *NUMBERS[case], 0, False, strict=True), f"{name}: .* strict=True forbids")


@pytest.mark.parametrize("name", ALL)
def test_strict_passes_what_depends_on_everything(name):
    for create_graph in (False, True):
        (ours, *_), (theirs, *_) = (run(m, name, *NUMBERS["two_inputs"], 1, create_graph, strict=True)
                                    for m in LIBRARIES)
        assert_same(ours, theirs)


REFUSED = {
    "input_list": (lambda m, f: f.jacobian(lambda x: x, [m.ones(2)]), "jacobian: inputs must be a Tensor or a tuple"),
    "input_number": (lambda m, f: f.vjp(lambda x: x, (m.ones(2), 3.0)), "vjp: inputs must be .*not float"),
    "output_list": (lambda m, f: f.jvp(lambda x: [x], m.ones(1)), "jvp: what func returns must be .*not list"),
    "no_v": (lambda m, f: f.vjp(lambda x: x, m.ones(2)), "vjp: v may be left out only where the output"),
    "no_v_for_two": (lambda m, f: f.vjp(lambda x: (x, x), m.ones(1)), "vjp: v may be left out"),
    "no_v_for_inputs": (lambda m, f: f.jvp(lambda x: x.sum(), m.ones(2)), "jvp: v may be left out only where the inp"),
    "no_v_hvp": (lambda m, f: f.hvp(lambda x: x.sum(), m.ones(2)), "hvp: v may be left out"),
    "v_shape": (lambda m, f: f.vjp(lambda x: x, m.ones(2), m.ones(3)), r"vjp: v has the shapes \[\(3,\)\], but"),
    "v_count": (lambda m, f: f.jvp(lambda x: x, m.ones(2), (m.ones(2), m.ones(2))), "jvp: v has the shapes"),
    "v_type": (lambda m, f: f.jvp(lambda x: x, m.ones(2), [1, 2]), "jvp: v must be a Tensor"),
    "hessian_vector": (lambda m, f: f.hessian(lambda x: x, m.ones(2)), r"hessian: func must return one .*not \(2,\)"),
    "hvp_tuple": (lambda m, f: f.hvp(lambda x: (x, x), m.ones(1), m.ones(1)), "hvp: func must return one .*not tuple"),
    "integers": (lambda m, f: f.jacobian(lambda x: x, m.tensor([1, 2])), "only floating point"),
    "strategy": (lambda m, f: f.jacobian(lambda x: x, m.ones(2), strategy="sideways"), "strategy = 'sideways'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    call, match = REFUSED[case]
    with pytest.raises((RuntimeError, TypeError, AssertionError)):
        call(torch, torch.autograd.functional)
    with pytest.raises((RuntimeError, TypeError), match=match):
        call(mc, functional)


@pytest.mark.parametrize("options", [{"vectorize": True}, {"strategy": "forward-mode"}])
def test_vectorised_rows_do_not_exist(options):
    with pytest.raises(NotImplementedError, match="jacobian: vectorize = .* with strategy = .* is not available"):
        functional.jacobian(lambda x: x, mc.ones(2), **options)
    with pytest.raises(NotImplementedError, match="hessian: vectorize"):
        functional.hessian(lambda x: x.sum(), mc.ones(2), vectorize=True)
