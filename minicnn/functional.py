"""The operations on layers' level in one flat namespace, under PyTorch's names; also ``minicnn.nn.functional``."""

from .ops.activation import celu, elu, log_softmax, logsigmoid, selu, softmax, softmin, softplus, softsign, tanhshrink
from .ops.adaptive_pool import (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d, adaptive_max_pool1d,
                                adaptive_max_pool2d, adaptive_max_pool3d)
from .ops.attention import scaled_dot_product_attention
from .ops.binding import checked
from .ops.columns import fold, unfold
from .ops.conv import conv1d, conv2d, conv3d
from .ops.conv_transpose import conv_transpose1d, conv_transpose2d, conv_transpose3d
from .ops.ctc import ctc_loss
from .ops.distance import cosine_similarity, pairwise_distance
from .ops.dropout import alpha_dropout, dropout, dropout1d, dropout2d, dropout3d, feature_alpha_dropout
from .ops.embedding import embedding, one_hot
from .ops.filter import causal_filter, convolve2d, correlate2d
from .ops.gated import gelu, glu, hardswish, mish, silu
from .ops.grid import affine_grid, grid_sample
from .ops.linear import bilinear, linear
from .ops.loss import (gaussian_nll_loss, huber_loss, kl_div, l1_loss, l1_penalty, l2_penalty, mse_loss,
                       poisson_nll_loss, smooth_l1_loss)
from .ops.loss_class import binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy, nll_loss
from .ops.loss_margin import (contrastive_loss, cosine_embedding_loss, hinge_embedding_loss, margin_ranking_loss,
                              multi_margin_loss, multilabel_margin_loss, multilabel_soft_margin_loss, soft_margin_loss,
                              triplet_margin_loss, triplet_margin_with_distance_loss)
from .ops.lp_pool import lp_pool1d, lp_pool2d, lp_pool3d
from .ops.norm import batch_norm, group_norm, instance_norm, layer_norm, local_response_norm, normalize, rms_norm
from .ops.pad import pad
from .ops.piecewise import (hardshrink, hardsigmoid, hardtanh, leaky_relu, maxout, prelu, relu, relu6, rrelu,
                            softshrink, threshold)
from .ops.pointwise import sigmoid, tanh
from .ops.pool import avg_pool1d, avg_pool2d, avg_pool3d, max_pool1d, max_pool2d, max_pool3d
from .ops.random_pool import fractional_max_pool2d, fractional_max_pool3d, stochastic_pool2d
from .ops.resample import interpolate
from .ops.shuffle import channel_shuffle, pixel_shuffle, pixel_unshuffle
from .ops.unpool import max_unpool1d, max_unpool2d, max_unpool3d

__all__ = ["adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
           "adaptive_max_pool2d", "adaptive_max_pool3d", "affine_grid", "alpha_dropout", "avg_pool1d", "avg_pool2d",
           "avg_pool3d", "batch_norm", "bilinear", "binary_cross_entropy", "binary_cross_entropy_with_logits",
           "causal_filter", "celu", "channel_shuffle", "contrastive_loss", "conv1d", "conv2d", "conv3d",
           "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolve2d", "correlate2d",
           "cosine_embedding_loss", "cosine_similarity", "cross_entropy", "ctc_loss", "dropout", "dropout1d",
           "dropout2d", "dropout3d", "elu", "embedding", "feature_alpha_dropout", "fold", "fractional_max_pool2d",
           "fractional_max_pool3d", "gaussian_nll_loss", "gelu", "glu", "grid_sample", "group_norm", "hardshrink",
           "hardsigmoid", "hardswish", "hardtanh", "hinge_embedding_loss", "huber_loss", "instance_norm", "interpolate",
           "kl_div", "l1_loss", "l1_penalty", "l2_penalty", "layer_norm", "leaky_relu", "linear", "local_response_norm",
           "log_softmax", "logsigmoid", "lp_pool1d", "lp_pool2d", "lp_pool3d", "margin_ranking_loss", "max_pool1d",
           "max_pool2d", "max_pool3d", "max_unpool1d", "max_unpool2d", "max_unpool3d", "maxout", "mish", "mse_loss",
           "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "nll_loss", "normalize",
           "one_hot", "pad", "pairwise_distance", "pixel_shuffle", "pixel_unshuffle", "poisson_nll_loss", "prelu",
           "relu", "relu6", "rms_norm", "rrelu", "scaled_dot_product_attention", "selu", "sigmoid", "silu",
           "smooth_l1_loss", "soft_margin_loss", "softmax", "softmin", "softplus", "softshrink", "softsign",
           "stochastic_pool2d", "tanh", "tanhshrink", "threshold", "triplet_margin_loss",
           "triplet_margin_with_distance_loss", "unfold"]

for _name in __all__:
    globals()[_name] = checked(globals()[_name])
