"""Graphs of any size, what keeps memory alive and for how long, and threads."""

import gc
import threading
import tracemalloc
import weakref

import numpy as np
import pytest
import torch

import minicnn as mc
import minicnn.functional as F

from util import assert_close, leaf

# -- size and memory ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("length, backward", [(10_000, True), (100_000, True), (100_000, False)])
def test_long_chains_need_no_recursion(length, backward):
    x = mc.ones(1, requires_grad=True)
    one = mc.ones(1)
    y = x
    for _ in range(length):
        y = y * one
    if backward:
        y.backward()
        assert x.grad.item() == 1
    del y  # 100,000 nodes that hold each other, one after the other


def test_many_uses_of_one_tensor():
    x = mc.ones(1, requires_grad=True)
    total = x * 0
    for _ in range(10_000):
        total = total + x
    total.backward()
    assert x.grad.item() == 10_000


MEGABYTE = 2 ** 20


def test_memory_is_freed_as_the_walk_goes():
    """30 nodes keep 1 MB each; on the way back a handful of arrays is alive at a time, in the end none of the 30."""
    x = mc.ones(MEGABYTE // 8, dtype=mc.float64, requires_grad=True)
    mc.autograd.grad(x.sigmoid().sigmoid().sum(), x)  # kernels are compiled, or loaded, outside of the measurement
    tracemalloc.start()
    y, saved, alive = x, [], []
    for _ in range(30):
        y = y.sigmoid()
        saved.append(weakref.ref(y.data))
        y.register_hook(lambda g: alive.append(sum(array() is not None for array in saved)))
    loss = y.sum()
    del y
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    loss.backward()
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert alive == list(range(30, 0, -1))
    assert peak - before < 4.5 * MEGABYTE
    assert after < before - 28 * MEGABYTE


def test_what_one_step_made_does_not_live_through_the_next():
    """Not the gradient of which a sum was made, while the sum is being processed: two arrays at a time, not three."""
    x = mc.ones(MEGABYTE // 8, dtype=mc.float64, requires_grad=True)
    y, seed = x, mc.ones(MEGABYTE // 8, dtype=mc.float64)
    for _ in range(10):
        y = -(y + y)
    tracemalloc.start()
    y.backward(seed)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * MEGABYTE


def test_gradients_of_leaves_are_not_copied_where_they_need_not_be():
    leaves = [mc.ones(MEGABYTE // 8, dtype=mc.float64, requires_grad=True) for _ in range(10)]
    loss = sum((x * x).sum() for x in leaves)
    tracemalloc.start()
    loss.backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 13 * MEGABYTE


def build_network(x: mc.Tensor) -> mc.Tensor:
    w = mc.ones(4, 2, 3, 3, requires_grad=True)
    y = F.conv2d(x, w, padding=1)
    y = F.batch_norm(y, mc.zeros(4), mc.ones(4), training=True)
    y = F.max_pool2d(F.elu(F.relu(y)), 2)
    y = F.dropout(F.avg_pool2d(y, 2), 0.3)
    y.register_hook(lambda g: g * 2)
    y.retain_grad()
    y = F.log_softmax(y.reshape(2, -1), 1).tanh()
    y = y / y.square().sum()
    return F.cross_entropy(y, mc.tensor([0, 1]))


@pytest.mark.parametrize("walked", [False, True])
def test_graphs_have_no_cycles(walked):
    """Without the cycle collector, everything dies when the loss goes out of scope."""
    build_network(mc.ones(2, 2, 8, 8)).backward()  # a compiler that runs now leaves cycles of its own
    gc.collect()
    gc.disable()
    try:
        x = mc.ones(2, 2, 8, 8, requires_grad=True)
        loss = build_network(x)
        nodes, arrays, stack = [], [], [loss.grad_fn]
        while stack:
            node = stack.pop()
            nodes.append(weakref.ref(node))
            arrays += [weakref.ref(kept[0]) for kept in node._saved or () if kept is not None]
            stack += [edge[0] for edge in node.edges if type(edge) is tuple]
        del node, stack
        if walked:
            loss.backward()
            mc.autograd.grad(build_network(x), [x], create_graph=True)
        del loss
        assert len(nodes) > 12 and len(arrays) > 12
        assert not [n() for n in nodes if n() is not None]
        assert not [a() for a in arrays if a() is not None and a() is not x.data]
    finally:
        gc.enable()


def test_gradients_of_gradients_have_no_cycles():
    gc.collect()
    gc.disable()
    try:
        x = leaf(mc)
        y = (x.exp() * x).sum()
        g, = mc.autograd.grad(y, [x], create_graph=True)
        gone = weakref.ref(g.grad_fn), weakref.ref(y.grad_fn)
        del g, y
        assert [r() for r in gone] == [None, None]
    finally:
        gc.enable()


# -- threads --------------------------------------------------------------------------------------------------------

def test_threads_have_modes_and_walks_of_their_own():
    results, barrier = {}, threading.Barrier(4)

    def work(number: int) -> None:
        x = leaf(mc, (50,), number)
        barrier.wait()
        assert mc.is_grad_enabled()  # whatever the thread that started this one has set
        y = x
        for _ in range(50):
            with mc.set_grad_enabled(number % 2 == 0):
                z = y * 0.5
            y = y.tanh() + z
        y.sum().backward()
        results[number] = x.grad.numpy()

    def expected(number: int) -> np.ndarray:
        x = leaf(torch, (50,), number)
        y = x
        for _ in range(50):
            with torch.set_grad_enabled(number % 2 == 0):
                z = y * 0.5
            y = y.tanh() + z
        y.sum().backward()
        return x.grad.numpy()

    with mc.no_grad():
        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not mc.is_grad_enabled()
    assert sorted(results) == [0, 1, 2, 3]
    for number, gradient in results.items():
        assert_close(gradient, expected(number), 1e-12)


def test_infinities_and_nan_are_results_without_a_warning():
    x = mc.tensor([0.0, -1.0, 1e30], requires_grad=True)
    y = x.log() + x / x + (x * 1e30)
    y.sum().backward()
    assert not np.isfinite(y.detach().numpy()).any()


def test_a_walk_that_fails_leaves_warnings_off():
    """Inside a walk they are off for all operations at once, outside each sees to it by itself."""
    def fail(g: mc.Tensor) -> None:
        raise ArithmeticError

    y = leaf(mc) * 2
    y.register_hook(fail)
    with pytest.raises(ArithmeticError):
        y.sum().backward()
    assert mc.zeros(1).log().item() == -np.inf
