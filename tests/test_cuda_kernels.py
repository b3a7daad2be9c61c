"""The CUDA kernels in the emulator: equal to the reference in any order of threads, right for every reason they have.

tests/test_kernels_*.py try the same kernels against PyTorch.
"""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import minicnn as mc
import minicnn.functional as F
import minicnn.optim
from minicnn import backend
from minicnn.bisect import main as bisect
from minicnn.cli import CommandError, use_machine
from minicnn.data import DataLoader
from minicnn.kernels import contract, cuda, reference
from minicnn.kernels.contract import Geometry, Windows
from minicnn.kernels.cuda import module, random
from minicnn.kernels.cuda.emulator import CudaError, Library, thread_order
from kernels_util import CALLS, normal
from test_kernels_convolution import TOLERANCE, arrays, by, cases, close

PLAIN = Geometry(padding=((1, 1), (1, 1)))
WINDOWS = Windows(np.array([0, 1]), np.array([3, 4]), np.array([0, 2]), np.array([3, 5]))


# -- convolution ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@settings(max_examples=15)
@given(case=cases(largest=9, images=(0, 1, 2)), seed=st.integers(0, 9))
@example(case=arrays(2, 40, (9, 7), 70, (3, 3), PLAIN), seed=1)  # wide tiles
@example(case=arrays(5, 3, (40, 33), 6, (5, 4), Geometry((2, 3))), seed=2)  # many parts of the weight gradient
@example(case=arrays(1, 2, (9, 9), 6, (2, 2), Geometry((3, 3), dilation=(3, 3))), seed=0)  # phases no tap reaches
@example(case=arrays(1, 2, (2, 1), 6, (1, 1), Geometry((4, 3))), seed=0)  # more phases than pixels
def test_convolution(dtype, case, seed):
    *operands, geometry = case
    narrow = [a.astype(dtype) for a in operands]
    expected = by(reference, *(a.astype(np.float64) for a in narrow), geometry)
    with thread_order(seed):
        results = by(cuda, *narrow, geometry)
    for result, wanted in zip(results, expected, strict=True):
        assert result.dtype == dtype
        close(result, wanted, TOLERANCE[dtype])
    with thread_order(seed + 1):
        assert all(np.array_equal(a, b) for a, b in zip(by(cuda, *narrow, geometry), results, strict=True))


@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("dtype, rounding", [(np.float16, 2 ** -11), (ml_dtypes.bfloat16, 2 ** -8), (np.float32, 0),
                                             (np.float64, 0)])
def test_tensor_cores(dtype, rounding, tf32):
    """Half precision multiplies exactly and sums in float32; float32 is rounded to TF32 only on demand."""
    *operands, geometry = arrays(2, 80, (9, 7), 90, (3, 3), Geometry((2, 1), ((1, 0), (1, 1)), (1, 2)))
    narrow = [a.astype(dtype) for a in operands]
    expected = by(reference, *(a.astype(np.float64) for a in narrow), geometry)
    with backend.float32_matmul_precision("high" if tf32 else "highest"), thread_order(3):
        results = by(cuda, *narrow, geometry)
    for result, wanted in zip(results, expected, strict=True):
        error = np.abs(result.astype(np.float64) - wanted).max() / np.abs(wanted).max()
        if dtype == np.float32 and tf32:
            assert 2e-5 < error < 2e-3
        else:
            assert error < rounding + (2e-6 if dtype == np.float32 else 1e-4 if rounding else 1e-12)


@given(value=st.integers(1, 2 ** 31 - 1), n=st.integers(0, 2 ** 31 - 1))
@example(value=1, n=2 ** 31 - 1)
@example(value=2 ** 30 + 1, n=2 ** 31 - 1)
def test_division_by_multiplication(value, n):
    _, multiplier, shift = module.divisor(value)
    assert multiplier < 2 ** 32 and (n * multiplier // 2 ** 32 + n) >> shift == n // value


# -- every kernel -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", CALLS)
def test_the_order_of_threads_changes_no_bit(name):
    if "reference" in getattr(cuda, name).__module__:
        return  # no kernel of ours
    x, gy = normal(0, 7, 7, 7, 7), normal(1, 7, 7, 7, 7)
    results = []
    for seed in range(4):
        with thread_order(seed):
            found = CALLS[name](cuda, x, gy)
            results.append(found if isinstance(found, tuple) else (found,))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", CALLS)
def test_bfloat16_is_rounded_once(name):
    """As far from float64 as the rounding of its own result, and of what it was given, makes it."""
    if "reference" in getattr(cuda, name).__module__ or name.endswith("_sequence"):
        return  # recurrent layers round in every step
    x, gy = (normal(seed, 7, 7, 7, 7).astype(ml_dtypes.bfloat16) for seed in (0, 1))
    found = CALLS[name](cuda, x, gy)
    single, wanted = (CALLS[name](reference, x.astype(dtype), gy.astype(dtype)) for dtype in (np.float32, np.float64))
    for a, narrow, b in zip(*[v if isinstance(v, tuple) else (v,) for v in (found, single, wanted)], strict=True):
        assert a.dtype == (ml_dtypes.bfloat16 if narrow.dtype == np.float32 else narrow.dtype)
        np.testing.assert_allclose(a.astype(np.float64), b, rtol=2 ** -8,
                                   atol=1e-2 * np.abs(b).max(initial=0, where=np.isfinite(b)))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("factor", [1.0, 1 + 2 ** -9, 1 + 2 ** -12, 2 ** -3, 2 ** -14, 1e-8, 3.0, 1e5])
def test_half_precision_converts_as_numpy_does(dtype, factor):
    """All 65536 numbers to float, and products that fall between two of them, back."""
    x = -abs(np.arange(2 ** 16, dtype=np.uint16).view(dtype))
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = (x.astype(np.float32) * np.float32(factor)).astype(dtype)
        found = cuda.leaky_relu(x, factor).astype(np.float32)
    np.testing.assert_array_equal(found, wanted.astype(np.float32))  # ml_dtypes' NaN is not equal to itself, here it is


def test_pooling_to_nothing_has_no_gradient():
    nothing = Windows(*[np.zeros(0, np.int64)] * 4)
    gx = cuda.avg_pool2d_grad(np.zeros((2, 3, 0, 0)), nothing, np.zeros((0, 0)), (2, 3, 4, 6))
    np.testing.assert_array_equal(gx, np.zeros((2, 3, 4, 6)))


def test_dropout_reads_how_far_its_stream_has_moved_when_it_runs():
    x, count = np.ones(100, np.float32), np.zeros(1, np.uint64)
    with random.streams_advanced_by(count):
        for seed, stream, more in ((3, 5, 0), (3, 5, 7), (3, 2 ** 32 - 2, 7), (2 ** 63, 9, 2 ** 64 - 4)):
            count[0] = more
            expected = reference.dropout(x, 0.5, (seed, (stream + more) % 2 ** 64))
            np.testing.assert_array_equal(cuda.dropout(x, 0.5, (seed, stream)), expected)


def test_types_that_are_no_floats_are_the_references():
    x = np.arange(2 * 3 * 5 * 5).reshape(2, 3, 5, 5)
    for found, wanted in zip(cuda.max_pool2d(x, WINDOWS), reference.max_pool2d(x, WINDOWS), strict=True):
        assert found.dtype == wanted.dtype and np.array_equal(found, wanted)


def test_arrays_too_large_for_32_bits_are_refused():
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (module.LARGEST + 1,), (0,))
    with pytest.raises(ValueError, match=r"\(2146435073,\) has more than 2146435072 elements; use smaller"):
        module.launch("elementwise.cu", "relu", (1,), (1,), huge, huge, 1)


# -- barriers ---------------------------------------------------------------------------------------------------------

def exercise() -> None:
    """Every kernel with a barrier, on arrays large enough to need it."""
    *operands, geometry = arrays(2, 8, (9, 8), 40, (3, 3), PLAIN)
    by(cuda, *(a.astype(np.float32) for a in operands), geometry)
    *operands, geometry = arrays(2, 2, (9, 8), 2, (3, 3), PLAIN)
    by(cuda, *(a.astype(np.float32) for a in operands), geometry)
    x = normal(0, 20, 2, 40).astype(np.float32)
    cuda.batch_norm_stats(x, 1e-5)
    _, mean, inv_std = cuda.group_norm(x[:, :, :, None], None, None, 1e-5)
    cuda.group_norm_grad(x[:, :, :, None], x[:, :, :, None], mean, inv_std, None)
    alignment = np.array([[0, 1, 0, 1, 0]] * 2), np.array([3, 2]), np.array([5, 3])
    _, alpha = cuda.ctc(x[:3], *alignment)
    cuda.ctc_grad(x[0, :, 0], x[:3], *alignment, alpha)
    x = x.reshape(5, 8, 5, 8)
    cuda.pool_scatter(x, np.zeros(x.shape, np.int64) + np.arange(8), x.shape)
    cuda.index_add(x[0, 0].copy(), np.array([3, 1, 3]), x[0, 1, :3])


BARRIERS = [(path.name, match.start()) for path in sorted(module.files("*.cu*"))
            for match in re.finditer(r"__sync\w+\(\);", path.read_text())]


@pytest.mark.parametrize("file, place", BARRIERS)
def test_every_barrier_is_needed(monkeypatch, file, place):
    """Without any one of them the emulator reports a race."""
    read = module.read

    def without(path):
        text = read(path)
        return text[:place] + text[place:].replace("__sync", "//", 1) if path.name == file else text

    exercise()
    with monkeypatch.context() as changed:
        changed.setattr(module, "read", without)
        module._emulated.cache_clear()
        with pytest.raises(CudaError, match="race|no thread of its block has written"):
            exercise()
    module._emulated.cache_clear()


def test_there_are_barriers():
    assert len(BARRIERS) >= 6


# -- whole networks ---------------------------------------------------------------------------------------------------

def lenet_step(kernels: str) -> list[np.ndarray]:
    """Loss and parameters after two training steps."""
    with mc.use_kernels(kernels):
        mc.manual_seed(0)
        model = mc.models.create("lenet")
        optimiser = mc.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        x, target = mc.randn(3, 1, 28, 28), mc.tensor([3, 0, 9])
        for _ in range(2):
            optimiser.zero_grad()
            loss = F.cross_entropy(model(x), target)
            loss.backward()
            optimiser.step()
        return [loss.detach().numpy(), *(p.detach().numpy() for p in model.parameters())]


def test_lenet_trains_in_the_emulator():
    plain, emulated = lenet_step("reference"), lenet_step("cuda-emulated")
    for a, b in zip(plain, emulated, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)
    with thread_order(5):
        assert all(np.array_equal(a, b) for a, b in zip(lenet_step("cuda-emulated"), emulated, strict=True))


def test_it_needs_nothing_of_cuda(tmp_path):
    """Neither to import minicnn, nor to train in the emulator: as if no such package were installed."""
    code = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("cupy", "cupyx", "cuda", "nvidia"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nothing())
import minicnn as mc, minicnn.functional as F
from minicnn.info import main
with mc.use_kernels("cuda-emulated"):
    x = mc.randn(2, 1, 6, 6, requires_grad=True)
    F.max_pool2d(F.relu(F.conv2d(x, mc.ones(8, 1, 3, 3))), 2).sum().backward()
main([])
"""
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path,
                         env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert "CuPy is not installed" in out.stdout


# -- launches through CuPy --------------------------------------------------------------------------------------------

class Device:
    """A GPU that notes what it is asked to do."""

    def __init__(self, number: int) -> None:
        self.id, self.entered = number, 0

    def __enter__(self) -> None:
        self.entered += 1

    def __exit__(self, *_) -> None:
        self.entered -= 1


class CupyArray:
    """What launch looks at of a CuPy array."""

    def __init__(self, dtype: str, device: Device) -> None:
        self.dtype, self.size, self.shape, self.device = np.dtype(dtype), 6, (6,), device
        self.data = SimpleNamespace(ptr=4096)


@pytest.fixture
def modules(monkeypatch) -> list:
    """A module cupy whose compiled modules stand in the list, each with its launches."""

    class RawModule:
        def __init__(self, code, options):
            self.code, self.options, self.launches = code, options, []
            made.append(self)

        def get_function(self, name):
            return lambda grid, block, arguments: self.launches.append((name, grid, block, arguments))

    made: list = []
    monkeypatch.setitem(sys.modules, "cupy", type(sys)("cupy"))
    sys.modules["cupy"].RawModule = RawModule
    for cached in (module._on_gpu, module._gpu_module):
        cached.cache_clear()
    yield made
    for cached in (module._on_gpu, module._gpu_module):
        cached.cache_clear()


def test_what_cupy_is_given(modules):
    device, other = Device(0), Device(1)
    x, y = CupyArray("float16", device), CupyArray("int64", device)
    module.launch("elementwise.cu", "relu", (5,), (256,), x, None, y, 7, 0.5, True, (1, -2, (3, 4)))
    module.launch("elementwise.cu", "gelu", (5, 2), (256,), x)
    module.launch("elementwise.cu", "gelu", (5, 0), (256,), x)  # no blocks, no launch
    module.launch("elementwise.cu", "gelu", (1,), (256,), CupyArray("float64", device), 0.5)
    module.launch("elementwise.cu", "gelu", (1,), (256,), CupyArray("float16", other))
    module.launch("elementwise.cu", "gelu", (1,), (256,), module.Table(), module.Table((x, x)))
    (first, second, tables), (double,), (elsewhere,) = (made.launches for made in modules)
    assert [made.options[1] for made in modules] == ["-DREAL=Half", "-DREAL=double", "-DREAL=Half"]
    assert all("#include" not in re.sub("//.*|#include \"half.h\"", "", made.code) for made in modules)
    assert first[:3] == ("relu", (5,), (256,)) and first[3][:3] == (x, None, y)
    seven, half, true, struct = first[3][3:]
    assert [(v, v.dtype) for v in (seven, half, true)] == [(7, np.int32), (0.5, np.float32), (1, np.int32)]
    assert struct.size == 1 and struct.tobytes() == np.array([1, -2, 3, 4], np.int32).tobytes()
    assert second[:3] == ("gelu", (5, 2), (256,)) and double[3][1].dtype == np.float64
    assert elsewhere[0] == "gelu"
    assert [table.tobytes() for table in tables[3]] == [bytes(512), np.array([4096, 4096]).tobytes() + bytes(496)]


def test_what_a_kernel_makes_is_on_the_gpu_of_its_first_array():
    gpu = Device(1)

    def relu(x):
        return gpu.entered

    assert module.for_floats(relu)(CupyArray("float32", gpu)) == 1 and gpu.entered == 0


def test_arrays_of_two_devices_are_refused(modules):
    one, two, here = CupyArray("float32", Device(0)), CupyArray("float32", Device(1)), np.zeros(6, np.float32)
    for first, second, names in ((one, two, "cuda:0 and cuda:1"), (one, here, "cpu and cuda:0"),
                                 (here, two, "cpu and cuda:1")):
        with pytest.raises(RuntimeError, match=f"relu: arrays on {names}; move one to the device of the other"):
            module.launch("elementwise.cu", "relu", (1,), (1,), first, None, second, 3)


# -- the contract -----------------------------------------------------------------------------------------------------

def test_what_is_not_written_in_cuda_is_the_references():
    for name in contract.KERNELS:
        found = getattr(cuda, name)
        assert found is getattr(reference, name) or found.__module__.startswith(cuda.__name__)


def test_every_file_belongs_to_a_module_of_its_name():
    names = {path.stem for path in module.files("*.cu")}
    assert names <= {path.stem for path in module.files("*.py")}
    assert all(Library(module.source(f"{name}.cu"), module.options("float")).parameters for name in names)


# -- devices ----------------------------------------------------------------------------------------------------------

class OnGpu(CupyArray):
    """An array that, like CuPy's, computes nothing together with NumPy's."""

    ndim = 1
    __array_ufunc__ = None


def test_tensors_on_two_devices_are_named_by_both(monkeypatch):
    monkeypatch.setattr(OnGpu, "__module__", "cupy")
    monkeypatch.setitem(sys.modules, "cupy", np)  # whose functions refuse such arrays as CuPy's refuse NumPy's
    x, y = mc.ones(6, requires_grad=True), mc.Tensor(OnGpu("float32", Device(1)))
    assert str(y.device) == "cuda:1"
    for mixed in (lambda: x + y, lambda: y * x, lambda: mc.maximum(x.detach(), y)):
        with pytest.raises(RuntimeError, match=r"\w+: tensors on cpu and cuda:1; move them .* x.to\('cuda:1'\)"):
            mixed()
    with pytest.raises(TypeError, match="does not support ufuncs"):  # an error of one device stays what it is
        mc.exp(y)


def test_why_there_is_no_gpu(monkeypatch):
    """CuPy may be missing, broken, without a driver or without a device; each is told."""
    class CUDARuntimeError(RuntimeError):
        pass

    def refuse():
        raise CUDARuntimeError("cudaErrorInsufficientDriver: too old")

    def cupy(count):
        found = type(sys)("cupy")
        found.cuda = type(sys)("cuda")
        found.cuda.runtime = type(sys)("runtime")
        found.cuda.runtime.getDeviceCount, found.cuda.runtime.CUDARuntimeError = count, CUDARuntimeError
        found.cuda.nvrtc, found.cuda.cublas = SimpleNamespace(getVersion=lambda: (13, 0)), None
        return found

    def no_nvrtc():
        raise RuntimeError("Failure finding libnvrtc.so\n  listdir(...)")

    without = cupy(lambda: 1), cupy(lambda: 1)
    without[0].cuda.nvrtc.getVersion = no_nvrtc
    del without[1].cuda.cublas
    without[1].cuda.__getattr__ = lambda name: exec("raise ImportError('Failure finding libcublas.so')")
    for module_, library in zip(without, ("libnvrtc", "libcublas")):
        monkeypatch.setitem(sys.modules, "cupy", module_)
        assert backend.why_no_cuda() == (f"CuPy finds no NVRTC or cuBLAS (Failure finding {library}.so); in the "
                                         "checkout: pip install '.[cuda13]' (or cuda12)")

    for module_, reason in ((cupy(refuse), "CuPy finds no GPU: cudaErrorInsufficientDriver: too old"),
                            (cupy(lambda: 0), "CuPy finds no GPU"), (cupy(lambda: 2), None)):
        monkeypatch.setitem(sys.modules, "cupy", module_)
        assert backend.why_no_cuda() == reason
    assert bisect(["lenet", "--b", "cuda:2"]) == 1
    for call in (lambda: mc.ones(2).to("cuda:2"), lambda: DataLoader([0], device="cuda:2"),
                 lambda: use_machine("cuda:2", None)):
        with pytest.raises((RuntimeError, CommandError), match="this machine has 2 GPUs, counted from cuda:0"):
            call()
    for error, reason in ((ModuleNotFoundError("No module named 'cupy'", name="cupy"), "CuPy is not installed"),
                          (ModuleNotFoundError("No module named 'x'", name="x"), "cannot be imported: No module named"),
                          (ImportError("\n=====\nlibnvrtc.so is missing\n"), "cannot be imported: libnvrtc.so is mis")):
        def fail(name, error=error):
            raise error

        monkeypatch.setattr(backend.importlib, "import_module", fail)
        assert reason in backend.why_no_cuda()
