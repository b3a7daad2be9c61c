"""The definition of every kernel in plain NumPy: the text to read, and what the fast back ends are tested against."""

from ..contract import KERNELS as __all__
from .convolution import col2im, conv2d, conv2d_input_grad, conv2d_weight_grad, im2col
from .ctc import ctc, ctc_grad
from .elementwise import (activated_avg_pool2d, activated_avg_pool2d_grad, add, concatenate, elu, elu_grad, erf, erfc,
                          gelu, gelu_grad, gelu_tanh, gelu_tanh_grad, hardshrink, hardshrink_grad, hardsigmoid,
                          hardsigmoid_grad, hardswish, hardswish_grad, hardtanh, hardtanh_grad, huber, huber_grad,
                          iadd, leaky_relu, leaky_relu_grad, logistic_loss, logistic_loss_grad, mish, mish_grad, mul,
                          prelu, prelu_grad, prelu_weight_grad, relu, relu_grad, sigmoid, sigmoid_grad, silu,
                          silu_grad, softplus, softplus_grad, softshrink, softsign, softsign_grad, sub, tanh,
                          tanh_grad, tanhshrink, tanhshrink_grad, threshold, threshold_grad, truediv)
from .index import index_add
from .layers import (adam_step, avg_pool2d, avg_pool2d_grad, axis_sum, batch_norm, batch_norm_grad, batch_norm_stats,
                     channel_sum, dropout, group_norm, group_norm_grad, matmul, max_pool2d, pool_gather, pool_scatter,
                     random_uniform, sgd_step)
from .recurrent import (gru_sequence, gru_sequence_grad, lstm_sequence, lstm_sequence_grad, rnn_sequence,
                        rnn_sequence_grad)
from .resampling import resample, sample, sample_input_grad, sample_weight_grad
from .softmax import cross_entropy, cross_entropy_grad, log_softmax, log_softmax_grad, softmax, softmax_grad
