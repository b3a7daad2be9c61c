"""LeNet-5 of 1998 against the paper: connections counted, and every layer as the text describes it, in PyTorch."""

import numpy as np
import pytest
import torch

import minicnn as mc
from minicnn import models, nn
from minicnn.models.lenet import TABLE, TableConv2d
from models_util import blank, buffers, check_step, near, parameters

t = torch.nn


class Squash(t.Module):
    """Eq. 6: f(a) = A·tanh(S·a), A = 1.7159, S = 2/3."""

    def forward(self, a):
        return 1.7159 * torch.tanh(2 / 3 * a)


class Subsample(t.Module):
    """Four inputs are added, then multiplied by a trainable coefficient, and a trainable bias is added."""

    def __init__(self, maps):
        super().__init__()
        self.coefficient, self.bias = (t.Parameter(torch.randn(maps, 1, 1)) for _ in range(2))

    def forward(self, x):
        four = x[:, :, ::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, ::2] + x[:, :, 1::2, 1::2]
        return self.coefficient * four + self.bias


class C3(t.Module):
    """One convolution for each map, over the maps of S2 that table I marks."""

    MARKS = """X   XXX  XXXX XX
               XX   XXX  XXXX X
               XXX   XXX  X XXX
                XXX  XXXX  X XX
                 XXX  XXXX XX X
                  XXX  XXXX XXX"""

    def __init__(self):
        super().__init__()
        rows = [row[15:].ljust(16) if i else row.ljust(16) for i, row in enumerate(self.MARKS.split("\n"))]
        self.inputs = [[i for i in range(6) if rows[i][j] == "X"] for j in range(16)]
        self.weight = t.Parameter(torch.randn(sum(map(len, self.inputs)), 1, 5, 5))
        self.bias = t.Parameter(torch.randn(16))

    def forward(self, x):
        maps, first = [], 0
        for inputs, bias in zip(self.inputs, self.bias, strict=True):
            kernels = self.weight[first:first + len(inputs), 0]
            maps.append(t.functional.conv2d(x[:, inputs], kernels[None], bias[None]))
            first += len(inputs)
        return torch.cat(maps, 1)


class Output(t.Module):
    """Eq. 7: y_i = Σ_j (x_j − w_ij)², the penalty; its negative is the logit of eq. 9."""

    def __init__(self):
        super().__init__()
        self.register_buffer("codes", torch.tensor(np.sign(np.random.default_rng(3).normal(size=(10, 84)))))

    def forward(self, x):
        return torch.stack([-((x - code) ** 2).sum(1) for code in self.codes], 1)


def twin():
    return t.Sequential(t.Conv2d(1, 6, 5), Squash(), Subsample(6), Squash(), C3(), Squash(), Subsample(16), Squash(),
                        t.Conv2d(16, 120, 5), Squash(), t.Flatten(), t.Linear(120, 84), Squash(), Output())


def test_table():
    assert C3().inputs == [sorted(maps) for maps in TABLE]
    assert sum(map(len, TABLE)) * 25 + 16 == 1_516


def test_a_step_is_the_papers():
    """The order of the inputs of a map is the table's, which in four rows is not ascending."""
    theirs = twin()
    theirs[4].inputs = [list(maps) for maps in TABLE]
    check_step(blank("lenet5_1998"), theirs, 32, 32, batch=3)


def test_parameters():
    model = blank("lenet5_1998")
    assert [parameters(getattr(model, name)) for name in ("c1", "s2", "c3", "s4", "c5", "f6")] == [
        156, 12, 1_516, 32, 48_120, 10_164]
    assert (parameters(model), buffers(model)) == (60_000, 840)


def test_shapes():
    shapes = {}
    model = blank("lenet5_1998")
    for name, layer in model.named_children():
        layer.register_forward_hook(lambda layer, args, y, name=name: shapes.update({name: y.shape[1:]}))
    model(mc.zeros(1, 1, 32, 32))
    assert {name: shape for name, shape in shapes.items() if not name.startswith("act")} == {
        "c1": (6, 28, 28), "s2": (6, 14, 14), "c3": (16, 10, 10), "s4": (16, 5, 5), "c5": (120, 1, 1),
        "flatten": (120,), "f6": (84,), "output": (10,)}


def test_a_map_reads_its_inputs_alone():
    layer = TableConv2d(TABLE, 6, 5)
    x = mc.randn(1, 6, 5, 5)
    for i in range(6):
        changed = x.data.copy()
        changed[:, i] += 1
        differs = (layer(mc.tensor(changed)) - layer(x)).data.ravel() != 0
        assert differs.tolist() == [i in maps for maps in TABLE]


def test_loss_is_equation_9():
    """y_D + log Σ exp(−y_i) of the penalties y, for j → ∞."""
    model, x = models.create("lenet5_1998"), mc.randn(4, 1, 32, 32)
    labels = torch.tensor([3, 0, 9, 3])
    penalties = -torch.from_numpy(model(x).data)
    expected = (penalties[range(4), labels] + torch.log(torch.exp(-penalties).sum(1))).mean()
    near(mc.functional.cross_entropy(model(x), mc.tensor(labels.numpy())), expected, 1e-5, "loss")


def test_codes_are_images_of_the_digits():
    codes = models.create("lenet5_1998").output.codes.data.reshape(10, 12, 7)
    assert set(np.unique(codes)) == {-1, 1}
    assert "\n".join("".join(".#"[int(pixel > 0)] for pixel in row) for row in codes[4]) == \
        "....##.\n...###.\n..####.\n.##.##.\n##..##.\n##..##.\n#######\n....##.\n....##.\n....##.\n.......\n......."
    distances = [(a != b).sum() for i, a in enumerate(codes) for b in codes[:i]]
    assert min(distances) >= 5


def test_more_and_fewer_classes():
    assert models.create("lenet5_1998", 7, 2)(mc.zeros(2, 2, 32, 32)).shape == (2, 7)
    codes = models.create("lenet5_1998", 26).output.codes.data
    assert codes.shape == (26, 84) and len(np.unique(codes, axis=0)) == 26 and set(np.unique(codes)) == {-1, 1}
    np.testing.assert_array_equal(codes[:10], models.create("lenet5_1998").output.codes.data)


def test_initial_weights():
    """Uniform within ±2.4/F, F the number of inputs of the unit."""
    model = models.create("lenet5_1998")
    kernels = np.split(model.c3.weight.data, np.cumsum([len(maps) for maps in TABLE])[:-1])
    fans = [(model.c1.weight.data, 25), (model.c5.weight.data, 400), (model.f6.weight.data, 120),
            (model.f6.bias.data, 120), *((k, 25 * len(k)) for k in kernels)]
    for values, fan in fans:
        bound, count = 2.4 / fan, values.size
        assert bound * (1 - 20 / count) < np.abs(values).max() <= bound
        assert abs(values.mean()) < 5 * bound / count ** 0.5
    for layer in (model.s2, model.s4):
        assert np.abs(layer.weight.data).max() <= 0.6 and np.abs(layer.weight.data).std() > 0


def test_a_wrong_size_is_explained():
    with pytest.raises(ValueError, match="flatten 120·2·2 = 480, but f6 expects 120; sizes that fit: 32×32 to 35×35"):
        models.create("lenet5_1998")(mc.zeros(1, 1, 36, 36))


def test_it_survives_double_and_its_state():
    model = models.create("lenet5_1998").double()
    assert "c3.index" not in model.state_dict() and isinstance(model.c3, nn.Conv2d)
    other = models.create("lenet5_1998").double()
    other.load_state_dict(model.state_dict())
    x = mc.randn(2, 1, 32, 32).double()
    np.testing.assert_array_equal(model(x).data, other(x).data)
