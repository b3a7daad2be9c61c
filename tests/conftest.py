"""Settings for all tests: reproducible examples, one PyTorch thread, no leftovers of random state."""

import os

import hypothesis
import pytest
import torch

import minicnn as mc

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


@pytest.fixture(autouse=True)
def seed() -> None:
    mc.manual_seed(0)
    torch.manual_seed(0)
