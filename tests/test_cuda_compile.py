"""All CUDA files compile for four generations of GPUs; needs NVIDIA's compiler, but no GPU."""

import itertools
from pathlib import Path

import pytest

from minicnn.kernels.cuda import module, nvrtc

pytestmark = pytest.mark.skipif(nvrtc.why_not() is not None, reason=str(nvrtc.why_not()))
FILES = [path.name for path in module.files("*.cu")]


@pytest.mark.parametrize("file", FILES)
def test_compiles_without_a_warning_and_fits(file):
    """Into what a block may have: 48 KiB of shared memory, 64 Ki registers. RESOURCES.md has the figures of the
    compiler that wrote it, and all kernels' names."""
    tensor_cores = "tensor.cuh" in module.source(file)  # which are others in each generation, and for each type
    for real, target in itertools.product(module.REALS.values(), nvrtc.TARGETS):
        if real != "float" and target != "75" and (real == "double" or not tensor_cores):
            continue
        kernels = nvrtc.compile_file(file, real, target)
        assert kernels
        for kernel in kernels:
            assert kernel.registers * module.THREADS <= 65536, kernel
            assert kernel.shared <= 48 * 1024, kernel
            assert kernel.spilled <= 64, kernel
    recorded = (Path(nvrtc.__file__).parent / "RESOURCES.md").read_text()
    found, written = nvrtc.rows(file), [row for row in recorded.split("\n") if row.startswith(f"| {file} |")]
    if f"NVRTC {nvrtc.version()}:" not in recorded:
        found, written = ([row.split(" | ")[1] for row in rows] for rows in (found, written))
    assert written == found


@pytest.mark.parametrize("target", nvrtc.TARGETS)
def test_tf32_compiles(target):
    """Its products are of another type, in tiles of another width, from Ampere on."""
    plain, tf32 = (nvrtc.compile_file("convolution.cu", "float", target, tf32) for tf32 in (False, True))
    wide = [next(k for k in kernels if k.kernel == "correlate_wide") for kernels in (plain, tf32)]
    assert (wide[0].shared < wide[1].shared) == (int(target) >= 80)


def test_integers_compile():
    for real in module.INTEGERS.values():
        assert nvrtc.compile_file("index.cu", real, "75")


def test_mistakes_are_reported(monkeypatch):
    monkeypatch.setattr(module, "source", lambda file: "__global__ void f(int n) { int unused; }")
    with pytest.raises(RuntimeError, match=r"f.cu for float on sm_90:\n(.|\n)*warning"):
        nvrtc.compile_file("f.cu", "float", "90")
    monkeypatch.setattr(module, "source", lambda file: "__global__ void f() { undeclared = 1; }")
    with pytest.raises(RuntimeError, match=r"f.cu for double on sm_80:\n(.|\n)*undeclared"):
        nvrtc.compile_file("f.cu", "double", "80")


def test_resources_are_read():
    sum_channels = next(k for k in nvrtc.compile_file("normalisation.cu", "float", "80") if k.kernel == "sum_channels")
    assert 16 <= sum_channels.registers <= 128 and sum_channels.shared == 32 * 8 and sum_channels.spilled == 0
