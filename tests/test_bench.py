"""The benchmark: what it prints and writes, what it counts, and that warming leaves nothing out."""

import errno
import gc
import inspect
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from types import FunctionType

import numpy as np
import pytest
import torch

import minicnn as mc
from minicnn import info
from minicnn.bench import cases, machine, measure, roofline, table, warm, worker
from minicnn.bench.__main__ import main
from minicnn.bench.cases import KERNELS, NETWORKS, Work, case, is_network
from minicnn.kernels import contract, cpu

ROOFS = table.Roofs(2e11, 1e10)


@pytest.fixture(autouse=True)
def threads():
    """--threads sets those of this process too."""
    before = mc.get_num_threads()
    yield
    mc.set_num_threads(before)


def rows(*names: str) -> list[measure.Row]:
    """Rows with made-up figures."""
    return [measure.Row(name, case(name).what, case(name).work(), {"minicnn": 2.0, "torch": 3.0, "reference": 90.0},
                        [1.25, 1.5, 2.5], {"minicnn": 300 << 20, "torch": 400 << 20} if is_network(name) else None)
            for name in names]


# -- the command ----------------------------------------------------------------------------------------------------


def test_a_moment_of_each_kind(tmp_path, monkeypatch, capfd):
    """Of a network, a kernel and the loader: the table, the file and the plot."""
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Nehalem")
    json_file, plot = tmp_path / "found.json", tmp_path / "roofline.svg"
    assert main(["lenet@8", "avgpool", "loader", "--quick", "--threads", "1", "--json", str(json_file), "--roofline",
                 str(plot)]) == 0
    lines = capfd.readouterr().out.splitlines()
    found = json.loads(json_file.read_text())
    about = found["machine"]
    assert about["OPENBLAS_CORETYPE"] == "Nehalem" and about["threads"] == 1 and about["cores"] == os.cpu_count()
    assert about["cpu"] and 1e9 < about["flops_per_second"] < 1e13 and 1e8 < about["bytes_per_second"] < 1e13
    assert lines[0].startswith(f"{about['cpu']}, 1 of {os.cpu_count()} cores, ") and "Nehalem" in lines[1]
    network, kernel = found["rows"]
    for row, name in ((network, "lenet@8"), (kernel, "avgpool")):
        assert row["case"] == name and row["what"] == case(name).what
        assert row["ratio"] > 0 and row["ratios"] == [row["ratio"]] and 0 <= row["difference"] < 1e-4
        assert all(row[f"{library}_ms"] > 0 for library in ("minicnn", "torch", "reference"))
        (line,) = [line for line in lines if line.startswith(row["what"])]
        assert line.split(row["what"])[1].split()[2] == f"{row['ratio']:.2f}" and len(line) <= 100
    assert set(network["memory"]) == {"minicnn", "torch"} and kernel["memory"] is None
    assert 0 < network["direct_difference"] < 1e-4 and kernel["direct_difference"] is None
    assert lines[-1] == "--quick: a moment of each, so all figures are rough"
    assert set(found["loader"]) == {"step", "step_with_loader", "batch"}
    assert plot.read_text().startswith("<?xml")


def test_lists(capsys):
    assert main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [*NETWORKS, *KERNELS]


@pytest.mark.parametrize("words, message", [
    (["lnet"], "there is no case lnet; did you mean lenet?"), (["conv-dw@8"], "there is no case conv-dw@8"),
    (["lenet@0"], "lenet@0: the batch is 0, and must be"), (["lenet@x"], "lenet@x: the batch is x, and must be"),
    (["lenet@"], "lenet@: the batch is missing"), (["lenet", "--threads", "4096"], "--threads 4096: set_num_threads"),
    (["networks", "--roofline", "x.png"], "--roofline draws kernels, and there is none among the cases"),
    (["avgpool", "--roofline", "x.txt"], "--roofline x.txt must end with .png"),
    (["avgpool", "--list"], "--list and --warm are for all cases"), (["--warm", "x"], "--list and --warm are for all"),
    (["--warm", "--roofline", "x.png"], "--list and --warm time nothing: leave --roofline out"),
    (["--list", "--quick"], "time nothing: leave --quick out"), (["--list", "--warm"], "not allowed with"),
    (["avgpool", "--json", "nowhere/x.json"], "nowhere/x.json: there is no folder nowhere"),
    (["avgpool", "--json", "."], ". is a folder, not a file")])
def test_what_makes_no_sense_is_refused_before_anything_runs(words, message, capsys):
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(monkeypatch, capsys):
    def denied(dir):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(tempfile, "TemporaryFile", denied)
    assert main(["avgpool", "--json", "x.json"]) == 1
    assert "x.json cannot be written: Permission denied" in capsys.readouterr().err


def test_what_has_been_measured_outlives_ctrl_c(tmp_path, monkeypatch, capfd):
    def interrupted(names, plan):
        yield from rows("avgpool", "relu")
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "measure", interrupted)
    file = tmp_path / "found.json"
    assert main(["kernels", "--threads", "1", "--json", str(file)]) == 130
    assert [row["case"] for row in json.loads(file.read_text())["rows"]] == ["avgpool", "relu"]
    out = capfd.readouterr().out
    assert "\ngeometric mean " in out and "\nratio: PyTorch's time by ours" in out


@pytest.mark.parametrize("case", ["lenet", "start"])
def test_ctrl_c_ends_it_with_a_line(case):
    """As a terminal sends it: to the command and all that it has started."""
    process = subprocess.Popen([sys.executable, "-m", "minicnn.bench", case, "--threads", "1", "--rounds", "99"],
                               text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
                               env=measure.environment(PYTHONUNBUFFERED="1"))
    process.stdout.readline()  # about the machine: the processes are there
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    err = process.communicate()[1]
    assert process.returncode == 130
    assert [line for line in err.splitlines() if not line.startswith("compiling kernels")] == [
        "python -m minicnn.bench: interrupted"]


# -- what it counts and compares ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["conv-lenet2", "conv-dw", "conv-cnn1", "conv-3x3s2"])
def test_operations_of_a_convolution_are_counted(name):
    """By nested loops: every output is a sum over its window; of images with few channels there is no gradient."""
    run, _ = case(name).prepare(mc)
    y, *gradients = run()
    weights = gradients[-2]
    assert case(name).work().flops == 2 * y.numel() * weights[0].numel() * (1 + len(gradients) - 1)
    x = gradients[0].numel() if len(gradients) == 3 else int(np.prod((64, 1, 28, 28)))
    moved = [x, weights.numel(), y.numel(), weights.numel(), y.numel(), *([x] if len(gradients) == 3 else [])]
    assert case(name).work().bytes == 4 * sum(moved)


def test_operations_of_a_network_are_counted():
    """LeNet: products of five layers forward, and backward twice but for the image."""
    first, *others = 28 * 28 * 6 * 25, 10 * 10 * 16 * 150, 400 * 120, 120 * 84, 84 * 10
    assert case("lenet@3").work() == Work(2 * 3 * (2 * first + 3 * sum(others)), None)


def test_wrong_results_are_not_timed(tmp_path):
    class Fake:
        def __init__(self, *results: np.ndarray) -> None:
            self.results = results

        def ask(self, request: str, name: str, path: str) -> float:
            np.savez(path, *self.results)
            return 1.0

    right, noise = np.linspace(-1, 1, 50), np.zeros(3)
    wrong = right.copy()
    wrong[7] += 0.01
    found = measure._agree("relu", {"minicnn": Fake(right, noise), "torch": Fake(right, noise + 1e-9)})[1]
    assert found["minicnn"] < 1e-6
    with pytest.raises(RuntimeError, match=r"relu: minicnn and torch differ by \d.\de-03"):
        measure._agree("relu", {"minicnn": Fake(wrong), "torch": Fake(right)})
    with pytest.raises(RuntimeError, match="relu: minicnn and torch differ by inf"):
        measure._agree("relu", {"minicnn": Fake(right), "torch": Fake(right, right)})
    off = right * 1.07
    found = measure._agree("lenet", {"minicnn-direct": Fake(right), "minicnn": Fake(off), "torch": Fake(right)})[1]
    assert found == {"minicnn-direct": 0, "minicnn": pytest.approx(0.07)}
    with pytest.raises(RuntimeError, match="lenet: minicnn-direct and torch differ by 7.0e-02"):
        measure._agree("lenet", {"minicnn-direct": Fake(off), "minicnn": Fake(right), "torch": Fake(right)})


def test_what_is_compared_has_every_row_column_channel_and_tap_of_every_result(monkeypatch):
    """By shapes alone: PyTorch's meta tensors have no elements. The sample of each index is that of all of them."""
    monkeypatch.setattr(cases, "_normal", lambda lib, seed, *shape: torch.empty(shape, device="meta"))
    shapes = {tuple(t.shape) for found in KERNELS.values() for t in found.prepare(torch)[0]()}
    assert {(16, 64, 56, 56), (256, 256, 3, 3), (4096, 9216), (4_000_000,)} <= shapes
    for shape in shapes:
        for axes in [(axis,) for axis in range(len(shape))] + [*itertools.combinations(range(len(shape)), 2)][-1:]:
            lengths = [shape[axis] for axis in axes]
            number = np.arange(math.prod(lengths), dtype=np.int32).reshape(
                [length if axis in axes else 1 for axis, length in enumerate(shape)])
            if len(axes) == 1 or number.size <= 4096:  # pixels and taps, not the elements of a matrix
                seen = np.unique(worker._sample(np.broadcast_to(number, shape)))
                assert seen.size == number.size, (shape, axes)


def test_a_process_that_ends_is_noticed(capfd):
    with measure.Worker("minicnn", 1) as worker, pytest.raises(RuntimeError, match="process of minicnn ended at no"):
        worker.ask("no such request")
    assert "no such request" in capfd.readouterr().err


# -- the figures ----------------------------------------------------------------------------------------------------


def test_shares_are_of_the_roof_that_is_lower():
    compute, memory = Work(int(4e8), int(1e6)), Work(int(1e6), int(1e7))
    assert ROOFS.seconds(compute) == pytest.approx(2e-3) and not ROOFS.bound_by_memory(compute)
    assert ROOFS.seconds(memory) == pytest.approx(1e-3) and ROOFS.bound_by_memory(memory)
    kernel = measure.Row("k", "a kernel", memory, {"minicnn": 2.0, "reference": 7.0})
    assert table.kernel_cells(kernel, ROOFS) == ["a kernel", "2.00", "-", "-", "-", "4×", "5 GB/s", "50%"]
    assert table.digits(1234.5) == "1234" and table.digits(0.01234) == "0.0123"
    (lenet,) = rows("lenet")
    assert table.network_cells(lenet, ROOFS)[1:6] == ["2.00", "3.00", "1.50", "1.25…2.50", "45×"]
    assert table.network_cells(lenet, ROOFS)[-1] == "300, 400"
    assert table.mean_cells(rows("lenet", "cnn2"), table.NETWORK_HEADS)[3] == "1.50"


@pytest.mark.parametrize("columns", [80, 90, 120])
@pytest.mark.parametrize("heads, cells, names", [(table.NETWORK_HEADS, table.network_cells, NETWORKS),
                                                 (table.KERNEL_HEADS, table.kernel_cells, KERNELS)])
def test_tables_and_notes_fit_the_terminal(heads, cells, names, columns, monkeypatch, capsys):
    """Of a narrow one the least important columns are left out, in words too."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    show = table.printer(heads, coloured=False)
    show([title for title, _ in heads])
    found = rows(*list(names)[:3])
    for row in found:
        show(cells(row, ROOFS))
    show(table.mean_cells(found, heads))
    print(table.notes(heads))
    head, *lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= min(columns, 100) for line in (head, *lines))
    assert all(row.what in line and " 1.25…2.50" in line for row, line in zip(found, lines))
    assert ("NumPy" in head) == (columns == 120) and "ratio" in head
    assert ("too narrow for NumPy" in " ".join(" ".join(lines).split())) == (columns < 120)
    assert all(len(case(name).what) < heads[0][1] for name in names)


@pytest.mark.parametrize("coloured", [True, False])
def test_ratios_are_coloured_where_they_are_measured(coloured, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    show = table.printer(table.KERNEL_HEADS, coloured)
    show(table.kernel_cells(rows("relu")[0], ROOFS))
    assert ("\x1b[1;32m   1.50\x1b[0m" in capsys.readouterr().out) == coloured


def test_the_plot_has_every_kernel(tmp_path):
    roofline.plot_roofline(rows(*KERNELS, "lenet"), ROOFS, tmp_path / "plot.svg", "a machine")
    with pytest.raises(ValueError, match="plot_roofline: there are no kernels among the cases"):
        roofline.plot_roofline(rows("lenet"), ROOFS, tmp_path / "plot.svg")


# -- warming --------------------------------------------------------------------------------------------------------


def test_warming_runs_every_kernel_in_float32(monkeypatch):
    seen = set()

    def watched(name, kernel):
        def run(*arguments, **named):
            if not isinstance(arguments[0], np.ndarray) or arguments[0].dtype == np.float32:
                seen.add(name)
            return kernel(*arguments, **named)

        return run

    for name in contract.KERNELS:
        monkeypatch.setattr(cpu, name, watched(name, getattr(cpu, name)))
    monkeypatch.setattr(warm, "NETWORKS", {})
    monkeypatch.setattr(warm, "KERNELS", {})
    assert list(warm.warm()) == ["activations", "arithmetic", "layers", "sequences", "optimisers"]
    assert not set(contract.KERNELS) - seen
    functions = [f for f in gc.get_objects() if type(f) is FunctionType]
    for loop in [f for f in functions if f.__qualname__ == "threaded.<locals>.choose"]:
        compiled = inspect.getclosurevars(loop).nonlocals["compiled"]
        if compiled.py_func.__module__.startswith("minicnn."):  # not those of other tests
            assert compiled.signatures, compiled.py_func.__qualname__
    count, folder = warm.cached()
    assert count > 0 and folder.is_dir()


@pytest.mark.parametrize("after, said", [(40, "nothing had to be compiled: all 40 functions are cached in "),
                                         (42, "2 functions compiled in 0 s; 42 are cached in ")])
def test_warming_says_what_it_compiled(after, said, tmp_path, monkeypatch, capsys):
    counts = iter((40, after))
    monkeypatch.setattr(warm, "warm", lambda: iter(["conv-dw"]))
    monkeypatch.setattr(warm, "cached", lambda: (next(counts), tmp_path))
    assert main(["--warm"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{said}{tmp_path}\n" and "compiling kernels" not in err and "  conv-dw" in err


def test_numpys_blas_is_named_without_threadpoolctl(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    name = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    (line,) = machine.describe()["blas"]
    assert name in line and name in info._blas()
