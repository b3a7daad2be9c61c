"""minicnn.testing.gradcheck: every verdict where it belongs, in every library, and errors as small as it promises."""

import sys

import numpy as np
import pytest
import torch

import minicnn as mc
import minicnn.functional as F
from minicnn.testing import Case, Verdict, assert_gradients, gradcheck

from gradcheck_util import LIBRARIES, WrongTorch, arrays, cupy_or_stand_in, off_by, product, product_backward
from util import distinct, normal

# -- how small an error it sees -------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype, error", [(np.float64, 1e-8), (np.float32, 1e-4)])
@pytest.mark.parametrize("seed", range(8))
def test_errors_of_the_promised_size_are_seen_and_rounding_is_not(dtype, error, seed):
    inputs = arrays(dtype, seed)
    assert gradcheck(product, inputs, product_backward, seed=seed).verdict is Verdict.PASS
    for sign in (1, -1):
        report = gradcheck(product, inputs, off_by(sign * error), seed=seed)
        assert (report.verdict, report.input) == (Verdict.FAIL, 1)
        assert report.finding.count > 15 and report.finding.of == 20
    assert gradcheck(product, inputs, off_by(100 * error, only=(3, 2)), seed=seed).finding.index == (3, 2)


def test_a_gradient_that_is_wrong_in_float32_alone_is_found():
    def backward(gy, a, b):
        return gy @ b, gy.T @ a * (1.001 if a.dtype == np.float32 else 1.0)

    assert gradcheck(product, arrays(), backward)
    assert gradcheck(product, arrays(np.float32), backward).verdict is Verdict.FAIL


def test_one_wrong_element_of_many_is_found_and_named():
    def backward(gy, x):
        gx = 2 * x * gy
        gx[77, 31] += 1e-3 * gy.sum()
        return gx

    report = gradcheck(lambda x: x * x, (normal((100, 60)),), backward)
    assert report.finding.index == (77, 31) and report.finding.count == 1


# -- verdicts -------------------------------------------------------------------------------------------------------

AT_ZERO = np.array([0.0, 1.0, -2.0, 0.5])
VERDICTS = {
    "smooth": (lambda x: x.exp().sum(), normal((3, 2)), Verdict.PASS),
    "constant": (lambda x: F.softmax(x, 1).sum(), normal((3, 4)), Verdict.PASS),
    "no elements": (lambda x: x.exp(), np.zeros((0, 3)), Verdict.PASS),
    "a number": (lambda x: x * x * x, np.array(0.7), Verdict.PASS),
    "near the edge of the domain": (lambda x: x.log(), np.array([1e-2, 1.0, 2.0]), Verdict.PASS),
    "near a kink": (lambda x: F.relu(x), np.array([1e-3, -1e-4, 1.0]), Verdict.PASS),
    "relu at 0": (lambda x: F.relu(x), AT_ZERO, Verdict.KINK),
    "abs at 0": (lambda x: x.abs(), AT_ZERO, Verdict.KINK),
    "abs at 0 before a sum": (lambda x: (x.abs() * 1e3 + x.exp()).sum(), AT_ZERO, Verdict.KINK),
    "ties": (lambda x: F.max_pool2d(x, 2), np.ones((1, 1, 4, 4)), Verdict.KINK),
    "a step at 0, of no gradient": (lambda x: x.sign() + x, AT_ZERO, Verdict.KINK),
    "detached": (lambda x: x * x.detach(), normal((3,)), Verdict.FAIL),
    "cancelling": (lambda x: (x * 1e-9).exp() - 1, normal((3,)), Verdict.PRECISION_LIMITED),
    "a large constant": (lambda x: x + 1e10, normal((3,)), Verdict.PRECISION_LIMITED),
    "a constant that hides it": (lambda x: x + 1e17, normal((3,)), Verdict.PRECISION_LIMITED),
    "in float32": (lambda x: x.float().exp().double(), normal((3,)), Verdict.PRECISION_LIMITED),
    "of very short waves": (lambda x: (x * 1e8).sin(), normal((3,)), Verdict.ILL_CONDITIONED),
}


@pytest.mark.parametrize("size", [1e-3, 1e-6, 1e-30, 9e-136])
def test_small_inputs_are_no_reason_for_doubt(size):
    """What changes with x + 1 needs steps of 1e-5, however small x; what changes with x, of that part of x."""
    x = np.array([size, -size / 2, size / 3])
    assert gradcheck(lambda x: np.log1p(np.exp(x)), (x,), lambda gy, x: gy / (1 + np.exp(-x))).verdict is Verdict.PASS
    assert gradcheck(lambda x: x + 1, (x,), lambda gy, x: gy).verdict is Verdict.PASS
    assert gradcheck(lambda x: x + 1, (x,), lambda gy, x: gy * (1 + 1e-8)).verdict is Verdict.FAIL
    assert gradcheck(lambda x: np.log(abs(x)), (x,), lambda gy, x: gy / x).verdict is Verdict.PASS
    assert gradcheck(lambda x: np.maximum(x, 0), (x,), lambda gy, x: gy * (x > 0)).verdict is Verdict.PASS
    assert gradcheck(lambda x: np.maximum(x, 0), (x,), lambda gy, x: gy * (x >= 0) * 1.01).verdict is Verdict.FAIL


@pytest.mark.parametrize("name", VERDICTS)
def test_verdicts(name):
    function, x, verdict = VERDICTS[name]
    assert gradcheck(function, (mc.tensor(x, requires_grad=True),)).verdict is verdict


@pytest.mark.parametrize("x", [8.0, 8.7, 9.0, 12.0])
def test_where_float32_rounds_a_gradient_away_it_is_not_wrong(x):
    """1 − tanh² is some last places of 1 there, and the shadow in float64 sees the difference to 4·exp(−2x)."""
    def backward(gy, x, wrong=0.0):
        return gy * (1 - np.tanh(x) ** 2) + x.dtype.type(wrong) * gy

    inputs = (np.full(5, x, np.float32),)
    assert gradcheck(np.tanh, inputs, backward).verdict is Verdict.PRECISION_LIMITED
    assert gradcheck(np.tanh, inputs, lambda gy, x: backward(gy, x, 1e-3)).verdict is Verdict.FAIL
    assert gradcheck(np.tanh, inputs, lambda gy, x: backward(gy, x, 1e-7)).verdict is Verdict.FAIL  # in float64, too


def test_a_gradient_beyond_the_slopes_on_either_side_of_a_kink_is_wrong():
    for at_zero, verdict in ((0.0, Verdict.KINK), (1.0, Verdict.KINK), (0.3, Verdict.KINK), (-0.1, Verdict.FAIL),
                             (1.1, Verdict.FAIL)):
        report = gradcheck(lambda x: np.maximum(x, 0), (AT_ZERO,),
                           lambda gy, x, at_zero=at_zero: gy * np.where(x == 0, at_zero, x > 0))
        assert report.verdict is verdict, at_zero
    assert report.finding.index == (0,) and report.finding.count == 1


def test_a_gradient_that_is_not_linear_in_the_upstream_gradient_is_wrong():
    """As with the mask of the gradient in the place of that of the input, which is right for a positive gy."""
    reports = [gradcheck(lambda x: np.maximum(x, 0), (np.array([2.0]),), lambda gy, x: np.maximum(gy, 0), seed=seed)
               for seed in range(4)]
    assert {report.verdict for report in reports} == {Verdict.FAIL}
    assert any("linear in the upstream gradient" in report.message for report in reports)


def test_nan_and_missing_gradients_are_wrong():
    x = (normal((3,)),)
    assert gradcheck(lambda x: 2 * x, x, lambda gy, x: gy * np.nan).verdict is Verdict.FAIL
    report = gradcheck(lambda x: 2 * x, x, lambda gy, x: None)
    assert report.verdict is Verdict.FAIL and "no gradient at all" in report.mistakes


def test_a_gradient_of_another_shape():
    report = gradcheck(lambda x, b: x + b, arrays()[:1] + (normal((4,)),), lambda gy, x, b: (gy, gy))
    assert report.verdict is Verdict.FAIL and report.input == 1
    assert "the gradient has the shape (3, 4), not that of the input" in str(report)


# -- libraries ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("library", LIBRARIES, ids=["minicnn", "torch"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("order", [1, 2])
def test_functions_of_tensors(library, dtype, order):
    def function(x, w, number, mask):
        return (x @ w.T).tanh() * number, (x * x).sum() * mask.sum()

    inputs = [library.from_numpy(a).requires_grad_() for a in arrays(dtype)]
    mask = library.from_numpy(normal((2,)).astype(dtype))
    assert gradcheck(function, (*inputs, 2.5, mask), order=order, jvp=order == 1)


def test_a_backward_of_pytorch_that_is_wrong_to_second_order():
    x = torch.from_numpy(normal((3,))).requires_grad_()
    assert gradcheck(WrongTorch.apply, (x,))
    assert gradcheck(WrongTorch.apply, (x,), order=2).verdict is Verdict.FAIL


def test_functions_of_jax():
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    inputs = tuple(jax.numpy.asarray(a) for a in arrays())
    assert gradcheck(lambda a, b: jax.numpy.tanh(product(a, b)), inputs, jvp=True)
    assert gradcheck(lambda a, b: jax.numpy.tanh(product(a, b)), inputs, order=2)


def test_functions_of_cupy(monkeypatch):
    cupy = cupy_or_stand_in(monkeypatch)
    inputs = tuple(cupy.asarray(a) for a in arrays())

    def on_device(function):
        def checked(*values):
            assert all(type(a) is type(inputs[0]) for a in values)  # whatever the function is called with
            return function(*values)

        return checked

    assert gradcheck(on_device(product), inputs, on_device(product_backward))
    report = gradcheck(on_device(product), inputs, on_device(off_by(1e-8)))
    assert report.verdict is Verdict.FAIL and "np.array(" in report.reproducer


@pytest.mark.parametrize("case", [
    Case("batch_norm", (np.array([[0.11500231892944757], [-2.0488917768153314], [-0.9669447289429418]]), None, None,
                        np.array([-1.4309]), np.array([0.1257])), {"eps": 0.01, "training": True}),
    Case("kl_div", (np.array([[0.7856, 1.1978, 0.5222], [-0.7088, -0.1086, -1.9109]]),
                    np.array([[0.65, 1.55, 0.95], [1.85, 1.25, 0.35]])), {"reduction": "mean"}, (1,))])
def test_rounding_errors_are_measured_well_enough_to_contradict(case):
    """With less noise than there is, one seemed to have another gradient, the other, which is linear, a kink."""
    assert gradcheck(case.plain(), case)


def test_several_outputs_and_a_jvp_of_ones_own():
    def function(a, b):
        return a * b, a.sum()

    def backward(gys, a, b):
        return gys[0] * b + gys[1], gys[0] * a

    def jvp(tangents, a, b):
        ta, tb = tangents
        return ta * b + a * tb, ta.sum()

    inputs = arrays()[0], arrays(seed=1)[0]
    assert gradcheck(function, inputs, backward, jvp=jvp)
    report = gradcheck(function, inputs, backward, jvp=lambda t, a, b: (t[0] * b - a * t[1], t[0].sum()))
    assert report.verdict is Verdict.FAIL and "jvp and vjp disagree" in report.message


def test_which_inputs_are_differentiated_by():
    def backward(gy, x, index, w):
        return gy * w, None, gy * x

    inputs = normal((3,)), np.arange(3), normal((3,), 1)
    assert gradcheck(lambda x, index, w: x * w + index, inputs, backward)
    assert gradcheck(lambda x, index, w: x * w, inputs, lambda gy, x, index, w: (gy * w, gy * x))
    wrong = gradcheck(lambda x, index, w: x * w, inputs, lambda gy, x, index, w: (gy * w, gy))
    assert wrong.verdict is Verdict.FAIL and wrong.input == 2
    assert gradcheck(lambda x, index, w: x * w, inputs, lambda gy, x, index, w: (gy * w, None, gy), wrt=[0])


# -- calls that make no sense ---------------------------------------------------------------------------------------

def test_wrong_calls():
    x, calls = normal((3,)), iter(range(10 ** 6))
    with pytest.raises(ValueError, match="returns something else each time"):
        gradcheck(lambda x: x * next(calls), (x,), lambda gy, x: gy)
    with pytest.raises(ValueError, match="needs its backward"):
        gradcheck(lambda x: x, (x,))
    with pytest.raises(ValueError, match="none of the 1 inputs"):
        gradcheck(lambda x: x, (np.arange(3),), lambda gy, x: gy)
    with pytest.raises(ValueError, match="float32.*float64"):
        gradcheck(lambda x, y: x * y, (x, x.astype(np.float32)), lambda gy, x, y: (gy * y, gy * x))
    with pytest.raises(ValueError, match="backward returned 3 gradients for 1 inputs"):
        gradcheck(lambda x: x, (x,), lambda gy, x: (gy, gy, gy))
    with pytest.raises(ValueError, match="directions = 0"):
        gradcheck(lambda x: x, (x,), lambda gy, x: gy, directions=0)
    with pytest.raises(ValueError, match=r"wrt = \[-1\] must be numbers of inputs, from 0 to 0"):
        gradcheck(lambda x: x, (x,), lambda gy, x: gy, wrt=[-1])
    with pytest.raises(ValueError, match="order = 3"):
        gradcheck(lambda x: x, (x,), lambda gy, x: gy, order=3)
    with pytest.raises(ValueError, match="order=2 needs a library"):
        gradcheck(lambda x: x, (x,), lambda gy, x: gy, order=2)
    with pytest.raises(ValueError, match="give a jvp"):
        gradcheck(lambda x: x, (x,), lambda gy, x: gy, jvp=True)
    with pytest.raises(ValueError, match="have their own"):
        gradcheck(lambda x: x, (mc.tensor(x, requires_grad=True),), lambda gy, x: gy)


@pytest.mark.parametrize("function, x, backward, message", [
    (lambda x: x > 0, [1.0], None, "returned no array of floating-point numbers"),
    (lambda x: {"y": x}, [1.0], None, "returned no array of floating-point numbers"),
    (lambda x: x * 1j, [1.0], None, "returned no array of floating-point numbers"),
    (lambda x: x, [1], None, r"none of the 1 inputs \(int64\)"),
    (lambda x: abs(x), [1j], None, r"none of the 1 inputs \(complex128\)"),
    (lambda x: list(x), [1.0, 2.0], lambda gy, x: gy, "of the 2 outputs gy is a tuple"),
    (lambda x: x, [1.0], lambda gy, x: gy * 1j, "gradient of input 0 is of the type complex128"),
    (lambda x: x, [1.0], lambda gy, x: {"x": gy}, "gradient of input 0 is of the type object"),
    (lambda x: x, [1.0], lambda gy, x: gy * np.random.default_rng().random(), "backward returns something else each"),
    (lambda x: np.log(x), [0.0, 1.0], None, "an output is -inf"),
    (lambda x: x, [np.nan], None, "an output is nan"),
    (lambda x: np.sqrt(x), [0.0, 1.0], lambda gy, x: gy / np.sqrt(x) / 2, "along input 0, since the function is"),
    (lambda x: x[x > 0], [1e-9, 1.0], lambda gy, x: gy, "returned 2 numbers, and 1 for values close by"),
])
def test_what_cannot_be_checked_is_said(function, x, backward, message):
    """Above all, it does not pass."""
    with pytest.raises(ValueError, match=message):
        gradcheck(function, (np.array(x),), backward or (lambda gy, x: gy))


def test_a_module_in_float32_cannot_be_called_in_float64():
    with pytest.raises(RuntimeError) as caught:
        gradcheck(mc.nn.Linear(3, 2), mc.ones(4, 3, requires_grad=True))
    assert "gradcheck calls a function of float32 in float64, too" in caught.value.__notes__[0]


def test_functions_may_overwrite_what_they_are_given():
    def function(x, index):
        x *= 2
        index += 1
        return x

    def backward(gy, x, index):
        gy *= 2
        x[:] = index
        return gy

    x, index = normal((3,)), np.arange(3)
    assert gradcheck(function, (x, index), backward)
    assert gradcheck(function, (x, index), lambda gy, x, index: 3 * gy).verdict is Verdict.FAIL
    np.testing.assert_array_equal(x, normal((3,)))
    np.testing.assert_array_equal(index, np.arange(3))


def test_one_input_needs_no_tuple_and_a_number_is_an_output():
    assert gradcheck(lambda x: float((x * x).sum()), normal((2, 3)), lambda gy, x: 2 * x * gy)
    assert gradcheck(lambda x: x * x, torch.ones(3, dtype=torch.float64, requires_grad=True))


def test_arrays_of_numpy_beside_tensors_stay_numpys():
    for library in LIBRARIES:
        def function(x, factor, library=library):
            return x * library.from_numpy(factor)

        for dtype in (np.float64, np.float32):
            x = library.from_numpy(normal((3,)).astype(dtype)).requires_grad_()
            assert gradcheck(function, (x, np.ones(3, dtype)))
    with pytest.raises(ValueError, match="inputs of minicnn and torch"):
        gradcheck(lambda x, y: x, (mc.ones(2, requires_grad=True), torch.ones(2)))


def test_a_gradient_that_is_nothing_but_noise_does_not_pass():
    report = gradcheck(lambda x: 2 * x, normal((5,)), lambda gy, x: gy * np.sin(1e18 * x))
    assert report.verdict is Verdict.ILL_CONDITIONED and "errors above" not in str(report)
    zeros = (lambda x: x - x, lambda gy, x: gy - gy), (lambda x: x ** 2, lambda gy, x: 2 * gy * x)
    for function, backward in zeros:  # one that is 0 but for rounding does
        assert gradcheck(function, np.zeros(5), backward)


def test_sums_in_any_order_are_the_same_each_time():
    """As on a GPU: what is 0 but for rounding is another number each time."""
    rng = np.random.default_rng(0)

    def backward(gy, x):
        return np.array([2.0, 0.0, 2.0]) * gy * (1 + 1e-15 * rng.standard_normal(3)) + 1e-17 * rng.standard_normal(3)

    assert gradcheck(lambda x: x * [2, 0, 2], normal((3,)), backward)
    assert gradcheck(lambda x: x - x + 1, normal((3,)), lambda gy, x: 1e-17 * rng.standard_normal(3))


def test_a_gradient_of_another_type_is_named():
    report = gradcheck(lambda x: 2 * x, normal((5,)), lambda gy, x: (2 * gy).astype(np.float32))
    assert report.verdict is Verdict.FAIL and "it is given in float32, its input in float64" in str(report)


def test_second_order_names_what_the_first_derivative_is_a_function_of():
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, gy):
            return 2 * gy.detach()

    report = gradcheck(Doubled.apply, torch.ones(3, dtype=torch.float64, requires_grad=True), order=2)
    assert report.verdict is Verdict.FAIL and "\n  the upstream gradient 0 of shape (3,)\n" in str(report)
    report = gradcheck(WrongTorch.apply, torch.ones(3, dtype=torch.float64, requires_grad=True), order=2)
    assert report.verdict is Verdict.FAIL and "\n  input 0 of shape (3,)\n" in str(report)


@pytest.mark.parametrize("library", ["jax", "torch", "cupy"])
def test_a_library_that_is_not_there(library, monkeypatch):
    """As where its arrays come from a part of it, such as jaxlib."""
    array = type("Array", (np.ndarray,), {"__module__": f"{library}lib.core" if library == "jax" else library,
                                          "requires_grad": True, "get": lambda self: np.array(self)})
    array.detach = array.cpu = lambda self: self
    array.numpy = array.get
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ModuleNotFoundError, match=f"inputs of {library} need it: pip install {library}"):
        gradcheck(lambda x: x, np.ones(3).view(array), (lambda gy, x: gy) if library == "cupy" else None)


# -- all of it ------------------------------------------------------------------------------------------------------

def test_assert_gradients_shows_the_report():
    assert_gradients(product, arrays(), product_backward)
    with pytest.raises(AssertionError, match="FAIL(.|\n)*first at index(.|\n)*to reproduce"):
        assert_gradients(product, arrays(), off_by(0.1))
    with pytest.raises(AssertionError, match="KINK"):
        assert_gradients(lambda x: abs(x), (AT_ZERO,), lambda gy, x: gy * np.sign(x))


def test_all_of_the_operations_at_distinct_values_agree():
    """The values of the other tests' helper, too."""
    for function in (F.relu, F.elu, F.leaky_relu, lambda t: F.max_pool2d(t, 2, 1)):
        assert gradcheck(function, (mc.tensor(distinct((1, 2, 6, 5)), requires_grad=True),))
