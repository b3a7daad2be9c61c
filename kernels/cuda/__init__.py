"""The contract in CUDA C++: on a GPU for CuPy's arrays, in the emulator, one thread at a time, for NumPy's.

What is not written in CUDA is the reference's, in which every function runs on CuPy's arrays as it is: arithmetic is
CuPy's own.
"""

from ..contract import KERNELS as __all__
from ..reference import add, axis_sum, concatenate, iadd, mul, random_uniform, sub, truediv
from .convolution import col2im, conv2d, conv2d_input_grad, conv2d_weight_grad, im2col
from .ctc import ctc, ctc_grad
from .elementwise import (elu, elu_grad, erf, erfc, gelu, gelu_grad, gelu_tanh, gelu_tanh_grad, hardshrink,
                          hardshrink_grad, hardsigmoid, hardsigmoid_grad, hardswish, hardswish_grad, hardtanh,
                          hardtanh_grad, huber, huber_grad, leaky_relu, leaky_relu_grad, logistic_loss,
                          logistic_loss_grad, mish, mish_grad, prelu, prelu_grad, prelu_weight_grad, relu, relu_grad,
                          sigmoid, sigmoid_grad, silu, silu_grad, softplus, softplus_grad, softshrink, softsign,
                          softsign_grad, tanh, tanh_grad, tanhshrink, tanhshrink_grad, threshold, threshold_grad)
from .index import index_add
from .linear import matmul
from .normalisation import batch_norm, batch_norm_grad, batch_norm_stats, channel_sum, group_norm, group_norm_grad
from .optimisers import adam_step, sgd_step
from .pooling import (activated_avg_pool2d, activated_avg_pool2d_grad, avg_pool2d, avg_pool2d_grad, max_pool2d,
                      pool_gather, pool_scatter)
from .random import dropout
from .recurrent import (gru_sequence, gru_sequence_grad, lstm_sequence, lstm_sequence_grad, rnn_sequence,
                        rnn_sequence_grad)
from .resampling import resample, sample, sample_input_grad, sample_weight_grad
from .softmax import cross_entropy, cross_entropy_grad, log_softmax, log_softmax_grad, softmax, softmax_grad
