"""Helpers around networks: gradients and parameters of all layers at once, sequences of different lengths."""

from . import rnn as rnn
from .fusion import fuse_conv_bn_eval
from .parameters import clip_grad_norm_, clip_grad_value_, parameters_to_vector, vector_to_parameters

__all__ = ["clip_grad_norm_", "clip_grad_value_", "fuse_conv_bn_eval", "parameters_to_vector", "vector_to_parameters"]
