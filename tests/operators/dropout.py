"""Dropout where chance has no say; what it does otherwise is in test_functional_norm_dropout.py."""

from hypothesis import strategies as st

from util import constant, normal

from .table import Case, Operator

AXES = {"dropout": (0, 1, 2, 4), "dropout1d": (2, 3), "dropout2d": (4,), "dropout3d": (4, 5),
        "alpha_dropout": (0, 1, 3), "feature_alpha_dropout": (2, 3, 4)}


@st.composite
def certain(draw: st.DrawFn, name: str) -> Case:
    """Nothing is dropped, or everything."""
    ndim = draw(st.sampled_from(AXES[name]))
    shape = draw(st.lists(st.integers(0, 4), min_size=ndim, max_size=ndim))
    training, p = draw(st.sampled_from([(True, 0.0), (True, 1.0), (False, 0.0), (False, 0.5), (False, 1.0)]))
    return Case(normal(shape), p, training)


TABLE = [
    Operator(name, certain(name), number=10, elsewhere=["inplace", "generator"],
             wrong=[lambda m, f, name=name, p=p: getattr(f, name)(constant(m, (2, 3, 4, 5)), p) for p in (-0.1, 1.1)]
             + {"dropout1d": [lambda m, f: f.dropout1d(constant(m, (2, 3, 4, 5)), 0.5),
                              lambda m, f: f.dropout1d(constant(m, (3,)), 0.5)],
                "feature_alpha_dropout": [lambda m, f: f.feature_alpha_dropout(constant(m, (3,)), 0.5, True)],
                "dropout": [lambda m, f: f.dropout(m.tensor([1, 2]), 0.5)]}.get(name, []))
    for name in AXES]
