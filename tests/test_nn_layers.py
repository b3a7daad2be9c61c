"""Every layer and loss beside PyTorch's with equal weights: outputs, gradients, buffers, printing, errors."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from test_nn_conv_pool import LAZY
from test_nn_signatures import OURS, classes
from util import FIRST, SINGLE, assert_close, check_op, check_raises, distinct, normal, rng_of

import minicnn as mc
from minicnn import nn

# name, constructor arguments, shape of the input
LAYERS = [
    ("Conv2d", dict(in_channels=4, out_channels=6, kernel_size=3), (2, 4, 7, 6)),
    ("Conv2d", dict(in_channels=4, out_channels=6, kernel_size=(3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2),
                    groups=2, bias=False), (3, 4, 9, 8)),
    ("Conv2d", dict(in_channels=3, out_channels=2, kernel_size=(4, 3), padding="same", dilation=(2, 1)), (2, 3, 9, 7)),
    ("Conv2d", dict(in_channels=3, out_channels=2, kernel_size=2, padding="valid"), (3, 6, 5)),
    ("Conv2d", dict(in_channels=3, out_channels=2, kernel_size=3), (0, 3, 6, 5)),
    ("Linear", dict(in_features=5, out_features=3), (4, 5)),
    ("Linear", dict(in_features=5, out_features=3, bias=False), (2, 4, 5)),
    ("Linear", dict(in_features=5, out_features=3), (5,)),
    ("Identity", dict(), (2, 3)),
    ("Flatten", dict(), (2, 3, 4, 5)),
    ("Flatten", dict(start_dim=0, end_dim=-2), (2, 3, 4, 5)),
    ("Unflatten", dict(dim=1, unflattened_size=(2, 3)), (4, 6, 5)),
    ("Unflatten", dict(dim=-1, unflattened_size=(2, -1)), (4, 6)),
    ("BatchNorm1d", dict(num_features=4), (5, 4)),
    ("BatchNorm1d", dict(num_features=4, momentum=None, eps=1e-3), (5, 4, 3)),
    ("BatchNorm2d", dict(num_features=3), (4, 3, 5, 2)),
    ("BatchNorm2d", dict(num_features=3, momentum=0.3, bias=False), (4, 3, 5, 2)),
    ("BatchNorm2d", dict(num_features=3, affine=False), (4, 3, 5, 2)),
    ("BatchNorm2d", dict(num_features=3, track_running_stats=False), (4, 3, 5, 2)),
    ("BatchNorm2d", dict(num_features=3, momentum=None, track_running_stats=False), (4, 3, 5, 2)),
    ("MaxPool2d", dict(kernel_size=3), (2, 3, 7, 8)),
    ("MaxPool2d", dict(kernel_size=(3, 2), stride=(2, 1), padding=(1, 0), dilation=(2, 1), ceil_mode=True),
     (2, 3, 8, 9)),
    ("AvgPool2d", dict(kernel_size=2), (2, 3, 7, 8)),
    ("AvgPool2d", dict(kernel_size=(3, 2), stride=(2, 1), padding=1, ceil_mode=True, count_include_pad=False),
     (2, 3, 8, 7)),
    ("AvgPool2d", dict(kernel_size=(3, 2), divisor_override=5), (2, 3, 8, 7)),
    ("AdaptiveAvgPool2d", dict(output_size=(3, None)), (2, 3, 7, 5)),
    ("AdaptiveAvgPool2d", dict(output_size=1), (3, 7, 5)),
    ("AdaptiveMaxPool2d", dict(output_size=(2, 3)), (2, 3, 7, 5)),
    ("ReLU", dict(), (3, 4)),
    ("ReLU", dict(inplace=True), (3, 4)),
    ("ReLU6", dict(), (9, 11)),
    ("ReLU6", dict(inplace=True), (9, 11)),
    ("LeakyReLU", dict(), (3, 4)),
    ("LeakyReLU", dict(negative_slope=0.2, inplace=True), (3, 4)),
    ("ELU", dict(), (3, 4)),
    ("ELU", dict(alpha=0.7, inplace=True), (3, 4)),
    ("Sigmoid", dict(), (3, 4)),
    ("LogSigmoid", dict(), (3, 4)),
    ("Tanh", dict(), (3, 4)),
    ("Softplus", dict(), (3, 4)),
    ("Softplus", dict(beta=2.0, threshold=0.5), (3, 4)),
    ("Softmax", dict(dim=1), (2, 3, 4)),
    ("LogSoftmax", dict(dim=-1), (2, 3, 4)),
    ("Dropout", dict(p=0.0), (3, 4)),
    ("Dropout2d", dict(p=0.0, inplace=True), (2, 3, 4, 5)),
]
LAYERS += [(f"{kind}Pad{axes}d", dict(padding=padding, **({"value": 1.5} if kind == "Constant" else {})),
            (2, 3, 4, 5, 6)[:axes + 2])
           for kind in ("Zero", "Constant", "Reflection", "Replication", "Circular") for axes in (1, 2, 3)
           for padding in (1, (1, 2, 0, 3, -1, 1)[:2 * axes])]
LAYERS += [
    ("Upsample", dict(size=(5, 3)), (2, 3, 4, 5)),
    ("Upsample", dict(scale_factor=1.7, mode="linear", align_corners=True, recompute_scale_factor=True), (2, 3, 4)),
    ("Upsample", dict(scale_factor=(2, 1.5), mode="bicubic"), (2, 3, 4, 5)),
    ("UpsamplingNearest2d", dict(scale_factor=2), (2, 3, 4, 5)),
    ("UpsamplingBilinear2d", dict(size=7), (2, 3, 4, 5)),
    ("PixelShuffle", dict(upscale_factor=2), (2, 8, 3, 2)),
    ("PixelUnshuffle", dict(downscale_factor=2), (2, 3, 4, 6)),
    ("ChannelShuffle", dict(groups=3), (2, 6, 4, 5)),
    ("Unfold", dict(kernel_size=(2, 3), dilation=(2, 1), padding=1, stride=2), (2, 3, 6, 5)),
    ("Fold", dict(output_size=(6, 5), kernel_size=(2, 3), dilation=(2, 1), padding=1, stride=2), (2, 18, 9)),
]
LAYERS += [
    ("Conv1d", dict(in_channels=4, out_channels=6, kernel_size=3, stride=2, padding=1, dilation=2, groups=2),
     (2, 4, 9)),
    ("Conv1d", dict(in_channels=2, out_channels=3, kernel_size=4, padding="same", padding_mode="circular"), (2, 7)),
    ("Conv2d", dict(in_channels=3, out_channels=2, kernel_size=(4, 3), padding="same", dilation=(1, 2),
                    padding_mode="reflect"), (2, 3, 5, 6)),
    ("Conv2d", dict(in_channels=3, out_channels=2, kernel_size=3, stride=2, padding=(2, 1), padding_mode="replicate",
                    bias=False), (3, 6, 5)),
    ("Conv2d", dict(in_channels=3, out_channels=2, kernel_size=2, padding="valid", padding_mode="circular"),
     (2, 3, 6, 5)),
    ("Conv3d", dict(in_channels=4, out_channels=2, kernel_size=(2, 3, 1), stride=(1, 2, 1), groups=2), (2, 4, 4, 5, 3)),
    ("Conv3d", dict(in_channels=2, out_channels=3, kernel_size=2, padding=(1, 0, 2), padding_mode="reflect"),
     (2, 3, 4, 5)),
    ("ConvTranspose1d", dict(in_channels=4, out_channels=6, kernel_size=3, stride=2, output_padding=1, groups=2),
     (2, 4, 5)),
    ("ConvTranspose2d", dict(in_channels=3, out_channels=2, kernel_size=(3, 2)), (2, 3, 4, 5)),
    ("ConvTranspose2d", dict(in_channels=3, out_channels=2, kernel_size=3, stride=(2, 3), padding=1, bias=False,
                             output_padding=(1, 2), dilation=(1, 2)), (3, 4, 5)),
    ("ConvTranspose3d", dict(in_channels=2, out_channels=3, kernel_size=2, padding=(0, 1, 0)), (2, 2, 3, 4, 2)),
    ("MaxPool1d", dict(kernel_size=3, stride=2, padding=1, dilation=2, ceil_mode=True), (2, 3, 9)),
    ("MaxPool3d", dict(kernel_size=(2, 3, 1), ceil_mode=True), (2, 3, 5, 4, 6)),
    ("AvgPool1d", dict(kernel_size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False), (3, 8)),
    ("AvgPool3d", dict(kernel_size=(2, 3, 1), divisor_override=4), (2, 3, 5, 4, 6)),
    ("LPPool1d", dict(norm_type=2, kernel_size=3), (2, 3, 9)),
    ("LPPool2d", dict(norm_type=4, kernel_size=(2, 3), stride=2, ceil_mode=True), (3, 7, 8)),
    ("LPPool3d", dict(norm_type=2.0, kernel_size=2), (2, 3, 5, 4, 6)),
    ("AdaptiveAvgPool1d", dict(output_size=3), (2, 3, 7)), ("AdaptiveAvgPool3d", dict(output_size=2), (3, 5, 4, 6)),
    ("AdaptiveMaxPool1d", dict(output_size=3), (3, 7)),
    ("AdaptiveMaxPool3d", dict(output_size=(2, None, 1)), (2, 3, 5, 4, 6)),
]
LAYERS += [
    ("BatchNorm3d", dict(num_features=3, eps=0.1), (4, 3, 2, 3, 2)),
    ("InstanceNorm1d", dict(num_features=3), (2, 3, 5)),
    ("InstanceNorm1d", dict(num_features=3, affine=True, bias=False), (3, 5)),
    ("InstanceNorm2d", dict(num_features=3, affine=True, track_running_stats=True), (2, 3, 5, 4)),
    ("InstanceNorm2d", dict(num_features=3, track_running_stats=True, momentum=None, eps=0.1), (3, 5, 4)),
    ("InstanceNorm3d", dict(num_features=3, track_running_stats=True, momentum=0.3), (2, 3, 5, 4, 2)),
    ("GroupNorm", dict(num_groups=2, num_channels=6), (2, 6, 5, 4)),
    ("GroupNorm", dict(num_groups=3, num_channels=6, eps=0.1, bias=False), (2, 6, 5)),
    ("GroupNorm", dict(num_groups=1, num_channels=6, affine=False), (2, 6)),
    ("LayerNorm", dict(normalized_shape=4), (2, 3, 4)),
    ("LayerNorm", dict(normalized_shape=(3, 4), eps=0.1, bias=False), (2, 3, 4)),
    ("LayerNorm", dict(normalized_shape=[4], elementwise_affine=False), (2, 3, 4)),
    ("RMSNorm", dict(normalized_shape=4), (2, 3, 4)),
    ("RMSNorm", dict(normalized_shape=[3, 4], eps=0.1, elementwise_affine=False), (2, 3, 4)),
    ("LocalResponseNorm", dict(size=3, alpha=0.5, beta=0.5, k=2.0), (2, 7, 5, 4)),
]
LAYERS += [(name, dict(inplace=inplace), (9, 11)) for inplace in (False, True)
           for name in ("SELU", "SiLU", "Mish", "Hardsigmoid", "Hardswish")]
LAYERS += [(name, dict(), (9, 11)) for name in ("Softsign", "Tanhshrink", "Hardtanh", "PReLU", "GELU", "CELU",
                                                "Hardshrink", "Softshrink")]
LAYERS += [
    ("Hardtanh", dict(min_val=-0.3, max_val=2.0, inplace=True), (9, 11)),
    ("PReLU", dict(num_parameters=3, init=0.4), (2, 3, 4)),
    ("RReLU", dict(lower=0.25, upper=0.25), (9, 11)),
    ("GELU", dict(approximate="tanh"), (9, 11)),
    ("CELU", dict(alpha=0.5, inplace=True), (9, 11)),
    ("Hardshrink", dict(lambd=0.8), (9, 11)),
    ("Softshrink", dict(lambd=0.8), (9, 11)),
    ("Threshold", dict(threshold=0.3, value=-2.0), (9, 11)),
    ("Threshold", dict(threshold=-0.3, value=1.0, inplace=True), (9, 11)),
    ("GLU", dict(), (3, 4)),
    ("GLU", dict(dim=1), (3, 4, 5)),
    ("Softmin", dict(dim=1), (2, 3, 4)),
    ("Softmax2d", dict(), (2, 3, 4, 5)),
    ("Softmax2d", dict(), (3, 4, 5)),
    *[(name, dict(p=0.0, inplace=True), (2, 3, 4, 5, 2)[:ndim]) for name, ndim in (
        ("Dropout1d", 3), ("Dropout3d", 5), ("AlphaDropout", 2), ("FeatureAlphaDropout", 3))],
]
LAYERS += [
    ("RNN", dict(input_size=3, hidden_size=4, num_layers=2, nonlinearity="relu", bidirectional=True), (5, 2, 3)),
    ("LSTM", dict(input_size=3, hidden_size=4, num_layers=2, batch_first=True, bidirectional=True), (2, 5, 3)),
    ("GRU", dict(input_size=3, hidden_size=4, bias=False), (5, 3)),
    ("RNNCell", dict(input_size=3, hidden_size=4), (2, 3)), ("LSTMCell", dict(input_size=3, hidden_size=4), (2, 3)),
    ("GRUCell", dict(input_size=3, hidden_size=4, bias=False), (3,)),
    *[(f"FractionalMaxPool{axes}d", dict(kernel_size=2, output_ratio=0.5, _random_samples=rng_of(0).random(
        (2, 3, axes))), (2, 3, 7, 8, 9)[:axes + 2]) for axes in (2, 3)],
]
LAYERS += [  # the arguments that no layer above has
    ("Conv1d", dict(in_channels=2, out_channels=3, kernel_size=2, bias=False), (2, 2, 5)),
    ("Conv3d", dict(in_channels=2, out_channels=3, kernel_size=2, dilation=(1, 2, 1), bias=False), (2, 2, 3, 4, 3)),
    ("ConvTranspose1d", dict(in_channels=2, out_channels=3, kernel_size=3, padding=1, dilation=2, bias=False),
     (2, 2, 5)),
    ("ConvTranspose2d", dict(in_channels=4, out_channels=6, kernel_size=2, groups=2), (2, 4, 3, 2)),
    ("ConvTranspose3d", dict(in_channels=2, out_channels=4, kernel_size=2, stride=2, output_padding=(1, 0, 1), groups=2,
                             dilation=(2, 1, 2), bias=False), (2, 2, 3, 2, 2)),
    ("AvgPool3d", dict(kernel_size=3, stride=(2, 1, 2), padding=1, ceil_mode=True, count_include_pad=False),
     (2, 3, 6, 4, 5)),
    ("MaxPool3d", dict(kernel_size=2, stride=(1, 2, 1), padding=1, dilation=(2, 1, 1)), (2, 3, 4, 5, 3)),
    ("LPPool1d", dict(norm_type=2, kernel_size=3, stride=2, ceil_mode=True), (2, 3, 8)),
    ("LPPool3d", dict(norm_type=2, kernel_size=2, stride=(1, 2, 1), ceil_mode=True), (2, 3, 3, 5, 4)),
    ("BatchNorm1d", dict(num_features=4, affine=False, track_running_stats=False), (5, 4)),
    ("BatchNorm1d", dict(num_features=4, bias=False), (5, 4)),
    ("BatchNorm2d", dict(num_features=3, eps=0.1), (4, 3, 2, 3)),
    ("BatchNorm3d", dict(num_features=3, momentum=0.3, affine=False), (4, 3, 2, 3, 2)),
    ("BatchNorm3d", dict(num_features=3, track_running_stats=False, bias=False), (4, 3, 2, 3, 2)),
    ("InstanceNorm1d", dict(num_features=3, eps=0.1, momentum=0.3, track_running_stats=True), (2, 3, 5)),
    ("InstanceNorm2d", dict(num_features=3, affine=True, bias=False), (2, 3, 5, 4)),
    ("InstanceNorm3d", dict(num_features=3, eps=0.1, affine=True, bias=False), (2, 3, 5, 4, 2)),
    ("UpsamplingNearest2d", dict(size=(5, 3)), (2, 3, 4, 5)),
    ("UpsamplingBilinear2d", dict(scale_factor=2), (2, 3, 4, 5)),
    *[(f"FractionalMaxPool{axes}d", dict(kernel_size=2, output_size=3, return_indices=True, _random_samples=rng_of(
        0).random((2, 3, axes))), (2, 3, 7, 8, 9)[:axes + 2]) for axes in (2, 3)],
    *[(name, dict(return_indices=True, **sizes), (2, 3, 7, 5, 6)[:int(name[-2]) + 2]) for axes in "123"
      for name, sizes in ((f"MaxPool{axes}d", {"kernel_size": 2}), (f"AdaptiveMaxPool{axes}d", {"output_size": 3}))],
]
TWO_INPUTS = [  # the third entry: the shapes of both, or the array itself
    ("Bilinear", dict(in1_features=3, in2_features=2, out_features=4), ((5, 3), (5, 2))),
    ("Bilinear", dict(in1_features=3, in2_features=2, out_features=4, bias=False), ((2, 5, 3), (2, 5, 2))),
    ("CosineSimilarity", dict(), ((2, 3), (2, 3))), ("CosineSimilarity", dict(dim=-1, eps=2.0), ((2, 3), (3,))),
    ("PairwiseDistance", dict(), ((2, 3), (2, 3))),
    ("PairwiseDistance", dict(p=1.0, eps=0.5, keepdim=True), ((2, 3), (2, 3))),
    *[(f"MaxUnpool{axes}d", dict(kernel_size=2), ((1, 1, *[2] * axes), rng_of(0).permutation(4 ** axes)[:2 ** axes]
                                                  .reshape(1, 1, *[2] * axes))) for axes in (1, 2, 3)],
    *[(f"MaxUnpool{axes}d", dict(kernel_size=3, stride=2, padding=1), ((1, 1, *[2] * axes), rng_of(0).permutation(
        3 ** axes)[:2 ** axes].reshape(1, 1, *[2] * axes))) for axes in (1, 2, 3)],
]
EMBEDDINGS = [("Embedding", dict(num_embeddings=5, embedding_dim=3, **options)) for options in (
    {}, dict(padding_idx=-2), dict(max_norm=0.5, norm_type=1.0, scale_grad_by_freq=True), dict(_freeze=True))]
RANDOM = [("Dropout", dict(), (3, 4)), ("Dropout2d", dict(p=0.25, inplace=True), (2, 3, 4, 5)),
          ("RReLU", dict(), (3, 4)), ("RReLU", dict(lower=0.2, upper=0.3, inplace=True), (3, 4)),
          ("AlphaDropout", dict(), (3, 4))]


def case_id(case: tuple) -> str:
    return f"{case[0]}({', '.join(f'{k}={v}' for k, v in case[1].items() if not isinstance(v, np.ndarray))})"


def twins(name: str, arguments: dict) -> tuple[nn.Module, torch.nn.Module]:
    """Our layer and PyTorch's; arrays among the arguments become tensors."""
    return tuple(getattr(library, name)(**{key: tensor(a) if isinstance(a, np.ndarray) else a
                                           for key, a in arguments.items()})
                 for library, tensor in ((nn, mc.tensor), (torch.nn, torch.tensor)))


def pair_of(name: str, arguments: dict, dtype: str = "float64") -> tuple[nn.Module, torch.nn.Module]:
    """Our layer and PyTorch's with equal, random state."""
    ours, theirs = twins(name, arguments)
    ours, theirs = ours.to(dtype), theirs.to(getattr(torch, dtype))
    with torch.no_grad():
        for t in theirs.state_dict().values():
            if t.is_floating_point():
                t.copy_(torch.from_numpy(rng_of(t.numel()).uniform(0.5, 1.5, t.shape)))
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def same_state(ours: nn.Module, theirs: torch.nn.Module, tolerance: float) -> None:
    state = theirs.state_dict()
    assert list(ours.state_dict()) == list(state)
    for key, value in ours.state_dict().items():
        assert_close(value, state[key], tolerance, key)


def outputs_of(y: Any) -> list:
    """The tensors in nested tuples."""
    return [t for part in y for t in outputs_of(part)] if isinstance(y, tuple) else [y]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", LAYERS, ids=case_id)
def test_layer_computes_what_pytorch_does(case: tuple, dtype: str):
    name, arguments, shape = case
    exact = dtype == "float64" and name != "Hardsigmoid"  # in which PyTorch computes with 1/6 in float32
    tolerance = FIRST if exact else SINGLE
    ours, theirs = pair_of(name, arguments, dtype)
    for step in range(5):
        if step == 3:
            ours.eval(), theirs.eval()
        x = distinct(shape, step).astype(dtype)
        a, b = mc.tensor(x, requires_grad=True), torch.from_numpy(x).requires_grad_()
        inplace = arguments.get("inplace")
        outputs = [outputs_of(layer(t.clone() if inplace else t)) for layer, t in ((ours, a), (theirs, b))]
        for i, (y, expected) in enumerate(zip(*outputs, strict=True)):
            assert_close(y, expected, tolerance, f"output {i}")
            if not expected.requires_grad:  # indices
                continue
            gy = normal(expected.shape, step + 10 + i).astype(dtype)
            y.backward(mc.tensor(gy), retain_graph=True), expected.backward(torch.from_numpy(gy), retain_graph=True)
        assert_close(a.grad, b.grad, tolerance, "gradient of the input")
        for (key, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert_close(p.grad, q.grad, tolerance * 10, key)  # of five steps, added up
        same_state(ours, theirs, tolerance)


@pytest.mark.parametrize("case", LAYERS + TWO_INPUTS + EMBEDDINGS + RANDOM, ids=case_id)
def test_layer_prints_and_names_its_arguments_as_pytorch_does(case: tuple):
    ours, theirs = twins(*case[:2])
    assert repr(ours) == repr(theirs)
    for argument in inspect.signature(type(theirs)).parameters:
        if isinstance(value := getattr(theirs, argument, None), (int, float, str, tuple)):
            assert getattr(ours, argument) == value, argument
    assert [(k, v.shape, str(v.dtype)) for k, v in ours.state_dict().items()] == \
           [(k, v.shape, str(v.dtype)[6:]) for k, v in theirs.state_dict().items()]


@pytest.mark.parametrize("case", TWO_INPUTS, ids=case_id)
def test_layer_of_two_inputs_computes_what_pytorch_does(case: tuple):
    ours, theirs = pair_of(*case[:2])
    check_op(ours, theirs, *[normal(a, i) if isinstance(a, tuple) else a for i, a in enumerate(case[2])], single=False)


# -- embeddings -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("case", EMBEDDINGS, ids=case_id)
def test_embedding_computes_what_pytorch_does(case: tuple):
    ours, theirs = pair_of(*case)
    index = np.array([[0, 3, 3], [4, 0, 0]])
    y, expected = ours(mc.tensor(index)), theirs(torch.tensor(index))
    assert_close(y, expected, FIRST)
    assert y.requires_grad == expected.requires_grad
    if expected.requires_grad:
        gy = normal(expected.shape)
        y.backward(mc.tensor(gy)), expected.backward(torch.tensor(gy))
        assert_close(ours.weight.grad, theirs.weight.grad, FIRST)
    same_state(ours, theirs, FIRST)  # max_norm writes to the weight


def test_embedding_starts_with_zeros_for_padding():
    layer = nn.Embedding(500, 40, padding_idx=-1)
    values = layer.weight.detach().numpy()
    assert layer.padding_idx == 499 and not values[-1].any()
    assert abs(values[:-1].mean()) < 0.05 and abs(values[:-1].std() - 1) < 0.05


@pytest.mark.parametrize("freeze", [True, False])
def test_embedding_of_a_given_table(freeze: bool):
    table = mc.tensor(normal((4, 3)))
    layer = nn.Embedding.from_pretrained(table, freeze, padding_idx=1)
    assert layer.weight.requires_grad == (not freeze) and layer.padding_idx == 1
    np.testing.assert_array_equal(layer(mc.tensor([2, 1])).detach().numpy(), table.numpy()[[2, 1]])


def test_bilinear_starts_within_its_bounds():
    layer = nn.Bilinear(4, 50, 60)
    for values in (layer.weight, layer.bias):
        assert 0.45 < values.abs().max().item() <= 0.5


# -- indices, dropout, batch statistics -----------------------------------------------------------------------------

def test_dropout_scales_what_it_keeps_and_differentiates():
    layer, x = nn.Dropout(0.25), mc.tensor(normal((100, 100)), requires_grad=True)
    y = layer(x)
    kept = y.detach().numpy() != 0
    assert abs(kept.mean() - 0.75) < 0.02
    np.testing.assert_allclose(y.detach().numpy()[kept], x.detach().numpy()[kept] / 0.75)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), kept / 0.75)
    assert (layer(x).detach().numpy() != y.detach().numpy()).any(), "a new mask for every call"
    assert layer.eval()(x) is x


def test_dropout2d_drops_whole_channels():
    y = nn.Dropout2d(0.4)(mc.ones(50, 40, 2, 3)).numpy()
    assert (y == y[:, :, :1, :1]).all()
    assert abs((y[:, :, 0, 0] == 0).mean() - 0.4) < 0.05


def test_dropout_repeats_with_the_seed():
    outputs = []
    for _ in range(2):
        mc.manual_seed(3)
        outputs.append(nn.Dropout()(mc.ones(64)).numpy())
    np.testing.assert_array_equal(*outputs)


def test_batch_norm_that_no_longer_tracks_leaves_its_buffers_alone():
    ours, theirs = pair_of("BatchNorm2d", dict(num_features=3))
    ours.track_running_stats = theirs.track_running_stats = False
    x = normal((4, 3, 5, 2))
    for _ in range(2):
        assert_close(ours(mc.tensor(x)), theirs(torch.from_numpy(x)), FIRST)
        same_state(ours, theirs, 0)
        ours.eval(), theirs.eval()


def test_batch_norm_resets():
    layer = nn.BatchNorm1d(3)
    layer(mc.randn(5, 3))
    assert layer.num_batches_tracked.item() == 1
    layer.weight.data[...] = 7
    layer.reset_parameters()
    for key, value in nn.BatchNorm1d(3).state_dict().items():
        np.testing.assert_array_equal(layer.state_dict()[key].numpy(), value.numpy())


def test_layers_take_a_dtype():
    for layer in (nn.Conv2d(2, 3, 2, dtype=mc.float64), nn.Linear(2, 3, dtype="double"),
                  nn.BatchNorm1d(2, dtype=mc.float64)):
        assert {str(t.dtype) for t in layer.state_dict().values()} - {"int64"} == {"float64"}


# -- losses ---------------------------------------------------------------------------------------------------------

CLASSES = np.array([2, 0, 1, 2, -100])
WEIGHT = np.array([0.5, 2.0, 1.25])
ONES = (normal((5, 3), 3) > 0).astype(float)
LOSSES = [
    ("MSELoss", dict(), normal((5, 3)), normal((5, 3), 1)),
    ("MSELoss", dict(reduction="sum"), normal((5, 3)), normal((5, 3), 1)),
    ("L1Loss", dict(reduction="none"), normal((5, 3)), normal((5, 3), 1)),
    ("CrossEntropyLoss", dict(), normal((5, 3)), CLASSES),
    ("CrossEntropyLoss", dict(weight=WEIGHT, ignore_index=2, reduction="sum", label_smoothing=0.1), normal((5, 3)),
     CLASSES.clip(0)),
    ("CrossEntropyLoss", dict(weight=WEIGHT), normal((5, 3, 2)), np.stack([CLASSES, CLASSES[::-1]], 1)),
    ("CrossEntropyLoss", dict(weight=WEIGHT, label_smoothing=0.2), normal((5, 3)), rng_of(0).dirichlet([1, 1, 1], 5)),
    ("NLLLoss", dict(weight=WEIGHT, ignore_index=0), normal((5, 3)), CLASSES.clip(0)),
    ("NLLLoss", dict(reduction="none"), normal((5, 3)), CLASSES),
    ("BCELoss", dict(weight=WEIGHT), rng_of(2).uniform(0.05, 0.95, (5, 3)), ONES),
    ("BCEWithLogitsLoss", dict(weight=WEIGHT, pos_weight=WEIGHT[::-1].copy()), normal((5, 3)), ONES),
    ("BCEWithLogitsLoss", dict(reduction="sum"), normal((5, 3)), ONES),
    ("SmoothL1Loss", dict(beta=0.5), normal((5, 3)), normal((5, 3), 1)),
    ("HuberLoss", dict(reduction="sum", delta=0.5), normal((5, 3)), normal((5, 3), 1)),
    ("KLDivLoss", dict(reduction="batchmean", log_target=True), normal((5, 3)), normal((5, 3), 1)),
    ("PoissonNLLLoss", dict(log_input=False, full=True, eps=0.1), np.exp(normal((5, 3))), ONES * 3),
    ("GaussianNLLLoss", dict(full=True, eps=0.7), normal((5, 3)), normal((5, 3), 1), np.exp(normal((5, 1), 2))),
    ("HingeEmbeddingLoss", dict(margin=0.5), normal((5, 3)), 2 * ONES - 1),
    ("SoftMarginLoss", dict(reduction="sum"), normal((5, 3)), 2 * ONES - 1),
    ("MarginRankingLoss", dict(margin=0.5), normal((5, 3)), normal((5, 3), 1), 2 * ONES - 1),
    ("MultiMarginLoss", dict(p=2, margin=0.5, weight=WEIGHT), normal((5, 3)), CLASSES.clip(0)),
    ("MultiLabelMarginLoss", dict(reduction="none"), normal((5, 3)), np.stack([CLASSES.clip(0), CLASSES.clip(-1)] * 2)
     [:3].T.copy()),
    ("MultiLabelSoftMarginLoss", dict(weight=WEIGHT), normal((5, 3)), ONES),
    ("CosineEmbeddingLoss", dict(margin=0.2), normal((5, 3)), normal((5, 3), 1), 2 * ONES[:, 0] - 1),
    ("TripletMarginLoss", dict(margin=2.0, p=3, eps=0.1, swap=True), normal((5, 3)), normal((5, 3), 1),
     normal((5, 3), 2)),
    ("TripletMarginWithDistanceLoss", dict(), normal((5, 3)), normal((5, 3), 1), normal((5, 3), 2)),
    ("TripletMarginWithDistanceLoss", dict(distance_function=lambda a, b: (a * b).sum(-1), margin=2.0, swap=True),
     normal((5, 3)), normal((5, 3), 1), normal((5, 3), 2)),
    ("CTCLoss", dict(blank=1, zero_infinity=True), normal((5, 3, 4)), np.array([[0, 2], [3, 3], [2, 0]]),
     np.array([5, 4, 1]), np.array([2, 2, 2])),
]


@pytest.mark.parametrize("case", LOSSES, ids=lambda case: f"{case[0]}-{'-'.join(case[1])}")
@pytest.mark.parametrize("reduction", ["as given", "none", "sum"])
def test_loss_computes_what_pytorch_does(case: tuple, reduction: str):
    name, options, x, *targets = case
    options = options if reduction == "as given" else {**options, "reduction": reduction}
    losses, inputs, outputs = [], [], []
    for library, tensor in ((nn, mc.tensor), (torch.nn, torch.tensor)):
        given = {k: tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        losses.append(getattr(library, name)(**given))
        inputs.append(tensor(x, requires_grad=True))
        outputs.append(losses[-1](inputs[-1], *map(tensor, targets)))
        gy = normal(outputs[-1].shape, 4)
        outputs[-1].backward(tensor(gy))
    assert_close(*outputs, FIRST)
    assert_close(inputs[0].grad, inputs[1].grad, FIRST)
    assert repr(losses[0]) == repr(losses[1])
    same_state(*losses, 0)


CASES = LAYERS + TWO_INPUTS + EMBEDDINGS + RANDOM + LOSSES
DRAWN = {"RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"}  # in test_recurrent.py
ELSEWHERE = {"Identity": {"args", "kwargs"}, "Embedding": {"sparse", "_weight"}, "Dropout": {"inplace"}, **{
    f"ConvTranspose{axes}d": {"padding_mode"} for axes in (1, 2, 3)}}  # which may only be "zeros"


@pytest.mark.parametrize("name", sorted({case[0] for case in CASES} - DRAWN))
def test_every_argument_is_among_those_tried(name: str):
    parameters = inspect.signature(getattr(nn, name)).parameters
    tried = {"device", "dtype", *ELSEWHERE.get(name, ()), *["reduction"] * (name in {case[0] for case in LOSSES})}
    for case in CASES:
        if case[0] == name:
            tried |= {key for key, v in case[1].items() if isinstance(v, np.ndarray) or v != parameters[key].default}
    assert parameters.keys() <= tried


def test_no_layer_is_missing():
    """Those left out have no twin, or compute nothing themselves, or are compared where they become another layer."""
    tried = {case[0] for case in CASES}
    others = {"Module", "Sequential", "ModuleList", "ModuleDict", "RNNBase", "RNNCellBase", "UninitializedParameter"}
    assert set(classes(nn)) - OURS - others - {case[0] for case in LAZY} == tried


# -- errors ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, arguments, match", [
    ("Conv2d", dict(in_channels=3, out_channels=4, kernel_size=3, groups=2), "in_channels = 3 must be divisible"),
    ("Conv2d", dict(in_channels=4, out_channels=3, kernel_size=3, groups=2), "out_channels = 3 must be divisible"),
    ("Conv2d", dict(in_channels=3, out_channels=4, kernel_size=3, groups=0), "groups = 0"),
    ("Conv2d", dict(in_channels=3.0, out_channels=4, kernel_size=3), "in_channels = 3.0 must be an integer"),
    ("Conv2d", dict(in_channels=3, out_channels=4, kernel_size=3, padding="some"), "'some'"),
    ("Conv2d", dict(in_channels=3, out_channels=4, kernel_size=3, padding="same", stride=2), "needs stride 1"),
    ("Conv2d", dict(in_channels=3, out_channels=4, kernel_size=3, padding_mode="mirror"), "padding_mode 'mirror'"),
    ("Linear", dict(in_features=-1, out_features=4), "in_features = -1"),
    ("Dropout", dict(p=1.5), r"p = 1\.5 must be a probability"),
    ("Dropout2d", dict(p=-0.5), r"p = -0\.5"),
    ("Unflatten", dict(dim=1, unflattened_size=(2, 1.5)), r"unflattened_size = \(2, 1\.5\)"),
    ("Unflatten", dict(dim=1, unflattened_size=6), "unflattened_size = 6"),
    ("CrossEntropyLoss", dict(weight=[1.0, 2.0]), "list"),
    ("Bilinear", dict(in1_features=0, in2_features=2, out_features=3), "in1_features = 0"),
    ("MultiMarginLoss", dict(p=3), "MultiMarginLoss: p = 3 must be 1 or 2"),
    ("TripletMarginLoss", dict(margin=0.0), r"TripletMarginLoss: margin = 0\.0 must be positive"),
    ("TripletMarginWithDistanceLoss", dict(margin=-1), "margin = -1 must be positive"),
])
def test_wrong_arguments_are_refused(name: str, arguments: dict, match: str):
    check_raises(lambda: getattr(nn, name)(**arguments), lambda: getattr(torch.nn, name)(**arguments), match)


@pytest.mark.parametrize("arguments, match", [
    (dict(kernel_size=(3, 3, 3)), r"kernel_size = \(3, 3, 3\) must be an integer of at least 1 or 2 of them"),
    (dict(kernel_size=0), "kernel_size = 0"),
    (dict(kernel_size=3, stride=0), "stride = 0"),
    (dict(kernel_size=3, padding=-1), "padding = -1 must be an integer of at least 0"),
    (dict(kernel_size=3, dilation="2"), "dilation = '2'"),
])
def test_wrong_sizes_are_refused_before_the_first_forward(arguments: dict, match: str):
    with pytest.raises(ValueError, match=match):
        nn.Conv2d(3, 4, **arguments)


@pytest.mark.parametrize("make, match", [
    (lambda: nn.ZeroPad2d((1, 2)), r"ZeroPad2d: padding = \(1, 2\) must be an integer or 4 of them"),
    (lambda: nn.ReflectionPad1d(1.5), r"ReflectionPad1d: padding = 1.5"),
    (lambda: nn.Embedding(3, 2, padding_idx=3), "padding_idx = 3 is none of the 3 rows"),
    (lambda: nn.Embedding(3, 2, _weight=mc.zeros(2, 3)), r"weight of shape \(2, 3\) must be \(3, 2\)"),
    (lambda: nn.Embedding.from_pretrained(mc.zeros(3)), r"embeddings of shape \(3,\)"),
])
def test_what_pytorch_asserts_or_finds_out_later(make, match: str):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize("name, arguments, shape, match", [
    ("Conv2d", dict(in_channels=3, out_channels=4, kernel_size=3), (2, 4, 5, 5), "x has 4 channels"),
    ("Linear", dict(in_features=3, out_features=4), (2, 5), "5"),
    ("BatchNorm2d", dict(num_features=3), (2, 3), r"BatchNorm2d: expected 4D input, got \(2, 3\)"),
    ("BatchNorm1d", dict(num_features=3), (2, 3, 4, 4), "BatchNorm1d: expected 2D or 3D input"),
    ("BatchNorm1d", dict(num_features=3), (1, 3), "more than one value per channel"),
])
def test_wrong_inputs_are_refused(name: str, arguments: dict, shape: tuple, match: str):
    ours, theirs = getattr(nn, name)(**arguments), getattr(torch.nn, name)(**arguments)
    check_raises(lambda: ours(mc.zeros(shape)), lambda: theirs(torch.zeros(shape)), match)


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(3), nn.InstanceNorm2d(3, track_running_stats=True)])
def test_running_statistics_of_infinite_pixels_warn_of_nothing(layer):
    """They become what PyTorch's become, in silence, though ∞ − ∞ is among it."""
    theirs = getattr(torch.nn, type(layer).__name__)(3, track_running_stats=True)
    x = normal((4, 3, 5, 6)).astype(np.float32)
    x[0, 0, 1, 2] = np.inf
    for _ in range(2):
        layer(mc.tensor(x)), theirs(torch.tensor(x))
    for ours, expected in zip(layer.buffers(), theirs.buffers(), strict=True):
        np.testing.assert_allclose(ours.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)
