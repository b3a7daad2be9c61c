"""Padding, interpolation, grids, embeddings, distances, attention: what the table of operators does not say."""

import math

import numpy as np
import pytest
import torch
from util import FIRST, assert_close, check_op, normal

import minicnn as mc
import minicnn.functional as F

NAN, INF = math.nan, math.inf


def leaf(*shape: int, seed: int = 0) -> mc.Tensor:
    return mc.tensor(normal(shape, seed), requires_grad=True)


# -- padding --------------------------------------------------------------------------------------------------------

def test_circular_padding_goes_round_in_what_cropping_leaves():
    x = mc.tensor([[1.0, 2.0, 3.0]])
    assert F.pad(x, (-1, 2), "circular").tolist() == [[2, 3, 2, 3]]
    with pytest.raises(RuntimeError, match="repeated once at most"):  # PyTorch copies between overlapping memory
        F.pad(x, (-1, 3), "circular")


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_padding_of_special_values_and_narrow_types(mode):
    x = np.array([[NAN, 1.0, -INF, 2.0]])
    assert_close(F.pad(mc.tensor(x), (2, 1), mode), torch.nn.functional.pad(torch.tensor(x), (2, 1), mode), 0)
    for dtype in ("float16", "bfloat16"):
        y = F.pad(mc.tensor(np.arange(6.0).reshape(2, 3)).to(dtype), (1, 2), mode)
        assert str(y.dtype) == dtype
        assert_close(y.double(), torch.nn.functional.pad(torch.arange(6.0).reshape(2, 3), (1, 2), mode).double(), 0)


# -- interpolation --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("mode, align_corners", [("bilinear", False), ("bilinear", True), ("bicubic", False),
                                                 ("bicubic", True), ("lanczos", False)])
def test_antialiasing_to_one_column(mode, align_corners):
    """PyTorch repeats the first row there; done the other way round it does not."""
    x, options = normal((2, 3, 7, 4)), dict(mode=mode, antialias=True, align_corners=align_corners)
    tall = torch.nn.functional.interpolate(torch.tensor(x), (3, 4), **options)
    assert_close(F.interpolate(mc.tensor(x), (3, 1), **options),
                 torch.nn.functional.interpolate(tall.mT.contiguous(), (1, 3), **options).mT, FIRST)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "area", "linear"])
def test_interpolation_of_special_values(mode):
    x = np.array([[[1.0, NAN, 3.0, 4.0, INF, 5.0, 6.0, -INF, 7.0]]])
    for size in (4, 18):
        assert_close(F.interpolate(mc.tensor(x), size, mode=mode),
                     torch.nn.functional.interpolate(torch.tensor(x), size, mode=mode), FIRST)


def test_the_gradient_of_nearest_neighbours_is_that_of_its_output():
    """PyTorch's is another one where the lengths are equal but the factor is not 1."""
    x = leaf(1, 1, 6)
    y = F.interpolate(x, scale_factor=1.05)
    np.testing.assert_array_equal(y.detach().numpy()[0, 0], x.detach().numpy()[0, 0, [0, 0, 1, 2, 3, 4]])
    y.sum().backward()
    assert x.grad.tolist() == [[[2, 1, 1, 1, 1, 0]]]


@pytest.mark.parametrize("mode", ["nearest", "area", "bilinear", "bicubic"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_interpolation_of_narrow_types(mode, dtype):
    x = normal((2, 3, 40, 30)).astype("float32")
    expected = torch.nn.functional.interpolate(torch.tensor(x).to(getattr(torch, dtype)), (23, 51), mode=mode)
    y = F.interpolate(mc.tensor(x).to(dtype), (23, 51), mode=mode)
    assert str(y.dtype) == dtype
    assert_close(y.float(), expected.float(), {"float16": 2e-3, "bfloat16": 2e-2}[dtype])


@pytest.mark.parametrize("mode, antialias", [("bilinear", False), ("bilinear", True), ("bicubic", True),
                                             ("lanczos", True)])
def test_what_keeps_its_size_under_a_factor_is_a_copy(mode, antialias):
    x, options = normal((1, 2, 6, 5)), dict(scale_factor=(1.05, 1.1), mode=mode, antialias=antialias)
    y = F.interpolate(mc.tensor(x), **options)
    assert_close(y, torch.nn.functional.interpolate(torch.tensor(x), **options), 0)
    np.testing.assert_array_equal(y.numpy(), x)


def test_interpolation_to_the_same_size_is_a_copy():
    x = leaf(1, 2, 3, 4)
    y = F.interpolate(x, (3, 4), mode="bilinear")
    assert y is not x and not np.shares_memory(y.data, x.data)
    np.testing.assert_array_equal(y.detach().numpy(), x.detach().numpy())


# -- grids ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align_corners", [False, True])
def test_second_derivatives_of_sampling(mode, padding_mode, align_corners):
    x, grid = leaf(1, 2, 3, 4), leaf(1, 2, 3, 2, seed=1)
    assert mc.autograd.gradgradcheck(lambda x, grid: F.grid_sample(x, grid, mode, padding_mode, align_corners),
                                     (x, grid))


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_sampling_at_special_places(mode, padding_mode):
    x = np.arange(1.0, 13.0).reshape(1, 1, 3, 4)
    grid = np.array([[NAN, 0], [0, NAN], [INF, 0], [-INF, 0], [0, INF], [1e20, 0], [-1e20, 0.2], [1e9, -1e9]])
    grid = grid.reshape(1, 2, 4, 2)
    assert_close(F.grid_sample(mc.tensor(x), mc.tensor(grid), mode, padding_mode, False),
                 torch.nn.functional.grid_sample(torch.tensor(x), torch.tensor(grid), mode, padding_mode, False), FIRST)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align_corners", [False, True])
def test_sampling_volumes_at_special_places(mode, padding_mode, align_corners):
    """PyTorch has code of its own for volumes."""
    x = np.arange(1.0, 25.0).reshape(1, 1, 2, 3, 4)
    special = np.concatenate([np.where(np.eye(3) > 0, value, 0.1) for value in (NAN, INF, -INF)])
    for grid in (special.reshape(1, 3, 3, 1, 3), np.full((1, 1, 1, 1, 3), NAN)):
        y = F.grid_sample(mc.tensor(x), mc.tensor(grid), mode, padding_mode, align_corners)
        assert_close(y, torch.nn.functional.grid_sample(torch.tensor(x), torch.tensor(grid), mode, padding_mode,
                                                        align_corners), FIRST)


@pytest.mark.parametrize("padding_mode", ["border", "reflection"])
@pytest.mark.parametrize("align_corners", [False, True])
def test_there_is_no_gradient_at_the_border(padding_mode, align_corners):
    places = np.array([[-1, -1], [1, 1], [-1, 0.25], [0.25, 1], [-0.75, 0.75], [3, -3]]).reshape(1, 2, 3, 2)
    check_op(lambda x, grid: F.grid_sample(x, grid, "bilinear", padding_mode, align_corners),
             lambda x, grid: torch.nn.functional.grid_sample(x, grid, "bilinear", padding_mode, align_corners),
             normal((1, 2, 3, 4)), places, second=False)


@pytest.mark.parametrize("place", [0.3, 2.0, NAN])
def test_the_nearest_element_stays_the_same_when_the_place_moves(place):
    """The gradient of the grid is 0, not missing, and finite whatever the place."""
    gradients = []
    for lib in (mc, torch):
        x = lib.tensor(normal((1, 2, 3, 4)), requires_grad=True)
        grid = lib.tensor(np.full((1, 2, 2, 2), place), requires_grad=True)
        y = lib.nn.functional.grid_sample(x, grid, "nearest", align_corners=False)
        y.backward(lib.tensor(normal((1, 2, 2, 2), 1)))
        gradients.append((x.grad.numpy(), grid.grad.numpy()))
    for ours, theirs in zip(*gradients, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_nearest_of_two_is_the_even_one():
    x = np.arange(5.0).reshape(1, 1, 1, 5)
    places = np.array([[(i + 0.5) / 2 - 1, 0] for i in range(4)]).reshape(1, 1, 4, 2)
    y = F.grid_sample(mc.tensor(x), mc.tensor(places), "nearest", align_corners=True)
    assert y.tolist() == [[[[0, 2, 2, 4]]]]
    assert_close(y, torch.nn.functional.grid_sample(torch.tensor(x), torch.tensor(places), "nearest",
                                                    align_corners=True), 0)


def test_sampling_on_the_grid_of_no_change_gives_the_image_back():
    x = normal((2, 3, 4, 5))
    theta = mc.tensor(np.tile(np.eye(2, 3), (2, 1, 1)))
    for align_corners in (False, True):
        y = F.grid_sample(mc.tensor(x), F.affine_grid(theta, x.shape, align_corners), align_corners=align_corners)
        np.testing.assert_allclose(y.numpy(), x, atol=1e-14)


# -- embeddings -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("max_norm, norm_type", [(1.0, 2.0), (0.5, 1.0), (0.0, 2.0), (1.0, INF), (1.0, 0.0)])
def test_rows_are_shortened_in_place(max_norm, norm_type):
    table, index = normal((6, 3)), np.array([[1, 4], [4, 0]])
    ours, theirs = mc.tensor(table, requires_grad=True), torch.tensor(table, requires_grad=True)
    version = ours._version
    y = F.embedding(mc.tensor(index), ours, max_norm=max_norm, norm_type=norm_type)
    assert_close(y, torch.nn.functional.embedding(torch.tensor(index), theirs, None, max_norm, norm_type), FIRST)
    assert_close(ours, theirs, FIRST)
    assert ours._version > version and y.requires_grad


def test_second_derivatives_of_embeddings_scaled_by_frequency():
    index = mc.tensor([1, 0, 1, 1])
    assert mc.autograd.gradgradcheck(lambda w: F.embedding(index, w, scale_grad_by_freq=True), (leaf(3, 2),))


@pytest.mark.parametrize("options, match", [
    (dict(sparse=True), "sparse = True is not available"),
    (dict(padding_idx=3), "padding_idx = 3 is none of the 3 rows"),
    (dict(padding_idx=-4), "padding_idx = -4"),
])
def test_options_of_embeddings_that_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        F.embedding(mc.tensor([0]), mc.zeros(3, 2), **options)


def test_empty_shuffles_and_embeddings():
    assert F.pixel_unshuffle(mc.zeros(0, 2, 4, 6), 2).shape == (0, 8, 2, 3)
    assert F.pixel_shuffle(mc.zeros(0, 8, 2, 3), 2).shape == (0, 2, 4, 6)
    w = leaf(3, 2)
    F.embedding(mc.zeros(0, 4, dtype="int64"), w, scale_grad_by_freq=True).sum().backward()
    assert w.grad.shape == (3, 2) and not w.grad.numpy().any()


# -- attention ------------------------------------------------------------------------------------------------------

def test_attention_drops_weights_and_keeps_their_mean():
    query, value = mc.zeros(300, 8), mc.ones(40, 1)
    y = F.scaled_dot_product_attention(query, mc.zeros(40, 8), value, dropout_p=0.25).numpy()
    assert len(np.unique(y.round(5))) > 5 and abs(y.mean() - 1) < 0.02  # multiples of 1/(40·0.75)
    assert not F.scaled_dot_product_attention(query, mc.zeros(40, 8), value, dropout_p=1.0).numpy().any()


def test_second_derivatives_of_masked_attention():
    mask = mc.tensor([[True, False, True], [False, False, False]])
    assert mc.autograd.gradgradcheck(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask),
                                     (leaf(2, 4), leaf(3, 4, seed=1), leaf(3, 2, seed=2)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_attention_of_half_precision_has_scores_in_float32(dtype):
    arrays = [100 * normal((2, n, 40), n) for n in (3, 5, 6)]
    arrays = [arrays[0], arrays[1], arrays[2][:, :5]]
    for mask in (None, np.zeros((3, 5))):
        y = F.scaled_dot_product_attention(*[mc.tensor(a).to(dtype) for a in arrays],
                                           None if mask is None else mc.tensor(mask).to(dtype))
        narrow = [torch.tensor(a).to(getattr(torch, dtype)) for a in arrays]
        exact = torch.nn.functional.scaled_dot_product_attention(*[a.double() for a in narrow])
        assert str(y.dtype) == dtype
        assert_close(y.double(), exact, 2.0 ** -8)


def test_attention_with_nan_in_its_mask():
    x, mask = normal((3, 4)), np.array([[0.0, NAN, 0.0], [0.0, 0.0, 0.0], [-INF] * 3])
    assert_close(F.scaled_dot_product_attention(*[mc.tensor(x)] * 3, mc.tensor(mask)),
                 torch.nn.functional.scaled_dot_product_attention(*[torch.tensor(x)] * 3, torch.tensor(mask)), FIRST)
