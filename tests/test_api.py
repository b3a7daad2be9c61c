"""The public interface, name by name: there, documented, and with PyTorch's arguments or a word about what differs."""

import ast
import inspect
import re
from collections.abc import Callable

import pytest
import torch

import minicnn as mc
import minicnn.functional as F
from minicnn import nn, optim

CREATION = """tensor from_numpy from_dlpack zeros ones full empty arange linspace eye rand randn randint zeros_like
    ones_like full_like rand_like randn_like""".split()
OPERATORS = """neg abs add sub mul div pow true_divide floor_divide remainder addmm baddbmm bmm matmul mm mv dot
    outer einsum tensordot exp expm1 exp2 log log1p log2 log10 sqrt rsqrt square reciprocal sin cos tan sinh cosh tanh
    asin acos atan sigmoid erf sign floor ceil round trunc frac clamp clamp_min clamp_max maximum minimum fmax fmin lerp
    addcmul addcdiv logaddexp xlogy hypot atan2 where nan_to_num isnan isinf isfinite eq ne lt le gt ge isclose allclose
    logical_and logical_or logical_not logical_xor sum mean prod max min amax amin argmax argmin any all var std
    var_mean std_mean logsumexp norm median cumsum cumprod nansum count_nonzero reshape flatten unflatten ravel
    permute transpose t squeeze unsqueeze broadcast_to tile flip roll movedim split chunk unbind select narrow
    diagonal diag tril triu cat stack hstack vstack repeat_interleave as_strided gather scatter scatter_add index_select
    index_add masked_fill masked_select take_along_dim take topk sort argsort nonzero unique""".split()
ONLY_FUNCTIONS = "einsum tensordot where cat stack hstack vstack var_mean std_mean".split()  # not methods of Tensor
METHODS = """numpy item tolist detach clone contiguous to cpu cuda float double half long bool size dim numel
    requires_grad_ backward register_hook zero_ rsub view expand expand_as repeat unfold relu softmax log_softmax
    __array__ __dlpack__ __getitem__ __setitem__ __iadd__ __isub__ __imul__ __itruediv__ __matmul__ __floordiv__
    __mod__""".split()
ATTRIBUTES = "data grad requires_grad is_leaf grad_fn shape ndim dtype device T mT".split()
AUTOGRAD = "no_grad enable_grad inference_mode set_grad_enabled is_grad_enabled manual_seed".split()
FUNCTIONAL = """conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d unfold fold max_pool1d
    max_pool2d max_pool3d max_unpool1d max_unpool2d max_unpool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
    adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d lp_pool1d
    lp_pool2d fractional_max_pool2d batch_norm layer_norm group_norm instance_norm local_response_norm normalize
    rms_norm relu relu6 leaky_relu prelu rrelu elu celu selu gelu silu mish softplus softsign softmin softmax
    log_softmax sigmoid logsigmoid tanh tanhshrink hardtanh hardsigmoid hardswish hardshrink softshrink threshold glu
    dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout linear bilinear embedding one_hot pad
    interpolate pixel_shuffle pixel_unshuffle channel_shuffle grid_sample affine_grid cosine_similarity
    pairwise_distance scaled_dot_product_attention mse_loss l1_loss smooth_l1_loss huber_loss cross_entropy nll_loss
    binary_cross_entropy binary_cross_entropy_with_logits kl_div poisson_nll_loss gaussian_nll_loss
    hinge_embedding_loss margin_ranking_loss soft_margin_loss multi_margin_loss multilabel_margin_loss
    multilabel_soft_margin_loss cosine_embedding_loss triplet_margin_loss ctc_loss""".split()
OURS = "convolve2d correlate2d stochastic_pool2d maxout contrastive_loss".split()  # PyTorch has none
CLASSES = """Module Parameter Sequential ModuleList ModuleDict Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d
    ConvTranspose3d Unfold Fold MaxPool1d MaxPool2d MaxPool3d MaxUnpool1d MaxUnpool2d MaxUnpool3d AvgPool1d AvgPool2d
    AvgPool3d AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d
    AdaptiveMaxPool3d LPPool1d LPPool2d FractionalMaxPool2d BatchNorm1d BatchNorm2d BatchNorm3d LayerNorm GroupNorm
    InstanceNorm1d InstanceNorm2d InstanceNorm3d LocalResponseNorm RMSNorm ReLU ReLU6 LeakyReLU PReLU RReLU ELU CELU
    SELU GELU SiLU Mish Softplus Softsign Softmin Softmax LogSoftmax Sigmoid LogSigmoid Tanh Tanhshrink Hardtanh
    Hardsigmoid Hardswish Hardshrink Softshrink Threshold GLU Dropout Dropout1d Dropout2d Dropout3d AlphaDropout
    FeatureAlphaDropout Linear Bilinear Embedding PixelShuffle PixelUnshuffle ChannelShuffle CosineSimilarity
    PairwiseDistance MSELoss L1Loss SmoothL1Loss HuberLoss CrossEntropyLoss NLLLoss BCELoss BCEWithLogitsLoss KLDivLoss
    PoissonNLLLoss GaussianNLLLoss HingeEmbeddingLoss MarginRankingLoss SoftMarginLoss MultiMarginLoss
    MultiLabelMarginLoss MultiLabelSoftMarginLoss CosineEmbeddingLoss TripletMarginLoss CTCLoss Flatten Unflatten
    Identity Upsample ZeroPad2d LazyConv2d LazyLinear RNN LSTM GRU RNNCell LSTMCell GRUCell""".split()
OUR_CLASSES = "StochasticPool2d Maxout ContrastiveLoss".split()
INITIAL = """uniform_ normal_ constant_ zeros_ ones_ eye_ xavier_uniform_ xavier_normal_ kaiming_uniform_
    kaiming_normal_ trunc_normal_ orthogonal_ sparse_ dirac_ calculate_gain""".split()
UTILITIES = """clip_grad_norm_ clip_grad_value_ parameters_to_vector vector_to_parameters""".split()
PACKING = "PackedSequence pack_padded_sequence pad_packed_sequence pad_sequence pack_sequence".split()
OPTIMISERS = "SGD Adam AdamW RMSprop Adagrad Adadelta NAdam RAdam LBFGS".split()
SCHEDULES = """StepLR MultiStepLR ExponentialLR CosineAnnealingLR CosineAnnealingWarmRestarts LinearLR ConstantLR
    OneCycleLR ReduceLROnPlateau LambdaLR SequentialLR""".split()
DERIVATIVES = "vjp jvp jacobian hessian hvp".split()

# how PyTorch runs a call or stores its result, not what is computed; and what it calls deprecated
OMITTED = {"out", "layout", "pin_memory", "memory_format", "size_average", "reduce", "generator", "_stacklevel",
           "has_torch_function", "foreach", "fused", "capturable", "differentiable", "assign", "destination"}


Form = list[tuple[str, str, bool]]  # name, default (or "") and whether by keyword only, of each argument of a call


def of_signature(function: Callable) -> Form:
    found = []
    for p in inspect.signature(function).parameters.values():
        name = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "") + p.name
        found.append((name, "" if p.default is p.empty else repr(p.default), p.kind == p.KEYWORD_ONLY))
    return [argument for argument in found if argument[0] not in OMITTED]


def of_docstring(function: Callable) -> list[Form]:
    """Every form of the call that a built-in function's docstring states."""
    forms = []
    stating = rf"^\s*(?:\.\. function:: )?{function.__name__}\((.*?)\)(?: ?->|$)"
    for stated in re.findall(stating, function.__doc__ or "", re.M | re.S):
        form, keyword = [], False
        for argument in re.split(r",\s*(?![^()\[\]]*[)\]])", stated):
            name, _, default = (part.strip() for part in argument.partition("="))
            name = name.replace("\\", "").split(":")[0]
            if name == "*":
                keyword = True
            elif name.isidentifier() and name not in OMITTED:
                form.append((name, default, keyword))
        forms.append(form)
    return forms


def forms_of(function: Callable) -> list[Form]:
    try:
        form = of_signature(function)
    except (ValueError, TypeError):  # a built-in function
        return of_docstring(function)
    return of_docstring(function) if form and form[0][0].startswith("*") else [form]


def value(default: str) -> object:
    try:
        return ast.literal_eval(default)
    except (ValueError, SyntaxError):
        return default


def difference(ours: Form, theirs: Form) -> str:
    """What is different about ours, where the call ``theirs`` must be possible and mean the same; or nothing."""
    for i, (name, default, keyword) in enumerate(theirs):
        place = next((j for j, (mine, *_) in enumerate(ours) if mine == name), None)
        if place is None:
            if any(mine.startswith("*") for mine, *_ in ours[:i + 1]):
                return ""  # takes any number of arguments from here on
            return f"no argument {name}"
        if not keyword and not name.startswith("*") and (place != i or ours[place][2]):
            return f"{name} is not argument number {i}"
        if default not in ("", "None", "()") and value(ours[place][1]) not in (value(default), None):
            return f"{name} is {ours[place][1]} by default, not {default}"
    return ""


def assert_same_arguments(ours: Callable, theirs: Callable) -> None:
    """Every form of PyTorch's call is one of ours, with the same defaults, unless the docstring tells of PyTorch."""
    different = [difference(of_signature(ours), form) for form in forms_of(theirs)]
    assert not any(different) or "PyTorch" in (ours.__doc__ or ""), (
        f"{of_signature(ours)}: {different}, and the docstring does not say so")


@pytest.mark.parametrize("name", CREATION + OPERATORS + AUTOGRAD)
def test_functions(name: str):
    ours = getattr(mc, name)
    assert ours.__doc__ and len(ours.__doc__) > 1
    if not inspect.isclass(ours):
        assert_same_arguments(ours, getattr(torch, name))


@pytest.mark.parametrize("name", [name for name in OPERATORS if name not in ONLY_FUNCTIONS] + METHODS)
def test_methods(name: str):
    assert callable(getattr(mc.Tensor, name)) and (name.startswith("__") or getattr(mc.Tensor, name).__doc__)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes(name: str):
    getattr(mc.zeros(2, 3), name)


@pytest.mark.parametrize("name", FUNCTIONAL + OURS)
def test_functional(name: str):
    ours = getattr(F, name)
    assert name in F.__all__ and getattr(nn.functional, name) is ours
    for part in ("→", "Raises", r"\b[12]\d\d\d\b"):  # shapes or formula, errors, source
        assert re.search(part, ours.__doc__), f"{name}: no {part} in {ours.__doc__!r}"
    if name not in OURS:
        assert_same_arguments(ours, getattr(torch.nn.functional, name))


@pytest.mark.parametrize("name", CLASSES + OUR_CLASSES)
def test_classes(name: str):  # their arguments: test_nn_signatures.py
    assert name in nn.__all__ and len(getattr(nn, name).__doc__) > 5


@pytest.mark.parametrize("module, reference, names", [
    (nn.init, torch.nn.init, INITIAL), (nn.utils, torch.nn.utils, UTILITIES), (optim, torch.optim, OPTIMISERS),
    (optim.lr_scheduler, torch.optim.lr_scheduler, SCHEDULES),
    (mc.autograd, torch.autograd, ["grad", "gradcheck", "gradgradcheck", "Function", "detect_anomaly"])],
    ids=["init", "utils", "optim", "lr_scheduler", "autograd"])
def test_modules(module, reference, names: list[str]):
    for name in names:
        assert len(getattr(module, name).__doc__) > 5, name
        if not inspect.isclass(getattr(reference, name)):
            assert_same_arguments(getattr(module, name), getattr(reference, name))


def test_packing():
    for name in PACKING:
        assert_same_arguments(getattr(nn.utils.rnn, name), getattr(torch.nn.utils.rnn, name))


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives(name: str):
    ours = getattr(mc.autograd.functional, name)
    assert_same_arguments(ours, getattr(torch.autograd.functional, name))


def test_fusing():
    assert_same_arguments(nn.utils.fuse_conv_bn_eval, torch.nn.utils.fuse_conv_bn_eval)


def test_functional_is_imported_as_pytorchs():
    import minicnn.nn.functional as again

    assert again is F
