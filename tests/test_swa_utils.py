"""Statistics of batch normalisation taken anew, beside PyTorch's."""

from typing import Any

import numpy as np
import pytest
import torch

import minicnn as mc
from minicnn import data, nn
from minicnn.optim.swa_utils import update_bn


def network(library: Any) -> Any:
    """Layers of PyTorch or of minicnn; one normalisation has no statistics."""
    return library.Sequential(library.Conv2d(2, 3, 3), library.BatchNorm2d(3, momentum=0.3), library.ReLU(),
                              library.BatchNorm2d(3, track_running_stats=False), library.Flatten(),
                              library.BatchNorm1d(36, momentum=None, affine=False), library.Linear(36, 4),
                              library.BatchNorm1d(4)).double()


@pytest.fixture
def networks() -> tuple[nn.Sequential, torch.nn.Sequential]:
    """The same in both, after a step of training."""
    ours, theirs = network(nn), network(torch.nn)
    ours.load_state_dict({key: mc.tensor(value.numpy()) for key, value in theirs.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((7, 2, 5, 6))
    ours(mc.tensor(x))
    theirs(torch.from_numpy(x))
    return ours.eval(), theirs.eval()


def batches() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal((n, 2, 5, 6)) * n + 1 for n in (8, 8, 3)]


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x, 0), lambda x: [x]], ids=["alone", "pair", "list"])
def test_equals_pytorch(networks, wrap):
    ours, theirs = networks
    ours[3].train()
    before = {key: value.data.copy() for key, value in ours.state_dict().items() if "running" not in key}
    update_bn([wrap(mc.tensor(x)) for x in batches()], ours)
    torch.optim.swa_utils.update_bn([wrap(torch.from_numpy(x)) for x in batches()], theirs)
    for (key, value), expected in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        np.testing.assert_allclose(value.data, expected.numpy(), rtol=1e-12, atol=1e-14, err_msg=key)
        if key in before and "tracked" not in key:
            assert (value.data == before[key]).all()
    assert [layer.momentum for layer in ours if hasattr(layer, "momentum")] == [0.3, 0.1, None, 0.1]
    assert [layer.training for layer in ours] == [i == 3 for i in range(8)] and not ours.training
    assert all(p.grad is None for p in ours.parameters())


def test_the_loader_of_a_data_set(networks):
    x = np.concatenate(batches())
    ours, theirs = networks
    loader = data.DataLoader(data.TensorDataset(x, np.arange(len(x))), 19)
    update_bn(loader, ours)
    torch.optim.swa_utils.update_bn([torch.from_numpy(x)], theirs)
    np.testing.assert_allclose(ours[1].running_var.data, theirs[1].running_var.numpy(), rtol=1e-12)


def test_batches_go_to_the_device(networks):
    moved = []

    class Batch:
        def to(self, device: str) -> mc.Tensor:
            moved.append(device)
            return mc.tensor(batches()[0])

    update_bn([Batch(), (Batch(), "label")], networks[0], "cpu")
    assert moved == ["cpu", "cpu"]


def test_a_network_without_them_is_not_called():
    def nothing():
        raise AssertionError
        yield

    update_bn(nothing(), nn.Sequential(nn.Linear(2, 2)))


def test_momentum_and_mode_come_back_after_an_error(networks):
    ours, _ = networks
    with pytest.raises(RuntimeError, match="5 channels"):
        update_bn([mc.zeros(8, 5, 5, 6, dtype=mc.float64)], ours)
    assert ours[1].momentum == 0.3 and not any(layer.training for layer in ours)
