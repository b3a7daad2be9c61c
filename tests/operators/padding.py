"""Padding."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from util import constant, normal

from .table import Case, Operator


@st.composite
def constants(draw: st.DrawFn) -> Case:
    shape = draw(st.lists(st.integers(0, 4), max_size=5))
    pads = []
    for n in reversed(shape[draw(st.integers(0, len(shape))):]):
        before = draw(st.integers(-n, 3))
        pads += [before, draw(st.integers(-n - min(before, 0), 3))]
    value = draw(st.sampled_from((None, 0, 2, -1.5)))
    return Case(normal(shape), tuple(pads), **{} if value is None else {"value": value})


@st.composite
def copies(draw: st.DrawFn) -> Case:
    mode = draw(st.sampled_from(("reflect", "replicate", "circular")))
    size = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    front = draw(st.sampled_from(([2], [0, 2], [1, 3], [2, 1])))
    pads: list[int] = []
    for n in reversed(size):
        before = draw(st.integers(1 - n, 4))
        after = draw(st.integers(1 - n - min(before, 0), 4))
        most = {"reflect": n - 1, "replicate": 4, "circular": n + min(before, 0) + min(after, 0)}[mode]
        pads += [min(before, most), max(min(after, most), 1 - n - min(before, most))]
    return Case(normal((*front, *size)), pads, mode)


def all_modes(shape: tuple[int, ...], pads: Any) -> list:
    return [lambda m, f, mode=mode: f.pad(constant(m, shape), pads, mode)
            for mode in ("constant", "reflect", "replicate", "circular")]


TABLE = [
    Operator("pad", st.one_of(constants(), copies()),
             examples=[Case(normal((2, 3, 4, 5)), (1, 2, 3, 2), mode) for mode in ("reflect", "replicate", "circular")]
             + [Case(normal((2, 3, 4, 5)), (3, -3, -2, 2), mode) for mode in ("constant", "reflect", "replicate")]
             + [Case(normal((2, 2, 3, 4, 5)), (-1, 3, 2, 0, 3, 3), "circular"),
                Case(normal((1, 3)), (-5, 6), "replicate"), Case(normal((2, 3)) > 0, (1, -1), value=True),
                Case(np.arange(6).reshape(2, 3), (1, 1), "reflect")],
             wrong=[*all_modes((2, 3), (-2, -2)), *all_modes((2, 3), (1, 1, 1)), *all_modes((2, 3), (1,) * 6),
                    *all_modes((2, 3), (1.0, 1)), *all_modes((2, 3), (True, 1)), *all_modes((2, 3), 1),
                    *all_modes((2, 3), (-4, 5))[::3],
                    *[wrong for shape, pads in (((3,), (1, 1)), ((2, 2, 2, 3), (1, 1)), ((2, 2), ()), ((2, 0), (1, 0)),
                                                ((2, 3, 3), (1,) * 6))
                      for wrong in all_modes(shape, pads)[1:]],
                    lambda m, f: f.pad(constant(m, (2, 3)), (1, 1), "mirror"),
                    lambda m, f: f.pad(constant(m, (2, 3)), (1, 1), "reflect", 1.0),
                    lambda m, f: f.pad(constant(m, (2, 3)), (3, 0), "reflect"),
                    lambda m, f: f.pad(constant(m, (2, 3)), (-1, 3), "reflect"),
                    lambda m, f: f.pad(constant(m, (2, 3)), (4, 0), "circular"),
                    lambda m, f: f.pad(constant(m, (0, 3)), (1, 0), "reflect"),
                    lambda m, f: f.pad(constant(m, (2, 0, 3)), (0, 0), "replicate"),
                    lambda m, f: f.pad(constant(m, (2, 3)) > 0, (1, 1), "reflect")]),
]
