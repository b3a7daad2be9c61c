"""Linear maps."""

from hypothesis import strategies as st

from util import constant, normal

from .table import Case, Operator


@st.composite
def linears(draw: st.DrawFn) -> Case:
    features, outputs = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    batch = draw(st.lists(st.integers(0, 3), max_size=2))
    bias = [normal((outputs,), 2)] if draw(st.booleans()) else []
    return Case(normal((*batch, features)), normal((outputs, features), 1), *bias)


TABLE = [
    Operator("linear", linears(), examples=[Case(normal((2, 3)), normal((4, 3), 1), bias=normal((4,), 2))],
             wrong=[lambda m, f: f.linear(constant(m, (2, 3)), constant(m, (4, 2)))]),
]
