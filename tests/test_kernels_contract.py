"""What the contract says of every kernel: signatures, any strides, nothing written, the same bits from any threads."""

import hashlib
import inspect
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from kernels_util import ARITHMETIC, CALLS, close, normal

from minicnn.kernels import contract, cpu

OWN = [name for name in contract.KERNELS if "conv2d" not in name and name not in ("im2col", "col2im", "matmul")]


@pytest.mark.parametrize("name", OWN)
def test_signatures(kernels: ModuleType, name: str):
    assert inspect.signature(getattr(kernels, name)) == inspect.signature(getattr(contract, name))


@pytest.mark.parametrize("name", CALLS)
def test_any_strides_and_nothing_written(kernels, name):
    base = np.abs(normal(0, 7, 14, 7, 7)) + 0.1
    views = {"transposed": base[:, ::2].transpose(1, 0, 3, 2), "reversed": base[::-1, :7, ::-1, ::-1],
             "expanded": np.broadcast_to(base[:1, :1, :1], (7, 7, 7, 7))}
    for x in views.values():
        kept = base.copy()
        actual = CALLS[name](kernels, x, x[::-1])
        close(actual, CALLS[name](kernels, x.copy(), x[::-1].copy()), 1e-14)
        np.testing.assert_array_equal(base, kept)
        for a in actual if isinstance(actual, tuple) else (actual,):
            assert a.flags.writeable and not np.shares_memory(a, base)
            assert a.flags.c_contiguous or name in ARITHMETIC or "reference" in getattr(kernels, name).__module__


def test_every_kernel_is_tried_on_strided_arrays():
    assert set(OWN) == {*CALLS, *(f"{name}_sequence_grad" for name in ("rnn", "lstm", "gru")), "sgd_step", "adam_step",
                        "random_uniform"}


def digests() -> str:
    """A fingerprint of every compiled kernel on arrays of float32 large enough for threads."""
    found = []
    big = np.random.default_rng(0).standard_normal((16, 120, 7, 7)).astype(np.float32)
    rows, wide = big.reshape(16, 120, 49), big.reshape(1960, 48)
    v, w = np.abs(wide[0, :1].repeat(120)), np.linspace(1, 2, 120, dtype=np.float32)
    arrays = [call(cpu, big, big[::-1]) for name, call in CALLS.items() if not name.startswith(("batch", "cross"))]
    arrays += [cpu.channel_sum(rows), *cpu.batch_norm_stats(rows, 1e-5), cpu.batch_norm(rows, v, w, w, v),
               *cpu.batch_norm_grad(rows, rows, v, w, w, True), cpu.random_uniform(100_001, (1, 2)),
               cpu.softmax(rows), cpu.softmax(wide[:, :, None]), cpu.log_softmax_grad(*[wide[:, :, None]] * 2),
               cpu.log_softmax_grad(rows, rows), *cpu.cross_entropy(wide, np.arange(1960) % 50),
               cpu.cross_entropy_grad(wide[:, 0], wide, np.arange(1960) % 50)]
    added = np.zeros((90, 588), np.float32)
    cpu.index_add(added, np.arange(160) * 7 % 90, big.reshape(160, 588))
    p, m = big.copy(), np.abs(big)
    cpu.sgd_step((p,), (big,), (m,), 0.1, 0.9, 0.0, 0.1, True, False, False)
    cpu.adam_step((p,), (big,), (m,), (np.abs(m),), None, 3, 0.1, 0.9, 0.99, 1e-8, 0.1, True, False)
    for result in [*arrays, added, p, m]:
        for a in result if isinstance(result, tuple) else (result,):
            found.append(hashlib.sha256(a.tobytes()).hexdigest()[:12])
    return " ".join(found)


def test_the_number_of_threads_changes_no_bit(tmp_path):
    code = ("import numba, test_kernels_contract as t\n"
            "for n in (1, 2, 4): numba.set_num_threads(n); print(t.digests())")
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
                         env=os.environ | {"NUMBA_NUM_THREADS": "4", "PYTHONPATH": path}).stdout.split("\n")
    assert len(out[0].split()) > 100 and out[0] == out[1] == out[2]
