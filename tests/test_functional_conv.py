"""What the table of operators does not say of convolution: messages, memory, what is kept, formulations, filters."""

import inspect
import re
import tracemalloc

import numpy as np
import pytest
import torch

import minicnn as mc
import minicnn.functional as F
from minicnn.kernels import audit, formulations, volumes
from minicnn.kernels.cpu import convolution
from minicnn.ops import conv
from operators.convolution import with_full
from util import assert_close, check_op, in_both, normal

TF = torch.nn.functional
PLAIN = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
theirs = with_full(TF.conv2d)


@pytest.mark.parametrize("options", [
    {"stride": 2}, {"stride": (2,)}, {"stride": [1, 2]}, {"padding": [1, 0]}, {"padding": (2,)}, {"dilation": [1, 2]},
    {"stride": np.int64(2), "padding": (np.int32(1), 0)}, {"padding": "valid"}])
def test_numbers_and_pairs(options):
    check_op(*in_both(lambda f, x, w: f.conv2d(x, w, **options)), normal((1, 2, 5, 6)), normal((2, 2, 2, 3)))


def test_memory_in_any_order():
    """Permuted, sliced and expanded tensors, in forward and as the upstream gradient."""
    def program(f, x, w, b):
        return f.conv2d(x.permute(3, 1, 0, 2), w.permute(3, 2, 1, 0), b.expand(4), padding=1).permute(2, 3, 0, 1)

    check_op(*in_both(program), normal((6, 3, 5, 2)), normal((3, 2, 3, 4)), normal((1,)))
    arrays = normal((2, 3, 4, 5)), normal((2, 3, 2, 2))
    check_op(*in_both(lambda f, x, w: f.conv2d(x[:, :, 1:, :-1], w).sum((2, 3))), *arrays)
    check_op(*in_both(lambda f, x, w: f.conv3d(x.permute(4, 0, 2, 1, 3), w.permute(1, 0, 4, 3, 2), padding=1).mT),
             normal((3, 4, 3, 5, 2)), normal((3, 2, 2, 3, 2)))
    check_op(*in_both(lambda f, x, w: f.conv_transpose2d(x.mT[:, :, ::2], w.mT, stride=2).sum(3)),
             normal((2, 3, 4, 5)), normal((3, 2, 2, 3)))


@pytest.mark.parametrize("name, shape", [("conv1d", (2, 2, 3)), ("conv2d", (2, 2, 3, 4)), ("conv3d", (2, 2, 3, 4, 2)),
                                         ("conv_transpose2d", (2, 2, 3, 4))])
def test_a_tensor_as_image_and_kernel(name, shape):
    check_op(*in_both(lambda f, x: getattr(f, name)(x, x, padding=1)), normal(shape))


@pytest.mark.parametrize("shapes", [((2, 2, 5, 4), (3, 2, 3, 2)), ((2, 2, 3, 5, 4), (3, 2, 2, 3, 2))])
@pytest.mark.parametrize("constant", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_only_wanted_gradients_are_computed_and_only_what_they_need_is_kept(shapes, constant, monkeypatch):
    called, arrays, name = set(), [*map(normal, shapes), normal((3,))], f"conv{len(shapes[0]) - 2}d"
    for operation in (conv.Conv2dInputGrad, conv.Conv2dWeightGrad):
        def forward(self, *arrays, operation=operation, before=operation.forward):
            called.add(operation)
            return before(self, *arrays)

        monkeypatch.setattr(operation, "forward", forward)
    tensors = [mc.tensor(a, requires_grad=i not in constant) for i, a in enumerate(arrays)]
    y = getattr(F, name)(*tensors)
    kept = [t is not None for t in y.grad_fn.saved]
    assert kept == [1 not in constant, 0 not in constant]
    y.sum().backward()
    assert called == {op for i, op in enumerate((conv.Conv2dInputGrad, conv.Conv2dWeightGrad)) if i not in constant}
    check_op(*in_both(lambda f, *t: getattr(f, name)(*t)), *arrays, constant=constant)


@pytest.mark.parametrize("name, x, w, b, options, match", [
    ("conv2d", (8, 3, 32, 32), (16, 4, 3, 3), None, {},
     r"conv2d: x has 3 channels but weight expects 4 \(x \(8, 3, 32, 32\), weight \(16, 4, 3, 3\), groups 1\)"),
    ("conv2d", (1, 4, 5, 5), (3, 2, 3, 3), None, {"groups": 2},
     "groups = 2 must be a positive integer that divides the first axis of weight"),
    ("conv2d", (1, 4, 5, 5), (4, 4, 3, 3), None, {"groups": -1}, "groups = -1 must be a positive integer"),
    ("conv2d", (1, 2, 5, 5), (3, 2, 3, 3), (2,), {}, r"bias has shape \(2,\), expected \(3,\)"),
    ("conv2d", (2, 5, 5), (3, 2, 3), None, {}, r"weight \(O, C/groups, KH, KW\)"),
    ("conv1d", (2, 5, 5, 5), (3, 2, 3), None, {},
     r"conv1d: x must be \(N, C, L\) or \(C, L\) and weight \(O, C/groups, K\)"),
    ("conv3d", (2, 5, 5), (3, 2, 3), None, {}, r"x must be \(N, C, D, H, W\) or .* weight \(O, C/groups, KD, KH, KW\)"),
    ("conv2d", (1, 2, 2, 5), (3, 2, 3, 3), None, {},
     r"reaches over \(3, 3\) does not fit into the padded input of \(2, 5\)"),
    ("conv2d", (1, 2, 3, 5), (3, 2, 3, 3), None, {"dilation": 3, "padding": 1},
     r"reaches over \(7, 7\) does not fit into the padded input of \(5, 7\) \(x \(1, 2, 3, 5\)"),
    ("conv1d", (1, 2, 3), (3, 2, 4), None, {}, r"reaches over \(4,\) does not fit into the padded input of \(3,\)"),
    ("conv2d", (1, 2, 0, 5), (3, 2, 3, 3), None, {"padding": 2}, "only the batch may be empty"),
    ("conv2d", (1, 2, 5, 5), (3, 2, 3, 3), None, {"stride": 0},
     "stride = 0 must be an integer of at least 1, or 2 of them"),
    ("conv2d", (1, 2, 5, 5), (3, 2, 3, 3), None, {"stride": 2**63}, r"of at least 1, or 2 of them \(and at most 9223"),
    ("conv3d", (1, 2, 5, 5, 5), (3, 2, 3, 3, 3), None, {"dilation": (1, 2)},
     r"dilation = \(1, 2\) must be .* or 3 of them"),
    ("conv2d", (1, 2, 5, 5), (3, 2, 3, 3), None, {"padding": -1}, "padding = -1 must be an integer of at least 0"),
    ("conv2d", (1, 2, 5, 5), (3, 2, 3, 3), None, {"padding": "Same"}, "padding 'Same' is unknown"),
    ("conv2d", (1, 2, 5, 5), (3, 2, 3, 3), None, {"padding": "same", "stride": 2}, "padding 'same' needs stride 1"),
    ("conv_transpose2d", (1, 3, 5, 5), (2, 2, 3, 3), None, {}, "x has 3 channels but weight expects 2"),
    ("conv_transpose2d", (1, 3, 5, 5), (3, 2, 3, 3), None, {"groups": 2},
     "must be a positive integer that divides the first axis of weight"),
    ("conv_transpose2d", (1, 2, 5, 5), (2, 3, 3, 3), (2,), {"groups": 2}, r"bias has shape \(2,\), expected \(6,\)"),
    ("conv_transpose1d", (1, 2, 5), (2, 3, 3), None, {"output_padding": 1},
     r"output_padding \(1,\) must be smaller than stride \(1,\) or dilation \(1,\)"),
    ("conv_transpose1d", (1, 2, 1), (2, 3, 3), None, {"padding": 2}, r"the output would be of size \(-1,\)"),
    ("conv_transpose2d", (1, 2, 3), (2, 3, 3), None, {}, r"weight \(C, O/groups, KH, KW\)"),
])
def test_messages(name, x, w, b, options, match):
    with pytest.raises((RuntimeError, ValueError), match=match):
        getattr(F, name)(mc.ones(*x), mc.ones(*w), mc.ones(*b) if b else None, **options)


@pytest.mark.parametrize("function", [F.conv2d, F.conv_transpose2d, F.max_pool2d, F.avg_pool2d])
def test_numbers_equal_to_right_ones_are_refused_after_them(function):
    """What is remembered of a call does not let 1.0 and True through, which are equal to 1 as keys."""
    x, second = mc.ones(1, 1, 5, 5), mc.ones(1, 1, 1, 1) if "conv" in function.__name__ else 1
    for argument in ("stride", "padding", "dilation"):
        if argument in inspect.signature(function).parameters:
            right = PLAIN[argument]
            function(x, second, **{argument: right}), function(x, second, **{argument: (right, right)})
            for wrong in (bool(right), float(right)):
                for value in (wrong, (wrong, right), [right, wrong]):
                    with pytest.raises(ValueError, match=re.escape(f"{argument} = {value!r} must be an integer of")):
                        function(x, second, **{argument: value})


@pytest.mark.parametrize("function", [F.conv2d, F.conv_transpose2d])
def test_groups_equal_to_right_ones_are_refused_after_them(function):
    x, w = mc.ones(1, 1, 5, 5), mc.ones(1, 1, 1, 1)
    function(x, w, groups=1)
    for wrong in (True, 1.0):
        with pytest.raises(TypeError, match=f"groups must be an int, not {wrong}"):
            function(x, w, groups=wrong)


def test_a_stride_that_leaves_the_image():
    """It needs no memory of its own size; PyTorch takes 2⁴⁰ as well, but only forward."""
    x, w = normal((1, 2, 4, 5)), normal((3, 2, 3, 3), 1)
    y = F.conv2d(mc.tensor(x), mc.tensor(w), stride=2**40, padding=1)
    assert_close(y, TF.conv2d(torch.tensor(x), torch.tensor(w), stride=2**40, padding=1), 1e-14)


@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
def test_one_floating_type_is_needed(name):
    x, w, b = mc.ones(1, 1, 3, 3), mc.ones(1, 1, 2, 2), mc.ones(1)
    for arguments in ((x.double(), w, b), (x, w.half(), b), (x, w, b.double()), (x.bool(), w.bool(), None)):
        with pytest.raises(RuntimeError, match=f"{name}: x is .*, weight is .*; all must have the same floating type"
                                               r".* \(convert with \.float\(\) or \.to\(\.\.\.\)\)$"):
            getattr(F, name)(*arguments)


@pytest.mark.parametrize("name, x, w", [("conv2d", (1, 64, 6, 6), (3, 64, 3, 3)),
                                        ("conv3d", (1, 64, 4, 4, 4), (3, 64, 3, 3, 3)),
                                        ("conv_transpose3d", (1, 64, 3, 3, 3), (64, 2, 3, 3, 3))])
def test_float16_rounds_once(name, x, w, monkeypatch):
    """Products of 16-bit numbers are added up in 32 bits, in forward and backward, and part by part."""
    monkeypatch.setattr(volumes, "WORKSPACE", 1)
    x, w = normal(x).astype(np.float16), normal(w, 1).astype(np.float16)
    ours = [mc.tensor(a, requires_grad=True) for a in (x, w)]
    exact = [torch.from_numpy(a).double().requires_grad_() for a in (x, w)]
    y, y_exact = getattr(F, name)(*ours), getattr(TF, name)(*exact)
    gy = normal(y.shape, 2).astype(np.float16)
    y.backward(mc.tensor(gy)), y_exact.backward(torch.from_numpy(gy).double())
    for a, b in zip((y, *[t.grad for t in ours]), (y_exact, *[t.grad for t in exact])):
        assert a.dtype == mc.float16
        np.testing.assert_allclose(a.detach().numpy().astype(float), b.detach().half().numpy().astype(float),
                                   rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("size, kernel", [((4, 5, 6), (3, 3, 2)), ((1, 2, 1), (3, 3, 3)), ((5, 6), (3, 2)),
                                          ((2, 1), (3, 3)), ((7,), (3,)), ((1,), (3,))])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_padding_is_zeros_even_to_a_bad_weight(size, kernel, value):
    """PyTorch multiplies them in some of its algorithms; all of them multiply zeros that are part of the input."""
    x, w = normal((2, 3, *size)), normal((4, 3, *kernel), 1)
    w[1, 2].flat[0] = w[2, 0].flat[-1] = value
    name = f"conv{len(size)}d"
    padded = TF.pad(torch.tensor(x), (1, 1) * len(size))
    with np.errstate(invalid="ignore"):
        y = getattr(F, name)(mc.tensor(x), mc.tensor(w), padding=1)
    assert_close(y, getattr(TF, name)(padded, torch.tensor(w)), 1e-12)


@pytest.mark.parametrize("name", ["conv1d", "conv2d", "conv3d"])
@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "int8", "uint8"])
def test_integers_are_exact(name, dtype):
    """Sums are exact, or wrap; floats would round them."""
    least, most = (-2**40, 2**40) if dtype == "int64" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    rng, axes = np.random.default_rng(0), int(name[4])
    x, w = (rng.integers(least, most, (2, 70, *[n] * axes)).astype(dtype) for n in (4, 2))
    for which in (name, f"conv_transpose{axes}d") if dtype == "int64" else (name,):
        y = getattr(F, which)(mc.tensor(x), mc.tensor(w if which == name else w.swapaxes(0, 1)))
        expected = getattr(TF, which)(torch.tensor(x), torch.tensor(w if which == name else w.swapaxes(0, 1).copy()))
        assert_close(y, expected, 0)


def test_volumes_are_cut_into_parts_that_fit(monkeypatch):
    """One output slice at a time, then one image: the same numbers as all at once."""
    arrays = normal((3, 2, 7, 5, 4)), normal((4, 1, 3, 2, 3), 1), normal((4,), 2)
    options = {"stride": (2, 1, 1), "padding": (2, 0, 1), "dilation": (2, 1, 1), "groups": 2}
    for workspace in (1, 3 * 2 * 3 * 5 * 4 * 8):
        monkeypatch.setattr(volumes, "WORKSPACE", workspace)
        check_op(*in_both(lambda f, *t: f.conv3d(*t, **options)), *arrays)


def test_volumes_take_the_chosen_formulation():
    x, w = mc.tensor(normal((1, 2, 3, 4, 5))), mc.tensor(normal((2, 2, 2, 3, 3), 1))
    with mc.conv_algorithm("audit") as report:
        F.conv3d(x, w)
    assert {row.algorithm for row in report.rows} >= {"im2col", "loops", "fft", "direct"}
    assert report.largest_difference < 1e-12
    with mc.conv_algorithm("winograd"), pytest.raises(ValueError, match="'winograd' cannot compute this"):
        F.conv3d(x, w[..., :2])


# -- the same convolution in other words ----------------------------------------------------------------------------

CASES = [((2, 3, 6, 7), (4, 3, 3, 3), PLAIN), ((2, 3, 6, 7), (4, 3, 3, 3), {**PLAIN, "padding": (1, 2)}),
         ((1, 4, 7, 6), (6, 2, 2, 3), {**PLAIN, "groups": 2, "stride": (2, 1), "padding": 1}),
         ((2, 2, 8, 9), (2, 2, 3, 2), {**PLAIN, "dilation": (2, 3), "stride": 2, "padding": "full"}),
         ((2, 4, 5, 5), (4, 1, 3, 3), {**PLAIN, "groups": 4, "padding": "same"})]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["im2col", "loops", "transposed", "fft", "winograd", "direct", "winograd-tiles",
                                  "image-lanes"])
def test_every_formulation_gives_the_same_gradients(name, case):
    x, w, options = case
    arrays = [normal(x), normal(w, 1), normal(w[:1], 2)]

    def ours(*tensors):
        return F.conv2d(*tensors, **options)

    plain = w[2:] == (3, 3) and options["stride"] == options["dilation"] == 1
    unsupported = {"winograd": not plain, "winograd-tiles": not plain or options["groups"] > 1,
                   "image-lanes": options["groups"] > 1}
    if unsupported.get(name):
        with mc.conv_algorithm(name), pytest.raises(ValueError, match=f"conv_algorithm '{name}' cannot compute this"):
            ours(*map(mc.tensor, arrays))
        return
    with mc.conv_algorithm(name):
        check_op(ours, lambda *t: theirs(*t, **options), *arrays, single=False)


def test_audit_runs_all_formulations_and_reports():
    x, w = (mc.tensor(normal(shape, i), requires_grad=True) for i, shape in enumerate([(2, 3, 6, 7), (4, 3, 3, 3)]))
    with mc.conv_algorithm("audit") as report:
        y = F.conv2d(x, w, padding=1)
        y.sum().backward()
    assert_close(y.detach(), F.conv2d(x, w, padding=1).detach(), 1e-12)
    assert {(row.operation, row.algorithm) for row in report.rows} == {
        (operation, algorithm) for operation in ("conv2d", "conv2d_input_grad", "conv2d_weight_grad")
        for algorithm in ("im2col", "loops", "transposed", "fft", "winograd", "direct", "winograd-tiles",
                          "image-lanes")}
    assert report.largest_difference < 1e-12
    assert all(row.seconds > 0 and row.memory > 0 for row in report.rows)
    table = [re.split("  +", line) for line in str(report).splitlines()]
    assert table[0] == ["operation", "algorithm", "difference from im2col", "ms", "memory", "chosen by"]
    assert [line[:2] for line in table[1:]] == [[row.operation, row.algorithm] for row in report.rows]
    assert len({re.search("y  chosen|B(  auto)?$", line).start() for line in str(report).splitlines()}) == 1  # columns
    for line, row in zip(table[1:], report.rows, strict=True):
        assert line[5:] == ["auto"] * row.automatic
        size, unit = line[4].split()
        assert float(size) * {"B": 1, "KiB": 2**10, "MiB": 2**20}[unit] == pytest.approx(row.memory, rel=0.05)
    F.conv2d(x, w)
    assert len(report.rows) == 24  # outside the block nothing is noted


WAYS = [("direct", convolution.correlation, convolution.weight_sums),
        ("direct", convolution.depthwise, convolution.depthwise),
        ("winograd-tiles", convolution.winograd, convolution.winograd),
        ("image-lanes", convolution.image_lanes, convolution.image_sums)]  # who correlates, and who sums up weights


@pytest.mark.parametrize("x, w, groups, dtype, ways", [
    ((2, 64, 32, 30), (64, 64, 3, 3), 1, np.float32, ["winograd-tiles"] * 3),
    ((2, 64, 32, 30), (64, 64, 3, 3), 1, np.float64, ["direct", "direct", "image-lanes"]),
    ((32, 16, 5, 4), (16, 16, 3, 3), 1, np.float32, ["image-lanes"] * 3),
    ((2, 4, 7, 9), (4, 2, 3, 2), 2, np.float32, ["direct"] * 3),
    ((2, 8, 20, 20), (8, 1, 3, 3), 8, np.float32, ["direct"] * 3),
    ((2, 3, 6, 7), (4, 3, 3, 3), 1, np.float16, ["im2col"] * 3),
    ((0, 3, 6, 7), (4, 3, 3, 3), 1, np.float32, ["im2col"] * 3),
])
def test_an_audit_says_what_auto_takes(monkeypatch, x, w, groups, dtype, ways):
    for name in ("loops", "transposed", "fft", "winograd"):  # which take their time
        monkeypatch.delitem(audit.ALGORITHMS, name)
    x, w = (mc.tensor(normal(shape, i).astype(dtype), requires_grad=True) for i, shape in enumerate((x, w)))
    with mc.conv_algorithm("audit") as report:
        F.conv2d(x, w, groups=groups, padding=1).sum().backward()
    chosen = [(row.operation, row.algorithm) for row in report.rows if row.automatic]
    assert chosen == list(zip(("conv2d", "conv2d_input_grad", "conv2d_weight_grad"), ways, strict=True))
    taken = []  # by what is then called

    def noting(name, compute):
        return lambda *args, **kwargs: (taken.append(name), compute(*args, **kwargs))[1]

    for name, correlation, sums in WAYS:
        for module, function in ((correlation, "correlate"), (sums, "sum_weights")):
            monkeypatch.setattr(module, function, noting(name, getattr(module, function)))
    F.conv2d(x, w, groups=groups, padding=1).sum().backward()
    assert (taken or ["im2col"] * 3) == ways


def test_an_audit_times_neither_first_calls_nor_the_counting_of_memory(monkeypatch):
    now, calls = [0.0], []

    class Slow(formulations.Im2col):
        @staticmethod
        def conv2d(*arguments):
            calls.append(tracemalloc.is_tracing())
            now[0] += 50.0 if len(calls) == 1 else 3.0 if calls[-1] else 1.0
            return formulations.Im2col.conv2d(*arguments)

    monkeypatch.setattr(audit, "ALGORITHMS", {"slow": Slow()})
    monkeypatch.setattr(audit.time, "perf_counter", lambda: now[0])
    with mc.conv_algorithm("audit") as report:
        F.conv2d(mc.ones(1, 1, 4, 4), mc.ones(1, 1, 2, 2))
    assert report.rows[0].seconds == 1.0 and report.rows[0].memory > 0 and calls == [False, False, True]


def test_conv_algorithm_is_reset_and_knows_its_names():
    with pytest.raises(ValueError, match="conv_algorithm: 'strassen' is unknown; use auto, audit, "), \
            mc.conv_algorithm("strassen"):
        pass
    for name in (None, 3, ["loops"]):
        with pytest.raises(ValueError, match=rf"conv_algorithm: {re.escape(repr(name))} is unknown"), \
                mc.conv_algorithm(name):
            pass
    x = mc.ones(1, 1, 4, 4)
    with pytest.raises(KeyError), mc.conv_algorithm("winograd"):
        raise KeyError
    F.conv2d(x, mc.ones(1, 1, 2, 2))  # not by winograd, which would refuse


@pytest.mark.parametrize("case", CASES)
def test_reference_kernels_give_the_same_gradients(case):
    x, w, options = case
    arrays = normal(x), normal(w, 1), normal(w[:1], 2)
    with mc.use_kernels("reference"):
        check_op(lambda *t: F.conv2d(*t, **options), lambda *t: theirs(*t, **options), *arrays)


# -- the relatives of convolution -----------------------------------------------------------------------------------

def test_a_convolution_is_a_matrix_product_of_columns():
    def by_columns(x, w):
        return (w.reshape(4, 18) @ F.unfold(x, (3, 3), padding=1)).reshape(2, 4, 5, 6)

    check_op(by_columns, lambda x, w: TF.conv2d(x, w, padding=1), normal((2, 2, 5, 6)), normal((4, 2, 3, 3), 1))


@pytest.mark.parametrize("call, match", [
    (lambda: F.unfold(mc.ones(1, 2, 3, 3), 4), "unfold: x must be .* large enough for a window"),
    (lambda: F.unfold(mc.ones(1, 2, 4, 4), (1, 2, 3)), r"unfold: kernel_size = \(1, 2, 3\) must be"),
    (lambda: F.fold(mc.ones(1, 7, 9), (4, 4), 2), r"input of shape \(1, 7, 9\) must be \(N, C·2·2, 3·3\)"),
    (lambda: F.fold(mc.ones(1, 4, 0), (1, 3), 2), "fold: no window fits"),
])
def test_messages_of_columns(call, match):
    with pytest.raises((RuntimeError, ValueError), match=match):
        call()


def mathematical(x: np.ndarray, w: np.ndarray, sign: int, mode: str) -> np.ndarray:
    """y[i] = Σ x[i − sign·k]·w[k] by the definition, and the part of it that the mode keeps."""
    (h, v), (kh, kw) = x.shape, w.shape
    y = np.zeros((h + kh - 1, v + kw - 1))
    for i in range(kh):
        for j in range(kw):
            top, left = (i, j) if sign == 1 else (kh - 1 - i, kw - 1 - j)
            y[top:top + h, left:left + v] += x * w[i, j]
    if mode == "valid":
        return y[kh - 1:h, kw - 1:v]
    # in the middle, as SciPy puts it: an even kernel has two middles, and turning it changes which one is taken
    a, b = ((kh - 1) // 2, (kw - 1) // 2) if sign == 1 else (kh // 2, kw // 2)
    return y[a:a + h, b:b + v] if mode == "same" else y


@pytest.mark.parametrize("shapes", [((5, 7), (3, 2)), ((4, 4), (4, 1)), ((4, 6), (2, 5)), ((1, 1), (1, 1))])
@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("name, sign", [("convolve2d", 1), ("correlate2d", -1)])
def test_mathematical_convolution(name, sign, mode, shapes):
    x, w = normal(shapes[0]), normal(shapes[1], 1)
    assert_close(getattr(F, name)(mc.tensor(x), mc.tensor(w), mode), mathematical(x, w, sign, mode), 1e-12)


def test_modes_as_in_scipy():
    """The numbers that scipy.signal 1.16 gives for an even kernel."""
    x, w = mc.arange(1.0, 7.0).reshape(1, 6), mc.tensor([[1.0, 10.0, 100.0, 1000.0]])
    assert F.convolve2d(x, w, "same").tolist() == [[12, 123, 1234, 2345, 3456, 4560]]
    assert F.correlate2d(x, w, "same").tolist() == [[3210, 4321, 5432, 6543, 654, 65]]
    assert F.convolve2d(x, w).tolist() == [[1, 12, 123, 1234, 2345, 3456, 4560, 5600, 6000]]
    assert F.correlate2d(x, w, "valid").tolist() == [[4321, 5432, 6543]]


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("shape", [(2, 3, 6, 5), (0, 3, 6, 5), (3, 6, 5)])
def test_mathematical_convolution_over_channels(mode, shape):
    """Over channels, and its gradients: PyTorch's correlation with the kernel turned."""
    x, w = normal(shape), normal((4, 3, 3, 5), 1)
    check_op(lambda x, w: F.convolve2d(x, w, mode), lambda x, w: theirs(x, w.flip((2, 3)), padding=mode), x, w)
    check_op(lambda x, w: F.correlate2d(x, w, mode), lambda x, w: theirs(x, w, padding=mode), x, w)


def test_laws_of_convolution():
    """It commutes and associates, an impulse gives back the kernel; correlation with x is its adjoint."""
    a, b, c = (mc.tensor(normal(shape, i)) for i, shape in enumerate([(3, 4), (2, 5), (4, 2)]))
    assert_close(F.convolve2d(a, b), F.convolve2d(b, a), 1e-12)
    assert_close(F.convolve2d(F.convolve2d(a, b), c), F.convolve2d(a, F.convolve2d(b, c)), 1e-12)
    assert_close(F.convolve2d(mc.ones(1, 1, dtype=mc.float64), a), a, 0)
    y = mc.tensor(normal((4, 8), 3))
    assert ((F.convolve2d(a, b) * y).sum() - (F.correlate2d(y, b, "valid") * a).sum()).abs().item() < 1e-12


@pytest.mark.parametrize("call, match", [
    (lambda f, x, w: f(x, w, "middle"), "mode 'middle' is unknown; use 'full', 'same' or 'valid'"),
    (lambda f, x, w: f(x, w[0]), r"x \(4, 5\) and weight \(3,\) must be \(H, W\) and \(KH, KW\)"),
    (lambda f, x, w: f(x.reshape(1, 1, 4, 5), w), r"must be \(H, W\) and \(KH, KW\), or \(N, C, H, W\)"),
    (lambda f, x, w: f(w, x, "valid"), "does not fit into the padded input"),
    (lambda f, x, w: f(x.reshape(2, 2, 5), w.reshape(1, 1, 3, 3)), "x has 2 channels but weight expects 1"),
    (lambda f, x, w: f(x, w.double()), "same floating type"),
])
@pytest.mark.parametrize("name", ["convolve2d", "correlate2d"])
def test_mathematical_convolution_refuses(name, call, match):
    with pytest.raises((RuntimeError, ValueError), match=f"{name}: .*{match}"):
        call(getattr(F, name), mc.ones(4, 5), mc.ones(3, 3))


def test_an_impulse_fades_as_the_filter_says():
    """y[t] = 1·x[t] + ½·x[t − 1] + ¼·x[t − 2]."""
    w = mc.tensor([1.0, 0.5, 0.25])
    assert F.causal_filter(mc.tensor([0.0, 1, 0, 0, 0]), w).tolist() == [0, 1, 0.5, 0.25, 0]
    assert F.causal_filter(mc.tensor([[4.0, 0], [8, 4]]), w).tolist() == [[4, 2], [8, 8]]


@pytest.mark.parametrize("shape, taps", [((7,), 3), ((2, 3, 5), 4), ((2, 3), 5), ((0, 4), 2), ((1, 1), 1)])
def test_causal_filter(shape, taps):
    """It never looks ahead: a convolution of signals that were silent before."""
    def by_convolution(x, w):
        signals = TF.pad(x.reshape(-1, 1, shape[-1]), (taps - 1, 0))
        return TF.conv1d(signals, w.flip(0).reshape(1, 1, -1)).reshape(shape)

    if 0 in shape:
        assert F.causal_filter(mc.ones(shape), mc.ones(taps)).shape == shape
    else:
        check_op(F.causal_filter, by_convolution, normal(shape), normal((taps,), 1))


@pytest.mark.parametrize("x, w, match", [
    (mc.ones(5), mc.ones(1, 2), r"x \(5,\) and weight \(1, 2\) must be \(\.\.\., T\) and \(K\)"),
    (mc.ones(0), mc.ones(2), "T and K at least 1"), (mc.ones(5), mc.ones(0), "T and K at least 1"),
    (mc.ones(()), mc.ones(2), "must be"), (mc.ones(5), mc.ones(2).double(), "same floating type")])
def test_causal_filter_refuses(x, w, match):
    with pytest.raises(RuntimeError, match=f"causal_filter: .*{match}"):
        F.causal_filter(x, w)
