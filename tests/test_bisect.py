"""bisect: right back ends agree in every layer, and a kernel that is wrong is found where it is first used."""

import numpy as np
import pytest

import minicnn as mc
from minicnn import models
from minicnn.__main__ import main
from minicnn.kernels import cpu, cuda
from minicnn.testing.bisection import bisect


def off(kernel, index=(0, 0), by=1e-6, result=None):
    """A kernel that is wrong in one element of one result, by a little of the largest."""
    def wrong(*arguments):
        found = kernel(*arguments)
        array = found if result is None else found[result]
        array[index] += by * np.abs(array).max()
        return found

    return wrong


def test_back_ends_agree(capsys):
    for name in ("lenet_bn", "resnet20", "seq2seq", "birnn_tagger"):
        assert main(["bisect", "--a", "cpu", "--b", "reference", name]) == 0
    assert main(["bisect", "--a", "reference", "--b", "cuda-emulated", "lenet_maxpool", "--dtype", "float32"]) == 0
    out = capsys.readouterr().out
    assert "lenet_bn, 2 inputs, float64: cpu against reference, bound 1e-08\nforward   " in out
    assert out.count("arrays agree; largest difference ") == 10 and "nan" not in out


@pytest.mark.parametrize("kernels, name, kernel, options, direction, layer, what", [
    (cpu, "alexnet", "max_pool2d", {"index": (1, 3, 0, 2), "result": 0}, "forward", "features.2 (MaxPool2d)", "output"),
    (cpu, "lenet", "conv2d_weight_grad", {"index": (5, 0, 4, 3)}, "backward", "conv2 (Conv2d)", "gradient of weight"),
    (cpu, "lenet_tanh", "conv2d_input_grad", {"index": (0, 0, 13, 1)}, "backward", "conv2 (Conv2d)",
     "gradient of the input"),
    (cuda, "lenet_bn", "batch_norm_grad", {"index": (2,), "result": 1}, "backward", "bn4 (BatchNorm1d)",
     "gradient of weight")])
def test_a_wrong_kernel_is_found(monkeypatch, kernels, name, kernel, options, direction, layer, what):
    monkeypatch.setattr(kernels, kernel, off(getattr(kernels, kernel), **options))
    other = "cpu" if kernels is cpu else "cuda-emulated"
    found = bisect(models.create(name), "reference", other, bound=1e-8).first
    assert (found.direction, found.layer, found.what, found.index) == (direction, layer, what, options["index"])
    assert found.relative == pytest.approx(1e-6, rel=0.1) and found.values[0] != found.values[1]


def test_what_is_wrong_between_layers_is_seen_at_the_next(monkeypatch):
    """A sum of two branches is no layer."""
    class Net(mc.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = mc.nn.Conv2d(1, 3, 3), mc.nn.Conv2d(3, 2, 3)

        def forward(self, x):
            return self.second(mc.functional.gelu(self.first(x)))

    monkeypatch.setattr(cpu, "gelu", off(cpu.gelu, (0, 2, 1, 1)))
    found = bisect(Net(), "cpu", "reference", bound=1e-8, input_shape=(1, 7, 6)).first
    assert (found.direction, found.layer, found.what, found.index) == ("forward", "second (Conv2d)", "input",
                                                                       (0, 2, 1, 1))


def test_nan_and_infinity(monkeypatch):
    for value, relative in ((np.nan, np.inf), (np.inf, np.inf)):
        with monkeypatch.context() as changed:
            changed.setattr(cpu, "conv2d", off(cpu.conv2d, by=value))
            assert bisect(models.create("lenet"), "reference", "cpu", bound=1e-8).first.relative == relative
            assert bisect(models.create("lenet"), "cpu", "cpu", bound=1e-8).first is None


def test_the_command(monkeypatch, capsys):
    monkeypatch.setattr(cpu, "conv2d_weight_grad", off(cpu.conv2d_weight_grad, by=0.5))
    assert main(["bisect", "lenet"]) == 1
    out = capsys.readouterr().out
    assert "forward   24 arrays agree" in out
    assert "backward  the first difference is in conv2 (Conv2d): gradient of weight, (16, 6, 5, 5)\n" in out
    assert "at (0, 0, " in out and " cpu has " in out and "of the largest element" in out
    assert main(["bisect", "lenet", "--bound", "10"]) == 0
    for arguments, code, message in ((["lenet", "--b", "gpu"], 2, "there is no back end gpu"),
                                     (["lenett"], 2, "did you mean 'lenet'"),
                                     (["lenet", "--option", "x=1"], 2, "no option 'x'")):
        assert main(["bisect", *arguments]) == code
        assert message in capsys.readouterr().err


def test_without_a_gpu(monkeypatch, capsys):
    monkeypatch.setattr(mc.backend, "why_no_cuda", lambda: "CuPy finds no GPU")
    assert main(["bisect", "lenet", "--b", "cuda:1"]) == 1
    assert "back end cuda:1 cannot be used: CuPy finds no GPU" in capsys.readouterr().err
    assert main(["bisect", "lenet", "--b", "cuda:one"]) == 2
    assert "there is no back end cuda:one" in capsys.readouterr().err
