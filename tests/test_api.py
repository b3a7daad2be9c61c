"""The public interface, name by name: there, exported, documented, and with PyTorch's arguments.

Documented means that the docstring has formulas, shapes, what it raises and a source; what a family has in common may
be said once, in the docstring of its module, of its base class or of the function that a layer calls. An argument that
differs from PyTorch's in its name, place or default must be named in the docstring, beside PyTorch.
"""

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator

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
WITHOUT_GRADIENT = """eq ne lt le gt ge isclose allclose logical_and logical_or logical_not logical_xor isnan isinf
    isfinite argmax argmin any all count_nonzero argsort nonzero unique""".split()
ONLY_FUNCTIONS = "einsum tensordot where cat stack hstack vstack var_mean std_mean".split()  # not methods of Tensor
VARIADIC = "permute reshape flip tile".split()  # methods that take a sequence as separate numbers, too
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
CONTAINERS = "Module Parameter Sequential ModuleList ModuleDict".split()  # they compute nothing
CLASSES = """Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d
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
UTILITIES = "clip_grad_norm_ clip_grad_value_ parameters_to_vector vector_to_parameters fuse_conv_bn_eval".split()
PACKING = "PackedSequence pack_padded_sequence pad_packed_sequence pad_sequence pack_sequence".split()
OPTIMISERS = "SGD Adam AdamW RMSprop Adagrad Adadelta NAdam RAdam LBFGS".split()
SCHEDULES = """StepLR MultiStepLR ExponentialLR CosineAnnealingLR CosineAnnealingWarmRestarts LinearLR ConstantLR
    OneCycleLR ReduceLROnPlateau LambdaLR SequentialLR""".split()
DIFFERENTIATION = "grad gradcheck gradgradcheck Function detect_anomaly".split()
DERIVATIVES = "vjp jvp jacobian hessian hvp".split()

# how PyTorch runs a call or stores its result, not what is computed; and what it calls deprecated
OMITTED = {"out", "layout", "pin_memory", "memory_format", "size_average", "generator", "_stacklevel",
           "has_torch_function", "foreach", "fused", "capturable", "differentiable", "assign", "destination"}


# -- arguments ------------------------------------------------------------------------------------------------------

Form = list[tuple[str, str, bool]]  # name, default (or "") and whether by keyword only, of each argument of a call


def of_signature(function: Callable) -> Form:
    found = []
    for p in inspect.signature(function).parameters.values():
        default = "" if p.default is p.empty else repr(p.default)
        found.append(("input" if p.name == "self" else p.name, default, p.kind == p.KEYWORD_ONLY))
    return without_omitted(found)


def without_omitted(form: Form) -> Form:
    names = {name for name, *_ in form}
    omitted = OMITTED | ({"reduce"} if "size_average" in names else set())  # the two were one option of losses
    return [argument for argument in form if argument[0] not in omitted]


def of_schemas(name: str) -> list[Form]:
    """Every form of the call of a built-in function that PyTorch declares for tensors."""
    forms: list[Form] = []
    for schema in torch._C._jit_get_schemas_for_operator(f"aten::{name}"):
        names = [argument.name for argument in schema.arguments]
        if names[:1] == ["t"] or {"a", "b", "l", "list", "reverse"} & {*names}:  # of Python's numbers and lists
            continue
        if any("Dimname" in str(argument.type) or argument.is_out for argument in schema.arguments):
            continue
        form = without_omitted([("input" if a.name == "self" else a.name,
                                 repr(a.default_value) if a.has_default_value() else "", a.kwarg_only)
                                for a in schema.arguments])
        if [n for n, *_ in form] not in [[n for n, *_ in other] for other in forms]:  # else for a number, not a tensor
            forms.append(form)
    return forms


# Python functions behind those that PyTorch makes of two, other names, and forms that are nowhere declared
BEHIND = {"unique": torch.functional._unique_impl,
          **{name.removesuffix("_with_indices"): function for name, function in vars(torch.nn.functional).items()
             if name.endswith("_with_indices")}}
RENAMED = {"logsigmoid": "log_sigmoid"}
STATED: dict[str, list[Form]] = {
    "einsum": [[("equation", "", False), ("operands", "", False)]], "from_numpy": [[("ndarray", "", False)]],
    "nonzero": [[("input", "", False), ("as_tuple", "False", True)]]}


def forms_of(name: str, function: Callable) -> list[Form]:
    try:
        form = of_signature(BEHIND.get(name, function))
    except (ValueError, TypeError):  # a built-in function
        form = [("args", "", False)]
    return STATED.get(name) or ([form] if form[:1] != [("args", "", False)] else of_schemas(RENAMED.get(name, name)))


def value(default: str) -> object:
    """A default, in which 1 and (1, 1), and None and no numbers, are the same; "" if there is none."""
    try:
        meant = ast.literal_eval(default) if default else ""
    except (ValueError, SyntaxError):
        return default
    if isinstance(meant, (list, tuple)):
        return meant[0] if len(set(meant)) == 1 else tuple(meant) or None
    return meant


def differing(ours: Form, forms: list[Form]) -> Iterator[str]:
    """The arguments whose name, place or default is not PyTorch's, in any form of its call."""
    mine = {name: (place, default, keyword) for place, (name, default, keyword) in enumerate(ours)}
    for form in forms:
        for i, (name, default, keyword) in enumerate(form):
            place, default_here, keyword_here = mine.get(name, (-1, "", True))
            if name not in mine or not keyword and (place != i or keyword_here):
                yield name
            elif name != "dtype" and value(default_here) != value(default) and (default or len(forms) == 1):
                yield name
    known = {name for form in forms for name, *_ in form}
    yield from (name for name in mine if name not in known | {"device", "dtype", "requires_grad"})


def assert_same_arguments(name: str, ours: Callable, theirs: Callable) -> None:
    forms = forms_of(name, theirs)
    assert forms, f"nothing is known about the arguments of PyTorch's {name}"
    doc = ours.__doc__ or ""
    untold = {n for n in differing(of_signature(ours), forms) if not ("PyTorch" in doc and re.search(rf"\b{n}\b", doc))}
    if untold:
        pytest.fail(f"{name}: {sorted(untold)} of {of_signature(ours)} differ from {forms}, and it does not say so")


# -- docstrings -----------------------------------------------------------------------------------------------------

FORMULA = r"[=·√Σ⌊⌈|²ˣᵖ≤≠<>→←∫]| [−+/] |\w/\w|max\(|min\(|[Tt]rue where|[Ww]hether"
ARRANGED = FORMULA + r"|\bax[ie]s\b|\bdim\b|shape|elements"  # of what only moves elements, which is said in words
SENTENCE = re.compile(r"\w{4}.*\.$", re.M)
YEAR = r"\b1[6-9]\d\d\b|\b20[0-2]\d\b"
SOURCE = YEAR + "|PyTorch|NumPy"
PARTS = {"shapes": "→", "errors": "Raises", "source": SOURCE}


def assert_documented(name: str, thing: object, *shared: str | None, parts: dict[str, str] = PARTS,
                      formula: str = FORMULA) -> None:
    """It has a docstring of its own with a formula; the other parts are there or in what is shared."""
    doc = inspect.cleandoc(thing.__doc__ or "")
    if not re.search(formula, doc):
        pytest.fail(f"{name}: no formula in {doc!r}")
    told = "\n".join([doc, *(text or "" for text in shared)])
    missing = [part for part, pattern in parts.items() if not re.search(pattern, told)]
    if missing:
        pytest.fail(f"{name}: no {', '.join(missing)} in {told!r}")


def module_of(thing: object) -> str:
    return sys.modules[inspect.unwrap(thing).__module__].__doc__ or ""


@pytest.mark.parametrize("name", CREATION + OPERATORS)
def test_functions(name: str):
    ours = getattr(mc, name)
    module = inspect.unwrap(ours).__module__.rpartition(".")[2]
    moved = module in ("creation", "index", "join", "order", "shape")
    assert_documented(name, ours, module_of(ours), formula=ARRANGED if moved else FORMULA)
    if name not in CREATION + WITHOUT_GRADIENT:  # those that only move elements have one rule, products another
        told = ours.__doc__ + (module_of(ours) if moved or module == "linear" else "")
        assert re.search(r"\bg\w+(\[.*?\])? = |gradient", told), f"{name}: no gradient in {told!r}"
    assert_same_arguments(name, ours, getattr(torch, name))


@pytest.mark.parametrize("name", AUTOGRAD)
def test_switches(name: str):
    ours, theirs = getattr(mc, name), getattr(torch, name)
    assert SENTENCE.search(ours.__doc__)
    if not inspect.isclass(theirs):
        assert_same_arguments(name, ours, theirs)


@pytest.mark.parametrize("name", [name for name in OPERATORS if name not in ONLY_FUNCTIONS])
def test_methods_are_functions(name: str):
    method, function = getattr(mc.Tensor, name), getattr(mc, name)
    assert method.__doc__ == function.__doc__
    taking = [argument for argument in of_signature(function) if argument[0] != "tensor"]
    assert [a for a in of_signature(method) if a[0] != "tensor"] == taking or name in VARIADIC


@pytest.mark.parametrize("name", METHODS)
def test_methods(name: str):
    method = getattr(mc.Tensor, name)
    assert callable(method) and SENTENCE.search(method.__doc__ or ""), f"{name} has no docstring"
    if name in ("backward", "register_hook", "requires_grad_"):
        assert_same_arguments(name, method, getattr(torch.Tensor, name))
    elif hasattr(torch, name) and name not in ("float", "double", "half", "long", "bool", "dtype"):
        assert_same_arguments(name, method, getattr(torch.nn.functional, name, getattr(torch, name)))


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes(name: str):
    getattr(mc.zeros(2, 3), name)
    described = inspect.getdoc(inspect.getattr_static(mc.Tensor, name, None)) if name != "data" else None
    assert name in (mc.Tensor.__doc__ or "") or SENTENCE.search(described or ""), name


@pytest.mark.parametrize("name", FUNCTIONAL + OURS)
def test_functional(name: str):
    ours = getattr(F, name)
    assert name in F.__all__ and getattr(nn.functional, name) is ours
    assert_documented(name, ours, parts=PARTS | {"source": YEAR})
    if name not in OURS:
        assert_same_arguments(name, ours, getattr(torch.nn.functional, name))


@pytest.mark.parametrize("name", CONTAINERS + CLASSES + OUR_CLASSES)
def test_classes(name: str):  # their arguments: test_nn_signatures.py
    layer = getattr(nn, name)
    assert name in nn.__all__
    called = re.findall(r"\bF\.(\w+)", inspect.getsource(layer.forward)) if hasattr(layer, "forward") else []
    function = inspect.getattr_static(layer, "_function", "")  # a name, or the function itself
    called += [getattr(function, "__name__", function)] if function else []
    bases = [base.__doc__ for base in layer.__mro__[1:-1] if base is not nn.Module]
    elsewhere = rf"|\b({'|'.join(nn.__all__)})\b"  # the layer that this one is but for what is said
    if name in CONTAINERS:
        assert SENTENCE.search(layer.__doc__)
        return
    assert_documented(name, layer, module_of(layer), *bases, *(getattr(F, f, None).__doc__ for f in called),
                      formula=FORMULA + elsewhere)


MODULES = [
    (nn.init, torch.nn.init, INITIAL), (nn.utils, torch.nn.utils, UTILITIES),
    (nn.utils.rnn, torch.nn.utils.rnn, PACKING), (optim, torch.optim, OPTIMISERS),
    (optim.lr_scheduler, torch.optim.lr_scheduler, SCHEDULES), (mc.autograd, torch.autograd, DIFFERENTIATION),
    (mc.autograd.functional, torch.autograd.functional, DERIVATIVES)]


@pytest.mark.parametrize("module, reference, name", [
    pytest.param(module, reference, name, id=name) for module, reference, names in MODULES for name in names])
def test_modules(module, reference, name: str):
    ours, theirs = getattr(module, name), getattr(reference, name)
    assert name in module.__all__
    bases = [base.__doc__ for base in ours.__mro__[1:-1]] if inspect.isclass(ours) else []
    shaped = module in (nn.utils.rnn, mc.autograd.functional)  # elsewhere results have the shape of parameters, or none
    parts = PARTS if shaped else {"errors": "Raises", "source": SOURCE}
    assert_documented(name, ours, module_of(ours), *bases, parts=parts, formula=FORMULA + r"|NaN|all parameters")
    if name != "Function":
        assert_same_arguments(name, ours, theirs)


def test_functional_is_imported_as_pytorchs():
    import minicnn.nn.functional as again

    assert again is F
