"""Every operation, one file per family: forward and backward next to each other."""

from . import (arithmetic, basic, binding, comparison, creation, cumulative, index, join, linear, order, pointwise,
               reduce, shape)

binding.attach((basic, arithmetic, comparison, pointwise, reduce, cumulative, order, shape, join, index, linear,
                creation))
