"""minicnn against PyTorch and against its own plain NumPy reference, in processes that take turns.

    python benchmarks/run.py                 all cases, a table, and a file in benchmarks/results/
    python benchmarks/run.py lenet cnn2      some of them
    python benchmarks/run.py --smoke         a moment of each, to see that it works

NumPy's OpenBLAS chooses its kernels by the processor, or by the environment variable OPENBLAS_CORETYPE. Results with it
set go to a file of their own, cpu-CORETYPE.json; those without it come from

    env -u OPENBLAS_CORETYPE python benchmarks/run.py

Both libraries must agree on the results before they are timed. Each round runs every library once, in a process of its
own; a process reports its median call; the ratio is taken round by round, and the median ratio is what counts.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from cases import CASES

HERE = Path(__file__).resolve().parent


def worker(library: str, case: str, threads: int, *options: str) -> str:
    command = [sys.executable, HERE / "worker.py", library, case, "--threads", str(threads), *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{library} failed on {case}:\n{done.stderr}")
    return done.stdout


def check(case: str, threads: int) -> float:
    """The largest difference of the libraries' results, relative to each one's largest element; an error above 1e-3."""
    with tempfile.TemporaryDirectory() as folder:
        results = []
        for library in ("minicnn", "torch"):
            worker(library, case, threads, "--save", f"{folder}/{library}.npz")
            with np.load(f"{folder}/{library}.npz") as archive:
                results.append([archive[name] for name in archive.files])
    worst = max(float(abs(a - b).max()) / max(float(abs(b).max()), 1e-6) for a, b in zip(*results, strict=True))
    if not worst < 1e-3:
        raise SystemExit(f"{case}: minicnn and PyTorch differ by {worst:.1e}")
    return worst


def measure(case: str, threads: int, rounds: int, seconds: float, reference: bool) -> dict[str, Any]:
    """Medians in milliseconds per library, and the ratio PyTorch / minicnn of each round."""
    libraries = ["minicnn", "torch"] + ["reference"] * reference
    times: dict[str, list[float]] = {library: [] for library in libraries}
    for _ in range(rounds):
        for library in libraries:
            calls = json.loads(worker(library, case, threads, "--seconds", str(seconds)))
            times[library].append(statistics.median(calls) * 1e3)
    ratios = sorted(t / m for m, t in zip(times["minicnn"], times["torch"]))
    row = {"case": case, "what": CASES[case][0], "ratio": statistics.median(ratios), "ratios": ratios,
           **{f"{library}_ms": statistics.median(values) for library, values in times.items()}}
    return row


def start_up(rounds: int) -> dict[str, float]:
    """Seconds of `import minicnn` and of a process's first LeNet step, with a warm and with an empty kernel cache."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); from cases import *; import minicnn as mc, minicnn.optim; " \
           "CASES['lenet'][1](mc)()"
    empty = "import numpy"

    def seconds(command: list[str], **extra: str) -> float:
        env = {**os.environ, "PYTHONPATH": str(HERE.parent), **extra}
        before = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, env=env, cwd=HERE)
        return time.perf_counter() - before

    found: dict[str, list[float]] = {"import": [], "first_step_warm": [], "first_step_cold": []}
    for number in range(rounds):
        bare, start = seconds(["-c", empty]), seconds(["-c", "import minicnn"])
        found["import"].append(start)
        found.setdefault("import_beyond_numpy", []).append(start - bare)
        found["first_step_warm"].append(seconds(["-c", code, str(HERE)]))
        if number < 2:
            with tempfile.TemporaryDirectory() as cache:
                found["first_step_cold"].append(seconds(["-c", code, str(HERE)], NUMBA_CACHE_DIR=cache))
    return {name: statistics.median(values) for name, values in found.items()}


def machine(threads: int) -> dict[str, Any]:
    """What the figures were measured on."""
    import numba
    import threadpoolctl
    import torch

    blas = [f"{lib['internal_api']} {lib['version']} {lib.get('architecture', '')}"
            for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "blas"]
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        cpu = lines[0].split(":", 1)[1].strip() if lines else cpu
    return {"cpu": cpu, "cores": os.cpu_count(), "threads": threads, "system": platform.platform(), "blas": blas,
            "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE"), "python": platform.python_version(),
            "numpy": np.__version__, "numba": numba.__version__, "torch": torch.__version__}


def results_file() -> str:
    """cpu.json, or cpu-CORETYPE.json where the environment sets the kernels of OpenBLAS."""
    return "-".join(["cpu", *filter(None, [os.environ.get("OPENBLAS_CORETYPE")])]) + ".json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help=f"which (default: all of {', '.join(CASES)})")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="per process")
    parser.add_argument("--reference", action="store_true", help="time the plain NumPy kernels too")
    parser.add_argument("--smoke", action="store_true", help="one short round of two cases")
    parser.add_argument("-o", "--output", help="results file (default for all cases: one in benchmarks/results/)")
    args = parser.parse_args()
    unknown = set(args.cases) - set(CASES)
    if unknown:
        parser.error(f"unknown case {', '.join(sorted(unknown))}; choose from {', '.join(CASES)}")
    if args.smoke:
        args.cases, args.rounds, args.seconds = args.cases or ["lenet", "avgpool"], 1, 0.1
    cases = args.cases or [c for c in CASES if c != "epoch" or os.environ.get("MINICNN_DATA")]
    rows, about = [], machine(args.threads)
    print(f"{about['cpu']}, {about['threads']} of {about['cores']} cores; {', '.join(about['blas'])}; "
          f"OPENBLAS_CORETYPE {about['OPENBLAS_CORETYPE'] or 'not set'}; PyTorch {about['torch']}")
    print(f"{'case':42} {'minicnn ms':>11} {'PyTorch ms':>11} {'ratio':>7}  {'rounds':13} {'differ by':>9}")
    for case in cases:
        difference = check(case, args.threads)
        row = measure(case, args.threads, args.rounds, args.seconds, args.reference)
        rows.append({**row, "difference": difference})
        extra = f"  reference {row['reference_ms']:.2f} ms" if args.reference else ""
        print(f"{row['what']:42} {row['minicnn_ms']:11.2f} {row['torch_ms']:11.2f} {row['ratio']:7.2f}  "
              f"{row['ratios'][0]:5.2f} … {row['ratios'][-1]:5.2f} {difference:9.0e}{extra}", flush=True)
    starts = {} if args.smoke or args.cases else start_up(args.rounds)
    for name, seconds in starts.items():
        print(f"{name:42} {seconds:9.2f} s")
    output = args.output or (None if args.smoke or args.cases else HERE / "results" / results_file())
    if output:
        result = {"machine": about, "rows": rows, "start_up_seconds": starts}
        temporary = Path(f"{output}.new")
        temporary.write_text(json.dumps(result, indent=1) + "\n")
        temporary.replace(output)


if __name__ == "__main__":
    main()
