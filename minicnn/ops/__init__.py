"""Every operation, one file per family: forward and backward next to each other."""

from . import basic, binding, creation, index, join, linear, order, pointwise, reduce, shape

binding.attach((basic, pointwise, reduce, shape, join, index, order, linear, creation))
