"""What the table of operators does not say of pooling: ties and NaN, memory, digits, messages, chance."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import minicnn as mc
import minicnn.functional as F
from operators.pooling import regular
from util import assert_close, check_op, distinct, in_both, normal, rng_of

TF = torch.nn.functional
NAN, INF = float("nan"), float("inf")


# -- max and mean ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("values", [[0.0, 1.0, 2.0], [NAN, INF, -INF, -INF, 0.0, 1.0, 2.0, -1.0]], ids=["ties", "NaN"])
def test_ties_take_the_first_and_nan_wins_as_in_pytorch(values, axes):
    @settings(max_examples=20)
    @given(regular(axes, 3, dilated=True), st.integers(0, 1000))
    def drawn(case, seed):
        x, kernel = case.arguments
        options = {**case.options, "return_indices": True}
        check_op(*in_both(lambda f, x: getattr(f, f"max_pool{axes}d")(x, kernel, **options)),
                 rng_of(seed).choice(values, x.shape))

    drawn()


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_adaptive_max_pooling_of_nan_and_ties(axes):
    values = rng_of(3).choice([NAN, INF, -INF, 0.0, 1.0], (2, 3, 7, 6, 5)[:axes + 2])
    check_op(*in_both(lambda f, x: getattr(f, f"adaptive_max_pool{axes}d")(x, (3, 4, 2)[:axes], True)), values)


def test_places_of_padded_windows_count_in_the_image():
    x = mc.tensor(np.arange(12.0).reshape(1, 3, 4))
    y, index = F.max_pool2d(x, 3, 2, 1, return_indices=True)
    assert index.dtype == mc.int64 and not index.requires_grad
    assert_close(y, x.numpy().reshape(-1)[index.numpy()], 0)


@pytest.mark.parametrize("axes", [2, 3])
def test_max_pooling_of_integers(axes):
    x = normal((2, 3, 6, 5, 4)[:axes + 2]) * 10
    check_op(*in_both(lambda f, x: getattr(f, f"max_pool{axes}d")(x, 2, padding=1)), x.astype(np.int64))


@pytest.mark.parametrize("size", [0, (0, 2), (3, 0)])
@pytest.mark.parametrize("name", ["adaptive_avg_pool2d", "adaptive_max_pool2d"])
def test_adaptive_pooling_to_nothing(name, size):
    leaf = mc.tensor(normal((2, 3, 4, 6)), requires_grad=True)  # PyTorch has no gradient here
    getattr(F, name)(leaf, size).sum().backward()
    assert_close(leaf.grad, np.zeros(leaf.shape), 0)


@pytest.mark.parametrize("name, arguments", [("max_pool2d", (2, 1)), ("avg_pool2d", (3, 2, 1)), ("lp_pool2d", (2, 2)),
                                             ("adaptive_avg_pool2d", (3,)), ("adaptive_max_pool2d", (2,))])
def test_memory_in_any_order(name, arguments):
    def program(functions, x):
        return getattr(functions, name)(x.permute(3, 2, 0, 1), *arguments).permute(2, 0, 3, 1)

    check_op(*in_both(program), distinct((6, 5, 2, 3)))
    check_op(*in_both(lambda f, x: program(f, x).sum((0, 2))), distinct((6, 5, 2, 3)))  # gy with strides 0


@pytest.mark.parametrize("name", ["max_pool3d", "avg_pool3d"])
def test_memory_of_volumes_in_any_order(name):
    check_op(*in_both(lambda f, x: getattr(f, name)(x.permute(3, 2, 4, 0, 1), 2, 1).sum((0, 3))),
             distinct((4, 5, 2, 3, 4)))


def test_averages_add_up_in_enough_digits():
    """60,000 times 0.1 in float32 is off by 1e-4 if added one after the other; float16 overflows."""
    x = np.full((1, 1, 300, 200), 0.1, np.float32)
    for y in (F.adaptive_avg_pool2d(mc.tensor(x), 1), F.avg_pool2d(mc.tensor(x), (300, 200)),
              F.adaptive_avg_pool3d(mc.tensor(x.reshape(1, 1, 30, 50, 40)), 1)):
        assert abs(y.item() - np.float32(0.1)) < 1e-6
    half = mc.full((1, 1, 3, 200, 150), 3.0, dtype=mc.float16)
    for y in (F.avg_pool3d(half, (3, 200, 150)), F.adaptive_avg_pool3d(half, 1),
              F.adaptive_avg_pool2d(half.reshape(1, 1, 600, 150), 1)):
        assert y.dtype == mc.float16 and y.item() == 3.0


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_reference_kernels(kind, axes):
    @settings(max_examples=5)
    @given(regular(axes, 2, dilated=kind == "max"))
    def drawn(case):
        x, kernel = case.arguments
        with mc.use_kernels("reference"):
            check_op(*in_both(lambda f, x: getattr(f, f"{kind}_pool{axes}d")(x, kernel, **case.options)), np.round(x))

    drawn()


@pytest.mark.parametrize("call, match", [
    (lambda: F.max_pool2d(mc.ones(1, 2, 3, 3), 4), r"max_pool2d: a window of 4 \(dilation 1\) does not fit into 3"),
    (lambda: F.avg_pool3d(mc.ones(1, 2, 4, 4, 4), 5, 1, 1),
     r"avg_pool3d: a window of \(5, 5, 5\) is larger than the volume \(4, 4, 4\), padding not counted"),
    (lambda: F.avg_pool1d(mc.ones(1, 2, 3), 4), r"avg_pool1d: a window of 4 \(dilation 1\) does not fit into 3 with"),
    (lambda: F.avg_pool2d(mc.ones(1, 2, 4, 4), (1, 2, 3)), r"avg_pool2d: kernel_size = \(1, 2, 3\) must be .* or 2 of"),
    (lambda: F.max_pool3d(mc.ones(1, 2, 4, 4, 4), 2, padding=2),
     r"max_pool3d: padding \(2, 2, 2\) is larger than half of kernel \(2, 2, 2\)"),
    (lambda: F.max_pool2d(mc.ones(4, 4), 2), r"max_pool2d: x must be \(N, C, H, W\) or \(C, H, W\) with C, H, W > 0"),
    (lambda: F.adaptive_avg_pool1d(mc.ones(4), 2), r"adaptive_avg_pool1d: x must be \(N, C, L\) or \(C, L\)"),
    (lambda: F.lp_pool3d(mc.ones(4, 4), 2, 2), r"lp_pool3d: x must be \(N, C, D, H, W\) or"),
    (lambda: F.lp_pool2d(mc.ones(1, 4, 4), 0, 2), "lp_pool2d: norm_type must not be 0"),
    (lambda: F.avg_pool2d(mc.ones(1, 1, 4, 4), 2, divisor_override=0), "divisor_override = 0 must be an integer other"),
    (lambda: F.adaptive_avg_pool2d(mc.ones(1, 1, 4, 4), (2,)), r"output_size = \(2,\) must be an integer or 2 of them"),
    (lambda: F.adaptive_max_pool2d(mc.ones(1, 1, 4, 4), -1), "output_size = -1 must be an integer of at least 0"),
    (lambda: F.max_pool2d(mc.ones(1, 1, 4, 4).bool(), 2), "max_pool2d: bool tensors are not supported"),
])
def test_messages(call, match):
    with pytest.raises((RuntimeError, ValueError), match=match):
        call()


@pytest.mark.parametrize("n, k, s, d", [(1, 2, 2, 3), (2, 2, 2, 4), (2, 3, 5, 3)])
def test_a_window_that_steps_over_the_image_is_refused(n, k, s, d):
    """PyTorch returns −inf and a place outside the image, to which its backward writes."""
    assert torch.isinf(TF.max_pool2d(torch.ones(1, 1, n, n), k, s, 1, d, ceil_mode=True)).all()
    with pytest.raises(RuntimeError, match="max_pool2d: a window of .* steps over the whole image"):
        F.max_pool2d(mc.ones(1, 1, n, n), k, s, 1, d, ceil_mode=True)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_of_values_for_one_place_the_last_stays(axes):
    """In PyTorch that of the thread that comes last."""
    x = normal((1, 1, *[2] * axes))
    y = getattr(F, f"max_unpool{axes}d")(mc.tensor(x), mc.zeros(x.shape, dtype=mc.int64), 2).numpy()
    assert y.flat[0] == x.flat[-1] and not y.flat[1:].any()


# -- the way back ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("axes", [1, 2, 3])
def test_unpooling_undoes_pooling_but_for_the_zeros(axes):
    x = mc.tensor(distinct((2, 3, 7, 6, 5)[:axes + 2]))
    y, index = getattr(F, f"max_pool{axes}d")(x, 2, return_indices=True)
    back = getattr(F, f"max_unpool{axes}d")(y, index, 2, output_size=x.shape)
    kept = back.numpy() != 0
    assert kept.sum() == y.numel()
    np.testing.assert_array_equal(back.numpy()[kept], x.numpy()[kept])


@pytest.mark.parametrize("call, match", [
    (lambda x, i: F.max_unpool2d(x, i + 15, 2), r"indices must be 0 to 15 for an output of \(4, 4\), not 15 to 18"),
    (lambda x, i: F.max_unpool2d(x, i.int(), 2), r"indices must be int64 of x's shape \(1, 1, 2, 2\), not int32"),
    (lambda x, i: F.max_unpool2d(x, i, 2, output_size=(6, 4)),
     r"output_size \(6, 4\) must be 2 lengths, .* each less than the stride \(2, 2\) away from \(4, 4\)"),
    (lambda x, i: F.max_unpool2d(x[0, 0], i[0, 0], 2), r"x must be \(N, C, H, W\) or \(C, H, W\)"),
])
def test_messages_of_unpooling(call, match):
    with pytest.raises((RuntimeError, ValueError), match=f"max_unpool2d: {match}"):
        call(mc.ones(1, 1, 2, 2), mc.arange(4).reshape(1, 1, 2, 2))


# -- by chance ------------------------------------------------------------------------------------------------------

def test_fractional_windows_cover_the_image_in_steps_of_two_kinds():
    """On x = its own place, maxima are ends of windows: they step by ⌊α⌋ or ⌈α⌉ and reach the last element."""
    x = mc.arange(40.0 * 25).reshape(1, 1, 40, 25).expand(8, 3, 40, 25)
    y = F.fractional_max_pool2d(x, 2, (24, 17)).numpy()
    rows, columns = y[..., 0] // 25, y[:, :, 0] % 25
    assert set(np.unique(np.diff(rows))) == {1, 2} and (rows[..., -1] == 39).all()
    assert set(np.unique(np.diff(columns))) == {1, 2} and (columns[..., -1] == 24).all()
    assert len({tuple(r) for r in rows.reshape(24, 24)}) > 12, "each plane has its own windows"


def test_fractional_pooling_repeats_with_the_seed():
    outputs = []
    for seed in (3, 3, 4):
        mc.manual_seed(seed)
        outputs.append(F.fractional_max_pool3d(mc.tensor(distinct((2, 3, 9, 8, 7))), 2, output_ratio=0.5).numpy())
    assert outputs[0].shape == (2, 3, 4, 4, 3)
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert (outputs[0] != outputs[2]).any()


@pytest.mark.parametrize("call, match", [
    (lambda x: F.fractional_max_pool2d(x, 2), r"give output_size, or output_ratio .* \(not None\)"),
    (lambda x: F.fractional_max_pool2d(x, 2, 5), r"output_size \(5, 5\) plus kernel \(2, 2\) less one is larger"),
    (lambda x: F.fractional_max_pool2d(x, 2, 2, _random_samples=mc.ones(1, 2, 3)),
     r"_random_samples must be float32 of shape \(1, 2, 2\), not float32 \(1, 2, 3\)"),
])
def test_messages_of_fractional_pooling(call, match):
    with pytest.raises((RuntimeError, ValueError), match=f"fractional_max_pool2d: {match}"):
        call(mc.ones(1, 2, 5, 5))


POSITIVE = [[0.0, 1.0, 0.0], [3.0, 4.0, 2.0]]  # Σ = 10


def test_stochastic_pooling_draws_in_proportion():
    """Zeiler & Fergus 2013, equations 5 and 6: P(i) = a[i] / Σ a."""
    x = mc.tensor(POSITIVE).expand(200, 100, 2, 3)
    y, counts = np.unique(F.stochastic_pool2d(x, (2, 3)).numpy(), return_counts=True)
    np.testing.assert_array_equal(y, [1, 2, 3, 4])
    np.testing.assert_allclose(counts / 20_000, [0.1, 0.2, 0.3, 0.4], atol=4 * np.sqrt(0.25 / 20_000))


def test_stochastic_pooling_weighs_when_testing():
    """Σ p[i]·a[i] = (1 + 9 + 16 + 4) / 10, and its gradient (2a[i] − y) / Σ a."""
    x = mc.tensor([POSITIVE], requires_grad=True)
    y = F.stochastic_pool2d(x, (2, 3), training=False)
    y.sum().backward()
    assert y.tolist() == [[[3.0]]]
    np.testing.assert_allclose(x.grad.numpy(), (2 * x.detach().numpy() - 3) / 10, rtol=1e-6)
    assert mc.autograd.gradgradcheck(lambda x: F.stochastic_pool2d(x, 2, 1, 1, training=False),
                                     mc.tensor(distinct((1, 2, 3, 4)) + 5, requires_grad=True))


@settings(max_examples=20)
@given(st.tuples(st.integers(1, 3), st.integers(1, 3)), st.tuples(st.integers(1, 3), st.integers(1, 3)),
       st.booleans(), st.sampled_from([(), (0,), (1,), (3,)]), st.integers(0, 1000))
def test_stochastic_pooling_draws_from_its_window(kernel, stride, padded, batch, seed):
    """With all elements different and most of them 0: where each was taken from, and where the gradient goes."""
    mc.manual_seed(seed)
    padding = (kernel[0] // 2, kernel[1] // 2) if padded else (0, 0)
    values = np.maximum(distinct((*batch, 2, 5, 6), seed, 1.0), 0)
    x = mc.tensor(values, requires_grad=True)
    y = F.stochastic_pool2d(x, kernel, stride, padding)
    plain = TF.avg_pool2d(torch.from_numpy(values), kernel, stride, padding)
    assert y.shape == plain.shape
    assert ((y.detach().numpy() > 0) == (plain.numpy() > 0)).all(), "0 is drawn only where all is 0"
    columns = TF.unfold(torch.from_numpy(values).reshape(int(np.prod(batch)), 2, 5, 6), kernel, 1, padding, stride)
    windows = columns.unflatten(1, (2, -1)).numpy()  # (N, 2, KH·KW, OH·OW)
    assert (windows == y.detach().numpy().reshape(*windows.shape[:2], 1, windows.shape[3])).any(2).all()
    y.sum().backward()
    drawn = x.grad.numpy() > 0
    assert set(values[drawn]) - {0} == set(y.detach().numpy().ravel()) - {0}
    assert x.grad.sum().item() == y.numel()


def test_stochastic_pooling_of_what_is_not_a_number():
    x = mc.tensor([[[1.0, NAN], [2.0, 3.0]]])
    for training in (True, False):
        assert np.isnan(F.stochastic_pool2d(x, 2, training=training).item())
    assert F.stochastic_pool2d(mc.tensor([[[1.0, INF], [2.0, 3.0]]]), 2).item() == INF
    for training in (True, False):
        assert F.stochastic_pool2d(mc.zeros(1, 2, 2), 2, training=training).item() == 0


def test_stochastic_pooling_of_float16():
    """Squares and sums run over 65504, the largest float16."""
    x = mc.full((1, 8, 8), 1000.0, dtype=mc.float16)
    for training in (True, False):
        y = F.stochastic_pool2d(x, 8, training=training)
        assert y.dtype == mc.float16 and y.item() == 1000


@pytest.mark.parametrize("call, match", [
    (lambda: F.stochastic_pool2d(mc.tensor([[[1.0, -2.0]]]), 1), r"negative elements \(down to -2.0\), which have no"),
    (lambda: F.stochastic_pool2d(mc.ones(1, 2, 2).long(), 1), "x is int64"),
    (lambda: F.stochastic_pool2d(mc.ones(2, 2), 1), r"x must be \(N, C, H, W\)"),
    (lambda: F.stochastic_pool2d(mc.ones(1, 2, 2), 2, padding=2), "larger than half"),
    (lambda: F.stochastic_pool2d(mc.ones(1, 2, 2), 3), "does not fit"),
    (lambda: F.stochastic_pool2d(mc.ones(1, 2, 2), 3, training=False), "does not fit"),
])
def test_messages_of_stochastic_pooling(call, match):
    with pytest.raises(RuntimeError, match=f"stochastic_pool2d: .*{match}"):
        call()
