"""Module beside PyTorch's: what is registered, found, converted, saved, loaded, copied and printed."""

import copy
import pickle

import numpy as np
import pytest
import torch

import minicnn as mc
from minicnn import nn

LIBRARIES = ((nn, mc), (torch.nn, torch))


def network(nn, mc):
    """A network with a shared module, a shared parameter, absent ones and both kinds of buffers, in either library."""

    class Block(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.conv = nn.Conv2d(channels, channels, 3, bias=False)
            self.norm = nn.BatchNorm2d(channels)
            self.register_module("absent", None)

        def forward(self, x):
            return self.norm(self.conv(x))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(mc.ones(1))
            self.register_buffer("table", mc.zeros(2, 3))
            self.register_buffer("cache", mc.zeros(2), persistent=False)
            self.register_buffer("nothing", None)
            self.register_parameter("empty", None)
            self.body = nn.Sequential(Block(2), nn.ReLU(), Block(3))
            self.again = self.body[0]
            self.head = nn.Linear(3, 2)
            self.tied = nn.Linear(3, 2)
            self.tied.weight = self.head.weight
            self.same = self.tied

        def extra_repr(self):
            return "first line\nsecond line"

    return Net()


class Small(nn.Module):
    """At module level, so that it can be pickled."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.fc = nn.Linear(2, 3)
        self.tied = nn.Linear(2, 3)
        self.tied.weight = self.fc.weight

    def forward(self, x):
        return self.fc(self.norm(self.conv1(x)).mean((2, 3)))


# -- what is in a module --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("call", [
    lambda m: list(m.state_dict()),
    lambda m: list(m.state_dict(prefix="net.")),
    lambda m: [(n, type(c).__name__) for n, c in m.named_modules()],
    lambda m: [n for n, _ in m.named_modules(prefix="net", remove_duplicate=False)],
    lambda m: [n for n, _ in m.named_modules(memo={m.head})],
    lambda m: [type(c).__name__ for c in m.modules()],
    lambda m: len(list(m.modules(remove_duplicate=False))),
    lambda m: [n for n, _ in m.named_children()],
    lambda m: len(list(m.children())),
    lambda m: [n for n, _ in m.named_parameters()],
    lambda m: [n for n, _ in m.named_parameters("net", remove_duplicate=False)],
    lambda m: [n for n, _ in m.named_parameters(recurse=False)],
    lambda m: [tuple(p.shape) for p in m.parameters()],
    lambda m: [n for n, _ in m.named_buffers()],
    lambda m: [n for n, _ in m.named_buffers("net", recurse=False)],
    lambda m: len(list(m.buffers())),
    lambda m: m.get_submodule("body.0.conv") is m.body[0].conv and m.get_submodule("") is m,
    lambda m: m.get_parameter("head.weight") is m.tied.weight,
    lambda m: m.get_buffer("body.0.norm.running_mean") is m.again.norm.running_mean,
    lambda m: [type(c).__name__ for c in _visited(m)],
    lambda m: repr(m),
    lambda m: [n for n in ("scale", "table", "body", "forward", "0") if n in dir(m)],
    lambda m: [n for n in dir(m.body) if n.isdigit()],
])
def test_a_network_looks_as_in_pytorch(call):
    ours, theirs = (call(network(*library)) for library in LIBRARIES)
    assert ours == theirs


def test_two_lines_between_the_parentheses():
    ours, theirs = (repr(type("Net", (library.Module,), {"extra_repr": lambda self: "one\ntwo"})())
                    for library, _ in LIBRARIES)
    assert ours == theirs


def _visited(module):
    seen = []
    assert module.apply(seen.append) is module
    return seen


@pytest.mark.parametrize("call", [
    lambda m: m.get_submodule("body.7"),
    lambda m: m.get_submodule("scale"),
    lambda m: m.get_parameter("table"),
    lambda m: m.get_parameter("head.weigth"),
    lambda m: m.get_buffer("scale"),
    lambda m: m.get_buffer("head.table"),
    lambda m: m.absent,
])
def test_what_is_not_there_is_an_attribute_error(call):
    for library in LIBRARIES:
        with pytest.raises(AttributeError):
            call(network(*library))


def test_a_misspelt_attribute_is_named_with_its_class():
    net = Small()
    with pytest.raises(AttributeError, match="'Small' object has no attribute 'conv'") as info:
        net.conv  # noqa: B018
    assert info.value.obj is net and info.value.name == "conv" and "conv1" in dir(net)  # for Python's suggestion


# -- registration ---------------------------------------------------------------------------------------------------

def test_assignment_registers_moves_and_clears():
    for nn_, mc_ in LIBRARIES:
        m = nn_.Module()
        m.a = 3
        m.a = nn_.Parameter(mc_.ones(2))
        assert "a" in m._parameters and "a" not in vars(m)
        m.a = None
        assert m.a is None and "a" in m._parameters
        del m.a
        m.a = nn_.Linear(1, 1)
        assert "a" in m._modules and "a" not in m._parameters
        m.register_buffer("b", mc_.zeros(1), persistent=False)
        m.b = mc_.ones(2)
        assert m._buffers["b"].shape == (2,) and "b" not in m.state_dict()
        m.b = nn_.Parameter(mc_.ones(1))
        assert list(m.state_dict()) == ["b", "a.weight", "a.bias"]
        m.a = nn_.Parameter(mc_.ones(1))
        assert list(m.state_dict()) == ["b", "a"] and not m._modules
        del m.a, m.b
        assert not m.state_dict() and not hasattr(m, "a")
        with pytest.raises(AttributeError):
            del m.a


@pytest.mark.parametrize("call, error", [
    (lambda m, t: setattr(m, "p", t), TypeError),
    (lambda m, t: setattr(m, "p", 3), TypeError),
    (lambda m, t: setattr(m, "p", m.c), TypeError),
    (lambda m, t: setattr(m, "b", 3), TypeError),
    (lambda m, t: setattr(m, "c", t), TypeError),
    (lambda m, t: m.register_parameter("q", t), TypeError),
    (lambda m, t: m.register_buffer("q", 3), TypeError),
    (lambda m, t: m.add_module("q", t), TypeError),
    (lambda m, t: m.register_buffer(3, t), TypeError),
    (lambda m, t: m.register_buffer("a.b", t), KeyError),
    (lambda m, t: m.register_parameter("", None), KeyError),
    (lambda m, t: m.register_buffer("forward", t), KeyError),
    (lambda m, t: m.add_module("p", None), KeyError),
    (lambda m, t: m.register_parameter("c", None), KeyError),
    (lambda m, t: m.train("yes"), ValueError),
    (lambda m, t: m.load_state_dict([("p", t)]), TypeError),
    (lambda m, t: m.to("int64"), TypeError),
])
def test_wrong_registrations_are_refused_and_change_nothing(call, error):
    for nn_, mc_ in LIBRARIES:
        m = nn_.Module()
        m.p = nn_.Parameter(mc_.ones(2))
        m.register_buffer("b", mc_.ones(2))
        m.c = nn_.ReLU()
        with pytest.raises(error):
            call(m, mc_.zeros(2)) if "to" not in call.__code__.co_names or nn_ is nn else m.to(torch.int64)
        assert list(m.state_dict()) == ["p", "b"] and isinstance(m.c, nn_.ReLU)


def test_a_name_that_is_no_string_is_named():
    with pytest.raises(TypeError, match="buffer name must be a string, not int"):
        nn.Module().register_buffer(3, None)


@pytest.mark.parametrize("value", [lambda: nn.Linear(1, 1), lambda: nn.Parameter(mc.ones(1))])
def test_assignment_before_init_names_the_remedy(value):
    class Net(nn.Module):
        def __init__(self):
            self.layer = value()

    with pytest.raises(AttributeError, match=r"'layer' before Module.__init__\(\); call super\(\).__init__\(\) first"):
        Net()


def test_a_forgotten_forward_is_named():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()

            def forward(self, x):
                return x

    with pytest.raises(NotImplementedError, match=r"Net has no forward\(\).*indented"):
        Net()(1)


# -- modes and conversion -------------------------------------------------------------------------------------------

def test_train_and_eval_reach_every_module_through_its_own_train():
    class Frozen(nn.BatchNorm2d):
        def train(self, mode=True):
            return super().train(False)

    net = nn.Sequential(nn.Sequential(Frozen(2), nn.Dropout()), nn.ReLU())
    assert net.train() is net
    assert [m.training for m in net.modules()] == [True, True, False, True, True]
    assert not any(m.training for m in net.eval().modules())


def test_freezing_and_forgetting_gradients():
    net = Small()
    assert net.requires_grad_(False) is net and not any(p.requires_grad for p in net.parameters())
    net.requires_grad_()
    net(mc.randn(2, 1, 4, 5)).sum().backward()
    gradient = net.fc.weight.grad
    gradient.data[0] = np.nan
    net.zero_grad(set_to_none=False)
    assert all((p.grad.numpy() == 0).all() for p in net.parameters() if p.grad is not None)
    assert net.fc.weight.grad.data is gradient.data
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("convert, dtype", [
    (lambda m: m.double(), "float64"), (lambda m: m.half(), "float16"), (lambda m: m.bfloat16(), "bfloat16"),
    (lambda m: m.double().float(), "float32"), (lambda m: m.to("float64"), "float64"),
    (lambda m: m.to(mc.float16), "float16"), (lambda m: m.to("cpu", dtype=mc.float64), "float64"),
    (lambda m: m.to(mc.zeros(1, dtype=mc.float64)), "float64"), (lambda m: m.cpu(), "float32"),
])
def test_conversion_keeps_parameters_and_integers(convert, dtype):
    net = Small()
    before = dict(net.named_parameters())
    net(mc.randn(2, 1, 4, 5)).sum().backward()
    assert convert(net) is net
    assert all(p is before[name] and p.dtype.name == p.grad.dtype.name == dtype and p.requires_grad
               for name, p in net.named_parameters() if p.grad is not None)
    assert net.tied.weight is net.fc.weight
    assert net.norm.running_mean.dtype.name == dtype and net.norm.num_batches_tracked.dtype == mc.int64


@pytest.mark.skipif(mc.cuda_is_available(), reason="the message for machines without a GPU")
@pytest.mark.parametrize("device, name", [(None, "cuda:0"), (1, "cuda:1"), ("cuda:2", "cuda:2")])
def test_without_a_gpu_moving_to_one_explains_itself(device, name):
    with pytest.raises(RuntimeError, match=f"device '{name}' cannot be used"):
        Small().cuda(device)


# -- state ----------------------------------------------------------------------------------------------------------

def test_the_state_is_detached_and_shares_memory():
    net = Small()
    state = net.state_dict()
    assert type(state["fc.weight"]) is mc.Tensor and not state["fc.weight"].requires_grad
    assert state["fc.weight"].data is net.fc.weight.data
    assert net.state_dict(keep_vars=True)["fc.weight"] is net.fc.weight


def test_loading_copies_and_converts():
    source, net = Small().double(), Small()
    version, array = net.fc.weight._version, net.fc.weight.data
    source.norm.num_batches_tracked.fill_(7)
    result = net.load_state_dict({k: v.numpy() for k, v in source.state_dict().items()})
    assert repr(result) == "<All keys matched successfully>"
    assert net.fc.weight.data is array and array.dtype == np.float32 and net.fc.weight._version > version
    np.testing.assert_array_equal(array, source.fc.weight.detach().numpy().astype("float32"))
    assert net.norm.num_batches_tracked.item() == 7
    source.fc.weight.data[...] = 0
    assert array.any()


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float64"])
def test_loading_converts_as_pytorch_does(dtype):
    """Also bools into floats and floats into the integer count of batches, which PyTorch cuts off."""
    values = np.array([0.0, 1.0, 2.75, 3.0])
    loaded = []
    for layers, library in LIBRARIES:
        net = layers.BatchNorm1d(4)
        state = {key: library.tensor(values if value.ndim else values[2]).to(getattr(library, dtype))
                 for key, value in net.state_dict().items()}
        net.load_state_dict(state)
        loaded.append({key: value.numpy() for key, value in net.state_dict().items()})
    for key, value in loaded[1].items():
        assert loaded[0][key].dtype == value.dtype
        np.testing.assert_array_equal(loaded[0][key], value, err_msg=key)


def test_weights_move_both_ways():
    theirs, ours = (network(*library) for library in LIBRARIES[::-1])
    ours.load_state_dict(theirs.state_dict())
    for p in ours.parameters():
        p.data *= 2
    theirs.load_state_dict({k: torch.from_numpy(v.numpy()) for k, v in ours.state_dict().items()})
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy(), err_msg=name)


def damaged(state):
    state = dict(state)
    del state["fc.bias"], state["norm.weight"]
    state["conv1.weight"] = state["conv1.weight"][:1]
    state["norm.running_mean"] = state["norm.running_mean"][:1]
    state["fc.extra"] = state["other"] = state["fc.weight"]
    return state


def test_loading_lists_all_problems_and_changes_nothing():
    net, source = Small(), Small()
    before = {k: v.numpy().copy() for k, v in net.state_dict().items()}
    with pytest.raises(RuntimeError) as info:
        net.load_state_dict(damaged(source.state_dict()))
    assert str(info.value) == (
        "Error(s) in loading state_dict for Small:\n"
        '\tMissing key(s) in state_dict: "norm.weight", "fc.bias".\n'
        '\tUnexpected key(s) in state_dict: "fc.extra", "other".\n'
        "\tsize mismatch for conv1.weight: copying a param with shape (1, 1, 3, 3) from checkpoint, "
        "the shape in current model is (2, 1, 3, 3).\n"
        "\tsize mismatch for norm.running_mean: copying a param with shape (1,) from checkpoint, "
        "the shape in current model is (2,).")
    with pytest.raises(RuntimeError, match="size mismatch for conv1.weight"):
        net.load_state_dict(damaged(source.state_dict()), strict=False)
    with pytest.raises(RuntimeError, match="fc.bias: a tensor or an array of numbers is needed, not str"):
        net.load_state_dict({**source.state_dict(), "fc.bias": "abc"})
    for key, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[key])


def test_loading_what_fits_reports_the_rest():
    net, state = Small(), Small().state_dict()
    bias = state.pop("fc.bias")
    missing, unexpected = result = net.load_state_dict({**state, "more": bias}, strict=False)
    assert missing == result.missing_keys == ["fc.bias"] and unexpected == ["more"]
    np.testing.assert_array_equal(net.fc.weight.detach().numpy(), state["fc.weight"].numpy())


def test_states_saved_before_batches_were_counted_load():
    state = Small().state_dict()
    del state["norm.num_batches_tracked"]
    theirs = torch.nn.BatchNorm2d(2)
    old = {k: v for k, v in theirs.state_dict().items() if k != "num_batches_tracked"}
    theirs.load_state_dict(old)
    Small().load_state_dict(state)


# -- copies ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_equal_and_independent(duplicate):
    net = Small().eval()
    net.fc.bias.requires_grad_(False)
    other = duplicate(net)
    x = mc.randn(2, 1, 4, 5)
    np.testing.assert_array_equal(other(x).detach().numpy(), net(x).detach().numpy())
    assert repr(other) == repr(net) and not other.training
    assert other.tied.weight is other.fc.weight is not net.fc.weight
    assert isinstance(other.fc.weight, nn.Parameter)
    assert [p.requires_grad for p in other.fc.parameters()] == [True, False]
    other.fc.weight.data[...] = 0
    assert net.fc.weight.detach().numpy().any()
