"""The house rules: layers, packages, one contract for all kernels, settings that agree with each other."""

import ast
import configparser
import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import minicnn
from minicnn import backend
from minicnn.kernels import contract, cpu, cuda, reference

ROOT = Path(minicnn.__file__).resolve().parent.parent
CHECKOUT = (ROOT / "setup.cfg").exists()
pytestmark = pytest.mark.skipif(not CHECKOUT, reason="needs a checkout, not an installed copy")

# each may import only what stands in an earlier line (or itself)
LAYERS = (("kernels",), ("dtypes", "version"), ("backend",), ("engine",), ("ops",), ("functional", "autograd"), ("nn",),
          ("optim", "models", "data"), ("amp", "interop", "testing", "explain"), ("training",), ("bench",),
          ("cli",), ("bisect", "eval", "experiment", "gradcheck", "info", "learn", "lint", "mutate", "predict",
                     "summary", "train"), ("__main__",))
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def sources() -> list[Path]:
    return sorted([*ROOT.glob("minicnn/**/*.py"), *ROOT.glob("kernels/**/*.py")])


def imported(path: Path) -> list[str]:
    """The names below minicnn that a file imports, as dotted paths relative to it."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "minicnn" else ("minicnn", *parts)  # kernels/ is minicnn.kernels
    package = parts[:-1]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *(node.module.split(".") if node.module else ())))
            found += [f"{module}.{name.name}" for name in node.names]
    return found


def test_each_layer_imports_only_lower_ones():
    wrong = []
    for path in sources():
        parts = path.relative_to(ROOT).with_suffix("").parts
        own = parts[1] if parts[0] == "minicnn" else "kernels"
        if parts[-1] == "__main__":  # a command, wherever it lies
            own = "__main__"
        if own == "__init__":
            continue
        for name in imported(path):
            if name.split(".")[0] != "minicnn" or len(name.split(".")) < 2:
                continue
            other = name.split(".")[1]
            if other not in LEVEL:  # a public name of the package: only the outermost layers use those
                wrong += [f"{path}: {name}"] if LEVEL[own] < LEVEL["training"] and other != "version" else []
            elif LEVEL[other] > LEVEL[own]:
                wrong.append(f"{path}: {name}")
    assert not wrong


def test_kernels_stand_alone():
    for path in sorted(ROOT.glob("kernels/**/*.py")):
        for name in imported(path):
            assert not name.startswith("minicnn.") or name.startswith("minicnn.kernels"), f"{path}: {name}"


def test_no_file_imports_kernels_by_its_folder_name_or_a_star_outside_the_package_root():
    for path in [*sources(), *ROOT.glob("tests/*.py"), *ROOT.glob("benchmarks/*.py"), *ROOT.glob("examples/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not any(name.name.split(".")[0] == "kernels" for name in node.names), path
            if isinstance(node, ast.ImportFrom):
                assert node.level or (node.module or "").split(".")[0] != "kernels", path
                assert not any(name.name == "*" for name in node.names) or path == ROOT / "minicnn/__init__.py", path


@pytest.mark.parametrize("module", [reference, cpu, cuda])
def test_back_ends_export_the_contract(module):
    assert len(contract.KERNELS) > 30
    assert {name for name, value in vars(module).items() if callable(value) and not name.startswith("_")} \
        == set(contract.KERNELS)
    for name in contract.KERNELS:
        assert inspect.signature(getattr(module, name)) == inspect.signature(getattr(contract, name)), name


def test_the_package_list_is_the_folders():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    folders = {p.parent.relative_to(ROOT) for p in sources() if p.name == "__init__.py"}
    assert listed == {".".join(f.parts if f.parts[0] == "minicnn" else ("minicnn", *f.parts)) for f in folders}


def test_import_is_light():
    """Optional and heavy packages are imported where they are first needed."""
    code = ("import sys, minicnn; "
            "heavy = {'numba', 'torch', 'cupy', 'matplotlib', 'PIL', 'rich', 'pooch', 'safetensors'}; "
            "print(sorted(heavy & set(sys.modules)))")
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_one_import_is_enough():
    """As in PyTorch, import minicnn makes minicnn.optim.SGD and the others known."""
    code = "import minicnn as m; print(m.nn.Linear, m.optim.SGD, m.data.load, m.models.create, m.training.Trainer)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not hasattr(minicnn, "nothing")


def test_unknown_kernels_and_algorithms_are_refused():
    with pytest.raises(ValueError, match="'fast'"):
        with backend.use_kernels("fast"):
            pass
    with pytest.raises(ValueError, match="'fast'"):
        with backend.conv_algorithm("fast"):
            pass


def test_a_wheel_installed_elsewhere_finds_its_kernels_and_data(tmp_path):
    """Build the wheel from a copy, install it into a folder of its own, and use it there, far from the checkout."""
    source = tmp_path / "source"  # a build leaves its modules behind in build/, and ships them again the next time
    no_source = shutil.ignore_patterns(".git", "build", "*.egg-info", "runs", "__pycache__", ".venv")
    shutil.copytree(ROOT, source, ignore=no_source)
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path,
                    source], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("minicnn-*.whl")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", tmp_path / "site", wheel],
                   check=True, capture_output=True)
    code = ("import minicnn, minicnn.kernels as k, minicnn.data as d; print(minicnn.__file__); print(k.__file__); "
            "print(len(d.load('digits', 'train')) + len(d.load('digits', 'validation')))")
    out = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path,
                         env={"PYTHONPATH": str(tmp_path / "site")}, capture_output=True, text=True,
                         check=True).stdout.split()
    assert all(line.startswith(str(tmp_path)) for line in out[:2])
    assert out[2] == "1797"
