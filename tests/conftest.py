"""Settings for all tests: reproducible examples, one PyTorch thread, no leftovers of random state."""

import os
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import torch

import minicnn as mc
from minicnn.kernels import cpu, cuda, reference

from gpu_util import OnGpu

GPU = pytest.mark.gpu

# the first example of a test may compile a kernel, so no deadline; the same examples every time, so no surprises
hypothesis.settings.register_profile("minicnn", deadline=None, derandomize=True, max_examples=30,
                                     suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=1000,
                                     suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("minicnn")
torch.set_num_threads(1)  # two thread pools in one process disturb each other
if "PYTEST_XDIST_WORKER" in os.environ:  # there is a worker for each core
    mc.set_num_threads(1)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # of the commands that tests start


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "gpu: needs a GPU; skipped without one unless MINICNN_REQUIRE_GPU=1")


# where kernels are compiled that no other test needs, and where all those are that most tests need
APART = ("test_configurations_on_eight_lanes", "test_narrow_vectors")
SHARED = ("test_warming_runs_every_kernel_in_float32",)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two workers, who get a half of the tests each, begin with compiling, and with different kernels."""
    shared, apart, others = [], [], []
    for item in items:
        (shared if item.name in SHARED else apart if item.name in APART else others).append(item)
    if shared and apart:
        half = len(items) // 2 - len(shared)
        items[:] = [*shared, *others[:half], *apart, *others[half:]]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What needs a GPU is skipped without one, or fails where MINICNN_REQUIRE_GPU=1 says that there is one."""
    if item.get_closest_marker("gpu") and (reason := mc.backend.why_no_cuda()):
        (pytest.fail if os.environ.get("MINICNN_REQUIRE_GPU") == "1" else pytest.skip)(f"needs a GPU: {reason}")


@pytest.fixture(scope="session", params=["reference", "cpu", "cuda-emulated", pytest.param("cuda", marks=GPU)])
def kernels(request: pytest.FixtureRequest) -> Any:
    """The kernels of each back end in turn, called with NumPy arrays; "cuda" is the real thing."""
    modules = {"reference": reference, "cpu": cpu, "cuda-emulated": cuda}
    return modules.get(request.param) or OnGpu()


@pytest.fixture(autouse=True)
def seed() -> None:
    mc.manual_seed(0)
    torch.default_generator.manual_seed(0)


@pytest.fixture
def pytorch_in_doubles() -> Iterator[None]:
    """PyTorch's own numbers, such as NAdam's product of momenta, in double precision, as ours are."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
