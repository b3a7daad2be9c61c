"""What the documents show, runs: every block of the README, every example, and the figures quoted are those on file."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import minicnn

ROOT = Path(minicnn.__file__).resolve().parent.parent
if not (ROOT / "README.md").exists():
    pytest.skip("needs a checkout, not an installed copy", allow_module_level=True)
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
SHELL = [line for language, text in BLOCKS if language == "bash" for line in text.splitlines() if line.strip()]
# long runs that the README quotes figures of: they are parsed here, and run by hand when the figures are renewed
LONG = ("--data mnist", "--recipe note003", "pip install", "pytest", "examples/note003", "examples/04")


def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}


def test_the_readme_has_blocks_of_both_kinds():
    assert len(PYTHON) >= 2 and len(SHELL) >= 4


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_blocks_run(number, tmp_path):
    code = PYTHON[number]
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, env=environment(tmp_path), check=True)


@pytest.mark.parametrize("line", [line for line in SHELL if not any(mark in line for mark in LONG)])
def test_shell_lines_run(line, tmp_path):
    command = line.split("#")[0].strip().replace("python ", f"{sys.executable} ", 1)
    if "minicnn.train" not in command or "--resume" in command:  # these go on from a run
        subprocess.run([sys.executable, "-m", "minicnn.train", "lenet", "-q", "--epochs", "1", "--limit-train", "64"],
                       cwd=tmp_path, env=environment(tmp_path), check=True, capture_output=True)
        (tmp_path / "examples").symlink_to(ROOT / "examples")
    if "minicnn.train" in command:
        command += " --epochs 2 --limit-train 64"  # a moment of the same run
    subprocess.run(command, shell=True, cwd=tmp_path, env=environment(tmp_path), check=True)


@pytest.mark.parametrize("line", [line for line in SHELL if "minicnn.train" in line])
def test_long_training_commands_are_valid(line, tmp_path):
    """Flags and names of every training command of the README are accepted, --help answering before anything runs."""
    command = line.split("#")[0].strip().split("python -m minicnn.train", 1)[1]
    subprocess.run(f"{sys.executable} -m minicnn.train {command} --help", shell=True, cwd=tmp_path,
                   env=environment(tmp_path), check=True, capture_output=True)


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*.py")), ids=lambda p: p.name)
def test_examples_run(path, tmp_path):
    subprocess.run([sys.executable, "-W", "error", path, "--smoke"], cwd=tmp_path, env=environment(tmp_path),
                   check=True)


def test_links_and_pictures_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_the_readmes_ratios_are_those_of_the_results_file():
    rows = {row["what"]: row for row in json.loads((ROOT / "benchmarks/results/cpu.json").read_text())["rows"]}
    quoted = re.findall(r"^\| ([^|]+?) \| +([\d.]+) \| +([\d.]+) \| +\**([\d.]+)\** \|", README, re.MULTILINE)
    assert len(quoted) >= 3
    for what, ours, theirs, ratio in quoted:
        row = rows[what]
        for text, value in ((ours, row["minicnn_ms"]), (theirs, row["torch_ms"]), (ratio, row["ratio"])):
            digits = len(text.partition(".")[2])
            assert text == f"{value:.{digits}f}", what
    xeon = {row["what"]: row for row in json.loads((ROOT / "benchmarks/results/xeon.json").read_text())["rows"]}
    last = re.findall(r"^\| ([^|]+?) \|.*\*\* \|.* ([\d.]+) \|$", README, re.MULTILINE)
    assert len(last) == len(quoted) and all(ratio == f"{xeon[what]['ratio']:.2f}" for what, ratio in last)
