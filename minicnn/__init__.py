"""minicnn: deep learning from scratch, in Python: tensors with gradients, convolutional networks, fast kernels.

    import minicnn as mc
    x = mc.randn(8, 1, 28, 28, requires_grad=True)
    y = mc.functional.conv2d(x, mc.randn(6, 1, 5, 5), padding=2)
    y.square().mean().backward()
    x.grad
"""

import os as _os
from importlib import import_module as _import_module
from typing import Any as _Any

_here = _os.path.dirname(_os.path.abspath(__file__))
if not _os.path.isdir(_os.path.join(_here, "kernels")):  # a checkout: kernels/ lies beside this folder
    __path__.append(_os.path.dirname(_here))

from . import autograd
from .autograd import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .backend import (Generator, conv_algorithm, cuda_is_available, get_float32_matmul_precision, get_num_threads,
                      manual_seed, set_float32_matmul_precision, set_num_threads, use_kernels)
from .dtypes import float16, float32, float64, int8, int16, int32, int64, promote_types, result_type, uint8
from .dtypes import bool_ as bool
from .engine import Parameter, Tensor
from . import functional, models, nn
from .functional import log_softmax, relu, softmax
from .ops.arithmetic import *
from .ops.autocast import autocast
from .ops.basic import *
from .ops.comparison import *
from .ops.creation import *
from .ops.cumulative import *
from .ops.index import *
from .ops.join import *
from .ops.linear import *
from .ops.order import *
from .ops.pointwise import *
from .ops.reduce import *
from .ops.shape import *

from .version import __version__

half, float, double, long = float16, float32, float64, int64


def _diff(*args: _Any, **kwargs: _Any) -> _Any:
    """Lay two networks, or models of these names, side by side, layer by layer: ``minicnn.explain.diff``."""
    from . import explain

    return explain.diff(*args, **kwargs)


models.diff = _diff  # explain stands above models, and is imported with the first use


def __getattr__(name: str) -> object:
    if name == "bfloat16":  # ml_dtypes is imported with its first use
        from . import dtypes

        return dtypes.bfloat16()
    if name in ("amp", "data", "explain", "interop", "optim", "testing", "training"):  # these, too
        return _import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'minicnn' has no attribute {name!r}")
