"""Activations."""

import math
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

import minicnn.functional as F

from util import constant, distinct, normal

from .table import Case, Operator

SHAPES = st.sampled_from([(), (0,), (7,), (3, 0, 2), (2, 3, 5, 4), (700,)])
PARAMETERS: dict[str, list[dict[str, Any]]] = {  # of the functions of single elements
    "relu": [{}], "relu6": [{}], "sigmoid": [{}], "tanh": [{}], "logsigmoid": [{}], "softsign": [{}], "selu": [{}],
    "tanhshrink": [{}], "silu": [{}], "mish": [{}], "hardswish": [{}], "hardsigmoid": [{}],
    "hardtanh": [{}, {"min_val": -0.3, "max_val": 2.0}, {"min_val": 1.0, "max_val": 1.0}],
    "leaky_relu": [{}, {"negative_slope": 0.3}, {"negative_slope": 0.0}, {"negative_slope": -0.5}],
    "rrelu": [{}, {"lower": 0.2, "upper": 0.5}],
    "elu": [{}, {"alpha": 0.4}, {"alpha": 3.0}, {"alpha": -1.0}],
    "celu": [{}, {"alpha": 0.4}, {"alpha": 3.0}],
    "gelu": [{}, {"approximate": "tanh"}],
    "softplus": [{}, {"beta": 0.5}, {"beta": 3.0, "threshold": 6.0}, {"threshold": 0.0}],
    "hardshrink": [{}, {"lambd": 1.3}, {"lambd": 0.0}, {"lambd": -1.0}],
    "softshrink": [{}, {"lambd": 1.3}, {"lambd": 0.0}],
    "threshold": [{"threshold": 0.3, "value": -2.0}, {"threshold": -1.0, "value": 0.5}],
}
WRONG = {
    "relu": [lambda m, f: f.relu(constant(m) > 0)],
    "hardtanh": [lambda m, f: f.hardtanh(constant(m), 1.0, -1.0),
                 lambda m, f: f.hardtanh(m.tensor([1, 2], dtype=m.uint8))],
    "rrelu": [lambda m, f: f.rrelu(constant(m), 0.5, 0.2), lambda m, f: f.rrelu(constant(m), 0.5, 0.2, True)],
    "celu": [lambda m, f: f.celu(constant(m), 0.0)],
    "softshrink": [lambda m, f: f.softshrink(constant(m), -0.5), lambda m, f: f.softshrink(constant(m), math.inf)],
    "gelu": [lambda m, f: f.gelu(constant(m), approximate="erf")],
}
INTEGERS = ["relu", "relu6", "hardtanh", "threshold", "softsign"]  # have a value for integers
CONVERTED = ["sigmoid", "tanh", "tanhshrink"]  # give float32 for integers
FLOAT_CONSTANTS = ["hardsigmoid", "celu"]  # in which PyTorch computes with 1/6 and 1/alpha rounded to float32


def single_elements(name: str) -> Operator:
    def case(x: np.ndarray, options: dict[str, Any]) -> Case:
        return Case(x, **options, second=name != "hardsigmoid")  # of which PyTorch has no second derivative

    calls = st.builds(case, SHAPES.map(lambda shape: np.asarray(normal(shape) * 4)), st.sampled_from(PARAMETERS[name]))
    examples = [case(distinct((3, 40)), options) for options in PARAMETERS[name]]
    wrong = list(WRONG.get(name, []))
    if name in INTEGERS:
        numbers = distinct((3, 5), gap=1.0).round().astype("int64")
        examples.append(case(numbers, {"threshold": 1, "value": -3} if name == "threshold" else {}))
    elif name not in CONVERTED:
        wrong.append(lambda m, f: getattr(f, name)(m.tensor([1, 2])))
    return Operator(name, calls, examples, wrong, number=12, tolerance=1e-7 if name in FLOAT_CONSTANTS else 1e-10,
                    elsewhere=["inplace", *["training", "generator"] * (name == "rrelu")])


@st.composite
def slopes(draw: st.DrawFn) -> Case:
    shape = draw(st.sampled_from([(), (3,), (2, 3), (0, 3, 2), (2, 3, 4), (2, 1, 3, 4), (2, 3, 2, 2, 2)]))
    channels = shape[1] if len(shape) > 1 else 1
    return Case(normal(shape), normal(draw(st.sampled_from([(), (1,), (channels,)])), 1))


@st.composite
def along_an_axis(draw: st.DrawFn, even: bool = False) -> Case:
    shape = draw(st.lists(st.integers(0, 4), min_size=int(even), max_size=4))
    dim = draw(st.integers(-max(len(shape), 1), max(len(shape), 1) - 1))
    if even:
        shape[dim] *= 2
    return Case(np.asarray(normal(shape) * 3), dim=dim)


@st.composite
def pieces(draw: st.DrawFn) -> Case:
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    dim, count = draw(st.integers(-len(shape), len(shape) - 1)), draw(st.integers(1, 3))
    shape[dim] *= count
    return Case(distinct(shape), count, dim)


def torch_maxout(x: torch.Tensor, pieces: int, dim: int = 1) -> torch.Tensor:
    parts = [x.index_select(dim, torch.arange(j, x.shape[dim], pieces)) for j in range(pieces)]
    return torch.stack(parts).max(0).values


LARGE = [Case(normal(shape) * 3, dim=1) for shape in ((300, 10), (3, 1000), (2, 21, 8, 8))]

TABLE = [
    *[single_elements(name) for name in PARAMETERS],
    Operator("prelu", slopes(), examples=[Case(distinct((2, 3, 40)), distinct((3,)))],
             wrong=[lambda m, f: f.prelu(constant(m, (2, 3)), constant(m, (2,))),
                    lambda m, f: f.prelu(constant(m, (3,)), constant(m, (3,))),
                    lambda m, f: f.prelu(constant(m, (2, 3)), constant(m, (1, 3))),
                    lambda m, f: f.prelu(constant(m, (2, 3)), m.ones(3))]),
    Operator("glu", along_an_axis(even=True), examples=[Case(normal((3, 6))), Case(normal((2, 4, 5, 3)), 1)],
             wrong=[lambda m, f: f.glu(constant(m, (2, 3))), lambda m, f: f.glu(constant(m, ())),
                    lambda m, f: f.glu(constant(m, (2, 4)), 2), lambda m, f: f.glu(m.tensor([1, 2]))]),
    *[Operator(name, along_an_axis(), examples=LARGE,
               wrong=[lambda m, f, name=name, dim=dim: getattr(f, name)(constant(m), dim) for dim in (2, -3)]
               + [lambda m, f, name=name: getattr(f, name)(constant(m, ()), 1),
                  lambda m, f, name=name: getattr(f, name)(m.tensor([[1, 2]]), 1)], number=25, elsewhere=["dtype"])
      for name in ("softmax", "log_softmax", "softmin")],
    Operator("maxout", pieces(), examples=[Case(distinct((2, 6, 5, 3)), 2)], theirs=torch_maxout, ours=F.maxout),
]
