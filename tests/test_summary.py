"""The summary of a network: totals from the literature, memory counted by hand, other people's tables line by line."""

import re

import pytest
from models_util import blank

import minicnn as mc
from minicnn import functional as F
from minicnn import models, nn
from minicnn.explain import Field, summary
from minicnn.summary import main

MACS = {"lenet": 416_520, "lenet5": 416_520, "lenet_tanh": 416_520, "lenet_maxpool": 281_640, "lenet_bn": 281_640,
        "cnn2": 13_808_400}


@pytest.mark.parametrize("name", sorted(MACS))
def test_totals(name):
    s = summary(models.create(name))
    assert s.macs == MACS[name]
    assert s.parameters == sum(layer.parameters for layer in s.layers)
    assert s.field == Field((16, 16), (4, 4))
    assert s.input_shape == models.entry(name).input_shape


def test_layers_of_lenet():
    layers = {layer.name: layer for layer in summary(models.create("lenet")).layers}
    weighted = [layers[name] for name in ("conv1", "conv2", "fc1", "fc2", "fc3")]
    assert [layer.output for layer in layers.values()] == [
        (6, 28, 28), (6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 10, 10), (16, 5, 5), (400,), (120,), (120,), (84,),
        (84,), (10,)]
    assert [layer.parameters for layer in weighted] == [156, 2_416, 48_120, 10_164, 850]
    assert [layer.macs for layer in weighted] == [117_600, 240_000, 48_000, 10_080, 840]
    assert layers["conv1"].im2col == 25 * 28 * 28 * 4 and layers["conv2"].im2col == 6 * 25 * 10 * 10 * 4
    assert [layers[name].field.size for name in ("conv1", "pool1", "conv2", "pool2", "fc1")] == \
        [(5, 5), (6, 6), (14, 14), (16, 16), None]
    assert [layers[name].field.jump[0] for name in ("conv1", "pool1", "conv2", "pool2")] == [1, 2, 2, 4]


def test_buffers():
    s = summary(models.create("lenet_bn"))
    assert s.buffers == 452
    assert [layer.buffers for layer in s.layers if layer.buffers] == [12, 32, 240, 168]


def test_memory_by_hand():
    """conv keeps its input, ReLU its output; a flattened view is no memory of its own; weights are not counted."""
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 8, 10))
    s = summary(net, (1, 8, 10))
    image, features = 8 * 10 * 4, 4 * 6 * 8 * 4
    assert [layer.forward for layer in s.layers] == [features, features, 0, 40]
    assert [layer.kept for layer in s.layers] == [image, features, 0, 0]  # the linear layer's input is ReLU's output
    assert (s.forward, s.kept) == (2 * features + 40, image + features)
    assert s.parameter_bytes == 4 * s.parameters
    assert summary(net.double(), (1, 8, 10)).kept == 2 * s.kept


def test_it_changes_nothing():
    model = models.create("lenet_bn")
    model.bn1.eval()
    before = {name: t.data.copy() for name, t in model.state_dict().items()}
    state = mc.backend.default_generator.state_dict()
    summary(model)
    assert model.training and model.conv1.training and not model.bn1.training
    assert all((t.data == before[name]).all() for name, t in model.state_dict().items())
    assert mc.backend.default_generator.state_dict() == state
    assert all(p.grad is None for p in model.parameters())
    assert not any(layer._forward_hooks for layer in model.modules())


def test_printed_table():
    text = str(summary(models.create("lenet_bn")))
    lines = text.splitlines()
    assert max(map(len, lines[:20])) <= 80
    assert lines[0] == "lenet_bn on images of 1×28×28"
    assert "conv2   Conv2d      16×8×8     2,416 153.6k 55%   4.0Ki  3.4Ki 37.5Ki    14    2" in lines
    assert "44,878 parameters (175KiB) and 452 buffers, 281,640 MACs per image" in lines
    assert "receptive field: 16 pixels of an image of 28" in lines
    assert "\x1b" not in text


def test_errors():
    with pytest.raises(ValueError, match="input_shape is needed"):
        summary(nn.Sequential(nn.Conv2d(1, 2, 3)))
    with pytest.raises(ValueError, match="lenet: images of 1×20×20 do not fit"):
        summary(models.create("lenet"), (1, 20, 20))
    with pytest.raises(ValueError, match="'latex' must be one of 'rich', 'plain', 'keras', 'torchsummary'"):
        summary(models.create("lenet"), style="latex")
    with pytest.raises(ValueError, match="depth = 0 must be at least 1"):
        summary(models.create("lenet"), depth=0)


# -- networks that are no chains ------------------------------------------------------------------------------------


class Branches(nn.Module):
    """Everything that hooks on layers alone do not see, and a layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(inplace=True)
        self.drop, self.scale = nn.Dropout(), nn.Parameter(mc.ones(4, 1, 1))
        self.head = nn.Linear(4 * 6 * 8, 5)
        self.spare = nn.Linear(7, 7)

    def forward(self, x):
        y = self.relu(self.conv(x))
        y = mc.cat([self.relu(y + self.scale * 2), self.drop(x)], dim=1)
        y = F.conv2d(y, mc.ones(4, 6, 1, 1))
        return {"logits": self.head(y.flatten(1)), "maps": [y]}


def test_operations_between_layers():
    s = summary(Branches(), (2, 6, 8))
    maps = 4 * 6 * 8 * 4
    rows = [(row.name, row.kind, row.output, row.parameters, row.macs, row.forward) for row in s.layers]
    assert rows == [
        ("conv", "Conv2d", (4, 6, 8), 76, 3_456, maps), ("relu", "ReLU", (4, 6, 8), 0, 0, 0),
        ("add", "Add", (4, 6, 8), 4, 0, maps), ("relu", "ReLU", (4, 6, 8), 0, 0, 0),
        ("drop", "Dropout", (2, 6, 8), 0, 0, 0), ("cat", "Cat", (6, 6, 8), 0, 0, maps * 6 // 4),
        ("conv2d", "Conv2d", (4, 6, 8), 0, 1_152, maps), ("reshape", "Reshape", (192,), 0, 0, 0),
        ("head", "Linear", (5,), 965, 960, 20)]
    assert [row.inputs for row in s.layers] == [
        ("",), ("conv",), ("relu",), ("add",), ("",), ("relu", "drop"), ("cat",), ("conv2d",), ("reshape",)]
    assert s.parameters == 76 + 4 + 965 + 56
    assert "56 of the parameters are in layers that did not run" in str(s).splitlines()


def test_a_network_that_is_one_layer_or_none():
    assert [layer.name for layer in summary(nn.Conv2d(1, 2, 3), (1, 5, 5)).layers] == [""]
    assert [layer.kind for layer in summary(nn.Sequential(), (1, 5, 5)).layers] == ["Sequential"]
    assert [layer.kind for layer in summary(nn.Sequential(nn.Identity()), (1, 5, 5)).layers] == ["Identity"]


def test_what_is_not_recorded_in_training_keeps_nothing():
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh())
            self.head = nn.Conv2d(2, 1, 1)

        def forward(self, x):
            with mc.no_grad():
                y = self.body(x)
            assert mc.is_grad_enabled()
            return self.head(y)

    conv, tanh, head = summary(Frozen(), (1, 6, 6)).layers
    assert (conv.macs, conv.kept, tanh.kept, head.kept) == (288, 0, 0, 2 * 16 * 4)
    assert head.inputs == ("body.1",) and head.field == Field((3, 3), (1, 1))
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(4, 3)).requires_grad_(False)
    assert (summary(net, (1, 6, 6)).frozen, summary(net, (1, 6, 6)).macs) == (35, 288 + 96)


def test_recurrent_layers():
    """Per step, a gate costs a product with the input's weights and one with the state's."""
    s = summary(nn.Sequential(nn.LSTM(5, 7, batch_first=True, proj_size=3)), (11, 5))
    assert s.macs == 11 * (4 * 7 * (5 + 3) + 7 * 3)
    text = summary(models.create("seq2seq", width=1 / 16))
    assert [layer.kind for layer in text.layers if layer.parameters] == ["Embedding", "LSTM", "Embedding", "LSTM",
                                                                        "Linear"]
    assert str(text).startswith("seq2seq on texts of 16\n") and "MACs per text" in str(text)
    assert all(layer.field.size == () for layer in text.layers)
    assert not re.search("field|jump|im2col|image", str(text))


# totals: parameters, buffers, multiply-adds; of MODELS.md
TOTALS = {
    "alexnet_gray224": (46_764_746, 0, 938_146_176), "alexnet_gray227": (58_299_082, 0, 1_060_924_256),
    "alexnet_bn": (58_325_066, 2_752, 1_131_201_056), "vgg11_d2l": (128_806_154, 0, 7_547_232_256),
    "nin": (1_992_166, 0, 762_297_352), "nin_cifar": (966_986, 0, 222_486_528),
    "googlenet_gray224": (5_927_850, 0, 1_493_248_000), "googlenet_d2l": (5_977_530, 0, 276_066_304),
    "densenet_d2l": (758_226, 6_608, 129_077_168), "resnet18_d2l": (11_178_378, 7_808, 1_734_890_496)}


@pytest.mark.parametrize("name", TOTALS)
def test_totals_of_the_larger_networks(name):
    s = summary(blank(name))
    assert (s.parameters, s.buffers, s.macs) == TOTALS[name]
    assert s.parameters == sum(layer.parameters for layer in s.layers)


# -- deep networks --------------------------------------------------------------------------------------------------


def test_modules_stand_for_what_is_in_them():
    s = summary(blank("resnet50"))
    names = [row.name for row in s.rows]
    assert names[:5] == ["conv1", "bn1", "relu", "maxpool", "layer1.0"] and names[-2:] == ["flatten", "fc"]
    assert len(names) == 4 + 3 + 4 + 6 + 3 + 3 and s.depth == 2
    assert "23 rows for 175 layers and operations: modules to depth 2" in str(s).splitlines()
    for name in ("parameters", "buffers", "macs", "forward", "kept"):
        assert sum(getattr(row, name) for row in s.rows) == sum(getattr(layer, name) for layer in s.layers) > 0
    block = next(row for row in s.rows if row.name == "layer2.0")
    inside = [layer for layer in s.layers if layer.name.startswith("layer2.0.")]
    assert (block.kind, block.output, block.field) == ("Bottleneck", (512, 28, 28), inside[-1].field)
    assert block.im2col == max(layer.im2col for layer in inside) and block.inputs == ("layer1.2",)
    assert block.parameters == 379_392


@pytest.mark.parametrize("depth, rows", [(1, 11), (2, 15), (3, 66), (4, 69), (9, 69)])
def test_depth(depth, rows):
    s = summary(blank("resnet18"), depth=depth)
    assert len(s.rows) == rows and sum(row.macs for row in s.rows) == s.macs
    assert ("layers and operations: modules to depth" in str(s)) == (rows < 69)


@pytest.mark.parametrize("name", models.list())
def test_every_model_is_readable(name):
    assert len(summary(blank(name)).rows) <= 64


# -- other people's tables ------------------------------------------------------------------------------------------

NOTE003_LENET = """Model: "sequential_12"
_________________________________________________________________
Layer (type)                 Output Shape              Param #   
=================================================================
conv2d_24 (Conv2D)           (None, 28, 28, 6)         156       
_________________________________________________________________
max_pooling2d_4 (MaxPooling2 (None, 14, 14, 6)         0         
_________________________________________________________________
conv2d_25 (Conv2D)           (None, 10, 10, 16)        2416      
_________________________________________________________________
max_pooling2d_5 (MaxPooling2 (None, 5, 5, 16)          0         
_________________________________________________________________
flatten_12 (Flatten)         (None, 400)               0         
_________________________________________________________________
dense_36 (Dense)             (None, 120)               48120     
_________________________________________________________________
dense_37 (Dense)             (None, 84)                10164     
_________________________________________________________________
dense_38 (Dense)             (None, 10)                850       
=================================================================
Total params: 61,706
Trainable params: 61,706
Non-trainable params: 0
_________________________________________________________________"""  # noqa: W291

NOTE003_ALEXNET = """Model: "sequential_16"
_________________________________________________________________
Layer (type)                 Output Shape              Param #   
=================================================================
conv2d_34 (Conv2D)           (None, 55, 55, 96)        34944     
_________________________________________________________________
batch_normalization_5 (Batch (None, 55, 55, 96)        384       
_________________________________________________________________
max_pooling2d_9 (MaxPooling2 (None, 27, 27, 96)        0         
_________________________________________________________________
conv2d_35 (Conv2D)           (None, 27, 27, 256)       614656    
_________________________________________________________________
batch_normalization_6 (Batch (None, 27, 27, 256)       1024      
_________________________________________________________________
max_pooling2d_10 (MaxPooling (None, 13, 13, 256)       0         
_________________________________________________________________
conv2d_36 (Conv2D)           (None, 13, 13, 384)       885120    
_________________________________________________________________
batch_normalization_7 (Batch (None, 13, 13, 384)       1536      
_________________________________________________________________
conv2d_37 (Conv2D)           (None, 13, 13, 384)       1327488   
_________________________________________________________________
batch_normalization_8 (Batch (None, 13, 13, 384)       1536      
_________________________________________________________________
conv2d_38 (Conv2D)           (None, 13, 13, 256)       884992    
_________________________________________________________________
batch_normalization_9 (Batch (None, 13, 13, 256)       1024      
_________________________________________________________________
max_pooling2d_11 (MaxPooling (None, 6, 6, 256)         0         
_________________________________________________________________
flatten_15 (Flatten)         (None, 9216)              0         
_________________________________________________________________
dense_43 (Dense)             (None, 4096)              37752832  
_________________________________________________________________
dropout (Dropout)            (None, 4096)              0         
_________________________________________________________________
dense_44 (Dense)             (None, 4096)              16781312  
_________________________________________________________________
dropout_1 (Dropout)          (None, 4096)              0         
_________________________________________________________________
dense_45 (Dense)             (None, 10)                40970     
=================================================================
Total params: 58,327,818
Trainable params: 58,325,066
Non-trainable params: 2,752
_________________________________________________________________"""  # noqa: W291


@pytest.mark.parametrize("name, table", [("lenet_tanh", NOTE003_LENET), ("alexnet_bn", NOTE003_ALEXNET)])
def test_the_keras_tables_of_note_003(name, table):
    """Line by line and number by number; only the names of layers, in the first 29 columns, are others."""
    ours, theirs = str(summary(blank(name), style="keras")).splitlines(), table.splitlines()
    assert len(ours) == len(theirs) and ours[0] == f'Model: "{name}"'
    for mine, line in zip(ours[1:], theirs[1:], strict=True):
        if line[29:].startswith("(None"):
            assert mine[29:] == line[29:] and len(mine) == len(line)
            kind = line[:28].partition("(")[2].rstrip(" )")  # some are cut off
            assert mine[:29].partition("(")[2].startswith(kind)
        else:
            assert mine == line


def test_keras_shows_what_branches_are_connected_to():
    lines = str(summary(blank("resnet18"), style="keras")).splitlines()
    assert lines[1] == "_" * 98 and all(len(line) == 98 for line in lines[1:4])
    assert lines[2].rstrip() == "Layer (type)                    Output Shape         Param #     Connected to"
    at = next(i for i, line in enumerate(lines) if line.startswith("layer1.0.add (Add)"))
    assert lines[at].split() == "layer1.0.add (Add) (None, 56, 56, 64) 0 layer1.0.bn2[0][0]".split()
    assert lines[at + 1].split() == ["maxpool[0][0]"]
    assert lines[-4:-1] == ["Total params: 11,191,242", "Trainable params: 11,181,642", "Non-trainable params: 9,600"]


TORCHSUMMARY = """----------------------------------------------------------------
        Layer (type)               Output Shape         Param #
================================================================
            Conv2d-1           [-1, 96, 55, 55]          11,712
              ReLU-2           [-1, 96, 55, 55]               0
         MaxPool2d-3           [-1, 96, 27, 27]               0
       BatchNorm2d-4           [-1, 96, 27, 27]             192
           Flatten-5                [-1, 69984]               0
            Linear-6                   [-1, 10]         699,850
           Dropout-7                   [-1, 10]               0
================================================================
Total params: 711,754
Trainable params: 711,754
Non-trainable params: 0
----------------------------------------------------------------
Input size (MB): 0.20
Forward/backward pass size (MB): 6.03
Params size (MB): 2.72
Estimated Total Size (MB): 8.94
----------------------------------------------------------------"""


def test_torchsummarys_table():
    """What torchsummary 1.5.1 prints of the same network in PyTorch, to the letter."""
    net = nn.Sequential(nn.Conv2d(1, 96, 11, 4), nn.ReLU(), nn.MaxPool2d(3, 2), nn.BatchNorm2d(96), nn.Flatten(),
                        nn.Linear(96 * 27 * 27, 10), nn.Dropout())
    s = summary(net, (1, 227, 227), style="torchsummary")
    assert str(s) == TORCHSUMMARY
    net[0].requires_grad_(False)
    text = str(summary(net, (1, 227, 227), style="torchsummary"))
    assert "Trainable params: 700,042\nNon-trainable params: 11,712" in text


@pytest.mark.parametrize("style", ["rich", "plain", "keras", "torchsummary"])
def test_styles_on_a_terminal(style):
    from rich.console import Console

    s = summary(models.create("lenet"), style=style)
    console = Console(width=100, force_terminal=True, color_system="truecolor")
    with console.capture() as captured:
        console.print(s)
    assert ("\x1b" in captured.get()) == (style == "rich")
    if style != "rich":
        assert captured.get().split() == str(s).split()


# -- the command ----------------------------------------------------------------------------------------------------


def test_the_command(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["lenet_tanh", "--style", "keras"]) == 0
    assert "max" not in capsys.readouterr().out
    assert main(["resnet20", "--depth", "1"]) == 0
    assert re.search(r"^layer3 +Sequential +64×8×8", capsys.readouterr().out, re.MULTILINE)
    assert main(["lenet", "--graph", "lenet.svg"]) == 0 and (tmp_path / "lenet.svg").read_text().startswith("<svg")
    assert "wrote lenet.svg" in capsys.readouterr().out
    assert main(["lenet", "--diff", "lenet5"]) == 0
    assert "1 of 12 rows differ" in capsys.readouterr().out
    assert main(["rnn_classifier"]) == 0
    capsys.readouterr()
    assert main([]) == 0
    heads = [line.split()[:2] for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert [name for name, _ in heads] == models.list() and ["googlenet_gray224", "1×224×224"] in heads
    assert main(["char_lstm", "--input", "1x28x28"]) == 2
    assert "--input 1×28×28: char_lstm reads texts of any length, not images" in capsys.readouterr().err
    for arguments, message in ((["--graph", "lenet.png"], "lenet.png must end with .svg, .mmd, .dot"),
                               (["--graph", "a.svg", "--diff", "lenet"], "not allowed with argument --graph"),
                               (["--diff", "lenett"], "did you mean 'lenet'?"),
                               (["--depth", "0"], "must be at least 1"), (["--style", "tex"], "invalid choice: 'tex'")):
        assert main(["lenet", *arguments]) == 2
        assert message in capsys.readouterr().err


def test_what_is_asked_of_no_network_is_refused(capsys):
    for flag, value in (("--graph", "a.svg"), ("--diff", "lenet"), ("--input", "1x28x28"), ("--classes", "3"),
                        ("--depth", "2"), ("--style", "keras"), ("--option", "activation=tanh")):
        assert main([flag, value]) == 2 and f"{flag}: of which MODEL?" in capsys.readouterr().err
