"""Interpolation, and sampling at the places of a grid."""

import math

from hypothesis import strategies as st

from util import constant, normal

from .table import Case, Operator

AXES = {"nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "area": (1, 2, 3), "linear": (1,), "bilinear": (2,),
        "trilinear": (3,), "bicubic": (2,), "lanczos": (2,)}


@st.composite
def interpolations(draw: st.DrawFn) -> Case:
    mode = draw(st.sampled_from(sorted(AXES)))
    lengths = draw(st.lists(st.integers(1, 6), min_size=(axes := draw(st.sampled_from(AXES[mode]))), max_size=axes))
    shape = (draw(st.integers(0, 2)), draw(st.integers(1, 3)), *lengths)
    options: dict = {"mode": mode}
    least = 1
    if mode == "lanczos" or mode in ("bilinear", "bicubic") and draw(st.booleans()):
        options["antialias"] = True
        least = 2  # PyTorch is wrong for an output one column wide: it repeats the first row
    if draw(st.booleans()):
        size = st.integers(least, 9)
        options["size"] = draw(st.one_of(size, st.tuples(*[size] * axes), st.lists(size, min_size=axes, max_size=axes)))
    else:
        # Without linear weights, some of PyTorch's kernels take a length that comes out as 1 or 2 times the old one for
        # a factor of 1 or 2, others do not, and some only in backward.
        odd = (1.05, 2.3) if "linear" in mode or mode == "nearest" and axes == 2 else ()
        factor = st.sampled_from((1, 2, 3, 0.5, 1.5, 0.7, *odd))
        factor = factor.filter(lambda f: int(f * min(lengths)) >= least)
        options["scale_factor"] = draw(st.one_of(factor, st.tuples(*[factor] * axes)))
        options["recompute_scale_factor"] = draw(st.sampled_from((None, False, True)))
    if mode in ("linear", "bilinear", "trilinear", "bicubic"):
        options["align_corners"] = draw(st.sampled_from((None, False, True)))
    return Case(normal(shape), **options)


@st.composite
def samples(draw: st.DrawFn) -> Case:
    axes = draw(st.sampled_from((2, 2, 3)))
    batch, size = draw(st.integers(0, 3)), draw(st.lists(st.integers(1, 5), min_size=axes, max_size=axes))
    image = normal((batch, draw(st.integers(0, 3)), *size), 1)
    places = draw(st.lists(st.integers(0, 4), min_size=axes, max_size=axes))
    mode = draw(st.sampled_from(("bilinear", "nearest", "bicubic")[:5 - axes]))
    return Case(image, draw(st.sampled_from((0.4, 1.5))) * normal((batch, *places, axes), 2), mode,
                draw(st.sampled_from(("zeros", "border", "reflection"))), draw(st.booleans()),
                second=False)  # PyTorch has no second derivative of it


@st.composite
def affine_grids(draw: st.DrawFn) -> Case:
    axes = draw(st.sampled_from((2, 3)))
    size = draw(st.lists(st.integers(1, 4), min_size=axes + 2, max_size=axes + 2))
    align_corners = draw(st.booleans()) and min(size[2:]) > 1  # of one element PyTorch warns
    return Case(normal((size[0], axes, axes + 1)), draw(st.sampled_from((tuple, list)))(size), align_corners)


SAMPLE = normal((2, 3, 6, 5))
TABLE = [
    Operator("interpolate", interpolations(), number=150,
             examples=[Case(normal((1, 2, 16, 21)), (5, 40), mode=mode, **options) for mode, options in (
                 ("nearest", {}), ("nearest-exact", {}), ("area", {}), ("bilinear", {}), ("bicubic", {}),
                 ("bilinear", {"antialias": True}), ("bicubic", {"antialias": True, "align_corners": True}),
                 ("lanczos", {"antialias": True}))]
             + [Case(SAMPLE, scale_factor=1.05, mode="bilinear")]
             + [Case(SAMPLE, scale_factor=factor) for factor in (1.05, 1.2, 2.1, (1.05, 2.1))]
             + [Case(normal((1, 1, 58, 1)), (size, 1), mode=mode)  # in which float32 decides, whatever the type
                for mode, size in (("nearest", 110), ("nearest-exact", 115))]
             + [Case(SAMPLE.astype("uint8"), 8, mode=mode) for mode in ("nearest", "nearest-exact")]
             + [Case(normal((2, 0, 3)), 2, mode="area", fixed=[0]), Case(normal((2, 1, 3)), 0, mode="area", fixed=[0])],
             wrong=[lambda m, f, case=case: f.interpolate(constant(m, case[0]), **case[1]) for case in (
                 ((2, 3), dict(size=2)), ((2, 3, 4), dict(size=2, mode="bilinear")),
                 ((2, 3, 4, 5), dict(size=2, mode="linear")), ((2, 3, 4, 5), dict(size=2, mode="sinc")),
                 ((2, 3, 4, 5), dict(size=2, mode="lanczos")), ((2, 3, 4, 5), dict(size=2, antialias=True)),
                 ((2, 3, 4, 5), dict(size=2, mode="lanczos", antialias=True, align_corners=True)),
                 ((2, 3, 4, 5), dict(size=2, align_corners=False)), ((2, 3, 4, 5), dict()),
                 ((2, 3, 4, 5), dict(size=2, scale_factor=2)), ((2, 3, 4, 5), dict(size=(2,))),
                 ((2, 3, 4, 5), dict(size=2.5)), ((2, 3, 4, 5), dict(scale_factor=(1, 2, 3))),
                 ((2, 3, 4, 5), dict(scale_factor="2")), ((2, 3, 4, 5), dict(scale_factor=0.1)),
                 ((2, 3, 4, 5), dict(size=(0, 2))), ((2, 0, 4, 5), dict(size=2)),
                 ((2, 3, 0, 5), dict(size=2, mode="area")), ((2, 3, 4, 5), dict(size=-1, mode="area")),
                 ((2, 3, 4, 5), dict(size=2, recompute_scale_factor=True)),
                 *[((1, 1, 4, 5), dict(scale_factor=factor, mode=mode)) for mode in ("nearest", "bilinear")
                   for factor in (math.nan, math.inf, 1e9)], ((1, 1, 4, 5), dict(size=2**62)))]
             + [lambda m, f: f.interpolate(constant(m, (1, 2, 3)).long(), 2),
                lambda m, f: f.interpolate(constant(m, (1, 2, 3)).bool(), 2, mode="linear")]),
    Operator("grid_sample", samples(), number=100,
             examples=[Case(normal((2, 3, 5, 4)), normal((2, 3, 6, 2), 1), mode, padding, align, second=False)
                       for mode in ("bilinear", "nearest", "bicubic") for padding in ("zeros", "border", "reflection")
                       for align in (False, True)],
             wrong=[lambda m, f, case=case: f.grid_sample(constant(m, case[0]), constant(m, case[1]), *case[2:],
                                                          align_corners=False) for case in (
                 ((2, 3, 4, 5), (2, 3, 3, 2), "linear"), ((2, 3, 4, 5), (2, 3, 3, 2), "nearest", "wrap"),
                 ((2, 3, 4), (2, 3, 1)), ((2, 3, 4, 5), (1, 3, 3, 2)), ((2, 3, 4, 5), (2, 3, 3, 3)),
                 ((2, 3, 4, 5), (2, 3, 2)), ((2, 3, 0, 5), (2, 3, 3, 2)), ((2, 3, 4, 5, 6), (2, 3, 3, 2)),
                 ((2, 3, 4, 5, 6), (2, 3, 3, 3, 3), "bicubic"))]
             + [lambda m, f: f.grid_sample(constant(m, (1, 2, 3, 4)), constant(m, (1, 2, 2, 2)).float(), "bilinear",
                                           "zeros", False),
                lambda m, f: f.grid_sample(constant(m, (1, 2, 3, 4)).long(), constant(m, (1, 2, 2, 2)).long(),
                                           align_corners=False)]),
    Operator("affine_grid", affine_grids(), number=30,
             wrong=[lambda m, f, case=case: f.affine_grid(constant(m, case[0]), case[1], False) for case in (
                 ((2, 2, 3), (2, 3, 4)), ((2, 2, 3), (3, 3, 4, 5)), ((2, 2, 3), (2, 3, 0, 5)),
                 ((2, 2, 3), (2, 1, 4, 5, 6)), ((2, 3, 4), (2, 1, 4, 5)), ((2, 3), (2, 1, 4, 5)))]
             + [lambda m, f: f.affine_grid(constant(m, (2, 2, 3)).long(), (2, 1, 4, 5), False)]),
]
