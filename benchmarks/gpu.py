"""minicnn against PyTorch (eager, cuDNN) on a GPU, at equal precision, beside what the card itself can do.

    python benchmarks/gpu.py --all --out results      all there is to run on a GPU: the tests, then every case
    python benchmarks/gpu.py --all --out results --part tests --minutes 9      a part of it
    python benchmarks/gpu.py lenet conv-1x1           some cases

Writes gpu-NAME.json, NAME being that of the card, anew after each case, so that nothing is lost by an error or an end
of the time; a case that fails has its error in it. The tests' output goes to tests.txt beside it.

A figure is the median over rounds in which the libraries take turns; a round lasts from an idle GPU to an idle GPU, so
that the time of launching counts. Steps of networks are timed as they are, and recorded as a CUDA graph.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import minicnn as mc  # noqa: E402
from minicnn.bench.cases import KERNELS, NETWORKS, SIZES, case  # noqa: E402
from minicnn.training.capture import WARM_UP, Cupy, Recorded  # noqa: E402

PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
PARTS = ("tests", "kernels", "networks")
HALVES = {"bfloat16", "float16"}
ROUNDS = 5
DEVICE = "cuda"


def on_gpu(lib: Any) -> Any:
    """The library as cases use it, whose arrays from NumPy go to the GPU."""
    names = ("nn", "optim", "autograd", "no_grad")
    return SimpleNamespace(from_numpy=lambda a: lib.from_numpy(a).to(DEVICE), **{n: getattr(lib, n) for n in names})


@contextmanager
def precision_of(lib: Any, name: str) -> Iterator[None]:
    """Operations inside run at this precision, in either library."""
    if lib is mc:
        with mc.backend.float32_matmul_precision("high" if name == "tf32" else "highest"):
            with mc.autocast(DEVICE, name) if name in HALVES else nullcontext():
                yield
    else:
        lib.backends.cuda.matmul.allow_tf32 = lib.backends.cudnn.allow_tf32 = name == "tf32"
        with lib.autocast(DEVICE, getattr(lib, name)) if name in HALVES else nullcontext():
            yield


def kernel(lib: Any, name: str, precision: str) -> Callable[[], Any]:
    """A case of one operation as a function to time."""
    with precision_of(lib, precision):
        step = KERNELS[name].prepare(on_gpu(lib))[1]

    def run() -> None:
        with precision_of(lib, precision):
            step()

    return run


def network(lib: Any, name: str, precision: str, captured: bool = False) -> Callable[[], Any]:
    """A training step: zero_grad, forward, cross-entropy, backward, SGD with momentum."""
    model_name, shape, batch = SIZES[name]
    mc.manual_seed(0)
    model = mc.models.create(model_name, 10, shape[0])
    if lib is not mc:
        from minicnn.interop.torch import to_torch

        model = to_torch(model, shape)
    model = model.to(DEVICE).train()
    optimizer = lib.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    rng = np.random.default_rng(1)
    x = lib.from_numpy(rng.standard_normal((batch, *shape), dtype=np.float32)).to(DEVICE)
    y = lib.from_numpy(rng.integers(0, 10, batch)).to(DEVICE)

    def learn(x: Any, y: Any) -> tuple[Any, ...]:
        with precision_of(lib, precision):
            loss = lib.nn.functional.cross_entropy(model(x), y)
            loss.backward()
        return (loss,)

    if captured:
        learn = Recorded(learn, model, Cupy(x.device), lambda: None, _refuse)

    def step() -> None:
        optimizer.zero_grad()
        learn(x, y)
        optimizer.step()

    for _ in range(WARM_UP + 1 if captured else 0):
        step()
    return step


def _refuse(why: str) -> None:
    raise RuntimeError(f"cannot be recorded: {why}")


# -- timing -----------------------------------------------------------------------------------------------------------

def wait() -> None:
    """Until the GPU is idle."""
    sys.modules["cupy"].cuda.runtime.deviceSynchronize()


def milliseconds(work: Callable[[], Any], seconds: float) -> float:
    """Of one call, on average over so many seconds."""
    wait()
    start, calls = time.perf_counter(), 0
    while calls < 3 or time.perf_counter() - start < seconds:
        work()
        calls += 1
        if calls % 10 == 0:
            wait()  # the queue of launches must not grow without end
    wait()
    return (time.perf_counter() - start) / calls * 1e3


def compare(works: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Median milliseconds of each, in rounds in which they take turns, after one that warms up."""
    rounds = [{name: milliseconds(work, seconds / ROUNDS) for name, work in works.items()} for _ in range(ROUNDS + 1)]
    return {name: statistics.median(r[name] for r in rounds[1:]) for name in works}


def card(torch: Any) -> dict[str, Any]:
    """The GPU, and what it does at most, measured: bytes of a copy, operations of a large product by cuBLAS."""
    import cupy

    runtime = cupy.cuda.runtime
    a = cupy.ones(2 ** 28, cupy.uint8)
    b = cupy.empty_like(a)
    peaks = {}
    if torch is not None:
        for name in PRECISIONS:
            with precision_of(torch, name):
                m = torch.ones(8192, 8192, device="cuda", dtype=getattr(torch, name, torch.float32))
                peaks[name] = 2 * 8192 ** 3 / milliseconds(lambda m=m: m @ m, 0.5) / 1e6
    return {"name": runtime.getDeviceProperties(0)["name"].decode(), "driver": runtime.driverGetVersion(),
            "cuda": runtime.runtimeGetVersion(), "cupy": cupy.__version__,
            "torch": None if torch is None else f"{torch.__version__}, cuDNN {torch.backends.cudnn.version()}",
            "python": platform.python_version(), "numpy": np.__version__, "minicnn": mc.__version__,
            "gigabytes_per_second": 2 * a.nbytes / milliseconds(lambda: cupy.copyto(b, a), 0.5) / 1e6,
            "gigaflops_per_second": peaks}


# -- all of it --------------------------------------------------------------------------------------------------------

def measure(name: str, precision: str, torch: Any, seconds: float) -> dict[str, Any]:
    """One row: milliseconds of each library, how often as fast minicnn is, and its share of what the card can do."""
    works = {}
    row: dict[str, Any] = {"case": name, "what": case(name).what, "precision": precision}
    if name in NETWORKS:
        makers = {"minicnn": lambda: network(mc, name, precision), "torch": lambda: network(torch, name, precision),
                  "captured": lambda: network(mc, name, precision, captured=True)}
    else:
        makers = {"minicnn": lambda: kernel(mc, name, precision), "torch": lambda: kernel(torch, name, precision)}
    if torch is None:
        del makers["torch"]
    for library, make in makers.items():
        try:
            works[library] = make()
            works[library]()
            wait()
        except Exception as error:  # the others are worth having
            works.pop(library, None)
            row[f"{library}_error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
    found = compare(works, seconds)
    row |= {f"{library}_ms": ms for library, ms in found.items()}
    ours = min((found[key] for key in ("minicnn", "captured") if key in found), default=None)
    if ours is not None:
        work = case(name).work()
        row |= {"gflops": work.flops / ours / 1e6, "gbytes": work.bytes and work.bytes / ours / 1e6}
        if "torch" in found:
            row["ratio"] = found["torch"] / ours
    return row


def run_tests(out: Path, seconds: float) -> dict[str, Any]:
    """The tests that need a GPU; none may be skipped for want of one."""
    with open(out / "tests.txt", "w") as file:
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "--numprocesses", "6", "-rfE", "--tb=short",
                   "--durations=15"]
        try:
            code = subprocess.run(command, cwd=HERE.parent, stdout=file, stderr=subprocess.STDOUT, timeout=seconds,
                                  env=os.environ | {"MINICNN_REQUIRE_GPU": "1"}).returncode
        except subprocess.TimeoutExpired:
            code = None
    tail = (out / "tests.txt").read_text().rstrip().split("\n")[-1]
    return {"code": code, "summary": tail if code is not None else f"stopped after {seconds:.0f} s; {tail}"}


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join([*NETWORKS, *KERNELS])}")
    parser.add_argument("--all", action="store_true", help="the tests, and every case")
    parser.add_argument("--part", choices=PARTS, help="of --all")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--seconds", type=float, default=0.5, help="for each library, case and precision (0.5)")
    parser.add_argument("--minutes", type=float, default=20.0, help="after which nothing new is begun (20)")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of what is written")
    args = parser.parse_args()
    unknown = [name for name in args.cases if name not in NETWORKS | KERNELS]
    if unknown or bool(args.cases) == args.all:
        parser.error(f"there is no case {unknown[0]}" if unknown else "name some cases, or --all")
    return args


def main() -> int:
    """Run what is asked for; 1 if there is no GPU, or something failed."""
    args = arguments()
    if reason := mc.backend.why_no_cuda():
        print(f"benchmarks/gpu.py: error: there is no GPU to measure: {reason}", file=sys.stderr)
        return 1
    end = time.monotonic() + 60 * args.minutes
    try:
        import torch
    except ImportError:
        torch = None
    if torch is not None and not torch.cuda.is_available():
        print(f"PyTorch {torch.__version__} does not see the GPU; minicnn is measured alone", flush=True)
        torch = None
    parts = [args.part] if args.part else list(PARTS) if args.all else []
    names = args.cases or [*(NETWORKS if "networks" in parts else ()), *(KERNELS if "kernels" in parts else ())]
    args.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"card": card(torch), "tests": None, "rows": [], "left_out": []}
    label = re.sub(r"\W+", "-", results["card"]["name"]).strip("-").lower() + (f"-{args.part}" if args.part else "")

    def write() -> None:
        (args.out / f"gpu-{label}.json").write_text(json.dumps(results, indent=1) + "\n")

    print(json.dumps(results["card"], indent=1), flush=True)
    write()
    if "tests" in parts:
        share = 1.0 if args.part else 0.5
        results["tests"] = run_tests(args.out, share * (end - time.monotonic()))
        print(f"tests: {results['tests']['summary']}", flush=True)
        write()
    for name, precision in [(name, precision) for precision in args.precision for name in names]:
        if time.monotonic() > end:
            results["left_out"].append([name, precision])
            continue
        try:
            row = measure(name, precision, torch, args.seconds)
        except Exception as error:  # the next case may work
            row = {"case": name, "precision": precision, "error": f"{type(error).__name__}: {error}"}
        results["rows"].append(row)
        print("  ".join(f"{key} {value:.4g}" if isinstance(value, float) else str(value)
                        for key, value in row.items() if key != "what"), flush=True)
        write()
    write()
    failed = any("error" in key for row in results["rows"] for key in row)
    return 1 if failed or (results["tests"] or {"code": 0})["code"] != 0 or results["left_out"] else 0


if __name__ == "__main__":
    sys.exit(main())
