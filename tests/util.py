"""The same call in minicnn and in PyTorch on the same arrays: outputs, types, first and second gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

import minicnn as mc
import minicnn.functional as F

FIRST, SECOND, SINGLE = 1e-10, 1e-8, 1e-4  # largest error allowed, relative to the largest element
TYPES = {np.dtype(k): v for k, v in (("float32", torch.float32), ("float64", torch.float64), ("float16", torch.float16),
                                     ("int64", torch.int64), ("int32", torch.int32), ("int16", torch.int16),
                                     ("int8", torch.int8), ("uint8", torch.uint8), ("bool", torch.bool))}


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def distinct(shape: Sequence[int], seed: int = 0, gap: float = 0.125) -> np.ndarray:
    """Shuffled, evenly spaced values around zero, none of them 0: no ties and no kinks within gap/4."""
    n = int(np.prod(shape))
    values = (np.arange(n) - n / 2 + 0.25) * gap
    return rng_of(seed).permutation(values).reshape(shape)


def normal(shape: Sequence[int], seed: int = 0) -> np.ndarray:
    return np.asarray(rng_of(seed).standard_normal(shape))


def with_ties(shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """Whole numbers around zero, many of them equal."""
    return np.asarray(np.round(normal(shape, seed)))


# -- shapes, axes and values to draw from ---------------------------------------------------------------------------

SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -2.0, 3.0, np.inf, -np.inf, np.nan])
SHAPE_PAIRS = st.sampled_from([((), ()), ((3,), ()), ((), (2, 3)), ((2, 3), (3,)), ((2, 1), (1, 4)), ((0, 3), (1, 3)),
                               ((1,), (0,)), ((2, 1, 4), (3, 1))])


@st.composite
def shapes_and_dims(draw: st.DrawFn, several: bool = True, empty: bool = True) -> tuple[tuple[int, ...], Any]:
    """A shape, and what to pass as dim for it: None, a number from either end, or (several) a tuple of numbers."""
    shape = tuple(draw(st.lists(st.sampled_from((0, 1, 2, 3, 4) if empty else (1, 2, 3, 4)), max_size=4)))
    ndim = max(len(shape), 1)
    dim = st.integers(-ndim, ndim - 1)
    if several and shape:
        axes = st.lists(st.integers(0, ndim - 1), max_size=ndim, unique=True).flatmap(
            lambda axes: st.tuples(*[st.sampled_from((a, a - ndim)) for a in axes]))
        return shape, draw(st.one_of(st.none(), dim, axes, axes.map(list)))
    return shape, draw(st.one_of(st.none(), dim))


# -- comparison -----------------------------------------------------------------------------------------------------


def assert_close(actual: Any, expected: Any, tolerance: float, what: str = "") -> None:
    """Equal shape and type, NaN and inf in the same places, and elements within tolerance of the largest one."""
    actual = actual.detach().cpu().numpy() if isinstance(actual, mc.Tensor) else np.asarray(actual)
    expected = expected.detach().numpy(force=True) if isinstance(expected, torch.Tensor) else np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    assert actual.dtype == expected.dtype, f"{what}: dtype {actual.dtype}, expected {expected.dtype}"
    if actual.dtype.kind != "f":
        np.testing.assert_array_equal(actual, expected, err_msg=what)
        return
    finite = np.isfinite(expected)
    scale = max(1.0, float(np.abs(expected[finite]).max(initial=0.0)))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale, err_msg=what)


def _tuple(value: Any) -> tuple:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def check_op(ours: Callable, theirs: Callable, *arrays: Any, second: bool = True, single: bool = True, seed: int = 0,
             tolerance: float = FIRST, constant: Sequence[int] = (), device: str = "cpu") -> None:
    """ours(*tensors) and theirs(*torch tensors) agree: outputs, first and second gradients, in float64 and float32.

    Ours are on the device. Float arrays require gradients except those numbered in ``constant``; other arguments are
    passed as they are.
    Upstream gradients and the directions of the second order are random.
    """
    for dtype, tol1, tol2 in ((np.float64, tolerance, max(SECOND, tolerance)), (np.float32, SINGLE, 10 * SINGLE)):
        if dtype == np.float32 and not single:
            continue
        ins, refs, wanted = [], [], []
        for i, a in enumerate(arrays):
            if not isinstance(a, np.ndarray):
                ins.append(a), refs.append(a)
                continue
            floating = a.dtype.kind == "f"
            a = a.astype(dtype) if floating else a
            ins.append(mc.tensor(a, device=device)), refs.append(torch.from_numpy(a.copy()))
            if floating and i not in constant:
                ins[-1].requires_grad_(), refs[-1].requires_grad_()
                wanted.append(i)
        _compare(ours, theirs, ins, refs, wanted, second and dtype == np.float64, tol1, tol2, seed)


def _compare(ours: Callable, theirs: Callable, ins: list, refs: list, wanted: list[int], second: bool, tol1: float,
             tol2: float, seed: int) -> None:
    outs, expected = _tuple(ours(*ins)), _tuple(theirs(*refs))
    assert len(outs) == len(expected)
    for i, (o, e) in enumerate(zip(outs, expected)):
        assert_close(o, e, tol1, f"output {i}")
        assert not wanted or o.requires_grad == e.requires_grad, f"output {i}: requires_grad {o.requires_grad}"
    pairs = [(o, e) for o, e in zip(outs, expected) if e.requires_grad]
    if not wanted or not pairs:
        return
    rng = rng_of(seed + 1)
    gys = [rng.standard_normal(o.shape).astype(o.dtype) for o, _ in pairs]
    gys_ours = [mc.tensor(g, device=o.device, requires_grad=second) for g, (o, _) in zip(gys, pairs)]
    gys_refs = [torch.from_numpy(g.copy()).requires_grad_(second) for g in gys]
    gxs = mc.autograd.grad([o for o, _ in pairs], [ins[i] for i in wanted], gys_ours, create_graph=second,
                           allow_unused=True)
    refs_gxs = torch.autograd.grad([e for _, e in pairs], [refs[i] for i in wanted], gys_refs, create_graph=second,
                                   allow_unused=True)
    for i, gx, ref in zip(wanted, gxs, refs_gxs):
        _same_gradient(gx, ref, tol1, f"gradient of input {i}")
    if not second:
        return
    again = [(a, b) for a, b in zip(gxs, refs_gxs) if b is not None and b.requires_grad]
    if not again:
        return
    vs = [rng.standard_normal(a.shape).astype(a.dtype) for a, _ in again]
    assert all(a.requires_grad for a, _ in again), "a first gradient is not differentiable"
    ours2 = mc.autograd.grad([a for a, _ in again], [*[ins[i] for i in wanted], *gys_ours],
                             [mc.tensor(v, device=a.device) for v, (a, _) in zip(vs, again)], allow_unused=True)
    refs2 = torch.autograd.grad([b for _, b in again], [*[refs[i] for i in wanted], *gys_refs],
                                [torch.from_numpy(v.copy()) for v in vs], allow_unused=True)
    for i, (a, b) in enumerate(zip(ours2, refs2)):
        _same_gradient(a, b, tol2, f"second gradient {i}")


def _same_gradient(ours: Any, theirs: Any, tolerance: float, what: str) -> None:
    """Equal, where no gradient and a gradient of zeros are the same thing."""
    if ours is None and theirs is None:
        return
    if theirs is None:
        assert not ours.cpu().numpy().any(), f"{what}: expected none"
    elif ours is None:
        assert not theirs.numpy().any(), f"{what}: missing"
    else:
        assert_close(ours.detach(), theirs.detach(), tolerance, what)


def check_raises(ours: Callable, theirs: Callable, match: str | None = None) -> None:
    """Both refuse the call, ours with a message that matches."""
    with pytest.raises((RuntimeError, ValueError, TypeError, IndexError)):
        theirs()
    with pytest.raises((RuntimeError, ValueError, TypeError, IndexError), match=match):
        ours()


# -- programs that are written once and run in both -----------------------------------------------------------------

def both(name: str, *arguments: Any, **options: Any) -> tuple[Callable, Callable]:
    """The function of that name in minicnn and in PyTorch, to be called with tensors, for check_op."""
    return (lambda *tensors: getattr(mc, name)(*tensors, *arguments, **options),
            lambda *tensors: getattr(torch, name)(*tensors, *arguments, **options))


def with_dim(name: str, dim: Any, keepdim: bool) -> tuple[Callable, Callable]:
    """both for a reduction: over dim, or over everything where dim is None."""
    return both(name) if dim is None else both(name, dim, keepdim)


def agree(call: Callable, *arrays: Any, **options: Any) -> None:
    """check_op of call(library, *tensors), where the library is minicnn or PyTorch."""
    check_op(lambda *tensors: call(mc, *tensors), lambda *tensors: call(torch, *tensors), *arrays, **options)


def in_both(call: Callable) -> tuple[Callable, Callable]:
    """call(functions, *tensors) with minicnn's functions and with PyTorch's, for check_op."""
    return lambda *tensors: call(F, *tensors), lambda *tensors: call(torch.nn.functional, *tensors)


def leaf(module: Any, shape: tuple[int, ...] = (2, 3), seed: int = 0) -> Any:
    """A float64 tensor of minicnn or PyTorch that requires a gradient."""
    return module.tensor(normal(shape, seed)).requires_grad_()


def constant(module: Any, shape: tuple[int, ...] = (2, 3), seed: int = 9) -> Any:
    """A float64 tensor of minicnn or PyTorch."""
    return module.tensor(normal(shape, seed))


def same(program: Callable, tolerance: float = 1e-12) -> None:
    """program(module) gives the same tensors, and None in the same places, in minicnn and PyTorch."""
    ours, theirs = program(mc), program(torch)
    assert len(ours) == len(theirs)
    for i, (o, t) in enumerate(zip(ours, theirs, strict=True)):
        assert (o is None) == (t is None), f"result {i}: {o} and {t}"
        if o is not None:
            assert_close(o, t, tolerance, f"result {i}")


def refused(program: Callable, match: str) -> None:
    """Both refuse program(module), ours with a message that matches."""
    check_raises(lambda: program(mc), lambda: program(torch), match)
