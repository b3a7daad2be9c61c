"""The definition of every kernel in plain NumPy: the text to read, and what the fast back ends are tested against."""

from .convolution import col2im, conv2d, conv2d_input_grad, conv2d_weight_grad, im2col
from .layers import (adam_step, avg_pool2d, avg_pool2d_grad, batch_norm, batch_norm_grad, batch_norm_stats, channel_sum,
                     cross_entropy, cross_entropy_grad, dropout, elu, elu_grad, leaky_relu, leaky_relu_grad,
                     log_softmax, log_softmax_grad, matmul, max_pool2d, pool_gather, pool_scatter, random_uniform,
                     relu, relu_grad, sgd_step, sigmoid, sigmoid_grad, softmax, softmax_grad, tanh, tanh_grad)

__all__ = ["adam_step", "avg_pool2d", "avg_pool2d_grad", "batch_norm", "batch_norm_grad", "batch_norm_stats",
           "channel_sum", "col2im", "conv2d", "conv2d_input_grad", "conv2d_weight_grad", "cross_entropy",
           "cross_entropy_grad", "dropout", "elu", "elu_grad", "im2col", "leaky_relu", "leaky_relu_grad", "log_softmax",
           "log_softmax_grad", "matmul", "max_pool2d", "pool_gather", "pool_scatter", "random_uniform", "relu",
           "relu_grad", "sgd_step", "sigmoid", "sigmoid_grad", "softmax", "softmax_grad", "tanh", "tanh_grad"]
