"""The operations on layers' level in one flat namespace, under PyTorch's names; also ``minicnn.nn.functional``."""

from .ops.activation import elu, leaky_relu, log_softmax, logsigmoid, relu, relu6, softmax, softplus
from .ops.conv import conv2d, fold, unfold
from .ops.dropout import dropout, dropout2d
from .ops.linear import linear
from .ops.loss import (binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy, l1_loss, mse_loss,
                       nll_loss)
from .ops.norm import batch_norm
from .ops.pointwise import sigmoid, tanh
from .ops.pool import adaptive_avg_pool2d, adaptive_max_pool2d, avg_pool2d, max_pool2d

__all__ = ["adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool2d", "batch_norm", "binary_cross_entropy",
           "binary_cross_entropy_with_logits", "conv2d", "cross_entropy", "dropout", "dropout2d", "elu", "fold",
           "l1_loss", "leaky_relu", "linear", "log_softmax", "logsigmoid", "max_pool2d", "mse_loss", "nll_loss", "relu",
           "relu6", "sigmoid", "softmax", "softplus", "tanh", "unfold"]
