"""Products against PyTorch: values, gradients to second order, types, refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from util import SECOND, agree, assert_close, check_op, check_raises, normal, refused

import minicnn as mc
from minicnn.ops.linear import linear


def named(*shapes):
    return [normal(shape, i) for i, shape in enumerate(shapes)]


# -- matmul and its special cases -----------------------------------------------------------------------------------

MATMULS = [((3,), (3,)), ((0,), (0,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((1, 1), (1, 1)),
           ((0, 3), (3, 4)), ((2, 0), (0, 4)), ((2, 3), (3, 0)), ((5, 2, 3), (3, 4)), ((5, 2, 3), (3,)),
           ((3,), (5, 3, 4)), ((2, 3), (5, 3, 4)), ((5, 2, 3), (5, 3, 4)), ((1, 2, 3), (5, 3, 4)),
           ((6, 1, 2, 3), (5, 3, 4)), ((6, 5, 2, 3), (3, 4)), ((0, 2, 3), (3, 4)), ((0, 2, 3), (0, 3, 4)),
           ((5, 2, 0), (0, 4)), ((2, 1, 3, 4), (1, 5, 4, 2)), ((3,), (6, 5, 3, 1))]


@pytest.mark.parametrize("a, b", MATMULS, ids=str)
def test_matmul(a, b):
    agree(lambda m, x, y: m.matmul(x, y), *named(a, b))
    agree(lambda m, x, y: x @ y, *named(a, b), constant=[0])
    agree(lambda m, x, y: x.matmul(y), *named(a, b), constant=[1])


@given(st.data())
def test_matmul_broadcasts(data):
    n, k, m = (data.draw(st.integers(0, 4)) for _ in range(3))
    batch = data.draw(st.lists(st.integers(0, 3), max_size=2))
    a, b = ([1 if data.draw(st.booleans()) else i for i in batch][data.draw(st.integers(0, len(batch))):] for _ in "ab")
    agree(lambda _, x, y: x @ y, *named((*a, n, k), (*b, k, m)), single=False)


def test_matmul_of_views():
    agree(lambda m, x, y: x.mT @ y.mT, *named((2, 4, 3), (2, 5, 4)))
    agree(lambda m, x, y: x[:, ::2] @ y.t()[1:], *named((3, 4), (2, 3)))
    agree(lambda m, x, y: x.permute(2, 0, 1) @ y.expand(3, 2), *named((2, 3, 4), (1, 2)))
    agree(lambda m, x: x @ x.mT @ x, normal((3, 2)))


def test_transposed_operands_are_not_copied(monkeypatch):
    x, w = mc.ones(2, 3, requires_grad=True), mc.ones(4, 3, requires_grad=True)
    seen = []
    product = mc.ops.linear._product
    monkeypatch.setattr(mc.ops.linear, "_product", lambda a, b, bias=None: seen.append((a, b)) or product(a, b, bias))
    linear(x, w).sum().backward()
    assert [np.shares_memory(b, w.detach().numpy()) for a, b in seen] == [True, True, False]
    assert np.shares_memory(seen[2][1], x.detach().numpy()) and not seen[2][0].flags.c_contiguous


@pytest.mark.parametrize("name, a, b", [("mm", (2, 3), (3, 4)), ("mv", (2, 3), (3,)), ("bmm", (5, 2, 3), (5, 3, 4)),
                                        ("bmm", (0, 2, 3), (0, 3, 4)), ("dot", (3,), (3,)), ("outer", (3,), (4,)),
                                        ("outer", (0,), (4,))])
def test_special_cases(name, a, b):
    agree(lambda m, x, y: getattr(m, name)(x, y), *named(a, b))
    agree(lambda m, x, y: getattr(x, name)(y), *named(a, b), single=False)


@pytest.mark.parametrize("bias", [(2, 4), (4,), (1, 4), (2, 1), ()])
@pytest.mark.parametrize("options", [{}, {"alpha": -2}, {"beta": 0.5}, {"beta": 0, "alpha": 3}])
def test_addmm(bias, options):
    constant = [0] if options.get("beta") == 0 else []  # then no gradient is left out, where PyTorch gives zeros
    agree(lambda m, *xs: m.addmm(*xs, **options), *named(bias, (2, 3), (3, 4)), single=not options, constant=constant)
    batch = (5, *bias) if len(bias) == 2 else bias
    agree(lambda m, *xs: m.baddbmm(*xs, **options), *named(batch, (5, 2, 3), (5, 3, 4)), single=False,
          constant=constant)


def test_beta_0_does_not_read_the_input():
    x = mc.tensor([np.nan, np.inf])
    assert mc.addmm(x, mc.ones(1, 3), mc.ones(3, 2), beta=0).tolist() == [[3, 3]]


# -- linear ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("x, w, b", [
    ((2, 3), (4, 3), (4,)), ((2, 3), (4, 3), None), ((3,), (4, 3), (4,)), ((5, 2, 3), (4, 3), (4,)),
    ((0, 3), (4, 3), (4,)), ((2, 0), (4, 0), (4,)), ((2, 3), (0, 3), (0,)), ((1, 1), (1, 1), (1,)),
    ((2, 3), (4, 3), (1,)), ((2, 3), (4, 3), ()), ((3,), (3,), ()), ((2, 3), (3,), None)], ids=str)
def test_linear(x, w, b):
    for constant in ([], [0], [1], [2], [0, 2]):
        arrays = named(*[shape for shape in (x, w, b) if shape is not None])
        check_op(linear, torch.nn.functional.linear, *arrays, constant=[i for i in constant if i < len(arrays)],
                 single=not constant)


def test_linear_is_one_node():
    x, w, b = mc.ones(5, 2, 3), mc.ones(4, 3, requires_grad=True), mc.ones(4, requires_grad=True)
    y = linear(x, w, b)
    assert y.grad_fn.name == "LinearBackward" and all(isinstance(e, mc.Tensor) or e is None for e in y.grad_fn.edges)


def test_linear_saves_only_what_it_needs():
    x, w = mc.ones(2, 3), mc.ones(4, 3, requires_grad=True)
    y = linear(x, w)
    with mc.no_grad():
        w.mul_(2)  # not saved: nobody wants the gradient of x
    y.sum().backward()
    y = linear(x, w)
    x.mul_(2)
    with pytest.raises(RuntimeError, match="LinearBackward: a tensor of shape \\(2, 3\\) .* modified"):
        y.sum().backward()


# -- einsum, tensordot ----------------------------------------------------------------------------------------------

EINSUMS = [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ij,kj", (2, 3), (4, 3)), ("i,i->", (3,), (3,)),
    ("bij,bjk->bik", (5, 2, 3), (5, 3, 4)), ("i,j->ij", (2,), (3,)), ("i, j -> j i", (2,), (3,)),
    ("ij,ij->ij", (2, 3), (2, 3)), ("ij,ij->i", (2, 3), (2, 3)), ("ij,ij->", (2, 3), (2, 3)), ("ij->ji", (2, 3)),
    ("ba", (2, 3)), ("ij->", (2, 3)), ("ij->j", (2, 3)), ("ii", (3, 3)), ("ii->i", (3, 3)), ("iij->ij", (3, 3, 2)),
    ("iij->ji", (3, 3, 2)), ("iii->i", (2, 2, 2)), ("ijji->j", (2, 3, 3, 2)), ("...ij,...jk", (5, 2, 3), (3, 4)),
    ("...ij,...jk->...ik", (6, 1, 2, 3), (5, 3, 4)), ("...->...", (2, 3)), ("i...->...", (2, 3)),
    ("i...->...i", (2, 3, 4)), ("...i,...i", (1, 3), (4, 3)), ("b...,b...->...b", (2, 3, 1), (2, 4)), ("...", (2, 3)),
    ("bA,aB", (2, 3), (4, 5)), ("ij,j->i", (2, 1), (4,)), ("i,i->i", (1,), (3,)), ("ij,ij->j", (1, 3), (2, 1)),
    ("i,i->i", (1,), (1,)), (",->", (), ()), (",i->i", (), (3,)), ("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)),
    ("bn,anm,bm->ba", (2, 3), (5, 3, 4), (2, 4)), ("i,i,i->i", (3,), (3,), (3,)),
    ("ab,bc,cd,de->ae", (2, 3), (3, 1), (1, 4), (4, 2)), ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
    ("ij,jk->ik", (0, 3), (3, 4)), ("ij,jk->ik", (2, 0), (0, 4)), ("bij,bjk->bik", (0, 2, 3), (0, 3, 4)),
    ("ij,k->k", (2, 3), (4,)), ("aab,bcc->ac", (2, 2, 3), (3, 4, 4)), ("ij,kj->ik", (2, 3), (4, 1)),
]


@pytest.mark.parametrize("equation, shapes", [(e, s) for e, *s in EINSUMS], ids=str)
def test_einsum(equation, shapes):
    agree(lambda m, *xs: m.einsum(equation, *xs), *named(*shapes), tolerance=SECOND / 10)


def test_einsum_of_a_list():
    agree(lambda m, *xs: m.einsum("ij,jk->ik", xs), *named((2, 3), (3, 4)), single=False)


@given(st.data())
def test_einsum_drawn(data):
    lengths = {label: data.draw(st.integers(0, 3)) for label in "abcde"}
    terms = data.draw(st.lists(st.lists(st.sampled_from("abcde"), max_size=3).map("".join), min_size=1, max_size=3))
    labels = sorted(set("".join(terms)))
    output = "".join(data.draw(st.permutations(labels))[:data.draw(st.integers(0, len(labels)))])
    equation = ",".join(terms) + ("->" + output if data.draw(st.booleans()) else "")
    broadcast = [data.draw(st.sets(st.sampled_from("abcde"), max_size=2)) for _ in terms]
    shapes = [[1 if x in ones else lengths[x] for x in term] for term, ones in zip(terms, broadcast)]
    agree(lambda m, *xs: m.einsum(equation, *xs), *named(*shapes), single=False,
         tolerance=SECOND / 10)


TENSORDOTS = [((2, 3, 4), (3, 4, 5), 2), ((2, 3), (4, 5), 0), ((2, 3), (3, 4), 1), ((2, 3), (5, 2), ([0], [1])),
              ((2, 3), (2, 3), 2), ((2, 3, 4), (4, 5, 2), ([-1, 0], [0, 2])), ((0, 3), (3, 4), 1), ((2, 0), (0, 4), 1),
              ((), (), 0)]


@pytest.mark.parametrize("a, b, dims", TENSORDOTS, ids=str)
def test_tensordot(a, b, dims):
    agree(lambda m, x, y: m.tensordot(x, y, dims), *named(a, b))


# -- types and refusals ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "float16", "bfloat16"])
def test_types(dtype):
    a, b = (np.arange(6).reshape(shape) for shape in ((2, 3), (3, 2)))
    for f in (lambda x, y: x @ y, lambda x, y: x[0] @ y[:, 0], lambda x, y: x[None] @ y):
        y = f(mc.tensor(a, dtype=dtype), mc.tensor(b, dtype=dtype))
        expected = f(torch.tensor(a).to(getattr(torch, dtype)), torch.tensor(b).to(getattr(torch, dtype)))
        assert y.dtype == mc.dtypes.as_dtype(dtype)
        assert_close(y.float(), expected.float(), 0)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "int16"])
def test_integers(dtype):
    a, b, c = (np.arange(n).reshape(shape).astype(dtype) for n, shape in ((6, (2, 3)), (6, (2, 3)), (2, (2,))))
    check_op(linear, torch.nn.functional.linear, a, b, c)
    check_op(linear, torch.nn.functional.linear, a, b)
    for equation in ("ij,kj->ik", "ij->j", "ij,kj->", "ij,ik->jk"):
        agree(lambda m, x, y, e=equation: m.einsum(e, *(x, y)[:1 + ("," in e)]), a, b)
    agree(lambda m, x, y: m.einsum("ijk,ik->j", x[None], y[:1]), a, b)
    agree(lambda m, x: m.einsum("ij->j", x[:1]), a)
    agree(lambda m, x, y: m.einsum("ij,ij->ij", x[:1], y), a, b)
    agree(lambda m, x, y, z: m.addmm(z, x, y.T, beta=2, alpha=3), a, b, c)


def test_integers_have_no_fractions():
    for options in ({"alpha": 0.5}, {"beta": 0.5}):  # PyTorch cuts off the fraction of some
        with pytest.raises(RuntimeError, match="addmm: .* = 0.5 must be an integer"):
            mc.addmm(*[mc.ones(2, 2, dtype="int64")] * 3, **options)


def test_halves_are_summed_in_single_precision():
    x = mc.ones(1, 5000, dtype="float16")  # adding 1 to 2048 changes nothing in float16
    assert (x @ x.T).item() == 5000


REFUSED = {
    "matmul": (lambda m, x: x @ x, r"matmul: shapes \(2, 3\) and \(2, 3\) do not fit: the last axis"),
    "matmul_vector": (lambda m, x: x @ x[:, 0], r"\(2, 3\) and \(2,\)"),
    "matmul_scalar": (lambda m, x: x.sum() @ x, r"\(\) and \(2, 3\)"),
    "matmul_batch": (lambda m, x: m.ones(2, 1, 3) @ m.ones(3, 3, 1), "axes in front"),
    "matmul_types": (lambda m, x: x @ x.mT.double(), "one number type, not float32 and float64"),
    "matmul_bool": (lambda m, x: (x > 0) @ (x.mT > 0), "bool"),
    "matmul_number": (lambda m, x: m.matmul(x, 2.0), "matmul: other must be a Tensor, not float"),
    "mm": (lambda m, x: m.mm(x, x), r"mm: shapes .* expected \(n, k\) and \(k, m\)"),
    "mm_batch": (lambda m, x: m.mm(x[None], x.mT), "mm"),
    "mv": (lambda m, x: m.mv(x, x[:, 0]), "mv: shapes"),
    "bmm": (lambda m, x: m.bmm(m.ones(2, 2, 3), m.ones(1, 3, 2)), "bmm: shapes"),
    "bmm_matrix": (lambda m, x: m.bmm(x, x.mT), "bmm: shapes"),
    "dot": (lambda m, x: m.dot(x[0], x[:, 0]), "dot: shapes"),
    "dot_matrix": (lambda m, x: m.dot(x, x), "dot: shapes"),
    "dot_types": (lambda m, x: m.dot(x[0], x[0].double()), "dot: .* float64"),
    "outer": (lambda m, x: m.outer(x, x[0]), "outer: shapes"),
    "addmm": (lambda m, x: m.addmm(x, x[:1], x.mT), r"addmm: shapes \(2, 3\) and \(1, 2\)"),
    "addmm_axes": (lambda m, x: m.addmm(x[None, :, :2], x, x.mT), "must broadcast to the product"),
    "addmm_types": (lambda m, x: m.addmm(x[0, :2].double(), x, x.mT), "float64"),
    "einsum_terms": (lambda m, x: m.einsum("ij,jk", x), "2 terms for 1 operands"),
    "einsum_operands": (lambda m, x: m.einsum("ij", x, x), "1 terms for 2 operands"),
    "einsum_axes": (lambda m, x: m.einsum("i", x), r"term 'i' .* operand 0, which has shape \(2, 3\)"),
    "einsum_few_axes": (lambda m, x: m.einsum("ijk...", x), "2 axes"),
    "einsum_lengths": (lambda m, x: m.einsum("ij,ij", x, x.mT), "label 'i' .* length 3 in operand 1 and 2"),
    "einsum_diagonal": (lambda m, x: m.einsum("ii", x), "length"),
    "einsum_diagonal_of_1": (lambda m, x: m.einsum("ii->i", x[:1]), "repeated"),
    "einsum_dots": (lambda m, x: m.einsum("...i,...i", x, m.ones(3, 3)), "'...'"),
    "einsum_output": (lambda m, x: m.einsum("ij->ijk", x), "label 'k' of the output"),
    "einsum_output_twice": (lambda m, x: m.einsum("ij->ii", x), "label 'i' of the output"),
    "einsum_dot": (lambda m, x: m.einsum("..i", x[0]), "'\\.\\.i'"),
    "einsum_digit": (lambda m, x: m.einsum("i1", x), "'1' in 'i1' is not a label"),
    "einsum_types": (lambda m, x: m.einsum("ij,kj", x, x.double()), "float64"),
    "tensordot": (lambda m, x: m.tensordot(x, x, 1), r"tensordot: shapes .* axes \[1\] of the first .* axes \[0\]"),
    "tensordot_dims": (lambda m, x: m.tensordot(x, x.mT, 5), "dims = 5 must be 0 to 2"),
    "tensordot_negative": (lambda m, x: m.tensordot(x, x.mT, -1), "dims = -1"),
    "tensordot_uneven": (lambda m, x: m.tensordot(x, x.mT, ([1, 0], [0])), "as many"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    f, match = REFUSED[case]
    refused(lambda m: f(m, m.ones(2, 3)), match)


@pytest.mark.parametrize("x, w, b", [((2, 3), (4, 2), None), ((), (4, 3), None), ((2, 3), (4, 3), (3,)),
                                     ((2, 3), (1, 4, 3), None), ((3,), (3,), (1,)), ((2, 3), (3,), (2,))])
def test_linear_refuses(x, w, b):
    ours = [None if shape is None else mc.ones(shape) for shape in (x, w, b)]
    theirs = [None if shape is None else torch.ones(shape) for shape in (x, w, b)]
    check_raises(lambda: linear(*ours), lambda: torch.nn.functional.linear(*theirs), "linear: shapes")
