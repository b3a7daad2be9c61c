"""Rows of a table, one-hot vectors."""

import numpy as np
import torch
from hypothesis import strategies as st

from util import constant, normal, rng_of

from .table import Case, Operator


@st.composite
def embeddings(draw: st.DrawFn) -> Case:
    rows = draw(st.integers(1, 6))
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    dtype = draw(st.sampled_from(("int64", "int32")))
    index = np.asarray(rng_of(draw(st.integers(0, 9))).integers(0, rows, shape), dtype)
    options = {"padding_idx": draw(st.one_of(st.none(), st.integers(-rows, rows - 1))),
               "scale_grad_by_freq": draw(st.booleans()), "max_norm": draw(st.sampled_from((None, 0.7, 1.5))),
               "norm_type": draw(st.sampled_from((2.0, 1.0, 3.0)))}
    return Case(index, normal((rows, draw(st.integers(1, 4)))), **options,
                second=bool(index.size) and not options["scale_grad_by_freq"])  # PyTorch fails, and does not scale


@st.composite
def classes(draw: st.DrawFn) -> Case:
    values = np.array(draw(st.lists(st.integers(0, 5), min_size=1, max_size=6)))
    shape = draw(st.sampled_from((values.shape, (1, -1), (-1, 1))))
    return Case(values.reshape(shape), *draw(st.sampled_from(((), (-1,), (6,), (9,)))))


TABLE = [
    Operator("embedding", embeddings(), elsewhere=["sparse"],  # which there is not
             examples=[Case(np.array([0, 1]), np.array([[np.nan, 3.0], [3.0, 4.0]]), max_norm=1.0)],
             wrong=[lambda m, f: f.embedding(m.tensor([0, 5]), constant(m, (5, 2))),
                    lambda m, f: f.embedding(m.tensor([-1]), constant(m, (5, 2))),
                    lambda m, f: f.embedding(m.tensor([1.0]), constant(m, (5, 2))),
                    lambda m, f: f.embedding(m.tensor([1]), constant(m, (5,)))]),
    Operator("one_hot", classes(), theirs=torch.nn.functional.one_hot, number=20,
             examples=[Case(np.array(2)), Case(np.zeros((0, 2), "int64"), 3)],
             wrong=[lambda m, f: f.one_hot(m.tensor([0, 3]), 3), lambda m, f: f.one_hot(m.tensor([0, -1])),
                    lambda m, f: f.one_hot(m.tensor([0, 1]), -2), lambda m, f: f.one_hot(m.tensor([0, 1]).int()),
                    lambda m, f: f.one_hot(m.tensor([0, 1])[:0])]),
]
