"""The strategies: every case is valid, free of ties and kinks unless asked for them, and shrinks to the smallest."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st

import minicnn as mc
import minicnn.functional as F
from minicnn import testing
from minicnn.testing import LAWS, Case, Verdict, check_law, gradcheck, laws_for, over_arrays, planted
from minicnn.testing.call import Call
from minicnn.testing.check import Check
from minicnn.testing.choices import RandomChoices, Simplest
from minicnn.testing.functions import as_list, differentiable, is_floating
from minicnn.testing.layer_cases import KINKS, NORMS
from minicnn.testing.mistakes import named
from minicnn.testing.report import strongest
from minicnn.testing.table import OPERATIONS, check_operation, difference

STRATEGIES = {
    "conv1d": testing.conv1d_cases(), "conv2d": testing.conv2d_cases(), "conv3d": testing.conv3d_cases(),
    "conv_transpose2d": testing.conv_transpose2d_cases(), "pool1d": testing.pool1d_cases(),
    "pool2d": testing.pool2d_cases(), "pool3d": testing.pool3d_cases(), "norm": testing.norm_cases(),
    "loss": testing.loss_cases(), "linear": testing.linear_cases(), "networks": testing.small_networks(),
    "activation": st.sampled_from(sorted(KINKS)).flatmap(testing.activation_cases)}


def verdict(case: Case) -> Verdict:
    """What gradcheck says in one direction, without a diagnosis."""
    with np.errstate(all="ignore"):
        check = Check("", differentiable(case.function(), case.tensors(), wrt=case.wrt), 0)
        return strongest(check.run(1, False).values()).verdict


@pytest.mark.parametrize("name", STRATEGIES)
def test_cases_are_valid_in_both_libraries_whose_gradients_agree(name):
    @settings(max_examples=15)
    @given(STRATEGIES[name])
    def run(case):
        assert difference(case, torch) < (1e-7 if case.operation == "hardsigmoid" else 1e-8)

    run()


@pytest.mark.parametrize("name", STRATEGIES)
def test_cases_are_free_of_ties_and_kinks(name):
    @settings(max_examples=6)
    @given(STRATEGIES[name])
    def run(case):
        assert gradcheck(case.plain(), case).verdict is Verdict.PASS

    run()


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["conv2d", "pool2d", "norm", "loss", "networks"])
def test_a_hundred_thousand_cases(name):
    @settings(max_examples=20_000, derandomize=False, suppress_health_check=[])
    @given(STRATEGIES[name])
    def run(case):
        assert difference(case, torch) < 1e-8

    run()


@pytest.mark.parametrize("seed", [31, 115, 142, 267, 308, 350, 399, 429])
def test_float32_is_enough_for_networks(seed):
    """Where tanh was saturated for a whole channel, or under one upstream gradient that of a bias all but cancelled."""
    case = OPERATIONS["networks"](RandomChoices(seed)).astype(np.float32)
    assert gradcheck(case.plain(), case)


def test_ties_and_kinks_on_request():
    for strategy in (testing.pool2d_cases("max", ties=True), testing.activation_cases("relu", ties=True),
                     testing.loss_cases("l1_loss", ties=True)):
        case = find(strategy, lambda c: verdict(c) is Verdict.KINK)
        assert case.arrays[0].size <= 8
    case = find(testing.loss_cases("huber_loss", ties=True), lambda c: c.arrays[0].size)
    assert set(np.unique(np.abs(case.arrays[0] - case.arrays[1]))) <= {0.5, 1.0, 2.0}


def test_they_shrink_to_the_smallest_window():
    def wide(case):
        return case.arrays[1].shape[2] >= 2 and case.options["stride"][0] >= 2

    case = find(testing.conv2d_cases(), wide, settings=settings(max_examples=2000))
    assert [a.shape for a in case.arrays[:2]] == [(1, 1, 2, 1), (1, 1, 2, 1)]
    assert case.options == {"stride": (2, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    case = find(testing.pool2d_cases("max"), lambda c: c.options["kernel_size"][1] == 3)
    assert case.arrays[0].shape == (1, 1, 1, 3)


def test_a_wrong_gradient_shrinks_to_where_it_shows():
    with planted(named("overlap overwritten instead of added")):
        case = find(testing.conv2d_cases(), lambda c: verdict(c) is Verdict.FAIL)
    assert case.arrays[0].size <= 4 and case.arrays[1].size <= 4


def test_a_case_is_python_that_makes_it_again():
    for name, make in OPERATIONS.items():
        case = make(RandomChoices(3))
        if name != "networks":
            again = eval(repr(case), {"Case": Case, "np": np})
            assert again.operation == case.operation and again.options == case.options and again.wrt == case.wrt
            for a, b in zip(again.arrays, case.arrays, strict=True):
                np.testing.assert_array_equal(a, b)
    assert "float32" in repr(Case("relu", (np.ones(2, np.float32),)))
    again = eval(repr(Case("relu", (np.array([np.nan, np.inf, -np.inf, 1e-300]),))), {"Case": Case, "np": np})
    np.testing.assert_array_equal(again.arrays[0], [np.nan, np.inf, -np.inf, 1e-300])
    assert "<float64 (100, 30)>" in repr(Case("relu", (np.ones((100, 30)),)))


def test_the_simplest_case_of_every_operation_is_small_and_passes():
    for make in OPERATIONS.values():
        case = make(Simplest())
        assert max(np.size(a) for a in case.arrays) <= 30
        assert gradcheck(case.plain(), case).verdict is Verdict.PASS, case


@pytest.mark.parametrize("dtype, error", [(np.float64, 1e-8), (np.float32, 1e-4)])
def test_errors_of_the_promised_size_are_found_in_every_operation(dtype, error):
    def off(of, sign):
        def function(*arguments, **options):
            ys = as_list(of(*arguments, **options))
            return [y + sign * error * (y - y.detach()) if is_floating(y) else y for y in ys]

        return function

    for number, make in enumerate(OPERATIONS.values()):
        case = make(RandomChoices(number)).astype(dtype)
        with np.errstate(all="ignore"):
            check = Call(off(case.plain(), (-1) ** number), case, None, False, 1, None, 1, 0).check()
            found = strongest(check.run(1, False).values()).verdict
        assert found is Verdict.FAIL or not any(g.any() for g in check.gradients), case


def test_wrong_calls_are_refused_before_anything_is_drawn():
    for strategy in (testing.pool2d_cases, testing.norm_cases, testing.loss_cases, testing.activation_cases):
        with pytest.raises(ValueError, match=rf"{strategy.__name__}: \w+ = 'mean' must be one of "):
            strategy("mean")
    with pytest.raises(TypeError, match="arrays must be a tuple and options a dict, not ndarray and dict"):
        Case("relu", np.ones(3))
    with pytest.raises(ValueError, match="'softmax adds up to 1' is one of .*softmax, not of relu"):
        check_law("softmax adds up to 1", OURS, Case("relu", (np.ones(3),)))
    with pytest.raises(TypeError, match="planted: 'mask forgotten' must be a Mistake"), planted("mask forgotten"):
        pass


def test_an_operation_that_is_not_there():
    with pytest.raises(ValueError, match="no operation 'conv9d'"):
        Case("conv9d", ()).function()


# -- laws -----------------------------------------------------------------------------------------------------------

OURS = over_arrays(F, mc.from_numpy)
THEIRS = over_arrays(torch.nn.functional, torch.from_numpy)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_laws_hold_in_both_libraries_and_say_something(law):
    said = 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using padding='same' with even kernel")
        for operation in law.operations:
            for seed in range(40 if operation == "conv2d" else 12):
                case = OPERATIONS[operation](RandomChoices(seed))
                said += law.sides(OURS, case) is not None
                check_law(law.name, OURS, case)
                check_law(law.name, THEIRS, case)
    assert said >= 2


BROKEN = {
    "convolution is linear in x": ("conv2d", lambda x, w, **o: OURS.conv2d(np.abs(x), w, **o)),
    "convolution and transposed convolution are adjoint": ("conv_transpose2d", lambda y, w, **o: OURS.conv_transpose2d(
        y, w[..., ::-1, ::-1], **o)),
    "groups are convolutions of their own": ("conv2d", lambda x, w, groups=1, **o: OURS.conv2d(
        x, w[::-1] if groups > 1 else w, groups=groups, **o)),
    "im2col and col2im are adjoint": ("fold", lambda *a, **o: 0.5 * OURS.fold(*a, **o)),
    "images do not see each other": ("conv2d", lambda x, *a, **o: OURS.conv2d(x - x[:1], *a, **o)),
    "average pooling is a convolution": ("avg_pool2d", lambda x, **o: OURS.max_pool2d(x, o["kernel_size"], o["stride"],
                                                                                      o["padding"])),
    "softmax does not see a shift": ("softmax", lambda x, dim: np.exp(x) / (1 + np.exp(x).sum(dim, keepdims=True))),
    "softmax adds up to 1": ("softmax", lambda x, dim: np.exp(x)),
    "batch norm does not see scale and shift": ("batch_norm", lambda x, *a, **o: OURS.batch_norm(x, *a, **o) + x),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_function_breaks_its_law(name):
    function, wrong = BROKEN[name]
    law = next(law for law in LAWS if law.name == name)
    functions = type("Functions", (), {**vars(OURS), function: staticmethod(wrong)})

    def broken(seed):
        case = OPERATIONS[law.operations[0] if function == "fold" or "transpose" in function else
                          function if function in law.operations else law.operations[0]](RandomChoices(seed))
        if "transpose" in function:
            case = OPERATIONS["conv2d"](RandomChoices(seed))
        try:
            check_law(name, functions, case)
        except AssertionError as error:
            return law.formula in str(error)
        return False

    assert any(broken(seed) for seed in range(30))


def test_laws_by_name_and_operation():
    assert len(LAWS) >= 20 and {law.name for law in laws_for("softmax")} >= {"softmax adds up to 1"}
    with pytest.raises(ValueError, match="no law 'of gravity'"):
        check_law("of gravity", OURS, Case("relu", ()))


def test_the_table_of_an_operation():
    row = check_operation("max_pool2d", 2, 0)
    assert not row.failures and not row.doubts
    assert {str(row.first), str(row.single), str(row.second)} == {"PASS"}
    assert row.apart is not None and row.apart < 1e-12 and row.first.precision < 1e-8 and row.single.precision < 1e-4
    with planted(named("pooled gradient one column off")):
        row = check_operation("max_pool2d", 3, 0)
    assert str(row.first) == "FAIL in 1" and "differs from PyTorch by" in "".join(row.failures)
    assert set(NORMS) <= set(OPERATIONS)
