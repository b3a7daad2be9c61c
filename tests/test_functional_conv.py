"""conv2d, unfold and fold against PyTorch: output, first and second gradients; and conv2d in all its formulations."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import minicnn as mc
import minicnn.functional as F
from minicnn.ops import conv

from util import assert_close, check_op, check_raises, in_both, normal

TF = torch.nn.functional


def pairs(low: int, high: int) -> st.SearchStrategy:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def convolutions(draw: st.DrawFn) -> dict:
    """Shapes and arguments of a conv2d that fits."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    c, o = draw(st.integers(1, 3)) * groups, draw(st.integers(1, 3)) * groups
    kernel, dilation = draw(pairs(1, 4)), draw(pairs(1, 3))
    padding = draw(st.one_of(st.integers(0, 3), pairs(0, 3), st.sampled_from(["same", "valid", "full"])))
    stride = (1, 1) if padding == "same" else draw(pairs(1, 3))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    pads = (padding, padding) if isinstance(padding, int) else (0, 0) if padding == "valid" else padding
    if isinstance(pads, str):
        pads = [r - 1 for r in reach]
    size = [max(1, r - 2 * p) + draw(st.integers(0, 5)) for r, p in zip(reach, pads, strict=True)]
    batch = draw(st.sampled_from([(), (0,), (1,), (2,), (3,)]))
    return {"x": (*batch, c, *size), "w": (o, c // groups, *kernel), "bias": draw(st.booleans()),
            "options": {"stride": stride[0] if stride[0] == stride[1] else stride, "padding": padding,
                        "dilation": dilation, "groups": groups}}


def theirs(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None = None, **options: object) -> torch.Tensor:
    """torch's conv2d, with the paddings it lacks."""
    if options["padding"] == "full":
        dilation = options["dilation"]
        dilation = (dilation, dilation) if isinstance(dilation, int) else dilation
        options = {**options, "padding": tuple(d * (k - 1) for d, k in zip(dilation, w.shape[2:], strict=True))}
    return TF.conv2d(x, w, b, **options)


PLAIN = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(max_examples=60)
@given(convolutions())
@example({"x": (2, 3, 5, 7), "w": (4, 3, 1, 1), "bias": True, "options": PLAIN})
@example({"x": (2, 4, 6, 5), "w": (4, 1, 3, 3), "bias": True, "options": {**PLAIN, "groups": 4, "padding": 1}})
@example({"x": (2, 4, 6, 5), "w": (8, 1, 3, 2), "bias": False, "options": {**PLAIN, "groups": 4, "stride": (2, 1)}})
@example({"x": (1, 2, 9, 4), "w": (3, 2, 9, 4), "bias": True, "options": PLAIN})
@example({"x": (2, 2, 9, 8), "w": (3, 2, 2, 2), "bias": True, "options": {**PLAIN, "stride": (4, 3)}})
@example({"x": (1, 2, 1, 1), "w": (3, 2, 3, 3), "bias": True, "options": {**PLAIN, "padding": 1}})
@example({"x": (3, 6, 5), "w": (2, 3, 3, 2), "bias": True, "options": PLAIN})
@example({"x": (1, 1, 12, 11), "w": (2, 1, 3, 4), "bias": True,
          "options": {**PLAIN, "padding": "same", "dilation": (3, 2)}})
@example({"x": (2, 17, 8, 9), "w": (19, 17, 3, 3), "bias": True, "options": {**PLAIN, "padding": 1}})
def test_conv2d(case):
    arrays = [normal(case["x"]), normal(case["w"], 1)]
    if case["bias"]:
        arrays.append(normal(case["w"][:1], 2))
    check_op(lambda *t: F.conv2d(*t, **case["options"]), lambda *t: theirs(*t, **case["options"]), *arrays)


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


def test_a_tensor_as_image_and_kernel():
    check_op(*in_both(lambda f, x: f.conv2d(x, x, padding=2)), normal((2, 2, 3, 4)))


@pytest.mark.parametrize("constant", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_only_wanted_gradients_are_computed_and_only_what_they_need_is_kept(constant, monkeypatch):
    called, arrays = set(), [normal((2, 2, 5, 4)), normal((3, 2, 3, 2)), normal((3,))]
    for operation in (conv.Conv2dInputGrad, conv.Conv2dWeightGrad):
        def forward(self, *arrays, operation=operation, before=operation.forward):
            called.add(operation)
            return before(self, *arrays)

        monkeypatch.setattr(operation, "forward", forward)
    tensors = [mc.tensor(a, requires_grad=i not in constant) for i, a in enumerate(arrays)]
    y = F.conv2d(*tensors)
    kept = [t is not None for t in y.grad_fn.saved]
    assert kept == [1 not in constant, 0 not in constant]
    y.sum().backward()
    assert called == {op for i, op in enumerate((conv.Conv2dInputGrad, conv.Conv2dWeightGrad)) if i not in constant}
    check_op(F.conv2d, TF.conv2d, *arrays, constant=constant)


@pytest.mark.parametrize("x, w, b, options, match", [
    ((8, 3, 32, 32), (16, 4, 3, 3), None, {},
     r"conv2d: x has 3 channels but weight expects 4 \(x \(8, 3, 32, 32\), weight \(16, 4, 3, 3\), groups 1\)"),
    ((1, 4, 5, 5), (3, 2, 3, 3), None, {"groups": 2}, "groups = 2 must be positive and divide the 3 output channels"),
    ((1, 4, 5, 5), (4, 4, 3, 3), None, {"groups": 0}, "groups = 0 must be positive"),
    ((1, 4, 5, 5), (4, 4, 3, 3), None, {"groups": -1}, "groups = -1 must be positive"),
    ((1, 2, 5, 5), (3, 2, 3, 3), (2,), {}, r"bias has shape \(2,\), expected \(3,\)"),
    ((1, 2, 5, 5), (3, 2, 3, 3), (3, 1), {}, r"bias has shape \(3, 1\), expected \(3,\)"),
    ((2, 5, 5), (3, 2, 3), None, {}, r"weight \(O, C/groups, KH, KW\)"),
    ((5, 5), (3, 2, 3, 3), None, {}, r"x must be \(N, C, H, W\) or \(C, H, W\)"),
    ((1, 1, 2, 2, 5, 5), (3, 2, 3, 3), None, {}, r"x must be \(N, C, H, W\)"),
    ((1, 2, 2, 5), (3, 2, 3, 3), None, {}, r"reaches over \(3, 3\) does not fit into the padded input of \(2, 5\)"),
    ((1, 2, 3, 5), (3, 2, 3, 3), None, {"dilation": 3, "padding": 1},
     r"reaches over \(7, 7\) does not fit into the padded input of \(5, 7\) \(x \(1, 2, 3, 5\)"),
    ((1, 2, 0, 5), (3, 2, 3, 3), None, {"padding": 2}, "only the batch may be empty"),
    ((1, 2, 5, 5), (0, 2, 3, 3), None, {}, "only the batch may be empty"),
    ((1, 2, 5, 5), (3, 2, 0, 3), None, {}, "only the batch may be empty"),
    ((1, 2, 5, 5), (3, 2, 3, 3), None, {"stride": 0}, "stride = 0 must be an integer of at least 1 or a pair"),
    ((1, 2, 5, 5), (3, 2, 3, 3), None, {"stride": (1, 2, 3)}, r"stride = \(1, 2, 3\) must be"),
    ((1, 2, 5, 5), (3, 2, 3, 3), None, {"stride": 1.5}, "stride = 1.5 must be"),
    ((1, 2, 5, 5), (3, 2, 3, 3), None, {"stride": ()}, r"stride = \(\) must be"),
    ((1, 2, 5, 5), (3, 2, 3, 3), None, {"stride": "2"}, "stride = '2' must be"),
    ((1, 2, 5, 5), (3, 2, 3, 3), None, {"dilation": 0}, "dilation = 0 must be"),
    ((1, 2, 5, 5), (3, 2, 3, 3), None, {"padding": -1}, "padding = -1 must be an integer of at least 0"),
    ((1, 2, 5, 5), (3, 2, 3, 3), None, {"padding": "Same"}, "padding 'Same' is unknown"),
    ((1, 2, 5, 5), (3, 2, 3, 3), None, {"padding": "same", "stride": 2}, "padding 'same' needs stride 1"),
])
def test_conv2d_refuses(x, w, b, options, match):
    check_raises(lambda: F.conv2d(mc.ones(*x), mc.ones(*w), mc.ones(*b) if b else None, **options),
                 lambda: TF.conv2d(torch.ones(x), torch.ones(w), torch.ones(b) if b else None, **options), match)


def test_conv2d_needs_one_floating_type():
    x, w, b = mc.ones(1, 1, 3, 3), mc.ones(1, 1, 2, 2), mc.ones(1)
    for arguments in ((x.double(), w, b), (x, w.half(), b), (x, w, b.double()), (x.long(), w.long(), None)):
        with pytest.raises(RuntimeError, match=r"conv2d: x is .*, weight is .*; all must have the same floating type"):
            F.conv2d(*arguments)


def test_float16_rounds_once():
    """Products of 16-bit numbers are added up in 32 bits."""
    x, w = normal((1, 64, 6, 6)).astype(np.float16), normal((3, 64, 3, 3), 1).astype(np.float16)
    y = F.conv2d(mc.tensor(x), mc.tensor(w))
    exact = TF.conv2d(torch.from_numpy(x).double(), torch.from_numpy(w).double()).half()
    assert y.dtype == mc.float16
    np.testing.assert_allclose(y.numpy().astype(float), exact.numpy().astype(float), rtol=2e-3, atol=1e-2)


# -- the same convolution in other words ----------------------------------------------------------------------------

CASES = [((2, 3, 6, 7), (4, 3, 3, 3), PLAIN), ((2, 3, 6, 7), (4, 3, 3, 3), {**PLAIN, "padding": (1, 2)}),
         ((1, 4, 7, 6), (6, 2, 2, 3), {**PLAIN, "groups": 2, "stride": (2, 1), "padding": 1}),
         ((2, 2, 8, 9), (2, 2, 3, 2), {**PLAIN, "dilation": (2, 3), "stride": 2, "padding": "full"}),
         ((2, 4, 5, 5), (4, 1, 3, 3), {**PLAIN, "groups": 4, "padding": "same"})]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["im2col", "loops", "transposed", "fft", "winograd", "direct"])
def test_every_formulation_gives_the_same_gradients(name, case):
    x, w, options = case
    arrays = [normal(x), normal(w, 1), normal(w[:1], 2)]

    def ours(*tensors):
        return F.conv2d(*tensors, **options)

    if name == "winograd" and (w[2:] != (3, 3) or options["stride"] != 1 or options["dilation"] != 1):
        with mc.conv_algorithm(name), pytest.raises(ValueError, match="conv_algorithm 'winograd' cannot compute this"):
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
        for algorithm in ("im2col", "loops", "transposed", "fft", "winograd", "direct")}
    assert report.largest_difference < 1e-12
    assert all(row.seconds > 0 and row.megabytes > 0 for row in report.rows)
    table = [line.split()[:2] for line in str(report).splitlines()]
    assert table == [["operation", "algorithm"], *[[row.operation, row.algorithm] for row in report.rows]]
    F.conv2d(x, w)
    assert len(report.rows) == 18  # outside the block nothing is noted


def test_conv_algorithm_is_reset_and_knows_its_names():
    with pytest.raises(ValueError, match="conv_algorithm: 'strassen' is unknown; use auto, audit, "), \
            mc.conv_algorithm("strassen"):
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


# -- columns --------------------------------------------------------------------------------------------------------

@st.composite
def windows(draw: st.DrawFn) -> dict:
    kernel, dilation, padding, stride = draw(pairs(1, 3)), draw(pairs(1, 2)), draw(pairs(0, 2)), draw(pairs(1, 3))
    size = [max(1, d * (k - 1) + 1 - 2 * p) + draw(st.integers(0, 4))
            for k, d, p in zip(kernel, dilation, padding, strict=True)]
    batch = draw(st.sampled_from([(), (0,), (1,), (3,)]))
    return {"batch": batch, "channels": draw(st.integers(1, 3)), "size": tuple(size),
            "arguments": (kernel, dilation, padding, stride)}


@given(windows())
@example({"batch": (2,), "channels": 2, "size": (5, 4), "arguments": (2, 1, 0, 1)})
def test_unfold(case):
    x = normal((*case["batch"], case["channels"], *case["size"]))
    check_op(*in_both(lambda f, x: f.unfold(x, *case["arguments"])), x)


@given(windows())
def test_fold(case):
    columns = TF.unfold(torch.zeros(*case["batch"], case["channels"], *case["size"]), *case["arguments"]).shape
    check_op(*in_both(lambda f, c: f.fold(c, case["size"], *case["arguments"])), normal(columns))


def test_a_convolution_is_a_matrix_product_of_columns():
    def by_columns(x, w):
        return (w.reshape(4, 18) @ F.unfold(x, (3, 3), padding=1)).reshape(2, 4, 5, 6)

    check_op(by_columns, lambda x, w: TF.conv2d(x, w, padding=1), normal((2, 2, 5, 6)), normal((4, 2, 3, 3), 1))


@pytest.mark.parametrize("x, arguments, match", [
    ((1, 2, 3, 3), (4,), "large enough for a window"), ((1, 0, 4, 4), (2,), "C, H, W > 0"),
    ((1, 2, 0, 4), (2, 1, 1), "C, H, W > 0"),
    ((4, 4), (2,), r"x must be \(N, C, H, W\)"), ((1, 2, 4, 4), (0,), "kernel_size = 0 must be"),
    ((1, 2, 4, 4), (2, 0), "dilation = 0 must be"), ((1, 2, 4, 4), (2, 1, -1), "padding = -1 must be"),
    ((1, 2, 4, 4), (2, 1, 0, 0), "stride = 0 must be"), ((1, 2, 4, 4), ((1, 2, 3),), "kernel_size = .* must be"),
])
def test_unfold_refuses(x, arguments, match):
    check_raises(lambda: F.unfold(mc.ones(*x), *arguments), lambda: TF.unfold(torch.ones(x), *arguments), match)


@pytest.mark.parametrize("columns, arguments, match", [
    ((1, 8, 8), ((4, 4), 2), r"input of shape \(1, 8, 8\) must be \(N, C·2·2, 3·3\)"),
    ((1, 7, 9), ((4, 4), 2), r"input of shape \(1, 7, 9\) must be \(N, C·2·2, 3·3\)"),
    ((1, 0, 9), ((4, 4), 2), "must be"), ((9,), ((4, 4), 2), "must be"), ((1, 1, 8, 9), ((4, 4), 2), "must be"),
    ((1, 4, 0), ((1, 3), 2), "no window fits"), ((1, 9, 1), ((1, 1), 3), "no window fits"),
    ((1, 8, 9), (0, 2), "output_size = 0 must be"), ((1, 8, 9), ((4, 4), 2, 1, -1), "padding = -1 must be"),
])
def test_fold_refuses(columns, arguments, match):
    check_raises(lambda: F.fold(mc.ones(*columns), *arguments), lambda: TF.fold(torch.ones(columns), *arguments), match)
