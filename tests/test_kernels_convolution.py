"""Convolution kernels: every back end against PyTorch, every way of cutting the work against the reference."""

import inspect
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from unittest.mock import patch

import numba
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minicnn.kernels import contract
from minicnn.kernels.reference import convolution as reference
from minicnn.kernels.contract import Geometry
from minicnn.kernels.cpu import convolution as cpu
from minicnn.kernels.cpu import depthwise, image_lanes, image_sums, plans, winograd
from minicnn.kernels.cpu.microkernel import ROWS
from minicnn.kernels.cpu.plans import correlation
from minicnn.kernels.cpu.weight_plans import weight_sums
from minicnn.kernels.formulations import FORMULATIONS

OPERATIONS = "conv2d", "conv2d_input_grad", "conv2d_weight_grad", "im2col", "col2im"
TOLERANCE = {np.float64: 1e-10, np.float32: 1e-4}  # of the largest element


def close(result, expected, tolerance):
    assert result.shape == expected.shape
    assert np.isfinite(result).all()
    if expected.size:
        assert np.abs(result - expected).max() <= tolerance * max(0.1, np.abs(expected).max())


@st.composite
def geometries(draw, kernel, largest=4):
    pair = st.tuples(st.integers(1, 3), st.integers(1, largest))
    pads = st.tuples(st.integers(0, 4), st.integers(0, 4))
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    return Geometry(draw(pair), (draw(pads), draw(pads)), draw(pair), groups)


@st.composite
def cases(draw, largest=24, channels=8, images=(0, 1, 1, 2, 3, 19)):
    """x, w, b, gy and the geometry of a convolution; the last row or column of x may be under no window at all."""
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 4)))
    geometry = draw(geometries(kernel))
    per_group = draw(st.sampled_from([(1, 1), None, None, None]))  # depthwise, or anything
    c, o = per_group or (draw(st.integers(1, channels)), draw(st.integers(1, 3 * channels)))
    size = []
    for axis in (0, 1):
        least = geometry.dilation[axis] * (kernel[axis] - 1) + 1 - sum(geometry.padding[axis])
        size.append(max(1, least) + draw(st.integers(0, largest)))
    groups, n = geometry.groups, draw(st.sampled_from(images))
    return arrays(n, c * groups, size, o * groups, kernel, geometry, draw(st.integers(0, 99)))


def arrays(n, c, size, o, kernel, geometry, seed=0):
    rng = np.random.default_rng(seed)
    x, w, b = (rng.standard_normal(shape) for shape in ((n, c, *size), (o, c // geometry.groups, *kernel), (o,)))
    return x, w, b, rng.standard_normal((n, o, *geometry.output_size(size, kernel))), geometry


def by_pytorch(x, w, b, gy, geometry):
    (top, bottom), (left, right) = geometry.padding
    x, w, b = (torch.from_numpy(a).requires_grad_() for a in (x, w, b))
    padded = torch.nn.functional.pad(x, (left, right, top, bottom))
    y = torch.nn.functional.conv2d(padded, w, b, geometry.stride, 0, geometry.dilation, geometry.groups)
    return [y.detach().numpy(), *(g.numpy() for g in torch.autograd.grad(y, (x, w), torch.from_numpy(gy)))]


def by(kernels, x, w, b, gy, geometry):
    y = kernels.conv2d(x, w, b, geometry)
    if kernels not in FORMULATIONS.values():
        np.testing.assert_array_equal(kernels.conv2d(x, w, b, geometry, rectify=True), np.maximum(y, 0))
    return [y, kernels.conv2d_input_grad(gy, w, x.shape, geometry),
            kernels.conv2d_weight_grad(x, gy, w.shape, geometry)]


@pytest.mark.parametrize("name", ["conv2d", "rectified", "conv2d_input_grad", "conv2d_weight_grad"])
@pytest.mark.parametrize("spoilt", [0, 1])
@given(cases(images=(1, 2, 17)), st.sampled_from([np.nan, np.inf, -np.inf]), st.sampled_from([np.float64, np.float32]))
@example(arrays(2, 8, (24, 24), 8, (3, 3), Geometry(padding=((1, 1), (1, 1)))), np.nan, np.float32)
@example(arrays(16, 8, (3, 3), 8, (5, 5), Geometry(padding=((2, 2), (2, 2)))), np.inf, np.float32)
@example(arrays(2, 3, (1, 5), 4, (2, 3), Geometry(padding=((1, 1), (3, 0)), dilation=(2, 1))), np.nan, np.float64)
@example(arrays(2, 4, (6, 19), 4, (3, 3), Geometry(padding=((1, 1), (1, 1)), groups=4)), np.nan, np.float64)
@example(arrays(1, 2, (2, 3), 2, (3, 3), Geometry(padding=((2, 0), (1, 2)), groups=2)), np.inf, np.float32)
@settings(max_examples=40)
def test_bad_numbers_reach_what_they_meet(name, spoilt, case, value, dtype):
    """Padding is zeros, of which they make NaN; beyond gy, and where gx is cut off, there is nothing."""
    x, w, _, gy, geometry = case
    operation, operands, *rest = {
        "conv2d": ("conv2d", (x, w), None, geometry), "rectified": ("conv2d", (x, w), None, geometry, True),
        "conv2d_input_grad": (name, (gy, w), x.shape, geometry),
        "conv2d_weight_grad": (name, (x, gy), w.shape, geometry)}[name]
    if spoilt == 0 and name != "conv2d_weight_grad":
        dtype = np.float64  # tiles, which only float32 is cut into, spread the bad numbers of images over their results
    operands[spoilt].reshape(-1)[gy.size % operands[spoilt].size] = value
    with np.errstate(invalid="ignore"):
        found = getattr(cpu, operation)(*[a.astype(dtype) for a in operands], *rest)
        expected = getattr(reference, operation)(*operands, *rest)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@settings(max_examples=20)
@given(case=cases(largest=9, images=(0, 1, 2, 5)))
@example(case=arrays(2, 40, (9, 7), 70, (3, 3), Geometry(padding=((1, 1), (1, 1)))))
def test_against_pytorch(kernels, dtype, case):
    *operands, geometry = case
    narrow = [a.astype(dtype) for a in operands]
    expected = by_pytorch(*(a.astype(np.float64) for a in narrow), geometry)
    for result, wanted in zip(by(kernels, *narrow, geometry), expected, strict=True):
        assert result.dtype == dtype
        close(result, wanted, TOLERANCE[dtype])


def test_pytorch_gradients_by_name():
    """torch.nn.grad names the same three operations."""
    x, w, b, gy, geometry = arrays(2, 4, (9, 7), 6, (3, 2), Geometry((2, 1), ((1, 1), (2, 2)), (1, 2), 2))
    options = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2}
    x_, w_, gy_ = map(torch.from_numpy, (x, w, gy))
    close(reference.conv2d_input_grad(gy, w, x.shape, geometry),
          torch.nn.grad.conv2d_input(x.shape, w_, gy_, **options).numpy(), 1e-10)
    close(reference.conv2d_weight_grad(x, gy, w.shape, geometry),
          torch.nn.grad.conv2d_weight(x_, w.shape, gy_, **options).numpy(), 1e-10)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@settings(max_examples=120)
@given(case=cases())
@example(case=arrays(1, 2, (5, 0), 2, (3, 3), Geometry(padding=((1, 1), (2, 2)), groups=2)))
@example(case=arrays(1, 2, (0, 5), 2, (3, 3), Geometry(padding=((2, 2), (1, 1)), groups=2)))
def test_cpu_against_reference(dtype, case):
    *operands, geometry = case
    narrow = [a.astype(dtype) for a in operands]
    expected = by(reference, *(a.astype(np.float64) for a in narrow), geometry)
    for result, wanted in zip(by(cpu, *narrow, geometry), expected, strict=True):
        assert result.dtype == dtype
        close(result, wanted, TOLERANCE[dtype])


LARGE = {  # each leads to another way of cutting the work
    "few channels, many images": (33, 1, (28, 28), 6, (5, 5), Geometry(padding=((2, 2), (2, 2)))),
    "outputs in the lanes": (5, 32, (14, 14), 40, (5, 5), Geometry(padding=((2, 2), (2, 2)))),
    "images swept as one row": (40, 40, (6, 6), 24, (1, 1), Geometry()),
    "many taps": (2, 70, (9, 11), 10, (3, 3), Geometry(padding=((1, 1), (1, 1)))),
    "blocks of rows": (2, 40, (70, 90), 16, (3, 3), Geometry(padding=((1, 1), (1, 1)))),
    "blocks of rows, strided": (1, 24, (150, 130), 20, (7, 7), Geometry((2, 3), ((3, 3), (3, 3)))),
    "depthwise": (3, 24, (20, 21), 24, (3, 3), Geometry(padding=((1, 1), (1, 1)), groups=24)),
    "depthwise, strided": (3, 24, (20, 21), 24, (3, 3), Geometry((2, 1), ((1, 1), (1, 1)), groups=24)),
    "groups of one output": (3, 18, (12, 13), 6, (3, 3), Geometry(padding=((1, 1), (1, 1)), groups=6)),
    "groups of one channel": (3, 6, (12, 13), 18, (3, 3), Geometry(padding=((1, 1), (1, 1)), groups=6)),
    "one output": (2, 9, (15, 15), 1, (3, 3), Geometry(padding=((1, 1), (1, 1)))),
    "large weights": (2, 300, (4, 4), 200, (3, 3), Geometry(padding=((1, 1), (1, 1)), dilation=(1, 1))),
    "phases of unequal width": (1, 64, (9, 2 * ROWS + 1), 64, (3, 3), Geometry((2, 2), ((1, 1), (1, 1)))),
    "stride over the kernel": (3, 5, (30, 31), 7, (2, 1), Geometry((5, 4))),
    "tiles, bands of one image": (2, 40, (70, 66), 33, (3, 3), Geometry(padding=((1, 1), (1, 1)))),
    "tiles, many images": (37, 24, (12, 16), 50, (3, 3), Geometry(padding=((1, 1), (0, 2)))),
    "tiles, parts of the outputs": (10, 140, (15, 15), 250, (3, 3), Geometry(padding=((1, 1), (1, 1)))),
    "slices of the channels": (18, 128, (7, 5), 40, (1, 1), Geometry()),
    "slices of the channels of groups": (18, 384, (5, 6), 100, (3, 1), Geometry((1, 2), ((1, 1), (0, 1)), groups=2)),
    "images gathered for many outputs": (20, 96, (3, 3), 290, (3, 3), Geometry(padding=((1, 1), (1, 1)))),
    "phases gathered for many outputs": (17, 130, (7, 6), 256, (3, 3), Geometry((2, 2), ((1, 1), (1, 1)))),
    "tiles of 2×2": (9, 32, (14, 15), 40, (5, 5), Geometry(padding=((2, 2), (2, 2)))),
}


@pytest.mark.parametrize("name", ["depthwise", "tiles of 2×2", "images gathered for many outputs", "many taps"])
def test_a_bias_of_another_type_is_read_as_what_it_is(name):
    x, w, b, _, geometry = arrays(*LARGE[name])
    x, w = x.astype(np.float32), w.astype(np.float32)
    close(cpu.conv2d(x, w, b, geometry), reference.conv2d(x, w, b, geometry), 1e-4)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", LARGE)
def test_cpu_cuts_work_without_a_seam(name, dtype):
    *operands, geometry = arrays(*LARGE[name])
    narrow = [a.astype(dtype) for a in operands]
    for result, wanted in zip(by(cpu, *narrow, geometry), by(reference, *operands, geometry), strict=True):
        close(result, wanted, TOLERANCE[dtype])


def test_sums_over_many_pixels_do_not_drift():
    x = np.full((16, 32, 80, 80), 0.1, np.float32)
    for way in (cpu.automatic, cpu.direct):
        for channels, groups in ((32, 1), (1, 32)):
            gw = way.conv2d_weight_grad(x, x, (32, channels, 1, 1), Geometry(groups=groups))
            np.testing.assert_allclose(gw, x[:, 0].size * float(x[0, 0, 0, 0]) ** 2, rtol=1e-5)
    x = x.reshape(1, 1, -1, 4)
    gw = depthwise.sum_weights(x, x, np.empty((1, 1, 1, 1), np.float32), Geometry())
    np.testing.assert_allclose(gw, x.size * float(x[0, 0, 0, 0]) ** 2, rtol=1e-4)


def test_work_is_cut_in_all_these_ways():
    def plan(make, name, *more):
        n, c, size, o, kernel, geometry = LARGE[name]
        out = (n, o, *geometry.output_size(size, kernel))
        return make((n, c, *size), out, (o, c // geometry.groups, *kernel), geometry, 16, *more).numbers

    for name in LARGE:
        if name.startswith("slices"):
            assert plan(weight_sums, name)["slices"] > 1, name
        if "gathered" in name:
            assert plan(correlation, name, False)["shared"], name
    few = "few channels, many images"
    assert plan(weight_sums, few).get("slices", 1) == 1 and not plan(correlation, few, False)["shared"]


@settings(max_examples=60)
@given(case=cases())
def test_bias_written_first(case):
    """As where the result is large: the bias is in its place before products are added to it."""
    *operands, geometry = case
    expected = by(reference, *operands, geometry)
    correlation.cache_clear()
    try:
        with patch.object(plans, "FAR", 0):
            results = by(cpu.direct, *operands, geometry)
    finally:
        correlation.cache_clear()
    for result, wanted in zip(results, expected, strict=True):
        close(result, wanted, 1e-10)


@st.composite
def tileable(draw):
    pads = st.tuples(st.integers(0, 4), st.integers(0, 4))
    geometry = Geometry(padding=(draw(pads), draw(pads)))
    kernel = draw(st.sampled_from([3, 5]))
    size = [max(1, kernel - sum(pad)) + draw(st.integers(0, 40)) for pad in geometry.padding]
    n, c, o = draw(st.sampled_from([0, 1, 2, 5])), draw(st.integers(1, 40)), draw(st.integers(1, 40))
    return arrays(n, c, size, o, (kernel, kernel), geometry, draw(st.integers(0, 99)))


@pytest.mark.skipif(not winograd.MASKS, reason="needs vectors with masks")
@given(case=tileable())
@example(case=arrays(1, 1, (1, 1), 1, (3, 3), Geometry(padding=((2, 2), (4, 0)))))
@example(case=arrays(3, 600, (9, 5), 20, (3, 3), Geometry(padding=((1, 1), (1, 1)))))  # sums taken in two steps
@example(case=arrays(3, 600, (5, 9), 20, (5, 5), Geometry(padding=((2, 2), (2, 2)))))
def test_tiles_against_reference(case):
    """Errors in float32 are below 2e-5 of the largest result, as the file says."""
    *operands, geometry = case
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 2e-5)):
        narrow = [a.astype(dtype) for a in operands]
        expected = by(reference, *(a.astype(np.float64) for a in narrow), geometry)
        for result, wanted in zip(by(cpu.tiled, *narrow, geometry), expected, strict=True):
            assert result.dtype == dtype
            close(result, wanted, tolerance)


@pytest.mark.skipif(not winograd.MASKS, reason="needs vectors with masks")
@pytest.mark.parametrize("channels", [64, 512])
def test_errors_of_tiles_do_not_grow_with_the_channels(channels):
    x, w, _, gy, geometry = arrays(2, channels, (20, 24), 32, (3, 3), Geometry(padding=((1, 1), (1, 1))))
    x, w, gy = (a.astype(np.float32) for a in (x, w, gy))
    wide = x.astype(np.float64), w.astype(np.float64), None, gy.astype(np.float64), geometry
    for result, expected in zip(by(cpu.tiled, x, w, None, gy, geometry), by(reference, *wide), strict=True):
        close(result, expected, 1.2e-5)


@st.composite
def small_maps(draw):
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    geometry = draw(geometries(kernel))._replace(groups=1)
    least = [max(1, d * (k - 1) + 1 - sum(pad)) for d, k, pad in zip(geometry.dilation, kernel, geometry.padding)]
    size = [length + draw(st.integers(0, 8)) for length in least]
    n, c, o = draw(st.sampled_from([0, 1, 15, 16, 17, 40])), draw(st.integers(1, 30)), draw(st.integers(1, 40))
    return arrays(n, c, size, o, kernel, geometry, draw(st.integers(0, 99)))


AROUND = Geometry(padding=((1, 1), (1, 1)))


@pytest.mark.skipif(not image_lanes.MASKS, reason="needs vectors with masks")
@given(case=small_maps())
@example(case=arrays(33, 6, (14, 14), 16, (5, 5), Geometry()))
@example(case=arrays(16, 3, (5, 9), 15, (3, 2), Geometry(padding=((2, 2), (1, 1)))))
@example(case=arrays(40, 70, (3, 4), 150, (3, 3), AROUND))  # outputs in parts, channels in slices
@example(case=arrays(16, 150, (2, 6), 31, (3, 3), AROUND._replace(stride=(1, 2))))  # tiles of several pixels
@example(case=arrays(16, 60, (5, 5), 150, (1, 1), Geometry((2, 2))))
@example(case=arrays(17, 2, (3, 3), 3, (1, 1), Geometry((1, 2), ((3, 3), (2, 0)))))  # results without a pixel
@example(case=arrays(600, 1, (7, 7), 20, (3, 3), AROUND))  # more images than one job takes
def test_images_in_the_lanes_against_reference(case):
    *operands, geometry = case
    for dtype in (np.float64, np.float32):
        narrow = [a.astype(dtype) for a in operands]
        expected = by(reference, *(a.astype(np.float64) for a in narrow), geometry)
        for result, wanted in zip(by(cpu.by_images, *narrow, geometry), expected, strict=True):
            assert result.dtype == dtype
            close(result, wanted, TOLERANCE[dtype])


@st.composite
def planes(draw):
    """Depthwise convolutions, of kernels of few sizes, as each is compiled."""
    kernel = draw(st.sampled_from([(3, 3), (1, 1), (7, 7), (7, 2), (1, 7)]))
    pads = [tuple(draw(st.integers(0, k - 1)) for _ in range(2)) for k in kernel]
    size = [max(1, k - sum(pad)) + draw(st.integers(0, 20)) for k, pad in zip(kernel, pads, strict=True)]
    n, c = draw(st.sampled_from([1, 2, 3, 17])), draw(st.integers(1, 30))
    return arrays(n, c, size, c, kernel, Geometry(padding=tuple(pads), groups=c), draw(st.integers(0, 99)))


@pytest.mark.skipif(not depthwise.MASKS, reason="needs vectors with masks")
@given(case=planes())
@example(case=arrays(1, 1, (1, 1), 1, (7, 2), Geometry(padding=((3, 3), (0, 1)))))  # one pixel, which one tap meets
@example(case=arrays(2, 3, (2, 40), 3, (7, 2), Geometry(padding=((0, 6), (1, 1)), groups=3)))
@example(case=arrays(20, 70, (5, 33), 70, (3, 3), AROUND._replace(groups=70)))  # more images than chunks
@example(case=arrays(0, 3, (5, 6), 3, (3, 3), AROUND._replace(groups=3)))
@example(case=arrays(2, 2, (50, 300), 2, (7, 2), Geometry(padding=((6, 0), (1, 0)), groups=2)))  # in bands of 16 rows
@example(case=arrays(2, 2, (33, 270), 2, (7, 2), Geometry(padding=((0, 6), (0, 1)), groups=2)))
@example(case=arrays(1, 2, (600, 5), 2, (3, 3), AROUND._replace(groups=2)))
def test_planes_against_reference(case):
    *operands, geometry = case
    alone = cpu.Convolution((depthwise,), (depthwise,))
    for dtype in (np.float64, np.float32):
        narrow = [a.astype(dtype) for a in operands]
        expected = by(reference, *(a.astype(np.float64) for a in narrow), geometry)
        for result, wanted in zip(by(alone, *narrow, geometry), expected, strict=True):
            assert result.dtype == dtype
            close(result, wanted, TOLERANCE[dtype])


@pytest.mark.parametrize(("change", "c", "o", "kernel"), [
    ({"stride": (1, 2)}, 4, 4, 3), ({"dilation": (2, 1)}, 4, 4, 3), ({"padding": ((1, 3), (1, 1))}, 4, 4, 3),
    ({"groups": 2}, 4, 4, 3), ({}, 4, 8, 3), ({}, 8, 4, 3), ({"groups": 1}, 4, 1, 3), ({}, 4, 4, 8)])
def test_planes_are_not_for_these(change, c, o, kernel):
    geometry, dtype = Geometry(groups=4)._replace(**change), np.dtype(np.float32)
    x, w = (2, c, 30, 30), (o, c // geometry.groups, kernel, kernel)
    y = (2, o, *geometry.output_size(x[2:], w[2:]))
    assert depthwise.price(x, y, w, geometry, dtype, False) == depthwise.price(y, x, w, geometry, dtype, True) == np.inf
    assert depthwise.sums_price(x, y, w, geometry, dtype) == np.inf
    if depthwise.MASKS:
        assert depthwise.price((2, 4, 30, 30), (2, 4, 28, 28), (4, 1, 3, 3), Geometry(groups=4), dtype, False) < np.inf


def test_the_cheapest_way_is_chosen():
    def ways(n, c, size, o, kernel, geometry=AROUND, dtype=np.float32):
        x, w = (n, c, size, size), (o, c // geometry.groups, kernel, kernel)
        y = (n, o, *geometry.output_size(x[2:], w[2:]))
        case, correlations = (w, geometry, np.dtype(dtype)), (cpu.correlation, depthwise, image_lanes, winograd)
        chosen = [cpu._cheapest(correlations, x, y, *case, False), cpu._cheapest(correlations, y, x, *case, True),
                  cpu._cheapest_sums((cpu.weight_sums, depthwise, image_sums, winograd), x, y, *case)]
        return [module.__name__.rpartition(".")[2] for module in chosen]

    plain = ["correlation", "correlation", "weight_sums"]
    tiles, by_images = ["winograd"] * 3, ["image_lanes", "image_lanes", "image_sums"]
    assert ways(1, 64, 14, 64, 1, Geometry()) == ways(1, 3, 224, 64, 7) == plain
    assert ways(16, 128, 28, 128, 3, AROUND._replace(groups=64)) == plain
    if image_lanes.MASKS:
        assert ways(16, 128, 28, 128, 3, AROUND._replace(groups=128)) == ["depthwise"] * 3
        assert ways(64, 256, 4, 256, 3, AROUND._replace(groups=256)) == ["depthwise"] * 3
        assert ways(23, 104, 31, 1, 3)[2] == "weight_sums"  # tiles would hold one output in 16 lanes
        assert ways(16, 64, 56, 64, 3) == ways(32, 64, 24, 192, 3) == tiles
        assert ways(32, 128, 12, 128, 3) == [*by_images[:2], "winograd"]
        assert ways(32, 512, 3, 512, 3) == ways(32, 256, 6, 256, 3) == by_images
        assert ways(256, 6, 14, 16, 5, Geometry())[:2] == by_images[:2]
        assert ways(32, 256, 6, 512, 3, AROUND._replace(stride=(2, 2))) == by_images
    # tiles are for float32, where speed is worth their error, and for kernels and channels that fill them
    for case in ((AROUND, np.float64), (AROUND._replace(stride=(2, 1)),), (Geometry(dilation=(2, 2)),)):
        assert "winograd" not in ways(16, 64, 56, 64, 3, *case), case


def test_what_a_way_cannot_do_is_explained():
    def reason(why):
        return why if image_lanes.MASKS else "AVX2"

    for geometry in (AROUND._replace(stride=(2, 1)), AROUND._replace(dilation=(2, 2)), AROUND._replace(groups=2)):
        assert reason("without stride, dilation and groups") in winograd.supports((3, 3), geometry)
    assert reason("one group of channels") in image_lanes.supports((3, 3), Geometry(groups=2))
    for way in (image_lanes, winograd):
        assert (way.supports((5, 5), AROUND) is None) == image_lanes.MASKS


@given(case=cases(largest=3, channels=2, images=(0, 1, 2)))
@settings(max_examples=25)
def test_formulations_against_reference(case):
    x, w, b, gy, geometry = case
    expected = by(reference, *case)
    for name, formulation in FORMULATIONS.items():
        if formulation.supports(w.shape[2:], geometry) is None:
            for result, wanted in zip(by(formulation, *case), expected, strict=True):
                close(result, wanted, 1e-10)
        else:
            assert name == "winograd"


@given(groups=st.integers(1, 3), n=st.integers(0, 2), size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
       pads=st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2))
@settings(max_examples=25)
def test_winograd_against_reference(groups, n, size, pads):
    *operands, geometry = arrays(n, 2 * groups, size, 3 * groups, (3, 3), Geometry(padding=pads, groups=groups))
    for result, wanted in zip(by(FORMULATIONS["winograd"], *operands, geometry), by(reference, *operands, geometry),
                              strict=True):
        close(result, wanted, 1e-10)


def test_winograd_says_what_it_cannot_do():
    supports = FORMULATIONS["winograd"].supports
    assert supports((3, 3), Geometry()) is None
    assert "5×3" in supports((5, 3), Geometry())
    assert "stride is (2, 1)" in supports((3, 3), Geometry((2, 1)))
    assert "dilation (1, 2)" in supports((3, 3), Geometry(dilation=(1, 2)))


@given(case=cases(largest=9, channels=3))
def test_im2col_and_col2im(kernels, case):
    x, w, _, _, geometry = case
    (top, bottom), (left, right) = geometry.padding
    kernel, options = w.shape[2:], {"dilation": geometry.dilation, "stride": geometry.stride}
    padded = torch.nn.functional.pad(torch.from_numpy(x), (left, right, top, bottom))
    cols = kernels.im2col(x, kernel, geometry)
    n, depth, places = len(x), x.shape[1] * kernel[0] * kernel[1], np.prod(geometry.output_size(x.shape[2:], kernel))
    assert cols.shape == (n, depth, places)
    if not n:
        return  # torch.nn.functional.unfold takes no empty batch
    assert np.array_equal(cols, torch.nn.functional.unfold(padded, kernel, **options).numpy())
    gradient = np.random.default_rng(1).standard_normal(cols.shape)
    back = kernels.col2im(gradient, x.shape, kernel, geometry)
    folded = torch.nn.functional.fold(torch.from_numpy(gradient), padded.shape[2:], kernel, **options).numpy()
    close(back, folded[:, :, top:top + x.shape[2], left:left + x.shape[3]], 1e-12)
    assert np.vdot(cols, gradient) == pytest.approx(np.vdot(x, back), rel=1e-10, abs=1e-9)  # adjoint


def take_any_strides(kernels):
    x, w, b, gy, geometry = arrays(2, 3, (6, 5), 4, (3, 3), Geometry(padding=((1, 0), (1, 1))))
    strided = [np.asfortranarray(a)[::-1] for a in (x[::-1], w[::-1], b[::-1], gy[::-1])]
    constant = np.broadcast_to(np.float64(2), gy.shape)  # the gradient of a sum
    kept = [a.copy() for a in strided]
    for operands, plain in ((strided, (x, w, b, gy)), ((*strided[:3], constant), (x, w, b, constant.copy()))):
        for result, wanted in zip(by(kernels, *operands, geometry), by(reference, *plain, geometry), strict=True):
            close(result, wanted, 1e-10)
    for before, after in zip(kept, strided, strict=True):
        assert np.array_equal(before, after)


def test_operands_with_any_strides(kernels):
    take_any_strides(kernels)


@pytest.mark.parametrize("name", FORMULATIONS)
def test_formulations_take_operands_with_any_strides(name):
    take_any_strides(FORMULATIONS[name])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_types_sum_in_float32(kernels, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    *operands, geometry = arrays(2, 2, (80, 80), 3, (3, 3), Geometry())
    narrow = [abs(a).astype(dtype) for a in operands]  # thousands of terms of one sign
    for result, wanted in zip(by(kernels, *narrow, geometry),
                              by(reference, *(a.astype(np.float64) for a in narrow), geometry), strict=True):
        assert result.dtype == narrow[0].dtype
        close(result.astype(np.float64), wanted, 8e-3 if dtype == "bfloat16" else 1e-3)


@pytest.mark.parametrize("size, tile", [((40, 30), "images"), ((300, 200), "rows"), ((2, 9000), "columns")])
def test_reference_respects_its_workspace(monkeypatch, size, tile):
    """With a workspace far below one im2col buffer, memory stays near it, and the answer the same."""
    *operands, geometry = arrays(4, 3, size, 2, (5, 5), Geometry(padding=((2, 2), (2, 2))))
    x, w, b, gy = operands
    expected = by(reference, *operands, geometry)
    workspace = {"images": 800_000, "rows": 400_000, "columns": 100_000}[tile]
    whole = reference.im2col(x, (5, 5), geometry).nbytes
    monkeypatch.setattr(reference, "WORKSPACE", workspace)
    assert whole > 2 * workspace
    for result, wanted in zip(by(reference, *operands, geometry), expected, strict=True):
        close(result, wanted, 1e-10)
    built = []
    monkeypatch.setattr(reference, "im2col", lambda *a, im2col=reference.im2col: built.append(im2col(*a)) or built[-1])
    reference.conv2d(x, w, b, geometry)
    reference.conv2d_weight_grad(x, gy, w.shape, geometry)
    assert len(built) > 2
    assert max(cols.nbytes for cols in built) <= workspace
    monkeypatch.undo()
    monkeypatch.setattr(reference, "WORKSPACE", workspace)
    tracemalloc.start()
    try:
        reference.conv2d_input_grad(gy, w, x.shape, geometry)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < x.nbytes + 4 * workspace


@pytest.mark.parametrize("name", ["few channels, many images", "outputs in the lanes", "blocks of rows", "depthwise",
                                  "tiles, bands of one image", "tiles, many images", "tiles, parts of the outputs",
                                  "tiles of 2×2", "slices of the channels of groups",
                                  "phases gathered for many outputs"])
def test_threads_do_not_change_a_byte(name):
    *operands, geometry = arrays(*LARGE[name])
    operands = [a.astype(np.float32) for a in operands]
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            if threads <= numba.config.NUMBA_NUM_THREADS:
                numba.set_num_threads(threads)
                results.append([a.tobytes() for a in by(cpu, *operands, geometry)])
    finally:
        numba.set_num_threads(before)
    assert all(result == results[0] for result in results)


SCRIPT = f"""
import sys, zlib
sys.path[:0] = {sys.path!r}
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_kernels_convolution import LARGE, TOLERANCE, arrays, by, close, cpu, np, reference
from minicnn.kernels.cpu import microkernel
print(microkernel.BITS, microkernel.ROWS)
for dtype in (np.float32, np.float64)[:1 if "float32" in sys.argv else 2]:
    for name in LARGE:
        *operands, geometry = arrays(*LARGE[name])
        results = by(cpu, *(a.astype(dtype) for a in operands), geometry)
        print(zlib.crc32(b"".join(a.tobytes() for a in results)))
        if "compare" in sys.argv:
            for result, wanted in zip(results, by(reference, *operands, geometry), strict=True):
                close(result, wanted, TOLERANCE[dtype])
"""


def in_a_process_of_its_own(*options, **variables):
    return subprocess.run([sys.executable, "-c", SCRIPT, *options], capture_output=True, text=True, check=True,
                          env=os.environ | {"OMP_WAIT_POLICY": "passive"} | variables).stdout.split()


@pytest.mark.parametrize("groups, brief", [(1, True), (128, False)])
def test_one_thread_is_enough_for_sums_that_are_brief_over_all_groups(groups, brief, monkeypatch):
    geometry, told = Geometry(padding=((1, 1), (1, 1)), groups=groups), []
    monkeypatch.setattr(cpu.weight_sums, "run", lambda *_, small=False: told.append(small))
    image = np.zeros((1, groups, 28, 28), np.float32)
    cpu.weight_sums.sum_weights(image, image, np.zeros((groups, 1, 3, 3), np.float32), geometry)
    assert told[0] == brief


def test_narrow_vectors():
    """Of 128 bits; those of 256 are in test_narrow_vectors.py."""
    assert in_a_process_of_its_own("compare", "float32", MINICNN_VECTOR_BITS="128")[0] == "128"


def test_four_threads_give_the_bytes_of_one():
    assert in_a_process_of_its_own(NUMBA_NUM_THREADS="4") == in_a_process_of_its_own(NUMBA_NUM_THREADS="1")


@pytest.mark.parametrize("bits", ["64", "avx"])
def test_unknown_vector_width(bits):
    done = subprocess.run([sys.executable, "-c", "import minicnn.kernels.cpu"], capture_output=True, text=True,
                          env=os.environ | {"MINICNN_VECTOR_BITS": bits})
    assert done.returncode == 1 and "MINICNN_VECTOR_BITS" in done.stderr


MISPLANNED = """
import sys
sys.path[:0] = {path!r}
import numpy as np
from minicnn.kernels.contract import Geometry
from minicnn.kernels.cpu import convolution, {module}
{module}.{name} = {value}
x = np.ones((1, 3, 40, 40), np.float32)
print("planned")
{call}
print("computed")
"""
FORWARD = "convolution.direct.conv2d(x, np.ones((40, 3, 3, 3), np.float32), None, Geometry())"
WEIGHTS = "convolution.direct.conv2d_weight_grad(x, x[:, :1, 2:, 2:], (1, 3, 3, 3), Geometry())"


@pytest.mark.parametrize("module, name, value, call", [
    ("plans", "vectors", "lambda rows: 5", FORWARD), ("plans", "vectors", "lambda rows: 20", FORWARD),
    ("plans", "ROWS", 20, FORWARD), ("weight_plans", "DOTS", "[(1, 1)] * 3 + [(1, 9)]", WEIGHTS)])
def test_a_shape_the_micro_kernel_has_not_ends_the_process(tmp_path, module, name, value, call):
    """It would leave results unwritten."""
    script = MISPLANNED.format(path=sys.path, module=module, name=name, value=value, call=call)
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert process.stdout == "planned\n", process.stderr
    assert process.returncode != 0


@pytest.mark.parametrize("name", OPERATIONS)
def test_signatures_are_those_of_the_contract(kernels, name):
    assert inspect.signature(getattr(kernels, name)) == inspect.signature(getattr(contract, name))
