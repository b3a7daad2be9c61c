"""Recurrent layers, cells and packed sequences beside PyTorch's; their kernels beside the reference."""

import os
import subprocess
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from util import FIRST, assert_close, check_op, check_raises, normal, rng_of

import minicnn as mc
from minicnn import nn
from minicnn.kernels import cpu, reference
from minicnn.nn.utils import rnn
from minicnn.ops.packing import Packing

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")  # by PyTorch: slower than without
THEIRS = torch.nn.utils.rnn
KINDS = ["RNN", "LSTM", "GRU"]
LENGTHS = st.lists(st.integers(1, 4), min_size=1, max_size=4)


# -- layers -----------------------------------------------------------------------------------------------------------

@st.composite
def layers(draw: st.DrawFn) -> tuple:
    """A layer and what to give to it: kind, arguments, form, shape (T, N) or lengths, whether with states."""
    kind, hidden = draw(st.sampled_from(KINDS)), draw(st.integers(1, 4))
    arguments = dict(input_size=draw(st.integers(1, 3)), hidden_size=hidden, num_layers=draw(st.integers(1, 3)),
                     bias=draw(st.booleans()), batch_first=draw(st.booleans()), bidirectional=draw(st.booleans()))
    if kind == "RNN":
        arguments["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    if kind == "LSTM" and draw(st.booleans()):
        arguments["proj_size"] = draw(st.integers(0, hidden - 1))
    form = draw(st.sampled_from(["batched", "unbatched", "sorted", "unsorted"]))
    if form in ("batched", "unbatched"):
        sizes: Any = draw(st.integers(1, 5)), draw(st.integers(0, 3)) if form == "batched" else 1
    else:
        sizes = sorted(draw(LENGTHS), reverse=True) if form == "sorted" else draw(LENGTHS)
    return kind, arguments, form, sizes, draw(st.booleans())


def check_layer(case: tuple, **options) -> None:
    """Outputs, states and all gradients, of input, states and weights, to second order."""
    kind, arguments, form, sizes, with_states = case
    module = getattr(torch.nn, kind)(**arguments)
    packed = form in ("sorted", "unsorted")
    steps, sequences = (max(sizes), len(sizes)) if packed else sizes
    features, first = arguments["input_size"], arguments["batch_first"]
    shape = (steps, features) if form == "unbatched" else (sequences, steps, features) if first else (
        steps, sequences, features)
    names = list(module.state_dict())
    hidden = arguments["hidden_size"]
    arrays = [normal(shape)] + [normal(p.shape, i) / hidden ** 0.5 for i, p in enumerate(module.parameters())]
    if with_states:
        number = arguments["num_layers"] * (1 + arguments["bidirectional"])
        batch = () if form == "unbatched" else (sequences,)
        widths = (arguments.get("proj_size") or hidden, hidden)[:2 if kind == "LSTM" else 1]
        arrays += [normal((number, *batch, width), 20 + i) for i, width in enumerate(widths)]

    def run(make, packing, call):
        def function(x, *others):
            weights, states = dict(zip(names, others)), others[len(names):]
            if packed:
                x = packing.pack_padded_sequence(x, sizes, first, enforce_sorted=form == "sorted")
            hx = None if not states else tuple(states) if kind == "LSTM" else states[0]
            y, last = call(make(), weights, x, hx)
            y = packing.pad_packed_sequence(y, first)[0] if packed else y
            return y, *(last if kind == "LSTM" else [last])

        return function

    def ours(layer, weights, x, hx):
        layer._parameters.update(weights)  # as they are: with a history, so that gradients reach what was passed in
        return layer(x, hx)

    check_op(run(lambda: getattr(nn, kind)(**arguments), rnn, ours),
             run(lambda: module, THEIRS, lambda m, weights, x, hx: torch.func.functional_call(m, weights, (x, hx))),
             *arrays, **options)


@settings(max_examples=50)
@given(layers())
def test_layers_compute_what_pytorch_does(case):
    check_layer(case)


@settings(max_examples=15)
@given(layers())
def test_layers_on_the_reference_kernels(case):
    with mc.use_kernels("reference"):
        check_layer(case, second=False)


@pytest.mark.parametrize("kind", KINDS)
def test_long_sequences_and_wide_layers(kind):
    arguments = dict(input_size=19, hidden_size=37, num_layers=1, bias=True, batch_first=True, bidirectional=True)
    check_layer((kind, arguments, "unsorted", [*range(1, 31)], True), second=False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype, tolerance", [("float16", 4e-3), ("bfloat16", 3e-2)])
def test_half_precision(kind, dtype, tolerance):
    theirs = getattr(torch.nn, kind)(3, 4, bidirectional=True).to(getattr(torch, dtype))
    ours = getattr(nn, kind)(3, 4, bidirectional=True).to(dtype)
    ours.load_state_dict({name: p.float() for name, p in theirs.state_dict().items()})
    x = normal((5, 2, 3))
    (y, _), (expected, _) = ours(mc.tensor(x).to(dtype)), theirs(torch.from_numpy(x).to(getattr(torch, dtype)))
    assert str(y.dtype) == dtype
    np.testing.assert_allclose(y.float().detach().numpy(), expected.float().detach().numpy(), atol=tolerance)
    y.sum().backward()
    assert {str(p.grad.dtype) for p in ours.parameters()} == {dtype}


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_gradients_that_are_wanted(kind):
    """Every input alone, for the first and for the second order."""
    layer = getattr(nn, kind)(2, 3, dtype=mc.float64)
    for name, p in layer.named_parameters():
        layer.requires_grad_(False)
        p.requires_grad_()
        x, gradients = mc.tensor(normal((3, 2, 2))), []
        for create_graph in (False, True):
            y, _ = layer(x)
            gradients += mc.autograd.grad((y * y).sum(), [p], create_graph=create_graph)
        assert_close(gradients[1].detach(), gradients[0], FIRST, name)
        assert gradients[1].requires_grad


def test_weights_that_occur_twice_get_both_gradients():
    """A weight that also made the input: the second order must not go through the input inside of the layer."""
    def program(library, layer, start):
        w = dict(layer.named_parameters())["weight_hh_l0"]
        x = (start @ w).unsqueeze(0)
        y, _ = layer(x.expand(3, *x.shape[1:]))
        (g,) = library.autograd.grad((y ** 3).sum(), [w], create_graph=True)
        return g, library.autograd.grad((g * g).sum(), [w])[0]

    theirs = torch.nn.RNN(3, 3, dtype=torch.float64)
    ours = nn.RNN(3, 3, dtype=mc.float64)
    ours.load_state_dict(theirs.state_dict())
    start = normal((2, 3))
    for a, b in zip(program(mc, ours, mc.tensor(start)), program(torch, theirs, torch.from_numpy(start))):
        assert_close(a, b, FIRST)


def test_outputs_that_backward_needs_may_not_be_overwritten():
    layer = nn.LSTM(2, 3)
    y, (h, _) = layer(mc.ones(4, 1, 2))
    h.detach().fill_(7)  # memory of its own
    y.sum().backward(retain_graph=True)
    with mc.no_grad():
        y.fill_(0)
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        y.sum().backward()


def test_dropout_stands_between_layers_only_and_only_in_training():
    layer = nn.RNN(400, 400, num_layers=2, nonlinearity="relu", bias=False, dropout=0.3)
    for name, p in layer.named_parameters():
        p.data[...] = np.eye(400) if "ih" in name else 0
    x = mc.ones(5, 7, 400)
    y, _ = layer(x)
    kept = y.detach().numpy() != 0
    assert abs(kept.mean() - 0.7) < 0.02, "one dropout, not two"
    np.testing.assert_allclose(y.detach().numpy()[kept], 1 / 0.7, rtol=1e-6)
    mc.manual_seed(1)
    first = layer(x)[0].detach()
    mc.manual_seed(1)
    np.testing.assert_array_equal(first.numpy(), layer(x)[0].detach().numpy())
    np.testing.assert_array_equal(layer.eval()(x)[0].detach().numpy(), 1)
    with pytest.warns(UserWarning, match="dropout = 0.3 acts between layers, and there is only one"):
        nn.GRU(2, 3, dropout=0.3)


# -- printing, names, initial values ----------------------------------------------------------------------------------

MODULES = [
    ("RNN", dict(input_size=2, hidden_size=3)),
    ("RNN", dict(input_size=2, hidden_size=3, num_layers=2, nonlinearity="relu", bias=False, batch_first=True)),
    ("LSTM", dict(input_size=2, hidden_size=4, num_layers=2, dropout=0.25, bidirectional=True, proj_size=3)),
    ("LSTM", dict(input_size=2, hidden_size=4, bias=False, proj_size=1)),
    ("GRU", dict(input_size=2, hidden_size=3, num_layers=3, batch_first=True, bidirectional=True)),
    ("RNNCell", dict(input_size=2, hidden_size=3)),
    ("RNNCell", dict(input_size=2, hidden_size=3, bias=False, nonlinearity="relu")),
    ("LSTMCell", dict(input_size=2, hidden_size=3, bias=False)),
    ("GRUCell", dict(input_size=1, hidden_size=5)),
]


@pytest.mark.parametrize("name, arguments", MODULES)
def test_modules_print_and_name_their_weights_as_pytorchs(name, arguments):
    ours, theirs = getattr(nn, name)(**arguments), getattr(torch.nn, name)(**arguments)
    assert repr(ours) == repr(theirs)
    assert [(k, v.shape) for k, v in ours.state_dict().items()] == \
           [(k, v.shape) for k, v in theirs.state_dict().items()]
    for key in (*arguments, "mode") if "Cell" not in name else arguments:
        assert getattr(ours, key) == getattr(theirs, key)
    theirs.load_state_dict({k: torch.from_numpy(v.numpy()) for k, v in ours.state_dict().items()})
    ours.load_state_dict(theirs.state_dict())
    if "Cell" not in name:
        assert [[p.shape for p in weights] for weights in ours.all_weights] == \
               [[p.shape for p in weights] for weights in theirs.all_weights]
        assert ours.flatten_parameters() is None


def test_initial_values_are_uniform_within_one_over_the_root_of_hidden_size():
    for module in (nn.LSTM(20, 25, proj_size=10), nn.GRUCell(20, 25)):
        values = np.concatenate([p.detach().numpy().ravel() for p in module.parameters()])
        assert 0.199 < values.max() <= 0.2 and -0.2 <= values.min() < -0.199
        assert abs(values.std() - 0.2 / 3 ** 0.5) < 0.005


# -- cells ------------------------------------------------------------------------------------------------------------

@settings(max_examples=20)
@given(st.sampled_from(["RNNCell", "LSTMCell", "GRUCell"]), st.integers(1, 3), st.integers(1, 4),
       st.sampled_from([(), (1,), (3,)]), st.booleans(), st.booleans(), st.sampled_from(["tanh", "relu"]))
def test_cells(name, inputs, hidden, batch, bias, with_states, nonlinearity):
    arguments = dict(input_size=inputs, hidden_size=hidden, bias=bias)
    if name == "RNNCell":
        arguments["nonlinearity"] = nonlinearity
    theirs, ours = getattr(torch.nn, name)(**arguments), getattr(nn, name)(**arguments)
    names, number = list(theirs.state_dict()), 1 + (name == "LSTMCell")
    arrays = [normal((*batch, inputs))] + [normal(p.shape, i) for i, p in enumerate(theirs.parameters())]
    if with_states:
        arrays += [normal((*batch, hidden), 10 + i) for i in range(number)]

    def arranged(call):
        def function(x, *others):
            states = others[len(names):]
            return call(dict(zip(names, others)), x, None if not states else states[0] if number == 1 else states)

        return function

    def in_ours(weights, x, hx):
        ours._parameters.update(weights)
        return ours(x, hx)

    check_op(arranged(in_ours), arranged(lambda w, x, hx: torch.func.functional_call(theirs, w, (x, hx))), *arrays)


def test_a_cell_takes_an_empty_batch():
    for name in ("RNNCell", "LSTMCell", "GRUCell"):
        after = getattr(nn, name)(2, 3)(mc.zeros(0, 2))
        assert (after[0] if name == "LSTMCell" else after).shape == (0, 3)


# -- what is refused --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, arguments, match", [
    ("RNN", dict(input_size=2, hidden_size=3, nonlinearity="sin"), "nonlinearity 'sin' is unknown"),
    ("RNN", dict(input_size=2, hidden_size=3, proj_size=1), "proj_size"),
    ("GRU", dict(input_size=2, hidden_size=3, proj_size=1), "proj_size"),
    ("LSTM", dict(input_size=2, hidden_size=3, proj_size=3), "proj_size = 3 must be smaller than hidden_size = 3"),
    ("LSTM", dict(input_size=2, hidden_size=3, proj_size=-1), "proj_size = -1"),
    ("LSTM", dict(input_size=0, hidden_size=3), "input_size = 0"),
    ("LSTM", dict(input_size=2.0, hidden_size=3), r"input_size = 2\.0"),
    ("GRU", dict(input_size=2, hidden_size=0), "hidden_size = 0"),
    ("GRU", dict(input_size=2, hidden_size=3, num_layers=0), "num_layers = 0"),
    ("GRU", dict(input_size=2, hidden_size=3, num_layers=2, dropout=1.5), r"1\.5 must be a probability"),
    ("GRU", dict(input_size=2, hidden_size=3, num_layers=2, dropout=True), "dropout = True"),
    ("RNN", dict(input_size=2, hidden_size=3, bias=1), "bias = 1 must be True or False"),
    ("RNN", dict(input_size=2, hidden_size=3, batch_first="no"), "batch_first = 'no'"),
    ("RNNBase", dict(mode="QRNN", input_size=2, hidden_size=3), "mode 'QRNN'"),
])
def test_wrong_arguments_are_refused(name, arguments, match):
    check_raises(lambda: getattr(nn, name)(**arguments), lambda: getattr(torch.nn, name)(**arguments), match)


@pytest.mark.parametrize("name, shape, states, match", [
    ("LSTM", (4,), None, r"LSTM: input must have 2 or 3 axes, not shape \(4,\)"),
    ("GRU", (2, 3, 4, 2), None, "2 or 3 axes"),
    ("LSTM", (0, 2, 2), None, "at least one step"),
    ("LSTM", (4, 2, 3), None, r"input \(4, 2, 3\) must have 2 features"),
    ("RNN", (4, 2, 2), (1, 2, 4), r"h_0 has shape \(1, 2, 4\), expected \(1, 2, 3\)"),
    ("GRU", (4, 2, 2), (1, 3), "h_0 has shape"),
    ("GRU", (4, 2), (1, 2, 3), r"expected \(1, 3\)"),
    ("LSTM", (4, 2, 2), [(1, 2, 3), (1, 1, 3)], r"c_0 has shape \(1, 1, 3\), expected \(1, 2, 3\)"),
    ("LSTM", (4, 2, 2), [(1, 2, 3)], r"hx must be the pair \(h_0, c_0\)"),
    ("RNNCell", (2, 2, 2), None, "1 or 2 axes"),
    ("RNNCell", (2, 3), None, "2 features"),
    ("GRUCell", (2, 2), (3, 3), "h_0 has shape"),
    ("LSTMCell", (2, 2), [(2, 3), (2, 4)], "c_0 has shape"),
    ("RNNCell", (2,), (1, 3), "h_0 has shape"),
])
def test_wrong_inputs_are_refused(name, shape, states, match):
    def call(library):
        hx = None if states is None else library.zeros(states) if isinstance(states, tuple) else [
            library.zeros(shape) for shape in states]
        return getattr(library.nn, name)(2, 3)(library.zeros(shape), hx)

    check_raises(lambda: call(mc), lambda: call(torch), match)


def test_types_that_differ_are_refused():
    check_raises(lambda: nn.LSTM(2, 3)(mc.zeros(2, 2, 2, dtype=mc.float64)),
                 lambda: torch.nn.LSTM(2, 3)(torch.zeros(2, 2, 2, dtype=torch.float64)), "input is float64")
    check_raises(lambda: nn.GRUCell(2, 3)(mc.zeros(2, 2, dtype=mc.float64)),
                 lambda: torch.nn.GRUCell(2, 3)(torch.zeros(2, 2, dtype=torch.float64)), "input is float64")
    check_raises(lambda: nn.GRU(2, 3)(mc.zeros(2, 2, 2), mc.zeros(1, 2, 3, dtype=mc.float64)),
                 lambda: torch.nn.GRU(2, 3)(torch.zeros(2, 2, 2), torch.zeros(1, 2, 3, dtype=torch.float64)),
                 "h_0 is float64")
    packed = [pack.pack_sequence([zeros(3, 2, 2)]) for pack, zeros in ((rnn, mc.zeros), (THEIRS, torch.zeros))]
    check_raises(lambda: nn.GRU(2, 3)(packed[0]), lambda: torch.nn.GRU(2, 3)(packed[1]), r"\(R, input_size\)")


# -- packed and padded sequences --------------------------------------------------------------------------------------

@settings(max_examples=40)
@given(LENGTHS, st.sampled_from([(), (3,), (2, 2)]), st.booleans(), st.booleans(), st.integers(0, 2),
       st.sampled_from([0.0, -1.5]), st.booleans())
def test_packing_and_padding(lengths, inner, batch_first, is_sorted, extra, padding, as_tensor):
    lengths = sorted(lengths, reverse=True) if is_sorted else lengths
    shape = (len(lengths), max(lengths) + extra) if batch_first else (max(lengths) + extra, len(lengths))

    def program(library, packing):
        def function(x):
            given = library.tensor(lengths) if as_tensor else lengths
            packed = packing.pack_padded_sequence(x, given, batch_first, enforce_sorted=is_sorted)
            padded, counts = packing.pad_packed_sequence(packed, batch_first, padding, max(lengths) + extra)
            indices = [] if is_sorted else [packed.sorted_indices, packed.unsorted_indices]
            assert is_sorted == (packed.sorted_indices is None) == (packed.unsorted_indices is None)
            return padded, packed.data, packed.batch_sizes, counts, *indices

        return function

    check_op(program(mc, rnn), program(torch, THEIRS), normal((*shape, *inner)))


@settings(max_examples=30)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.sampled_from([(), (3,), (2, 2)]), st.booleans(),
       st.sampled_from(["left", "right"]), st.sampled_from([0.0, 2.5]))
def test_padding_lists_of_sequences(lengths, inner, batch_first, side, value):
    arrays = [normal((n, *inner), i) for i, n in enumerate(lengths)]
    check_op(lambda *xs: rnn.pad_sequence(xs, batch_first, value, side),
             lambda *xs: THEIRS.pad_sequence(xs, batch_first, value, side), *arrays)
    if side == "right":
        padded = rnn.pad_sequence([mc.tensor(a) for a in arrays], batch_first)
        for a, again in zip(arrays, rnn.unpad_sequence(padded, mc.tensor(lengths), batch_first), strict=True):
            np.testing.assert_array_equal(again.numpy(), a)
    if 0 not in lengths:
        both = [pack.pack_sequence([tensor(a) for a in arrays], enforce_sorted=False)
                for pack, tensor in ((rnn, mc.tensor), (THEIRS, torch.tensor))]
        for a, b in zip(*both):
            assert_close(a, b, 0)
        for a, again in zip(arrays, rnn.unpack_sequence(both[0]), strict=True):
            np.testing.assert_array_equal(again.numpy(), a)


def test_sequences_of_integers_stay_integers():
    padded = rnn.pad_sequence([mc.tensor([1, 2, 3]), mc.tensor([4])], padding_value=-1)
    assert padded.dtype == mc.int64 and padded.tolist() == [[1, 4], [2, -1], [3, -1]]
    packed = rnn.pack_sequence([mc.tensor([1, 2, 3]), mc.tensor([4])])
    assert packed.data.tolist() == [1, 4, 2, 3] and packed.batch_sizes.tolist() == [2, 1, 1]


def test_packed_sequences_convert_and_print():
    packed = rnn.pack_sequence([mc.tensor([1.0, 2.0]), mc.tensor([3.0, 4.0, 5.0])], enforce_sorted=False)
    theirs = THEIRS.pack_sequence([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0, 5.0])], enforce_sorted=False)
    for method, dtype in (("double", mc.float64), ("half", mc.float16), ("long", mc.int64), ("int", mc.int32)):
        converted = getattr(packed, method)()
        assert type(converted) is rnn.PackedSequence and converted.data.dtype == dtype
        assert_close(converted.unsorted_indices, theirs.unsorted_indices, 0)
    assert packed.float() is packed and packed.cpu() is packed and not packed.is_cuda
    assert repr(packed).startswith("PackedSequence(data=tensor(")
    same = rnn.PackedSequence((packed.data, packed.batch_sizes), sorted_indices=packed.sorted_indices)
    assert_close(same.unsorted_indices, theirs.unsorted_indices, 0)


@pytest.mark.parametrize("call, match", [
    (lambda m, f: f.pack_padded_sequence(m.zeros(3, 2, 1), [3, 0]), r"lengths \[3, 0\] must be 1 to 3"),
    (lambda m, f: f.pack_padded_sequence(m.zeros(3, 2, 1), [2, 3]), r"lengths \[2, 3\] must decrease"),
    (lambda m, f: f.pack_padded_sequence(m.zeros(3, 2, 1), [3]), "one number for each of the 2 sequences"),
    (lambda m, f: f.pack_padded_sequence(m.zeros(3, 0, 1), []), "at least one"),
    (lambda m, f: f.pack_padded_sequence(m.zeros(3), [3]), "axis of time"),
    (lambda m, f: f.pack_padded_sequence(m.zeros(3, 2), [[3, 1]]), "lengths must have one axis"),
    (lambda m, f: f.pack_sequence([m.zeros(2, 3), m.zeros(3, 3)]), "must decrease"),
    (lambda m, f: f.pad_packed_sequence(f.pack_sequence([m.zeros(3)]), total_length=2), "total_length = 2"),
    (lambda m, f: f.pad_sequence([]), "empty"),
    (lambda m, f: f.pad_sequence(3), "not int"),
    (lambda m, f: f.pad_sequence([m.zeros(2, 3), m.zeros(2, 4)]), "alike"),
    (lambda m, f: f.pad_sequence([m.zeros(()), m.zeros(1)]), "alike"),
    (lambda m, f: f.pad_sequence([m.zeros(2)], padding_side="both"), "'both'"),
    (lambda m, f: f.unpad_sequence(m.zeros(3, 2), m.tensor([3])), "each of the 2 sequences"),
])
def test_wrong_sequences_are_refused(call, match):
    check_raises(lambda: call(mc, rnn), lambda: call(torch, THEIRS), match)


@pytest.mark.parametrize("flag", [1, None, "yes"])
def test_directions_are_one_or_two(flag):
    check_raises(lambda: nn.RNN(2, 3, bidirectional=flag)(mc.ones(2, 2)),
                 lambda: torch.nn.RNN(2, 3, bidirectional=flag)(torch.ones(2, 2)), "bidirectional = .* True or False")


def test_ours_only_refuses():
    with pytest.raises(RuntimeError, match=r"lengths \[4, 3\] must be 1 to 3"):  # PyTorch reads past the end
        rnn.pack_padded_sequence(mc.zeros(3, 2, 1), [4, 3])
    with pytest.raises(TypeError, match="pack_padded_sequence or pack_sequence"):  # PyTorch asserts
        rnn.PackedSequence(mc.zeros(3))
    with pytest.raises(ValueError, match="0 in anything but an LSTM"):  # PyTorch makes weights that nothing uses
        nn.RNNBase("GRU", 2, 3, proj_size=1)
    with pytest.raises(ValueError, match="RNNCell: nonlinearity 'sin'"):  # PyTorch only when it is called
        nn.RNNCell(2, 3, nonlinearity="sin")


# -- kernels ----------------------------------------------------------------------------------------------------------

GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def through_time(kernels: ModuleType, kind: str, batch_sizes: np.ndarray, h: int, p: int, dtype: str, relu: bool,
                 seed: int) -> list[np.ndarray]:
    """Everything that the kernels of a kind give on random arrays, forward and back."""
    rng, (n, r) = rng_of(seed), (int(batch_sizes[0]), int(batch_sizes.sum()))
    gates, h0, c0, w, b, w_hr, gy, gh, gc = [(rng.standard_normal(shape) * scale).astype(dtype) for shape, scale in (
        ((r, GATES[kind] * h), 1), ((n, p), 1), ((n, h), 1), ((GATES[kind] * h, p), p ** -0.5), ((3 * h,), 1),
        ((p, h), h ** -0.5), ((r, p), 1), ((n, p), 1), ((n, h), 1))]
    given = [a.copy() for a in (h0, c0, w, b, w_hr, gy, gh, gc)]
    if kind == "rnn":
        kernels.rnn_sequence(gates, h0, w, relu, batch_sizes)
        results = [*kernels.rnn_sequence_grad(gy, gh, gates, w, relu, batch_sizes)]
    elif kind == "gru":
        y, seen = kernels.gru_sequence(gates, h0, w, b if relu else None, batch_sizes)
        results = [y, seen, *kernels.gru_sequence_grad(gy, gh, gates, seen, h0, y, w, batch_sizes)]
    else:
        w_hr = None if p == h else w_hr
        y, cells = kernels.lstm_sequence(gates, h0, c0, w, w_hr, batch_sizes)
        *results, gw_hr = kernels.lstm_sequence_grad(gy, gh, gc, gates, c0, cells, w, w_hr, batch_sizes)
        results += [y, cells] if gw_hr is None else [y, cells, gw_hr]
    for a, before in zip((h0, c0, w, b, given[4], gy, gh, gc), given):
        np.testing.assert_array_equal(a, before)
    return [gates, *results]


@settings(max_examples=60)
@given(st.sampled_from(list(GATES)), st.lists(st.sampled_from([0, 1, 2, 3, 5, 13, 14, 15, 29, 57, 70]), min_size=1,
                                              max_size=4),
       st.sampled_from([1, 2, 3, 7, 8, 15, 16, 17, 33, 67]), st.booleans(), st.booleans(),
       st.sampled_from(["float32", "float64", "float16"]), st.integers(0, 1000))
def test_kernels_agree_with_the_reference(kernels, kind, sizes, h, projected, relu, dtype, seed):
    sizes = np.array(sorted(sizes, reverse=True))
    p = (h + 1) // 2 if projected and kind == "lstm" else h
    ours, expected = [through_time(each, kind, sizes, h, p, dtype, relu, seed) for each in (kernels, reference)]
    tolerance = {"float32": 3e-5, "float64": 1e-12, "float16": 1e-2}[dtype]
    for i, (a, b) in enumerate(zip(ours, expected, strict=True)):
        assert a.dtype == b.dtype
        scale = max(1, np.abs(b).max(initial=0))
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale, err_msg=f"result {i}")


def test_kernels_take_arrays_of_any_strides_and_ones_that_are_read_only():
    rng, sizes = rng_of(0), np.array([3, 2])
    gates, h0, c0, w = [rng.standard_normal(s) for s in ((5, 16), (6, 4), (3, 8), (4, 16))]
    h0.flags.writeable = False
    results = [k.lstm_sequence(gates.copy(), h0[::2], c0[:, ::2], w.T, None, sizes) for k in (cpu, reference)]
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, atol=1e-13)


def test_nan_and_infinity_stay_in_their_sequence():
    gates, h0, w = normal((12, 5)), np.zeros((4, 5)), normal((5, 5), 1)
    gates[1, 2], gates[2, 3] = np.nan, np.inf
    for relu in (False, True):
        y = gates.copy()
        cpu.rnn_sequence(y, h0, w, relu, np.array([4, 4, 4]))
        assert np.isfinite(y[[0, 3, 4, 7, 8, 11]]).all() and np.isnan(y[5]).all() and np.isnan(y[1, 2])


def test_the_number_of_threads_changes_no_bit():
    code = """if True:
        import zlib, numpy as np, numba
        import test_recurrent as t
        for threads in (1, 2, 4):
            numba.set_num_threads(threads)
            print(*[zlib.crc32(array.tobytes()) for kind in t.GATES for dtype in ("float32", "float64") for array in
                    t.through_time(t.cpu, kind, np.array([43, 43, 30, 5]), 50, 50, dtype, True, 0)])"""
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         env={**os.environ, "NUMBA_NUM_THREADS": "4", "PYTHONPATH": path}).stdout.splitlines()
    assert len(out) == 3 and len(set(out)) == 1


def test_rows_of_a_packed_sequence():
    packing = Packing(np.array([3, 2, 1]))
    assert packing.lengths.tolist() == [3, 2, 1]
    assert packing.last.tolist() == [5, 4, 2]
    assert packing.backwards.tolist() == [5, 4, 2, 3, 1, 0]
    assert packing.before.tolist() == [0, 1, 3]
