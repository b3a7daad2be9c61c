"""Every operator of the table against PyTorch: drawn calls, the examples of its entry, and calls both refuse."""

import importlib
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings

import minicnn as mc
import minicnn.functional as F

from util import check_raises

from .table import Operator

FAMILIES = sorted(path.stem for path in Path(__file__).parent.glob("*.py")
                  if path.stem not in ("__init__", "table", "test_operators"))
TABLE: list[Operator] = [op for family in FAMILIES
                         for op in importlib.import_module(f".{family}", __package__).TABLE]


@pytest.mark.parametrize("op", TABLE, ids=lambda op: op.name)
def test_drawn_calls(op: Operator):
    cases = [*op.examples]

    @settings(max_examples=op.number)
    @given(op.cases)
    def drawn(case):
        cases.append(case)
        op.check(case)

    drawn()
    assert not op.not_tried(cases)


@pytest.mark.parametrize("op, number", [(op, i) for op in TABLE for i in range(len(op.examples))],
                         ids=lambda v: getattr(v, "name", v))
def test_examples(op: Operator, number: int):
    op.check(op.examples[number])


@pytest.mark.parametrize("op, number", [(op, i) for op in TABLE for i in range(len(op.wrong))],
                         ids=lambda v: getattr(v, "name", v))
def test_wrong_calls(op: Operator, number: int):
    """Both refuse, and our message says which operator it was."""
    wrong = op.wrong[number]
    check_raises(lambda: wrong(mc, F), lambda: wrong(torch, torch.nn.functional), match=op.name)
