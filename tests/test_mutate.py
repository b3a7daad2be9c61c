"""The commands gradcheck and mutate, and the pytest plugin, from outside."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import minicnn
from minicnn import gradcheck, mutate
from minicnn.testing import MISTAKES, planted
from minicnn.testing.mistakes import named

ROOT = Path(minicnn.__file__).resolve().parent.parent

TESTS = """
import numpy as np
import minicnn as mc

def gradient(function, x):
    x = mc.tensor(x, requires_grad=True)
    function(x).sum().backward()
    return x.grad.numpy()

def test_forward():
    assert mc.tanh(mc.tensor([0.0])).item() == 0

def test_tanh():
    np.testing.assert_allclose(gradient(mc.tanh, np.array([0.3, 1.0])), 1 - np.tanh([0.3, 1.0]) ** 2)

def test_tanh_again():
    np.testing.assert_allclose(gradient(mc.tanh, np.array([2.0])), 1 - np.tanh([2.0]) ** 2)
"""


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    path = tmp_path / "test_mine.py"
    path.write_text(TESTS)
    return path


def test_a_suite_is_told_which_of_its_tests_notice(tests, capsys):
    assert mutate.main(["tanh not squared", "factor 2 forgotten", "--all", "--tests", str(tests)]) == 1
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert "tanh not squared" in lines[0] and "test_tanh" in lines[0] and "test_tanh_again" in lines[1]
    assert "factor 2 forgotten" in lines[2] and "NOT NOTICED" in lines[2]
    assert "1 of 2 mistakes noticed" in out and "test_forward" not in out


def test_tests_that_fail_by_themselves_are_refused(tests, capsys):
    tests.write_text(TESTS + "\ndef test_wrong():\n    assert False\n")
    assert mutate.main(["tanh not squared", "--tests", str(tests)]) == 1
    err = capsys.readouterr().err
    assert "do not pass with nothing planted" in err and "test_wrong" in err


@pytest.mark.skipif(not (ROOT / "setup.cfg").exists(), reason="needs a checkout, not an installed copy")
def test_minicnns_own_tests_notice(capsys):
    """One operation here; the command alone goes through all of them."""
    assert mutate.main(["Dropout"]) == 0
    assert "4 of 4 mistakes noticed" in capsys.readouterr().out
    assert set(mutate.OWN_TESTS) == {m.operation for m in MISTAKES}


def test_the_list_and_wrong_names(capsys):
    assert mutate.main(["--list"]) == 0
    out = capsys.readouterr().out
    assert all(m.name in out and m.advice in out for m in MISTAKES)
    assert mutate.main(["kernel not rotatd"]) == 2
    assert "did you mean kernel not rotated?" in capsys.readouterr().err


def test_the_table_of_gradients(capsys):
    assert gradcheck.main(["relu", "max_pool2d", "--cases", "1"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split()[:2] == ["operation", "cases"] and out[1].split()[:7:2] == ["relu", "PASS", "PASS", "PASS"]
    assert "2 cases, 6 checks: 6 PASS" in out and "all gradients are right" in out
    with planted(named("mask forgotten")):
        assert gradcheck.main(["relu", "--cases", "2"]) == 1
    out = capsys.readouterr().out
    assert "FAIL" in out and "first at index" in out and "wrong gradients in relu" in out
    assert gradcheck.main(["relo"]) == gradcheck.main(["relu", "--seed", "-1"]) == 2
    err = capsys.readouterr().err
    assert "did you mean relu?" in err and "--seed -1 must be at least 0" in err


def test_the_profile_has_no_deadline(tmp_path):
    (tmp_path / "test_slow.py").write_text("""
import time
from hypothesis import Phase, given, settings, strategies as st

@settings(max_examples=2, phases=[Phase.generate])
@given(st.integers())
def test_slow(n):
    time.sleep(0.3)  # Hypothesis allows 0.2 s
    assert settings.default.deadline is None
""")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "minicnn.testing.plugin", "test_slow.py"]
    for flag, passes in (("--hypothesis-profile=minicnn", True), ("--hypothesis-profile=default", False)):
        done = subprocess.run([*command, flag], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert (done.returncode == 0) is passes, done.stdout
