"""Exercises can be solved, and what is forgotten in an answer is told by name."""

import subprocess
import sys
from pathlib import Path

import pytest

from minicnn import learn as command
from minicnn.testing.exercises import EXERCISES, Result

ROOT = Path(__file__).parents[1]

# what a learner writes in the place of a part of the answer, and the mistake that is named
SLIPS = {
    "conv-backward": [
        ("gxp[window] += np.tensordot(g, w, 1)", "gxp[window] += np.tensordot(g, w[..., ::-1, ::-1], 1)",
         "kernel not rotated"),
        ("gxp[window] +=", "gxp[window] =", "overlap overwritten instead of added"),
        ("gxp[window] +=", "gxp[:, :, i:i + kh, j:j + kw] +=", "stride not dilated"),
        ("gx = gxp[:, :, ph:ph + h, pw:pw + width]", "gx = gxp[:, :, :h, :width]", "padding not cropped"),
        ("gb = gy.sum((0, 2, 3))", "gb = gy.mean((0, 2, 3))", "bias averaged instead of summed"),
        ("gb = gy.sum((0, 2, 3))", "gb = gy[0].sum((1, 2))", "bias of the first image alone"),
        ("(g, xp[window], (0, 0))", "(g, xp[window], (0, 0)) / len(x)", "gw averaged over the batch"),
    ],
    "pool": [
        ("+= gy", "= gy", "pooled overlap overwritten instead of added"),
        ("int(window.argmax())", "window.size - 1 - int(window.ravel()[::-1].argmax())", "last of tied maxima"),
        ("i * sh + row, j * sw + column", "row, column", "index in the window taken for that in the image"),
        ("int(window.argmax())", "0", "gradient to the first element of the window"),
    ],
    "batchnorm": [
        (" - through_mean", "", "mean term missing"), (" - through_var", "", "variance term missing"),
        ("(gy - through_mean - through_var)", "gy", "mean and variance taken for constants"),
        ("m = x.size // x.shape[1]", "m = len(x)", "statistics counted over the batch alone"),
        ("w[:, None, None] * inv_std", "inv_std", "weight forgotten in gx"),
        ("(gy * x_hat).sum(axes)", "(gy * x).sum(axes)", "gradient of the weight from x instead of x̂"),
    ],
    "dropout": [
        ("1 / (1 - p)", "1.0", "missing 1/(1 − p)"), ("1 / (1 - p)", "1 / p if p else 1.0", "divided by p"),
        ("np.where(mask", "np.where(~mask", "mask inverted"), ("if training:", "if True:", "drops while testing, too"),
        ("y, gx = x * scale, gy * scale", "y, gx = x * scale, gy * mask", "missing 1/(1 − p)"),
        ("y, gx = x * scale, gy * scale", "y, gx = x * scale, gy", "backward of another operation"),
    ],
    "softmax-cross-entropy": [
        ("gx /= len(x)", "pass", "sum for mean"), ("].mean()", "].sum()", "sum for mean"),
        ("].mean()", "].sum() / x.size", "mean over rows and classes"),
        ("gx[rows, target] -= 1", "pass", "target not subtracted"),
        ("gx[rows, target] -= 1", "gx = -gx; gx[rows, target] += 1", "target minus prediction"),
        ("shifted = x", "x = np.exp(x - x.max(1, keepdims=True)); x /= x.sum(1, keepdims=True); shifted = x",
         "softmax twice"),
    ],
}


def check(tmp_path: Path, name: str, old: str = "", new: str = "") -> Result:
    text = EXERCISES[name].solution
    assert old in text
    path = tmp_path / "answer.py"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return EXERCISES[name].check(path)


@pytest.mark.parametrize("name", EXERCISES)
def test_the_answer_is_right_and_the_stub_is_not(name, tmp_path):
    assert check(tmp_path, name)
    exercise = EXERCISES[name]
    path = tmp_path / exercise.file
    path.write_text(exercise.stub, encoding="utf-8")
    result = exercise.check(path)
    assert not result and "not written yet" in str(result)
    assert "answer" not in exercise.stub and "answer" not in exercise.solution
    head = exercise.solution.partition("    # ")[0].rstrip()
    assert f"def {exercise.function}(" in exercise.stub and (ROOT / exercise.read).exists() and head


@pytest.mark.parametrize(("name", "old", "new", "mistake"),
                         [(name, *slip) for name, slips in SLIPS.items() for slip in slips])
def test_what_was_forgotten_is_told(name, old, new, mistake, tmp_path):
    result = check(tmp_path, name, old, new)
    told = [line for line in str(result).splitlines() if "a known mistake" in line]
    assert len(told) == 1 and mistake in told[0], str(result)


@pytest.mark.parametrize(("name", "old", "new", "said"), [
    ("pool", "return gx", "return gx[0]", "gx is of shape (1, 4, 6), but must be of shape (1, 1, 4, 6)"),
    ("pool", "return gx", "return None", "gx is a NoneType, but must be of shape (1, 1, 4, 6)"),
    ("pool", "return gx", "gy *= 2\n    return gx", "an argument was written to"),
    ("pool", "return gx", "return gx, gx", "it returns 2 results instead of 1, gx"),
    ("pool", "return gx", "return nothing", "it raises NameError: name 'nothing' is not defined (line 26)"),
    ("pool", "import numpy as np", "import numpy as np\n1 / 0", "the file cannot be run: ZeroDivisionError"),
    ("pool", "import numpy as np", "import numpy as", "the file cannot be run: SyntaxError: invalid syntax (line 11)"),
    ("pool", "def max_pool2d_backward", "def backward", "the file defines no function max_pool2d_backward"),
    ("pool", "import numpy as np", "import numpy as np\nexit(3)", "the file cannot be run: SystemExit: 3 (line 12)"),
    ("pool", "return gx", "exit()", "it raises SystemExit"),
    ("pool", "return gx", "return gx * 1j", "gx is of the type complex128, but must hold real numbers"),
    ("softmax-cross-entropy", "shifted = x - x.max(1, keepdims=True)", "shifted = x", "loss is not finite"),
])
def test_other_things_that_go_wrong(name, old, new, said, tmp_path):
    result = check(tmp_path, name, old, new)
    assert not result and said in str(result)


def test_the_first_wrong_element_and_its_windows(tmp_path):
    told = str(check(tmp_path, "conv-backward", "i * sh, i * sh + kh", "i, i + kh"))
    assert told.splitlines()[:6] == ["  right  one channel, kernel 2×2", "  right  channels in and out",
                                     "  right  two images", "  right  kernel 3×2", "  right  padding 1",
                                     "  wrong  stride 2"]
    assert "elements differ)\n    Σ gy[:, 0, 0, 0]·x[:, 0, 0, 0]\n" in told


# -- the command ----------------------------------------------------------------------------------------------------


def test_from_the_stub_to_the_next_exercise(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command.main([]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[:5]] == list(EXERCISES)
    assert command.main(["pool"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "pool.py says what to do: fill in max_pool2d_backward, then check it with the same command:",
        "  python -m minicnn.learn pool"]
    assert command.main(["pool"]) == 1
    assert "not written yet" in capsys.readouterr().out
    before = Path("pool.py").read_text(encoding="utf-8")
    assert command.main(["pool", "--solution"]) == 0
    Path("mine.py").write_text(capsys.readouterr().out, encoding="utf-8")
    assert command.main(["pool", "mine.py"]) == 0
    assert capsys.readouterr().out.endswith("minicnn/ops/pool.py\nnext: python -m minicnn.learn batchnorm\n")
    assert Path("pool.py").read_text(encoding="utf-8") == before  # an answer is never written over


def test_wrong_usage(tmp_path, capsys):
    assert command.main(["batch-norm"]) == 2
    assert "there is no exercise batch-norm; did you mean batchnorm?" in capsys.readouterr().err
    assert command.main(["pool", str(tmp_path)]) == 1 and "is a folder" in capsys.readouterr().err
    assert command.main(["pool", str(tmp_path / "none" / "x.py")]) == 1
    assert "No such file or directory" in capsys.readouterr().err


def test_it_is_a_command(tmp_path):
    done = subprocess.run([sys.executable, "-m", "minicnn", "learn", "dropout"], cwd=tmp_path, capture_output=True,
                          text=True, env={"PYTHONPATH": str(ROOT)}, check=True)
    assert done.stdout.endswith("  python -m minicnn learn dropout\n") and (tmp_path / "dropout.py").exists()
